/** The valence–arousal plane: for each speaker the last readings, fading, and where they are now. */

import { monogram, readColours, styleName } from "./palette.js";
import { line, outlined, roundedBox, withAlpha } from "./pen.js";
import { signed } from "./format.js";

const STILL = window.matchMedia("(prefers-reduced-motion: reduce)");
/** How quickly a sign goes to its goal: the rate of an exponential, in 1/s. */
const QUICKNESS = 7;
const LEAST_FRAME_MS = 30;
/** Half widths that the plane may show: near enough to see, never zoomed in on noise. */
const EXTENTS = [0.5, 0.75, 1];
const QUADRANTS = [
  ["tense", -1, 1, "angry"],
  ["lively", 1, 1, "happy"],
  ["downcast", -1, -1, "sad"],
  ["at ease", 1, -1, "neutral"],
];

export class Plane {
  constructor(store, canvas) {
    this.store = store;
    this.canvas = canvas;
    this.legend = document.getElementById("diamond");
    this.context = canvas.getContext("2d");
    this.heads = new Map(); // speaker key -> {x, y} in [-1, 1], on its way
    this.extent = 1;
    this.last = 0;
    this.ground = document.createElement("canvas");
    this.stale = true;
    this.recolour();
  }

  recolour() {
    this.stale = true;
    this.colours = readColours();
    this.family = getComputedStyle(document.documentElement).fontFamily;
  }

  /** Say that what lies still has changed: readings, size or colours. */
  refresh() {
    this.stale = true;
  }

  /** Draw; returns whether something is still on its way. */
  draw(time) {
    const { width, height, scale } = this.fit();
    if (!width || !height) return false;
    // A sign on its way needs no more frames than the eye does.
    if (!this.stale && time - this.last < LEAST_FRAME_MS) return true;
    const seconds = Math.min(0.1, (time - this.last) / 1000);
    this.last = time;
    const people = [...this.store.people.values()];
    if (this.stale) {
      this.stale = false;
      this.extent = extentFor(people);
      this.drawGround(people, width, height, scale);
    }
    const { context, at, box } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.ground, 0, 0);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    let moving = false;
    const names = [];
    for (const speaker of people) moving = this.drawHead(speaker, at, seconds, names) || moving;
    const mood = this.store.meeting?.mood?.dimensions;
    const alone = this.store.solo;
    this.legend.hidden = alone;
    if (known(mood) && !alone) this.drawEverybody(at(mood.valence, mood.arousal), names);
    this.drawNames(names, box);
    return moving;
  }

  /** Draw the field and the trails once, on a canvas of their own. */
  drawGround(people, width, height, scale) {
    const pad = { left: 26, right: 12, top: 12, bottom: 26 };
    const room = { width: width - pad.left - pad.right, height: height - pad.top - pad.bottom };
    const side = Math.min(room.width, room.height);
    // Wider than high where there is room: people move more to the sides.
    const box = { width: Math.min(room.width, side * 1.35), height: side };
    box.x = pad.left + (room.width - box.width) / 2;
    box.y = pad.top + (room.height - box.height) / 2;
    this.box = box;
    this.at = (valence, arousal) => [
      box.x + (box.width / 2) * (1 + clamp(valence / this.extent)),
      box.y + (box.height / 2) * (1 - clamp(arousal / this.extent)),
    ];
    this.ground.width = this.canvas.width;
    this.ground.height = this.canvas.height;
    const context = this.ground.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    this.drawField(context, box, this.at);
    for (const speaker of people) this.drawTrail(context, speaker, this.at);
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const scale = window.devicePixelRatio || 1;
    if (
      this.canvas.width !== Math.round(width * scale) ||
      this.canvas.height !== Math.round(height * scale)
    ) {
      this.canvas.width = Math.round(width * scale);
      this.canvas.height = Math.round(height * scale);
      this.stale = true;
    }
    return { width, height, scale };
  }

  drawField(context, box, at) {
    const { colours, family } = this;
    context.save();
    roundedBox(context, box.x, box.y, box.width, box.height, 12);
    context.clip();
    for (const [, right, up, category] of QUADRANTS) {
      const [x, y] = at(right * this.extent, up * this.extent);
      const glow = context.createRadialGradient(
        x,
        y,
        0,
        x,
        y,
        Math.max(box.width, box.height) * 0.62,
      );
      glow.addColorStop(0, withAlpha(colours.categories[category], 0.2));
      glow.addColorStop(1, withAlpha(colours.categories[category], 0));
      context.fillStyle = glow;
      context.fillRect(box.x, box.y, box.width, box.height);
    }
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    for (const part of [-0.5, 0.5]) {
      context.setLineDash([2, 4]);
      line(context, at(part * this.extent, -1), at(part * this.extent, 1));
      line(context, at(-1, part * this.extent), at(1, part * this.extent));
    }
    context.setLineDash([]);
    context.strokeStyle = withAlpha(colours.muted, 0.55);
    line(context, at(0, -1), at(0, 1));
    line(context, at(-1, 0), at(1, 0));
    context.restore();
    context.strokeStyle = colours.line;
    context.lineWidth = 1;
    roundedBox(context, box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1, 12);
    context.stroke();

    context.fillStyle = colours.muted;
    context.font = `600 12px ${family}`;
    for (const [label, right, up] of QUADRANTS) {
      const [x, y] = at(right * this.extent, up * this.extent);
      context.textAlign = right < 0 ? "left" : "right";
      context.textBaseline = up > 0 ? "top" : "bottom";
      context.fillText(label, x - right * 12, y + up * 11);
    }
    context.font = `12px ${family}`;
    const end = String(this.extent).replace("0.", ".");
    context.textBaseline = "top";
    context.textAlign = "left";
    context.fillText(`−${end} unpleasant`, box.x, box.y + box.height + 8);
    context.textAlign = "right";
    context.fillText(`pleasant +${end}`, box.x + box.width, box.y + box.height + 8);
    context.save();
    context.translate(box.x - 18, box.y);
    context.rotate(-Math.PI / 2);
    context.fillText(`excited +${end}`, 0, 0);
    context.textAlign = "left";
    context.fillText(`−${end} calm`, -box.height, 0);
    context.restore();
  }

  drawTrail(context, speaker, at) {
    const { colours } = this;
    const { trail } = speaker;
    const colour = colours.speaker(speaker.index);
    for (let n = 1; n < trail.length; n += 1) {
      const age = (trail.length - 1 - n) / trail.length;
      context.strokeStyle = withAlpha(colour, 0.6 * (1 - age) ** 1.6);
      context.lineWidth = 1 + 1.6 * (1 - age);
      context.lineCap = "round";
      line(
        context,
        at(trail[n - 1].valence, trail[n - 1].arousal),
        at(trail[n].valence, trail[n].arousal),
      );
    }
    trail.forEach((reading, n) => {
      const fresh = (n + 1) / trail.length;
      const [x, y] = at(reading.valence, reading.arousal);
      context.fillStyle = withAlpha(
        colours.categories[styleName(reading.category)],
        0.15 + 0.75 * fresh ** 1.6,
      );
      context.beginPath();
      context.arc(x, y, 2 + 1.8 * fresh, 0, 7);
      context.fill();
    });
  }

  /** The mood of all: a diamond, unlike any speaker. */
  drawEverybody([x, y], names) {
    const { context, colours } = this;
    context.beginPath();
    context.moveTo(x, y - 8);
    context.lineTo(x + 8, y);
    context.lineTo(x, y + 8);
    context.lineTo(x - 8, y);
    context.closePath();
    context.fillStyle = colours.panel;
    context.fill();
    context.lineWidth = 2;
    context.strokeStyle = colours.ink;
    context.stroke();
    names.push({ name: "everybody", x, y, radius: 9 });
  }

  drawHead(speaker, at, seconds, names) {
    const goal = this.goalOf(speaker);
    if (!goal) return false;
    let head = this.heads.get(speaker.key);
    if (!head) this.heads.set(speaker.key, (head = { ...goal }));
    const step = STILL.matches ? 1 : 1 - Math.exp(-QUICKNESS * seconds);
    head.valence += (goal.valence - head.valence) * step;
    head.arousal += (goal.arousal - head.arousal) * step;
    const moving =
      Math.abs(goal.valence - head.valence) + Math.abs(goal.arousal - head.arousal) > 0.002;
    const { context, colours } = this;
    const colour = colours.speaker(speaker.index);
    const [x, y] = at(head.valence, head.arousal);
    context.globalAlpha = speaker.present ? 1 : 0.55;
    if (speaker.speaking) {
      context.beginPath();
      context.arc(x, y, 17, 0, 7);
      context.strokeStyle = withAlpha(colour, 0.55);
      context.lineWidth = 3;
      context.stroke();
    }
    context.beginPath();
    context.arc(x, y, 12, 0, 7);
    context.fillStyle = colour;
    context.fill();
    context.strokeStyle = colours.panel;
    context.lineWidth = 2;
    context.stroke();
    context.fillStyle = colours.panel;
    context.font = `700 10px ${this.family}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(monogram(speaker.name), x, y + 0.5);
    names.push({ name: speaker.name, x, y, radius: speaker.speaking ? 18 : 13 });
    context.globalAlpha = 1;
    return moving;
  }

  /** Write names beside their signs, each on a side where it covers no sign and no other name. */
  drawNames(names, box) {
    const { context, colours } = this;
    context.font = `600 12.5px ${this.family}`;
    context.textAlign = "left";
    context.textBaseline = "middle";
    const taken = names.map(({ x, y, radius }) => ({
      left: x - radius,
      right: x + radius,
      top: y - radius,
      bottom: y + radius,
    }));
    for (const { name, x, y, radius } of names) {
      const text = name.length > 18 ? `${name.slice(0, 17)}…` : name;
      const width = context.measureText(text).width;
      const near = radius + 5;
      const places = [
        [x + near, y],
        [x - near - width, y],
        [x - width / 2, y - near - 5],
        [x - width / 2, y + near + 5],
        [x + near - 4, y - 15],
        [x + near - 4, y + 15],
        [x - near + 4 - width, y - 15],
        [x - near + 4 - width, y + 15],
      ].map(([left, middle]) => ({
        left,
        right: left + width,
        top: middle - 7,
        bottom: middle + 7,
      }));
      const inside = places.filter(
        ({ left, right }) => left >= box.x && right <= box.x + box.width,
      );
      const place = inside.find((one) => !taken.some((other) => overlaps(one, other)));
      // In a crowd the initials have to do.
      if (!place) continue;
      taken.push(place);
      outlined(context, text, place.left, place.top + 7, colours.ink, colours.panel);
    }
  }

  /** Where a speaker is: in what is being said, what the voice alone said, or what was said last. */
  goalOf(speaker) {
    let goal = speaker.trail.at(-1) ?? null;
    for (const item of this.store.live.values()) {
      const { dimensions } = item.alone ?? item.emotion ?? {};
      if (item.speaker === speaker && known(dimensions)) goal = dimensions;
    }
    return goal ? pair(goal) : null;
  }

  /** Tell screen readers what the picture shows. */
  describe() {
    const parts = [];
    for (const { name, trail } of this.store.people.values()) {
      const last = trail.at(-1);
      if (last)
        parts.push(`${name}: valence ${signed(last.valence)}, arousal ${signed(last.arousal)}`);
    }
    this.canvas.setAttribute(
      "aria-label",
      parts.length ? `Last readings. ${parts.join(". ")}.` : "Nothing read yet",
    );
  }
}

const clamp = (value) => Math.max(-1, Math.min(1, value));
const known = (dimensions) =>
  Number.isFinite(dimensions?.valence) && Number.isFinite(dimensions?.arousal);
const overlaps = (a, b) =>
  a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const pair = ({ valence, arousal }) => ({ valence, arousal });

function extentFor(people) {
  let most = 0;
  for (const { trail } of people) {
    for (const { valence, arousal } of trail)
      most = Math.max(most, Math.abs(valence), Math.abs(arousal));
  }
  return EXTENTS.find((extent) => most < extent * 0.94) ?? 1;
}

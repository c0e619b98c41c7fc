/** Valence and arousal over time, drawn with uPlot: one line for everybody, one for each speaker. */

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { EVERYBODY } from "./store.js";
import { element, readColours, speakerDash } from "./palette.js";
import { timeOfDay } from "./format.js";
import { DIMENSIONS } from "./moodlog.js";
import { Readout, sample } from "./readout.js";

const CHART_NAMES = {
  valence: "Valence: unpleasant (−) to pleasant (+)",
  arousal: "Arousal: calm (−) to excited (+)",
};
const DEFAULT_RANGE_S = 120;
const LEAST_RANGE_S = 5;
/** Two hours have more readings than anybody can tell apart. */
const MOST_DOTS = 500;
const REACHES = [0.5, 0.75, 1];
const TIMES_PX = 18;
const GAP_PX = 12;
const SHARE_X = 46; // CSS px left of the plots: room for their numbers

export class Timeline {
  constructor(store, box) {
    this.store = store;
    this.box = box;
    this.charts = [];
    this.keys = []; // lines, in drawing order
    this.off = new Set();
    this.range = DEFAULT_RANGE_S; // seconds, or "all"
    this.fixed = null; // [from, to] in seconds, when zoomed
    this.selecting = false;
    this.colours = readColours();
    this.readout = new Readout(store, box);
    this.names = DIMENSIONS.map((name) =>
      element("span", "chart-name", CHART_NAMES[name]),
    );
    box.append(...this.names);
    this.followButton = document.getElementById("follow");
    this.legend = document.getElementById("line-legend");
    this.end = new AbortController();
    this.controls(this.end);
    this.resized = new ResizeObserver(() => this.resize());
    this.resized.observe(box);
    this.mark();
  }

  close() {
    this.end.abort();
    this.resized.disconnect();
    for (const chart of this.charts) chart.destroy();
    this.box.replaceChildren();
    this.legend.replaceChildren();
  }

  controls({ signal }) {
    for (const button of document.querySelectorAll("[data-range]")) {
      button.addEventListener(
        "click",
        () => {
          this.range = button.dataset.range === "all" ? "all" : Number(button.dataset.range);
          this.unfix();
        },
        { signal },
      );
    }
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => this.zoom(Number(button.dataset.zoom)), { signal });
    }
    this.followButton.addEventListener("click", () => this.unfix(), { signal });
  }

  /** Go back to the newest. */
  unfix() {
    this.fixed = null;
    this.mark();
    this.draw();
  }

  mark() {
    for (const button of document.querySelectorAll("[data-range]")) {
      button.setAttribute(
        "aria-pressed",
        String(!this.fixed && button.dataset.range === String(this.range)),
      );
    }
    this.followButton.hidden = !this.fixed;
  }

  zoom(factor, centre) {
    const [from, to] = this.window();
    const middle = centre ?? (from + to) / 2;
    const length = Math.max(LEAST_RANGE_S, (to - from) * factor);
    const share = (middle - from) / (to - from);
    this.fix(middle - share * length, middle + (1 - share) * length);
  }

  fix(from, to) {
    this.fixed = [from, Math.max(to, from + LEAST_RANGE_S)];
    this.mark();
    this.draw();
  }

  /** What is shown now, in seconds since 1970. */
  window() {
    if (this.fixed) return this.fixed;
    const now = this.store.now() / 1000;
    const first =
      Math.min(this.store.log.times[0] ?? Infinity, this.store.utterances[0]?.start ?? Infinity) /
      1000;
    const whole = Number.isFinite(first) ? Math.max(30, now - first + 2) : 60;
    const length = this.range === "all" ? whole : Math.min(this.range, Math.max(60, whole));
    return [now - length, now];
  }

  /** Draw anew; makes the charts again when a speaker has come. */
  draw() {
    const { people, solo } = this.store;
    // One line of one speaker: that of everybody would lie on it.
    const keys = solo ? [...people.keys()] : [EVERYBODY, ...people.keys()];
    if (keys.join() !== this.keys.join() || !this.charts.length) {
      this.keys = keys;
      this.build();
    }
    if (!this.box.clientWidth) return;
    const [min, max] = this.window();
    this.charts.forEach((chart, n) => {
      const [times, ...columns] = this.store.log.data(DIMENSIONS[n], this.keys);
      chart.batch(() => {
        chart.setData([times.map((time) => time / 1000), ...columns], false);
        chart.setScale("x", { min, max });
      });
    });
  }

  recolour() {
    this.colours = readColours();
    this.build();
    this.draw();
  }

  build() {
    for (const chart of this.charts) chart.destroy();
    const sync = uPlot.sync("mood");
    this.charts = DIMENSIONS.map((name, n) => {
      const chart = new uPlot(
        this.options(name, n, sync),
        [[], ...this.keys.map(() => [])],
        this.box,
      );
      chart.over.addEventListener("wheel", (event) => this.wheel(event, chart), { passive: false });
      chart.over.addEventListener("dblclick", () => this.unfix());
      return chart;
    });
    this.buildLegend();
    this.resize();
  }

  options(name, n, sync) {
    const { colours } = this;
    const font = `11.5px ${getComputedStyle(document.documentElement).fontFamily}`;
    const axis = {
      stroke: colours.muted,
      font,
      ticks: { show: false },
      grid: { stroke: colours.line, width: 1 },
    };
    return {
      width: 300,
      height: 120,
      padding: [6, 26, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: sync.key, setSeries: false, scales: ["x", null] },
        drag: { x: true, y: false, setScale: false },
        y: false,
        points: { size: 6 },
      },
      scales: { x: { time: true }, y: { range: () => this.reach() } },
      axes: [
        {
          ...axis,
          size: n === 1 ? 24 : 6,
          gap: 4,
          space: 80,
          values: n === 1 ? clockLabels : () => [],
          grid: { show: false },
        },
        {
          ...axis,
          size: SHARE_X,
          gap: 6,
          splits: (chart) => splits(chart),
          values: (_, marks) => marks.map(axisNumber),
        },
      ],
      series: [{}, ...this.keys.map((key) => this.line(key))],
      hooks: {
        drawClear: [(chart) => this.drawZero(chart)],
        drawAxes: [(chart) => this.drawReadings(chart, name)],
        setCursor: [(chart) => this.hover(chart)],
        setSelect: [(chart) => this.select(chart)],
      },
    };
  }

  line(key) {
    const person = this.store.people.get(key);
    const everybody = key === EVERYBODY;
    return {
      label: everybody ? "everybody" : person.name,
      stroke: everybody ? this.colours.ink : this.colours.speaker(person.index),
      width: everybody ? 2.6 : 1.8,
      dash: everybody ? [] : speakerDash(person.index),
      spanGaps: true,
      show: !this.off.has(key),
      points: { show: false },
    };
  }

  /** The scale: −1 to 1, or a part of it where all that was read fits in; the same for both. */
  reach() {
    const { valence, arousal } = this.store.most;
    const most = Math.max(valence, arousal);
    const reach = REACHES.find((each) => most < each * 0.95) ?? 1;
    return [-reach, reach];
  }

  drawZero(chart) {
    const { ctx, bbox } = chart;
    const y = Math.round(chart.valToPos(0, "y", true));
    ctx.save();
    ctx.strokeStyle = this.colours.muted;
    ctx.setLineDash([]);
    ctx.lineWidth = 1;
    ctx.globalAlpha = 0.6;
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.restore();
  }

  /** A faint dot for every single reading: the lines are smoothed, and say so by it. */
  drawReadings(chart, name) {
    const { ctx, bbox } = chart;
    const { min, max } = chart.scales.x;
    const { utterances } = this.store;
    const radius = 2.4 * (window.devicePixelRatio || 1);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.globalAlpha = 0.65;
    const first = firstAfter(utterances, (min - 30) * 1000);
    const every = Math.ceil((utterances.length - first) / MOST_DOTS);
    for (let n = first; n < utterances.length; n += every) {
      const { end, emotion, speaker } = utterances[n];
      const value = emotion?.dimensions[name];
      if (!Number.isFinite(value) || end / 1000 > max || this.off.has(speaker.key)) continue;
      ctx.fillStyle = this.colours.speaker(speaker.index);
      ctx.beginPath();
      ctx.arc(
        chart.valToPos(end / 1000, "x", true),
        chart.valToPos(value, "y", true),
        radius,
        0,
        7,
      );
      ctx.fill();
    }
    ctx.restore();
  }

  select(chart) {
    const { left, width } = chart.select;
    // The other chart tells of the same stretch once more, when its scale has already moved.
    if (width < 6 || this.selecting) return;
    this.selecting = true;
    const from = chart.posToVal(left, "x");
    const to = chart.posToVal(left + width, "x");
    setTimeout(() => {
      for (const each of this.charts)
        each.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
      this.fix(from, to);
      this.selecting = false;
    });
  }

  wheel(event, chart) {
    // A page that scrolls must go on scrolling: zooming asks for a key, as maps do.
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey) return;
    event.preventDefault();
    const moved = event.deltaY || event.deltaX;
    this.zoom(moved > 0 ? 1.25 : 0.8, chart.posToVal(chart.cursor.left, "x"));
  }

  /** Show what every line says at the time under the pointer. */
  hover(chart) {
    const { left } = chart.cursor;
    if (left === null || left < 0) return this.readout.hide();
    // Both charts tell of a move; the one with the pointer decides.
    if (!chart.over.matches(":hover")) return;
    const lines = this.keys.filter((key) => !this.off.has(key));
    const x = chart.over.offsetLeft + left;
    this.readout.show(chart.posToVal(left, "x") * 1000, x, lines);
  }

  buildLegend() {
    const buttons = this.keys.map((key) => {
      const person = this.store.people.get(key);
      const button = element("button", "chip");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!this.off.has(key)));
      button.append(
        sample(person, this.colours),
        element("span", "", person ? person.name : "everybody"),
      );
      button.addEventListener("click", () => {
        if (!this.off.delete(key)) this.off.add(key);
        button.setAttribute("aria-pressed", String(!this.off.has(key)));
        const place = this.keys.indexOf(key) + 1;
        for (const chart of this.charts) chart.setSeries(place, { show: !this.off.has(key) });
      });
      return button;
    });
    this.legend.replaceChildren(...buttons);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.box;
    if (!width || !height || !this.charts.length) return;
    // The lower one also has the times; a gap keeps the numbers of the two apart.
    const upper = Math.floor((height - TIMES_PX - GAP_PX) / 2);
    this.charts.forEach((chart, n) => {
      const top = n === 0 ? 0 : upper + GAP_PX;
      chart.root.style.top = `${top}px`;
      chart.setSize({ width, height: n === 0 ? upper : height - top });
      this.names[n].style.top = `${top + 4}px`;
      this.names[n].style.left = `${SHARE_X + 8}px`;
    });
  }
}

const axisNumber = (value) => (value === 0 ? "0" : `${value < 0 ? "−" : "+"}${Math.abs(value)}`);
const splits = (chart) => [chart.scales.y.min, 0, chart.scales.y.max];

/** Write times under the axis; seconds only where they are needed. */
function clockLabels(chart, marks) {
  const fine = marks.length > 1 && marks[1] - marks[0] < 60;
  return marks.map((mark) => (fine ? timeOfDay(mark * 1000) : timeOfDay(mark * 1000).slice(0, 5)));
}

/** Find the first utterance that begins at or after a moment. */
function firstAfter(utterances, moment) {
  let low = 0;
  let high = utterances.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (utterances[middle].start < moment) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The mood of the meeting, the speakers, and the shifts of mood. */

import {
  categoryBadge,
  categoryIcon,
  element,
  nameButton,
  speakerSign,
  styleName,
} from "./palette.js";
import { duration, percent, timeOfDay } from "./format.js";

const SHIFTS_SHOWN = 30;
/** The order in which shares stand beside each other, so that they do not jump. */
const ORDER = ["happy", "neutral", "sad", "angry"];

/** Draw the mood of everybody with what it comes from, and what all that was said sounded like. */
export function drawMood(store) {
  const mood = store.meeting?.mood;
  const said = store.categories.size > 0;
  const nothing = element("span", "muted", said ? "of a meeting only" : "nothing said yet");
  document
    .getElementById("mood-word")
    .replaceChildren(mood ? categoryBadge(mood.category) : nothing);
  drawShares("mood-scores", sharesOf(new Map(Object.entries(mood?.scores ?? {}))));
  drawShares("shares", sharesOf(store.categories));
}

/** Draw shares as a bar with words under it, in a part of the page that is hidden without any. */
function drawShares(id, shares) {
  const box = document.getElementById(id);
  box.hidden = !shares.length;
  const names = element("div", "share-names");
  for (const { category, share } of shares) {
    const badge = categoryBadge(category);
    badge.append(element("b", "", percent(share)));
    names.append(badge);
  }
  const [title] = box.children;
  box.replaceChildren(title, stack(shares), names);
}

/** The speakers, each in an element that stays: reading them must not be torn. */
export class People {
  /** `mayName` and `onName` as in the transcript. */
  constructor(store, { mayName = () => false, onName = () => {} } = {}) {
    Object.assign(this, { store, mayName, onName });
    this.list = document.getElementById("people");
    this.items = new Map(); // speaker -> its parts
    this.list.replaceChildren();
  }

  draw() {
    const several = new Set([...this.store.people.values()].map(({ meeting }) => meeting)).size > 1;
    const there = new Set(this.store.people.values());
    for (const [speaker, parts] of this.items) {
      if (there.has(speaker)) continue;
      parts.row.remove();
      this.items.delete(speaker);
    }
    for (const speaker of there) {
      let parts = this.items.get(speaker);
      const pressed = this.mayName(speaker);
      if (!parts || parts.called !== speaker.name || parts.pressed !== pressed) {
        const made = makePerson(speaker);
        Object.assign(made, { called: speaker.name, pressed });
        if (pressed) {
          const name = nameButton(speaker, () => this.onName(speaker, null));
          made.name.replaceWith(name);
          made.name = name.firstElementChild;
        }
        const held = parts?.row.contains(document.activeElement);
        if (parts) parts.row.replaceWith(made.row);
        else this.list.append(made.row);
        if (held) made.row.querySelector("button.name")?.focus();
        parts = made;
        this.items.set(speaker, parts);
      }
      updatePerson(parts, speaker, several);
    }
    const speaking = [...this.store.people.values()].filter((person) => person.speaking).length;
    const overlap = this.store.meeting?.overlap_ms ?? 0;
    document.getElementById("overlap").textContent =
      (speaking > 1 ? `${speaking} at once · ` : "") + `overlap ${duration(overlap)}`;
  }
}

function makePerson(speaker) {
  const row = element("li", "person");
  row.dataset.speaker = speaker.index % 10;
  const line = element("div", "person-line");
  const name = element("bdi", "name", speaker.name);
  const says = element("span", "says");
  const mood = element("span", "badge");
  line.append(name, says, mood);
  const second = element("div", "person-line");
  const track = element("div", "track");
  const share = element("span", "share");
  second.append(track, share);
  const body = element("div");
  body.append(line, second);
  row.append(speakerSign(speaker), body);
  return { row, name, says, mood, track, share, said: null, category: null };
}

function updatePerson(parts, speaker, several) {
  parts.row.classList.toggle("gone", !speaker.present);
  if (several && speaker.meeting) parts.name.textContent = `${speaker.name} · ${speaker.meeting}`;
  parts.name.title = speaker.models;
  const said = speaker.speaking ? "speaking" : speaker.present ? "" : "has left";
  if (said !== parts.said) {
    parts.said = said;
    parts.says.replaceChildren();
    if (speaker.speaking) {
      const voice = element("span", "voice");
      voice.setAttribute("aria-hidden", "true");
      voice.append(element("i"), element("i"), element("i"));
      parts.says.append(voice);
    }
    parts.says.append(said);
  }
  const category = speaker.mood?.category ?? null;
  if (category !== parts.category) {
    parts.category = category;
    const badge = category ? categoryBadge(category) : element("span", "badge");
    if (category) badge.title = "Mood: what was read lately, smoothed";
    parts.mood.replaceWith(badge);
    parts.mood = badge;
  }
  const shares = sharesOf(speaker.categories);
  const bar = stack(shares);
  bar.style.width = `${Math.max(speaker.share * 100, shares.length ? 2 : 0)}%`;
  parts.track.replaceChildren(bar);
  parts.share.textContent = speaker.count ? percent(speaker.share) : "";
  parts.share.title = `${duration(speaker.speechMs)} of speech in ${speaker.count} utterances`;
}

/** Draw the list of shifts, the newest on top. */
export function drawShifts(store) {
  const rows = store
    .toldShifts()
    .slice(-SHIFTS_SHOWN)
    .reverse()
    .map(({ at, speaker, category, previous }) => {
      const row = element("li");
      const time = element("time", "", timeOfDay(at));
      time.dateTime = new Date(at).toISOString();
      const to = element("span", "to");
      const was = element("span", "muted", previous);
      const arrow = element("span", "muted", "→");
      arrow.setAttribute("aria-label", "to");
      to.append(was, arrow, categoryBadge(category));
      row.append(time, element("bdi", "who", speaker ? speaker.name : "Everybody"), to);
      return row;
    });
  document.getElementById("shifts").replaceChildren(...rows);
  document.getElementById("no-shifts").hidden = rows.length > 0;
}

/** Write what categories look like, for those who see the page for the first time. */
export function drawLegend(list) {
  for (const category of [...ORDER, "unsure"]) {
    const item = element("li", "badge", "");
    item.dataset.category = styleName(category);
    item.append(categoryIcon(category), element("span", "", category));
    list.append(item);
  }
}

/** Turn lengths into shares of all, in an order that stays. */
function sharesOf(lengths) {
  let all = 0;
  for (const length of lengths.values()) all += length;
  const place = (category) => (ORDER.includes(category) ? ORDER.indexOf(category) : ORDER.length);
  return [...lengths]
    .map(([category, length]) => ({ category, share: all ? length / all : 0 }))
    .sort((a, b) => place(a.category) - place(b.category));
}

/** Make a bar of shares; the words are beside it. */
function stack(shares) {
  const bar = element("div", "stack");
  bar.setAttribute("role", "img");
  bar.setAttribute(
    "aria-label",
    shares.map(({ category, share }) => `${category} ${percent(share)}`).join(", "),
  );
  for (const { category, share } of shares) {
    const part = element("i");
    part.dataset.category = styleName(category);
    part.style.flexGrow = share.toFixed(4);
    part.title = `${category} ${percent(share)}`;
    bar.append(part);
  }
  return bar;
}

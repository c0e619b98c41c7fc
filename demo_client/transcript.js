/** The transcript: finished utterances as rows, and what is being said below them. */

import { categoryBadge, element, nameButton, speakerSign, styleName } from "./palette.js";
import { percent, timeOfDay, wordless } from "./format.js";

/** More rows make the page slow; the rest is kept for plots and exports. */
const MOST_ROWS = 300;
/** So near to the end counts as being there. */
const NEAR_PX = 60;
/** A reader must keep pace: no more than so many utterances are read out at once. */
const MOST_SAID = 3;

export class Transcript {
  /** `onName(speaker, utterance)` when somebody wants to say who that is; only where they may. */
  constructor(store, { mayName = () => false, onName = () => {} } = {}) {
    Object.assign(this, { store, mayName, onName });
    const get = (id) => document.getElementById(id);
    this.scroll = get("scroll");
    this.list = get("rows");
    this.liveList = get("live-rows");
    this.toEnd = get("to-end");
    this.said = get("said");
    this.rows = new Map(); // utterance key -> row
    this.shown = new Map(); // utterance key -> whose it was when its row was made
    this.liveRows = new Map(); // item key -> row with its parts
    this.following = true;
    this.quiet = true; // the past is not read out
    this.end = new AbortController();
    const { signal } = this.end;
    this.scroll.addEventListener("scroll", () => this.watch(), { passive: true, signal });
    this.toEnd.addEventListener("click", () => this.follow(), { signal });
    // A phone that is turned or a keyboard that opens must not lose the newest words.
    this.resized = new ResizeObserver(() => this.following && this.follow());
    this.resized.observe(this.scroll);
  }

  close() {
    this.end.abort();
    this.resized.disconnect();
    for (const list of [this.list, this.liveList, this.said]) list.replaceChildren();
    this.toEnd.hidden = true;
  }

  draw() {
    const { utterances } = this.store;
    const shown = utterances.slice(-MOST_ROWS);
    const keys = new Set();
    const news = [];
    // Only what is new is made; what is there stays as it is, whatever its place.
    let before = this.list.lastElementChild;
    for (let n = shown.length - 1; n >= 0; n -= 1) {
      const utterance = shown[n];
      keys.add(utterance.key);
      const known = this.rows.get(utterance.key);
      const of = [utterance, ...utterance.parts].map(({ speaker }) => `${speaker.key} ${speaker.index}`);
      const whose = `${of.join(" ")} ${this.mayName(utterance)}`;
      const same = this.shown.get(utterance.key) === whose;
      if (known && same) {
        before = known.previousElementSibling;
        continue;
      }
      const row = this.makeRow(utterance);
      this.shown.set(utterance.key, whose);
      if (known) {
        // Whose it is has changed: that is no news to be read out again.
        const held = known.contains(document.activeElement);
        known.replaceWith(row);
        if (held) row.querySelector("button.name")?.focus();
        this.rows.set(utterance.key, row);
        before = row.previousElementSibling;
        continue;
      }
      if (!this.quiet) {
        row.classList.add("fresh");
        news.unshift(utterance);
      }
      if (before) before.after(row);
      else this.list.prepend(row);
      before = row.previousElementSibling;
      this.rows.set(utterance.key, row);
    }
    for (const [key, row] of this.rows) {
      if (keys.has(key)) continue;
      row.remove();
      this.rows.delete(key);
      this.shown.delete(key);
    }
    const hidden = utterances.length - shown.length;
    const trimmed = document.getElementById("trimmed");
    trimmed.hidden = hidden === 0;
    trimmed.textContent = `${hidden} earlier utterances are not shown here; exports have them.`;
    const count = utterances.length;
    document.getElementById("count").textContent =
      count === 0 ? "" : `${count} ${count === 1 ? "utterance" : "utterances"}`;
    this.say(news);
    this.quiet = false;
  }

  makeRow(utterance) {
    const { speaker } = utterance;
    const row = makeRow(utterance);
    if (!this.mayName(utterance)) return row;
    const name = nameButton(speaker, () => this.onName(speaker, utterance));
    row.querySelector(".name").replaceWith(name);
    return row;
  }

  drawLive() {
    const { live, utterances } = this.store;
    const items = [...live.values()].sort((a, b) => a.start - b.start);
    for (const [key, parts] of this.liveRows) {
      if (live.has(key)) continue;
      parts.row.remove();
      this.liveRows.delete(key);
    }
    for (const item of items) {
      let parts = this.liveRows.get(item.key);
      if (!parts) {
        parts = makeLiveRow(item);
        this.liveRows.set(item.key, parts);
        this.liveList.append(parts.row);
      }
      updateLiveRow(parts, item);
    }
    document.getElementById("empty").hidden = items.length > 0 || utterances.length > 0;
  }

  /** To be called after drawing: stay at the end, if that is where the reader is. */
  settle() {
    if (this.following) this.scroll.scrollTop = this.scroll.scrollHeight;
    else this.watch();
  }

  follow() {
    this.following = true;
    this.toEnd.hidden = true;
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  watch() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroll;
    this.following = scrollHeight - scrollTop - clientHeight < NEAR_PX;
    this.toEnd.hidden = this.following;
  }

  /** Tell screen readers what was said. */
  say(news) {
    if (!news.length) return;
    const lines = news.slice(-MOST_SAID).map((utterance) => {
      const { speaker, emotion, transcript } = utterance;
      const category = emotion?.category ?? "not analysed";
      return element("p", "", `${speaker.name}, ${category}: ${transcript || wordless(utterance)}`);
    });
    this.said.replaceChildren(...lines);
  }
}

/** Make the row of a finished utterance. */
function makeRow(utterance) {
  const { speaker, start, end, transcript, emotion } = utterance;
  const row = element("li", "row");
  const category = emotion?.category ?? "unsure";
  row.dataset.emotion = category;
  tint(row, emotion);
  const head = element("div", "row-head");
  const time = element("time", "", timeOfDay(start));
  time.dateTime = new Date(start).toISOString();
  head.append(element("bdi", "name", speaker.name), time);
  if (emotion) {
    const badge = categoryBadge(category);
    badge.append(element("b", "", percent(emotion.confidence)));
    badge.title = describe(emotion, end - start);
    head.append(badge);
  }
  const text = element(
    "p",
    transcript ? "text" : "text none",
    transcript || wordless(utterance),
  );
  text.dir = "auto"; // as what is said has it
  const body = element("div");
  body.append(head, text);
  if (utterance.parts.length) body.append(makeParts(utterance.parts));
  row.append(speakerSign(speaker), body);
  return row;
}

/** Make the line that says how each of several sounds in an utterance. */
function makeParts(parts) {
  const line = element("ul", "parts");
  for (const { speaker, start, end, emotion } of parts) {
    const item = element("li");
    item.append(element("bdi", "who", speaker.name), ` ${((end - start) / 1000).toFixed(1)} s `);
    if (emotion) {
      const badge = categoryBadge(emotion.category);
      badge.append(element("b", "", percent(emotion.confidence)));
      badge.title = describe(emotion, end - start);
      item.append(badge);
    } else item.append("too short to be read");
    line.append(item);
  }
  return line;
}

/** Colour a row by its reading, as much as that is sure. */
function tint(row, emotion) {
  row.dataset.category = styleName(emotion?.category ?? "unsure");
  // Never quite gone: a doubtful reading is pale, not invisible.
  row.style.setProperty("--sure", Math.max(0.12, 1 - (emotion?.uncertainty ?? 1)).toFixed(2));
}

/** Write everything about a reading in one line. */
function describe({ scores, uncertainty, modalities }, lengthMs) {
  const parts = Object.entries(scores).map(([name, score]) => `${name} ${percent(score)}`);
  const from = modalities.length ? `from ${modalities.join(" and ")}` : "from nothing measured";
  return `${parts.join(", ")}; uncertainty ${percent(uncertainty)}; ${from}; ${(lengthMs / 1000).toFixed(1)} s`;
}

/** Make the row of an utterance that is being spoken. */
function makeLiveRow({ speaker }) {
  const row = element("li", "row live");
  row.dataset.speaker = speaker.index % 10;
  const head = element("div", "row-head");
  const voice = element("span", "voice");
  voice.setAttribute("aria-hidden", "true");
  voice.append(element("i"), element("i"), element("i"));
  const phase = element("span", "muted small");
  const reading = element("span", "muted reading");
  reading.style.marginLeft = "auto";
  head.append(element("bdi", "name", speaker.name), voice, phase, reading);
  const text = element("p", "text");
  text.dir = "auto";
  const settled = document.createTextNode("");
  const open = element("em");
  text.append(settled, open);
  const body = element("div");
  body.append(head, text);
  row.append(speakerSign(speaker), body);
  return { row, voice, phase, reading, settled, open, read: null };
}

function updateLiveRow(parts, { phase, committed, revisable, emotion, alone }) {
  const speaking = phase === "speaking";
  parts.voice.hidden = !speaking;
  const awaited = alone ? "the words are on their way" : "has spoken";
  parts.phase.textContent = speaking ? "is speaking" : awaited;
  parts.settled.data = committed;
  parts.open.textContent = revisable || (committed ? "" : "…");
  const read = alone ? "alone" : emotion?.category;
  if (!read || read === parts.read) return;
  parts.read = read;
  const { row } = parts;
  const badge = categoryBadge((alone ?? emotion).category);
  if (alone) {
    row.classList.add("alone");
    tint(row, alone);
    badge.append(element("b", "", `${percent(alone.confidence)} by the voice alone`));
    badge.title = describe(alone, alone.window.end_ms - alone.window.start_ms);
  }
  parts.reading.replaceChildren(badge);
}

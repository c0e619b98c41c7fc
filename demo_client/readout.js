/** What the lines of the time line say at one moment, as a small table beside the pointer. */

import { EVERYBODY } from "./store.js";
import { DIMENSIONS } from "./moodlog.js";
import { SPEAKER_COLOURS, element, speakerDash } from "./palette.js";
import { signed, timeOfDay } from "./format.js";

const SVG = "http://www.w3.org/2000/svg";
const ASIDE_PX = 16;

export class Readout {
  constructor(store, box) {
    this.store = store;
    this.box = box;
    this.tip = element("div", "tip");
    this.tip.hidden = true;
    box.append(this.tip);
  }

  hide() {
    this.tip.hidden = true;
  }

  /** Show the values of some lines at a moment (ms), beside a place in the box. */
  show(moment, x, keys) {
    const { times, series } = this.store.log;
    if (!times.length) return this.hide();
    let row = times.length - 1;
    // Before the first there is none, and all values are dashes.
    while (row >= 0 && times[row] > moment) row -= 1;
    const head = element("thead");
    head.append(cells(timeOfDay(moment), "val.", "aro."));
    const body = element("tbody");
    for (const key of keys) {
      const columns = series.get(key);
      if (!columns) continue;
      const person = key === EVERYBODY ? null : this.store.people.get(key);
      const values = DIMENSIONS.map((name) => signed(lastBefore(columns[name], row)));
      const line = cells(person ? person.name : "everybody", ...values);
      if (person) line.firstChild.dataset.speaker = person.index % SPEAKER_COLOURS;
      body.append(line);
    }
    const table = element("table");
    table.append(head, body);
    this.tip.replaceChildren(table);
    this.tip.hidden = false;
    const { clientWidth: width } = this.box;
    const flip = x > width / 2;
    this.tip.style.left = flip ? "" : `${x + ASIDE_PX}px`;
    this.tip.style.right = flip ? `${width - x + ASIDE_PX}px` : "";
  }
}

function lastBefore(column, row) {
  for (let n = row; n >= 0; n -= 1) if (column[n] !== null) return column[n];
  return null;
}

function cells(first, ...others) {
  const row = element("tr");
  row.append(element("th", "", first), ...others.map((text) => element("td", "", text)));
  return row;
}

/** Draw a piece of a line as it looks in the chart. */
export function sample(person, colours) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 22 8");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", "M0 4h22");
  path.setAttribute("stroke", person ? colours.speaker(person.index) : colours.ink);
  path.setAttribute("stroke-width", person ? 2.2 : 3);
  if (person) path.setAttribute("stroke-dasharray", speakerDash(person.index).join(" "));
  svg.append(path);
  return svg;
}

/** Valence and arousal over time: columns on one time axis, thinned when they grow long. */

const MOST_ROWS = 4000;
export const DIMENSIONS = ["valence", "arousal"];

export class MoodLog {
  constructor() {
    this.times = []; // ms since 1970, ascending
    this.series = new Map(); // key -> {valence: [], arousal: []}, as long as `times`
  }

  /** Add what is known of one line at one moment; moments never go back. */
  add(time, key, dimensions) {
    const last = this.times.at(-1);
    if (last === undefined || time > last) {
      this.times.push(time);
      for (const columns of this.series.values()) {
        for (const name of DIMENSIONS) columns[name].push(null);
      }
    }
    if (!this.series.has(key)) {
      const empty = () => new Array(this.times.length).fill(null);
      this.series.set(key, { valence: empty(), arousal: empty() });
    }
    const columns = this.series.get(key);
    for (const name of DIMENSIONS) {
      columns[name][this.times.length - 1] = dimensions[name] ?? null;
    }
    if (this.times.length > MOST_ROWS) this.thin();
  }

  /** Let a line go on under another key; where that is one already, it fills its gaps. */
  rename(from, to) {
    const moved = this.series.get(from);
    this.series.delete(from);
    if (!moved) return;
    const there = this.series.get(to);
    if (!there) return void this.series.set(to, moved);
    for (const name of DIMENSIONS) {
      there[name] = there[name].map((value, row) => value ?? moved[name][row]);
    }
  }

  /** Return one dimension as plots want it: [times, line, line, …]; null where nothing is new. */
  data(dimension, keys) {
    const none = () => new Array(this.times.length).fill(null);
    return [this.times, ...keys.map((key) => this.series.get(key)?.[dimension] ?? none())];
  }

  /** Halve the older half: two hours stay drawable, the last minutes stay exact. */
  thin() {
    const half = MOST_ROWS / 2;
    const halve = (column, merge) => {
      const kept = [];
      for (let row = 0; row < half; row += 2) kept.push(merge(column[row], column[row + 1]));
      return kept.concat(column.slice(half));
    };
    this.times = halve(this.times, (_, later) => later);
    for (const columns of this.series.values()) {
      for (const name of DIMENSIONS) {
        columns[name] = halve(columns[name], (earlier, later) => later ?? earlier);
      }
    }
  }
}

/**
 * Lets the page's store take events at moments of its clock: one JSON list of {now, event} on
 * stdin; prints what the page would draw after each, as one JSON list. `event` null: time passes.
 */
import { readFileSync } from "node:fs";

import { wordless } from "../../demo_client/format.js";
import { Store } from "../../demo_client/store.js";

let now = 0;
const store = new Store(() => now);
const seen = JSON.parse(readFileSync(0, "utf8")).map(({ now: moment, event }) => {
  now = moment;
  if (event) store.apply(event);
  return {
    behind: store.behind(),
    gaps: store.gaps,
    shares: [...store.people.values()].map(({ share }) => share),
    live: [...store.live.values()].map(({ phase, committed, revisable, emotion, alone }) => ({
      phase,
      text: committed + revisable,
      emotion: emotion?.category ?? null,
      alone: alone?.category ?? null,
    })),
    rows: store.utterances.map(({ transcript, emotion }) => ({
      transcript,
      category: emotion?.category ?? null,
    })),
    parts: store.utterances.map(({ parts }) =>
      parts.map(({ speaker, start, end, emotion }) => [speaker.name, end - start, emotion?.category ?? null]),
    ),
    whose: store.utterances.map(({ speaker }) => speaker.name),
    people: [...store.people.values()].map(({ name, count, categories, trail, index }) => ({
      name,
      count,
      index,
      categories: Object.fromEntries(categories),
      trail: trail.length,
    })),
    lines: [...store.log.series].map(([key, { valence }]) => [
      store.people.get(key)?.name ?? "everybody",
      store.log.times.map((time, row) => [time, valence[row]]).filter(([, value]) => value !== null),
    ]),
    shifts: store.shifts.map(({ at, speaker, category }) => [at, speaker?.name ?? null, category]),
    told: store.toldShifts().map(({ speaker, category }) => [speaker?.name ?? null, category]),
    wordless: store.utterances.map(wordless),
    starts: store.utterances.map(({ start }) => start),
    moods: [...store.people.values()].map(({ mood }) => mood?.category ?? null),
    models: [...store.people.values()].map(({ models }) => models),
  };
});
process.stdout.write(JSON.stringify(seen));

/**
 * Writes what the page hands out: one JSON list of events on stdin; prints {csv, jsonl, kept}.
 * An argument is the most events that are kept whole.
 */
import { readFileSync } from "node:fs";

import { Recording, toCsv, toJsonl } from "../../demo_client/export.js";

const recording = new Recording(process.argv[2] ? Number(process.argv[2]) : undefined);
for (const event of JSON.parse(readFileSync(0, "utf8"))) recording.add(event);
const { events } = recording;
process.stdout.write(
  JSON.stringify({ csv: toCsv(events), jsonl: toJsonl(events), kept: events.length }),
);

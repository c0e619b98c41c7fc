/** What was told, as files that the command line reads and writes alike; made in the page, sent nowhere. */

import { reread, turnsOf } from "./turns.js";

const DIMENSIONS = ["valence", "arousal", "dominance"];
/** What the evidence of a final says of how fast it is spoken. */
const TEMPO = ["speech_rate", "pause_share", "longest_pause_s"];
const TYPES = { csv: "text/csv", jsonl: "application/x-ndjson" };
const MARK = "\ufeff"; // table programs know UTF-8 by it
/** So many events are kept whole; of more, those that only mattered until the next are left out. */
const MOST_EVENTS = 50_000;

const SAID = "conversation.item.input_audio_transcription.completed";
const FAILED = "conversation.item.input_audio_transcription.failed";
const FELT = "streamser.emotion.completed";
const PASSING = new Set([
  "conversation.item.input_audio_transcription.delta",
  "streamser.transcript.partial",
  "streamser.emotion.delta",
]);

/** Everything that a listener was told, in its order. */
export class Recording {
  constructor(most = MOST_EVENTS) {
    this.most = most;
    this.events = [];
    this.thinned = 0; // events at the beginning of which none is passing any more
  }

  add(event) {
    this.events.push(event);
    if (this.events.length - this.thinned <= this.most) return;
    this.events = this.events.filter(({ type }) => !PASSING.has(type));
    this.thinned = this.events.length;
  }
}

/** Make the text of a JSONL file: the events as they came, for `streamser report` and others. */
export function toJsonl(events) {
  return events.map((event) => `${JSON.stringify(event)}\n`).join("");
}

/**
 * Make the text of a CSV file, as `streamser export` writes it: a row an utterance, and where several
 * speak in one a row each.
 */
export function toCsv(events) {
  const sessions = gather(events);
  const scores = [...new Set(sessions.flatMap(({ categories }) => categories))];
  const header = [
    "file",
    "start",
    "end",
    "category",
    "confidence",
    ...scores.map((name) => `score_${name}`),
    ...DIMENSIONS,
    "uncertainty",
    "modalities",
    "transcript",
    "model",
    "speaker",
    "session",
    "language",
    "lag_ms",
    "problem",
    ...TEMPO,
  ];
  const rows = sessions.flatMap((session) =>
    [...session.items.values()]
      .sort((a, b) => a.start - b.start)
      .flatMap(turnsOf)
      .map((turn) => row(session, turn, scores)),
  );
  return MARK + [header, ...rows].map((cells) => `${cells.map(written).join(",")}\n`).join("");
}

/** Hand a file to the person at the page. */
export function save({ events }, format, meeting) {
  const content = format === "csv" ? toCsv(events) : toJsonl(events);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: `${TYPES[format]};charset=utf-8` }));
  const name = (meeting || "meeting").replace(/[^\p{L}\p{N}_-]+/gu, "-");
  const day = new Date().toISOString().slice(0, 16).replace(/[:T]/g, "-");
  link.download = `${name}-${day}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function row(session, item, scores) {
  const { emotion } = item;
  return [
    session.source,
    item.start / 1000,
    Math.max(item.start, item.end) / 1000,
    emotion?.category,
    emotion?.confidence,
    ...scores.map((name) => emotion?.scores[name]),
    ...DIMENSIONS.map((name) => emotion?.dimensions[name]),
    emotion?.uncertainty,
    emotion?.modalities.join("+"),
    item.transcript,
    emotion?.model,
    item.speaker,
    session.id,
    item.language,
    item.lag,
    problemOf(item),
    ...TEMPO.map((name) => emotion?.evidence?.[name]),
  ];
}

function problemOf({ error, final, alone }) {
  if (error) return error.message.split(/\s+/).filter(Boolean).join(" ");
  if (final) return null;
  const read = alone ? ", of which the voice alone was read" : "";
  return `the events end before its result${read}`;
}

/** Sum up the events of sessions, each event once. */
function gather(events) {
  const sessions = new Map();
  const find = (id) => {
    if (!sessions.has(id))
      sessions.set(id, { id, seen: new Set(), items: new Map(), categories: [], source: "" });
    return sessions.get(id);
  };
  for (const event of events) {
    if (event.type === "streamser.snapshot") {
      for (const { session } of event.sessions) inform(find(session.id), session);
      for (const final of event.finals) recall(find(final.session_id), final);
    } else if (event.session_id) {
      const session = find(event.session_id);
      if (session.seen.has(event.seq)) continue;
      // A loss that one listener is told of has the number of what was lost last.
      if (event.type !== "streamser.overload") session.seen.add(event.seq);
      take(session, event);
    }
  }
  return [...sessions.values()];
}

function inform(session, info) {
  session.speaker = info.speaker ?? null;
  if (session.informed) return;
  session.informed = true;
  session.categories = info.categories ?? [];
  session.source = info.source ?? "";
}

function recall(session, final) {
  if (session.items.has(final.item_id)) return;
  const { audio_start_ms: start, audio_end_ms: end, transcript, speaker, error, lag_ms } = final;
  const { parts = [] } = final;
  const item = { start, end, transcript, speaker, error, parts, final: true, lag: lag_ms };
  session.items.set(final.item_id, item);
  if (final.emotion) judge(item, final.emotion);
}

function take(session, event) {
  const { type, item_id: id, emotion } = event;
  if (event.session?.models) return inform(session, event.session);
  if (type === "input_audio_buffer.cleared") {
    for (const [key, { kept }] of session.items) if (!kept) session.items.delete(key);
    return;
  }
  if (type === "input_audio_buffer.committed") {
    if (session.items.has(id)) session.items.get(id).kept = true;
    return;
  }
  if (type === "streamser.speakers.changed") return revise(session, event);
  const start = event.audio_start_ms ?? emotion?.window.start_ms ?? event.audio_end_ms;
  const end = event.audio_end_ms ?? emotion?.window.end_ms ?? start;
  if (!id || start === undefined) return;
  if (!session.items.has(id)) session.items.set(id, { start, end: start, speaker: session.speaker });
  const item = session.items.get(id);
  item.end = Math.max(item.end, end);
  if (type === "streamser.emotion.provisional") item.kept = item.alone = true;
  if (![SAID, FELT, FAILED].includes(type)) return;
  item.final = item.kept = true;
  item.start = Math.min(item.start, start);
  if (type === SAID) {
    const { transcript, language, words = [] } = event;
    Object.assign(item, { transcript, language, words });
    item.lag = event.lag_ms;
    item.worded = event.lag_ms !== null && event.lag_ms !== undefined;
  } else if (!item.worded) {
    item.lag = event.lag_ms;
  }
  if (type === FELT) item.parts = event.parts ?? [];
  if (type === FAILED) item.error = event.error;
  if (emotion) judge(item, emotion);
}

function judge(item, emotion) {
  item.emotion = emotion;
  item.speaker = emotion.speaker ?? (emotion.speaker_provisional ? null : item.speaker);
}

/** Let what was told before be whose it is after all. */
function revise(session, { renamed = {}, changes = [] }) {
  const names = new Map(Object.entries(renamed));
  const named = (each) => ({ ...each, speaker: names.get(each.speaker) ?? each.speaker });
  for (const item of session.items.values())
    Object.assign(item, named(item), { parts: item.parts?.map(named) });
  for (const { item_id: id, speaker, parts = [] } of changes) {
    const item = session.items.get(id);
    if (item) Object.assign(item, { speaker, parts: reread(parts, item.parts ?? []) });
  }
}

/** Write a cell: numbers to four places; what people have said must not become a formula. */
function written(cell) {
  if (cell === null || cell === undefined) return "";
  if (typeof cell === "number") return cell.toFixed(4).replace(/\.?0+$/, "");
  const text = /^'*[=+\-@\t\r\n＝＋－＠]/.test(cell) ? `'${cell}` : cell;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

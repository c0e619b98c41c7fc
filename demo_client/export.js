/** What was said, as files: one row an utterance; made in the page, sent nowhere. */

const DIMENSIONS = ["valence", "arousal", "dominance"];
const ENDING = { csv: "text/csv", jsonl: "application/x-ndjson" };

/** Make the text of a JSONL file. */
export function toJsonl(utterances) {
  return utterances.map((utterance) => `${JSON.stringify(record(utterance))}\n`).join("");
}

/** Make the text of a CSV file (RFC 4180). */
export function toCsv(utterances) {
  const categories = new Set();
  for (const { emotion } of utterances)
    for (const name in emotion?.scores ?? {}) categories.add(name);
  const scores = [...categories];
  const header = [
    "start",
    "end",
    "seconds",
    "meeting",
    "speaker",
    "transcript",
    "category",
    "confidence",
    "uncertainty",
    ...DIMENSIONS,
    ...scores,
    "modalities",
    "model",
    "lag_ms",
    "error",
    "session_id",
    "item_id",
  ];
  const rows = utterances.map((utterance) => {
    const { emotion, ...said } = record(utterance);
    return [
      said.start,
      said.end,
      said.seconds,
      text(said.meeting),
      text(said.speaker),
      text(said.transcript),
      emotion?.category,
      emotion?.confidence,
      emotion?.uncertainty,
      ...DIMENSIONS.map((name) => emotion?.dimensions[name]),
      ...scores.map((name) => emotion?.scores[name]),
      emotion?.modalities.join(" "),
      text(emotion?.model),
      said.lag_ms,
      said.error?.code,
      text(said.session_id),
      text(said.item_id),
    ];
  });
  return [header, ...rows].map((row) => `${row.map(quote).join(",")}\r\n`).join("");
}

/** Hand a file to the person at the page. */
export function save(utterances, format, meeting) {
  const content = format === "csv" ? toCsv(utterances) : toJsonl(utterances);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: `${ENDING[format]};charset=utf-8` }));
  const name = (meeting || "meeting").replace(/[^\p{L}\p{N}_-]+/gu, "-");
  const day = new Date().toISOString().slice(0, 16).replace(/[:T]/g, "-");
  link.download = `${name}-${day}.${format}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function record({ session, item, meeting, speaker, start, end, transcript, emotion, lag, error }) {
  return {
    start: new Date(start).toISOString(),
    end: new Date(end).toISOString(),
    seconds: Math.round(end - start) / 1000,
    meeting,
    speaker: speaker.name,
    transcript,
    emotion,
    lag_ms: lag ?? null,
    error,
    session_id: session,
    item_id: item,
  };
}

/** What people have said must not become a formula in a table program. */
function text(value) {
  return typeof value === "string" && /^'*[=+\-@\t\r\n＝＋－＠]/.test(value) ? `'${value}` : value;
}

function quote(value) {
  if (value === null || value === undefined) return "";
  const written = String(value);
  return /[",\r\n]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
}

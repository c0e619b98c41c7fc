/** Numbers and times as people read them. */

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

/** Write a moment (ms since 1970) as the time of day. */
export function timeOfDay(ms) {
  return CLOCK.format(ms);
}

/** Write a length of time, such as 1:02:03 or 0:07. */
export function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  const two = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours
    ? `${hours}:${two(minutes)}:${two(seconds % 60)}`
    : `${minutes}:${two(seconds % 60)}`;
}

/** Write a share of 1 in per cent. */
export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** Write a dimension with its sign, or a dash where it was not measured. */
export function signed(value) {
  if (value === null || value === undefined) return "–";
  const written = Math.abs(value).toFixed(2);
  return written === "0.00" ? written : `${value < 0 ? "−" : "+"}${written}`;
}

/** Why words are withheld, as the terminal and reports say it. */
const DISTRUSTED = {
  too_quiet: "too quiet",
  no_speech: "probably no speech",
  low_logprob: "too unclear",
  repetitive: "the same words over and over",
  too_fast: "more words than anybody says in that time",
};

/** Write what there is to say of an utterance in place of words. */
export function wordless({ error, distrusted, transcript }) {
  if (error) return `Not analysed: ${error.message}`;
  if (!distrusted) return transcript === null ? "not transcribed" : "no words understood";
  const known = Object.hasOwn(DISTRUSTED, distrusted);
  return `words withheld: ${known ? DISTRUSTED[distrusted] : distrusted.replaceAll("_", " ")}`;
}

/** Return the median of some numbers, or null. */
export function median(numbers) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) / 2)];
}

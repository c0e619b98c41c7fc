/** An utterance in which several speak, cut into the turn of each, as the command line does it. */

/** Scripts that put no spaces between words. */
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
/** What never stands first of what is said anew, and what never stands last. */
const NEVER_FIRST = "ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶゝゞヽヾ々ๆฯໆ";
const LEADING = "เแโใไເແໂໃໄ";
/** Blanks as the command line knows them. */
const BLANKS = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;
/** Control characters that are no blanks, orders of writing direction, what no file can hold. */
const UNSEEN = /[\0-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\p{Cs}\u202a-\u202e\u2066-\u2069\ufffe\uffff]/gu;

/**
 * Cut an item into turns: `[item]` where one alone speaks. Words go by their times, and where they
 * have none with the part of whoever has most of the time, the longest; so does how late it came.
 */
export function turnsOf(item) {
  const parts = item.parts ?? [];
  if (parts.length < 2 || !item.final || item.error) return [item];
  const theirs = parts.filter(({ speaker }) => same(speaker, item.speaker));
  const longest = (best, part) => (length(part) > length(best) ? part : best);
  const main = (theirs.length ? theirs : parts).reduce(longest);
  const texts = textsOf(item, parts, main);
  const unread = parts.every(({ emotion }) => !emotion);
  return parts.map((part, at) => ({
    ...item,
    start: part.start_ms,
    end: part.end_ms,
    speaker: part.speaker,
    transcript: texts[at],
    lag: part === main ? item.lag : null,
    emotion: unread && same(part.speaker, item.speaker) ? item.emotion : read(item.emotion, part),
  }));
}

/** Let parts keep what was read of most of each before their speakers changed. */
export function reread(parts, told) {
  if (!told.length) return parts;
  const shared = (a, b) => Math.min(a.end_ms, b.end_ms) - Math.max(a.start_ms, b.start_ms);
  return parts.map((part) => {
    const before = told.reduce((best, old) => (shared(old, part) > shared(best, part) ? old : best));
    return { ...part, emotion: before.emotion };
  });
}

const same = (one, other) => (one ?? null) === (other ?? null);
const length = ({ start_ms: start, end_ms: end }) => end - start;

function read(whole, part) {
  if (!whole || !part.emotion) return null;
  return { ...whole, ...part.emotion, evidence: {} };
}

function textsOf({ transcript, words = [] }, parts, main) {
  if (transcript === null || transcript === undefined) return parts.map(() => null);
  const pieces = piecesOf(flat(transcript), words);
  if (!pieces.length) return parts.map((part) => (part === main ? transcript : ""));
  return parts.map((part) =>
    pieces
      .filter((piece) => placeOf(piece, parts) === part)
      .map(({ text }) => text)
      .join("")
      .replace(/^ | $/g, ""),
  );
}

/** Find the part in which the middle of something said lies; the nearest where in none. */
function placeOf({ start, end }, parts) {
  const middle = (start + end) / 2;
  const off = (part) => Math.max(part.start_ms - middle, middle - part.end_ms, 0);
  return parts.reduce((best, part) => (off(part) < off(best) ? part : best));
}

/** Cut a flat text at its words; no pieces where the words are not those of the text. */
function piecesOf(text, words) {
  const pieces = [];
  let place = 0;
  for (const { word, start_ms: start, end_ms: end } of words) {
    const said = flat(word);
    if (!said) continue;
    const blanks = text[place] === " " ? 1 : 0;
    if (!text.startsWith(said, place + blanks)) return [];
    if (!pieces.length || blanks || isBreak(text, place)) pieces.push({ start, from: place });
    pieces.at(-1).end = end;
    place += blanks + said.length;
  }
  if (place < text.length) return [];
  return pieces.map(({ start, end, from }, at) => ({
    start,
    end,
    text: text.slice(at ? from : 0, pieces[at + 1]?.from),
  }));
}

function isBreak(text, place) {
  const [before, after] = [[...text.slice(0, place)].at(-1), [...text.slice(place)][0]];
  if (NEVER_FIRST.includes(after) || LEADING.includes(before)) return false;
  return /[\p{L}\p{N}]/u.test(after) && (UNSPACED.test(before) || UNSPACED.test(after));
}

function flat(text) {
  return text.replace(UNSEEN, "").split(BLANKS).filter(Boolean).join(" ");
}

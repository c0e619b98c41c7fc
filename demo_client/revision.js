/** Who spoke after all: what was told before goes over to whom it is; knows nothing of the DOM. */

/** Whom people read of where nobody can tell which of several voices it was. */
export const UNCERTAIN = "uncertain speaker";

export const keyOf = (meeting, name) => JSON.stringify([meeting ?? null, name]);
export const itemKey = ({ session_id, item_id }) => `${session_id}:${item_id}`;

/** Who spoke after all: first names for everything that was told, then single utterances. */
export function revise(store, event) {
  const { session_id: id, renamed = {}, changes = [] } = event;
  const meeting = event.meeting ?? store.sessions.get(id)?.meeting ?? null;
  const moved = new Map();
  for (const [old, name] of Object.entries(renamed)) {
    const person = store.people.get(keyOf(meeting, store.labelOf(meeting, id, old)));
    if (person) moved.set(person, store.labelOf(meeting, id, name));
  }
  rename(store, moved, meeting);
  const touched = new Set();
  for (const { item_id: item, speaker, parts = [] } of changes) {
    const utterance = store.utterances.find(({ key }) => key === itemKey({ session_id: id, item_id: item }));
    if (!utterance) continue;
    touched.add(utterance.speaker);
    utterance.speaker = store.speaker(meeting, store.labelOf(meeting, id, speaker ?? UNCERTAIN));
    utterance.guessed = true;
    touched.add(utterance.speaker);
    for (const part of utterance.parts) touched.add(part.speaker);
    utterance.parts = placed(store, meeting, id, utterance, parts);
    for (const part of utterance.parts) touched.add(part.speaker);
  }
  for (const person of touched) recount(store, person);
}

/** Let an utterance be of several, each with their own reading; returns whether it is. */
export function divide(store, event) {
  const { session_id: id, parts = [] } = event;
  const utterance = parts.length ? store.utterances.findLast(({ key }) => key === itemKey(event)) : null;
  if (!utterance) return false;
  const meeting = event.meeting ?? store.sessions.get(id)?.meeting ?? null;
  utterance.parts = placed(store, meeting, id, utterance, parts);
  for (const person of new Set([utterance, ...utterance.parts].map(({ speaker }) => speaker))) recount(store, person);
  return true;
}

/** Put parts on the page's clock; each keeps what was read of most of it before. */
function placed(store, meeting, id, utterance, parts) {
  const shift = utterance.end - utterance.audioEnd;
  return parts.map((part) => {
    const [start, end] = [part.start_ms + shift, part.end_ms + shift];
    const shared = (old) => Math.min(old.end, end) - Math.max(old.start, start);
    const before = [...utterance.parts].sort((a, b) => shared(b) - shared(a))[0];
    const emotion = part.emotion ?? before?.emotion ?? null;
    const speaker = store.speaker(meeting, store.labelOf(meeting, id, part.speaker ?? UNCERTAIN));
    return { speaker, start, end, emotion };
  });
}

/** Let people be called otherwise, all at once; two of one name are one person. */
function rename(store, moved, meeting) {
  if (!moved.size) return;
  const people = [...store.people.values()];
  const stay = new Map(people.filter((each) => !moved.has(each)).map((each) => [each.key, each]));
  const into = new Map();
  for (const [person, name] of moved) {
    const key = keyOf(meeting, name);
    const other = stay.get(key);
    into.set(person, other ?? person);
    if (!other) stay.set(key, person);
  }
  const lines = [...moved.keys()].map((person) => [person, person.key]);
  // By way of keys that nobody has: names may change places.
  for (const [person, key] of lines) store.log.rename(key, `moving ${key}`);
  for (const [person, name] of moved) {
    if (into.get(person) !== person) continue;
    person.name = name;
    person.key = keyOf(meeting, name);
  }
  for (const [person, key] of lines) store.log.rename(`moving ${key}`, into.get(person).key);
  store.people = new Map(people.filter((each) => (into.get(each) ?? each) === each).map((each) => [each.key, each]));
  const parts = store.utterances.flatMap((each) => each.parts);
  for (const each of [...store.utterances, ...parts, ...store.live.values(), ...store.shifts]) {
    each.speaker = into.get(each.speaker) ?? each.speaker;
  }
  for (const [person, other] of into) {
    if (other === person) continue;
    other.present ||= person.present;
    other.mood ??= person.mood;
    recount(store, other);
  }
}

/** Sum up anew what somebody has said; who has said nothing after all was nobody. */
function recount(store, person) {
  const said = store.utterances.filter(({ speaker }) => speaker === person);
  const beside = store.utterances.filter(({ parts }) => parts.some(({ speaker }) => speaker === person));
  person.categories = new Map();
  person.trail = [];
  person.heardBy = new Set(said.filter(({ guessed }) => guessed).map(({ session }) => session));
  for (const utterance of new Set([...said, ...beside])) store.countReading(utterance, person);
  const silent = !said.length && !beside.length;
  person.vacated = silent && ![...store.sessions.values()].some(({ key }) => key === person.key);
  if (silent) person.mood = null;
  // Only where no meeting tells it better.
  if (person.meeting) return;
  if (person.vacated) {
    store.people.delete(person.key);
    store.log.series.delete(person.key);
  }
  person.count = said.length;
  const spans = store.utterances.flatMap((each) => (each.parts.length ? each.parts : [each]));
  const spoken = spans.filter(({ speaker }) => speaker === person);
  person.speechMs = spoken.reduce((all, { start, end }) => all + end - start, 0);
  store.shareOut();
}

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
  for (const { item_id: item, speaker } of changes) {
    const utterance = store.utterances.find(({ key }) => key === itemKey({ session_id: id, item_id: item }));
    if (!utterance) continue;
    touched.add(utterance.speaker);
    utterance.speaker = store.speaker(meeting, store.labelOf(meeting, id, speaker ?? UNCERTAIN));
    utterance.guessed = true;
    touched.add(utterance.speaker);
  }
  for (const person of touched) recount(store, person);
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
  for (const each of [...store.utterances, ...store.live.values(), ...store.shifts]) {
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
  person.categories = new Map();
  person.trail = [];
  person.heardBy = new Set(said.filter(({ guessed }) => guessed).map(({ session }) => session));
  for (const utterance of said) store.countReading(utterance);
  person.vacated = !said.length && ![...store.sessions.values()].some(({ key }) => key === person.key);
  if (!said.length) person.mood = null;
  // Only where no meeting tells it better.
  if (person.meeting) return;
  if (person.vacated) {
    store.people.delete(person.key);
    store.log.series.delete(person.key);
  }
  person.count = said.length;
  person.speechMs = said.reduce((all, { start, end }) => all + end - start, 0);
  store.shareOut();
}

/**
 * What the page knows of a meeting, from listener events alone; knows nothing of the DOM.
 *
 * `apply(event)` changes the state and returns the names of the parts that changed:
 * `utterances`, `live`, `people`, `mood`, `shifts`, `gaps`. Unknown events change nothing.
 */

import { Clocks } from "./clocks.js";
import { median } from "./format.js";
import { MoodLog } from "./moodlog.js";
import { UNCERTAIN, divide, itemKey, keyOf, revise } from "./revision.js";

const LAGS = 20;
const TRAIL = 14;
const SHIFTS = 100;
/** An utterance that nothing is heard of for so long has lost its end, or its final. */
const STALE_MS = { speaking: 90_000, thinking: 600_000 };
export const EVERYBODY = "";

const FINAL = "conversation.item.input_audio_transcription.completed";
const FAILED = "conversation.item.input_audio_transcription.failed";

export class Store {
  constructor(now = Date.now) {
    this.utterances = []; // by start, all of them
    this.known = new Set();
    this.live = new Map(); // item -> what is being said
    this.people = new Map(); // key -> speaker
    this.joined = 0; // people so far, also those who turned out to be others
    this.meetings = new Map(); // name -> its last state
    this.meeting = null; // the one that is shown
    this.shifts = [];
    this.log = new MoodLog();
    this.categories = new Map(); // category -> ms
    this.most = { valence: 0, arousal: 0 }; // the farthest from 0 that any reading was
    this.lags = []; // of the last first readings, provisional or final
    this.sessions = new Map(); // id -> {speaker, meeting, transcribed}
    this.guessing = new Map(); // meeting -> sessions in which voices are told apart, as they came
    this.clocks = new Clocks(now); // of meetings, and of sessions without one
    this.cursor = -1; // events after it are live, up to it are sent again
    this.playback = null; // the speed of a recording that is played, if one is
    this.gaps = 0; // breaks after which some events were gone
  }

  /** Return what time it is, ms since 1970; where a recording is played, its own. */
  now() {
    return this.clocks.now();
  }

  apply(event) {
    const changed = new Set();
    const handler = HANDLERS[event.type];
    if (handler) handler.call(this, event, changed);
    return changed;
  }

  // -- events of sessions

  sessionCreated({ session, meeting }, changed) {
    this.addSession(session, meeting ?? session.meeting ?? null);
    changed.add("people");
  }

  sessionClosed({ session_id }, changed) {
    const session = this.sessions.get(session_id);
    for (const [key, item] of this.live) if (item.session === session_id) this.live.delete(key);
    this.sessions.delete(session_id);
    if (session) {
      const speaker = this.speaker(session.meeting, session.speaker ?? session_id);
      speaker.present = [...this.sessions.values()].some((other) => other.key === speaker.key);
      speaker.speaking = false;
    }
    changed.add("live").add("people");
  }

  speechStarted(event, changed) {
    if (this.known.has(itemKey(event))) return;
    this.liveItem(event).speaker.speaking = true;
    changed.add("live").add("people");
  }

  speechStopped(event, changed) {
    if (this.known.has(itemKey(event))) return;
    const item = this.liveItem(event);
    const { at } = this.moment(event);
    item.phase = "thinking";
    item.end = at - (event.lag_ms ?? 0);
    item.speaker.speaking = false;
    changed.add("live").add("people");
  }

  provisional(event, changed) {
    if (this.known.has(itemKey(event))) return;
    const item = this.liveItem(event);
    item.phase = "thinking";
    this.addLag(event);
    item.alone = event.emotion;
    changed.add("live").add("mood");
  }

  cleared({ session_id }, changed) {
    for (const [key, item] of this.live) {
      if (item.session !== session_id || item.phase !== "speaking") continue;
      item.speaker.speaking = false;
      this.live.delete(key);
    }
    changed.add("live").add("people");
  }

  partial(event, changed) {
    if (this.known.has(itemKey(event))) return;
    const item = this.liveItem(event);
    item.committed = event.committed ?? "";
    item.revisable = event.revisable ?? event.text ?? "";
    changed.add("live");
  }

  emotionDelta(event, changed) {
    if (this.known.has(itemKey(event))) return;
    this.liveItem(event).emotion = event.emotion;
    changed.add("live").add("mood");
  }

  final(event, changed) {
    const { at } = this.moment(event);
    const { emotion = null, error = null, lag_ms: lag } = event;
    const end = at - (lag ?? 0);
    const length = event.audio_end_ms - event.audio_start_ms;
    if (!this.live.get(itemKey(event))?.alone) this.addLag(event);
    this.addUtterance(
      {
        key: itemKey(event),
        session: event.session_id,
        item: event.item_id,
        meeting: event.meeting ?? null,
        speaker: this.speakerOf(event, emotion),
        guessed: Boolean(emotion?.speaker_provisional),
        start: end - length,
        end,
        audioEnd: event.audio_end_ms,
        parts: [], // who speaks when in it, where several do, and how each sounds
        transcript: event.transcript ?? null,
        distrusted: event.distrusted ?? null,
        emotion,
        lag,
        error,
      },
      changed,
    );
  }

  emotionCompleted(event, changed) {
    // Where words are recognised, the transcript's own final says it all.
    const session = this.sessions.get(event.session_id);
    if (!this.known.has(itemKey(event)) && session?.transcribed === false) {
      const { start_ms, end_ms } = event.emotion.window;
      this.final({ ...event, audio_start_ms: start_ms, audio_end_ms: end_ms }, changed);
    }
    if (divide(this, event)) changed.add("utterances").add("people");
  }

  speakersChanged(event, changed) {
    revise(this, event);
    for (const part of ["utterances", "live", "people", "mood", "shifts"]) changed.add(part);
  }

  moodUpdated(event, changed) {
    // A session of a meeting is told of by the meeting.
    if (event.meeting || this.sessions.get(event.session_id)?.meeting) return;
    const { at } = this.moment(event);
    const speaker = this.speakerOf(event, event);
    this.setMood(speaker, event, at);
    if (event.shift) this.addShift({ at, speaker, ...pick(event) });
    changed.add("mood").add("people").add("shifts");
  }

  // -- events of the server

  snapshot(event, changed) {
    const again = this.cursor >= 0;
    if (event.lost) {
      this.gaps += 1;
      changed.add("gaps");
    }
    if (again && event.replay_from === null) this.live.clear();
    this.cursor = event.cursor;
    this.playback = event.playback ?? null;
    if (this.playback !== null) this.clocks.play();
    const present = new Set(event.sessions.map(({ session }) => session.id));
    for (const id of this.sessions.keys()) if (!present.has(id)) this.sessions.delete(id);
    for (const person of this.people.values()) person.present = false;
    // What led to this state is told now, from its beginning: the lines must not begin at its end.
    const drawn = event.replay_from === null;
    for (const state of event.meetings) {
      this.clocks.tell(state.meeting, state.at_ms, true);
      this.setMeeting(state, drawn);
    }
    // Who is in no meeting has a clock of their own, which their latest final tells best.
    for (const { meeting, session_id, at_ms } of [...event.finals].reverse())
      if (!meeting) this.clocks.tell(session_id, at_ms, false);
    for (const { session } of event.sessions) this.addSession(session, session.meeting);
    for (const finished of event.finals) {
      this.final({ ...finished, emotion: finished.emotion, past: true }, changed);
      divide(this, finished);
    }
    for (const part of ["live", "people", "mood", "shifts", "utterances"]) changed.add(part);
  }

  meetingUpdated(event, changed) {
    this.moment(event);
    this.setMeeting(event);
    changed.add("mood").add("people");
  }

  moodShifted(event, changed) {
    const { at } = this.moment(event);
    const speaker = event.speaker === null ? null : this.speaker(event.meeting, event.speaker);
    this.addShift({ at, speaker, meeting: event.meeting ?? null, ...pick(event) });
    changed.add("shifts");
  }

  // -- how far behind

  /**
   * Return how late readings are, in ms, or null: as they usually are of late, or more where one
   * has been awaited for longer. What the voice alone says is a reading.
   */
  behind() {
    const waits = [...this.live.values()]
      .filter(({ end, alone }) => end !== null && !alone)
      .map(({ end }) => this.now() - end);
    const usual = median(this.lags);
    return usual === null && !waits.length ? null : Math.max(usual ?? 0, ...waits);
  }

  addLag(event) {
    const { lag_ms: lag } = event;
    if (lag === null || lag === undefined || !this.moment(event).live) return;
    this.lags.push(lag);
    if (this.lags.length > LAGS) this.lags.shift();
  }

  // -- the parts

  /** Whether a meeting has one speaker alone: then what is true of everybody is said already. */
  isSolo(meeting) {
    const there = [...this.people.values()].filter((person) => person.meeting === meeting);
    return there.length === 1;
  }

  /** Whether nobody but one was ever heard, in any meeting. */
  get solo() {
    return this.people.size === 1;
  }

  /** Return the shifts to show: those of everybody only where there are several. */
  toldShifts() {
    return this.shifts.filter(({ speaker, meeting }) => speaker || !this.isSolo(meeting));
  }

  /** Return the moment (ms since 1970) of an event, and whether it is happening now. */
  moment(event) {
    const live = !event.past && !(event.cursor <= this.cursor);
    return { live, at: this.clocks.tell(event.meeting ?? event.session_id, event.at_ms, live) };
  }

  addSession(session, meeting) {
    const speaker = this.speaker(meeting, session.speaker ?? session.id);
    speaker.present = true;
    speaker.models = session.models ? modelsOf(session.models) : "";
    this.sessions.set(session.id, {
      key: speaker.key,
      speaker: session.speaker ?? null,
      meeting: meeting ?? null,
      transcribed: session.models ? session.models.asr !== null : true,
    });
  }

  setMeeting(state, drawn = true) {
    const { meeting: name, at_ms, mood, overlap_ms } = state;
    const at = this.clocks.began(name) + at_ms;
    this.meetings.set(name, { name, at_ms, mood, overlap_ms });
    this.meeting = this.meetings.get(name);
    const unlisted = new Set([...this.people.values()].filter(({ meeting }) => meeting === name));
    let listedMs = 0;
    for (const person of state.speakers) {
      const speaker = this.speaker(name, person.speaker);
      unlisted.delete(speaker);
      listedMs += person.speech_ms;
      speaker.speaking = person.speaking;
      speaker.speechMs = person.speech_ms;
      speaker.share = person.share;
      speaker.count = person.utterances;
      if (person.mood) this.setMood(speaker, person.mood, at, drawn);
      // What a voice alone said was all there was, and has been taken back.
      else speaker.mood = null;
    }
    for (const speaker of unlisted) {
      if (!speaker.vacated || state.more_speakers) continue;
      unlisted.delete(speaker);
      this.people.delete(speaker.key);
      this.log.series.delete(speaker.key);
    }
    // Of many the server lists some; we still know what the others said, and have a share for them.
    const rest = state.more_speakers_share ?? 0;
    for (const speaker of unlisted) {
      speaker.share = listedMs && rest < 1 ? (speaker.speechMs / listedMs) * (1 - rest) : 0;
    }
    if (mood && drawn) this.log.add(at, EVERYBODY, mood.dimensions);
  }

  setMood(speaker, mood, at, drawn = true) {
    speaker.mood = mood;
    const { valence, arousal } = mood.dimensions;
    const last = speaker.drawn;
    if (!drawn || (last && last.valence === valence && last.arousal === arousal)) return;
    speaker.drawn = mood.dimensions;
    this.log.add(at, speaker.key, mood.dimensions);
  }

  addShift(shift) {
    this.shifts.push(shift);
    if (this.shifts.length > SHIFTS) this.shifts.shift();
  }

  addUtterance(utterance, changed) {
    this.live.delete(utterance.key);
    changed.add("live").add("people");
    if (this.known.has(utterance.key)) return;
    this.known.add(utterance.key);
    let place = this.utterances.length;
    // A session tells its utterances in order, whatever our guess of their times.
    const isLater = (other) => other.start > utterance.start && other.session !== utterance.session;
    while (place > 0 && isLater(this.utterances[place - 1])) place -= 1;
    this.utterances.splice(place, 0, utterance);
    const { speaker, emotion } = utterance;
    const length = utterance.end - utterance.start;
    if (utterance.guessed) speaker.heardBy.add(utterance.session);
    if (emotion) {
      const { category, dimensions } = emotion;
      this.categories.set(category, (this.categories.get(category) ?? 0) + length);
      this.most.valence = Math.max(this.most.valence, Math.abs(dimensions.valence ?? 0));
      this.most.arousal = Math.max(this.most.arousal, Math.abs(dimensions.arousal ?? 0));
      this.countReading(utterance);
    }
    // Only where no meeting tells it better.
    if (!utterance.meeting) {
      speaker.speechMs += length;
      speaker.count += 1;
      this.shareOut();
    }
    changed.add("utterances").add("mood");
  }

  /** Count how somebody sounds in an utterance; how each does in their parts of it, if that is known. */
  countReading(utterance, person = null) {
    const { speaker: whole, emotion, start, end } = utterance;
    const read = utterance.parts.filter((part) => part.emotion);
    for (const one of read.length ? read : [{ speaker: whole, emotion, start, end }]) {
      if (!person || one.speaker === person) this.countOne(one);
    }
  }

  countOne({ speaker, emotion, start, end }) {
    if (!emotion) return;
    const { category, dimensions } = emotion;
    const { valence, arousal } = dimensions;
    speaker.categories.set(category, (speaker.categories.get(category) ?? 0) + end - start);
    if (valence === null || arousal === null) return;
    speaker.trail.push({ valence, arousal, category, at: end });
    if (speaker.trail.length > TRAIL) speaker.trail.shift();
  }

  shareOut() {
    let all = 0;
    for (const person of this.people.values()) all += person.speechMs;
    for (const person of this.people.values()) person.share = all ? person.speechMs / all : 0;
  }

  liveItem(event) {
    const key = itemKey(event);
    const now = this.now();
    let item = this.live.get(key);
    if (!item) {
      const { at } = this.moment(event);
      item = {
        key,
        session: event.session_id,
        speaker: this.speakerOf(event, event.emotion),
        start: at - (event.lag_ms ?? 0),
        end: null,
        phase: "speaking",
        committed: "",
        revisable: "",
        emotion: null,
        alone: null, // what the voice alone says of all of it, until the words are there
      };
      this.live.set(key, item);
    }
    item.touched = now;
    return item;
  }

  /** Forget what was begun and never ended; returns whether there was any. */
  sweep() {
    const before = this.live.size;
    for (const [key, item] of this.live) {
      if (this.now() - item.touched > STALE_MS[item.phase]) this.live.delete(key);
    }
    return this.live.size !== before;
  }

  speakerOf(event, named) {
    const session = this.sessions.get(event.session_id);
    const meeting = event.meeting ?? session?.meeting ?? null;
    if (named?.speaker_provisional) {
      return this.speaker(meeting, this.labelOf(meeting, event.session_id, named.speaker ?? UNCERTAIN));
    }
    const name = named?.speaker ?? event.speaker ?? session?.speaker ?? event.session_id;
    return this.speaker(meeting, name);
  }

  /** Return how a meeting calls a voice of a session: one label of two microphones is two people. */
  labelOf(meeting, session, label) {
    const order = this.guessing.get(meeting) ?? [];
    this.guessing.set(meeting, order);
    if (!order.includes(session)) order.push(session);
    const stream = order.indexOf(session) + 1;
    return stream === 1 ? label : `${label} (stream ${stream})`;
  }

  speaker(meeting, name) {
    const key = keyOf(meeting, name);
    let speaker = this.people.get(key);
    if (!speaker) {
      speaker = makeSpeaker(key, this.joined, meeting, name);
      this.joined += 1;
      this.people.set(key, speaker);
    }
    return speaker;
  }
}

function makeSpeaker(key, index, meeting, name) {
  const unnamed = /^sess_[0-9a-z]+$/i.test(name);
  return {
    key,
    index,
    meeting: meeting ?? null,
    name: unnamed ? `Speaker ${index + 1}` : name,
    present: true,
    speaking: false,
    speechMs: 0,
    share: 0,
    count: 0,
    mood: null,
    drawn: null, // the last of their moods that is in the lines
    models: "",
    heardBy: new Set(), // sessions that took a voice for theirs
    vacated: false, // all that they had said is somebody else's after all
    categories: new Map(),
    trail: [],
  };
}

const HANDLERS = {
  __proto__: null, // a type named like a method of objects is unknown, too
  "session.created": Store.prototype.sessionCreated,
  "session.updated": Store.prototype.sessionCreated,
  "streamser.session.closed": Store.prototype.sessionClosed,
  "input_audio_buffer.speech_started": Store.prototype.speechStarted,
  "input_audio_buffer.speech_stopped": Store.prototype.speechStopped,
  "input_audio_buffer.cleared": Store.prototype.cleared,
  "streamser.transcript.partial": Store.prototype.partial,
  "streamser.emotion.delta": Store.prototype.emotionDelta,
  "streamser.emotion.provisional": Store.prototype.provisional,
  [FINAL]: Store.prototype.final,
  [FAILED]: Store.prototype.final,
  "streamser.emotion.completed": Store.prototype.emotionCompleted,
  "streamser.speakers.changed": Store.prototype.speakersChanged,
  "streamser.mood.updated": Store.prototype.moodUpdated,
  "streamser.snapshot": Store.prototype.snapshot,
  "streamser.meeting.updated": Store.prototype.meetingUpdated,
  "streamser.mood.shifted": Store.prototype.moodShifted,
};

/** Write which models listen, and what the recogniser computes in. */
const modelsOf = ({ vad, asr, asr_arithmetic: arithmetic, emotion }) =>
  [vad, (asr ?? "no words") + (arithmetic ? ` in ${arithmetic}` : ""), emotion].join(" · ");
const pick = ({ category, previous }) => ({ category, previous });

/**
 * A small client of a streamser server, without dependencies: `connect` sends sound,
 * `subscribe` listens. Both reconnect by themselves. Works in every page and worker; see README.md.
 */

import { Link, address, needSocket } from "./client/link.js";
import { SentSound } from "./client/sound.js";

export { isLoading } from "./client/link.js";

/** More than this waiting in the socket and we hold back: the sound is kept here anyway. */
const BUFFERED_BYTES = 64 * 1024;
const KEEPALIVE_MS = 10_000;

/** Make a secret that nobody can guess. */
function secret() {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Send sound as one speaker; 16-bit mono at `rate` Hz. With `speakers` ("auto", or how many) the
 * voices of several people at one microphone are told apart; leave out `speaker` then.
 *
 * `onEvent(event, {offsetMs})`: every event once, in order; `offsetMs` is where the event's
 * session begins in all that was given to `send` (0, until a server lost the session).
 * `onMissed({events, finals})`: how many the server can never tell us any more, in all.
 * Returns `{send, command, finish, close, state, stats}`. `finish` resolves when the last final is here.
 * Throws where there is no WebSocket, as in Node before 22.
 */
export function connect({
  url,
  speaker,
  speakers,
  meeting,
  token,
  rate = 16000,
  onEvent = () => {},
  onState = () => {},
  onMissed = () => {},
}) {
  needSocket();
  const stream = new SentSound(rate);
  const missed = { events: 0, finals: 0 }; // that no server will tell us any more
  let session = null; // {id, seq}: the session that our sound goes to
  let key = secret();
  let sending = false; // the server has told us from where
  let finishing = null;
  let finishSent = false;
  let pumpTimer = null;
  let lastSent = 0;
  let state = "connecting";

  const keepalive = setInterval(() => {
    // A paused speaker is not a vanished one.
    if (!sending || !link.ready() || performance.now() - lastSent < KEEPALIVE_MS) return;
    lastSent = performance.now();
    link.send(JSON.stringify({ type: "streamser.marker", id: "keepalive" }));
  }, KEEPALIVE_MS / 2);

  const link = new Link({
    token,
    target: () =>
      address(url, "/v1/realtime", {
        intent: "transcription",
        rate,
        encoding: "s16le",
        speaker,
        speakers,
        meeting,
        stream: key,
        after: session?.seq,
      }),
    onMessage: receive,
    onState: (name, detail) => {
      state = name;
      if (name === "closed") {
        clearInterval(keepalive);
        finishing?.resolve();
      }
      onState(name, detail);
    },
    onDrop: () => {
      sending = finishSent = false;
      clearTimeout(pumpTimer);
      pumpTimer = null;
    },
  });

  function receive(event) {
    if (event.type === "session.created" && event.session_id !== session?.id) {
      session = { id: event.session_id, seq: 0 };
      stream.restart();
      start();
    }
    if (event.session_id !== session?.id) return onEvent(event, { offsetMs: stream.offsetMs });
    // Told to us alone, as what we sent was wrong: it has no place among the events.
    if (event.seq === 0) return onEvent(event, { offsetMs: stream.offsetMs });
    // Beside a final, which has the number already.
    if (event.type === "streamser.overload" && event.kind === "finals") {
      return onEvent(event, { offsetMs: stream.offsetMs });
    }
    // Sent again after a break although we had it.
    if (event.seq <= session.seq) return;
    const before = session.seq;
    session.seq = event.seq;
    // While it is sent again the server counts what is missing; an overload stands for its gap.
    if (sending && event.type !== "streamser.overload") miss(event.seq - before - 1);
    if (event.type === "streamser.session.resumed") {
      miss(event.lost_events ?? 0, event.lost_finals ?? 0);
      if (!sending) {
        stream.resume(event.received_frames);
        start();
      }
    } else if (isFinal(event)) {
      stream.settle(event.audio_end_ms ?? event.emotion.window.end_ms);
    } else if (event.type === "streamser.session.closed") {
      stream.settle(event.audio_ms);
    }
    onEvent(event, { offsetMs: stream.offsetMs });
    if (event.type === "streamser.session.closed") {
      session = null;
      sending = false;
      key = secret();
      // A server that went away in the middle of it has not heard everything.
      if (finishing && stream.isSettled()) stop();
    }
  }

  function miss(events, finals = 0) {
    if (!events) return;
    missed.events += events;
    missed.finals += finals;
    onMissed({ ...missed });
  }

  function start() {
    sending = true;
    link.live();
    pump();
  }

  /** Send what is there, but no more than the socket takes: the rest waits here. */
  function pump() {
    clearTimeout(pumpTimer);
    pumpTimer = null;
    if (!sending || !link.ready()) return;
    while (link.socket.bufferedAmount < BUFFERED_BYTES) {
      const chunk = stream.next();
      if (!chunk) {
        if (finishing && !finishSent) {
          finishSent = true;
          link.send(JSON.stringify({ type: "streamser.finish" }));
        }
        return;
      }
      link.send(chunk);
      lastSent = performance.now();
    }
    pumpTimer = setTimeout(pump, 40);
  }

  function stop() {
    clearTimeout(pumpTimer);
    link.end(1000, "finished");
  }

  return {
    /** Send 16-bit samples, an `Int16Array` or its `ArrayBuffer`. */
    send(sound) {
      if (link.ended || finishing) return;
      stream.add(sound instanceof Int16Array ? sound : new Int16Array(sound));
      if (!pumpTimer) pump();
    },
    /** Send a message of the protocol, an object; returns whether there was a connection for it. */
    command(message) {
      if (!sending || !link.ready()) return false;
      link.send(JSON.stringify(message));
      return true;
    },
    /** End well: everything is sent and answered. Gives up after `timeoutMs`. */
    finish(timeoutMs = 30_000) {
      if (!finishing) {
        finishing = {};
        finishing.promise = new Promise((resolve) => (finishing.resolve = resolve));
        setTimeout(stop, timeoutMs);
        if (link.over) finishing.resolve();
        else pump();
      }
      return finishing.promise;
    },
    /** End at once; what is not answered yet is lost. */
    close: stop,
    get state() {
      return state;
    },
    /**
     * Seconds of sound: given to us, not yet sent, not yet settled, given up; and how many
     * events, and finals among them, were `missed`: the server could not tell them again.
     */
    get stats() {
      return { ...stream.stats(), missed: { ...missed } };
    },
  };
}

/** Whether an event settles the sound of an utterance. */
function isFinal({ type }) {
  return (
    type === "conversation.item.input_audio_transcription.completed" ||
    type === "conversation.item.input_audio_transcription.failed" ||
    type === "streamser.emotion.completed"
  );
}

/**
 * Listen to a meeting, a session, or (`all: true`) everything.
 *
 * `onEvent(event)`: each event once; a snapshot first, and again after every break: where it is
 * `lost`, events since then are gone. `after: 0` asks for all that is still kept.
 * Returns `{close, state}`.
 */
export function subscribe({
  url,
  meeting,
  session,
  all,
  after,
  types,
  token,
  onEvent = () => {},
  onState = () => {},
}) {
  needSocket();
  let last = after;
  let state = "connecting";
  const place = session ? "seq" : "cursor";

  const link = new Link({
    token,
    target: () =>
      address(url, "/v1/events", {
        meeting,
        session,
        all: all || (!meeting && !session) ? true : undefined,
        types: types?.join(","),
        after: last,
      }),
    onMessage: receive,
    onState: (name, detail) => onState((state = name), detail),
    onDrop: () => {},
  });

  function receive(event) {
    if (event.type === "streamser.snapshot") {
      // Without a replay, the snapshot is the past; a cursor below ours means a new server.
      if (place === "cursor" && (event.replay_from === null || event.cursor < last)) {
        last = event.replay_from === null ? event.cursor : event.replay_from - 1;
      }
      link.live();
      return onEvent(event);
    }
    const number = event[place];
    if (Number.isFinite(number)) {
      if (number <= last) return;
      last = number;
    }
    onEvent(event);
  }

  return {
    close: () => link.end(1000, "left"),
    get state() {
      return state;
    },
  };
}

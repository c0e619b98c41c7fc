/** The page: from the first screen to the meeting and back; draws what has changed, once a frame. */

import { isLoading, subscribe } from "./streamser.js";
import { Store } from "./store.js";
import { Setup, readAddress } from "./setup.js";
import { Sender } from "./sender.js";
import { Transcript } from "./transcript.js";
import { Plane } from "./plane.js";
import { Timeline } from "./timeline.js";
import { People, drawLegend, drawMood, drawShifts } from "./panels.js";
import { Naming } from "./naming.js";
import { duration } from "./format.js";
import { Recording, save } from "./export.js";

const URL_OF_SERVER = location.href;
const SLOW_MS = 500; // the time line is costly, and nothing on it is urgent
/** So long after a late final its notice stays. */
const LATE_MS = 30_000;
const REFUSALS = {
  4401: "This server asks for an access token, or does not know the one given.",
  4403: "This token may not do that here, or the page comes from an origin that is not allowed.",
  4408: "The server ended the connection: nothing was sent for too long, or the session was too long.",
  1008: "The server ended the connection, because something was against its rules.",
};
const WITHDRAWN =
  "Your access token is not taken here any more. Ask who runs the server for another, and come back with it.";
const STATE_WORDS = {
  connecting: "connecting",
  live: "live",
  waiting: "reconnecting",
  closed: "ended",
};

const LOADING =
  "The server is loading its models. What you say meanwhile is kept, up to a minute of it.";

const GAP =
  "The connection was broken for so long that the server no longer has everything: some of what was said meanwhile may be missing here.";

const get = (id) => document.getElementById(id);
let meeting = null; // all that exists only while somebody takes part

/** Enter: open the microphone if somebody joins, and listen in any case. */
async function enter(answers) {
  setup.tell("");
  const { mode, meeting: name, speaker, several, token, deviceId } = answers;
  const place = { url: URL_OF_SERVER, meeting: name, token };
  const states = {};
  const onState = (part) => (state, detail) => {
    // A voice whose last words are still on their way after one has left.
    if (meeting?.states !== states) return;
    states[part] = { ...states[part], state, ...detail };
    drawConnection(states);
    if (state === "live") states[part].wasLive = true;
    if (state === "closed" && detail.code !== 1000) refuse(part, detail);
  };
  const current = (meeting = { name, store: new Store(), dirty: new Set(), states });
  current.recording = new Recording();
  if (mode === "join") {
    current.sender = new Sender({
      onState: onState("sender"),
      onLate: () => {
        current.lateUntil = Date.now() + LATE_MS;
        get("late").hidden = false;
      },
      onTrouble: showTrouble,
      onPause: () => drawConnection(states),
      // From now on it can be said who the voices are that it hears.
      onSession: () => {
        for (const part of ["utterances", "people"]) current.dirty.add(part);
        schedule();
      },
    });
    get("enter").disabled = true;
    try {
      await current.sender.start({ ...place, speaker, several, deviceId });
    } catch (error) {
      meeting = null;
      return setup.tell(error.message);
    } finally {
      setup.refresh();
    }
    // Refused while the microphone opened.
    if (meeting !== current) return;
  }
  show("view");
  build(current);
  current.listener = subscribe({
    ...place,
    after: 0, // everything that the server still has: who comes late sees what those see who were there
    onState: onState("listener"),
    onEvent: (event) => {
      current.recording.add(event);
      const { playback } = current.store;
      for (const part of current.store.apply(event)) current.dirty.add(part);
      if (current.store.playback !== playback) drawConnection(states);
      schedule();
    },
  });
}

function build(current) {
  const { store } = current;
  current.naming = new Naming(store, current.sender, showTrouble);
  const names = {
    mayName: (each) => current.naming.mayName(each),
    onName: (speaker, utterance) => current.naming.open(speaker, utterance),
  };
  current.transcript = new Transcript(store, names);
  current.plane = new Plane(store, get("plane"));
  current.timeline = new Timeline(store, get("charts"));
  current.people = new People(store, names);
  for (const part of ["mood", "shifts", "people", "live"]) current.dirty.add(part);
  current.tick = setInterval(() => tick(current), 1000);
  tick(current);
}

/** Every second: clocks, and a time line that moves although nobody speaks. */
function tick(current) {
  const { store } = current;
  const began = store.meeting && store.clocks.began(store.meeting.name);
  get("meeting-time").textContent = began ? duration(store.now() - began) : "";
  get("meeting-name").textContent =
    current.name || store.meeting?.name || "Everything on this server";
  get("late").hidden = !(current.lateUntil > Date.now());
  if (store.sweep()) current.dirty.add("live");
  const behind = store.behind();
  get("lag").firstElementChild.textContent =
    behind === null ? "–" : `${(behind / 1000).toFixed(1)} s behind`;
  current.dirty.add("time");
  schedule();
}

let frame = 0;

function schedule() {
  // A hidden page gets no frames: it draws when it is looked at again.
  if (!frame) frame = requestAnimationFrame(draw);
}

function draw(time) {
  frame = 0;
  const current = meeting;
  if (!current?.people) return;
  const { dirty, store } = current;
  const moved = dirty.has("utterances") || dirty.has("live");
  if (dirty.has("utterances")) current.transcript.draw();
  if (dirty.has("live")) current.transcript.drawLive();
  if (moved) current.transcript.settle();
  if (dirty.has("people")) current.people.draw();
  if (dirty.has("mood") || dirty.has("utterances")) {
    drawMood(store);
    current.plane.describe();
    if (dirty.has("utterances")) current.plane.refresh();
  }
  if (dirty.has("shifts") || dirty.has("people")) drawShifts(store);
  const late = time - (current.drawnAt ?? -Infinity) > SLOW_MS;
  if (late && (dirty.has("time") || dirty.has("mood"))) {
    current.drawnAt = time;
    current.timeline.draw();
  }
  if (dirty.has("gaps")) showTrouble(GAP);
  dirty.clear();
  if (current.plane.draw(time)) schedule();
}

/** Tell how the connections are: the worse of the two. */
function drawConnection(states) {
  const order = ["closed", "waiting", "connecting", "live"];
  const worst = Object.values(states).sort(
    (a, b) => order.indexOf(a.state) - order.indexOf(b.state),
  )[0];
  const pill = get("connection");
  pill.dataset.state = worst.state;
  const paused = worst.state === "live" && meeting?.sender?.paused;
  const playback = meeting?.store.playback ?? null;
  const live = playback === null ? STATE_WORDS.live : `recording, ${playback}×`;
  // Each try says "connecting" for a moment; what the last one was told is still true.
  const loading = ["waiting", "connecting"].includes(worst.state) && isLoading(worst.error);
  if (loading) showTrouble(LOADING);
  else if (get("trouble").firstElementChild.textContent === LOADING) showTrouble("");
  const words = worst.state === "live" ? live : STATE_WORDS[worst.state];
  pill.lastElementChild.textContent = paused ? "paused" : loading ? "loading models" : words;
  const lost = worst.state === "waiting" && !loading;
  pill.title = lost ? `Connection lost (${worst.code}); trying again` : "";
}

/** Tell why the server ended a connection: on the first screen, or beside what is already there. */
function refuse(part, { code, reason, error }) {
  const withdrawn = code === 1008 && reason === "unauthorized";
  const words = REFUSALS[code] ?? "The server ended the connection.";
  const why = error?.message || reason;
  const message = withdrawn ? WITHDRAWN : why ? `${words} (${why})` : words;
  if (!meeting?.states[part].wasLive) {
    leave();
    return setup.tell(message, code === 4401);
  }
  if (part === "sender") {
    meeting.sender.stop();
    meeting.sender = meeting.naming.sender = null;
    for (const part of ["utterances", "people"]) meeting.dirty.add(part);
    delete meeting.states.sender;
    drawConnection(meeting.states);
  }
  const watching = meeting.states.listener?.state !== "closed";
  const left = watching ? "Your microphone is closed; you are still watching." : "Your microphone is closed.";
  showTrouble(part === "sender" ? `${message} ${left}` : message);
}

function leave() {
  const current = meeting;
  if (!current) return;
  meeting = null;
  clearInterval(current.tick);
  current.listener?.close();
  // The microphone closes now; the last words are still delivered to the others.
  current.sender?.stop();
  current.transcript?.close();
  current.timeline?.close();
  current.naming?.close();
  showTrouble("");
  show("setup");
}

function show(screen) {
  const view = screen === "view";
  document.body.dataset.screen = screen;
  get("setup").hidden = view;
  for (const id of ["view", "where", "states", "export", "leave"]) get(id).hidden = !view;
  document.title = view && meeting.name ? `${meeting.name} – streamser` : "streamser";
  get("main").focus({ preventScroll: true });
}

/** Show what went wrong while the meeting goes on; nothing: it is over. */
function showTrouble(message) {
  get("trouble").hidden = !message;
  get("trouble").firstElementChild.textContent = message;
}

/** Wire what stays for the life of the page. */
function wire() {
  drawLegend(get("setup-legend"));
  get("leave").addEventListener("click", leave);
  get("trouble").lastElementChild.addEventListener("click", () => showTrouble(""));
  const [opener, list] = [get("export").firstElementChild, get("export-list")];
  const open = (state) => {
    list.hidden = !state;
    opener.setAttribute("aria-expanded", String(state));
  };
  opener.addEventListener("click", () => open(list.hidden));
  get("export").addEventListener("keydown", ({ key }) => {
    if (key !== "Escape" || list.hidden) return;
    open(false);
    opener.focus();
  });
  document.addEventListener("click", ({ target }) => get("export").contains(target) || open(false));
  list.addEventListener("click", ({ target }) => {
    const format = target.closest("[data-format]")?.dataset.format;
    if (!format || !meeting) return;
    save(meeting.recording, format, meeting.name);
    open(false);
  });
  for (const tab of get("tabs").children) {
    tab.addEventListener("click", () => {
      get("view").dataset.tab = tab.dataset.tab;
      for (const other of get("tabs").children)
        other.setAttribute("aria-pressed", String(other === tab));
      meeting?.dirty.add("time");
      schedule();
    });
  }
  get("theme").addEventListener("click", () => window.switchTheme());
  window.addEventListener("themechange", recolour);
  window.addEventListener("resize", () => {
    meeting?.dirty.add("time");
    schedule();
  });
  // Closing the page must not cut off the last words where it can be helped.
  window.addEventListener("pagehide", () => meeting?.sender?.connection?.finish(500));
  recolour();
}

const SUN =
  "M12 4V1M12 23v-3M4 12H1M23 12h-3M6.3 6.3 4.2 4.2M19.8 19.8l-2.1-2.1M6.3 17.7l-2.1 2.1M19.8 4.2l-2.1 2.1M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8z";
const MOON = "M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z";

function recolour() {
  const dark = document.documentElement.dataset.theme === "dark";
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of Object.entries({
    viewBox: "0 0 24 24",
    fill: "none",
    stroke: "currentColor",
    "stroke-width": 1.9,
    "stroke-linecap": "round",
    "aria-hidden": "true",
  })) {
    svg.setAttribute(name, value);
  }
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", dark ? SUN : MOON);
  svg.append(path);
  get("theme").replaceChildren(svg);
  get("theme").setAttribute(
    "aria-label",
    dark ? "Switch to light colours" : "Switch to dark colours",
  );
  if (!meeting?.people) return;
  meeting.plane.recolour();
  meeting.timeline.recolour();
  schedule();
}

const asked = readAddress();
const setup = new Setup(asked, enter);
wire();
// A link to watch goes straight there: it opens no microphone.
if (asked.watch) enter(setup.answers());

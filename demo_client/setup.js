/** The first screen: who takes part and how, and consent before any microphone opens. */

import { microphones, obstacle } from "./capture.js";
import { duration } from "./format.js";
import { element } from "./palette.js";

const LOOK_MS = 5000;
/** Printable, as the server wants names to be. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;

/** Read what the address says, and take the token out of it: it must not be seen or passed on. */
export function readAddress() {
  const url = new URL(location.href);
  const get = (name) => url.searchParams.get(name) ?? "";
  const asked = {
    meeting: get("meeting"),
    speaker: get("speaker"),
    token: get("token"),
    watch: url.searchParams.has("watch") && get("watch") !== "0",
  };
  if (asked.token) {
    url.searchParams.delete("token");
    history.replaceState(null, "", url);
  }
  return asked;
}

export class Setup {
  /** `onEnter({mode, meeting, speaker, several, token, deviceId})` when somebody wants in. */
  constructor(asked, onEnter) {
    const get = (id) => document.getElementById(id);
    this.form = get("form");
    this.agree = get("agree");
    this.enter = get("enter");
    this.fields = { meeting: get("meeting"), speaker: get("speaker"), token: get("token") };
    this.device = get("device");
    this.several = get("several");
    // Who has agreed to less has not agreed to this.
    this.several.addEventListener("change", () => (this.agree.checked = false));
    for (const [name, field] of Object.entries(this.fields)) field.value = asked[name];
    this.form.elements.mode.value = asked.watch ? "watch" : "join";
    this.form.addEventListener("input", () => this.refresh());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.enter.disabled) onEnter(this.answers());
    });
    const reason = obstacle();
    if (reason) {
      this.form.elements.mode.value = "watch";
      this.form.elements.mode[0].disabled = true;
      this.tell(`${reason} You can still watch.`);
    }
    this.held = get("held");
    this.barred = null; // the token with which the list of meetings is refused
    setInterval(() => this.look(), LOOK_MS);
    this.refresh();
    fillDevices(this.device);
  }

  answers() {
    const clean = (field) => field.value.replace(UNPRINTABLE, "").trim();
    return {
      mode: this.form.elements.mode.value,
      meeting: clean(this.fields.meeting),
      speaker: clean(this.fields.speaker),
      several: this.several.checked,
      token: this.fields.token.value.trim(),
      deviceId: this.device.value,
    };
  }

  refresh() {
    const { mode } = this.answers();
    const join = mode === "join";
    if (mode !== this.form.dataset.mode) this.look(mode);
    this.form.dataset.mode = mode;
    this.fields.speaker.disabled = this.several.checked;
    // Nothing opens a microphone without this tick; watching opens none.
    this.enter.disabled = join && !this.agree.checked;
    this.enter.textContent = join ? "Join with the microphone" : "Watch";
  }

  /** List the meetings that are held now, for those who want to watch one. */
  async look(mode = this.answers().mode) {
    const { token } = this.answers();
    const seen = mode === "watch" && this.form.offsetParent && !document.hidden;
    if (!seen || token === this.barred) return;
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const address = new URL("./v1/meetings", location.href);
    const answer = await fetch(address, { headers }).catch(() => null);
    this.barred = [401, 403].includes(answer?.status) ? token : null;
    const { meetings = [] } = answer?.ok ? await answer.json() : {};
    this.held.hidden = !meetings.length;
    this.held.lastElementChild.replaceChildren(...meetings.map((each) => this.offer(each)));
  }

  offer({ meeting, streams, at_ms: length }) {
    const button = element("button", "button");
    button.type = "button";
    const people = streams === 1 ? "1 speaker" : `${streams} speakers`;
    button.append(element("bdi", "", meeting), element("small", "", `${people} · ${duration(length)}`));
    button.addEventListener("click", () => {
      this.fields.meeting.value = meeting;
      this.form.requestSubmit();
    });
    const item = element("li");
    item.append(button);
    return item;
  }

  /** Show why it did not work, and ask for a token where one is wanted. */
  tell(message, wantsToken = false) {
    const box = document.getElementById("message");
    box.textContent = message;
    box.hidden = !message;
    if (!wantsToken) return;
    document.getElementById("token-field").hidden = false;
    this.fields.token.focus();
  }
}

/** Fill a list of microphones; `chosen` is the one in use. */
export async function fillDevices(select, chosen = "") {
  const list = await microphones().catch(() => []);
  const options = list
    .filter(({ id }) => id !== "default")
    .map(({ id, label }) => new Option(label, id));
  select.replaceChildren(new Option("Default microphone", ""), ...options);
  select.value = options.some(({ value }) => value === chosen) ? chosen : "";
}

/** One's own voice on its way to the server: microphone, level meter, pause, change of device. */

import { connect } from "./streamser.js";
import { openMicrophone } from "./capture.js";
import { fillDevices } from "./setup.js";

/** So much silence after a pause begins, or the last words would stay open. */
const CLOSING_SILENCE_S = 1.5;
/** By it we know answers to what was asked here. */
const COMMAND = "asked_";
const FALL = 0.08; // of the level meter, a frame

export class Sender {
  /** `onState(name, detail)`, `onLate()` of the connection; `onTrouble(message)` of the microphone. */
  constructor({ onState, onLate, onTrouble, onPause, onSession = () => {} }) {
    Object.assign(this, { onState, onLate, onTrouble, onPause, onSession });
    this.microphone = null;
    this.connection = null;
    this.paused = false;
    this.session = null; // the id of the one that our sound goes to
    this.commands = 0;
    this.level = 0;
    this.meter = document.getElementById("level");
    this.button = document.getElementById("pause");
    this.devices = document.getElementById("live-device");
    this.button.onclick = () => this.setPaused(!this.paused);
    this.devices.onchange = () => this.change(this.devices.value);
  }

  /** Open the microphone, then the connection. Only after consent. */
  async start({ url, meeting, speaker, several, token, deviceId }) {
    this.microphone = await this.open(deviceId);
    this.connection = connect({
      url,
      meeting,
      speaker: several ? undefined : speaker,
      speakers: several ? "auto" : undefined,
      token,
      rate: this.microphone.rate,
      onState: this.onState,
      onEvent: (event) => this.take(event),
    });
    this.setPaused(false);
    document.getElementById("mic").hidden = false;
    await fillDevices(this.devices, this.microphone.deviceId);
  }

  take({ type, kind, session_id: id, session, error }) {
    if (type === "streamser.overload" && kind === "finals") this.onLate();
    if (error?.event_id?.startsWith(COMMAND)) this.onTrouble(error.message);
    if (type !== "session.created" && type !== "session.updated") return;
    this.session = id;
    document.getElementById("forget").hidden = (session.speakers ?? "off") === "off";
    this.onSession();
  }

  /** Ask something of our session; returns whether there is a connection for it. */
  command(type, fields = {}) {
    this.commands += 1;
    const message = { type, event_id: `${COMMAND}${this.commands}`, ...fields };
    return this.connection?.command(message) ?? false;
  }

  open(deviceId) {
    return openMicrophone({
      deviceId,
      onFrame: (frame) => this.connection?.send(frame),
      onLevel: (level) => {
        this.level = Math.max(level, this.level - FALL);
        this.drawLevel();
      },
      onLost: () => {
        this.setPaused(true);
        this.onTrouble("The microphone has gone. Choose another one, then go on.");
        fillDevices(this.devices);
      },
    });
  }

  async change(deviceId) {
    try {
      const other = await this.open(deviceId);
      // The stream has one rate for its whole life.
      if (other.rate !== this.microphone.rate) {
        await other.close();
        throw new Error("that microphone runs at another rate: leave and join again to use it.");
      }
      await this.microphone.close();
      this.microphone = other;
      if (this.paused) other.pause();
      this.onTrouble("");
    } catch (error) {
      this.onTrouble(error.message);
    }
    await fillDevices(this.devices, this.microphone.deviceId);
  }

  setPaused(paused) {
    if (paused && !this.paused) {
      this.microphone.pause();
      this.connection.send(new Int16Array(Math.round(this.microphone.rate * CLOSING_SILENCE_S)));
    } else if (!paused) {
      this.microphone.resume();
    }
    this.paused = paused;
    this.button.textContent = paused ? "Go on" : "Pause";
    this.button.setAttribute("aria-pressed", String(paused));
    this.onPause();
  }

  drawLevel() {
    const context = this.meter.getContext("2d");
    const { width, height } = this.meter;
    const style = getComputedStyle(this.meter);
    const bars = 12;
    const step = width / bars;
    context.clearRect(0, 0, width, height);
    for (let n = 0; n < bars; n += 1) {
      const lit = this.level * bars > n + 0.5;
      context.fillStyle = style.getPropertyValue(lit ? "--good" : "--line");
      const tall = height * (0.35 + (0.65 * (n + 1)) / bars);
      context.fillRect(n * step, (height - tall) / 2, step - 2.5, tall);
    }
  }

  /** End well: what was said last still arrives. */
  async stop() {
    document.getElementById("mic").hidden = document.getElementById("forget").hidden = true;
    await this.microphone?.close();
    await this.connection?.finish(8000);
    this.microphone = this.connection = null;
  }
}

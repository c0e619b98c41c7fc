/** Saying who a voice is: of a voice everywhere, or of one utterance; and having voices forgotten. */

import { UNCERTAIN } from "./revision.js";

const FORGOTTEN =
  "The voices that were heard here are forgotten. Who speaks next is taken for somebody new.";
const NOT_SENT = "There is no connection just now: try again when it is back.";

export class Naming {
  /** `onTrouble(message)` tells people what came of it. */
  constructor(store, sender, onTrouble) {
    Object.assign(this, { store, sender, onTrouble });
    const get = (id) => document.getElementById(id);
    this.dialog = get("naming");
    this.form = this.dialog.firstElementChild;
    this.title = get("naming-title");
    this.name = get("naming-name");
    this.known = get("naming-known");
    this.voice = get("naming-voice");
    this.once = get("naming-once");
    this.about = null; // {speaker, utterance}
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.answer(event.submitter?.value ?? this.voice.value);
    };
    get("naming-cancel").onclick = () => this.dialog.close();
    get("forget").onclick = () =>
      this.onTrouble(sender.command("streamser.speaker.forget") ? FORGOTTEN : NOT_SENT);
  }

  /** Whether it is for this page to say who an utterance, or a speaker, is: our microphone heard it. */
  mayName({ session, guessed, heardBy, name }) {
    const own = this.sender?.session;
    if (!own) return false;
    return heardBy ? heardBy.has(own) && name !== UNCERTAIN : session === own && guessed;
  }

  open(speaker, utterance) {
    this.about = { speaker, utterance };
    const label = this.labelOf(speaker);
    this.title.textContent = `Who is ${speaker.name}?`;
    this.voice.hidden = label === UNCERTAIN;
    this.once.hidden = !utterance;
    const others = [...this.store.people.values()].filter(
      (person) => person !== speaker && person.heardBy.has(this.sender.session),
    );
    this.known.replaceChildren(
      ...others.map((person) => new Option(this.labelOf(person), this.labelOf(person))),
    );
    this.name.value = /^speaker \d+$/.test(label) || label === UNCERTAIN ? "" : label;
    this.dialog.showModal();
    this.name.focus();
    this.name.select();
  }

  answer(what) {
    const name = this.name.value.trim();
    const { speaker, utterance } = this.about;
    if (!name) return this.name.focus();
    const once = what === "once" || this.voice.hidden;
    const sent = once
      ? this.sender.command("streamser.speaker.assign", { item_id: utterance.item, name })
      : this.sender.command("streamser.speaker.rename", { speaker: this.labelOf(speaker), name });
    this.dialog.close();
    if (!sent) this.onTrouble(NOT_SENT);
  }

  /** Return what our own session calls somebody: without the number that a meeting gives it. */
  labelOf({ meeting, name }) {
    const beside = this.store.labelOf(meeting, this.sender.session, "");
    return beside && name.endsWith(beside) ? name.slice(0, -beside.length) : name;
  }

  close() {
    this.dialog.close();
  }
}

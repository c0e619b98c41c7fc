/** When meetings began, on this machine's clock: events say only how long ago that is. */

/** A clock that is so far off has begun anew: the server was restarted. */
const NEW_CLOCK_MS = 5000;

export class Clocks {
  constructor(now) {
    this.now = now;
    this.begins = new Map(); // name of a clock -> ms since 1970
  }

  /** Return when a clock began, or undefined. */
  began(name) {
    return this.begins.get(name);
  }

  /** Return the moment (ms since 1970) of an event; `live`: it has just been sent. */
  tell(name, atMs, live) {
    const begin = this.now() - atMs;
    const known = this.begins.get(name);
    // The event that took the shortest way tells best when the clock began.
    if (known === undefined || begin < known || (live && begin - known > NEW_CLOCK_MS)) {
      this.begins.set(name, begin);
    }
    return this.begins.get(name) + atMs;
  }
}

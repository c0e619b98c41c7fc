/** When meetings began, on this machine's clock: events say only how long ago that is. */

/** A clock that is so far off has begun anew: the server was restarted. */
const NEW_CLOCK_MS = 5000;

export class Clocks {
  constructor(now) {
    this.wall = now;
    this.begins = new Map(); // name of a clock -> ms since 1970
    this.played = null; // the last moment that a recording told of, where one is played
  }

  /** Go by what is told from here on: a recording is played, as fast as anybody likes. */
  play() {
    this.played ??= midnight(this.wall());
  }

  /** Return what time it is: ms since 1970. */
  now() {
    return this.played ?? this.wall();
  }

  /** Return when a clock began, or undefined. */
  began(name) {
    return this.begins.get(name);
  }

  /** Return the moment (ms since 1970) of an event; `live`: it has just been sent. */
  tell(name, atMs, live) {
    if (this.played !== null) return this.tellPlayed(name, atMs);
    const begin = this.wall() - atMs;
    const known = this.begins.get(name);
    // The event that took the shortest way tells best when the clock began.
    if (known === undefined || begin < known || (live && begin - known > NEW_CLOCK_MS)) {
      this.begins.set(name, begin);
    }
    return this.begins.get(name) + atMs;
  }

  /** Recordings begin at midnight, so that the time of day says how far into them one is. */
  tellPlayed(name, atMs) {
    if (!this.begins.has(name)) this.begins.set(name, midnight(this.wall()));
    const at = this.begins.get(name) + atMs;
    this.played = Math.max(this.played, at);
    return at;
  }
}

const midnight = (ms) => new Date(ms).setHours(0, 0, 0, 0);

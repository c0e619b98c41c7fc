/** Most sound that is kept for a server that may ask for it again. */
const KEPT_S = 60;

/**
 * The sound of a stream on one count of frames, whatever becomes of sessions: what may still
 * have to be sent again is kept, and no more.
 */
export class SentSound {
  constructor(rate) {
    this.rate = rate;
    this.kept = []; // {start, samples}, gapless
    this.end = 0; // frames given to us
    this.sent = 0; // frames sent to the present session, on our count
    this.base = 0; // where the present session begins
    this.settled = 0; // everything before it is answered
    this.lost = 0;
  }

  get offsetMs() {
    return Math.round((this.base * 1000) / this.rate);
  }

  add(samples) {
    if (!samples.length) return;
    this.kept.push({ start: this.end, samples });
    this.end += samples.length;
    this.forget(this.end - KEPT_S * this.rate);
  }

  /** Everything up to here (ms of the present session's sound) is answered. */
  settle(audioMs) {
    const frame = this.base + Math.round((audioMs * this.rate) / 1000);
    this.settled = Math.min(this.end, Math.max(this.settled, frame));
    this.forget(Math.min(this.settled, this.sent));
  }

  /** Whether all of it is answered, give or take what a resampler keeps to itself. */
  isSettled() {
    return this.end - this.settled <= this.rate / 20;
  }

  /** A new session: it gets all sound after the last settled place. */
  restart() {
    const from = Math.max(this.settled, this.first());
    this.base = this.sent = from;
  }

  /** The same session again: it already has so many frames. */
  resume(receivedFrames) {
    this.sent = Math.min(this.end, this.base + receivedFrames);
    const first = this.first();
    if (this.sent < first) {
      // Too long away: the server's count goes on where our memory begins.
      this.lost += first - this.sent;
      this.base += first - this.sent;
      this.sent = first;
    }
  }

  /** The next piece to send, or null. */
  next() {
    if (this.sent >= this.end) return null;
    let low = 0;
    let high = this.kept.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.kept[middle].start <= this.sent) low = middle;
      else high = middle - 1;
    }
    const { start, samples } = this.kept[low];
    const piece = samples.subarray(this.sent - start);
    this.sent = start + samples.length;
    return piece;
  }

  first() {
    return this.kept.length ? this.kept[0].start : this.end;
  }

  forget(before) {
    let count = 0;
    while (
      count < this.kept.length &&
      this.kept[count].start + this.kept[count].samples.length <= before
    ) {
      count += 1;
    }
    if (!count) return;
    const first = count < this.kept.length ? this.kept[count].start : this.end;
    // Never sent to anybody: lost. The session's count must not notice.
    if (this.sent < first) {
      this.lost += first - this.sent;
      this.base += first - this.sent;
      this.sent = first;
    }
    this.kept.splice(0, count);
  }

  stats() {
    const seconds = (frames) => frames / this.rate;
    return {
      given: seconds(this.end),
      waiting: seconds(this.end - this.sent),
      unsettled: seconds(this.end - this.settled),
      lost: seconds(this.lost),
    };
  }
}

/** Runs in the audio thread: turns what the microphone gives into frames of 16-bit samples. */
const FRAME = 512;

const BLOCK_S = 0.02;
/** Of power from block to block: what was heard more than a second ago no longer counts. */
const DECAY = 0.9;
/** Power of the loudest channel over that of the mean, from which the mean is given up: 20 dB. */
const CANCELS = 100;
/** The same ratio below which the mean is taken again. */
const HOLDS = 25;
/** Power over that of the channel heard, from which another takes its place: 6 dB. */
const LOUDER = 4;
const MEAN = -1;

/**
 * Mixes two or more channels into one as the server does it with files: the mean, unless it lies
 * 20 dB or more below the loudest channel. Each change is a cross-fade. Up to 20 ms are held back.
 */
class Mixer {
  constructor(rate, channels) {
    this.block = Math.max(1, Math.round(rate * BLOCK_S));
    this.held = Array.from({ length: channels }, () => new Float32Array(this.block));
    this.filled = 0;
    this.powers = new Array(channels).fill(0);
    this.meanPower = 0;
    this.choice = null;
  }

  /** Take a stretch of every channel; `told(sample)` is called for each one that is mixed. */
  feed(channels, told) {
    for (let n = 0; n < channels[0].length; n += 1) {
      for (const [index, held] of this.held.entries()) held[this.filled] = channels[index][n];
      this.filled += 1;
      if (this.filled === this.block) this.flush(told);
    }
  }

  /** Mix what is held back. */
  flush(told) {
    const length = this.filled;
    if (!length) return;
    const mean = new Float32Array(length);
    for (const held of this.held) for (let n = 0; n < length; n += 1) mean[n] += held[n];
    for (let n = 0; n < length; n += 1) mean[n] /= this.held.length;
    const source = (choice) => (choice === MEAN ? mean : this.held[choice]);
    const before = this.choice;
    this.choose(mean, length);
    const heard = source(this.choice);
    const old = before === null ? heard : source(before);
    for (let n = 0; n < length; n += 1) told(old[n] + ((n + 1) / length) * (heard[n] - old[n]));
    this.filled = 0;
  }

  /** Decide what to hear in this block: a channel, or the mean. */
  choose(mean, length) {
    this.meanPower = DECAY * this.meanPower + power(mean, length);
    this.powers = this.powers.map((old, n) => DECAY * old + power(this.held[n], length));
    const loudest = Math.max(...this.powers);
    const choice = this.choice ?? MEAN;
    const enough = choice === MEAN ? CANCELS : HOLDS;
    if (this.meanPower * enough >= loudest) this.choice = MEAN;
    else if (choice !== MEAN && this.powers[choice] * LOUDER >= loudest) this.choice = choice;
    else this.choice = this.powers.indexOf(loudest);
  }
}

/** Return the sum of squares of the first samples. */
function power(samples, length) {
  let sum = 0;
  for (let n = 0; n < length; n += 1) sum += samples[n] * samples[n];
  return sum;
}

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
    this.mixer = null; // of as many channels as there are now
    this.take = (sample) => this.add(sample);
  }

  process([input]) {
    // No input yet, or none any more: silence is not invented here.
    if (!input.length) return true;
    if (this.mixer && this.mixer.held.length !== input.length) {
      this.mixer.flush(this.take);
      this.mixer = null;
    }
    if (input.length === 1) {
      for (const sample of input[0]) this.add(sample);
    } else {
      this.mixer ??= new Mixer(sampleRate, input.length);
      this.mixer.feed(input, this.take);
    }
    return true;
  }

  add(sample) {
    const clipped = Math.max(-1, Math.min(1, sample));
    this.frame[this.filled++] = Math.round(clipped * 32767);
    if (this.filled < FRAME) return;
    this.port.postMessage(this.frame.buffer, [this.frame.buffer]);
    this.frame = new Int16Array(FRAME);
    this.filled = 0;
  }
}

registerProcessor("streamser-capture", Capture);

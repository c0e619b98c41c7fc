/**
 * Plays random conversations between the client's book-keeping of sound and an imagined server:
 * breaks, resumptions, restarts, settled utterances. Prints how many; fails if any frame is lost.
 */
import { SentSound } from "../../demo_client/client/sound.js";

const RATE = 8000;
let seed = Number(process.argv[2] ?? 1);
const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
const upTo = (most) => Math.floor(random() * (most + 1));

function assert(truth, message) {
  if (!truth) throw new Error(message);
}

/** One conversation: frame number n has the sample value n, so the server knows what it hears. */
function play(steps) {
  const sound = new SentSound(RATE);
  let given = 0;
  let heard = []; // by the session that is going on
  let answered = 0; // frames of it that are settled
  const settled = new Set();
  sound.restart();
  for (let step = 0; step < steps; step += 1) {
    const dice = random();
    if (dice < 0.5) {
      const frames = Int16Array.from({ length: 1 + upTo(40) }, () => given++);
      sound.add(frames);
    } else if (dice < 0.8) {
      for (let n = upTo(5); n > 0; n -= 1) {
        const piece = sound.next();
        if (piece) heard.push(...piece);
      }
    } else if (dice < 0.9 && heard.length) {
      // An utterance ends somewhere in what was heard; ms cannot say it to the frame.
      const ms = Math.floor(((answered + upTo(heard.length - answered)) * 1000) / RATE);
      const frame = (ms * RATE) / 1000;
      for (; answered < frame; answered += 1) settled.add(heard[answered]);
      sound.settle(ms);
    } else if (dice < 0.95) {
      // The network broke; what was on its way is lost, and the server says what it has.
      heard.length = answered + upTo(heard.length - answered);
      sound.resume(heard.length);
    } else {
      // A new server: it knows nothing.
      heard = [];
      answered = 0;
      sound.restart();
    }
    for (let n = 1; n < heard.length; n += 1)
      assert(heard[n] === heard[n - 1] + 1, "a gap, or twice");
  }
  for (let piece = sound.next(); piece; piece = sound.next()) heard.push(...piece);
  const known = new Set([...settled, ...heard]);
  for (let n = 0; n < given; n += 1) assert(known.has(n), `frame ${n} of ${given} was lost`);
  assert(sound.stats().lost === 0, "counted as lost");
  sound.settle((heard.length * 1000) / RATE);
  assert(sound.isSettled(), "never settled");
}

for (let n = 0; n < 500; n += 1) play(200);

// More than a minute without an answer: the oldest is given up, the count of the session goes on.
const long = new SentSound(RATE);
long.restart();
for (let n = 0; n < 90; n += 1) long.add(new Int16Array(RATE));
assert(Math.abs(long.stats().lost - 30) < 1.01, "a minute is kept");
assert(long.offsetMs === long.stats().lost * 1000, "the session begins where sound is left");
console.log("500");

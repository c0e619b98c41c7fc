/**
 * Lets the page's audio thread take sound: stdin is {rate, changes}, a list of stretches, each a
 * list of channels of samples; prints the 16-bit samples that it would send, as one JSON list.
 */
import { readFileSync } from "node:fs";

const QUANTUM = 128;
const sent = [];
let Capture = null;

globalThis.AudioWorkletProcessor = class {
  port = { postMessage: (buffer) => sent.push(...new Int16Array(buffer)) };
};
globalThis.registerProcessor = (_, made) => (Capture = made);
const { rate, changes } = JSON.parse(readFileSync(0, "utf8"));
globalThis.sampleRate = rate;
await import("../../demo_client/worklet.js");

const capture = new Capture();
capture.process([[]]);
for (const channels of changes) {
  const whole = channels.map((samples) => Float32Array.from(samples));
  for (let at = 0; at + QUANTUM <= whole[0].length; at += QUANTUM) {
    capture.process([whole.map((samples) => samples.subarray(at, at + QUANTUM))]);
  }
}
process.stdout.write(JSON.stringify(sent));

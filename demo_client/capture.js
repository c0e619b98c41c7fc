/** The microphone: frames of 512 16-bit samples, at 16 kHz where the browser can. */

const RATE = 16000;
/** Voices must arrive as they are: what makes calls pleasant hides what is in a voice. */
const UNTOUCHED = {
  // Who speaks into the second input of an interface is on the right channel alone.
  channelCount: { ideal: 2 },
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};

/** A reason why there is no sound, in words for the person at the page. */
export class CaptureError extends Error {}

/** Say why the microphone cannot be used at all, or null if it can be asked for. */
export function obstacle() {
  if (!window.isSecureContext) {
    return (
      "This page was opened over plain http from another machine, so the browser keeps the " +
      "microphone closed. Open it over https, or on localhost."
    );
  }
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    return "This browser cannot record sound. A current Chrome, Edge, Firefox or Safari can.";
  }
  return null;
}

/** List microphones as {id, label}; browsers give names only after permission. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  return devices
    .filter((device) => device.kind === "audioinput" && device.deviceId)
    .map((device, n) => ({ id: device.deviceId, label: device.label || `Microphone ${n + 1}` }));
}

/**
 * Open a microphone. Only to be called after consent.
 *
 * `onFrame(Int16Array)` while not paused, `onLevel(0..1)` always, `onLost()` when the device
 * goes away. Returns `{rate, label, deviceId, pause, resume, close}`.
 */
export async function openMicrophone({ deviceId, onFrame, onLevel, onLost }) {
  const reason = obstacle();
  if (reason) throw new CaptureError(reason);
  const audio = { ...UNTOUCHED, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) };
  let media;
  try {
    media = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new CaptureError(explain(error));
  }
  const [track] = media.getAudioTracks();
  let context;
  try {
    context = await start(media, receive);
  } catch (error) {
    track.stop();
    throw new CaptureError(`The sound could not be opened: ${error.message}`);
  }
  let paused = false;
  track.addEventListener("ended", () => onLost());

  function receive({ data }) {
    const frame = new Int16Array(data);
    onLevel(paused ? 0 : loudness(frame));
    if (!paused) onFrame(frame);
  }

  return {
    rate: context.sampleRate,
    label: track.label,
    deviceId: track.getSettings().deviceId,
    pause() {
      paused = true;
      track.enabled = false;
    },
    resume() {
      paused = false;
      track.enabled = true;
    },
    async close() {
      track.stop();
      await context.close();
    },
  };
}

/** Connect the worklet; falls back to the device's own rate where 16 kHz is refused (Firefox). */
async function start(media, receive) {
  let failure;
  for (const options of [{ sampleRate: RATE }, {}]) {
    const context = new AudioContext({ latencyHint: "interactive", ...options });
    try {
      await context.audioWorklet.addModule(new URL("./worklet.js", import.meta.url));
      const node = new AudioWorkletNode(context, "streamser-capture", { numberOfOutputs: 0 });
      node.port.onmessage = receive;
      context.createMediaStreamSource(media).connect(node);
      await context.resume();
      return context;
    } catch (error) {
      failure = error;
      await context.close();
    }
  }
  throw failure;
}

/** Say in plain words why `getUserMedia` failed. */
function explain(error) {
  switch (error.name) {
    case "NotAllowedError":
      return (
        "The microphone was refused. Allow it for this page in the address bar or in the " +
        "system's privacy settings, then join again. Watching works without it."
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return "No microphone was found. Plug one in or choose another, then join again.";
    case "NotReadableError":
      return "The microphone is in use by another program, or does not answer.";
    default:
      return `The microphone could not be opened: ${error.message || error.name}.`;
  }
}

/** Loudness of a frame as 0 to 1: −60 dBFS to 0 dBFS. */
function loudness(frame) {
  let sum = 0;
  for (const sample of frame) sum += sample * sample;
  const db = 10 * Math.log10(sum / frame.length / 32768 ** 2 + 1e-12);
  return Math.max(0, Math.min(1, 1 + db / 60));
}

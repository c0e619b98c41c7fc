/**
 * Speaks to an imagined server that loads its models: it refuses the first connections, then takes
 * all. Prints the states told, and how many frames arrived of those said before and after.
 */
import { connect, isLoading } from "../../demo_client/streamser.js";

const REFUSALS = 6;
const waits = [];
const heard = [];
let calls = 0;

class Server {
  constructor() {
    this.readyState = 1;
    this.bufferedAmount = 0;
    const busy = (calls += 1) <= REFUSALS;
    queueMicrotask(() => {
      this.onopen();
      if (!busy) return this.tell({ type: "session.created", session_id: "sess_1", seq: 1 });
      this.tell({ type: "error", session_id: "", error: { code: "not_ready", message: "soon" } });
      this.readyState = 3;
      this.onclose({ code: 1013, reason: "not_ready; retry in 1 s" });
    });
  }

  tell(event) {
    this.onmessage({ data: JSON.stringify(event) });
  }

  send(message) {
    if (message instanceof Int16Array) heard.push(...message);
  }

  close() {
    this.readyState = 3;
  }
}

globalThis.WebSocket = Server;
// Nobody waits here: a wait is noted, and over at once.
globalThis.setTimeout = (act, ms) => {
  if (ms < 10_000) queueMicrotask(act);
  return 0;
};

let said = 0;
const speak = () => voice.send(Int16Array.from({ length: 100 }, () => (said += 1)));
let loading = 0;
const voice = connect({
  url: "http://127.0.0.1:1/",
  onState: (state, { retryMs, error }) => {
    if (state !== "waiting") return;
    waits.push(Math.round(retryMs));
    loading += isLoading(error) ? 1 : 0;
    speak();
  },
});
speak();
await new Promise((resolve) => setImmediate(resolve));
speak();
voice.close();
const whole = heard.length === said && heard.every((value, at) => value === at + 1);
console.log(JSON.stringify({ waits, loading, said, whole }));
process.exit(0);

/**
 * Speaks to an imagined server that cannot tell everything: prints what `connect` says of it.
 */
import { connect } from "../../demo_client/streamser.js";

const sockets = [];

class Server {
  constructor() {
    this.readyState = 1;
    this.bufferedAmount = 0;
    sockets.push(this);
    queueMicrotask(() => this.onopen());
  }

  tell(event) {
    this.onmessage({ data: JSON.stringify({ session_id: "sess_1", ...event }) });
  }

  send() {}

  close() {
    this.readyState = 3;
  }
}

globalThis.WebSocket = Server;
// Nobody waits here.
globalThis.setTimeout = (act, ms) => {
  if (ms < 10_000) queueMicrotask(act);
  return 0;
};
const turn = () => new Promise((resolve) => setImmediate(resolve));

const told = [];
const voice = connect({ url: "http://127.0.0.1:1/", onMissed: (missed) => told.push(missed) });
await turn();
const [first] = sockets;
first.tell({ type: "session.created", seq: 1 });
first.tell({ type: "streamser.overload", seq: 4 });
first.tell({ type: "streamser.marker", seq: 7 });
first.readyState = 3;
first.onclose({ code: 1006, reason: "" });
await turn();
const again = sockets.at(-1);
again.tell({ type: "streamser.marker", seq: 12 });
const back = { type: "streamser.session.resumed", seq: 13, received_frames: 0 };
again.tell({ ...back, lost_events: 4, lost_finals: 1 });
voice.close();
console.log(JSON.stringify({ told, stats: voice.stats.missed }));
process.exit(0);

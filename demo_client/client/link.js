const PROTOCOL = "streamser.v1";
/** Close codes after which trying again can help; all others are final. */
const RETRY = new Set([1001, 1005, 1006, 1011, 1012, 1013, 1015]);
const FIRST_WAIT_MS = 400;
const LONGEST_WAIT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 10_000;

/** Say how long to wait before try number `attempt` (from 0): exponential, with jitter. */
export function backoff(attempt, random = Math.random) {
  const ceiling = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** attempt);
  return ceiling / 2 + (ceiling / 2) * random();
}

/** Whether a refusal says that the server loads its models: what is sent is kept until then. */
export function isLoading(error) {
  return error?.code === "not_ready";
}

/** Throw where there is nothing to connect with: what fails later would be told to nobody. */
export function needSocket() {
  if (typeof globalThis.WebSocket === "function") return;
  throw new Error(
    "there is no WebSocket here: use Node 22 or newer, or first set globalThis.WebSocket to that of the package ws",
  );
}

/** Make the address of a WebSocket endpoint from a server's http(s) or ws(s) address. */
export function address(base, path, parameters) {
  const url = new URL(".", new URL(base, globalThis.location?.href));
  url.protocol = url.protocol.replace(/^http/, "ws");
  url.pathname = url.pathname.replace(/(\/v1)?\/$/, "") + path;
  url.search = "";
  url.hash = "";
  for (const [name, value] of Object.entries(parameters)) {
    if (value === true) url.searchParams.set(name, "");
    else if (value !== undefined && value !== null && value !== "") {
      url.searchParams.set(name, String(value));
    }
  }
  return url.href;
}

/**
 * Keep one socket open: the part that `connect` and `subscribe` share.
 *
 * States told to `onState`: `connecting`, `live` (said by the caller), `waiting`
 * (with `retryMs`, `code`, `reason`, `error`), `closed` (with `code`, `reason`, `error`).
 */
export class Link {
  constructor({ target, token, onMessage, onState, onDrop }) {
    Object.assign(this, { target, token, onMessage, onState, onDrop });
    this.socket = null;
    this.attempt = 0;
    this.ended = false;
    this.error = null;
    // Coming back from sleep or a dead network is news: do not sit out the rest of the wait.
    this.wake = () => this.timer && this.open();
    globalThis.addEventListener?.("online", this.wake);
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.timer = null;
    this.error = null;
    this.onState("connecting", { attempt: this.attempt });
    const protocols = [PROTOCOL];
    // A header cannot be set from a browser, and an address ends up in logs.
    if (this.token) protocols.push(`streamser.token.${this.token}`);
    let socket;
    try {
      socket = new WebSocket(this.target(), protocols);
    } catch (error) {
      return this.end(0, error.message);
    }
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    const patience = setTimeout(() => socket.close(), CONNECT_TIMEOUT_MS);
    socket.onopen = () => clearTimeout(patience);
    socket.onmessage = ({ data }) => {
      if (socket !== this.socket || typeof data !== "string") return;
      let event;
      try {
        event = JSON.parse(data);
      } catch {
        return;
      }
      // The only error before a session: a refusal, told in words before the close code.
      if (event.type === "error" && !event.session_id) this.error = event.error;
      this.onMessage(event);
    };
    socket.onclose = ({ code, reason }) => {
      clearTimeout(patience);
      if (socket !== this.socket) return;
      this.socket = null;
      this.onDrop(code);
      if (this.ended || !RETRY.has(code)) return this.end(code, reason);
      const hint = /retry in ([\d.]+) s/.exec(reason)?.[1];
      // Models take seconds to load: waiting longer each time would only lose some.
      if (isLoading(this.error)) this.attempt = 0;
      const retryMs = Math.max(backoff(this.attempt++), hint ? hint * 1000 : 0);
      this.onState("waiting", { retryMs, code, reason, error: this.error, attempt: this.attempt });
      this.timer = setTimeout(() => this.open(), retryMs);
    };
  }

  /** Say that the server has accepted us: the next break starts with a short wait again. */
  live() {
    this.attempt = 0;
    this.onState("live", {});
  }

  send(message) {
    this.socket.send(message);
  }

  ready() {
    return this.socket?.readyState === 1;
  }

  end(code, reason = "") {
    if (this.over) return;
    this.over = this.ended = true;
    clearTimeout(this.timer);
    globalThis.removeEventListener?.("online", this.wake);
    const socket = this.socket;
    this.socket = null;
    socket?.close(1000);
    this.onState("closed", { code, reason, error: this.error });
  }
}

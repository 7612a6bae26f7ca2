// This tab's end of the stream of changes that all tabs share.

import { entryOf } from "./api.js";
import { commonPrefix, Hub } from "./hub.js";
import { MAX_DEPTH_LEVELS, parse } from "./json.js";

/** How long a tab gets changes after it was hidden. */
const HIDDEN_MILLIS = 5_000;
/** How often a tab sends a ping to the hub: there is no event when a worker ends with its process. */
const PING_MILLIS = 400;
/** After this many pings without a response, the hub counts as ended. */
const UNANSWERED_PINGS = 3;
/** How many pings a shared worker may take to start; after that the tab uses its own hub. */
const START_PINGS = 25;
const FIRST_DELAY_MILLIS = 500;
const LONGEST_DELAY_MILLIS = 15_000;
/** Increased when the messages of hub.js change, because tabs with an older page keep using the older worker. */
const PROTOCOL = 2;

/**
 * Watches the keys with a common prefix. Calls on.event(kind, entry) with "put" and "delete", on.reset() when changes
 * may have been missed, on.joined() when no change will be missed from now on, on.status(status) with
 * "connecting", "connected", "reconnecting", "offline", "ended", and on.back() when the service responds again.
 */
export class Watch {
  constructor(on) {
    Object.assign(this, {
      on,
      prefix: undefined,
      since: undefined,
      from: undefined,
      round: 0,
      isJoined: false,
    });
    Object.assign(this, {
      hasOwnHub: false,
      isHidden: false,
      delay: 0,
      suspectedAt: 0,
      suspecting: undefined,
      caller: undefined,
    });
    this.connect();
    this.pinging = setInterval(() => this.ping(), PING_MILLIS);
    document.addEventListener("visibilitychange", () => this.visibility());
    for (const kind of ["online", "offline"]) window.addEventListener(kind, () => this.send({ kind }));
    window.addEventListener("pagehide", () => this.disconnect());
    // The browser shows a page from its back/forward cache again.
    window.addEventListener("pageshow", (event) => event.persisted && this.connect());
    this.visibility();
  }

  /** Watches keys with these prefixes from now on. A list of them is about to be read. */
  reading(...texts) {
    const prefix = texts.reduce(commonPrefix);
    this.since = undefined;
    this.from = undefined;
    if (prefix !== this.prefix || !this.isJoined) this.subscribe(prefix);
  }

  /** The list was read; `since` is its point in the stream. */
  begin(since) {
    const { from } = this;
    this.since = since;
    this.from = undefined;
    if (!this.isJoined) this.subscribe(this.prefix);
    else if (from !== undefined && isAfter(from, since)) this.on.reset();
  }

  /** Watches keys with these prefixes from now on. */
  widen(...texts) {
    const prefix = texts.reduce(commonPrefix);
    if (prefix !== this.prefix) this.subscribe(prefix);
  }

  subscribe(prefix) {
    this.prefix = prefix;
    this.isJoined = false;
    this.round += 1;
    this.send({ kind: "watch", prefix, since: this.since, round: this.round });
  }

  /** Tells who is signed in: null for everyone without a name, undefined for nobody. */
  setCaller(name) {
    this.caller = { name };
    this.send({ kind: "caller", name });
  }

  /** A request got no response, or not from the service. on.back() is called when it can be repeated. */
  suspect() {
    if (this.suspecting !== undefined) return;
    const now = performance.now();
    if (now - this.suspectedAt > 2 * LONGEST_DELAY_MILLIS) this.delay = 0;
    this.suspecting = setTimeout(() => {
      this.suspecting = undefined;
      this.suspectedAt = performance.now();
      this.send({ kind: "suspect" });
    }, this.delay);
    this.delay = Math.min(Math.max(2 * this.delay, FIRST_DELAY_MILLIS), LONGEST_DELAY_MILLIS);
  }

  connect() {
    this.disconnect();
    this.port = (this.hasOwnHub ? undefined : this.sharedPort()) ?? this.ownPort();
    const { port } = this;
    Object.assign(this, { hasAnswered: false, unanswered: 0 });
    port.addEventListener("message", ({ data }) => this.port === port && this.receive(data));
    port.start();
    if (this.isHidden) this.send({ kind: "hide" });
    if (this.caller !== undefined) this.send({ kind: "caller", ...this.caller });
    if (this.prefix !== undefined) this.subscribe(this.prefix);
  }

  disconnect() {
    this.send({ kind: "leave" });
    this.port?.close();
    this.port = undefined;
  }

  sharedPort() {
    try {
      const worker = new SharedWorker(new URL("shared.js", import.meta.url), {
        type: "module",
        name: `ifmatch ${PROTOCOL}`,
      });
      worker.addEventListener("error", () => this.port === worker.port && this.useOwnHub());
      return worker.port;
    } catch {
      // The browser has no shared workers, or does not allow them here.
      return undefined;
    }
  }

  ownPort() {
    this.hasOwnHub = true;
    const { port1, port2 } = new MessageChannel();
    new Hub().connect(port1);
    return port2;
  }

  useOwnHub() {
    this.hasOwnHub = true;
    this.connect();
  }

  ping() {
    if (this.isHidden || this.port === undefined) return;
    if (!this.hasOwnHub && this.unanswered >= (this.hasAnswered ? UNANSWERED_PINGS : START_PINGS)) {
      // A worker that has ended is started again. If none can be started, the tab uses its own hub.
      if (this.hasAnswered) this.connect();
      else this.useOwnHub();
    }
    this.unanswered += 1;
    this.send({ kind: "ping" });
  }

  send(message) {
    this.port?.postMessage(message);
  }

  receive(message) {
    this.hasAnswered = true;
    this.unanswered = 0;
    const { kind } = message;
    if (kind === "put" || kind === "delete") {
      if (this.since !== undefined) this.since = message.id;
      this.on.event(kind, entryOf(parse(message.data, 2 * MAX_DEPTH_LEVELS)));
    } else if (kind === "from") {
      if (message.round === this.round) this.acknowledged(message.id);
    } else if (kind === "status") {
      this.on.status(message.status);
    } else if (kind === "reset" || kind === "back") {
      this.on[kind]();
    }
  }

  acknowledged(id) {
    this.isJoined = true;
    // A list that is still being read is compared with it in begin().
    if (this.since === undefined) this.from = id;
    if (this.since !== undefined && isAfter(id, this.since)) this.on.reset();
    else this.on.joined();
  }

  visibility() {
    clearTimeout(this.hiding);
    if (document.visibilityState === "hidden") {
      this.hiding = setTimeout(() => {
        this.isHidden = true;
        this.send({ kind: "hide" });
      }, HIDDEN_MILLIS);
    } else if (this.isHidden) {
      this.isHidden = false;
      this.unanswered = 0;
      this.send({ kind: "show" });
    }
  }
}

/** Whether a point is after another. It begins with a revision and, if only some of its changes were sent, their number. */
function isAfter(point, other) {
  const [left, right] = [point, other].map((one) => {
    const [revision, changes] = one.split("-", 1)[0].split(".");
    return { revision: Number(revision), changes: Number(changes ?? Infinity) };
  });
  return left.revision > right.revision || (left.revision === right.revision && left.changes > right.changes);
}

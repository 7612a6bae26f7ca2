// The stream of changes, once for all tabs of a browser: over HTTP/1.1 a browser opens six connections to a
// host, so with a stream in each tab, the seventh would get no response.
//
// A hub runs in a shared worker, or in the page if the browser has no shared workers. It communicates with each
// tab through a port:
//
//   from a tab                    meaning
//   {kind: "watch", prefix, since, round}  sends changes of keys with this prefix; `since` is the tab's point
//   {kind: "hide"}, {kind: "show"}         the tab is hidden; it is visible again
//   {kind: "ping"}                         the tab is still open
//   {kind: "suspect"}                      a request of the tab got no response
//   {kind: "online"}, {kind: "offline"}    what the browser says about its network
//   {kind: "leave"}                        the tab is being closed
//   {kind: "caller", name}                 who is signed in: null for everyone without a name, undefined for nobody
//
//   to a tab                      meaning
//   {kind: "from", id, round}              the tab gets every change after this id
//   {kind: "put" | "delete", id, data}     a change; data is the entry as JSON
//   {kind: "reset"}                        changes may have been missed: read again
//   {kind: "status", status}               "connecting", "connected", "reconnecting", "offline",
//                                          or "ended": someone must sign in
//   {kind: "back"}                         the service responds again
//   {kind: "pong"}                         the hub is still running

import { urlOf } from "./place.js";

/** How often the service is asked for a response: a stream whose connection is silently lost stays open. */
const PULSE_MILLIS = 10_000;
/** How long such a response may take. */
const PULSE_TIMEOUT_MILLIS = 5_000;
const FIRST_DELAY_MILLIS = 500;
const LONGEST_DELAY_MILLIS = 15_000;
/** How often the hub checks for tabs that were closed without a message. */
const TICK_MILLIS = 1_000;
/** After this many ticks without a ping, a tab counts as closed. */
const SILENT_TICKS = 5;

export class Hub {
  constructor() {
    Object.assign(this, { tabs: new Set(), prefix: "", id: undefined, source: null, status: "connecting" });
    Object.assign(this, { delay: FIRST_DELAY_MILLIS, retry: 0, ticking: 0, isLost: false });
    // Undefined until a tab has told it.
    this.caller = undefined;
  }

  /** Serves the tab at the other end of a port. */
  connect(port) {
    const tab = {
      port,
      prefix: undefined,
      round: 0,
      isHidden: false,
      silentTicks: 0,
      isSeen: true,
      hasMissed: false,
    };
    this.tabs.add(tab);
    port.addEventListener("message", ({ data }) => this.receive(tab, data));
    // Not every browser sends this event when the tab is closed.
    port.addEventListener("close", () => this.leave(tab));
    port.start();
    port.postMessage({ kind: "status", status: this.status });
  }

  receive(tab, message) {
    if (!this.tabs.has(tab)) return;
    tab.silentTicks = 0;
    if (message.kind === "hide") tab.isHidden = true;
    else if (message.kind === "show") tab.isHidden = false;
    this.updateSeen(tab);
    if (message.kind === "ping") tab.port.postMessage({ kind: "pong" });
    else if (message.kind === "leave") this.leave(tab);
    else if (message.kind === "watch") this.watch(tab, message);
    else if (message.kind === "caller") this.setCaller(message.name);
    else if (message.kind === "suspect") this.suspect(tab);
    else if (message.kind === "online") this.online();
    else if (message.kind === "offline" && this.source !== null) this.fail();
  }

  // A tab that is hidden or silent gets no changes.
  updateSeen(tab) {
    const isSeen = !tab.isHidden && tab.silentTicks <= SILENT_TICKS;
    if (isSeen === tab.isSeen) return;
    tab.isSeen = isSeen;
    if (isSeen) {
      tab.port.postMessage({ kind: "status", status: this.status });
      if (tab.hasMissed) tab.port.postMessage({ kind: "reset" });
      if (!this.isLost) tab.port.postMessage({ kind: "back" });
      tab.hasMissed = false;
      // Without waiting until the delay is over.
      if (this.isLost && this.source === null) this.open();
    }
    this.update();
  }

  watch(tab, { prefix, since, round }) {
    Object.assign(tab, { prefix, round });
    if (this.id !== undefined) {
      this.acknowledge(tab);
    } else if (since !== undefined) {
      this.id = since;
      this.close();
      for (const other of this.tabs) this.acknowledge(other);
    }
    this.update();
  }

  // The stream goes on after the last change that was sent. To someone who may read other keys than the one before, the
  // service sends a reset.
  setCaller(name) {
    if (name === undefined) {
      this.end();
      return;
    }
    const isSame = name === this.caller && this.status !== "ended";
    const isFirst = this.caller === undefined && this.status !== "ended";
    this.caller = name;
    if (isSame || isFirst) return;
    this.close();
    this.isLost = true;
    this.delay = FIRST_DELAY_MILLIS;
    this.setStatus("connecting");
    this.update();
  }

  // Nobody is signed in: a tab tells when that has changed.
  end() {
    this.close();
    this.isLost = true;
    this.setStatus("ended");
  }

  acknowledge(tab) {
    if (tab.prefix !== undefined) tab.port.postMessage({ kind: "from", id: this.id, round: tab.round });
  }

  leave(tab) {
    this.tabs.delete(tab);
    tab.port.close();
    this.update();
  }

  // The network may have changed, and the old connection may be dead.
  online() {
    const isOpen = this.source?.readyState === EventSource.OPEN;
    if ((isOpen || (this.isLost && this.source === null)) && this.watchers.length > 0) this.open();
  }

  /** The visible tabs that have sent which keys they show. */
  get watchers() {
    return [...this.tabs].filter((tab) => tab.isSeen && tab.prefix !== undefined);
  }

  // Opens or closes the stream, for the keys that the tabs show.
  update() {
    const { watchers } = this;
    if (watchers.length === 0) {
      this.close();
      clearInterval(this.ticking);
      this.ticking = 0;
      return;
    }
    if (this.ticking === 0) {
      this.ticks = 0;
      this.ticking = setInterval(() => this.tick(), TICK_MILLIS);
    }
    const prefix = watchers.map((tab) => tab.prefix).reduce(commonPrefix);
    const isOther = prefix !== this.prefix;
    this.prefix = prefix;
    // Without an id the starting point is unknown: a tab that has read its list sends it.
    const isDue = this.retry === 0 && (this.isLost || this.id !== undefined);
    if (this.source === null ? isDue : isOther) this.open();
  }

  tick() {
    this.ticks += 1;
    for (const tab of this.watchers) {
      tab.silentTicks += 1;
      this.updateSeen(tab);
    }
    if (this.ticks * TICK_MILLIS < PULSE_MILLIS) return;
    this.ticks = 0;
    this.pulse();
  }

  /** Finds out whether the service responds, and fails if it does not. */
  async pulse() {
    const { source } = this;
    const responds = await isReachable();
    if (!responds && this.source === source && this.retry === 0 && this.watchers.length > 0) this.fail();
    return responds;
  }

  async suspect(tab) {
    if (!this.isLost && (await this.pulse())) tab.port.postMessage({ kind: "back" });
  }

  open() {
    this.close();
    if (this.status === "ended") return;
    const query = new URLSearchParams();
    const { id } = this;
    if (id !== undefined) query.set("since", id);
    if (this.prefix !== "") query.set("prefix", this.prefix);
    const source = new EventSource(urlOf(`watch?${query}`));
    this.source = source;
    source.onopen = () => this.onOpen(id);
    source.onerror = () => {
      if (this.source === source) this.fail();
    };
    for (const kind of ["put", "delete"])
      source.addEventListener(kind, (message) => this.dispatch(kind, message));
    source.addEventListener("reset", (message) => {
      this.id = message.lastEventId;
      this.reset();
    });
  }

  onOpen(id) {
    const wasLost = this.isLost;
    this.isLost = false;
    this.delay = FIRST_DELAY_MILLIS;
    this.setStatus("connected");
    if (wasLost) for (const tab of this.watchers) tab.port.postMessage({ kind: "back" });
    // Earlier changes may have been missed.
    if (id === undefined) this.reset();
  }

  // A browser reconnects a stream that ends, but not one that was refused (503): so each failure is handled
  // here, with growing delays.
  fail() {
    this.close();
    this.findCaller();
    this.isLost = true;
    this.setStatus(navigator.onLine ? "reconnecting" : "offline");
    const delay = this.delay * (0.75 + Math.random() / 2);
    this.delay = Math.min(2 * this.delay, LONGEST_DELAY_MILLIS);
    this.retry = setTimeout(() => this.open(), delay);
  }

  // A stream that is refused does not say why.
  async findCaller() {
    const { caller } = this;
    const mustSignIn = await isUnauthorized();
    // A tab may have told who is signed in meanwhile.
    if (mustSignIn && this.isLost && this.source === null && caller === this.caller) this.end();
  }

  close() {
    clearTimeout(this.retry);
    this.retry = 0;
    this.source?.close();
    this.source = null;
  }

  setStatus(status) {
    if (status === this.status) return;
    this.status = status;
    for (const tab of this.tabs) tab.port.postMessage({ kind: "status", status });
  }

  dispatch(kind, { data, lastEventId: id }) {
    this.id = id;
    const key = keyOf(data);
    for (const tab of this.tabs) {
      if (tab.prefix === undefined) continue;
      const concerns = key.startsWith(tab.prefix);
      if (tab.isSeen && concerns) tab.port.postMessage({ kind, id, data });
      // If the stream does not cover all keys of a hidden tab, it may have missed changes.
      if (!tab.isSeen && (concerns || !tab.prefix.startsWith(this.prefix))) tab.hasMissed = true;
    }
  }

  reset() {
    for (const tab of this.tabs) {
      if (tab.prefix === undefined) continue;
      if (tab.isSeen) tab.port.postMessage({ kind: "reset" });
      else tab.hasMissed = true;
    }
  }
}

/** The common prefix of two texts, of whole characters. */
export function commonPrefix(one, other) {
  let length = 0;
  while (length < one.length && one[length] === other[length]) length += 1;
  return one.slice(0, length).replace(/[\ud800-\udbff]$/, "");
}

// The entry may be long, and the key is its first member.
function keyOf(data) {
  const first = /^\{"key":("(?:[^"\\]|\\.)*")/.exec(data);
  return JSON.parse(first === null ? data : `{"key":${first[1]}}`).key;
}

async function isReachable() {
  return (await statusOf("health/live")) !== undefined;
}

async function isUnauthorized() {
  return (await statusOf("whoami")) === 401;
}

/** The status of the response; undefined without a response. */
async function statusOf(path) {
  try {
    const { status } = await fetch(urlOf(path), {
      cache: "no-store",
      signal: AbortSignal.timeout(PULSE_TIMEOUT_MILLIS),
    });
    return status;
  } catch {
    return undefined;
  }
}

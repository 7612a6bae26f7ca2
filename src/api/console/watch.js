// The stream of changes, kept open as long as somebody looks.

import { entryOf, isThere } from "./api.js";
import { MAX_DEPTH_LEVELS, parse } from "./json.js";

/** How long a page stays connected after it was hidden: browsers allow six connections to a host. */
const HIDDEN_MILLIS = 5_000;
/** How often the service is asked whether it is there: a stream that was cut without a word stays open. */
const PULSE_MILLIS = 10_000;
const FIRST_DELAY_MILLIS = 500;
const LONGEST_DELAY_MILLIS = 15_000;

/**
 * Watches a prefix from a point on. Calls on.event(kind, entry) with "put" and "delete", on.reset() when
 * the point is not known any more, on.status(status) with "connecting", "connected", "reconnecting",
 * "offline", and on.back() when the connection stands again after it was lost.
 */
export class Watch {
  constructor(on) {
    Object.assign(this, { on, prefix: "", since: undefined, source: null, delay: FIRST_DELAY_MILLIS, timer: 0, lost: false });
    document.addEventListener("visibilitychange", () => this.visibility());
    window.addEventListener("online", () => this.open());
    window.addEventListener("offline", () => this.fail());
    setInterval(() => this.pulse(), PULSE_MILLIS);
  }

  /** Watches from here on, in place of what was watched before. */
  begin(prefix, since) {
    if (since !== undefined) this.since = since;
    this.prefix = prefix;
    this.open();
  }

  /** Watches something else from where it stands, if it has begun. */
  widen(prefix) {
    if (prefix !== this.prefix && this.since !== undefined) this.begin(prefix);
  }

  /** Something else has found that there is no connection. */
  suspect() {
    if (this.source?.readyState === EventSource.OPEN) this.open();
  }

  async pulse() {
    const { source } = this;
    if (source !== null && !(await isThere()) && this.source === source) this.fail();
  }

  open() {
    this.close();
    if (document.visibilityState === "hidden" && this.lost) return;
    if (!this.lost) this.on.status("connecting");
    const query = new URLSearchParams();
    if (this.since !== undefined) query.set("since", this.since);
    if (this.prefix !== "") query.set("prefix", this.prefix);
    const source = new EventSource(`/watch?${query}`);
    this.source = source;
    source.onopen = () => {
      this.delay = FIRST_DELAY_MILLIS;
      this.on.status("connected");
      if (this.lost) this.on.back();
      this.lost = false;
    };
    source.onerror = () => {
      if (this.source === source) this.fail();
    };
    for (const kind of ["put", "delete"]) {
      source.addEventListener(kind, (message) => {
        this.since = message.lastEventId;
        this.on.event(kind, entryOf(parse(message.data, 2 * MAX_DEPTH_LEVELS)));
      });
    }
    source.addEventListener("reset", (message) => {
      this.since = message.lastEventId;
      this.on.reset();
    });
  }

  // A stream that ends comes again by itself, but not one that was refused (503): so each failure is
  // met here, with delays that grow.
  fail() {
    this.close();
    this.lost = true;
    this.on.status(navigator.onLine ? "reconnecting" : "offline");
    const delay = this.delay * (0.75 + Math.random() / 2);
    this.delay = Math.min(2 * this.delay, LONGEST_DELAY_MILLIS);
    this.timer = setTimeout(() => this.open(), delay);
  }

  close() {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  visibility() {
    if (document.visibilityState === "hidden") {
      clearTimeout(this.hiding);
      this.hiding = setTimeout(() => {
        this.close();
        this.paused = true;
      }, HIDDEN_MILLIS);
      return;
    }
    clearTimeout(this.hiding);
    if (this.paused || this.source === null) this.open();
    this.paused = false;
  }
}

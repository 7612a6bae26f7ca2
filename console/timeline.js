// What is known of the history of a key, and the comparison of two versions of it. It does not know the page, which
// shows it and is notified of changes.

import { Refused, read, Unreachable } from "./api.js";
import { difference } from "./differ.js";
import { compact, same } from "./json.js";
import { historyOf, newestRevision, readAt, revert } from "./past.js";
import { newRequestKey } from "./sending.js";
import { whoSaved } from "./state.js";
import { hadEntryBefore, pairOf, versionsOf, withNewest } from "./versions.js";

/** How many entries of the past are kept in memory. */
const MOST_KEPT = 8;

export class Timeline {
  /** "loading", "loaded" or "failed". */
  phase = "loading";
  /** Why it failed, or undefined. */
  problem = undefined;
  events = [];
  /** Where older events begin, or null. */
  next = null;
  /** The oldest revision whose state is kept. */
  oldest = 0;
  /** The current entry, or null. */
  current = null;
  /** What was there before the oldest event that is kept: {at, entry} or null. */
  before = null;
  /** Whether the service has no history at all. */
  keepsNone = false;
  isLoadingMore = false;
  /** Why older events could not be read, or undefined. */
  moreProblem = undefined;
  /** What is compared: {from, to} or {restore}, which are revisions, or nothing. */
  chosen = {};
  /**
   * The comparison of two revisions, or undefined: {pair, phase, from, to, result, problem}. The phase is "comparing",
   * "compared" or "failed", from and to are entries or null, and the result is that of diff.js.
   */
  comparison = undefined;
  isRefreshing = false;
  isRestoring = false;
  /** What went wrong with a restore, or undefined. */
  restoreProblem = undefined;
  // The entries of the past that were read, by revision.
  #entries = new Map();
  #round = 0;
  #isStale = false;
  #request;

  /**
   * The history of a key. Calls on.changed() when the view must be updated, on.say(sentence) for screen readers,
   * on.unreachable() when a request got no response, on.restored(entry) when a version was restored, and
   * on.whyNot(action) to learn why something is not granted, undefined if it is.
   */
  constructor(key, on) {
    Object.assign(this, { key, on });
  }

  get versions() {
    return versionsOf(this.events, this.before);
  }

  /** Reads the newest part of the history, and the current entry. */
  async load() {
    Object.assign(this, { phase: "loading", problem: undefined });
    this.#isStale = false;
    this.on.changed();
    try {
      await this.#read();
      this.phase = "loaded";
    } catch (error) {
      Object.assign(this, { phase: "failed", problem: this.#wordsOf(error) });
    }
    this.on.changed();
    if (this.phase !== "loaded") return;
    await this.#compare();
    if (this.#isStale) await this.refresh();
  }

  async #read() {
    let [page, current] = await Promise.all([historyOf(this.key), read(this.key)]);
    let keepsNone = false;
    if (page.events.length === 0) {
      // Both are compared with what the store was before the second request.
      const newest = await newestRevision().catch(() => undefined);
      [page, current] = await Promise.all([historyOf(this.key), read(this.key)]);
      keepsNone = page.events.length === 0 && newest !== undefined && page.oldest >= newest;
    }
    const { oldest } = page;
    Object.assign(this, withNewest(this, page), { oldest, current, keepsNone });
    await this.#readBefore();
  }

  async #readBefore() {
    const last = this.events.at(-1);
    this.before = null;
    if (this.next !== null) return;
    if (last === undefined) {
      if (this.current !== null) this.before = { at: this.oldest, entry: this.current };
    } else if (hadEntryBefore(last)) {
      const at = last.revision - 1;
      const entry = await this.#entryAt(at).catch(() => null);
      if (entry !== null) this.before = { at, entry };
    }
  }

  /** Reads older events. */
  async loadMore() {
    if (this.isLoadingMore || this.next === null) return;
    Object.assign(this, { isLoadingMore: true, moreProblem: undefined });
    this.on.changed();
    const { next } = this;
    try {
      const page = await historyOf(this.key, next);
      if (this.next === next) {
        Object.assign(this, {
          events: [...this.events, ...page.events],
          next: page.next,
          oldest: page.oldest,
        });
        await this.#readBefore();
      }
    } catch (error) {
      this.moreProblem = this.#wordsOf(error);
    }
    this.isLoadingMore = false;
    this.on.changed();
  }

  /** Handles an event of the watch. */
  event(kind, entry) {
    if (entry.key !== this.key || entry.revision <= (this.events[0]?.revision ?? 0)) return;
    if (this.phase === "loaded" && this.chosen.restore !== undefined && !this.isRestoring)
      this.on.say(`${kind === "put" ? whoSaved(entry) : "It was deleted"}. The comparison is updated.`);
    this.refresh();
  }

  /** Reads what may have changed. */
  async refresh() {
    if (this.phase === "failed") {
      await this.load();
      return;
    }
    this.#isStale = true;
    if (this.phase !== "loaded" || this.isRefreshing || this.isRestoring) return;
    this.isRefreshing = true;
    while (this.#isStale && !this.isRestoring) {
      this.#isStale = false;
      const before = this.current?.etag;
      try {
        await this.#read();
      } catch (error) {
        // What is shown is still right, as of then. Who may not read it any more is told by the next choice.
        if (error instanceof Unreachable) this.on.unreachable();
        else if (!(error instanceof Refused)) throw error;
        break;
      }
      this.on.changed();
      if (this.current?.etag !== before || this.comparison === undefined) await this.#compare();
    }
    this.isRefreshing = false;
  }

  /** Compares two revisions {from, to}, or the current entry with that of a revision {restore}. */
  async choose(chosen) {
    Object.assign(this, { chosen, restoreProblem: undefined });
    if (this.phase === "loaded") await this.#compare();
  }

  async #compare() {
    this.#round += 1;
    const round = this.#round;
    const pair = pairOf(this.chosen, this.versions);
    const show = (comparison) => {
      if (round !== this.#round) return;
      this.comparison = comparison;
      this.on.changed();
    };
    if (pair === undefined) {
      show(undefined);
      return;
    }
    show({ pair, phase: "comparing" });
    try {
      const [from, to] = await Promise.all([this.#entryAt(pair.from), this.#entryAt(pair.to)]);
      const result = await difference(jsonOf(from), jsonOf(to));
      show({ pair, phase: "compared", from, to, result });
    } catch (error) {
      show({ pair, phase: "failed", problem: this.#wordsOf(error) });
    }
  }

  #entryAt(at) {
    if (at === "current") return Promise.resolve(this.current);
    const known = this.#entries.get(at);
    const read = known ?? readAt(this.key, at);
    // The last that was used is the last in the order.
    this.#entries.delete(at);
    this.#entries.set(at, read);
    if (known === undefined) read.catch(() => this.#entries.delete(at));
    if (this.#entries.size > MOST_KEPT) this.#entries.delete(this.#entries.keys().next().value);
    return read;
  }

  /** Why what is compared cannot be restored, or undefined. */
  get whyNotRestored() {
    const { comparison, current } = this;
    const why = this.on.whyNot(current === null ? "create" : "update") ?? this.on.whyNot("read");
    if (why !== undefined) return why;
    if (comparison?.phase !== "compared") return "The versions are being compared.";
    const { from, to } = comparison;
    if (to === null) return "There was no entry then.";
    return from !== null && same(from.tree, to.tree) ? "The entry has this value already." : undefined;
  }

  /** Restores the version that the current entry is compared with, in place of the entry that is shown. */
  async restore() {
    if (this.isRestoring || this.whyNotRestored !== undefined) return;
    const { from, pair } = this.comparison;
    const etag = from?.etag ?? null;
    Object.assign(this, { isRestoring: true, restoreProblem: undefined });
    this.on.changed();
    try {
      const entry = await revert(this.key, pair.to, etag, this.#keyFor(pair.to, etag));
      this.isRestoring = false;
      this.on.restored(entry);
      return;
    } catch (error) {
      this.isRestoring = false;
      await this.#failToRestore(error);
    }
    this.on.changed();
  }

  // The same request has the same key, so that trying again never does it twice.
  #keyFor(revision, etag) {
    const name = `${revision} ${etag}`;
    if (this.#request?.name !== name) this.#request = { name, key: newRequestKey() };
    return this.#request.key;
  }

  async #failToRestore(error) {
    if (error instanceof Refused && error.status === 412 && error.current !== undefined) {
      this.current = error.current;
      const who = error.current === null ? "the entry was deleted" : whoSaved(error.current);
      this.restoreProblem = `Not restored: ${who} meanwhile. This is what would change now.`;
      this.on.say(this.restoreProblem);
      await this.#compare();
      await this.refresh();
      return;
    }
    const words = this.#wordsOf(error);
    const mayBeDone = error instanceof Unreachable || [500, 504].includes(error.status);
    this.restoreProblem = mayBeDone
      ? `${words} Whether the version was restored is not known; trying again does it only once.`
      : `Not restored: ${words}`;
    this.on.say(this.restoreProblem);
  }

  /** What to say about a failed request. */
  #wordsOf(error) {
    if (error instanceof Unreachable) {
      this.on.unreachable();
      return error.message;
    }
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) return "Your session has ended.";
    if (error.status === 410) return "This version is no longer kept.";
    return `The server says: ${error.message}`;
  }
}

const jsonOf = (entry) => (entry === null ? null : compact(entry.tree));

// Unsaved text, kept in the browser until it is saved or discarded.
//
// The name of a draft contains the tab that wrote it, the ETag that the text is based on, and the key, so that
// no tab overwrites the draft of another. A draft also contains the value that the text is based on: a three-way
// merge needs it, and the service no longer has it once somebody else has saved.
//
// Someone who has signed in sees only drafts of their own, whose names contain theirs, and those without a name: the
// service had no tokens when they were written, so everyone could read them. Signing out leaves the drafts where they are.
//
// A small draft is in localStorage, and a copy of it in IndexedDB. A large one is in IndexedDB only.

import { PATH } from "./place.js";
import * as store from "./store.js";

/** A host may have several services, each below its own path. */
const SERVICE = PATH === "/" ? "" : `@${encodeURIComponent(PATH)}`;
const DRAFT = "ifmatch:draft";
/** localStorage has an item with this prefix for each dropped draft that may still be in IndexedDB. */
const DROPPED = "ifmatch:dropped";
/** If IndexedDB never works, the oldest of them are removed. */
const MOST_DROPPED = 200;
/** A larger draft is not kept in localStorage. In UTF-16 units, text and value together. */
const LARGE_CHARACTERS = 100_000;
/** What localStorage has of a draft that is only in IndexedDB. */
const NAME_ONLY = "{}";
/** The copy in IndexedDB is written at most this often. */
const COPY_MILLIS = 150;

export class Drafts {
  /** Who writes drafts here; null for everyone without a name. */
  writer = null;
  /** Names of drafts that are being saved at the moment. */
  sending = new Set();
  /** By name, the drafts that are not stored yet, or cannot be. They are lost with the page. */
  unkept = new Map();
  /** The names of those that could not be stored. */
  failed = new Set();
  /** The names of those that IndexedDB has. */
  stored = new Set();
  // By name, the drafts whose copy is still to be written to IndexedDB.
  #copies = new Map();
  // By the name of a draft, the name of the one that it replaces once it is stored.
  #replaced = new Map();
  // Dropped drafts that may still be in IndexedDB.
  #dropped = new Set();
  // Drafts on their way to IndexedDB.
  #writing = new Set();
  // For each lookUp() under way, the names that were dropped since it began.
  #lookUps = new Set();

  /** onTrouble(inTrouble) is called with whether there is a draft that could not be stored. */
  constructor(onTrouble) {
    this.onTrouble = onTrouble;
    window.addEventListener("storage", (event) => this.#changedElsewhere(event));
  }

  // Another tab has changed localStorage.
  #changedElsewhere({ key, newValue }) {
    if (isOfService(key, DROPPED)) {
      const name = DRAFT + key.slice(DROPPED.length);
      if (newValue === null) this.#dropped.delete(name);
      else if (!this.unkept.has(name)) this.#forget(name);
    } else if (newValue === null && !this.unkept.has(key)) {
      this.#forget(key);
    }
  }

  #forget(name) {
    this.stored.delete(name);
    for (const dropped of this.#lookUps) dropped.add(name);
  }

  /** Settles when no draft is on its way to the browser's storage. */
  async settled() {
    this.copyNow();
    await Promise.allSettled([...this.#writing]);
  }

  /** Finds out the name of this tab, and which drafts there are, for a writer: null for one without a name. */
  async begin(writer = null) {
    this.writer = writer;
    const known = this.attempt(() => sessionStorage.getItem("ifmatch:tab"));
    this.tab = known ?? token();
    // A duplicated tab gets a copy of the storage, and so the name of a tab that is still open.
    if (navigator.locks === undefined) {
      this.hideName();
    } else {
      if (!(await held(this.tab))) {
        this.tab = token();
        await held(this.tab);
      }
      this.storeName();
    }
    await this.lookUp();
  }

  storeName() {
    this.attempt(() => sessionStorage.setItem("ifmatch:tab", this.tab));
  }

  // Without locks, the name is in the storage only while no page of this tab is open, so that no copy gets it.
  hideName() {
    const hide = () => this.attempt(() => sessionStorage.removeItem("ifmatch:tab"));
    hide();
    window.addEventListener("pagehide", () => this.storeName());
    window.addEventListener("pageshow", hide);
  }

  /** Stores a draft {key, etag, …} and then drops the one that it replaces. Returns its name. */
  keep(draft, replaced) {
    const mine = `${DRAFT}${SERVICE}${writerIn(this.writer)}:${this.tab}:`;
    const from = `:${draft.etag ?? "new"}:${draft.key}`;
    const canReuse = replaced?.startsWith(mine) && replaced.endsWith(from);
    const name = canReuse ? replaced : `${mine}${token()}${from}`;
    const kept = { ...draft, at: new Date().toISOString() };
    if (replaced !== undefined && replaced !== name) this.#replaced.set(name, replaced);
    this.#forgetDropped(name);
    const isLarge = draft.text.length + (draft.base?.length ?? 0) > LARGE_CHARACTERS;
    if (isLarge || !this.keepSmall(name, kept)) this.keepLarge(name, kept);
    this.reportTrouble();
    return name;
  }

  keepSmall(name, kept) {
    try {
      localStorage.setItem(name, JSON.stringify(kept));
    } catch {
      return false;
    }
    this.unkept.delete(name);
    this.failed.delete(name);
    this.#copySoon(name, kept);
    this.#dropReplaced(name);
    return true;
  }

  // A browser writes localStorage to the disk seconds later, and IndexedDB at once: if it is killed, only the
  // copy has the latest text.
  #copySoon(name, kept) {
    if (!this.#copies.has(name)) setTimeout(() => this.#copy(name), COPY_MILLIS);
    this.#copies.set(name, kept);
  }

  #copy(name) {
    const kept = this.#copies.get(name);
    if (kept === undefined) return;
    this.#copies.delete(name);
    // If the write fails, an earlier copy is still there.
    const isFirst = !this.stored.has(name);
    this.stored.add(name);
    this.#put(name, kept).catch(() => isFirst && !this.unkept.has(name) && this.stored.delete(name));
  }

  #put(name, kept) {
    const writing = store.put(name, kept).finally(() => this.#writing.delete(writing));
    this.#writing.add(writing);
    return writing;
  }

  /** Writes the copies that are still to be written, because the page may be closed. */
  copyNow() {
    for (const name of [...this.#copies.keys()]) this.#copy(name);
  }

  // localStorage gets only the name, so that other tabs see it.
  async keepLarge(name, kept) {
    this.unkept.set(name, kept);
    this.stored.add(name);
    this.#copies.delete(name);
    this.attempt(() => localStorage.getItem(name) === null && localStorage.setItem(name, NAME_ONLY));
    try {
      await this.#put(name, kept);
    } catch {
      if (this.unkept.get(name) === kept) this.failed.add(name);
      this.reportTrouble();
      return;
    }
    if (this.unkept.get(name) === kept) {
      this.unkept.delete(name);
      this.failed.delete(name);
      this.attempt(() => localStorage.getItem(name) !== NAME_ONLY && localStorage.setItem(name, NAME_ONLY));
    }
    this.#dropReplaced(name);
    this.reportTrouble();
  }

  #dropReplaced(name) {
    const replaced = this.#replaced.get(name);
    this.#replaced.delete(name);
    if (replaced !== undefined) this.drop(replaced);
  }

  /** Removes a draft, and the one that it was to replace. */
  drop(name) {
    this.unkept.delete(name);
    this.failed.delete(name);
    this.#copies.delete(name);
    this.#forget(name);
    this.attempt(() => localStorage.removeItem(name));
    this.#remember(name);
    this.#removeStored(name);
    this.#dropReplaced(name);
    this.reportTrouble();
  }

  // Until the draft is removed from IndexedDB, too. The other tabs get an event of this.
  #remember(name) {
    this.#dropped.add(name);
    this.attempt(() => localStorage.setItem(droppedItem(name), new Date().toISOString()));
  }

  #forgetDropped(name) {
    this.#dropped.delete(name);
    this.attempt(() => localStorage.removeItem(droppedItem(name)));
  }

  // If this fails, the next lookUp() tries again.
  async #removeStored(name) {
    try {
      await store.remove(name);
    } catch {
      // Another tab may have found nothing to remove, because the draft was still being written.
      if (this.#dropped.has(name)) this.#remember(name);
      return;
    }
    this.#forgetDropped(name);
  }

  reportTrouble() {
    this.onTrouble(this.failed.size > 0);
  }

  /** The drafts of a key, the latest first, each with its name and its owner: "mine", "open" (another tab that is open), "left", or "unknown". */
  async of(key) {
    await this.lookUp();
    const found = [];
    for (const name of this.names().filter((one) => keyOf(one) === key)) {
      const draft = await this.read(name);
      if (typeof draft?.text === "string") found.push({ ...draft, name });
    }
    const open = await openTabs();
    for (const draft of found) {
      const tab = draft.name.split(":", 3)[2];
      draft.owner = tab === this.tab ? "mine" : ownerAmong(open, tab);
    }
    return found.sort((one, other) => (one.at < other.at ? 1 : -1));
  }

  async read(name) {
    if (this.unkept.has(name)) return this.unkept.get(name);
    const text = this.attempt(() => localStorage.getItem(name)) ?? NAME_ONLY;
    const small = text === NAME_ONLY ? undefined : this.attempt(() => JSON.parse(text));
    const stored = this.stored.has(name) ? await store.get(name).catch(() => undefined) : undefined;
    return stored === undefined || small?.at >= stored.at ? small : stored;
  }

  async lookUp() {
    const dropped = new Set();
    this.#lookUps.add(dropped);
    const names = await store.names().catch(() => undefined);
    this.#lookUps.delete(dropped);
    const remembered = this.#allDropped();
    if (names === undefined) {
      for (const name of remembered.slice(MOST_DROPPED)) this.#forgetDropped(name);
      return;
    }
    const isThere = new Set(names);
    for (const name of remembered) {
      dropped.add(name);
      if (isThere.has(name)) this.#removeStored(name);
      else this.#forgetDropped(name);
    }
    this.stored = new Set([...names.filter((name) => !dropped.has(name)), ...this.unkept.keys()]);
  }

  // The dropped drafts that may still be in IndexedDB, the latest first.
  #allDropped() {
    const items = (this.attempt(() => Object.keys(localStorage)) ?? []).filter((item) =>
      isOfService(item, DROPPED),
    );
    const at = new Map(items.map((item) => [item, localStorage.getItem(item) ?? ""]));
    items.sort((one, other) => (at.get(one) < at.get(other) ? 1 : -1));
    const names = items.map((item) => DRAFT + item.slice(DROPPED.length));
    return [...new Set([...names, ...this.#dropped])];
  }

  /** The keys that have a draft. Reads only the names, because drafts may be long. */
  keys() {
    return new Set(this.names().map(keyOf));
  }

  /** Whether a draft is still there. */
  has(name) {
    return this.names().includes(name);
  }

  names() {
    const kept = this.attempt(() => Object.keys(localStorage)) ?? [];
    const begins = [null, this.writer].map((writer) => `${DRAFT}${SERVICE}${writerIn(writer)}:`);
    return [...new Set([...kept, ...this.stored, ...this.unkept.keys()])].filter((name) =>
      begins.some((begin) => name.startsWith(begin)),
    );
  }

  /** A browser may refuse any use of its storage. */
  attempt(use) {
    try {
      return use();
    } catch {
      return undefined;
    }
  }
}

function droppedItem(name) {
  return DROPPED + name.slice(DRAFT.length);
}

function keyOf(name) {
  return name.split(":").slice(5).join(":");
}

/** What the name of a draft says of its writer. */
function writerIn(name) {
  return name === null ? "" : `+${encodeURIComponent(name)}`;
}

/** Whether an item is of this service, whoever has written it. */
function isOfService(item, begin) {
  return [":", "+"].some((end) => item?.startsWith(`${begin}${SERVICE}${end}`));
}

function token() {
  return crypto.getRandomValues(new Uint32Array(2)).join("-");
}

// Each open tab holds a lock with its name. Browsers have locks only if the page was loaded over HTTPS or from
// the same machine.
const LOCK = "ifmatch:tab:";
const WAIT_MILLIS = 1_000;

/** Whether this page now holds the name. A page that is being reloaded takes a moment to release it. */
function held(tab) {
  return new Promise((resolve) => {
    const hold = () => {
      resolve(true);
      return new Promise(() => {});
    };
    navigator.locks
      .request(LOCK + tab, { signal: AbortSignal.timeout(WAIT_MILLIS) }, hold)
      .catch(() => resolve(false));
  });
}

function ownerAmong(open, tab) {
  if (open === undefined) return "unknown";
  return open.has(tab) ? "open" : "left";
}

async function openTabs() {
  if (navigator.locks === undefined) return undefined;
  const { held: locks } = await navigator.locks.query();
  return new Set(
    locks.filter((lock) => lock.name.startsWith(LOCK)).map((lock) => lock.name.slice(LOCK.length)),
  );
}

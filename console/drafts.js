// What was typed and is not saved, kept in the browser until it is saved or discarded.
//
// A draft is kept under the tab that makes it, the tag that it was made from and the key, so that no two
// tabs write over each other's. It holds the value that it was made from, too: the service does not have
// that any more once somebody else has saved, and a three-way merge needs it.

import { PATH } from "./place.js";
import * as store from "./store.js";

/** A host may have several services, each below its own path. */
const PREFIX = PATH === "/" ? "ifmatch:draft:" : `ifmatch:draft@${encodeURIComponent(PATH)}:`;
/** A larger draft is not kept in localStorage. In UTF-16 units, text and value together. */
const LARGE_CHARACTERS = 100_000;
/** What localStorage has of a draft that is kept elsewhere. */
const NAME_ONLY = "{}";

export class Drafts {
  constructor(onTrouble) {
    this.onTrouble = onTrouble;
    // What the browser does not keep yet, or, if it is in failed, never will. It lasts as long as the page.
    // And the names of those that are being saved just now.
    Object.assign(this, { unkept: new Map(), failed: new Set(), stored: new Set(), sending: new Set() });
    window.addEventListener("storage", (event) => {
      if (event.newValue === null && !this.unkept.has(event.key)) this.stored.delete(event.key);
    });
  }

  /** Finds out who this tab is, and which other tabs are open. */
  async begin() {
    const known = this.attempt(() => sessionStorage.getItem("ifmatch:tab"));
    this.tab = known ?? token();
    // A duplicated tab gets a copy of the storage, and with it the name of a tab that is open.
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

  // Without locks, the name is in the storage only between two pages of this tab, where no copy gets it.
  hideName() {
    const hide = () => this.attempt(() => sessionStorage.removeItem("ifmatch:tab"));
    hide();
    window.addEventListener("pagehide", () => this.storeName());
    window.addEventListener("pageshow", hide);
  }

  /** Keeps a draft {key, etag, …} and lets go of the one that it replaces. Returns its name. */
  keep(draft, replaced) {
    const mine = `${PREFIX}${this.tab}:`;
    const from = `:${draft.etag ?? "new"}:${draft.key}`;
    const goesOn = replaced?.startsWith(mine) && replaced.endsWith(from);
    const name = goesOn ? replaced : `${mine}${token()}${from}`;
    const kept = { ...draft, at: new Date().toISOString() };
    const outdated = replaced !== undefined && replaced !== name ? replaced : undefined;
    if (draft.text.length + (draft.base?.length ?? 0) > LARGE_CHARACTERS || !this.keepSmall(name, kept)) {
      this.keepLarge(name, kept, outdated);
    } else if (outdated !== undefined) {
      this.drop(outdated);
    }
    this.tell();
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
    this.backUp(name, kept);
    return true;
  }

  // A browser writes localStorage to the disk seconds later, and IndexedDB at once: if it is killed, the last
  // words are there alone.
  backUp(name, kept) {
    this.stored.add(name);
    store.put(name, kept).catch(() => this.unkept.has(name) || this.stored.delete(name));
  }

  // The name alone goes to localStorage, for other tabs to see.
  async keepLarge(name, kept, outdated) {
    this.unkept.set(name, kept);
    this.stored.add(name);
    this.attempt(() => localStorage.getItem(name) === null && localStorage.setItem(name, NAME_ONLY));
    try {
      await store.put(name, kept);
    } catch {
      if (this.unkept.get(name) === kept) this.failed.add(name);
      this.tell();
      return;
    }
    if (this.unkept.get(name) === kept) {
      this.unkept.delete(name);
      this.failed.delete(name);
      this.attempt(() => localStorage.getItem(name) !== NAME_ONLY && localStorage.setItem(name, NAME_ONLY));
    }
    if (outdated !== undefined) this.drop(outdated);
    this.tell();
  }

  drop(name) {
    this.unkept.delete(name);
    this.failed.delete(name);
    this.stored.delete(name);
    store.remove(name).catch(() => {});
    this.attempt(() => localStorage.removeItem(name));
    this.tell();
  }

  tell() {
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
      const tab = draft.name.slice(PREFIX.length).split(":", 1)[0];
      draft.owner = tab === this.tab ? "mine" : ownerAmong(open, tab);
    }
    return found.sort((one, other) => (one.at < other.at ? 1 : -1));
  }

  async read(name) {
    if (this.unkept.has(name)) return this.unkept.get(name);
    const text = this.attempt(() => localStorage.getItem(name)) ?? NAME_ONLY;
    const small = text === NAME_ONLY ? undefined : this.attempt(() => JSON.parse(text));
    const stored = this.stored.has(name) ? await store.get(name).catch(() => undefined) : undefined;
    return stored === undefined || small?.at > stored.at ? small : stored;
  }

  async lookUp() {
    const names = await store.names().catch(() => []);
    this.stored = new Set([...names, ...this.unkept.keys()]);
  }

  /** The keys that have a draft, told from the names alone, because drafts may be long. */
  keys() {
    return new Set(this.names().map(keyOf));
  }

  /** Whether a draft is still there. */
  has(name) {
    return this.names().includes(name);
  }

  names() {
    const kept = this.attempt(() => Object.keys(localStorage)) ?? [];
    return [...new Set([...kept, ...this.stored, ...this.unkept.keys()])].filter((name) =>
      name.startsWith(PREFIX),
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

function keyOf(name) {
  return name.slice(PREFIX.length).split(":").slice(3).join(":");
}

function token() {
  return crypto.getRandomValues(new Uint32Array(2)).join("-");
}

// Each tab holds a lock under its name as long as it is open. Browsers have locks only where the page
// came over HTTPS or from the machine itself.
const LOCK = "ifmatch:tab:";
const WAIT_MILLIS = 1_000;

/** Whether this page now holds the name. One that is being reloaded needs a moment to let go of it. */
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

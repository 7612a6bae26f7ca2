// What was typed and is not saved, kept in the browser until it is saved or discarded.
//
// A draft is kept under the tab that makes it, the tag that it was made from and the key, so that no two
// tabs write over each other's. It holds the value that it was made from, too: the service does not have
// that any more once somebody else has saved, and a three-way merge needs it.

const PREFIX = "ifmatch:draft:";

export class Drafts {
  constructor(onTrouble) {
    this.onTrouble = onTrouble;
    // What the browser would not keep. It lasts as long as the page.
    this.unkept = new Map();
  }

  /** Finds out who this tab is, and which other tabs are open. */
  async begin() {
    const known = this.attempt(() => sessionStorage.getItem("ifmatch:tab"));
    this.tab = known ?? token();
    // A duplicated tab gets a copy of the storage, and with it the name of a tab that is open.
    if (!(await held(this.tab))) {
      this.tab = token();
      await held(this.tab);
    }
    this.attempt(() => sessionStorage.setItem("ifmatch:tab", this.tab));
  }

  /** Keeps a draft {key, etag, …} and lets go of the one that it replaces. Returns its name. */
  keep(draft, replaced) {
    const mine = `${PREFIX}${this.tab}:`;
    const from = `:${draft.etag ?? "new"}:${draft.key}`;
    const goesOn = replaced?.startsWith(mine) && replaced.endsWith(from);
    const name = goesOn ? replaced : `${mine}${token()}${from}`;
    const text = JSON.stringify({ ...draft, at: new Date().toISOString() });
    try {
      localStorage.setItem(name, text);
      this.unkept.delete(name);
    } catch {
      this.unkept.set(name, text);
      this.attempt(() => localStorage.removeItem(name));
    }
    if (replaced !== undefined && replaced !== name) this.drop(replaced);
    this.onTrouble(this.unkept.size > 0);
    return name;
  }

  drop(name) {
    this.unkept.delete(name);
    this.attempt(() => localStorage.removeItem(name));
    this.onTrouble(this.unkept.size > 0);
  }

  /** The drafts of a key, the latest first, each with its name and its owner: "mine", "open" (another tab that is open), "left", or "unknown". */
  async of(key) {
    const found = [...this.all()].filter((draft) => draft.key === key);
    const open = await openTabs();
    for (const draft of found) {
      draft.owner = draft.tab === this.tab ? "mine" : ownerAmong(open, draft.tab);
    }
    return found.sort((one, other) => (one.at < other.at ? 1 : -1));
  }

  /** The keys that have a draft, told from the names alone, because drafts may be long. */
  keys() {
    return new Set(this.names().map((name) => name.slice(PREFIX.length).split(":").slice(3).join(":")));
  }

  /** Whether a draft is still there. */
  has(name) {
    return this.names().includes(name);
  }

  names() {
    const kept = this.attempt(() => Object.keys(localStorage)) ?? [];
    return [...new Set([...kept, ...this.unkept.keys()])].filter((name) => name.startsWith(PREFIX));
  }

  *all() {
    for (const name of this.names()) {
      const text = this.unkept.get(name) ?? this.attempt(() => localStorage.getItem(name));
      const draft = this.attempt(() => JSON.parse(text));
      const tab = name.slice(PREFIX.length).split(":", 1)[0];
      if (typeof draft?.text === "string") yield { ...draft, name, tab };
    }
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

function token() {
  return crypto.getRandomValues(new Uint32Array(2)).join("-");
}

// Each tab holds a lock under its name as long as it is open. Browsers have locks only where the page
// came over HTTPS or from the machine itself.
const LOCK = "ifmatch:tab:";
const WAIT_MILLIS = 1_000;

/** Whether this page now holds the name. One that is being reloaded needs a moment to let go of it. */
function held(tab) {
  if (navigator.locks === undefined) return true;
  return new Promise((resolve) => {
    const hold = () => {
      resolve(true);
      return new Promise(() => {});
    };
    navigator.locks.request(LOCK + tab, { signal: AbortSignal.timeout(WAIT_MILLIS) }, hold).catch(() => resolve(false));
  });
}

function ownerAmong(open, tab) {
  if (open === undefined) return "unknown";
  return open.has(tab) ? "open" : "left";
}

async function openTabs() {
  if (navigator.locks === undefined) return undefined;
  const { held: locks } = await navigator.locks.query();
  return new Set(locks.filter((lock) => lock.name.startsWith(LOCK)).map((lock) => lock.name.slice(LOCK.length)));
}

// As much of a browser as the modules need that have no page: its storage, and the locks of its tabs.

/** Something that has no end: what a tab holds as long as it is open. */
const forever = () => new Promise(() => {});

/** Takes the place of localStorage. It can be full. */
export class FakeStorage {
  #isFull = () => false;

  setItem(name, text) {
    if (this.#isFull()) throw new Error("QuotaExceededError");
    this[name] = text;
  }

  getItem(name) {
    return Object.hasOwn(this, name) ? this[name] : null;
  }

  removeItem(name) {
    delete this[name];
  }

  /** Keeps nothing new from now on, or does so again. */
  fill(isFull) {
    this.#isFull = () => isFull;
  }
}

/** Takes the place of navigator.locks, as far as each lock is held by one tab until that is closed. */
export class FakeLocks {
  #held = new Set();

  request(name, { signal }, hold) {
    if (!this.#held.has(name)) {
      this.#held.add(name);
      hold();
      return forever();
    }
    return new Promise((_, reject) => {
      // The timer of a signal does not keep node from ending.
      const waiting = setInterval(() => {}, 1_000);
      signal.addEventListener("abort", () => {
        clearInterval(waiting);
        reject(signal.reason);
      });
    });
  }

  async query() {
    return { held: [...this.#held].map((name) => ({ name })) };
  }

  /** Closes a tab. */
  release(name) {
    this.#held.delete(name);
  }
}

/** Takes the place of indexedDB, with as much of it as store.js uses. It can refuse to keep anything. */
export class FakeDatabase {
  table = new Map();
  isBroken = false;

  open() {
    return this.#later({ result: { transaction: () => this.#transaction() } }, "onsuccess");
  }

  #transaction() {
    const transaction = { objectStore: () => table, error: new Error("QuotaExceededError") };
    const act = (change) => {
      this.#later(transaction, this.isBroken ? "onabort" : "oncomplete");
      return { result: this.isBroken ? undefined : change() };
    };
    const table = {
      put: (value, name) => act(() => this.table.set(name, structuredClone(value))),
      delete: (name) => act(() => this.table.delete(name)),
      get: (name) => act(() => structuredClone(this.table.get(name))),
      getAllKeys: () => act(() => [...this.table.keys()]),
    };
    return transaction;
  }

  #later(target, handler) {
    setTimeout(() => target[handler]());
    return target;
  }
}

/** A browser with nothing in it. */
export function newBrowser() {
  const browser = { localStorage: new FakeStorage(), locks: new FakeLocks() };
  setGlobal("window", new EventTarget());
  setGlobal("localStorage", browser.localStorage);
  setGlobal("navigator", { locks: browser.locks, onLine: true });
  return browser;
}

/** The next tab that is opened, empty or as a copy of another. */
export function newTab(sessionStorage = new FakeStorage()) {
  setGlobal("sessionStorage", sessionStorage);
  return sessionStorage;
}

/** Sets what modules find in a browser, also where node has one of its own. */
export function setGlobal(name, value) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

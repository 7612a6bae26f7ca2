// Fakes of the browser APIs that the tested modules use: storage, locks and IndexedDB.

/** A promise that never settles: a tab holds its lock as long as it is open. */
const forever = () => new Promise(() => {});

/** A localStorage or sessionStorage that can be full. */
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

  /** Makes setItem fail from now on, or work again. */
  fill(isFull) {
    this.#isFull = () => isFull;
  }
}

/** navigator.locks, with exclusive locks that are held until their tab is closed. */
export class FakeLocks {
  #held = new Set();

  request(name, { signal }, hold) {
    if (!this.#held.has(name)) {
      this.#held.add(name);
      hold();
      return forever();
    }
    return new Promise((_, reject) => {
      // The timer of AbortSignal.timeout does not keep node running.
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

/** The part of indexedDB that store.js uses. It can be broken, so that every transaction is aborted. */
export class FakeDatabase {
  table = new Map();
  isBroken = false;
  /** How many transactions were aborted. */
  aborts = 0;

  open() {
    return this.#later({ result: { transaction: () => this.#transaction() } }, "onsuccess");
  }

  #transaction() {
    const transaction = { objectStore: () => table, error: new Error("QuotaExceededError") };
    const act = (change) => {
      if (this.isBroken) this.#later(transaction, "onabort", () => (this.aborts += 1));
      else this.#later(transaction, "oncomplete");
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

  #later(target, handler, then = () => {}) {
    setTimeout(() => {
      target[handler]();
      then();
    });
    return target;
  }
}

/** Sets up a browser with empty storage. */
export function newBrowser() {
  const browser = { localStorage: new FakeStorage(), locks: new FakeLocks() };
  setGlobal("window", new EventTarget());
  setGlobal("localStorage", browser.localStorage);
  setGlobal("navigator", { locks: browser.locks, onLine: true });
  return browser;
}

/** Opens a tab, with empty or with given session storage. */
export function newTab(sessionStorage = new FakeStorage()) {
  setGlobal("sessionStorage", sessionStorage);
  return sessionStorage;
}

/** Defines a global, even if node has its own. */
export function setGlobal(name, value) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
}

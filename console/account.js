// Who uses the page: what is known of that, in this tab and in the others. The dialog to sign in is in sign-in.js.

import { Refused, Unreachable } from "./api.js";
import { signIn, signOut, whoami } from "./caller.js";
import { EVERYTHING, isEverything, whyNot } from "./grants.js";
import { PATH } from "./place.js";

/** What is shown after the page was loaded again because of who uses it. sessionStorage has it meanwhile. */
const NOTE = "ifmatch:note";
/** A page that is still there after this time was not loaded again. */
const STAY_MILLIS = 1_000;
/** Who asks while the service does not answer that. */
const UNKNOWN = { name: null, grants: EVERYTHING, isGuess: true };

/** Who uses the page. */
export class Account {
  /** {name, grants}; undefined before someone is signed in. */
  caller = undefined;
  /** Whether the session has ended while the page is still open. */
  hasEnded = false;
  /** Whether the page is about to be loaded again, for someone else or for nobody. */
  isLeaving = false;
  #checks = 0;
  #started;

  /**
   * Calls on.changed() when something here has changed, on.asked() when someone must sign in, on.ended() when the
   * session has ended, on.resumed() when the same person has signed in again, on.granted() when other things are
   * granted, and on.leaving(isOut) before the page is loaded again, isOut if nobody is signed in then; that returns whether
   * there is unsaved text, and whether it is kept: {hasText, isKept}.
   */
  constructor(on) {
    this.on = on;
    // All tabs have one session.
    this.others = new BroadcastChannel(`ifmatch${PATH}`);
    this.others.addEventListener("message", ({ data }) => {
      if (data === "in") this.check();
      else if (this.caller !== undefined) this.#leave({ kind: "out" });
    });
    // The browser shows a page again that it has kept, maybe for someone else.
    window.addEventListener("pageshow", (event) => event.persisted && this.check());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && this.isShown) this.check();
    });
  }

  /** Settles when it is known who uses the page, which may need someone to sign in. */
  begin() {
    const started = new Promise((resolve) => {
      this.#started = resolve;
    });
    this.check();
    return started;
  }

  /** The name of the person who is signed in; null for an anonymous one. */
  get name() {
    return this.caller?.name ?? null;
  }

  /** Whether there is anything to show of this: not if everyone may do everything. */
  get isShown() {
    const { caller } = this;
    return caller === undefined || this.hasEnded || caller.name !== null || !isEverything(caller.grants);
  }

  /** What may be done. */
  get grants() {
    return this.caller?.grants ?? [];
  }

  /** Why an action may not be done to a key, or to no key at all; undefined if it may. */
  whyNot(action, key) {
    return this.caller === undefined ? "Sign in first." : whyNot(this.caller.grants, action, key);
  }

  /** Asks the service who uses the page. */
  async check() {
    this.#checks += 1;
    const check = this.#checks;
    let found;
    try {
      found = await whoami();
    } catch (error) {
      if (error instanceof Refused && error.status === 401) found = null;
      else if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
    }
    // Of several answers, that to the latest question counts.
    if (check === this.#checks && !this.isLeaving) await this.#learn(found);
  }

  // `found` is null if someone must sign in, undefined if the service has not answered.
  async #learn(found) {
    const { caller, hasEnded } = this;
    if (found === undefined) {
      if (caller === undefined) this.#start(UNKNOWN);
    } else if (found === null) {
      if (caller === undefined) {
        this.on.changed();
        this.on.asked();
      } else if (!hasEnded) {
        this.hasEnded = true;
        this.on.changed();
        this.on.ended();
      }
    } else if (caller === undefined) {
      this.#start(found);
    } else if (found.name !== caller.name) {
      await this.#leave({ kind: "other", from: caller.name });
    } else {
      this.caller = found;
      this.hasEnded = false;
      const isOther = JSON.stringify(found.grants) !== JSON.stringify(caller.grants);
      if (hasEnded || isOther) this.on.changed();
      if (hasEnded) this.on.resumed();
      if (isOther) this.on.granted();
    }
  }

  #start(caller) {
    this.caller = caller;
    this.on.changed();
    this.#started();
  }

  /** Signs in with a token, in all tabs. */
  async signIn(token) {
    await signIn(token);
    this.others.postMessage("in");
    await this.check();
  }

  /** Goes on as everyone may who does not sign in, in all tabs, unless one of them has signed in meanwhile. */
  async goOnWithout() {
    await this.check();
    const isSignedIn = this.caller !== undefined && !this.hasEnded;
    if (isSignedIn) return;
    await signOut();
    this.others.postMessage("in");
    await this.check();
  }

  /** Signs out in all tabs. Returns whether that is so: a certificate or a proxy may say who one is, too. */
  async signOut() {
    const { isKept } = await this.on.leaving(false);
    if (!isKept) throw new Error("this browser cannot keep what you typed. Save or discard it first.");
    await signOut();
    const found = await whoami().catch(() => undefined);
    if (found !== undefined && found.name === this.name) return false;
    this.others.postMessage("out");
    await this.#leave({ kind: "out" });
    return true;
  }

  // Nothing of what was shown stays in memory if the page is loaded again.
  async #leave(note) {
    this.isLeaving = true;
    const { hasText } = await this.on.leaving(note.kind === "out");
    try {
      sessionStorage.setItem(NOTE, JSON.stringify({ ...note, hasText }));
    } catch {
      // It is shown to be helpful; without it, the drafts are kept just the same.
    }
    location.reload();
    // The browser asks before it loses text that could not be kept, and its user may stay.
    setTimeout(() => {
      this.isLeaving = false;
    }, STAY_MILLIS);
  }

  /** What to say after the page was loaded again because of who uses it, {kind, from, hasText}, or null. */
  takeNote() {
    try {
      const note = JSON.parse(sessionStorage.getItem(NOTE));
      sessionStorage.removeItem(NOTE);
      return note;
    } catch {
      return null;
    }
  }
}

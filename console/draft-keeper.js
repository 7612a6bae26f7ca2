// Stores the draft of an open entry while it has unsaved changes, and knows the other drafts of the entry.

import { LARGE_TEXT } from "./checker.js";
import { draftOf, isEdited } from "./state.js";

/** The draft of a large text is stored after a pause in typing of this length. */
const PAUSE_MILLIS = 150;

export class DraftKeeper {
  /** The name of the stored draft, if there is one. */
  name = undefined;
  /** Other drafts of the entry, which are offered to the user. */
  others = [];
  #pause = 0;

  /** read() returns the current state. */
  constructor(drafts, read) {
    this.drafts = drafts;
    this.read = read;
  }

  /**
   * Finds the drafts of a key, null for new entries. Returns the one with a name, or if there is none, the latest
   * that no other open tab may be using.
   */
  async find(key, name) {
    // Only the session that saves a draft handles it.
    const all = (await this.drafts.of(key ?? "")).filter((draft) => !this.drafts.sending.has(draft.name));
    const found =
      all.find((draft) => draft.name === name) ??
      all.find((draft) => draft.owner === "mine" || draft.owner === "left");
    this.others = all.filter((draft) => draft !== found);
    return found;
  }

  /** Continues this draft, or a copy of it if another tab may still be using it. */
  continueWith({ owner, name }) {
    this.name = owner === "open" || owner === "unknown" ? undefined : name;
  }

  /** Stores the draft now, or that of a large text when typing pauses. */
  keepSoon() {
    clearTimeout(this.#pause);
    const state = this.read();
    if (state.text.length > LARGE_TEXT && isEdited(state)) {
      this.#pause = setTimeout(() => this.keepNow(), PAUSE_MILLIS);
    } else {
      this.keepNow();
    }
  }

  /** Stores the draft, or drops it if there are no unsaved changes. */
  keepNow() {
    clearTimeout(this.#pause);
    const state = this.read();
    if (state.phase !== "open") return;
    if (isEdited(state)) this.name = this.drafts.keep(draftOf(state), this.name);
    else this.drop();
  }

  /** Drops the draft, if there is one. */
  drop() {
    if (this.name !== undefined) this.drafts.drop(this.name);
    this.name = undefined;
  }

  /** Adds the unsaved changes to the other drafts. */
  offerOwn() {
    this.keepNow();
    const state = this.read();
    if (!isEdited(state)) return;
    this.others = [...this.others, { ...asMine(state), name: this.name }];
  }

  /** Stores a discarded draft again, as one of the others. */
  addOther(draft) {
    this.others = [...this.others, { ...draft, name: this.drafts.keep(draft), owner: "mine" }];
  }

  /** Removes a draft from the others, without dropping it. Returns it. */
  takeOther(name) {
    const draft = this.others.find((one) => one.name === name);
    this.others = this.others.filter((one) => one !== draft);
    return draft;
  }

  /** Removes the drafts that other tabs have saved or discarded. Returns whether there was one. */
  forgetGone() {
    const there = this.others.filter((draft) => this.drafts.has(draft.name));
    const hasGone = there.length < this.others.length;
    if (hasGone) this.others = there;
    return hasGone;
  }
}

/** The draft of a state, in the form in which Drafts finds it. */
export function asMine(state) {
  return { ...draftOf(state), owner: "mine", at: new Date().toISOString() };
}

// The draft of an open entry: kept while there is something that is not saved, and let go of after that.

import { LARGE_TEXT } from "./checker.js";
import { draftOf, isEdited } from "./state.js";

/** How long typing in a large text has to pause before its draft is kept. */
const PAUSE_MILLIS = 150;

export class Keeping {
  /** The name of the draft that is kept, if there is one. */
  name = undefined;
  /** Other drafts of the entry, which are offered. */
  others = [];
  #pause = 0;

  /** read() gives the state as it is when it is to be kept. */
  constructor(drafts, read) {
    this.drafts = drafts;
    this.read = read;
  }

  /** Finds the drafts of a key, null for new entries. Returns the latest that no other open tab may be at work on, if there is one. */
  async find(key) {
    // What another session is sending becomes an entry, or is told.
    const all = (await this.drafts.of(key ?? "")).filter((draft) => !this.drafts.sending.has(draft.name));
    const found = all.find((draft) => draft.owner === "mine" || draft.owner === "left");
    this.others = all.filter((draft) => draft !== found);
    return found;
  }

  /** What is kept from now on takes the place of this draft, unless another tab may still be at work on it. */
  takeUp({ owner, name }) {
    this.name = owner === "open" || owner === "unknown" ? undefined : name;
  }

  /** Keeps the draft, that of a large text when typing pauses. */
  soon() {
    clearTimeout(this.#pause);
    const state = this.read();
    if (state.text.length > LARGE_TEXT && isEdited(state)) {
      this.#pause = setTimeout(() => this.now(), PAUSE_MILLIS);
    } else {
      this.now();
    }
  }

  /** Keeps the draft, or lets go of it if there is nothing that is not saved. */
  now() {
    clearTimeout(this.#pause);
    const state = this.read();
    if (state.phase !== "open") return;
    if (isEdited(state)) this.name = this.drafts.keep(draftOf(state), this.name);
    else this.letGo();
  }

  /** Lets go of the draft, if there is one. */
  letGo() {
    if (this.name !== undefined) this.drafts.drop(this.name);
    this.name = undefined;
  }

  /** What is here as one of the drafts that are offered, if there is something that is not saved. */
  offer() {
    this.now();
    const state = this.read();
    if (!isEdited(state)) return;
    this.others = [...this.others, { ...asMine(state), name: this.name }];
  }

  /** Keeps a draft that was let go of, and offers it. */
  add(draft) {
    this.others = [...this.others, { ...draft, name: this.drafts.keep(draft), owner: "mine" }];
  }

  /** Takes a draft from those that are offered. It is still kept. */
  take(name) {
    const draft = this.others.find((one) => one.name === name);
    this.others = this.others.filter((one) => one !== draft);
    return draft;
  }

  /** Offers no more what other tabs have saved or discarded. Whether there was such a draft. */
  forgetGone() {
    const there = this.others.filter((draft) => this.drafts.has(draft.name));
    const hasGone = there.length < this.others.length;
    if (hasGone) this.others = there;
    return hasGone;
  }
}

/** The draft of a state as it would be found again. */
export function asMine(state) {
  return { ...draftOf(state), owner: "mine", at: new Date().toISOString() };
}

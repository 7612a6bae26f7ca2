// One entry while it is open: what was typed, what others do meanwhile, and how these come together. Knows
// nothing of the page, which shows its state and is told when that changes.

import { Refused, read, Unreachable } from "./api.js";
import { Verdict } from "./checker.js";
import { parseOrNothing, parseTyped, SyntaxProblem } from "./json.js";
import { asMine, Keeping } from "./keeping.js";
import { merge } from "./merge.js";
import { Saving } from "./saving.js";
import * as states from "./state.js";

export class Session {
  // What was typed in a large text is read when it is asked for.
  #readText = null;
  // A change that was heard of while it could not be looked at.
  #heard = null;
  // How often something was learnt of the entry, and whether a change of it may have been missed.
  #learnt = 0;
  #isDoubted = false;

  /**
   * A session for a key, or null for an entry that is still to be named. on.changed() asks to be shown
   * anew, on.say(sentence) to be read out, on.named(key), on.unreachable(), on.focus(what) are as they say.
   */
  constructor(key, drafts, on) {
    this.on = on;
    /** What state.js says. Of a large text it may be behind: see `text`. */
    this.state = states.loading(key);
    this.keeping = new Keeping(drafts, () => this.latest());
    this.saving = new Saving(this);
    this.verdict = new Verdict(() => on.changed());
  }

  /** Goes over to another state, or to one with these changes. */
  become(changes) {
    this.state = { ...this.state, ...changes };
  }

  /** The state with all that was typed. */
  latest() {
    if (this.#readText !== null) {
      this.become({ text: this.#readText() });
      this.#readText = null;
      queueMicrotask(() => {
        this.keeping.soon();
        this.on.changed();
      });
    }
    return this.state;
  }

  /** What was typed. Of a large text it is fetched from where it is typed, when it is asked for. */
  get text() {
    return this.latest().text;
  }

  /** Something was typed that nobody has looked at yet. */
  get hasMore() {
    return this.#readText !== null;
  }

  /** There is something that is not saved. */
  get edited() {
    return this.hasMore || states.isEdited(this.state);
  }

  /** Somebody else's version is the current one. */
  get stale() {
    return states.isStale(this.state);
  }

  /** The entry is gone. */
  get deleted() {
    return states.isDeleted(this.state);
  }

  /** Something was sent and is not answered yet. */
  get sending() {
    return this.saving.isUnderWay;
  }

  /** Where the text is not JSON, or null; undefined as long as that is not known. */
  get syntax() {
    if (this.hasMore) return undefined;
    const { text, shown } = this.state;
    return text === shown ? null : this.verdict.of(text);
  }

  /** Reads the entry, and takes up a draft of it. */
  async open() {
    this.become({ phase: "loading", problem: null });
    this.on.changed();
    const { key } = this.state;
    const draft = await this.keeping.find(key);
    let entry = null;
    try {
      if (key !== null) entry = await read(key);
    } catch (error) {
      if (draft === undefined) this.become({ phase: "failed" });
      else this.#restore(draft, undefined);
      this.become({ problem: this.problemOf(error) });
      this.on.changed();
      return;
    }
    this.become({ revision: Math.max(this.state.revision, entry?.revision ?? 0) });
    if (draft !== undefined) this.#restore(draft, entry);
    else if (entry !== null) this.become(states.accepted(this.state, entry));
    else this.become({ phase: key === null ? "open" : "missing" });
    this.on.changed();
    this.catchUp();
  }

  // Takes up a draft, beside the current entry; undefined if that is not known.
  #restore(draft, entry) {
    this.#readText = null;
    this.become(states.restored(this.state, draft, entry));
    this.keeping.takeUp(draft);
    const taken = states.takenOver(this.state);
    if (taken !== undefined) {
      this.finish(taken);
      return;
    }
    if (draft.conflict && this.stale) this.#bringTogether();
    this.keeping.soon();
    this.on.say("Your unsaved text was restored.");
  }

  /** Begins an entry under this key, which has none. */
  create() {
    this.become({ phase: "open", base: null });
    this.on.changed();
  }

  /** Takes what was typed. */
  edit(text) {
    this.#readText = null;
    this.become({ ...states.typing(this.state), text });
    this.keeping.soon();
    this.on.changed();
  }

  /** The same at a key in a large text, which read() tells: what takes long waits for a pause, when edit() is called. */
  editLater(read) {
    const isFirst = !this.hasMore;
    this.#readText = read;
    if (!isFirst) return;
    this.become(states.typing(this.state));
    this.on.changed();
  }

  /** Takes the key that was typed for a new entry. */
  name(typedKey) {
    this.become(states.named(this.state, typedKey));
    this.keeping.soon();
    this.on.changed();
  }

  /** Takes back a notice: "restored" or "arrived". */
  dismiss(what) {
    this.become({ [what]: null });
    this.on.changed();
  }

  /** Takes up another draft in place of what is here, which is kept. */
  takeOther(name) {
    if (this.sending) return;
    const draft = this.keeping.take(name);
    this.keeping.offer();
    this.#restore(draft, this.state.current);
    this.on.changed();
  }

  /** Offers another draft no more. */
  leaveOther(name) {
    this.keeping.take(name);
    this.on.changed();
  }

  /** Lets go of another draft. */
  dropOther(name) {
    this.keeping.take(name);
    this.keeping.drafts.drop(name);
    this.on.changed();
  }

  /** Other tabs have saved or discarded something. */
  forgetGone() {
    if (this.keeping.forgetGone()) this.on.changed();
  }

  /** Lets go of what was typed. Returns the draft, for those who think better of it. */
  discard() {
    const draft = { ...asMine(this.latest()), name: undefined };
    this.keeping.letGo();
    this.become(states.discarded(this.state));
    this.on.changed();
    return draft;
  }

  /** Has a discarded draft back; if something was typed since, as one that is offered. Whether the text is that draft's. */
  undoDiscard(draft) {
    const isFree = !this.edited && !this.sending;
    if (isFree) this.#restore(draft, this.state.current);
    else this.keeping.add(draft);
    this.on.changed();
    return isFree;
  }

  /** A change that the watch tells of. */
  event(kind, entry) {
    if (entry.key !== this.state.key) return;
    if (this.sending || this.state.phase === "loading") {
      this.#heard = { kind, entry };
      return;
    }
    if (entry.revision <= this.state.revision) return;
    this.become({ revision: entry.revision });
    this.learn(kind === "put" ? entry : null);
  }

  /** Looks at what was heard of meanwhile. */
  catchUp() {
    const heard = this.#heard;
    this.#heard = null;
    if (heard !== null) this.event(heard.kind, heard.entry);
    if (!this.#isDoubted || this.state.phase === "failed") return;
    this.refresh().catch((error) => {
      if (!(error instanceof Unreachable)) throw error;
      this.on.unreachable();
    });
  }

  /** What was heard of meanwhile is older than this revision. */
  forgetHeard(revision) {
    this.become({ revision: Math.max(this.state.revision, revision) });
    this.#heard = null;
  }

  /** Takes the current entry, or null if there is none. */
  learn(now) {
    this.#learnt += 1;
    const { state, sentence } = states.learned(this.latest(), now);
    this.become(state);
    if (sentence !== undefined) this.on.say(sentence);
    if (state.conflict !== null && this.stale) this.#bringTogether();
    this.keeping.soon();
    this.on.changed();
  }

  /** Reads the current entry, because changes may have been missed. */
  async refresh() {
    const { key, phase, current } = this.state;
    if (key === null) return;
    if (phase === "failed") {
      await this.open();
      return;
    }
    // What is under way now may have been answered before the changes that were missed.
    this.#isDoubted = this.sending || phase === "loading";
    if (this.#isDoubted) return;
    const learnt = this.#learnt;
    const entry = await read(key, current?.etag);
    // An answer that is older than what was learnt meanwhile says nothing.
    if (this.sending || learnt !== this.#learnt) {
      this.#isDoubted = true;
      if (!this.sending) await this.refresh();
      return;
    }
    if (entry === undefined) return;
    this.become({ revision: entry?.revision ?? 0 });
    if (entry?.etag !== this.state.current?.etag) this.learn(entry);
  }

  /** The connection is lost. */
  lost() {
    if (this.state.problem?.kind !== "back") return;
    this.become({ problem: { kind: "network", message: "The server cannot be reached." } });
    this.on.changed();
  }

  /** The connection is back: finds out what became of a write that was never answered. */
  async back() {
    const { phase, problem, unknown } = this.state;
    if (phase === "failed") return this.open();
    if (problem?.kind !== "network" || this.sending) return undefined;
    const { text } = this;
    const tree = parseOrNothing(text);
    try {
      if (unknown !== undefined && tree !== undefined && (await this.saving.settleUnknown(tree, text))) {
        this.on.changed();
        return undefined;
      }
      const message = "Connected again. Your text is kept, and not saved yet.";
      this.become({ problem: this.edited ? { kind: "back", message } : null });
      await this.refresh();
    } catch (error) {
      this.become({ problem: this.problemOf(error) });
    }
    this.on.changed();
    return undefined;
  }

  /** What there is to say of a request that failed. */
  problemOf(error) {
    if (error instanceof Unreachable) {
      this.on.unreachable();
      return { kind: "network", message: error.message };
    }
    if (!(error instanceof Refused)) throw error;
    return { kind: "refused", status: error.status, message: `The server says: ${error.message}` };
  }

  /** The tree of the text; if it has none, that is said. */
  treeOrProblem() {
    const { text } = this;
    try {
      return parseTyped(text);
    } catch (problem) {
      if (!(problem instanceof SyntaxProblem)) throw problem;
      this.verdict.learn(text, problem);
      this.become({ problem: { kind: "syntax", message: `Not saved: ${problem.message}.` } });
      this.on.say(problem.message);
      this.on.changed();
      this.on.focus("syntax");
      return undefined;
    }
  }

  /** Merges the current entry into the text; overlaps are put to the user. */
  mergeNow() {
    if (this.sending) return;
    if (this.#bringTogether()) {
      this.on.say(`Merged, not saved yet. ${states.placesInWords(this.state.arrived.changes)}`);
    }
    this.on.changed();
  }

  #bringTogether() {
    const tree = this.treeOrProblem();
    return tree !== undefined && this.mergeInto(tree) !== undefined;
  }

  /** Merges the current entry into the tree of the text. Returns what that makes, unless the user is to be asked. */
  mergeInto(tree) {
    const { base, current } = this.state;
    const { merged, overlaps } = merge(base?.tree, tree, current.tree);
    if (overlaps) {
      this.#meet(tree, overlaps);
      return undefined;
    }
    this.become(states.rebased(this.state, tree, merged));
    this.keeping.now();
    return merged;
  }

  // Each overlap is put to the user.
  #meet(mine, overlaps) {
    const isNew = this.state.conflict === null;
    this.become(states.met(this.state, mine, overlaps));
    this.keeping.now();
    const places = overlaps.length === 1 ? "place" : `${overlaps.length} places`;
    this.on.say(`You and someone else changed the same ${places}. Choose what stands.`);
    if (isNew) this.on.focus("conflict");
  }

  /** Sets what becomes of an overlap: "theirs", "mine" or "edit" with a text. */
  choose(pointer, pick, text) {
    this.state.conflict.choose(pointer, pick, text);
    this.keeping.soon();
    this.on.changed();
  }

  /** Puts the choices into the text, on top of the current entry, if all are made. */
  settle() {
    const state = states.settled(this.state);
    if (state === undefined) return false;
    this.become(state);
    this.keeping.now();
    this.on.changed();
    return true;
  }

  /** Back to the text as it was typed. The choices are kept. */
  leaveConflict() {
    this.become({ conflict: null });
    this.keeping.now();
    this.on.changed();
  }

  /** Saves what was typed. */
  save() {
    return this.saving.save();
  }

  /** Saves the text as a new entry, now that the old one is gone. */
  async recreate() {
    if (this.sending) return;
    this.become({ base: null, shown: "" });
    this.keeping.now();
    await this.save();
  }

  /** Deletes the entry that is shown. Returns it, or nothing if that was not to be. */
  remove() {
    return this.saving.remove();
  }

  /** Takes an entry that was saved from sentText, and says so. */
  saved(entry, sentText) {
    const { state, sentence } = states.saved(this.latest(), entry, sentText);
    this.finish(state);
    this.on.say(sentence);
  }

  /** Goes over to a state in which an entry was saved. */
  finish(state) {
    const isCreated = this.state.key === null;
    this.#learnt += 1;
    this.become(state);
    this.keeping.now();
    if (isCreated) this.on.named(state.key);
  }
}

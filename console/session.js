// An open entry: combines what the user types with what others do. It does not know the page, which shows the state
// and is notified of changes.

import { Foreign, Refused, read, Unreachable } from "./api.js";
import { Checker } from "./checker.js";
import { asMine, DraftKeeper } from "./draft-keeper.js";
import { parseOrNothing, parseTyped, SyntaxProblem } from "./json.js";
import { merge } from "./merge.js";
import { Saver } from "./saver.js";
import * as states from "./state.js";

export class Session {
  // Reads the text from the editor, if that has text that was not read yet.
  #readText = null;
  // The latest event that arrived during a request.
  #deferred = null;
  // Counts the updates of the entry.
  #updates = 0;
  // Whether a change may have been missed.
  #mayHaveMissed = false;
  // Settles when the entry was read, or reading it has failed.
  #opened = Promise.resolve();

  /**
   * A session for a key, or null for a new entry. Calls on.changed() when the view must be updated, on.say(sentence)
   * for screen readers, on.named(key) when a new entry has got its key, on.unreachable() when a request got no
   * response, on.focus(what) to move the focus, and on.whyNot(action, key) to learn why something is not granted,
   * undefined if it is.
   */
  constructor(key, drafts, on) {
    this.on = on;
    /** See state.js. Its text may be outdated while a large text is edited: see latest(). */
    this.state = states.loading(key);
    this.keeper = new DraftKeeper(drafts, () => this.latest());
    this.saver = new Saver(this);
    this.checker = new Checker(() => on.changed());
  }

  /** Changes the state. */
  setState(changes) {
    this.state = { ...this.state, ...changes };
  }

  /** The state with the latest text from the editor. */
  latest() {
    if (this.#readText !== null) {
      this.setState({ text: this.#readText() });
      this.#readText = null;
      queueMicrotask(() => {
        this.keeper.keepSoon();
        this.on.changed();
      });
    }
    return this.state;
  }

  /** The latest text from the editor. */
  get text() {
    return this.latest().text;
  }

  /** Whether the editor has text that was not read yet. */
  get hasUnreadText() {
    return this.#readText !== null;
  }

  /** Whether there are unsaved changes. */
  get edited() {
    return this.hasUnreadText || states.isEdited(this.state);
  }

  /** Whether somebody else has saved a newer entry. */
  get stale() {
    return states.isStale(this.state);
  }

  /** Whether the entry was deleted. */
  get deleted() {
    return states.isDeleted(this.state);
  }

  /** Why the text may not be saved, or undefined. */
  get whyNotSaved() {
    const { key, typedKey, base } = this.state;
    if (key === null) return typedKey === "" ? undefined : this.on.whyNot("create", typedKey);
    return this.on.whyNot(base === null || this.deleted ? "create" : "update", key);
  }

  /** Whether a request is waiting for its response. */
  get sending() {
    return this.saver.isBusy;
  }

  /** Why the text is not JSON, or null; undefined while that is not known. */
  get syntax() {
    if (this.hasUnreadText) return undefined;
    const { text, shown } = this.state;
    return text === shown ? null : this.checker.problemOf(text);
  }

  /** Reads the entry, and restores the draft with this name, or if there is none, the latest one. */
  open(draftName) {
    this.#opened = this.#open(draftName);
    return this.#opened;
  }

  async #open(draftName) {
    this.setState({ phase: "loading", problem: null });
    this.on.changed();
    const { key } = this.state;
    const draft = await this.keeper.find(key, draftName);
    let entry = null;
    try {
      if (key !== null) entry = await read(key);
    } catch (error) {
      if (draft === undefined) this.setState({ phase: "failed" });
      else this.#restore(draft, undefined);
      this.setState({ problem: this.problemOf(error) });
      this.on.changed();
      return;
    }
    this.setState({ revision: Math.max(this.state.revision, entry?.revision ?? 0) });
    if (draft !== undefined) this.#restore(draft, entry);
    else if (entry !== null) this.setState(states.accepted(this.state, entry));
    else this.setState({ phase: key === null ? "open" : "missing" });
    this.on.changed();
    this.catchUp();
  }

  // Restores a draft. `entry` is the current one, undefined if that is unknown.
  #restore(draft, entry) {
    this.#readText = null;
    this.setState(states.restored(this.state, draft, entry));
    this.keeper.continueWith(draft);
    const taken = states.alreadySaved(this.state);
    if (taken !== undefined) {
      this.finish(taken);
      return;
    }
    if (draft.conflict && this.stale) this.#mergeText();
    this.keeper.keepSoon();
    this.on.say("Your unsaved text was restored.");
  }

  /** Starts a new entry under the missing key. */
  create() {
    this.setState({ phase: "open", base: null });
    this.on.changed();
  }

  /** Sets the text. */
  edit(text) {
    this.#readText = null;
    this.setState({ ...states.typingStarted(this.state), text });
    this.keeper.keepSoon();
    this.on.changed();
  }

  /** Called at each keystroke in a large text: read() returns the text. When typing pauses, edit() is called. */
  editLater(read) {
    const isFirst = !this.hasUnreadText;
    this.#readText = read;
    if (!isFirst) return;
    this.setState(states.typingStarted(this.state));
    this.on.changed();
  }

  /** Sets the key of a new entry. */
  name(typedKey) {
    this.setState(states.keyTyped(this.state, typedKey));
    this.keeper.keepSoon();
    this.on.changed();
  }

  /** Removes a notice: "restored" or "arrived". */
  dismiss(what) {
    this.setState({ [what]: null });
    this.on.changed();
  }

  /** Restores another draft. The unsaved changes are kept as a draft. */
  takeOther(name) {
    if (this.sending) return;
    const draft = this.keeper.takeOther(name);
    this.keeper.offerOwn();
    this.#restore(draft, this.state.current);
    this.on.changed();
  }

  /** Stops offering another draft. */
  leaveOther(name) {
    this.keeper.takeOther(name);
    this.on.changed();
  }

  /** Drops another draft. */
  dropOther(name) {
    this.keeper.takeOther(name);
    this.keeper.drafts.drop(name);
    this.on.changed();
  }

  /** Stops offering drafts that other tabs have saved or discarded. */
  forgetGone() {
    if (this.keeper.forgetGone()) this.on.changed();
  }

  /** Discards the unsaved changes. Returns them as a draft for undoDiscard(). */
  discard() {
    const draft = { ...asMine(this.latest()), name: undefined };
    this.keeper.drop();
    this.setState(states.discarded(this.state));
    this.on.changed();
    return draft;
  }

  /** Restores a discarded draft, or only offers it if more was typed since. Returns whether it was restored. */
  async undoDiscard(draft) {
    // The entry would replace what is restored before it arrives.
    await this.#opened;
    const isFree = !this.edited && !this.sending;
    const { phase, current } = this.state;
    if (isFree) this.#restore(draft, phase === "failed" ? undefined : current);
    else this.keeper.addOther(draft);
    this.on.changed();
    return isFree;
  }

  /** Handles an event of the watch. */
  event(kind, entry) {
    if (entry.key !== this.state.key) return;
    if (this.sending || this.state.phase === "loading") {
      this.#deferred = { kind, entry };
      return;
    }
    if (entry.revision <= this.state.revision) return;
    this.setState({ revision: entry.revision });
    if (kind === "put") this.update(entry);
    else this.update(null, entry.modifiedBy);
  }

  /** Handles what arrived during a request. */
  catchUp() {
    const deferred = this.#deferred;
    this.#deferred = null;
    if (deferred !== null) this.event(deferred.kind, deferred.entry);
    if (!this.#mayHaveMissed || this.state.phase === "failed") return;
    this.refresh().catch((error) => {
      // Who may not read it any more is told when they save.
      if (error instanceof Refused) return;
      if (!(error instanceof Unreachable)) throw error;
      this.on.unreachable();
    });
  }

  /** A change may have been missed: when the request under way is answered, the entry is read. */
  missed() {
    this.#mayHaveMissed = true;
  }

  /** Ignores what arrived during a request that led to this revision. */
  ignoreDeferred(revision) {
    this.setState({ revision: Math.max(this.state.revision, revision) });
    this.#deferred = null;
  }

  /** Updates the current entry; null if it was deleted, by `deleter` if that is known. */
  update(now, deleter) {
    this.#updates += 1;
    const { state, sentence } = states.updated(this.latest(), now, deleter);
    this.setState(state);
    if (sentence !== undefined) this.on.say(sentence);
    if (state.conflict !== null && this.stale) this.#mergeText();
    this.keeper.keepSoon();
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
    // The response to the request under way may be older than the missed changes.
    this.#mayHaveMissed = this.sending || phase === "loading";
    if (this.#mayHaveMissed) return;
    const updates = this.#updates;
    const entry = await read(key, current?.etag);
    // The response may be older than an update that arrived meanwhile.
    if (this.sending || updates !== this.#updates) {
      this.#mayHaveMissed = true;
      if (!this.sending) await this.refresh();
      return;
    }
    if (entry === undefined) return;
    this.setState({ revision: entry?.revision ?? 0 });
    if (entry?.etag !== this.state.current?.etag) this.update(entry);
  }

  /** The connection is lost. */
  lost() {
    if (this.state.problem?.kind !== "back") return;
    this.setState({ problem: { kind: "network", message: "The server cannot be reached." } });
    this.on.changed();
  }

  /** The user's own session has ended. */
  ended() {
    if (!this.edited || this.state.problem !== null) return;
    this.setState({ problem: { kind: "ended", message: "Your session has ended." } });
    this.on.changed();
  }

  /** The connection, or the user, is back: finds out whether a save without a response was applied. */
  async back() {
    const { phase, problem, unknown } = this.state;
    if (phase === "failed") return this.open();
    if (!["network", "ended"].includes(problem?.kind) || this.sending) return undefined;
    const { text } = this;
    const tree = parseOrNothing(text);
    try {
      if (unknown !== undefined && tree !== undefined && (await this.saver.settleUnknown(tree, text))) {
        this.on.changed();
        return undefined;
      }
      const again = problem.kind === "ended" ? "Signed in again" : "Connected again";
      const message = `${again}. Your text is kept, and not saved yet.`;
      this.setState({ problem: this.edited ? { kind: "back", message } : null });
      await this.refresh();
    } catch (error) {
      this.setState({ problem: this.problemOf(error) });
    }
    this.on.changed();
    return undefined;
  }

  /** The problem to show for a failed request. */
  problemOf(error) {
    if (error instanceof Foreign) return { kind: "foreign", message: error.message };
    if (error instanceof Unreachable) {
      this.on.unreachable();
      return { kind: "network", message: error.message };
    }
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) return { kind: "ended", message: "Not saved: your session has ended." };
    return { kind: "refused", status: error.status, message: `The server says: ${error.message}` };
  }

  /** The parsed text. If it is not JSON, shows the problem and returns undefined. */
  treeOrProblem() {
    const { text } = this;
    try {
      return parseTyped(text);
    } catch (problem) {
      if (!(problem instanceof SyntaxProblem)) throw problem;
      this.checker.setResult(text, problem);
      this.setState({ problem: { kind: "syntax", message: `Not saved: ${problem.message}.` } });
      this.on.say(problem.message);
      this.on.changed();
      this.on.focus("syntax");
      return undefined;
    }
  }

  /** Merges the current entry into the text, or shows the conflict. */
  mergeNow() {
    if (this.sending) return;
    if (this.#mergeText()) {
      this.on.say(`Merged, not saved yet. ${states.placesInWords(this.state.arrived.changes)}`);
    }
    this.on.changed();
  }

  #mergeText() {
    const tree = this.treeOrProblem();
    return tree !== undefined && this.mergeInto(tree) !== undefined;
  }

  /** Merges the current entry into the parsed text. Returns the merged tree, or undefined if there is a conflict. */
  mergeInto(tree) {
    const { base, current } = this.state;
    const { merged, overlaps } = merge(base?.tree, tree, current.tree);
    if (overlaps) {
      this.#showConflict(tree, overlaps);
      return undefined;
    }
    this.setState(states.rebased(this.state, tree, merged));
    this.keeper.keepNow();
    return merged;
  }

  #showConflict(mine, overlaps) {
    const isNew = this.state.conflict === null;
    this.setState(states.inConflict(this.state, mine, overlaps));
    this.keeper.keepNow();
    const places = overlaps.length === 1 ? "place" : `${overlaps.length} places`;
    const other = states.soleWriter(this.state.base, this.state.current) ?? "someone else";
    this.on.say(`You and ${other} changed the same ${places}. Choose which side to keep.`);
    if (isNew) this.on.focus("conflict");
  }

  /** Resolves an overlap: "theirs", "mine", or "edit" with a text. */
  choose(pointer, pick, text) {
    this.state.conflict.choose(pointer, pick, text);
    this.keeper.keepSoon();
    this.on.changed();
  }

  /** Applies the choices to the text. Returns whether every overlap was decided. */
  settle() {
    const state = states.settled(this.state);
    if (state === undefined) return false;
    this.setState(state);
    this.keeper.keepNow();
    this.on.changed();
    return true;
  }

  /** Closes the conflict and shows the text. The choices are kept. */
  leaveConflict() {
    this.setState({ conflict: null });
    this.keeper.keepNow();
    this.on.changed();
  }

  /** Saves the text. */
  save() {
    return this.saver.save();
  }

  /** Saves the text as a new entry, after the old one was deleted. */
  async recreate() {
    if (this.sending) return;
    this.setState({ base: null, shown: "" });
    this.saver.forgetRequest();
    this.keeper.keepNow();
    await this.save();
  }

  /** Deletes the entry if it is still the version that this ETag names. Returns it, or undefined if that failed. */
  remove(etag = this.state.base.etag) {
    return this.saver.remove(etag);
  }

  /** Shows that sentText was saved as `entry`. */
  saved(entry, sentText) {
    const { state, sentence } = states.saved(this.latest(), entry, sentText);
    this.finish(state);
    this.on.say(sentence);
  }

  /** Sets a state in which the entry was saved. */
  finish(state) {
    const isCreated = this.state.key === null;
    this.#updates += 1;
    this.setState(state);
    this.keeper.keepNow();
    if (isCreated) this.on.named(state.key);
  }
}

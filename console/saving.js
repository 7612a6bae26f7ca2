// How an open entry is written and deleted: what is sent, what becomes of an answer, and of one that never comes.

import { put, Refused, read, remove, Unreachable, whyNoKey } from "./api.js";
import { same } from "./json.js";
import { finished, isCurrent, isNothingNew, taken, unchanged } from "./state.js";

/** The sentence for a delete that was not answered. */
const DELETED_OR_NOT = "The server cannot be reached. Whether the entry was deleted is not known.";

export class Saving {
  /** Whether something was sent and is not answered yet. */
  isUnderWay = false;
  #again = false;
  #sent = undefined;

  constructor(session) {
    this.session = session;
  }

  /** Saves what was typed, with what others saved merged in. */
  async save() {
    const { session } = this;
    if (this.isUnderWay) {
      // Who saves again has typed more, and must not be left to believe that this is saved.
      this.#again = true;
      return;
    }
    const { conflict, phase, key } = session.state;
    if (conflict !== null || phase !== "open") return;
    if (key === null && !this.#checkKey()) return;
    const tree = session.treeOrProblem();
    if (tree === undefined) return;
    await this.#sendDraft(tree);
    const again = this.#again;
    this.#again = false;
    if (again && session.edited && session.state.problem === null && !session.deleted) await this.save();
  }

  #checkKey() {
    const { session } = this;
    const message = whyNoKey(session.state.typedKey);
    if (message === undefined) return true;
    session.become({ problem: { kind: "key", message } });
    session.on.changed();
    session.on.focus("key");
    return false;
  }

  // Other sessions leave the draft alone meanwhile: it becomes an entry, or this one tells what became of it.
  async #sendDraft(tree) {
    const { session } = this;
    const { drafts, name } = session.keeping;
    this.isUnderWay = true;
    session.become({ problem: null });
    drafts.sending.add(name);
    session.on.changed();
    try {
      await this.#send(tree);
    } catch (error) {
      this.#fail(error, this.#sent);
    }
    drafts.sending.delete(name);
    this.isUnderWay = false;
    session.on.changed();
    session.catchUp();
  }

  async #send(first) {
    const { session } = this;
    const { text } = session;
    if (session.state.unknown !== undefined && (await this.settleUnknown(first, text))) return;
    // Somebody may have gone on typing meanwhile.
    let tree = session.text === text ? first : session.treeOrProblem();
    while (tree !== undefined) tree = await this.#attempt(tree);
  }

  // Sends the tree of the text. Returns what is to be sent next, if others were first and it can be merged.
  async #attempt(tree) {
    const { session } = this;
    const state = session.latest();
    if (isNothingNew(state, tree)) {
      session.finish(unchanged(state));
      session.on.say(session.state.arrived.title);
      return undefined;
    }
    this.#sent = tree;
    try {
      const entry = await put(state.key ?? state.typedKey, tree, state.base?.etag ?? null);
      session.saved(entry, state.text);
      return undefined;
    } catch (error) {
      if (!(error instanceof Refused) || error.status !== 412) throw error;
      session.become({ current: error.current });
    }
    return this.#overtaken(tree, state.text);
  }

  #overtaken(sent, sentText) {
    const { session } = this;
    const { key, current, revision } = session.state;
    if (key === null && !this.#isMyCreation(sent)) {
      this.#refuseKey();
      return undefined;
    }
    if (current === null) {
      session.on.say("Not saved: this entry was deleted by someone else. Your text is kept.");
      session.on.focus("banner");
      return undefined;
    }
    session.become({ revision: Math.max(revision, current.revision) });
    // Somebody may have gone on typing meanwhile.
    const tree = session.text === sentText ? sent : session.treeOrProblem();
    if (tree === undefined) return undefined;
    if (isCurrent(session.state, tree)) {
      session.saved(current, session.text);
      return undefined;
    }
    return session.mergeInto(tree);
  }

  // A browser may send a request twice, and the second is refused because of the first.
  #isMyCreation(tree) {
    const { state } = this.session;
    return state.current?.version === "1" && isCurrent(state, tree);
  }

  // A new entry gets no key that is taken: nobody has changed anything that could be merged.
  #refuseKey() {
    const { session } = this;
    session.become(taken(session.latest(), session.state.current));
    session.on.say(`${session.state.problem.message} Your text is kept.`);
    session.on.changed();
    session.on.focus("banner");
  }

  /**
   * Finds out whether a write whose answer was lost was done. True if that settles what is to be saved: a tree,
   * and the text that it is of.
   */
  async settleUnknown(tree, text) {
    const { session } = this;
    const { key, typedKey } = session.state;
    const entry = await read(key ?? typedKey);
    const { base, unknown } = session.state;
    session.become({ unknown: undefined });
    if (entry === null || entry.etag === base?.etag || !same(entry.tree, unknown)) return false;
    const isAll = same(tree, entry.tree);
    if (isAll) session.saved(entry, text);
    else session.finish(finished(session.latest(), entry, undefined));
    return isAll;
  }

  #fail(error, sent) {
    const { session } = this;
    const problem = session.problemOf(error);
    const isUnknown = error instanceof Unreachable || error.status >= 500;
    session.become(isUnknown ? { problem, unknown: sent } : { problem });
    session.keeping.now();
    session.on.say(problem.message);
  }

  /** Deletes the entry that is shown. Returns it, or nothing if that was not to be. */
  async remove() {
    const { session } = this;
    if (this.isUnderWay) return undefined;
    this.isUnderWay = true;
    session.on.changed();
    let gone;
    try {
      gone = await remove(session.state.key, session.state.base.etag);
      session.forgetHeard(gone.revision);
    } catch (error) {
      this.#failToRemove(error);
    }
    this.isUnderWay = false;
    session.on.changed();
    session.catchUp();
    return gone;
  }

  #failToRemove(error) {
    const { session } = this;
    if (error instanceof Refused && error.status === 412) {
      this.isUnderWay = false;
      if (error.current !== null) session.become({ revision: error.current.revision });
      session.learn(error.current);
      // What is gone already needs no second banner.
      const message = "Not deleted: it was changed by someone else meanwhile.";
      session.become({
        problem: error.current === null ? null : { kind: "refused", message, noRetry: true },
      });
      return;
    }
    this.#fail(error, undefined);
    const isUnknown = error instanceof Unreachable;
    const message = isUnknown ? DELETED_OR_NOT : `Not deleted: ${error.message}`;
    session.become({ problem: { kind: "refused", message, noRetry: true, mayBeDeleted: isUnknown } });
  }
}

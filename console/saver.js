// Saves and deletes an open entry, and handles refusals and lost responses.

import { Foreign, put, Refused, read, remove, Unreachable, whyInvalidKey } from "./api.js";
import { compact, same } from "./json.js";
import { newRequestKey } from "./sending.js";
import { finished, isCurrent, isNothingNew, keyTaken, unchanged, whoSaved } from "./state.js";

/** The messages for a write whose outcome is not known. */
const SAVED_OR_NOT = "Whether your text was saved is not known.";
const DELETED_OR_NOT = "Whether the entry was deleted is not known.";

const isOutcomeUnknown = (error) => error instanceof Unreachable || error.status >= 500;

export class Saver {
  /** Whether a request is waiting for its response. */
  isBusy = false;
  #saveAgain = false;
  #sent = undefined;
  // The request whose outcome is not known: when it is sent again, it has the same key. {name, key}
  #request = undefined;

  constructor(session) {
    this.session = session;
  }

  /** Saves the text, merged with what others have saved. */
  async save() {
    const { session } = this;
    if (this.isBusy) {
      // Saving again means that more was typed, and that must be saved, too.
      this.#saveAgain = true;
      return;
    }
    const { conflict, phase, key } = session.state;
    if (conflict !== null || phase !== "open") return;
    if (key === null && !this.#checkKey()) return;
    if (!this.#checkGranted()) return;
    const tree = session.treeOrProblem();
    if (tree === undefined) return;
    await this.#sendDraft(tree);
    const again = this.#saveAgain;
    this.#saveAgain = false;
    if (again && session.edited && session.state.problem === null && !session.deleted) await this.save();
  }

  #checkKey() {
    const { session } = this;
    const { typedKey } = session.state;
    const message = whyInvalidKey(typedKey) ?? session.on.whyNot("create", typedKey);
    if (message === undefined) return true;
    session.setState({ problem: { kind: "key", message } });
    session.on.changed();
    session.on.focus("key");
    return false;
  }

  // Says why at once, without a request.
  #checkGranted() {
    const { session } = this;
    const why = session.edited ? session.whyNotSaved : undefined;
    if (why === undefined) return true;
    const message = `Not saved: ${why[0].toLowerCase()}${why.slice(1)} Your text is kept.`;
    session.setState({ problem: { kind: "refused", message, noRetry: true } });
    session.on.say(message);
    session.on.changed();
    return false;
  }

  // Other sessions do not restore the draft meanwhile.
  async #sendDraft(tree) {
    const { session } = this;
    const { drafts, name } = session.keeper;
    this.isBusy = true;
    session.setState({ problem: null });
    drafts.sending.add(name);
    session.on.changed();
    try {
      await this.#send(tree);
    } catch (error) {
      this.#fail(error, this.#sent);
    }
    drafts.sending.delete(name);
    this.isBusy = false;
    session.on.changed();
    session.catchUp();
  }

  async #send(first) {
    const { session } = this;
    const { text } = session;
    if (session.state.unknown !== undefined && (await this.settleUnknown(first, text))) return;
    // The user may have typed more meanwhile.
    let tree = session.text === text ? first : session.treeOrProblem();
    while (tree !== undefined) tree = await this.#attempt(tree);
  }

  // Sends the tree of the text. Returns the merged tree to send next, if somebody else saved first.
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
      const entry = await this.#put(state.key ?? state.typedKey, tree, state.base?.etag ?? null);
      // The service answers a request that is sent again as it was then.
      if (entry.revision < session.state.revision) session.missed();
      session.saved(entry, state.text);
      return undefined;
    } catch (error) {
      // Someone who may not read the current entry gets no `current`, and cannot merge.
      if (!(error instanceof Refused) || error.status !== 412 || error.current === undefined) throw error;
      const { deletedBy } = session.state;
      const isDeleted = error.current === null;
      session.setState({ current: error.current, deletedBy: isDeleted ? deletedBy : undefined });
    }
    return this.#handleNewer(tree, state.text);
  }

  async #put(key, tree, etag) {
    const name = `${key}\n${etag}\n${compact(tree)}`;
    if (this.#request?.name !== name) this.#request = { name, key: newRequestKey() };
    try {
      const entry = await put(key, tree, etag, this.#request.key);
      this.forgetRequest();
      return entry;
    } catch (error) {
      if (!isOutcomeUnknown(error)) this.forgetRequest();
      throw error;
    }
  }

  /** The next request is another one, even if it is like the last. */
  forgetRequest() {
    this.#request = undefined;
  }

  #handleNewer(sent, sentText) {
    const { session } = this;
    const { key, current, revision } = session.state;
    if (key === null && !this.#isMyCreation(sent)) {
      this.#refuseKey();
      return undefined;
    }
    if (current === null) {
      const { deletedBy } = session.state;
      const who =
        deletedBy === undefined
          ? "this entry was deleted by someone else"
          : `${deletedBy} deleted this entry`;
      session.on.say(`Not saved: ${who}. Your text is kept.`);
      session.on.focus("banner");
      return undefined;
    }
    session.setState({ revision: Math.max(revision, current.revision) });
    // The user may have typed more meanwhile.
    const tree = session.text === sentText ? sent : session.treeOrProblem();
    if (tree === undefined) return undefined;
    if (isCurrent(session.state, tree)) {
      session.saved(current, session.text);
      return undefined;
    }
    return session.mergeInto(tree);
  }

  // A browser may send a request twice, and the second one is refused.
  #isMyCreation(tree) {
    const { state } = this.session;
    return state.current?.version === "1" && isCurrent(state, tree);
  }

  // A new entry must not replace an existing one, and there is nothing to merge.
  #refuseKey() {
    const { session } = this;
    session.setState(keyTaken(session.latest(), session.state.current));
    session.on.say(`${session.state.problem.message} Your text is kept.`);
    session.on.changed();
    session.on.focus("banner");
  }

  /**
   * Finds out whether a save without a response was applied. Returns whether that was all there is to save: a tree
   * and its text.
   */
  async settleUnknown(tree, text) {
    const { session } = this;
    const { key, typedKey } = session.state;
    const entry = await read(key ?? typedKey);
    const { base, unknown } = session.state;
    session.setState({ unknown: undefined });
    if (entry === null || entry.etag === base?.etag || !same(entry.tree, unknown)) return false;
    const isAll = same(tree, entry.tree);
    if (isAll) session.saved(entry, text);
    else session.finish(finished(session.latest(), entry, undefined));
    return isAll;
  }

  #fail(error, sent) {
    const { session } = this;
    const problem = session.problemOf(error);
    const isUnknown = isOutcomeUnknown(error);
    if (sent !== undefined && error instanceof Foreign && error.status >= 500)
      problem.message = `${problem.message} ${SAVED_OR_NOT}`;
    session.setState(isUnknown ? { problem, unknown: sent } : { problem });
    session.keeper.keepNow();
    session.on.say(problem.message);
  }

  /** Deletes the version that an ETag names. Returns it, or undefined if that failed. */
  async remove(etag) {
    const { session } = this;
    if (this.isBusy) return undefined;
    this.isBusy = true;
    session.on.changed();
    let gone;
    try {
      gone = await remove(session.state.key, etag);
      session.ignoreDeferred(gone.revision);
    } catch (error) {
      this.#failToRemove(error);
    }
    this.isBusy = false;
    session.on.changed();
    session.catchUp();
    return gone;
  }

  #failToRemove(error) {
    const { session } = this;
    if (error instanceof Refused && error.status === 412 && error.current !== undefined) {
      this.isBusy = false;
      if (error.current !== null) session.setState({ revision: error.current.revision });
      session.update(error.current);
      // There is already a banner that says it was deleted.
      const isNamed = error.current?.modifiedBy !== undefined;
      const who = isNamed ? whoSaved(error.current) : "it was changed by someone else";
      const message = `Not deleted: ${who} meanwhile.`;
      session.setState({
        problem: error.current === null ? null : { kind: "refused", message, noRetry: true },
      });
      return;
    }
    this.#fail(error, undefined);
    const mayBeDeleted = error instanceof Unreachable || [500, 504].includes(error.status);
    let message = `Not deleted: ${error.status === 401 ? "your session has ended." : error.message}`;
    if (error instanceof Unreachable) message = `${error.message} ${DELETED_OR_NOT}`;
    // The message itself says whether it was applied.
    else if (mayBeDeleted) message = `The server says: ${error.message}`;
    session.setState({ problem: { kind: "refused", message, noRetry: true, mayBeDeleted } });
  }
}

// One entry while it is open: what was read, what was typed, what others did meanwhile, and how these
// come together. Knows nothing of the page.
//
//   base      the entry that the text was made from; null for an entry that does not exist yet
//   current   the entry as it stands, as far as known; null if there is none
//   shown     the text of base, so that text !== shown tells that something was typed
//   unknown   a value that was sent and never answered for

import { put, Refused, read, remove, Unreachable, whyNoKey } from "./api.js";
import { check } from "./checker.js";
import {
  compact,
  formatted,
  parse,
  parseOrNothing,
  parseTyped,
  problemOf,
  SyntaxProblem,
  same,
} from "./json.js";
import { differences, merge } from "./merge.js";
import { Conflict } from "./overlaps.js";

/** From here on a draft is kept when typing pauses, and not at each key. */
const LARGE_TEXT = 20_000;
const PAUSE_MILLIS = 150;

export class Session {
  // How often something was learnt of the entry, and whether a change of it may have been missed.
  learnt = 0;
  isDoubted = false;

  /**
   * A session for a key, or null for an entry that is still to be named. on.changed() asks to be shown
   * anew, on.say(sentence) to be read out, on.named(key), on.unreachable(), on.focus(what) are as they say.
   */
  constructor(key, drafts, on) {
    Object.assign(this, {
      key,
      drafts,
      on,
      state: "loading",
      base: null,
      current: null,
      typed: "",
      later: null,
      shown: "",
    });
    Object.assign(this, {
      typedKey: "",
      problem: null,
      arrived: null,
      restored: null,
      others: [],
      conflict: null,
    });
    Object.assign(this, {
      choices: new Map(),
      sending: false,
      saveAgain: false,
      unknown: undefined,
      revision: 0,
      heard: null,
      draftName: undefined,
      mergedIn: [],
    });
  }

  /** What was typed. Of a large text it is fetched from where it is typed, when it is asked for. */
  get text() {
    if (this.later !== null) {
      this.text = this.later();
      queueMicrotask(() => {
        this.keepDraft();
        this.on.changed();
      });
    }
    return this.typed;
  }

  set text(text) {
    this.later = null;
    this.typed = text;
  }

  /** Something was typed that nobody has looked at yet. */
  get hasMore() {
    return this.later !== null;
  }

  get edited() {
    return this.hasMore || this.text !== this.shown || (this.key === null && this.typedKey !== "");
  }

  /** Somebody else's version stands. */
  get stale() {
    return this.current !== null && this.current.etag !== this.base?.etag;
  }

  get deleted() {
    return this.base !== null && this.current === null;
  }

  /** Where the text is not JSON, or null; undefined as long as that is not known. */
  get syntax() {
    if (this.hasMore) return undefined;
    const { text } = this;
    if (text === this.shown) return null;
    if (this.checked?.text === text) return this.checked.problem;
    if (text.length <= LARGE_TEXT) {
      this.checked = { text, problem: problemOf(text) };
      return this.checked.problem;
    }
    if (this.checking !== text) this.checkLater(text);
    return undefined;
  }

  async checkLater(text) {
    this.checking = text;
    const problem = await check(text);
    if (this.checking !== text) return;
    this.checking = undefined;
    this.checked = { text, problem };
    this.on.changed();
  }

  async open() {
    this.state = "loading";
    this.problem = null;
    this.on.changed();
    const draft = await this.findDraft();
    let entry = null;
    try {
      if (this.key !== null) entry = await read(this.key);
    } catch (error) {
      if (draft !== undefined) {
        this.restore(draft, undefined);
      } else {
        this.state = "failed";
      }
      this.problem = this.problemOf(error);
      this.on.changed();
      return;
    }
    this.revision = Math.max(this.revision, entry?.revision ?? 0);
    if (draft !== undefined) {
      this.restore(draft, entry);
    } else if (entry !== null) {
      this.accept(entry);
    } else {
      this.state = this.key === null ? "open" : "missing";
    }
    this.on.changed();
    this.catchUp();
  }

  // Of several drafts, the latest that no other open tab may be at work on.
  async findDraft() {
    // What another session is sending becomes an entry, or is told.
    const all = (await this.drafts.of(this.key ?? "")).filter(
      (draft) => !this.drafts.sending.has(draft.name),
    );
    const draft = all.find((one) => one.owner === "mine" || one.owner === "left");
    this.others = all.filter((one) => one !== draft);
    return draft;
  }

  /** Other tabs have saved or discarded something. */
  forgetGone() {
    const there = this.others.filter((draft) => this.drafts.has(draft.name));
    if (there.length === this.others.length) return;
    this.others = there;
    this.on.changed();
  }

  /** Begins an entry under this key, which has none. */
  create() {
    this.state = "open";
    this.base = null;
    this.on.changed();
  }

  accept(entry) {
    this.state = "open";
    this.base = entry;
    this.current = entry;
    this.shown = formatted(entry.tree);
    this.text = this.shown;
  }

  /** Takes up a draft, beside the entry as it stands; undefined if that is not known. */
  restore(draft, entry) {
    this.state = "open";
    this.base = draft.etag === null ? null : entryOfDraft(this.key, draft);
    if (entry && entry.etag === this.base?.etag) this.base = entry;
    this.shown = this.base === null ? "" : formatted(this.base.tree);
    this.text = draft.text;
    this.typedKey = draft.typedKey ?? "";
    this.current = entry === undefined ? this.base : entry;
    this.choices = new Map(draft.choices);
    this.conflict = null;
    this.restored = { at: draft.at, version: draft.version };
    this.draftName = draft.owner === "open" || draft.owner === "unknown" ? undefined : draft.name;
    if (this.tookOver()) return;
    if (draft.conflict && this.stale) this.bringTogether();
    this.keepDraft();
    this.on.say("Your unsaved text was restored.");
  }

  /** Takes up another tab's draft in place of what is here, which is kept. */
  takeOther(name) {
    if (this.sending) return;
    const draft = this.others.find((one) => one.name === name);
    this.keepDraftNow();
    const mine = this.edited
      ? { ...this.draft(), name: this.draftName, owner: "mine", at: new Date().toISOString() }
      : undefined;
    this.others = this.others.filter((one) => one !== draft);
    if (mine !== undefined) this.others.push(mine);
    this.restore(draft, this.current);
    this.on.changed();
  }

  /** Lets go of a draft of another tab. */
  dropOther(name) {
    const draft = this.others.find((one) => one.name === name);
    this.others = this.others.filter((one) => one !== draft);
    this.drafts.drop(name);
    this.on.changed();
  }

  edit(text) {
    this.text = text;
    this.startedTyping();
    this.keepDraft();
    this.on.changed();
  }

  /** The same at a key in a large text, which read() tells: what takes long waits for a pause, when edit() is called. */
  editLater(read) {
    const isFirst = this.later === null;
    this.later = read;
    if (!isFirst) return;
    this.startedTyping();
    this.on.changed();
  }

  // What was said of the text as it was saved is not true of this one.
  startedTyping() {
    if (this.problem?.kind === "syntax") this.problem = null;
    if (this.arrived?.saved) this.arrived = null;
  }

  name(typedKey) {
    this.typedKey = typedKey;
    if (this.problem?.kind === "key" || this.problem?.kind === "exists") this.problem = null;
    this.keepDraft();
    this.on.changed();
  }

  draft() {
    const { base, current, text, typedKey, conflict } = this;
    const from =
      base === null
        ? { etag: null, version: null, base: null }
        : { etag: base.etag, version: base.version, base: textOf(base) };
    return {
      key: this.key ?? "",
      ...from,
      modifiedAt: base?.modifiedAt,
      text,
      typedKey,
      conflict: conflict !== null && current !== null,
      choices: [...this.choices],
    };
  }

  keepDraft() {
    clearTimeout(this.pause);
    if (this.text.length > LARGE_TEXT && this.edited) {
      this.pause = setTimeout(() => this.keepDraftNow(), PAUSE_MILLIS);
    } else {
      this.keepDraftNow();
    }
  }

  /** Keeps what was typed, or lets go of the draft if there is nothing that is not saved. */
  keepDraftNow() {
    clearTimeout(this.pause);
    if (this.state !== "open") return;
    if (this.text !== this.shown || this.edited) {
      this.draftName = this.drafts.keep(this.draft(), this.draftName);
    } else if (this.draftName !== undefined) {
      this.drafts.drop(this.draftName);
      this.draftName = undefined;
    }
  }

  /** A change that the watch tells of. */
  event(kind, entry) {
    if (entry.key !== this.key) return;
    if (this.sending || this.state === "loading") {
      this.heard = { kind, entry };
      return;
    }
    if (entry.revision <= this.revision) return;
    this.revision = entry.revision;
    this.learnt += 1;
    this.learn(kind === "put" ? entry : null);
  }

  catchUp() {
    const { heard } = this;
    this.heard = null;
    if (heard !== null) this.event(heard.kind, heard.entry);
    if (!this.isDoubted || this.state === "failed") return;
    this.refresh().catch((error) => {
      if (!(error instanceof Unreachable)) throw error;
      this.on.unreachable();
    });
  }

  learn(now) {
    this.current = now;
    // Now it is known.
    if (this.problem?.mayBeDeleted) this.problem = null;
    if (this.state !== "open") {
      if (now !== null) this.accept(now);
    } else if (this.tookOver()) {
      this.on.say(`Version ${now.version} is what you typed.`);
    } else if (!this.edited) {
      this.follow(now);
    } else if (now === null) {
      this.conflict = null;
      this.on.say("This entry was deleted by someone else. Your text is kept.");
    } else {
      this.on.say(`Changed by someone else, now version ${now.version}. Your text is kept.`);
      if (this.conflict !== null) this.bringTogether();
    }
    this.keepDraft();
    this.on.changed();
  }

  follow(now) {
    if (now === null) {
      this.on.say("This entry was deleted by someone else.");
      return;
    }
    const changes = this.base === null ? [] : differences(this.base.tree, now.tree);
    this.accept(now);
    this.arrived = { title: `Someone else saved version ${now.version}`, changes };
    this.on.say(`Someone else saved version ${now.version}. ${placesInWords(changes)}`);
  }

  // What stands is what was typed, to the order of members: an answer was lost, or somebody had the same idea.
  tookOver() {
    if (!this.stale || !this.edited) return false;
    const tree = parseOrNothing(this.text);
    if (tree === undefined || compact(tree) !== textOf(this.current)) return false;
    this.finish(this.current, this.text);
    return true;
  }

  async save() {
    if (this.sending) {
      // Who saves again has typed more, and must not be left to believe that this is saved.
      this.saveAgain = true;
      return;
    }
    if (this.conflict !== null || this.state !== "open") return;
    if (this.key === null && !this.checkKey()) return;
    const tree = this.treeOrProblem();
    if (tree === undefined) return;
    this.sending = true;
    this.problem = null;
    const { draftName } = this;
    this.drafts.sending.add(draftName);
    this.on.changed();
    try {
      await this.send(tree);
    } catch (error) {
      this.fail(error, this.sent);
    }
    this.drafts.sending.delete(draftName);
    this.sending = false;
    this.on.changed();
    this.catchUp();
    const { saveAgain } = this;
    this.saveAgain = false;
    if (saveAgain && this.edited && this.problem === null && !this.deleted) await this.save();
  }

  checkKey() {
    const why = whyNoKey(this.typedKey);
    if (why === undefined) return true;
    this.problem = { kind: "key", message: why };
    this.on.changed();
    this.on.focus("key");
    return false;
  }

  treeOrProblem() {
    try {
      return parseTyped(this.text);
    } catch (problem) {
      if (!(problem instanceof SyntaxProblem)) throw problem;
      this.checked = { text: this.text, problem };
      this.problem = { kind: "syntax", message: `Not saved: ${problem.message}.` };
      this.on.say(this.problem.message);
      this.on.changed();
      this.on.focus("syntax");
      return undefined;
    }
  }

  async send(first) {
    let tree = first;
    const { text } = this;
    if (this.unknown !== undefined && (await this.settleUnknown(tree, text))) return;
    // Somebody may have gone on typing meanwhile.
    if (this.text !== text) tree = this.treeOrProblem();
    if (tree === undefined) return;
    for (;;) {
      const sentText = this.text;
      if (this.isNothingNew(tree)) {
        const { mergedIn } = this;
        this.finish(this.base, sentText);
        this.arrived = {
          title: `Version ${this.base.version} stands: there is nothing to save`,
          changes: mergedIn,
          saved: true,
        };
        this.on.say(this.arrived.title);
        return;
      }
      this.sent = tree;
      try {
        this.saved(await put(this.key ?? this.typedKey, tree, this.base?.etag ?? null), sentText);
        return;
      } catch (error) {
        if (!(error instanceof Refused) || error.status !== 412) throw error;
        this.current = error.current;
      }
      if (this.key === null && !this.isMyCreation(tree)) {
        this.refuseKey();
        return;
      }
      if (this.current === null) {
        this.on.say("Not saved: this entry was deleted by someone else. Your text is kept.");
        this.on.focus("banner");
        return;
      }
      this.revision = Math.max(this.revision, this.current.revision);
      // Somebody may have gone on typing meanwhile.
      if (this.text !== sentText) tree = this.treeOrProblem();
      if (tree === undefined) return;
      if (compact(tree) === textOf(this.current)) {
        this.saved(this.current, this.text);
        return;
      }
      const { merged, overlaps } = merge(this.base?.tree, tree, this.current.tree);
      if (overlaps) {
        this.meet(tree, overlaps);
        return;
      }
      this.rebase(tree, merged);
      tree = merged;
    }
  }

  // A browser may send a request twice, and the second is refused because of the first.
  isMyCreation(tree) {
    const { current } = this;
    return current !== null && current.version === "1" && compact(tree) === textOf(current);
  }

  // A new entry gets no key that is taken: nobody has changed anything that could be merged.
  refuseKey() {
    const { current, typedKey } = this;
    this.current = null;
    const message =
      current === null
        ? "Not created: somebody else was at work on this key. Try again."
        : `Not created: the key ${typedKey} exists already, as version ${current.version}.`;
    this.problem = { kind: "exists", key: typedKey, entry: current, message };
    this.on.say(`${message} Your text is kept.`);
    this.on.changed();
    this.on.focus("banner");
  }

  isNothingNew(tree) {
    return this.base !== null && this.current?.etag === this.base.etag && compact(tree) === textOf(this.base);
  }

  // A write whose answer was lost may have been done. True if that settles what was to be saved: a tree, and the
  // text that it is of.
  async settleUnknown(tree, text) {
    const entry = await read(this.key ?? this.typedKey);
    const arrived = entry !== null && entry.etag !== this.base?.etag && same(entry.tree, this.unknown);
    this.unknown = undefined;
    if (!arrived) return false;
    this.revision = Math.max(this.revision, entry.revision);
    const isAll = same(tree, entry.tree);
    if (isAll) this.saved(entry, text);
    else this.finish(entry, undefined);
    return isAll;
  }

  saved(entry, sentText) {
    const { mergedIn } = this;
    this.finish(entry, sentText);
    const title =
      mergedIn.length > 0
        ? `Saved as version ${entry.version}, with what someone else changed`
        : `Saved as version ${entry.version}`;
    this.arrived = { title, changes: mergedIn, saved: true };
    this.on.say(`${title}. ${mergedIn.length > 0 ? placesInWords(mergedIn) : ""}`);
  }

  // An entry stands that was made from sentText. What was typed after that is kept as a change to it.
  finish(entry, sentText) {
    const created = this.key === null;
    this.learnt += 1;
    this.base = entry;
    this.current = entry;
    this.revision = Math.max(this.revision, entry.revision);
    this.shown = formatted(entry.tree);
    if (this.text === sentText) this.text = this.shown;
    Object.assign(this, {
      key: entry.key,
      typedKey: "",
      unknown: undefined,
      restored: null,
      problem: null,
      arrived: null,
      conflict: null,
      mergedIn: [],
    });
    this.choices.clear();
    this.keepDraftNow();
    if (created) this.on.named(entry.key);
  }

  fail(error, sent) {
    this.problem = this.problemOf(error);
    if (error instanceof Unreachable || error.status >= 500) this.unknown = sent;
    this.keepDraftNow();
    this.on.say(this.problem.message);
  }

  problemOf(error) {
    if (error instanceof Unreachable) {
      this.on.unreachable();
      return { kind: "network", message: error.message };
    }
    if (error instanceof Refused)
      return { kind: "refused", status: error.status, message: `The server says: ${error.message}` };
    throw error;
  }

  /** The connection is back: finds out what became of a write that was never answered. */
  async back() {
    if (this.state === "failed") return this.open();
    if (this.problem?.kind !== "network" || this.sending) return undefined;
    const { text } = this;
    const tree = parseOrNothing(text);
    try {
      if (this.unknown !== undefined && tree !== undefined && (await this.settleUnknown(tree, text))) {
        this.on.changed();
        return undefined;
      }
      this.problem = this.edited
        ? { kind: "back", message: "Connected again. Your text is kept, and not saved yet." }
        : null;
      await this.refresh();
    } catch (error) {
      this.problem = this.problemOf(error);
    }
    this.on.changed();
    return undefined;
  }

  /** Reads the current entry, because changes may have been missed. */
  async refresh() {
    if (this.key === null) return;
    if (this.state === "failed") {
      await this.open();
      return;
    }
    // What is under way now may have been answered before the changes that were missed.
    this.isDoubted = this.sending || this.state === "loading";
    if (this.isDoubted) return;
    const { learnt } = this;
    const entry = await read(this.key, this.current?.etag);
    // An answer that is older than what was learnt meanwhile says nothing.
    if (this.sending || learnt !== this.learnt) {
      this.isDoubted = true;
      if (!this.sending) await this.refresh();
      return;
    }
    if (entry === undefined) return;
    this.revision = entry?.revision ?? 0;
    if (entry?.etag !== this.current?.etag) this.learn(entry);
  }

  /** The connection is lost. */
  lost() {
    if (this.problem?.kind !== "back") return;
    this.problem = { kind: "network", message: "The server cannot be reached." };
    this.on.changed();
  }

  /** Merges what stands into the text; overlaps are put to the user. */
  mergeNow() {
    if (this.sending) return;
    if (this.bringTogether()) this.on.say(`Merged, not saved yet. ${placesInWords(this.arrived.changes)}`);
    this.on.changed();
  }

  bringTogether() {
    const tree = this.treeOrProblem();
    if (tree === undefined) return false;
    const { merged, overlaps } = merge(this.base?.tree, tree, this.current.tree);
    if (overlaps) {
      this.meet(tree, overlaps);
      return false;
    }
    this.conflict = null;
    this.rebase(tree, merged);
    return true;
  }

  // Each overlap is put to the user.
  meet(mine, overlaps) {
    const isNew = this.conflict === null;
    this.conflict = new Conflict({
      base: this.base?.tree,
      mine,
      theirs: this.current,
      overlaps,
      choices: this.choices,
    });
    this.keepDraftNow();
    this.on.say(
      `You and someone else changed the same ${overlaps.length === 1 ? "place" : `${overlaps.length} places`}. Choose what stands.`,
    );
    if (isNew) this.on.focus("conflict");
  }

  /** Sets what becomes of an overlap: "theirs", "mine" or "edit" with a text. */
  choose(pointer, pick, text) {
    this.conflict.choose(pointer, pick, text);
    this.keepDraft();
    this.on.changed();
  }

  /** Puts the choices into the text, on top of what stands, if all are made. */
  settle() {
    if (this.conflict.undecided.length > 0) return false;
    const { mine, merged } = this.conflict;
    this.conflict = null;
    this.choices.clear();
    this.rebase(mine, merged);
    this.on.changed();
    return true;
  }

  /** Back to the text as it was typed. The choices are kept. */
  leaveConflict() {
    this.conflict = null;
    this.keepDraftNow();
    this.on.changed();
  }

  // The text is now made from what stands. The draft moves to that tag.
  rebase(mine, merged) {
    const changes = differences(mine, merged);
    this.base = this.current;
    this.shown = formatted(this.base.tree);
    this.text = formatted(merged);
    this.mergedIn.push(...changes);
    this.arrived = { title: `Version ${this.base.version} is merged in, not saved yet`, changes };
    this.keepDraftNow();
  }

  /** Lets go of what was typed. Returns the draft, for those who think better of it. */
  discard() {
    const draft = { ...this.draft(), name: undefined, owner: "mine", at: new Date().toISOString() };
    if (this.draftName !== undefined) this.drafts.drop(this.draftName);
    Object.assign(this, {
      draftName: undefined,
      conflict: null,
      problem: null,
      restored: null,
      arrived: null,
      unknown: undefined,
      typedKey: "",
      mergedIn: [],
    });
    this.choices = new Map();
    if (this.current !== null) {
      this.accept(this.current);
    } else {
      Object.assign(this, { base: null, text: "", shown: "", state: this.key === null ? "open" : "missing" });
    }
    this.on.changed();
    return draft;
  }

  /** Has a discarded draft back. */
  undoDiscard(draft) {
    this.restore(draft, this.current);
    this.on.changed();
  }

  /** Saves the text as a new entry, now that the old one is gone. */
  async recreate() {
    if (this.sending) return;
    this.base = null;
    this.shown = "";
    this.keepDraftNow();
    await this.save();
  }

  /** Deletes the entry that is shown. Returns it, or nothing if that was not to be. */
  async remove() {
    if (this.sending) return undefined;
    this.sending = true;
    this.on.changed();
    let gone;
    try {
      gone = await remove(this.key, this.base.etag);
      this.revision = Math.max(this.revision, gone.revision);
      this.heard = null;
    } catch (error) {
      this.failToRemove(error);
    }
    this.sending = false;
    this.on.changed();
    this.catchUp();
    return gone;
  }

  failToRemove(error) {
    if (error instanceof Refused && error.status === 412) {
      this.sending = false;
      if (error.current !== null) this.revision = error.current.revision;
      this.learn(error.current);
      // What is gone already needs no second banner.
      const message = "Not deleted: it was changed by someone else meanwhile.";
      this.problem = error.current === null ? null : { kind: "refused", message, noRetry: true };
      return;
    }
    this.fail(error, undefined);
    const message = error instanceof Unreachable ? DELETED_OR_NOT : `Not deleted: ${error.message}`;
    this.problem = { kind: "refused", message, noRetry: true, mayBeDeleted: error instanceof Unreachable };
  }
}

/** The sentence for a delete that was not answered. */
const DELETED_OR_NOT = "The server cannot be reached. Whether the entry was deleted is not known.";

const texts = new WeakMap();

/** The value of an entry as compact text. */
function textOf(entry) {
  if (!texts.has(entry.tree)) {
    if (typeof entry.tree !== "object" || entry.tree === null) return compact(entry.tree);
    texts.set(entry.tree, compact(entry.tree));
  }
  return texts.get(entry.tree);
}

function entryOfDraft(key, draft) {
  return {
    key,
    etag: draft.etag,
    version: draft.version,
    revision: 0,
    modifiedAt: draft.modifiedAt,
    tree: parse(draft.base),
  };
}

/** Places as a sentence to be read out. */
function placesInWords(changes) {
  if (changes.length === 0) return "";
  const names = changes.slice(0, 5).map((change) => change.pointer || "the whole value");
  const rest = changes.length > 5 ? ` and ${changes.length - 5} more` : "";
  return `Changed: ${names.join(", ")}${rest}.`;
}

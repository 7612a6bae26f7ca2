// What is known of an entry while it is open. Each function here makes a new state of an old one, or tells
// something about it, and changes nothing.
//
//   phase     "loading", "open", "missing" (there is no entry under the key) or "failed" (it could not be read)
//   key       null for an entry that is still to be named
//   base      the entry that the text was made from; null for an entry that does not exist yet
//   current   the current entry, as far as known; null if there is none
//   revision  the newest that is known of
//   text      what was typed
//   shown     the text of base, so that text !== shown tells that something was typed
//   typedKey  the key that was typed for a new entry
//   unknown   a value that was sent and never answered for
//   problem   what went wrong, {kind, message, …}, or null
//   arrived   what came in or was saved, {title, changes, saved}, or null
//   restored  the draft that the text is from, {at, version}, or null
//   conflict  what both sides changed, as long as the user is asked about it, or null
//   choices   what the user chose, by pointer: it outlives the conflict
//   mergedIn  what others changed in the text since it was last saved

import { compact, formatted, parse, parseOrNothing } from "./json.js";
import { differences } from "./merge.js";
import { Conflict } from "./overlaps.js";

/** The state of an entry that is about to be read. */
export function loading(key) {
  return {
    ...{ phase: "loading", key, base: null, current: null, revision: 0, text: "", shown: "", typedKey: "" },
    ...{ unknown: undefined, problem: null, arrived: null, restored: null, conflict: null },
    ...{ choices: new Map(), mergedIn: [] },
  };
}

/** Whether there is something that is not saved. */
export function isEdited({ text, shown, key, typedKey }) {
  return text !== shown || (key === null && typedKey !== "");
}

/** Whether the current entry is one that somebody else saved since. */
export function isStale({ base, current }) {
  return current !== null && current.etag !== base?.etag;
}

/** Whether the entry that the text was made from is gone. */
export function isDeleted({ base, current }) {
  return base !== null && current === null;
}

/** Whether saving this value would change nothing. */
export function isNothingNew({ base, current }, tree) {
  return base !== null && current?.etag === base.etag && compact(tree) === textOf(base);
}

/** Whether the current entry is this value, to the order of members. */
export function isCurrent({ current }, tree) {
  return current !== null && compact(tree) === textOf(current);
}

/** The state with an entry in place of all that was typed. */
export function accepted(state, entry) {
  const text = formatted(entry.tree);
  return { ...state, phase: "open", base: entry, current: entry, shown: text, text };
}

/** The state after a draft was taken up beside the current entry; undefined if that is not known. */
export function restored(state, draft, entry) {
  const read = draft.etag === null ? null : entryOfDraft(state.key, draft);
  const base = entry && entry.etag === read?.etag ? entry : read;
  return {
    ...state,
    phase: "open",
    base,
    current: entry === undefined ? base : entry,
    shown: base === null ? "" : formatted(base.tree),
    text: draft.text,
    typedKey: draft.typedKey ?? "",
    choices: new Map(draft.choices),
    conflict: null,
    restored: { at: draft.at, version: draft.version },
  };
}

/** The draft that is to be kept of a state. */
export function draftOf({ key, base, current, text, typedKey, conflict, choices }) {
  const from =
    base === null
      ? { etag: null, version: null, base: null }
      : { etag: base.etag, version: base.version, base: textOf(base) };
  const isConflict = conflict !== null && current !== null;
  return {
    ...{ key: key ?? "", ...from, modifiedAt: base?.modifiedAt },
    ...{ text, typedKey, conflict: isConflict, choices: [...choices] },
  };
}

/** The state once typing has begun: what was said of the text as it was saved is not true of this one. */
export function typing(state) {
  return {
    ...state,
    problem: state.problem?.kind === "syntax" ? null : state.problem,
    arrived: state.arrived?.saved ? null : state.arrived,
  };
}

/** The state after a key was typed for a new entry. */
export function named(state, typedKey) {
  const isOver = state.problem?.kind === "key" || state.problem?.kind === "exists";
  return { ...state, typedKey, problem: isOver ? null : state.problem };
}

/** The state after news of the current entry, or null if there is none, and a sentence about it: {state, sentence}. */
export function learned(before, now) {
  // Now it is known.
  const problem = before.problem?.mayBeDeleted ? null : before.problem;
  const state = { ...before, current: now, problem };
  if (state.phase !== "open") return { state: now === null ? state : accepted(state, now) };
  const taken = takenOver(state);
  if (taken !== undefined) return { state: taken, sentence: `Version ${now.version} is what you typed.` };
  if (!isEdited(state)) return followed(state, now);
  if (now === null) {
    const sentence = "This entry was deleted by someone else. Your text is kept.";
    return { state: { ...state, conflict: null }, sentence };
  }
  return { state, sentence: `Changed by someone else, now version ${now.version}. Your text is kept.` };
}

// Nothing was typed: what is shown is the current entry.
function followed(state, now) {
  if (now === null) return { state, sentence: "This entry was deleted by someone else." };
  const changes = state.base === null ? [] : differences(state.base.tree, now.tree);
  const title = `Someone else saved version ${now.version}`;
  const sentence = `${title}. ${placesInWords(changes)}`;
  return { state: { ...accepted(state, now), arrived: { title, changes } }, sentence };
}

/**
 * The state if the current entry is what was typed, to the order of members; otherwise undefined. An answer was
 * lost, or somebody had the same idea.
 */
export function takenOver(state) {
  if (!isStale(state) || !isEdited(state)) return undefined;
  const tree = parseOrNothing(state.text);
  if (tree === undefined || !isCurrent(state, tree)) return undefined;
  return finished(state, state.current, state.text);
}

/** The state with an entry that was made from sentText. What was typed after that is kept as a change to it. */
export function finished(state, entry, sentText) {
  const shown = formatted(entry.tree);
  return {
    ...loading(entry.key),
    phase: "open",
    base: entry,
    current: entry,
    revision: Math.max(state.revision, entry.revision),
    shown,
    text: state.text === sentText ? shown : state.text,
  };
}

/** The same, and what there is to say of it: {state, sentence}. */
export function saved(state, entry, sentText) {
  const { mergedIn: changes } = state;
  const isMerged = changes.length > 0;
  const title = `Saved as version ${entry.version}${isMerged ? ", with what someone else changed" : ""}`;
  const arrived = { title, changes, saved: true };
  const sentence = `${title}. ${placesInWords(changes)}`;
  return { state: { ...finished(state, entry, sentText), arrived }, sentence };
}

/** The state if saving would change nothing. */
export function unchanged(state) {
  const title = `Version ${state.base.version} stands: there is nothing to save`;
  const arrived = { title, changes: state.mergedIn, saved: true };
  return { ...finished(state, state.base, state.text), arrived };
}

/** The state after what others changed was merged with mine: the text is now made from the current entry. */
export function rebased(state, mine, merged) {
  const { current: base } = state;
  const changes = differences(mine, merged);
  const title = `Version ${base.version} is merged in, not saved yet`;
  return {
    ...state,
    base,
    shown: formatted(base.tree),
    text: formatted(merged),
    mergedIn: [...state.mergedIn, ...changes],
    arrived: { title, changes },
    conflict: null,
  };
}

/** The state in which the user is asked about each overlap of mine and the current entry. */
export function met(state, mine, overlaps) {
  const choices = new Map(state.choices);
  const { base, current: theirs } = state;
  return { ...state, choices, conflict: new Conflict({ base: base?.tree, mine, theirs, overlaps, choices }) };
}

/** The state with the choices in the text, on top of the current entry; undefined unless all are made. */
export function settled(state) {
  const { conflict } = state;
  if (conflict.undecided.length > 0) return undefined;
  return { ...rebased(state, conflict.mine, conflict.merged), choices: new Map() };
}

/** The state after a new entry was refused, because its key has an entry already, or had one a moment ago (null). */
export function taken(state, entry) {
  const { typedKey: key } = state;
  const message =
    entry === null
      ? "Not created: somebody else was at work on this key. Try again."
      : `Not created: the key ${key} exists already, as version ${entry.version}.`;
  return { ...state, current: null, problem: { kind: "exists", key, entry, message } };
}

/** The state without what was typed. */
export function discarded(state) {
  const { key, current, revision } = state;
  const clean = { ...loading(key), current, revision };
  if (current !== null) return accepted(clean, current);
  return { ...clean, phase: key === null ? "open" : "missing" };
}

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
  const { etag, version, modifiedAt } = draft;
  return { key, etag, version, revision: 0, modifiedAt, tree: parse(draft.base) };
}

/** Places as a sentence to be read out. */
export function placesInWords(changes) {
  if (changes.length === 0) return "";
  const names = changes.slice(0, 5).map((change) => change.pointer || "the whole value");
  const rest = changes.length > 5 ? ` and ${changes.length - 5} more` : "";
  return `Changed: ${names.join(", ")}${rest}.`;
}

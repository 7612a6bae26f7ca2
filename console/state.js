// The state of an open entry. The functions here are pure: they answer questions about a state or return a new one.
//
//   phase     "loading", "open", "missing" (there is no entry under the key) or "failed" (it could not be read)
//   key       null for a new entry, which gets its key when it is saved
//   base      the entry that the text is based on; null for an entry that does not exist yet
//   current   the current entry, as far as known; null if there is none
//   deletedBy who deleted the entry, if it was deleted and the name is known
//   revision  the newest revision seen
//   text      what was typed
//   shown     the formatted text of base; text differs from it if something was typed
//   typedKey  the key that was typed for a new entry
//   unknown   a value that was sent but got no response; undefined if there is none
//   problem   what went wrong, {kind, message, …}, or null
//   arrived   what was received or saved last, {title, changes, saved}, or null
//   restored  where the text comes from if it was restored from a draft, {at, version}, or null
//   conflict  the Conflict that is shown to the user, or null
//   choices   the choices of the user by pointer; they are kept when the conflict is closed
//   mergedIn  changes of others that were merged into the text since the last save
//   mergedOf  who made them: a name for each merge, undefined where that is not known

import { compact, formatted, parse, parseOrNothing } from "./json.js";
import { differences } from "./merge.js";
import { Conflict } from "./overlaps.js";

/** The initial state, before the entry is read. */
export function loading(key) {
  return {
    phase: "loading",
    key,
    base: null,
    current: null,
    deletedBy: undefined,
    revision: 0,
    text: "",
    shown: "",
    typedKey: "",
    unknown: undefined,
    problem: null,
    arrived: null,
    restored: null,
    conflict: null,
    choices: new Map(),
    mergedIn: [],
    mergedOf: [],
  };
}

/** Whether there are unsaved changes. */
export function isEdited({ text, shown, key, typedKey }) {
  return text !== shown || (key === null && typedKey !== "");
}

/** Whether somebody else has saved a newer entry than base. */
export function isStale({ base, current }) {
  return current !== null && current.etag !== base?.etag;
}

/** Whether the entry was deleted. */
export function isDeleted({ base, current }) {
  return base !== null && current === null;
}

/** Whether saving this value would change nothing. */
export function isNothingNew({ base, current }, tree) {
  return base !== null && current?.etag === base.etag && compact(tree) === textOf(base);
}

/** Whether this is the current value, with members in the same order. */
export function isCurrent({ current }, tree) {
  return current !== null && compact(tree) === textOf(current);
}

/** Shows an entry in place of the text. */
export function accepted(state, entry) {
  const text = formatted(entry.tree);
  return { ...state, phase: "open", base: entry, current: entry, shown: text, text };
}

/** Restores a draft. `entry` is the current one, null if there is none, undefined if that is unknown. */
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

/** The draft to store for a state. */
export function draftOf({ key, base, current, text, typedKey, conflict, choices }) {
  const from =
    base === null
      ? { etag: null, version: null, base: null }
      : { etag: base.etag, version: base.version, base: textOf(base) };
  const isConflict = conflict !== null && current !== null;
  return {
    key: key ?? "",
    ...from,
    modifiedAt: base?.modifiedAt,
    modifiedBy: base?.modifiedBy,
    text,
    typedKey,
    conflict: isConflict,
    choices: [...choices],
  };
}

/** Clears the messages about the text as it was before typing. */
export function typingStarted(state) {
  return {
    ...state,
    problem: state.problem?.kind === "syntax" ? null : state.problem,
    arrived: state.arrived?.saved ? null : state.arrived,
  };
}

/** Sets the key of a new entry. */
export function keyTyped(state, typedKey) {
  const isOver = state.problem?.kind === "key" || state.problem?.kind === "exists";
  return { ...state, typedKey, problem: isOver ? null : state.problem };
}

/**
 * Updates the current entry; null if it was deleted, by `deleter` if that is known. Returns {state, sentence}, the
 * sentence for screen readers.
 */
export function updated(before, now, deleter) {
  // Now it is known whether it was deleted.
  const problem = before.problem?.mayBeDeleted ? null : before.problem;
  const deletedBy = now === null ? (deleter ?? before.deletedBy) : undefined;
  const state = { ...before, current: now, deletedBy, problem };
  if (state.phase !== "open") return { state: now === null ? state : accepted(state, now) };
  const taken = alreadySaved(state);
  if (taken !== undefined) return { state: taken, sentence: `Version ${now.version} is what you typed.` };
  if (!isEdited(state)) return followed(state, now);
  if (now === null) {
    const sentence = `${whoDeleted(state)}. Your text is kept.`;
    return { state: { ...state, conflict: null }, sentence };
  }
  return { state, sentence: `${whoChanged(now)}. Your text is kept.` };
}

// Without unsaved changes, the current entry is shown.
function followed(state, now) {
  if (now === null) return { state, sentence: `${whoDeleted(state)}.` };
  const changes = state.base === null ? [] : differences(state.base.tree, now.tree);
  const title = whoSaved(now);
  const sentence = `${title}. ${placesInWords(changes)}`;
  return { state: { ...accepted(state, now), arrived: { title, changes } }, sentence };
}

/**
 * The saved state if the current entry is what was typed, otherwise undefined. That happens when a response was
 * lost, or when somebody else made the same change.
 */
export function alreadySaved(state) {
  if (!isStale(state) || !isEdited(state)) return undefined;
  const tree = parseOrNothing(state.text);
  if (tree === undefined || !isCurrent(state, tree)) return undefined;
  return finished(state, state.current, state.text);
}

/** The state after sentText was saved as `entry`. What was typed since is an unsaved change. */
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

/** The same with a message: {state, sentence}. */
export function saved(state, entry, sentText) {
  const { mergedIn: changes, mergedOf } = state;
  const isMerged = changes.length > 0;
  const title = `Saved as version ${entry.version}${isMerged ? `, with what ${inWords(mergedOf)} changed` : ""}`;
  const arrived = { title, changes, saved: true };
  const sentence = `${title}. ${placesInWords(changes)}`;
  return { state: { ...finished(state, entry, sentText), arrived }, sentence };
}

/** The state after a save that had nothing to change. */
export function unchanged(state) {
  const title = `Version ${state.base.version} is current: there is nothing to save`;
  const arrived = { title, changes: state.mergedIn, saved: true };
  return { ...finished(state, state.base, state.text), arrived };
}

/** Replaces the text by the merged value. Its base is now the current entry. */
export function rebased(state, mine, merged) {
  const { current: base } = state;
  const changes = differences(mine, merged);
  const writers = changes.length > 0 ? [soleWriter(state.base, base)] : [];
  const title = `Version ${base.version} is merged in, not saved yet`;
  return {
    ...state,
    base,
    shown: formatted(base.tree),
    text: formatted(merged),
    mergedIn: [...state.mergedIn, ...changes],
    mergedOf: [...state.mergedOf, ...writers],
    arrived: { title, changes },
    conflict: null,
  };
}

/** Shows the overlaps of mine and the current entry to the user. */
export function inConflict(state, mine, overlaps) {
  const choices = new Map(state.choices);
  const { base, current: theirs } = state;
  return { ...state, choices, conflict: new Conflict({ base: base?.tree, mine, theirs, overlaps, choices }) };
}

/** Applies the choices to the text. Undefined if some overlap is undecided. */
export function settled(state) {
  const { conflict } = state;
  if (conflict.undecided.length > 0) return undefined;
  return { ...rebased(state, conflict.mine, conflict.merged), choices: new Map() };
}

/** A new entry was refused because its key exists; `entry` is null if it was deleted again since. */
export function keyTaken(state, entry) {
  const { typedKey: key } = state;
  const message =
    entry === null
      ? "Not created: someone else changed this key at the same time. Try again."
      : `Not created: the key ${key} exists already, as version ${entry.version}${byName(entry)}.`;
  return { ...state, current: null, problem: { kind: "exists", key, entry, message } };
}

/** Discards the unsaved changes. */
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
  const { etag, version, modifiedAt, modifiedBy } = draft;
  return { key, etag, version, revision: 0, modifiedAt, modifiedBy, tree: parse(draft.base) };
}

/** Who saved an entry, for the start of a sentence. */
export function whoSaved({ version, modifiedBy }) {
  return `${modifiedBy ?? "Someone else"} saved version ${version}`;
}

/** Who changed the entry that is being edited; `now` is the current one. */
export function whoChanged(now) {
  return now.modifiedBy === undefined ? `Changed by someone else, now version ${now.version}` : whoSaved(now);
}

/** Who deleted the entry. */
export function whoDeleted({ deletedBy }) {
  return deletedBy === undefined
    ? "This entry was deleted by someone else"
    : `${deletedBy} deleted this entry`;
}

/** The name of whoever made all the changes from base to `now`, undefined if that may be several or is not known. */
export function soleWriter(base, now) {
  return Number(now.version) - Number(base?.version ?? 0) === 1 ? now.modifiedBy : undefined;
}

/** " by Ann", or nothing if the writer is not known. */
function byName({ modifiedBy }) {
  return modifiedBy === undefined ? "" : ` by ${modifiedBy}`;
}

// Several names only if all of them are known.
function inWords(writers) {
  const names = [...new Set(writers)];
  if (names.length === 0 || names.includes(undefined)) return "someone else";
  return names.length === 1 ? names[0] : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** The places of changes as a sentence for screen readers. */
export function placesInWords(changes) {
  if (changes.length === 0) return "";
  const names = changes.slice(0, 5).map((change) => change.pointer || "the whole value");
  const rest = changes.length > 5 ? ` and ${changes.length - 5} more` : "";
  return `Changed: ${names.join(", ")}${rest}.`;
}

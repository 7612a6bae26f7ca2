// Three-way merge of JSON, the twin of src/merge.rs, whose table says what becomes of what. Both are
// held to tests/vectors/merge.json.

import { child, same } from "./json.js";

/** What both sides made of base: {merged}, where undefined is absent, or {overlaps} of {pointer, base, mine, theirs}. */
export function merge(base, mine, theirs) {
  const overlaps = [];
  const merged = mergeWith(base, mine, theirs, (overlap) => {
    overlaps.push(overlap);
    return undefined;
  });
  return overlaps.length > 0 ? { overlaps } : { merged };
}

/** The merged tree, where choose(overlap) says what becomes of each overlap; undefined leaves the place out. */
export function mergeWith(base, mine, theirs, choose) {
  return mergeAt("", base, mine, theirs, choose);
}

function mergeAt(pointer, base, mine, theirs, choose) {
  if (same(base, mine)) return theirs;
  if (same(base, theirs) || same(mine, theirs)) return mine;
  if (!(base instanceof Map && mine instanceof Map && theirs instanceof Map)) {
    return choose({ pointer, base, mine, theirs });
  }
  const merged = new Map();
  for (const name of new Set([...theirs.keys(), ...mine.keys()])) {
    const member = mergeAt(child(pointer, name), base.get(name), mine.get(name), theirs.get(name), choose);
    if (member !== undefined) merged.set(name, member);
  }
  return merged;
}

/** What differs between two trees, as far down as both are objects: a list of {pointer, from, to}. */
export function differences(from, to) {
  const found = [];
  const compare = (pointer, one, other) => {
    if (same(one, other)) return;
    if (!(one instanceof Map && other instanceof Map)) {
      found.push({ pointer, from: one, to: other });
      return;
    }
    for (const name of new Set([...other.keys(), ...one.keys()])) {
      compare(child(pointer, name), one.get(name), other.get(name));
    }
  };
  compare("", from, to);
  return found;
}

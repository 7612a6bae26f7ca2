// Three-way merge of JSON, by the same rules as src/merge.rs, which has a table of them. Both must pass
// tests/vectors/merge.json.

import { child, same } from "./json.js";

/**
 * Merges two trees made from base. Returns {merged}, which is undefined if the value is absent, or {overlaps}, a list
 * of {pointer, base, mine, theirs}.
 */
export function merge(base, mine, theirs) {
  const overlaps = [];
  const merged = mergeWith(base, mine, theirs, (overlap) => {
    overlaps.push(overlap);
    return undefined;
  });
  return overlaps.length > 0 ? { overlaps } : { merged };
}

/** The merged tree. choose(overlap) returns the value for an overlap, or undefined to remove it. */
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

/** The differences between two trees, a list of {pointer, from, to}. Only objects are compared member by member. */
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

// Resolving places that two people changed.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compact, parse } from "../json.js";
import { merge } from "../merge.js";
import { Conflict } from "../overlaps.js";

/** The conflict of mine and theirs, both made from base. The choices may be those of an earlier conflict. */
function conflictOf(base, mine, theirs, choices = new Map()) {
  const [from, own, other] = [base, mine, theirs].map((text) => parse(text));
  const { overlaps } = merge(from, own, other);
  return new Conflict({ base: from, mine: own, theirs: { tree: other, version: "2" }, overlaps, choices });
}

const pointers = (overlaps) => overlaps.map((overlap) => overlap.pointer);

const BASE = '{"a":1,"b":1,"c":1}';
const MINE = '{"a":2,"b":2,"c":1}';
const THEIRS = '{"a":3,"b":3,"c":3}';

describe("a conflict", () => {
  test("is undecided until each overlap has a choice", () => {
    const conflict = conflictOf(BASE, MINE, THEIRS);
    assert.deepEqual(pointers(conflict.undecided), ["/a", "/b"]);
    conflict.choose("/a", "mine");
    assert.deepEqual(pointers(conflict.undecided), ["/b"]);
    conflict.choose("/b", "theirs");
    assert.deepEqual(conflict.undecided, []);
    assert.equal(compact(conflict.merged), '{"a":2,"b":3,"c":3}');
  });

  test("lists the other changes, which are merged automatically", () => {
    assert.deepEqual(pointers(conflictOf(BASE, MINE, THEIRS).others), ["/c"]);
  });

  test("accepts a custom value once it is valid JSON", () => {
    const conflict = conflictOf(BASE, MINE, THEIRS);
    conflict.choose("/b", "theirs");
    conflict.choose("/a", "edit", "[4,");
    assert.deepEqual(pointers(conflict.undecided), ["/a"]);
    conflict.choose("/a", "edit", '{"x":1,"x":2}');
    assert.deepEqual(pointers(conflict.undecided), ["/a"]);
    conflict.choose("/a", "edit", "[4.0]");
    assert.deepEqual(conflict.undecided, []);
    assert.equal(compact(conflict.merged), '{"a":[4.0],"b":3,"c":3}');
  });

  test("remembers the custom value while another side is chosen", () => {
    const conflict = conflictOf(BASE, MINE, THEIRS);
    conflict.choose("/a", "edit", "4");
    conflict.choose("/a", "mine");
    conflict.choose("/a", "edit");
    assert.equal(conflict.choices.get("/a").text, "4");
  });

  test("removes a member that the chosen side removed", () => {
    const conflict = conflictOf('{"a":1,"b":1}', '{"a":2,"b":1}', '{"b":1}');
    conflict.choose("/a", "theirs");
    assert.equal(compact(conflict.merged), '{"b":1}');
  });
});

describe("when they save again", () => {
  test("a choice is kept if both sides are unchanged", () => {
    const { choices } = conflictOf(BASE, MINE, THEIRS);
    const before = conflictOf(BASE, MINE, THEIRS, choices);
    before.choose("/a", "mine");
    before.choose("/b", "mine");
    const after = conflictOf(BASE, MINE, '{"a":3,"b":4,"c":1}', choices);
    assert.deepEqual(pointers(after.undecided), ["/b"]);
    assert.equal(choices.get("/a").pick, "mine");
  });

  test("a custom value is kept but must be confirmed", () => {
    const before = conflictOf(BASE, MINE, THEIRS);
    before.choose("/a", "theirs");
    before.choose("/b", "edit", "5");
    const after = conflictOf(BASE, MINE, '{"a":3,"b":4,"c":1}', before.choices);
    assert.deepEqual(pointers(after.undecided), ["/b"]);
    assert.deepEqual([after.choices.get("/b").text, after.choices.get("/b").outdated], ["5", true]);
    after.choose("/b", "edit");
    assert.deepEqual(after.undecided, []);
    assert.equal(compact(after.merged), '{"a":3,"b":5,"c":1}');
  });

  test("a removed member and a member set to null are different sides", () => {
    const before = conflictOf('{"a":1}', '{"a":2}', "{}");
    before.choose("/a", "theirs");
    const after = conflictOf('{"a":1}', '{"a":2}', '{"a":null}', before.choices);
    assert.deepEqual(pointers(after.undecided), ["/a"]);
  });
});

// What is granted by prefix, as in src/access/grants.rs.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EVERYTHING, isEverything, may, mayReadSome, whyNot } from "../grants.js";

const ANN = [
  { prefix: "doc/", actions: ["read", "create", "update"] },
  { prefix: "doc/ann/", actions: ["delete"] },
  { prefix: "cfg", actions: ["read"] },
];

describe("an action on a key", () => {
  for (const [action, key, isGranted] of [
    ["read", "doc/a", true],
    ["read", "doc/", true],
    ["read", "doc", false],
    ["read", "Doc/a", false],
    ["read", "cfgx", true],
    ["create", "doc/a", true],
    ["create", "cfg", false],
    ["update", "doc/ann/a", true],
    ["delete", "doc/a", false],
    ["delete", "doc/ann/a", true],
    ["delete", "doc/anna", false],
  ]) {
    test(`${action} ${key} is ${isGranted ? "" : "not "}granted`, () => {
      assert.equal(may(ANN, action, key), isGranted);
      assert.equal(whyNot(ANN, action, key) === undefined, isGranted);
    });
  }

  test("is never granted without grants, and always with everything", () => {
    for (const action of ["read", "create", "update", "delete"]) {
      assert.equal(may([], action, "a"), false);
      assert.equal(may(EVERYTHING, action, "a"), true);
    }
  });
});

describe("a prefix", () => {
  for (const [prefix, isReadable] of [
    ["", true],
    ["d", true],
    ["doc/", true],
    ["doc/x", true],
    ["d/", false],
    ["cfg", true],
    ["x", false],
  ]) {
    test(`“${prefix}” has ${isReadable ? "something" : "nothing"} to read`, () => {
      assert.equal(mayReadSome(ANN, prefix), isReadable);
    });
  }

  test("has nothing to read for someone who may only write", () => {
    assert.equal(mayReadSome([{ prefix: "", actions: ["create", "update"] }], ""), false);
  });
});

test("everything may be granted in parts", () => {
  assert.equal(isEverything(EVERYTHING), true);
  const parts = ["read", "create", "update", "delete"].map((action) => ({ prefix: "", actions: [action] }));
  assert.equal(isEverything(parts), true);
  assert.equal(isEverything(parts.slice(1)), false);
  assert.equal(isEverything([{ ...EVERYTHING[0], prefix: "a" }]), false);
});

describe("the reason", () => {
  test("names the prefixes of new keys, a few of them", () => {
    const at = (...prefixes) => prefixes.map((prefix) => ({ prefix, actions: ["create"] }));
    assert.equal(whyNot(at("a/"), "create", "x"), "You may not create this key. Yours begin with “a/”.");
    assert.equal(
      whyNot(at("a/", "b/", "a/"), "create", "x"),
      "You may not create this key. Yours begin with “a/” or “b/”.",
    );
    assert.match(whyNot(at("a", "b", "c", "d", "e"), "create", "x"), /“a”, “b”, “c” or 2 others\.$/);
  });

  test("is general if nothing of the kind is granted", () => {
    assert.equal(whyNot(ANN, "delete", "doc/a"), "You may not delete this entry.");
    assert.equal(whyNot([], "delete", "doc/a"), "You may not delete entries here.");
    assert.equal(whyNot([], "create"), "You may not create entries here.");
    assert.equal(whyNot(ANN, "create"), undefined);
  });
});

// What the addresses of the page name.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hashOf, historyHashOf, targetOf } from "../address.js";

describe("an address", () => {
  for (const [hash, target] of [
    ["", undefined],
    ["#/", undefined],
    ["#/new", { page: "entry", key: null }],
    ["#/deleted", { page: "deleted" }],
    ["#/kv/doc/plan", { page: "entry", key: "doc/plan" }],
    ["#/history/doc/plan", { page: "history", key: "doc/plan", chosen: {} }],
    ["#/history/a?from=3&to=5", { page: "history", key: "a", chosen: { from: 3, to: 5 } }],
    ["#/history/a?restore=7", { page: "history", key: "a", chosen: { restore: 7 } }],
    ["#/history/a?to=x&restore=-1&other=2", { page: "history", key: "a", chosen: {} }],
    ["#/kv/%ff", { page: "wrong", why: "The key in this address is not percent-encoded UTF-8." }],
  ]) {
    test(`${hash || "without a hash"} is understood`, () => assert.deepEqual(targetOf(hash), target));
  }

  for (const key of ["doc/plan", "a?to=1", "100% #1 🦀", "a//b", "?", "é&restore=2"]) {
    test(`of the key ${key} names it again`, () => {
      assert.deepEqual(targetOf(hashOf(key)), { page: "entry", key });
      const chosen = { from: 1, to: 2 };
      assert.deepEqual(targetOf(historyHashOf(key, chosen)), { page: "history", key, chosen });
    });
  }
});

// What two sequences have in common.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { commonRuns } from "../sequence.js";

/** Checks that the runs are in order and in common. Returns how many items they have. */
function common(one, other) {
  let last = { from: 0, to: 0 };
  let count = 0;
  for (const { from, to, length } of commonRuns(one, other)) {
    assert.ok(length > 0 && from >= last.from && to >= last.to, "in order, without overlap");
    for (let index = 0; index < length; index += 1) assert.equal(one[from + index], other[to + index]);
    last = { from: from + length, to: to + length };
    count += length;
  }
  return count;
}

/** The length of the longest common subsequence. */
function longest(one, other) {
  let before = new Array(other.length + 1).fill(0);
  for (const item of one) {
    const row = [0];
    other.forEach((match, index) => {
      row.push(item === match ? before[index] + 1 : Math.max(row[index], before[index + 1]));
    });
    before = row;
  }
  return before[other.length];
}

describe("two sequences", () => {
  for (const [one, other, count] of [
    ["", "", 0],
    ["abc", "", 0],
    ["abc", "abc", 3],
    ["abc", "xyz", 0],
    ["abcabba", "cbabac", 4],
    ["aXbYc", "abc", 3],
    ["{a}{b}", "{a}{c}{b}", 6],
  ]) {
    test(`${one || "nothing"} and ${other || "nothing"} have ${count} in common`, () =>
      assert.equal(common([...one], [...other]), count));
  }

  test("of few kinds of items have as much in common as possible", () => {
    let state = 7;
    const random = (below) => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * below);
    };
    for (let round = 0; round < 300; round += 1) {
      const [one, other] = [random(30), random(30)].map((length) =>
        Array.from({ length }, () => "abc"[random(3)]),
      );
      // Anchors are not always on the longest list, but these have hardly any.
      const found = common(one, other);
      assert.ok(found <= longest(one, other));
      assert.ok(found >= 0.6 * longest(one, other), `${one.join("")} ${other.join("")}`);
    }
  });

  test("that are large and have nothing in common are given up soon", () => {
    const [one, other] = [1, -1].map((sign) =>
      Array.from({ length: 200_000 }, (_, index) => sign * (index % 50) - 1),
    );
    const began = performance.now();
    common(one, other);
    assert.ok(performance.now() - began < 5_000);
  });

  test("that are large are compared around what is unique", () => {
    const one = Array.from({ length: 100_000 }, (_, index) => index);
    const other = one.flatMap((item) => (item % 1000 === 0 ? [item, -item - 1] : [item]));
    other.splice(50_000, 10);
    assert.equal(common(one, other), 100_000 - 10);
  });
});

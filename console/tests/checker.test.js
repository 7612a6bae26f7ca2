// Whether a text is JSON, while it is being typed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as tick } from "node:timers/promises";
import { Checker, LARGE_TEXT } from "../checker.js";

const large = (end) => `["${"x".repeat(LARGE_TEXT)}"${end}`;

/** A checker, and a function that waits for its next result. */
function newChecker() {
  let onResult;
  const checker = new Checker(() => onResult());
  const next = () =>
    new Promise((resolve) => {
      onResult = resolve;
    });
  return { checker, next };
}

test("a small text is checked at once", () => {
  const { checker } = newChecker();
  assert.equal(checker.problemOf("[1]"), null);
  assert.equal(checker.problemOf("[1").column, 3);
});

test("a large text is checked in the background", async () => {
  const { checker, next } = newChecker();
  const result = next();
  assert.equal(checker.problemOf(large("")), undefined);
  await result;
  assert.equal(checker.problemOf(large("")).reason, "a comma or ] is expected");
});

test("a result for an outdated text is ignored", async () => {
  let results = 0;
  const checker = new Checker(() => {
    results += 1;
  });
  assert.equal(checker.problemOf(large("")), undefined);
  assert.equal(checker.problemOf(large("]")), undefined);
  while (results === 0) await tick();
  await tick();
  assert.equal(results, 1);
  assert.equal(checker.problemOf(large("]")), null);
});

test("a result that is already known is not computed again", () => {
  const { checker } = newChecker();
  checker.setResult(large("]"), null);
  assert.equal(checker.problemOf(large("]")), null);
});

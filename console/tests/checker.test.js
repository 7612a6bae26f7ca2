// Whether a text is JSON, while it is being typed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate as tick } from "node:timers/promises";
import { LARGE_TEXT, Verdict } from "../checker.js";

const large = (end) => `["${"x".repeat(LARGE_TEXT)}"${end}`;

/** A verdict, and a function that waits until it knows more. */
function newVerdict() {
  let known;
  const verdict = new Verdict(() => known());
  const next = () =>
    new Promise((resolve) => {
      known = resolve;
    });
  return { verdict, next };
}

test("a small text is checked at once", () => {
  const { verdict } = newVerdict();
  assert.equal(verdict.of("[1]"), null);
  assert.equal(verdict.of("[1").column, 3);
});

test("a large text is checked in the background", async () => {
  const { verdict, next } = newVerdict();
  const known = next();
  assert.equal(verdict.of(large("")), undefined);
  await known;
  assert.equal(verdict.of(large("")).reason, "a comma or ] is expected");
});

test("a result for an outdated text is ignored", async () => {
  let told = 0;
  const verdict = new Verdict(() => {
    told += 1;
  });
  assert.equal(verdict.of(large("")), undefined);
  assert.equal(verdict.of(large("]")), undefined);
  while (told === 0) await tick();
  await tick();
  assert.equal(told, 1);
  assert.equal(verdict.of(large("]")), null);
});

test("a result that is already known is not computed again", () => {
  const { verdict } = newVerdict();
  verdict.learn(large("]"), null);
  assert.equal(verdict.of(large("]")), null);
});

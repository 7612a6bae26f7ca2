// The merge, tested with the same vectors as that of the service.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { compact, parse } from "../json.js";
import { differences, merge, mergeWith } from "../merge.js";

const vectors = parse(readFileSync(new URL("../../tests/vectors/merge.json", import.meta.url), "utf8"));
const text = (tree) => (tree === undefined ? "absent" : compact(tree));

describe("every vector of the merge", () => {
  test("is read", () => assert.ok(vectors.length > 40));

  for (const vector of vectors) {
    test(vector.get("what"), () => {
      const { merged, overlaps } = merge(vector.get("base"), vector.get("mine"), vector.get("theirs"));
      if (vector.has("overlaps")) {
        assert.equal(compact(overlaps.map((overlap) => overlap.pointer)), compact(vector.get("overlaps")));
      } else {
        assert.equal(overlaps, undefined);
        // Texts, because the order of members counts here.
        assert.equal(text(merged), text(vector.get("merged")));
      }
    });
  }
});

test("an overlap has the values of all three sides", () => {
  const { overlaps } = merge(parse('{"a":1}'), parse('{"a":2}'), parse("{}"));
  const [{ pointer, base, mine, theirs }] = overlaps;
  assert.deepEqual([pointer, compact(base), compact(mine), theirs], ["/a", "1", "2", undefined]);
});

test("a choice replaces an overlap, and undefined removes it", () => {
  const [base, mine, theirs] = ['{"a":1,"b":1}', '{"a":2,"b":2}', '{"a":3,"b":3}'].map((one) => parse(one));
  const merged = mergeWith(base, mine, theirs, ({ pointer, mine }) => (pointer === "/a" ? mine : undefined));
  assert.equal(compact(merged), '{"a":2}');
});

test("differences are listed by pointer", () => {
  const found = differences(parse('{"a":{"x":1,"y":[2]},"b":1}'), parse('{"a":{"x":1,"y":[3]},"c":1}'));
  const told = found.map(({ pointer, from, to }) => [pointer, text(from), text(to)]);
  assert.deepEqual(told, [
    ["/a/y", "[2]", "[3]"],
    ["/c", "absent", "1"],
    ["/b", "1", "absent"],
  ]);
  assert.deepEqual(differences(parse("[1]"), parse("[1]")), []);
  assert.equal(differences(parse("1"), parse("{}"))[0].pointer, "");
});

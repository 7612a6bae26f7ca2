// The difference between two values, as two columns.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compare, folded, prettyLines, rowsOf, unfolded } from "../diff.js";
import { parse, pretty } from "../json.js";
import { changedWords } from "../words.js";

/** A row as one text: what is changed in brackets. */
function shown({ kind, from, to, text }) {
  if (kind === "fold") return `fold ${from} ${to} ${text.split("\n").length}`;
  const side = (content) =>
    content === undefined
      ? ""
      : `${content.line}:${content.parts.map(([part, isMarked]) => (isMarked ? `[${part}]` : part)).join("")}`;
  return `${kind} ${side(from)} | ${side(to)}`;
}

const rows = (from, to) => compare(from, to).rows.map(shown);

describe("two values", () => {
  test("are compared line by line, and within a line by words", () => {
    assert.deepEqual(rows('{"title":"The old plan","n":1}', '{"title":"The new plan","n":1}'), [
      "same 1:{ | 1:{",
      'changed 2:  "title": "The [old] plan", | 2:  "title": "The [new] plan",',
      'same 3:  "n": 1 | 3:  "n": 1',
      "same 4:} | 4:}",
    ]);
  });

  test("a comma that a new member needs is no change", () => {
    assert.deepEqual(rows('{"a":1}', '{"a":1,"b":2}'), [
      "same 1:{ | 1:{",
      'same 2:  "a": 1 | 2:  "a": 1,',
      'added  | 3:  "b": 2',
      "same 3:} | 4:}",
    ]);
  });

  test("a member is compared with the one of the same name", () => {
    const { counts } = compare('{"a":1,"b":2,"c":3}', '{"x":9,"a":10,"c":30}');
    assert.deepEqual(counts, { changed: 2, added: 1, removed: 1 });
  });

  test("numbers keep their digits", () => {
    const changed = rows('{"n":1.0}', '{"n":1.00}').filter((row) => row.startsWith("changed"));
    assert.deepEqual(changed, ['changed 2:  "n": [1.0] | 2:  "n": [1.00]']);
  });

  test("that are equal have no rows", () => assert.deepEqual(compare("[1]", "[1]"), { kind: "same" }));

  test("one that is missing is all added, or all removed", () => {
    assert.deepEqual(compare(null, '{"a":1}').counts, { changed: 0, added: 3, removed: 0 });
    assert.deepEqual(compare('{"a":1}', null).counts, { changed: 0, added: 0, removed: 3 });
    assert.deepEqual(compare(null, null), { kind: "same" });
  });

  test("what is far from a change is folded, and can be unfolded", () => {
    const list = (changed) =>
      JSON.stringify(Array.from({ length: 100 }, (_, index) => (index === 50 ? changed : index)));
    const { rows: result } = compare(list("x"), list("y"));
    const [before, after] = result.filter((row) => row.kind === "fold");
    assert.deepEqual([result.length, shown(before), shown(after)], [9, "fold 1 1 48", "fold 56 56 47"]);
    assert.equal(shown(unfolded(before)[1]), "same 2:  0, | 2:  0,");
    assert.equal(unfolded(after).at(-1).to.line, 102);
  });

  test("a fold would not hide one line only", () => {
    const same = rowsOf(["a", "b", "c"], ["a", "b", "c"]);
    assert.equal(folded([...same, { kind: "added", to: { line: 4, parts: [] } }], 1).length, 4);
  });

  test("every line of both is in the rows, in order", () => {
    const from = pretty(parse('{"a":[1,2,{"x":"y"}],"b":{},"c":"text","d":[[],[{}]]}')).split("\n");
    const to = pretty(parse('{"c":"other text","a":[2,{"x":"z","w":null}],"d":[[],[{"q":1}],7]}')).split(
      "\n",
    );
    const result = rowsOf(from, to);
    for (const [name, lines] of [
      ["from", from],
      ["to", to],
    ]) {
      const sides = result.map((row) => row[name]).filter((side) => side !== undefined);
      assert.deepEqual(
        sides.map(({ parts }) => parts.map(([text]) => text).join("")),
        lines,
      );
      assert.deepEqual(
        sides.map(({ line }) => line),
        lines.map((_, index) => index + 1),
      );
    }
  });
});

describe("large values", () => {
  const large = (change) =>
    JSON.stringify(
      Object.fromEntries(
        Array.from({ length: 12_000 }, (_, index) => [
          `member-${index}`,
          { name: index === 6_000 ? change : `name ${index}`, list: [1, 2, "x"], done: false },
        ]),
      ),
    );

  test("are compared in bounded time, and passed on as a few rows", () => {
    const began = performance.now();
    const { rows: result, counts } = compare(large("mine"), large("yours"));
    assert.deepEqual(counts, { changed: 1, added: 0, removed: 0 });
    assert.equal(result.length, 9);
    assert.ok(performance.now() - began < 10_000);
  });

  test("with nothing in common are still compared in bounded time", () => {
    const [from, to] = [0, 1].map((offset) =>
      JSON.stringify(Array.from({ length: 110_000 }, (_, index) => `${offset}-${(index * 7919) % 10_007}`)),
    );
    const began = performance.now();
    const { rows: result, omitted, counts } = compare(from, to);
    assert.deepEqual([counts.changed, result.length, omitted], [110_000, 20_000, 90_002]);
    assert.ok(performance.now() - began < 20_000);
  });

  test("of too many lines are shown with several members in a line", () => {
    const list = (last) => `[${"1,".repeat(130_000)}${last}]`;
    const { isCoarse, counts } = compare(list(1), list(2));
    assert.ok(isCoarse);
    assert.equal(counts.changed, 1);
    assert.equal(compare("1", "2").isCoarse, false);
  });

  test("of too many characters are not compared", () => {
    assert.deepEqual(compare(`"${"x".repeat(13_000_000)}"`, "1"), { kind: "large" });
  });

  test("are not printed beyond the limit", () => {
    const deep = parse(`${"[1,".repeat(100)}1${"]".repeat(100)}`);
    assert.equal(prettyLines(deep).join("\n"), pretty(deep));
    assert.equal(prettyLines(deep, 100), undefined);
    assert.equal(prettyLines(deep, 1_000, 1_000), undefined);
  });
});

describe("words", () => {
  const marked = (from, to) => {
    const words = changedWords(from, to);
    const show = (parts) => parts.map(([text, isMarked]) => (isMarked ? `[${text}]` : text)).join("");
    return [show(words.from), show(words.to)];
  };
  for (const [what, from, to, expected] of [
    ["added", '"a b"', '"a b c"', ['"a b"', '"a b[ c]"']],
    ["of any script", '"naïve café"', '"naïve thé"', ['"naïve [café]"', '"naïve [thé]"']],
    [
      "that are escapes stay whole",
      '"one\\ntwo three"',
      '"one\\ttwo three"',
      ['"one[\\n]two three"', '"one[\\t]two three"'],
    ],
    [
      "after the name of a member",
      '  "a:b": "x y z"',
      '  "a:b": "x w z"',
      ['  "a:b": "x [y] z"', '  "a:b": "x [w] z"'],
    ],
    [
      "with little in common are marked as a whole",
      '"abcdef ghijkl"',
      '"mnopqr stuvwx"',
      ['["abcdef ghijkl"]', '["mnopqr stuvwx"]'],
    ],
    ["under another name are marked as a whole", '"a": 1', '"b": 1', ['["a": 1]', '["b": 1]']],
  ]) {
    test(`${what}`, () => assert.deepEqual(marked(from, to), expected));
  }

  test("a very long line is marked as a whole", () => {
    const [from] = marked(`"${"a ".repeat(20_000)}"`, `"${"a ".repeat(20_000)}b"`);
    assert.ok(from.startsWith("["));
  });
});

test("the comma after a value is not marked", () => {
  assert.deepEqual(changedWords("  1,", "  2"), {
    from: [
      ["  ", false],
      ["1", true],
      [",", false],
    ],
    to: [
      ["  ", false],
      ["2", true],
    ],
  });
});

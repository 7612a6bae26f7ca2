// How the console parses, formats and compares JSON.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  child,
  compact,
  compactStart,
  formatted,
  isWellFormed,
  onOneLine,
  parse,
  parseOrNothing,
  parseTyped,
  pretty,
  prettyWithPlaces,
  problemOf,
  SyntaxProblem,
  same,
} from "../json.js";

const nested = (levels) => "[".repeat(levels) + "]".repeat(levels);

describe("parsing and printing keep", () => {
  const texts = [
    "12345678901234567890123.4500",
    "1e400",
    "1E+2",
    "1e-7",
    "-0.0",
    "-0",
    "1.0",
    "null",
    "true",
    "false",
    '{"b":1,"a":2}',
    '{"2":0,"1":0}',
    '{"__proto__":{"a":1},"constructor":1}',
    "{}",
    "[]",
    '["\\u0000é\\"\\\\"]',
    '"🦀"',
    '""',
    '{"":{"":[]}}',
  ];
  for (const text of texts) {
    test(`${text} in every format`, () => {
      assert.equal(compact(parse(text)), text);
      assert.equal(compact(parse(pretty(parse(text)))), text);
      assert.equal(compact(parse(formatted(parse(text)))), text);
    });
  }

  test("a surrogate pair of escapes as one character", () => assert.equal(parse('"\\ud83e\\udd80"'), "🦀"));

  test("every short escape", () =>
    assert.equal(parse('"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041"'), '"\\/\b\f\n\r\tA'));

  test("128 levels of nesting", () => assert.equal(compact(parse(nested(128))), nested(128)));

  test("the last value of a repeated member, at the position of the first", () => {
    assert.equal(compact(parse('{"a":1,"b":2,"\\u0061":3}')), '{"a":3,"b":2}');
  });
});

describe("invalid JSON is refused with line and column", () => {
  const refused = [
    ["", 1, 1],
    ['{\n  "a": tru\n}', 2, 8],
    ["[1,]", 1, 4],
    ["1 2", 1, 3],
    ["[1", 1, 3],
    ["[1 2]", 1, 4],
    ['["ü🦀",\r\n"ü🦀" x]', 2, 6],
    [nested(129), 1, 129],
    ["\u00a01", 1, 1],
    ["\ufeff1", 1, 1],
    ['"\\ud800"', 1, 1],
    ['["\\udc00\\ud800"]', 1, 2],
    ['"\ud800"', 1, 1],
    ['"\\ud83ex\\udd80"', 1, 1],
    ["01", 1, 1],
    ["1.", 1, 1],
    ["+1", 1, 1],
    [".5", 1, 1],
    ["-", 1, 1],
    ["1e", 1, 1],
    ["NaN", 1, 1],
    ["'a'", 1, 1],
    ['"a\nb"', 1, 3],
    ['"\\x"', 1, 2],
    ['"\\u12g4"', 1, 2],
    ['"abc', 1, 1],
    ['{"a" 1}', 1, 6],
    ["{a:1}", 1, 2],
    ['{"a":1,}', 1, 8],
    ['{"a":}', 1, 6],
    ["}", 1, 1],
  ];
  for (const [text, line, column] of refused) {
    test(`${JSON.stringify(text.slice(0, 20))} at line ${line} column ${column}`, () => {
      assert.throws(
        () => parse(text),
        (problem) => {
          assert.ok(problem instanceof SyntaxProblem);
          assert.deepEqual([problem.line, problem.column], [line, column]);
          assert.ok(problem.message.endsWith(`, at line ${line} column ${column}`));
          return true;
        },
      );
      assert.equal(problemOf(text).line, line);
      assert.equal(parseOrNothing(text), undefined);
    });
  }

  test("an invisible character is named", () => {
    assert.match(problemOf("\ufeff1").reason, /U\+FEFF \(a byte order mark\)/);
    assert.match(problemOf("1\u0000").reason, /U\+0000/);
    assert.match(problemOf("1 \u200b").reason, /U\+200B/);
    assert.match(problemOf("1 2").reason, /but 2 does/);
  });

  test("the offset for the caret is in UTF-16 units", () => {
    assert.equal(problemOf('["🦀" x]').offset, 6);
  });
});

describe("a repeated member is a problem in typed text, because one value would be lost", () => {
  const typed = [
    ['{"x":1,"x":2}', 8, "x"],
    ['[{"a":{"b":1,"\\u0062":2}}]', 14, "b"],
    ['{"__proto__":1,"__proto__":1}', 16, "__proto__"],
    ['{"":1,"":2}', 7, ""],
  ];
  for (const [text, column, name] of typed) {
    test(text, () => {
      const problem = problemOf(text);
      assert.deepEqual([problem.line, problem.column], [1, column]);
      assert.ok(problem.reason.includes(JSON.stringify(name)));
    });
  }

  test("the same name in two objects is no problem", () => {
    for (const text of ['[{"a":1},{"a":1}]', '{"a":{"a":1},"b":{"a":1}}']) {
      assert.equal(problemOf(text), null);
      assert.equal(compact(parseTyped(text)), text);
    }
  });
});

describe("the text in the editor", () => {
  test("is indented by two spaces", () => {
    const text = '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}';
    assert.equal(pretty(parse('{"a":[1,{}],"b":[]}')), text);
    assert.equal(formatted(parse('{"a":[1,{}],"b":[]}')), text);
  });

  test("of a large value has few lines, and they are not long", () => {
    const items = Array.from({ length: 20_000 }, (_, index) => `{"n":${index}.0,"a":[1,"é🦀",{}]}`);
    const table = `[${items.join(",")},"${"x".repeat(1_000)}",{"o":{"a":[]}}]`;
    const text = formatted(parse(table));
    const lines = text.split("\n");
    assert.ok(lines.length < 4_000, `${lines.length} lines`);
    assert.equal(lines.filter((line) => line.length > 260).length, 1);
    assert.equal(compact(parse(text)), table);
  });

  test("comes with the lines of each member", () => {
    const tree = parse('{"a":{"b":[1,2],"c/d":3},"e~":{}}');
    const { text, places } = prettyWithPlaces(tree);
    assert.equal(text, pretty(tree));
    assert.deepEqual(Object.fromEntries(places), {
      "": [0, 9],
      "/a": [1, 7],
      "/a/b": [2, 5],
      "/a/c~1d": [6, 6],
      "/e~0": [8, 8],
    });
  });
});

describe("a shortened value", () => {
  test("is on one line if that fits", () => {
    const tree = parse('{"a":[1,"x"],"b":null}');
    const line = '{"a": [1, "x"], "b": null}';
    assert.equal(onOneLine(tree, line.length), line);
    assert.equal(onOneLine(tree, line.length - 1), undefined);
    assert.equal(onOneLine("x".repeat(50), 20), undefined);
  });

  test("starts like the whole value", () => {
    for (const text of ['{"a":[1,"xyz"],"b":null}', "[[],{},[1]]", "12345", "null"]) {
      for (let characters = 1; characters <= text.length; characters += 1) {
        const start = compactStart(parse(text), characters);
        assert.ok(start.length >= characters, `${start} has ${characters}`);
        assert.equal(start.slice(0, characters), text.slice(0, characters));
      }
    }
  });

  test("is made without printing the rest", () => {
    const tree = parse(`[${"1,".repeat(100_000)}1]`);
    assert.ok(compactStart(tree, 20).length < 40);
  });
});

test("numbers are compared by their digits, objects without the order of members", () => {
  assert.ok(same(parse('{"a":1,"b":[2]}'), parse('{"b":[2],"a":1}')));
  for (const [one, other] of [
    ["1", "1.0"],
    ["1", '"1"'],
    ["[1,2]", "[2,1]"],
    ["[1]", "[1,1]"],
    ["{}", "[]"],
    ["null", "false"],
    ['{"a":1}', '{"a":2}'],
    ['{"a":1}', '{"b":1}'],
    ['{"a":1}', '{"a":1,"b":1}'],
  ]) {
    assert.ok(!same(parse(one), parse(other)), `${one} and ${other}`);
    assert.ok(!same(parse(other), parse(one)), `${other} and ${one}`);
  }
});

test("a JSON Pointer escapes ~ and /", () => assert.equal(child("/a", "b~/c"), "/a/b~0~1c"));

test("an unpaired surrogate is found", () => {
  for (const text of ["\ud800", "\udc00", "a\udc00\ud800", "\ud83ex\udd80"]) assert.ok(!isWellFormed(text));
  for (const text of ["", "🦀", "a🦀b"]) assert.ok(isWellFormed(text));
});

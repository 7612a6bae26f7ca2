// Every vector of the merge; and what the console's JSON takes and refuses.
import { readFileSync } from "node:fs";
import { compact, formatted, parse, parseTyped, pretty, problemOf, same } from "../../../console/json.js";
import { differences, merge } from "../../../console/merge.js";

const finding = (what, holds) => console.log(holds ? "ok" : "not ok", what);

const vectors = parse(readFileSync(new URL("../../vectors/merge.json", import.meta.url), "utf8"));
finding(`there are vectors, ${vectors.length}`, vectors.length > 40);
for (const vector of vectors) {
  const { merged, overlaps } = merge(vector.get("base"), vector.get("mine"), vector.get("theirs"));
  // Texts, because the order of members counts here.
  const result = overlaps ? compact(overlaps.map((overlap) => overlap.pointer)) : text(merged);
  finding(`merge: ${vector.get("what")}`, result === text(vector.get("overlaps") ?? vector.get("merged")));
}

function text(tree) {
  return tree === undefined ? "absent" : compact(tree);
}

for (const kept of [
  "12345678901234567890123.4500",
  "1e400",
  "1E+2",
  "1e-7",
  "-0.0",
  "-0",
  "1.0",
  '{"b":1,"a":2}',
  '{"2":0,"1":0}',
  '{"__proto__":{"a":1},"constructor":1}',
  '["\\u0000é\\"\\\\"]',
  '"🦀"',
  "{}",
  "[]",
  '""',
  "null",
]) {
  finding(
    `json: ${kept} survives`,
    compact(parse(kept)) === kept && compact(parse(pretty(parse(kept)))) === kept,
  );
}
finding(
  "json: of a repeated member the last wins",
  compact(parse('{"a":1,"b":2,"\\u0061":3}')) === '{"a":3,"b":2}',
);
finding("json: a pair of escapes is one character", parse('"\\ud83e\\udd80"') === "🦀");
finding(
  "json: indented by two",
  pretty(parse('{"a":[1,{}],"b":[]}')) === '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": []\n}',
);
for (const [typed, column, name] of [
  ['{"x":1,"x":2}', 8, "x"],
  ['[{"a":{"b":1,"\\u0062":2}}]', 14, "b"],
  ['{"__proto__":1,"__proto__":1}', 16, "__proto__"],
  ['{"":1,"":2}', 7, ""],
]) {
  const problem = problemOf(typed);
  finding(
    `json: ${typed} is a slip where it is typed: ${problem?.reason}`,
    problem?.line === 1 && problem.column === column && problem.reason.includes(JSON.stringify(name)),
  );
}
for (const typed of ['[{"a":1},{"a":1}]', '{"a":{"a":1},"b":{"a":1}}'])
  finding(`json: ${typed} is not`, compact(parseTyped(typed)) === typed);
for (const [typed, words] of [
  ["\ufeff1", "U+FEFF (a byte order mark)"],
  ["1\u0000", "U+0000"],
  ["1 \u200b", "U+200B"],
  ["1 2", "but 2 does"],
]) {
  finding(
    `json: what cannot be seen is named: ${problemOf(typed)?.reason}`,
    problemOf(typed)?.reason.includes(words),
  );
}
const table = `[${Array.from({ length: 20_000 }, (_, index) => `{"n":${index}.0,"a":[1,"é🦀",{}]}`).join(",")},"${"x".repeat(1_000)}",{"o":{"a":[]}}]`;
const lines = formatted(parse(table)).split("\n");
finding(
  `json: a large value has few lines, ${lines.length}, and says the same`,
  lines.length < 4_000 && compact(parse(formatted(parse(table)))) === table,
);
finding("json: most of them not long", lines.filter((line) => line.length > 260).length === 1);
finding("json: order of members is no difference", same(parse('{"a":1,"b":2}'), parse('{"b":2,"a":1}')));

const nested = (levels) => "[".repeat(levels) + "]".repeat(levels);
finding("json: 128 levels", compact(parse(nested(128))) === nested(128));
for (const [bad, line, column] of [
  ["", 1, 1],
  ['{\n  "a": tru\n}', 2, 8],
  ["[1,]", 1, 4],
  ["1 2", 1, 3],
  ["[1", 1, 3],
  ['["ü🦀",\r\n"ü🦀" x]', 2, 6],
  [nested(129), 1, 129],
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
  ['{"a" 1}', 1, 6],
  ["{a:1}", 1, 2],
  ['{"a":1,}', 1, 8],
  ['"abc', 1, 1],
  ["\u00a01", 1, 1],
  ["[1 2]", 1, 4],
  ["\ufeff1", 1, 1],
]) {
  let found = null;
  try {
    parse(bad);
  } catch (problem) {
    found = problem;
  }
  const place = `line ${line} column ${column}`;
  finding(
    `json: ${JSON.stringify(bad.slice(0, 20))} is refused at ${place}: ${found?.reason}`,
    found?.line === line && found?.column === column,
  );
}

const changes = differences(parse('{"a":{"x":1,"y":2},"b":1}'), parse('{"a":{"x":1,"y":3},"c":1}'));
finding("differences are told by path", changes.map((change) => change.pointer).join() === "/a/y,/c,/b");

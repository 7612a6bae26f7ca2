// The difference between two values, line by line, as two columns. Nothing here knows the page: a worker does it for
// large values.

import { compact, formatted, parse } from "./json.js";
import { commonRuns } from "./sequence.js";
import { changedWords, labelOf } from "./words.js";

/** Above this, a value is shown with several members in a line. */
const MOST_LINES = 120_000;
/** Values of more characters in all are not compared. In UTF-16 units. */
const MOST_CHARACTERS = 12_000_000;
/** How many lines around a change are shown. */
const CONTEXT_LINES = 3;
/** How many rows there are at the most, with folds: passing on more would make the page wait. */
const MOST_ROWS = 20_000;
/** In how many lines changed words are marked; the lines after that are marked as a whole. */
const MOST_MARKED = 2_000;

/**
 * Compares two values, compact JSON or null for none. Returns {kind: "same"}, {kind: "large"} if they are too large, or
 * {kind: "rows", rows, omitted, counts, isCoarse}: how many rows are omitted at the end, the counts of lines
 * {changed, added, removed}, and isCoarse if lines have several members.
 *
 * A row is {kind, from, to}: "same", "changed", "removed" (without `to`) or "added" (without `from`), and a side is
 * {line, parts}, of which `line` counts from 1 and the parts are those of words.js. A row
 * {kind: "fold", from, to, text} stands for lines that are the same; from and to are the first lines.
 */
export function compare(from, to) {
  if (from === to) return { kind: "same" };
  if ((from?.length ?? 0) + (to?.length ?? 0) > MOST_CHARACTERS) return { kind: "large" };
  const trees = [from, to].map((text) => (text === null ? null : { tree: parse(text) }));
  let sides = trees.map((side) => (side === null ? [] : prettyLines(side.tree)));
  const isCoarse = sides.includes(undefined);
  if (isCoarse) sides = trees.map((side) => (side === null ? [] : formatted(side.tree).split("\n")));
  const rows = rowsOf(...sides);
  const counts = { changed: 0, added: 0, removed: 0 };
  for (const { kind } of rows) if (kind in counts) counts[kind] += 1;
  const all = folded(rows);
  const omitted = Math.max(0, all.length - MOST_ROWS);
  return { kind: "rows", rows: all.slice(0, MOST_ROWS), omitted, counts, isCoarse };
}

/** The lines of the pretty text, or undefined if it has too many. */
export function prettyLines(tree, mostLines = MOST_LINES, mostCharacters = MOST_CHARACTERS) {
  const lines = [];
  let room = mostCharacters;
  const write = (start, part, indent, end) => {
    const isArray = Array.isArray(part);
    const isNested = isArray ? part.length > 0 : part instanceof Map && part.size > 0;
    const add = (line) => {
      lines.push(line);
      room -= line.length;
      return lines.length <= mostLines && room >= 0;
    };
    if (!isNested) return add(`${start}${compact(part)}${end}`);
    if (!add(`${start}${isArray ? "[" : "{"}`)) return false;
    const inner = `${indent}  `;
    let left = isArray ? part.length : part.size;
    for (const [name, member] of isArray ? part.entries() : part) {
      left -= 1;
      const before = isArray ? inner : `${inner}${JSON.stringify(name)}: `;
      if (!write(before, member, inner, left > 0 ? "," : "")) return false;
    }
    return add(`${indent}${isArray ? "]" : "}"}${end}`);
  };
  return write("", tree, "", "") ? lines : undefined;
}

/** Pairs the lines of two texts. */
export function rowsOf(from, to) {
  const [left, right] = numbered(from.map(withoutComma), to.map(withoutComma));
  const rows = [];
  const at = { from: 0, to: 0, marks: 0 };
  const same = (count) => {
    for (let index = 0; index < count; index += 1)
      rows.push({ kind: "same", from: whole(from, at.from++), to: whole(to, at.to++) });
  };
  for (const run of [...commonRuns(left, right), { from: from.length, to: to.length, length: 0 }]) {
    const gap = { from: from.slice(at.from, run.from), to: to.slice(at.to, run.to) };
    addGap(rows, gap, at);
    Object.assign(at, { from: run.from, to: run.to });
    same(run.length);
  }
  return rows;
}

// A line that is the last of its parent has no comma, but says the same.
const withoutComma = (line) => (line.endsWith(",") ? line.slice(0, -1) : line);

const whole = (lines, index) => ({ line: index + 1, parts: [[lines[index], false]] });

// Numbers are compared faster than long texts.
function numbered(...lists) {
  const numbers = new Map();
  return lists.map((list) =>
    list.map((item) => {
      const known = numbers.get(item);
      if (known !== undefined) return known;
      numbers.set(item, numbers.size);
      return numbers.size - 1;
    }),
  );
}

// Adds what is between two runs in common. Lines about the same member are one row.
function addGap(rows, gap, start) {
  const at = { from: 0, to: 0 };
  const [left, right] = numbered(gap.from.map(labelInGap), gap.to.map(labelInGap));
  const side = (name) => ({ line: start[name] + at[name] + 1, text: gap[name][at[name]++] });
  const alone = (name, end, kind) => {
    while (at[name] < end) {
      const { line, text } = side(name);
      rows.push({ kind, [name]: { line, parts: [[text, false]] } });
    }
  };
  const runs = gap.from.length > 0 && gap.to.length > 0 ? commonRuns(left, right) : [];
  for (const run of [...runs, { from: gap.from.length, to: gap.to.length, length: 0 }]) {
    alone("from", run.from, "removed");
    alone("to", run.to, "added");
    for (let index = 0; index < run.length; index += 1) rows.push(pairRow(side("from"), side("to"), start));
  }
}

// A bracket has no name, and belongs to another bracket rather than to a value.
function labelInGap(line) {
  const label = labelOf(line);
  const rest = withoutComma(line.slice(label.length));
  return /^[[\]{}]$/.test(rest) ? `${label}${rest}` : label;
}

function pairRow(from, to, start) {
  if (withoutComma(from.text) === withoutComma(to.text)) {
    const [left, right] = [from, to].map(({ line, text }) => ({ line, parts: [[text, false]] }));
    return { kind: "same", from: left, to: right };
  }
  start.marks += 1;
  const parts =
    start.marks <= MOST_MARKED
      ? changedWords(from.text, to.text)
      : { from: [[from.text, true]], to: [[to.text, true]] };
  return {
    kind: "changed",
    from: { line: from.line, parts: parts.from },
    to: { line: to.line, parts: parts.to },
  };
}

/** The same with lines that are far from any change as folds. */
export function folded(rows, context = CONTEXT_LINES) {
  const result = [];
  let index = 0;
  while (index < rows.length) {
    let end = index;
    while (end < rows.length && rows[end].kind === "same") end += 1;
    if (end > index) result.push(...foldedRun(rows.slice(index, end), index > 0, end < rows.length, context));
    if (end < rows.length) result.push(rows[end]);
    index = end + 1;
  }
  return result;
}

function foldedRun(run, hasBefore, hasAfter, context) {
  const head = hasBefore ? context : 0;
  const tail = hasAfter ? context : 0;
  // A fold of one or two lines would take as much room as they do.
  if (run.length <= head + tail + 2) return run;
  const inner = run.slice(head, run.length - tail);
  const fold = {
    kind: "fold",
    from: inner[0].from.line,
    to: inner[0].to.line,
    // One string is passed from a worker much faster than thousands of objects.
    text: inner.map((row) => row.to.parts[0][0]).join("\n"),
  };
  return [...run.slice(0, head), fold, ...run.slice(run.length - tail)];
}

/** The rows that a fold stands for. */
export function unfolded({ from, to, text }) {
  return text.split("\n").map((line, index) => ({
    kind: "same",
    from: { line: from + index, parts: [[line, false]] },
    to: { line: to + index, parts: [[line, false]] },
  }));
}

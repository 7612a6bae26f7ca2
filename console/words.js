// What two lines of JSON have in common, by words.

import { commonRuns } from "./sequence.js";

/** A longer line is marked as a whole. In UTF-16 units. */
const LONGEST_LINE = 20_000;
/** Lines with a smaller part in common are different as a whole: single words in common only confuse. */
const LEAST_IN_COMMON = 0.25;

/** The indent and the name of a member at the start of a line. */
const LABEL = /^ *(?:"(?:[^"\\]|\\.)*": )?/;
/** An escape, white space, a word or a number, or any other character. */
const WORD = /\\(?:u[0-9a-fA-F]{4}|.)|\s+|[\p{L}\p{M}\p{N}_]+(?:\.\p{N}+)*|./gsu;

/** What comes before the value in a line of pretty JSON: lines with the same label are about the same member. */
export function labelOf(line) {
  return LABEL.exec(line)[0];
}

/**
 * Two lines as lists of parts, {from, to}. A part is [text, isChanged], and the texts of a list make up the line. The
 * label is changed only if the two have others, and the comma that follows a value never.
 */
export function changedWords(from, to) {
  const label = labelOf(from);
  if (labelOf(to) !== label) return { from: [[from, true]], to: [[to, true]] };
  const commas = [from, to].map((line) => (line.endsWith(",") ? "," : ""));
  const values = [from, to].map((line, side) => line.slice(label.length, line.length - commas[side].length));
  const parts = partsOf(...values) ?? values.map((value) => [[value, true]]);
  const [left, right] = parts.map((list, side) =>
    [[label, false], ...list, [commas[side], false]].filter(([text]) => text !== ""),
  );
  return { from: left, to: right };
}

function partsOf(from, to) {
  if (Math.max(from.length, to.length) > LONGEST_LINE) return undefined;
  const [left, right] = [from.match(WORD) ?? [], to.match(WORD) ?? []];
  const runs = commonRuns(left, right);
  const common = runs.map((run) => left.slice(run.from, run.from + run.length).join(""));
  const letters = common.join("").replace(/[^\p{L}\p{N}]/gu, "").length;
  if (letters < LEAST_IN_COMMON * Math.min(from.length, to.length)) return undefined;
  return [marked(left, runs, "from"), marked(right, runs, "to")];
}

function marked(words, runs, side) {
  const parts = [];
  let at = 0;
  const add = (end, isChanged) => {
    if (end > at) parts.push([words.slice(at, end).join(""), isChanged]);
    at = end;
  };
  for (const run of runs) {
    add(run[side], true);
    add(run[side] + run.length, false);
  }
  add(words.length, true);
  return parts;
}

// What two sequences have in common, with bounded work. Items are compared by ===.

/** The most insertions and deletions that are searched for between two anchors: the memory grows with its square. */
const MOST_CHANGES = 400;
/** How many comparisons there may be in all. What is left then counts as different. */
const MOST_STEPS = 3_000_000;

/**
 * The runs that two arrays have in common, in order: a list of {from, to, length}, of which `from` is an index in the
 * one and `to` in the other.
 *
 * Items that occur once in both are anchors, as in a patience diff; between them it is Myers' algorithm.
 */
export function commonRuns(one, other) {
  const search = { one, other, steps: MOST_STEPS, runs: [] };
  const waiting = [{ from: 0, fromEnd: one.length, to: 0, toEnd: other.length }];
  while (waiting.length > 0) {
    const inner = trimmed(search, waiting.pop());
    if (inner.from === inner.fromEnd || inner.to === inner.toEnd) continue;
    const anchors = anchorsIn(search, inner);
    if (anchors.length > 0) addGaps(search, inner, anchors, waiting);
    else searchChanges(search, inner);
  }
  return joined(search.runs);
}

// Takes what a range begins and ends with in both.
function trimmed({ one, other, runs }, { from, fromEnd, to, toEnd }) {
  let start = 0;
  const shorter = Math.min(fromEnd - from, toEnd - to);
  while (start < shorter && one[from + start] === other[to + start]) start += 1;
  let end = 0;
  while (end < shorter - start && one[fromEnd - end - 1] === other[toEnd - end - 1]) end += 1;
  if (start > 0) runs.push({ from, to, length: start });
  if (end > 0) runs.push({ from: fromEnd - end, to: toEnd - end, length: end });
  return { from: from + start, fromEnd: fromEnd - end, to: to + start, toEnd: toEnd - end };
}

// The longest list of items that occur once in both, in the order of both.
function anchorsIn(search, { from, fromEnd, to, toEnd }) {
  const { one, other } = search;
  search.steps -= fromEnd - from + (toEnd - to);
  if (search.steps < 0) return [];
  const seen = new Map();
  const note = (item, place, index) => {
    const entry = seen.get(item) ?? { item, from: -1, to: -1, isRepeated: false };
    entry.isRepeated ||= entry[place] >= 0;
    entry[place] = index;
    seen.set(item, entry);
  };
  for (let index = from; index < fromEnd; index += 1) note(one[index], "from", index);
  for (let index = to; index < toEnd; index += 1) if (seen.has(other[index])) note(other[index], "to", index);
  // A Map keeps the order of insertion, which is that of the first array.
  const candidates = [...seen.values()].filter((entry) => !entry.isRepeated && entry.to >= 0);
  return longestIncreasing(candidates);
}

function longestIncreasing(candidates) {
  const ends = [];
  for (const candidate of candidates) {
    let low = 0;
    let high = ends.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle].to < candidate.to) low = middle + 1;
      else high = middle;
    }
    candidate.before = ends[low - 1];
    ends[low] = candidate;
  }
  const list = [];
  for (let last = ends.at(-1); last !== undefined; last = last.before) list.push(last);
  return list.reverse();
}

// Takes the anchors. What is between them is still to be searched.
function addGaps({ runs }, { from, fromEnd, to, toEnd }, anchors, gaps) {
  let start = { from, to };
  for (const anchor of anchors) {
    runs.push({ from: anchor.from, to: anchor.to, length: 1 });
    gaps.push({ from: start.from, fromEnd: anchor.from, to: start.to, toEnd: anchor.to });
    start = { from: anchor.from + 1, to: anchor.to + 1 };
  }
  gaps.push({ from: start.from, fromEnd, to: start.to, toEnd });
}

// Myers, An O(ND) Difference Algorithm (1986): the shortest list of changes, if it is short enough.
function searchChanges(search, { from, fromEnd, to, toEnd }) {
  const { one, other } = search;
  const width = fromEnd - from;
  const height = toEnd - to;
  const most = Math.min(width + height, MOST_CHANGES);
  const furthest = new Int32Array(2 * most + 3);
  const center = most + 1;
  const trace = [];
  for (let changes = 0; changes <= most; changes += 1) {
    trace.push(furthest.slice(center - changes, center + changes + 1));
    for (let diagonal = -changes; diagonal <= changes; diagonal += 2) {
      const isDown =
        diagonal === -changes ||
        (diagonal !== changes && furthest[center + diagonal - 1] < furthest[center + diagonal + 1]);
      const start = isDown ? furthest[center + diagonal + 1] : furthest[center + diagonal - 1] + 1;
      let x = start;
      while (x < width && x - diagonal < height && one[from + x] === other[to + x - diagonal]) x += 1;
      furthest[center + diagonal] = x;
      search.steps -= x - start + 1;
      if (x >= width && x - diagonal >= height) {
        takeRuns(search, { from, to, width, height }, trace);
        return;
      }
    }
    if (search.steps < 0) return;
  }
}

// Follows the changes back from the end.
function takeRuns({ runs }, { from, to, width, height }, trace) {
  let x = width;
  let y = height;
  for (let changes = trace.length - 1; changes > 0 && (x > 0 || y > 0); changes -= 1) {
    // What was reached with one change less: the slice of a step begins at the diagonal -changes.
    const before = trace[changes];
    const at = (diagonal) => before[diagonal + changes];
    const diagonal = x - y;
    const isDown = diagonal === -changes || (diagonal !== changes && at(diagonal - 1) < at(diagonal + 1));
    const previous = isDown ? diagonal + 1 : diagonal - 1;
    const startX = at(previous);
    const afterChange = isDown ? startX : startX + 1;
    if (x > afterChange) {
      const length = x - afterChange;
      runs.push({ from: from + afterChange, to: to + afterChange - diagonal, length });
    }
    x = startX;
    y = startX - previous;
  }
  if (x > 0) runs.push({ from, to, length: x });
}

// In order, with neighbours as one.
function joined(runs) {
  const list = [];
  for (const run of runs.sort((left, right) => left.from - right.from)) {
    const last = list.at(-1);
    const isNext =
      last !== undefined && last.from + last.length === run.from && last.to + last.length === run.to;
    if (isNext) last.length += run.length;
    else list.push(run);
  }
  return list;
}

// The history of a key as a list of versions.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  countsInWords,
  hadEntryBefore,
  nameOf,
  pairOf,
  versionsOf,
  whatHappened,
  whyIncomplete,
  withNewest,
} from "../versions.js";

const put = (revision, version, more) => ({
  kind: "put",
  revision,
  version: String(version),
  etag: `"${version}-${revision}"`,
  ...more,
});
const gone = (revision, version) => ({ ...put(revision, version), kind: "delete" });

describe("what happened", () => {
  const events = [
    put(15, 1, { revertedFrom: 11 }),
    gone(14, 4),
    put(13, 4, { revertedFrom: 11 }),
    put(12, 3, { mergedWith: 11 }),
    put(11, 2),
    put(10, 1),
  ];
  const words = (list, before = null) => {
    const versions = versionsOf(list, before);
    return versions.map((version) => whatHappened(version, versions));
  };

  test("is said for each kind of event", () => {
    assert.deepEqual(words(events), [
      "brought back version 2",
      "deleted",
      "reverted to version 2",
      "merged with version 2",
      "changed",
      "created",
    ]);
  });

  test("is said without the version if that is not in the list", () => {
    assert.deepEqual(words(events.slice(0, 4)), [
      "brought back",
      "deleted",
      "reverted to an earlier version",
      "merged",
    ]);
  });

  test("is not known of the oldest version that is kept", () => {
    const before = { at: 11, entry: { ...put(2, 2), tree: null } };
    assert.deepEqual(words([put(12, 3)], before), ["changed", "saved"]);
    assert.equal(versionsOf([], before)[0].at, 11);
  });
});

test("there was an entry before each event but a creation", () => {
  assert.deepEqual([gone(3, 1), put(2, 2), put(1, 1)].map(hadEntryBefore), [true, true, false]);
});

describe("a newer page", () => {
  test("is put before what is known", () => {
    const known = { events: [put(5, 2), put(3, 1)], next: "3" };
    const page = { events: [put(7, 3), put(5, 2), put(3, 1)], next: null };
    const joined = withNewest(known, page);
    assert.deepEqual([joined.events.map((event) => event.revision), joined.next], [[7, 5, 3], "3"]);
  });

  test("replaces it if there may be something between", () => {
    const page = { events: [put(9, 5), put(8, 4)], next: "8" };
    assert.deepEqual(withNewest({ events: [put(5, 2)], next: null }, page), page);
    assert.deepEqual(withNewest({ events: [], next: null }, page), page);
  });
});

describe("what is compared", () => {
  const versions = versionsOf([gone(9, 2), put(7, 2), put(4, 1)], null);
  for (const [what, chosen, pair] of [
    ["the newest change, if nothing is chosen", {}, { from: 7, to: 9 }],
    ["a version with the one before it", { to: 7 }, { from: 4, to: 7 }],
    ["the oldest with what was before it", { to: 4 }, { from: 3, to: 4 }],
    ["any two", { from: 9, to: 4 }, { from: 9, to: 4 }],
    ["the current entry with what is to be restored", { restore: 4 }, { from: "current", to: 4 }],
    ["a revision of which nothing is known", { to: 30 }, { from: 29, to: 30 }],
  ]) {
    test(`is ${what}`, () => assert.deepEqual(pairOf(chosen, versions), pair));
  }

  test("is nothing if there is no version", () => assert.equal(pairOf({}, []), undefined));

  test("is the oldest version that is kept with itself", () => {
    const before = { at: 5, entry: put(2, 2) };
    assert.deepEqual(pairOf({ to: 5 }, versionsOf([], before)), { from: 5, to: 5 });
  });
});

test("a version is called by its number", () => {
  const current = put(7, 3);
  assert.equal(nameOf(put(7, 3), current), "version 3 (current)");
  assert.equal(nameOf(put(5, 2), current), "version 2");
  assert.equal(nameOf(gone(5, 2), null), "deleted (it was version 2)");
});

test("counts are said in words", () => {
  assert.equal(countsInWords({ changed: 1, added: 0, removed: 0 }), "1 line changed.");
  assert.equal(countsInWords({ changed: 0, added: 2, removed: 1 }), "2 lines added, 1 removed.");
  assert.equal(countsInWords({ changed: 0, added: 0, removed: 0 }), "Only the layout differs.");
});

describe("what is not in the list", () => {
  const complete = {
    events: [put(4, 1)],
    next: null,
    before: null,
    current: put(4, 1),
    keepsNone: false,
    oldest: 2,
  };
  for (const [what, changes, words] of [
    ["nothing", {}, undefined],
    ["a part that can be read", { next: "4" }, undefined],
    ["what is no longer kept", { before: {} }, /no longer kept: it begins after revision 2/],
    ["everything, if the entry is older", { events: [], before: {} }, /older than the history that is kept/],
    ["everything, if there is no entry", { events: [], current: null }, /Nothing is kept/],
    ["everything, without a history", { events: [], keepsNone: true }, /This service has kept no history/],
  ]) {
    test(`is told: ${what}`, () => {
      const told = whyIncomplete({ ...complete, ...changes });
      if (words === undefined) assert.equal(told, undefined);
      else assert.match(told, words);
    });
  }
});

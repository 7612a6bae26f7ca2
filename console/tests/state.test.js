// The transitions of the state of an open entry. They must not modify the old state.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compact, formatted, parse } from "../json.js";
import { merge } from "../merge.js";
import * as states from "../state.js";

const entryOf = (text, version, revision = version) => ({
  key: "doc",
  tree: parse(text),
  version: String(version),
  revision,
  etag: `"${version}-${revision}"`,
  modifiedAt: "2026-01-02T03:04:05.678Z",
});

const PLAN = entryOf('{"a":1,"b":1}', 1);

/** The frozen state of an open entry with this text. */
function typed(text = formatted(PLAN.tree), changes = {}) {
  const state = { ...states.accepted(states.loading("doc"), PLAN), revision: 1, text, ...changes };
  Object.freeze(state.mergedIn);
  return Object.freeze(state);
}

/** The state after this current entry was merged into the text. */
function rebased(state, current) {
  const stale = Object.freeze({ ...state, current });
  const mine = parse(state.text);
  return states.rebased(stale, mine, merge(state.base.tree, mine, current.tree).merged);
}

const pointers = (changes) => changes.map((change) => change.pointer);

describe("an entry is edited", () => {
  test("if the text differs from the saved one", () => {
    assert.equal(states.isEdited(typed()), false);
    assert.equal(states.isEdited(typed("{}")), true);
  });

  test("if a key was typed for a new entry", () => {
    const state = { ...states.loading(null), phase: "open" };
    assert.equal(states.isEdited(state), false);
    assert.equal(states.isEdited(states.keyTyped(state, "a")), true);
  });
});

describe("an entry is", () => {
  test("stale if somebody else saved, deleted if it is gone, and never both", () => {
    const stale = typed("{}", { current: entryOf("2", 2) });
    const gone = typed("{}", { current: null });
    assert.deepEqual([states.isStale(typed()), states.isDeleted(typed())], [false, false]);
    assert.deepEqual([states.isStale(stale), states.isDeleted(stale)], [true, false]);
    assert.deepEqual([states.isStale(gone), states.isDeleted(gone)], [false, true]);
  });

  test("stale if it was deleted and created again with the same version", () => {
    assert.equal(states.isStale(typed("{}", { current: entryOf("2", 1, 9) })), true);
  });

  test("not worth saving if the value is the same and still current", () => {
    assert.equal(states.isNothingNew(typed(), parse('{"a":1,"b":1}')), true);
    assert.equal(states.isNothingNew(typed(), parse('{"a":1.0,"b":1}')), false);
    const stale = typed(undefined, { current: entryOf("2", 2) });
    assert.equal(states.isNothingNew(stale, parse('{"a":1,"b":1}')), false);
  });
});

describe("a name", () => {
  const by = (name, entry) => ({ ...entry, modifiedBy: name });
  const edited = () => typed('{"a":2,"b":1}');

  test("is that of who saved or deleted", () => {
    const saved = states.updated(typed(), by("Ann", entryOf('{"a":3}', 6)));
    assert.equal(saved.sentence, "Ann saved version 6. Changed: /a, /b.");
    assert.equal(saved.state.arrived.title, "Ann saved version 6");
    const stale = states.updated(edited(), by("Ann", entryOf('{"a":3}', 6)));
    assert.equal(stale.sentence, "Ann saved version 6. Your text is kept.");
    assert.equal(states.updated(typed(), null, "Ann").sentence, "Ann deleted this entry.");
    assert.equal(
      states.updated(edited(), null, "Ann").sentence,
      "Ann deleted this entry. Your text is kept.",
    );
  });

  test("of who deleted is kept until there is an entry again", () => {
    const gone = states.updated(edited(), null, "Ann").state;
    assert.equal(states.updated(gone, null).state.deletedBy, "Ann");
    const back = states.updated(gone, entryOf("1", 1, 9)).state;
    assert.equal(states.updated(back, null).state.deletedBy, undefined);
  });

  test("is said of changes only if nobody else can have made some of them", () => {
    const next = by("Ann", entryOf("1", 2));
    assert.equal(states.soleWriter(PLAN, next), "Ann");
    assert.equal(states.soleWriter(PLAN, by("Ann", entryOf("1", 3))), undefined);
    assert.equal(states.soleWriter(null, by("Ann", entryOf("1", 1))), "Ann");
    assert.equal(states.soleWriter(PLAN, entryOf("1", 2)), undefined);
  });

  test("is said of everybody whose changes were merged", () => {
    const one = rebased(edited(), by("Ann", entryOf('{"a":1,"b":2}', 2)));
    const two = rebased(one, by("Bob", entryOf('{"a":1,"b":2,"c":3}', 3)));
    const title = (state) => states.saved(state, entryOf(state.text, 4), state.text).state.arrived.title;
    assert.equal(title(one), "Saved as version 4, with what Ann changed");
    assert.equal(title(two), "Saved as version 4, with what Ann and Bob changed");
    const more = rebased(two, entryOf('{"a":1,"b":2,"c":4}', 4));
    assert.equal(title(more), "Saved as version 4, with what someone else changed");
  });

  test("survives in a draft", () => {
    const base = by("Ann", PLAN);
    const draft = JSON.parse(JSON.stringify(states.draftOf({ ...edited(), base })));
    assert.equal(states.restored(states.loading("doc"), draft, undefined).base.modifiedBy, "Ann");
  });
});

describe("an update by someone else", () => {
  test("replaces text that was not edited", () => {
    const { state, sentence } = states.updated(typed(), entryOf('{"a":1,"c":1}', 2));
    assert.equal(compact(parse(state.text)), '{"a":1,"c":1}');
    assert.equal(states.isEdited(state), false);
    assert.deepEqual(pointers(state.arrived.changes), ["/c", "/b"]);
    assert.equal(sentence, "Someone else saved version 2. Changed: /c, /b.");
  });

  test("keeps edited text and its base", () => {
    const before = typed('{"a":2,"b":1}');
    const { state, sentence } = states.updated(before, entryOf('{"a":3}', 2));
    assert.deepEqual([state.text, state.base, state.current.version], [before.text, PLAN, "2"]);
    assert.equal(sentence, "Changed by someone else, now version 2. Your text is kept.");
  });

  test("that deletes the entry keeps the text and ends a conflict", () => {
    const before = typed("[", { conflict: {} });
    const { state, sentence } = states.updated(before, null);
    assert.deepEqual([state.text, state.conflict, states.isDeleted(state)], ["[", null, true]);
    assert.match(sentence, /deleted by someone else. Your text is kept/);
  });

  test("to the typed value counts as saved, if the order of members is the same", () => {
    const same = states.updated(typed('{"a": 2, "b": 1}'), entryOf('{"a":2,"b":1}', 2)).state;
    assert.deepEqual([states.isEdited(same), same.base.version], [false, "2"]);
    const other = states.updated(typed('{"a": 2, "b": 1}'), entryOf('{"b":1,"a":2}', 2)).state;
    assert.equal(states.isEdited(other), true);
  });

  test("settles a delete that was not answered", () => {
    const before = typed(undefined, { problem: { kind: "refused", mayBeDeleted: true } });
    assert.equal(states.updated(before, null).state.problem, null);
    const other = typed(undefined, { problem: { kind: "refused" } });
    assert.equal(states.updated(other, null).state.problem.kind, "refused");
  });

  test("opens an entry that was missing", () => {
    const before = Object.freeze({ ...states.loading("doc"), phase: "missing" });
    const { state, sentence } = states.updated(before, PLAN);
    assert.deepEqual([state.phase, state.base, sentence], ["open", PLAN, undefined]);
    assert.equal(states.updated(before, null).state.phase, "missing");
  });
});

describe("a saved entry", () => {
  test("replaces the text that was sent", () => {
    const before = typed('{"a":2,"b":1}', { problem: { kind: "network" }, unknown: parse("1") });
    const state = states.finished(before, entryOf('{"a":2,"b":1}', 2), before.text);
    assert.deepEqual([states.isEdited(state), state.base.version, state.revision], [false, "2", 2]);
    assert.deepEqual(
      [state.problem, state.unknown, state.conflict, state.restored],
      [null, undefined, null, null],
    );
  });

  test("keeps what was typed since as an unsaved change", () => {
    const state = states.finished(typed("[3]"), entryOf("[2]", 2), "[2]");
    assert.deepEqual([state.text, states.isEdited(state), state.base.version], ["[3]", true, "2"]);
  });

  test("never lowers the known revision", () => {
    assert.equal(states.finished(typed("2", { revision: 9 }), entryOf("2", 2), "2").revision, 9);
  });

  test("gives a new entry its key", () => {
    const before = Object.freeze({ ...states.loading(null), phase: "open", typedKey: "doc", text: "1" });
    const state = states.finished(before, entryOf("1", 1), "1");
    assert.deepEqual([state.key, state.typedKey, states.isEdited(state)], ["doc", "", false]);
  });

  test("lists what others changed in it, once", () => {
    const before = rebased(typed('{"a":2,"b":1}'), entryOf('{"a":1,"b":2}', 2));
    const entry = entryOf('{"a":2,"b":2}', 3);
    const { state, sentence } = states.saved(before, entry, before.text);
    assert.equal(sentence, "Saved as version 3, with what someone else changed. Changed: /b.");
    assert.deepEqual(
      [pointers(state.arrived.changes), state.arrived.saved, state.mergedIn],
      [["/b"], true, []],
    );
    assert.equal(states.saved(state, entryOf("1", 4), "").state.arrived.title, "Saved as version 4");
  });
});

describe("merging changes of others", () => {
  test("changes the text, and their version becomes its base", () => {
    const before = typed('{"a":2,"b":1}');
    const state = rebased(before, entryOf('{"a":1,"b":2}', 2));
    assert.equal(compact(parse(state.text)), '{"a":2,"b":2}');
    assert.deepEqual([state.base.version, states.isStale(state), states.isEdited(state)], ["2", false, true]);
    assert.deepEqual(pointers(state.arrived.changes), ["/b"]);
  });

  test("collects all of them until the next save", () => {
    const once = rebased(typed('{"a":2,"b":1}'), entryOf('{"a":1,"b":2}', 2));
    const twice = rebased(once, entryOf('{"a":1,"b":2,"c":3}', 3));
    assert.deepEqual(pointers(twice.mergedIn), ["/b", "/c"]);
    assert.deepEqual(pointers(once.mergedIn), ["/b"]);
  });
});

describe("a conflict", () => {
  const theirs = entryOf('{"a":3,"b":3}', 2);
  const mine = parse('{"a":2,"b":2}');

  /** The state in which both overlaps are shown. */
  function met(state = typed('{"a":2,"b":2}', { current: theirs })) {
    return states.inConflict(state, mine, merge(PLAN.tree, mine, theirs.tree).overlaps);
  }

  test("keeps text and base until every overlap is decided", () => {
    const state = met();
    assert.deepEqual([state.text, state.base], ['{"a":2,"b":2}', PLAN]);
    state.conflict.choose("/a", "mine");
    assert.equal(states.settled(state), undefined);
    state.conflict.choose("/b", "theirs");
    const settled = states.settled(state);
    assert.equal(compact(parse(settled.text)), '{"a":2,"b":3}');
    assert.deepEqual([settled.conflict, settled.choices.size, settled.base], [null, 0, theirs]);
  });

  test("starts with earlier choices, and leaves the old state alone", () => {
    const first = met();
    first.conflict.choose("/a", "mine");
    const again = met(Object.freeze({ ...first, conflict: null }));
    assert.deepEqual(pointers(again.conflict.undecided), ["/b"]);
    again.conflict.choose("/b", "mine");
    assert.equal(first.choices.get("/b").pick, null);
  });

  test("is stored in the draft with its choices", () => {
    const state = met();
    state.conflict.choose("/a", "edit", "5");
    const draft = JSON.parse(JSON.stringify(states.draftOf(state)));
    assert.equal(draft.conflict, true);
    const restored = states.restored(states.loading("doc"), { ...draft, at: "now" }, theirs);
    const again = met(Object.freeze(restored));
    assert.deepEqual([again.choices.get("/a").text, pointers(again.conflict.undecided)], ["5", ["/b"]]);
  });
});

describe("a draft", () => {
  const draft = { ...JSON.parse(JSON.stringify(states.draftOf(typed('{"a":2}')))), at: "2026-01-02" };

  test("contains key, ETag and base value, which a merge needs", () => {
    const { key, etag, version, base, text } = draft;
    assert.deepEqual([key, etag, version, base, text], ["doc", PLAN.etag, "1", '{"a":1,"b":1}', '{"a":2}']);
  });

  test("is restored if its base is still current", () => {
    const state = states.restored(states.loading("doc"), draft, PLAN);
    assert.deepEqual([state.phase, state.text, state.base, state.current], ["open", '{"a":2}', PLAN, PLAN]);
    assert.deepEqual(state.restored, { at: "2026-01-02", version: "1" });
    assert.equal(states.isEdited(state), true);
  });

  test("is restored if the entry is newer, deleted or unknown", () => {
    const newer = states.restored(states.loading("doc"), draft, entryOf("2", 2));
    assert.deepEqual([newer.base.etag, states.isStale(newer)], [PLAN.etag, true]);
    assert.equal(compact(newer.base.tree), '{"a":1,"b":1}');
    assert.equal(states.isDeleted(states.restored(states.loading("doc"), draft, null)), true);
    const unknown = states.restored(states.loading("doc"), draft, undefined);
    assert.deepEqual([states.isStale(unknown), states.isDeleted(unknown)], [false, false]);
  });

  test("of a new entry has no version", () => {
    const state = Object.freeze({ ...states.loading(null), phase: "open", text: "1", typedKey: "a" });
    const made = states.draftOf(state);
    assert.deepEqual(
      [made.key, made.etag, made.version, made.base, made.typedKey],
      ["", null, null, null, "a"],
    );
    const restored = states.restored(states.loading(null), made, null);
    assert.deepEqual([restored.text, restored.typedKey, restored.base, restored.shown], ["1", "a", null, ""]);
  });
});

describe("discarding", () => {
  test("shows the current entry", () => {
    const before = typed("[", { current: entryOf("2", 2), problem: { kind: "syntax" }, revision: 2 });
    const state = states.discarded(before);
    assert.deepEqual([state.text, state.base.version, state.problem, state.revision], ["2", "2", null, 2]);
    assert.equal(before.text, "[");
  });

  test("shows that there is no entry", () => {
    const state = states.discarded(typed("[", { current: null }));
    assert.deepEqual([state.phase, state.text, state.base], ["missing", "", null]);
    const fresh = states.discarded({ ...states.loading(null), phase: "open", typedKey: "a", text: "1" });
    assert.deepEqual([fresh.phase, fresh.typedKey, states.isEdited(fresh)], ["open", "", false]);
  });
});

describe("a message", () => {
  test("about a text is cleared by typing", () => {
    const before = typed("[", { problem: { kind: "syntax" }, arrived: { saved: true } });
    const state = states.typingStarted(before);
    assert.deepEqual([state.problem, state.arrived], [null, null]);
    const other = typed("[", { problem: { kind: "network" }, arrived: { changes: [] } });
    assert.deepEqual(
      [states.typingStarted(other).problem.kind, states.typingStarted(other).arrived.changes],
      ["network", []],
    );
  });

  test("about a key is cleared by another key", () => {
    const before = Object.freeze({ ...states.loading(null), phase: "open", typedKey: "doc", current: PLAN });
    const taken = states.keyTaken(before, PLAN);
    assert.deepEqual([taken.current, taken.problem.kind, taken.problem.entry], [null, "exists", PLAN]);
    assert.match(taken.problem.message, /the key doc exists already, as version 1/);
    assert.equal(states.keyTyped(taken, "other").problem, null);
    assert.match(states.keyTaken(before, null).problem.message, /Try again/);
  });
});

test("a long list of places is cut", () => {
  const changes = ["/a", "/b", "/c", "/d", "", "/f", "/g"].map((pointer) => ({ pointer }));
  assert.equal(states.placesInWords(changes), "Changed: /a, /b, /c, /d, the whole value and 2 more.");
  assert.equal(states.placesInWords([]), "");
});

// What becomes of the state of an open entry. Others may hold the old state, so it must stay what it was.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compact, formatted, parse } from "../json.js";
import { merge } from "../merge.js";
import * as states from "../state.js";

const entryOf = (text, version, revision = version) => ({
  ...{ key: "doc", tree: parse(text), version: String(version), revision },
  ...{ etag: `"${version}-${revision}"`, modifiedAt: "2026-01-02T03:04:05.678Z" },
});

const PLAN = entryOf('{"a":1,"b":1}', 1);

/** The state of an entry that is open, frozen, with a text that was typed. */
function typed(text = formatted(PLAN.tree), changes = {}) {
  const state = { ...states.accepted(states.loading("doc"), PLAN), revision: 1, text, ...changes };
  Object.freeze(state.mergedIn);
  return Object.freeze(state);
}

/** The state in which the current entry is another one, and was merged with mine. */
function rebased(state, current) {
  const stale = Object.freeze({ ...state, current });
  const mine = parse(state.text);
  return states.rebased(stale, mine, merge(state.base.tree, mine, current.tree).merged);
}

const pointers = (changes) => changes.map((change) => change.pointer);

describe("edited is", () => {
  test("a text that is not the one that was read", () => {
    assert.equal(states.isEdited(typed()), false);
    assert.equal(states.isEdited(typed("{}")), true);
  });

  test("a key that was typed for a new entry", () => {
    const state = { ...states.loading(null), phase: "open" };
    assert.equal(states.isEdited(state), false);
    assert.equal(states.isEdited(states.named(state, "a")), true);
  });
});

describe("the current entry is", () => {
  test("stale once somebody else saved, deleted once it is gone, and never both", () => {
    const stale = typed("{}", { current: entryOf("2", 2) });
    const gone = typed("{}", { current: null });
    assert.deepEqual([states.isStale(typed()), states.isDeleted(typed())], [false, false]);
    assert.deepEqual([states.isStale(stale), states.isDeleted(stale)], [true, false]);
    assert.deepEqual([states.isStale(gone), states.isDeleted(gone)], [false, true]);
  });

  test("stale though it has the same version, after it was deleted and created again", () => {
    assert.equal(states.isStale(typed("{}", { current: entryOf("2", 1, 9) })), true);
  });

  test("not worth saving if it is what was typed, unless somebody else saved meanwhile", () => {
    assert.equal(states.isNothingNew(typed(), parse('{"a":1,"b":1}')), true);
    assert.equal(states.isNothingNew(typed(), parse('{"a":1.0,"b":1}')), false);
    const stale = typed(undefined, { current: entryOf("2", 2) });
    assert.equal(states.isNothingNew(stale, parse('{"a":1,"b":1}')), false);
  });
});

describe("news of the entry", () => {
  test("takes the place of a text that nobody has touched", () => {
    const { state, sentence } = states.learned(typed(), entryOf('{"a":1,"c":1}', 2));
    assert.equal(compact(parse(state.text)), '{"a":1,"c":1}');
    assert.equal(states.isEdited(state), false);
    assert.deepEqual(pointers(state.arrived.changes), ["/c", "/b"]);
    assert.equal(sentence, "Someone else saved version 2. Changed: /c, /b.");
  });

  test("leaves alone what was typed, and what it was made from", () => {
    const before = typed('{"a":2,"b":1}');
    const { state, sentence } = states.learned(before, entryOf('{"a":3}', 2));
    assert.deepEqual([state.text, state.base, state.current.version], [before.text, PLAN, "2"]);
    assert.equal(sentence, "Changed by someone else, now version 2. Your text is kept.");
  });

  test("that it is gone leaves the text alone, and ends a conflict", () => {
    const before = typed("[", { conflict: {} });
    const { state, sentence } = states.learned(before, null);
    assert.deepEqual([state.text, state.conflict, states.isDeleted(state)], ["[", null, true]);
    assert.match(sentence, /deleted by someone else. Your text is kept/);
  });

  test("that is what was typed is what was saved, to the order of members", () => {
    const same = states.learned(typed('{"a": 2, "b": 1}'), entryOf('{"a":2,"b":1}', 2)).state;
    assert.deepEqual([states.isEdited(same), same.base.version], [false, "2"]);
    const other = states.learned(typed('{"a": 2, "b": 1}'), entryOf('{"b":1,"a":2}', 2)).state;
    assert.equal(states.isEdited(other), true);
  });

  test("says whether a delete was done that was never answered", () => {
    const before = typed(undefined, { problem: { kind: "refused", mayBeDeleted: true } });
    assert.equal(states.learned(before, null).state.problem, null);
    const other = typed(undefined, { problem: { kind: "refused" } });
    assert.equal(states.learned(other, null).state.problem.kind, "refused");
  });

  test("shows an entry that was not there", () => {
    const before = Object.freeze({ ...states.loading("doc"), phase: "missing" });
    const { state, sentence } = states.learned(before, PLAN);
    assert.deepEqual([state.phase, state.base, sentence], ["open", PLAN, undefined]);
    assert.equal(states.learned(before, null).state.phase, "missing");
  });
});

describe("an entry that was saved", () => {
  test("takes the place of the text that was sent", () => {
    const before = typed('{"a":2,"b":1}', { problem: { kind: "network" }, unknown: parse("1") });
    const state = states.finished(before, entryOf('{"a":2,"b":1}', 2), before.text);
    assert.deepEqual([states.isEdited(state), state.base.version, state.revision], [false, "2", 2]);
    assert.deepEqual(
      [state.problem, state.unknown, state.conflict, state.restored],
      [null, undefined, null, null],
    );
  });

  test("leaves alone what was typed after that, as a change to it", () => {
    const state = states.finished(typed("[3]"), entryOf("[2]", 2), "[2]");
    assert.deepEqual([state.text, states.isEdited(state), state.base.version], ["[3]", true, "2"]);
  });

  test("does not make older what is known", () => {
    assert.equal(states.finished(typed("2", { revision: 9 }), entryOf("2", 2), "2").revision, 9);
  });

  test("gives a new entry its key", () => {
    const before = Object.freeze({ ...states.loading(null), phase: "open", typedKey: "doc", text: "1" });
    const state = states.finished(before, entryOf("1", 1), "1");
    assert.deepEqual([state.key, state.typedKey, states.isEdited(state)], ["doc", "", false]);
  });

  test("is told with what others changed in it, once", () => {
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

describe("what others changed", () => {
  test("is merged into the text, which is then made from their version", () => {
    const before = typed('{"a":2,"b":1}');
    const state = rebased(before, entryOf('{"a":1,"b":2}', 2));
    assert.equal(compact(parse(state.text)), '{"a":2,"b":2}');
    assert.deepEqual([state.base.version, states.isStale(state), states.isEdited(state)], ["2", false, true]);
    assert.deepEqual(pointers(state.arrived.changes), ["/b"]);
  });

  test("is remembered until it is saved, each time", () => {
    const once = rebased(typed('{"a":2,"b":1}'), entryOf('{"a":1,"b":2}', 2));
    const twice = rebased(once, entryOf('{"a":1,"b":2,"c":3}', 3));
    assert.deepEqual(pointers(twice.mergedIn), ["/b", "/c"]);
    assert.deepEqual(pointers(once.mergedIn), ["/b"]);
  });
});

describe("a conflict", () => {
  const theirs = entryOf('{"a":3,"b":3}', 2);
  const mine = parse('{"a":2,"b":2}');

  /** The state in which both places are asked about. */
  function met(state = typed('{"a":2,"b":2}', { current: theirs })) {
    return states.met(state, mine, merge(PLAN.tree, mine, theirs.tree).overlaps);
  }

  test("leaves text and base alone until all is chosen", () => {
    const state = met();
    assert.deepEqual([state.text, state.base], ['{"a":2,"b":2}', PLAN]);
    state.conflict.choose("/a", "mine");
    assert.equal(states.settled(state), undefined);
    state.conflict.choose("/b", "theirs");
    const settled = states.settled(state);
    assert.equal(compact(parse(settled.text)), '{"a":2,"b":3}');
    assert.deepEqual([settled.conflict, settled.choices.size, settled.base], [null, 0, theirs]);
  });

  test("starts with what was chosen before, and does not change that", () => {
    const first = met();
    first.conflict.choose("/a", "mine");
    const again = met(Object.freeze({ ...first, conflict: null }));
    assert.deepEqual(pointers(again.conflict.undecided), ["/b"]);
    again.conflict.choose("/b", "mine");
    assert.equal(first.choices.get("/b").pick, null);
  });

  test("is in the draft, with the choices", () => {
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

  test("has what a merge needs: key, tag and value that it was made from", () => {
    const { key, etag, version, base, text } = draft;
    assert.deepEqual([key, etag, version, base, text], ["doc", PLAN.etag, "1", '{"a":1,"b":1}', '{"a":2}']);
  });

  test("is taken up beside the version that it was made from", () => {
    const state = states.restored(states.loading("doc"), draft, PLAN);
    assert.deepEqual([state.phase, state.text, state.base, state.current], ["open", '{"a":2}', PLAN, PLAN]);
    assert.deepEqual(state.restored, { at: "2026-01-02", version: "1" });
    assert.equal(states.isEdited(state), true);
  });

  test("is taken up beside a newer one, none, or one that is not known", () => {
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

describe("what was typed is let go of", () => {
  test("in favour of the current entry", () => {
    const before = typed("[", { current: entryOf("2", 2), problem: { kind: "syntax" }, revision: 2 });
    const state = states.discarded(before);
    assert.deepEqual([state.text, state.base.version, state.problem, state.revision], ["2", "2", null, 2]);
    assert.equal(before.text, "[");
  });

  test("and there is nothing under the key", () => {
    const state = states.discarded(typed("[", { current: null }));
    assert.deepEqual([state.phase, state.text, state.base], ["missing", "", null]);
    const fresh = states.discarded({ ...states.loading(null), phase: "open", typedKey: "a", text: "1" });
    assert.deepEqual([fresh.phase, fresh.typedKey, states.isEdited(fresh)], ["open", "", false]);
  });
});

describe("what was said", () => {
  test("of a text is not true once typing has begun", () => {
    const before = typed("[", { problem: { kind: "syntax" }, arrived: { saved: true } });
    const state = states.typing(before);
    assert.deepEqual([state.problem, state.arrived], [null, null]);
    const other = typed("[", { problem: { kind: "network" }, arrived: { changes: [] } });
    assert.deepEqual(
      [states.typing(other).problem.kind, states.typing(other).arrived.changes],
      ["network", []],
    );
  });

  test("of a key is not true of another one", () => {
    const before = Object.freeze({ ...states.loading(null), phase: "open", typedKey: "doc", current: PLAN });
    const taken = states.taken(before, PLAN);
    assert.deepEqual([taken.current, taken.problem.kind, taken.problem.entry], [null, "exists", PLAN]);
    assert.match(taken.problem.message, /the key doc exists already, as version 1/);
    assert.equal(states.named(taken, "other").problem, null);
    assert.match(states.taken(before, null).problem.message, /Try again/);
  });
});

test("many places are counted, not named", () => {
  const changes = ["/a", "/b", "/c", "/d", "", "/f", "/g"].map((pointer) => ({ pointer }));
  assert.equal(states.placesInWords(changes), "Changed: /a, /b, /c, /d, the whole value and 2 more.");
  assert.equal(states.placesInWords([]), "");
});

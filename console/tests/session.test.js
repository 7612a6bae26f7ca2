// An open entry: what a person typed must not be lost, whatever happens to the service, the connection or the page.
// Two people at the same entry are in together.test.js.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setTimeout as sleep, setImmediate as tick } from "node:timers/promises";
import { begin, openTab, open as openWith } from "./opened.js";

let service;
let drafts;
beforeEach(async () => {
  ({ service, drafts } = await begin());
});

const open = (key, among = drafts, draftName = undefined) => openWith(key, among, draftName);

/** Whether there is a draft for a key. */
const isKept = (key) => drafts.keys().has(key);

describe("opening", () => {
  test("shows the formatted entry, not edited", async () => {
    service.write("doc", '{"a":1.0}');
    const { session } = await open("doc");
    assert.deepEqual(
      [session.state.phase, session.text, session.edited],
      ["open", '{\n  "a": 1.0\n}', false],
    );
    assert.equal(session.state.base.version, "1");
  });

  test("a key without an entry offers to create it", async () => {
    const { session } = await open("doc");
    assert.equal(session.state.phase, "missing");
    session.create();
    session.edit("1");
    await session.save();
    assert.equal(service.text("doc"), "1");
  });

  test("fails without the service, and succeeds when it is back", async () => {
    service.write("doc", "1");
    service.cut("requests");
    const { session, calls } = await open("doc");
    assert.deepEqual(
      [session.state.phase, session.state.problem.kind, calls.unreachable],
      ["failed", "network", 1],
    );
    service.cut(null);
    await session.back();
    assert.deepEqual([session.state.phase, session.text], ["open", "1"]);
  });
});

describe("saving", () => {
  test("replaces the version that was read, and drops the draft", async () => {
    const { etag } = service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.edit("[1.00]");
    assert.ok(session.edited && isKept("doc"));
    await session.save();
    assert.equal(service.text("doc"), "[1.00]");
    assert.equal(service.requests.at(-1).headers["If-Match"], etag);
    assert.deepEqual([session.edited, session.state.base.version, isKept("doc")], [false, "2", false]);
    assert.deepEqual(
      [session.state.arrived.title, session.state.arrived.saved],
      ["Saved as version 2", true],
    );
    assert.ok(calls.said.at(-1).startsWith("Saved as version 2."));
  });

  test("refuses text that is not JSON", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.edit("{");
    await session.save();
    assert.deepEqual([service.writes, session.state.problem.kind, calls.focus], [0, "syntax", ["syntax"]]);
    assert.equal(session.syntax.line, 1);
    session.edit("{}");
    assert.deepEqual([session.state.problem, session.syntax], [null, null]);
  });

  test("sends nothing if nothing has changed, and says so", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a": 1}');
    await session.save();
    assert.equal(service.writes, 0);
    assert.deepEqual([session.edited, session.state.arrived.saved], [false, true]);
  });

  test("keeps what is typed meanwhile as an unsaved change", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const release = service.hold();
    const saved = session.save();
    session.edit("3");
    release();
    await saved;
    assert.deepEqual([service.text("doc"), session.text, session.edited], ["2", "3", true]);
    assert.equal(session.state.base.version, "2");
    assert.ok(isKept("doc"));
  });

  test("again before the first save is answered saves what was typed meanwhile", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const release = service.hold();
    const saved = session.save();
    session.edit("3");
    await session.save();
    release();
    await saved;
    assert.deepEqual([service.text("doc"), session.edited, service.writes], ["3", false, 2]);
  });

  test("includes the last keystrokes in a large text", async () => {
    const text = JSON.stringify("x".repeat(50_000));
    service.write("doc", "1");
    const { session } = await open("doc");
    session.editLater(() => text);
    assert.deepEqual([session.hasUnreadText, session.edited, session.syntax], [true, true, undefined]);
    await session.save();
    assert.equal(service.text("doc"), text);
    assert.equal(session.edited, false);
  });
});

describe("a new entry", () => {
  test("needs a valid key", async () => {
    const { session, calls } = await open(null);
    session.edit("1");
    session.name("a/../b");
    await session.save();
    assert.deepEqual([service.writes, session.state.problem.kind, calls.focus], [0, "key", ["key"]]);
    session.name("a/b");
    assert.equal(session.state.problem, null);
    await session.save();
    assert.deepEqual([service.text("a/b"), session.state.key, calls.named], ["1", "a/b", ["a/b"]]);
    assert.equal(drafts.keys().size, 0);
  });

  test("never replaces an existing one", async () => {
    service.write("taken", '"theirs"');
    const { session } = await open(null);
    session.name("taken");
    session.edit('"mine"');
    await session.save();
    assert.equal(service.text("taken"), '"theirs"');
    assert.deepEqual([session.state.problem.kind, session.state.problem.key], ["exists", "taken"]);
    assert.deepEqual([session.state.key, session.text, isKept("")], [null, '"mine"', true]);
    session.name("free");
    await session.save();
    assert.equal(service.text("free"), '"mine"');
  });

  test("is accepted if the browser sent the request twice", async () => {
    const { session } = await open(null);
    session.name("doc");
    session.edit("1");
    const release = service.hold();
    const saved = session.save();
    service.write("doc", "1");
    release();
    await saved;
    assert.deepEqual([session.state.key, session.state.problem, session.edited], ["doc", null, false]);
  });
});

describe("after a gap in the watch", () => {
  test("the entry is read again", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.write("doc", "2");
    await session.refresh();
    assert.equal(session.text, "2");
    service.delete("doc");
    await session.refresh();
    assert.ok(session.deleted);
  });

  test("a response older than a later event is ignored", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.write("doc", "2");
    const release = service.hold("answers");
    const refreshed = session.refresh();
    while (service.answers === 1) await tick();
    session.event("put", service.write("doc", "3"));
    release();
    await refreshed;
    assert.deepEqual([session.text, session.state.base.version], ["3", "3"]);
  });

  test("during a save the entry is read after the save", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.edit("2");
    const release = service.hold();
    const saved = session.save();
    await session.refresh();
    const before = service.requests.length;
    release();
    await saved;
    assert.deepEqual([service.requests.length, service.requests.at(-1).method], [before + 1, "GET"]);
    assert.equal(calls.unreachable, 0);
  });
});

describe("a draft", () => {
  test("is restored and merged with what others saved meanwhile", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    service.write("doc", '{"a":1,"b":2}');
    const { session: next, calls } = await open("doc");
    assert.deepEqual([next.text, next.state.restored.version, next.stale], ['{"a":2,"b":1}', "1", true]);
    assert.equal(calls.said.at(-1), "Your unsaved text was restored.");
    await next.save();
    assert.equal(service.text("doc"), '{"a":2,"b":2}');
    assert.equal(isKept("doc"), false);
  });

  test("is restored even without the service", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    service.cut("requests");
    const { session: next } = await open("doc");
    assert.deepEqual([next.state.phase, next.text, next.state.problem.kind], ["open", "2", "network"]);
  });

  test("is dropped when the text is the same as the saved value", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    session.edit("1");
    assert.deepEqual([session.edited, isKept("doc")], [false, false]);
    session.edit("2");
    service.write("doc", "2");
    const { session: next } = await open("doc");
    assert.deepEqual([next.edited, next.state.restored, isKept("doc")], [false, null, false]);
  });

  test("is dropped by discard, which can be undone", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const discarded = session.discard();
    assert.deepEqual([session.text, session.edited, isKept("doc")], ["1", false, false]);
    await session.undoDiscard(discarded);
    assert.deepEqual([session.text, session.edited, isKept("doc")], ["2", true, true]);
  });

  test("that was discarded is restored also while the entry is opened again", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const discarded = session.discard();
    const release = service.hold();
    const before = service.requests.length;
    const opened = session.open();
    while (service.requests.length === before) await tick();
    const undone = session.undoDiscard(discarded);
    release();
    await opened;
    assert.equal(await undone, true);
    assert.deepEqual([session.text, session.edited, session.deleted], ["2", true, false]);
    assert.deepEqual((await open("doc")).session.text, "2");
  });

  test("that was discarded is restored also if the entry cannot be read", async () => {
    service.write("doc", "1");
    const { session: before } = await open("doc");
    before.edit("2");
    const discarded = before.discard();
    service.cut("requests");
    const { session } = await open("doc");
    await session.undoDiscard(discarded);
    assert.deepEqual([session.text, session.edited, session.deleted], ["2", true, false]);
  });

  test("of another tab is offered, and taking it keeps the own one", async () => {
    service.write("doc", "1");
    const { session: there } = await open("doc", await openTab());
    there.edit('"there"');
    const { session } = await open("doc");
    assert.deepEqual([session.text, session.keeper.others.length], ["1", 1]);
    session.edit('"here"');
    session.takeOther(session.keeper.others[0].name);
    assert.equal(session.text, '"there"');
    assert.deepEqual(
      session.keeper.others.map((draft) => draft.text),
      ['"here"'],
    );
    session.dropOther(session.keeper.others[0].name);
    assert.deepEqual(session.keeper.others, []);
  });

  test("of another tab is copied, not moved, while that tab is open", async () => {
    service.write("doc", "1");
    const { session: there } = await open("doc", await openTab());
    there.edit('"there"');
    const { session } = await open("doc");
    const [{ name }] = session.keeper.others;
    session.takeOther(name);
    session.edit('"here"');
    assert.ok(drafts.has(name));
  });

  test("that is asked for by name is restored, even if there is a later one", async () => {
    const { session: first } = await open(null);
    first.name("first");
    first.edit('"first"');
    const { name } = first.keeper;
    drafts.sending.add(name);
    const { session: second } = await open(null);
    second.name("second");
    await sleep(2);
    second.edit('"second"');
    drafts.sending.delete(name);
    const { session } = await open(null, drafts, name);
    assert.deepEqual([session.text, session.state.typedKey, session.keeper.name], ['"first"', "first", name]);
    assert.deepEqual(
      session.keeper.others.map((draft) => draft.text),
      ['"second"'],
    );
    drafts.drop(name);
    assert.equal((await open(null, drafts, name)).session.text, '"second"');
  });

  test("is not restored while it is being saved", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const release = service.hold("answers");
    const saved = session.save();
    while (service.text("doc") !== "2") await tick();
    session.edit("3");
    const opening = open("doc");
    while (service.requests.at(-1).method !== "GET") await tick();
    release();
    await saved;
    const { session: next } = await opening;
    assert.deepEqual([next.text, next.state.restored, next.keeper.others], ["2", null, []]);
  });

  test("of another tab is no longer offered after that tab saved it", async () => {
    service.write("doc", "1");
    const { session: there } = await open("doc", await openTab());
    there.edit('"there"');
    const { session } = await open("doc");
    const [{ name }] = session.keeper.others;
    await there.save();
    window.dispatchEvent(Object.assign(new Event("storage"), { key: name, newValue: null }));
    session.forgetGone();
    assert.deepEqual(session.keeper.others, []);
  });
});

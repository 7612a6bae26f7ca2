// One entry while it is open. What a person typed must never be lost, whatever happens to the service, the
// line and the page. What others do meanwhile is in together.test.js.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setImmediate as tick } from "node:timers/promises";
import { begin, openTab, open as openWith } from "./opened.js";

let service;
let drafts;
beforeEach(async () => {
  ({ service, drafts } = await begin());
});

const open = (key, among = drafts) => openWith(key, among);

/** Whether anything is kept for a key. */
const isKept = (key) => drafts.keys().has(key);

describe("opening", () => {
  test("shows the entry over several lines, not edited", async () => {
    service.write("doc", '{"a":1.0}');
    const { session } = await open("doc");
    assert.deepEqual(
      [session.state.phase, session.text, session.edited],
      ["open", '{\n  "a": 1.0\n}', false],
    );
    assert.equal(session.state.base.version, "1");
  });

  test("of a key that has no entry says so, until it is created", async () => {
    const { session } = await open("doc");
    assert.equal(session.state.phase, "missing");
    session.create();
    session.edit("1");
    await session.save();
    assert.equal(service.text("doc"), "1");
  });

  test("fails while the service is not there, and works once it is", async () => {
    service.write("doc", "1");
    service.cut("requests");
    const { session, asked } = await open("doc");
    assert.deepEqual(
      [session.state.phase, session.state.problem.kind, asked.unreachable],
      ["failed", "network", 1],
    );
    service.cut(null);
    await session.back();
    assert.deepEqual([session.state.phase, session.text], ["open", "1"]);
  });
});

describe("saving", () => {
  test("replaces the version that was read, and lets go of the draft", async () => {
    const { etag } = service.write("doc", "1");
    const { session, asked } = await open("doc");
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
    assert.ok(asked.said.at(-1).startsWith("Saved as version 2."));
  });

  test("is not done with a text that is not JSON", async () => {
    service.write("doc", "1");
    const { session, asked } = await open("doc");
    session.edit("{");
    await session.save();
    assert.deepEqual([service.writes, session.state.problem.kind, asked.focus], [0, "syntax", ["syntax"]]);
    assert.equal(session.syntax.line, 1);
    session.edit("{}");
    assert.deepEqual([session.state.problem, session.syntax], [null, null]);
  });

  test("is not done if nothing has changed, which is said", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a": 1}');
    await session.save();
    assert.equal(service.writes, 0);
    assert.deepEqual([session.edited, session.state.arrived.saved], [false, true]);
  });

  test("leaves alone what is typed meanwhile: it is a change to what was saved", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const goOn = service.hold();
    const saved = session.save();
    session.edit("3");
    goOn();
    await saved;
    assert.deepEqual([service.text("doc"), session.text, session.edited], ["2", "3", true]);
    assert.equal(session.state.base.version, "2");
    assert.ok(isKept("doc"));
  });

  test("asked for again meanwhile saves what was typed meanwhile", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const goOn = service.hold();
    const saved = session.save();
    session.edit("3");
    await session.save();
    goOn();
    await saved;
    assert.deepEqual([service.text("doc"), session.edited, service.writes], ["3", false, 2]);
  });

  test("takes a large text that nobody has looked at yet", async () => {
    const text = JSON.stringify("x".repeat(50_000));
    service.write("doc", "1");
    const { session } = await open("doc");
    session.editLater(() => text);
    assert.deepEqual([session.hasMore, session.edited, session.syntax], [true, true, undefined]);
    await session.save();
    assert.equal(service.text("doc"), text);
    assert.equal(session.edited, false);
  });
});

describe("a new entry", () => {
  test("needs a key that is one", async () => {
    const { session, asked } = await open(null);
    session.edit("1");
    session.name("a/../b");
    await session.save();
    assert.deepEqual([service.writes, session.state.problem.kind, asked.focus], [0, "key", ["key"]]);
    session.name("a/b");
    assert.equal(session.state.problem, null);
    await session.save();
    assert.deepEqual([service.text("a/b"), session.state.key, asked.named], ["1", "a/b", ["a/b"]]);
    assert.equal(drafts.keys().size, 0);
  });

  test("never takes the place of one that exists", async () => {
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

  test("that a browser has sent twice is not refused because of itself", async () => {
    const { session } = await open(null);
    session.name("doc");
    session.edit("1");
    const goOn = service.hold();
    const saved = session.save();
    service.write("doc", "1");
    goOn();
    await saved;
    assert.deepEqual([session.state.key, session.state.problem, session.edited], ["doc", null, false]);
  });
});

describe("no answer comes", () => {
  test("though it was done: that is found out, and nothing is written twice", async () => {
    service.write("doc", "1");
    const { session, asked } = await open("doc");
    session.edit("2");
    service.cut("answers");
    await session.save();
    assert.deepEqual([session.state.problem.kind, session.edited, asked.unreachable], ["network", true, 1]);
    assert.ok(isKept("doc"));
    service.cut(null);
    await session.back();
    assert.deepEqual([session.state.problem, session.edited, session.state.base.version], [null, false, "2"]);
    assert.equal(service.writes, 1);
  });

  test("and it was not done: the text is kept, and saved when that is asked for", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    service.cut("requests");
    await session.save();
    service.cut(null);
    await session.back();
    assert.deepEqual([session.state.problem.kind, service.text("doc"), session.text], ["back", "1", "2"]);
    session.lost();
    assert.equal(session.state.problem.kind, "network");
    await session.save();
    assert.deepEqual([service.text("doc"), session.state.problem, session.edited], ["2", null, false]);
  });

  test("though it was done, and more was typed: that is saved on top of it", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a":2}');
    service.cut("answers");
    await session.save();
    session.edit('{"a":3}');
    service.cut(null);
    await session.save();
    assert.deepEqual([service.text("doc"), session.state.conflict, session.edited], ['{"a":3}', null, false]);
  });

  test("though it was done, and more was typed: that stays a change to it", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    service.cut("answers");
    await session.save();
    session.edit("3");
    service.cut(null);
    await session.back();
    assert.deepEqual([session.text, session.edited, session.state.base.version], ["3", true, "2"]);
    assert.equal(service.text("doc"), "2");
  });

  test("and more is typed while that is found out: it is not taken for saved", async () => {
    for (const isSaved of [true, false]) {
      const key = `doc/${isSaved}`;
      service.write(key, "1");
      const { session } = await open(key);
      session.edit("2");
      service.cut(isSaved ? "answers" : "requests");
      await session.save();
      service.cut(null);
      const goOn = service.hold();
      const back = session.back();
      session.edit("3");
      goOn();
      await back;
      assert.deepEqual([session.text, session.edited, isKept(key)], ["3", true, true]);
    }
  });

  test("and more is typed while it is saved again: that is saved, or not taken for saved", async () => {
    for (const isSaved of [true, false]) {
      const key = `doc/${isSaved}`;
      service.write(key, "1");
      const { session } = await open(key);
      session.edit("2");
      service.cut(isSaved ? "answers" : "requests");
      await session.save();
      service.cut(null);
      const goOn = service.hold();
      const saved = session.save();
      session.edit("3");
      goOn();
      await saved;
      assert.equal(session.text, "3");
      assert.equal(session.edited, service.text(key) !== "3");
    }
  });

  test("and it was not done: another order of members is not taken for saved", async () => {
    service.write("doc", '{"a":1,"b":2}');
    const { session } = await open("doc");
    session.edit('{"b":2,"a":1}');
    service.cut("requests");
    await session.save();
    service.cut(null);
    await session.back();
    assert.deepEqual([session.state.problem.kind, session.edited], ["back", true]);
    await session.save();
    assert.equal(service.text("doc"), '{"b":2,"a":1}');
  });

  test("and what the service says no to is not taken for done", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    service.refuse(503, "unavailable", "the service is busy");
    await session.save();
    assert.equal(session.state.problem.message, "The server says: the service is busy");
    assert.deepEqual([service.text("doc"), session.edited, isKept("doc")], ["1", true, true]);
    await session.save();
    assert.deepEqual([service.text("doc"), session.state.problem], ["2", null]);
  });
});

describe("changes that may have been missed", () => {
  test("are read", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.write("doc", "2");
    await session.refresh();
    assert.equal(session.text, "2");
    service.delete("doc");
    await session.refresh();
    assert.ok(session.deleted);
  });

  test("are read again if the answer is older than what was heard of meanwhile", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.write("doc", "2");
    const goOn = service.hold("answers");
    const refreshed = session.refresh();
    while (service.answers === 1) await tick();
    session.event("put", service.write("doc", "3"));
    goOn();
    await refreshed;
    assert.deepEqual([session.text, session.state.base.version], ["3", "3"]);
  });

  test("while something is being saved are read after that", async () => {
    service.write("doc", "1");
    const { session, asked } = await open("doc");
    session.edit("2");
    const goOn = service.hold();
    const saved = session.save();
    await session.refresh();
    const before = service.requests.length;
    goOn();
    await saved;
    assert.deepEqual([service.requests.length, service.requests.at(-1).method], [before + 1, "GET"]);
    assert.equal(asked.unreachable, 0);
  });
});

describe("a draft", () => {
  test("is there again, and is merged with what others saved meanwhile", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    service.write("doc", '{"a":1,"b":2}');
    const { session: next, asked } = await open("doc");
    assert.deepEqual([next.text, next.state.restored.version, next.stale], ['{"a":2,"b":1}', "1", true]);
    assert.equal(asked.said.at(-1), "Your unsaved text was restored.");
    await next.save();
    assert.equal(service.text("doc"), '{"a":2,"b":2}');
    assert.equal(isKept("doc"), false);
  });

  test("is there again without the service, too", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    service.cut("requests");
    const { session: next } = await open("doc");
    assert.deepEqual([next.state.phase, next.text, next.state.problem.kind], ["open", "2", "network"]);
  });

  test("is let go of when what was typed is what is there", async () => {
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

  test("is let go of when it is discarded, and can be had back", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const discarded = session.discard();
    assert.deepEqual([session.text, session.edited, isKept("doc")], ["1", false, false]);
    session.undoDiscard(discarded);
    assert.deepEqual([session.text, session.edited, isKept("doc")], ["2", true, true]);
  });

  test("of another tab is offered, and the one that is here is kept", async () => {
    service.write("doc", "1");
    const { session: there } = await open("doc", await openTab());
    there.edit('"there"');
    const { session } = await open("doc");
    assert.deepEqual([session.text, session.keeping.others.length], ["1", 1]);
    session.edit('"here"');
    session.takeOther(session.keeping.others[0].name);
    assert.equal(session.text, '"there"');
    assert.deepEqual(
      session.keeping.others.map((draft) => draft.text),
      ['"here"'],
    );
    session.dropOther(session.keeping.others[0].name);
    assert.deepEqual(session.keeping.others, []);
  });

  test("of another tab stays that tab's when it is taken up", async () => {
    service.write("doc", "1");
    const { session: there } = await open("doc", await openTab());
    there.edit('"there"');
    const { session } = await open("doc");
    const [{ name }] = session.keeping.others;
    session.takeOther(name);
    session.edit('"here"');
    assert.ok(drafts.has(name));
  });

  test("is not taken up while it is being saved", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const goOn = service.hold("answers");
    const saved = session.save();
    while (service.text("doc") !== "2") await tick();
    session.edit("3");
    const opening = open("doc");
    while (service.requests.at(-1).method !== "GET") await tick();
    goOn();
    await saved;
    const { session: next } = await opening;
    assert.deepEqual([next.text, next.state.restored, next.keeping.others], ["2", null, []]);
  });

  test("of another tab that has saved it is not offered any more", async () => {
    service.write("doc", "1");
    const { session: there } = await open("doc", await openTab());
    there.edit('"there"');
    const { session } = await open("doc");
    await there.save();
    session.forgetGone();
    assert.deepEqual(session.keeping.others, []);
  });
});

describe("deleting", () => {
  test("deletes the version that is shown", async () => {
    const { etag } = service.write("doc", "1");
    const { session } = await open("doc");
    const gone = await session.remove();
    assert.deepEqual([gone.etag, service.text("doc")], [etag, undefined]);
  });

  test("is not taken for what somebody else has done", async () => {
    service.write("doc", "1");
    const { session, asked } = await open("doc");
    const deletion = { ...session.state.base, revision: 2 };
    const goOn = service.hold("answers");
    const removed = session.remove();
    session.event("delete", deletion);
    goOn();
    await removed;
    assert.deepEqual([asked.said, session.deleted], [[], false]);
  });

  test("does not delete what somebody else has changed meanwhile", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.write("doc", "2");
    assert.equal(await session.remove(), undefined);
    assert.deepEqual([service.text("doc"), session.text], ["2", "2"]);
    assert.equal(session.state.problem.message, "Not deleted: it was changed by someone else meanwhile.");
  });

  test("without an answer: it is not claimed to be done or not to be", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.cut("answers");
    await session.remove();
    assert.match(session.state.problem.message, /Whether the entry was deleted is not known/);
    service.cut(null);
    await session.refresh();
    assert.deepEqual([session.deleted, session.state.problem], [true, null]);
  });
});

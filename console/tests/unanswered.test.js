// A save without an answer of the service: the text is kept, and what was applied is recognised.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { begin, open as openWith } from "./opened.js";

let service;
let drafts;
beforeEach(async () => {
  ({ service, drafts } = await begin());
});

const open = (key) => openWith(key, drafts);

/** Whether there is a draft for a key. */
const isKept = (key) => drafts.keys().has(key);

describe("when a save is not answered", () => {
  test("but something else answers, keeps the text, says so, and can be tried again", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.edit("2");
    const { fetch } = globalThis;
    globalThis.fetch = async () => new Response('{"ok":true}', { status: 200 });
    await session.save();
    assert.deepEqual(
      [session.text, session.edited, session.sending, isKept("doc")],
      ["2", true, false, true],
    );
    assert.match(session.state.problem.message, /not from ifmatch/);
    // Otherwise the page would soon say that it is connected again.
    assert.equal(calls.unreachable, 0);
    globalThis.fetch = fetch;
    await session.save();
    assert.deepEqual([service.text("doc"), session.edited], ["2", false]);
  });

  test("but a gateway answers in JSON, it may be applied, and that is recognised", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    const { fetch } = globalThis;
    globalThis.fetch = async (...request) => {
      await fetch(...request);
      return new Response('{"error":"Bad Gateway","message":"upstream closed"}', { status: 502 });
    };
    await session.save();
    assert.deepEqual(
      [session.state.problem.kind, session.state.problem.message],
      ["foreign", "The server answered with status 502. Whether your text was saved is not known."],
    );
    assert.ok(isKept("doc"));
    globalThis.fetch = fetch;
    await session.save();
    assert.deepEqual([service.writes, session.edited, session.state.base.version], [1, false, "2"]);
  });

  test("at first, it is sent again, and done once", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.edit("2");
    const { fetch } = globalThis;
    globalThis.fetch = async (...request) => {
      globalThis.fetch = fetch;
      await fetch(...request);
      throw new TypeError("Failed to fetch");
    };
    await session.save();
    assert.deepEqual([session.state.problem, session.edited, session.state.base.version], [null, false, "2"]);
    assert.deepEqual([service.writes, service.requests.length, calls.unreachable], [1, 3, 0]);
  });

  test("until somebody else has saved, too, both are recognised", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    session.edit("2");
    service.cut("answers");
    await session.save();
    service.cut(null);
    // The watch delivers the change before the save is answered.
    session.event("put", service.write("doc", "3"));
    await session.save();
    while (session.state.base.version === "2") await new Promise(setImmediate);
    assert.deepEqual([session.text, session.edited, session.state.base.version], ["3", false, "3"]);
    assert.equal(service.writes, 1);
  });

  test("a new entry that was deleted since is created again", async () => {
    const { session } = await open(null);
    session.name("doc");
    session.edit("1");
    await session.save();
    session.edit("2");
    session.event("delete", service.delete("doc"));
    await session.recreate();
    session.event("delete", service.delete("doc"));
    session.edit("3");
    session.edit("2");
    assert.equal(session.deleted, true);
    await session.recreate();
    assert.equal(service.text("doc"), "2");
  });

  test("but was applied, it is recognised and not sent again", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.edit("2");
    service.cut("answers");
    await session.save();
    assert.deepEqual([session.state.problem.kind, session.edited, calls.unreachable], ["network", true, 1]);
    assert.ok(isKept("doc"));
    service.cut(null);
    await session.back();
    assert.deepEqual([session.state.problem, session.edited, session.state.base.version], [null, false, "2"]);
    assert.equal(service.writes, 1);
  });

  test("and was not applied, the text is kept and can be saved later", async () => {
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

  test("but was applied, what was typed since is saved on top of it", async () => {
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

  test("but was applied, what was typed since stays an unsaved change", async () => {
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

  test("text typed while the outcome is being checked stays unsaved", async () => {
    for (const isSaved of [true, false]) {
      const key = `doc/${isSaved}`;
      service.write(key, "1");
      const { session } = await open(key);
      session.edit("2");
      service.cut(isSaved ? "answers" : "requests");
      await session.save();
      service.cut(null);
      const release = service.hold();
      const back = session.back();
      session.edit("3");
      release();
      await back;
      assert.deepEqual([session.text, session.edited, isKept(key)], ["3", true, true]);
    }
  });

  test("text typed while it is saved again is saved or stays unsaved", async () => {
    for (const isSaved of [true, false]) {
      const key = `doc/${isSaved}`;
      service.write(key, "1");
      const { session } = await open(key);
      session.edit("2");
      service.cut(isSaved ? "answers" : "requests");
      await session.save();
      service.cut(null);
      const release = service.hold();
      const saved = session.save();
      session.edit("3");
      release();
      await saved;
      assert.equal(session.text, "3");
      assert.equal(session.edited, service.text(key) !== "3");
    }
  });

  test("and was not applied, a new order of members is not reported as saved", async () => {
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

  test("or is refused, it is not reported as saved", async () => {
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

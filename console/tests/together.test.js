// An open entry that somebody else changes, too: nobody's changes must be lost.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setImmediate as tick } from "node:timers/promises";
import { compact } from "../json.js";
import { begin, open as openWith, pointers } from "./opened.js";

let service;
let drafts;
beforeEach(async () => {
  ({ service, drafts } = await begin());
});

const open = (key, among = drafts) => openWith(key, among);

/** Whether there is a draft for a key. */
const isKept = (key) => drafts.keys().has(key);

describe("somebody else saves", () => {
  test("an entry that is not being edited is updated, with a list of changes", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session, calls } = await open("doc");
    session.event("put", service.write("doc", '{"a":1,"b":2}'));
    assert.equal(session.text, '{\n  "a": 1,\n  "b": 2\n}');
    assert.deepEqual(pointers(session.state.arrived.changes), ["/b"]);
    assert.equal(calls.said.at(-1), "Someone else saved version 2. Changed: /b.");
    assert.equal(session.edited, false);
  });

  test("an entry that is being edited keeps its text and is marked as stale", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a":2}');
    session.event("put", service.write("doc", '{"a":3}'));
    assert.deepEqual([session.text, session.stale, session.state.base.version], ['{"a":2}', true, "1"]);
  });

  test("an outdated event is ignored", async () => {
    const first = service.write("doc", "1");
    service.write("doc", "2");
    const { session } = await open("doc");
    session.event("put", first);
    session.event("put", { ...service.write("other", "9"), key: "other" });
    assert.deepEqual([session.text, session.state.base.version], ["2", "2"]);
  });

  test("in another place, and saving keeps both changes", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    service.write("doc", '{"a":1,"b":2}');
    await session.save();
    assert.equal(service.text("doc"), '{"a":2,"b":2}');
    assert.equal(session.state.arrived.title, "Saved as version 3, with what someone else changed");
    assert.deepEqual(pointers(session.state.arrived.changes), ["/b"]);
  });

  test("in another place, and it can be merged without saving", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    session.event("put", service.write("doc", '{"a":1,"b":2}'));
    session.mergeNow();
    assert.equal(compact(session.state.base.tree), '{"a":1,"b":2}');
    assert.equal(session.text, '{\n  "a": 2,\n  "b": 2\n}');
    assert.deepEqual([session.edited, session.stale, service.writes], [true, false, 0]);
    await session.save();
    assert.equal(session.state.arrived.title, "Saved as version 3, with what someone else changed");
  });

  test("the same value, and nothing is left to save", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a":2}');
    session.event("put", service.write("doc", '{"a":2}'));
    assert.deepEqual([session.edited, session.state.base.version, isKept("doc")], [false, "2", false]);
  });

  test("before the own save is answered, and the event is handled after that", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a":2}');
    const release = service.hold("answers");
    const saved = session.save();
    while (service.text("doc") !== '{"a":2}') await tick();
    session.event("put", service.write("doc", '{"a":2,"b":2}'));
    assert.equal(session.text, '{"a":2}');
    release();
    await saved;
    assert.deepEqual([session.state.base.version, session.edited], ["3", false]);
    assert.deepEqual(pointers(session.state.arrived.changes), ["/b"]);
  });

  test("before the own save arrives, and text typed meanwhile is merged, too", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    const release = service.hold();
    const saved = session.save();
    service.write("doc", '{"a":1,"b":2}');
    session.edit('{"a":2,"b":1,"c":3}');
    release();
    await saved;
    assert.equal(service.text("doc"), '{"a":2,"b":2,"c":3}');
    assert.equal(session.edited, false);
  });

  test("again and again, and no change is lost", async () => {
    service.write("doc", "{}");
    const { session } = await open("doc");
    session.edit('{"mine":1}');
    const { fetch } = globalThis;
    let rounds = 0;
    globalThis.fetch = (path, options) => {
      if (options.method === "PUT" && rounds < 3) {
        rounds += 1;
        service.write("doc", `{"theirs":${rounds}}`);
      }
      return fetch(path, options);
    };
    await session.save();
    assert.equal(service.text("doc"), '{"theirs":3,"mine":1}');
    assert.equal(session.edited, false);
  });
});

describe("somebody else changes the same place", () => {
  async function inConflict() {
    service.write("doc", '{"a":1,"b":1}');
    const opened = await open("doc");
    opened.session.edit('{"a":2,"b":2}');
    service.write("doc", '{"a":3,"b":1,"c":3}');
    await opened.session.save();
    return opened;
  }

  test("nothing is written before every overlap is decided", async () => {
    const { session, calls } = await inConflict();
    assert.equal(service.text("doc"), '{"a":3,"b":1,"c":3}');
    assert.deepEqual(pointers(session.state.conflict.overlaps), ["/a"]);
    assert.deepEqual([session.settle(), calls.focus], [false, ["conflict"]]);
    const { writes } = service;
    await session.save();
    assert.equal(service.writes, writes);
  });

  for (const [pick, text, value] of [
    ["mine", undefined, "2"],
    ["theirs", undefined, "3"],
    ["edit", "4", "4"],
  ]) {
    test(`${pick} is saved, with all other changes of both`, async () => {
      const { session } = await inConflict();
      session.choose("/a", pick, text);
      assert.ok(session.settle());
      await session.save();
      assert.equal(service.text("doc"), `{"a":${value},"b":2,"c":3}`);
      assert.deepEqual([session.state.conflict, session.edited], [null, false]);
    });
  }

  test("they save again meanwhile, and only the affected choices are open again", async () => {
    const { session } = await inConflict();
    session.choose("/a", "mine");
    session.event("put", service.write("doc", '{"a":3,"b":9}'));
    assert.deepEqual(pointers(session.state.conflict.undecided), ["/b"]);
    session.choose("/b", "theirs");
    session.settle();
    await session.save();
    assert.equal(service.text("doc"), '{"a":2,"b":9}');
  });

  test("they save again in another place, and the choice is kept", async () => {
    const { session } = await inConflict();
    session.choose("/a", "mine");
    session.settle();
    service.write("doc", '{"a":3,"b":1,"c":9}');
    await session.save();
    assert.equal(service.text("doc"), '{"a":2,"b":2,"c":9}');
  });

  test("going back shows the text as it was typed", async () => {
    const { session } = await inConflict();
    session.choose("/a", "theirs");
    session.leaveConflict();
    assert.deepEqual([session.state.conflict, session.text], [null, '{"a":2,"b":2}']);
    session.mergeNow();
    assert.deepEqual(session.state.conflict.undecided, []);
  });

  test("text, base and choices survive closing the page", async () => {
    const { session } = await inConflict();
    session.choose("/a", "edit", "4");
    session.keeper.keepNow();
    const { session: next } = await open("doc");
    assert.deepEqual([next.text, next.state.base.version], ['{"a":2,"b":2}', "1"]);
    assert.deepEqual(next.state.conflict.undecided, []);
    next.settle();
    await next.save();
    assert.equal(service.text("doc"), '{"a":4,"b":2,"c":3}');
  });
});

describe("somebody with a name", () => {
  const NAME = '<b onclick="x">Ann</b> & "Co"';

  test("saves, and the name is said", async () => {
    service.write("doc", '{"a":1}');
    const { session, calls } = await open("doc");
    session.event("put", service.write("doc", '{"a":2}', NAME));
    assert.equal(calls.said.at(-1), `${NAME} saved version 2. Changed: /a.`);
    session.edit('{"a":3}');
    session.event("put", service.write("doc", '{"a":4}', NAME));
    assert.equal(calls.said.at(-1), `${NAME} saved version 3. Your text is kept.`);
  });

  test("changes the same place, and the name is said if nobody else saved", async () => {
    for (const [writers, other] of [
      [["Ann"], "Ann"],
      [["Ann", "Bob"], "someone else"],
      [[undefined], "someone else"],
    ]) {
      service.write("doc", '{"a":1}');
      const { session, calls } = await open("doc");
      session.edit('{"a":2}');
      for (const name of writers) service.write("doc", `{"a":"${name}"}`, name);
      await session.save();
      assert.equal(calls.said.at(-1), `You and ${other} changed the same place. Choose which side to keep.`);
      service.delete("doc");
      session.discard();
    }
  });

  test("changes another place, and the name is said when both are saved", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    service.write("doc", '{"a":1,"b":2}', "Ann");
    await session.save();
    assert.equal(session.state.arrived.title, "Saved as version 3, with what Ann changed");
  });

  test("deletes, and the name is said, also when a save fails after that", async () => {
    service.write("doc", "1", "Bob");
    const { session, calls } = await open("doc");
    session.edit("2");
    session.event("delete", service.delete("doc", "Ann"));
    assert.equal(calls.said.at(-1), "Ann deleted this entry. Your text is kept.");
    await session.save();
    assert.equal(calls.said.at(-1), "Not saved: Ann deleted this entry. Your text is kept.");
    assert.equal(session.state.deletedBy, "Ann");
    await session.recreate();
    assert.equal(session.state.deletedBy, undefined);
  });

  test("saves before a deletion, and the name is said", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.write("doc", "2", "Ann");
    await session.remove();
    assert.equal(session.state.problem.message, "Not deleted: Ann saved version 2 meanwhile.");
  });
});

describe("somebody else deletes", () => {
  test("the text is kept, and saving does not create the entry again", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.edit("2");
    service.delete("doc");
    await session.save();
    assert.deepEqual([service.text("doc"), session.text, session.deleted], [undefined, "2", true]);
    assert.ok(isKept("doc"));
    assert.deepEqual(calls.focus, ["banner"]);
    await session.recreate();
    assert.deepEqual([service.text("doc"), session.deleted, session.edited], ["2", false, false]);
  });

  test("an entry that is not being edited says so, too", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    session.event("delete", service.delete("doc"));
    assert.deepEqual([session.deleted, session.text], [true, "1"]);
    assert.equal(calls.said.at(-1), "This entry was deleted by someone else.");
  });
});

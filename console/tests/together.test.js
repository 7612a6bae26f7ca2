// One entry while it is open, and somebody else at the same entry: nobody's changes must be lost.

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

/** Whether anything is kept for a key. */
const isKept = (key) => drafts.keys().has(key);

describe("somebody else saves", () => {
  test("what is not being edited follows, with what changed", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session, asked } = await open("doc");
    session.event("put", service.write("doc", '{"a":1,"b":2}'));
    assert.equal(session.text, '{\n  "a": 1,\n  "b": 2\n}');
    assert.deepEqual(pointers(session.state.arrived.changes), ["/b"]);
    assert.equal(asked.said.at(-1), "Someone else saved version 2. Changed: /b.");
    assert.equal(session.edited, false);
  });

  test("what is being edited stays, and is known to be made from an older version", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a":2}');
    session.event("put", service.write("doc", '{"a":3}'));
    assert.deepEqual([session.text, session.stale, session.state.base.version], ['{"a":2}', true, "1"]);
  });

  test("news that is older than what is known says nothing", async () => {
    const first = service.write("doc", "1");
    service.write("doc", "2");
    const { session } = await open("doc");
    session.event("put", first);
    session.event("put", { ...service.write("other", "9"), key: "other" });
    assert.deepEqual([session.text, session.state.base.version], ["2", "2"]);
  });

  test("in another place: saving keeps both changes", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    service.write("doc", '{"a":1,"b":2}');
    await session.save();
    assert.equal(service.text("doc"), '{"a":2,"b":2}');
    assert.equal(session.state.arrived.title, "Saved as version 3, with what someone else changed");
    assert.deepEqual(pointers(session.state.arrived.changes), ["/b"]);
  });

  test("in another place: it can be merged before it is saved", async () => {
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

  test("the very same: there is nothing left to save", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a":2}');
    session.event("put", service.write("doc", '{"a":2}'));
    assert.deepEqual([session.edited, session.state.base.version, isKept("doc")], [false, "2", false]);
  });

  test("before the answer to what was saved has come: it is looked at after that", async () => {
    service.write("doc", '{"a":1}');
    const { session } = await open("doc");
    session.edit('{"a":2}');
    const goOn = service.hold("answers");
    const saved = session.save();
    while (service.text("doc") !== '{"a":2}') await tick();
    session.event("put", service.write("doc", '{"a":2,"b":2}'));
    assert.equal(session.text, '{"a":2}');
    goOn();
    await saved;
    assert.deepEqual([session.state.base.version, session.edited], ["3", false]);
    assert.deepEqual(pointers(session.state.arrived.changes), ["/b"]);
  });

  test("while what was typed is on its way: what is typed meanwhile is merged, too", async () => {
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc");
    session.edit('{"a":2,"b":1}');
    const goOn = service.hold();
    const saved = session.save();
    service.write("doc", '{"a":1,"b":2}');
    session.edit('{"a":2,"b":1,"c":3}');
    goOn();
    await saved;
    assert.equal(service.text("doc"), '{"a":2,"b":2,"c":3}');
    assert.equal(session.edited, false);
  });

  test("again and again: no change of anybody is lost", async () => {
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

  test("nothing is written before all is decided", async () => {
    const { session, asked } = await inConflict();
    assert.equal(service.text("doc"), '{"a":3,"b":1,"c":3}');
    assert.deepEqual(pointers(session.state.conflict.overlaps), ["/a"]);
    assert.deepEqual([session.settle(), asked.focus], [false, ["conflict"]]);
    const { writes } = service;
    await session.save();
    assert.equal(service.writes, writes);
  });

  for (const [pick, text, value] of [
    ["mine", undefined, "2"],
    ["theirs", undefined, "3"],
    ["edit", "4", "4"],
  ]) {
    test(`${pick}: it is what is saved, with all else that both changed`, async () => {
      const { session } = await inConflict();
      session.choose("/a", pick, text);
      assert.ok(session.settle());
      await session.save();
      assert.equal(service.text("doc"), `{"a":${value},"b":2,"c":3}`);
      assert.deepEqual([session.state.conflict, session.edited], [null, false]);
    });
  }

  test("they save once more while one chooses: only what that touches is asked again", async () => {
    const { session } = await inConflict();
    session.choose("/a", "mine");
    session.event("put", service.write("doc", '{"a":3,"b":9}'));
    assert.deepEqual(pointers(session.state.conflict.undecided), ["/b"]);
    session.choose("/b", "theirs");
    session.settle();
    await session.save();
    assert.equal(service.text("doc"), '{"a":2,"b":9}');
  });

  test("they save once more in another place: the choice holds", async () => {
    const { session } = await inConflict();
    session.choose("/a", "mine");
    session.settle();
    service.write("doc", '{"a":3,"b":1,"c":9}');
    await session.save();
    assert.equal(service.text("doc"), '{"a":2,"b":2,"c":9}');
  });

  test("one goes back to the text: it is as it was typed", async () => {
    const { session } = await inConflict();
    session.choose("/a", "theirs");
    session.leaveConflict();
    assert.deepEqual([session.state.conflict, session.text], [null, '{"a":2,"b":2}']);
    session.mergeNow();
    assert.deepEqual(session.state.conflict.undecided, []);
  });

  test("the page is closed: text, base and choices are there again", async () => {
    const { session } = await inConflict();
    session.choose("/a", "edit", "4");
    session.keeping.now();
    const { session: next } = await open("doc");
    assert.deepEqual([next.text, next.state.base.version], ['{"a":2,"b":2}', "1"]);
    assert.deepEqual(next.state.conflict.undecided, []);
    next.settle();
    await next.save();
    assert.equal(service.text("doc"), '{"a":4,"b":2,"c":3}');
  });
});

describe("somebody else deletes", () => {
  test("the text is kept, and nothing is created that was not asked for", async () => {
    service.write("doc", "1");
    const { session, asked } = await open("doc");
    session.edit("2");
    service.delete("doc");
    await session.save();
    assert.deepEqual([service.text("doc"), session.text, session.deleted], [undefined, "2", true]);
    assert.ok(isKept("doc"));
    assert.deepEqual(asked.focus, ["banner"]);
    await session.recreate();
    assert.deepEqual([service.text("doc"), session.deleted, session.edited], ["2", false, false]);
  });

  test("that is said of an entry that is only looked at, too", async () => {
    service.write("doc", "1");
    const { session, asked } = await open("doc");
    session.event("delete", service.delete("doc"));
    assert.deepEqual([session.deleted, session.text], [true, "1"]);
    assert.equal(asked.said.at(-1), "This entry was deleted by someone else.");
  });
});

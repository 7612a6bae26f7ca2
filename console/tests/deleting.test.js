// Deleting an open entry: only the version that the user was asked about goes.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { begin, open as openWith } from "./opened.js";

let service;
let drafts;
beforeEach(async () => {
  ({ service, drafts } = await begin());
});

const open = (key) => openWith(key, drafts);

describe("deleting", () => {
  test("deletes only the version that is shown", async () => {
    const { etag } = service.write("doc", "1");
    const { session } = await open("doc");
    const gone = await session.remove();
    assert.deepEqual([gone.etag, service.text("doc")], [etag, undefined]);
  });

  test("is not reported as done by someone else", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc");
    const deletion = { ...session.state.base, revision: 2 };
    const release = service.hold("answers");
    const removed = session.remove();
    session.event("delete", deletion);
    release();
    await removed;
    assert.deepEqual([calls.said, session.deleted], [[], false]);
  });

  test("does not delete an entry that somebody else changed meanwhile", async () => {
    service.write("doc", "1");
    const { session } = await open("doc");
    service.write("doc", "2");
    assert.equal(await session.remove(), undefined);
    assert.deepEqual([service.text("doc"), session.text], ["2", "2"]);
    assert.equal(session.state.problem.message, "Not deleted: it was changed by someone else meanwhile.");
  });

  test("does not delete a version that arrives while the user is asked", async () => {
    const { etag } = service.write("doc", "1");
    const { session } = await open("doc");
    session.event("put", service.write("doc", "2"));
    assert.equal(session.text, "2");
    assert.equal(await session.remove(etag), undefined);
    assert.equal(service.text("doc"), "2");
    assert.equal(session.state.problem.message, "Not deleted: it was changed by someone else meanwhile.");
  });

  for (const [status, code, message] of [
    [502, "Bad Gateway", "The server answered with status 502. Whether the entry was deleted is not known."],
    [504, "outcome_unknown", "The server says: it may be applied"],
    [500, "io", "The server says: it may be applied"],
  ]) {
    test(`answered with ${status} ${code} does not say that nothing was deleted`, async () => {
      service.write("doc", "1");
      const { session } = await open("doc");
      service.refuse(status, code, "it may be applied", 3);
      await session.remove();
      assert.deepEqual([session.state.problem.message, session.state.problem.mayBeDeleted], [message, true]);
    });
  }

  test("without an answer says that the outcome is unknown", async () => {
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

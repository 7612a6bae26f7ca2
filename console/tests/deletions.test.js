// Which keys are deleted, found by reading the history backwards.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { Deletions } from "../deletions.js";
import { historyUnder } from "../past.js";
import { FakeService } from "./service.js";

const keys = ({ found }) => found.map((event) => event.key);

let service;
beforeEach(() => {
  service = new FakeService();
});

/** Reads the whole history of a prefix. */
async function find(prefix = "") {
  const deletions = new Deletions();
  let next;
  do {
    const page = await historyUnder(prefix, next);
    deletions.add(page.events);
    next = page.next;
  } while (next !== null);
  return deletions;
}

describe("the deleted entries", () => {
  test("are those whose newest event is a deletion", async () => {
    for (const key of ["a", "b", "c", "d"]) service.write(key, "1");
    service.delete("a", "ann");
    service.delete("b");
    service.write("b", "2");
    service.delete("d");
    service.page = 2;
    const deletions = await find();
    assert.deepEqual(keys(deletions), ["d", "a"]);
    const { version, modifiedBy, revision } = deletions.found[1];
    assert.deepEqual([version, modifiedBy, revision], ["1", "ann", 5]);
  });

  test("are looked for under a prefix", async () => {
    for (const key of ["doc/a", "other"]) {
      service.write(key, "1");
      service.delete(key);
    }
    assert.deepEqual(keys(await find("doc/")), ["doc/a"]);
    assert.match(service.requests[0].path, /^\/history\?values=false&limit=\d+&prefix=doc%2F$/);
  });

  test("change with what happens meanwhile", async () => {
    service.write("a", "1");
    service.delete("a");
    const deletions = await find();
    assert.ok(deletions.happened("put", service.write("a", "2")));
    assert.deepEqual(keys(deletions), []);
    assert.ok(!deletions.happened("put", service.write("b", "1")));
    assert.ok(deletions.happened("delete", service.delete("b")));
    assert.deepEqual(keys(deletions), ["b"]);
    const older = { key: "b", kind: "put", revision: 1 };
    deletions.add([older]);
    assert.ok(!deletions.happened("put", { ...older, tree: 1 }));
    assert.deepEqual(keys(deletions), ["b"]);
  });
});

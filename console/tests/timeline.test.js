// The history of a key, the comparison of two versions, and bringing one back.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { EVERYTHING, whyNot } from "../grants.js";
import { Timeline } from "../timeline.js";
import { nameOf, whatHappened, whyIncomplete } from "../versions.js";
import { FakeService } from "./service.js";

let service;
beforeEach(() => {
  service = new FakeService();
});

/** The history of a key after it was read. `calls` collects what it calls. */
async function open(key, chosen = {}, grants = EVERYTHING) {
  const calls = { said: [], restored: [], unreachable: 0 };
  const timeline = new Timeline(key, {
    changed: () => {},
    say: (sentence) => calls.said.push(sentence),
    restored: (entry) => calls.restored.push(entry),
    unreachable: () => {
      calls.unreachable += 1;
    },
    whyNot: (action) => whyNot(grants, action, key),
  });
  timeline.chosen = chosen;
  await timeline.load();
  return { timeline, calls };
}

const words = ({ versions }) => versions.map((version) => whatHappened(version, versions));

/** What is compared: the versions of both sides, and the kinds of the rows that differ. */
function compared({ comparison: { phase, from, to, result } }) {
  const rows = result?.rows?.filter((row) => row.kind !== "same").map((row) => row.kind) ?? result?.kind;
  return [phase, from?.version, to?.version, rows];
}

describe("the history of a key", () => {
  test("is a list of versions, and the newest change is compared at first", async () => {
    service.write("doc", '{"a":1}', "ann");
    service.write("doc", '{"a":2}', "bob");
    const { timeline } = await open("doc");
    assert.deepEqual(words(timeline), ["changed", "created"]);
    assert.deepEqual(
      timeline.versions.map((version) => version.modifiedBy),
      ["bob", "ann"],
    );
    assert.deepEqual(compared(timeline), ["compared", "1", "2", ["changed"]]);
    assert.equal(whyIncomplete(timeline), undefined);
    assert.match(service.requests[0].path, /^\/history\/doc\?values=false&limit=\d+$/);
  });

  test("is read in pages", async () => {
    for (let n = 0; n < 5; n += 1) service.write("doc", String(n));
    service.page = 2;
    const { timeline } = await open("doc");
    assert.equal(timeline.versions.length, 2);
    await timeline.loadMore();
    await timeline.loadMore();
    assert.deepEqual([timeline.versions.length, timeline.next], [5, null]);
    service.cut("requests");
    Object.assign(timeline, { next: "1" });
    await timeline.loadMore();
    assert.match(timeline.moreProblem, /cannot be reached/);
  });

  test("ends with the version before the oldest event that is kept", async () => {
    for (let n = 0; n < 4; n += 1) service.write("doc", String(n));
    service.oldest = 2;
    const { timeline } = await open("doc", { to: 2 });
    assert.deepEqual(words(timeline), ["changed", "changed", "saved"]);
    assert.deepEqual([timeline.before.at, timeline.before.entry.version], [2, "2"]);
    assert.match(whyIncomplete(timeline), /no longer kept/);
  });

  test("of an entry that is older than what is kept has only that", async () => {
    service.write("doc", "1");
    service.write("other", "1");
    service.write("other", "2");
    service.oldest = 2;
    const { timeline } = await open("doc");
    assert.deepEqual([words(timeline), timeline.keepsNone], [["saved"], false]);
    assert.match(whyIncomplete(timeline), /older than the history/);
  });

  test("says if the service keeps none", async () => {
    service.write("doc", "1");
    service.oldest = undefined;
    const { timeline } = await open("doc");
    assert.deepEqual([timeline.keepsNone, words(timeline)], [true, ["saved"]]);
    assert.match(whyIncomplete(timeline), /has kept no history/);
  });

  test("that cannot be read says why, and can be read later", async () => {
    service.write("doc", "1");
    service.cut("requests");
    const { timeline, calls } = await open("doc");
    assert.deepEqual([timeline.phase, timeline.problem], ["failed", "The server cannot be reached."]);
    assert.equal(calls.unreachable, 1);
    service.cut(null);
    await timeline.refresh();
    assert.deepEqual([timeline.phase, timeline.versions.length], ["loaded", 1]);
  });

  test("grows with what others do", async () => {
    service.write("doc", "1");
    const { timeline } = await open("doc");
    await timeline.refresh();
    timeline.event("put", service.write("doc", "2"));
    timeline.event("delete", service.delete("doc", "ann"));
    timeline.event("put", service.write("other", "2"));
    while (timeline.versions.length < 3 || timeline.isRefreshing) await new Promise(setImmediate);
    assert.deepEqual([words(timeline)[0], timeline.current], ["deleted", null]);
    assert.equal(timeline.comparison.to, null);
  });
});

describe("a comparison", () => {
  test("is of any two versions", async () => {
    for (let n = 0; n < 4; n += 1) service.write("doc", `{"a":${n}}`);
    const { timeline } = await open("doc");
    await timeline.choose({ from: 4, to: 1 });
    assert.deepEqual(compared(timeline), ["compared", "4", "1", ["changed"]]);
    await timeline.choose({ to: 1 });
    assert.deepEqual(compared(timeline).slice(0, 3), ["compared", undefined, "1"]);
  });

  test("with a version that is no longer kept says so", async () => {
    for (let n = 0; n < 4; n += 1) service.write("doc", String(n));
    const { timeline } = await open("doc");
    service.oldest = 3;
    await timeline.choose({ to: 2 });
    assert.deepEqual(
      [timeline.comparison.phase, timeline.comparison.problem],
      ["failed", "This version is no longer kept."],
    );
  });

  test("that was chosen later is the one that is shown", async () => {
    for (let n = 0; n < 4; n += 1) service.write("doc", String(n));
    const { timeline } = await open("doc");
    const release = service.hold("answers");
    const first = timeline.choose({ to: 2 });
    const second = timeline.choose({ to: 3 });
    release();
    await Promise.all([first, second]);
    assert.equal(timeline.comparison.pair.to, 3);
    assert.equal(nameOf(timeline.comparison.to, timeline.current), "version 3");
  });
});

describe("bringing back a version", () => {
  test("replaces the entry that is shown, and says what came of it", async () => {
    service.write("doc", '"first"');
    const { etag } = service.write("doc", '"second"');
    const { timeline, calls } = await open("doc", { restore: 1 });
    assert.deepEqual(compared(timeline).slice(0, 3), ["compared", "2", "1"]);
    await timeline.restore();
    const { method, path, headers, body } = service.requests.at(-1);
    assert.deepEqual([method, path, body], ["POST", "/revert/doc", '{"revision":1}']);
    assert.equal(headers["If-Match"], etag);
    assert.match(headers["Idempotency-Key"], /^"[0-9a-f]+"$/);
    assert.deepEqual([service.text("doc"), calls.restored[0].version], ['"first"', "3"]);
  });

  test("undoes a deletion", async () => {
    service.write("doc", "1");
    service.delete("doc");
    const { timeline, calls } = await open("doc", { restore: 1 });
    assert.deepEqual(compared(timeline).slice(0, 3), ["compared", undefined, "1"]);
    await timeline.restore();
    assert.equal(service.requests.at(-1).headers["If-None-Match"], "*");
    assert.deepEqual([service.text("doc"), calls.restored.length], ["1", 1]);
  });

  test("that meets a change of somebody else shows it, and asks again", async () => {
    service.write("doc", "1");
    service.write("doc", "2");
    const { timeline, calls } = await open("doc", { restore: 1 });
    service.write("doc", "3", "ann");
    await timeline.restore();
    assert.match(timeline.restoreProblem, /^Not restored: ann saved version 3 meanwhile/);
    assert.deepEqual(calls.said, [timeline.restoreProblem]);
    assert.deepEqual([service.text("doc"), calls.restored.length], ["3", 0]);
    assert.deepEqual(compared(timeline).slice(0, 3), ["compared", "3", "1"]);
    await timeline.restore();
    assert.deepEqual([service.text("doc"), calls.restored.length], ["1", 1]);
  });

  test("that meets a deletion shows that, and asks again", async () => {
    service.write("doc", "1");
    service.write("doc", "2");
    const { timeline } = await open("doc", { restore: 1 });
    service.delete("doc");
    await timeline.restore();
    assert.match(timeline.restoreProblem, /^Not restored: the entry was deleted meanwhile/);
    await timeline.restore();
    assert.equal(service.text("doc"), "1");
  });

  test("whose answer is lost is done once, however often it is tried", async () => {
    service.write("doc", "1");
    service.write("doc", "2");
    const { timeline, calls } = await open("doc", { restore: 1 });
    service.cut("answers");
    await timeline.restore();
    assert.match(timeline.restoreProblem, /Whether the version was restored is not known/);
    service.cut(null);
    await timeline.restore();
    assert.deepEqual([service.writes, calls.restored[0].version], [1, "3"]);
  });

  test("is refused with the words of the service", async () => {
    service.write("doc", "1");
    service.write("doc", "2");
    const { timeline } = await open("doc", { restore: 1 });
    service.refuse(403, "forbidden", "update of doc is not granted");
    await timeline.restore();
    assert.equal(timeline.restoreProblem, "Not restored: The server says: update of doc is not granted");
  });

  test("is offered only where it is granted and would change something", async () => {
    service.write("doc", "1");
    service.write("doc", "2");
    service.write("doc", "1");
    const reader = [{ prefix: "", actions: ["read"] }];
    const { timeline: read } = await open("doc", { restore: 1 }, reader);
    assert.equal(read.whyNotRestored, "You may not change entries here.");
    await read.restore();
    assert.equal(service.writes, 0);
    const { timeline } = await open("doc", { restore: 1 });
    assert.equal(timeline.whyNotRestored, "The entry has this value already.");
    await timeline.choose({ restore: 2 });
    assert.equal(timeline.whyNotRestored, undefined);
  });
});

// Unsaved text is kept in the browser until it is saved or discarded.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Drafts } from "../drafts.js";
import { FakeDatabase, FakeStorage, newBrowser, newTab, setGlobal } from "./browser.js";

const database = new FakeDatabase();
globalThis.indexedDB = database;

const LARGE = "x".repeat(200_000);
const draftOf = (key, text, etag = '"1-aa"') => ({ key, text, etag, base: "1" });
const textsOf = (drafts) => drafts.map((draft) => draft.text);

let browser;
beforeEach(() => {
  browser = newBrowser();
  database.table.clear();
  database.isBroken = false;
});

/** Opens a tab; `troubles` collects what onTrouble was called with. */
async function openTab(sessionStorage) {
  const storage = newTab(sessionStorage);
  const troubles = [];
  const drafts = new Drafts((inTrouble) => troubles.push(inTrouble));
  await drafts.begin();
  return { drafts, troubles, storage };
}

const closeTab = ({ drafts }) => browser.locks.release(`ifmatch:tab:${drafts.tab}`);

/** Waits until a condition holds. */
async function until(holds) {
  const end = Date.now() + 10_000;
  while (!holds()) {
    assert.ok(Date.now() < end, "timed out");
    await sleep(1);
  }
}

describe("a draft", () => {
  test("is found under its key only", async () => {
    const { drafts } = await openTab();
    drafts.keep(draftOf("doc/a:b", "[1]"));
    const [found] = await drafts.of("doc/a:b");
    assert.deepEqual([found.text, found.etag, found.base, found.owner], ["[1]", '"1-aa"', "1", "mine"]);
    assert.deepEqual(await drafts.of("doc/a"), []);
    assert.deepEqual([...drafts.keys()], ["doc/a:b"]);
  });

  test("replaces the previous draft of its tab", async () => {
    const { drafts } = await openTab();
    const first = drafts.keep(draftOf("a", "[1]"));
    assert.equal(drafts.keep(draftOf("a", "[1, 2]"), first), first);
    const moved = drafts.keep(draftOf("a", "[1, 2, 3]", '"2-bb"'), first);
    assert.notEqual(moved, first);
    assert.deepEqual([drafts.has(first), drafts.has(moved)], [false, true]);
    assert.deepEqual(textsOf(await drafts.of("a")), ["[1, 2, 3]"]);
  });

  test("is gone after drop", async () => {
    const { drafts } = await openTab();
    const name = drafts.keep(draftOf("a", "[1]"));
    drafts.drop(name);
    assert.equal(drafts.has(name), false);
    assert.deepEqual(await drafts.of("a"), []);
    assert.equal(drafts.keys().size, 0);
  });

  test("of a new entry has an empty key", async () => {
    const { drafts } = await openTab();
    drafts.keep({ ...draftOf("", "[1]", null), base: null });
    assert.deepEqual(textsOf(await drafts.of("")), ["[1]"]);
    assert.deepEqual([...drafts.keys()], [""]);
  });

  test("that is damaged is skipped", async () => {
    const { drafts } = await openTab();
    database.isBroken = true;
    const name = drafts.keep(draftOf("a", "[1]"));
    browser.localStorage.setItem(name, "{oops");
    assert.deepEqual(await drafts.of("a"), []);
  });

  test("is found as it was last, if a browser that was killed has not written localStorage to the disk", async () => {
    const before = await openTab();
    const name = before.drafts.keep(draftOf("a", "[1]"));
    const outdated = browser.localStorage.getItem(name);
    await sleep(2);
    before.drafts.keep(draftOf("a", "[1, 2]"), name);
    await until(() => database.table.get(name)?.text === "[1, 2]");
    closeTab(before);
    browser.localStorage.setItem(name, outdated);
    assert.deepEqual(textsOf(await (await openTab()).drafts.of("a")), ["[1, 2]"]);
    browser.localStorage.removeItem(name);
    const after = await openTab();
    assert.deepEqual(textsOf(await after.drafts.of("a")), ["[1, 2]"]);
    after.drafts.drop(name);
    await until(() => database.table.size === 0);
    assert.equal(after.drafts.has(name), false);
  });

  test("is not confused with other data in localStorage", async () => {
    browser.localStorage.setItem("theme", "dark");
    const { drafts } = await openTab();
    assert.equal(drafts.keys().size, 0);
  });
});

describe("two tabs", () => {
  test("keep separate drafts of the same version", async () => {
    const one = await openTab();
    const other = await openTab();
    one.drafts.keep(draftOf("a", "mine"));
    await sleep(2);
    other.drafts.keep(draftOf("a", "theirs"));
    const found = await one.drafts.of("a");
    assert.deepEqual(textsOf(found), ["theirs", "mine"]);
    assert.deepEqual([found[0].owner, found[1].owner], ["open", "mine"]);
  });

  test("do not reuse each other's names", async () => {
    const one = await openTab();
    const other = await openTab();
    const name = one.drafts.keep(draftOf("a", "mine"));
    assert.notEqual(other.drafts.keep(draftOf("a", "taken over"), name), name);
    assert.deepEqual(textsOf(await one.drafts.of("a")), ["taken over"]);
  });

  test("have different names, even if one was duplicated from the other", async () => {
    const one = await openTab();
    const copy = await openTab(Object.assign(new FakeStorage(), one.storage));
    assert.notEqual(copy.drafts.tab, one.drafts.tab);
  });

  test("can take over the draft of a closed tab", async () => {
    const one = await openTab();
    one.drafts.keep(draftOf("a", "left"));
    closeTab(one);
    const other = await openTab();
    assert.equal((await other.drafts.of("a"))[0].owner, "left");
  });

  test("do not know whether the other is open in a browser without locks", async () => {
    const one = await openTab();
    one.drafts.keep(draftOf("a", "[1]"));
    setGlobal("navigator", {});
    const other = await openTab();
    assert.equal((await other.drafts.of("a"))[0].owner, "unknown");
  });

  test("have different names in a browser without locks, too, and keep them over a reload", async () => {
    setGlobal("navigator", {});
    const one = await openTab();
    const page = window;
    one.drafts.keep(draftOf("a", "[1]"));
    setGlobal("window", new EventTarget());
    const copy = await openTab(Object.assign(new FakeStorage(), one.storage));
    assert.equal((await copy.drafts.of("a"))[0].owner, "unknown");
    newTab(one.storage);
    page.dispatchEvent(new Event("pagehide"));
    const after = await openTab(one.storage);
    assert.equal((await after.drafts.of("a"))[0].owner, "mine");
  });

  test("keep their name and drafts over a reload", async () => {
    const before = await openTab();
    before.drafts.keep(draftOf("a", "[1]"));
    closeTab(before);
    const after = await openTab(before.storage);
    assert.equal((await after.drafts.of("a"))[0].owner, "mine");
  });
});

describe("a large draft", () => {
  test("is kept in IndexedDB, and its name in localStorage", async () => {
    const one = await openTab();
    const name = one.drafts.keep(draftOf("a", LARGE));
    assert.deepEqual(textsOf(await one.drafts.of("a")), [LARGE]);
    await until(() => one.drafts.unkept.size === 0);
    assert.equal(browser.localStorage.getItem(name), "{}");
    const other = await openTab();
    assert.deepEqual(textsOf(await other.drafts.of("a")), [LARGE]);
    other.drafts.drop(name);
    await until(() => database.table.size === 0);
    assert.equal(browser.localStorage.getItem(name), null);
  });

  test("that has become small is small in IndexedDB, too, and gone from there after drop", async () => {
    const { drafts } = await openTab();
    const name = drafts.keep(draftOf("a", LARGE));
    await until(() => drafts.unkept.size === 0);
    assert.equal(drafts.keep(draftOf("a", "[1]"), name), name);
    await until(() => database.table.get(name).text === "[1]");
    assert.deepEqual(textsOf(await drafts.of("a")), ["[1]"]);
    drafts.drop(name);
    await until(() => database.table.size === 0);
  });

  test("is stored before the draft it replaces is dropped", async () => {
    const { drafts } = await openTab();
    const first = drafts.keep(draftOf("a", "[1]"));
    const moved = drafts.keep(draftOf("a", LARGE, '"2-bb"'), first);
    assert.ok(drafts.has(first));
    await until(() => drafts.unkept.size === 0 && !drafts.has(first));
    assert.ok(database.table.has(moved));
  });
});

describe("when storage is full", () => {
  test("small drafts go to IndexedDB if only localStorage is full", async () => {
    const { drafts, troubles } = await openTab();
    browser.localStorage.fill(true);
    drafts.keep(draftOf("a", "[1]"));
    await until(() => drafts.unkept.size === 0);
    assert.deepEqual(textsOf(await drafts.of("a")), ["[1]"]);
    assert.ok(!troubles.includes(true));
  });

  test("the user is warned, and the draft is kept in memory", async () => {
    const { drafts, troubles } = await openTab();
    browser.localStorage.fill(true);
    database.isBroken = true;
    const name = drafts.keep(draftOf("a", "[1]"));
    await until(() => troubles.at(-1));
    assert.deepEqual(textsOf(await drafts.of("a")), ["[1]"]);
    assert.deepEqual([drafts.unkept.size, drafts.failed.size], [1, 1]);
    browser.localStorage.fill(false);
    drafts.keep(draftOf("a", "[1, 2]"), name);
    assert.equal(troubles.at(-1), false);
    assert.equal(drafts.unkept.size, 0);
  });

  test("the old draft is kept if the new one cannot be stored", async () => {
    const { drafts } = await openTab();
    const first = drafts.keep(draftOf("a", "[1]"));
    database.isBroken = true;
    drafts.keep(draftOf("a", LARGE, '"2-bb"'), first);
    await until(() => drafts.failed.size === 1);
    assert.ok(drafts.has(first));
  });
});

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
const opened = [];
beforeEach(async () => {
  // An earlier test may have copies that are not written yet. They must not get into this one.
  for (const drafts of opened.splice(0)) drafts.copyNow();
  await sleep(0);
  browser = newBrowser();
  database.table.clear();
  database.isBroken = false;
  database.aborts = 0;
});

/** Opens a tab; `troubles` collects what onTrouble was called with. */
async function openTab(sessionStorage) {
  const storage = newTab(sessionStorage);
  const troubles = [];
  const drafts = new Drafts((inTrouble) => troubles.push(inTrouble));
  opened.push(drafts);
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

/** Counts the drafts that are written to IndexedDB from now on. */
function countPuts() {
  const puts = { count: 0 };
  const { table } = database;
  table.set = (...entry) => {
    puts.count += 1;
    return Map.prototype.set.apply(table, entry);
  };
  return puts;
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
    await until(() => database.table.get(name)?.text === "[1]");
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

  test("is the latest one, even if its copy in IndexedDB is of the same moment", async () => {
    const { drafts } = await openTab();
    const name = drafts.keep(draftOf("a", "[1]"));
    await until(() => database.table.has(name));
    await drafts.lookUp();
    const { at } = database.table.get(name);
    browser.localStorage.setItem(name, JSON.stringify({ ...draftOf("a", "[1, 2]"), at }));
    assert.deepEqual(textsOf(await drafts.of("a")), ["[1, 2]"]);
  });

  test("is stored at once in localStorage, and after a pause in IndexedDB", async () => {
    const { drafts } = await openTab();
    const puts = countPuts();
    let name;
    for (const text of ["[", "[1", "[1]"]) {
      name = drafts.keep(draftOf("a", text), name);
      assert.equal(JSON.parse(browser.localStorage.getItem(name)).text, text);
    }
    await sleep(0);
    assert.equal(puts.count, 0);
    await until(() => database.table.get(name)?.text === "[1]");
    assert.equal(puts.count, 1);
    drafts.keep(draftOf("a", "[1, 2]"), name);
    drafts.copyNow();
    await sleep(0);
    assert.equal(database.table.get(name).text, "[1, 2]");
  });

  test("is not copied to IndexedDB after it was dropped", async () => {
    const { drafts } = await openTab();
    const puts = countPuts();
    drafts.drop(drafts.keep(draftOf("a", "[1]")));
    drafts.copyNow();
    await sleep(0);
    assert.equal(puts.count, 0);
  });

  test("is not confused with other data in localStorage", async () => {
    browser.localStorage.setItem("theme", "dark");
    const { drafts } = await openTab();
    assert.equal(drafts.keys().size, 0);
  });
});

describe("a dropped draft", () => {
  /** A draft of which IndexedDB has a copy. */
  async function copied({ drafts }, text = "[1]") {
    const name = drafts.keep(draftOf("a", text));
    await until(() => database.table.get(name)?.text === text && drafts.unkept.size === 0);
    return name;
  }

  const droppedItems = () => Object.keys(browser.localStorage).filter((item) => item.includes("dropped"));

  for (const [what, text] of [
    ["small", "[1]"],
    ["large", LARGE],
  ]) {
    test(`does not come back if IndexedDB fails meanwhile (${what})`, async () => {
      const before = await openTab();
      const name = await copied(before, text);
      database.isBroken = true;
      before.drafts.drop(name);
      await until(() => database.aborts > 0);
      assert.deepEqual(await before.drafts.of("a"), []);
      closeTab(before);
      database.isBroken = false;
      const after = await openTab();
      assert.equal(after.drafts.has(name), false);
      assert.deepEqual(await after.drafts.of("a"), []);
      await until(() => database.table.size === 0 && droppedItems().length === 0);
    });
  }

  test("does not come back if IndexedDB failed since the page was opened", async () => {
    const before = await openTab();
    const name = await copied(before);
    closeTab(before);
    database.isBroken = true;
    const { drafts } = await openTab();
    drafts.drop(name);
    await until(() => database.aborts > 0);
    database.isBroken = false;
    assert.deepEqual(await drafts.of("a"), []);
    await until(() => database.table.size === 0);
  });

  test("does not come back if localStorage is full, too", async () => {
    const { drafts } = await openTab();
    const name = await copied({ drafts });
    database.isBroken = true;
    browser.localStorage.fill(true);
    drafts.drop(name);
    await until(() => database.aborts > 0);
    database.isBroken = false;
    assert.deepEqual(await drafts.of("a"), []);
    await until(() => database.table.size === 0);
  });

  test("leaves nothing behind in localStorage", async () => {
    const { drafts } = await openTab();
    drafts.drop(await copied({ drafts }));
    await until(() => Object.keys(browser.localStorage).length === 0);
  });

  test("leaves only a few items behind if IndexedDB never works", async () => {
    const { drafts } = await openTab();
    database.isBroken = true;
    for (let count = 0; count < 250; count += 1) drafts.drop(drafts.keep(draftOf("a", "[1]")));
    await until(() => database.aborts > 0);
    await drafts.lookUp();
    assert.equal(droppedItems().length, 200);
  });

  test("does not come back if the names were being read when it was dropped", async () => {
    const { drafts } = await openTab();
    const name = await copied({ drafts });
    const looking = drafts.lookUp();
    await Promise.resolve();
    drafts.drop(name);
    await looking;
    assert.equal(drafts.has(name), false);
    assert.deepEqual([...drafts.keys()], []);
  });

  test("that is stored again is there again", async () => {
    const { drafts } = await openTab();
    const name = await copied({ drafts });
    database.isBroken = true;
    drafts.drop(name);
    await until(() => database.aborts > 0);
    database.isBroken = false;
    assert.equal(drafts.keep(draftOf("a", "[1, 2]"), name), name);
    await drafts.lookUp();
    await until(() => database.table.get(name)?.text === "[1, 2]");
    assert.deepEqual(textsOf(await drafts.of("a")), ["[1, 2]"]);
  });

  test("of which only IndexedDB has a copy is gone in other tabs, too", async () => {
    const one = await openTab();
    const name = await copied(one);
    browser.localStorage.removeItem(name);
    const other = await openTab();
    assert.ok(other.drafts.has(name));
    one.drafts.drop(name);
    const [item] = droppedItems();
    // A browser sends this to the other tabs.
    const event = Object.assign(new Event("storage"), { key: item, newValue: "" });
    window.dispatchEvent(event);
    assert.equal(other.drafts.has(name), false);
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

  test("the old draft is dropped when the new one is stored later", async () => {
    for (const text of [LARGE, "[1, 2]"]) {
      const { drafts } = await openTab();
      const first = drafts.keep(draftOf("a", "[1]"));
      database.isBroken = true;
      const moved = drafts.keep(draftOf("a", LARGE, '"2-bb"'), first);
      await until(() => drafts.failed.size === 1);
      database.isBroken = false;
      assert.equal(drafts.keep(draftOf("a", text, '"2-bb"'), moved), moved);
      await until(() => drafts.unkept.size === 0 && !drafts.has(first));
      assert.ok(drafts.has(moved));
    }
  });

  test("the old draft is dropped with the new one", async () => {
    const { drafts } = await openTab();
    const first = drafts.keep(draftOf("a", "[1]"));
    database.isBroken = true;
    const moved = drafts.keep(draftOf("a", LARGE, '"2-bb"'), first);
    await until(() => drafts.failed.size === 1);
    drafts.drop(moved);
    assert.deepEqual([...drafts.keys()], []);
  });
});

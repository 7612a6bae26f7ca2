// The stream of all tabs, and who it is for.

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Hub } from "../hub.js";
import { setGlobal } from "./browser.js";
import { pathIn } from "./service.js";

/** The streams that were opened, the latest last. */
let streams;
/** The status of whoami. */
let status;
let hub;
let tabs;

class FakeEventSource extends EventTarget {
  static OPEN = 1;
  isClosed = false;

  constructor(url) {
    super();
    this.url = pathIn(url);
    streams.push(this);
  }

  close() {
    this.isClosed = true;
  }
}

beforeEach(() => {
  streams = [];
  tabs = [];
  status = 200;
  setGlobal("navigator", { onLine: true });
  setGlobal("EventSource", FakeEventSource);
  globalThis.fetch = async () => new Response("{}", { status });
  hub = new Hub();
});

afterEach(() => {
  for (const tab of tabs) tab.send({ kind: "leave" });
});

/** Connects a tab that shows all keys. */
function openTab() {
  const port = new EventTarget();
  const received = [];
  Object.assign(port, { start() {}, close() {}, postMessage: (message) => received.push(message) });
  const send = (data) => port.dispatchEvent(Object.assign(new Event("message"), { data }));
  hub.connect(port);
  tabs.push({ send, received });
  return tabs.at(-1);
}

const watch = (tab) => tab.send({ kind: "watch", prefix: "", since: "7-epoch", round: 1 });
const lastStatus = (tab) => tab.received.findLast(({ kind }) => kind === "status").status;

/** Waits until a condition holds. */
async function until(holds) {
  const end = Date.now() + 10_000;
  while (!holds()) {
    assert.ok(Date.now() < end, "timed out");
    await sleep(1);
  }
}

/** A tab of somebody with an open stream. */
function live(name) {
  const tab = openTab();
  tab.send({ kind: "caller", name });
  watch(tab);
  streams.at(-1).onopen();
  return tab;
}

describe("a stream", () => {
  test("that is refused because nobody is signed in is not tried again until somebody is", async () => {
    const tab = live("ann");
    const other = openTab();
    status = 401;
    streams[0].onerror();
    await until(() => lastStatus(tab) === "ended");
    assert.equal(lastStatus(other), "ended");
    hub.online();
    assert.deepEqual([streams.length, hub.retry, streams[0].isClosed], [1, 0, true]);
    tab.send({ kind: "caller", name: "ann" });
    assert.deepEqual([streams.length, streams[1].url], [2, "/watch?since=7-epoch"]);
    streams[1].onopen();
    assert.equal(lastStatus(tab), "connected");
    assert.ok(tab.received.some(({ kind }) => kind === "back"));
  });

  test("that fails otherwise is tried again", async () => {
    const tab = live("ann");
    status = 503;
    streams[0].onerror();
    await until(() => streams.length === 2);
    assert.equal(lastStatus(tab), "reconnecting");
  });

  test("ends for all tabs when one signs out", () => {
    const tab = live("ann");
    const other = openTab();
    other.send({ kind: "caller", name: undefined });
    assert.deepEqual([streams[0].isClosed, lastStatus(tab)], [true, "ended"]);
  });

  test("begins again for somebody else, and once for all tabs", () => {
    live("ann");
    const other = openTab();
    other.send({ kind: "caller", name: "ann" });
    assert.equal(streams.length, 1);
    for (const tab of tabs) tab.send({ kind: "caller", name: "bob" });
    assert.deepEqual([streams.length, streams[0].isClosed], [2, true]);
  });

  test("is not ended by an answer that is older than a sign-in", async () => {
    const tab = live("ann");
    let answer;
    globalThis.fetch = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    streams[0].onerror();
    // A hidden tab has no stream that could tell the two apart.
    tab.send({ kind: "hide" });
    tab.send({ kind: "caller", name: "bob" });
    answer(new Response("{}", { status: 401 }));
    await sleep(5);
    assert.equal(lastStatus(tab), "connecting");
    tab.send({ kind: "show" });
    assert.equal(streams.length, 2);
  });
});

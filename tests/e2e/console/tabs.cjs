// Many tabs of one browser, which share a stream.
const http = require("node:http");
const {
  Server,
  HOST,
  afterStory,
  area,
  becomes,
  finding,
  open,
  person,
  retype,
  save,
  setVisibility,
} = require("./support.cjs");

const TABS = 10;
/** How many entries a list shows at first. */
const PAGE = 50;
const LIST_MILLIS = 5_000;
const CHANGE_MILLIS = 3_000;
/** A tab is slow to show the list on a machine that is slow at everything; this is how long the first may take on one that is not. */
const USUAL_MILLIS = 1_000;
/** Longer than a hidden tab keeps its stream, and than the service is left unasked while somebody looks. */
const HIDDEN_MILLIS = 7_000;
const PULSE_MILLIS = 11_000;

/** Stands between a browser and the service, and sees what is asked. */
class Relay {
  static async start(server) {
    const relay = new Relay();
    Object.assign(relay, { streams: new Set(), opened: 0, asked: [] });
    const { hostname, port } = new URL(server.url);
    relay.listener = http.createServer((request, response) => {
      relay.asked.push(request.url);
      const up = http.request(
        {
          hostname,
          port,
          path: request.url,
          method: request.method,
          headers: { ...request.headers, host: request.headers.host.replace(HOST, "127.0.0.1") },
        },
        (answer) => {
          response.writeHead(answer.statusCode, answer.headers);
          response.flushHeaders();
          answer.pipe(response);
          answer.on("error", () => response.destroy());
        },
      );
      up.on("error", () => response.destroy());
      if (request.url.startsWith("/watch")) {
        relay.opened += 1;
        relay.streams.add(request.url);
        response.on("close", () => relay.streams.delete(request.url));
      }
      response.on("close", () => up.destroy());
      request.pipe(up);
    });
    await new Promise((resolve) => relay.listener.listen(0, "127.0.0.1", resolve));
    relay.url = `http://127.0.0.1:${relay.listener.address().port}`;
    afterStory(() => relay.end());
    return relay;
  }

  connections() {
    return new Promise((resolve) => this.listener.getConnections((_, count) => resolve(count)));
  }

  end() {
    this.listener.closeAllConnections();
    this.listener.close();
  }
}

const pause = (millis) => new Promise((resolve) => setTimeout(resolve, millis));
const row = (page, key) =>
  page.locator("#entries li").filter({ has: page.locator(".row-key", { hasText: new RegExp(`^${key}$`) }) });
const rows = (page) =>
  page
    .locator("#entries li")
    .evaluateAll((all) =>
      all.map(
        (one) =>
          `${one.querySelector(".row-key").textContent} ${one.querySelector(".row-meta > span").textContent.match(/v(\d+)/)?.[1]}`,
      ),
    );

/** Writes a key, and tells how long it took until all of these pages showed that. */
async function changeShown(server, pages, key) {
  const { version } = await server.put(key, `"${Math.random()}"`);
  const begun = performance.now();
  await Promise.all(
    pages.map((page) =>
      row(page, key)
        .filter({ hasText: `v${version}` })
        .waitFor(),
    ),
  );
  return Math.round(performance.now() - begun);
}

async function inTime(what, limit, took) {
  try {
    const millis = await took;
    finding(`${what}: ${millis} of ${Math.round(limit)} ms`, millis <= limit);
  } catch (error) {
    finding(`${what}: ${String(error).split("\n")[0]}`, false);
  }
}

async function openTab(context, relay, hash) {
  const begun = performance.now();
  const page = await open(context, relay, hash, { expectFailures: true });
  await page.locator("#entries li").first().waitFor();
  return { page, millis: performance.now() - begun };
}

async function tenTabs() {
  const server = await Server.start();
  for (const key of ["a/1", "a/2", "b/1", "doc"]) await server.put(key, "1");
  const relay = await Relay.start(server);
  const me = await person();
  const tabs = [await openTab(me, relay, "")];
  const pace = Math.max(1, tabs[0].millis / USUAL_MILLIS);
  while (tabs.length < TABS) tabs.push(await openTab(me, relay, tabs.length % 2 === 0 ? "" : "#/kv/doc"));
  const slowest = Math.max(...tabs.map((tab) => tab.millis));
  await inTime(`each of ${TABS} tabs shows the list`, LIST_MILLIS * pace, Math.round(slowest));
  const pages = tabs.map((tab) => tab.page);
  await inTime("a change elsewhere is in each", CHANGE_MILLIS * pace, changeShown(server, pages, "a/1"));
  await becomes("they share one stream", () => relay.streams.size === 1 || [...relay.streams].join());
  const connections = await relay.connections();
  finding(`and there are connections left: ${connections} of 6 are open`, connections <= 6);
  finding(
    "each says that it is live",
    (await Promise.all(pages.map((page) => page.locator("#connection").innerText()))).every((words) =>
      words.includes("Live"),
    ),
  );

  // The process of one of them has the stream, most likely that of the first.
  const { opened } = relay;
  while (relay.opened === opened && pages.length > 3) {
    await crash(pages.shift());
    await inTime(
      "a tab has crashed: the others go on",
      CHANGE_MILLIS * pace,
      changeShown(server, pages, "b/1"),
    );
  }
  finding("also when the stream went with it", relay.opened > opened);
  while (pages.length > 2) {
    await pages.shift().close();
    await inTime(
      "a tab is closed: the others go on",
      CHANGE_MILLIS * pace,
      changeShown(server, pages, "a/2"),
    );
  }
  await becomes("and there is one stream again", () => relay.streams.size === 1 || [...relay.streams].join());
  await me.close();
  await becomes("no tab, no stream", () => relay.streams.size === 0);
}

/** Ends the process of a page from one moment to the next. */
async function crash(page) {
  const crashed = page.waitForEvent("crash");
  const session = await page.context().newCDPSession(page);
  session.send("Page.crash").catch(() => {});
  await crashed;
}

// Each looks at something else; the stream carries what they have in common.
async function tabsApart() {
  const server = await Server.start();
  for (const key of ["a/1", "a/2", "b/1"]) await server.put(key, "1");
  const relay = await Relay.start(server);
  const me = await person();
  const first = (await openTab(me, relay, "")).page;
  await first.locator("#filter").fill("a/");
  await becomes("a filter narrows the stream", () => [...relay.streams].join().includes("prefix=a%2F"));
  const second = (await openTab(me, relay, "#/kv/a/1")).page;
  await becomes(
    "another tab widens it",
    () => relay.streams.size === 1 && ![...relay.streams].join().includes("prefix"),
  );
  await second.locator("#filter").fill("b/");
  // Changes from now on, at every moment of what the tabs do.
  let writing = true;
  const written = (async () => {
    for (let index = 0; writing; index += 1)
      await server.put(["a/1", "b/1", `a/${index}`, `b/${index}`][index % 4], `${index}`);
  })();
  const third = (await openTab(me, relay, "#/kv/b/1")).page;
  for (const filter of ["a/", "b", "", "a/1"]) {
    await third.locator("#filter").fill(filter);
    await pause(300);
  }
  await second.close();
  const fourth = (await openTab(me, relay, "#/kv/a/1")).page;
  writing = false;
  await written;
  for (const [name, page, prefix] of [
    ["first", first, "a/"],
    ["third", third, "a/1"],
    ["fourth", fourth, ""],
  ]) {
    await becomes(`the ${name} tab shows what there is`, async () => {
      const { items } = await (await fetch(`${server.url}/kv?prefix=${prefix}`)).json();
      const here = await rows(page);
      // A list that grew while it was shown may be longer than a page of it.
      if (here.length < Math.min(items.length, PAGE)) return `${here.length} of ${items.length}`;
      const there = items.slice(0, here.length).map((item) => `${item.key} ${item.version}`);
      return here.join() === there.join() || `${here} and not ${there}`;
    });
  }
  for (const [page, key] of [
    [third, "b/1"],
    [fourth, "a/1"],
  ]) {
    await becomes(
      `the open entry ${key} as well`,
      async () => (await area(page).inputValue()) === JSON.stringify(await server.value(key)),
    );
  }
  await server.kill();
  await becomes(
    "a lost connection is told in each tab",
    async () =>
      (await first.locator("#connection").innerText()).includes("Reconnecting") &&
      (await fourth.locator("#connection").innerText()).includes("Reconnecting"),
  );
  await server.restart();
  // The service has begun anew and does not know the point any more.
  await server.put("a/0", '"again"');
  await becomes(
    "and what was missed is in each",
    async () =>
      (await row(first, "a/0").innerText()).includes("again") &&
      (await row(fourth, "a/0").innerText()).includes("again"),
  );
  finding("by one stream", relay.streams.size === 1);
}

async function hiddenTabs() {
  const server = await Server.start();
  await server.put("doc", "1");
  const relay = await Relay.start(server);
  const me = await person();
  const pages = [];
  for (let index = 0; index < 3; index += 1) pages.push(await open(me, relay, "#/kv/doc"));
  await Promise.all(pages.map((page) => row(page, "doc").waitFor()));
  await becomes("three tabs have a stream", () => relay.streams.size === 1);
  await setVisibility(pages[0], "hidden");
  await setVisibility(pages[1], "hidden");
  await pause(HIDDEN_MILLIS);
  await server.put("doc", "2");
  await becomes(
    "one of them is seen, and told of a change",
    async () => (await area(pages[2]).inputValue()) === "2",
  );
  finding("the others are not", (await area(pages[0]).inputValue()) === "1" && relay.streams.size === 1);
  await setVisibility(pages[2], "hidden");
  await becomes("all are hidden: there is no stream", () => relay.streams.size === 0);
  const asked = relay.asked.length;
  await pause(PULSE_MILLIS);
  finding(`and nothing is asked: ${relay.asked.slice(asked)}`, relay.asked.length === asked);
  await server.put("doc", "3");
  await server.put("new", "1");
  for (const [index, page] of pages.entries()) {
    await setVisibility(page, "visible");
    await becomes(
      `tab ${index} is seen again, and has what it missed`,
      async () => (await area(page).inputValue()) === "3" && (await row(page, "new").count()) === 1,
    );
  }
  finding("with one stream for all", relay.streams.size === 1);
}

// Over HTTP from another machine, as inside a company.
async function insecure() {
  const server = await Server.start();
  await server.put("doc", "1");
  const relay = await Relay.start(server);
  relay.url = relay.url.replace("127.0.0.1", HOST);
  const me = await person();
  const [first, second] = [await open(me, relay, "#/kv/doc"), await open(me, relay, "#/kv/doc")];
  finding(
    "a page from another host over HTTP has no locks",
    await first.evaluate(() => !window.isSecureContext && navigator.locks === undefined),
  );
  await server.put("doc", "2");
  for (const page of [first, second])
    await becomes("and is live", async () => (await area(page).inputValue()) === "2");
  finding("by the same stream", relay.streams.size === 1);
}

async function noSharedWorker() {
  const server = await Server.start();
  await server.put("doc", '{"a":1}');
  const relay = await Relay.start(server);
  for (const [what, script] of [
    [
      "has no shared workers",
      () => {
        delete window.SharedWorker;
      },
    ],
    [
      "does not allow them",
      () => {
        window.SharedWorker = class {
          constructor() {
            throw new DOMException("no", "SecurityError");
          }
        };
      },
    ],
    [
      "does not start them",
      () => {
        const Real = window.SharedWorker;
        window.SharedWorker = class extends Real {
          constructor(_, options) {
            super("/console/there-is-none.js", options);
          }
        };
      },
    ],
  ]) {
    const me = await person();
    const page = await open(me, relay, "#/kv/doc", {
      expectFailures: true,
      before: (one) => one.addInitScript(script),
    });
    const now = Math.random();
    await server.put("doc", `{"a":${now}}`);
    await becomes(`a browser that ${what} has a stream of its own`, async () =>
      (await area(page).inputValue()).includes(String(now)),
    );
    await retype(page, String(now), "2");
    await save(page);
    await becomes("and saves", async () => (await server.value("doc")).a === 2);
    await me.close();
  }
}

module.exports = { tenTabs, tabsApart, hiddenTabs, insecure, noSharedWorker };

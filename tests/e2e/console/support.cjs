// What the stories share: servers, browsers, and what people do in them.
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { finding, newDataFile, startService } = require("../../browser.cjs");

const [ifmatch, work, pictures] = process.argv.slice(2);

/** A path for a new file of a story. */
const newFile = (name) => path.join(fs.mkdtempSync(path.join(work, "file-")), name);

/** How long a story waits for anything: longer than it takes on a busy machine. */
const PATIENCE = 20_000;

/** A name that is not one of the machine's own: a page from there has no locks, because it does not count as secure. */
const HOST = "console.test";

const complaints = [];
const asked = new Set();
let cleanups = [];

/** Calls a function after the story, before the functions that were given earlier. */
const afterStory = (act) => cleanups.unshift(act);

/** Closes what a story has opened, even if it has failed: its pages must not disturb the next one. */
async function cleanUp() {
  const acts = cleanups;
  cleanups = [];
  for (const act of acts) await act();
}

/** A server with a data file of its own, which can be killed and started again. */
class Server {
  static async start(flags = []) {
    const server = new Server();
    server.data = newDataFile(work);
    server.flags = flags;
    await server.run("127.0.0.1:0");
    afterStory(() => server.kill());
    return server;
  }

  async run(listen) {
    const started = await startService(ifmatch, listen, this.data, this.flags);
    if (started === undefined) throw new Error("the service does not start");
    Object.assign(this, started);
  }

  /** Ends the process, if it has not ended already. */
  async kill(signal = "SIGKILL") {
    const { exitCode, signalCode } = this.process;
    if (exitCode !== null || signalCode !== null) return;
    const ended = once(this.process, "exit");
    this.process.kill(signal);
    await ended;
  }

  /** Starts it again at the same address. */
  async restart() {
    await this.run(new URL(this.url).host);
  }

  /** Sends a request, with a token if the service needs one. */
  ask(path, { headers, ...options } = {}, token = this.token) {
    const authorization = token === undefined ? {} : { Authorization: `Bearer ${token}` };
    return fetch(`${this.url}/${path}`, { ...options, headers: { ...authorization, ...headers } });
  }

  async put(key, json, etag, token) {
    const headers = { "Content-Type": "application/json", ...(etag ? { "If-Match": etag } : {}) };
    const answer = await this.ask(`kv/${key}`, { method: "PUT", headers, body: json }, token);
    return answer.json();
  }

  async delete(key) {
    await this.ask(`kv/${key}`, { method: "DELETE" });
  }

  /** The entry as text, which has all digits of its numbers. */
  async text(key) {
    return (await this.ask(`kv/${key}`)).text();
  }

  async value(key) {
    return JSON.parse(await this.text(key)).value;
  }

  /** The revision of the entry: where revisions begin, and whether there are gaps, depends on the store. */
  async revision(key) {
    return JSON.parse(await this.text(key)).revision;
  }

  async status(key) {
    return (await this.ask(`kv/${key}`)).status;
  }
}

let browser;

/** Sets the browser that person() uses. */
function setBrowser(launched) {
  browser = launched;
}

/** The browser of another person: it shares no storage with the others. */
async function person(options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    reducedMotion: "reduce",
    ...options,
  });
  context.setDefaultTimeout(PATIENCE);
  afterStory(() => context.close());
  return context;
}

/**
 * Opens the console in a page. With expectFailures, messages of the browser about failed requests are no complaint.
 * With isLive false, it is not waited for the stream.
 */
async function open(context, server, hash = "", { expectFailures = false, before, isLive = true } = {}) {
  const page = await context.newPage();
  page.on("request", (request) =>
    asked.add(new URL(request.url()).host === new URL(server.url).host ? "own" : request.url()),
  );
  page.on("console", (line) => {
    const isFailure = /^Failed to load resource/.test(line.text());
    const isRefusal = isFailure && /\b(412|404)\b/.test(line.text());
    if (["error", "warning"].includes(line.type()) && !isRefusal && !(isFailure && expectFailures))
      complaints.push(`${hash}: ${line.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${hash}: ${error.stack}`));
  if (before) await before(page);
  await page.goto(`${server.url}/${hash}`);
  if (isLive) await connected(page);
  return page;
}

/** Starts a server with entries, JSON by key, and opens the console there. The other options are those of open(). */
async function openConsole(hash = "", { entries = {}, flags, ...options } = {}) {
  const server = await Server.start(flags);
  for (const [key, json] of Object.entries(entries)) await server.put(key, json);
  const me = await person();
  return { server, me, page: await open(me, server, hash, options) };
}

/** Makes a page that is about to open use its own stream: a story cannot see the requests of a shared worker. */
const withoutSharedWorker = (page) =>
  page.addInitScript(() => {
    delete window.SharedWorker;
  });

/** Makes a page that is about to open unable to keep drafts. */
const keepNoDrafts = (page) =>
  page.addInitScript(() => {
    Storage.prototype.setItem = IDBObjectStore.prototype.put = () => {
      throw new DOMException("full", "QuotaExceededError");
    };
  });

const connected = (page) => page.waitForSelector("#connection[data-status=connected]", { timeout: PATIENCE });
const area = (page) => page.locator(".doc-body > .editor .code");
const banner = (page, words) => page.locator(".banners .banner", { hasText: words });
const save = (page) => page.keyboard.press("Control+s");
const overlap = (page, pointer) =>
  page.locator(".overlap", { has: page.locator("legend", { hasText: new RegExp(`^${pointer}$`) }) });

const toast = (page, words) => page.locator("#toast", { hasText: words });

/** Whether the text contains some words. */
const textHas = async (page, words) => (await area(page).inputValue()).includes(words);

/** Whether the page shows the entry of a key. */
const isOpen = async (page, key) => (await page.locator("h2.key").innerText()) === key;

/** Goes to another address of the console, as a link does. */
const goTo = (page, hash) =>
  page.evaluate((to) => {
    location.hash = to;
  }, hash);

/** Types the key and the text of a new entry. */
async function typeNew(page, key, text) {
  await page.getByLabel("Key", { exact: true }).fill(key);
  await area(page).fill(text);
}

const discardButton = (page) => page.getByRole("button", { name: "Discard", exact: true });

/** Deletes the open entry, and confirms that. */
async function deleteOpen(page) {
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
}

/** Refuses a request in place of the service. */
const refuse = (route, status, error, message) =>
  route.fulfill({ status, contentType: "application/json", body: JSON.stringify({ error, message }) });

/** Lets the service apply a request, but not the page get the response. */
async function loseAnswer(route) {
  await route.fetch();
  await route.abort("connectionreset");
}

/** Makes a page "hidden" or "visible" as far as it can tell. */
async function setVisibility(page, state) {
  await page.evaluate((value) => {
    Object.defineProperty(document, "visibilityState", { value, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, state);
}

/** Replaces a part of the text, as by typing. */
async function retype(page, from, to) {
  const text = await area(page).inputValue();
  if (!text.includes(from)) throw new Error(`${from} is not in ${text}`);
  await area(page).fill(text.replace(from, to));
}

/** Waits until holds() returns true, and prints that as a finding. */
async function becomes(what, holds) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    try {
      last = await holds();
    } catch (error) {
      last = error.message;
    }
    if (last === true) break;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  finding(last === true ? what : `${what}: ${last}`, last === true);
}

/** Waits until something is visible. If it never is, the finding says what is visible instead. */
const shown = (what, locator) =>
  becomes(
    what,
    async () =>
      (await locator.first().isVisible()) ||
      (await locator.page().locator(".banners, .nothing, .placeholder").allInnerTexts()).join(" | "),
  );

async function picture(page, name) {
  await page.screenshot({ path: path.join(pictures, `${name}.png`) });
}

module.exports = {
  Server,
  PATIENCE,
  HOST,
  afterStory,
  withoutSharedWorker,
  area,
  asked,
  banner,
  becomes,
  cleanUp,
  complaints,
  connected,
  deleteOpen,
  discardButton,
  finding,
  goTo,
  isOpen,
  keepNoDrafts,
  loseAnswer,
  newFile,
  open,
  openConsole,
  overlap,
  person,
  picture,
  pictures,
  refuse,
  retype,
  save,
  setBrowser,
  setVisibility,
  shown,
  textHas,
  toast,
  typeNew,
};

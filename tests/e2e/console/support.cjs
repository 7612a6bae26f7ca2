// What the stories share: a server that can die, people with browsers, and what they do.
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");

const [ifmatch, work, pictures] = process.argv.slice(2);

/** Longer than anything takes on a busy machine; what is waited for usually comes at once. */
const PATIENCE = 20_000;

const complaints = [];
const asked = new Set();
const running = new Set();

function finding(what, holds) {
  console.log(holds ? "ok" : "not ok", what);
}

/** A server of its own on data of its own. */
class Server {
  static async start(flags = []) {
    const server = new Server();
    server.data = path.join(fs.mkdtempSync(path.join(work, "data-")), "data.json");
    server.flags = flags;
    await server.run("127.0.0.1:0");
    return server;
  }

  async run(listen) {
    this.process = spawn(ifmatch, ["--listen", listen, "--data", this.data, ...this.flags], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    running.add(this.process);
    const [line] = await once(this.process.stdout, "data");
    this.url = String(line).trim().split(" ").pop();
  }

  async kill(signal = "SIGKILL") {
    const ended = once(this.process, "exit");
    this.process.kill(signal);
    await ended;
    running.delete(this.process);
  }

  async again() {
    await this.run(new URL(this.url).host);
  }

  async put(key, json, etag) {
    const headers = { "Content-Type": "application/json", ...(etag ? { "If-Match": etag } : {}) };
    const answer = await fetch(`${this.url}/kv/${key}`, { method: "PUT", headers, body: json });
    return answer.json();
  }

  async delete(key) {
    await fetch(`${this.url}/kv/${key}`, { method: "DELETE" });
  }

  /** The entry as text, because its digits count. */
  async text(key) {
    return (await fetch(`${this.url}/kv/${key}`)).text();
  }

  async value(key) {
    return JSON.parse(await this.text(key)).value;
  }

  async status(key) {
    return (await fetch(`${this.url}/kv/${key}`)).status;
  }
}

let browser;

async function launch() {
  browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      // A name that is not one of the machine's own.
      "--host-resolver-rules=MAP console.test 127.0.0.1",
    ],
  });
}

/** Somebody with a browser of their own. */
async function person(options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    reducedMotion: "reduce",
    ...options,
  });
  context.setDefaultTimeout(PATIENCE);
  return context;
}

/** A page on the console. expectFailures: the browser may say that requests failed, because they will. */
async function open(context, server, hash = "", { expectFailures = false, before } = {}) {
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
  await connected(page);
  return page;
}

/** Has a page, before it is opened, hold a stream of its own: what a shared worker asks for is hidden from a story. */
const alone = (page) =>
  page.addInitScript(() => {
    delete window.SharedWorker;
  });

const connected = (page) => page.waitForSelector("#connection[data-status=connected]", { timeout: PATIENCE });
const area = (page) => page.locator(".doc-body > .editor .code");
const banner = (page, words) => page.locator(".banners .banner", { hasText: words });
const save = (page) => page.keyboard.press("Control+s");
const overlap = (page, pointer) =>
  page.locator(".overlap", { has: page.locator("legend", { hasText: new RegExp(`^${pointer}$`) }) });

/** Replaces a part of the text as somebody who types would. */
async function retype(page, from, to) {
  const text = await area(page).inputValue();
  if (!text.includes(from)) throw new Error(`${from} is not in ${text}`);
  await area(page).fill(text.replace(from, to));
}

/** Waits until it is so, and says whether it came to be. */
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

/** Waits until it can be seen; if it never can, tells what can instead. */
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

async function end() {
  await browser?.close();
  for (const one of running) one.kill("SIGKILL");
}

module.exports = {
  Server,
  PATIENCE,
  alone,
  area,
  asked,
  banner,
  becomes,
  complaints,
  connected,
  end,
  finding,
  launch,
  open,
  overlap,
  person,
  picture,
  pictures,
  retype,
  save,
  shown,
};

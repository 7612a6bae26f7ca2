const { once } = require("node:events");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { finding, inBrowser, newDataFile, startService } = require("../../browser.cjs");

const [ifmatch, work] = process.argv.slice(2);
const attacks = fs.readFileSync(path.join(__dirname, "attacks.js"), "utf8");
const PATIENCE = 60_000;

/** A name that its owner has pointed at a loopback address. */
const REBOUND = "rebound.example";
/** A name by which the service is to be asked. */
const ALLOWED = "kv.example";

/** A service with one entry, or undefined if it cannot listen there. */
async function serve(listen, ...flags) {
  const service = await startService(ifmatch, listen, newDataFile(work), flags);
  if (service === undefined) return undefined;
  const url = new URL(service.url);
  const headers = { "Content-Type": "application/json" };
  await fetch(`${url.origin}/kv/secret`, { method: "PUT", headers, body: '"secret"' });
  return { origin: url.origin, port: url.port, state: async () => (await fetch(`${url.origin}/kv`)).text() };
}

/** A server of the page's own. */
async function listen(answer) {
  const server = http.createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

const emptyPage = (_, response) => response.writeHead(200, { "Content-Type": "text/html" }).end("<body>");

/**
 * What a page of the origin `from` learns of the service at `target`. Whatever that origin answers becomes the
 * page; intercepting its requests would make the browser pass over preflights.
 */
async function attacked(browser, from, target) {
  const context = await browser.newContext();
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  await page.goto(`${from}/nothing`);
  await page.evaluate(attacks);
  const read = await page.evaluate((target) => window.attack(target), target);
  await context.close();
  return read;
}

const shown = (read) => JSON.stringify(read);

async function fromOtherOrigins(browser, service) {
  const own = await listen(emptyPage);
  const { port } = own.address();
  for (const [host, target] of [
    ["evil.example", "127.0.0.1"],
    ["evil.example", "localhost"],
    ["localhost", "localhost"],
    ["127.0.0.1", "127.0.0.1"],
    ["localhost", "127.0.0.1"],
  ]) {
    const before = await service.state();
    const read = await attacked(browser, `http://${host}:${port}`, `http://${target}:${service.port}`);
    const what = `a page on http://${host} with another port`;
    finding(`${what} learns nothing of http://${target} ${shown(read)}`, Object.keys(read).length === 0);
    const after = await service.state();
    finding(`${what} writes nothing to http://${target} ${after === before ? "" : after}`, after === before);
  }
  own.close();
}

/** Each attack must be one: a service that does not look gives way to it. */
async function onACarelessService(browser) {
  const own = await listen(emptyPage);
  const written = new Set();
  const careless = await listen((request, response) => {
    response.setHeader("Access-Control-Allow-Origin", "*");
    response.setHeader("Access-Control-Allow-Headers", "*");
    response.setHeader("Access-Control-Allow-Methods", "*");
    if (!["GET", "HEAD", "OPTIONS"].includes(request.method)) {
      written.add(`${request.method} ${(request.headers["content-type"] ?? "").split(";")[0]}`);
    }
    request.resume();
    response.writeHead(request.url === "/kv/absent" ? 404 : 200).end('"secret"');
  });
  const read = await attacked(
    browser,
    `http://evil.example:${own.address().port}`,
    `http://127.0.0.1:${careless.address().port}`,
  );
  finding(
    `the page reads from a careless service ${Object.keys(read).length}`,
    "fetch cors omit" in read && "XMLHttpRequest" in read,
  );
  const ways = [
    "PUT application/json",
    "DELETE application/json",
    "PATCH application/merge-patch+json",
    "POST application/json",
    "POST text/plain",
    "POST multipart/form-data",
    "POST application/x-www-form-urlencoded",
  ];
  const missing = ways.filter((way) => !written.has(way));
  finding(`and writes to it in every way ${missing}`, missing.length === 0);
  careless.close();
  own.close();
}

async function fromAReboundName(browser, service) {
  const origin = `http://${REBOUND}:${service.port}`;
  const before = await service.state();
  const read = await attacked(browser, origin, origin);
  finding(`a page under a rebound name learns nothing ${shown(read)}`, Object.keys(read).length === 0);
  finding("and writes nothing", (await service.state()) === before);

  const fooled = await serve("127.0.0.1:0", "--allowed-host", REBOUND);
  const there = `http://${REBOUND}:${fooled.port}`;
  const untouched = await fooled.state();
  const got = await attacked(browser, there, there);
  finding("were the name allowed, the page would read", /secret/.test(got["fetch cors omit"] ?? ""));
  finding("and write", (await fooled.state()) !== untouched);
}

/** The console shows what is there and saves, under each name of the service. */
async function theConsoleWorks(browser) {
  const servers = [];
  const service = await serve("127.0.0.1:0", "--allowed-host", ALLOWED);
  for (const host of ["127.0.0.1", "localhost", ALLOWED]) servers.push([host, service]);
  const six = await serve("[::1]:0");
  if (six !== undefined) servers.push(["[::1]", six]);
  for (const [host, { port }] of servers) {
    const context = await browser.newContext();
    context.setDefaultTimeout(PATIENCE);
    const page = await context.newPage();
    await page.goto(`http://${host}:${port}/`);
    const connected = page.waitForSelector("#connection[data-status=connected]");
    finding(
      `the console is live on ${host}`,
      await connected.then(
        () => true,
        () => false,
      ),
    );
    const statuses = await page.evaluate(async () => {
      const headers = { "Content-Type": "application/json" };
      const ask = async (method, path, body) => (await fetch(path, { method, headers, body })).status;
      return [
        await ask("GET", "/kv/secret"),
        await ask("PUT", "/kv/from-the-page", "1"),
        await ask("PATCH", "/kv/from-the-page", "2"),
        await ask("POST", "/transactions", '{"operations":[{"op":"check","key":"secret"}]}'),
        await ask("DELETE", "/kv/from-the-page"),
      ].join(" ");
    });
    finding(`and its page reads and writes there ${statuses}`, statuses === "200 201 200 200 200");
    await page.goto(`http://${host}:${port}/docs`);
    const docs = page.waitForSelector(".swagger-ui .info");
    finding(
      `the documents are shown on ${host}`,
      await docs.then(
        () => true,
        () => false,
      ),
    );
    await context.close();
  }
}

inBrowser(["evil.example", REBOUND, ALLOWED], async (browser) => {
  const service = await serve("127.0.0.1:0");
  await onACarelessService(browser);
  await fromOtherOrigins(browser, service);
  await fromAReboundName(browser, service);
  await theConsoleWorks(browser);
});

// Servers that die, answers that are lost, refusals.
const {
  Server,
  withoutSharedWorker,
  area,
  banner,
  becomes,
  connected,
  finding,
  loseAnswer,
  open,
  openConsole,
  person,
  picture,
  refuse,
  retype,
  save,
  setVisibility,
  shown,
  textHas,
} = require("./support.cjs");

async function killed() {
  const { server, page } = await openConsole("#/kv/doc", {
    entries: { doc: '{"a":1,"b":1}' },
    expectFailures: true,
  });
  await retype(page, '"a": 1', '"a": 2');
  await server.kill();
  await shown("a lost connection is told", page.locator("#connection[data-status=reconnecting]"));
  await save(page);
  await shown("a save that does not get through says so", banner(page, "The server cannot be reached"));
  finding("and keeps the text", await textHas(page, '"a": 2'));
  await picture(page, "offline");
  await server.restart();
  await connected(page);
  await shown("when the server is back, that is told", banner(page, "Connected again"));
  await banner(page, "Connected again").getByRole("button", { name: "Save now" }).click();
  await becomes("and the text is saved", async () => (await server.value("doc")).a === 2);
  await server.put("doc", '{"a":2,"b":3}');
  await becomes("the stream is back, too", () => textHas(page, '"b": 3'));

  await server.kill();
  await page.locator("#connection[data-status=reconnecting]").waitFor();
  await server.restart();
  await server.put("doc", '{"a":2,"b":4}');
  await server.put("new", "1");
  await connected(page);
  await becomes(
    "what changed meanwhile is there",
    async () =>
      (await textHas(page, '"b": 4')) && (await page.locator("#entries a", { hasText: "new" }).count()) === 1,
  );
  await server.kill("SIGTERM");
  await page.locator("#connection[data-status=reconnecting]").waitFor();
  await server.restart();
  await connected(page);
  finding("a server that drains is come back to", true);
}

// A connection that is cut without a word, as by a network that goes away.
async function stalled() {
  const { server, page } = await openConsole("#/kv/doc", {
    entries: { doc: '{"a":1}' },
    expectFailures: true,
  });
  await connected(page);
  server.process.kill("SIGSTOP");
  await page.locator("#connection[data-status=reconnecting]").waitFor({ timeout: 30_000 });
  finding("a connection that is silent for too long is told to be lost", true);
  server.process.kill("SIGCONT");
  await server.put("doc", '{"a":2}');
  await connected(page);
  await becomes("and is there again with what was changed meanwhile", () => textHas(page, '"a": 2'));
}

/** Loses the answers to the next PUTs: the console sends one up to three times. */
async function loseAnswers(page, count) {
  let left = count;
  await page.route("**/kv/doc", (route) => {
    if (left === 0 || route.request().method() !== "PUT") return route.continue();
    left -= 1;
    return loseAnswer(route);
  });
}

async function lostAnswer() {
  const { server, me, page } = await openConsole("#/kv/doc", {
    entries: { doc: '{"a":1}' },
    expectFailures: true,
  });
  await loseAnswers(page, 1);
  await retype(page, '"a": 1', '"a": 2');
  await save(page);
  await shown("a save whose answer was lost is sent again, and answered", banner(page, "Saved as version 2"));
  finding("and done once", JSON.parse(await server.text("doc")).version === 2);
  await loseAnswers(page, 3);
  await retype(page, '"a": 2', '"a": 3');
  await save(page);
  await becomes(
    "a save whose answers are all lost is found to be done",
    async () =>
      (await page.locator(".chip.version").innerText()) === "version 3" &&
      (await page.locator(".chip.edited").count()) === 0,
  );
  finding("and done once, too", JSON.parse(await server.text("doc")).version === 3);

  // The same without the watch, which would tell.
  const blind = await open(me, server, "#/kv/doc", { expectFailures: true, before: withoutSharedWorker });
  await becomes("a second page", () => textHas(blind, '"a": 3'));
  await blind.route("**/watch?**", (route) => refuse(route, 503, "unavailable", "too many watchers"));
  await blind.evaluate(() => {
    window.dispatchEvent(new Event("online"));
  });
  await shown("a stream that is refused is told", blind.locator("#connection[data-status=reconnecting]"));
  await loseAnswers(blind, 3);
  await retype(blind, '"a": 3', '"a": 4');
  await save(blind);
  await shown("a lost answer is told", banner(blind, "The server cannot be reached"));
  await banner(blind, "cannot be reached").getByRole("button", { name: "Try again" }).click();
  await shown("trying again finds that it was saved", banner(blind, "Saved as version 4"));
  finding("and writes nothing twice", JSON.parse(await server.text("doc")).version === 4);
  await blind.unroute("**/watch?**");
  await connected(blind);
  finding("a stream that was refused is asked for again", true);
}

async function refusals() {
  let refusal;
  const answer = (route) =>
    refusal !== undefined && route.request().method() === "PUT"
      ? refuse(route, ...refusal)
      : route.continue();
  const { server, page } = await openConsole("#/kv/doc", {
    entries: { doc: "1" },
    flags: ["--max-value-bytes", "100"],
    expectFailures: true,
    before: (one) => one.route("**/kv/doc", answer),
  });
  await area(page).fill(JSON.stringify("x".repeat(200)));
  await save(page);
  await shown("the server's own words are shown (413)", banner(page, "The server says: "));
  finding("and the text stays", (await area(page).inputValue()).length === 202);
  await area(page).fill("2");
  for (const [status, error] of [
    [503, "unavailable"],
    [500, "io"],
    [428, "precondition_required"],
    [400, "invalid_json"],
  ]) {
    refusal = [status, error, `said with ${status}`];
    await save(page);
    await shown(`the server's own words are shown (${status})`, banner(page, `said with ${status}`));
  }
  refusal = undefined;
  await banner(page, "said with").getByRole("button", { name: "Try again" }).click();
  await becomes("and it can be tried again", async () => (await server.value("doc")) === 2);
}

async function offline() {
  const server = await Server.start();
  await server.put("doc", "1");
  const me = await person();
  const first = await me.newPage();
  await first.route("**/kv?**", (route) => refuse(route, 503, "unavailable", "too busy"), { times: 1 });
  await first.goto(`${server.url}/`);
  await shown(
    "a list that does not come at first comes by itself",
    first.locator("#entries a", { hasText: "doc" }),
  );
  await first.close();
  const page = await open(me, server, "#/kv/doc", { expectFailures: true });
  await me.setOffline(true);
  await shown("a browser without a network says so", page.locator("#connection[data-status=offline]"));
  await area(page).fill("2");
  await save(page);
  await shown("a save says so, too", banner(page, "The server cannot be reached"));
  await page.goto("about:blank");
  await me.setOffline(false);
  await page.goto(`${server.url}/#/kv/doc`);
  await becomes(
    "and what was typed is there afterwards",
    async () => (await area(page).inputValue()) === "2",
  );
  finding("and was not saved", (await server.value("doc")) === 1);
}

async function slow() {
  const { server, page } = await openConsole("#/kv/doc", { entries: { doc: '{"a":1,"b":1}' } });
  await page.route(
    "**/kv/doc",
    async (route) => {
      await retype(page, '"b": 1', '"b": 2');
      await route.continue();
    },
    { times: 1 },
  );
  await retype(page, '"a": 1', '"a": 2');
  await save(page);
  await shown("what is saved is what was there", banner(page, "Saved as version 2"));
  finding(
    "what is typed meanwhile stays",
    (await textHas(page, '"b": 2')) && (await server.value("doc")).b === 1,
  );
  finding("as an edit", (await page.locator(".chip.edited").count()) === 1);
  await page.route(
    "**/kv/doc",
    async (route) => {
      await server.put("doc", '{"a":2,"b":1,"c":1}');
      await retype(page, '"a": 2', '"a": 4');
      await route.continue();
    },
    { times: 1 },
  );
  await save(page);
  await becomes("what is typed before a refusal is merged, too", async () =>
    (await server.text("doc")).includes('"value":{"a":4,"b":2,"c":1}'),
  );
}

async function hidden() {
  const { server, page } = await openConsole("#/kv/doc", {
    entries: { doc: "1" },
    before: withoutSharedWorker,
  });
  const closed = page.waitForEvent("requestfailed", (request) => request.url().includes("/watch"));
  await setVisibility(page, "hidden");
  await closed;
  finding("a page that is hidden closes its stream", true);
  await server.put("doc", "2");
  const resumed = page.waitForRequest((request) => request.url().includes("/watch?since="));
  await setVisibility(page, "visible");
  await resumed;
  await becomes("and resumes it when it is seen again", async () => (await area(page).inputValue()) === "2");
}

module.exports = { killed, stalled, lostAnswer, refusals, offline, slow, hidden };

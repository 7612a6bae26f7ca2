// Who is signed in, and what that lets them do.
const { once } = require("node:events");
const http = require("node:http");
const { lookAt } = require("./looks.cjs");
const {
  ALL,
  EVERYWHERE,
  PLAN,
  dialog,
  field,
  isKnown,
  nameIs,
  problem,
  quiet,
  serverFor,
  signIn,
  signOutButton,
  signedIn,
  tokenOf,
  write,
} = require("./people.cjs");
const {
  Server,
  afterStory,
  area,
  banner,
  becomes,
  connected,
  finding,
  goTo,
  keepNoDrafts,
  newFile,
  open,
  overlap,
  person,
  refuse,
  retype,
  save,
  shown,
  textHas,
  toast,
  typeNew,
} = require("./support.cjs");

/** Where the token of a page can be seen. */
const placesOf = (page, token) =>
  page.evaluate((text) => {
    const fields = [...document.querySelectorAll("input, textarea")].map((one) => one.value);
    return Object.entries({
      address: location.href,
      document: document.documentElement.outerHTML,
      fields: fields.join(" "),
      cookies: document.cookie,
      localStorage: JSON.stringify(localStorage),
      sessionStorage: JSON.stringify(sessionStorage),
      history: JSON.stringify(history.state),
      requests: performance
        .getEntriesByType("resource")
        .map((one) => one.name)
        .join(" "),
    })
      .filter(([, content]) => content.includes(text))
      .map(([place]) => place);
  }, token);

async function signsIn() {
  const server = await serverFor({ ann: EVERYWHERE });
  const me = await person();
  const page = await open(me, server, "#/kv/doc/plan", quiet);
  const addresses = [];
  page.on("request", (request) => addresses.push(request.url()));
  await shown("who comes is asked for a token", dialog(page));
  finding("the focus is in its field", await field(page).evaluate((one) => one === document.activeElement));
  finding("which hides what is typed", (await field(page).getAttribute("type")) === "password");
  finding(
    "it is told where a token comes from",
    (await dialog(page).innerText()).includes("ifmatch token new"),
  );
  finding("no entry is shown", !(await page.content()).includes("doc/plan"));
  await page.keyboard.press("Escape");
  await shown(
    "Escape closes it, and the list says what to do",
    page.locator("#list-status", { hasText: "Sign in" }),
  );
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await field(page).press("Enter");
  await shown("an empty field is no token", problem(page, "Type a token."));
  await signIn(page, "token-of-nobody");
  await shown("a wrong token is told", problem(page, "This token is not valid."));
  finding("and described", (await field(page).getAttribute("aria-invalid")) === "true");
  await page.route("**/session", (route) => route.abort("connectionrefused"), { times: 1 });
  await signIn(page, tokenOf("ann"));
  await shown("so is a server that does not answer", problem(page, "cannot be reached"));
  await signIn(page, ` ${tokenOf("ann")} `);
  await shown("the right one signs in", nameIs(page, "ann"));
  finding("the dialog is closed", !(await dialog(page).isVisible()));
  await shown("and the entry of the address is opened", area(page));
  const [cookie] = await me.cookies();
  finding(
    "the session is a cookie that no script can read and no other site can send",
    cookie.httpOnly && cookie.sameSite === "Strict" && !cookie.value.includes(tokenOf("ann")),
  );
  const places = await placesOf(page, tokenOf("ann"));
  finding(`the token is nowhere in the page ${places}`, places.length === 0);
  const session = await placesOf(page, cookie.value);
  finding(`neither is the session ${session}`, session.length === 0);
  finding("nor in an address", !addresses.some((address) => address.includes("token-of")));
  await page.reload();
  await shown("a reload stays signed in", nameIs(page, "ann"));
  await connected(page);
  finding("without a question", !(await dialog(page).isVisible()));
  const second = await open(me, server);
  await shown("so does a second tab", nameIs(second, "ann"));
}

async function signsOut() {
  const server = await serverFor({ ann: EVERYWHERE, bob: EVERYWHERE });
  const machine = await person();
  const page = await signedIn(server, "ann", "#/kv/doc/plan", machine);
  const second = await open(machine, server, "", quiet);
  await connected(second);
  await retype(page, '"Plan"', '"Secret plan"');
  await signOutButton(second).click();
  for (const [which, tab] of [
    ["who signs out is", second],
    ["so is the other tab", page],
  ]) {
    await shown(`${which} asked for a token again`, dialog(tab));
    await becomes("and nothing is left of what was shown", async () => {
      const content = await tab.evaluate(
        () =>
          document.body.innerHTML + [...document.querySelectorAll("textarea")].map((one) => one.value).join(),
      );
      return !content.includes("lan&quot;") && !content.includes('"Plan') && !content.includes("doc/plan");
    });
  }
  finding(
    "it is told that the text is kept",
    (await dialog(page).innerText()).includes("What you typed is kept"),
  );
  finding("the cookie is gone", (await machine.cookies()).length === 0);
  await signIn(page, tokenOf("bob"));
  for (const tab of [page, second]) await shown("a sign-in is one in all tabs", nameIs(tab, "bob"));
  await area(page).waitFor();
  finding("the next person does not see the text", await textHas(page, '"Plan"'));
  finding(
    "nor that there is one",
    (await page.locator(".draft-mark").count()) === 0 &&
      (await page.locator(".banner").isVisible()) === false,
  );
  await retype(page, '"Plan"', '"Plan of Bob"');
  await signOutButton(page).click();
  await shown("they sign out", dialog(page));
  await signIn(page, tokenOf("ann"));
  await shown("who comes back finds the own text", banner(page, "Your unsaved text was restored"));
  finding("as it was", await textHas(page, '"Secret plan"'));
  await page.route("**/session", (route) => route.abort("connectionrefused"), { times: 1 });
  await signOutButton(page).click();
  await shown("a sign-out that fails is told", toast(page, "You are not signed out"));
  finding("and is none", await nameIs(page, "ann").isVisible());
}

async function keepsNoText() {
  const server = await serverFor({ ann: EVERYWHERE });
  const page = await open(await person(), server, "#/kv/doc/plan", { ...quiet, before: keepNoDrafts });
  await dialog(page).waitFor();
  await signIn(page, tokenOf("ann"));
  await area(page).waitFor();
  await retype(page, '"Plan"', '"Plan of Ann"');
  await shown("a browser that keeps no text says so", page.locator("#storage-warning"));
  await signOutButton(page).click();
  await shown("who would lose it by signing out is told", toast(page, "cannot keep what you typed"));
  finding("and is still signed in, with the text", await textHas(page, '"Plan of Ann"'));
  await save(page);
  await shown("so it can be saved", banner(page, "Saved as version 2"));
  await signOutButton(page).click();
  await shown("before the sign-out", dialog(page));
}

async function tooManyAttempts() {
  const server = await serverFor({ ann: EVERYWHERE });
  const page = await open(await person(), server, "", quiet);
  await dialog(page).waitFor();
  const headers = { "Content-Type": "application/json" };
  await Promise.all(
    Array.from({ length: 60 }, () =>
      fetch(`${server.url}/session`, { method: "POST", headers, body: '{"token":"guess"}' }),
    ),
  );
  await becomes("who guesses is told to wait", async () => {
    await signIn(page, "guess");
    await page.waitForSelector("#sign-in-problem:not(:empty)");
    return problem(page, "Wait a minute").isVisible();
  });
}

async function sessionEndsWhileTyping() {
  const server = await serverFor({ ann: EVERYWHERE, bob: EVERYWHERE });
  const page = await signedIn(server, "ann", "#/kv/doc/plan");
  await retype(page, '"Plan"', '"Plan of Ann"');
  server.admit({ bob: EVERYWHERE });
  await shown("whose token is removed is told while typing", dialog(page));
  const words = await dialog(page).innerText();
  finding("and as whom to go on", words.includes("has ended") && words.includes("sign in as ann"));
  finding("the text stays", await textHas(page, '"Plan of Ann"'));
  await page.keyboard.press("Escape");
  await shown("the page says it, too", banner(page, "Your session has ended"));
  finding("where the text was, one can go on typing", await area(page).evaluate((one) => !one.readOnly));
  await retype(page, "100.00", "120.00");
  await save(page);
  await shown("a save asks again", dialog(page));
  await shown("and is none", banner(page, "Not saved: your session has ended"));
  finding("nothing was saved", (await server.text("doc/plan")).includes('"title":"Plan"'));
  await server.put("doc/plan", PLAN.replace("nobody", "bob"), undefined, tokenOf("bob"));
  const token = "another-token-of-ann";
  server.admit({ ann: { token, grants: EVERYWHERE }, bob: EVERYWHERE });
  await isKnown(server, token);
  await signIn(page, token);
  await becomes("the same person goes on", () => dialog(page).isHidden());
  await shown("is told what happened meanwhile", banner(page, "bob saved version 2"));
  await shown("and that the text is not saved", banner(page, "Your text is kept, and not saved yet"));
  await page.getByRole("button", { name: "Save now" }).click();
  await becomes("a save merges both, on the base of before", async () =>
    (await server.text("doc/plan")).includes('{"title":"Plan of Ann","budget":120.00,"owner":"bob"}'),
  );
  await connected(page);
  // The service forgets the session, but the stream goes on.
  await retype(page, "120.00", "130.00");
  const [{ name, value }] = await page.context().cookies();
  await fetch(`${server.url}/session`, { method: "DELETE", headers: { Cookie: `${name}=${value}` } });
  await save(page);
  await shown("a save may be the first to learn it", dialog(page));
  await signIn(page, token);
  await becomes("and is repeated", async () => {
    await page.getByRole("button", { name: "Save now" }).click();
    return true;
  });
  await becomes("with what was typed", async () => (await server.text("doc/plan")).includes("130.00"));
}

async function anotherPersonGoesOn() {
  const server = await serverFor({ ann: EVERYWHERE, bob: EVERYWHERE });
  const page = await signedIn(server, "ann", "#/kv/doc/plan");
  await retype(page, '"Plan"', '"Plan of Ann"');
  server.admit({ bob: EVERYWHERE });
  await dialog(page).waitFor();
  await signIn(page, tokenOf("bob"));
  await shown(
    "another person is told that there is text of the first",
    toast(page, "What ann typed is kept"),
  );
  await shown("is signed in", nameIs(page, "bob"));
  await area(page).waitFor();
  finding("and does not go on with it", await textHas(page, '"Plan"'));
  finding("nothing was saved", (await server.text("doc/plan")).includes('"version":1,'));
  server.admit({ ann: EVERYWHERE, bob: EVERYWHERE });
  await isKnown(server, tokenOf("ann"));
  await signOutButton(page).click();
  await dialog(page).waitFor();
  await signIn(page, tokenOf("ann"));
  await shown("the first finds it", banner(page, "Your unsaved text was restored"));
}

async function granted() {
  const server = await serverFor(
    {
      ann: [
        { prefix: "doc/", actions: ["read"] },
        { prefix: "ann/", actions: ALL },
      ],
      eve: [{ prefix: "", actions: ["read"] }],
    },
    { entries: { "doc/plan": PLAN, "ann/note": '"mine"', "secret/plan": '"hidden"' } },
  );
  const eve = await signedIn(server, "eve", "#/kv/doc/plan");
  const button = (page, name) => page.getByRole("button", { name, exact: true });
  const whyNot = (locator) =>
    locator.evaluate(
      (one) => `${one.getAttribute("aria-disabled")} ${one.title} ${one.ariaDescription ?? ""}`,
    );
  await area(eve).waitFor();
  finding("who may only read cannot type", await area(eve).evaluate((one) => one.readOnly));
  await shown(
    "and is told why",
    eve.locator(".editor-status", { hasText: "You may not change entries here." }),
  );
  for (const [what, words] of [
    [button(eve, "Save"), "change"],
    [button(eve, "Delete…"), "delete"],
    [eve.getByRole("link", { name: "New", exact: true }), "create"],
  ]) {
    const why = await whyNot(what);
    finding(`what is not granted is greyed out: ${why}`, why.startsWith(`true You may not ${words}`));
  }
  await eve.locator("#new").click({ force: true });
  await shown("a click says it", toast(eve, "You may not create entries here."));
  finding("and does nothing", (await area(eve).count()) === 1);
  await button(eve, "Delete…").click({ force: true });
  finding("a deletion is not even asked", !(await eve.locator("#delete-dialog").isVisible()));
  await goTo(eve, "#/new");
  await shown(
    "nor does the address of a new entry",
    eve.locator(".nothing", { hasText: "You may not create" }),
  );
  await goTo(eve, "#/kv/absent");
  await shown("nor a key that is free", eve.locator(".placeholder", { hasText: "You may not create" }));

  const ann = await signedIn(server, "ann", "#/new");
  await ann.locator("#entries a", { hasText: "ann/note" }).waitFor();
  finding("the list has what may be read", !(await ann.locator("#entries").innerText()).includes("secret"));
  const writes = [];
  ann.on("request", (request) => request.method() === "PUT" && writes.push(request.url()));
  await typeNew(ann, "doc/new", "1");
  await shown(
    "a key that is not granted is told while it is typed",
    ann.locator("#key-problem", { hasText: "You may not create this key. Yours begin with “ann/”." }),
  );
  await save(ann);
  await becomes("and again when it is saved", () =>
    ann.locator("#new-key").evaluate((one) => one.getAttribute("aria-invalid") === "true"),
  );
  finding("nothing was sent", writes.length === 0);
  await typeNew(ann, "ann/new", "1");
  await save(ann);
  await shown("another one can be", banner(ann, "Saved as version 1"));
  await ann.locator("#filter").fill("secret/");
  await shown(
    "a prefix that is not granted is told",
    ann.locator("#list-status", { hasText: "you may not read" }),
  );
  await server.put("ann/late", "1");
  await ann.locator("#filter").fill("");
  await shown("and the list goes on", ann.locator("#entries a", { hasText: "ann/late" }));
  await connected(ann);
  await goTo(ann, "#/kv/ann/note");
  await area(ann).fill('"typed"');
  await ann.route(
    "**/kv/ann/note",
    (route) => refuse(route, 403, "forbidden", "you may not update ann/note"),
    {
      times: 1,
    },
  );
  await save(ann);
  await shown("a refusal is told in the words of the service", banner(ann, "you may not update ann/note"));
  finding("and the text is kept", await textHas(ann, '"typed"'));
  server.admit({ ann: [{ prefix: "", actions: ["read"] }] });
  await becomes("a right that is taken away while typing is gone", () =>
    area(ann).evaluate((one) => one.readOnly),
  );
  finding("the text is still there", await textHas(ann, '"typed"'));
  await shown("what may be read now is listed", ann.locator("#entries a", { hasText: "secret/plan" }));
}

async function names() {
  const server = await serverFor({ ann: EVERYWHERE, bob: EVERYWHERE });
  const ann = await signedIn(server, "ann", "#/kv/doc/plan");
  const bob = await signedIn(server, "bob", "#/kv/doc/plan");
  for (const page of [ann, bob]) await area(page).waitFor();
  await retype(ann, "100.00", "120.00");
  await save(ann);
  await shown("the list names who wrote", bob.locator("#entries .row", { hasText: "by ann" }));
  await shown("so does the entry", bob.locator(".meta", { hasText: "by ann" }));
  await retype(bob, '"Plan"', '"Plan of Bob"');
  await retype(ann, '"nobody"', '"ann"');
  await save(ann);
  await banner(bob, "ann saved version 3").waitFor();
  await save(bob);
  await shown(
    "a merge names who made the other change",
    banner(bob, "Saved as version 4, with what ann changed"),
  );
  await shown("on the other side, too", ann.locator("#entries .row", { hasText: "by bob" }));
  await banner(ann, "bob saved version 4").waitFor();
  await retype(ann, "120.00", "130.00");
  await retype(bob, "120.00", "140.00");
  await save(ann);
  await banner(bob, "ann saved version 5").waitFor();
  await save(bob);
  await shown(
    "so does a conflict",
    bob.locator("h3", { hasText: "You and ann both changed the same place" }),
  );
  await overlap(bob, "/budget").getByLabel("Mine", { exact: true }).check();
  await bob.getByRole("button", { name: "Save merged" }).click();
  await becomes("each version has its name", async () => {
    const entry = JSON.parse(await server.text("doc/plan"));
    return (entry.modified_by === "bob" && entry.value.budget === 140) || JSON.stringify(entry);
  });
}

async function anonymous() {
  const server = await serverFor({ ann: EVERYWHERE }, { flags: ["--anonymous", "read"] });
  const me = await person();
  const page = await open(me, server, "#/kv/doc/plan", { expectFailures: true });
  await shown("everyone may read", area(page));
  finding("without a question", !(await dialog(page).isVisible()));
  await shown("and see that nobody is signed in", page.locator("#account", { hasText: "Not signed in" }));
  finding("not write", await area(page).evaluate((one) => one.readOnly));
  const signInButton = page.getByRole("button", { name: "Sign in", exact: true });
  await signInButton.click();
  await page.keyboard.press("Escape");
  finding(
    "after Escape the focus is back",
    await page.evaluate(() => document.activeElement.textContent === "Sign in"),
  );
  await signInButton.click();
  await signIn(page, tokenOf("ann"));
  await shown("one can sign in", nameIs(page, "ann"));
  await becomes("and write", () => area(page).evaluate((one) => !one.readOnly));
  await signOutButton(page).click();
  await shown("and out again", page.locator("#account", { hasText: "Not signed in" }));
  finding("which asks nobody for a token", !(await dialog(page).isVisible()));
  await area(page).waitFor();
  await signInButton.click();
  await signIn(page, tokenOf("ann"));
  await nameIs(page, "ann").waitFor();
  await connected(page);
  server.admit({});
  await shown("when the session has ended, that is asked", dialog(page));
  await page.getByRole("button", { name: "Go on without" }).click();
  await shown("and one can go on as everyone", page.locator("#account", { hasText: "Not signed in" }));
  await connected(page);
  finding("without a session", (await me.cookies()).length === 0);

  const open_ = await Server.start();
  await open_.put("doc/plan", PLAN);
  const today = await open(await person(), open_, "#/kv/doc/plan");
  await area(today).waitFor();
  finding(
    "a service without tokens shows nothing of all this",
    !(await today.locator("#account").isVisible()) && !(await dialog(today).isVisible()),
  );
}

/** A service gets tokens while someone types. */
async function tokensAreIntroduced() {
  const server = await Server.start();
  await server.put("doc/plan", PLAN);
  const page = await open(await person(), server, "#/kv/doc/plan", { expectFailures: true });
  await area(page).waitFor();
  await retype(page, '"Plan"', '"Plan of Ann"');
  const file = newFile("tokens.toml");
  write(file, { ann: EVERYWHERE });
  server.flags = ["--tokens", file];
  server.token = tokenOf("ann");
  await server.kill("SIGTERM");
  await server.restart();
  await shown("who was there before there were tokens is asked for one", dialog(page));
  finding("in the words for that", (await dialog(page).innerText()).includes("wants to know who you are"));
  await signIn(page, tokenOf("ann"));
  await shown("is signed in", nameIs(page, "ann"));
  await shown("finds the own text", banner(page, "Your unsaved text was restored"));
  await save(page);
  await becomes("and saves it", async () => {
    const entry = JSON.parse(await server.text("doc/plan"));
    return (entry.modified_by === "ann" && entry.value.title === "Plan of Ann") || JSON.stringify(entry);
  });
}

/** What a page of another origin does with the session of the one that opens it; it returns what has succeeded. */
const attack = async (target) => {
  const done = [];
  const note = (what, isDone) => isDone && done.push(what);
  const tried = async (what, act) => {
    try {
      note(what, await act());
    } catch {
      // The browser has refused.
    }
  };
  const credentials = "include";
  const json = { "Content-Type": "application/json" };
  for (const path of ["whoami", "kv", "kv/secret", "", "console/app.js"]) {
    await tried(`read ${path}`, async () => (await fetch(`${target}/${path}`, { credentials })).ok);
    await tried(`read ${path} without cors`, async () => {
      const answer = await fetch(`${target}/${path}`, { credentials, mode: "no-cors" });
      return (await answer.text()) !== "";
    });
  }
  for (const [method, path, body] of [
    ["PUT", "kv/hostile", "1"],
    ["PATCH", "kv/secret", "{}"],
    ["DELETE", "kv/secret", undefined],
    ["POST", "transactions", '{"operations":[{"op":"put","key":"hostile","value":1}]}'],
    ["POST", "session", '{"token":"guess"}'],
    ["DELETE", "session", undefined],
  ]) {
    for (const mode of ["cors", "no-cors"]) {
      for (const headers of [json, { "Content-Type": "text/plain" }]) {
        await tried(`${method} ${path}`, async () => {
          return (await fetch(`${target}/${path}`, { method, mode, credentials, headers, body })).ok;
        });
      }
    }
    if (method === "POST")
      navigator.sendBeacon(`${target}/${path}`, new Blob([body], { type: "text/plain" }));
  }
  await tried("watch", () => {
    const source = new EventSource(`${target}/watch`, { withCredentials: true });
    return new Promise((resolve) => {
      source.onopen = () => resolve(true);
      source.onerror = () => resolve(false);
    });
  });
  const framed = (make) =>
    new Promise((resolve) => {
      const frame = document.createElement("iframe");
      frame.name = `frame-${document.querySelectorAll("iframe").length}`;
      frame.onload = () => resolve(frame);
      document.body.append(frame);
      make(frame);
    });
  for (const path of ["", "#/kv/secret", "docs"]) {
    await tried(`frame ${path}`, async () => {
      const frame = await framed((one) => {
        one.src = `${target}/${path}`;
      });
      try {
        return frame.contentDocument.body.innerText.includes("secret");
      } catch {
        return false;
      }
    });
  }
  for (const path of ["kv/hostile", "transactions", "session"]) {
    await tried(`form ${path}`, async () => {
      const form = document.createElement("form");
      Object.assign(form, { method: "POST", action: `${target}/${path}`, enctype: "text/plain" });
      const input = document.createElement("input");
      input.name = '{"token":"';
      input.value = 'guess"}';
      form.append(input);
      document.body.append(form);
      await framed((frame) => {
        form.target = frame.name;
        form.submit();
      });
      return false;
    });
  }
  return done;
};

async function otherOrigins() {
  const server = await serverFor({ ann: EVERYWHERE }, { entries: { secret: '"secret"' } });
  const cookies = [];
  const other = http.createServer((request, response) => {
    cookies.push(request.headers.cookie ?? "");
    response.writeHead(200, { "Content-Type": "text/html" }).end("<title>other</title><body>");
  });
  other.listen(0, "127.0.0.1");
  await once(other, "listening");
  afterStory(() => other.close());
  const me = await person();
  const page = await signedIn(server, "ann", "#/kv/secret", me);
  const before = await (await server.ask("kv")).text();
  for (const [host, is] of [
    ["127.0.0.1", "of another port"],
    ["console.test", "of another site"],
  ]) {
    const hostile = await me.newPage();
    await hostile.goto(`http://${host}:${other.address().port}/`);
    const done = await hostile.evaluate(attack, server.url);
    finding(`a page ${is} can do nothing with the session: ${done}`, done.length === 0);
    const frames = hostile.frames().slice(1);
    const contents = await Promise.all(frames.map((frame) => frame.content().catch(() => "")));
    finding(
      `no frame in it shows the console or an entry, of ${frames.length}`,
      !contents.some((content) => content.includes("sign-in-form") || content.includes('"value"')),
    );
    await hostile.close();
  }
  finding("nothing was written", (await (await server.ask("kv")).text()) === before);
  await page.reload();
  await shown("and the session goes on", nameIs(page, "ann"));
  // Without the session there would be nothing to protect.
  const isSent = await page.evaluate(async () => (await fetch("whoami")).json());
  finding("which is that of the browser", isSent.name === "ann");
}

async function looksSignedIn() {
  const server = await serverFor({
    ann: EVERYWHERE,
    "Prof. Dr. Annabella Featherstonehaugh-Cholmondeley": [{ prefix: "", actions: ["read"] }],
  });
  for (const colorScheme of ["light", "dark"]) {
    const me = await person({ colorScheme });
    const page = await open(me, server, "#/kv/doc/plan", quiet);
    await dialog(page).waitFor();
    await signIn(page, "wrong");
    await problem(page, "not valid").waitFor();
    await lookAt(page, "sign-in", colorScheme);
    await signIn(page, tokenOf("ann"));
    await area(page).waitFor();
    await connected(page);
    await lookAt(page, "signed-in", colorScheme);
    await signOutButton(page).click();
    await dialog(page).waitFor();
    await signIn(page, tokenOf("Prof. Dr. Annabella Featherstonehaugh-Cholmondeley"));
    await area(page).waitFor();
    await connected(page);
    await lookAt(page, "read-only", colorScheme);
    await me.close();
  }
}

module.exports = {
  signsIn,
  signsOut,
  keepsNoText,
  tooManyAttempts,
  sessionEndsWhileTyping,
  anotherPersonGoesOn,
  granted,
  names,
  anonymous,
  tokensAreIntroduced,
  otherOrigins,
  looksSignedIn,
};

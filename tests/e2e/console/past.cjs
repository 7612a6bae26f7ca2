// The past: what happened to an entry, what differs, bringing it back, and deleted entries.
const { onEtcd, skipped } = require("../../browser.cjs");
const { lookAt } = require("./looks.cjs");
const { EVERYWHERE, dialog, nameIs, quiet, serverFor, signIn, signedIn, tokenOf } = require("./people.cjs");
const {
  banner,
  becomes,
  deleteOpen,
  finding,
  goTo,
  isOpen,
  loseAnswer,
  open,
  openConsole,
  person,
  picture,
  retype,
  save,
  shown,
  textHas,
  toast,
} = require("./support.cjs");

const versions = (page) => page.locator(".versions li");
const version = (page, words) => page.locator(".versions a", { hasText: words });
const historyLink = (page) => page.getByRole("link", { name: "History", exact: true });
const heading = (page) => page.locator(".comparison h3");
const summary = (page) => page.locator(".comparison .summary");
const restoreLink = (page) => page.getByRole("link", { name: /^(Restore|Bring back)…$/ });
const restoreButton = (page) => page.getByRole("button", { name: /^(Restore it|Bring it back)$/ });
const marked = (page, kind) => page.locator(`.diff ${kind}`).allInnerTexts();
const isFocused = (locator) => locator.evaluate((one) => one === document.activeElement);
const says = (locator, words) => async () => (await locator.innerText()).includes(words);

async function history() {
  const plan = (title, more = "") => `{"title":"${title}","budget":100.00${more}}`;
  const { server, me, page } = await openConsole("#/kv/doc/plan", {
    entries: { "doc/plan": plan("The first plan"), other: "1" },
  });
  const created = await server.revision("other");
  await server.put("doc/plan", plan("The second plan"));
  await server.put("doc/plan", plan("The third plan", ',"owner":"ann"'));
  await becomes("an entry is open", () => textHas(page, "third"));
  await historyLink(page).click();
  await becomes("its history is a list", async () => (await versions(page).count()) === 3);
  finding("of which the title names the key", (await page.title()) === "History of doc/plan · ifmatch");
  const texts = await versions(page).allInnerTexts();
  finding(
    `the newest first, with what happened and when: ${texts.map((text) => text.replace(/\s+/g, " "))}`,
    /version 3\s+current\s+changed\s+just now/.test(texts[0]) && /version 1\s+created/.test(texts[2]),
  );
  await becomes("the newest change is shown", says(summary(page), "1 line changed, 1 added."));
  finding(
    "with the words that differ",
    (await marked(page, "del")).join() === "second" && (await marked(page, "ins")).join() === "third",
  );
  const signs = await page.locator(".diff .sign").allInnerTexts();
  finding(`and not by colour alone: ${signs}`, signs.join("") === "−++");
  await picture(page, "history");
  await version(page, "version 3").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await becomes("another is chosen by keyboard", says(heading(page), "What version 2 changed"));
  finding("which is marked", (await version(page, "version 2").getAttribute("aria-current")) === "true");
  finding("the focus stays in the list", await isFocused(version(page, "version 2")));
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  await becomes("the first one is compared with nothing", says(summary(page), "4 lines added."));
  await page.goBack();
  await becomes("back goes back", says(heading(page), "What version 2 changed"));
  await page.getByLabel("Compare").selectOption({ label: "version 1" });
  await page.getByLabel("with", { exact: true }).selectOption({ label: "version 3 (current)" });
  await becomes(
    "any two can be compared",
    async () =>
      (await heading(page).innerText()) === "Two versions compared" &&
      (await marked(page, "del")).join() === "first",
  );
  await page.reload();
  await becomes("and the address leads there", async () => (await marked(page, "del")).join() === "first");
  await server.put("doc/plan", plan("The fourth plan"));
  await shown("what others save appears", version(page, "version 4"));
  finding("and what is compared stays", (await marked(page, "del")).join() === "first");
  await goTo(page, "#/history/doc/plan");
  await server.delete("doc/plan");
  await shown("a deletion, too", version(page, "deleted"));
  await becomes("which is the newest change", says(heading(page), "What was deleted"));
  await restoreLink(page).click();
  await becomes("and can be undone from there", says(heading(page), "Bring back version 4?"));
  await page.getByRole("link", { name: "Open the entry" }).click();
  await shown("a deleted entry is not there", page.locator(".placeholder", { hasText: "There is no entry" }));
  await historyLink(page).click();
  await becomes("but its history is", async () => (await versions(page).count()) === 5);

  for (let n = 0; n < 60; n += 1) await server.put("other", `{"n":${n}}`);
  const long = await open(me, server, "#/history/other");
  await becomes("a long history comes in pages", async () => (await versions(long).count()) === 50);
  await long.getByRole("button", { name: "Show older" }).click();
  await becomes("and more when asked for", async () => (await versions(long).count()) === 61);
  finding("the focus goes on there", await isFocused(versions(long).nth(50).locator("a")));
  await shown("to the end", version(long, "created"));
  await goTo(long, `#/history/other?to=${created}`);
  await becomes(
    "lines that are alike are folded only if there are many",
    async () => (await long.locator(".fold").count()) === 0,
  );

  const list = (n) => JSON.stringify(Array.from({ length: 80 }, (_, index) => (index === 40 ? n : index)));
  await server.put("list", list("old"));
  await server.put("list", list("new"));
  await goTo(long, "#/history/list");
  await becomes("they are, if there are many", async () => (await long.locator(".fold").count()) === 2);
  await long
    .getByRole("button", { name: /^Show \d+ unchanged lines$/ })
    .first()
    .click();
  await becomes("and shown when asked for", async () => (await long.locator(".diff tr.same").count()) > 40);
}

async function restoring() {
  const { server, page } = await openConsole("#/kv/doc", {
    entries: { doc: '{"a":1,"b":1}' },
    expectFailures: true,
  });
  const { revision: second } = await server.put("doc", '{"a":2,"b":1}');
  await becomes("an entry is open", () => textHas(page, '"a": 2'));
  await retype(page, '"b": 1', '"b": 5');
  await historyLink(page).click();
  await version(page, "version 1").click();
  await restoreLink(page).click();
  await becomes("what it would change is shown first", says(heading(page), "Restore version 1?"));
  finding("where the focus is", await isFocused(heading(page)));
  await becomes(
    "from the current one",
    async () => (await marked(page, "del")).join() === "2" && (await marked(page, "ins")).join() === "1",
  );
  await shown(
    "unsaved text is told to be kept",
    page.locator(".draft-note", { hasText: "Your unsaved text" }),
  );
  finding("and nothing is done yet", (await server.value("doc")).a === 2);
  await picture(page, "restore");
  await page.getByRole("link", { name: "Cancel" }).click();
  await becomes("it can be cancelled", says(heading(page), "What version 1 changed"));
  await restoreLink(page).click();
  await page.route(
    "**/revert/doc",
    async (route) => {
      await server.put("doc", '{"a":3,"b":1}');
      await route.continue();
    },
    { times: 1 },
  );
  await becomes(
    "the button is ready",
    async () => (await restoreButton(page).getAttribute("aria-disabled")) === "false",
  );
  await restoreButton(page).click();
  await shown(
    "a change of somebody else meanwhile is told",
    page.locator(".restore-problem", { hasText: "Not restored: Someone else saved version 3 meanwhile" }),
  );
  await becomes("and what would change now is shown", async () => (await marked(page, "del")).join() === "3");
  finding("nothing was overwritten", (await server.value("doc")).a === 3);
  await becomes(
    "it can be done all the same",
    async () => (await restoreButton(page).getAttribute("aria-disabled")) === "false",
  );
  await restoreButton(page).click();
  await shown("which is told", toast(page, "doc is restored, as version 4."));
  await becomes("the version is back", async () => (await server.value("doc")).a === 1);
  await shown(
    "the unsaved text is there",
    banner(page, "Your unsaved text was restored, based on version 2"),
  );
  finding("and not overwritten", await textHas(page, '"b": 5'));
  await save(page);
  await becomes("saving it merges both", async () =>
    (await server.text("doc")).includes('"value":{"a":1,"b":5}'),
  );
  await historyLink(page).click();
  await shown("the history says what happened", version(page, "reverted to version 1"));

  let isLost = false;
  await page.route("**/revert/doc", (route) => {
    if (isLost) return route.continue();
    isLost = true;
    return loseAnswer(route);
  });
  await version(page, "version 3").click();
  await restoreLink(page).click();
  await becomes("another is looked at", says(heading(page), "Restore version 3?"));
  await becomes(
    "and compared",
    async () => (await restoreButton(page).getAttribute("aria-disabled")) === "false",
  );
  await restoreButton(page).click();
  await shown("an answer that is lost is asked for again", toast(page, "doc is restored, as version 6."));
  finding("and it is done once", JSON.parse(await server.text("doc")).version === 6);
  await goTo(page, `#/history/doc?restore=${second}`);
  await goTo(page, `#/history/doc?restore=${second + 1_000_000}`);
  await shown(
    "a revision that is still to come is told",
    summary(page).filter({ hasText: "The server says: " }),
  );
}

async function deletedEntries() {
  const { server, page } = await openConsole("", {
    entries: { "doc/a": '{"n":1}', "doc/b": "2", "other/c": "3", kept: "4" },
  });
  for (const key of ["doc/a", "doc/b", "other/c"]) await server.delete(key);
  await server.put("doc/b", "5");
  await page.getByRole("link", { name: "Deleted entries" }).click();
  const rows = page.locator(".deleted-list li");
  await becomes(
    "deleted entries are listed, the last one first",
    async () => (await rows.locator(".row-key").allInnerTexts()).join() === "other/c,doc/a",
  );
  finding("with when", /deleted just now/.test(await rows.first().innerText()));
  finding("the focus is on the heading", await isFocused(page.locator(".deleted h2")));
  await picture(page, "deleted");
  await page.locator("#filter").fill("doc/");
  await becomes(
    "the filter counts there, too",
    async () => (await rows.locator(".row-key").allInnerTexts()).join() === "doc/a",
  );
  await shown("which is said", page.locator(".meta", { hasText: "Keys that begin with “doc/”" }));
  await server.delete("doc/b");
  await becomes("what is deleted now appears", async () => (await rows.count()) === 2);
  await server.put("doc/b", "6");
  await becomes("and goes when it is created again", async () => (await rows.count()) === 1);
  await rows.first().locator("a").click();
  await becomes("one is looked at first", says(heading(page), "Bring back version 1?"));
  await becomes("with its value", says(summary(page), "3 lines added."));
  finding("and is not back yet", (await server.status("doc/a")) === 404);
  await becomes(
    "the button is ready",
    async () => (await restoreButton(page).getAttribute("aria-disabled")) === "false",
  );
  await restoreButton(page).focus();
  await page.keyboard.press("Enter");
  await becomes(
    "it is brought back",
    async () => (await server.status("doc/a")) === 200 && (await isOpen(page, "doc/a")),
  );
  finding("as it was", (await server.value("doc/a")).n === 1);
  await deleteOpen(page);
  await becomes("and deleted again", async () => (await server.status("doc/a")) === 404);
  await goTo(page, "#/history/doc/a");
  await shown("its history has all of that", version(page, "brought back version 1"));
  await page.locator("#filter").fill("nothing");
  await page.getByRole("link", { name: "Deleted entries" }).click();
  await shown(
    "where nothing was deleted, that is said",
    page.locator(".kept", { hasText: "No history is kept of these keys." }),
  );
}

async function withoutHistory() {
  if (onEtcd) {
    skipped("a service without a history", "etcd keeps it until it is compacted");
    return;
  }
  const { server, page } = await openConsole("#/kv/doc", {
    entries: { doc: "1" },
    flags: ["--history", "never"],
  });
  await server.put("doc", "2");
  await historyLink(page).click();
  await shown(
    "a service without a history says so",
    page.locator(".kept", { hasText: "This service has kept no history so far." }),
  );
  finding("and shows what there is", (await versions(page).count()) === 1);
  await page.getByRole("link", { name: "Deleted entries" }).click();
  await shown("the deleted entries, too", page.locator(".kept", { hasText: "No history is kept" }));
}

async function pastOfOthers() {
  const server = await serverFor({
    ann: EVERYWHERE,
    reader: [{ prefix: "doc/", actions: ["read"] }],
    writer: [{ prefix: "doc/", actions: ["update"] }],
  });
  const created = await server.revision("doc/plan");
  const ann = await signedIn(server, "ann", "#/kv/doc/plan");
  await retype(ann, '"Plan"', '"Plan of Ann"');
  await save(ann);
  await historyLink(ann).click();
  await shown("who did it is told", version(ann, "by ann"));
  const page = await signedIn(server, "reader", "#/history/doc/plan");
  await becomes("who may only read sees the history", async () => (await versions(page).count()) === 2);
  await version(page, "version 1").click();
  await becomes("and what differs", says(heading(page), "What version 1 changed"));
  finding(
    "but is told why nothing can be restored",
    (await restoreLink(page).count()) === 0 &&
      (await page.locator(".comparison-head a[aria-disabled=true]").getAttribute("title")) ===
        "You may not change entries here.",
  );
  await goTo(page, `#/history/doc/plan?restore=${created}`);
  await becomes("also where the address asks for it", async () =>
    (await page.locator(".question").innerText()).includes("You may not change entries here."),
  );
  finding("the button is greyed out", (await restoreButton(page).getAttribute("aria-disabled")) === "true");
  await restoreButton(page).click({ force: true });
  finding("and does nothing", JSON.parse(await server.text("doc/plan")).version === 2);
  await goTo(page, "#/history/other");
  await shown(
    "a key that may not be read says so",
    page.locator(".nothing", { hasText: "You may not read this entry." }),
  );
  await page.locator("#filter").fill("other/");
  await goTo(page, "#/deleted");
  await shown("a prefix that may not be read, too", page.locator(".kept", { hasText: "The server says: " }));
  // Who may read nothing is shown no changes, either.
  const writer = await open(await person(), server, "", quiet);
  await dialog(writer).waitFor();
  await signIn(writer, tokenOf("writer"));
  await nameIs(writer, "writer").waitFor();
  const link = writer.locator("#deleted");
  finding(
    "who may read nothing is told at the link",
    (await link.getAttribute("aria-disabled")) === "true" &&
      (await link.getAttribute("title")) === "You may not read entries here.",
  );
}

async function largeHistory() {
  const members = (change) => {
    const list = [];
    for (let index = 0; index < 12_000; index += 1)
      list.push(
        `"member-${index}":{"name":"name ${index === 6_000 ? change : index}","list":[1,2,"x"],"done":false}`,
      );
    return `{${list.join(",")}}`;
  };
  const { server, page } = await openConsole("", { entries: { large: members("old") } });
  await server.put("large", members("new"));
  await goTo(page, "#/history/large");
  const jumps = await page.evaluate(() => {
    window.longest = 0;
    new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) window.longest = Math.max(window.longest, duration);
    }).observe({ type: "longtask", buffered: true });
  });
  finding("long tasks are observed", jumps === undefined);
  await becomes("two large values are compared", says(summary(page), "1 line changed."));
  finding("with the word that differs", (await marked(page, "ins")).join() === "new");
  const rows = await page.locator(".diff tr").count();
  finding(`of which the page shows few lines: ${rows}`, rows < 30);
  const longest = Math.round(await page.evaluate(() => window.longest));
  finding(`without freezing: at most ${longest} ms at once`, longest < 1_500);
}

async function pastLooks() {
  const { server, me } = await openConsole("", {
    entries: { "doc/plan": '{"title":"The first plan","steps":["draft","review"],"budget":100}' },
  });
  const created = await server.revision("doc/plan");
  await server.put("doc/plan", '{"title":"The second plan","steps":["draft","review","ship"],"owner":"ann"}');
  await server.put("doc/gone", "1");
  await server.delete("doc/gone");
  await me.close();
  for (const colorScheme of ["light", "dark"]) {
    const one = await person({ colorScheme });
    const page = await open(one, server, "#/history/doc/plan");
    await summary(page).filter({ hasText: "changed" }).waitFor();
    await lookAt(page, "history", colorScheme);
    await goTo(page, `#/history/doc/plan?restore=${created}`);
    await becomes("a version is looked at", says(heading(page), "Restore version 1?"));
    await becomes(
      "and compared",
      async () => (await restoreButton(page).getAttribute("aria-disabled")) === "false",
    );
    await lookAt(page, "restore", colorScheme);
    await goTo(page, "#/deleted");
    await page.locator(".deleted-list li").waitFor();
    await lookAt(page, "deleted", colorScheme);
    await one.close();
  }
}

module.exports = {
  history,
  restoring,
  deletedEntries,
  withoutHistory,
  pastOfOthers,
  largeHistory,
  pastLooks,
};

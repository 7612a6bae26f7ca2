// One person at work: the list, the editor, the keyboard, drafts.
const {
  area,
  banner,
  becomes,
  deleteOpen,
  discardButton,
  finding,
  isOpen,
  keepNoDrafts,
  open,
  openConsole,
  picture,
  retype,
  save,
  shown,
  textHas,
  typeNew,
} = require("./support.cjs");

const ODD_KEY = "users/ann bélanger/100% sure?#1 🦀";

async function list() {
  const { server, me, page } = await openConsole();
  await shown("an empty store says so, and offers to create", page.locator("text=No entries yet."));
  await picture(page, "empty");
  for (let index = 0; index < 130; index += 1)
    await server.put(`items/${String(index).padStart(3, "0")}`, `{"n":${index}}`);
  await server.put("doc/plan", '{"title":"Plan"}');
  const other = await open(me, server);
  await becomes(
    "a list is fetched in pages",
    async () => (await other.locator("#entries li").count()) === 50,
  );
  await other.locator(".more").click();
  await becomes(
    "more comes when asked for",
    async () => (await other.locator("#entries li").count()) === 100,
  );
  await other.locator(".more").click();
  await becomes(
    "the last page ends the list",
    async () =>
      (await other.locator("#entries li").count()) === 131 && (await other.locator(".more").isHidden()),
  );
  await other.locator("#filter").fill("items/00");
  await becomes(
    "the filter shows what begins so",
    async () => (await other.locator("#entries li").count()) === 10,
  );
  await server.put("items/00x", "1");
  await server.put("other", "1");
  await shown(
    "what others create appears, if it begins so",
    other.locator("#entries a", { hasText: "items/00x" }),
  );
  finding("and nothing else does", (await other.locator("#entries a", { hasText: "other" }).count()) === 0);
  await server.delete("items/00x");
  await becomes(
    "what others delete goes",
    async () => (await other.locator("#entries a", { hasText: "items/00x" }).count()) === 0,
  );
  await other.locator("#filter").fill("zzz");
  await shown("a filter without a match says so", other.locator("text=No key begins with “zzz”."));
  await picture(other, "no-match");
  await server.put("zzz", "1");
  await shown("and goes on watching", other.locator("#entries a", { hasText: "zzz" }));
}

async function editing() {
  const { server, page } = await openConsole();
  await page.locator(".list-head a", { hasText: "New" }).click();
  const text = '{"n": 1.0, "big": 12345678901234567890, "huge": 1e400, "__proto__": {"a": -0}, "a": 2}';
  await typeNew(page, ODD_KEY, text);
  await save(page);
  await shown("an entry with an odd key is created", banner(page, "Saved as version 1"));
  const kept = '"value":{"n":1.0,"big":12345678901234567890,"huge":1e400,"__proto__":{"a":-0},"a":2}';
  const path = encodeURIComponent(ODD_KEY);
  finding("every digit and every name has arrived", (await server.text(path)).includes(kept));
  finding("the address names it", decodeURIComponent(new URL(page.url()).hash) === `#/kv/${ODD_KEY}`);
  await retype(page, '"n": 1.0', '"n": 1.00');
  await save(page);
  await shown("an edit is saved", banner(page, "Saved as version 2"));
  finding("digits survive an edit", (await server.text(path)).includes(kept.replace("1.0,", "1.00,")));
  await page.reload();
  await becomes("a deep link opens it", () => textHas(page, '"huge": 1e400'));

  await server.put("doc/plan", '{"title":"Plan","steps":["draft","review"],"budget":100.50}');
  await page.locator("#entries a", { hasText: "doc/plan" }).click();
  await becomes("another is opened", () => textHas(page, '"budget": 100.50'));
  await page.goBack();
  await becomes("back goes back", () => isOpen(page, ODD_KEY));
  await page.goForward();
  await becomes("forward, too", () => isOpen(page, "doc/plan"));
  await becomes("its text is there", () => textHas(page, "review"));

  await retype(page, '"review"', '"review" x');
  await shown(
    "a syntax error is told with its place",
    page.locator(".editor-status", { hasText: "Line 5, column 14: a comma or ] is expected" }),
  );
  finding(
    "and marked there",
    (await page.locator(".marks mark").innerText()) === "x" &&
      (await area(page).getAttribute("aria-invalid")) === "true",
  );
  const mark = await page.locator(".marks mark").boundingBox();
  const box = await area(page).boundingBox();
  finding("in the fifth line", Math.abs(mark.y - box.y - 12 - 4 * 21) < 6);
  const described = await area(page).getAttribute("aria-describedby");
  finding("and described", (await page.locator(`#${described}`).innerText()).startsWith("Line 5"));
  await picture(page, "syntax-error");
  await save(page);
  await shown("what is not JSON is not saved", banner(page, "Not saved"));
  finding("the text stays", await textHas(page, '"review" x'));
  await retype(page, '"review" x', '"review", "ship"');
  await page.getByRole("button", { name: "Format" }).click();
  finding("it can be formatted", await textHas(page, '    "review",\n    "ship"\n'));
  await page.keyboard.press("Control+z");
  finding("and that undone", await textHas(page, '"review", "ship"'));
  await save(page);
  await shown("mended, it is", banner(page, "Saved as version 2"));
  await picture(page, "saved");

  await page.getByRole("button", { name: "Delete…" }).click();
  await picture(page, "delete");
  await page.keyboard.press("Escape");
  finding(
    "Escape closes the dialog, and nothing is deleted",
    (await page.locator("dialog[open]").count()) === 0 && (await server.status("doc/plan")) === 200,
  );
  await deleteOpen(page);
  await becomes("an entry is deleted", async () => (await server.status("doc/plan")) === 404);
  await page.getByRole("button", { name: "Undo" }).click();
  await becomes(
    "and brought back",
    async () => (await server.status("doc/plan")) === 200 && (await isOpen(page, "doc/plan")),
  );

  await page.goto(`${server.url}/#/kv/${encodeURIComponent("not/there")}`);
  await page.getByRole("button", { name: "Create it" }).click();
  await area(page).fill("null");
  await save(page);
  await becomes("a key that a link names is created", async () => (await server.status("not/there")) === 200);
  await page.goto(`${server.url}/#/kv/a%2F..%2Fb`);
  await shown(
    "a link that can be no key says so",
    page.locator(".nothing", { hasText: "A key cannot contain . or .." }),
  );
  await page.goto(`${server.url}/#/kv/%E0%A4%A`);
  await shown(
    "so does one that is not encoded",
    page.locator(".nothing", { hasText: "is not percent-encoded UTF-8" }),
  );
}

async function keyboard() {
  const { server, page } = await openConsole();
  await page.keyboard.press("n");
  await becomes("n begins an entry, in the field for its key", () =>
    page.evaluate(() => document.activeElement.id === "new-key"),
  );
  await page.keyboard.type("a/b");
  await page.keyboard.press("Control+s");
  await becomes("an error leads into the text", () =>
    page.evaluate(() => document.activeElement.matches("textarea")),
  );
  await page.keyboard.type('{"x": [');
  await page.keyboard.press("Enter");
  await page.keyboard.type("1]}");
  finding("Enter keeps the indent", (await area(page).inputValue()) === '{"x": [\n  1]}');
  await page.keyboard.press("Tab");
  finding("Tab leaves the text", await page.evaluate(() => !document.activeElement.matches("textarea")));
  await save(page);
  await becomes("and it is saved without a mouse", async () => (await server.status("a/b")) === 200);
  await server.put("a/c", "1");
  await page.waitForSelector("#entries a:has-text('a/c')");
  await page.locator("h1 a").focus();
  await page.keyboard.press("/");
  finding("/ goes to the filter", await page.evaluate(() => document.activeElement.id === "filter"));
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await becomes("arrows and Enter open an entry, and its name has the focus", () =>
    page.evaluate(
      () => document.activeElement.matches("h2.key") && document.activeElement.textContent === "a/c",
    ),
  );
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  finding("the focus can be seen", outline === "solid");
}

async function drafts() {
  const { server, me, page } = await openConsole("#/kv/doc", { entries: { doc: '{"a":1,"b":1}' } });
  await retype(page, '"a": 1', '"a": 2, not finished');
  await page.reload();
  await shown(
    "what was typed is there after a reload",
    banner(page, "Your unsaved text was restored, based on version 1"),
  );
  finding("to the letter", await textHas(page, '"a": 2, not finished'));
  await picture(page, "restored");
  await shown("the list says that there is a draft", page.locator("#entries .draft-mark"));
  await page.goto(`${server.url}/#/`);
  await page.goto(`${server.url}/#/kv/doc`);
  await becomes("and after going elsewhere", () => textHas(page, "not finished"));
  await discardButton(page).click();
  await becomes("it can be discarded", async () => !(await textHas(page, "not finished")));
  await page.getByRole("button", { name: "Undo" }).click();
  await becomes("and that undone", () => textHas(page, "not finished"));

  // Another tab of the same browser, on the same version.
  const second = await open(me, server, "#/kv/doc");
  await shown("another tab is told of it", banner(second, "Another tab has unsaved text for this entry"));
  await discardButton(page).click();
  await becomes("until it is gone", async () => (await banner(second, "Another tab").count()) === 0);
  await page.getByRole("button", { name: "Undo" }).click();
  await becomes("and back", () => textHas(page, "not finished"));
  await retype(second, '"b": 1', '"b": 3');
  await page.reload();
  await becomes("the first has its own", () => textHas(page, "not finished"));
  await second.reload();
  await becomes("the second has its own", () => textHas(second, '"b": 3'));
  await page.close();
  await second.reload();
  await shown(
    "of a tab that was closed, the text is still there",
    banner(second, "There is other unsaved text"),
  );
  await banner(second, "There is other unsaved text").getByRole("button", { name: "Show it here" }).click();
  await becomes("and can be shown", () => textHas(second, "not finished"));
  finding(
    "with what was here kept beside it",
    (await banner(second, "There is other unsaved text").innerText()).includes('"b": 3'),
  );

  await second.goto(`${server.url}/#/new`);
  await typeNew(second, "half/named", "[1,");
  await second.reload();
  await becomes(
    "an entry that is not created yet is kept, too",
    async () =>
      (await area(second).inputValue()) === "[1," &&
      (await second.locator("#new-key").inputValue()) === "half/named",
  );

  await second.goto(`${server.url}/#/`);
  await shown("and the list leads to it", second.locator("#unsaved a", { hasText: "New entry" }));

  const full = await open(me, server, "#/kv/doc", { before: keepNoDrafts });
  await area(full).fill("1");
  await shown("a browser that keeps no drafts is warned of", full.locator("#storage-warning"));
  full.on("dialog", (dialog) => dialog.accept());
  await full.close();
}

module.exports = { list, editing, keyboard, drafts };

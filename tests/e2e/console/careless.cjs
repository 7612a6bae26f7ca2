// What a careless or hurried user does, and what must not be lost by it without a word.
const {
  area,
  banner,
  becomes,
  deleteOpen,
  discardButton,
  finding,
  goTo,
  isOpen,
  keepNoDrafts,
  loseAnswer,
  open,
  openConsole,
  refuse,
  retype,
  save,
  shown,
  textHas,
  toast,
  typeNew,
} = require("./support.cjs");

async function repeatedMembers() {
  const { server, page } = await openConsole("#/kv/doc", { entries: { doc: '{"x":0}' } });
  await area(page).waitFor();
  for (const [text, place, name] of [
    ['{"x":1,"x":2}', "Line 1, column 8", '"x"'],
    ['{\n  "a": [{"b": {"c": 1,\n    "c": 1}}]\n}', "Line 3, column 5", '"c"'],
    ['{"a":1,"\\u0061":2}', "Line 1, column 8", '"a"'],
  ]) {
    await area(page).fill(text);
    await shown(
      `a repeated member is told with its place and name: ${text}`,
      page.locator(".editor-status.wrong", { hasText: `${place}: the member ${name} appears twice` }),
    );
    await save(page);
    await shown("it is not saved", banner(page, "Not saved: the member"));
    await page.getByRole("button", { name: "Format" }).click();
    finding(
      "nor formatted away",
      (await area(page).inputValue()) === text && (await server.text("doc")).includes('"value":{"x":0}'),
    );
  }
  for (const [text, words] of [
    ["\ufeff1", "U+FEFF (a byte order mark)"],
    ["1 2", "nothing may follow the value, but 2 does"],
    ["1\u200b", "U+200B"],
    ['"\ud800"', "unpaired surrogate"],
    ['"\\udc00"', "unpaired surrogate"],
  ]) {
    await area(page).evaluate((one, value) => {
      one.value = value;
      one.dispatchEvent(new InputEvent("input"));
    }, text);
    await shown(
      `what cannot be saved is told: ${JSON.stringify(text)}`,
      page.locator(".editor-status.wrong", { hasText: words }),
    );
    await save(page);
    await shown("and is not saved", banner(page, "Not saved"));
  }
  for (const text of [
    "1.0",
    "1",
    "1.00",
    "-0",
    "1e400",
    "12345678901234567890.10",
    '{"b":1,"a":2}',
    '{"a":2,"b":1}',
    '"\\u0000"',
  ]) {
    await area(page).fill(text);
    await save(page);
    await becomes(`what is typed is what is kept: ${text}`, async () =>
      (await server.text("doc")).includes(`"value":${text},`),
    );
  }
}

async function takenKey() {
  const { server, page } = await openConsole("#/new", { entries: { taken: '{"from":"them"}' } });
  await typeNew(page, "taken ", '{"from":"me"}');
  await shown("a key that ends with a space is told", page.getByText("The key ends with a space."));
  await typeNew(page, "taken", '{"from":"me"}');
  await save(page);
  const told = banner(page, "the key taken exists already, as version 1");
  await shown("a key that is taken is told", told);
  finding(
    "and is no conflict",
    (await page.locator(".conflict").count()) === 0 && (await banner(page, "someone else").count()) === 0,
  );
  await told.getByRole("button", { name: "Choose another key" }).click();
  await page.keyboard.type("free");
  await becomes("the message goes when another key is typed", async () => (await told.count()) === 0);
  await save(page);
  await becomes("another key can be chosen", async () => (await server.value("free")).from === "me");
  await becomes("and is what the page shows", () => isOpen(page, "free"));

  await page.goto(`${server.url}/#/new`);
  await typeNew(page, "taken", '{"from":"me again"}');
  await save(page);
  await told.getByRole("button", { name: "Open it" }).click();
  await becomes(
    "it can be opened",
    async () => (await isOpen(page, "taken")) && (await textHas(page, '"them"')),
  );
  await toast(page).getByRole("button", { name: "Back to it" }).click();
  await becomes(
    "and what was typed is kept",
    async () =>
      (await area(page).inputValue()) === '{"from":"me again"}' &&
      (await page.locator("#new-key").inputValue()) === "taken",
  );
  finding("nothing was overwritten", (await server.value("taken")).from === "them");
}

/** Whether one of two elements covers a part of the other. */
async function overlapOf(one, other) {
  const [a, b] = await Promise.all([one.boundingBox(), other.boundingBox()]);
  return (
    a !== null &&
    b !== null &&
    a.x < b.x + b.width &&
    b.x < a.x + a.width &&
    a.y < b.y + b.height &&
    b.y < a.y + a.height
  );
}

async function notices() {
  const { page } = await openConsole("#/kv/doc", { entries: { doc: '{"a":1,"b":1}' } });
  const notice = page.locator(".toast-body");
  const discardEdit = async () => {
    await retype(page, '"a": 1', '"a": 2');
    await discardButton(page).click();
    await notice.waitFor();
  };
  for (const [width, height] of [
    [1280, 800],
    [360, 740],
  ]) {
    await page.setViewportSize({ width, height });
    await discardEdit();
    for (const what of [".doc-head", ".doc-body", ".editor-status"]) {
      finding(
        `a notice does not cover ${what} at ${width} px`,
        !(await overlapOf(notice, page.locator(what).first())),
      );
    }
    const box = await notice.boundingBox();
    finding(`it is within the page at ${width} px`, box.x >= 0 && box.x + box.width <= width);
    await page.locator("h2.key").focus();
    await page.keyboard.press("Escape");
    await becomes("Escape closes it", async () => (await notice.count()) === 0);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.clock.install();
  await discardEdit();
  await page.mouse.move(640, 600);
  await page.clock.runFor(5_000);
  finding("a notice stays long enough to be read", (await notice.count()) === 1);
  await page.clock.runFor(30_000);
  await becomes("and goes away by itself", async () => (await notice.count()) === 0);
  await retype(page, '"a": 1', '"a": 3');
  await save(page);
  await banner(page, "Saved as version 2").waitFor();
  await retype(page, '"a": 3', '"a": 4');
  await becomes(
    "who goes on typing is not told that it is saved",
    async () => (await banner(page, "Saved as").count()) === 0,
  );
  await save(page);
  await banner(page, "Saved as version 3").waitFor();
  await page.clock.runFor(30_000);
  await becomes(
    "that it is saved is not told for ever",
    async () => (await banner(page, "Saved as").count()) === 0,
  );
}

async function contradictions() {
  const { server, me, page } = await openConsole("#/kv/doc", {
    entries: { doc: '{"a":1}' },
    expectFailures: true,
  });
  await area(page).waitFor();
  // Somebody is quicker to delete it.
  await page.route(
    "**/kv/doc",
    async (route) => {
      await server.delete("doc");
      await route.continue();
    },
    { times: 1 },
  );
  await deleteOpen(page);
  await shown("a deletion by somebody quicker is told", banner(page, "Deleted by someone else"));
  finding("and not that it was not deleted", (await banner(page, "Not deleted").count()) === 0);

  await server.put("doc", '{"a":1}');
  await becomes("it is back", () => textHas(page, '"a": 1'));
  await page.route("**/kv/doc", loseAnswer, { times: 1 });
  await deleteOpen(page);
  await shown("a delete whose answer was lost is sent again, and answered", toast(page, "doc was deleted."));
  await server.put("doc", '{"a":1}');
  await goTo(page, "#/kv/doc");
  await becomes("it is back again", () => textHas(page, '"a": 1'));
  await page.route("**/kv/doc", loseAnswer, { times: 3 });
  await deleteOpen(page);
  await becomes(
    "a delete whose answers are all lost is not told to have failed",
    async () =>
      (await banner(page, "Not deleted").count()) === 0 &&
      (await server.status("doc")) === 404 &&
      (await banner(page, "Deleted").count()) === 1 &&
      (await banner(page, "not known").count()) === 0,
  );
  await page.close();

  // A browser that keeps nothing is not said to keep something.
  await server.put("doc", '{"a":1}');
  const full = await open(me, server, "#/kv/doc", {
    expectFailures: true,
    before: keepNoDrafts,
  });
  await retype(full, '"a": 1', '"a": 2');
  await full.locator("#storage-warning").waitFor();
  await full.route("**/kv/doc", (route) => route.abort("connectionreset"));
  await save(full);
  await shown("a browser that keeps no draft is not said to keep it", banner(full, "Keep this page open"));
  finding("nowhere", (await full.getByText("is kept in this browser").count()) === 0);
  full.on("dialog", (dialog) => dialog.accept());
  await full.close();
}

/** Holds writes back until letGo() is called; answer(route) then answers them. isThere settles when one has come. */
async function hold(page, answer = (route) => route.continue()) {
  let letGo;
  const held = new Promise((resolve) => {
    letGo = resolve;
  });
  let arrived;
  const isThere = new Promise((resolve) => {
    arrived = resolve;
  });
  await page.route("**/kv/**", async (route) => {
    if (route.request().method() !== "PUT") return route.fallback();
    arrived();
    await held;
    return answer(route);
  });
  return { isThere, letGo };
}

async function leftWhileSaving() {
  const { server, page } = await openConsole("#/kv/doc", {
    entries: { doc: '{"a":1}', other: '{"o":1}' },
    expectFailures: true,
  });

  let write = await hold(page, (route) => refuse(route, 413, "value_too_large", "too large"));
  await retype(page, '"a": 1', '"a": 2');
  await save(page);
  await write.isThere;
  await goTo(page, "#/kv/other");
  await becomes("another entry is opened while a save is under way", () => textHas(page, '"o"'));
  write.letGo();
  await shown("that the save failed is told there", toast(page, "doc is not saved"));
  await toast(page).getByRole("button", { name: "Open" }).click();
  await becomes("and leads to the text", () => textHas(page, '"a": 2'));

  await page.unroute("**/kv/**");
  write = await hold(page);
  await save(page);
  await write.isThere;
  await goTo(page, "#/kv/other");
  await becomes("away", () => textHas(page, '"o"'));
  await goTo(page, "#/kv/doc");
  await becomes("and back before it is saved", () => textHas(page, '"a": 2'));
  await retype(page, '"a": 2', '"a": 3');
  write.letGo();
  await becomes("it is saved", async () => (await server.value("doc")).a === 2);
  await page.unroute("**/kv/**");
  await shown(
    "what was typed meanwhile is an edit of that",
    page.locator(".chip.version", { hasText: "version 2" }),
  );
  await page.reload();
  await becomes("and its draft is kept", () => textHas(page, '"a": 3'));

  await goTo(page, "#/new");
  await typeNew(page, "made", '{"m":1}');
  write = await hold(page);
  await save(page);
  await write.isThere;
  await goTo(page, "#/kv/other");
  await becomes("somebody in a hurry leaves what is being created", () => textHas(page, '"o"'));
  await page.locator(".list-head a", { hasText: "New" }).click();
  await becomes(
    "for another new entry, which is empty",
    async () =>
      (await page.locator("#new-key").inputValue()) === "" && (await area(page).inputValue()) === "",
  );
  await goTo(page, "#/kv/other");
  await becomes("an entry is left while it is created", () => textHas(page, '"o"'));
  write.letGo();
  await becomes("it is created", async () => (await server.status("made")) === 200);
  await page.waitForSelector("#entries a:has-text('made')");
  await page.unroute("**/kv/**");
  finding(
    "and the address names what is open",
    page.url().endsWith("#/kv/other") && (await isOpen(page, "other")),
  );

  await page.locator(".list-head a", { hasText: "New" }).click();
  await typeNew(page, "doc", '"left"');
  write = await hold(page);
  await save(page);
  await write.isThere;
  await goTo(page, "#/kv/other");
  await page.locator(".list-head a", { hasText: "New" }).click();
  await becomes("a new entry is begun", async () => (await page.locator("#new-key").inputValue()) === "");
  await typeNew(page, "second", '"second"');
  write.letGo();
  await toast(page, "doc is not saved").waitFor();
  await toast(page).getByRole("button", { name: "Open" }).click();
  await becomes(
    "while one that was refused is opened from there",
    async () => (await area(page).inputValue()) === '"left"',
  );
  await shown(
    "beside the other one",
    page.locator(".banner", { hasText: "There is other unsaved text" }).filter({ hasText: '"second"' }),
  );
  await page.unroute("**/kv/**");
}

async function savedTwice() {
  const { server, page } = await openConsole("#/kv/doc", { entries: { doc: '{"a":1}' } });
  const write = await hold(page);
  await retype(page, '"a": 1', '"a": 2');
  await save(page);
  await write.isThere;
  await retype(page, '"a": 2', '"a": 3');
  await save(page);
  finding("what is on its way cannot be discarded", await discardButton(page).isDisabled());
  write.letGo();
  await becomes(
    "who saves again while a save is under way has all of it saved",
    async () => (await server.value("doc")).a === 3,
  );
  await becomes(
    "and is told so",
    async () =>
      (await banner(page, "Saved as version 3").count()) === 1 &&
      (await page.locator(".chip.edited").count()) === 0,
  );
}

async function changedWhileAsked() {
  const { server, page } = await openConsole("#/kv/doc", { entries: { doc: '{"a":1}' } });
  await page.getByRole("button", { name: "Delete…" }).click();
  await server.put("doc", '{"a":2}');
  await becomes("another version arrives while the page asks whether to delete", () =>
    textHas(page, '"a": 2'),
  );
  await page.locator("#delete-confirm").click();
  await shown("which is not deleted, and that is told", banner(page, "Not deleted: it was changed"));
  finding("and is there", (await server.value("doc")).a === 2);
}

async function undoElsewhere() {
  const { server, page } = await openConsole("#/kv/doc", { entries: { doc: '{"a":1}', other: '{"o":1}' } });
  await retype(page, '"a": 1', '"a": 2');
  await discardButton(page).click();
  for (const key of ["other", "doc"]) {
    await goTo(page, `#/kv/${key}`);
    await becomes(
      `${key} is opened`,
      async () => (await isOpen(page, key)) && (await area(page).count()) === 1,
    );
  }
  await toast(page).getByRole("button", { name: "Undo" }).click();
  await becomes("a discarded text comes back where one has come back to", () => textHas(page, '"a": 2'));

  await discardButton(page).click();
  await deleteOpen(page);
  await toast(page, "doc was deleted").waitFor();
  await server.put("doc", '"somebody else"');
  await toast(page).getByRole("button", { name: "Undo" }).click();
  await shown("what cannot be restored is told", toast(page, "could not be restored"));
  await toast(page).getByRole("button", { name: "Open" }).click();
  await becomes("and kept as a draft", () => textHas(page, '"a": 1'));
  finding("beside what is there now", (await server.value("doc")) === "somebody else");
}

module.exports = {
  repeatedMembers,
  takenKey,
  notices,
  contradictions,
  leftWhileSaving,
  savedTwice,
  changedWhileAsked,
  undoElsewhere,
};

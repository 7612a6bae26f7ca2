// What a careless or hurried user does, and what must not be lost by it without a word.
const {
  Server,
  area,
  banner,
  becomes,
  finding,
  open,
  person,
  retype,
  save,
  shown,
} = require("./support.cjs");

const newEntry = async (page, key, text) => {
  await page.getByLabel("Key", { exact: true }).fill(key);
  await area(page).fill(text);
};

async function repeatedMembers() {
  const server = await Server.start();
  await server.put("doc", '{"x":0}');
  const me = await person();
  const page = await open(me, server, "#/kv/doc");
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
  await me.close();
  await server.kill();
}

async function takenKey() {
  const server = await Server.start();
  await server.put("taken", '{"from":"them"}');
  const me = await person();
  const page = await open(me, server, "#/new");
  await newEntry(page, "taken ", '{"from":"me"}');
  await shown("a key that ends with a space is told", page.getByText("The key ends with a space."));
  await newEntry(page, "taken", '{"from":"me"}');
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
  await becomes(
    "and is what the page shows",
    async () => (await page.locator("h2.key").innerText()) === "free",
  );

  await page.goto(`${server.url}/#/new`);
  await newEntry(page, "taken", '{"from":"me again"}');
  await save(page);
  await told.getByRole("button", { name: "Open it" }).click();
  await becomes(
    "it can be opened",
    async () =>
      (await page.locator("h2.key").innerText()) === "taken" &&
      (await area(page).inputValue()).includes('"them"'),
  );
  await page.locator("#toast").getByRole("button", { name: "Back to it" }).click();
  await becomes(
    "and what was typed is kept",
    async () =>
      (await area(page).inputValue()) === '{"from":"me again"}' &&
      (await page.locator("#new-key").inputValue()) === "taken",
  );
  finding("nothing was overwritten", (await server.value("taken")).from === "them");
  await me.close();
  await server.kill();
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
  const server = await Server.start();
  await server.put("doc", '{"a":1,"b":1}');
  const me = await person();
  const page = await open(me, server, "#/kv/doc");
  const toast = page.locator(".toast-body");
  const discard = async () => {
    await retype(page, '"a": 1', '"a": 2');
    await page.getByRole("button", { name: "Discard", exact: true }).click();
    await toast.waitFor();
  };
  for (const [width, height] of [
    [1280, 800],
    [360, 740],
  ]) {
    await page.setViewportSize({ width, height });
    await discard();
    for (const what of [".doc-head", ".doc-body", ".editor-status"]) {
      finding(
        `a notice does not cover ${what} at ${width} px`,
        !(await overlapOf(toast, page.locator(what).first())),
      );
    }
    const box = await toast.boundingBox();
    finding(`it is within the page at ${width} px`, box.x >= 0 && box.x + box.width <= width);
    await page.locator("h2.key").focus();
    await page.keyboard.press("Escape");
    await becomes("Escape closes it", async () => (await toast.count()) === 0);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.clock.install();
  await discard();
  await page.mouse.move(640, 600);
  await page.clock.runFor(5_000);
  finding("a notice stays long enough to be read", (await toast.count()) === 1);
  await page.clock.runFor(30_000);
  await becomes("and goes away by itself", async () => (await toast.count()) === 0);
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
  await me.close();
  await server.kill();
}

async function contradictions() {
  const server = await Server.start();
  await server.put("doc", '{"a":1}');
  const me = await person();
  const page = await open(me, server, "#/kv/doc", { expectFailures: true });
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
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await shown("a deletion by somebody quicker is told", banner(page, "Deleted by someone else"));
  finding("and not that it was not deleted", (await banner(page, "Not deleted").count()) === 0);

  await server.put("doc", '{"a":1}');
  await becomes("it is back", async () => (await area(page).inputValue()).includes('"a": 1'));
  await page.route(
    "**/kv/doc",
    async (route) => {
      await route.fetch();
      await route.abort("connectionreset");
    },
    { times: 1 },
  );
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await becomes(
    "a delete whose answer was lost is not told to have failed",
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
    before: (one) =>
      one.addInitScript(() => {
        Storage.prototype.setItem = IDBObjectStore.prototype.put = () => {
          throw new DOMException("full", "QuotaExceededError");
        };
      }),
  });
  await retype(full, '"a": 1', '"a": 2');
  await full.locator("#storage-warning").waitFor();
  await full.route("**/kv/doc", (route) => route.abort("connectionreset"));
  await save(full);
  await shown("a browser that keeps no draft is not said to keep it", banner(full, "Keep this page open"));
  finding("nowhere", (await full.getByText("is kept in this browser").count()) === 0);
  full.on("dialog", (dialog) => dialog.accept());
  await full.close();
  await me.close();
  await server.kill();
}

/** Holds the next write back until it is let go, and answers what answer(route) does. */
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
  const server = await Server.start();
  await server.put("doc", '{"a":1}');
  await server.put("other", '{"o":1}');
  const me = await person();
  const page = await open(me, server, "#/kv/doc", { expectFailures: true });
  const go = (key) =>
    page.evaluate((hash) => {
      location.hash = hash;
    }, `#/kv/${key}`);

  let write = await hold(page, (route) =>
    route.fulfill({
      status: 413,
      contentType: "application/json",
      body: '{"error":"value_too_large","message":"too large"}',
    }),
  );
  await retype(page, '"a": 1', '"a": 2');
  await save(page);
  await write.isThere;
  await go("other");
  await becomes("another entry is opened while a save is under way", async () =>
    (await area(page).inputValue()).includes('"o"'),
  );
  write.letGo();
  await shown("that the save failed is told there", page.locator("#toast", { hasText: "doc is not saved" }));
  await page.locator("#toast").getByRole("button", { name: "Open" }).click();
  await becomes("and leads to the text", async () => (await area(page).inputValue()).includes('"a": 2'));

  await page.unroute("**/kv/**");
  write = await hold(page);
  await save(page);
  await write.isThere;
  await go("other");
  await becomes("away", async () => (await area(page).inputValue()).includes('"o"'));
  await go("doc");
  await becomes("and back before it is saved", async () =>
    (await area(page).inputValue()).includes('"a": 2'),
  );
  await retype(page, '"a": 2', '"a": 3');
  write.letGo();
  await becomes("it is saved", async () => (await server.value("doc")).a === 2);
  await page.unroute("**/kv/**");
  await shown(
    "what was typed meanwhile is an edit of that",
    page.locator(".chip.version", { hasText: "version 2" }),
  );
  await page.reload();
  await becomes("and its draft is kept", async () => (await area(page).inputValue()).includes('"a": 3'));

  await page.evaluate(() => {
    location.hash = "#/new";
  });
  await newEntry(page, "made", '{"m":1}');
  write = await hold(page);
  await save(page);
  await write.isThere;
  await go("other");
  await becomes("somebody in a hurry leaves what is being created", async () =>
    (await area(page).inputValue()).includes('"o"'),
  );
  await page.locator(".list-head a", { hasText: "New" }).click();
  await becomes(
    "for another new entry, which is empty",
    async () =>
      (await page.locator("#new-key").inputValue()) === "" && (await area(page).inputValue()) === "",
  );
  await go("other");
  await becomes("an entry is left while it is created", async () =>
    (await area(page).inputValue()).includes('"o"'),
  );
  write.letGo();
  await becomes("it is created", async () => (await server.status("made")) === 200);
  await page.waitForSelector("#entries a:has-text('made')");
  await page.unroute("**/kv/**");
  finding(
    "and the address names what is open",
    page.url().endsWith("#/kv/other") && (await page.locator("h2.key").innerText()) === "other",
  );

  await page.locator(".list-head a", { hasText: "New" }).click();
  await newEntry(page, "doc", '"left"');
  write = await hold(page);
  await save(page);
  await write.isThere;
  await go("other");
  await page.locator(".list-head a", { hasText: "New" }).click();
  await becomes("a new entry is begun", async () => (await page.locator("#new-key").inputValue()) === "");
  await newEntry(page, "second", '"second"');
  write.letGo();
  await page.locator("#toast", { hasText: "doc is not saved" }).waitFor();
  await page.locator("#toast").getByRole("button", { name: "Open" }).click();
  await becomes(
    "while one that was refused is opened from there",
    async () => (await area(page).inputValue()) === '"left"',
  );
  await shown(
    "beside the other one",
    page.locator(".banner", { hasText: "There is other unsaved text" }).filter({ hasText: '"second"' }),
  );
  await page.unroute("**/kv/**");
  await me.close();
  await server.kill();
}

async function savedTwice() {
  const server = await Server.start();
  await server.put("doc", '{"a":1}');
  const me = await person();
  const page = await open(me, server, "#/kv/doc");
  const write = await hold(page);
  await retype(page, '"a": 1', '"a": 2');
  await save(page);
  await write.isThere;
  await retype(page, '"a": 2', '"a": 3');
  await save(page);
  finding(
    "what is on its way cannot be discarded",
    await page.getByRole("button", { name: "Discard", exact: true }).isDisabled(),
  );
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
  await me.close();
  await server.kill();
}

async function changedWhileAsked() {
  const server = await Server.start();
  await server.put("doc", '{"a":1}');
  const me = await person();
  const page = await open(me, server, "#/kv/doc");
  await page.getByRole("button", { name: "Delete…" }).click();
  await server.put("doc", '{"a":2}');
  await becomes("another version arrives while the page asks whether to delete", async () =>
    (await area(page).inputValue()).includes('"a": 2'),
  );
  await page.locator("#delete-confirm").click();
  await shown("which is not deleted, and that is told", banner(page, "Not deleted: it was changed"));
  finding("and is there", (await server.value("doc")).a === 2);
  await me.close();
  await server.kill();
}

async function undoElsewhere() {
  const server = await Server.start();
  await server.put("doc", '{"a":1}');
  await server.put("other", '{"o":1}');
  const me = await person();
  const page = await open(me, server, "#/kv/doc");
  await retype(page, '"a": 1', '"a": 2');
  await page.getByRole("button", { name: "Discard", exact: true }).click();
  for (const key of ["other", "doc"]) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, `#/kv/${key}`);
    await becomes(
      `${key} is opened`,
      async () => (await page.locator("h2.key").innerText()) === key && (await area(page).count()) === 1,
    );
  }
  await page.locator("#toast").getByRole("button", { name: "Undo" }).click();
  await becomes("a discarded text comes back where one has come back to", async () =>
    (await area(page).inputValue()).includes('"a": 2'),
  );

  await page.getByRole("button", { name: "Discard", exact: true }).click();
  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await page.locator("#toast", { hasText: "doc was deleted" }).waitFor();
  await server.put("doc", '"somebody else"');
  await page.locator("#toast").getByRole("button", { name: "Undo" }).click();
  await shown(
    "what cannot be restored is told",
    page.locator("#toast", { hasText: "could not be restored" }),
  );
  await page.locator("#toast").getByRole("button", { name: "Open" }).click();
  await becomes("and kept as a draft", async () => (await area(page).inputValue()).includes('"a": 1'));
  finding("beside what is there now", (await server.value("doc")) === "somebody else");
  await me.close();
  await server.kill();
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

// Two people at one document.
const {
  area,
  banner,
  becomes,
  deleteOpen,
  finding,
  open,
  openConsole,
  overlap,
  person,
  picture,
  pictures,
  retype,
  save,
  shown,
  textHas,
} = require("./support.cjs");

const PLAN =
  '{"title":"Plan","budget":100.00,"owner":"ann","phases":["draft","review"],"limits":{"requests":12345678901234567890,"seconds":30}}';

/** Two people who have opened the same entry. */
async function pair(value = PLAN, key = "doc/plan") {
  const { server, page: ann } = await openConsole(`#/kv/${key}`, { entries: { [key]: value } });
  const bob = await open(await person(), server, `#/kv/${key}`);
  for (const page of [ann, bob]) await area(page).waitFor();
  return { server, ann, bob };
}

async function live() {
  const { server, ann, bob } = await pair();
  await retype(ann, "100.00", "120.00");
  await save(ann);
  await shown("what one saves appears at the other's", banner(bob, "Someone else saved version 2"));
  finding("as text", await textHas(bob, '"budget": 120.00'));
  finding(
    "with what changed, by path",
    (await banner(bob, "Someone else saved").innerText()).includes("/budget"),
  );
  finding("and marked in the text", (await bob.locator(".mark-row.came").count()) === 1);
  await picture(bob, "followed");
  await server.delete("doc/plan");
  await shown("a deletion is told", banner(bob, "Deleted by someone else"));
  await banner(bob, "Deleted").getByRole("button", { name: "Create it again" }).click();
  await becomes(
    "and the text can be created again",
    async () => (await server.value("doc/plan")).budget === 120,
  );
}

async function disjoint() {
  const { server, ann, bob } = await pair();
  await retype(ann, '"ann"', '"carol"');
  await retype(bob, '"seconds": 30', '"seconds": 60');
  await save(ann);
  await shown(
    "who is editing is told of the other's save",
    banner(bob, "Changed by someone else, now version 2"),
  );
  finding("and the text stays", await textHas(bob, '"owner": "ann"'));
  await picture(bob, "changed-elsewhere");
  await save(bob);
  await shown(
    "changes in different places merge by themselves",
    banner(bob, "Saved as version 3, with what someone else changed"),
  );
  finding("what came in is told", (await banner(bob, "Saved as version 3").innerText()).includes("/owner"));
  finding("and marked", (await bob.locator(".mark-row.came").count()) === 1);
  await picture(bob, "merged");
  const value = await server.value("doc/plan");
  finding("both stand", value.owner === "carol" && value.limits.seconds === 60);
  finding("and the digits", (await server.text("doc/plan")).includes('"requests":12345678901234567890'));

  await retype(bob, '"Plan"', '"Plan B"');
  await server.put("doc/plan", (await area(ann).inputValue()).replace("100.00", "90.00"));
  await banner(bob, "Changed by someone else").getByRole("button", { name: "Merge now" }).click();
  await shown("it can be merged before it is saved", banner(bob, "is merged in, not saved yet"));
  finding("into the text", /"title": "Plan B"[\s\S]*90\.00/.test(await area(bob).inputValue()));
  finding("and nothing is saved by that", (await server.value("doc/plan")).title === "Plan");
  await save(bob);
  await becomes("until it is", async () => (await server.value("doc/plan")).title === "Plan B");
}

async function overlapping() {
  const { server, ann, bob } = await pair('{"a":1,"b":1,"c":1,"d":1}');
  await area(ann).fill('{"a":"ann","b":"ann","c":"ann","d":"ann"}');
  await area(bob).fill('{"a":"bob","b":"bob","c":"bob","d":1}');
  await save(ann);
  await banner(bob, "Changed by someone else").waitFor();
  await save(bob);
  await shown(
    "changes in the same place are shown side by side",
    bob.locator("h3", { hasText: "You both changed the same 3 places" }),
  );
  finding("the focus is there", await bob.evaluate(() => document.activeElement.matches(".conflict h3")));
  const shape = await overlap(bob, "/a").innerText();
  finding(
    "with what was, theirs and mine",
    ["Before", "1", "Theirs", '"ann"', "Mine", '"bob"'].every((word) => shape.includes(word)),
  );
  finding("and what merges by itself", (await bob.locator(".merged-in").innerText()).includes("/d"));
  await save(bob);
  finding("nothing is saved before all is decided", (await server.value("doc/plan")).a === "ann");
  await overlap(bob, "/a").getByLabel("Theirs", { exact: true }).check();
  await overlap(bob, "/b").getByLabel("Mine", { exact: true }).check();
  await overlap(bob, "/c").getByLabel("Something else").check();
  const own = bob.getByLabel("Your value for /c, as JSON");
  await own.fill('"both');
  await shown(
    "an own value has its own syntax check",
    overlap(bob, "/c").locator(".editor-status.wrong", { hasText: "Line 1, column 1" }),
  );
  await bob.reload();
  await shown("a reload in the middle is where it was", bob.locator("h3", { hasText: "You both changed" }));
  finding(
    "choices too",
    (await overlap(bob, "/a").getByLabel("Theirs", { exact: true }).isChecked()) &&
      (await overlap(bob, "/b").getByLabel("Mine", { exact: true }).isChecked()),
  );
  finding("and what was typed", (await own.inputValue()) === '"both');
  await own.fill('"both"');
  await bob.getByRole("button", { name: "Back to my text" }).click();
  finding(
    "the text is as it was typed",
    (await area(bob).inputValue()) === '{"a":"bob","b":"bob","c":"bob","d":1}',
  );
  await save(bob);
  await shown("and the conflict as it was left", bob.locator(".conflict", { hasText: "All decided." }));
  await bob.getByRole("button", { name: "Save merged" }).click();
  await becomes("theirs, mine and an own value are saved", async () =>
    (await server.text("doc/plan")).includes('"value":{"a":"ann","b":"bob","c":"both","d":"ann"}'),
  );
  await shown("and what came from the other is told", banner(bob, "with what someone else changed"));
}

async function conflictThatMoves() {
  const { server, bob } = await pair('{"a":1,"b":1}');
  await area(bob).fill('{"a":"bob","b":"bob"}');
  await server.put("doc/plan", '{"a":"x","b":"x"}');
  await banner(bob, "Changed by someone else").getByRole("button", { name: "Merge now" }).click();
  await overlap(bob, "/a").getByLabel("Mine", { exact: true }).check();
  await overlap(bob, "/b").getByLabel("Mine", { exact: true }).check();
  await server.put("doc/plan", '{"a":"x","b":"y"}');
  await shown(
    "if it changes once more, only what changed is asked again",
    bob.locator(".conflict", { hasText: "One place to decide." }),
  );
  finding(
    "the other choice stands",
    await overlap(bob, "/a").getByLabel("Mine", { exact: true }).isChecked(),
  );
  await overlap(bob, "/b").getByLabel("Something else").check();
  const own = bob.getByLabel("Your value for /b, as JSON");
  await own.fill('"typ');
  await server.put("doc/plan", '{"a":"x","b":"z"}');
  await shown("who is typing a value of their own is told", overlap(bob, "/b").locator(".outdated"));
  await bob.keyboard.type('ed"');
  finding("and goes on typing", (await own.inputValue()) === '"typed"');
  await server.put("doc/plan", '{"a":"x","b":"y"}');
  await shown("it is not saved unseen", bob.locator(".conflict", { hasText: "One place to decide." }));
  await overlap(bob, "/b").getByRole("button", { name: "Keep it" }).click();
  await shown("but when it is seen", bob.locator(".conflict", { hasText: "All decided." }));
  await overlap(bob, "/b").getByLabel("Theirs", { exact: true }).check();
  // Somebody is quicker, between the last look and the save.
  await bob.route(
    "**/kv/doc/plan",
    async (route) => {
      await server.put("doc/plan", '{"a":"x","b":"y","new":1}');
      await route.continue();
    },
    { times: 1 },
  );
  await bob.getByRole("button", { name: "Save merged" }).click();
  await becomes("one who is quicker still is merged in as well", async () =>
    (await server.text("doc/plan")).includes('"value":{"a":"bob","b":"y","new":1}'),
  );
}

async function deletedWhileEditing() {
  const { server, ann, bob } = await pair();
  await retype(bob, '"Plan"', '"Mine"');
  await deleteOpen(ann);
  await shown("who is editing is told of a deletion", banner(bob, "Deleted by someone else"));
  finding("and the text stays", await textHas(bob, '"Mine"'));
  await picture(bob, "deleted-elsewhere");
  await save(bob);
  finding("a save does not bring it back by itself", (await server.status("doc/plan")) === 404);
  await bob.reload();
  await shown("a reload keeps all that", banner(bob, "Deleted by someone else"));
  await banner(bob, "Deleted").getByRole("button", { name: "Create it again" }).click();
  await becomes(
    "it can be created again with the text",
    async () => (await server.value("doc/plan")).title === "Mine",
  );
}

// Of an entry that is opened by its key, and not there yet.
async function createdByBoth() {
  const { server, page } = await openConsole("#/kv/same");
  await page.getByRole("button", { name: "Create it" }).click();
  await area(page).fill('{"from":"me"}');
  await server.put("same", '{"from":"them"}');
  await save(page);
  await shown(
    "a key that somebody else has just created is not overwritten",
    overlap(page, "the whole value"),
  );
  await overlap(page, "the whole value").getByLabel("Mine", { exact: true }).check();
  await page.getByRole("button", { name: "Save merged" }).click();
  await becomes("until that is chosen", async () => (await server.value("same")).from === "me");
}

async function portrait() {
  const { server, bob } = await pair();
  for (const [key, value] of [
    ["config/features", '{"new-editor":true,"theme":"auto"}'],
    ["config/limits", '{"requests":600,"window":"1m"}'],
    ["doc/minutes", '["Ann opened the meeting","Bob took notes"]'],
    ["doc/roadmap", '{"q1":"console","q2":"replicas"}'],
    ["team/ann", '{"name":"Ann","role":"editor"}'],
    ["team/bob", '{"name":"Bob","role":"editor"}'],
  ])
    await server.put(key, value);
  await bob.waitForSelector("#entries a:has-text('team/bob')");
  await retype(bob, '"Plan"', '"Plan for spring"');
  await retype(bob, '"owner": "ann"', '"owner": "bob"');
  await server.put(
    "doc/plan",
    PLAN.replace('"ann"', '"carol"')
      .replace("100.00", "120.00")
      .replace('"review"', '"review","ship"')
      .replace('"Plan"', '"Spring plan"'),
  );
  await banner(bob, "Changed by someone else").waitFor();
  await save(bob);
  await overlap(bob, "/title").getByLabel("Mine", { exact: true }).check();
  await overlap(bob, "/owner").getByLabel("Theirs", { exact: true }).check();
  await picture(bob, "console");
  await bob.emulateMedia({ colorScheme: "dark" });
  await picture(bob, "conflict-dark");
  const { size } = require("node:fs").statSync(`${pictures}/console.png`);
  finding(`there is a picture for the readme, ${size} bytes`, size > 20_000 && size < 300_000);
}

module.exports = {
  live,
  disjoint,
  overlapping,
  conflictThatMoves,
  deletedWhileEditing,
  createdByBoth,
  portrait,
};

// The console behind a proxy: it is live, saves, and merges.
const {
  area,
  banner,
  becomes,
  complaints,
  finding,
  open,
  overlap,
  person,
  retype,
  save,
  setBrowser,
  shown,
} = require("../../e2e/console/support.cjs");
const { inBrowser } = require("../../browser.cjs");

const [, , , , , proxy, name] = process.argv;
const service = process.env.PROXIED;

/** What somebody else does, who is not behind the proxy. */
async function put(key, json) {
  const answer = await fetch(`${service}/kv/${key}`, {
    method: "PUT",
    headers: { "Content-Type": "application/json" },
    body: json,
  });
  if (!answer.ok) throw new Error(`${key}: ${answer.status}`);
}

const value = async (key) => (await (await fetch(`${service}/kv/${key}`)).json()).value;

async function story() {
  await put("plan", '{"title":"Plan","budget":100,"owner":"ann"}');
  const me = await person();
  const page = await open(me, { url: proxy }, "#/kv/plan");
  await area(page).waitFor();
  const tag = await page.evaluate(async () => (await fetch("kv/plan")).headers.get("ETag"));
  finding(`${name}: the console sees weakened tags: ${tag}`, tag.startsWith("W/"));
  await becomes(`${name}: the entry is there`, async () =>
    (await area(page).inputValue()).includes('"budget": 100'),
  );

  const begun = performance.now();
  await put("plan", '{"title":"Plan","budget":110,"owner":"ann"}');
  await becomes(`${name}: the console is live`, async () =>
    (await area(page).inputValue()).includes('"budget": 110'),
  );
  const took = Math.round(performance.now() - begun);
  finding(`${name}: and a change is not held back: ${took} ms`, took < 5_000);
  await put("new", "1");
  await shown(`${name}: so is the list`, page.locator("#entries a", { hasText: "new" }));

  await retype(page, "110", "120");
  await save(page);
  await shown(`${name}: it saves`, banner(page, "Saved as version 3"));
  finding(`${name}: over the version that was read`, (await value("plan")).budget === 120);

  // The stream is kept from telling, so that the save meets a version that was not seen.
  await retype(page, '"ann"', '"bob"');
  await page.route(
    "**/kv/plan",
    async (route) => {
      await put("plan", '{"title":"Plan B","budget":120,"owner":"ann"}');
      await route.continue();
    },
    { times: 1 },
  );
  await save(page);
  await shown(`${name}: it merges`, banner(page, "with what someone else changed"));
  const merged = await value("plan");
  finding(`${name}: both changes are kept`, merged.title === "Plan B" && merged.owner === "bob");

  await retype(page, '"bob"', '"carol"');
  await put("plan", '{"title":"Plan B","budget":120,"owner":"dora"}');
  await banner(page, "Changed by someone else").waitFor();
  await save(page);
  await overlap(page, "/owner").getByLabel("Mine", { exact: true }).check();
  await page.getByRole("button", { name: "Save merged" }).click();
  await becomes(
    `${name}: and asks where both changed the same`,
    async () => (await value("plan")).owner === "carol",
  );

  await page.getByRole("button", { name: "Delete…" }).click();
  await page.getByRole("button", { name: "Delete", exact: true }).click();
  await becomes(`${name}: it deletes`, async () => (await fetch(`${service}/kv/plan`)).status === 404);

  await me.close();
  finding(`${name}: the browser has no complaint ${complaints}`, complaints.length === 0);
}

inBrowser([], async (browser) => {
  setBrowser(browser);
  await story();
});

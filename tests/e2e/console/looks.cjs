// What it looks like in sizes and colours, and what a screen reader finds.
const fs = require("node:fs");
const {
  Server,
  area,
  banner,
  finding,
  open,
  overlap,
  person,
  picture,
  retype,
  save,
} = require("./support.cjs");

const AXE = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

async function violations(page) {
  await page.evaluate(AXE);
  const { violations: found } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  return found.map(
    (one) =>
      `${one.id}: ${one.nodes
        .slice(0, 3)
        .map((node) => node.target.join(" "))
        .join(", ")}`,
  );
}

/** Shows a state in all sizes, and asks axe what it objects to. */
async function lookAt(page, state, colorScheme) {
  const found = await violations(page);
  finding(`${state}, ${colorScheme}: nothing that axe objects to ${found}`, found.length === 0);
  for (const [width, height] of [
    [360, 740],
    [768, 1024],
    [1280, 800],
    [1920, 1080],
  ]) {
    await page.setViewportSize({ width, height });
    if (width === 360) {
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      finding(`${state}, ${colorScheme}: no scrolling sideways at 360 px, ${wide}`, wide <= 360);
    }
    await picture(page, `${state}-${colorScheme}-${width}`);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

async function looks() {
  const server = await Server.start();
  for (let index = 0; index < 60; index += 1)
    await server.put(`team/member-${index}`, `{"name":"Member ${index}","active":true}`);
  const PLAN = '{"title":"Plan","budget":100.00,"owner":"ann"}';
  for (const colorScheme of ["light", "dark"]) {
    const me = await person({ colorScheme });
    const page = await open(me, server);
    const look = (state) => lookAt(page, state, colorScheme);
    await page.waitForSelector("#entries li");
    await look("list");
    await server.put("doc/plan", PLAN);
    await page.locator("#filter").fill("doc");
    await page.locator("#entries a", { hasText: "doc/plan" }).click();
    await area(page).waitFor();
    await look("open");
    await retype(page, '"ann"', '"bob" x');
    await look("syntax-error");
    await retype(page, '"bob" x', '"bob"');
    await server.put("doc/plan", PLAN.replace("ann", "carol").replace("100.00", "120.00"));
    await banner(page, "Changed by someone else").waitFor();
    await look("changed-elsewhere");
    await save(page);
    await overlap(page, "/owner").getByLabel("Something else").check();
    await look("conflict");
    await overlap(page, "/owner").getByLabel("Mine", { exact: true }).check();
    await page.getByRole("button", { name: "Save merged" }).click();
    await banner(page, "Saved as").waitFor();
    await look("saved");
    await page.getByRole("button", { name: "Delete…" }).click();
    await look("delete");
    await page.keyboard.press("Escape");
    await page.goto(`${server.url}/#/new`);
    await page.getByLabel("Key", { exact: true }).waitFor();
    await look("new");
    await page.getByRole("button", { name: "Shortcuts" }).click();
    await look("keys");
    await page.keyboard.press("Escape");
    await server.delete("doc/plan");
    await me.close();
  }
}

module.exports = { looks, lookAt };

// A value of 1 MiB, beside a bare text area with the same text in the same browser. What counts is the time
// that the page's thread works, because that does not depend on what else the machine does meanwhile.
const { area, banner, becomes, finding, openConsole, save, shown } = require("./support.cjs");

const MIB = 1 << 20;
const KEYS = 8;

/** A value of almost 1 MiB as the service counts it, of members that are like a table's. */
function largeValue() {
  const members = [];
  for (let index = 0, length = 2; length < MIB - 200; index += 1) {
    const member = `"member-${index}":{"name":"name ${index}","n":${index}.0,"list":[1,2,"x"],"done":false}`;
    members.push(member);
    length += member.length + 1;
  }
  return `{${members.join(",")}}`;
}

/** What the page's thread works while something is done, in milliseconds. */
async function worked(page, act) {
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable");
  const now = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    return 1000 * metrics.find((one) => one.name === "ThreadTime").value;
  };
  const before = await now();
  const began = Date.now();
  await act();
  await frame(page);
  const result = { work: Math.round((await now()) - before), wall: Date.now() - began };
  await session.detach();
  return result;
}

/** Until what was changed can be seen. */
const frame = (page) =>
  page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))));

async function typeInTheMiddle(page, locator) {
  // A page that is behind another draws once a second.
  await page.bringToFront();
  await locator.evaluate((one) => {
    one.focus();
    const middle = one.value.indexOf('"name ', one.value.length / 2) + 6;
    one.setSelectionRange(middle, middle);
  });
  await frame(page);
  return worked(page, async () => {
    for (let count = 0; count < KEYS; count += 1) {
      await page.keyboard.press("x");
      await frame(page);
    }
  });
}

/** Makes pauses longer, so that one who types on a busy machine does not pause at each key; or as they were. */
const stretchPauses = (page, factor) =>
  page.evaluate((times) => {
    window.plainTimeout ??= window.setTimeout;
    window.setTimeout = (act, millis = 0) =>
      window.plainTimeout(act, millis >= 100 ? times * millis : millis);
  }, factor);

const perKey = ({ work }) => Math.round(work / KEYS);

async function large() {
  const { server, me, page } = await openConsole("#/kv/small", {
    entries: { large: largeValue(), small: "1" },
  });
  await area(page).waitFor();
  const opened = await worked(page, async () => {
    await page.evaluate(() => {
      location.hash = "#/kv/large";
    });
    await page.waitForFunction(
      () => document.querySelector(".doc-body > .editor .code")?.value.length > 1_000_000,
    );
  });
  const text = await area(page).inputValue();

  const bare = await me.newPage();
  await bare.setContent(
    '<textarea wrap="off" spellcheck="false" style="width: 900px; height: 600px; font: 13px/21px monospace; white-space: pre"></textarea>',
  );
  await bare.bringToFront();
  const shownBare = await worked(bare, () =>
    bare.locator("textarea").evaluate((one, value) => {
      one.value = value;
    }, text),
  );
  const lines = text.split("\n").length;
  console.error(
    `1 MiB in ${lines} lines: opened in ${JSON.stringify(opened)}, a bare text area in ${JSON.stringify(shownBare)}`,
  );
  finding(`1 MiB is shown in lines that a browser can bear: ${lines}`, lines < 20_000);
  finding(
    `it opens with at most 1 s of work more than a bare text area: ${opened.work} and ${shownBare.work} ms`,
    opened.work < shownBare.work + 1_000,
  );

  await stretchPauses(page, 100);
  const typed = await typeInTheMiddle(page, area(page));
  await stretchPauses(page, 1);
  const typedBare = await typeInTheMiddle(bare, bare.locator("textarea"));
  console.error(`${KEYS} keys: ${JSON.stringify(typed)}, in a bare text area ${JSON.stringify(typedBare)}`);
  finding(
    `a key costs at most 40 ms more than in a bare text area: ${perKey(typed)} and ${perKey(typedBare)} ms`,
    perKey(typed) < perKey(typedBare) + 40,
  );
  await bare.close();
  await page.bringToFront();

  await shown("that it is edited is told", page.locator(".chip.edited"));
  const paused = await worked(page, async () => {
    await page.keyboard.press("x");
    await shown("it is checked after a pause", page.locator(".editor-status", { hasText: "Valid JSON" }));
  });
  finding(`which costs less than 400 ms: ${paused.work}`, paused.work < 400);
  await page.keyboard.press("Backspace");
  await page.keyboard.press('"');
  await shown(
    "a problem, too, with its place",
    page.locator(".editor-status.wrong", { hasText: /^Line \d+, column \d+: / }),
  );
  await page.keyboard.press("Backspace");

  // A draft larger than what localStorage would take with its siblings.
  await becomes("its draft is kept", () =>
    page.evaluate(() => Object.keys(localStorage).some((name) => name.endsWith(":large"))),
  );
  const before = await area(page).inputValue();
  await page.reload();
  await shown("and restored", banner(page, "Your unsaved text was restored"));
  finding("to the letter", (await area(page).inputValue()) === before);

  await area(page).focus();
  const saved = await worked(page, async () => {
    await save(page);
    await shown("it is saved", banner(page, "Saved as version 2"));
  });
  finding(`in less than 1.5 s of work: ${saved.work} ms`, saved.work < 1_500);
  const keys = "x".repeat(KEYS);
  finding(
    "with what was typed, and every other character as it was",
    (await server.text("large")).replace(keys, "").includes(`"value":${largeValue()}`),
  );

  await typeInTheMiddle(page, area(page));
  const theirs = (await server.text("large"))
    .replace(/^.*?"value":/s, "")
    .replace(/,"version":.*$/s, "")
    .replace('"member-0":{"name":"name 0"', '"member-0":{"name":"theirs"');
  await server.put("large", theirs);
  await banner(page, "Changed by someone else").waitFor();
  const merged = await worked(page, async () => {
    await save(page);
    await shown("it is merged", banner(page, "with what someone else changed"));
  });
  finding(`in less than 3 s of work: ${merged.work} ms`, merged.work < 3_000);
  const stored = await server.text("large");
  finding("and both changes are there", stored.includes('"name":"theirs"') && stored.split(keys).length >= 3);

  const manyLines = JSON.stringify(JSON.parse(largeValue()), null, 2);
  await area(page).evaluate((one, value) => {
    one.focus();
    one.select();
    const clipboardData = new DataTransfer();
    clipboardData.setData("text/plain", value);
    one.dispatchEvent(new ClipboardEvent("paste", { clipboardData, cancelable: true, bubbles: true }));
  }, manyLines);
  const pasted = await area(page).inputValue();
  finding(
    `${manyLines.split("\n").length} lines that are pasted become ${pasted.split("\n").length}, which say the same`,
    pasted.split("\n").length < 20_000 &&
      JSON.stringify(JSON.parse(pasted)) === JSON.stringify(JSON.parse(manyLines)),
  );

  // The last key before the page goes.
  const unsaved = await area(page).inputValue();
  await page.keyboard.press("z");
  await page.reload();
  await becomes(
    "a key just before a reload is not lost",
    async () => (await area(page).inputValue()).length === unsaved.length + 1,
  );
  await area(page).focus();
  await page.keyboard.press("y");
  await page.evaluate(() => document.querySelector("h1 a").click());
  await page.waitForSelector(".nothing");
  await page.goBack();
  await becomes(
    "nor one just before one goes elsewhere",
    async () => (await area(page).inputValue()).length === unsaved.length + 2,
  );
}

module.exports = { large };

// Runs the stories. If one fails, the others still run.
const { inBrowser } = require("../../browser.cjs");
const { HOST, asked, cleanUp, complaints, finding, setBrowser } = require("./support.cjs");

const stories = {
  ...require("./alone.cjs"),
  ...require("./together.cjs"),
  ...require("./failures.cjs"),
  looks: require("./looks.cjs").looks,
  ...require("./large.cjs"),
  ...require("./careless.cjs"),
  ...require("./tabs.cjs"),
  ...require("./signin.cjs"),
  ...require("./past.cjs"),
};
const only = process.env.STORY;

inBrowser([HOST], async (browser) => {
  setBrowser(browser);
  for (const [name, story] of Object.entries(stories)) {
    if (only !== undefined && !name.includes(only)) continue;
    const before = complaints.length;
    try {
      await story();
    } catch (error) {
      console.error(error);
      finding(`${name}: ${String(error).split("\n")[0]}`, false);
    }
    await cleanUp();
    const found = complaints.slice(before);
    finding(`${name}: the browser has no complaint ${found}`, found.length === 0);
  }
  const others = [...asked].filter((one) => one !== "own" && !one.startsWith("data:"));
  finding(`no other host was asked ${others}`, asked.has("own") && others.length === 0);
});

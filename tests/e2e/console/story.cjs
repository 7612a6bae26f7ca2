// Runs the stories. One that breaks off does not keep the others from being told.
const { asked, complaints, end, finding, launch } = require("./support.cjs");

const stories = {
  ...require("./alone.cjs"),
  ...require("./together.cjs"),
  ...require("./failures.cjs"),
  ...require("./looks.cjs"),
  ...require("./large.cjs"),
  ...require("./careless.cjs"),
};
const only = process.env.STORY;

Object.assign(stories, require("./tabs.cjs"));

(async () => {
  await launch();
  for (const [name, tell] of Object.entries(stories)) {
    if (only !== undefined && !name.includes(only)) continue;
    const before = complaints.length;
    try {
      await tell();
    } catch (error) {
      console.error(error);
      finding(`${name}: ${String(error).split("\n")[0]}`, false);
    }
    const heard = complaints.slice(before);
    finding(`${name}: the browser has no complaint ${heard}`, heard.length === 0);
  }
  const others = [...asked].filter((one) => one !== "own" && !one.startsWith("data:"));
  finding(`no other host was asked ${others}`, asked.has("own") && others.length === 0);
  await end();
})().catch(async (error) => {
  console.error(error);
  await end();
  process.exit(1);
});

// More streams in two tabs than a browser has connections for over HTTP/1.1.
const { finding, inBrowser } = require("../../browser.cjs");

const [url] = process.argv.slice(2);
const STREAMS = 5;

/** In a page: opens streams and returns when each is open; `changes` then counts the events. */
function openStreams(count) {
  globalThis.changes = 0;
  const opened = Array.from({ length: count }, () => {
    const stream = new EventSource("/watch?prefix=doc/");
    stream.addEventListener("put", () => globalThis.changes++);
    return new Promise((resolve) => stream.addEventListener("open", resolve));
  });
  return Promise.all(opened).then(() => true);
}

inBrowser([], async (browser) => {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const tabs = [await context.newPage(), await context.newPage()];
  for (const tab of tabs) await tab.goto(`${url}/`);
  const [tab] = tabs;
  const protocols = await tab.evaluate(() =>
    ["navigation", "resource"]
      .flatMap((type) => performance.getEntriesByType(type))
      .map((entry) => entry.nextHopProtocol),
  );
  finding(
    `the page and its parts come over HTTP/2: ${protocols}`,
    protocols.length > 1 && protocols.every((one) => one === "h2"),
  );

  const opened = await Promise.all(tabs.map((one) => one.evaluate(openStreams, STREAMS)));
  finding(`${STREAMS} streams are open in each of two tabs`, opened.length === 2);
  const status = await tab.evaluate(async () => {
    const headers = { "Content-Type": "application/json" };
    return (await fetch("/kv/doc%2Fplan", { method: "PUT", headers, body: '"Plan"' })).status;
  });
  finding("a write goes beside them", status === 201);
  for (const one of tabs) await one.waitForFunction((count) => globalThis.changes === count, STREAMS);
  finding("each stream has the change", true);
});

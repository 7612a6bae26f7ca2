// What the checks in a browser share: Chromium, services, and findings.
const { spawn } = require("node:child_process");
const { once } = require("node:events");
const fs = require("node:fs");
const path = require("node:path");
const { chromium } = require("playwright-core");

const services = new Set();

/** Prints a finding, as tests/run reads it. */
function finding(what, holds) {
  console.log(holds ? "ok" : "not ok", what);
}

/** Whether the stores are on etcd instead of in data files. */
const onEtcd = process.env.STORE === "etcd";

/** Prints what is not checked on this store, as tests/run reads it. */
function skipped(what, why) {
  console.log(`skipped ${what}: ${why}`);
}

/**
 * Runs check(browser) with Chromium, for which `names` lead to the loopback address. Ends the browser, the services
 * and the process, whatever is still open in it.
 */
async function inBrowser(names, check) {
  let browser;
  try {
    browser = await launch(names);
    await check(browser);
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  }
  await browser?.close();
  for (const service of services) service.kill("SIGKILL");
  process.exit();
}

function launch(names) {
  const rules = names.map((name) => `MAP ${name} 127.0.0.1`).join(", ");
  return chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      `--host-resolver-rules=${rules}`,
    ],
  });
}

/** The path of a new data file below a folder. */
function newDataFile(folder) {
  return path.join(fs.mkdtempSync(path.join(folder, "data-")), "data.json");
}

/** Starts a service. Returns {process, url}, or undefined if it ends before it listens. */
async function startService(ifmatch, listen, data, flags = []) {
  const service = spawn(ifmatch, ["--listen", listen, "--data", data, ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  services.add(service);
  const ended = once(service, "exit").then(() => services.delete(service));
  const line = await Promise.race([once(service.stdout, "data"), ended.then(() => undefined)]);
  if (line === undefined) return undefined;
  return { process: service, url: String(line[0]).trim().split(" ").pop() };
}

module.exports = { finding, inBrowser, newDataFile, onEtcd, skipped, startService };

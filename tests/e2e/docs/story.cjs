// Opens /docs, lists what it asks for, and tries an operation as a reader would.
const { finding, inBrowser } = require("../../browser.cjs");

const [url, work, securedUrl, token] = process.argv.slice(2);

/** Tries an operation with a token. */
async function authorizes(browser) {
  const page = await browser.newPage();
  const complaints = [];
  page.on("console", (line) => line.type() === "error" && complaints.push(line.text()));
  await page.goto(`${securedUrl}/docs`);
  await page.locator(".btn.authorize").first().click();
  const field = page.locator(".auth-container input").first();
  await field.fill(token);
  await page.locator(".auth-container .btn.authorize").first().click();
  await page.locator(".auth-container .btn-done").first().click();
  const operation = "#operations-access-getWhoami";
  await page.click(`${operation} .opblock-summary-control`);
  await page.click(`${operation} button.execute`);
  const answer = page.locator(`${operation} .live-responses-table .microlight`).first();
  await answer.waitFor();
  finding("an operation can be tried with a token", (await answer.innerText()).includes('"ann"'));
  const kept = await page.evaluate(() => JSON.stringify([localStorage, sessionStorage, document.cookie]));
  finding(
    `the browser keeps no token, and has no complaint ${complaints}`,
    !kept.includes(token) && complaints.length === 0,
  );
}

inBrowser([], async (browser) => {
  const page = await browser.newPage();
  const asked = [];
  const complaints = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("console", (line) => line.type() === "error" && complaints.push(line.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));

  await page.goto(`${url}/docs`);
  await page.waitForSelector("#operations-entries-putEntry");
  const operations = await page.locator(".opblock").count();
  finding(`it shows every operation, ${operations}`, operations >= 13);

  await page.click("#operations-health-getHealth .opblock-summary-control");
  await page.click("#operations-health-getHealth button.execute");
  const answer = page.locator("#operations-health-getHealth .live-responses-table .microlight").first();
  await answer.waitFor();
  finding("an operation can be tried", (await answer.innerText()).includes('"status"'));

  await page.screenshot({ path: `${work}/docs.png` });
  const others = asked.filter((one) => !one.startsWith(`${url}/`) && !one.startsWith("data:"));
  finding(
    `it asked no other host, in ${asked.length} requests ${others}`,
    asked.length > 5 && others.length === 0,
  );
  finding(`the browser has no complaint ${complaints}`, complaints.length === 0);
  await authorizes(browser);
});

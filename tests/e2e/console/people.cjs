// What the stories with tokens share: servers that know some people, and their pages.
const { createHash } = require("node:crypto");
const fs = require("node:fs");
const { Server, becomes, connected, newFile, open, person } = require("./support.cjs");

const ALL = ["read", "create", "update", "delete"];
const EVERYWHERE = [{ prefix: "", actions: ALL }];
const PLAN = '{"title":"Plan","budget":100.00,"owner":"nobody"}';

/** The text of somebody's token. */
const tokenOf = (name) => `token-of-${name}-0123456789`;

/** A file of tokens: the grants of each name, or {token, grants} for one with another text. */
function write(file, people) {
  const lines = Object.entries(people).map(([name, of]) => {
    const { token = tokenOf(name), grants = of } = Array.isArray(of) ? {} : of;
    const allow = grants.map(
      ({ prefix, actions }) => `{ prefix = ${JSON.stringify(prefix)}, actions = ${JSON.stringify(actions)} }`,
    );
    const hash = createHash("sha256").update(token).digest("hex");
    return `[[token]]\nname = "${name}"\nsha256 = "${hash}"\nallow = [${allow.join(", ")}]\n`;
  });
  // As a whole, so that no half of it is read.
  fs.writeFileSync(`${file}.new`, lines.join("\n"));
  fs.renameSync(`${file}.new`, file);
}

/** A server for some people, with an administrator of its own who writes entries. */
async function serverFor(people, { flags = [], entries = { "doc/plan": PLAN } } = {}) {
  const file = newFile("tokens.toml");
  const admit = (others) => write(file, { ...others, admin: EVERYWHERE });
  admit(people);
  const server = await Server.start(["--tokens", file, ...flags]);
  server.token = tokenOf("admin");
  for (const [key, json] of Object.entries(entries)) await server.put(key, json);
  return Object.assign(server, { admit });
}

/** Settles when the service knows a token, or no longer does. */
async function isKnown(server, token, expected = true) {
  await becomes(`the service ${expected ? "knows" : "has forgotten"} a token`, async () => {
    const { status } = await server.ask("whoami", {}, token);
    return (status === 200) === expected;
  });
}

const dialog = (page) => page.locator("#sign-in");
const field = (page) => page.getByLabel("Token", { exact: true });
const signOutButton = (page) => page.getByRole("button", { name: "Sign out" });
const problem = (page, words) => page.locator("#sign-in-problem", { hasText: words });
const nameIs = (page, name) => page.locator("#account bdi", { hasText: name });
const quiet = { expectFailures: true, isLive: false };

async function signIn(page, token) {
  await field(page).fill(token);
  await field(page).press("Enter");
}

/** A page of somebody who has signed in. */
async function signedIn(server, name, hash, context) {
  const page = await open(context ?? (await person()), server, hash, quiet);
  await dialog(page).waitFor();
  await signIn(page, tokenOf(name));
  await nameIs(page, name).waitFor();
  await connected(page);
  return page;
}

module.exports = {
  ALL,
  EVERYWHERE,
  PLAN,
  dialog,
  field,
  isKnown,
  nameIs,
  problem,
  quiet,
  serverFor,
  signIn,
  signOutButton,
  signedIn,
  tokenOf,
  write,
};

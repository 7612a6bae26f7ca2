// Set-up for the tests of a session: a browser, a service, and an open entry.

import { Drafts } from "../drafts.js";
import { EVERYTHING, whyNot } from "../grants.js";
import { Session } from "../session.js";
import { FakeDatabase, newBrowser, newTab } from "./browser.js";
import { FakeService } from "./service.js";

const database = new FakeDatabase();
globalThis.indexedDB = database;

const opened = [];

/** An empty browser, an empty service, and the drafts of the first tab. */
export async function begin() {
  // An earlier test may have copies that are not written yet. They must not get into this one.
  for (const drafts of opened.splice(0)) drafts.copyNow();
  await new Promise((resolve) => setTimeout(resolve));
  newBrowser();
  database.table.clear();
  const service = new FakeService();
  return { service, drafts: await openTab() };
}

/** Opens another tab. Returns its drafts. */
export async function openTab() {
  newTab();
  const drafts = new Drafts(() => {});
  opened.push(drafts);
  await drafts.begin();
  return drafts;
}

/** Opens a key, or null for a new entry, with a given draft. `calls` collects what the session calls. */
export async function open(key, drafts, draftName, grants = EVERYTHING) {
  const calls = { said: [], named: [], focus: [], unreachable: 0 };
  const session = new Session(key, drafts, {
    changed: () => {},
    say: (sentence) => calls.said.push(sentence),
    named: (name) => calls.named.push(name),
    unreachable: () => {
      calls.unreachable += 1;
    },
    focus: (what) => calls.focus.push(what),
    whyNot: (action, of) => whyNot(grants, action, of),
  });
  await session.open(draftName);
  return { session, calls };
}

export const pointers = (changes) => changes.map((change) => change.pointer);

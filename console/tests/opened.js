// What a test of a session begins with: a browser, a service, and an entry that is opened.

import { Drafts } from "../drafts.js";
import { Session } from "../session.js";
import { FakeDatabase, newBrowser, newTab } from "./browser.js";
import { FakeService } from "./service.js";

globalThis.indexedDB = new FakeDatabase();

/** A browser and a service with nothing in them, and the drafts of the first tab. */
export async function begin() {
  newBrowser();
  const service = new FakeService();
  return { service, drafts: await openTab() };
}

/** The drafts of one more tab. */
export async function openTab() {
  newTab();
  const drafts = new Drafts(() => {});
  await drafts.begin();
  return drafts;
}

/** Opens a key, or null for a new entry. What the page was asked for is in `asked`. */
export async function open(key, drafts) {
  const asked = { said: [], named: [], focus: [], unreachable: 0 };
  const session = new Session(key, drafts, {
    changed: () => {},
    say: (sentence) => asked.said.push(sentence),
    named: (name) => asked.named.push(name),
    unreachable: () => {
      asked.unreachable += 1;
    },
    focus: (what) => asked.focus.push(what),
  });
  await session.open();
  return { session, asked };
}

export const pointers = (changes) => changes.map((change) => change.pointer);

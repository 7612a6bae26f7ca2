// Checks whether a text is JSON. A worker checks large texts, so that typing is not blocked.

import { problemOf } from "./json.js";

/** A longer text is large: slow work on it waits for a pause in typing. In UTF-16 units. */
export const LARGE_TEXT = 20_000;

/** The result for the latest text. */
export class Verdict {
  #known;
  #asked;

  /** onKnown() is called when the result for a large text arrives. */
  constructor(onKnown) {
    this.onKnown = onKnown;
  }

  /** Why a typed text cannot be saved, or null; undefined while that is not known. */
  of(text) {
    if (this.#known?.text === text) return this.#known.problem;
    if (text.length <= LARGE_TEXT) {
      this.#known = { text, problem: problemOf(text) };
      return this.#known.problem;
    }
    if (this.#asked !== text) this.#ask(text);
    return undefined;
  }

  /** Sets the result for a text. */
  learn(text, problem) {
    this.#known = { text, problem };
  }

  async #ask(text) {
    this.#asked = text;
    const problem = await check(text);
    if (this.#asked !== text) return;
    this.#asked = undefined;
    this.#known = { text, problem };
    this.onKnown();
  }
}

let worker;
let asked = 0;
const waiting = new Map();

/** Why a typed text cannot be saved, or null: {reason, offset, line, column, message}. */
function check(text) {
  return new Promise((resolve) => {
    asked += 1;
    waiting.set(asked, { text, resolve });
    start()?.postMessage({ id: asked, text });
    if (worker === null) fallBack();
  });
}

function start() {
  if (worker !== undefined) return worker;
  try {
    worker = new Worker(new URL("check-worker.js", import.meta.url), { type: "module" });
  } catch {
    worker = null;
    return worker;
  }
  worker.onmessage = ({ data }) => {
    waiting.get(data.id)?.resolve(data.problem);
    waiting.delete(data.id);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    worker = null;
    fallBack();
  };
  return worker;
}

// Without workers the page itself has to do it.
function fallBack() {
  for (const { text, resolve } of waiting.values()) resolve(problemOf(text));
  waiting.clear();
}

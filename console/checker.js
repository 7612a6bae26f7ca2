// Whether a text is JSON. Of a large text that is found out beside the page: a worker reads it, and typing goes on.

import { problemOf } from "./json.js";

/** From here on a text is large: what takes long waits for a pause. In UTF-16 units. */
export const LARGE_TEXT = 20_000;

/** What is known of the text that was asked about last. */
export class Verdict {
  #known;
  #asked;

  /** onKnown() is called when more is known of a large text than there was when it was asked about. */
  constructor(onKnown) {
    this.onKnown = onKnown;
  }

  /** Why a typed text cannot be saved, or null; undefined as long as that is not known. */
  of(text) {
    if (this.#known?.text === text) return this.#known.problem;
    if (text.length <= LARGE_TEXT) {
      this.#known = { text, problem: problemOf(text) };
      return this.#known.problem;
    }
    if (this.#asked !== text) this.#ask(text);
    return undefined;
  }

  /** This was found out elsewhere. */
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

// Checks whether a text is JSON. A worker checks large texts, so that typing is not blocked.

import { problemOf } from "./json.js";

/** A longer text is large: slow work on it waits for a pause in typing. In UTF-16 units. */
export const LARGE_TEXT = 20_000;

/** Checks the text of an editor, and keeps the result for the latest text. */
export class Checker {
  #result;
  #pendingText;

  /** onResult() is called when the result for a large text arrives. */
  constructor(onResult) {
    this.onResult = onResult;
  }

  /** Why a typed text cannot be saved, or null; undefined while that is not known. */
  problemOf(text) {
    if (this.#result?.text === text) return this.#result.problem;
    if (text.length <= LARGE_TEXT) {
      this.#result = { text, problem: problemOf(text) };
      return this.#result.problem;
    }
    if (this.#pendingText !== text) this.#checkLater(text);
    return undefined;
  }

  /** Sets the result for a text. */
  setResult(text, problem) {
    this.#result = { text, problem };
  }

  async #checkLater(text) {
    this.#pendingText = text;
    const problem = await check(text);
    if (this.#pendingText !== text) return;
    this.#pendingText = undefined;
    this.#result = { text, problem };
    this.onResult();
  }
}

let worker;
let lastId = 0;
const waiting = new Map();

/** Why a typed text cannot be saved, or null: {reason, offset, line, column, message}. */
function check(text) {
  return new Promise((resolve) => {
    lastId += 1;
    waiting.set(lastId, { text, resolve });
    startWorker()?.postMessage({ id: lastId, text });
    if (worker === null) checkInPage();
  });
}

function startWorker() {
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
    checkInPage();
  };
  return worker;
}

// Without a worker, the page itself has to check the texts.
function checkInPage() {
  for (const { text, resolve } of waiting.values()) resolve(problemOf(text));
  waiting.clear();
}

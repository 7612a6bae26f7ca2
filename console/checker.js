// Whether a large text is JSON, found out beside the page: a worker reads it, and typing goes on.

import { problemOf } from "./json.js";

let worker;
let asked = 0;
const waiting = new Map();

/** Why a typed text cannot be saved, or null: {reason, offset, line, column, message}. */
export function check(text) {
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

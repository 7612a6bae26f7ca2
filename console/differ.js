// Compares two values. A worker compares large ones, so that the page stays responsive.

import { LARGE_TEXT } from "./checker.js";
import { compare } from "./diff.js";

let worker;
let lastId = 0;
const waiting = new Map();

/** The difference between two values, compact JSON or null, as diff.js has it. */
export function difference(from, to) {
  if ((from?.length ?? 0) + (to?.length ?? 0) <= LARGE_TEXT) return Promise.resolve(compare(from, to));
  return new Promise((resolve) => {
    lastId += 1;
    waiting.set(lastId, { from, to, resolve });
    startWorker()?.postMessage({ id: lastId, from, to });
    if (worker === null) compareInPage();
  });
}

function startWorker() {
  if (worker !== undefined) return worker;
  try {
    worker = new Worker(new URL("diff-worker.js", import.meta.url), { type: "module" });
  } catch {
    worker = null;
    return worker;
  }
  worker.onmessage = ({ data }) => {
    waiting.get(data.id)?.resolve(data.result);
    waiting.delete(data.id);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    worker = null;
    compareInPage();
  };
  return worker;
}

// Without a worker, the page itself has to compare.
function compareInPage() {
  for (const { from, to, resolve } of waiting.values()) resolve(compare(from, to));
  waiting.clear();
}

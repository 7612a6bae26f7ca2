// The worker of checker.js.

import { problemOf } from "./json.js";

self.onmessage = ({ data: { id, text } }) => {
  const problem = problemOf(text);
  // Posting an Error would lose its own properties.
  self.postMessage({ id, problem: problem === null ? null : { ...problem, message: problem.message } });
};

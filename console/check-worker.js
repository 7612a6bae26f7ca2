// The worker of checker.js.

import { problemOf } from "./json.js";

self.onmessage = ({ data: { id, text } }) => {
  const problem = problemOf(text);
  // What is special about an error would not survive being posted.
  self.postMessage({ id, problem: problem === null ? null : { ...problem, message: problem.message } });
};

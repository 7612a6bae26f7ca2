// The worker of differ.js.

import { compare } from "./diff.js";

self.onmessage = ({ data: { id, from, to } }) => self.postMessage({ id, result: compare(from, to) });

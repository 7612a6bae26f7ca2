// The hub of all tabs, as a shared worker.

import { Hub } from "./hub.js";

const hub = new Hub();
self.addEventListener("connect", ({ ports }) => hub.connect(ports[0]));

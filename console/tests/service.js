// A fake of the service: entries in memory, responses as the contract says, and a connection that can fail.

import { compact, parse } from "../json.js";
import { urlOf } from "../place.js";
import { PAUSES_MILLIS } from "../sending.js";

const MODIFIED_AT = "2026-01-02T03:04:05.678Z";

/** The path in a URL, relative to that of the service. */
export function pathIn(url) {
  const root = urlOf("");
  if (!url.startsWith(root)) throw new Error(`${url} is not below ${root}`);
  return `/${url.slice(root.length)}`;
}

export class FakeService {
  /** All requests: {method, path, headers, body}. */
  requests = [];
  /** How many of them were processed, even if the response is delayed or lost. */
  answers = 0;
  #entries = new Map();
  #revision = 0;
  #cut = null;
  #gates = { requests: null, answers: null };
  #refusal = null;
  // All events, the oldest first; of a deletion, the entry as it was.
  #events = [];
  // The answers by Idempotency-Key.
  #done = new Map();
  /** How many events are on a page of a history. */
  page = 50;
  /** The oldest revision that is kept; undefined for a service without a history. */
  oldest = 0;

  constructor() {
    PAUSES_MILLIS.fill(0);
    globalThis.fetch = (url, options) => this.#fetch(pathIn(url), options);
  }

  /** Somebody else, maybe with a name, writes an entry. Returns it as a watch event has it. */
  write(key, text, modifiedBy) {
    this.#revision += 1;
    const version = (this.#entries.get(key)?.version ?? 0) + 1;
    const revision = this.#revision;
    const entry = {
      key,
      text,
      version,
      revision,
      etag: `"${version}-${String(revision).padStart(16, "0")}"`,
      modifiedBy,
    };
    this.#entries.set(key, entry);
    this.#events.push({ kind: "put", ...entry });
    return this.#asEvent(entry);
  }

  /** Somebody else, maybe with a name, deletes an entry. Returns it as a watch event has it. */
  delete(key, modifiedBy) {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    this.#revision += 1;
    const event = { ...entry, revision: this.#revision, modifiedBy };
    this.#events.push({ kind: "delete", ...event });
    return this.#asEvent(event);
  }

  /** The value as text, or undefined. */
  text(key) {
    return this.#entries.get(key)?.text;
  }

  etag(key) {
    return this.#entries.get(key).etag;
  }

  /** The number of writes that were asked for. One that is sent again with the same key is the same. */
  get writes() {
    const writes = this.requests.filter(({ method }) => method !== "GET");
    return new Set(writes.map(({ headers }) => headers["Idempotency-Key"])).size;
  }

  /** Loses all "requests" or all "answers" from now on; null restores the connection. */
  cut(what) {
    this.#cut = what;
  }

  /** Refuses the next write with this error, and the same write again as often as given. */
  refuse(status, code, message, times = 1) {
    this.#refusal = { times, answer: { status, body: JSON.stringify({ error: code, message }) } };
  }

  /** Delays requests or answers from now on, until the returned function is called. */
  hold(what = "requests") {
    let release;
    this.#gates[what] = new Promise((resolve) => {
      release = resolve;
    });
    return () => {
      this.#gates[what] = null;
      release();
    };
  }

  async #fetch(path, { method = "GET", headers = {}, body }) {
    this.requests.push({ method, path, headers, body });
    await this.#gates.requests;
    if (this.#cut === "requests") throw new TypeError("Failed to fetch");
    const { status, etag, body: text } = this.#answerOnce(method, path, headers, body);
    this.answers += 1;
    await this.#gates.answers;
    if (this.#cut === "answers") throw new TypeError("Failed to fetch");
    return new Response(status === 304 ? null : text, {
      status,
      headers: etag === undefined ? {} : { ETag: etag },
    });
  }

  #answerOnce(method, path, headers, body) {
    const requestKey = headers["Idempotency-Key"];
    if (this.#done.has(requestKey)) return this.#done.get(requestKey);
    const [, kind, key, query] = /^\/([^/?]*)\/?([^?]*)\??(.*)$/.exec(path);
    const answer = this.#answer(method, kind, decodeURIComponent(key), {
      headers,
      body,
      query: new URLSearchParams(query),
    });
    if (requestKey !== undefined && answer.status < 300) this.#done.set(requestKey, answer);
    return answer;
  }

  #answer(method, kind, key, { headers, body, query }) {
    if (kind === "health") return { status: 200, body: `{"store":{"revision":${this.#revision}}}` };
    if (kind === "history") return this.#history(key, query);
    if (query.has("revision")) return this.#past(key, Number(query.get("revision")));
    const entry = this.#entries.get(key);
    if (method === "GET") {
      if (entry === undefined) return this.#refuse(404, "not_found", "key does not exist");
      if (headers["If-None-Match"] === entry.etag) return { status: 304, etag: entry.etag };
      return this.#respond(200, entry);
    }
    if (this.#refusal !== null) {
      const { answer } = this.#refusal;
      this.#refusal.times -= 1;
      if (this.#refusal.times === 0) this.#refusal = null;
      return answer;
    }
    if (method === "DELETE" && entry === undefined)
      return this.#refuse(404, "not_found", "key does not exist");
    const isWanted =
      headers["If-None-Match"] === "*" ? entry === undefined : headers["If-Match"] === entry?.etag;
    if (!isWanted) return this.#refuse(412, "precondition_failed", "it has changed", entry ?? null);
    if (method === "DELETE") {
      this.delete(key);
      return this.#respond(200, entry);
    }
    if (kind === "revert") {
      const revertedFrom = this.#eventAt(key, Number(parse(body).get("revision").text));
      this.write(key, revertedFrom.text);
      this.#events.at(-1).revertedFrom = revertedFrom.revision;
    } else {
      this.write(key, compact(parse(body)));
    }
    return this.#respond(entry === undefined ? 201 : 200, this.#entries.get(key));
  }

  #eventAt(key, revision) {
    return this.#events.findLast((event) => event.key === key && event.revision <= revision);
  }

  #past(key, revision) {
    if (revision < (this.oldest ?? this.#revision)) return this.#refuse(410, "compacted", "no longer kept");
    const event = this.#eventAt(key, revision);
    if (event?.kind !== "put") return this.#refuse(404, "not_found", "key did not exist");
    return this.#respond(200, event);
  }

  #history(key, query) {
    const before = Number(query.get("before") ?? Number.POSITIVE_INFINITY);
    const oldest = this.oldest ?? this.#revision;
    const isWanted = (event) =>
      (key === "" ? event.key.startsWith(query.get("prefix") ?? "") : event.key === key) &&
      event.revision < before &&
      event.revision > oldest;
    const events = this.#events.filter(isWanted).reverse();
    const shown = events.slice(0, this.page);
    const next = events.length > shown.length ? `"${shown.at(-1).revision}"` : null;
    const items = shown.map((event) => {
      const from = event.revertedFrom === undefined ? "" : `,"reverted_from":${event.revertedFrom}`;
      return `{"event":"${event.kind}"${from},${this.#json(event).replace(/^\{/, "")}`;
    });
    return { status: 200, body: `{"items":[${items}],"next":${next},"oldest_revision":${oldest}}` };
  }

  #refuse(status, error, message, current) {
    const shown = current === undefined ? "" : `,"current":${current === null ? null : this.#json(current)}`;
    return { status, body: `{"error":"${error}","message":"${message}"${shown}}` };
  }

  #respond(status, entry) {
    return { status, etag: entry.etag, body: this.#json(entry) };
  }

  #json({ key, text, version, revision, etag, modifiedBy }) {
    const stamps = `"version":${version},"revision":${revision},"etag":${JSON.stringify(etag)}`;
    const by = modifiedBy === undefined ? "" : `,"modified_by":${JSON.stringify(modifiedBy)}`;
    return `{"key":${JSON.stringify(key)},"value":${text},${stamps},"modified_at":"${MODIFIED_AT}"${by}}`;
  }

  #asEvent({ text, version, ...rest }) {
    return { ...rest, tree: parse(text), version: String(version), modifiedAt: MODIFIED_AT };
  }
}

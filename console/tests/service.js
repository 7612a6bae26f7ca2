// A fake of the service: entries in memory, responses as the contract says, and a connection that can fail.

import { compact, parse } from "../json.js";
import { urlOf } from "../place.js";

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

  constructor() {
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
    return this.#asEvent(entry);
  }

  /** Somebody else, maybe with a name, deletes an entry. Returns it as a watch event has it. */
  delete(key, modifiedBy) {
    const entry = this.#entries.get(key);
    this.#entries.delete(key);
    this.#revision += 1;
    return this.#asEvent({ ...entry, revision: this.#revision, modifiedBy });
  }

  /** The value as text, or undefined. */
  text(key) {
    return this.#entries.get(key)?.text;
  }

  etag(key) {
    return this.#entries.get(key).etag;
  }

  /** The number of write requests. */
  get writes() {
    return this.requests.filter(({ method }) => method !== "GET").length;
  }

  /** Loses all "requests" or all "answers" from now on; null restores the connection. */
  cut(what) {
    this.#cut = what;
  }

  /** Refuses the next write with this error. */
  refuse(status, code, message) {
    this.#refusal = { status, body: JSON.stringify({ error: code, message }) };
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
    const {
      status,
      etag,
      body: text,
    } = this.#answer(method, decodeURIComponent(path.slice(4)), headers, body);
    this.answers += 1;
    await this.#gates.answers;
    if (this.#cut === "answers") throw new TypeError("Failed to fetch");
    return new Response(status === 304 ? null : text, {
      status,
      headers: etag === undefined ? {} : { ETag: etag },
    });
  }

  #answer(method, key, headers, body) {
    const entry = this.#entries.get(key);
    if (method === "GET") {
      if (entry === undefined) return this.#refuse(404, "not_found", "key does not exist");
      if (headers["If-None-Match"] === entry.etag) return { status: 304, etag: entry.etag };
      return this.#respond(200, entry);
    }
    if (this.#refusal !== null) {
      const refusal = this.#refusal;
      this.#refusal = null;
      return refusal;
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
    this.write(key, compact(parse(body)));
    return this.#respond(entry === undefined ? 201 : 200, this.#entries.get(key));
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

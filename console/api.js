// The console's requests to the service. Entries are {key, tree, version, revision, etag, modifiedAt, modifiedBy}.

import { compact, isWellFormed, MAX_DEPTH_LEVELS, parse } from "./json.js";
import { urlOf } from "./place.js";
import { newRequestKey, sendUntilAnswered } from "./sending.js";

/** An error response of the service: its status, code and message, and for 412 the current entry or null. */
export class Refused extends Error {
  /** `current` is undefined for a 412 to someone who may not read the entry. */
  constructor(status, code, message, current, isExpired = false) {
    super(message);
    Object.assign(this, { status, code, current, isExpired });
  }
}

/** There was no response: whether the service has applied the request is not known. */
export class Unreachable extends Error {}

/**
 * The response is not from the service: something in between, such as a proxy, has responded instead. Whether the
 * service has applied the request is not known.
 */
export class Foreign extends Unreachable {
  constructor(status) {
    super(
      status < 400
        ? "The answer is not from ifmatch: a proxy or a login page may be in between."
        : `The server answered with status ${status}.`,
    );
    Object.assign(this, { status, code: "unknown" });
  }
}

/** The responses of the service with a status from 500: others are from gateways, some of which send the same JSON. */
const SERVER_ERRORS = new Map([
  [500, "io"],
  [503, "unavailable"],
  [504, "outcome_unknown"],
]);
/** Longer than the service itself takes to give up. */
const TIMEOUT_MILLIS = 40_000;

let onDenied = () => {};

/** From now on, calls act(status) when a request is refused because of who has sent it (401, 403). */
export function whenDenied(act) {
  onDenied = act;
}

/** Sends a request that is answered with a JSON object, unless nothing has changed. Returns it and the response. */
export async function request(path, options) {
  try {
    const { response, body } = await exchange(path, options);
    if (response.status === 204) throw new Foreign(response.status);
    return { response, body };
  } catch (error) {
    if (error instanceof Refused && [401, 403].includes(error.status)) onDenied(error.status);
    throw error;
  }
}

/** Sends a request. Returns the response and its JSON object, undefined for 204 and 304. */
export async function exchange(path, options = {}) {
  let response;
  let text;
  try {
    response = await fetch(urlOf(path), {
      cache: "no-store",
      signal: AbortSignal.timeout(TIMEOUT_MILLIS),
      ...options,
    });
    text = await response.text();
  } catch {
    throw new Unreachable("The server cannot be reached.");
  }
  let body;
  try {
    // In a response, the value itself is already nested a few levels deep.
    body = parse(text, 2 * MAX_DEPTH_LEVELS);
  } catch {
    body = undefined;
  }
  const isEmpty = [204, 304].includes(response.status);
  if (isEmpty || (response.ok && body instanceof Map)) return { response, body: isEmpty ? undefined : body };
  if (!isOwnError(response.status, body)) throw new Foreign(response.status);
  const current = body.get("current");
  throw new Refused(
    response.status,
    body.get("error"),
    body.get("message"),
    current instanceof Map ? entryOf(current) : current,
    response.headers.get("WWW-Authenticate")?.includes("expired"),
  );
}

function isOwnError(status, body) {
  const isError =
    body instanceof Map && ["error", "message"].every((name) => typeof body.get(name) === "string");
  return isError && (status < 500 || SERVER_ERRORS.get(status) === body.get("error"));
}

/** The entry in the response, which must be the requested one; undefined for 304. */
async function requestEntry(key, options, path = pathOf(key)) {
  const { response, body } = await request(path, options);
  if (body === undefined) return undefined;
  if (body.get("key") !== key || typeof body.get("etag") !== "string") throw new Foreign(response.status);
  return entryOf(body);
}

/** The entry that the service describes by a JSON object. */
export function entryOf(tree) {
  return {
    key: tree.get("key"),
    tree: tree.get("value"),
    version: tree.get("version").text,
    revision: Number(tree.get("revision").text),
    etag: tree.get("etag"),
    modifiedAt: tree.get("modified_at"),
    // Undefined if the writer is anonymous.
    modifiedBy: tree.get("modified_by"),
  };
}

/** The path of an entry, or of what else there is of its key. Slashes are encoded only if a proxy might merge them. */
export function pathOf(key, kind = "kv") {
  const encoded = encodeURIComponent(key);
  return `${kind}/${key.split("/").includes("") ? encoded : encoded.replaceAll("%2F", "/")}`;
}

/** Why a text is not a valid key, or undefined. */
export function whyInvalidKey(key) {
  if (key === "") return "Type a key.";
  if (!isWellFormed(key)) return "The key has an unpaired surrogate.";
  const bytes = new TextEncoder().encode(key).length;
  if (bytes > 512) return `The key has ${bytes} bytes; the limit is 512.`;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the expression looks for control characters.
  if (/[\u0000-\u001f\u007f]/.test(key)) return "A key cannot contain control characters.";
  if (key.split("/").some((segment) => segment === "." || segment === ".."))
    return "A key cannot contain . or .. between slashes.";
  return undefined;
}

/** A warning about a new key that is probably a mistake, or undefined. */
export function warningAboutKey(key) {
  if (/^\p{White_Space}/u.test(key)) return "The key begins with a space.";
  if (/\p{White_Space}$/u.test(key)) return "The key ends with a space.";
  return undefined;
}

/** One page of the list: {items, next, revision, since}, where since is the point at which a watch can start. */
export async function list(prefix, after, limit) {
  const query = new URLSearchParams({ limit });
  if (prefix !== "") query.set("prefix", prefix);
  if (after !== null) query.set("after", after);
  const { response, body } = await request(`kv?${query}`);
  if (!Array.isArray(body.get("items"))) throw new Foreign(response.status);
  return {
    items: body.get("items").map(entryOf),
    next: body.get("next"),
    revision: Number(body.get("revision").text),
    // A proxy that compresses the response makes the tag a weak one.
    since: (response.headers.get("ETag") ?? "").replace(/^W\//, "").replaceAll('"', ""),
  };
}

/** The current entry; null if the key does not exist, undefined if the entry still has this ETag. */
export async function read(key, etag) {
  const headers = etag === undefined ? {} : { "If-None-Match": etag };
  try {
    return await requestEntry(key, { headers });
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

/** Sends a write of an entry, again if its answer is lost: its headers have an Idempotency-Key. Returns the entry. */
export function writeEntry(key, path, options) {
  return sendUntilAnswered(() => requestEntry(key, options, path), { isLost, isBusy });
}

// An answer without meaning, as from a login page, comes again; one of a gateway says that it lost the service's.
function isLost(error) {
  if (error instanceof Foreign) return error.status >= 500;
  return error instanceof Unreachable || (error instanceof Refused && error.code === "outcome_unknown");
}

function isBusy(error) {
  return error instanceof Refused && error.code === "idempotency_in_progress";
}

/**
 * Replaces the version with this ETag by a value, or creates the entry if etag is null. The same request with the same
 * key is done once.
 */
export async function put(key, tree, etag, requestKey = newRequestKey()) {
  const precondition = etag === null ? { "If-None-Match": "*" } : { "If-Match": etag };
  const headers = { "Content-Type": "application/json", ...precondition, "Idempotency-Key": requestKey };
  const json = compact(tree);
  const entry = await writeEntry(key, pathOf(key), { method: "PUT", headers, body: json });
  // A redirect may have turned the write into a read.
  if (compact(entry.tree) !== json) throw new Foreign(200);
  return entry;
}

/** Deletes the version with this ETag. If there is no entry, throws Refused with status 412 and current null. */
export async function remove(key, etag) {
  try {
    const headers = { "If-Match": etag, "Idempotency-Key": newRequestKey() };
    return await writeEntry(key, pathOf(key), { method: "DELETE", headers });
  } catch (error) {
    if (error instanceof Refused && error.status === 404)
      throw new Refused(412, error.code, error.message, null);
    throw error;
  }
}

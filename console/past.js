// The requests about the past: what happened, what an entry was, and bringing that back.

import { entryOf, Foreign, pathOf, Refused, request, writeEntry } from "./api.js";

/** How many events of a key are read at once. */
const PAGE = 50;
/** How many events of a prefix are read at once: most of them are not deletions. */
const LARGE_PAGE = 1_000;

/** What happened to a key before a point, undefined for the end: {events, next, oldest}, the newest first. */
export function historyOf(key, before) {
  return readEvents(pathOf(key, "history"), { limit: PAGE, before });
}

/** The same for all keys with a prefix. */
export function historyUnder(prefix, before) {
  return readEvents("history", { limit: LARGE_PAGE, before, prefix: prefix === "" ? undefined : prefix });
}

// Without the values: one page of them could be as large as hundreds of the largest.
async function readEvents(path, parameters) {
  const query = new URLSearchParams({ values: "false" });
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, value);
  const { response, body } = await request(`${path}?${query}`);
  const items = body.get("items");
  if (!Array.isArray(items)) throw new Foreign(response.status);
  return {
    events: items.map(eventOf),
    next: body.get("next"),
    oldest: Number(body.get("oldest_revision").text),
  };
}

/**
 * An event that the service describes by a JSON object: an entry without its value, with the kind "put" or "delete",
 * and the revisions revertedFrom and mergedWith, if it was a revert or a merge.
 */
function eventOf(tree) {
  const { tree: _, ...stamps } = entryOf(tree);
  const revertedFrom = tree.get("reverted_from");
  const theirs = tree.get("merged")?.get("theirs");
  return {
    kind: tree.get("event"),
    ...stamps,
    revertedFrom: revertedFrom && Number(revertedFrom.text),
    mergedWith: theirs && Number(theirs.text),
  };
}

/** The entry as it was at a revision; null if there was none. */
export async function readAt(key, revision) {
  try {
    const { response, body } = await request(`${pathOf(key)}?revision=${revision}`);
    if (body.get("key") !== key) throw new Foreign(response.status);
    return entryOf(body);
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

/**
 * Writes the value of a revision once more, in place of the entry with this ETag, null for none. A request that is
 * sent again with the same key is done once.
 */
export function revert(key, revision, etag, requestKey) {
  const precondition = etag === null ? { "If-None-Match": "*" } : { "If-Match": etag };
  const headers = { "Content-Type": "application/json", ...precondition, "Idempotency-Key": requestKey };
  return writeEntry(key, pathOf(key, "revert"), {
    method: "POST",
    headers,
    body: `{"revision":${revision}}`,
  });
}

/** The newest revision of the store; undefined if that is not told. */
export async function newestRevision() {
  const { body } = await request("health");
  const revision = body.get("store")?.get("revision");
  return revision && Number(revision.text);
}

// The addresses of this page: what is after the `#`. Each names what the page shows.
//
//   #/                             the list
//   #/new                          a new entry
//   #/kv/KEY                       an entry
//   #/history/KEY                  what happened to a key
//   #/history/KEY?to=R             what changed in revision R
//   #/history/KEY?from=Q&to=R      what changed between two revisions
//   #/history/KEY?restore=R        what bringing back revision R would change
//   #/deleted                      the deleted entries

const ENTRY = "#/kv/";
const HISTORY = "#/history/";
const CHOICES = ["from", "to", "restore"];

/** The address of an entry. */
export function hashOf(key) {
  return ENTRY + encoded(key);
}

/** The address of the history of a key: {from, to} or {restore}, which are revisions, or nothing chosen. */
export function historyHashOf(key, chosen = {}) {
  const query = CHOICES.filter((name) => chosen[name] !== undefined).map((name) => `${name}=${chosen[name]}`);
  return HISTORY + encoded(key) + (query.length > 0 ? `?${query.join("&")}` : "");
}

/** The address of the deleted entries. */
export const DELETED = "#/deleted";

function encoded(key) {
  return encodeURIComponent(key).replaceAll("%2F", "/");
}

/**
 * What an address names: {page: "entry", key}, the key null for a new one, {page: "history", key, chosen},
 * {page: "deleted"}, or {page: "wrong", why}; undefined for the list alone.
 */
export function targetOf(hash) {
  if (hash === "#/new") return { page: "entry", key: null };
  if (hash === DELETED) return { page: "deleted" };
  if (hash.startsWith(ENTRY)) return withKey(hash.slice(ENTRY.length), (key) => ({ page: "entry", key }));
  if (!hash.startsWith(HISTORY)) return undefined;
  const [path, query = ""] = hash.slice(HISTORY.length).split("?");
  return withKey(path, (key) => ({ page: "history", key, chosen: chosenIn(query) }));
}

function withKey(text, make) {
  try {
    return make(decodeURIComponent(text));
  } catch {
    return { page: "wrong", why: "The key in this address is not percent-encoded UTF-8." };
  }
}

function chosenIn(query) {
  const chosen = {};
  for (const [name, text] of new URLSearchParams(query)) {
    if (CHOICES.includes(name) && /^[0-9]{1,16}$/.test(text)) chosen[name] = Number(text);
  }
  return chosen;
}

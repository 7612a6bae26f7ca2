// What a caller may do. A grant is {prefix, actions}: actions on all keys that begin with the prefix.

/** All actions. */
const ACTIONS = ["read", "create", "update", "delete"];

/** What the callers of a service without tokens may do. */
export const EVERYTHING = [{ prefix: "", actions: ACTIONS }];

/** How an action is called, without and with its object. */
const VERBS = {
  read: ["read entries", "read this entry"],
  create: ["create entries", "create this key"],
  update: ["change entries", "change this entry"],
  delete: ["delete entries", "delete this entry"],
};
/** More prefixes than this are not listed. */
const MOST_PREFIXES = 3;

/** Whether an action may be done to a key. */
export function may(grants, action, key) {
  return prefixesOf(grants, action).some((prefix) => key.startsWith(prefix));
}

/** Whether there can be a key with this prefix that may be read. */
export function mayReadSome(grants, prefix) {
  return prefixesOf(grants, "read").some(
    (granted) => prefix.startsWith(granted) || granted.startsWith(prefix),
  );
}

/** Whether every action may be done to every key. */
export function isEverything(grants) {
  return ACTIONS.every((action) => prefixesOf(grants, action).includes(""));
}

/** Why an action may not be done to a key, or to no key at all if it is undefined. Undefined if it may. */
export function whyNot(grants, action, key) {
  const prefixes = prefixesOf(grants, action);
  const isGranted = key === undefined ? prefixes.length > 0 : may(grants, action, key);
  if (isGranted) return undefined;
  const [all, one] = VERBS[action];
  if (key === undefined || prefixes.length === 0) return `You may not ${all} here.`;
  // Where a key may be is of use only to someone who chooses it.
  if (action !== "create") return `You may not ${one}.`;
  return `You may not ${one}. Yours begin with ${inWords(prefixes)}.`;
}

function prefixesOf(grants, action) {
  return grants.filter(({ actions }) => actions.includes(action)).map(({ prefix }) => prefix);
}

function inWords(prefixes) {
  const all = [...new Set(prefixes)];
  const named = all.slice(0, MOST_PREFIXES).map((prefix) => `“${prefix}”`);
  if (all.length > MOST_PREFIXES) named.push(`${all.length - MOST_PREFIXES} others`);
  return named.length === 1 ? named[0] : `${named.slice(0, -1).join(", ")} or ${named.at(-1)}`;
}

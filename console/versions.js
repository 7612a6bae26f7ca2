// The history of a key as a list of versions. The functions here are pure.
//
// A version is an event of past.js and where it can be read: {at, kind, version, revision, etag, modifiedAt,
// modifiedBy, revertedFrom, mergedWith}. `at` is a revision at which the entry was as this event left it. The kind of
// the oldest one may be "before": what was there before the oldest event that is kept.

/** The versions of events, the newest first, and of what was there before them: {at, entry} or null. */
export function versionsOf(events, before) {
  const versions = events.map((event) => ({ at: event.revision, ...event }));
  if (before !== null) {
    const { tree: _, ...stamps } = before.entry;
    versions.push({ ...stamps, kind: "before", at: before.at });
  }
  return versions;
}

/** Known events with those of the newest page, or only these if they do not reach back so far. */
export function withNewest({ events, next }, page) {
  const [newest] = events;
  const reached = page.events.findIndex((event) => event.revision === newest?.revision);
  if (reached < 0) return { events: page.events, next: page.next };
  return { events: [...page.events.slice(0, reached), ...events], next };
}

/** Whether there was an entry before this event. */
export function hadEntryBefore({ kind, version }) {
  return kind === "delete" || (kind === "put" && version !== "1");
}

/** What happened, in words. Of a revert, the version that it went back to is named if it is one of these. */
export function whatHappened(version, versions) {
  const { kind, revertedFrom, mergedWith } = version;
  if (kind === "before") return "saved";
  if (kind === "delete") return "deleted";
  const named = (revision) =>
    versions.find((one) => one.kind !== "delete" && one.revision === revision)?.version;
  if (revertedFrom !== undefined) {
    const target = named(revertedFrom);
    if (version.version === "1")
      return target === undefined ? "brought back" : `brought back version ${target}`;
    return `reverted to ${target === undefined ? "an earlier version" : `version ${target}`}`;
  }
  if (mergedWith !== undefined) {
    const other = named(mergedWith);
    return other === undefined ? "merged" : `merged with version ${other}`;
  }
  return version.version === "1" ? "created" : "changed";
}

/** How a version is called where the time is not shown; `current` is the current entry or null. */
export function nameOf(version, current) {
  if (version.kind === "delete") return `deleted (it was version ${version.version})`;
  return `version ${version.version}${isCurrent(version, current) ? " (current)" : ""}`;
}

/** Whether a version is the current entry. */
export function isCurrent(version, current) {
  return version.kind !== "delete" && current !== null && version.etag === current.etag;
}

/**
 * Which two revisions are compared: {from, to}, where `from` is "current" before a restore; undefined if there is
 * nothing to compare. Without a choice it is the newest change.
 */
export function pairOf(chosen, versions) {
  if (chosen.restore !== undefined) return { from: "current", to: chosen.restore };
  const to = chosen.to ?? versions[0]?.at;
  if (to === undefined) return undefined;
  return { from: chosen.from ?? oneBefore(to, versions), to };
}

// The version before one; if that is not known, the revision before it.
function oneBefore(at, versions) {
  const index = versions.findIndex((version) => version.at === at);
  if (index >= 0 && versions[index].kind === "before") return at;
  return (index < 0 ? undefined : versions[index + 1]?.at) ?? at - 1;
}

/** The counts of a difference, in words. */
export function countsInWords({ changed, added, removed }) {
  const words = [
    [changed, "changed"],
    [added, "added"],
    [removed, "removed"],
  ]
    .filter(([count]) => count > 0)
    .map(([count, what], index) => `${count}${index > 0 ? "" : count === 1 ? " line" : " lines"} ${what}`);
  return words.length === 0 ? "Only the layout differs." : `${words.join(", ")}.`;
}

/** What to say about what is not in the list; undefined if it is complete. */
export function whyIncomplete({ events, next, before, current, keepsNone, oldest }) {
  if (keepsNone) return "This service has kept no history so far.";
  if (next !== null) return undefined;
  if (events.length > 0)
    return before === null
      ? undefined
      : `Older history is no longer kept: it begins after revision ${oldest}.`;
  return current === null
    ? "Nothing is kept of what happened to this key."
    : `This version is older than the history that is kept, which begins after revision ${oldest}.`;
}

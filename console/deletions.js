// Which keys are deleted now, found by reading the history backwards. Pure, but for what it has read.

export class Deletions {
  /** The newest first: {key, version, revision, modifiedAt, modifiedBy}. */
  found = [];
  /** How far back was read, as a time; undefined if nothing was. */
  until = undefined;
  // The keys whose newest event is known.
  #seen = new Set();

  /** Takes events that are older than all before, the newest first. Returns how many deletions were among them. */
  add(events) {
    const before = this.found.length;
    for (const { kind, ...event } of events) {
      this.until = event.modifiedAt;
      if (this.#seen.has(event.key)) continue;
      this.#seen.add(event.key);
      if (kind === "delete") this.found.push(event);
    }
    return this.found.length - before;
  }

  /** Takes an event of now. Returns whether that has changed what was found. */
  happened(kind, { tree: _, ...entry }) {
    const index = this.found.findIndex((one) => one.key === entry.key);
    if (index >= 0 && this.found[index].revision >= entry.revision) return false;
    if (index >= 0) this.found.splice(index, 1);
    this.#seen.add(entry.key);
    if (kind === "delete") this.found.unshift(entry);
    return index >= 0 || kind === "delete";
  }
}

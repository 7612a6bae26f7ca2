// The page of the deleted entries: the keys with a prefix that were deleted, and who did that and when.

import { historyHashOf } from "./address.js";
import { Refused, Unreachable } from "./api.js";
import { Deletions } from "./deletions.js";
import { button, byElements, h, timeElement } from "./dom.js";
import { historyUnder } from "./past.js";

/** So many more are looked for at once, */
const WANTED = 50;
/** in at most so many pages of the history. */
const MOST_PAGES = 5;

export class DeletedView {
  /**
   * Calls on.unreachable() when a request got no response, and on.whyNot() to learn why nothing may be read, undefined
   * if something may.
   */
  constructor(on) {
    Object.assign(this, { on, prefix: "", round: 0, rows: new Map(), deletions: new Deletions() });
    Object.assign(this, { phase: "loading", next: undefined, problem: undefined, oldest: 0 });
    this.heading = h("h2", { tabIndex: -1 }, "Deleted entries");
    this.meta = h("div", { className: "meta" });
    this.list = h("ul", { className: "deleted-list" });
    this.more = button("Look further back", () => this.lookFurther(), { className: "more" });
    this.again = button("Try again", () => this.lookFurther());
    this.note = h("p", { className: "kept", role: "status" });
    this.element = h(
      "article",
      { className: "doc deleted" },
      h(
        "header",
        { className: "doc-head" },
        h("a", { className: "back", href: "#/" }, "All entries"),
        h("div", { className: "doc-name" }, this.heading, this.meta),
      ),
      h("div", { className: "deleted-scroll" }, this.list, this.more, this.note, this.again),
    );
  }

  /** Looks for the deleted entries with a prefix. */
  open(prefix) {
    if (prefix !== this.prefix) this.deletions = new Deletions();
    Object.assign(this, { prefix, fresh: new Deletions(), next: undefined });
    return this.lookFurther();
  }

  async lookFurther() {
    this.round += 1;
    const { round } = this;
    const why = this.on.whyNot();
    Object.assign(this, { phase: "loading", problem: undefined });
    this.render();
    try {
      if (why === undefined) await this.look(round);
      if (round !== this.round) return;
      Object.assign(this, { phase: why === undefined ? "loaded" : "refused", problem: why });
    } catch (error) {
      if (round !== this.round) return;
      if (error instanceof Unreachable) this.on.unreachable();
      else if (!(error instanceof Refused)) throw error;
      const words = error instanceof Refused ? `The server says: ${error.message}` : error.message;
      Object.assign(this, { phase: error.status === 403 ? "refused" : "failed", problem: words });
    }
    this.render();
  }

  async look(round) {
    let found = 0;
    for (let pages = 0; pages < MOST_PAGES && found < WANTED && this.next !== null; pages += 1) {
      const page = await historyUnder(this.prefix, this.next);
      if (round !== this.round) return;
      if (this.fresh !== undefined) Object.assign(this, { deletions: this.fresh, fresh: undefined });
      found += this.deletions.add(page.events);
      Object.assign(this, { next: page.next, oldest: page.oldest });
      this.render();
    }
  }

  /** Handles an event of the watch. */
  event(kind, entry) {
    if (!entry.key.startsWith(this.prefix)) return;
    this.fresh?.happened(kind, entry);
    if (this.deletions.happened(kind, entry)) this.render();
  }

  /** Looks again, because changes may have been missed. */
  refresh() {
    return this.open(this.prefix);
  }

  focus() {
    this.heading.focus();
  }

  render() {
    const { prefix, phase, next, deletions } = this;
    this.meta.textContent = prefix === "" ? "All keys" : `Keys that begin with “${prefix}”`;
    this.renderRows(deletions.found);
    this.more.hidden = phase !== "loaded" || next === null;
    this.again.hidden = phase !== "failed";
    const words = this.words();
    if (this.note.textContent !== words) this.note.textContent = words;
  }

  words() {
    const { phase, problem, next, deletions, oldest } = this;
    if (phase === "loading") return "Looking for deleted entries…";
    if (phase !== "loaded") return problem;
    const isEmpty = deletions.found.length === 0;
    if (next !== null) return isEmpty ? "No deleted entry found so far." : "";
    if (deletions.until === undefined) return "No history is kept of these keys.";
    const limit = oldest > 0 ? ` The history that is kept begins after revision ${oldest}.` : "";
    return `${isEmpty ? "No deleted entries." : "These are all that are kept."}${limit}`;
  }

  renderRows(found) {
    const focused = document.activeElement?.closest?.(".deleted-list li")?.dataset.key;
    const rows = new Map();
    for (const event of found) {
      const known = this.rows.get(event.key);
      const row = known?.dataset.revision === String(event.revision) ? known : this.row(event);
      rows.set(event.key, row);
    }
    const [before, after] = [[...this.list.children], [...rows.values()]];
    this.rows = rows;
    if (before.length === after.length && before.every((row, index) => row === after[index])) return;
    this.list.replaceChildren(...after);
    if (focused !== undefined) (rows.get(focused)?.firstChild ?? this.heading).focus();
  }

  row(event) {
    // The value as it was before it was deleted.
    const link = h(
      "a",
      {
        className: "row",
        href: historyHashOf(event.key, { restore: event.revision - 1 }),
        "aria-description": "Look at it, and bring it back",
      },
      h("span", { className: "row-key" }, event.key),
      h("span", { className: "row-value" }, `was version ${event.version}`),
      h(
        "span",
        { className: "row-meta" },
        h("span", { className: "row-when" }, "deleted ", timeElement(event.modifiedAt), ...byElements(event)),
      ),
    );
    const row = h("li", null, link);
    Object.assign(row.dataset, { key: event.key, revision: event.revision });
    return row;
  }
}

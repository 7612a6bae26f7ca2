// The list of entries: the pages that were loaded, kept up to date by the watch.

import { hashOf } from "./address.js";
import { list } from "./api.js";
import { brief, button, byElements, h, timeElement } from "./dom.js";

/** The number of entries of a page. */
const PAGE = 50;
/** The list is loaded after a pause in typing of this length. */
const PAUSE_MILLIS = 120;

/** Compares keys as the service does: by bytes, which is the order of code points, not of UTF-16. */
function compareKeys(one, other) {
  const left = [...one];
  const right = [...other];
  for (let index = 0; index < Math.min(left.length, right.length); index += 1) {
    const difference = left[index].codePointAt(0) - right[index].codePointAt(0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

export class ListView {
  /** Calls on.reading(prefix) before it loads the list, on.loaded(since) after that, or on.failed(error). */
  constructor({ place, unsaved, status, filter, drafts, on }) {
    Object.assign(this, {
      place,
      unsaved,
      status,
      filter,
      drafts,
      on,
      items: [],
      next: null,
      prefix: "",
      open: null,
    });
    Object.assign(this, { rows: new Map(), round: 0, received: null, wanted: PAGE, state: "loading" });
    Object.assign(this, { mayCreate: true, mayRetry: true });
    filter.addEventListener("input", () => {
      if (this.state === "waiting") return;
      clearTimeout(this.pause);
      this.pause = setTimeout(() => this.load(), PAUSE_MILLIS);
    });
    filter.addEventListener("keydown", (event) => this.filterKey(event));
    place.addEventListener("keydown", (event) => this.key(event));
    this.more = button("Show more", () => this.loadMore(), { className: "more" });
    place.after(this.more);
  }

  /** Shows a sentence instead of the list, until it is loaded. */
  wait(problem) {
    this.round += 1;
    Object.assign(this, { items: [], next: null, state: "waiting", problem });
    this.render();
  }

  /** What the user may do. */
  allow({ create }) {
    this.mayCreate = create;
    this.render();
  }

  /** Loads the list again. */
  async load() {
    this.round += 1;
    const { round } = this;
    const prefix = this.filter.value;
    if (prefix !== this.prefix) this.wanted = PAGE;
    if (this.items.length === 0 || prefix !== this.prefix || this.state === "waiting") this.state = "loading";
    this.render();
    this.received = [];
    this.on.reading(prefix);
    try {
      const page = await list(prefix, null, this.wanted);
      if (round !== this.round) return;
      Object.assign(this, { prefix, items: page.items.map(rowOf), next: page.next, state: "loaded" });
      this.replay(page.revision);
      this.on.loaded(page.since);
    } catch (error) {
      if (round !== this.round) return;
      if (prefix !== this.prefix || error.status === 403) this.items = [];
      Object.assign(this, { prefix, state: "failed", problem: error.message, received: null });
      // What may not be read may not be read a second later either.
      this.mayRetry = error.status !== 403;
      this.on.failed(error);
    }
    this.render();
  }

  async loadMore() {
    if (this.loadingMore || this.next === null) return;
    this.loadingMore = true;
    this.render();
    const { round, prefix } = this;
    const { length } = this.items;
    this.received = [];
    try {
      const page = await list(prefix, this.next, PAGE);
      if (round === this.round) {
        this.items.push(...page.items.map(rowOf));
        this.next = page.next;
        this.wanted = Math.min(this.items.length, 10_000);
        this.replay(page.revision);
      }
    } catch (error) {
      if (round === this.round) this.received = null;
      this.on.failed(error);
    }
    this.loadingMore = false;
    this.render();
    const first = this.rows.get(this.items[length]?.key);
    if (document.activeElement === this.more || document.activeElement === document.body)
      first?.firstChild.focus();
  }

  // A page may be older than a change that the watch has already sent.
  replay(revision) {
    const received = this.received ?? [];
    this.received = null;
    for (const { kind, entry } of received) {
      if (entry.revision > revision) this.apply(kind, entry);
    }
  }

  /** Handles an event of the watch. */
  event(kind, entry) {
    this.received?.push({ kind, entry });
    this.apply(kind, entry);
    this.renderSoon();
  }

  apply(kind, entry) {
    if (!entry.key.startsWith(this.prefix)) return;
    let index = this.items.findIndex((item) => item.key === entry.key);
    if (index >= 0) {
      if (this.items[index].revision >= entry.revision) return;
      if (kind === "put") this.items[index] = { ...rowOf(entry), fresh: true };
      else this.items.splice(index, 1);
      return;
    }
    if (kind !== "put") return;
    index = this.items.findIndex((item) => compareKeys(item.key, entry.key) > 0);
    if (index < 0) index = this.items.length;
    // An entry after the last one shown is on a page that was not loaded.
    if (index === this.items.length && this.next !== null) return;
    this.items.splice(index, 0, { ...rowOf(entry), fresh: true });
    if (this.items.length > this.wanted + PAGE) {
      this.items.length = this.wanted;
      this.next = this.items.at(-1).key;
    }
  }

  /** Marks the entry that is open. */
  show(key) {
    this.open = key;
    this.render();
  }

  /** Focuses an entry, if it is in the list. */
  focus(key) {
    this.rows.get(key)?.firstChild.focus();
  }

  renderSoon() {
    if (this.planned) return;
    this.planned = true;
    requestAnimationFrame(() => {
      this.planned = false;
      this.render();
    });
  }

  render() {
    const draftKeys = this.drafts.keys();
    const focusedKey = document.activeElement?.closest?.("li")?.dataset.key;
    const keep = new Map();
    let before = null;
    for (const item of this.items) {
      const signature = `${item.etag} ${item.key === this.open} ${draftKeys.has(item.key)}`;
      let row = this.rows.get(item.key);
      if (row === undefined || row.dataset.signature !== signature) {
        const made = this.row(item, draftKeys.has(item.key));
        made.dataset.signature = signature;
        row?.replaceWith(made);
        row = made;
      }
      keep.set(item.key, row);
      const place = before === null ? this.place.firstChild : before.nextSibling;
      if (place !== row) this.place.insertBefore(row, place);
      before = row;
    }
    for (const [key, row] of this.rows) {
      if (!keep.has(key)) row.remove();
    }
    this.rows = keep;
    if (focusedKey !== undefined && document.activeElement === document.body)
      keep.get(focusedKey)?.firstChild.focus();
    this.more.hidden = this.next === null || this.state !== "loaded";
    this.more.textContent = this.loadingMore ? "Loading…" : "Show more";
    this.renderUnsaved(draftKeys);
    this.renderStatus();
  }

  // Drafts of entries that are not in the list: new entries, deleted ones, or ones on a later page.
  renderUnsaved(draftKeys) {
    if (this.state === "loading" || this.state === "waiting") return;
    const keys = [...draftKeys].filter((key) => !this.rows.has(key)).sort(compareKeys);
    const signature = JSON.stringify([keys, this.open]);
    if (signature === this.unsavedShown) return;
    this.unsavedShown = signature;
    this.unsaved.hidden = keys.length === 0;
    const links = keys.map((key) =>
      h(
        "li",
        null,
        h(
          "a",
          {
            href: key === "" ? "#/new" : hashOf(key),
            className: "row",
            "aria-current": key === this.open ? "true" : undefined,
          },
          h("span", { className: "row-key" }, key === "" ? "New entry" : key),
          h("span", { className: "row-meta" }, h("span", { className: "draft-mark" }, "draft")),
        ),
      ),
    );
    this.unsaved.replaceChildren(h("h2", { className: "list-title" }, "Not saved"), h("ul", null, links));
  }

  row(item, hasDraft) {
    const isOpen = item.key === this.open;
    const link = h(
      "a",
      { href: hashOf(item.key), className: "row", "aria-current": isOpen ? "true" : undefined },
      h("span", { className: "row-key" }, item.key),
      h("span", { className: "row-value" }, item.brief),
      h(
        "span",
        { className: "row-meta" },
        h(
          "span",
          null,
          h("span", { className: "visually-hidden" }, "version "),
          h("span", { "aria-hidden": "true" }, "v"),
          item.version,
        ),
        hasDraft
          ? h("span", { className: "draft-mark" }, "draft")
          : h("span", { className: "row-when" }, timeElement(item.modifiedAt), ...byElements(item)),
      ),
    );
    const row = h("li", { className: item.fresh ? "fresh" : "" }, link);
    row.dataset.key = item.key;
    item.fresh = false;
    return row;
  }

  renderStatus() {
    let words = "";
    if (this.state === "loading") words = "Loading…";
    else if (this.state === "failed" || this.state === "waiting") words = this.problem;
    else if (this.items.length === 0)
      words = this.prefix === "" ? "No entries yet." : `No key begins with “${this.prefix}”.`;
    else
      words = `${this.items.length}${this.next === null ? "" : "+"} ${this.items.length === 1 && this.next === null ? "entry" : "entries"}`;
    const signature = `${this.state} ${words} ${this.mayCreate}`;
    if (signature === this.statusShown) return;
    this.statusShown = signature;
    const parts = [h("span", null, words)];
    if (this.state === "failed" && this.mayRetry) parts.push(button("Try again", () => this.load()));
    if (this.state === "loaded" && this.items.length === 0 && this.prefix === "" && this.mayCreate)
      parts.push(h("a", { className: "button primary", href: "#/new" }, "Create the first"));
    this.status.replaceChildren(...parts);
    this.status.classList.toggle("is-empty", this.items.length === 0);
  }

  filterKey(event) {
    if (this.state === "waiting") return;
    if (event.key === "ArrowDown") {
      event.preventDefault();
      this.place.querySelector("a")?.focus();
    } else if (event.key === "Escape" && this.filter.value !== "") {
      event.preventDefault();
      this.filter.value = "";
      this.load();
    }
  }

  key(event) {
    const row = event.target.closest("li");
    const to = {
      ArrowDown: () => row.nextElementSibling,
      ArrowUp: () => row.previousElementSibling,
      Home: () => this.place.firstElementChild,
      End: () => this.place.lastElementChild,
    }[event.key];
    if (row === null || to === undefined) return;
    event.preventDefault();
    const next = to();
    if (next !== null) next.firstChild.focus();
    else if (event.key === "ArrowUp") this.filter.focus();
    else if (event.key === "ArrowDown" && !this.more.hidden) this.more.focus();
  }
}

// The value may be large, and the list shows one line of it.
function rowOf({ key, tree, ...stamps }) {
  return { key, brief: brief(tree), ...stamps };
}

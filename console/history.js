// The page of the history of a key: its versions, the newest first, and what differs between two of them.

import { hashOf, historyHashOf } from "./address.js";
import { ComparisonView } from "./comparison.js";
import { button, byElements, h, timeElement } from "./dom.js";
import { Timeline } from "./timeline.js";
import { isCurrent, whatHappened, whyIncomplete } from "./versions.js";

export class HistoryView {
  /**
   * The history of a key. The functions are those of a Timeline but for changed(), and hasDraft(), which says whether
   * there is unsaved text for the entry, and goTo(hash).
   */
  constructor(key, on) {
    Object.assign(this, { key, rows: new Map() });
    this.timeline = new Timeline(key, { ...on, changed: () => this.render() });
    this.comparison = new ComparisonView(this.timeline, on);
    this.heading = h("h2", { className: "key", tabIndex: -1 }, key);
    this.list = h("ol", { className: "versions", onkeydown: (event) => this.onKey(event) });
    this.more = button("Show older", () => this.loadMore(), { className: "more" });
    this.note = h("p", { className: "kept", role: "status" });
    this.again = button("Try again", () => this.timeline.load());
    this.element = h(
      "article",
      { className: "doc history" },
      h(
        "header",
        { className: "doc-head" },
        h("a", { className: "back", href: "#/" }, "All entries"),
        h(
          "div",
          { className: "doc-title" },
          h("div", { className: "doc-name" }, this.heading, h("div", { className: "meta" }, "History")),
          h(
            "div",
            { className: "actions" },
            h("a", { className: "button", href: hashOf(key) }, "Open the entry"),
          ),
        ),
      ),
      h(
        "div",
        { className: "history-body" },
        h(
          "section",
          { className: "timeline", "aria-label": "Versions" },
          this.list,
          this.more,
          this.note,
          this.again,
        ),
        this.comparison.element,
      ),
    );
  }

  /** Reads the history, and compares what the address has chosen. */
  async open(chosen) {
    this.timeline.chosen = chosen;
    await this.timeline.load();
  }

  /** Compares what the address has chosen now. */
  async show(chosen) {
    const wasRestore = this.timeline.chosen.restore !== undefined;
    const isRestore = chosen.restore !== undefined;
    const compared = this.timeline.choose(chosen);
    this.render();
    // The link or the button that was used is not there any more.
    if (wasRestore !== isRestore) this.comparison.heading.focus();
    await compared;
  }

  focus() {
    if (this.timeline.chosen.restore === undefined || this.comparison.element.hidden) this.heading.focus();
    else this.comparison.heading.focus();
  }

  event(kind, entry) {
    this.timeline.event(kind, entry);
  }

  refresh() {
    return this.timeline.refresh();
  }

  async loadMore() {
    const { length } = this.timeline.events;
    await this.timeline.loadMore();
    const first = this.timeline.versions[length];
    const isFree = [this.more, document.body].includes(document.activeElement);
    if (isFree && first !== undefined) this.rows.get(first.at)?.firstChild.focus();
  }

  render() {
    const { timeline } = this;
    const { phase, problem, next, isLoadingMore, moreProblem } = timeline;
    this.renderRows();
    this.more.hidden = phase !== "loaded" || next === null;
    this.more.textContent = isLoadingMore ? "Loading…" : "Show older";
    this.again.hidden = phase !== "failed";
    const words =
      phase === "loading"
        ? "Loading…"
        : phase === "failed"
          ? problem
          : (moreProblem ?? whyIncomplete(timeline) ?? "");
    if (this.note.textContent !== words) this.note.textContent = words;
    this.comparison.render();
  }

  renderRows() {
    const { timeline } = this;
    const { versions, comparison, current } = timeline;
    const focused = document.activeElement?.closest?.(".versions li")?.dataset.at;
    const rows = new Map();
    for (const version of versions) {
      const isShown = version.at === comparison?.pair.to;
      const what = whatHappened(version, versions);
      const isNow = isCurrent(version, current);
      const signature = JSON.stringify([what, isShown, isNow, version.version]);
      const known = this.rows.get(version.at);
      const row =
        known?.dataset.signature === signature ? known : this.row(version, { what, isShown, isNow });
      row.dataset.signature = signature;
      row.dataset.at = version.at;
      rows.set(version.at, row);
    }
    const [before, after] = [[...this.list.children], [...rows.values()]];
    this.rows = rows;
    if (before.length === after.length && before.every((row, index) => row === after[index])) return;
    this.list.replaceChildren(...after);
    if (focused !== undefined) rows.get(Number(focused))?.firstChild.focus();
  }

  row(version, { what, isShown, isNow }) {
    const isGone = version.kind === "delete";
    const link = h(
      "a",
      {
        className: "row",
        href: historyHashOf(this.key, { to: version.at }),
        "aria-current": isShown ? "true" : undefined,
      },
      h(
        "span",
        { className: "row-version" },
        isGone ? "—" : `version ${version.version}`,
        isNow ? h("span", { className: "chip" }, "current") : null,
      ),
      h("span", { className: `row-what${isGone ? " is-gone" : ""}` }, what),
      h(
        "span",
        { className: "row-meta" },
        h("span", { className: "row-when" }, timeElement(version.modifiedAt), ...byElements(version)),
      ),
    );
    return h("li", null, link);
  }

  onKey(event) {
    const row = event.target.closest("li");
    const to = {
      ArrowDown: () => row.nextElementSibling,
      ArrowUp: () => row.previousElementSibling,
      Home: () => this.list.firstElementChild,
      End: () => this.list.lastElementChild,
    }[event.key];
    if (row === null || to === undefined) return;
    event.preventDefault();
    const next = to();
    if (next !== null) next.firstChild.focus();
    else if (event.key === "ArrowDown" && !this.more.hidden) this.more.focus();
  }
}

// The view of a comparison of two versions: which they are, what differs, and the button that restores one.

import { historyHashOf } from "./address.js";
import { diffTable } from "./diff-view.js";
import { button, byElements, h, setLink, timeElement } from "./dom.js";
import { countsInWords, nameOf } from "./versions.js";

export class ComparisonView {
  /**
   * Shows the comparison of a timeline. hasDraft() says whether there is unsaved text for the entry, and goTo(hash)
   * goes to another comparison.
   */
  constructor(timeline, { hasDraft, goTo }) {
    Object.assign(this, { timeline, hasDraft, goTo });
    this.heading = h("h3", { tabIndex: -1 });
    this.selects = { from: this.select("from", "Compare"), to: this.select("to", "with") };
    this.choice = h(
      "div",
      { className: "pair" },
      Object.values(this.selects).map(({ label, element }) =>
        h("span", null, h("label", { for: element.id }, label), " ", element),
      ),
    );
    this.lookLink = h("a", { className: "button" });
    this.question = h("div", { className: "question" });
    this.summary = h("p", { className: "summary", role: "status" });
    this.body = h("div", {
      className: "diff-place",
      tabIndex: 0,
      role: "region",
      "aria-label": "Difference",
    });
    this.element = h(
      "section",
      { className: "comparison", "aria-label": "Comparison" },
      h(
        "div",
        { className: "comparison-head" },
        this.heading,
        this.lookLink,
        this.choice,
        this.question,
        this.summary,
      ),
      this.body,
    );
  }

  select(side, label) {
    const element = h("select", { id: `compared-${side}`, onchange: () => this.changePair() });
    return { side, label, element };
  }

  changePair() {
    const [from, to] = ["from", "to"].map((side) => this.selects[side].element.value);
    this.goTo(historyHashOf(this.timeline.key, { from, to }));
  }

  render() {
    const { comparison, chosen } = this.timeline;
    this.element.hidden = comparison === undefined;
    if (comparison === undefined) return;
    const isRestore = chosen.restore !== undefined;
    this.renderHead(isRestore);
    this.choice.hidden = isRestore;
    if (!isRestore) this.renderSelects();
    this.question.hidden = !isRestore;
    if (isRestore) this.renderQuestion();
    this.renderResult();
  }

  renderHead(isRestore) {
    const { timeline } = this;
    const { comparison, current } = timeline;
    const { pair } = comparison;
    const version = this.versionAt(pair.to);
    const words = this.wordsFor(isRestore, version);
    if (this.heading.textContent !== words) this.heading.textContent = words;
    // Of a deletion, what was there before can be brought back.
    const side = version?.kind === "delete" ? "from" : "to";
    const entry = comparison[side];
    const etag = entry?.etag ?? this.versionAt(pair[side])?.etag;
    const isCurrent = current !== null && etag === current.etag;
    this.lookLink.hidden = isRestore || isCurrent || entry === null || this.nameAt(pair[side]) === undefined;
    this.lookLink.textContent = current === null ? "Bring back…" : "Restore…";
    const why = timeline.on.whyNot(current === null ? "create" : "update");
    setLink(this.lookLink, historyHashOf(timeline.key, { restore: pair[side] }), why);
  }

  wordsFor(isRestore, version) {
    const { timeline } = this;
    if (isRestore) {
      const what = this.nameAt(timeline.chosen.restore) ?? "this version";
      return timeline.current === null ? `Bring back ${what}?` : `Restore ${what}?`;
    }
    const isNewest = timeline.chosen.from === undefined && version !== undefined;
    if (!isNewest) return "Two versions compared";
    if (version.kind === "delete") return "What was deleted";
    return version.kind === "before"
      ? `The oldest that is kept, version ${version.version}`
      : `What version ${version.version} changed`;
  }

  versionAt(at) {
    return this.timeline.versions.find((version) => version.at === at);
  }

  /** The name of what is at a revision, as far as it is known. */
  nameAt(at) {
    const { comparison, current } = this.timeline;
    if (at === "current") return current === null ? "no entry" : nameOf(current, current);
    const version = this.versionAt(at);
    if (version !== undefined) return nameOf(version, current);
    if (comparison.phase !== "compared") return undefined;
    const entry = at === comparison.pair.to ? comparison.to : comparison.from;
    return entry === null ? "no entry" : nameOf(entry, current);
  }

  renderSelects() {
    const { timeline } = this;
    const { pair } = timeline.comparison;
    for (const { side, element } of Object.values(this.selects)) {
      const options = timeline.versions.map((version) => [version.at, nameOf(version, timeline.current)]);
      if (!options.some(([at]) => at === pair[side]))
        options.push([pair[side], this.nameAt(pair[side]) ?? "…"]);
      const signature = JSON.stringify(options);
      if (element.dataset.signature !== signature) {
        element.dataset.signature = signature;
        element.replaceChildren(...options.map(([at, name]) => h("option", { value: String(at) }, name)));
      }
      element.value = String(pair[side]);
    }
  }

  renderQuestion() {
    const { timeline } = this;
    const { comparison, current, isRestoring, restoreProblem, key } = timeline;
    const why = comparison.phase === "comparing" ? undefined : timeline.whyNotRestored;
    const signature = JSON.stringify([
      comparison.phase,
      current?.etag,
      isRestoring,
      restoreProblem,
      why,
      this.nameAt(comparison.pair.to),
      this.hasDraft(),
    ]);
    if (signature === this.questionShown) return;
    this.questionShown = signature;
    const hadFocus = this.question.contains(document.activeElement);
    const isBack = current === null;
    const label = isRestoring ? "Restoring…" : isBack ? "Bring it back" : "Restore it";
    const go = button(label, () => timeline.restore(), {
      className: "primary",
      "aria-disabled": String(isRestoring || comparison.phase !== "compared" || why !== undefined),
      "aria-description": why ?? "",
      title: why ?? "",
    });
    const cancel = h(
      "a",
      { className: "button", href: historyHashOf(key, { to: comparison.pair.to }) },
      "Cancel",
    );
    const draft =
      "Your unsaved text for this entry is kept: it is there when you open the entry, and saving it merges both.";
    const what = this.nameAt(comparison.pair.to) ?? "then";
    const lead = isBack
      ? `The entry is written again with the value of ${what}.`
      : `The entry gets the value of ${what} again, as a new version. The current one stays in the history.`;
    this.question.replaceChildren(
      h(
        "p",
        { className: restoreProblem === undefined ? "visually-hidden" : "restore-problem" },
        restoreProblem ?? "",
      ),
      h("p", null, why ?? lead),
      ...(this.hasDraft() ? [h("p", { className: "draft-note" }, draft)] : []),
      h("div", { className: "actions" }, cancel, go),
    );
    if (hadFocus) go.focus();
  }

  renderResult() {
    const { comparison } = this.timeline;
    if (comparison === this.resultShown) return;
    const before = this.resultShown;
    this.resultShown = comparison;
    // A comparison that is ready soon replaces the one before without a flicker.
    if (comparison.phase === "comparing" && before !== undefined) {
      this.body.classList.add("is-old");
      this.body.setAttribute("aria-busy", "true");
      return;
    }
    this.body.classList.remove("is-old");
    this.body.removeAttribute("aria-busy");
    const [words, content] = this.contentOf(comparison);
    this.summary.textContent = words;
    this.body.hidden = content === null;
    this.body.replaceChildren(...(content === null ? [] : [content]));
    this.body.scrollTop = 0;
  }

  contentOf({ phase, problem, result, from, to, pair }) {
    if (phase === "comparing") return ["Comparing…", null];
    if (phase === "failed") return [problem, null];
    if (pair.from === pair.to && from !== null)
      return ["What was before it is not known. Compare it with another version.", null];
    if (from === null && to === null) return ["There was no entry at either of the two.", null];
    if (result.kind === "same") return ["Both have the same value.", null];
    if (result.kind === "large")
      return ["The values are too large to be compared here. The command line can: ifmatch diff.", null];
    const names = { from: this.sideName(pair.from, from), to: this.sideName(pair.to, to) };
    const coarse = result.isCoarse ? " The values are large: a line has several members." : "";
    const omitted = result.omitted > 0 ? ` The last ${result.omitted} rows are not shown.` : "";
    return [`${countsInWords(result.counts)}${coarse}${omitted}`, diffTable(result.rows, names)];
  }

  sideName(at, entry) {
    if (entry === null) return "No entry";
    const name =
      at === "current" ? `version ${entry.version} (current)` : nameOf(entry, this.timeline.current);
    return h(
      "span",
      null,
      `${name[0].toUpperCase()}${name.slice(1)}, saved `,
      timeElement(entry.modifiedAt),
      ...byElements(entry),
    );
  }
}

// The view of a conflict: the places that both sides changed, with a choice for each.

import { brief, button, changeList, h, placeName } from "./dom.js";
import { Editor } from "./editor.js";
import { formatted, problemOf } from "./json.js";
import { soleWriter, whoSaved } from "./state.js";

/** In UTF-16 units. */
const LONGEST_SIDE = 20_000;

export class ConflictView {
  /** Shows session.state.conflict; finish() is called when every place is decided. */
  constructor(session, finish) {
    this.session = session;
    this.conflict = session.state.conflict;
    this.finish = finish;
    const { overlaps, others, theirs } = this.conflict;
    const places = overlaps.length === 1 ? "place" : `${overlaps.length} places`;
    const other = soleWriter(session.state.base, theirs);
    this.heading = h(
      "h3",
      { tabIndex: -1 },
      `You ${other === undefined ? "" : `and ${other} `}both changed the same ${places}`,
    );
    this.remaining = h("p", { className: "left", "aria-live": "polite" });
    this.done = button("Save merged", () => this.tryFinish(), { className: "primary" });
    this.items = overlaps.map((overlap, index) => new Choice(session, overlap, index));
    const rest =
      others.length === 0
        ? null
        : h(
            "details",
            { className: "merged-in", open: others.length <= 4 },
            h(
              "summary",
              null,
              others.length === 1
                ? "One more of their changes is merged automatically"
                : `${others.length} more of their changes are merged automatically`,
            ),
            changeList(others),
          );
    this.element = h(
      "section",
      { className: "conflict", "aria-label": "Conflict" },
      h(
        "div",
        { className: "conflict-scroll" },
        this.heading,
        h(
          "p",
          { className: "lead" },
          `${whoSaved(theirs)} while you were editing. Nothing is lost: choose which side to keep.`,
        ),
        this.items.map((item) => item.element),
        rest,
      ),
      h(
        "footer",
        { className: "conflict-foot" },
        this.remaining,
        h(
          "div",
          { className: "actions" },
          button("Back to my text", () => this.leave()),
          this.done,
        ),
      ),
    );
  }

  render() {
    for (const item of this.items) item.render();
    const left = this.conflict.undecided.length;
    const words =
      left === 0 ? "All decided." : left === 1 ? "One place to decide." : `${left} places to decide.`;
    if (this.remaining.textContent !== words) this.remaining.textContent = words;
    this.done.setAttribute("aria-disabled", String(left > 0));
  }

  focus() {
    this.heading.focus();
  }

  /** Returns a function that sets the focus to where it is in an earlier view, so that nobody is interrupted. */
  takeFocus(earlier) {
    const before = earlier.items.find((item) => item.element.contains(document.activeElement));
    const now = this.items.find((item) => item.overlap.pointer === before?.overlap.pointer);
    if (now === undefined) return () => this.focus();
    const picked = Object.keys(before.radios).find((pick) => before.radios[pick] === document.activeElement);
    const { selectionStart, selectionEnd } = before.editor.area;
    return () => {
      if (picked !== undefined) now.radios[picked].focus();
      else now.editor.area.focus();
      now.editor.area.setSelectionRange(selectionStart, selectionEnd);
    };
  }

  leave() {
    this.flush();
    this.session.leaveConflict();
  }

  /** Passes on what was typed, without waiting for a pause. */
  flush() {
    for (const item of this.items) item.editor.flush();
  }

  tryFinish() {
    this.flush();
    const [first] = this.conflict.undecided;
    if (first === undefined) {
      this.finish();
    } else {
      this.items.find((item) => item.overlap === first).focus();
    }
  }
}

/** One overlap: the value before, theirs, mine, and an editor for another value. */
class Choice {
  constructor(session, overlap, index) {
    Object.assign(this, { session, overlap, name: `overlap-${index}` });
    this.radios = {};
    const { base, theirs, mine, pointer } = overlap;
    this.editor = new Editor({
      label: `Your value for ${placeName(pointer)}, as JSON`,
      rows: 4,
      oninput: (text) => session.choose(pointer, "edit", text),
    });
    this.outdated = h(
      "p",
      { className: "outdated" },
      "Their value has changed since you wrote this. ",
      button("Keep it", () => this.pick("edit")),
    );
    this.own = h("div", { className: "own" }, this.outdated, this.editor.element);
    this.element = h(
      "fieldset",
      { className: "overlap" },
      h("legend", null, h("code", { className: "pointer" }, placeName(pointer))),
      h(
        "p",
        { className: "before" },
        h("span", { className: "label" }, "Before"),
        h("code", null, brief(base, 160)),
      ),
      h(
        "div",
        { className: "sides" },
        this.side("theirs", "Theirs", theirs),
        this.side("mine", "Mine", mine),
      ),
      h("div", { className: "edit-row" }, this.radio("edit", "Something else")),
      this.own,
    );
  }

  side(pick, title, tree) {
    const value =
      tree === undefined
        ? h("p", { className: "absent" }, "removed")
        : h(
            "pre",
            { className: "value", tabIndex: 0, role: "group", "aria-label": `${title}, value` },
            shortened(tree),
          );
    return h("div", { className: `side ${pick}` }, this.radio(pick, title), value);
  }

  radio(pick, title) {
    const radio = h("input", {
      type: "radio",
      name: this.name,
      value: pick,
      onchange: () => this.pick(pick),
    });
    this.radios[pick] = radio;
    return h("label", { className: "pick" }, radio, h("span", null, title));
  }

  pick(pick) {
    const { pointer } = this.overlap;
    const { text } = this.session.state.choices.get(pointer);
    this.session.choose(pointer, pick, pick === "edit" ? (text ?? this.initialText()) : text);
    if (pick === "edit") this.editor.area.focus();
  }

  /** The text that the editor for another value starts with. */
  initialText() {
    return formatted(this.overlap.mine ?? this.overlap.theirs);
  }

  render() {
    const { pick, text, outdated } = this.session.state.choices.get(this.overlap.pointer);
    for (const [name, radio] of Object.entries(this.radios)) {
      radio.checked = name === pick;
      radio.closest("label").parentElement.classList.toggle("picked", name === pick);
    }
    this.own.hidden = pick !== "edit";
    this.outdated.hidden = !outdated;
    if (pick !== "edit" || this.editor.isPending) return;
    this.editor.show(text ?? "");
    if (this.checked?.text !== text) this.checked = { text, problem: problemOf(text ?? "") };
    this.editor.showProblem(this.checked.problem, "Valid JSON");
  }

  focus() {
    const { pick } = this.session.state.choices.get(this.overlap.pointer);
    if (pick === "edit" && this.outdated.hidden) this.editor.goToProblem();
    else if (pick === "edit") this.outdated.querySelector("button").focus();
    else this.radios.theirs.focus();
  }
}

/** The text that is shown for a side. It is cut, because a browser would take seconds for a large value. */
function shortened(tree) {
  const text = formatted(tree);
  if (text.length <= LONGEST_SIDE) return text;
  const rest = text.length - LONGEST_SIDE;
  return `${text.slice(0, LONGEST_SIDE).replace(/[\ud800-\udbff]$/, "")}\n… and ${rest} more characters. “Something else” shows all of mine.`;
}

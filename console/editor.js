// The text area with line numbers, and marks behind the text: a syntax problem, and lines that others changed.
//
// When the text is large, no keystroke may process all of it: see LARGE_CHARACTERS.

import { h } from "./dom.js";
import { formatted, parseOrNothing } from "./json.js";

/** A longer text is large: it is read only when typing pauses, and changed lines are not marked. In UTF-16 units. */
export const LARGE_CHARACTERS = 20_000;
/** How long typing in a large text has to pause before the text is read. */
const PAUSE_MILLIS = 500;
/** The text is read after this time even if typing does not pause, so that a draft is never much older. */
const LONGEST_MILLIS = 3_000;
/** A longer line is not marked: the mark would make the browser lay it out a second time. In UTF-16 units. */
const LONGEST_MARKED_LINE = 2_000;

let editors = 0;

/** A text area for JSON. */
export class Editor {
  /**
   * oninput(text) is called at each change, or, if the text is large, when typing pauses. oninputlater(read), if
   * given, is called at each keystroke in a large text; read() returns the text for a caller that cannot wait.
   */
  constructor({ label, rows, oninput, oninputlater }) {
    editors += 1;
    const hint = `editor-hint-${editors}`;
    Object.assign(this, {
      oninput,
      oninputlater,
      places: [],
      problem: null,
      lines: 1,
      size: 0,
      timer: 0,
      pendingSince: undefined,
    });
    this.gutter = h("pre", { className: "gutter", "aria-hidden": "true" }, "1");
    this.marks = h("div", { className: "marks", "aria-hidden": "true" });
    this.area = h("textarea", {
      className: "code",
      spellcheck: false,
      autocomplete: "off",
      wrap: "off",
      rows: rows ?? 3,
      "aria-label": label,
      "aria-describedby": hint,
      autocapitalize: "off",
      autocorrect: "off",
      oninput: () => this.changed(),
      onblur: () => this.flush(),
      onscroll: () => this.syncScroll(),
      onkeydown: (event) => this.key(event),
      onpaste: (event) => this.paste(event),
    });
    this.status = h("p", { className: "editor-status", id: hint });
    this.frame = h(
      "div",
      { className: "editor-frame" },
      this.gutter,
      h("div", { className: "editor-text" }, this.marks, this.area),
    );
    this.element = h("div", { className: "editor" }, this.frame, this.status);
    new ResizeObserver(() => this.syncScroll()).observe(this.frame);
  }

  /** Whether the text is too long to be processed at each keystroke. */
  get isLarge() {
    return this.size > LARGE_CHARACTERS;
  }

  /** Shows a text. The caret stays where it is, or moves to the end of a shorter text. */
  show(text) {
    clearTimeout(this.timer);
    this.pendingSince = undefined;
    if (this.area.value === text) return;
    const { selectionStart, selectionEnd, scrollTop, scrollLeft } = this.area;
    this.area.value = text;
    this.area.setSelectionRange(Math.min(selectionStart, text.length), Math.min(selectionEnd, text.length));
    this.area.scrollTop = scrollTop;
    this.area.scrollLeft = scrollLeft;
    this.measure(text);
    this.draw();
  }

  /** Whether the text can only be read and copied. */
  setReadOnly(isReadOnly) {
    if (this.area.readOnly !== isReadOnly) this.area.readOnly = isReadOnly;
  }

  /** Shows and marks a syntax problem. Shows `otherwise` if the text has none (null) or was not checked (undefined). */
  showProblem(problem, otherwise) {
    const words = problem ? `Line ${problem.line}, column ${problem.column}: ${problem.reason}` : otherwise;
    if (this.status.textContent !== words) this.status.textContent = words;
    this.status.classList.toggle("wrong", Boolean(problem));
    this.area.setAttribute("aria-invalid", String(Boolean(problem)));
    this.problem = problem ?? null;
    this.draw();
  }

  /** Marks the lines of places, [first, last] from 0, as changed by others. */
  highlight(places) {
    this.places = places;
    this.draw();
  }

  /** Moves the caret to the syntax problem. */
  goToProblem() {
    this.area.focus();
    if (this.problem === null) return;
    const { offset, line } = this.problem;
    this.area.setSelectionRange(offset, offset);
    this.scrollTo(line - 1);
  }

  scrollTo(line) {
    const top = line * this.lineHeight();
    const { scrollTop, clientHeight } = this.area;
    if (top < scrollTop || top > scrollTop + clientHeight - 2 * this.lineHeight())
      this.area.scrollTop = top - clientHeight / 3;
    this.syncScroll();
  }

  lineHeight() {
    this.height ||= Number.parseFloat(getComputedStyle(this.area).lineHeight) || 0;
    return this.height;
  }

  changed() {
    if (this.places.length > 0) this.highlight([]);
    if (!this.isLarge) {
      this.passOn();
      return;
    }
    this.pendingSince ??= Date.now();
    this.oninputlater?.(() => this.read());
    const waited = Math.max(0, Date.now() - this.pendingSince);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.flush(), Math.min(PAUSE_MILLIS, Math.max(0, LONGEST_MILLIS - waited)));
  }

  /** Whether something was typed that was not passed on yet. */
  get isPending() {
    return this.pendingSince !== undefined;
  }

  /** Passes on what was typed into a large text, without waiting for a pause. */
  flush() {
    if (this.isPending) this.passOn();
  }

  passOn() {
    this.oninput(this.read());
  }

  read() {
    clearTimeout(this.timer);
    this.pendingSince = undefined;
    const text = this.area.value;
    this.measure(text);
    return text;
  }

  // A new line gets the indent of the line above. Tab still leaves the field.
  key(event) {
    if (
      event.key !== "Enter" ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      event.isComposing ||
      this.isLarge ||
      this.area.readOnly
    )
      return;
    const { value, selectionStart } = this.area;
    const before = value.slice(value.lastIndexOf("\n", selectionStart - 1) + 1, selectionStart);
    const indent = /^ */.exec(before)[0] + (/[[{]\s*$/.test(before) ? "  " : "");
    if (indent === "") return;
    event.preventDefault();
    this.insert(`\n${indent}`);
  }

  // A large value that replaces the whole text is formatted with fewer lines: with 100,000 lines, a browser
  // takes a second for each keystroke.
  paste(event) {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    const { selectionStart, selectionEnd, textLength } = this.area;
    if (this.area.readOnly || text.length <= LARGE_CHARACTERS || selectionEnd - selectionStart < textLength)
      return;
    const tree = parseOrNothing(text);
    if (tree === undefined) return;
    event.preventDefault();
    this.replace(formatted(tree));
  }

  /** Replaces the selection by a text. */
  insert(text) {
    // Deprecated, but the only change by a script that the user can undo.
    if (document.execCommand("insertText", false, text)) return;
    this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
    this.changed();
  }

  /** Replaces the whole text. A large text is replaced without undo, which would take minutes. */
  replace(text) {
    this.area.focus();
    if (this.isLarge || text.length > LARGE_CHARACTERS) {
      this.area.value = text;
      this.passOn();
    } else {
      this.area.select();
      this.insert(text);
    }
    this.area.setSelectionRange(0, 0);
  }

  measure(text) {
    this.size = text.length;
    let lines = 1;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) lines += 1;
    if (lines === this.lines) return;
    this.lines = lines;
    this.gutter.style.width = `calc(${String(lines).length}ch + 24px)`;
    this.syncScroll();
  }

  syncScroll() {
    const { scrollTop, scrollLeft } = this.area;
    this.marks.style.transform = `translate(${-scrollLeft}px, ${-scrollTop}px)`;
    this.showLineNumbers(scrollTop);
  }

  // Only the visible line numbers are in the page.
  showLineNumbers(scrollTop) {
    const height = this.lineHeight();
    const first = height > 0 ? Math.min(Math.floor(scrollTop / height), this.lines - 1) : 0;
    const last =
      height > 0 ? Math.min(this.lines, first + Math.ceil(this.area.clientHeight / height) + 2) : 1;
    const signature = `${first} ${last}`;
    if (signature !== this.numbersShown) {
      this.numbersShown = signature;
      this.gutter.textContent = Array.from({ length: last - first }, (_, index) => first + index + 1).join(
        "\n",
      );
    }
    this.gutter.style.transform = `translateY(${first * height - scrollTop}px)`;
  }

  draw() {
    const signature = JSON.stringify([this.places, this.problem?.offset]);
    if (this.problem === null && signature === this.drawn) return;
    this.drawn = signature;
    const rows = this.places.map(([first, last]) => this.row(first, last, "came"));
    if (this.problem !== null) rows.push(...this.problemRow());
    this.marks.replaceChildren(...rows);
    this.syncScroll();
  }

  problemRow() {
    const { value } = this.area;
    const { offset, line: number } = this.problem;
    const start = value.lastIndexOf("\n", offset - 1) + 1;
    const column = offset - start;
    if (column > LONGEST_MARKED_LINE) return [];
    const line = value.slice(start, offset);
    const [character] = value.slice(offset, offset + 2);
    const row = this.row(number - 1, number - 1, "wrong");
    row.append(line, h("mark", null, character === undefined || character === "\n" ? " " : character));
    return [row];
  }

  row(first, last, className) {
    const row = h("div", { className: `mark-row ${className}` });
    row.style.top = `calc(var(--line-height) * ${first} + var(--code-pad))`;
    row.style.height = `calc(var(--line-height) * ${last - first + 1})`;
    return row;
  }
}

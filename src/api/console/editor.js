// The text area with line numbers, and marks behind the text: where it is not JSON, what came in.

import { h } from "./dom.js";

let made = 0;

/** A text area for JSON. on.input(text) hears of each change. */
export class Editor {
  constructor({ label, rows, oninput }) {
    made += 1;
    const hint = `editor-hint-${made}`;
    this.gutter = h("pre", { className: "gutter", "aria-hidden": "true" }, "1");
    this.marks = h("div", { className: "marks", "aria-hidden": "true" });
    this.area = h("textarea", {
      className: "code", spellcheck: false, autocomplete: "off", wrap: "off", rows: rows ?? 3,
      "aria-label": label, "aria-describedby": hint, autocapitalize: "off", autocorrect: "off",
      oninput: () => this.changed(oninput),
      onscroll: () => this.follow(),
      onkeydown: (event) => this.key(event, oninput),
    });
    this.status = h("p", { className: "editor-status", id: hint });
    this.frame = h("div", { className: "editor-frame" }, this.gutter, h("div", { className: "editor-text" }, this.marks, this.area));
    this.element = h("div", { className: "editor" }, this.frame, this.status);
    this.places = [];
    this.problem = null;
  }

  get text() {
    return this.area.value;
  }

  /** Shows a text, with the caret where it was as far as that is still there. */
  show(text) {
    if (this.area.value === text) return;
    const { selectionStart, selectionEnd, scrollTop, scrollLeft } = this.area;
    this.area.value = text;
    this.area.setSelectionRange(Math.min(selectionStart, text.length), Math.min(selectionEnd, text.length));
    this.area.scrollTop = scrollTop;
    this.area.scrollLeft = scrollLeft;
    this.number();
    this.draw();
  }

  /** Marks where the text is not JSON (null: it is), and says so. */
  showProblem(problem, otherwise) {
    const words = problem === null ? otherwise : `Line ${problem.line}, column ${problem.column}: ${problem.reason}`;
    if (this.status.textContent !== words) this.status.textContent = words;
    this.status.classList.toggle("wrong", problem !== null);
    this.area.setAttribute("aria-invalid", String(problem !== null));
    this.problem = problem;
    this.draw();
  }

  /** Marks lines (from 0, first and last) as what came in. */
  highlight(places) {
    this.places = places;
    this.draw();
  }

  /** Puts the caret where the text is not JSON. */
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
    if (top < scrollTop || top > scrollTop + clientHeight - 2 * this.lineHeight()) this.area.scrollTop = top - clientHeight / 3;
    this.follow();
  }

  lineHeight() {
    return Number.parseFloat(getComputedStyle(this.area).lineHeight);
  }

  changed(oninput) {
    this.places = [];
    this.number();
    oninput(this.area.value);
  }

  // A new line begins where the one above does. Tab is left to leave the field.
  key(event, oninput) {
    if (event.key !== "Enter" || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const { value, selectionStart } = this.area;
    const before = value.slice(value.lastIndexOf("\n", selectionStart - 1) + 1, selectionStart);
    const indent = /^ */.exec(before)[0] + (/[[{]\s*$/.test(before) ? "  " : "");
    if (indent === "") return;
    event.preventDefault();
    // The only way to change the text so that the browser can undo it.
    if (!document.execCommand("insertText", false, `\n${indent}`)) {
      this.area.setRangeText(`\n${indent}`, selectionStart, this.area.selectionEnd, "end");
      this.changed(oninput);
    }
  }

  number() {
    const lines = this.area.value.split("\n").length;
    if (lines === this.lines) return;
    this.lines = lines;
    this.gutter.textContent = Array.from({ length: lines }, (_, index) => index + 1).join("\n");
  }

  follow() {
    const { scrollTop, scrollLeft } = this.area;
    this.gutter.style.transform = `translateY(${-scrollTop}px)`;
    this.marks.style.transform = `translate(${-scrollLeft}px, ${-scrollTop}px)`;
  }

  draw() {
    const rows = this.places.map(([first, last]) => this.row(first, last, "came"));
    if (this.problem !== null) {
      const index = this.problem.line - 1;
      const line = this.area.value.split("\n")[index] ?? "";
      const column = [...line].slice(0, this.problem.column - 1).join("").length;
      const character = [...line.slice(column)][0] ?? " ";
      const row = this.row(index, index, "wrong");
      row.append(line.slice(0, column), h("mark", null, character));
      rows.push(row);
    }
    this.marks.replaceChildren(...rows);
    this.follow();
  }

  row(first, last, className) {
    const row = h("div", { className: `mark-row ${className}` });
    row.style.top = `calc(var(--line-height) * ${first} + var(--code-pad))`;
    row.style.height = `calc(var(--line-height) * ${last - first + 1})`;
    return row;
  }
}

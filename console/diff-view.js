// A difference as a table: one value on the left and the other on the right, or one column where the page is narrow.

import { unfolded } from "./diff.js";
import { button, h } from "./dom.js";

/** How many rows are put into the page at once. */
const ROWS_AT_ONCE = 400;

/** Signs, and what a screen reader says for them. */
const SIGNS = {
  from: ["−", "removed: "],
  to: ["+", "added: "],
};

/** The table for the rows of diff.js, under the names of both sides. */
export function diffTable(rows, names) {
  const body = h("tbody", { role: "rowgroup" });
  const table = h(
    "table",
    { className: "diff", role: "table" },
    h("caption", { className: "visually-hidden" }, `${names.from} and ${names.to}, line by line`),
    h(
      "colgroup",
      null,
      ["number", "text", "number", "text"].map((className) => h("col", { className })),
    ),
    h(
      "thead",
      { role: "rowgroup" },
      h(
        "tr",
        { role: "row" },
        ["from", "to"].map((side) =>
          h("th", { scope: "col", colSpan: 2, role: "columnheader", className: side }, names[side]),
        ),
      ),
    ),
    body,
  );
  append(body, null, rows);
  return table;
}

// Adds rows before another one, in portions: thousands at once would make the page wait.
function append(body, next, rows) {
  const portion = rows.slice(0, ROWS_AT_ONCE);
  const rest = rows.slice(ROWS_AT_ONCE);
  for (const row of portion) body.insertBefore(rowElement(body, row), next);
  if (rest.length === 0) return;
  const more = buttonRow(`Show more (${rest.length} rows are left)`, () => replace(body, more, rest));
  body.insertBefore(more, next);
}

function rowElement(body, row) {
  if (row.kind !== "fold") return lineRow(row);
  const count = row.text.split("\n").length;
  const fold = buttonRow(`Show ${count} unchanged lines`, () => replace(body, fold, unfolded(row)));
  return fold;
}

// The focus would be lost with the button: the first of the rows gets it.
function replace(body, row, rows) {
  const { previousSibling, nextSibling } = row;
  row.remove();
  append(body, nextSibling, rows);
  const first = previousSibling === null ? body.firstChild : previousSibling.nextSibling;
  first.tabIndex = -1;
  first.focus({ preventScroll: true });
}

function buttonRow(label, act) {
  return h(
    "tr",
    { className: "fold", role: "row" },
    h("td", { colSpan: 4, role: "cell" }, button(label, act, { className: "quiet" })),
  );
}

function lineRow({ kind, from, to }) {
  return h("tr", { className: kind, role: "row" }, cells("from", from, kind), cells("to", to, kind));
}

function cells(side, content, kind) {
  if (content === undefined)
    return [
      h("td", { className: `${side} number none`, role: "cell" }),
      h("td", { className: `${side} text none`, role: "cell" }),
    ];
  const isChanged = kind !== "same";
  const [sign, said] = SIGNS[side];
  return [
    h("td", { className: `${side} number`, role: "cell" }, String(content.line)),
    h(
      "td",
      { className: `${side} text`, role: "cell" },
      isChanged ? h("span", { className: "sign", "aria-hidden": "true" }, sign) : null,
      isChanged ? h("span", { className: "visually-hidden" }, said) : null,
      content.parts.map(([text, isMarked]) =>
        isMarked ? h(side === "from" ? "del" : "ins", null, text) : text,
      ),
    ),
  ];
}

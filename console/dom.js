// What the views share: elements, screen readers, and how times and values are shown.

import { compactStart } from "./json.js";

/** Attributes without a property of the same name and meaning. */
const ATTRIBUTES = new Set(["role", "for", "autocapitalize", "autocorrect"]);

/** Creates an element. Properties that begin with `on` are listeners, those with a dash are attributes. Children may be null. */
export function h(name, properties, ...children) {
  const element = document.createElement(name);
  for (const [property, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null) continue;
    if (property.startsWith("on")) element.addEventListener(property.slice(2), value);
    else if (property.includes("-") || ATTRIBUTES.has(property)) element.setAttribute(property, value);
    else element[property] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** A button with a label. */
export function button(label, onclick, properties) {
  return h("button", { type: "button", onclick, ...properties }, label);
}

/** Sets where a link leads, or why it leads nowhere. Then it can still be focused, and says why. */
export function setLink(link, href, whyNot) {
  if (whyNot === undefined) link.href = href;
  else link.removeAttribute("href");
  if (whyNot === undefined) link.removeAttribute("tabindex");
  else link.tabIndex = 0;
  link.setAttribute("aria-disabled", String(whyNot !== undefined));
  link.setAttribute("aria-description", whyNot ?? "");
  link.title = whyNot ?? "";
}

const POLITE = document.getElementById("announcer");

/** Makes a screen reader say a sentence, after the current one. */
export function announce(sentence) {
  // A screen reader does not repeat a text that is unchanged.
  POLITE.textContent = POLITE.textContent === sentence ? `${sentence}\u00a0` : sentence;
}

const DATE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** A time element: how long ago it was, or the date; the exact time is the title. */
export function timeElement(iso) {
  const date = new Date(iso);
  return h("time", { dateTime: iso, title: DATE.format(date) }, ago(date));
}

/** " by Ann" as the children of an element; nothing if the writer of the entry is not known. */
export function byElements({ modifiedBy }) {
  // The name may have letters that run from right to left.
  return modifiedBy === undefined ? [] : [" by ", h("bdi", { title: modifiedBy }, modifiedBy)];
}

function ago(date) {
  const seconds = Math.round((date - Date.now()) / 1000);
  if (seconds > -10) return "just now";
  if (seconds > -60) return AGO.format(seconds, "second");
  if (seconds > -3600) return AGO.format(Math.ceil(seconds / 60), "minute");
  if (seconds > -86_400) return AGO.format(Math.ceil(seconds / 3600), "hour");
  if (seconds > -7 * 86_400) return AGO.format(Math.ceil(seconds / 86_400), "day");
  return DAY.format(date);
}

/** Updates the times on the page. */
export function refreshTimes() {
  for (const element of document.querySelectorAll("time")) {
    const words = ago(new Date(element.dateTime));
    if (element.textContent !== words) element.textContent = words;
  }
}

/** A value on one line, truncated. */
export function brief(tree, characters = 80) {
  if (tree === undefined) return "nothing";
  const text = compactStart(tree, characters + 1);
  return text.length > characters
    ? `${text.slice(0, characters - 1).replace(/[\ud800-\udbff]$/, "")}…`
    : text;
}

/** The words for a JSON Pointer. */
export function placeName(pointer) {
  return pointer === "" ? "the whole value" : pointer;
}

/** A list of changes: the place, the old value, the new value. */
export function changeList(changes) {
  const shown = changes
    .slice(0, 20)
    .map(({ pointer, from, to }) =>
      h(
        "li",
        null,
        h("code", { className: "pointer" }, placeName(pointer)),
        " ",
        from === undefined ? h("span", { className: "verb" }, "added") : h("del", null, brief(from, 48)),
        " ",
        to === undefined ? h("span", { className: "verb" }, "removed") : h("ins", null, brief(to, 48)),
      ),
    );
  if (changes.length > 20) shown.push(h("li", null, `and ${changes.length - 20} more`));
  return h("ul", { className: "changes" }, shown);
}

/** The elements in a place, by name. An element is created again only when its content has changed. */
export class Slots {
  constructor(place) {
    Object.assign(this, { place, shown: new Map() });
  }

  /** Shows slots of {name, signature, make}, in order. An element that is created again keeps the focus. */
  show(slots) {
    const names = new Set(slots.map((slot) => slot.name));
    for (const [name, { element }] of this.shown) {
      if (names.has(name)) continue;
      element.remove();
      this.shown.delete(name);
    }
    let before = null;
    for (const { name, signature, make } of slots) {
      let known = this.shown.get(name);
      if (known?.signature !== signature) {
        const element = make();
        const focused = known?.element.contains(document.activeElement)
          ? document.activeElement.textContent
          : undefined;
        if (known !== undefined) known.element.replaceWith(element);
        if (focused !== undefined)
          [...element.querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
        known = { signature, element };
        this.shown.set(name, known);
      }
      const next = before === null ? this.place.firstChild : before.nextSibling;
      if (next !== known.element) this.place.insertBefore(known.element, next);
      before = known.element;
    }
  }
}

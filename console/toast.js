// A notice in the header of the page, where it covers neither text nor buttons. It disappears by itself.

import { announce, button, h } from "./dom.js";

/** How long a notice is shown, unless the pointer or the focus is on it. */
const SHOWN_MILLIS = 12_000;

export class Toast {
  constructor(place) {
    Object.assign(this, { place, timer: 0 });
    for (const event of ["pointerenter", "focusin"])
      place.addEventListener(event, () => clearTimeout(this.timer));
    for (const event of ["pointerleave", "focusout"]) place.addEventListener(event, () => this.closeLater());
    // A notice stays while the tab is hidden, because nobody can read it.
    document.addEventListener("visibilitychange", () => this.closeLater());
  }

  get isShown() {
    return this.place.firstChild !== null;
  }

  /** Shows and announces a sentence, with a button that calls act(), if it has a label. */
  show(words, label, act) {
    const closeAndAct = () => {
      this.close();
      act();
    };
    const actions = [
      label === undefined ? null : button(label, closeAndAct),
      button("Dismiss", () => this.close(), { className: "quiet" }),
    ];
    this.place.replaceChildren(
      h(
        "div",
        { className: "toast-body" },
        h("span", { className: "toast-words", title: words }, words),
        actions,
      ),
    );
    announce(words);
    this.closeLater();
  }

  close() {
    clearTimeout(this.timer);
    this.place.replaceChildren();
  }

  closeLater() {
    clearTimeout(this.timer);
    if (document.visibilityState === "hidden") return;
    this.timer = setTimeout(() => {
      if (!this.place.matches(":hover, :focus-within")) this.close();
    }, SHOWN_MILLIS);
  }
}

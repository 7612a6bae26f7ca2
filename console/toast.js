// A notice in the head of the page, where it covers neither text nor buttons. It goes away by itself.

import { announce, button, h } from "./dom.js";

/** How long a notice stays, as long as nobody is at it. */
const STAY_MILLIS = 12_000;

export class Toast {
  constructor(place) {
    Object.assign(this, { place, timer: 0 });
    for (const event of ["pointerenter", "focusin"])
      place.addEventListener(event, () => clearTimeout(this.timer));
    for (const event of ["pointerleave", "focusout"]) place.addEventListener(event, () => this.leaveLater());
    // Nobody reads in a tab that is hidden.
    document.addEventListener("visibilitychange", () => this.leaveLater());
  }

  get isShown() {
    return this.place.firstChild !== null;
  }

  /** Says something, with one thing to do about it, if there is one. */
  offer(words, label, act) {
    const doIt = () => {
      this.close();
      act();
    };
    const actions = [
      label === undefined ? null : button(label, doIt),
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
    this.leaveLater();
  }

  close() {
    clearTimeout(this.timer);
    this.place.replaceChildren();
  }

  leaveLater() {
    clearTimeout(this.timer);
    if (document.visibilityState === "hidden") return;
    this.timer = setTimeout(() => {
      if (!this.place.matches(":hover, :focus-within")) this.close();
    }, STAY_MILLIS);
  }
}

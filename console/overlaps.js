// The places that both sides changed, and the choice for each.

import { compact, parseOrNothing, parseTyped } from "./json.js";
import { differences, mergeWith } from "./merge.js";

export class Conflict {
  /**
   * Overlaps of two trees made from base, where theirs is an entry. The choices, a Map by pointer of
   * {pick, text, sides, outdated}, may be from an earlier conflict: one is valid as long as both sides are unchanged.
   * Typed text is kept even if it is not, but must be confirmed again.
   */
  constructor({ base, mine, theirs, overlaps, choices }) {
    Object.assign(this, { base, mine, theirs, overlaps, choices, known: new Map() });
    for (const { pointer, ...values } of overlaps) {
      const sides = compact(
        [values.theirs, values.mine].map((value) => (value === undefined ? [] : [value])),
      );
      const choice = choices.get(pointer);
      if (choice?.sides === sides) continue;
      const isTyped = choice?.pick === "edit";
      choices.set(pointer, { pick: isTyped ? "edit" : null, text: choice?.text, sides, outdated: isTyped });
    }
    /** Their other changes, which are merged automatically. */
    this.others = differences(
      mine,
      this.mergedAs((overlap) => overlap.mine),
    );
  }

  /** Resolves an overlap: "theirs", "mine" or "edit" with a text. */
  choose(pointer, pick, text) {
    const choice = this.choices.get(pointer);
    this.choices.set(pointer, { ...choice, pick, text: text ?? choice.text, outdated: false });
  }

  /** The overlaps that are still open. */
  get undecided() {
    return this.overlaps.filter((overlap) => {
      const { pick, text, outdated } = this.choices.get(overlap.pointer);
      return pick === null || outdated || (pick === "edit" && !this.isJson(overlap.pointer, text ?? ""));
    });
  }

  // Called at each keystroke anywhere in the conflict, so each text is parsed only once.
  isJson(pointer, text) {
    if (this.known.get(pointer)?.text !== text)
      this.known.set(pointer, { text, isJson: parseOrNothing(text) !== undefined });
    return this.known.get(pointer).isJson;
  }

  /** The merged tree, if every choice was made. */
  get merged() {
    return this.mergedAs((overlap) => {
      const { pick, text } = this.choices.get(overlap.pointer);
      return pick === "edit" ? parseTyped(text) : overlap[pick];
    });
  }

  mergedAs(choose) {
    return mergeWith(this.base, this.mine, this.theirs.tree, choose);
  }
}

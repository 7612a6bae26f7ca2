// The places that both sides changed, and what is chosen for each.

import { compact, parseOrNothing, parseTyped } from "./json.js";
import { differences, mergeWith } from "./merge.js";

export class Conflict {
  /**
   * Overlaps of two trees made from base, where theirs is an entry. The choices, a Map by pointer of
   * {pick, text, sides, outdated}, may be left from before: one stands as long as both of its sides do.
   * What was typed stands anyway, but is to be looked at again.
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
    /** What they changed besides, which merges by itself. */
    this.others = differences(
      mine,
      this.mergedAs((overlap) => overlap.mine),
    );
  }

  /** Sets what becomes of an overlap: "theirs", "mine" or "edit" with a text. */
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

  // Asked at each key anywhere in the conflict, so it is found out once a text.
  isJson(pointer, text) {
    if (this.known.get(pointer)?.text !== text)
      this.known.set(pointer, { text, isJson: parseOrNothing(text) !== undefined });
    return this.known.get(pointer).isJson;
  }

  /** What comes of the choices, if all are made. */
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

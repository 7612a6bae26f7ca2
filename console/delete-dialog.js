// Asks before an entry is deleted, and can undo that.

import { hashOf } from "./address.js";
import { put } from "./api.js";
import { formatted } from "./json.js";

const byId = (id) => document.getElementById(id);

export class DeleteDialog {
  /**
   * Calls on.deleted(session) when an entry was deleted, on.kept() when a draft was stored, and
   * on.notice(sentence, label, act) to show a notice.
   */
  constructor(drafts, on) {
    Object.assign(this, { drafts, on });
  }

  /** Asks whether to delete the entry of a session. */
  ask(session) {
    const dialog = byId("delete-dialog");
    // Only the version that is shown now is deleted, not one that arrives while the dialog is open.
    const { etag } = session.state.base;
    byId("delete-key").textContent = session.state.key;
    byId("delete-note").textContent = session.edited
      ? "What you typed is kept as a draft in this browser."
      : "Others may be looking at it.";
    byId("delete-confirm").onclick = async () => {
      dialog.close();
      const gone = await session.remove(etag);
      if (gone === undefined) return;
      this.on.deleted(session);
      this.on.notice(`${gone.key} was deleted.`, "Undo", () => this.#restore(gone));
    };
    byId("delete-cancel").onclick = () => dialog.close();
    dialog.showModal();
  }

  async #restore(gone) {
    const from = location.hash;
    try {
      await put(gone.key, gone.tree, null);
      // The user may have opened something else meanwhile.
      if (location.hash === from) location.hash = hashOf(gone.key);
    } catch (error) {
      this.#keep(gone);
      this.on.notice(
        `${gone.key} could not be restored: ${error.message} Its value is kept as a draft.`,
        "Open",
        () => {
          location.hash = hashOf(gone.key);
        },
      );
    }
  }

  // When the notice disappears, the value would be lost.
  #keep(gone) {
    this.drafts.keep({
      key: gone.key,
      etag: null,
      version: null,
      base: null,
      text: formatted(gone.tree),
      typedKey: "",
      conflict: false,
      choices: [],
    });
    this.on.kept();
  }
}

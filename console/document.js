// The pane of the open entry: its head, what there is to say about it, and the editor or the conflict.

import { ConflictView } from "./conflict.js";
import { brief, button, changeList, h, Slots, timeElement } from "./dom.js";
import { Editor, LARGE_CHARACTERS } from "./editor.js";
import { formatted, parseOrNothing, prettyWithPlaces, problemOf } from "./json.js";

/** What stands where a large text is said to be JSON or not, until that is known. */
const LARGE = "A large text: it is checked when you pause.";
/** How long it is said that something was saved. */
const SAVED_MILLIS = 10_000;

export class DocumentView {
  /** Shows a session; on.close(), on.remove(), on.openBeside(key) and on.discarded(draft, sentence) are the page's. */
  constructor(session, on) {
    Object.assign(this, { session, on });
    this.heading = h("h2", { className: "key", tabIndex: -1 });
    this.keyField = h("input", {
      id: "new-key",
      className: "key-field",
      type: "text",
      autocomplete: "off",
      spellcheck: false,
      placeholder: "doc/plan",
      autocapitalize: "off",
      "aria-describedby": "key-problem",
      oninput: () => session.name(this.keyField.value),
    });
    this.keyProblem = h("p", { id: "key-problem", className: "field-problem" });
    this.keyRow = h(
      "div",
      { className: "key-row" },
      h("label", { for: "new-key" }, "Key"),
      this.keyField,
      this.keyProblem,
    );
    this.meta = h("div", { className: "meta" });
    this.saveButton = button("Save", () => this.save(), {
      className: "primary",
      title: "Ctrl+S",
      "aria-keyshortcuts": "Control+S Meta+S",
    });
    this.discardButton = button("Discard", () => this.discard());
    this.formatButton = button("Format", () => this.format(), {
      title: "Write the JSON over lines, indented by two",
    });
    this.deleteButton = button("Delete…", () => on.remove(), { className: "danger" });
    const actions = h(
      "div",
      { className: "actions", role: "group", "aria-label": "Entry" },
      this.deleteButton,
      this.formatButton,
      this.discardButton,
      this.saveButton,
    );
    const back = h("a", { className: "back", href: "#/" }, "All entries");
    const bannerPlace = h("div", { className: "banners" });
    this.banners = new Slots(bannerPlace);
    this.editor = new Editor({
      label: "Value, as JSON",
      oninput: (text) => session.edit(text),
      oninputlater: (read) => session.editLater(read),
    });
    this.body = h("div", { className: "doc-body" });
    this.head = h(
      "header",
      { className: "doc-head" },
      back,
      h(
        "div",
        { className: "doc-title" },
        h("div", { className: "doc-name" }, this.heading, this.keyRow, this.meta),
        actions,
      ),
    );
    this.element = h("article", { className: "doc" }, this.head, bannerPlace, this.body);
  }

  /** Shows the session as it is now. */
  render() {
    const { session } = this;
    const isNew = session.key === null;
    this.heading.textContent = isNew ? "New entry" : session.key;
    this.heading.classList.toggle("is-title", isNew);
    this.keyRow.hidden = !isNew;
    if (this.keyField.value !== session.typedKey) this.keyField.value = session.typedKey;
    const keyProblem = session.problem?.kind === "key" ? session.problem.message : "";
    this.keyProblem.textContent = keyProblem;
    this.keyField.setAttribute("aria-invalid", String(keyProblem !== ""));
    this.renderMeta();
    this.banners.show(this.slots());
    this.renderBody();
    this.renderActions();
  }

  renderMeta() {
    const { session } = this;
    const { base } = session;
    const signature = `${session.state} ${base?.etag} ${session.edited} ${session.sending} ${session.deleted}`;
    if (signature === this.metaShown) return;
    this.metaShown = signature;
    const parts = [];
    if (session.state === "open" && base !== null) {
      parts.push(
        h("span", { className: "chip version" }, `version ${base.version}`),
        h(
          "span",
          { className: "etag", title: "Entity tag: what If-Match names" },
          h("span", { className: "visually-hidden" }, "entity tag "),
          base.etag,
        ),
        h("span", { className: "when" }, "saved ", timeElement(base.modifiedAt)),
      );
    } else if (session.state === "open") {
      parts.push(h("span", { className: "chip" }, "not saved yet"));
    }
    if (session.state === "open" && session.edited && base !== null)
      parts.push(h("span", { className: "chip edited" }, "edited"));
    this.meta.replaceChildren(...parts);
  }

  renderActions() {
    const { session } = this;
    const isOpen = session.state === "open" && session.conflict === null;
    for (const one of [this.saveButton, this.formatButton]) one.hidden = !isOpen;
    this.discardButton.hidden = session.state !== "open" || !session.edited;
    this.deleteButton.hidden = !isOpen || session.base === null || session.deleted;
    this.saveButton.hidden = !isOpen || session.deleted;
    this.saveButton.textContent = session.sending ? "Saving…" : session.base === null ? "Create" : "Save";
    this.saveButton.setAttribute("aria-disabled", String(session.sending || !session.edited));
    this.deleteButton.disabled = session.sending;
    this.discardButton.disabled = session.sending;
  }

  renderBody() {
    const { session } = this;
    let content;
    if (session.state === "loading") {
      content = h("p", { className: "placeholder", role: "status" }, "Loading…");
    } else if (session.state === "failed") {
      content = h(
        "div",
        { className: "placeholder" },
        h("p", null, session.problem?.message ?? "It could not be read."),
        button("Try again", () => session.open(), { className: "primary" }),
      );
    } else if (session.state === "missing") {
      content = h(
        "div",
        { className: "placeholder" },
        h("p", null, "There is no entry under this key."),
        button("Create it", () => this.create(), { className: "primary" }),
      );
    } else if (session.conflict !== null) {
      content = this.conflictElement();
    } else {
      content = this.editor.element;
      this.renderEditor();
    }
    const signature = `${session.state} ${session.problem?.message} ${session.conflict !== null}`;
    if (content === this.body.firstChild || (session.state !== "open" && signature === this.bodyShown))
      return;
    this.bodyShown = signature;
    this.body.replaceChildren(content);
    this.editor.follow();
    this.focusNext?.();
    this.focusNext = undefined;
  }

  conflictElement() {
    const { session } = this;
    const earlier = this.conflictView;
    if (earlier?.conflict !== session.conflict) {
      this.conflictView = new ConflictView(session, () => this.finishConflict());
      if (earlier?.element.contains(document.activeElement))
        this.focusNext = this.conflictView.takeFocus(earlier);
    }
    this.conflictView.render();
    return this.conflictView.element;
  }

  renderEditor() {
    const { session, editor } = this;
    if (session.hasMore) {
      editor.showProblem(undefined, LARGE);
      return;
    }
    editor.show(session.text);
    const { syntax } = session;
    const verdict = syntax === undefined ? LARGE : session.text === "" ? "Type a JSON value." : "Valid JSON.";
    editor.showProblem(syntax, `${verdict} Ctrl+S saves, Tab leaves the field.`);
    if (session.arrived !== this.highlighted) {
      this.highlighted = session.arrived;
      editor.highlight(session.arrived === null ? [] : placesOf(session));
    }
  }

  async finishConflict() {
    if (this.session.settle()) {
      this.editor.area.focus();
      await this.session.save();
    }
  }

  create() {
    this.session.create();
    this.editor.area.focus();
  }

  save() {
    return this.session.save();
  }

  discard() {
    // What is on its way cannot be called back.
    if (this.session.sending) return;
    const draft = this.session.discard();
    this.on.discarded(draft, `Your changes to ${this.session.key ?? "the new entry"} were discarded.`);
    this.focus();
  }

  format() {
    const tree = parseOrNothing(this.session.text);
    if (tree === undefined) {
      this.editor.showProblem(problemOf(this.session.text));
      this.editor.goToProblem();
      return;
    }
    const text = formatted(tree);
    this.editor.area.focus();
    if (text !== this.session.text) this.editor.replace(text);
  }

  /** Hands on what was typed and waits for a pause. */
  flush() {
    this.editor.flush();
    this.conflictView?.flush();
  }

  /** Puts the focus where it is wanted: "key", "syntax", "conflict", "banner", or the heading. */
  focus(what) {
    this.render();
    if (what === "key") this.keyField.focus();
    else if (what === "syntax") this.editor.goToProblem();
    else if (what === "conflict") this.conflictView?.focus();
    else if (what === "banner") this.element.querySelector(".banner button")?.focus();
    else if (this.session.key === null) this.keyField.focus();
    else this.heading.focus();
  }

  slots() {
    const { session } = this;
    if (session.state !== "open") return [];
    const news = [this.problemSlot(), this.deletedSlot(), this.staleSlot()].filter((slot) => slot !== null);
    // What was true before says nothing beside what is true now.
    const before = [
      session.deleted ? null : this.restoredSlot(),
      ...this.otherSlots(),
      news.length > 0 ? null : this.arrivedSlot(),
    ];
    return [...news, ...before.filter((slot) => slot !== null)];
  }

  problemSlot() {
    const { session } = this;
    const { problem } = session;
    if (problem === null || problem.kind === "key") return null;
    if (problem.kind === "exists") return this.existsSlot(problem);
    const retry =
      problem.kind !== "syntax" && !problem.noRetry && session.conflict === null && !session.deleted;
    return banner("problem", problem.kind === "back" ? "info" : "bad", problem.message, {
      details: problem.kind === "network" ? this.whereKept() : undefined,
      actions: retry ? [[problem.kind === "back" ? "Save now" : "Try again", () => this.save()]] : [],
    });
  }

  whereKept() {
    if (this.session.drafts.failed.size > 0)
      return "Keep this page open: your text is nowhere else. It can be saved when the server is there again.";
    return "Your text is kept in this browser. It can be saved when the server is there again.";
  }

  existsSlot({ key, entry, message }) {
    const open = ["Open it", () => this.on.openBeside(key)];
    return banner("problem", "warn", message, {
      signature: entry?.etag,
      details: entry === null ? undefined : `It is ${brief(entry.tree)}. Your text is kept either way.`,
      actions: [...(entry === null ? [] : [open]), ["Choose another key", () => this.renameKey()]],
    });
  }

  renameKey() {
    this.keyField.focus();
    this.keyField.select();
  }

  deletedSlot() {
    const { session } = this;
    if (!session.deleted) return null;
    const actions = [["Create it again with this text", () => session.recreate()]];
    actions.push(
      session.edited ? ["Discard my text", () => this.discard()] : ["Close", () => this.on.close()],
    );
    return banner("deleted", "warn", `Deleted by someone else (it was version ${session.base.version}).`, {
      details: session.edited ? "Your text is kept." : undefined,
      actions,
    });
  }

  staleSlot() {
    const { session } = this;
    if (!session.stale || session.conflict !== null) return null;
    const { base, current } = session;
    const title =
      base === null
        ? "Created by someone else meanwhile."
        : `Changed by someone else, now version ${current.version}.`;
    return banner("stale", "warn", title, {
      signature: current.etag,
      details:
        base === null
          ? `It is ${brief(current.tree)}.`
          : `Your text was made from version ${base.version}. Saving merges both.`,
      actions: [["Merge now", () => this.mergeNow()]],
    });
  }

  mergeNow() {
    this.session.mergeNow();
    if (this.session.conflict === null) this.editor.area.focus();
  }

  restoredSlot() {
    const { session } = this;
    if (session.restored === null || session.conflict !== null) return null;
    const from = session.restored.version === null ? "" : `, made from version ${session.restored.version}`;
    return banner("restored", "info", `Your unsaved text was restored${from}.`, {
      signature: session.restored.at,
      when: session.restored.at,
      actions: [
        ["Discard it", () => this.discard()],
        ["OK", () => this.dismiss("restored")],
      ],
    });
  }

  otherSlots() {
    const { session } = this;
    return session.others.map((draft) =>
      banner(
        `other ${draft.name}`,
        "info",
        draft.owner === "open"
          ? "Another tab has unsaved text for this entry."
          : "There is other unsaved text for this entry.",
        {
          details: draft.text.replace(/\s+/g, " ").slice(0, 80),
          when: draft.at,
          actions: [
            ["Show it here", () => session.takeOther(draft.name)],
            draft.owner === "open"
              ? ["Leave it", () => this.leaveOther(draft)]
              : ["Discard it", () => this.dropOther(draft)],
          ],
        },
      ),
    );
  }

  leaveOther(draft) {
    this.session.others = this.session.others.filter((one) => one !== draft);
    this.session.on.changed();
  }

  dropOther(draft) {
    this.session.dropOther(draft.name);
    this.on.discarded(draft, "That text was discarded.");
  }

  arrivedSlot() {
    const { session } = this;
    const { arrived } = session;
    if (arrived === null || session.conflict !== null) return null;
    const changes = arrived.changes;
    if (arrived.saved && changes.length === 0) this.forgetSoon(arrived);
    return banner("arrived", arrived.saved ? "good" : "info", `${arrived.title}.`, {
      signature: JSON.stringify(
        changes.map((change) => [change.pointer, brief(change.from), brief(change.to)]),
      ),
      more: changes.length > 0 ? () => changeList(changes) : undefined,
      actions: [["OK", () => this.dismiss("arrived")]],
    });
  }

  forgetSoon(arrived) {
    if (this.forgetting === arrived) return;
    this.forgetting = arrived;
    const forget = () => {
      if (this.session.arrived !== arrived) return;
      if (this.element.querySelector(".banners:hover, .banners:focus-within") === null) {
        this.session.arrived = null;
        this.session.on.changed();
      } else {
        setTimeout(forget, SAVED_MILLIS);
      }
    };
    setTimeout(forget, SAVED_MILLIS);
  }

  dismiss(what) {
    this.session[what] = null;
    this.session.on.changed();
    this.editor.area.focus();
  }
}

// The lines of the members that came in; of one that went, the lines of nothing.
function placesOf(session) {
  if (session.text.length > LARGE_CHARACTERS) return [];
  const tree = parseOrNothing(session.text);
  if (tree === undefined) return [];
  const { text, places } = prettyWithPlaces(tree);
  if (text !== session.text) return [];
  return session.arrived.changes
    .map((change) => places.get(change.pointer))
    .filter((place) => place !== undefined);
}

function banner(name, tone, title, { signature, details, when, more, actions }) {
  return {
    name,
    signature: [tone, title, signature, details, when, actions.map(([label]) => label)].join("\n"),
    make: () =>
      h(
        "section",
        { className: `banner ${tone}`, "aria-label": title },
        h(
          "div",
          { className: "banner-words" },
          h(
            "p",
            { className: "banner-title" },
            title,
            ...(when === undefined ? [] : [" ", timeElement(when)]),
          ),
          details === undefined ? null : h("p", null, details),
          more?.() ?? null,
        ),
        h(
          "div",
          { className: "banner-actions" },
          actions.map(([label, act]) => button(label, act)),
        ),
      ),
  };
}

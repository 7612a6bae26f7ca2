// The pane of the open entry: its head, the notices, and the editor or the conflict.

import { historyHashOf } from "./address.js";
import { warningAboutKey } from "./api.js";
import { ConflictView } from "./conflict.js";
import { brief, button, byElements, changeList, h, Slots, setLink, timeElement } from "./dom.js";
import { Editor, LARGE_CHARACTERS } from "./editor.js";
import { formatted, parseOrNothing, prettyWithPlaces, problemOf } from "./json.js";
import { whoChanged } from "./state.js";

/** The note while a large text is being checked. */
const LARGE = "A large text: it is checked when you pause.";
/** How long the notice that something was saved is shown. */
const SAVED_MILLIS = 10_000;

export class DocumentView {
  /** Shows a session. Calls on.close(), on.remove(), on.openBeside(key) and on.discarded(draft, sentence). */
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
      title: "Format the JSON on several lines, indented by two spaces",
    });
    this.deleteButton = button("Delete…", () => this.remove(), { className: "danger" });
    this.historyLink = h("a", { className: "button" }, "History");
    const actions = h(
      "div",
      { className: "actions", role: "group", "aria-label": "Entry" },
      this.historyLink,
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
    const { key, typedKey, problem } = session.state;
    const isNew = key === null;
    this.heading.textContent = isNew ? "New entry" : key;
    this.heading.classList.toggle("is-title", isNew);
    this.keyRow.hidden = !isNew;
    if (this.keyField.value !== typedKey) this.keyField.value = typedKey;
    const keyProblem = problem?.kind === "key" ? problem.message : "";
    const isToBeNamed = isNew && typedKey !== "";
    const notGranted = isToBeNamed ? session.on.whyNot("create", typedKey) : undefined;
    this.keyProblem.textContent = keyProblem || (notGranted ?? warningAboutKey(typedKey) ?? "");
    this.keyProblem.classList.toggle("is-warning", keyProblem === "");
    this.keyField.setAttribute("aria-invalid", String(keyProblem !== ""));
    this.renderMeta();
    this.banners.show(this.slots());
    this.renderBody();
    this.renderActions();
  }

  renderMeta() {
    const { session } = this;
    const { phase, base } = session.state;
    const signature = `${phase} ${base?.etag} ${session.edited} ${session.sending} ${session.deleted}`;
    if (signature === this.metaShown) return;
    this.metaShown = signature;
    const parts = [];
    if (phase === "open" && base !== null) {
      parts.push(
        h("span", { className: "chip version" }, `version ${base.version}`),
        h(
          "span",
          { className: "etag", title: "Entity tag: what If-Match names" },
          h("span", { className: "visually-hidden" }, "entity tag "),
          base.etag,
        ),
        h("span", { className: "when" }, "saved ", timeElement(base.modifiedAt), ...byElements(base)),
      );
    } else if (phase === "open") {
      parts.push(h("span", { className: "chip" }, "not saved yet"));
    }
    if (phase === "open" && session.edited && base !== null)
      parts.push(h("span", { className: "chip edited" }, "edited"));
    this.meta.replaceChildren(...parts);
  }

  renderActions() {
    const { session } = this;
    const { phase, base, conflict } = session.state;
    const isOpen = phase === "open" && conflict === null;
    this.formatButton.hidden = !isOpen || session.whyNotSaved !== undefined;
    this.discardButton.hidden = phase !== "open" || !session.edited;
    this.deleteButton.hidden = !isOpen || base === null || session.deleted;
    this.saveButton.hidden = !isOpen || session.deleted;
    this.saveButton.textContent = session.sending ? "Saving…" : base === null ? "Create" : "Save";
    const whyNotSaved = base === null && session.state.key === null ? undefined : session.whyNotSaved;
    this.renderHistoryLink();
    const isIdle = session.sending || !session.edited;
    setGranted(this.saveButton, whyNotSaved, isIdle, "Ctrl+S");
    setGranted(this.deleteButton, this.whyNotDeleted(), false, "");
    this.deleteButton.disabled = session.sending;
    this.discardButton.disabled = session.sending;
  }

  renderHistoryLink() {
    const { key } = this.session.state;
    this.historyLink.hidden = key === null;
    if (key === null) return;
    setLink(this.historyLink, historyHashOf(key), this.session.on.whyNot("read", key));
  }

  whyNotDeleted() {
    const { key } = this.session.state;
    return key === null ? undefined : this.session.on.whyNot("delete", key);
  }

  remove() {
    if (this.whyNotDeleted() === undefined) this.on.remove();
  }

  renderBody() {
    const { session } = this;
    const { phase, problem, conflict } = session.state;
    const whyNotCreated = phase === "missing" ? session.on.whyNot("create", session.state.key) : undefined;
    let content;
    if (phase === "loading") {
      content = h("p", { className: "placeholder", role: "status" }, "Loading…");
    } else if (phase === "failed") {
      content = h(
        "div",
        { className: "placeholder" },
        h("p", null, problem?.message ?? "It could not be read."),
        button("Try again", () => session.open(), { className: "primary" }),
      );
    } else if (phase === "missing") {
      content = h(
        "div",
        { className: "placeholder" },
        h("p", null, "There is no entry under this key."),
        whyNotCreated === undefined
          ? button("Create it", () => this.create(), { className: "primary" })
          : h("p", null, whyNotCreated),
      );
    } else if (conflict !== null) {
      content = this.conflictElement();
    } else {
      content = this.editor.element;
      this.renderEditor();
    }
    const signature = `${phase} ${problem?.message} ${conflict !== null} ${whyNotCreated}`;
    if (content === this.body.firstChild || (phase !== "open" && signature === this.bodyShown)) return;
    this.bodyShown = signature;
    this.body.replaceChildren(content);
    this.editor.syncScroll();
    this.focusNext?.();
    this.focusNext = undefined;
  }

  conflictElement() {
    const { session } = this;
    const earlier = this.conflictView;
    if (earlier?.conflict !== session.state.conflict) {
      this.conflictView = new ConflictView(session, () => this.finishConflict());
      if (earlier?.element.contains(document.activeElement))
        this.focusNext = this.conflictView.takeFocus(earlier);
    }
    this.conflictView.render();
    return this.conflictView.element;
  }

  renderEditor() {
    const { session, editor } = this;
    const whyNotSaved = session.state.key === null ? undefined : session.whyNotSaved;
    editor.setReadOnly(whyNotSaved !== undefined && !session.deleted);
    if (session.hasUnreadText) {
      editor.showProblem(undefined, LARGE);
      return;
    }
    editor.show(session.text);
    const { syntax } = session;
    const status = syntax === undefined ? LARGE : session.text === "" ? "Type a JSON value." : "Valid JSON.";
    editor.showProblem(syntax, whyNotSaved ?? `${status} Ctrl+S saves, Tab leaves the field.`);
    if (session.state.arrived !== this.highlighted) {
      this.highlighted = session.state.arrived;
      editor.highlight(session.state.arrived === null ? [] : placesOf(session));
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
    // A request that was sent cannot be cancelled.
    if (this.session.sending) return;
    const draft = this.session.discard();
    this.on.discarded(draft, `Your changes to ${this.session.state.key ?? "the new entry"} were discarded.`);
    this.focus();
  }

  format() {
    if (this.editor.area.readOnly) return;
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

  /** Passes on what was typed, without waiting for a pause. */
  flush() {
    this.editor.flush();
    this.conflictView?.flush();
  }

  /** Sets the focus: "key", "syntax", "conflict", "banner", or the heading. */
  focus(what) {
    this.render();
    if (what === "key") this.keyField.focus();
    else if (what === "syntax") this.editor.goToProblem();
    else if (what === "conflict") this.conflictView?.focus();
    else if (what === "banner") this.element.querySelector(".banner button")?.focus();
    else if (this.session.state.key === null) this.keyField.focus();
    else this.heading.focus();
  }

  slots() {
    const { session } = this;
    if (session.state.phase !== "open") return [];
    const news = [this.problemSlot(), this.deletedSlot(), this.staleSlot()].filter((slot) => slot !== null);
    // A notice about something earlier could be mistaken for one about the current entry.
    const before = [
      session.deleted ? null : this.restoredSlot(),
      ...this.otherSlots(),
      news.length > 0 ? null : this.arrivedSlot(),
    ];
    return [...news, ...before.filter((slot) => slot !== null)];
  }

  problemSlot() {
    const { session } = this;
    const { problem, conflict } = session.state;
    if (problem === null || problem.kind === "key") return null;
    if (problem.kind === "exists") return this.existsSlot(problem);
    const retry =
      !["syntax", "ended"].includes(problem.kind) &&
      !problem.noRetry &&
      conflict === null &&
      !session.deleted;
    return banner("problem", problem.kind === "back" ? "info" : "bad", problem.message, {
      details: ["network", "foreign", "ended"].includes(problem.kind) ? this.whereKept(problem) : undefined,
      actions: retry ? [[problem.kind === "back" ? "Save now" : "Try again", () => this.save()]] : [],
    });
  }

  whereKept({ kind }) {
    const when = kind === "ended" ? "when you are signed in again" : "when the server can be reached again";
    if (this.session.keeper.drafts.failed.size > 0)
      return `Keep this page open: your text is nowhere else. It can be saved ${when}.`;
    return `Your text is kept in this browser. It can be saved ${when}.`;
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
    const mayCreate = session.on.whyNot("create", session.state.key) === undefined;
    const actions = mayCreate ? [["Create it again with this text", () => session.recreate()]] : [];
    actions.push(
      session.edited ? ["Discard my text", () => this.discard()] : ["Close", () => this.on.close()],
    );
    const { base, deletedBy } = session.state;
    const who = deletedBy === undefined ? "Deleted by someone else" : `${deletedBy} deleted it`;
    return banner("deleted", "warn", `${who} (it was version ${base.version}).`, {
      details: session.edited ? "Your text is kept." : undefined,
      actions,
    });
  }

  staleSlot() {
    const { session } = this;
    const { base, current, conflict } = session.state;
    if (!session.stale || conflict !== null) return null;
    const isNamed = current.modifiedBy !== undefined;
    const title = base === null && !isNamed ? "Created by someone else meanwhile" : whoChanged(current);
    return banner("stale", "warn", isNamed ? `${title},` : `${title}.`, {
      signature: current.etag,
      when: isNamed ? current.modifiedAt : undefined,
      details:
        base === null
          ? `It is ${brief(current.tree)}.`
          : `Your text is based on version ${base.version}. Saving merges both.`,
      actions: [["Merge now", () => this.mergeNow()]],
    });
  }

  mergeNow() {
    this.session.mergeNow();
    if (this.session.state.conflict === null) this.editor.area.focus();
  }

  restoredSlot() {
    const { session } = this;
    const { restored, conflict } = session.state;
    if (restored === null || conflict !== null) return null;
    const from = restored.version === null ? "" : `, based on version ${restored.version}`;
    return banner("restored", "info", `Your unsaved text was restored${from}.`, {
      signature: restored.at,
      when: restored.at,
      actions: [
        ["Discard it", () => this.discard()],
        ["OK", () => this.dismiss("restored")],
      ],
    });
  }

  otherSlots() {
    const { session } = this;
    return session.keeper.others.map((draft) =>
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
              ? ["Leave it", () => session.leaveOther(draft.name)]
              : ["Discard it", () => this.dropOther(draft)],
          ],
        },
      ),
    );
  }

  dropOther(draft) {
    this.session.dropOther(draft.name);
    this.on.discarded(draft, "That text was discarded.");
  }

  arrivedSlot() {
    const { session } = this;
    const { arrived, conflict } = session.state;
    if (arrived === null || conflict !== null) return null;
    const changes = arrived.changes;
    if (arrived.saved && changes.length === 0) this.dismissLater(arrived);
    return banner("arrived", arrived.saved ? "good" : "info", `${arrived.title}.`, {
      signature: JSON.stringify(
        changes.map((change) => [change.pointer, brief(change.from), brief(change.to)]),
      ),
      more: changes.length > 0 ? () => changeList(changes) : undefined,
      actions: [["OK", () => this.dismiss("arrived")]],
    });
  }

  dismissLater(arrived) {
    if (this.dismissing === arrived) return;
    this.dismissing = arrived;
    const dismiss = () => {
      if (this.session.state.arrived !== arrived) return;
      if (this.element.querySelector(".banners:hover, .banners:focus-within") === null) {
        this.session.dismiss("arrived");
      } else {
        setTimeout(dismiss, SAVED_MILLIS);
      }
    };
    setTimeout(dismiss, SAVED_MILLIS);
  }

  dismiss(what) {
    this.session.dismiss(what);
    this.editor.area.focus();
  }
}

// A button that is only marked as disabled can still be focused, and says why.
function setGranted(element, whyNot, isIdle, title) {
  element.setAttribute("aria-disabled", String(isIdle || whyNot !== undefined));
  element.setAttribute("aria-description", whyNot ?? "");
  element.title = whyNot ?? title;
}

// The lines of the members that others changed. A removed member has none.
function placesOf(session) {
  if (session.text.length > LARGE_CHARACTERS) return [];
  const tree = parseOrNothing(session.text);
  if (tree === undefined) return [];
  const { text, places } = prettyWithPlaces(tree);
  if (text !== session.text) return [];
  return session.state.arrived.changes
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

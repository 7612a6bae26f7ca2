// The page as a whole: the open entry, the connection, the keyboard.

import { Account } from "./account.js";
import { DELETED, hashOf, targetOf } from "./address.js";
import { Refused, Unreachable, whenDenied, whyInvalidKey } from "./api.js";
import { DeleteDialog } from "./delete-dialog.js";
import { DeletedView } from "./deleted.js";
import { DocumentView } from "./document.js";
import { announce, h, refreshTimes, setLink } from "./dom.js";
import { Drafts } from "./drafts.js";
import { mayReadSome } from "./grants.js";
import { HistoryView } from "./history.js";
import { ListView } from "./list.js";
import { urlOf } from "./place.js";
import { Session } from "./session.js";
import { SignIn } from "./sign-in.js";
import { whoSaved } from "./state.js";
import { Toast } from "./toast.js";
import { Watch } from "./watch.js";

const byId = (id) => document.getElementById(id);
const page = document.body;
const STATUS = {
  connecting: "Connecting",
  connected: "Live",
  reconnecting: "Reconnecting",
  offline: "Offline",
  ended: "Not live",
};

const toast = new Toast(byId("toast"));

let session = null;
let view = null;
// The page of the past that is shown instead of an entry.
let past = null;
// Sessions that were left while a request was under way. They are shown again when the user comes back: a second
// session for the same entry would not know the outcome of the request.
const leaving = new Set();

const drafts = new Drafts((inTrouble) => {
  byId("storage-warning").hidden = !inTrouble;
});

const account = new Account({
  changed() {
    signIn.render();
    renderGranted();
  },
  asked() {
    isAsked = true;
    const note = account.takeNote();
    const kept = note?.hasText ? " What you typed is kept in this browser until you sign in again." : "";
    signIn.ask(note?.kind === "out" ? `You have signed out.${kept}` : signIn.why());
    list.wait("Sign in to see the entries.");
  },
  ended() {
    watch.setCaller(undefined);
    session?.ended();
    signIn.ask(whyAgain());
  },
  resumed() {
    watch.setCaller(account.name);
    announce("Signed in again.");
    if (list.state === "failed") list.load();
    session?.back();
    past?.refresh();
  },
  granted() {
    list.load();
    refreshSession();
  },
  async leaving(isOut) {
    if (isOut) watch.setCaller(undefined);
    view?.flush();
    session?.keeper.keepNow();
    await drafts.settled();
    return { hasText: session?.edited === true, isKept: drafts.failed.size === 0 };
  },
});
const signIn = new SignIn(account, { failed: (sentence) => toast.show(sentence) });
// Who has lost a right, or the session, learns it from a request that is refused.
whenDenied(async (status) => {
  const wasEnded = account.hasEnded;
  await account.check();
  // Who has closed the dialog is asked again when they want something.
  if (status === 401 && wasEnded && account.hasEnded) signIn.ask(whyAgain());
});

/** Why someone whose session has ended must sign in, and as whom. */
function whyAgain() {
  const { name } = account;
  if (name === null) return signIn.why();
  return session?.edited
    ? `Your session has ended. What you typed is kept: sign in as ${name} to go on with it.`
    : `Your session has ended. Sign in as ${name} to go on.`;
}

/** Shows what is not granted. */
function renderGranted() {
  const why = account.whyNot("create");
  const link = byId("new");
  link.setAttribute("aria-disabled", String(why !== undefined));
  link.setAttribute("aria-description", why ?? "");
  link.title = why ?? "";
  byId("connection").hidden = !mayReadSome(account.grants, "");
  list.allow({ create: why === undefined });
  setLink(byId("deleted"), DELETED, account.whyNot("read"));
  view?.render();
  past?.render();
}

const watch = new Watch({
  event(kind, entry) {
    list.event(kind, entry);
    session?.event(kind, entry);
    past?.event(kind, entry);
  },
  reset() {
    list.load();
    refreshSession();
  },
  joined() {
    // The entry may have been read before.
    refreshSession();
  },
  back() {
    if (account.isShown || account.caller.isGuess) account.check();
    if (list.state === "failed") list.load();
    session?.back();
  },
  status(status) {
    const element = byId("connection");
    if (element.dataset.status === status) return;
    if (status === "ended") whenEnded();
    if (status === "reconnecting" || status === "offline") session?.lost();
    const before = element.dataset.status;
    element.dataset.status = status;
    byId("connection-words").textContent = STATUS[status];
    if (!["connecting", "ended"].includes(status) && !["connecting", "ended"].includes(before))
      announce(
        status === "connected"
          ? "Connected again."
          : drafts.failed.size > 0
            ? "The connection is lost."
            : "The connection is lost. What you type is kept.",
      );
  },
});

const deleteDialog = new DeleteDialog(drafts, {
  deleted(mine) {
    // The user may have opened something else meanwhile.
    if (session !== mine) return;
    location.hash = "#/";
    byId("filter").focus();
  },
  kept: () => list.renderSoon(),
  notice: (...words) => toast.show(...words),
});

const list = new ListView({
  place: byId("entries"),
  unsaved: byId("unsaved"),
  status: byId("list-status"),
  filter: byId("filter"),
  drafts,
  on: {
    reading: (prefix) => {
      // Nobody may watch keys of which none may be read.
      if (!mayReadSome(account.grants, "")) return;
      listed = mayReadSome(account.grants, prefix) ? prefix : "";
      watch.reading(...watched());
      if (past instanceof DeletedView && past.prefix !== prefix) past.open(prefix);
    },
    loaded: (since) => watch.begin(since),
    failed: (error) => (error instanceof Unreachable || error.status >= 500) && watch.suspect(),
  },
});

// Whether it is known who uses the page, and whether someone had to sign in for that.
let isStarted = false;
let isAsked = false;

// The prefix of the keys that the list shows, or is about to show.
let listed = "";

// What is watched: the list and the open entry.
function watched() {
  return [listed, session?.state.key ?? past?.key ?? listed];
}

async function refreshSession() {
  past?.refresh();
  try {
    await session?.refresh();
  } catch (error) {
    // Who may not read it any more is told when they save.
    if (error instanceof Refused) return;
    if (!(error instanceof Unreachable)) throw error;
    watch.suspect();
  }
}

// The stream has ended because nobody is signed in, unless somebody has signed in since.
async function whenEnded() {
  await account.check();
  if (account.caller !== undefined && !account.hasEnded) watch.setCaller(account.name);
}

/** Opens what the address names, unless it is open. */
async function navigate(isFirst) {
  if (!isStarted) return;
  const target = targetOf(location.hash);
  if (target?.page === "entry" && session !== null && target.key === session.state.key) return;
  const isSameHistory = target?.page === "history" && past instanceof HistoryView && past.key === target.key;
  if (isSameHistory) await past.show(target.chosen);
  else await switchTo(target, !isFirst);
}

/** Opens the entry of a draft, null for a new one, and restores this draft. */
async function openDraft(key, name) {
  const hash = key === null ? "#/new" : hashOf(key);
  // There is no hashchange event for this: navigate() would not restore this draft if there are others.
  if (location.hash !== hash) history.pushState(null, "", hash);
  await switchTo({ page: "entry", key }, true, name);
}

async function switchTo(target, takeFocus, draftName) {
  view?.flush();
  session?.keeper.keepNow();
  if (session?.sending) leaving.add({ session, view });
  const before = session?.state.key ?? past?.key;
  session = null;
  view = null;
  past = null;
  page.classList.toggle("has-open", target !== undefined);
  list.show(target?.key ?? null);
  document.title = target === undefined ? "ifmatch" : `${titleOf(target)} · ifmatch`;
  if (target?.page === "deleted") byId("deleted").setAttribute("aria-current", "page");
  else byId("deleted").removeAttribute("aria-current");
  const why = target === undefined ? undefined : whyNotOpened(target);
  if (target === undefined || why !== undefined) {
    const hadFocus = byId("pane").contains(document.activeElement);
    showNothing(why);
    if (hadFocus) list.focus(before);
    return;
  }
  if (target.page === "entry") await open(target.key, takeFocus, draftName);
  else await openPast(target, takeFocus);
}

function titleOf({ page, key }) {
  if (page === "deleted") return "Deleted entries";
  return page === "history" ? `History of ${key}` : (key ?? "New entry");
}

function whyNotOpened({ page, key, why }) {
  if (why !== undefined || page === "deleted") return why;
  if (key === null) return account.whyNot("create");
  return whyInvalidKey(key) ?? (page === "history" ? account.whyNot("read", key) : undefined);
}

function showNothing(why) {
  const words = why ?? "Choose an entry, or create one.";
  byId("pane").replaceChildren(
    h(
      "div",
      { className: "nothing" },
      h("img", { src: urlOf("console/icon.svg"), alt: "", width: 48, height: 48 }),
      h("p", null, words),
      h(
        "p",
        { className: "keys" },
        h("kbd", null, "/"),
        " filters, ",
        h("kbd", null, "n"),
        " begins a new entry, ",
        h("kbd", null, "Ctrl+S"),
        " saves",
      ),
    ),
  );
}

/** Shows the history of a key, or the deleted entries. */
async function openPast({ page: name, key, chosen }, takeFocus) {
  const unreachable = () => watch.suspect();
  const mine =
    name === "deleted"
      ? new DeletedView({ unreachable, whyNot: () => account.whyNot("read") })
      : new HistoryView(key, {
          unreachable,
          whyNot: (action) => account.whyNot(action, key),
          hasDraft: () => drafts.keys().has(key),
          goTo: (hash) => {
            location.hash = hash;
          },
          // Nobody sees the page any more that would say it.
          say: (sentence) => (mine === past ? announce(sentence) : toast.show(`${key}: ${sentence}`)),
          restored: (entry) => showRestored(mine, entry),
        });
  past = mine;
  byId("pane").replaceChildren(mine.element);
  if (mayReadSome(account.grants, "")) watch.widen(...watched());
  // The heading is there before the answer is.
  if (takeFocus) mine.focus();
  await mine.open(name === "deleted" ? list.filter.value : chosen);
  if (takeFocus && mine === past && document.activeElement === mine.heading) mine.focus();
}

function showRestored(mine, { key, version }) {
  if (mine === past) location.hash = hashOf(key);
  toast.show(`${key} is restored, as version ${version}.`);
}

async function open(key, takeFocus, draftName) {
  const left = key === null ? undefined : [...leaving].find((one) => one.session.state.key === key);
  if (left !== undefined) {
    leaving.delete(left);
    ({ session, view } = left);
    byId("pane").replaceChildren(view.element);
    view.render();
    if (takeFocus) view.focus();
    return;
  }
  const mine = new Session(key, drafts, {
    changed: () => {
      if (mine !== session) {
        if (!mine.sending) reportLeft(mine);
        return;
      }
      shown.render();
      list.renderSoon();
    },
    say: announce,
    named: (named) => {
      // The address is that of the open entry.
      if (mine !== session) return;
      history.replaceState(null, "", hashOf(named));
      document.title = `${named} · ifmatch`;
      list.show(named);
      if (mayReadSome(account.grants, "")) watch.widen(...watched());
    },
    unreachable: () => watch.suspect(),
    whyNot: (action, key) => account.whyNot(action, key),
    focus: (what) => mine === session && shown.focus(what),
  });
  const shown = new DocumentView(mine, {
    close: () => {
      location.hash = "#/";
    },
    remove: () => deleteDialog.ask(mine),
    openBeside: (taken) => {
      location.hash = hashOf(taken);
      toast.show("What you typed is kept as a new entry.", "Back to it", () => {
        location.hash = "#/new";
      });
    },
    discarded: (draft, words) => {
      list.renderSoon();
      toast.show(words, "Undo", () => undoDiscard(mine, draft));
    },
  });
  session = mine;
  view = shown;
  byId("pane").replaceChildren(shown.element);
  if (mayReadSome(account.grants, "")) watch.widen(...watched());
  await mine.open(draftName);
  if (mine !== session) return;
  list.renderSoon();
  if (takeFocus) shown.focus(mine.state.conflict === null ? undefined : "conflict");
}

/** Shows the outcome of the request of a session that was left, unless it succeeded. */
function reportLeft(mine) {
  const left = [...leaving].find((one) => one.session === mine);
  if (left === undefined) return;
  leaving.delete(left);
  list.renderSoon();
  if (!mine.edited && mine.state.problem === null) return;
  const name = mine.state.key ?? mine.state.typedKey;
  const { problem, current } = mine.state;
  const isNamed = current !== null && current.modifiedBy !== undefined;
  const why = problem?.message ?? (isNamed ? `${whoSaved(current)}.` : "Someone else has changed it.");
  toast.show(
    mine.edited ? `${name} is not saved. ${why} Your text is kept.` : `${name}: ${why}`,
    "Open",
    () => openDraft(mine.state.key, mine.keeper.name),
  );
}

async function undoDiscard(discarded, draft) {
  const isHere =
    session === discarded ||
    (session !== null && session.state.key === (draft.key === "" ? null : draft.key));
  const mine = isHere ? session : discarded;
  if (!isHere) {
    // The entry is no longer open: its next session will restore the draft.
    drafts.keep(draft);
    location.hash = draft.key === "" ? "#/new" : hashOf(draft.key);
    return;
  }
  if ((await mine.undoDiscard(draft)) && mine === session) view.editor.area.focus();
}

function onKey(event) {
  const hasDialog = document.querySelector("dialog[open]") !== null;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "s") {
    event.preventDefault();
    if (hasDialog) return;
    if (session?.state.conflict) view.conflictView.tryFinish();
    else session?.save();
    return;
  }
  if (event.key === "Escape" && !hasDialog && toast.isShown) toast.close();
  if (event.ctrlKey || event.metaKey || event.altKey || hasDialog) return;
  const isTyping = event.target.matches("input:not([type=radio]), textarea");
  if (isTyping) return;
  if (event.key === "/") {
    event.preventDefault();
    byId("filter").focus();
    byId("filter").select();
  } else if (event.key === "n") {
    event.preventDefault();
    beginNew();
  } else if (event.key === "?") {
    byId("help-dialog").showModal();
  }
}

function beginNew() {
  const why = account.whyNot("create");
  if (why !== undefined) {
    toast.show(why);
    return;
  }
  if (location.hash === "#/new") view?.focus();
  location.hash = "#/new";
}

document.addEventListener("keydown", onKey);
byId("new").addEventListener("click", (event) => {
  if (account.whyNot("create") === undefined) return;
  event.preventDefault();
  beginNew();
});
window.addEventListener("hashchange", () => navigate(false));
window.addEventListener("storage", () => {
  session?.forgetGone();
  list.renderSoon();
});
for (const event of ["pagehide", "visibilitychange"]) {
  document.addEventListener(event, () => keepAll());
  window.addEventListener(event, () => keepAll());
}
function keepAll() {
  view?.flush();
  session?.keeper.keepNow();
  drafts.copyNow();
}

window.addEventListener("beforeunload", (event) => {
  keepAll();
  // Drafts that the browser has not stored are lost with the page.
  if (drafts.unkept.size > 0) event.preventDefault();
});
byId("help").addEventListener("click", () => byId("help-dialog").showModal());
byId("help-close").addEventListener("click", () => byId("help-dialog").close());
setInterval(refreshTimes, 10_000);

await account.begin();
const note = account.takeNote();
if (note?.kind === "other" && note.from !== null && note.hasText)
  toast.show(`What ${note.from} typed is kept in this browser, and shown when ${note.from} signs in.`);
watch.setCaller(account.name);
await drafts.begin(account.name);
isStarted = true;
list.load();
// Who has just signed in goes on from here.
if (isAsked && targetOf(location.hash) === undefined) byId("filter").focus();
await navigate(!isAsked);

// The page as a whole: the open entry, the connection, the keyboard.

import { Account } from "./account.js";
import { put, Refused, Unreachable, whenDenied, whyInvalidKey } from "./api.js";
import { DocumentView } from "./document.js";
import { announce, h, refreshTimes } from "./dom.js";
import { Drafts } from "./drafts.js";
import { mayReadSome } from "./grants.js";
import { formatted } from "./json.js";
import { hashOf, ListView } from "./list.js";
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
  view?.render();
}

const watch = new Watch({
  event(kind, entry) {
    list.event(kind, entry);
    session?.event(kind, entry);
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
  return [listed, session?.state.key ?? listed];
}

async function refreshSession() {
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

function keyOfHash() {
  const { hash } = location;
  if (hash === "#/new") return { key: null };
  if (!hash.startsWith("#/kv/")) return undefined;
  try {
    return { key: decodeURIComponent(hash.slice("#/kv/".length)) };
  } catch {
    return { wrong: "The key in this address is not percent-encoded UTF-8." };
  }
}

/** Opens what the address names, unless it is open. */
async function navigate(isFirst) {
  if (!isStarted) return;
  const target = keyOfHash();
  if (target !== undefined && session !== null && target.key === session.state.key) return;
  await switchTo(target, !isFirst);
}

/** Opens the entry of a draft, null for a new one, and restores this draft. */
async function openDraft(key, name) {
  const hash = key === null ? "#/new" : hashOf(key);
  // There is no hashchange event for this: navigate() would not restore this draft if there are others.
  if (location.hash !== hash) history.pushState(null, "", hash);
  await switchTo({ key }, true, name);
}

async function switchTo(target, takeFocus, draftName) {
  view?.flush();
  session?.keeper.keepNow();
  if (session?.sending) leaving.add({ session, view });
  const before = session?.state.key;
  session = null;
  view = null;
  page.classList.toggle("has-open", target !== undefined);
  list.show(target?.key ?? null);
  document.title = target === undefined ? "ifmatch" : `${target.key ?? "New entry"} · ifmatch`;
  const why = target === undefined ? undefined : whyNotOpened(target);
  if (target === undefined || why !== undefined) {
    const hadFocus = byId("pane").contains(document.activeElement);
    showNothing(why);
    if (hadFocus) list.focus(before);
    return;
  }
  await open(target.key, takeFocus, draftName);
}

function whyNotOpened({ key, wrong }) {
  if (wrong !== undefined) return wrong;
  return key === null ? account.whyNot("create") : whyInvalidKey(key);
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
    remove: () => askToDelete(mine),
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

function askToDelete(mine) {
  const dialog = byId("delete-dialog");
  // Only the version that is shown now is deleted, not one that arrives while the dialog is open.
  const { etag } = mine.state.base;
  byId("delete-key").textContent = mine.state.key;
  byId("delete-note").textContent = mine.edited
    ? "What you typed is kept as a draft in this browser."
    : "Others may be looking at it.";
  byId("delete-confirm").onclick = async () => {
    dialog.close();
    const gone = await mine.remove(etag);
    if (gone === undefined) return;
    // The user may have opened something else meanwhile.
    if (session === mine) {
      location.hash = "#/";
      byId("filter").focus();
    }
    toast.show(`${gone.key} was deleted.`, "Undo", () => restoreDeleted(gone));
  };
  byId("delete-cancel").onclick = () => dialog.close();
  dialog.showModal();
}

async function restoreDeleted(gone) {
  const from = location.hash;
  try {
    await put(gone.key, gone.tree, null);
    // The user may have opened something else meanwhile.
    if (location.hash === from) location.hash = hashOf(gone.key);
  } catch (error) {
    // When the notice disappears, the value would be lost.
    drafts.keep({
      key: gone.key,
      etag: null,
      version: null,
      base: null,
      text: formatted(gone.tree),
      typedKey: "",
      conflict: false,
      choices: [],
    });
    list.renderSoon();
    toast.show(
      `${gone.key} could not be restored: ${error.message} Its value is kept as a draft.`,
      "Open",
      () => {
        location.hash = hashOf(gone.key);
      },
    );
  }
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
if (isAsked && keyOfHash() === undefined) byId("filter").focus();
await navigate(!isAsked);

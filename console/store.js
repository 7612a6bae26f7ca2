// The drafts in IndexedDB: those that are too large for localStorage, which holds some 5 million characters in all,
// and a copy of each of the others, under the same name.

const DATABASE = "ifmatch";
const TABLE = "drafts";

/** How long the database may take to open: nothing is shown before the names of the drafts are read. */
const TIMEOUT_MILLIS = 5_000;

let opening;

function database() {
  opening ??= open().catch((error) => {
    opening = undefined;
    throw error;
  });
  return opening;
}

function open() {
  return new Promise((resolve, reject) => {
    const waiting = setTimeout(() => reject(new Error("The database does not open.")), TIMEOUT_MILLIS);
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
    request.onerror = () => reject(request.error);
    request.onsuccess = () => {
      clearTimeout(waiting);
      // A browser may close it when the user clears its data.
      request.result.onclose = () => {
        opening = undefined;
      };
      // The database is about to be deleted: that would wait for this connection, and delete later drafts, too.
      request.result.onversionchange = () => {
        request.result.close();
        opening = undefined;
      };
      resolve(request.result);
    };
  });
}

async function run(mode, act) {
  const transaction = (await database()).transaction(TABLE, mode);
  return new Promise((resolve, reject) => {
    const request = act(transaction.objectStore(TABLE));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error ?? new Error("The transaction was aborted."));
    // A page that is being closed would not commit it later.
    transaction.commit?.();
  });
}

/** Stores a draft under a name. Rejects if the browser does not store it. */
export const put = (name, draft) => run("readwrite", (table) => table.put(draft, name));

/** Removes a draft. */
export const remove = (name) => run("readwrite", (table) => table.delete(name));

/** A draft, or undefined. */
export const get = (name) => run("readonly", (table) => table.get(name));

/** The names of all drafts. */
export const names = () => run("readonly", (table) => table.getAllKeys());

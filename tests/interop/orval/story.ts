// The story, told through a client that orval made.

import { isDeepStrictEqual } from "node:util";
import type { Entry, HistoryEvent, Value } from "./client";
import {
  deleteEntry,
  getEntry,
  getEntryHistory,
  listEntries,
  patchEntry,
  putEntry,
  revertEntry,
  transact,
} from "./client";

const key = "doc/plan";
// This client puts a key into the path as it is.
const at = encodeURIComponent(key);
const plan = { title: "Plan", budget: 100 };

function step(what: string, holds: boolean): void {
  console.log(holds ? "ok" : "not ok", what);
}

async function main(): Promise<void> {
  const stranger = await getEntry(at);
  step(
    "read without the token: 401, typed",
    stranger.status === 401 && stranger.data.error === "unauthorized",
  );
  // This client has no setting for a token, so `fetch` adds it.
  const token = process.argv[2]!;
  const plainFetch = globalThis.fetch;
  globalThis.fetch = (input, init) => {
    const headers = new Headers(init?.headers);
    headers.set("Authorization", `Bearer ${token}`);
    return plainFetch(input, { ...init, headers });
  };

  const created = await putEntry(at, plan);
  if (created.status !== 201) throw new Error(`${created.status}`);
  const first: Entry = created.data;
  step("create: 201, version 1", first.version === 1 && first.key === key);

  const read = await getEntry(at);
  step("read: the same entry", isDeepStrictEqual(read.data, first) && isDeepStrictEqual(first.value, plan));

  const raised = { ...plan, budget: 120 };
  const replaced = await putEntry(at, raised, { "If-Match": first.etag });
  if (replaced.status !== 200) throw new Error(`${replaced.status}`);
  const second: Entry = replaced.data;
  step("replace with the tag: 200, version 2", second.version === 2);

  const stale = await putEntry(at, plan, { "If-Match": first.etag });
  if (stale.status !== 412) throw new Error(`${stale.status}`);
  step("replace with the stale tag: 412, typed", stale.data.error === "precondition_failed");
  const current: Entry | null | undefined = stale.data.current;
  step(
    "the 412 shows the current entry",
    isDeepStrictEqual(current, second) && isDeepStrictEqual(current?.value, raised),
  );

  const exists = await putEntry(at, plan, { "If-None-Match": "*" });
  step(
    "create only: 412, the current entry",
    exists.status === 412 && isDeepStrictEqual(exists.data.current, second),
  );

  // Of an operation that takes several media types this client names none.
  const mergePatch = { headers: { "Content-Type": "application/merge-patch+json" } };
  const patched = await patchEntry(
    at,
    { budget: null, owner: "Ann" },
    { "If-Match": second.etag },
    mergePatch,
  );
  if (patched.status !== 200) throw new Error(`${patched.status}`);
  const third: Entry = patched.data;
  step(
    "patch: version 3",
    third.version === 3 && isDeepStrictEqual(third.value, { title: "Plan", owner: "Ann" }),
  );

  const both = await transact({
    operations: [
      { op: "put", key: "doc/other", value: [1, null] },
      { op: "check", key: "doc/absent", if_none_match: "*" },
    ],
  });
  if (both.status !== 200) throw new Error(`${both.status}`);
  const results: (Entry | null)[] = both.data.results;
  step(
    "transaction: an entry, and null for the absent key",
    results.length === 2 && isDeepStrictEqual(results[0]?.value, [1, null]) && results[1] === null,
  );

  const failed = await transact({
    operations: [
      { op: "check", key, if_match: first.etag },
      { op: "check", key: "doc/absent", if_match: "*" },
    ],
  });
  if (failed.status !== 412) throw new Error(`${failed.status}`);
  const shown: (Entry | null | undefined)[] | undefined = failed.data.failed?.map(
    (operation) => operation.current,
  );
  step(
    "a transaction that does not hold: 412, both operations, an entry and null",
    isDeepStrictEqual(shown, [third, null]),
  );

  const deleted = await deleteEntry(at, { "If-Match": third.etag });
  step("delete with the newest tag", deleted.status === 200 && isDeepStrictEqual(deleted.data, third));

  const gone = await getEntry(at);
  step("read: 404, typed", gone.status === 404 && gone.data.error === "not_found");

  const lost = await putEntry(at, plan, { "If-Match": third.etag });
  step("replace what is gone: 412, current is null", lost.status === 412 && lost.data.current === null);

  // To the types of this client, a value is never null.
  const kinds: Record<string, unknown> = {
    object: { a: { b: [1, null] }, c: null },
    "empty object": {},
    array: [1, "two", null, {}],
    string: 'schön "quoted" \u2028',
    number: Number.MAX_SAFE_INTEGER,
    fraction: -0.25,
    bool: false,
    null: null,
  };
  for (const [name, value] of Object.entries(kinds)) {
    const written = await putEntry(encodeURIComponent(`kinds/${name}`), value as Value);
    const read = await getEntry(encodeURIComponent(`kinds/${name}`));
    step(
      `a value of the kind ${name}`,
      read.status === 200 &&
        isDeepStrictEqual(read.data, written.data) &&
        isDeepStrictEqual(read.data.value, value),
    );
  }

  const page = await listEntries({ prefix: "kinds/", limit: 3 });
  if (page.status !== 200) throw new Error(`${page.status}`);
  const next: string | null = page.data.next;
  step("list: a page of entries", page.data.items.length === 3 && next === page.data.items[2]!.key);
  const rest = await listEntries({ prefix: "kinds/", after: next! });
  step(
    "list: the rest, next is null",
    rest.status === 200 && rest.data.items.length === 5 && rest.data.next === null,
  );

  const past = encodeURIComponent("doc/past");
  const done = await putEntry(past, plan, { "Idempotency-Key": '"8e03978e-40d5"' });
  const repeated = await putEntry(past, plan, { "Idempotency-Key": '"8e03978e-40d5"' });
  if (done.status !== 201) throw new Error(`${done.status}`);
  step(
    "the same write sent twice: done once, and answered as it was",
    repeated.status === 201 &&
      repeated.headers.get("Idempotency-Replayed") === "true" &&
      isDeepStrictEqual(repeated.data, done.data),
  );
  const newer = await putEntry(past, raised, { "If-Match": done.data.etag });
  if (newer.status !== 200) throw new Error(`${newer.status}`);
  const history = await getEntryHistory(past);
  if (history.status !== 200) throw new Error(`${history.status}`);
  const events: HistoryEvent[] = history.data.items;
  step(
    "history: both versions, the newest first",
    isDeepStrictEqual(
      events.map(({ event, etag, value }) => [event, etag, value]),
      [
        ["put", newer.data.etag, raised],
        ["put", done.data.etag, plan],
      ],
    ) && history.data.next === null,
  );
  const then = await getEntry(past, { revision: done.data.revision });
  step("read at a revision: the entry of then", isDeepStrictEqual(then.data, done.data));
  const reverted = await revertEntry(past, { revision: done.data.revision }, { "If-Match": newer.data.etag });
  step(
    "revert: the value of then, as version 3",
    reverted.status === 200 && reverted.data.version === 3 && isDeepStrictEqual(reverted.data.value, plan),
  );
}

void main();

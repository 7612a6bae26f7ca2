// The story, told through a client that hey-api made.

import { isDeepStrictEqual } from "node:util";
import type { Entry, Error as Failure, HistoryEvent } from "./client";
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
import { client } from "./client/client.gen";

const key = "doc/plan";
const path = { key };
const plan = { title: "Plan", budget: 100 };

function step(what: string, holds: boolean): void {
  console.log(holds ? "ok" : "not ok", what);
}

async function main(): Promise<void> {
  const [baseUrl, token] = process.argv.slice(2) as [string, string];
  client.setConfig({ baseUrl });
  const stranger = await getEntry({ path });
  step(
    "read without the token: 401, typed",
    stranger.response?.status === 401 && stranger.error?.error === "unauthorized",
  );

  // Asked for each security scheme; one without a secret is not used.
  client.setConfig({ auth: (scheme) => (scheme.scheme === "bearer" ? token : undefined) });

  const created = await putEntry({ path, body: plan });
  const first: Entry = created.data!;
  step(
    "create: 201, version 1",
    created.response?.status === 201 && first.version === 1 && first.key === key,
  );

  const read = await getEntry({ path });
  step("read: the same entry", isDeepStrictEqual(read.data, first) && isDeepStrictEqual(first.value, plan));

  const raised = { ...plan, budget: 120 };
  const replaced = await putEntry({ path, body: raised, headers: { "If-Match": first.etag } });
  const second: Entry = replaced.data!;
  step("replace with the tag: 200, version 2", replaced.response?.status === 200 && second.version === 2);

  const stale = await putEntry({ path, body: plan, headers: { "If-Match": first.etag } });
  const failure: Failure = stale.error!;
  step(
    "replace with the stale tag: 412, typed",
    stale.response?.status === 412 && failure.error === "precondition_failed",
  );
  const current: Entry | null | undefined = failure.current;
  step(
    "the 412 shows the current entry",
    isDeepStrictEqual(current, second) && isDeepStrictEqual(current?.value, raised),
  );

  const exists = await putEntry({ path, body: plan, headers: { "If-None-Match": "*" } });
  step(
    "create only: 412, the current entry",
    exists.response?.status === 412 && isDeepStrictEqual(exists.error?.current, second),
  );

  const patched = await patchEntry({
    path,
    body: { budget: null, owner: "Ann" },
    headers: { "If-Match": second.etag },
  });
  const third: Entry = patched.data!;
  step(
    "patch: version 3",
    third.version === 3 && isDeepStrictEqual(third.value, { title: "Plan", owner: "Ann" }),
  );

  const both = await transact({
    body: {
      operations: [
        { op: "put", key: "doc/other", value: [1, null] },
        { op: "check", key: "doc/absent", if_none_match: "*" },
      ],
    },
  });
  const results: (Entry | null)[] = both.data!.results;
  step(
    "transaction: an entry, and null for the absent key",
    results.length === 2 && isDeepStrictEqual(results[0]?.value, [1, null]) && results[1] === null,
  );

  const failed = await transact({
    body: {
      operations: [
        { op: "check", key, if_match: first.etag },
        { op: "check", key: "doc/absent", if_match: "*" },
      ],
    },
  });
  const shown: (Entry | null | undefined)[] | undefined = failed.error?.failed?.map(
    (operation) => operation.current,
  );
  step(
    "a transaction that does not hold: 412, both operations, an entry and null",
    failed.response?.status === 412 && isDeepStrictEqual(shown, [third, null]),
  );

  const deleted = await deleteEntry({ path, headers: { "If-Match": third.etag } });
  step("delete with the newest tag", isDeepStrictEqual(deleted.data, third));

  const gone = await getEntry({ path });
  step("read: 404, typed", gone.response?.status === 404 && gone.error?.error === "not_found");

  const lost = await putEntry({ path, body: plan, headers: { "If-Match": third.etag } });
  step(
    "replace what is gone: 412, current is null",
    lost.response?.status === 412 && lost.error?.current === null,
  );

  // This client takes null for a body that is not there, so null itself stands in an object.
  const kinds: Record<string, unknown> = {
    object: { a: { b: [1, null] }, c: null },
    "empty object": {},
    array: [1, "two", null, {}],
    string: 'schön "quoted" \u2028',
    number: Number.MAX_SAFE_INTEGER,
    fraction: -0.25,
    bool: false,
  };
  for (const [name, value] of Object.entries(kinds)) {
    const written = await putEntry({ path: { key: `kinds/${name}` }, body: value });
    const read = await getEntry({ path: { key: `kinds/${name}` } });
    step(
      `a value of the kind ${name}`,
      isDeepStrictEqual(read.data, written.data) && isDeepStrictEqual(read.data?.value, value),
    );
  }

  const page = await listEntries({ query: { prefix: "kinds/", limit: 3 } });
  const next: string | null = page.data!.next;
  step("list: a page of entries", page.data!.items.length === 3 && next === page.data!.items[2]!.key);
  const rest = await listEntries({ query: { prefix: "kinds/", after: next! } });
  step("list: the rest, next is null", rest.data!.items.length === 4 && rest.data!.next === null);

  const past = { key: "doc/past" };
  const once = { path: past, body: plan, headers: { "Idempotency-Key": '"8e03978e-40d5"' } };
  const done: Entry = (await putEntry(once)).data!;
  const repeated = await putEntry(once);
  step(
    "the same write sent twice: done once, and answered as it was",
    repeated.response?.status === 201 &&
      repeated.response.headers.get("Idempotency-Replayed") === "true" &&
      isDeepStrictEqual(repeated.data, done),
  );
  const newer: Entry = (await putEntry({ path: past, body: raised, headers: { "If-Match": done.etag } }))
    .data!;
  const history = await getEntryHistory({ path: past });
  const events: HistoryEvent[] = history.data!.items;
  step(
    "history: both versions, the newest first",
    isDeepStrictEqual(
      events.map(({ event, etag, value }) => [event, etag, value]),
      [
        ["put", newer.etag, raised],
        ["put", done.etag, plan],
      ],
    ) && history.data!.next === null,
  );
  const then = await getEntry({ path: past, query: { revision: done.revision } });
  step("read at a revision: the entry of then", isDeepStrictEqual(then.data, done));
  const reverted = await revertEntry({
    path: past,
    body: { revision: done.revision },
    headers: { "If-Match": newer.etag },
  });
  step(
    "revert: the value of then, as version 3",
    reverted.data!.version === 3 && isDeepStrictEqual(reverted.data!.value, plan),
  );
}

void main();

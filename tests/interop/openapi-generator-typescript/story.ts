// The story, told through a client that OpenAPI Generator made.

import { isDeepStrictEqual } from "node:util";
import {
  Configuration,
  EntriesApi,
  type Entry,
  ErrorCode,
  HistoryApi,
  type ModelError,
  ModelErrorFromJSON,
  ResponseError,
} from "./client/index.js";

const key = "doc/plan";
const plan = { title: "Plan", budget: 100 };

function step(what: string, holds: boolean): void {
  console.log(holds ? "ok" : "not ok", what);
}

/** The status and the typed error that a call is refused with. */
async function refused(call: Promise<unknown>): Promise<[number, ModelError]> {
  const refusal: unknown = await call.catch((error) => error);
  if (!(refusal instanceof ResponseError)) throw new Error(`not refused: ${refusal}`);
  return [refusal.response.status, ModelErrorFromJSON(await refusal.response.json())];
}

const [url, token] = process.argv.slice(2) as [string, string];
const api = new EntriesApi(new Configuration({ basePath: url, accessToken: token }));

const stranger = new EntriesApi(new Configuration({ basePath: url }));
const [unknown, unauthorized] = await refused(stranger.getEntry({ key }));
step("read without the token: 401, typed", unknown === 401 && unauthorized.error === ErrorCode.Unauthorized);

const created = await api.putEntryRaw({ key, body: plan });
const first = await created.value();
step("create: 201, version 1", created.raw.status === 201 && first.version === 1 && first.key === key);

const read = await api.getEntry({ key });
step("read: the same entry", isDeepStrictEqual(read, first) && isDeepStrictEqual(read.value, plan));

const replaced = await api.putEntryRaw({ key, body: { ...plan, budget: 120 }, ifMatch: first.etag });
const second = await replaced.value();
step("replace with the tag: 200, version 2", replaced.raw.status === 200 && second.version === 2);

const [stale, failure] = await refused(
  api.putEntry({ key, body: { ...plan, title: "Plan B" }, ifMatch: first.etag }),
);
step(
  "replace with the stale tag: 412, typed",
  stale === 412 && failure.error === ErrorCode.PreconditionFailed,
);
const current: Entry | null | undefined = failure.current;
step(
  "the 412 shows the current entry",
  isDeepStrictEqual(current, second) && isDeepStrictEqual(current?.value, { ...plan, budget: 120 }),
);

const third = (await api.patchEntry({ key, body: { budget: null, owner: "Ann" }, ifMatch: second.etag }))!;
step(
  "patch: version 3",
  third.version === 3 && isDeepStrictEqual(third.value, { title: "Plan", owner: "Ann" }),
);

const both = (await api.transact({
  transactionRequest: {
    operations: [
      { op: "put", key: "doc/other", value: [1, null] },
      { op: "check", key: "doc/absent", ifNoneMatch: "*" },
    ],
  },
}))!;
const results: (Entry | null)[] = both.results;
step(
  "transaction: an entry, and null for the absent key",
  isDeepStrictEqual(results[0]?.value, [1, null]) && results[1] === null,
);

const deleted = await api.deleteEntry({ key, ifMatch: third.etag });
step("delete with the newest tag", isDeepStrictEqual(deleted, third));

const [gone, missing] = await refused(api.getEntry({ key }));
step("read: 404, typed", gone === 404 && missing.error === ErrorCode.NotFound);

const [lost, nothing] = await refused(api.putEntry({ key, body: plan, ifMatch: second.etag }));
step("replace what is gone: 412, current is null", lost === 412 && nothing.current === null);

const kinds: Record<string, unknown> = {
  object: { a: { b: [1, null] } },
  "empty object": {},
  array: [1, "two", null, {}],
  string: 'schön "quoted" \u2028',
  number: Number.MAX_SAFE_INTEGER,
  fraction: -0.25,
  bool: false,
};
for (const [name, value] of Object.entries(kinds)) {
  const written = await api.putEntry({ key: `kinds/${name}`, body: value });
  const read = await api.getEntry({ key: `kinds/${name}` });
  step(
    `a value of the kind ${name}`,
    isDeepStrictEqual(read, written) && isDeepStrictEqual(read.value, value),
  );
}

// This client takes null for a body that is not there: null is written by other means, and read by it.
await fetch(`${url}/kv/kinds/null`, {
  method: "PUT",
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${token}` },
  body: "null",
});
step("a value of the kind null", (await api.getEntry({ key: "kinds/null" })).value === null);

const listed = await api.listEntries({ prefix: "kinds/", limit: 3 });
step("list: a page of entries", listed.items.length === 3 && listed.next === listed.items[2]?.key);
const rest = await api.listEntries({ prefix: "kinds/", after: listed.next ?? "" });
step("list: the rest, next is null", rest.items.length === 5 && rest.next === null);

const past = "doc/past";
const once = { key: past, body: plan, idempotencyKey: '"8e03978e-40d5"' };
const done = await api.putEntry(once);
const repeated = await api.putEntryRaw(once);
step(
  "the same write sent twice: done once, and answered as it was",
  repeated.raw.status === 201 &&
    repeated.raw.headers.get("Idempotency-Replayed") === "true" &&
    isDeepStrictEqual(await repeated.value(), done),
);
const raised = { ...plan, budget: 120 };
const newer = (await api.putEntry({ key: past, body: raised, ifMatch: done?.etag }))!;
const pastApi = new HistoryApi(new Configuration({ basePath: url, accessToken: token }));
const history = await pastApi.getEntryHistory({ key: past });
step(
  "history: both versions, the newest first",
  isDeepStrictEqual(
    history.items.map(({ event, etag, value }) => [event, etag, value]),
    [
      ["put", newer.etag, raised],
      ["put", done?.etag, plan],
    ],
  ) && history.next === null,
);
const then = await api.getEntry({ key: past, revision: done?.revision });
step("read at a revision: the entry of then", isDeepStrictEqual(then, done));
const reverted = await pastApi.revertEntry({
  key: past,
  revertRequest: { revision: done!.revision },
  ifMatch: newer.etag,
});
step(
  "revert: the value of then, as version 3",
  reverted?.version === 3 && isDeepStrictEqual(reverted.value, plan),
);

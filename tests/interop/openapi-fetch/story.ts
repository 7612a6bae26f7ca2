// The story, told through openapi-fetch with the types that openapi-typescript made.

import { isDeepStrictEqual } from "node:util";
import createClient from "openapi-fetch";
import type { components, paths } from "./ifmatch.js";

type Entry = components["schemas"]["Entry"];
type Failure = components["schemas"]["Error"];

const key = "doc/plan";
const plan = { title: "Plan", budget: 100 };

function step(what: string, holds: boolean): void {
  console.log(holds ? "ok" : "not ok", what);
}

const [baseUrl, token] = process.argv.slice(2) as [string, string];
// This client knows nothing of security schemes: the token is a header of every request.
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
const at = (key: string, ifMatch?: string) => ({
  params: { path: { key }, header: ifMatch === undefined ? {} : { "If-Match": ifMatch } },
});

const stranger = await createClient<paths>({ baseUrl }).GET("/kv/{key}", at(key));
step(
  "read without the token: 401, typed",
  stranger.response.status === 401 && stranger.error?.error === "unauthorized",
);

const created = await client.PUT("/kv/{key}", { ...at(key), body: plan });
const first: Entry = created.data!;
step("create: 201, version 1", created.response.status === 201 && first.version === 1 && first.key === key);

const read = await client.GET("/kv/{key}", at(key));
step("read: the same entry", isDeepStrictEqual(read.data, first) && isDeepStrictEqual(first.value, plan));

const replaced = await client.PUT("/kv/{key}", { ...at(key, first.etag), body: { ...plan, budget: 120 } });
const second: Entry = replaced.data!;
step("replace with the tag: 200, version 2", replaced.response.status === 200 && second.version === 2);

const stale = await client.PUT("/kv/{key}", { ...at(key, first.etag), body: { ...plan, title: "Plan B" } });
const failure: Failure = stale.error!;
step(
  "replace with the stale tag: 412, typed",
  stale.response.status === 412 && failure.error === "precondition_failed",
);
const current: Entry | null | undefined = failure.current;
step(
  "the 412 shows the current entry",
  current?.etag === second.etag && isDeepStrictEqual(current.value, { ...plan, budget: 120 }),
);

const patched = await client.PATCH("/kv/{key}", {
  ...at(key, second.etag),
  body: { budget: null, owner: "Ann" },
});
const third: Entry = patched.data!;
step(
  "patch: version 3",
  third.version === 3 && isDeepStrictEqual(third.value, { title: "Plan", owner: "Ann" }),
);

const both = await client.POST("/transactions", {
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
  isDeepStrictEqual(results[0]?.value, [1, null]) && results[1] === null,
);

const deleted = await client.DELETE("/kv/{key}", at(key, third.etag));
step("delete with the newest tag", isDeepStrictEqual(deleted.data, third));

const gone = await client.GET("/kv/{key}", at(key));
step("read: 404, typed", gone.response.status === 404 && gone.error?.error === "not_found");

const lost = await client.PUT("/kv/{key}", { ...at(key, second.etag), body: plan });
step(
  "replace what is gone: 412, current is null",
  lost.response.status === 412 && lost.error?.current === null,
);

const kinds: Record<string, unknown> = {
  object: { a: { b: [1, null] } },
  "empty object": {},
  array: [1, "two", null, {}],
  string: 'schön "quoted" \u2028',
  number: Number.MAX_SAFE_INTEGER,
  fraction: -0.25,
  bool: false,
  null: null,
};
for (const [name, value] of Object.entries(kinds)) {
  const written = await client.PUT("/kv/{key}", { ...at(`kinds/${name}`), body: value });
  const read = await client.GET("/kv/{key}", at(`kinds/${name}`));
  step(
    `a value of the kind ${name}`,
    isDeepStrictEqual(read.data, written.data) && isDeepStrictEqual(read.data?.value, value),
  );
}

const listed = await client.GET("/kv", { params: { query: { prefix: "kinds/", limit: 3 } } });
const next: string | null = listed.data!.next;
step("list: a page of entries", listed.data!.items.length === 3 && next === listed.data!.items[2]!.key);
const rest = await client.GET("/kv", { params: { query: { prefix: "kinds/", after: next! } } });
step("list: the rest, next is null", rest.data!.items.length === 5 && rest.data!.next === null);

const past = { path: { key: "doc/past" } };
const once = { params: { ...past, header: { "Idempotency-Key": '"8e03978e-40d5"' } }, body: plan };
const done: Entry = (await client.PUT("/kv/{key}", once)).data!;
const repeated = await client.PUT("/kv/{key}", once);
step(
  "the same write sent twice: done once, and answered as it was",
  repeated.response.status === 201 &&
    repeated.response.headers.get("Idempotency-Replayed") === "true" &&
    isDeepStrictEqual(repeated.data, done),
);
const raised = { ...plan, budget: 120 };
const newer: Entry = (await client.PUT("/kv/{key}", { ...at("doc/past", done.etag), body: raised })).data!;
const history = await client.GET("/history/{key}", { params: past });
step(
  "history: both versions, the newest first",
  isDeepStrictEqual(
    history.data!.items.map(({ event, etag, value }) => [event, etag, value]),
    [
      ["put", newer.etag, raised],
      ["put", done.etag, plan],
    ],
  ) && history.data!.next === null,
);
const then = await client.GET("/kv/{key}", { params: { ...past, query: { revision: done.revision } } });
step("read at a revision: the entry of then", isDeepStrictEqual(then.data, done));
const reverted = await client.POST("/revert/{key}", {
  ...at("doc/past", newer.etag),
  body: { revision: done.revision },
});
step(
  "revert: the value of then, as version 3",
  reverted.data!.version === 3 && isDeepStrictEqual(reverted.data!.value, plan),
);

// As the README shows it.
async function change(key: string, edit: (value: unknown) => unknown) {
  for (;;) {
    const { data: entry, error } = await client.GET("/kv/{key}", { params: { path: { key } } });
    if (!entry) throw error;
    const params = { path: { key }, header: { "If-Match": entry.etag } };
    const written = await client.PUT("/kv/{key}", { params, body: edit(entry.value) });
    if (written.data) return written.data;
    if (written.response.status !== 412) throw written.error;
  }
}

await client.PUT("/kv/{key}", { params: { path: { key: "counter" } }, body: 0 });
const add = async () => {
  for (let round = 0; round < 25; round++) await change("counter", (value) => Number(value) + 1);
};
await Promise.all(Array.from({ length: 8 }, add));
const counter = await client.GET("/kv/{key}", { params: { path: { key: "counter" } } });
step("change: 8 that each add 25 end at 200", counter.data?.value === 200);

// Drafts, saves and requests of someone who has signed in.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { whenDenied } from "../api.js";
import { hasAnonymous, signIn, whoami, whyNotSignedIn } from "../caller.js";
import { begin, open, openTab } from "./opened.js";

const ENDED = ["unauthorized", "the session has ended"];

let service;
let drafts;
beforeEach(async () => {
  ({ service, drafts } = await begin());
});

/** The drafts of somebody in a new tab. */
async function draftsOf(name) {
  const theirs = await openTab();
  theirs.writer = name;
  return theirs;
}

const draft = (key, text) => ({ key, text, etag: null, base: null });

describe("a draft", () => {
  test("is shown to who has written it only", async () => {
    const ann = await draftsOf("ann");
    const name = ann.keep(draft("doc", "1"));
    const [found] = await (await draftsOf("ann")).of("doc");
    assert.equal(found.text, "1");
    for (const other of ["bob", "an", "ann:", "ann+bob", null]) {
      const theirs = await draftsOf(other);
      assert.deepEqual(await theirs.of("doc"), []);
      assert.deepEqual([[...theirs.keys()], theirs.has(name)], [[], false]);
    }
  });

  test("has a key, whatever the name is", async () => {
    const theirs = await draftsOf("a:b +c@d");
    theirs.keep(draft("doc:1", "1"));
    assert.deepEqual([...theirs.keys()], ["doc:1"]);
    assert.equal((await theirs.of("doc:1"))[0].owner, "mine");
  });

  test("that nobody has signed is that of the first who goes on with it", async () => {
    drafts.keep(draft("doc", "1"));
    const ann = await draftsOf("ann");
    const [found] = await ann.of("doc");
    ann.keep(draft("doc", "2"), found.name);
    await ann.settled();
    assert.deepEqual(
      (await ann.of("doc")).map(({ text }) => text),
      ["2"],
    );
    assert.deepEqual(await (await draftsOf("bob")).of("doc"), []);
  });

  test("of another person is dropped from the database, too", async () => {
    const ann = await draftsOf("ann");
    const name = ann.keep(draft("doc", "1"));
    await ann.settled();
    ann.drop(name);
    await ann.lookUp();
    assert.deepEqual([[...ann.keys()], ann.stored.has(name)], [[], false]);
  });
});

describe("when the session has ended", () => {
  test("a save keeps the text and its base, and can be repeated", async () => {
    let denials = 0;
    whenDenied(() => {
      denials += 1;
    });
    service.write("doc", '{"a":1,"b":1}');
    const { session } = await open("doc", drafts);
    session.edit('{"a":2,"b":1}');
    service.refuse(401, ...ENDED);
    await session.save();
    assert.deepEqual([session.state.problem.kind, session.text, denials], ["ended", '{"a":2,"b":1}', 1]);
    assert.ok(drafts.keys().has("doc"));
    service.write("doc", '{"a":1,"b":2}', "bob");
    await session.back();
    assert.equal(session.state.problem.message, "Signed in again. Your text is kept, and not saved yet.");
    await session.save();
    assert.equal(service.text("doc"), '{"a":2,"b":2}');
  });

  test("the text that is not saved says so", async () => {
    service.write("doc", "1");
    const { session } = await open("doc", drafts);
    session.ended();
    assert.equal(session.state.problem, null);
    session.edit("2");
    session.ended();
    assert.equal(session.state.problem.message, "Your session has ended.");
  });
});

describe("what is not granted", () => {
  const READ = [
    { prefix: "", actions: ["read"] },
    { prefix: "ann/", actions: ["create"] },
  ];

  test("is not sent", async () => {
    service.write("doc", "1");
    const { session, calls } = await open("doc", drafts, undefined, READ);
    session.edit("2");
    await session.save();
    assert.equal(service.writes, 0);
    const message = "Not saved: you may not change entries here. Your text is kept.";
    assert.deepEqual([session.state.problem.message, calls.said], [message, [message]]);
    assert.equal(session.text, "2");
  });

  test("a new key says so where it is typed", async () => {
    const { session, calls } = await open(null, drafts, undefined, READ);
    session.edit("2");
    session.name("doc/a");
    await session.save();
    assert.deepEqual([service.writes, session.state.problem.kind, calls.focus], [0, "key", ["key"]]);
    session.name("ann/a");
    await session.save();
    assert.equal(service.text("ann/a"), "2");
  });

  test("may be learned from the service", async () => {
    service.write("doc", "1");
    const { session } = await open("doc", drafts);
    session.edit("2");
    service.refuse(403, "forbidden", "you may not update doc");
    await session.save();
    assert.deepEqual(
      [session.state.problem.message, session.text],
      ["The server says: you may not update doc", "2"],
    );
  });
});

describe("the service says", () => {
  const answer = (status, body, headers) => {
    globalThis.fetch = async () => new Response(body, { status, headers });
  };

  test("who asks", async () => {
    answer(200, '{"name":"ann","grants":[{"prefix":"a/","actions":["read"]}],"expires_at":null}');
    assert.deepEqual(await whoami(), { name: "ann", grants: [{ prefix: "a/", actions: ["read"] }] });
    answer(200, '{"name":null,"grants":[],"expires_at":null}');
    assert.deepEqual(await whoami(), { name: null, grants: [] });
    assert.equal(await hasAnonymous(), true);
    answer(401, '{"error":"unauthorized","message":"a token is needed"}');
    await assert.rejects(whoami(), { status: 401 });
    assert.equal(await hasAnonymous(), false);
  });

  test("why a token is not taken", async () => {
    const why = () => signIn("token").then(() => undefined, whyNotSignedIn);
    answer(204, null);
    assert.equal(await why(), undefined);
    answer(401, '{"error":"unauthorized","message":"not valid"}');
    assert.match(await why(), /not valid/);
    const expired = { "WWW-Authenticate": 'Bearer error_description="expired"' };
    answer(401, '{"error":"unauthorized","message":"expired"}', expired);
    assert.match(await why(), /has expired/);
    answer(429, '{"error":"too_many_attempts","message":"try again"}');
    assert.match(await why(), /Wait a minute/);
    globalThis.fetch = async () => {
      throw new TypeError("Failed to fetch");
    };
    assert.match(await why(), /cannot be reached/);
  });
});

// The requests that the console sends, and how it reads the responses.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { list, put, Refused, read, remove, Unreachable, warningAboutKey, whyInvalidKey } from "../api.js";
import { compact, parse } from "../json.js";
import { FakeService, pathIn } from "./service.js";

let service;
beforeEach(() => {
  service = new FakeService();
});

describe("a write", () => {
  test("sends the ETag of the version it replaces, and every digit of the value", async () => {
    const { etag } = service.write("doc", "1");
    const entry = await put("doc", parse('{"n":1.00}'), etag);
    const [{ method, path, headers, body }] = service.requests;
    assert.deepEqual([method, path, body], ["PUT", "/kv/doc", '{"n":1.00}']);
    const { "Idempotency-Key": requestKey, ...others } = headers;
    assert.match(requestKey, /^"[0-9a-f]{32}"$/);
    assert.deepEqual(others, { "Content-Type": "application/json", "If-Match": etag });
    assert.deepEqual([entry.key, compact(entry.tree), entry.version], ["doc", '{"n":1.00}', "2"]);
    assert.equal(entry.etag, service.etag("doc"));
  });

  test("of a new entry never replaces an existing one", async () => {
    await put("doc", parse("1"), null);
    assert.equal(service.requests[0].headers["If-None-Match"], "*");
    await assert.rejects(put("doc", parse("2"), null), { status: 412, code: "precondition_failed" });
    assert.equal(service.text("doc"), "1");
  });

  test("with an outdated ETag is refused and shows the current entry", async () => {
    const { etag } = service.write("doc", "1");
    service.write("doc", "2");
    await assert.rejects(put("doc", parse("3"), etag), (error) => {
      assert.ok(error instanceof Refused);
      assert.deepEqual([error.status, error.current.version, compact(error.current.tree)], [412, "2", "2"]);
      return true;
    });
    service.delete("doc");
    await assert.rejects(put("doc", parse("3"), etag), { status: 412, current: null });
  });

  for (const [what, answer] of [
    ["an HTML page", "<html>"],
    ["other JSON", '{"ok":true}'],
    [
      "another entry",
      '{"key":"other","value":2,"version":1,"revision":9,"etag":"\\"1-aa\\"","modified_at":"t"}',
    ],
    // As when a redirect turns the write into a read.
    [
      "the entry as it was",
      '{"key":"doc","value":1,"version":1,"revision":1,"etag":"\\"1-aa\\"","modified_at":"t"}',
    ],
  ]) {
    test(`that is answered with ${what} is not taken for saved`, async () => {
      globalThis.fetch = async () => new Response(answer, { status: 200 });
      await assert.rejects(put("doc", parse("2"), '"1-aa"'), Unreachable);
    });
  }

  // Spring and others send JSON with both members.
  for (const [status, error] of [
    [500, "Internal Server Error"],
    [502, "Bad Gateway"],
    [502, "unavailable"],
    [503, "Service Unavailable"],
    [504, "Gateway Timeout"],
    [500, "unavailable"],
  ]) {
    test(`answered with ${status} ${error} by a gateway is Unreachable, whatever its JSON`, async () => {
      service.refuse(status, error, "said by a gateway", 3);
      await assert.rejects(put("doc", parse("1"), null), (problem) => {
        assert.ok(problem instanceof Unreachable);
        assert.deepEqual(
          [problem.status, problem.message],
          [status, `The server answered with status ${status}.`],
        );
        return true;
      });
    });
  }

  for (const [status, error] of [
    [500, "io"],
    [503, "unavailable"],
    [504, "outcome_unknown"],
    [413, "value_too_large"],
  ]) {
    test(`refused by the service with ${status} ${error} shows its message`, async () => {
      service.refuse(status, error, "said by the service", error === "outcome_unknown" ? 3 : 1);
      await assert.rejects(put("doc", parse("1"), null), (problem) => {
        assert.ok(problem instanceof Refused);
        assert.deepEqual([problem.code, problem.message], [error, "said by the service"]);
        return true;
      });
    });
  }

  test("without an answer is Unreachable, even if it was applied", async () => {
    service.cut("answers");
    await assert.rejects(put("doc", parse("1"), null), Unreachable);
    assert.equal(service.text("doc"), "1");
  });
});

describe("a read", () => {
  test("returns the entry, or null if there is none", async () => {
    service.write("doc", "[1]");
    assert.equal(compact((await read("doc")).tree), "[1]");
    assert.equal(await read("other"), null);
  });

  test("returns undefined if the known version is still current", async () => {
    const { etag } = service.write("doc", "1");
    assert.equal(await read("doc", etag), undefined);
    service.write("doc", "2");
    assert.equal((await read("doc", etag)).version, "2");
  });

  test("bypasses the cache and has a timeout", async () => {
    service.write("doc", "1");
    let sent;
    const { fetch } = globalThis;
    globalThis.fetch = (path, options) => {
      sent = options;
      return fetch(path, options);
    };
    await read("doc");
    assert.equal(sent.cache, "no-store");
    assert.ok(sent.signal instanceof AbortSignal);
  });

  test("accepts a value of the maximum depth", async () => {
    service.write("doc", "[".repeat(128) + "]".repeat(128));
    assert.equal((await read("doc")).key, "doc");
  });

  test("does not mistake an HTML page of a proxy for an entry", async () => {
    globalThis.fetch = async () => new Response("<html>", { status: 200 });
    await assert.rejects(read("doc"), { status: 200, code: "unknown" });
    globalThis.fetch = async () => new Response("<html>", { status: 502 });
    await assert.rejects(read("doc"), { status: 502, message: "The server answered with status 502." });
  });
});

test("an error page of a proxy is not mistaken for the absence of an entry", async () => {
  const pages = ["<html>", '{"message":"Not Found"}'];
  for (const [status, page] of [404, 412].flatMap((one) => pages.map((page) => [one, page]))) {
    globalThis.fetch = async () => new Response(page, { status });
    await assert.rejects(read("doc"), Unreachable);
    await assert.rejects(put("doc", parse("2"), '"1-aa"'), Unreachable);
    await assert.rejects(remove("doc", '"1-aa"'), Unreachable);
  }
});

describe("a delete", () => {
  test("sends the ETag of the version it deletes", async () => {
    const { etag } = service.write("doc", "1");
    service.write("doc", "2");
    await assert.rejects(remove("doc", etag), { status: 412 });
    assert.equal(service.text("doc"), "2");
    assert.equal((await remove("doc", service.etag("doc"))).version, "2");
    assert.equal(service.text("doc"), undefined);
  });

  test("of an absent key is refused with current null", async () => {
    await assert.rejects(remove("doc", '"1-aa"'), { status: 412, current: null });
  });
});

describe("the path of a key", () => {
  for (const [key, path] of [
    ["doc/plan", "/kv/doc/plan"],
    ["a b?c#d%é", "/kv/a%20b%3Fc%23d%25%C3%A9"],
    // A proxy might merge repeated slashes.
    ["a//b", "/kv/a%2F%2Fb"],
    ["/a/", "/kv/%2Fa%2F"],
  ]) {
    test(`${key} is ${path}`, async () => {
      service.write(key, "1");
      assert.equal((await read(key)).key, key);
      assert.equal(service.requests[0].path, path);
    });
  }
});

describe("a key", () => {
  const keys = ["a", "a/b", "a b", "...", "a/.b", "é".repeat(256), "🦀".repeat(128), "/", "a//b"];
  for (const key of keys) {
    test(`${key.slice(0, 10)} is valid`, () => assert.equal(whyInvalidKey(key), undefined));
  }

  for (const [key, why] of [
    ["", /Type a key/],
    ["a".repeat(513), /513 bytes; the limit is 512/],
    ["é".repeat(257), /514 bytes; the limit is 512/],
    ["a\u0000", /control characters/],
    ["a\u007f", /control characters/],
    ["a\n", /control characters/],
    ["..", /\. or \.\./],
    ["a/./b", /\. or \.\./],
    ["a/..", /\. or \.\./],
    ["\ud800", /surrogate/],
  ]) {
    test(`${JSON.stringify(key.slice(0, 10))} is not valid`, () => assert.match(whyInvalidKey(key), why));
  }
});

describe("a warning of a key", () => {
  for (const [key, warning] of [
    ["a b/ c /d", undefined],
    ["", undefined],
    [" doc", "The key begins with a space."],
    ["\u00a0doc", "The key begins with a space."],
    ["doc ", "The key ends with a space."],
  ]) {
    test(`${JSON.stringify(key)}: ${warning}`, () => assert.equal(warningAboutKey(key), warning));
  }
});

test("a list starts after the given key, and says where a watch can start", async () => {
  let sent;
  globalThis.fetch = async (url) => {
    sent = pathIn(url);
    const entry = '{"key":"a/b","value":1.0,"version":3,"revision":7,"etag":"\\"3-aa\\"","modified_at":"t"}';
    const headers = { ETag: 'W/"9-00ff"' };
    return new Response(`{"items":[${entry}],"revision":9,"next":"a/b"}`, { headers });
  };
  const page = await list("a/", "a/a", 50);
  assert.equal(sent, "/kv?limit=50&prefix=a%2F&after=a%2Fa");
  assert.deepEqual([page.next, page.revision, page.since], ["a/b", 9, "9-00ff"]);
  const [{ tree, ...entry }] = page.items;
  assert.equal(compact(tree), "1.0");
  const stamps = { version: "3", revision: 7, etag: '"3-aa"', modifiedAt: "t", modifiedBy: undefined };
  assert.deepEqual(entry, { key: "a/b", ...stamps });
  await list("", null, 50);
  assert.equal(sent, "/kv?limit=50");
});

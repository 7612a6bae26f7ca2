// When a write is sent again.

import assert from "node:assert/strict";
import { beforeEach, describe, test } from "node:test";
import { put, remove } from "../api.js";
import { parse } from "../json.js";
import { newRequestKey, PAUSES_MILLIS, sendUntilAnswered } from "../sending.js";
import { FakeService } from "./service.js";

const kinds = { isLost: ({ message }) => message === "lost", isBusy: ({ message }) => message === "busy" };

/** A request that fails with these messages, and then succeeds. */
function failing(...messages) {
  const sent = { count: 0 };
  sent.send = async () => {
    sent.count += 1;
    const message = messages.shift();
    if (message !== undefined) throw new Error(message);
    return "done";
  };
  return sent;
}

let service;
beforeEach(() => {
  service = new FakeService();
});

describe("a write", () => {
  test("whose answer is lost is sent again until it is answered", async () => {
    const sent = failing("lost", "lost");
    assert.equal(await sendUntilAnswered(sent.send, kinds), "done");
    assert.equal(sent.count, 3);
  });

  test("that is never answered fails in the end", async () => {
    const sent = failing("lost", "lost", "lost", "lost");
    await assert.rejects(sendUntilAnswered(sent.send, kinds), { message: "lost" });
    assert.equal(sent.count, PAUSES_MILLIS.length + 1);
  });

  test("that is refused is not sent again", async () => {
    const sent = failing("refused");
    await assert.rejects(sendUntilAnswered(sent.send, kinds), { message: "refused" });
    assert.equal(sent.count, 1);
  });

  test("that is still being worked on is waited for, and is lost if it stays so", async () => {
    assert.equal(await sendUntilAnswered(failing("lost", "busy").send, kinds), "done");
    await assert.rejects(sendUntilAnswered(failing("lost", "busy", "busy").send, kinds), { message: "lost" });
    // Somebody else has the same key: that is not about an answer.
    await assert.rejects(sendUntilAnswered(failing("busy").send, kinds), { message: "busy" });
  });

  test("is sent again with the same key, and done once", async () => {
    const { etag } = service.write("doc", "1");
    const { fetch } = globalThis;
    let lost = 0;
    globalThis.fetch = async (...request) => {
      const answer = await fetch(...request);
      lost += 1;
      if (lost === 1) throw new TypeError("Failed to fetch");
      return answer;
    };
    const entry = await put("doc", parse("2"), etag);
    assert.deepEqual([entry.version, service.text("doc"), service.requests.length], ["2", "2", 2]);
    const [first, second] = service.requests.map(({ headers }) => headers["Idempotency-Key"]);
    assert.equal(first, second);
    lost = 0;
    assert.equal((await remove("doc", entry.etag)).version, "2");
    assert.deepEqual([service.text("doc"), service.writes], [undefined, 2]);
  });

  test("through a gateway that has lost the answer is sent again", async () => {
    service.refuse(502, "Bad Gateway", "upstream closed");
    assert.equal((await put("doc", parse("1"), null)).version, "1");
  });

  test("that a login page answers is not sent again", async () => {
    let sent = 0;
    globalThis.fetch = async () => {
      sent += 1;
      return new Response("<html>", { status: 200 });
    };
    await assert.rejects(put("doc", parse("1"), null), /not from ifmatch/);
    assert.equal(sent, 1);
  });
});

test("each request has a key of its own", () => {
  const keys = Array.from({ length: 100 }, newRequestKey);
  assert.equal(new Set(keys).size, 100);
  assert.ok(keys.every((key) => /^"[0-9a-f]{32}"$/.test(key)));
});

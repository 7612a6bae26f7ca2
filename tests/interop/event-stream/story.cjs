// The eventsource package follows a store through a proxy that breaks its connections, and outlives ten
// restarts of the server: it comes again by itself, and brings the last id.
const { spawn } = require("node:child_process");
const { copyFileSync, mkdirSync } = require("node:fs");
const net = require("node:net");
const { createInterface } = require("node:readline");
const { isDeepStrictEqual } = require("node:util");
const { EventSource } = require("eventsource");

const [binary, folder] = process.argv.slice(2);
const onEtcd = process.env.STORE === "etcd";
const finding = (what, holds) => console.log(holds ? "ok" : "not ok", "eventsource:", what);
let server;

async function start(listen) {
  server = spawn(binary, ["--listen", listen, "--data", `${folder}/data.json`], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  for await (const line of createInterface(server.stdout)) return line.split(" ").pop();
}

async function stop(signal) {
  const gone = new Promise((exit) => server.once("exit", exit));
  server.kill(signal);
  await gone;
}

async function ask(url, method, body) {
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(url, {
    method,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status}`);
  return { etag: answer.headers.get("etag"), ...(await answer.json()) };
}

/** That of the last commit, because nobody else writes; an answer to DELETE has that of the deleted entry. */
async function revisionNow(url) {
  return (await ask(`${url}/kv?limit=1`, "GET")).revision;
}

async function write(url, rounds, expected) {
  for (let number = 0; number < rounds; number += 1) {
    const key = `doc/${number % 7}`;
    const { revision } = await ask(`${url}/kv/${key}`, "PUT", number);
    expected.push(`${revision} ${key}`);
    if (number % 5 === 4) {
      await ask(`${url}/kv/${key}`, "DELETE");
      // On etcd there are gaps: others write there, too.
      expected.push(`${onEtcd ? await revisionNow(url) : revision + 1} ${key}`);
    }
    if (number % 10 === 0) {
      const operations = [3, 1, 2].map((n) => ({ op: "put", key: `many/${n}`, value: number }));
      const done = await ask(`${url}/transactions`, "POST", { operations });
      for (const { key } of operations) expected.push(`${done.revision} ${key}`);
    }
  }
  expected.push(`${(await ask(`${url}/kv/end`, "PUT", rounds)).revision} end`);
}

(async () => {
  mkdirSync(folder, { recursive: true });
  let url = await start("127.0.0.1:0");
  const { hostname, port } = new URL(url);
  let broken = 0;
  const open = [];
  // Lets so many bytes through, then breaks the connection.
  let allowance = 6000;
  const proxy = net.createServer((from) => {
    const to = net.connect(Number(port), hostname);
    open.push(from, to);
    const end = () => {
      from.destroy();
      to.destroy();
    };
    for (const side of [from, to]) side.on("error", end).on("close", end);
    from.pipe(to);
    let left = allowance;
    to.on("data", (data) => {
      from.write(data.subarray(0, left));
      left -= data.length;
      if (left <= 0) {
        broken += 1;
        from.end();
        to.destroy();
      }
    });
  });
  await new Promise((listening) => proxy.listen(0, "127.0.0.1", listening));

  const list = await ask(`${url}/kv`, "GET");
  const known = new Map();
  let told = [];
  let resets = 0;
  let listed = list.revision;
  let toldMore = () => {};
  let listedAgain = () => {};
  const source = new EventSource(
    `http://127.0.0.1:${proxy.address().port}/watch?since=${list.etag.replaceAll('"', "")}`,
  );
  // What comes after a reset waits until the list is there.
  let turn = Promise.resolve();
  const inTurn = (work) => (event) => (turn = turn.then(() => work(event)));
  source.addEventListener(
    "reset",
    inTurn(async () => {
      resets += 1;
      const again = await ask(`${url}/kv`, "GET");
      known.clear();
      for (const entry of again.items) known.set(entry.key, entry);
      listed = again.revision;
      listedAgain();
    }),
  );
  for (const name of ["put", "delete"]) {
    source.addEventListener(
      name,
      inTurn((event) => {
        const entry = JSON.parse(event.data);
        if (entry.revision <= listed) return;
        told.push(`${entry.revision} ${entry.key}`);
        if (name === "put") known.set(entry.key, entry);
        else known.delete(entry.key);
        toldMore();
      }),
    );
  }
  const until = async (change) => {
    while (!told.includes(change)) await new Promise((resolve) => (toldMore = resolve));
  };
  const holds = async () =>
    isDeepStrictEqual(
      [...known.values()].sort((a, b) => (a.key < b.key ? -1 : 1)),
      (await ask(`${url}/kv`, "GET")).items,
    );

  let expected = [];
  await write(url, 200, expected);
  await until(expected.at(-1));
  finding(
    `${expected.length} changes over ${broken + 1} connections: each once, in order`,
    isDeepStrictEqual(told, expected) && broken > 5,
  );
  finding("what it knows is what is there", (await holds()) && resets === 0);

  allowance = Infinity;
  for (let restart = 0; restart < 10; restart += 1) {
    await write(url, 10, expected);
    await stop(restart % 2 === 0 ? "SIGTERM" : "SIGKILL");
    // A clean stop leaves all of the state in this file.
    if (restart === 0 && !onEtcd) copyFileSync(`${folder}/data.json`, `${folder}/older.json`);
    url = await start(`127.0.0.1:${port}`);
    const { revision } = await ask(`${url}/kv/while-away`, "PUT", restart);
    expected.push(`${revision} while-away`);
    await until(expected.at(-1));
  }
  finding("ten restarts, five of them kills: each change once, in order", isDeepStrictEqual(told, expected));
  finding("and it was never told to list again", resets === 0);
  finding("what it knows is what is there, after them", await holds());

  if (onEtcd) {
    console.log("skipped eventsource: an older state: tests/etcd restores one of etcd");
  } else {
    await stop("SIGTERM");
    copyFileSync(`${folder}/older.json`, `${folder}/data.json`);
    const reset = new Promise((resolve) => (listedAgain = resolve));
    url = await start(`127.0.0.1:${port}`);
    await reset;
    told = [];
    expected = [];
    await write(url, 59, expected);
    await until(expected.at(-1));
    finding("after an older state was restored it is told to list again, once", resets === 1);
    finding("and from then on misses nothing", isDeepStrictEqual(told, expected));
    finding("what it knows is what is there, again", await holds());
  }
  source.close();
  server.kill();
  process.exit(0);
})().catch((error) => {
  console.error(error);
  server?.kill("SIGKILL");
  process.exit(1);
});

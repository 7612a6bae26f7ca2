"""httpx-sse follows a store from list to stream, is cut off again and again, and outlives the server."""

import json
import os
import subprocess
import sys
import threading

import httpx
from httpx_sse import connect_sse

binary, folder = sys.argv[1:]
os.makedirs(folder)
client = httpx.Client(timeout=20)


def finding(what, holds):
    print("ok" if holds else "not ok", "httpx-sse:", what, flush=True)


def start(listen):
    command = [binary, "--listen", listen, "--data", f"{folder}/data.json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return process, process.stdout.readline().split()[-1]


class Follower:
    """What it knows of the store, and every change that it was told of."""

    def __init__(self):
        self.known, self.told, self.since, self.last, self.listed, self.resets = {}, [], None, None, 0, 0

    def list(self):
        answer = client.get(f"{url}/kv")
        self.known = {entry["key"]: entry for entry in answer.json()["items"]}
        self.listed = answer.json()["revision"]
        self.since = answer.headers["etag"].strip('"')

    def follow(self, events):
        """Takes so many events, over one connection; returns whether the end marker came."""
        after = {"headers": {"Last-Event-ID": self.last}} if self.last else {"params": {"since": self.since}}
        with connect_sse(client, "GET", f"{url}/watch", **after) as source:
            for event in source.iter_sse():
                self.last = event.id or self.last
                if event.event == "reset":
                    self.resets += 1
                    self.list()
                if event.event not in ("put", "delete"):
                    continue
                entry = json.loads(event.data)
                if entry["revision"] > self.listed:
                    self.told.append((entry["revision"], entry["key"]))
                    if event.event == "put":
                        self.known[entry["key"]] = entry
                    else:
                        self.known.pop(entry["key"], None)
                if entry["key"] == "end":
                    return True
                events -= 1
                if events == 0:
                    return False
        return False


def write(rounds, expected):
    def change(method, path, **arguments):
        answer = httpx.request(method, url + path, **arguments)
        answer.raise_for_status()
        return answer.json()

    for number in range(rounds):
        key = f"doc/{number % 7}"
        expected.append((change("PUT", f"/kv/{key}", json=number)["revision"], key))
        if number % 5 == 4:
            change("DELETE", f"/kv/{key}")
            expected.append((expected[-1][0] + 1, key))
        if number % 10 == 0:
            puts = [{"op": "put", "key": f"many/{n}", "value": number} for n in (3, 1, 2)]
            revision = change("POST", "/transactions", json={"operations": puts})["revision"]
            expected.extend((revision, put["key"]) for put in puts)
    expected.append((change("PUT", "/kv/end", json=rounds)["revision"], "end"))


def holds(follower):
    return {entry["key"]: entry for entry in client.get(f"{url}/kv").json()["items"]} == follower.known


server, url = start("127.0.0.1:0")
try:
    follower, expected = Follower(), []
    follower.list()
    writer = threading.Thread(target=write, args=(200, expected))
    writer.start()
    connections = 1
    while not follower.follow(events=17):
        connections += 1
    writer.join()
    finding(f"{len(expected)} changes over {connections} connections: each once, in order",
            follower.told == expected and connections > 10)
    finding("what it knows is what is there", holds(follower) and follower.resets == 0)

    server.kill()
    server.wait()
    server, url = start(url.removeprefix("http://"))
    httpx.put(f"{url}/kv/while-away", json=1).raise_for_status()
    follower.told, expected = [], []
    writer = threading.Thread(target=write, args=(100, expected))
    writer.start()
    while not follower.follow(events=17):
        pass
    writer.join()
    finding("after a kill it is told to list again, once", follower.resets == 1)
    since = [change for change in expected if change[0] > follower.listed]
    finding("and from then on misses nothing", follower.told == since)
    finding("what it knows is what is there, again", holds(follower))
finally:
    server.kill()
    server.wait()

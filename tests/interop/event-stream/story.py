"""httpx-sse follows a store from list to stream, is cut off again and again, and outlives ten restarts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import httpx
from httpx_sse import connect_sse

binary, folder = sys.argv[1:]
on_etcd = os.environ.get("STORE") == "etcd"
os.makedirs(folder)
client = httpx.Client(timeout=20)
# Each write has a connection of its own: those before a restart are gone.
writer = httpx.Client(timeout=20, limits=httpx.Limits(max_keepalive_connections=0))


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

    def follow(self, events=None, marker="end"):
        """Takes so many events, over one connection; returns whether the marker came."""
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
                    if event.event == "put":
                        self.known[entry["key"]] = entry
                    else:
                        self.known.pop(entry["key"], None)
                    self.told.append((entry["revision"], entry["key"]))
                if entry["key"] == marker:
                    return True
                if events is not None:
                    events -= 1
                    if events == 0:
                        return False
        return False

    def outlive(self):
        """Follows until it is told to finish, whatever becomes of the server meanwhile."""
        while True:
            try:
                if self.follow(marker="finish"):
                    return
            except httpx.TransportError:
                time.sleep(0.05)

    def until(self, change):
        while change not in self.told:
            time.sleep(0.01)


def change(method, path, **arguments):
    answer = writer.request(method, url + path, **arguments)
    answer.raise_for_status()
    return answer.json()


def revision_now():
    """That of the last commit, because nobody else writes; an answer to DELETE has that of the deleted entry."""
    answer = writer.get(f"{url}/kv", params={"limit": 1})
    answer.raise_for_status()
    return answer.json()["revision"]


def write(rounds, expected):
    for number in range(rounds):
        key = f"doc/{number % 7}"
        expected.append((change("PUT", f"/kv/{key}", json=number)["revision"], key))
        if number % 5 == 4:
            change("DELETE", f"/kv/{key}")
            # On etcd there are gaps: others write there, too.
            expected.append((revision_now() if on_etcd else expected[-1][0] + 1, key))
        if number % 10 == 0:
            puts = [{"op": "put", "key": f"many/{n}", "value": number} for n in (3, 1, 2)]
            revision = change("POST", "/transactions", json={"operations": puts})["revision"]
            expected.extend((revision, put["key"]) for put in puts)
    expected.append((change("PUT", "/kv/end", json=rounds)["revision"], "end"))


def holds(follower):
    return {entry["key"]: entry for entry in client.get(f"{url}/kv").json()["items"]} == follower.known


def restore_older_state():
    global server, url
    server.terminate()
    server.wait()
    shutil.copy(f"{folder}/older.json", f"{folder}/data.json")
    follower.told, expected = [], []
    server, url = start(address)
    while follower.resets == 0:
        time.sleep(0.01)
    write(100, expected)
    expected.append((change("PUT", "/kv/finish", json=1)["revision"], "finish"))
    following.join()
    finding("after an older state was restored it is told to list again, once", follower.resets == 1)
    since = [change for change in expected if change[0] > follower.listed]
    finding("and from then on misses nothing", follower.told == since)
    finding("what it knows is what is there, again", holds(follower))


server, url = start("127.0.0.1:0")
try:
    follower, expected = Follower(), []
    follower.list()
    writing = threading.Thread(target=write, args=(200, expected))
    writing.start()
    connections = 1
    while not follower.follow(events=17):
        connections += 1
    writing.join()
    finding(f"{len(expected)} changes over {connections} connections: each once, in order",
            follower.told == expected and connections > 10)
    finding("what it knows is what is there", holds(follower) and follower.resets == 0)

    following = threading.Thread(target=follower.outlive, daemon=True)
    following.start()
    address = url.removeprefix("http://")
    for restart in range(10):
        write(10, expected)
        server.send_signal(signal.SIGKILL if restart % 2 else signal.SIGTERM)
        server.wait()
        if restart == 0 and not on_etcd:
            # A clean stop leaves all of the state in this file.
            shutil.copy(f"{folder}/data.json", f"{folder}/older.json")
        server, url = start(address)
        expected.append((change("PUT", "/kv/while-away", json=restart)["revision"], "while-away"))
        follower.until(expected[-1])
    finding("ten restarts, five of them kills: each change once, in order", follower.told == expected)
    finding("and it was never told to list again", follower.resets == 0)
    finding("what it knows is what is there, after them", holds(follower))

    if on_etcd:
        print("skipped httpx-sse: an older state: tests/etcd restores one of etcd", flush=True)
    else:
        restore_older_state()
finally:
    server.kill()
    server.wait()

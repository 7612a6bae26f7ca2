"""Reads through requests-cache while somebody else writes."""

import sys

import requests
import requests_cache

url = sys.argv[1] + "/kv/doc/plan"
cached = requests_cache.CachedSession(backend="memory", cache_control=True)


def finding(what, holds):
    print("ok" if holds else "not ok", what)


def write(value):
    requests.put(url, json=value).raise_for_status()


missing = cached.get(url)
finding("an absent key is a 404", missing.status_code == 404)
write("first")
first = cached.get(url)
finding("a 404 is not kept", first.ok and first.json()["value"] == "first")
again = cached.get(url)
finding("an unchanged entry comes from the cache, revalidated", again.from_cache and again.revalidated)
finding("it is the same", again.json() == first.json() and again.headers["ETag"] == first.headers["ETag"])
for number in range(50):
    write(number)
    read = cached.get(url)
    if read.json()["value"] != number:
        finding(f"read {read.json()} after {number} was written", False)
        break
else:
    finding("no read of 50 is stale", True)
listed = cached.get(sys.argv[1] + "/kv")
again = cached.get(sys.argv[1] + "/kv")
finding("an unchanged list comes from the cache, revalidated", again.from_cache and again.revalidated)
write("last")
listed = cached.get(sys.argv[1] + "/kv")
finding("a changed list is read anew", listed.json()["items"][0]["value"] == "last")

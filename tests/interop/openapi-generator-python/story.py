"""The story, told through a client that OpenAPI Generator made."""

import sys
import urllib.request

from ifmatch_client import (
    ApiClient,
    ApiException,
    CheckOperation,
    Configuration,
    EntriesApi,
    Entry,
    Error,
    HistoryApi,
    PutOperation,
    RevertRequest,
    TransactionOperation,
    TransactionRequest,
)
from ifmatch_client.exceptions import NotFoundException

KEY = "doc/plan"
PLAN = {"title": "Plan", "budget": 100}


def step(what, holds):
    print("ok" if holds else "not ok", what)


def refused(call, *args, **kwargs):
    """The status and the typed error that a call is refused with."""
    try:
        call(*args, **kwargs)
    except ApiException as e:
        return e.status, e.data
    return None, None


url, token = sys.argv[1:]
api = EntriesApi(ApiClient(Configuration(host=url, access_token=token)))

stranger = EntriesApi(ApiClient(Configuration(host=url)))
status, error = refused(stranger.get_entry, KEY)
step(
    "read without the token: 401, typed",
    status == 401 and isinstance(error, Error) and error.error == "unauthorized",
)

created = api.put_entry_with_http_info(KEY, PLAN)
first = created.data
step(
    "create: 201, version 1",
    created.status_code == 201 and isinstance(first, Entry) and first.version == 1 and first.key == KEY,
)

read = api.get_entry(KEY)
step("read: the same entry", read == first and read.value == PLAN)

replaced = api.put_entry_with_http_info(KEY, PLAN | {"budget": 120}, if_match=first.etag)
second = replaced.data
step("replace with the tag: 200, version 2", replaced.status_code == 200 and second.version == 2)

status, error = refused(api.put_entry, KEY, PLAN | {"title": "Plan B"}, if_match=first.etag)
step(
    "replace with the stale tag: 412, typed",
    status == 412 and isinstance(error, Error) and error.error == "precondition_failed",
)
step(
    "the 412 shows the current entry",
    isinstance(error.current, Entry) and error.current == second and error.current.value["budget"] == 120,
)

third = api.patch_entry(KEY, {"budget": None, "owner": "Ann"}, if_match=second.etag)
step("patch: version 3", third.version == 3 and third.value == {"title": "Plan", "owner": "Ann"})

put = PutOperation(op="put", key="doc/other", value=[1, None])
check = CheckOperation(op="check", key="doc/absent", if_none_match="*")
both = api.transact(TransactionRequest(operations=[TransactionOperation(put), TransactionOperation(check)]))
step(
    "transaction: an entry, and null for the absent key",
    isinstance(both.results[0], Entry) and both.results[0].value == [1, None] and both.results[1] is None,
)

step("delete with the newest tag", api.delete_entry(KEY, if_match=third.etag) == third)

try:
    api.get_entry(KEY)
    step("read: 404, typed", False)
except NotFoundException as e:
    step("read: 404, typed", isinstance(e.data, Error) and e.data.error == "not_found")

status, error = refused(api.put_entry, KEY, PLAN, if_match=second.etag)
step(
    "replace what is gone: 412, current is null",
    status == 412 and isinstance(error, Error) and error.current is None,
)

for name, value in {
    "object": {"a": {"b": [1, None]}},
    "empty object": {},
    "array": [1, "two", None, {}],
    "string": 'schön "quoted" \u2028',
    "number": 2**53 + 1,
    "fraction": -0.25,
    "bool": False,
}.items():
    written = api.put_entry("kinds/" + name, value)
    step(f"a value of the kind {name}", written.value == value == api.get_entry("kinds/" + name).value)

# This client takes None for a body that is not there: null is written by other means, and read by it.
headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
request = urllib.request.Request(url + "/kv/kinds/null", b"null", headers, method="PUT")
urllib.request.urlopen(request).close()
step("a value of the kind null", api.get_entry("kinds/null").value is None)

listed = api.list_entries(prefix="kinds/", limit=3)
step("list: a page of entries", len(listed.items) == 3 and listed.next == listed.items[2].key)
rest = api.list_entries(prefix="kinds/", after=listed.next)
step("list: the rest, next is null", len(rest.items) == 5 and rest.next is None)

PAST = "doc/past"
done = api.put_entry(PAST, PLAN, idempotency_key='"8e03978e-40d5"')
repeated = api.put_entry_with_http_info(PAST, PLAN, idempotency_key='"8e03978e-40d5"')
step(
    "the same write sent twice: done once, and answered as it was",
    repeated.status_code == 201
    and repeated.headers["idempotency-replayed"] == "true"
    and repeated.data == done,
)
newer = api.put_entry(PAST, PLAN | {"budget": 120}, if_match=done.etag)
past = HistoryApi(ApiClient(Configuration(host=url, access_token=token)))
history = past.get_entry_history(PAST)
step(
    "history: both versions, the newest first",
    [(event.event, event.etag, event.value["budget"]) for event in history.items]
    == [("put", newer.etag, 120), ("put", done.etag, 100)]
    and history.next is None,
)
step("read at a revision: the entry of then", api.get_entry(PAST, revision=done.revision) == done)
reverted = past.revert_entry(PAST, RevertRequest(revision=done.revision), if_match=newer.etag)
step("revert: the value of then, as version 3", reverted.version == 3 and reverted.value == PLAN)

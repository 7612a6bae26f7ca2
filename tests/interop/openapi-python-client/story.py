"""The story, told through a client that openapi-python-client made."""

import sys

from ifmatch_client import AuthenticatedClient, Client
from ifmatch_client.api.entries import delete_entry, get_entry, list_entries, put_entry, transact
from ifmatch_client.api.history import get_entry_history, revert_entry
from ifmatch_client.models import (
    CheckOperation,
    CheckOperationOp,
    Entry,
    EntryList,
    Error,
    ErrorCode,
    History,
    PutOperation,
    PutOperationOp,
    RevertRequest,
    TransactionRequest,
    TransactionResult,
)

KEY = "doc/plan"
PLAN = {"title": "Plan", "budget": 100}


def step(what, holds):
    print("ok" if holds else "not ok", what)


url, token = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token, raise_on_unexpected_status=True)

stranger = get_entry.sync_detailed(KEY, client=Client(base_url=url))
step(
    "read without the token: 401, typed",
    stranger.status_code == 401
    and isinstance(stranger.parsed, Error)
    and stranger.parsed.error == ErrorCode.UNAUTHORIZED,
)

created = put_entry.sync_detailed(KEY, client=client, body=PLAN)
first = created.parsed
step(
    "create: 201, version 1",
    created.status_code == 201 and isinstance(first, Entry) and first.version == 1 and first.key == KEY,
)

read = get_entry.sync(KEY, client=client)
step("read: the same entry", read == first and read.value == PLAN)

replaced = put_entry.sync_detailed(KEY, client=client, body=PLAN | {"budget": 120}, if_match=first.etag)
second = replaced.parsed
step("replace with the tag: 200, version 2", replaced.status_code == 200 and second.version == 2)

lost = put_entry.sync_detailed(KEY, client=client, body=PLAN | {"title": "Plan B"}, if_match=first.etag)
error = lost.parsed
step(
    "replace with the stale tag: 412, typed",
    lost.status_code == 412 and isinstance(error, Error) and error.error is ErrorCode.PRECONDITION_FAILED,
)
step(
    "the 412 shows the current entry",
    # An entry that may be null is of a class of its own here.
    error.current.to_dict() == second.to_dict() and error.current.value["budget"] == 120,
)

# This client cannot choose among several media types if one takes any value (`isinstance(body, Any)`,
# openapi-generators/openapi-python-client#1276 is of that kind): a patch is sent by other means.
patched = client.get_httpx_client().patch(
    "/kv/" + KEY,
    json={"budget": None, "owner": "Ann"},
    headers={"Content-Type": "application/merge-patch+json", "If-Match": second.etag},
)
third = Entry.from_dict(patched.json())
step(
    "patch: version 3 (by other means: no choice of a media type)",
    third.version == 3 and third.value == {"title": "Plan", "owner": "Ann"},
)

both = transact.sync(
    client=client,
    body=TransactionRequest(
        operations=[
            PutOperation(op=PutOperationOp.PUT, key="doc/other", value=[1, None]),
            CheckOperation(op=CheckOperationOp.CHECK, key="doc/absent", if_none_match="*"),
        ]
    ),
)
step(
    "transaction: an entry, and null for the absent key",
    isinstance(both, TransactionResult) and both.results[0].value == [1, None] and both.results[1] is None,
)

step(
    "delete with the newest tag",
    delete_entry.sync(KEY, client=client, if_match=third.etag) == third,
)

gone = get_entry.sync_detailed(KEY, client=client)
step(
    "read: 404, typed",
    gone.status_code == 404 and isinstance(gone.parsed, Error) and gone.parsed.error is ErrorCode.NOT_FOUND,
)

lost = put_entry.sync_detailed(KEY, client=client, body=PLAN, if_match=second.etag)
step(
    "replace what is gone: 412, current is null",
    lost.status_code == 412 and isinstance(lost.parsed, Error) and lost.parsed.current is None,
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
    written = put_entry.sync("kinds/" + name, client=client, body=value)
    read = get_entry.sync("kinds/" + name, client=client)
    step(f"a value of the kind {name}", written == read and read.value == value)

# This client takes None for a body that is not there: null is written by other means, and read by it.
client.get_httpx_client().put(
    "/kv/kinds/null", content="null", headers={"Content-Type": "application/json"}
).raise_for_status()
read = get_entry.sync("kinds/null", client=client)
step("a value of the kind null", isinstance(read, Entry) and read.value is None)

listed = list_entries.sync(client=client, prefix="kinds/", limit=3)
step(
    "list: a page of entries",
    isinstance(listed, EntryList) and len(listed.items) == 3 and listed.next_ == listed.items[2].key,
)
rest = list_entries.sync(client=client, prefix="kinds/", after=listed.next_)
step("list: the rest, next is null", len(rest.items) == 5 and rest.next_ is None)

PAST = "doc/past"
once = {"client": client, "body": PLAN, "idempotency_key": '"8e03978e-40d5"'}
done = put_entry.sync(PAST, **once)
repeated = put_entry.sync_detailed(PAST, **once)
step(
    "the same write sent twice: done once, and answered as it was",
    repeated.status_code == 201
    and repeated.headers["idempotency-replayed"] == "true"
    and repeated.parsed == done,
)
newer = put_entry.sync(PAST, client=client, body=PLAN | {"budget": 120}, if_match=done.etag)
history = get_entry_history.sync(PAST, client=client)
step(
    "history: both versions, the newest first",
    isinstance(history, History)
    and [(event.event, event.etag, event.value["budget"]) for event in history.items]
    == [("put", newer.etag, 120), ("put", done.etag, 100)]
    and history.next_ is None,
)
then = get_entry.sync(PAST, client=client, revision=done.revision)
step("read at a revision: the entry of then", then == done)
back = RevertRequest(revision=done.revision)
reverted = revert_entry.sync(PAST, client=client, body=back, if_match=newer.etag)
step("revert: the value of then, as version 3", reverted.version == 3 and reverted.value == PLAN)

// The story, told through a client that OpenAPI Generator made.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"

	ifmatch "github.com/GIT_USER_ID/GIT_REPO_ID"
)

const key = "doc/plan"

type object = map[string]interface{}

func step(what string, holds bool) {
	if holds {
		fmt.Println("ok", what)
	} else {
		fmt.Println("not ok", what)
	}
}

// done is what a call that is not refused answers.
func done[T any](answer T, response *http.Response, err error) T {
	if err != nil {
		fmt.Println("not ok:", err)
		os.Exit(1)
	}
	return answer
}

// refused is the status and the typed error that a call is refused with.
func refused[T any](_ T, response *http.Response, err error) (int, ifmatch.Error) {
	var refusal *ifmatch.GenericOpenAPIError
	if !errors.As(err, &refusal) {
		fmt.Println("not ok: not refused:", err)
		os.Exit(1)
	}
	failure, _ := refusal.Model().(ifmatch.Error)
	return response.StatusCode, failure
}

func main() {
	configuration := ifmatch.NewConfiguration()
	configuration.Servers = ifmatch.ServerConfigurations{{URL: os.Args[1]}}
	client := ifmatch.NewAPIClient(configuration)
	api := client.EntriesAPI
	all := context.WithValue(context.Background(), ifmatch.ContextAccessToken, os.Args[2])
	plan := object{"title": "Plan", "budget": 100.0}

	status, unauthorized := refused(api.GetEntry(context.Background(), key).Execute())
	step("read without the token: 401, typed", status == 401 && unauthorized.Error == ifmatch.UNAUTHORIZED)

	first, response, err := api.PutEntry(all, key).Body(plan).Execute()
	done(first, response, err)
	step("create: 201, version 1", response.StatusCode == 201 && first.Version == 1 && first.Key == key)

	read := done(api.GetEntry(all, key).Execute())
	step("read: the same entry", reflect.DeepEqual(read, first) && reflect.DeepEqual(read.Value, plan))

	raised := object{"title": "Plan", "budget": 120.0}
	second, response, err := api.PutEntry(all, key).Body(raised).IfMatch(first.Etag).Execute()
	done(second, response, err)
	step("replace with the tag: 200, version 2", response.StatusCode == 200 && second.Version == 2)

	status, failure := refused(api.PutEntry(all, key).Body(plan).IfMatch(first.Etag).Execute())
	step("replace with the stale tag: 412, typed", status == 412 && failure.Error == ifmatch.PRECONDITION_FAILED)
	current := failure.Current.Get()
	step("the 412 shows the current entry", reflect.DeepEqual(current, second) && reflect.DeepEqual(current.Value, raised))

	status, failure = refused(api.PutEntry(all, key).Body(plan).IfNoneMatch("*").Execute())
	step("create only: 412, the current entry", status == 412 && reflect.DeepEqual(failure.Current.Get(), second))

	third := done(api.PatchEntry(all, key).Body(object{"budget": nil, "owner": "Ann"}).IfMatch(second.Etag).Execute())
	step("patch: version 3", third.Version == 3 && reflect.DeepEqual(third.Value, object{"title": "Plan", "owner": "Ann"}))

	put := ifmatch.NewPutOperation("put", "doc/other", []interface{}{1.0, nil})
	check := ifmatch.NewCheckOperation("check", "doc/absent")
	check.SetIfNoneMatch("*")
	operations := []ifmatch.TransactionOperation{
		ifmatch.PutOperationAsTransactionOperation(put), ifmatch.CheckOperationAsTransactionOperation(check),
	}
	result := done(api.Transact(all).TransactionRequest(*ifmatch.NewTransactionRequest(operations)).Execute())
	step("transaction: an entry, and null for the absent key",
		len(result.Results) == 2 && result.Results[0].Key == "doc/other" && result.Results[1] == nil)

	stale := ifmatch.NewCheckOperation("check", key)
	stale.SetIfMatch(first.Etag)
	absent := ifmatch.NewCheckOperation("check", "doc/absent")
	absent.SetIfMatch("*")
	operations = []ifmatch.TransactionOperation{
		ifmatch.CheckOperationAsTransactionOperation(stale), ifmatch.CheckOperationAsTransactionOperation(absent),
	}
	status, failure = refused(api.Transact(all).TransactionRequest(*ifmatch.NewTransactionRequest(operations)).Execute())
	step("a transaction that does not hold: 412, both operations, an entry and null",
		status == 412 && len(failure.Failed) == 2 && reflect.DeepEqual(failure.Failed[0].Current.Get(), third) &&
			failure.Failed[1].Current.IsSet() && failure.Failed[1].Current.Get() == nil)

	step("delete with the newest tag", reflect.DeepEqual(done(api.DeleteEntry(all, key).IfMatch(third.Etag).Execute()), third))

	status, failure = refused(api.GetEntry(all, key).Execute())
	step("read: 404, typed", status == 404 && failure.Error == ifmatch.NOT_FOUND)

	status, failure = refused(api.PutEntry(all, key).Body(plan).IfMatch(third.Etag).Execute())
	step("replace what is gone: 412, current is null",
		status == 412 && failure.Current.IsSet() && failure.Current.Get() == nil)

	// This client takes nil for a body that is not there, so null itself stands in an array.
	kinds := object{
		"object": object{"a": object{"b": []interface{}{1.0, nil}}, "c": nil}, "empty object": object{},
		"array": []interface{}{1.0, "two", nil, object{}}, "string": "schön \"quoted\" \u2028",
		"fraction": -0.25, "bool": false,
	}
	for name, value := range kinds {
		written := done(api.PutEntry(all, "kinds/"+name).Body(value).Execute())
		read := done(api.GetEntry(all, "kinds/"+name).Execute())
		step("a value of the kind "+name, reflect.DeepEqual(written, read) && reflect.DeepEqual(read.Value, value))
	}

	page := done(api.ListEntries(all).Prefix("kinds/").Limit(2).Execute())
	next := page.Next.Get()
	step("list: a page of entries", len(page.Items) == 2 && next != nil && *next == page.Items[1].Key)
	rest := done(api.ListEntries(all).Prefix("kinds/").After(*next).Execute())
	step("list: the rest, next is null", len(rest.Items) == 4 && rest.Next.Get() == nil)

	const past = "doc/past"
	once := api.PutEntry(all, past).Body(plan).IdempotencyKey("\"8e03978e-40d5\"")
	original := done(once.Execute())
	repeated, response, err := once.Execute()
	done(repeated, response, err)
	step("the same write sent twice: done once, and answered as it was",
		response.StatusCode == 201 && response.Header.Get("Idempotency-Replayed") == "true" &&
			reflect.DeepEqual(repeated, original))
	newer := done(api.PutEntry(all, past).Body(raised).IfMatch(original.Etag).Execute())
	history := done(client.HistoryAPI.GetEntryHistory(all, past).Execute())
	step("history: both versions, the newest first",
		len(history.Items) == 2 && history.Next.Get() == nil && history.Items[0].Event == "put" &&
			history.Items[0].Etag == newer.Etag && reflect.DeepEqual(history.Items[0].Value, raised) &&
			history.Items[1].Etag == original.Etag && reflect.DeepEqual(history.Items[1].Value, plan))
	then := done(api.GetEntry(all, past).Revision(original.Revision).Execute())
	step("read at a revision: the entry of then", reflect.DeepEqual(then, original))
	back := *ifmatch.NewRevertRequest(original.Revision)
	reverted := done(client.HistoryAPI.RevertEntry(all, past).RevertRequest(back).IfMatch(newer.Etag).Execute())
	step("revert: the value of then, as version 3",
		reverted.Version == 3 && reflect.DeepEqual(reverted.Value, plan))
}

import com.fasterxml.jackson.annotation.JsonInclude;
import ifmatch.ApiClient;
import ifmatch.ApiException;
import ifmatch.api.EntriesApi;
import ifmatch.api.HistoryApi;
import ifmatch.model.CheckOperation;
import ifmatch.model.Entry;
import ifmatch.model.EntryList;
import ifmatch.model.Error;
import ifmatch.model.ErrorCode;
import ifmatch.model.History;
import ifmatch.model.PutOperation;
import ifmatch.model.RevertRequest;
import ifmatch.model.TransactionOperation;
import ifmatch.model.TransactionRequest;
import ifmatch.model.TransactionResult;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The story, told through a client that OpenAPI Generator made. */
class Story {
  static final String KEY = "doc/plan";

  static void step(String what, boolean holds) {
    System.out.println((holds ? "ok " : "not ok ") + what);
  }

  interface Call {
    void run() throws ApiException;
  }

  record Refusal(int status, Error error) {}

  static ApiClient client = new ApiClient();

  /** The status and the typed error that a call is refused with: this client hands over the text of the answer. */
  static Refusal refused(Call call) throws Exception {
    try {
      call.run();
    } catch (ApiException refusal) {
      Error error = client.getObjectMapper().readValue(refusal.getResponseBody(), Error.class);
      return new Refusal(refusal.getCode(), error);
    }
    throw new IllegalStateException("not refused");
  }

  static Map<String, Object> object(Object... members) {
    Map<String, Object> object = new HashMap<>();
    for (int i = 0; i < members.length; i += 2) object.put((String) members[i], members[i + 1]);
    return object;
  }

  static TransactionRequest checks(CheckOperation... checks) {
    return new TransactionRequest()
        .operations(Arrays.stream(checks).map(TransactionOperation::new).toList());
  }

  static CheckOperation check(String key) {
    return new CheckOperation().op(CheckOperation.OpEnum.CHECK).key(key);
  }

  public static void main(String[] arguments) throws Exception {
    client.updateBaseUri(arguments[0]);
    // Otherwise the client drops each member that is null, from a value and from a merge patch too
    // (OpenAPITools/openapi-generator#19067).
    client.setObjectMapper(client.getObjectMapper().setDefaultPropertyInclusion(
        JsonInclude.Value.construct(JsonInclude.Include.NON_NULL, JsonInclude.Include.ALWAYS)));
    Refusal stranger = refused(() -> new EntriesApi(client).getEntry(KEY, null, null, null, null, null, null, null, null, null));
    step("read without the token: 401, typed",
        stranger.status() == 401 && stranger.error().getError() == ErrorCode.UNAUTHORIZED);
    // With this HTTP client it has no setting for a token.
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + arguments[1]));
    EntriesApi api = new EntriesApi(client);

    Map<String, Object> plan = object("title", "Plan", "budget", 100);

    var created = api.putEntryWithHttpInfo(KEY, plan, null, null, null, null, null);
    Entry first = created.getData();
    step("create: 201, version 1",
        created.getStatusCode() == 201 && first.getVersion() == 1 && first.getKey().equals(KEY));

    Entry read = api.getEntry(KEY, null, null, null, null, null, null, null, null, null);
    step("read: the same entry", read.equals(first) && read.getValue().equals(plan));

    Map<String, Object> raised = object("title", "Plan", "budget", 120);
    var replaced = api.putEntryWithHttpInfo(KEY, raised, first.getEtag(), null, null, null, null);
    Entry second = replaced.getData();
    step("replace with the tag: 200, version 2", replaced.getStatusCode() == 200 && second.getVersion() == 2);

    Refusal stale = refused(() -> api.putEntry(KEY, plan, first.getEtag(), null, null, null, null));
    step("replace with the stale tag: 412, typed",
        stale.status() == 412 && stale.error().getError() == ErrorCode.PRECONDITION_FAILED);
    step("the 412 shows the current entry",
        stale.error().getCurrent().equals(second) && stale.error().getCurrent().getValue().equals(raised));

    Refusal exists = refused(() -> api.putEntry(KEY, plan, null, "*", null, null, null));
    step("create only: 412, the current entry", exists.status() == 412 && exists.error().getCurrent().equals(second));

    Entry third = api.patchEntry(KEY, object("budget", null, "owner", "Ann"), second.getEtag(), null, null, null, null);
    step("patch: version 3 (with another mapper: openapi-generator#19067)",
        third.getVersion() == 3 && third.getValue().equals(object("title", "Plan", "owner", "Ann")));

    PutOperation put =
        new PutOperation().op(PutOperation.OpEnum.PUT).key("doc/other").value(Arrays.asList(1, null));
    TransactionRequest both = new TransactionRequest().operations(List.of(
        new TransactionOperation(put), new TransactionOperation(check("doc/absent").ifNoneMatch("*"))));
    TransactionResult result = api.transact(both, null, null);
    step("transaction: an entry, and null for the absent key",
        result.getResults().size() == 2
            && result.getResults().get(0).getValue().equals(Arrays.asList(1, null))
            && result.getResults().get(1) == null);

    Refusal failed = refused(() -> api.transact(
        checks(check(KEY).ifMatch(first.getEtag()), check("doc/absent").ifMatch("*")), null, null));
    var both412 = failed.error().getFailed();
    step("a transaction that does not hold: 412, both operations, an entry and null",
        failed.status() == 412 && both412.size() == 2 && both412.get(0).getCurrent().equals(third)
            && both412.get(1).getCurrent() == null);

    step("delete with the newest tag", api.deleteEntry(KEY, third.getEtag(), null, null, null, null).equals(third));

    Refusal gone = refused(() -> api.getEntry(KEY, null, null, null, null, null, null, null, null, null));
    step("read: 404, typed", gone.status() == 404 && gone.error().getError() == ErrorCode.NOT_FOUND);

    Refusal lost = refused(() -> api.putEntry(KEY, plan, third.getEtag(), null, null, null, null));
    step("replace what is gone: 412, current is null",
        lost.status() == 412 && lost.error().getError() == ErrorCode.PRECONDITION_FAILED
            && lost.error().getCurrent() == null);

    // This client takes null for a body that is not there, so null itself stands in an array.
    Map<String, Object> kinds = new LinkedHashMap<>();
    kinds.put("object", object("a", object("b", Arrays.asList(1, null)), "c", null));
    kinds.put("empty object", object());
    kinds.put("array", Arrays.asList(1, "two", null, object()));
    kinds.put("string", "schön \"quoted\" \u2028");
    kinds.put("number", Long.MAX_VALUE);
    kinds.put("fraction", -0.25);
    kinds.put("bool", false);
    for (var kind : kinds.entrySet()) {
      Entry written = api.putEntry("kinds/" + kind.getKey(), kind.getValue(), null, null, null, null, null);
      Entry again = api.getEntry("kinds/" + kind.getKey(), null, null, null, null, null, null, null, null, null);
      step("a value of the kind " + kind.getKey(),
          written.equals(again) && again.getValue().equals(kind.getValue()));
    }

    EntryList page = api.listEntries("kinds/", null, 3, null, null, null, null, null, null, null);
    step("list: a page of entries",
        page.getItems().size() == 3 && page.getItems().get(2).getKey().equals(page.getNext()));
    EntryList rest = api.listEntries("kinds/", page.getNext(), null, null, null, null, null, null, null, null);
    step("list: the rest, next is null", rest.getItems().size() == 4 && rest.getNext() == null);
    past(api, plan, raised);
  }

  static void past(EntriesApi api, Map<String, Object> plan, Map<String, Object> raised) throws Exception {
    String key = "doc/past";
    String once = "\"8e03978e-40d5\"";
    Entry done = api.putEntry(key, plan, null, null, null, null, once);
    var repeated = api.putEntryWithHttpInfo(key, plan, null, null, null, null, once);
    step("the same write sent twice: done once, and answered as it was",
        repeated.getStatusCode() == 201 && repeated.getData().equals(done)
            && repeated.getHeaders().toString().toLowerCase().contains("idempotency-replayed=[true]"));
    Entry newer = api.putEntry(key, raised, done.getEtag(), null, null, null, null);
    HistoryApi pastApi = new HistoryApi(client);
    History history = pastApi.getEntryHistory(key, null, null, null);
    step("history: both versions, the newest first",
        history.getItems().size() == 2 && history.getNext() == null
            && history.getItems().get(0).getEtag().equals(newer.getEtag())
            && history.getItems().get(0).getValue().equals(raised)
            && history.getItems().get(1).getEtag().equals(done.getEtag())
            && history.getItems().get(1).getValue().equals(plan));
    Entry then = api.getEntry(key, done.getRevision(), null, null, null, null, null, null, null, null);
    step("read at a revision: the entry of then", then.equals(done));
    RevertRequest back = new RevertRequest().revision(done.getRevision());
    Entry reverted = pastApi.revertEntry(key, back, newer.getEtag(), null, null, null, null);
    step("revert: the value of then, as version 3",
        reverted.getVersion() == 3 && reverted.getValue().equals(plan));
  }
}

# The story, told through a client that OpenAPI Generator made.

require 'uri'
require 'ifmatch_client'

KEY = 'doc/plan'.freeze
PLAN = { title: 'Plan', budget: 100 }.freeze

def step(what, holds)
  puts "#{holds ? 'ok' : 'not ok'} #{what}"
end

# The status and the typed error that a call is refused with: this client hands over the text of the answer.
def refused
  yield
  [nil, Ifmatch::Error.new(error: 'io', message: 'not refused')]
rescue Ifmatch::ApiError => e
  [e.code, Ifmatch::Error.build_from_hash(JSON.parse(e.response_body, symbolize_names: true))]
end

url = URI(ARGV[0])
configuration = Ifmatch::Configuration.new do |c|
  c.scheme = url.scheme
  c.host = "#{url.host}:#{url.port}"
  # Otherwise the first of the contract's servers goes before the host.
  c.server_index = nil
end
client = Ifmatch::ApiClient.new(configuration)
api = Ifmatch::EntriesApi.new(client)

status, failure = refused { api.get_entry(KEY) }
step 'read without the token: 401, typed', status == 401 && failure.error == Ifmatch::ErrorCode::UNAUTHORIZED
configuration.access_token = ARGV[1]

first, status = api.put_entry_with_http_info(KEY, PLAN)
step 'create: 201, version 1', status == 201 && first.is_a?(Ifmatch::Entry) && first.version == 1 && first.key == KEY

read = api.get_entry(KEY)
step 'read: the same entry', read == first && read.value == PLAN

second, status = api.put_entry_with_http_info(KEY, { **PLAN, budget: 120 }, if_match: first.etag)
step 'replace with the tag: 200, version 2', status == 200 && second.version == 2

status, failure = refused { api.put_entry(KEY, PLAN, if_match: first.etag) }
step 'replace with the stale tag: 412, typed', status == 412 && failure.error == Ifmatch::ErrorCode::PRECONDITION_FAILED
step 'the 412 shows the current entry', failure.current == second && failure.current.value[:budget] == 120

status, failure = refused { api.put_entry(KEY, PLAN, if_none_match: '*') }
step 'create only: 412, the current entry', status == 412 && failure.current == second

third = api.patch_entry(KEY, { budget: nil, owner: 'Ann' }, if_match: second.etag)
step 'patch: version 3', third.version == 3 && third.value == { title: 'Plan', owner: 'Ann' }

def transaction(*operations)
  Ifmatch::TransactionRequest.new(operations: operations)
end

def check(key, **precondition)
  Ifmatch::CheckOperation.new(op: 'check', key: key, **precondition)
end

# A model of this client drops each null of an array that it holds, so this value has none. No public issue
# says so.
put = Ifmatch::PutOperation.new(op: 'put', key: 'doc/other', value: [1, 2])
result = api.transact(transaction(put, check('doc/absent', if_none_match: '*')))
step 'transaction: an entry, and null for the absent key (the value without a null)',
     result.results.length == 2 && result.results[0].value == [1, 2] && result.results[1].nil?

status, failure = refused do
  api.transact(transaction(check(KEY, if_match: first.etag), check('doc/absent', if_match: '*')))
end
step 'a transaction that does not hold: 412, both operations, an entry and null',
     status == 412 && failure.failed.map(&:index) == [0, 1] && failure.failed.map(&:current) == [third, nil]

step 'delete with the newest tag', api.delete_entry(KEY, if_match: third.etag) == third

status, failure = refused { api.get_entry(KEY) }
step 'read: 404, typed', status == 404 && failure.error == Ifmatch::ErrorCode::NOT_FOUND

status, failure = refused { api.put_entry(KEY, PLAN, if_match: third.etag) }
step 'replace what is gone: 412, current is null',
     status == 412 && failure.error == Ifmatch::ErrorCode::PRECONDITION_FAILED && failure.current.nil?

# This client takes nil for a body that is not there, so null itself stands in an array; and a text is sent
# as it is, not as a JSON string. No public issue says so.
{
  'object' => { a: { b: [1, nil] }, c: nil }, 'empty object' => {}, 'array' => [1, 'two', nil, {}],
  'number' => 2**53 + 1, 'fraction' => -0.25, 'bool' => false
}.each do |name, value|
  written = api.put_entry("kinds/#{name}", value)
  read = api.get_entry("kinds/#{name}")
  step "a value of the kind #{name}", written == read && read.value == value
end

page = api.list_entries(prefix: 'kinds/', limit: 2)
step 'list: a page of entries', page.items.length == 2 && page._next == page.items[1].key
rest = api.list_entries(prefix: 'kinds/', after: page._next)
step 'list: the rest, next is null', rest.items.length == 4 && rest._next.nil?

PAST = 'doc/past'.freeze
once = { idempotency_key: '"8e03978e-40d5"' }
done = api.put_entry(PAST, PLAN, once)
repeated, status, headers = api.put_entry_with_http_info(PAST, PLAN, once)
step 'the same write sent twice: done once, and answered as it was',
     status == 201 && headers['Idempotency-Replayed'] == 'true' && repeated == done
newer = api.put_entry(PAST, { **PLAN, budget: 120 }, if_match: done.etag)
past = Ifmatch::HistoryApi.new(client)
history = past.get_entry_history(PAST)
step 'history: both versions, the newest first',
     history.items.map { |event| [event.event, event.etag, event.value[:budget]] } ==
     [['put', newer.etag, 120], ['put', done.etag, 100]] && history._next.nil?
step 'read at a revision: the entry of then', api.get_entry(PAST, revision: done.revision) == done
back = Ifmatch::RevertRequest.new(revision: done.revision)
reverted = past.revert_entry(PAST, back, if_match: newer.etag)
step 'revert: the value of then, as version 3', reverted.version == 3 && reverted.value == PLAN

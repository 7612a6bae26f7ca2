-- One load of `wrk -s load.lua URL -- LOAD KEYS [LIST]`, over KEYS keys drawn at random.
-- LIST is an answer of `GET /kv?prefix=doc/`, for the loads that name a tag. At the end it prints
--   measured REQUESTS/S P50_US P99_US BYTES/ANSWER
-- or, if any answer was not the one expected, why not.

local value = '"' .. string.rep("x", 148) .. '"'
local json = { ["Content-Type"] = "application/json" }
local mark = "\1"

-- The request as the pieces between its marks, so that no header is formatted under load.
local function pieces(...)
  local list = {}
  for piece in (wrk.format(...) .. mark):gmatch("(.-)" .. mark) do
    list[#list + 1] = piece
  end
  return list
end

-- Keys are written out before the load, for whichever server it is.
local function names(keys, write)
  local name = {}
  for key = 1, keys do
    name[key] = write(string.format("%07d", key - 1))
  end
  return name
end

local function itself(name)
  return name
end

local function tags(file)
  local found = {}
  local text = assert(io.open(file)):read("*a")
  for key, tag in text:gmatch('"key":"doc/(%d+)".-"etag":"\\(".-)\\""') do
    found[key] = tag .. '"'
  end
  return found
end

local function base64(text)
  local digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local bits = a * 65536 + (b or 0) * 256 + (c or 0)
    for place = 3, 0, -1 do
      local digit = math.floor(bits / 64 ^ place) % 64 + 1
      local filler = (place == 1 and not b) or (place == 0 and not c)
      out[#out + 1] = filler and "=" or digits:sub(digit, digit)
    end
  end
  return table.concat(out)
end

local loads = {}

function loads.get(keys)
  local p, name = pieces("GET", "/kv/doc/" .. mark), names(keys, itself)
  return function()
    return p[1] .. name[math.random(keys)] .. p[2]
  end
end

loads["get-304"] = function(keys, list)
  local tag, name = tags(list), names(keys, itself)
  local p = pieces("GET", "/kv/doc/" .. mark, { ["If-None-Match"] = mark })
  return function()
    local key = name[math.random(keys)]
    return p[1] .. key .. p[2] .. tag[key] .. p[3]
  end
end

function loads.put(keys)
  local p, name = pieces("PUT", "/kv/doc/" .. mark, json, value), names(keys, itself)
  return function()
    return p[1] .. name[math.random(keys)] .. p[2]
  end
end

-- A key whose answer is awaited has a tag that nobody knows yet: it is taken from the queue with
-- the request and put back with the answer, which names it, in whatever order answers come.
loads["put-if-match"] = function(_, list)
  local tag, queue, first, last = tags(list), {}, 1, 0
  for key in pairs(tag) do
    last = last + 1
    queue[last] = key
  end
  local p = pieces("PUT", "/kv/doc/" .. mark,
    { ["Content-Type"] = "application/json", ["If-Match"] = mark }, value)
  request = function()
    local key = queue[first]
    queue[first] = nil
    first = first + 1
    return p[1] .. key .. p[2] .. tag[key] .. p[3]
  end
  response = function(status, headers, body)
    if status ~= 200 then
      print("a PUT with the current tag was answered " .. status .. " " .. body)
      os.exit(1)
    end
    local key = body:match('^{"key":"doc/(%d+)"')
    tag[key] = headers["etag"]
    last = last + 1
    queue[last] = key
  end
  return request
end

function loads.patch(keys)
  local p = pieces("PATCH", "/kv/obj/" .. mark,
    { ["Content-Type"] = "application/merge-patch+json" }, '{"n":' .. string.rep(mark, 7) .. "}")
  local counter, name = 1000000, names(keys, itself)
  return function()
    counter = counter + 1
    return p[1] .. name[math.random(keys)] .. p[2] .. counter .. p[#p]
  end
end

local function etcd(path, keys, rest)
  local name = names(keys, function(key) return base64("doc/" .. key) end)
  local p = pieces("POST", path, json, '{"key":"' .. string.rep(mark, #name[1]) .. '"' .. rest .. "}")
  return function()
    return p[1] .. name[math.random(keys)] .. p[#p]
  end
end

loads["etcd-get"] = function(keys)
  return etcd("/v3/kv/range", keys, "")
end

loads["etcd-put"] = function(keys)
  return etcd("/v3/kv/put", keys, ',"value":"' .. base64(value) .. '"')
end

function init(args)
  math.randomseed(os.time())
  request = loads[args[1]](tonumber(args[2]), args[3])
end

function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  if errors.status + broken > 0 then
    print(string.format("%d answers of 400 or above, %d broken connections", errors.status, broken))
    return
  end
  print(string.format("measured %.1f %d %d %.1f", summary.requests / summary.duration * 1e6,
    latency:percentile(50), latency:percentile(99), summary.bytes / math.max(summary.requests, 1)))
end

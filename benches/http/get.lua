-- GETs 1,000 keys one after the other.
local key = 0
request = function()
  key = (key + 1) % 1000
  return wrk.format("GET", "/kv/doc/" .. key)
end

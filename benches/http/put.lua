-- PUTs a value of 150 bytes to 1,000 keys one after the other.
local key = 0
local headers = { ["Content-Type"] = "application/json" }
local value = '"' .. string.rep("x", 148) .. '"'
request = function()
  key = (key + 1) % 1000
  return wrk.format("PUT", "/kv/doc/" .. key, headers, value)
end

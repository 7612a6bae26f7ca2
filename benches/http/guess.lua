-- Wrong tokens, each from another address as a trusted proxy says: `wrk -s guess.lua URL -- EACH_MS`. Each
-- connection sends one in EACH_MS milliseconds.

local each_ms

function init(args)
  each_ms = tonumber(args[1])
  math.randomseed(os.time())
end

function delay()
  return each_ms
end

function request()
  local address = string.format("203.%d.%d.%d", math.random(0, 255), math.random(0, 255), math.random(0, 255))
  local token = "Bearer wrong-" .. math.random(1e9)
  return wrk.format("GET", "/whoami", { ["Authorization"] = token, ["X-Forwarded-For"] = address })
end

function done(summary)
  print(string.format("guessed %.0f", summary.requests / summary.duration * 1e6))
end

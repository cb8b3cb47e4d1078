-- Takes several locks at once, all or none. It waits in one queue only, that of the first name that
-- it cannot have, and holds nothing meanwhile: so sets that overlap never wait in a circle.
-- KEYS  lock, queue and waiters of each name, no name twice
-- ARGV  as in acquire
-- reply {1, fence of the first name, ms left of the shortest lease, now us, fences of the others}
--                                                         all held by this token: since now, or since
--                                                         before (then nothing is changed)
--       {0, place of the name in the way, ms to wait, now us} busy; a refused try is over
--       {-1, 0, 0, now us}                              this attempt is over, as in acquire, or holds
--                                                         some of the names only: it is to be released
local KEEP, FORGET = 86400000, 60000000   -- as in acquire
local token, lane, stamp = ARGV[1], ARGV[2], tonumber(ARGV[3])
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local ms = math.floor(us / 1000)
-- Looks at all names before anything is changed.
local names, mine, over, met, queued, least = {}, 0, false, false, false, nil
for i = 1, #KEYS, 3 do
  local h = redis.call('HMGET', KEYS[i], 't', 'x', 'n', 'w', lane)
  h.lock, h.queue, h.waiters = KEYS[i], KEYS[i + 1], KEYS[i + 2]
  h.left, h.last, h.passed = (tonumber(h[2]) or 0) - ms, tonumber(h[3]) or 0, tonumber(h[4])
  h.free = h.left <= 0
  if h[1] == token and not h.free then
    mine, least = mine + 1, math.min(least or h.left, h.left)
  elseif h[5] and math.abs(h[5]) >= stamp then over = true
  end
  h.queued = h.passed and redis.call('ZSCORE', h.queue, token)
  met, queued = met or h.passed, queued or h.queued
  names[#names + 1] = h
end
if mine == #names then
  local out = {1, names[1].last, least, us}
  for i = 2, #names do out[i + 3] = names[i].last end
  return out
end
if mine > 0 or over or not queued and stamp < us then return {-1, 0, 0, us} end
local first, tell, leave
if met then first, tell, leave = queue() end
local budget, wait, own = string.match(ARGV[6], '^(%d+) (%d+) (.*)$')
budget, wait = tonumber(budget), tonumber(wait)
-- Who has waited for its turn at one name may overtake the head at another once. Else, with no budget,
-- two heads that each want the other's name would go to the end of each other's queue for ever.
if queued then budget = math.max(budget, 1) end
-- Finds the first name that cannot be had. Those behind it are not even asked for.
local block
for i, h in ipairs(names) do
  local channel, dropped
  h.till = 0
  if h.passed then
    if h.queued and wait > 0 then
      redis.call('HSET', h.waiters, token, ms + wait .. ' ' .. own)
    end
    h.head, channel, h.till, dropped = first(h.queue, h.waiters, ms)
    if dropped then h.passed = 0; redis.call('HSET', h.lock, 'w', '0') end
  end
  h.behind = h.head and h.head ~= token
  if not h.free or h.behind and (h.queued or h.passed >= budget) then block = i end
  if dropped and h.behind and h.free then tell(channel, h.head) end
  if block then break end
end
local function forget(h)                  -- as in acquire
  if h.last == 0 or h[5] then return end
  local some = redis.pcall('HRANDFIELD', h.lock, 4, 'WITHVALUES')
  for i = 1, #some, 2 do
    if #some[i] > 1 and math.abs(some[i + 1]) < us - FORGET then
      redis.call('HDEL', h.lock, some[i])
    end
  end
end
if not block then
  local lease = tonumber(ARGV[4])
  local out = {1, 0, lease, us}
  for i, h in ipairs(names) do
    local fence = math.max(h.last + 1, us)
    forget(h)
    redis.call('HSET', h.lock, 'n', string.format('%d', fence), 't', token,
      'x', string.format('%d', ms + lease), 'i', ARGV[5], lane, ARGV[3])
    if lease > KEEP / 2 or math.floor(h.last / KEEP / 250) ~= math.floor(us / KEEP / 250) then
      redis.call('PEXPIRE', h.lock, lease + KEEP)
    end
    if h.behind then redis.call('HSET', h.lock, 'w', h.passed + 1)
    elseif h.passed then
      if h.head then redis.call('ZREM', h.queue, token); redis.call('HDEL', h.waiters, token) end
      if redis.call('ZCARD', h.queue) == 0 then redis.call('HDEL', h.lock, 'w')
      else redis.call('HSET', h.lock, 'w', '0') end
    end
    out[i == 1 and 2 or i + 3] = fence
  end
  return out
end
for i, h in ipairs(names) do
  if h.queued and (i ~= block or wait == 0) then
    leave(h.lock, h.queue, h.waiters, token, ms, h.free)
  end
end
local h = names[block]
if wait == 0 then
  forget(h)
  redis.call('HSET', h.lock, lane, '-' .. ARGV[3])
else
  if not h.queued then
    redis.call('ZADD', h.queue, redis.call('HINCRBY', h.lock, 'q', 1), token)
    redis.call('HSET', h.waiters, token, ms + wait .. ' ' .. own)
    if not h.passed then redis.call('HSET', h.lock, 'w', '0') end
  end
  redis.call('PEXPIRE', h.queue, KEEP); redis.call('PEXPIRE', h.waiters, KEEP)
end
return {0, block, h.free and h.till - ms or h.left, us}

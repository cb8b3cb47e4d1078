-- Takes the lock, or joins its queue. Also the waiter's retry and its sign of life.
-- KEYS  1 lock  2 queue  3 waiters
-- ARGV  1 token  2 lane  3 stamp (us)  4 lease ms (ttl + grace)  5 info "grace ttl owner"
--       6 waiting "bypass-budget waiter-ttl-ms channel"; a waiter ttl of 0 only tries
-- reply {1, fence, ms left of the lease, now us}          held by this token: since now, or since
--                                                         before (then nothing is changed)
--       {0, place in the queue or -1, ms to wait, now us} busy; a refused try (-1) is over
--       {-1, 0, 0, now us}                              this attempt is over: finished, expired,
--                                                         refused, or stamped too long ago
-- lock: n fence of the last grant, t its token, x its lease end in ms (0: released), i info,
--       e "fence sequence" of the last extension, q last ticket, w overtakings (absent: no queue),
--       <lane> its last attempt: stamp > 0 granted, < 0 finished
-- Redis prints a number argument at 0.6 us, so numbers go in as strings; and arithmetic reads a number
-- in a string at half the time of tonumber.
local KEEP = 86400000                 -- ms a lock that nobody uses is remembered
local FORGET = 60000000               -- us after its stamp until a lane may be forgotten
local call, H, Q, W = redis.call, KEYS[1], KEYS[2], KEYS[3]
local token, lane, stamp = ARGV[1], ARGV[2], ARGV[3] + 0
local t = call('TIME')
local us = t[1] * 1000000 + t[2]
local ms = (us - us % 1000) / 1000
local h = call('HMGET', H, 'x', 'n', 'w', lane)
local left, last, mark = (h[1] or 0) - ms, (h[2] or 0) + 0, h[4]
if left > 0 and call('HGET', H, 't') == token then return {1, last, left, us} end
if mark and math.abs(mark) >= stamp then return {-1, 0, 0, us} end
local passed = h[3] and h[3] + 0
local queued = passed and call('ZSCORE', Q, token)
if not queued and stamp < us then return {-1, 0, 0, us} end
local free = left <= 0
local first, tell, budget, wait, own
if passed or not free then
  first, tell = queue()
  budget, wait, own = string.match(ARGV[6], '^(%d+) (%d+) (.*)$')
  wait = tonumber(wait)
end
local head, channel, till, dropped = false, '', 0, false
if passed then
  if queued and wait > 0 then call('HSET', W, token, ms + wait .. ' ' .. own) end
  head, channel, till, dropped = first(Q, W, ms)
  if dropped then passed = 0; call('HSET', H, 'w', '0') end
end
local behind = head and head ~= token
local granted = free and (not behind or not queued and passed < tonumber(budget))
-- A lane new to this name pays for forgetting old ones, also when it is refused: under a long,
-- renewed lease there are refusals only.
if last > 0 and not mark and (granted or wait == 0) then
  local some = redis.pcall('HRANDFIELD', H, 4, 'WITHVALUES')
  for i = 1, #some, 2 do
    if #some[i] > 1 and math.abs(some[i + 1]) < us - FORGET then call('HDEL', H, some[i]) end
  end
end
if granted then
  local fence, lease = last < us and us or last + 1, ARGV[4] + 0
  call('HSET', H, 'n', string.format('%d', fence), 't', token,
    'x', string.format('%d', ms + lease), 'i', ARGV[5], lane, ARGV[3])
  -- Once in each quarter of KEEP is enough.
  if lease > KEEP / 2 or last - last % (KEEP * 250) ~= us - us % (KEEP * 250) then
    call('PEXPIRE', H, lease + KEEP)
  end
  if behind then call('HSET', H, 'w', passed + 1)
  elseif passed then
    if head then call('ZREM', Q, token); call('HDEL', W, token) end
    if call('ZCARD', Q) == 0 then call('HDEL', H, 'w')
    else call('HSET', H, 'w', '0') end
  end
  return {1, fence, lease, us}
end
if dropped and behind and free then tell(channel, head) end
left = free and till - ms or left
if wait == 0 then
  call('HSET', H, lane, '-' .. ARGV[3])
  return {0, -1, left, us}
end
if not queued then
  call('ZADD', Q, call('HINCRBY', H, 'q', 1), token)
  call('HSET', W, token, ms + wait .. ' ' .. own)
  if not passed then call('HSET', H, 'w', '0') end
end
call('PEXPIRE', Q, KEEP); call('PEXPIRE', W, KEEP)
return {0, call('ZRANK', Q, token), left, us}

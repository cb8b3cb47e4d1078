-- Takes away what is over: dead waiters, lanes that may be forgotten, and the lock when nothing that
-- it remembers is needed any more. Leases, live waiters, and fences that may be needed stay.
-- KEYS  1 lock  2 queue  3 waiters
-- reply {1 if the lock is gone now, dead waiters, lanes, now us}
-- No more than SOME waiters and fields are looked at beside the dead at the head of the queue, so
-- that no call takes long.
-- The next fence is at least the server's time, so a fence of the past is not needed. FORGET, as in
-- acquire, is how much that clock may be set back before it were.
local FORGET, SOME = 60000000, 100
local call, H, Q, W = redis.call, KEYS[1], KEYS[2], KEYS[3]
local t = call('TIME')
local us = t[1] * 1000000 + t[2]
local ms = (us - us % 1000) / 1000
local h = call('HMGET', H, 'x', 'n', 'w')
local free, last = (h[1] or 0) - ms <= 0, (h[2] or 0) + 0
local dead, head = call('ZCARD', Q), false
if dead > 0 then
  local first, tell = queue()
  local channel, dropped, _
  head, channel, _, dropped = first(Q, W, ms)
  for _, token in ipairs(call('ZRANGE', Q, 1, SOME)) do
    local till = string.match(call('HGET', W, token) or '0', '^%d+')
    if tonumber(till) <= ms then call('ZREM', Q, token); call('HDEL', W, token) end
  end
  dead = dead - call('ZCARD', Q)
  -- Rule D, as in _queue. Without `w` nobody goes by this queue.
  if h[3] and head and dropped then
    call('HSET', H, 'w', '0')
    if free then tell(channel, head) end
  end
end
if h[3] and not head then call('HDEL', H, 'w') end
local some = call('HRANDFIELD', H, SOME, 'WITHVALUES')
local lanes, kept = 0, #some >= 2 * SOME
for i = 1, #some, 2 do
  if #some[i] > 1 then
    if math.abs(some[i + 1]) < us - FORGET then lanes = lanes + call('HDEL', H, some[i])
    else kept = true end
  end
end
local gone = 0
if free and not head and not kept and last < us - FORGET then
  gone = call('HDEL', H, 'n', 't', 'x', 'i', 'e', 'q', 'w') > 0 and 1 or 0
end
return {gone, dead, lanes, us}

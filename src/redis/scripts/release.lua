-- Ends an attempt in whatever state it is: releases the lock, leaves the queue, or forbids an
-- acquire that is still under way.
-- KEYS  1 lock  2 queue  3 waiters
-- ARGV  1 token  2 lane  3 stamp (us)  4 there if no acquire of it can be under way: a hold that was
--       taken over is released in another lane than it was acquired in
-- reply {code, told, now us, fence of the last grant or 0, with code 3 only}
--       code  1 released  2 was over already  -1 the lease had expired, nobody was granted since
--             3 nothing is held by it: it was not granted, or it was lost. Another was granted since
--               if the last fence is greater than its own
--       told  1 the next waiter was told  0 there is none  -1 done, but it could not be told
local KEEP, FORGET = 86400000, 60000000   -- as in acquire
local call, H, Q, W = redis.call, KEYS[1], KEYS[2], KEYS[3]
local token, lane, stamp = ARGV[1], ARGV[2], ARGV[3] + 0
local t = call('TIME')
local us = t[1] * 1000000 + t[2]
local ms = (us - us % 1000) / 1000
local h = call('HMGET', H, 't', 'x', 'w', lane)
local till, mark, code, told, last = (h[2] or 0) + 0, (h[4] or 0) + 0, 2, 0, nil
local left = till - ms
if h[1] == token and till > 0 then
  local over = string.format('-%d', math.max(stamp, us, mark, -mark))
  if type(redis.pcall('HSET', H, 'x', '0', lane, over)) == 'table' then
    -- HDEL works when memory is full, and what follows a write is let through.
    call('HDEL', H, 'x')
    call('HSET', H, lane, over)
  end
  code = left > 0 and 1 or -1
  if h[3] then
    local first, tell = queue()
    local head, channel, _, dropped = first(Q, W, ms)
    if not head then call('HDEL', H, 'w')
    else
      if dropped then call('HSET', H, 'w', '0') end
      told = tell(channel, head)
    end
  end
else
  if h[3] then
    local _, _, leave = queue()
    told = leave(H, Q, W, token, ms, left <= 0)
  end
  if h[1] ~= token and (mark == stamp or math.abs(mark) < stamp) then
    code, last = 3, (h[1] and call('HGET', H, 'n') or 0) + 0
  end
  if code == 3 and mark ~= stamp and not ARGV[4] then
    -- As in acquire. Under a long, renewed lease there may be nothing but waits that are cancelled.
    if not h[4] then
      local some = redis.pcall('HRANDFIELD', H, 4, 'WITHVALUES')
      for i = 1, #some, 2 do
        if #some[i] > 1 and math.abs(some[i + 1]) < us - FORGET then call('HDEL', H, some[i]) end
      end
    end
    call('HSET', H, lane, '-' .. ARGV[3])
    if call('PTTL', H) < KEEP then call('PEXPIRE', H, KEEP) end
  end
end
return {code, told, us, last}

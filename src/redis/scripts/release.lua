-- Ends an attempt in whatever state it is: releases the lock, leaves the queue, or forbids an
-- acquire that is still under way.
-- KEYS  1 lock  2 queue  3 waiters
-- ARGV  1 token  2 lane  3 stamp (us)
-- reply {code, told, now us}
--       code  1 released  2 was over already  3 cancelled: not granted, as far as the server knows
--            -1 the lease had expired, nobody was granted since
--            -2 it had expired and another was granted since
--       told  1 the next waiter was told  0 there is none  -1 done, but it could not be told
local KEEP = 86400000                 -- as in acquire
local H, Q, W, token, lane, stamp = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2], tonumber(ARGV[3])
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local ms = math.floor(us / 1000)
local h = redis.call('HMGET', H, 't', 'x', 'w', lane)
local mark, code, told = tonumber(h[4]) or 0, 2, 0
local left = (tonumber(h[2]) or 0) - ms
if h[1] == token and h[2] then
  -- First, because HDEL works when memory is full, and what follows a write is let through.
  redis.call('HDEL', H, 'x')
  redis.call('HSET', H, lane, string.format('%d', -math.max(stamp, us, math.abs(mark))))
  code = left > 0 and 1 or -1
  if h[3] then
    local head, channel, _, dropped = first(Q, W, ms)
    if not head then redis.call('HDEL', H, 'w')
    else
      if dropped then redis.call('HSET', H, 'w', '0') end
      told = tell(channel, head)
    end
  end
else
  if h[3] then told = leave(H, Q, W, token, ms, left <= 0) end
  if h[1] == token then code = 2
  elseif mark == stamp then code = -2
  elseif math.abs(mark) < stamp then
    redis.call('HSET', H, lane, '-' .. ARGV[3])
    if redis.call('PTTL', H) < KEEP then redis.call('PEXPIRE', H, KEEP) end
    code = 3
  end
end
return {code, told, us}

-- Who holds the lock. Changes nothing.
-- KEYS  1 lock  2 queue
-- reply {now us, last fence, ms left of the lease (0 = free), waiters, token, info}
--       granted at = the fence in us (later only after the server's clock stepped back)
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local h = redis.call('HMGET', KEYS[1], 'n', 'x', 't', 'i', 'w')
local left = (tonumber(h[2]) or 0) - math.floor(us / 1000)
local waiters = h[5] and redis.call('ZCARD', KEYS[2]) or 0
if left <= 0 then return {us, tonumber(h[1]) or 0, 0, waiters, '', ''} end
return {us, tonumber(h[1]), left, waiters, h[3], h[4]}

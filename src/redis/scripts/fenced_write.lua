-- Writes a value, unless a holder with a greater fencing token wrote before.
-- KEYS  1 the protected key
-- ARGV  1 fencing token  2 sequence number, growing per holder  3 value
-- reply {1 written, now or before (a repeat, or one that a later write of the same holder has
--       overtaken) or 0 refused, now us}
-- key: hash of f fencing token, s sequence number, v value
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local h = redis.call('HMGET', KEYS[1], 'f', 's')
local fence, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local last = tonumber(h[1]) or -1
if fence < last then return {0, us} end
if fence > last or seq > tonumber(h[2]) then
  redis.call('HSET', KEYS[1], 'f', ARGV[1], 's', ARGV[2], 'v', ARGV[3])
end
return {1, us}

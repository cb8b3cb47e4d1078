-- KEYS  1 the protected key
-- reply {fencing token of the last writer or -1, now us, value}
local t = redis.call('TIME')
local h = redis.call('HMGET', KEYS[1], 'f', 'v')
return {tonumber(h[1]) or -1, t[1] * 1000000 + t[2], h[2] or ''}

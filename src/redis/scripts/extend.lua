-- Lengthens the lease, never shortens it.
-- KEYS  1 lock
-- ARGV  1 token  2 ms (with grace, in mode s)  3 mode: s = at least ms from now, a = add ms
--       4 sequence number, growing per token
-- reply {ms left, now us}: ms left of the lease (also for a repeat, which changes nothing)
--       {-1, now us} the lease had expired, nobody was granted since
--       {-2, now us, fence of the last grant or 0} it is gone, as release says in code 3
local KEEP = 86400000                 -- as in acquire
local H = KEYS[1]
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local ms = math.floor(us / 1000)
local h = redis.call('HMGET', H, 't', 'x', 'n', 'e')
local till = (h[2] or 0) + 0
if h[1] ~= ARGV[1] or till == 0 then return {-2, us, (h[3] or 0) + 0} end
if till <= ms then return {-1, us} end
local fence, seq = string.match(h[4] or '', '^(%d+) (%d+)$')
if fence ~= h[3] or tonumber(ARGV[4]) > tonumber(seq) then
  till = ARGV[3] == 'a' and till + ARGV[2] or math.max(till, ms + ARGV[2])
  -- First, because PEXPIRE works when memory is full, and what follows a write is let through.
  redis.call('PEXPIRE', H, till - ms + KEEP)
  redis.call('HSET', H, 'x', string.format('%d', till), 'e', h[3] .. ' ' .. ARGV[4])
end
return {till - ms, us}

-- Writes a value, unless a holder with a greater fencing token wrote before.
-- KEYS  1 the protected key
-- ARGV  1 fencing token  2 writer  3 sequence number, growing per writer  4 value
-- reply {1 written, now or before (a repeat, or one that a later write of the same writer has
--       overtaken), 0 refused, or 2 to be numbered above the last write, which is another
--       writer's; now us; sequence number of the last write}
-- key: hash of f fencing token, s sequence number of the last write, w the last one of each writer
--      with this token, v value
local FORGET = 60000000               -- as in acquire: a number is the server's time, about
local t = redis.call('TIME')
local us = t[1] * 1000000 + t[2]
local h = redis.call('HMGET', KEYS[1], 'f', 's', 'w')
local fence, writer, seq = tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local last, latest, writers = tonumber(h[1]) or -1, tonumber(h[2]) or -1, ''
if fence < last then return {0, us, latest} end
if fence == last then
  writers = h[3] or ''
  -- Writers count by clocks of their own: numbers tell the order of one's writes only.
  local own = string.match(writers, writer .. ' (%d+)')
  if own and seq <= tonumber(own) then return {1, us, latest} end
  if seq <= latest then return {2, us, latest} end
  writers = string.gsub(writers, '(%x+) (%d+) ', function(other, number)
    if other == writer or tonumber(number) < us - FORGET then return '' end
  end)
end
redis.call('HSET', KEYS[1], 'f', ARGV[1], 's', ARGV[3],
  'w', writers .. writer .. ' ' .. ARGV[3] .. ' ', 'v', ARGV[4])
return {1, us, seq}

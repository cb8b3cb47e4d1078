-- Prepended to acquire, acquire_all and release, which share the queue. Who meets one makes these
-- functions: most calls do not, and making them takes a part of a call's time.
-- Queue: zset token -> ticket. Waiters: hash token -> "deadline channel", the deadline in ms.
-- Field `w` of the lock: there while there is a queue; how often its head was overtaken.
local function queue()
  -- The first live waiter, its channel and deadline; the dead in front of it are dropped.
  local function first(Q, W, ms)
    local dropped = false
    while true do
      local head = redis.call('ZRANGE', Q, 0, 0)[1]
      if not head then return false, '', 0, dropped end
      local till, channel = string.match(redis.call('HGET', W, head) or '0 ', '^(%d+) (.*)$')
      if tonumber(till) > ms then return head, channel, tonumber(till), dropped end
      redis.call('ZREM', Q, head); redis.call('HDEL', W, head)
      dropped = true
    end
  end

  -- 1: told. -1: it could not be told (no right to the channel), which never undoes what was done.
  local function tell(channel, token)
    local r = redis.pcall('PUBLISH', channel, token)
    return type(r) == 'table' and r.err and -1 or 1
  end

  -- Takes a waiter out. Rule D: a new head that may enter is told.
  local function leave(H, Q, W, token, ms, free)
    local was = redis.call('ZRANGE', Q, 0, 0)[1]
    if redis.call('ZREM', Q, token) == 0 then return 0 end
    redis.call('HDEL', W, token)
    local head, channel = first(Q, W, ms)
    if not head then redis.call('HDEL', H, 'w') return 0 end
    if head == was then return 0 end
    redis.call('HSET', H, 'w', '0')
    return free and tell(channel, head) or 0
  end

  return first, tell, leave
end


"""The Lua scripts of `redis_store`, which has the keys that they use: what they do is done as one."""

from glm_pool.limits import WINDOW

FRESH = 2.0
"""Seconds for which it counts that a process said that it waits: more than a heartbeat, as it says so with each."""
KEEP = 3600
"""Seconds after which Redis drops the keys of a meter that nobody uses."""
# All scripts begin so. A script runs alone and sees one moment of Redis's clock.
_HEAD = (
    f"local FRESH, WINDOW, KEEP = {FRESH * 1000:.0f}, {WINDOW * 1000:.0f}, {KEEP}"
    + """
local prefix, process = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function key(kind, name) return prefix .. kind .. ':' .. name end

local function counts(meter)
  local found = {}
  for _, lease in ipairs(redis.call('ZRANGE', key('slots', meter), 0, -1)) do
    local holder = string.match(lease, '^[^:]+')
    found[holder] = (found[holder] or 0) + 1
  end
  return found
end

local function announce(meter, room, to)
  local event = {by = process, meter = meter, counts = counts(meter), room = room, to = to}
  redis.call('PUBLISH', prefix .. 'events', cjson.encode(event))
end

local function hold(meter, lease, milliseconds)
  redis.call('ZADD', key('slots', meter), now + milliseconds, lease)
  redis.call('EXPIRE', key('slots', meter), KEEP)
  redis.call('SADD', prefix .. 'meters', meter)
end

local function wait(meter, arrived)
  redis.call('HSET', key('waiting', meter), process, arrived .. ' ' .. now)
  redis.call('PEXPIRE', key('waiting', meter), FRESH)
end

-- the other process with the request that has waited longest, if that came before the moment
local function first_before(meter, moment)
  local first
  local waiting = redis.call('HGETALL', key('waiting', meter))
  for i = 1, #waiting, 2 do
    local arrived, said = string.match(waiting[i + 1], '^(%S+) (%S+)$')
    if math.abs(now - said) > FRESH then
      redis.call('HDEL', key('waiting', meter), waiting[i])
    elseif waiting[i] ~= process and tonumber(arrived) < moment then
      first, moment = waiting[i], tonumber(arrived)
    end
  end
  return first
end

-- wakes one process only: those that come after it would ask in vain, and wake each other for ever
local function stop_waiting(meter)
  redis.call('HDEL', key('waiting', meter), process)
  local first = first_before(meter, math.huge)
  if first then announce(meter, true, first) end
end
"""
)

TAKE = (
    _HEAD
    + """
local _, _, epoch, milliseconds, lease, meter, slots, rate, rpm, probe, arrived, next_arrived, insist = unpack(ARGV)
if redis.call('GET', prefix .. 'epoch') ~= epoch then return {'lost', -1} end

redis.call('ZREMRANGEBYSCORE', key('slots', meter), '-inf', now)
redis.call('ZREMRANGEBYSCORE', key('rate', rate), '-inf', now - WINDOW)
local used = redis.call('ZCARD', key('rate', rate))
local first = first_before(meter, tonumber(arrived))
local reason, retry_in = nil, -1
if slots ~= '' and redis.call('ZCARD', key('slots', meter)) >= tonumber(slots) then
  reason = 'slots'
elseif rpm ~= '' and used >= tonumber(rpm) then
  reason = 'rate'
  local began = redis.call('ZRANGE', key('rate', rate), used - rpm, used - rpm, 'WITHSCORES')[2]
  retry_in = (began or now) + WINDOW - now
elseif probe ~= '' and redis.call('EXISTS', key('probe', probe)) == 1 then
  reason = 'probe'
elseif first and insist == '' then
  reason = 'turn'
  announce(meter, true, first)
end
if reason then
  wait(meter, arrived)
  return {reason, retry_in}
end

hold(meter, lease, milliseconds)
redis.call('ZADD', key('rate', rate), now, lease)
redis.call('PEXPIRE', key('rate', rate), WINDOW)
if probe ~= '' then redis.call('SET', key('probe', probe), lease, 'PX', milliseconds) end
if next_arrived ~= '' then
  wait(meter, next_arrived)
else
  redis.call('HDEL', key('waiting', meter), process)
end
-- where there is more room, it is the turn of the next in the row
local room = slots == '' or redis.call('ZCARD', key('slots', meter)) < tonumber(slots)
first = room and first_before(meter, tonumber(next_arrived) or math.huge) or nil
announce(meter, first ~= nil, first)
-- the request waits for no other meter any more
for i = 14, #ARGV do
  local said = redis.call('HGET', key('waiting', ARGV[i]), process)
  if said and string.match(said, '^%S+') == arrived then stop_waiting(ARGV[i]) end
end
return {'', -1}
"""
)

GIVE = (
    _HEAD
    + """
local _, _, lease, meter, probe = unpack(ARGV)
redis.call('ZREM', key('slots', meter), lease)
if probe ~= '' and redis.call('GET', key('probe', probe)) == lease then redis.call('DEL', key('probe', probe)) end
announce(meter, true)
"""
)

BEAT = (
    _HEAD
    + """
local _, _, milliseconds, alive = unpack(ARGV)
local state = cjson.decode(ARGV[5])
local epoch = redis.call('GET', prefix .. 'epoch')
if not epoch then
  epoch = process .. ':' .. now
  redis.call('SET', prefix .. 'epoch', epoch)
end
redis.call('ZADD', prefix .. 'members', now, process)
redis.call('ZREMRANGEBYSCORE', prefix .. 'members', '-inf', now - alive)
for _, item in ipairs(state.leases) do
  local lease, meter, probe = unpack(item)
  hold(meter, lease, milliseconds)
  if probe ~= '' and (redis.call('GET', key('probe', probe)) or lease) == lease then
    redis.call('SET', key('probe', probe), lease, 'PX', milliseconds)
  end
end
for _, item in ipairs(state.waiting) do wait(item[1], item[2]) end

local found = {}
for _, meter in ipairs(redis.call('SMEMBERS', prefix .. 'meters')) do
  if redis.call('ZREMRANGEBYSCORE', key('slots', meter), '-inf', now) > 0 then announce(meter, true) end
  local held = counts(meter)
  if next(held) then found[meter] = held else redis.call('SREM', prefix .. 'meters', meter) end
end
local members = redis.call('ZRANGE', prefix .. 'members', 0, -1)
return cjson.encode({epoch = epoch, now = now, members = members, counts = found})
"""
)

LEAVE = (
    _HEAD
    + """
redis.call('ZREM', prefix .. 'members', process)
for i = 3, #ARGV do stop_waiting(ARGV[i]) end
"""
)

HEALTH = (
    _HEAD
    + """
local _, _, name, record = unpack(ARGV)
if record == '' then
  redis.call('HDEL', prefix .. 'health', name)
else
  redis.call('HSET', prefix .. 'health', name, record)
end
redis.call('PUBLISH', prefix .. 'events', cjson.encode({by = process, health = name, record = record}))
"""
)

SPENT = """
-- arguments: key, host, tokens, USD
local told = redis.call('HGET', ARGV[1], ARGV[2])
local tokens = told and tonumber(string.match(told, '^%d+')) or -1
if tonumber(ARGV[3]) > tokens then
  redis.call('HSET', ARGV[1], ARGV[2], ARGV[3] .. ' ' .. ARGV[4])
  redis.call('EXPIRE', ARGV[1], 70 * 86400)
end
return 1
"""
"""Say what a client used on a host in a month."""

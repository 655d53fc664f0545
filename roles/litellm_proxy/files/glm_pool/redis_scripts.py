"""The Lua scripts of `redis_store`, which has the keys that they use: what they do is done as one."""

from glm_pool.limits import WINDOW

FRESH = 2.0
"""Seconds for which it counts that a process said that it waits: more than a heartbeat, as it says so with each."""
KEEP = 3600
"""Seconds after which Redis drops the keys of a meter that nobody uses."""
ASIDE = 300.0
"""Seconds for which the part of a host that is heard of no more is set aside: it may be cut off and go on with it."""
# All scripts begin so. A script runs alone and sees one moment of Redis's clock.
_HEAD = (
    f"local FRESH, WINDOW, KEEP, ASIDE = {FRESH * 1000:.0f}, {WINDOW * 1000:.0f}, {KEEP}, {ASIDE * 1000:.0f}"
    + """
local prefix, process = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function key(kind, name) return prefix .. kind .. ':' .. name end

local function holders(leases)
  local found = {}
  for _, lease in ipairs(leases) do
    local holder = string.match(lease, '^[^:]+')
    found[holder] = (found[holder] or 0) + 1
  end
  return found
end

local function host(name) return string.match(name, '^[^.]+') end

-- the other processes that are heard of no more, with members and rank at that time: those of `vanished`, and those
-- that may have gone on by themselves since a moment
local function vanished_since(moment)
  local found, all = {}, redis.call('HGETALL', prefix .. 'vanished')
  for i = 1, #all, 2 do
    if all[i] ~= process then found[all[i]] = all[i + 1] end
  end
  local silent = redis.call('ZRANGEBYSCORE', prefix .. 'members', '-inf', moment)
  if #silent == 0 then return found end
  local names = redis.call('ZRANGE', prefix .. 'members', 0, -1)
  for name in pairs(found) do
    if not redis.call('ZSCORE', prefix .. 'members', name) then table.insert(names, name) end
  end
  table.sort(names)
  local ranks = {}
  for rank, name in ipairs(names) do ranks[name] = rank - 1 end
  for _, name in ipairs(silent) do
    if name ~= process then found[name] = found[name] or #names .. ' ' .. ranks[name] .. ' ' .. now end
  end
  return found
end

-- what is set aside of a limit for them, beyond what they are known to use of it
local function aside(vanished, limit, checksum, uses)
  if not next(vanished) then return 0 end
  local used, sum = holders(redis.call('ZRANGE', uses, 0, -1)), 0
  for name, text in pairs(vanished) do
    local members, rank = string.match(text, '^(%d+) (%d+)')
    local part = math.floor(limit / members)
    if (rank + checksum) % members < limit % members then part = part + 1 end
    sum = sum + math.max(0, part - (used[name] or 0))
  end
  return sum
end

local function counts(meter) return holders(redis.call('ZRANGE', key('slots', meter), 0, -1)) end

local function announce(meter, room, to, rate, used)
  local event = {by = process, meter = meter, counts = counts(meter), room = room, to = to, rate = rate, used = used}
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
local _, _, epoch, milliseconds, lease, meter, slots, rate, rpm, probe, arrived, next_arrived, insist,
  meter_checksum, rate_checksum, silent = unpack(ARGV)
if redis.call('GET', prefix .. 'epoch') ~= epoch then return {'lost', -1} end

redis.call('ZREMRANGEBYSCORE', key('slots', meter), '-inf', now)
redis.call('ZREMRANGEBYSCORE', key('rate', rate), '-inf', now - WINDOW)
local used = redis.call('ZCARD', key('rate', rate))
local vanished = vanished_since(now - silent)
if slots ~= '' then slots = slots - aside(vanished, slots, meter_checksum, key('slots', meter)) end
if rpm ~= '' then rpm = rpm - aside(vanished, rpm, rate_checksum, key('rate', rate)) end
local first = first_before(meter, tonumber(arrived))
local reason, retry_in = nil, -1
if slots ~= '' and redis.call('ZCARD', key('slots', meter)) >= slots then
  reason = 'slots'
elseif rpm ~= '' and used >= rpm then
  reason = 'rate'
  local began = redis.call('ZRANGE', key('rate', rate), used - rpm, used - rpm, 'WITHSCORES')[2]
  retry_in = (began or now) + WINDOW - now
  -- what is set aside can be free again at any time
  if next(vanished) then retry_in = math.min(retry_in, 1000) end
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
if rpm ~= '' then redis.call('SADD', prefix .. 'rates', rate) end
if probe ~= '' then redis.call('SET', key('probe', probe), lease, 'PX', milliseconds) end
if next_arrived ~= '' then
  wait(meter, next_arrived)
else
  redis.call('HDEL', key('waiting', meter), process)
end
-- where there is more room, it is the turn of the next in the row
local room = slots == '' or redis.call('ZCARD', key('slots', meter)) < slots
first = room and first_before(meter, tonumber(next_arrived) or math.huge) or nil
if rpm ~= '' then announce(meter, room, first, rate, used + 1) else announce(meter, room, first) end
-- the request waits for no other meter any more
for i = 17, #ARGV do
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
-- one process is enough for one slot; this one asks by itself, where nobody is known to wait anyone may
announce(meter, true, first_before(meter, math.huge))
"""
)

BEAT = (
    _HEAD
    + """
local _, _, milliseconds, silent, alive, away = unpack(ARGV)
local state = cjson.decode(ARGV[7])
local epoch = redis.call('GET', prefix .. 'epoch')
if not epoch then
  epoch = process .. ':' .. now
  redis.call('SET', prefix .. 'epoch', epoch)
end
-- a host that may be cut off goes on with the requests that it has: their leases last, until it is known again
local function keep_leases(name, moment)
  for _, meter in ipairs(redis.call('SMEMBERS', prefix .. 'meters')) do
    for _, lease in ipairs(redis.call('ZRANGE', key('slots', meter), 0, -1)) do
      if string.match(lease, '^[^:]+') == name then
        if moment then
          redis.call('ZADD', key('slots', meter), moment, lease)
        else
          redis.call('ZREM', key('slots', meter), lease)
        end
      end
    end
  end
end

local before = redis.call('ZSCORE', prefix .. 'members', process)
local back = before and now - before >= tonumber(silent)
-- who does not know yet whether it is heard goes on by itself, and counts as silent until it says so again
redis.call('ZADD', prefix .. 'members', away == '' and now or now - silent, process)
local vanished = vanished_since(now - silent)
local near, hosts = {}, {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'members', '(' .. (now - silent), '+inf')) do
  near[name], hosts[host(name)] = true, true
end
-- of a host that is heard of a silent process is dead, once it had the time to come back as the others did
local heard, gone, members = {}, {}, redis.call('ZRANGE', prefix .. 'members', 0, -1, 'WITHSCORES')
for i = 1, #members, 2 do
  local name, moment = members[i], tonumber(members[i + 1])
  if moment > now - (hosts[host(name)] and 2 or 1) * alive then
    heard[name] = moment
  else
    redis.call('ZREM', prefix .. 'members', name)
    if hosts[host(name)] then
      vanished[name] = nil
    elseif vanished[name] then
      redis.call('HSET', prefix .. 'vanished', name, vanished[name])
      keep_leases(name, now + ASIDE)
      gone[host(name)] = true
    end
  end
end
local said = redis.call('HGETALL', prefix .. 'vanished')
for i = 1, #said, 2 do
  local name, since = said[i], tonumber(string.match(said[i + 1], '%d+$'))
  local soon = now - ASIDE + 2 * alive
  local moved = gone[host(name)] and now or hosts[host(name)] and math.min(since, soon) or since
  if near[name] or since <= now - ASIDE then
    redis.call('HDEL', prefix .. 'vanished', name)
    -- what it took since it is back lasts
    keep_leases(name, near[name] and now + milliseconds or nil)
    vanished[name] = nil
    back = true
  elseif moved ~= since then
    local text = string.gsub(said[i + 1], '%d+$', string.format('%d', moved))
    redis.call('HSET', prefix .. 'vanished', name, text)
    if moved == now then keep_leases(name, now + ASIDE) end
  end
end
-- who is away takes nothing: what it does not tell of is over
if away ~= '' then keep_leases(process, nil) end
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
  if back then announce(meter, true) end
  local held = counts(meter)
  if next(held) then found[meter] = held else redis.call('SREM', prefix .. 'meters', meter) end
end
return cjson.encode({epoch = epoch, now = now, members = heard, vanished = vanished, counts = found})
"""
)

STARTS = (
    _HEAD
    + """
-- what counts of each rate: "PROCESS AGE" to number, the age in seconds
local found = {}
for _, rate in ipairs(redis.call('SMEMBERS', prefix .. 'rates')) do
  redis.call('ZREMRANGEBYSCORE', key('rate', rate), '-inf', now - WINDOW)
  local starts = redis.call('ZRANGE', key('rate', rate), 0, -1, 'WITHSCORES')
  if #starts == 0 then
    redis.call('SREM', prefix .. 'rates', rate)
  else
    found[rate] = {}
    for i = 1, #starts, 2 do
      local name = string.match(starts[i], '^[^:]+') .. ' ' .. math.floor((now - starts[i + 1]) / 1000)
      found[rate][name] = (found[rate][name] or 0) + 1
    end
  end
end
return cjson.encode(found)
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

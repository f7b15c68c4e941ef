-- One step of a budget that is kept on a Valkey server. A port of `grants.step` and `BudgetState`,
-- name for name: it is documented there, and a test checks that both give the same results.
-- KEYS[1] is the state, ARGV[1] the report, both in MessagePack. ARGV[2] numbers the participant's
-- calls: one that arrives after a later one is not carried out.

local FORGOTTEN_AFTER, PROMISED_WINDOWS, SLEW = 3600, 5, 1
local MAYBE = 1125899906842624 -- 2 ^ 50
local RESERVE, LATELY, LATE, LEFT_ALONE, POLL, LEAST_LATE = 10, 5, 1 / 10, 1 / 20, 1 / 10, 0.2
local AT_LEAST = 0.005
local FAIL_OVER = 2 -- seconds in which participants can report the slots that a fail-over lost
local INTERACTIVE, BULK = 1, 2 -- a lane of the protocol, and 1
local PARTICIPANT, NUMBER, LANE, AT = 1, 2, 3, 4 -- of a slot
local inf, max, min = math.huge, math.max, math.min

-- The fields of the arrays. The last ones of a state and of a participant do not exist in Python:
-- which server wrote it, which epoch began without any known slots, until when unknown slots may be
-- held, and the last call.
local REPORT = {'participant', 'limit', 'lease', 'epoch', 'next_number', 'answered', 'cancelled',
  'accepted', 'wants', 'pause', 'quota', 'shaping', 'held', 'leaves', 'share', 'away'}
local LIMIT = {'requests', 'per', 'burst', 'reserve'}
local STATE = {'epoch', 'now', 'per', 'in_flight', 'answered', 'participants', 'paused_until',
  'quota_left', 'quota_until', 'quota_at', 'accepted_at', 'shaping', 'bucket', 'probe', 'server',
  'began', 'unknown_until'}
local PARTICIPANT_FIELDS = {'requests', 'per', 'takes_part_until', 'waiting', 'waits_until', 'held',
  'granted_at', 'interactive_at', 'share', 'promised', 'bucket', 'call'}
local SHAPING = {'version', 'burst', 'rate', 'probing', 'lesson_at', 'pause',
  'accepted_since_lesson', 'changed_at', 'recovery'}
local BUCKET = {'tokens', 'filled_at'}

local function named(values, names)
  local fields = {}
  for i, name in ipairs(names) do fields[name] = values[i] end
  return fields
end

local function listed(fields, names)
  local values = {}
  for i, name in ipairs(names) do values[i] = fields[name] end
  return values
end

local function loads(data)
  local state = named(cmsgpack.unpack(data), STATE)
  state.shaping = named(state.shaping, SHAPING)
  state.bucket = named(state.bucket, BUCKET)
  for name, values in pairs(state.participants) do
    local each = named(values, PARTICIPANT_FIELDS)
    each.bucket = named(each.bucket, BUCKET)
    state.participants[name] = each
  end
  return state
end

local function dumps(state)
  local values = listed(state, STATE)
  local participants = {}
  for name, each in pairs(state.participants) do
    local fields = listed(each, PARTICIPANT_FIELDS)
    fields[11] = listed(each.bucket, BUCKET)
    participants[name] = fields
  end
  values[12] = listed(state.shaping, SHAPING)
  values[13] = listed(state.bucket, BUCKET)
  -- By hand, since an empty table would be packed as an array: the head of an array of 17, and
  -- the head of an empty map.
  return '\220\000\017' .. cmsgpack.pack(unpack(values, 1, 5))
    .. (next(participants) and cmsgpack.pack(participants) or '\128')
    .. cmsgpack.pack(unpack(values, 7, 17))
end

local function new_bucket() return {tokens = inf, filled_at = -inf} end

local function new_state(epoch, server)
  return {epoch = epoch, now = -inf, per = 0, in_flight = {}, answered = {}, participants = {},
    paused_until = -inf, quota_left = inf, quota_until = -inf, quota_at = -inf,
    accepted_at = -inf, bucket = new_bucket(), probe = {'', 0}, server = server, began = epoch,
    unknown_until = -inf,
    shaping = {version = 0, burst = 0, rate = 0, probing = false, lesson_at = -inf, pause = 0,
      accepted_since_lesson = true, changed_at = -inf, recovery = 3}}
end

local function new_participant(requests)
  return {requests = requests, per = 0, takes_part_until = -inf, waiting = {0, 0},
    waits_until = -inf, held = {0, 0}, granted_at = -inf, interactive_at = -inf, share = 0,
    promised = 0, bucket = new_bucket(), call = 0}
end

local function copy(fields)
  local other = {}
  for name, value in pairs(fields) do other[name] = value end
  return other
end

local function any(counts) return counts[1] ~= 0 or counts[2] ~= 0 end

local function insort(slots, slot)
  local low, high = 1, #slots + 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if slot[AT] < slots[middle][AT] then high = middle else low = middle + 1 end
  end
  table.insert(slots, low, slot)
end

local function find(slots, participant, number)
  for _, slot in ipairs(slots) do
    if slot[PARTICIPANT] == participant and slot[NUMBER] == number then return slot end
  end
end

local function remove(slots, slot)
  for i, each in ipairs(slots) do
    if each == slot then return table.remove(slots, i) end
  end
end

-- `<` would follow the server's locale.
local function precedes(name, other)
  for i = 1, min(#name, #other) do
    local mine, its = name:byte(i), other:byte(i)
    if mine ~= its then return mine < its end
  end
  return #name < #other
end

-- BudgetState ---------------------------------------------------------------------------------

local function per_of(state, slot)
  return max(state.per, state.participants[slot[PARTICIPANT]].per)
end

local function go_back(state, now)
  local back, slots = state.now - now, {}
  for _, slot in ipairs(state.in_flight) do
    slot[AT] = now + per_of(state, slot)
    insort(slots, slot)
  end
  for _, slot in ipairs(state.answered) do
    slot[AT] = min(slot[AT] - back, now + per_of(state, slot))
    insort(slots, slot)
  end
  state.in_flight, state.answered = {}, slots
  state.paused_until = min(state.paused_until - back, now + state.per)
  state.quota_until, state.quota_at = -inf, -inf
  state.accepted_at = state.accepted_at - back
  -- After a lesson the bucket is filled from the end of the pause on.
  state.bucket.filled_at = min(state.bucket.filled_at - back, max(now, state.paused_until))
  state.shaping.lesson_at = state.shaping.lesson_at - back
  state.shaping.changed_at = state.shaping.changed_at - back
  for _, each in pairs(state.participants) do
    each.takes_part_until = each.takes_part_until - back
    each.waits_until = -inf
    each.granted_at = each.granted_at - back
    each.interactive_at = each.interactive_at - back
    each.bucket.filled_at = each.bucket.filled_at - back
  end
end

local function advance(state, now)
  if now < state.now then
    if now > state.now - SLEW then now = state.now else go_back(state, now) end
  end
  state.now = now
  local in_flight, answered = {}, {}
  for _, slot in ipairs(state.in_flight) do
    if slot[AT] <= now then
      slot[AT] = slot[AT] + per_of(state, slot)
      insort(state.answered, slot)
    else
      table.insert(in_flight, slot)
    end
  end
  for _, slot in ipairs(state.answered) do
    if slot[AT] <= now then
      local held = state.participants[slot[PARTICIPANT]].held
      held[slot[LANE] + 1] = held[slot[LANE] + 1] - 1
    else
      table.insert(answered, slot)
    end
  end
  state.in_flight, state.answered = in_flight, answered
  if now >= state.quota_until then state.quota_left = inf end
end

local function look_at_others(state, me)
  state.per = me.per
  local active, promised = 1, 0
  for name, each in pairs(state.participants) do
    if each ~= me then
      local takes_part = each.takes_part_until > state.now
      if not takes_part and not any(each.held) then
        state.participants[name] = nil
      else
        if takes_part then active, promised = active + 1, promised + each.promised end
        if takes_part or each.takes_part_until > -inf then state.per = max(state.per, each.per) end
      end
    end
  end
  return active, promised
end

local function hold_shares(state, report)
  local longest, lost_at = report.lease + state.per, state.now - report.away
  local names, done = {}, {}
  for name in pairs(state.participants) do table.insert(names, name) end
  table.sort(names, precedes)
  for _, slot in ipairs(state.in_flight) do
    if slot[NUMBER] >= MAYBE then done[slot[PARTICIPANT]] = true end
  end
  for _, name in ipairs(names) do
    local each = state.participants[name]
    local held = each.granted_at > lost_at - longest or report.away > 2 * longest
    if held and each.takes_part_until > lost_at and name ~= report.participant and not done[name] then
      for i = 0, each.promised - 1 do
        insort(state.in_flight, {name, MAYBE + i, BULK - 1, state.now + report.lease})
      end
      each.held[BULK] = each.held[BULK] + each.promised
    end
  end
end

local function participant(state, report)
  local me = state.participants[report.participant] or new_participant(report.limit.requests)
  state.participants[report.participant] = me
  me.requests, me.per = report.limit.requests, report.limit.per
  me.waiting = {report.wants[1], report.wants[2]}
  me.waits_until = -inf
  if report.wants[INTERACTIVE] > 0 then me.interactive_at = state.now end
  local active, promised = look_at_others(state, me)
  me.share = max(0, min(math.floor(me.requests / active), me.requests - promised))
  me.promised = max(me.share, report.share)
  me.takes_part_until = state.now + min(FORGOTTEN_AFTER, PROMISED_WINDOWS * me.per) + report.lease
  if report.leaves then me.share, me.promised, me.takes_part_until = 0, 0, -inf end
  return me
end

local function restore(state, report, me)
  local numbers = {}
  for _, restored in ipairs(report.held) do
    for _, slot in ipairs(restored) do numbers[slot[NUMBER]] = true end
  end
  for i, name in ipairs({'in_flight', 'answered'}) do
    local slots = {}
    for _, slot in ipairs(state[name]) do
      if slot[PARTICIPANT] == report.participant and numbers[slot[NUMBER]] then
        me.held[slot[LANE] + 1] = me.held[slot[LANE] + 1] - 1
      else
        table.insert(slots, slot)
      end
    end
    for _, slot in ipairs(report.held[i]) do
      slot[AT] = state.now + slot[AT]
      insort(slots, slot)
      me.held[slot[LANE] + 1] = me.held[slot[LANE] + 1] + 1
      me.granted_at = state.now
    end
    state[name] = slots
  end
end

local function expired(state, participant, number)
  local slot = find(state.answered, participant, number)
  if slot then remove(state.answered, slot) end
  return slot
end

local function release(state, report, me)
  local over, released, in_flight = {}, {}, {}
  for _, answer in ipairs(report.answered) do over[answer[1]] = true end
  for _, number in ipairs(report.cancelled) do over[number] = true end
  for _, slot in ipairs(state.in_flight) do
    local number = slot[NUMBER]
    if slot[PARTICIPANT] ~= report.participant then
      table.insert(in_flight, slot)
    elseif number >= report.next_number then
      me.held[slot[LANE] + 1] = me.held[slot[LANE] + 1] - 1
    elseif over[number] then
      released[number] = slot
    else
      table.insert(in_flight, slot)
    end
  end
  state.in_flight = in_flight
  for _, number in ipairs(report.cancelled) do
    local slot = released[number] or expired(state, report.participant, number)
    if slot then me.held[slot[LANE] + 1] = me.held[slot[LANE] + 1] - 1 end
  end
  for _, answer in ipairs(report.answered) do
    local number, free_at = answer[1], state.now - answer[2] + state.per
    local slot = released[number] or expired(state, report.participant, number)
    if slot then
      slot[AT] = free_at
      insort(state.answered, slot)
    end
  end
end

local function observe(state, report)
  if report.accepted then state.accepted_at = state.now end
  if report.pause > 0 then
    state.paused_until = max(state.paused_until, state.now + report.pause)
  end
  if report.quota then
    local remaining, reset_after, granted_at = unpack(report.quota)
    if granted_at >= state.quota_at then
      state.quota_left = remaining - #state.in_flight
      state.quota_until = state.now + reset_after
      state.quota_at = granted_at
    end
  end
  local learned, known = report.shaping, state.shaping
  if learned and learned.version == known.version then
    state.shaping = copy(learned)
    state.shaping.version = known.version + 1
    local changed = learned.rate ~= known.rate
      or (learned.rate ~= 0 and learned.burst ~= known.burst)
    local probed = known.probing and not learned.probing
    if changed or (probed and learned.rate ~= 0) then
      state.bucket = {tokens = 0, filled_at = max(state.now, state.paused_until)}
    end
  end
end

local function apply(state, report)
  if report.away > 0 then hold_shares(state, report) end
  local me = participant(state, report)
  if report.held then restore(state, report, me) end
  release(state, report, me)
  observe(state, report)
  return me
end

-- grants --------------------------------------------------------------------------------------

local function fill(bucket, burst, rate, now)
  local gained = max(0, now - bucket.filled_at) * rate
  bucket.tokens = min(burst, bucket.tokens + gained)
  bucket.filled_at = max(bucket.filled_at, now)
  if bucket.tokens >= 1 then return 0 end
  return bucket.filled_at - now + (1 - bucket.tokens) / rate
end

local Step = {}
Step.__index = Step

function Step.new(state, report, me)
  local self = setmetatable({state = state, report = report, now = state.now, me = me}, Step)
  self.others, self.freed = {}, {}
  self.waiting, self.in_lane = {me.waiting[1], me.waiting[2]}, {me.held[1], me.held[2]}
  local reserve, lately = report.limit.reserve, self:look_at_others()
  if reserve < 0 and lately then reserve = RESERVE end
  self.reserve = min(max(0, reserve), report.limit.requests - 1)
  return self
end

function Step:look_at_others()
  local state, me, lately = self.state, self.me, false
  for name, each in pairs(state.participants) do
    if each ~= me then
      local waits = each.waits_until > self.now
      for lane = INTERACTIVE, BULK do
        self.in_lane[lane] = self.in_lane[lane] + each.held[lane]
        if waits then self.waiting[lane] = self.waiting[lane] + each.waiting[lane] end
      end
      if waits then
        local before = each.granted_at < me.granted_at
          or (each.granted_at == me.granted_at and precedes(name, self.report.participant))
        table.insert(self.others, {name = name, each = each, before = before and 1 or 0})
      end
      if each.interactive_at > state.now - LATELY * state.per then lately = true end
    end
  end
  return lately
end

function Step:is_probing()
  for _, slot in ipairs(self.state.in_flight) do
    if slot[PARTICIPANT] == self.state.probe[1] and slot[NUMBER] == self.state.probe[2] then
      return true
    end
  end
  return false
end

function Step:pace_wait()
  local state, me, limit, now = self.state, self.me, self.report.limit, self.now
  if state.shaping.probing and self:is_probing() then return inf end
  local wait = max(0, state.paused_until - now)
  if state.quota_left <= 0 then wait = max(wait, state.quota_until - now) end
  local rate = limit.requests / limit.per
  wait = max(wait, fill(me.bucket, limit.burst, rate, now))
  if state.shaping.rate ~= 0 then
    wait = max(wait, fill(state.bucket, state.shaping.burst, state.shaping.rate, now))
  end
  return wait
end

function Step:free(lane)
  local requests = self.report.limit.requests
  local max_slots = requests - self.reserve
  if lane == INTERACTIVE then
    max_slots = self.waiting[BULK] > 0 and requests - min(self.reserve, max_slots) or requests
  end
  return requests - self.in_lane[1] - self.in_lane[2], max_slots - self.in_lane[lane]
end

function Step:holds(name, participant, lane)
  local freed = self.freed[name]
  return participant.held[lane] - (freed and freed[lane] or 0)
end

function Step:claims(lane)
  local me, held, claims = self.me, self.in_lane[1] + self.in_lane[2], 0
  for _, other in ipairs(self.others) do
    local each = other.each
    if each.waiting[lane] > 0 and (each.requests >= me.requests or each.requests > held) then
      local behind = self:holds(self.report.participant, me, lane)
      behind = behind + other.before - self:holds(other.name, each, lane)
      claims = claims + min(each.waiting[lane], max(0, behind))
    end
  end
  return claims
end

function Step:is_free(lane, claims)
  local free, free_in_lane = self:free(lane)
  if lane == BULK then
    local waiting = self.waiting[INTERACTIVE]
    if waiting > 0 then free = free - min(waiting, max(0, min(self:free(INTERACTIVE)))) end
  end
  return claims < min(free, free_in_lane)
end

function Step:slot_wait()
  local at, deadline = self.now, inf
  for i = 0, #self.state.answered do
    local slot = self.state.answered[i]
    if slot then
      at = slot[AT]
      local name, lane = slot[PARTICIPANT], slot[LANE] + 1
      self.in_lane[lane] = self.in_lane[lane] - 1
      self.freed[name] = self.freed[name] or {0, 0}
      self.freed[name][lane] = self.freed[name][lane] + 1
    end
    if at >= deadline then break end
    for lane = INTERACTIVE, BULK do
      if self.me.waiting[lane] > 0 then
        if self:is_free(lane, self:claims(lane)) then return max(0, at - self.now) end
        if deadline == inf and self:is_free(lane, 0) then
          deadline = max(at, self.now) + LEFT_ALONE * self.state.per
        end
      end
    end
  end
  return deadline - self.now
end

function Step:lane()
  for lane = INTERACTIVE, BULK do
    if self.me.waiting[lane] > 0 and self:is_free(lane, self:claims(lane)) then return lane end
  end
end

function Step:allowed()
  local state, allowed = self.state, 0
  if self:pace_wait() <= 0 then
    allowed = min(math.floor(self.me.bucket.tokens), state.quota_left)
    if state.shaping.rate ~= 0 then allowed = min(allowed, math.floor(state.bucket.tokens)) end
    if state.shaping.probing then allowed = min(allowed, 1) end
  end
  return allowed
end

function Step:grant()
  local state, me, report, lanes = self.state, self.me, self.report, {}
  local name, number, lease_ends = report.participant, report.next_number, self.now + report.lease
  local allowed = self:allowed()
  local lane = #lanes < allowed and self:lane()
  while lane do
    insort(state.in_flight, {name, number + #lanes, lane - 1, lease_ends})
    table.insert(lanes, lane - 1)
    me.held[lane] = me.held[lane] + 1
    self.in_lane[lane] = self.in_lane[lane] + 1
    me.waiting[lane] = me.waiting[lane] - 1
    self.waiting[lane] = self.waiting[lane] - 1
    lane = #lanes < allowed and self:lane()
  end
  if #lanes > 0 then
    me.granted_at = self.now
    me.bucket.tokens = me.bucket.tokens - #lanes
    state.bucket.tokens = state.bucket.tokens - #lanes
    state.quota_left = state.quota_left - #lanes
    if state.shaping.probing then state.probe = {name, number} end
  end
  return lanes
end

function Step:wait()
  local me, state = self.me, self.state
  if not any(me.waiting) then return inf end
  local wait = max(self:slot_wait(), self:pace_wait())
  if wait == inf then
    local first = next(state.participants)
    if next(state.participants, first) then wait = POLL * state.per end
  end
  if #self.others > 0 then wait = max(wait, min(AT_LEAST, state.per / 100)) end
  me.waits_until = self.now + min(wait, state.per) + max(LATE * state.per, LEAST_LATE)
  return wait
end

local function step(state, now, report)
  advance(state, now)
  local granted, wait, share = {}, 0, 0
  if report.epoch == 0 or report.epoch == state.epoch then
    local me = apply(state, report)
    wait, share = inf, me.share
    if any(me.waiting) then
      local current = Step.new(state, report, me)
      granted = current:grant()
      wait = current:wait() + (state.now - now)
    end
  end
  return {state.now, granted, wait, state.epoch, state.paused_until,
    listed(state.shaping, SHAPING), share}
end

-- The server -----------------------------------------------------------------------------------

local report = named(cmsgpack.unpack(ARGV[1]), REPORT)
report.limit = named(report.limit, LIMIT)
report.shaping = report.shaping and named(report.shaping, SHAPING)
local call = tonumber(ARGV[2])
local time = redis.call('TIME')
local now, present = time[1] + time[2] / 1000000, time[1] * 1000000 + time[2]
local info = redis.call('INFO', 'server')
local server, uptime = info:match('run_id:(%w+)'), tonumber(info:match('uptime_in_seconds:(%d+)'))
local longest = report.limit.per + report.lease -- nothing is held for longer

local data = redis.call('GET', KEYS[1])
local state = data and loads(data) or new_state(present, server)
if not data or state.server ~= server then
  -- The last writes of another server may be missing here; on a server that started empty, all are.
  -- Since the epoch is another, participants report what they hold; those that are gone can't.
  local until_then = now - uptime + 1 + longest
  if data then until_then = max(until_then, now + min(FAIL_OVER, longest)) end
  state.unknown_until = max(state.unknown_until, until_then)
  state.epoch, state.server = max(present, state.epoch + 1), server
end
if report.epoch > state.epoch or (report.epoch ~= 0 and report.epoch < state.began) then
  -- There was another budget, and it is lost.
  state.unknown_until = max(state.unknown_until, state.began / 1000000 + longest)
end
local unknown_for = max(0, state.unknown_until - now)
if unknown_for > 0 then state.paused_until = max(state.paused_until, state.unknown_until) end

local me = state.participants[report.participant]
if me and me.call >= call then return redis.error_reply('LATE a later call was first') end
local reply = step(state, now, report)
me = state.participants[report.participant]
if me then me.call = call end

local last = max(state.now, state.paused_until, state.quota_until)
for _, slot in ipairs(state.in_flight) do last = max(last, slot[AT] + state.per) end
for _, slot in ipairs(state.answered) do last = max(last, slot[AT]) end
data = dumps(state)
redis.call('SET', KEYS[1], data, 'PX', math.ceil((last - now + longest + FORGOTTEN_AFTER) * 1000))
return {cmsgpack.pack(reply), data, cmsgpack.pack(unknown_for)}

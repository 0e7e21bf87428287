/**
 * What Redis keeps of an event id: the token of the claim that is appending it, which expires with its lease, or `s`
 * once it is stored. So an id that was reserved by a process that died is nobody's again, and never passes for stored.
 *
 * KEYS: the ids. ARGV: lease in ms, then a token an id. Answers per id 0 (reserved now), 1 (stored), 2 (another's).
 */
export const CLAIM = `
local states = {}
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held == 's' then
    states[i] = 1
  elseif held and held ~= ARGV[i + 1] then
    states[i] = 2
  else
    redis.call('SET', key, ARGV[i + 1], 'PX', ARGV[1])
    states[i] = 0
  end
end
return states`

/** KEYS: the ids. ARGV: how long stored ones are known in ms, then per id `s`, or the token whose reservation ends. */
export const SETTLE = `
for i, key in ipairs(KEYS) do
  local outcome = ARGV[i + 1]
  if outcome == 's' then
    redis.call('SET', key, 's', 'PX', ARGV[1])
  elseif redis.call('GET', key) == outcome then
    redis.call('DEL', key)
  end
end
return #KEYS`

/**
 * An Idempotency-Key. KEYS: its hash of body and answer, its lease. ARGV: hash of the body, token, lease in ms, window in ms.
 * Answers 0 (the caller's now), 1 (used with another body), 2 and the answer, 3 (being worked on).
 */
export const BEGIN_KEY = `
local body = redis.call('HGET', KEYS[1], 'body')
if body and body ~= ARGV[1] then return { 1 } end
local answer = redis.call('HGET', KEYS[1], 'answer')
if answer then return { 2, answer } end
if not redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return { 3 } end
redis.call('HSET', KEYS[1], 'body', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return { 0 }`

/** KEYS as above. ARGV: hash of the body, token, window in ms, the answer or nothing. */
export const END_KEY = `
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], 'body', ARGV[1], 'answer', ARGV[4])
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
if redis.call('GET', KEYS[2]) == ARGV[2] then redis.call('DEL', KEYS[2]) end
return 0`

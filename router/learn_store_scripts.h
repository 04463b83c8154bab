/* What must happen in one step on the Redis that replicas share. All keys have one hash tag; p is
 * what they begin with:
 *
 *   p seq      grows with each change of a unit
 *   p changed  sorted set: unit's name by the seq of its last change
 *   p epoch    random, set when there is none: whoever knows another one reads everything anew
 *   p u:NAME   hash of a unit: field -> count; expires when nobody reads it any more
 *   p m:TENANT ID   hash of a remembered request: t its text, l its labels; expires
 *   p w:WRITER the number of that process's last batch
 *   p recent   list of "TENANT ID" of the newest requests, the newest first
 *   p scorers  hash: model -> the text of its scorer
 *   p fitting  the process that may fit scorers; expires
 *   p version  the last version that a scorer got: the time, or one more than the last
 *
 * A payload is lines: "u NAME" begins a unit, "f FIELD BY" adds to it, "e UNIXTIME" ends it, and
 * "m TENANT ID<tab>TEXT<tab>LABELS" remembers a request. A sum that would overflow stays what it
 * is: pcall, so that the rest is not half done. */
#ifndef ROUTER_LEARN_STORE_SCRIPTS_H
#define ROUTER_LEARN_STORE_SCRIPTS_H

#define LEARN_SCRIPT_ADD                                                                           \
    "local function add(p, payload, remember_s)\n"                                                 \
    "  local name, key, recent\n"                                                                  \
    "  for line in string.gmatch(payload, '[^\\n]+') do\n"                                         \
    "    local c, rest = string.sub(line, 1, 1), string.sub(line, 3)\n"                            \
    "    if c == 'f' then\n"                                                                       \
    "      redis.pcall('HINCRBY', key, string.match(rest, '^(%S+) (%S+)$'))\n"                     \
    "    elseif c == 'u' then\n"                                                                   \
    "      name, key = rest, p .. 'u:' .. rest\n"                                                  \
    "    elseif c == 'e' then\n"                                                                   \
    "      redis.call('EXPIREAT', key, rest)\n"                                                    \
    "      redis.call('ZADD', p .. 'changed', redis.call('INCR', p .. 'seq'), name)\n"             \
    "    else\n"                                                                                   \
    "      local id, text, labels = string.match(rest, '^([^\\t]+)\\t([^\\t]*)\\t([^\\t]*)$')\n"   \
    "      redis.call('HSET', p .. 'm:' .. id, 't', text, 'l', labels)\n"                          \
    "      redis.call('EXPIRE', p .. 'm:' .. id, remember_s)\n"                                    \
    "      redis.call('LPUSH', p .. 'recent', id)\n"                                               \
    "      recent = true\n"                                                                        \
    "    end\n"                                                                                    \
    "  end\n"                                                                                      \
    "  if recent then redis.call('LTRIM', p .. 'recent', 0, 19999) end\n"                          \
    "end\n"

/* KEYS w  ARGV p, number, payload, seconds that requests are remembered.  1, or 2: it was there. */
#define LEARN_SCRIPT_WRITE                                                                         \
    LEARN_SCRIPT_ADD                                                                               \
    "if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[2]) then return 2 end\n"      \
    "redis.call('SET', KEYS[1], ARGV[2], 'EX', 86400)\n"                                           \
    "add(ARGV[1], ARGV[3], ARGV[4])\n"                                                             \
    "return 1\n"

/* KEYS m  ARGV p, labels before, after, payload, text before, after.  1; 0: they are others; -1: it
 * is not remembered. */
#define LEARN_SCRIPT_RELABEL                                                                       \
    LEARN_SCRIPT_ADD                                                                               \
    "local m = redis.call('HMGET', KEYS[1], 'l', 't')\n"                                           \
    "if not m[1] then return -1 end\n"                                                             \
    "if m[1] ~= ARGV[2] or m[2] ~= ARGV[5] then return 0 end\n"                                    \
    "redis.call('HSET', KEYS[1], 'l', ARGV[3], 't', ARGV[6])\n"                                    \
    "add(ARGV[1], ARGV[4], '0')\n"                                                                 \
    "return 1\n"

/* KEYS recent  ARGV p, first, last.  {{"TENANT ID", text, labels} ...}; false for what is gone. */
#define LEARN_SCRIPT_RECENT                                                                        \
    "local r = {}\n"                                                                               \
    "for i, id in ipairs(redis.call('LRANGE', KEYS[1], ARGV[2], ARGV[3])) do\n"                    \
    "  local m = redis.call('HMGET', ARGV[1] .. 'm:' .. id, 't', 'l')\n"                           \
    "  r[i] = m[1] and {id, m[1], m[2]} or false\n"                                                \
    "end\n"                                                                                        \
    "return r\n"

/* KEYS fitting, version  ARGV process, milliseconds.  The version; 0: another process has it. */
#define LEARN_SCRIPT_CLAIM                                                                         \
    "local who = redis.call('GET', KEYS[1])\n"                                                     \
    "if who and who ~= ARGV[1] then return 0 end\n"                                                \
    "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])\n"                                         \
    "local last = tonumber(redis.call('GET', KEYS[2]) or '0')\n"                                   \
    "local version = math.max(last + 1, tonumber(redis.call('TIME')[1]))\n"                        \
    "redis.call('SET', KEYS[2], string.format('%d', version))\n"                                   \
    "return version\n"

/* KEYS changed  ARGV p, known epoch, since, most, an epoch if there is none.
 * {epoch, seq so far, 1 when there may be more, {name, {field, count ...}} ...} */
#define LEARN_SCRIPT_READ                                                                          \
    "local p, since = ARGV[1], ARGV[3]\n"                                                          \
    "local epoch = redis.call('GET', p .. 'epoch')\n"                                              \
    "if not epoch then epoch = ARGV[5] redis.call('SET', p .. 'epoch', epoch) end\n"               \
    "local seq = tonumber(redis.call('GET', p .. 'seq') or '0')\n"                                 \
    "if epoch ~= ARGV[2] then since = '0' end\n"                                                   \
    "if seq < tonumber(since) then\n"                                                              \
    "  epoch, since = ARGV[5], '0'\n"                                                              \
    "  redis.call('SET', p .. 'epoch', epoch)\n"                                                   \
    "end\n"                                                                                        \
    "for _, old in ipairs(redis.call('ZRANGE', KEYS[1], 0, 3)) do\n"                               \
    "  if redis.call('EXISTS', p .. 'u:' .. old) == 0 then\n"                                      \
    "    redis.call('ZREM', KEYS[1], old)\n"                                                       \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "local names = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. since, '+inf', 'WITHSCORES',\n"     \
    "  'LIMIT', 0, ARGV[4])\n"                                                                     \
    "local r = {epoch, since, #names == 2 * tonumber(ARGV[4]) and 1 or 0}\n"                       \
    "for i = 1, #names, 2 do\n"                                                                    \
    "  r[2] = names[i + 1]\n"                                                                      \
    "  r[#r + 1] = {names[i], redis.call('HGETALL', p .. 'u:' .. names[i])}\n"                     \
    "end\n"                                                                                        \
    "return r\n"

#endif

/* What must happen in one step on the Redis that replicas share. All keys have one hash tag; p is
 * what they begin with:
 *
 *   p seq      grows by one with each change of a unit
 *   p changed  sorted set: unit's name by the seq of its last change
 *   p log      stream of the latest payloads: its id is the seq after one, b that before it, c its
 *              units. Processes of before there was a log only move seq: a gap, which readers see
 *   p epoch    random, set when there is none: whoever knows another one reads everything anew
 *   p u:NAME   hash of a unit: field -> count; expires when nobody reads it any more
 *   p m:TENANT ID   hash of a remembered request: t its text, l its labels; expires
 *   p w:WRITER the number of that process's last batch
 *   p recent   list of "TENANT ID" of the newest requests, the newest first
 *   p scorers  hash: model -> the text of its scorer
 *   p fitting  the process that may fit scorers; expires
 *   p version  the last version that a scorer got: the time, or one more than the last
 *
 * A payload of units is lines: "u NAME" begins one, "f FIELD BY" adds to it, "e UNIXTIME" ends it.
 * One of requests is lines "TENANT ID<tab>TEXT<tab>LABELS". A sum that would overflow stays what it
 * is: pcall, so that the rest is not half done. */
#ifndef ROUTER_LEARN_STORE_SCRIPTS_H
#define ROUTER_LEARN_STORE_SCRIPTS_H

/* A field that is new may be the first of its unit: only then the unit's time to expire is set. A
 * log that does not go with seq (part of the keys was lost) begins anew. Its length is LOG_UNITS
 * changes: who missed more reads units whole with fewer bytes. */
#define LEARN_SCRIPT_LOG_UNITS "4096"
#define LEARN_SCRIPT_ADD                                                                           \
    "local function add(p, payload)\n"                                                             \
    "  local name, key, fresh\n"                                                                   \
    "  local units = {}\n"                                                                         \
    "  for line in string.gmatch(payload, '[^\\n]+') do\n"                                         \
    "    local c, rest = string.sub(line, 1, 1), string.sub(line, 3)\n"                            \
    "    if c == 'f' then\n"                                                                       \
    "      local field, by = string.match(rest, '^(%S+) (%S+)$')\n"                                \
    "      fresh = redis.pcall('HINCRBY', key, field, by) == tonumber(by) or fresh\n"              \
    "    elseif c == 'u' then\n"                                                                   \
    "      name, key, fresh = rest, p .. 'u:' .. rest, false\n"                                    \
    "    else\n"                                                                                   \
    "      if fresh then redis.call('EXPIREAT', key, rest) end\n"                                  \
    "      units[#units + 1] = name\n"                                                             \
    "    end\n"                                                                                    \
    "  end\n"                                                                                      \
    "  if #units == 0 then return end\n"                                                           \
    "  local seq, places = redis.call('INCRBY', p .. 'seq', #units), {}\n"                         \
    "  for i, unit in ipairs(units) do\n"                                                          \
    "    places[2 * i - 1], places[2 * i] = string.format('%d', seq - #units + i), unit\n"         \
    "  end\n"                                                                                      \
    "  redis.call('ZADD', p .. 'changed', unpack(places))\n"                                       \
    "  local entry = {'XADD', p .. 'log', 'MINID', '~',\n"                                         \
    "    string.format('%d', math.max(0, seq - " LEARN_SCRIPT_LOG_UNITS ")),\n"                    \
    "    string.format('%d-0', seq), 'b', string.format('%d', seq - #units), 'c', payload}\n"      \
    "  local said = redis.pcall(unpack(entry))\n"                                                  \
    "  if type(said) == 'table' and said.err then\n"                                               \
    "    redis.call('DEL', p .. 'log')\n"                                                          \
    "    redis.call(unpack(entry))\n"                                                              \
    "  end\n"                                                                                      \
    "end\n"

/* KEYS w  ARGV p, number, units, requests, seconds that they are remembered.  1, or 2: it was
 * there. */
#define LEARN_SCRIPT_WRITE                                                                         \
    LEARN_SCRIPT_ADD                                                                               \
    "if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[2]) then return 2 end\n"      \
    "redis.call('SET', KEYS[1], ARGV[2], 'EX', 86400)\n"                                           \
    "add(ARGV[1], ARGV[3])\n"                                                                      \
    "local recent = {}\n"                                                                          \
    "for line in string.gmatch(ARGV[4], '[^\\n]+') do\n"                                           \
    "  local id, text, labels = string.match(line, '^([^\\t]+)\\t([^\\t]*)\\t([^\\t]*)$')\n"       \
    "  redis.call('HSET', ARGV[1] .. 'm:' .. id, 't', text, 'l', labels)\n"                        \
    "  redis.call('EXPIRE', ARGV[1] .. 'm:' .. id, ARGV[5])\n"                                     \
    "  recent[#recent + 1] = id\n"                                                                 \
    "end\n"                                                                                        \
    "if #recent > 0 then\n"                                                                        \
    "  redis.call('LPUSH', ARGV[1] .. 'recent', unpack(recent))\n"                                 \
    "  redis.call('LTRIM', ARGV[1] .. 'recent', 0, 19999)\n"                                       \
    "end\n"                                                                                        \
    "return 1\n"

/* KEYS m  ARGV p, labels before, after, units, text before, after.  1; 0: they are others; -1: it
 * is not remembered. */
#define LEARN_SCRIPT_RELABEL                                                                       \
    LEARN_SCRIPT_ADD                                                                               \
    "local m = redis.call('HMGET', KEYS[1], 'l', 't')\n"                                           \
    "if not m[1] then return -1 end\n"                                                             \
    "if m[1] ~= ARGV[2] or m[2] ~= ARGV[5] then return 0 end\n"                                    \
    "redis.call('HSET', KEYS[1], 'l', ARGV[3], 't', ARGV[6])\n"                                    \
    "add(ARGV[1], ARGV[4])\n"                                                                      \
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

/* KEYS changed  ARGV p, known epoch, since, most units, an epoch if there is none, '1' when the
 * reader knows all that was so at `since`: only then the log is of use. Where epochs part, seq may
 * have been lost without the units: it goes on from the last of them.
 * {epoch, seq so far, 1 when there may be more, 1: of the log, ...}: payloads of the log, or units
 * whole, {name, {field, count ...}}. */
#define LEARN_SCRIPT_READ                                                                          \
    "local p, since, exact = ARGV[1], tonumber(ARGV[3]), ARGV[6] == '1'\n"                         \
    "local epoch = redis.call('GET', p .. 'epoch')\n"                                              \
    "local seq = tonumber(redis.call('GET', p .. 'seq') or '0')\n"                                 \
    "if not epoch or (epoch == ARGV[2] and seq < since) then\n"                                    \
    "  epoch = ARGV[5]\n"                                                                          \
    "  redis.call('SET', p .. 'epoch', epoch)\n"                                                   \
    "  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]\n"                      \
    "  seq = math.max(seq, tonumber(last or '0'))\n"                                               \
    "  redis.call('SET', p .. 'seq', string.format('%d', seq))\n"                                  \
    "end\n"                                                                                        \
    "if epoch ~= ARGV[2] then since, exact = 0, false end\n"                                       \
    "if seq == since and exact then return {epoch, string.format('%d', since), 0, 1} end\n"        \
    "if exact and seq - since <= " LEARN_SCRIPT_LOG_UNITS " then\n"                                \
    "  local r, at = {epoch, '', 0, 1}, since\n"                                                   \
    "  for _, e in ipairs(redis.call('XRANGE', p .. 'log', string.format('%d-0', since + 1), "     \
    "'+',\n"                                                                                       \
    "      'COUNT', ARGV[4])) do\n"                                                                \
    "    if tonumber(e[2][2]) ~= at then at = -1 break end\n"                                      \
    "    at = tonumber(string.match(e[1], '^%d+'))\n"                                              \
    "    r[#r + 1] = e[2][4]\n"                                                                    \
    "  end\n"                                                                                      \
    "  r[2], r[3] = string.format('%d', at), at < seq and 1 or 0\n"                                \
    "  if at == seq or (at > since and #r == 4 + tonumber(ARGV[4])) then return r end\n"           \
    "end\n"                                                                                        \
    "for _, old in ipairs(redis.call('ZRANGE', KEYS[1], 0, 3)) do\n"                               \
    "  if redis.call('EXISTS', p .. 'u:' .. old) == 0 then\n"                                      \
    "    redis.call('ZREM', KEYS[1], old)\n"                                                       \
    "  end\n"                                                                                      \
    "end\n"                                                                                        \
    "local names = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%d', since), '+inf',\n"    \
    "  'WITHSCORES', 'LIMIT', 0, ARGV[4])\n"                                                       \
    "local r = {epoch, string.format('%d', seq), 0, 0}\n"                                          \
    "if #names == 2 * tonumber(ARGV[4]) then r[2], r[3] = names[#names], 1 end\n"                  \
    "for i = 1, #names, 2 do\n"                                                                    \
    "  r[#r + 1] = {names[i], redis.call('HGETALL', p .. 'u:' .. names[i])}\n"                     \
    "end\n"                                                                                        \
    "return r\n"

#endif

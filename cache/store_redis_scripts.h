/* What must happen in one step on the server. Each touches keys of one bucket only, that is of one
 * hash slot; the keys that a script finds out for itself (of an id) carry the same hash tag.
 *
 * Every script begins with `current`: the generation of a scope is what its flush set, or the epoch
 * of the bucket's data, the server's time in microseconds when they began. */
#ifndef CACHE_STORE_REDIS_SCRIPTS_H
#define CACHE_STORE_REDIS_SCRIPTS_H

#define REDIS_SCRIPT_CURRENT                                                                       \
    "local function now() local t = redis.call('TIME')\n"                                          \
    "  return t[1] * 1000000 + t[2] end\n"                                                         \
    "local function current(g, scope)\n"                                                           \
    "  local v = redis.call('HMGET', g, '#epoch', 's:' .. scope)\n"                                \
    "  if not v[1] then\n"                                                                         \
    "    v[1] = string.format('%.0f', now())\n"                                                    \
    "    redis.call('HSET', g, '#epoch', v[1])\n"                                                  \
    "  end\n"                                                                                      \
    "  return v[2] or v[1]\n"                                                                      \
    "end\n"                                                                                        \
    "local function log(g, key, most, ...)\n"                                                      \
    "  redis.call('XADD', key, 'MAXLEN', '~', most, '*',\n"                                        \
    "    'n', redis.call('HINCRBY', g, '#n', 1), ...)\n"                                           \
    "end\n"

/* Entry e, of that id and of a scope of that home, is about to go: out of the sets of its tags. */
#define REDIS_SCRIPT_UNTAG                                                                         \
    "local function untag(t, home, e, id)\n"                                                       \
    "  for tag in string.gmatch(redis.call('HGET', e, 'tags') or '', '[^\\n]+') do\n"              \
    "    redis.call('ZREM', t .. tag, home .. id)\n"                                               \
    "  end\n"                                                                                      \
    "end\n"

/* KEYS g log x e tag...  ARGV prefix of e, scope, generation, id, expires_ms, writer, most, prefix
 * of tags, home, then field, value ...  Returns {1, replaced id or ''}, or {0, generation}. */
#define REDIS_SCRIPT_PUT                                                                           \
    REDIS_SCRIPT_CURRENT                                                                           \
    REDIS_SCRIPT_UNTAG                                                                             \
    "local gen = current(KEYS[1], ARGV[2])\n"                                                      \
    "if gen ~= ARGV[3] then return {0, gen} end\n"                                                 \
    "local old = redis.call('GET', KEYS[3])\n"                                                     \
    "if old == ARGV[4] then old = false end\n"                                                     \
    "if old then\n"                                                                                \
    "  untag(ARGV[8], ARGV[9], ARGV[1] .. old, old)\n"                                             \
    "  redis.call('UNLINK', ARGV[1] .. old)\n"                                                     \
    "end\n"                                                                                        \
    "redis.call('HSET', KEYS[4], unpack(ARGV, 10))\n"                                              \
    "redis.call('PEXPIREAT', KEYS[4], ARGV[5])\n"                                                  \
    "redis.call('SET', KEYS[3], ARGV[4], 'PXAT', ARGV[5])\n"                                       \
    "for i = 5, #KEYS do\n"                                                                        \
    "  redis.call('ZADD', KEYS[i], ARGV[5], ARGV[9] .. ARGV[4])\n"                                 \
    "  redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now() / 1000)\n"                            \
    "end\n"                                                                                        \
    "log(KEYS[1], KEYS[2], ARGV[7], 'op', 'put', 'id', ARGV[4], 'old', old or '',\n"               \
    "  'scope', ARGV[2], 'by', ARGV[6])\n"                                                         \
    "return {1, old or ''}\n"

/* KEYS x  ARGV prefix of e, field ...  Returns the values, or nothing. */
#define REDIS_SCRIPT_EXACT                                                                         \
    "local id = redis.call('GET', KEYS[1])\n"                                                      \
    "if not id then return false end\n"                                                            \
    "return redis.call('HMGET', ARGV[1] .. id, unpack(ARGV, 2))\n"

/* KEYS g log e  ARGV prefix of x, id, writer, most, prefix of tags, home.  Returns 1 when it was
 * there. */
#define REDIS_SCRIPT_DEL                                                                           \
    REDIS_SCRIPT_CURRENT                                                                           \
    REDIS_SCRIPT_UNTAG                                                                             \
    "local x = redis.call('HGET', KEYS[3], 'x')\n"                                                 \
    "if not x then return 0 end\n"                                                                 \
    "untag(ARGV[5], ARGV[6], KEYS[3], ARGV[2])\n"                                                  \
    "redis.call('UNLINK', KEYS[3])\n"                                                              \
    "if redis.call('GET', ARGV[1] .. x) == ARGV[2] then redis.call('UNLINK', ARGV[1] .. x) end\n"  \
    "current(KEYS[1], '')\n"                                                                       \
    "log(KEYS[1], KEYS[2], ARGV[4], 'op', 'del', 'id', ARGV[2], 'by', ARGV[3])\n"                  \
    "return 1\n"

/* KEYS g log  ARGV scope, writer, most.  Returns the new generation. */
#define REDIS_SCRIPT_FLUSH                                                                         \
    REDIS_SCRIPT_CURRENT                                                                           \
    "local gen = current(KEYS[1], ARGV[1]) + 1\n"                                                  \
    "gen = string.format('%.0f', math.max(gen, now()))\n"                                          \
    "redis.call('HSET', KEYS[1], 's:' .. ARGV[1], gen)\n"                                          \
    "log(KEYS[1], KEYS[2], ARGV[3], 'op', 'flush', 'scope', ARGV[1], 'gen', gen, 'by', ARGV[2])\n" \
    "return gen\n"

/* KEYS g log.  Returns {newest id of the log or '0-0', field, value ... of g}. */
#define REDIS_SCRIPT_JOIN                                                                          \
    REDIS_SCRIPT_CURRENT                                                                           \
    "current(KEYS[1], '')\n"                                                                       \
    "local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)\n"                        \
    "local r = {last[1] and last[1][1] or '0-0'}\n"                                                \
    "for _, v in ipairs(redis.call('HGETALL', KEYS[1])) do r[#r + 1] = v end\n"                    \
    "return r\n"

/* KEYS tag  ARGV prefix of e, cursor of ZSCAN, home or '' for all, how many, field ...
 * Returns {next cursor, {values, bytes of the body} ...}. A member whose entry was evicted goes. */
#define REDIS_SCRIPT_TAGGED                                                                        \
    REDIS_SCRIPT_CURRENT                                                                           \
    "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now() / 1000)\n"                              \
    "local found = redis.call('ZSCAN', KEYS[1], ARGV[2], 'MATCH', ARGV[3] .. '*',\n"               \
    "  'COUNT', ARGV[4])\n"                                                                        \
    "local r = {found[1]}\n"                                                                       \
    "for i = 1, #found[2], 2 do\n"                                                                 \
    "  local e = ARGV[1] .. string.sub(found[2][i], 17)\n"                                         \
    "  if redis.call('EXISTS', e) == 1 then\n"                                                     \
    "    r[#r + 1] = {redis.call('HMGET', e, unpack(ARGV, 5)), redis.call('HSTRLEN', e, 'r')}\n"   \
    "  else redis.call('ZREM', KEYS[1], found[2][i]) end\n"                                        \
    "end\n"                                                                                        \
    "return r\n"

#endif

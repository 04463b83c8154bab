/* Owns nothing: the request holds the entry. Called by cache_use.c for each hit. */
#include "router/cache_replay.h"

#include "backends/wire/answer_replay.h"
#include "base/log.h"
#include "router/recording.h"
#include "router/request_int.h"

enum wire_dialect cache_replay_dialect(struct slice name)
{
    return slice_eq(name, SLICE("anthropic")) ? WIRE_ANTHROPIC : WIRE_OPENAI;
}

const char *cache_replay_dialect_name(enum wire_dialect d)
{
    return d == WIRE_ANTHROPIC ? "anthropic" : "openai";
}

/* Everything is written before the first byte goes out: what cannot be given again is a miss. */
bool cache_replay(struct request *r, struct cache_entry *e, int64_t now_ms)
{
    struct answer_options opt = attempt_answer_options(r, cache_replay_dialect(e->f.dialect),
                                                       e->f.body.n + RECORDING_MAX_BYTES);
    enum err err;

    if (!slice_eq(e->f.api, slice_str(wire_api_name(r->api))))
        return false;
    err = r->ask.stream ? answer_replay_stream(&opt, e->f.body, &r->out)
                        : answer_replay_whole(&opt, e->f.body, &r->arena, &r->whole);
    if (err != ERR_OK) {
        log_line(LOG_WARN, "cache", "an entry cannot be given again", "id=%s entry=%llu", r->id,
                 (unsigned long long)e->f.id);
        return false;
    }
    r->cache.entry = cache_entry_ref(e); /* r->whole points into it */
    r->cache.age_ms = now_ms > e->f.created_ms ? now_ms - e->f.created_ms : 0;
    return true;
}

/* The store that replicas share: its life, and what it knows. Owns two connections, one for
 * calls (store_redis_entries.c, _write, _pages, _notes) and one for the logs (store_redis_log.c).
 * Called by the cache thread only.
 *
 *   <prefix>:{<bucket>}:e:<id>       hash: the entry (store_redis_fields.h)
 *                      :x:<exact>    string: the id that answers this question
 *                      :t:<tag>      sorted set: homes of scopes and ids, by expiry
 *                      :g            hash: #epoch of the data, #n records in the log, s:<scope>
 *                                    generations
 *                      :log          stream: put, del, flush; the newest LOG_RECORDS or so
 *   <prefix>:{note}:<name>           string: what was learned
 *                   :<name>:log       stream: what is being learned; the newest STORE_RECORDS or so
 *
 * Everything but g, log, notes and the sets of tags expires with its entry (a set that expired
 * would be evicted before its entries, and then removal by tag would not find them; its members of
 * the past go at the next put or look). Nothing needs FLUSHDB or KEYS. All keys of a bucket are in
 * one hash slot. Lookups that are late several times in a row open the breaker: then none is tried
 * for a moment. Writes wait for the connection in a queue of HELD_PUTS and HELD_BYTES; what does
 * not fit is not stored. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cache/store_redis_int.h"

#define MAX_QUEUED_BYTES ((size_t)64 << 20)

/* ---- how it is ---- */

struct inspect_call {
    struct store_redis *s;
    store_inspect_fn *fn;
    void *ctx;
    int64_t sent_us;
};

/* The value of "name:value" in a reply to INFO; "" when it is not there. */
static struct slice info_value(struct slice info, const char *name)
{
    size_t n = strlen(name);

    while (info.n > 0) {
        const char *end = memchr(info.p, '\n', info.n);
        struct slice line = slice_make(info.p, end ? (size_t)(end - info.p) : info.n);
        info = slice_from(info, end ? line.n + 1 : line.n);
        if (line.n > n && memcmp(line.p, name, n) == 0 && line.p[n] == ':') {
            line = slice_from(line, n + 1);
            return slice_make(line.p, line.n && line.p[line.n - 1] == '\r' ? line.n - 1 : line.n);
        }
    }
    return SLICE("");
}

static void on_info(void *ctx, enum err err, const struct redis_reply *r)
{
    struct inspect_call *c = ctx;
    struct store_inspection about = {.round_trip_us = clock_mono_us() - c->sent_us,
                                     .log_lag_ms = redis_log_lag_ms(c->s)};

    if (err == ERR_OK)
        err = redis_refusal(c->s, r);
    if (err == ERR_OK) {
        struct slice info = redis_reply_text(r);
        snprintf(about.version, sizeof about.version, "Redis %.*s",
                 SLICE_ARG(info_value(info, "redis_version")));
        snprintf(about.eviction, sizeof about.eviction, "%.*s",
                 SLICE_ARG(info_value(info, "maxmemory_policy")));
        about.used_bytes = redis_decimal(info_value(info, "used_memory"));
        about.limit_bytes = redis_decimal(info_value(info, "maxmemory"));
    }
    c->fn(c->ctx, err, &about);
    free(c);
}

static void redis_inspect(struct store *st, store_inspect_fn *fn, void *ctx)
{
    struct inspect_call *c = mem_alloc(sizeof *c);
    const struct slice words[] = {SLICE("INFO")};

    *c = (struct inspect_call){redis_of(st), fn, ctx, clock_mono_us()};
    redis_link_call(redis_of(st)->calls, words, 1, REDIS_WRITE_US, on_info, c);
}

/* ---- what it knows ---- */

static uint64_t redis_generation(const struct store *s, struct slice scope)
{
    return generations_of(&redis_of_const(s)->generations, scope);
}

static bool redis_current(const struct store *st, int64_t *until_mono_us)
{
    const struct store_redis *s = redis_of_const(st);

    *until_mono_us = s->current_until_us;
    return clock_mono_us() < s->current_until_us;
}

static int64_t redis_clock_offset_ms(const struct store *s)
{
    return redis_of_const(s)->clock_offset_ms;
}

static enum err redis_mark(const struct store *st, struct buf *out)
{
    const struct store_redis *s = redis_of_const(st);

    return buf_append(out, s->buckets, sizeof s->buckets);
}

/* What cannot be gone on from shows at joining, as STORE_LOST. */
static bool redis_resume(struct store *st, struct slice mark)
{
    struct store_redis *s = redis_of(st);

    if (mark.n != sizeof s->buckets)
        return false;
    memcpy(s->buckets, mark.p, mark.n);
    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        s->buckets[b].last[sizeof s->buckets[b].last - 1] = 0;
    return true;
}

static void redis_stat(const struct store *s, struct store_stat *out)
{
    *out = redis_of_const(s)->stat;
    out->kind = "redis";
    out->up = out->up && redis_link_up(redis_of_const(s)->calls);
}

/* ---- opening and closing ---- */

static void on_calls_up(void *ctx)
{
    struct store_redis *s = ctx;

    s->failures = 0;
    s->broken_until_us = 0;
    redis_scripts_load(s);
    redis_release_held(s);
}

static void on_calls_down(void *ctx, const char *why)
{
    struct store_redis *s = ctx;

    snprintf(s->stat.detail, sizeof s->stat.detail, "%s", why);
    memset(s->sha, 0, sizeof s->sha);
}

static void redis_close(struct store *st)
{
    struct store_redis *s = redis_of(st);

    s->closing = true;
    redis_link_free(s->watch);
    redis_link_free(s->calls);
    if (s->released) {
        redis_held_go(-1, 0, s);
        event_free(s->released);
    }
    redis_log_stop(s);
    generations_clear(&s->generations);
    free(s->prefix);
    free(s);
}

static const struct store_ops redis_ops = {
    .get_exact = redis_get_exact,
    .get = redis_get,
    .find = redis_find,
    .put = redis_put,
    .del = redis_del,
    .flush = redis_flush,
    .tagged = redis_tagged,
    .scan = redis_scan,
    .note = redis_note,
    .recall = redis_recall,
    .append = redis_append,
    .read = redis_read,
    .inspect = redis_inspect,
    .touch = redis_touch,
    .generation = redis_generation,
    .current = redis_current,
    .clock_offset_ms = redis_clock_offset_ms,
    .mark = redis_mark,
    .resume = redis_resume,
    .stat = redis_stat,
    .close = redis_close,
};

static bool prefix_is_plain(const char *prefix)
{
    size_t n = strlen(prefix);

    return n > 0 && n <= 64 && strcspn(prefix, "{}*?[]\\ \t\r\n") == n;
}

enum err store_redis_open(const struct store_options *opt, const char *url, const char *prefix,
                          struct store **out, struct err_text *t)
{
    struct redis_link_options link = {.base = opt->base,
                                      .url = url,
                                      .stall_us = REDIS_STALL_US,
                                      .max_queued_bytes = MAX_QUEUED_BYTES,
                                      .up = on_calls_up,
                                      .down = on_calls_down};

    *out = NULL;
    if (!prefix_is_plain(prefix)) {
        err_say(t, "Redis prefix \"%.64s\": 1 to 64 bytes without spaces and without {}*?[]\\",
                prefix);
        return ERR_BAD_REQUEST;
    }
    struct store_redis *s = mem_zalloc(1, sizeof *s);
    s->store.ops = &redis_ops;
    s->store.shared = true;
    s->opt = *opt;
    s->prefix = mem_strdup(slice_str(prefix));
    list_init(&s->held);
    generations_init(&s->generations);
    struct rng r;
    rng_seed_os(&r);
    snprintf(s->writer, sizeof s->writer, "%016" PRIx64, rng_u64(&r));
    s->released = event_new(opt->base, -1, 0, redis_held_go, s);
    mem_need(s->released);
    redis_log_start(s);
    link.ctx = s;
    enum err err = redis_link_new(&link, &s->calls, t);
    link.up = redis_log_up;
    link.down = redis_log_down;
    if (err == ERR_OK)
        err = redis_link_new(&link, &s->watch, t);
    if (err != ERR_OK) {
        redis_close(&s->store);
        return err;
    }
    *out = &s->store;
    return ERR_OK;
}

/* Following the change logs: one connection that waits in XREAD for all buckets at once, and says
 * what it hears. Owns what is known of each bucket. Called by the loop.
 *
 *   up -> join every bucket (epoch, number of its last record, generations) -> read -> beat -> read
 *
 * Records are numbered in each bucket, so that a gap shows whatever its reason: a log that was
 * trimmed while this process slept, a server that came back with older data, a key that was
 * evicted. An epoch that changed means that the data are gone. The beat looks at epochs and counts
 * twice a second; the read after it must bring every record that the beat counted. Only then is it
 * known that nothing was missed, and for CURRENT_US from the beat on what is in memory may be
 * served. Whatever is not answered in time ends the connection, and another one begins anew. */
#include "cache/store_redis_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/store_redis_scripts.h"

#define BLOCK_MS   "400"
#define READ_COUNT 500 /* records of each bucket */
#define READ_US    2500000
#define JOIN_US    5000000
#define BEAT_EVERY 400000
#define PAUSE_US   10000 /* after a read that brought something: let more come together */
#define CURRENT_US 2000000

struct bucket_call {
    struct store_redis *s;
    unsigned bucket;
};

static void read_logs(struct store_redis *s);
static void join(struct store_redis *s, unsigned bucket);

/* No answer: of a connection that is up, and would go on without the call that goes on. */
static void give_up(struct store_redis *s)
{
    if (!s->closing && redis_link_up(s->watch))
        redis_link_distrust(s->watch, "its change log does not answer");
}

static void lost(struct store_redis *s, unsigned bucket)
{
    s->stat.losses++;
    s->opt.changed(s->opt.ctx, &(struct store_change){.kind = STORE_LOST, .bucket = bucket});
}

static void set_last(struct redis_bucket *b, struct slice id)
{
    if (id.n < sizeof b->last) {
        memcpy(b->last, id.p, id.n);
        b->last[id.n] = 0;
    }
}

/* ---- joining ---- */

struct joined {
    uint64_t epoch, count;
    struct slice last;
};

static void read_joined(const struct redis_reply *r, struct joined *j)
{
    *j = (struct joined){.last = redis_reply_text(redis_reply_at(r, 0))};
    for (size_t i = 1; i + 1 < redis_reply_count(r); i += 2) {
        struct slice key = redis_reply_text(redis_reply_at(r, i)),
                     value = redis_reply_text(redis_reply_at(r, i + 1));
        if (slice_eq(key, SLICE("#epoch")))
            j->epoch = redis_decimal(value);
        else if (slice_eq(key, SLICE("#n")))
            j->count = redis_decimal(value);
    }
}

/* Ids of a stream: "<ms>-<number>". */
static bool is_later(struct slice a, struct slice b)
{
    uint64_t a_ms = redis_decimal(a), b_ms = redis_decimal(b);

    if (a_ms != b_ms)
        return a_ms > b_ms;
    const char *a_dash = a.n ? memchr(a.p, '-', a.n) : NULL,
               *b_dash = b.n ? memchr(b.p, '-', b.n) : NULL;
    return a_dash && b_dash &&
           redis_decimal(slice_from(a, (size_t)(a_dash - a.p) + 1)) >
               redis_decimal(slice_from(b, (size_t)(b_dash - b.p) + 1));
}

/* Has every record since been heard, or may it still be? Whether none is missing between shows when
 * they are read. */
static bool can_go_on(const struct redis_bucket *b, const struct joined *j)
{
    if (b->epoch != j->epoch || j->count < b->seen)
        return false;
    return j->count == b->seen || is_later(j->last, slice_str(b->last));
}

static void adopt(struct store_redis *s, unsigned bucket, const struct redis_reply *r)
{
    struct redis_bucket *b = &s->buckets[bucket];
    struct joined j;

    read_joined(r, &j);
    bool goes_on = can_go_on(b, &j);
    if (!goes_on)
        generations_set_epoch(&s->generations, bucket, 0); /* what was flushed is told anew */
    generations_set_epoch(&s->generations, bucket, j.epoch);
    for (size_t i = 1; i + 1 < redis_reply_count(r); i += 2) {
        struct slice key = redis_reply_text(redis_reply_at(r, i));
        if (slice_starts(key, SLICE("s:")))
            generations_set(&s->generations, slice_from(key, 2),
                            redis_decimal(redis_reply_text(redis_reply_at(r, i + 1))));
    }
    b->joined = true;
    if (goes_on)
        return;
    b->epoch = j.epoch;
    b->seen = j.count;
    set_last(b, j.last);
    lost(s, bucket);
}

static void on_joined(void *ctx, enum err err, const struct redis_reply *r)
{
    struct bucket_call *call = ctx;
    struct store_redis *s = call->s;
    unsigned bucket = call->bucket;

    free(call);
    s->open_joins--;
    if (s->closing)
        return;
    if (err != ERR_OK) {
        give_up(s);
        return;
    }
    if (redis_reply_count(r) > 0) {
        adopt(s, bucket, r);
    } else {
        struct slice said = redis_reply_text(r);
        snprintf(s->stat.detail, sizeof s->stat.detail, "%.*s", said.n < 150 ? (int)said.n : 150,
                 said.p);
        redis_link_distrust(s->watch, s->stat.detail);
        return;
    }
    if (s->open_joins == 0)
        read_logs(s);
}

static void join(struct store_redis *s, unsigned bucket)
{
    struct bucket_call *call = mem_alloc(sizeof *call);
    struct redis_words w;

    *call = (struct bucket_call){s, bucket};
    redis_words_init(&w);
    redis_words_add(&w, SLICE("EVAL"));
    redis_words_add(&w, SLICE(REDIS_SCRIPT_JOIN));
    redis_words_add(&w, SLICE("2"));
    redis_words_key(&w, s, bucket, "g", SLICE(""));
    redis_words_key(&w, s, bucket, "log", SLICE(""));
    s->open_joins++;
    redis_link_call(s->watch, w.word, w.count, JOIN_US, on_joined, call);
    redis_words_clear(&w);
}

/* ---- records ---- */

struct record {
    uint64_t number, id, old, generation;
    struct slice op, scope, by;
};

static bool parse_record(const struct redis_reply *fields, struct record *r)
{
    *r = (struct record){0};
    for (size_t i = 0; i + 1 < redis_reply_count(fields); i += 2) {
        struct slice key = redis_reply_text(redis_reply_at(fields, i)),
                     value = redis_reply_text(redis_reply_at(fields, i + 1));
        if (slice_eq(key, SLICE("n")))
            r->number = redis_decimal(value);
        else if (slice_eq(key, SLICE("op")))
            r->op = value;
        else if (slice_eq(key, SLICE("id")))
            r->id = redis_hex(value);
        else if (slice_eq(key, SLICE("old")))
            r->old = redis_hex(value);
        else if (slice_eq(key, SLICE("scope")))
            r->scope = value;
        else if (slice_eq(key, SLICE("gen")))
            r->generation = redis_decimal(value);
        else if (slice_eq(key, SLICE("by")))
            r->by = value;
    }
    return r->number != 0;
}

static void tell(struct store_redis *s, unsigned bucket, const struct record *r)
{
    struct store_change c = {.bucket = bucket,
                             .id = r->id,
                             .replaced = r->old,
                             .scope = r->scope,
                             .generation = r->generation};

    if (slice_eq(r->op, SLICE("flush")))
        generations_set(&s->generations, r->scope, r->generation);
    if (slice_eq(r->by, slice_str(s->writer)))
        return;
    if (slice_eq(r->op, SLICE("put")) && r->id)
        c.kind = STORE_PUT;
    else if (slice_eq(r->op, SLICE("del")) && r->id)
        c.kind = STORE_DEL;
    else if (slice_eq(r->op, SLICE("flush")) && r->generation)
        c.kind = STORE_FLUSH;
    else {
        lost(s, bucket); /* of a newer weir: what it means is not known here */
        return;
    }
    s->opt.changed(s->opt.ctx, &c);
}

static void hear(struct store_redis *s, unsigned bucket, const struct redis_reply *entry)
{
    struct redis_bucket *b = &s->buckets[bucket];
    struct record r;

    if (redis_reply_count(entry) != 2)
        return;
    bool understood = parse_record(redis_reply_at(entry, 1), &r);
    set_last(b, redis_reply_text(redis_reply_at(entry, 0)));
    if (understood && r.number <= b->seen)
        return; /* heard already */
    bool gap = !understood || r.number != b->seen + 1;
    if (understood)
        b->seen = r.number;
    if (gap)
        lost(s, bucket);
    if (understood)
        tell(s, bucket, &r);
}

/* The bucket whose log has that key; STORE_BUCKETS: none. */
static unsigned bucket_of(const struct store_redis *s, struct slice key)
{
    size_t n = strlen(s->prefix);

    if (key.n < n + 4 || key.p[n] != ':' || key.p[n + 1] != '{')
        return STORE_BUCKETS;
    uint64_t b = redis_decimal(slice_from(key, n + 2));
    return b < STORE_BUCKETS ? (unsigned)b : STORE_BUCKETS;
}

/* ---- reading and beating ---- */

static void on_again(evutil_socket_t fd, short what, void *ctx)
{
    struct store_redis *s = ctx;

    (void)fd, (void)what;
    if (redis_link_up(s->watch) && s->open_joins == 0)
        read_logs(s);
}

static void read_again(struct store_redis *s, int64_t in_us)
{
    event_add(s->again, &(struct timeval){.tv_usec = in_us});
}

static void become_current(struct store_redis *s)
{
    if (!s->stat.up) {
        log_line(LOG_INFO, "cache", "following the changes in Redis", NULL);
        redis_release_held(s);
    }
    s->away[0] = 0;
    s->current_until_us = s->beat_at_us + CURRENT_US;
    s->stat.up = true;
    s->stat.detail[0] = 0;
}

/* After a read that was sent after a beat: has everything come that the beat counted? A bucket that
 * is behind and whose log had no more to give has lost records. */
static void settle(struct store_redis *s)
{
    bool all = true;

    for (unsigned i = 0; i < STORE_BUCKETS; i++) {
        struct redis_bucket *b = &s->buckets[i];
        if (b->seen >= b->told)
            continue;
        all = false;
        if (b->got < READ_COUNT)
            join(s, i);
    }
    if (!all)
        return;
    s->owed = false;
    become_current(s);
}

static void end_beat(struct store_redis *s)
{
    s->owed = s->beat_holds;
    if (s->open_joins == 0)
        read_again(s, 0);
}

static void on_beat(void *ctx, enum err err, const struct redis_reply *r)
{
    struct bucket_call *call = ctx;
    struct store_redis *s = call->s;
    unsigned bucket = call->bucket;

    free(call);
    s->open_beats--;
    if (s->closing)
        return;
    if (err != ERR_OK || redis_reply_count(r) != 2) {
        s->beat_holds = false;
        give_up(s);
        return;
    }
    struct redis_bucket *b = &s->buckets[bucket];
    uint64_t epoch = redis_decimal(redis_reply_text(redis_reply_at(r, 0)));
    b->told = redis_decimal(redis_reply_text(redis_reply_at(r, 1)));
    if (epoch != b->epoch || b->told < b->seen) {
        s->beat_holds = false;
        join(s, bucket); /* its data are gone, or older than they were */
    }
    if (s->open_beats == 0)
        end_beat(s);
}

static void on_time(void *ctx, enum err err, const struct redis_reply *r)
{
    struct store_redis *s = ctx;
    int64_t now_us = clock_wall_us(), theirs_us;

    if (err != ERR_OK || redis_reply_count(r) != 2 || s->closing)
        return;
    theirs_us = (int64_t)redis_decimal(redis_reply_text(redis_reply_at(r, 0))) * 1000000 +
                (int64_t)redis_decimal(redis_reply_text(redis_reply_at(r, 1)));
    s->clock_offset_ms = (theirs_us - now_us) / 1000;
}

static void beat(struct store_redis *s)
{
    struct redis_words w;

    s->beat_at_us = clock_mono_us();
    s->beat_holds = true;
    redis_link_call(s->watch, (struct slice[]){SLICE("TIME")}, 1, JOIN_US, on_time, s);
    for (unsigned b = 0; b < STORE_BUCKETS; b++) {
        struct bucket_call *call = mem_alloc(sizeof *call);
        *call = (struct bucket_call){s, b};
        redis_words_init(&w);
        redis_words_add(&w, SLICE("HMGET"));
        redis_words_key(&w, s, b, "g", SLICE(""));
        redis_words_add(&w, SLICE("#epoch"));
        redis_words_add(&w, SLICE("#n"));
        s->open_beats++;
        redis_link_call(s->watch, w.word, w.count, JOIN_US, on_beat, call);
        redis_words_clear(&w);
    }
}

static void on_read(void *ctx, enum err err, const struct redis_reply *r)
{
    struct store_redis *s = ctx;
    size_t streams = err == ERR_OK ? redis_reply_count(r) : 0;

    if (s->closing)
        return;
    if (err != ERR_OK) {
        give_up(s);
        return;
    }
    if (redis_reply_kind(r) == REDIS_KIND_ERROR) {
        struct slice said = redis_reply_text(r);
        snprintf(s->stat.detail, sizeof s->stat.detail, "%.*s", said.n < 150 ? (int)said.n : 150,
                 said.p);
        redis_link_distrust(s->watch, s->stat.detail);
        return;
    }
    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        s->buckets[b].got = 0;
    for (size_t i = 0; i < streams; i++) {
        const struct redis_reply *stream = redis_reply_at(r, i);
        if (redis_reply_count(stream) != 2)
            continue;
        unsigned bucket = bucket_of(s, redis_reply_text(redis_reply_at(stream, 0)));
        const struct redis_reply *entries = redis_reply_at(stream, 1);
        if (bucket == STORE_BUCKETS)
            continue;
        s->buckets[bucket].got = redis_reply_count(entries);
        for (size_t k = 0; k < redis_reply_count(entries); k++)
            hear(s, bucket, redis_reply_at(entries, k));
    }
    if (s->owed)
        settle(s);
    if (s->open_joins > 0)
        return; /* the last of them reads on */
    if (clock_mono_us() - s->beat_at_us >= BEAT_EVERY)
        beat(s);
    else
        read_again(s, PAUSE_US);
}

static void read_logs(struct store_redis *s)
{
    struct redis_words w;

    redis_words_init(&w);
    redis_words_add(&w, SLICE("XREAD"));
    redis_words_add(&w, SLICE("COUNT"));
    redis_words_format(&w, "%d", READ_COUNT);
    /* The first read after joining must not wait: until it is back nothing is served. */
    if (s->current_until_us) {
        redis_words_add(&w, SLICE("BLOCK"));
        redis_words_add(&w, SLICE(BLOCK_MS));
    }
    redis_words_add(&w, SLICE("STREAMS"));
    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        redis_words_key(&w, s, b, "log", SLICE(""));
    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        redis_words_add(&w, slice_str(s->buckets[b].last));
    redis_link_call(s->watch, w.word, w.count, READ_US, on_read, s);
    redis_words_clear(&w);
}

void redis_log_up(void *ctx)
{
    struct store_redis *s = ctx;

    s->open_joins = s->open_beats = 0;
    s->owed = false;
    s->beat_at_us = 0;
    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        join(s, b);
}

void redis_log_down(void *ctx, const char *why)
{
    struct store_redis *s = ctx;
    char text[200];

    if (strcmp(s->away, why) != 0)
        log_line(LOG_WARN, "cache", "Redis is not usable: everything misses", "reason=%s",
                 log_quote(slice_str(why), text, sizeof text));
    snprintf(s->away, sizeof s->away, "%s", why);
    s->stat.up = false;
    s->current_until_us = 0;
    snprintf(s->stat.detail, sizeof s->stat.detail, "%s", why);
    event_del(s->again);
}

int64_t redis_log_lag_ms(const struct store_redis *s)
{
    if (s->current_until_us == 0)
        return -1;
    int64_t lag_us = clock_mono_us() - (s->current_until_us - CURRENT_US);
    return lag_us > 0 ? lag_us / 1000 : 0;
}

void redis_log_start(struct store_redis *s)
{
    s->again = event_new(s->opt.base, -1, 0, on_again, s);
    mem_need(s->again);
    for (unsigned b = 0; b < STORE_BUCKETS; b++)
        set_last(&s->buckets[b], SLICE("0-0"));
}

void redis_log_stop(struct store_redis *s)
{
    if (s->again)
        event_free(s->again);
}

/* Writes: puts, which wait for the connection in a queue of HELD_PUTS and HELD_BYTES, removals,
 * flushes, touches. Owns what waits and the calls that are open. */
#include <inttypes.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cache/store_redis_fields.h"
#include "cache/store_redis_int.h"

#define HELD_PUTS   1000
#define HELD_BYTES  ((size_t)16 << 20)
#define LOG_RECORDS "100000"

struct put_call {
    struct list link; /* while it waits for the connection */
    struct store_redis *s;
    struct cache_entry *entry; /* a reference */
    store_put_fn *fn;
    void *ctx;
};

static void end_put(struct put_call *p, enum err err, uint64_t replaced)
{
    p->s->stat.dropped_writes += err == ERR_OVERLOADED;
    p->fn(p->ctx, err, replaced);
    cache_entry_unref(p->entry);
    free(p);
}

static void on_put(void *ctx, enum err err, const struct redis_reply *r)
{
    struct put_call *p = ctx;
    uint64_t replaced = 0;

    if (err == ERR_OK)
        err = redis_refusal(p->s, r);
    if (err == ERR_OK && redis_reply_count(r) != 2)
        err = ERR_OVERLOADED;
    if (err == ERR_OK) {
        replaced = redis_hex(redis_reply_text(redis_reply_at(r, 1)));
        if (redis_reply_integer(redis_reply_at(r, 0)) != 1) {
            err = ERR_CONFLICT;
            replaced = 0;
        }
    }
    end_put(p, err, replaced);
}

static void send_put(struct put_call *p)
{
    struct store_redis *s = p->s;
    const struct cache_fields *f = &p->entry->f;
    unsigned bucket = store_bucket(f->scope);
    struct redis_fields fields;
    struct redis_words w;

    redis_words_script(s, &w, SCRIPT_PUT, 4 + (int)f->tag_count);
    redis_words_key(&w, s, bucket, "g", SLICE(""));
    redis_words_key(&w, s, bucket, "log", SLICE(""));
    redis_words_exact_key(&w, s, bucket, f->exact);
    redis_words_entry_key(&w, s, bucket, f->id);
    for (size_t i = 0; i < f->tag_count; i++)
        redis_words_key(&w, s, bucket, "t:", f->tags[i]);
    redis_words_key(&w, s, bucket, "e:", SLICE(""));
    redis_words_add(&w, f->scope);
    redis_words_format(&w, "%" PRIu64, f->generation);
    redis_words_format(&w, "%016" PRIx64, f->id);
    redis_words_format(&w, "%" PRId64, f->expires_ms);
    redis_words_add(&w, slice_str(s->writer));
    redis_words_add(&w, SLICE(LOG_RECORDS));
    redis_words_key(&w, s, bucket, "t:", SLICE(""));
    redis_words_home(&w, f->scope);
    bool good = redis_fields_from(&fields, f);
    for (size_t i = 0; good && i < REDIS_FIELD_COUNT; i++) {
        redis_words_add(&w, slice_str(redis_field_keys[i]));
        redis_words_add(&w, fields.value[i]);
    }
    s->stat.calls++;
    if (good)
        redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_put, p);
    redis_fields_clear(&fields);
    redis_words_clear(&w);
    if (!good)
        end_put(p, ERR_BAD_REQUEST, 0);
}

/* On the way only while the connection stands and the generations are known. */
static bool can_write(const struct store_redis *s)
{
    return redis_link_up(s->calls) && s->stat.up;
}

void redis_held_go(evutil_socket_t fd, short what, void *ctx)
{
    struct store_redis *s = ctx;

    (void)fd, (void)what;
    while (!list_empty(&s->held)) {
        struct put_call *p = CONTAINER_OF(s->held.next, struct put_call, link);
        bool fits = s->held_count <= HELD_PUTS && s->held_bytes <= HELD_BYTES;
        if (fits && !s->closing && !can_write(s))
            return;
        list_remove(&p->link);
        s->held_count--;
        s->held_bytes -= p->entry->bytes;
        if (fits && !s->closing)
            send_put(p);
        else
            end_put(p, ERR_OVERLOADED, 0);
    }
}

void redis_release_held(struct store_redis *s)
{
    event_active(s->released, EV_TIMEOUT, 0);
}

void redis_put(struct store *st, struct cache_entry *e, store_put_fn *fn, void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct put_call *p = mem_zalloc(1, sizeof *p);

    *p = (struct put_call){.s = s, .entry = cache_entry_ref(e), .fn = fn, .ctx = ctx};
    list_push_back(&s->held, &p->link);
    s->held_count++;
    s->held_bytes += e->bytes;
    redis_release_held(s);
}

/* A call whose answer is a number, or nothing. */
struct redis_done_call {
    struct store_redis *s;
    store_done_fn *fn; /* NULL: nobody waits */
    void *ctx;
    char *scope; /* owned; of flush */
    size_t scope_bytes;
};

struct redis_done_call *redis_done_new(struct store_redis *s, store_done_fn *fn, void *ctx)
{
    struct redis_done_call *d = mem_zalloc(1, sizeof *d);

    *d = (struct redis_done_call){.s = s, .fn = fn, .ctx = ctx};
    s->stat.calls++;
    return d;
}

void redis_done(void *ctx, enum err err, const struct redis_reply *r)
{
    struct redis_done_call *d = ctx;
    uint64_t value = 0;

    if (err == ERR_OK)
        err = redis_refusal(d->s, r);
    if (err == ERR_OK && redis_reply_kind(r) == REDIS_KIND_INTEGER)
        value = (uint64_t)redis_reply_integer(r);
    else if (err == ERR_OK)
        value = redis_decimal(redis_reply_text(r));
    if (err == ERR_OK && d->scope)
        generations_set(&d->s->generations, slice_make(d->scope, d->scope_bytes), value);
    if (d->fn)
        d->fn(d->ctx, err, value);
    free(d->scope);
    free(d);
}

void redis_del(struct store *st, const struct store_ref *ref, store_done_fn *fn, void *ctx)
{
    struct store_redis *s = redis_of(st);
    unsigned bucket = store_bucket(ref->scope);
    struct redis_words w;

    redis_words_script(s, &w, SCRIPT_DEL, 3);
    redis_words_key(&w, s, bucket, "g", SLICE(""));
    redis_words_key(&w, s, bucket, "log", SLICE(""));
    redis_words_entry_key(&w, s, bucket, ref->id);
    redis_words_key(&w, s, bucket, "x:", SLICE(""));
    redis_words_format(&w, "%016" PRIx64, ref->id);
    redis_words_add(&w, slice_str(s->writer));
    redis_words_add(&w, SLICE(LOG_RECORDS));
    redis_words_key(&w, s, bucket, "t:", SLICE(""));
    redis_words_home(&w, ref->scope);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, redis_done,
                    redis_done_new(s, fn, ctx));
    redis_words_clear(&w);
}

void redis_flush(struct store *st, struct slice scope, store_done_fn *fn, void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct redis_done_call *d = redis_done_new(s, fn, ctx);
    unsigned bucket = store_bucket(scope);
    struct redis_words w;

    d->scope = mem_strdup(scope);
    d->scope_bytes = scope.n;
    redis_words_script(s, &w, SCRIPT_FLUSH, 2);
    redis_words_key(&w, s, bucket, "g", SLICE(""));
    redis_words_key(&w, s, bucket, "log", SLICE(""));
    redis_words_add(&w, scope);
    redis_words_add(&w, slice_str(s->writer));
    redis_words_add(&w, SLICE(LOG_RECORDS));
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, redis_done, d);
    redis_words_clear(&w);
}

/* The server's own LFU or LRU counts; hits in memory are told to it by touching the keys. */
void redis_touch(struct store *st, const struct store_ref *ref, uint32_t hits)
{
    struct store_redis *s = redis_of(st);
    struct redis_words w;

    if (!redis_link_up(s->calls))
        return;
    redis_words_init(&w);
    redis_words_add(&w, SLICE("TOUCH"));
    for (uint32_t i = 0; i < hits && i < 8; i++)
        redis_words_entry_key(&w, s, store_bucket(ref->scope), ref->id);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, redis_done,
                    redis_done_new(s, NULL, NULL));
    redis_words_clear(&w);
}

/* What was learned: notes, small state under a name, and records, which all replicas append to and
 * read in one order. Owns the calls that are open. */
#include <inttypes.h>
#include <stdlib.h>
#include "base/mem.h"
#include "cache/store_redis_int.h"

/* Of a record on its way: one that is late may be there all the same, and is then known twice. */
#define APPEND_US 30000000

static void redis_words_note_key(struct redis_words *w, const struct store_redis *s,
                                 struct slice name)
{
    redis_words_add(
        w, slice_str(arena_printf(&w->room, "%s:{note}:%.*s", s->prefix, SLICE_ARG(name))));
}

void redis_note(struct store *st, struct slice name, struct slice value, store_done_fn *fn,
                void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct redis_words w;

    redis_words_init(&w);
    redis_words_add(&w, SLICE("SET"));
    redis_words_note_key(&w, s, name);
    redis_words_add(&w, value);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, redis_done,
                    redis_done_new(s, fn, ctx));
    redis_words_clear(&w);
}

struct bytes_call {
    struct store_redis *s;
    store_bytes_fn *fn;
    void *ctx;
};

static void on_recalled(void *ctx, enum err err, const struct redis_reply *r)
{
    struct bytes_call *b = ctx;

    if (err == ERR_OK)
        err = redis_refusal(b->s, r);
    if (err == ERR_OK && redis_reply_kind(r) != REDIS_KIND_TEXT)
        err = ERR_NOT_FOUND;
    b->fn(b->ctx, err, err == ERR_OK ? redis_reply_text(r) : SLICE(""));
    free(b);
}

void redis_recall(struct store *st, struct slice name, store_bytes_fn *fn, void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct bytes_call *b = mem_alloc(sizeof *b);
    struct redis_words w;

    *b = (struct bytes_call){s, fn, ctx};
    redis_words_init(&w);
    redis_words_add(&w, SLICE("GET"));
    redis_words_note_key(&w, s, name);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_recalled, b);
    redis_words_clear(&w);
}

/* ---- records ---- */

static void add_record_key(struct redis_words *w, const struct store_redis *s, struct slice name)
{
    redis_words_add(
        w, slice_str(arena_printf(&w->room, "%s:{note}:%.*s:log", s->prefix, SLICE_ARG(name))));
}

void redis_append(struct store *st, struct slice name, struct slice record, store_done_fn *fn,
                  void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct redis_words w;

    redis_words_init(&w);
    redis_words_add(&w, SLICE("XADD"));
    add_record_key(&w, s, name);
    redis_words_add(&w, SLICE("MAXLEN"));
    redis_words_add(&w, SLICE("~"));
    redis_words_format(&w, "%d", STORE_RECORDS);
    redis_words_add(&w, SLICE("*"));
    redis_words_add(&w, SLICE("r"));
    redis_words_add(&w, record);
    redis_link_call(s->calls, w.word, w.count, APPEND_US, redis_done, redis_done_new(s, fn, ctx));
    redis_words_clear(&w);
}

struct read_call {
    struct store_redis *s;
    struct store_place after;
    store_records_fn *fn;
    void *ctx;
};

/* Ids of a stream: "<ms>-<number>". */
static struct store_place place_of(struct slice id)
{
    const char *dash = id.n ? memchr(id.p, '-', id.n) : NULL;
    struct store_place p = {.at = redis_decimal(id)};

    if (dash)
        p.number = redis_decimal(slice_from(id, (size_t)(dash - id.p) + 1));
    return p;
}

static bool same_place(struct store_place a, struct store_place b)
{
    return a.at == b.at && a.number == b.number;
}

/* The one at `after` comes as well, if it is still there. */
static void on_read(void *ctx, enum err err, const struct redis_reply *r)
{
    struct read_call *c = ctx;
    struct slice record[STORE_MAX_RECORDS + 1];
    struct store_place last = c->after;
    bool gap = !same_place(c->after, (struct store_place){0});
    size_t n = 0;

    if (err == ERR_OK)
        err = redis_refusal(c->s, r);
    for (size_t i = 0; err == ERR_OK && i < redis_reply_count(r) && n <= STORE_MAX_RECORDS; i++) {
        const struct redis_reply *one = redis_reply_at(r, i);
        last = place_of(redis_reply_text(redis_reply_at(one, 0)));
        if (same_place(last, c->after))
            gap = false;
        else
            record[n++] = redis_reply_text(redis_reply_at(redis_reply_at(one, 1), 1));
    }
    c->fn(c->ctx, err, record, n, last, gap);
    free(c);
}

void redis_read(struct store *st, struct slice name, struct store_place after, store_records_fn *fn,
                void *ctx)
{
    struct store_redis *s = redis_of(st);
    struct read_call *c = mem_alloc(sizeof *c);
    struct redis_words w;

    *c = (struct read_call){s, after, fn, ctx};
    s->stat.calls++;
    redis_words_init(&w);
    redis_words_add(&w, SLICE("XRANGE"));
    add_record_key(&w, s, name);
    redis_words_format(&w, "%" PRIu64 "-%" PRIu64, after.at, after.number);
    redis_words_add(&w, SLICE("+"));
    redis_words_add(&w, SLICE("COUNT"));
    redis_words_format(&w, "%d", STORE_MAX_RECORDS);
    redis_link_call(s->calls, w.word, w.count, REDIS_WRITE_US, on_read, c);
    redis_words_clear(&w);
}

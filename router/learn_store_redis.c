/* What replicas have learned together, at a Redis. Owns the link and nothing of the data: what is
 * not there yet waits at the learner. learn_store_scripts.h says which keys there are. */
#include "router/learn_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "cache/redis_link.h"
#include "router/learn_key.h"
#include "router/learn_store_scripts.h"
#include "router/shared_link.h"

#define CALL_US           2000000
#define MAX_QUEUED_BYTES  ((size_t)32 << 20)
#define MAX_PAYLOAD_BYTES ((size_t)24 << 20)
#define READ_UNITS        256
#define SAY_EVERY_US      (INT64_C(60) * 1000000)
#define TAG               ":{learn}:"

struct shared_store {
    struct learn_store store;
    struct redis_link *link; /* owned */
    char *prefix;            /* owned: "weir:{learn}:" */
    uint64_t writer;         /* of this process, random */
    struct rng rng;
    char epoch[24], since[24]; /* of what was read */
    bool exact;                /* all of it was so at `since`; not between pages of whole units */
    bool failing, closing;
    int64_t refused_us; /* when a refusal was last said; 0: never */
};

/* One call under way. */
struct shared_call {
    struct shared_store *store;
    learn_done_fn *done;
    learn_found_fn *found;
    learn_claim_fn *claimed;
    void *ctx;
    struct learn_read read;
    struct learn_recent recent;
};

static struct shared_store *of(struct learn_store *s)
{
    return CONTAINER_OF(s, struct shared_store, store);
}

/* ---- talking ---- */

static void on_up(void *ctx)
{
    struct shared_store *s = ctx;

    log_line(LOG_INFO, "learn", "the shared store is there", NULL);
    s->failing = false;
}

static void on_down(void *ctx, const char *why)
{
    struct shared_store *s = ctx;
    char quoted[256];

    if (!s->failing)
        log_line(LOG_WARN, "learn", "the shared store is away; what is learned waits", "why=%s",
                 log_quote(slice_str(why), quoted, sizeof quoted));
    s->failing = true;
}

/* A server that is full or read-only still answers reads: its refusals are said now and then. */
static enum err verdict(struct shared_store *s, enum err err, const struct redis_reply *reply)
{
    char quoted[256];

    if (err != ERR_OK || !reply)
        return ERR_OVERLOADED;
    if (redis_reply_kind(reply) != REDIS_KIND_ERROR) {
        s->failing = false;
        return ERR_OK;
    }
    if (s->refused_us == 0 || clock_mono_us() - s->refused_us >= SAY_EVERY_US) {
        s->refused_us = clock_mono_us();
        log_line(LOG_ERROR, "learn", "the shared store refuses; what is learned waits", "why=%s",
                 log_quote(redis_reply_text(reply), quoted, sizeof quoted));
    }
    s->failing = true;
    return ERR_OVERLOADED;
}

static struct shared_call *new_call(struct learn_store *s, void *ctx)
{
    struct shared_call *c = mem_zalloc(1, sizeof *c);

    c->store = of(s);
    c->ctx = ctx;
    return c;
}

static char *key_of(const struct shared_store *s, const char *kind, struct slice name)
{
    size_t n = strlen(s->prefix) + strlen(kind) + name.n + 1;
    char *key = mem_alloc(n);

    snprintf(key, n, "%s%s%.*s", s->prefix, kind, SLICE_ARG(name));
    return key;
}

/* "TENANT ID" as words. */
static enum err memory_id(struct slice tenant, struct slice request_id, struct buf *out)
{
    enum err err = learn_word_append(out, tenant);

    return err == ERR_OK ? learn_word_append(out, request_id) : err;
}

static char *memory_key(const struct shared_store *s, struct slice tenant, struct slice request_id)
{
    struct buf id;
    char *key = NULL;

    buf_init(&id, MAX_PAYLOAD_BYTES);
    if (memory_id(tenant, request_id, &id) == ERR_OK)
        key = key_of(s, "m:", buf_slice(&id));
    buf_clear(&id);
    return key;
}

/* ---- payloads ---- */

static bool is_kept(const struct learn_unit *u, int field)
{
    return u->tally.count[field] != 0 && (u->name.kind == TALLY_SLOW || tally_is_fast(field));
}

/* Nothing, of a unit that has nothing: most requests have no label yet, for their quick bucket. */
static enum err put_unit(const struct learn_unit *u, struct buf *out)
{
    char field[TALLY_NAME_BYTES];
    enum tally_kind kind = u->name.kind;
    int64_t until_us = u->name.start_us + tally_keep_us(kind) + 2 * tally_bucket_us(kind);
    enum err err = ERR_OK;
    bool begun = false;

    for (int f = 0; f < TALLY_FIELDS && err == ERR_OK; f++) {
        if (!is_kept(u, f))
            continue;
        if (!begun) {
            err = buf_append(out, "u ", 2);
            if (err == ERR_OK)
                err = learn_unit_name_write(&u->name, out);
            begun = true;
        }
        tally_field_name(f, field);
        if (err == ERR_OK)
            err = buf_printf(out, "\nf %s %" PRId64, field, u->tally.count[f]);
    }
    if (err == ERR_OK && begun)
        err = buf_printf(out, "\ne %" PRId64 "\n", until_us / 1000000);
    return err;
}

static enum err put_sheet(const struct learn_sheet *sheet, struct buf *out)
{
    enum err err = ERR_OK;

    LIST_FOREACH (it, &sheet->units)
        if (err == ERR_OK)
            err = put_unit(CONTAINER_OF(it, struct learn_unit, link), out);
    return err;
}

static enum err put_memory(const struct learn_memory *m, struct buf *out)
{
    struct buf id;
    enum err err;

    buf_init(&id, MAX_PAYLOAD_BYTES);
    err = memory_id(m->tenant, m->request_id, &id);
    if (err == ERR_OK)
        err = buf_printf(out, "%.*s\t%.*s\t%.*s\n", SLICE_ARG(buf_slice(&id)), SLICE_ARG(m->text),
                         SLICE_ARG(m->labels));
    buf_clear(&id);
    return err;
}

/* ---- writing ---- */

static void on_written(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct shared_call *c = ctx;

    if (!c->store->closing)
        c->done(c->ctx, verdict(c->store, err, reply));
    free(c);
}

static void op_write(struct learn_store *store, const struct learn_batch *b, learn_done_fn *done,
                     void *ctx)
{
    struct shared_store *s = of(store);
    struct shared_call *c = new_call(store, ctx);
    char number[24], writer[24], seconds[24];
    struct buf units, requests;
    enum err err;

    snprintf(number, sizeof number, "%" PRIu64, b->number);
    snprintf(writer, sizeof writer, "%016" PRIx64, s->writer);
    snprintf(seconds, sizeof seconds, "%" PRId64, LEARN_REMEMBER_S);
    buf_init(&units, MAX_PAYLOAD_BYTES);
    buf_init(&requests, MAX_PAYLOAD_BYTES);
    err = put_sheet(&b->sheet, &units);
    LIST_FOREACH (it, &b->memories)
        if (err == ERR_OK)
            err = put_memory(CONTAINER_OF(it, struct learn_memory, link), &requests);
    char *key = key_of(s, "w:", slice_str(writer));
    struct slice words[] = {SLICE("EVAL"),     SLICE(LEARN_SCRIPT_WRITE), SLICE("1"),
                            slice_str(key),    slice_str(s->prefix),      slice_str(number),
                            buf_slice(&units), buf_slice(&requests),      slice_str(seconds)};
    c->done = done;
    /* Too large cannot be: a batch's parts are bounded. Then it would fail as a late one does. */
    redis_link_call(s->link, words, sizeof words / sizeof words[0], err == ERR_OK ? CALL_US : 0,
                    on_written, c);
    buf_clear(&units);
    buf_clear(&requests);
    free(key);
}

/* ---- labels ---- */

static void on_found(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct shared_call *c = ctx;
    struct learn_found found = {SLICE(""), SLICE("")};

    err = verdict(c->store, err, reply);
    if (err == ERR_OK && (redis_reply_count(reply) != 2 ||
                          redis_reply_kind(redis_reply_at(reply, 0)) != REDIS_KIND_TEXT))
        err = ERR_NOT_FOUND;
    if (err == ERR_OK) {
        found.text = redis_reply_text(redis_reply_at(reply, 0));
        found.labels = redis_reply_text(redis_reply_at(reply, 1));
    }
    if (!c->store->closing)
        c->found(c->ctx, err, err == ERR_OK ? &found : NULL);
    free(c);
}

static void op_find(struct learn_store *store, struct slice tenant, struct slice request_id,
                    learn_found_fn *done, void *ctx)
{
    struct shared_store *s = of(store);
    struct shared_call *c = new_call(store, ctx);
    char *key = memory_key(s, tenant, request_id);
    struct slice words[] = {SLICE("HMGET"), slice_str(key), SLICE("t"), SLICE("l")};

    c->found = done;
    redis_link_call(s->link, words, sizeof words / sizeof words[0], key ? CALL_US : 0, on_found, c);
    free(key);
}

static void on_relabelled(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct shared_call *c = ctx;

    err = verdict(c->store, err, reply);
    if (err == ERR_OK) {
        int64_t said = redis_reply_integer(reply);
        err = said == 1 ? ERR_OK : said == 0 ? ERR_CONFLICT : ERR_NOT_FOUND;
    }
    if (!c->store->closing)
        c->done(c->ctx, err);
    free(c);
}

static void op_relabel(struct learn_store *store, const struct learn_relabel *r,
                       learn_done_fn *done, void *ctx)
{
    struct shared_store *s = of(store);
    struct shared_call *c = new_call(store, ctx);
    char *key = memory_key(s, r->tenant, r->request_id);
    struct buf payload;
    enum err err;

    buf_init(&payload, MAX_PAYLOAD_BYTES);
    err = put_sheet(r->sheet, &payload);
    struct slice words[] = {SLICE("EVAL"),  SLICE(LEARN_SCRIPT_RELABEL), SLICE("1"),
                            slice_str(key), slice_str(s->prefix),        r->before,
                            r->after,       buf_slice(&payload),         r->text,
                            r->text_after};
    c->done = done;
    redis_link_call(s->link, words, sizeof words / sizeof words[0],
                    key && err == ERR_OK ? CALL_US : 0, on_relabelled, c);
    buf_clear(&payload);
    free(key);
}

/* ---- reading ---- */

static void take_unit(const struct shared_call *c, const struct redis_reply *unit)
{
    struct tally tally = {0};
    struct learn_unit_name name;
    int field;

    if (redis_reply_count(unit) != 2 ||
        !learn_unit_name_read(redis_reply_text(redis_reply_at(unit, 0)), &name))
        return;
    const struct redis_reply *cells = redis_reply_at(unit, 1);
    for (size_t i = 0; i + 1 < redis_reply_count(cells); i += 2) {
        struct learn_words w = {redis_reply_text(redis_reply_at(cells, i + 1))};
        int64_t value;

        if (tally_field_parse(redis_reply_text(redis_reply_at(cells, i)), &field) &&
            learn_words_int(&w, INT64_MIN, INT64_MAX, &value))
            tally_add(&tally, field, value);
    }
    c->read.unit(c->read.ctx, &name, &tally);
}

/* "f FIELD BY", from the second word on. */
static void take_field(struct slice rest, struct tally *t)
{
    struct learn_words w = {rest};
    struct slice name;
    int64_t by;
    int field;

    if (learn_words_next(&w, &name) && learn_words_int(&w, INT64_MIN, INT64_MAX, &by) &&
        tally_field_parse(name, &field))
        tally_add(t, field, by);
}

/* What some replica has written. */
static void take_payload(const struct shared_call *c, struct slice payload)
{
    struct learn_unit_name name;
    struct tally tally = {0};
    bool known = false;

    while (payload.n) {
        const char *end = memchr(payload.p, '\n', payload.n);
        size_t n = end ? (size_t)(end - payload.p) : payload.n;
        struct slice line = slice_make(payload.p, n), rest = slice_from(line, n < 2 ? n : 2);

        payload = slice_from(payload, n + (end != NULL));
        if (slice_starts(line, SLICE("u "))) {
            known = learn_unit_name_read(rest, &name);
            tally = (struct tally){0};
        } else if (known && slice_starts(line, SLICE("f "))) {
            take_field(rest, &tally);
        } else if (known) {
            c->read.added(c->read.ctx, &name, &tally);
            known = false;
        }
    }
}

/* false: the answer is not what the script gives. */
static bool take_page(struct shared_call *c, const struct redis_reply *reply, bool *more)
{
    struct shared_store *s = c->store;
    size_t count = redis_reply_count(reply);

    if (count < 4)
        return false;
    struct slice epoch = redis_reply_text(redis_reply_at(reply, 0)),
                 since = redis_reply_text(redis_reply_at(reply, 1));
    bool of_log = redis_reply_integer(redis_reply_at(reply, 3)) == 1;
    if (epoch.n == 0 || epoch.n >= sizeof s->epoch || since.n == 0 || since.n >= sizeof s->since)
        return false;
    *more = redis_reply_integer(redis_reply_at(reply, 2)) == 1;
    if (s->epoch[0] && !slice_eq(epoch, slice_str(s->epoch))) {
        log_line(LOG_WARN, "learn", "the shared store was emptied; learning begins anew", NULL);
        c->read.reset(c->read.ctx);
    }
    snprintf(s->epoch, sizeof s->epoch, "%.*s", SLICE_ARG(epoch));
    snprintf(s->since, sizeof s->since, "%.*s", SLICE_ARG(since));
    s->exact = of_log || !*more;
    for (size_t i = 4; i < count; i++) {
        if (of_log)
            take_payload(c, redis_reply_text(redis_reply_at(reply, i)));
        else
            take_unit(c, redis_reply_at(reply, i));
    }
    return true;
}

static void read_page(struct shared_call *c);

static void on_read(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct shared_call *c = ctx;
    bool more = false;

    err = verdict(c->store, err, reply);
    if (err == ERR_OK && !c->store->closing && !take_page(c, reply, &more)) {
        redis_link_distrust(c->store->link, "its answer makes no sense");
        err = ERR_OVERLOADED;
    }
    if (err == ERR_OK && more && !c->store->closing) {
        read_page(c);
        return;
    }
    if (!c->store->closing)
        c->read.done(c->read.ctx, err);
    free(c);
}

static void read_page(struct shared_call *c)
{
    struct shared_store *s = c->store;
    char most[24], fresh[24];
    char *key = key_of(s, "changed", SLICE(""));

    snprintf(most, sizeof most, "%d", READ_UNITS);
    snprintf(fresh, sizeof fresh, "%016" PRIx64, rng_u64(&s->rng));
    struct slice words[] = {SLICE("EVAL"),        SLICE(LEARN_SCRIPT_READ),
                            SLICE("1"),           slice_str(key),
                            slice_str(s->prefix), slice_str(s->epoch),
                            slice_str(s->since),  slice_str(most),
                            slice_str(fresh),     slice_str(s->exact ? "1" : "0")};
    redis_link_call(s->link, words, sizeof words / sizeof words[0], CALL_US, on_read, c);
    free(key);
}

static void take_scorers(const struct shared_call *c, const struct redis_reply *reply)
{
    for (size_t i = 0; i + 1 < redis_reply_count(reply); i += 2) {
        struct slice word = redis_reply_text(redis_reply_at(reply, i));
        char *model = mem_alloc(word.n + 1);
        long n = learn_word_read(word, model);

        if (n >= 0)
            c->read.scorer(c->read.ctx, slice_make(model, (size_t)n),
                           redis_reply_text(redis_reply_at(reply, i + 1)));
        free(model);
    }
}

/* Units that are read after a scorer hold everything that was counted for it. */
static void on_scorers(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct shared_call *c = ctx;

    err = verdict(c->store, err, reply);
    if (err == ERR_OK && !c->store->closing) {
        take_scorers(c, reply);
        read_page(c);
        return;
    }
    if (!c->store->closing)
        c->read.done(c->read.ctx, err);
    free(c);
}

static void op_read(struct learn_store *store, const struct learn_read *r)
{
    struct shared_store *s = of(store);
    struct shared_call *c = new_call(store, NULL);
    char *key = key_of(s, "scorers", SLICE(""));
    struct slice words[] = {SLICE("HGETALL"), slice_str(key)};

    c->read = *r;
    redis_link_call(s->link, words, sizeof words / sizeof words[0], CALL_US, on_scorers, c);
    free(key);
}

static void op_anew(struct learn_store *store)
{
    struct shared_store *s = of(store);

    snprintf(s->since, sizeof s->since, "0");
    s->exact = false;
}

/* ---- scorers ---- */

static void visit_memory(const struct shared_call *c, const struct redis_reply *row)
{
    struct learn_words w = {redis_reply_text(redis_reply_at(row, 0))};
    struct slice tenant, id;

    if (redis_reply_count(row) != 3 || !learn_words_next(&w, &tenant) || !learn_words_next(&w, &id))
        return;
    char *tenant_name = mem_alloc(tenant.n + 1), *id_name = mem_alloc(id.n + 1);
    long tenant_n = learn_word_read(tenant, tenant_name), id_n = learn_word_read(id, id_name);
    if (tenant_n >= 0 && id_n >= 0)
        c->recent.visit(c->recent.ctx, &(struct learn_memory){
                                           .tenant = slice_make(tenant_name, (size_t)tenant_n),
                                           .request_id = slice_make(id_name, (size_t)id_n),
                                           .text = redis_reply_text(redis_reply_at(row, 1)),
                                           .labels = redis_reply_text(redis_reply_at(row, 2)),
                                       });
    free(tenant_name);
    free(id_name);
}

static void on_recent(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct shared_call *c = ctx;
    int64_t next = c->recent.from + LEARN_RECENT_PAGE;

    err = verdict(c->store, err, reply);
    if (!c->store->closing) {
        size_t rows = err == ERR_OK ? redis_reply_count(reply) : 0;
        for (size_t i = 0; i < rows; i++)
            if (redis_reply_count(redis_reply_at(reply, i)) > 0)
                visit_memory(c, redis_reply_at(reply, i));
        c->recent.done(c->recent.ctx, err,
                       rows < LEARN_RECENT_PAGE || next >= LEARN_RECENT_MOST ? -1 : next);
    }
    free(c);
}

/* Requests that come meanwhile push the rest down the list: some are visited twice, none is left
 * out. */
static void op_recent(struct learn_store *store, const struct learn_recent *r)
{
    struct shared_store *s = of(store);
    struct shared_call *c = new_call(store, NULL);
    char first[24], last[24], *key = key_of(s, "recent", SLICE(""));

    snprintf(first, sizeof first, "%" PRId64, r->from);
    snprintf(last, sizeof last, "%" PRId64, r->from + LEARN_RECENT_PAGE - 1);
    struct slice words[] = {SLICE("EVAL"),  SLICE(LEARN_SCRIPT_RECENT), SLICE("1"),
                            slice_str(key), slice_str(s->prefix),       slice_str(first),
                            slice_str(last)};
    c->recent = *r;
    redis_link_call(s->link, words, sizeof words / sizeof words[0], CALL_US, on_recent, c);
    free(key);
}

static void on_claimed(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct shared_call *c = ctx;
    int64_t version = 0;

    err = verdict(c->store, err, reply);
    if (err == ERR_OK) {
        version = redis_reply_integer(reply);
        err = version > 0 && version <= UINT32_MAX ? ERR_OK : ERR_CONFLICT;
    }
    if (!c->store->closing)
        c->claimed(c->ctx, err, (unsigned)version);
    free(c);
}

static void op_claim(struct learn_store *store, int64_t hold_ms, learn_claim_fn *done, void *ctx)
{
    struct shared_store *s = of(store);
    struct shared_call *c = new_call(store, ctx);
    char writer[24], ms[24], *key = key_of(s, "fitting", SLICE("")),
                             *version = key_of(s, "version", SLICE(""));

    snprintf(writer, sizeof writer, "%016" PRIx64, s->writer);
    snprintf(ms, sizeof ms, "%" PRId64, hold_ms);
    struct slice words[] = {SLICE("EVAL"),  SLICE(LEARN_SCRIPT_CLAIM), SLICE("2"),
                            slice_str(key), slice_str(version),        slice_str(writer),
                            slice_str(ms)};
    c->claimed = done;
    redis_link_call(s->link, words, sizeof words / sizeof words[0], CALL_US, on_claimed, c);
    free(key);
    free(version);
}

static void op_publish(struct learn_store *store, struct slice model, struct slice text,
                       learn_done_fn *done, void *ctx)
{
    struct shared_store *s = of(store);
    struct shared_call *c = new_call(store, ctx);
    char *key = key_of(s, "scorers", SLICE("")), *word = mem_alloc(LEARN_WORD_BYTES(model.n));

    learn_word(model, word);
    struct slice words[] = {SLICE("HSET"), slice_str(key), slice_str(word), text};
    c->done = done;
    redis_link_call(s->link, words, sizeof words / sizeof words[0], CALL_US, on_written, c);
    free(key);
    free(word);
}

/* ---- life ---- */

static bool op_up(struct learn_store *s)
{
    return redis_link_up(of(s)->link) && !of(s)->failing;
}

static void op_close(struct learn_store *store)
{
    struct shared_store *s = of(store);

    s->closing = true;
    redis_link_free(s->link);
    free(s->prefix);
    free(s);
}

static const struct learn_store_ops ops = {op_write,  op_find,  op_relabel, op_read, op_anew,
                                           op_recent, op_claim, op_publish, op_up,   op_close};

enum err learn_store_redis_open(const char *url, const char *prefix, struct event_base *base,
                                struct learn_store **out, struct err_text *t)
{
    struct shared_store *s = mem_zalloc(1, sizeof *s);
    size_t n = strlen(prefix) + sizeof TAG;
    enum err err;

    s->store.ops = &ops;
    s->prefix = mem_alloc(n);
    snprintf(s->prefix, n, "%s" TAG, prefix);
    op_anew(&s->store);
    rng_seed_os(&s->rng);
    s->writer = rng_u64(&s->rng);
    err = shared_link_new(
        base, url, &(struct shared_link_owner){MAX_QUEUED_BYTES, on_up, on_down, s}, &s->link, t);
    if (err == ERR_OK) {
        *out = &s->store;
        return ERR_OK;
    }
    free(s->prefix);
    free(s);
    return err;
}

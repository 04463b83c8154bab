/* router/learn_store_redis at a real redis-server: a reader that follows the log knows what one
 * knows that reads units whole, whatever is written meanwhile and whatever part of the keys is
 * lost. */
#include <cmocka.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/learn_store.h"
#include "router/learned.h"
#include "tests/unit/cache/redis_server.h"

#define NOW_US  (INT64_C(4000000000) * 1000000)
#define P       "w:{learn}:"
#define CLASSES 5

static struct redis_server redis;

static int begin(void **state)
{
    (void)state;
    if (redis_server_installed())
        redis_server_start(&redis);
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (redis.folder[0])
        redis_server_remove(&redis);
    return 0;
}

static int each(void **state)
{
    (void)state;
    if (redis.pid)
        redis_server_do(&redis, "FLUSHALL");
    return 0;
}

/* ---- readers and writers ---- */

/* One that reads, and what it knows. */
struct replica {
    struct event_base *base; /* its own: one may write while another is read */
    struct learn_store *store;
    struct learned learned;
    uint64_t number; /* of its last batch */
    int whole, added, resets;
    bool done;
    enum err err;
    struct replica *meanwhile; /* writes when the first unit comes; NULL */
};

static void write_some(struct replica *r, uint64_t seed, int units);

static struct replica *open_replica(void)
{
    struct err_text t = {""};

    if (!redis.pid)
        skip();
    struct replica *r = mem_zalloc(1, sizeof *r);
    r->base = event_base_new();
    if (learn_store_redis_open(redis.url, "w", r->base, &r->store, &t) != ERR_OK)
        fail_msg("%s", t.s);
    learned_init(&r->learned);
    return r;
}

static void close_replica(struct replica *r)
{
    r->store->ops->close(r->store);
    event_base_free(r->base);
    learned_clear(&r->learned);
    free(r);
}

static void on_scorer(void *ctx, struct slice model, struct slice text)
{
    (void)ctx, (void)model, (void)text;
}

static void on_unit(void *ctx, const struct learn_unit_name *name, const struct tally *t)
{
    struct replica *r = ctx, *other = r->meanwhile;

    r->whole++;
    learned_put(&r->learned, name, t);
    r->meanwhile = NULL;
    if (other)
        write_some(other, 99, CLASSES);
}

static void on_added(void *ctx, const struct learn_unit_name *name, const struct tally *t)
{
    struct replica *r = ctx;

    r->added++;
    learned_add(&r->learned, name, t);
}

static void on_reset(void *ctx)
{
    struct replica *r = ctx;

    r->resets++;
    learned_clear(&r->learned);
}

static void on_done(void *ctx, enum err err)
{
    struct replica *r = ctx;

    r->done = true;
    r->err = err;
}

static void await(struct replica *r)
{
    while (!r->done)
        event_base_loop(r->base, EVLOOP_ONCE);
}

/* Until it succeeds: links come up when they do. */
static void read_all(struct replica *r)
{
    r->whole = r->added = 0;
    do {
        r->done = false;
        r->store->ops->read(
            r->store, &(struct learn_read){on_scorer, on_unit, on_added, on_reset, on_done, r});
        await(r);
    } while (r->err != ERR_OK);
}

static void write_batch(struct replica *r, const struct learn_batch *b)
{
    do {
        r->done = false;
        r->store->ops->write(r->store, b, on_done, r);
        await(r);
    } while (r->err != ERR_OK);
}

/* Adds something to so many units, in the order of their numbers. */
static void write_some(struct replica *r, uint64_t seed, int units)
{
    struct learn_batch b = {.number = ++r->number};
    struct rng rng;

    rng_seed(&rng, seed);
    learn_sheet_init(&b.sheet, (size_t)units);
    list_init(&b.memories);
    for (int i = 0; i < units; i++) {
        char context[32];
        snprintf(context, sizeof context, "chat/c%d", i);
        struct learn_unit_name name = {slice_str(context), SLICE("small/0"), TALLY_SLOW,
                                       tally_bucket_start(TALLY_SLOW, NOW_US)};
        struct tally *t = learn_sheet_unit(&b.sheet, &name);
        tally_add(t, TALLY_ASKED, 1);
        tally_add(t, TALLY_ANSWERS + (int)rng_below(&rng, TALLY_FIELDS - TALLY_ANSWERS),
                  (int64_t)rng_below(&rng, 1000) - 300);
    }
    write_batch(r, &b);
    learn_sheet_clear(&b.sheet);
}

/* ---- what they know ---- */

static void view_of(const struct replica *r, int class, struct tally_view *v)
{
    char context[32];

    *v = (struct tally_view){{0}};
    snprintf(context, sizeof context, "chat/c%d", class);
    learned_view(&r->learned, slice_str(context), SLICE("small/0"), TALLY_SLOW, NOW_US, 86400000,
                 v);
}

/* What the replica knows is what is there: a new one that has no log reads it whole. */
static void knows_all(struct replica *r, int classes)
{
    struct replica *fresh = open_replica();
    struct tally_view mine, theirs;

    read_all(fresh);
    assert_int_equal(r->learned.units, fresh->learned.units);
    for (int i = 0; i < classes; i++) {
        view_of(r, i, &mine);
        view_of(fresh, i, &theirs);
        assert_memory_equal(&mine, &theirs, sizeof mine);
        assert_true(mine.x[TALLY_ASKED] > 0);
    }
    assert_int_equal(fresh->added, 0);
    close_replica(fresh);
}

/* ---- tests ---- */

static void follows_the_log(void **state)
{
    (void)state;
    struct replica *a = open_replica(), *b = open_replica();

    write_some(a, 1, CLASSES);
    read_all(b);
    assert_int_equal(b->whole, CLASSES);
    for (uint64_t i = 2; i < 40; i++) {
        write_some(i % 3 ? a : b, i, 1 + (int)(i % CLASSES));
        if (i % 5 == 0) {
            read_all(b);
            assert_int_equal(b->whole, 0);
            assert_true(b->added >= 5);
        }
    }
    read_all(b);
    knows_all(b, CLASSES);
    read_all(b);
    assert_int_equal(b->whole + b->added, 0); /* nothing new */
    close_replica(a);
    close_replica(b);
}

/* A batch of which nobody knows whether it came through is written again under its number. */
static void nothing_twice(void **state)
{
    (void)state;
    struct replica *a = open_replica(), *b = open_replica();
    struct tally_view v;

    write_some(a, 1, CLASSES);
    read_all(b);
    write_some(a, 2, CLASSES);
    a->number--;
    write_some(a, 2, CLASSES);
    read_all(b);
    assert_int_equal(b->added, CLASSES);
    knows_all(b, CLASSES);
    view_of(b, 0, &v);
    assert_true(v.x[TALLY_ASKED] == 2);
    close_replica(a);
    close_replica(b);
}

/* A process of before there was a log changes a unit and moves seq. */
static void writers_without_a_log(void **state)
{
    (void)state;
    struct replica *a = open_replica(), *b = open_replica();
    char key[160], line[300];

    write_some(a, 1, CLASSES);
    read_all(b);
    write_some(a, 2, 2);
    snprintf(key, sizeof key, "chat/c3 small/0 s %lld",
             (long long)tally_bucket_start(TALLY_SLOW, NOW_US));
    snprintf(line, sizeof line, "HINCRBY \"" P "u:%s\" asked 5", key);
    redis_server_do(&redis, line);
    redis_server_do(&redis, "INCR " P "seq");
    snprintf(line, sizeof line, "ZADD " P "changed %d \"%s\"", CLASSES + 3, key);
    redis_server_do(&redis, line);
    write_some(a, 3, 1);
    read_all(b);
    assert_int_equal(b->whole, 3);
    knows_all(b, CLASSES);
    write_some(a, 4, 1);
    read_all(b);
    assert_int_equal(b->whole, 0); /* the log is of use again */
    knows_all(b, CLASSES);
    close_replica(a);
    close_replica(b);
}

static void lost_keys(void **state)
{
    static const char *const lost[] = {"DEL " P "log",   "DEL " P "seq",
                                       "DEL " P "epoch", "DEL " P "seq " P "epoch",
                                       "SET " P "seq 1", "DEL " P "log " P "seq"};
    (void)state;
    struct replica *a = open_replica(), *b = open_replica();

    write_some(a, 1, CLASSES);
    read_all(b);
    for (size_t i = 0; i < sizeof lost / sizeof *lost; i++) {
        redis_server_do(&redis, lost[i]);
        write_some(a, 10 + i, 2);
        read_all(b);
        write_some(a, 20 + i, 3);
        read_all(b);
        knows_all(b, CLASSES);
    }
    redis_server_do(&redis, "FLUSHALL");
    read_all(b);
    assert_int_equal(b->learned.units, 0);
    write_some(a, 30, CLASSES);
    read_all(b);
    knows_all(b, CLASSES);
    close_replica(a);
    close_replica(b);
}

/* A log that ends long after what a reader knows; and lines that nobody wrote. */
static void log_cut_and_foreign(void **state)
{
    (void)state;
    struct replica *a = open_replica(), *b = open_replica();

    write_some(a, 1, CLASSES);
    read_all(b);
    for (uint64_t i = 0; i < 4; i++)
        write_some(a, 2 + i, 2);
    redis_server_do(&redis, "XTRIM " P "log MAXLEN 1");
    read_all(b);
    assert_int_equal(b->added, 0);
    assert_int_equal(b->whole, 2);
    knows_all(b, CLASSES);
    redis_server_do(&redis, "INCRBY " P "seq 1");
    char line[200];
    snprintf(line, sizeof line,
             "XADD " P "log %d-0 b %d c \"f asked 1\\ne 1\\nu x y s q\\nf asked 1\\ne\\n"
             "u a b s 0\\nf asked 99999999999999999999\\nf bah 1\\nf asked\\ne\\n\\nu\\nf\\n\"",
             CLASSES + 9, CLASSES + 8);
    redis_server_do(&redis, line);
    read_all(b);
    assert_int_equal(b->added, 1); /* one unit, and nothing in it */
    close_replica(a);
    close_replica(b);
}

/* Many pages of whole units, with others changed between them: a log read too early would leave
 * out what is on later pages. */
static void changed_between_pages(void **state)
{
    (void)state;
    struct replica *a = open_replica(), *b = open_replica(), *c = open_replica();

    for (uint64_t i = 0; i < 3; i++)
        write_some(a, i, 600);
    b->meanwhile = c;
    read_all(b);
    assert_true(b->whole >= 600);
    read_all(b);
    knows_all(b, 600);
    b->store->ops->anew(b->store);
    write_some(a, 7, 600);
    read_all(b);
    assert_int_equal(b->whole, 600);
    assert_int_equal(b->resets, 0);
    knows_all(b, 600);
    close_replica(a);
    close_replica(b);
    close_replica(c);
}

#define TEST(f) cmocka_unit_test_setup(f, each)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(follows_the_log), TEST(nothing_twice),       TEST(writers_without_a_log),
        TEST(lost_keys),       TEST(log_cut_and_foreign), TEST(changed_between_pages),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

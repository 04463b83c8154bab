/* What operators do with a running cache, in both stores: pages that stay whole while others write,
 * filters, removal in pieces, marks, cursors that are none. */
#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "cache/admin_job.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/cache/samples.h"
#include "tests/unit/sqlite_files.h"

#define MANY 10000
#define FEW  300

static struct cache_harness h;
static struct redis_server redis;
static char folder[64], path[96];

static const struct cache_rules rules = {
    .exact = true, .store = true, .ttl_ms = 3600000, .timely_ttl_ms = 60000, .max_age_ms = -1};

/* ---- a cache in either store ---- */

static struct cache_options options(void)
{
    return (struct cache_options){.max_entries = 100000,
                                  .max_bytes = (size_t)256 << 20,
                                  .redis_budget_us = 500000,
                                  .prefix = "t",
                                  .seed = 1};
}

static void open_cache(struct cache_options opt)
{
    struct err_text t;

    cache_harness_init(&h);
    if (cache_open(&opt, &h.cache, &t) != ERR_OK)
        fail_msg("%s", t.s);
}

static int with_sqlite(void **state)
{
    struct cache_options opt = options();

    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-admin-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/cache.sqlite", folder);
    opt.path = path;
    open_cache(opt);
    return 0;
}

static int without_sqlite(void **state)
{
    (void)state;
    cache_harness_clear(&h);
    sqlite_files_remove(path);
    rmdir(folder);
    return 0;
}

static bool is_current(void)
{
    int64_t now_ms;
    return cache_current(h.cache, &now_ms);
}

static int with_redis(void **state)
{
    struct cache_options opt = options();

    (void)state;
    if (!redis_server_installed())
        return 0;
    redis = (struct redis_server){0};
    redis_server_start(&redis);
    opt.redis_url = redis.url;
    open_cache(opt);
    for (int i = 0; i < 6000 && !is_current(); i++)
        usleep(10000);
    assert_true(is_current());
    return 0;
}

static int without_redis(void **state)
{
    (void)state;
    if (!redis_server_installed())
        return 0;
    cache_harness_clear(&h);
    redis_server_stop(&redis);
    redis_server_remove(&redis);
    return 0;
}

#define NEED_STORE()                                                                               \
    do {                                                                                           \
        if (!h.cache)                                                                              \
            skip();                                                                                \
    } while (0)

/* ---- jobs ---- */

static struct admin_job *page_job(enum admin_job_kind kind, const struct admin_filter *filter,
                                  const char *cursor, size_t limit)
{
    struct admin_job *j = admin_job_new(kind);

    if (filter)
        j->filter = *filter;
    j->cursor = arena_dup(&j->arena, slice_str(cursor));
    j->limit = limit;
    return j;
}

static void put(const char *scope, int n)
{
    struct cache_fields f = sample_fields(scope, n);

    cache_harness_now(&f, 1800000 + n);
    f.vector = NULL;
    f.dim = 0;
    f.id = 0;
    if (n % 2)
        f.tag_count = 0;
    if (n % 3 == 0)
        f.model = SLICE("large");
    cache_put(h.cache, cache_entry_new(&f), &rules);
}

/* Number n of sample_fields, out of its text. */
static int number_of(const struct cache_entry *e)
{
    struct slice digits = slice_from(e->f.text, sizeof "what is " - 1);
    int n = 0;

    for (size_t i = 0; i < digits.n && digits.p[i] >= '0' && digits.p[i] <= '9'; i++)
        n = 10 * n + (digits.p[i] - '0');
    return n;
}

/* Everything that was put is stored. */
static void settle(size_t count)
{
    struct cache_facts facts;

    for (int i = 0; i < 12000; i++) {
        struct admin_job *j = cache_harness_do(&h, page_job(ADMIN_PAGE, NULL, "0", 1));
        admin_job_free(j); /* behind the puts, in one queue */
        cache_facts(h.cache, &facts);
        if (facts.puts >= count)
            return;
        usleep(5000);
    }
    fail_msg("the puts were not taken");
}

/* Of all pages; seen[n] counts entry n of scope "acme". Calls between() after each page. */
static uint64_t walk(const struct admin_filter *filter, unsigned char *seen, size_t limit,
                     void (*between)(int page))
{
    char cursor[ADMIN_CURSOR_BYTES] = "0";
    uint64_t matched = 0;
    int page = 0;

    do {
        struct admin_job *j = cache_harness_do(&h, page_job(ADMIN_PAGE, filter, cursor, limit));
        assert_int_equal(j->err, ERR_OK);
        assert_int_equal(j->entry_count, j->matched);
        matched += j->matched;
        for (size_t i = 0; i < j->entry_count; i++) {
            assert_int_equal(j->entries[i]->f.body.n, 0);
            assert_true(j->entries[i]->f.body_bytes > 10);
            if (slice_eq(j->entries[i]->f.scope, SLICE("acme")))
                seen[number_of(j->entries[i])]++;
        }
        memcpy(cursor, j->next, sizeof cursor);
        admin_job_free(j);
        if (between)
            between(++page);
    } while (strcmp(cursor, "0") != 0);
    return matched;
}

static uint64_t removed_while_walking;

/* New entries, others replaced, others gone, while somebody pages. */
static void disturb(int page)
{
    for (int i = 0; i < 20; i++) {
        put("other", 20 * page + i);
        put("acme", MANY + 20 * page + i);
    }
    struct admin_filter one = {.by = ADMIN_BY_TEXT | ADMIN_BY_SCOPE, .scope = SLICE("other")};
    one.text = SLICE("What is 2"); /* either case */
    struct admin_job *j = cache_harness_do(&h, page_job(ADMIN_REMOVE, &one, "0", 50));
    assert_int_equal(j->err, ERR_OK);
    removed_while_walking += j->removed;
    admin_job_free(j);
}

static void pages_hold_all_while_others_write(void **state)
{
    unsigned char *seen = mem_zalloc(3 * MANY, 1);

    (void)state;
    NEED_STORE();
    for (int n = 0; n < MANY; n++) {
        put("acme", n);
        if (n % 500 == 499)
            settle((size_t)n + 1); /* no more than a store lets wait */
    }
    removed_while_walking = 0;
    walk(NULL, seen, 500, disturb);
    for (int n = 0; n < MANY; n++)
        if (!seen[n])
            fail_msg("entry %d was there all the time and on no page", n);
    assert_true(removed_while_walking > 0);
    free(seen);
}

static void filters_say_which(void **state)
{
    unsigned char seen[FEW] = {0};
    struct admin_filter f = {.by = ADMIN_BY_SCOPE | ADMIN_BY_TAG | ADMIN_BY_MODEL,
                             .scope = SLICE("acme"),
                             .tag = SLICE("maths"),
                             .model = SLICE("large")};

    (void)state;
    NEED_STORE();
    for (int n = 0; n < FEW; n++) {
        put("acme", n);
        put("evil", n);
    }
    settle(2 * FEW);
    assert_int_equal(walk(&f, seen, 1000, NULL), FEW / 6);
    for (int n = 0; n < FEW; n++)
        assert_int_equal(seen[n], n % 6 == 0);
    f = (struct admin_filter){.by = ADMIN_BY_OLDER, .older_ms = clock_wall_us() / 1000 - 60000};
    assert_int_equal(walk(&f, seen, 1000, NULL), 0);
    f = (struct admin_filter){.by = ADMIN_BY_NEWER, .newer_ms = clock_wall_us() / 1000 - 60000};
    assert_int_equal(walk(&f, seen, 1000, NULL), 2 * FEW);
    f = (struct admin_filter){.by = ADMIN_BY_SOURCE, .source = CACHE_FROM_IMPORT};
    assert_int_equal(walk(&f, seen, 1000, NULL), 0);
}

static void removal_takes_what_it_matched(void **state)
{
    unsigned char seen[FEW] = {0};
    struct admin_filter f = {.by = ADMIN_BY_SCOPE, .scope = SLICE("evil")};
    struct cache_fields asked = sample_fields("evil", 4);
    struct cache_entry *e;

    (void)state;
    NEED_STORE();
    for (int n = 0; n < FEW; n++) {
        put("acme", n);
        put("evil", n);
    }
    settle(2 * FEW);
    e = cache_harness_look_up(&h, &asked, &rules);
    assert_non_null(e);
    struct admin_job *j = cache_harness_do(&h, page_job(ADMIN_REMOVE, &f, "0", 100000));
    assert_int_equal(j->err, ERR_OK);
    assert_int_equal(j->matched, FEW);
    assert_int_equal(j->removed, FEW);
    assert_string_equal(j->next, "0");
    admin_job_free(j);
    assert_false(cache_entry_serves(e, 0)); /* whoever holds it */
    cache_entry_unref(e);
    assert_null(cache_harness_look_up(&h, &asked, &rules));
    assert_int_equal(walk(NULL, seen, 1000, NULL), FEW);
}

/* By tag: only what carries it is looked at, whatever else is asked of it and however much there
 * is; and all that does is found. */
static void removal_by_tag_is_no_walk(void **state)
{
    unsigned char seen[FEW] = {0};
    struct admin_filter tag = {.by = ADMIN_BY_TAG, .tag = SLICE("maths")};
    struct admin_filter own = tag, large = tag;
    struct admin_job *j;

    (void)state;
    NEED_STORE();
    own.by |= ADMIN_BY_SCOPE;
    own.scope = SLICE("acme");
    large.by |= ADMIN_BY_MODEL;
    large.model = SLICE("large");
    for (int n = 0; n < FEW; n++) {
        put("acme", n); /* every other one has it */
        put("evil", n);
        put("bulk", 2 * n + 1);
        put("bulk", 2 * (n + FEW) + 1);
        if (n % 100 == 99)
            settle(4 * (size_t)n + 4);
    }
    j = page_job(ADMIN_PAGE, &own, "0", 100000);
    j->count_only = true;
    cache_harness_do(&h, j);
    assert_int_equal(j->matched, FEW / 2);
    assert_int_equal(j->looked_at, FEW / 2);
    admin_job_free(j);
    j = cache_harness_do(&h, page_job(ADMIN_REMOVE, &large, "0", 100000));
    while (strcmp(j->next, "0") != 0) {
        struct admin_job *further = page_job(ADMIN_REMOVE, &large, j->next, 100000);
        further->looked_at = j->looked_at;
        further->removed = j->removed;
        admin_job_free(j);
        j = cache_harness_do(&h, further);
    }
    assert_int_equal(j->removed, 2 * FEW / 6);
    assert_in_range(j->looked_at, FEW, FEW + 200); /* what ZSCAN brings twice while sets shrink */
    admin_job_free(j);
    assert_int_equal(walk(&tag, seen, 1000, NULL), FEW - 2 * FEW / 6);
    for (int n = 0; n < FEW; n++)
        assert_int_equal(seen[n], n % 2 == 0 && n % 3 != 0);
    assert_int_equal(cache_harness_remove_tag(&h, "acme", "maths"), FEW / 2 - FEW / 6);
    assert_int_equal(walk(&tag, seen, 1000, NULL), FEW / 2 - FEW / 6);
    assert_int_equal(walk(NULL, seen, 1000, NULL), 3 * FEW + FEW / 2 - FEW / 6);
    j = cache_harness_do(&h, page_job(ADMIN_PAGE, &tag, "s0011223344556677", 10));
    assert_int_equal(j->err, ERR_BAD_REQUEST); /* a cursor of another listing */
    admin_job_free(j);
}

/* ---- single entries ---- */

static struct admin_job *get(uint64_t id)
{
    struct admin_job *j = admin_job_new(ADMIN_GET);

    j->ids[0].id = id;
    j->id_count = 1;
    j->any_scope = true;
    return cache_harness_do(&h, j);
}

static enum err mark(uint64_t id, enum admin_mark pin, enum admin_mark quarantine)
{
    struct admin_job *j = admin_job_new(ADMIN_MARK);

    j->ids[0].id = id;
    j->id_count = 1;
    j->pin = pin;
    j->quarantine = quarantine;
    j = cache_harness_do(&h, j);
    enum err err = j->err;
    admin_job_free(j);
    return err;
}

static void marks_change_what_is_served(void **state)
{
    struct cache_fields asked = sample_fields("acme", 7);
    struct cache_entry *e;

    (void)state;
    NEED_STORE();
    put("acme", 7);
    settle(1);
    e = cache_harness_look_up(&h, &asked, &rules);
    assert_non_null(e);
    uint64_t id = e->f.id;
    assert_int_equal(mark(id, ADMIN_SET, ADMIN_LEAVE), ERR_OK);
    cache_entry_unref(e);
    e = cache_harness_look_up(&h, &asked, &rules);
    assert_non_null(e);
    assert_int_equal(e->f.id, id);
    assert_true(e->f.pinned);
    assert_int_equal(mark(id, ADMIN_LEAVE, ADMIN_SET), ERR_OK);
    assert_false(cache_entry_serves(e, 0));
    cache_entry_unref(e);
    assert_null(cache_harness_look_up(&h, &asked, &rules));
    struct admin_job *j = get(id); /* not served, and there to be looked at */
    assert_int_equal(j->entry_count, 1);
    assert_true(j->entries[0]->f.pinned && j->entries[0]->f.quarantined);
    assert_true(slice_eq(j->entries[0]->f.body, asked.body));
    admin_job_free(j);
    assert_int_equal(mark(id, ADMIN_UNSET, ADMIN_UNSET), ERR_OK);
    e = cache_harness_look_up(&h, &asked, &rules);
    assert_non_null(e);
    assert_false(e->f.pinned);
    cache_entry_unref(e);
}

static void a_fresh_answer_ends_a_quarantine(void **state)
{
    struct cache_fields asked = sample_fields("acme", 8);
    struct cache_entry *e;

    (void)state;
    NEED_STORE();
    put("acme", 8);
    settle(1);
    e = cache_harness_look_up(&h, &asked, &rules);
    assert_non_null(e);
    uint64_t id = e->f.id;
    cache_entry_unref(e);
    assert_int_equal(mark(id, ADMIN_LEAVE, ADMIN_SET), ERR_OK);
    put("acme", 8);
    settle(2);
    e = cache_harness_look_up(&h, &asked, &rules);
    assert_non_null(e);
    assert_true(e->f.id != id);
    cache_entry_unref(e);
    assert_int_equal(mark(id, ADMIN_LEAVE, ADMIN_UNSET), ERR_NOT_FOUND); /* it is gone */
}

static void what_is_not_there(void **state)
{
    static const char *const wrong[] = {"1",
                                        "s",
                                        "s12",
                                        "r12x",
                                        "sgggggggggggggggg",
                                        "x00",
                                        "r",
                                        "00",
                                        "-1",
                                        "s0000000000000000000000000000000",
                                        "r999999999999999999999"};
    (void)state;
    NEED_STORE();
    struct admin_job *j = get(12345);
    assert_int_equal(j->err, ERR_OK);
    assert_int_equal(j->entry_count, 1);
    assert_null(j->entries[0]);
    admin_job_free(j);
    assert_int_equal(mark(12345, ADMIN_SET, ADMIN_LEAVE), ERR_NOT_FOUND);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        j = cache_harness_do(&h, page_job(ADMIN_PAGE, NULL, wrong[i], 10));
        if (j->err != ERR_BAD_REQUEST)
            fail_msg("cursor '%s' was taken: %s", wrong[i], err_name(j->err));
        assert_non_null(strstr(j->why.s, "cursor"));
        admin_job_free(j);
    }
}

/* A cache that is closed under a job answers it. */
static void closing_answers_jobs(void **state)
{
    (void)state;
    NEED_STORE();
    for (int n = 0; n < 2000; n++)
        put("acme", n);
    settle(2000);
    cache_harness_give(&h, page_job(ADMIN_REMOVE, NULL, "0", 100000));
    cache_close(h.cache);
    h.cache = NULL;
    mailbox_drain(&h.mail, &h);
    assert_non_null(h.job);
    assert_true(h.job->err == ERR_OK || h.job->err == ERR_DRAINING);
    admin_job_free(h.job);
}

#define IN_BOTH(test)                                                                              \
    {#test "(sqlite)", test, with_sqlite, without_sqlite, NULL},                                   \
    {                                                                                              \
#test "(redis)", test, with_redis, without_redis, NULL                                     \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_BOTH(pages_hold_all_while_others_write),
        IN_BOTH(filters_say_which),
        IN_BOTH(removal_takes_what_it_matched),
        IN_BOTH(removal_by_tag_is_no_walk),
        IN_BOTH(marks_change_what_is_served),
        IN_BOTH(a_fresh_answer_ends_a_quarantine),
        IN_BOTH(what_is_not_there),
        IN_BOTH(closing_answers_jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

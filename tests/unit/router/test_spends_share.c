/* router/spends_share at a real redis-server: replicas, each with sums of its own, come to know the
 * same; through restarts of theirs and of the server. What is waited for is a state, never a time.
 */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "router/spends_share.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/router/spends_names.h"

#define REPLICAS 3
#define WAIT_US  INT64_C(120000000)

static struct redis_server redis;
static char folder[] = "/tmp/weir_spends_XXXXXX";

static int begin(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    if (redis_server_installed())
        redis_server_start(&redis);
    return 0;
}

static int end(void **state)
{
    (void)state;
    if (redis.folder[0])
        redis_server_remove(&redis);
    rmdir(folder);
    return 0;
}

struct replica {
    struct spends_names names;
    struct spends_share *share;
    char id_path[64];
};

static void open_share(struct replica *r)
{
    struct spends_share_options opt = {
        .redis_url = redis.url, .prefix = "w", .id_path = r->id_path, .spends = &r->names.spends};
    struct err_text t = {""};

    if (spends_share_open(&opt, &r->share, &t) != ERR_OK)
        fail_msg("%s", t.s);
}

/* booked: what its ledger has of acme. */
static struct replica *open_replica(int number, nanousd booked)
{
    struct replica *r = mem_zalloc(1, sizeof *r);

    snprintf(r->id_path, sizeof r->id_path, "%s/replica%d", folder, number);
    spends_names_make(&r->names);
    spend_book(r->names.acme, booked, clock_wall_us());
    open_share(r);
    return r;
}

static void close_replica(struct replica *r)
{
    spends_share_close(r->share);
    spends_names_clear(&r->names);
    free(r);
}

static void pay(struct replica *r, nanousd cost)
{
    spend_book(r->names.acme, cost, clock_wall_us());
}

/* Of the month, which seldom ends during a test. */
static nanousd known(struct replica *r)
{
    return spend_in(r->names.acme, SPEND_MONTH, clock_wall_us());
}

#define UNTIL(condition)                                                                           \
    do {                                                                                           \
        int64_t until_us = clock_mono_us() + WAIT_US;                                              \
        while (!(condition) && clock_mono_us() < until_us)                                         \
            usleep(1000);                                                                          \
        assert_true(condition);                                                                    \
    } while (0)

static int each(void **state)
{
    (void)state;
    if (redis.folder[0] && !redis.pid)
        redis_server_start(&redis);
    if (redis.pid)
        redis_server_do(&redis, "FLUSHALL");
    return 0;
}

static int forget(void **state)
{
    char path[64];

    (void)state;
    for (int i = 0; i < REPLICAS; i++) {
        snprintf(path, sizeof path, "%s/replica%d", folder, i);
        unlink(path);
    }
    return 0;
}

#define NEED_REDIS()                                                                               \
    if (!redis.pid)                                                                                \
    skip()

static void all_know_all(void **state)
{
    struct replica *r[REPLICAS];
    (void)state;

    NEED_REDIS();
    for (int i = 0; i < REPLICAS; i++)
        r[i] = open_replica(i, 100);
    for (int k = 0; k < 50; k++)
        for (int i = 0; i < REPLICAS; i++)
            pay(r[i], 1 + i);
    for (int i = 0; i < REPLICAS; i++)
        UNTIL(known(r[i]) == 300 + 50 * 6);
    for (int i = 0; i < REPLICAS; i++)
        assert_true(spends_share_up(r[i]->share));
    pay(r[1], 1000);
    spends_share_close(r[1]->share); /* tells what is left */
    r[1]->share = NULL;
    UNTIL(known(r[0]) == 1600);
    for (int i = 0; i < REPLICAS; i++)
        close_replica(r[i]);
}

/* A process that is killed has booked less in its ledger than it told. */
static void a_replica_comes_again(void **state)
{
    struct replica *a, *b;
    (void)state;

    NEED_REDIS();
    a = open_replica(0, 0);
    b = open_replica(1, 0);
    pay(a, 70);
    pay(b, 5);
    UNTIL(known(a) == 75 && known(b) == 75);
    close_replica(a);
    a = open_replica(0, 60);
    assert_true(spends_share_await(a->share, WAIT_US / 1000));
    UNTIL(known(a) == 75);
    pay(a, 1);
    UNTIL(known(b) == 76);
    assert_int_equal(known(a), 76);
    close_replica(a);
    close_replica(b);
}

static void a_server_that_is_gone_and_empty(void **state)
{
    struct replica *a, *b;
    (void)state;

    NEED_REDIS();
    a = open_replica(0, 0);
    b = open_replica(1, 0);
    pay(a, 70);
    pay(b, 5);
    UNTIL(known(a) == 75 && known(b) == 75);
    redis_server_stop(&redis);
    pay(a, 1);
    pay(b, 2);
    UNTIL(!spends_share_up(a->share) && !spends_share_up(b->share));
    assert_int_equal(known(a), 76);
    assert_int_equal(known(b), 77);
    redis_server_start(&redis);
    UNTIL(known(a) == 78 && known(b) == 78);
    UNTIL(spends_share_up(a->share) && spends_share_up(b->share));
    redis_server_do(&redis, "FLUSHALL"); /* without a word */
    UNTIL(strstr(redis_server_do(&redis, "KEYS *"), "w:spend:") != NULL);
    pay(a, 1);
    UNTIL(known(b) == 79);
    redis_server_stop(&redis);
    close_replica(a); /* ends nevertheless */
    close_replica(b);
}

static void a_start_without_a_server(void **state)
{
    struct replica *a;
    (void)state;

    NEED_REDIS();
    redis_server_stop(&redis);
    a = open_replica(0, 3);
    assert_false(spends_share_await(a->share, 1));
    pay(a, 1);
    assert_int_equal(known(a), 4);
    redis_server_start(&redis);
    UNTIL(spends_share_up(a->share));
    assert_true(spends_share_await(a->share, 0));
    assert_int_equal(known(a), 4);
    close_replica(a);
}

static void read_id(const struct replica *r, char out[32])
{
    FILE *f = fopen(r->id_path, "r");

    assert_non_null(f);
    assert_non_null(fgets(out, 32, f));
    fclose(f);
}

static void a_copy_gets_a_name_of_its_own(void **state)
{
    char before[32], after[2][32];
    struct replica *a, *copy;
    (void)state;

    NEED_REDIS();
    a = open_replica(0, 10);
    UNTIL(spends_share_up(a->share));
    read_id(a, before);
    copy = mem_zalloc(1, sizeof *copy);
    snprintf(copy->id_path, sizeof copy->id_path, "%s/replica1", folder);
    FILE *f = fopen(copy->id_path, "w");
    assert_non_null(f);
    fputs(before, f);
    fclose(f);
    spends_names_make(&copy->names);
    pay(copy, 10);
    open_share(copy);
    UNTIL(spends_share_up(copy->share));
    int paid = 0;
    do { /* whoever sees the other's word first takes a new name */
        pay(paid % 2 ? a : copy, 1);
        UNTIL(known(paid % 2 ? copy : a) >= 11 + paid);
        paid++;
        read_id(a, after[0]);
        read_id(copy, after[1]);
    } while (strcmp(after[0], after[1]) == 0 && paid < 50);
    assert_string_not_equal(after[0], after[1]);
    /* The ten that both had count twice. */
    UNTIL(known(a) >= 20 + paid && known(copy) >= 20 + paid);
    close_replica(a);
    close_replica(copy);
}

static void keys_of_another_kind(void **state)
{
    struct replica *a;
    char month[64], key[64];
    (void)state;

    NEED_REDIS();
    clock_rfc3339(clock_wall_us(), month, sizeof month);
    snprintf(key, sizeof key, "SET w:spend:%.7s many", month);
    redis_server_do(&redis, key);
    a = open_replica(0, 3);
    assert_false(spends_share_await(a->share, 50));
    assert_false(spends_share_up(a->share));
    assert_int_equal(known(a), 3);
    snprintf(key, sizeof key, "DEL w:spend:%.7s", month);
    redis_server_do(&redis, key);
    UNTIL(spends_share_up(a->share));
    snprintf(key, sizeof key, "HSET w:spend:%.7s changed x nonsense 1 0123456789abcdef", month);
    redis_server_do(&redis, key); /* an odd one out: refused */
    snprintf(key, sizeof key, "HSET w:spend:%.7s changed x nonsense 1", month);
    redis_server_do(&redis, key);
    pay(a, 1);
    snprintf(key, sizeof key, "HVALS w:spend:%.7s", month);
    UNTIL(strstr(redis_server_do(&redis, key), "\n4\r") != NULL);
    assert_int_equal(known(a), 4);
    close_replica(a);
}

static void an_id_must_be_one(void **state)
{
    struct spends_names names = {.acme = NULL};
    struct spends_share *share = NULL;
    struct err_text t = {""};
    char path[64];
    struct spends_share_options opt = {
        .redis_url = "unix:/nowhere", .prefix = "w", .id_path = path, .spends = &names.spends};
    (void)state;

    snprintf(path, sizeof path, "%s/replica0", folder);
    for (int i = 0; i < 4; i++) {
        static const char *const wrong[] = {"", "0123456789abcde\n", "0123456789ABCDEF\n",
                                            "0123456789abcdef0\n"};
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(wrong[i], f);
        fclose(f);
        assert_int_equal(spends_share_open(&opt, &share, &t), ERR_INTERNAL);
        assert_non_null(strstr(t.s, "replica0: 16 hexadecimal digits"));
    }
    unlink(path);
    opt.redis_url = "http://x";
    assert_int_equal(spends_share_open(&opt, &share, &t), ERR_BAD_REQUEST);
    opt.id_path = "/nowhere/at/all";
    assert_int_not_equal(spends_share_open(&opt, &share, &t), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_know_all, each, forget),
        cmocka_unit_test_setup_teardown(a_replica_comes_again, each, forget),
        cmocka_unit_test_setup_teardown(a_server_that_is_gone_and_empty, each, forget),
        cmocka_unit_test_setup_teardown(a_start_without_a_server, each, forget),
        cmocka_unit_test_setup_teardown(a_copy_gets_a_name_of_its_own, each, forget),
        cmocka_unit_test_setup_teardown(keys_of_another_kind, each, forget),
        cmocka_unit_test_setup_teardown(an_id_must_be_one, each, forget),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

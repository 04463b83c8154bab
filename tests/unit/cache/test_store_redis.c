/* The Redis store before real servers that restart, forget, stall, fill up and lie. */
#include <cmocka.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/redis_url.h"
#include "tests/unit/cache/redis_server.h"
#include "tests/unit/cache/samples.h"
#include "tests/unit/cache/store_harness.h"
#include "tests/unit/cache/store_suite.h"

static struct redis_server server;
static struct store_harness h, other; /* two replicas */

static bool is_up(struct store_harness *x)
{
    struct store_stat st;
    store_stat(x->store, &st);
    return st.up;
}

static bool is_down(struct store_harness *x)
{
    return !is_up(x);
}

static void open_store(struct store_harness *x, const char *url)
{
    struct store_options opt = store_harness_options(x);
    struct err_text t;

    if (store_redis_open(&opt, url, "weir", &x->store, &t))
        fail_msg("%s", t.s);
}

static void wait_up(struct store_harness *x)
{
    assert_true(store_harness_until(x, is_up, STORE_HARNESS_PATIENCE_MS));
}

static int set_up(void **state)
{
    (void)state;
    if (!redis_server_installed())
        skip();
    memset(&server, 0, sizeof server);
    redis_server_start(&server);
    store_harness_init(&h);
    store_harness_init(&other);
    open_store(&h, server.url);
    open_store(&other, server.url);
    wait_up(&h);
    wait_up(&other);
    h.change_count = other.change_count = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    store_harness_clear(&h);
    store_harness_clear(&other);
    redis_server_remove(&server);
    return 0;
}

static bool has_changes(struct store_harness *x)
{
    return x->change_count > 0;
}

static bool heard_kind(const struct store_harness *x, enum store_change_kind kind, uint64_t id)
{
    for (size_t i = 0; i < x->change_count; i++)
        if (x->changes[i].kind == kind && (id == 0 || x->changes[i].id == id))
            return true;
    return false;
}

static bool heard_loss(struct store_harness *x)
{
    return heard_kind(x, STORE_LOST, 0);
}

static bool heard_flush(struct store_harness *x)
{
    return heard_kind(x, STORE_FLUSH, 0);
}

static bool is_stale(struct store_harness *x)
{
    int64_t until_us;
    return !store_current(x->store, &until_us);
}

static void what_one_puts_the_other_has(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("evil", 1);

    (void)state;
    f.body = slice_make("a\0b\r\n", 5);
    uint64_t id = store_harness_put(&h, &f);
    assert_int_not_equal(id, 0);
    struct cache_entry *e = store_harness_exact(&other, &f);
    assert_non_null(e);
    assert_int_equal(e->f.id, id);
    assert_true(slice_eq(e->f.body, f.body) && slice_eq(e->f.scope, f.scope));
    assert_int_equal(e->f.dim, SAMPLE_DIM);
    assert_non_null(store_harness_get(&other, "acme", id));
    assert_null(store_harness_get(&other, "evil", id));
    g.exact = f.exact;
    assert_null(store_harness_exact(&other, &g));
    assert_int_equal(other.err, ERR_OK);
    assert_true(
        store_harness_until(&other, has_changes, STORE_HARNESS_PATIENCE_MS)); /* within a second */
    assert_int_equal(other.changes[0].kind, STORE_PUT);
    assert_int_equal(other.changes[0].id, id);
    assert_int_equal(h.change_count, 0); /* its own */
    assert_true(strstr(redis_server_do(&server, "SCAN 0 COUNT 1000 MATCH weir:{*}:e:*"), ":e:"));
}

static void wait_reply(const char *command, const char *reply)
{
    int64_t end_us = clock_mono_us() + STORE_HARNESS_PATIENCE_MS * INT64_C(1000);

    while (strcmp(redis_server_do(&server, command), reply) != 0) {
        assert_true(clock_mono_us() < end_us);
        usleep(10000);
    }
}

static void everything_else_expires(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);
    char command[256], tags[128], reply[64];

    (void)state;
    uint64_t id = store_harness_put(&h, &f);
    snprintf(command, sizeof command, "PEXPIRETIME weir:{%u}:e:%016llx", store_bucket(f.scope),
             (unsigned long long)id);
    snprintf(reply, sizeof reply, ":%lld\r\n", (long long)f.expires_ms);
    assert_string_equal(redis_server_do(&server, command), reply);
    /* But the sets of tags, which would be evicted else: their members of the past go. */
    snprintf(tags, sizeof tags, "PEXPIRETIME weir:{%u}:t:maths", store_bucket(f.scope));
    assert_string_equal(redis_server_do(&server, tags), ":-1\r\n");
    g.expires_ms = clock_wall_us() / 1000 + 900;
    store_harness_put(&h, &g);
    snprintf(command, sizeof command, "EXISTS weir:{%u}:e:%016llx", store_bucket(f.scope),
             (unsigned long long)store_harness_put(&h, &g));
    wait_reply(command, ":0\r\n");
    assert_true(clock_wall_us() / 1000 >= g.expires_ms - 50);
    assert_null(store_harness_exact(&other, &g));
    snprintf(tags, sizeof tags, "ZCARD weir:{%u}:t:maths", store_bucket(f.scope));
    assert_int_equal(store_harness_tagged(&other, "acme", "maths"), 1);
    assert_string_equal(redis_server_do(&server, tags), ":1\r\n");
}

/* Under pressure entries go, and a set of tags never: what is left is all found by it. */
static void tags_are_not_evicted(void **state)
{
    size_t there = 0;

    (void)state;
    redis_server_do(&server, "CONFIG SET maxmemory-policy volatile-random");
    redis_server_do(&server, "CONFIG SET maxmemory 3mb");
    for (int i = 0; i < 1500; i++) {
        struct cache_fields f = sample_fields("acme", i);
        store_harness_put(&h, &f);
    }
    redis_server_do(&server, "CONFIG SET maxmemory 0");
    for (int i = 0; i < 1500; i++) {
        struct cache_fields f = sample_fields("acme", i);
        there += store_harness_exact(&h, &f) != NULL;
    }
    assert_true(there < 1500);
    size_t scanned = store_harness_scan(&h);
    assert_true(scanned >= there); /* some whose key by question was evicted */
    assert_int_equal(store_harness_tagged(&h, "acme", "maths"), scanned);
}

static void two_writers_of_one_question(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = f;
    char tagged[64];

    (void)state;
    snprintf(tagged, sizeof tagged, "ZCARD weir:{%u}:t:maths", store_bucket(f.scope));
    uint64_t first = store_harness_put(&h, &f);
    g.body = SLICE("from the other");
    uint64_t second = store_harness_put(&other, &g);
    assert_int_equal(other.value, first);
    assert_int_equal(store_harness_exact(&h, &f)->f.id, second);
    assert_true(slice_eq(h.entries[0]->f.body, g.body));
    assert_null(store_harness_get(&h, "acme", first));
    assert_int_equal(store_harness_tagged(&h, "acme", "maths"), 1);
    assert_string_equal(redis_server_do(&server, tagged), ":1\r\n");
    assert_int_equal(store_harness_del(&h, "acme", second), ERR_OK);
    assert_int_equal(h.value, 1);
    assert_string_equal(redis_server_do(&server, tagged), ":0\r\n");
    assert_int_equal(store_harness_del(&h, "acme", second), ERR_OK);
    assert_int_equal(h.value, 0);
    assert_null(store_harness_exact(&other, &f));
    assert_int_equal(store_harness_tagged(&h, "acme", "maths"), 0);
}

static void a_flush_reaches_the_other(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    uint64_t before = store_generation(h.store, SLICE("acme"));
    assert_int_equal(store_generation(other.store, SLICE("acme")), before);
    assert_int_equal(store_harness_flush(&h, "acme"), ERR_OK);
    uint64_t after = store_generation(h.store, SLICE("acme"));
    assert_true(after > before);
    /* The other does not know yet: the server refuses what it has from before. */
    f.generation = before;
    uint64_t late =
        store_generation(other.store, SLICE("acme")) == before ? store_harness_put(&other, &f) : 0;
    assert_int_equal(late, 0);
    assert_true(store_harness_until(&other, heard_flush, STORE_HARNESS_PATIENCE_MS));
    assert_int_equal(store_generation(other.store, SLICE("acme")), after);
    assert_int_not_equal(store_harness_put(&other, &f), 0);
    assert_int_equal(store_generation(other.store, SLICE("x")),
                     store_generation(h.store, SLICE("x")));
}

static void a_page_after_the_other(void **state)
{
    uint64_t ids[300];

    (void)state;
    for (int i = 0; i < 300; i++) {
        char scope[16];
        snprintf(scope, sizeof scope, "t%d", i % 10);
        struct cache_fields f = sample_fields(scope, i);
        ids[i] = store_harness_put(&h, &f);
        assert_int_not_equal(ids[i], 0);
    }
    assert_true(store_harness_scan(&other) >= 300);
    for (int i = 0; i < 300; i++) {
        bool seen = false;
        for (size_t k = 0; k < other.page_count; k++)
            seen = seen || other.page_ids[k] == ids[i];
        assert_true(seen);
    }
}

static uint64_t generation_before;

/* Each bucket finds out by itself that its data are gone. */
static bool is_of_another_generation(struct store_harness *x)
{
    return store_generation(x->store, SLICE("acme")) != generation_before;
}

static void the_server_is_emptied(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    generation_before = store_generation(h.store, SLICE("acme"));
    store_harness_put(&h, &f);
    redis_server_do(&server, "FLUSHALL");
    assert_null(store_harness_exact(&h, &f));
    h.change_count = 0;
    assert_true(store_harness_until(&h, heard_loss, STORE_HARNESS_PATIENCE_MS));
    assert_true(store_harness_until(&h, is_of_another_generation, STORE_HARNESS_PATIENCE_MS));
    /* An entry from before that somebody brings back is of another generation. */
    assert_int_not_equal(store_harness_put(&h, &f), 0);
    assert_non_null(store_harness_exact(&h, &f));
}

static void the_server_restarts_empty(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    store_harness_put(&h, &f);
    redis_server_stop(&server);
    assert_true(store_harness_until(&h, is_down, STORE_HARNESS_PATIENCE_MS));
    assert_true(store_harness_until(&h, is_stale, STORE_HARNESS_PATIENCE_MS));
    assert_null(store_harness_exact(&h, &f));
    assert_int_equal(h.err, ERR_OVERLOADED);
    redis_server_start(&server);
    wait_up(&h);
    assert_true(heard_loss(&h));
    assert_null(store_harness_exact(&h, &f));
    assert_int_equal(h.err, ERR_OK);
    assert_int_not_equal(store_harness_put(&h, &f), 0);
    assert_non_null(store_harness_exact(&h, &f));
}

/* What the other did while this one could not listen is heard, or known to be lost. */
static void the_log_while_away(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    char command[128];

    (void)state;
    uint64_t first = store_harness_put(&other, &f);
    assert_true(store_harness_until(&h, has_changes, STORE_HARNESS_PATIENCE_MS));
    h.change_count = 0;
    redis_server_do(&server, "CLIENT KILL TYPE normal");
    assert_true(store_harness_until(&other, is_down, STORE_HARNESS_PATIENCE_MS));
    wait_up(&other);
    store_harness_del(&other, "acme", first);
    assert_true(store_harness_until(&h, has_changes, STORE_HARNESS_PATIENCE_MS));
    assert_int_equal(h.changes[0].kind, STORE_DEL);
    assert_int_equal(h.changes[0].id, first);

    h.change_count = 0;
    redis_server_do(&server, "CLIENT KILL TYPE normal");
    assert_true(store_harness_until(&other, is_down, STORE_HARNESS_PATIENCE_MS));
    wait_up(&other);
    for (int i = 0; i < 5; i++) {
        struct cache_fields g = sample_fields("acme", i);
        store_harness_put(&other, &g);
    }
    snprintf(command, sizeof command, "XTRIM weir:{%u}:log MAXLEN 2", store_bucket(f.scope));
    redis_server_do(&server, command);
    assert_true(store_harness_until(&h, has_changes, STORE_HARNESS_PATIENCE_MS));
    assert_int_equal(h.changes[0].kind, STORE_LOST);
    h.change_count = 0;
    redis_server_do(&server, "CLIENT KILL TYPE normal");
    assert_true(store_harness_until(&other, is_down, STORE_HARNESS_PATIENCE_MS));
    wait_up(&other);
    struct cache_fields g = sample_fields("acme", 9);
    store_harness_put(&other, &g);
    snprintf(command, sizeof command, "DEL weir:{%u}:log", store_bucket(f.scope));
    redis_server_do(&server, command);
    assert_true(store_harness_until(&h, has_changes, STORE_HARNESS_PATIENCE_MS));
    assert_int_equal(h.changes[0].kind, STORE_LOST);
}

/* A server that does not answer costs the budget, then nothing. */
static void the_server_stalls(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    store_harness_put(&h, &f);
    kill(server.pid, SIGSTOP);
    int64_t begin_us = clock_mono_us();
    for (int i = 0; i < 5; i++) {
        assert_null(store_harness_exact(&h, &f));
        assert_int_equal(h.err, ERR_OVERLOADED);
    }
    int64_t waited_us = clock_mono_us() - begin_us;
    assert_true(waited_us < 20000000);
    begin_us = clock_mono_us();
    for (int i = 0; i < 50; i++)
        assert_null(store_harness_exact(&h, &f));
    assert_true(clock_mono_us() - begin_us < 5000000); /* ten seconds, were the breaker not open */
    assert_true(store_harness_until(&h, is_down, STORE_HARNESS_PATIENCE_MS));
    assert_true(store_harness_until(&h, is_stale, STORE_HARNESS_PATIENCE_MS));
    kill(server.pid, SIGCONT);
    wait_up(&h);
    begin_us = clock_mono_us();
    while (!store_harness_exact(&h, &f)) /* the breaker closes again */
        assert_true(clock_mono_us() - begin_us < STORE_HARNESS_PATIENCE_MS * INT64_C(1000));
}

static void no_room_on_the_server(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);

    (void)state;
    assert_int_not_equal(store_harness_put(&h, &f), 0);
    redis_server_do(&server, "CONFIG SET maxmemory 1000000");
    assert_int_equal(store_harness_put(&h, &g), 0);
    assert_int_equal(h.err, ERR_TOO_LARGE);
    redis_server_do(&server, "CONFIG SET maxmemory 0");
    assert_int_not_equal(store_harness_put(&h, &g), 0);
}

/* The server throws out what it likes: a miss, never half an entry. */
static void the_server_evicts(void **state)
{
    size_t found = 0;

    (void)state;
    redis_server_do(&server, "CONFIG SET maxmemory-policy allkeys-random");
    redis_server_do(&server, "CONFIG SET maxmemory 3mb");
    for (int i = 0; i < 2000; i++) {
        struct cache_fields f = sample_fields("acme", i);
        store_harness_put(&h, &f);
    }
    for (int i = 0; i < 2000; i++) {
        struct cache_fields f = sample_fields("acme", i);
        struct cache_entry *e = store_harness_exact(&h, &f);
        assert_true(!e || slice_eq(e->f.body, f.body));
        found += e != NULL;
    }
    assert_true(found < 2000);
}

static void torn_hashes(void **state)
{
    struct cache_fields f = sample_fields("acme", 1), g = sample_fields("acme", 2);
    char command[256];
    struct store_stat st;

    (void)state;
    uint64_t id = store_harness_put(&h, &f), second = store_harness_put(&h, &g);
    snprintf(command, sizeof command, "HSET weir:{%u}:e:%016llx r truncat", store_bucket(f.scope),
             (unsigned long long)id);
    redis_server_do(&server, command);
    snprintf(command, sizeof command, "HDEL weir:{%u}:e:%016llx tok", store_bucket(f.scope),
             (unsigned long long)second);
    redis_server_do(&server, command);
    assert_null(store_harness_exact(&h, &f));
    assert_null(store_harness_exact(&h, &g));
    store_stat(h.store, &st);
    assert_int_equal(st.bad_entries, 1);
    assert_int_not_equal(store_harness_put(&h, &f), 0);
    assert_non_null(store_harness_exact(&h, &f));
}

static void scripts_are_forgotten(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    store_harness_put(&h, &f);
    redis_server_do(&server, "SCRIPT FLUSH");
    store_harness_exact(&h, &f);
    assert_int_equal(h.err, ERR_OVERLOADED);
    assert_non_null(store_harness_exact(&h, &f));
}

static void notes_and_marks(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);
    struct buf mark;

    (void)state;
    assert_null(store_harness_recall(&h, "risk"));
    assert_int_equal(h.err, ERR_NOT_FOUND);
    assert_int_equal(store_harness_note(&h, "risk", "what was learned"), ERR_OK);
    assert_string_equal(store_harness_recall(&other, "risk"), "what was learned");
    buf_init(&mark, 1 << 20);
    assert_int_equal(store_mark(h.store, &mark), ERR_OK);
    uint64_t id = store_harness_put(&other, &f);
    store_close(h.store);
    h.change_count = 0;
    open_store(&h, server.url);
    assert_true(store_resume(h.store, buf_slice(&mark)));
    wait_up(&h);
    assert_int_equal(h.change_count, 1); /* just that, no loss */
    assert_int_equal(h.changes[0].id, id);
    buf_clear(&mark);
}

struct read {
    bool answered, gap;
    char text[256];
    size_t n;
    struct store_place last;
};

static void on_read(void *ctx, enum err err, const struct slice *record, size_t n,
                    struct store_place last, bool gap)
{
    struct read *r = ctx;

    assert_int_equal(err, ERR_OK);
    *r = (struct read){.answered = true, .gap = gap, .n = n, .last = last};
    for (size_t i = 0; i < n && i < 8; i++)
        snprintf(r->text + strlen(r->text), sizeof r->text - strlen(r->text), "%.*s ",
                 SLICE_ARG(record[i]));
}

static struct read read_after(struct store_harness *x, struct store_place after)
{
    struct read r = {0};
    int64_t end_us = clock_mono_us() + STORE_HARNESS_PATIENCE_MS * INT64_C(1000);

    store_read(x->store, SLICE("learned"), after, on_read, &r);
    while (!r.answered) {
        assert_true(clock_mono_us() < end_us);
        event_base_loop(x->base, EVLOOP_ONCE);
    }
    return r;
}

/* What any of them appends all read, in one order, from any place on; what is lost shows. */
static void records_in_one_order(void **state)
{
    struct store_place begin = {0};
    struct read r;

    (void)state;
    r = read_after(&h, begin);
    assert_true(r.n == 0 && !r.gap);
    store_harness_append(&h, "learned", "one");
    store_harness_append(&other, "learned", "two");
    store_harness_append(&h, "learned", "three");
    store_harness_append(&h, "unlearned", "four");
    r = read_after(&other, begin);
    assert_string_equal(r.text, "one two three ");
    assert_false(r.gap);
    struct store_place third = r.last;
    r = read_after(&h, third);
    assert_true(r.n == 0 && !r.gap && !store_place_before(third, r.last));
    store_harness_append(&other, "learned", "five");
    r = read_after(&h, third);
    assert_string_equal(r.text, "five ");
    assert_true(store_place_before(third, r.last) && !r.gap);
    redis_server_do(&server, "XTRIM weir:{note}:learned:log MAXLEN 1");
    r = read_after(&h, third);
    assert_string_equal(r.text, "five ");
    assert_true(r.gap);
    for (int i = 0; i < STORE_MAX_RECORDS + 10; i++)
        store_harness_append(&h, "learned", "x");
    r = read_after(&h, r.last);
    assert_true(r.n >= STORE_MAX_RECORDS - 1 && r.n <= STORE_MAX_RECORDS && !r.gap);
    r = read_after(&h, r.last);
    assert_true(r.n >= 10 && r.n <= 11 && !r.gap);
}

static bool is_refused(struct store_harness *x)
{
    struct store_stat st;
    store_stat(x->store, &st);
    return !st.up && (strstr(st.detail, "NOAUTH") || strstr(st.detail, "WRONGPASS"));
}

static void reopen_as(const char *login)
{
    char url[256];

    store_close(other.store);
    snprintf(url, sizeof url, "redis://%s127.0.0.1:%s", login, server.port);
    open_store(&other, url);
}

static void passwords(void **state)
{
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    redis_server_do(&server, "CONFIG SET requirepass s3cret");
    redis_server_do(&server, "AUTH s3cret\r\nCLIENT KILL TYPE normal");
    assert_true(store_harness_until(&h, is_refused, STORE_HARNESS_PATIENCE_MS));
    assert_null(store_harness_exact(&h, &f));
    reopen_as(":wrong@");
    assert_true(store_harness_until(&other, is_refused, STORE_HARNESS_PATIENCE_MS));
    reopen_as(":s3cret@");
    wait_up(&other);
    assert_int_not_equal(store_harness_put(&other, &f), 0);
    redis_server_do(&server, "AUTH s3cret\r\nACL SETUSER weir on >p@ss ~weir:* +@all");
    reopen_as("weir:p%40ss@");
    wait_up(&other);
    assert_non_null(store_harness_exact(&other, &f));
    reopen_as("weir:s3cret@");
    assert_true(store_harness_until(&other, is_refused, STORE_HARNESS_PATIENCE_MS));
}

/* ---- servers that are none ---- */

struct stranger {
    int fd;
    const char *says;
    pthread_t thread;
    char url[64];
};

static void *speak(void *ctx)
{
    struct stranger *s = ctx;
    int fd;

    while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
        char bytes[4096];
        if (send(fd, s->says, strlen(s->says), MSG_NOSIGNAL) < 0)
            break;
        (void)!recv(fd, bytes, sizeof bytes, 0);
        (void)!send(fd, s->says, strlen(s->says), MSG_NOSIGNAL);
        (void)!recv(fd, bytes, sizeof bytes, 0);
        close(fd);
    }
    return NULL;
}

static void start_stranger(struct stranger *s, const char *says)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;

    s->says = says;
    s->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)(void *)&a, sizeof a), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    getsockname(s->fd, (struct sockaddr *)(void *)&a, &n);
    snprintf(s->url, sizeof s->url, "redis://127.0.0.1:%u", ntohs(a.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, speak, s), 0);
}

static bool has_a_reason(struct store_harness *x)
{
    struct store_stat st;
    store_stat(x->store, &st);
    return st.detail[0];
}

static void strangers(void **state)
{
    static const char *const lines[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "+OK POP3 ready\r\n+OK\r\n+OK\r\n+OK\r\n",
        "*1000000000\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
        "$99999999999999999999\r\n",
        "$-7\r\nx\r\n:\r\n",
        "-ERR go away\r\n",
        "+PONG\r\n+PONG\r\n*0\r\n:1\r\n$-1\r\n*-1\r\n",
        "",
    };
    struct cache_fields f = sample_fields("acme", 1);

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct stranger s;
        struct store_harness x;
        start_stranger(&s, lines[i]);
        store_harness_init(&x);
        open_store(&x, s.url);
        assert_true(store_harness_until(&x, has_a_reason, STORE_HARNESS_PATIENCE_MS));
        assert_null(store_harness_exact(&x, &f));
        assert_int_equal(x.err, ERR_OVERLOADED);
        assert_false(is_up(&x));
        store_harness_clear(&x);
        shutdown(s.fd, SHUT_RDWR);
        close(s.fd);
        pthread_join(s.thread, NULL);
    }
}

static void urls(void **state)
{
    static const char *const bad[] = {
        "",
        "http://x",
        "redis://",
        "redis://:@",
        "redis://host:0",
        "redis://host:65536",
        "redis://host:x",
        "redis://host/one",
        "redis://host/-1",
        "redis://user@host",
        "redis://u%2:p@host",
        "redis://u:p%zz@host",
        "redis://u:p%00@host",
        "redis://[::1",
        "redis://[::1]6379",
        "rediss://host",
        "unix:relative",
        "unix:",
    };
    struct redis_url u;
    struct err_text t;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(redis_url_parse(bad[i], &u, &t), ERR_BAD_REQUEST);
        assert_true(strlen(t.s) > 15);
    }
    assert_int_equal(redis_url_parse("redis://me:p%40ss%3A@[::1]:7000/3", &u, NULL), ERR_OK);
    assert_string_equal(u.user, "me");
    assert_string_equal(u.password, "p@ss:");
    assert_string_equal(u.host, "::1");
    assert_string_equal(u.port, "7000");
    assert_int_equal(u.db, 3);
    assert_int_equal(redis_url_parse("redis://:pw@cache.local", &u, NULL), ERR_OK);
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "pw");
    assert_string_equal(u.host, "cache.local");
    assert_string_equal(u.port, "6379");
    assert_int_equal(redis_url_parse("unix:/run/redis.sock", &u, NULL), ERR_OK);
    assert_string_equal(u.path, "/run/redis.sock");
    assert_int_equal(redis_url_parse("rediss://u:hidden@h", &u, &t), ERR_BAD_REQUEST);
    assert_null(strstr(t.s, "hidden"));
    assert_non_null(strstr(t.s, "TLS"));
}

static void tags_find_theirs(void **state)
{
    (void)state;
    store_suite_tags(&h);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls),
        cmocka_unit_test(strangers),
        TEST(what_one_puts_the_other_has),
        TEST(everything_else_expires),
        TEST(tags_are_not_evicted),
        TEST(tags_find_theirs),
        TEST(records_in_one_order),
        TEST(two_writers_of_one_question),
        TEST(a_flush_reaches_the_other),
        TEST(a_page_after_the_other),
        TEST(the_server_is_emptied),
        TEST(the_server_restarts_empty),
        TEST(the_log_while_away),
        TEST(the_server_stalls),
        TEST(no_room_on_the_server),
        TEST(the_server_evicts),
        TEST(torn_hashes),
        TEST(scripts_are_forgotten),
        TEST(notes_and_marks),
        TEST(passwords),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

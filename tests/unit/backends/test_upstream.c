/* One conformance suite for both transports, plain and TLS: every rule in upstream.h, against a
 * scripted server on real sockets. A test that means one transport only says so in its table entry.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>

#include "backends/upstream.h"
#include "base/buf.h"
#include "base/clock.h"
#include "tests/unit/backends/cert.h"
#include "tests/unit/backends/peer.h"

#define OK_REPLY   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
#define LIMIT_US   INT64_C(120000000) /* a test that waits longer has failed */
#define LATE_US    INT64_C(60000000)  /* a shared machine; any other limit is further away */
#define MANY_BYTES (20 * 1024 * 1024)

struct mode {
    const char *name;
    bool curl, tls;
};

/* ---- the fixture: one worker's upstream ---- */

struct fixture {
    struct mode mode;
    struct event_base *base;
    struct stats *stats;
    struct upstream *up;
    struct server *server;
};

static struct cert_authority authority;
static char ca_path[] = "/tmp/weir-test-ca-XXXXXX";

/* One exchange and what came of it. */
struct probe {
    struct upstream_call call;
    struct upstream_target target;
    struct upstream_request req;
    struct fixture *f;
    struct slice body_pieces[4];
    bool starting;
    int heads, dones, pieces;
    int status;
    char header[128]; /* X-Test of the answer */
    struct buf body;
    uint64_t hash, received; /* of the body, for large ones */
    struct upstream_result result;
    char why[160];
    /* what to do inside callbacks */
    bool abort_in_head, abort_in_data, pause_in_head, pause_in_data, count_only, restart_in_done;
    struct probe *abort_other, *start_other;
};

static void start(struct probe *p);

static uint64_t fnv(uint64_t h, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)p[i]) * UINT64_C(1099511628211);
    return h;
}

static void act_on_others(struct probe *p)
{
    if (p->abort_other)
        upstream_abort(&p->abort_other->call);
    if (p->start_other) {
        struct probe *other = p->start_other;

        p->start_other = NULL;
        start(other);
    }
}

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);
    const struct http1_header *h = http1_find(head, SLICE("x-test"));

    assert_false(p->starting);
    assert_int_equal(p->heads + p->dones, 0);
    assert_true(upstream_active(c));
    p->heads++;
    p->status = head->status;
    if (h)
        snprintf(p->header, sizeof p->header, "%.*s", SLICE_ARG(h->value));
    act_on_others(p);
    if (p->pause_in_head)
        upstream_pause(c);
    if (p->abort_in_head)
        upstream_abort(c);
}

static _Atomic int data_calls; /* for scripts, which run in threads of their own */

static void on_data(struct upstream_call *c, struct slice data)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);

    assert_false(p->starting);
    assert_int_equal(p->heads, 1);
    assert_int_equal(p->dones, 0);
    assert_false(c->paused);
    assert_true(data.n > 0);
    data_calls++;
    p->pieces++;
    p->received += data.n;
    p->hash = fnv(p->hash, data.p, data.n);
    if (!p->count_only)
        assert_int_equal(buf_append_slice(&p->body, data), ERR_OK);
    act_on_others(p);
    if (p->pause_in_data)
        upstream_pause(c);
    if (p->abort_in_data) {
        upstream_abort(c);
        p->hash = fnv(p->hash, data.p,
                      data.n); /* the view outlives the abort until the callback returns */
    }
}

static void on_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);

    assert_false(p->starting);
    assert_int_equal(p->dones, 0);
    assert_non_null(r->why);
    p->dones++;
    p->result = *r;
    snprintf(p->why, sizeof p->why, "%s", r->why);
    act_on_others(p);
}

static const struct upstream_handler handler = {on_head, on_data, on_done};

static struct probe *probe_new(struct fixture *f)
{
    struct probe *p = calloc(1, sizeof *p);

    assert_non_null(p);
    p->f = f;
    buf_init(&p->body, 64 * 1024 * 1024);
    p->hash = UINT64_C(14695981039346656037);
    p->target = (struct upstream_target){
        .backend = "test",
        .tls = f->mode.tls,
        .host = "127.0.0.1",
        .port = f->server ? server_port(f->server) : 0,
        .authority = "model.test:1234",
        .force_curl = f->mode.curl,
        .tls_ca_file = ca_path,
        .tls_verify = true,
        .max_idle_connections = 300,
    };
    p->req = (struct upstream_request){
        .target = &p->target,
        .method = SLICE("POST"),
        .path = SLICE("/v1/chat/completions"),
        .body = p->body_pieces,
        .body_count = 1,
        .timeouts = {10000, 10000, 10000, 20000},
        .max_response_bytes = 64 * 1024 * 1024,
    };
    p->body_pieces[0] = SLICE("{}");
    return p;
}

static void probe_free(struct probe *p)
{
    upstream_abort(&p->call);
    buf_clear(&p->body);
    free(p);
}

static void start(struct probe *p)
{
    p->starting = true;
    upstream_start(p->f->up, &p->call, &handler, &p->req);
    p->starting = false;
    assert_true(upstream_active(&p->call));
}

/* Turns the loop until cond holds; false after LIMIT_US or so. */
#define WAIT_UNTIL(f, cond)                                                                        \
    do {                                                                                           \
        int64_t give_up_us = clock_mono_us() + LIMIT_US;                                           \
        while (!(cond)) {                                                                          \
            turn(f);                                                                               \
            if (clock_mono_us() > give_up_us)                                                      \
                fail_msg("waited too long for " #cond);                                            \
        }                                                                                          \
    } while (0)

/* One turn of the loop, at most 5 ms. */
static void turn(struct fixture *f)
{
    struct timeval tv = {0, 5000};

    event_base_loopexit(f->base, &tv);
    event_base_loop(f->base, EVLOOP_ONCE);
}

static void run_for_ms(struct fixture *f, int64_t ms)
{
    int64_t end_us = clock_mono_us() + ms * 1000;

    while (clock_mono_us() < end_us)
        turn(f);
}

static void finish(struct probe *p)
{
    WAIT_UNTIL(p->f, p->dones == 1);
    assert_false(upstream_active(&p->call));
    assert_true(p->result.total_us >= 0);
}

static void serve(struct fixture *f, server_script script, void *ctx)
{
    f->server = server_start(
        f->mode.tls ? cert_server_context(&authority, "DNS:localhost,IP:127.0.0.1") : NULL, script,
        ctx);
}

static void *open_fixture(const struct mode *m)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->mode = *m;
    f->base = event_base_new();
    f->stats = stats_new();
    f->up = upstream_new(f->base, f->stats);
    return f;
}

static int setup(void **state)
{
    *state = open_fixture(*state);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    upstream_free(f->up);
    if (f->server)
        server_stop(f->server);
    stats_free(f->stats);
    event_base_free(f->base);
    free(f);
    return 0;
}

/* Runs one exchange to its end. */
static struct probe *exchange(struct fixture *f)
{
    struct probe *p = probe_new(f);

    start(p);
    finish(p);
    return p;
}

static void assert_body(struct probe *p, const char *text)
{
    struct slice got = buf_slice(&p->body);

    assert_int_equal(got.n, strlen(text));
    assert_memory_equal(got.p, text, got.n);
}

/* ---- scripts ---- */

static void script_reply(struct peer *p,
                         void *ctx) /* the text for every request, connection kept */
{
    while (peer_request(p) && peer_puts(p, ctx))
        continue;
}

static void script_reply_close(struct peer *p, void *ctx)
{
    if (peer_request(p))
        peer_puts(p, ctx);
}

static void script_drip(struct peer *p, void *ctx)
{
    while (peer_request(p) && peer_drip(p, ctx))
        continue;
}

static void script_stall(struct peer *p,
                         void *ctx) /* sends the text, then waits for the client to go */
{
    if (peer_request(p) && peer_puts(p, ctx))
        peer_wait_gone(p);
}

static void script_cut(struct peer *p, void *ctx)
{
    if (peer_request(p))
        peer_puts(p, ctx);
    peer_cut(p);
}

/* ---- tests: the plain exchange ---- */

struct seen {
    char head[4096];
    char body[4096];
    size_t body_bytes;
};

static void script_record(struct peer *p, void *ctx)
{
    struct seen *s = ctx;

    if (!peer_request(p))
        return;
    snprintf(s->head, sizeof s->head, "%s", p->head);
    s->body_bytes = p->body_bytes;
    memcpy(s->body, p->body, p->body_bytes < sizeof s->body ? p->body_bytes : sizeof s->body);
    peer_puts(p, "HTTP/1.1 201 Created\r\nX-Test:  a value \r\nContent-Length: 5\r\n\r\nhello");
}

static int occurrences(const char *text, const char *what)
{
    int n = 0;

    for (const char *at = text; (at = strcasestr(at, what)); at++)
        n++;
    return n;
}

static void test_exchange(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.head = ""};
    const struct http1_header headers[] = {{SLICE("Authorization"), SLICE("Bearer x")},
                                           {SLICE("X-Empty"), SLICE("")},
                                           {SLICE("Content-Type"), SLICE("application/json")}};
    struct probe *p;

    serve(f, script_record, &seen);
    p = probe_new(f);
    p->req.headers = headers;
    p->req.header_count = 3;
    p->body_pieces[0] = SLICE("{\"a\":");
    p->body_pieces[1] = SLICE("");
    p->body_pieces[2] = SLICE("1");
    p->body_pieces[3] = SLICE("}");
    p->req.body_count = 4;
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->status, 201);
    assert_string_equal(p->header, "a value");
    assert_body(p, "hello");
    assert_true(p->result.sent);
    assert_false(p->result.reused);
    assert_true(p->result.connect_us > 0);
    assert_in_range(p->result.first_byte_us, 1, p->result.total_us);

    assert_int_equal(strncmp(seen.head, "POST /v1/chat/completions HTTP/1.1\r\n", 36), 0);
    assert_int_equal(occurrences(seen.head, "\r\nHost: model.test:1234\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nHost:"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nContent-Length: 7\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nAccept-Encoding: identity\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nAuthorization: Bearer x\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nContent-Type: application/json\r\n"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nX-Empty:"), 1);
    assert_int_equal(occurrences(seen.head, "\r\nExpect:"), 0);
    assert_int_equal(occurrences(seen.head, "\r\nUser-Agent:"), 0);
    assert_int_equal(occurrences(seen.head, "\r\nTransfer-Encoding:"), 0);
    assert_int_equal(seen.body_bytes, 7);
    assert_memory_equal(seen.body, "{\"a\":1}", 7);
    probe_free(p);
}

static void test_framings(void **state)
{
    static const struct {
        const char *reply, *body;
        int status;
    } cases[] = {
        {OK_REPLY, "hello", 200},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: "
         "chunked\r\n\r\n3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n",
         "hello", 200},
        {"HTTP/1.1 429 \r\nContent-Length: 0\r\n\r\n", "", 429},
        {"HTTP/1.1 204 No Content\r\n\r\n", "", 204},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" OK_REPLY,
         "hello", 200},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "", 200},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int drip = 0; drip < 2; drip++) {
            struct probe *p;

            serve(f, drip ? script_drip : script_reply, (void *)(uintptr_t)cases[i].reply);
            for (int again = 0; again < 2; again++) {
                p = exchange(f);
                assert_int_equal(p->result.err, ERR_OK);
                assert_int_equal(p->status, cases[i].status);
                assert_body(p, cases[i].body);
                assert_int_equal(p->result.reused, again);
                probe_free(p);
            }
            assert_int_equal(server_connections(f->server), 1);
            upstream_close_idle(f->up);
            server_stop(f->server);
            f->server = NULL;
        }
    }
}

static void test_until_close(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply_close, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
    p = exchange(f);
    assert_int_equal(p->result.err, ERR_OK);
    assert_body(p, "until the end");
    probe_free(p);
    p = exchange(f);
    assert_false(p->result.reused);
    probe_free(p);
}

static void script_head_method(struct peer *p, void *ctx)
{
    (void)ctx;
    while (peer_request(p)) {
        bool head = strncmp(p->head, "HEAD ", 5) == 0;

        peer_puts(p, head ? "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" : OK_REPLY);
    }
}

static void test_head_and_get(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_head_method, NULL);
    for (int i = 0; i < 2; i++) {
        p = probe_new(f);
        p->req.method = i ? SLICE("GET") : SLICE("HEAD");
        p->req.body_count = 0;
        start(p);
        finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        assert_body(p, i ? "hello" : "");
        assert_int_equal(p->result.reused, i);
        probe_free(p);
    }
}

static void test_large_request(void **state)
{
    struct fixture *f = *state;
    struct probe *p;
    char *big = malloc(3 * 1024 * 1024);

    memset(big, 'x', 3 * 1024 * 1024);
    serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    p->body_pieces[0] = slice_make(big, 5);
    p->body_pieces[1] = slice_make(big, 3 * 1024 * 1024 - 7);
    p->body_pieces[2] = slice_make(big, 2);
    p->req.body_count = 3;
    for (int i = 0; i < 2; i++) {
        p->dones = p->heads = 0;
        start(p);
        finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        assert_int_equal(p->result.reused, i);
    }
    probe_free(p);
    free(big);
}

/* ---- tests: connections ---- */

static void test_thousand_in_a_row(void **state)
{
    struct fixture *f = *state;

    serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 1000; i++) {
        struct probe *p = exchange(f);

        assert_int_equal(p->result.err, ERR_OK);
        assert_int_equal(p->result.reused, i > 0);
        assert_true((p->result.connect_us == 0) == (i > 0));
        probe_free(p);
    }
    assert_int_equal(server_connections(f->server), 1);
}

static void test_many_at_once(void **state)
{
    enum { COUNT = 256 };
    struct fixture *f = *state;
    struct probe *p[COUNT];

    serve(f, script_reply, OK_REPLY);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < COUNT; i++) {
            p[i] = probe_new(f);
            start(p[i]);
        }
        for (int i = 0; i < COUNT; i++) {
            finish(p[i]);
            assert_int_equal(p[i]->result.err, ERR_OK);
            assert_body(p[i], "hello");
            probe_free(p[i]);
        }
    }
    assert_in_range(server_connections(f->server), 1, COUNT);
}

static void test_idle_limit(void **state)
{
    struct fixture *f = *state;
    struct probe *p[4];

    serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 4; i++) {
        p[i] = probe_new(f);
        p[i]->target.max_idle_connections = 1;
        start(p[i]);
    }
    for (int i = 0; i < 4; i++) {
        finish(p[i]);
        probe_free(p[i]);
    }
    /* On a slow machine an early one may be done, and reused, before the last begins. */
    assert_in_range(server_connections(f->server), 2, 4);
    WAIT_UNTIL(f, server_live(f->server) == 1); /* the others are closed at once */
}

static void test_no_keep_alive(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.head = ""};
    struct probe *p;

    serve(f, script_record, &seen);
    p = probe_new(f);
    p->target.max_idle_connections = 0;
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(occurrences(seen.head, "\r\nConnection: close\r\n"), 1);
    WAIT_UNTIL(f, server_live(f->server) == 0);
    probe_free(p);
}

static void test_server_closes(void **state)
{
    static const char *const replies[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < 2; i++) {
        serve(f, script_reply, (void *)(uintptr_t)replies[i]);
        for (int n = 0; n < 2; n++) {
            struct probe *p = exchange(f);

            assert_int_equal(p->result.err, ERR_OK);
            assert_false(p->result.reused);
            probe_free(p);
        }
        assert_int_equal(server_connections(f->server), 2);
        server_stop(f->server);
        f->server = NULL;
    }
}

/* The server's FIN reaches an idle connection: it is dropped and nobody notices. */
static void test_idle_end_is_seen(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply_close, OK_REPLY);
    for (int i = 0; i < 3; i++) {
        p = exchange(f);
        assert_int_equal(p->result.err, ERR_OK);
        assert_false(p->result.reused);
        probe_free(p);
        WAIT_UNTIL(f, server_live(f->server) == 0);
        run_for_ms(f, 10);
    }
}

static void script_stale(struct peer *p,
                         void *ctx) /* the first connection dies under its second request */
{
    int alive_from = *(int *)ctx;

    if (!peer_request(p))
        return;
    if (p->number >= alive_from || p->number == 0)
        peer_puts(p, OK_REPLY);
    if (p->number > 0 || !peer_request(p))
        return;
    peer_reset(p);
}

static void test_stale_reuse(void **state)
{
    struct fixture *f = *state;
    int alive_from = 1;
    struct probe *p;

    serve(f, script_stale, &alive_from);
    p = exchange(f);
    assert_false(p->result.resent);
    probe_free(p);
    p = exchange(f);
    assert_int_equal(p->result.err, ERR_OK);
    assert_false(p->result.reused);
    assert_true(p->result.resent);
    assert_true(p->result.connect_us > 0);
    assert_body(p, "hello");
    assert_int_equal(server_connections(f->server), 2);
    probe_free(p);
}

static void test_stale_only_once(void **state)
{
    struct fixture *f = *state;
    int alive_from = 99;
    struct probe *p;

    serve(f, script_stale, &alive_from);
    p = exchange(f);
    probe_free(p);
    p = exchange(f);
    assert_int_equal(p->result.err, ERR_UPSTREAM_RESET);
    assert_int_equal(p->heads, 0);
    assert_true(p->result.sent);
    assert_int_equal(server_connections(f->server), 2);
    probe_free(p);
}

static void script_late_death(struct peer *p, void *ctx)
{
    (void)ctx;
    if (peer_request(p) && peer_puts(p, OK_REPLY) && peer_request(p))
        usleep(1200 * 1000);
    peer_reset(p);
}

/* A server that worked on the request for a while and then died is not asked again behind the
 * router's back. */
static void test_late_death_is_no_stale_reuse(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_late_death, NULL);
    p = exchange(f);
    probe_free(p);
    p = exchange(f);
    assert_int_equal(p->result.err, ERR_UPSTREAM_RESET);
    assert_true(p->result.reused);
    assert_int_equal(server_connections(f->server), 1);
    probe_free(p);
}

static void test_bytes_after_the_end(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad");
    for (int i = 0; i < 3; i++) {
        p = exchange(f);
        assert_int_equal(p->result.err, ERR_OK);
        assert_body(p, "hello");
        assert_false(p->result.reused);
        probe_free(p);
    }
}

static void test_close_idle(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    p = exchange(f);
    probe_free(p);
    assert_int_equal(server_live(f->server), 1);
    upstream_close_idle(f->up);
    WAIT_UNTIL(f, server_live(f->server) == 0);
    p = probe_new(f);
    start(p);
    upstream_close_idle(f->up); /* does not touch what is in use */
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    probe_free(p);
}

static void test_two_backends_do_not_share(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    p = exchange(f);
    probe_free(p);
    p = probe_new(f);
    p->target.backend = "another";
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_false(p->result.reused);
    probe_free(p);
}

/* ---- tests: never reached ---- */

static void test_refused(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd =
        socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening: nobody else can listen there */
    struct probe *p;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    p = probe_new(f);
    p->target.port = ntohs(a.sin_port);
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_CONNECT);
    assert_false(p->result.sent);
    assert_int_equal(p->result.first_byte_us, -1);
    assert_int_equal(p->heads, 0);
    probe_free(p);
    close(fd);
}

static void test_names(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 2; i++) {
        p = probe_new(f);
        p->target.host = "localhost"; /* perhaps ::1 first, where nobody listens */
        start(p);
        finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        probe_free(p);
    }
    for (int i = 0; i < 2; i++) { /* the second from the cache */
        p = probe_new(f);
        p->target.host = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid";
        start(p);
        finish(p);
        assert_int_equal(p->result.err, ERR_UPSTREAM_DNS);
        assert_false(p->result.sent);
        probe_free(p);
    }
    p = probe_new(f);
    p->target.host = "localhost";
    upstream_close_idle(f->up);
    start(p);
    upstream_abort(&p->call); /* perhaps while the name is being asked for */
    run_for_ms(f, 20);
    assert_int_equal(p->heads + p->dones, 0);
    probe_free(p);
}

/* A listener whose queue is full does not answer SYNs. */
static void test_connect_timeout(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0), fillers[4];
    struct probe *p;

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    for (int i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&a, sizeof a);
    }
    p = probe_new(f);
    p->target.port = ntohs(a.sin_port);
    p->req.timeouts.connect_ms = 150;
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_CONNECT_TIMEOUT);
    assert_false(p->result.sent);
    assert_in_range(p->result.total_us, 149000, 150000 + LATE_US);
    probe_free(p);
    for (int i = 0; i < 4; i++)
        close(fillers[i]);
    close(fd);
}

static void test_bad_request_head(void **state)
{
    const struct http1_header bad[] = {
        {SLICE("X"), SLICE("a\r\nInjected: 1")},
        {SLICE("X\n"), SLICE("a")},
        {SLICE("X Y"), SLICE("a")},
        {SLICE(""), SLICE("a")},
        {SLICE("X"), {"a\0b", 3}},
    };
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    for (size_t i = 0; i <= sizeof bad / sizeof *bad; i++) {
        p = probe_new(f);
        if (i < sizeof bad / sizeof *bad) {
            p->req.headers = &bad[i];
            p->req.header_count = 1;
        } else {
            p->req.path = SLICE("/a b HTTP/1.1\r\nX: y");
        }
        start(p);
        finish(p);
        assert_int_equal(p->result.err, ERR_UPSTREAM_PROTOCOL);
        assert_false(p->result.sent);
        probe_free(p);
    }
    assert_int_equal(server_connections(f->server), 0);
}

/* ---- tests: timeouts and broken answers ---- */

static void expect_timeout(struct fixture *f, server_script script, const char *text,
                           struct upstream_timeouts t, enum err err, int heads)
{
    struct probe *p;

    serve(f, script, (void *)(uintptr_t)text);
    p = probe_new(f);
    p->req.timeouts = t;
    start(p);
    finish(p);
    assert_int_equal(p->result.err, err);
    assert_int_equal(p->heads, heads);
    assert_true(p->result.sent);
    assert_in_range(p->result.total_us, 199000, 2000000 + LATE_US);
    probe_free(p);
    WAIT_UNTIL(f, server_live(f->server) == 0); /* the connection is closed, not pooled */
    server_stop(f->server);
    f->server = NULL;
}

static void test_silence(void **state)
{
    struct fixture *f = *state;
    struct upstream_timeouts first = {60000, 200, 60000, 60000},
                             between = {60000, 60000, 200, 60000},
                             total = {60000, 60000, 60000,
                                      1000}; /* the request has been sent by then */

    expect_timeout(f, script_stall, "", first, ERR_UPSTREAM_FIRST_BYTE_TIMEOUT, 0);
    expect_timeout(f, script_stall, "HTTP/1.1 103 Early Hints\r\n\r\n", first,
                   ERR_UPSTREAM_FIRST_BYTE_TIMEOUT, 0);
    expect_timeout(f, script_stall, "HTTP/1.1 200 OK\r\nContent-", between,
                   ERR_UPSTREAM_IDLE_TIMEOUT, 0);
    expect_timeout(f, script_stall, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", between,
                   ERR_UPSTREAM_IDLE_TIMEOUT, 1);
    expect_timeout(f, script_stall, "", total, ERR_UPSTREAM_TOTAL_TIMEOUT, 0);
}

static void script_drip_body(struct peer *p, void *ctx)
{
    (void)ctx;
    if (!peer_request(p) || !peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
        return;
    while (peer_puts(p, "x"))
        usleep(20 * 1000);
}

/* Activity keeps an answer alive between bytes, but not beyond the total. */
static void test_drip(void **state)
{
    struct upstream_timeouts t = {60000, 60000, 1500, 2000};

    expect_timeout(*state, script_drip_body, NULL, t, ERR_UPSTREAM_TOTAL_TIMEOUT, 1);
}

static void expect_broken(struct fixture *f, const char *reply, enum err err, int heads)
{
    struct probe *p;

    serve(f, script_cut, (void *)(uintptr_t)reply);
    p = exchange(f);
    if (p->result.err != err || p->heads != heads)
        fail_msg("%s: got %s (%s), %d heads", reply, err_name(p->result.err), p->why, p->heads);
    assert_true(p->result.sent);
    assert_true(p->why[0] != '\0');
    probe_free(p);
    server_stop(f->server);
    f->server = NULL;
}

static void test_cut(void **state)
{
    struct fixture *f = *state;

    expect_broken(f, "", ERR_UPSTREAM_RESET, 0);
    expect_broken(f, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", ERR_UPSTREAM_RESET, 0);
    expect_broken(f, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", ERR_UPSTREAM_CUT, 1);
    expect_broken(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                  ERR_UPSTREAM_CUT, 1);
    expect_broken(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
                  ERR_UPSTREAM_CUT, 1);
    expect_broken(f, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", ERR_UPSTREAM_CUT,
                  1);
    if (f->mode.tls) /* without close_notify anyone on the path may have ended it */
        expect_broken(f, "HTTP/1.1 200 OK\r\n\r\nuntil close", ERR_UPSTREAM_CUT, 1);
}

static void script_reset_in_body(struct peer *p, void *ctx)
{
    int before = data_calls;

    if (peer_request(p))
        peer_puts(p, ctx);
    for (int i = 0; i < 60000 && data_calls == before; i++)
        usleep(1000); /* the reset must not overtake the head */
    peer_reset(p);
}

static void test_reset_in_body(void **state)
{
    static const char *const heads[] = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
                                        "HTTP/1.1 200 OK\r\n\r\nhello"};
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        struct probe *p;

        serve(f, script_reset_in_body, (void *)(uintptr_t)heads[i]);
        p = exchange(f);
        assert_int_equal(p->result.err, ERR_UPSTREAM_CUT);
        assert_body(p, "hello");
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_malformed(void **state)
{
    static const struct {
        const char *reply;
        int heads;
    } cases[] = {
        {"SSH-2.0-OpenSSH_9\r\n\r\n", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 5\r\n\r\nhello", 0},
        {"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", 0},
        {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 0},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n", 1},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_broken(f, cases[i].reply, ERR_UPSTREAM_PROTOCOL, cases[i].heads);
}

static void script_huge_head(struct peer *p, void *ctx)
{
    int bytes = *(int *)ctx;
    char line[1024];

    if (!peer_request(p) || !peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"))
        return;
    memset(line, 'h', sizeof line);
    memcpy(line, "X: ", 3);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    for (; bytes > 0; bytes -= (int)sizeof line) {
        if (!peer_send(p, line, sizeof line))
            return;
    }
    peer_puts(p, "\r\nhello");
    peer_wait_gone(p);
}

static void test_huge_head(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 2; i++) {
        int bytes = i ? 100 * 1024 : 40 * 1024;
        struct probe *p;

        serve(f, script_huge_head, &bytes);
        p = exchange(f);
        assert_int_equal(p->result.err, i ? ERR_UPSTREAM_PROTOCOL : ERR_OK);
        assert_int_equal(p->heads, !i);
        probe_free(p);
        upstream_close_idle(f->up);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_too_large(void **state)
{
    static const char *const replies[] = {
        OK_REPLY,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\nhello",
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < 3; i++) {
        for (int limit = 4; limit <= 5; limit++) {
            struct probe *p;

            serve(f, i == 2 ? script_reply_close : script_reply, (void *)(uintptr_t)replies[i]);
            p = probe_new(f);
            p->req.max_response_bytes = limit;
            start(p);
            finish(p);
            assert_int_equal(p->result.err, limit == 5 ? ERR_OK : ERR_UPSTREAM_TOO_LARGE);
            assert_true(p->received <= (uint64_t)limit);
            probe_free(p);
            upstream_close_idle(f->up);
            server_stop(f->server);
            f->server = NULL;
        }
    }
}

static void script_early_answer(struct peer *p, void *ctx)
{
    (void)ctx;
    if (peer_read_head(p) &&
        peer_puts(p, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"))
        peer_wait_gone(
            p); /* reads on, as servers do for a while, so that no reset overtakes the answer */
}

/* The answer comes while the body is still going out: it counts, and the connection is not used
 * again. */
static void test_early_answer(void **state)
{
    struct fixture *f = *state;
    char *big = calloc(1, MANY_BYTES);
    struct probe *p;

    serve(f, script_early_answer, NULL);
    p = probe_new(f);
    p->body_pieces[0] = slice_make(big, MANY_BYTES);
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->status, 413);
    assert_body(p, "large");
    WAIT_UNTIL(f, server_live(f->server) == 0);
    probe_free(p);
    free(big);
}

static void script_answer_and_reset(struct peer *p, void *ctx)
{
    (void)ctx;
    if (peer_read_head(p) &&
        peer_puts(p, "HTTP/1.1 413 Too Large\r\nContent-Length: 5\r\n\r\nlarge"))
        usleep(20 * 1000);
    peer_reset(p);
}

/* A ruder server: it answers, and resets because it does not want the body. The answer still
 * counts. */
static void test_early_answer_and_reset(void **state)
{
    struct fixture *f = *state;
    char *big = calloc(1, MANY_BYTES);
    struct probe *p;

    serve(f, script_answer_and_reset, NULL);
    p = probe_new(f);
    p->body_pieces[0] = slice_make(big, MANY_BYTES);
    start(p);
    /* The reset is to be there before we read: so we stand still, but for the moments that a slow
     * handshake needs to go on. */
    while (server_connections(f->server) == 0 || server_live(f->server)) {
        run_for_ms(f, 5);
        for (int i = 0; i < 100 && server_live(f->server); i++)
            usleep(1000);
    }
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->status, 413);
    probe_free(p);
    free(big);
}

/* ---- tests: pause, resume ---- */

struct flood {
    _Atomic bool sent_all;
    uint64_t hash;
};

static void script_flood(struct peer *p, void *ctx)
{
    struct flood *flood = ctx;
    char *bytes = malloc(MANY_BYTES);

    if (bytes && peer_request(p)) {
        for (size_t i = 0; i < MANY_BYTES; i++)
            bytes[i] = (char)(i * 2654435761u >> 13);
        flood->hash = fnv(UINT64_C(14695981039346656037), bytes, MANY_BYTES);
        peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n");
        flood->sent_all = peer_send(p, bytes, MANY_BYTES);
    }
    free(bytes);
}

static void test_pause_bounds_and_resume_completes(void **state)
{
    struct fixture *f = *state;
    struct flood flood = {.sent_all = false};
    struct probe *p;
    uint64_t before;

    serve(f, script_flood, &flood);
    p = probe_new(f);
    p->count_only = true;
    p->req.timeouts.between_bytes_ms = 150; /* stands still while paused */
    p->pause_in_data = true;
    start(p);
    WAIT_UNTIL(f, p->received > 0);
    before = p->received;
    run_for_ms(f, 400);
    assert_int_equal(p->received, before);
    assert_false(flood.sent_all); /* 20 MB did not fit anywhere: nobody swallows them */
    upstream_pause(&p->call);     /* twice is once */
    for (int i = 0; i < 50 && p->dones == 0; i++) { /* one piece per resume */
        before = p->received;
        upstream_resume(&p->call);
        assert_int_equal(p->received, before); /* not inside the call */
        WAIT_UNTIL(f, p->received > before);
    }
    p->pause_in_data = false;
    upstream_resume(&p->call);
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->received, MANY_BYTES);
    assert_true(p->hash == flood.hash);
    probe_free(p);
    upstream_close_idle(f->up);
    WAIT_UNTIL(f, server_live(f->server) == 0); /* it writes to our stack */
}

static void test_pause_in_head(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    p->pause_in_head = p->pause_in_data = true;
    start(p);
    WAIT_UNTIL(f, p->heads == 1);
    run_for_ms(f, 60);
    assert_int_equal(p->received + (uint64_t)p->dones, 0);
    upstream_resume(&p->call);
    upstream_pause(&p->call);
    run_for_ms(f, 30);
    assert_int_equal(p->received + (uint64_t)p->dones, 0);
    upstream_resume(&p->call);
    WAIT_UNTIL(f, p->received == 5);
    run_for_ms(f, 60);
    assert_int_equal(p->dones, 0); /* the last piece paused: the end waits too */
    upstream_resume(&p->call);
    finish(p);
    assert_int_equal(p->result.err, ERR_OK);
    assert_body(p, "hello");
    probe_free(p);
}

static void test_pause_before_head(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    start(p);
    upstream_pause(&p->call);
    run_for_ms(f, 100);
    assert_int_equal(p->received + (uint64_t)p->dones, 0);
    upstream_resume(&p->call);
    finish(p);
    assert_body(p, "hello");
    probe_free(p);
}

/* The peer's end while paused is found on resume, behind the bytes that came before it. */
static void test_end_while_paused(void **state)
{
    struct fixture *f = *state;

    for (int cut = 0; cut < 2; cut++) {
        struct probe *p;

        serve(f, script_cut, cut ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello" : OK_REPLY);
        p = probe_new(f);
        p->pause_in_head = true;
        start(p);
        WAIT_UNTIL(f, p->heads == 1 && server_live(f->server) == 0);
        run_for_ms(f, 20);
        assert_int_equal(p->dones, 0);
        upstream_resume(&p->call);
        finish(p);
        assert_int_equal(p->result.err, cut ? ERR_UPSTREAM_CUT : ERR_OK);
        assert_body(p, "hello");
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_total_runs_while_paused(void **state)
{
    struct fixture *f = *state;
    struct flood flood = {.sent_all = false};
    struct probe *p;

    serve(f, script_flood, &flood);
    p = probe_new(f);
    p->count_only = true;
    p->pause_in_data = true;
    p->req.timeouts.total_ms = 1500;
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_TOTAL_TIMEOUT);
    probe_free(p);
    WAIT_UNTIL(f, server_live(f->server) == 0); /* it writes to our stack */
}

/* ---- tests: abort ---- */

static void script_abort_states(struct peer *p, void *ctx)
{
    const char *text = ctx;

    if (peer_request(p) && peer_puts(p, text))
        assert_true(peer_wait_gone(p));
}

static void test_abort_at_each_state(void **state)
{
    struct fixture *f = *state;

    for (int when = 0; when < 5; when++) {
        const char *text = when < 3    ? ""
                           : when == 3 ? "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
                                       : "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel";
        struct probe *p;
        int64_t from_us;
        int pieces;

        serve(f, script_abort_states, (void *)(uintptr_t)text);
        p = probe_new(f);
        start(p);
        if (when == 1)
            turn(f);
        if (when == 2)
            WAIT_UNTIL(f, server_live(f->server) == 1);
        if (when == 3)
            WAIT_UNTIL(f, p->heads == 1);
        if (when == 4)
            WAIT_UNTIL(f, p->received == 3);
        pieces = p->heads + p->pieces;
        from_us = clock_mono_us();
        upstream_abort(&p->call);
        upstream_abort(&p->call);
        assert_false(upstream_active(&p->call));
        while (server_live(f->server) > 0) /* without the loop: closed at once */
            assert_true(clock_mono_us() - from_us < LIMIT_US / 4);
        run_for_ms(f, 20);
        assert_int_equal(p->heads + p->pieces, pieces);
        assert_int_equal(p->dones, 0);
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

static void test_abort_inside_callbacks(void **state)
{
    struct fixture *f = *state;

    for (int where = 0; where < 2; where++) {
        struct probe *p;

        serve(f, script_abort_states,
              "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n");
        p = probe_new(f);
        p->abort_in_head = where == 0;
        p->abort_in_data = where == 1;
        start(p);
        WAIT_UNTIL(f, where == 0 ? p->heads == 1 : p->pieces == 1);
        WAIT_UNTIL(f, server_live(f->server) == 0);
        assert_int_equal(p->dones, 0);
        assert_int_equal(p->pieces, where);
        probe_free(p);
        server_stop(f->server);
        f->server = NULL;
    }
}

/* The callbacks of one call abort another and start a third. */
static void test_others_inside_callbacks(void **state)
{
    struct fixture *f = *state;
    struct probe *first, *victim, *next, *last;

    serve(f, script_reply, OK_REPLY);
    first = probe_new(f);
    victim = probe_new(f);
    next = probe_new(f);
    last = probe_new(f);
    victim->pause_in_head = true;
    start(victim);
    WAIT_UNTIL(f, victim->heads == 1);
    first->abort_other = victim;
    first->start_other = next;
    next->start_other = last;
    start(first);
    finish(first);
    finish(next);
    finish(last);
    assert_int_equal(victim->dones + victim->pieces, 0);
    assert_int_equal(first->result.err | next->result.err | last->result.err, ERR_OK);
    probe_free(first);
    probe_free(victim);
    probe_free(next);
    probe_free(last);
}

static void test_free_with_calls_in_flight(void **state)
{
    struct fixture *f = *state;
    struct probe *p[6];

    serve(f, script_stall, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel");
    for (int i = 0; i < 6; i++) {
        p[i] = probe_new(f);
        p[i]->pause_in_data = i % 2;
        if (i == 5)
            p[i]->target.host = "localhost";
        start(p[i]);
    }
    WAIT_UNTIL(f, p[0]->received == 3 && p[1]->received == 3);
    start((p[4]->dones = 0, upstream_abort(&p[4]->call), p[4]));
    upstream_free(f->up);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(p[i]->dones, 0);
        assert_false(upstream_active(&p[i]->call));
        probe_free(p[i]);
    }
    f->up = upstream_new(f->base, f->stats);
}

/* ---- tests: TLS ---- */

static enum err tls_outcome(struct fixture *f, const char *host, const char *ca_file, bool verify)
{
    struct probe *p = probe_new(f);
    enum err err;

    p->target.host = host;
    p->target.tls_ca_file = ca_file;
    p->target.tls_verify = verify;
    start(p);
    finish(p);
    err = p->result.err;
    if (err != ERR_OK) {
        assert_false(p->result.sent);
        assert_true(p->why[0] != '\0');
    }
    probe_free(p);
    return err;
}

static void test_certificates(void **state)
{
    struct fixture *f = *state;

    serve(f, script_reply, OK_REPLY);
    assert_int_equal(tls_outcome(f, "127.0.0.1", ca_path, true), ERR_OK);
    assert_int_equal(tls_outcome(f, "localhost", ca_path, true), ERR_OK);
    assert_int_equal(tls_outcome(f, "127.0.0.1", NULL, true),
                     ERR_UPSTREAM_TLS); /* nobody the system trusts */
    assert_int_equal(tls_outcome(f, "127.0.0.1", NULL, false), ERR_OK);
    assert_int_equal(tls_outcome(f, "127.0.0.1", "/nonexistent/ca.pem", true), ERR_UPSTREAM_TLS);
    upstream_close_idle(f->up);
    server_stop(f->server);
    f->server = server_start(cert_server_context(&authority, "DNS:other.test,IP:10.9.8.7"),
                             script_reply, OK_REPLY);
    assert_int_equal(tls_outcome(f, "127.0.0.1", ca_path, true), ERR_UPSTREAM_TLS);
    assert_int_equal(tls_outcome(f, "localhost", ca_path, true), ERR_UPSTREAM_TLS);
    assert_int_equal(tls_outcome(f, "localhost", ca_path, false), ERR_OK);
}

static void test_not_tls(void **state)
{
    struct fixture *f = *state;

    f->server =
        server_start(NULL, script_stall, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    struct probe *p = probe_new(f);
    p->req.timeouts.connect_ms = 200; /* the server waits for a head that never comes */
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_CONNECT_TIMEOUT);
    assert_false(p->result.sent);
    probe_free(p);
}

static void test_sessions_are_reused(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 3; i++) {
        p = probe_new(f);
        p->target.max_idle_connections = 0;
        start(p);
        finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        probe_free(p);
    }
    assert_int_equal(server_connections(f->server), 3);
    assert_int_equal(server_resumed(f->server), 2);
}

/* Large records, 1-byte records and everything between survive OpenSSL's buffering and our pauses.
 */
static void script_odd_records(struct peer *p, void *ctx)
{
    static char bytes[200000];
    size_t at = 0, n = 1;

    (void)ctx;
    memset(bytes, 'r', sizeof bytes);
    if (!peer_request(p) || !peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"))
        return;
    while (at < sizeof bytes) {
        n = n < sizeof bytes - at ? n : sizeof bytes - at;
        if (!peer_send(p, bytes + at, n))
            return;
        at += n;
        n = n * 3 % 16381;
    }
    peer_request(p);
}

static void test_odd_records(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_odd_records, NULL);
    p = probe_new(f);
    p->pause_in_data = true;
    start(p);
    while (p->dones == 0) {
        uint64_t before = p->received;

        WAIT_UNTIL(f, p->received > before || p->dones);
        upstream_resume(&p->call);
    }
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->received, 200000);
    probe_free(p);
}

static void test_http2_needs_tls(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    p->target.http2 = true;
    start(p);
    finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_PROTOCOL);
    assert_int_equal(server_connections(f->server), 0);
    probe_free(p);
}

static void script_proxy(struct peer *p, void *ctx)
{
    struct seen *s = ctx;

    if (!peer_request(p))
        return;
    snprintf(s->head, sizeof s->head, "%s", p->head);
    peer_puts(p, strncmp(p->head, "CONNECT", 7) == 0
                     ? "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"
                     : OK_REPLY);
}

/* A plain request goes to the proxy in absolute form; for TLS the proxy is asked for a tunnel, and
 * its refusal is no answer of the model's server. */
static void test_proxy(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.head = ""};
    char url[64];

    f->server = server_start(NULL, script_proxy, &seen);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", server_port(f->server));
    for (int tls = 0; tls < 2; tls++) {
        struct probe *p = probe_new(f);

        p->target.tls = tls;
        p->target.force_curl = false;
        p->target.proxy = url;
        p->target.host = "model.invalid";
        p->target.port = 1234;
        start(p);
        finish(p);
        assert_int_equal(p->result.err, tls ? ERR_UPSTREAM_CONNECT : ERR_OK);
        assert_int_equal(p->heads, !tls);
        assert_int_equal(p->result.sent, !tls);
        assert_int_equal(
            occurrences(seen.head,
                        tls ? "CONNECT model.invalid:1234 HTTP/1.1\r\n"
                            : "POST http://model.invalid:1234/v1/chat/completions HTTP/1.1\r\n"),
            1);
        probe_free(p);
    }
}

/* ---- the table ---- */

enum where { NATIVE = 1, CURL = 2, PLAIN = 4, TLS = 8, EVERY = 15 };

static const struct {
    const char *name;
    CMUnitTestFunction fn;
    unsigned where;
} table[] = {
#define T(fn, where)                                                                               \
    {                                                                                              \
#fn, fn, where                                                                             \
    }
    T(test_exchange, EVERY),
    T(test_framings, EVERY),
    T(test_until_close, EVERY),
    T(test_head_and_get, EVERY),
    T(test_large_request, EVERY),
    T(test_thousand_in_a_row, EVERY),
    T(test_many_at_once, EVERY),
    T(test_idle_limit, NATIVE | PLAIN | TLS), /* libcurl counts over all targets */
    T(test_no_keep_alive, EVERY),
    T(test_server_closes, EVERY),
    T(test_idle_end_is_seen, EVERY),
    T(test_stale_reuse, EVERY),
    T(test_stale_only_once, EVERY),
    T(test_late_death_is_no_stale_reuse,
      NATIVE | PLAIN | TLS), /* libcurl tries again however late */
    T(test_bytes_after_the_end, EVERY),
    T(test_close_idle, EVERY),
    T(test_two_backends_do_not_share, NATIVE | PLAIN | TLS), /* libcurl knows hosts, not backends */
    T(test_refused, EVERY),
    T(test_names, EVERY),
    T(test_connect_timeout, EVERY),
    T(test_bad_request_head, EVERY),
    T(test_silence, EVERY),
    T(test_drip, EVERY),
    T(test_cut, EVERY),
    T(test_reset_in_body, EVERY),
    T(test_malformed, EVERY),
    T(test_huge_head, EVERY),
    T(test_too_large, EVERY),
    T(test_early_answer, EVERY),
    T(test_early_answer_and_reset, EVERY),
    T(test_pause_bounds_and_resume_completes, EVERY),
    T(test_pause_in_head, EVERY),
    T(test_pause_before_head, EVERY),
    T(test_end_while_paused, EVERY),
    T(test_total_runs_while_paused, EVERY),
    T(test_abort_at_each_state, EVERY),
    T(test_abort_inside_callbacks, EVERY),
    T(test_others_inside_callbacks, EVERY),
    T(test_free_with_calls_in_flight, EVERY),
    T(test_certificates, NATIVE | CURL | TLS),
    T(test_not_tls, NATIVE | CURL | TLS),
    T(test_sessions_are_reused, NATIVE | TLS),
    T(test_odd_records, EVERY),
    T(test_http2_needs_tls, CURL | PLAIN),
    T(test_proxy, CURL | PLAIN),
#undef T
};

static bool applies(unsigned where, const struct mode *m)
{
    return (where & (m->curl ? CURL : NATIVE)) && (where & (m->tls ? TLS : PLAIN));
}

int main(int argc, char **argv)
{
    static const struct mode modes[] = {{"http1 plain", false, false},
                                        {"http1 tls", false, true},
                                        {"curl plain", true, false},
                                        {"curl tls", true, true}};
    enum { TESTS = sizeof table / sizeof *table };
    static struct CMUnitTest tests[4 * TESTS];
    static char names[4 * TESTS][96];
    size_t n = 0;
    int fd = mkstemp(ca_path), failed;

    if (fd < 0)
        return 1;
    close(fd);
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    cert_authority_init(&authority, "weir test authority");
    cert_authority_write(&authority, ca_path);
    for (size_t m = 0; m < 4; m++) {
        for (size_t t = 0; t < TESTS; t++) {
            if (!applies(table[t].where, &modes[m]))
                continue;
            snprintf(names[n], sizeof names[n], "%s (%s)", table[t].name, modes[m].name);
            tests[n] = (struct CMUnitTest){.name = names[n],
                                           .test_func = table[t].fn,
                                           .setup_func = setup,
                                           .teardown_func = teardown,
                                           .initial_state = (void *)(uintptr_t)&modes[m]};
            n++;
        }
    }
    failed = _cmocka_run_group_tests("upstream", tests, n, NULL, NULL);
    cert_authority_clear(&authority);
    unlink(ca_path);
    return failed;
}

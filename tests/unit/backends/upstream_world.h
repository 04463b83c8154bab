/* One conformance suite for both transports, plain and TLS: every rule in upstream.h, against a
 * scripted server on real sockets. Here: one worker's upstream and what its tests share; a file of
 * tests is a table that runs in each mode it means. */
#ifndef TESTS_UNIT_BACKENDS_UPSTREAM_WORLD_H
#define TESTS_UNIT_BACKENDS_UPSTREAM_WORLD_H

#include <event2/event.h>
#include <cmocka.h>
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

struct fixture {
    struct mode mode;
    struct event_base *base;
    struct stats *stats;
    struct upstream *up;
    struct server *server;
};

extern struct cert_authority fixture_authority;
extern char fixture_ca_path[];
extern _Atomic int fixture_data_calls; /* for scripts, which run in threads of their own */

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

void probe_start(struct probe *p);
void probe_finish(struct probe *p);
/* Runs one exchange to its end. */
struct probe *probe_exchange(struct fixture *f);
void probe_assert_body(struct probe *p, const char *text);
/* One turn of the loop, at most 5 ms. */
void fixture_turn(struct fixture *f);
void fixture_run_ms(struct fixture *f, int64_t ms);
void fixture_serve(struct fixture *f, server_script script, void *ctx);
struct probe *probe_new(struct fixture *f);
void probe_free(struct probe *p);
uint64_t fnv(uint64_t h, const char *p, size_t n);

/* Scripts of a server; ctx is a text. */
void script_reply(struct peer *p, void *ctx);       /* it for every request, connection kept */
void script_reply_close(struct peer *p, void *ctx); /* it once, then the end */
void script_drip(struct peer *p, void *ctx);
void script_stall(struct peer *p, void *ctx); /* it, then nothing until the client goes */
void script_cut(struct peer *p, void *ctx);

/* Turns the loop until cond holds; false after LIMIT_US or so. */
#define WAIT_UNTIL(f, cond)                                                                        \
    do {                                                                                           \
        int64_t give_up_us = clock_mono_us() + LIMIT_US;                                           \
        while (!(cond)) {                                                                          \
            fixture_turn(f);                                                                       \
            if (clock_mono_us() > give_up_us)                                                      \
                fail_msg("waited too long for " #cond);                                            \
        }                                                                                          \
    } while (0)

/* What a server has seen of a request. */
struct seen {
    char head[4096];
    char body[4096];
    size_t body_bytes;
};
int occurrences(const char *text, const char *what);

/* ---- the run ---- */

enum where { NATIVE = 1, CURL = 2, PLAIN = 4, TLS = 8, EVERY = 15 };

struct upstream_test {
    const char *name;
    CMUnitTestFunction fn;
    unsigned where;
};
/* main of a file of tests; argv[1] may choose some. */
int upstream_world_run(const char *group, const struct upstream_test *table, size_t count, int argc,
                       char **argv);

#endif

/* What one exchange costs the caller: CPU time of this process per exchange, with a number of calls
 * kept in flight against a server that is already running (weir-fleet --echo, nginx). Prints one
 * line; instructions: run it under valgrind --tool=callgrind. One worker, one thread.
 *
 *   micro_upstream PORT [exchanges] [in flight] [plain|tls|curl|curl-tls|http2] [body bytes] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <event2/event.h>

#include "backends/upstream.h"
#include "base/clock.h"

struct bench {
    struct upstream *up;
    struct event_base *base;
    struct upstream_target target;
    struct upstream_request req;
    struct slice body;
    long to_start, to_finish, failed, reused;
    uint64_t received;
};

struct call {
    struct upstream_call call;
    struct bench *b;
};

static void start(struct call *c);

static void on_head(struct upstream_call *u, const struct http1_head *head)
{
    struct call *c = CONTAINER_OF(u, struct call, call);

    c->b->failed += head->status != 200;
}

static void on_data(struct upstream_call *u, struct slice data)
{
    struct call *c = CONTAINER_OF(u, struct call, call);

    c->b->received += data.n;
}

static void on_done(struct upstream_call *u, const struct upstream_result *r)
{
    struct call *c = CONTAINER_OF(u, struct call, call);
    struct bench *b = c->b;

    if (r->err != ERR_OK && b->failed++ == 0)
        fprintf(stderr, "first failure: %s (%s)\n", err_name(r->err), r->why);
    b->reused += r->reused;
    if (b->to_start > 0)
        start(c);
    if (--b->to_finish == 0)
        event_base_loopbreak(b->base);
}

static const struct upstream_handler handler = {on_head, on_data, on_done};

static void start(struct call *c)
{
    c->b->to_start--;
    upstream_start(c->b->up, &c->call, &handler, &c->b->req);
}

static double cpu_us(void)
{
    struct rusage r;

    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1e6 +
           (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}

static long number(int argc, char **argv, int i, long otherwise)
{
    return argc > i ? strtol(argv[i], NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    static const struct http1_header headers[] = {
        {{"Authorization", 13}, {"Bearer sk-0123456789abcdef", 26}},
        {{"Content-Type", 12}, {"application/json", 16}}};
    long exchanges = number(argc, argv, 2, 100000), in_flight = number(argc, argv, 3, 32);
    const char *kind = argc > 4 ? argv[4] : "plain";
    size_t body_bytes = (size_t)number(argc, argv, 5, 1016);
    struct bench b = {.base = event_base_new(), .to_start = exchanges, .to_finish = exchanges};
    struct call *calls = calloc((size_t)in_flight, sizeof *calls);
    char *body = malloc(body_bytes + 1);
    double before_us;
    int64_t from_us;

    if (argc < 2 || !calls || !body || in_flight < 1 || exchanges < in_flight)
        return fprintf(stderr, "usage: micro_upstream PORT [exchanges] [in flight] "
                               "[plain|tls|curl|curl-tls|http2] "
                               "[body bytes]\n"),
               2;
    memset(body, ' ', body_bytes);
    memcpy(body, "{\"model\":\"echo\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", 59);
    b.up = upstream_new(b.base, NULL);
    b.body = slice_make(body, body_bytes);
    b.target = (struct upstream_target){.backend = "bench",
                                        .host = "127.0.0.1",
                                        .authority = "127.0.0.1",
                                        .port = (uint16_t)strtol(argv[1], NULL, 10),
                                        .tls = strstr(kind, "tls") || !strcmp(kind, "http2"),
                                        .force_curl = strncmp(kind, "curl", 4) == 0,
                                        .http2 = !strcmp(kind, "http2"),
                                        .max_idle_connections = in_flight,
                                        .tls_verify = false};
    b.req = (struct upstream_request){.target = &b.target,
                                      .method = SLICE("POST"),
                                      .path = SLICE("/v1/chat/completions"),
                                      .headers = headers,
                                      .header_count = 2,
                                      .body = &b.body,
                                      .body_count = 1,
                                      .timeouts = {10000, 10000, 10000, 60000},
                                      .max_response_bytes = 1 << 30};
    before_us = cpu_us();
    from_us = clock_mono_us();
    for (long i = 0; i < in_flight; i++) {
        calls[i].b = &b;
        start(&calls[i]);
    }
    event_base_dispatch(b.base);
    printf("kind=%s exchanges=%ld in_flight=%ld failed=%ld reused=%ld received=%llu "
           "cpu_us_per_exchange=%.2f per_second=%.0f\n",
           kind, exchanges, in_flight, b.failed, b.reused, (unsigned long long)b.received,
           (cpu_us() - before_us) / (double)exchanges,
           (double)exchanges * 1e6 / (double)(clock_mono_us() - from_us));
    upstream_free(b.up);
    event_base_free(b.base);
    free(calls);
    free(body);
    return b.failed != 0;
}

/* weir-load: a load generator for a gateway on this machine. One thread, raw epoll, HTTP/1.1
 * keep-alive.
 *
 * Closed loop: C connections, each sends its next request when the last one is answered. Open loop
 * (--rate): request k is due at start + k/R whatever became of the others, and its latency counts
 * from when it was due, so a stall of the target is seen by every request it delays. Clients that
 * leave (--abort-before, --abort-mid) close their connection and open another.
 *
 * Targets other than loopback are refused: this is no tool to point at other people's machines. The
 * report is one JSON object on stdout. `weir-load calibrate` times a fixed integer loop, for
 * comparing runs on a host that changes speed. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/http1.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/rng.h"
#include "tests/bench/load_histogram.h"

#define LINE_BYTES    4096
#define HEAD_BYTES    16384
#define SCRATCH_BYTES 262144
#define EVENTS_MAX    256
#define DRAIN_US      5000000 /* after the end, for requests under way */
#define LONGEST_S     3600
#define SERIAL_DIGITS 12
#define EXTRA_BYTES   2048

enum failure {
    FAIL_CONNECT,
    FAIL_RESET,
    FAIL_CUT,
    FAIL_MALFORMED,
    FAIL_STATUS,
    FAIL_NO_DONE,
    FAIL_CHUNKS,
    FAIL_ERROR_EVENT,
    FAIL_TIMEOUT,
    FAIL_UNFINISHED,
    FAILURES,
};
static const char *const failure_names[FAILURES] = {
    "connect", "reset",        "cut",         "malformed", "status",
    "no_done", "wrong_chunks", "error_event", "timeout",   "unfinished"};

struct options {
    struct sockaddr_in target;
    char host[96];
    const char *path, *model, *api_key;
    char extra[EXTRA_BYTES]; /* further header lines, each with CRLF */
    int connections;
    double rate, duration_s, warmup_s, abort_before, abort_mid;
    int64_t requests, body_bytes, expect_chunks, abort_after_ms, abort_chunks, timeout_ms,
        stagger_ms;
    bool stream, include_usage, unique;
};

enum state { STATE_CONNECTING, STATE_IDLE, STATE_SENDING, STATE_HEAD, STATE_BODY };
enum leaving { LEAVE_NOT, LEAVE_BEFORE, LEAVE_MID };

struct client {
    struct list link; /* in idle, or in leaving (LEAVE_BEFORE), or alone */
    int fd;
    enum state state;
    bool want_write, late; /* late: has waited for its staggered start */
    size_t sent;
    int64_t due_us, leave_us; /* due: latency counts from here */
    enum leaving leaving;
    char *request; /* owned when unique, else borrowed from load */
    char *head;    /* owned: HEAD_BYTES */
    size_t head_n, scanned;
    enum http1_body body;
    uint64_t left;
    struct http1_chunked chunked;
    bool keep_alive, sse;
    int status;
    char *line; /* owned: LINE_BYTES, the start of the SSE line being read */
    size_t line_n;
    int64_t chunks;
    bool done_seen, error_seen;
};

struct load {
    struct options o;
    int epoll;
    struct client *clients; /* owned */
    struct list idle, leaving;
    char *request; /* owned */
    size_t request_n, serial_at;
    char *scratch; /* owned */
    struct rng rng;
    int64_t start_us, measure_us, end_us, now_us;
    int64_t issued, in_flight, ok, measured_ok;
    int64_t failures[FAILURES], statuses[600];
    int64_t aborted_before, aborted_mid, connects, bytes_in, chunks;
    struct load_histogram latency, ttft, delay;
};

/* ---- requests ---- */

static size_t body_text(const struct options *o, char *out, size_t cap, size_t pad,
                        size_t *serial_at)
{
    int n = snprintf(
        out, cap,
        "{\"model\":\"%s\",%s%s\"messages\":[{\"role\":\"system\",\"content\":\"You are a helpful "
        "assistant.\"},{\"role\":\"user\",\"content\":\"",
        o->model, o->stream ? "\"stream\":true," : "",
        o->stream && o->include_usage ? "\"stream_options\":{\"include_usage\":true}," : "");
    *serial_at = (size_t)n;
    n += snprintf(out + n, cap - (size_t)n, "%0*d ", SERIAL_DIGITS, 0);
    for (size_t i = 0; i < pad; i++)
        out[n++] = i % 6 == 5 ? ' ' : (char)('a' + i % 26);
    n += snprintf(out + n, cap - (size_t)n, "\"}],\"temperature\":0.7}");
    return (size_t)n;
}

static void make_request(struct load *l)
{
    const struct options *o = &l->o;
    size_t cap = (size_t)o->body_bytes + 4096, at;
    char *body = mem_alloc(cap);
    size_t bare = body_text(o, body, cap, 0, &at);
    size_t n = body_text(o, body, cap,
                         (size_t)o->body_bytes > bare ? (size_t)o->body_bytes - bare : 0, &at);
    l->request = mem_alloc(n + 4096);
    int head = snprintf(
        l->request, 4096,
        "POST %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: weir-load\r\nAccept: */*\r\nContent-Type: "
        "application/json\r\n%s%s%s%sContent-Length: %zu\r\n\r\n",
        o->path, o->host, o->api_key ? "Authorization: Bearer " : "", o->api_key ? o->api_key : "",
        o->api_key ? "\r\n" : "", o->extra, n);
    memcpy(l->request + head, body, n);
    l->request_n = (size_t)head + n;
    l->serial_at = (size_t)head + at;
    free(body);
}

static void number_request(struct load *l, struct client *c)
{
    int64_t serial = l->issued;
    if (!l->o.unique)
        return;
    for (int i = SERIAL_DIGITS - 1; i >= 0; i--, serial /= 10)
        c->request[l->serial_at + (size_t)i] = (char)('0' + serial % 10);
}

/* ---- connections ---- */

static void watch(struct load *l, struct client *c, bool writing)
{
    if (c->want_write == writing)
        return;
    c->want_write = writing;
    struct epoll_event ev = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &ev);
}

static void dial(struct load *l, struct client *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        fprintf(stderr, "weir-load: socket: %s\n", strerror(errno));
        exit(1);
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->state = STATE_CONNECTING;
    c->want_write = true;
    l->connects++;
    connect(c->fd, (const struct sockaddr *)&l->o.target, sizeof l->o.target);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev);
}

static void hang_up(struct load *l, struct client *c)
{
    (void)l;
    close(c->fd);
    c->fd = -1;
    list_remove(&c->link);
}

static void go_idle(struct load *l, struct client *c)
{
    c->state = STATE_IDLE;
    watch(l, c, false);
    list_remove(&c->link);
    list_push_back(&l->idle, &c->link);
}

/* ---- one request ---- */

static bool measuring(const struct load *l, const struct client *c)
{
    return c->due_us >= l->measure_us;
}

static void request_over(struct load *l, struct client *c, bool again)
{
    l->in_flight--;
    c->leaving = LEAVE_NOT;
    list_remove(&c->link);
    if (again && c->keep_alive) {
        go_idle(l, c);
        return;
    }
    hang_up(l, c);
    dial(l, c);
}

static void failed(struct load *l, struct client *c, enum failure f)
{
    l->failures[f]++;
    request_over(l, c, false);
}

static void left(struct load *l, struct client *c)
{
    if (c->leaving == LEAVE_BEFORE)
        l->aborted_before++;
    else
        l->aborted_mid++;
    request_over(l, c, false);
}

static void succeeded(struct load *l, struct client *c)
{
    bool bad_status = c->status != 200;
    l->statuses[c->status < 600 ? c->status : 0]++;
    if (bad_status)
        l->failures[FAIL_STATUS]++;
    else if (c->error_seen)
        l->failures[FAIL_ERROR_EVENT]++;
    else if (c->sse && !c->done_seen)
        l->failures[FAIL_NO_DONE]++;
    else if (c->sse && l->o.expect_chunks && c->chunks != l->o.expect_chunks)
        l->failures[FAIL_CHUNKS]++;
    else {
        l->ok++;
        if (measuring(l, c)) {
            l->measured_ok++;
            load_histogram_add(&l->latency, l->now_us - c->due_us);
        }
    }
    request_over(l, c, true);
}

static void send_more(struct load *l, struct client *c)
{
    while (c->sent < l->request_n) {
        ssize_t n = send(c->fd, c->request + c->sent, l->request_n - c->sent, MSG_NOSIGNAL);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            watch(l, c, true);
            return;
        }
        if (n < 0) {
            failed(l, c, FAIL_RESET);
            return;
        }
        c->sent += (size_t)n;
    }
    c->state = STATE_HEAD;
    watch(l, c, false);
}

static void begin(struct load *l, struct client *c, int64_t due_us)
{
    double dice = rng_unit(&l->rng);
    list_remove(&c->link);
    number_request(l, c);
    l->issued++;
    l->in_flight++;
    c->state = STATE_SENDING;
    c->due_us = due_us;
    c->sent = c->head_n = c->scanned = c->line_n = 0;
    c->chunks = 0;
    c->done_seen = c->error_seen = false;
    c->leaving = dice < l->o.abort_before                    ? LEAVE_BEFORE
                 : dice < l->o.abort_before + l->o.abort_mid ? LEAVE_MID
                                                             : LEAVE_NOT;
    if (c->leaving == LEAVE_BEFORE) {
        c->leave_us = l->now_us + l->o.abort_after_ms * 1000;
        list_push_back(&l->leaving, &c->link);
    }
    send_more(l, c);
}

/* ---- replies ---- */

/* One whole SSE line, cut to LINE_BYTES. */
static void read_line(struct load *l, struct client *c)
{
    struct slice line = {c->line, c->line_n};
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    if (!slice_starts(line, SLICE("data:")))
        return;
    line = slice_trim(slice_from(line, 5));
    if (slice_eq(line, SLICE("[DONE]"))) {
        c->done_seen = true;
        return;
    }
    if (slice_starts(line, SLICE("{\"error\"")))
        c->error_seen = true;
    const char *at = memmem(line.p, line.n, "@t=", 3);
    if (!at)
        return;
    int64_t stamp_us = 0;
    for (at += 3; at < line.p + line.n && *at >= '0' && *at <= '9'; at++)
        stamp_us = stamp_us * 10 + (*at - '0');
    c->chunks++;
    l->chunks++;
    if (stamp_us && measuring(l, c))
        load_histogram_add(&l->delay, l->now_us - stamp_us);
}

static void read_sse(struct load *l, struct client *c, struct slice data)
{
    while (data.n) {
        const char *eol = memchr(data.p, '\n', data.n);
        size_t n = eol ? (size_t)(eol - data.p) : data.n, room = LINE_BYTES - c->line_n;
        size_t take = n < room ? n : room;
        memcpy(c->line + c->line_n, data.p, take);
        c->line_n += take;
        if (eol) {
            read_line(l, c);
            c->line_n = 0;
        }
        data = slice_from(data, n + (eol ? 1 : 0));
    }
}

/* false: the request is over (and c may be dialling again). */
static bool read_body(struct load *l, struct client *c, struct slice in)
{
    bool whole = false;
    while (in.n && !whole) {
        struct slice data = in;
        size_t used = in.n;
        enum http1_parse p = HTTP1_MORE;
        if (c->body == HTTP1_BODY_CHUNKED) {
            p = http1_chunked_feed(&c->chunked, in, &used, &data);
        } else if (c->body == HTTP1_BODY_LENGTH) {
            data.n = used = in.n < c->left ? in.n : (size_t)c->left;
            c->left -= used;
            p = c->left ? HTTP1_MORE : HTTP1_DONE;
        }
        if (p == HTTP1_BAD) {
            failed(l, c, FAIL_MALFORMED);
            return false;
        }
        if (c->sse)
            read_sse(l, c, data);
        whole = p == HTTP1_DONE;
        in = slice_from(in, used);
    }
    if (c->leaving == LEAVE_BEFORE ||
        (c->leaving == LEAVE_MID && (!c->sse || c->chunks >= l->o.abort_chunks))) {
        left(l, c);
        return false;
    }
    if (whole)
        succeeded(l, c);
    return !whole;
}

static bool read_head(struct load *l, struct client *c, struct slice in)
{
    struct http1_head head;
    const char *why;
    size_t before = c->head_n, take = in.n < HEAD_BYTES - before ? in.n : HEAD_BYTES - before;
    memcpy(c->head + before, in.p, take);
    c->head_n += take;
    enum http1_parse p =
        http1_parse_response(slice_make(c->head, c->head_n), &c->scanned, false, &head, &why);
    if (p == HTTP1_MORE && c->head_n < HEAD_BYTES)
        return true;
    if (p != HTTP1_DONE) {
        failed(l, c, FAIL_MALFORMED);
        return false;
    }
    const struct http1_header *type = http1_find(&head, SLICE("content-type"));
    c->state = STATE_BODY;
    c->status = head.status;
    c->body = head.body;
    c->left = head.content_length;
    c->keep_alive = head.keep_alive && head.body != HTTP1_BODY_UNTIL_CLOSE;
    c->sse = type && slice_starts(type->value, SLICE("text/event-stream"));
    http1_chunked_init(&c->chunked);
    if (measuring(l, c))
        load_histogram_add(&l->ttft, l->now_us - c->due_us);
    struct slice rest = slice_from(in, head.head_bytes - before);
    if (!rest.n && (c->body == HTTP1_BODY_NONE || (c->body == HTTP1_BODY_LENGTH && !c->left))) {
        succeeded(l, c);
        return false;
    }
    return rest.n ? read_body(l, c, rest) : true;
}

static void closed_by_peer(struct load *l, struct client *c)
{
    if (c->state == STATE_CONNECTING) {
        l->failures[FAIL_CONNECT]++;
        hang_up(l, c);
        usleep(1000); /* a target that refuses connections must not make this spin */
        dial(l, c);
    } else if (c->state == STATE_IDLE) {
        hang_up(l, c);
        dial(l, c);
    } else if (c->state == STATE_BODY && c->body == HTTP1_BODY_UNTIL_CLOSE) {
        succeeded(l, c);
    } else {
        failed(l, c, c->state == STATE_BODY ? FAIL_CUT : FAIL_RESET);
    }
}

static void read_more(struct load *l, struct client *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, l->scratch, SCRATCH_BYTES, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            closed_by_peer(l, c);
            return;
        }
        l->now_us = clock_mono_us();
        l->bytes_in += n;
        struct slice in = {l->scratch, (size_t)n};
        bool more = c->state == STATE_BODY   ? read_body(l, c, in)
                    : c->state == STATE_IDLE ? false
                                             : read_head(l, c, in);
        if (!more || n < SCRATCH_BYTES)
            return;
    }
}

static void on_event(struct load *l, struct client *c, uint32_t events)
{
    if (c->state == STATE_CONNECTING) {
        int e = 0;
        socklen_t n = sizeof e;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &n);
        if (e || (events & EPOLLHUP))
            closed_by_peer(l, c);
        else
            go_idle(l, c);
        return;
    }
    if ((events & EPOLLOUT) && c->state == STATE_SENDING)
        send_more(l, c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        read_more(l, c);
}

/* ---- the loop ---- */

static bool may_issue(const struct load *l)
{
    return l->now_us < l->end_us && (!l->o.requests || l->issued < l->o.requests);
}

/* When the next request is due: now in a closed loop, by the clock in an open one. */
static int64_t next_due_us(const struct load *l)
{
    if (l->o.rate <= 0)
        return l->now_us;
    return l->start_us + (int64_t)((double)l->issued * 1e6 / l->o.rate);
}

static void issue(struct load *l)
{
    LIST_FOREACH_SAFE (it, &l->idle) {
        struct client *c = CONTAINER_OF(it, struct client, link);
        int64_t due = next_due_us(l),
                begins = (c - l->clients) * l->o.stagger_ms * 1000 / l->o.connections;
        if (!may_issue(l) || due > l->now_us)
            return;
        if (!c->late && l->now_us < l->start_us + begins)
            continue;
        c->late = true;
        begin(l, c, due);
    }
}

static void leave_due(struct load *l)
{
    while (!list_empty(&l->leaving)) {
        struct client *c = CONTAINER_OF(l->leaving.next, struct client, link);
        if (c->leave_us > l->now_us)
            return;
        left(l, c);
    }
}

static void check_timeouts(struct load *l)
{
    for (int i = 0; i < l->o.connections; i++) {
        struct client *c = &l->clients[i];
        if (c->state >= STATE_SENDING && l->now_us - c->due_us > l->o.timeout_ms * 1000)
            failed(l, c, FAIL_TIMEOUT);
    }
}

static struct timespec sleep_for(const struct load *l)
{
    int64_t us = 100000; /* also how often time-outs are looked at */
    if (may_issue(l) && !list_empty(&l->idle)) {
        int64_t due = l->o.rate > 0 ? next_due_us(l) - l->now_us : 1000;
        us = due < us ? due : us;
    }
    if (!list_empty(&l->leaving)) {
        int64_t leave = CONTAINER_OF(l->leaving.next, struct client, link)->leave_us - l->now_us;
        us = leave < us ? leave : us;
    }
    us = us > 0 ? us : 0;
    return (struct timespec){us / 1000000, us % 1000000 * 1000};
}

static void run(struct load *l)
{
    struct epoll_event events[EVENTS_MAX];
    int64_t checked_us = 0;
    l->start_us = l->now_us = clock_mono_us();
    l->measure_us = l->start_us + (int64_t)(l->o.warmup_s * 1e6);
    l->end_us = l->measure_us + (int64_t)(l->o.duration_s * 1e6);
    for (int i = 0; i < l->o.connections; i++)
        dial(l, &l->clients[i]);
    for (;;) {
        l->now_us = clock_mono_us();
        issue(l);
        leave_due(l);
        if (!may_issue(l) && (!l->in_flight || l->now_us > l->end_us + DRAIN_US))
            break;
        if (l->now_us - checked_us > 100000) {
            check_timeouts(l);
            checked_us = l->now_us;
        }
        struct timespec wait = sleep_for(l);
        int n = epoll_pwait2(l->epoll, events, EVENTS_MAX, &wait, NULL);
        for (int i = 0; i < n; i++)
            on_event(l, events[i].data.ptr, events[i].events);
    }
    l->failures[FAIL_UNFINISHED] = l->in_flight;
}

/* ---- report ---- */

static void print_histogram(const char *name, const struct load_histogram *h)
{
    printf(",\"%s\":{\"count\":%llu,\"mean\":%.1f,\"p50\":%lld,\"p90\":%lld,\"p99\":%lld,\"p999\":%"
           "lld,\"max\":%lld}",
           name, (unsigned long long)h->count,
           h->count ? (double)h->sum_us / (double)h->count : 0.0,
           (long long)load_histogram_quantile_us(h, 0.5),
           (long long)load_histogram_quantile_us(h, 0.9),
           (long long)load_histogram_quantile_us(h, 0.99),
           (long long)load_histogram_quantile_us(h, 0.999), (long long)h->max_us);
}

static int64_t report(const struct load *l)
{
    int64_t errors = 0,
            measured_us = (l->now_us < l->end_us ? l->now_us : l->end_us) - l->measure_us;
    for (int i = 0; i < FAILURES; i++)
        errors += l->failures[i];
    double seconds = (double)(measured_us > 0 ? measured_us : 1) / 1e6;
    printf("{\"requests\":%lld,\"ok\":%lld,\"errors\":%lld,\"seconds\":%.3f,\"req_per_s\":%.1f,"
           "\"connects\":%lld",
           (long long)l->issued, (long long)l->ok, (long long)errors, seconds,
           (double)l->measured_ok / seconds, (long long)l->connects);
    printf(",\"bytes_in\":%lld,\"request_bytes\":%zu,\"aborted_before\":%lld,\"aborted_mid\":%lld,"
           "\"errors_by_kind\":{",
           (long long)l->bytes_in, l->request_n, (long long)l->aborted_before,
           (long long)l->aborted_mid);
    for (int i = 0; i < FAILURES; i++)
        printf("%s\"%s\":%lld", i ? "," : "", failure_names[i], (long long)l->failures[i]);
    printf("},\"statuses\":{");
    for (int i = 0, n = 0; i < 600; i++)
        if (l->statuses[i])
            printf("%s\"%d\":%lld", n++ ? "," : "", i, (long long)l->statuses[i]);
    printf("}");
    print_histogram("latency_us", &l->latency);
    if (l->o.stream) {
        printf(",\"chunks\":%lld", (long long)l->chunks);
        print_histogram("ttft_us", &l->ttft);
        print_histogram("chunk_delay_us", &l->delay);
    }
    printf("}\n");
    return errors;
}

static int compare_i64(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A fixed loop of dependent integer steps: its time is the host's speed and nothing else. */
static int calibrate(void)
{
    enum { ROUNDS = 4000, STEPS = 6000 };
    int64_t *ns = mem_zalloc(ROUNDS, sizeof *ns);
    volatile uint64_t sink = 0;
    for (int r = 0; r < ROUNDS; r++) {
        struct timespec a, b;
        uint64_t x = 88172645463325252u + (uint64_t)r;
        clock_gettime(CLOCK_MONOTONIC, &a);
        for (int i = 0; i < STEPS; i++) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        clock_gettime(CLOCK_MONOTONIC, &b);
        sink = sink + x;
        ns[r] = (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec;
    }
    qsort(ns, ROUNDS, sizeof *ns, compare_i64);
    printf("{\"loop_us\":%.2f,\"min_us\":%.2f,\"p90_us\":%.2f,\"rounds\":%d,\"steps\":%d}\n",
           (double)ns[ROUNDS / 2] / 1e3, (double)ns[0] / 1e3, (double)ns[ROUNDS * 9 / 10] / 1e3,
           ROUNDS, STEPS);
    free(ns);
    return 0;
}

/* ---- argv ---- */

static const char usage_text[] =
    "weir-load: load on a gateway of this machine; prints a JSON report\n"
    "usage: weir-load --url http://127.0.0.1:PORT/v1/chat/completions [options]\n"
    "       weir-load calibrate\n"
    "\n"
    "  --connections C      connections, and requests under way at most (default 32)\n"
    "  --rate R             open loop, R requests per second (default: closed loop)\n"
    "  --duration-s D       measured time (default 5, or what --requests take)\n"
    "  --warmup-s W         before it (default 0)\n"
    "  --requests N         stop after N requests\n"
    "  --body-bytes N       size of the chat request (default 1016)\n"
    "  --model NAME         (default echo);  --api-key KEY;  --unique  a number in every prompt\n"
    "  --header 'N: V'      a further request header; may be repeated\n"
    "  --stream             ask for a stream;  --include-usage  and for its usage\n"
    "  --expect-chunks N    stamped chunks in a complete stream (default 64; 0 = not checked)\n"
    "  --stagger-ms MS      spread the first requests of the connections over this time\n"
    "  --abort-before P     share of clients that leave before the first byte, --abort-after-ms "
    "(default 20) after sending\n"
    "  --abort-mid P        share that leaves in mid-answer, after --abort-chunks (default 5) of a "
    "stream\n"
    "  --timeout-ms MS      (default 30000)\n";

enum option_id {
    OPT_URL = 1,
    OPT_CONNECTIONS,
    OPT_RATE,
    OPT_DURATION,
    OPT_WARMUP,
    OPT_REQUESTS,
    OPT_BODY,
    OPT_MODEL,
    OPT_KEY,
    OPT_HEADER,
    OPT_UNIQUE,
    OPT_STREAM,
    OPT_USAGE,
    OPT_CHUNKS,
    OPT_STAGGER,
    OPT_ABORT_BEFORE,
    OPT_ABORT_AFTER,
    OPT_ABORT_MID,
    OPT_ABORT_CHUNKS,
    OPT_TIMEOUT,
    OPT_HELP,
};

static const struct option longs[] = {
    {"url", 1, NULL, OPT_URL},
    {"connections", 1, NULL, OPT_CONNECTIONS},
    {"rate", 1, NULL, OPT_RATE},
    {"duration-s", 1, NULL, OPT_DURATION},
    {"warmup-s", 1, NULL, OPT_WARMUP},
    {"requests", 1, NULL, OPT_REQUESTS},
    {"body-bytes", 1, NULL, OPT_BODY},
    {"model", 1, NULL, OPT_MODEL},
    {"api-key", 1, NULL, OPT_KEY},
    {"header", 1, NULL, OPT_HEADER},
    {"unique", 0, NULL, OPT_UNIQUE},
    {"stream", 0, NULL, OPT_STREAM},
    {"include-usage", 0, NULL, OPT_USAGE},
    {"expect-chunks", 1, NULL, OPT_CHUNKS},
    {"stagger-ms", 1, NULL, OPT_STAGGER},
    {"abort-before", 1, NULL, OPT_ABORT_BEFORE},
    {"abort-after-ms", 1, NULL, OPT_ABORT_AFTER},
    {"abort-mid", 1, NULL, OPT_ABORT_MID},
    {"abort-chunks", 1, NULL, OPT_ABORT_CHUNKS},
    {"timeout-ms", 1, NULL, OPT_TIMEOUT},
    {"help", 0, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* http://127.x.y.z:port/path (or localhost). Anything else is refused. */
static bool parse_url(struct options *o, const char *url)
{
    char host[64];
    unsigned port;
    int used = 0;
    if (sscanf(url, "http://%40[^:/]:%u%n", host, &port, &used) != 2 || port == 0 || port > 65535 ||
        url[used] != '/')
        return false;
    const char *address = strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    o->target = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, address, &o->target.sin_addr) != 1 ||
        (ntohl(o->target.sin_addr.s_addr) >> 24) != 127)
        return false;
    snprintf(o->host, sizeof o->host, "%s:%u", host, port);
    o->path = url + used;
    return true;
}

static bool real(const char *s, double max, double *out)
{
    char *end;
    *out = strtod(s, &end);
    return *s && !*end && *out >= 0 && *out <= max;
}

static bool whole(const char *s, int64_t max, int64_t *out)
{
    char *end;
    *out = strtoll(s, &end, 10);
    return *s && !*end && *out >= 0 && *out <= max;
}

static bool add_header(struct options *o, const char *line)
{
    size_t n = strlen(o->extra), more = strlen(line);
    if (!strchr(line, ':') || strpbrk(line, "\r\n") || n + more + sizeof "\r\n" > sizeof o->extra)
        return false;
    snprintf(o->extra + n, sizeof o->extra - n, "%s\r\n", line);
    return true;
}

static bool option(struct options *o, int id, const char *arg)
{
    int64_t n;
    switch ((enum option_id)id) {
    case OPT_URL:
        return parse_url(o, arg);
    case OPT_CONNECTIONS:
        if (!whole(arg, 20000, &n) || n < 1)
            return false;
        o->connections = (int)n;
        return true;
    case OPT_RATE:
        return real(arg, 1e6, &o->rate);
    case OPT_DURATION:
        return real(arg, LONGEST_S, &o->duration_s);
    case OPT_WARMUP:
        return real(arg, 600, &o->warmup_s);
    case OPT_REQUESTS:
        return whole(arg, INT64_C(1000000000), &o->requests);
    case OPT_BODY:
        return whole(arg, 64 << 20, &o->body_bytes);
    case OPT_MODEL:
        o->model = arg;
        return strlen(arg) < 256;
    case OPT_KEY:
        o->api_key = arg;
        return strlen(arg) < 1024;
    case OPT_HEADER:
        return add_header(o, arg);
    case OPT_UNIQUE:
        o->unique = true;
        return true;
    case OPT_STREAM:
        o->stream = true;
        return true;
    case OPT_USAGE:
        o->include_usage = true;
        return true;
    case OPT_CHUNKS:
        return whole(arg, 1000000, &o->expect_chunks);
    case OPT_STAGGER:
        return whole(arg, 600000, &o->stagger_ms);
    case OPT_ABORT_BEFORE:
        return real(arg, 1, &o->abort_before);
    case OPT_ABORT_AFTER:
        return whole(arg, 60000, &o->abort_after_ms);
    case OPT_ABORT_MID:
        return real(arg, 1, &o->abort_mid);
    case OPT_ABORT_CHUNKS:
        return whole(arg, 1000000, &o->abort_chunks);
    case OPT_TIMEOUT:
        return whole(arg, 3600000, &o->timeout_ms);
    case OPT_HELP:
        break;
    }
    return false;
}

static void clients_init(struct load *l)
{
    l->clients = mem_zalloc((size_t)l->o.connections, sizeof *l->clients);
    for (int i = 0; i < l->o.connections; i++) {
        struct client *c = &l->clients[i];
        list_init(&c->link);
        c->head = mem_alloc(HEAD_BYTES);
        c->line = mem_alloc(LINE_BYTES);
        c->request = l->o.unique ? mem_strdup(slice_make(l->request, l->request_n)) : l->request;
    }
}

static void load_clear(struct load *l)
{
    for (int i = 0; i < l->o.connections; i++) {
        struct client *c = &l->clients[i];
        close(c->fd);
        free(c->head);
        free(c->line);
        if (l->o.unique)
            free(c->request);
    }
    free(l->clients);
    free(l->request);
    free(l->scratch);
    close(l->epoll);
}

int main(int argc, char **argv)
{
    struct load l = {.o = {.connections = 32,
                           .duration_s = -1, /* not said */
                           .body_bytes = 1016,
                           .model = "echo",
                           .expect_chunks = 64,
                           .abort_after_ms = 20,
                           .abort_chunks = 5,
                           .timeout_ms = 30000}};
    struct rlimit r;
    int id;
    if (argc == 2 && strcmp(argv[1], "calibrate") == 0)
        return calibrate();
    while ((id = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (id == OPT_HELP)
            return fputs(usage_text, stdout) < 0;
        if (id == '?' || !option(&l.o, id, optarg)) {
            fprintf(stderr, "weir-load: bad option or value (see --help); targets must be "
                            "http://127.x.y.z:port/path\n");
            return 2;
        }
    }
    if (!l.o.path || optind < argc) {
        fputs(usage_text, stderr);
        return 2;
    }
    if (l.o.duration_s < 0)
        l.o.duration_s = l.o.requests ? LONGEST_S : 5;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    signal(SIGPIPE, SIG_IGN);
    rng_seed(&l.rng, 1);
    list_init(&l.idle);
    list_init(&l.leaving);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.scratch = mem_alloc(SCRATCH_BYTES);
    make_request(&l);
    clients_init(&l);
    run(&l);
    int64_t errors = report(&l);
    load_clear(&l);
    return errors ? 1 : 0;
}

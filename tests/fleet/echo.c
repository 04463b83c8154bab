/* See echo.h. All streams have the same interval, so the queue of streams that wait for their next
 * chunk is ordered by time without sorting: whoever has sent goes to its end. GET /fleet/stats
 * reports counts; any other GET a one-model list.
 *
 * The stamp travels inside the content, where any gateway that forwards the text at all must leave
 * it. Replies go out with one send each; a peer that does not read is waited for with EPOLLOUT.
 * Called by main with --echo. */
#include "tests/fleet/echo.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/http1.h"
#include "base/list.h"
#include "base/mem.h"
#include "tests/fleet/link.h"
#include "tests/fleet/text.h"

#define CHUNKS         64
#define EVENTS_MAX     256
#define IN_FIRST_BYTES 4096
#define IN_MAX_BYTES   (64u << 20)
#define SEARCH_BYTES   2048 /* "stream":true is looked for this far from both ends of a body */
#define STAMP_DIGITS   16
#define OUT_BYTES      32768 /* holds a whole stream */

static const char body_text[] = "{\"id\":\"chatcmpl-echo00000000000000000001\",\"object\":\"chat."
                                "completion\",\"created\":1735689600,\"model\":\"echo\","
                                "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
                                "\"content\":\"%s\",\"refusal\":null},\"logprobs\":null,"
                                "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":256,"
                                "\"completion_tokens\":64,\"total_tokens\":320,"
                                "\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_"
                                "tokens_details\":{\"reasoning_tokens\":0}},"
                                "\"system_fingerprint\":\"fp_echo\"}";
#define BODY_BYTES 611

struct echo {
    const struct echo_options *o;
    int epoll, signals;
    struct list conns;   /* every open connection */
    struct list waiting; /* streams between chunks, soonest first */
    char *whole;         /* owned: head and body */
    size_t whole_bytes;
    char *chunk; /* owned: HTTP chunk with one event */
    size_t chunk_bytes, stamp_at;
    char *last_chunk;                             /* owned: the same with a finish reason */
    char *stream_head, *usage_event, *stream_end; /* owned */
    int64_t requests, streams, streams_done, aborted, opened, open;
    bool stop;
};

struct echo_conn {
    struct list link;   /* in waiting, or alone */
    struct list of_all; /* in conns */
    struct link sock;
    char *in;                  /* owned */
    size_t in_cap, in_n, need; /* need: bytes of the whole request, 0 = not known yet */
    size_t scanned, head_bytes;
    bool chunked, streaming, want_usage, want_write;
    struct http1_chunked decoder;
    size_t decoded_to;
    int chunks_sent;
    int64_t due_us;
    char *out; /* owned, streams and slow peers only */
    size_t out_n, out_sent;
};

/* ---- the fixed texts ---- */

static char *filled(const char *format, size_t bytes)
{
    size_t fixed = strlen(format) - 2, fill = bytes > fixed ? bytes - fixed : 0;
    char *pad = mem_zalloc(fill + 1, 1), *out = mem_zalloc(fixed + fill + 1, 1);
    memset(pad, 'e', fill);
    const char *at = strstr(format, "%s");
    size_t before = (size_t)(at - format);
    memcpy(out, format, before);
    memcpy(out + before, pad, fill);
    memcpy(out + before + fill, at + 2, fixed - before);
    free(pad);
    return out;
}

static char *http_chunk(struct slice payload)
{
    char size[24];
    size_t n = http1_chunk_header(payload.n, size);
    char *out = mem_zalloc(n + payload.n + 3, 1);
    memcpy(out, size, n);
    memcpy(out + n, payload.p, payload.n);
    memcpy(out + n + payload.n, "\r\n", 2);
    return out;
}

static char *event_chunk(const char *choices, const char *usage)
{
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_ADD(
        &b,
        "data: "
        "{\"id\":\"chatcmpl-echo00000000000000000001\",\"object\":\"chat.completion.chunk\","
        "\"created\":"
        "1735689600,\"model\":\"echo\",\"system_fingerprint\":\"fp_echo\",\"choices\":[%s]%s}\n\n",
        choices, usage);
    char *chunk = http_chunk(buf_slice(&b));
    buf_clear(&b);
    return chunk;
}

static void make_texts(struct echo *e)
{
    struct buf b;
    char *body = filled(body_text, BODY_BYTES);
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_ADD(&b,
             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    e->whole_bytes = buf_len(&b);
    e->whole = mem_strdup(buf_slice(&b));
    free(body);
    buf_clear(&b);
#define CONTENT "@t=0000000000000000 the quick brown fox jumps"
    e->chunk = event_chunk("{\"index\":0,\"delta\":{\"content\":\"" CONTENT
                           "\"},\"logprobs\":null,\"finish_reason\":null}",
                           "");
    e->last_chunk = event_chunk("{\"index\":0,\"delta\":{\"content\":\"" CONTENT
                                "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}",
                                "");
    e->chunk_bytes = strlen(e->chunk);
    e->stamp_at = (size_t)(strstr(e->chunk, "@t=") + 3 - e->chunk);
    e->stream_head = mem_strdup(SLICE("HTTP/1.1 200 OK\r\nContent-Type: "
                                      "text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"));
    e->usage_event = event_chunk(
        "", ",\"usage\":{\"prompt_tokens\":256,\"completion_tokens\":64,\"total_tokens\":320}");
    char *done = http_chunk(SLICE("data: [DONE]\n\n"));
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_ADD(&b, "%s0\r\n\r\n", done);
    e->stream_end = mem_strdup(buf_slice(&b));
    free(done);
    buf_clear(&b);
}

static void free_texts(struct echo *e)
{
    free(e->whole);
    free(e->chunk);
    free(e->last_chunk);
    free(e->stream_head);
    free(e->usage_event);
    free(e->stream_end);
}

/* ---- connections ---- */

static void watch(struct echo *e, struct echo_conn *c, bool writing)
{
    if (c->want_write == writing)
        return;
    c->want_write = writing;
    struct epoll_event ev = {.events = EPOLLIN | (writing ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(e->epoll, EPOLL_CTL_MOD, c->sock.fd, &ev);
}

static void conn_open(struct echo *e, int fd)
{
    struct echo_conn *c = mem_zalloc(1, sizeof *c);
    list_init(&c->link);
    list_push_back(&e->conns, &c->of_all);
    link_init(&c->sock, fd, e->o->tls);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(e->epoll, EPOLL_CTL_ADD, fd, &ev);
    e->opened++;
    e->open++;
}

static void conn_free(struct echo *e, struct echo_conn *c)
{
    e->aborted += c->streaming || c->out_n > c->out_sent;
    e->open--;
    list_remove(&c->link);
    list_remove(&c->of_all);
    link_close(&c->sock, false);
    free(c->in);
    free(c->out);
    free(c);
}

/* Sends what is queued. false: the peer is gone. */
static bool flush(struct echo *e, struct echo_conn *c)
{
    while (c->out_sent < c->out_n) {
        ssize_t n = link_send(&c->sock, c->out + c->out_sent, c->out_n - c->out_sent);
        if (n == LINK_AGAIN) {
            watch(e, c, true);
            return true;
        }
        if (n <= 0)
            return false;
        c->out_sent += (size_t)n;
    }
    c->out_n = c->out_sent = 0;
    watch(e, c, false);
    return true;
}

static void queue(struct echo_conn *c, const char *p, size_t n)
{
    if (!c->out)
        c->out = mem_alloc(OUT_BYTES);
    if (c->out_n + n > OUT_BYTES)
        return; /* cannot be: one stream fits, and the next request waits for it */
    memcpy(c->out + c->out_n, p, n);
    c->out_n += n;
}

/* The usual case: nothing queued and the socket takes it whole. */
static bool send_whole(struct echo *e, struct echo_conn *c, const char *p, size_t n)
{
    ssize_t sent = c->out_n ? 0 : link_send(&c->sock, p, n);
    if (sent == (ssize_t)n)
        return true;
    if (sent == LINK_ERROR)
        return false;
    sent = sent < 0 ? 0 : sent;
    queue(c, p + sent, n - (size_t)sent);
    return flush(e, c);
}

static void stamp(char *digits, int64_t us)
{
    for (int i = STAMP_DIGITS - 1; i >= 0; i--, us /= 10)
        digits[i] = (char)('0' + us % 10);
}

/* Queues chunks as they are due: all of them without an interval, else one. true: the stream is
 * complete. */
static bool queue_chunks(struct echo *e, struct echo_conn *c)
{
    do {
        char *from = ++c->chunks_sent == CHUNKS ? e->last_chunk : e->chunk;
        if (e->o->stamp)
            stamp(from +
                      (from == e->chunk ? e->stamp_at : (size_t)(strstr(from, "@t=") + 3 - from)),
                  clock_mono_us());
        queue(c, from, from == e->chunk ? e->chunk_bytes : strlen(from));
    } while (c->chunks_sent < CHUNKS && e->o->chunk_interval_us == 0);
    if (c->chunks_sent < CHUNKS)
        return false;
    if (c->want_usage)
        queue(c, e->usage_event, strlen(e->usage_event));
    queue(c, e->stream_end, strlen(e->stream_end));
    return true;
}

/* false: the peer is gone. */
static bool stream_turn(struct echo *e, struct echo_conn *c)
{
    bool done = queue_chunks(e, c);
    list_remove(&c->link);
    if (!flush(e, c))
        return false;
    if (done) {
        c->streaming = false;
        e->streams_done++;
        return true;
    }
    c->due_us += e->o->chunk_interval_us;
    list_push_back(&e->waiting, &c->link);
    return true;
}

static bool start_stream(struct echo *e, struct echo_conn *c)
{
    e->streams++;
    c->streaming = true;
    c->chunks_sent = 0;
    c->due_us = clock_mono_us();
    queue(c, e->stream_head, strlen(e->stream_head));
    return stream_turn(e, c);
}

/* ---- requests ---- */

static bool has(struct slice s, struct slice needle)
{
    return memmem(s.p, s.n, needle.p, needle.n) != NULL;
}

/* Both usual spellings, near one of the ends: clients and gateways put it first or last. */
static bool asks(struct slice body, struct slice tight, struct slice spaced)
{
    struct slice front = {body.p, body.n < SEARCH_BYTES ? body.n : SEARCH_BYTES};
    struct slice back =
        slice_from(body, body.n > 2 * SEARCH_BYTES ? body.n - SEARCH_BYTES : front.n);
    return has(front, tight) || has(front, spaced) || has(back, tight) || has(back, spaced);
}

static bool answer_get(struct echo *e, struct echo_conn *c, struct slice request)
{
    char reply[1024], body[512];
    if (slice_starts(request, SLICE("GET /fleet/stats")))
        snprintf(body, sizeof body,
                 "{\"requests\":%lld,\"streams\":%lld,\"streams_done\":%lld,\"aborted\":%lld,"
                 "\"connections_opened\":%lld,"
                 "\"connections_open\":%lld}",
                 (long long)e->requests, (long long)e->streams, (long long)e->streams_done,
                 (long long)e->aborted, (long long)e->opened, (long long)e->open);
    else
        snprintf(body, sizeof body,
                 "{\"object\":\"list\",\"data\":[{\"id\":\"echo\",\"object\":\"model\",\"created\":"
                 "1735689600,\"owned_by\":\"weir-fleet\"}]}");
    int n = snprintf(
        reply, sizeof reply,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        strlen(body), body);
    return send_whole(e, c, reply, (size_t)n);
}

static bool answer(struct echo *e, struct echo_conn *c, struct slice request, struct slice body)
{
    if (request.p[0] == 'G')
        return answer_get(e, c, request);
    e->requests++;
    if (!asks(body, SLICE("\"stream\":true"), SLICE("\"stream\": true")))
        return send_whole(e, c, e->whole, e->whole_bytes);
    c->want_usage = asks(body, SLICE("\"include_usage\":true"), SLICE("\"include_usage\": true"));
    return start_stream(e, c);
}

/* Finds the end of the first request in c->in. 1: complete (c->need bytes), 0: more, -1: malformed.
 */
static int delimit(struct echo_conn *c)
{
    if (!c->head_bytes) {
        struct http1_head head;
        enum err err;
        const char *why;
        enum http1_parse p =
            http1_parse_request(slice_make(c->in, c->in_n), &c->scanned, &head, &err, &why);
        if (p != HTTP1_DONE)
            return p == HTTP1_MORE ? 0 : -1;
        c->head_bytes = c->decoded_to = head.head_bytes;
        c->chunked = head.body == HTTP1_BODY_CHUNKED;
        c->need =
            head.head_bytes + (head.body == HTTP1_BODY_LENGTH ? (size_t)head.content_length : 0);
        http1_chunked_init(&c->decoder);
    }
    while (c->chunked) {
        struct slice data, in = {c->in + c->decoded_to, c->in_n - c->decoded_to};
        size_t used = 0;
        enum http1_parse p = in.n ? http1_chunked_feed(&c->decoder, in, &used, &data) : HTTP1_MORE;
        c->decoded_to += used;
        if (p == HTTP1_BAD)
            return -1;
        if (p == HTTP1_DONE) {
            c->need = c->decoded_to;
            return 1;
        }
        if (!used)
            return 0;
    }
    return c->need > IN_MAX_BYTES ? -1 : c->in_n >= c->need;
}

/* Answers every complete request that no stream stands before. false: close. */
static bool serve(struct echo *e, struct echo_conn *c)
{
    while (c->in_n && !c->streaming && !c->out_n) {
        int complete = delimit(c);
        if (complete <= 0)
            return complete == 0;
        size_t used = c->need;
        struct slice request = {c->in, c->head_bytes},
                     body = {c->in + c->head_bytes, used - c->head_bytes};
        c->head_bytes = c->need = c->scanned = 0;
        bool alive = answer(e, c, request, body);
        memmove(c->in, c->in + used, c->in_n - used);
        c->in_n -= used;
        if (!alive)
            return false;
    }
    return true;
}

static bool receive(struct echo_conn *c)
{
    for (;;) {
        if (c->in_n == c->in_cap) {
            if (c->in_cap >= IN_MAX_BYTES)
                return false;
            size_t cap = c->need > c->in_cap && c->need <= IN_MAX_BYTES ? c->need
                         : c->in_cap                                    ? 2 * c->in_cap
                                                                        : IN_FIRST_BYTES;
            c->in = mem_resize(c->in, cap, 1);
            c->in_cap = cap;
        }
        size_t room = c->in_cap - c->in_n;
        ssize_t n = link_recv(&c->sock, c->in + c->in_n, room);
        if (n == LINK_AGAIN)
            return true;
        if (n <= 0)
            return false;
        c->in_n += (size_t)n;
        if ((size_t)n < room && !c->sock.ssl)
            return true;
    }
}

static void on_event(struct echo *e, struct echo_conn *c, uint32_t events)
{
    bool alive = true;
    if (events & EPOLLOUT)
        alive = flush(e, c);
    if (alive && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        alive = receive(c);
    if (!alive || !serve(e, c))
        conn_free(e, c);
}

static void accept_all(struct echo *e, int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        conn_open(e, fd);
}

/* ---- the loop ---- */

static int64_t next_due_us(const struct echo *e)
{
    return list_empty(&e->waiting) ? -1
                                   : CONTAINER_OF(e->waiting.next, struct echo_conn, link)->due_us;
}

static void run_due(struct echo *e)
{
    int64_t now = list_empty(&e->waiting) ? 0 : clock_mono_us();
    while (!list_empty(&e->waiting) && next_due_us(e) <= now) {
        struct echo_conn *c = CONTAINER_OF(e->waiting.next, struct echo_conn, link);
        if (c->out_n) { /* the peer does not read: skip a beat instead of queueing */
            c->due_us = now + e->o->chunk_interval_us;
            list_remove(&c->link);
            list_push_back(&e->waiting, &c->link);
        } else if (!stream_turn(e, c) || !serve(e, c)) {
            conn_free(e, c);
        }
    }
}

static void loop(struct echo *e)
{
    struct epoll_event events[EVENTS_MAX];
    while (!e->stop) {
        struct timespec wait, *timeout = NULL;
        int64_t due = next_due_us(e);
        if (due >= 0) {
            int64_t left = due - clock_mono_us();
            left = left > 0 ? left : 0;
            wait = (struct timespec){left / 1000000, left % 1000000 * 1000};
            timeout = &wait;
        }
        int n = epoll_pwait2(e->epoll, events, EVENTS_MAX, timeout, NULL);
        for (int i = 0; i < n; i++) {
            uintptr_t tag = (uintptr_t)events[i].data.ptr;
            if (tag == (uintptr_t)&e->signals)
                e->stop = true;
            else if (tag >= (uintptr_t)e->o->listeners &&
                     tag < (uintptr_t)(e->o->listeners + e->o->listener_count))
                accept_all(e, *(const int *)events[i].data.ptr);
            else
                on_event(e, events[i].data.ptr, events[i].events);
        }
        run_due(e);
    }
}

int echo_run(const struct echo_options *o)
{
    struct echo e = {.o = o};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    e.signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    e.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (e.signals < 0 || e.epoll < 0)
        return errno;
    list_init(&e.conns);
    list_init(&e.waiting);
    make_texts(&e);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = &e.signals};
    epoll_ctl(e.epoll, EPOLL_CTL_ADD, e.signals, &ev);
    for (int i = 0; i < o->listener_count; i++) {
        union {
            const int *in;
            void *out; /* epoll's tag is not const; it is only compared and read */
        } tag = {.in = &o->listeners[i]};
        ev = (struct epoll_event){.events = EPOLLIN, .data.ptr = tag.out};
        epoll_ctl(e.epoll, EPOLL_CTL_ADD, o->listeners[i], &ev);
    }
    loop(&e);
    LIST_FOREACH_SAFE (it, &e.conns)
        conn_free(&e, CONTAINER_OF(it, struct echo_conn, of_all));
    free_texts(&e);
    close(e.signals);
    close(e.epoll);
    return 0;
}

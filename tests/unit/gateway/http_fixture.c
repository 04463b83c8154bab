#include "http_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"

/* ---- the handler ---- */

static void note(struct fixture *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct fixture *f, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(f->journal + f->journal_bytes, sizeof f->journal - f->journal_bytes, fmt, ap);
    va_end(ap);
    if (n > 0 && f->journal_bytes + (size_t)n < sizeof f->journal)
        f->journal_bytes += (size_t)n;
    else
        f->journal[f->journal_bytes] = '\0';
}

void answer(struct http_exchange *x, int status, struct slice body)
{
    struct http1_header type = {SLICE("Content-Type"), SLICE("text/plain")};
    http_reply_whole(x, status, &type, 1, &body, 1);
}

static bool is_path(struct http_exchange *x, const char *path)
{
    return slice_eq(http_exchange_path(x), slice_str(path));
}

static enum err on_head(void *ctx, struct http_exchange *x)
{
    struct slice path = http_exchange_path(x);
    note(ctx, "head %.*s;", SLICE_ARG(path));
    if (!is_path(x, "/refuse"))
        return ERR_OK;
    http_exchange_refuse(x, arena_printf(http_exchange_arena(x), "no %.*s here", SLICE_ARG(path)),
                         "path");
    return ERR_NOT_FOUND;
}

static void echo(struct http_exchange *x)
{
    const struct http1_head *head = http_exchange_head(x);
    struct slice path = http_exchange_path(x), query = http_exchange_query(x),
                 body = http_exchange_body(x);
    struct slice pieces[6] = {head->method, SLICE(" "), path, SLICE("?"), query, SLICE(" ")};
    struct slice all[7];
    memcpy(all, pieces, sizeof pieces);
    all[6] = body;
    struct http1_header type = {SLICE("Content-Type"), SLICE("text/plain")};
    http_reply_whole(x, 200, &type, 1, all, 7);
}

static void on_request(void *ctx, struct http_exchange *x)
{
    struct fixture *f = ctx;
    struct slice path = http_exchange_path(x);
    note(f, "request %.*s;", SLICE_ARG(path));
    assert_true(http_exchange_received_us(x) > 0);
    if (is_path(x, "/hold")) {
        assert_true(f->held_count < HELD_MAX);
        f->held[f->held_count++] = x;
    } else {
        echo(x);
    }
}

static void on_gone(void *ctx, struct http_exchange *x)
{
    struct fixture *f = ctx;
    struct slice path = http_exchange_path(x);
    note(f, "gone %.*s;", SLICE_ARG(path));
    for (size_t i = 0; i < f->held_count; i++)
        if (f->held[i] == x)
            f->held[i] = f->held[--f->held_count];
}

static void on_writable(void *ctx, struct http_exchange *x)
{
    struct slice path = http_exchange_path(x);
    note(ctx, "writable %.*s;", SLICE_ARG(path));
}

static void extra_headers(void *ctx, struct http_exchange *x, struct buf *out)
{
    (void)ctx;
    (void)x;
    assert_int_equal(buf_printf(out, "X-Extra: yes\r\n"), ERR_OK);
}

static void on_finished(void *ctx, struct http_exchange *x, int status, uint64_t bytes_sent,
                        const char *reason)
{
    struct fixture *f = ctx;
    assert_true(slice_starts(http_exchange_peer(x), SLICE("127.0.0.1:")));
    f->finished++;
    f->bytes_finished += bytes_sent;
    note(f, "finished %d%s%s;", status, reason ? " " : "", reason ? reason : "");
}

static enum err error_body(void *ctx, const struct http_exchange *x, const struct http_error *error,
                           int *status, struct buf *out)
{
    (void)ctx;
    (void)x;
    (void)status;
    return buf_printf(out, "{\"error\":\"%s\",\"param\":\"%s\"}",
                      error->message ? error->message : err_text(error->err),
                      error->param ? error->param : "");
}

/* ---- the fixture ---- */

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    (void)arg;
}

void fixture_init(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    f->base = event_base_new();
    f->tick = event_new(f->base, -1, EV_PERSIST, on_tick, NULL);
    struct timeval tv = {.tv_usec = 1000};
    event_add(f->tick, &tv);
    f->stats = stats_new();
    f->handler = (struct http_handler){.on_head = on_head,
                                       .on_request = on_request,
                                       .on_writable = on_writable,
                                       .on_gone = on_gone,
                                       .extra_headers = extra_headers,
                                       .on_finished = on_finished};
    f->options = (struct http_server_options){.base = f->base,
                                              .host = "127.0.0.1",
                                              .max_header_bytes = 4096,
                                              .max_body_bytes = 32 << 20,
                                              .header_timeout_ms = 5000,
                                              .body_timeout_ms = 5000,
                                              .idle_timeout_ms = 60000,
                                              .write_timeout_ms = 5000,
                                              .high_watermark_bytes = 64 << 10,
                                              .connections = &f->connections,
                                              .max_connections = -1,
                                              .handler = &f->handler,
                                              .ctx = f,
                                              .error_body = error_body,
                                              .stats = f->stats};
}

void fixture_start(struct fixture *f)
{
    struct err_text t = {""};
    f->server = http_server_new(&f->options, &t);
    if (!f->server)
        fail_msg("%s", t.s);
}

static void client_free(struct client *c)
{
    client_close(c);
    buf_clear(&c->in);
    free(c);
}

void fixture_stop(struct fixture *f)
{
    http_server_free(f->server);
    for (size_t i = 0; i < f->client_count; i++)
        client_free(f->clients[i]);
    assert_int_equal(f->connections, 0);
    event_free(f->tick);
    event_base_free(f->base);
    stats_free(f->stats);
}

static void client_read(struct client *c)
{
    char *room;
    size_t room_bytes;
    while (c->fd >= 0 && !c->eof && !c->reset && !c->deaf) {
        assert_int_equal(buf_reserve(&c->in, 65536, &room, &room_bytes), ERR_OK);
        ssize_t n = recv(c->fd, room, room_bytes, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n > 0)
            buf_commit(&c->in, (size_t)n);
        else if (n == 0)
            c->eof = true;
        else
            c->reset = true;
    }
}

static void clients_read(struct fixture *f)
{
    for (size_t i = 0; i < f->client_count; i++)
        client_read(f->clients[i]);
}

void fixture_turn(struct fixture *f)
{
    event_base_loop(f->base, EVLOOP_ONCE);
    clients_read(f);
}

void fixture_poll(struct fixture *f)
{
    /* Loopback delivers within send(2); two rounds, because accepting makes the first readable
     * event. */
    event_base_loop(f->base, EVLOOP_NONBLOCK);
    event_base_loop(f->base, EVLOOP_NONBLOCK);
    clients_read(f);
}

int64_t fixture_metric(struct fixture *f, enum stats_family family, const char *label)
{
    return atomic_load(&stats_cell(f->stats, family, label ? &label : NULL)->value);
}

/* ---- clients ---- */

struct client *client_open(struct fixture *f)
{
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons(http_server_port(f->server)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct client *c = mem_zalloc(1, sizeof *c);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(c->fd >= 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&sa, sizeof sa), 0);
    evutil_make_socket_nonblocking(c->fd);
    buf_init(&c->in, (size_t)256 << 20);
    assert_true(f->client_count < CLIENTS_MAX);
    f->clients[f->client_count++] = c;
    return c;
}

bool client_send(struct fixture *f, struct client *c, struct slice bytes)
{
    while (bytes.n) {
        ssize_t n = send(c->fd, bytes.p, bytes.n, MSG_NOSIGNAL);
        if (n > 0)
            bytes = slice_from(bytes, (size_t)n);
        else if (errno != EAGAIN && errno != EINTR)
            return false;
        else
            fixture_turn(f);
        if (c->eof || c->reset)
            return bytes.n == 0;
    }
    return true;
}

void client_close(struct client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

void client_reset(struct client *c)
{
    struct linger hard = {.l_onoff = 1};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    client_close(c);
}

void reply_clear(struct reply *r)
{
    buf_clear(&r->head);
    buf_clear(&r->body);
}

static bool take_chunked(struct client *c, size_t head_bytes, struct reply *r)
{
    struct http1_chunked chunked;
    struct slice rest = slice_from(buf_slice(&c->in), head_bytes), data;
    enum http1_parse found = HTTP1_MORE;
    size_t used, total = 0;
    http1_chunked_init(&chunked);
    while (found == HTTP1_MORE && total < rest.n) {
        found = http1_chunked_feed(&chunked, slice_from(rest, total), &used, &data);
        assert_int_equal(buf_append_slice(&r->body, data), ERR_OK);
        total += used;
    }
    assert_int_not_equal(found, HTTP1_BAD);
    if (found == HTTP1_DONE)
        buf_consume(&c->in, head_bytes + total);
    return found == HTTP1_DONE;
}

bool client_reply(struct client *c, bool to_head, struct reply *r)
{
    struct http1_head head;
    size_t scanned = 0;
    const char *why = "";
    struct slice in = buf_slice(&c->in);
    buf_init(&r->head, 65536);
    buf_init(&r->body, (size_t)256 << 20);
    r->complete = false;
    enum http1_parse found = http1_parse_response(in, &scanned, to_head, &head, &why);
    if (found == HTTP1_BAD)
        fail_msg("bad reply: %s: %.*s", why, SLICE_ARG(in));
    if (found == HTTP1_MORE)
        return false;
    r->status = head.status;
    assert_int_equal(buf_append(&r->head, in.p, head.head_bytes), ERR_OK);
    struct slice rest = slice_from(in, head.head_bytes);
    switch (head.body) {
    case HTTP1_BODY_NONE:
        r->complete = true;
        buf_consume(&c->in, head.head_bytes);
        break;
    case HTTP1_BODY_LENGTH:
        r->complete = rest.n >= head.content_length;
        if (!r->complete)
            break;
        assert_int_equal(buf_append(&r->body, rest.p, (size_t)head.content_length), ERR_OK);
        buf_consume(&c->in, head.head_bytes + (size_t)head.content_length);
        break;
    case HTTP1_BODY_CHUNKED:
        r->complete = take_chunked(c, head.head_bytes, r);
        break;
    case HTTP1_BODY_UNTIL_CLOSE:
        r->complete = c->eof;
        if (!r->complete)
            break;
        assert_int_equal(buf_append_slice(&r->body, rest), ERR_OK);
        buf_consume(&c->in, in.n);
        break;
    }
    if (!r->complete)
        reply_clear(r);
    return r->complete;
}

struct slice reply_header(const struct reply *r, const char *name)
{
    struct http1_head head;
    size_t scanned = 0;
    const char *why;
    assert_int_equal(http1_parse_response(buf_slice(&r->head), &scanned, false, &head, &why),
                     HTTP1_DONE);
    const struct http1_header *h = http1_find(&head, slice_str(name));
    return h ? h->value : SLICE("");
}

void expect_reply(struct fixture *f, struct client *c, int status, const char *body)
{
    struct reply r;
    UNTIL(f, client_reply(c, false, &r) || c->eof || c->reset);
    if (!r.complete && !client_reply(c, false, &r))
        fail_msg("no whole reply before the end (reset: %d); journal: %s", c->reset, f->journal);
    if (r.status != status)
        fail_msg("status %d instead of %d: %.*s", r.status, status, SLICE_ARG(buf_slice(&r.body)));
    if (body && !slice_eq(buf_slice(&r.body), slice_str(body)))
        fail_msg("body '%.*s' instead of '%s'", SLICE_ARG(buf_slice(&r.body)), body);
    reply_clear(&r);
}

void expect_closed(struct fixture *f, struct client *c)
{
    UNTIL(f, c->eof || c->reset);
    assert_false(c->reset);
    assert_int_equal(buf_len(&c->in), 0);
}

bool journal_has(const struct fixture *f, const char *text)
{
    return strstr(f->journal, text) != NULL;
}

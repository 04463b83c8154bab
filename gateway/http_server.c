/* The listener, the clocks and the deferred work of an HTTP server. Owns the connections' lists,
 * not their contents (http_conn.c). Thread: one event loop's. Called by gateway/worker and
 * gateway/control.
 *
 * Deadlines: one list per kind of wait. All waits of a kind are equally long, so that appending
 * keeps a list ordered and a coarse sweep looks only at the fronts; a request costs two pointer
 * moves instead of two timer-heap operations. */
#include "gateway/http_server_int.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define LISTEN_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */
#define ACCEPT_BATCH   64   /* then the connections that are there get their turn */
#define SWEEP_MAX_MS   250
#define SWEEP_MIN_MS   5
#define REPLY_HEAD_MAX ((size_t)1 << 20)
#define ERROR_BODY_MAX ((size_t)1 << 20)

/* ---- waiting ---- */

void http_server_wait(struct http_conn *c, enum http_wait w)
{
    struct http_server *s = c->server;
    list_remove(&c->wait_link);
    if (w == WAIT_NONE || s->wait_ms[w] < 0)
        return;
    c->deadline_us = clock_mono_us() + s->wait_ms[w] * 1000;
    list_push_back(&s->waits[w], &c->wait_link);
}

static void expire_list(struct list *waiting, int64_t now_us)
{
    while (!list_empty(waiting)) {
        struct http_conn *c = CONTAINER_OF(waiting->next, struct http_conn, wait_link);
        if (c->deadline_us > now_us)
            return;
        list_remove(&c->wait_link);
        http_conn_expire(c);
    }
}

static void arm_sweep(struct http_server *s)
{
    struct timeval tv = {.tv_sec = 0, .tv_usec = (suseconds_t)(s->sweep_ms * 1000)};
    if ((s->conn_count || s->listen_paused) && !event_pending(&s->sweep_ev, EV_TIMEOUT, NULL))
        event_add(&s->sweep_ev, &tv);
}

static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;
    int64_t now_us = clock_mono_us();
    (void)fd;
    (void)what;
    for (int w = 0; w < WAIT_LISTS; w++)
        expire_list(&s->waits[w], now_us);
    if (s->listen_paused && s->listen_fd >= 0) {
        s->listen_paused = false;
        event_add(&s->listen_ev, NULL);
    }
    arm_sweep(s);
}

/* A quarter of the shortest timeout, so that short ones (tests, impatient operators) are kept well
 * enough. */
static int64_t sweep_interval_ms(const struct http_server *s)
{
    int64_t ms = SWEEP_MAX_MS;
    for (int w = 0; w < WAIT_LISTS; w++)
        if (s->wait_ms[w] >= 0 && s->wait_ms[w] / 4 < ms)
            ms = s->wait_ms[w] / 4;
    return ms < SWEEP_MIN_MS ? SWEEP_MIN_MS : ms;
}

/* ---- deferred work ---- */

void http_server_defer(struct http_conn *c)
{
    struct http_server *s = c->server;
    if (!list_empty(&c->todo_link))
        return;
    if (list_empty(&s->todo))
        event_active(&s->todo_ev, 0, 0);
    list_push_back(&s->todo, &c->todo_link);
}

static void dismiss_idle(struct http_server *s)
{
    s->idle_dismissed = true;
    LIST_FOREACH_SAFE (it, &s->conns) {
        struct http_conn *c = CONTAINER_OF(it, struct http_conn, link);
        if (c->state == CONN_IDLE)
            http_conn_dismiss(c);
    }
}

/* Only what was there at the start: a connection that defers again has its turn after the others.
 */
static void on_todo(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;
    struct list batch;
    (void)fd;
    (void)what;
    list_init(&batch);
    while (!list_empty(&s->todo)) {
        struct list *first = s->todo.next;
        list_remove(first);
        list_push_back(&batch, first);
    }
    while (!list_empty(&batch)) {
        struct http_conn *c = CONTAINER_OF(batch.next, struct http_conn, todo_link);
        list_remove(&c->todo_link);
        if (c->state == CONN_CLOSED)
            http_conn_free(c);
        else
            http_conn_turn(c);
    }
    if (s->draining && !s->idle_dismissed)
        dismiss_idle(s);
}

/* ---- connections come and go ---- */

void http_server_count_drop(struct http_server *s, const char *reason)
{
    if (s->opt.stats)
        stats_add(stats_cell(s->opt.stats, STAT_DROPPED, &reason), 1);
}

void http_server_count_connection(struct http_server *s, int change)
{
    if (change > 0)
        s->conn_count++;
    else
        s->conn_count--;
    if (s->opt.connections)
        atomic_fetch_add_explicit(s->opt.connections, change, memory_order_relaxed);
    if (!s->connections_cell)
        return;
    stats_set(s->connections_cell, (int64_t)s->conn_count);
    if (change > 0)
        stats_add(s->connections_total_cell, 1);
}

static bool is_full(const struct http_server *s)
{
    int64_t max = s->opt.max_connections;
    if (max < 0)
        return false;
    int64_t now = s->opt.connections
                      ? atomic_load_explicit(s->opt.connections, memory_order_relaxed)
                      : (int64_t)s->conn_count;
    return now >= max;
}

/* Out of descriptors or kernel memory: the clients wait in the backlog until some are free again.
 */
static void pause_listening(struct http_server *s, int error)
{
    log_line(LOG_WARN, "http", "not accepting for a moment", "errno=%d", error);
    s->listen_paused = true;
    event_del(&s->listen_ev);
    arm_sweep(s);
}

/* false: nothing to accept, or not now. */
static bool accept_one(struct http_server *s)
{
    struct sockaddr_storage peer;
    socklen_t peer_bytes = sizeof peer;
    int fd =
        accept4(s->listen_fd, (struct sockaddr *)&peer, &peer_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            pause_listening(s, errno);
        return errno == ECONNABORTED || errno == EINTR || errno == EPROTO;
    }
    if (is_full(s)) {
        close(fd);
        http_server_count_drop(s, "too many connections");
        return true;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    http_conn_new(s, fd, &peer);
    arm_sweep(s);
    return true;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    for (int i = 0; i < ACCEPT_BATCH && accept_one(arg); i++)
        ;
}

/* ---- listening ---- */

static int listen_on(const struct addrinfo *ai, bool reuse_port)
{
    int one = 1;
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if ((!reuse_port || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0) &&
        bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int open_listener(const struct http_server_options *opt, struct err_text *t)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found;
    char port[8];
    int fd = -1;
    snprintf(port, sizeof port, "%u", (unsigned)opt->port);
    int rc = getaddrinfo(opt->host, port, &hints, &found);
    if (rc) {
        err_say(t, "cannot resolve %s: %s", opt->host, gai_strerror(rc));
        return -1;
    }
    for (const struct addrinfo *ai = found; ai && fd < 0; ai = ai->ai_next)
        fd = listen_on(ai, opt->reuse_port);
    if (fd < 0)
        err_say(t, "cannot listen on %s port %u: %s", opt->host, (unsigned)opt->port,
                strerror(errno));
    freeaddrinfo(found);
    return fd;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t n = sizeof ss;
    if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0)
        return 0;
    return ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&ss)->sin6_port
                                          : ((struct sockaddr_in *)(void *)&ss)->sin_port);
}

/* ---- life ---- */

static void init_clocks(struct http_server *s)
{
    const struct http_server_options *opt = &s->opt;
    s->wait_ms[WAIT_IDLE] = opt->idle_timeout_ms;
    s->wait_ms[WAIT_HEAD] = opt->header_timeout_ms;
    s->wait_ms[WAIT_BODY] = opt->body_timeout_ms;
    s->wait_ms[WAIT_WRITE] = opt->write_timeout_ms;
    s->wait_ms[WAIT_SHORT] = HTTP_SHORT_WAIT_MS;
    for (int w = 0; w < WAIT_LISTS; w++)
        list_init(&s->waits[w]);
    s->sweep_ms = sweep_interval_ms(s);
}

struct http_server *http_server_new(const struct http_server_options *opt, struct err_text *t)
{
    int fd = open_listener(opt, t);
    if (fd < 0)
        return NULL;
    struct http_server *s = mem_zalloc(1, sizeof *s);
    s->opt = *opt;
    s->listen_fd = fd;
    s->port = port_of(fd);
    list_init(&s->conns);
    list_init(&s->todo);
    init_clocks(s);
    s->scratch = mem_alloc(HTTP_SCRATCH_BYTES);
    s->head = mem_zalloc(1, sizeof *s->head);
    buf_init(&s->head_out, REPLY_HEAD_MAX);
    buf_init(&s->error_out, ERROR_BODY_MAX);
    if (opt->stats) {
        s->connections_cell = stats_cell(opt->stats, STAT_CONNECTIONS, NULL);
        s->connections_total_cell = stats_cell(opt->stats, STAT_CONNECTIONS_TOTAL, NULL);
    }
    event_assign(&s->listen_ev, opt->base, fd, EV_READ | EV_PERSIST, on_acceptable, s);
    event_assign(&s->sweep_ev, opt->base, -1, 0, on_sweep, s);
    event_assign(&s->todo_ev, opt->base, -1, 0, on_todo, s);
    event_add(&s->listen_ev, NULL);
    return s;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

size_t http_server_active(const struct http_server *s)
{
    return s->active_count;
}

static void stop_listening(struct http_server *s)
{
    if (s->listen_fd < 0)
        return;
    event_del(&s->listen_ev);
    close(s->listen_fd);
    s->listen_fd = -1;
}

void http_server_drain(struct http_server *s)
{
    if (s->draining)
        return;
    /* Closing a listener resets what waits in its backlog, so that is taken first. */
    while (!s->listen_paused && accept_one(s))
        ;
    stop_listening(s);
    s->draining = true;
    event_active(&s->todo_ev, 0, 0);
}

void http_server_free(struct http_server *s)
{
    if (!s)
        return;
    stop_listening(s);
    LIST_FOREACH_SAFE (it, &s->conns)
        http_conn_stop(CONTAINER_OF(it, struct http_conn, link));
    LIST_FOREACH_SAFE (closed, &s->todo)
        http_conn_free(CONTAINER_OF(closed, struct http_conn, todo_link));
    event_del(&s->sweep_ev);
    event_del(&s->todo_ev);
    buf_clear(&s->head_out);
    buf_clear(&s->error_out);
    free(s->scratch);
    free(s->head);
    free(s);
}

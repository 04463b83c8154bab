/* Sockets of connections to upstreams. Runs on the worker's loop; called by pool.c and
 * exchange_*.c. */
#include "backends/conn.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    c->user->readable(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;

    (void)fd;
    (void)what;
    c->user->writable(c);
}

struct conn *conn_open(struct event_base *base, const struct resolver_addr *addr, struct pool *pool,
                       const struct conn_user *user, void *user_ctx)
{
    int fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1, saved;
    struct conn *c;

    if (fd < 0)
        return NULL;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (connect(fd, &addr->u.sa, addr->len) != 0 && errno != EINPROGRESS) {
        saved = errno;
        close(fd);
        errno = saved;
        return NULL;
    }
    c = mem_zalloc(1, sizeof *c);
    list_init(&c->link);
    c->fd = fd;
    c->pool = pool;
    c->user = user;
    c->user_ctx = user_ctx;
    event_assign(&c->read_event, base, fd, EV_READ | EV_PERSIST, on_readable, c);
    event_assign(&c->write_event, base, fd, EV_WRITE, on_writable, c);
    conn_want_write(c, true);
    return c;
}

void conn_free(struct conn *c)
{
    list_remove(&c->link);
    event_del(&c->read_event);
    event_del(&c->write_event);
    tls_free(c->tls);
    close(c->fd);
    free(c);
}

int conn_connected(struct conn *c)
{
    int error = 0;
    socklen_t n = sizeof error;

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n) != 0)
        return errno;
    return error;
}

static void want(struct event *e, short kind, bool on)
{
    bool is = event_pending(e, kind, NULL) != 0;

    if (on && !is)
        event_add(e, NULL);
    else if (!on && is)
        event_del(e);
}

void conn_want_read(struct conn *c, bool on)
{
    want(&c->read_event, EV_READ, on);
}

void conn_want_write(struct conn *c, bool on)
{
    want(&c->write_event, EV_WRITE, on);
}

enum conn_io conn_read(struct conn *c, void *out, size_t out_bytes, size_t *got)
{
    ssize_t n;

    if (c->tls)
        return tls_read(c->tls, out, out_bytes, got);
    *got = 0;
    do {
        n = recv(c->fd, out, out_bytes, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        *got = (size_t)n;
        return CONN_IO_DONE;
    }
    if (n == 0)
        return CONN_IO_END;
    return errno == EAGAIN ? CONN_IO_WANT_READ : CONN_IO_BROKEN;
}

static enum conn_io plain_writev(int fd, const struct iovec *iov, int iov_count, size_t *sent)
{
    struct msghdr m = {0};
    ssize_t n;

    /* sendmsg never writes through msg_iov; the type is older than const. */
    memcpy(&m.msg_iov, &iov, sizeof iov);
    m.msg_iovlen = (size_t)iov_count;
    do {
        n = sendmsg(fd, &m, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    *sent = n > 0 ? (size_t)n : 0;
    if (n >= 0)
        return CONN_IO_DONE;
    return errno == EAGAIN ? CONN_IO_WANT_WRITE : CONN_IO_BROKEN;
}

enum conn_io conn_writev(struct conn *c, const struct iovec *iov, int iov_count, size_t *sent)
{
    if (c->tls)
        return tls_writev(c->tls, iov, iov_count, sent);
    return plain_writev(c->fd, iov, iov_count, sent);
}

/* One connection to a server: socket, TLS if any, and its two events. Reading stays registered from
 * the connect to the close, also over idle times, so that a request costs no epoll_ctl and an idle
 * connection notices its end. threads: belongs to one worker. conn_free may be called inside the
 * connection's own event. */
#ifndef BACKENDS_CONN_H
#define BACKENDS_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include "backends/resolver.h"
#include "backends/upstream_tls.h"
#include "base/list.h"

struct conn;
struct pool;

/* Who uses the connection at the moment; the pool while it is idle. */
struct conn_user {
    void (*readable)(struct conn *c);
    void (*writable)(struct conn *c);
};

struct conn {
    struct list link;  /* in pool.idle, or alone */
    struct pool *pool; /* borrowed; outlives the connection */
    const struct conn_user *user;
    void *user_ctx;
    struct tls *tls; /* owned; NULL: plain, or still connecting */
    struct event read_event, write_event;
    int fd;
    int64_t idle_since_us;
};

/* Starts a non-blocking connect with TCP_NODELAY; NULL with errno. `writable` comes when it is
 * decided: ask conn_connected. */
struct conn *conn_open(struct event_base *base, const struct resolver_addr *addr, struct pool *pool,
                       const struct conn_user *user, void *user_ctx);
void conn_free(struct conn *c);
int conn_connected(struct conn *c); /* 0, or the errno of the failed connect */

void conn_want_read(struct conn *c, bool on);
void conn_want_write(struct conn *c, bool on);

enum conn_io conn_read(struct conn *c, void *out, size_t out_bytes, size_t *got);
enum conn_io conn_writev(struct conn *c, const struct iovec *iov, int iov_count, size_t *sent);
/* A read that filled its buffer, or TLS with decoded bytes inside: the loop may not announce what
 * is left. */
static inline bool conn_has_more(const struct conn *c)
{
    return c->tls && tls_has_more(c->tls);
}

#endif

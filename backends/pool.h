/* Idle connections by server, newest first: the newest is the least likely to have been given up by
 * the server, and the oldest run out. A pool is one (backend, host, port, tls, ca, verify); what
 * differs in one of these never shares a connection. threads: belongs to one worker. */
#ifndef BACKENDS_POOL_H
#define BACKENDS_POOL_H

#include "backends/conn.h"
#include "backends/upstream.h"

/* Load balancers in front of providers drop idle connections after 60 s, often without telling. */
#define POOL_IDLE_MAX_US (55 * INT64_C(1000000))

struct pool_table {
    struct list pools; /* of struct pool, most recently used first */
    struct event_base *base;
    struct event *sweep; /* owned; armed while there are idle connections */
    struct stats *stats; /* borrowed; may be NULL */
    size_t idle_count;
    bool sweeping;
};

struct pool {
    struct list link;
    struct pool_table *table;
    struct list idle; /* of struct conn */
    size_t idle_count;
    size_t users;            /* exchanges: the pool may not go while there are any */
    struct tls_context *tls; /* owned; made with the first connection */
    struct stats_cell *opened;
    uint32_t hash;
    uint16_t port;
    bool is_tls, verify;
    char *backend, *host, *ca_file; /* owned; ca_file NULL: system store */
};

bool pool_table_init(struct pool_table *t, struct event_base *base, struct stats *stats) MUST_CHECK;
void pool_table_clear(struct pool_table *t); /* no pool may have users */
void pool_table_close_idle(struct pool_table *t);

/* The pool of this target, made if need be, with one more user. */
struct pool *pool_get(struct pool_table *t, const struct upstream_target *target);
void pool_put(struct pool *p); /* one user less */

/* The newest idle connection, handed over to the user, or NULL. */
struct conn *pool_take(struct pool *p, const struct conn_user *user, void *user_ctx);
/* Gives a connection in good order back; closes the oldest beyond max_idle. */
void pool_give(struct conn *c, int64_t max_idle, int64_t now_us);

/* TLS for a connection just connected. ERR_UPSTREAM_TLS with *why. */
enum err pool_start_tls(struct conn *c, struct err_text *why) MUST_CHECK;

#endif

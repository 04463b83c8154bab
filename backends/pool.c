/* Owns the pools and the connections that idle in them. Runs on the worker's loop; called by
 * exchange_*.c.
 *
 * An idle connection stays registered for reading. What may come is its end, TLS tickets, or bytes
 * nobody asked for: the last two are told apart by reading; an end or a byte closes it. */
#include "backends/pool.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"

#define SWEEP_SECONDS 5

/* ---- idle connections ---- */

static void drop_idle(struct conn *c)
{
    c->pool->idle_count--;
    c->pool->table->idle_count--;
    conn_free(c);
}

static void idle_readable(struct conn *c)
{
    char byte;
    size_t got;
    enum conn_io io = conn_read(c, &byte, 1, &got);

    if (io != CONN_IO_WANT_READ && io != CONN_IO_WANT_WRITE)
        drop_idle(c);
}

static void idle_writable(struct conn *c)
{
    (void)c; /* never asked for */
}

static const struct conn_user idle_user = {idle_readable, idle_writable};

static void arm(struct pool_table *t)
{
    static const struct timeval every = {SWEEP_SECONDS, 0};

    t->sweeping = event_add(t->sweep, &every) == 0;
}

static void sweep(evutil_socket_t fd, short what, void *arg)
{
    struct pool_table *t = arg;
    int64_t limit_us = clock_mono_us() - POOL_IDLE_MAX_US;

    (void)fd;
    (void)what;
    LIST_FOREACH (it, &t->pools) {
        struct pool *p = CONTAINER_OF(it, struct pool, link);

        while (!list_empty(&p->idle)) {
            struct conn *oldest = CONTAINER_OF(p->idle.prev, struct conn, link);

            if (oldest->idle_since_us > limit_us)
                break;
            drop_idle(oldest);
        }
    }
    t->sweeping = false;
    if (t->idle_count)
        arm(t);
}

struct conn *pool_take(struct pool *p, const struct conn_user *user, void *user_ctx)
{
    struct conn *c;

    if (list_empty(&p->idle))
        return NULL;
    c = CONTAINER_OF(p->idle.next, struct conn, link);
    list_remove(&c->link);
    p->idle_count--;
    p->table->idle_count--;
    c->user = user;
    c->user_ctx = user_ctx;
    return c;
}

void pool_give(struct conn *c, int64_t max_idle, int64_t now_us)
{
    struct pool *p = c->pool;

    c->user = &idle_user;
    c->user_ctx = NULL;
    c->idle_since_us = now_us;
    list_push_front(&p->idle, &c->link);
    p->idle_count++;
    p->table->idle_count++;
    if (max_idle < 0)
        max_idle = 0;
    while (p->idle_count > (size_t)max_idle)
        drop_idle(CONTAINER_OF(p->idle.prev, struct conn, link));
    if (p->table->idle_count && !p->table->sweeping)
        arm(p->table);
}

/* ---- pools ---- */

/* FNV-1a over what tells servers apart at a glance; equality is checked in full. */
static uint32_t identity_hash(const struct upstream_target *t)
{
    uint32_t h = UINT32_C(2166136261) ^ t->port;

    for (const char *s = t->backend; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT32_C(16777619);
    for (const char *s = t->host; *s; s++)
        h = (h ^ (unsigned char)*s) * UINT32_C(16777619);
    return h;
}

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static bool is_for(const struct pool *p, const struct upstream_target *t, uint32_t hash)
{
    return p->hash == hash && p->port == t->port && p->is_tls == t->tls &&
           same_text(p->host, t->host) && same_text(p->backend, t->backend) &&
           (!t->tls || (p->verify == t->tls_verify && same_text(p->ca_file, t->tls_ca_file)));
}

static struct pool *pool_make(struct pool_table *table, const struct upstream_target *t,
                              uint32_t hash)
{
    struct pool *p = mem_zalloc(1, sizeof *p);

    p->table = table;
    list_init(&p->idle);
    p->hash = hash;
    p->port = t->port;
    p->is_tls = t->tls;
    p->verify = t->tls_verify;
    p->backend = mem_strdup(slice_str(t->backend));
    p->host = mem_strdup(slice_str(t->host));
    p->ca_file = t->tls_ca_file ? mem_strdup(slice_str(t->tls_ca_file)) : NULL;
    if (table->stats)
        p->opened =
            stats_cell(table->stats, STAT_UPSTREAM_CONNECTIONS, (const char *const[]){t->backend});
    list_push_front(&table->pools, &p->link);
    return p;
}

static void pool_free(struct pool *p)
{
    list_remove(&p->link);
    tls_context_free(p->tls);
    free(p->backend);
    free(p->host);
    free(p->ca_file);
    free(p);
}

struct pool *pool_get(struct pool_table *t, const struct upstream_target *target)
{
    uint32_t hash = identity_hash(target);
    struct pool *p = NULL;

    LIST_FOREACH (it, &t->pools) {
        p = CONTAINER_OF(it, struct pool, link);
        if (is_for(p, target, hash))
            break;
        p = NULL;
    }
    if (!p) {
        p = pool_make(t, target, hash);
    } else if (t->pools.next != &p->link) {
        list_remove(&p->link);
        list_push_front(&t->pools, &p->link);
    }
    p->users++;
    return p;
}

void pool_put(struct pool *p)
{
    p->users--;
}

enum err pool_start_tls(struct conn *c, struct err_text *why)
{
    struct pool *p = c->pool;

    if (!p->tls)
        p->tls = tls_context_new(p->ca_file, p->verify, why);
    if (!p->tls)
        return ERR_UPSTREAM_TLS;
    c->tls = tls_new(p->tls, c->fd, p->host);
    if (c->tls)
        return ERR_OK;
    err_say(why, "TLS could not be set up for %s", p->host);
    return ERR_UPSTREAM_TLS;
}

bool pool_table_init(struct pool_table *t, struct event_base *base, struct stats *stats)
{
    *t = (struct pool_table){.base = base, .stats = stats};
    list_init(&t->pools);
    t->sweep = event_new(base, -1, 0, sweep, t);
    return t->sweep != NULL;
}

/* Also forgets trust and sessions, so that a renewed CA file is read again. */
void pool_table_close_idle(struct pool_table *t)
{
    LIST_FOREACH_SAFE (it, &t->pools) {
        struct pool *p = CONTAINER_OF(it, struct pool, link);

        while (!list_empty(&p->idle))
            drop_idle(CONTAINER_OF(p->idle.next, struct conn, link));
        tls_context_free(p->tls);
        p->tls = NULL;
        if (p->users == 0)
            pool_free(p);
    }
}

void pool_table_clear(struct pool_table *t)
{
    pool_table_close_idle(t);
    if (t->sweep)
        event_free(t->sweep);
    t->sweep = NULL;
}

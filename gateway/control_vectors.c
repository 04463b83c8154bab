/* Walks through the store page by page and sends one question at a time to the encoder and back.
 * Owns the page at hand. Called by control.c, control_policy.c and api_cache_move.c, and by its own
 * timer. */
#include "gateway/control_vectors.h"

#include <string.h>
#include "base/clock.h"
#include "base/log.h"
#include "cache/vslab_dot.h"
#include "router/embedder.h"
#include "router/snapshot.h"

#define TICK_US    (1000000 / CONTROL_VECTORS_PER_S)
#define PAGE       256
#define ENCODER_US INT64_C(1000000)

static void begin(struct control_vectors *v)
{
    admin_job_free(v->page);
    v->page = NULL;
    v->next = 0;
    memcpy(v->cursor, "0", 2);
    v->walking = true;
    v->anew = false;
}

/* The service of what serves; NULL: nothing is compared by meaning. */
static struct encoder_service *service_of(const struct control_vectors *v)
{
    const struct snapshot *s = v->snapshot;
    bool by_meaning = s && s->cache && s->embedder && s->policy->cache.semantic;

    return by_meaning ? embedder_service(s->embedder) : NULL;
}

/* ---- pages ---- */

static void drop_job(struct message *m)
{
    admin_job_free(CONTAINER_OF(m, struct admin_job, msg));
}

static void give(struct control_vectors *v, struct admin_job *j,
                 void (*deliver)(struct message *m, void *ctx))
{
    j->msg.deliver = deliver;
    j->msg.discard = drop_job;
    j->reply_to = v->mailbox;
    j->owner = v;
    v->waiting = true;
    admin_job_give(v->snapshot->cache, j);
}

/* A store that is away is asked once more, from the place where the walk is. */
static void on_page(struct message *m, void *ctx)
{
    struct admin_job *j = CONTAINER_OF(m, struct admin_job, msg);
    struct control_vectors *v = j->owner;

    (void)ctx;
    v->waiting = false;
    if (v->anew || j->err == ERR_BAD_REQUEST) {
        begin(v);
    } else if (j->err == ERR_OK) {
        v->page = j;
        v->next = 0;
        return;
    }
    admin_job_free(j);
}

static void ask_page(struct control_vectors *v)
{
    struct admin_job *j = admin_job_new(ADMIN_PAGE);

    j->stale = true;
    j->limit = PAGE;
    j->cursor = arena_dup(&j->arena, slice_str(v->cursor));
    give(v, j, on_page);
}

static void end_page(struct control_vectors *v)
{
    memcpy(v->cursor, v->page->next, sizeof v->cursor);
    admin_job_free(v->page);
    v->page = NULL;
    if (strcmp(v->cursor, "0") != 0)
        return;
    v->walking = false;
    if (v->encoded)
        log_line(LOG_INFO, "cache", "stored questions have vectors of the encoder in force",
                 "encoded=%llu", (unsigned long long)v->encoded);
}

/* ---- one question ---- */

static void on_kept(struct message *m, void *ctx)
{
    struct admin_job *j = CONTAINER_OF(m, struct admin_job, msg);
    struct control_vectors *v = j->owner;

    (void)ctx;
    v->waiting = false;
    if (j->err == ERR_OK) {
        v->encoded++;
        stats_add(v->count, 1);
    }
    admin_job_free(j);
}

static void keep(struct control_vectors *v, const struct encoder_query *q)
{
    struct admin_job *j = admin_job_new(ADMIN_VECTOR);
    uint16_t *halves = ARENA_ARRAY(&j->arena, uint16_t, q->index);

    for (size_t i = 0; i < q->index; i++)
        halves[i] = vslab_half_of(q->embedding[i]);
    j->ids[0].id = q->id;
    j->id_count = 1;
    j->vector = halves;
    j->dim = (int)q->index;
    memcpy(j->fingerprint, q->full.bytes, sizeof j->fingerprint);
    give(v, j, on_kept);
}

static void on_encoded(struct message *m, void *ctx)
{
    struct encoder_query *q = CONTAINER_OF(m, struct encoder_query, msg);
    struct control_vectors *v = q->owner;

    (void)ctx;
    v->waiting = false;
    if (v->anew)
        begin(v);
    else if (q->err == ERR_OK && !q->counts.truncated && service_of(v))
        keep(v, q);
    else if (q->err == ERR_REQUEST_TIMEOUT || q->err == ERR_OVERLOADED)
        v->next--; /* clients were before it */
    encoder_query_free(q);
}

static void drop_query(struct message *m)
{
    encoder_query_free(CONTAINER_OF(m, struct encoder_query, msg));
}

static void encode(struct control_vectors *v, struct encoder_service *service)
{
    const struct cache_fields *f = &v->page->entries[v->next]->f;
    struct encoder_query *q = encoder_query_new(f->text);

    q->msg.deliver = on_encoded;
    q->msg.discard = drop_query;
    q->reply_to = v->mailbox;
    q->owner = v;
    q->id = f->id;
    q->index = (size_t)encoder_service_facts(service).dim;
    q->deadline_us = clock_mono_us() + ENCODER_US;
    if (encoder_service_submit(service, q) == ERR_OK) {
        v->waiting = true;
        v->next++;
    } else {
        encoder_query_free(q);
    }
}

/* ---- the walk ---- */

static bool is_idle(struct encoder_service *service)
{
    struct encoder_service_counts c;

    encoder_service_counts(service, &c);
    return c.queued == 0;
}

/* A device that fails changes the encoder as well. */
static void heed_encoder(struct control_vectors *v, struct encoder_service *service)
{
    struct encoder_facts f = encoder_service_facts(service);

    if (memcmp(f.full.bytes, v->fingerprint, sizeof v->fingerprint) == 0)
        return;
    memcpy(v->fingerprint, f.full.bytes, sizeof v->fingerprint);
    v->anew = true;
}

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct control_vectors *v = ctx;
    struct encoder_service *service = service_of(v);

    (void)fd, (void)what;
    if (!service)
        return;
    heed_encoder(v, service);
    if (v->waiting)
        return;
    if (v->anew)
        begin(v);
    if (!v->walking)
        return;
    if (!v->page)
        ask_page(v);
    else if (v->next == v->page->entry_count)
        end_page(v);
    else if (is_idle(service))
        encode(v, service);
}

bool control_vectors_init(struct control_vectors *v, struct event_base *base,
                          struct mailbox *mailbox, struct stats *stats)
{
    *v = (struct control_vectors){.mailbox = mailbox};
    v->count = stats_cell(stats, STAT_CACHE_REENCODED, NULL);
    v->tick = event_new(base, -1, EV_PERSIST, on_tick, v);
    return v->tick && event_add(v->tick, &(struct timeval){.tv_usec = TICK_US}) == 0;
}

void control_vectors_clear(struct control_vectors *v)
{
    if (v->tick)
        event_free(v->tick);
    admin_job_free(v->page);
    *v = (struct control_vectors){.tick = NULL};
}

void control_vectors_serve(struct control_vectors *v, const struct snapshot *s)
{
    struct encoder_service *service;

    v->snapshot = s;
    if ((service = service_of(v)))
        heed_encoder(v, service);
}

void control_vectors_want(struct control_vectors *v)
{
    v->anew = true;
}

/* A question to every worker, answered when the last one or the clock says so. Owns the questions
 * that wait for answers. Control thread; called by api_admin.c. */
#include "gateway/api_requests.h"

#include <event2/event.h>
#include <stdlib.h>
#include "base/idtable.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/api_admin.h"
#include "gateway/control.h"
#include "gateway/http_server.h"
#include "gateway/worker.h"

#define LISTING_WAIT_US 1000000
#define LISTING_BYTES   ((size_t)16 << 20)
#define MAX_QUERIES     64

struct api_requests {
    struct control *control;
    struct idtable queries; /* of struct listing_query */
};

struct listing_query {
    struct admin_task task;
    struct api_requests *all; /* borrowed */
    struct http_exchange *x;
    objid id;
    struct event *timer;
    struct buf json; /* objects separated by commas */
    bool *answered;  /* by worker index */
    size_t workers, missing;
    bool cut; /* more than LISTING_BYTES */
};

struct listing {
    struct worker_listing base;
    objid query;
};

static void query_free(struct listing_query *q)
{
    idtable_remove(&q->all->queries, q->id);
    if (q->timer)
        event_free(q->timer);
    buf_clear(&q->json);
    free(q->answered);
    free(q);
}

static void query_gone(struct admin_task *t)
{
    query_free(CONTAINER_OF(t, struct listing_query, task));
}

static void query_answer(struct listing_query *q)
{
    struct buf tail;
    buf_init(&tail, 64 * 1024);
    enum err e = buf_printf(&tail, "],\"workers\":%zu,\"truncated\":%s,\"silent_workers\":[",
                            q->workers, q->cut ? "true" : "false");
    const char *comma = "";
    for (size_t i = 0; i < q->workers && e == ERR_OK; i++)
        if (!q->answered[i]) {
            e = buf_printf(&tail, "%s%zu", comma, i);
            comma = ",";
        }
    if (e == ERR_OK)
        e = buf_append_slice(&tail, SLICE("]}\n"));
    struct http_exchange *x = q->x;
    const struct http1_header type = {SLICE("Content-Type"), SLICE("application/json")};
    const struct slice pieces[] = {SLICE("{\"requests\":["), buf_slice(&q->json), buf_slice(&tail)};
    ((struct admin_visit *)http_exchange_user(x))->task = NULL;
    if (e == ERR_OK)
        http_reply_whole(x, 200, &type, 1, pieces, 3);
    else
        admin_reply_error(x, e, NULL);
    buf_clear(&tail);
    query_free(q);
}

static void on_listing_late(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    query_answer(ctx);
}

static void listing_free(struct message *m)
{
    struct listing *l = CONTAINER_OF(m, struct listing, base.msg);
    buf_clear(&l->base.json);
    free(l);
}

static void on_listing(struct message *m, void *receiver_ctx)
{
    struct listing *l = CONTAINER_OF(m, struct listing, base.msg);
    struct listing_query *q =
        idtable_get(&api_admin_requests(control_admin(receiver_ctx))->queries, l->query);
    size_t i = (size_t)l->base.worker_index;
    if (q && i < q->workers && !q->answered[i]) {
        struct slice objects = buf_slice(&l->base.json);
        if (objects.n > 0 && buf_len(&q->json) > 0 &&
            buf_append_slice(&q->json, SLICE(",")) != ERR_OK)
            q->cut = true;
        else if (buf_append_slice(&q->json, objects) != ERR_OK)
            q->cut = true;
        q->answered[i] = true;
        if (--q->missing == 0)
            query_answer(q);
    }
    listing_free(m);
}

static void ask_worker(struct api_requests *a, struct worker *w, objid query)
{
    struct listing *l = mem_zalloc(1, sizeof *l);
    l->base.on_listed = on_listing;
    l->base.msg.discard = listing_free;
    l->base.reply_to = control_mailbox(a->control);
    l->query = query;
    worker_list_requests(w, &l->base);
}

static void get_requests(struct api_admin *admin, struct http_exchange *x, struct slice rest)
{
    struct api_requests *a = api_admin_requests(admin);
    (void)rest;
    struct listing_query *q = mem_zalloc(1, sizeof *q);
    q->task.gone = query_gone;
    q->all = a;
    q->x = x;
    q->id = idtable_add(&a->queries, q);
    if (!q->id) {
        free(q);
        admin_reply_error(x, ERR_OVERLOADED,
                          "Too many of these questions are waiting for their answers.");
        return;
    }
    q->missing = q->workers = control_workers(a->control);
    q->answered = mem_zalloc(q->workers + 1, sizeof *q->answered);
    buf_init(&q->json, LISTING_BYTES);
    q->timer = event_new(control_base(a->control), -1, 0, on_listing_late, q);
    const struct timeval wait = {.tv_sec = LISTING_WAIT_US / 1000000};
    if (q->workers == 0 || !q->timer || event_add(q->timer, &wait) != 0) {
        query_answer(q);
        return;
    }
    ((struct admin_visit *)http_exchange_user(x))->task = &q->task;
    for (size_t i = 0; i < q->workers; i++)
        ask_worker(a, control_worker(a->control, i), q->id);
}

const struct admin_route api_requests_routes[] = {
    {"GET", "/admin/requests", ADMIN_ONLY, get_requests},
    {0},
};

struct api_requests *api_requests_new(struct control *c)
{
    struct api_requests *a = mem_zalloc(1, sizeof *a);
    a->control = c;
    idtable_init(&a->queries, MAX_QUERIES);
    return a;
}

static void free_query(void *object, objid id, void *ctx)
{
    (void)id;
    (void)ctx;
    struct listing_query *q = object;
    event_free(q->timer);
    buf_clear(&q->json);
    free(q->answered);
    free(q);
}

void api_requests_free(struct api_requests *a)
{
    if (!a)
        return;
    idtable_each(&a->queries, free_query, NULL);
    idtable_clear(&a->queries);
    free(a);
}

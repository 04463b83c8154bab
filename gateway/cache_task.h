/* Requests to /admin/cache whose work the cache thread does, and what they have in common: the
 * reading of bodies and queries, the phrases that confirm, the record of changes. Control thread.
 */
#ifndef GATEWAY_CACHE_TASK_H
#define GATEWAY_CACHE_TASK_H

#include <jansson.h>
#include "cache/admin_job.h"
#include "gateway/admin_route.h"
#include "gateway/change_log.h"

struct control;

#define CACHE_PAGE_DEFAULT 100
#define CACHE_PAGE_MOST    1000
#define CACHE_STEP         4000 /* entries at which one step of a sum or a removal ends */

struct api_cache {
    struct control *control;
    struct idtable tasks;       /* of struct cache_task */
    struct change_log *changes; /* owned; NULL: not needed yet */
};

/* Embedded in what does the work. At most one job of a task is on its way. */
struct cache_task {
    struct admin_task task;
    struct api_cache *owner;
    objid id;
    struct http_exchange *x;                                 /* NULL: the client has left */
    void (*take)(struct cache_task *t, struct admin_job *j); /* the job is done; j is the taker's */
    void (*drop)(struct cache_task *t);                      /* the process ends: frees it */
};
/* false: there is no cache, or too much is going on; that was answered. */
bool cache_task_open(struct cache_task *t, struct api_admin *admin, struct http_exchange *x);
void cache_task_give(struct cache_task *t, struct admin_job *j); /* j is handed over */
void cache_task_close(struct cache_task *t);

/* One job whose answer is one reply, even if it fails. j and change (what is to be recorded; NULL:
 * nothing) are taken over. */
typedef void cache_reply_fn(struct http_exchange *x, struct admin_job *j);
void cache_task_ask(struct api_admin *admin, struct http_exchange *x, struct admin_job *j,
                    cache_reply_fn *reply, json_t *change);

/* ---- what all of them need; false or NULL: it is not so, and that was answered ---- */

/* The record of what is about to be done, with its author. */
json_t *cache_task_change(struct api_admin *admin, struct http_exchange *x, const char *action);
struct change_log *cache_task_changes(struct api_cache *a);
/* The body as an object with no other members than those. names ends with NULL. */
json_t *cache_task_body(struct http_exchange *x, const char *const *names);
bool cache_task_is_of_type(struct http_exchange *x, const char *content_type);
bool cache_task_confirmed(struct http_exchange *x, const json_t *body, const char *phrase);
/* Conditions, cursor and limit out of the query. */
bool cache_task_query(struct http_exchange *x, struct admin_job *j);
uint64_t cache_task_id(struct http_exchange *x, struct slice hex); /* 0: it is none */
/* If-Match, where there is one. */
bool cache_task_if_match(struct http_exchange *x, struct admin_job *j);

#endif

/* What servers say they serve: each endpoint's list of models (GET /v1/models), read every so
 * often and remembered. Nobody is asked that may not be asked, and no answer changes where requests
 * go: lists are for people, who compare them with what they wrote.
 *
 * A list that comes in pages (Anthropic's `has_more`) is read to its end. One that cannot be read
 * is asked for again within a minute, and the last good one is kept.
 * threads: everything here belongs to the thread that runs the loop (control). */
#ifndef BACKENDS_CATALOG_H
#define BACKENDS_CATALOG_H

#include "backends/discovery.h"
#include "backends/endpoints.h"
#include "backends/upstream.h"

struct event_base;
struct catalog;

/* Plain values, copied by catalog_configure, but for shared. */
struct catalog_spec {
    struct upstream_target target;
    const char *path; /* "/v1/models", with its query */
    const struct http1_header *headers;
    size_t header_count;
    int64_t interval_ms;                  /* from the end of one question to the next, +-10% */
    const struct endpoint_shared *shared; /* who it is; borrowed, lives as long as the process */
};

struct catalog_info {
    bool asked;                   /* a question has ended */
    int64_t asked_wall_us;        /* when the last one did */
    struct err_text why;          /* it brought no list, and this is why; "": it did */
    const struct discovery *list; /* the last that came, until the loop runs on; NULL: none yet */
};

struct catalog_owner {
    /* May that backend be asked now? NULL: always. One that may not is looked at again after its
     * interval, or when catalog_ask says so. */
    bool (*may_ask)(void *ctx, const char *backend);
    /* What is known of it is new: the first answer, another list, another failure. Must neither
     * configure nor free the catalog. May be NULL. */
    void (*on_news)(void *ctx, const struct endpoint_shared *shared);
    void *ctx;
};

/* The upstream must run on the same base. Both are borrowed. */
struct catalog *catalog_new(struct event_base *base, struct upstream *up,
                            const struct catalog_owner *owner);
/* Replaces what is asked; all are asked soon. Lists of endpoints that stay are kept. */
void catalog_configure(struct catalog *c, const struct catalog_spec *specs, size_t n);
void catalog_ask(struct catalog *c, const char *backend); /* now, out of turn */
void catalog_free(struct catalog *c);                     /* ends what is in flight */
/* What is known of that endpoint; false when it is not asked at all. */
bool catalog_about(const struct catalog *c, const struct endpoint_shared *shared,
                   struct catalog_info *out);

#endif

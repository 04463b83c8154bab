/* What the parts of the admin API share: the shape of a table of routes, and what is kept of one
 * visit. Control thread. */
#ifndef GATEWAY_ADMIN_ROUTE_H
#define GATEWAY_ADMIN_ROUTE_H

#include "base/idtable.h"
#include "gateway/http_server.h"

struct api_admin;

enum admin_access { ADMIN_OPEN, ADMIN_ONLY };

struct admin_route {
    const char *method; /* GET answers HEAD too */
    const char *path;   /* a last segment "*" stands for any one segment, handed over as `rest` */
    enum admin_access access;
    void (*handle)(struct api_admin *a, struct http_exchange *x, struct slice rest);
};

/* An answer that is not ready yet, embedded in whatever makes it ready. */
struct admin_task {
    void (*gone)(struct admin_task *t);     /* the client left: frees it */
    void (*writable)(struct admin_task *t); /* see http_handler.on_writable; NULL: not streamed */
};

/* In the exchange's arena, its user. */
struct admin_visit {
    const struct admin_route *route;
    struct slice rest;
    const char *allow;       /* for the 405: "GET, HEAD, PUT" */
    bool challenge;          /* 401: say which scheme (RFC 9110 11.6.1) */
    const char *who;         /* the tenant; "-" where there are none */
    struct admin_task *task; /* owned by its maker; NULL: nothing is open */
};

/* Fills in v->route and v->rest, or v->allow. tables ends with NULL, each of them with an empty
 * route. ERR_NOT_FOUND, ERR_METHOD_NOT_ALLOWED. */
enum err admin_route_find(const struct admin_route *const *tables, struct http_exchange *x,
                          struct admin_visit *v) MUST_CHECK;

#endif

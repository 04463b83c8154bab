/* Owns nothing. Called by api_admin.c for each head. */
#include "gateway/admin_route.h"

static bool path_matches(const char *pattern, struct slice path, struct slice *rest)
{
    struct slice fixed = slice_str(pattern);
    *rest = (struct slice){NULL, 0};
    if (fixed.p[fixed.n - 1] != '*')
        return slice_eq(path, fixed);
    fixed.n--;
    *rest = slice_from(path, fixed.n);
    return slice_starts(path, fixed) && rest->n > 0 && !memchr(rest->p, '/', rest->n);
}

/* The path is right and the method is not: what would be? */
static void allow(struct admin_visit *v, struct arena *a, const char *method)
{
    v->allow = arena_printf(a, "%s%s%s%s", v->allow ? v->allow : "", v->allow ? ", " : "", method,
                            strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

enum err admin_route_find(const struct admin_route *const *tables, struct http_exchange *x,
                          struct admin_visit *v)
{
    struct slice method = http_exchange_head(x)->method, rest;

    if (slice_eq(method, SLICE("HEAD")))
        method = SLICE("GET");
    for (; *tables; tables++)
        for (const struct admin_route *r = *tables; r->method; r++) {
            if (!path_matches(r->path, http_exchange_path(x), &rest))
                continue;
            if (slice_eq(method, slice_str(r->method))) {
                v->route = r;
                v->rest = rest;
                return ERR_OK;
            }
            allow(v, http_exchange_arena(x), r->method);
        }
    return v->allow ? ERR_METHOD_NOT_ALLOWED : ERR_NOT_FOUND;
}

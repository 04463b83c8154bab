/* CORS header lines. Called per reply, on a worker; pure. */
#include "gateway/cors.h"

static bool origin_allowed(const struct policy_server *s, struct slice origin, bool *any)
{
    for (size_t i = 0; i < s->cors_origin_count; i++) {
        *any = slice_eq(slice_str(s->cors_origins[i]), SLICE("*"));
        if (*any || slice_eq(slice_str(s->cors_origins[i]), origin))
            return true;
    }
    return false;
}

enum err cors_headers(const struct policy_server *s, const struct http1_head *request,
                      bool preflight, struct buf *out)
{
    const struct http1_header *origin, *wanted;
    bool any = false;
    enum err err;

    if (s->cors_origin_count == 0 || !(origin = http1_find(request, SLICE("origin"))))
        return ERR_OK;
    if (!origin_allowed(s, origin->value, &any))
        return buf_append_slice(out, SLICE("Vary: Origin\r\n"));
    err = any ? buf_append_slice(out, SLICE("Access-Control-Allow-Origin: *\r\n"))
              : buf_printf(out, "Access-Control-Allow-Origin: %.*s\r\nVary: Origin\r\n",
                           SLICE_ARG(origin->value));
    if (err != ERR_OK)
        return err;
    if (!preflight)
        return buf_append_slice(out, SLICE("Access-Control-Expose-Headers: x-request-id, "
                                           "x-weir-model, x-weir-endpoint, x-weir-route, "
                                           "x-weir-attempts, x-weir-cost-usd, x-weir-confidence, "
                                           "x-weir-decision, retry-after\r\n"));
    wanted = http1_find(request, SLICE("access-control-request-headers"));
    err = buf_append_slice(out, SLICE("Access-Control-Allow-Methods: GET, HEAD, POST, "
                                      "OPTIONS\r\nAccess-Control-Max-Age: 86400\r\n"));
    if (err == ERR_OK && wanted)
        err = buf_printf(out, "Access-Control-Allow-Headers: %.*s\r\n", SLICE_ARG(wanted->value));
    return err;
}

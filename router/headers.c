/* Header filters, both ways. Called once per request and once per upstream answer, on a worker. */
#include "router/headers.h"

#include <string.h>

/* Lower-case names that stop at the gateway. */
static const char *const not_to_upstream[] = {
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "authorization",
    "x-api-key",
    "api-key",
    "cookie",
    "accept-encoding",
    "expect",
    "origin",
    "referer",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "x-request-id",
    "openai-organization",
    "openai-project",
};

static const char *const not_to_client[] = {
    "content-length",
    "content-type",
    "content-encoding",
    "set-cookie",
    "date",
    "server",
    "x-request-id",
    "request-id",
    "alt-svc",
    "strict-transport-security",
    "via",
    "x-powered-by",
    /* of the upstream's bytes, which are not those that the client gets */
    "content-md5",
    "digest",
    "content-digest",
    "repr-digest",
    "etag",
    /* to caches and browsers, about the upstream's host */
    "age",
    "expires",
    "cache-control",
    "clear-site-data",
    "www-authenticate",
    "x-accel-buffering",
    "location",
    "vary",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static bool in_list(struct slice name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(list[i]) == name.n && strncasecmp(list[i], name.p, name.n) == 0)
            return true;
    return false;
}

size_t headers_to_upstream(const struct http1_head *head, struct arena *a, size_t spare,
                           struct http1_header **out)
{
    struct http1_header *h = ARENA_ARRAY(a, struct http1_header, head->header_count + spare);
    size_t n = 0;

    for (size_t i = 0; i < head->header_count; i++) {
        struct slice name = head->headers[i].name;

        if (!slice_istarts(name, SLICE("x-weir-")) &&
            !in_list(name, not_to_upstream, COUNT(not_to_upstream)) &&
            !http1_is_hop_by_hop(head, name))
            h[n++] = head->headers[i];
    }
    *out = h;
    return n;
}

size_t headers_to_client(const struct http1_head *head, struct arena *a, size_t spare,
                         struct http1_header **out)
{
    struct http1_header *h = ARENA_ARRAY(a, struct http1_header, head->header_count + spare + 1);
    const struct http1_header *id = http1_find(head, SLICE("x-request-id"));
    size_t n = 0;

    if (!id) /* Anthropic's */
        id = http1_find(head, SLICE("request-id"));
    for (size_t i = 0; i < head->header_count; i++) {
        struct slice name = head->headers[i].name;

        if (slice_istarts(name, SLICE("x-weir-")) ||
            in_list(name, not_to_client, COUNT(not_to_client)) || http1_is_hop_by_hop(head, name))
            continue;
        h[n++] = (struct http1_header){arena_dup(a, name), arena_dup(a, head->headers[i].value)};
    }
    if (id)
        h[n++] =
            (struct http1_header){SLICE("x-weir-upstream-request-id"), arena_dup(a, id->value)};
    *out = h;
    return n;
}

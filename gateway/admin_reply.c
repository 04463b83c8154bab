/* Owns nothing. Called by api_admin.c and api_cache*.c. */
#include "gateway/admin_reply.h"

#include <stdio.h>
#include <stdlib.h>

#define TAG_BYTES 72

static void reply_pieces(struct http_exchange *x, int status, const char *content_type,
                         const char *etag, const struct slice *pieces, size_t n_pieces)
{
    struct http1_header headers[2] = {{SLICE("Content-Type"), slice_str(content_type)}};
    size_t n = 1;
    char tag[TAG_BYTES];
    if (etag) {
        snprintf(tag, sizeof tag, "\"%.64s\"", etag);
        headers[n++] = (struct http1_header){SLICE("ETag"), slice_str(tag)};
    }
    http_reply_whole(x, status, headers, n, pieces, n_pieces);
}

void admin_reply_text(struct http_exchange *x, int status, const char *content_type,
                      const char *etag, struct slice text)
{
    reply_pieces(x, status, content_type, etag, &text, 1);
}

void admin_reply_json(struct http_exchange *x, int status, const char *etag, json_t *o)
{
    char *text = o ? json_dumps(o, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(o);
    const struct slice pieces[] = {slice_str(text), SLICE("\n")};
    if (text)
        reply_pieces(x, status, "application/json", etag, pieces, 2);
    else
        http_reply_error(x, ERR_INTERNAL, "The answer could not be written as JSON.", NULL, -1,
                         NULL, 0);
    free(text);
}

void admin_reply_error(struct http_exchange *x, enum err e, const char *message)
{
    http_reply_error(x, e, message, NULL, -1, NULL, 0);
}

bool admin_tag_matches(struct slice list, const char *etag)
{
    char tag[TAG_BYTES];
    snprintf(tag, sizeof tag, "\"%.64s\"", etag);
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        size_t n = comma ? (size_t)(comma - list.p) : list.n;
        struct slice one = slice_trim(slice_make(list.p, n));
        if (slice_eq(one, slice_str(tag)) || slice_eq(one, SLICE("*")))
            return true;
        list = slice_from(list, comma ? n + 1 : n);
    }
    return false;
}

/* One request to a running server, for commands that ask one. Runs its own loop until the answer is
 * there. Single-threaded. */
#ifndef GATEWAY_CLI_FETCH_H
#define GATEWAY_CLI_FETCH_H

#include <stdbool.h>
#include <stdint.h>
#include "base/buf.h"
#include "base/err.h"

#define FETCH_BYTES ((size_t)16 << 20)

struct fetch_ask {
    const char *base_url; /* as a client library takes it ("http://127.0.0.1:8080/v1") */
    const char *path;     /* appended to it */
    const char *api_key;  /* NULL: none */
    const char *method;   /* NULL: GET */
    const char *accept;   /* NULL: application/json */
    const char *content_type, *if_match; /* NULL: none */
    struct slice body;                   /* goes with content_type */
    int64_t total_ms;                    /* 0: half a minute; -1: as long as it takes */
    /* Takes the body of an answer with status 200 instead of fetch's `body`; false ends it. */
    bool (*on_data)(void *ctx, struct slice data);
    void (*on_header)(void *ctx, struct slice name, struct slice value); /* NULL: not wanted */
    void *ctx;
};

/* The body of any answer goes to `body` and its status to *status. ERR_BAD_REQUEST for a URL that
 * is none; ERR_UPSTREAM_* when no answer came, ERR_CLIENT_GONE when on_data wanted no more; t says
 * why. */
enum err fetch(const struct fetch_ask *ask, struct buf *body, int *status,
               struct err_text *t) MUST_CHECK;
/* A GET of a whole answer. */
enum err fetch_get(const char *base_url, const char *path, const char *api_key, struct buf *body,
                   int *status, struct err_text *t) MUST_CHECK;

#endif

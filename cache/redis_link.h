/* One connection to a Redis or Valkey server, kept up: connecting, greeting, coming back after a
 * loss, and calls whose answers come in order. hiredis parses and formats; the socket is ours,
 * because its own asynchronous context resolves names on the loop, knows no time limits and aborts
 * the process when a server speaks unasked (0.14).
 *
 * A call is answered by exactly one callback, never before redis_link_call has returned; reply is
 * NULL when there is none within the call's budget (ERR_OVERLOADED), because the connection was
 * lost or is not up. A late answer is dropped. After any error the connection is given up and a new
 * one made, after a pause that grows to BACKOFF_MAX: none is ever used again.
 *
 * One thread: that of the loop. Nothing may be freed from within a callback. */
#ifndef CACHE_REDIS_LINK_H
#define CACHE_REDIS_LINK_H

#include <event2/event.h>
#include "base/err.h"
#include "base/slice.h"

struct redis_link;

struct redis_link_options {
    struct event_base *base;
    /* "redis://[user[:password]@]host[:port][/db]", "unix:/path" ; user and password with %XX. */
    const char *url;
    /* Unanswered for that long (beside the call's own budget): the connection is dead. */
    int64_t stall_us;
    size_t max_queued_bytes; /* not yet written */
    void (*up)(void *ctx);
    void (*down)(void *ctx, const char *why); /* was up, or could not be made */
    void *ctx;
};

/* Connects in the background. ERR_BAD_REQUEST with t: the URL's fault, and where. */
enum err redis_link_new(const struct redis_link_options *opt, struct redis_link **out,
                        struct err_text *t) MUST_CHECK;
/* Answers what is open; NULL is fine. down is not called. */
void redis_link_free(struct redis_link *l);
bool redis_link_up(const struct redis_link *l);

enum redis_kind {
    REDIS_KIND_NIL,
    REDIS_KIND_TEXT,
    REDIS_KIND_INTEGER,
    REDIS_KIND_ARRAY,
    REDIS_KIND_ERROR,
};
/* A reply, borrowed until the callback returns. */
struct redis_reply;
enum redis_kind redis_reply_kind(const struct redis_reply *r);
struct slice redis_reply_text(const struct redis_reply *r); /* of TEXT and ERROR; else "" */
int64_t redis_reply_integer(const struct redis_reply *r);   /* of INTEGER; else 0 */
size_t redis_reply_count(const struct redis_reply *r);      /* of ARRAY; else 0 */
const struct redis_reply *redis_reply_at(const struct redis_reply *r, size_t i);

typedef void redis_reply_fn(void *ctx, enum err err, const struct redis_reply *reply);
/* words are copied. A budget of 0 is late at once: nothing is sent. */
void redis_link_call(struct redis_link *l, const struct slice *words, size_t count,
                     int64_t budget_us, redis_reply_fn *fn, void *ctx);
/* What it answers makes no sense: gives the connection up after the callback. */
void redis_link_distrust(struct redis_link *l, const char *why);

#endif

/* A server's answer on its way to a client: what must be known of it (complete? usage? an error?)
 * and the bytes the client gets, in the client's API. Where both speak the same dialect the bytes
 * pass through a filter (openai_stream, anthropic_stream); else they are decoded into chat events
 * and encoded again (answer_translate). Pure; one per attempt, embedded in the request.
 *
 * A stream's end is held back: answer_end writes it, for a complete answer only. */
#ifndef BACKENDS_WIRE_ANSWER_H
#define BACKENDS_WIRE_ANSWER_H

#include "backends/wire/answer_signals.h"
#include "backends/wire/anthropic_stream.h"
#include "backends/wire/openai_reply.h"
#include "backends/wire/wire.h"

struct answer_options {
    enum wire_api api;        /* the client's */
    enum wire_dialect server; /* who answers */
    int64_t n;                /* choices expected */
    bool include_usage;       /* the client asked for it */
    bool asked_usage;         /* weir did */
    bool show_requested; /* the reply names the model as the client did; else as the server does */
    bool replayed;       /* from the cache: its id is made of request_id, not of the server's */
    bool encrypted_reasoning; /* Responses: signatures travel in reasoning.encrypted_content */
    bool asked_logprobs;      /* weir did, the client did not: the answer has none for it (null) */
    struct answer_signals *signals; /* reads along; NULL: nobody wants to know */
    /* Borrowed as long as the answer is open. */
    struct slice requested_model;
    struct slice request_id; /* for answers without an id of their own, and for errors */
    struct slice echo;       /* Responses: members of the request that the response repeats */
    int64_t created_s;       /* Unix time, for dialects that show one */
    int64_t prompt_tokens;   /* estimate, where a dialect tells it before the server does */
    size_t max_event_bytes, max_answer_bytes;
};

struct answer_translation;

struct answer {
    struct answer_options opt;
    enum { ANSWER_CLOSED, ANSWER_OPENAI, ANSWER_ANTHROPIC, ANSWER_TRANSLATED } mode;
    union { /* private, by mode */
        struct openai_stream openai;
        struct anthropic_stream anthropic;
        struct answer_translation *translation; /* owned */
    } u;
};

/* A whole answer that was read. */
struct answer_whole {
    bool has_usage;
    struct token_usage usage;
    int64_t output_bytes; /* of content texts, for estimates */
    struct slice *pieces; /* what the client gets; in the arena or pointing into the body */
    size_t count;
};

/* Body of a 200 that is no stream. ERR_UPSTREAM_PROTOCOL, or what an error in its place means. */
enum err answer_read_whole(const struct answer_options *opt, struct slice body, struct arena *a,
                           struct answer_whole *out) MUST_CHECK;
/* What an error answer of that dialect means; status 0 or 200: an error in place of an answer. */
enum err answer_classify(enum wire_dialect server, int status, struct slice body);
/* An error body in the API's shape; request_id is used where the shape has a place for it. */
enum err answer_error_body(enum wire_api api, enum err e, const char *message, const char *param,
                           struct slice request_id, struct buf *out) MUST_CHECK;
/* May the server's own error body go to the client as it is? Only in the same dialect, for errors
 * that are the client's business (not those of the gateway's key or configuration), and with the
 * code that clients act upon (agents compact their history on a context-length refusal). *message
 * gets the server's words, for an error of weir's own in its place; "" when they are not to be
 * told. */
bool answer_error_passes(enum wire_api api, enum wire_dialect server, enum err e, struct slice body,
                         struct err_text *message);
/* The HTTP status that clients of this API expect with e. */
int answer_error_status(enum wire_api api, enum err e);

/* ---- streams ---- */

void answer_open(struct answer *a, const struct answer_options *opt);
void answer_clear(struct answer *a); /* harmless when not open */
static inline bool answer_is_open(const struct answer *a)
{
    return a->mode != ANSWER_CLOSED;
}
/* Feeds body bytes; appends what the client gets to out. Errors: ERR_UPSTREAM_PROTOCOL,
 * ERR_UPSTREAM_TOO_LARGE, or what an error event means. After an error nothing more is written. */
enum err answer_feed(struct answer *a, struct slice in, struct buf *out) MUST_CHECK;
/* May the answer be called whole, if the server says no more? */
bool answer_complete(const struct answer *a);
/* The server said that it is whole. */
bool answer_ended(const struct answer *a);
/* Nothing that matters can come any more. */
bool answer_exhausted(const struct answer *a);
/* The end, in the client's API; once. ERR_INTERNAL when the answer is not complete. */
enum err answer_end(struct answer *a, struct buf *out) MUST_CHECK;
/* An error in mid-stream, in the client's API; no end follows it. message NULL: err_text(e). */
enum err answer_error(struct answer *a, enum err e, const char *message,
                      struct buf *out) MUST_CHECK;
/* What was reported so far; NULL while nothing was. Its source says partial when only the prompt's
 * tokens were and the answer's are counted in pieces. */
const struct token_usage *answer_usage(const struct answer *a);
int64_t answer_deltas(const struct answer *a); /* content-bearing pieces so far, for estimates */
/* What keeps an idle stream alive: a comment, or Anthropic's ping. */
struct slice answer_keepalive(enum wire_api api);

#endif

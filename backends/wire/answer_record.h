/* What of an answer is kept so that it may be given again: a whole reply in the server's dialect.
 * Whole replies are judged and kept as they came; streams are read along, at no cost to what the
 * client gets, and written as a whole reply once they have truly ended.
 *
 * Never kept: what was cut off (length, pause, no end), refused or filtered, empty, or has parts
 * that a replay could not say again (citations, audio, blocks of a server's own tools); answers
 * that call tools only where the rules allow it: a call that is replayed acts twice.
 *
 * Pure; memory up to a maximum given at init. Belongs to the attempt that it reads along with. */
#ifndef BACKENDS_WIRE_ANSWER_RECORD_H
#define BACKENDS_WIRE_ANSWER_RECORD_H

#include "backends/wire/wire.h"
#include "base/buf.h"

enum answer_worth {
    ANSWER_GOOD,
    ANSWER_UNFINISHED,  /* length, pause, or no end */
    ANSWER_REFUSED,     /* by the model or by a filter */
    ANSWER_CALLS_TOOLS, /* and may not be kept */
    ANSWER_EMPTY,
    ANSWER_LOSSY, /* a replay would not say all of it */
    ANSWER_LARGE,
    ANSWER_MALFORMED, /* not a reply, or an error in its place */
    ANSWER_WORTHS
};
/* "good", "unfinished", "refused", "calls_tools", "empty", "lossy", "large", "malformed" */
const char *answer_worth_name(enum answer_worth w);

struct answer_record_options {
    enum wire_api api;        /* the client's */
    enum wire_dialect server; /* who answers */
    int64_t n;                /* choices expected */
    bool tool_calls;          /* may be kept */
    bool mute_logprobs;       /* they were weir's question, not the client's: none are kept */
    int64_t created_s;        /* Unix time, for servers that say none */
    size_t max_bytes;         /* of what is kept */
    size_t max_event_bytes;
};

/* A whole body: is it worth keeping, as it is (but for log-probabilities that are to be muted)? */
enum answer_worth answer_record_whole(const struct answer_record_options *opt, struct slice body);
/* What of a whole body that is worth it is kept: appended to out. False when out is full. */
bool answer_record_keep(const struct answer_record_options *opt, struct slice body,
                        struct buf *out) MUST_CHECK;

/* Streams. */
struct answer_record;
struct answer_record *answer_record_new(const struct answer_record_options *opt);
void answer_record_free(struct answer_record *r); /* NULL is fine */
/* The server's bytes, in any split. What is wrong with them shows at the end. */
void answer_record_feed(struct answer_record *r, struct slice in);
/* The stream is over. GOOD: the whole reply was appended to out; else out is as it was. */
enum answer_worth answer_record_end(struct answer_record *r, struct buf *out);

#endif

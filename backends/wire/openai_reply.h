/* OpenAI replies: whole bodies and streams, read for what weir must know (usage, finish reasons, errors), otherwise passed on byte for byte.
 * Pure. Sources: OpenAI API reference (chat completion object, chunk object, streaming, error codes). */
#ifndef BACKENDS_WIRE_OPENAI_REPLY_H
#define BACKENDS_WIRE_OPENAI_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include "backends/wire/sse.h"
#include "backends/wire/wire.h"
#include "base/arena.h"
#include "base/json_scan.h"
#include "base/tokens.h"

/* ---- whole replies ---- */
struct openai_reply {
    bool has_usage;
    struct token_usage usage;      /* disjoint kinds; source USAGE_REPORTED when has_usage */
    struct json_member model;      /* for REPLY_MODEL_REQUESTED */
    bool truncated;                /* some finish_reason is "length" */
    bool is_error;                 /* 200 with only an error member */
    int64_t output_bytes;          /* of content texts, for estimates */
};
/* ERR_UPSTREAM_PROTOCOL when the body is not JSON or not a reply of this API (no choices/data array and no error). */
enum err openai_reply_scan(enum wire_api api, struct slice body, struct openai_reply *out) MUST_CHECK;
/* body with the model's value replaced; pieces in the arena; number of pieces. */
size_t openai_reply_splice_model(struct slice body, const struct json_member *model, struct slice name, struct arena *a,
                                 struct slice **pieces);

/* What an upstream's error answer means. body may be anything. Looks at status, error.code, error.type and well-known message texts of
 * OpenAI, vLLM, llama.cpp, Ollama, Azure and OpenRouter. Returns ERR_UPSTREAM_{RATE_LIMITED,QUOTA,OVERLOADED,SERVER_ERROR,AUTH,NOT_FOUND,CONTEXT_LENGTH,
 * CONTENT_FILTER,REJECTED}. */
enum err openai_error_classify(int status, struct slice body);

/* {"error":{"message":..,"type":..,"param":..,"code":..}} for e; message NULL: err_text(e); param NULL: null. */
enum err openai_error_body(enum err e, const char *message, const char *param, struct buf *out) MUST_CHECK;

/* Estimates where nothing was reported: prompt = ceil(bytes/4), output = deltas seen, or ceil(bytes/4) for whole texts. */
int64_t openai_estimate_tokens(int64_t bytes);

/* ---- streams ---- */
/* A filter between the upstream's bytes and the client's: strips what weir asked for, watches for completeness.
 *   complete  = every choice that appeared (and at least n of them) had its finish_reason, or [DONE] came after some choice
 *   [DONE]    is held back and written by openai_stream_end only for a complete answer
 * A chunk is rewritten only when it must be (usage member stripped, model renamed); else its raw bytes are emitted untouched. */
struct openai_stream {
    enum wire_api api;
    struct sse_parser sse;
    bool include_usage;     /* the client asked for it: pass usage on; else strip it */
    bool asked_usage;       /* weir added include_usage */
    struct slice rename;    /* model name to show, or {NULL,0} to leave the upstream's; borrowed */
    int64_t n;              /* choices expected */
    bool done_seen;         /* data: [DONE] */
    bool failed;            /* an error event came */
    bool first_emitted;     /* some content-bearing event was emitted */
    int64_t finished;       /* choices with a finish_reason */
    uint64_t finished_mask; /* of the first 64 indices */
    bool has_usage;
    struct token_usage usage;
    int64_t deltas;         /* content-bearing chunks, for partial estimates */
    int64_t output_bytes;   /* JSON text bytes of delta contents */
    struct buf *out;        /* where emitted bytes go */
    enum err err;
    struct slice error_data; /* of an in-band error event: valid during feed only */
};

void openai_stream_init(struct openai_stream *s, enum wire_api api, int64_t n, bool include_usage, bool asked_usage,
                        struct slice rename, size_t max_event_bytes);
void openai_stream_clear(struct openai_stream *s);
/* Feeds upstream body bytes; appends what the client shall get to out. ERR_OK; ERR_UPSTREAM_PROTOCOL on a chunk that is not JSON;
 * ERR_UPSTREAM_SERVER_ERROR (or as classified) on an error event (the event itself is not emitted; the caller writes the final error);
 * ERR_UPSTREAM_TOO_LARGE. After an error nothing more is emitted. */
enum err openai_stream_feed(struct openai_stream *s, struct slice in, struct buf *out) MUST_CHECK;
/* May the answer be called whole, if the upstream says no more? */
bool openai_stream_complete(const struct openai_stream *s);
/* Nothing can come any more but [DONE]: complete, and the usage that was asked for has been seen (or was not asked for). */
bool openai_stream_exhausted(const struct openai_stream *s);
/* "data: [DONE]\n\n" */
enum err openai_stream_end(struct openai_stream *s, struct buf *out) MUST_CHECK;
/* "data: {"error":{...}}\n\n", with no [DONE] after it: the client must see that the answer is not whole. */
enum err openai_stream_error(enum err e, const char *message, struct buf *out) MUST_CHECK;

#endif

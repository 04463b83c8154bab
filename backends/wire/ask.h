/* A client's request in whatever API it came: scanned once, remembered by what routing needs, and
 * written for whichever server an attempt goes to. Where client and server speak the same dialect
 * the body is spliced from the client's own bytes; else it is translated through struct chat, and
 * what cannot be translated is refused with its name. Pure; lives in the request's arena. */
#ifndef BACKENDS_WIRE_ASK_H
#define BACKENDS_WIRE_ASK_H

#include "backends/wire/anthropic_request.h"
#include "backends/wire/chat.h"
#include "backends/wire/openai_request.h"
#include "backends/wire/quirks.h"
#include "backends/wire/wire.h"

enum ask_feature {
    ASK_TOOLS = 1 << 0,
    ASK_IMAGES = 1 << 1,
    ASK_AUDIO = 1 << 2,
    ASK_STRUCTURED = 1 << 3,
    ASK_LOGPROBS = 1 << 4,
};

struct ask {
    enum wire_api api;
    struct slice body;       /* borrowed: the client's bytes */
    struct slice model_name; /* decoded; in the arena */
    bool stream;
    bool include_usage;          /* OpenAI: the client asked for the usage chunk */
    int64_t n;                   /* choices the answer will have */
    unsigned features;           /* of enum ask_feature */
    int64_t prompt_tokens;       /* estimate */
    struct slice last_user_text; /* raw JSON string with quotes; "" when there is none */
    struct slice echo;           /* Responses: members that the response repeats */
    bool encrypted_reasoning;    /* Responses: asked for */
    /* Private: by API, and the neutral form from the first translation on. */
    struct openai_request openai;
    struct anthropic_request anthropic;
    const struct chat *chat;
};

/* ERR_BAD_JSON, or ERR_BAD_REQUEST with *param (in the arena or static) and the reason in t. */
enum err ask_scan(enum wire_api api, struct slice body, struct arena *a, struct ask *out,
                  const char **param, struct err_text *t) MUST_CHECK;

/* The server an attempt goes to. */
struct ask_target {
    enum wire_dialect dialect;
    const struct quirks *quirks; /* of OpenAI-like servers */
    bool quirks_apply;  /* the policy names the server: a request in its own dialect is written anew
                           where quirks touch it, and passes byte for byte otherwise */
    struct slice model; /* its own name for the model */
    int64_t max_output_tokens; /* of the model; <= 0: unknown */
    bool adaptive_thinking;    /* Anthropic's: an effort is told as such, not as a budget */
    bool no_sampling;  /* Anthropic's, from version 2026-10-21 on: no temperature, top_p, top_k */
    bool ask_logprobs; /* also when the client did not ask */
    bool ask_usage;    /* on a stream, also when the client did not ask */
    bool other_model;  /* not the model that most likely served the turns before: its thinking and
                          signatures are left out */
};

struct ask_body {
    struct slice *pieces; /* in the arena, pointing into it or into the client's bytes */
    size_t count, total_bytes;
    bool asked_logprobs; /* that the client did not ask for: answer_options.asked_logprobs */
};

/* The body for one attempt. ERR_UNTRANSLATABLE with *param and t when the server's dialect cannot
 * say what was asked; ERR_BAD_REQUEST when the request is wrong in the client's own. */
enum err ask_write(struct ask *ask, const struct ask_target *to, struct arena *a,
                   struct ask_body *out, const char **param, struct err_text *t) MUST_CHECK;

/* The request in its neutral form, parsed when it first is asked for; NULL: its API has none (text
 * completions, embeddings), or it cannot be read in full, which only a server then judges. */
const struct chat *ask_neutral(struct ask *ask, struct arena *a);

/* Anthropic's count_tokens request: *tokens is an estimate (chat_estimate_tokens), *model as the
 * client wrote it. Errors as ask_scan. */
enum err ask_count_tokens(struct slice body, struct arena *a, struct slice *model, int64_t *tokens,
                          const char **param, struct err_text *t) MUST_CHECK;

#endif

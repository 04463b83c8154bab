/* Token counts of one attempt, by the kinds that are priced differently. The kinds are disjoint:
 * fresh + cached + cache write = prompt tokens; output + reasoning = completion tokens. (OpenAI
 * reports cached inside prompt_tokens and reasoning inside completion_tokens; the wire code
 * subtracts.) */
#ifndef BASE_TOKENS_H
#define BASE_TOKENS_H

#include <stdint.h>

enum token_kind {
    TOK_INPUT,
    TOK_CACHED_INPUT,
    TOK_CACHE_WRITE,
    TOK_OUTPUT,
    TOK_REASONING,
    TOK_KINDS
};

/* Where the counts come from. */
enum usage_source {
    USAGE_NONE,      /* nothing was processed: connect failure, 4xx/5xx answer */
    USAGE_REPORTED,  /* the upstream's own final usage */
    USAGE_PARTIAL,   /* the answer was cut or cancelled: counted from what arrived */
    USAGE_ESTIMATED, /* a complete answer without usage: estimated from bytes and chunks */
};

struct token_usage {
    int64_t n[TOK_KINDS];
    enum usage_source source;
};

const char *token_kind_name(enum token_kind k);     /* "input", "cached_input", ... */
const char *usage_source_name(enum usage_source s); /* "reported", ... */

#endif

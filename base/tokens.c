/* Names of the token kinds and usage sources, as metrics, ledger and replies spell them. Pure. */
#include "base/tokens.h"

#include <assert.h>

const char *token_kind_name(enum token_kind k)
{
    switch (k) {
    case TOK_INPUT:
        return "input";
    case TOK_CACHED_INPUT:
        return "cached_input";
    case TOK_CACHE_WRITE:
        return "cache_write";
    case TOK_OUTPUT:
        return "output";
    case TOK_REASONING:
        return "reasoning";
    case TOK_KINDS:
        break;
    }
    assert(!"token kind");
    return "";
}

const char *usage_source_name(enum usage_source s)
{
    switch (s) {
    case USAGE_NONE:
        return "none";
    case USAGE_REPORTED:
        return "reported";
    case USAGE_PARTIAL:
        return "partial";
    case USAGE_ESTIMATED:
        return "estimated";
    }
    assert(!"usage source");
    return "";
}

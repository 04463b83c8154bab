/* See tally.h. Called by exchange.c when a request ends. */
#include "tests/fleet/tally.h"

#include "tests/fleet/text.h"

const char *outcome_name(enum outcome o)
{
    switch (o) {
    case OUTCOME_COMPLETED:
        return "completed";
    case OUTCOME_REFUSED:
        return "refused";
    case OUTCOME_FAULTED:
        return "faulted";
    case OUTCOME_ABORTED:
        return "aborted";
    case OUTCOME_KINDS:
        break;
    }
    return "open";
}

nanousd tally_cost(const int64_t tokens[TOK_KINDS], const nanousd price_per_million[TOK_KINDS])
{
    int64_t sum = 0; /* a million tokens at USD 1000 per million is 1e18: it fits, and prices beyond
                        are refused */
    for (int k = 0; k < TOK_KINDS; k++)
        sum += tokens[k] * price_per_million[k];
    return (sum + 500000) / 1000000;
}

void tally_print(const struct tally *t, struct buf *out)
{
    TEXT_ADD(out, "\"requests\":%lld,\"streams\":%lld", (long long)t->requests,
             (long long)t->streams);
    for (int o = 0; o < OUTCOME_KINDS; o++)
        TEXT_ADD(out, ",\"%s\":%lld", outcome_name((enum outcome)o), (long long)t->by_outcome[o]);
    TEXT_LIT(out, ",\"tokens\":{");
    for (int k = 0; k < TOK_KINDS; k++)
        TEXT_ADD(out, "%s\"%s\":%lld", k ? "," : "", token_kind_name((enum token_kind)k),
                 (long long)t->tokens[k]);
    TEXT_ADD(out, "},\"aborted_output_tokens\":%lld,\"cost_nanousd\":%lld",
             (long long)t->aborted_output_tokens, (long long)t->cost);
}

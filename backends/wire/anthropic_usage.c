/* Reads Anthropic's usage. Pure; called at the start and the end of an answer. */
#include "backends/wire/anthropic_usage.h"

#include "backends/wire/member.h"

#define MAX_TOKENS INT64_C(1000000000000)

/* -1: not reported. */
struct counts {
    int64_t input, cache_read, cache_write, output, thinking;
};

static void take(int64_t *count, struct json_value v)
{
    int64_t n;

    if (json_int(v, &n) && n >= 0 && n <= MAX_TOKENS)
        *count = n;
}

static void read_counts(struct json_value usage, struct counts *c)
{
    struct json_iter it;
    struct json_member m, details;

    json_iter_init(&it, usage);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("input_tokens")))
            take(&c->input, m.value);
        else if (member_is(&m, SLICE("cache_read_input_tokens")))
            take(&c->cache_read, m.value);
        else if (member_is(&m, SLICE("cache_creation_input_tokens")))
            take(&c->cache_write, m.value);
        else if (member_is(&m, SLICE("output_tokens")))
            take(&c->output, m.value);
        else if (member_is(&m, SLICE("output_tokens_details")) &&
                 json_get(m.value, SLICE("thinking_tokens"), &details))
            take(&c->thinking, details.value);
    }
}

static void merge(int64_t *count, int64_t reported)
{
    if (reported >= 0)
        *count = reported;
}

bool anthropic_usage_read(struct json_value v, struct token_usage *usage)
{
    struct counts c = {-1, -1, -1, -1, -1};
    int64_t output = usage->n[TOK_OUTPUT] + usage->n[TOK_REASONING];
    int64_t thinking = usage->n[TOK_REASONING];

    if (v.type != JSON_OBJECT)
        return false;
    read_counts(v, &c);
    if (c.input < 0 && c.cache_read < 0 && c.cache_write < 0 && c.output < 0)
        return false;
    merge(&usage->n[TOK_INPUT], c.input);
    merge(&usage->n[TOK_CACHED_INPUT], c.cache_read);
    merge(&usage->n[TOK_CACHE_WRITE], c.cache_write);
    merge(&output, c.output);
    merge(&thinking, c.thinking);
    usage->n[TOK_REASONING] = thinking < output ? thinking : output;
    usage->n[TOK_OUTPUT] = output - usage->n[TOK_REASONING];
    usage->source = USAGE_REPORTED;
    return true;
}

bool anthropic_usage_begin(struct token_usage *usage)
{
    usage->source = USAGE_PARTIAL;
    return usage->n[TOK_INPUT] + usage->n[TOK_CACHED_INPUT] + usage->n[TOK_CACHE_WRITE] > 0;
}

void anthropic_usage_pieces(struct token_usage *usage, int64_t pieces)
{
    int64_t known = usage->n[TOK_OUTPUT] + usage->n[TOK_REASONING];

    if (usage->source == USAGE_PARTIAL && known < pieces)
        usage->n[TOK_OUTPUT] += pieces - known;
}

void anthropic_usage_settle(struct token_usage *usage)
{
    if (usage->source == USAGE_PARTIAL)
        usage->source = USAGE_ESTIMATED;
}

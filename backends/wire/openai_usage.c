/* Reads usage objects. Pure; called for each reply and each chunk that carries one. */
#include "backends/wire/openai_usage.h"

#include "backends/wire/member.h"

#define MAX_TOKENS INT64_C(1000000000000)

/* -1: not reported. */
struct counts {
    int64_t prompt, completion, total, cached, cache_write, reasoning;
    bool nonsense; /* one of the three sums was there but no possible count */
};

/* A count, or -1 when it is absent, null or no possible count. */
static int64_t count_of(struct json_value v)
{
    int64_t n;

    return json_int(v, &n) && n >= 0 && n <= MAX_TOKENS ? n : -1;
}

static void take_sum(struct counts *c, int64_t *sum, struct json_value v)
{
    if (v.type == JSON_NULL)
        return;
    *sum = count_of(v);
    if (*sum < 0)
        c->nonsense = true;
}

static void read_details(struct json_value details, struct counts *c)
{
    struct json_iter it;
    struct json_member m;

    if (details.type != JSON_OBJECT)
        return;
    json_iter_init(&it, details);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("cached_tokens")))
            c->cached = count_of(m.value);
        else if (member_is(&m, SLICE("cache_write_tokens"))) /* OpenRouter */
            c->cache_write = count_of(m.value);
        else if (member_is(&m, SLICE("reasoning_tokens")))
            c->reasoning = count_of(m.value);
    }
}

static void read_counts(struct json_value usage, struct counts *c)
{
    struct json_iter it;
    struct json_member m;

    json_iter_init(&it, usage);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("prompt_tokens")))
            take_sum(c, &c->prompt, m.value);
        else if (member_is(&m, SLICE("completion_tokens")))
            take_sum(c, &c->completion, m.value);
        else if (member_is(&m, SLICE("total_tokens")))
            take_sum(c, &c->total, m.value);
        else if (member_is(&m, SLICE("prompt_tokens_details")) ||
                 member_is(&m, SLICE("completion_tokens_details")))
            read_details(m.value, c);
        else if (c->cached < 0 && (member_is(&m, SLICE("prompt_cache_hit_tokens")) || /* DeepSeek */
                                   member_is(&m, SLICE("cache_read_input_tokens"))))
            c->cached = count_of(m.value);
        else if (c->cache_write < 0 && member_is(&m, SLICE("cache_creation_input_tokens")))
            c->cache_write = count_of(m.value);
    }
}

static int64_t at_least_0(int64_t n)
{
    return n > 0 ? n : 0;
}

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What the total counts beyond prompt and completion is billed too. Some servers keep reasoning out
 * of completion_tokens (xAI reports it in the details, Gemini's OpenAI endpoint only in the total),
 * some keep cached tokens out of prompt_tokens. */
static void add_remainder(struct counts *c)
{
    int64_t rest = c->total - c->prompt - c->completion;
    int64_t cached = at_least_0(c->cached) + at_least_0(c->cache_write);

    if (rest <= 0)
        return;
    if (cached && rest == cached) {
        c->prompt += rest;
        return;
    }
    if (c->reasoning < 0)
        c->reasoning = rest;
    if (c->reasoning == rest)
        c->completion += rest;
}

bool openai_usage_read(struct json_value usage, struct token_usage *out)
{
    struct counts c = {-1, -1, -1, -1, -1, -1, false};
    int64_t cached, written, reasoning;

    if (usage.type != JSON_OBJECT)
        return false;
    read_counts(usage, &c);
    if (c.nonsense || (c.prompt < 0 && c.completion < 0))
        return false;
    c.prompt = at_least_0(c.prompt);
    if (c.completion >= 0)
        add_remainder(&c);
    c.completion = at_least_0(c.completion);
    cached = lesser(at_least_0(c.cached), c.prompt);
    written = lesser(at_least_0(c.cache_write), c.prompt - cached);
    reasoning = lesser(at_least_0(c.reasoning), c.completion);
    *out = (struct token_usage){.source = USAGE_REPORTED};
    out->n[TOK_INPUT] = c.prompt - cached - written;
    out->n[TOK_CACHED_INPUT] = cached;
    out->n[TOK_CACHE_WRITE] = written;
    out->n[TOK_OUTPUT] = c.completion - reasoning;
    out->n[TOK_REASONING] = reasoning;
    return true;
}

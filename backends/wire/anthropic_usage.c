/* Reads Anthropic's usage. Pure; called at the start and the end of an answer. */
#include "backends/wire/anthropic_usage.h"

#include "backends/wire/member.h"

#define MAX_TOKENS INT64_C(1000000000000)

static const struct {
    struct slice name;
    enum token_kind kind;
} counts[] = {
    {{"input_tokens", 12}, TOK_INPUT},
    {{"cache_read_input_tokens", 23}, TOK_CACHED_INPUT},
    {{"cache_creation_input_tokens", 27}, TOK_CACHE_WRITE},
    {{"output_tokens", 13}, TOK_OUTPUT},
};

bool anthropic_usage_read(struct json_value v, struct token_usage *usage)
{
    struct json_iter it;
    struct json_member m;
    bool any = false;

    if (v.type != JSON_OBJECT)
        return false;
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m)) {
        for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
            int64_t n;
            if (!member_is(&m, counts[i].name) || !json_int(m.value, &n) || n < 0 || n > MAX_TOKENS)
                continue;
            usage->n[counts[i].kind] = n;
            usage->source = USAGE_REPORTED;
            any = true;
        }
    }
    return any;
}

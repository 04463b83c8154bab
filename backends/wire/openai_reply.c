/* Whole OpenAI replies. Pure; called once per reply, before its first byte goes to the client: what
 * is not a reply must not be passed off as one. */
#include "backends/wire/openai_reply.h"

#include "backends/wire/member.h"
#include "backends/wire/openai_choice.h"
#include "backends/wire/openai_usage.h"

struct members {
    struct json_member list; /* choices, or data */
    struct json_member usage, model, error;
    struct slice list_name;
};

static bool on_member(const struct json_member *m, void *ctx)
{
    struct members *found = ctx;

    if (member_is(m, found->list_name))
        found->list = *m;
    else if (member_is(m, SLICE("usage")))
        found->usage = *m;
    else if (member_is(m, SLICE("model")))
        found->model = *m;
    else if (member_is(m, SLICE("error")))
        found->error = *m;
    return true;
}

/* Returns how many choices there are. */
static size_t read_choices(struct json_value choices, struct openai_reply *out)
{
    struct json_iter it;
    struct json_member m;
    struct openai_choice choice;
    size_t count = 0;

    json_iter_init(&it, choices);
    while (json_iter_next(&it, &m)) {
        openai_choice_read(m.value, &choice);
        count++;
        out->truncated |= choice.truncated;
        out->is_error |= choice.failed;
        out->output_bytes += choice.text_bytes;
        if (!out->has_usage && choice.usage.text.n)
            out->has_usage = openai_usage_read(choice.usage, &out->usage);
    }
    return count;
}

enum err openai_reply_scan(enum wire_api api, struct slice body, struct openai_reply *out)
{
    struct members found = {.list_name = api == WIRE_EMBEDDINGS ? SLICE("data") : SLICE("choices")};
    bool usable = false;

    *out = (struct openai_reply){0};
    if (!json_scan_object(body, on_member, &found, NULL))
        return ERR_UPSTREAM_PROTOCOL;
    out->model = found.model;
    if (found.usage.value.text.n)
        out->has_usage = openai_usage_read(found.usage.value, &out->usage);
    if (member_given(&found.list) && found.list.value.type == JSON_ARRAY)
        usable = api == WIRE_EMBEDDINGS || read_choices(found.list.value, out) > 0;
    if (!usable)
        out->is_error = member_given(&found.error);
    return usable || out->is_error ? ERR_OK : ERR_UPSTREAM_PROTOCOL;
}

size_t openai_reply_splice_model(struct slice body, const struct json_member *model,
                                 struct slice name, struct arena *a, struct slice **pieces)
{
    struct slice *list = ARENA_ARRAY(a, struct slice, 3);
    size_t n, at;
    char *text;

    *pieces = list;
    if (!member_present(model)) {
        list[0] = body;
        return 1;
    }
    n = json_string_encode(name, NULL, 0);
    text = arena_alloc(a, n);
    json_string_encode(name, text, n);
    at = (size_t)(model->value.text.p - body.p);
    list[0] = slice_make(body.p, at);
    list[1] = slice_make(text, n);
    list[2] = slice_from(body, at + model->value.text.n);
    return 3;
}

int64_t openai_estimate_tokens(int64_t bytes)
{
    return bytes / 4 + (bytes % 4 > 0);
}

/* Whole OpenAI replies. Pure; called once per reply, before its first byte goes to the client: what
 * is not a reply must not be passed off as one. */
#include "backends/wire/openai_reply.h"

#include "backends/wire/member.h"
#include "backends/wire/openai_choice.h"
#include "backends/wire/openai_usage.h"

struct members {
    struct json_member list; /* choices, or data */
    struct json_member usage, model, id, created, error;
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
    else if (member_is(m, SLICE("id")))
        found->id = *m;
    else if (member_is(m, SLICE("created")))
        found->created = *m;
    else if (member_is(m, SLICE("error")))
        found->error = *m;
    return true;
}

/* Returns how many choices there are. */
static size_t read_choices(struct json_value choices, struct answer_signals *signals,
                           struct openai_reply *out)
{
    struct json_iter it;
    struct json_member m;
    struct openai_choice choice;
    size_t count = 0;

    json_iter_init(&it, choices);
    while (json_iter_next(&it, &m)) {
        openai_choice_read(m.value, &choice);
        count++;
        if (signals)
            answer_signals_openai(signals, &choice);
        out->truncated |= choice.truncated;
        out->is_error |= choice.failed;
        out->output_bytes += choice.text_bytes;
        if (!out->has_usage && choice.usage.text.n)
            out->has_usage = openai_usage_read(choice.usage, &out->usage);
    }
    return count;
}

enum err openai_reply_scan(enum wire_api api, struct slice body, struct answer_signals *signals,
                           struct openai_reply *out)
{
    struct members found = {.list_name = api == WIRE_EMBEDDINGS ? SLICE("data") : SLICE("choices")};
    bool usable = false;

    *out = (struct openai_reply){0};
    if (!json_scan_object(body, on_member, &found, NULL))
        return ERR_UPSTREAM_PROTOCOL;
    out->model = found.model;
    out->id = found.id;
    out->created = found.created;
    if (found.usage.value.text.n)
        out->has_usage = openai_usage_read(found.usage.value, &out->usage);
    if (member_given(&found.list) && found.list.value.type == JSON_ARRAY) {
        out->choices = found.list.value;
        usable = api == WIRE_EMBEDDINGS || read_choices(found.list.value, signals, out) > 0;
    }
    if (!usable)
        out->is_error = member_given(&found.error);
    return usable || out->is_error ? ERR_OK : ERR_UPSTREAM_PROTOCOL;
}

/* Pieces of a body with some values replaced, in the order of the text. */
struct splice {
    struct slice body, *list;
    size_t count, from;
};

static void replace(struct splice *s, struct slice value, struct slice by)
{
    size_t at = (size_t)(value.p - s->body.p);

    s->list[s->count++] = slice_make(s->body.p + s->from, at - s->from);
    s->list[s->count++] = by;
    s->from = at + value.n;
}

static struct slice encode(struct slice name, struct arena *a)
{
    size_t n = json_string_encode(name, NULL, 0);
    char *text = arena_alloc(a, n);

    json_string_encode(name, text, n);
    return slice_make(text, n);
}

static size_t count_elements(struct json_value list)
{
    struct json_iter it;
    struct json_member m;
    size_t n = 0;

    json_iter_init(&it, list);
    while (json_iter_next(&it, &m))
        n++;
    return n;
}

static void mute_choices(struct splice *s, struct json_value choices)
{
    struct json_iter it;
    struct json_member choice, logprobs;

    json_iter_init(&it, choices);
    while (json_iter_next(&it, &choice))
        if (json_get(choice.value, SLICE("logprobs"), &logprobs) &&
            openai_choice_has_logprobs(logprobs.value))
            replace(s, logprobs.value.text, SLICE("null"));
}

size_t openai_reply_splice(struct slice body, const struct json_member *model, struct slice name,
                           struct json_value mute, struct arena *a, struct slice **pieces)
{
    bool rename = name.p && member_present(model);
    bool model_first = rename && (!mute.text.n || model->value.text.p < mute.text.p);
    struct splice s = {.body = body};

    s.list = ARENA_ARRAY(a, struct slice, 3 + (mute.text.n ? 2 * count_elements(mute) : 0));
    if (rename && model_first)
        replace(&s, model->value.text, encode(name, a));
    if (mute.text.n)
        mute_choices(&s, mute);
    if (rename && !model_first)
        replace(&s, model->value.text, encode(name, a));
    s.list[s.count++] = slice_from(body, s.from);
    *pieces = s.list;
    return s.count;
}

int64_t openai_estimate_tokens(int64_t bytes)
{
    return bytes / 4 + (bytes % 4 > 0);
}

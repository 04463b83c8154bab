/* The table of servers. Constant; called when a policy is loaded and by the writer of requests. */
#include "backends/wire/quirks.h"

#include <assert.h>

/* Server words for: none, minimal, low, medium, high, xhigh, max. */
#define EFFORTS(none, minimal, low, medium, high, xhigh, max)                                      \
    {                                                                                              \
        NULL, none, minimal, low, medium, high, xhigh, max                                         \
    }
#define ANY_ID                                                                                     \
    {                                                                                              \
        .min_bytes = 1, .max_bytes = SIZE_MAX, .any = true                                         \
    }

#define VENDOR_NAME                                                                                \
    {                                                                                              \
        .min_bytes = 1, .max_bytes = 64                                                            \
    }

static const struct quirks table[QUIRK_SERVERS] = {
#define QUIRK(server, ...) [QUIRK_##server] = {__VA_ARGS__},
#include "backends/wire/quirks.def"
#undef QUIRK
};

const struct quirks *quirks_get(enum quirk_server s)
{
    assert((unsigned)s < QUIRK_SERVERS);
    return &table[s];
}

const struct quirks *quirks_find(struct slice name)
{
    for (int i = 0; i < QUIRK_SERVERS; i++)
        if (slice_eq(name, slice_str(table[i].name)))
            return &table[i];
    return NULL;
}

/* ---- what a server's quirks touch ---- */

static bool part_touched(const struct quirks *q, const struct chat_part *p)
{
    switch (p->kind) {
    case CHAT_PART_IMAGE:
        return (q->lacks & LACKS_IMAGE) || ((q->lacks & LACKS_IMAGE_URL) && !chat_given(p->data));
    case CHAT_PART_AUDIO:
        return q->lacks & LACKS_AUDIO;
    case CHAT_PART_DOCUMENT:
        return q->lacks & LACKS_FILE;
    case CHAT_PART_TOOL_CALL:
        return !tool_id_allowed(&q->tool_id, p->id) || !tool_id_fits(&q->tool_name, p->name);
    case CHAT_PART_TOOL_RESULT:
        return !tool_id_allowed(&q->tool_id, p->id);
    case CHAT_PART_TEXT:
    case CHAT_PART_REFUSAL:
    case CHAT_PART_THINKING:
    case CHAT_PART_REDACTED_THINKING:
        break;
    }
    return false;
}

static bool parts_touched(const struct quirks *q, const struct chat_part *parts)
{
    size_t texts = 0;

    for (const struct chat_part *p = parts; p; p = p->next) {
        if (part_touched(q, p) || parts_touched(q, p->parts))
            return true;
        texts += p->kind == CHAT_PART_TEXT;
    }
    return q->texts_as_string && texts > 1;
}

static bool messages_touched(const struct quirks *q, const struct chat *c)
{
    for (const struct chat_message *m = c->messages; m; m = m->next)
        if ((m->role == CHAT_DEVELOPER && (q->lacks & LACKS_DEVELOPER)) ||
            (chat_given(m->name) && (q->lacks & LACKS_NAME)) || parts_touched(q, m->parts))
            return true;
    return false;
}

static bool tools_touched(const struct quirks *q, const struct chat *c)
{
    bool named = c->tool_choice == CHAT_CHOICE_NAMED;

    for (const struct chat_tool *t = c->tools; t; t = t->next)
        if ((t->strict != CHAT_UNSET && (q->lacks & LACKS_STRICT)) ||
            !tool_id_fits(&q->tool_name, t->name))
            return true;
    return (c->tool_choice != CHAT_CHOICE_UNSET && (q->lacks & LACKS_TOOL_CHOICE)) ||
           (named && (q->lacks & LACKS_NAMED_CHOICE)) ||
           (c->tool_choice == CHAT_CHOICE_REQUIRED && q->required_word) ||
           (c->parallel != CHAT_UNSET && (q->lacks & LACKS_PARALLEL));
}

static bool effort_touched(const struct quirks *q, const struct chat *c)
{
    const char *word = q->effort[c->effort];

    return c->effort != CHAT_EFFORT_UNSET &&
           (!word || strcmp(word, quirks_get(QUIRK_OPENAI)->effort[c->effort]) != 0 ||
            c->effort == CHAT_EFFORT_MAX);
}

static bool settings_touched(const struct quirks *q, const struct chat *c)
{
    size_t stops = 0;

    for (const struct chat_stop *s = c->stops; s; s = s->next)
        stops++;
    return (c->stream && c->usage_throughout && !q->continuous_usage) ||
           (q->max_stops && stops > q->max_stops) || (chat_given(c->top_k) && !q->top_k_key) ||
           (chat_given(c->seed) && (q->seed_key || (q->lacks & LACKS_SEED))) ||
           (c->max_tokens_name && !q->both_max_tokens &&
            strcmp(c->max_tokens_name, q->max_tokens_key) != 0);
}

/* Each with the member that the server lacks. */
static bool lacks_touch(const struct quirks *q, const struct chat *c)
{
    const struct {
        unsigned lack;
        bool used;
    } uses[] = {
        {LACKS_N, chat_given(c->n)},
        {LACKS_PENALTIES, chat_given(c->frequency_penalty) || chat_given(c->presence_penalty)},
        {LACKS_LOGPROBS, c->logprobs != CHAT_UNSET || chat_given(c->top_logprobs)},
        {LACKS_LOGIT_BIAS, chat_given(c->logit_bias)},
        {LACKS_JSON_OBJECT, c->format == CHAT_FORMAT_JSON_OBJECT},
        {LACKS_JSON_SCHEMA, c->format == CHAT_FORMAT_JSON_SCHEMA},
        {LACKS_VERBOSITY, chat_given(c->verbosity)},
        {LACKS_STREAM_USAGE, c->stream}, /* weir's own question for usage counts, too */
    };

    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        if (uses[i].used && (q->lacks & uses[i].lack))
            return true;
    return false;
}

bool quirks_touch(const struct quirks *q, const struct chat *c)
{
    return settings_touched(q, c) || lacks_touch(q, c) || effort_touched(q, c) ||
           tools_touched(q, c) || messages_touched(q, c);
}

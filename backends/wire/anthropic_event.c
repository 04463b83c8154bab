/* Reads events of Anthropic streams. Pure; called for each event: one scan, no copies. */
#include "backends/wire/anthropic_event.h"

#include "backends/wire/member.h"

static const struct slice names[ANTHROPIC_UNKNOWN] = {
    [ANTHROPIC_MESSAGE_START] = {"message_start", 13},
    [ANTHROPIC_BLOCK_START] = {"content_block_start", 19},
    [ANTHROPIC_BLOCK_DELTA] = {"content_block_delta", 19},
    [ANTHROPIC_BLOCK_STOP] = {"content_block_stop", 18},
    [ANTHROPIC_MESSAGE_DELTA] = {"message_delta", 13},
    [ANTHROPIC_MESSAGE_STOP] = {"message_stop", 12},
    [ANTHROPIC_PING] = {"ping", 4},
    [ANTHROPIC_ERROR] = {"error", 5},
};

struct members {
    struct anthropic_event *event;
    struct json_value type, error;
};

static bool on_member(const struct json_member *m, void *ctx)
{
    struct members *found = ctx;

    if (member_is(m, SLICE("type")))
        found->type = m->value;
    else if (member_is(m, SLICE("delta")))
        found->event->delta = m->value;
    else if (member_is(m, SLICE("index")))
        found->event->index = m->value;
    else if (member_is(m, SLICE("content_block")))
        found->event->block = m->value;
    else if (member_is(m, SLICE("message")))
        found->event->message = m->value;
    else if (member_is(m, SLICE("usage")))
        found->event->usage = m->value;
    else if (member_is(m, SLICE("error")))
        found->error = m->value;
    return true;
}

static enum anthropic_event_kind kind_of(struct slice name)
{
    int k = 0;

    while (k < ANTHROPIC_UNKNOWN && !slice_eq(names[k], name))
        k++;
    return (enum anthropic_event_kind)k;
}

bool anthropic_event_read(const struct sse_event *e, struct anthropic_event *out)
{
    struct members found = {.event = out};
    struct slice name = e->event;

    *out = (struct anthropic_event){.kind = ANTHROPIC_UNKNOWN};
    if (!json_scan_object(e->data, on_member, &found, NULL))
        return false;
    if (found.type.type == JSON_STRING)
        name = slice_make(found.type.text.p + 1, found.type.text.n - 2);
    out->kind = kind_of(name);
    /* {"error":{...}} without a type: of proxies between. */
    if (out->kind == ANTHROPIC_UNKNOWN && found.error.type == JSON_OBJECT)
        out->kind = ANTHROPIC_ERROR;
    return true;
}

static const struct {
    struct slice name;
    enum chat_finish finish;
} stop_reasons[] = {
    {{"end_turn", 8}, CHAT_FINISH_STOP},
    {{"stop_sequence", 13}, CHAT_FINISH_STOP_SEQUENCE},
    {{"max_tokens", 10}, CHAT_FINISH_LENGTH},
    {{"model_context_window_exceeded", 29}, CHAT_FINISH_LENGTH},
    {{"tool_use", 8}, CHAT_FINISH_TOOL_CALLS},
    {{"refusal", 7}, CHAT_FINISH_FILTER},
    {{"pause_turn", 10}, CHAT_FINISH_PAUSE},
};

bool anthropic_event_finish(struct json_value reason, enum chat_finish *finish)
{
    *finish = CHAT_FINISH_STOP;
    for (size_t i = 0; i < sizeof(stop_reasons) / sizeof(stop_reasons[0]); i++) {
        if (!value_is_text(reason, stop_reasons[i].name))
            continue;
        *finish = stop_reasons[i].finish;
        return true;
    }
    return false;
}

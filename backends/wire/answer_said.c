/* Reads a kept answer as chat events and keeps the words. Called by router/judge.c. */
#include "backends/wire/answer_said.h"

#include "backends/wire/anthropic_decode.h"
#include "backends/wire/openai_decode.h"
#include "base/arena.h"
#include "base/json_scan.h"
#include "backends/wire/member.h"

struct words {
    struct buf *out;
    enum err err;
    bool any;
};

static void put(struct words *w, struct slice text)
{
    if (w->err == ERR_OK && text.n > 0) {
        w->err = buf_append_slice(w->out, text);
        w->any = true;
    }
}

static bool is_said(enum chat_block block)
{
    return block == CHAT_BLOCK_TEXT || block == CHAT_BLOCK_REFUSAL || block == CHAT_BLOCK_TOOL_CALL;
}

static bool on_event(const struct chat_event *e, void *ctx)
{
    struct words *w = ctx;

    if (e->kind == CHAT_BLOCK_START && is_said(e->block) && w->any)
        put(w, SLICE("\n"));
    if (e->kind == CHAT_BLOCK_START && e->block == CHAT_BLOCK_TOOL_CALL) {
        put(w, e->name);
        put(w, SLICE(" "));
    }
    if (e->kind == CHAT_DELTA && is_said(e->block))
        put(w, e->text);
    return w->err == ERR_OK;
}

static bool any_member(const struct json_member *m, void *ctx)
{
    (void)m, (void)ctx;
    return true;
}

/* A text completion's choices. */
static enum err read_completion(struct slice body, struct words *w)
{
    struct json_value root = {JSON_OBJECT, json_trim(body)};
    struct json_member choices, choice, text;
    struct json_iter it;
    struct arena a;

    if (!json_scan_object(root.text, any_member, NULL, NULL) ||
        !json_get(root, SLICE("choices"), &choices) || choices.value.type != JSON_ARRAY)
        return ERR_BAD_CACHE_ENTRY;
    arena_init(&a, 4096);
    json_iter_init(&it, choices.value);
    while (json_iter_next(&it, &choice)) {
        if (choice.value.type != JSON_OBJECT || !json_get(choice.value, SLICE("text"), &text) ||
            text.value.type != JSON_STRING)
            continue;
        if (w->any)
            put(w, SLICE("\n"));
        put(w, json_string_text(text.value.text, &a));
    }
    arena_clear(&a);
    return ERR_OK;
}

enum err answer_said(enum wire_api api, enum wire_dialect server, struct slice body,
                     struct buf *out)
{
    struct words w = {.out = out, .err = ERR_OK};
    enum err err = ERR_BAD_CACHE_ENTRY;

    if (api == WIRE_COMPLETIONS)
        err = read_completion(body, &w);
    else if (api != WIRE_EMBEDDINGS)
        err = server == WIRE_ANTHROPIC ? anthropic_decode_whole(body, on_event, &w, NULL)
                                       : openai_decode_whole(body, SLICE(""), on_event, &w, NULL);
    if (w.err != ERR_OK)
        return w.err;
    return err == ERR_OK && w.any ? ERR_OK : ERR_BAD_CACHE_ENTRY;
}

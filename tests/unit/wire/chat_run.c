/* See chat_run.h. */
#include "tests/unit/wire/chat_run.h"

#include <assert.h>
#include <stdlib.h>

const char *chat_run_target(int target)
{
    static const char *const anthropic[] = {"anthropic", "anthropic+adaptive", "anthropic+same"};

    return target < QUIRK_SERVERS ? quirks_get((enum quirk_server)target)->name
                                  : anthropic[target - QUIRK_SERVERS];
}

void chat_run_parse(struct chat_run *r, enum chat_dialect from, struct slice body)
{
    struct slice copy;

    *r = (struct chat_run){0};
    arena_init(&r->arena, 4096);
    r->body = malloc(body.n ? body.n : 1);
    assert(r->body);
    if (body.n)
        memcpy(r->body, body.p, body.n);
    copy = slice_make(r->body, body.n);
    switch (from) {
    case CHAT_OPENAI:
        r->err = openai_chat_parse(copy, &r->arena, &r->chat, &r->param, &r->text);
        break;
    case CHAT_ANTHROPIC:
        r->err = anthropic_chat_parse(ANTHROPIC_MESSAGES, copy, &r->arena, &r->chat, &r->param,
                                      &r->text);
        break;
    case CHAT_RESPONSES:
        r->err = responses_chat_parse(copy, &r->arena, &r->chat, &r->param, &r->text);
        break;
    }
}

enum err chat_run_write(struct chat_run *r, int target, struct buf *out, const char **param,
                        struct err_text *t)
{
    buf_reset(out);
    t->s[0] = 0;
    if (target < QUIRK_SERVERS) {
        struct openai_target to = {.quirks = quirks_get((enum quirk_server)target),
                                   .model = SLICE("up"),
                                   .ask_usage = true,
                                   .keep_thinking = true};
        return openai_chat_write(&r->chat, &to, &r->arena, out, param, t);
    }
    struct anthropic_target to = {.model = SLICE("up"),
                                  .max_output_tokens = target == CHAT_RUN_BUDGET ? 0 : 64000,
                                  .adaptive_thinking = target != CHAT_RUN_BUDGET,
                                  .keep_thinking = target == CHAT_RUN_SAME};
    return anthropic_chat_write(&r->chat, &to, &r->arena, out, param, t);
}

void chat_run_clear(struct chat_run *r)
{
    arena_clear(&r->arena);
    free(r->body);
}

/* Runs a request through a parser and every writer. For tests; works with any bytes. */
#ifndef TESTS_UNIT_WIRE_CHAT_RUN_H
#define TESTS_UNIT_WIRE_CHAT_RUN_H

#include "backends/wire/anthropic_chat.h"
#include "backends/wire/openai_chat.h"
#include "backends/wire/responses_chat.h"

struct chat_run {
    struct arena arena;
    char *body; /* owned: a block of its own size, so that a sanitizer sees reads beyond it */
    struct chat chat;
    enum err err; /* of the parser */
    const char *param;
    struct err_text text;
};

/* Every server of quirks.def, then Anthropic three times: a budget for thinking, adaptive thinking,
 * and the model that thought itself. */
enum { CHAT_RUN_BUDGET = QUIRK_SERVERS, CHAT_RUN_ADAPTIVE, CHAT_RUN_SAME, CHAT_RUN_TARGETS };
const char *chat_run_target(int target);

void chat_run_parse(struct chat_run *r, enum chat_dialect from, struct slice body);
/* Into out, which is reset. */
enum err chat_run_write(struct chat_run *r, int target, struct buf *out, const char **param,
                        struct err_text *t);
void chat_run_clear(struct chat_run *r);

#endif

/* Reads choices beside each other. Called by router/sampling.c. */
#include "backends/wire/answer_samples.h"

#include "backends/wire/answer.h"
#include "backends/wire/openai_choice.h"
#include "backends/wire/openai_reply.h"

/* Signals are those of choice 0: the others are shown to them as if each were the only one. */
static void read_others(enum wire_api asked, struct slice body, struct answer_signals *s,
                        answer_samples_fn fn, void *ctx, struct answer_samples *out)
{
    struct openai_reply reply;
    struct json_member m;
    struct json_iter it;

    if (openai_reply_scan(asked, body, NULL, &reply) != ERR_OK)
        return;
    json_iter_init(&it, reply.choices);
    while (json_iter_next(&it, &m)) {
        struct openai_choice choice;

        openai_choice_read(m.value, &choice);
        if (choice.index == 0)
            continue;
        choice.index = 0;
        answer_signals_clear(s);
        answer_signals_openai(s, &choice);
        fn(ctx, s);
        out->count++;
    }
}

enum err answer_samples_read(enum wire_api asked, enum wire_dialect server, struct slice body,
                             size_t max_bytes, struct arena *a, answer_samples_fn fn, void *ctx,
                             struct answer_samples *out)
{
    struct answer_signals said;
    struct answer_whole whole;
    const struct answer_options opt = {.api = asked, .server = server, .n = 1, .signals = &said};
    enum err err;

    *out = (struct answer_samples){.count = 0};
    answer_signals_init(&said, max_bytes);
    err = answer_read_whole(&opt, body, a, &whole);
    if (err == ERR_OK) {
        out->has_usage = whole.has_usage;
        out->usage = whole.usage;
        out->output_bytes = whole.output_bytes;
        out->count = 1;
        fn(ctx, &said);
        if (server == WIRE_OPENAI)
            read_others(asked, body, &said, fn, ctx, out);
    }
    answer_signals_clear(&said);
    return err;
}

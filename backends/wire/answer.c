/* Which filter or translator serves an answer. Called by the router on its worker; pure. */
#include "backends/wire/answer.h"

#include <assert.h>

enum err answer_read_whole(const struct answer_options *opt, struct slice body, struct arena *a,
                           struct answer_whole *out)
{
    struct openai_reply reply;
    enum err err = openai_reply_scan(opt->api, body, &reply);

    if (err != ERR_OK)
        return err;
    if (reply.is_error)
        return openai_error_classify(200, body);
    *out = (struct answer_whole){
        .has_usage = reply.has_usage, .usage = reply.usage, .output_bytes = reply.output_bytes};
    if (opt->rename.p && reply.model.value.text.n) {
        out->count = openai_reply_splice_model(body, &reply.model, opt->rename, a, &out->pieces);
    } else {
        out->pieces = ARENA_NEW(a, struct slice);
        out->pieces[0] = body;
        out->count = 1;
    }
    return ERR_OK;
}

enum err answer_classify(enum wire_dialect server, int status, struct slice body)
{
    (void)server;
    return openai_error_classify(status, body);
}

void answer_open(struct answer *a, const struct answer_options *opt)
{
    assert(!a->open);
    a->opt = *opt;
    a->open = true;
    openai_stream_init(&a->openai, opt->api, opt->n, opt->include_usage, opt->asked_usage,
                       opt->rename, opt->max_event_bytes);
}

void answer_clear(struct answer *a)
{
    if (a->open)
        openai_stream_clear(&a->openai);
    a->open = false;
}

enum err answer_feed(struct answer *a, struct slice in, struct buf *out)
{
    return openai_stream_feed(&a->openai, in, out);
}

bool answer_complete(const struct answer *a)
{
    return openai_stream_complete(&a->openai);
}

bool answer_ended(const struct answer *a)
{
    return a->openai.done_seen;
}

bool answer_exhausted(const struct answer *a)
{
    return openai_stream_exhausted(&a->openai);
}

enum err answer_end(struct answer *a, struct buf *out)
{
    return openai_stream_end(&a->openai, out);
}

enum err answer_error(enum wire_api api, enum err e, const char *message, struct buf *out)
{
    (void)api;
    return openai_stream_error(e, message, out);
}

const struct token_usage *answer_usage(const struct answer *a)
{
    return a->openai.has_usage ? &a->openai.usage : NULL;
}

int64_t answer_deltas(const struct answer *a)
{
    return a->openai.deltas;
}

struct slice answer_keepalive(enum wire_api api)
{
    (void)api;
    return SLICE(": keepalive\n\n");
}

/* Which filter or translator serves an answer. Called by the router on its worker; pure. */
#include "backends/wire/answer.h"

#include <assert.h>
#include "backends/wire/anthropic_error.h"
#include "backends/wire/anthropic_usage.h"
#include "backends/wire/answer_translate.h"
#include "backends/wire/member.h"

static bool translated(const struct answer_options *opt)
{
    enum wire_api asked;

    return !wire_upstream_api(opt->api, opt->server, &asked) || asked != opt->api;
}

static struct slice rename_of(const struct answer_options *opt)
{
    return opt->show_requested ? opt->requested_model : (struct slice){NULL, 0};
}

/* ---- whole answers ---- */

static enum err read_openai(const struct answer_options *opt, struct slice body, struct arena *a,
                            struct answer_whole *out)
{
    struct json_value none = {0};
    struct openai_reply reply;
    enum err err = openai_reply_scan(opt->api, body, opt->signals, &reply);

    if (err != ERR_OK)
        return err;
    if (reply.is_error)
        return openai_error_classify(200, body);
    *out = (struct answer_whole){
        .has_usage = reply.has_usage, .usage = reply.usage, .output_bytes = reply.output_bytes};
    out->count = openai_reply_splice(body, &reply.model, rename_of(opt),
                                     opt->asked_logprobs ? reply.choices : none, a, &out->pieces);
    return ERR_OK;
}

static enum err read_anthropic(const struct answer_options *opt, struct slice body, struct arena *a,
                               struct answer_whole *out)
{
    struct json_member content, usage, model = {.value.text = {NULL, 0}};
    struct json_value root = {JSON_OBJECT, json_trim(body)}, none = {0};

    if (!json_validate(body, NULL) || root.text.p[0] != '{')
        return ERR_UPSTREAM_PROTOCOL;
    if (!json_get(root, SLICE("content"), &content) || content.value.type != JSON_ARRAY)
        return json_get(root, SLICE("error"), &content) ? anthropic_error_classify(200, body)
                                                        : ERR_UPSTREAM_PROTOCOL;
    if (opt->signals)
        answer_signals_message(opt->signals, root);
    *out = (struct answer_whole){.output_bytes = (int64_t)content.value.text.n};
    out->has_usage =
        json_get(root, SLICE("usage"), &usage) && anthropic_usage_read(usage.value, &out->usage);
    json_get(root, SLICE("model"), &model);
    out->count = openai_reply_splice(body, &model, rename_of(opt), none, a, &out->pieces);
    return ERR_OK;
}

enum err answer_read_whole(const struct answer_options *opt, struct slice body, struct arena *a,
                           struct answer_whole *out)
{
    if (translated(opt))
        return answer_translate_whole(opt, body, a, out);
    return opt->server == WIRE_ANTHROPIC ? read_anthropic(opt, body, a, out)
                                         : read_openai(opt, body, a, out);
}

/* ---- errors ---- */

enum err answer_classify(enum wire_dialect server, int status, struct slice body)
{
    return server == WIRE_ANTHROPIC ? anthropic_error_classify(status, body)
                                    : openai_error_classify(status, body);
}

enum err answer_error_body(enum wire_api api, enum err e, const char *message, const char *param,
                           struct slice request_id, struct buf *out)
{
    return wire_api_dialect(api) == WIRE_ANTHROPIC
               ? anthropic_error_body(e, message, param, request_id, out)
               : openai_error_body(e, message, param, out);
}

static bool is_clients_business(enum err e)
{
    return e == ERR_UPSTREAM_REJECTED || e == ERR_UPSTREAM_THINKING ||
           e == ERR_UPSTREAM_CONTEXT_LENGTH || e == ERR_UPSTREAM_CONTENT_FILTER ||
           e == ERR_UPSTREAM_RATE_LIMITED || e == ERR_UPSTREAM_OVERLOADED ||
           e == ERR_UPSTREAM_SERVER_ERROR;
}

static bool has_code(struct json_value error, const char *code)
{
    struct json_member m;

    return json_get(error, SLICE("code"), &m) && value_is_text(m.value, slice_str(code));
}

bool answer_error_passes(enum wire_api api, enum wire_dialect server, enum err e, struct slice body,
                         struct err_text *message)
{
    struct json_value root = {JSON_OBJECT, json_trim(body)};
    struct json_member error;

    message->s[0] = '\0';
    if (!is_clients_business(e))
        return false;
    openai_error_message(body, message); /* most dialects agree on where it is */
    if (wire_api_dialect(api) != server || !json_validate(body, NULL) || root.text.p[0] != '{' ||
        !json_get(root, SLICE("error"), &error) || error.value.type != JSON_OBJECT)
        return false;
    return server == WIRE_ANTHROPIC ||
           (e != ERR_UPSTREAM_CONTEXT_LENGTH && e != ERR_UPSTREAM_CONTENT_FILTER) ||
           has_code(error.value, err_openai_code(e));
}

int answer_error_status(enum wire_api api, enum err e)
{
    return wire_api_dialect(api) == WIRE_ANTHROPIC ? anthropic_error_status(e) : err_http_status(e);
}

/* ---- streams ---- */

void answer_open(struct answer *a, const struct answer_options *opt)
{
    assert(a->mode == ANSWER_CLOSED);
    a->opt = *opt;
    if (translated(opt)) {
        a->mode = ANSWER_TRANSLATED;
        a->u.translation = answer_translation_new(opt);
    } else if (opt->server == WIRE_ANTHROPIC) {
        a->mode = ANSWER_ANTHROPIC;
        anthropic_stream_init(&a->u.anthropic, rename_of(opt), opt->max_event_bytes);
        a->u.anthropic.signals = opt->signals;
    } else {
        a->mode = ANSWER_OPENAI;
        openai_stream_init(&a->u.openai, opt->api, opt->n, opt->include_usage, opt->asked_usage,
                           rename_of(opt), opt->max_event_bytes);
        a->u.openai.signals = opt->signals;
        a->u.openai.strip_logprobs = opt->asked_logprobs;
    }
}

void answer_clear(struct answer *a)
{
    switch (a->mode) {
    case ANSWER_CLOSED:
        return;
    case ANSWER_OPENAI:
        openai_stream_clear(&a->u.openai);
        break;
    case ANSWER_ANTHROPIC:
        anthropic_stream_clear(&a->u.anthropic);
        break;
    case ANSWER_TRANSLATED:
        answer_translation_free(a->u.translation);
        break;
    }
    a->mode = ANSWER_CLOSED;
}

enum err answer_feed(struct answer *a, struct slice in, struct buf *out)
{
    switch (a->mode) {
    case ANSWER_OPENAI:
        return openai_stream_feed(&a->u.openai, in, out);
    case ANSWER_ANTHROPIC:
        return anthropic_stream_feed(&a->u.anthropic, in, out);
    case ANSWER_TRANSLATED:
        return answer_translation_feed(a->u.translation, in, out);
    case ANSWER_CLOSED:
        break;
    }
    return ERR_INTERNAL;
}

bool answer_complete(const struct answer *a)
{
    switch (a->mode) {
    case ANSWER_OPENAI:
        return openai_stream_complete(&a->u.openai);
    case ANSWER_ANTHROPIC:
        return anthropic_stream_complete(&a->u.anthropic);
    case ANSWER_TRANSLATED:
        return answer_translation_complete(a->u.translation);
    case ANSWER_CLOSED:
        break;
    }
    return false;
}

bool answer_ended(const struct answer *a)
{
    switch (a->mode) {
    case ANSWER_OPENAI:
        return a->u.openai.done_seen;
    case ANSWER_ANTHROPIC:
        return a->u.anthropic.stop_seen;
    case ANSWER_TRANSLATED:
        return answer_translation_ended(a->u.translation);
    case ANSWER_CLOSED:
        break;
    }
    return false;
}

bool answer_exhausted(const struct answer *a)
{
    switch (a->mode) {
    case ANSWER_OPENAI:
        return openai_stream_exhausted(&a->u.openai);
    case ANSWER_ANTHROPIC:
        return anthropic_stream_exhausted(&a->u.anthropic);
    case ANSWER_TRANSLATED:
        return answer_translation_exhausted(a->u.translation);
    case ANSWER_CLOSED:
        break;
    }
    return false;
}

enum err answer_end(struct answer *a, struct buf *out)
{
    switch (a->mode) {
    case ANSWER_OPENAI:
        return openai_stream_end(&a->u.openai, out);
    case ANSWER_ANTHROPIC:
        return anthropic_stream_end(&a->u.anthropic, out);
    case ANSWER_TRANSLATED:
        return answer_translation_end(a->u.translation, out);
    case ANSWER_CLOSED:
        break;
    }
    return ERR_INTERNAL;
}

enum err answer_error(struct answer *a, enum err e, const char *message, struct buf *out)
{
    if (a->mode == ANSWER_TRANSLATED)
        return answer_translation_error(a->u.translation, e, message, out);
    if (wire_api_dialect(a->opt.api) == WIRE_ANTHROPIC)
        return anthropic_stream_error(e, message, a->opt.request_id, out);
    return openai_stream_error(e, message, out);
}

const struct token_usage *answer_usage(const struct answer *a)
{
    switch (a->mode) {
    case ANSWER_OPENAI:
        return a->u.openai.has_usage ? &a->u.openai.usage : NULL;
    case ANSWER_ANTHROPIC:
        return a->u.anthropic.has_usage ? &a->u.anthropic.usage : NULL;
    case ANSWER_TRANSLATED:
        return answer_translation_usage(a->u.translation);
    case ANSWER_CLOSED:
        break;
    }
    return NULL;
}

int64_t answer_deltas(const struct answer *a)
{
    switch (a->mode) {
    case ANSWER_OPENAI:
        return a->u.openai.deltas;
    case ANSWER_ANTHROPIC:
        return a->u.anthropic.deltas;
    case ANSWER_TRANSLATED:
        return answer_translation_deltas(a->u.translation);
    case ANSWER_CLOSED:
        break;
    }
    return 0;
}

struct slice answer_keepalive(enum wire_api api)
{
    return wire_api_dialect(api) == WIRE_ANTHROPIC
               ? SLICE("event: ping\ndata: {\"type\": \"ping\"}\n\n")
               : SLICE(": keepalive\n\n");
}

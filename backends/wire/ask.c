/* Which scanner and which writer serve a request. Called by the router on its worker; pure. */
#include "backends/wire/ask.h"

#include "backends/wire/anthropic_chat.h"
#include "backends/wire/member.h"
#include "backends/wire/openai_chat.h"
#include "backends/wire/responses_chat.h"

/* A translation names parameters of its own and re-encodes texts: never much more than the client's
 * bytes, but escapes may double them. */
#define TRANSLATED_EXTRA_BYTES (64 * 1024)

/* ---- reading ---- */

static bool has_elements(struct json_value list)
{
    struct json_iter it;
    struct json_member m;

    if (list.text.n == 0 || list.type != JSON_ARRAY)
        return false;
    json_iter_init(&it, list);
    return json_iter_next(&it, &m); /* an empty list asks for nothing */
}

static bool wants_structure(struct json_value format)
{
    struct json_member type;

    return format.text.n && json_get(format, SLICE("type"), &type) &&
           type.value.type == JSON_STRING && !slice_eq(type.value.text, SLICE("\"text\""));
}

static void take_openai(struct ask *ask)
{
    const struct openai_request *q = &ask->openai;

    ask->model_name = q->model_name;
    ask->stream = q->stream;
    ask->include_usage = q->include_usage;
    ask->n = q->n;
    ask->prompt_tokens = q->prompt_tokens;
    ask->last_user_text = q->last_user_text;
    ask->features = (has_elements(q->tools.value) ? ASK_TOOLS : 0) |
                    (q->has_image ? ASK_IMAGES : 0) | (q->has_audio ? ASK_AUDIO : 0) |
                    (wants_structure(q->response_format.value) ? ASK_STRUCTURED : 0) |
                    (q->logprobs ? ASK_LOGPROBS : 0);
}

static void take_anthropic(struct ask *ask)
{
    const struct anthropic_request *q = &ask->anthropic;

    ask->model_name = q->model_name;
    ask->stream = q->stream;
    ask->n = 1;
    ask->prompt_tokens = q->prompt_tokens;
    ask->last_user_text = q->last_user_text;
    ask->features = (has_elements(q->tools.value) ? ASK_TOOLS : 0) |
                    (q->has_image ? ASK_IMAGES : 0) | (q->has_format ? ASK_STRUCTURED : 0);
}

static unsigned features_of(const struct chat *c)
{
    unsigned features = (c->tools ? ASK_TOOLS : 0) | (c->logprobs == CHAT_YES ? ASK_LOGPROBS : 0);

    if (c->format == CHAT_FORMAT_JSON_OBJECT || c->format == CHAT_FORMAT_JSON_SCHEMA)
        features |= ASK_STRUCTURED;
    for (const struct chat_message *m = c->messages; m; m = m->next)
        for (const struct chat_part *p = m->parts; p; p = p->next)
            features |= p->kind == CHAT_PART_IMAGE   ? ASK_IMAGES
                        : p->kind == CHAT_PART_AUDIO ? ASK_AUDIO
                                                     : 0u;
    return features;
}

static char *put(char *to, struct slice s)
{
    memcpy(to, s.p, s.n);
    return to + s.n;
}

/* The members of a Responses request that the response object repeats: as written, or the API's
 * defaults. store says what is: nothing is kept, whatever was wished. Source: OpenAI API reference,
 * "The response object". */
static struct slice echo_of(struct slice body, struct arena *a)
{
    static const struct {
        struct slice key, absent;
    } repeated[] = {
#define REPEATED(key, absent)                                                                      \
    {                                                                                              \
        {key, sizeof(key) - 1},                                                                    \
        {                                                                                          \
            absent, sizeof(absent) - 1                                                             \
        }                                                                                          \
    }
        REPEATED("instructions", "null"),
        REPEATED("max_output_tokens", "null"),
        REPEATED("metadata", "{}"),
        REPEATED("parallel_tool_calls", "true"),
        REPEATED("previous_response_id", "null"),
        REPEATED("reasoning", "{\"effort\":null,\"summary\":null}"),
        REPEATED("temperature", "null"),
        REPEATED("text", "{\"format\":{\"type\":\"text\"}}"),
        REPEATED("tool_choice", "\"auto\""),
        REPEATED("tools", "[]"),
        REPEATED("top_p", "null"),
        REPEATED("truncation", "\"disabled\""),
        REPEATED("user", "null"),
#undef REPEATED
    };
    struct json_value root = {JSON_OBJECT, json_trim(body)};
    struct json_member m;
    char *echo = arena_alloc(a, root.text.n + 1024), *end = put(echo, SLICE("\"store\":false"));

    for (size_t i = 0; i < sizeof repeated / sizeof repeated[0]; i++) {
        bool given = json_get(root, repeated[i].key, &m) && m.value.type != JSON_NULL;

        end = put(end, SLICE(",\""));
        end = put(end, repeated[i].key);
        end = put(end, SLICE("\":"));
        end = put(end, given ? m.value.text : repeated[i].absent);
    }
    return slice_make(echo, (size_t)(end - echo));
}

static bool wants_encrypted_reasoning(struct slice body)
{
    struct json_member include, element;
    struct json_iter it;

    if (!json_get((struct json_value){JSON_OBJECT, json_trim(body)}, SLICE("include"), &include) ||
        include.value.type != JSON_ARRAY)
        return false;
    json_iter_init(&it, include.value);
    while (json_iter_next(&it, &element))
        if (slice_eq(element.value.text, SLICE("\"reasoning.encrypted_content\"")))
            return true;
    return false;
}

#define USER_TEXT_BYTES ((size_t)64 << 10)

/* The last text that a user wrote, as the other scanners leave it: a JSON string. Who reads it
 * reads no farther than this. */
static struct slice last_user_text(const struct chat *c, struct arena *a)
{
    struct slice last = SLICE("");
    size_t room;
    char *out;

    for (const struct chat_message *m = c->messages; m; m = m->next)
        for (const struct chat_part *p = m->parts; p && m->role == CHAT_USER; p = p->next)
            if (p->kind == CHAT_PART_TEXT && p->text.n)
                last = p->text;
    if (last.n == 0)
        return last;
    if (last.n > USER_TEXT_BYTES)
        last.n = USER_TEXT_BYTES; /* a character cut in two is encoded as U+FFFD */
    room = 6 * last.n + 2;
    out = arena_alloc(a, room);
    return slice_make(out, json_string_encode(last, out, room));
}

static enum err scan_responses(struct ask *ask, struct arena *a, const char **param,
                               struct err_text *t)
{
    struct chat *c = ARENA_NEW(a, struct chat);
    enum err err = responses_chat_parse(ask->body, a, c, param, t);

    if (err != ERR_OK)
        return err;
    if (c->model.n == 0) {
        *param = "model";
        err_say(t, "Missing required parameter: 'model'.");
        return ERR_BAD_REQUEST;
    }
    ask->chat = c;
    ask->model_name = c->model;
    ask->stream = c->stream;
    ask->n = 1;
    ask->prompt_tokens = chat_estimate_tokens(c);
    ask->features = features_of(c);
    ask->last_user_text = last_user_text(c, a);
    ask->echo = echo_of(ask->body, a);
    ask->encrypted_reasoning = wants_encrypted_reasoning(ask->body);
    return ERR_OK;
}

enum err ask_scan(enum wire_api api, struct slice body, struct arena *a, struct ask *out,
                  const char **param, struct err_text *t)
{
    enum err err;

    *out = (struct ask){.api = api, .body = body};
    if (api == WIRE_RESPONSES)
        return scan_responses(out, a, param, t);
    if (api == WIRE_MESSAGES) {
        err = anthropic_request_scan(body, a, &out->anthropic, param, t);
        take_anthropic(out);
    } else {
        err = openai_request_scan(api, body, a, &out->openai, param, t);
        take_openai(out);
    }
    return err;
}

/* ---- writing ---- */

static enum err need_chat(struct ask *ask, struct arena *a, const char **param, struct err_text *t)
{
    struct chat *c;
    enum err err;

    if (ask->chat)
        return ERR_OK;
    c = ARENA_NEW(a, struct chat);
    err = ask->api == WIRE_MESSAGES
              ? anthropic_chat_parse(ANTHROPIC_MESSAGES, ask->body, a, c, param, t)
              : openai_chat_parse(ask->body, a, c, param, t);
    if (err == ERR_OK)
        ask->chat = c;
    return err;
}

const struct chat *ask_neutral(struct ask *ask, struct arena *a)
{
    const char *param;
    struct err_text t;

    if (ask->api == WIRE_COMPLETIONS || ask->api == WIRE_EMBEDDINGS)
        return NULL;
    return need_chat(ask, a, &param, &t) == ERR_OK ? ask->chat : NULL;
}

static enum err write_chat(const struct chat *c, const struct ask_target *to, bool asks_logprobs,
                           struct arena *a, struct buf *out, const char **param, struct err_text *t)
{
    if (to->dialect == WIRE_ANTHROPIC) {
        struct anthropic_target target = {.model = to->model,
                                          .max_output_tokens = to->max_output_tokens,
                                          .adaptive_thinking = to->adaptive_thinking,
                                          .keep_thinking = !to->other_model,
                                          .no_sampling = to->no_sampling};

        return anthropic_chat_write(c, &target, a, out, param, t);
    }
    struct openai_target target = {.quirks = to->quirks,
                                   .model = to->model,
                                   .ask_usage = to->ask_usage,
                                   .ask_logprobs = asks_logprobs,
                                   .keep_thinking = !to->other_model};

    return openai_chat_write(c, &target, a, out, param, t);
}

static enum err translate(struct ask *ask, const struct ask_target *to, struct arena *a,
                          struct ask_body *out, const char **param, struct err_text *t)
{
    struct buf written;
    enum err err = need_chat(ask, a, param, t);

    if (err != ERR_OK)
        return err; /* the client's fault, whoever is asked */
    buf_init(&written, 6 * ask->body.n + TRANSLATED_EXTRA_BYTES);
    err = write_chat(ask->chat, to, out->asked_logprobs, a, &written, param, t);
    if (err == ERR_OK) {
        out->pieces = ARENA_NEW(a, struct slice);
        out->pieces[0] = arena_dup(a, buf_slice(&written));
        out->count = 1;
        out->total_bytes = out->pieces[0].n;
    }
    buf_clear(&written);
    return err == ERR_OK ? ERR_OK : ERR_UNTRANSLATABLE;
}

/* Does this server name differently, or lack, something that the request says in its own dialect?
 * What cannot even be read is passed on: the server judges it. */
static bool needs_rewriting(struct ask *ask, const struct ask_target *to, struct arena *a)
{
    const char *param;
    struct err_text t;

    return to->quirks_apply && ask->api == WIRE_CHAT && need_chat(ask, a, &param, &t) == ERR_OK &&
           quirks_touch(to->quirks, ask->chat);
}

/* Where the server can, and the client has not asked itself: then it gets its own number of
 * alternatives, and they are what there is to read. */
static bool asks_logprobs(const struct ask *ask, const struct ask_target *to)
{
    bool tools = ask->stream && (ask->features & ASK_TOOLS);

    return to->ask_logprobs && to->dialect == WIRE_OPENAI && ask->api != WIRE_EMBEDDINGS &&
           !(ask->features & ASK_LOGPROBS) && !(to->quirks->lacks & LACKS_LOGPROBS) &&
           !(tools && (to->quirks->lacks & LACKS_TOOL_LOGPROBS));
}

/* In each chunk where the server can, unless the client asked for usage itself: then what it reads
 * are the server's own chunks, as it asked for them. */
static enum openai_usage_wish usage_wish(const struct ask *ask, const struct ask_target *to)
{
    bool throughout =
        to->quirks_apply && to->quirks->continuous_usage && !ask->include_usage && ask->n == 1;

    return !to->ask_usage || !ask->stream ? OPENAI_USAGE_AS_WRITTEN
           : throughout                   ? OPENAI_USAGE_THROUGHOUT
                                          : OPENAI_USAGE_AT_END;
}

enum err ask_write(struct ask *ask, const struct ask_target *to, struct arena *a,
                   struct ask_body *out, const char **param, struct err_text *t)
{
    enum wire_api asked;

    if (!wire_upstream_api(ask->api, to->dialect, &asked))
        return ERR_UNTRANSLATABLE;
    out->asked_logprobs = asks_logprobs(ask, to);
    if (asked != ask->api || needs_rewriting(ask, to, a))
        return translate(ask, to, a, out, param, t);
    if (ask->api == WIRE_MESSAGES)
        out->count = anthropic_request_splice(&ask->anthropic, to->model, to->other_model, a,
                                              &out->pieces, &out->total_bytes);
    else
        out->count = openai_request_splice(&ask->openai, to->model, usage_wish(ask, to),
                                           out->asked_logprobs, a, &out->pieces, &out->total_bytes);
    return ERR_OK;
}

enum err ask_count_tokens(struct slice body, struct arena *a, struct slice *model, int64_t *tokens,
                          const char **param, struct err_text *t)
{
    struct chat c;
    enum err err = anthropic_chat_parse(ANTHROPIC_COUNT_TOKENS, body, a, &c, param, t);

    if (err != ERR_OK)
        return err;
    *model = c.model;
    *tokens = chat_estimate_tokens(&c);
    return ERR_OK;
}

/* OpenAI requests, read once and spliced. Owns nothing: what it makes lies in the request's arena,
 * what it finds points into the client's body. Called by the router when a request has arrived
 * (scan) and for each attempt (splice).
 *
 * The scan remembers the members that matter, the last of each name, and judges them when the whole
 * text is known to be JSON. Wherever the splice may have to put other bytes it leaves a mark, in
 * the order of the text:
 *
 *   {"model":"auto","messages":[...],"stream_options":{"include_usage":false}}
 *    ^ ask       ^ model                                                ^ ask
 *
 * An "ask" mark at the opening brace is there only when the client sent no stream_options. */
#include "backends/wire/openai_request.h"

#include <stddef.h>

#include "backends/wire/member.h"
#include "backends/wire/openai_reply.h"

/* More of one name than any client writes by mistake. Bounds what a splice has to do. */
#define MAX_OCCURRENCES 16
#define MAX_MARKS       96

/* What a picture or a piece of sound is billed as is of this order with every provider, and has
 * nothing to do with its bytes. */
#define MEDIA_MAX_TOKENS 1000

/* What is put where usage is asked for: at the end, and throughout. Static. */
struct question {
    struct slice at_end, throughout;
};
#define THROUGHOUT ",\"continuous_usage_stats\":true"
#define FLAG       "\"include_usage\":true"
#define QUESTION(before, behind)                                                                   \
    (struct question)                                                                              \
    {                                                                                              \
        {before behind, sizeof(before behind) - 1},                                                \
        {                                                                                          \
            before THROUGHOUT behind, sizeof(before THROUGHOUT behind) - 1                         \
        }                                                                                          \
    }

enum mark_kind { MARK_MODEL, MARK_USAGE, MARK_LOGPROBS };

struct openai_mark {
    enum mark_kind kind;
    size_t at, cut;        /* of the body: where, and how many bytes go */
    struct question ask;   /* USAGE; a mark for throughout only puts nothing at the end */
    struct slice logprobs; /* LOGPROBS: the question; static */
};

/* The members that matter, the last of each name. */
struct members {
    struct json_member model, messages, prompt, input, stream, stream_options, n, max_tokens,
        max_completion_tokens, logprobs, top_logprobs, tools, response_format;
};

static const struct {
    const char *key;
    size_t n, offset;
} fields[] = {
/* clang-format off */
#define FIELD(name) {#name, sizeof(#name) - 1, offsetof(struct members, name)}
    /* clang-format on */
    FIELD(model),
    FIELD(messages),
    FIELD(prompt),
    FIELD(input),
    FIELD(stream),
    FIELD(stream_options),
    FIELD(n),
    FIELD(max_tokens),
    FIELD(logprobs),
    FIELD(max_completion_tokens),
    FIELD(tools),
    FIELD(response_format),
    FIELD(top_logprobs),
#undef FIELD
};

struct scan {
    struct openai_request *r;
    struct members m;
    /* Every occurrence; the counts may exceed the arrays: refused. */
    struct json_value models[MAX_OCCURRENCES], options[MAX_OCCURRENCES], logprobs[MAX_OCCURRENCES],
        top_logprobs[MAX_OCCURRENCES];
    size_t model_count, option_count, logprobs_count, top_logprobs_count;
    struct openai_mark marks[MAX_MARKS];
    size_t mark_count; /* may exceed the array: refused */
    const char **param;
    struct err_text *t;
};

/* ---- collecting ---- */

static void remember(struct json_value *all, size_t *count, struct json_value v)
{
    if (*count < MAX_OCCURRENCES)
        all[*count] = v;
    (*count)++;
}

static bool on_member(const struct json_member *m, void *ctx)
{
    struct scan *s = ctx;

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (!m->key_escaped && m->key.n != fields[i].n)
            continue;
        if (!member_is(m, slice_make(fields[i].key, fields[i].n)))
            continue;
        *(struct json_member *)(void *)((char *)&s->m + fields[i].offset) = *m;
        if (fields[i].offset == offsetof(struct members, model))
            remember(s->models, &s->model_count, m->value);
        else if (fields[i].offset == offsetof(struct members, stream_options))
            remember(s->options, &s->option_count, m->value);
        else if (fields[i].offset == offsetof(struct members, logprobs))
            remember(s->logprobs, &s->logprobs_count, m->value);
        else if (fields[i].offset == offsetof(struct members, top_logprobs))
            remember(s->top_logprobs, &s->top_logprobs_count, m->value);
        return true;
    }
    return true;
}

/* ---- judging ---- */

/* The words are those of OpenAI's own errors: clients match on them. */
static enum err wrong_type(struct scan *s, const char *param, const char *expected,
                           struct json_value got)
{
    *s->param = param;
    err_say(s->t, "Invalid type for '%s': expected %s, but got %s instead.", param, expected,
            value_type_words(got));
    return ERR_BAD_REQUEST;
}

static enum err missing(struct scan *s, const char *param)
{
    *s->param = param;
    err_say(s->t, "Missing required parameter: '%s'.", param);
    return ERR_BAD_REQUEST;
}

static enum err repeated(struct scan *s, const char *param)
{
    *s->param = param;
    err_say(s->t, "Duplicate parameter: '%s' is given too many times.", param);
    return ERR_BAD_REQUEST;
}

static enum err judge_model(struct scan *s, struct arena *a)
{
    struct openai_request *r = s->r;

    r->model = s->m.model;
    if (!member_present(&r->model))
        return missing(s, "model");
    if (r->model.value.type != JSON_STRING)
        return wrong_type(s, "model", "a string", r->model.value);
    r->model_name = arena_dup(a, json_string_text(r->model.value.text, a));
    if (r->model_name.n == 0) {
        *s->param = "model";
        err_say(s->t, "Invalid 'model': the name is empty.");
        return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

/* stream and stream_options: what weir does depends on them, so they must be what the API says. */
static enum err judge_stream(struct scan *s)
{
    struct openai_request *r = s->r;
    struct json_member flag;

    if (member_given(&s->m.stream)) {
        enum json_type type = s->m.stream.value.type;
        if (type != JSON_TRUE && type != JSON_FALSE)
            return wrong_type(s, "stream", "a boolean", s->m.stream.value);
        r->stream = type == JSON_TRUE;
    }
    r->stream_options = s->m.stream_options;
    r->has_stream_options = member_present(&r->stream_options);
    if (!member_given(&r->stream_options))
        return ERR_OK;
    if (r->stream_options.value.type != JSON_OBJECT)
        return wrong_type(s, "stream_options", "an object", r->stream_options.value);
    if (json_get(r->stream_options.value, SLICE("include_usage"), &flag) && member_given(&flag)) {
        if (flag.value.type != JSON_TRUE && flag.value.type != JSON_FALSE)
            return wrong_type(s, "stream_options.include_usage", "a boolean", flag.value);
        r->include_usage = flag.value.type == JSON_TRUE;
    }
    return ERR_OK;
}

static enum err judge_n(struct scan *s)
{
    struct openai_request *r = s->r;

    r->n = 1;
    if (r->api == WIRE_EMBEDDINGS || !member_given(&s->m.n))
        return ERR_OK;
    if (!json_int(s->m.n.value, &r->n))
        return wrong_type(s, "n", "an integer", s->m.n.value);
    if (r->n < 1) {
        *s->param = "n";
        err_say(s->t,
                "Invalid 'n': integer below minimum value. "
                "Expected a value >= 1, but got %lld instead.",
                (long long)r->n);
        return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

/* messages, prompt or input: there, and of the right type. */
static enum err judge_content(struct scan *s)
{
    struct openai_request *r = s->r;
    const char *name = NULL;
    enum json_type type;

    switch (r->api) {
    case WIRE_CHAT:
    case WIRE_MESSAGES: /* not scanned here: ask.h sends them to their own scanners */
    case WIRE_RESPONSES:
    case WIRE_APIS:
        r->messages = s->m.messages;
        name = "messages";
        break;
    case WIRE_COMPLETIONS:
        r->messages = s->m.prompt;
        name = "prompt";
        break;
    case WIRE_EMBEDDINGS:
        r->messages = s->m.input;
        name = "input";
        break;
    }
    if (!member_present(&r->messages))
        return missing(s, name);
    type = r->messages.value.type;
    if (r->api == WIRE_CHAT && type != JSON_ARRAY)
        return wrong_type(s, name, "an array of objects", r->messages.value);
    if (r->api != WIRE_CHAT && type != JSON_ARRAY && type != JSON_STRING)
        return wrong_type(s, name, "one of a string or an array", r->messages.value);
    return ERR_OK;
}

/* The upstream judges these; here a wrong type reads like absence. */
static void read_hints(struct scan *s)
{
    struct openai_request *r = s->r;
    const struct json_member *limit = &s->m.max_completion_tokens;

    r->max_tokens = -1;
    if (!member_given(limit))
        limit = &s->m.max_tokens;
    if (!member_given(limit) || !json_int(limit->value, &r->max_tokens) || r->max_tokens < 0)
        r->max_tokens = -1;
    r->tools = s->m.tools;
    r->response_format = s->m.response_format;
    /* chat: a boolean; completions: how many, 0 counts (the chosen token's own) */
    r->logprobs = member_given(&s->m.logprobs) && s->m.logprobs.value.type != JSON_FALSE;
}

/* ---- content ---- */

static bool is_media(const struct json_member *m)
{
    return member_is(m, SLICE("image_url")) || member_is(m, SLICE("input_audio")) ||
           member_is(m, SLICE("image"));
}

static void discount_media(struct openai_request *r, struct json_value media)
{
    int64_t excess = openai_estimate_tokens((int64_t)media.text.n) - MEDIA_MAX_TOKENS;

    if (excess > 0)
        r->prompt_tokens -= excess;
}

static struct slice read_parts(struct openai_request *r, struct json_value parts)
{
    struct slice last = SLICE("");
    struct json_iter it, inside;
    struct json_member part, m;

    json_iter_init(&it, parts);
    while (json_iter_next(&it, &part)) {
        if (part.value.type != JSON_OBJECT)
            continue;
        json_iter_init(&inside, part.value);
        while (json_iter_next(&inside, &m)) {
            if (is_media(&m))
                discount_media(r, m.value);
            if (m.value.type != JSON_STRING)
                continue;
            if (member_is(&m, SLICE("text")))
                last = m.value.text;
            else if (!member_is(&m, SLICE("type")))
                continue;
            else if (value_is_text(m.value, SLICE("image_url")) ||
                     value_is_text(m.value, SLICE("image")) ||
                     value_is_text(m.value, SLICE("input_image")))
                r->has_image = true;
            else if (value_is_text(m.value, SLICE("input_audio")))
                r->has_audio = true;
        }
    }
    return last;
}

static void read_messages(struct openai_request *r)
{
    struct json_iter it, inside;
    struct json_member message, m;

    json_iter_init(&it, r->messages.value);
    while (json_iter_next(&it, &message)) {
        struct slice text = SLICE("");
        bool user = false;

        if (message.value.type != JSON_OBJECT)
            continue;
        json_iter_init(&inside, message.value);
        while (json_iter_next(&inside, &m)) {
            if (member_is(&m, SLICE("role")))
                user = value_is_text(m.value, SLICE("user"));
            else if (!member_is(&m, SLICE("content")))
                continue;
            else if (m.value.type == JSON_STRING)
                text = m.value.text;
            else if (m.value.type == JSON_ARRAY)
                text = read_parts(r, m.value);
        }
        if (user)
            r->last_user_text = text;
    }
}

/* A list of strings or of token lists is a batch: one set of n choices for each. A list of numbers
 * is one prompt. */
static enum err count_prompts(struct scan *s)
{
    struct openai_request *r = s->r;
    struct json_iter it;
    struct json_member m;
    int64_t prompts = 0;

    json_iter_init(&it, r->messages.value);
    while (json_iter_next(&it, &m))
        prompts += m.value.type == JSON_STRING || m.value.type == JSON_ARRAY;
    if (prompts > 1 && __builtin_mul_overflow(r->n, prompts, &r->n)) {
        *s->param = "n";
        err_say(s->t, "Invalid 'n': integer above maximum value.");
        return ERR_BAD_REQUEST;
    }
    return ERR_OK;
}

static enum err read_content(struct scan *s)
{
    struct openai_request *r = s->r;

    r->last_user_text = SLICE("");
    if (r->messages.value.type == JSON_STRING)
        r->last_user_text = r->messages.value.text;
    else if (r->api == WIRE_CHAT)
        read_messages(r);
    else if (r->api == WIRE_COMPLETIONS)
        return count_prompts(s);
    return ERR_OK;
}

/* ---- marks ---- */

static void mark(struct scan *s, struct openai_mark m)
{
    if (s->mark_count < MAX_MARKS)
        s->marks[s->mark_count] = m;
    s->mark_count++;
}

/* m in place of a value. */
static void mark_value(struct scan *s, struct json_value v, struct openai_mark m)
{
    m.at = (size_t)(v.text.p - s->r->body.p);
    m.cut = v.text.n;
    mark(s, m);
}

/* m before the first member. */
static void mark_begin(struct scan *s, struct openai_mark m)
{
    const char *brace = memchr(s->r->body.p, '{', s->r->body.n);

    m.at = (size_t)(brace - s->r->body.p) + 1;
    mark(s, m);
}

/* One occurrence of stream_options: its include_usage flags become true, or it gets one, or (no
 * object) it becomes one. */
static void mark_options(struct scan *s, struct json_value options)
{
    struct json_member m;
    struct json_iter it;
    bool found = false, empty = true;
    bool told = json_get(options, SLICE("continuous_usage_stats"), &m);
    struct question yes = QUESTION("true", ""), flag = QUESTION(FLAG, ""),
                    first = QUESTION(FLAG, ",");
    size_t brace = (size_t)(options.text.p - s->r->body.p);

    if (options.type != JSON_OBJECT) {
        mark_value(s, options,
                   (struct openai_mark){.kind = MARK_USAGE, .ask = QUESTION("{" FLAG, "}")});
        return;
    }
    if (told) { /* the client's own word stands */
        yes.throughout = yes.at_end;
        first.throughout = first.at_end;
    }
    json_iter_init(&it, options);
    while (json_iter_next(&it, &m)) {
        empty = false;
        if (!member_is(&m, SLICE("include_usage")))
            continue;
        if (m.value.type != JSON_TRUE)
            mark_value(s, m.value, (struct openai_mark){.kind = MARK_USAGE, .ask = yes});
        if (!found)
            yes.throughout = yes.at_end;
        found = true;
    }
    if (!found)
        mark(s, (struct openai_mark){
                    .kind = MARK_USAGE, .at = brace + 1, .ask = empty ? flag : first});
}

/* For a client that did not ask; its null or false gives way. Chat says whether and how many in two
 * members, completions in one. */
static void mark_logprobs(struct scan *s)
{
    bool chat = s->r->api == WIRE_CHAT, both = s->top_logprobs_count == 0;
    struct openai_mark m = {.kind = MARK_LOGPROBS};

    if (s->r->api == WIRE_EMBEDDINGS || s->r->logprobs)
        return;
    if (s->logprobs_count == 0) {
        m.logprobs = !chat  ? SLICE("\"logprobs\":" OPENAI_TOP_LOGPROBS ",")
                     : both ? SLICE("\"logprobs\":true,\"top_logprobs\":" OPENAI_TOP_LOGPROBS ",")
                            : SLICE("\"logprobs\":true,");
        mark_begin(s, m);
    }
    for (size_t i = 0; i < s->logprobs_count; i++) {
        m.logprobs = !chat            ? SLICE(OPENAI_TOP_LOGPROBS)
                     : both && i == 0 ? SLICE("true,\"top_logprobs\":" OPENAI_TOP_LOGPROBS)
                                      : SLICE("true");
        mark_value(s, s->logprobs[i], m);
    }
    m.logprobs = SLICE(OPENAI_TOP_LOGPROBS);
    for (size_t i = 0; chat && i < s->top_logprobs_count; i++)
        mark_value(s, s->top_logprobs[i], m);
}

/* In the order of the text; at one place in the order they were made. Few, and mostly in order. */
static void sort_marks(struct openai_mark *marks, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        struct openai_mark m = marks[i];
        size_t k = i;

        for (; k > 0 && marks[k - 1].at > m.at; k--)
            marks[k] = marks[k - 1];
        marks[k] = m;
    }
}

static enum err make_marks(struct scan *s, struct arena *a)
{
    struct openai_request *r = s->r;
    struct openai_mark *kept;

    if (s->model_count > MAX_OCCURRENCES)
        return repeated(s, "model");
    if (s->option_count > MAX_OCCURRENCES)
        return repeated(s, "stream_options");
    if (s->logprobs_count > MAX_OCCURRENCES || s->top_logprobs_count > MAX_OCCURRENCES)
        return repeated(s, "logprobs");
    if (s->option_count == 0)
        mark_begin(s, (struct openai_mark){.kind = MARK_USAGE,
                                           .ask = QUESTION("\"stream_options\":{" FLAG, "},")});
    for (size_t i = 0; i < s->model_count; i++)
        mark_value(s, s->models[i], (struct openai_mark){.kind = MARK_MODEL});
    for (size_t i = 0; i < s->option_count; i++)
        mark_options(s, s->options[i]);
    mark_logprobs(s);
    if (s->mark_count > MAX_MARKS)
        return repeated(s, "stream_options.include_usage");
    sort_marks(s->marks, s->mark_count);
    kept = ARENA_ARRAY(a, struct openai_mark, s->mark_count);
    memcpy(kept, s->marks, s->mark_count * sizeof(*kept));
    r->marks = kept;
    r->mark_count = s->mark_count;
    return ERR_OK;
}

enum err openai_request_scan(enum wire_api api, struct slice body, struct arena *a,
                             struct openai_request *out, const char **param, struct err_text *t)
{
    struct scan s; /* the arrays are filled as far as their counts say */
    size_t at = 0;
    enum err err;

    *out = (struct openai_request){.api = api, .body = body};
    *param = NULL;
    s.r = out;
    s.m = (struct members){0};
    s.model_count = s.option_count = s.logprobs_count = s.top_logprobs_count = s.mark_count = 0;
    s.param = param;
    s.t = t;
    if (!json_scan_object(body, on_member, &s, &at)) {
        err_say(t,
                "We could not parse the JSON body of your request: "
                "it is not a JSON object, or not valid at byte %zu.",
                at);
        return ERR_BAD_JSON;
    }
    out->prompt_tokens = openai_estimate_tokens((int64_t)body.n);
    read_hints(&s);
    err = judge_model(&s, a);
    if (!err)
        err = judge_content(&s);
    if (!err)
        err = judge_stream(&s);
    if (!err)
        err = judge_n(&s);
    if (!err)
        err = read_content(&s);
    if (!err)
        err = make_marks(&s, a);
    return err;
}

size_t openai_request_splice(const struct openai_request *r, struct slice upstream_model,
                             enum openai_usage_wish usage, bool ask_logprobs, struct arena *a,
                             struct slice **pieces, size_t *total_bytes)
{
    bool throughout = usage == OPENAI_USAGE_THROUGHOUT;
    bool wanted[] = {[MARK_MODEL] = true,
                     [MARK_USAGE] = usage != OPENAI_USAGE_AS_WRITTEN && r->stream,
                     [MARK_LOGPROBS] = ask_logprobs};
    size_t name_bytes = json_string_encode(upstream_model, NULL, 0);
    char *name = arena_alloc(a, name_bytes);
    struct slice *list = ARENA_ARRAY(a, struct slice, 2 * r->mark_count + 1);
    size_t count = 0, from = 0;

    json_string_encode(upstream_model, name, name_bytes);
    for (size_t i = 0; i < r->mark_count; i++) {
        const struct openai_mark *m = &r->marks[i];
        if (!wanted[m->kind])
            continue;
        list[count++] = slice_make(r->body.p + from, m->at - from);
        list[count++] = m->kind == MARK_MODEL      ? slice_make(name, name_bytes)
                        : m->kind == MARK_LOGPROBS ? m->logprobs
                        : throughout               ? m->ask.throughout
                                                   : m->ask.at_end;
        from = m->at + m->cut;
    }
    list[count++] = slice_from(r->body, from);
    *total_bytes = 0;
    for (size_t i = 0; i < count; i++)
        *total_bytes += list[i].n;
    *pieces = list;
    return count;
}

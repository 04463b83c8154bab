/* See api.h. Order for a generation request: key, version, body, model, faults that say nothing,
 * faults that refuse, the context window, the answer. Called by exchange.c. */
#include "tests/fleet/api.h"

#include <openssl/crypto.h>
#include "base/ascii.h"
#include "base/clock.h"
#include "tests/fleet/render.h"
#include "tests/fleet/render_messages.h"
#include "tests/fleet/text.h"

/* Values of anthropic-version. The later one refuses sampling parameters and citations in what
 * users say (Anthropic, "Migrating to API version 2026-10-21"). */
#define VERSION_2023 "2023-06-01"
#define VERSION_2026 "2026-10-21"

struct call {
    struct exchange *x;
    const struct http1_head *head;
    struct slice path, body; /* path without query and without /v1 */
    struct reply_frame frame;
};

static struct slice path_of(struct slice target)
{
    target.n = text_find(target, SLICE("?"));
    if (slice_starts(target, SLICE("/v1/")))
        target = slice_from(target, 3);
    return target;
}

static void dialect_headers(enum dialect d, uint64_t serial, struct buf *b)
{
    unsigned long long id = (unsigned long long)serial;
    if (d == DIALECT_ANTHROPIC)
        TEXT_ADD(b,
                 "request-id: req_%016llx\r\nanthropic-organization-id: org-fleet\r\n"
                 "anthropic-ratelimit-requests-limit: 10000\r\n"
                 "anthropic-ratelimit-requests-remaining: 9999\r\n",
                 id);
    else
        TEXT_ADD(b,
                 "x-request-id: req_%016llx\r\nopenai-version: 2020-10-01\r\n"
                 "openai-processing-ms: 1\r\nx-ratelimit-limit-requests: 10000\r\n"
                 "x-ratelimit-remaining-requests: 9999\r\n",
                 id);
}

static struct slice make_headers(const struct call *c, const struct refusal *no)
{
    struct exchange *x = c->x;
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_LIT(&b, "Server: weir-fleet\r\n");
    dialect_headers(c->frame.dialect, x->serial, &b);
    if (x->answer.row)
        TEXT_ADD(&b, "x-fleet-row: %s\r\n", x->answer.row->id);
    if (x->answer.rec)
        TEXT_ADD(&b, "x-fleet-score: %.6g\r\n", x->answer.rec->score);
    if (no && no->retry_after_s >= 0)
        TEXT_ADD(&b, "Retry-After: %lld\r\n", no->retry_after_s);
    if (no && no->retry_after_ms >= 0)
        TEXT_ADD(&b, "retry-after-ms: %lld\r\n", no->retry_after_ms);
    struct slice headers = text_take(&b, &x->arena);
    buf_clear(&b);
    return headers;
}

static void send_whole(struct call *c, int status, struct slice body)
{
    struct reply_frame *f = &c->frame;
    reply_whole(&c->x->reply, f, status, body,
                c->x->answered ? answer_tokens_after(&c->x->answer, c->x->answer.pieces) : 0);
}

static void refuse(struct call *c, const struct refusal *no)
{
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    refusal_print(no, c->frame.dialect, c->x->serial, &b);
    c->frame.headers = make_headers(c, no);
    send_whole(c, no->status, text_take(&b, &c->x->arena));
    buf_clear(&b);
}

/* ---- what the faults ask for ---- */

static const char *default_message(int status)
{
    switch (status) {
    case 429:
        return "Rate limit reached for requests. Please try again later.";
    case 500:
        return "The server had an error while processing your request. Sorry about that!";
    case 502:
        return "Bad gateway.";
    case 503:
        return "The engine is currently overloaded, please try again later.";
    case 529:
        return "Overloaded.";
    default:
        return "The request was refused by the fault script.";
    }
}

static bool fault_refusal(const struct call *c, struct refusal *no)
{
    const struct fault_set *set = &c->x->faults;
    const struct fault *f;
    if ((f = fault_get(set, FAULT_STATUS)) != NULL) {
        int status = (int)f->status;
        const char *code = status == 429   ? "rate_limit_exceeded"
                           : status == 401 ? "invalid_api_key"
                                           : NULL;
        if (f->text.n)
            refusal_say(no, status, NULL, code, "%.*s", SLICE_ARG(f->text));
        else
            refusal_say(no, status, NULL, code, "%s", default_message(status));
        no->retry_after_s = f->retry_after_s;
        no->retry_after_ms = f->retry_after_ms;
        return true;
    }
    bool anthropic = c->frame.dialect == DIALECT_ANTHROPIC;
    if (fault_get(set, FAULT_QUOTA) && anthropic) {
        refusal_say(no, 400, NULL, NULL,
                    "Your credit balance is too low to access the Anthropic API. Please go to "
                    "Plans & Billing to upgrade or purchase credits.");
        return true;
    }
    if (fault_get(set, FAULT_QUOTA)) {
        refusal_say(no, 429, NULL, "insufficient_quota",
                    "You exceeded your current quota, please check your plan and billing details.");
        return true;
    }
    if (fault_get(set, FAULT_CONTENT_FILTER) && anthropic) {
        refusal_say(no, 400, NULL, NULL, "Output blocked by content filtering policy");
        return true;
    }
    if (fault_get(set, FAULT_CONTENT_FILTER)) {
        refusal_say(no, 400, "prompt", "content_filter",
                    "The response was filtered due to the prompt triggering the content management "
                    "policy.");
        return true;
    }
    return false;
}

static bool too_long(const struct call *c, const struct question *q, struct refusal *no)
{
    const struct model *m = c->x->model;
    long long limit = (long long)(m->context ? m->context : 8192),
              asked = (long long)q->prompt_tokens;
    bool forced = fault_get(&c->x->faults, FAULT_CONTEXT_LENGTH) != NULL;
    if (!forced && (!m->context || asked <= limit))
        return false;
    asked = asked > limit ? asked : limit + 1;
    if (c->frame.dialect == DIALECT_ANTHROPIC) {
        refusal_say(no, 400, NULL, NULL, "prompt is too long: %lld tokens > %lld maximum", asked,
                    limit);
        return true;
    }
    refusal_say(no, 400, "messages", "context_length_exceeded",
                "This model's maximum context length is %lld tokens. However, your messages "
                "resulted in %lld tokens. "
                "Please reduce the length of the messages.",
                limit, asked);
    return true;
}

/* ---- generation ---- */

static bool choose_faults(struct call *c, struct refusal *no)
{
    struct exchange *x = c->x;
    const struct http1_header *own = http1_find(c->head, SLICE("x-fleet-fault"));
    struct err_text why;
    if (!own) {
        fault_script_pick(x->fleet->faults, slice_str(x->model->name), &x->arena, &x->faults);
        return true;
    }
    if (fault_parse_header(own->value, &x->arena, &x->faults, &why))
        return true;
    x->faults.n = 0;
    refusal_say(no, 400, NULL, "bad_fault", "%s", why.s);
    return false;
}

static void send_answer(struct call *c, const struct question *q)
{
    struct exchange *x = c->x;
    struct fleet *f = x->fleet;
    answer_make(&x->answer, q, x->model, &f->rows, &x->faults, x->serial, &x->arena);
    x->answered = true;
    x->stream = q->stream;
    struct render r = {.q = q,
                       .answer = &x->answer,
                       .model = x->model,
                       .faults = &x->faults,
                       .arena = &x->arena,
                       .serial = x->serial,
                       .created_s = clock_wall_us() / 1000000,
                       .chunk_tokens = f->chunk_tokens};
    c->frame.headers = make_headers(c, NULL);
    c->frame.first_us = (int64_t)((double)x->answer.first_us * f->time_scale);
    c->frame.total_us = (int64_t)((double)x->answer.total_us * f->time_scale);
    if (q->api == API_EMBEDDING) {
        send_whole(c, 200, render_embeddings(&r));
    } else if (!q->stream) {
        send_whole(c, 200, q->api == API_MESSAGES ? render_messages_whole(&r) : render_whole(&r));
    } else {
        size_t n;
        const struct reply_event *events =
            q->api == API_MESSAGES ? render_messages_stream(&r, &n) : render_stream(&r, &n);
        f->tallies[x->model->index].streams++;
        reply_stream(&x->reply, &c->frame, events, n);
    }
}

/* The model by that name; NULL, and refused, when there is none. */
static const struct model *find_model(struct call *c, struct slice name)
{
    struct refusal no;
    const struct model *m = rows_find_model(&c->x->fleet->rows, name);
    if (m)
        return m;
    c->x->fleet->unknown_model++;
    if (c->frame.dialect == DIALECT_ANTHROPIC)
        refusal_say(&no, 404, NULL, NULL, "model: %.*s", SLICE_ARG(name));
    else
        refusal_say(&no, 404, NULL, "model_not_found",
                    "The model `%.*s` does not exist or you do not have access to it.",
                    SLICE_ARG(name));
    refuse(c, &no);
    return NULL;
}

static bool has_version(const struct call *c, const char *version)
{
    const struct http1_header *h = http1_find(c->head, SLICE("anthropic-version"));
    return h && slice_eq(h->value, slice_str(version));
}

/* The body, as the API and its version take it. */
static bool parse_question(const struct call *c, enum question_api api, struct question *q,
                           struct refusal *no)
{
    if (!question_parse(q, api, c->body, &c->x->arena, no))
        return false;
    if (!q->since_2026 || !has_version(c, VERSION_2026))
        return true;
    refusal_say(no, 400, NULL, NULL, "%s: Extra inputs are not permitted", q->since_2026);
    return false;
}

static void generate(struct call *c, enum question_api api)
{
    struct exchange *x = c->x;
    struct question q;
    struct refusal no;
    if (!parse_question(c, api, &q, &no)) {
        refuse(c, &no);
        return;
    }
    x->model = find_model(c, q.model);
    if (!x->model)
        return;
    x->fleet->tallies[x->model->index].requests++;
    if (!choose_faults(c, &no)) {
        refuse(c, &no);
    } else if (reply_refuse_to_speak(&x->reply, &c->frame)) {
        return;
    } else if (fault_refusal(c, &no) || too_long(c, &q, &no)) {
        refuse(c, &no);
    } else if (fault_get(&x->faults, FAULT_ERROR_200)) {
        refusal_say(&no, 500, NULL, NULL, "%s", default_message(500));
        no.status = 200;
        refuse(c, &no);
    } else {
        send_answer(c, &q);
    }
}

/* Costs nothing and is nobody's request: the model's account does not know of it, nor do faults. */
static void count_tokens(struct call *c)
{
    struct question q;
    struct refusal no;
    if (!parse_question(c, API_COUNT_TOKENS, &q, &no)) {
        refuse(c, &no);
    } else if (find_model(c, q.model)) {
        c->frame.headers = make_headers(c, NULL);
        send_whole(c, 200,
                   slice_str(arena_printf(&c->x->arena, "{\"input_tokens\":%lld}",
                                          (long long)q.prompt_tokens)));
    }
}

/* ---- models ---- */

static void print_model(const struct call *c, const struct model *m, struct buf *b)
{
    if (c->frame.dialect == DIALECT_ANTHROPIC)
        render_messages_model(m, b);
    else
        render_model(m, b);
}

/* Anthropic's lists come in pages; this is the only one. */
static void list_tail(const struct call *c, struct buf *b)
{
    const struct rows *rows = &c->x->fleet->rows;
    if (c->frame.dialect == DIALECT_OPENAI || !rows->model_count) {
        TEXT_LIT(b, "]}");
        return;
    }
    TEXT_LIT(b, "],\"has_more\":false,\"first_id\":");
    text_json(b, slice_str(rows->models[0]->name));
    TEXT_LIT(b, ",\"last_id\":");
    text_json(b, slice_str(rows->models[rows->model_count - 1]->name));
    TEXT_LIT(b, "}");
}

static void list_models(struct call *c)
{
    struct buf b;
    const struct rows *rows = &c->x->fleet->rows;
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_ADD(&b, "{%s\"data\":[", c->frame.dialect == DIALECT_OPENAI ? "\"object\":\"list\"," : "");
    for (size_t i = 0; i < rows->model_count; i++) {
        TEXT_ADD(&b, "%s", i ? "," : "");
        print_model(c, rows->models[i], &b);
    }
    list_tail(c, &b);
    c->frame.headers = make_headers(c, NULL);
    send_whole(c, 200, text_take(&b, &c->x->arena));
    buf_clear(&b);
}

static struct slice percent_decode(struct slice s, struct arena *a)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool escape = s.p[i] == '%' && i + 2 < s.n && ascii_hex(s.p[i + 1]) >= 0 &&
                      ascii_hex(s.p[i + 2]) >= 0;
        out[n++] = escape ? (char)(ascii_hex(s.p[i + 1]) * 16 + ascii_hex(s.p[i + 2])) : s.p[i];
        i += escape ? 2 : 0;
    }
    return slice_make(out, n);
}

static void one_model(struct call *c, struct slice name)
{
    struct buf b;
    struct refusal no;
    name = percent_decode(name, &c->x->arena);
    const struct model *m = rows_find_model(&c->x->fleet->rows, name);
    if (!m) {
        refusal_say(&no, 404, "model", "model_not_found", "The model '%.*s' does not exist",
                    SLICE_ARG(name));
        refuse(c, &no);
        return;
    }
    buf_init(&b, MAX_TEXT_BYTES);
    print_model(c, m, &b);
    c->frame.headers = make_headers(c, NULL);
    send_whole(c, 200, text_take(&b, &c->x->arena));
    buf_clear(&b);
}

/* ---- dispatch ---- */

/* The path's, or for paths that both have the one of the SDK that asks. */
static enum dialect dialect_of(const struct http1_head *head, struct slice path)
{
    bool messages =
        slice_eq(path, SLICE("/messages")) || slice_eq(path, SLICE("/messages/count_tokens"));
    bool models = slice_starts(path, SLICE("/models"));
    return messages || (models && http1_find(head, SLICE("anthropic-version"))) ? DIALECT_ANTHROPIC
                                                                                : DIALECT_OPENAI;
}

/* The key that the request shows, in one of its dialect's headers (Anthropic's SDKs sent x-api-key
 * before their releases of October 2026); "" when there is none. */
static struct slice key_of(const struct call *c)
{
    const struct http1_header *h = http1_find(c->head, SLICE("x-api-key"));
    if (h && c->frame.dialect == DIALECT_ANTHROPIC)
        return slice_trim(h->value);
    h = http1_find(c->head, SLICE("authorization"));
    return h && slice_starts(h->value, SLICE("Bearer ")) ? slice_trim(slice_from(h->value, 7))
                                                         : SLICE("");
}

static bool authorised(const struct call *c, struct refusal *no)
{
    const char *key = c->x->fleet->api_key;
    struct slice given = key_of(c);
    if (!key || (given.n == strlen(key) && CRYPTO_memcmp(given.p, key, given.n) == 0))
        return true;
    if (c->frame.dialect == DIALECT_ANTHROPIC)
        refusal_say(no, 401, NULL, NULL,
                    given.n ? "invalid x-api-key" : "x-api-key header is required");
    else if (!given.n)
        refusal_say(no, 401, NULL, NULL, "You didn't provide an API key.");
    else
        refusal_say(no, 401, NULL, "invalid_api_key", "Incorrect API key provided.");
    return false;
}

static bool versioned(const struct call *c, struct refusal *no)
{
    const struct http1_header *h = http1_find(c->head, SLICE("anthropic-version"));
    if (c->frame.dialect == DIALECT_OPENAI || has_version(c, VERSION_2023) ||
        has_version(c, VERSION_2026))
        return true;
    if (h)
        refusal_say(no, 400, NULL, NULL, "anthropic-version: \"%.*s\" is not a valid version",
                    SLICE_ARG(h->value));
    else
        refusal_say(no, 400, NULL, NULL, "anthropic-version: header is required");
    return false;
}

static void dispatch(struct call *c)
{
    struct refusal no;
    bool get = slice_eq(c->head->method, SLICE("GET")) || c->frame.head_only;
    bool post = slice_eq(c->head->method, SLICE("POST"));
    if (!authorised(c, &no) || !versioned(c, &no))
        refuse(c, &no);
    else if (post && slice_eq(c->path, SLICE("/chat/completions")))
        generate(c, API_CHAT);
    else if (post && slice_eq(c->path, SLICE("/completions")))
        generate(c, API_COMPLETION);
    else if (post && slice_eq(c->path, SLICE("/embeddings")))
        generate(c, API_EMBEDDING);
    else if (post && slice_eq(c->path, SLICE("/messages")))
        generate(c, API_MESSAGES);
    else if (post && slice_eq(c->path, SLICE("/messages/count_tokens")))
        count_tokens(c);
    else if (get && slice_eq(c->path, SLICE("/models")))
        list_models(c);
    else if (get && slice_starts(c->path, SLICE("/models/")))
        one_model(c, slice_from(c->path, sizeof "/models/" - 1));
    else {
        refusal_say(&no, 404, NULL, "unknown_url",
                    "Unknown request URL: %.*s %.*s. Please check the URL for typos.",
                    SLICE_ARG(c->head->method), SLICE_ARG(c->head->target));
        refuse(c, &no);
    }
}

void api_answer(struct exchange *x, const struct http1_head *head, struct slice body)
{
    struct slice path = path_of(head->target);
    struct call c = {.x = x,
                     .head = head,
                     .path = path,
                     .body = body,
                     .frame = {.arena = &x->arena,
                               .dialect = dialect_of(head, path),
                               .serial = x->serial,
                               .faults = &x->faults,
                               .close_delimited = head->minor == 0,
                               .head_only = slice_eq(head->method, SLICE("HEAD")),
                               .close = !head->keep_alive}};
    dispatch(&c);
}

/* See api.h. Order for a generation request: key, body, model, faults that say nothing, faults that
 * refuse, the context window, the answer. Called by exchange.c. */
#include "tests/fleet/api.h"

#include <openssl/crypto.h>
#include "base/clock.h"
#include "tests/fleet/render.h"
#include "tests/fleet/text.h"

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

static struct slice common_headers(struct exchange *x, const struct refusal *no)
{
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_ADD(&b,
             "Server: weir-fleet\r\nx-request-id: req_%016llx\r\nopenai-version: "
             "2020-10-01\r\nopenai-processing-ms: 1\r\n"
             "x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n",
             (unsigned long long)x->serial);
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
    refusal_print(no, &b);
    c->frame.headers = common_headers(c->x, no);
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
    if (fault_get(set, FAULT_QUOTA)) {
        refusal_say(no, 429, NULL, "insufficient_quota",
                    "You exceeded your current quota, please check your plan and billing details.");
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
    refusal_say(no, 400, "messages", "context_length_exceeded",
                "This model's maximum context length is %lld tokens. However, your messages "
                "resulted in %lld tokens. "
                "Please reduce the length of the messages.",
                limit, asked > limit ? asked : limit + 1);
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
    c->frame.headers = common_headers(x, NULL);
    c->frame.first_us = (int64_t)((double)x->answer.first_us * f->time_scale);
    c->frame.total_us = (int64_t)((double)x->answer.total_us * f->time_scale);
    if (q->api == API_EMBEDDING) {
        send_whole(c, 200, render_embeddings(&r));
    } else if (!q->stream) {
        send_whole(c, 200, render_whole(&r));
    } else {
        size_t n;
        const struct reply_event *events = render_stream(&r, &n);
        f->tallies[x->model->index].streams++;
        reply_stream(&x->reply, &c->frame, events, n);
    }
}

static void generate(struct call *c, enum question_api api)
{
    struct exchange *x = c->x;
    struct question q;
    struct refusal no;
    if (!question_parse(&q, api, c->body, &x->arena, &no)) {
        refuse(c, &no);
        return;
    }
    x->model = rows_find_model(&x->fleet->rows, q.model);
    if (!x->model) {
        x->fleet->unknown_model++;
        refusal_say(&no, 404, NULL, "model_not_found",
                    "The model `%.*s` does not exist or you do not have access to it.",
                    SLICE_ARG(q.model));
        refuse(c, &no);
        return;
    }
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

/* ---- models ---- */

static void list_models(struct call *c)
{
    struct buf b;
    const struct rows *rows = &c->x->fleet->rows;
    buf_init(&b, MAX_TEXT_BYTES);
    TEXT_LIT(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < rows->model_count; i++) {
        TEXT_ADD(&b, "%s", i ? "," : "");
        render_model(rows->models[i], &b);
    }
    TEXT_LIT(&b, "]}");
    c->frame.headers = common_headers(c->x, NULL);
    send_whole(c, 200, text_take(&b, &c->x->arena));
    buf_clear(&b);
}

static int hex(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

static struct slice percent_decode(struct slice s, struct arena *a)
{
    char *out = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool escape = s.p[i] == '%' && i + 2 < s.n && hex(s.p[i + 1]) >= 0 && hex(s.p[i + 2]) >= 0;
        out[n++] = escape ? (char)(hex(s.p[i + 1]) * 16 + hex(s.p[i + 2])) : s.p[i];
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
    render_model(m, &b);
    c->frame.headers = common_headers(c->x, NULL);
    send_whole(c, 200, text_take(&b, &c->x->arena));
    buf_clear(&b);
}

/* ---- dispatch ---- */

static bool authorised(const struct call *c, struct refusal *no)
{
    const char *key = c->x->fleet->api_key;
    const struct http1_header *h = http1_find(c->head, SLICE("authorization"));
    if (!key)
        return true;
    struct slice given = h && slice_starts(h->value, SLICE("Bearer "))
                             ? slice_trim(slice_from(h->value, 7))
                             : SLICE("");
    if (given.n == strlen(key) && CRYPTO_memcmp(given.p, key, given.n) == 0)
        return true;
    if (!given.n)
        refusal_say(no, 401, NULL, NULL, "You didn't provide an API key.");
    else
        refusal_say(no, 401, NULL, "invalid_api_key", "Incorrect API key provided.");
    return false;
}

static void dispatch(struct call *c)
{
    struct refusal no;
    bool get = slice_eq(c->head->method, SLICE("GET")) || c->frame.head_only;
    bool post = slice_eq(c->head->method, SLICE("POST"));
    if (!authorised(c, &no))
        refuse(c, &no);
    else if (post && slice_eq(c->path, SLICE("/chat/completions")))
        generate(c, API_CHAT);
    else if (post && slice_eq(c->path, SLICE("/completions")))
        generate(c, API_COMPLETION);
    else if (post && slice_eq(c->path, SLICE("/embeddings")))
        generate(c, API_EMBEDDING);
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
    struct call c = {.x = x,
                     .head = head,
                     .path = path_of(head->target),
                     .body = body,
                     .frame = {.arena = &x->arena,
                               .faults = &x->faults,
                               .close_delimited = head->minor == 0,
                               .head_only = slice_eq(head->method, SLICE("HEAD")),
                               .close = !head->keep_alive}};
    dispatch(&c);
}

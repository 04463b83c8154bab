/* Collects and replays text completions. Called by answer_record.c and answer_replay.c. */
#include "backends/wire/text_completion.h"

#include <stdlib.h>
#include "backends/wire/chat_event.h"
#include "backends/wire/chat_id.h"
#include "backends/wire/json_pen.h"
#include "backends/wire/member.h"
#include "base/mem.h"

#define MAX_VALUE_BYTES 65536 /* of model and usage */

struct text_completion_choice {
    struct buf text; /* decoded */
    bool finished, stopped;
    bool filtered;
};

/* One element of choices, raw. */
struct element {
    int64_t index;
    struct json_value text, logprobs, finish;
};

struct members {
    struct json_value choices, model, usage, error;
};

static bool on_member(const struct json_member *m, void *ctx)
{
    struct members *found = ctx;

    if (member_is(m, SLICE("choices")))
        found->choices = m->value;
    else if (member_is(m, SLICE("model")))
        found->model = m->value;
    else if (member_is(m, SLICE("usage")))
        found->usage = m->value;
    else if (member_is(m, SLICE("error")))
        found->error = m->value;
    return true;
}

static struct element read_element(struct json_value v)
{
    struct element e = {0};
    struct json_iter it;
    struct json_member m;

    if (v.type != JSON_OBJECT)
        return e;
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("index")))
            e.index = json_int(m.value, &e.index) ? e.index : 0;
        else if (member_is(&m, SLICE("text")))
            e.text = m.value;
        else if (member_is(&m, SLICE("logprobs")))
            e.logprobs = m.value;
        else if (member_is(&m, SLICE("finish_reason")))
            e.finish = m.value;
    }
    return e;
}

static bool given(struct json_value v)
{
    return v.text.n > 0 && v.type != JSON_NULL;
}

/* ---- collecting ---- */

void text_completion_init(struct text_completion *t, bool drop_logprobs, size_t max_bytes,
                          size_t max_event_bytes)
{
    *t = (struct text_completion){.max_bytes = max_bytes, .drop_logprobs = drop_logprobs};
    sse_init(&t->sse, max_event_bytes);
    buf_init(&t->model, MAX_VALUE_BYTES);
    buf_init(&t->usage, MAX_VALUE_BYTES);
}

void text_completion_clear(struct text_completion *t)
{
    sse_clear(&t->sse);
    for (size_t i = 0; i < t->choice_count; i++)
        buf_clear(&t->choices[i].text);
    free(t->choices);
    t->choices = NULL;
    t->choice_count = 0;
    buf_clear(&t->model);
    buf_clear(&t->usage);
}

static enum err choice_at(struct text_completion *t, int64_t index,
                          struct text_completion_choice **out)
{
    size_t count;

    if (index < 0 || index >= CHAT_MAX_CHOICES)
        return ERR_UPSTREAM_PROTOCOL;
    count = (size_t)index + 1;
    if (count > t->choice_count) {
        t->choices = mem_resize(t->choices, count, sizeof *t->choices);
        for (size_t i = t->choice_count; i < count; i++) {
            t->choices[i] = (struct text_completion_choice){0};
            buf_init(&t->choices[i].text, t->max_bytes);
        }
        t->choice_count = count;
    }
    *out = &t->choices[index];
    return ERR_OK;
}

static enum err take_text(struct text_completion *t, struct text_completion_choice *c,
                          struct json_value v)
{
    size_t most = v.text.n, n; /* a decoded string is never longer than its JSON text */
    char *room;

    if (v.type != JSON_STRING)
        return ERR_OK;
    if (most > t->max_bytes - t->bytes || buf_reserve(&c->text, most, &room, &n) != ERR_OK)
        return ERR_UPSTREAM_TOO_LARGE;
    n = json_string_decode(v.text, room, most);
    buf_commit(&c->text, n);
    t->bytes += n;
    return ERR_OK;
}

static enum err take_element(struct text_completion *t, struct json_value v)
{
    struct element e = read_element(v);
    struct text_completion_choice *c;
    enum err err = choice_at(t, e.index, &c);

    if (err == ERR_OK)
        err = take_text(t, c, e.text);
    if (err != ERR_OK)
        return err;
    t->lossy |= !t->drop_logprobs && given(e.logprobs);
    if (e.finish.type == JSON_STRING && e.finish.text.n > 2 && !c->finished) {
        c->finished = true;
        c->stopped = value_is_text(e.finish, SLICE("stop"));
        c->filtered = value_is_text(e.finish, SLICE("content_filter"));
    }
    return ERR_OK;
}

static enum err keep(struct buf *to, struct json_value v)
{
    if (!given(v))
        return ERR_OK;
    buf_reset(to);
    return buf_append_slice(to, v.text) == ERR_OK ? ERR_OK : ERR_UPSTREAM_TOO_LARGE;
}

static enum err take_chunk(struct text_completion *t, struct slice data)
{
    struct members found = {0};
    struct json_member m;
    struct json_iter it;
    enum err err;

    if (!json_scan_object(data, on_member, &found, NULL) || given(found.error))
        return ERR_UPSTREAM_PROTOCOL;
    err = keep(&t->model, found.model);
    if (err == ERR_OK)
        err = keep(&t->usage, found.usage);
    if (found.choices.text.n == 0 || found.choices.type != JSON_ARRAY)
        return err;
    json_iter_init(&it, found.choices);
    while (err == ERR_OK && json_iter_next(&it, &m))
        err = take_element(t, m.value);
    return err;
}

static bool on_event(const struct sse_event *e, void *ctx)
{
    struct text_completion *t = ctx;
    struct slice data = json_trim(e->data);

    if (slice_eq(data, SLICE("[DONE]"))) {
        t->done_seen = true;
        return false;
    }
    if (data.n)
        t->err = take_chunk(t, data);
    return t->err == ERR_OK;
}

enum err text_completion_feed(struct text_completion *t, struct slice in)
{
    enum err err;

    if (t->err || t->done_seen)
        return t->err;
    err = sse_feed(&t->sse, in, on_event, t);
    if (err && !t->err)
        t->err = err;
    return t->err;
}

static void put_collected(struct json_pen *pen, const struct text_completion *t, int64_t created_s)
{
    JSON_PEN(pen, "{\"id\":\"cmpl-stored\",\"object\":\"text_completion\",\"created\":");
    json_pen_int(pen, created_s);
    if (buf_len(&t->model)) {
        JSON_PEN(pen, ",\"model\":");
        json_pen_line(pen, buf_slice(&t->model));
    }
    JSON_PEN(pen, ",\"choices\":[");
    for (size_t i = 0; i < t->choice_count; i++) {
        json_pen_raw(pen, i ? SLICE(",{\"text\":") : SLICE("{\"text\":"));
        json_pen_string(pen, buf_slice(&t->choices[i].text));
        JSON_PEN(pen, ",\"index\":");
        json_pen_int(pen, (int64_t)i);
        JSON_PEN(pen, ",\"logprobs\":null,\"finish_reason\":\"stop\"}");
    }
    JSON_PEN(pen, "]");
    if (buf_len(&t->usage)) {
        JSON_PEN(pen, ",\"usage\":");
        json_pen_line(pen, buf_slice(&t->usage));
    }
    JSON_PEN(pen, "}");
}

enum answer_worth text_completion_end(struct text_completion *t, int64_t n, int64_t created_s,
                                      struct buf *out)
{
    struct json_pen pen;

    if (t->err)
        return t->err == ERR_UPSTREAM_TOO_LARGE ? ANSWER_LARGE : ANSWER_MALFORMED;
    for (size_t i = 0; i < t->choice_count; i++) {
        if (t->choices[i].filtered)
            return ANSWER_REFUSED;
        if (!t->choices[i].stopped)
            return ANSWER_UNFINISHED;
    }
    if (t->choice_count == 0 || (int64_t)t->choice_count < n)
        return ANSWER_UNFINISHED;
    if (t->bytes == 0)
        return ANSWER_EMPTY;
    if (t->lossy)
        return ANSWER_LOSSY;
    json_pen_begin(&pen, out);
    put_collected(&pen, t, created_s);
    return json_pen_end(&pen) == ERR_OK ? ANSWER_GOOD : ANSWER_LARGE;
}

/* ---- whole replies ---- */

enum answer_worth text_completion_judge(struct slice body, int64_t n)
{
    struct members found = {0};
    struct json_member m;
    struct json_iter it;
    int64_t count = 0;
    bool text = false;

    if (!json_scan_object(body, on_member, &found, NULL) || given(found.error) ||
        found.choices.text.n == 0 || found.choices.type != JSON_ARRAY)
        return ANSWER_MALFORMED;
    json_iter_init(&it, found.choices);
    while (json_iter_next(&it, &m)) {
        struct element e = read_element(m.value);

        if (value_is_text(e.finish, SLICE("content_filter")))
            return ANSWER_REFUSED;
        if (e.text.type != JSON_STRING || !value_is_text(e.finish, SLICE("stop")))
            return ANSWER_UNFINISHED;
        text |= e.text.text.n > 2;
        count++;
    }
    return count == 0 || count < n ? ANSWER_UNFINISHED : text ? ANSWER_GOOD : ANSWER_EMPTY;
}

/* data: {... "choices":[ */
static void put_head(struct json_pen *pen, const struct chat_encode_options *o,
                     struct json_value model)
{
    char id[CHAT_ID_BYTES];

    chat_id_body(SLICE(""), o->fallback_id, id);
    JSON_PEN(pen, "data: {\"id\":\"cmpl-");
    json_pen_raw(pen, slice_str(id));
    JSON_PEN(pen, "\",\"object\":\"text_completion\",\"created\":");
    json_pen_int(pen, o->created_s);
    if (o->model.n || given(model)) {
        JSON_PEN(pen, ",\"model\":");
        if (o->model.n)
            json_pen_string(pen, o->model);
        else
            json_pen_line(pen, model.text);
    }
    JSON_PEN(pen, ",\"choices\":[");
}

static void put_choice(struct json_pen *pen, int64_t index, struct slice text,
                       struct json_value logprobs, struct slice finish, bool usage_null)
{
    JSON_PEN(pen, "{\"text\":");
    json_pen_line(pen, text);
    JSON_PEN(pen, ",\"index\":");
    json_pen_int(pen, index);
    JSON_PEN(pen, ",\"logprobs\":");
    json_pen_line(pen, given(logprobs) ? logprobs.text : SLICE("null"));
    JSON_PEN(pen, ",\"finish_reason\":");
    json_pen_line(pen, finish);
    json_pen_raw(pen, usage_null ? SLICE("}],\"usage\":null}\n\n") : SLICE("}]}\n\n"));
}

static void put_stream(struct json_pen *pen, const struct members *found,
                       const struct chat_encode_options *o)
{
    bool usage = o->include_usage && given(found->usage);
    struct json_member m;
    struct json_iter it;

    json_iter_init(&it, found->choices);
    while (json_iter_next(&it, &m)) {
        struct element e = read_element(m.value);

        put_head(pen, o, found->model);
        put_choice(pen, e.index, e.text.text, e.logprobs, SLICE("null"), usage);
        put_head(pen, o, found->model);
        put_choice(pen, e.index, SLICE("\"\""), (struct json_value){0}, e.finish.text, usage);
    }
    if (usage) {
        put_head(pen, o, found->model);
        JSON_PEN(pen, "],\"usage\":");
        json_pen_line(pen, found->usage.text);
        JSON_PEN(pen, "}\n\n");
    }
    JSON_PEN(pen, "data: [DONE]\n\n");
}

enum err text_completion_stream(struct slice body, const struct chat_encode_options *options,
                                struct buf *out)
{
    struct members found = {0};
    struct json_pen pen;

    if (text_completion_judge(body, 1) != ANSWER_GOOD)
        return ERR_UPSTREAM_PROTOCOL;
    (void)json_scan_object(body, on_member, &found, NULL); /* it was one a moment ago */
    json_pen_begin(&pen, out);
    put_stream(&pen, &found, options);
    return json_pen_end(&pen);
}

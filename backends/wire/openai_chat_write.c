/* chat -> OpenAI Chat Completions request, as one of the servers in quirks.def takes it. Owns
 * nothing; called by the router for an attempt whose upstream speaks this dialect when the client
 * does not, or when the server's quirks touch the request. */
#include "backends/wire/chat_writer.h"
#include "backends/wire/openai_chat.h"
#include "backends/wire/openai_request.h"
#include "base/json_scan.h"

struct writing {
    struct chat_writer w;
    const struct openai_target *to;
    const struct quirks *q;
};

static bool lacks(const struct writing *s, unsigned what)
{
    return (s->q->lacks & what) != 0;
}

/* ---- parts ---- */

/* "data:" media_type ";base64," data. */
static struct slice data_url(struct writing *s, struct slice media_type, struct slice data)
{
    struct slice middle = SLICE(";base64,");
    size_t n = 5 + media_type.n + middle.n + data.n, at = 5;
    char *url = arena_alloc(s->w.arena, n);

    memcpy(url, "data:", 5);
    if (media_type.n)
        memcpy(url + at, media_type.p, media_type.n);
    at += media_type.n;
    memcpy(url + at, middle.p, middle.n);
    at += middle.n;
    if (data.n)
        memcpy(url + at, data.p, data.n);
    return slice_make(url, n);
}

static void refuse_part(struct writing *s, const struct chat_message *m, const struct chat_part *p,
                        const char *why)
{
    chat_refuse(&s->w, chat_path(s->w.chat, m, p, NULL, NULL, s->w.arena), why);
}

static void put_image(struct writing *s, const struct chat_message *m, const struct chat_part *p)
{
    struct chat_writer *w = &s->w;

    if (lacks(s, LACKS_IMAGE))
        refuse_part(s, m, p, "It takes no images.");
    else if (!chat_given(p->data) && !chat_given(p->url))
        refuse_part(s, m, p, "The dialect has no images by file id.");
    else if (!chat_given(p->data) && lacks(s, LACKS_IMAGE_URL))
        refuse_part(s, m, p, "It takes images as data: URLs only.");
    put_words_member(w, "type", "image_url");
    put_key(w, "image_url");
    put_open(w, '{');
    put_string_member(w, "url", chat_given(p->data) ? data_url(s, p->media_type, p->data) : p->url);
    put_string_member(w, "detail", p->detail);
    put_close(w, '}');
}

static void put_audio(struct writing *s, const struct chat_message *m, const struct chat_part *p)
{
    struct chat_writer *w = &s->w;

    if (lacks(s, LACKS_AUDIO))
        refuse_part(s, m, p, "It takes no audio.");
    put_words_member(w, "type", "input_audio");
    put_key(w, "input_audio");
    put_open(w, '{');
    put_string_member(w, "data", p->data);
    put_string_member(w, "format", p->media_type);
    put_close(w, '}');
}

/* The API wants a name with the data. */
static void put_file(struct writing *s, const struct chat_message *m, const struct chat_part *p)
{
    struct chat_writer *w = &s->w;
    bool own = w->chat->from != CHAT_ANTHROPIC;   /* file ids are their vendor's */
    bool verbatim = w->chat->from == CHAT_OPENAI; /* file_data that is no data: URL */
    struct slice data = verbatim ? p->url : (struct slice){NULL, 0};

    if (chat_given(p->data))
        data = data_url(s, p->media_type, p->data);
    if (lacks(s, LACKS_FILE))
        refuse_part(s, m, p, "It takes no files.");
    else if (!chat_given(data) && !(own && chat_given(p->file_id)))
        refuse_part(s, m, p, "The dialect takes files as base64 data only.");
    put_words_member(w, "type", "file");
    put_key(w, "file");
    put_open(w, '{');
    if (chat_given(data) && !verbatim && !chat_given(p->name))
        put_string_member(w, "filename", SLICE("document.pdf"));
    put_string_member(w, "filename", p->name);
    put_string_member(w, "file_data", data);
    if (own)
        put_string_member(w, "file_id", p->file_id);
    put_close(w, '}');
}

static void put_part(struct writing *s, const struct chat_message *m, const struct chat_part *p)
{
    struct chat_writer *w = &s->w;

    put_open(w, '{');
    if (p->kind == CHAT_PART_IMAGE) {
        put_image(s, m, p);
    } else if (p->kind == CHAT_PART_AUDIO) {
        put_audio(s, m, p);
    } else if (p->kind == CHAT_PART_DOCUMENT) {
        put_file(s, m, p);
    } else {
        put_words_member(w, "type", "text");
        put_string_member(w, "text", p->text);
    }
    if (s->q->cache_control)
        put_raw_member(w, "cache_control", p->cache_control);
    put_close(w, '}');
}

/* ---- content ---- */

static bool is_content(const struct chat_part *p)
{
    return p->kind == CHAT_PART_TEXT || p->kind == CHAT_PART_IMAGE || p->kind == CHAT_PART_AUDIO ||
           p->kind == CHAT_PART_DOCUMENT;
}

static const struct chat_part *content_from(const struct chat_part *p)
{
    while (p && !is_content(p))
        p = p->next;
    return p;
}

static bool only_texts(const struct chat_part *parts)
{
    for (const struct chat_part *p = content_from(parts); p; p = content_from(p->next))
        if (p->kind != CHAT_PART_TEXT)
            return false;
    return true;
}

/* All texts in one, a blank line between; lead (may be empty) before them. */
static struct slice joined(struct writing *s, struct slice lead, const struct chat_part *parts)
{
    size_t n = lead.n;
    char *text;

    for (const struct chat_part *p = content_from(parts); p; p = content_from(p->next))
        n += p->text.n + 2;
    text = arena_alloc(s->w.arena, n + 1);
    memcpy(text, lead.p, lead.n);
    n = lead.n;
    for (const struct chat_part *p = content_from(parts); p; p = content_from(p->next)) {
        if (n > lead.n) {
            memcpy(text + n, "\n\n", 2);
            n += 2;
        }
        if (p->text.n)
            memcpy(text + n, p->text.p, p->text.n);
        n += p->text.n;
    }
    return slice_make(text, n);
}

static void put_content(struct writing *s, const struct chat_message *m,
                        const struct chat_part *parts)
{
    struct chat_writer *w = &s->w;
    const struct chat_part *first = content_from(parts);
    bool one = first && !content_from(first->next);
    bool marked = s->q->cache_control && first && chat_given(first->cache_control);

    put_key(w, "content");
    if (!first) {
        put_string(w, SLICE(""));
    } else if (one && first->kind == CHAT_PART_TEXT && !marked) {
        put_string(w, first->text);
    } else if (s->q->texts_as_string && only_texts(parts)) {
        put_string(w, joined(s, SLICE(""), parts));
    } else {
        put_open(w, '[');
        for (const struct chat_part *p = first; p; p = content_from(p->next))
            put_part(s, m, p);
        put_close(w, ']');
    }
}

/* ---- messages ---- */

static struct slice tool_id(struct writing *s, const struct chat_part *p)
{
    return tool_id_map(&s->q->tool_id, p->id, s->w.arena);
}

static void put_tool_message(struct writing *s, const struct chat_message *m,
                             const struct chat_part *result)
{
    struct chat_writer *w = &s->w;

    if (!only_texts(result->parts))
        for (const struct chat_part *p = result->parts; p; p = p->next)
            if (p->kind != CHAT_PART_TEXT)
                chat_refuse(w, chat_path(w->chat, m, result, p, NULL, w->arena),
                            "The dialect's tool results are text.");
    put_open(w, '{');
    put_words_member(w, "role", "tool");
    put_string_member(w, "tool_call_id", tool_id(s, result));
    if (result->is_error) {
        put_string_member(w, "content", joined(s, SLICE("Error: "), result->parts));
    } else {
        put_content(s, m, result->parts);
    }
    put_close(w, '}');
}

static void put_author(struct writing *s, const struct chat_message *m)
{
    if (!chat_given(m->name))
        return;
    if (lacks(s, LACKS_NAME))
        chat_refuse(&s->w, chat_path(s->w.chat, m, NULL, NULL, "name", s->w.arena), NULL);
    put_string_member(&s->w, "name", m->name);
}

static void put_plain_message(struct writing *s, const struct chat_message *m, const char *role)
{
    put_open(&s->w, '{');
    put_words_member(&s->w, "role", role);
    put_author(s, m);
    put_content(s, m, m->parts);
    put_close(&s->w, '}');
}

/* Results first, each a message; then the rest, when there is any. */
static void put_user(struct writing *s, const struct chat_message *m)
{
    bool results = false;

    for (const struct chat_part *p = m->parts; p; p = p->next)
        if (p->kind == CHAT_PART_TOOL_RESULT) {
            put_tool_message(s, m, p);
            results = true;
        }
    if (!results || content_from(m->parts))
        put_plain_message(s, m, "user");
}

static void put_thinking(struct writing *s, const struct chat_message *m)
{
    for (const struct chat_part *p = m->parts; p; p = p->next)
        if (p->kind == CHAT_PART_THINKING && s->to->keep_thinking && s->q->thinking_key) {
            put_string_member(&s->w, s->q->thinking_key, p->text);
            return;
        }
}

static void put_calls(struct writing *s, const struct chat_part *parts)
{
    struct chat_writer *w = &s->w;
    bool open = false;

    for (const struct chat_part *p = parts; p; p = p->next) {
        if (p->kind != CHAT_PART_TOOL_CALL)
            continue;
        if (!open) {
            put_key(w, "tool_calls");
            put_open(w, '[');
            open = true;
        }
        put_open(w, '{');
        put_string_member(w, "id", tool_id(s, p));
        put_words_member(w, "type", "function");
        put_key(w, "function");
        put_open(w, '{');
        put_string_member(w, "name", p->name);
        put_string_member(w, "arguments", p->text);
        put_close(w, '}');
        put_close(w, '}');
    }
    if (open)
        put_close(w, ']');
}

static bool has_kind(const struct chat_part *p, enum chat_part_kind kind)
{
    while (p && p->kind != kind)
        p = p->next;
    return p != NULL;
}

/* Only a client of Anthropic's API means a last assistant turn to be continued. */
static bool is_prefill(const struct writing *s, const struct chat_message *m)
{
    return s->w.chat->from == CHAT_ANTHROPIC && !m->next && m->role == CHAT_ASSISTANT;
}

static void put_assistant(struct writing *s, const struct chat_message *m)
{
    struct chat_writer *w = &s->w;

    if (is_prefill(s, m) && s->q->prefill == PREFILL_NONE)
        chat_refuse(w, chat_path(w->chat, m, NULL, NULL, NULL, w->arena),
                    "It does not continue a turn that was begun for the assistant.");
    put_open(w, '{');
    put_words_member(w, "role", "assistant");
    put_author(s, m);
    put_thinking(s, m);
    if (content_from(m->parts))
        put_content(s, m, m->parts);
    else if (has_kind(m->parts, CHAT_PART_TOOL_CALL) || has_kind(m->parts, CHAT_PART_REFUSAL))
        put_raw_member(w, "content", SLICE("null"));
    else
        put_string_member(w, "content", SLICE(""));
    for (const struct chat_part *p = m->parts; p; p = p->next)
        if (p->kind == CHAT_PART_REFUSAL) {
            put_string_member(w, "refusal", p->text);
            break;
        }
    put_calls(s, m->parts);
    if (is_prefill(s, m) && s->q->prefill == PREFILL_PREFIX)
        put_flag_member(w, "prefix", CHAT_YES);
    put_close(w, '}');
}

static void put_messages(struct writing *s)
{
    put_key(&s->w, "messages");
    put_open(&s->w, '[');
    for (const struct chat_message *m = s->w.chat->messages; m; m = m->next)
        switch (m->role) {
        case CHAT_SYSTEM:
            put_plain_message(s, m, "system");
            break;
        case CHAT_DEVELOPER:
            put_plain_message(s, m, lacks(s, LACKS_DEVELOPER) ? "system" : "developer");
            break;
        case CHAT_USER:
        case CHAT_TOOL:
            put_user(s, m);
            break;
        case CHAT_ASSISTANT:
            put_assistant(s, m);
            break;
        }
    put_close(&s->w, ']');
}

/* ---- tools ---- */

static void put_tool(struct writing *s, const struct chat_tool *tool)
{
    struct chat_writer *w = &s->w;

    if (tool->strict == CHAT_YES && lacks(s, LACKS_STRICT))
        chat_refuse(w, chat_tool_path(w->chat, tool, "strict", w->arena), NULL);
    put_open(w, '{');
    put_words_member(w, "type", "function");
    put_key(w, "function");
    put_open(w, '{');
    put_string_member(w, "name", tool->name);
    put_string_member(w, "description", tool->description);
    put_raw_member(w, "parameters", tool->parameters);
    if (!lacks(s, LACKS_STRICT))
        put_flag_member(w, "strict", tool->strict);
    put_close(w, '}');
    if (s->q->cache_control)
        put_raw_member(w, "cache_control", tool->cache_control);
    put_close(w, '}');
}

static void put_choice(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;

    switch (c->tool_choice) {
    case CHAT_CHOICE_UNSET:
        return;
    case CHAT_CHOICE_AUTO: /* is what a server without tool_choice does, and one without tools */
        if (!lacks(s, LACKS_TOOL_CHOICE) && c->tools)
            put_words_member(w, "tool_choice", "auto");
        return;
    case CHAT_CHOICE_NONE:
        if (!c->tools) /* OpenAI refuses the member without tools */
            return;
        put_words_member(w, "tool_choice", "none");
        break;
    case CHAT_CHOICE_REQUIRED:
        put_words_member(w, "tool_choice", s->q->required_word ? s->q->required_word : "required");
        break;
    case CHAT_CHOICE_NAMED:
        put_key(w, "tool_choice");
        put_open(w, '{');
        put_words_member(w, "type", "function");
        put_key(w, "function");
        put_open(w, '{');
        put_string_member(w, "name", c->tool_choice_name);
        put_close(w, '}');
        put_close(w, '}');
        if (lacks(s, LACKS_NAMED_CHOICE))
            chat_refuse(w, "tool_choice", "It cannot be told which function to call.");
        break;
    }
    if (lacks(s, LACKS_TOOL_CHOICE))
        chat_refuse(w, "tool_choice", NULL);
}

static void put_tools(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;

    if (c->tools) {
        put_key(w, "tools");
        put_open(w, '[');
        for (const struct chat_tool *tool = c->tools; tool; tool = tool->next)
            put_tool(s, tool);
        put_close(w, ']');
    }
    put_choice(s);
    /* Without tools OpenAI refuses the member; Responses' clients send it always. */
    if (!c->tools)
        return;
    if (!lacks(s, LACKS_PARALLEL))
        put_flag_member(w, "parallel_tool_calls", c->parallel);
    else if (c->parallel == CHAT_NO)
        chat_refuse(w, chat_term(c, TERM_PARALLEL), NULL);
}

/* ---- settings ---- */

static void put_schema(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;

    put_key(w, "json_schema");
    put_open(w, '{');
    /* Anthropic's schemas have no name, OpenAI's must. */
    put_string_member(w, "name", chat_given(c->schema_name) ? c->schema_name : SLICE("output"));
    put_string_member(w, "description", c->schema_description);
    put_raw_member(w, "schema", c->schema);
    put_flag_member(w, "strict", c->schema_strict);
    put_close(w, '}');
}

static void put_format(struct writing *s)
{
    struct chat_writer *w = &s->w;
    enum chat_format format = w->chat->format;

    if (format == CHAT_FORMAT_UNSET || format == CHAT_FORMAT_TEXT)
        return; /* text is the default */
    if (lacks(s, format == CHAT_FORMAT_JSON_OBJECT ? LACKS_JSON_OBJECT : LACKS_JSON_SCHEMA))
        chat_refuse(w, chat_term(w->chat, TERM_FORMAT), NULL);
    put_key(w, "response_format");
    put_open(w, '{');
    put_words_member(w, "type", format == CHAT_FORMAT_JSON_OBJECT ? "json_object" : "json_schema");
    if (format == CHAT_FORMAT_JSON_SCHEMA)
        put_schema(s);
    put_close(w, '}');
}

/* A member that some servers lack: refused there unless it says what happens anyway. */
static void put_number(struct writing *s, const char *key, struct slice value, unsigned lack,
                       double neutral)
{
    if (!chat_given(value))
        return;
    if (!lacks(s, lack))
        put_raw_member(&s->w, key, value);
    else if (!chat_is_number(value, neutral))
        chat_refuse(&s->w, key, NULL);
}

static void put_stops(struct writing *s)
{
    struct chat_writer *w = &s->w;
    size_t count = 0;

    for (const struct chat_stop *stop = w->chat->stops; stop; stop = stop->next)
        count++;
    if (count == 0)
        return;
    if (s->q->max_stops && count > s->q->max_stops)
        chat_refuse(w, chat_term(w->chat, TERM_STOP),
                    arena_printf(w->arena, "It takes at most %zu stop sequences, not %zu.",
                                 s->q->max_stops, count));
    put_key(w, "stop");
    put_open(w, '[');
    for (const struct chat_stop *stop = w->chat->stops; stop; stop = stop->next)
        put_string(w, stop->text);
    put_close(w, ']');
}

static void put_sampling(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;

    if (chat_is_number(c->max_tokens, 0))
        chat_refuse(w, c->max_tokens_name, "The dialect has no requests without an answer.");
    put_raw_member(w, s->q->max_tokens_key, c->max_tokens);
    put_raw_member(w, "temperature", c->temperature);
    put_raw_member(w, "top_p", c->top_p);
    if (chat_given(c->top_k) && !s->q->top_k_key)
        chat_refuse(w, "top_k", NULL);
    else if (chat_given(c->top_k))
        put_raw_member(w, s->q->top_k_key, c->top_k);
    put_stops(s);
    if (chat_given(c->seed) && lacks(s, LACKS_SEED))
        chat_refuse(w, "seed", NULL);
    put_raw_member(w, s->q->seed_key ? s->q->seed_key : "seed", c->seed);
    put_number(s, "frequency_penalty", c->frequency_penalty, LACKS_PENALTIES, 0);
    put_number(s, "presence_penalty", c->presence_penalty, LACKS_PENALTIES, 0);
    put_number(s, "n", c->n, LACKS_N, 1);
    if (s->to->ask_logprobs)
        put_raw_member(w, "top_logprobs", SLICE(OPENAI_TOP_LOGPROBS));
    else
        put_number(s, "top_logprobs", c->top_logprobs, LACKS_LOGPROBS, 0);
    if (!lacks(s, LACKS_LOGPROBS))
        put_flag_member(w, "logprobs", s->to->ask_logprobs ? CHAT_YES : c->logprobs);
    else if (c->logprobs == CHAT_YES)
        chat_refuse(w, "logprobs", NULL);
    if (chat_given(c->logit_bias) && lacks(s, LACKS_LOGIT_BIAS) &&
        !slice_eq(c->logit_bias, SLICE("{}")))
        chat_refuse(w, "logit_bias", NULL);
    else if (!lacks(s, LACKS_LOGIT_BIAS))
        put_raw_member(w, "logit_bias", c->logit_bias);
}

/* The header of openai_chat.h says why these shares. */
static enum chat_effort effort_of_budget(const struct chat *c)
{
    double share, limit = 0;

    if (!json_number((struct json_value){JSON_NUMBER, c->max_tokens}, &limit) || limit <= 0)
        return CHAT_EFFORT_HIGH;
    share = (double)c->thinking_budget_tokens / limit;
    return share <= 0.35 ? CHAT_EFFORT_LOW : share <= 0.65 ? CHAT_EFFORT_MEDIUM : CHAT_EFFORT_HIGH;
}

static void put_effort(struct writing *s)
{
    const struct chat *c = s->w.chat;
    enum chat_effort effort = c->effort;
    bool budget = effort == CHAT_EFFORT_UNSET && c->thinking == CHAT_THINKING_BUDGET;

    if (budget && !s->q->effort[CHAT_EFFORT_HIGH])
        return;
    if (budget)
        effort = effort_of_budget(c);
    if (effort == CHAT_EFFORT_UNSET)
        return;
    if (!s->q->effort[effort])
        chat_refuse(&s->w, budget ? "thinking.budget_tokens" : chat_term(c, TERM_EFFORT),
                    "It has no such reasoning effort.");
    else
        put_words_member(&s->w, "reasoning_effort", s->q->effort[effort]);
}

static void put_verbosity(struct writing *s)
{
    const struct chat *c = s->w.chat;

    if (!lacks(s, LACKS_VERBOSITY))
        put_string_member(&s->w, "verbosity", c->verbosity);
    else if (chat_given(c->verbosity) && !slice_eq(c->verbosity, SLICE("medium")))
        chat_refuse(&s->w, chat_term(c, TERM_VERBOSITY), NULL);
}

/* Usage in each chunk makes the bill of a stream that is left exact. A client of this dialect that
 * asked for usage gets the server's chunks as they are, and asked for no such thing. */
static bool asks_usage_throughout(const struct writing *s)
{
    const struct chat *c = s->w.chat;
    bool one = !chat_given(c->n) || chat_is_number(c->n, 1);

    return c->usage_throughout || (s->q->continuous_usage && s->to->ask_usage && one &&
                                   !(c->from == CHAT_OPENAI && c->include_usage));
}

static void put_stream(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;

    if (!c->stream)
        return;
    put_flag_member(w, "stream", CHAT_YES);
    if (c->usage_throughout && !s->q->continuous_usage)
        chat_refuse(w, "stream_options.continuous_usage_stats", NULL);
    if (lacks(s, LACKS_STREAM_USAGE) || (!s->to->ask_usage && !c->include_usage))
        return;
    put_raw_member(w, "stream_options",
                   asks_usage_throughout(s)
                       ? SLICE("{\"include_usage\":true,\"continuous_usage_stats\":true}")
                       : SLICE("{\"include_usage\":true}"));
}

static void put_prefill(struct writing *s)
{
    const struct chat_message *m = s->w.chat->messages;

    if (s->q->prefill != PREFILL_CONTINUE)
        return;
    while (m && m->next)
        m = m->next;
    if (!m || !is_prefill(s, m))
        return;
    put_flag_member(&s->w, "add_generation_prompt", CHAT_NO);
    put_flag_member(&s->w, "continue_final_message", CHAT_YES);
}

enum err openai_chat_write(const struct chat *c, const struct openai_target *to, struct arena *a,
                           struct buf *out, const char **param, struct err_text *t)
{
    struct writing s = {.to = to, .q = to->quirks};
    const char *target =
        arena_printf(a, "%s (%s)", chat_dialect_name(CHAT_OPENAI), to->quirks->name);

    chat_writer_init(&s.w, c, target, a, out, param, t);
    if (chat_refuse_unknown(&s.w, CHAT_OPENAI))
        return chat_writer_end(&s.w);
    put_open(&s.w, '{');
    put_string_member(&s.w, "model", to->model);
    put_messages(&s);
    put_tools(&s);
    put_format(&s);
    put_sampling(&s);
    put_effort(&s);
    put_verbosity(&s);
    put_prefill(&s);
    put_stream(&s);
    put_unknown(&s.w, CHAT_OPENAI);
    if (chat_given(c->previous_response_id))
        chat_refuse(&s.w, "previous_response_id", "Its conversation is not at hand.");
    chat_refuse_tool_names(&s.w, &s.q->tool_name);
    if (s.q->pairs_tools)
        chat_refuse_unpaired(&s.w, TOOL_PAIRS_BY_MESSAGE);
    put_close(&s.w, '}');
    return chat_writer_end(&s.w);
}

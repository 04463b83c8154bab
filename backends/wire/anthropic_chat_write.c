/* chat -> Anthropic Messages request. Owns nothing; called by the router for an attempt whose
 * upstream speaks this dialect when the client does not. */
#include "backends/wire/anthropic_chat.h"
#include "backends/wire/chat_writer.h"
#include "backends/wire/tool_id.h"
#include "base/json_scan.h"

#define DEFAULT_MAX_TOKENS  4096
#define MIN_THINKING_BUDGET 1024 /* "Requires a minimum budget of 1,024 tokens" */

struct writing {
    struct chat_writer w;
    const struct anthropic_target *to;
    int64_t max_tokens;
};

/* "String should match pattern '^[a-zA-Z0-9_-]+$'" is the API's answer to any other id. */
static const struct tool_id_rule tool_ids = {.min_bytes = 1, .max_bytes = 256};
/* "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'" */
static const struct tool_id_rule tool_names = {.min_bytes = 1, .max_bytes = 128};

static void refuse_part(struct writing *s, const struct chat_message *m, const struct chat_part *p,
                        const struct chat_part *inner, const char *field, const char *why)
{
    chat_refuse(&s->w, chat_path(s->w.chat, m, p, inner, field, s->w.arena), why);
}

/* ---- blocks ---- */

static bool starts_nocase(struct slice s, const char *prefix)
{
    size_t n = strlen(prefix);

    return s.n >= n && strncasecmp(s.p, prefix, n) == 0;
}

/* Images and documents. at is the part that stands in the message, inner one within its result. */
static void put_source(struct writing *s, const struct chat_message *m, const struct chat_part *at,
                       const struct chat_part *inner, const char *type)
{
    struct chat_writer *w = &s->w;
    const struct chat_part *p = inner ? inner : at;

    put_words_member(w, "type", type);
    put_key(w, "source");
    put_open(w, '{');
    if (chat_given(p->data)) {
        put_words_member(w, "type", "base64");
        put_string_member(w, "media_type", p->media_type);
        put_string_member(w, "data", p->data);
    } else if (starts_nocase(p->url, "https://") || starts_nocase(p->url, "http://")) {
        put_words_member(w, "type", "url");
        put_string_member(w, "url", p->url);
    } else if (chat_given(p->file_id) && w->chat->from == CHAT_ANTHROPIC) {
        put_words_member(w, "type", "file");
        put_string_member(w, "file_id", p->file_id);
    } else {
        refuse_part(s, m, at, inner, NULL, "The dialect takes base64 data: URLs and http(s) URLs.");
    }
    put_close(w, '}');
    if (p->kind == CHAT_PART_DOCUMENT)
        put_string_member(w, "title", p->name);
}

static void put_text(struct writing *s, const struct chat_part *p)
{
    put_words_member(&s->w, "type", "text");
    put_string_member(&s->w, "text", p->text);
}

static bool is_json_object(struct slice text)
{
    size_t i = 0;

    while (i < text.n && (text.p[i] == ' ' || (text.p[i] >= '\t' && text.p[i] <= '\r')))
        i++;
    return i < text.n && text.p[i] == '{' && json_validate(text, NULL);
}

static void put_tool_use(struct writing *s, const struct chat_message *m, const struct chat_part *p)
{
    struct chat_writer *w = &s->w;
    struct slice input = chat_is_blank(p->text) ? SLICE("{}") : p->text;

    if (!is_json_object(input))
        refuse_part(s, m, p, NULL,
                    w->chat->from == CHAT_OPENAI ? "function.arguments" : "arguments",
                    "The dialect's tool input is a JSON object, and this is none.");
    put_words_member(w, "type", "tool_use");
    put_string_member(w, "id", tool_id_map(&tool_ids, p->id, w->arena));
    put_string_member(w, "name", p->name);
    put_raw_member(w, "input", input);
}

static bool is_sent_text(const struct chat_part *p)
{
    return !chat_is_blank(p->text);
}

static void put_tool_result(struct writing *s, const struct chat_message *m,
                            const struct chat_part *result)
{
    struct chat_writer *w = &s->w;
    const struct chat_part *first = result->parts;

    put_words_member(w, "type", "tool_result");
    put_string_member(w, "tool_use_id", tool_id_map(&tool_ids, result->id, w->arena));
    if (first && !first->next && first->kind == CHAT_PART_TEXT &&
        !chat_given(first->cache_control)) {
        put_string_member(w, "content", first->text);
    } else if (first) {
        put_key(w, "content");
        put_open(w, '[');
        for (const struct chat_part *p = first; p; p = p->next) {
            if (p->kind == CHAT_PART_TEXT && !is_sent_text(p))
                continue;
            put_open(w, '{');
            if (p->kind == CHAT_PART_TEXT)
                put_text(s, p);
            else if (p->kind == CHAT_PART_IMAGE)
                put_source(s, m, result, p, "image");
            else if (p->kind == CHAT_PART_DOCUMENT)
                put_source(s, m, result, p, "document");
            else
                refuse_part(s, m, result, p, NULL, NULL);
            put_raw_member(w, "cache_control", p->cache_control);
            put_close(w, '}');
        }
        put_close(w, ']');
    }
    if (result->is_error)
        put_flag_member(w, "is_error", CHAT_YES);
}

static void put_thinking(struct writing *s, const struct chat_part *p)
{
    struct chat_writer *w = &s->w;

    if (p->kind == CHAT_PART_REDACTED_THINKING) {
        put_words_member(w, "type", "redacted_thinking");
        put_string_member(w, "data", p->data);
        return;
    }
    put_words_member(w, "type", "thinking");
    put_string_member(w, "thinking", p->text);
    put_string_member(w, "signature", p->signature);
}

/* Which parts go upstream; the header says why the others do not. */
static bool is_sent(const struct writing *s, const struct chat_part *p)
{
    bool ours = s->to->keep_thinking && s->w.chat->from == CHAT_ANTHROPIC;

    switch (p->kind) {
    case CHAT_PART_TEXT:
    case CHAT_PART_REFUSAL:
        return is_sent_text(p);
    case CHAT_PART_THINKING:
        return ours && chat_given(p->signature);
    case CHAT_PART_REDACTED_THINKING:
        return ours;
    case CHAT_PART_IMAGE:
    case CHAT_PART_AUDIO:
    case CHAT_PART_DOCUMENT:
    case CHAT_PART_TOOL_CALL:
    case CHAT_PART_TOOL_RESULT:
        break;
    }
    return true;
}

static void put_block(struct writing *s, const struct chat_message *m, const struct chat_part *p)
{
    put_open(&s->w, '{');
    switch (p->kind) {
    case CHAT_PART_TEXT:
    case CHAT_PART_REFUSAL:
        put_text(s, p);
        break;
    case CHAT_PART_THINKING:
    case CHAT_PART_REDACTED_THINKING:
        put_thinking(s, p);
        break;
    case CHAT_PART_IMAGE:
        put_source(s, m, p, NULL, "image");
        break;
    case CHAT_PART_DOCUMENT:
        put_source(s, m, p, NULL, "document");
        break;
    case CHAT_PART_TOOL_CALL:
        put_tool_use(s, m, p);
        break;
    case CHAT_PART_TOOL_RESULT:
        put_tool_result(s, m, p);
        break;
    case CHAT_PART_AUDIO:
        refuse_part(s, m, p, NULL, NULL, "The dialect has no audio.");
        break;
    }
    put_raw_member(&s->w, "cache_control", p->cache_control);
    put_close(&s->w, '}');
}

/* ---- messages ---- */

static bool is_system(const struct chat_message *m)
{
    return m->role == CHAT_SYSTEM || m->role == CHAT_DEVELOPER;
}

/* The messages of one side that become one: from m up to, not including, the result. System
 * messages in between went elsewhere. */
static const struct chat_message *run_end(const struct chat_message *m)
{
    bool assistant = m->role == CHAT_ASSISTANT;

    while (m && (is_system(m) || (m->role == CHAT_ASSISTANT) == assistant))
        m = m->next;
    return m;
}

struct run {
    const struct chat_message *from, *to;
    size_t sent;                  /* blocks */
    const struct chat_part *only; /* the last of them */
};

static struct run measure(struct writing *s, const struct chat_message *m)
{
    struct run run = {.from = m, .to = run_end(m)};

    for (; m != run.to; m = m->next) {
        if (is_system(m))
            continue;
        if (chat_given(m->name))
            refuse_part(s, m, NULL, NULL, "name", "The dialect does not name participants.");
        for (const struct chat_part *p = m->parts; p; p = p->next)
            if (is_sent(s, p)) {
                run.sent++;
                run.only = p;
            }
    }
    return run;
}

static void put_blocks(struct writing *s, const struct run *run, bool results)
{
    for (const struct chat_message *m = run->from; m != run->to; m = m->next)
        for (const struct chat_part *p = is_system(m) ? NULL : m->parts; p; p = p->next)
            if (is_sent(s, p) && (p->kind == CHAT_PART_TOOL_RESULT) == results)
                put_block(s, m, p);
}

static void put_run(struct writing *s, const struct run *run)
{
    struct chat_writer *w = &s->w;
    bool plain = run->sent == 1 && !chat_given(run->only->cache_control) &&
                 (run->only->kind == CHAT_PART_TEXT || run->only->kind == CHAT_PART_REFUSAL);

    put_open(w, '{');
    put_words_member(w, "role", run->from->role == CHAT_ASSISTANT ? "assistant" : "user");
    put_key(w, "content");
    if (plain) {
        put_string(w, run->only->text);
    } else {
        put_open(w, '[');
        put_blocks(s, run, true);
        put_blocks(s, run, false);
        put_close(w, ']');
    }
    put_close(w, '}');
}

static void put_messages(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat_message *m = w->chat->messages;
    bool any = false;

    put_key(w, "messages");
    put_open(w, '[');
    while (m) {
        struct run run;
        if (is_system(m)) {
            m = m->next;
            continue;
        }
        run = measure(s, m);
        if (run.sent) {
            put_run(s, &run);
            any = true;
        }
        m = run.to;
    }
    put_close(w, ']');
    if (!any)
        chat_refuse(w, w->chat->from == CHAT_RESPONSES ? "input" : "messages",
                    "The dialect needs a message that says something.");
}

/* ---- system ---- */

static void put_system(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat_part *only = NULL;
    size_t count = 0;

    for (const struct chat_message *m = w->chat->messages; m; m = m->next)
        for (const struct chat_part *p = is_system(m) ? m->parts : NULL; p; p = p->next) {
            if (p->kind != CHAT_PART_TEXT)
                refuse_part(s, m, p, NULL, NULL, "The dialect's system prompt is text.");
            if (is_sent_text(p)) {
                count++;
                only = p;
            }
        }
    if (count == 0)
        return;
    put_key(w, "system");
    if (count == 1 && !chat_given(only->cache_control)) {
        put_string(w, only->text);
        return;
    }
    put_open(w, '[');
    for (const struct chat_message *m = w->chat->messages; m; m = m->next)
        for (const struct chat_part *p = is_system(m) ? m->parts : NULL; p; p = p->next) {
            if (!is_sent_text(p))
                continue;
            put_open(w, '{');
            put_text(s, p);
            put_raw_member(w, "cache_control", p->cache_control);
            put_close(w, '}');
        }
    put_close(w, ']');
}

/* ---- tools ---- */

static void put_tool(struct writing *s, const struct chat_tool *tool)
{
    struct chat_writer *w = &s->w;
    bool empty = !chat_given(tool->parameters) || slice_eq(tool->parameters, SLICE("{}"));

    put_open(w, '{');
    put_string_member(w, "name", tool->name);
    put_string_member(w, "description", tool->description);
    /* "Omitting parameters defines a function with an empty parameter list." */
    put_raw_member(w, "input_schema",
                   empty ? SLICE("{\"type\":\"object\",\"properties\":{}}") : tool->parameters);
    if (tool->strict == CHAT_YES)
        put_flag_member(w, "strict", CHAT_YES);
    put_raw_member(w, "cache_control", tool->cache_control);
    put_close(w, '}');
}

static void put_choice(struct writing *s)
{
    static const char *const words[] = {
        [CHAT_CHOICE_UNSET] = "auto",   [CHAT_CHOICE_AUTO] = "auto",  [CHAT_CHOICE_NONE] = "none",
        [CHAT_CHOICE_REQUIRED] = "any", [CHAT_CHOICE_NAMED] = "tool",
    };
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;
    bool alone = c->parallel == CHAT_NO && c->tools;
    bool forced = c->tool_choice == CHAT_CHOICE_REQUIRED || c->tool_choice == CHAT_CHOICE_NAMED;

    if ((c->tool_choice == CHAT_CHOICE_UNSET && !alone) || (!c->tools && !forced))
        return; /* without tools the dialect has no choice to make */
    put_key(w, "tool_choice");
    put_open(w, '{');
    put_words_member(w, "type", words[c->tool_choice]);
    if (c->tool_choice == CHAT_CHOICE_NAMED)
        put_string_member(w, "name", c->tool_choice_name);
    if (alone && c->tool_choice != CHAT_CHOICE_NONE)
        put_flag_member(w, "disable_parallel_tool_use", CHAT_YES);
    put_close(w, '}');
}

static void put_tools(struct writing *s)
{
    struct chat_writer *w = &s->w;

    if (w->chat->tools) {
        put_key(w, "tools");
        put_open(w, '[');
        for (const struct chat_tool *tool = w->chat->tools; tool; tool = tool->next)
            put_tool(s, tool);
        put_close(w, ']');
    }
    put_choice(s);
}

/* ---- thinking and output ---- */

/* What the API does not take beside thinking: "`temperature` may only be set to 1 when thinking is
 * enabled or in adaptive mode", top_p of 0.95 to 1, no top_k; and with a budget no tool_choice that
 * forces a tool (guides "Extended thinking", "Thinking in tool and multi-turn workflows"). */
static void refuse_beside_thinking(struct writing *s, bool budget)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;
    double top_p;

    if (chat_given(c->temperature) && !chat_is_number(c->temperature, 1))
        chat_refuse(w, "temperature", "Beside thinking it can only be 1.");
    if (json_number((struct json_value){JSON_NUMBER, c->top_p}, &top_p) && top_p < 0.95)
        chat_refuse(w, "top_p", "Beside thinking it can only be 0.95 to 1.");
    if (chat_given(c->top_k))
        chat_refuse(w, "top_k", "It cannot stand beside thinking.");
    if (budget && (c->tool_choice == CHAT_CHOICE_REQUIRED || c->tool_choice == CHAT_CHOICE_NAMED))
        chat_refuse(w, "tool_choice", "A tool cannot be forced beside a budget for thinking.");
}

/* Does the conversation stand in a tool loop whose assistant turn goes without its thinking? */
static bool loop_without_thinking(const struct writing *s)
{
    const struct chat_message *last = NULL, *turn = NULL;

    for (const struct chat_message *m = s->w.chat->messages; m; m = m->next) {
        if (is_system(m))
            continue;
        if (m->role == CHAT_ASSISTANT && (!last || last->role != CHAT_ASSISTANT))
            turn = m;
        last = m;
    }
    if (!turn || !last || !last->parts || last->parts->kind != CHAT_PART_TOOL_RESULT)
        return false;
    for (const struct chat_part *p = turn->parts; p; p = p->next)
        if (p->kind == CHAT_PART_THINKING || p->kind == CHAT_PART_REDACTED_THINKING)
            return !is_sent(s, p);
    return true;
}

static int64_t budget_of_effort(const struct writing *s)
{
    static const int percent[CHAT_EFFORTS] = {
        [CHAT_EFFORT_MINIMAL] = 10, [CHAT_EFFORT_LOW] = 20,   [CHAT_EFFORT_MEDIUM] = 50,
        [CHAT_EFFORT_HIGH] = 80,    [CHAT_EFFORT_XHIGH] = 95, [CHAT_EFFORT_MAX] = 95,
    };
    int share = percent[s->w.chat->effort];
    int64_t budget = s->max_tokens / 100 * share + s->max_tokens % 100 * share / 100;

    return budget < MIN_THINKING_BUDGET ? MIN_THINKING_BUDGET : budget;
}

static void put_adaptive(struct writing *s)
{
    refuse_beside_thinking(s, false);
    put_raw_member(&s->w, "thinking", SLICE("{\"type\":\"adaptive\"}"));
}

static void put_budget(struct writing *s, int64_t budget)
{
    struct chat_writer *w = &s->w;

    if (loop_without_thinking(s))
        return;
    refuse_beside_thinking(s, true);
    if (budget >= s->max_tokens && w->chat->from != CHAT_ANTHROPIC)
        chat_refuse(
            w, chat_term(w->chat, TERM_EFFORT),
            "Thinking there takes a budget of at least 1024 tokens, and max_tokens above it.");
    put_key(w, "thinking");
    put_open(w, '{');
    put_words_member(w, "type", "enabled");
    put_int_member(w, "budget_tokens", budget);
    put_close(w, '}');
}

/* Anthropic's own wish goes as it came; OpenAI's effort as the model can take it. */
static void put_thinking_wish(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;

    switch (c->thinking) {
    case CHAT_THINKING_BUDGET:
        put_budget(s, c->thinking_budget_tokens);
        return;
    case CHAT_THINKING_OFF:
        put_raw_member(w, "thinking", SLICE("{\"type\":\"disabled\"}"));
        return;
    case CHAT_THINKING_ADAPTIVE:
        put_adaptive(s);
        return;
    case CHAT_THINKING_UNSET:
        break;
    }
    if (c->from == CHAT_ANTHROPIC || c->effort == CHAT_EFFORT_UNSET ||
        c->effort == CHAT_EFFORT_NONE)
        return; /* no thinking is the dialect's default */
    if (s->to->adaptive_thinking)
        put_adaptive(s);
    else
        put_budget(s, budget_of_effort(s));
}

static const char *effort_word(const struct writing *s)
{
    static const char *const words[CHAT_EFFORTS] = {
        [CHAT_EFFORT_MINIMAL] = "low",   [CHAT_EFFORT_LOW] = "low",
        [CHAT_EFFORT_MEDIUM] = "medium", [CHAT_EFFORT_HIGH] = "high",
        [CHAT_EFFORT_XHIGH] = "xhigh",   [CHAT_EFFORT_MAX] = "max",
    };
    bool takes_effort = s->to->adaptive_thinking || s->w.chat->from == CHAT_ANTHROPIC;

    return takes_effort ? words[s->w.chat->effort] : NULL;
}

static void put_output(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;
    const char *effort = effort_word(s);
    bool schema = c->format == CHAT_FORMAT_JSON_SCHEMA && chat_given(c->schema);

    if (c->format == CHAT_FORMAT_JSON_OBJECT || (c->format == CHAT_FORMAT_JSON_SCHEMA && !schema))
        chat_refuse(w, chat_term(c, TERM_FORMAT), "The dialect's JSON output needs a schema.");
    if (chat_given(c->schema_description))
        chat_refuse(w,
                    arena_printf(w->arena, "%s%s.description", chat_term(c, TERM_FORMAT),
                                 c->from == CHAT_OPENAI ? ".json_schema" : ""),
                    NULL);
    if (!effort && !schema)
        return;
    put_key(w, "output_config");
    put_open(w, '{');
    put_string_member(w, "effort", slice_str(effort));
    if (schema) {
        put_key(w, "format");
        put_open(w, '{');
        put_words_member(w, "type", "json_schema");
        put_raw_member(w, "schema", c->schema);
        put_close(w, '}');
    }
    put_close(w, '}');
}

/* ---- settings ---- */

/* What samples as the API does unasked may be left out of a version that has no such members. */
static void leave_out_sampling(struct writing *s)
{
    static const char why[] = "The API's version has no such parameter.";
    const struct chat *c = s->w.chat;

    if (chat_given(c->temperature) && !chat_is_number(c->temperature, 1))
        chat_refuse(&s->w, "temperature", why);
    if (chat_given(c->top_p) && !chat_is_number(c->top_p, 1))
        chat_refuse(&s->w, "top_p", why);
    if (chat_given(c->top_k))
        chat_refuse(&s->w, "top_k", why);
}

static void put_sampling(struct writing *s)
{
    double t;

    if (s->to->no_sampling) {
        leave_out_sampling(s);
        return;
    }

    if (json_number((struct json_value){JSON_NUMBER, s->w.chat->temperature}, &t) && t > 1)
        chat_refuse(&s->w, "temperature", "The dialect's temperature ends at 1.");
    put_raw_member(&s->w, "temperature", s->w.chat->temperature);
    put_raw_member(&s->w, "top_p", s->w.chat->top_p);
    put_raw_member(&s->w, "top_k", s->w.chat->top_k);
}

static void put_stops(struct writing *s)
{
    struct chat_writer *w = &s->w;

    if (!w->chat->stops)
        return;
    put_key(w, "stop_sequences");
    put_open(w, '[');
    for (const struct chat_stop *stop = w->chat->stops; stop; stop = stop->next) {
        if (chat_is_blank(stop->text)) /* "each stop sequence must contain non-whitespace" */
            chat_refuse(w, chat_term(w->chat, TERM_STOP),
                        "Its stop sequences must not be white space only.");
        put_string(w, stop->text);
    }
    put_close(w, ']');
}

static void refuse_unless(struct writing *s, const char *name, struct slice value, double neutral)
{
    if (chat_given(value) && !chat_is_number(value, neutral))
        chat_refuse(&s->w, name, NULL);
}

static void refuse_others(struct writing *s)
{
    const struct chat *c = s->w.chat;

    refuse_unless(s, "frequency_penalty", c->frequency_penalty, 0);
    refuse_unless(s, "presence_penalty", c->presence_penalty, 0);
    refuse_unless(s, "n", c->n, 1);
    refuse_unless(s, "top_logprobs", c->top_logprobs, 0);
    if (chat_given(c->seed))
        chat_refuse(&s->w, "seed", NULL);
    if (c->logprobs == CHAT_YES)
        chat_refuse(&s->w, "logprobs", NULL);
    if (chat_given(c->logit_bias) && !slice_eq(c->logit_bias, SLICE("{}")))
        chat_refuse(&s->w, "logit_bias", NULL);
    if (chat_given(c->verbosity) && !slice_eq(c->verbosity, SLICE("medium")))
        chat_refuse(&s->w, chat_term(c, TERM_VERBOSITY), NULL);
    if (c->usage_throughout)
        chat_refuse(&s->w, "stream_options.continuous_usage_stats", NULL);
    if (chat_given(c->previous_response_id))
        chat_refuse(&s->w, "previous_response_id", "Its conversation is not at hand.");
}

static void put_settings(struct writing *s)
{
    struct chat_writer *w = &s->w;
    const struct chat *c = w->chat;

    put_sampling(s);
    put_stops(s);
    put_thinking_wish(s);
    put_output(s);
    if (c->stream)
        put_flag_member(w, "stream", CHAT_YES);
    put_raw_member(w, "cache_control", c->cache_control);
    refuse_others(s);
}

static void put_max_tokens(struct writing *s)
{
    struct slice given = s->w.chat->max_tokens;

    if (chat_given(given) && json_int((struct json_value){JSON_NUMBER, given}, &s->max_tokens)) {
        put_raw_member(&s->w, "max_tokens", given);
        return;
    }
    s->max_tokens = s->to->max_output_tokens > 0 ? s->to->max_output_tokens : DEFAULT_MAX_TOKENS;
    put_int_member(&s->w, "max_tokens", s->max_tokens);
}

enum err anthropic_chat_write(const struct chat *c, const struct anthropic_target *to,
                              struct arena *a, struct buf *out, const char **param,
                              struct err_text *t)
{
    struct writing s = {.to = to};

    chat_writer_init(&s.w, c, chat_dialect_name(CHAT_ANTHROPIC), a, out, param, t);
    if (chat_refuse_unknown(&s.w, CHAT_ANTHROPIC))
        return chat_writer_end(&s.w);
    put_open(&s.w, '{');
    put_string_member(&s.w, "model", to->model);
    put_max_tokens(&s);
    put_system(&s);
    put_messages(&s);
    put_tools(&s);
    put_settings(&s);
    put_unknown(&s.w, CHAT_ANTHROPIC);
    chat_refuse_tool_names(&s.w, &tool_names);
    chat_refuse_unpaired(&s.w, TOOL_PAIRS_BY_TURN);
    put_close(&s.w, '}');
    return chat_writer_end(&s.w);
}

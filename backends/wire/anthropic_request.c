/* Anthropic requests, read once and spliced. Owns nothing: what it makes lies in the request's
 * arena, what it finds points into the client's body. Called by the router when a request has
 * arrived (scan) and for each attempt (splice).
 *
 * The body is validated, then walked in the order of its text, and wherever the splice may have to
 * put other bytes a mark is left:
 *
 *   {"model":"auto","messages":[{"role":"assistant","content":[{"type":"thinking",...},{...}]}]}
 *             ^ model                                           ^ thinking, with its comma
 *
 * and likewise where it may have to take the wish to think back. */
#include "backends/wire/anthropic_request.h"

#include "backends/wire/member.h"
#include "backends/wire/openai_reply.h"

enum mark_kind {
    MARK_MODEL,    /* the model's name goes here */
    MARK_THINKING, /* nothing, when thinking is dropped */
    MARK_WISH,     /* nothing, when that leaves a tool loop without its thinking */
};

struct anthropic_mark {
    enum mark_kind kind;
    size_t at, cut; /* of the body: where, and how many bytes go */
};

struct scan {
    struct anthropic_request *r;
    struct arena *arena;
    struct json_member stream, max_tokens;
    struct anthropic_mark *marks;
    size_t mark_room;
    struct slice user_text; /* of the message being read */
    const char **param;
    struct err_text *t;
};

/* ---- refusals, in the words of Anthropic's own ---- */

static enum err refuse(struct scan *s, const char *param, const char *why)
{
    *s->param = param;
    err_say(s->t, "%s: %s", param, why);
    return ERR_BAD_REQUEST;
}

/* ---- marks ---- */

/* The array doubles; what it leaves behind in the arena is at most as much again. */
static void mark(struct scan *s, struct anthropic_mark m)
{
    struct anthropic_request *r = s->r;

    if (r->mark_count == s->mark_room) {
        struct anthropic_mark *wider;
        s->mark_room = s->mark_room ? 2 * s->mark_room : 4;
        wider = ARENA_ARRAY(s->arena, struct anthropic_mark, s->mark_room);
        if (r->mark_count)
            memcpy(wider, s->marks, r->mark_count * sizeof(*wider));
        s->marks = wider;
        r->marks = wider;
    }
    s->marks[r->mark_count++] = m;
}

/* Cuts elements out of an array, or members out of an object, with one comma each: the one before,
 * or, while nothing was kept, the one behind. */
struct cutter {
    struct scan *s;
    enum mark_kind kind;
    const char *array; /* its first byte */
    const char *after; /* end of the last element that stays */
    const char *from;  /* a cut that waits for the next element; NULL: none */
};

static void mark_cut(const struct cutter *c, const char *from, const char *to)
{
    mark(c->s, (struct anthropic_mark){.kind = c->kind,
                                       .at = (size_t)(from - c->s->r->body.p),
                                       .cut = (size_t)(to - from)});
}

static void cut_element(struct cutter *c, const struct json_member *m, bool drop)
{
    const char *begin = c->array + m->begin, *end = c->array + m->end;

    if (drop && c->after) {
        mark_cut(c, c->after, end);
        c->after = end;
    } else if (drop && !c->from) {
        c->from = begin;
    } else if (!drop) {
        if (c->from)
            mark_cut(c, c->from, begin);
        c->from = NULL;
        c->after = end;
    }
}

/* ---- messages ---- */

static bool is_thinking(struct json_value block)
{
    struct json_member type;

    return json_get(block, SLICE("type"), &type) &&
           (value_is_text(type.value, SLICE("thinking")) ||
            value_is_text(type.value, SLICE("redacted_thinking")));
}

static void look_at_result(struct anthropic_request *r, struct json_value content)
{
    struct json_iter it;
    struct json_member block, type;

    json_iter_init(&it, content);
    while (json_iter_next(&it, &block))
        if (json_get(block.value, SLICE("type"), &type)) {
            r->has_image |= value_is_text(type.value, SLICE("image"));
            r->has_document |= value_is_text(type.value, SLICE("document"));
        }
}

static void look_at_block(struct scan *s, struct json_value block)
{
    struct anthropic_request *r = s->r;
    struct json_iter it;
    struct json_member m, type = {0}, text = {0}, content = {0};

    json_iter_init(&it, block);
    while (json_iter_next(&it, &m)) {
        if (member_is(&m, SLICE("type")))
            type = m;
        else if (member_is(&m, SLICE("text")))
            text = m;
        else if (member_is(&m, SLICE("content")))
            content = m;
    }
    if (value_is_text(type.value, SLICE("text")) && text.value.type == JSON_STRING)
        s->user_text = text.value.text;
    else if (value_is_text(type.value, SLICE("image")))
        r->has_image = true;
    else if (value_is_text(type.value, SLICE("document")))
        r->has_document = true;
    else if (value_is_text(type.value, SLICE("tool_result"))) {
        r->in_tool_loop = true;
        look_at_result(r, content.value);
    }
}

/* Does the content consist of thinking? Then the whole message goes. */
static bool only_thinking(struct json_value content)
{
    struct json_iter it;
    struct json_member block;
    bool any = false;

    if (content.type != JSON_ARRAY)
        return false;
    json_iter_init(&it, content);
    while (json_iter_next(&it, &block)) {
        if (!is_thinking(block.value))
            return false;
        any = true;
    }
    return any;
}

static void read_content(struct scan *s, struct json_value content, bool whole_goes)
{
    struct cutter cut = {.s = s, .kind = MARK_THINKING, .array = content.text.p};
    struct json_iter it;
    struct json_member block;

    if (content.type == JSON_STRING)
        s->user_text = content.text;
    if (content.type != JSON_ARRAY)
        return;
    json_iter_init(&it, content);
    while (json_iter_next(&it, &block)) {
        bool thinking = is_thinking(block.value);
        s->r->has_thinking |= thinking;
        look_at_block(s, block.value);
        if (!whole_goes)
            cut_element(&cut, &block, thinking);
    }
}

static bool goes_whole(struct json_value message)
{
    struct json_member content;

    return json_get(message, SLICE("content"), &content) && only_thinking(content.value);
}

static void read_message(struct scan *s, struct json_value message, bool goes)
{
    struct json_member role, content;

    if (!json_get(message, SLICE("role"), &role) || !json_get(message, SLICE("content"), &content))
        return;
    s->user_text = SLICE("");
    if (!goes && !value_is_text(role.value, SLICE("system"))) /* instructions end no loop */
        s->r->in_tool_loop = false;
    read_content(s, content.value, goes);
    if (value_is_text(role.value, SLICE("user")) && s->user_text.n) /* tool results have none */
        s->r->last_user_text = s->user_text;
}

static void read_messages(struct scan *s, struct json_value messages)
{
    struct cutter cut = {.s = s, .kind = MARK_THINKING, .array = messages.text.p};
    struct json_iter it;
    struct json_member message;

    s->r->last_user_text = SLICE("");
    if (messages.type != JSON_ARRAY)
        return;
    json_iter_init(&it, messages);
    while (json_iter_next(&it, &message)) {
        bool goes = goes_whole(message.value);
        cut_element(&cut, &message, goes); /* first: its cut lies before those inside */
        read_message(s, message.value, goes);
    }
}

/* ---- the wish to think ---- */

static bool is_budget(struct json_value thinking)
{
    struct json_member type;

    return json_get(thinking, SLICE("type"), &type) && value_is_text(type.value, SLICE("enabled"));
}

static bool clears_thinking(struct json_value edit)
{
    struct json_member type;

    return json_get(edit, SLICE("type"), &type) &&
           slice_starts(type.value.text, SLICE("\"clear_thinking_"));
}

bool anthropic_clears_thinking_only(struct json_value context_management)
{
    struct json_iter it;
    struct json_member edits, edit;

    if (!json_get(context_management, SLICE("edits"), &edits) || edits.value.type != JSON_ARRAY)
        return false;
    json_iter_init(&it, edits.value);
    while (json_iter_next(&it, &edit))
        if (!clears_thinking(edit.value))
            return false;
    return true;
}

static void read_management(struct scan *s, struct json_value management)
{
    struct cutter cut = {.s = s, .kind = MARK_WISH};
    struct json_iter it;
    struct json_member edits, edit;

    if (!json_get(management, SLICE("edits"), &edits) || edits.value.type != JSON_ARRAY)
        return;
    cut.array = edits.value.text.p;
    json_iter_init(&it, edits.value);
    while (json_iter_next(&it, &edit))
        cut_element(&cut, &edit, clears_thinking(edit.value));
}

/* ---- the request ---- */

static void read_members(struct scan *s)
{
    struct anthropic_request *r = s->r;
    struct json_value body = {JSON_OBJECT, json_trim(r->body)};
    struct cutter cut = {.s = s, .kind = MARK_WISH, .array = body.text.p};
    struct json_iter it;
    struct json_member m;

    json_iter_init(&it, body);
    while (json_iter_next(&it, &m)) {
        bool budget = member_is(&m, SLICE("thinking")) && is_budget(m.value);
        bool management = member_is(&m, SLICE("context_management"));
        bool goes = budget || (management && anthropic_clears_thinking_only(m.value));

        r->has_budget |= budget;
        cut_element(&cut, &m, goes); /* first: its cut lies before those inside */
        if (management && !goes) {
            read_management(s, m.value);
        } else if (member_is(&m, SLICE("model"))) {
            size_t at = (size_t)(m.value.text.p - r->body.p);
            mark(s, (struct anthropic_mark){.kind = MARK_MODEL, .at = at, .cut = m.value.text.n});
            r->model = m;
        } else if (member_is(&m, SLICE("messages"))) {
            r->messages = m;
            read_messages(s, m.value);
        } else if (member_is(&m, SLICE("system"))) {
            r->system = m;
        } else if (member_is(&m, SLICE("tools"))) {
            r->tools = m;
        } else if (member_is(&m, SLICE("output_config"))) {
            r->output_config = m;
        } else if (member_is(&m, SLICE("stream"))) {
            s->stream = m;
        } else if (member_is(&m, SLICE("max_tokens"))) {
            s->max_tokens = m;
        }
    }
}

static enum err judge(struct scan *s)
{
    struct anthropic_request *r = s->r;
    struct json_member format;

    if (!member_given(&r->model))
        return refuse(s, "model", "Field required");
    if (r->model.value.type != JSON_STRING)
        return refuse(s, "model", "Input should be a valid string");
    r->model_name = arena_dup(s->arena, json_string_text(r->model.value.text, s->arena));
    if (r->model_name.n == 0)
        return refuse(s, "model", "String should have at least 1 character");
    if (!member_given(&r->messages))
        return refuse(s, "messages", "Field required");
    if (r->messages.value.type != JSON_ARRAY)
        return refuse(s, "messages", "Input should be a valid array");
    if (member_given(&s->stream) && s->stream.value.type != JSON_TRUE &&
        s->stream.value.type != JSON_FALSE)
        return refuse(s, "stream", "Input should be a valid boolean");
    r->stream = member_given(&s->stream) && s->stream.value.type == JSON_TRUE;
    if (!member_given(&s->max_tokens) || !json_int(s->max_tokens.value, &r->max_tokens) ||
        r->max_tokens < 0)
        r->max_tokens = -1;
    r->has_format = member_given(&r->output_config) &&
                    json_get(r->output_config.value, SLICE("format"), &format) &&
                    member_given(&format);
    return ERR_OK;
}

enum err anthropic_request_scan(struct slice body, struct arena *a, struct anthropic_request *out,
                                const char **param, struct err_text *t)
{
    struct scan s = {.r = out, .arena = a, .param = param, .t = t};
    size_t at = 0;

    *out = (struct anthropic_request){.body = body, .max_tokens = -1, .last_user_text = SLICE("")};
    *param = NULL;
    if (!json_validate(body, &at) || json_trim(body).p[0] != '{') {
        err_say(t, "The request body is not a JSON object, or not valid at byte %zu.", at);
        return ERR_BAD_JSON;
    }
    out->prompt_tokens = openai_estimate_tokens((int64_t)body.n);
    read_members(&s);
    return judge(&s);
}

size_t anthropic_request_splice(const struct anthropic_request *r, struct slice upstream_model,
                                bool drop_thinking, struct arena *a, struct slice **pieces,
                                size_t *total_bytes)
{
    size_t name_bytes = json_string_encode(upstream_model, NULL, 0);
    char *name = arena_alloc(a, name_bytes);
    struct slice *list = ARENA_ARRAY(a, struct slice, 2 * r->mark_count + 1);
    bool applies[] = {
        [MARK_MODEL] = true,
        [MARK_THINKING] = drop_thinking,
        [MARK_WISH] = drop_thinking && r->has_budget && r->in_tool_loop,
    };
    size_t count = 0, from = 0;

    json_string_encode(upstream_model, name, name_bytes);
    for (size_t i = 0; i < r->mark_count; i++) {
        const struct anthropic_mark *m = &r->marks[i];
        if (!applies[m->kind])
            continue;
        list[count++] = slice_make(r->body.p + from, m->at - from);
        if (m->kind == MARK_MODEL)
            list[count++] = slice_make(name, name_bytes);
        from = m->at + m->cut;
    }
    list[count++] = slice_from(r->body, from);
    *total_bytes = 0;
    for (size_t i = 0; i < count; i++)
        *total_bytes += list[i].n;
    *pieces = list;
    return count;
}

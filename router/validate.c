/* The validators that need nobody else. Called by validate_run.c on a worker, and by whoever judges
 * answers that were recorded. */
#include "router/validate.h"

#include "backends/wire/member.h"
#include "base/ascii.h"
#include "base/json_schema.h"
#include "base/pattern.h"

static void set(struct validate_result *out, enum confidence_verdict verdict)
{
    *out = (struct validate_result){.verdict = verdict, .score = verdict == CONFIDENCE_PASS};
}

static bool too_long(const struct answer_signals *s, struct validate_result *out)
{
    if (!s->cut)
        return false;
    set(out, CONFIDENCE_UNKNOWN);
    err_say(&out->why, "the answer is too long to be kept and looked at");
    return true;
}

/* A text as one JSON value. false: *at says where it is none. */
static bool read_json(struct slice text, struct json_value *out, size_t *at)
{
    static const enum json_type types[] = {
        ['{'] = JSON_OBJECT, ['['] = JSON_ARRAY, ['"'] = JSON_STRING,
        ['n'] = JSON_NULL,   ['f'] = JSON_FALSE, ['t'] = JSON_TRUE};
    struct slice inside = json_trim(text);
    unsigned char c;

    if (!json_validate(text, at))
        return false;
    c = (unsigned char)inside.p[0];
    *out = (struct json_value){c == '-' || ascii_is_digit(c) ? JSON_NUMBER : types[c], inside};
    return true;
}

static void apply(struct json_value schema, struct json_value value, struct validate_result *out)
{
    struct err_text why;

    switch (json_schema_check(schema, value, &why)) {
    case JSON_SCHEMA_PASS:
        set(out, CONFIDENCE_PASS);
        break;
    case JSON_SCHEMA_FAIL:
        set(out, CONFIDENCE_FAIL);
        break;
    case JSON_SCHEMA_UNKNOWN:
        set(out, CONFIDENCE_UNKNOWN);
        break;
    }
    out->why = why;
}

void validate_json_schema(const struct answer_signals *s, const struct chat *request,
                          struct slice schema, struct validate_result *out)
{
    bool object = !schema.n && request && request->format == CHAT_FORMAT_JSON_OBJECT;
    struct json_value rules, value;
    size_t at;

    set(out, CONFIDENCE_UNKNOWN);
    if (!schema.n && request && request->format == CHAT_FORMAT_JSON_SCHEMA)
        schema = request->schema;
    if (!schema.n && !object) {
        err_say(&out->why, "the request asks for no schema");
        return;
    }
    if (too_long(s, out))
        return;
    if (s->refused || (buf_len(&s->text) == 0 && s->call_count)) {
        err_say(&out->why, s->refused ? "the model refused" : "the answer only calls tools");
        return;
    }
    if (!read_json(buf_slice(&s->text), &value, &at)) {
        set(out, CONFIDENCE_FAIL);
        err_say(&out->why, "is not JSON at byte %zu", at);
    } else if (object) {
        set(out, value.type == JSON_OBJECT ? CONFIDENCE_PASS : CONFIDENCE_FAIL);
        if (value.type != JSON_OBJECT)
            err_say(&out->why, "is not a JSON object");
    } else if (read_json(schema, &rules, &at)) {
        apply(rules, value, out);
    } else {
        err_say(&out->why, "the schema is not JSON");
    }
}

static const struct chat_tool *find_tool(const struct chat *request, struct slice name)
{
    for (const struct chat_tool *t = request ? request->tools : NULL; t; t = t->next)
        if (slice_eq(t->name, name))
            return t;
    return NULL;
}

static void check_call(const struct answer_call *call, const struct chat *request,
                       struct validate_result *out)
{
    const struct chat_tool *tool = find_tool(request, buf_slice(&call->name));
    struct slice text = buf_slice(&call->arguments);
    struct json_value arguments, rules;
    size_t at;

    set(out, CONFIDENCE_FAIL);
    if (!tool)
        err_say(&out->why, "there is no such tool in the request");
    else if (!read_json(text.n ? text : SLICE("{}"), &arguments, &at))
        err_say(&out->why, "its arguments are not JSON at byte %zu", at);
    else if (arguments.type != JSON_OBJECT)
        err_say(&out->why, "its arguments are not an object");
    else if (!tool->parameters.n)
        set(out, CONFIDENCE_PASS); /* any will do */
    else if (read_json(tool->parameters, &rules, &at))
        apply(rules, arguments, out);
    else
        set(out, CONFIDENCE_UNKNOWN);
}

void validate_tool_args(const struct answer_signals *s, const struct chat *request,
                        struct validate_result *out)
{
    set(out, CONFIDENCE_UNKNOWN);
    if (s->call_count == 0) {
        err_say(&out->why, "no tool is called");
        return;
    }
    if (too_long(s, out))
        return;
    for (size_t i = 0; i < s->call_count; i++) {
        struct validate_result one;
        struct err_text why;

        check_call(&s->calls[i], request, &one);
        why = one.why;
        if (one.verdict != CONFIDENCE_PASS)
            err_say(&one.why, "call of '%.*s': %.400s", SLICE_ARG(buf_slice(&s->calls[i].name)),
                    why.s);
        validate_combine(out, &one);
    }
}

void validate_non_empty(const struct answer_signals *s, struct validate_result *out)
{
    bool says = s->cut || s->call_count > 0 || json_trim(buf_slice(&s->text)).n > 0;

    set(out, says ? CONFIDENCE_PASS : CONFIDENCE_FAIL);
    if (!says)
        err_say(&out->why, "the answer is empty");
}

void validate_regex(const struct answer_signals *s, const struct pattern *pattern,
                    struct validate_result *out)
{
    set(out, CONFIDENCE_UNKNOWN);
    switch (pattern_search(pattern, buf_slice(&s->text))) {
    case PATTERN_FOUND: /* also in a part of a long answer */
        set(out, CONFIDENCE_PASS);
        break;
    case PATTERN_ABSENT:
        if (too_long(s, out))
            break;
        set(out, CONFIDENCE_FAIL);
        err_say(&out->why, "the pattern is not found");
        break;
    case PATTERN_UNDECIDED:
        err_say(&out->why, "the pattern takes too long");
        break;
    }
}

void validate_combine(struct validate_result *sum, const struct validate_result *one)
{
    bool sum_knows = sum->verdict != CONFIDENCE_UNKNOWN, worse;

    if (one->verdict == CONFIDENCE_UNKNOWN) {
        if (!sum_knows && one->why.s[0])
            sum->why = one->why;
        return;
    }
    worse = !sum_knows || one->verdict == CONFIDENCE_FAIL;
    if (!sum_knows || one->score < sum->score)
        sum->score = one->score;
    if (worse && sum->verdict != CONFIDENCE_FAIL) {
        sum->verdict = one->verdict;
        sum->why = one->why;
    }
}

/* See question.h. OpenAI's members; Anthropic's are read in question_messages.c. One function per
 * group of members; each says what it refuses with OpenAI's param and code. */
#include "tests/fleet/question.h"

#include <stdlib.h>
#include "tests/fleet/question_int.h"

#define IMAGE_TOKENS 85 /* what OpenAI charges for a low-detail image */
#define INPUTS_MAX   2048

int64_t question_tokens(size_t bytes)
{
    return bytes ? (int64_t)((bytes + 3) / 4) : 1;
}

static bool refuse(struct question_parse *p, const char *param, const char *code,
                   const char *message)
{
    refusal_say(p->no, 400, param, code, "%s", message);
    return false;
}

struct slice question_decode(struct question_parse *p, struct json_value v)
{
    char *out = arena_alloc(p->arena, v.text.n);
    return slice_make(out, json_string_decode(v.text, out, v.text.n));
}

bool question_given(struct json_value object, struct slice name, struct json_value *out)
{
    struct json_member m;
    if (object.type != JSON_OBJECT || !json_get(object, name, &m) || m.value.type == JSON_NULL)
        return false;
    *out = m.value;
    return true;
}

bool question_bool(struct question_parse *p, const char *name, bool *out)
{
    struct json_value v;
    if (!question_given(p->body, slice_str(name), &v))
        return true;
    *out = v.type == JSON_TRUE;
    if (v.type == JSON_TRUE || v.type == JSON_FALSE)
        return true;
    refusal_say(p->no, 400, name, "invalid_type", "Invalid type for '%s': expected a boolean.",
                name);
    return false;
}

bool question_int(struct question_parse *p, const char *name, int64_t min, int64_t max,
                  int64_t *out)
{
    struct json_value v;
    if (!question_given(p->body, slice_str(name), &v))
        return true;
    if (v.type != JSON_NUMBER || !json_int(v, out)) {
        refusal_say(p->no, 400, name, "invalid_type", "Invalid type for '%s': expected an integer.",
                    name);
        return false;
    }
    if (*out >= min && *out <= max)
        return true;
    refusal_say(p->no, 400, name,
                *out < min ? "integer_below_min_value" : "integer_above_max_value",
                "Invalid '%s': %lld is out of range [%lld, %lld].", name, (long long)*out,
                (long long)min, (long long)max);
    return false;
}

bool question_number(struct question_parse *p, const char *name, double min, double max)
{
    struct json_value v;
    double x;
    if (!question_given(p->body, slice_str(name), &v))
        return true;
    if (v.type != JSON_NUMBER || !json_number(v, &x)) {
        refusal_say(p->no, 400, name, "invalid_type", "Invalid type for '%s': expected a number.",
                    name);
        return false;
    }
    if (x >= min && x <= max)
        return true;
    refusal_say(p->no, 400, name, x < min ? "decimal_below_min_value" : "decimal_above_max_value",
                "Invalid '%s': expected a value in [%g, %g].", name, min, max);
    return false;
}

static bool read_model(struct question_parse *p)
{
    struct json_value v;
    if (!question_given(p->body, SLICE("model"), &v))
        return refuse(p, NULL, NULL, "you must provide a model parameter");
    if (v.type != JSON_STRING)
        return refuse(p, "model", "invalid_type", "Invalid type for 'model': expected a string.");
    p->q->model = question_decode(p, v);
    return true;
}

/* A string, or the text parts of an array joined. Image and other parts are accepted; images are
 * counted. */
static struct slice content_text(struct question_parse *p, struct json_value content)
{
    if (content.type == JSON_STRING)
        return question_decode(p, content);
    if (content.type != JSON_ARRAY)
        return (struct slice){0};
    char *out = arena_alloc(p->arena, content.text.n);
    size_t n = 0;
    struct json_iter it;
    struct json_member part;
    struct json_value text;
    json_iter_init(&it, content);
    while (json_iter_next(&it, &part)) {
        if (question_given(part.value, SLICE("text"), &text) && text.type == JSON_STRING)
            n += json_string_decode(text.text, out + n, content.text.n - n);
        else if (question_given(part.value, SLICE("image_url"), &text))
            p->images++;
    }
    return slice_make(out, n);
}

static bool read_message(struct question_parse *p, struct json_value message, size_t *users,
                         size_t *others)
{
    struct json_value role, content = {.type = JSON_NULL};
    if (!question_given(message, SLICE("role"), &role) || role.type != JSON_STRING)
        return refuse(p, "messages", "missing_required_parameter",
                      "Missing required parameter: 'messages[].role'.");
    bool user = slice_eq(role.text, SLICE("\"user\""));
    bool has_content = question_given(message, SLICE("content"), &content);
    if (user && !has_content)
        return refuse(p, "messages", "invalid_type",
                      "Invalid value for 'content': expected a string or an array.");
    struct slice text = content_text(p, content);
    p->text_bytes += text.n;
    *(user ? users : others) += 1;
    if (user)
        p->q->text = text;
    p->q->after_tool = slice_eq(role.text, SLICE("\"tool\""));
    return true;
}

static bool read_messages(struct question_parse *p)
{
    struct json_value messages;
    struct json_iter it;
    struct json_member m;
    size_t users = 0, others = 0;
    if (!question_given(p->body, SLICE("messages"), &messages))
        return refuse(p, "messages", "missing_required_parameter",
                      "Missing required parameter: 'messages'.");
    if (messages.type != JSON_ARRAY)
        return refuse(p, "messages", "invalid_type",
                      "Invalid type for 'messages': expected an array of objects.");
    json_iter_init(&it, messages);
    while (json_iter_next(&it, &m))
        if (!read_message(p, m.value, &users, &others))
            return false;
    if (users + others == 0)
        return refuse(p, "messages", "empty_array",
                      "Invalid 'messages': empty array. Expected an array with minimum length 1.");
    p->q->plain = users == 1 && others == 0 && p->images == 0;
    p->q->inputs = &p->q->text;
    p->q->input_count = 1;
    return true;
}

/* "prompt" and "input": a string or an array of strings. Arrays of token ids are taken as text of
 * their digits. */
static bool read_inputs(struct question_parse *p, const char *name)
{
    struct json_value v;
    struct json_iter it;
    struct json_member m;
    if (!question_given(p->body, slice_str(name), &v)) {
        refusal_say(p->no, 400, name, "missing_required_parameter",
                    "Missing required parameter: '%s'.", name);
        return false;
    }
    p->q->inputs = ARENA_ARRAY(p->arena, struct slice, INPUTS_MAX);
    if (v.type == JSON_STRING)
        p->q->inputs[p->q->input_count++] = question_decode(p, v);
    else if (v.type != JSON_ARRAY)
        return refuse(p, name, "invalid_type", "Invalid type: expected a string or an array.");
    json_iter_init(&it, v);
    while (v.type == JSON_ARRAY && json_iter_next(&it, &m)) {
        if (p->q->input_count == INPUTS_MAX)
            return refuse(p, name, "array_above_max_length", "Too many inputs.");
        p->q->inputs[p->q->input_count++] =
            m.value.type == JSON_STRING ? question_decode(p, m.value) : m.value.text;
    }
    if (!p->q->input_count)
        return refuse(p, name, "empty_array", "Invalid input: empty array.");
    for (size_t i = 0; i < p->q->input_count; i++)
        p->text_bytes += p->q->inputs[i].n;
    p->q->text = p->q->inputs[0];
    p->q->plain = p->q->input_count == 1;
    return true;
}

static bool read_stop(struct question_parse *p)
{
    struct json_value v;
    struct json_iter it;
    struct json_member m;
    struct question *q = p->q;
    if (!question_given(p->body, SLICE("stop"), &v))
        return true;
    if (v.type == JSON_STRING) {
        q->stops[q->stop_count++] = question_decode(p, v);
        return true;
    }
    if (v.type != JSON_ARRAY)
        return refuse(p, "stop", "invalid_type",
                      "Invalid type for 'stop': expected a string or an array.");
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m)) {
        if (q->stop_count == 4 || m.value.type != JSON_STRING)
            return refuse(p, "stop", "array_above_max_length",
                          "Invalid 'stop': expected up to 4 strings.");
        q->stops[q->stop_count++] = question_decode(p, m.value);
    }
    return true;
}

static bool read_format(struct question_parse *p)
{
    struct json_value format, type, wrapper;
    if (!question_given(p->body, SLICE("response_format"), &format))
        return true;
    if (!question_given(format, SLICE("type"), &type) || type.type != JSON_STRING)
        return refuse(p, "response_format.type", "missing_required_parameter",
                      "Missing required parameter: 'response_format.type'.");
    if (slice_eq(type.text, SLICE("\"text\"")))
        return true;
    if (slice_eq(type.text, SLICE("\"json_object\""))) {
        p->q->format = FORMAT_JSON_OBJECT;
        return true;
    }
    if (!slice_eq(type.text, SLICE("\"json_schema\"")))
        return refuse(p, "response_format.type", "invalid_value",
                      "Invalid value for 'response_format.type'.");
    p->q->format = FORMAT_JSON_SCHEMA;
    if (!question_given(format, SLICE("json_schema"), &wrapper) ||
        !question_given(wrapper, SLICE("schema"), &p->q->schema) ||
        p->q->schema.type != JSON_OBJECT)
        return refuse(p, "response_format.json_schema", "missing_required_parameter",
                      "Missing required parameter: 'response_format.json_schema.schema'.");
    return true;
}

/* A tool or tool choice of the form {"type":"function", "function":{"name", "parameters"}}. */
static bool read_function(struct question_parse *p, struct json_value v, struct question_tool *out)
{
    struct json_value function, name;
    if (!question_given(v, SLICE("function"), &function) ||
        !question_given(function, SLICE("name"), &name) || name.type != JSON_STRING)
        return false;
    *out = (struct question_tool){.name = question_decode(p, name), .schema.type = JSON_NULL};
    if (!question_given(function, SLICE("parameters"), &out->schema) ||
        out->schema.type != JSON_OBJECT)
        out->schema = (struct json_value){.type = JSON_NULL};
    return true;
}

static void read_choice(struct question_parse *p, struct json_value v)
{
    struct question *q = p->q;
    struct question_tool named;
    if (slice_eq(v.text, SLICE("\"none\""))) {
        q->choice = CHOICE_NONE;
    } else if (slice_eq(v.text, SLICE("\"required\""))) {
        q->choice = CHOICE_REQUIRED;
    } else if (v.type == JSON_OBJECT && read_function(p, v, &named)) {
        q->choice = CHOICE_NAMED;
        q->forced = named.name;
    }
}

struct question_tool *question_tool_list(struct question_parse *p, struct json_value tools)
{
    return ARENA_ARRAY(p->arena, struct question_tool, json_count(tools) + 1);
}

static bool read_tools(struct question_parse *p)
{
    struct question *q = p->q;
    struct json_value choice, tools;
    struct json_iter it;
    struct json_member m;
    q->parallel = true;
    if (!question_bool(p, "parallel_tool_calls", &q->parallel))
        return false;
    bool chosen = question_given(p->body, SLICE("tool_choice"), &choice);
    if (chosen)
        read_choice(p, choice);
    if (!question_given(p->body, SLICE("tools"), &tools))
        return !chosen || q->choice == CHOICE_NONE ||
               refuse(p, "tool_choice", NULL,
                      "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' "
                      "are specified.");
    if (tools.type != JSON_ARRAY)
        return refuse(p, "tools", "invalid_type",
                      "Invalid type for 'tools': expected an array of objects.");
    q->tools = question_tool_list(p, tools);
    json_iter_init(&it, tools);
    while (json_iter_next(&it, &m))
        if (read_function(p, m.value, &q->tools[q->tool_count]))
            q->tool_count++;
    return true;
}

static bool read_logprobs(struct question_parse *p)
{
    struct question *q = p->q;
    if (q->api == API_COMPLETION) { /* there it is the number of alternatives */
        q->top_logprobs = -1;
        if (!question_int(p, "logprobs", 0, 20, &q->top_logprobs))
            return false;
        q->logprobs = q->top_logprobs >= 0;
        return true;
    }
    if (!question_bool(p, "logprobs", &q->logprobs) ||
        !question_int(p, "top_logprobs", 0, 20, &q->top_logprobs))
        return false;
    return q->top_logprobs == 0 || q->logprobs ||
           refuse(p, "top_logprobs", NULL,
                  "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.");
}

static bool read_generation(struct question_parse *p)
{
    struct question *q = p->q;
    struct json_value options;
    if (!question_bool(p, "stream", &q->stream) || !question_bool(p, "echo", &q->echo) ||
        !question_int(p, "n", 1, 128, &q->n) ||
        !question_int(p, "max_tokens", 1, INT32_MAX, &q->max_tokens) ||
        !question_int(p, "max_completion_tokens", 1, INT32_MAX, &q->max_tokens) ||
        !question_number(p, "temperature", 0, 2) || !question_number(p, "top_p", 0, 1) ||
        !read_logprobs(p) || !read_stop(p))
        return false;
    if (question_given(p->body, SLICE("stream_options"), &options)) {
        struct json_value usage;
        if (!q->stream)
            return refuse(
                p, "stream_options", NULL,
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.");
        q->include_usage =
            question_given(options, SLICE("include_usage"), &usage) && usage.type == JSON_TRUE;
    }
    return true;
}

static bool read_embedding(struct question_parse *p)
{
    struct json_value format;
    p->q->dimensions = -1;
    if (question_given(p->body, SLICE("encoding_format"), &format)) {
        p->q->base64 = slice_eq(format.text, SLICE("\"base64\""));
        if (!p->q->base64 && !slice_eq(format.text, SLICE("\"float\"")))
            return refuse(p, "encoding_format", "invalid_value",
                          "Invalid 'encoding_format': expected 'float' or 'base64'.");
    }
    return question_int(p, "dimensions", 1, 4096, &p->q->dimensions);
}

/* The body is JSON and an object; p->body is it. */
static bool read_object(struct question_parse *p, enum question_api api)
{
    bool valid = json_validate(p->body.text, NULL);
    while (valid && strchr(" \t\r\n", p->body.text.p[0]))
        p->body.text = slice_from(p->body.text, 1);
    if (valid && p->body.text.p[0] == '{')
        return true;
    if (api == API_MESSAGES || api == API_COUNT_TOKENS)
        return refuse(p, NULL, NULL, "The request body is not valid JSON: expected an object.");
    return refuse(p, NULL, NULL,
                  valid ? "We could not parse the JSON body of your request: expected an object."
                        : "We could not parse the JSON body of your request. (HINT: This likely "
                          "means you aren't using your HTTP library correctly. The OpenAI API "
                          "expects a JSON payload, but what was sent was not valid JSON.)");
}

bool question_parse(struct question *q, enum question_api api, struct slice body, struct arena *a,
                    struct refusal *no)
{
    struct question_parse p = {.q = q, .arena = a, .no = no, .body = {JSON_OBJECT, body}};
    *q = (struct question){.api = api, .n = 1, .max_tokens = -1};
    bool ok = read_object(&p, api) && read_model(&p);
    switch (api) {
    case API_CHAT:
        ok = ok && read_messages(&p) && read_generation(&p) && read_format(&p) && read_tools(&p);
        break;
    case API_COMPLETION:
        ok = ok && read_inputs(&p, "prompt") && read_generation(&p);
        break;
    case API_EMBEDDING:
        ok = ok && read_inputs(&p, "input") && read_embedding(&p);
        break;
    case API_MESSAGES:
    case API_COUNT_TOKENS:
        ok = ok && question_messages(&p);
        break;
    }
    q->prompt_tokens = question_tokens(p.text_bytes) + p.images * IMAGE_TOKENS;
    return ok;
}

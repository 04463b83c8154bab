/* Schemas applied to values: the walk, its limits, the logic between schemas, references. What
 * single keywords say of scalars, objects and arrays is in json_schema_scalar.c, _object.c and
 * _array.c. Called by the router for answers and tool calls. */
#include "base/json_schema_int.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include "base/ascii.h"

#define STEP_BYTES 256 /* skipping so many bytes of JSON costs about as much as one step */

/* ---- reasons and limits ---- */

static void note(struct json_schema_run *run, const char *fmt, va_list args)
{
    char words[400];

    if (!run->why || run->quiet)
        return;
    vsnprintf(words, sizeof words, fmt, args);
    err_say(run->why, "%s%s%s", run->path, run->path_bytes ? ": " : "", words);
}

enum json_schema_result json_schema_fail(struct json_schema_run *run, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    note(run, fmt, args);
    va_end(args);
    return JSON_SCHEMA_FAIL;
}

enum json_schema_result json_schema_unknown(struct json_schema_run *run, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    note(run, fmt, args);
    va_end(args);
    return JSON_SCHEMA_UNKNOWN;
}

enum json_schema_result json_schema_odd(struct json_schema_run *run, const char *keyword)
{
    return json_schema_unknown(run, "the schema's '%s' is not of the type that it must have",
                               keyword);
}

bool json_schema_step(struct json_schema_run *run, size_t bytes)
{
    run->steps += 1 + (long)(bytes / STEP_BYTES);
    return run->steps <= JSON_SCHEMA_MAX_STEPS;
}

static enum json_schema_result exhausted(struct json_schema_run *run)
{
    return json_schema_unknown(run, "checking it takes too many steps");
}

/* ---- members ---- */

struct slice json_schema_key(struct json_schema_run *run, const struct json_member *m)
{
    return m->key_escaped ? json_string_text(slice_make(m->key.p - 1, m->key.n + 2), &run->scratch)
                          : m->key;
}

bool json_schema_member(struct json_schema_run *run, struct json_value object, struct slice name,
                        struct json_value *out)
{
    struct json_iter it;
    struct json_member m;
    bool found = false;

    if (object.text.n == 0 || object.type != JSON_OBJECT)
        return false;
    json_iter_init(&it, object);
    while (json_iter_next(&it, &m)) {
        if (!json_schema_step(run, m.value.text.n))
            return false;
        if (json_key_is(&m, name)) {
            *out = m.value;
            found = true;
        }
    }
    return found;
}

bool json_schema_count(struct json_value keyword, double *out)
{
    return keyword.type == JSON_NUMBER && json_number(keyword, out) && *out >= 0 &&
           *out == trunc(*out);
}

/* ---- logic ---- */

/* How many of the schemas in a list pass, fail, are unknown. */
struct tally {
    int pass, fail, unknown;
};

static struct tally count_list(struct json_schema_run *run, struct json_value list,
                               struct json_value value)
{
    struct tally t = {0};
    struct json_iter it;
    struct json_member m;

    run->quiet++;
    json_iter_init(&it, list);
    while (json_iter_next(&it, &m)) {
        enum json_schema_result r = json_schema_apply(run, m.value, value);

        t.pass += r == JSON_SCHEMA_PASS;
        t.fail += r == JSON_SCHEMA_FAIL;
        t.unknown += r == JSON_SCHEMA_UNKNOWN;
    }
    run->quiet--;
    return t;
}

static JSON_SCHEMA_KEYWORD(all_of)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_iter it;
    struct json_member m;

    (void)schema;
    if (keyword.type != JSON_ARRAY)
        return json_schema_odd(run, "allOf");
    json_iter_init(&it, keyword);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m))
        result = json_schema_both(result, json_schema_apply(run, m.value, value));
    return result;
}

static JSON_SCHEMA_KEYWORD(any_of)
{
    struct tally t;

    (void)schema;
    if (keyword.type != JSON_ARRAY)
        return json_schema_odd(run, "anyOf");
    t = count_list(run, keyword, value);
    if (t.pass)
        return JSON_SCHEMA_PASS;
    return t.unknown ? json_schema_unknown(run, "no schema of 'anyOf' is known to fit")
                     : json_schema_fail(run, "fits no schema of 'anyOf'");
}

static JSON_SCHEMA_KEYWORD(one_of)
{
    struct tally t;

    (void)schema;
    if (keyword.type != JSON_ARRAY)
        return json_schema_odd(run, "oneOf");
    t = count_list(run, keyword, value);
    if (t.pass > 1)
        return json_schema_fail(run, "fits %d schemas of 'oneOf', not one", t.pass);
    if (t.unknown)
        return json_schema_unknown(run, "how many schemas of 'oneOf' fit is not known");
    return t.pass ? JSON_SCHEMA_PASS : json_schema_fail(run, "fits no schema of 'oneOf'");
}

static enum json_schema_result quietly(struct json_schema_run *run, struct json_value schema,
                                       struct json_value value)
{
    enum json_schema_result result;

    run->quiet++;
    result = json_schema_apply(run, schema, value);
    run->quiet--;
    return result;
}

static JSON_SCHEMA_KEYWORD(not )
{
    (void)schema;
    switch (quietly(run, keyword, value)) {
    case JSON_SCHEMA_PASS:
        return json_schema_fail(run, "fits the schema of 'not'");
    case JSON_SCHEMA_FAIL:
        return JSON_SCHEMA_PASS;
    case JSON_SCHEMA_UNKNOWN:
        break;
    }
    return json_schema_unknown(run, "whether the schema of 'not' fits is not known");
}

static JSON_SCHEMA_KEYWORD(if)
{
    struct json_value branch;
    enum json_schema_result condition = quietly(run, keyword, value);

    if (condition == JSON_SCHEMA_UNKNOWN)
        return json_schema_unknown(run, "whether the schema of 'if' fits is not known");
    if (!json_schema_member(run, schema,
                            condition == JSON_SCHEMA_PASS ? SLICE("then") : SLICE("else"), &branch))
        return JSON_SCHEMA_PASS;
    return json_schema_apply(run, branch, value);
}

/* ---- references ---- */

/* One token of a JSON Pointer (RFC 6901) in a URI fragment: %XX, then ~1 and ~0. */
static struct slice token_of(struct json_schema_run *run, struct slice raw)
{
    char *out = arena_alloc(&run->scratch, raw.n + 1);
    size_t n = 0;

    for (size_t i = 0; i < raw.n; i++) {
        bool percent = raw.p[i] == '%' && i + 2 < raw.n && ascii_hex(raw.p[i + 1]) >= 0 &&
                       ascii_hex(raw.p[i + 2]) >= 0;
        char c =
            percent ? (char)(16 * ascii_hex(raw.p[i + 1]) + ascii_hex(raw.p[i + 2])) : raw.p[i];

        i += percent ? 2 : 0;
        if (n && out[n - 1] == '~' && (c == '0' || c == '1'))
            out[n - 1] = c == '0' ? '\1' : '/'; /* \1 stands for a ~ that is settled */
        else
            out[n++] = c;
    }
    for (size_t i = 0; i < n; i++)
        if (out[i] == '\1')
            out[i] = '~';
    return slice_make(out, n);
}

static bool element_at(struct json_value array, struct slice token, struct json_value *out)
{
    struct json_iter it;
    struct json_member m;
    int64_t index;

    if (!json_int((struct json_value){JSON_NUMBER, token}, &index))
        return false;
    json_iter_init(&it, array);
    while (index >= 0 && json_iter_next(&it, &m))
        if (index-- == 0) {
            *out = m.value;
            return true;
        }
    return false;
}

static bool resolve(struct json_schema_run *run, struct slice ref, struct json_value *out)
{
    struct slice rest = slice_from(ref, 1);

    *out = run->root;
    if (ref.n == 0 || ref.p[0] != '#')
        return false;
    while (rest.n) {
        const char *slash;
        struct slice token;

        if (rest.p[0] != '/')
            return false; /* an anchor */
        rest = slice_from(rest, 1);
        slash = memchr(rest.p, '/', rest.n);
        token = slice_make(rest.p, slash ? (size_t)(slash - rest.p) : rest.n);
        rest = slice_from(rest, token.n);
        token = token_of(run, token);
        if (out->type == JSON_ARRAY ? !element_at(*out, token, out)
                                    : !json_schema_member(run, *out, token, out))
            return false;
    }
    return true;
}

static JSON_SCHEMA_KEYWORD(ref)
{
    struct json_value target;
    struct slice ref;

    (void)schema;
    if (keyword.type != JSON_STRING)
        return json_schema_odd(run, "$ref");
    ref = json_string_text(keyword.text, &run->scratch);
    if (!resolve(run, ref, &target))
        return json_schema_unknown(run, "the schema refers to '%.*s', which is not in it",
                                   SLICE_ARG(ref));
    return json_schema_apply(run, target, value);
}

/* ---- keywords ---- */

static const struct {
    struct slice name;
    json_schema_fn fn; /* NULL: asserts nothing, or another keyword reads it */
} keywords[] = {
#define KEYWORD(name, fn)                                                                          \
    {                                                                                              \
        {name, sizeof(name) - 1}, fn                                                               \
    }
    KEYWORD("type", json_schema_type),
    KEYWORD("properties", json_schema_properties),
    KEYWORD("required", json_schema_required),
    KEYWORD("additionalProperties", json_schema_additional_properties),
    KEYWORD("items", json_schema_items),
    KEYWORD("enum", json_schema_enum),
    KEYWORD("const", json_schema_const),
    KEYWORD("description", NULL),
    KEYWORD("title", NULL),
    KEYWORD("anyOf", json_schema_any_of),
    KEYWORD("allOf", json_schema_all_of),
    KEYWORD("oneOf", json_schema_one_of),
    KEYWORD("not", json_schema_not),
    KEYWORD("if", json_schema_if),
    KEYWORD("then", NULL),
    KEYWORD("else", NULL),
    KEYWORD("$ref", json_schema_ref),
    KEYWORD("minimum", json_schema_minimum),
    KEYWORD("maximum", json_schema_maximum),
    KEYWORD("exclusiveMinimum", json_schema_exclusive_minimum),
    KEYWORD("exclusiveMaximum", json_schema_exclusive_maximum),
    KEYWORD("multipleOf", json_schema_multiple_of),
    KEYWORD("minLength", json_schema_min_length),
    KEYWORD("maxLength", json_schema_max_length),
    KEYWORD("pattern", json_schema_pattern),
    KEYWORD("format", json_schema_format),
    KEYWORD("patternProperties", json_schema_pattern_properties),
    KEYWORD("propertyNames", json_schema_property_names),
    KEYWORD("minProperties", json_schema_min_properties),
    KEYWORD("maxProperties", json_schema_max_properties),
    KEYWORD("dependentRequired", json_schema_dependent_required),
    KEYWORD("dependentSchemas", json_schema_dependent_schemas),
    KEYWORD("prefixItems", json_schema_prefix_items),
    KEYWORD("contains", json_schema_contains),
    KEYWORD("minContains", NULL),
    KEYWORD("maxContains", NULL),
    KEYWORD("minItems", json_schema_min_items),
    KEYWORD("maxItems", json_schema_max_items),
    KEYWORD("uniqueItems", json_schema_unique_items),
    KEYWORD("default", NULL),
    KEYWORD("examples", NULL),
    KEYWORD("deprecated", NULL),
    KEYWORD("readOnly", NULL),
    KEYWORD("writeOnly", NULL),
    KEYWORD("contentMediaType", NULL),
    KEYWORD("contentEncoding", NULL),
    KEYWORD("contentSchema", NULL),
    KEYWORD("$defs", NULL),
    KEYWORD("definitions", NULL),
    KEYWORD("$schema", NULL),
    KEYWORD("$id", NULL),
    KEYWORD("$anchor", NULL),
    KEYWORD("$comment", NULL),
#undef KEYWORD
};
#define KEYWORDS (sizeof(keywords) / sizeof(keywords[0]))

static enum json_schema_result apply_keyword(struct json_schema_run *run, struct json_value schema,
                                             const struct json_member *m, struct json_value value)
{
    for (size_t i = 0; i < KEYWORDS; i++)
        if (json_key_is(m, keywords[i].name))
            return keywords[i].fn ? keywords[i].fn(run, schema, m->value, value) : JSON_SCHEMA_PASS;
    return json_schema_unknown(run, "the schema's '%.*s' is not understood", SLICE_ARG(m->key));
}

/* A fail decides at once; what is unknown waits for one. */
static enum json_schema_result apply_object(struct json_schema_run *run, struct json_value schema,
                                            struct json_value value)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_iter it;
    struct json_member m;

    json_iter_init(&it, schema);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m)) {
        if (!json_schema_step(run, m.value.text.n))
            return exhausted(run);
        result = json_schema_both(result, apply_keyword(run, schema, &m, value));
    }
    return result;
}

enum json_schema_result json_schema_apply(struct json_schema_run *run, struct json_value schema,
                                          struct json_value value)
{
    enum json_schema_result result;

    if (!json_schema_step(run, 0))
        return exhausted(run);
    if (schema.type == JSON_TRUE)
        return JSON_SCHEMA_PASS;
    if (schema.type == JSON_FALSE)
        return json_schema_fail(run, "nothing may be there");
    if (schema.type != JSON_OBJECT)
        return json_schema_unknown(run, "the schema is neither an object nor a boolean");
    if (run->depth == JSON_SCHEMA_MAX_DEPTH)
        return json_schema_unknown(run, "the schema is nested too deeply");
    run->depth++;
    result = apply_object(run, schema, value);
    run->depth--;
    return result;
}

enum json_schema_result json_schema_apply_at(struct json_schema_run *run, struct json_value schema,
                                             struct json_value value, struct slice name)
{
    size_t before = run->path_bytes, room = sizeof run->path - before - 1;
    enum json_schema_result result;

    if (name.n + 1 <= room) {
        run->path[before] = '/';
        memcpy(run->path + before + 1, name.p, name.n);
        run->path_bytes += name.n + 1;
        run->path[run->path_bytes] = '\0';
    }
    result = json_schema_apply(run, schema, value);
    run->path_bytes = before;
    run->path[before] = '\0';
    return result;
}

enum json_schema_result json_schema_check(struct json_value schema, struct json_value value,
                                          struct err_text *why)
{
    struct json_schema_run run = {.root = schema, .why = why};
    enum json_schema_result result;

    if (why)
        why->s[0] = '\0';
    arena_init(&run.scratch, 1024);
    result = json_schema_apply(&run, schema, value);
    arena_clear(&run.scratch);
    return result;
}

/* See schema.h. Covers what SDKs generate (pydantic, zod): object, array, the scalars, enum, const,
 * default, anyOf, oneOf, allOf (first branch), type lists, and $ref into the same document. Called
 * by answer.c. */
#include "tests/fleet/schema.h"

#include "tests/fleet/text.h"

#define DEPTH_MAX 24
#define ITEMS_MAX 16

struct walk {
    struct json_value root;
    struct slice say;
    struct buf *out;
};

static void instance(struct walk *w, struct json_value schema, struct slice name, int depth);

static bool member(struct json_value object, struct slice name, struct json_value *out)
{
    struct json_member m;
    if (object.type != JSON_OBJECT || !json_get(object, name, &m))
        return false;
    *out = m.value;
    return true;
}

static bool first_of(struct json_value array, struct json_value *out)
{
    struct json_iter it;
    struct json_member m;
    if (array.type != JSON_ARRAY)
        return false;
    json_iter_init(&it, array);
    if (!json_iter_next(&it, &m))
        return false;
    *out = m.value;
    return true;
}

/* "#/$defs/Name/..." within the document; escapes of JSON pointers are not decoded. */
static bool resolve(const struct walk *w, struct slice ref, struct json_value *out)
{
    struct slice rest = slice_make(ref.p + 1, ref.n - 2); /* without the quotes */
    if (!slice_starts(rest, SLICE("#")))
        return false;
    rest = slice_from(rest, 1);
    *out = w->root;
    while (rest.n) {
        rest = slice_from(rest, 1); /* the '/' */
        struct slice step = slice_make(rest.p, text_find(rest, SLICE("/")));
        rest = slice_from(rest, step.n);
        if (!member(*out, step, out))
            return false;
    }
    return true;
}

static bool is_required(struct json_value required, struct slice key)
{
    struct json_iter it;
    struct json_member m;
    json_iter_init(&it, required);
    while (json_iter_next(&it, &m))
        if (m.value.text.n == key.n + 2 && memcmp(m.value.text.p + 1, key.p, key.n) == 0)
            return true;
    return false;
}

static void object(struct walk *w, struct json_value schema, int depth)
{
    struct json_value properties, required;
    struct json_iter it;
    struct json_member m;
    size_t n = 0;
    bool some = member(schema, SLICE("required"), &required) && required.type == JSON_ARRAY;
    TEXT_LIT(w->out, "{");
    if (member(schema, SLICE("properties"), &properties) && properties.type == JSON_OBJECT) {
        json_iter_init(&it, properties);
        while (json_iter_next(&it, &m)) {
            if (some && !is_required(required, m.key))
                continue;
            TEXT_ADD(w->out, "%s\"%.*s\":", n++ ? "," : "", SLICE_ARG(m.key));
            instance(w, m.value, m.key, depth + 1);
        }
    }
    TEXT_LIT(w->out, "}");
}

static int64_t bound(struct json_value schema, struct slice name, int64_t otherwise)
{
    struct json_value v;
    int64_t n;
    return member(schema, name, &v) && v.type == JSON_NUMBER && json_int(v, &n) ? n : otherwise;
}

static void array(struct walk *w, struct json_value schema, struct slice name, int depth)
{
    struct json_value items = {.type = JSON_NULL, .text = SLICE("null")};
    int64_t n = bound(schema, SLICE("minItems"), 1);
    member(schema, SLICE("items"), &items);
    TEXT_LIT(w->out, "[");
    for (int64_t i = 0; i < n && i < ITEMS_MAX; i++) {
        if (i)
            TEXT_LIT(w->out, ",");
        instance(w, items, name, depth + 1);
    }
    TEXT_LIT(w->out, "]");
}

static bool wants_prose(struct slice name)
{
    static const char *const names[] = {"answer",       "text",   "content",   "explanation",
                                        "final_answer", "output", "reasoning", "result",
                                        "response",     "summary"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_eq(name, slice_str(names[i])))
            return true;
    return false;
}

static void string(struct walk *w, struct json_value schema, struct slice name)
{
    struct json_value format;
    if (member(schema, SLICE("format"), &format)) {
        if (slice_eq(format.text, SLICE("\"date\""))) {
            TEXT_LIT(w->out, "\"2026-01-31\"");
            return;
        }
        if (slice_eq(format.text, SLICE("\"date-time\""))) {
            TEXT_LIT(w->out, "\"2026-01-31T12:00:00Z\"");
            return;
        }
    }
    if (wants_prose(name))
        text_json(w->out, w->say);
    else if (slice_eq(name, SLICE("location")) || slice_eq(name, SLICE("city")))
        TEXT_LIT(w->out, "\"Paris\"");
    else
        TEXT_ADD(w->out, "\"a %.*s\"", SLICE_ARG(name));
}

static void by_type(struct walk *w, struct json_value schema, struct slice type, struct slice name,
                    int depth)
{
    if (slice_eq(type, SLICE("\"object\"")))
        object(w, schema, depth);
    else if (slice_eq(type, SLICE("\"array\"")))
        array(w, schema, name, depth);
    else if (slice_eq(type, SLICE("\"string\"")))
        string(w, schema, name);
    else if (slice_eq(type, SLICE("\"integer\"")))
        TEXT_ADD(w->out, "%lld", (long long)bound(schema, SLICE("minimum"), 1));
    else if (slice_eq(type, SLICE("\"number\"")))
        TEXT_ADD(w->out, "%lld.5", (long long)bound(schema, SLICE("minimum"), 1));
    else if (slice_eq(type, SLICE("\"boolean\"")))
        TEXT_LIT(w->out, "true");
    else
        TEXT_LIT(w->out, "null");
}

static void instance(struct walk *w, struct json_value schema, struct slice name, int depth)
{
    struct json_value v, first;
    if (depth > DEPTH_MAX) {
        TEXT_LIT(w->out, "null");
        return;
    }
    if (member(schema, SLICE("$ref"), &v) && v.type == JSON_STRING && resolve(w, v.text, &first)) {
        instance(w, first, name, depth + 1);
        return;
    }
    if (member(schema, SLICE("const"), &v) || member(schema, SLICE("default"), &v) ||
        (member(schema, SLICE("enum"), &first) && first_of(first, &v))) {
        TEXT_SLICE(w->out, v.text);
        return;
    }
    if ((member(schema, SLICE("anyOf"), &v) || member(schema, SLICE("oneOf"), &v) ||
         member(schema, SLICE("allOf"), &v)) &&
        first_of(v, &first)) {
        instance(w, first, name, depth + 1);
        return;
    }
    if (!member(schema, SLICE("type"), &v))
        v.text =
            member(schema, SLICE("properties"), &first) ? SLICE("\"object\"") : SLICE("\"string\"");
    else if (v.type == JSON_ARRAY && !first_of(v, &v))
        v.text = SLICE("\"null\"");
    by_type(w, schema, v.text, name, depth);
}

void schema_instance(struct json_value schema, struct slice say, struct buf *out)
{
    struct walk w = {.root = schema, .say = say, .out = out};
    instance(&w, schema, SLICE("value"), 0);
}

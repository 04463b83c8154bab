/* policy_spec -> JSON Schema. Each object becomes a definition, each type a small schema. Pure but
 * for the heap. Called by 'weir schema'. */
#include "policies/policy_schema.h"

#include <jansson.h>
#include <stdlib.h>
#include "policies/policy_spec.h"

#define NAME_PATTERN     "^[A-Za-z0-9._:/@+-]{1,128}$"
#define GLOB_PATTERN     "^[A-Za-z0-9._:/@+*-]{1,128}$"
#define DURATION_PATTERN "^[0-9]+(\\.[0-9]{1,9})?(ms|s|m|h|d)$"
#define SIZE_PATTERN     "^[0-9]+(\\.[0-9]{1,9})?(B|KiB|MiB|GiB|KB|MB|GB)$"
#define TIME_PATTERN                                                                               \
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]" \
    "{2}))?$"
#define URL_PATTERN    "^[Hh][Tt][Tt][Pp][Ss]?://[^/?#@\\s]+(/[^?#@\\s]*)?$"
#define PROXY_PATTERN  "^([Hh][Tt][Tt][Pp][Ss]?|[Ss][Oo][Cc][Kk][Ss]5[Hh]?)://[^/?#@\\s]+/?$"
#define ORIGIN_PATTERN "^(\\*|[A-Za-z][A-Za-z0-9+.-]*://[^/?#@\\s]+)$"
#define ENV_PATTERN    "^[A-Za-z_][A-Za-z0-9_]*$"

static json_t *pattern(const char *regex)
{
    return json_pack("{s:s, s:s}", "type", "string", "pattern", regex);
}

static json_t *text(void)
{
    return json_pack("{s:s, s:i}", "type", "string", "minLength", 1);
}

static json_t *reference(const struct spec_object *o)
{
    json_t *path = json_sprintf("#/$defs/%s", o->name);
    return json_pack("{s:o}", "$ref", path);
}

static json_t *list_of(json_t *item)
{
    return json_pack("{s:s, s:i, s:o}", "type", "array", "minItems", 1, "items", item);
}

static json_t *one_or_list(json_t *item)
{
    return json_pack("{s:[O, o]}", "anyOf", item, list_of(item));
}

static json_t *names_to(json_t *value)
{
    return json_pack("{s:s, s:o, s:o}", "type", "object", "propertyNames", pattern(NAME_PATTERN),
                     "additionalProperties", value);
}

/* The words themselves; 1.1 and 2 are numbers unless they are quoted. */
static json_t *words(const struct spec_key *k)
{
    json_t *list = json_array();
    for (const struct spec_word *w = k->words; w->word; w++) {
        if (w->reserved)
            continue;
        json_array_append_new(list, json_string(w->word));
        char *end;
        double number = strtod(w->word, &end);
        if (*end == '\0')
            json_array_append_new(list, json_real(number));
    }
    return json_pack("{s:o}", "enum", list);
}

static json_t *open_or(const struct spec_key *k, json_t *schema)
{
    if (!(k->flags & (SPEC_NONE | SPEC_AUTO)) || k->type == SPEC_TEXT)
        return schema;
    return json_pack("{s:[o, {s:s}]}", "anyOf", schema, "const",
                     k->flags & SPEC_NONE ? "none" : "auto");
}

static json_t *integer(const struct spec_key *k)
{
    return json_pack("{s:s, s:I, s:I}", "type", "integer", "minimum", (json_int_t)k->min, "maximum",
                     (json_int_t)k->max);
}

static json_t *address(void)
{
    return json_pack("{s:[{s:s, s:i, s:i}, {s:s, s:s}]}", "anyOf", "type", "integer", "minimum", 0,
                     "maximum", 65535, "type", "string", "pattern",
                     "^([^:*\\s]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$|^[0-9]{1,5}$");
}

static json_t *steps(const struct spec_key *k)
{
    return list_of(json_pack("{s:[o, o]}", "anyOf", pattern(NAME_PATTERN), reference(k->object)));
}

static json_t *prices(const struct spec_key *k)
{
    return json_pack("{s:[o, o]}", "anyOf", reference(k->object), list_of(reference(k->object)));
}

static json_t *headers(void)
{
    return json_pack("{s:s, s:o}", "type", "object", "additionalProperties", text());
}

static json_t *usd(void)
{
    return json_pack("{s:s, s:i, s:i}", "type", "number", "minimum", 0, "maximum", 1000000000);
}

static json_t *value(const struct spec_key *k);

/* The object, or what its first key takes. */
static json_t *short_or(const struct spec_key *k)
{
    return json_pack("{s:[o, o]}", "anyOf", reference(k->object), value(&k->object->keys[0]));
}

static json_t *value(const struct spec_key *k)
{
    json_t *item, *both;
    switch (k->type) {
    case SPEC_OBJECT:
        return k->flags & SPEC_SHORT ? short_or(k) : reference(k->object);
    case SPEC_MAP:
        return names_to(reference(k->object));
    case SPEC_LIST:
        if (!(k->flags & SPEC_SHORT))
            return list_of(reference(k->object));
        item = short_or(k);
        break;
    case SPEC_TENANT_KEYS:
        return list_of(reference(k->object));
    case SPEC_INT:
        return integer(k);
    case SPEC_DURATION:
        return pattern(DURATION_PATTERN);
    case SPEC_SIZE:
        return pattern(SIZE_PATTERN);
    case SPEC_USD:
        return usd();
    case SPEC_FRACTION:
        return json_pack("{s:s, s:i, s:i}", "type", "number", "minimum", 0, "maximum", 1);
    case SPEC_PROMPTS:
        item = text();
        break;
    case SPEC_BOOL:
        return json_pack("{s:s}", "type", "boolean");
    case SPEC_TEXT:
    case SPEC_PATH:
    case SPEC_KEY_FILE:
        return text();
    case SPEC_NAME:
    case SPEC_BACKEND:
    case SPEC_MODEL:
        return pattern(NAME_PATTERN);
    case SPEC_NAMES:
        item = pattern(k->flags & SPEC_GLOB ? GLOB_PATTERN : NAME_PATTERN);
        break;
    case SPEC_ENUM:
    case SPEC_WORD:
        return words(k);
    case SPEC_FLAGS:
        item = words(k);
        break;
    case SPEC_TIME:
        return pattern(TIME_PATTERN);
    case SPEC_HEADERS:
        return headers();
    case SPEC_ORIGINS:
        item = pattern(ORIGIN_PATTERN);
        break;
    case SPEC_STRINGS:
        return list_of(json_pack("{s:[s,s,s]}", "type", "string", "number", "boolean"));
    case SPEC_ENV:
        return json_pack("{s:s, s:{s:s}, s:{s:[s,s,s]}}", "type", "object", "propertyNames",
                         "pattern", ENV_PATTERN, "additionalProperties", "type", "string", "number",
                         "boolean");
    case SPEC_ADDRESS:
        return address();
    case SPEC_ENDPOINTS:
        item = pattern(URL_PATTERN);
        break;
    case SPEC_PROXY:
        return pattern(PROXY_PATTERN);
    case SPEC_KEY_ENV:
        return pattern(ENV_PATTERN);
    case SPEC_PRICES:
        return prices(k);
    case SPEC_ALIASES:
        return names_to(pattern(NAME_PATTERN));
    case SPEC_STEPS:
        return steps(k);
    case SPEC_TYPES:
    default:
        return json_object();
    }
    both = one_or_list(item);
    json_decref(item);
    return both;
}

static json_t *default_value(const struct spec_key *k)
{
    if (k->type == SPEC_BOOL)
        return json_boolean(strcmp(k->deflt, "true") == 0);
    if (k->type == SPEC_INT && k->deflt[strspn(k->deflt, "0123456789")] == '\0')
        return json_integer(strtoll(k->deflt, NULL, 10));
    if (k->type != SPEC_FLAGS)
        return json_string(k->deflt);
    json_t *list = json_array();
    for (const char *p = k->deflt + strspn(k->deflt, "["); *p && *p != ']';) {
        size_t n = strcspn(p, ",]");
        json_array_append_new(list, json_stringn(p, n));
        p += n + strspn(p + n, ", ");
    }
    return list;
}

static json_t *object(const struct spec_object *o)
{
    json_t *properties = json_object(), *required = json_array();
    for (size_t i = 0; i < o->count; i++) {
        const struct spec_key *k = &o->keys[i];
        json_t *schema = open_or(k, value(k));
        json_object_set_new(schema, "description", json_string(k->help));
        if (k->deflt)
            json_object_set_new(schema, "default", default_value(k));
        json_object_set_new(properties, k->name, schema);
        if (k->flags & SPEC_REQUIRED)
            json_array_append_new(required, json_string(k->name));
    }
    json_t *s = json_pack("{s:s, s:s, s:o, s:b}", "type", "object", "description", o->help,
                          "properties", properties, "additionalProperties", 0);
    if (json_array_size(required))
        json_object_set_new(s, "required", required);
    else
        json_decref(required);
    if (strcmp(o->name, "tenant_key") == 0) {
        json_object_set_new(s, "minProperties", json_integer(1));
        json_object_set_new(s, "maxProperties", json_integer(1));
    }
    return s;
}

static void define(json_t *defs, const struct spec_object *o)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct spec_object *below = o->keys[i].object;
        if (!below || json_object_get(defs, below->name))
            continue;
        json_object_set_new(defs, below->name, object(below));
        define(defs, below);
    }
}

enum err policy_schema_write(struct buf *out)
{
    json_t *root =
        json_pack("{s:s, s:s}", "$schema", "https://json-schema.org/draft/2020-12/schema", "title",
                  "weir policy");
    json_t *top = object(&spec_policy), *defs = json_object();
    json_object_update(root, top);
    json_decref(top);
    /* Anchors for use elsewhere. */
    json_object_set_new(root, "patternProperties", json_pack("{s:b}", "^x-", 1));
    define(defs, &spec_policy);
    json_object_set_new(root, "$defs", defs);
    char *dump = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    enum err e = dump ? buf_printf(out, "%s\n", dump) : ERR_INTERNAL;
    free(dump);
    return e;
}

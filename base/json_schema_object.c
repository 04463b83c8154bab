/* Keywords of JSON Schema that speak of objects. */
#include "base/json_schema_int.h"

static bool is_object(struct json_value v)
{
    return v.type == JSON_OBJECT;
}

/* Each member of the keyword is a schema, for the member of that name where the value has one: for
 * that member, or (whole) for all of the value. */
static enum json_schema_result apply_named(struct json_schema_run *run, const char *name,
                                           struct json_value keyword, struct json_value value,
                                           bool whole)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_iter it;
    struct json_member m;
    struct json_value found;

    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    if (!is_object(keyword))
        return json_schema_odd(run, name);
    json_iter_init(&it, keyword);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m))
        if (json_schema_member(run, value, json_schema_key(run, &m), &found))
            result =
                json_schema_both(result, whole ? json_schema_apply(run, m.value, value)
                                               : json_schema_apply_at(run, m.value, found, m.key));
    return result;
}

JSON_SCHEMA_KEYWORD(properties)
{
    (void)schema;
    return apply_named(run, "properties", keyword, value, false);
}

/* Every name of the list is there; whose: for the reason, "" or the property that wants them. */
static enum json_schema_result want_all(struct json_schema_run *run, struct json_value names,
                                        struct json_value value, struct slice whose)
{
    struct json_iter it;
    struct json_member m;
    struct json_value found;

    json_iter_init(&it, names);
    while (json_iter_next(&it, &m)) {
        struct slice name;

        if (m.value.type != JSON_STRING)
            return json_schema_odd(run, "required");
        name = json_string_text(m.value.text, &run->scratch);
        if (!json_schema_member(run, value, name, &found))
            return json_schema_step(run, 0)
                       ? json_schema_fail(run, "'%.*s' is missing%s%.*s", SLICE_ARG(name),
                                          whose.n ? " beside " : "", SLICE_ARG(whose))
                       : json_schema_unknown(run, "checking it takes too many steps");
    }
    return JSON_SCHEMA_PASS;
}

JSON_SCHEMA_KEYWORD(required)
{
    (void)schema;
    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    if (keyword.type != JSON_ARRAY)
        return json_schema_odd(run, "required");
    return want_all(run, keyword, value, SLICE(""));
}

JSON_SCHEMA_KEYWORD(dependent_required)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_iter it;
    struct json_member m;
    struct json_value found;

    (void)schema;
    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    if (!is_object(keyword))
        return json_schema_odd(run, "dependentRequired");
    json_iter_init(&it, keyword);
    while (result == JSON_SCHEMA_PASS && json_iter_next(&it, &m)) {
        if (m.value.type != JSON_ARRAY)
            return json_schema_odd(run, "dependentRequired");
        if (json_schema_member(run, value, json_schema_key(run, &m), &found))
            result = want_all(run, m.value, value, m.key);
    }
    return result;
}

JSON_SCHEMA_KEYWORD(dependent_schemas)
{
    (void)schema;
    return apply_named(run, "dependentSchemas", keyword, value, true);
}

/* The schemas of all patterns that are found in the name. *matched: some is, or may be. */
static enum json_schema_result apply_patterns(struct json_schema_run *run,
                                              struct json_value patterns,
                                              const struct json_member *member, bool *matched)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct slice name = json_schema_key(run, member);
    struct json_iter it;
    struct json_member m;

    *matched = false;
    json_iter_init(&it, patterns);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m)) {
        enum json_schema_result found = json_schema_search(run, json_schema_key(run, &m), name);

        if (found == JSON_SCHEMA_FAIL)
            continue;
        *matched = true;
        if (found == JSON_SCHEMA_UNKNOWN)
            result = JSON_SCHEMA_UNKNOWN;
        else
            result = json_schema_both(
                result, json_schema_apply_at(run, m.value, member->value, member->key));
    }
    return result;
}

JSON_SCHEMA_KEYWORD(pattern_properties)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_iter it;
    struct json_member m;
    bool matched;

    (void)schema;
    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    if (!is_object(keyword))
        return json_schema_odd(run, "patternProperties");
    json_iter_init(&it, value);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m))
        result = json_schema_both(result, apply_patterns(run, keyword, &m, &matched));
    return result;
}

/* Those that neither properties nor patternProperties speaks of. */
JSON_SCHEMA_KEYWORD(additional_properties)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_value properties = {0}, patterns = {0}, ignored;
    struct json_iter it;
    struct json_member m;

    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    json_schema_member(run, schema, SLICE("properties"), &properties);
    json_schema_member(run, schema, SLICE("patternProperties"), &patterns);
    json_iter_init(&it, value);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m)) {
        struct slice name = json_schema_key(run, &m);
        bool matched = false;

        if (json_schema_member(run, properties, name, &ignored))
            continue;
        if (patterns.text.n && is_object(patterns)) {
            run->quiet++;
            apply_patterns(run, patterns, &m, &matched);
            run->quiet--;
        }
        if (matched)
            continue;
        if (keyword.type == JSON_FALSE)
            return json_schema_fail(run, "'%.*s' is not a property of the schema", SLICE_ARG(name));
        result = json_schema_both(result, json_schema_apply_at(run, keyword, m.value, m.key));
    }
    return result;
}

JSON_SCHEMA_KEYWORD(property_names)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_iter it;
    struct json_member m;

    (void)schema;
    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    json_iter_init(&it, value);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m)) {
        struct json_value name = {JSON_STRING, {m.key.p - 1, m.key.n + 2}};

        result = json_schema_both(result, json_schema_apply(run, keyword, name));
    }
    return result;
}

JSON_SCHEMA_KEYWORD(min_properties)
{
    double least;

    (void)schema;
    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    if (!json_schema_count(keyword, &least))
        return json_schema_odd(run, "minProperties");
    return (double)json_count(value) >= least
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "has less than %g properties", least);
}

JSON_SCHEMA_KEYWORD(max_properties)
{
    double most;

    (void)schema;
    if (!is_object(value))
        return JSON_SCHEMA_PASS;
    if (!json_schema_count(keyword, &most))
        return json_schema_odd(run, "maxProperties");
    return (double)json_count(value) <= most
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "has more than %g properties", most);
}

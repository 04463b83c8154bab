/* Keywords of JSON Schema that speak of arrays. */
#include "base/json_schema_int.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/json_same.h"

static enum json_schema_result apply_element(struct json_schema_run *run, struct json_value schema,
                                             struct json_value element, size_t index)
{
    char name[24];
    int n = snprintf(name, sizeof name, "%zu", index);

    return json_schema_apply_at(run, schema, element, slice_make(name, (size_t)n));
}

/* Each of the first elements against its own schema. */
static enum json_schema_result apply_list(struct json_schema_run *run, struct json_value list,
                                          struct json_value value)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_iter schemas, elements;
    struct json_member s, e;
    size_t index = 0;

    json_iter_init(&schemas, list);
    json_iter_init(&elements, value);
    while (result != JSON_SCHEMA_FAIL && json_iter_next(&schemas, &s) &&
           json_iter_next(&elements, &e))
        result = json_schema_both(result, apply_element(run, s.value, e.value, index++));
    return result;
}

JSON_SCHEMA_KEYWORD(prefix_items)
{
    (void)schema;
    if (value.type != JSON_ARRAY)
        return JSON_SCHEMA_PASS;
    return keyword.type == JSON_ARRAY ? apply_list(run, keyword, value)
                                      : json_schema_odd(run, "prefixItems");
}

/* All elements behind those of prefixItems. */
JSON_SCHEMA_KEYWORD(items)
{
    enum json_schema_result result = JSON_SCHEMA_PASS;
    struct json_value prefix;
    struct json_iter it;
    struct json_member m;
    size_t index = 0, from = 0;

    if (value.type != JSON_ARRAY)
        return JSON_SCHEMA_PASS;
    if (keyword.type == JSON_ARRAY) /* as drafts before 2020-12 wrote prefixItems */
        return apply_list(run, keyword, value);
    if (json_schema_member(run, schema, SLICE("prefixItems"), &prefix) && prefix.type == JSON_ARRAY)
        from = json_count(prefix);
    json_iter_init(&it, value);
    for (; result != JSON_SCHEMA_FAIL && json_iter_next(&it, &m); index++)
        if (index >= from)
            result = json_schema_both(result, apply_element(run, keyword, m.value, index));
    return result;
}

JSON_SCHEMA_KEYWORD(contains)
{
    struct json_value bound;
    struct json_iter it;
    struct json_member m;
    double least = 1, most = -1;
    size_t pass = 0, unknown = 0;

    if (value.type != JSON_ARRAY)
        return JSON_SCHEMA_PASS;
    if (json_schema_member(run, schema, SLICE("minContains"), &bound) &&
        !json_schema_count(bound, &least))
        return json_schema_odd(run, "minContains");
    if (json_schema_member(run, schema, SLICE("maxContains"), &bound) &&
        !json_schema_count(bound, &most))
        return json_schema_odd(run, "maxContains");
    run->quiet++;
    json_iter_init(&it, value);
    while (json_iter_next(&it, &m)) {
        enum json_schema_result r = json_schema_apply(run, keyword, m.value);

        pass += r == JSON_SCHEMA_PASS;
        unknown += r == JSON_SCHEMA_UNKNOWN;
    }
    run->quiet--;
    if ((double)(pass + unknown) < least || (most >= 0 && (double)pass > most))
        return json_schema_fail(run, "has %zu elements that fit 'contains'", pass);
    if ((double)pass < least || (most >= 0 && (double)(pass + unknown) > most))
        return json_schema_unknown(run, "how many elements fit 'contains' is not known");
    return JSON_SCHEMA_PASS;
}

JSON_SCHEMA_KEYWORD(min_items)
{
    double least;

    (void)schema;
    if (value.type != JSON_ARRAY)
        return JSON_SCHEMA_PASS;
    if (!json_schema_count(keyword, &least))
        return json_schema_odd(run, "minItems");
    return (double)json_count(value) >= least
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "has less than %g elements", least);
}

JSON_SCHEMA_KEYWORD(max_items)
{
    double most;

    (void)schema;
    if (value.type != JSON_ARRAY)
        return JSON_SCHEMA_PASS;
    if (!json_schema_count(keyword, &most))
        return json_schema_odd(run, "maxItems");
    return (double)json_count(value) <= most
               ? JSON_SCHEMA_PASS
               : json_schema_fail(run, "has more than %g elements", most);
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct digest));
}

JSON_SCHEMA_KEYWORD(unique_items)
{
    struct json_iter it;
    struct json_member m;
    struct digest *all;
    size_t count, n = 0;

    (void)schema;
    if (value.type != JSON_ARRAY || keyword.type == JSON_FALSE)
        return JSON_SCHEMA_PASS;
    if (keyword.type != JSON_TRUE)
        return json_schema_odd(run, "uniqueItems");
    count = json_count(value);
    all = ARENA_ARRAY(&run->scratch, struct digest, count + 1);
    json_iter_init(&it, value);
    while (json_iter_next(&it, &m)) {
        if (!json_schema_step(run, m.value.text.n))
            return json_schema_unknown(run, "checking it takes too many steps");
        all[n++] = json_same_digest(m.value, &run->scratch);
    }
    qsort(all, n, sizeof *all, by_bytes);
    for (size_t i = 1; i < n; i++)
        if (by_bytes(&all[i - 1], &all[i]) == 0)
            return json_schema_fail(run, "has equal elements");
    return JSON_SCHEMA_PASS;
}

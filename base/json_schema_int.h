/* The inside of json_schema: what its files share. Nobody else includes it. */
#ifndef BASE_JSON_SCHEMA_INT_H
#define BASE_JSON_SCHEMA_INT_H

#include "base/arena.h"
#include "base/json_schema.h"

/* One check under way. */
struct json_schema_run {
    struct json_value root; /* of the schema, where references begin */
    struct arena scratch;
    struct err_text *why; /* may be NULL */
    char path[256];       /* where in the value, cut when it is longer */
    size_t path_bytes;
    long steps;
    int depth;
    int quiet; /* > 0: what is found here is not the reason yet (a branch of anyOf, a not) */
};

typedef enum json_schema_result (*json_schema_fn)(struct json_schema_run *run,
                                                  struct json_value schema,
                                                  struct json_value keyword,
                                                  struct json_value value);

/* A schema (object, true or false) against a value. */
enum json_schema_result json_schema_apply(struct json_schema_run *run, struct json_value schema,
                                          struct json_value value);
/* The same, with /name (raw key text or a number) on the path. */
enum json_schema_result json_schema_apply_at(struct json_schema_run *run, struct json_value schema,
                                             struct json_value value, struct slice name);
/* Both hold: a fail is a fail, else an unknown is unknown. */
static inline enum json_schema_result json_schema_both(enum json_schema_result a,
                                                       enum json_schema_result b)
{
    return a == JSON_SCHEMA_FAIL || b == JSON_SCHEMA_FAIL         ? JSON_SCHEMA_FAIL
           : a == JSON_SCHEMA_UNKNOWN || b == JSON_SCHEMA_UNKNOWN ? JSON_SCHEMA_UNKNOWN
                                                                  : JSON_SCHEMA_PASS;
}

/* Notes the reason, with the place, and returns the result. */
enum json_schema_result json_schema_fail(struct json_schema_run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
enum json_schema_result json_schema_unknown(struct json_schema_run *run, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* A keyword whose value is not of the type that it must have. */
enum json_schema_result json_schema_odd(struct json_schema_run *run, const char *keyword);

/* Work was done on so many bytes; false: there was too much of it. */
bool json_schema_step(struct json_schema_run *run, size_t bytes);
/* json_get, counted. */
bool json_schema_member(struct json_schema_run *run, struct json_value object, struct slice name,
                        struct json_value *out);
/* A key's decoded name; in the scratch arena or in place. */
struct slice json_schema_key(struct json_schema_run *run, const struct json_member *m);
/* A keyword that counts: an integer, also written 3.0. */
bool json_schema_count(struct json_value keyword, double *out);

/* Keywords by the type of value they speak of; each passes values of other types. */
#define JSON_SCHEMA_KEYWORD(name)                                                                  \
    enum json_schema_result json_schema_##name(struct json_schema_run *run,                        \
                                               struct json_value schema,                           \
                                               struct json_value keyword, struct json_value value)
JSON_SCHEMA_KEYWORD(type);
JSON_SCHEMA_KEYWORD(enum);
JSON_SCHEMA_KEYWORD(const);
JSON_SCHEMA_KEYWORD(minimum);
JSON_SCHEMA_KEYWORD(maximum);
JSON_SCHEMA_KEYWORD(exclusive_minimum);
JSON_SCHEMA_KEYWORD(exclusive_maximum);
JSON_SCHEMA_KEYWORD(multiple_of);
JSON_SCHEMA_KEYWORD(min_length);
JSON_SCHEMA_KEYWORD(max_length);
JSON_SCHEMA_KEYWORD(pattern);
JSON_SCHEMA_KEYWORD(format);
JSON_SCHEMA_KEYWORD(properties);
JSON_SCHEMA_KEYWORD(required);
JSON_SCHEMA_KEYWORD(additional_properties);
JSON_SCHEMA_KEYWORD(pattern_properties);
JSON_SCHEMA_KEYWORD(property_names);
JSON_SCHEMA_KEYWORD(min_properties);
JSON_SCHEMA_KEYWORD(max_properties);
JSON_SCHEMA_KEYWORD(dependent_required);
JSON_SCHEMA_KEYWORD(dependent_schemas);
JSON_SCHEMA_KEYWORD(items);
JSON_SCHEMA_KEYWORD(prefix_items);
JSON_SCHEMA_KEYWORD(contains);
JSON_SCHEMA_KEYWORD(min_items);
JSON_SCHEMA_KEYWORD(max_items);
JSON_SCHEMA_KEYWORD(unique_items);

/* A pattern of the schema against a text: FAIL is "not found". */
enum json_schema_result json_schema_search(struct json_schema_run *run, struct slice pattern,
                                           struct slice text);

#endif

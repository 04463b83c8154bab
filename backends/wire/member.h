/* Small questions about scanned JSON that every dialect asks. Pure; inline because they sit in the
 * loop over a chunk's members. */
#ifndef BACKENDS_WIRE_MEMBER_H
#define BACKENDS_WIRE_MEMBER_H

#include "base/json_scan.h"

/* json_key_is without a call in the usual case, a key of another length or without escapes. */
static inline bool member_is(const struct json_member *m, struct slice name)
{
    return m->key_escaped ? json_key_is(m, name) : slice_eq(m->key, name);
}

static inline bool member_present(const struct json_member *m)
{
    return m->value.text.n > 0;
}

/* Present and not null. */
static inline bool member_given(const struct json_member *m)
{
    return member_present(m) && m->value.type != JSON_NULL;
}

/* A string written as these very bytes (escapes are not decoded: good for enumerations, not for
 * names). */
static inline bool value_is_text(struct json_value v, struct slice text)
{
    return v.type == JSON_STRING && v.text.n == text.n + 2 &&
           memcmp(v.text.p + 1, text.p, text.n) == 0;
}

/* Without JSON white space around it (RFC 8259 section 2). */
static inline struct slice json_trim(struct slice s)
{
    while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' || s.p[0] == '\r'))
        s = slice_from(s, 1);
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t' || s.p[s.n - 1] == '\n' ||
                   s.p[s.n - 1] == '\r'))
        s.n--;
    return s;
}

/* What a value is, in the words of OpenAI's error messages. */
static inline const char *value_type_words(struct json_value v)
{
    int64_t integer;

    switch (v.type) {
    case JSON_NULL:
        return "null";
    case JSON_FALSE:
    case JSON_TRUE:
        return "a boolean";
    case JSON_NUMBER:
        return json_int(v, &integer) ? "an integer" : "a decimal";
    case JSON_STRING:
        return "a string";
    case JSON_ARRAY:
        return "an array";
    case JSON_OBJECT:
        return "an object";
    }
    return "something else";
}

#endif

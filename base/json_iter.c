/* The walk over JSON text that json_scan.c has validated: it checks nothing again and must never
 * see anything else. Pure; any thread. Called wherever the members of a member are wanted. */
#include "base/json_scan_int.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

static const char *walk_space(const char *p, const char *end)
{
    while (p < end && (unsigned char)*p <= ' ')
        p++;
    return p;
}

/* The first quote behind an even number of backslashes. */
static const char *walk_escaped(const char *from, const char *end, bool *escaped)
{
    for (const char *p = from;;) {
        const char *quote = memchr(p, '"', (size_t)(end - p));
        if (!quote)
            return end;
        const char *b = quote;
        while (b > from && b[-1] == '\\')
            b--;
        p = quote + 1;
        if ((quote - b) % 2 == 0) {
            if (escaped)
                *escaped = memchr(from, '\\', (size_t)(quote - from)) != NULL;
            return p;
        }
    }
}

/* Most strings are keys and small values: what ends within a block needs no call of memchr. */
const char *json_string_end(const char *p, const char *end, bool *escaped)
{
#if defined(__SSE2__)
    if (end - p >= 16) {
        __m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
        unsigned quotes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
        unsigned backslashes = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
        if (quotes && !(backslashes & ((quotes & -quotes) - 1))) {
            if (escaped)
                *escaped = false;
            return p + __builtin_ctz(quotes) + 1;
        }
    }
#endif
    return walk_escaped(p, end, escaped);
}

const char *json_value_end(const char *p, const char *end)
{
    if (*p == '"')
        return json_string_end(p + 1, end, NULL);
    if (*p == '{' || *p == '[')
        return json_skip_best()(p, end);
    while (p < end && (unsigned char)*p > ' ' && *p != ',' && *p != '}' && *p != ']')
        p++;
    return p;
}

void json_iter_init(struct json_iter *it, struct json_value container)
{
    it->text = container.text;
    it->object = container.type == JSON_OBJECT;
    /* Behind the bracket; a scalar has no elements. */
    it->pos = it->object || container.type == JSON_ARRAY ? 1 : container.text.n;
}

bool json_iter_next(struct json_iter *it, struct json_member *m)
{
    if (it->pos >= it->text.n)
        return false;
    const char *start = it->text.p, *end = start + it->text.n;
    const char *p = walk_space(start + it->pos, end);
    if (p < end && *p == ',')
        p = walk_space(p + 1, end);
    if (p == end || *p == '}' || *p == ']') {
        it->pos = it->text.n;
        return false;
    }
    m->begin = (size_t)(p - start);
    m->key = slice_make("", 0);
    m->key_escaped = false;
    if (it->object) {
        const char *key = p;
        p = json_string_end(p + 1, end, &m->key_escaped);
        m->key = slice_make(key + 1, (size_t)(p - key) - 2);
        p = walk_space(walk_space(p, end) + 1, end); /* the colon */
    }
    const char *value = p;
    p = json_value_end(p, end);
    m->value = (struct json_value){json_type_of(*value), slice_make(value, (size_t)(p - value))};
    it->pos = m->end = (size_t)(p - start);
    return true;
}

size_t json_count(struct json_value container)
{
    struct json_iter it;
    struct json_member m;
    size_t n = 0;
    json_iter_init(&it, container);
    while (json_iter_next(&it, &m))
        n++;
    return n;
}

bool json_get(struct json_value object, struct slice name, struct json_member *out)
{
    bool found = false;
    if (object.type != JSON_OBJECT)
        return false;
    struct json_iter it;
    struct json_member m;
    json_iter_init(&it, object);
    while (json_iter_next(&it, &m))
        if (json_key_is(&m, name)) {
            *out = m;
            found = true;
        }
    return found;
}

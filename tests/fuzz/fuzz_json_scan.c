/* Any bytes: all levels give one verdict and one fault; what is accepted can be walked, decoded and
 * encoded again. */
#include <stdlib.h>
#include "base/json_scan_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
    if (!ok)
        abort();
}

static void use_string(struct slice quoted)
{
    size_t n = json_string_decode(quoted, NULL, 0);
    char *raw = malloc(n + 1), *again = malloc(6 * n + 2), *back = malloc(n + 1);
    require(raw && again && back);
    require(json_string_decode(quoted, raw, n) == n);
    size_t q = json_string_encode(slice_make(raw, n), again, 6 * n + 2);
    require(q <= 6 * n + 2 && json_validate(slice_make(again, q), NULL));
    require(json_string_decode(slice_make(again, q), back, n) == n);
    require(n == 0 || memcmp(raw, back, n) == 0);
    char cut[7];
    require(json_string_decode(quoted, cut, sizeof cut) == n);
    require(json_string_encode(slice_make(raw, n), cut, sizeof cut) == q);
    free(raw);
    free(again);
    free(back);
}

static void use_value(struct json_value v)
{
    struct json_iter it;
    struct json_member m, last;
    int64_t i;
    double d;
    json_iter_init(&it, v);
    for (int n = 0; json_iter_next(&it, &m) && n < 200; n++) {
        require(m.begin < m.end && m.end < v.text.n);
        require(json_validate(m.value.text, NULL));
        if (v.type == JSON_OBJECT && !m.key_escaped)
            require(json_get(v, m.key, &last) && last.begin >= m.begin);
        if (v.type == JSON_OBJECT)
            use_string(slice_make(m.key.p - 1, m.key.n + 2));
        use_value(m.value);
    }
    if (v.type == JSON_STRING)
        use_string(v.text);
    if (json_int(v, &i))
        require(json_number(v, &d));
}

static bool on_member(const struct json_member *m, void *ctx)
{
    size_t *previous_end = ctx;
    require(m->begin > *previous_end && m->end > m->begin);
    *previous_end = m->end;
    use_value(m->value);
    return true;
}

static bool no_member(const struct json_member *m, void *ctx)
{
    (void)m;
    (void)ctx;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make((const char *)data, size);
    size_t at = SIZE_MAX, other = SIZE_MAX, previous_end = 0;
    bool ok = json_validate_with(json_run_portable, text, &at);
    require(json_validate(text, &other) == ok && other == at);
    require(ok || at <= size);
#if defined(__x86_64__)
    require(json_validate_with(json_run_sse2, text, &other) == ok && other == at);
#endif
    /* A second pass walks the members: those reported before a fault must not be looked into. */
    if (json_scan_object(text, no_member, NULL, NULL)) {
        require(ok);
        require(json_scan_object(text, on_member, &previous_end, NULL));
    }
    char *quoted = malloc(6 * size + 2);
    require(quoted != NULL);
    size_t n = json_string_encode(text, quoted, 6 * size + 2);
    require(n <= 6 * size + 2 && json_validate(slice_make(quoted, n), NULL));
    free(quoted);
    return 0;
}

/* The tokeniser, with the vocabulary inside the program, against the ids of Hugging Face's
 * tokenizers (tests/golden/encoder/make_wordpiece_golden.py). */
#include <cmocka.h>
#include <stdlib.h>
#include "base/atomic_file.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "router/encoder/static_table.h"

#define GOLDEN "tests/golden/encoder/wordpiece.jsonl"

static int nibble(char c)
{
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* The text of a line; heap. */
static struct slice read_text(struct json_value line)
{
    struct json_member m;
    if (json_get(line, SLICE("text"), &m)) {
        size_t n = json_string_decode(m.value.text, NULL, 0);
        char *text = mem_alloc(n + 1);
        json_string_decode(m.value.text, text, n);
        return slice_make(text, n);
    }
    assert_true(json_get(line, SLICE("hex"), &m));
    size_t n = (m.value.text.n - 2) / 2;
    char *bytes = mem_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] =
            (char)(nibble(m.value.text.p[1 + 2 * i]) << 4 | nibble(m.value.text.p[2 + 2 * i]));
    return slice_make(bytes, n);
}

static void check_line(struct json_value line, size_t number)
{
    struct json_member m, id;
    struct json_iter it;
    struct slice text = read_text(line);
    int32_t *ids = mem_alloc((text.n + 1) * sizeof *ids);
    const struct wordpiece *w = static_table_tokenizer(static_table_builtin());
    struct wordpiece_counts c = wordpiece_encode(w, text, false, ids, text.n + 1);
    size_t count = 0;
    assert_true(json_get(line, SLICE("ids"), &m));
    json_iter_init(&it, m.value);
    for (; json_iter_next(&it, &id); count++) {
        int64_t want;
        assert_true(json_int(id.value, &want));
        if (count >= c.tokens || ids[count] != want)
            fail_msg("line %zu, token %zu: %d instead of %d", number, count,
                     count < c.tokens ? ids[count] : -1, (int)want);
    }
    if (count != c.tokens)
        fail_msg("line %zu: %zu tokens instead of %zu", number, c.tokens, count);
    free(ids);
    free((void *)(uintptr_t)text.p);
}

static void equals_hugging_face(void **state)
{
    (void)state;
    struct err_text t;
    char *all;
    size_t n, lines = 0;
    if (atomic_file_read(GOLDEN, 8 << 20, &all, &n, &t))
        fail_msg("%s", t.s);
    struct slice rest = slice_make(all, n);
    while (rest.n) {
        const char *end = memchr(rest.p, '\n', rest.n);
        struct slice line = slice_make(rest.p, end ? (size_t)(end - rest.p) : rest.n);
        rest = slice_from(rest, line.n + 1);
        assert_true(json_validate(line, NULL));
        check_line((struct json_value){JSON_OBJECT, line}, ++lines);
    }
    assert_true(lines > 250);
    free(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(equals_hugging_face)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

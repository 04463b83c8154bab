/* base/json_skip and json_value_end: every level finds the end that a recursive reader without
 * tricks finds, wherever the text lies to the blocks of 16 and 32 bytes, and reads nothing behind
 * it: each text ends at a page that may not be touched. */
#include <cmocka.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/json_scan_int.h"
#include "base/rng.h"

#define MAX_BYTES 4096

static json_skip_fn levels[3];
static size_t level_count;
static char *map, *map_end; /* map_end: the page of no use begins */
static size_t map_bytes;

static int setup(void **state)
{
    (void)state;
    levels[level_count++] = json_skip_portable;
#if defined(__x86_64__)
    levels[level_count++] = json_skip_sse2;
    if (json_skip_best() == json_skip_avx2)
        levels[level_count++] = json_skip_avx2;
    else
        print_message("no AVX2 here: that level is not tested\n");
#endif
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    map_bytes = (MAX_BYTES / page + 2) * page;
    map = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        return -1;
    map_end = map + map_bytes - page;
    return mprotect(map_end, page, PROT_NONE);
}

static int teardown(void **state)
{
    (void)state;
    return munmap(map, map_bytes);
}

/* ---- the reader without tricks ---- */

static size_t plain_string(const char *text, size_t i, bool *escaped)
{
    *escaped = false;
    for (i++; text[i] != '"'; i++)
        if (text[i] == '\\') {
            *escaped = true;
            i++;
        }
    return i + 1;
}

static size_t plain_container(const char *text, size_t i)
{
    bool escaped;
    for (i++; text[i] != ']' && text[i] != '}';)
        if (text[i] == '"')
            i = plain_string(text, i, &escaped);
        else if (text[i] == '[' || text[i] == '{')
            i = plain_container(text, i);
        else
            i++;
    return i + 1;
}

/* ---- checks ---- */

/* text: a container and perhaps more behind it. With what follows, and cut off right behind it. */
static void check_container(const char *text, size_t n)
{
    size_t want = plain_container(text, 0);

    for (int cut = 0; cut < 2; cut++) {
        size_t bytes = cut ? want : n;
        char *p = map_end - bytes;
        memcpy(p, text, bytes);
        for (size_t k = 0; k < level_count; k++)
            if (levels[k](p, map_end) != p + want)
                fail_msg("level %zu: %td, not %zu, in: %.*s", k, levels[k](p, map_end) - p, want,
                         (int)bytes, text);
        assert_ptr_equal(json_value_end(p, map_end), p + want);
    }
}

/* text: a string and perhaps more behind it. */
static void check_string(const char *text, size_t n)
{
    bool escaped, want_escaped;
    size_t want = plain_string(text, 0, &want_escaped);

    for (int cut = 0; cut < 2; cut++) {
        size_t bytes = cut ? want : n;
        char *p = map_end - bytes;
        memcpy(p, text, bytes);
        escaped = !want_escaped;
        assert_ptr_equal(json_string_end(p + 1, map_end, &escaped), p + want);
        assert_int_equal(escaped, want_escaped);
        assert_ptr_equal(json_value_end(p, map_end), p + want);
    }
}

/* ---- tests ---- */

/* [before"inside"after]rest for all small lengths of each, with what may mislead inside. */
static void test_every_alignment(void **state)
{
    (void)state;
    static const char *const insides[] = {"",         "]",       "}{",      "\\\"]", "\\\\",
                                          "\\\\\\\"", "][\\\\]", "\\u005d", "}"};
    char text[256];

    for (size_t before = 0; before <= 68; before++)
        for (size_t i = 0; i < sizeof insides / sizeof *insides; i++)
            for (size_t after = 0; after <= 34; after++)
                for (size_t rest = 0; rest <= 33; rest += 11) {
                    int n = snprintf(text, sizeof text, "[%*s\"%s\"%*s]%.*s", (int)before, "",
                                     insides[i], (int)after, "", (int)rest,
                                     "]\"}]}]\",{\\\"]]]]]]]]]]]]]]]]]]]]]]]");
                    check_container(text, (size_t)n);
                }
}

/* Rows of backslashes of each length, beginning anywhere in a block. */
static void test_rows_of_backslashes(void **state)
{
    (void)state;
    char text[256];

    for (size_t before = 0; before <= 100; before++)
        for (size_t row = 0; row <= 70; row++) {
            size_t n = 0;
            text[n++] = '[';
            text[n++] = '"';
            memset(text + n, 'x', before);
            n += before;
            memset(text + n, '\\', row);
            n += row;
            text[n++] = '"'; /* escaped by an odd row, else the closing one */
            memcpy(text + n, "]\"]", 3);
            n += row % 2 ? 3 : 1;
            check_container(text, n);
            check_string(text + 1, n - 1);
        }
}

static void test_strings_of_every_length(void **state)
{
    (void)state;
    char text[256];

    for (size_t n = 0; n <= 100; n++)
        for (size_t at = 0; at <= n; at++) { /* at n: nothing is escaped */
            memset(text, 'a', sizeof text);
            text[0] = text[n + 3] = '"';
            if (at < n)
                memcpy(text + 1 + at, "\\\"", 2);
            check_string(text, n + 4);
            text[n + 4] = '"'; /* another one behind */
            text[n + 5] = '\\';
            check_string(text, n + 40);
        }
}

static void test_deep(void **state)
{
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 64];

    for (size_t depth = 1; depth <= JSON_MAX_DEPTH; depth++) {
        for (size_t i = 0; i < depth; i++) {
            text[i] = i % 3 ? '[' : '{';
            text[2 * depth - 1 - i] = i % 3 ? ']' : '}';
        }
        memset(text + 2 * depth, ']', 40);
        check_container(text, 2 * depth + 40);
    }
}

/* A container of random parts; room for the brackets that close is kept. */
static size_t random_container(struct rng *r, char *text, size_t limit)
{
    static const char *const parts[] = {",",
                                        ":",
                                        " ",
                                        "1.5e-7",
                                        "null",
                                        "\"\"",
                                        "\"key\"",
                                        "\"]\"",
                                        "\"}\"",
                                        "\"\\\"\"",
                                        "\"\\\\\"",
                                        "\"{[\\n\"",
                                        "true",
                                        "[]",
                                        "{}",
                                        "\"a \\\\\\\"[ long text, long text, long text, long text, "
                                        "longer text \xe2\x82\xac with ]} inside\""};
    char open[64];
    size_t n = 0, depth = 0;

    do {
        uint64_t kind = rng_below(r, 8);
        if (n == 0 || (kind == 0 && depth < sizeof open)) {
            open[depth++] = rng_below(r, 2) ? ']' : '}';
            text[n++] = open[depth - 1] == ']' ? '[' : '{';
        } else if (kind == 1 && depth > 1) {
            text[n++] = open[--depth];
        } else {
            const char *part = parts[rng_below(r, sizeof parts / sizeof *parts)];
            memcpy(text + n, part, strlen(part));
            n += strlen(part);
        }
    } while (n < limit);
    while (depth)
        text[n++] = open[--depth];
    return n;
}

static void test_random(void **state)
{
    (void)state;
    char text[1024];
    struct rng r;

    rng_seed(&r, 20261121);
    for (int round = 0; round < 100000; round++) {
        size_t n = random_container(&r, text, rng_below(&r, 400));
        size_t more = rng_below(&r, 80);
        memset(text + n, "]}\"\\ "[rng_below(&r, 5)], more);
        check_container(text, n + more);
    }
}

/* What is behind the text's end is not looked at even where it could be. */
static void test_never_closed(void **state)
{
    (void)state;
    char text[128];

    memset(text, ' ', sizeof text);
    text[0] = '[';
    for (size_t n = 1; n + 1 < sizeof text; n++) {
        text[n] = ']';
        for (size_t k = 0; k < level_count; k++)
            assert_ptr_equal(levels[k](text, text + n), text + n);
        text[n] = ' ';
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_alignment),
        cmocka_unit_test(test_rows_of_backslashes),
        cmocka_unit_test(test_strings_of_every_length),
        cmocka_unit_test(test_deep),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_never_closed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

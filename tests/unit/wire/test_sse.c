/* The SSE parser: field grammar, all line ends, every split of every input, limits. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/sse.h"

/* Events as text: "[event|data]" each; blocks without data as "(raw)". */
struct seen {
    char text[4096];
    size_t n;
    char raw[4096]; /* all raw slices, one after the other */
    size_t raw_n;
    int stop_after; /* -1: never */
};

static bool note(const struct sse_event *e, void *ctx)
{
    struct seen *s = ctx;
    size_t room = sizeof(s->text) - s->n;

    assert_true(s->raw_n + e->raw.n <= sizeof(s->raw));
    memcpy(s->raw + s->raw_n, e->raw.p, e->raw.n);
    s->raw_n += e->raw.n;
    if (e->has_data)
        s->n += (size_t)snprintf(s->text + s->n, room, "[%.*s|%.*s]", SLICE_ARG(e->event),
                                 SLICE_ARG(e->data));
    assert_true(s->n < sizeof(s->text));
    return s->stop_after < 0 || --s->stop_after > 0;
}

static struct slice str(const char *s)
{
    return slice_str(s);
}

/* Feeds a copy of exactly that size, so that the sanitizer sees every overrun. */
static enum err feed(struct sse_parser *p, const char *in, size_t n, struct seen *s)
{
    char *copy = malloc(n ? n : 1);
    enum err err;

    assert_non_null(copy);
    memcpy(copy, in, n);
    err = sse_feed(p, slice_make(copy, n), note, s);
    free(copy);
    return err;
}

static void check(const char *in, size_t n, const size_t *cuts, size_t cut_count, const char *want)
{
    struct sse_parser p;
    struct seen s = {.stop_after = -1};
    size_t from = 0;

    sse_init(&p, 1024);
    p.report_all = true;
    for (size_t i = 0; i <= cut_count; i++) {
        size_t to = i < cut_count ? cuts[i] : n;
        assert_int_equal(feed(&p, in + from, to - from, &s), ERR_OK);
        from = to;
    }
    s.text[s.n] = 0;
    assert_string_equal(s.text, want);
    /* What was reported and what is kept are the input, but for a BOM. */
    size_t skip = p.started && n >= 3 && memcmp(in, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    assert_int_equal(s.raw_n + buf_len(&p.pending) + skip, n);
    assert_memory_equal(s.raw, in + skip, s.raw_n);
    sse_clear(&p);
}

static const struct {
    const char *in, *want;
} table[] = {
    {"", ""},
    {"data: x\n\n", "[|x]"},
    {"data:x\n\n", "[|x]"},
    {"data:  x \n\n", "[| x ]"},
    {"data: x\r\n\r\n", "[|x]"},
    {"data: x\r\r", "[|x]"},
    {"data: x\n\r\n", "[|x]"},
    {"data: x\r\n\n", "[|x]"},
    {"data: x\r\n\rdata: y\n\n", "[|x][|y]"},
    {"data: x\r\rdata: y\r\r", "[|x][|y]"},
    {"data: x\n\ndata: y\n\n", "[|x][|y]"},
    {"data: a\ndata: b\ndata:\ndata: c\n\n", "[|a\nb\n\nc]"},
    {"data\n\n", "[|]"},
    {"data\ndata\n\n", "[|\n]"},
    {"data:\n\n", "[|]"},
    {"event: ping\n\n", ""},
    {"event: e\ndata: x\n\n", "[e|x]"},
    {"data: x\nevent: e\n\n", "[e|x]"},
    {"event: a\nevent: b\ndata: x\n\n", "[b|x]"},
    {"event: a\n\ndata: x\n\n", "[|x]"},
    {"id: 7\nretry: 10\ndata: x\n\n", "[|x]"},
    {"data: x: y\n\n", "[|x: y]"},
    {"datax: x\n\n", ""},
    {"Data: x\n\n", ""},
    {" data: x\n\n", ""},
    {": comment\n\n", ""},
    {": OPENROUTER PROCESSING\n\ndata: x\n\n", "[|x]"},
    {": c\ndata: x\n: d\n\n", "[|x]"},
    {":\n\n\n\n\ndata: x\n\n\n\n", "[|x]"},
    {"\r\n\r\n\rdata: x\n\n", "[|x]"},
    {"data: x", ""},
    {"data: x\n", ""},
    {"data: x\r\n", ""},
    {"data: x\r", ""},
    {"data: done\n\ndata: cut\n", "[|done]"},
    {"\xEF\xBB\xBF"
     "data: x\n\n",
     "[|x]"},
    {"\xEF\xBB\xBF\ndata: x\n\n", "[|x]"},
    {"\xEF\xBB\xBF\xEF\xBB\xBF"
     "data: x\n\n",
     ""},
    {"data: a\n\n\xEF\xBB\xBF"
     "data: x\n\n",
     "[|a]"},
    {"\xEF\xBB"
     "data: x\n\ndata: y\n\n",
     "[|y]"},
    {"data: \xC3\xA9\xF0\x9F\x98\x80\n\n", "[|\xC3\xA9\xF0\x9F\x98\x80]"},
};
#define TABLE_SIZE (sizeof(table) / sizeof(table[0]))

static void whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        check(table[i].in, strlen(table[i].in), NULL, 0, table[i].want);
}

static void cut_in_two_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        for (size_t cut = 0; cut <= strlen(table[i].in); cut++)
            check(table[i].in, strlen(table[i].in), &cut, 1, table[i].want);
}

static void cut_in_three_anywhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < TABLE_SIZE; i++)
        for (size_t a = 0; a <= strlen(table[i].in); a++)
            for (size_t b = a; b <= strlen(table[i].in); b++)
                check(table[i].in, strlen(table[i].in), (size_t[]){a, b}, 2, table[i].want);
}

static void byte_by_byte(void **state)
{
    size_t cuts[256];

    (void)state;
    for (size_t i = 0; i < 256; i++)
        cuts[i] = i + 1;
    for (size_t i = 0; i < TABLE_SIZE; i++) {
        size_t n = strlen(table[i].in);
        assert_true(n < 256);
        check(table[i].in, n, cuts, n, table[i].want);
    }
}

static void nul_is_data(void **state)
{
    static const char in[] = "data: a\0b\n\n";
    struct sse_parser p;
    struct seen s = {.stop_after = -1};

    (void)state;
    sse_init(&p, 64);
    assert_int_equal(sse_feed(&p, slice_make(in, sizeof(in) - 1), note, &s), ERR_OK);
    assert_int_equal(s.raw_n, sizeof(in) - 1);
    sse_clear(&p);
}

static void blocks_without_data_are_silent_by_default(void **state)
{
    struct sse_parser p;
    struct seen s = {.stop_after = -1};

    (void)state;
    sse_init(&p, 64);
    assert_int_equal(sse_feed(&p, str(": c\n\n\n\nevent: x\n\n"), note, &s), ERR_OK);
    assert_int_equal(s.raw_n, 0);
    sse_clear(&p);
}

/* The limit holds for an event, however it arrives, and not for the sum of events. */
static void limit(void **state)
{
    (void)state;
    for (size_t step = 1; step <= 64; step++) {
        static const char fits[] = "data: 7890\n\ndata: 7890\n\n", over[] = "data: 78901\n\n";
        struct sse_parser p;
        struct seen s = {.stop_after = -1};
        enum err err = ERR_OK;

        sse_init(&p, 12);
        for (size_t i = 0; i < sizeof(fits) - 1; i += step)
            assert_int_equal(
                feed(&p, fits + i, step < sizeof(fits) - 1 - i ? step : sizeof(fits) - 1 - i, &s),
                ERR_OK);
        assert_int_equal(s.raw_n, 24);
        for (size_t i = 0; i < sizeof(over) - 1 && !err; i += step)
            err = feed(&p, over + i, step < sizeof(over) - 1 - i ? step : sizeof(over) - 1 - i, &s);
        assert_int_equal(err, ERR_UPSTREAM_TOO_LARGE);
        assert_int_equal(s.raw_n, 24);
        sse_clear(&p);
    }
}

static void endless_line(void **state)
{
    struct sse_parser p;
    struct seen s = {.stop_after = -1};
    char junk[100];
    enum err err = ERR_OK;
    int feeds = 0;

    (void)state;
    memset(junk, 'x', sizeof(junk));
    sse_init(&p, 1000);
    while (!err && feeds++ < 100)
        err = feed(&p, junk, sizeof(junk), &s);
    assert_int_equal(err, ERR_UPSTREAM_TOO_LARGE);
    assert_int_equal(feeds, 11);
    sse_clear(&p);
}

static void stopping_drops_the_rest(void **state)
{
    (void)state;
    for (size_t cut = 0; cut < 20; cut++) {
        static const char in[] = "data: a\n\ndata: b\n\ndata: c\n\n";
        struct sse_parser p;
        struct seen s = {.stop_after = 1};

        sse_init(&p, 64);
        assert_int_equal(feed(&p, in, cut, &s), ERR_OK);
        s.stop_after = s.raw_n ? -1 : 1;
        assert_int_equal(feed(&p, in + cut, 9 < cut ? 0 : sizeof(in) - 1 - cut, &s), ERR_OK);
        assert_int_equal(s.raw_n, cut == 9 ? 27 : 9);
        s.stop_after = -1;
        s.raw_n = 0;
        if (cut < 9) { /* and the parser goes on with the next input */
            assert_int_equal(feed(&p, "data: d\n\n", 9, &s), ERR_OK);
            assert_int_equal(s.raw_n, 9);
            assert_memory_equal(s.raw, "data: d\n\n", 9);
        }
        sse_clear(&p);
    }
}

static void pending(void **state)
{
    static const struct {
        const char *in;
        bool want;
    } cases[] = {
        {"", false},
        {"data: x\n\n", false},
        {"data: x\n", true},
        {"data: x\r", true},
        {"d", true},
        {": comment", false},
        {": c\n", false},
        {": c\n: d\r\n", false},
        {": c\ndata", true},
        {"\n", false},
        {"data: x\r\n\r", false},
        {"\xEF\xBB\xBF", false},
        {"\xEF\xBB", false},
        {"\xEF\xBB\xBF"
         "d",
         true},
        {"data: x\n\n: k\n", false},
        {"event: e\n", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sse_parser p;
        struct seen s = {.stop_after = -1};
        sse_init(&p, 64);
        assert_int_equal(sse_feed(&p, str(cases[i].in), note, &s), ERR_OK);
        if (sse_pending(&p) != cases[i].want)
            fail_msg("pending after case %zu", i);
        sse_clear(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(cut_in_two_anywhere),
        cmocka_unit_test(cut_in_three_anywhere),
        cmocka_unit_test(byte_by_byte),
        cmocka_unit_test(nul_is_data),
        cmocka_unit_test(blocks_without_data_are_silent_by_default),
        cmocka_unit_test(limit),
        cmocka_unit_test(endless_line),
        cmocka_unit_test(stopping_drops_the_rest),
        cmocka_unit_test(pending),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

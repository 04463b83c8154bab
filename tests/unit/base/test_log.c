/* base/log: one line per call whatever is logged, quoting, levels. Reads what was written through a
 * pipe. */
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "base/log.h"

static int pipe_fds[2];

static const char *written(void)
{
    static char text[16384];
    ssize_t n = read(pipe_fds[0], text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static int setup(void **state)
{
    (void)state;
    if (pipe2(pipe_fds, O_NONBLOCK) != 0)
        return -1;
    log_init(pipe_fds[1], LOG_INFO);
    return 0;
}

static void test_a_line(void **state)
{
    (void)state;
    errno = EPIPE;
    log_line(LOG_WARN, "worker", "now listening", "addr=%s n=%d", "127.0.0.1:1", 3);
    assert_int_equal(errno, EPIPE);
    const char *line = written();
    assert_memory_equal(line, "time=20", 7);
    assert_string_equal(strstr(line, " level="),
                        " level=warn at=worker msg=\"now listening\" addr=127.0.0.1:1 n=3\n");
    log_line(LOG_ERROR, "x", "stop", NULL);
    assert_string_equal(strstr(written(), " level="), " level=error at=x msg=stop\n");
}

static void test_levels(void **state)
{
    (void)state;
    bool ok;
    log_line(LOG_DEBUG, "x", "unseen", NULL);
    assert_string_equal(written(), "");
    assert_false(log_enabled(LOG_DEBUG));
    assert_true(log_enabled(LOG_INFO));
    assert_int_equal(log_level_parse(SLICE("debug"), &ok), LOG_DEBUG);
    assert_true(ok);
    assert_int_equal(log_level_parse(SLICE("error"), &ok), LOG_ERROR);
    assert_true(ok);
    log_level_parse(SLICE("Debug"), &ok);
    assert_false(ok);
    log_level_parse(SLICE(""), &ok);
    assert_false(ok);
}

static void test_no_second_line(void **state)
{
    (void)state;
    log_line(LOG_INFO, "x", "a\nb", "v=%s", "c\r\nlevel=error forged=1");
    const char *line = written();
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_null(strchr(line, '\r'));
    log_line(LOG_INFO, "x", "long", "v=%9000d", 1);
    line = written();
    assert_true(strlen(line) <= 4096);
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_non_null(strstr(line, "...\n"));
}

static void test_quote(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"plain", "plain"},
        {"", "\"\""},
        {"a b", "\"a b\""},
        {"a=b", "\"a=b\""},
        {"say \"hi\"\\", "\"say \\\"hi\\\"\\\\\""},
        {"a\r\n\tb", "\"a\\r\\n\\tb\""},
        {"\x1b[31m", "\"\\x1b[31m\""},
        {"gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\""},
        {"\xc2\x9b"
         "c1",
         "\"\\xc2\\x9bc1\""}, /* U+009B, a terminal's CSI */
        {"\xff\xc3", "\"\\xff\\xc3\""},
        {"\x7f", "\"\\x7f\""},
    };
    char out[64];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(log_quote(slice_str(rows[i].in), out, sizeof out), rows[i].out);
    assert_string_equal(log_quote(slice_make("a\0b", 3), out, sizeof out), "\"a\\x00b\"");
}

/* Cut values stay within bounds, are closed, and never end inside a character or an escape. */
static void test_quote_cuts(void **state)
{
    (void)state;
    static const char hostile[] =
        "ab \"\\\n\x01\xe2\x82\xac\xff end and more text = that does not fit";
    for (size_t cap = 0; cap <= 80; cap++) {
        char out[96];
        memset(out, '#', sizeof out);
        log_quote(slice_str(hostile), out, cap);
        for (size_t i = cap; i < sizeof out; i++)
            assert_int_equal(out[i], '#');
        if (cap == 0)
            continue;
        size_t n = strlen(out);
        assert_true(n < cap);
        if (cap >= 8) {
            assert_true(out[0] == '"' && out[n - 1] == '"');
            bool whole = strstr(out, "fit\"") != NULL;
            assert_true(whole || strcmp(out + n - 4, "...\"") == 0);
        }
    }
    char out[9];
    assert_string_equal(log_quote(SLICE("longer than eight"), out, sizeof out), "\"lon...\"");
    assert_string_equal(log_quote(SLICE("\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"), out, sizeof out),
                        "\"\xe2\x82\xac...\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_line),         cmocka_unit_test(test_levels),
        cmocka_unit_test(test_no_second_line), cmocka_unit_test(test_quote),
        cmocka_unit_test(test_quote_cuts),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

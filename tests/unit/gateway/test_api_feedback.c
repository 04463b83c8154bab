/* gateway/api_feedback, the body: what is said comes out as it was meant, everything else is an
 * error that names the member. The endpoint itself: tests/integration/test_feedback.py. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "base/rng.h"
#include "gateway/api_feedback.h"

#define NOW INT64_C(1795000000000000)

static struct arena arena;

static enum err read_text(const char *text, struct feedback *f, const char **param,
                          struct err_text *why)
{
    *param = "";
    why->s[0] = '\0';
    return feedback_read(slice_str(text), NOW, &arena, f, param, why);
}

static void what_is_said(void **state)
{
    static const struct {
        const char *text;
        enum tally_source source;
        int value;
        int64_t said;
        const char *reason;
    } good[] = {
        {"{\"request_id\":\"r1\",\"success\":true}", TALLY_EXPLICIT, 1000, NOW, ""},
        {"{\"request_id\":\"r1\",\"success\":false}", TALLY_EXPLICIT, 0, NOW, ""},
        {"{\"request_id\":\"r1\",\"success\":null}", TALLY_EXPLICIT, -1, NOW, ""},
        {" {\"score\":0.75,\"request_id\":\"r\\u0031\"} ", TALLY_EXPLICIT, 750, NOW, ""},
        {"{\"request_id\":\"r1\",\"score\":0}", TALLY_EXPLICIT, 0, NOW, ""},
        {"{\"request_id\":\"r1\",\"score\":1.0}", TALLY_EXPLICIT, 1000, NOW, ""},
        {"{\"request_id\":\"r1\",\"score\":null}", TALLY_EXPLICIT, -1, NOW, ""},
        {"{\"request_id\":\"r1\",\"score\":1e-9}", TALLY_EXPLICIT, 0, NOW, ""},
        {"{\"request_id\":\"r1\",\"correction\":\"42\"}", TALLY_CORRECTION, 0, NOW, ""},
        {"{\"request_id\":\"r1\",\"correction\":\"42\",\"score\":0.5}", TALLY_EXPLICIT, 500, NOW,
         ""},
        {"{\"request_id\":\"r1\",\"success\":true,\"correction\":null,\"source\":null,\"reason\":"
         "null,\"time\":null}",
         TALLY_EXPLICIT, 1000, NOW, ""},
        {"{\"request_id\":\"r1\",\"success\":true,\"source\":\"validator\"}", TALLY_VALIDATOR, 1000,
         NOW, ""},
        {"{\"request_id\":\"r1\",\"success\":null,\"source\":\"correction\"}", TALLY_CORRECTION, -1,
         NOW, ""},
        {"{\"request_id\":\"r1\",\"success\":false,\"reason\":\"too \\\"long\\\"\",\"time\":"
         "1700000000.5}",
         TALLY_EXPLICIT, 0, INT64_C(1700000000500000), "too \"long\""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct feedback f;
        struct err_text why;
        const char *param;
        if (read_text(good[i].text, &f, &param, &why) != ERR_OK)
            fail_msg("%s: %s", good[i].text, why.s);
        assert_string_equal(f.request_id, "r1");
        assert_int_equal(f.source, good[i].source);
        assert_int_equal(f.value_milli, good[i].value);
        assert_int_equal(f.said_us, good[i].said);
        assert_string_equal(f.reason, good[i].reason);
    }
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *text, *param, *why;
    } bad[] = {
        {"", "", "parse"},
        {"{", "", "parse"},
        {"[]", "", "object"},
        {"null", "", "object"},
        {"{}", "request_id", "Missing"},
        {"{\"success\":true}", "request_id", "Missing"},
        {"{\"request_id\":7,\"success\":true}", "request_id", "string"},
        {"{\"request_id\":\"\",\"success\":true}", "request_id", "1 to 256"},
        {"{\"request_id\":\"a\\u0000b\",\"success\":true}", "request_id", "1 to 256"},
        {"{\"request_id\":\"r\"}", "success", "Missing"},
        {"{\"request_id\":\"r\",\"correction\":null}", "success", "Missing"},
        {"{\"request_id\":\"r\",\"success\":true,\"score\":1}", "score", "one of them"},
        {"{\"request_id\":\"r\",\"success\":null,\"score\":null}", "score", "one of them"},
        {"{\"request_id\":\"r\",\"success\":1}", "success", "true, false"},
        {"{\"request_id\":\"r\",\"success\":\"true\"}", "success", "true, false"},
        {"{\"request_id\":\"r\",\"score\":1.0001}", "score", "from 0 to 1"},
        {"{\"request_id\":\"r\",\"score\":-0.1}", "score", "from 0 to 1"},
        {"{\"request_id\":\"r\",\"score\":1e999}", "score", "from 0 to 1"},
        {"{\"request_id\":\"r\",\"score\":NaN}", "", "parse"},
        {"{\"request_id\":\"r\",\"score\":\"0.5\"}", "score", "number"},
        {"{\"request_id\":\"r\",\"score\":true}", "score", "number"},
        {"{\"request_id\":\"r\",\"correction\":5}", "correction", "string"},
        {"{\"request_id\":\"r\",\"success\":true,\"source\":\"user\"}", "source", "expected"},
        {"{\"request_id\":\"r\",\"success\":true,\"source\":\"silence\"}", "source", "expected"},
        {"{\"request_id\":\"r\",\"success\":true,\"reason\":{}}", "reason", "string"},
        {"{\"request_id\":\"r\",\"success\":true,\"time\":\"now\"}", "time", "Unix"},
        {"{\"request_id\":\"r\",\"success\":true,\"time\":-1}", "time", "Unix"},
        {"{\"request_id\":\"r\",\"success\":true,\"time\":1e300}", "time", "future"},
        {"{\"request_id\":\"r\",\"success\":true,\"sucess\":true}", "", "sucess"},
        {"{\"request_id\":\"r\",\"success\":true,\"success\":false}", "success", "more than once"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct feedback f;
        struct err_text why;
        const char *param;
        enum err err = read_text(bad[i].text, &f, &param, &why);
        if (err == ERR_OK || err_http_status(err) != 400 || strcmp(param, bad[i].param) != 0 ||
            !strstr(why.s, bad[i].why))
            fail_msg("%s: %s, param '%s': %s", bad[i].text, err_name(err), param, why.s);
    }
}

static void long_texts(void **state)
{
    char text[2048], id[400];
    struct feedback f;
    struct err_text why;
    const char *param;
    (void)state;
    memset(id, 'x', sizeof id);
    snprintf(text, sizeof text, "{\"request_id\":\"%.*s\",\"success\":true}", 256, id);
    assert_int_equal(read_text(text, &f, &param, &why), ERR_OK);
    snprintf(text, sizeof text, "{\"request_id\":\"%.*s\",\"success\":true}", 257, id);
    assert_int_equal(read_text(text, &f, &param, &why), ERR_BAD_REQUEST);
    /* Cut between characters: 499 x and an e with an acute accent make 501 bytes. */
    memset(id, 'x', sizeof id);
    snprintf(text, sizeof text,
             "{\"request_id\":\"r\",\"success\":true,\"reason\":\"%.*s%.*s\xc3\xa9zz\"}", 400, id,
             99, id);
    assert_int_equal(read_text(text, &f, &param, &why), ERR_OK);
    assert_int_equal(strlen(f.reason), 499);
}

static void anything_at_all(void **state)
{
    static const char sample[] = "{\"request_id\":\"r\",\"score\":0.5,\"source\":\"judge\",\"time\""
                                 ":1700000000,\"reason\":\"\\u00e9\"}";
    struct rng rng;
    (void)state;
    rng_seed(&rng, 5);
    for (int i = 0; i < 50000; i++) {
        char text[sizeof sample];
        struct feedback f;
        struct err_text why;
        const char *param = NULL;
        memcpy(text, sample, sizeof sample);
        for (int k = 0; k < 1 + i % 3; k++)
            text[rng_below(&rng, sizeof sample - 1)] = (char)rng_u64(&rng);
        if (feedback_read(slice_make(text, rng_below(&rng, sizeof sample)), NOW, &arena, &f, &param,
                          &why) == ERR_OK)
            assert_true(f.value_milli >= -1 && f.value_milli <= 1000);
        if (i % 100 == 0)
            arena_clear(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(anything_at_all),
    };
    arena_init(&arena, 4096);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_clear(&arena);
    return failed;
}

/* router/outcome_signals: who asks again is found, strangers, next turns and parallel samples are
 * not; silence comes when it is due. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "router/outcome_signals.h"

#define SECOND INT64_C(1000000)
#define TURN                                                                                       \
    "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"                    \
    "{\"role\":\"assistant\",\"content\":\"hello\"},{\"role\":\"user\",\"content\":"
#define SAID "\"What is the capital of France, and how many people live there?\""

static struct outcome_request ask(const char *tenant, const char *id, const char *before,
                                  const char *said, int64_t begun_s)
{
    struct outcome_request r = {.tenant = slice_str(tenant),
                                .request_id = slice_str(id),
                                .begun_us = begun_s * SECOND,
                                .ended_us = (begun_s + 2) * SECOND};
    outcome_print_make(&r.print, slice_str(tenant), slice_str(before), slice_str(said));
    return r;
}

static bool again(struct outcome_signals *s, struct outcome_request r, const char *earlier)
{
    struct outcome_request e;
    if (!outcome_signals_note(s, &r, &e))
        return false;
    assert_true(slice_eq(e.request_id, slice_str(earlier)));
    return true;
}

static void asked_again(void **state)
{
    struct outcome_signals *s = outcome_signals_new();
    (void)state;
    assert_false(again(s, ask("a", "r1", TURN, SAID, 100), ""));
    assert_true(again(s, ask("a", "r2", TURN, SAID, 110), "r1")); /* regenerated */
    assert_true(again(s,
                      ask("a", "r3", TURN,
                          "\"what's the capital of france and how many people live there\"", 120),
                      "r2")); /* in other words */
    assert_false(again(s, ask("a", "r4", TURN, "\"Write a poem about the sea.\"", 130), ""));
    assert_false(again(s, ask("b", "r5", TURN, SAID, 140), ""));     /* another tenant */
    assert_false(again(s, ask("a", "r6", TURN "x", SAID, 140), "")); /* another conversation */
    assert_true(again(s, ask("a", "r7", TURN, SAID, 140), "r3")); /* the poem is not in its way */
    assert_false(again(s, ask("a", "r8", TURN, SAID, 142), ""));  /* ended at 142: not a sample */
    assert_false(again(s, ask("a", "r9", TURN, SAID, 142 + 700), "")); /* long after */
    outcome_signals_free(s);
}

static void what_cannot_be_told(void **state)
{
    struct outcome_signals *s = outcome_signals_new();
    (void)state;
    /* A first question: strangers ask the same. */
    const char *first = "{\"messages\":[{\"role\":\"user\",\"content\":";
    assert_false(again(s, ask("a", "r1", first, SAID, 100), ""));
    assert_false(again(s, ask("a", "r2", first, SAID, 110), ""));
    assert_false(again(s, ask("a", "r3", TURN, "", 100), ""));
    assert_false(again(s, ask("a", "r4", "", SAID, 110), ""));
    assert_false(again(s, ask("a", "r5", "", "", 110), ""));
    outcome_signals_free(s);
}

static void long_texts(void **state)
{
    struct outcome_print a, b;
    char text[20000], other[20000];
    (void)state;
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = (char)('a' + i * i % 23);
        other[i] = (char)('a' + (i * i * i + 7 * i) % 25);
    }
    outcome_print_make(&a, SLICE("t"), SLICE(TURN), slice_make(text, sizeof text));
    outcome_print_make(&b, SLICE("t"), SLICE(TURN), slice_make(text, sizeof text - 3));
    assert_true(outcome_print_likeness(&a, &b) > 0.9);
    outcome_print_make(&b, SLICE("t"), SLICE(TURN), slice_make(other, sizeof other));
    assert_true(outcome_print_likeness(&a, &b) < OUTCOME_LIKENESS);
    outcome_print_make(&b, SLICE("t"), SLICE(TURN), SLICE("x"));
    assert_true(outcome_print_likeness(&a, &b) < 0.1);
}

static void much_is_forgotten(void **state)
{
    struct outcome_signals *s = outcome_signals_new();
    char before[256], id[32];
    int found = 0;
    (void)state;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 20000; i++) {
            snprintf(before, sizeof before, TURN " %d", i);
            snprintf(id, sizeof id, "r%d", i);
            found += again(s, ask("a", id, before, SAID, 100 + 10 * round), id);
        }
    assert_true(found < 5000);
    outcome_signals_free(s);
}

static void silence(void **state)
{
    struct outcome_signals *s = outcome_signals_new();
    struct outcome_silence out;
    (void)state;
    assert_false(outcome_signals_due(s, 100, &out));
    outcome_signals_expect(s, SLICE("a"), SLICE("r1"), 50, 1000);
    outcome_signals_expect(s, SLICE("a"), SLICE("r2"), 60, 0);
    assert_false(outcome_signals_due(s, 49, &out));
    assert_true(outcome_signals_due(s, 55, &out));
    assert_true(slice_eq(out.request_id, SLICE("r1")));
    assert_int_equal(out.value_milli, 1000);
    assert_false(outcome_signals_due(s, 55, &out));
    assert_true(outcome_signals_due(s, 60, &out));
    assert_true(slice_eq(out.request_id, SLICE("r2")));
    for (int i = 0; i < 200010; i++)
        outcome_signals_expect(s, SLICE("a"), SLICE("x"), 70, 0);
    int left = 0;
    while (outcome_signals_due(s, 70, &out))
        left++;
    assert_int_equal(left, 200000);
    outcome_signals_expect(s, SLICE(""), SLICE(""), 70, 0);
    outcome_signals_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asked_again), cmocka_unit_test(what_cannot_be_told),
        cmocka_unit_test(long_texts),  cmocka_unit_test(much_is_forgotten),
        cmocka_unit_test(silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

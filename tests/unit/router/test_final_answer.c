/* What answers come to: read from their ends whatever way they took, and nothing made up. */
#include <cmocka.h>
#include <math.h>
#include <string.h>
#include "base/rng.h"
#include "router/final_answer.h"

#define LONG                                                                                       \
    "First the numbers are written down, and then they are put together as the question asks. "

static void kinds(void **state)
{
    static const struct {
        const char *text;
        enum final_answer_kind kind;
        char letter;
        double number;
        const char *words;
    } cases[] = {
        {"B", FINAL_LETTER, 'b', 0, NULL},
        {"(C)", FINAL_LETTER, 'c', 0, NULL},
        {"**D.** Because of the tide", FINAL_LETTER, 'd', 0, NULL},
        {"Option A", FINAL_LETTER, 'a', 0, NULL},
        {LONG "The correct answer is (B) Paris.", FINAL_LETTER, 'b', 0, NULL},
        {LONG "**Answer:** C) 7", FINAL_LETTER, 'c', 0, NULL},
        {"A dog", FINAL_TEXT, 0, 0, "A dog"},
        {"42", FINAL_NUMBER, 0, 42, NULL},
        {"-1,234.50 USD", FINAL_NUMBER, 0, -1234.5, NULL},
        {"$18", FINAL_NUMBER, 0, 18, NULL},
        {LONG "\n#### 72", FINAL_NUMBER, 0, 72, NULL},
        {LONG "#### 7 no: it is\n#### -72 ", FINAL_NUMBER, 0, -72, NULL},
        {LONG "Hence \\boxed{\\frac{1}{2}} as said.", FINAL_TEXT, 0, 0, "frac{1}{2"},
        {LONG "so $\\boxed{12}$, and not 13.", FINAL_NUMBER, 0, 12, NULL},
        {LONG "The answer is 5; 6 would be too many.", FINAL_NUMBER, 0, 5, NULL},
        {LONG "the answer is 5 because 2 and 3 make it", FINAL_NUMBER, 0, 5, NULL},
        {LONG "Final answer:\n\n  8 apples\n", FINAL_NUMBER, 0, 8, NULL},
        {LONG "\n\n9 cm\n", FINAL_NUMBER, 0, 9, NULL},
        {"05/01/2021", FINAL_TEXT, 0, 0, "05/01/2021"},
        {"3/4", FINAL_TEXT, 0, 0, "3/4"},
        {"GPT4", FINAL_TEXT, 0, 0, "GPT4"},
        {"*Paris*.", FINAL_TEXT, 0, 0, "Paris"},
        {LONG "The answer is Paris.", FINAL_TEXT, 0, 0, "Paris"},
        {LONG, FINAL_NONE, 0, 0, NULL},
        {LONG "\nHope this helps!", FINAL_NONE, 0, 0, NULL},
        {LONG "\n3. Serve hot.", FINAL_NONE, 0, 0, NULL},
        {LONG "The answer is " LONG, FINAL_NONE, 0, 0, NULL},
        {LONG "No answer", FINAL_NONE, 0, 0, NULL},
        {LONG "\\boxed{12", FINAL_NONE, 0, 0, NULL},
        {"", FINAL_NONE, 0, 0, NULL},
        {"   \n ", FINAL_TEXT, 0, 0, "   \n "},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct final_answer a = final_answer_find(slice_str(cases[i].text));

        if (a.kind != cases[i].kind || (a.kind == FINAL_LETTER && a.letter != cases[i].letter) ||
            (a.kind == FINAL_NUMBER && fabs(a.number - cases[i].number) > 0) ||
            (a.kind == FINAL_TEXT && !slice_eq(a.text, slice_str(cases[i].words))))
            fail_msg("\"%s\": kind %d, '%c', %g, \"%.*s\"", cases[i].text, (int)a.kind,
                     a.letter ? a.letter : ' ', a.number, SLICE_ARG(a.text));
    }
}

static void same(const char *x, const char *y, bool want)
{
    struct final_answer a = final_answer_find(slice_str(x)), b = final_answer_find(slice_str(y));

    if (final_answer_same(&a, &b) != want || final_answer_same(&b, &a) != want)
        fail_msg("\"%s\" and \"%s\"", x, y);
}

static void sameness(void **state)
{
    (void)state;
    same("B", LONG "The answer is: b", true);
    same("1,000", "1000.00", true);
    same("5", "-5", false);
    same("5", "E", false);
    same("Paris", "PARIS!", true);
    same("0", "0.0", true);
    same(LONG, LONG, false); /* nothing is not the same as nothing */
    same("999999999999999999999999999999999999999999", "999999999999999999999999999999999999999998",
         false);
}

static void likeness(void **state)
{
    (void)state;
    assert_true(final_answer_likeness(SLICE("a b c"), SLICE("C, B. A?")) == 1);
    assert_true(final_answer_likeness(SLICE("a b c d"), SLICE("c d e f")) == 2.0 / 6);
    assert_true(final_answer_likeness(SLICE("a a a b"), SLICE("a b b b")) == 1);
    assert_true(final_answer_likeness(SLICE("x"), SLICE("y")) == 0);
    assert_true(final_answer_likeness(SLICE(""), SLICE("... !")) == 0);
    assert_true(final_answer_likeness(SLICE("caf\xC3\xA9"), SLICE("caf")) == 0);
}

/* Only the end is read, however long the way there was. */
static void long_texts(void **state)
{
    static char text[FINAL_ANSWER_TAIL_BYTES + 200];
    struct final_answer a;

    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text, "the answer is 1\n", 16);
    assert_int_equal(final_answer_find(slice_make(text, sizeof text)).kind, FINAL_NONE);
    memcpy(text + sizeof text - 17, "\nthe answer is 2\n", 17);
    a = final_answer_find(slice_make(text, sizeof text));
    assert_true(a.kind == FINAL_NUMBER && fabs(a.number - 2) <= 0);
}

/* Bytes of any kind, cut anywhere: read without a word beyond them (under ASan), the same twice. */
static void hostile(void **state)
{
    static const char alphabet[] = "answer is:*#\\boxed{}()0123456789.,-$/ \n\t\xC3\xA9\0ABab";
    char bytes[96];
    struct rng r;

    (void)state;
    rng_seed(&r, 1);
    for (int i = 0; i < 20000; i++) {
        size_t n = (size_t)rng_below(&r, sizeof bytes + 1);
        for (size_t k = 0; k < n; k++)
            bytes[k] = alphabet[rng_below(&r, sizeof alphabet - 1)];
        if (n > 16 && i % 2)
            memcpy(bytes + rng_below(&r, n - 16),
                   i % 4 == 1 ? "the answer is -1" : "\\boxed{{1}-2/3} .", 16);
        struct final_answer a = final_answer_find(slice_make(bytes, n));
        struct final_answer b = final_answer_find(slice_make(bytes, n));
        assert_true(a.kind == b.kind);
        assert_int_equal(final_answer_same(&a, &b), a.kind != FINAL_NONE);
        assert_true(final_answer_likeness(slice_make(bytes, n), slice_make(bytes, n / 2)) <= 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds),      cmocka_unit_test(sameness), cmocka_unit_test(likeness),
        cmocka_unit_test(long_texts), cmocka_unit_test(hostile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

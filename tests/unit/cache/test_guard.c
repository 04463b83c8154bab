/* Each gate refuses what changes an answer and lets honest rewordings through. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include "cache/guard.h"

static struct guard_facts left, right;

static int refusal(const char *a, const char *b, unsigned mask)
{
    guard_read(slice_str(a), &left);
    guard_read(slice_str(b), &right);
    return guard_refuses(&left, &right, mask);
}

static const struct {
    int gate; /* -1: all of them let it pass */
    const char *a, *b;
} cases[] = {
    /* numbers */
    {GUARD_NUMBERS, "How far is 5 km?", "How far is 6 km?"},
    {GUARD_NUMBERS, "top 10 films", "top ten films of 2020"},
    {GUARD_NUMBERS, "one hundred and five apples", "one hundred and six apples"},
    {GUARD_NUMBERS, "pay 1,000 now", "pay 1,001 now"},
    {GUARD_NUMBERS, "1.5 cups of flour", "15 cups of flour"},
    {GUARD_NUMBERS, "twice as many apples", "three times as many apples"},
    {GUARD_NUMBERS, "World War II", "World War I and World War III"},
    {GUARD_NUMBERS, "my first car", "my second car"},
    {-1, "How far is 5 km in miles?", "What is five km in miles?"},
    {-1, "pay 1,000 dollars today", "pay $1000 today"},
    {-1, "twenty-five apples on the table", "25 apples on a table"},
    {-1, "two million people live there", "2,000,000 people live there"},
    {-1, "what is 2.5 million in words", "what is 2500000 in words"},
    {-1, "World War II tanks", "World War 2 tanks"},
    {-1, "which one of these phones is good", "which of these phones is good"},
    {-1, "my first trip to Rome", "a trip to Rome"},
    {-1, "a dozen eggs", "12 eggs"},
    {-1, "the 3rd chapter", "the third chapter"},
    /* units */
    {GUARD_UNITS, "convert 5 km", "convert 5 miles"},
    {GUARD_UNITS, "10mg of aspirin", "10 g of aspirin"},
    {GUARD_UNITS, "is $20 enough",
     "is \xe2\x82\xac"
     "20 enough"},
    {GUARD_UNITS, "call me at 5 pm", "call me at 5 am"},
    {-1, "10kg of rice", "10 kilograms of rice"},
    {-1, "a tip of 15%", "a tip of 15 percent"},
    /* dates */
    {GUARD_DATES, "weather on Monday", "weather on Tuesday"},
    {GUARD_DATES, "holidays in January", "holidays in February"},
    {GUARD_DATES, "sales last week", "sales last month"},
    {GUARD_DATES, "what happened last year", "what happens next year"},
    {GUARD_DATES, "flights today", "flights tomorrow"},
    {GUARD_DATES, "elections in May", "elections in March"},
    {-1, "may I smoke here", "am I allowed to smoke here"},
    {-1, "holidays in jan", "holidays in January"},
    /* negation */
    {GUARD_NEGATION, "is it safe to eat this", "is it not safe to eat this"},
    {GUARD_NEGATION, "why does my card work", "why doesn't my card work"},
    {GUARD_NEGATION, "why don\xe2\x80\x99t planes fall", "why do planes fall"},
    {GUARD_NEGATION, "How do I enable 2FA?", "How do I disable 2FA?"},
    {GUARD_NEGATION, "enabling dark mode", "disabling dark mode"},
    {GUARD_NEGATION, "how to increase blood pressure", "how to lower blood pressure"},
    {GUARD_NEGATION, "how can I lock my card", "how can I unlock my card"},
    {GUARD_NEGATION, "is this mushroom edible", "is this mushroom inedible"},
    {GUARD_NEGATION, "pasta with eggs", "pasta without eggs"},
    {-1, "I cannot open the door", "I can't open the door"},
    {-1, "should I go or not", "should I go"},
    {-1, "turn the light on and off", "switch the light on and off"},
    /* order */
    {GUARD_ORDER, "convert EUR to USD", "convert USD to EUR"},
    {GUARD_ORDER, "flights from Boston to Denver", "flights from Denver to Boston"},
    {GUARD_ORDER, "flights from Boston to Denver", "flights to Boston from Denver"},
    {GUARD_ORDER, "does the dog bite the man", "does the man bite the dog"},
    {GUARD_ORDER, "what to eat before training", "what to eat after training"},
    {-1, "difference between imply and infer", "difference between infer and imply"},
    {-1, "Java or Python", "Python or Java"},
    {-1, "flights from the city of Boston", "flights from Boston"},
    /* names */
    {GUARD_NAMES, "open config_a.yaml", "open config_b.yaml"},
    {GUARD_NAMES, "mail bo@example.org", "mail jo@example.org"},
    {GUARD_NAMES, "what does getElementById do", "what does getElementsByName do"},
    {GUARD_NAMES, "see https://a.example/x", "see https://b.example/x"},
    {-1, "how do I reset my iPhone", "how do I reset my Iphone"},
    {-1, "who is the U.S. president", "who is the US president"},
    /* overlap */
    {GUARD_OVERLAP, "who painted the Mona Lisa", "best pizza in town"},
    {GUARD_OVERLAP, "why?", "how?"},
    {-1, "I lost my card", "my cards are lost"},
};

static void each_gate_on_its_own_ground(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned mask = cases[i].gate < 0 ? GUARD_ALL : 1u << cases[i].gate;
        int ab = refusal(cases[i].a, cases[i].b, mask), ba = refusal(cases[i].b, cases[i].a, mask);
        if (ab != cases[i].gate || ba != cases[i].gate)
            fail_msg("\"%s\" and \"%s\": %s, turned round %s, expected %s", cases[i].a, cases[i].b,
                     ab < 0 ? "pass" : guard_name((enum guard)ab),
                     ba < 0 ? "pass" : guard_name((enum guard)ba),
                     cases[i].gate < 0 ? "pass" : guard_name((enum guard)cases[i].gate));
    }
}

static void a_gate_that_is_off_lets_pass(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (cases[i].gate >= 0)
            assert_int_not_equal(
                refusal(cases[i].a, cases[i].b, GUARD_ALL & ~(1u << cases[i].gate)), cases[i].gate);
    assert_int_equal(refusal("a 1", "b 2", 0), -1);
}

static void a_text_is_equal_to_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(refusal(cases[i].a, cases[i].a, GUARD_ALL & ~(1u << GUARD_OVERLAP)), -1);
}

/* Whatever the bytes, reading ends, stays in bounds (the sanitizers see to that) and is the same
 * each time. */
static void hostile_texts(void **state)
{
    (void)state;
    static char big[GUARD_MAX_BYTES + 2];
    static struct guard_facts again;
    static const char *const pieces[] = {"9",     "99,999,999",
                                         ".",     "a",
                                         "A",     "\xe2\x82\xac",
                                         "\xc2",  "\xff",
                                         "'",     "not ",
                                         "un",    "hundred ",
                                         "k",     "$",
                                         "@",     "_",
                                         "I",     "V ",
                                         "1e999", "\n",
                                         "-",     "\xe2\x80\x99",
                                         "t ",    "may ",
                                         "1/2",   "Next "};
    unsigned seed = 7;

    for (int round = 0; round < 3000; round++) {
        size_t n = 0, most = round % 10 ? 200 : GUARD_MAX_BYTES;
        while (n + 16 < most) {
            const char *p = pieces[((seed = seed * 1103515245u + 12345u) >> 16) % 26];
            size_t len = strlen(p);
            memcpy(big + n, p, len);
            n += len;
            if ((seed >> 8) % 7 == 0)
                break;
        }
        guard_read(slice_make(big, n), &left);
        guard_read(slice_make(big, n), &again);
        assert_memory_equal(&left, &again, sizeof left);
    }
    memset(big, 'x', sizeof big);
    guard_read(slice_make(big, GUARD_MAX_BYTES + 1), &left);
    assert_true(left.overflow);
    assert_int_not_equal(guard_refuses(&left, &left, GUARD_ALL), -1);
    memset(big, '7', sizeof big);
    guard_read(slice_make(big, GUARD_MAX_BYTES), &left);
    guard_read(SLICE(""), &right);
    assert_int_equal(guard_refuses(&left, &right, GUARD_ALL), GUARD_NUMBERS);
}

static void likeness(void **state)
{
    (void)state;
    struct guard_likeness like;

    guard_read(SLICE("How do I reset the password of Bob?"), &left);
    guard_read(SLICE("How do I reset the password of Bob?"), &right);
    guard_compare(&left, &right, &like);
    assert_true(like.jaccard == 1 && like.length == 1 && like.order == 1 && like.proper == 1 &&
                like.question == 1);
    guard_read(SLICE("When will the password of Alice and Carol expire?"), &right);
    guard_compare(&left, &right, &like);
    assert_true(like.jaccard > 0 && like.jaccard < 0.5f && like.proper == 0 && like.question == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gate_on_its_own_ground),
        cmocka_unit_test(a_gate_that_is_off_lets_pass),
        cmocka_unit_test(a_text_is_equal_to_itself),
        cmocka_unit_test(hostile_texts),
        cmocka_unit_test(likeness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

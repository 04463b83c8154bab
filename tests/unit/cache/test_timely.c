/* Questions whose answers age, and questions whose answers do not. */
#include <cmocka.h>
#include <stdio.h>
#include "cache/timely.h"

static const struct {
    enum timely expected;
    const char *text;
} cases[] = {
    {TIMELY_FAST, "What's the weather in Paris today?"},
    {TIMELY_FAST, "what is the AAPL stock price"},
    {TIMELY_FAST, "Is the library open right now"},
    {TIMELY_FAST, "give me the news headlines"},
    {TIMELY_SLOW, "Who is the current president of France?"},
    {TIMELY_SLOW, "What is the latest version of Python?"},
    {TIMELY_SLOW, "who has scored the most goals in the champions league"},
    {TIMELY_SLOW, "when was the last time Brazil won the world cup"},
    {TIMELY_SLOW, "What is the population of Lagos?"},
    {TIMELESS, "Who wrote Hamlet?"},
    {TIMELESS, "What does entropy mean?"},
    {TIMELESS, "Explain the proof of Fermat's last theorem"},
    {TIMELESS, "who was the president of France in 1995"},
    {TIMELESS, "Translate 'good morning' into German"},
    {TIMELESS, "who won the world series in 2016"},
    {TIMELESS, ""},
    {TIMELESS, "???"},
    {TIMELESS, "\xff\xfe\x80"},
};

static void questions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (timely_of(slice_str(cases[i].text)) != cases[i].expected)
            fail_msg("\"%s\" is called %d, not %d", cases[i].text,
                     (int)timely_of(slice_str(cases[i].text)), (int)cases[i].expected);
}

/* A long document with one such word in it is not a question about today. */
static void long_texts(void **state)
{
    (void)state;
    char text[4000] = "";
    size_t n = 0;

    for (int i = 0; i < 100; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "lorem ipsum dolor ");
    assert_int_equal(timely_of(slice_make(text, n)), TIMELESS);
    memcpy(text + 60, " latest ", 8);
    assert_int_equal(timely_of(slice_make(text, n)), TIMELESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

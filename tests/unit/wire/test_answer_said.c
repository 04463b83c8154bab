/* The words of kept answers, of every API and dialect. */
#include <cmocka.h>
#include <stdlib.h>
#include "backends/wire/answer_said.h"
#include "base/rng.h"

static const struct {
    enum wire_api api;
    enum wire_dialect server;
    const char *body, *said; /* NULL: it is no answer */
} cases[] = {
    {WIRE_CHAT, WIRE_OPENAI,
     "{\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
     "\"content\":\"It is \\u00e9t\\u00e9.\"},\"finish_reason\":\"stop\"}]}",
     "It is \xc3\xa9t\xc3\xa9."},
    {WIRE_CHAT, WIRE_OPENAI,
     "{\"id\":\"c\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,"
     "\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"look_up\","
     "\"arguments\":\"{\\\"q\\\":1}\"}}]},\"finish_reason\":\"tool_calls\"}]}",
     "look_up {\"q\":1}"},
    {WIRE_CHAT, WIRE_ANTHROPIC,
     "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":["
     "{\"type\":\"thinking\",\"thinking\":\"hm\",\"signature\":\"s\"},"
     "{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":\"two\"}],"
     "\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}",
     "one\ntwo"},
    {WIRE_COMPLETIONS, WIRE_OPENAI,
     "{\"choices\":[{\"text\":\"a \\\"b\\\"\",\"index\":0},{\"text\":\"c\",\"index\":1},7,{}]}",
     "a \"b\"\nc"},
    {WIRE_COMPLETIONS, WIRE_OPENAI, "{\"choices\":{}}", NULL},
    {WIRE_COMPLETIONS, WIRE_OPENAI, "{\"choices\":[]}", NULL},
    {WIRE_COMPLETIONS, WIRE_OPENAI, "{\"choices\":[{\"text\":\"a\"}", NULL},
    {WIRE_COMPLETIONS, WIRE_OPENAI, "", NULL},
    {WIRE_CHAT, WIRE_OPENAI, "", NULL},
    {WIRE_CHAT, WIRE_OPENAI, "{}", NULL},
    {WIRE_CHAT, WIRE_ANTHROPIC,
     "{\"type\":\"error\",\"error\":{\"type\":\"x\",\"message\":\"no\"}}", NULL},
    {WIRE_EMBEDDINGS, WIRE_OPENAI, "{\"data\":[{\"embedding\":[1]}]}", NULL},
};

static void what_is_said(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf out;
        buf_init(&out, 1000);
        enum err err = answer_said(cases[i].api, cases[i].server, slice_str(cases[i].body), &out);
        if ((err == ERR_OK) != (cases[i].said != NULL))
            fail_msg("%zu: %s", i, err_name(err));
        if (cases[i].said && !slice_eq(buf_slice(&out), slice_str(cases[i].said)))
            fail_msg("%zu: \"%.*s\"", i, SLICE_ARG(buf_slice(&out)));
        buf_clear(&out);
    }
}

/* Any beginning of an answer, and answers with a byte changed, in rooms of any size. */
static void torn_and_changed(void **state)
{
    struct rng r;

    (void)state;
    rng_seed(&r, 4);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].body);
        char *body = malloc(n + 1);
        assert_non_null(body);
        for (size_t k = 0; k <= n; k++) {
            struct buf out;
            memcpy(body, cases[i].body, n);
            buf_init(&out, rng_below(&r, 20));
            (void)!answer_said(cases[i].api, cases[i].server, slice_make(body, k), &out);
            if (k < n)
                body[k] = (char)rng_below(&r, 256);
            (void)!answer_said(cases[i].api, cases[i].server, slice_make(body, n), &out);
            buf_clear(&out);
        }
        free(body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_said),
                                       cmocka_unit_test(torn_and_changed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

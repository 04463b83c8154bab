/* What is known of an answer's tokens when its stream ends before the server has told them all: a
 * cut stream and a client that leaves are billed for what came. For each API of the client. */
#include <cmocka.h>
#include <stdlib.h>
#include "backends/wire/answer.h"

#define START(usage)                                                                               \
    "data: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"content\":[]" usage "}}\n\n"    \
    "data: {\"type\":\"content_block_start\",\"index\":0,"                                         \
    "\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n"
#define TOLD ",\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":3,\"output_tokens\":2}"
#define PIECE                                                                                      \
    "data: {\"type\":\"content_block_delta\",\"index\":0,"                                         \
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n"
#define FINISH(usage)                                                                              \
    "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n"                                      \
    "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}" usage "}\n\n"

#define THROUGHOUT(delta, n)                                                                       \
    "data: {\"choices\":[{\"index\":0,\"delta\":{" delta "}}],"                                    \
    "\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":" n "}}\n\n"

static const enum wire_api apis[] = {WIRE_MESSAGES, WIRE_CHAT, WIRE_RESPONSES};

struct expectation {
    const char *in;
    enum usage_source source; /* USAGE_NONE: nothing was told */
    int64_t input, output;
};

static void run(enum wire_dialect server, enum wire_api api, const struct expectation *want)
{
    struct answer a = {.mode = ANSWER_CLOSED};
    struct buf out;
    const struct token_usage *u;

    buf_init(&out, 1 << 20);
    answer_open(&a, &(struct answer_options){.api = api,
                                             .server = server,
                                             .n = 1,
                                             .request_id = SLICE("r"),
                                             .max_event_bytes = 4096,
                                             .max_answer_bytes = 4096});
    assert_int_equal(answer_feed(&a, slice_str(want->in), &out), ERR_OK);
    u = answer_usage(&a);
    if (want->source == USAGE_NONE) {
        assert_null(u);
    } else {
        assert_non_null(u);
        assert_int_equal(u->source, want->source);
        assert_int_equal(u->n[TOK_INPUT], want->input);
        assert_int_equal(u->n[TOK_OUTPUT], want->output);
    }
    answer_clear(&a);
    buf_clear(&out);
}

static void test_anthropic(void **state)
{
    static const struct expectation cases[] = {
        {START(TOLD), USAGE_PARTIAL, 25, 2},
        {START(TOLD) PIECE, USAGE_PARTIAL, 25, 2},
        {START(TOLD) PIECE PIECE PIECE, USAGE_PARTIAL, 25, 3},
        {START(TOLD) PIECE PIECE PIECE FINISH(",\"usage\":{\"output_tokens\":9}"), USAGE_REPORTED,
         25, 9},
        {START(TOLD) PIECE PIECE PIECE FINISH(""), USAGE_ESTIMATED, 25, 3},
        {START("") PIECE PIECE, USAGE_NONE, 0, 0},
        {START(",\"usage\":{\"input_tokens\":0,\"output_tokens\":0}") PIECE, USAGE_NONE, 0, 0},
        {START(",\"usage\":{\"input_tokens\":0,\"output_tokens\":0}")
             PIECE FINISH(",\"usage\":{\"input_tokens\":25,\"output_tokens\":9}"),
         USAGE_REPORTED, 25, 9},
        {START("") PIECE FINISH(""), USAGE_NONE, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t k = 0; k < sizeof(apis) / sizeof(apis[0]); k++)
            run(WIRE_ANTHROPIC, apis[k], &cases[i]);
}

/* Usage that came stands, also where nothing says that the stream is over. */
static void test_openai(void **state)
{
    static const struct expectation cases[] = {
        {"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n"
         "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
         "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":9}}\n\n",
         USAGE_REPORTED, 25, 9},
        {"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n", USAGE_NONE, 0, 0},
        /* in each chunk: what was told last, however the stream goes on */
        {THROUGHOUT("\"role\":\"assistant\",\"content\":\"\"", "0"), USAGE_REPORTED, 25, 0},
        {THROUGHOUT("\"role\":\"assistant\"", "0") THROUGHOUT("\"content\":\"x y z\"", "3"),
         USAGE_REPORTED, 25, 3},
        {THROUGHOUT("\"role\":\"assistant\"", "0") THROUGHOUT("\"content\":\"x y z\"", "3")
             THROUGHOUT("\"content\":\"\"},\"finish_reason\":\"stop\",\"logprobs\":{", "4"),
         USAGE_REPORTED, 25, 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t k = 0; k < sizeof(apis) / sizeof(apis[0]); k++)
            run(WIRE_OPENAI, apis[k], &cases[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anthropic),
        cmocka_unit_test(test_openai),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

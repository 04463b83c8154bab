/* Capabilities asked for and offered. */
#include <cmocka.h>
#include "router/needs.h"

static unsigned needs(enum wire_api api, const char *body)
{
    struct arena a;
    struct ask ask;
    const char *param;
    struct err_text why;
    unsigned n;

    arena_init(&a, 512);
    assert_int_equal(ask_scan(api, slice_str(body), &a, &ask, &param, &why), ERR_OK);
    n = needs_of(&ask);
    arena_clear(&a);
    return n;
}

#define CHAT(more) "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]" more "}"

static void test_needs(void **state)
{
    (void)state;
    assert_int_equal(needs(WIRE_CHAT, CHAT("")), CAP_CHAT);
    assert_int_equal(needs(WIRE_CHAT, CHAT(",\"tools\":[]")), CAP_CHAT);
    assert_int_equal(needs(WIRE_CHAT, CHAT(",\"tools\":[{\"type\":\"function\"}]")),
                     CAP_CHAT | CAP_TOOLS);
    assert_int_equal(needs(WIRE_CHAT, CHAT(",\"response_format\":{\"type\":\"text\"}")), CAP_CHAT);
    assert_int_equal(needs(WIRE_CHAT, CHAT(",\"response_format\":{\"type\":\"json_schema\"}")),
                     CAP_CHAT | CAP_STRUCTURED);
    assert_int_equal(needs(WIRE_CHAT, CHAT(",\"logprobs\":true")), CAP_CHAT | CAP_LOGPROBS);
    assert_int_equal(needs(WIRE_CHAT, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                                      "\"content\":[{\"type\":\"image_url\","
                                      "\"image_url\":{\"url\":\"data:,\"}}]}]}"),
                     CAP_CHAT | CAP_VISION);
    assert_int_equal(needs(WIRE_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"x\"}"), CAP_EMBEDDINGS);
}

static void test_filter(void **state)
{
    struct policy_model models[] = {{.name = "a", .capabilities = CAP_CHAT},
                                    {.name = "b", .capabilities = CAP_CHAT | CAP_TOOLS},
                                    {.name = "c", .capabilities = CAP_CHAT | CAP_VISION}};
    struct policy_step route_steps[] = {{.model = 0}, {.model = 1}, {.model = 2}};
    struct policy_route route = {.name = "r", .steps = route_steps, .step_count = 3};
    struct policy p = {.models = models, .model_count = 3};
    int steps[4];
    char text[64];

    (void)state;
    assert_int_equal(needs_filter(&p, &route, CAP_CHAT, steps, 4), 3);
    assert_int_equal(needs_filter(&p, &route, CAP_CHAT | CAP_TOOLS, steps, 4), 1);
    assert_int_equal(steps[0], 1);
    assert_int_equal(needs_filter(&p, &route, CAP_CHAT | CAP_AUDIO, steps, 4), 0);
    assert_string_equal(needs_missing(&p, &route, CAP_CHAT | CAP_AUDIO, text, sizeof text),
                        "audio input");
    assert_int_equal(needs_filter(&p, &route, CAP_CHAT | CAP_TOOLS | CAP_VISION, steps, 4), 0);
    assert_string_equal(needs_missing(&p, &route, CAP_TOOLS | CAP_VISION, text, sizeof text),
                        "tools and image input");
    assert_string_equal(needs_missing(&p, &route, CAP_TOOLS | CAP_VISION, text, 8),
                        "tools a"); /* cut, never over */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_needs), cmocka_unit_test(test_filter)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}

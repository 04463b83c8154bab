/* Asking the same again: what of a body changes and what does not, and how several choices are
 * read. */
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include "backends/wire/answer_samples.h"
#include "backends/wire/ask_samples.h"

/* ---- asking ---- */

static void written(const char *body, const char *server, double temperature, int64_t n,
                    const char *want)
{
    struct slice piece[2] = {slice_make(body, 1), slice_str(body + 1)}, got;
    struct ask_body b = {.pieces = piece, .count = 2, .total_bytes = strlen(body)};
    struct ask_target to = {.dialect = WIRE_OPENAI, .quirks = quirks_find(slice_str(server))};
    struct ask_samples how = {n, temperature};
    struct arena a;

    arena_init(&a, 256);
    if (!ask_samples_write(&b, &to, &how, &a, &got))
        got = SLICE("refused");
    if (!slice_eq(got, slice_str(want)))
        fail_msg("%s: %.*s", body, SLICE_ARG(got));
    arena_clear(&a);
}

static void bodies(void **state)
{
    (void)state;
    written("{\"model\":\"m\",\"messages\":[{\"n\":1,\"stream\":true}]}", "openai", -1, 1,
            "{\"model\":\"m\",\"messages\":[{\"n\":1,\"stream\":true}]}");
    written(" {\"stream\": true, \"stream_options\":{\"include_usage\":true} ,\"x\" : [1, 2],"
            "\"seed\":7,\"temperature\":0,\"n\":1,\"best_of\":2} ",
            "openai", 0.7, 4, "{\"x\" : [1, 2],\"n\":4,\"temperature\":0.7}");
    written("{\"random_seed\":7,\"temperature\":0.2}", "mistral", -1, 1, "{\"temperature\":0.2}");
    written("{\"random_seed\":7}", "openai", -1, 1, "{\"random_seed\":7}");
    written("{\"stream\":true}", "openai", 1, 1, "{\"temperature\":1}");
    written("{\"stream\":true}", "openai", -1, 2, "{\"n\":2}");
    written("{\"s\\u0065ed\":1}", "openai", -1, 1, "{}");
    written("[{}]", "openai", -1, 1, "refused");
    written("{\"a\":}", "openai", -1, 1, "refused");
}

static void greed(void **state)
{
    (void)state;
    assert_true(ask_samples_greedy(SLICE("{\"temperature\":0}")));
    assert_true(ask_samples_greedy(SLICE(" {\"x\":{},\"temperature\": 0.0 }")));
    assert_false(ask_samples_greedy(SLICE("{\"temperature\":0.1}")));
    assert_false(ask_samples_greedy(SLICE("{\"temperature\":null}")));
    assert_false(ask_samples_greedy(SLICE("{\"temperature\":\"0\"}")));
    assert_false(ask_samples_greedy(SLICE("{\"x\":{\"temperature\":0}}")));
}

static void servers(void **state)
{
    struct ask_target to = {.dialect = WIRE_OPENAI, .quirks = quirks_find(SLICE("openai"))};

    (void)state;
    assert_true(ask_samples_choices(&to, WIRE_CHAT));
    assert_true(ask_samples_choices(&to, WIRE_COMPLETIONS));
    to.quirks = quirks_find(SLICE("ollama"));
    assert_false(ask_samples_choices(&to, WIRE_CHAT));
    to.dialect = WIRE_ANTHROPIC;
    assert_false(ask_samples_choices(&to, WIRE_MESSAGES));
}

/* ---- reading ---- */

struct heard {
    int count;
    char text[256];
};

static void hear(void *ctx, const struct answer_signals *said)
{
    struct heard *h = ctx;
    struct slice t = answer_signals_text(said);

    h->count++;
    snprintf(h->text + strlen(h->text), sizeof h->text - strlen(h->text), "%.*s|", SLICE_ARG(t));
}

static enum err read_samples(enum wire_api api, enum wire_dialect server, const char *body,
                             struct heard *h, struct answer_samples *out)
{
    struct arena a;
    enum err e;

    *h = (struct heard){0};
    arena_init(&a, 256);
    e = answer_samples_read(api, server, slice_str(body), 64, &a, hear, h, out);
    arena_clear(&a);
    return e;
}

#define CHOICE(i, text)                                                                            \
    "{\"index\":" #i ",\"message\":{\"content\":\"" text "\"},\"finish_reason\":\"stop\"}"

static void answers(void **state)
{
    struct answer_samples out;
    struct heard h;

    (void)state;
    assert_int_equal(read_samples(WIRE_CHAT, WIRE_OPENAI,
                                  "{\"choices\":[" CHOICE(2, "c") "," CHOICE(0, "a") "," CHOICE(
                                      1, "b") "],\"usage\":{\"prompt_tokens\":3,"
                                              "\"completion_tokens\":6,\"total_tokens\":9}}",
                                  &h, &out),
                     ERR_OK);
    assert_string_equal(h.text, "a|c|b|");
    assert_int_equal(out.count, 3);
    assert_true(out.has_usage && out.usage.n[TOK_INPUT] == 3 && out.usage.n[TOK_OUTPUT] == 6);
    assert_int_equal(read_samples(WIRE_MESSAGES, WIRE_ANTHROPIC,
                                  "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":"
                                  "\"x\"}],\"stop_reason\":\"end_turn\",\"usage\":{"
                                  "\"input_tokens\":4,\"output_tokens\":5}}",
                                  &h, &out),
                     ERR_OK);
    assert_string_equal(h.text, "x|");
    assert_true(out.has_usage && out.usage.n[TOK_INPUT] == 4);
    assert_int_equal(read_samples(WIRE_COMPLETIONS, WIRE_OPENAI,
                                  "{\"choices\":[{\"index\":0,\"text\":\"t\",\"finish_reason\":"
                                  "\"stop\"}]}",
                                  &h, &out),
                     ERR_OK);
    assert_string_equal(h.text, "t|");
    assert_false(out.has_usage);
    assert_true(out.output_bytes > 0);
}

static void nonsense(void **state)
{
    static const char *const bodies_[] = {
        "",   "{",          "[]",
        "{}", "{\"x\":[]}", "{\"error\":{\"message\":\"no\",\"type\":\"server_error\"}}",
    };
    struct answer_samples out;
    struct heard h;

    (void)state;
    for (size_t i = 0; i < sizeof bodies_ / sizeof *bodies_; i++)
        for (int d = 0; d < WIRE_DIALECTS; d++) {
            enum wire_api api = d == WIRE_ANTHROPIC ? WIRE_MESSAGES : WIRE_CHAT;
            assert_int_not_equal(read_samples(api, (enum wire_dialect)d, bodies_[i], &h, &out),
                                 ERR_OK);
            assert_int_equal(h.count, 0);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),  cmocka_unit_test(greed),    cmocka_unit_test(servers),
        cmocka_unit_test(answers), cmocka_unit_test(nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

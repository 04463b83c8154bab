/* The neutral chat: where things stood, what they are estimated at, which member a refusal names;
 * tool-call ids there and back; the table of servers. Whole requests are in test_chat_golden. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/wire/chat_run.h"

#define USER "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]"
#define O    "{\"model\":\"m\"," USER ","
#define A    "{\"model\":\"m\",\"max_tokens\":9," USER ","
#define R    "{\"model\":\"m\",\"input\":\"x\","
/* Not closed: more members may follow. */
#define EFFORT     O "\"reasoning_effort\":\"low\",\"max_tokens\":8000"
#define TOOL(name) "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}]"
#define CALL_OF(name)                                                                              \
    "{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\",\"function\":{"   \
    "\"name\":\"" name "\"}}]}"
#define N64 "abcdefghijklmnopqrstuvwxyz_0123456789-abcdefghijklmnopqrstuvwxyz"

/* ---- refusals name the member ---- */

static const struct {
    enum chat_dialect from;
    int target; /* -1: the parser refuses */
    const char *param, *body;
} refusals[] = {
    /* what is missing or of the wrong type */
    {CHAT_OPENAI, -1, "model", "{" USER "}"},
    {CHAT_OPENAI, -1, "model", "{\"model\":null," USER "}"},
    {CHAT_OPENAI, -1, "model", "{\"model\":\"\"," USER "}"},
    {CHAT_OPENAI, -1, "messages", "{\"model\":\"m\"}"},
    {CHAT_OPENAI, -1, "messages", "{\"model\":\"m\",\"messages\":[]}"},
    {CHAT_OPENAI, -1, "messages[0]", "{\"model\":\"m\",\"messages\":[1]}"},
    {CHAT_OPENAI, -1, "messages[1].role",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\"},{\"role\":\"bot\"}]}"},
    {CHAT_OPENAI, -1, "messages[0].content",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\"}]}"},
    {CHAT_OPENAI, -1, "messages[0].content[1].text",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
     "\"\"},{\"type\":\"text\"}]}]}"},
    {CHAT_OPENAI, -1, "messages[0].tool_calls[0].function.name",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\","
     "\"function\":{}}]}]}"},
    {CHAT_OPENAI, -1, "max_completion_tokens", O "\"max_completion_tokens\":1.5}"},
    {CHAT_OPENAI, -1, "max_tokens", O "\"max_tokens\":0}"},
    {CHAT_OPENAI, -1, "n", O "\"n\":0}"},
    {CHAT_OPENAI, -1, "temperature", O "\"temperature\":\"hot\"}"},
    {CHAT_OPENAI, -1, "stop", O "\"stop\":[1]}"},
    {CHAT_OPENAI, -1, "tools[0].function.parameters",
     O "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":[]}}]}"},
    {CHAT_OPENAI, -1, "stream_options.include_usage",
     O "\"stream_options\":{\"include_usage\":1}}"},
    {CHAT_ANTHROPIC, -1, "max_tokens", "{\"model\":\"m\"," USER "}"},
    {CHAT_ANTHROPIC, -1, "messages.0.role",
     "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"tool\",\"content\":\"\"}]}"},
    {CHAT_ANTHROPIC, -1, "messages.0.content.0.source.data",
     "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/png\"}}]}]}"},
    {CHAT_ANTHROPIC, -1, "messages.0.content.0.input",
     "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"assistant\",\"content\":[{"
     "\"type\":\"tool_use\",\"id\":\"a\",\"name\":\"f\",\"input\":\"{}\"}]}]}"},
    {CHAT_ANTHROPIC, -1, "thinking.budget_tokens", A "\"thinking\":{\"type\":\"enabled\"}}"},
    {CHAT_ANTHROPIC, -1, "system.0.text", A "\"system\":[{\"type\":\"text\"}]}"},
    {CHAT_ANTHROPIC, -1, "tool_choice.name", A "\"tool_choice\":{\"type\":\"tool\"}}"},
    {CHAT_RESPONSES, -1, "input", "{\"model\":\"m\"}"},
    {CHAT_RESPONSES, -1, "input[0].call_id",
     "{\"model\":\"m\",\"input\":[{\"type\":\"function_call\"}]}"},
    {CHAT_RESPONSES, -1, "input[0].content[0].type",
     "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":[{}]}]}"},
    {CHAT_RESPONSES, -1, "text.format.schema",
     R "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"a\"}}}"},
    /* what the target cannot say */
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "n", O "\"n\":2}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "seed", O "\"seed\":0}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "logprobs", O "\"logprobs\":true}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "logit_bias", O "\"logit_bias\":{\"1\":1}}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "presence_penalty", O "\"presence_penalty\":1e-3}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "store", O "\"store\":true}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "service_tier", O "\"service_tier\":\"flex\"}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "modalities", O "\"modalities\":[\"text\",\"audio\"]}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "functions", O "\"functions\":[]}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "web_search_options", O "\"web_search_options\":{}}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "tool_choice", O "\"tool_choice\":\"sometimes\"}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "reasoning_effort", O "\"reasoning_effort\":\"turbo\"}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "response_format.json_schema.description",
     O "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"a\","
       "\"description\":\"d\",\"schema\":{}}}}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "messages[0].content[0].image_url.shape",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
     "\"image_url\":{\"url\":\"http://a/b\",\"shape\":1}}]}]}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "messages[0].content[0]",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
     "\"image_url\":{\"url\":\"data:text/plain,hello\"}}]}]}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "messages",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"only\"}]}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "messages[0].content[0].type",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"video\"}]}]}"},
    {CHAT_ANTHROPIC, QUIRK_VLLM, "container", A "\"container\":\"c\"}"},
    {CHAT_ANTHROPIC, QUIRK_VLLM, "context_management",
     A "\"context_management\":{\"edits\":[{\"type\":\"clear_tool_uses_20250919\"}]}}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "stop_sequences",
     A "\"stop_sequences\":[\"1\",\"2\",\"3\",\"4\",\"5\"]}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "top_k", A "\"top_k\":1}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "service_tier", A "\"service_tier\":\"standard_only\"}"},
    {CHAT_ANTHROPIC, QUIRK_SGLANG, "tool_choice.disable_parallel_tool_use",
     A "\"tools\":[{\"name\":\"f\",\"input_schema\":{}}],\"tool_choice\":{\"type\":\"auto\","
       "\"disable_parallel_tool_use\":true}}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "tools.0.name",
     A "\"tools\":[{\"name\":"
       "\"mcp__a_server_with_a_long_name__and_a_tool_with_a_longer_name_still_x\","
       "\"input_schema\":{}}]}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "tools.0.cache",
     A "\"tools\":[{\"name\":\"f\",\"input_schema\":{},\"cache\":1}]}"},
    /* blocks of server tools give some members values of other types */
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "messages.0.content.0.type",
     "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"search_result\",\"source\":\"u\",\"title\":\"t\",\"content\":[]}]}]}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "messages.0.content.0.type",
     "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"assistant\",\"content\":[{"
     "\"type\":"
     "\"code_execution_tool_result\",\"tool_use_id\":\"s\",\"content\":{\"type\":\"x\"}}]}]}"},
    {CHAT_ANTHROPIC, -1, "messages.0.content.0.source",
     "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"image\",\"source\":\"u\"}]}]}"},
    {CHAT_ANTHROPIC, -1, "messages.0.content.0.content",
     "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"tool_result\",\"tool_use_id\":\"s\",\"content\":{}}]}]}"},
    {CHAT_RESPONSES, QUIRK_OPENAI, "include", R "\"include\":[\"file_search_call.results\"]}"},
    {CHAT_RESPONSES, QUIRK_OPENAI, "truncation", R "\"truncation\":\"auto\"}"},
    {CHAT_RESPONSES, QUIRK_OPENAI, "background", R "\"background\":true}"},
    {CHAT_RESPONSES, QUIRK_OPENAI, "conversation", R "\"conversation\":\"c\"}"},
    {CHAT_RESPONSES, QUIRK_OPENAI, "max_tool_calls", R "\"max_tool_calls\":3}"},
    {CHAT_RESPONSES, CHAT_RUN_BUDGET, "top_logprobs", R "\"top_logprobs\":3}"},
    {CHAT_RESPONSES, CHAT_RUN_BUDGET, "text.verbosity", R "\"text\":{\"verbosity\":\"high\"}}"},
    {CHAT_RESPONSES, QUIRK_OPENAI, "input[0].type",
     "{\"model\":\"m\",\"input\":[{\"type\":\"item_reference\",\"id\":\"a\"}]}"},
    {CHAT_RESPONSES, CHAT_RUN_BUDGET, "input[0].arguments",
     "{\"model\":\"m\",\"input\":[{\"type\":\"function_call\",\"call_id\":\"a\",\"name\":\"f\","
     "\"arguments\":\"[1]\"}]}"},
    /* beside thinking, by a budget or by the model's judgement */
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "temperature", EFFORT ",\"temperature\":0.7}"},
    {CHAT_OPENAI, CHAT_RUN_ADAPTIVE, "temperature", EFFORT ",\"temperature\":0}"},
    {CHAT_RESPONSES, CHAT_RUN_BUDGET, "temperature",
     R "\"reasoning\":{\"effort\":\"low\"},\"temperature\":0.7}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "top_p", EFFORT ",\"top_p\":0.949}"},
    {CHAT_OPENAI, CHAT_RUN_ADAPTIVE, "top_p", EFFORT ",\"top_p\":0.1}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "top_k", EFFORT ",\"top_k\":5}"},
    {CHAT_OPENAI, CHAT_RUN_ADAPTIVE, "top_k", EFFORT ",\"top_k\":5}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "tool_choice",
     EFFORT "," TOOL("f") ",\"tool_choice\":\"required\"}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "tool_choice",
     EFFORT
     "," TOOL("f") ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}}"},
    /* names of tools */
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "tools[0].function.name", EFFORT "," TOOL("srv.get") "}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "tools[0].function.name", EFFORT "," TOOL("") "}"},
    {CHAT_OPENAI, CHAT_RUN_ADAPTIVE, "tools[0].function.name", EFFORT "," TOOL(N64 N64 "x") "}"},
    {CHAT_RESPONSES, CHAT_RUN_BUDGET, "tools[0].name",
     R "\"tools\":[{\"type\":\"function\",\"name\":\"a b\"}]}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "tools.0.name",
     A "\"tools\":[{\"name\":\"srv/get\",\"input_schema\":{}}]}"},
    {CHAT_ANTHROPIC, QUIRK_MISTRAL, "tools.0.name",
     A "\"tools\":[{\"name\":\"\\u00e4\",\"input_schema\":{}}]}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "messages[0].tool_calls[0].function.name",
     "{\"model\":\"m\",\"messages\":[" CALL_OF("a.b") "]}"},
    /* calls and results */
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "messages[0].tool_calls[0].id",
     "{\"model\":\"m\",\"messages\":[" CALL_OF("f") "]}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, "messages[0].tool_call_id",
     "{\"model\":\"m\",\"messages\":[{\"role\":\"tool\",\"tool_call_id\":\"c\",\"content\":\"x\"}]"
     "}"},
    {CHAT_ANTHROPIC, QUIRK_OPENAI, "messages.0.content.0.tool_use_id",
     "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
     "\"tool_result\",\"tool_use_id\":\"s\"}]}]}"},
    {CHAT_ANTHROPIC, QUIRK_DEEPSEEK, "messages.0.content.0.id",
     "{\"model\":\"m\",\"max_tokens\":9,\"messages\":[{\"role\":\"assistant\",\"content\":[{"
     "\"type\":\"tool_use\",\"id\":\"s\",\"name\":\"f\",\"input\":{}}]},{\"role\":\"user\","
     "\"content\":\"x\"}]}"},
    {CHAT_RESPONSES, CHAT_RUN_BUDGET, "input[0].call_id",
     "{\"model\":\"m\",\"input\":[{\"type\":\"function_call_output\",\"call_id\":\"a\","
     "\"output\":\"x\"}]}"},
};

static void test_refusals(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct chat_run r;
        struct err_text t = {""};
        const char *param = NULL;
        enum err err;
        chat_run_parse(&r, refusals[i].from, slice_str(refusals[i].body));
        err = r.err;
        if (refusals[i].target < 0) {
            param = r.param;
            t = r.text;
        } else {
            assert_int_equal(err, ERR_OK);
            err = chat_run_write(&r, refusals[i].target, &out, &param, &t);
        }
        if (!param || strcmp(param, refusals[i].param) != 0)
            print_error("%s\n  %s, %s: %s\n", refusals[i].body, err_name(err), param ? param : "-",
                        t.s);
        assert_int_equal(err, refusals[i].target < 0 ? ERR_BAD_REQUEST : ERR_UNTRANSLATABLE);
        assert_non_null(param);
        assert_string_equal(param, refusals[i].param);
        assert_true(t.s[0] != 0);
        chat_run_clear(&r);
    }
    buf_clear(&out);
}

/* What stands beside the refused and is taken. */
static const struct {
    enum chat_dialect from;
    int target;
    const char *body;
} taken[] = {
    {CHAT_OPENAI, CHAT_RUN_BUDGET, EFFORT ",\"temperature\":1.0,\"top_p\":0.95}"},
    {CHAT_OPENAI, CHAT_RUN_ADAPTIVE, EFFORT ",\"temperature\":1,\"top_p\":1}"},
    {CHAT_OPENAI, CHAT_RUN_ADAPTIVE, EFFORT "," TOOL("f") ",\"tool_choice\":\"required\"}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, EFFORT "," TOOL("f") ",\"tool_choice\":\"auto\"}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET,
     O "\"reasoning_effort\":\"none\",\"temperature\":0.2,\"top_p\":0.1,\"top_k\":5}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, EFFORT "," TOOL(N64 N64) "}"},
    {CHAT_OPENAI, CHAT_RUN_BUDGET, EFFORT "," TOOL("weir_get") "}"},
    {CHAT_OPENAI, QUIRK_VLLM, EFFORT "," TOOL("srv.get") "}"},
    {CHAT_OPENAI, QUIRK_LLAMA_CPP, "{\"model\":\"m\",\"messages\":[" CALL_OF("f") "]}"},
};

static void test_taken(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        struct chat_run r;
        struct err_text t = {""};
        const char *param = NULL;
        chat_run_parse(&r, taken[i].from, slice_str(taken[i].body));
        assert_int_equal(r.err, ERR_OK);
        if (chat_run_write(&r, taken[i].target, &out, &param, &t))
            fail_msg("%s\n  %s: %s", taken[i].body, param, t.s);
        chat_run_clear(&r);
    }
    buf_clear(&out);
}

/* ---- what may be left out is ---- */

static const struct {
    enum chat_dialect from;
    int target;
    const char *body;
} passes[] = {
    {CHAT_OPENAI, CHAT_RUN_BUDGET,
     O "\"user\":\"u\",\"metadata\":{},\"store\":false,\"service_tier\":\"default\",\"n\":1,"
       "\"prompt_cache_key\":\"k\",\"prediction\":{},\"safety_identifier\":\"s\",\"seed\":null,"
       "\"logprobs\":false,\"logit_bias\":{},\"frequency_penalty\":0e5,\"verbosity\":\"medium\","
       "\"functions\":null,\"tool_choice\":\"none\",\"response_format\":{\"type\":\"text\"}}"},
    {CHAT_ANTHROPIC, QUIRK_LLAMA_CPP,
     A "\"metadata\":{\"user_id\":\"u\"},\"service_tier\":\"auto\",\"thinking\":{\"type\":"
       "\"enabled\",\"budget_tokens\":5},\"context_management\":{\"edits\":[{\"type\":"
       "\"clear_thinking_20251015\"}]},\"container\":null}"},
    {CHAT_RESPONSES, CHAT_RUN_BUDGET,
     R "\"include\":[\"reasoning.encrypted_content\"],\"background\":false,\"user\":\"u\","
       "\"truncation\":\"disabled\",\"store\":true,\"metadata\":{},\"prompt_cache_retention\":"
       "\"24h\",\"reasoning\":{\"effort\":\"none\",\"summary\":\"auto\"},\"stream_options\":{"
       "\"include_obfuscation\":false},\"top_logprobs\":0}"},
};

static void test_passes(void **state)
{
    static const char *const gone[] = {"metadata", "user_id", "store",    "include",  "seed",
                                       "tier",     "cache",   "thinking", "verbosity"};
    struct buf out;

    (void)state;
    buf_init(&out, 1 << 20);
    for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
        struct chat_run r;
        struct err_text t;
        const char *param;
        chat_run_parse(&r, passes[i].from, slice_str(passes[i].body));
        assert_int_equal(r.err, ERR_OK);
        if (chat_run_write(&r, passes[i].target, &out, &param, &t))
            print_error("%s\n", t.s);
        assert_int_equal(chat_run_write(&r, passes[i].target, &out, &param, &t), ERR_OK);
        /* left out, not renamed: none of these names appears anywhere */
        for (size_t k = 0; k < sizeof(gone) / sizeof(gone[0]); k++)
            assert_null(memmem(out.data, buf_len(&out), gone[k], strlen(gone[k])));
        chat_run_clear(&r);
    }
    buf_clear(&out);
}

/* ---- estimate ---- */

static int64_t estimate(enum chat_dialect from, const char *body)
{
    struct chat_run r;
    int64_t tokens;

    chat_run_parse(&r, from, slice_str(body));
    assert_int_equal(r.err, ERR_OK);
    tokens = chat_estimate_tokens(&r.chat);
    chat_run_clear(&r);
    return tokens;
}

static void test_estimate(void **state)
{
    (void)state;
    assert_int_equal(estimate(CHAT_OPENAI, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                                           "\"content\":\"12345678\"}]}"),
                     4 + 2);
    /* escapes count as what they mean */
    assert_int_equal(estimate(CHAT_OPENAI, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\","
                                           "\"content\":\"\\u0041\\u0042\\u0043\\u0044\"}]}"),
                     4 + 1);
    assert_int_equal(estimate(CHAT_ANTHROPIC,
                              "{\"model\":\"m\",\"max_tokens\":1,\"system\":\"1234\",\"messages\""
                              ":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":"
                              "{\"type\":\"url\",\"url\":\"http://a\"}}]}],\"tools\":[{\"name\":"
                              "\"name\",\"input_schema\":{\"type\":1}}]}"),
                     4 + 1 + 4 + 1600 + 4 + (4 + 10 + 4 + 3) / 4 - 1);
}

/* count_tokens has no max_tokens. */
static void test_count_call(void **state)
{
    struct arena a;
    struct chat c;
    struct err_text t;
    const char *param;

    (void)state;
    arena_init(&a, 1024);
    assert_int_equal(anthropic_chat_parse(ANTHROPIC_COUNT_TOKENS,
                                          SLICE("{\"model\":\"m\"," USER "}"), &a, &c, &param, &t),
                     ERR_OK);
    assert_false(chat_given(c.max_tokens));
    arena_clear(&a);
}

/* ---- the model itself ---- */

static void test_borrows(void **state)
{
    struct chat_run r;
    const struct chat_part *p;

    (void)state;
    chat_run_parse(&r, CHAT_OPENAI,
                   SLICE("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                         "\"text\",\"text\":\"plain\"},{\"type\":\"text\",\"text\":\"\\ud83d\\ude00"
                         "\\ud800\"},{\"type\":\"image_url\",\"image_url\":{\"url\":"
                         "\"DATA:image/png;charset=x;BASE64,QUJD\"}}]}],\"temperature\":1.50}"));
    assert_int_equal(r.err, ERR_OK);
    p = r.chat.messages->parts;
    assert_true(slice_eq(p->text, SLICE("plain")));
    assert_true(p->text.p > r.body && p->text.p < r.body + 400); /* not copied */
    p = p->next;
    assert_true(slice_eq(p->text, SLICE("\xF0\x9F\x98\x80\xEF\xBF\xBD")));
    p = p->next;
    assert_true(slice_eq(p->media_type, SLICE("image/png")));
    assert_true(slice_eq(p->data, SLICE("QUJD")));
    assert_false(chat_given(p->url));
    assert_true(slice_eq(r.chat.temperature, SLICE("1.50")));
    assert_false(chat_given(r.chat.top_p));
    chat_run_clear(&r);
}

/* The last of equal names wins, as everywhere. */
static void test_doubles(void **state)
{
    struct chat_run r;

    (void)state;
    chat_run_parse(&r, CHAT_OPENAI,
                   SLICE("{\"model\":\"a\",\"model\":\"b\",\"temperature\":1,\"temperature\":null,"
                         "\"messages\":[{\"role\":\"user\",\"content\":[],\"content\":\"x\"}]}"));
    assert_int_equal(r.err, ERR_OK);
    assert_true(slice_eq(r.chat.model, SLICE("b")));
    assert_false(chat_given(r.chat.temperature));
    assert_true(slice_eq(r.chat.messages->parts->text, SLICE("x")));
    chat_run_clear(&r);
}

/* ---- tool-call ids ---- */

static const struct tool_id_rule narrow = {.min_bytes = 1, .max_bytes = 64};
static const struct tool_id_rule nine = {.min_bytes = 9, .max_bytes = 9, .only_alnum = true};

static void test_tool_ids(void **state)
{
    static const char *const same[] = {"call_1", "toolu_01A-b", "x"};
    static const char *const other[] = {"functions.f:0", "", "a b", "weir_abc", "\xC3\xA9", "a\n"};
    struct arena a;

    (void)state;
    arena_init(&a, 1024);
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++)
        assert_true(slice_eq(tool_id_map(&narrow, slice_str(same[i]), &a), slice_str(same[i])));
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        struct slice id = slice_str(other[i]), mapped = tool_id_map(&narrow, id, &a);
        assert_false(slice_eq(mapped, id));
        assert_true(mapped.n >= 1 && mapped.n <= 64);
        for (size_t k = 0; k < mapped.n; k++)
            assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                   "0123456789_-",
                                   mapped.p[k]));
        for (size_t k = 0; k < i; k++)
            assert_false(slice_eq(tool_id_map(&narrow, slice_str(other[k]), &a), mapped));
        assert_true(slice_eq(tool_id_map(&narrow, id, &a), mapped)); /* stable */
    }
    arena_clear(&a);
}

static int compare_ids(const void *x, const void *y)
{
    return strcmp(*(char *const *)x, *(char *const *)y);
}

/* Mistral's nine letters: of 20,000 ids no two became one. */
static void test_nine_letters(void **state)
{
    enum { IDS = 20000 };
    static char *all[IDS];
    struct arena a;

    (void)state;
    arena_init(&a, 65536);
    for (int i = 0; i < IDS; i++) {
        struct slice mapped = tool_id_map(&nine, slice_str(arena_printf(&a, "call_%08d", i)), &a);
        assert_int_equal(mapped.n, 9);
        for (size_t k = 0; k < 9; k++)
            assert_true(mapped.p[k] != '_' && mapped.p[k] != '-');
        all[i] = arena_strdup(&a, mapped);
    }
    qsort(all, IDS, sizeof(all[0]), compare_ids);
    for (int i = 1; i < IDS; i++)
        assert_string_not_equal(all[i - 1], all[i]);
    assert_true(slice_eq(tool_id_map(&nine, SLICE("abcDEF123"), &a), SLICE("abcDEF123")));
    arena_clear(&a);
}

/* Too long to be turned back: a digest that still fits. */
static void test_long_ids(void **state)
{
    struct tool_id_rule any = {.min_bytes = 1, .max_bytes = 64, .any = true};
    char one[201], two[201];
    struct arena a;

    (void)state;
    arena_init(&a, 1024);
    memset(one, 'a', 200);
    memcpy(two, one, 200);
    two[199] = 'b';
    one[200] = two[200] = 0;
    struct slice x = tool_id_map(&any, slice_str(one), &a),
                 y = tool_id_map(&any, slice_str(two), &a);
    assert_true(x.n >= 9 && x.n <= 64 && y.n <= 64 && !slice_eq(x, y));
    x = tool_id_map(&narrow, slice_str(one), &a);
    assert_true(x.n >= 9 && x.n <= 64);
    arena_clear(&a);
}

/* ---- servers ---- */

static void test_quirks(void **state)
{
    (void)state;
    for (int i = 0; i < QUIRK_SERVERS; i++) {
        const struct quirks *q = quirks_get((enum quirk_server)i);
        assert_non_null(q->name);
        assert_non_null(q->max_tokens_key);
        assert_true(q->tool_id.min_bytes >= 1 && q->tool_id.max_bytes >= q->tool_id.min_bytes);
        assert_ptr_equal(quirks_find(slice_str(q->name)), q);
        assert_null(q->effort[CHAT_EFFORT_UNSET]);
    }
    assert_null(quirks_find(SLICE("vllm2")));
    assert_null(quirks_find(SLICE("")));
    assert_string_equal(quirks_get(QUIRK_MISTRAL)->seed_key, "random_seed");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_taken),
        cmocka_unit_test(test_passes),       cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_count_call),   cmocka_unit_test(test_borrows),
        cmocka_unit_test(test_doubles),      cmocka_unit_test(test_tool_ids),
        cmocka_unit_test(test_nine_letters), cmocka_unit_test(test_long_ids),
        cmocka_unit_test(test_quirks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Whole replies, usage objects, and errors: what an upstream's mean and what a client reads. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/openai_reply.h"
#include "backends/wire/openai_usage.h"

/* ---- usage ---- */

#define NONE                                                                                       \
    {                                                                                              \
        -1, -1, -1, -1, -1                                                                         \
    }

static const struct {
    const char *json;
    int64_t want[TOK_KINDS]; /* input, cached, cache write, output, reasoning */
} usages[] = {
    {"{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}", {10, 0, 0, 5, 0}},
    {"{\"prompt_tokens\":0,\"completion_tokens\":0}", {0, 0, 0, 0, 0}},
    {"{\"prompt_tokens\":7,\"total_tokens\":7}", {7, 0, 0, 0, 0}}, /* embeddings */
    {"{\"completion_tokens\":5}", {0, 0, 0, 5, 0}},
    {"{\"prompt_tokens\":7,\"completion_tokens\":null}", {7, 0, 0, 0, 0}},
    {"{\"prompt_tokens\":7,\"completion_tokens\":2,\"prompt_tokens_details\":null,\"completion_"
     "tokens_details\":null}",
     {7, 0, 0, 2, 0}},
    /* kinds are disjoint */
    {"{\"prompt_tokens\":100,\"completion_tokens\":50,\"total_tokens\":150,\"prompt_tokens_"
     "details\":{\"cached_tokens\":60},"
     "\"completion_tokens_details\":{\"reasoning_tokens\":20}}",
     {40, 60, 0, 30, 20}},
    {"{\"prompt_tokens\":100,\"completion_tokens\":50,\"prompt_cache_hit_tokens\":64,\"prompt_"
     "cache_miss_tokens\":36}",
     {36, 64, 0, 50, 0}},
    {"{\"prompt_cache_hit_tokens\":64,\"prompt_tokens\":100,\"completion_tokens\":50,\"prompt_"
     "tokens_details\":{\"cached_tokens\":64}}",
     {36, 64, 0, 50, 0}},
    {"{\"prompt_tokens\":100,\"completion_tokens\":5,\"cache_creation_input_tokens\":30,\"cache_"
     "read_input_tokens\":50}",
     {20, 50, 30, 5, 0}},
    {"{\"prompt_tokens\":100,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":"
     "50,\"cache_write_tokens\":30}}",
     {20, 50, 30, 5, 0}},
    /* parts larger than their whole are clamped */
    {"{\"prompt_tokens\":10,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":"
     "60}}",
     {0, 10, 0, 5, 0}},
    {"{\"prompt_tokens\":10,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":6}"
     ",\"cache_creation_input_tokens\":9}",
     {0, 6, 4, 5, 0}},
    {"{\"prompt_tokens\":10,\"completion_tokens\":5,\"completion_tokens_details\":{\"reasoning_"
     "tokens\":20}}",
     {10, 0, 0, 0, 5}},
    /* what the total has beyond prompt and completion */
    {"{\"prompt_tokens\":37,\"completion_tokens\":530,\"total_tokens\":800,\"completion_tokens_"
     "details\":{\"reasoning_tokens\":233}}",
     {37, 0, 0, 530, 233}},
    {"{\"prompt_tokens\":8,\"completion_tokens\":3,\"total_tokens\":94}", {8, 0, 0, 3, 83}},
    {"{\"prompt_tokens\":8,\"completion_tokens\":3,\"total_tokens\":61,\"cache_read_input_tokens\":"
     "50}",
     {8, 50, 0, 3, 0}},
    {"{\"prompt_tokens\":8,\"completion_tokens\":3,\"total_tokens\":94,\"completion_tokens_"
     "details\":{\"reasoning_tokens\":2}}",
     {8, 0, 0, 1, 2}},
    {"{\"prompt_tokens\":8,\"completion_tokens\":3,\"total_tokens\":1}", {8, 0, 0, 3, 0}},
    /* duplicates: the last */
    {"{\"prompt_tokens\":1,\"prompt_tokens\":2,\"completion_tokens\":3}", {2, 0, 0, 3, 0}},
    {"{\"prompt\\u005ftokens\":4,\"completion_tokens\":3}", {4, 0, 0, 3, 0}},
    {"{\"prompt_tokens\":1000000000000,\"completion_tokens\":1}",
     {INT64_C(1000000000000), 0, 0, 1, 0}},
    /* nonsense is no report; nonsense in a part is that part's only */
    {"{\"prompt_tokens\":-1,\"completion_tokens\":5}", NONE},
    {"{\"prompt_tokens\":1000000000001,\"completion_tokens\":5}", NONE},
    {"{\"prompt_tokens\":99999999999999999999,\"completion_tokens\":5}", NONE},
    {"{\"prompt_tokens\":1.5,\"completion_tokens\":5}", NONE},
    {"{\"prompt_tokens\":1e3,\"completion_tokens\":5}", NONE},
    {"{\"prompt_tokens\":\"10\",\"completion_tokens\":5}", NONE},
    {"{\"prompt_tokens\":10,\"completion_tokens\":true}", NONE},
    {"{\"prompt_tokens\":10,\"completion_tokens\":5,\"prompt_tokens_details\":{\"cached_tokens\":-"
     "6}}",
     {10, 0, 0, 5, 0}},
    {"{\"prompt_tokens\":10,\"completion_tokens\":5,\"prompt_tokens_details\":7,\"prompt_cache_hit_"
     "tokens\":\"x\"}",
     {10, 0, 0, 5, 0}},
    {"{}", NONE},
    {"{\"total_tokens\":5}", NONE},
    {"[]", NONE},
    {"null", NONE},
    {"7", NONE},
};

static void usage_kinds(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(usages) / sizeof(usages[0]); i++) {
        const char *json = usages[i].json;
        enum json_type type = json[0] == '{'   ? JSON_OBJECT
                              : json[0] == '[' ? JSON_ARRAY
                              : json[0] == 'n' ? JSON_NULL
                                               : JSON_NUMBER;
        struct token_usage u = {.source = USAGE_NONE};
        bool reported = openai_usage_read((struct json_value){type, slice_str(json)}, &u);

        assert_true(json_validate(slice_str(json), NULL));
        if (reported != (usages[i].want[0] >= 0))
            fail_msg("%s: reported %d", json, reported);
        assert_int_equal(u.source, reported ? USAGE_REPORTED : USAGE_NONE);
        for (int k = 0; k < TOK_KINDS && reported; k++)
            if (u.n[k] != usages[i].want[k])
                fail_msg("%s: kind %d is %lld", json, k, (long long)u.n[k]);
    }
}

/* ---- whole replies ---- */

static const struct {
    enum wire_api api;
    const char *json;
    enum err err;
    bool usage, truncated, is_error;
    int64_t output_bytes;
    const char *model;
} replies[] = {
    {WIRE_CHAT,
     "{\"id\":\"x\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
     "\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],"
     "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
     ERR_OK, true, false, false, 5, "\"m\""},
    {WIRE_CHAT,
     "{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\","
     "\"arguments\":\"{}\"}}]},\"finish_reason\":\"length\"}]}",
     ERR_OK, false, true, false, 3, ""},
    {WIRE_CHAT,
     "{\"choices\":[{\"message\":{\"content\":\"a\",\"reasoning_content\":\"bc\",\"refusal\":"
     "\"def\",\"function_call\":{\"name\":\"g\",\"arguments\":\"h\"}}},"
     "{\"message\":{\"content\":\"x\"}}]}",
     ERR_OK, false, false, false, 9, ""},
    {WIRE_CHAT, "{\"choices\":[{\"usage\":{\"prompt_tokens\":1}}]}", ERR_OK, true, false, false, 0,
     ""},
    {WIRE_CHAT, "{\"choices\":[{}],\"usage\":null,\"model\":7,\"model\":null}", ERR_OK, false,
     false, false, 0, "null"},
    {WIRE_CHAT, "{\"choices\":[{\"finish_reason\":\"error\"}]}", ERR_OK, false, false, true, 0, ""},
    {WIRE_CHAT, "{\"choices\":[{\"message\":{},\"error\":{\"code\":502}}]}", ERR_OK, false, false,
     true, 0, ""},
    {WIRE_CHAT, "{\"choices\":[{}],\"error\":null}", ERR_OK, false, false, false, 0, ""},
    {WIRE_CHAT, "{\"error\":{\"message\":\"x\"}}", ERR_OK, false, false, true, 0, ""},
    {WIRE_CHAT, "{\"error\":\"x\",\"choices\":[]}", ERR_OK, false, false, true, 0, ""},
    {WIRE_CHAT, "{\"error\":null,\"choices\":[]}", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "{\"choices\":[]}", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "{\"choices\":{}}", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "{\"data\":[{}]}", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "{}", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "[]", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "<html>", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "{\"choices\":[{}]", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
    {WIRE_CHAT, "{\"choices\":[1,null,\"x\",[]]}", ERR_OK, false, false, false, 0, ""},
    {WIRE_COMPLETIONS, "{\"choices\":[{\"text\":\"abc\",\"finish_reason\":\"length\"}]}", ERR_OK,
     false, true, false, 3, ""},
    {WIRE_EMBEDDINGS,
     "{\"data\":[{\"embedding\":[0.1]}],\"usage\":{\"prompt_tokens\":1,\"total_tokens\":1}}",
     ERR_OK, true, false, false, 0, ""},
    {WIRE_EMBEDDINGS, "{\"choices\":[{}]}", ERR_UPSTREAM_PROTOCOL, 0, 0, 0, 0, NULL},
};

static void replies_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        struct openai_reply r;
        enum err err = openai_reply_scan(replies[i].api, slice_str(replies[i].json), NULL, &r);

        if (err != replies[i].err)
            fail_msg("%s: %s", replies[i].json, err_name(err));
        if (err)
            continue;
        if (r.has_usage != replies[i].usage || r.truncated != replies[i].truncated ||
            r.is_error != replies[i].is_error || r.output_bytes != replies[i].output_bytes ||
            !slice_eq(r.model.value.text, slice_str(replies[i].model)))
            fail_msg("%s: %d %d %d %lld '%.*s'", replies[i].json, r.has_usage, r.truncated,
                     r.is_error, (long long)r.output_bytes, SLICE_ARG(r.model.value.text));
    }
}

static void models_are_spliced(void **state)
{
    static const struct {
        const char *in, *want;
    } cases[] = {
        {"{\"model\":\"m\",\"choices\":[{}]}", "{\"model\":\"a\\\"b\",\"choices\":[{}]}"},
        {"{ \"choices\":[{}], \"model\" : null }", "{ \"choices\":[{}], \"model\" : \"a\\\"b\" }"},
        {"{\"choices\":[{\"model\":1}]}", "{\"choices\":[{\"model\":1}]}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct openai_reply r;
        struct slice *pieces;
        struct arena a;
        char got[256] = "";

        arena_init(&a, 256);
        assert_int_equal(openai_reply_scan(WIRE_CHAT, slice_str(cases[i].in), NULL, &r), ERR_OK);
        size_t n = openai_reply_splice(slice_str(cases[i].in), &r.model, SLICE("a\"b"),
                                       (struct json_value){0}, &a, &pieces);
        for (size_t p = 0; p < n; p++)
            strncat(got, pieces[p].p, pieces[p].n);
        assert_string_equal(got, cases[i].want);
        arena_clear(&a);
    }
}

static void estimates(void **state)
{
    (void)state;
    assert_int_equal(openai_estimate_tokens(0), 0);
    assert_int_equal(openai_estimate_tokens(1), 1);
    assert_int_equal(openai_estimate_tokens(4), 1);
    assert_int_equal(openai_estimate_tokens(5), 2);
    assert_int_equal(openai_estimate_tokens(INT64_MAX), INT64_MAX / 4 + 1);
}

/* ---- errors ---- */

static const struct {
    int status;
    const char *body;
    enum err want;
} errors[] = {
    /* by status alone, whatever the body */
    {400, "", ERR_UPSTREAM_REJECTED},
    {401, "{}", ERR_UPSTREAM_AUTH},
    {402, "null", ERR_UPSTREAM_QUOTA},
    {403, "<html>403 Forbidden</html>", ERR_UPSTREAM_AUTH},
    {404, "404 page not found", ERR_UPSTREAM_NOT_FOUND},
    {405, "", ERR_UPSTREAM_NOT_FOUND},
    {408, "", ERR_UPSTREAM_SERVER_ERROR},
    {409, "", ERR_UPSTREAM_SERVER_ERROR},
    {413, "<html>413 Request Entity Too Large</html>", ERR_UPSTREAM_CONTEXT_LENGTH},
    {415, "", ERR_UPSTREAM_REJECTED},
    {422, "{\"detail\":[{\"loc\":[\"body\"],\"msg\":\"field required\"}]}", ERR_UPSTREAM_REJECTED},
    {425, "", ERR_UPSTREAM_OVERLOADED},
    {429, "", ERR_UPSTREAM_RATE_LIMITED},
    {498, "", ERR_UPSTREAM_OVERLOADED},
    {500, "[", ERR_UPSTREAM_SERVER_ERROR},
    {501, "", ERR_UPSTREAM_NOT_FOUND},
    {502, "", ERR_UPSTREAM_SERVER_ERROR},
    {503, "", ERR_UPSTREAM_OVERLOADED},
    {504, "", ERR_UPSTREAM_SERVER_ERROR},
    {524, "", ERR_UPSTREAM_SERVER_ERROR},
    {529, "", ERR_UPSTREAM_OVERLOADED},
    {302, "", ERR_UPSTREAM_NOT_FOUND},
    {0, "", ERR_UPSTREAM_SERVER_ERROR},
    {200, "{\"error\":{}}", ERR_UPSTREAM_SERVER_ERROR},
    /* OpenAI */
    {400,
     "{\"error\":{\"message\":\"This model's maximum context length is 8192 tokens. However, your "
     "messages resulted in 9001 tokens.\","
     "\"type\":\"invalid_request_error\",\"param\":\"messages\",\"code\":\"context_length_"
     "exceeded\"}}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {429,
     "{\"error\":{\"message\":\"You exceeded your current quota, please check your plan and "
     "billing details.\",\"type\":\"insufficient_quota\","
     "\"param\":null,\"code\":\"insufficient_quota\"}}",
     ERR_UPSTREAM_QUOTA},
    {429,
     "{\"error\":{\"message\":\"Rate limit reached for "
     "gpt-4.1\",\"type\":\"tokens\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}",
     ERR_UPSTREAM_RATE_LIMITED},
    {401,
     "{\"error\":{\"message\":\"Incorrect API key "
     "provided\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_key\"}}",
     ERR_UPSTREAM_AUTH},
    {404,
     "{\"error\":{\"message\":\"The model `x` does not "
     "exist\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}",
     ERR_UPSTREAM_NOT_FOUND},
    {500,
     "{\"error\":{\"message\":\"The server had an "
     "error\",\"type\":\"server_error\",\"param\":null,\"code\":null}}",
     ERR_UPSTREAM_SERVER_ERROR},
    {503,
     "{\"error\":{\"message\":\"The engine is currently overloaded\",\"type\":\"server_error\"}}",
     ERR_UPSTREAM_OVERLOADED},
    {400,
     "{\"error\":{\"message\":\"Invalid value for "
     "'temperature'\",\"type\":\"invalid_request_error\",\"param\":\"temperature\",\"code\":null}}",
     ERR_UPSTREAM_REJECTED},
    /* Azure */
    {400,
     "{\"error\":{\"message\":\"The response was filtered due to the prompt triggering Azure "
     "OpenAI's content management policy.\",\"type\":null,"
     "\"param\":\"prompt\",\"code\":\"content_filter\",\"status\":400,\"innererror\":{\"code\":"
     "\"ResponsibleAIPolicyViolation\"}}}",
     ERR_UPSTREAM_CONTENT_FILTER},
    {400,
     "{\"error\":{\"message\":\"x\",\"code\":null,\"innererror\":{\"code\":"
     "\"ResponsibleAIPolicyViolation\"}}}",
     ERR_UPSTREAM_CONTENT_FILTER},
    {404,
     "{\"error\":{\"code\":\"DeploymentNotFound\",\"message\":\"The API deployment for this "
     "resource does not exist.\"}}",
     ERR_UPSTREAM_NOT_FOUND},
    /* vLLM, old and new; SGLang; TGI */
    {400,
     "{\"object\":\"error\",\"message\":\"This model's maximum context length is 4096 tokens. "
     "However, you requested 5000 tokens\","
     "\"type\":\"BadRequestError\",\"param\":null,\"code\":400}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {400,
     "{\"error\":{\"message\":\"The decoder prompt (length 5000) is longer than the maximum model "
     "length of 4096.\",\"type\":\"BadRequestError\",\"code\":400}}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {404,
     "{\"object\":\"error\",\"message\":\"The model `x` does not "
     "exist.\",\"type\":\"NotFoundError\",\"param\":null,\"code\":404}",
     ERR_UPSTREAM_NOT_FOUND},
    {400,
     "{\"object\":\"error\",\"message\":\"The input (5000 tokens) is longer than the model's "
     "context length (4096 tokens).\",\"type\":\"BadRequestError\"}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {422,
     "{\"error\":\"Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
     "4096\",\"error_type\":\"validation\"}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    /* llama.cpp */
    {400,
     "{\"error\":{\"code\":400,\"message\":\"the request exceeds the available context size. try "
     "increasing the context size or enable context shift\","
     "\"type\":\"invalid_request_error\"}}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {400,
     "{\"error\":{\"code\":400,\"message\":\"x\",\"type\":\"exceed_context_size_error\",\"n_prompt_"
     "tokens\":5000,\"n_ctx\":4096}}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {503, "{\"error\":{\"code\":503,\"message\":\"Loading model\",\"type\":\"unavailable_error\"}}",
     ERR_UPSTREAM_OVERLOADED},
    {501,
     "{\"error\":{\"code\":501,\"message\":\"This server does not support "
     "embeddings.\",\"type\":\"not_supported_error\"}}",
     ERR_UPSTREAM_NOT_FOUND},
    /* Ollama */
    {500,
     "{\"error\":{\"message\":\"the input length exceeds the context "
     "length\",\"type\":\"api_error\",\"param\":null,\"code\":null}}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {404,
     "{\"error\":{\"message\":\"model 'x' not "
     "found\",\"type\":\"not_found_error\",\"param\":null,\"code\":null}}",
     ERR_UPSTREAM_NOT_FOUND},
    {400, "{\"error\":\"input length exceeds maximum context length\"}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    /* OpenRouter */
    {400,
     "{\"error\":{\"message\":\"x/y is not a valid model ID\",\"code\":400},\"user_id\":\"u\"}",
     ERR_UPSTREAM_NOT_FOUND},
    {402, "{\"error\":{\"message\":\"Insufficient credits\",\"code\":402}}", ERR_UPSTREAM_QUOTA},
    {403,
     "{\"error\":{\"message\":\"openai/gpt requires moderation. Your input was flagged for "
     "\\\"violence\\\".\",\"code\":403,\"metadata\":{}}}",
     ERR_UPSTREAM_CONTENT_FILTER},
    {200, "{\"error\":{\"message\":\"Provider returned error\",\"code\":502}}",
     ERR_UPSTREAM_SERVER_ERROR},
    {0, "{\"error\":{\"message\":\"Provider returned error\",\"code\":429}}",
     ERR_UPSTREAM_RATE_LIMITED},
    {0, "{\"error\":{\"code\":\"503\",\"message\":\"x\"}}", ERR_UPSTREAM_OVERLOADED},
    /* Groq */
    {413,
     "{\"error\":{\"message\":\"Request too large for model `m` on tokens per minute (TPM): Limit "
     "6000, Requested 7000\",\"type\":\"tokens\",\"code\":\"rate_limit_exceeded\"}}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {400,
     "{\"error\":{\"message\":\"The model `x` has been "
     "decommissioned\",\"type\":\"invalid_request_error\",\"code\":\"model_decommissioned\"}}",
     ERR_UPSTREAM_NOT_FOUND},
    {498,
     "{\"error\":{\"message\":\"Flex tier capacity "
     "exceeded\",\"type\":\"server_error\",\"code\":\"capacity_exceeded\"}}",
     ERR_UPSTREAM_OVERLOADED},
    /* Mistral, DeepSeek, Alibaba */
    {400,
     "{\"object\":\"error\",\"message\":\"Prompt contains 40000 tokens and 0 draft tokens, too "
     "large for model with 32768 maximum context length\","
     "\"type\":\"invalid_request_prompt\",\"code\":\"3051\"}",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {400,
     "{\"object\":\"error\",\"message\":\"Invalid model: "
     "x\",\"type\":\"invalid_model\",\"param\":null,\"code\":\"1500\"}",
     ERR_UPSTREAM_NOT_FOUND},
    {402,
     "{\"error\":{\"message\":\"Insufficient "
     "Balance\",\"type\":\"unknown_error\",\"param\":null,\"code\":\"invalid_request_error\"}}",
     ERR_UPSTREAM_QUOTA},
    {400, "{\"error\":{\"message\":\"Content Exists Risk\",\"type\":\"invalid_request_error\"}}",
     ERR_UPSTREAM_CONTENT_FILTER},
    {400,
     "{\"error\":{\"message\":\"Input data may contain inappropriate "
     "content.\",\"type\":\"data_inspection_failed\",\"code\":\"data_inspection_failed\"}}",
     ERR_UPSTREAM_CONTENT_FILTER},
    /* Gemini's OpenAI endpoint, also wrapped in a list */
    {400,
     "[{\"error\":{\"code\":400,\"message\":\"The input token count (1200000) exceeds the maximum "
     "number of tokens allowed (1048575).\",\"status\":\"INVALID_ARGUMENT\"}}]",
     ERR_UPSTREAM_CONTEXT_LENGTH},
    {400,
     "[{\"error\":{\"code\":400,\"message\":\"API key not valid. Please pass a valid API "
     "key.\",\"status\":\"INVALID_ARGUMENT\"}}]",
     ERR_UPSTREAM_AUTH},
    {429,
     "[{\"error\":{\"code\":429,\"message\":\"You exceeded your current quota, please check your "
     "plan and billing details.\",\"status\":\"RESOURCE_EXHAUSTED\"}}]",
     ERR_UPSTREAM_RATE_LIMITED},
    {0,
     "[{\"error\":{\"code\":503,\"message\":\"The model is "
     "overloaded.\",\"status\":\"UNAVAILABLE\"}}]",
     ERR_UPSTREAM_OVERLOADED},
    /* in streams */
    {0, "{\"error\":{\"message\":\"x\",\"type\":\"rate_limit_error\"}}", ERR_UPSTREAM_RATE_LIMITED},
    {0, "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}",
     ERR_UPSTREAM_OVERLOADED},
    {0, "{\"error\":{\"message\":\"bad\",\"type\":\"invalid_request_error\"}}",
     ERR_UPSTREAM_REJECTED},
    {0, "{\"error\":\"boom\"}", ERR_UPSTREAM_SERVER_ERROR},
    /* a prompt echoed where the sentence means nothing */
    {401, "{\"error\":{\"message\":\"maximum context length\"}}", ERR_UPSTREAM_AUTH},
    {429, "{\"error\":{\"message\":\"maximum context length\"}}", ERR_UPSTREAM_RATE_LIMITED},
    /* odd types and hostile sizes */
    {400, "{\"error\":[1,2]}", ERR_UPSTREAM_REJECTED},
    {400, "[]", ERR_UPSTREAM_REJECTED},
    {400, "[[]]", ERR_UPSTREAM_REJECTED},
    {400, "[\"context_length_exceeded\"]", ERR_UPSTREAM_REJECTED},
    {400, "{\"error\":{\"code\":{\"a\":1},\"type\":[],\"message\":7}}", ERR_UPSTREAM_REJECTED},
    {0,
     "{\"error\":{\"code\":"
     "99999999999999999999999999999999999999999999999999999999999999999999999999999999}}",
     ERR_UPSTREAM_SERVER_ERROR},
    {400,
     "{\"error\":{\"code\":"
     "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
     "xxxxxxxxxxxxxxxxxxxxx\"}}",
     ERR_UPSTREAM_REJECTED},
    {400, "{\"error\":{\"message\":\"\\ud83d\\ude00\\u0000 maximum context length\"}}",
     ERR_UPSTREAM_REJECTED},
};

static void errors_are_classified(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        size_t n = strlen(errors[i].body);
        char *copy = malloc(n ? n : 1);
        enum err got;

        memcpy(copy, errors[i].body, n);
        got = openai_error_classify(errors[i].status, slice_make(copy, n));
        free(copy);
        if (got != errors[i].want)
            fail_msg("%d %s: %s", errors[i].status, errors[i].body, err_name(got));
    }
}

static void long_messages_are_cut(void **state)
{
    char body[8192] = "{\"error\":{\"message\":\"maximum context length ";

    (void)state;
    while (strlen(body) < 8000)
        strncat(body, "\\u00e9\xC3\xA9", sizeof(body) - strlen(body) - 1);
    strncat(body, "\"}}", sizeof(body) - strlen(body) - 1);
    assert_int_equal(openai_error_classify(400, slice_str(body)), ERR_UPSTREAM_CONTEXT_LENGTH);
}

static void error_bodies_are_exact(void **state)
{
    static const struct {
        enum err err;
        const char *message, *param, *want;
    } cases[] = {
        {ERR_BAD_REQUEST, "Missing required parameter: 'model'.", "model",
         "{\"error\":{\"message\":\"Missing required parameter: "
         "'model'.\",\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":null}}"},
        {ERR_UNAUTHORIZED, NULL, NULL,
         "{\"error\":{\"message\":\"Incorrect API key "
         "provided.\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"invalid_api_"
         "key\"}}"},
        {ERR_UPSTREAM_CONTEXT_LENGTH, "a\"b\\c\n\x01\xff", "",
         "{\"error\":{\"message\":\"a\\\"b\\\\c\\n\\u0001\xEF\xBF\xBD\",\"type\":\"invalid_request_"
         "error\",\"param\":\"\","
         "\"code\":\"context_length_exceeded\"}}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = strlen(cases[i].want);
        struct buf out;

        for (size_t room = 0; room <= n; room++) { /* all of it or nothing */
            buf_init(&out, room);
            assert_int_equal(
                openai_error_body(cases[i].err, cases[i].message, cases[i].param, &out),
                room < n ? ERR_TOO_LARGE : ERR_OK);
            assert_int_equal(buf_len(&out), room < n ? 0 : n);
            if (room == n && memcmp(buf_slice(&out).p, cases[i].want, n) != 0)
                fail_msg("%.*s", SLICE_ARG(buf_slice(&out)));
            buf_clear(&out);
        }
        assert_true(json_validate(slice_str(cases[i].want), NULL));
    }
}

static void apis_have_names(void **state)
{
    (void)state;
    assert_string_equal(wire_api_name(WIRE_CHAT), "chat");
    assert_string_equal(wire_api_name(WIRE_COMPLETIONS), "completions");
    assert_string_equal(wire_api_name(WIRE_EMBEDDINGS), "embeddings");
    assert_string_equal(wire_api_path(WIRE_CHAT), "/chat/completions");
    assert_string_equal(wire_api_path(WIRE_COMPLETIONS), "/completions");
    assert_string_equal(wire_api_path(WIRE_EMBEDDINGS), "/embeddings");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage_kinds),
        cmocka_unit_test(replies_are_read),
        cmocka_unit_test(models_are_spliced),
        cmocka_unit_test(estimates),
        cmocka_unit_test(errors_are_classified),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(error_bodies_are_exact),
        cmocka_unit_test(apis_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

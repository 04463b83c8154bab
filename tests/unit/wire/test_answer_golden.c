/* Answers of many servers, streamed and whole, to clients of every dialect: events and exact bytes
 * in tests/golden/answers, each stream cut in two at every byte and fed byte by byte. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/wire/answer_run.h"

static const char *const streams[] = {
    "openai_text",
    "openai_tools",
    "openai_tools_interleaved",
    "openai_logprobs",
    "openai_refusal",
    "openai_length_tool",
    "openai_no_done",
    "openai_cut",
    "openai_n2",
    "gemini_tools",
    "numbers_tools",
    "ollama_tools",
    "deepseek",
    "vllm",
    "mistral",
    "openrouter",
    "openrouter_error",
    "azure_filter",
    "anthropic_text",
    "anthropic_tools",
    "anthropic_thinking",
    "anthropic_error",
    "anthropic_refusal",
    "anthropic_max_tokens",
    "anthropic_like",
    "anthropic_cut",
    "anthropic_stop_sequence",
};
static const char *const wholes[] = {
    "openai_text",     "openai_tools",          "openai_tool_broken",
    "openai_logprobs", "openai_refusal",        "openai_error",
    "deepseek",        "anthropic_text",        "anthropic_thinking_tools",
    "anthropic_error", "anthropic_server_tool",
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const dialect_names[] = {"openai", "anthropic", "responses"};

static void path_of(const char *name, const char *suffix, char *out, size_t room)
{
    snprintf(out, room, "tests/golden/answers/%s.%s", name, suffix);
}

static struct slice load(const char *name, const char *suffix)
{
    char path[256], *bytes;
    long n;
    FILE *f;

    path_of(name, suffix, path, sizeof(path));
    f = fopen(path, "rb");
    if (!f)
        fail_msg("cannot read %s", path);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    n = ftell(f);
    rewind(f);
    assert_non_null(bytes = malloc((size_t)n + 1));
    assert_int_equal(fread(bytes, 1, (size_t)n, f), (size_t)n);
    fclose(f);
    return slice_make(bytes, (size_t)n);
}

static void drop(struct slice s)
{
    free((void *)(uintptr_t)s.p);
}

static void put(struct buf *out, const char *title, const char *dialect, struct slice bytes)
{
    assert_int_equal(buf_printf(out, "== %s%s%s\n", dialect, dialect[0] ? " " : "", title), ERR_OK);
    assert_int_equal(buf_append_slice(out, bytes), ERR_OK);
    if (bytes.n && bytes.p[bytes.n - 1] != '\n')
        assert_int_equal(buf_append(out, "\n", 1), ERR_OK);
}

/* All that came of it, as the golden file has it. */
static void describe(struct answer_run *r, struct buf *out)
{
    put(out, "events", "", buf_slice(&r->trace));
    if (r->err)
        assert_int_equal(buf_printf(out, "== error %s: %s\n", err_name(r->err), r->error.s),
                         ERR_OK);
    for (int i = 0; i < RUN_DIALECTS; i++)
        put(out, "stream", dialect_names[i], buf_slice(&r->streams[i]));
    for (int i = 0; i < RUN_DIALECTS && !r->err; i++)
        put(out, r->replied[i] ? err_name(r->replied[i]) : "reply", dialect_names[i],
            buf_slice(&r->replies[i]));
}

static void update(const char *name, const char *suffix, struct slice got)
{
    char path[256];
    FILE *f;

    path_of(name, suffix, path, sizeof(path));
    assert_non_null(f = fopen(path, "wb"));
    assert_int_equal(fwrite(got.p, 1, got.n, f), got.n);
    fclose(f);
}

static void compare(const char *name, const char *suffix, size_t cut, struct slice got)
{
    struct slice want;
    size_t at = 0;

    if (getenv("WEIR_GOLDEN_UPDATE") && cut == 0)
        update(name, suffix, got);
    want = load(name, suffix);
    while (at < got.n && at < want.n && got.p[at] == want.p[at])
        at++;
    if (!slice_eq(got, want))
        fail_msg("%s, cut at %zu, differs at byte %zu: got\n%.*s\nwant\n%.*s", name, cut, at,
                 SLICE_ARG(slice_from(got, at)), SLICE_ARG(slice_from(want, at)));
    drop(want);
}

static enum answer_dialect dialect_of(const char *name)
{
    return strncmp(name, "anthropic", 9) == 0 ? RUN_ANTHROPIC : RUN_OPENAI;
}

static void check_stream(const char *name, struct slice in, size_t cut, size_t step, int64_t n)
{
    struct answer_run r;
    struct buf text;

    buf_init(&text, 16 << 20);
    answer_run_stream(&r, dialect_of(name), in, cut, step, n);
    describe(&r, &text);
    compare(name, "sse.out", cut + step, buf_slice(&text));
    answer_run_clear(&r);
    buf_clear(&text);
}

static void test_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(streams); i++) {
        struct slice in = load(streams[i], "in.sse");
        int64_t n = strcmp(streams[i], "openai_n2") == 0 ? 2 : 1;
        for (size_t cut = 0; cut <= in.n; cut++)
            check_stream(streams[i], in, cut, 0, n);
        check_stream(streams[i], in, 0, 1, n);
        check_stream(streams[i], in, 0, 7, n);
        drop(in);
    }
}

static void test_wholes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(wholes); i++) {
        struct slice in = load(wholes[i], "in.json");
        struct answer_run r;
        struct buf text;

        buf_init(&text, 16 << 20);
        answer_run_whole(&r, dialect_of(wholes[i]), in);
        describe(&r, &text);
        compare(wholes[i], "json.out", 0, buf_slice(&text));
        answer_run_clear(&r);
        buf_clear(&text);
        drop(in);
    }
}

/* A stream or reply that ends anywhere before its end is never passed off as whole. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(wholes); i++) {
        struct slice in = load(wholes[i], "in.json");
        while (in.n && in.p[in.n - 1] != '}')
            in.n--;
        for (size_t n = 0; n < in.n; n++) {
            struct answer_run r;
            answer_run_whole(&r, dialect_of(wholes[i]), slice_make(in.p, n));
            assert_int_equal(r.err, ERR_UPSTREAM_PROTOCOL);
            assert_int_equal(buf_len(&r.trace), 0);
            answer_run_clear(&r);
        }
        drop(in);
    }
}

static bool holds(struct buf *b, const char *text)
{
    struct slice s = buf_slice(b);

    return s.n && memmem(s.p, s.n, text, strlen(text)) != NULL;
}

static void test_cut_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(streams); i++) {
        struct slice in = load(streams[i], "in.sse");
        for (size_t n = 0; n < in.n; n++) {
            struct answer_run r;
            bool ended;
            answer_run_stream(&r, dialect_of(streams[i]), slice_make(in.p, n), n, 0, 1);
            ended = r.err == ERR_OK;
            assert_int_equal(holds(&r.streams[RUN_OPENAI], "data: [DONE]"), ended);
            assert_int_equal(holds(&r.streams[RUN_ANTHROPIC], "event: message_stop"), ended);
            assert_int_equal(holds(&r.streams[RUN_ANTHROPIC], "event: error"), !ended);
            assert_int_equal(holds(&r.streams[RUN_RESPONSES], "event: response.completed") ||
                                 holds(&r.streams[RUN_RESPONSES], "event: response.incomplete"),
                             ended);
            answer_run_clear(&r);
        }
        drop(in);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_wholes),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_cut_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

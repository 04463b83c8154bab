/* Signals of answers: those that a filter reads of bytes that pass are those that a translator
 * reads of the same bytes, for each golden answer, cut anywhere; log-probabilities that only weir
 * asked for do not reach the client, and nothing else changes; limits; phrases. */
#include <cmocka.h>
#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/answer.h"
#include "backends/wire/answer_phrases.h"

#define MAX_BYTES (1 << 20)

/* ---- running ---- */

static struct slice load(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *bytes;
    long n;

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

static struct answer_options options(enum wire_api api, enum wire_dialect server,
                                     struct answer_signals *signals, bool asked)
{
    return (struct answer_options){
        .api = api,
        .server = server,
        .n = 1,
        .include_usage = true,
        .asked_logprobs = asked,
        .signals = signals,
        .request_id = SLICE("req-1"),
        .created_s = 1763700000,
        .max_event_bytes = MAX_BYTES,
        .max_answer_bytes = MAX_BYTES,
    };
}

/* As a stream, first `cut` bytes, then the rest; step > 0: in pieces of that size. Each piece in a
 * block of its own, so that a sanitizer sees reads beyond it. */
static enum err run(const struct answer_options *opt, struct slice in, size_t cut, size_t step,
                    struct buf *out)
{
    struct answer answer = {.mode = ANSWER_CLOSED};
    enum err err = ERR_OK;

    answer_open(&answer, opt);
    for (size_t from = 0; from < in.n && !err;) {
        size_t to = step ? from + step : from < cut ? cut : in.n;
        char *piece;

        to = to < in.n ? to : in.n;
        assert_non_null(piece = malloc(to - from));
        memcpy(piece, in.p + from, to - from);
        err = answer_feed(&answer, slice_make(piece, to - from), out);
        free(piece);
        from = to;
    }
    if (!err)
        err = answer_end(&answer, out);
    answer_clear(&answer);
    return err;
}

static void same(const char *what, const struct answer_signals *a, const struct answer_signals *b)
{
    if (!slice_eq(buf_slice(&a->text), buf_slice(&b->text)))
        fail_msg("%s: text %.*s, %.*s", what, SLICE_ARG(buf_slice(&a->text)),
                 SLICE_ARG(buf_slice(&b->text)));
    if (a->call_count != b->call_count)
        fail_msg("%s: %zu calls, %zu", what, a->call_count, b->call_count);
    for (size_t i = 0; i < a->call_count; i++) {
        if (!slice_eq(buf_slice(&a->calls[i].name), buf_slice(&b->calls[i].name)))
            fail_msg("%s: call %zu: name", what, i);
        if (!slice_eq(buf_slice(&a->calls[i].arguments), buf_slice(&b->calls[i].arguments)))
            fail_msg("%s: call %zu: %.*s, %.*s", what, i,
                     SLICE_ARG(buf_slice(&a->calls[i].arguments)),
                     SLICE_ARG(buf_slice(&b->calls[i].arguments)));
    }
    if (a->finished != b->finished || (a->finished && a->finish != b->finish))
        fail_msg("%s: finish %d %d, %d %d", what, a->finished, (int)a->finish, b->finished,
                 (int)b->finish);
    if (a->refused != b->refused || a->cut != b->cut)
        fail_msg("%s: refused %d, %d; cut %d, %d", what, a->refused, b->refused, a->cut, b->cut);
    if (memcmp(&a->tokens, &b->tokens, sizeof a->tokens) != 0)
        fail_msg("%s: tokens %lld %g, %lld %g", what, (long long)a->tokens.count, a->tokens.sum,
                 (long long)b->tokens.count, b->tokens.sum);
}

/* ---- golden answers ---- */

static bool is_anthropic(const char *path)
{
    return strstr(path, "/anthropic") != NULL;
}

static void each(const char *pattern, void (*fn)(const char *path, struct slice in))
{
    glob_t found;

    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc > 5);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct slice in = load(found.gl_pathv[i]);

        fn(found.gl_pathv[i], in);
        drop(in);
    }
    globfree(&found);
}

static void check_stream(const char *path, struct slice in)
{
    bool anthropic = is_anthropic(path);
    enum wire_dialect server = anthropic ? WIRE_ANTHROPIC : WIRE_OPENAI;
    struct answer_signals whole, cut, translated;
    struct answer_options pass, across;
    struct buf out;
    enum err err;

    answer_signals_init(&whole, MAX_BYTES);
    answer_signals_init(&cut, MAX_BYTES);
    answer_signals_init(&translated, MAX_BYTES);
    buf_init(&out, MAX_BYTES);
    pass = options(anthropic ? WIRE_MESSAGES : WIRE_CHAT, server, &whole, false);
    err = run(&pass, in, in.n, 0, &out);
    pass.signals = &cut;
    for (size_t at = 0; at <= in.n; at++) {
        answer_signals_clear(&cut);
        buf_reset(&out);
        assert_int_equal(at ? run(&pass, in, at, 0, &out) : run(&pass, in, 0, 1, &out), err);
        same(path, &whole, &cut);
    }
    across = options(anthropic ? WIRE_CHAT : WIRE_MESSAGES, server, &translated, false);
    buf_reset(&out);
    if (!err && run(&across, in, in.n, 0, &out) == ERR_OK)
        same(path, &whole, &translated);
    answer_signals_clear(&whole);
    answer_signals_clear(&cut);
    answer_signals_clear(&translated);
    buf_clear(&out);
}

static void streams(void **state)
{
    (void)state;
    each("tests/golden/answers/*.in.sse", check_stream);
}

static void check_whole(const char *path, struct slice in)
{
    bool anthropic = is_anthropic(path);
    enum wire_dialect server = anthropic ? WIRE_ANTHROPIC : WIRE_OPENAI;
    struct answer_signals passed, translated;
    struct answer_options pass, across;
    struct answer_whole read;
    struct arena a;

    answer_signals_init(&passed, MAX_BYTES);
    answer_signals_init(&translated, MAX_BYTES);
    arena_init(&a, 1024);
    pass = options(anthropic ? WIRE_MESSAGES : WIRE_CHAT, server, &passed, false);
    across = options(anthropic ? WIRE_CHAT : WIRE_MESSAGES, server, &translated, false);
    if (answer_read_whole(&pass, in, &a, &read) == ERR_OK &&
        answer_read_whole(&across, in, &a, &read) == ERR_OK)
        same(path, &passed, &translated);
    answer_signals_clear(&passed);
    answer_signals_clear(&translated);
    arena_clear(&a);
}

static void wholes(void **state)
{
    (void)state;
    each("tests/golden/answers/*.in.json", check_whole);
}

/* What some of them say, by hand. */
static void said(void **state)
{
    static const struct {
        const char *name, *text, *call, *arguments;
        enum chat_finish finish;
        bool refused;
        int64_t tokens;
    } cases[] = {
        {"openai_logprobs", "Hi!", NULL, NULL, CHAT_FINISH_STOP, false, 2},
        {"openai_refusal", "I can't help with that.", NULL, NULL, CHAT_FINISH_STOP, true, 0},
        {"openai_tools_interleaved", "Meanwhile", "f", "{\"s\":\"}\\\"\"}", CHAT_FINISH_TOOL_CALLS,
         false, 0},
        {"openai_length_tool", "", "f", "{\"text\":\"onc", CHAT_FINISH_LENGTH, false, 0},
        {"anthropic_thinking", "12231", NULL, NULL, CHAT_FINISH_STOP, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool anthropic = strncmp(cases[i].name, "anthropic", 9) == 0;
        struct answer_signals s;
        struct answer_options opt = options(anthropic ? WIRE_MESSAGES : WIRE_CHAT,
                                            anthropic ? WIRE_ANTHROPIC : WIRE_OPENAI, &s, false);
        char path[256];
        struct slice in;
        struct buf out;

        snprintf(path, sizeof path, "tests/golden/answers/%s.in.sse", cases[i].name);
        in = load(path);
        answer_signals_init(&s, MAX_BYTES);
        buf_init(&out, MAX_BYTES);
        assert_int_equal(run(&opt, in, in.n, 0, &out), ERR_OK);
        if (!slice_eq(buf_slice(&s.text), slice_str(cases[i].text)))
            fail_msg("%s: %.*s", path, SLICE_ARG(buf_slice(&s.text)));
        assert_int_equal(s.call_count > 0, cases[i].call != NULL);
        if (s.call_count &&
            (!slice_eq(buf_slice(&s.calls[0].name), slice_str(cases[i].call)) ||
             !slice_eq(buf_slice(&s.calls[0].arguments), slice_str(cases[i].arguments))))
            fail_msg("%s: %.*s", path, SLICE_ARG(buf_slice(&s.calls[0].arguments)));
        assert_true(s.finished);
        assert_int_equal(s.finish, cases[i].finish);
        assert_int_equal(s.refused, cases[i].refused);
        assert_int_equal(s.tokens.count, cases[i].tokens);
        answer_signals_clear(&s);
        buf_clear(&out);
        drop(in);
    }
}

/* ---- log-probabilities that only weir asked for ---- */

#define HEAD "data: {\"id\": \"c\", \"choices\": [{\"index\": 0, \"delta\": {\"content\": \"a\"}"
#define LOGS                                                                                       \
    "{\"content\": [{\"token\": \"a}\\\\\", \"logprob\": -0.5, \"bytes\": [97], "                  \
    "\"top_logprobs\": "                                                                           \
    "[{\"token\": \"\\\"logprobs\\\": {\", \"logprob\": -3}]}], \"refusal\": null}"

/* before, behind: the stream as the server writes it, and as the client gets it. */
static const struct {
    const char *before, *behind;
} muted[] = {
    {HEAD ", \"logprobs\": " LOGS ", \"finish_reason\": null}], \"x\": 1}\r\n\r\n",
     HEAD ", \"logprobs\": null, \"finish_reason\": null}], \"x\": 1}\r\n\r\n"},
    {HEAD ", \"logprobs\":" LOGS "}, {\"logprobs\" : " LOGS ", \"index\": 1}]}\n\n",
     HEAD ", \"logprobs\":null}, {\"logprobs\" : null, \"index\": 1}]}\n\n"},
    {"data: {\"choices\": [{\"logprobs\": {}, \"delta\": {}}, 7, []], \"logprobs\": {\"a\": "
     "1}}\n\n",
     "data: {\"choices\": [{\"logprobs\": {}, \"delta\": {}}, 7, []], \"logprobs\": {\"a\": "
     "1}}\n\n"},
    {HEAD ", \"log\\u0070robs\": " LOGS "}], \"usage\": {\"prompt_tokens\": 1}}\n\n",
     HEAD ", \"log\\u0070robs\": null}], \"usage\": {\"prompt_tokens\": 1}}\n\n"},
    {HEAD ", \"logprobs\": null}]}\n\n", HEAD ", \"logprobs\": null}]}\n\n"},
    {"data: {\"choices\": [],\ndata: \"usage\": {}}\n\n",
     "data: {\"choices\": [],\ndata: \"usage\": {}}\n\n"},
};
#define STOP                                                                                       \
    "data: {\"choices\": [{\"index\": 0, \"finish_reason\": \"stop\"}]}\n\ndata: [DONE]\n\n"

static void mutes_streams(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof muted / sizeof muted[0]; i++) {
        char in[2048], want[2048];
        struct answer_signals s;
        struct answer_options opt = options(WIRE_CHAT, WIRE_OPENAI, &s, true);

        snprintf(in, sizeof in, "%s%s", muted[i].before, STOP);
        snprintf(want, sizeof want, "%s%s", muted[i].behind, STOP);
        answer_signals_init(&s, MAX_BYTES);
        for (size_t cut = 0; cut < strlen(in); cut++) {
            struct buf out;

            answer_signals_clear(&s);
            buf_init(&out, MAX_BYTES);
            assert_int_equal(run(&opt, slice_str(in), cut, 0, &out), ERR_OK);
            if (!slice_eq(buf_slice(&out), slice_str(want)))
                fail_msg("case %zu cut %zu: %.*s", i, cut, SLICE_ARG(buf_slice(&out)));
            buf_clear(&out);
        }
        answer_signals_clear(&s);
    }
}

static void mutes_replies(void **state)
{
    static const struct {
        const char *before, *behind;
    } cases[] = {
        {"{\"model\": \"a\", \"choices\": [{\"logprobs\": " LOGS
         ", \"message\": {}}, {\"message\": {}}, {\"logprobs\": null}, {\"logprobs\":" LOGS "}]}\n",
         "{\"model\": \"auto\", \"choices\": [{\"logprobs\": null, \"message\": {}}, {\"message\": "
         "{}}, {\"logprobs\": null}, {\"logprobs\":null}]}\n"},
        {" {\"choices\": [{\"text\": \"x\", \"logprobs\": " LOGS "}], \"model\": \"a\"}",
         " {\"choices\": [{\"text\": \"x\", \"logprobs\": null}], \"model\": \"auto\"}"},
        {"{\"choices\": [{}]}", "{\"choices\": [{}]}"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct answer_options opt = options(WIRE_CHAT, WIRE_OPENAI, NULL, true);
        struct answer_whole whole;
        struct arena a;
        struct buf got;

        opt.show_requested = true;
        opt.requested_model = SLICE("auto");
        arena_init(&a, 1024);
        buf_init(&got, MAX_BYTES);
        assert_int_equal(answer_read_whole(&opt, slice_str(cases[i].before), &a, &whole), ERR_OK);
        for (size_t p = 0; p < whole.count; p++)
            assert_int_equal(buf_append_slice(&got, whole.pieces[p]), ERR_OK);
        if (!slice_eq(buf_slice(&got), slice_str(cases[i].behind)))
            fail_msg("case %zu: %.*s", i, SLICE_ARG(buf_slice(&got)));
        buf_clear(&got);
        arena_clear(&a);
    }
}

/* A client of Responses would be shown them. */
static void mutes_translations(void **state)
{
    struct slice stream = load("tests/golden/answers/openai_logprobs.in.sse"),
                 whole = load("tests/golden/answers/openai_logprobs.in.json");

    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        struct answer_signals s;
        struct answer_options opt = options(WIRE_RESPONSES, WIRE_OPENAI, &s, asked);
        struct answer_whole read;
        struct arena a;
        struct buf out;

        answer_signals_init(&s, MAX_BYTES);
        arena_init(&a, 1024);
        buf_init(&out, MAX_BYTES);
        assert_int_equal(run(&opt, stream, stream.n, 0, &out), ERR_OK);
        assert_int_equal(memmem(out.data, out.tail, "\"logprob\"", 9) != NULL, !asked);
        assert_true(s.tokens.count > 0);
        answer_signals_clear(&s);
        assert_int_equal(answer_read_whole(&opt, whole, &a, &read), ERR_OK);
        assert_int_equal(memmem(read.pieces[0].p, read.pieces[0].n, "\"logprob\"", 9) != NULL,
                         !asked);
        assert_true(s.tokens.count > 0);
        answer_signals_clear(&s);
        arena_clear(&a);
        buf_clear(&out);
    }
    drop(stream);
    drop(whole);
}

/* ---- limits ---- */

static void feed_json(struct answer_signals *s, const char *json)
{
    struct openai_choice choice;

    assert_true(json_validate(slice_str(json), NULL));
    openai_choice_read((struct json_value){JSON_OBJECT, slice_str(json)}, &choice);
    answer_signals_openai(s, &choice);
}

static void text_limit(void **state)
{
    struct answer_signals s;

    (void)state;
    answer_signals_init(&s, 16);
    feed_json(&s, "{\"delta\":{\"content\":\"0123456789\"}}");
    assert_false(s.cut);
    feed_json(&s, "{\"delta\":{\"content\":\"0123456789\"}}");
    assert_true(s.cut);
    feed_json(&s, "{\"delta\":{\"content\":\"ab\"}}"); /* no hole */
    assert_true(slice_eq(answer_signals_text(&s), SLICE("0123456789")));
    answer_signals_clear(&s);
    assert_false(s.cut);
    assert_int_equal(buf_len(&s.text), 0);
}

static void call_limits(void **state)
{
    struct answer_signals s;

    (void)state;
    answer_signals_init(&s, 100000);
    for (int i = 0; i < ANSWER_SIGNALS_MAX_CALLS + 3; i++) {
        char json[160];

        snprintf(json, sizeof json,
                 "{\"delta\":{\"tool_calls\":[{\"index\":%d,\"id\":\"c%d\",\"function\":{\"name\":"
                 "\"f\",\"arguments\":\"{}\"}}]}}",
                 i, i);
        feed_json(&s, json);
    }
    feed_json(&s, "{\"delta\":{},\"finish_reason\":\"tool_calls\"}");
    assert_int_equal(s.call_count, ANSWER_SIGNALS_MAX_CALLS);
    assert_true(s.cut);
    answer_signals_clear(&s);
    answer_signals_init(&s, 64);
    for (int i = 0; i < 20; i++)
        feed_json(&s, "{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\","
                      "\"arguments\":\"0123456789\"}}]}}");
    assert_true(s.cut);
    answer_signals_clear(&s);
}

/* Only choice 0 counts; what has the wrong type says nothing. */
static void other_choices_and_types(void **state)
{
    static const char *const silent[] = {
        "{\"index\":1,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}",
        "{\"delta\":{\"content\":7,\"tool_calls\":{},\"refusal\":[]}}",
        "{\"delta\":[],\"logprobs\":7,\"finish_reason\":null}",
        "{\"delta\":{\"content\":null,\"refusal\":null,\"reasoning\":null}}",
        "{\"delta\":{\"refusal\":\"\"},\"finish_reason\":\"\"}",
        "{\"text\":null}",
    };
    struct answer_signals s;

    (void)state;
    answer_signals_init(&s, MAX_BYTES);
    for (size_t i = 0; i < sizeof silent / sizeof silent[0]; i++)
        feed_json(&s, silent[i]);
    assert_int_equal(buf_len(&s.text) + s.call_count + (size_t)s.tokens.count, 0);
    assert_false(s.cut || s.finished || s.refused);
    feed_json(&s, "{\"delta\":{\"tool_calls\":[7]}}"); /* something was said that was not read */
    assert_true(s.cut);
    answer_signals_clear(&s);
}

/* ---- phrases ---- */

static void phrases(void **state)
{
    static const struct {
        const char *text;
        bool refuse, hedge;
    } cases[] = {
        {"I'm sorry, but I can't help with that.", true, false},
        {"I\xE2\x80\x99m  Sorry,\nbut I cannot do it.", true, false},
        {"Paris is the capital of France.", false, false},
        {"He said: fine. I'm not sure about that!  \n", false, true},
        {"I'm not sure about that. But it is Paris.", false, false},
        {"", false, false},
        {". . ?", false, false},
        {"\xE2\x80", false, false},
    };
    char late[512];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (answer_phrases_refuse(slice_str(cases[i].text)) != cases[i].refuse ||
            answer_phrases_hedge(slice_str(cases[i].text)) != cases[i].hedge)
            fail_msg("%s", cases[i].text);
    }
    memset(late, 'x', 300);
    snprintf(late + 300, sizeof late - 300, " I cannot help");
    assert_false(answer_phrases_refuse(slice_str(late)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams),
        cmocka_unit_test(wholes),
        cmocka_unit_test(said),
        cmocka_unit_test(mutes_streams),
        cmocka_unit_test(mutes_replies),
        cmocka_unit_test(mutes_translations),
        cmocka_unit_test(text_limit),
        cmocka_unit_test(call_limits),
        cmocka_unit_test(other_choices_and_types),
        cmocka_unit_test(phrases),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

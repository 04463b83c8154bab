/* Requests that no client should send: every value of every golden request replaced by values of
 * every type, removed, doubled; every prefix; great depth and great numbers. Whatever comes: no
 * crash, an error with its reason, and JSON whenever a writer says that it wrote. */
#include <cmocka.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/member.h"
#include "tests/unit/wire/chat_run.h"

#define DIR_PATH  "tests/golden/chat/"
#define MAX_BYTES (16 << 20)

static struct buf out;

/* Not every server each time: they differ in a few conditions only. */
static const int targets[] = {QUIRK_OPENAI,  QUIRK_VLLM,      QUIRK_OLLAMA, QUIRK_DEEPSEEK,
                              QUIRK_MISTRAL, CHAT_RUN_BUDGET, CHAT_RUN_SAME};

static size_t accepted, refused, untouched, touched;

/* What quirks_touch calls untouched is written as a server without quirks would get it. */
static void check_touch(struct chat_run *r)
{
    for (int i = 0; i < QUIRK_SERVERS; i++) {
        const struct quirks *q = quirks_get((enum quirk_server)i);
        struct quirks plain = {
            .name = "plain",
            .max_tokens_key = r->chat.max_tokens_name ? r->chat.max_tokens_name : "max_tokens",
            .top_k_key = "top_k",
            .thinking_key = q->thinking_key,
            .cache_control = q->cache_control,
            .continuous_usage = true,
            .pairs_tools = q->pairs_tools, /* what it refuses in any dialect is no quirk */
            .tool_id = {.min_bytes = 0, .max_bytes = SIZE_MAX, .any = true},
            .tool_name = {.min_bytes = 0, .max_bytes = SIZE_MAX, .any = true},
        };
        struct openai_target to = {.quirks = &plain, .model = SLICE("up"), .keep_thinking = true};
        struct buf want;
        struct err_text t;
        const char *param;
        enum err err;
        memcpy(plain.effort, quirks_get(QUIRK_OPENAI)->effort, sizeof(plain.effort));
        if (quirks_touch(q, &r->chat)) {
            touched++;
            continue;
        }
        untouched++;
        buf_init(&want, MAX_BYTES);
        buf_reset(&out);
        if (q->both_max_tokens)
            plain.max_tokens_key = q->max_tokens_key;
        err = openai_chat_write(&r->chat, &to, &r->arena, &want, &param, &t);
        assert_true(err == ERR_OK || (q->pairs_tools && err == ERR_UNTRANSLATABLE));
        to.quirks = q;
        assert_int_equal(openai_chat_write(&r->chat, &to, &r->arena, &out, &param, &t), err);
        if (!slice_eq(buf_slice(&out), buf_slice(&want)))
            print_error("%s\n%.*s\n%.*s\n", q->name, SLICE_ARG(buf_slice(&want)),
                        SLICE_ARG(buf_slice(&out)));
        assert_true(slice_eq(buf_slice(&out), buf_slice(&want)));
        buf_clear(&want);
    }
}

static void try_body(enum chat_dialect from, struct slice body)
{
    struct chat_run r;
    struct err_text t;
    const char *param;

    chat_run_parse(&r, from, body);
    if (r.err) {
        assert_true(r.err == ERR_BAD_JSON || (r.err == ERR_BAD_REQUEST && r.param));
        assert_true(r.text.s[0] != 0);
        refused++;
        chat_run_clear(&r);
        return;
    }
    accepted++;
    if (from == CHAT_OPENAI && !r.chat.unknown)
        check_touch(&r);
    assert_true(chat_estimate_tokens(&r.chat) >= 0);
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        enum err err = chat_run_write(&r, targets[i], &out, &param, &t);
        if (err == ERR_OK) {
            assert_true(json_validate(buf_slice(&out), NULL));
            continue;
        }
        assert_int_equal(err, ERR_UNTRANSLATABLE);
        assert_true(param && param[0] && t.s[0] && buf_len(&out) == 0);
    }
    chat_run_clear(&r);
}

/* ---- mutations ---- */

static const char *const values[] = {
    "null",
    "true",
    "-1",
    "0",
    "1.5e300",
    "123456789012345678901234567890",
    "\"\"",
    "\"x\"",
    "\"\\ud800\\u0000\"",
    "[]",
    "{}",
    "[[]]",
    "[{}]",
    "[\"x\"]",
    "[null]",
    "{\"type\":\"text\",\"text\":\"x\"}",
    "[{\"type\":\"function\"}]",
    "[{\"role\":\"user\"}]",
};

static void spliced(enum chat_dialect from, struct slice body, size_t at, size_t cut,
                    struct slice put)
{
    size_t n = body.n - cut + put.n;
    char *text = malloc(n ? n : 1);

    assert_non_null(text);
    memcpy(text, body.p, at);
    memcpy(text + at, put.p, put.n);
    memcpy(text + at + put.n, body.p + at + cut, body.n - at - cut);
    try_body(from, slice_make(text, n));
    free(text);
}

static void mutate(enum chat_dialect from, struct slice body, struct json_value v, int depth)
{
    size_t at = (size_t)(v.text.p - body.p);
    struct json_iter it;
    struct json_member m;

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        spliced(from, body, at, v.text.n, slice_str(values[i]));
    if (depth == 0 || (v.type != JSON_OBJECT && v.type != JSON_ARRAY))
        return;
    if (v.type == JSON_OBJECT) /* a stranger among the members */
        spliced(from, body, at + 1, 0,
                v.text.n > 2 ? SLICE("\"str\\u0061nge\":1,") : SLICE("\"strange\":1"));
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m)) {
        char *key;
        mutate(from, body, m.value, depth - 1);
        if (v.type != JSON_OBJECT)
            continue;
        /* the member gone under another name, and doubled */
        spliced(from, body, at + m.begin + 1, 0, SLICE("x"));
        key = malloc(m.end - m.begin + 2);
        assert_non_null(key);
        memcpy(key, v.text.p + m.begin, m.end - m.begin);
        key[m.end - m.begin] = ',';
        spliced(from, body, at + m.begin, 0, slice_make(key, m.end - m.begin + 1));
        free(key);
    }
}

static bool dialect_of(const char *file, enum chat_dialect *from)
{
    static const char *const ends[] = {".openai.json", ".anthropic.json", ".responses.json"};

    for (int i = 0; i < 3; i++) {
        size_t n = strlen(file), m = strlen(ends[i]);
        if (n > m && strcmp(file + n - m, ends[i]) == 0) {
            *from = (enum chat_dialect)i;
            return true;
        }
    }
    return false;
}

static void each_golden(void (*fn)(enum chat_dialect from, struct slice body))
{
    DIR *dir = opendir(DIR_PATH);
    struct dirent *e;
    enum chat_dialect from;
    int files = 0;

    assert_non_null(dir);
    while ((e = readdir(dir))) {
        static char body[65536];
        char path[512];
        FILE *f;
        size_t n;
        if (!dialect_of(e->d_name, &from))
            continue;
        snprintf(path, sizeof(path), DIR_PATH "%s", e->d_name);
        f = fopen(path, "rb");
        assert_non_null(f);
        n = fread(body, 1, sizeof(body), f);
        fclose(f);
        fn(from, json_trim(slice_make(body, n)));
        files++;
    }
    closedir(dir);
    assert_true(files > 30);
}

static void mutate_all(enum chat_dialect from, struct slice body)
{
    mutate(from, body, (struct json_value){JSON_OBJECT, body}, 12);
}

static void test_mutations(void **state)
{
    (void)state;
    accepted = refused = touched = untouched = 0;
    each_golden(mutate_all);
    assert_true(touched > 1000 && untouched > 1000);
    assert_true(accepted > 1000 && refused > 1000); /* the test reaches both sides */
}

static void every_prefix(enum chat_dialect from, struct slice body)
{
    for (size_t n = 0; n < body.n; n++) {
        struct chat_run r;
        chat_run_parse(&r, from, slice_make(body.p, n));
        assert_int_equal(r.err, ERR_BAD_JSON);
        chat_run_clear(&r);
    }
    try_body(from, body);
    for (int other = 0; other < 3; other++) /* what another dialect makes of it */
        try_body((enum chat_dialect)other, body);
}

static void test_prefixes(void **state)
{
    (void)state;
    each_golden(every_prefix);
}

/* ---- great numbers ---- */

static char *repeat(const char *head, const char *one, size_t times, const char *tail)
{
    size_t n = strlen(one);
    char *text = malloc(strlen(head) + n * times + strlen(tail) + 1), *p = text;

    assert_non_null(text);
    p = stpcpy(p, head);
    for (size_t i = 0; i < times; i++)
        p = stpcpy(p, one);
    stpcpy(p, tail);
    return text;
}

static const struct {
    enum chat_dialect from;
    const char *head, *one, *tail;
} floods[] = {
    {CHAT_OPENAI, "{\"model\":\"m\",\"messages\":[", "{\"role\":\"user\",\"content\":\"\"},",
     "{\"role\":\"user\",\"content\":\"\"}]}"},
    {CHAT_OPENAI, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[",
     "{\"type\":\"text\",\"text\":\"\"},", "{\"type\":\"text\",\"text\":\"\"}]}]}"},
    {CHAT_OPENAI, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}],\"stop\":[",
     "\"a\",", "\"a\"]}"},
    {CHAT_OPENAI, "{", "\"u\":1,",
     "\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}"},
    {CHAT_ANTHROPIC, "{\"model\":\"m\",\"max_tokens\":1,\"system\":[",
     "{\"type\":\"text\",\"text\":\"\"},",
     "{\"type\":\"text\",\"text\":\"\"}],\"messages\":[{\"role\":\"user\",\"content\":\"\"}]}"},
    {CHAT_ANTHROPIC,
     "{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"\"}],"
     "\"tools\":[",
     "{\"name\":\"\",\"input_schema\":{}},", "{\"name\":\"\",\"input_schema\":{}}]}"},
    {CHAT_RESPONSES, "{\"model\":\"m\",\"input\":[", "{\"role\":\"user\",\"content\":\"\"},",
     "{\"role\":\"user\",\"content\":\"\"}]}"},
};

static void test_floods(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
        char *text = repeat(floods[i].head, floods[i].one, CHAT_MAX_ITEMS, floods[i].tail);
        struct chat_run r;
        chat_run_parse(&r, floods[i].from, slice_str(text));
        assert_int_equal(r.err, ERR_BAD_REQUEST);
        assert_non_null(strstr(r.text.s, "100000"));
        chat_run_clear(&r);
        free(text);
        text = repeat(floods[i].head, floods[i].one, 1000, floods[i].tail);
        try_body(floods[i].from, slice_str(text));
        free(text);
    }
}

static void test_depth(void **state)
{
    static const char *const heads[] = {
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":",
        "{\"model\":\"m\",\"messages\":",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":",
        "{\"model\":\"m\",\"input\":",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
        for (int deep = 0; deep < 2; deep++) {
            char *open = repeat(heads[i], "[", deep ? 100000 : 500, "");
            for (int from = 0; from < 3; from++) /* never closed, then far too deep */
                try_body((enum chat_dialect)from, slice_str(open));
            free(open);
        }
    char *nested = repeat("{\"model\":\"m\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\","
                          "\"content\":[",
                          "{\"type\":\"tool_result\",\"tool_use_id\":\"a\",\"content\":[", 100, "");
    char *whole = repeat(nested, "]}", 100, "]}]}");
    struct chat_run r;
    struct err_text t;
    const char *param;
    chat_run_parse(&r, CHAT_ANTHROPIC, slice_str(whole));
    assert_int_equal(r.err, ERR_OK); /* a result in a result is no part that we know */
    assert_int_equal(chat_run_write(&r, QUIRK_OPENAI, &out, &param, &t), ERR_UNTRANSLATABLE);
    assert_string_equal(param, "messages.0.content.0.content.0.type");
    chat_run_clear(&r);
    free(nested);
    free(whole);
}

/* A body that does not fit takes back what was written. */
static void test_full(void **state)
{
    static const char body[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":"
                               "\"0123456789012345678901234567890123456789\"}]}";
    struct chat_run r;
    struct err_text t;
    const char *param;

    (void)state;
    chat_run_parse(&r, CHAT_OPENAI, slice_str(body));
    assert_int_equal(r.err, ERR_OK);
    for (size_t room = 1; room < 200; room++) {
        struct buf small;
        buf_init(&small, room);
        for (int target = 0; target < CHAT_RUN_TARGETS; target++) {
            enum err err = chat_run_write(&r, target, &small, &param, &t);
            assert_true(err == ERR_OK || (err == ERR_TOO_LARGE && buf_len(&small) == 0));
            assert_true(err == ERR_OK || room < 140);
        }
        buf_clear(&small);
    }
    chat_run_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutations), cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_floods),    cmocka_unit_test(test_depth),
        cmocka_unit_test(test_full),
    };
    int failed;

    buf_init(&out, MAX_BYTES);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    buf_clear(&out);
    return failed;
}

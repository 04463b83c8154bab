/* Anthropic requests: what is found, what is refused, and that a splice changes the model and cuts
 * thinking, and nothing else. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/anthropic_request.h"

struct body {
    struct arena a;
    char *copy; /* a block of its own size, so that the sanitizer sees reads beyond it */
    struct anthropic_request r;
    const char *param;
    struct err_text t;
    enum err err;
};

static void scan(struct body *b, struct slice text)
{
    *b = (struct body){0};
    arena_init(&b->a, 1024);
    assert_non_null(b->copy = malloc(text.n ? text.n : 1));
    memcpy(b->copy, text.p, text.n);
    b->err = anthropic_request_scan(slice_make(b->copy, text.n), &b->a, &b->r, &b->param, &b->t);
}

static void done(struct body *b)
{
    arena_clear(&b->a);
    free(b->copy);
}

static struct slice splice(struct body *b, bool drop)
{
    struct slice *pieces;
    size_t total,
        at = 0,
        count = anthropic_request_splice(&b->r, SLICE("up\"m"), drop, &b->a, &pieces, &total);
    char *text = arena_alloc(&b->a, total + 1);

    for (size_t i = 0; i < count; i++) {
        assert_true(pieces[i].n <= total - at);
        if (pieces[i].n)
            memcpy(text + at, pieces[i].p, pieces[i].n);
        at += pieces[i].n;
    }
    assert_int_equal(at, total);
    return slice_make(text, total);
}

/* ---- splices ---- */

#define M   "\"model\":\"auto\","
#define UP  "\"model\":\"up\\\"m\","
#define T   "{\"type\":\"thinking\",\"thinking\":\"a]}\\\"\",\"signature\":\"s\"}"
#define RED "{ \"data\":\"x\", \"type\" : \"redacted_thinking\" }"
#define X   "{\"type\":\"text\",\"text\":\"x\"}"
#define MSG(content)                                                                               \
    "\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\","                 \
    "\"content\":" content "}]"

#define BUDGET "\"thinking\":{\"budget_tokens\":1024,\"type\":\"enabled\"}"
#define CALL   "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{}}"
#define RESULT "{\"type\":\"tool_result\",\"tool_use_id\":\"t\"}"
#define LOOP(thinking)                                                                             \
    "\"messages\":[{\"role\":\"assistant\",\"content\":[" thinking CALL                            \
    "]},{\"role\":\"user\",\"content\":[" RESULT "]},{\"role\":\"system\",\"content\":\"s\"}]"
#define CLEAR      "{\"type\":\"clear_thinking_20251015\",\"keep\":\"all\"}"
#define CLEAR_USES "{\"type\":\"clear_tool_uses_20250919\"}"
#define EDITS(e)   "\"context_management\":{\"edits\":[" e "]}"

static const struct {
    const char *in, *kept, *dropped; /* dropped NULL: the same as kept */
} splices[] = {
    {"{" M "\"messages\":[],\"unknown\":1.0E+0,\"unknown\":[ ]}",
     "{" UP "\"messages\":[],\"unknown\":1.0E+0,\"unknown\":[ ]}", NULL},
    {" {\"messages\":[] , \"\\u006dodel\" : \"\\u0061uto\" }\n",
     " {\"messages\":[] , \"\\u006dodel\" : \"up\\\"m\" }\n", NULL},
    {"{" M M "\"messages\":[]}", "{" UP UP "\"messages\":[]}", NULL},
    {"{" M MSG("[" T "," X "]") "}", "{" UP MSG("[" T "," X "]") "}", "{" UP MSG("[" X "]") "}"},
    {"{" M MSG("[ " X " , " T " ]") "}", "{" UP MSG("[ " X " , " T " ]") "}",
     "{" UP MSG("[ " X " ]") "}"},
    {"{" M MSG("[" T "," RED ", " X "," RED "," X "," T "]") "}",
     "{" UP MSG("[" T "," RED ", " X "," RED "," X "," T "]") "}", "{" UP MSG("[" X "," X "]") "}"},
    /* the model behind the messages: marks stay in order */
    {"{" MSG("[" T "," X "]") ",\"model\":\"auto\"}",
     "{" MSG("[" T "," X "]") ",\"model\":\"up\\\"m\"}",
     "{" MSG("[" X "]") ",\"model\":\"up\\\"m\"}"},
    /* a message of thinking alone goes, wherever it stands */
    {"{" M MSG("[" T "]") "}", "{" UP MSG("[" T "]") "}",
     "{" UP "\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}"},
    {"{" M "\"messages\":[{\"role\":\"assistant\",\"content\":[" T "," RED
     "]},{\"role\":\"assistant\","
     "\"content\":[" T "," X "]}]}",
     "{" UP "\"messages\":[{\"role\":\"assistant\",\"content\":[" T "," RED
     "]},{\"role\":\"assistant\","
     "\"content\":[" T "," X "]}]}",
     "{" UP "\"messages\":[{\"role\":\"assistant\",\"content\":[" X "]}]}"},
    /* in a tool loop the wish to think goes with the thinking, wherever it stands */
    {"{" M LOOP(T ",") "," BUDGET "}", "{" UP LOOP(T ",") "," BUDGET "}", "{" UP LOOP("") "}"},
    {"{" BUDGET " , " LOOP(T ",") "," M EDITS(CLEAR) " }",
     "{" BUDGET " , " LOOP(T ",") "," UP EDITS(CLEAR) " }",
     "{" LOOP("") ",\"model\":\"up\\\"m\" }"},
    {"{" EDITS(CLEAR "," CLEAR_USES "," CLEAR) "," BUDGET "," M LOOP(T ",") "}",
     "{" EDITS(CLEAR "," CLEAR_USES "," CLEAR) "," BUDGET "," UP LOOP(T ",") "}",
     "{" EDITS(CLEAR_USES) "," UP LOOP("") "}"},
    /* and stays outside of one, and where the model thinks by its own judgement */
    {"{" M BUDGET "," MSG("[" T "," X "]") "," EDITS(CLEAR) "}",
     "{" UP BUDGET "," MSG("[" T "," X "]") "," EDITS(CLEAR) "}",
     "{" UP BUDGET "," MSG("[" X "]") "," EDITS(CLEAR) "}"},
    {"{" M "\"thinking\":{\"type\":\"adaptive\"}," LOOP(T ",") "," EDITS(CLEAR) "}",
     "{" UP "\"thinking\":{\"type\":\"adaptive\"}," LOOP(T ",") "," EDITS(CLEAR) "}",
     "{" UP "\"thinking\":{\"type\":\"adaptive\"}," LOOP("") "," EDITS(CLEAR) "}"},
    {"{" M LOOP("") ",\"thinking\":7,\"context_management\":{\"edits\":7}}",
     "{" UP LOOP("") ",\"thinking\":7,\"context_management\":{\"edits\":7}}", NULL},
    /* thinking that is no block of a message is not looked for */
    {"{" M "\"messages\":[],\"tools\":[" T "],\"system\":[" T "]}",
     "{" UP "\"messages\":[],\"tools\":[" T "],\"system\":[" T "]}", NULL},
    {"{" M "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"content\":[" T
     "]}]}]}",
     "{" UP
     "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"tool_result\",\"content\":[" T
     "]}]}]}",
     NULL},
};

static void test_splices(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(splices) / sizeof(splices[0]); i++) {
        struct body b;
        struct slice kept, dropped;
        const char *want = splices[i].dropped ? splices[i].dropped : splices[i].kept;
        scan(&b, slice_str(splices[i].in));
        assert_int_equal(b.err, ERR_OK);
        kept = splice(&b, false);
        dropped = splice(&b, true);
        if (!slice_eq(dropped, slice_str(want)))
            print_error("%s\n%.*s\n", want, SLICE_ARG(dropped));
        assert_true(slice_eq(kept, slice_str(splices[i].kept)));
        assert_true(slice_eq(dropped, slice_str(want)));
        assert_true(json_validate(dropped, NULL));
        done(&b);
    }
}

/* Every arrangement of kept and dropped blocks over two messages: the result is what is left. */
static void test_arrangements(void **state)
{
    enum { BLOCKS = 8, FIRST = 4 };

    (void)state;
    for (unsigned drop = 0; drop < 1u << BLOCKS; drop++) {
        char in[2048] = "", want[2048] = "", part[64];
        size_t n = 0, m = 0, messages = 0;
        struct body b;
        n += (size_t)snprintf(in + n, sizeof(in) - n, "{\"model\":\"a\",\"messages\":[");
        m += (size_t)snprintf(want + m, sizeof(want) - m, "{\"model\":\"up\\\"m\",\"messages\":[");
        for (int msg = 0; msg < 2; msg++) {
            size_t kept = 0;
            n += (size_t)snprintf(in + n, sizeof(in) - n, "%s{\"role\":\"user\",\"content\":[",
                                  msg ? "," : "");
            for (int k = msg * FIRST; k < msg * FIRST + FIRST; k++) {
                bool gone = drop >> k & 1;
                snprintf(part, sizeof(part), "{\"type\":\"%s\",\"n\":%d}",
                         gone ? "thinking" : "text", k);
                n += (size_t)snprintf(in + n, sizeof(in) - n, "%s%s", k % FIRST ? "," : "", part);
                if (gone)
                    continue;
                if (kept == 0)
                    m += (size_t)snprintf(want + m, sizeof(want) - m,
                                          "%s{\"role\":\"user\",\"content\":[",
                                          messages++ ? "," : "");
                m += (size_t)snprintf(want + m, sizeof(want) - m, "%s%s", kept++ ? "," : "", part);
            }
            n += (size_t)snprintf(in + n, sizeof(in) - n, "]}");
            if (kept)
                m += (size_t)snprintf(want + m, sizeof(want) - m, "]}");
        }
        snprintf(in + n, sizeof(in) - n, "]}");
        snprintf(want + m, sizeof(want) - m, "]}");
        scan(&b, slice_str(in));
        assert_int_equal(b.err, ERR_OK);
        assert_int_equal(b.r.has_thinking, drop != 0);
        if (messages) /* nothing but thinking is left for the upstream to refuse */
            assert_true(slice_eq(splice(&b, true), slice_str(want)));
        assert_true(json_validate(splice(&b, true), NULL));
        done(&b);
    }
}

/* ---- what is found ---- */

static void test_found(void **state)
{
    struct body b;

    (void)state;
    scan(
        &b,
        SLICE("{\"model\":\"cl\\u0061ude\",\"stream\":true,\"max_tokens\":77,\"tools\":[{}],"
              "\"system\":\"s\",\"output_config\":{\"format\":{}},\"messages\":[{\"role\":\"user\","
              "\"content\":[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"text\",\"text\":"
              "\"two\"},{\"type\":\"tool_result\",\"content\":[{\"type\":\"image\"},{\"type\":"
              "\"text\",\"text\":\"no\"}]}]},{\"role\":\"assistant\",\"content\":\"ans\"}]}"));
    assert_int_equal(b.err, ERR_OK);
    assert_true(slice_eq(b.r.model_name, SLICE("claude")));
    assert_true(b.r.stream && b.r.has_image && b.r.has_format);
    assert_false(b.r.has_document || b.r.has_thinking);
    assert_int_equal(b.r.max_tokens, 77);
    assert_true(slice_eq(b.r.last_user_text, SLICE("\"two\"")));
    assert_true(b.r.tools.value.text.n > 0 && b.r.system.value.text.n > 0);
    assert_true(b.r.prompt_tokens > 50);
    done(&b);
    scan(&b,
         SLICE("{\"model\":\"m\",\"messages\":[1,null,{\"role\":\"user\",\"content\":[1,\"x\"]}],"
               "\"max_tokens\":\"many\",\"stream\":null}"));
    assert_int_equal(b.err, ERR_OK); /* the upstream judges */
    assert_int_equal(b.r.max_tokens, -1);
    assert_true(b.r.last_user_text.n == 0 && !b.r.stream);
    done(&b);
}

/* ---- refusals ---- */

static const struct {
    enum err err;
    const char *param, *in;
} refusals[] = {
    {ERR_BAD_JSON, NULL, ""},
    {ERR_BAD_JSON, NULL, "[]"},
    {ERR_BAD_JSON, NULL, "{\"model\":\"m\",\"messages\":[]"},
    {ERR_BAD_REQUEST, "model", "{\"messages\":[]}"},
    {ERR_BAD_REQUEST, "model", "{\"model\":null,\"messages\":[]}"},
    {ERR_BAD_REQUEST, "model", "{\"model\":1,\"messages\":[]}"},
    {ERR_BAD_REQUEST, "model", "{\"model\":\"\",\"messages\":[]}"},
    {ERR_BAD_REQUEST, "messages", "{\"model\":\"m\"}"},
    {ERR_BAD_REQUEST, "messages", "{\"model\":\"m\",\"messages\":\"x\"}"},
    {ERR_BAD_REQUEST, "messages", "{\"model\":\"m\",\"messages\":[],\"messages\":{}}"},
    {ERR_BAD_REQUEST, "stream", "{\"model\":\"m\",\"messages\":[],\"stream\":1}"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        struct body b;
        scan(&b, slice_str(refusals[i].in));
        assert_int_equal(b.err, refusals[i].err);
        if (refusals[i].param)
            assert_string_equal(b.param, refusals[i].param);
        assert_true(b.t.s[0] != 0);
        done(&b);
    }
}

/* Every prefix is refused, and every damaged byte is either refused or spliced into valid JSON. */
static void test_damage(void **state)
{
    static const char whole[] = "{" M MSG("[" T "," X "," RED "]") ",\"stream\":true}";
    char text[sizeof(whole)];

    (void)state;
    for (size_t n = 0; n < sizeof(whole) - 1; n++) {
        struct body b;
        scan(&b, slice_make(whole, n));
        assert_int_equal(b.err, ERR_BAD_JSON);
        done(&b);
        for (const char *c = "\"\\{}[],: \x80n1"; *c; c++) {
            memcpy(text, whole, sizeof(whole));
            text[n] = *c;
            scan(&b, slice_make(text, sizeof(whole) - 1));
            if (!b.err) {
                assert_true(json_validate(splice(&b, true), NULL));
                assert_true(json_validate(splice(&b, false), NULL));
            }
            done(&b);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splices), cmocka_unit_test(test_arrangements),
        cmocka_unit_test(test_found),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Requests: what is found, what is refused and in which words, and that a splice changes the
 * replaced members only: golden texts, every prefix and every damaged byte, and random bodies
 * compared with jansson. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "backends/wire/openai_request.h"
#include "base/rng.h"
#include "tests/unit/wire/jansson_tree.h"

#define MSG "\"messages\":[]"

/* The body in a block of its own size, so that the sanitizer sees reads beyond it. */
struct body {
    struct arena a;
    char *copy;
    struct openai_request r;
    const char *param;
    struct err_text t;
    enum err err;
};

static void scan(struct body *b, enum wire_api api, struct slice text)
{
    *b = (struct body){0};
    arena_init(&b->a, 1024);
    assert_non_null(b->copy = malloc(text.n ? text.n : 1));
    memcpy(b->copy, text.p, text.n);
    b->err = openai_request_scan(api, slice_make(b->copy, text.n), &b->a, &b->r, &b->param, &b->t);
}

static void done(struct body *b)
{
    arena_clear(&b->a);
    free(b->copy);
}

/* The splice as one string; free() it. */
static char *splice_asking(struct body *b, const char *model, enum openai_usage_wish ask,
                           bool logprobs, size_t *n)
{
    struct slice *pieces;
    size_t total, at = 0,
                  count = openai_request_splice(&b->r, slice_str(model), ask, logprobs, &b->a,
                                                &pieces, &total);
    char *text = malloc(total + 1);

    assert_non_null(text);
    for (size_t i = 0; i < count; i++) {
        assert_true(at + pieces[i].n <= total);
        memcpy(text + at, pieces[i].p, pieces[i].n);
        at += pieces[i].n;
    }
    assert_int_equal(at, total);
    text[at] = 0;
    *n = at;
    return text;
}

static char *splice(struct body *b, const char *model, enum openai_usage_wish ask, size_t *n)
{
    return splice_asking(b, model, ask, false, n);
}

/* ---- log-probabilities for weir's own sake ---- */

#define MODEL "\"model\":\"up\","
#define TOP   "\"logprobs\":true,\"top_logprobs\":5,"
#define TEXT  "\"prompt\":\"a\""

static const struct {
    enum wire_api api;
    const char *in, *want; /* want NULL: as written */
} asks[] = {
    {WIRE_CHAT, "{" MODEL MSG "}", "{" TOP MODEL MSG "}"},
    {WIRE_CHAT, " {" MODEL MSG ",\"logprobs\":false}",
     " {" MODEL MSG ",\"logprobs\":true,\"top_logprobs\":5}"},
    {WIRE_CHAT, "{\"top_logprobs\":null,\"logprobs\": null ," MODEL MSG "}",
     "{\"top_logprobs\":5,\"logprobs\": true ," MODEL MSG "}"},
    {WIRE_CHAT, "{" MODEL MSG ",\"top_logprobs\":0}",
     "{\"logprobs\":true," MODEL MSG ",\"top_logprobs\":5}"},
    {WIRE_CHAT, "{\"logprobs\":true,\"logprobs\":null," MODEL MSG ",\"top_\\u006cogprobs\":2}",
     "{\"logprobs\":true,\"logprobs\":true," MODEL MSG ",\"top_\\u006cogprobs\":5}"},
    {WIRE_CHAT, "{" MODEL MSG ",\"logprobs\":true}", NULL},
    {WIRE_CHAT, "{" MODEL MSG ",\"logprobs\":true,\"top_logprobs\":2}", NULL},
    {WIRE_CHAT, "{" MODEL MSG ",\"logprobs\":\"yes\"}", NULL}, /* the server judges it */
    {WIRE_COMPLETIONS, "{" MODEL TEXT "}", "{\"logprobs\":5," MODEL TEXT "}"},
    {WIRE_COMPLETIONS, "{" MODEL TEXT ",\"logprobs\":null}", "{" MODEL TEXT ",\"logprobs\":5}"},
    {WIRE_COMPLETIONS, "{" MODEL TEXT ",\"logprobs\":0}", NULL},
    {WIRE_EMBEDDINGS, "{" MODEL "\"input\":\"a\"}", NULL},
};

static void asks_logprobs(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        struct body b;
        size_t n;
        char *got;

        scan(&b, asks[i].api, slice_str(asks[i].in));
        assert_int_equal(b.err, ERR_OK);
        got = splice_asking(&b, "up", OPENAI_USAGE_AS_WRITTEN, true, &n);
        assert_string_equal(got, asks[i].want ? asks[i].want : asks[i].in);
        free(got);
        got = splice(&b, "up", OPENAI_USAGE_AS_WRITTEN, &n);
        assert_string_equal(got, asks[i].in);
        free(got);
        done(&b);
    }
}

/* ---- splices ---- */

#define OPT  "\"stream_options\":{\"include_usage\":true},"
#define BOTH "\"include_usage\":true,\"continuous_usage_stats\":true"

static const struct {
    const char *in, *plain, *asked; /* asked NULL: the same as plain */
} splices[] = {
    {"{\"model\":\"auto\"," MSG "}", "{\"model\":\"up/m\"," MSG "}", NULL},
    {"{" MSG ",\"model\":\"auto\"}", "{" MSG ",\"model\":\"up/m\"}", NULL},
    {" \t\r\n{ \"model\" : \"auto\" , " MSG " } \n", " \t\r\n{ \"model\" : \"up/m\" , " MSG " } \n",
     NULL},
    {"{\"\\u006dodel\":\"\\u0061uto\"," MSG "}", "{\"\\u006dodel\":\"up/m\"," MSG "}", NULL},
    {"{\"model\":\"a\"," MSG ",\"model\":\"auto\"}",
     "{\"model\":\"up/m\"," MSG ",\"model\":\"up/m\"}", NULL},
    {"{\"model\":7," MSG ",\"model\":\"auto\"}", "{\"model\":\"up/m\"," MSG ",\"model\":\"up/m\"}",
     NULL},
    {"{\"messages\":[{\"role\":\"user\",\"model\":\"x\"}],\"model\":\"auto\"}",
     "{\"messages\":[{\"role\":\"user\",\"model\":\"x\"}],\"model\":\"up/m\"}", NULL},
    /* what weir does not know stays as it was written */
    {"{\"model\":\"auto\"," MSG ",\"temperature\":1.0E+0,\"seed\":123456789012345678901,\"x\":1,"
     "\"x\":-0,\"s\":\"\\ud800\\/\\u00e9\"}",
     "{\"model\":\"up/m\"," MSG ",\"temperature\":1.0E+0,\"seed\":123456789012345678901,\"x\":1,"
     "\"x\":-0,\"s\":\"\\ud800\\/\\u00e9\"}",
     NULL},
    /* usage is asked for only in streams */
    {"{\"model\":\"auto\"," MSG ",\"stream\":false,\"stream_options\":{}}",
     "{\"model\":\"up/m\"," MSG ",\"stream\":false,\"stream_options\":{}}", NULL},
    {"{\"model\":\"auto\"," MSG ",\"stream\":true}", "{\"model\":\"up/m\"," MSG ",\"stream\":true}",
     "{" OPT "\"model\":\"up/m\"," MSG ",\"stream\":true}"},
    {" { \"model\":\"auto\"," MSG ",\"stream\":true}",
     " { \"model\":\"up/m\"," MSG ",\"stream\":true}",
     " {" OPT " \"model\":\"up/m\"," MSG ",\"stream\":true}"},
    {"{\"model\":\"auto\"," MSG ",\"stream\":true,\"stream\":false}",
     "{\"model\":\"up/m\"," MSG ",\"stream\":true,\"stream\":false}", NULL},
    {"{\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"auto\"," MSG "}",
     "{\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"up/m\"," MSG "}",
     NULL},
    {"{\"stream\":true,\"stream_options\":{\"include_usage\":false},\"model\":\"auto\"," MSG "}",
     "{\"stream\":true,\"stream_options\":{\"include_usage\":false},\"model\":\"up/m\"," MSG "}",
     "{\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"up/m\"," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{ \"include_usage\" : null , "
     "\"include_obfuscation\":false }," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{ \"include_usage\" : null , "
     "\"include_obfuscation\":false }," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{ \"include_usage\" : true , "
     "\"include_obfuscation\":false }," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{ \"continuous_usage_stats\":true "
     "}," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{ \"continuous_usage_stats\":true "
     "}," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{\"include_usage\":true, "
     "\"continuous_usage_stats\":true }," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{}," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{}," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{ }," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{ }," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{\"include_usage\":true }," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":null," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":null," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"include_usage\":true,"
     "\"include\\u005fusage\":false}," MSG "}",
     "{\"model\":\"up/"
     "m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"include\\u005fusage\":false}"
     "," MSG "}",
     "{\"model\":\"up/"
     "m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"include\\u005fusage\":true}"
     "," MSG "}"},
    {"{\"stream_options\":3,\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"a\":1}," MSG
     "}",
     "{\"stream_options\":3,\"model\":\"up/m\",\"stream\":true,\"stream_options\":{\"a\":1}," MSG
     "}",
     "{\"stream_options\":{\"include_usage\":true},\"model\":\"up/"
     "m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"a\":1}," MSG "}"},
};

static void splices_are_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(splices) / sizeof(splices[0]); i++) {
        for (int ask = 0; ask <= 1; ask++) {
            const char *want = ask && splices[i].asked ? splices[i].asked : splices[i].plain;
            struct body b;
            size_t n;
            char *got;

            scan(&b, WIRE_CHAT, slice_str(splices[i].in));
            if (b.err)
                fail_msg("%s: %s", splices[i].in, b.t.s);
            assert_true(slice_eq(b.r.model_name, SLICE("auto")));
            got = splice(&b, "up/m", ask, &n);
            assert_string_equal(got, want);
            free(got);
            done(&b);
        }
    }
}

/* ... and in each chunk, where the client wrote nothing about that itself. */
static const struct {
    const char *in, *throughout;
} everywhere[] = {
    {"{\"model\":\"auto\",\"stream\":true," MSG "}",
     "{\"stream_options\":{" BOTH "},\"model\":\"up/m\",\"stream\":true," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{}," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{" BOTH "}," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":null," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{" BOTH "}," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"include_usage\":false,\"x\":1}," MSG
     "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{" BOTH ",\"x\":1}," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"x\":1}," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{" BOTH ",\"x\":1}," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"continuous_usage_stats\":false}"
     "," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,"
     "\"continuous_usage_stats\":false}," MSG "}"},
    {"{\"model\":\"auto\",\"stream\":true,\"stream_options\":{\"include_usage\":false,"
     "\"include_usage\":null}," MSG "}",
     "{\"model\":\"up/m\",\"stream\":true,\"stream_options\":{" BOTH ",\"include_usage\":true}," MSG
     "}"},
    {"{\"model\":\"auto\",\"stream\":false," MSG "}",
     "{\"model\":\"up/m\",\"stream\":false," MSG "}"},
};

static void usage_is_asked_throughout(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(everywhere) / sizeof(everywhere[0]); i++) {
        struct body b;
        size_t n;
        char *got;

        scan(&b, WIRE_CHAT, slice_str(everywhere[i].in));
        assert_int_equal(b.err, ERR_OK);
        got = splice(&b, "up/m", OPENAI_USAGE_THROUGHOUT, &n);
        assert_string_equal(got, everywhere[i].throughout);
        free(got);
        done(&b);
    }
}

static void model_names_are_encoded(void **state)
{
    struct body b;
    size_t n;
    char *got;

    (void)state;
    scan(&b, WIRE_CHAT, SLICE("{\"model\":\"caf\\u00e9 \\\"1\\\"\"," MSG "}"));
    assert_int_equal(b.err, ERR_OK);
    assert_true(slice_eq(b.r.model_name, SLICE("caf\xC3\xA9 \"1\"")));
    got = splice(&b, "a\"b\\c\n", false, &n);
    assert_string_equal(got, "{\"model\":\"a\\\"b\\\\c\\n\"," MSG "}");
    free(got);
    done(&b);
}

/* ---- what is found ---- */

static void everything_is_found(void **state)
{
    static const char in[] =
        "{\"model\":\"auto\",\"messages\":["
        "{\"role\":\"system\",\"content\":\"be brief\"},"
        "{\"role\":\"user\",\"content\":\"first\"},"
        "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"type\":\"function\","
        "\"function\":{\"content\":\"x\"}}]},"
        "{\"content\":\"sec\\\"ond\",\"role\":\"user\"},"
        "{\"role\":\"tool\",\"content\":\"result\"}],"
        "\"stream\":true,\"stream_options\":{\"include_usage\":true},\"n\":3,\"max_tokens\":100,"
        "\"max_completion_tokens\":50,"
        "\"logprobs\":true,\"tools\":[{}],\"response_format\":{\"type\":\"json_object\"}}";
    struct body b;

    (void)state;
    scan(&b, WIRE_CHAT, slice_str(in));
    assert_int_equal(b.err, ERR_OK);
    assert_int_equal(b.r.api, WIRE_CHAT);
    assert_int_equal(b.r.body.n, sizeof(in) - 1);
    assert_int_equal(b.r.messages.value.type, JSON_ARRAY);
    assert_true(b.r.stream && b.r.include_usage && b.r.has_stream_options && b.r.logprobs);
    assert_false(b.r.has_image || b.r.has_audio);
    assert_int_equal(b.r.n, 3);
    assert_int_equal(b.r.max_tokens, 50);
    assert_true(slice_eq(b.r.last_user_text, SLICE("\"sec\\\"ond\"")));
    assert_true(slice_eq(b.r.tools.value.text, SLICE("[{}]")));
    assert_true(slice_eq(b.r.response_format.value.text, SLICE("{\"type\":\"json_object\"}")));
    assert_int_equal(b.r.prompt_tokens, (sizeof(in) - 1 + 3) / 4);
    done(&b);
}

static void defaults(void **state)
{
    struct body b;

    (void)state;
    scan(&b, WIRE_CHAT,
         SLICE("{\"model\":\"m\"," MSG ",\"stream\":null,\"n\":null,\"stream_options\":null,\"max_"
               "tokens\":\"x\",\"logprobs\":false}"));
    assert_int_equal(b.err, ERR_OK);
    assert_false(b.r.stream || b.r.include_usage || b.r.logprobs || b.r.has_image);
    assert_true(b.r.has_stream_options);
    assert_int_equal(b.r.n, 1);
    assert_int_equal(b.r.max_tokens, -1);
    assert_int_equal(b.r.tools.value.text.n, 0);
    assert_int_equal(b.r.last_user_text.n, 0);
    done(&b);
}

static const struct {
    enum wire_api api;
    const char *in, *user;
    int64_t n;
    bool image, audio;
} contents[] = {
    {WIRE_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":"
     "\"a\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:\"}},{\"text\":\"b\",\"type\":"
     "\"text\"}]}]}",
     "\"b\"", 1, true, false},
    {WIRE_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\","
     "\"input_audio\":{}}]}]}",
     "", 1, false, true},
    {WIRE_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"image\"}]}]}",
     "", 1, true, false},
    {WIRE_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[1,null,\"x\",[{\"type\":"
     "\"image_url\"}],{\"type\":1}]},2,\"image_url\",null]}",
     "", 1, false, false},
    {WIRE_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\","
     "\"content\":{\"type\":\"image_url\"}}]}",
     "", 1, false, false},
    {WIRE_CHAT,
     "{\"model\":\"m\",\"messages\":[{\"role\":\"users\",\"content\":\"a\"},{\"role\":\"us\","
     "\"content\":\"b\"},{\"content\":\"c\"}]}",
     "", 1, false, false},
    {WIRE_COMPLETIONS, "{\"model\":\"m\",\"prompt\":\"once\",\"n\":2,\"logprobs\":0}", "\"once\"",
     2, false, false},
    {WIRE_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[\"a\",\"b\",\"c\"],\"n\":2}", "", 6, false,
     false},
    {WIRE_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[[1,2],[3]]}", "", 2, false, false},
    {WIRE_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[1,2,3]}", "", 1, false, false},
    {WIRE_COMPLETIONS, "{\"model\":\"m\",\"prompt\":[]}", "", 1, false, false},
    {WIRE_EMBEDDINGS, "{\"model\":\"m\",\"input\":\"x\"}", "\"x\"", 1, false, false},
    {WIRE_EMBEDDINGS, "{\"model\":\"m\",\"input\":[\"x\",\"y\"],\"n\":\"ignored\"}", "", 1, false,
     false},
};

static void contents_are_walked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
        struct body b;
        scan(&b, contents[i].api, slice_str(contents[i].in));
        if (b.err)
            fail_msg("%s: %s", contents[i].in, b.t.s);
        if (!slice_eq(b.r.last_user_text, slice_str(contents[i].user)) || b.r.n != contents[i].n ||
            b.r.has_image != contents[i].image || b.r.has_audio != contents[i].audio)
            fail_msg("%s: '%.*s' n %lld %d %d", contents[i].in, SLICE_ARG(b.r.last_user_text),
                     (long long)b.r.n, b.r.has_image, b.r.has_audio);
        done(&b);
    }
}

/* ---- what is refused ---- */

#define M "\"model\":\"m\","

static const struct {
    enum wire_api api;
    const char *in;
    enum err err;
    const char *param, *text;
} refused[] = {
    {WIRE_CHAT, "{" MSG "}", ERR_BAD_REQUEST, "model", "Missing required parameter: 'model'."},
    {WIRE_CHAT, "{}", ERR_BAD_REQUEST, "model", "Missing required parameter: 'model'."},
    {WIRE_CHAT, "{\"model\":5," MSG "}", ERR_BAD_REQUEST, "model",
     "Invalid type for 'model': expected a string, but got an integer instead."},
    {WIRE_CHAT, "{\"model\":5.5," MSG "}", ERR_BAD_REQUEST, "model",
     "Invalid type for 'model': expected a string, but got a decimal instead."},
    {WIRE_CHAT, "{\"model\":null," MSG "}", ERR_BAD_REQUEST, "model",
     "Invalid type for 'model': expected a string, but got null instead."},
    {WIRE_CHAT, "{\"model\":\"a\"," MSG ",\"model\":[]}", ERR_BAD_REQUEST, "model",
     "Invalid type for 'model': expected a string, but got an array instead."},
    {WIRE_CHAT, "{\"model\":\"\"," MSG "}", ERR_BAD_REQUEST, "model",
     "Invalid 'model': the name is empty."},
    {WIRE_CHAT, "{\"model\":\"m\"}", ERR_BAD_REQUEST, "messages",
     "Missing required parameter: 'messages'."},
    {WIRE_CHAT, "{" M "\"messages\":\"hi\"}", ERR_BAD_REQUEST, "messages",
     "Invalid type for 'messages': expected an array of objects, but got a string instead."},
    {WIRE_CHAT, "{" M "\"messages\":null}", ERR_BAD_REQUEST, "messages",
     "Invalid type for 'messages': expected an array of objects, but got null instead."},
    {WIRE_COMPLETIONS, "{" M MSG "}", ERR_BAD_REQUEST, "prompt",
     "Missing required parameter: 'prompt'."},
    {WIRE_COMPLETIONS, "{" M "\"prompt\":{}}", ERR_BAD_REQUEST, "prompt",
     "Invalid type for 'prompt': expected one of a string or an array, but got an object instead."},
    {WIRE_EMBEDDINGS, "{" M "\"prompt\":\"\"}", ERR_BAD_REQUEST, "input",
     "Missing required parameter: 'input'."},
    {WIRE_EMBEDDINGS, "{" M "\"input\":true}", ERR_BAD_REQUEST, "input",
     "Invalid type for 'input': expected one of a string or an array, but got a boolean instead."},
    {WIRE_CHAT, "{" M MSG ",\"stream\":\"true\"}", ERR_BAD_REQUEST, "stream",
     "Invalid type for 'stream': expected a boolean, but got a string instead."},
    {WIRE_CHAT, "{" M MSG ",\"stream\":1}", ERR_BAD_REQUEST, "stream",
     "Invalid type for 'stream': expected a boolean, but got an integer instead."},
    {WIRE_CHAT, "{" M MSG ",\"stream_options\":[]}", ERR_BAD_REQUEST, "stream_options",
     "Invalid type for 'stream_options': expected an object, but got an array instead."},
    {WIRE_CHAT, "{" M MSG ",\"stream_options\":{\"include_usage\":\"yes\"}}", ERR_BAD_REQUEST,
     "stream_options.include_usage",
     "Invalid type for 'stream_options.include_usage': expected a boolean, but got a string "
     "instead."},
    {WIRE_CHAT, "{" M MSG ",\"n\":\"2\"}", ERR_BAD_REQUEST, "n",
     "Invalid type for 'n': expected an integer, but got a string instead."},
    {WIRE_CHAT, "{" M MSG ",\"n\":1.0}", ERR_BAD_REQUEST, "n",
     "Invalid type for 'n': expected an integer, but got a decimal instead."},
    {WIRE_CHAT, "{" M MSG ",\"n\":0}", ERR_BAD_REQUEST, "n",
     "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead."},
    {WIRE_COMPLETIONS, "{" M "\"prompt\":[\"\",\"\",\"\"],\"n\":9223372036854775807}",
     ERR_BAD_REQUEST, "n", "Invalid 'n': integer above maximum value."},
    {WIRE_CHAT, "", ERR_BAD_JSON, NULL, NULL},
    {WIRE_CHAT, "[]", ERR_BAD_JSON, NULL, NULL},
    {WIRE_CHAT, "\"model\"", ERR_BAD_JSON, NULL, NULL},
    {WIRE_CHAT, "{" M MSG "}x", ERR_BAD_JSON, NULL,
     "We could not parse the JSON body of your request: it is not a JSON object, or not valid at "
     "byte 27."},
    {WIRE_CHAT, "{" M MSG ",}", ERR_BAD_JSON, NULL, NULL},
    {WIRE_CHAT, "{\"model\":5," MSG "", ERR_BAD_JSON, NULL, NULL}, /* the grammar is judged first */
    {WIRE_CHAT, "\xEF\xBB\xBF{" M MSG "}", ERR_BAD_JSON, NULL, NULL},
};

static void refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct body b;
        scan(&b, refused[i].api, slice_str(refused[i].in));
        if (b.err != refused[i].err)
            fail_msg("%s: %s", refused[i].in, err_name(b.err));
        if (refused[i].param)
            assert_string_equal(b.param, refused[i].param);
        else
            assert_null(b.param);
        if (refused[i].text)
            assert_string_equal(b.t.s, refused[i].text);
        assert_true(b.t.s[0]);
        done(&b);
    }
}

/* name:value repeated count times after the usual members. */
static char *repeat(const char *member, int count)
{
    size_t room = 64 + (strlen(member) + 1) * (size_t)count, at;
    char *s = malloc(room);

    assert_non_null(s);
    at = (size_t)snprintf(s, room, "{" M MSG);
    for (int i = 0; i < count; i++)
        at += (size_t)snprintf(s + at, room - at, ",%s", member);
    snprintf(s + at, room - at, "}");
    return s;
}

static void repetition_is_bounded(void **state)
{
    static const struct {
        const char *member;
        int most;
        const char *param;
    } cases[] = {
        {"\"model\":\"m\"", 15, "model"},
        {"\"stream_options\":{}", 16, "stream_options"},
        {"\"x\":1", 100000, NULL},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *most = repeat(cases[i].member, cases[i].most),
             *more = repeat(cases[i].member, cases[i].most + 1);
        struct body b;
        size_t n;

        scan(&b, WIRE_CHAT, slice_str(most));
        assert_int_equal(b.err, ERR_OK);
        free(splice(&b, "m", true, &n));
        done(&b);
        scan(&b, WIRE_CHAT, slice_str(more));
        assert_int_equal(b.err, cases[i].param ? ERR_BAD_REQUEST : ERR_OK);
        if (cases[i].param)
            assert_string_equal(b.param, cases[i].param);
        done(&b);
        free(most);
        free(more);
    }
}

static void flags_are_bounded(void **state)
{
    struct body b;
    char text[4096] = "{" M MSG ",\"stream\":true,\"stream_options\":{\"include_usage\":false";

    (void)state;
    for (int i = 0; i < 100; i++)
        strncat(text, ",\"include_usage\":false", sizeof(text) - strlen(text) - 1);
    strncat(text, "}}", sizeof(text) - strlen(text) - 1);
    scan(&b, WIRE_CHAT, slice_str(text));
    assert_int_equal(b.err, ERR_BAD_REQUEST);
    assert_string_equal(b.param, "stream_options.include_usage");
    done(&b);
}

/* ---- against jansson ---- */

static const char *const seeds[] = {
    "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true,"
    "\"stream_options\":{\"include_usage\":false,\"a\":1},\"n\":2}",
    "{ \"messages\" : [ { \"role\" : \"user\" , \"content\" : [ { \"type\" : \"text\", \"text\" : "
    "\"\\u00e9\\n\" } ] } ] , \"temperature\" : 0.70 , \"model\" : \"m\" }",
    "{\"model\":\"a\",\"messages\":[],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":"
    "\"f\",\"parameters\":{\"type\":\"object\"}}}],\"stream\":true}",
};

/* Both must agree on whether the text is JSON, but for what jansson refuses on purpose (see
 * jansson_tree.h). */
static void compare(struct slice in, size_t *accepted)
{
    struct body b;
    bool ask = in.n % 2;
    size_t n;

    scan(&b, WIRE_CHAT, in);
    if (b.err == ERR_OK) {
        char *got = splice(&b, "up", ask, &n);
        enum jansson_verdict v = jansson_compare(in, slice_make(got, n), "up", ask && b.r.stream);
        if (v == JANSSON_DIFFERENT)
            fail_msg("%.*s\nbecame\n%s", SLICE_ARG(in), got);
        *accepted += v == JANSSON_SAME;
        free(got);
    } else if (b.err == ERR_BAD_JSON && jansson_accepts_object(in)) {
        fail_msg("jansson accepts %.*s (%s)", SLICE_ARG(in), b.t.s);
    }
    done(&b);
}

static void mutated_bodies_agree_with_jansson(void **state)
{
    static const char alphabet[] =
        "{}[]:,\"\\ \n0123456789.-+eEtruefalsnl\x00\x01\x7f\x80\xc3\xa9\xff/bu";
    struct rng rng;
    size_t accepted = 0;

    (void)state;
    rng_seed(&rng, 20261121);
    for (int round = 0; round < 30000; round++) {
        const char *seed = seeds[rng_below(&rng, sizeof(seeds) / sizeof(seeds[0]))];
        char text[512];
        size_t n = strlen(seed);

        memcpy(text, seed, n);
        for (uint64_t edits = rng_below(&rng, 3) + 1; edits; edits--) {
            size_t at = (size_t)rng_below(&rng, n);
            size_t other = (size_t)rng_below(&rng, n),
                   len = (size_t)rng_below(&rng, n - (at > other ? at : other));
            switch (rng_below(&rng, 4)) {
            case 0: /* another byte */
                text[at] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
                break;
            case 1: /* one byte less */
                memmove(text + at, text + at + 1, n - at - 1);
                n--;
                break;
            case 2: /* one byte more */
                if (n == sizeof(text))
                    break;
                memmove(text + at + 1, text + at, n - at);
                text[at] = alphabet[rng_below(&rng, sizeof(alphabet) - 1)];
                n++;
                break;
            default: /* a piece of itself elsewhere */
                memmove(text + at, text + other, len);
                break;
            }
        }
        compare(slice_make(text, n), &accepted);
    }
    assert_true(accepted > 1000); /* else the comparison says little */
}

static void every_prefix_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
        for (size_t n = 0; n < strlen(seeds[i]); n++) {
            struct body b;
            scan(&b, WIRE_CHAT, slice_make(seeds[i], n));
            assert_int_equal(b.err, ERR_BAD_JSON);
            done(&b);
        }
}

/* 100 KB and more: offsets, not luck. */
static void large_bodies(void **state)
{
    size_t text_bytes = 300000, n;
    char *text = malloc(text_bytes + 256);
    struct body b;
    static const char end[] = "xxx\"}],\"stream\":true,\"model\":\"up\"}";
    char *got;
    int at;

    (void)state;
    assert_non_null(text);
    at = snprintf(text, 128, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    memset(text + at, 'x', text_bytes);
    snprintf(text + at + text_bytes, 128, "\"}],\"stream\":true,\"model\":\"auto\"}");
    scan(&b, WIRE_CHAT, slice_str(text));
    assert_int_equal(b.err, ERR_OK);
    assert_int_equal(b.r.last_user_text.n, text_bytes + 2);
    got = splice(&b, "up", true, &n);
    assert_int_equal(n, strlen(text) + strlen(OPT) - 2);
    assert_true(slice_starts(slice_make(got, n), SLICE("{" OPT "\"messages\":")));
    assert_string_equal(got + n - strlen(end), end);
    free(got);
    done(&b);
    free(text);
}

/* What is billed for a picture has nothing to do with the length of its base64. */
static void media_do_not_count_as_text(void **state)
{
    static const struct {
        const char *before, *after;
        bool is_text;
    } forms[] = {
        {"{\"type\":\"image_url\",\"image_url\":{\"url\":\"", "\"}}", false},
        {"{\"type\":\"image_url\",\"image_url\":\"", "\"}", false},
        {"{\"type\":\"input_audio\",\"input_audio\":{\"format\":\"wav\",\"data\":\"", "\"}}",
         false},
        {"{\"type\":\"text\",\"text\":\"", "\"}", true},
    };
    enum { DATA = 400000 };
    char *data = malloc(DATA + 1), *text = malloc(DATA + 256);
    struct body b;

    (void)state;
    assert_non_null(data);
    assert_non_null(text);
    memset(data, 'A', DATA);
    data[DATA] = 0;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        snprintf(text, DATA + 256,
                 "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[%s%s%s]}]}",
                 forms[i].before, data, forms[i].after);
        scan(&b, WIRE_CHAT, slice_str(text));
        assert_int_equal(b.err, ERR_OK);
        if (forms[i].is_text)
            assert_in_range(b.r.prompt_tokens, DATA / 4, DATA / 4 + 64);
        else
            assert_in_range(b.r.prompt_tokens, 1000, 1064);
        done(&b);
    }
    scan(&b, WIRE_CHAT,
         SLICE("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_"
               "url\","
               "\"image_url\":{\"url\":\"http://a/b.png\"}}]}]}"));
    assert_int_equal(b.r.prompt_tokens, (b.r.body.n + 3) / 4); /* a short one is what it is */
    done(&b);
    free(data);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(asks_logprobs),
        cmocka_unit_test(splices_are_exact),
        cmocka_unit_test(usage_is_asked_throughout),
        cmocka_unit_test(model_names_are_encoded),
        cmocka_unit_test(everything_is_found),
        cmocka_unit_test(defaults),
        cmocka_unit_test(contents_are_walked),
        cmocka_unit_test(refusals),
        cmocka_unit_test(repetition_is_bounded),
        cmocka_unit_test(flags_are_bounded),
        cmocka_unit_test(mutated_bodies_agree_with_jansson),
        cmocka_unit_test(every_prefix_is_refused),
        cmocka_unit_test(large_bodies),
        cmocka_unit_test(media_do_not_count_as_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

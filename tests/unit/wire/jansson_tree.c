/* Does in a tree what openai_request_splice claims to do in the text. */
#include "tests/unit/wire/jansson_tree.h"

#include <jansson.h>

static void ask_usage(json_t *tree)
{
    json_t *options = json_object_get(tree, "stream_options");

    if (!json_is_object(options)) {
        options = json_object();
        json_object_set_new(tree, "stream_options", options);
    }
    json_object_set_new(options, "include_usage", json_true());
}

enum jansson_verdict jansson_compare(struct slice body, struct slice spliced, const char *model,
                                     bool ask)
{
    json_t *want = json_loadb(body.p, body.n, 0, NULL), *got;
    bool same;

    if (!want)
        return JANSSON_REFUSES;
    json_object_set_new(want, "model", json_string(model));
    if (ask)
        ask_usage(want);
    got = json_loadb(spliced.p, spliced.n, 0, NULL);
    same = got && json_equal(got, want);
    json_decref(got);
    json_decref(want);
    return same ? JANSSON_SAME : JANSSON_DIFFERENT;
}

bool jansson_accepts_object(struct slice text)
{
    json_t *tree = json_loadb(text.p, text.n, 0, NULL);
    bool object = json_is_object(tree) &&
                  !memchr(text.p, 0, text.n); /* jansson 2.14 skips NUL bytes between tokens */

    json_decref(tree);
    return object;
}

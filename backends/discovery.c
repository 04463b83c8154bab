/* Reads a list of models. Called by the control thread with what a server answered. */
#include "backends/discovery.h"

#include <string.h>
#include "base/json_scan.h"

/* Names are keys of tables and parts of log lines; no real one is longer. */
#define MAX_ID_BYTES 512

static bool is_usable(struct slice id)
{
    for (size_t i = 0; i < id.n; i++) {
        if ((unsigned char)id.p[i] < ' ' || id.p[i] == 0x7F)
            return false;
    }
    return id.n > 0;
}

static bool read_id(struct json_value model, struct arena *a, struct slice *out)
{
    struct json_member m;
    size_t n;
    char *id;

    if (!json_get(model, SLICE("id"), &m) || m.value.type != JSON_STRING ||
        (n = json_string_decode(m.value.text, NULL, 0)) > MAX_ID_BYTES)
        return false;
    id = arena_zalloc(a, n + 1);
    json_string_decode(m.value.text, id, n);
    *out = slice_make(id, n);
    return is_usable(*out);
}

static bool read_count(struct json_value object, struct slice key, int64_t *out)
{
    struct json_member m;

    return json_get(object, key, &m) && m.value.type == JSON_NUMBER && json_int(m.value, out) &&
           *out > 0;
}

static int64_t read_context(struct json_value model)
{
    struct json_member meta;
    int64_t n;

    if (read_count(model, SLICE("max_model_len"), &n) ||
        read_count(model, SLICE("context_length"), &n) ||
        read_count(model, SLICE("max_context_length"), &n) ||
        read_count(model, SLICE("max_input_tokens"), &n))
        return n;
    if (json_get(model, SLICE("meta"), &meta) && meta.value.type == JSON_OBJECT &&
        (read_count(meta.value, SLICE("n_ctx"), &n) ||
         read_count(meta.value, SLICE("n_ctx_train"), &n)))
        return n;
    return -1;
}

/* Is that member this text? */
static bool says(struct json_value model, struct slice key, struct slice text)
{
    struct json_member m;
    char value[32];
    size_t n;

    if (!json_get(model, key, &m) || m.value.type != JSON_STRING)
        return false;
    n = json_string_decode(m.value.text, value, sizeof value);
    return n <= sizeof value && slice_eq(slice_make(value, n), text);
}

static const struct discovery_model *find_exactly(const struct discovery *d, struct slice id)
{
    for (size_t i = 0; i < d->count; i++) {
        if (slice_eq(d->models[i].id, id))
            return &d->models[i];
    }
    return NULL;
}

/* JSON's white space; the text is valid JSON and so has something else. */
static struct slice trim(struct slice s)
{
    while (strchr(" \t\r\n", s.p[0]))
        s = slice_from(s, 1);
    while (strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    return s;
}

enum err discovery_parse(struct slice body, struct arena *a, struct discovery *out,
                         struct err_text *why)
{
    struct json_value all = {.type = JSON_OBJECT};
    struct json_member data, m;
    struct json_iter it;
    size_t n, at = 0;

    *out = (struct discovery){0};
    if (!json_validate(body, &at)) {
        err_say(why, "the list of models is no JSON (byte %zu)", at);
        return ERR_UPSTREAM_PROTOCOL;
    }
    all.text = trim(body);
    if (all.text.p[0] != '{' || !json_get(all, SLICE("data"), &data) ||
        data.value.type != JSON_ARRAY) {
        err_say(why, "the list of models has no array 'data'");
        return ERR_UPSTREAM_PROTOCOL;
    }
    n = json_count(data.value);
    if (n > DISCOVERY_MAX_MODELS) {
        err_say(why, "the list has %zu models; at most %d are read", n, DISCOVERY_MAX_MODELS);
        return ERR_UPSTREAM_TOO_LARGE;
    }
    out->models = ARENA_ARRAY(a, struct discovery_model, n ? n : 1);
    json_iter_init(&it, data.value);
    while (json_iter_next(&it, &m)) {
        struct slice id;

        if (m.value.type != JSON_OBJECT || !read_id(m.value, a, &id) || find_exactly(out, id))
            continue;
        out->models[out->count++] = (struct discovery_model){
            .id = id,
            .context_tokens = read_context(m.value),
            .retired = says(m.value, SLICE("lifecycle"), SLICE("retired"))};
        out->any_name = n == 1 && says(m.value, SLICE("owned_by"), SLICE("llamacpp"));
    }
    out->has_more = json_get(all, SLICE("has_more"), &m) && m.value.type == JSON_TRUE;
    return ERR_OK;
}

enum err discovery_add_page(struct discovery *d, const struct discovery *page, struct arena *a,
                            struct err_text *why)
{
    struct discovery all = {.has_more = page->has_more};

    if (d->count + page->count > DISCOVERY_MAX_MODELS) {
        err_say(why, "the list has more than %d models", DISCOVERY_MAX_MODELS);
        return ERR_UPSTREAM_TOO_LARGE;
    }
    all.models = ARENA_ARRAY(a, struct discovery_model, d->count + page->count + 1);
    for (size_t i = 0; i < d->count; i++)
        all.models[all.count++] = d->models[i];
    for (size_t i = 0; i < page->count; i++) {
        if (!find_exactly(d, page->models[i].id))
            all.models[all.count++] = page->models[i];
    }
    *d = all;
    return ERR_OK;
}

static bool answers_to(struct slice id, struct slice name)
{
    static const struct slice latest = {":latest", 7}, models = {"models/", 7};

    if (id.n != name.n + 7)
        return false;
    return (slice_starts(id, name) && slice_eq(slice_from(id, name.n), latest)) ||
           (slice_starts(id, models) && slice_eq(slice_from(id, models.n), name));
}

const struct discovery_model *discovery_find(const struct discovery *d, struct slice name)
{
    const struct discovery_model *exact = d->any_name ? &d->models[0] : find_exactly(d, name);

    for (size_t i = 0; !exact && i < d->count; i++) {
        if (answers_to(d->models[i].id, name))
            exact = &d->models[i];
    }
    return exact;
}

/* One or several texts: names, origins, endpoints, prompts. As policy_types says. */
#include "policies/policy_types_int.h"

#include "policies/policy_url.h"

static void bind_list_of_text(struct binder *b, const struct spec_key *k, struct place *at,
                              void *base, bool origins)
{
    size_t n = bind_list_length(b, at, "a name or a list of names");
    const char **items = ARENA_ARRAY(b->arena, const char *, n ? n : 1);
    struct names seen;
    names_init(&seen, b->scratch, n);
    *LENGTH() = 0;
    for (size_t i = 0; i < n; i++) {
        struct place *item = bind_list_item(b, at, i);
        struct slice text;
        const char *hint = NULL, *why = NULL;
        if (!bind_text(b, item, &text))
            continue;
        if (origins && !slice_eq(text, SLICE("*")))
            why = url_origin(text, &hint);
        if (why)
            bind_error(b, item, hint, "%s %s", bind_shown(b, item), why);
        if (why || (!origins && !bind_name(b, item, text, k->flags & SPEC_GLOB)) ||
            bind_repeated(b, &seen, item, text, i))
            continue;
        items[*LENGTH()] = arena_strdup(b->arena, text);
        if (item != at)
            bind_keep(b, item, &items[*LENGTH()]);
        ++*LENGTH();
    }
    *FIELD(const char **) = items;
    bind_keep(b, at, FIELD(const char **));
}

void bind_names(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_list_of_text(b, k, at, base, false);
}

void bind_origins(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_list_of_text(b, k, at, base, true);
}

void bind_endpoints(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    size_t n = bind_list_length(b, at, "a URL or a list of URLs");
    struct policy_endpoint *items = ARENA_ARRAY(b->arena, struct policy_endpoint, n ? n : 1);
    struct names seen;
    names_init(&seen, b->scratch, n);
    *LENGTH() = 0;
    for (size_t i = 0; i < n; i++) {
        struct place *item = bind_list_item(b, at, i);
        struct policy_endpoint *e = &items[*LENGTH()];
        struct slice text;
        const char *hint = NULL;
        if (!bind_text(b, item, &text))
            continue;
        const char *why = url_endpoint(text, b->arena, e, &hint);
        if (why) { /* a password may stand before '@', a key behind '?' */
            bool secret = memchr(text.p, '@', text.n) || memchr(text.p, '?', text.n);
            bind_error(b, item, hint, "%s %s", secret ? "the URL" : bind_shown(b, item), why);
            continue;
        }
        if (bind_repeated(b, &seen, item, slice_str(e->url), i))
            continue;
        if (++*LENGTH() == POLICY_MAX_ENDPOINTS + 1)
            bind_error(b, item, NULL, "a backend has at most %d URLs", POLICY_MAX_ENDPOINTS);
        bind_keep(b, item, e);
    }
    *FIELD(struct policy_endpoint *) = items;
    bind_keep(b, at, FIELD(struct policy_endpoint *));
}

/* What people write to a model: any text, of several lines too. */
void bind_prompts(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    size_t n = bind_list_length(b, at, "a text or a list of texts");
    const char **items = ARENA_ARRAY(b->arena, const char *, n + 1);
    struct names seen;
    names_init(&seen, b->scratch, n);
    *LENGTH() = 0;
    for (size_t i = 0; i < n; i++) {
        struct place *item = bind_list_item(b, at, i);
        struct slice text = item->node->text;
        if (!bind_verbatim(b, item) || bind_repeated(b, &seen, item, text, i))
            continue;
        if (text.n == 0) {
            bind_error(b, item, NULL, "is empty");
            continue;
        }
        if (*LENGTH() == (size_t)k->max) {
            bind_error(b, item, NULL, "more than %lld are not taken", (long long)k->max);
            break;
        }
        items[(*LENGTH())++] = arena_strdup(b->arena, text);
    }
    *FIELD(const char **) = items;
    bind_keep(b, at, FIELD(const char **));
}

/* One text: a word of a list, a name, a path, an address, a URL. As policy_types says. */
#include "policies/policy_types_int.h"

#include <unistd.h>
#include "policies/policy_secret_int.h"
#include "policies/policy_url.h"

void bind_string(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct slice text;
    if (bind_is_word(at, k->flags, SPEC_NONE, SLICE("none")))
        *FIELD(const char *) = NULL;
    else if (bind_text(b, at, &text))
        *FIELD(const char *) = arena_strdup(b->arena, text);
    else
        return;
    bind_keep(b, at, FIELD(const char *));
}

void bind_one_name(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct slice text;
    if (!bind_text(b, at, &text) || !bind_name(b, at, text, false))
        return;
    *FIELD(const char *) = arena_strdup(b->arena, text);
    bind_keep(b, at, FIELD(const char *));
}

void bind_path(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct slice text;
    if (!bind_text(b, at, &text))
        return;
    const char *path = secret_path(b, text);
    bind_keep(b, at, FIELD(const char *));
    *FIELD(const char *) = path;
    if (b->options->resolve_secrets && access(path, R_OK) != 0)
        bind_error(b, at, "paths are relative to the policy file", "cannot read %s", path);
}

static const struct spec_word *find_word(struct binder *b, const struct spec_key *k,
                                         const struct place *at)
{
    if (!bind_scalar(b, at, "one word"))
        return NULL;
    struct names_nearest near;
    bind_nearest_init(b, &near, at->node->text);
    const char *all = "";
    for (const struct spec_word *w = k->words; w->word; w++) {
        if (slice_eq(at->node->text, slice_str(w->word))) {
            if (!w->reserved)
                return w;
            bind_error(b, at, NULL, "'%s' is not supported by this version", w->word);
            return NULL;
        }
        if (w->reserved)
            continue;
        names_nearest_offer(&near, w->word);
        all = arena_printf(b->scratch, "%s%s%s", all, *all ? ", " : "", w->word);
    }
    bind_error(b, at, bind_did_you_mean(b, &near), "%s is not one of: %s", bind_shown(b, at), all);
    return NULL;
}

void bind_enum(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const struct spec_word *w = find_word(b, k, at);
    if (w)
        *FIELD(int) = (int)w->value;
    bind_keep(b, at, FIELD(int));
}

void bind_word(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const struct spec_word *w = find_word(b, k, at);
    if (w)
        *FIELD(const char *) = w->word;
    bind_keep(b, at, FIELD(const char *));
}

void bind_flags(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    size_t n = bind_list_length(b, at, "a word or a list of words");
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        const struct place *item = bind_list_item(b, at, i);
        const struct spec_word *w = find_word(b, k, item);
        if (w && (bits & (unsigned)w->value))
            bind_error(b, item, NULL, "'%s' is listed twice", w->word);
        bits |= w ? (unsigned)w->value : 0;
    }
    if (bits)
        *FIELD(unsigned) = bits;
    bind_keep(b, at, FIELD(unsigned));
}

void bind_address(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const char *hint = NULL;
    if (!bind_scalar(b, at, "host:port or a port"))
        return;
    const char *why = url_address(at->node->text, b->arena, FIELD(struct policy_address), &hint);
    if (why)
        bind_error(b, at, hint, "%s %s", bind_shown(b, at), why);
    bind_keep(b, at, FIELD(struct policy_address));
}

void bind_proxy(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct slice text;
    const char *hint = NULL;
    if (!bind_text(b, at, &text))
        return;
    const char *why = url_proxy(text, &hint);
    if (why) /* may hold a password: not echoed */
        bind_error(b, at, hint, "the URL %s", why);
    *FIELD(const char *) = arena_strdup(b->arena, text);
    bind_keep(b, at, FIELD(const char *));
}

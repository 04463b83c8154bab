/* How each spec_type is read. A reader (policy_types_*.c) takes the value at a place, checks it
 * alone (what depends on other keys is policy_check's) and stores it in the struct at base. A value
 * that is refused leaves what was there, the default. Here: what readers share, and the one that is
 * meant. Thread: the loader's. Called through bind_value. */
#include "policies/policy_types_int.h"

#include "base/ascii.h"

#define NAME_MAX_BYTES 128

const char *bind_shown(struct binder *b, const struct place *at)
{
    return diag_quote(b->scratch, at->node->text);
}

bool bind_scalar(struct binder *b, const struct place *at, const char *wanted)
{
    if (at->node->kind == NODE_SCALAR)
        return true;
    bind_error(b, at, NULL, "must be %s, not %s", wanted, node_what(at->node));
    return false;
}

bool bind_text(struct binder *b, const struct place *at, struct slice *out)
{
    bool ignored;
    if (!bind_scalar(b, at, "text"))
        return false;
    if (node_is_null(at->node) || node_is_number(at->node) || node_bool(at->node, &ignored)) {
        bind_error(b, at, "put it in quotes if text is meant", "must be text, not %s",
                   node_what(at->node));
        return false;
    }
    *out = at->node->text;
    for (size_t i = 0; i < out->n; i++) {
        if ((unsigned char)out->p[i] < 0x20 || out->p[i] == 0x7f) {
            bind_error(b, at, NULL, "holds a line break or another control character");
            return false;
        }
    }
    if (out->n == 0)
        bind_error(b, at, "leave the key out if nothing is meant", "is empty");
    return out->n > 0;
}

bool bind_name(struct binder *b, const struct place *at, struct slice text, bool glob)
{
    const char *allowed = glob ? "._-:/@+*" : "._-:/@+";
    bool ok = text.n > 0 && text.n <= NAME_MAX_BYTES;
    for (size_t i = 0; ok && i < text.n; i++) {
        char c = text.p[i];
        ok = ascii_is_alnum(c) || (c && strchr(allowed, c));
    }
    if (!ok)
        bind_error(b, at,
                   glob ? "names hold letters, digits and . _ - : / @ +, and * for any characters"
                        : "names hold letters, digits and . _ - : / @ +, at most 128",
                   "%s is not a name", diag_quote(b->scratch, text));
    return ok;
}

bool bind_is_word(const struct place *at, unsigned flags, unsigned flag, struct slice word)
{
    return (flags & flag) && at->node->kind == NODE_SCALAR && slice_eq(at->node->text, word);
}

bool bind_is_open(const struct spec_key *k, const struct place *at)
{
    return bind_is_word(at, k->flags, SPEC_NONE, SLICE("none")) ||
           bind_is_word(at, k->flags, SPEC_AUTO, SLICE("auto"));
}

size_t bind_list_length(struct binder *b, const struct place *at, const char *wanted)
{
    if (at->node->kind == NODE_MAP) {
        bind_error(b, at, NULL, "must be %s, not a mapping", wanted);
        return 0;
    }
    if (at->node->kind == NODE_LIST && at->node->count == 0)
        bind_error(b, at, "leave the key out if nothing is meant", "the list is empty");
    return at->node->kind == NODE_LIST ? at->node->count : 1;
}

struct place *bind_list_item(struct binder *b, struct place *at, size_t i)
{
    return at->node->kind == NODE_LIST ? bind_child(b, at, &at->node->entries[i], NULL, i) : at;
}

bool bind_repeated(struct binder *b, struct names *seen, const struct place *at, struct slice text,
                   size_t i)
{
    if (names_add(seen, text, i) == i)
        return false;
    bind_error(b, at, NULL, "%s is listed twice", diag_quote(b->scratch, text));
    return true;
}

bool bind_verbatim(struct binder *b, const struct place *at)
{
    if (!bind_scalar(b, at, "text"))
        return false;
    if (node_is_null(at->node)) {
        bind_error(b, at, "write \"\" for an empty text", "has no value");
        return false;
    }
    if (memchr(at->node->text.p, 0, at->node->text.n)) {
        bind_error(b, at, NULL, "holds a NUL character");
        return false;
    }
    return true;
}

void bind_value(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    static bind_fn *const by_type[SPEC_TYPES] = {
        [SPEC_OBJECT] = bind_in_place,
        [SPEC_MAP] = bind_map,
        [SPEC_LIST] = bind_list,
        [SPEC_INT] = bind_int,
        [SPEC_DURATION] = bind_duration,
        [SPEC_SIZE] = bind_size,
        [SPEC_USD] = bind_usd,
        [SPEC_FRACTION] = bind_fraction,
        [SPEC_BOOL] = bind_bool,
        [SPEC_TEXT] = bind_string,
        [SPEC_NAME] = bind_one_name,
        [SPEC_PATH] = bind_path,
        [SPEC_NAMES] = bind_names,
        [SPEC_ENUM] = bind_enum,
        [SPEC_FLAGS] = bind_flags,
        [SPEC_WORD] = bind_word,
        [SPEC_TIME] = bind_time,
        [SPEC_HEADERS] = bind_headers,
        [SPEC_ORIGINS] = bind_origins,
        [SPEC_ADDRESS] = bind_address,
        [SPEC_ENDPOINTS] = bind_endpoints,
        [SPEC_PROXY] = bind_proxy,
        [SPEC_KEY_ENV] = bind_key_env,
        [SPEC_KEY_FILE] = bind_key_file,
        [SPEC_BACKEND] = bind_backend,
        [SPEC_MODEL] = bind_model,
        [SPEC_PRICES] = bind_prices,
        [SPEC_ALIASES] = bind_aliases,
        [SPEC_STEPS] = bind_steps,
        [SPEC_STRINGS] = bind_strings,
        [SPEC_PROMPTS] = bind_prompts,
        [SPEC_ENV] = bind_env,
        [SPEC_TENANT_KEYS] = bind_tenant_keys,
    };
    by_type[k->type](b, k, at, base);
}

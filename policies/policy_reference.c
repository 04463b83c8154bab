/* policy_spec -> Markdown. Pure. Called by 'weir schema --markdown' and the documentation's build.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "policies/policy_schema.h"
#include "policies/policy_spec.h"
#include "policies/policy_value.h"

#define SAY(...)                                                                                   \
    do {                                                                                           \
        enum err say_err = buf_printf(out, __VA_ARGS__);                                           \
        if (say_err != ERR_OK)                                                                     \
            return say_err;                                                                        \
    } while (0)

static const char *type_name(const struct spec_key *k)
{
    static const char *const names[SPEC_TYPES] = {
        [SPEC_OBJECT] = "mapping",
        [SPEC_MAP] = "mapping from names",
        [SPEC_LIST] = "list",
        [SPEC_INT] = "number",
        [SPEC_DURATION] = "duration",
        [SPEC_SIZE] = "size",
        [SPEC_USD] = "USD",
        [SPEC_FRACTION] = "number, 0 to 1",
        [SPEC_BOOL] = "true or false",
        [SPEC_TEXT] = "text",
        [SPEC_NAME] = "name",
        [SPEC_PATH] = "path",
        [SPEC_NAMES] = "name or list of names",
        [SPEC_ENUM] = "word",
        [SPEC_FLAGS] = "word or list of words",
        [SPEC_WORD] = "word",
        [SPEC_TIME] = "date",
        [SPEC_HEADERS] = "mapping from header names",
        [SPEC_ORIGINS] = "origin or list of origins",
        [SPEC_ADDRESS] = "host:port or port",
        [SPEC_ENDPOINTS] = "URL or list of URLs",
        [SPEC_PROXY] = "URL",
        [SPEC_KEY_ENV] = "name of a variable",
        [SPEC_KEY_FILE] = "path",
        [SPEC_BACKEND] = "name of a backend",
        [SPEC_MODEL] = "name of a model",
        [SPEC_PRICES] = "mapping or list of mappings",
        [SPEC_ALIASES] = "mapping from names to names",
        [SPEC_STEPS] = "list of models",
        [SPEC_STRINGS] = "list of texts",
        [SPEC_PROMPTS] = "text or list of texts",
        [SPEC_ENV] = "mapping from names to texts",
        [SPEC_TENANT_KEYS] = "list",
    };
    return names[k->type];
}

static enum err write_words(const struct spec_key *k, struct buf *out)
{
    SAY(": ");
    for (const struct spec_word *w = k->words; w->word; w++)
        if (!w->reserved)
            SAY("%s`%s`", w == k->words ? "" : ", ", w->word);
    return ERR_OK;
}

static enum err write_range(const struct spec_key *k, struct buf *out)
{
    char low[32], high[32];
    if (k->min == k->max)
        return ERR_OK;
    if (k->type == SPEC_DURATION) {
        value_format_duration(k->min, low, sizeof low);
        value_format_duration(k->max, high, sizeof high);
    } else if (k->type == SPEC_SIZE) {
        value_format_size(k->min, low, sizeof low);
        value_format_size(k->max, high, sizeof high);
    } else {
        snprintf(low, sizeof low, "%" PRId64, k->min);
        snprintf(high, sizeof high, "%" PRId64, k->max);
    }
    SAY(", %s to %s", low, high);
    if (k->flags & (SPEC_NONE | SPEC_AUTO))
        SAY(", or `%s`", k->flags & SPEC_NONE ? "none" : "auto");
    return ERR_OK;
}

static enum err write_key(const struct spec_key *k, struct buf *out)
{
    enum err e = ERR_OK;
    SAY("| `%s` | ", k->name);
    SAY("%s%s%s", type_name(k), k->flags & SPEC_SHORT ? " or " : "",
        k->flags & SPEC_SHORT ? type_name(&k->object->keys[0]) : "");
    if (k->type == SPEC_LIST && k->max)
        SAY(", at most %" PRId64, k->max);
    if (k->object)
        SAY(", see [%s](#%s)", k->object->name, k->object->name);
    if (k->words)
        e = write_words(k, out);
    else if (k->type == SPEC_INT || k->type == SPEC_DURATION || k->type == SPEC_SIZE)
        e = write_range(k, out);
    else if (k->type == SPEC_FRACTION && (k->flags & SPEC_NONE))
        SAY(", or `none`");
    if (e != ERR_OK)
        return e;
    if (k->flags & SPEC_REQUIRED)
        SAY(" | required");
    else if (k->deflt)
        SAY(" | `%s`", k->deflt);
    else
        SAY(" | ");
    SAY(" | %s |\n", k->help);
    return ERR_OK;
}

static enum err write_object(const struct spec_object *o, struct buf *out)
{
    SAY("\n## <a id=\"%s\"></a>%s\n\n%s\n\n| key | value | default | meaning "
        "|\n|---|---|---|---|\n",
        o->name, o->name, o->help);
    for (size_t i = 0; i < o->count; i++) {
        enum err e = write_key(&o->keys[i], out);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

/* Each object once, after the first that mentions it. */
static enum err write_below(const struct spec_object *o, const struct spec_object **done,
                            size_t *count, struct buf *out)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct spec_object *below = o->keys[i].object;
        bool seen = !below;
        for (size_t j = 0; j < *count && !seen; j++)
            seen = done[j] == below;
        if (seen)
            continue;
        done[(*count)++] = below;
        enum err e = write_object(below, out);
        if (e == ERR_OK)
            e = write_below(below, done, count, out);
        if (e != ERR_OK)
            return e;
    }
    return ERR_OK;
}

enum err policy_reference_write(struct buf *out)
{
    const struct spec_object *done[64];
    size_t count = 0;
    SAY("# The policy file\n\n"
        "YAML 1.2. A duration is a number with `ms`, `s`, `m`, `h` or `d`; a size one with `B`, "
        "`KiB`, `MiB`, `GiB` (or `KB`,\n"
        "`MB`, `GB`, which are powers of ten). Numbers are plain decimal: `0x10`, `010`, `1_000` "
        "and `1e3` are refused, and so are\n"
        "`yes`, `no`, `on` and `off` where `true` or `false` is wanted. Anchors, aliases and merge "
        "keys (`<<`) work; a top-level key\n"
        "that begins with `x-` may hold anchors for use elsewhere. Names hold letters, digits and "
        "`. _ - : / @ +`.\n"
        "Paths of keys and certificates are relative to the policy file. This page is generated "
        "from the parser's own table.\n");
    enum err e = write_object(&spec_policy, out);
    return e == ERR_OK ? write_below(&spec_policy, done, &count, out) : e;
}

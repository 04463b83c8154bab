/* How each spec_type is read. Every function here takes the value at a place, checks it alone (what
 * depends on other keys is policy_check's) and stores it in the struct at base. A value that is
 * refused leaves what was there, the default. Thread: the loader's. Called through bind_value. */
#include "policies/policy_bind_int.h"

#include <stdio.h>
#include <unistd.h>
#include "base/http1.h"
#include "policies/policy_secret_int.h"
#include "policies/policy_url.h"
#include "policies/policy_value.h"

#define NAME_MAX_BYTES 128

typedef void (*bind_fn)(struct binder *b, const struct spec_key *k, struct place *at, void *base);

#define FIELD(type) ((type *)(void *)((char *)base + k->at))
#define LENGTH()    ((size_t *)(void *)((char *)base + k->count_at))

static const char *shown(struct binder *b, const struct place *at)
{
    return diag_quote(b->scratch, at->node->text);
}

/* ---- scalars ---- */

static bool bind_scalar(struct binder *b, const struct place *at, const char *wanted)
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
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        ok = alnum || (c && strchr(allowed, c));
    }
    if (!ok)
        bind_error(b, at,
                   glob ? "names hold letters, digits and . _ - : / @ +, and * for any characters"
                        : "names hold letters, digits and . _ - : / @ +, at most 128",
                   "%s is not a name", diag_quote(b->scratch, text));
    return ok;
}

static bool word_is(const struct place *at, unsigned flags, unsigned flag, struct slice word)
{
    return (flags & flag) && at->node->kind == NODE_SCALAR && slice_eq(at->node->text, word);
}

/* none and auto, where they are allowed, are POLICY_NONE. */
static bool is_open(const struct spec_key *k, const struct place *at)
{
    return word_is(at, k->flags, SPEC_NONE, SLICE("none")) ||
           word_is(at, k->flags, SPEC_AUTO, SLICE("auto"));
}

static const char *open_word(const struct spec_key *k)
{
    return k->flags & SPEC_NONE ? " or none" : k->flags & SPEC_AUTO ? " or auto" : "";
}

/* Out of range, with the range in the value's own unit. */
static bool in_range(struct binder *b, const struct spec_key *k, const struct place *at, int64_t v,
                     const char *(*format)(int64_t, char *, size_t))
{
    char low[32], high[32];
    if (v >= k->min && v <= k->max)
        return true;
    format(k->min, low, sizeof low);
    format(k->max, high, sizeof high);
    const char *hint = v <= 0 && (k->flags & SPEC_NONE) ? "write none if no limit is meant" : NULL;
    if (k->min == k->max)
        bind_error(b, at, hint, "%s is not supported; it must be %s", shown(b, at), low);
    else
        bind_error(b, at, hint, "%s is out of range; it must be between %s and %s", shown(b, at),
                   low, high);
    return false;
}

static const char *format_int(int64_t v, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, "%lld", (long long)v);
    return out;
}

typedef const char *(*parse_fn)(struct slice, int64_t *, const char **);

static void bind_number(struct binder *b, const struct spec_key *k, struct place *at, void *base,
                        const char *wanted, parse_fn parse,
                        const char *(*format)(int64_t, char *, size_t))
{
    int64_t v;
    const char *hint = NULL;
    if (is_open(k, at)) {
        *FIELD(int64_t) = POLICY_NONE;
        bind_keep(b, at, FIELD(int64_t));
        return;
    }
    if (!bind_scalar(b, at, wanted))
        return;
    const char *why = parse(at->node->text, &v, &hint);
    if (why) {
        bind_error(b, at, hint, "must be %s%s; %s %s", wanted, open_word(k), shown(b, at), why);
        return;
    }
    if (!in_range(b, k, at, v, format))
        return;
    *FIELD(int64_t) = v;
    bind_keep(b, at, FIELD(int64_t));
}

static void bind_int(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind == NODE_SCALAR && !at->node->plain) {
        bind_error(b, at, "remove the quotes", "must be a number, not text");
        return;
    }
    bind_number(b, k, at, base, "a whole number", value_int, format_int);
}

static void bind_duration(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_number(b, k, at, base, "a duration", value_duration, value_format_duration);
}

static void bind_size(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_number(b, k, at, base, "a size", value_size, value_format_size);
}

static void bind_time(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    int64_t us = 0;
    const char *hint = NULL;
    if (!bind_scalar(b, at, "a date"))
        return;
    const char *why = value_time(at->node->text, &us, &hint);
    if (why)
        bind_error(b, at, hint, "%s %s", shown(b, at), why);
    *FIELD(int64_t) = us;
    bind_keep(b, at, FIELD(int64_t));
}

/* Why money_parse_usd refused, in words. */
static const char *money_hint(struct slice s)
{
    if (s.n && s.p[0] == '$')
        return "leave out the dollar sign";
    if (s.n && s.p[0] == '-')
        return "a price cannot be negative";
    bool digit = s.n && s.p[0] >= '0' && s.p[0] <= '9';
    if (digit && (memchr(s.p, 'e', s.n) || memchr(s.p, 'E', s.n)))
        return "write it as a plain decimal number, e.g. 0.0001";
    const char *dot = memchr(s.p, '.', s.n);
    if (dot && s.n - (size_t)(dot - s.p) > 10)
        return "at most nine decimals, so that money stays exact";
    return "write a plain decimal number, e.g. 2.50";
}

/* Cheaper than anything sold: someone wrote the price of one token. */
#define SUSPICIOUS_MTOK (NANOUSD_PER_USD / 10000)

static void bind_usd(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    nanousd v;
    if (!bind_scalar(b, at, "an amount of USD"))
        return;
    if (!at->node->plain) {
        bind_error(b, at, "remove the quotes", "must be a number, not text");
        return;
    }
    if (!money_parse_usd(at->node->text, &v)) {
        bind_error(b, at, money_hint(at->node->text), "must be an amount of USD; %s is not",
                   shown(b, at));
        return;
    }
    if ((k->flags & SPEC_PER_MTOK) && v > 0 && v < SUSPICIOUS_MTOK) {
        char usd[32];
        bind_warning(b, at,
                     arena_printf(b->scratch, "if that is the price of one token, write %s",
                                  money_format_usd(v * 1000000, usd, sizeof usd)),
                     "prices are USD per million tokens, and %s is very little", shown(b, at));
    }
    *FIELD(nanousd) = v;
    bind_keep(b, at, FIELD(nanousd));
}

static void bind_fraction(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const char *hint = NULL;
    if (is_open(k, at)) {
        *FIELD(double) = POLICY_OFF;
        bind_keep(b, at, FIELD(double));
        return;
    }
    if (!bind_scalar(b, at, "a number between 0 and 1"))
        return;
    if (!at->node->plain) {
        bind_error(b, at, "remove the quotes", "must be a number, not text");
        return;
    }
    double v;
    const char *why = value_fraction(at->node->text, &v, &hint);
    bind_keep(b, at, FIELD(double));
    if (why)
        bind_error(b, at, hint, "%s %s", shown(b, at), why);
    else
        *FIELD(double) = v;
}

static void bind_bool(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bool v;
    if (node_bool(at->node, &v)) {
        *FIELD(bool) = v;
        bind_keep(b, at, FIELD(bool));
        return;
    }
    if (!bind_scalar(b, at, "true or false"))
        return;
    struct slice s = at->node->text;
    bool yes = slice_ieq(s, SLICE("yes")) || slice_ieq(s, SLICE("on")) ||
               slice_ieq(s, SLICE("y")) || slice_ieq(s, SLICE("true")) || slice_eq(s, SLICE("1"));
    bool no = slice_ieq(s, SLICE("no")) || slice_ieq(s, SLICE("off")) || slice_ieq(s, SLICE("n")) ||
              slice_ieq(s, SLICE("false")) || slice_eq(s, SLICE("0"));
    bind_error(b, at,
               yes  ? "write true, without quotes"
               : no ? "write false, without quotes"
                    : NULL,
               "must be true or false, not %s", shown(b, at));
}

static void bind_string(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct slice text;
    if (word_is(at, k->flags, SPEC_NONE, SLICE("none")))
        *FIELD(const char *) = NULL;
    else if (bind_text(b, at, &text))
        *FIELD(const char *) = arena_strdup(b->arena, text);
    else
        return;
    bind_keep(b, at, FIELD(const char *));
}

static void bind_one_name(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct slice text;
    if (!bind_text(b, at, &text) || !bind_name(b, at, text, false))
        return;
    *FIELD(const char *) = arena_strdup(b->arena, text);
    bind_keep(b, at, FIELD(const char *));
}

static void bind_path(struct binder *b, const struct spec_key *k, struct place *at, void *base)
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

/* ---- words ---- */

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
    bind_error(b, at, bind_did_you_mean(b, &near), "%s is not one of: %s", shown(b, at), all);
    return NULL;
}

static void bind_enum(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const struct spec_word *w = find_word(b, k, at);
    if (w)
        *FIELD(int) = (int)w->value;
    bind_keep(b, at, FIELD(int));
}

static void bind_word(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const struct spec_word *w = find_word(b, k, at);
    if (w)
        *FIELD(const char *) = w->word;
    bind_keep(b, at, FIELD(const char *));
}

/* ---- one or a list ---- */

/* A single value stands for a list of one. Returns how many; item i through list_item. */
static size_t list_length(struct binder *b, const struct place *at, const char *wanted)
{
    if (at->node->kind == NODE_MAP) {
        bind_error(b, at, NULL, "must be %s, not a mapping", wanted);
        return 0;
    }
    if (at->node->kind == NODE_LIST && at->node->count == 0)
        bind_error(b, at, "leave the key out if nothing is meant", "the list is empty");
    return at->node->kind == NODE_LIST ? at->node->count : 1;
}

static struct place *list_item(struct binder *b, struct place *at, size_t i)
{
    return at->node->kind == NODE_LIST ? bind_child(b, at, &at->node->entries[i], NULL, i) : at;
}

static bool repeated(struct binder *b, struct names *seen, const struct place *at,
                     struct slice text, size_t i)
{
    if (names_add(seen, text, i) == i)
        return false;
    bind_error(b, at, NULL, "%s is listed twice", diag_quote(b->scratch, text));
    return true;
}

static void bind_flags(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    size_t n = list_length(b, at, "a word or a list of words");
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        const struct place *item = list_item(b, at, i);
        const struct spec_word *w = find_word(b, k, item);
        if (w && (bits & (unsigned)w->value))
            bind_error(b, item, NULL, "'%s' is listed twice", w->word);
        bits |= w ? (unsigned)w->value : 0;
    }
    if (bits)
        *FIELD(unsigned) = bits;
    bind_keep(b, at, FIELD(unsigned));
}

static void bind_list_of_text(struct binder *b, const struct spec_key *k, struct place *at,
                              void *base, bool origins)
{
    size_t n = list_length(b, at, "a name or a list of names");
    const char **items = ARENA_ARRAY(b->arena, const char *, n ? n : 1);
    struct names seen;
    names_init(&seen, b->scratch, n);
    *LENGTH() = 0;
    for (size_t i = 0; i < n; i++) {
        struct place *item = list_item(b, at, i);
        struct slice text;
        const char *hint = NULL, *why = NULL;
        if (!bind_text(b, item, &text))
            continue;
        if (origins && !slice_eq(text, SLICE("*")))
            why = url_origin(text, &hint);
        if (why)
            bind_error(b, item, hint, "%s %s", shown(b, item), why);
        if (why || (!origins && !bind_name(b, item, text, k->flags & SPEC_GLOB)) ||
            repeated(b, &seen, item, text, i))
            continue;
        items[*LENGTH()] = arena_strdup(b->arena, text);
        if (item != at)
            bind_keep(b, item, &items[*LENGTH()]);
        ++*LENGTH();
    }
    *FIELD(const char **) = items;
    bind_keep(b, at, FIELD(const char **));
}

static void bind_names(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_list_of_text(b, k, at, base, false);
}

static void bind_origins(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_list_of_text(b, k, at, base, true);
}

static void bind_endpoints(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    size_t n = list_length(b, at, "a URL or a list of URLs");
    struct policy_endpoint *items = ARENA_ARRAY(b->arena, struct policy_endpoint, n ? n : 1);
    struct names seen;
    names_init(&seen, b->scratch, n);
    *LENGTH() = 0;
    for (size_t i = 0; i < n; i++) {
        struct place *item = list_item(b, at, i);
        struct policy_endpoint *e = &items[*LENGTH()];
        struct slice text;
        const char *hint = NULL;
        if (!bind_text(b, item, &text))
            continue;
        const char *why = url_endpoint(text, b->arena, e, &hint);
        if (why) { /* a password may stand before '@', a key behind '?' */
            bool secret = memchr(text.p, '@', text.n) || memchr(text.p, '?', text.n);
            bind_error(b, item, hint, "%s %s", secret ? "the URL" : shown(b, item), why);
            continue;
        }
        if (repeated(b, &seen, item, slice_str(e->url), i))
            continue;
        if (++*LENGTH() == POLICY_MAX_ENDPOINTS + 1)
            bind_error(b, item, NULL, "a backend has at most %d URLs", POLICY_MAX_ENDPOINTS);
        bind_keep(b, item, e);
    }
    *FIELD(struct policy_endpoint *) = items;
    bind_keep(b, at, FIELD(struct policy_endpoint *));
}

/* ---- addresses and URLs ---- */

static void bind_address(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    const char *hint = NULL;
    if (!bind_scalar(b, at, "host:port or a port"))
        return;
    const char *why = url_address(at->node->text, b->arena, FIELD(struct policy_address), &hint);
    if (why)
        bind_error(b, at, hint, "%s %s", shown(b, at), why);
    bind_keep(b, at, FIELD(struct policy_address));
}

static void bind_proxy(struct binder *b, const struct spec_key *k, struct place *at, void *base)
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

/* ---- headers ---- */

static const char *header_refusal(struct slice name, const char **hint)
{
    static const char *const ours[] = {"content-length",  "content-type", "content-encoding",
                                       "accept-encoding", "expect",       NULL};
    static const struct http1_head no_head;
    if (!http1_valid_name(name))
        return "is not a header name";
    if (http1_is_hop_by_hop(&no_head, name))
        return "belongs to one connection and cannot be set";
    if (slice_ieq(name, SLICE("host"))) {
        *hint = "it comes from url";
        return "cannot be set";
    }
    for (const char *const *h = ours; *h; h++)
        if (slice_ieq(name, slice_str(*h)))
            return "is set by weir itself";
    return NULL;
}

static void bind_header(struct binder *b, const struct spec_key *k, struct place *item,
                        struct policy_header *out, size_t *count)
{
    bool condition = k->flags & SPEC_GLOB;
    struct slice name = item->key_node->text, value;
    const char *hint = NULL;
    const char *why = condition ? (http1_valid_name(name) ? NULL : "is not a header name")
                                : header_refusal(name, &hint);
    if (why) {
        bind_error(b, item, hint, "%s %s", diag_quote(b->scratch, name), why);
        return;
    }
    if (condition && node_is_null(item->node)) {
        bind_error(b, item, "write \"*\" if any value will do", "'%s' has no value", name.p);
        return;
    }
    if (!bind_text(b, item, &value))
        return;
    if (!http1_valid_value(value)) {
        bind_error(b, item, NULL, "is not a header value");
        return;
    }
    bool present = condition && slice_eq(value, SLICE("*"));
    *out = (struct policy_header){arena_strdup(b->arena, name),
                                  present ? NULL : arena_strdup(b->arena, value)};
    bind_keep(b, item, out);
    ++*count;
}

static void bind_headers(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write {x-name: value}", "must be a mapping, not %s",
                   node_what(at->node));
        return;
    }
    struct policy_header *items = ARENA_ARRAY(b->arena, struct policy_header, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, 0);
        bool again = false;
        for (size_t j = 0; j < *LENGTH() && j < 256; j++)
            again = again || slice_ieq(slice_str(items[j].name), e->key->text);
        if (again)
            bind_error(b, item, "header names do not tell upper and lower case apart",
                       "%s is given twice", diag_quote(b->scratch, e->key->text));
        else
            bind_header(b, k, item, &items[*LENGTH()], LENGTH());
    }
    *FIELD(struct policy_header *) = items;
    bind_keep(b, at, FIELD(struct policy_header *));
}

/* ---- commands ---- */

/* One text for a program or its environment: as written, so that 0.10 stays 0.10; may be empty. */
static bool bind_word_of_command(struct binder *b, const struct place *at)
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

static void bind_strings(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_LIST) {
        bind_error(b, at, "write [program, argument, ...]: no shell takes it apart",
                   "must be a list of texts, not %s", node_what(at->node));
        return;
    }
    const char **items = ARENA_ARRAY(b->arena, const char *, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        struct place *item = bind_child(b, at, &at->node->entries[i], NULL, i);
        if (bind_word_of_command(b, item))
            items[(*LENGTH())++] = arena_strdup(b->arena, item->node->text);
        if (i == 0 && item->node->kind == NODE_SCALAR && item->node->text.n == 0 &&
            !node_is_null(item->node))
            bind_error(b, item, NULL, "the program has no name");
    }
    if (at->node->count == 0)
        bind_error(b, at, "write [program, argument, ...]", "the list is empty");
    *FIELD(const char **) = items;
    bind_keep(b, at, FIELD(const char **));
}

/* What people write to a model: any text, of several lines too. */
static void bind_prompts(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    size_t n = list_length(b, at, "a text or a list of texts");
    const char **items = ARENA_ARRAY(b->arena, const char *, n + 1);
    struct names seen;
    names_init(&seen, b->scratch, n);
    *LENGTH() = 0;
    for (size_t i = 0; i < n; i++) {
        struct place *item = list_item(b, at, i);
        struct slice text = item->node->text;
        if (!bind_word_of_command(b, item) || repeated(b, &seen, item, text, i))
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

/* POSIX.1-2017, 8.1: what every program can read. */
static bool is_variable(struct slice name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return name.n > 0;
}

static void bind_env(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write {NAME: value}", "must be a mapping, not %s", node_what(at->node));
        return;
    }
    const char **items = ARENA_ARRAY(b->arena, const char *, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, 0);
        if (!is_variable(e->key->text))
            bind_error(b, item, "letters, digits and _, such as CUDA_VISIBLE_DEVICES",
                       "%s is not the name of a variable", diag_quote(b->scratch, e->key->text));
        else if (bind_word_of_command(b, item))
            items[(*LENGTH())++] = arena_printf(b->arena, "%.*s=%.*s", SLICE_ARG(e->key->text),
                                                SLICE_ARG(item->node->text));
    }
    *FIELD(const char **) = items;
    bind_keep(b, at, FIELD(const char **));
}

/* ---- maps and lists of objects ---- */

static struct names *index_of(struct binder *b, const void *array_field)
{
    if (array_field == &b->draft->backends)
        return &b->backend_names;
    if (array_field == &b->draft->models)
        return &b->model_names;
    return array_field == &b->draft->tenants ? &b->tenant_names : NULL;
}

/* Every element of a map begins with its name. */
static void bind_map(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write one 'name: {...}' per line",
                   "must be a mapping from names, not %s", node_what(at->node));
        return;
    }
    size_t n = at->node->count;
    if (n == 0)
        bind_error(b, at, NULL, "is empty; at least one %s is needed", k->object->name);
    /* Room for the encoder's backend, which policy_load may append: nothing may move. */
    char *items = arena_zalloc(b->arena, k->object->bytes * (n + 1));
    struct names *index = index_of(b, FIELD(void *));
    if (index)
        names_init(index, b->scratch, n);
    *FIELD(void *) = items;
    *LENGTH() = n;
    bind_keep(b, at, FIELD(void *));
    for (size_t i = 0; i < n; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, i);
        void *element = items + i * k->object->bytes;
        const char *name = arena_strdup(b->arena, e->key->text);
        struct place named = *item;
        named.node = e->key;
        bind_name(b, &named, e->key->text, false);
        if (index)
            names_add(index, slice_str(name), i);
        bind_keep(b, item, element);
        bind_object(b, k->object, item, element, 0);
        *(const char **)element = name;
    }
}

/* An entry; what is no mapping may stand for its first key. */
static void bind_entry(struct binder *b, const struct spec_key *k, struct place *item,
                       void *element)
{
    if (!(k->flags & SPEC_SHORT) || item->node->kind == NODE_MAP) {
        bind_object(b, k->object, item, element, 0);
        return;
    }
    bind_object_defaults(b, k->object, element);
    bind_value(b, &k->object->keys[0], item, element);
}

static void bind_list(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bool one = (k->flags & SPEC_SHORT) && at->node->kind != NODE_LIST;
    if (at->node->kind != NODE_LIST && !one) {
        bind_error(b, at, "begin each entry with '- '", "must be a list, not %s",
                   node_what(at->node));
        return;
    }
    size_t n = one ? 1 : at->node->count;
    if (n == 0)
        bind_error(b, at,
                   base == b->draft ? "leave the key out to serve each model under its own name"
                                    : "leave the key out if nothing is meant",
                   "the list is empty");
    if (k->max && n > (size_t)k->max) {
        bind_error(b, at, NULL, "at most %lld are taken", (long long)k->max);
        return;
    }
    /* Room for routes that models_by_name appends: places are known by address, nothing may move.
     */
    bool routes = base == b->draft && FIELD(void *) == (void *)&b->draft->routes;
    size_t room = n + 1 + (routes ? b->draft->model_count : 0);
    char *items = arena_zalloc(b->arena, k->object->bytes * room);
    *FIELD(void *) = items;
    *LENGTH() = n;
    bind_keep(b, at, FIELD(void *));
    for (size_t i = 0; i < n; i++) {
        struct place *item = one ? at : bind_child(b, at, &at->node->entries[i], NULL, i);
        void *element = items + i * k->object->bytes;
        bind_keep(b, item, element);
        if (routes) {
            ((struct policy_route *)element)->retry = b->draft->retry;
            ((struct policy_route *)element)->cache = b->draft->cache.use;
            ((struct policy_route *)element)->decide = b->draft->decide;
            ((struct policy_route *)element)->line = item->node->line;
        }
        bind_entry(b, k, item, element);
    }
}

static void bind_in_place(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (k->at != 0) /* else the place would be taken for the whole struct's */
        bind_keep(b, at, FIELD(char));
    if ((k->flags & SPEC_SHORT) && at->node->kind != NODE_MAP)
        bind_value(b, &k->object->keys[0], at, FIELD(void));
    else
        bind_object(b, k->object, at, FIELD(void), k->flags & SPEC_INHERIT);
}

static void bind_aliases(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    if (at->node->kind != NODE_MAP) {
        bind_error(b, at, "write one 'alias: name' per line",
                   "must be a mapping from names, not %s", node_what(at->node));
        return;
    }
    struct policy_alias *items = ARENA_ARRAY(b->arena, struct policy_alias, at->node->count + 1);
    *LENGTH() = 0;
    for (size_t i = 0; i < at->node->count; i++) {
        const struct node_entry *e = &at->node->entries[i];
        struct place *item = bind_child(b, at, e, e->key->text.p, i);
        struct place named = *item;
        named.node = e->key;
        struct slice target;
        if (!bind_name(b, &named, e->key->text, false))
            continue;
        if (node_is_null(item->node)) {
            bind_error(b, item, "give the name it stands for", "'%s' has no value", e->key->text.p);
            continue;
        }
        if (!bind_text(b, item, &target) || !bind_name(b, item, target, false))
            continue;
        struct policy_alias *alias = &items[(*LENGTH())++];
        alias->name = arena_strdup(b->arena, e->key->text);
        alias->target = alias->canonical = arena_strdup(b->arena, target);
        bind_keep(b, item, alias);
    }
    *FIELD(struct policy_alias *) = items;
    bind_keep(b, at, FIELD(struct policy_alias *));
}

/* ---- references ---- */

static void bind_reference(struct binder *b, const struct spec_key *k, struct place *at, void *base,
                           const struct names *index, const char *noun)
{
    struct slice text;
    *FIELD(size_t) = SIZE_MAX;
    bind_keep(b, at, FIELD(size_t));
    if (!bind_text(b, at, &text) || (*FIELD(size_t) = names_get(index, text)) != NAMES_ABSENT)
        return;
    struct names_nearest near;
    bind_nearest_init(b, &near, text);
    bool models = index == &b->model_names;
    size_t n = models ? b->draft->model_count : b->draft->backend_count;
    const char *all = "";
    for (size_t i = 0; i < n; i++) {
        const char *name = models ? b->draft->models[i].name : b->draft->backends[i].name;
        names_nearest_offer(&near, name);
        if (i < 8)
            all = arena_printf(b->scratch, "%s%s%s", *all ? all : "there is ", *all ? ", " : "",
                               diag_clean(b->scratch, slice_str(name)));
    }
    const char *hint = near.best ? bind_did_you_mean(b, &near) : n > 8 ? NULL : *all ? all : NULL;
    bind_error(b, at, hint, "no %s %s", noun, shown(b, at));
}

static void bind_backend(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_reference(b, k, at, base, &b->backend_names, "backend");
}

static void bind_model(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bind_reference(b, k, at, base, &b->model_names, "model");
}

static size_t count_below(const struct place *at, const char *key)
{
    const struct node_entry *e = node_find(at->node, slice_str(key));
    return e && e->value->kind == NODE_LIST ? e->value->count : 0;
}

/* The cascade and then the fall-backs go into one array, made large enough at the first of the two.
 */
static void bind_steps(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    struct policy_route *route = base;
    bool cascade = strcmp(k->name, "cascade") == 0;
    if (at->node->kind != NODE_LIST || at->node->count == 0) {
        const char *hint =
            at->node->kind == NODE_SCALAR
                ? arena_printf(b->scratch, "write [%s]", diag_clean(b->scratch, at->node->text))
                : "write [first-model, second-model]";
        if (at->node->kind == NODE_LIST)
            bind_error(b, at, hint, "the list is empty");
        else
            bind_error(b, at, hint, "must be a list of models, not %s", node_what(at->node));
        return;
    }
    if (!route->steps)
        route->steps =
            ARENA_ARRAY(b->arena, struct policy_step,
                        count_below(at->up, "cascade") + count_below(at->up, "fallback") + 1);
    for (size_t i = 0; i < at->node->count; i++) {
        struct place *item = bind_child(b, at, &at->node->entries[i], NULL, i);
        struct policy_step *step = &route->steps[route->step_count];
        *step =
            (struct policy_step){.model = SIZE_MAX, .accept = POLICY_OFF, .samples = POLICY_NONE};
        if (item->node->kind == NODE_MAP)
            bind_object(b, k->object, item, step, 0);
        else
            bind_model(b, &k->object->keys[0], item, step);
        route->step_count += step->model != SIZE_MAX;
        if (route->step_count == POLICY_MAX_STEPS + 1)
            bind_error(b, item, NULL, "a route asks at most %d models", POLICY_MAX_STEPS);
    }
    if (cascade)
        route->cascade_count = route->step_count;
    bind_keep(b, at, cascade ? (void *)&route->cascade_count : (void *)&route->step_count);
}

/* ---- prices ---- */

static void bind_prices(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    bool list = at->node->kind == NODE_LIST;
    size_t n = list ? at->node->count : 1;
    if (at->node->kind == NODE_SCALAR || n == 0) {
        bind_error(
            b, at,
            "write {input: 2.00, output: 8.00}, in USD per million tokens, or {gpu_second: 0.0004}",
            n ? "must be a mapping, not %s" : "the list is empty", node_what(at->node));
        return;
    }
    struct policy_price *items = ARENA_ARRAY(b->arena, struct policy_price, n);
    for (size_t i = 0; i < n; i++) {
        struct place *item = list ? bind_child(b, at, &at->node->entries[i], NULL, i) : at;
        if (list)
            bind_keep(b, item, &items[i]);
        bind_object(b, k->object, item, &items[i], 0);
    }
    *FIELD(struct policy_price *) = items;
    *LENGTH() = n;
    bind_keep(b, at, FIELD(struct policy_price *));
}

/* ---- secrets ---- */

static const char *keep_secret(struct binder *b, struct slice secret)
{
    const char *kept = secret.n ? arena_strdup(b->arena, secret) : NULL;
    secret_wipe(secret);
    return kept;
}

static void bind_key_env(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    (void)k;
    struct policy_backend *backend = base;
    struct slice text;
    if (!bind_text(b, at, &text))
        return;
    struct slice secret = secret_from_env(b, at, text);
    backend->key = keep_secret(b, secret);
    backend->key_source = arena_printf(b->arena, "env %s", diag_clean(b->scratch, text));
}

static void bind_key_file(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    (void)k;
    struct policy_backend *backend = base;
    struct slice text;
    if (backend->key_source) {
        bind_error(b, at, "keep one of the two", "key_env and key_file contradict each other");
        return;
    }
    if (!bind_text(b, at, &text))
        return;
    const char *path = secret_path(b, text);
    backend->key = keep_secret(b, secret_from_file(b, at, path));
    backend->key_source = arena_printf(b->arena, "file %s", path);
}

static bool hex_32(struct slice s, uint8_t out[32])
{
    for (size_t i = 0; i < s.n && i < 64; i++) {
        char c = s.p[i];
        int v = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (v < 0)
            return false;
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] << 4 | v : v);
    }
    return s.n == 64;
}

/* One key of a tenant; true when its hash is known. */
static bool bind_tenant_key(struct binder *b, const struct spec_key *k, struct place *item,
                            struct policy_key *out)
{
    struct tenant_key_source source = {0};
    if (item->node->kind != NODE_MAP) { /* may be the key itself: not echoed */
        bind_error(b, item, "write {env: NAME}, {file: path} or {sha256: hex}",
                   "a key is not written into a policy");
        return false;
    }
    bind_object(b, k->object, item, &source, 0);
    int given = 0;
    for (size_t i = 0; i < k->object->count; i++)
        given += node_find(item->node, slice_str(k->object->keys[i].name)) != NULL;
    if (given != 1)
        bind_error(b, item, NULL, "exactly one of env, file and sha256 must be given, not %d",
                   given);
    if (given != 1)
        return false;
    if (source.sha256 && !hex_32(slice_str(source.sha256), out->sha256))
        bind_error(b, binder_below(b, item, "sha256"), "printf %s \"$KEY\" | sha256sum",
                   "must be 64 hexadecimal digits");
    else if (source.sha256)
        return true;
    struct slice secret = {0};
    if (source.env)
        secret = secret_from_env(b, binder_below(b, item, "env"), slice_str(source.env));
    if (source.file)
        secret = secret_from_file(b, binder_below(b, item, "file"),
                                  secret_path(b, slice_str(source.file)));
    if (secret.n)
        secret_sha256(secret, out->sha256);
    secret_wipe(secret);
    return secret.n > 0;
}

static void bind_tenant_keys(struct binder *b, const struct spec_key *k, struct place *at,
                             void *base)
{
    if (at->node->kind != NODE_LIST || at->node->count == 0) {
        bind_error(b, at, "write [{env: NAME}], [{file: path}] or [{sha256: hex}]",
                   at->node->kind == NODE_LIST ? "the list is empty" : "must be a list, not %s",
                   node_what(at->node));
        return;
    }
    struct policy_key *items = ARENA_ARRAY(b->arena, struct policy_key, at->node->count);
    *FIELD(struct policy_key *) = items;
    *LENGTH() = 0;
    bind_keep(b, at, FIELD(struct policy_key *));
    for (size_t i = 0; i < at->node->count; i++) {
        struct place *item = bind_child(b, at, &at->node->entries[i], NULL, i);
        if (bind_tenant_key(b, k, item, &items[*LENGTH()]))
            bind_keep(b, item, &items[(*LENGTH())++]);
    }
}

/* ---- dispatch ---- */

void bind_value(struct binder *b, const struct spec_key *k, struct place *at, void *base)
{
    static const bind_fn by_type[SPEC_TYPES] = {
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

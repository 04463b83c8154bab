/* Printing bound values by their type: the way back of policy_types. Pure but for the arena. Called
 * by policy_diff and policy_explain. */
#include "policies/policy_print.h"

#include <inttypes.h>
#include <stdio.h>
#include "policies/policy_value.h"

#define FIELD(type) ((type const *)(const void *)((const char *)base + k->at))
#define LENGTH()    (*(const size_t *)(const void *)((const char *)base + k->count_at))

void print_list_add(struct print_list *l, const char *item)
{
    const char *between = l->n ? ", " : "";
    size_t gap = strlen(between), n = strlen(item);
    if (l->n + gap + n + 1 > l->cap) { /* doubling: lists may have thousands of items */
        l->cap = 2 * (l->n + gap + n + 1);
        char *grown = arena_alloc(l->arena, l->cap);
        if (l->n)
            memcpy(grown, l->text, l->n);
        l->text = grown;
    }
    memcpy(l->text + l->n, between, gap);
    memcpy(l->text + l->n + gap, item, n + 1);
    l->n += gap + n;
}

const char *print_list_text(const struct print_list *l)
{
    return l->n ? l->text : "";
}

static const char *print_int64(struct arena *a, const struct spec_key *k, int64_t v)
{
    char text[32];
    if (v == POLICY_NONE)
        return k->flags & SPEC_AUTO ? "auto" : k->flags & SPEC_NONE ? "none" : "not given";
    if (k->type == SPEC_DURATION)
        value_format_duration(v, text, sizeof text);
    else if (k->type == SPEC_SIZE)
        value_format_size(v, text, sizeof text);
    else
        snprintf(text, sizeof text, "%" PRId64, v);
    return arena_printf(a, "%s", text);
}

static const char *print_fraction(struct arena *a, double v)
{
    return v == POLICY_OFF ? "" : arena_printf(a, "%.9g", v);
}

static const char *print_enum(const struct spec_key *k, int v)
{
    for (const struct spec_word *w = k->words; w->word; w++)
        if (!w->reserved && w->value == v)
            return w->word;
    return "";
}

static const char *print_flags(struct arena *a, const struct spec_key *k, unsigned bits)
{
    struct print_list all = {.arena = a};
    for (const struct spec_word *w = k->words; w->word; w++)
        if (bits & (unsigned)w->value)
            print_list_add(&all, w->word);
    return all.n ? all.text : "any";
}

static const char *print_names(struct arena *a, const char *const *items, size_t n)
{
    struct print_list all = {.arena = a};
    for (size_t i = 0; i < n; i++)
        print_list_add(&all, items[i]);
    return print_list_text(&all);
}

static const char *print_headers(struct arena *a, const struct policy_header *h, size_t n)
{
    struct print_list all = {.arena = a};
    for (size_t i = 0; i < n; i++)
        print_list_add(&all, arena_printf(a, "%s: %s", h[i].name, h[i].value ? h[i].value : "*"));
    return print_list_text(&all);
}

static const char *print_endpoints(struct arena *a, const struct policy_endpoint *e, size_t n)
{
    struct print_list all = {.arena = a};
    for (size_t i = 0; i < n; i++)
        print_list_add(&all, e[i].url);
    return print_list_text(&all);
}

static const char *print_address(struct arena *a, const struct policy_address *v)
{
    return strchr(v->host, ':') ? arena_printf(a, "[%s]:%u", v->host, (unsigned)v->port)
                                : arena_printf(a, "%s:%u", v->host, (unsigned)v->port);
}

static const char *policy_print_price(struct arena *a, const struct policy_price *price)
{
    char usd[32];
    struct print_list all = {.arena = a};
    for (int k = 0; price->per_token && k < TOK_KINDS; k++)
        print_list_add(&all, arena_printf(a, "%s %s", token_kind_name((enum token_kind)k),
                                          money_format_usd(price->per_mtok[k], usd, sizeof usd)));
    if (price->per_gpu_second)
        print_list_add(&all, arena_printf(a, "gpu_second %s",
                                          money_format_usd(price->gpu_second, usd, sizeof usd)));
    return print_list_text(&all);
}

/* Days to a civil date: the inverse of policy_value's, by search over years (a few dozen steps). */
static const char *print_day(struct arena *a, int64_t wall_us)
{
    int64_t days = wall_us / INT64_C(86400000000), seconds = wall_us / 1000000 % 86400;
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year = 1970;
    int leap, month = 0;
    for (;; year++) {
        leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        if (days < 365 + leap)
            break;
        days -= 365 + leap;
    }
    while (days >= lengths[month] + (month == 1 && leap)) {
        days -= lengths[month] + (month == 1 && leap);
        month++;
    }
    const char *day = arena_printf(a, "%04" PRId64 "-%02d-%02" PRId64, year, month + 1, days + 1);
    return seconds == 0 ? day
                        : arena_printf(a, "%sT%02" PRId64 ":%02" PRId64 ":%02" PRId64 "Z", day,
                                       seconds / 3600, seconds / 60 % 60, seconds % 60);
}

static const char *print_prices(struct arena *a, const struct policy_price *prices, size_t n)
{
    struct print_list all = {.arena = a};
    for (size_t i = 0; i < n; i++) {
        const char *from = prices[i].from_wall_us == INT64_MIN
                               ? ""
                               : arena_printf(a, "from %s: ", print_day(a, prices[i].from_wall_us));
        const char *price = policy_print_price(a, &prices[i]);
        print_list_add(&all, n == 1 && !*from ? price : arena_printf(a, "%s{%s}", from, price));
    }
    return print_list_text(&all);
}

/* The model, and what its step has other than the route. */
static const char *print_step(struct arena *a, const struct policy *p, const struct policy_route *r,
                              const struct policy_step *s, bool cascade)
{
    const char *name = p->models[s->model].name, *how = "";
    if (cascade && s->accept != POLICY_OFF && s->accept != r->decide.accept)
        how = arena_printf(a, "accept %.9g", s->accept);
    if (cascade && s->samples != r->decide.confidence.samples.count)
        how = arena_printf(a, "%s%ssamples %lld", how, *how ? ", " : "", (long long)s->samples);
    return *how ? arena_printf(a, "%s (%s)", name, how) : name;
}

static const char *print_steps(struct arena *a, const struct policy *p,
                               const struct policy_route *r, bool cascade)
{
    struct print_list all = {.arena = a};
    for (size_t i = cascade ? 0 : r->cascade_count;
         i < (cascade ? r->cascade_count : r->step_count); i++)
        print_list_add(&all, print_step(a, p, r, &r->steps[i], cascade));
    return print_list_text(&all);
}

/* Keys by the first bytes of their hashes: enough to see which came and went. */
static const char *print_tenant_keys(struct arena *a, const struct policy_key *keys, size_t n)
{
    struct print_list all = {.arena = a};
    for (size_t i = 0; i < n; i++)
        print_list_add(&all, arena_printf(a, "sha256 %02x%02x%02x%02x...", keys[i].sha256[0],
                                          keys[i].sha256[1], keys[i].sha256[2], keys[i].sha256[3]));
    return print_list_text(&all);
}

static const char *key_source(const struct policy_backend *k, const char *kind)
{
    return strncmp(k->key_source, kind, strlen(kind)) == 0 ? k->key_source : "";
}

/* A list of mappings: what is set in each. */
static const char *print_entries(struct arena *a, const struct policy *p,
                                 const struct spec_object *o, const char *items, size_t n)
{
    struct print_list all = {.arena = a};
    for (size_t i = 0; i < n; i++) {
        struct print_fields f = policy_print_object(a, p, o, items + i * o->bytes);
        struct print_list one = {.arena = a};
        for (size_t j = 0; j < f.count; j++)
            if (f.items[j].value[0])
                print_list_add(&one, arena_printf(a, "%s: %s", f.items[j].key, f.items[j].value));
        print_list_add(&all, arena_printf(a, "{%s}", print_list_text(&one)));
    }
    return print_list_text(&all);
}

static const char *print_usd(struct arena *a, nanousd v)
{
    char usd[32];
    return v == POLICY_NONE ? "" : arena_printf(a, "%s", money_format_usd(v, usd, sizeof usd));
}

static const char *print_value(struct arena *a, const struct policy *p, const struct spec_key *k,
                               const void *base)
{
    const char *text;
    switch (k->type) {
    case SPEC_INT:
    case SPEC_DURATION:
    case SPEC_SIZE:
        return print_int64(a, k, *FIELD(int64_t));
    case SPEC_FRACTION:
        return print_fraction(a, *FIELD(double));
    case SPEC_BOOL:
        return *FIELD(bool) ? "true" : "false";
    case SPEC_TEXT:
    case SPEC_NAME:
    case SPEC_PATH:
    case SPEC_WORD:
    case SPEC_PROXY:
        text = *FIELD(const char *);
        return text ? text : k->flags & SPEC_NONE ? "none" : "";
    case SPEC_NAMES:
    case SPEC_ORIGINS:
    case SPEC_STRINGS:
    case SPEC_PROMPTS:
    case SPEC_ENV:
        return print_names(a, *FIELD(const char *const *), LENGTH());
    case SPEC_ENUM:
        return print_enum(k, *FIELD(int));
    case SPEC_FLAGS:
        return print_flags(a, k, *FIELD(unsigned));
    case SPEC_HEADERS:
        return print_headers(a, *FIELD(struct policy_header *), LENGTH());
    case SPEC_ADDRESS:
        return print_address(a, FIELD(struct policy_address));
    case SPEC_ENDPOINTS:
        return print_endpoints(a, *FIELD(struct policy_endpoint *), LENGTH());
    case SPEC_KEY_ENV:
        return key_source(base, "env");
    case SPEC_KEY_FILE:
        return key_source(base, "file");
    case SPEC_BACKEND:
        return p->backends[*FIELD(size_t)].name;
    case SPEC_MODEL:
        return *FIELD(size_t) < p->model_count ? p->models[*FIELD(size_t)].name : "";
    case SPEC_PRICES:
        return print_prices(a, *FIELD(struct policy_price *), LENGTH());
    case SPEC_STEPS:
        return print_steps(a, p, base, strcmp(k->name, "cascade") == 0);
    case SPEC_TENANT_KEYS:
        return print_tenant_keys(a, *FIELD(struct policy_key *), LENGTH());
    case SPEC_USD:
        return print_usd(a, *FIELD(nanousd));
    case SPEC_LIST:
        return print_entries(a, p, k->object, *FIELD(const char *), LENGTH());
    case SPEC_TIME:
    case SPEC_OBJECT: /* walked by the caller */
    case SPEC_MAP:
    case SPEC_ALIASES:
    case SPEC_TYPES:
        break;
    }
    return "";
}

static void print_keys(struct arena *a, const struct policy *p, const struct spec_object *o,
                       const void *base, const char *prefix, struct print_fields *out)
{
    for (size_t i = 0; i < o->count; i++) {
        const struct spec_key *k = &o->keys[i];
        const char *key = arena_printf(a, "%s%s%s", prefix, *prefix ? "." : "", k->name);
        if (k->type == SPEC_OBJECT)
            print_keys(a, p, k->object, (const char *)base + k->at, key, out);
        else
            out->items[out->count++] =
                (struct print_field){key, print_value(a, p, k, base), k->flags};
    }
}

static size_t key_count(const struct spec_object *o)
{
    size_t n = o->count;
    for (size_t i = 0; i < o->count; i++)
        if (o->keys[i].type == SPEC_OBJECT && o->keys[i].object)
            n += key_count(o->keys[i].object);
    return n;
}

struct print_fields policy_print_object(struct arena *a, const struct policy *p,
                                        const struct spec_object *o, const void *base)
{
    struct print_fields out = {ARENA_ARRAY(a, struct print_field, key_count(o)), 0};
    print_keys(a, p, o, base, "", &out);
    return out;
}

const struct spec_object *policy_print_spec(const char *top_key)
{
    for (size_t i = 0; i < spec_policy.count; i++)
        if (strcmp(spec_policy.keys[i].name, top_key) == 0)
            return spec_policy.keys[i].object;
    return NULL;
}

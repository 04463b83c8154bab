/* A loaded policy: its life and its look-ups. The look-ups are on the request path: no allocation,
 * no locks, names by hash, routes in order. Owns the snapshot. Thread: any that holds a reference.
 */
#include "policies/policy_int.h"

#include <stdlib.h>
#include <openssl/crypto.h>
#include "base/list.h"
#include "base/mem.h"
#include "policies/policy_glob.h"

/* ---- life ---- */

static const struct policy_snapshot *snapshot_of(const struct policy *p)
{
    return (const struct policy_snapshot *)(const void *)p;
}

struct policy_snapshot *policy_snapshot_new(void)
{
    struct policy_snapshot *s = mem_zalloc(1, sizeof *s);
    arena_init(&s->arena, 16 * 1024);
    atomic_init(&s->refs, 1);
    return s;
}

void policy_snapshot_free(struct policy_snapshot *s)
{
    for (size_t i = 0; i < s->policy.backend_count; i++) {
        const char *key = s->policy.backends[i].key;
        if (key)
            OPENSSL_cleanse((void *)(uintptr_t)key, strlen(key));
    }
    arena_clear(&s->arena);
    free(s);
}

struct policy *policy_ref(struct policy *p)
{
    struct policy_snapshot *s = CONTAINER_OF(p, struct policy_snapshot, policy);
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return p;
}

void policy_unref(struct policy *p)
{
    if (!p)
        return;
    struct policy_snapshot *s = CONTAINER_OF(p, struct policy_snapshot, policy);
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1)
        policy_snapshot_free(s);
}

/* ---- names ---- */

static void add_name(struct policy_snapshot *s, const char *name, const struct policy_model *model)
{
    if (names_add(&s->asked, slice_str(name), s->name_count) != s->name_count)
        return;
    s->names[s->name_count++] = (struct policy_name){name, model, name};
}

/* routed, name: what routes match, patterns left out, once each in the order of the file. Returns
 * how many. */
static size_t index_routes(struct policy_snapshot *s, struct names *routed, const char **name)
{
    size_t n = 0;

    for (size_t i = 0; i < s->policy.route_count; i++) {
        const struct policy_match *m = &s->policy.routes[i].match;
        for (size_t j = 0; j < m->model_count; j++) {
            if (glob_is(slice_str(m->models[j])))
                s->globs = true;
            else if (names_add(routed, slice_str(m->models[j]), n) == n)
                name[n++] = m->models[j];
        }
    }
    return n;
}

/* The end of a chain of aliases, or the first of its names that is among stop (NULL: none is). */
static const char *follow(const struct policy *p, const char *name, const struct names *stop)
{
    for (size_t hops = 0; hops <= POLICY_ALIAS_HOPS; hops++) {
        size_t next = policy_alias_index(p, slice_str(name));
        if (next == NAMES_ABSENT || (stop && names_get(stop, slice_str(name)) != NAMES_ABSENT))
            break;
        name = p->aliases[next].target;
    }
    return name;
}

/* An alias that a route asks for stands for nothing else: the route has its own models. */
static void index_aliases(struct policy_snapshot *s, const struct names *routed)
{
    struct policy *p = &s->policy;

    for (size_t i = 0; i < p->alias_count; i++)
        names_add(&s->aliases, slice_str(p->aliases[i].name), i);
    for (size_t i = 0; i < p->alias_count; i++) {
        struct policy_alias *a = &p->aliases[i];
        const char *end = follow(p, a->name, routed);
        a->canonical = follow(p, a->name, NULL);
        add_name(s, a->name, policy_find_model(p, slice_str(end)));
        s->names[names_get(&s->asked, slice_str(a->name))].canonical = end;
    }
}

void policy_snapshot_index(struct policy_snapshot *s)
{
    struct policy *p = &s->policy;
    struct names routed;
    size_t matched = 0;
    for (size_t i = 0; i < p->route_count; i++)
        matched += p->routes[i].match.model_count;
    size_t room = p->model_count + p->alias_count + matched;
    names_init(&s->models, &s->arena, p->model_count);
    names_init(&s->aliases, &s->arena, p->alias_count);
    names_init(&s->asked, &s->arena, room);
    names_init(&routed, &s->arena, matched);
    const char **route_name = ARENA_ARRAY(&s->arena, const char *, matched + 1);
    s->names = ARENA_ARRAY(&s->arena, struct policy_name, room + 1);
    s->name_count = 0;
    for (size_t i = 0; i < p->model_count; i++) {
        names_add(&s->models, slice_str(p->models[i].name), i);
        add_name(s, p->models[i].name, &p->models[i]);
    }
    size_t n = index_routes(s, &routed, route_name);
    index_aliases(s, &routed);
    for (size_t i = 0; i < n; i++)
        add_name(s, route_name[i], NULL);
}

size_t policy_names(const struct policy *p, const struct policy_name **out)
{
    *out = snapshot_of(p)->names;
    return snapshot_of(p)->name_count;
}

const struct policy_model *policy_find_model(const struct policy *p, struct slice name)
{
    size_t i = names_get(&snapshot_of(p)->models, name);
    return i == NAMES_ABSENT ? NULL : &p->models[i];
}

size_t policy_alias_index(const struct policy *p, struct slice name)
{
    return names_get(&snapshot_of(p)->aliases, name);
}

/* ---- matching ---- */

/* The name asked for, then what it is an alias of, to the end of the chain. Loading refuses cycles;
 * the hops bound them for the checks that run before. */
static bool any_along_chain(const struct policy *p, const char *pattern, struct slice name)
{
    for (size_t hops = 0; hops <= POLICY_ALIAS_HOPS; hops++) {
        if (glob_match(slice_str(pattern), name))
            return true;
        size_t alias = policy_alias_index(p, name);
        if (alias == NAMES_ABSENT)
            return false;
        name = slice_str(p->aliases[alias].target);
    }
    return false;
}

bool policy_match_model(const struct policy *p, const struct policy_match *m, struct slice name)
{
    for (size_t i = 0; i < m->model_count; i++)
        if (any_along_chain(p, m->models[i], name))
            return true;
    return m->model_count == 0;
}

bool policy_known(const struct policy *p, struct slice name)
{
    const struct policy_snapshot *s = snapshot_of(p);
    if (names_get(&s->asked, name) != NAMES_ABSENT)
        return true;
    for (size_t i = 0; s->globs && i < p->route_count; i++)
        if (p->routes[i].match.model_count && policy_match_model(p, &p->routes[i].match, name))
            return true;
    return false;
}

static bool tenant_matches(const struct policy_match *m, const struct policy_tenant *tenant)
{
    if (m->tenant_count == 0)
        return true;
    for (size_t i = 0; tenant && i < m->tenant_count; i++)
        if (strcmp(m->tenants[i], tenant->name) == 0)
            return true;
    return false;
}

static bool has_tag(const struct policy_query *q, struct slice tag)
{
    for (size_t i = 0; i < q->tag_count; i++)
        if (slice_eq(q->tags[i], tag))
            return true;
    for (size_t i = 0; q->tenant && i < q->tenant->tag_count; i++)
        if (slice_eq(slice_str(q->tenant->tags[i]), tag))
            return true;
    return false;
}

static bool tags_match(const struct policy_match *m, const struct policy_query *q)
{
    for (size_t i = 0; i < m->tag_count; i++)
        if (!has_tag(q, slice_str(m->tags[i])))
            return false;
    return true;
}

static bool has_header(const struct policy_query *q, const struct policy_header *want)
{
    for (size_t i = 0; i < q->header_count; i++)
        if (slice_ieq(q->headers[i].name, slice_str(want->name)) &&
            (!want->value || glob_match(slice_str(want->value), q->headers[i].value)))
            return true;
    return false;
}

static bool headers_match(const struct policy_match *m, const struct policy_query *q)
{
    for (size_t i = 0; i < m->header_count; i++)
        if (!has_header(q, &m->headers[i]))
            return false;
    return true;
}

static bool in_range(struct policy_range r, int64_t v)
{
    return (r.min == POLICY_NONE || v >= r.min) && (r.max == POLICY_NONE || v <= r.max);
}

/* A query without a class is of none that a route could name. */
static bool class_matches(const struct policy_match *m, const struct policy_query *q)
{
    for (size_t i = 0; i < m->class_count; i++)
        if (slice_eq(slice_str(m->classes[i]), q->class_name))
            return q->class_confidence >= m->min_confidence;
    return m->class_count == 0;
}

enum policy_miss policy_match_miss(const struct policy *p, const struct policy_match *m,
                                   const struct policy_query *q, bool known)
{
    if (m->model_count ? !policy_match_model(p, m, q->model) : !known)
        return POLICY_MISS_MODEL;
    if (m->apis && !(q->api < POLICY_APIS && (m->apis & 1u << q->api)))
        return POLICY_MISS_API;
    if (!tenant_matches(m, q->tenant))
        return POLICY_MISS_TENANT;
    if (!tags_match(m, q))
        return POLICY_MISS_TAGS;
    if (!headers_match(m, q))
        return POLICY_MISS_HEADERS;
    if (!in_range(m->prompt_tokens, q->prompt_tokens))
        return POLICY_MISS_TOKENS;
    return class_matches(m, q) ? POLICY_MISS_NONE : POLICY_MISS_CLASS;
}

bool policy_needs_class(const struct policy *p, const struct policy_query *q)
{
    struct policy_query unclassified = *q;
    if (!p->matches_class || !policy_known(p, q->model))
        return false;
    unclassified.class_name = (struct slice){NULL, 0};
    for (size_t i = 0; i < p->route_count; i++) {
        enum policy_miss miss = policy_match_miss(p, &p->routes[i].match, &unclassified, true);
        if (miss == POLICY_MISS_CLASS)
            return true;
        if (miss == POLICY_MISS_NONE)
            return p->routes[i].decide.mode != POLICY_DECIDE_ORDER &&
                   q->api != POLICY_API_EMBEDDINGS;
    }
    return false;
}

const struct policy_route *policy_match(const struct policy *p, const struct policy_query *q,
                                        bool *known)
{
    *known = policy_known(p, q->model);
    for (size_t i = 0; *known && i < p->route_count; i++)
        if (policy_match_miss(p, &p->routes[i].match, q, true) == POLICY_MISS_NONE)
            return &p->routes[i];
    return NULL;
}

bool policy_offers(const struct policy *p, struct slice name, const struct policy_tenant *tenant)
{
    bool known = policy_known(p, name);
    for (size_t i = 0; known && i < p->route_count; i++) {
        const struct policy_match *m = &p->routes[i].match;
        if (policy_match_model(p, m, name) && tenant_matches(m, tenant))
            return true;
    }
    return false;
}

/* ---- money ---- */

__extension__ typedef unsigned __int128 wide;

#define TOKENS_PER_MTOK 1000000 /* and microseconds per second: one divisor for both */

const struct policy_price *policy_price_in(const struct policy_price *prices, size_t count,
                                           int64_t wall_us)
{
    const struct policy_price *in_force = &prices[0];
    for (size_t i = 1; i < count && prices[i].from_wall_us <= wall_us; i++)
        in_force = &prices[i];
    return in_force;
}

const struct policy_price *policy_price_at(const struct policy_model *m, int64_t wall_us)
{
    return policy_price_in(m->prices, m->price_count, wall_us);
}

static wide product(int64_t count, nanousd price)
{
    return count > 0 && price > 0 ? (wide)(uint64_t)count * (uint64_t)price : 0;
}

nanousd policy_cost(const struct policy_price *price, const struct token_usage *usage,
                    int64_t duration_us)
{
    wide sum = TOKENS_PER_MTOK / 2; /* half up */
    for (int k = 0; price->per_token && k < TOK_KINDS; k++)
        sum += product(usage->n[k], price->per_mtok[k]);
    if (price->per_gpu_second)
        sum += product(duration_us, price->gpu_second);
    sum /= TOKENS_PER_MTOK;
    return sum > INT64_MAX ? INT64_MAX : (nanousd)sum;
}

struct policy_guess policy_guess_attempt(const struct policy_model *m, unsigned api,
                                         int64_t input_tokens, int64_t wall_us)
{
    struct token_usage usage = {.source = USAGE_ESTIMATED, .n = {[TOK_INPUT] = input_tokens}};
    struct policy_guess g = {0};
    if (api != POLICY_API_EMBEDDINGS)
        g.output_tokens =
            m->max_output_tokens != POLICY_NONE && m->max_output_tokens < POLICY_GUESS_OUTPUT_TOKENS
                ? m->max_output_tokens
                : POLICY_GUESS_OUTPUT_TOKENS;
    g.duration_us = g.output_tokens * 1000000 / POLICY_GUESS_TOKENS_PER_SECOND;
    usage.n[TOK_OUTPUT] = g.output_tokens;
    g.cost = policy_cost(policy_price_at(m, wall_us), &usage, g.duration_us);
    return g;
}

/* ---- words ---- */

static const struct {
    const char *name;
    unsigned capability;
} apis[POLICY_APIS] = {
    [POLICY_API_CHAT] = {"chat", CAP_CHAT},
    [POLICY_API_COMPLETIONS] = {"completions", CAP_COMPLETIONS},
    [POLICY_API_EMBEDDINGS] = {"embeddings", CAP_EMBEDDINGS},
    [POLICY_API_MESSAGES] = {"messages", CAP_CHAT},
    [POLICY_API_RESPONSES] = {"responses", CAP_CHAT},
};

const char *policy_api_name(unsigned api)
{
    return api < POLICY_APIS ? apis[api].name : "another";
}

unsigned policy_api_capability(unsigned api)
{
    return api < POLICY_APIS ? apis[api].capability : 0;
}

const char *policy_key_header(const struct policy_backend *b)
{
    if (b->dialect == DIALECT_ANTHROPIC)
        return "x-api-key";
    return b->server && strcmp(b->server, "azure") == 0 ? "api-key" : "Authorization";
}

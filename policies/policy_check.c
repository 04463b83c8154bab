/* Checks across keys. Each function takes one concern and says what it found at the place where it
 * is written; none stops at the first fault. Values that were refused while binding are skipped, so
 * that one mistake is reported once. Thread: the loader's. Called by policy_load. */
#include "policies/policy_check_int.h"

#include <stdlib.h>
#include "policies/policy_value.h"

/* ---- shared with policy_check_backend ---- */

int policy_check_line(const struct binder *b, const void *address)
{
    const struct node *n = binder_place(b, address)->node;
    return n ? n->line : 0;
}

bool policy_check_given(const struct place *at, const char *key)
{
    return at->node && node_find(at->node, slice_str(key)) != NULL;
}

bool policy_check_wildcard(const struct policy_address *a)
{
    return strcmp(a->host, "0.0.0.0") == 0 || strcmp(a->host, "::") == 0;
}

void policy_check_backoff(struct binder *b, const int64_t *base_ms, const int64_t *max_ms)
{
    char max[32];
    const void *written = binder_written(b, base_ms) ? base_ms : max_ms;
    if (*base_ms > *max_ms && binder_written(b, written))
        bind_error(b, binder_place(b, written), "a wait grows from base to max",
                   "base is longer than max (%s)", value_format_duration(*max_ms, max, sizeof max));
}

/* ---- prices ---- */

static void inherit(struct policy_price *p, enum token_kind kind, enum token_kind from)
{
    if (p->per_mtok[kind] == POLICY_NONE)
        p->per_mtok[kind] = p->per_mtok[from];
}

static void check_price(struct binder *b, bool embeddings_only, const struct place *at,
                        struct policy_price *p)
{
    bool input = policy_check_given(at, "input"), output = policy_check_given(at, "output"),
         gpu = policy_check_given(at, "gpu_second");
    if (!input && !output && !gpu && at->node && at->node->kind == NODE_MAP)
        bind_error(b, at,
                   "give input and output in USD per million tokens, or gpu_second; 0 is a price",
                   "there is no price in it");
    else if (input && !output && !embeddings_only)
        bind_error(b, at, "0 is a price", "'output' is missing beside 'input'");
    else if (output && !input)
        bind_error(b, at, "0 is a price", "'input' is missing beside 'output'");
    if (!input && !output &&
        (policy_check_given(at, "cached_input") || policy_check_given(at, "cache_write") ||
         policy_check_given(at, "reasoning")))
        bind_error(b, at, NULL, "prices of special tokens need 'input' and 'output'");
    p->per_token = input || output;
    p->per_gpu_second = gpu;
    inherit(p, TOK_CACHED_INPUT, TOK_INPUT);
    inherit(p, TOK_CACHE_WRITE, TOK_INPUT);
    inherit(p, TOK_REASONING, TOK_OUTPUT);
    for (int k = 0; k < TOK_KINDS;
         k++) /* no token price at all, or the output of a model that only embeds */
        p->per_mtok[k] = p->per_mtok[k] == POLICY_NONE ? 0 : p->per_mtok[k];
    if (p->gpu_second == POLICY_NONE)
        p->gpu_second = 0;
}

static int by_from(const void *va, const void *vb)
{
    const struct policy_price *a = va, *b = vb;
    return (a->from_wall_us > b->from_wall_us) - (a->from_wall_us < b->from_wall_us);
}

static void check_price_times(struct binder *b, struct policy_price *const *field, size_t count)
{
    const struct policy_price *prices = *field, *earliest = prices;
    for (size_t i = 0; i < count; i++) {
        const struct policy_price *p = &prices[i];
        if (p->from_wall_us < earliest->from_wall_us)
            earliest = p;
        for (size_t j = 0; j < i && i < 1000; j++)
            if (prices[j].from_wall_us == p->from_wall_us) {
                bind_error(b, binder_place(b, p), "give each entry of the list a 'from' of its own",
                           "begins at the same moment as the price at line %d",
                           policy_check_line(b, &prices[j]));
                break;
            }
    }
    if (earliest->from_wall_us > b->now_wall_us)
        bind_error(b,
                   binder_below(
                       b, binder_place(b, count > 1 ? (const void *)earliest : (const void *)field),
                       "from"),
                   "add an entry without 'from' for the time before",
                   "there is no price until then");
}

/* The prices that the member at `field` holds. */
static void check_prices_of(struct binder *b, struct policy_price *const *field, size_t count,
                            bool embeddings_only)
{
    struct policy_price *prices = *field;
    for (size_t i = 0; i < count; i++) {
        bool list = binder_written(b, &prices[i]);
        check_price(b, embeddings_only,
                    binder_place(b, list ? (const void *)&prices[i] : (const void *)field),
                    &prices[i]);
    }
    if (count == 0)
        return;
    check_price_times(b, field, count);
    qsort(prices, count, sizeof *prices, by_from);
}

void policy_check_prices(struct binder *b)
{
    for (size_t i = 0; i < b->draft->model_count; i++) {
        struct policy_model *m = &b->draft->models[i];
        check_prices_of(b, &m->prices, m->price_count,
                        !(m->capabilities & (CAP_CHAT | CAP_COMPLETIONS)));
    }
    check_prices_of(b, &b->draft->encoder.prices, b->draft->encoder.price_count, true);
}

/* ---- models ---- */

static void check_model(struct binder *b, const struct policy *p, const struct policy_model *m)
{
    if (m->backend < p->backend_count && p->backends[m->backend].dialect != DIALECT_ANTHROPIC &&
        binder_written(b, &m->thinking))
        bind_error(b, binder_place(b, &m->thinking), "remove it",
                   "belongs to models of a backend with dialect: anthropic");
    if (m->context_tokens != POLICY_NONE && m->max_output_tokens > m->context_tokens)
        bind_error(b, binder_place(b, &m->max_output_tokens), NULL,
                   "is larger than 'context' (%lld)", (long long)m->context_tokens);
    if (m->capabilities && !(m->capabilities & (CAP_CHAT | CAP_COMPLETIONS | CAP_EMBEDDINGS)))
        bind_error(b, binder_place(b, &m->capabilities), "add chat, completions or embeddings",
                   "a model without any API can never be asked");
    if (m->backend < p->backend_count && p->backends[m->backend].dialect == DIALECT_ANTHROPIC &&
        (m->capabilities & (CAP_COMPLETIONS | CAP_EMBEDDINGS)))
        bind_error(b, binder_place(b, &m->capabilities),
                   "remove what is neither chat nor a part of it",
                   "Anthropic's API has neither completions nor embeddings");
}

/* ---- aliases ---- */

static void offer_names(struct names_nearest *near, const struct policy_snapshot *s,
                        const char *except)
{
    for (size_t i = 0; i < s->name_count; i++)
        if (strcmp(s->names[i].name, except) != 0)
            names_nearest_offer(near, s->names[i].name);
}

/* "a -> b -> a" */
static const char *chain_text(struct binder *b, const struct policy *p, const size_t *path,
                              size_t n)
{
    const char *chain = p->aliases[path[0]].name;
    for (size_t i = 0; i < n; i++)
        chain = arena_printf(b->scratch, "%s -> %s", chain, p->aliases[path[i]].target);
    return chain;
}

/* Is the alias that was met again the first of the path, and the first of its circle in the file?
 * Then it speaks for it. */
static bool speaks_for_circle(const size_t *path, size_t n, size_t met)
{
    for (size_t i = 0; i < n; i++)
        if (path[i] < path[0])
            return false;
    return met == path[0];
}

/* Follows an alias to its end. False when there is none: it runs in a circle, which is said once,
 * or on for too long. */
static bool alias_ends(struct binder *b, const struct policy *p, size_t start)
{
    size_t path[POLICY_ALIAS_HOPS], n = 0;
    const struct place *place = binder_place(b, &p->aliases[start]);
    for (size_t at = start; at != NAMES_ABSENT;
         at = policy_alias_index(p, slice_str(p->aliases[at].target))) {
        for (size_t i = 0; i < n; i++) {
            if (path[i] != at)
                continue;
            if (speaks_for_circle(path, n, at))
                bind_error(b, place, "let one of them lead to a model",
                           "aliases run in a circle: %s", chain_text(b, p, path, n));
            return false;
        }
        if (n == POLICY_ALIAS_HOPS) {
            bind_error(b, place, NULL, "leads through more than %d aliases", POLICY_ALIAS_HOPS);
            return false;
        }
        path[n++] = at;
    }
    return true;
}

static bool leads_somewhere(const struct policy_snapshot *s, const char *name)
{
    return names_get(&s->models, slice_str(name)) != NAMES_ABSENT ||
           policy_known(&s->policy, slice_str(name));
}

static void check_alias(struct binder *b, const struct policy_snapshot *s, size_t i)
{
    const struct policy *p = &s->policy;
    const struct policy_alias *a = &p->aliases[i];
    const struct place *at = binder_place(b, a);
    size_t model = names_get(&s->models, slice_str(a->name));
    if (model != NAMES_ABSENT)
        bind_error(b, at, "rename one of them", "the alias has the name of the model at line %d",
                   policy_check_line(b, &p->models[model]));
    if (!alias_ends(b, p, i) || leads_somewhere(s, a->target))
        return;
    struct names_nearest near;
    bind_nearest_init(b, &near, slice_str(a->target));
    offer_names(&near, s, a->name);
    bind_error(b, at, bind_did_you_mean(b, &near), "no model, alias or route takes the name '%s'",
               a->target);
}

/* ---- routes ---- */

static void check_tenants_of_route(struct binder *b, const struct policy_match *m)
{
    for (size_t i = 0; i < m->tenant_count; i++) {
        struct slice name = slice_str(m->tenants[i]);
        if (names_get(&b->tenant_names, name) != NAMES_ABSENT)
            continue;
        struct names_nearest near;
        bind_nearest_init(b, &near, name);
        for (size_t j = 0; j < b->draft->tenant_count; j++)
            names_nearest_offer(&near, b->draft->tenants[j].name);
        const struct place *item = binder_place(b, &m->tenants[i]);
        bind_error(b, item->node ? item : binder_place(b, &m->tenants), bind_did_you_mean(b, &near),
                   "no tenant '%s'", m->tenants[i]);
    }
}

static unsigned capabilities_of_apis(unsigned apis)
{
    unsigned caps = 0;

    for (unsigned api = 0; api < POLICY_APIS; api++)
        caps |= apis & 1u << api ? policy_api_capability(api) : 0;
    return caps;
}

static const char *api_list(struct binder *b, unsigned apis)
{
    const char *all = "";
    for (unsigned a = 0; a < POLICY_APIS; a++)
        if (apis & 1u << a)
            all = arena_printf(b->scratch, "%s%s%s", all, *all ? " or " : "", policy_api_name(a));
    return all;
}

static void check_step(struct binder *b, const struct policy *p, const struct policy_route *r,
                       size_t i)
{
    const struct policy_step *step = &r->steps[i];
    const struct policy_model *m = &p->models[step->model];
    const struct place *at = binder_place_inner(b, step);
    for (size_t j = 0; j < i; j++) {
        if (r->steps[j].model != step->model)
            continue;
        bind_error(b, at, "to ask a model again after a failure, raise retry.per_model",
                   "'%s' is already asked in this route", m->name);
        break;
    }
    if (r->match.apis && m->capabilities &&
        !(m->capabilities & capabilities_of_apis(r->match.apis)))
        bind_error(b, at,
                   arena_printf(b->scratch, "see the capabilities of '%s' at line %d", m->name,
                                policy_check_line(b, m)),
                   "the route takes %s requests only, and '%s' cannot answer these",
                   api_list(b, r->match.apis), m->name);
    if (m->context_tokens != POLICY_NONE && r->match.prompt_tokens.min > m->context_tokens)
        bind_error(b, at, NULL,
                   "the route takes prompts from %lld tokens, and the context of '%s' is %lld",
                   (long long)r->match.prompt_tokens.min, m->name, (long long)m->context_tokens);
}

static void check_route(struct binder *b, const struct policy *p, const struct policy_route *r)
{
    const struct policy_range *range = &r->match.prompt_tokens;
    if (range->max != POLICY_NONE && range->min > range->max)
        bind_error(b, binder_place(b, range), "swap them",
                   "min is larger than max: nothing can match");
    check_tenants_of_route(b, &r->match);
    for (size_t i = 0; i < r->step_count && i < 1000; i++)
        check_step(b, p, r, i);
}

static void check_route_names(struct binder *b, const struct policy *p)
{
    struct names seen;
    names_init(&seen, b->scratch, p->route_count + 1);
    for (size_t i = 0; i < p->route_count; i++) {
        const struct policy_route *r = &p->routes[i];
        size_t first = r->name ? names_add(&seen, slice_str(r->name), i) : i;
        if (first != i && i >= b->draft->written_routes)
            bind_error(b, binder_place_inner(b, &p->routes[first].name), "give it another name",
                       "models_by_name gives this name to a route of its own");
        else if (first != i)
            bind_error(b, binder_place_inner(b, &r->name), NULL,
                       "the route at line %d is also called '%s'", p->routes[first].line, r->name);
    }
}

static void check_models_by_name(struct binder *b)
{
    const struct draft *d = b->draft;
    if (!d->models_by_name && !d->written_routes && binder_written(b, &d->models_by_name))
        bind_error(b, binder_place(b, &d->models_by_name), "remove it, or write routes",
                   "without routes each model is served under its own name");
}

/* ---- tenants and listeners ---- */

static void check_tenant_keys(struct binder *b, const struct policy *p)
{
    size_t keys = 0;
    for (size_t i = 0; i < p->tenant_count; i++)
        keys += p->tenants[i].key_count;
    struct names seen;
    names_init(&seen, b->scratch, keys + 1);
    for (size_t i = 0; i < p->tenant_count; i++)
        for (size_t j = 0; j < p->tenants[i].key_count; j++) {
            const struct policy_key *k = &p->tenants[i].keys[j];
            size_t first = names_add(&seen, slice_make((const char *)k->sha256, sizeof k->sha256),
                                     i << 20 | j);
            if (first == (i << 20 | j))
                continue;
            size_t owner = first >> 20;
            bind_error(b, binder_place(b, k), "a key belongs to one tenant, once",
                       "this key is the one of '%s' at line %d", p->tenants[owner].name,
                       policy_check_line(b, &p->tenants[owner].keys[first & 0xfffff]));
        }
}

static void check_budgets(struct binder *b, const struct policy *p)
{
    for (size_t i = 0; i < p->tenant_count; i++) {
        const struct policy_tenant_budget *budget = &p->tenants[i].budget;
        const struct place *at = binder_place(b, budget);
        if (!binder_written(b, budget) || at->node->kind != NODE_MAP)
            continue;
        if (at->node->count == policy_check_given(at, "at_limit"))
            bind_error(b, at, "name max_usd_per_day or max_usd_per_month", "limits nothing");
        else if (budget->per_month != POLICY_NONE && budget->per_day > budget->per_month)
            bind_error(b, binder_place_inner(b, &budget->per_day),
                       "write at most max_usd_per_month", "a day may cost more than its month");
    }
}

static void check_listeners(struct binder *b)
{
    const struct draft *d = b->draft;
    const struct policy_address *listen = &d->server.listen, *admin = &d->server.admin;
    bool any_admin = false;
    for (size_t i = 0; i < d->tenant_count; i++)
        any_admin = any_admin || d->tenants[i].admin;
    if (!listen->loopback && d->tenant_count == 0)
        bind_error(b, binder_place_inner(b, listen),
                   "add tenants with keys, or listen on 127.0.0.1",
                   "without tenants anyone who reaches %s could spend your money", listen->host);
    if (!admin->loopback && !any_admin)
        bind_error(b, binder_place(b, admin), "give a tenant 'admin: true', or use 127.0.0.1",
                   "the admin API beyond loopback needs a tenant that may use it");
    if (listen->port == 0 || listen->port != admin->port)
        return;
    if (strcmp(listen->host, admin->host) == 0 || policy_check_wildcard(listen) ||
        policy_check_wildcard(admin)) {
        const void *later = binder_written(b, admin) ? admin : listen;
        bind_error(b, binder_place_inner(b, later), "give them different ports",
                   "listen and admin both take port %u", (unsigned)listen->port);
    }
}

/* ---- what nothing uses ---- */

static void check_unused(struct binder *b, const struct policy *p)
{
    bool *backends = ARENA_ARRAY(b->scratch, bool, p->backend_count + 1);
    bool *models = ARENA_ARRAY(b->scratch, bool, p->model_count + 1);
    for (size_t i = 0; i < p->model_count; i++)
        backends[p->models[i].backend] = true;
    for (size_t i = 0; i < p->route_count; i++)
        for (size_t j = 0; j < p->routes[i].step_count; j++)
            models[p->routes[i].steps[j].model] = true;
    if (p->cache.judge.by_model)
        models[p->cache.judge.model] = true;
    for (size_t i = 0; i < p->backend_count; i++)
        if (!backends[i])
            bind_warning(b, binder_place(b, &p->backends[i]), NULL, "no model uses this backend");
    for (size_t i = 0; i < p->model_count; i++)
        if (!models[i])
            bind_warning(b, binder_place(b, &p->models[i]),
                         "name it in a cascade or fallback, or remove it",
                         "no route uses this model");
}

/* With tenants the admin API wants an admin's key, also on loopback. */
static void check_admin(struct binder *b, const struct policy *p)
{
    for (size_t i = 0; i < p->tenant_count; i++)
        if (p->tenants[i].admin)
            return;
    if (p->tenant_count)
        bind_warning(b, binder_place(b, &b->draft->tenants), "give one of them 'admin: true'",
                     "no tenant may use the admin API");
}

static void check_attempts(struct binder *b, const struct policy_retry *r)
{
    if (r->per_model > r->max_attempts && binder_written(b, &r->per_model))
        bind_error(b, binder_place(b, &r->per_model), "write at most max_attempts",
                   "is more than the attempts of a whole request (%lld)",
                   (long long)r->max_attempts);
}

void policy_check(struct binder *b, const struct policy_snapshot *s)
{
    const struct policy *p = &s->policy;
    policy_check_backends(b, p);
    for (size_t i = 0; i < p->model_count; i++)
        check_model(b, p, &p->models[i]);
    policy_check_backoff(b, &b->draft->retry.backoff_base_ms, &b->draft->retry.backoff_max_ms);
    check_attempts(b, &b->draft->retry);
    for (size_t i = 0; i < p->route_count; i++) {
        struct policy_retry *r = &p->routes[i].retry;
        check_route(b, p, &p->routes[i]);
        policy_check_backoff(b, &r->backoff_base_ms, &r->backoff_max_ms);
        check_attempts(b, r);
    }
    for (size_t i = 0; i < p->alias_count; i++)
        check_alias(b, s, i);
    policy_check_classes(b, p);
    policy_check_cache(b, p);
    policy_check_decide(b, p);
    check_route_names(b, p);
    check_models_by_name(b);
    check_tenant_keys(b, p);
    check_budgets(b, p);
    check_listeners(b);
    /* Both would follow from faults already reported. */
    if (b->diags->errors)
        return;
    policy_check_reach(b, s);
    check_unused(b, p);
    check_admin(b, p);
}

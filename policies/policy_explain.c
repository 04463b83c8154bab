/* Explaining a decision. Owns only the explanation. Any thread. Called by 'weir explain', the admin
 * API and policy_diff's readers. */
#include "policies/policy_explain.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include "base/clock.h"
#include "policies/policy_explain_int.h"
#include "policies/policy_glob.h"
#include "policies/policy_int.h"
#include "policies/policy_value.h"

/* ---- why a route does not match ---- */

static const char *join(struct arena *a, const char *const *items, size_t n, const char *between)
{
    const char *all = "";
    for (size_t i = 0; i < n && i < 8; i++)
        all = arena_printf(a, "%s%s%s", all, i ? between : "", items[i]);
    return n > 8 ? arena_printf(a, "%s%s...", all, between) : all;
}

static const char *api_names(struct arena *a, unsigned apis)
{
    const char *list[POLICY_APIS];
    size_t n = 0;
    for (unsigned api = 0; api < POLICY_APIS; api++)
        if (apis & 1u << api)
            list[n++] = policy_api_name(api);
    return join(a, list, n, " or ");
}

static const char *range_text(struct arena *a, struct policy_range r)
{
    if (r.min == POLICY_NONE)
        return arena_printf(a, "at most %" PRId64, r.max);
    if (r.max == POLICY_NONE)
        return arena_printf(a, "at least %" PRId64, r.min);
    return arena_printf(a, "%" PRId64 " to %" PRId64, r.min, r.max);
}

static bool query_has_tag(const struct policy_query *q, const char *tag)
{
    for (size_t i = 0; i < q->tag_count; i++)
        if (slice_eq(q->tags[i], slice_str(tag)))
            return true;
    for (size_t i = 0; q->tenant && i < q->tenant->tag_count; i++)
        if (strcmp(q->tenant->tags[i], tag) == 0)
            return true;
    return false;
}

static const char *missing_tags(struct arena *a, const struct policy_match *m,
                                const struct policy_query *q)
{
    const char *all = "";
    for (size_t i = 0; i < m->tag_count; i++)
        if (!query_has_tag(q, m->tags[i]))
            all = arena_printf(a, "%s%s%s", all, *all ? ", " : "", m->tags[i]);
    return all;
}

static const char *missed_header(struct arena *a, const struct policy_match *m,
                                 const struct policy_query *q)
{
    for (size_t i = 0; i < m->header_count; i++) {
        const struct policy_header *want = &m->headers[i];
        bool found = false;
        for (size_t j = 0; j < q->header_count && !found; j++)
            found = slice_ieq(q->headers[j].name, slice_str(want->name)) &&
                    (!want->value || glob_match(slice_str(want->value), q->headers[j].value));
        if (!found)
            return want->value ? arena_printf(a, "%s: %s", want->name, want->value) : want->name;
    }
    return "";
}

static const char *class_text(struct arena *a, const struct policy_match *m,
                              const struct policy_query *q)
{
    const char *wanted = join(a, m->classes, m->class_count, " or ");
    if (q->class_name.n == 0)
        return arena_printf(a, "takes class %s, and this is of no known class", wanted);
    for (size_t i = 0; i < m->class_count; i++)
        if (slice_eq(slice_str(m->classes[i]), q->class_name))
            return arena_printf(a, "takes class %s at a confidence of %.9g, and this has %.2f",
                                wanted, m->min_confidence, q->class_confidence);
    return arena_printf(a, "takes class %s, and this is '%.*s'", wanted, SLICE_ARG(q->class_name));
}

static const char *match_text(struct arena *a, const struct policy_match *m)
{
    const char *names = m->model_count ? arena_printf(a, "takes the name (%s)",
                                                      join(a, m->models, m->model_count, ", "))
                                       : "takes any name that this policy knows";
    return m->class_count ? arena_printf(a, "%s and class %s", names,
                                         join(a, m->classes, m->class_count, " or "))
                          : names;
}

static const char *miss_text(struct arena *a, const struct policy_match *m,
                             const struct policy_query *q, enum policy_miss miss)
{
    switch (miss) {
    case POLICY_MISS_NONE:
        return match_text(a, m);
    case POLICY_MISS_MODEL:
        return m->model_count
                   ? arena_printf(a, "takes %s", join(a, m->models, m->model_count, ", "))
                   : "takes only names that this policy knows";
    case POLICY_MISS_API:
        return arena_printf(a, "takes %s requests, and this is a %s request", api_names(a, m->apis),
                            policy_api_name(q->api));
    case POLICY_MISS_TENANT:
        return arena_printf(a, "takes tenant %s, and this is %s",
                            join(a, m->tenants, m->tenant_count, " or "),
                            q->tenant ? q->tenant->name : "nobody's");
    case POLICY_MISS_TAGS:
        return arena_printf(a, "takes requests with the tag %s, which this has not",
                            missing_tags(a, m, q));
    case POLICY_MISS_HEADERS:
        return arena_printf(a, "takes requests with the header %s, which this has not",
                            missed_header(a, m, q));
    case POLICY_MISS_TOKENS:
        return arena_printf(a, "takes prompts of %s tokens, and this is about %" PRId64,
                            range_text(a, m->prompt_tokens), q->prompt_tokens);
    case POLICY_MISS_CLASS:
        return class_text(a, m, q);
    }
    return "";
}

/* ---- the explanation ---- */

static const char *step_note(struct arena *a, const struct policy_model *m, unsigned api,
                             int64_t input_tokens)
{
    if (api < POLICY_APIS && !(m->capabilities & policy_api_capability(api)))
        return arena_printf(a, "is not written to answer %s requests", policy_api_name(api));
    if (m->context_tokens != POLICY_NONE && input_tokens > m->context_tokens)
        return arena_printf(a, "the prompt is longer than its context of %" PRId64 " tokens",
                            m->context_tokens);
    return NULL;
}

static void explain_step(struct policy_explanation *e, const struct policy_query *q,
                         const struct policy_route *r, size_t i, int64_t now_us)
{
    const struct policy *p = e->policy;
    struct policy_explained_step *s = &e->steps[i];
    s->model = &p->models[r->steps[i].model];
    s->backend = &p->backends[s->model->backend];
    s->price = policy_price_at(s->model, now_us);
    s->fallback = i >= r->cascade_count;
    s->guess = policy_guess_attempt(s->model, q->api, e->input_tokens, now_us);
    s->note = step_note(&e->arena, s->model, q->api, e->input_tokens);
}

static void explain_decisions(struct policy_explanation *e, const struct policy_query *q,
                              const struct policy_route *r)
{
    struct explain_lines *lines = ARENA_NEW(&e->arena, struct explain_lines);
    lines->arena = &e->arena;
    policy_explain_decide(lines, e->policy, q, r);
    e->decisions = lines->of;
    e->decision_count = lines->count;
}

static void explain_name(struct policy_explanation *e, const struct policy_query *q)
{
    const struct policy *p = e->policy;
    size_t alias = policy_alias_index(p, q->model);
    e->model = arena_strdup(&e->arena, q->model);
    e->canonical = alias == NAMES_ABSENT ? e->model : p->aliases[alias].canonical;
    e->known = policy_known(p, q->model);
    if (e->known)
        return;
    const struct policy_name *names;
    size_t n = policy_names(p, &names);
    struct names_nearest near;
    names_nearest_init(&near, q->model);
    for (size_t i = 0; i < n; i++)
        names_nearest_offer(&near, names[i].name);
    e->nearest = near.best;
}

void policy_explain(const struct policy *p, const struct policy_query *q, int64_t prompt_bytes,
                    struct policy_explanation *out)
{
    *out = (struct policy_explanation){
        .policy = p, .api = policy_api_name(q->api), .tenant = q->tenant};
    arena_init(&out->arena, 4096);
    out->input_tokens = (prompt_bytes + 3) / 4;
    out->class_name = arena_strdup(&out->arena, q->class_name);
    out->class_confidence = q->class_confidence;
    explain_name(out, q);
    out->routes = ARENA_ARRAY(&out->arena, struct policy_explained_route, p->route_count + 1);
    int64_t now_us = clock_wall_us();
    for (size_t i = 0; i < p->route_count; i++) {
        const struct policy_route *r = &p->routes[i];
        enum policy_miss miss = policy_match_miss(p, &r->match, q, out->known);
        bool taken = miss == POLICY_MISS_NONE;
        out->routes[out->route_count++] =
            (struct policy_explained_route){r, taken, miss_text(&out->arena, &r->match, q, miss)};
        if (!taken)
            continue;
        out->steps = ARENA_ARRAY(&out->arena, struct policy_explained_step, r->step_count);
        out->step_count = r->step_count;
        for (size_t j = 0; j < r->step_count; j++)
            explain_step(out, q, r, j, now_us);
        explain_decisions(out, q, r);
        return;
    }
}

void policy_explanation_clear(struct policy_explanation *e)
{
    arena_clear(&e->arena);
}

static const struct policy_explained_route *taken_route(const struct policy_explanation *e)
{
    bool any = e->route_count && e->routes[e->route_count - 1].taken;
    return any ? &e->routes[e->route_count - 1] : NULL;
}

static const char *server_name(const struct policy_backend *b)
{
    return b->server ? b->server : b->dialect == DIALECT_ANTHROPIC ? "anthropic" : "openai";
}

/* ---- for people ---- */

#define SAY(...)                                                                                   \
    do {                                                                                           \
        enum err say_err = buf_printf(out, __VA_ARGS__);                                           \
        if (say_err != ERR_OK)                                                                     \
            return say_err;                                                                        \
    } while (0)

static enum err write_price(const struct policy_price *price, struct buf *out)
{
    char a[32], b[32];
    if (price->per_token)
        SAY("$%s in, $%s out per million tokens",
            money_format_usd(price->per_mtok[TOK_INPUT], a, sizeof a),
            money_format_usd(price->per_mtok[TOK_OUTPUT], b, sizeof b));
    if (price->per_gpu_second)
        SAY("%s$%s per second", price->per_token ? " and " : "",
            money_format_usd(price->gpu_second, a, sizeof a));
    return ERR_OK;
}

static enum err write_backend(const struct policy_backend *b, struct buf *out)
{
    SAY("     backend %s (%s):", b->name, server_name(b));
    for (size_t i = 0; i < b->endpoint_count; i++)
        SAY(" %s", b->endpoints[i].url);
    if (b->balance == BALANCE_PREFIX_AFFINITY)
        SAY(", the one that knows the conversation");
    if (b->command.argv)
        SAY(", started on first need%s%s%s", b->command.group ? ", alone of its group '" : "",
            b->command.group ? b->command.group : "", b->command.group ? "'" : "");
    SAY("\n");
    return ERR_OK;
}

static enum err write_step(const struct policy_explained_step *s, size_t number, struct buf *out)
{
    char usd[32];
    SAY("  %zu. %s%s\n", number, s->model->name, s->fallback ? "  (fallback)" : "");
    enum err e = write_backend(s->backend, out);
    if (e != ERR_OK)
        return e;
    SAY("     price ");
    e = write_price(s->price, out);
    if (e != ERR_OK)
        return e;
    SAY("\n     about $%s for one attempt\n", money_format_usd(s->guess.cost, usd, sizeof usd));
    if (s->note)
        SAY("     note: %s\n", s->note);
    return ERR_OK;
}

static int64_t cache_life_ms(const struct policy_explanation *e, const struct policy_cache_use *u)
{
    return e->timely && u->timely_ttl_ms < u->ttl_ms ? u->timely_ttl_ms : u->ttl_ms;
}

static const char *scope_name(const struct policy_cache_use *u)
{
    return u->scope == POLICY_SCOPE_SHARED ? "shared" : "tenant";
}

static const char *store_name(const struct policy *p)
{
    return p->cache.store == POLICY_STORE_REDIS ? "redis" : "embedded";
}

static enum err write_cache(const struct policy_explanation *e, const struct policy_cache_use *u,
                            struct buf *out)
{
    char life[32];
    if (!u->on) {
        SAY("cache: off\n");
        return ERR_OK;
    }
    SAY("cache: a repeat within %s is answered from it%s; scope %s, store %s\n",
        value_format_duration(cache_life_ms(e, u), life, sizeof life),
        e->timely ? " (the answer depends on when it is asked)" : "", scope_name(u),
        store_name(e->policy));
    if (u->semantic.on)
        SAY("cache: a question that means the same %s; at most %g wrong per 100 requests, %g of "
            "100 "
            "hits audited at least, judge %s\n",
            u->semantic.shadow ? "is looked for, and served nothing (shadow)" : "as well",
            100 * u->semantic.max_error, 100 * u->semantic.audit_min,
            e->policy->cache.judge.model_name);
    return ERR_OK;
}

static enum err write_limit(nanousd limit, const char *per, const char *before, struct buf *out)
{
    char text[32];
    if (limit != POLICY_NONE)
        SAY("%s$%s a %s", before, money_format_usd(limit, text, sizeof text), per);
    return ERR_OK;
}

static bool has_budget(const struct policy_tenant *t)
{
    return t && (t->budget.per_day != POLICY_NONE || t->budget.per_month != POLICY_NONE);
}

/* Of what is spent where; gateway/control.c goes by the same. */
static bool budgets_are_shared(const struct policy *p)
{
    return p->cache.store == POLICY_STORE_REDIS;
}

static enum err write_budget(const struct policy *p, const struct policy_tenant *t, struct buf *out)
{
    enum err e;
    if (!has_budget(t))
        return ERR_OK;
    SAY("\nbudget of tenant '%s': ", t->name);
    e = write_limit(t->budget.per_day, "day", "", out);
    if (e == ERR_OK)
        e = write_limit(t->budget.per_month, "month",
                        t->budget.per_day == POLICY_NONE ? "" : " and ", out);
    if (e != ERR_OK)
        return e;
    SAY(" (UTC)%s; once that is spent %s\n",
        budgets_are_shared(p) ? " at all replicas of its Redis" : "",
        t->budget.at_limit == POLICY_LIMIT_CHEAPEST
            ? "only the cheapest model of the route is asked"
            : "requests get 429 (insufficient_quota)");
    return ERR_OK;
}

static enum err write_route(const struct policy_explanation *e, const struct policy_route *r,
                            struct buf *out)
{
    char ms[32];
    SAY("\nroute '%s' (%s:%d), asked in %s:\n", r->name, e->policy->source, r->line,
        r->decide.mode == POLICY_DECIDE_OBJECTIVE ? "any order" : "this order");
    for (size_t i = 0; i < e->step_count; i++) {
        enum err err = write_step(&e->steps[i], i + 1, out);
        if (err != ERR_OK)
            return err;
    }
    for (size_t i = 0; i < e->decision_count; i++)
        SAY("%s%s\n", i ? "" : "\n", e->decisions[i]);
    enum err budget_err = write_budget(e->policy, e->tenant, out);
    if (budget_err != ERR_OK)
        return budget_err;
    SAY("\nat most %" PRId64 " attempts, %" PRId64 " per model; deadline %s\n",
        r->retry.max_attempts, r->retry.per_model,
        value_format_duration(r->deadline_ms, ms, sizeof ms));
    enum err cache_err = write_cache(e, &r->cache, out);
    if (cache_err != ERR_OK)
        return cache_err;
    SAY("costs assume %" PRId64 " prompt token%s (a quarter of the bytes), an answer of %d tokens "
        "where the model may, and\n"
        "%d tokens per second where hardware is priced\n",
        e->input_tokens, e->input_tokens == 1 ? "" : "s", POLICY_GUESS_OUTPUT_TOKENS,
        POLICY_GUESS_TOKENS_PER_SECOND);
    return ERR_OK;
}

enum err policy_explanation_write_text(const struct policy_explanation *e, struct buf *out)
{
    SAY("model '%s'", e->model);
    if (strcmp(e->model, e->canonical) != 0)
        SAY(", an alias of '%s'", e->canonical);
    SAY(", %s\n", e->api);
    if (!e->known) {
        SAY("\nno model, alias or route has this name: the client gets 404 (model_not_found)\n");
        if (e->nearest)
            SAY("did you mean '%s'?\n", e->nearest);
        return ERR_OK;
    }
    if (e->class_note)
        SAY("%s\n", e->class_note);
    SAY("\nroutes in order:\n");
    for (size_t i = 0; i < e->route_count; i++)
        SAY("  %s %-20s line %-4d %s\n", e->routes[i].taken ? "->" : "  ", e->routes[i].route->name,
            e->routes[i].route->line, e->routes[i].why);
    const struct policy_explained_route *taken = taken_route(e);
    if (taken)
        return write_route(e, taken->route, out);
    SAY("\nno route takes this request: the client gets 404 (model_not_found)\n");
    return ERR_OK;
}

/* ---- for programs ---- */

static json_t *usd(nanousd v)
{
    char text[32];
    return json_string(money_format_usd(v, text, sizeof text));
}

static json_t *price_json(const struct policy_price *price)
{
    json_t *o = json_pack("{s:s}", "version", price->version);
    for (int k = 0; price->per_token && k < TOK_KINDS; k++)
        json_object_set_new(o, token_kind_name((enum token_kind)k), usd(price->per_mtok[k]));
    if (price->per_gpu_second)
        json_object_set_new(o, "gpu_second", usd(price->gpu_second));
    return o;
}

static json_t *step_json(const struct policy_explained_step *s)
{
    json_t *urls = json_array();
    for (size_t i = 0; i < s->backend->endpoint_count; i++)
        json_array_append_new(urls, json_string(s->backend->endpoints[i].url));
    return json_pack("{s:s, s:s, s:s, s:o, s:b, s:b, s:o, s:I, s:o, s:s?}", "model", s->model->name,
                     "backend", s->backend->name, "server", server_name(s->backend), "urls", urls,
                     "started_on_need", s->backend->command.argv != NULL, "fallback", s->fallback,
                     "price", price_json(s->price), "assumed_output_tokens",
                     (json_int_t)s->guess.output_tokens, "estimated_cost_usd", usd(s->guess.cost),
                     "note", s->note);
}

static json_t *class_json(const struct policy_explanation *e)
{
    return *e->class_name ? json_pack("{s:s, s:f, s:s?}", "name", e->class_name, "confidence",
                                      e->class_confidence, "note", e->class_note)
                          : json_null();
}

static json_t *budget_json(const struct policy *p, const struct policy_tenant *t)
{
    if (!has_budget(t))
        return json_null();
    return json_pack("{s:s, s:o, s:o, s:s, s:b}", "tenant", t->name, "max_usd_per_day",
                     t->budget.per_day == POLICY_NONE ? json_null() : usd(t->budget.per_day),
                     "max_usd_per_month",
                     t->budget.per_month == POLICY_NONE ? json_null() : usd(t->budget.per_month),
                     "at_limit",
                     t->budget.at_limit == POLICY_LIMIT_CHEAPEST ? "cheapest" : "refuse",
                     "over_replicas", budgets_are_shared(p));
}

static json_t *semantic_json(const struct policy *p, const struct policy_cache_use *u)
{
    if (!u->semantic.on)
        return json_null();
    return json_pack("{s:f, s:f, s:b, s:s}", "max_error", u->semantic.max_error, "audit",
                     u->semantic.audit_min, "shadow", u->semantic.shadow, "judge",
                     p->cache.judge.model_name);
}

static json_t *cache_json(const struct policy_explanation *e, const struct policy_route *r)
{
    if (!r || !r->cache.on)
        return json_null();
    return json_pack("{s:I, s:b, s:s, s:s, s:o}", "ttl_ms", (json_int_t)cache_life_ms(e, &r->cache),
                     "timely", e->timely, "scope", scope_name(&r->cache), "store",
                     store_name(e->policy), "semantic", semantic_json(e->policy, &r->cache));
}

enum err policy_explanation_write_json(const struct policy_explanation *e, struct buf *out)
{
    json_t *routes = json_array(), *steps = json_array(), *decisions = json_array();
    for (size_t i = 0; i < e->decision_count; i++)
        json_array_append_new(decisions, json_string(e->decisions[i]));
    for (size_t i = 0; i < e->route_count; i++) {
        const struct policy_explained_route *r = &e->routes[i];
        json_array_append_new(routes,
                              json_pack("{s:s, s:i, s:b, s:s}", "name", r->route->name, "line",
                                        r->route->line, "taken", r->taken, "why", r->why));
    }
    for (size_t i = 0; i < e->step_count; i++)
        json_array_append_new(steps, step_json(&e->steps[i]));
    const struct policy_explained_route *taken = taken_route(e);
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:b, s:s?, s:I, s:o, s:s?, s:o, s:o, s:o, s:o, s:o, s:s}", "model",
        e->model, "canonical", e->canonical, "api", e->api, "known", e->known, "nearest",
        e->nearest, "input_tokens", (json_int_t)e->input_tokens, "class", class_json(e), "route",
        taken ? taken->route->name : NULL, "routes", routes, "steps", steps, "decisions", decisions,
        "cache", cache_json(e, taken ? taken->route : NULL), "budget",
        budget_json(e->policy, e->tenant), "policy", e->policy->version);
    char *text =
        o ? json_dumps(o, JSON_INDENT(2)) : NULL; /* NULL: the name asked for is not UTF-8 */
    json_decref(o);
    enum err err = text ? buf_printf(out, "%s\n", text) : ERR_BAD_REQUEST;
    free(text);
    return err;
}

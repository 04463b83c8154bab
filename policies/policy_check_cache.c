/* The cache section and what routes make of it: who uses it, and where it is kept. Thread: the
 * loader's. Called by policy_load (completing) and policy_check. */
#include "policies/policy_check_int.h"

#include "base/redis_url.h"
#include "policies/policy_secret_int.h"

/* ---- completing ---- */

/* A route that says anything but `off` has a cache, also without one at the top level. */
static void complete_route(const struct binder *b, struct policy_route *r)
{
    bool written = binder_written(b, &b->draft->cache) || (r->line && binder_written(b, &r->cache));
    r->cache.on = written && r->cache.mode == POLICY_CACHE_ON;
    b->draft->cache.wanted = b->draft->cache.wanted || r->cache.on;
}

/* The gates that a text written by others must pass matter more where others may write. */
static void complete_guards(struct policy_cache_use *u)
{
    const unsigned all = POLICY_GUARD_NONE - 1;

    if (u->semantic.guards & POLICY_GUARD_DEFAULT)
        u->semantic.guards =
            u->scope == POLICY_SCOPE_SHARED ? all : all & ~(unsigned)POLICY_GUARD_OVERLAP;
}

/* Written here or at the top, and not `off`. */
static void complete_semantic(const struct binder *b, struct policy_route *r)
{
    struct policy_cache *c = &b->draft->cache;
    bool written =
        binder_written(b, &c->use.semantic) || (r->line && binder_written(b, &r->cache.semantic));

    complete_guards(&r->cache);
    r->cache.semantic.on = r->cache.on && written && r->cache.semantic.mode == POLICY_SEMANTIC_ON;
    c->semantic = c->semantic || r->cache.semantic.on;
}

static void complete_judge(struct binder *b, struct policy_judge *j)
{
    struct names_nearest near;

    if (strcmp(j->model_name, POLICY_JUDGE_RULES) == 0)
        return;
    for (size_t i = 0; i < b->draft->model_count; i++)
        if (strcmp(b->draft->models[i].name, j->model_name) == 0) {
            j->by_model = true;
            j->model = i;
            return;
        }
    bind_nearest_init(b, &near, slice_str(j->model_name));
    names_nearest_offer(&near, POLICY_JUDGE_RULES);
    for (size_t i = 0; i < b->draft->model_count; i++)
        names_nearest_offer(&near, b->draft->models[i].name);
    /* `judge: name` is the place of the whole section. */
    bool in_section = binder_written(b, &j->model_name);
    bind_error(b, binder_place(b, in_section ? (const void *)&j->model_name : j),
               bind_did_you_mean(b, &near), "there is no model '%s'", j->model_name);
}

/* A password is not to stand in a file that people compare and print. */
static bool holds_password(const char *url)
{
    return strchr(url, '@') != NULL;
}

/* NULL, or why no Redis can be reached by it; valid as long as t. */
static const char *fault_of(const char *url, struct err_text *t)
{
    struct redis_url parsed;
    return redis_url_parse(url, &parsed, t) == ERR_OK ? NULL : t->s;
}

static void read_redis_env(struct binder *b, struct policy_cache *c)
{
    const struct place *at = binder_place(b, &c->redis_url_env);
    struct slice url = secret_from_env(b, at, slice_str(c->redis_url_env));
    struct err_text t;
    if (url.n == 0)
        return;
    const char *address = arena_strdup(b->arena, url), *why = fault_of(address, &t);
    secret_wipe(url);
    if (why) {
        secret_wipe(slice_str(address));
        bind_error(b, at, NULL, "the environment variable %s does not hold the URL of a Redis: %s",
                   c->redis_url_env, why);
        return;
    }
    c->redis_address = address;
}

static void read_redis(struct binder *b, struct policy_cache *c)
{
    struct err_text t;
    if (c->redis_url_env && !c->redis_url) {
        read_redis_env(b, c);
        return;
    }
    if (!c->redis_url)
        return;
    const struct place *at = binder_place(b, &c->redis_url);
    const char *why = fault_of(c->redis_url, &t);
    if (holds_password(c->redis_url))
        bind_error(b, at,
                   "put the whole URL into an environment variable, and its name here as url_env",
                   "holds a password");
    else if (why)
        bind_error(b, at, NULL, "is not the URL of a Redis: %s", why);
    c->redis_address = c->redis_url;
}

void policy_complete_cache(struct binder *b)
{
    struct draft *d = b->draft;
    for (size_t i = 0; i < d->route_count; i++) {
        complete_route(b, &d->routes[i]);
        complete_semantic(b, &d->routes[i]);
    }
    complete_guards(&d->cache.use);
    complete_judge(b, &d->cache.judge);
    if (d->cache.semantic && !binder_written(b, &d->encoder))
        d->encoder.model = POLICY_ENCODER_DEFAULT;
    if (d->cache.store == POLICY_STORE_REDIS)
        read_redis(b, &d->cache);
}

/* ---- checks ---- */

static void check_lives(struct binder *b, const struct policy_cache_use *u)
{
    if (binder_written(b, &u->timely_ttl_ms) && u->timely_ttl_ms > u->ttl_ms)
        bind_error(b, binder_place(b, &u->timely_ttl_ms), "write at most ttl",
                   "timely answers cannot live longer than others");
}

static void check_store(struct binder *b, const struct policy_cache *c)
{
    const struct place *at = binder_place(b, c);
    if (!binder_written(b, c) || at->node->kind != NODE_MAP)
        return;
    bool redis = policy_check_given(at, "redis");
    if (c->store != POLICY_STORE_REDIS) {
        if (redis)
            bind_error(b, binder_below(b, at, "redis"), "add 'store: redis', or remove it",
                       "redis has no effect with 'store: embedded'");
        return;
    }
    if (!c->redis_url && !c->redis_url_env)
        bind_error(b, binder_place(b, &c->store), "add 'redis: {url: \"redis://host:6379\"}'",
                   "no Redis is named");
    else if (c->redis_url && c->redis_url_env)
        bind_error(b, binder_place(b, &c->redis_url_env), "keep one of the two",
                   "url and url_env contradict each other");
}

static void check_judge(struct binder *b, const struct policy_judge *j)
{
    if (!j->by_model && binder_written(b, &j->max_per_day))
        bind_error(b, binder_place(b, &j->max_per_day), "name a model, or remove it",
                   "has no effect where no model judges");
}

static void check_semantic(struct binder *b, const struct policy_semantic *s)
{
    const unsigned alone = POLICY_GUARD_NONE | POLICY_GUARD_DEFAULT;
    bool mixed = (s->guards & alone) && (s->guards & ~alone);

    if (binder_written(b, &s->max_error) && !(s->max_error > 0 && s->max_error < 0.5))
        bind_error(b, binder_place(b, &s->max_error),
                   "write the share of wrong answers that you accept, such as 0.01",
                   "must be more than 0 and less than 0.5");
    if (mixed && binder_written(b, &s->guards))
        bind_error(b, binder_place(b, &s->guards), "write none alone, or the guards",
                   "none and other guards contradict each other");
}

const struct place *policy_semantic_place(struct binder *b, const struct policy *p)
{
    const struct place *at = binder_place(b, &b->draft->cache.use.semantic);

    for (size_t i = 0; i < b->draft->written_routes; i++)
        if (p->routes[i].cache.semantic.on && binder_written(b, &p->routes[i].cache.semantic))
            at = binder_place(b, &p->routes[i].cache.semantic);
    return at;
}

/* A table of word vectors does not tell "enable" from "disable": it is no ground to serve on. */
static void check_encoder(struct binder *b, const struct policy *p)
{
    if (!p->cache.semantic || strcmp(p->encoder.model, POLICY_ENCODER_STATIC) != 0)
        return;
    bind_error(b, policy_semantic_place(b, p),
               "write 'encoder: {model: all-minilm-l6-v2}', or remove it",
               "answers by meaning need an encoder with a transformer; the static tier never "
               "serves one");
}

/* What only the semantic tier has a use for. */
static void check_its_keys(struct binder *b, const struct policy_cache *c)
{
    static const char *const keys[] = {"judge", "audits", "snapshot"};
    const struct place *at = binder_place(b, c);

    if (c->semantic || !binder_written(b, c) || at->node->kind != NODE_MAP)
        return;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (policy_check_given(at, keys[i]))
            bind_warning(b, binder_below(b, at, keys[i]), "add 'semantic: {}', or remove it",
                         "no route answers by meaning: it has no effect");
}

/* Written and without effect. */
static void check_use(struct binder *b, const struct policy *p)
{
    const struct policy_cache *c = &b->draft->cache;
    if (binder_written(b, c) && c->use.mode == POLICY_CACHE_ON && !c->wanted &&
        c->store != POLICY_STORE_REDIS) /* where replicas also learn and share budgets */
        bind_warning(b, binder_place(b, c), "turn it on in a route, or remove it",
                     "every route says 'cache: off'");
    for (size_t i = 0; i < b->draft->written_routes; i++) {
        const struct policy_route *r = &p->routes[i];
        const struct place *at = binder_place(b, &r->cache);
        if (binder_written(b, &r->cache) && !r->cache.on && at->node->kind == NODE_MAP &&
            at->node->count > 1)
            bind_warning(b, at, "write 'cache: off', or turn it on",
                         "the cache of this route is off: its other keys have no effect");
    }
}

void policy_check_cache(struct binder *b, const struct policy *p)
{
    check_store(b, &b->draft->cache);
    check_judge(b, &b->draft->cache.judge);
    check_lives(b, &b->draft->cache.use);
    check_semantic(b, &b->draft->cache.use.semantic);
    for (size_t i = 0; i < b->draft->written_routes; i++) {
        check_lives(b, &p->routes[i].cache);
        check_semantic(b, &p->routes[i].cache.semantic);
    }
    check_encoder(b, p);
    if (b->diags->errors == 0) {
        check_its_keys(b, &b->draft->cache);
        check_use(b, p);
    }
}

/* The cache section and what routes make of it: who uses it, and where it is kept. Thread: the
 * loader's. Called by policy_load (completing) and policy_check. */
#include "policies/policy_check_int.h"

#include "policies/policy_secret_int.h"

/* ---- completing ---- */

/* A route that says anything but `off` has a cache, also without one at the top level. */
static void complete_route(const struct binder *b, struct policy_route *r)
{
    bool written = binder_written(b, &b->draft->cache) || (r->line && binder_written(b, &r->cache));
    r->cache.on = written && r->cache.mode == POLICY_CACHE_ON;
    b->draft->cache.wanted = b->draft->cache.wanted || r->cache.on;
}

/* A password is not to stand in a file that people compare and print. */
static bool holds_password(const char *url)
{
    return strchr(url, '@') != NULL;
}

static bool is_redis_url(struct slice url)
{
    return (slice_starts(url, SLICE("redis://")) && url.n > 8) ||
           (slice_starts(url, SLICE("unix:/")) && url.n > 6);
}

static void read_redis(struct binder *b, struct policy_cache *c)
{
    if (c->redis_url) {
        const struct place *at = binder_place(b, &c->redis_url);
        if (holds_password(c->redis_url))
            bind_error(b, at,
                       "put the whole URL into an environment variable, and its name here "
                       "as url_env",
                       "holds a password");
        else if (!is_redis_url(slice_str(c->redis_url)))
            bind_error(b, at, "write redis://host:port/db or unix:/path",
                       "is not the URL of a Redis");
        c->redis_address = c->redis_url;
    } else if (c->redis_url_env) {
        const struct place *at = binder_place(b, &c->redis_url_env);
        struct slice url = secret_from_env(b, at, slice_str(c->redis_url_env));
        if (url.n && !is_redis_url(url))
            bind_error(b, at, "it begins with redis:// or unix:/",
                       "the environment variable %s does not hold the URL of a Redis",
                       c->redis_url_env);
        else if (url.n)
            c->redis_address = arena_strdup(b->arena, url);
        secret_wipe(url);
    }
}

void policy_complete_cache(struct binder *b)
{
    struct draft *d = b->draft;
    for (size_t i = 0; i < d->route_count; i++)
        complete_route(b, &d->routes[i]);
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

/* Written and without effect. */
static void check_use(struct binder *b, const struct policy *p)
{
    const struct policy_cache *c = &b->draft->cache;
    if (binder_written(b, c) && c->use.mode == POLICY_CACHE_ON && !c->wanted)
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
    check_lives(b, &b->draft->cache.use);
    for (size_t i = 0; i < b->draft->written_routes; i++)
        check_lives(b, &p->routes[i].cache);
    if (b->diags->errors == 0)
        check_use(b, p);
}

/* Opens the cache. Called by control_policy.c (open) and control.c (close). */
#include "gateway/control_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"

#define FILE_NAME "cache.sqlite"

static char *path_in(const char *folder, const char *name)
{
    size_t n = strlen(folder) + 1 + strlen(name) + 1;
    char *path = mem_alloc(n);

    snprintf(path, n, "%s/%s", folder, name);
    return path;
}

/* Vectors are compared where some route answers by meaning, and only those of one encoder. */
static void name_encoder(const struct policy *p, struct embedder *e, struct cache_options *opt)
{
    struct encoder_facts f;

    if (!p->cache.semantic || !e)
        return;
    f = encoder_service_facts(embedder_service(e));
    opt->dim = f.dim;
    memcpy(opt->fingerprint, f.full.bytes, sizeof opt->fingerprint);
}

static enum err open_cache(struct control_cache *cc, const struct policy *p,
                           struct cache_options *opt, struct err_text *t)
{
    const struct policy_cache *c = &p->cache;
    bool redis = c->store == POLICY_STORE_REDIS;
    char *path = redis ? NULL : path_in(p->server.state_dir, FILE_NAME);
    char *snapshot = c->snapshot ? path_in(p->server.state_dir, c->snapshot) : NULL;
    enum err err;

    cc->stats = stats_new();
    opt->path = path;
    opt->redis_url = redis ? c->redis_address : NULL;
    opt->prefix = c->redis_prefix;
    opt->redis_budget_us = c->redis_budget_ms * 1000;
    opt->max_entries = (size_t)c->max_entries;
    opt->max_bytes = (size_t)c->max_memory_bytes;
    opt->snapshot_path = snapshot;
    opt->stats = cc->stats;
    err = cache_open(opt, &cc->cache, t);
    if (err == ERR_OK)
        log_line(LOG_INFO, "cache", "open", "store=%s semantic=%s", redis ? "redis" : "embedded",
                 opt->dim ? "on" : "off");
    else
        control_cache_close(cc);
    free(path);
    free(snapshot);
    return err;
}

enum err control_cache_open(struct control_cache *cc, const struct policy *p, struct embedder *e,
                            struct err_text *t)
{
    struct cache_options opt = {.dim = 0};

    name_encoder(p, e, &opt);
    if (p->cache.wanted && !cc->cache)
        return open_cache(cc, p, &opt, t);
    if (cc->cache && opt.dim)
        cache_set_encoder(cc->cache, opt.dim, opt.fingerprint);
    return ERR_OK;
}

void control_cache_serve(struct control_cache *cc, struct snapshot *s)
{
    s->cache = s->policy->cache.wanted ? cc->cache : NULL;
}

void control_cache_close(struct control_cache *cc)
{
    cache_close(cc->cache);
    stats_free(cc->stats);
    *cc = (struct control_cache){.cache = NULL};
}

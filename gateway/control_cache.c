/* Opens the cache. Called by control_policy.c (open) and control.c (close). */
#include "gateway/control_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"

#define FILE_NAME "cache.sqlite"

static char *path_in(const char *folder)
{
    size_t n = strlen(folder) + sizeof "/" FILE_NAME;
    char *path = mem_alloc(n);

    snprintf(path, n, "%s/" FILE_NAME, folder);
    return path;
}

enum err control_cache_open(struct control_cache *cc, const struct policy *p, struct err_text *t)
{
    const struct policy_cache *c = &p->cache;
    bool redis = c->store == POLICY_STORE_REDIS;
    char *path = redis ? NULL : path_in(p->server.state_dir);
    enum err err = ERR_OK;

    if (c->wanted && !cc->cache) {
        cc->stats = stats_new();
        err = cache_open(
            &(struct cache_options){
                .path = path,
                .redis_url = redis ? c->redis_address : NULL,
                .prefix = c->redis_prefix,
                .redis_budget_us = c->redis_budget_ms * 1000,
                .max_entries = (size_t)c->max_entries,
                .max_bytes = (size_t)c->max_memory_bytes,
                .stats = cc->stats,
            },
            &cc->cache, t);
        if (err == ERR_OK)
            log_line(LOG_INFO, "cache", "open", "store=%s", redis ? "redis" : "embedded");
        else
            control_cache_close(cc);
    }
    free(path);
    return err;
}

struct cache *control_cache_for(const struct control_cache *cc, const struct policy *p)
{
    return p->cache.wanted ? cc->cache : NULL;
}

void control_cache_close(struct control_cache *cc)
{
    cache_close(cc->cache);
    stats_free(cc->stats);
    *cc = (struct control_cache){NULL, NULL};
}

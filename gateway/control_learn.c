/* Opens the learner, and tells it which policy comes. Called by control_policy.c and
 * policy_draft.c; control.c closes it. */
#include "gateway/control_learn.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "router/learner.h"

#define FILE_NAME  "learn.sqlite"
#define PREPARE_MS 2000

char *control_learn_path(const struct policy *p)
{
    const struct policy_cache *c = &p->cache;
    size_t n = strlen(p->server.state_dir) + sizeof "/" FILE_NAME;
    char *path;

    if (c->store == POLICY_STORE_REDIS && c->redis_address)
        return NULL;
    path = mem_alloc(n);
    snprintf(path, n, "%s/" FILE_NAME, p->server.state_dir);
    return path;
}

enum err control_learn_open(struct learner **l, const struct policy *p, struct ledger *ledger,
                            struct err_text *t)
{
    const struct policy_cache *c = &p->cache;
    struct learner_options opt = {.ledger = ledger};
    char *path;
    enum err err;

    if (*l)
        return ERR_OK;
    opt.path = path = control_learn_path(p);
    opt.redis_url = path ? NULL : c->redis_address;
    opt.prefix = path ? NULL : c->redis_prefix;
    err = learner_open(&opt, l, t);
    if (err == ERR_OK)
        log_line(LOG_INFO, "learn", "open", "store=%s", path ? "embedded" : "redis");
    free(path);
    return err;
}

void control_learn_prepare(struct learner *l, struct policy *p)
{
    if (!learner_prepare(l, p, PREPARE_MS))
        log_line(LOG_WARN, "learn", "beliefs are late, routes keep their written order until then",
                 "version=%s", p->version);
}

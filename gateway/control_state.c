/* The state directory: made, locked, and what lies in it opened. Called once, at the start, by
 * control.c; and what must be known of other replicas before the first request. */
#include "gateway/control_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/access_log.h"
#include "gateway/cli/exit.h"
#include "gateway/policy_store.h"
#include "router/ledger.h"

#define SPENDS_AWAIT_MS 1000
#define LEDGER_MAX_QUEUE                                                                           \
    100000 /* records; at about 1 KB each this is what an unwritable disk may cost in memory */

/* "a/b/c" like mkdir -p, each new directory only for us. */
static bool make_directories(const char *path)
{
    char *copy = mem_strdup(slice_str(path));
    bool ok = true;
    for (char *p = copy + 1; ok && *p; p++)
        if (*p == '/') {
            *p = '\0';
            ok = mkdir(copy, 0700) == 0 || errno == EEXIST;
            *p = '/';
        }
    ok = ok && (mkdir(copy, 0700) == 0 || errno == EEXIST);
    int why = errno;
    free(copy);
    errno = why;
    return ok;
}

static char *state_path(const struct policy_server *s, const char *name)
{
    size_t n = strlen(s->state_dir) + 1 + strlen(name) + 1;
    char *path = mem_alloc(n);
    snprintf(path, n, "%s/%s", s->state_dir, name);
    return path;
}

/* Replicas share a store for this where they share answers. */
bool control_state_share_spends(struct control *c)
{
    const struct policy *p = c->snapshot->policy;
    const struct policy_cache *cache = &p->cache;
    struct err_text t = {""};
    if (cache->store != POLICY_STORE_REDIS || !cache->redis_address)
        return true;
    c->exit_code = EXIT_CODE_START;
    char *id = state_path(&p->server, "replica");
    struct spends_share_options opt = {.redis_url = cache->redis_address,
                                       .prefix = cache->redis_prefix,
                                       .id_path = id,
                                       .spends = &c->spends};
    bool ok = spends_share_open(&opt, &c->spends_share, &t) == ERR_OK;
    free(id);
    if (!ok)
        control_start_error("what was spent cannot be shared", t.s);
    else if (!spends_share_await(c->spends_share, SPENDS_AWAIT_MS))
        log_line(LOG_WARN, "control",
                 "the shared store is late: until it is there, budgets count what is spent here",
                 NULL);
    return ok;
}

static bool lock_state(struct control *c, const char *path)
{
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->lock_fd < 0) {
        char why[512];
        snprintf(why, sizeof why, "%s: %s", path, strerror(errno));
        control_start_error("state directory cannot be used", why);
        return false;
    }
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        control_start_error(
            "state directory is in use",
            "another weir holds its lock; give each process a server.state_dir of its own");
        return false;
    }
    return true;
}

bool control_state_open(struct control *c)
{
    const struct policy_server *s = &c->first->policy->server;
    c->exit_code = EXIT_CODE_START;
    if (!make_directories(s->state_dir)) {
        char why[512];
        snprintf(why, sizeof why, "%s: %s", s->state_dir, strerror(errno));
        control_start_error("state directory cannot be made", why);
        return false;
    }
    char *lock = state_path(s, "lock"), *policies = state_path(s, "policies"),
         *ledger = state_path(s, "ledger.sqlite");
    struct err_text t = {""};
    bool ok = lock_state(c, lock);
    if (ok && !(c->store = policy_store_open(policies, &t))) {
        control_start_error("policy versions cannot be kept", t.s);
        ok = false;
    }
    if (ok && !(c->ledger = ledger_open(ledger, LEDGER_MAX_QUEUE, &t))) {
        control_start_error("ledger cannot be opened", t.s);
        ok = false;
    }
    if (ok && spends_fill(&c->spends, ledger, clock_wall_us(), &t) != ERR_OK) {
        control_start_error("what was spent cannot be read from the ledger", t.s);
        ok = false;
    }
    if (ok && s->access_log && !(c->access_log = access_log_open(s->access_log, &t))) {
        control_start_error("access log cannot be opened", t.s);
        ok = false;
    }
    free(lock);
    free(policies);
    free(ledger);
    return ok;
}

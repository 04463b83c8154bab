/* Between a request and the launcher. A want may outlive its request, so it is a record of its own
 * that finds the request again by id, or not at all. */
#include "router/server_use.h"

#include <stdlib.h>
#include "backends/launcher.h"
#include "base/mem.h"
#include "router/request_int.h"

struct server_wait {
    struct launcher_want want;
    struct router_env *env; /* of the worker whose mailbox answers: outlives the want */
    char name[];            /* the backend's */
};

static struct server_wait *wait_of(struct message *m)
{
    return CONTAINER_OF(CONTAINER_OF(m, struct launcher_want, msg), struct server_wait, want);
}

/* Nobody wants it any more. */
static void discard(struct message *m)
{
    struct server_wait *w = wait_of(m);

    if (w->want.err == ERR_OK)
        launcher_done(w->env->launcher, w->name);
    free(w);
}

static void deliver(struct message *m, void *ctx)
{
    struct server_wait *w = wait_of(m);
    struct request *r = idtable_get(&w->env->waiting, w->want.token);
    enum err err = w->want.err;

    (void)ctx;
    if (!r) {
        discard(m);
        return;
    }
    idtable_remove(&w->env->waiting, w->want.token);
    r->wait = NULL;
    if (err == ERR_OK) {
        r->server = arena_strdup(&r->arena, slice_str(w->name));
    } else {
        r->why = w->want.why;
        r->why_err = err;
    }
    free(w);
    request_step(r, (struct flow_event){.kind = err == ERR_OK ? FLOW_EV_READY : FLOW_EV_FAILED,
                                        .err = err,
                                        .retry_after_ms = -1});
}

bool server_use_take(struct request *r, const struct policy_backend *b)
{
    struct router_env *env = r->env;
    size_t name_bytes = strlen(b->name) + 1;
    struct server_wait *w;

    if (!b->command.argv || !env->launcher || r->server)
        return true;
    w = mem_zalloc(1, sizeof *w + name_bytes);
    w->env = env;
    memcpy(w->name, b->name, name_bytes);
    w->want.msg.deliver = deliver;
    w->want.msg.discard = discard;
    w->want.reply_to = env->mailbox;
    w->want.token = idtable_add(&env->waiting, r);
    if (launcher_want(env->launcher, b->name, &w->want)) {
        idtable_remove(&env->waiting, w->want.token);
        free(w);
        r->server = b->name;
        return true;
    }
    r->wait = w;
    return false;
}

void server_use_end(struct request *r)
{
    if (r->server)
        launcher_done(r->env->launcher, r->server);
    r->server = NULL;
    if (!r->wait)
        return;
    idtable_remove(&r->env->waiting, r->wait->want.token);
    launcher_cancel(r->env->launcher, &r->wait->want);
    r->wait = NULL;
}

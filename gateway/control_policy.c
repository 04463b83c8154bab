/* What serves: the one path by which a policy file becomes the serving snapshot, and what is
 * remembered when it does not. What takes time has been done by policy_draft.c, at a reload on the
 * thread of policy_reload.c. Control thread. Called by control.c (start, SIGHUP, file watch) and
 * api_admin.c. */
#include "gateway/control_int.h"

#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/admin_reply.h"
#include "gateway/control_learn.h"
#include "gateway/model_list.h"
#include "gateway/policy_store.h"
#include "gateway/worker.h"
#include "policies/policy_diff.h"
#include "router/learner.h"
#include "router/snapshot.h"

static void lend(void *ctx, struct policy_draft *d)
{
    struct control *c = ctx;
    control_encoder_lend(&c->encoder, d);
    d->learner = c->learner;
}

static void on_job_made(void *ctx, struct policy_job *job);

void control_policy_init(struct control *c)
{
    c->reload = policy_reload_new(&(struct policy_reload_owner){
        .mailbox = &c->mailbox, .lend = lend, .made = on_job_made, c});
    diags_init(&c->fault.diags);
    c->stale = stats_cell(c->stats, STAT_POLICY_STALE, NULL);
    c->loaded_at = stats_cell(c->stats, STAT_POLICY_LOADED_AT, NULL);
}

void control_policy_clear(struct control *c)
{
    diags_clear(&c->fault.diags);
    if (c->first)
        policy_draft_clear(c->first);
    free(c->first);
    snapshot_unref(c->snapshot);
    control_encoder_clear(&c->encoder);
}

static void count_load(struct control *c, const char *result)
{
    stats_add(stats_cell(c->stats, STAT_POLICY_RELOADS, &result), 1);
}

/* ---- the first load ---- */

static void print_diags(const struct diags *d)
{
    char line[2048];
    for (size_t i = 0; i < d->count; i++) {
        diag_format(&d->items[i], line, sizeof line);
        fprintf(stderr, "%s\n", line);
    }
}

bool control_load_first(struct control *c)
{
    c->first = mem_zalloc(1, sizeof *c->first);
    policy_draft_init(c->first, c->opt.policy_file);
    enum err e = policy_draft_read(c->first);
    print_diags(&c->first->diags);
    return e == ERR_OK;
}

/* ---- faults ---- */

static void log_diags(const struct diags *d)
{
    char line[1024], quoted[1100];
    for (size_t i = 0; i < d->count; i++) {
        enum log_level level = d->items[i].severity == DIAG_ERROR ? LOG_ERROR : LOG_WARN;
        diag_format(&d->items[i], line, sizeof line);
        log_line(level, "policy",
                 d->items[i].severity == DIAG_ERROR ? "error in the file" : "warning in the file",
                 "diagnostic=%s", log_quote(slice_str(line), quoted, sizeof quoted));
    }
}

/* The old policy goes on serving; d is taken over. */
static void remember_fault(struct control *c, const char *origin, const char *why, struct diags *d)
{
    diags_clear(&c->fault.diags);
    c->fault = (struct control_fault){.stale = true, .since_wall_us = clock_wall_us(), .diags = *d};
    diags_init(d);
    snprintf(c->fault.origin, sizeof c->fault.origin, "%s", origin);
    snprintf(c->fault.why, sizeof c->fault.why, "%s", why);
    stats_set(c->stale, 1);
    count_load(c, "invalid");
    char quoted[600];
    log_line(LOG_ERROR, "control", "policy file not loaded, the old policy keeps serving",
             "origin=\"%s\" serving=%s why=%s", origin, c->snapshot->policy->version,
             log_quote(slice_str(why), quoted, sizeof quoted));
    log_diags(&c->fault.diags);
}

static void forget_fault(struct control *c)
{
    if (c->fault.stale)
        log_line(LOG_INFO, "control", "policy file is good again", "serving=%s",
                 c->snapshot->policy->version);
    diags_clear(&c->fault.diags);
    c->fault.stale = false;
    stats_set(c->stale, 0);
}

/* ---- serving ---- */

static void apply_log_level(const struct policy *p)
{
    bool known;
    enum log_level level = log_level_parse(slice_str(p->server.log_level), &known);
    if (known)
        log_init(STDERR_FILENO, level);
}

static const char *authorization_of(const struct snapshot_backend *sb)
{
    for (size_t i = 0; i < sb->header_count; i++)
        if (slice_ieq(sb->headers[i].name, SLICE("authorization")))
            return sb->headers[i].value.p; /* of the snapshot's arena: NUL-terminated */
    return NULL;
}

/* Active health checks of every backend that asks for them. */
static void configure_probes(struct control *c)
{
    const struct policy *p = c->snapshot->policy;
    size_t n = 0, room = 0;
    struct probe_spec *specs;

    for (size_t i = 0; i < p->backend_count; i++)
        room += p->backends[i].health_path ? p->backends[i].endpoint_count : 0;
    specs = mem_zalloc(room, sizeof *specs);
    for (size_t i = 0; i < p->backend_count; i++) {
        const struct policy_backend *b = &p->backends[i];
        const struct snapshot_backend *sb = &c->snapshot->backends[i];

        for (size_t j = 0; b->health_path && j < b->endpoint_count; j++)
            specs[n++] = (struct probe_spec){.target = sb->targets[j],
                                             .path = b->health_path,
                                             .authorization = authorization_of(sb),
                                             .interval_ms = b->health_interval_ms,
                                             .timeout_ms = b->health_timeout_ms,
                                             .shared = sb->shared[j]};
    }
    prober_configure(c->prober, specs, n);
    free(specs);
}

/* ---- what servers list ---- */

#define PROBLEMS_LOGGED 20 /* of one list; /admin/backends has them all */

static void log_list(const struct control *c, size_t backend, size_t endpoint)
{
    const struct policy *p = c->snapshot->policy;
    const struct policy_backend *b = &p->backends[backend];
    struct model_list_problem problems[PROBLEMS_LOGGED];
    struct catalog_info info;
    char text[512], quoted[600];
    if (!catalog_about(c->catalog, c->snapshot->backends[backend].shared[endpoint], &info) ||
        !info.asked)
        return;
    if (info.why.s[0])
        log_line(LOG_INFO, "discovery", "list of models not read", "backend=%s endpoint=%s why=%s",
                 b->name, b->endpoints[endpoint].label,
                 log_quote(slice_str(info.why.s), quoted, sizeof quoted));
    if (!info.list || info.why.s[0])
        return;
    size_t n = model_list_problems(p, backend, info.list, problems, PROBLEMS_LOGGED);
    for (size_t i = 0; i < n && i < PROBLEMS_LOGGED; i++) {
        model_list_problem_text(&problems[i], text, sizeof text);
        log_line(LOG_WARN, "discovery", "the policy differs from the server's list",
                 "backend=%s endpoint=%s problem=%s", b->name, b->endpoints[endpoint].label,
                 log_quote(slice_str(text), quoted, sizeof quoted));
    }
    log_line(LOG_DEBUG, "discovery", "list of models read",
             "backend=%s endpoint=%s models=%zu problems=%zu", b->name,
             b->endpoints[endpoint].label, info.list->count, n);
}

static void on_list_news(void *ctx, const struct endpoint_shared *shared)
{
    struct control *c = ctx;
    const struct policy *p = c->snapshot->policy;
    for (size_t i = 0; i < p->backend_count; i++)
        for (size_t j = 0; j < p->backends[i].endpoint_count; j++)
            if (c->snapshot->backends[i].shared[j] == shared)
                log_list(c, i, j);
}

static bool may_ask_for_list(void *ctx, const char *backend)
{
    struct control *c = ctx;
    const struct policy *p = c->snapshot->policy;
    for (size_t i = 0; i < p->backend_count; i++)
        if (strcmp(p->backends[i].name, backend) == 0)
            return !p->backends[i].command.argv || launcher_is_ready(c->launcher, backend);
    return false;
}

struct catalog_owner control_catalog_owner(struct control *c)
{
    return (struct catalog_owner){may_ask_for_list, on_list_news, c};
}

/* Asks every backend that the policy says to. Lists that are known already are held against the new
 * policy at once. */
static void configure_catalog(struct control *c)
{
    const struct policy *p = c->snapshot->policy;
    struct catalog_spec *specs;
    struct arena a;
    size_t n = 0, room = 0;
    for (size_t i = 0; i < p->backend_count; i++)
        room += p->backends[i].endpoint_count;
    arena_init(&a, 4096);
    specs = ARENA_ARRAY(&a, struct catalog_spec, room + 1);
    for (size_t i = 0; i < p->backend_count; i++) {
        size_t count = p->backends[i].endpoint_count;
        if (p->backends[i].discover_ms == POLICY_NONE)
            continue;
        memcpy(specs + n, model_list_specs(c->snapshot, i, &a), count * sizeof *specs);
        n += count;
    }
    catalog_configure(c->catalog, specs, n);
    arena_clear(&a);
    for (size_t i = 0; i < p->backend_count; i++)
        for (size_t j = 0; j < p->backends[i].endpoint_count; j++)
            log_list(c, i, j);
}

/* ---- the servers that weir starts ---- */

/* The servers that this policy wants weir to start; those that stay as they were keep running. */
static void configure_launcher(struct control *c, const struct policy *p)
{
    struct launcher_spec *specs = mem_zalloc(p->backend_count, sizeof *specs);
    size_t n = 0;

    for (size_t i = 0; i < p->backend_count; i++) {
        const struct policy_backend *b = &p->backends[i];
        const struct policy_command *k = &b->command;

        if (!k->argv)
            continue;
        specs[n++] = (struct launcher_spec){.name = b->name,
                                            .argv = k->argv,
                                            .env = k->env,
                                            .directory = k->directory,
                                            .host = b->endpoints[0].host,
                                            .port = b->endpoints[0].port,
                                            .ready_path = k->ready_path,
                                            .ready_timeout_ms = k->ready_timeout_ms,
                                            .idle_ms = k->idle_ms,
                                            .stop_ms = k->stop_ms,
                                            .group = k->group,
                                            .min_run_ms = k->min_run_ms,
                                            .max_queue = k->max_queue,
                                            .backoff_base_ms = k->backoff_base_ms,
                                            .backoff_max_ms = k->backoff_max_ms};
    }
    launcher_configure(c->launcher, specs, n);
    free(specs);
}

#define SWEEP_MS 500

/* Encoders that only requests in flight still use. */
static void sweep_encoders(struct control *c)
{
    const struct timeval wait = {.tv_usec = SWEEP_MS * 1000};
    if (control_encoder_sweep(&c->encoder, c->snapshot->embedder))
        event_add(c->sweep, &wait);
}

void control_on_sweep(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    sweep_encoders(ctx);
}

static void keep_version(struct control *c, const struct policy *p, const char *origin)
{
    struct err_text t;
    if (policy_store_add(c->store, p->version, origin, p->text, &c->store_serial, &t) == ERR_OK)
        return;
    char quoted[600];
    log_line(LOG_ERROR, "control", "policy version not kept", "why=%s",
             log_quote(slice_str(t.s), quoted, sizeof quoted));
    c->store_serial = 0;
}

/* Makes d's policy the serving one: learner, cache, store, snapshot, workers, metrics. Not ERR_OK:
 * nothing has changed but what serves no one, and t says why. */
static enum err serve(struct control *c, struct policy_draft *d, const char *origin,
                      struct err_text *t)
{
    struct policy *p = d->policy;
    enum err e = control_learn_open(&c->learner, p, c->ledger, t);
    if (e == ERR_OK)
        e = control_cache_open(&c->cache, p, d->embedder, t);
    if (e != ERR_OK)
        return e;
    if (!c->snapshot) /* later ones were prepared as drafts */
        control_learn_prepare(c->learner, p);
    keep_version(c, p, origin);
    apply_log_level(p);
    configure_launcher(c, p);
    struct snapshot *old = c->snapshot;
    c->snapshot = snapshot_new(p, c->registry, ++c->loads); /* takes both references over */
    control_encoder_use(&c->encoder, d);
    control_cache_serve(&c->cache, c->snapshot);
    learner_set_policy(c->learner, p);
    spends_serve(&c->spends, c->snapshot);
    snapshot_set_classifier(c->snapshot, d->classifier, d->embedder);
    d->policy = NULL;
    d->classifier = NULL;
    control_vectors_serve(&c->vectors, c->draining ? NULL : c->snapshot);
    for (size_t i = 0; i < c->worker_count; i++)
        worker_set_snapshot(c->workers[i], c->snapshot);
    snapshot_unref(old);
    configure_probes(c);
    configure_catalog(c);
    stats_set(c->loaded_at, p->loaded_wall_us / 1000000);
    count_load(c, "ok");
    char quoted[600];
    log_line(LOG_INFO, "control", "policy serves",
             "version=%s serial=%" PRId64 " origin=\"%s\" models=%zu routes=%zu file=%s",
             p->version, c->store_serial, origin, p->model_count, p->route_count,
             log_quote(slice_str(p->source), quoted, sizeof quoted));
    sweep_encoders(c);
    return ERR_OK;
}

enum err control_serve_first(struct control *c, struct err_text *t)
{
    enum err e = policy_draft_build(c->first, t);
    if (e == ERR_OK)
        e = serve(c, c->first, "start", t);
    policy_draft_clear(c->first);
    free(c->first);
    c->first = NULL;
    return e;
}

/* ---- reloads: what was read and built elsewhere is decided here ---- */

/* The same text may still mean something new: keys come from the environment and from files. */
static bool same_secrets(const struct policy *a, const struct policy *b)
{
    for (size_t i = 0; i < a->backend_count; i++) {
        const char *x = a->backends[i].key, *y = b->backends[i].key;
        if (!x != !y || (x && strcmp(x, y) != 0))
            return false;
    }
    for (size_t i = 0; i < a->tenant_count; i++)
        for (size_t k = 0; k < a->tenants[i].key_count; k++)
            if (memcmp(a->tenants[i].keys[k].sha256, b->tenants[i].keys[k].sha256, 32) != 0)
                return false;
    return true;
}

/* And so do files of heads. */
static bool unchanged(const struct control *c, const struct policy_draft *d)
{
    const struct policy *serving = c->snapshot->policy;
    return slice_eq(serving->text, d->policy->text) && same_secrets(serving, d->policy) &&
           control_encoder_same(&c->encoder, d);
}

/* The file holds this draft's text, and the draft is good. */
static enum err serve_file(struct control *c, struct policy_job *job)
{
    struct policy_draft *d = &job->draft;
    if (unchanged(c, d)) {
        forget_fault(c);
        count_load(c, "unchanged");
        log_line(LOG_DEBUG, "control", "policy file unchanged", "origin=\"%s\"", job->origin);
        return ERR_OK;
    }
    log_diags(&d->diags);
    enum err e = serve(c, d, job->origin, &job->why);
    if (e == ERR_OK)
        forget_fault(c);
    return e;
}

static void decide_load(struct control *c, struct policy_job *job)
{
    struct policy_draft *d = &job->draft;
    bool valid = d->policy != NULL;
    if (job->err == ERR_DRAINING)
        return;
    if (job->err == ERR_OK && !unchanged(c, d) &&
        policy_restart_needed(c->snapshot->policy, d->policy, &job->why))
        job->err = ERR_CONFLICT;
    if (job->err == ERR_OK)
        job->err = serve_file(c, job);
    if (job->err != ERR_OK)
        remember_fault(c, job->origin, valid ? job->why.s : "the policy file is not valid",
                       &d->diags);
}

/* Until the file is written a refusal touches nothing. */
static void decide_put(struct control *c, struct policy_job *job)
{
    struct policy_draft *d = &job->draft;
    if (job->err == ERR_DRAINING)
        return;
    if (!admin_tag_matches(slice_str(job->if_match), c->snapshot->policy->version))
        job->err = ERR_PRECONDITION_FAILED;
    if (job->err == ERR_OK && policy_restart_needed(c->snapshot->policy, d->policy, &job->why))
        job->err = ERR_CONFLICT;
    if (job->err == ERR_OK)
        job->err = atomic_file_write(c->opt.policy_file, 0644, slice_make(d->text, d->text_bytes),
                                     &job->why);
    if (job->err != ERR_OK)
        return;
    job->err = serve_file(c, job);
    if (job->err != ERR_OK)
        remember_fault(c, job->origin, job->why.s, &d->diags);
}

static void decide_try(struct control *c, struct policy_job *job)
{
    if (job->err == ERR_OK &&
        policy_restart_needed(c->snapshot->policy, job->draft.policy, &job->why))
        job->err = ERR_CONFLICT;
}

static void on_job_made(void *ctx, struct policy_job *job)
{
    struct control *c = ctx;
    struct policy *before = policy_ref(c->snapshot->policy);
    struct policy *made = job->draft.policy ? policy_ref(job->draft.policy) : NULL;
    switch (job->kind) {
    case POLICY_JOB_LOAD:
        decide_load(c, job);
        break;
    case POLICY_JOB_PUT:
        decide_put(c, job);
        break;
    case POLICY_JOB_TRY:
        decide_try(c, job);
        break;
    }
    if (job->decided)
        job->decided(job->ctx, &(struct control_verdict){.err = job->err,
                                                         .why = job->why.s[0] ? job->why.s : NULL,
                                                         .diags = &job->draft.diags,
                                                         .policy = made,
                                                         .before = before});
    policy_unref(made);
    policy_unref(before);
}

void control_load_policy(struct control *c, const char *origin)
{
    struct policy_job *job = policy_job_new(POLICY_JOB_LOAD, c->opt.policy_file, NULL, origin);
    enum err e = policy_reload_add(c->reload, job);
    if (e != ERR_OK)
        log_line(LOG_INFO, "control", "policy file not read", "origin=\"%s\" why=%s", origin,
                 err_name(e));
}

enum err control_try_policy(struct control *c, struct slice text, control_decided decided,
                            void *ctx)
{
    struct policy_job *job = policy_job_new(POLICY_JOB_TRY, c->opt.policy_file, &text, "api");
    job->decided = decided;
    job->ctx = ctx;
    return policy_reload_add(c->reload, job);
}

enum err control_put_policy(struct control *c, struct slice text, struct slice if_match,
                            const char *origin, control_decided decided, void *ctx)
{
    struct policy_job *job = policy_job_new(POLICY_JOB_PUT, c->opt.policy_file, &text, origin);
    job->if_match = mem_strdup(if_match);
    job->decided = decided;
    job->ctx = ctx;
    control_load_policy(c, "file");
    return policy_reload_add(c->reload, job);
}

void control_policy_stop(struct control *c)
{
    policy_reload_stop(c->reload);
}

void control_policy_end(struct control *c)
{
    policy_reload_free(c->reload);
    c->reload = NULL;
}

/* The process: what is started in which order, and how it ends. Owns everything in struct control;
 * what happens on its loop is in control_loop.c, the policy's life in control_policy.c, the admin
 * API in api_admin.c. Runs on the main thread. Called by gateway/cli/cmd_serve.c. */
#include "gateway/control_int.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/access_log.h"
#include "gateway/api_admin.h"
#include "gateway/cli/exit.h"
#include "gateway/http_server.h"
#include "gateway/policy_store.h"
#include "gateway/policy_watch.h"
#include "gateway/worker.h"
#include "router/learner.h"
#include "router/ledger.h"

#define LEDGER_FLUSH_MS  10000
#define ADMIN_BODY_BYTES ((uint64_t)4 << 20)

void control_start_error(const char *what, const char *why)
{
    char quoted[600];
    log_line(LOG_ERROR, "control", what, "why=%s",
             log_quote(slice_str(why), quoted, sizeof quoted));
}

/* HOST:PORT, an IPv6 address in brackets. */
static void format_address(const char *host, uint16_t port, char *out, size_t out_bytes)
{
    snprintf(out, out_bytes, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
}

/* ---- start: each step answers whether to go on; on false exit_code is set ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            log_line(LOG_WARN, "control", "descriptor limit not raised", "errno=%d", errno);
    }
}

static bool serve_first_policy(struct control *c)
{
    c->registry = endpoint_registry_new();
    struct err_text t = {""};
    c->exit_code = EXIT_CODE_START;
    if (control_serve_first(c, &t) == ERR_OK)
        return true;
    control_start_error("the policy cannot serve", t.s);
    return false;
}

static size_t worker_count_of(const struct policy_server *s)
{
    if (s->workers != POLICY_NONE)
        return (size_t)s->workers;
    cpu_set_t cpus;
    if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
        return (size_t)CPU_COUNT(&cpus);
    return 1;
}

/* Workers share their port with SO_REUSEPORT, and so would a second weir, which then takes half of
 * the clients unseen. A listener that does not share finds out whether someone is there already. */
static bool port_is_free(struct control *c, const struct policy_address *a, struct err_text *t)
{
    if (a->port == 0)
        return true;
    struct http_server *probe =
        http_server_new(&(struct http_server_options){.base = c->base,
                                                      .host = a->host,
                                                      .port = a->port,
                                                      .max_connections = 0,
                                                      .handler = api_admin_handler(),
                                                      .error_body = api_admin_error_body},
                        t);
    if (!probe)
        return false;
    http_server_free(probe);
    return true;
}

/* The first worker binds; if the port was 0 the others share the one the kernel chose. */
static bool start_workers(struct control *c)
{
    const struct policy_server *s = control_server_of(c);
    size_t wanted = worker_count_of(s);
    c->workers = mem_zalloc(wanted, sizeof(struct worker *));
    c->exit_code = EXIT_CODE_START;
    struct err_text t = {""};
    if (!port_is_free(c, &s->listen, &t)) {
        control_start_error("cannot listen", t.s);
        return false;
    }
    for (size_t i = 0; i < wanted; i++) {
        struct worker *w = worker_start(
            &(struct worker_options){.index = (int)i,
                                     .snapshot = c->snapshot,
                                     .host = s->listen.host,
                                     .port = i ? worker_port(c->workers[0]) : s->listen.port,
                                     .ledger = c->ledger,
                                     .learner = c->learner,
                                     .access_log = c->access_log,
                                     .launcher = c->launcher,
                                     .connections = &c->connections,
                                     .in_flight = &c->in_flight},
            &t);
        if (!w) {
            control_start_error("cannot listen", t.s);
            return false;
        }
        c->workers[c->worker_count++] = w;
    }
    return true;
}

static bool start_admin(struct control *c)
{
    const struct policy_server *s = control_server_of(c);
    c->exit_code = EXIT_CODE_START;
    c->admin = api_admin_new(c);
    struct err_text t = {""};
    c->admin_server = http_server_new(
        &(struct http_server_options){.base = c->base,
                                      .host = s->admin.host,
                                      .port = s->admin.port,
                                      .max_header_bytes = (size_t)s->max_header_bytes,
                                      .max_body_bytes = ADMIN_BODY_BYTES,
                                      .header_timeout_ms = s->header_timeout_ms,
                                      .body_timeout_ms = s->body_timeout_ms,
                                      .idle_timeout_ms = s->idle_timeout_ms,
                                      .write_timeout_ms = s->write_timeout_ms,
                                      .high_watermark_bytes = (size_t)1 << 20,
                                      .max_connections = POLICY_NONE,
                                      .handler = api_admin_handler(),
                                      .ctx = c->admin,
                                      .error_body = api_admin_error_body},
        &t);
    if (!c->admin_server)
        control_start_error("cannot listen for the admin API", t.s);
    return c->admin_server != NULL;
}

static bool announce(struct control *c)
{
    const struct policy_server *s = control_server_of(c);
    char listen[300], admin[300], text[640];
    format_address(s->listen.host, worker_port(c->workers[0]), listen, sizeof listen);
    format_address(s->admin.host, http_server_port(c->admin_server), admin, sizeof admin);
    snprintf(text, sizeof text, "listen=%s\nadmin=%s\n", listen, admin);
    struct err_text t;
    c->exit_code = EXIT_CODE_START;
    if (c->opt.port_file &&
        atomic_file_write(c->opt.port_file, 0644, slice_str(text), &t) != ERR_OK) {
        control_start_error("port file not written", t.s);
        return false;
    }
    if (c->snapshot->policy->tenant_count == 0)
        log_line(
            LOG_INFO, "control",
            "no tenants are configured: everyone on this machine is welcome, and only they are",
            NULL);
    log_line(LOG_INFO, "control", "ready", "listen=%s admin=%s workers=%zu policy=%s pid=%ld",
             listen, admin, c->worker_count, c->snapshot->policy->version, (long)getpid());
    c->exit_code = EXIT_CODE_OK;
    return true;
}

static bool load_first(struct control *c)
{
    c->exit_code = EXIT_CODE_POLICY;
    return control_load_first(c);
}

/* ---- the end ---- */

static void stop_workers(struct control *c)
{
    for (size_t i = 0; i < c->worker_count; i++)
        worker_drain(c->workers[i], 0);
    for (size_t i = 0; i < c->worker_count; i++)
        worker_join(c->workers[i]);
}

static void free_event(struct event *e)
{
    if (e)
        event_free(e);
}

/* In reverse order of the start; the workers are gone by now. */
static void clear(struct control *c)
{
    control_policy_end(c); /* who waits for a verdict gets one */
    if (c->admin_server)
        http_server_free(c->admin_server);
    api_admin_free(c->admin);
    free(c->workers);
    if (c->access_log)
        access_log_close(c->access_log);
    learner_close(c->learner); /* its last outcomes go to the ledger */
    if (c->ledger) {
        if (!ledger_flush(c->ledger, LEDGER_FLUSH_MS)) {
            log_line(LOG_ERROR, "control", "ledger not written out in time", "queued=%" PRId64,
                     ledger_queued(c->ledger));
            c->exit_code = EXIT_CODE_RUNTIME;
        }
        ledger_close(c->ledger);
    }
    policy_watch_free(c->watch);
    if (c->launcher)
        launcher_free(c->launcher);
    if (c->prober) {
        catalog_free(c->catalog);
        prober_free(c->prober);
        upstream_free(c->probing);
    }
    control_policy_clear(c);
    control_cache_close(&c->cache);
    spends_share_close(c->spends_share);
    spends_clear(&c->spends);
    if (c->registry)
        endpoint_registry_free(c->registry);
    policy_store_close(c->store);
    free_event(c->signals);
    free_event(c->mail);
    free_event(c->drain_poll);
    free_event(c->sweep);
    free_event(c->trim);
    control_vectors_clear(&c->vectors);
    if (c->base) {
        mailbox_clear(&c->mailbox);
        event_base_free(c->base);
    }
    stats_free(c->stats);
    if (c->lock_fd >= 0)
        close(c->lock_fd);
    if (c->signal_fd >= 0)
        close(c->signal_fd);
}

int control_run(const struct control_options *opt)
{
    struct control c = {.opt = *opt, .signal_fd = -1, .lock_fd = -1, .stats = stats_new()};
    control_policy_init(&c);
    raise_descriptor_limit();
    if (opt->port_file)
        unlink(opt->port_file); /* whoever waits for it must not find an earlier run's */

    bool ready =
        control_loop_start(&c) &&         /* signals, messages */
        control_loop_watch_file(&c) &&    /* inotify */
        load_first(&c) &&                 /* the policy file, or its faults on stderr */
        control_state_open(&c) &&         /* state directory, policy versions, ledger, access log */
        serve_first_policy(&c) &&         /* endpoint registry, first snapshot */
        control_state_share_spends(&c) && /* what other replicas have spent */
        start_workers(&c) &&              /* threads; clients are served from here on */
        start_admin(&c) &&                /* admin listener on this loop */
        announce(&c);                     /* port file, "ready" */
    if (ready)
        event_base_dispatch(c.base);
    else
        stop_workers(&c);
    control_loop_release_signals();
    clear(&c);
    if (ready)
        log_line(LOG_INFO, "control", "ended", "code=%d", c.exit_code);
    return c.exit_code;
}

/* ---- for the admin API ---- */

const struct snapshot *control_snapshot(const struct control *c)
{
    return c->snapshot;
}

struct launcher *control_launcher(const struct control *c)
{
    return c->launcher;
}

const struct prober *control_prober(const struct control *c)
{
    return c->prober;
}

struct learner *control_learner(const struct control *c)
{
    return c->learner;
}

const struct catalog *control_catalog(const struct control *c)
{
    return c->catalog;
}

const struct policy_store *control_store(const struct control *c)
{
    return c->store;
}

struct event_base *control_base(const struct control *c)
{
    return c->base;
}

struct mailbox *control_mailbox(struct control *c)
{
    return &c->mailbox;
}

size_t control_workers(const struct control *c)
{
    return c->joining ? 0 : c->worker_count;
}

struct worker *control_worker(const struct control *c, size_t i)
{
    return c->workers[i];
}

struct control_vectors *control_vectors(struct control *c)
{
    return &c->vectors;
}

struct api_admin *control_admin(const struct control *c)
{
    return c->admin;
}

void control_describe(const struct control *c, struct control_status *out)
{
    *out = (struct control_status){
        .policy_file = c->opt.policy_file,
        .policy_serial = c->store_serial,
        .fault = &c->fault,
        .draining = c->draining,
        .spends_shared = c->spends_share != NULL,
        .spends_up = c->spends_share && spends_share_up(c->spends_share),
        .ledger_full = ledger_full(c->ledger),
        .ledger_queued = ledger_queued(c->ledger),
        .in_flight = atomic_load(&c->in_flight),
        .connections = atomic_load(&c->connections),
        .workers = c->worker_count,
    };
}

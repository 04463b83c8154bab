/* The process: what is started in which order, which signals it obeys, how it ends. Owns the
 * control loop and everything in struct control; the policy's life is in control_policy.c, the
 * admin API in api_admin.c. Runs on the main thread, which all signals but the fatal ones reach
 * through one signalfd. Called by gateway/cli/cmd_serve.c. */
#include "gateway/control_int.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/clock.h"
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
#include "router/snapshot.h"
#include "router/tenant_limit.h"

#define LEDGER_MAX_QUEUE                                                                           \
    100000 /* records; at about 1 KB each this is what an unwritable disk may cost in memory */
#define LEDGER_FLUSH_MS  10000
#define TRIM_S           30
#define TRIM_MAX_BYTES   ((size_t)64 << 20) /* of the process; what holds more is a cache's */
#define ADMIN_BODY_BYTES ((uint64_t)4 << 20)
#define DRAIN_POLL_US    20000
#define DRAIN_GRACE_US   1500000 /* after drain_ms: aborted replies get 1 s to leave */

static const struct policy_server *server_of(const struct control *c)
{
    return &c->snapshot->policy->server;
}

static void start_error(const char *what, const char *why)
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

static bool lock_state(struct control *c, const char *path)
{
    c->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (c->lock_fd < 0) {
        char why[512];
        snprintf(why, sizeof why, "%s: %s", path, strerror(errno));
        start_error("state directory cannot be used", why);
        return false;
    }
    if (flock(c->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        start_error("state directory is in use",
                    "another weir holds its lock; give each process a server.state_dir of its own");
        return false;
    }
    return true;
}

static bool open_state(struct control *c)
{
    const struct policy_server *s = &c->first->policy->server;
    c->exit_code = EXIT_CODE_START;
    if (!make_directories(s->state_dir)) {
        char why[512];
        snprintf(why, sizeof why, "%s: %s", s->state_dir, strerror(errno));
        start_error("state directory cannot be made", why);
        return false;
    }
    char *lock = state_path(s, "lock"), *policies = state_path(s, "policies"),
         *ledger = state_path(s, "ledger.sqlite");
    struct err_text t = {""};
    bool ok = lock_state(c, lock);
    if (ok && !(c->store = policy_store_open(policies, &t))) {
        start_error("policy versions cannot be kept", t.s);
        ok = false;
    }
    if (ok && !(c->ledger = ledger_open(ledger, LEDGER_MAX_QUEUE, &t))) {
        start_error("ledger cannot be opened", t.s);
        ok = false;
    }
    if (ok && spends_fill(&c->spends, ledger, clock_wall_us(), &t) != ERR_OK) {
        start_error("what was spent cannot be read from the ledger", t.s);
        ok = false;
    }
    if (ok && s->access_log && !(c->access_log = access_log_open(s->access_log, &t))) {
        start_error("access log cannot be opened", t.s);
        ok = false;
    }
    free(lock);
    free(policies);
    free(ledger);
    return ok;
}

static bool serve_first_policy(struct control *c)
{
    c->registry = endpoint_registry_new();
    struct err_text t = {""};
    c->exit_code = EXIT_CODE_START;
    if (control_serve_first(c, &t) == ERR_OK)
        return true;
    start_error("the policy cannot serve", t.s);
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
    const struct policy_server *s = server_of(c);
    size_t wanted = worker_count_of(s);
    c->workers = mem_zalloc(wanted, sizeof(struct worker *));
    c->exit_code = EXIT_CODE_START;
    struct err_text t = {""};
    if (!port_is_free(c, &s->listen, &t)) {
        start_error("cannot listen", t.s);
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
            start_error("cannot listen", t.s);
            return false;
        }
        c->workers[c->worker_count++] = w;
    }
    return true;
}

static bool start_admin(struct control *c)
{
    const struct policy_server *s = server_of(c);
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
        start_error("cannot listen for the admin API", t.s);
    return c->admin_server != NULL;
}

static bool announce(struct control *c)
{
    const struct policy_server *s = server_of(c);
    char listen[300], admin[300], text[640];
    format_address(s->listen.host, worker_port(c->workers[0]), listen, sizeof listen);
    format_address(s->admin.host, http_server_port(c->admin_server), admin, sizeof admin);
    snprintf(text, sizeof text, "listen=%s\nadmin=%s\n", listen, admin);
    struct err_text t;
    c->exit_code = EXIT_CODE_START;
    if (c->opt.port_file &&
        atomic_file_write(c->opt.port_file, 0644, slice_str(text), &t) != ERR_OK) {
        start_error("port file not written", t.s);
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

/* ---- the loop: signals, file changes, messages ---- */

static void end_at_once(int signo)
{
    log_line(LOG_WARN, "control", "second signal: ending at once, requests in flight are cut",
             "signal=%d", signo);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    signal(signo, SIG_DFL);
    raise(signo);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL); /* does not return */
}

static void joined(struct message *m, void *receiver_ctx)
{
    struct control *c = receiver_ctx;
    free(m);
    pthread_join(c->joiner, NULL);
    c->joining = false;
    event_base_loopbreak(c->base);
}

static void discard(struct message *m)
{
    free(m);
}

/* Joining blocks, and the loop must go on: for a second signal, and for whoever asks /readyz. */
static void *join_workers(void *ctx)
{
    struct control *c = ctx;
    for (size_t i = 0; i < c->worker_count; i++)
        worker_join(c->workers[i]);
    struct message *m = mem_zalloc(1, sizeof *m);
    m->deliver = joined;
    m->discard = discard;
    mailbox_post(&c->mailbox, m);
    return NULL;
}

/* Until no request is in flight the workers can still be asked what they do; from then on they are
 * left alone. */
static void on_drain_poll(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct control *c = ctx;
    bool idle = atomic_load(&c->in_flight) == 0;
    if (c->joining || (!idle && clock_mono_us() < c->drain_until_us))
        return;
    event_del(c->drain_poll);
    c->joining = pthread_create(&c->joiner, NULL, join_workers, c) == 0;
    if (!c->joining) {
        log_line(LOG_ERROR, "control", "no thread to wait for the workers", NULL);
        event_base_loopbreak(c->base);
    }
}

static void begin_drain(struct control *c, int signo)
{
    int64_t drain_ms = server_of(c)->drain_ms;
    c->draining = true;
    control_policy_stop(c);
    control_vectors_serve(&c->vectors, NULL);
    c->drain_until_us = clock_mono_us() + drain_ms * 1000 + DRAIN_GRACE_US;
    log_line(LOG_INFO, "control", "draining", "signal=%d in_flight=%" PRId64 " drain_ms=%" PRId64,
             signo, atomic_load(&c->in_flight), drain_ms);
    for (size_t i = 0; i < c->worker_count; i++)
        worker_drain(c->workers[i], drain_ms);
    const struct timeval poll = {.tv_usec = DRAIN_POLL_US};
    event_add(c->drain_poll, &poll);
}

static void on_signal(evutil_socket_t fd, short what, void *ctx)
{
    (void)what;
    struct control *c = ctx;
    struct signalfd_siginfo info;
    while (read((int)fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int signo = (int)info.ssi_signo;
        if (signo == SIGHUP) {
            if (c->access_log)
                access_log_reopen(c->access_log);
            if (!c->draining)
                control_load_policy(c, "signal");
        } else if (c->draining) {
            end_at_once(signo);
        } else {
            begin_drain(c, signo);
        }
    }
}

static void on_file_changed(void *ctx)
{
    struct control *c = ctx;
    if (!c->draining)
        control_load_policy(c, "file");
}

static void on_mail(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct control *c = ctx;
    mailbox_drain(&c->mailbox, c);
}

/* A server that weir starts is never started for its list: it is asked when it is there. */
static void on_server_ready(struct message *m, void *receiver_ctx)
{
    struct launcher_ready *r = CONTAINER_OF(m, struct launcher_ready, msg);
    struct control *c = receiver_ctx;
    catalog_ask(c->catalog, r->name);
    free(r);
}

static pthread_t signal_reader; /* the thread that reads the signalfd; set before any signal */

/* A library that has threads of its own before main begins (a BLAS) may be handed a signal. */
static void pass_on(int signo)
{
    pthread_kill(signal_reader, signo);
}

/* Signals are blocked before the first thread of ours exists, so that every one inherits that and
 * only the signalfd sees them. */
static void block_signals(sigset_t *set)
{
    static const int ours[] = {SIGHUP, SIGTERM, SIGINT};
    struct sigaction action = {.sa_handler = pass_on, .sa_flags = SA_RESTART};

    signal_reader = pthread_self();
    sigemptyset(set);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        sigaddset(set, ours[i]);
    pthread_sigmask(SIG_BLOCK, set, NULL);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        sigaction(ours[i], &action, NULL);
}

static void on_trim(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd, (void)what, (void)ctx;
    mem_trim(TRIM_MAX_BYTES);
}

static bool start_loop(struct control *c)
{
    c->exit_code = EXIT_CODE_RUNTIME;
    signal(SIGPIPE, SIG_IGN);
    sigset_t set;
    block_signals(&set);
    c->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (c->signal_fd < 0 || mailbox_init(&c->mailbox) != 0 || !(c->base = event_base_new())) {
        start_error("no event loop", strerror(errno));
        return false;
    }
    c->signals = event_new(c->base, c->signal_fd, EV_READ | EV_PERSIST, on_signal, c);
    c->mail = event_new(c->base, c->mailbox.fd, EV_READ | EV_PERSIST, on_mail, c);
    c->drain_poll = event_new(c->base, -1, EV_PERSIST, on_drain_poll, c);
    c->sweep = event_new(c->base, -1, 0, control_on_sweep, c);
    c->trim = event_new(c->base, -1, EV_PERSIST, on_trim, c);
    struct err_text t;
    c->launcher = launcher_new(&t);
    if (!c->launcher) {
        start_error("no launcher", t.s);
        return false;
    }
    c->probing = upstream_new(c->base, NULL);
    c->prober = prober_new(c->base, c->probing);
    struct catalog_owner owner = control_catalog_owner(c);
    c->catalog = catalog_new(c->base, c->probing, &owner);
    launcher_watch(c->launcher, &c->mailbox, on_server_ready);
    return c->signals && c->mail && c->drain_poll && c->sweep && c->trim &&
           event_add(c->signals, NULL) == 0 && event_add(c->mail, NULL) == 0 &&
           event_add(c->trim, &(struct timeval){.tv_sec = TRIM_S}) == 0 &&
           control_vectors_init(&c->vectors, c->base, &c->mailbox, c->stats);
}

/* Before the first load, so that no change falls between the two. */
static bool watch_file(struct control *c)
{
    struct err_text t;
    c->watch = policy_watch_new(c->base, c->opt.policy_file, on_file_changed, c, &t);
    if (!c->watch)
        start_error("policy file cannot be watched", t.s);
    return c->watch != NULL;
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

/* The loop that read the signalfd has ended: from here on a second signal does its default work. */
static void release_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
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

    bool ready = start_loop(&c) && /* signals, messages */
                 watch_file(&c) && /* inotify */
                 load_first(&c) && /* the policy file, or its faults on stderr */
                 open_state(&c) && /* state directory, policy versions, ledger, access log */
                 serve_first_policy(&c) && /* endpoint registry, first snapshot */
                 start_workers(&c) &&      /* threads; clients are served from here on */
                 start_admin(&c) &&        /* admin listener on this loop */
                 announce(&c);             /* port file, "ready" */
    if (ready)
        event_base_dispatch(c.base);
    else
        stop_workers(&c);
    release_signals();
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
        .ledger_full = ledger_full(c->ledger),
        .ledger_queued = ledger_queued(c->ledger),
        .in_flight = atomic_load(&c->in_flight),
        .connections = atomic_load(&c->connections),
        .workers = c->worker_count,
    };
}

/* Health is written into a table of this one answer: endpoints that a reload removed leave no
 * series behind. */
static struct stats *endpoint_gauges(const struct control *c)
{
    struct stats *s = stats_new();
    int64_t now_us = clock_mono_us();
    const struct policy *p = c->snapshot->policy;
    for (size_t b = 0; b < p->backend_count; b++)
        for (size_t e = 0; e < p->backends[b].endpoint_count; e++) {
            const char *labels[] = {p->backends[b].name, p->backends[b].endpoints[e].label};
            stats_set(stats_cell(s, STAT_ENDPOINT_UP, labels),
                      endpoint_healthy(c->snapshot->backends[b].shared[e], now_us));
        }
    return s;
}

static void tenant_gauges(const struct control *c, struct stats *s)
{
    const struct policy *p = c->snapshot->policy;
    int64_t now_us = clock_wall_us();
    for (size_t i = 0; i < p->tenant_count; i++)
        for (int k = 0; k < SPEND_PERIODS; k++) {
            enum spend_period period = (enum spend_period)k;
            nanousd limit = tenant_limit_of(&p->tenants[i], period);
            const char *labels[] = {p->tenants[i].name, tenant_limit_period_name(period)};
            if (limit == POLICY_NONE)
                continue;
            stats_set(stats_cell(s, STAT_TENANT_BUDGET, labels), limit);
            stats_set(stats_cell(s, STAT_TENANT_SPENT, labels),
                      spend_in(c->snapshot->spends.tenants[i], period, now_us));
        }
}

enum err control_write_metrics(struct control *c, struct buf *out)
{
    size_t workers = control_workers(c), n = 0;
    struct stats **tables = mem_zalloc(workers + 5, sizeof *tables);
    for (size_t i = 0; i < workers; i++)
        tables[n++] = worker_stats(c->workers[i]);
    tables[n++] = ledger_stats(c->ledger);
    tables[n++] = learner_stats(c->learner);
    tables[n++] = c->stats;
    if (c->cache.stats)
        tables[n++] = c->cache.stats;
    struct stats *endpoints = endpoint_gauges(c);
    control_encoder_gauges(c->snapshot->embedder, endpoints);
    tenant_gauges(c, endpoints);
    tables[n++] = endpoints;
    enum err e = stats_write_prometheus(tables, n, out);
    stats_free(endpoints);
    free(tables);
    return e;
}

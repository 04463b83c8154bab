/* The control loop: signals, changes of the policy file, messages, drain. Runs on the main thread,
 * which all signals but the fatal ones reach through one signalfd. Begun and ended by control.c. */
#include "gateway/control_int.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/access_log.h"
#include "gateway/cli/exit.h"
#include "gateway/policy_watch.h"
#include "gateway/worker.h"

#define TRIM_S         30
#define TRIM_MAX_BYTES ((size_t)64 << 20) /* of the process; what holds more is a cache's */
#define DRAIN_POLL_US  20000
#define DRAIN_GRACE_US 1500000 /* after drain_ms: aborted replies get 1 s to leave */

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
    int64_t drain_ms = control_server_of(c)->drain_ms;
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

bool control_loop_start(struct control *c)
{
    c->exit_code = EXIT_CODE_RUNTIME;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    sigset_t set;
    block_signals(&set);
    c->signal_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (c->signal_fd < 0 || mailbox_init(&c->mailbox) != 0 || !(c->base = event_base_new())) {
        control_start_error("no event loop", strerror(errno));
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
        control_start_error("no launcher", t.s);
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
bool control_loop_watch_file(struct control *c)
{
    struct err_text t;
    c->watch = policy_watch_new(c->base, c->opt.policy_file, on_file_changed, c, &t);
    if (!c->watch)
        control_start_error("policy file cannot be watched", t.s);
    return c->watch != NULL;
}

/* The loop that read the signalfd has ended: from here on a second signal does its default work. */
void control_loop_release_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

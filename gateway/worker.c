/* A worker thread: builds its loop, serves until drained, frees everything it made. Control reaches
 * it only through its mailbox; the pieces that control may touch (port, stats table, mailbox) are
 * set before worker_start returns and stay until worker_join. */
#include "gateway/worker.h"

#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include "backends/launcher.h"
#include "base/clock.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "gateway/api_client.h"
#include "gateway/http_server.h"
#include "router/background.h"
#include "router/meters.h"

#define LISTING_MAX_BYTES (64 * 1024 * 1024)
#define DRAIN_CHECK_MS    50
#define LOG_FLUSH_MS      100

struct worker {
    pthread_t thread;
    struct worker_options opt;
    struct mailbox mailbox;
    struct stats *stats;
    sem_t ready;
    struct err_text failure; /* of the start; "" when it went well */

    /* the worker thread's own */
    struct event_base *base;
    struct event *mail, *log_tick, *drain_tick;
    struct upstream *upstream;
    struct http_server *server;
    struct router_env env;
    struct api_client api;
    uint16_t port;
    int64_t drain_until_us;
};

/* ---- messages ---- */

struct snapshot_message {
    struct message msg;
    struct snapshot *snapshot; /* owned reference */
};

struct drain_message {
    struct message msg;
    int64_t drain_ms;
};

static void deliver_snapshot(struct message *m, void *ctx)
{
    struct snapshot_message *sm = CONTAINER_OF(m, struct snapshot_message, msg);
    struct worker *w = ctx;

    api_client_set_snapshot(&w->api, sm->snapshot);
    meters_bind(w->env.meters, sm->snapshot);
    /* Pooled connections of endpoints that are gone would idle until their server closes them. */
    upstream_close_idle(w->upstream);
    snapshot_unref(sm->snapshot);
    free(sm);
}

static void discard_snapshot(struct message *m)
{
    struct snapshot_message *sm = CONTAINER_OF(m, struct snapshot_message, msg);

    snapshot_unref(sm->snapshot);
    free(sm);
}

static void deliver_drain(struct message *m, void *ctx)
{
    struct drain_message *dm = CONTAINER_OF(m, struct drain_message, msg);
    struct worker *w = ctx;
    struct timeval tick = {0, DRAIN_CHECK_MS * 1000};

    w->api.draining = true;
    w->drain_until_us = clock_mono_us() + dm->drain_ms * 1000;
    http_server_drain(w->server);
    background_stop(&w->env);
    event_add(w->drain_tick, &tick);
    free(dm);
}

static void discard_drain(struct message *m)
{
    free(CONTAINER_OF(m, struct drain_message, msg));
}

struct listing_ctx {
    struct buf *out;
    int worker;
    bool first;
    enum err err;
};

static void put_string(struct listing_ctx *l, const char *key, struct slice value)
{
    char *room;
    size_t bytes;

    if (l->err == ERR_OK)
        l->err = buf_printf(l->out, ",\"%s\":", key);
    if (l->err == ERR_OK)
        l->err = buf_reserve(l->out, value.n * 6 + 2, &room, &bytes);
    if (l->err == ERR_OK)
        buf_commit(l->out, json_string_encode(value, room, bytes));
}

static void list_one(const struct request *r, void *ctx)
{
    struct listing_ctx *l = ctx;
    struct request_info i;

    request_describe(r, &i);
    if (l->err == ERR_OK)
        l->err = buf_printf(l->out, "%s{\"worker\":%d", l->first ? "" : ",", l->worker);
    l->first = false;
    put_string(l, "id", slice_str(i.id));
    put_string(l, "state", slice_str(i.state));
    put_string(l, "api", slice_str(i.api));
    put_string(l, "model", i.model);
    put_string(l, "tenant", slice_str(i.tenant));
    put_string(l, "route", slice_str(i.route));
    put_string(l, "serving_model", slice_str(i.serving_model));
    put_string(l, "endpoint", slice_str(i.endpoint));
    if (l->err == ERR_OK)
        l->err =
            buf_printf(l->out,
                       ",\"age_ms\":%lld,\"state_age_ms\":%lld,\"attempts\":%d,\"stream\":%s,"
                       "\"bytes_out\":%llu}",
                       (long long)(i.age_us / 1000), (long long)(i.state_age_us / 1000), i.attempts,
                       i.stream ? "true" : "false", (unsigned long long)i.bytes_out);
}

static void deliver_listing(struct message *m, void *ctx)
{
    struct worker_listing *l = CONTAINER_OF(m, struct worker_listing, msg);
    struct worker *w = ctx;
    struct listing_ctx lc = {.out = &l->json, .worker = w->opt.index, .first = true};

    l->worker_index = w->opt.index;
    request_each(&w->env, list_one, &lc);
    if (lc.err != ERR_OK)
        buf_reset(&l->json);
    l->msg.deliver = l->on_listed;
    mailbox_post(l->reply_to, &l->msg);
}

/* ---- the loop's own events ---- */

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;

    (void)fd, (void)what;
    mailbox_drain(&w->mailbox, w);
}

static void on_log_tick(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;

    (void)fd, (void)what;
    access_log_flush(&w->api.log);
}

static void on_drain_tick(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    bool late = clock_mono_us() >= w->drain_until_us;

    (void)fd, (void)what;
    if (late)
        request_abort_all(&w->env, ERR_DRAINING);
    /* One more turn after an abort, so that error replies leave. */
    if (http_server_active(w->server) == 0 ||
        (late && clock_mono_us() >= w->drain_until_us + 1000000))
        event_base_loopbreak(w->base);
}

/* ---- life ---- */

static bool open_server(struct worker *w)
{
    const struct policy_server *s = &w->opt.snapshot->policy->server;
    struct http_server_options opt = {
        .base = w->base,
        .host = w->opt.host,
        .port = w->opt.port,
        .reuse_port = true,
        .max_header_bytes = (size_t)s->max_header_bytes,
        .max_body_bytes = (uint64_t)s->max_body_bytes,
        .header_timeout_ms = s->header_timeout_ms,
        .body_timeout_ms = s->body_timeout_ms,
        .idle_timeout_ms = s->idle_timeout_ms,
        .write_timeout_ms = s->write_timeout_ms,
        .high_watermark_bytes = (size_t)s->stream_buffer_bytes,
        .connections = w->opt.connections,
        .max_connections = s->max_connections,
        .handler = &api_client_handler,
        .ctx = &w->api,
        .error_body = api_client_error_body,
        .stats = w->stats,
    };

    w->server = http_server_new(&opt, &w->failure);
    if (!w->server)
        return false;
    w->port = http_server_port(w->server);
    return true;
}

static bool set_up(struct worker *w)
{
    struct timeval tick = {0, LOG_FLUSH_MS * 1000};
    struct event_config *cfg = event_config_new();

    event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    w->base = event_base_new_with_config(cfg);
    event_config_free(cfg);
    if (!w->base) {
        err_say(&w->failure, "cannot make an event loop");
        return false;
    }
    w->upstream = upstream_new(w->base, w->stats);
    router_env_init(&w->env, w->base, w->upstream, w->opt.ledger, w->stats);
    w->env.launcher = w->opt.launcher;
    w->env.learner = w->opt.learner;
    w->env.mailbox = &w->mailbox;
    meters_bind(w->env.meters, w->opt.snapshot);
    api_client_init(&w->api, &w->env, w->opt.snapshot, w->opt.access_log, w->opt.in_flight);
    w->mail = event_new(w->base, w->mailbox.fd, EV_READ | EV_PERSIST, on_mail, w);
    w->log_tick = event_new(w->base, -1, EV_PERSIST, on_log_tick, w);
    w->drain_tick = event_new(w->base, -1, EV_PERSIST, on_drain_tick, w);
    event_add(w->mail, NULL);
    if (w->opt.access_log)
        event_add(w->log_tick, &tick);
    return open_server(w);
}

/* Encoders post their answers to this mailbox: it may not go before the last of them has come,
 * which takes no longer than what is queued. */
static void await_encoders(struct worker *w)
{
    struct pollfd p = {.fd = w->mailbox.fd, .events = POLLIN};

    while (w->env.owed) {
        (void)poll(&p, 1, -1);
        mailbox_drain(&w->mailbox, w);
    }
}

static void tear_down(struct worker *w)
{
    if (w->base) {
        background_stop(&w->env);
        request_abort_all(&w->env, ERR_DRAINING);
        await_encoders(w);
    }
    mailbox_close(&w->mailbox);
    if (!w->base)
        return;
    if (w->opt.launcher)
        launcher_forget(w->opt.launcher, &w->mailbox);
    if (w->server)
        http_server_free(w->server);
    upstream_free(w->upstream);
    api_client_clear(&w->api);
    router_env_clear(&w->env);
    event_free(w->mail);
    event_free(w->log_tick);
    event_free(w->drain_tick);
    event_base_free(w->base);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    char name[16];
    bool ok;

    snprintf(name, sizeof name, "weir-worker-%d", w->opt.index % 100);
    pthread_setname_np(pthread_self(), name);
    ok = set_up(w);
    /* The options' snapshot was lent for the start; from here on api and meters hold references of
     * their own. */
    w->opt.snapshot = NULL;
    sem_post(&w->ready);
    if (ok)
        event_base_dispatch(w->base);
    tear_down(w);
    return NULL;
}

struct worker *worker_start(const struct worker_options *opt, struct err_text *t)
{
    struct worker *w = mem_zalloc(1, sizeof *w);

    w->opt = *opt;
    w->stats = stats_new();
    sem_init(&w->ready, 0, 0);
    if (mailbox_init(&w->mailbox) != 0 || pthread_create(&w->thread, NULL, run, w) != 0) {
        err_say(t, "cannot start a worker thread");
        stats_free(w->stats);
        free(w);
        return NULL;
    }
    while (sem_wait(&w->ready) != 0)
        ; /* interrupted by a signal */
    if (w->failure.s[0]) {
        *t = w->failure;
        worker_join(w);
        return NULL;
    }
    return w;
}

uint16_t worker_port(const struct worker *w)
{
    return w->port;
}

struct stats *worker_stats(struct worker *w)
{
    return w->stats;
}

void worker_set_snapshot(struct worker *w, struct snapshot *s)
{
    struct snapshot_message *m = mem_zalloc(1, sizeof *m);

    m->msg.deliver = deliver_snapshot;
    m->msg.discard = discard_snapshot;
    m->snapshot = snapshot_ref(s);
    mailbox_post(&w->mailbox, &m->msg);
}

void worker_drain(struct worker *w, int64_t drain_ms)
{
    struct drain_message *m = mem_zalloc(1, sizeof *m);

    m->msg.deliver = deliver_drain;
    m->msg.discard = discard_drain;
    m->drain_ms = drain_ms;
    mailbox_post(&w->mailbox, &m->msg);
}

void worker_list_requests(struct worker *w, struct worker_listing *l)
{
    l->msg.deliver = deliver_listing;
    buf_init(&l->json, LISTING_MAX_BYTES);
    mailbox_post(&w->mailbox, &l->msg);
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
    mailbox_clear(&w->mailbox);
    sem_destroy(&w->ready);
    stats_free(w->stats);
    free(w);
}

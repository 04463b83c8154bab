/* One timer and one call per endpoint. Owns copies of what it probes, in an arena that lives from
 * one configuration to the next. Called by the control thread. */
#include "backends/probe.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

/* An ejection by probes outlives the next probe by so much; each further failure renews it. */
#define GRACE_US        INT64_C(5000000)
#define MAX_REPLY_BYTES (1 << 20)
/* After a configuration the first probes are spread over at most so long. */
#define FIRST_WITHIN_US INT64_C(1000000)

struct probed {
    struct prober *prober;
    struct probe_spec spec; /* strings in the arena */
    struct http1_header header;
    struct upstream_call call;
    struct event *timer; /* owned */
    struct prober_info info;
    int failures; /* in a row */
};

struct prober {
    struct event_base *base;
    struct upstream *up;
    struct rng rng;
    struct arena arena;
    struct probed *probed;
    size_t count;
};

/* ---- verdicts ---- */

static int64_t ejection_us(const struct probe_spec *s)
{
    return (s->interval_ms * 11 / 10 + s->timeout_ms) * 1000 + GRACE_US;
}

static void say(const struct probed *p, enum log_level level, const char *what)
{
    char backend[128], authority[300];

    log_line(level, "probe", what, "backend=%s endpoint=%s status=%d err=%s",
             log_quote(slice_str(p->spec.target.backend), backend, sizeof backend),
             log_quote(slice_str(p->spec.target.authority), authority, sizeof authority),
             p->info.status, err_name(p->info.err));
}

static void take_back(struct probed *p)
{
    if (p->info.down)
        atomic_store_explicit(&p->spec.shared->ejected_until_us, 0, memory_order_relaxed);
    p->info.down = false;
}

static void judge(struct probed *p, bool well)
{
    p->info.probes++;
    p->info.fails += !well;
    p->failures = well ? 0 : p->failures + 1;
    if (well && p->info.down) {
        say(p, LOG_INFO, "endpoint is back");
        take_back(p);
    } else if (p->failures >= PROBE_FALL) {
        if (!p->info.down)
            say(p, LOG_WARN, "endpoint is down");
        p->info.down = true;
        atomic_store_explicit(&p->spec.shared->ejected_until_us,
                              clock_mono_us() + ejection_us(&p->spec), memory_order_relaxed);
    }
}

/* ---- probing ---- */

static void arm(struct probed *p, int64_t wait_us)
{
    struct timeval tv = {wait_us / 1000000, wait_us % 1000000};

    evtimer_add(p->timer, &tv);
}

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct probed *p = c->owner;

    p->info.status = head->status;
}

static void on_data(struct upstream_call *c, struct slice data)
{
    (void)c;
    (void)data;
}

static void on_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct probed *p = c->owner;
    int64_t interval_us = p->spec.interval_ms * 1000;
    uint64_t jitter_us = rng_below(&p->prober->rng, (uint64_t)(interval_us / 5 + 1));

    p->info.err = r->err;
    judge(p, r->err == ERR_OK && p->info.status >= 200 && p->info.status < 300);
    arm(p, interval_us - interval_us / 10 + (int64_t)jitter_us);
}

static const struct upstream_handler handler = {
    .on_head = on_head, .on_data = on_data, .on_done = on_done};

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct probed *p = arg;
    struct upstream_request req = {
        .target = &p->spec.target,
        .method = SLICE("GET"),
        .path = slice_str(p->spec.path),
        .headers = &p->header,
        .header_count = p->spec.authorization ? 1 : 0,
        .timeouts = {-1, -1, -1, p->spec.timeout_ms},
        .max_response_bytes = MAX_REPLY_BYTES,
    };

    (void)fd;
    (void)what;
    p->info.status = 0;
    p->call.owner = p;
    upstream_start(p->prober->up, &p->call, &handler, &req);
}

/* ---- life ---- */

struct prober *prober_new(struct event_base *base, struct upstream *up)
{
    struct prober *p = mem_zalloc(1, sizeof *p);

    p->base = base;
    p->up = up;
    rng_seed_os(&p->rng);
    arena_init(&p->arena, 4096);
    return p;
}

static void copy_spec(struct arena *a, const struct probe_spec *from, struct probed *to)
{
    to->spec = *from;
    upstream_target_keep(&to->spec.target, a);
    to->spec.path = arena_strdup(a, slice_str(from->path));
    if (from->authorization)
        to->spec.authorization = arena_strdup(a, slice_str(from->authorization));
    to->header = (struct http1_header){.name = SLICE("Authorization"),
                                       .value = slice_str(to->spec.authorization)};
}

static struct probed *find(struct probed *list, size_t n, const struct endpoint_shared *shared)
{
    for (size_t i = 0; i < n; i++) {
        if (list[i].spec.shared == shared)
            return &list[i];
    }
    return NULL;
}

/* Ends what the old configuration had under way; keeps its verdicts where the new one has the same
 * endpoint. */
static void replace(struct prober *p, struct probed *now, size_t n)
{
    for (size_t i = 0; i < p->count; i++) {
        struct probed *old = &p->probed[i], *same = find(now, n, old->spec.shared);

        upstream_abort(&old->call);
        event_free(old->timer);
        if (same) {
            same->info = old->info;
            same->failures = old->failures;
        } else {
            take_back(old);
        }
    }
    p->probed = now;
    p->count = n;
}

void prober_configure(struct prober *p, const struct probe_spec *specs, size_t n)
{
    struct arena arena;
    struct probed *now;

    arena_init(&arena, 4096);
    now = ARENA_ARRAY(&arena, struct probed, n ? n : 1);
    for (size_t i = 0; i < n; i++) {
        now[i].prober = p;
        copy_spec(&arena, &specs[i], &now[i]);
        now[i].timer = evtimer_new(p->base, on_timer, &now[i]);
        mem_need(now[i].timer);
    }
    replace(p, now, n);
    arena_clear(&p->arena);
    p->arena = arena;
    for (size_t i = 0; i < n; i++) {
        int64_t within_us = specs[i].interval_ms * 1000;

        if (within_us > FIRST_WITHIN_US)
            within_us = FIRST_WITHIN_US;
        arm(&now[i], (int64_t)rng_below(&p->rng, (uint64_t)within_us + 1));
    }
}

void prober_free(struct prober *p)
{
    if (!p)
        return;
    replace(p, NULL, 0);
    arena_clear(&p->arena);
    free(p);
}

bool prober_about(const struct prober *p, const struct endpoint_shared *shared,
                  struct prober_info *out)
{
    const struct probed *found = find(p->probed, p->count, shared);

    if (found)
        *out = found->info;
    return found != NULL;
}

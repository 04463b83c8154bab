/* Active health checks: a GET on each endpoint every so often, its verdict in endpoint_shared,
 * where every worker's choice sees it.
 *
 * An endpoint that fails PROBE_FALL probes in a row is ejected for as long as its probes go on
 * failing, and is back with the first that succeeds. What requests found out about it (passive
 * ejection, endpoints.h) is left alone: a health page that answers proves little about answers.
 * threads: everything here belongs to the thread that runs the loop (control). */
#ifndef BACKENDS_PROBE_H
#define BACKENDS_PROBE_H

#include "backends/endpoints.h"
#include "backends/upstream.h"

#define PROBE_FALL 2

struct event_base;
struct prober;

/* Plain values, copied by prober_configure, but for shared. */
struct probe_spec {
    struct upstream_target target;
    const char *path;               /* "/health": 2xx is well, all else and silence is not */
    const char *authorization;      /* value of that header; NULL: none */
    int64_t interval_ms;            /* from the end of one probe to the next, +-10% */
    int64_t timeout_ms;             /* one probe */
    struct endpoint_shared *shared; /* borrowed; lives as long as the process */
};

struct prober_info {
    bool down;             /* ejected by probes */
    int64_t probes, fails; /* totals */
    int status;            /* of the last probe; 0: none came */
    enum err err;          /* how its exchange ended */
};

/* The upstream must run on the same base. Both are borrowed. */
struct prober *prober_new(struct event_base *base, struct upstream *up);
/* Replaces what is probed; verdicts about endpoints that stay are kept, those about others are
 * taken back. */
void prober_configure(struct prober *p, const struct probe_spec *specs, size_t n);
void prober_free(struct prober *p); /* ends what is in flight; verdicts are taken back */
/* What is known of that endpoint; false when it is not probed. */
bool prober_about(const struct prober *p, const struct endpoint_shared *shared,
                  struct prober_info *out);

#endif

/* Owns nothing. Called by api_cache_health.c. */
#include "gateway/cache_health.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include "gateway/cache_json.h"
#include "gateway/json_put.h"
#include "policies/policy_value.h"

#define SKEW_WARN_MS     500
#define SKEW_PROBLEM_MS  60000
#define LAG_PROBLEM_MS   2000 /* then nothing in memory is served */
#define DISK_WARN_BYTES  (UINT64_C(1) << 30)
#define DISK_LEAST_BYTES (UINT64_C(100) << 20)
#define FULL_SHARE       0.9
#define LATE_SHARE       0.01

enum state { OK, WARNING, PROBLEM };

static void add(json_t *checks, const char *name, enum state state, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void add(json_t *checks, const char *name, enum state state, const char *fmt, ...)
{
    static const char *const states[] = {"ok", "warning", "problem"};
    char said[400];
    json_t *o = json_object();
    va_list args;

    va_start(args, fmt);
    vsnprintf(said, sizeof said, fmt, args);
    va_end(args);
    json_put_text(o, "name", name);
    json_put_text(o, "state", states[state]);
    json_put_text(o, "said", said);
    json_array_append_new(checks, o);
}

static void check_store(json_t *checks, const struct cache_health *h)
{
    const struct store_stat *st = &h->job->store;
    const struct store_inspection *in = &h->job->inspection;

    if (!st->up)
        add(checks, "store", PROBLEM, "%s: not usable, everything misses: %s", st->kind,
            st->detail[0] ? st->detail : "no connection");
    else if (!h->job->inspected)
        add(checks, "store", WARNING, "%s: up, but did not answer in time", st->kind);
    else if (in->round_trip_us > 0)
        add(checks, "store", OK, "%s, %" PRId64 " us there and back", in->version,
            in->round_trip_us);
    else
        add(checks, "store", OK, "%s, %" PRIu64 " entries", in->version, st->entries);
}

static void check_calls(json_t *checks, const struct store_stat *st)
{
    uint64_t wrong = st->failed + st->late;
    enum state s = (double)wrong > LATE_SHARE * (double)st->calls ? WARNING : OK;

    add(checks, "calls", s,
        "of %" PRIu64 " calls to the store %" PRIu64 " failed and %" PRIu64
        " were later than their budget",
        st->calls, st->failed, st->late);
    add(checks, "damage", st->bad_entries ? WARNING : OK, "%" PRIu64 " entries could not be read",
        st->bad_entries);
    add(checks, "writes", st->dropped_writes ? WARNING : OK,
        "%" PRIu64 " answers were not stored because too many waited", st->dropped_writes);
}

/* All but generations, logs and notes expires: what may evict those loses flushes. */
static void check_eviction(json_t *checks, const struct store_inspection *in)
{
    bool noeviction = strcmp(in->eviction, "noeviction") == 0;

    if (strncmp(in->eviction, "volatile-", 9) == 0)
        add(checks, "eviction", OK, "maxmemory-policy %s", in->eviction);
    else if (noeviction && in->limit_bytes == 0)
        add(checks, "eviction", WARNING,
            "maxmemory-policy noeviction and no maxmemory: the server grows until its machine is "
            "full; volatile-lfu with a maxmemory is meant for this");
    else if (noeviction)
        add(checks, "eviction", OK,
            "maxmemory-policy noeviction: nothing is stored while the server is full");
    else
        add(checks, "eviction", PROBLEM,
            "maxmemory-policy %s may throw out generations and logs, and with them what was "
            "flushed; use volatile-lfu or noeviction",
            in->eviction[0] ? in->eviction : "unknown");
}

static void check_memory(json_t *checks, const struct store_inspection *in)
{
    char used[32], limit[32];

    value_format_size((int64_t)in->used_bytes, used, sizeof used);
    value_format_size((int64_t)in->limit_bytes, limit, sizeof limit);
    if (in->limit_bytes == 0)
        add(checks, "memory", OK, "the server uses %s", used);
    else
        add(checks, "memory",
            (double)in->used_bytes > FULL_SHARE * (double)in->limit_bytes ? WARNING : OK,
            "the server uses %s of %s", used, limit);
}

static void check_redis(json_t *checks, const struct cache_health *h)
{
    const struct store_inspection *in = &h->job->inspection;
    int64_t skew_ms =
        h->job->clock_offset_ms < 0 ? -h->job->clock_offset_ms : h->job->clock_offset_ms;

    if (strcmp(h->job->store.kind, "redis") != 0)
        return;
    if (h->job->inspected) {
        check_eviction(checks, in);
        check_memory(checks, in);
        if (in->log_lag_ms < 0 || in->log_lag_ms > LAG_PROBLEM_MS)
            add(checks, "log", PROBLEM,
                "word of other replicas' changes is %s: nothing in memory is served",
                in->log_lag_ms < 0 ? "not here yet" : "late");
        else
            add(checks, "log", OK, "changes of other replicas were heard %" PRId64 " ms ago",
                in->log_lag_ms);
    }
    add(checks, "clock",
        skew_ms > SKEW_PROBLEM_MS ? PROBLEM
        : skew_ms > SKEW_WARN_MS  ? WARNING
                                  : OK,
        "this machine's clock and the server's are %" PRId64
        " ms apart; entries expire by the server's",
        skew_ms);
}

static void check_meaning(json_t *checks, const struct cache_health *h)
{
    const struct risk_facts *r = &h->facts.risk;
    char fingerprint[2 * CACHE_FINGERPRINT_BYTES + 1];

    if (h->job->dim == 0) {
        add(checks, "index", OK, "no vectors: answers are found exactly");
        return;
    }
    cache_json_hex(h->job->fingerprint, CACHE_FINGERPRINT_BYTES, fingerprint);
    add(checks, "encoder", OK, "%s, %d dimensions", fingerprint, h->job->dim);
    add(checks, "index", OK, "%" PRIu64 " vectors%s", h->facts.indexed,
        h->facts.scanning ? "; it is being filled from the store" : "");
    if (r->alarm)
        add(checks, "error", PROBLEM,
            "too many audited hits were wrong (%" PRIu64 " of %" PRIu64
            "): nothing is served by meaning until labels say otherwise",
            r->audited_wrong, r->audits);
    else if (!r->warm)
        add(checks, "error", WARNING,
            "%" PRIu64 " labels so far: too few to serve anything by meaning", r->labels);
    else
        add(checks, "error", OK, "%" PRIu64 " of %" PRIu64 " audited hits were wrong",
            r->audited_wrong, r->audits);
}

static void check_disk(json_t *checks, const struct cache_health *h)
{
    char size[32];

    if (h->disk_bytes == 0) {
        add(checks, "disk", WARNING, "%s: its free space is not known", h->folder);
        return;
    }
    value_format_size((int64_t)(h->disk_free_bytes >> 20 << 20), size, sizeof size);
    add(checks, "disk",
        h->disk_free_bytes < DISK_LEAST_BYTES  ? PROBLEM
        : h->disk_free_bytes < DISK_WARN_BYTES ? WARNING
                                               : OK,
        "%s free in %s", size, h->folder);
}

json_t *cache_health_checks(const struct cache_health *h)
{
    json_t *checks = json_array();

    check_store(checks, h);
    check_calls(checks, &h->job->store);
    check_redis(checks, h);
    check_meaning(checks, h);
    check_disk(checks, h);
    if (!h->record_known)
        add(checks, "record", PROBLEM,
            "the record of changes cannot be read: nothing can be changed");
    else
        add(checks, "record", h->record_whole ? OK : PROBLEM,
            h->record_whole ? "each line of the record of changes names the one before it"
                            : "the record of changes was tampered with");
    return checks;
}

/* Faults and features on request: which requests meet them and with what parameters. README.md
 * lists every kind.
 *
 * A script is a JSON array of objects (--faults FILE, POST /fleet/faults):
 *   {"kind":"429", "model":"gpt-4o", "probability":0.1, "seed":7, "retry_after_s":2}
 *   {"kind":"cut", "nth":[1,3], "after":5}          the 1st and 3rd request that the entry sees
 *   {"kind":"stall", "every":10, "times":2}         every 10th, at most twice
 * An entry without nth, every or probability meets every request. A request meets all entries that
 * match it. The header x-fleet-fault replaces the script for one request: "cut; after=5", several
 * kinds separated by commas, or "none". Single-threaded. */
#ifndef FLEET_FAULT_H
#define FLEET_FAULT_H

#include <stdbool.h>
#include <stdint.h>
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

enum fault_kind {
#define FAULT(id, name, help) FAULT_##id,
#include "tests/fleet/fault.def"
#undef FAULT
    FAULT_KINDS
};

#define FAULT_SET_MAX 12

struct fault {
    enum fault_kind kind;
    struct slice name; /* as the script called it, e.g. "429" */
    int64_t status;    /* kind STATUS */
    int64_t after;     /* chunks, or bytes of a whole body; -1 = the kind's default */
    int64_t delay_ms;  /* slow_first, slow_chunks */
    int64_t retry_after_s, retry_after_ms;  /* -1 = no header */
    int64_t cached, cache_write, reasoning; /* usage */
    int64_t bytes;                          /* huge */
    struct slice text; /* extra: members to add; status, error_event: the message */
};

/* What one request meets. Copies: a script may be replaced while a request is under way. */
struct fault_set {
    struct fault list[FAULT_SET_MAX];
    size_t n;
};

struct fault_script; /* opaque */

struct fault_script *fault_script_new(void);
void fault_script_free(struct fault_script *s);
/* Replaces the script by a JSON array, or {"faults":[...]}; add keeps what is there. On error the
 * script is unchanged. */
bool fault_script_load(struct fault_script *s, struct slice json, bool add, struct err_text *why);
/* Collects what this request meets, and counts it. Strings go to the arena. */
void fault_script_pick(struct fault_script *s, struct slice model, struct arena *a,
                       struct fault_set *out);
/* The script as JSON with the counts of requests seen and met. */
void fault_script_print(const struct fault_script *s, struct buf *out);

/* The value of x-fleet-fault. */
bool fault_parse_header(struct slice value, struct arena *a, struct fault_set *out,
                        struct err_text *why);
const struct fault *fault_get(const struct fault_set *set,
                              enum fault_kind kind); /* NULL when not in it */

#endif

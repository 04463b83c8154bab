/* Is the cache well? Judged from plain facts; one check each. Pure. */
#ifndef GATEWAY_CACHE_HEALTH_H
#define GATEWAY_CACHE_HEALTH_H

#include <jansson.h>
#include "cache/admin_job.h"

struct cache_health {
    const struct admin_job *job; /* of ADMIN_INSPECT, answered */
    struct cache_facts facts;
    const char *folder;                   /* the state directory */
    uint64_t disk_free_bytes, disk_bytes; /* of it; disk 0: not known */
    bool record_known, record_whole; /* the record of changes could be read; nobody changed it */
};

/* [{"name", "state": "ok" | "warning" | "problem", "said"}] */
json_t *cache_health_checks(const struct cache_health *h);

#endif

/* The fleet's state: one process, one thread, one loop. Everything hangs from struct fleet; there
 * are no globals. */
#ifndef FLEET_FLEET_H
#define FLEET_FLEET_H

#include <event2/event.h>
#include "base/list.h"
#include "tests/fleet/fault.h"
#include "tests/fleet/journal.h"
#include "tests/fleet/rows.h"
#include "tests/fleet/tally.h"

#define FLEET_PORTS_MAX 16

struct ssl_ctx_st;

struct fleet_port {
    struct fleet *fleet; /* borrowed: who this belongs to */
    uint16_t port;
    int fd;                 /* listener, owned */
    struct event *readable; /* owned */
    int64_t opened, open, requests;
};

struct fleet {
    struct event_base *loop; /* owned */
    struct ssl_ctx_st *tls;  /* owned; NULL = plain */
    struct rows rows;
    struct fault_script *faults; /* owned */
    struct journal journal;
    struct tally *tallies; /* owned: one per model, by model index */
    struct list exchanges; /* struct exchange in flight */
    struct list conns;     /* every open connection */
    uint64_t last_serial;
    int64_t unknown_model; /* requests for models that are not served */
    struct fleet_port ports[FLEET_PORTS_MAX];
    size_t port_count;
    /* options */
    double time_scale; /* 0 = at once */
    int64_t chunk_tokens;
    const char *api_key; /* borrowed from argv; NULL = no key is asked for */
};

#endif

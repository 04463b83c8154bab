/* One request from its last byte to the end of its reply: arena, answer, the script being played,
 * and the account. Owned by the connection it came on. Single-threaded. */
#ifndef FLEET_EXCHANGE_H
#define FLEET_EXCHANGE_H

#include "tests/fleet/answer.h"
#include "tests/fleet/fleet.h"
#include "tests/fleet/reply.h"

struct exchange {
    struct list link; /* in fleet.exchanges; alone for control requests */
    struct fleet *fleet;
    struct arena arena;
    uint64_t serial; /* 0 for control requests */
    uint16_t port;
    const struct model *model; /* NULL until known */
    struct fault_set faults;
    struct answer answer;
    bool answered; /* the reply is an answer, and is billed */
    bool stream;
    struct reply reply;
    size_t steps_done; /* the player's progress */
    int64_t began_us;
};

/* Counts the request, enters it in the journal, and has api.c or control.c make the reply. */
struct exchange *exchange_new(struct fleet *f, struct fleet_port *port,
                              const struct http1_head *head, struct slice body);
/* Closes the account and frees. peer_left: the connection ended before the reply was done. */
void exchange_end(struct exchange *x, bool peer_left);
const char *exchange_phase(const struct exchange *x); /* "waiting", "replying", "hanging" */

#endif

/* Stands between a replica and its redis-server, and keeps back what the server says to calls while
 * the change log goes on: the two connections of the store then answer in the order that a test
 * wants. A thread of its own. */
#ifndef TESTS_UNIT_CACHE_REDIS_RELAY_H
#define TESTS_UNIT_CACHE_REDIS_RELAY_H

#include <pthread.h>
#include <stdbool.h>
#include "tests/unit/cache/redis_server.h"

#define REDIS_RELAY_PAIRS 16
#define REDIS_RELAY_BYTES 65536 /* kept back at most, of each connection */

struct redis_relay {
    char socket[108], url[128];
    char server[96];
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    bool holding, stopping;
    struct redis_relay_pair {
        int client, server; /* client < 0: not in use */
        bool follows_log;   /* has read a stream */
        size_t kept_bytes;
        char kept[REDIS_RELAY_BYTES];
    } pairs[REDIS_RELAY_PAIRS];
    int listener;
};

void redis_relay_start(struct redis_relay *r, const struct redis_server *server);
void redis_relay_stop(struct redis_relay *r);
void redis_relay_hold(struct redis_relay *r, bool hold);
/* Is that among what is kept back? */
bool redis_relay_keeps(struct redis_relay *r, const char *text);

#endif

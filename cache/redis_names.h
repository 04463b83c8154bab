/* The addresses behind a Redis's name. A resolver may hang for half a minute: a thread of its own
 * asks it, which nobody waits for. Any thread. */
#ifndef CACHE_REDIS_NAMES_H
#define CACHE_REDIS_NAMES_H

#include <stdbool.h>
#include <sys/socket.h>
#include "base/redis_url.h"

enum { REDIS_NAMES_MAX = 4 };

struct redis_names {
    int count;
    struct sockaddr_storage address[REDIS_NAMES_MAX];
    socklen_t bytes[REDIS_NAMES_MAX];
};

/* Is the host an address already? Then it is the only one. */
bool redis_names_numeric(const struct redis_url *url, struct redis_names *out);
/* A socket, the caller's to close at any time, that can be read once the answer is there. -1: there
 * is none, see errno. */
int redis_names_ask(const struct redis_url *url);
/* The answer out of it; false: there is no address. */
bool redis_names_take(int fd, struct redis_names *out);

#endif

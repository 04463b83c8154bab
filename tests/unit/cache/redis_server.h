/* A real redis-server of the test's own, on a Unix socket and a port that the kernel chose, in a
 * folder that goes with it. */
#ifndef TESTS_UNIT_CACHE_REDIS_SERVER_H
#define TESTS_UNIT_CACHE_REDIS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid; /* 0: not running */
    char folder[64], socket[96], url[128], port[8];
    char option[4][64]; /* further words of the command line; "" ends them */
};

bool redis_server_installed(void);
void redis_server_start(struct redis_server *r); /* waits until it answers */
void redis_server_stop(struct redis_server *r);  /* kill -9: what it has not saved is lost */
void redis_server_remove(struct redis_server *r);
/* One command by a connection of its own; the first bytes of the reply, raw. */
const char *redis_server_do(struct redis_server *r, const char *command);

#endif

/* Owns nothing: a job belongs to its thread, a socket to whoever asked. Called by redis_link.c. */
#include "cache/redis_names.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/thread.h"

struct job {
    int fd;
    char host[256], port[8];
};

static void *resolve(void *ctx)
{
    struct job *job = ctx;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    struct redis_names r = {0};

    if (getaddrinfo(job->host, job->port, &hints, &found) == 0)
        for (const struct addrinfo *a = found; a && r.count < REDIS_NAMES_MAX; a = a->ai_next) {
            memcpy(&r.address[r.count], a->ai_addr, a->ai_addrlen);
            r.bytes[r.count++] = a->ai_addrlen;
        }
    if (found)
        freeaddrinfo(found);
    /* Whoever asked may have gone: then this goes nowhere. */
    (void)!send(job->fd, &r, sizeof r, MSG_NOSIGNAL);
    close(job->fd);
    free(job);
    return NULL;
}

bool redis_names_numeric(const struct redis_url *url, struct redis_names *out)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *a = NULL;

    if (getaddrinfo(url->host, url->port, &hints, &a) != 0)
        return false;
    memcpy(&out->address[0], a->ai_addr, a->ai_addrlen);
    out->bytes[0] = a->ai_addrlen;
    out->count = 1;
    freeaddrinfo(a);
    return true;
}

int redis_names_ask(const struct redis_url *url)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return -1;
    struct job *job = mem_zalloc(1, sizeof *job);
    memcpy(job->host, url->host, sizeof job->host);
    memcpy(job->port, url->port, sizeof job->port);
    job->fd = pair[1];
    int rc = thread_start_detached(0, resolve, job);
    if (rc == 0)
        return pair[0];
    close(pair[0]);
    close(pair[1]);
    free(job);
    errno = rc;
    return -1;
}

bool redis_names_take(int fd, struct redis_names *out)
{
    if (recv(fd, out, sizeof *out, 0) != sizeof *out)
        out->count = 0;
    return out->count > 0;
}

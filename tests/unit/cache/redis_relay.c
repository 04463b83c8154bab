/* See the header. Bytes go either way as they come; the lock is held for each round. */
#include "tests/unit/cache/redis_relay.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ROUND_MS 5 /* between looks at what the test wants */

static void must(bool so, const char *what)
{
    if (!so) {
        fprintf(stderr, "redis_relay: %s: %s\n", what, strerror(errno));
        abort();
    }
}

static struct sockaddr_un address(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    return a;
}

static void drop_pair(struct redis_relay_pair *p)
{
    close(p->client);
    close(p->server);
    p->client = p->server = -1;
    p->follows_log = false;
    p->kept_bytes = 0;
}

static void take_client(struct redis_relay *r)
{
    struct sockaddr_un a = address(r->server);
    struct redis_relay_pair *p = r->pairs;
    int client = accept(r->listener, NULL, NULL);

    while (p < r->pairs + REDIS_RELAY_PAIRS && p->client >= 0)
        p++;
    must(client >= 0 && p < r->pairs + REDIS_RELAY_PAIRS, "accept");
    p->client = client;
    p->server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(p->server, (const struct sockaddr *)(const void *)&a, sizeof a) != 0)
        drop_pair(p);
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        p += sent;
        n -= (size_t)sent;
    }
    return true;
}

static void from_client(struct redis_relay_pair *p)
{
    char bytes[16384];
    ssize_t n = read(p->client, bytes, sizeof bytes);

    if (n > 0 && memmem(bytes, (size_t)n, "XREAD", 5))
        p->follows_log = true;
    if (n <= 0 || !write_all(p->server, bytes, (size_t)n))
        drop_pair(p);
}

static void from_server(struct redis_relay_pair *p)
{
    ssize_t n = read(p->server, p->kept + p->kept_bytes, sizeof p->kept - p->kept_bytes);

    if (n <= 0)
        drop_pair(p);
    else
        p->kept_bytes += (size_t)n;
}

static void let_go(const struct redis_relay *r, struct redis_relay_pair *p)
{
    if (p->client < 0 || p->kept_bytes == 0 || (r->holding && !p->follows_log))
        return;
    if (write_all(p->client, p->kept, p->kept_bytes))
        p->kept_bytes = 0;
    else
        drop_pair(p);
}

static void turn(struct redis_relay *r, const struct pollfd *polled)
{
    for (int i = 0; i < REDIS_RELAY_PAIRS; i++) {
        struct redis_relay_pair *p = &r->pairs[i];
        if (p->client >= 0 && polled[2 * i].revents)
            from_client(p);
        if (p->client >= 0 && polled[2 * i + 1].revents)
            from_server(p);
        let_go(r, p);
    }
    if (polled[2 * REDIS_RELAY_PAIRS].revents)
        take_client(r);
}

static void *run(void *ctx)
{
    struct redis_relay *r = ctx;
    struct pollfd polled[2 * REDIS_RELAY_PAIRS + 1];
    bool stopping = false;

    while (!stopping) {
        for (int i = 0; i < REDIS_RELAY_PAIRS; i++) { /* only this thread changes them */
            const struct redis_relay_pair *p = &r->pairs[i];
            bool full = p->kept_bytes == sizeof p->kept;
            polled[2 * i] = (struct pollfd){.fd = p->client, .events = POLLIN};
            polled[2 * i + 1] = (struct pollfd){.fd = full ? -1 : p->server, .events = POLLIN};
        }
        polled[2 * REDIS_RELAY_PAIRS] = (struct pollfd){.fd = r->listener, .events = POLLIN};
        must(poll(polled, 2 * REDIS_RELAY_PAIRS + 1, ROUND_MS) >= 0 || errno == EINTR, "poll");
        pthread_mutex_lock(&r->lock);
        turn(r, polled);
        stopping = r->stopping;
        pthread_mutex_unlock(&r->lock);
    }
    return NULL;
}

void redis_relay_start(struct redis_relay *r, const struct redis_server *server)
{
    memset(r, 0, sizeof *r);
    snprintf(r->server, sizeof r->server, "%s", server->socket);
    snprintf(r->socket, sizeof r->socket, "%s/relay", server->folder);
    snprintf(r->url, sizeof r->url, "unix:%s", r->socket);
    for (int i = 0; i < REDIS_RELAY_PAIRS; i++)
        r->pairs[i].client = r->pairs[i].server = -1;
    struct sockaddr_un a = address(r->socket);
    r->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    must(bind(r->listener, (const struct sockaddr *)(const void *)&a, sizeof a) == 0 &&
             listen(r->listener, 16) == 0,
         "listen");
    pthread_mutex_init(&r->lock, NULL);
    must(pthread_create(&r->thread, NULL, run, r) == 0, "thread");
}

void redis_relay_stop(struct redis_relay *r)
{
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    for (int i = 0; i < REDIS_RELAY_PAIRS; i++)
        if (r->pairs[i].client >= 0)
            drop_pair(&r->pairs[i]);
    close(r->listener);
    unlink(r->socket);
    pthread_mutex_destroy(&r->lock);
}

void redis_relay_hold(struct redis_relay *r, bool hold)
{
    pthread_mutex_lock(&r->lock);
    r->holding = hold;
    pthread_mutex_unlock(&r->lock);
}

bool redis_relay_keeps(struct redis_relay *r, const char *text)
{
    bool there = false;

    pthread_mutex_lock(&r->lock);
    for (int i = 0; i < REDIS_RELAY_PAIRS; i++)
        there =
            there || memmem(r->pairs[i].kept, r->pairs[i].kept_bytes, text, strlen(text)) != NULL;
    pthread_mutex_unlock(&r->lock);
    return there;
}

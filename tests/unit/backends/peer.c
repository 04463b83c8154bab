/* The scripted server. Owns its listener and the threads; everything a script needs is in struct
 * peer. */
#include "tests/unit/backends/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_CONNECTIONS 4096
#define MAX_HEAD        65536

struct server {
    int listener;
    uint16_t port;
    SSL_CTX *tls;
    server_script script;
    void *ctx;
    pthread_t acceptor;
    pthread_t threads[MAX_CONNECTIONS];
    pthread_mutex_t lock;
    int fds[MAX_CONNECTIONS]; /* -1 when closed; under lock */
    _Atomic int connections, resumed, live;
};

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
    abort();
}

/* ---- bytes ---- */

static ssize_t peer_recv(struct peer *p, void *out, size_t n)
{
    return p->ssl ? SSL_read(p->ssl, out, (int)n) : recv(p->fd, out, n, 0);
}

bool peer_send(struct peer *p, const void *data, size_t n)
{
    const char *at = data;

    while (n) {
        size_t piece = n < 16384 ? n : 16384;
        ssize_t sent =
            p->ssl ? SSL_write(p->ssl, at, (int)piece) : send(p->fd, at, piece, MSG_NOSIGNAL);

        if (sent <= 0)
            return false;
        at += sent;
        n -= (size_t)sent;
    }
    return true;
}

bool peer_puts(struct peer *p, const char *text)
{
    return peer_send(p, text, strlen(text));
}

bool peer_drip(struct peer *p, const char *text)
{
    for (; *text; text++) {
        if (!peer_send(p, text, 1))
            return false;
        usleep(150); /* apart, so that the client's loop turns between them */
    }
    return true;
}

bool peer_read_head(struct peer *p)
{
    size_t n = 0;

    free(p->head);
    p->head = malloc(MAX_HEAD);
    must(p->head != NULL, "malloc");
    while (n < MAX_HEAD - 1) {
        if (peer_recv(p, p->head + n, 1) != 1)
            return false;
        p->head[++n] = '\0';
        if (n >= 4 && memcmp(p->head + n - 4, "\r\n\r\n", 4) == 0)
            return true;
    }
    return false;
}

bool peer_request(struct peer *p)
{
    const char *length;
    size_t n = 0;

    if (!peer_read_head(p))
        return false;
    length = strcasestr(p->head, "\r\nContent-Length: ");
    p->body_bytes = length ? strtoul(length + 18, NULL, 10) : 0;
    free(p->body);
    p->body = malloc(p->body_bytes + 1);
    must(p->body != NULL, "malloc");
    while (n < p->body_bytes) {
        ssize_t got =
            peer_recv(p, p->body + n, p->body_bytes - n < 65536 ? p->body_bytes - n : 65536);

        if (got <= 0)
            return false;
        n += (size_t)got;
    }
    p->body[n] = '\0';
    return true;
}

bool peer_wait_gone(struct peer *p)
{
    struct timeval limit = {60, 0};
    char sink[65536];
    ssize_t n;

    setsockopt(p->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while ((n = recv(p->fd, sink, sizeof sink, 0)) > 0) /* below TLS: only the end matters */
        continue;
    return n == 0 || errno != EAGAIN;
}

void peer_reset(struct peer *p)
{
    struct linger now = {1, 0};

    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (p->ssl)
        SSL_set_quiet_shutdown(p->ssl, 1);
}

void peer_cut(struct peer *p)
{
    if (p->ssl)
        SSL_set_quiet_shutdown(p->ssl, 1);
}

/* ---- connections ---- */

static void serve_peer(struct peer *p)
{
    struct server *s = p->server;
    int on = 1;

    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (s->tls) {
        p->ssl = SSL_new(s->tls);
        SSL_set_fd(p->ssl, p->fd);
        if (SSL_accept(p->ssl) != 1)
            return;
        s->resumed += SSL_session_reused(p->ssl);
    }
    s->script(p, s->ctx);
    if (p->ssl)
        SSL_shutdown(p->ssl);
}

static void *connection(void *arg)
{
    struct peer *p = arg;
    struct server *s = p->server;

    serve_peer(p);
    SSL_free(p->ssl);
    pthread_mutex_lock(&s->lock);
    s->fds[p->number] = -1;
    close(p->fd);
    pthread_mutex_unlock(&s->lock);
    free(p->head);
    free(p->body);
    free(p);
    s->live--;
    return NULL;
}

static void *accept_all(void *arg)
{
    struct server *s = arg;
    int fd;

    while ((fd = accept(s->listener, NULL, NULL)) >= 0 && s->connections < MAX_CONNECTIONS) {
        struct peer *p = calloc(1, sizeof *p);

        must(p != NULL, "calloc");
        p->server = s;
        p->fd = fd;
        p->number = s->connections;
        pthread_mutex_lock(&s->lock);
        s->fds[p->number] = fd;
        pthread_mutex_unlock(&s->lock);
        s->live++;
        s->connections++; /* before it can answer: who has an answer may count */
        must(pthread_create(&s->threads[p->number], NULL, connection, p) == 0, "pthread_create");
    }
    return NULL;
}

struct server *server_start(SSL_CTX *tls, server_script script, void *ctx)
{
    struct server *s = calloc(1, sizeof *s);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;

    must(s != NULL, "calloc");
    s->tls = tls;
    s->script = script;
    s->ctx = ctx;
    pthread_mutex_init(&s->lock, NULL);
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(s->listener, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->listener, 1024) == 0,
         "listen");
    must(getsockname(s->listener, (struct sockaddr *)&a, &n) == 0, "getsockname");
    s->port = ntohs(a.sin_port);
    must(pthread_create(&s->acceptor, NULL, accept_all, s) == 0, "pthread_create");
    return s;
}

void server_stop(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->acceptor, NULL);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->connections; i++) {
        if (s->fds[i] >= 0)
            shutdown(s->fds[i], SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->connections; i++)
        pthread_join(s->threads[i], NULL);
    close(s->listener);
    SSL_CTX_free(s->tls);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

uint16_t server_port(const struct server *s)
{
    return s->port;
}

int server_connections(const struct server *s)
{
    return s->connections;
}

int server_resumed(const struct server *s)
{
    return s->resumed;
}

int server_live(const struct server *s)
{
    return s->live;
}

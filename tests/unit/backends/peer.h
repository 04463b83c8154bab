/* A scripted server for the transports' tests: real sockets on 127.0.0.1, a thread per connection,
 * each running the test's script with blocking calls, so that a script reads like the exchange it
 * stages. */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <openssl/ssl.h>

struct server;

struct peer { /* one connection, as the script sees it */
    struct server *server;
    int fd;
    SSL *ssl;   /* NULL: plain */
    int number; /* 0 for the server's first connection */
    char *head; /* of the last request, NUL-terminated */
    char *body;
    size_t body_bytes;
};

typedef void (*server_script)(struct peer *p, void *ctx);

/* tls NULL: plain. The context is taken over. */
struct server *server_start(SSL_CTX *tls, server_script script, void *ctx);
void server_stop(struct server *s); /* ends every connection and waits for the scripts */
uint16_t server_port(const struct server *s);
int server_connections(const struct server *s);
int server_resumed(const struct server *s); /* TLS sessions that were reused */
int server_live(const struct server *s);    /* scripts under way */

/* For scripts. All return false when the client is gone. */
bool peer_request(struct peer *p);   /* head and Content-Length body into p->head, p->body */
bool peer_read_head(struct peer *p); /* the head only: the body stays in the socket */
bool peer_send(struct peer *p, const void *data, size_t n);
bool peer_puts(struct peer *p, const char *text);
bool peer_drip(struct peer *p,
               const char *text); /* byte by byte, so that each is a read of its own */
bool peer_wait_gone(
    struct peer *p); /* reads until the client has closed; true when it did so within 5 s */
void peer_reset(struct peer *p); /* RST */
void peer_cut(struct peer *p);   /* FIN without TLS's close_notify */
/* The script's end closes the connection in good order. */

#endif

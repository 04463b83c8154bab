/* A connected stream socket, plain or TLS (server side, HTTP/1.1 by ALPN). Non-blocking.
 * Single-threaded; the struct owns the descriptor. */
#ifndef FLEET_LINK_H
#define FLEET_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/err.h"

struct ssl_st;
struct ssl_ctx_st;

struct link {
    int fd;
    struct ssl_st *ssl; /* NULL = plain */
};

/* Certificate chain and key in PEM. NULL + *why on failure. */
struct ssl_ctx_st *link_tls_new(const char *cert_path, const char *key_path, struct err_text *why);
void link_tls_free(struct ssl_ctx_st *tls);

/* Takes over an accepted descriptor: non-blocking, no delay. */
void link_init(struct link *l, int fd, struct ssl_ctx_st *tls);
/* reset: RST instead of FIN, and no TLS goodbye. */
void link_close(struct link *l, bool reset);

enum { LINK_EOF = 0, LINK_AGAIN = -1, LINK_ERROR = -2 };
ssize_t link_recv(struct link *l, void *p, size_t n);
ssize_t link_send(struct link *l, const void *p, size_t n);

/* A listening socket on 127.0.0.1 (or any address if everywhere) with that port, 0 = any; *port is
 * what it got. -1 + errno. */
int link_listen(uint16_t *port, bool everywhere);

#endif

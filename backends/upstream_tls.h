/* TLS on a connected, non-blocking socket, client side. The only files of this room that know
 * OpenSSL are upstream_tls.c and the tests. TLS 1.2 and later, SNI, name check, ALPN http/1.1,
 * sessions reused per context, no renegotiation. threads: belongs to one worker. */
#ifndef BACKENDS_UPSTREAM_TLS_H
#define BACKENDS_UPSTREAM_TLS_H

#include <stdbool.h>
#include <sys/uio.h>
#include "base/err.h"

/* What came of an attempt to move bytes, plain or TLS. */
enum conn_io {
    CONN_IO_DONE,       /* something was moved */
    CONN_IO_WANT_READ,  /* try again when the socket is readable */
    CONN_IO_WANT_WRITE, /* ... writable */
    CONN_IO_END,    /* the peer ended its direction in good order (FIN; for TLS: close_notify) */
    CONN_IO_BROKEN, /* reset, or TLS ended without close_notify or with an alert */
};

struct tls_context; /* certificates to trust, and the last session: one per pool, that is per server
                     */
struct tls;         /* one connection's */

/* ca_file NULL: the system's store. verify false: any certificate is taken. NULL and *why when the
 * file cannot be used. */
struct tls_context *tls_context_new(const char *ca_file, bool verify, struct err_text *why);
void tls_context_free(struct tls_context *c); /* connections made from it live on */

/* fd is borrowed. NULL when out of memory. */
struct tls *tls_new(struct tls_context *c, int fd, const char *host);
void tls_free(struct tls *t); /* says close_notify if it fits into the socket */

enum conn_io tls_handshake(struct tls *t, struct err_text *why); /* DONE: established */
enum conn_io tls_read(struct tls *t, void *out, size_t out_bytes, size_t *got);
/* Sends from the front of iov in records of up to 16 KB, small pieces in one; *sent may be less
 * than all. After WANT_* the same bytes must come first in the next call. */
enum conn_io tls_writev(struct tls *t, const struct iovec *iov, int iov_count, size_t *sent);
bool tls_has_more(
    const struct tls *t); /* read bytes are inside: the socket will not announce them */

/* For libcurl, which does not tell the end of a connection without close_notify from one with it:
 * *seen becomes true when the peer's close_notify is read. ssl is libcurl's SSL; seen must outlive
 * it. */
void tls_note_close_notify(void *ssl, bool *seen);

#endif

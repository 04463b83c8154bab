/* The seam to OpenSSL 3. Owns SSL_CTX, SSL and the last session of each server; runs on the
 * worker's thread; called by conn.c and pool.c. Read-ahead is on, so that a small record costs one
 * recv instead of two; buffers are released when idle, so that an idle connection does not hold 34
 * KB. */
#include "backends/upstream_tls.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include "base/mem.h"

#define RECORD_BYTES 16384 /* RFC 8446 5.1 */

struct tls_context {
    SSL_CTX *ctx;         /* owned */
    SSL_SESSION *session; /* owned; NULL until the first ticket. The newest is offered to the next
                             connection. */
};

struct tls {
    SSL *ssl; /* owned */
    bool established, broken;
};

/* "certificate verify failed (hostname mismatch)" and the like, from OpenSSL's queue, which is
 * emptied. */
static void say_error(struct err_text *why, const char *what, const SSL *ssl)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    long verify = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;

    if (verify != X509_V_OK)
        err_say(why, "%s: %s", what, X509_verify_cert_error_string(verify));
    else
        err_say(why, "%s: %s", what, reason ? reason : "the connection was closed");
    ERR_clear_error();
}

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if (!c) /* the pool is gone, its connections live on */
        return 0;
    SSL_SESSION_free(c->session);
    c->session = session;
    return 1; /* the reference is ours now */
}

static bool configure(struct tls_context *c, const char *ca_file, bool verify)
{
    static const unsigned char alpn[] = "\x08http/1.1";

    SSL_CTX_set_app_data(c->ctx, c);
    SSL_CTX_set_options(c->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(c->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(c->ctx, 1);
    SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ctx, on_new_session);
    SSL_CTX_set_verify(c->ctx, verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION) != 1)
        return false;
    if (SSL_CTX_set_alpn_protos(c->ctx, alpn, sizeof alpn - 1) != 0)
        return false;
    if (!verify)
        return true;
    if (ca_file)
        return SSL_CTX_load_verify_file(c->ctx, ca_file) == 1;
    return SSL_CTX_set_default_verify_paths(c->ctx) == 1;
}

struct tls_context *tls_context_new(const char *ca_file, bool verify, struct err_text *why)
{
    struct tls_context *c = mem_zalloc(1, sizeof *c);

    ERR_clear_error();
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (c->ctx && configure(c, ca_file, verify))
        return c;
    say_error(why, ca_file ? ca_file : "system certificate store", NULL);
    tls_context_free(c);
    return NULL;
}

void tls_context_free(struct tls_context *c)
{
    if (!c)
        return;
    if (c->ctx)
        SSL_CTX_set_app_data(c->ctx, NULL);
    SSL_SESSION_free(c->session);
    SSL_CTX_free(c->ctx);
    free(c);
}

/* RFC 6066 3: an address is no server name. */
static bool set_host(SSL *ssl, const char *host)
{
    unsigned char address[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_new(struct tls_context *c, int fd, const char *host)
{
    struct tls *t = mem_zalloc(1, sizeof *t);

    ERR_clear_error();
    t->ssl = SSL_new(c->ctx);
    if (!t->ssl || !set_host(t->ssl, host) || SSL_set_fd(t->ssl, fd) != 1) {
        ERR_clear_error();
        tls_free(t);
        return NULL;
    }
    if (c->session)
        SSL_set_session(t->ssl, c->session);
    SSL_set_connect_state(t->ssl);
    return t;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    if (t->established && !t->broken) {
        ERR_clear_error();
        SSL_shutdown(t->ssl);
    } else if (t->ssl) {
        SSL_set_quiet_shutdown(t->ssl, 1);
    }
    ERR_clear_error();
    SSL_free(t->ssl);
    free(t);
}

/* After a failed call with OpenSSL's queue cleared before it. */
static enum conn_io classify(struct tls *t, int ret)
{
    switch (SSL_get_error(t->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
        return CONN_IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return CONN_IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return CONN_IO_END;
    default: /* SYSCALL, SSL: also the end of the stream without close_notify, which anyone on the
                path can forge */
        t->broken = true;
        return CONN_IO_BROKEN;
    }
}

enum conn_io tls_handshake(struct tls *t, struct err_text *why)
{
    enum conn_io io;
    int ret;

    ERR_clear_error();
    ret = SSL_do_handshake(t->ssl);
    if (ret == 1) {
        t->established = true;
        return CONN_IO_DONE;
    }
    io = classify(t, ret);
    if (io == CONN_IO_END || io == CONN_IO_BROKEN)
        say_error(why, "TLS handshake", t->ssl);
    return io;
}

enum conn_io tls_read(struct tls *t, void *out, size_t out_bytes, size_t *got)
{
    enum conn_io io = CONN_IO_DONE;

    *got = 0;
    ERR_clear_error();
    /* One record per SSL_read; collect what is there, so that the caller sees few large pieces. */
    while (*got < out_bytes) {
        size_t n = 0;
        int ret = SSL_read_ex(t->ssl, (char *)out + *got, out_bytes - *got, &n);

        if (ret != 1) {
            io = classify(t, ret);
            break;
        }
        *got += n;
        if (!SSL_has_pending(t->ssl))
            break;
    }
    ERR_clear_error();
    return *got ? CONN_IO_DONE : io; /* an end behind the data comes again with the next call */
}

/* The front of iov as one piece: itself when it is large enough, else gathered in stage. */
static struct iovec front(const struct iovec *iov, int iov_count, char *stage)
{
    struct iovec out = {stage, 0};

    if (iov_count == 1 || iov[0].iov_len >= RECORD_BYTES)
        return iov[0];
    for (int i = 0; i < iov_count && out.iov_len < RECORD_BYTES; i++) {
        size_t n = RECORD_BYTES - out.iov_len;

        n = n < iov[i].iov_len ? n : iov[i].iov_len;
        memcpy(stage + out.iov_len, iov[i].iov_base, n);
        out.iov_len += n;
    }
    return out;
}

enum conn_io tls_writev(struct tls *t, const struct iovec *iov, int iov_count, size_t *sent)
{
    char stage[RECORD_BYTES];
    struct iovec piece = front(iov, iov_count, stage);
    int ret;

    *sent = 0;
    ERR_clear_error();
    ret = SSL_write_ex(t->ssl, piece.iov_base, piece.iov_len, sent);
    if (ret == 1)
        return CONN_IO_DONE;
    return classify(t, ret);
}

bool tls_has_more(const struct tls *t)
{
    return SSL_has_pending(t->ssl) != 0;
}

/* ---- for libcurl's connections ---- */

static pthread_once_t seen_once = PTHREAD_ONCE_INIT;
static int seen_index; /* OpenSSL's number for our pointer in an SSL; written once */

static void make_seen_index(void)
{
    seen_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
}

static void on_info(const SSL *ssl, int where, int ret)
{
    bool *seen = SSL_get_ex_data(ssl, seen_index);

    if (seen && where == SSL_CB_READ_ALERT && (ret & 0xff) == SSL3_AD_CLOSE_NOTIFY)
        *seen = true;
}

void tls_note_close_notify(void *ssl, bool *seen)
{
    pthread_once(&seen_once, make_seen_index);
    SSL_set_ex_data(ssl, seen_index, seen);
    SSL_set_info_callback(ssl, on_info);
}

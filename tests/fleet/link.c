/* See link.h. TLS handshakes happen inside the first reads. A read that wants to write (a handshake
 * flight that does not fit the socket buffer, a key update) is treated as "again": the next
 * readable event goes on with it. */
#include "tests/fleet/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

static int choose_http1(SSL *ssl, const unsigned char **out, unsigned char *out_n,
                        const unsigned char *in, unsigned in_n, void *ctx)
{
    static const unsigned char ours[] = "\x08http/1.1";
    (void)ssl;
    (void)ctx;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_n, ours, sizeof ours - 1, in, in_n) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

struct ssl_ctx_st *link_tls_new(const char *cert_path, const char *key_path, struct err_text *why)
{
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    if (tls && SSL_CTX_use_certificate_chain_file(tls, cert_path) == 1 &&
        SSL_CTX_use_PrivateKey_file(tls, key_path, SSL_FILETYPE_PEM) == 1 &&
        SSL_CTX_check_private_key(tls) == 1) {
        SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION);
        SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
        SSL_CTX_set_alpn_select_cb(tls, choose_http1, NULL);
        return tls;
    }
    err_say(why, "TLS: %s", ERR_error_string(ERR_peek_last_error(), NULL));
    SSL_CTX_free(tls);
    return NULL;
}

void link_tls_free(struct ssl_ctx_st *tls)
{
    SSL_CTX_free(tls);
}

void link_init(struct link *l, int fd, struct ssl_ctx_st *tls)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    *l = (struct link){.fd = fd};
    if (!tls)
        return;
    l->ssl = SSL_new(tls);
    SSL_set_fd(l->ssl, fd);
    SSL_set_accept_state(l->ssl);
}

void link_close(struct link *l, bool reset)
{
    if (reset)
        setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
    if (l->ssl) {
        if (!reset)
            SSL_shutdown(l->ssl);
        ERR_clear_error();
        SSL_free(l->ssl);
    }
    close(l->fd);
    l->fd = -1;
    l->ssl = NULL;
}

static ssize_t tls_result(struct link *l, int n)
{
    if (n > 0)
        return n;
    int e = SSL_get_error(l->ssl, n);
    ERR_clear_error();
    if (e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE)
        return LINK_AGAIN;
    return e == SSL_ERROR_ZERO_RETURN ? LINK_EOF : LINK_ERROR;
}

ssize_t link_recv(struct link *l, void *p, size_t n)
{
    if (l->ssl)
        return tls_result(l, SSL_read(l->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n));
    ssize_t got = recv(l->fd, p, n, 0);
    return got >= 0 ? got : errno == EAGAIN || errno == EINTR ? LINK_AGAIN : LINK_ERROR;
}

ssize_t link_send(struct link *l, const void *p, size_t n)
{
    if (l->ssl)
        return tls_result(l, SSL_write(l->ssl, p, n > INT32_MAX ? INT32_MAX : (int)n));
    ssize_t sent = send(l->fd, p, n, MSG_NOSIGNAL);
    return sent >= 0 ? sent : errno == EAGAIN || errno == EINTR ? LINK_AGAIN : LINK_ERROR;
}

int link_listen(uint16_t *port, bool everywhere)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t n = sizeof sa;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    sa.sin_addr.s_addr = htonl(everywhere ? INADDR_ANY : INADDR_LOOPBACK);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) == 0 && listen(fd, BACKLOG) == 0 &&
        getsockname(fd, (struct sockaddr *)&sa, &n) == 0) {
        *port = ntohs(sa.sin_port);
        return fd;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

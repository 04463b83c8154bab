/* A throw-away certificate authority and server certificates for the tests, made in memory, written
 * where asked. */
#ifndef TESTS_CERT_H
#define TESTS_CERT_H

#include <openssl/ssl.h>

struct cert_authority {
    EVP_PKEY *key;
    X509 *cert;
};

void cert_authority_init(struct cert_authority *ca, const char *name);
void cert_authority_clear(struct cert_authority *ca);
void cert_authority_write(const struct cert_authority *ca, const char *path); /* PEM */
/* A server's context with a certificate for these names: "DNS:localhost,IP:127.0.0.1". */
SSL_CTX *cert_server_context(const struct cert_authority *ca, const char *names);

#endif

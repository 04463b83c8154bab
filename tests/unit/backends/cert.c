/* Certificates for the tests. Asserts on every failure: a test without its certificates proves
 * nothing. */
#include "tests/unit/backends/cert.h"

#include <stdio.h>
#include <stdlib.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static void must(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "cert: %s failed\n", what);
    abort();
}

static X509 *certify(EVP_PKEY *subject_key, const char *subject, X509 *issuer, EVP_PKEY *issuer_key,
                     const char *extension, int nid, long serial)
{
    X509 *c = X509_new();
    X509_NAME *name = X509_get_subject_name(c);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, extension);

    must(c && ext, "X509_new");
    X509_set_version(c, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(c), serial);
    X509_gmtime_adj(X509_getm_notBefore(c), -3600);
    X509_gmtime_adj(X509_getm_notAfter(c), 86400);
    X509_set_pubkey(c, subject_key);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)subject, -1, -1, 0);
    X509_set_issuer_name(c, issuer ? X509_get_subject_name(issuer) : name);
    must(X509_add_ext(c, ext, -1), "X509_add_ext");
    X509_EXTENSION_free(ext);
    must(X509_sign(c, issuer_key, EVP_sha256()) > 0, "X509_sign");
    return c;
}

void cert_authority_init(struct cert_authority *ca, const char *name)
{
    ca->key = EVP_EC_gen("P-256");
    must(ca->key != NULL, "EVP_EC_gen");
    ca->cert = certify(ca->key, name, NULL, ca->key, "critical,CA:TRUE", NID_basic_constraints, 1);
}

void cert_authority_clear(struct cert_authority *ca)
{
    X509_free(ca->cert);
    EVP_PKEY_free(ca->key);
}

void cert_authority_write(const struct cert_authority *ca, const char *path)
{
    FILE *f = fopen(path, "w");

    must(f && PEM_write_X509(f, ca->cert) == 1, "writing the CA file");
    fclose(f);
}

SSL_CTX *cert_server_context(const struct cert_authority *ca, const char *names)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert =
        certify(key, "weir test server", ca->cert, ca->key, names, NID_subject_alt_name, 2);

    must(ctx && SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1,
         "SSL_CTX");
    SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"weir", 4);
    X509_free(cert);
    EVP_PKEY_free(key);
    return ctx;
}

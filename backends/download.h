/* One file, or one short answer, fetched over HTTP or HTTPS while the caller waits: for commands,
 * never for a worker. libcurl's easy interface; proxies by the usual environment variables, trusted
 * certificates by the system's store or SSL_CERT_FILE.
 *
 * A file grows as PATH.part and gets its name when it is whole, its digest right and its bytes on
 * the disk: PATH is never half a file. What a broken run leaves is gone on with (Range and
 * If-Range, RFC 9110 sections 14.2 and 13.1.5) under the validator in PATH.part.from, or, when a
 * digest is expected, without one: the digest decides. Single-threaded per call. */
#ifndef BACKENDS_DOWNLOAD_H
#define BACKENDS_DOWNLOAD_H

#include <stdint.h>
#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"

struct download_limits {
    long connect_ms;    /* > 0; of each connection */
    long stall_seconds; /* > 0; without a byte for so long, the attempt has failed */
    int attempts;       /* >= 1; further ones go on where the last broke off */
    long backoff_ms;    /* before the second attempt; doubled before each further one */
};

struct download_progress {
    uint64_t have_bytes, total_bytes; /* total 0: not known yet */
    uint64_t resumed_bytes;           /* of have_bytes: were there before this run */
};
typedef void (*download_progress_fn)(const struct download_progress *p, void *ctx);

struct download_file {
    const char *url;
    const char *path;            /* its folder exists */
    const struct digest *expect; /* NULL: any */
    uint64_t max_bytes;          /* a longer answer is refused as soon as it is known */
    struct download_limits limits;
    download_progress_fn on_progress; /* NULL: none; a few hundred calls a second at most */
    void *ctx;
};

/* got: the file's digest. Errors, each with one sentence in t:
 * ERR_UPSTREAM_DNS, _CONNECT, _TLS, _CONNECT_TIMEOUT   nobody was reached
 * ERR_UPSTREAM_RESET, _CUT, _IDLE_TIMEOUT              broke off more often than allowed: run again
 * ERR_UPSTREAM_NOT_FOUND, _AUTH, _SERVER_ERROR, _REJECTED   the answer's status
 * ERR_UPSTREAM_TOO_LARGE, _PROTOCOL                    the answer is not the file; a wrong digest
 * is _PROTOCOL, and the bytes are thrown away ERR_INTERNAL the disk */
enum err download_file(const struct download_file *f, struct digest *got,
                       struct err_text *t) MUST_CHECK;

struct download_text {
    const char *url, *accept; /* the Accept header's value */
    struct buf *body;         /* its maximum bounds the answer */
    char content_type[128];   /* out: "" when the answer has none */
    char final_url[2048];     /* out: after redirects */
    struct download_limits limits;
};
enum err download_text(struct download_text *d, struct err_text *t) MUST_CHECK;

/* A reference (RFC 3986 section 5) against a base, whose user and password are kept on the same
 * scheme, host and port, and nowhere else. False: not a URL that libcurl understands, not
 * HTTP(S), or longer than out. */
bool download_url_resolve(const char *base, const char *reference, char *out, size_t out_bytes);
/* The URL without user and password, for messages. */
void download_url_show(const char *url, char *out, size_t out_bytes);

#endif

/* SHA-256 over libcrypto's EVP interface. Running out of memory inside it aborts, as in base/mem.
 */
#include "base/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/ascii.h"
#include "base/mem.h"

#define PIECE_BYTES ((size_t)1 << 18)

/* Found once: libcrypto 3 looks EVP_sha256()'s implementation up anew for each context, which takes
 * longer than the digest of a short text (openssl crypto(7), "Implicit fetching"). */
static pthread_once_t sha256_once = PTHREAD_ONCE_INIT;
static EVP_MD *sha256_md; /* for the life of the process */

static void find_sha256(void)
{
    sha256_md = EVP_MD_fetch(NULL, "SHA256", NULL);
    mem_need(sha256_md);
}

static const EVP_MD *sha256(void)
{
    pthread_once(&sha256_once, find_sha256);
    return sha256_md;
}

struct digest_stream {
    EVP_MD_CTX *ctx;
};

struct digest digest_of(struct slice bytes)
{
    struct digest d;
    unsigned n = 0;
    if (!EVP_Digest(bytes.p, bytes.n, d.bytes, &n, sha256(), NULL) || n != DIGEST_BYTES)
        mem_need(NULL);
    return d;
}

struct digest_stream *digest_stream_new(void)
{
    struct digest_stream *s = mem_alloc(sizeof *s);
    s->ctx = EVP_MD_CTX_new();
    mem_need(s->ctx);
    if (!EVP_DigestInit_ex(s->ctx, sha256(), NULL))
        mem_need(NULL);
    return s;
}

void digest_stream_add(struct digest_stream *s, struct slice bytes)
{
    if (!EVP_DigestUpdate(s->ctx, bytes.p, bytes.n))
        mem_need(NULL);
}

struct digest digest_stream_end(struct digest_stream *s)
{
    struct digest d;
    unsigned n = 0;
    if (!EVP_DigestFinal_ex(s->ctx, d.bytes, &n) || n != DIGEST_BYTES)
        mem_need(NULL);
    EVP_MD_CTX_free(s->ctx);
    free(s);
    return d;
}

bool digest_file(const char *path, struct digest *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    char *piece = mem_alloc(PIECE_BYTES);
    struct digest_stream *s = digest_stream_new();
    ssize_t n;
    while ((n = read(fd, piece, PIECE_BYTES)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            digest_stream_add(s, slice_make(piece, (size_t)n));
    int why = errno;
    *out = digest_stream_end(s);
    free(piece);
    close(fd);
    errno = why;
    return n == 0;
}

bool digest_eq(struct digest a, struct digest b)
{
    return memcmp(a.bytes, b.bytes, DIGEST_BYTES) == 0;
}

void digest_hex(struct digest d, char out[static DIGEST_HEX_BYTES])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        out[2 * i] = hex[d.bytes[i] >> 4];
        out[2 * i + 1] = hex[d.bytes[i] & 15];
    }
    out[DIGEST_HEX_BYTES - 1] = '\0';
}

bool digest_parse(struct slice hex, struct digest *out)
{
    if (hex.n != 2 * DIGEST_BYTES)
        return false;
    for (size_t i = 0; i < DIGEST_BYTES; i++) {
        int high = ascii_hex(hex.p[2 * i]), low = ascii_hex(hex.p[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

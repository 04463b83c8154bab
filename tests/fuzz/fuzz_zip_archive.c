/* ZIP archives: any bytes are refused with one line of text, or give files with safe, unique names
 * that unpack to exactly their size or are refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "gateway/zip_archive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

struct sum {
    uint64_t bytes;
};

static bool count(struct slice piece, void *ctx)
{
    struct sum *s = ctx;
    s->bytes += piece.n;
    return s->bytes < (1 << 24); /* a small input may unpack to much */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make((const char *)data, size);
    struct zip_archive *z;
    struct err_text t = {""};
    if (zip_archive_open(bytes, &z, &t) != ERR_OK) {
        check(t.s[0] && !strpbrk(t.s, "\n\r"));
        return 0;
    }
    for (size_t i = 0; i < zip_archive_count(z) && i < 8; i++) {
        const struct zip_entry *e = zip_archive_at(z, i);
        struct sum s = {0};
        check(zip_archive_find(z, e->name) == e);
        check(e->name.n && e->name.p[0] != '/');
        check(e->packed.p >= bytes.p && e->packed.p + e->packed.n <= bytes.p + bytes.n);
        if (zip_archive_extract(e, count, &s, &t) == ERR_OK)
            check(s.bytes == e->bytes);
        check(s.bytes <= e->bytes);
    }
    zip_archive_free(z);
    return 0;
}

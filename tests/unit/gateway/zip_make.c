#include "zip_make.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>

static void put(struct buf *b, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        char c = (char)(v >> (8 * i));
        enum err e = buf_append(b, &c, 1);
        assert(e == ERR_OK);
        (void)e;
    }
}

static void put_slice(struct buf *b, struct slice s)
{
    enum err e = buf_append_slice(b, s);
    assert(e == ERR_OK);
    (void)e;
}

/* Raw deflate; the result is on the heap. */
static struct slice pack(struct slice data)
{
    size_t room = data.n + 1024;
    char *out = malloc(room), *in = malloc(data.n + 1);
    z_stream s = {.avail_in = (uInt)data.n, .avail_out = (uInt)room};
    assert(out && in);
    if (data.n)
        memcpy(in, data.p, data.n);
    s.next_in = (Bytef *)in;
    s.next_out = (Bytef *)out;
    int rc = deflateInit2(&s, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    assert(rc == Z_OK);
    rc = deflate(&s, Z_FINISH);
    assert(rc == Z_STREAM_END);
    (void)rc;
    deflateEnd(&s);
    free(in);
    return slice_make(out, s.total_out);
}

/* The fields that local header and directory share, from the version needed to the sizes. */
static void put_common(struct buf *b, const struct zip_make_file *f, struct slice packed,
                       bool central)
{
    unsigned method = f->method ? f->method : f->deflate ? 8 : 0;
    uint32_t crc = (uint32_t)crc32(0, (const Bytef *)f->data.p, (uInt)f->data.n);
    put(b, 20, 2);
    put(b, f->flags, 2);
    put(b, method, 2);
    put(b, 0, 4); /* time and date */
    put(b, (uint32_t)(crc + (central ? f->crc_add : 0)), 4);
    put(b, (uint32_t)((long)packed.n + (central ? f->packed_add : 0)), 4);
    put(b, (uint32_t)((long)f->data.n + (central ? f->size_add : 0)), 4);
}

static void put_central(struct buf *b, const struct zip_make_file *f, struct slice packed,
                        size_t at)
{
    put(b, 0x02014B50, 4);
    put(b, 20, 2);
    put_common(b, f, packed, true);
    put(b, (uint32_t)strlen(f->name), 2);
    put(b, 0, 2); /* extra */
    put(b, 0, 2); /* comment */
    put(b, 0, 2); /* disk */
    put(b, 0, 2);
    put(b, 0, 4);
    put(b, (uint32_t)((long)at + f->local_add), 4);
    put_slice(b, slice_str(f->name));
}

void zip_make(const struct zip_make_file *files, size_t count, const char *comment, struct buf *out)
{
    struct slice packed[16];
    size_t at[16];
    assert(count <= 16);
    buf_init(out, (size_t)64 << 20);
    for (size_t i = 0; i < count; i++) {
        const struct zip_make_file *f = &files[i];
        const char *name = f->local_name ? f->local_name : f->name;
        packed[i] = f->deflate ? pack(f->data) : f->data;
        at[i] = buf_len(out);
        put(out, 0x04034B50, 4);
        put_common(out, f, packed[i], false);
        put(out, (uint32_t)strlen(name), 2);
        put(out, 0, 2);
        put_slice(out, slice_str(name));
        put_slice(out, packed[i]);
    }
    size_t directory = buf_len(out);
    for (size_t i = 0; i < count; i++)
        put_central(out, &files[i], packed[i], at[i]);
    size_t end = buf_len(out);
    put(out, 0x06054B50, 4);
    put(out, 0, 4);
    put(out, (uint32_t)count, 2);
    put(out, (uint32_t)count, 2);
    put(out, (uint32_t)(end - directory), 4);
    put(out, (uint32_t)directory, 4);
    put(out, (uint32_t)strlen(comment), 2);
    put_slice(out, slice_str(comment));
    for (size_t i = 0; i < count; i++)
        if (files[i].deflate) {
            union {
                const char *in;
                char *out;
            } owned = {.in = packed[i].p};
            free(owned.out);
        }
}

/* Writes what safetensors.c reads: header padded with spaces to 8 bytes (so that every tensor whose
 * size is a multiple of its alignment stays aligned), tensors in the given order, all in one atomic
 * replacement. Called by the trainers and by tests. */
#include "router/encoder/safetensors.h"

#include <assert.h>
#include <stdlib.h>
#include "base/atomic_file.h"
#include "base/buf.h"
#include "base/json_scan.h"
#include "base/mem.h"

#define MAX_HEADER_BYTES ((size_t)4 << 20)

static enum err put_string(struct buf *b, struct slice s)
{
    char *room;
    size_t got, worst = 6 * s.n + 2;
    enum err e = buf_reserve(b, worst, &room, &got);
    if (e == ERR_OK)
        buf_commit(b, json_string_encode(s, room, worst));
    return e;
}

static enum err put_metadata(struct buf *b, const struct tensor_pair *pairs, size_t n)
{
    enum err e = buf_append_slice(b, SLICE("\"__metadata__\":{"));
    for (size_t i = 0; i < n && e == ERR_OK; i++) {
        if (i)
            e = buf_append(b, ",", 1);
        if (e == ERR_OK)
            e = put_string(b, pairs[i].key);
        if (e == ERR_OK)
            e = buf_append(b, ":", 1);
        if (e == ERR_OK)
            e = put_string(b, pairs[i].value);
    }
    return e == ERR_OK ? buf_append(b, "}", 1) : e;
}

static enum err put_tensor(struct buf *b, const struct tensor *x, size_t begin)
{
    enum err e = put_string(b, x->name);
    if (e == ERR_OK)
        e = buf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", tensor_dtype_name(x->dtype));
    for (int i = 0; i < x->rank && e == ERR_OK; i++)
        e = buf_printf(b, i ? ",%zu" : "%zu", x->shape[i]);
    return e == ERR_OK ? buf_printf(b, "],\"data_offsets\":[%zu,%zu]}", begin, begin + x->data.n)
                       : e;
}

static enum err put_header(struct buf *b, const struct tensor *tensors, size_t count,
                           const struct tensor_pair *metadata, size_t pairs)
{
    size_t at = 0;
    enum err e = buf_append(b, "{", 1);
    if (e == ERR_OK && pairs)
        e = put_metadata(b, metadata, pairs);
    for (size_t i = 0; i < count && e == ERR_OK; i++) {
        if (i || pairs)
            e = buf_append(b, ",", 1);
        if (e == ERR_OK)
            e = put_tensor(b, &tensors[i], at);
        at += tensors[i].data.n;
    }
    if (e == ERR_OK)
        e = buf_append(b, "}", 1);
    while (e == ERR_OK && buf_len(b) % 8)
        e = buf_append(b, " ", 1);
    return e;
}

static void check_size(const struct tensor *x)
{
    size_t count = 1;
    assert(x->rank >= 0 && x->rank <= TENSOR_MAX_RANK);
    for (int i = 0; i < x->rank; i++)
        count *= x->shape[i];
    assert(x->data.n == count * tensor_dtype_bytes(x->dtype));
    (void)count;
}

enum err safetensors_write(const char *path, const struct tensor *tensors, size_t count,
                           const struct tensor_pair *metadata, size_t pairs, struct err_text *t)
{
    struct buf header;
    char length[8];
    buf_init(&header, MAX_HEADER_BYTES);
    struct slice *parts = mem_zalloc(count + 2, sizeof *parts);
    for (size_t i = 0; i < count; i++) {
        check_size(&tensors[i]);
        parts[i + 2] = tensors[i].data;
    }
    enum err e = put_header(&header, tensors, count, metadata, pairs);
    if (e != ERR_OK) {
        err_say(t, "%s: its header would be larger than %zu bytes", path, MAX_HEADER_BYTES);
        e = ERR_INTERNAL;
        goto out;
    }
    for (int i = 0; i < 8; i++)
        length[i] = (char)(buf_len(&header) >> (8 * i) & 0xFF);
    parts[0] = slice_make(length, sizeof length);
    parts[1] = buf_slice(&header);
    e = atomic_file_write_parts(path, 0644, parts, count + 2, t);
out:
    free(parts);
    buf_clear(&header);
    return e;
}

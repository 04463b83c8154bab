/* ZIP archives for tests, written field by field so that each can be made wrong. */
#ifndef TESTS_UNIT_GATEWAY_ZIP_MAKE_H
#define TESTS_UNIT_GATEWAY_ZIP_MAKE_H

#include "base/buf.h"

struct zip_make_file {
    const char *name, *local_name; /* local_name NULL: the same */
    struct slice data;
    bool deflate;
    unsigned flags, method;                        /* method 0: by deflate */
    long crc_add, size_add, packed_add, local_add; /* added to the directory's fields */
};

/* The archive in out (which is initialised here; buf_clear it). comment: behind the directory. */
void zip_make(const struct zip_make_file *files, size_t count, const char *comment,
              struct buf *out);

#endif

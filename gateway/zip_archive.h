/* A strict reader of ZIP archives that lie in memory (PKWARE's APPNOTE.TXT 6.3.10): what a Python
 * wheel is. Stored and deflated files; no encryption, no ZIP64, no spanning. The archive is
 * untrusted: every offset is checked, every file's size and CRC must be what the directory says,
 * names that leave the target (absolute, "..", backslashes) refuse the whole archive, and so do two
 * files of one name. Pure but for zlib; immutable after opening; any thread. */
#ifndef GATEWAY_ZIP_ARCHIVE_H
#define GATEWAY_ZIP_ARCHIVE_H

#include <stdint.h>
#include "base/err.h"
#include "base/slice.h"

struct zip_entry {
    struct slice name;   /* inside the archive */
    struct slice packed; /* inside the archive */
    uint32_t bytes;      /* unpacked */
    uint32_t crc;
    bool deflated;
};

struct zip_archive;

/* bytes: borrowed until zip_archive_free. ERR_BAD_WEIGHTS with t. */
enum err zip_archive_open(struct slice bytes, struct zip_archive **out,
                          struct err_text *t) MUST_CHECK;
void zip_archive_free(struct zip_archive *z); /* NULL is fine */

size_t zip_archive_count(const struct zip_archive *z);
const struct zip_entry *zip_archive_at(const struct zip_archive *z, size_t i); /* by name */
const struct zip_entry *zip_archive_find(const struct zip_archive *z, struct slice name);

/* Hands the file's bytes to sink in pieces, in order; sink returns false to stop. ERR_BAD_WEIGHTS:
 * the file is damaged (what sink got must be thrown away); ERR_INTERNAL: sink stopped. */
typedef bool (*zip_sink_fn)(struct slice piece, void *ctx);
enum err zip_archive_extract(const struct zip_entry *entry, zip_sink_fn sink, void *ctx,
                             struct err_text *t) MUST_CHECK;

#endif

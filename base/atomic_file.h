/* Whole-file replacement: a reader sees the old file or the new one, never a part, also after a
 * power cut. A temporary file in the same directory, fsync, rename, fsync of the directory. It
 * waits for the disk: never on a worker. */
#ifndef BASE_ATOMIC_FILE_H
#define BASE_ATOMIC_FILE_H

#include <sys/types.h>
#include "base/err.h"
#include "base/slice.h"

/* An existing file keeps its mode, a new one gets `mode`. Behind a symbolic link it is the target
 * that is replaced; the link stays. What is there and no regular file (a device, a pipe, a folder)
 * is never replaced. ERR_INTERNAL with t filled; path is then as it was. */
enum err atomic_file_write(const char *path, mode_t mode, struct slice text,
                           struct err_text *t) MUST_CHECK;
/* The same for a content that lies in pieces. */
enum err atomic_file_write_parts(const char *path, mode_t mode, const struct slice *parts,
                                 size_t count, struct err_text *t) MUST_CHECK;
/* The same for a content that comes piece by piece and need not fit into memory. The first failure
 * is remembered: adding goes on doing nothing, and atomic_file_end, which frees f, says what it
 * was. */
struct atomic_file;
enum err atomic_file_begin(const char *path, mode_t mode, struct atomic_file **out,
                           struct err_text *t) MUST_CHECK;
void atomic_file_add(struct atomic_file *f, struct slice piece);
enum err atomic_file_end(struct atomic_file *f, struct err_text *t) MUST_CHECK;
/* Takes away what writers of this path left half written when they were killed (path.XXXXXX). For
 * who is the only one that writes there, before the first write. */
void atomic_file_sweep(const char *path);
/* The whole of a regular file of at most max_bytes, on the heap with a NUL behind it.
 * ERR_NOT_FOUND, ERR_TOO_LARGE or ERR_INTERNAL with t filled. */
enum err atomic_file_read(const char *path, size_t max_bytes, char **text, size_t *n,
                          struct err_text *t) MUST_CHECK;

#endif

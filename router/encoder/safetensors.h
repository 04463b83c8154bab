/* A strict reader, and a writer, of safetensors files (the format's own description:
 * huggingface.co/docs/safetensors). The file is untrusted: offsets must be contiguous from 0
 * without hole or overlap and end exactly at the file's end, sizes are overflow-checked products,
 * names are unique, NaN and infinities are refused where numbers are read.
 *
 * A file is read into memory of our own: no mapping survives, so that a file truncated later cannot
 * kill the process. Immutable after opening; any thread. */
#ifndef ROUTER_ENCODER_SAFETENSORS_H
#define ROUTER_ENCODER_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/slice.h"

enum tensor_dtype {
    TENSOR_F64,
    TENSOR_F32,
    TENSOR_F16,
    TENSOR_BF16,
    TENSOR_I64,
    TENSOR_I32,
    TENSOR_I16,
    TENSOR_I8,
    TENSOR_U8,
    TENSOR_BOOL,
    TENSOR_DTYPES,
};
const char *tensor_dtype_name(enum tensor_dtype d); /* as in the file: "F32" */
size_t tensor_dtype_bytes(enum tensor_dtype d);

#define TENSOR_MAX_RANK 8

struct tensor {
    struct slice name; /* decoded; borrowed from the file */
    enum tensor_dtype dtype;
    int rank;
    size_t shape[TENSOR_MAX_RANK];
    size_t count;      /* elements: the product of shape, 1 when rank is 0 */
    struct slice data; /* little-endian, not aligned; borrowed from the file */
};

struct safetensors;

/* ERR_BAD_WEIGHTS with t: what is wrong, and at which tensor or byte of the header; the file's name
 * comes first. */
enum err safetensors_open(const char *path, struct safetensors **out,
                          struct err_text *t) MUST_CHECK;
/* The same over bytes that the caller keeps alive and unchanged (tables inside the program). */
enum err safetensors_parse(struct slice bytes, struct safetensors **out,
                           struct err_text *t) MUST_CHECK;
void safetensors_free(struct safetensors *s); /* NULL is fine */

struct digest safetensors_digest(const struct safetensors *s); /* of the whole file */
size_t safetensors_count(const struct safetensors *s);
const struct tensor *safetensors_at(const struct safetensors *s, size_t i); /* in file order */
const struct tensor *safetensors_find(const struct safetensors *s, struct slice name); /* or NULL */
/* A value of __metadata__, decoded; {NULL, 0} when absent. Borrowed. */
struct slice safetensors_metadata(const struct safetensors *s, struct slice key);

/* Converts F64, F32, F16 or BF16 to float, out[count]. ERR_BAD_WEIGHTS: another dtype, or a value
 * that is not finite (its index is in t). */
enum err tensor_read_f32(const struct tensor *x, float *out, struct err_text *t) MUST_CHECK;

/* ---- writing ---- */

struct tensor_pair {
    struct slice key, value;
};
/* Writes tensors (their data sizes must match shape and dtype: an assert) and metadata to path,
 * atomically (a new file, renamed). Tensors are laid out in the given order. ERR_INTERNAL + t. */
enum err safetensors_write(const char *path, const struct tensor *tensors, size_t count,
                           const struct tensor_pair *metadata, size_t pairs,
                           struct err_text *t) MUST_CHECK;

#endif

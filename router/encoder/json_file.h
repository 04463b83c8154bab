/* A small JSON file of a model's folder, read whole, and its members with messages that name the
 * file and the key. A key that stands twice in the top-level object is refused: readers disagree
 * about which one counts. Single-threaded; owns its text until json_file_close. */
#ifndef ROUTER_ENCODER_JSON_FILE_H
#define ROUTER_ENCODER_JSON_FILE_H

#include "base/err.h"
#include "base/json_scan.h"

#define JSON_FILE_MAX_BYTES ((size_t)1 << 20)
#define JSON_FILE_PATH      4096

struct json_file {
    char path[JSON_FILE_PATH];
    char *text;             /* owned */
    struct json_value root; /* an object or an array, validated */
    struct err_text *t;     /* borrowed: where every getter says what is wrong */
};

/* ERR_NOT_FOUND: no such file; ERR_BAD_WEIGHTS: it cannot be read, or is not what root_type asks
 * for (JSON_OBJECT, JSON_ARRAY). t is filled for both. Nothing is to be closed after an error. */
enum err json_file_open(struct json_file *f, const char *folder, const char *name,
                        enum json_type root_type, struct err_text *t) MUST_CHECK;
void json_file_close(struct json_file *f);

/* Members of `object` (the root or one inside it). Absent or null: ERR_OK with *out as it was, or
 * ERR_BAD_WEIGHTS when required. Of another type or outside the bounds: ERR_BAD_WEIGHTS. */
enum err json_file_int(struct json_file *f, struct json_value object, const char *key,
                       bool required, int low, int high, int *out) MUST_CHECK;
enum err json_file_bool(struct json_file *f, struct json_value object, const char *key,
                        bool required, bool *out) MUST_CHECK;
enum err json_file_number(struct json_file *f, struct json_value object, const char *key,
                          bool required, double low, double high, double *out) MUST_CHECK;
/* Decoded, with NUL, without control characters but white space; at most out_bytes - 1. */
enum err json_file_string(struct json_file *f, struct json_value object, const char *key,
                          bool required, char *out, size_t out_bytes) MUST_CHECK;
/* False when absent or null. */
bool json_file_member(struct json_value object, const char *key, struct json_value *out);

/* "PATH: WHAT"; returns ERR_BAD_WEIGHTS. */
enum err json_file_refuse(const struct json_file *f, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif

/* weir.json in a model's folder: where the files came from and what they were. Written by 'weir
 * model fetch'; read by 'weir model verify' and, for the one key that changes what is computed
 * (prefix), by bert_config. Single-threaded; plain values. */
#ifndef ROUTER_ENCODER_MODEL_RECORD_H
#define ROUTER_ENCODER_MODEL_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include "base/digest.h"
#include "base/err.h"
#include "router/encoder/model_registry.h"

#define MODEL_RECORD_FILES 16

struct model_record_file {
    char path[128];
    uint64_t bytes;
    struct digest digest;
    bool pinned; /* the digest was known before the fetch; else it is what the fetch brought */
};

struct model_record {
    char model[64], source[1024], licence[64];
    struct model_record_file files[MODEL_RECORD_FILES];
    size_t count;
};

/* prefix "": none is written. ERR_INTERNAL with t. */
enum err model_record_write(const char *folder, const struct model_record *r, const char *prefix,
                            struct err_text *t) MUST_CHECK;
/* ERR_NOT_FOUND: no weir.json, or one without files (a folder made by hand); ERR_BAD_WEIGHTS: it is
 * damaged. Both with t. */
enum err model_record_read(const char *folder, struct model_record *out,
                           struct err_text *t) MUST_CHECK;

/* What one file of a folder is found to be. */
enum model_file_state {
    MODEL_FILE_PINNED,   /* it has the digest that weir knows */
    MODEL_FILE_RECORDED, /* it has the digest that was recorded when it came */
    MODEL_FILE_CHANGED,
    MODEL_FILE_MISSING,
};
typedef void (*model_record_fn)(const char *path, enum model_file_state state, void *ctx);

/* Digests every file that the registry's entry (may be NULL) or the folder's record names, pins
 * first. ERR_OK: all are right; ERR_BAD_WEIGHTS: one is not, t names it; ERR_NOT_FOUND: there is
 * neither record nor entry to hold them against. on_file may be NULL. */
enum err model_record_verify(const char *folder, const struct model_entry *known,
                             model_record_fn on_file, void *ctx, struct err_text *t) MUST_CHECK;

#endif

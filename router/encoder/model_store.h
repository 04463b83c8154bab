/* Where models lie on this machine. A model is a folder; it is asked for by name, or by a path
 * (anything with a slash).
 *
 * Names are looked for in $WEIR_MODELS, then $XDG_DATA_HOME/weir/models (without XDG_DATA_HOME:
 * ~/.local/share/weir/models), then /var/lib/weir/models. New ones go to $WEIR_MODELS; without it
 * root's go to /var/lib/weir/models, others' to the second. Reads the environment and the file
 * system; owns nothing. Not for workers. */
#ifndef ROUTER_ENCODER_MODEL_STORE_H
#define ROUTER_ENCODER_MODEL_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include "base/err.h"

#define MODEL_STORE_PATH_BYTES 4096
#define MODEL_STORE_NAME_BYTES 64

/* The model's folder, for bert_model_open and encoder_options.folder. ERR_NOT_FOUND with t: where
 * was looked, and the command that fetches it. */
enum err model_store_find(const char *name_or_path, char *out, size_t out_bytes,
                          struct err_text *t) MUST_CHECK;
/* Where new models go; the folder need not exist yet. ERR_NOT_FOUND: no HOME and no WEIR_MODELS. */
enum err model_store_home(char *out, size_t out_bytes, struct err_text *t) MUST_CHECK;
/* Letters, digits, '.', '_' and '-', not beginning with '.' or '-', shorter than
 * MODEL_STORE_NAME_BYTES. */
bool model_store_name_ok(const char *name);

/* Calls fn for each model of the search list, by name; of two with one name only that which
 * model_store_find gives. fn returns false to stop. */
typedef bool (*model_store_fn)(const char *name, const char *folder, void *ctx);
void model_store_each(model_store_fn fn, void *ctx);

#endif

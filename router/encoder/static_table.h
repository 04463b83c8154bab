/* The static tier: one vector per token, distilled from a transformer in the manner of model2vec
 * (github.com/MinishLab/model2vec: the transformer's output per token, PCA, Zipf/SIF weights); a
 * text is the mean of its tokens' vectors. About 3 microseconds a query. It may route, and it may
 * rule a cache lookup out; it never serves a cache hit: a mean does not see the order of words.
 *
 * The table inside the program makes a fresh, offline machine classify. Immutable; any thread. */
#ifndef ROUTER_ENCODER_STATIC_TABLE_H
#define ROUTER_ENCODER_STATIC_TABLE_H

#include <stdbool.h>
#include "base/err.h"
#include "router/encoder/fingerprint.h"
#include "router/encoder/wordpiece.h"

struct static_table;

/* The table that ships inside the program; opened once, never freed. */
const struct static_table *static_table_builtin(void);
/* ERR_BAD_WEIGHTS with t. */
enum err static_table_open(const char *path, struct static_table **out,
                           struct err_text *t) MUST_CHECK;
/* The same over bytes that the caller keeps alive and unchanged. */
enum err static_table_parse(struct slice bytes, struct static_table **out,
                            struct err_text *t) MUST_CHECK;
void static_table_free(struct static_table *s); /* NULL is fine; not the built-in one */

int static_table_dim(const struct static_table *s);
struct fingerprint static_table_space(const struct static_table *s);
const struct wordpiece *static_table_tokenizer(const struct static_table *s);

/* out[dim]: unit length, or all zero when the text has no known token (then false). Texts longer
 * than STATIC_MAX_TOKENS are cut there. */
#define STATIC_MAX_TOKENS 512
bool static_table_embed(const struct static_table *s, struct slice text, float *out,
                        struct wordpiece_counts *counts);

#endif

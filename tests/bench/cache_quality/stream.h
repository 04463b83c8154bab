/* A stream of questions of which it is known which share an answer: texts, classes, vectors by the
 * product's encoder, and each text's nearest others. For the benchmark only; one thread. */
#ifndef BENCH_CACHE_QUALITY_STREAM_H
#define BENCH_CACHE_QUALITY_STREAM_H

#include "base/err.h"
#include "cache/guard.h"

#define STREAM_NEAREST 192 /* of each text: the stored ones among them are its neighbours */

struct stream_near {
    int index;
    float cosine;
};

struct stream {
    char *name;
    int count;
    struct slice *texts;         /* owned, with their bytes */
    int *classes;                /* equal: one answer serves both */
    struct guard_facts *facts;   /* read once */
    struct stream_near *nearest; /* [count][STREAM_NEAREST], nearest first */
    int *order;                  /* of arrival; stream_shuffle */
    char *bytes;
    char *kept; /* owned: what the kept files' names begin with; NULL without a folder for them */
};

struct stream_options {
    const char *model;     /* a folder or name */
    const char *precision; /* of the encoder, by its name */
    /* Folder where neighbours are kept for the next run (KEPT.nearest), and vectors for other
     * programs (KEPT.vectors, float32 [count][dim]); NULL: nowhere. */
    const char *keep;
};
/* JSON lines {"text", "cls"}. ERR_BAD_REQUEST with t naming the line. */
enum err stream_open(const char *path, const struct stream_options *opt, struct stream *out,
                     struct err_text *t) MUST_CHECK;
void stream_clear(struct stream *s);
/* Another order of arrival for each seed; the first one in the file is never the first to arrive by
 * rule. */
void stream_shuffle(struct stream *s, uint64_t seed);
/* The present order to KEPT.order (int32 [count]). */
enum err stream_keep_order(const struct stream *s, struct err_text *t) MUST_CHECK;

#endif

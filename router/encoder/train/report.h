/* An evaluation in words, for people and for machines. Pure: text into a buffer. */
#ifndef ROUTER_ENCODER_TRAIN_REPORT_H
#define ROUTER_ENCODER_TRAIN_REPORT_H

#include "base/buf.h"
#include "router/encoder/train/evaluation.h"

/* What was evaluated; borrowed. */
struct report_facts {
    const struct heads *heads;
    const struct evaluation *e;
    const char *rows_are; /* "held-out rows", "rows of the cross-validation" ... */
    const char *data;     /* the files' names, for the heading; may be "" */
    const char *training; /* one line on how the heads were trained; "" in an evaluation */
};

#define REPORT_MAX_BYTES ((size_t)8 << 20)

/* ERR_TOO_LARGE beyond the buffer's maximum. */
/* A few lines: the figures that matter. */
enum err report_summary(const struct report_facts *f, struct buf *out) MUST_CHECK;
/* Markdown: all figures, a table of classes, the pairs that are confused most, reliability, models.
 */
enum err report_markdown(const struct report_facts *f, struct buf *out) MUST_CHECK;
/* One JSON object. compact: without tables and confusions, for a head's metadata. */
enum err report_json(const struct report_facts *f, bool compact, struct buf *out) MUST_CHECK;
/* A reliability diagram, self-contained SVG: said against came true, with the rows per bin. model:
 * the index of a model, or REPORT_CLASS for the chosen class. */
#define REPORT_CLASS ((size_t)-1)
enum err report_svg(const struct report_facts *f, size_t model, struct buf *out) MUST_CHECK;

#endif

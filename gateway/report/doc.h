/* A document of sections, paragraphs, tables and pictures that is written as Markdown or as one
 * HTML file. Text is plain: what the formats would obey is escaped on the way in. Bounded by
 * DOC_BYTES; what does not fit makes doc_end fail. Single-threaded. */
#ifndef GATEWAY_REPORT_DOC_H
#define GATEWAY_REPORT_DOC_H

#include "base/buf.h"

#define DOC_BYTES ((size_t)64 << 20)

enum doc_format { DOC_MARKDOWN, DOC_HTML };
struct doc {
    enum doc_format format;
    struct buf out;
    enum err err;
    int columns, column;
};

void doc_begin(struct doc *d, enum doc_format format, const char *title);
void doc_section(struct doc *d, const char *title);
void doc_text(struct doc *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A paragraph that must not be missed. */
void doc_warning(struct doc *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Heads of columns, separated by '|'; those that begin with '>' hold numbers. Then the cells, row
 * by row. */
void doc_table(struct doc *d, const char *heads);
void doc_cell(struct doc *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void doc_table_end(struct doc *d);
/* An SVG element as it is; only HTML has pictures. */
void doc_picture(struct doc *d, struct slice svg);
enum err doc_end(struct doc *d) MUST_CHECK;
void doc_clear(struct doc *d);

#endif

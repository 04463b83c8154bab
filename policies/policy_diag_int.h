/* Collecting what is wrong with a policy. Inside this room only; policy_load.h has the public part.
 * Single-threaded. A diagnostic is always one line; longer text from the file enters it through
 * diag_quote or diag_clean, which cut. */
#ifndef POLICIES_POLICY_DIAG_INT_H
#define POLICIES_POLICY_DIAG_INT_H

#include "base/arena.h"
#include "policies/policy_load.h"

#define DIAGS_MAX 500 /* a file of noise must not produce a report of megabytes */

struct diag_place {
    const char *file;
    int line, column; /* 0: the whole file */
    const char *path; /* "" or NULL: the whole file */
};

/* hint may be NULL; it is copied. */
void diags_add(struct diags *d, enum diag_severity severity, struct diag_place place,
               const char *hint, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Sorts by place and drops what an alias made appear twice. */
void diags_finish(struct diags *d);

/* 'text' for a message: control and non-UTF-8 bytes become '?', long text is cut. In a's memory. */
const char *diag_quote(struct arena *a, struct slice text);
/* The same without the quotes, for keys in paths. */
const char *diag_clean(struct arena *a, struct slice text);

#endif

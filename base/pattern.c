/* Owns compiled PCRE2 patterns. Called by schema validation and by validators with a pattern. */
#include "base/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include "base/mem.h"

/* A search of a page of text needs thousands of steps; a pattern that backtracks without end needs
 * all it gets. These are some milliseconds. */
#define MATCH_STEPS    100000
#define MATCH_HEAP_KIB 8192

/* Where PCRE2 differs from ECMA-262: \u escapes, empty classes, references to groups that did not
 * match, $ before a last line end. */
#define ECMA_OPTIONS                                                                               \
    (PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |            \
     PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C)

struct pattern {
    pcre2_code *code; /* owned */
};

struct pattern *pattern_new(struct slice text, struct err_text *why)
{
    struct pattern *p;
    pcre2_code *code;
    PCRE2_SIZE at;
    int err;

    if (text.n > PATTERN_MAX_BYTES) {
        err_say(why, "longer than %d bytes", PATTERN_MAX_BYTES);
        return NULL;
    }
    code = pcre2_compile((PCRE2_SPTR)(text.n ? text.p : ""), text.n, ECMA_OPTIONS, &err, &at, NULL);
    if (!code) {
        PCRE2_UCHAR words[200];

        pcre2_get_error_message(err, words, sizeof words);
        err_say(why, "%s at byte %zu", (const char *)words, (size_t)at);
        return NULL;
    }
    p = mem_alloc(sizeof *p);
    p->code = code;
    return p;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    free(p);
}

enum pattern_found pattern_search(const struct pattern *p, struct slice text)
{
    pcre2_match_data *found = pcre2_match_data_create(1, NULL);
    pcre2_match_context *limits = pcre2_match_context_create(NULL);
    int rc;

    mem_need(found);
    mem_need(limits);
    pcre2_set_match_limit(limits, MATCH_STEPS);
    pcre2_set_heap_limit(limits, MATCH_HEAP_KIB);
    rc = pcre2_match(p->code, (PCRE2_SPTR)(text.n ? text.p : ""), text.n, 0, 0, found, limits);
    pcre2_match_context_free(limits);
    pcre2_match_data_free(found);
    return rc >= 0 ? PATTERN_FOUND : rc == PCRE2_ERROR_NOMATCH ? PATTERN_ABSENT : PATTERN_UNDECIDED;
}

/* Which entries an operator means: every condition that is named must hold. Pure. */
#ifndef CACHE_ADMIN_FILTER_H
#define CACHE_ADMIN_FILTER_H

#include "cache/cache_entry.h"

enum admin_condition {
    ADMIN_BY_SCOPE = 1 << 0,
    ADMIN_BY_TAG = 1 << 1,
    ADMIN_BY_MODEL = 1 << 2,
    ADMIN_BY_ROUTE = 1 << 3,
    ADMIN_BY_CLASS = 1 << 4,
    ADMIN_BY_TEXT = 1 << 5,   /* how the question begins; letters A-Z of either case */
    ADMIN_BY_ID = 1 << 6,     /* how the id begins, hex digits */
    ADMIN_BY_ANSWER = 1 << 7, /* all keys of one answer */
    ADMIN_BY_SOURCE = 1 << 8,
    ADMIN_BY_PINNED = 1 << 9,
    ADMIN_BY_QUARANTINED = 1 << 10,
    ADMIN_BY_OLDER = 1 << 11, /* created before that moment */
    ADMIN_BY_NEWER = 1 << 12, /* created at or after it */
};

struct admin_filter {
    unsigned by; /* of enum admin_condition; 0: everything */
    struct slice scope, tag, model, route, class_label, text, id; /* owner: whoever holds this */
    uint64_t answer;
    enum cache_source source;
    bool pinned, quarantined;
    int64_t older_ms, newer_ms; /* Unix time */
};

bool admin_filter_matches(const struct admin_filter *want, const struct cache_fields *f);

#endif

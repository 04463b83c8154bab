/* What one replica learned or counted, as a record that all who share its store read
 * (store_append). Of this machine's byte order and layout, like what risk_save writes; anything
 * that is not exactly such bytes, or holds what nobody could have learned, is refused. Pure. */
#ifndef CACHE_CACHE_LEARNED_H
#define CACHE_CACHE_LEARNED_H

#include "cache/risk.h"

enum cache_learned_kind { CACHE_LEARNED_LABEL = 1, CACHE_LEARNED_COUNTS };

struct cache_learned {
    enum cache_learned_kind kind;
    uint64_t writer; /* a process, by a number that it drew */
    struct risk_label label;
    struct risk_counts counts; /* of the writer, since its last such record */
};

/* What it is stored as; the members of the other kind are 0. */
struct cache_learned_bytes {
    char magic[8];
    uint64_t writer, answer, requests;
    double risked, p, audit_share, weight;
    float features[RISK_FEATURES];
    uint8_t kind, word, right, spare[5];
};

void cache_learned_write(const struct cache_learned *l, struct cache_learned_bytes *out);
bool cache_learned_read(struct slice record, struct cache_learned *out);

#endif

/* See the header. Called by cache_budgets.c. */
#include "cache/cache_learned.h"

#include <math.h>
#include <string.h>

#define MAGIC        "weirlrn1"
#define MAX_REQUESTS 1000000000u /* of one record */
#define MAX_WEIGHT   100.0

void cache_learned_write(const struct cache_learned *l, struct cache_learned_bytes *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->magic, MAGIC, sizeof out->magic);
    out->kind = (uint8_t)l->kind;
    out->writer = l->writer;
    if (l->kind == CACHE_LEARNED_COUNTS) {
        out->requests = l->counts.requests;
        out->risked = l->counts.risked;
        return;
    }
    out->answer = l->label.answer;
    out->p = fmin(1, fmax(0, l->label.p)); /* of a label that is no audit it may be anything */
    out->audit_share = l->label.audit_share;
    out->weight = l->label.weight;
    out->word = l->label.word;
    out->right = l->label.right;
    memcpy(out->features, l->label.features, sizeof out->features);
}

static bool is_share(double x)
{
    return x >= 0 && x <= 1; /* and so a number */
}

static bool is_label(const struct cache_learned_bytes *b)
{
    for (int i = 0; i < RISK_FEATURES; i++)
        if (!isfinite(b->features[i]))
            return false;
    return b->kind == CACHE_LEARNED_LABEL && b->answer != 0 && is_share(b->p) &&
           is_share(b->audit_share) && b->weight >= 0 && b->weight <= MAX_WEIGHT && b->word <= 1 &&
           b->right <= 1;
}

static bool are_counts(const struct cache_learned_bytes *b)
{
    return b->kind == CACHE_LEARNED_COUNTS && b->requests <= MAX_REQUESTS && b->risked >= 0 &&
           b->risked <= (double)b->requests;
}

bool cache_learned_read(struct slice record, struct cache_learned *out)
{
    struct cache_learned_bytes b;

    if (record.n != sizeof b)
        return false;
    memcpy(&b, record.p, sizeof b);
    if (memcmp(b.magic, MAGIC, sizeof b.magic) != 0 || (!is_label(&b) && !are_counts(&b)))
        return false;
    *out = (struct cache_learned){
        .kind = (enum cache_learned_kind)b.kind,
        .writer = b.writer,
        .label = {.answer = b.answer,
                  .p = b.p,
                  .audit_share = b.audit_share,
                  .weight = b.weight,
                  .word = b.word,
                  .right = b.right},
        .counts = {.requests = b.requests, .risked = b.risked},
    };
    memcpy(out->label.features, b.features, sizeof b.features);
    return true;
}

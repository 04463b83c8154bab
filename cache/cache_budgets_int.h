/* The inside of struct cache_budgets, shared by cache_budgets.c (which there are) and
 * cache_budgets_notes.c (what they learn, and what outlives the process). Nobody else includes it.
 */
#ifndef CACHE_CACHE_BUDGETS_INT_H
#define CACHE_CACHE_BUDGETS_INT_H

#include "cache/cache_budgets.h"

#define MAX_BUDGETS 256 /* scopes with a risk of their own; later ones share one */

enum recall { RECALL_WANTED, RECALL_UNDER_WAY, RECALL_DONE };

struct budget {
    char *scope; /* owned */
    size_t scope_bytes;
    double max_error, audit_min;
    size_t max_answers;
    struct risk *risk; /* owned */
    struct cache_budgets *of;
    char note[48]; /* its name, as of its record */
    enum recall recall;
    /* Of a shared store: how far the record has been heard; what is in the note is what had been
     * heard up to a place. */
    struct store_place heard;
    bool reading, knows_gap;
    bool owes_read; /* there is more, or of our own */
    int64_t read_us, told_us;
    uint64_t labels, noted_labels; /* since the start; of them in the note */
    bool warm, alarm;              /* as the log has them */
    int64_t noted_us;
};

struct cache_budgets {
    struct store *store; /* borrowed */
    uint64_t writer;     /* who we are in the records */
    uint8_t fingerprint[CACHE_FINGERPRINT_BYTES];
    struct budget *root;
    struct budget *own[MAX_BUDGETS + 1]; /* owned; the last is shared by all further scopes */
    size_t count;                        /* of own, but for the shared one */
    uint64_t quarantined;
    size_t writing; /* notes and records that the store has not confirmed */
    size_t turn;    /* of the next one that may write its note */
};

struct budget *cache_budgets_number(const struct cache_budgets *b, unsigned number); /* NULL */
void cache_budgets_recall(struct budget *x); /* asks for its note, once; NULL is fine */

#endif

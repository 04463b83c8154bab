/* What a replica has told others that it spent in a day or a month, and what they told it: the
 * arithmetic of router/spends_share.h, without the store. Each replica has fields of its own in a
 * table that all read, "REPLICA KIND NAME" with a sum in nano-dollars: absolute, so that one that
 * is written twice counts once. One thread. */
#ifndef ROUTER_SPENDS_SHEET_H
#define ROUTER_SPENDS_SHEET_H

#include "base/buf.h"
#include "base/slice.h"
#include "router/spends.h"

#define SPENDS_ID_BYTES 16 /* of a replica: hexadecimal digits */
/* No sum that is told or believed is greater, so that what is restored cannot wrap. */
#define SPENDS_MOST (INT64_C(1000000000) * NANOUSD_PER_USD)

struct sheet_row {
    enum spends_kind kind;
    struct spend *spend; /* borrowed */
    bool met;            /* the table was read since this row is here: what it has of us is known */
    nanousd filled;      /* what was booked when the row came: the ledger's */
    nanousd told;        /* what the table has of us */
    nanousd ours, others; /* while it is read */
};

struct spends_sheet {
    enum spend_period kind;
    int64_t period;         /* its number; -1: not begun */
    struct sheet_row *rows; /* owned; by kind and name */
    size_t count;
    size_t strange; /* fields and sums that make no sense, of the last reading */
};

void spends_sheet_init(struct spends_sheet *sh, enum spend_period kind);
void spends_sheet_clear(struct spends_sheet *sh);
/* Goes on to the period of that time, never back, and takes in names that are new. true: the table
 * must be read. */
bool spends_sheet_turn(struct spends_sheet *sh, struct spends *s, int64_t wall_us);
/* The next row from *at on whose sum is to be told; NULL: no more. Advances *at behind it, and
 * takes it that the sum is told: the caller writes row->told. */
const struct sheet_row *spends_sheet_due(struct spends_sheet *sh, size_t *at);
bool spends_sheet_has_due(const struct spends_sheet *sh);
/* A row's field of that replica. */
enum err spends_sheet_field(const struct sheet_row *row, const char *id,
                            struct buf *out) MUST_CHECK;

/* The table as it is now: begin, each field, end. What it lacks of ours is due again; what it has
 * from a process before this one, and the ledger not, is counted as ours; what others have spent is
 * heard. false: it has more of ours than was ever told: another process tells under this id, and
 * the caller takes a new one. */
void spends_sheet_read_begin(struct spends_sheet *sh);
void spends_sheet_read(struct spends_sheet *sh, const char *id, struct slice field,
                       struct slice value);
bool spends_sheet_read_end(struct spends_sheet *sh, nanousd *restored);
/* Under a new id all is to be told. */
void spends_sheet_forget_told(struct spends_sheet *sh);

#endif

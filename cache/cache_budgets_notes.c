/* What budgets learn, and how it reaches who comes after and who works beside. Called by
 * cache_meaning.c, on the cache thread; the store calls back.
 *
 *   a file of our own   label -> learned at once -> note, from time to time
 *   a shared store      label -> record, which all append to -> read, by all in one order ->
 * learned requests counted, from time to time --^       | note: what was learned up to a place
 * ---------'
 *
 * In a shared store each replica's state is what the record says up to the place that it has read,
 * beside the p of its own requests: so any note may take the place of any other, and whoever begins
 * with a note reads on from its place. When the place is gone from the record (of which
 * STORE_RECORDS are kept) somebody's newer note has what lies between, if anything has. What cannot
 * be appended is learned here alone. */
#include "cache/cache_budgets_int.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "cache/cache_learned.h"

#define SAVE_EVERY_US INT64_C(60000000)
#define READ_EVERY_US INT64_C(1000000)
#define TELL_EVERY_US                                                                              \
    INT64_C(10000000)     /* requests that were counted; or as soon as they are ...                \
                           */
#define TELL_REQUESTS 100 /* ... so many */

/* ---- learning ---- */

/* A scope's name is a tenant's: it is no secret. */
static void tell_turns(struct budget *x)
{
    char scope[96];
    struct risk_facts f;

    risk_facts(x->risk, &f);
    log_quote(slice_make(x->scope, x->scope_bytes), scope, sizeof scope);
    if (f.warm && !x->warm)
        log_line(LOG_INFO, "cache", "warm: answers by meaning are served from now on",
                 "scope=%s labels=%llu", scope, (unsigned long long)f.labels);
    if (f.alarm && !x->alarm)
        log_line(LOG_ERROR, "cache",
                 "alarm: more wrong answers by meaning than allowed; none is served",
                 "scope=%s error=%.4f low=%.4f max_error=%.4f", scope, f.error, f.error_low,
                 x->max_error);
    if (!f.alarm && x->alarm)
        log_line(LOG_INFO, "cache", "the alarm is over", "scope=%s error=%.4f", scope, f.error);
    x->warm = f.warm;
    x->alarm = f.alarm;
}

static void learn(struct budget *x, const struct risk_label *l)
{
    struct cache_budgets *b = x->of;

    x->labels++;
    if (x == b->root) {
        risk_pool(x->risk, l);
        return;
    }
    bool was_good = !risk_quarantined(x->risk, l->answer);
    risk_learn(x->risk, l);
    if (was_good && risk_quarantined(x->risk, l->answer)) {
        b->quarantined++;
        log_line(LOG_WARN, "cache", "an answer was wrong too often: it is served no more",
                 "answer=%llx", (unsigned long long)l->answer);
    }
    tell_turns(x);
}

/* ---- the record ---- */

/* One that is on its way to the record. */
struct telling {
    struct budget *x;
    struct cache_learned what;
};

static void on_told(void *ctx, enum err err, uint64_t value)
{
    struct telling *t = ctx;

    (void)value;
    t->x->of->writing--;
    t->x->owes_read = true;
    if (err != ERR_OK && t->what.kind == CACHE_LEARNED_LABEL)
        learn(t->x, &t->what.label);
    free(t);
}

static void tell(struct budget *x, const struct cache_learned *what)
{
    struct telling *t = mem_alloc(sizeof *t);
    struct cache_learned_bytes bytes;

    *t = (struct telling){x, *what};
    t->what.writer = x->of->writer;
    cache_learned_write(&t->what, &bytes);
    x->of->writing++;
    store_append(x->of->store, slice_str(x->note), slice_make((const char *)&bytes, sizeof bytes),
                 on_told, t);
}

static void tell_counts(struct budget *x, int64_t now_us)
{
    uint64_t n = risk_untold(x->risk);

    if (n < TELL_REQUESTS && (n == 0 || now_us - x->told_us < TELL_EVERY_US))
        return;
    x->told_us = now_us;
    tell(x, &(struct cache_learned){.kind = CACHE_LEARNED_COUNTS,
                                    .counts = risk_take_counts(x->risk)});
}

static void hear(struct budget *x, const struct cache_learned *l)
{
    if (l->kind == CACHE_LEARNED_LABEL)
        learn(x, &l->label);
    else if (l->writer != x->of->writer)
        risk_count(x->risk, &l->counts);
}

static void on_records(void *ctx, enum err err, const struct slice *record, size_t n,
                       struct store_place last, bool gap)
{
    struct budget *x = ctx;
    struct cache_learned l;

    x->reading = false;
    if (err != ERR_OK)
        return;
    if (gap && n > 0 && !x->knows_gap) {
        x->knows_gap = true;
        x->recall = RECALL_WANTED; /* of somebody who was quicker */
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (cache_learned_read(record[i], &l))
            hear(x, &l);
    x->heard = last;
    x->knows_gap = x->knows_gap && n == 0;
    x->owes_read = x->owes_read || n >= STORE_MAX_RECORDS - 1;
}

static void read_on(struct budget *x, int64_t now_us)
{
    bool due = x->owes_read || now_us - x->read_us >= READ_EVERY_US;

    if (!due || x->reading || x->recall != RECALL_DONE)
        return;
    x->reading = true;
    x->owes_read = false;
    x->read_us = now_us;
    store_read(x->of->store, slice_str(x->note), x->heard, on_records, x);
}

void cache_budgets_learn(struct cache_budgets *b, unsigned number, const struct risk_label *l)
{
    struct budget *x = cache_budgets_number(b, number), *both[] = {x, b->root};

    if (!x)
        return;
    for (size_t i = 0; i < 2; i++)
        if (b->store->shared)
            tell(both[i], &(struct cache_learned){.kind = CACHE_LEARNED_LABEL, .label = *l});
        else
            learn(both[i], l);
}

/* ---- notes ---- */

#define PLACED "weirnot1" /* before the place of a note in a shared store */

static uint64_t labels_of(const struct risk *r)
{
    struct risk_facts f;

    risk_facts(r, &f);
    return f.labels;
}

/* Into a risk of its own first: what is there stays when it stands on more. */
static bool load_if_more(struct budget *x, struct slice saved)
{
    struct risk_options opt = {
        .max_error = x->max_error, .audit_min = x->audit_min, .max_answers = x->max_answers};
    struct risk *before = risk_new(&opt, NULL);
    bool good = risk_load(before, saved) == ERR_OK;

    if (good && labels_of(before) > labels_of(x->risk))
        good = risk_load(x->risk, saved) == ERR_OK;
    risk_free(before);
    return good;
}

/* What had been heard up to a place; nothing happens when that is no further than we are. */
static bool load_if_later(struct budget *x, struct slice saved)
{
    struct store_place place;

    if (!slice_starts(saved, SLICE(PLACED)) || saved.n < sizeof PLACED - 1 + sizeof place)
        return load_if_more(x, saved); /* of an earlier weir */
    saved = slice_from(saved, sizeof PLACED - 1);
    memcpy(&place, saved.p, sizeof place);
    if (!store_place_before(x->heard, place))
        return true;
    if (risk_load(x->risk, slice_from(saved, sizeof place)) != ERR_OK)
        return false;
    x->heard = place;
    return true;
}

static void on_recalled(void *ctx, enum err err, struct slice saved)
{
    struct budget *x = ctx;
    bool shared = x->of->store->shared;

    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        x->recall = RECALL_WANTED; /* once more at the next tick */
        return;
    }
    x->recall = RECALL_DONE;
    if (err == ERR_OK && !(shared ? load_if_later(x, saved) : load_if_more(x, saved)))
        log_line(LOG_WARN, "cache", "what was learned about answers cannot be read; starting anew",
                 NULL);
}

void cache_budgets_recall(struct budget *x)
{
    if (!x || x->recall != RECALL_WANTED)
        return;
    x->recall = RECALL_UNDER_WAY;
    store_recall(x->of->store, slice_str(x->note), on_recalled, x);
}

static void on_noted(void *ctx, enum err err, uint64_t value)
{
    struct cache_budgets *b = ctx;

    (void)err, (void)value;
    b->writing--;
}

/* Not before the old note was read: it may know more. */
static bool is_newer(const struct budget *x)
{
    return x && x->recall == RECALL_DONE && x->labels != x->noted_labels;
}

static void note(struct cache_budgets *b, struct budget *x)
{
    size_t head = b->store->shared ? sizeof PLACED - 1 + sizeof x->heard : 0,
           n = head + risk_save_bytes(x->risk);
    char *saved = mem_alloc(n);

    if (head > 0) {
        memcpy(saved, PLACED, sizeof PLACED - 1);
        memcpy(saved + sizeof PLACED - 1, &x->heard, sizeof x->heard);
    }
    risk_save(x->risk, saved + head);
    store_note(b->store, slice_str(x->note), slice_make(saved, n), on_noted, b);
    b->writing++;
    free(saved);
    x->noted_labels = x->labels;
}

/* One a tick, for one is a millisecond or two. */
static void note_next(struct cache_budgets *b, int64_t now_us)
{
    for (size_t tried = 0; tried < MAX_BUDGETS + 2; tried++) {
        size_t i = b->turn++ % (MAX_BUDGETS + 2);
        struct budget *x = i <= MAX_BUDGETS ? b->own[i] : b->root;
        if (is_newer(x) && now_us - x->noted_us >= SAVE_EVERY_US) {
            x->noted_us = now_us;
            note(b, x);
            return;
        }
    }
}

static void tend(struct budget *x, int64_t now_us)
{
    if (!x)
        return;
    cache_budgets_recall(x);
    if (!x->of->store->shared)
        return;
    if (x != x->of->root)
        tell_counts(x, now_us);
    read_on(x, now_us);
}

void cache_budgets_tick(struct cache_budgets *b, bool current, int64_t now_us)
{
    if (!current)
        return;
    tend(b->root, now_us);
    for (size_t i = 0; i <= MAX_BUDGETS; i++)
        tend(b->own[i], now_us);
    note_next(b, now_us);
}

void cache_budgets_save(struct cache_budgets *b)
{
    if (is_newer(b->root))
        note(b, b->root);
    for (size_t i = 0; i <= MAX_BUDGETS; i++)
        if (is_newer(b->own[i]))
            note(b, b->own[i]);
}

bool cache_budgets_writing(const struct cache_budgets *b)
{
    return b->writing > 0;
}

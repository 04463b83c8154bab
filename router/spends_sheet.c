/* Rows sorted by name, made anew when there are more names. Called by spends_share.c. */
#include "router/spends_sheet.h"

#include <stdlib.h>
#include "base/mem.h"

static const char kind_letter[SPENDS_KINDS] = {'t', 'c'};

void spends_sheet_init(struct spends_sheet *sh, enum spend_period kind)
{
    *sh = (struct spends_sheet){.kind = kind, .period = -1};
}

void spends_sheet_clear(struct spends_sheet *sh)
{
    free(sh->rows);
    spends_sheet_init(sh, sh->kind);
}

/* ---- rows ---- */

static nanousd own_sum(const struct spends_sheet *sh, const struct spend *spend)
{
    nanousd sum = spend_booked(spend, sh->kind, sh->period);

    return sum < SPENDS_MOST ? sum : SPENDS_MOST;
}

static int compare(enum spends_kind kind, struct slice name, const struct sheet_row *row)
{
    struct slice other = slice_str(row->spend->name);
    size_t n = name.n < other.n ? name.n : other.n;
    int by_bytes = n ? memcmp(name.p, other.p, n) : 0;

    if (kind != row->kind)
        return kind < row->kind ? -1 : 1;
    return by_bytes ? by_bytes : (name.n > other.n) - (name.n < other.n);
}

static int compare_rows(const void *a, const void *b)
{
    const struct sheet_row *x = a;

    return compare(x->kind, slice_str(x->spend->name), b);
}

static struct sheet_row *find_row(const struct spends_sheet *sh, size_t count,
                                  enum spends_kind kind, struct slice name)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int c = compare(kind, name, &sh->rows[mid]);

        if (c == 0)
            return &sh->rows[mid];
        if (c < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

struct survey {
    struct spends_sheet *sheet;
    size_t names, old; /* old: rows that were there before */
    int64_t latest;
};

static void look_at(void *ctx, enum spends_kind kind, struct spend *spend)
{
    struct survey *v = ctx;
    int64_t period = spend_page_period(spend, v->sheet->kind);

    (void)kind;
    v->names++;
    if (period > v->latest)
        v->latest = period;
}

static void add_new(void *ctx, enum spends_kind kind, struct spend *spend)
{
    struct survey *v = ctx;
    struct spends_sheet *sh = v->sheet;

    if (sh->count == v->names || find_row(sh, v->old, kind, slice_str(spend->name)))
        return;
    sh->rows[sh->count++] =
        (struct sheet_row){.kind = kind, .spend = spend, .filled = own_sum(sh, spend)};
}

bool spends_sheet_turn(struct spends_sheet *sh, struct spends *s, int64_t wall_us)
{
    struct survey v = {.sheet = sh, .latest = spend_period_of(sh->kind, wall_us)};
    bool turned;

    spends_each(s, look_at, &v);
    turned = v.latest > sh->period;
    if (turned) {
        sh->period = v.latest;
        spends_sheet_forget_told(sh);
        for (size_t i = 0; i < sh->count; i++)
            sh->rows[i].filled = own_sum(sh, sh->rows[i].spend);
    }
    v.old = sh->count;
    if (v.names == sh->count)
        return turned;
    sh->rows = mem_resize(sh->rows, v.names, sizeof *sh->rows);
    spends_each(s, add_new, &v);
    qsort(sh->rows, sh->count, sizeof *sh->rows, compare_rows);
    return true;
}

void spends_sheet_forget_told(struct spends_sheet *sh)
{
    for (size_t i = 0; i < sh->count; i++)
        sh->rows[i].told = 0;
}

/* ---- telling ---- */

static bool is_due(const struct spends_sheet *sh, const struct sheet_row *row)
{
    return row->met && own_sum(sh, row->spend) > row->told;
}

const struct sheet_row *spends_sheet_due(struct spends_sheet *sh, size_t *at)
{
    for (; *at < sh->count; ++*at) {
        struct sheet_row *row = &sh->rows[*at];

        if (!is_due(sh, row))
            continue;
        row->told = own_sum(sh, row->spend);
        ++*at;
        return row;
    }
    return NULL;
}

bool spends_sheet_has_due(const struct spends_sheet *sh)
{
    for (size_t i = 0; i < sh->count; i++)
        if (is_due(sh, &sh->rows[i]))
            return true;
    return false;
}

enum err spends_sheet_field(const struct sheet_row *row, const char *id, struct buf *out)
{
    return buf_printf(out, "%s %c %s", id, kind_letter[row->kind], row->spend->name);
}

/* ---- hearing ---- */

void spends_sheet_read_begin(struct spends_sheet *sh)
{
    sh->strange = 0;
    for (size_t i = 0; i < sh->count; i++)
        sh->rows[i].ours = sh->rows[i].others = 0;
}

/* Digits alone, and no more than SPENDS_MOST. */
static bool parse_sum(struct slice text, nanousd *out)
{
    nanousd sum = 0;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9' || sum > SPENDS_MOST / 10)
            return false;
        sum = sum * 10 + (text.p[i] - '0');
    }
    *out = sum;
    return text.n > 0 && sum <= SPENDS_MOST;
}

/* "REPLICA KIND NAME" */
static bool parse_field(struct slice field, struct slice *id, enum spends_kind *kind,
                        struct slice *name)
{
    size_t letter = SPENDS_ID_BYTES + 1;

    if (field.n < letter + 2 || field.p[letter - 1] != ' ' || field.p[letter + 1] != ' ')
        return false;
    *id = slice_make(field.p, SPENDS_ID_BYTES);
    *name = slice_from(field, letter + 2);
    for (int k = 0; k < SPENDS_KINDS; k++)
        if (field.p[letter] == kind_letter[k]) {
            *kind = (enum spends_kind)k;
            return true;
        }
    return false;
}

void spends_sheet_read(struct spends_sheet *sh, const char *id, struct slice field,
                       struct slice value)
{
    struct slice whose, name;
    enum spends_kind kind;
    struct sheet_row *row;
    nanousd sum;

    if (!parse_field(field, &whose, &kind, &name) || !parse_sum(value, &sum)) {
        sh->strange++;
        return;
    }
    row = find_row(sh, sh->count, kind, name);
    if (!row)
        return; /* of a policy that only the other has */
    if (slice_eq(whose, slice_str(id)))
        row->ours = sum;
    else
        row->others = money_add(row->others, sum);
}

bool spends_sheet_read_end(struct spends_sheet *sh, nanousd *restored)
{
    bool alone = true;

    *restored = 0;
    for (size_t i = 0; i < sh->count; i++) {
        struct sheet_row *row = &sh->rows[i];

        if (row->met && row->ours > row->told)
            alone = false;
        if (!row->met && row->ours > row->filled) {
            spend_restore(row->spend, sh->kind, sh->period, row->ours - row->filled);
            *restored = money_add(*restored, row->ours - row->filled);
        }
        row->met = true;
        row->told = row->ours;
        spend_hear(row->spend, sh->kind, sh->period, row->others);
    }
    return alone;
}

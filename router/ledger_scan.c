/* Called by commands that look at many requests. */
#include "router/ledger_scan.h"

#include <string.h>
#include "router/ledger_read_int.h"

#define PAGE 500 /* requests */

static const char first_sql[] =
    "SELECT min(id), max(id) FROM requests WHERE received_wall_us >= ? AND received_wall_us < ?";
static const char page_sql[] =
    "SELECT " LEDGER_REQUEST_COLUMNS " FROM requests WHERE id >= ? AND id <= ?"
    " AND received_wall_us >= ? AND received_wall_us < ? ORDER BY id LIMIT ?";

enum statement { FIRST, PAGE_OF, ATTEMPTS, DECISIONS, OUTCOMES, STATEMENTS };

struct scan {
    struct ledger_reader *r;
    const struct ledger_scan *how;
    sqlite3_stmt *stmt[STATEMENTS];
    struct arena arena; /* of a page */
    int64_t next, last; /* row ids */
};

struct found {
    int64_t id;
    struct ledger_request request;
};

static enum err prepare_all(struct scan *s, struct err_text *t)
{
    static const char *const sql[STATEMENTS] = {[FIRST] = first_sql,
                                                [PAGE_OF] = page_sql,
                                                [ATTEMPTS] = ledger_attempts_sql,
                                                [DECISIONS] = ledger_decisions_sql,
                                                [OUTCOMES] = ledger_outcomes_sql};
    enum err err = ERR_OK;

    for (int i = 0; i < STATEMENTS && err == ERR_OK; i++)
        err = ledger_prepare(s->r, sql[i], &s->stmt[i], t);
    return err;
}

static enum err find_ends(struct scan *s, struct err_text *t)
{
    sqlite3_stmt *stmt = s->stmt[FIRST];

    sqlite3_bind_int64(stmt, 1, s->how->since_wall_us);
    sqlite3_bind_int64(stmt, 2, s->how->until_wall_us);
    if (sqlite3_step(stmt) != SQLITE_ROW) {
        err_say(t, "%s", sqlite3_errmsg(s->r->db));
        return ERR_INTERNAL;
    }
    s->next = sqlite3_column_int64(stmt, 0); /* NULL: 0 to -1 */
    s->last = sqlite3_column_type(stmt, 1) == SQLITE_NULL ? -1 : sqlite3_column_int64(stmt, 1);
    sqlite3_reset(stmt);
    return ERR_OK;
}

static void read_found(struct ledger_row *row, void *to)
{
    struct found *f = to;

    f->id = ledger_row_number(row);
    ledger_read_request(row, &f->request);
}

static enum err rows_of(struct scan *s, enum statement which, int64_t id,
                        void (*read)(struct ledger_row *r, void *to), size_t size, const void **out,
                        size_t *count, struct err_text *t)
{
    sqlite3_bind_int64(s->stmt[which], 1, id);
    return ledger_read_rows(s->r, s->stmt[which], &s->arena, read, size, out, count, t);
}

static enum err outcomes_of(struct scan *s, struct ledger_story *story, struct err_text *t)
{
    const struct ledger_request *q = &story->request;
    const char *id = strcmp(q->purpose, "audit") == 0
                         ? arena_printf(&s->arena, "%s/audit", q->request_id)
                         : q->request_id;
    const void *rows;
    enum err err;

    sqlite3_bind_text(s->stmt[OUTCOMES], 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(s->stmt[OUTCOMES], 2, q->tenant, -1, SQLITE_STATIC);
    err = ledger_read_rows(s->r, s->stmt[OUTCOMES], &s->arena, ledger_read_outcome,
                           sizeof *story->outcomes, &rows, &story->outcome_count, t);
    story->outcomes = rows;
    return err;
}

static enum err tell(struct scan *s, const struct found *f, struct err_text *t)
{
    struct ledger_story story = {.request = f->request};
    const void *rows;
    enum err err = rows_of(s, ATTEMPTS, f->id, ledger_read_attempt, sizeof *story.attempts, &rows,
                           &story.attempt_count, t);

    story.attempts = rows;
    if (err == ERR_OK)
        err = rows_of(s, DECISIONS, f->id, ledger_read_decision, sizeof *story.decisions, &rows,
                      &story.decision_count, t);
    story.decisions = rows;
    if (err == ERR_OK)
        err = outcomes_of(s, &story, t);
    if (err == ERR_OK)
        s->how->visit(s->how->ctx, &story);
    return err;
}

static enum err page(struct scan *s, struct err_text *t)
{
    sqlite3_stmt *stmt = s->stmt[PAGE_OF];
    const void *rows;
    size_t count;
    enum err err;

    sqlite3_bind_int64(stmt, 1, s->next);
    sqlite3_bind_int64(stmt, 2, s->last);
    sqlite3_bind_int64(stmt, 3, s->how->since_wall_us);
    sqlite3_bind_int64(stmt, 4, s->how->until_wall_us);
    sqlite3_bind_int(stmt, 5, PAGE);
    err =
        ledger_read_rows(s->r, stmt, &s->arena, read_found, sizeof(struct found), &rows, &count, t);
    for (size_t i = 0; i < count && err == ERR_OK; i++)
        err = tell(s, (const struct found *)rows + i, t);
    s->next = count < PAGE ? s->last + 1 : ((const struct found *)rows)[count - 1].id + 1;
    return err;
}

enum err ledger_scan(struct ledger_reader *r, const struct ledger_scan *how, struct err_text *t)
{
    struct scan s = {.r = r, .how = how};
    enum err err = prepare_all(&s, t);

    arena_init(&s.arena, 65536);
    if (err == ERR_OK)
        err = find_ends(&s, t);
    while (err == ERR_OK && s.next <= s.last) {
        err = page(&s, t);
        arena_clear(&s.arena);
    }
    for (int i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(s.stmt[i]);
    arena_clear(&s.arena);
    return err;
}

/* ---- what became of an answer ---- */

static bool is_newest(const struct ledger_story *s, size_t i)
{
    const struct ledger_outcome *o = &s->outcomes[i];

    for (size_t k = 0; k < s->outcome_count; k++) {
        const struct ledger_outcome *other = &s->outcomes[k];
        bool newer = other->said_wall_us > o->said_wall_us ||
                     (other->said_wall_us == o->said_wall_us && k > i);
        if (newer && strcmp(other->source, o->source) == 0 && strcmp(other->model, o->model) == 0)
            return false;
    }
    return true;
}

static bool stands_before(const struct ledger_outcome *a, const struct ledger_outcome *b)
{
    if (a->weight_milli != b->weight_milli)
        return a->weight_milli > b->weight_milli;
    return a->said_wall_us >= b->said_wall_us;
}

const struct ledger_outcome *ledger_outcome_of(const struct ledger_story *s, const char *model)
{
    const struct ledger_outcome *best = NULL;

    for (size_t i = 0; i < s->outcome_count; i++) {
        const struct ledger_outcome *o = &s->outcomes[i];
        if (o->value_milli >= 0 && strcmp(o->model, model) == 0 && is_newest(s, i) &&
            (!best || stands_before(o, best)))
            best = o;
    }
    return best;
}

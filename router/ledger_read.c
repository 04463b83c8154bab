/* Rows back into the structs they were written from. Called by commands and by ledger_scan. */
#include "router/ledger_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/mem.h"
#include "router/ledger_read_int.h"
#include "router/ledger_schema.h"

#define BUSY_MS 2000

enum err ledger_reader_open(const char *path, struct ledger_reader **out, struct err_text *t)
{
    struct ledger_reader *r = mem_zalloc(1, sizeof *r);
    sqlite3_stmt *stmt = NULL;
    int64_t version = -1;

    if (sqlite3_open_v2(path, &r->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        err_say(t, "%s: %s", path,
                access(path, R_OK) != 0 ? strerror(errno)
                : r->db                 ? sqlite3_errmsg(r->db)
                                        : "out of memory");
        ledger_reader_close(r);
        return ERR_NOT_FOUND;
    }
    sqlite3_busy_timeout(r->db, BUSY_MS);
    if (sqlite3_prepare_v2(r->db, "PRAGMA user_version", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        version = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    if (version == LEDGER_SCHEMA_VERSION) {
        *out = r;
        return ERR_OK;
    }
    if (version < 0)
        err_say(t, "%s: %s", path, sqlite3_errmsg(r->db));
    else
        err_say(t, "%s: schema %lld, this weir reads %d%s", path, (long long)version,
                LEDGER_SCHEMA_VERSION,
                version < LEDGER_SCHEMA_VERSION ? "; serving with it brings it up to date" : "");
    ledger_reader_close(r);
    return version < 0 ? ERR_INTERNAL : ERR_CONFLICT;
}

void ledger_reader_close(struct ledger_reader *r)
{
    if (!r)
        return;
    sqlite3_close(r->db);
    free(r);
}

/* ---- columns, in the order of the statement ---- */

static const char *text(struct ledger_row *r)
{
    const char *s = (const char *)sqlite3_column_text(r->stmt, r->column);
    int n = sqlite3_column_bytes(r->stmt, r->column++);

    return arena_strdup(r->arena, slice_make(s ? s : "", s ? (size_t)n : 0));
}

int64_t ledger_row_number(struct ledger_row *r)
{
    return sqlite3_column_int64(r->stmt, r->column++);
}

static double real(struct ledger_row *r)
{
    return sqlite3_column_double(r->stmt, r->column++);
}

static bool is_null(const struct ledger_row *r)
{
    return sqlite3_column_type(r->stmt, r->column) == SQLITE_NULL;
}

static int64_t number_or_none(struct ledger_row *r)
{
    bool none = is_null(r);
    int64_t v = ledger_row_number(r);

    return none ? -1 : v;
}

static double real_or_none(struct ledger_row *r)
{
    bool none = is_null(r);
    double v = real(r);

    return none ? -1 : v;
}

static const char request_sql[] =
    "SELECT " LEDGER_REQUEST_COLUMNS " FROM requests WHERE (?1 IS NULL OR request_id = ?1)"
    " AND (?2 IS NULL OR tenant = ?2) AND purpose = 'serve' ORDER BY id DESC LIMIT 1";
const char ledger_attempts_sql[] =
    "SELECT seq, role, started_wall_us, model, upstream_model, backend, endpoint, outcome,"
    " http_status, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens,"
    " reasoning_tokens, usage_source, cost_nanousd, price_version, first_byte_us, duration_us,"
    " served, confidence, verdict, judged_tokens, validators, validated_milli FROM attempt_rows "
    "WHERE request = ? ORDER BY seq";
const char ledger_decisions_sql[] =
    "SELECT step, kind, mode, context, candidates, chosen, propensity, success_nanousd, beliefs,"
    " reason FROM decisions WHERE request = ? ORDER BY step";
const char ledger_outcomes_sql[] =
    "SELECT request_id, tenant, route, class, model, source, value_milli, weight_milli,"
    " said_wall_us, booked_wall_us, note FROM outcomes WHERE request_id = ? AND tenant = ?"
    " ORDER BY id";
static const char checks_sql[] =
    "SELECT count(*), total(cost_nanousd) FROM requests WHERE request_id = ? AND tenant = ?"
    " AND purpose <> 'serve'";

void ledger_read_request(struct ledger_row *r, struct ledger_request *q)
{
    q->request_id = text(r);
    q->received_wall_us = ledger_row_number(r);
    q->api = text(r);
    q->requested_model = text(r);
    q->tenant = text(r);
    q->route = text(r);
    q->policy_version = text(r);
    q->served_model = text(r);
    q->stream = ledger_row_number(r) != 0;
    q->status = (int32_t)ledger_row_number(r);
    q->outcome = text(r);
    q->attempts = (int32_t)ledger_row_number(r);
    q->cost = ledger_row_number(r);
    q->ttft_us = number_or_none(r);
    q->duration_us = number_or_none(r);
    q->class_name = text(r);
    q->class_confidence = real(r);
    q->class_tier = text(r);
    q->class_us = number_or_none(r);
    q->cache = text(r);
    q->cache_entry = (uint64_t)ledger_row_number(r);
    q->saved = ledger_row_number(r);
    q->purpose = text(r);
    q->cache_cosine = real_or_none(r);
    q->cache_probability = real_or_none(r);
    q->conversation = (uint64_t)ledger_row_number(r); /* NULL: 0 */
    q->cap = text(r);
}

static enum usage_source source_of(const char *name)
{
    for (int i = USAGE_NONE; i <= USAGE_ESTIMATED; i++)
        if (strcmp(name, usage_source_name((enum usage_source)i)) == 0)
            return (enum usage_source)i;
    return USAGE_NONE;
}

void ledger_read_attempt(struct ledger_row *r, void *to)
{
    struct ledger_attempt *a = to;

    a->seq = (int32_t)ledger_row_number(r);
    a->role = text(r);
    a->started_wall_us = ledger_row_number(r);
    a->model = text(r);
    a->upstream_model = text(r);
    a->backend = text(r);
    a->endpoint = text(r);
    a->outcome = text(r);
    a->http_status = (int32_t)ledger_row_number(r);
    for (int k = 0; k < TOK_KINDS; k++)
        a->usage.n[k] = ledger_row_number(r);
    a->usage.source = source_of(text(r));
    a->cost = ledger_row_number(r);
    a->price_version = text(r);
    a->first_byte_us = number_or_none(r);
    a->duration_us = number_or_none(r);
    a->served = ledger_row_number(r) != 0;
    a->confidence = real_or_none(r);
    a->verdict = text(r);
    a->judged_tokens = (int32_t)number_or_none(r);
    a->validators = (uint64_t)ledger_row_number(r); /* NULL: 0 */
    a->validated_milli = (int32_t)number_or_none(r);
}

void ledger_read_decision(struct ledger_row *r, void *to)
{
    struct ledger_decision *d = to;

    d->step = (int32_t)ledger_row_number(r);
    d->kind = text(r);
    d->mode = text(r);
    d->context = text(r);
    d->candidates = text(r);
    d->chosen = text(r);
    d->propensity = real(r);
    d->success_value = number_or_none(r);
    d->beliefs = (uint64_t)ledger_row_number(r);
    d->reason = text(r);
}

void ledger_read_outcome(struct ledger_row *r, void *to)
{
    struct ledger_outcome *o = to;

    o->request_id = text(r);
    o->tenant = text(r);
    o->route = text(r);
    o->class_name = text(r);
    o->model = text(r);
    o->source = text(r);
    o->value_milli = (int32_t)number_or_none(r);
    o->weight_milli = (int32_t)ledger_row_number(r);
    o->said_wall_us = ledger_row_number(r);
    o->booked_wall_us = ledger_row_number(r);
    o->note = text(r);
}

/* ---- statements ---- */

static enum err fail(struct ledger_reader *r, sqlite3_stmt *stmt, struct err_text *t)
{
    err_say(t, "%s", sqlite3_errmsg(r->db));
    sqlite3_finalize(stmt);
    return ERR_INTERNAL;
}

static void bind_text(sqlite3_stmt *stmt, int column, const char *s)
{
    if (s)
        sqlite3_bind_text(stmt, column, s, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(stmt, column);
}

enum err ledger_read_rows(struct ledger_reader *r, sqlite3_stmt *stmt, struct arena *a,
                          void (*read)(struct ledger_row *r, void *to), size_t size,
                          const void **out, size_t *count, struct err_text *t)
{
    char *all = NULL;
    size_t room = 0;
    int rc;

    *count = 0;
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (*count == room) {
            char *more = arena_zalloc(a, size * (room = room ? 2 * room : 8));
            if (*count)
                memcpy(more, all, size * *count);
            all = more;
        }
        struct ledger_row row = {.stmt = stmt, .arena = a};
        read(&row, all + size * (*count)++);
    }
    *out = all;
    if (rc != SQLITE_DONE)
        err_say(t, "%s", sqlite3_errmsg(r->db));
    sqlite3_reset(stmt);
    return rc == SQLITE_DONE ? ERR_OK : ERR_INTERNAL;
}

static enum err read_and_end(struct ledger_reader *r, sqlite3_stmt *stmt, struct arena *a,
                             void (*read)(struct ledger_row *r, void *to), size_t size,
                             const void **out, size_t *count, struct err_text *t)
{
    enum err err = ledger_read_rows(r, stmt, a, read, size, out, count, t);

    sqlite3_finalize(stmt);
    return err;
}

enum err ledger_prepare(struct ledger_reader *r, const char *sql, sqlite3_stmt **stmt,
                        struct err_text *t)
{
    return sqlite3_prepare_v2(r->db, sql, -1, stmt, NULL) == SQLITE_OK ? ERR_OK : fail(r, NULL, t);
}

static enum err find_request(struct ledger_reader *r, const char *request_id, const char *tenant,
                             struct arena *a, int64_t *id, struct ledger_request *out,
                             struct err_text *t)
{
    sqlite3_stmt *stmt;
    enum err err = ledger_prepare(r, request_sql, &stmt, t);

    if (err != ERR_OK)
        return err;
    bind_text(stmt, 1, request_id);
    bind_text(stmt, 2, tenant);
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW) {
        struct ledger_row row = {.stmt = stmt, .arena = a};
        *id = ledger_row_number(&row);
        ledger_read_request(&row, out);
    } else if (rc != SQLITE_DONE) {
        return fail(r, stmt, t);
    }
    sqlite3_finalize(stmt);
    return rc == SQLITE_ROW ? ERR_OK : ERR_NOT_FOUND;
}

enum err ledger_reader_spend(struct ledger_reader *r, int64_t since_day,
                             void (*visit)(void *ctx, const struct ledger_spend *s), void *ctx,
                             struct err_text *t)
{
    static const char sql[] = "SELECT day, tenant, cap, cost_nanousd FROM spend WHERE day >= ?";
    sqlite3_stmt *stmt;
    struct arena names;
    enum err err = ledger_prepare(r, sql, &stmt, t);
    int rc;

    if (err != ERR_OK)
        return err;
    sqlite3_bind_int64(stmt, 1, since_day);
    arena_init(&names, 4096);
    while ((rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct ledger_row row = {.stmt = stmt, .arena = &names};
        struct ledger_spend s = {.day = ledger_row_number(&row)};
        s.tenant = text(&row);
        s.cap = text(&row);
        s.cost = ledger_row_number(&row);
        visit(ctx, &s);
        arena_clear(&names);
    }
    arena_clear(&names);
    if (rc != SQLITE_DONE)
        return fail(r, stmt, t);
    sqlite3_finalize(stmt);
    return ERR_OK;
}

static enum err find_checks(struct ledger_reader *r, struct ledger_story *s, struct err_text *t)
{
    sqlite3_stmt *stmt;
    enum err err = ledger_prepare(r, checks_sql, &stmt, t);

    if (err != ERR_OK)
        return err;
    bind_text(stmt, 1, s->request.request_id);
    bind_text(stmt, 2, s->request.tenant);
    if (sqlite3_step(stmt) != SQLITE_ROW)
        return fail(r, stmt, t);
    s->checks = sqlite3_column_int64(stmt, 0);
    s->checks_cost = (nanousd)sqlite3_column_double(stmt, 1);
    sqlite3_finalize(stmt);
    return ERR_OK;
}

static enum err find_with_attempts(struct ledger_reader *r, const char *request_id,
                                   const char *tenant, struct arena *a, int64_t *id,
                                   struct ledger_story *s, struct err_text *t)
{
    sqlite3_stmt *stmt;
    const void *rows;
    enum err err = find_request(r, request_id, tenant, a, id, &s->request, t);

    if (err == ERR_OK && (err = ledger_prepare(r, ledger_attempts_sql, &stmt, t)) == ERR_OK) {
        sqlite3_bind_int64(stmt, 1, *id);
        err = read_and_end(r, stmt, a, ledger_read_attempt, sizeof *s->attempts, &rows,
                           &s->attempt_count, t);
        s->attempts = rows;
    }
    return err;
}

enum err ledger_reader_request(struct ledger_reader *r, const char *request_id, const char *tenant,
                               struct arena *a, struct ledger_story *out, struct err_text *t)
{
    int64_t id = 0;

    *out = (struct ledger_story){.checks = 0};
    return find_with_attempts(r, request_id, tenant, a, &id, out, t);
}

enum err ledger_reader_story(struct ledger_reader *r, const char *request_id, const char *tenant,
                             struct arena *a, struct ledger_story *out, struct err_text *t)
{
    struct ledger_story s = {.checks = 0};
    sqlite3_stmt *stmt;
    const void *rows;
    int64_t id = 0;
    enum err err = find_with_attempts(r, request_id, tenant, a, &id, &s, t);

    if (err == ERR_OK && (err = ledger_prepare(r, ledger_decisions_sql, &stmt, t)) == ERR_OK) {
        sqlite3_bind_int64(stmt, 1, id);
        err = read_and_end(r, stmt, a, ledger_read_decision, sizeof *s.decisions, &rows,
                           &s.decision_count, t);
        s.decisions = rows;
    }
    if (err == ERR_OK && (err = ledger_prepare(r, ledger_outcomes_sql, &stmt, t)) == ERR_OK) {
        bind_text(stmt, 1, s.request.request_id);
        bind_text(stmt, 2, s.request.tenant);
        err = read_and_end(r, stmt, a, ledger_read_outcome, sizeof *s.outcomes, &rows,
                           &s.outcome_count, t);
        s.outcomes = rows;
    }
    if (err == ERR_OK)
        err = find_checks(r, &s, t);
    *out = s;
    return err;
}

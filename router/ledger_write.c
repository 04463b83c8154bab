/* The ledger's statements: rows are bound here, in the order of their columns. Runs on the writer's
 * thread. Called by ledger.c. */
#include "router/ledger_int.h"

#include <assert.h>

static const char insert_request_sql[] =
    "INSERT INTO requests (request_id, received_wall_us, api, requested_model, tenant, route, "
    "policy_version, served_model,"
    " stream, status, outcome, attempts, cost_nanousd, ttft_us, duration_us, class, "
    "class_confidence, class_tier, class_us, cache, cache_entry, saved_nanousd, "
    "purpose, cache_cosine, cache_probability, conversation, cap)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
static const char insert_attempt_sql[] =
    "INSERT INTO attempt_rows (request, seq, role, started_wall_us, model, upstream_model, "
    "backend, endpoint, outcome,"
    " http_status, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, "
    "reasoning_tokens, usage_source,"
    " cost_nanousd, price_version, first_byte_us, duration_us, served, confidence, verdict,"
    " judged_tokens, validators, validated_milli)"
    " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
static const char insert_decision_sql[] =
    "INSERT INTO decisions (request, step, kind, mode, context, candidates, chosen, propensity,"
    " success_nanousd, beliefs, reason) VALUES (?,?,?,?,?,?,?,?,?,?,?)";
static const char insert_outcome_sql[] =
    "INSERT INTO outcomes (request_id, tenant, route, class, model, source, value_milli,"
    " weight_milli, said_wall_us, booked_wall_us, note) VALUES (?,?,?,?,?,?,?,?,?,?,?)";
/* Saturates: two sums at their greatest must not overflow, which STRICT would refuse for ever. */
static const char insert_spend_sql[] =
    "INSERT INTO spend (day, tenant, cap, cost_nanousd) VALUES (?,?,?,min(?, 4000000000000000000))"
    " ON CONFLICT DO UPDATE SET cost_nanousd ="
    " min(cost_nanousd, 4000000000000000000) + excluded.cost_nanousd";

static const char *const statement_sql[LEDGER_STATEMENTS] = {
    "BEGIN IMMEDIATE",  insert_request_sql, insert_attempt_sql, insert_decision_sql,
    insert_outcome_sql, insert_spend_sql,   "COMMIT",           "ROLLBACK"};

int ledger_statements_prepare(struct ledger_statements *s, sqlite3 *db)
{
    int rc = SQLITE_OK;

    for (int i = 0; i < LEDGER_STATEMENTS && rc == SQLITE_OK; i++) {
        rc = sqlite3_prepare_v3(db, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->of[i],
                                NULL);
        assert(sqlite3_bind_parameter_count(s->of[i]) <= LEDGER_COLUMNS);
    }
    return rc;
}

void ledger_statements_finalize(struct ledger_statements *s)
{
    for (int i = 0; i < LEDGER_STATEMENTS; i++)
        sqlite3_finalize(s->of[i]);
}

int ledger_statement_run(struct ledger_statements *s, enum ledger_statement which)
{
    int rc = sqlite3_step(s->of[which]);

    sqlite3_reset(s->of[which]);
    return rc == SQLITE_DONE || rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Parameters are bound in the order of the statement's columns. A value that its parameter has from
 * the row before is not bound again: most names of a row are those of the row before, and binding
 * is a fifth of an insert. Short texts are copied for that, so that they outlive their record; long
 * ones need to outlive the step only. A failed bind (out of memory) leaves a NULL behind, which
 * every text column refuses, so that the step reports it. */
struct binder {
    sqlite3_stmt *stmt;
    struct ledger_bound *next; /* what the next parameter has */
    int column;
};

static struct binder binder_of(struct ledger_statements *s, enum ledger_statement which)
{
    return (struct binder){.stmt = s->of[which], .next = s->bound[which]};
}

static void bind_text(struct binder *b, const char *text)
{
    struct ledger_bound *has = b->next++;
    size_t n;

    b->column++;
    if (has->type == SQLITE_TEXT && strcmp(has->text, text) == 0)
        return;
    n = strlen(text);
    has->type = 0;
    if (n < sizeof has->text)
        text = memcpy(has->text, text, n + 1);
    if (sqlite3_bind_text(b->stmt, b->column, text, (int)n, SQLITE_STATIC) == SQLITE_OK &&
        text == has->text)
        has->type = SQLITE_TEXT;
}

static void bind_int(struct binder *b, int64_t v)
{
    struct ledger_bound *has = b->next++;

    b->column++;
    if (has->type == SQLITE_INTEGER && has->number == v)
        return;
    has->type = SQLITE_INTEGER;
    has->number = v;
    sqlite3_bind_int64(b->stmt, b->column, v);
}

static void bind_double(struct binder *b, double v)
{
    b->next++->type = 0;
    sqlite3_bind_double(b->stmt, ++b->column, v);
}

static void bind_null(struct binder *b)
{
    struct ledger_bound *has = b->next++;

    b->column++;
    if (has->type == SQLITE_NULL)
        return;
    has->type = SQLITE_NULL;
    sqlite3_bind_null(b->stmt, b->column);
}

/* Durations, prices and values below zero are none. */
static void bind_unless_negative(struct binder *b, int64_t v)
{
    if (v < 0)
        bind_null(b);
    else
        bind_int(b, v);
}

/* Hashes: 0 is none. */
static void bind_unless_zero(struct binder *b, uint64_t v)
{
    if (v == 0)
        bind_null(b);
    else
        bind_int(b, (int64_t)v);
}

/* Of a share below zero nobody knows, nor of one that is no number. */
static void bind_share(struct binder *b, double v)
{
    if (v >= 0)
        bind_double(b, v);
    else
        bind_null(b);
}

static int insert_request(struct ledger_statements *s, const struct ledger_request *r)
{
    struct binder b = binder_of(s, LEDGER_INSERT_REQUEST);

    bind_text(&b, r->request_id);
    bind_int(&b, r->received_wall_us);
    bind_text(&b, r->api);
    bind_text(&b, r->requested_model);
    bind_text(&b, r->tenant);
    bind_text(&b, r->route);
    bind_text(&b, r->policy_version);
    bind_text(&b, r->served_model);
    bind_int(&b, r->stream);
    bind_int(&b, r->status);
    bind_text(&b, r->outcome);
    bind_int(&b, r->attempts);
    bind_int(&b, r->cost);
    bind_unless_negative(&b, r->ttft_us);
    bind_unless_negative(&b, r->duration_us);
    bind_text(&b, r->class_name);
    bind_double(&b, r->class_confidence);
    bind_text(&b, r->class_tier);
    bind_unless_negative(&b, r->class_us);
    bind_text(&b, r->cache);
    bind_int(&b, (int64_t)r->cache_entry);
    bind_int(&b, r->saved);
    bind_text(&b, r->purpose);
    bind_share(&b, r->cache_cosine);
    bind_share(&b, r->cache_probability);
    bind_unless_zero(&b, r->conversation);
    bind_text(&b, r->cap);
    return ledger_statement_run(s, LEDGER_INSERT_REQUEST);
}

#define DAY_US INT64_C(86400000000)

static int insert_sums(struct ledger_statements *s)
{
    int rc = SQLITE_OK;

    for (size_t i = 0; i < s->sums && rc == SQLITE_OK; i++) {
        struct binder b = binder_of(s, LEDGER_INSERT_SPEND);
        bind_int(&b, s->sum[i].day);
        bind_text(&b, s->sum[i].tenant);
        bind_text(&b, s->sum[i].cap);
        bind_int(&b, s->sum[i].cost);
        rc = ledger_statement_run(s, LEDGER_INSERT_SPEND);
    }
    s->sums = 0;
    return rc;
}

static struct ledger_sum *find_sum(struct ledger_statements *s, const struct ledger_sum *like)
{
    for (size_t i = 0; i < s->sums; i++) {
        struct ledger_sum *sum = &s->sum[i];
        if (sum->day == like->day && strcmp(sum->tenant, like->tenant) == 0 &&
            strcmp(sum->cap, like->cap) == 0)
            return sum;
    }
    return NULL;
}

static int add_cost(struct ledger_statements *s, const struct ledger_request *r)
{
    struct ledger_sum one = {r->received_wall_us / DAY_US, r->tenant, r->cap, r->cost};
    struct ledger_sum *same = find_sum(s, &one);
    int rc = SQLITE_OK;

    if (r->cost <= 0)
        return rc;
    if (same) {
        same->cost = money_add(same->cost, r->cost);
        return rc;
    }
    if (s->sums == LEDGER_SUMS)
        rc = insert_sums(s);
    s->sum[s->sums++] = one;
    return rc;
}

int ledger_transaction_begin(struct ledger_statements *s)
{
    s->sums = 0; /* of one that was rolled back */
    return ledger_statement_run(s, LEDGER_BEGIN);
}

int ledger_transaction_commit(struct ledger_statements *s)
{
    int rc = insert_sums(s);

    return rc == SQLITE_OK ? ledger_statement_run(s, LEDGER_COMMIT) : rc;
}

static int insert_attempt(struct ledger_statements *s, int64_t request,
                          const struct ledger_attempt *a)
{
    struct binder b = binder_of(s, LEDGER_INSERT_ATTEMPT);

    bind_int(&b, request);
    bind_int(&b, a->seq);
    bind_text(&b, a->role);
    bind_int(&b, a->started_wall_us);
    bind_text(&b, a->model);
    bind_text(&b, a->upstream_model);
    bind_text(&b, a->backend);
    bind_text(&b, a->endpoint);
    bind_text(&b, a->outcome);
    bind_int(&b, a->http_status);
    for (int k = 0; k < TOK_KINDS; k++)
        bind_int(&b, a->usage.n[k]);
    bind_text(&b, usage_source_name(a->usage.source));
    bind_int(&b, a->cost);
    bind_text(&b, a->price_version);
    bind_unless_negative(&b, a->first_byte_us);
    bind_unless_negative(&b, a->duration_us);
    bind_int(&b, a->served);
    bind_share(&b, a->confidence);
    bind_text(&b, a->verdict);
    bind_unless_negative(&b, a->confidence >= 0 ? a->judged_tokens : -1);
    bind_unless_zero(&b, a->validators);
    bind_unless_negative(&b, a->validators ? a->validated_milli : -1);
    return ledger_statement_run(s, LEDGER_INSERT_ATTEMPT);
}
_Static_assert(TOK_INPUT == 0 && TOK_CACHED_INPUT == 1 && TOK_CACHE_WRITE == 2 && TOK_OUTPUT == 3 &&
                   TOK_REASONING == 4 && TOK_KINDS == 5,
               "insert_attempt_sql names the token columns in this order");

static int insert_decision(struct ledger_statements *s, int64_t request,
                           const struct ledger_decision *d)
{
    struct binder b = binder_of(s, LEDGER_INSERT_DECISION);

    bind_int(&b, request);
    bind_int(&b, d->step);
    bind_text(&b, d->kind);
    bind_text(&b, d->mode);
    bind_text(&b, d->context);
    bind_text(&b, d->candidates);
    bind_text(&b, d->chosen);
    bind_double(&b, d->propensity >= 0 ? d->propensity : 0);
    bind_unless_negative(&b, d->success_value);
    bind_int(&b, (int64_t)d->beliefs);
    bind_text(&b, d->reason);
    return ledger_statement_run(s, LEDGER_INSERT_DECISION);
}

static int insert_outcome(struct ledger_statements *s, const struct ledger_outcome *o)
{
    struct binder b = binder_of(s, LEDGER_INSERT_OUTCOME);

    bind_text(&b, o->request_id);
    bind_text(&b, o->tenant);
    bind_text(&b, o->route);
    bind_text(&b, o->class_name);
    bind_text(&b, o->model);
    bind_text(&b, o->source);
    bind_unless_negative(&b, o->value_milli);
    bind_int(&b, o->weight_milli);
    bind_int(&b, o->said_wall_us);
    bind_int(&b, o->booked_wall_us);
    bind_text(&b, o->note);
    return ledger_statement_run(s, LEDGER_INSERT_OUTCOME);
}

int ledger_record_insert(const struct ledger_record *rec, struct ledger_statements *s,
                         int64_t *rows)
{
    if (rec->is_outcome) {
        *rows += 1;
        return insert_outcome(s, &rec->outcome);
    }
    int rc = insert_request(s, &rec->request);
    int64_t request = sqlite3_last_insert_rowid(sqlite3_db_handle(s->of[LEDGER_BEGIN]));
    for (size_t i = 0; i < rec->attempt_count && rc == SQLITE_OK; i++)
        rc = insert_attempt(s, request, &rec->attempts[i]);
    for (size_t i = 0; i < rec->decision_count && rc == SQLITE_OK; i++)
        rc = insert_decision(s, request, &rec->decisions[i]);
    if (rc == SQLITE_OK)
        rc = add_cost(s, &rec->request);
    *rows += 1 + (int64_t)(rec->attempt_count + rec->decision_count);
    return rc;
}

/* The ledger's tables and views, and the way there from each earlier version. Control thread, while
 * the ledger is opened. Called by ledger.c and ledger_read.c. */
#include "router/ledger_schema.h"

#include <stddef.h>
#include <stdint.h>

/* sum() fails when integers overflow, total() does not: one absurd row must not close the views.
 * Times are Unix microseconds, durations microseconds (NULL: there was none), money nano-dollars.
 * Attempts are clustered by their request; the view adds its request_id, which is the client's to
 * choose and therefore neither unique nor a key. */
static const char schema[] =
    "CREATE TABLE requests (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  request_id TEXT NOT NULL,\n"
    "  received_wall_us INTEGER NOT NULL,\n"
    "  api TEXT NOT NULL,\n"
    "  requested_model TEXT NOT NULL,\n"
    "  tenant TEXT NOT NULL,\n"
    "  route TEXT NOT NULL,\n"
    "  policy_version TEXT NOT NULL,\n"
    "  served_model TEXT NOT NULL,\n"
    "  stream INTEGER NOT NULL,\n"
    "  status INTEGER NOT NULL,\n"
    "  outcome TEXT NOT NULL,\n"
    "  attempts INTEGER NOT NULL,\n"
    "  cost_nanousd INTEGER NOT NULL,\n"
    "  ttft_us INTEGER,\n"
    "  duration_us INTEGER\n"
    ") STRICT;\n"
    "CREATE TABLE attempt_rows (\n"
    "  request INTEGER NOT NULL REFERENCES requests (id),\n"
    "  seq INTEGER NOT NULL,\n"
    "  role TEXT NOT NULL,\n"
    "  started_wall_us INTEGER NOT NULL,\n"
    "  model TEXT NOT NULL,\n"
    "  upstream_model TEXT NOT NULL,\n"
    "  backend TEXT NOT NULL,\n"
    "  endpoint TEXT NOT NULL,\n"
    "  outcome TEXT NOT NULL,\n"
    "  http_status INTEGER NOT NULL,\n"
    "  input_tokens INTEGER NOT NULL,\n"
    "  cached_input_tokens INTEGER NOT NULL,\n"
    "  cache_write_tokens INTEGER NOT NULL,\n"
    "  output_tokens INTEGER NOT NULL,\n"
    "  reasoning_tokens INTEGER NOT NULL,\n"
    "  usage_source TEXT NOT NULL,\n"
    "  cost_nanousd INTEGER NOT NULL,\n"
    "  price_version TEXT NOT NULL,\n"
    "  first_byte_us INTEGER,\n"
    "  duration_us INTEGER,\n"
    "  served INTEGER NOT NULL,\n"
    "  PRIMARY KEY (request, seq)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE INDEX requests_by_time ON requests (received_wall_us);\n"
    "CREATE INDEX requests_by_request_id ON requests (request_id);\n"
    "CREATE VIEW attempts AS\n"
    "  SELECT r.request_id, a.* FROM attempt_rows AS a JOIN requests AS r ON r.id = a.request;\n"
    "CREATE VIEW spend_by_model AS\n"
    "  SELECT model, count(*) AS attempts, sum(served) AS served,\n"
    "         sum(input_tokens) AS input_tokens, sum(cached_input_tokens) AS cached_input_tokens,\n"
    "         sum(cache_write_tokens) AS cache_write_tokens, sum(output_tokens) AS output_tokens,\n"
    "         sum(reasoning_tokens) AS reasoning_tokens, total(cost_nanousd) / 1e9 AS cost_usd\n"
    "  FROM attempt_rows GROUP BY model;\n"
    "CREATE VIEW spend_by_day AS\n"
    "  SELECT date(r.received_wall_us / 1000000, 'unixepoch') AS day, r.tenant, a.model,\n"
    "         count(*) AS attempts, total(a.cost_nanousd) / 1e9 AS cost_usd\n"
    "  FROM attempt_rows AS a JOIN requests AS r ON r.id = a.request GROUP BY 1, 2, 3;\n"
    "PRAGMA user_version = 1;\n";

/* From each version to the next. A new file goes the same way, so that there is one. */
static const char *const upgrades[] = {
    /* 2: what the question was about. class "": of none, or nobody asked; class_us NULL then. */
    "ALTER TABLE requests ADD COLUMN class TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE requests ADD COLUMN class_confidence REAL NOT NULL DEFAULT 0;\n"
    "ALTER TABLE requests ADD COLUMN class_tier TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE requests ADD COLUMN class_us INTEGER;\n"
    "PRAGMA user_version = 2;\n",
    /* 3: what the cache said, what it gave again, and what that had cost. */
    "ALTER TABLE requests ADD COLUMN cache TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE requests ADD COLUMN cache_entry INTEGER NOT NULL DEFAULT 0;\n"
    "ALTER TABLE requests ADD COLUMN saved_nanousd INTEGER NOT NULL DEFAULT 0;\n"
    "PRAGMA user_version = 3;\n",
    /* 4: requests of weir's own, under the id of the client's request that caused them; how near
     * the nearest stored question was, and how probably its answer right (NULL: nobody looked).
     * What the cache saved, beside what its checks cost. */
    "ALTER TABLE requests ADD COLUMN purpose TEXT NOT NULL DEFAULT 'serve';\n"
    "ALTER TABLE requests ADD COLUMN cache_cosine REAL;\n"
    "ALTER TABLE requests ADD COLUMN cache_probability REAL;\n"
    "CREATE VIEW cache_by_day AS\n"
    "  SELECT date(received_wall_us / 1000000, 'unixepoch') AS day, tenant,\n"
    "         sum(purpose = 'serve') AS requests, sum(cache = 'hit') AS hits,\n"
    "         sum(cache = 'coalesced') AS coalesced, sum(cache = 'semantic') AS semantic,\n"
    "         total(saved_nanousd) / 1e9 AS saved_usd, sum(purpose <> 'serve') AS checks,\n"
    "         total(iif(purpose = 'serve', 0, cost_nanousd)) / 1e9 AS checks_usd\n"
    "  FROM requests WHERE cache <> '' OR purpose IN ('audit', 'judge') GROUP BY 1, 2;\n"
    "PRAGMA user_version = 4;\n",
    /* 5: what was decided and why, and what became of it. An outcome names its request by tenant
     * and id, because another replica may have served that. value_milli NULL: taken back. */
    "ALTER TABLE attempt_rows ADD COLUMN confidence REAL;\n"
    "ALTER TABLE attempt_rows ADD COLUMN verdict TEXT NOT NULL DEFAULT '';\n"
    "CREATE TABLE decisions (\n"
    "  request INTEGER NOT NULL REFERENCES requests (id),\n"
    "  step INTEGER NOT NULL,\n"
    "  kind TEXT NOT NULL,\n"
    "  mode TEXT NOT NULL,\n"
    "  context TEXT NOT NULL,\n"
    "  candidates TEXT NOT NULL,\n"
    "  chosen TEXT NOT NULL,\n"
    "  propensity REAL NOT NULL,\n"
    "  success_nanousd INTEGER,\n"
    "  beliefs INTEGER NOT NULL,\n"
    "  reason TEXT NOT NULL,\n"
    "  PRIMARY KEY (request, step)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "CREATE TABLE outcomes (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  request_id TEXT NOT NULL,\n"
    "  tenant TEXT NOT NULL,\n"
    "  route TEXT NOT NULL,\n"
    "  class TEXT NOT NULL,\n"
    "  model TEXT NOT NULL,\n"
    "  source TEXT NOT NULL,\n"
    "  value_milli INTEGER,\n"
    "  weight_milli INTEGER NOT NULL,\n"
    "  said_wall_us INTEGER NOT NULL,\n"
    "  booked_wall_us INTEGER NOT NULL,\n"
    "  note TEXT NOT NULL\n"
    ") STRICT;\n"
    "CREATE INDEX outcomes_by_request ON outcomes (request_id);\n"
    /* A view's `a.*` keeps the columns it was made with. */
    "DROP VIEW attempts;\n"
    "CREATE VIEW attempts AS\n"
    "  SELECT r.request_id, a.* FROM attempt_rows AS a JOIN requests AS r ON r.id = a.request;\n"
    /* The newest word of each source on each model's answer. */
    "CREATE VIEW outcomes_now AS\n"
    "  SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY tenant, request_id, model, source\n"
    "      ORDER BY said_wall_us DESC, id DESC) AS age FROM outcomes)\n"
    "  WHERE age = 1 AND value_milli IS NOT NULL;\n"
    /* Requests with what is known of the answer that was served: the source that weighs most. */
    "CREATE VIEW request_outcomes AS\n"
    "  SELECT * FROM (SELECT r.*, o.source, o.value_milli, o.weight_milli, o.said_wall_us,\n"
    "      row_number() OVER (PARTITION BY r.id\n"
    "          ORDER BY o.weight_milli DESC, o.said_wall_us DESC, o.id DESC) AS rank\n"
    "      FROM requests AS r JOIN outcomes_now AS o ON o.request_id = r.request_id\n"
    "          AND o.tenant = r.tenant AND o.model = r.served_model\n"
    "      WHERE r.purpose = 'serve')\n"
    "  WHERE rank = 1;\n"
    "CREATE VIEW cost_per_success AS\n"
    "  SELECT route, class, count(*) AS resolved, total(value_milli) / 1e3 AS successes,\n"
    "         total(cost_nanousd) / 1e9 AS cost_usd,\n"
    "         total(cost_nanousd) / 1e6 / nullif(total(value_milli), 0) AS usd_per_success\n"
    "  FROM request_outcomes GROUP BY route, class;\n"
    "PRAGMA user_version = 5;\n",
    /* 6: which conversation a request belongs to (NULL: not known); what validators said of an
     * answer, and how much of it was judged (NULL: nobody looked); what was spent by day (since
     * 1970, UTC), tenant and daily cap, kept by the writer. Of older rows the newest month is
     * summed up, which is as far back as budgets look; a row counts with a million USD at most,
     * because sum() fails when it overflows. */
    "ALTER TABLE requests ADD COLUMN conversation INTEGER;\n"
    "ALTER TABLE requests ADD COLUMN cap TEXT NOT NULL DEFAULT '';\n"
    "ALTER TABLE attempt_rows ADD COLUMN judged_tokens INTEGER;\n"
    "ALTER TABLE attempt_rows ADD COLUMN validators INTEGER;\n"
    "ALTER TABLE attempt_rows ADD COLUMN validated_milli INTEGER;\n"
    "DROP VIEW attempts;\n"
    "CREATE VIEW attempts AS\n"
    "  SELECT r.request_id, a.* FROM attempt_rows AS a JOIN requests AS r ON r.id = a.request;\n"
    "CREATE TABLE spend (\n"
    "  day INTEGER NOT NULL,\n"
    "  tenant TEXT NOT NULL,\n"
    "  cap TEXT NOT NULL,\n"
    "  cost_nanousd INTEGER NOT NULL,\n"
    "  PRIMARY KEY (day, tenant, cap)\n"
    ") STRICT, WITHOUT ROWID;\n"
    "INSERT INTO spend\n"
    "  SELECT received_wall_us / 86400000000, tenant, '', sum(min(cost_nanousd, "
    "1000000000000000))\n"
    "  FROM requests WHERE cost_nanousd > 0 AND received_wall_us >=\n"
    "      (SELECT max(received_wall_us) FROM requests) - 32 * 86400000000\n"
    "  GROUP BY 1, 2;\n"
    "PRAGMA user_version = 6;\n",
};
_Static_assert(sizeof upgrades / sizeof upgrades[0] == LEDGER_SCHEMA_VERSION - 1,
               "a step per version");

bool ledger_schema_exec(sqlite3 *db, const char *sql, struct err_text *t)
{
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
        return true;
    err_say(t, "%s", sqlite3_errmsg(db));
    return false;
}

/* One integer out of the database, -1 when there is none. */
static int64_t query_int(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *stmt;
    int64_t v = -1;
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW)
        v = sqlite3_column_int64(stmt, 0);
    sqlite3_finalize(stmt);
    return v;
}

static bool create_schema(sqlite3 *db, struct err_text *t)
{
    if (query_int(db, "SELECT count(*) FROM sqlite_schema") != 0) {
        err_say(t, "it is a database of something else");
        return false;
    }
    return ledger_schema_exec(db, schema, t);
}

/* After a failure the transaction ends with the connection. */
bool ledger_schema_prepare(sqlite3 *db, struct err_text *t)
{
    if (!ledger_schema_exec(db, "BEGIN IMMEDIATE", t))
        return false;
    int64_t version = query_int(db, "PRAGMA user_version");
    if (version > LEDGER_SCHEMA_VERSION) {
        err_say(t, "a newer weir wrote it (schema %lld, this one knows %d)", (long long)version,
                LEDGER_SCHEMA_VERSION);
        return false;
    }
    if (version < 1 && !create_schema(db, t))
        return false;
    for (size_t v = version < 1 ? 0 : (size_t)version - 1; v < LEDGER_SCHEMA_VERSION - 1; v++)
        if (!ledger_schema_exec(db, upgrades[v], t))
            return false;
    return ledger_schema_exec(db, "COMMIT", t);
}

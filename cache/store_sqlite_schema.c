/* The tables of a file, and how an earlier version becomes this one. Called when a file is opened.
 */
#include "cache/store_sqlite_int.h"

#define SCHEMA_VERSION 2

/* Beside each entry with tags. home: of its scope (store_home), so that one scope's lie together
 * and all scopes' one after the other. */
#define TAGS_TABLE                                                                                 \
    "CREATE TABLE tags (tag BLOB, home INTEGER, id INTEGER, PRIMARY KEY (tag, home, id))\n"        \
    "  WITHOUT ROWID;\n"                                                                           \
    "CREATE INDEX tags_by_id ON tags (id);\n"                                                      \
    "CREATE TRIGGER untag AFTER DELETE ON entries WHEN old.tags > 0\n"                             \
    "  BEGIN DELETE FROM tags WHERE id = old.id; END;\n"

/* packed comes last: what an eviction looks at lies before it, on the row's first page. */
static const char schema[] =
    "CREATE TABLE entries (\n"
    "  id INTEGER PRIMARY KEY,\n"
    "  exact BLOB NOT NULL,\n"
    "  expires_ms INTEGER NOT NULL,\n"
    "  cost_nanousd INTEGER NOT NULL,\n"
    "  hits INTEGER NOT NULL,\n"
    "  bytes INTEGER NOT NULL,\n"
    "  pinned INTEGER NOT NULL,\n"
    "  tags INTEGER NOT NULL,\n"
    "  packed BLOB NOT NULL\n"
    ") STRICT;\n"
    "CREATE UNIQUE INDEX entries_by_exact ON entries (exact);\n"
    "CREATE INDEX entries_by_expiry ON entries (expires_ms);\n" TAGS_TABLE
    "CREATE TABLE generations (scope BLOB PRIMARY KEY, generation INTEGER NOT NULL)\n"
    "  WITHOUT ROWID;\n"
    "CREATE TABLE log (seq INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL,\n"
    "  bucket INTEGER NOT NULL, id INTEGER NOT NULL, replaced INTEGER NOT NULL,\n"
    "  scope BLOB NOT NULL, generation INTEGER NOT NULL) STRICT;\n"
    "CREATE TABLE notes (name BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;\n"
    "CREATE TABLE totals (epoch INTEGER NOT NULL, entries INTEGER NOT NULL,\n"
    "  bytes INTEGER NOT NULL) STRICT;\n"
    "INSERT INTO totals VALUES\n"
    "  (CAST(strftime('%s') AS INTEGER) * 1000000 + abs(random() % 1000000), 0, 0);\n"
    "PRAGMA application_id = 0x77656972;\n" /* "weir" */
    "PRAGMA user_version = 2;\n";

/* Tags lay by scope and tag in the first version. */
static const char second_version[] = "DROP TRIGGER untag;\n"
                                     "DROP INDEX tags_by_id;\n"
                                     "ALTER TABLE tags RENAME TO tags_by_scope;\n" TAGS_TABLE
                                     "INSERT INTO tags SELECT tag, home(scope), id"
                                     " FROM tags_by_scope;\n"
                                     "DROP TABLE tags_by_scope;\n"
                                     "PRAGMA user_version = 2;\n";

enum err sqlite_fail(struct store_sqlite *s, const char *path, const char *what, struct err_text *t)
{
    err_say(t, "%s: %s: %s", path, what, s->db ? sqlite3_errmsg(s->db) : "out of memory");
    return ERR_INTERNAL;
}

static bool run_script(struct store_sqlite *s, const char *script)
{
    return sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) == SQLITE_OK &&
           sqlite3_exec(s->db, script, NULL, NULL, NULL) == SQLITE_OK &&
           sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK;
}

static void home_of_value(sqlite3_context *ctx, int count, sqlite3_value **value)
{
    const char *scope = sqlite3_value_blob(value[0]);
    size_t n = (size_t)sqlite3_value_bytes(value[0]);

    (void)count;
    sqlite3_result_int64(ctx, (int64_t)store_home(slice_make(scope, scope ? n : 0)));
}

static bool bring_to_second_version(struct store_sqlite *s)
{
    bool good = sqlite3_create_function(s->db, "home", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, NULL,
                                        home_of_value, NULL, NULL) == SQLITE_OK &&
                run_script(s, second_version);

    return sqlite3_create_function(s->db, "home", 1, SQLITE_UTF8, NULL, NULL, NULL, NULL) ==
               SQLITE_OK &&
           good;
}

enum err sqlite_make_schema(struct store_sqlite *s, const char *path, struct err_text *t)
{
    int64_t version = sql_select_int(s, "PRAGMA user_version"),
            tables = sql_select_int(s, "SELECT count(*) FROM sqlite_schema");

    if (version > SCHEMA_VERSION) {
        err_say(t, "%s: written by a newer weir (schema %lld, this one knows %d)", path,
                (long long)version, SCHEMA_VERSION);
        return ERR_INTERNAL;
    }
    if (version == 0 && tables > 0) {
        err_say(t, "%s: a database, but not one of weir's cache", path);
        return ERR_INTERNAL;
    }
    if (version == 0 && !run_script(s, schema))
        return sqlite_fail(s, path, "cannot be set up", t);
    if (version == 1 && !bring_to_second_version(s))
        return sqlite_fail(s, path, "cannot be brought from an earlier version to this one", t);
    return ERR_OK;
}

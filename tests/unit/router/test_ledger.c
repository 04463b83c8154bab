/* router/ledger: everything posted is written, once and whole, whatever the disk, other processes
 * and kill -9 do. */
#include <cmocka.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/stats.h"
#include "router/ledger.h"
#include "tests/unit/router/ledger_plain.h"
#include "tests/unit/sqlite_files.h"

static char dir[64], path[96];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/weir_ledger_XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/ledger.sqlite", dir);
    return 0;
}

static int each_begins_without_files(void **state)
{
    (void)state;
    sqlite_files_remove(path);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    sqlite_files_remove(path);
    return rmdir(dir);
}

static struct ledger *open_ledger(int64_t max_queue)
{
    struct err_text t = {""};
    struct ledger *l = ledger_open(path, max_queue, &t);
    if (!l)
        fail_msg("%s", t.s);
    return l;
}

static struct ledger_record *record(const char *id, int attempts)
{
    struct ledger_attempt rows[8];
    struct ledger_request r = {.request_id = id,
                               .cap = "",
                               .received_wall_us = INT64_C(1795000000000000),
                               .api = "chat",
                               .requested_model = "auto",
                               .tenant = "acme",
                               .route = "default",
                               .policy_version = "p1",
                               .served_model = attempts ? "big" : "",
                               .stream = true,
                               .status = 200,
                               .outcome = "ok",
                               .class_name = "math",
                               .class_confidence = 0.75,
                               .class_tier = "full",
                               .class_us = 99,
                               .cache = "hit",
                               .cache_entry = 7,
                               .saved = 2500,
                               .cache_cosine = 0.5,
                               .cache_probability = -1,
                               .purpose = "serve",
                               .conversation = UINT64_MAX - 1,
                               .attempts = attempts,
                               .cost = 1500 * (int64_t)attempts,
                               .ttft_us = 12,
                               .duration_us = 345};
    for (int i = 0; i < attempts; i++)
        rows[i] = (struct ledger_attempt){.seq = i + 1,
                                          .role = "serve",
                                          .started_wall_us = INT64_C(1795000000000001) + i,
                                          .model = i + 1 == attempts ? "big" : "small",
                                          .upstream_model = "up",
                                          .backend = "b",
                                          .endpoint = "h:1",
                                          .outcome = i + 1 == attempts ? "ok" : "upstream_reset",
                                          .http_status = 200,
                                          .usage = {.n = {1, 2, 3, 4, 5}, .source = USAGE_REPORTED},
                                          .cost = 1500,
                                          .price_version = "v",
                                          .first_byte_us = -1,
                                          .duration_us = 7,
                                          .served = i + 1 == attempts,
                                          .confidence = i + 1 == attempts ? 0.875 : -1,
                                          .verdict = i + 1 == attempts ? "accepted" : "",
                                          .judged_tokens = 24,
                                          .validators = i + 1 == attempts ? UINT64_MAX : 0,
                                          .validated_milli = 250};
    return ledger_record_new(&r, rows, (size_t)attempts, NULL, 0);
}

static sqlite3 *reader(void)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    return db;
}

/* The first column of the first row as text, "NULL" for NULL, "" for no row; overwritten by the
 * next call. */
static const char *ask(const char *sql)
{
    static char out[256];
    sqlite3 *db = reader();
    sqlite3_stmt *stmt;
    out[0] = '\0';
    if (sqlite3_prepare_v2(db, sql, -1, &stmt, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    if (sqlite3_step(stmt) == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(stmt, 0);
        snprintf(out, sizeof out, "%s", text ? (const char *)text : "NULL");
    }
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    return out;
}

static int64_t metric(struct ledger *l, enum stats_family f)
{
    return atomic_load(&stats_cell(ledger_stats(l), f, NULL)->value);
}

#define UNTIL(expr)                                                                                \
    do {                                                                                           \
        int64_t until_us = clock_mono_us() + 60000000;                                             \
        while (!(expr)) {                                                                          \
            if (clock_mono_us() > until_us)                                                        \
                fail_msg("20 s passed before: %s", #expr);                                         \
            usleep(1000);                                                                          \
        }                                                                                          \
    } while (0)

static void a_record_is_stored_as_given(void **state)
{
    struct ledger *l = open_ledger(100);
    (void)state;
    ledger_post(l, record("req_1", 2));
    assert_true(ledger_flush(l, 120000));
    assert_int_equal(ledger_queued(l), 0);
    assert_int_equal(metric(l, STAT_LEDGER_ROWS), 3);
    assert_string_equal(
        ask("SELECT "
            "request_id||'|'||received_wall_us||'|'||api||'|'||requested_model||'|'||tenant||'|'||"
            "route||'|'||"
            "policy_version||'|'||served_model||'|'||stream||'|'||status||'|'||outcome||'|'||"
            "attempts||'|'||cost_nanousd"
            "||'|'||ttft_us||'|'||duration_us||'|'||class||'|'||class_confidence||'|'||class_tier"
            "||'|'||class_us FROM requests"),
        "req_1|1795000000000000|chat|auto|acme|default|p1|big|1|200|ok|2|3000|12|345|math|0.75|"
        "full|99");
    assert_string_equal(ask("SELECT "
                            "request_id||'|'||seq||'|'||role||'|'||started_wall_us||'|'||model||'|'"
                            "||upstream_model||'|'||backend"
                            "||'|'||endpoint||'|'||outcome||'|'||http_status||'|'||input_tokens||'|"
                            "'||cached_input_tokens||'|'||"
                            "cache_write_tokens||'|'||output_tokens||'|'||reasoning_tokens||'|'||"
                            "usage_source||'|'||cost_nanousd||'|'||"
                            "price_version||'|'||ifnull(first_byte_us,'none')||'|'||duration_us||'|"
                            "'||served||'|'||ifnull(confidence,'none')||'|'||verdict"
                            " FROM attempts WHERE seq = 1"),
                        "req_1|1|serve|1795000000000001|small|up|b|h:1|upstream_reset|200|1|2|3|4|"
                        "5|reported|1500|v|none|7|0|none|");
    assert_string_equal(ask("SELECT confidence||verdict FROM attempts WHERE seq = 2"),
                        "0.875accepted");
    assert_string_equal(ask("SELECT group_concat(ifnull(judged_tokens, '?')||' '||"
                            "ifnull(validators, '?')||' '||ifnull(validated_milli, '?')) "
                            "FROM attempts"),
                        "? ? ?,24 -1 250");
    assert_string_equal(ask("SELECT conversation||cap FROM requests"), "-2");
    assert_string_equal(ask("SELECT day||tenant||cap||cost_nanousd FROM spend"), "20775acme3000");
    assert_string_equal(ask("SELECT model||' '||attempts||' '||served||' '||printf('%.7f', "
                            "cost_usd) FROM spend_by_model"
                            " ORDER BY model"),
                        "big 1 1 0.0000015");
    assert_string_equal(ask("SELECT day||' '||tenant||' '||sum(attempts) FROM spend_by_day"),
                        "2026-11-18 acme 2");
    assert_string_equal(ask("PRAGMA user_version"), "6");
    assert_string_equal(ask("PRAGMA journal_mode"), "wal");
    ledger_close(l);
}

static void records_without_attempts_and_with_unset_durations(void **state)
{
    struct ledger_request r = ledger_plain_request();
    struct ledger *l = open_ledger(100);
    (void)state;
    r.outcome = "not_found";
    r.status = 404;
    r.class_us = r.ttft_us = r.duration_us = -1;
    ledger_post(l, ledger_record_new(&r, NULL, 0, NULL, 0));
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(
        ask("SELECT status||' '||(ttft_us IS NULL)||(duration_us IS NULL)||(class_us IS NULL) FROM "
            "requests"),
        "404 111");
    assert_string_equal(ask("SELECT count(*) FROM attempts"), "0");
    ledger_close(l);
}

/* Clients choose request ids: neither repeated nor hostile ones may stop the writer. */
static void hostile_request_ids(void **state)
{
    static const char *const ids[] = {"same", "same", "'; DROP TABLE requests; --",
                                      "\xff\xfe not UTF-8", "%s%n"};
    struct ledger *l = open_ledger(100);
    char *huge = malloc(100001);
    (void)state;
    memset(huge, 'x', 100000);
    huge[100000] = '\0';
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ledger_post(l, record(ids[i], 1));
    ledger_post(l, record(huge, 1));
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(ask("SELECT count(*) FROM requests"), "6");
    assert_string_equal(ask("SELECT count(*) FROM attempts WHERE request_id = 'same'"), "2");
    assert_string_equal(ask("SELECT max(length(request_id)) FROM requests"), "100000");
    assert_int_equal(metric(l, STAT_LEDGER_ERRORS), 0);
    free(huge);
    ledger_close(l);
}

/* What the cache saved stands beside what its checks cost; days of which it had no part are not
 * there. */
static void the_cache_has_a_view_of_its_own(void **state)
{
    static const struct {
        const char *cache, *purpose;
        int64_t saved, cost;
    } rows[] = {{"hit", "serve", 1000, 0},       {"semantic", "serve", 3000, 20},
                {"coalesced", "serve", 2000, 0}, {"miss", "serve", 0, 5000},
                {"", "audit", 0, 700},           {"", "judge", 0, 30},
                {"", "serve", 0, 99000}};
    struct ledger *l = open_ledger(100);
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ledger_request r = {.request_id = "r",
                                   .cap = "",
                                   .received_wall_us = INT64_C(1795000000000000),
                                   .api = "chat",
                                   .requested_model = "m",
                                   .tenant = "acme",
                                   .route = "default",
                                   .policy_version = "p",
                                   .served_model = "m",
                                   .class_name = "",
                                   .class_tier = "",
                                   .cache = rows[i].cache,
                                   .saved = rows[i].saved,
                                   .cost = rows[i].cost,
                                   .purpose = rows[i].purpose,
                                   .outcome = "ok"};
        ledger_post(l, ledger_record_new(&r, NULL, 0, NULL, 0));
    }
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(
        ask("SELECT tenant||' '||requests||' '||hits||' '||coalesced||' '||semantic||' '||"
            "checks||printf(' %.9f %.9f', saved_usd, checks_usd) FROM cache_by_day"),
        "acme 4 1 1 1 2 0.000006000 0.000000730");
    ledger_close(l);
}

static void repeated_attempt_numbers_do_not_stop_the_writer(void **state)
{
    struct ledger_attempt a[3];
    struct ledger_request r = ledger_plain_request();
    struct ledger *l = open_ledger(100);
    (void)state;
    r.request_id = "r";
    for (int i = 0; i < 3; i++)
        a[i] = (struct ledger_attempt){.seq = 7,
                                       .role = "",
                                       .model = "",
                                       .upstream_model = "",
                                       .backend = "",
                                       .endpoint = "",
                                       .outcome = "",
                                       .price_version = "",
                                       .verdict = ""};
    ledger_post(l, ledger_record_new(&r, a, 3, NULL, 0));
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(ask("SELECT group_concat(seq) FROM attempts"), "7,8,9");
    ledger_close(l);
}

static void closing_writes_what_is_queued_and_opening_goes_on(void **state)
{
    char id[32];
    (void)state;
    for (int round = 0; round < 3; round++) {
        struct ledger *l = open_ledger(1000000);
        for (int i = 0; i < 5000; i++) {
            snprintf(id, sizeof id, "req_%d_%d", round, i);
            ledger_post(l, record(id, 1));
        }
        ledger_close(l); /* without flush */
    }
    assert_string_equal(ask("SELECT count(*) FROM requests"), "15000");
    assert_string_equal(ask("SELECT count(DISTINCT request_id) FROM attempts"), "15000");
}

static void decisions_and_outcomes(void **state)
{
    static const struct ledger_decision d[] = {
        {.step = 1,
         .kind = "first",
         .mode = "objective",
         .context = "chat/math",
         .candidates = "[{\"model\":\"small\",\"propensity\":0.75}]",
         .chosen = "small",
         .propensity = 0.75,
         .success_value = 3000000,
         .beliefs = 7,
         .reason = "its index is the highest"},
        {.step = 1, /* a key: it becomes 2 */
         .kind = "next",
         .mode = "accept",
         .context = "",
         .candidates = "[]",
         .chosen = "stop",
         .propensity = 1,
         .success_value = -1,
         .reason = ""},
    };
    struct ledger_request r = {.request_id = "r1",
                               .cap = "",
                               .received_wall_us = 1,
                               .api = "",
                               .requested_model = "",
                               .tenant = "acme",
                               .route = "chat",
                               .policy_version = "",
                               .served_model = "small",
                               .outcome = "ok",
                               .class_name = "math",
                               .class_tier = "",
                               .cost = 2000000,
                               .purpose = "serve",
                               .cache = ""};
    struct ledger_outcome o = {.request_id = "r1",
                               .tenant = "acme",
                               .route = "chat",
                               .class_name = "math",
                               .model = "small",
                               .source = "feedback",
                               .value_milli = 0,
                               .weight_milli = 1000,
                               .said_wall_us = 10,
                               .booked_wall_us = 11,
                               .note = ""};
    struct ledger *l = open_ledger(100);
    (void)state;
    ledger_post(l, ledger_record_new(&r, NULL, 0, d, 2));
    ledger_post(l, ledger_outcome_new(&o));
    o.value_milli = 500; /* said later: it counts */
    o.said_wall_us = 12;
    ledger_post(l, ledger_outcome_new(&o));
    o.source = "regenerate"; /* weighs less */
    o.weight_milli = 300;
    o.value_milli = 0;
    ledger_post(l, ledger_outcome_new(&o));
    o.tenant = "other"; /* not this request's */
    o.weight_milli = 1000;
    ledger_post(l, ledger_outcome_new(&o));
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(
        ask("SELECT group_concat(step||kind||mode||context||json_extract(candidates, "
            "'$[0].propensity')||chosen||propensity||success_nanousd||beliefs||reason) "
            "FROM decisions WHERE step = 1"),
        "1firstobjectivechat/math0.75small0.7530000007its index is the highest");
    assert_string_equal(ask("SELECT chosen||(success_nanousd IS NULL) FROM decisions WHERE step = "
                            "2"),
                        "stop1");
    assert_string_equal(ask("SELECT route||class||resolved||' '||successes||' '||cost_usd||' '||"
                            "usd_per_success FROM cost_per_success"),
                        "chatmath1 0.5 0.002 0.004");
    o.tenant = "acme"; /* both words are taken back */
    o.value_milli = -1;
    o.said_wall_us = 13;
    ledger_post(l, ledger_outcome_new(&o));
    o.source = "feedback";
    ledger_post(l, ledger_outcome_new(&o));
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(ask("SELECT count(*) FROM request_outcomes"), "0");
    assert_string_equal(ask("SELECT count(*) FROM outcomes"), "6");
    assert_int_equal(metric(l, STAT_LEDGER_ROWS), 9);
    ledger_close(l);
}

#define FROM_6_TO_5                                                                                \
    "DROP TABLE spend; ALTER TABLE requests DROP COLUMN conversation;"                             \
    "ALTER TABLE requests DROP COLUMN cap; ALTER TABLE attempt_rows DROP COLUMN judged_tokens;"    \
    "ALTER TABLE attempt_rows DROP COLUMN validators;"                                             \
    "ALTER TABLE attempt_rows DROP COLUMN validated_milli; PRAGMA user_version = 5;"

static struct ledger_record *paid(const char *tenant, const char *cap, int64_t day, nanousd cost)
{
    return ledger_plain_charge(tenant, cap, day * INT64_C(86400000000) + 5, cost);
}

static const char spend_sql[] = "SELECT group_concat(day||tenant||'/'||cap||' '||cost_nanousd) "
                                "FROM (SELECT * FROM spend ORDER BY day, tenant, cap)";

/* What was spent is known from before there was a sum of it: as far back as a budget may look. */
static void a_file_without_spend_is_summed_up(void **state)
{
    struct ledger *l = open_ledger(10);
    sqlite3 *db;
    (void)state;
    ledger_post(l, paid("a", "", 100, 7)); /* too long ago */
    ledger_post(l, paid("a", "", 968, 1));
    ledger_post(l, paid("a", "", 999, 5));
    ledger_post(l, paid("b", "", 999, 30));
    ledger_post(l, paid("a", "", 999, 6));
    ledger_post(l, paid("a", "", 1000, 0));
    ledger_post(l, paid("a", "", 1000, INT64_MAX)); /* absurd, and nothing overflows */
    ledger_post(l, paid("a", "", 1000, INT64_MAX));
    ledger_close(l);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, FROM_6_TO_5, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    l = open_ledger(10);
    assert_string_equal(ask("PRAGMA user_version"), "6");
    assert_string_equal(ask(spend_sql), "968a/ 1,999a/ 11,999b/ 30,1000a/ 2000000000000000");
    assert_string_equal(ask("SELECT count(*)||' '||count(conversation) FROM requests"), "8 0");
    ledger_close(l);
}

static void what_was_spent_is_summed(void **state)
{
    struct ledger *l = open_ledger(10);
    (void)state;
    ledger_post(l, paid("a", "", 9, 5));
    ledger_post(l, paid("a", "route/x", 9, 70));
    ledger_post(l, paid("", "", 9, 1));
    ledger_post(l, paid("a", "", 9, 6));
    ledger_post(l, paid("a", "", 10, 0)); /* cost nothing: no row */
    for (int i = 0; i < 3; i++)
        ledger_post(l, paid("a", "", 11, INT64_MAX)); /* the writer goes on */
    ledger_post(l, paid("z", "", 11, 1));
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(ask("SELECT group_concat(day||tenant||'/'||cap||' '||cost_nanousd) FROM "
                            "(SELECT * FROM spend WHERE tenant <> 'a' OR day < 11)"),
                        "9/ 1,9a/ 11,9a/route/x 70,11z/ 1");
    assert_string_equal(ask("SELECT cost_nanousd >= 4000000000000000000 FROM spend"
                            " WHERE day = 11 AND tenant = 'a'"),
                        "1");
    ledger_close(l);
}

/* More tenants in a batch than sums are kept in memory for. */
static void many_tenants_in_one_batch(void **state)
{
    struct ledger *l = open_ledger(10000);
    (void)state;
    for (int i = 0; i < 3000; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i % 40);
        ledger_post(l, paid(name, i % 3 ? "" : "route/x", 5 + i % 2, i));
    }
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(ask("SELECT count(*)||' '||sum(cost_nanousd) FROM spend"), "80 4498500");
    assert_string_equal(
        ask("SELECT count(*) FROM spend AS s WHERE cost_nanousd <> (SELECT sum(cost_nanousd) FROM "
            "requests AS r WHERE r.tenant = s.tenant AND r.cap = s.cap AND"
            " r.received_wall_us / 86400000000 = s.day)"),
        "0");
    ledger_close(l);
}

/* A file as the first version of weir left it. */
static void an_old_file_is_brought_up_to_date(void **state)
{
    struct ledger *l = open_ledger(10);
    sqlite3 *db;
    (void)state;
    ledger_post(l, record("old", 1));
    ledger_close(l);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "DROP VIEW cost_per_success; DROP VIEW request_outcomes;"
                                  "DROP VIEW outcomes_now; DROP TABLE outcomes;"
                                  "DROP TABLE decisions;"
                                  "ALTER TABLE attempt_rows DROP COLUMN confidence;" FROM_6_TO_5
                                  "ALTER TABLE attempt_rows DROP COLUMN verdict;"
                                  "ALTER TABLE requests DROP COLUMN class;"
                                  "ALTER TABLE requests DROP COLUMN class_confidence;"
                                  "ALTER TABLE requests DROP COLUMN class_tier;"
                                  "ALTER TABLE requests DROP COLUMN class_us;"
                                  "DROP VIEW cache_by_day;"
                                  "ALTER TABLE requests DROP COLUMN cache_cosine;"
                                  "ALTER TABLE requests DROP COLUMN cache_probability;"
                                  "ALTER TABLE requests DROP COLUMN cache;"
                                  "ALTER TABLE requests DROP COLUMN cache_entry;"
                                  "ALTER TABLE requests DROP COLUMN saved_nanousd;"
                                  "ALTER TABLE requests DROP COLUMN purpose;"
                                  "PRAGMA user_version = 1",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    l = open_ledger(10);
    ledger_post(l, record("new", 1));
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(ask("PRAGMA user_version"), "6");
    assert_string_equal(
        ask("SELECT group_concat(request_id||':'||class||':'||class_confidence||"
            "ifnull(class_us, ':none')||cache||saved_nanousd||purpose||"
            "ifnull(cache_cosine, '?')||ifnull(cache_probability, '?')) FROM requests"),
        "old::0.0:none0serve??,new:math:0.7599hit2500serve0.5?");
    ledger_close(l);
}

static void what_cannot_be_opened(void **state)
{
    struct err_text t;
    sqlite3 *db;
    (void)state;
    assert_null(ledger_open("/no/such/dir/ledger.sqlite", 10, &t));
    assert_non_null(strstr(t.s, "/no/such/dir/ledger.sqlite"));
    assert_null(ledger_open(dir, 10, &t));

    FILE *f = fopen(path, "w"); /* not a database */
    fputs("this is a text file, long enough to be looked at as a database header by anyone who "
          "cares to",
          f);
    fclose(f);
    assert_null(ledger_open(path, 10, &t));
    sqlite_files_remove(path);

    sqlite3_open(path, &db); /* somebody else's database */
    sqlite3_exec(db, "CREATE TABLE mine (x)", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_null(ledger_open(path, 10, &t));
    assert_non_null(strstr(t.s, "something else"));
    sqlite_files_remove(path);

    sqlite3_open(path, &db); /* a ledger of the future */
    sqlite3_exec(db, "CREATE TABLE requests (x); PRAGMA user_version = 99", NULL, NULL, NULL);
    sqlite3_close(db);
    assert_null(ledger_open(path, 10, &t));
    assert_non_null(strstr(t.s, "newer"));
}

/* Root may write anything, so a child that is somebody else tries. */
static void a_read_only_file_is_refused(void **state)
{
    (void)state;
    ledger_close(open_ledger(10));
    assert_int_equal(chmod(path, 0444), 0);
    assert_int_equal(chmod(dir, 0555), 0);
    pid_t child = fork();
    if (child == 0) {
        struct err_text t = {""};
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(2);
        struct ledger *l = ledger_open(path, 10, &t);
        _exit(l ? 1 : t.s[0] == '\0');
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(dir, 0755), 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Another process holds the write lock for longer than the busy time-out: full is signalled,
 * readers are not hindered, nothing is lost. */
static void a_locked_database(void **state)
{
    struct ledger *l = open_ledger(50);
    sqlite3 *db;
    char id[32];
    (void)state;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < 50; i++) {
        assert_false(ledger_full(l));
        snprintf(id, sizeof id, "req_%d", i);
        ledger_post(l, record(id, 1));
    }
    assert_true(ledger_full(l));
    assert_false(ledger_flush(l, 100));
    UNTIL(metric(l, STAT_LEDGER_ERRORS) > 0);
    assert_int_equal(ledger_queued(l), 50);
    assert_int_equal(metric(l, STAT_LEDGER_QUEUE), 50);
    assert_string_equal(ask("SELECT count(*) FROM requests"), "0");
    assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_true(ledger_flush(l, 120000));
    assert_false(ledger_full(l));
    assert_string_equal(ask("SELECT count(*) FROM requests"), "50");
    assert_string_equal(ask("SELECT count(*) FROM attempts"), "50");
    assert_int_equal(metric(l, STAT_LEDGER_QUEUE), 0);
    ledger_close(l);
}

/* A reader that takes its time in the middle of a transaction never stops the writer, and sees what
 * it saw at its start. */
static void a_reader_does_not_block_the_writer(void **state)
{
    struct ledger *l = open_ledger(1000);
    sqlite3_stmt *stmt;
    (void)state;
    ledger_post(l, record("a", 1));
    assert_true(ledger_flush(l, 120000));
    sqlite3 *db = reader();
    assert_int_equal(sqlite3_exec(db, "BEGIN", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM requests", -1, &stmt, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    for (int i = 0; i < 100; i++)
        ledger_post(l, record("b", 1));
    assert_true(ledger_flush(l, 120000));
    assert_int_equal(metric(l, STAT_LEDGER_ERRORS), 0);
    assert_int_equal(sqlite3_reset(stmt), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(stmt, 0), 1);
    sqlite3_finalize(stmt);
    sqlite3_close(db);
    assert_string_equal(ask("SELECT count(*) FROM requests"), "101");
    ledger_close(l);
}

/* No room for a byte more (a limit on file sizes stands for the full disk): as with the lock. */
static void a_full_disk(void **state)
{
    struct rlimit before, tight;
    struct ledger *l = open_ledger(3000);
    char id[32];
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    ledger_post(l, record("first", 1));
    assert_true(ledger_flush(l, 120000));
    tight = (struct rlimit){.rlim_cur = 100000, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &tight);
    for (int i = 0; i < 3000; i++) {
        snprintf(id, sizeof id, "req_%d", i);
        ledger_post(l, record(id, 2));
    }
    UNTIL(metric(l, STAT_LEDGER_ERRORS) > 2);
    assert_true(ledger_queued(l) > 0);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_true(ledger_flush(l, 120000));
    assert_string_equal(ask("SELECT count(DISTINCT request_id) FROM requests"), "3001");
    assert_string_equal(ask("SELECT count(*) FROM requests"), "3001"); /* none twice */
    assert_string_equal(ask("SELECT count(*) FROM attempts"), "6001");
    assert_string_equal(ask("PRAGMA integrity_check"), "ok");
    ledger_close(l);
}

/* Rows that the file shows from outside; 0 while there is no table yet. */
static int64_t rows_on_disk(void)
{
    sqlite3 *db;
    sqlite3_stmt *stmt;
    int64_t n = 0;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, "SELECT count(*) FROM requests", -1, &stmt, NULL) == SQLITE_OK) {
        if (sqlite3_step(stmt) == SQLITE_ROW)
            n = sqlite3_column_int64(stmt, 0);
        sqlite3_finalize(stmt);
    }
    sqlite3_close(db);
    return n;
}

static void kill_9_leaves_whole_records_only(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        int64_t before = rows_on_disk();
        pid_t child = fork();
        if (child == 0) {
            struct err_text t;
            struct ledger *l = ledger_open(path, 1000000, &t);
            if (!l)
                _exit(1);
            for (int i = 0;; i++) {
                ledger_post(l, record("req", i % 5));
                while (ledger_full(l) || ledger_queued(l) > 5000)
                    usleep(100);
            }
        }
        UNTIL(rows_on_disk() > before + 2000);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        ledger_close(open_ledger(10)); /* opens, recovers */
        assert_string_equal(ask("PRAGMA integrity_check"), "ok");
        assert_string_equal(ask("SELECT count(*) FROM requests AS r WHERE attempts <>"
                                " (SELECT count(*) FROM attempt_rows AS a WHERE a.request = r.id)"),
                            "0");
        assert_string_equal(
            ask("SELECT count(*) FROM attempt_rows WHERE request NOT IN (SELECT id FROM requests)"),
            "0");
    }
}

enum { POSTERS = 4, EACH = 5000 };

static void *post_many(void *arg)
{
    struct ledger *l = arg;
    for (int i = 0; i < EACH; i++) {
        ledger_post(l, record("req", 1));
        if (i % 1000 == 999)
            assert_true(ledger_flush(l, 120000));
        (void)ledger_full(l);
    }
    return NULL;
}

static void posters_from_many_threads(void **state)
{
    struct ledger *l = open_ledger(1000000);
    pthread_t threads[POSTERS];
    (void)state;
    for (int i = 0; i < POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, l), 0);
    for (int i = 0; i < POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(ledger_queued(l), 0); /* each flushed after its last */
    assert_string_equal(ask("SELECT count(*) FROM requests"), "20000");
    assert_int_equal(metric(l, STAT_LEDGER_ROWS), 40000);
    ledger_close(l);
}

/* In batches: one transaction per record would take minutes where these take seconds, and the test
 * with them. */
static void a_hundred_thousand_records(void **state)
{
    struct ledger *l = open_ledger(1000000);
    char id[40];
    (void)state;
    int64_t began_us = clock_mono_us();
    for (int i = 0; i < 100000; i++) {
        snprintf(id, sizeof id, "req_%08d", i);
        ledger_post(l, record(id, 1));
    }
    int64_t posted_us = clock_mono_us() - began_us;
    assert_true(ledger_flush(l, 300000));
    int64_t took_us = clock_mono_us() - began_us;
    print_message("posting %.2f us, writing %.2f us per record\n", (double)posted_us / 1e5,
                  (double)took_us / 1e5);
    assert_string_equal(ask("SELECT count(*) FROM requests"), "100000");
    ledger_close(l);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup(fn, each_begins_without_files)
    const struct CMUnitTest tests[] = {
        TEST(a_record_is_stored_as_given),
        TEST(records_without_attempts_and_with_unset_durations),
        TEST(hostile_request_ids),
        TEST(the_cache_has_a_view_of_its_own),
        TEST(repeated_attempt_numbers_do_not_stop_the_writer),
        TEST(closing_writes_what_is_queued_and_opening_goes_on),
        TEST(decisions_and_outcomes),
        TEST(an_old_file_is_brought_up_to_date),
        TEST(a_file_without_spend_is_summed_up),
        TEST(what_was_spent_is_summed),
        TEST(many_tenants_in_one_batch),
        TEST(what_cannot_be_opened),
        TEST(a_read_only_file_is_refused),
        TEST(a_locked_database),
        TEST(a_reader_does_not_block_the_writer),
        TEST(a_full_disk),
        TEST(kill_9_leaves_whole_records_only),
        TEST(posters_from_many_threads),
        TEST(a_hundred_thousand_records),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}

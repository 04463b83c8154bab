/* router/spends_sheet: what replicas tell each other that they have spent, with a table that is an
 * array here; and what a table may hold that nobody of ours has written. */
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/mem.h"
#include "router/spends_sheet.h"
#include "router/tenant_limit.h"
#include "tests/unit/router/spends_names.h"

#define DAY_US INT64_C(86400000000)
#define ID_A   "aaaaaaaaaaaaaaaa"
#define ID_B   "bbbbbbbbbbbbbbbb"
#define ID_C   "cccccccccccccccc"

static int64_t at(int year, int month, int day)
{
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};

    return (int64_t)timegm(&tm) * 1000000;
}

/* ---- a table, as the store keeps it ---- */

struct table {
    char field[64][64], value[64][32];
    size_t count;
};

static void put(struct table *t, const char *field, const char *value)
{
    size_t i = 0;

    while (i < t->count && strcmp(t->field[i], field) != 0)
        i++;
    assert_true(i < 64);
    t->count += i == t->count;
    snprintf(t->field[i], sizeof t->field[i], "%s", field);
    snprintf(t->value[i], sizeof t->value[i], "%s", value);
}

struct replica {
    struct spends_names names;
    struct spends_sheet sheet;
    const char *id;
};

static struct replica *open_replica(const char *id, enum spend_period kind)
{
    struct replica *r = mem_zalloc(1, sizeof *r);

    r->id = id;
    spends_names_make(&r->names);
    spends_sheet_init(&r->sheet, kind);
    return r;
}

static void close_replica(struct replica *r)
{
    spends_sheet_clear(&r->sheet);
    spends_names_clear(&r->names);
    free(r);
}

static size_t tell(struct replica *r, struct table *t)
{
    const struct sheet_row *row;
    size_t i = 0, told = 0;

    while ((row = spends_sheet_due(&r->sheet, &i))) {
        char value[32], field[64];
        struct buf b;

        buf_init(&b, 256);
        assert_int_equal(spends_sheet_field(row, r->id, &b), ERR_OK);
        snprintf(field, sizeof field, "%.*s", SLICE_ARG(buf_slice(&b)));
        snprintf(value, sizeof value, "%" PRId64, row->told);
        put(t, field, value);
        buf_clear(&b);
        told++;
    }
    assert_false(spends_sheet_has_due(&r->sheet));
    return told;
}

static bool hear(struct replica *r, const struct table *t, nanousd *restored)
{
    spends_sheet_read_begin(&r->sheet);
    for (size_t i = 0; i < t->count; i++)
        spends_sheet_read(&r->sheet, r->id, slice_str(t->field[i]), slice_str(t->value[i]));
    return spends_sheet_read_end(&r->sheet, restored);
}

/* As the thread does it: tell, then read. Nothing is restored, and nobody else is called so. */
static void exchange(struct replica *r, struct table *t, int64_t now)
{
    nanousd restored = -1;

    (void)spends_sheet_turn(&r->sheet, &r->names.spends, now);
    (void)tell(r, t);
    assert_true(hear(r, t, &restored));
    assert_int_equal(restored, 0);
}

/* ---- tests ---- */

static void sums_are_those_of_all(void **state)
{
    struct replica *a = open_replica(ID_A, SPEND_MONTH), *b = open_replica(ID_B, SPEND_MONTH);
    struct table t = {.count = 0};
    int64_t now = at(2027, 3, 15);
    struct tenant_limit over;
    (void)state;

    spend_book(a->names.acme, 60, now);
    spend_book(b->names.acme, 39, now);
    spend_book(b->names.audits, 7, now);
    for (int round = 0; round < 3; round++) { /* repeats count once */
        exchange(a, &t, now);
        exchange(b, &t, now);
    }
    assert_int_equal(spend_in(a->names.acme, SPEND_MONTH, now), 99);
    assert_int_equal(spend_in(b->names.acme, SPEND_MONTH, now), 99);
    assert_int_equal(spend_here(a->names.acme, SPEND_MONTH, now), 60);
    assert_int_equal(spend_in(a->names.audits, SPEND_MONTH, now), 7);
    assert_int_equal(spend_in(a->names.idle, SPEND_MONTH, now), 0);
    assert_int_equal(t.count, 3);
    assert_int_equal(tell(a, &t), 0);
    const struct policy_tenant *acme = &a->names.snap.policy->tenants[0];
    assert_false(tenant_limit_reached(acme, a->names.acme, now, &over));
    spend_book(b->names.acme, 1, now);
    exchange(b, &t, now);
    exchange(a, &t, now);
    assert_true(tenant_limit_reached(acme, a->names.acme, now, &over));
    close_replica(a);
    close_replica(b);
}

/* Before it has read the table a process does not know what an earlier one has told. */
static void an_earlier_run_counts(void **state)
{
    struct replica *r = open_replica(ID_A, SPEND_MONTH);
    struct table t = {.count = 0};
    int64_t now = at(2027, 3, 15);
    nanousd restored;
    (void)state;

    spend_book(r->names.acme, 10, now); /* the ledger's */
    spend_book(r->names.idle, 10, now);
    assert_true(spends_sheet_turn(&r->sheet, &r->names.spends, now));
    spend_book(r->names.acme, 1, now); /* served before the store was there */
    assert_int_equal(tell(r, &t), 0);
    put(&t, ID_A " t acme", "15"); /* five of it were killed on their way to the ledger */
    put(&t, ID_A " t idle", "8");  /* the store lost two */
    assert_true(hear(r, &t, &restored));
    assert_int_equal(restored, 5);
    assert_int_equal(spend_in(r->names.acme, SPEND_MONTH, now), 16);
    assert_int_equal(spend_in(r->names.idle, SPEND_MONTH, now), 10);
    assert_int_equal(tell(r, &t), 2);
    exchange(r, &t, now);
    assert_string_equal(t.value[0], "16");
    assert_string_equal(t.value[1], "10");
    close_replica(r);
}

static void a_store_that_lost_all_is_told_again(void **state)
{
    struct replica *a = open_replica(ID_A, SPEND_MONTH), *b = open_replica(ID_B, SPEND_MONTH);
    struct table t = {.count = 0}, empty = {.count = 0};
    int64_t now = at(2027, 3, 15);
    (void)state;

    spend_book(a->names.acme, 60, now);
    spend_book(b->names.acme, 30, now);
    for (int round = 0; round < 2; round++) {
        exchange(a, &t, now);
        exchange(b, &t, now);
    }
    exchange(a, &t, now);
    exchange(a, &empty, now); /* and b has gone for good: what it spent is remembered */
    assert_int_equal(spend_in(a->names.acme, SPEND_MONTH, now), 90);
    exchange(a, &empty, now);
    assert_int_equal(empty.count, 1);
    assert_string_equal(empty.value[0], "60");
    close_replica(a);
    close_replica(b);
}

static void two_of_one_name_part(void **state)
{
    struct replica *a = open_replica(ID_A, SPEND_DAY), *copy = open_replica(ID_A, SPEND_DAY);
    struct table t = {.count = 0};
    int64_t now = at(2027, 3, 15);
    nanousd restored;
    (void)state;

    exchange(a, &t, now);
    exchange(copy, &t, now);
    spend_book(a->names.acme, 5, now);
    exchange(a, &t, now);
    assert_false(hear(copy, &t, &restored));
    copy->id = ID_C;
    spends_sheet_forget_told(&copy->sheet);
    spend_book(copy->names.acme, 2, now);
    exchange(copy, &t, now);
    exchange(a, &t, now);
    assert_int_equal(spend_in(copy->names.acme, SPEND_DAY, now), 7);
    assert_int_equal(spend_in(a->names.acme, SPEND_DAY, now), 7);
    close_replica(a);
    close_replica(copy);
}

static void what_makes_no_sense_does_not_count(void **state)
{
    static const char *const strange[][2] = {
        {"", "1"},
        {"changes", "1"},
        {ID_B, "1"},
        {ID_B " ", "1"},
        {ID_B " t", "1"},
        {ID_B " x acme", "1"},
        {ID_B "  acme", "1"},
        {ID_B " tacme", "1"},
        {ID_B "b t acme", "1"},
        {"b t acme", "1"},
        {ID_B " t acme", ""},
        {ID_C " t acme", "-5"},
        {"dddddddddddddddd t acme", "+5"},
        {"eeeeeeeeeeeeeeee t acme", " 5"},
        {"ffffffffffffffff t acme", "5.0"},
        {"0000000000000000 t acme", "1e3"},
        {"1111111111111111 t acme", "1000000000000000001"},
        {"2222222222222222 t acme", "9223372036854775808"},
        {"3333333333333333 t acme", "99999999999999999999999999999"},
        {ID_A " t acme", "many"},
    };
    enum { STRANGE = sizeof strange / sizeof strange[0] };
    struct replica *r = open_replica(ID_A, SPEND_MONTH);
    struct table t = {.count = 0};
    int64_t now = at(2027, 3, 15);
    (void)state;

    spend_book(r->names.acme, 3, now);
    exchange(r, &t, now);
    for (size_t i = 0; i < STRANGE; i++)
        put(&t, strange[i][0], strange[i][1]);
    put(&t, "4444444444444444 t nobody", "77"); /* of another policy: no fault */
    put(&t, "5555555555555555 t acme", "0007");
    nanousd restored;
    assert_true(hear(r, &t, &restored));
    assert_int_equal(r->sheet.strange, STRANGE);
    assert_int_equal(spend_in(r->names.acme, SPEND_MONTH, now), 10);
    exchange(r, &t, now); /* its own field is as it should be again */
    assert_int_equal(r->sheet.strange, STRANGE - 1);
    close_replica(r);
}

static void sums_do_not_wrap(void **state)
{
    struct replica *r = open_replica(ID_A, SPEND_MONTH);
    struct table t = {.count = 0};
    int64_t now = at(2027, 3, 15);
    nanousd restored;
    (void)state;

    for (int i = 0; i < 20; i++) {
        char field[32];
        snprintf(field, sizeof field, "%016d t acme", i);
        put(&t, field, "1000000000000000000");
    }
    put(&t, ID_A " t idle", "1000000000000000000");
    spend_book(r->names.acme, 3, now);
    assert_true(spends_sheet_turn(&r->sheet, &r->names.spends, now));
    assert_true(hear(r, &t, &restored));
    assert_true(restored == SPENDS_MOST);
    assert_true(spend_in(r->names.acme, SPEND_MONTH, now) == INT64_MAX);
    spend_book(r->names.idle, 5, now);
    assert_true(spend_in(r->names.idle, SPEND_MONTH, now) == SPENDS_MOST + 5);
    assert_int_equal(tell(r, &t), 1); /* acme's; more than the most is not told */
    close_replica(r);
}

static void days_and_months_begin_anew(void **state)
{
    struct replica *a = open_replica(ID_A, SPEND_DAY), *b = open_replica(ID_B, SPEND_DAY);
    struct table today = {.count = 0}, tomorrow = {.count = 0};
    int64_t eve = at(2027, 2, 28), morning = eve + DAY_US;
    (void)state;

    spend_book(a->names.acme, 5, eve);
    spend_book(b->names.acme, 7, eve);
    for (int round = 0; round < 2; round++) {
        exchange(a, &today, eve);
        exchange(b, &today, eve);
    }
    exchange(a, &today, eve);
    assert_int_equal(spend_in(a->names.acme, SPEND_DAY, morning - 1), 12);
    assert_int_equal(spend_in(a->names.acme, SPEND_DAY, morning), 0); /* before it was told so */
    assert_true(spends_sheet_turn(&a->sheet, &a->names.spends, morning));
    assert_int_equal(a->sheet.period, spend_period_of(SPEND_DAY, morning));
    spend_book(a->names.acme, 1, morning);
    exchange(a, &tomorrow, morning);
    exchange(b, &tomorrow, morning);
    assert_int_equal(spend_in(b->names.acme, SPEND_DAY, morning), 1);
    assert_false(spends_sheet_turn(&a->sheet, &a->names.spends, eve)); /* a clock set back */
    assert_int_equal(a->sheet.period, spend_period_of(SPEND_DAY, morning));
    spend_book(a->names.acme, 2, eve);
    exchange(a, &tomorrow, eve);
    exchange(b, &tomorrow, eve);
    assert_int_equal(spend_in(b->names.acme, SPEND_DAY, eve), 3);
    assert_string_equal(today.value[0], "5");
    close_replica(a);
    close_replica(b);
}

/* A worker's clock that is ahead turns the page before the thread does. */
static void the_latest_page_is_told(void **state)
{
    struct replica *a = open_replica(ID_A, SPEND_MONTH);
    struct table t = {.count = 0};
    int64_t eve = at(2027, 12, 31);
    (void)state;

    exchange(a, &t, eve);
    spend_book(a->names.acme, 4, eve + DAY_US);
    exchange(a, &t, eve);
    assert_int_equal(a->sheet.period, spend_period_of(SPEND_MONTH, eve + DAY_US));
    assert_int_equal(t.count, 1);
    assert_string_equal(t.value[0], "4");
    close_replica(a);
}

/* A reload brings a tenant that others have served for long. */
static void names_may_come_later(void **state)
{
    struct replica *r = mem_zalloc(1, sizeof *r);
    struct table t = {.count = 0};
    int64_t now = at(2027, 3, 15);
    nanousd restored;
    (void)state;

    spends_sheet_init(&r->sheet, SPEND_MONTH);
    r->id = ID_A;
    put(&t, ID_B " t acme", "9");
    put(&t, ID_B " c route/sound", "2");
    exchange(r, &t, now);
    assert_int_equal(r->sheet.count, 0);
    spends_names_make(&r->names);
    spend_book(r->names.acme, 1, now);
    assert_true(spends_sheet_turn(&r->sheet, &r->names.spends, now));
    assert_false(spends_sheet_turn(&r->sheet, &r->names.spends, now));
    assert_int_equal(tell(r, &t), 0); /* not before it is known what the table has */
    assert_true(hear(r, &t, &restored));
    assert_int_equal(spend_in(r->names.acme, SPEND_MONTH, now), 10);
    assert_int_equal(spend_in(r->names.audits, SPEND_MONTH, now), 2);
    assert_int_equal(tell(r, &t), 1);
    close_replica(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_all),
        cmocka_unit_test(an_earlier_run_counts),
        cmocka_unit_test(a_store_that_lost_all_is_told_again),
        cmocka_unit_test(two_of_one_name_part),
        cmocka_unit_test(what_makes_no_sense_does_not_count),
        cmocka_unit_test(sums_do_not_wrap),
        cmocka_unit_test(days_and_months_begin_anew),
        cmocka_unit_test(the_latest_page_is_told),
        cmocka_unit_test(names_may_come_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

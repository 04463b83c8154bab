/* router/spend and router/spends: days and months as the calendar has them, sums that begin anew,
 * and what a ledger fills them with. */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "policies/policy_load.h"
#include "router/ledger.h"
#include "router/snapshot.h"
#include "router/spends.h"
#include "router/tenant_limit.h"
#include "tests/unit/policies/policy_fixture.h"
#include "tests/unit/router/ledger_plain.h"

#define KEY_A  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define KEY_B  "f3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define DAY_US INT64_C(86400000000)

static int64_t at(int year, int month, int day)
{
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};

    return (int64_t)timegm(&tm) * 1000000;
}

static void months_are_those_of_the_calendar(void **state)
{
    (void)state;
    for (int64_t day = 0; day < 200000; day++) { /* to the year 2517 */
        time_t t = (time_t)(day * 86400);
        struct tm tm;
        gmtime_r(&t, &tm);
        int64_t month = (tm.tm_year - 70) * 12 + tm.tm_mon;
        assert_int_equal(spend_period_of(SPEND_MONTH, day * DAY_US + DAY_US - 1), month);
        if (tm.tm_mday == 1)
            assert_int_equal(spend_period_begin_us(SPEND_MONTH, month), day * DAY_US);
    }
    assert_int_equal(spend_period_of(SPEND_DAY, 3 * DAY_US - 1), 2);
    assert_int_equal(spend_period_begin_us(SPEND_DAY, 2), 2 * DAY_US);
}

static void sums_begin_anew(void **state)
{
    struct spend s = {.name = NULL};
    int64_t eve = at(2027, 2, 28);
    (void)state;
    spend_book(&s, 60, eve - DAY_US);
    spend_book(&s, 7, eve);
    assert_int_equal(spend_in(&s, SPEND_DAY, eve + DAY_US - 1), 7);
    assert_int_equal(spend_in(&s, SPEND_MONTH, eve + DAY_US - 1), 67);
    assert_int_equal(spend_in(&s, SPEND_DAY, eve + DAY_US), 0);
    assert_int_equal(spend_in(&s, SPEND_MONTH, eve + DAY_US), 0);
    spend_book(&s, 5, eve); /* a clock that goes back gives nothing */
    assert_int_equal(spend_in(&s, SPEND_DAY, eve), 5);
    assert_int_equal(spend_in(&s, SPEND_MONTH, eve + 2 * DAY_US), 5);
}

static const char policy_text[] =
    "version: 1\n"
    "backends:\n"
    "  s: {dialect: openai, url: \"http://127.0.0.1:9\"}\n"
    "models:\n"
    "  m: {backend: s, price: {input: 1, output: 1}}\n"
    "  n: {backend: s, price: {input: 1, output: 1}}\n"
    "tenants:\n"
    "  acme: {keys: [{sha256: " KEY_A "}],\n"
    "    budget: {max_usd_per_day: 0.00000005, max_usd_per_month: 0.0000001}}\n"
    "  idle: {keys: [{sha256: " KEY_B "}]}\n"
    "routes:\n"
    "  - {name: plain, match: {model: m}, cascade: [m]}\n"
    "  - {name: sound, match: {model: x}, cascade: [m, n], accept: "
    "0.5, audit: {share: 1, judge: m}}\n";

static void pay(struct ledger *l, const char *tenant, const char *cap, int64_t wall_us, nanousd usd)
{
    ledger_post(l, ledger_plain_charge(tenant, cap, wall_us, usd));
}

static void write_ledger(const char *path, int64_t now)
{
    struct err_text t = {""};
    struct ledger *l = ledger_open(path, 100, &t);

    assert_non_null(l);
    pay(l, "acme", "", now, 1);
    pay(l, "acme", "route/sound", now + 1, 10);
    pay(l, "acme", "cache/judge", now - DAY_US, 100); /* yesterday */
    pay(l, "", "cache/audits", now, 1000);
    pay(l, "acme", "", now - 20 * DAY_US, 10000); /* last month */
    pay(l, "gone", "", now, 100000);
    ledger_close(l);
}

static void a_ledger_fills_them(void **state)
{
    int64_t now = at(2027, 3, 15);
    char dir[] = "/tmp/weir_spend_XXXXXX", path[64];
    struct spends s = {.first = {NULL}};
    struct arena arena;
    struct snapshot snap = {.arena = &arena};
    struct err_text t = {""};
    (void)state;

    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/ledger.sqlite", dir);
    assert_int_equal(spends_fill(&s, path, now, &t), ERR_NOT_FOUND);
    write_ledger(path, now);
    assert_int_equal(spends_fill(&s, path, now, &t), ERR_OK);
    snap.policy = fixture_load(policy_text);
    arena_init(&arena, 1024);
    spends_serve(&s, &snap);
    struct spend *acme = snap.spends.tenants[0];
    assert_int_equal(spend_in(acme, SPEND_DAY, now), 11);
    assert_int_equal(spend_in(acme, SPEND_MONTH, now), 111);
    assert_int_equal(spend_in(snap.spends.tenants[1], SPEND_MONTH, now), 0);
    assert_null(snap.spends.audits[0]);
    assert_int_equal(spend_in(snap.spends.audits[1], SPEND_DAY, now), 10);
    assert_int_equal(spend_in(snap.spends.cache_audits, SPEND_DAY, now), 1000);
    assert_int_equal(spend_in(snap.spends.cache_judge, SPEND_DAY, now), 0);
    spend_book(acme, 5, now);
    spends_serve(&s, &snap); /* a reload has the same sums */
    assert_ptr_equal(snap.spends.tenants[0], acme);
    assert_string_equal(snap.spends.audits[1]->name, "route/sound");
    arena_clear(&arena);
    policy_unref(snap.policy);
    spends_clear(&s);
    unlink(path);
    rmdir(dir);
}

static void limits_are_reached(void **state)
{
    struct policy *p = fixture_load(policy_text);
    const struct policy_tenant *acme = &p->tenants[0], *idle = &p->tenants[1];
    struct spend s = {.name = NULL};
    int64_t noon = at(2028, 2, 10) + DAY_US / 2;
    struct tenant_limit over;
    (void)state;

    assert_int_equal(tenant_limit_of(acme, SPEND_DAY), 50);
    assert_int_equal(tenant_limit_of(idle, SPEND_MONTH), POLICY_NONE);
    spend_book(&s, 49, noon);
    assert_false(tenant_limit_reached(acme, &s, noon, &over));
    spend_book(&s, 1, noon);
    assert_false(tenant_limit_reached(idle, &s, noon, &over));
    assert_true(tenant_limit_reached(acme, &s, noon, &over));
    assert_int_equal(over.period, SPEND_DAY);
    assert_int_equal(over.limit, 50);
    assert_int_equal(over.left_us, DAY_US / 2);
    assert_false(tenant_limit_reached(acme, &s, noon + DAY_US / 2, &over));
    spend_book(&s, 50, noon + DAY_US);
    assert_true(tenant_limit_reached(acme, &s, noon + DAY_US, &over)); /* both: the longer one */
    assert_int_equal(over.period, SPEND_MONTH);
    assert_int_equal(noon + DAY_US + over.left_us, at(2028, 3, 1));
    assert_true(tenant_limit_reached(acme, &s, at(2028, 3, 1) - 1, &over));
    assert_false(tenant_limit_reached(acme, &s, at(2028, 3, 1), &over));
    policy_unref(p);
}

static void the_cheapest_step_is_found(void **state)
{
    struct policy *p =
        fixture_load("version: 1\n"
                     "backends:\n"
                     "  s: {dialect: openai, url: \"http://127.0.0.1:9/v1\"}\n"
                     "models:\n"
                     "  long: {backend: s, price: {input: 1, output: 10}}\n"
                     "  short: {backend: s, max_output: 10, price: {input: 2, output: 10}}\n"
                     "  own: {backend: s, price: {gpu_second: 0.0005}}\n" /* 5.12 s: $0.00256 */
                     "routes:\n"
                     "  - {name: r, match: {model: x}, cascade: [long, short], fallback: [own]}\n");
    const struct policy_route *r = &p->routes[0];
    const int all[] = {0, 1, 2}, some[] = {0, 2};
    (void)state;

    assert_int_equal(tenant_limit_cheapest(p, r, all, 3, POLICY_API_CHAT, 100, 0), 1);
    assert_int_equal(tenant_limit_cheapest(p, r, some, 2, POLICY_API_CHAT, 100, 0), 2);
    assert_int_equal(tenant_limit_cheapest(p, r, all, 3, POLICY_API_CHAT, 100000, 0), 2);
    assert_int_equal(tenant_limit_cheapest(p, r, some, 1, POLICY_API_CHAT, 100000, 0), 0);
    policy_unref(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ledger_fills_them), cmocka_unit_test(limits_are_reached),
        cmocka_unit_test(the_cheapest_step_is_found),
        cmocka_unit_test(months_are_those_of_the_calendar), cmocka_unit_test(sums_begin_anew)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Names to addresses: numeric at once, localhost through the threads and then the cache, nonsense
 * fails, cancelled questions and closed mailboxes are not answered. Needs no name server. */
#include <arpa/inet.h>
#include <poll.h>
#include <cmocka.h>

#include "backends/resolver.h"
#include "base/clock.h"

/* 64 bytes in a label: refused by the resolver library itself (RFC 1035 2.3.4). */
#define BAD_NAME "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.invalid"

struct seen {
    int calls;
    struct resolver_addrs addrs;
};

static void on_addrs(void *ctx, const struct resolver_addrs *addrs)
{
    struct seen *s = ctx;

    s->calls++;
    s->addrs = *addrs;
}

static void wait_for(struct mailbox *mb, const struct seen *s, int calls)
{
    while (s->calls < calls) {
        struct pollfd p = {.fd = mb->fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, 60000), 1);
        mailbox_drain(mb, NULL);
    }
}

static void test_numeric(void **state)
{
    struct resolver_addrs a;

    (void)state;
    assert_true(resolver_numeric("127.0.0.1", 80, &a));
    assert_int_equal(a.count, 1);
    assert_int_equal(a.addr[0].u.in.sin_port, htons(80));
    assert_int_equal(a.addr[0].u.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_true(resolver_numeric("::1", 443, &a));
    assert_int_equal(a.addr[0].u.in6.sin6_port, htons(443));
    assert_false(resolver_numeric("localhost", 80, &a));
    assert_false(resolver_numeric("127.0.0.1.", 80, &a));
    assert_false(resolver_numeric("0x7f000001", 80, &a)); /* inet_aton would take it */
    assert_false(resolver_numeric("", 80, &a));
}

static void test_name_then_cache(void **state)
{
    struct resolver *r = resolver_ref(), *same = resolver_ref();
    struct mailbox mb;
    struct seen s = {0}, t = {0};
    struct resolver_addrs a = {.count = 0};
    struct resolver_lookup *l, *m;

    (void)state;
    assert_ptr_equal(r, same);
    assert_int_equal(mailbox_init(&mb), 0);
    assert_false(resolver_ask(r, "localhost", 8080, &mb, on_addrs, &s, &a, &l));
    assert_non_null(l);
    assert_int_equal(s.calls, 0);
    if (resolver_ask(r, "LOCALHOST", 8081, &mb, on_addrs, &t, &a,
                     &m)) /* the same name; perhaps known by now */
        on_addrs(&t, &a);
    wait_for(&mb, &s, 1);
    wait_for(&mb, &t, 1);
    assert_true(s.addrs.count >= 1);
    assert_int_equal(s.addrs.addr[0].u.in.sin_port,
                     htons(8080)); /* same offset for both families */
    assert_int_equal(t.addrs.addr[0].u.in.sin_port, htons(8081));
    assert_true(resolver_ask(r, "localhost", 9, &mb, on_addrs, &s, &a, &l));
    assert_null(l);
    assert_true(a.count >= 1);
    assert_int_equal(a.addr[0].u.in.sin_port, htons(9));
    resolver_forget(r, &mb);
    mailbox_clear(&mb);
    resolver_unref(r);
    resolver_unref(same);
}

static void test_failure_is_cached_for_a_second(void **state)
{
    struct resolver *r = resolver_ref();
    struct mailbox mb;
    struct seen s = {0};
    struct resolver_addrs a = {.count = 5};
    struct resolver_lookup *l;
    int64_t end_us;

    (void)state;
    assert_int_equal(mailbox_init(&mb), 0);
    assert_false(resolver_ask(r, BAD_NAME, 1, &mb, on_addrs, &s, &a, &l));
    wait_for(&mb, &s, 1);
    assert_int_equal(s.addrs.count, 0);
    assert_true(resolver_ask(r, BAD_NAME, 1, &mb, on_addrs, &s, &a, &l));
    assert_int_equal(a.count, 0);
    end_us = clock_mono_us() + 60000000;
    while (resolver_ask(r, BAD_NAME, 1, &mb, on_addrs, &s, &a, &l)) {
        assert_true(clock_mono_us() < end_us);
        poll(NULL, 0, 50);
    }
    wait_for(&mb, &s, 2);
    mailbox_clear(&mb);
    resolver_unref(r);
}

static void test_cancel_and_forget(void **state)
{
    struct resolver *r = resolver_ref();
    struct mailbox mb, gone;
    struct seen s = {0}, t = {0};
    struct resolver_addrs a;
    struct resolver_lookup *l, *m;

    (void)state;
    assert_int_equal(mailbox_init(&mb), 0);
    assert_int_equal(mailbox_init(&gone), 0);
    assert_false(resolver_ask(r, "localhost", 1, &mb, on_addrs, &s, &a, &l));
    assert_false(resolver_ask(r, BAD_NAME, 2, &mb, on_addrs, &t, &a, &m));
    assert_false(resolver_ask(r, "x" BAD_NAME, 3, &gone, on_addrs, &s, &a, &m));
    resolver_cancel(l);
    resolver_forget(r, &gone);
    mailbox_clear(&gone);
    wait_for(&mb, &t, 1);
    assert_int_equal(s.calls, 0);
    resolver_unref(r); /* while nothing is under way; its threads end by themselves */
    mailbox_clear(&mb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numeric),
        cmocka_unit_test(test_name_then_cache),
        cmocka_unit_test(test_failure_is_cached_for_a_second),
        cmocka_unit_test(test_cancel_and_forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

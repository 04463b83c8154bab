/* base/mailbox: order per sender, one wake-up for many messages, nothing lost or leaked on close;
 * several threads. */
#include <cmocka.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "base/mailbox.h"

struct note {
    struct message base;
    int sender, number;
};

struct receiver {
    struct mailbox *mb;
    int last[4];
    size_t got;
    int repost; /* deliveries that post another message */
};

static atomic_int discarded;

static void discard(struct message *m)
{
    atomic_fetch_add(&discarded, 1);
    free(CONTAINER_OF(m, struct note, base));
}

static void deliver(struct message *m, void *ctx);

static struct note *note_new(int sender, int number)
{
    struct note *n = malloc(sizeof *n);
    assert_non_null(n);
    *n = (struct note){
        .base = {.deliver = deliver, .discard = discard}, .sender = sender, .number = number};
    return n;
}

static void deliver(struct message *m, void *ctx)
{
    struct receiver *r = ctx;
    struct note *n = CONTAINER_OF(m, struct note, base);
    assert_true(n->number == r->last[n->sender] + 1);
    r->last[n->sender] = n->number;
    r->got++;
    if (r->repost > 0) {
        r->repost--;
        assert_true(mailbox_post(r->mb, &note_new(n->sender, n->number + 1)->base));
    }
    free(n);
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void test_order_and_wake_up(void **state)
{
    (void)state;
    struct mailbox mb;
    struct receiver r = {.mb = &mb};
    assert_int_equal(mailbox_init(&mb), 0);
    assert_false(readable(mb.fd));
    assert_int_equal(mailbox_drain(&mb, &r), 0);
    for (int i = 1; i <= 3; i++)
        assert_true(mailbox_post(&mb, &note_new(0, i)->base));
    assert_true(readable(mb.fd));
    assert_int_equal(mailbox_drain(&mb, &r), 3);
    assert_false(readable(mb.fd));
    r.repost = 1; /* a message posted while draining waits for the next drain, and wakes for it */
    assert_true(mailbox_post(&mb, &note_new(0, 4)->base));
    assert_int_equal(mailbox_drain(&mb, &r), 1);
    assert_true(readable(mb.fd));
    assert_int_equal(mailbox_drain(&mb, &r), 1);
    assert_int_equal(r.last[0], 5);
    mailbox_clear(&mb);
}

static void test_close_discards(void **state)
{
    (void)state;
    struct mailbox mb;
    struct receiver r = {.mb = &mb};
    atomic_store(&discarded, 0);
    assert_int_equal(mailbox_init(&mb), 0);
    assert_true(mailbox_post(&mb, &note_new(0, 1)->base));
    assert_true(mailbox_post(&mb, &note_new(0, 2)->base));
    mailbox_close(&mb);
    assert_int_equal(atomic_load(&discarded), 2);
    assert_false(mailbox_post(&mb, &note_new(0, 3)->base));
    assert_int_equal(atomic_load(&discarded), 3);
    assert_int_equal(mailbox_drain(&mb, &r), 0);
    mailbox_clear(&mb);
}

enum { SENDERS = 4, EACH = 5000 };

struct sender {
    struct mailbox *mb;
    int id;
};

static void *send_all(void *arg)
{
    const struct sender *s = arg;
    for (int i = 1; i <= EACH; i++)
        mailbox_post(s->mb, &note_new(s->id, i)->base);
    return NULL;
}

static void test_many_senders(void **state)
{
    (void)state;
    struct mailbox mb;
    struct receiver r = {.mb = &mb};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    assert_int_equal(mailbox_init(&mb), 0);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&mb, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    while (r.got < SENDERS * EACH) {
        struct pollfd p = {.fd = mb.fd, .events = POLLIN};
        assert_int_equal(poll(&p, 1, 60000), 1); /* a lost wake-up would hang here */
        mailbox_drain(&mb, &r);
    }
    for (int i = 0; i < SENDERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(mailbox_drain(&mb, &r), 0);
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(r.last[i], EACH);
    mailbox_clear(&mb);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_wake_up),
        cmocka_unit_test(test_close_discards),
        cmocka_unit_test(test_many_senders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

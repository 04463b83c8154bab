/* The service's queue, passes, deadlines, failures and end, over an encoder that can be held still.
 */
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/mem.h"
#include "router/encoder/encoder_service.h"
#include "tests/unit/encoder/fake_encoder.h"

#define PATIENCE_MS 60000
#define MAX_ANSWERS 64

struct desk { /* the receiver's side */
    struct mailbox mailbox;
    struct encoder_query *answers[MAX_ANSWERS];
    size_t count;
};

struct fixture {
    struct encoder *encoder;
    struct encoder_service *service;
    struct desk desk;
};

static void deliver(struct message *m, void *ctx)
{
    struct desk *d = ctx;

    assert_true(d->count < MAX_ANSWERS);
    d->answers[d->count++] = CONTAINER_OF(m, struct encoder_query, msg);
}

static void wait_for(struct desk *d, size_t count)
{
    while (d->count < count) {
        struct pollfd p = {.fd = d->mailbox.fd, .events = POLLIN};

        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
        mailbox_drain(&d->mailbox, d);
    }
    assert_int_equal(d->count, count);
}

static void forget(struct desk *d)
{
    for (size_t i = 0; i < d->count; i++)
        encoder_query_free(d->answers[i]);
    d->count = 0;
}

static void open_fixture(struct fixture *f, bool gpu, size_t max_queued,
                         const struct encoder_options *fallback)
{
    struct encoder_options opt = {.folder = "any", .device = gpu ? ENCODER_CUDA : ENCODER_CPU};
    struct encoder_service_options so = {
        .threads = 1, .max_queued = max_queued, .max_text_bytes = 2000, .fallback = fallback};
    struct err_text t;

    fake_encoder_reset();
    memset(f, 0, sizeof *f);
    assert_int_equal(mailbox_init(&f->desk.mailbox), 0);
    assert_int_equal(encoder_open(&opt, &f->encoder, &t), ERR_OK);
    so.encoder = f->encoder;
    assert_int_equal(encoder_service_start(&so, &f->service, &t), ERR_OK);
}

static void close_fixture(struct fixture *f)
{
    encoder_service_free(f->service);
    mailbox_drain(&f->desk.mailbox, &f->desk);
    forget(&f->desk);
    mailbox_close(&f->desk.mailbox);
    mailbox_clear(&f->desk.mailbox);
    encoder_free(f->encoder);
}

static struct encoder_query *query(struct fixture *f, const char *text, uint64_t id)
{
    struct encoder_query *q = encoder_query_new(slice_str(text));

    q->msg.deliver = deliver;
    q->reply_to = &f->desk.mailbox;
    q->id = id;
    return q;
}

static void submit(struct fixture *f, const char *text, uint64_t id)
{
    assert_int_equal(encoder_service_submit(f->service, query(f, text, id)), ERR_OK);
}

/* The thread is inside a pass of its own from here on. */
static void hold(struct fixture *f)
{
    fake_encoder.gated = true;
    submit(f, "first", 0);
    while (sem_wait(&fake_encoder.entered) != 0)
        ;
    fake_encoder.gated = false;
}

static void let_go(void)
{
    sem_post(&fake_encoder.go_on);
}

static char *long_text(size_t n)
{
    char *text = mem_alloc(n + 1);

    memset(text, 'x', n);
    text[n] = '\0';
    return text;
}

static void test_one(void **state)
{
    struct fixture f;
    struct encoder_query *q;
    struct encoder_service_counts c;

    (void)state;
    open_fixture(&f, false, 8, NULL);
    q = query(&f, "four", 77);
    q->want_features = true;
    assert_int_equal(encoder_service_submit(f.service, q), ERR_OK);
    wait_for(&f.desk, 1);
    q = f.desk.answers[0];
    assert_int_equal(q->id, 77);
    assert_int_equal(q->err, ERR_OK);
    assert_true(q->embedding[0] == 4 && q->embedding[3] == 7);
    assert_true(q->features[0] == -4 && q->features[2 * FAKE_DIM - 1] == -4);
    assert_int_equal(q->full.bytes[0], 2);
    assert_int_equal(q->counts.tokens, 6);
    assert_int_equal(q->batch, 1);
    assert_true(q->queued_us <= q->started_us && q->started_us <= q->done_us);
    assert_int_equal(q->share_us, q->done_us - q->started_us);
    encoder_service_counts(f.service, &c);
    assert_int_equal(c.encoded, 1);
    assert_int_equal(c.passes, 1);
    assert_int_equal(c.queued, 0);
    assert_false(c.device_lost);
    close_fixture(&f);
}

/* What queues up during a pass is the next pass; its time is shared by tokens. */
static void test_batches_while_busy(void **state)
{
    struct fixture f;
    struct encoder_service_counts c;
    int64_t shares = 0;

    (void)state;
    open_fixture(&f, false, 64, NULL);
    hold(&f);
    for (uint64_t i = 1; i <= 5; i++)
        submit(&f, "a text", i);
    encoder_service_counts(f.service, &c);
    assert_int_equal(c.queued, 5);
    let_go();
    wait_for(&f.desk, 6);
    for (uint64_t i = 0; i < 6; i++) {
        assert_int_equal(f.desk.answers[i]->id, i);
        assert_int_equal(f.desk.answers[i]->batch, i ? 5 : 1);
        assert_null(f.desk.answers[i]->features);
        shares += i ? f.desk.answers[i]->share_us : 0;
    }
    assert_true(shares <= f.desk.answers[1]->done_us - f.desk.answers[1]->started_us);
    encoder_service_counts(f.service, &c);
    assert_int_equal(c.passes, 2);
    close_fixture(&f);
}

static void test_passes_are_bounded_and_short_goes_first(void **state)
{
    struct fixture f;
    char *text = long_text(1000);
    size_t place_of_long = 0, longs_alone = 0;

    (void)state;
    open_fixture(&f, false, 64, NULL);
    hold(&f);
    submit(&f, text, 100);
    submit(&f, text, 101);
    for (uint64_t i = 1; i <= 40; i++)
        submit(&f, "a text of about eight tokens and one", i);
    let_go();
    wait_for(&f.desk, 43);
    for (size_t i = 0; i < f.desk.count; i++) {
        struct encoder_query *q = f.desk.answers[i];

        assert_true(q->batch <= 6);
        if (q->id >= 100 && !place_of_long)
            place_of_long = i;
        longs_alone += q->id >= 100 && q->batch == 1;
    }
    assert_int_equal(longs_alone, 2);
    assert_true(place_of_long > 10 && place_of_long < 40); /* neither first nor last */
    free(text);
    close_fixture(&f);
}

static void test_bounded(void **state)
{
    struct fixture f;
    struct encoder_service_counts c;
    struct encoder_query *q;

    (void)state;
    open_fixture(&f, false, 3, NULL);
    hold(&f);
    for (uint64_t i = 1; i <= 3; i++)
        submit(&f, "x", i);
    q = query(&f, "one too many", 4);
    assert_int_equal(encoder_service_submit(f.service, q), ERR_OVERLOADED);
    encoder_query_free(q); /* it stayed ours */
    let_go();
    wait_for(&f.desk, 4);
    encoder_service_counts(f.service, &c);
    assert_int_equal(c.refused, 1);
    assert_int_equal(c.encoded, 4);
    close_fixture(&f);
}

static void test_late_ones_are_not_computed(void **state)
{
    struct fixture f;
    struct encoder_query *q;
    struct encoder_service_counts c;
    int64_t late_us;

    (void)state;
    open_fixture(&f, false, 8, NULL);
    hold(&f);
    q = query(&f, "late", 1);
    late_us = q->deadline_us =
        clock_mono_us() + 100000; /* nothing was measured yet: none is foreseen */
    assert_int_equal(encoder_service_submit(f.service, q), ERR_OK);
    q = query(&f, "in time", 2);
    q->deadline_us = clock_mono_us() + PATIENCE_MS * 1000;
    assert_int_equal(encoder_service_submit(f.service, q), ERR_OK);
    while (clock_mono_us() <= late_us)
        ;
    let_go();
    wait_for(&f.desk, 3);
    for (size_t i = 0; i < 3; i++) {
        q = f.desk.answers[i];
        assert_int_equal(q->err, q->id == 1 ? ERR_REQUEST_TIMEOUT : ERR_OK);
        assert_true((q->embedding != NULL) == (q->id != 1));
    }
    encoder_service_counts(f.service, &c);
    assert_int_equal(c.expired, 1);
    close_fixture(&f);
}

/* A pass that took at least 5 ms for a text of 3 tokens: as slow as the service now thinks it is.
 */
static void be_slow(struct fixture *f)
{
    int64_t until_us;

    hold(f);
    until_us = clock_mono_us() + 5000;
    while (clock_mono_us() < until_us)
        ;
    let_go();
    wait_for(&f->desk, 1);
    forget(&f->desk);
}

static enum err submit_within(struct fixture *f, const char *text, int64_t within_us)
{
    struct encoder_query *q = query(f, text, 1);
    enum err err;

    q->deadline_us = clock_mono_us() + within_us;
    err = encoder_service_submit(f->service, q);
    if (err != ERR_OK)
        encoder_query_free(q);
    return err;
}

/* 252 tokens at more than a millisecond each are not done in 100 ms. What was measured is forgotten
 * after a second, which this test may be kept from the processor for: then it is measured again. */
static void test_what_would_be_late_is_not_begun(void **state)
{
    struct fixture f;
    struct encoder_service_counts c;
    char *text = long_text(1000);
    enum err err = ERR_OK;
    size_t taken = 0;

    (void)state;
    open_fixture(&f, false, 64, NULL);
    for (int i = 0; i < 20 && err == ERR_OK; i++) {
        be_slow(&f);
        err = submit_within(&f, text, 100000);
        wait_for(&f.desk, err == ERR_OK);
        forget(&f.desk);
        taken += err == ERR_OK;
    }
    assert_int_equal(err, ERR_REQUEST_TIMEOUT);
    /* However slow this machine was when that was measured, an hour will do. */
    assert_int_equal(submit_within(&f, text, INT64_C(3600) * 1000 * 1000), ERR_OK);
    submit(&f, text, 2); /* no deadline: it may take what it takes */
    wait_for(&f.desk, 2);
    encoder_service_counts(f.service, &c);
    assert_int_equal(c.foreseen, 1);
    assert_int_equal(c.refused, 0);
    assert_true(c.us_per_token > 0);
    free(text);
    close_fixture(&f);
}

/* What is ahead in the queue counts: each of these would be done in time were it alone. */
static void test_the_queue_is_foreseen(void **state)
{
    struct fixture f;
    struct encoder_service_counts c;
    enum err err = ERR_OK;

    (void)state;
    open_fixture(&f, false, 64, NULL);
    for (int i = 0; i < 20 && err == ERR_OK; i++) {
        size_t taken = 0;

        be_slow(&f);
        hold(&f);
        for (; err == ERR_OK && taken < 60; taken += err == ERR_OK)
            err = submit_within(&f, "12345678", 200000);
        encoder_service_counts(f.service, &c);
        if (err != ERR_OK) /* texts of 4 tokens, estimated */
            assert_true((double)(taken + 1) * 4 * c.us_per_token > 150000);
        let_go();
        wait_for(&f.desk, taken + 1);
        forget(&f.desk);
    }
    assert_int_equal(err, ERR_REQUEST_TIMEOUT);
    close_fixture(&f);
}

static void test_device_fails_over(void **state)
{
    struct fixture f;
    struct encoder_options cpu = {.folder = "any", .device = ENCODER_CPU};
    struct encoder_service_counts c;

    (void)state;
    open_fixture(&f, true, 8, &cpu);
    submit(&f, "well", 1);
    wait_for(&f.desk, 1);
    assert_int_equal(f.desk.answers[0]->full.bytes[0], 1);
    fake_encoder.gpu_fails = true;
    submit(&f, "fails", 2);
    submit(&f, "later", 3);
    wait_for(&f.desk, 3);
    for (size_t i = 1; i < 3; i++) {
        assert_int_equal(f.desk.answers[i]->err, ERR_OK);
        assert_int_equal(f.desk.answers[i]->full.bytes[0], 2); /* and says so */
        assert_true(f.desk.answers[i]->embedding[0] == 5);
    }
    encoder_service_counts(f.service, &c);
    assert_true(c.device_lost);
    assert_int_equal(c.failed, 0);
    assert_string_equal(encoder_service_facts(f.service).kernels, "int8-portable");
    assert_int_equal(fake_encoder.opened, 2);
    close_fixture(&f);
}

static void test_device_fails_without_help(void **state)
{
    struct encoder_options cpu = {.folder = "any", .device = ENCODER_CPU};

    (void)state;
    for (int with_fallback = 0; with_fallback < 2; with_fallback++) {
        struct fixture f;
        struct encoder_service_counts c;

        open_fixture(&f, true, 8, with_fallback ? &cpu : NULL);
        fake_encoder.gpu_fails = fake_encoder.open_fails = true;
        submit(&f, "x", 1);
        submit(&f, "y", 2);
        wait_for(&f.desk, 2);
        for (size_t i = 0; i < 2; i++) {
            assert_int_equal(f.desk.answers[i]->err, ERR_INTERNAL);
            assert_null(f.desk.answers[i]->embedding);
        }
        encoder_service_counts(f.service, &c);
        assert_int_equal(c.failed, 2);
        assert_false(c.device_lost);
        close_fixture(&f);
    }
}

static void test_end_answers_what_is_queued(void **state)
{
    struct fixture f;
    size_t answered = 0;

    (void)state;
    open_fixture(&f, false, 8, NULL);
    hold(&f);
    submit(&f, "a", 1);
    submit(&f, "b", 2);
    let_go();
    encoder_service_free(f.service);
    f.service = NULL;
    mailbox_drain(&f.desk.mailbox, &f.desk);
    for (size_t i = 0; i < f.desk.count; i++)
        answered += f.desk.answers[i]->err == ERR_OK || f.desk.answers[i]->err == ERR_OVERLOADED;
    assert_int_equal(answered, 3); /* each once, computed or not */
    close_fixture(&f);
}

static void test_nobody_there_any_more(void **state)
{
    struct fixture f;

    (void)state;
    open_fixture(&f, false, 8, NULL);
    hold(&f);
    submit(&f, "a", 1);
    mailbox_close(&f.desk.mailbox);
    let_go();
    close_fixture(&f); /* the sanitizer counts what is left */
}

static void test_text_is_cut_between_characters(void **state)
{
    struct fixture f;
    char *text = long_text(2100);

    (void)state;
    open_fixture(&f, false, 8, NULL);
    memcpy(text + 1999, "\xc3\xa4", 2); /* the limit is 2000 bytes */
    submit(&f, text, 1);
    memset(text, 'x', 2100);
    submit(&f, text, 2);
    wait_for(&f.desk, 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(f.desk.answers[i]->counts.bytes, f.desk.answers[i]->id == 1 ? 1999 : 2000);
    free(text);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one),
        cmocka_unit_test(test_batches_while_busy),
        cmocka_unit_test(test_passes_are_bounded_and_short_goes_first),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_late_ones_are_not_computed),
        cmocka_unit_test(test_what_would_be_late_is_not_begun),
        cmocka_unit_test(test_the_queue_is_foreseen),
        cmocka_unit_test(test_device_fails_over),
        cmocka_unit_test(test_device_fails_without_help),
        cmocka_unit_test(test_end_answers_what_is_queued),
        cmocka_unit_test(test_nobody_there_any_more),
        cmocka_unit_test(test_text_is_cut_between_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

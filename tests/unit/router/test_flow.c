/* The request's transition function: scenarios, and a walk over every (state, event) that checks
 * the invariants. */
#include <cmocka.h>
#include "router/flow.h"

static struct flow_limits limits_of(int steps, int endpoints, int max_attempts, int per_model)
{
    struct flow_limits l = {.steps = steps,
                            .max_attempts = max_attempts,
                            .per_model = per_model,
                            .max_retry_after_ms = 5000};

    for (int i = 0; i < steps; i++)
        l.endpoints[i] = endpoints;
    return l;
}

static struct flow_action send(struct flow *f, enum flow_event_kind kind)
{
    return flow_next(f, &(struct flow_event){.kind = kind, .retry_after_ms = -1});
}

static struct flow_action failed(struct flow *f, enum err err, int64_t retry_after_ms)
{
    return flow_next(f, &(struct flow_event){
                            .kind = FLOW_EV_FAILED, .err = err, .retry_after_ms = retry_after_ms});
}

static void start(struct flow *f, struct flow_limits l)
{
    struct flow_action a;

    flow_init(f, &l);
    a = send(f, FLOW_EV_START);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 0);
    assert_false(a.takes_budget);
    flow_called(f, 0);
}

static void test_whole_answer(void **state)
{
    struct flow f;

    (void)state;
    start(&f, limits_of(1, 1, 4, 2));
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_REPLY);
    assert_int_equal(f.state, FLOW_DONE);
}

static void test_stream_commits_once(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(3, 2, 10, 3));
    assert_int_equal(send(&f, FLOW_EV_FIRST_BYTES).kind, FLOW_COMMIT);
    a = failed(&f, ERR_UPSTREAM_CUT,
               -1); /* another endpoint and two models are left, and none may be asked */
    assert_int_equal(a.kind, FLOW_CUT);
    assert_int_equal(a.err, ERR_UPSTREAM_CUT);
    assert_int_equal(f.state, FLOW_DONE);

    start(&f, limits_of(3, 2, 10, 3));
    send(&f, FLOW_EV_FIRST_BYTES);
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_END);
}

static void test_other_endpoint_then_next_model(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(2, 2, 4, 2));
    a = failed(&f, ERR_UPSTREAM_CONNECT, -1);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 0);
    assert_int_equal(a.exclude_mask, 1);
    assert_true(a.takes_budget);
    flow_called(&f, 1);
    a = failed(&f, ERR_UPSTREAM_CONNECT, -1); /* per_model is used up */
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    assert_int_equal(a.exclude_mask, 0);
    assert_false(a.takes_budget);
}

static void test_same_endpoint_backs_off(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(1, 1, 4, 3));
    a = failed(&f, ERR_UPSTREAM_RATE_LIMITED, 1200);
    assert_int_equal(a.kind, FLOW_BACKOFF);
    assert_int_equal(a.retry, 1);
    assert_int_equal(a.floor_ms, 1200);
    assert_true(a.takes_budget);
    a = send(&f, FLOW_EV_WAIT_OVER);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_false(a.takes_budget); /* it was taken with the back-off */
}

static void test_long_retry_after_goes_on_or_tells_the_client(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(2, 1, 4, 3));
    a = failed(&f, ERR_UPSTREAM_RATE_LIMITED, 60000);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    flow_called(&f, 0);
    a = failed(&f, ERR_UPSTREAM_RATE_LIMITED, 60000);
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_RATE_LIMITED);
    assert_int_equal(a.retry_after_ms, 60000);
}

static void test_refusals_never_return_to_the_same_model(void **state)
{
    static const enum err refusals[] = {ERR_UPSTREAM_CONTEXT_LENGTH, ERR_UPSTREAM_CONTENT_FILTER};
    struct flow f;
    struct flow_action a;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        start(&f, limits_of(2, 3, 9, 3));
        a = failed(&f, refusals[i], -1);
        assert_int_equal(a.kind, FLOW_CALL);
        assert_int_equal(a.step, 1);
        flow_called(&f, 0);
        a = failed(&f, refusals[i], -1);
        assert_int_equal(a.kind, FLOW_FAIL);
        assert_int_equal(a.err, refusals[i]);
    }
}

static void test_upstream_may_forbid_retries(void **state)
{
    struct flow_event ev = {.kind = FLOW_EV_FAILED,
                            .err = ERR_UPSTREAM_SERVER_ERROR,
                            .retry_after_ms = -1,
                            .no_retry = true};
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(2, 3, 9, 3));
    a = flow_next(&f, &ev);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    flow_called(&f, 0);
    assert_int_equal(flow_next(&f, &ev).kind, FLOW_FAIL);
}

static void test_rejections_are_final(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(3, 3, 9, 3));
    a = failed(&f, ERR_UPSTREAM_REJECTED, -1);
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_REJECTED);
}

/* x-should-retry: false comes with each of Anthropic's 400s: it speaks of the same request. */
static void test_refused_thinking_is_left_out_once(void **state)
{
    struct flow_event ev = {.kind = FLOW_EV_FAILED,
                            .err = ERR_UPSTREAM_THINKING,
                            .retry_after_ms = -1,
                            .no_retry = true};
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(3, 1, 9, 1));
    assert_false(f.without_thinking);
    a = flow_next(&f, &ev);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 0);
    assert_int_equal(a.exclude_mask, 0);
    assert_false(a.takes_budget);
    assert_true(f.without_thinking);
    flow_called(&f, 0);
    a = flow_next(&f, &ev); /* that was not it */
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_THINKING);

    /* a failure of another kind goes its way, and what was left out stays so */
    start(&f, limits_of(3, 1, 9, 3));
    flow_next(&f, &ev);
    flow_called(&f, 0);
    assert_int_equal(failed(&f, ERR_UPSTREAM_SERVER_ERROR, -1).kind, FLOW_BACKOFF);
    assert_true(f.without_thinking);
}

static void test_refused_thinking_is_final_elsewhere(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(1, 1, 1, 1)); /* no attempt is left */
    assert_int_equal(failed(&f, ERR_UPSTREAM_THINKING, -1).kind, FLOW_FAIL);

    start(&f, limits_of(2, 1, 9, 3)); /* another model is asked without thinking from the start */
    a = failed(&f, ERR_UPSTREAM_CONTEXT_LENGTH, -1);
    assert_int_equal(a.step, 1);
    assert_true(f.without_thinking);
    flow_called(&f, 0);
    assert_int_equal(failed(&f, ERR_UPSTREAM_THINKING, -1).kind, FLOW_FAIL);

    start(&f, limits_of(1, 1, 9, 3)); /* bytes are with the client */
    send(&f, FLOW_EV_FIRST_BYTES);
    assert_int_equal(failed(&f, ERR_UPSTREAM_THINKING, -1).kind, FLOW_CUT);
}

static void test_budget_refusal_moves_on(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(2, 1, 4, 3));
    failed(&f, ERR_UPSTREAM_SERVER_ERROR, -1);
    a = send(&f, FLOW_EV_BUDGET_REFUSED);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    flow_called(&f, 0);
    failed(&f, ERR_UPSTREAM_SERVER_ERROR, -1);
    a = send(&f, FLOW_EV_BUDGET_REFUSED);
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_SERVER_ERROR);
}

static void test_lonely_endpoint_is_asked_again(void **state)
{
    struct flow f;

    (void)state;
    start(&f, limits_of(1, 1, 4,
                        2)); /* a connect failure with nowhere else to go: wait and try once more */
    assert_int_equal(failed(&f, ERR_UPSTREAM_CONNECT, -1).kind, FLOW_BACKOFF);
    assert_int_equal(send(&f, FLOW_EV_WAIT_OVER).kind, FLOW_CALL);
    flow_called(&f, 0);
    assert_int_equal(failed(&f, ERR_UPSTREAM_CONNECT, -1).kind, FLOW_FAIL);
}

static void test_busy(void **state)
{
    struct flow f;
    struct flow_limits l = limits_of(2, 1, 4, 2);
    struct flow_action a;

    (void)state;
    flow_init(&f, &l);
    send(&f, FLOW_EV_START);
    a = send(&f, FLOW_EV_NO_ENDPOINT);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    a = send(&f, FLOW_EV_NO_ENDPOINT);
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_BUSY);
}

/* One of two endpoints has failed, the other is at its limit: the first is asked again, later. */
static void test_retry_that_finds_the_others_busy(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(1, 2, 4, 3));
    a = failed(&f, ERR_UPSTREAM_SERVER_ERROR, 700);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.exclude_mask, 1);
    assert_true(a.takes_budget);
    a = send(&f, FLOW_EV_NO_ENDPOINT);
    assert_int_equal(a.kind, FLOW_BACKOFF);
    assert_int_equal(a.retry, 1);
    assert_int_equal(a.floor_ms, 700);
    assert_false(a.takes_budget); /* it was taken with the call that found no room */
    a = send(&f, FLOW_EV_WAIT_OVER);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.exclude_mask, 0);
    a = send(&f, FLOW_EV_NO_ENDPOINT); /* no room anywhere, still: what is known is told */
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_SERVER_ERROR);
    assert_int_equal(a.retry_after_ms, 700);

    start(&f, limits_of(1, 2, 4, 3)); /* not before a moment that is too far away */
    failed(&f, ERR_UPSTREAM_RATE_LIMITED, 60000);
    a = send(&f, FLOW_EV_NO_ENDPOINT);
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_RATE_LIMITED);

    start(&f, limits_of(2, 2, 4, 3)); /* nor one that is down, while there is another model */
    failed(&f, ERR_UPSTREAM_CONNECT, -1);
    a = send(&f, FLOW_EV_NO_ENDPOINT);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    flow_called(&f, 0);
    failed(&f, ERR_UPSTREAM_CONNECT, -1);
    assert_int_equal(send(&f, FLOW_EV_NO_ENDPOINT).kind, FLOW_BACKOFF); /* there is none left */
}

static void test_server_that_is_started(void **state)
{
    struct flow f;
    struct flow_limits l = limits_of(2, 1, 4, 2);
    struct flow_action a;

    (void)state;
    flow_init(&f, &l);
    send(&f, FLOW_EV_START);
    assert_int_equal(send(&f, FLOW_EV_STARTING).kind, FLOW_WAIT);
    assert_int_equal(f.state, FLOW_AWAIT_BACKEND);
    a = send(&f, FLOW_EV_READY);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 0);
    assert_int_equal(f.attempts, 0);

    flow_init(&f, &l);
    send(&f, FLOW_EV_START);
    send(&f, FLOW_EV_STARTING);
    a = failed(&f, ERR_UPSTREAM_CONNECT,
               -1); /* it did not come up: the next model, even with attempts left */
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    send(&f, FLOW_EV_STARTING);
    a = failed(&f, ERR_UPSTREAM_BUSY, 500);
    assert_int_equal(a.kind, FLOW_FAIL);
    assert_int_equal(a.err, ERR_UPSTREAM_BUSY);
    assert_int_equal(a.retry_after_ms, 500);
}

static void test_gone_and_stop(void **state)
{
    struct flow f;
    struct flow_event stop = {.kind = FLOW_EV_STOP, .err = ERR_DRAINING};

    (void)state;
    start(&f, limits_of(1, 1, 4, 2));
    assert_int_equal(send(&f, FLOW_EV_GONE).kind, FLOW_DROP);
    start(&f, limits_of(1, 1, 4, 2));
    assert_int_equal(flow_next(&f, &stop).kind, FLOW_FAIL);
    start(&f, limits_of(1, 1, 4, 2));
    send(&f, FLOW_EV_FIRST_BYTES);
    assert_int_equal(flow_next(&f, &stop).kind, FLOW_CUT);
}

/* The route hangs on what the query is about. */
static void test_route_after_the_encoder(void **state)
{
    struct flow_limits l = limits_of(2, 1, 4, 2);
    struct flow_event stop = {.kind = FLOW_EV_STOP, .err = ERR_DRAINING};
    struct flow f;

    (void)state;
    flow_init(&f, NULL);
    assert_int_equal(send(&f, FLOW_EV_ENCODING).kind, FLOW_WAIT);
    assert_int_equal(f.state, FLOW_AWAIT_EMBEDDING);
    assert_int_equal(send(&f, FLOW_EV_WAIT_OVER).kind, FLOW_WAIT);
    assert_int_equal(send(&f, FLOW_EV_ENCODED).kind, FLOW_ROUTE);
    flow_plan(&f, &l);
    assert_int_equal(send(&f, FLOW_EV_ENCODED).kind, FLOW_WAIT); /* a late answer changes nothing */
    assert_int_equal(send(&f, FLOW_EV_START).kind, FLOW_CALL);
    flow_called(&f, 0);
    assert_int_equal(send(&f, FLOW_EV_ENCODED).kind, FLOW_WAIT);
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_REPLY);

    flow_init(&f, NULL); /* there is no route for it */
    send(&f, FLOW_EV_ENCODING);
    send(&f, FLOW_EV_ENCODED);
    assert_int_equal(failed(&f, ERR_MODEL_NOT_FOUND, -1).kind, FLOW_FAIL);
    assert_int_equal(f.state, FLOW_DONE);

    flow_init(&f, NULL);
    send(&f, FLOW_EV_ENCODING);
    assert_int_equal(send(&f, FLOW_EV_GONE).kind, FLOW_DROP);
    flow_init(&f, NULL);
    send(&f, FLOW_EV_ENCODING);
    assert_int_equal(flow_next(&f, &stop).kind, FLOW_FAIL);
}

static void test_cache(void **state)
{
    struct flow_limits l = limits_of(2, 1, 4, 2);
    struct flow_event stop = {.kind = FLOW_EV_STOP, .err = ERR_UPSTREAM_TOTAL_TIMEOUT};
    struct flow f;

    (void)state;
    flow_init(&f, &l); /* the worker has it */
    assert_int_equal(send(&f, FLOW_EV_HIT).kind, FLOW_REPLAY);
    assert_int_equal(f.state, FLOW_DONE);

    flow_init(&f, &l); /* the cache has it */
    assert_int_equal(send(&f, FLOW_EV_LOOKING).kind, FLOW_WAIT);
    assert_int_equal(f.state, FLOW_AWAIT_CACHE);
    assert_int_equal(send(&f, FLOW_EV_START).kind, FLOW_WAIT);
    assert_int_equal(send(&f, FLOW_EV_HIT).kind, FLOW_REPLAY);

    flow_init(&f, &l); /* nobody has it */
    send(&f, FLOW_EV_LOOKING);
    assert_int_equal(send(&f, FLOW_EV_MISS).kind, FLOW_CALL);
    flow_called(&f, 0);
    assert_int_equal(send(&f, FLOW_EV_HIT).kind, FLOW_WAIT); /* too late */
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_REPLY);

    flow_init(&f, &l);
    send(&f, FLOW_EV_LOOKING);
    assert_int_equal(send(&f, FLOW_EV_GONE).kind, FLOW_DROP);
    flow_init(&f, &l);
    send(&f, FLOW_EV_LOOKING);
    assert_int_equal(flow_next(&f, &stop).kind, FLOW_FAIL);
    assert_string_equal(flow_state_name(FLOW_AWAIT_CACHE), "AWAIT_CACHE");
}

/* ---- every state, every event, every error: bounded depth, all limits ---- */

struct walk {
    long visited;
    int max_attempts;
    const struct flow_limits *plan;
};

static void explore(struct flow f, int depth, struct walk *w);

static void follow(struct flow f, struct flow_event ev, int depth, struct walk *w)
{
    enum flow_state before = f.state;
    struct flow_action a = flow_next(&f, &ev);

    w->visited++;
    assert_true(f.attempts <= w->max_attempts);
    switch (a.kind) {
    case FLOW_CALL:
        assert_true(before != FLOW_STREAMING); /* committed: no other attempt */
        assert_true(f.attempts < w->max_attempts);
        assert_true(a.step < f.limits.steps);
        for (int e = 0; e < f.limits.endpoints[a.step]; e++) {
            struct flow g = f;

            if (a.exclude_mask >> e & 1)
                continue;
            flow_called(&g, e);
            explore(g, depth, w);
        }
        explore(f, depth, w); /* the call could not be placed */
        return;
    case FLOW_BACKOFF:
        assert_true(before == FLOW_AWAIT_ANSWER);
        break;
    case FLOW_COMMIT:
        assert_int_equal(before, FLOW_AWAIT_ANSWER);
        assert_int_equal(f.state, FLOW_STREAMING);
        break;
    case FLOW_END:
    case FLOW_CUT:
        assert_int_equal(before, FLOW_STREAMING);
        assert_int_equal(f.state, FLOW_DONE);
        break;
    case FLOW_REPLAY: /* before any attempt, or not at all */
        assert_true(before == FLOW_IDLE || before == FLOW_AWAIT_CACHE);
        assert_int_equal(f.attempts, 0);
        assert_int_equal(f.state, FLOW_DONE);
        break;
    case FLOW_REPLY:
    case FLOW_FAIL:
        assert_true(before != FLOW_STREAMING && before != FLOW_DONE);
        assert_int_equal(f.state, FLOW_DONE);
        assert_true(a.kind == FLOW_REPLY || a.err != ERR_OK);
        break;
    case FLOW_DROP:
        assert_int_equal(f.state, FLOW_DONE);
        break;
    case FLOW_ROUTE:
        assert_int_equal(before, FLOW_AWAIT_EMBEDDING);
        assert_int_equal(f.limits.steps, 0);
        flow_plan(&f, w->plan);
        break;
    case FLOW_WAIT: /* only what somebody else has begun moves without an action */
        if (f.state != before)
            assert_true((ev.kind == FLOW_EV_STARTING && f.state == FLOW_AWAIT_BACKEND) ||
                        (ev.kind == FLOW_EV_LOOKING && f.state == FLOW_AWAIT_CACHE) ||
                        (ev.kind == FLOW_EV_ENCODING && f.state == FLOW_AWAIT_EMBEDDING));
        break;
    }
    explore(f, depth, w);
}

static void explore(struct flow f, int depth, struct walk *w)
{
    static const enum err errs[] = {ERR_UPSTREAM_CONNECT, ERR_UPSTREAM_RATE_LIMITED,
                                    ERR_UPSTREAM_CONTEXT_LENGTH, ERR_UPSTREAM_REJECTED,
                                    ERR_UPSTREAM_THINKING};

    if (depth == 0 || f.state == FLOW_DONE) {
        if (f.state == FLOW_DONE) {
            struct flow_event ev = {.kind = FLOW_EV_ANSWER};

            assert_int_equal(flow_next(&f, &ev).kind, FLOW_WAIT); /* done is done */
        }
        return;
    }
    for (int k = FLOW_EV_ENCODING; k <= FLOW_EV_STOP; k++) {
        struct flow_event ev = {
            .kind = (enum flow_event_kind)k, .err = ERR_DRAINING, .retry_after_ms = 100};

        if (k != FLOW_EV_FAILED) {
            follow(f, ev, depth - 1, w);
            continue;
        }
        for (size_t i = 0; i < sizeof errs / sizeof errs[0]; i++) {
            ev.err = errs[i];
            follow(f, ev, depth - 1, w);
        }
    }
}

static void test_every_state_and_event(void **state)
{
    struct flow_limits l = limits_of(2, 2, 3, 2);
    struct walk w = {.max_attempts = 3, .plan = &l};
    struct flow f;

    (void)state;
    flow_init(&f, NULL);
    explore(f, 6, &w);
    flow_init(&f, &l);
    explore(f, 5, &w);
    assert_true(w.visited > 10000);
}

static void test_state_names(void **state)
{
    (void)state;
    assert_string_equal(flow_state_name(FLOW_AWAIT_ANSWER), "AWAIT_ANSWER");
    assert_string_equal(flow_state_name(FLOW_STREAMING), "STREAMING");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_answer),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_stream_commits_once),
        cmocka_unit_test(test_other_endpoint_then_next_model),
        cmocka_unit_test(test_same_endpoint_backs_off),
        cmocka_unit_test(test_long_retry_after_goes_on_or_tells_the_client),
        cmocka_unit_test(test_refusals_never_return_to_the_same_model),
        cmocka_unit_test(test_upstream_may_forbid_retries),
        cmocka_unit_test(test_rejections_are_final),
        cmocka_unit_test(test_refused_thinking_is_left_out_once),
        cmocka_unit_test(test_refused_thinking_is_final_elsewhere),
        cmocka_unit_test(test_budget_refusal_moves_on),
        cmocka_unit_test(test_lonely_endpoint_is_asked_again),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_retry_that_finds_the_others_busy),
        cmocka_unit_test(test_server_that_is_started),
        cmocka_unit_test(test_gone_and_stop),
        cmocka_unit_test(test_route_after_the_encoder),
        cmocka_unit_test(test_every_state_and_event),
        cmocka_unit_test(test_state_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

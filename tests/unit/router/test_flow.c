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

static void test_refused_logprobs_are_left_out_for_that_model(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, limits_of(2, 1, 9, 1));
    a = failed(&f, ERR_UPSTREAM_LOGPROBS, -1);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 0);
    assert_true(f.without_logprobs);
    flow_called(&f, 0);
    a = failed(&f, ERR_UPSTREAM_LOGPROBS, -1); /* nothing was asked: the next model */
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    assert_false(f.without_logprobs);
    start(&f, limits_of(1, 1, 1, 1)); /* no attempt is left */
    assert_int_equal(failed(&f, ERR_UPSTREAM_LOGPROBS, -1).kind, FLOW_FAIL);
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

/* ---- answers that are judged ---- */

static struct flow_limits judged_limits(int judged, int steps, int max_attempts)
{
    struct flow_limits l = limits_of(steps, 1, max_attempts, 2);

    l.judged = judged;
    return l;
}

static struct flow_action choose(struct flow *f, enum flow_choice choice, int step)
{
    return flow_next(f,
                     &(struct flow_event){.kind = FLOW_EV_CHOSEN, .choice = choice, .step = step});
}

static void test_judged_whole(void **state)
{
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, judged_limits(2, 3, 1)); /* escalations are no retries: one attempt is allowed */
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_JUDGE);
    assert_int_equal(f.state, FLOW_AWAIT_VERDICT);
    assert_string_equal(flow_state_name(f.state), "AWAIT_VERDICT");
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_WAIT);
    flow_keep(&f);
    a = choose(&f, FLOW_ASK, 1);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 1);
    assert_false(a.takes_budget);
    flow_called(&f, 0);
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_JUDGE);
    assert_int_equal(choose(&f, FLOW_SERVE, 0).kind, FLOW_RECALL); /* the first was better */
    assert_int_equal(f.state, FLOW_DONE);

    start(&f, judged_limits(2, 2, 4));
    send(&f, FLOW_EV_ANSWER);
    assert_int_equal(choose(&f, FLOW_ACCEPT, 0).kind, FLOW_REPLY);
}

static void test_judged_in_any_order(void **state)
{
    struct flow_limits l = judged_limits(3, 3, 4);
    struct flow f;

    (void)state;
    l.first = 2;
    flow_init(&f, &l);
    assert_int_equal(send(&f, FLOW_EV_START).step, 2);
    flow_called(&f, 0);
    send(&f, FLOW_EV_ANSWER);
    assert_int_equal(choose(&f, FLOW_ASK, 0).step, 0);
}

static void test_judged_stream(void **state)
{
    struct flow f;

    (void)state;
    start(&f, judged_limits(2, 2, 4));
    assert_int_equal(send(&f, FLOW_EV_HELD).kind, FLOW_JUDGE);
    assert_int_equal(choose(&f, FLOW_ASK, 1).kind, FLOW_CALL); /* nothing has gone out */
    flow_called(&f, 0);
    assert_int_equal(send(&f, FLOW_EV_HELD).kind, FLOW_JUDGE);
    assert_int_equal(choose(&f, FLOW_ACCEPT, 0).kind, FLOW_COMMIT);
    assert_int_equal(f.state, FLOW_STREAMING);
    assert_int_equal(choose(&f, FLOW_ASK, 0).kind, FLOW_WAIT); /* no other attempt any more */
    assert_int_equal(send(&f, FLOW_EV_HELD).kind, FLOW_WAIT);
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_END);

    start(&f, judged_limits(2, 2, 4)); /* one that is not held is final */
    assert_int_equal(send(&f, FLOW_EV_FIRST_BYTES).kind, FLOW_COMMIT);
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_END);

    start(&f, judged_limits(1, 2, 4)); /* nor are fall-backs held */
    failed(&f, ERR_UPSTREAM_CONTEXT_LENGTH, -1);
    assert_int_equal(choose(&f, FLOW_NONE, 0).step, 1);
    flow_called(&f, 0);
    assert_int_equal(send(&f, FLOW_EV_HELD).kind, FLOW_WAIT);
    assert_int_equal(send(&f, FLOW_EV_ANSWER).kind, FLOW_REPLY);
}

static void test_judged_failures(void **state)
{
    struct flow_event stop = {.kind = FLOW_EV_STOP, .err = ERR_UPSTREAM_TOTAL_TIMEOUT};
    struct flow f;
    struct flow_action a;

    (void)state;
    start(&f, judged_limits(2, 3, 9)); /* the plan chooses, then the fall-backs' order holds */
    assert_int_equal(failed(&f, ERR_UPSTREAM_CONTEXT_LENGTH, -1).kind, FLOW_CHOOSE);
    assert_int_equal(choose(&f, FLOW_ASK, 1).step, 1);
    assert_int_equal(f.escalations, 0);
    flow_called(&f, 0);
    assert_int_equal(failed(&f, ERR_UPSTREAM_CONTEXT_LENGTH, -1).kind, FLOW_CHOOSE);
    a = choose(&f, FLOW_NONE, 0);
    assert_int_equal(a.kind, FLOW_CALL);
    assert_int_equal(a.step, 2);
    flow_called(&f, 0);
    assert_int_equal(failed(&f, ERR_UPSTREAM_CONTEXT_LENGTH, -1).kind, FLOW_FAIL);

    start(&f, judged_limits(2, 2, 9)); /* what was kept is better than any error */
    send(&f, FLOW_EV_ANSWER);
    flow_keep(&f);
    choose(&f, FLOW_ASK, 1);
    flow_called(&f, 0);
    assert_int_equal(failed(&f, ERR_UPSTREAM_REJECTED, -1).kind, FLOW_RECALL);

    start(&f, judged_limits(2, 2, 9));
    send(&f, FLOW_EV_ANSWER);
    flow_keep(&f);
    choose(&f, FLOW_ASK, 1);
    assert_int_equal(send(&f, FLOW_EV_NO_ENDPOINT).kind, FLOW_CHOOSE);
    assert_int_equal(choose(&f, FLOW_NONE, 0).kind, FLOW_RECALL);

    start(&f, judged_limits(2, 2, 9)); /* the deadline */
    send(&f, FLOW_EV_ANSWER);
    flow_keep(&f);
    choose(&f, FLOW_ASK, 1);
    flow_called(&f, 0);
    assert_int_equal(flow_next(&f, &stop).kind, FLOW_RECALL);
    start(&f, judged_limits(2, 2, 9)); /* ... while an answer is being judged */
    send(&f, FLOW_EV_ANSWER);
    assert_int_equal(flow_next(&f, &stop).kind, FLOW_REPLY);
    start(&f, judged_limits(2, 2, 9));
    assert_int_equal(flow_next(&f, &stop).kind, FLOW_FAIL);

    /* the last one left is asked again, as the last of a route without judgement is */
    start(&f, judged_limits(2, 2, 9));
    failed(&f, ERR_UPSTREAM_CONTEXT_LENGTH, -1);
    flow_next(&f, &(struct flow_event){
                      .kind = FLOW_EV_CHOSEN, .choice = FLOW_ASK, .step = 1, .last = true});
    flow_called(&f, 0);
    assert_int_equal(failed(&f, ERR_UPSTREAM_CONNECT, -1).kind, FLOW_BACKOFF);
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
    assert_true(f.attempts <= w->max_attempts + f.escalations);
    switch (a.kind) {
    case FLOW_CALL:
        assert_true(before != FLOW_STREAMING); /* committed: no other attempt */
        assert_true(f.attempts < w->max_attempts + f.escalations);
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
        assert_true(before == FLOW_AWAIT_ANSWER || before == FLOW_AWAIT_VERDICT);
        assert_int_equal(f.state, FLOW_STREAMING);
        break;
    case FLOW_JUDGE:
        assert_int_equal(before, FLOW_AWAIT_ANSWER);
        assert_true(f.step < f.limits.judged && f.at_hand != FLOW_NOTHING);
        assert_int_equal(f.state, FLOW_AWAIT_VERDICT);
        if (f.at_hand == FLOW_WHOLE) {
            struct flow g = f;

            flow_keep(&g);
            explore(g, depth, w);
        }
        break;
    case FLOW_CHOOSE:
        assert_true(f.step < f.limits.judged && f.at_hand == FLOW_NOTHING);
        assert_int_equal(f.state, FLOW_AWAIT_VERDICT);
        break;
    case FLOW_RECALL:
        assert_true(f.kept && before != FLOW_STREAMING);
        assert_int_equal(f.state, FLOW_DONE);
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
        assert_true(a.kind == FLOW_REPLY || (a.err != ERR_OK && !f.kept));
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

/* What a performer may choose. */
static void follow_choices(struct flow f, int depth, struct walk *w)
{
    struct flow_event ev = {.kind = FLOW_EV_CHOSEN, .retry_after_ms = -1};

    if (f.state != FLOW_AWAIT_VERDICT || f.at_hand != FLOW_NOTHING) {
        ev.choice = FLOW_ACCEPT;
        follow(f, ev, depth, w);
    }
    if (f.state != FLOW_AWAIT_VERDICT || f.kept) {
        ev.choice = FLOW_SERVE;
        follow(f, ev, depth, w);
    }
    if (f.state != FLOW_AWAIT_VERDICT || f.at_hand == FLOW_NOTHING) {
        ev.choice = FLOW_NONE;
        follow(f, ev, depth, w);
    }
    ev.choice = FLOW_ASK;
    for (ev.step = 0; ev.step < f.limits.judged; ev.step++) {
        ev.last = ev.step % 2;
        follow(f, ev, depth, w);
    }
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

        if (k == FLOW_EV_CHOSEN) {
            follow_choices(f, depth - 1, w);
            continue;
        }
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

static void test_every_state_and_event_judged(void **state)
{
    struct flow_limits l = judged_limits(2, 3, 2);
    struct walk w = {.max_attempts = 2, .plan = &l};
    struct flow f;

    (void)state;
    l.first = 1;
    flow_init(&f, &l);
    explore(f, 5, &w);
    assert_true(w.visited > 10000);
    flow_init(&f, &l); /* from an answer that was kept on */
    send(&f, FLOW_EV_START);
    flow_called(&f, 0);
    send(&f, FLOW_EV_ANSWER);
    flow_keep(&f);
    explore(f, 5, &w);
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
        cmocka_unit_test(test_refused_logprobs_are_left_out_for_that_model),
        cmocka_unit_test(test_budget_refusal_moves_on),
        cmocka_unit_test(test_lonely_endpoint_is_asked_again),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_retry_that_finds_the_others_busy),
        cmocka_unit_test(test_server_that_is_started),
        cmocka_unit_test(test_gone_and_stop),
        cmocka_unit_test(test_route_after_the_encoder),
        cmocka_unit_test(test_judged_whole),
        cmocka_unit_test(test_judged_in_any_order),
        cmocka_unit_test(test_judged_stream),
        cmocka_unit_test(test_judged_failures),
        cmocka_unit_test(test_every_state_and_event),
        cmocka_unit_test(test_every_state_and_event_judged),
        cmocka_unit_test(test_state_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The transition function of a request. See flow.h for the picture. Pure; called by
 * router/request.c on a worker. */
#include "router/flow.h"

#include <assert.h>

void flow_plan(struct flow *f, const struct flow_limits *limits)
{
    assert(limits->steps >= 1 && limits->steps <= FLOW_MAX_STEPS);
    assert(limits->judged <= limits->steps && limits->first < limits->steps);
    assert(f->state == FLOW_IDLE && f->limits.steps == 0);
    f->limits = *limits;
    f->step = limits->first;
    f->last = limits->judged == 1;
}

void flow_init(struct flow *f, const struct flow_limits *limits)
{
    /* Until an attempt has failed, the only reason not to go on is that there is no room anywhere.
     */
    *f = (struct flow){.state = FLOW_IDLE,
                       .endpoint = -1,
                       .last_err = ERR_UPSTREAM_BUSY,
                       .last_retry_after_ms = -1};
    if (limits)
        flow_plan(f, limits);
}

const char *flow_state_name(enum flow_state s)
{
    switch (s) {
    case FLOW_IDLE:
        return "IDLE";
    case FLOW_AWAIT_EMBEDDING:
        return "AWAIT_EMBEDDING";
    case FLOW_AWAIT_CACHE:
        return "AWAIT_CACHE";
    case FLOW_AWAIT_BACKEND:
        return "AWAIT_BACKEND";
    case FLOW_AWAIT_ANSWER:
        return "AWAIT_ANSWER";
    case FLOW_AWAIT_VERDICT:
        return "AWAIT_VERDICT";
    case FLOW_AWAIT_BACKOFF:
        return "AWAIT_BACKOFF";
    case FLOW_STREAMING:
        return "STREAMING";
    case FLOW_DONE:
        return "DONE";
    }
    return "?";
}

static struct flow_action act(enum flow_action_kind kind)
{
    return (struct flow_action){.kind = kind, .retry_after_ms = -1};
}

static struct flow_action finish(struct flow *f, enum flow_action_kind kind, enum err err)
{
    struct flow_action a = act(kind);

    f->state = FLOW_DONE;
    a.err = err;
    if (kind == FLOW_FAIL)
        a.retry_after_ms = f->last_retry_after_ms;
    return a;
}

static struct flow_action call(struct flow *f, bool takes_budget)
{
    struct flow_action a = act(FLOW_CALL);

    f->state = FLOW_AWAIT_ANSWER;
    f->called = false;
    a.step = f->step;
    a.exclude_mask = f->tried;
    a.takes_budget = takes_budget;
    return a;
}

/* No answer of the step that was asked: what was kept is better than an error. */
static struct flow_action give_up(struct flow *f, enum err err)
{
    return f->kept ? finish(f, FLOW_RECALL, ERR_OK) : finish(f, FLOW_FAIL, err);
}

static bool is_judged(const struct flow *f)
{
    return f->step < f->limits.judged;
}

/* Answers that were passed over count on top: they are no failures. */
static bool attempts_used_up(const struct flow *f)
{
    return f->attempts >= f->limits.max_attempts + f->escalations;
}

static struct flow_action ask_step(struct flow *f, int step)
{
    f->step = step;
    f->without_thinking = true;
    f->without_logprobs = false;
    f->attempts_on_model = 0;
    f->tried = 0;
    return call(f, false);
}

/* What lies behind the judged steps, or all of them, goes in written order. */
static struct flow_action next_step(struct flow *f)
{
    return f->step + 1 < f->limits.steps ? ask_step(f, f->step + 1) : give_up(f, f->last_err);
}

static struct flow_action next_model(struct flow *f)
{
    if (attempts_used_up(f))
        return give_up(f, f->last_err);
    if (!is_judged(f))
        return next_step(f);
    f->state = FLOW_AWAIT_VERDICT;
    f->at_hand = FLOW_NOTHING;
    return act(FLOW_CHOOSE);
}

static bool is_last_model(const struct flow *f)
{
    return is_judged(f) ? f->last && f->limits.steps == f->limits.judged
                        : f->step + 1 >= f->limits.steps;
}

/* Every endpoint of this model has failed once, or has no room. Asking one again helps when the
 * fault passes by itself (429, 5xx), or when there is nothing else left to ask. */
static struct flow_action ask_again(struct flow *f, bool takes_budget)
{
    struct flow_action a = act(FLOW_BACKOFF);

    if (err_retry(f->last_err) == ERR_RETRY_OTHER && !is_last_model(f))
        return next_model(f);
    if (f->last_retry_after_ms > f->limits.max_retry_after_ms)
        return next_model(f);
    f->tried = 0;
    f->state = FLOW_AWAIT_BACKOFF;
    a.takes_budget = takes_budget;
    a.retry = f->attempts_on_model;
    a.floor_ms = f->last_retry_after_ms < 0 ? 0 : f->last_retry_after_ms;
    return a;
}

static bool other_endpoint(const struct flow *f)
{
    int n = f->limits.endpoints[f->step];

    for (int i = 0; i < n && i < 64; i++)
        if (!(f->tried >> i & 1))
            return true;
    return false;
}

/* The request is written otherwise, so that neither x-should-retry: false (which Anthropic says
 * with every 400) nor the count of tries on one model speaks against it; and it is no retry of what
 * an overloaded server failed to do, which the budget is for. */
static bool mended_without_thinking(struct flow *f, enum err err)
{
    if (err != ERR_UPSTREAM_THINKING || f->without_thinking || attempts_used_up(f))
        return false;
    f->without_thinking = true;
    return true;
}

/* Before the commit: the same endpoint, another one, the next model, or the end, as the error's
 * table entry allows. */
static bool mended_without_logprobs(struct flow *f, enum err err)
{
    if (err != ERR_UPSTREAM_LOGPROBS || f->without_logprobs || attempts_used_up(f))
        return false;
    f->without_logprobs = true;
    return true;
}

static struct flow_action flow_failed(struct flow *f, const struct flow_event *ev)
{
    enum err err = ev->err;
    enum err_retry how = err_retry(err);

    f->last_err = err;
    f->last_retry_after_ms = ev->retry_after_ms;
    if (f->state == FLOW_STREAMING)
        return finish(
            f, FLOW_CUT,
            err); /* bytes of this answer are with the client: no other attempt can follow */
    if (mended_without_thinking(f, err) || mended_without_logprobs(f, err))
        return call(f, false);
    if (how == ERR_RETRY_NEVER)
        return give_up(f, err);
    if (how == ERR_RETRY_NEXT || ev->no_retry || attempts_used_up(f) ||
        f->attempts_on_model >= f->limits.per_model)
        return next_model(f);

    if (f->endpoint >= 0 && f->endpoint < 64)
        f->tried |= UINT64_C(1) << f->endpoint;
    return other_endpoint(f) ? call(f, true) : ask_again(f, true);
}

/* The call found no room. A first one goes on to the next model; an earlier failure tells the
 * client more than "busy" does, so last_err stays. A retry that was to go elsewhere returns, after
 * a while, to those that failed: its place in the budget was taken when it was ordered. */
static struct flow_action no_endpoint(struct flow *f)
{
    return f->tried ? ask_again(f, false) : next_model(f);
}

static struct flow_action judge(struct flow *f, bool whole)
{
    f->state = FLOW_AWAIT_VERDICT;
    f->at_hand = whole ? FLOW_WHOLE : FLOW_HELD;
    return act(FLOW_JUDGE);
}

static struct flow_action await_answer(struct flow *f, const struct flow_event *ev)
{
    switch (ev->kind) {
    case FLOW_EV_FIRST_BYTES:
        f->state = FLOW_STREAMING;
        return act(FLOW_COMMIT);
    case FLOW_EV_HELD:
        return is_judged(f) ? judge(f, false) : act(FLOW_WAIT);
    case FLOW_EV_ANSWER:
        return is_judged(f) ? judge(f, true) : finish(f, FLOW_REPLY, ERR_OK);
    case FLOW_EV_FAILED:
        return flow_failed(f, ev);
    case FLOW_EV_NO_ENDPOINT:
        return f->called ? act(FLOW_WAIT) : no_endpoint(f);
    case FLOW_EV_BUDGET_REFUSED:
        return next_model(f);
    case FLOW_EV_STARTING:
        if (!f->called)
            f->state = FLOW_AWAIT_BACKEND;
        break;
    case FLOW_EV_ENCODING:
    case FLOW_EV_ENCODED:
    case FLOW_EV_START:
    case FLOW_EV_LOOKING:
    case FLOW_EV_HIT:
    case FLOW_EV_MISS:
    case FLOW_EV_READY:
    case FLOW_EV_WAIT_OVER:
    case FLOW_EV_CHOSEN:
    case FLOW_EV_GONE:
    case FLOW_EV_STOP:
        break;
    }
    return act(FLOW_WAIT);
}

static struct flow_action accepted(struct flow *f)
{
    assert(f->at_hand != FLOW_NOTHING);
    if (f->at_hand == FLOW_WHOLE)
        return finish(f, FLOW_REPLY, ERR_OK);
    f->state = FLOW_STREAMING;
    return act(FLOW_COMMIT);
}

static struct flow_action chosen(struct flow *f, const struct flow_event *ev)
{
    switch (ev->choice) {
    case FLOW_ACCEPT:
        return accepted(f);
    case FLOW_ASK:
        assert(ev->step < f->limits.judged);
        f->escalations += f->at_hand != FLOW_NOTHING;
        f->last = ev->last;
        return ask_step(f, ev->step);
    case FLOW_SERVE:
        return finish(f, FLOW_RECALL, ERR_OK);
    case FLOW_NONE:
        break;
    }
    assert(f->at_hand == FLOW_NOTHING);
    f->step = f->limits.judged - 1;
    return f->kept ? give_up(f, f->last_err) : next_step(f);
}

/* No attempt is made before the server is there: one that does not come up costs the route nothing
 * but its turn. */
static struct flow_action await_backend(struct flow *f, const struct flow_event *ev)
{
    if (ev->kind == FLOW_EV_READY)
        return call(f, false);
    if (ev->kind != FLOW_EV_FAILED)
        return act(FLOW_WAIT);
    f->last_err = ev->err;
    f->last_retry_after_ms = ev->retry_after_ms;
    return next_model(f);
}

/* Nothing has been asked of any server yet. */
static struct flow_action idle(struct flow *f, const struct flow_event *ev)
{
    if (ev->kind == FLOW_EV_ENCODING && f->limits.steps == 0)
        f->state = FLOW_AWAIT_EMBEDDING;
    else if (ev->kind == FLOW_EV_FAILED)
        return finish(f, FLOW_FAIL, ev->err);
    else if (ev->kind == FLOW_EV_START && f->limits.steps)
        return call(f, false);
    else if (ev->kind == FLOW_EV_HIT && f->limits.steps)
        return finish(f, FLOW_REPLAY, ERR_OK);
    else if (ev->kind == FLOW_EV_LOOKING && f->limits.steps)
        f->state = FLOW_AWAIT_CACHE;
    return act(FLOW_WAIT);
}

static struct flow_action await_cache(struct flow *f, const struct flow_event *ev)
{
    if (ev->kind == FLOW_EV_HIT)
        return finish(f, FLOW_REPLAY, ERR_OK);
    return ev->kind == FLOW_EV_MISS ? call(f, false) : act(FLOW_WAIT);
}

/* Time is up. An answer that nobody has judged yet is better than none. */
static struct flow_action stop(struct flow *f, enum err err)
{
    if (f->state == FLOW_STREAMING)
        return finish(f, FLOW_CUT, err);
    if (f->state == FLOW_AWAIT_VERDICT && f->at_hand == FLOW_WHOLE && !f->kept)
        return finish(f, FLOW_REPLY, ERR_OK);
    return give_up(f, err);
}

struct flow_action flow_next(struct flow *f, const struct flow_event *ev)
{
    if (f->state == FLOW_DONE)
        return act(FLOW_WAIT);
    if (ev->kind == FLOW_EV_GONE)
        return finish(f, FLOW_DROP, ERR_CLIENT_GONE);
    if (ev->kind == FLOW_EV_STOP)
        return stop(f, ev->err);

    switch (f->state) {
    case FLOW_IDLE:
        return idle(f, ev);
    case FLOW_AWAIT_EMBEDDING:
        if (ev->kind != FLOW_EV_ENCODED)
            return act(FLOW_WAIT);
        f->state = FLOW_IDLE;
        return act(FLOW_ROUTE);
    case FLOW_AWAIT_CACHE:
        return await_cache(f, ev);
    case FLOW_AWAIT_BACKEND:
        return await_backend(f, ev);
    case FLOW_AWAIT_ANSWER:
        return await_answer(f, ev);
    case FLOW_AWAIT_VERDICT:
        return ev->kind == FLOW_EV_CHOSEN ? chosen(f, ev) : act(FLOW_WAIT);
    case FLOW_AWAIT_BACKOFF:
        if (ev->kind == FLOW_EV_BUDGET_REFUSED)
            return next_model(f);
        return ev->kind == FLOW_EV_WAIT_OVER ? call(f, false) : act(FLOW_WAIT);
    case FLOW_STREAMING:
        if (ev->kind == FLOW_EV_ANSWER)
            return finish(f, FLOW_END, ERR_OK);
        if (ev->kind == FLOW_EV_FAILED)
            return flow_failed(f, ev);
        return act(FLOW_WAIT);
    case FLOW_DONE:
        break;
    }
    return act(FLOW_WAIT);
}

void flow_keep(struct flow *f)
{
    assert(f->at_hand == FLOW_WHOLE);
    f->kept = true;
}

void flow_called(struct flow *f, int endpoint)
{
    f->endpoint = endpoint;
    f->called = true;
    f->attempts++;
    f->attempts_on_model++;
}

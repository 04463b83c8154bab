/* Owns the calls of one sampled answer; the rows they leave belong to the request. Called by
 * cascade.c; upstream callbacks come in here and go on through the worker's mailbox, because the
 * last of them may end the request and with it the call that is calling. */
#include "router/sampling.h"

#include <stdlib.h>
#include "backends/wire/answer_samples.h"
#include "backends/wire/ask_samples.h"
#include "base/clock.h"
#include "base/mem.h"
#include "router/confidence.h"
#include "router/request_int.h"
#include "router/server_use.h"

#define SAID_MAX_BYTES ((size_t)64 * 1024) /* of one sample, that are compared */

/* One call. */
struct sample {
    struct sampling *owner;
    struct upstream_call call;
    struct upstream_request up;
    struct attempt *row; /* in request->samples */
    enum wire_api api;   /* by which it was asked */
    bool open, too_large;
    struct buf body;
};

struct sampling {
    struct message msg; /* to the own mailbox: all are through */
    struct router_env *env;
    struct request *request; /* NULL: stopped, and the message is on its way */
    struct attempt *of;      /* whose answer is sampled */
    const struct answer_signals *first;
    void (*done)(struct request *r);
    struct slice body; /* of each call, in the request's arena */
    bool posted;
    int open, count;
    struct sample samples[];
};

static void sampling_free(struct sampling *s)
{
    for (int i = 0; i < s->count; i++)
        buf_clear(&s->samples[i].body);
    free(s);
}

/* ---- the end of a call ---- */

static void book(struct sample *x, enum err err, bool sent, const struct upstream_result *res,
                 int64_t output_tokens)
{
    struct sampling *s = x->owner;
    struct request *r = s->request;

    if (res && res->resent) {
        struct attempt *copy = &r->samples[r->sample_count++];

        *copy = *x->row;
        attempt_book_lost(r, copy, x->row);
        x->row = copy;
    }
    x->open = false;
    s->open--;
    attempt_book_sample(r, x->row, err, sent, res, output_tokens);
    s->of->samples_cost = money_add(s->of->samples_cost, x->row->cost);
}

static void compare(void *ctx, const struct answer_signals *said)
{
    struct sample *x = ctx;

    x->row->samples++;
    x->row->repeats += confidence_repeats(x->owner->first, said);
}

static enum err read_answer(struct sample *x, const struct upstream_result *res,
                            struct answer_samples *out)
{
    struct request *r = x->owner->request;
    enum wire_dialect server = attempt_dialect(r, x->row);

    *out = (struct answer_samples){.count = 0};
    if (res->err != ERR_OK)
        return res->err;
    if (x->too_large)
        return ERR_UPSTREAM_TOO_LARGE;
    if (x->row->status == 200)
        return answer_samples_read(x->api, server, buf_slice(&x->body), SAID_MAX_BYTES, &r->arena,
                                   compare, x, out);
    return x->row->status < 400 ? ERR_UPSTREAM_PROTOCOL
                                : answer_classify(server, x->row->status, buf_slice(&x->body));
}

static void deliver(struct message *m, void *ctx)
{
    struct sampling *s = CONTAINER_OF(m, struct sampling, msg);
    struct request *r = s->request;
    void (*done)(struct request *) = s->done;

    (void)ctx;
    s->env->owed--;
    sampling_free(s);
    if (r)
        done(r);
}

/* The mailbox is closed: nobody is there to be told. */
static void discard(struct message *m)
{
    sampling_free(CONTAINER_OF(m, struct sampling, msg));
}

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct sample *x = c->owner;

    x->row->status = head->status;
}

static void on_data(struct upstream_call *c, struct slice data)
{
    struct sample *x = c->owner;

    x->too_large = x->too_large || buf_append_slice(&x->body, data) != ERR_OK;
}

static void on_done(struct upstream_call *c, const struct upstream_result *res)
{
    struct sample *x = c->owner;
    struct sampling *s = x->owner;
    struct answer_samples said;
    enum err err = read_answer(x, res, &said);

    if (said.has_usage)
        x->row->usage = said.usage;
    book(x, err, res->sent, res, openai_estimate_tokens(said.output_bytes));
    if (err == ERR_OK) {
        s->of->samples += x->row->samples;
        s->of->repeats += x->row->repeats;
    }
    if (s->open > 0)
        return;
    server_use_end(s->request);
    s->posted = true;
    s->env->owed++;
    mailbox_post(s->env->mailbox, &s->msg);
}

static const struct upstream_handler handler = {on_head, on_data, on_done};

void sampling_stop(struct sampling *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->count; i++)
        if (s->samples[i].open)
            book(&s->samples[i], ERR_SUPERSEDED, upstream_abort(&s->samples[i].call), NULL, 0);
    if (!s->posted)
        server_use_end(s->request);
    s->request = NULL;
    if (!s->posted)
        sampling_free(s);
}

/* ---- the beginning ---- */

int sampling_wanted(const struct request *r, int step, const char **why)
{
    const struct policy_confidence *c = &r->route->decide.confidence;
    int64_t count = r->route->steps[step].samples;

    *why = NULL;
    if (count <= 1 || (r->ask.stream && c->hold != POLICY_HOLD_WHOLE))
        return 0;
    if (r->ask.n > 1)
        *why = "it asks for several choices itself";
    else if (c->samples.temperature == POLICY_OFF && ask_samples_greedy(r->ask.body))
        *why = "at temperature 0 it would say the same again";
    return *why ? 0 : (int)count - 1;
}

int sampling_expected(const struct request *r, int step)
{
    const struct policy_samples *s = &r->route->decide.confidence.samples;
    const char *why;

    if (s->when == POLICY_SAMPLES_NO_LOGPROBS &&
        attempt_wants_logprobs(r, &r->snap->policy->models[r->route->steps[step].model]))
        return 0;
    return sampling_wanted(r, step, &why);
}

/* How the calls are split up. */
struct split {
    int calls, choices; /* of each */
};

static struct split split_of(const struct ask_target *to, enum wire_api asked, int samples)
{
    return ask_samples_choices(to, asked) ? (struct split){1, samples} : (struct split){samples, 1};
}

nanousd sampling_cost(const struct request *r, const struct policy_model *m,
                      const struct token_usage *one, int64_t took_us, int samples)
{
    struct ask_target to = attempt_target(r, m);
    struct token_usage u = {.source = USAGE_ESTIMATED};
    enum wire_api asked;
    struct split split;

    if (!wire_upstream_api(r->api, to.dialect, &asked))
        return 0;
    split = split_of(&to, asked, samples);
    for (int k = 0; k < TOK_KINDS; k++)
        u.n[k] = one->n[k] * (k == TOK_OUTPUT || k == TOK_REASONING ? samples : split.calls);
    return policy_cost(policy_price_at(m, r->received_wall_us), &u, took_us * split.calls);
}

static enum err write_body(struct request *r, const struct policy_model *m, enum wire_api *api,
                           int samples, struct split *split, struct slice *out)
{
    struct ask_target to = attempt_target(r, m);
    double temperature = r->route->decide.confidence.samples.temperature;
    struct ask_samples how;
    struct ask_body written;
    struct err_text why;
    const char *param;
    enum err err;

    to.ask_logprobs = false;
    if (!wire_upstream_api(r->api, to.dialect, api))
        return ERR_UNTRANSLATABLE;
    err = ask_write(&r->ask, &to, &r->arena, &written, &param, &why);
    if (err != ERR_OK)
        return err;
    *split = split_of(&to, *api, samples);
    how =
        (struct ask_samples){.n = split->choices, .temperature = to.no_sampling ? -1 : temperature};
    return ask_samples_write(&written, &to, &how, &r->arena, out) ? ERR_OK : ERR_UNTRANSLATABLE;
}

/* false: no endpoint has room. */
static bool start_call(struct sampling *s, const struct policy_model *m, enum wire_api api)
{
    struct request *r = s->request;
    const struct policy_backend *b = &r->snap->policy->backends[m->backend];
    int64_t now_us = clock_mono_us();
    int endpoint = attempt_acquire(r, m, 0, now_us);
    struct sample *x = &s->samples[s->count];

    if (endpoint < 0)
        return false;
    s->count++;
    s->open++;
    *x = (struct sample){
        .owner = s, .api = api, .open = true, .row = &r->samples[r->sample_count++]};
    attempt_init(r, x->row, s->of->model, endpoint, now_us);
    buf_init(&x->body, (size_t)b->max_response_bytes);
    attempt_fill(r, m, endpoint, api, &s->body, 1, &x->up);
    x->call.owner = x;
    upstream_start(s->env->upstream, &x->call, &handler, &x->up);
    return true;
}

struct sampling *sampling_start(struct request *r, const struct answer_signals *first, int samples,
                                void (*done)(struct request *r), const char **why)
{
    struct attempt *of = &r->attempts[r->hand];
    const struct policy_model *m = &r->snap->policy->models[of->model];
    struct sampling *s;
    struct split split;
    struct slice body;
    enum wire_api api;

    *why = "it cannot be asked so";
    if (write_body(r, m, &api, samples, &split, &body) != ERR_OK)
        return NULL;
    *why = "no room";
    if (!server_use_take(r, &r->snap->policy->backends[m->backend])) {
        server_use_end(r); /* another server has taken its place meanwhile */
        return NULL;
    }
    s = mem_zalloc(1, sizeof *s + (size_t)split.calls * sizeof s->samples[0]);
    s->msg = (struct message){.deliver = deliver, .discard = discard};
    s->env = r->env;
    s->request = r;
    s->of = of;
    s->first = first;
    s->done = done;
    s->body = body;
    while (s->count < split.calls && start_call(s, m, api))
        ;
    if (s->count > 0)
        return s;
    server_use_end(r);
    sampling_free(s);
    return NULL;
}

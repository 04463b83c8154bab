/* The client's side of a request: heads with weir's own fields, whole replies, streams, errors.
 * Owns nothing; the last call on a reply is made here, after its account. Runs on the worker;
 * called by request.c as the flow orders, and by attempt.c for the bytes of a stream. */
#include "router/respond.h"

#include "base/clock.h"
#include "router/decision.h"
#include "router/hold.h"
#include "router/meters.h"
#include "router/request_int.h"

/* ---- heads ---- */

struct fields {
    struct http1_header *h;
    size_t n;
};

static void add(struct fields *f, struct slice name, struct slice value)
{
    f->h[f->n++] = (struct http1_header){name, value};
}

static void add_cache(struct request *r, struct fields *f)
{
    if (r->cache.said != CACHE_SAID_NOTHING)
        add(f, SLICE("x-weir-cache"), slice_str(cache_said_name(r->cache.said)));
    if (!r->cache.entry)
        return;
    add(f, SLICE("x-weir-model"), r->cache.entry->f.model);
    add(f, SLICE("Age"), arena_decimal(&r->arena, r->cache.age_ms / 1000));
}

static void add_class(struct request *r, struct fields *f)
{
    if (r->class.is.label.n == 0)
        return;
    add(f, SLICE("x-weir-class"), r->class.is.label);
    add(f, SLICE("x-weir-class-confidence"),
        slice_str(arena_printf(&r->arena, "%.2f", (double)r->class.is.confidence)));
}

/* Whose answer it is, and what was thought of it. */
static void add_attempt(struct request *r, struct fields *f)
{
    const struct attempt *at = &r->attempts[r->hand];
    const struct policy_backend *b = attempt_backend(r, at);
    const char *decision = decision_header(r);

    add(f, SLICE("x-weir-model"), slice_str(r->snap->policy->models[at->model].name));
    add(f, SLICE("x-weir-endpoint"), slice_str(b->endpoints[at->endpoint].label));
    if (at->confidence >= 0)
        add(f, SLICE("x-weir-confidence"),
            slice_str(arena_printf(&r->arena, "%.3f", at->confidence)));
    if (decision)
        add(f, SLICE("x-weir-decision"), slice_str(decision));
}

/* Appends weir's own fields to the upstream's (content_type NULL: none; x-request-id is the
 * gateway's to add: its own errors carry it too). */
static struct reply_head reply_head(struct request *r, int status, const char *content_type,
                                    bool whole)
{
    struct fields f = {r->pass, r->pass_count};
    char usd[32];

    if (!f.h)
        f.h = ARENA_ARRAY(&r->arena, struct http1_header, ROOM_FOR_OWN_HEADERS);
    if (content_type)
        add(&f, SLICE("Content-Type"), slice_str(content_type));
    if (!whole) { /* an event stream: neither cached nor held back by proxies in between */
        add(&f, SLICE("Cache-Control"), SLICE("no-cache"));
        add(&f, SLICE("X-Accel-Buffering"), SLICE("no"));
    }
    if (r->route)
        add(&f, SLICE("x-weir-route"), slice_str(r->route->name));
    if (r->why_err ==
        ERR_TENANT_BUDGET) /* SDKs ask 429 again by themselves, and do not wait hours */
        add(&f, SLICE("x-should-retry"), SLICE("false"));
    add_cache(r, &f);
    add_class(r, &f);
    if (r->hand >= 0)
        add_attempt(r, &f);
    if (r->route)
        add(&f, SLICE("x-weir-attempts"), arena_decimal(&r->arena, r->attempt_count));
    if (r->route && whole) /* a stream's head leaves before its cost is known: the ledger has it
                              under x-request-id */
        add(&f, SLICE("x-weir-cost-usd"),
            arena_dup(&r->arena, slice_str(money_format_usd(account_cost(r), usd, sizeof usd))));
    return (struct reply_head){.status = status, .headers = f.h, .header_count = f.n};
}

/* ---- whole replies ---- */

/* Last calls on the reply go through here, so that the summary is there before the gateway closes
 * its books. */
static struct reply *take_reply(struct request *r, int status, enum err outcome)
{
    struct reply *reply = r->reply;

    r->reply = NULL;
    r->status = status;
    r->outcome = outcome;
    account_request(r, reply);
    return reply;
}

/* The attempt's answer at hand goes out; or the cache's, then there was none. */
static void mark_served(struct request *r)
{
    if (r->hand >= 0)
        r->attempts[r->hand].served = true;
}

static void send_whole(struct request *r)
{
    struct reply_head head;
    struct reply *reply;

    mark_served(r);
    head = reply_head(r, 200, "application/json", true);
    for (size_t i = 0; i < r->whole.count; i++)
        r->bytes_out += r->whole.pieces[i].n;
    reply = take_reply(r, 200, ERR_OK);
    reply->ops->whole(reply, &head, r->whole.pieces, r->whole.count);
    request_release(r);
}

/* The upstream's error as it came, where it may pass. Else *message gets its words, if there are
 * any. */
static bool error_passes(struct request *r, enum err e, const char **message)
{
    const struct attempt *last = r->attempt_count ? &r->attempts[r->attempt_count - 1] : NULL;
    struct err_text words;
    bool passes;

    if (!last || last->err != e || last->status < 400)
        return false;
    passes = answer_error_passes(r->api, attempt_dialect(r, last), e, buf_slice(&r->body), &words);
    if (words.s[0] && !*message)
        *message = arena_strdup(&r->arena, slice_str(words.s));
    return passes;
}

/* Of the upstream's headers those that also hold for an error in weir's own words: how much may be
 * asked, and whether to ask again. (Retry-After is written with the error.) */
static void keep_limits(struct request *r, enum err e)
{
    const struct attempt *last = r->attempt_count ? &r->attempts[r->attempt_count - 1] : NULL;
    size_t kept = 0;

    if (last && last->err == e && last->status >= 400)
        for (size_t i = 0; i < r->pass_count; i++)
            if (slice_istarts(r->pass[i].name, SLICE("x-ratelimit-")) ||
                slice_istarts(r->pass[i].name, SLICE("anthropic-ratelimit-")) ||
                slice_ieq(r->pass[i].name, SLICE("x-should-retry")))
                r->pass[kept++] = r->pass[i];
    r->pass_count = kept;
}

static void fail_whole(struct request *r, enum err e, const char *message, const char *param,
                       int64_t retry_after)
{
    struct reply_head head;
    struct reply *reply;

    if (error_passes(r, e, &message)) {
        struct slice body = buf_slice(&r->body);
        int status = r->attempts[r->attempt_count - 1].status;

        head = reply_head(r, status, "application/json", true);
        reply = take_reply(r, status, e);
        reply->ops->whole(reply, &head, &body, 1);
    } else {
        int status = answer_error_status(r->api, e);

        keep_limits(r, e); /* the failed attempt's other headers describe another answer */
        head = reply_head(r, status, NULL, true); /* the error's format is the gateway's */
        reply = take_reply(r, status, e);
        reply->ops->error(reply, e, message, param, retry_after, &head);
    }
    request_release(r);
}

/* ---- streams ---- */

static void begin(struct request *r, const struct reply_head *head)
{
    r->begun = true;
    r->status = 200;
    r->reply->ops->begin(r->reply, head);
}

void respond_begin(struct request *r)
{
    struct reply_head head;

    mark_served(r);
    hold_count(r);
    if (!r->begun) {
        head = reply_head(r, 200, "text/event-stream; charset=utf-8", false);
        begin(r, &head);
    }
    r->ttft_us = clock_mono_us() - r->received_us;
    if (r->snap->policy->server.sse_keepalive_ms != POLICY_NONE) {
        r->keepalive_us = clock_mono_us() + r->snap->policy->server.sse_keepalive_ms * 1000;
        request_arm(r);
    }
    respond_emit(r);
}

/* The reply begins before it is known whose answer it will be. */
static void begin_without_answer(struct request *r)
{
    struct http1_header *pass = r->pass;
    size_t pass_count = r->pass_count;
    int hand = r->hand;
    struct reply_head head;

    r->pass = NULL;
    r->pass_count = 0;
    r->hand = -1;
    head = reply_head(r, 200, "text/event-stream; charset=utf-8", false);
    begin(r, &head);
    r->pass = pass;
    r->pass_count = pass_count;
    r->hand = hand;
}

void respond_keepalive(struct request *r, int64_t now_us)
{
    int64_t every_us = r->snap->policy->server.sse_keepalive_ms * 1000;

    if (!r->paused && now_us - r->last_write_us >= every_us) {
        if (!r->begun)
            begin_without_answer(r);
        r->last_write_us = now_us;
        (void)r->reply->ops->write(r->reply, answer_keepalive(r->api));
    }
    r->keepalive_us =
        r->last_write_us + every_us > now_us ? r->last_write_us + every_us : now_us + every_us;
}

void respond_emit(struct request *r)
{
    if (buf_len(&r->out) == 0)
        return;
    r->last_write_us = clock_mono_us();
    r->bytes_out += buf_len(&r->out);
    if (!r->reply->ops->write(r->reply, buf_slice(&r->out)) && !r->paused && r->attempt) {
        r->paused = true;
        r->wait_us = -1;
        upstream_pause(r->call);
        meters_upstream_paused(r->env->meters);
    }
    buf_reset(&r->out);
    buf_shrink(&r->out, 4096);
}

void respond_end(struct request *r)
{
    struct reply *reply;

    if (!r->done_written && answer_end(&r->answer, &r->out) == ERR_OK)
        respond_emit(r);
    reply = take_reply(r, 200, ERR_OK);
    reply->ops->end(reply);
    request_release(r);
}

/* What is at hand lies ready in r->whole or, a stream, in r->out. */
void respond_answer(struct request *r)
{
    if (!r->ask.stream) {
        send_whole(r);
        return;
    }
    respond_begin(r);
    respond_end(r);
}

void respond_cut(struct request *r, enum err e)
{
    struct reply *reply;

    if (answer_error(&r->answer, e, NULL, &r->out) == ERR_OK)
        respond_emit(r);
    reply = take_reply(r, 200, e);
    reply->ops->abort(reply, err_name(e));
    request_release(r);
}

/* The head has gone out to keep the connection alive, and no answer came. */
static void fail_begun(struct request *r, enum err e)
{
    struct answer_options opt =
        attempt_answer_options(r, wire_api_dialect(r->api), r->body.max_bytes);

    answer_clear(&r->answer);
    buf_reset(&r->out);
    answer_open(&r->answer, &opt);
    respond_cut(r, e);
}

void respond_failure(struct request *r, enum err e, const char *message, const char *param,
                     int64_t retry_after_ms)
{
    if (r->begun)
        fail_begun(r, e);
    else
        fail_whole(r, e, message, param, retry_after_ms);
}

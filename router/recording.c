/* Owns the record of a stream that is read along (r->record). Called by router/attempt.c while the
 * answer comes, and by cache_use.c and background.c for what came of it. */
#include "router/recording.h"

#include "router/request_int.h"

#define MAX_EVENT_BYTES ((size_t)1 << 20) /* of a stream that is read along */

static struct answer_record_options options(const struct request *r, const struct attempt *at)
{
    return (struct answer_record_options){
        .api = r->api,
        .server = attempt_dialect(r, at),
        .n = r->ask.n,
        .tool_calls = r->route->cache.tool_calls,
        .mute_logprobs = at->asked_logprobs,
        .created_s = r->received_wall_us / 1000000,
        .max_bytes = RECORDING_MAX_BYTES,
        .max_event_bytes = MAX_EVENT_BYTES,
    };
}

void recording_open(struct request *r)
{
    struct answer_record_options opt;

    if (!r->cache.rules.store && !r->background)
        return;
    opt = options(r, r->attempt);
    r->record = answer_record_new(&opt);
}

void recording_feed(struct request *r, struct slice data)
{
    if (r->record)
        answer_record_feed(r->record, data);
}

void recording_forget(struct request *r)
{
    answer_record_free(r->record);
    r->record = NULL;
}

enum answer_worth recording_end(struct request *r, struct buf *out)
{
    const struct attempt *at = &r->attempts[r->hand];
    struct answer_record_options opt = options(r, at);
    enum answer_worth worth;

    if (r->record)
        return answer_record_end(r->record, out);
    worth = answer_record_whole(&opt, buf_slice(&r->body));
    if (worth == ANSWER_GOOD && !answer_record_keep(&opt, buf_slice(&r->body), out))
        worth = ANSWER_LARGE;
    return worth;
}

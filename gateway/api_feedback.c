/* Reads feedback, hands it to the learner, and answers when the learner has; what is news goes to
 * the cache as well, if the answer was its. Owns one call per exchange that waits. Called by
 * api_client.c. */
#include "gateway/api_feedback.h"

#include <math.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/json_scan.h"
#include "base/mem.h"
#include "router/cache_audit.h"
#include "router/learn_store.h"
#include "router/learner.h"
#include "router/request.h"

#define MAX_ID_BYTES     256
#define MAX_REASON_BYTES 500
#define FUTURE_US        INT64_C(300000000) /* clocks differ */
#define REPLY_BYTES      8192
#define RETRY_AFTER_MS   1000

/* ---- the body ---- */

enum member { REQUEST_ID, SUCCESS, SCORE, CORRECTION, SOURCE, REASON, TIME, MEMBERS };
static const char *const member_names[MEMBERS] = {"request_id", "success", "score", "correction",
                                                  "source",     "reason",  "time"};

struct reading {
    struct json_value of[MEMBERS];
    bool given[MEMBERS];
    struct slice unknown; /* the first one; as written */
    int twice;            /* a member's number; -1 */
};

static bool note_member(const struct json_member *m, void *ctx)
{
    struct reading *r = ctx;

    for (int i = 0; i < MEMBERS; i++) {
        if (!json_key_is(m, slice_str(member_names[i])))
            continue;
        if (r->given[i])
            r->twice = i;
        r->given[i] = true;
        r->of[i] = m->value;
        return true;
    }
    if (!r->unknown.p)
        r->unknown = m->key;
    return true;
}

static enum err fault(enum member at, const char **param)
{
    *param = member_names[at];
    return ERR_BAD_REQUEST;
}

static enum err read_members(struct slice body, struct reading *r, const char **param,
                             struct err_text *why)
{
    size_t at = 0;

    if (!json_validate(body, &at)) {
        err_say(why, "We could not parse the JSON body of your request: byte %zu.", at);
        return ERR_BAD_JSON;
    }
    if (!json_scan_object(body, note_member, r, &at)) {
        err_say(why, "The body must be a JSON object.");
        return ERR_BAD_REQUEST;
    }
    if (r->unknown.p) {
        err_say(why, "Unrecognized request argument supplied: %.*s",
                r->unknown.n < 100 ? (int)r->unknown.n : 100, r->unknown.p);
        return ERR_BAD_REQUEST;
    }
    if (r->twice >= 0) {
        err_say(why, "'%s' is given more than once.", member_names[r->twice]);
        return fault((enum member)r->twice, param);
    }
    return ERR_OK;
}

/* A string that is there. */
static enum err read_text(const struct reading *r, enum member m, struct arena *a,
                          struct slice *out, const char **param, struct err_text *why)
{
    if (r->of[m].type != JSON_STRING) {
        err_say(why, "Invalid type for '%s': expected a string.", member_names[m]);
        return fault(m, param);
    }
    *out = json_string_text(r->of[m].text, a);
    return ERR_OK;
}

static enum err read_id(const struct reading *r, struct arena *a, struct feedback *out,
                        const char **param, struct err_text *why)
{
    struct slice id;
    enum err err;

    if (!r->given[REQUEST_ID]) {
        err_say(why, "Missing required parameter: 'request_id', the x-request-id of the reply "
                     "that this is about.");
        return fault(REQUEST_ID, param);
    }
    err = read_text(r, REQUEST_ID, a, &id, param, why);
    if (err != ERR_OK)
        return err;
    if (id.n == 0 || id.n > MAX_ID_BYTES || memchr(id.p, '\0', id.n)) {
        err_say(why, "Invalid 'request_id': expected 1 to %d bytes.", MAX_ID_BYTES);
        return fault(REQUEST_ID, param);
    }
    out->request_id = arena_strdup(a, id);
    return ERR_OK;
}

static enum err read_score(struct json_value v, struct feedback *out, const char **param,
                           struct err_text *why)
{
    double score;

    if (v.type != JSON_NUMBER || !json_number(v, &score) || !(score >= 0 && score <= 1)) {
        err_say(why, "Invalid 'score': expected a number from 0 to 1, or null.");
        return fault(SCORE, param);
    }
    out->value_milli = (int)lround(score * 1000);
    return ERR_OK;
}

/* success, score, or a correction by itself. */
static enum err read_value(const struct reading *r, struct arena *a, struct feedback *out,
                           const char **param, struct err_text *why)
{
    struct slice correction = {"", 0};
    bool corrected = r->given[CORRECTION] && r->of[CORRECTION].type != JSON_NULL;
    enum err err = corrected ? read_text(r, CORRECTION, a, &correction, param, why) : ERR_OK;

    if (err != ERR_OK)
        return err;
    if (r->given[SUCCESS] && r->given[SCORE]) {
        err_say(why, "'success' and 'score' say the same: give one of them.");
        return fault(SCORE, param);
    }
    if (!r->given[SUCCESS] && !r->given[SCORE] && !corrected) {
        err_say(why, "Missing required parameter: 'success' (true, false, null) or 'score' "
                     "(0 to 1, null), or 'correction'.");
        return fault(SUCCESS, param);
    }
    const struct json_value *v = r->given[SUCCESS] ? &r->of[SUCCESS]
                                 : r->given[SCORE] ? &r->of[SCORE]
                                                   : NULL;
    out->source = v ? TALLY_EXPLICIT : TALLY_CORRECTION;
    out->value_milli = 0;
    if (!v)
        return ERR_OK;
    if (v->type == JSON_NULL) {
        out->value_milli = -1;
        return ERR_OK;
    }
    if (r->given[SCORE])
        return read_score(*v, out, param, why);
    if (v->type != JSON_TRUE && v->type != JSON_FALSE) {
        err_say(why, "Invalid type for 'success': expected true, false or null.");
        return fault(SUCCESS, param);
    }
    out->value_milli = v->type == JSON_TRUE ? 1000 : 0;
    return ERR_OK;
}

static enum err read_source(const struct reading *r, struct arena *a, struct feedback *out,
                            const char **param, struct err_text *why)
{
    struct slice name;
    enum err err = read_text(r, SOURCE, a, &name, param, why);

    if (err != ERR_OK)
        return err;
    if (tally_source_parse(name, &out->source) && out->source != TALLY_SILENCE)
        return ERR_OK;
    err_say(why, "Invalid 'source': expected 'explicit', 'validator', 'judge', 'correction' or "
                 "'implicit'.");
    return fault(SOURCE, param);
}

static enum err read_reason(const struct reading *r, struct arena *a, struct feedback *out,
                            const char **param, struct err_text *why)
{
    struct slice text;
    enum err err = read_text(r, REASON, a, &text, param, why);
    size_t n = text.n;

    if (err != ERR_OK)
        return err;
    if (n > MAX_REASON_BYTES)
        for (n = MAX_REASON_BYTES; n > 0 && ((unsigned char)text.p[n] & 0xC0) == 0x80;)
            n--; /* whole characters */
    const char *nul = n ? memchr(text.p, '\0', n) : NULL;
    out->reason = arena_strdup(a, slice_make(text.p, nul ? (size_t)(nul - text.p) : n));
    return ERR_OK;
}

static enum err read_time(const struct reading *r, int64_t now_us, struct feedback *out,
                          const char **param, struct err_text *why)
{
    double seconds;

    if (r->of[TIME].type != JSON_NUMBER || !json_number(r->of[TIME], &seconds) ||
        !(seconds >= 0 && seconds * 1e6 <= (double)(now_us + FUTURE_US))) {
        err_say(why, "Invalid 'time': expected Unix seconds, not in the future.");
        return fault(TIME, param);
    }
    out->said_us = (int64_t)(seconds * 1e6);
    return ERR_OK;
}

enum err feedback_read(struct slice body, int64_t now_us, struct arena *a, struct feedback *out,
                       const char **param, struct err_text *why)
{
    struct reading r = {.twice = -1};
    enum err err = read_members(body, &r, param, why);

    *out = (struct feedback){.said_us = now_us, .reason = ""};
    if (err == ERR_OK)
        err = read_id(&r, a, out, param, why);
    if (err == ERR_OK)
        err = read_value(&r, a, out, param, why);
    if (err == ERR_OK && r.given[SOURCE] && r.of[SOURCE].type != JSON_NULL)
        err = read_source(&r, a, out, param, why);
    if (err == ERR_OK && r.given[REASON] && r.of[REASON].type != JSON_NULL)
        err = read_reason(&r, a, out, param, why);
    if (err == ERR_OK && r.given[TIME] && r.of[TIME].type != JSON_NULL)
        err = read_time(&r, now_us, out, param, why);
    return err;
}

/* ---- the call ---- */

struct feedback_call {
    struct learner_label label;
    struct api_feedback *f;
    struct cache *cache;              /* borrowed: it outlives the workers. NULL: none */
    objid id;                         /* names the exchange */
    char *tenant, *request_id, *note; /* owned: the exchange may be gone before the answer */
};

static void free_call(struct feedback_call *c)
{
    free(c->tenant);
    free(c->request_id);
    free(c->note);
    free(c);
}

static struct feedback_call *call_of(struct message *m)
{
    return CONTAINER_OF(CONTAINER_OF(m, struct learner_label, msg), struct feedback_call, label);
}

static void discard_call(struct message *m)
{
    free_call(call_of(m));
}

static enum err put_text(struct buf *out, const char *key, const char *value)
{
    struct slice s = slice_str(value);
    char *room;
    size_t bytes;
    enum err err = buf_printf(out, ",\"%s\":", key);

    if (err == ERR_OK)
        err = buf_reserve(out, 6 * s.n + 2, &room, &bytes);
    if (err == ERR_OK)
        buf_commit(out, json_string_encode(s, room, bytes));
    return err;
}

static enum err write_reply(const struct feedback_call *c, struct buf *out)
{
    const struct learner_label *l = &c->label;
    enum err err = buf_printf(out, "{\"object\":\"feedback\"");

    if (err == ERR_OK)
        err = put_text(out, "request_id", c->request_id);
    if (err == ERR_OK)
        err = put_text(out, "model", l->about);
    if (err == ERR_OK)
        err = put_text(out, "source", tally_source_name(l->source));
    if (err == ERR_OK && l->value_milli < 0)
        err = buf_printf(out, ",\"score\":null");
    else if (err == ERR_OK)
        err = buf_printf(out, ",\"score\":%d.%03d", l->value_milli / 1000, l->value_milli % 1000);
    return err == ERR_OK ? buf_printf(out, ",\"changed\":%s}", l->changed ? "true" : "false") : err;
}

static void reply_done(const struct feedback_call *c, struct http_exchange *x)
{
    struct http1_header type = {SLICE("Content-Type"), SLICE("application/json")};
    struct buf body;

    buf_init(&body, REPLY_BYTES);
    if (write_reply(c, &body) == ERR_OK) {
        struct slice whole = buf_slice(&body);
        http_reply_whole(x, 200, &type, 1, &whole, 1);
    } else {
        http_reply_error(x, ERR_INTERNAL, NULL, NULL, -1, NULL, 0);
    }
    buf_clear(&body);
}

static void reply_failed(const struct feedback_call *c, struct http_exchange *x)
{
    const char *message = "What was said could not be kept just now; say it again.";

    if (c->label.err == ERR_NOT_FOUND) {
        message = arena_printf(
            http_exchange_arena(x),
            "No request '%s' of this API key's tenant is known, or it was more than %d days ago.",
            c->request_id, (int)(LEARN_REMEMBER_S / 86400));
        http_reply_error(x, ERR_REQUEST_NOT_FOUND, message, "request_id", -1, NULL, 0);
    } else if (c->label.err == ERR_CONFLICT) {
        http_reply_error(x, ERR_CONFLICT, "That request got no answer that could be judged.",
                         "request_id", -1, NULL, 0);
    } else {
        http_reply_error(x, c->label.err, message, NULL, RETRY_AFTER_MS, NULL, 0);
    }
}

static void on_done(struct message *m, void *receiver_ctx)
{
    struct feedback_call *c = call_of(m);
    struct http_exchange *x = idtable_get(&c->f->waiting, c->id);

    (void)receiver_ctx;
    c->f->env->owed--;
    if (c->label.err == ERR_OK && c->label.changed)
        cache_audit_word(c->cache, c->tenant, c->request_id, c->label.value_milli,
                         c->label.weight_milli);
    if (x) {
        idtable_remove(&c->f->waiting, c->id);
        if (c->label.err == ERR_OK)
            reply_done(c, x);
        else
            reply_failed(c, x);
    }
    free_call(c);
}

static void send_label(struct api_feedback *f, const struct feedback *said, objid id,
                       const struct policy_tenant *tenant, struct cache *cache)
{
    struct feedback_call *c = mem_zalloc(1, sizeof *c);

    c->f = f;
    c->cache = cache;
    c->id = id;
    c->tenant = mem_strdup(slice_str(tenant ? tenant->name : ""));
    c->request_id = mem_strdup(slice_str(said->request_id));
    c->note = mem_strdup(slice_str(said->reason));
    c->label = (struct learner_label){.msg.discard = discard_call,
                                      .reply_to = f->env->mailbox,
                                      .on_done = on_done,
                                      .tenant = c->tenant,
                                      .request_id = c->request_id,
                                      .model = "",
                                      .source = said->source,
                                      .value_milli = said->value_milli,
                                      .said_us = said->said_us,
                                      .note = c->note};
    f->env->owed++;
    learner_label(f->env->learner, &c->label);
}

objid api_feedback_take(struct api_feedback *f, struct http_exchange *x,
                        const struct policy_tenant *tenant, struct cache *cache)
{
    struct feedback said;
    const char *param = NULL;
    struct err_text why = {""};
    objid id = 0;
    enum err err = feedback_read(http_exchange_body(x), clock_wall_us(), http_exchange_arena(x),
                                 &said, &param, &why);

    if (err == ERR_OK && !(id = idtable_add(&f->waiting, x)))
        err = ERR_OVERLOADED;
    if (err == ERR_OK)
        send_label(f, &said, id, tenant, cache);
    else
        http_reply_error(x, err,
                         why.s[0] ? arena_strdup(http_exchange_arena(x), slice_str(why.s)) : NULL,
                         param, -1, NULL, 0);
    return id;
}

void api_feedback_gone(struct api_feedback *f, objid id)
{
    if (id)
        idtable_remove(&f->waiting, id);
}

void api_feedback_init(struct api_feedback *f, struct router_env *env)
{
    f->env = env;
    idtable_init(&f->waiting, UINT32_MAX / 2);
}

void api_feedback_clear(struct api_feedback *f)
{
    idtable_clear(&f->waiting);
}

/* Owns nothing beyond the request: its state and the reply's pieces lie in the request's arena.
 * Called by router/attempt.c; the encoder's answers come through the worker's mailbox. */
#include "router/embed_call.h"

#include <openssl/evp.h>
#include <stdio.h>
#include "base/json_scan.h"
#include "backends/wire/member.h"
#include "router/embedder.h"
#include "router/request_int.h"

#define MAX_TEXTS     2048 /* OpenAI's limit */
#define AT_ONCE       32   /* of one request, in the encoder's queue */
#define NUMBER_BYTES  17   /* "-1.23456789e-08," */
#define ENTRY_BYTES   64   /* {"object":"embedding","index":2047,"embedding":...}, */
#define CLOSING_BYTES 96

struct embed_call {
    objid id; /* names the request to the answers; 0: none is to come */
    struct json_value *texts;
    size_t *bytes; /* decoded, as submitted */
    size_t count, submitted, answered;
    bool base64;
    int dim;
    int64_t tokens;
    struct slice *pieces; /* the reply: head, one entry per text, tail */
};

/* ---- what is asked ---- */

static enum err refuse(struct request *r, const char *param)
{
    r->why_param = param;
    return ERR_BAD_REQUEST;
}

static struct json_value body_of(const struct request *r)
{
    return (struct json_value){JSON_OBJECT, json_trim(r->ask.body)};
}

static enum err read_format(struct request *r, bool *base64)
{
    struct json_member m;

    *base64 = false;
    if (!json_get(body_of(r), SLICE("encoding_format"), &m) || m.value.type == JSON_NULL ||
        slice_eq(m.value.text, SLICE("\"float\"")))
        return ERR_OK;
    *base64 = slice_eq(m.value.text, SLICE("\"base64\""));
    if (*base64)
        return ERR_OK;
    err_say(&r->why, "Invalid 'encoding_format': expected 'float' or 'base64'.");
    return refuse(r, "encoding_format");
}

static enum err check_dimensions(struct request *r, int dim)
{
    struct json_member m;
    int64_t wanted;

    if (!json_get(body_of(r), SLICE("dimensions"), &m) || m.value.type == JSON_NULL ||
        (json_int(m.value, &wanted) && wanted == dim))
        return ERR_OK;
    err_say(&r->why,
            "Invalid 'dimensions': this model's embeddings have %d and cannot be shortened.", dim);
    return refuse(r, "dimensions");
}

/* The texts of `input`; *texts in the arena. */
static enum err read_texts(struct request *r, struct json_value input, struct json_value **texts,
                           size_t *count)
{
    bool list = input.type == JSON_ARRAY;
    struct json_member m;
    struct json_iter it;
    size_t n = list ? json_count(input) : 1, i = 0;

    if (n == 0 || n > MAX_TEXTS) {
        err_say(&r->why, "Invalid 'input': %zu texts; 1 to %d are possible.", n, MAX_TEXTS);
        return refuse(r, "input");
    }
    *texts = ARENA_ARRAY(&r->arena, struct json_value, n);
    *count = n;
    if (!list) {
        (*texts)[0] = input;
        return ERR_OK;
    }
    json_iter_init(&it, input);
    while (json_iter_next(&it, &m)) {
        if (m.value.type == JSON_NUMBER || m.value.type == JSON_ARRAY) {
            err_say(&r->why,
                    "Invalid 'input[%zu]': tokens are those of another model's vocabulary; send "
                    "texts.",
                    i);
            return refuse(r, "input");
        }
        if (m.value.type != JSON_STRING) {
            err_say(&r->why, "Invalid type for 'input[%zu]': expected a string.", i);
            return refuse(r, "input");
        }
        (*texts)[i++] = m.value;
    }
    return ERR_OK;
}

enum err embed_call_check(struct request *r)
{
    struct embed_call *c = ARENA_NEW(&r->arena, struct embed_call);
    enum err err;

    c->dim = encoder_facts(embedder_encoder(r->snap->embedder)).dim;
    err = read_format(r, &c->base64);
    if (err == ERR_OK)
        err = check_dimensions(r, c->dim);
    if (err == ERR_OK)
        err = read_texts(r, r->ask.openai.messages.value, &c->texts, &c->count);
    if (err != ERR_OK)
        return err;
    c->bytes = ARENA_ARRAY(&r->arena, size_t, c->count);
    c->pieces = ARENA_ARRAY(&r->arena, struct slice, c->count + 2);
    r->embed = c;
    return ERR_OK;
}

/* ---- the reply ---- */

static char *put(char *p, struct slice s)
{
    if (s.n)
        memcpy(p, s.p, s.n);
    return p + s.n;
}

/* IEEE 754 little-endian, as NumPy's frombuffer reads it. */
static char *put_base64(char *p, const float *v, int dim)
{
    *p++ = '"';
    p += EVP_EncodeBlock((unsigned char *)p, (const unsigned char *)v, dim * (int)sizeof *v);
    *p++ = '"';
    return p;
}

static char *put_floats(char *p, const float *v, int dim)
{
    *p++ = '[';
    for (int i = 0; i < dim; i++)
        p += snprintf(p, NUMBER_BYTES + 1, "%s%.9g", i ? "," : "", (double)v[i]);
    *p++ = ']';
    return p;
}

static void write_entry(struct request *r, size_t i, const float *v)
{
    struct embed_call *c = r->embed;
    size_t dim = (size_t)c->dim,
           room = ENTRY_BYTES + (c->base64 ? 4 * ((4 * dim + 2) / 3) + 3 : NUMBER_BYTES * dim + 3);
    char *text = arena_alloc(&r->arena, room), *p = text;

    p += snprintf(p, ENTRY_BYTES,
                  "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
    p = c->base64 ? put_base64(p, v, c->dim) : put_floats(p, v, c->dim);
    *p++ = '}';
    c->pieces[i + 1] = slice_make(text, (size_t)(p - text));
}

static void write_reply(struct request *r)
{
    struct embed_call *c = r->embed;
    const struct policy *p = r->snap->policy;
    struct slice name = p->server.reply_model == REPLY_MODEL_REQUESTED
                            ? r->ask.model_name
                            : slice_str(p->models[r->attempt->model].name);
    size_t room = 6 * name.n + 2 + CLOSING_BYTES;
    char *tail = arena_alloc(&r->arena, room), *end = put(tail, SLICE("],\"model\":"));

    end += json_string_encode(name, end, room);
    end +=
        snprintf(end, CLOSING_BYTES, ",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}\n",
                 (long long)c->tokens, (long long)c->tokens);
    c->pieces[0] = SLICE("{\"object\":\"list\",\"data\":[");
    c->pieces[c->count + 1] = slice_make(tail, (size_t)(end - tail));
    r->whole = (struct answer_whole){.pieces = c->pieces, .count = c->count + 2};
}

/* ---- the encoder ---- */

static void note_usage(struct request *r, enum usage_source source)
{
    r->attempt->usage = (struct token_usage){.source = source};
    r->attempt->usage.n[TOK_INPUT] = r->embed->tokens;
}

bool embed_call_abort(struct request *r)
{
    struct embed_call *c = r->embed;

    if (c->id)
        idtable_remove(&r->env->waiting, c->id);
    c->id = 0;
    if (c->tokens && r->attempt->usage.source != USAGE_REPORTED)
        note_usage(r, USAGE_PARTIAL);
    r->embed = NULL;
    return c->submitted > 0;
}

static void finish(struct request *r, enum err err)
{
    note_usage(r, err == ERR_OK ? USAGE_REPORTED : USAGE_PARTIAL);
    if (err == ERR_OK)
        write_reply(r);
    attempt_done(r, err);
}

/* A part of a text is another text: whoever asked would not know. */
static enum err check_whole(struct request *r, const struct encoder_query *q)
{
    if (!q->counts.truncated && q->text_bytes == r->embed->bytes[q->index])
        return ERR_OK;
    err_say(&r->why, "'input[%zu]' is longer than the %d tokens that model '%s' reads.", q->index,
            encoder_facts(embedder_encoder(r->snap->embedder)).max_tokens,
            r->snap->policy->models[r->attempt->model].name);
    r->why_param = "input";
    return r->why_err = ERR_UPSTREAM_CONTEXT_LENGTH;
}

static enum err submit_more(struct request *r);

static void take_answer(struct request *r, const struct encoder_query *q)
{
    struct embed_call *c = r->embed;
    enum err err = q->err == ERR_OK           ? check_whole(r, q)
                   : q->err == ERR_OVERLOADED ? ERR_UPSTREAM_OVERLOADED
                                              : ERR_UPSTREAM_SERVER_ERROR;

    c->answered++;
    if (q->err == ERR_OK)
        c->tokens += (int64_t)q->counts.tokens;
    if (err == ERR_OK) {
        write_entry(r, q->index, q->embedding);
        err = submit_more(r);
    }
    if (err != ERR_OK || c->answered == c->count)
        finish(r, err);
}

static void deliver(struct message *m, void *ctx)
{
    struct encoder_query *q = CONTAINER_OF(m, struct encoder_query, msg);
    struct router_env *env = q->owner;
    struct request *r = idtable_get(&env->waiting, q->id);

    (void)ctx;
    env->owed--;
    if (r)
        take_answer(r, q);
    encoder_query_free(q);
}

static struct encoder_query *query_of(struct request *r, size_t i)
{
    struct embed_call *c = r->embed;
    struct slice quoted = c->texts[i].text;
    struct encoder_query *q = encoder_query_new(quoted); /* decoding never makes it longer */

    q->text_bytes = c->bytes[i] = json_string_decode(quoted, q->text, quoted.n);
    q->msg.deliver = deliver;
    q->reply_to = r->env->mailbox;
    q->owner = r->env;
    q->id = c->id;
    q->index = i;
    return q;
}

/* ERR_UPSTREAM_OVERLOADED: there is no room in the queue, and no answer to wait for. */
static enum err submit_more(struct request *r)
{
    struct embed_call *c = r->embed;

    while (c->submitted < c->count && c->submitted - c->answered < AT_ONCE) {
        struct encoder_query *q = query_of(r, c->submitted);

        if (encoder_service_submit(embedder_service(r->snap->embedder), q) != ERR_OK) {
            encoder_query_free(q);
            return c->submitted > c->answered ? ERR_OK : ERR_UPSTREAM_OVERLOADED;
        }
        c->submitted++;
        r->env->owed++;
    }
    return ERR_OK;
}

enum err embed_call_start(struct request *r)
{
    struct embed_call *c = r->embed;

    c->id = idtable_add(&r->env->waiting, r);
    if (c->id && submit_more(r) == ERR_OK)
        return ERR_OK;
    if (c->id)
        idtable_remove(&r->env->waiting, c->id);
    r->embed = NULL;
    return ERR_UPSTREAM_BUSY;
}

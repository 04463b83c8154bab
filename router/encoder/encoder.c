/* Owns: the choice of kernels, the way from texts to batches. Thread: an encoder is shared and
 * immutable, a session belongs to one thread. Called by the service, the trainer, the command line
 * and tests.
 *
 * More texts than a pass should take make more passes: on a CPU its activations are to stay in the
 * core's second-level cache, and beyond that a longer pass costs more per token, not less. */
#include "router/encoder/encoder.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/mem.h"
#include "router/encoder/bert_ref.h"
#include "router/encoder/cpu/bert_cpu.h"
#include "router/encoder/cuda_kernels.h"

/* Tokens of one pass on a CPU, or one sequence when that is longer; measured with
 * tests/bench/encoder. */
#define CPU_PASS_TOKENS 128
/* What the sample below may have. */
#define SAMPLE_TOKENS 512

struct encoder {
    struct bert_model *model;              /* owned */
    struct wordpiece *tokenizer;           /* owned */
    const struct encoder_kernels *kernels; /* static */
    void *packed;                          /* owned: kernels->packed_free */
    int max_tokens;
    int pass_tokens; /* the most that a pass can have, >= max_tokens */
    int good_tokens; /* no further sequence joins a pass beyond these */
    size_t weight_bytes;
    struct fingerprint space;
};

struct encoder_session {
    const struct encoder *encoder; /* borrowed */
    void *state;                   /* owned: kernels->state_free */
    int32_t *ids;                  /* owned: [pass_tokens] */
    int32_t *starts;               /* owned: [pass_tokens / 2 + 1]: a text has two tokens or more */
    char *text;                    /* owned: prefix and text together; grows to the longest text */
    size_t text_cap;
};

/* ---- opening ---- */

/* What layers are fed with is measured on these when they are packed to int8: prose, questions,
 * code, numbers, lists, a foreign language, shouting; about 400 tokens. */
static const char *const sample_texts[] = {
    "What is the capital of Australia, and since when?",
    "my card still hasn't arrived after two weeks, can you tell me where it is??",
    "def total(xs):\n    s = 0\n    for i, x in enumerate(xs):\n        if x > 10 and i % 2 "
    "== 0:\n"
    "            s += x ** 2\n    return {'sum': s, \"n\": len(xs)}",

    "A train leaves at 7:45 a.m. at 80 km/h; a second one leaves the same station at 9:15 a.m. "
    "at 110 km/h. When does it catch up?\nA. 12:15\nB. 1:15 p.m.\nC. 2:45 p.m.\nD. never",
    "Summarize the following contract clause in plain English: The Licensee shall indemnify "
    "and hold harmless the Licensor against any claims, damages, losses and expenses arising "
    "out of the use of the Software.",
    "IS THE SERVER DOWN AGAIN??? error 503 since 14:02:11, trace id 9f3c-77ab",
    "Bitte uebersetze den Satz ins Englische: Der Zug hat wegen Schnee Verspaetung.",

    "Let f be a continuous function on [0, 1] with f(0) = f(1). Prove that there is an x such "
    "that f(x) = f(x + 1/2).",
    "hi",
    "Patient, 54, presents with acute chest pain radiating to the left arm; ECG shows ST "
    "elevation in II, III and aVF. What is the most likely diagnosis?",

    "book a table for four tonight at an Italian place near Union Square, then remind me at 6",
    "SELECT name, COUNT(*) FROM orders WHERE total > 99.5 GROUP BY name ORDER BY 2 DESC;",
};

static void *pack_on_sample(const struct encoder *e, struct bert_cpu_options cpu)
{
    enum { TEXTS = sizeof sample_texts / sizeof *sample_texts };
    int32_t starts[TEXTS + 1] = {0};
    int32_t *ids = mem_zalloc((size_t)(SAMPLE_TOKENS + e->max_tokens), sizeof *ids);
    struct encoder_batch batch = {.ids = ids, .starts = starts};
    for (int i = 0; i < TEXTS; i++) {
        struct wordpiece_counts c = wordpiece_encode(e->tokenizer, slice_str(sample_texts[i]), true,
                                                     ids + starts[i], (size_t)e->max_tokens);
        if (starts[i] + (int)c.tokens > SAMPLE_TOKENS)
            break;
        starts[i + 1] = starts[i] + (int)c.tokens;
        batch.count++;
    }
    cpu.sample = &batch;
    void *packed = bert_cpu_pack(&cpu);
    free(ids);
    return packed;
}

static enum err choose_cpu(const struct encoder_options *opt, struct encoder *e, struct err_text *t)
{
    int precision = opt->precision < 0 ? ENCODER_INT8 : opt->precision;
    if (precision != ENCODER_FP32 && precision != ENCODER_INT8) {
        err_say(t, "a CPU computes with the precision fp32 or int8, not with %s",
                precision < ENCODER_PRECISIONS
                    ? encoder_precision_name((enum encoder_precision)precision)
                    : "another");
        return ERR_INVALID_POLICY;
    }
    if (opt->isa && strcmp(opt->isa, "reference") == 0 && precision == ENCODER_FP32) {
        e->kernels = &bert_ref_kernels;
        e->packed = bert_ref_pack(e->model, e->pass_tokens);
        return ERR_OK;
    }
    struct bert_cpu_options cpu = {.model = e->model,
                                   .ops = cpu_ops_find(opt->isa),
                                   .precision = (enum encoder_precision)precision,
                                   .pass_tokens = e->pass_tokens};
    if (!cpu.ops) {
        err_say(t, "this CPU has no kernels '%s' of precision %s", opt->isa,
                encoder_precision_name(cpu.precision));
        return ERR_INVALID_POLICY;
    }
    e->kernels = bert_cpu_kernels(cpu.ops, cpu.precision);
    e->packed = precision == ENCODER_INT8 ? pack_on_sample(e, cpu) : bert_cpu_pack(&cpu);
    e->weight_bytes = bert_cpu_bytes(e->packed);
    bert_model_drop_weights(e->model);
    return ERR_OK;
}

static enum err choose_cuda(const struct encoder_options *opt, struct encoder *e,
                            struct err_text *t)
{
    if (opt->isa || (opt->precision >= 0 && opt->precision != ENCODER_FP16)) {
        err_say(t, "the device cuda computes with the precision fp16 and nothing else");
        return ERR_INVALID_POLICY;
    }
    enum err err =
        cuda_kernels_open(&(struct cuda_kernels_options){.model = e->model}, &e->packed, t);
    if (err)
        return err;
    struct cuda_kernels_facts facts = cuda_kernels_facts(e->packed);
    e->kernels = &cuda_kernels;
    e->pass_tokens = e->good_tokens = facts.pass_tokens;
    e->weight_bytes = facts.weight_bytes;
    return ERR_OK;
}

static enum err choose_kernels(const struct encoder_options *opt, struct encoder *e,
                               struct err_text *t)
{
    /* What only a CPU has is a CPU's without a word. */
    bool of_cpu = opt->isa || (opt->precision >= 0 && opt->precision != ENCODER_FP16);
    if (opt->device == ENCODER_CPU || (opt->device == ENCODER_AUTO && of_cpu))
        return choose_cpu(opt, e, t);
    struct err_text why = {{0}};
    enum err err = choose_cuda(opt, e, &why);
    if (!err || opt->device == ENCODER_CUDA) {
        err_say(t, "%s", why.s);
        return err;
    }
    char quoted[sizeof why.s];
    log_line(LOG_INFO, "encoder", "computing on the CPU", "why=%s",
             log_quote(slice_str(why.s), quoted, sizeof quoted));
    return choose_cpu(opt, e, t);
}

static enum err check_limit(const struct encoder_options *opt, struct encoder *e,
                            struct err_text *t)
{
    e->max_tokens = opt->max_tokens > 0 ? opt->max_tokens : e->model->max_tokens;
    if (e->max_tokens > e->model->max_tokens || e->max_tokens < 2) {
        err_say(t, "a limit of %d tokens: %s takes 2 to %d", e->max_tokens, e->model->name,
                e->model->max_tokens);
        return ERR_INVALID_POLICY;
    }
    e->pass_tokens = e->max_tokens > CPU_PASS_TOKENS ? e->max_tokens : CPU_PASS_TOKENS;
    e->good_tokens = CPU_PASS_TOKENS;
    e->space = e->max_tokens == e->model->max_tokens
                   ? e->model->space
                   : fingerprint_shortened(e->model->space, e->max_tokens);
    return ERR_OK;
}

enum err encoder_open(const struct encoder_options *opt, struct encoder **out, struct err_text *t)
{
    struct encoder *e = mem_zalloc(1, sizeof *e);
    enum err err = bert_model_open(opt->folder, &e->model, t);
    if (!err)
        err = check_limit(opt, e, t);
    if (!err) {
        struct wordpiece_options words = {.lower_case = e->model->lower_case,
                                          .strip_accents = e->model->strip_accents,
                                          .split_cjk = e->model->split_cjk};
        err = wordpiece_new(e->model->vocab, &words, &e->tokenizer, t);
    }
    if (!err)
        err = choose_kernels(opt, e, t);
    if (err) {
        encoder_free(e);
        return err;
    }
    *out = e;
    return ERR_OK;
}

void encoder_free(struct encoder *e)
{
    if (!e)
        return;
    if (e->packed)
        e->kernels->packed_free(e->packed);
    wordpiece_free(e->tokenizer);
    bert_model_free(e->model);
    free(e);
}

struct encoder_facts encoder_facts(const struct encoder *e)
{
    return (struct encoder_facts){
        .model = e->model->name,
        .kernels = e->kernels->name,
        .dim = e->model->hidden,
        .max_tokens = e->max_tokens,
        .precision = e->kernels->precision,
        .space = e->space,
        .full = fingerprint_full(e->space, e->kernels->precision),
        .weight_bytes = e->weight_bytes,
    };
}

const struct wordpiece *encoder_tokenizer(const struct encoder *e)
{
    return e->tokenizer;
}

/* ---- sessions ---- */

struct encoder_session *encoder_session_new(const struct encoder *e)
{
    struct encoder_session *s = mem_zalloc(1, sizeof *s);
    s->encoder = e;
    s->state = e->kernels->state_new(e->packed);
    /* Room for one text more than a pass takes: see encoder_embed. */
    s->ids = mem_zalloc((size_t)e->pass_tokens + (size_t)e->max_tokens, sizeof *s->ids);
    s->starts = mem_zalloc((size_t)e->pass_tokens / 2 + 2, sizeof *s->starts);
    return s;
}

void encoder_session_free(struct encoder_session *s)
{
    if (!s)
        return;
    s->encoder->kernels->state_free(s->state);
    free(s->ids);
    free(s->starts);
    free(s->text);
    free(s);
}

/* The vectors of the texts from first on. */
static struct encoder_vectors vectors_from(const struct encoder_vectors *v, int first, int dim)
{
    size_t skip = (size_t)first * (size_t)dim;
    return (struct encoder_vectors){.embedding = v->embedding + skip,
                                    .features = v->features ? v->features + 2 * skip : NULL};
}

/* Tokens of the model's prefix and the text, in ids[max_tokens]. The two are joined before they are
 * tokenised: where the prefix does not end in a space, pieces may span the seam. */
static struct wordpiece_counts tokenize(struct encoder_session *s, struct slice text, int32_t *ids)
{
    const struct encoder *e = s->encoder;
    struct slice prefix = slice_str(e->model->prefix);
    if (prefix.n > 0) {
        if (s->text_cap < prefix.n + text.n) {
            s->text_cap = prefix.n + text.n;
            s->text = mem_resize(s->text, s->text_cap, 1);
        }
        memcpy(s->text, prefix.p, prefix.n);
        if (text.n > 0)
            memcpy(s->text + prefix.n, text.p, text.n);
        text = slice_make(s->text, prefix.n + text.n);
    }
    struct wordpiece_counts c =
        wordpiece_encode(e->tokenizer, text, true, ids, (size_t)e->max_tokens);
    c.bytes = c.bytes > prefix.n ? c.bytes - prefix.n : 0;
    return c;
}

/* Encodes sequences first .. first + count of the caller's, whose ids begin at ids. */
static enum err run_pass(struct encoder_session *s, const int32_t *ids, int first, int count,
                         const struct encoder_vectors *out, struct err_text *t)
{
    struct encoder_batch batch = {.ids = ids, .starts = s->starts, .count = count};
    struct encoder_vectors v = vectors_from(out, first, s->encoder->model->hidden);
    return s->encoder->kernels->run(s->state, &batch, &v, t);
}

enum err encoder_embed(struct encoder_session *s, const struct slice *texts, int count,
                       struct encoder_vectors *out, struct wordpiece_counts *counts,
                       struct err_text *t)
{
    enum err err = ERR_OK;
    int waiting = 0; /* texts before the i-th whose ids are in s->ids, not yet encoded */
    s->starts[0] = 0;
    for (int i = 0; !err && i < count; i++) {
        int used = s->starts[waiting];
        struct wordpiece_counts c = tokenize(s, texts[i], s->ids + used);
        int tokens = (int)c.tokens;
        if (counts)
            counts[i] = c;
        if (waiting > 0 && used + tokens > s->encoder->good_tokens) {
            err = run_pass(s, s->ids, i - waiting, waiting, out, t);
            memmove(s->ids, s->ids + used, (size_t)tokens * sizeof *s->ids);
            waiting = 0;
        }
        s->starts[waiting + 1] = s->starts[waiting] + tokens;
        waiting++;
    }
    if (!err && waiting > 0)
        err = run_pass(s, s->ids, count - waiting, waiting, out, t);
    return err;
}

/* ---- ids that are there already ---- */

static enum err check_batch(const struct encoder *e, const struct encoder_batch *b,
                            struct err_text *t)
{
    if (b->count > 0 && b->starts[0] != 0) {
        err_say(t, "a batch begins at token %d, not 0", (int)b->starts[0]);
        return ERR_INTERNAL;
    }
    for (int s = 0; s < b->count; s++) {
        int64_t tokens = (int64_t)b->starts[s + 1] - b->starts[s];
        if (tokens < 1 || tokens > e->max_tokens) {
            err_say(t, "sequence %d of a batch has %lld tokens; 1 to %d are possible", s,
                    (long long)tokens, e->max_tokens);
            return ERR_INTERNAL;
        }
        for (int i = b->starts[s]; i < b->starts[s + 1]; i++)
            if (b->ids[i] < 0 || b->ids[i] >= e->model->vocab_size) {
                err_say(t, "sequence %d of a batch has the token id %d; the vocabulary has %d", s,
                        (int)b->ids[i], e->model->vocab_size);
                return ERR_INTERNAL;
            }
    }
    return ERR_OK;
}

enum err encoder_run(struct encoder_session *s, const struct encoder_batch *batch,
                     struct encoder_vectors *out, struct err_text *t)
{
    const struct encoder *e = s->encoder;
    enum err err = check_batch(e, batch, t);
    int done = 0;
    while (!err && done < batch->count) {
        /* As many as the pass takes, at most what s->starts has room for, at least one. */
        int n = 0, first = batch->starts[done];
        while (done + n < batch->count && n < e->pass_tokens / 2 + 1 &&
               (n == 0 || batch->starts[done + n + 1] - first <= e->good_tokens)) {
            n++;
            s->starts[n] = batch->starts[done + n] - first;
        }
        s->starts[0] = 0;
        err = run_pass(s, batch->ids + first, done, n, out, t);
        done += n;
    }
    return err;
}

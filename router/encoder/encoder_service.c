/* The encoder's threads and the queue before them. Owns the queries from submit until their answers
 * are posted, a session per thread, and the fallback encoder once it was needed. Called by workers
 * (submit), by control (start, facts, counts, free).
 *
 *   worker: submit --> lanes[SHORT] --.                        .--> reply_to
 *   worker: submit --> lanes[LONG]  --+--> a pass of one lane --+--> reply_to
 *
 * Batch while busy: a thread that comes free takes what has queued up in the meantime, so that the
 * size of a pass follows the load by itself and an idle service adds no wait. On a CPU a pass is
 * kept small: its time grows with its tokens, and the first of them waits for the last.
 *
 * Deadlines: what cannot be done in time is not begun. At submit the time is foreseen
 * (encoder_pace) that the passes under way, the texts ahead and the text itself will take; a text
 * taken out of the queue is looked at once more; and no text joins a pass that would then end too
 * late for one of it. */
#include "router/encoder/encoder_service.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "router/encoder/encoder_pace.h"

enum lane { LANE_SHORT, LANE_LONG, LANES };

#define LONG_BYTES      512 /* about 128 tokens */
#define BYTES_PER_TOKEN 4   /* estimate; a pass need not be exact */
#define CPU_PASS_TOKENS 64  /* enough to read the weights once for several; more is only waiting */
#define GPU_PASS_TOKENS 16384 /* the device takes thousands in the time of one */
#define PASS_TEXTS      1024
#define SHORT_RUN       4 /* passes of short texts in a row while a long one waits */
/* On a CPU passes are long against what else the process does: a worker that shares the core is to
 * come first when it wakes up. The niceness leaves a third of a core beside a busy program; a slice
 * longer than others have is what lets them break into it (Linux 6.12 and later; before, ignored).
 */
#define CPU_NICE     5
#define CPU_SLICE_NS 20000000

struct encoder_service {
    struct encoder_service_options opt;
    int max_tokens;       /* of a text; the fallback's are as many */
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t work;
    struct list lanes[LANES]; /* of struct encoder_query, oldest first */
    size_t queued;
    size_t lane_tokens[LANES]; /* waiting, estimated */
    int short_run;
    struct encoder_pace pace;
    int started;      /* threads that run */
    int64_t *ends_us; /* [opt.threads]: when the thread's pass will end; 0: it has none */
    bool stopping;
    const struct encoder *serving; /* opt.encoder, or fallback once that has failed */
    struct encoder *fallback;      /* owned */

    _Atomic uint64_t encoded, refused, foreseen, expired, failed, passes;
    pthread_t *threads;
    int thread_count; /* running */
};

/* ---- queries ---- */

static struct encoder_query *query_of(struct list *link)
{
    return CONTAINER_OF(CONTAINER_OF(link, struct message, link), struct encoder_query, msg);
}

static void discard_query(struct message *m)
{
    encoder_query_free(CONTAINER_OF(m, struct encoder_query, msg));
}

struct encoder_query *encoder_query_new(struct slice text)
{
    struct encoder_query *q = mem_zalloc(1, sizeof *q);

    q->msg.discard = discard_query;
    q->deadline_us = -1;
    q->text = mem_strdup(text);
    q->text_bytes = text.n;
    return q;
}

void encoder_query_free(struct encoder_query *q)
{
    if (!q)
        return;
    free(q->text);
    free(q->embedding);
    free(q->features);
    free(q);
}

/* The last character that fits stays whole: UTF-8's continuation bytes are 10xxxxxx. */
static size_t cut(const char *text, size_t n, size_t max)
{
    if (n <= max)
        return n;
    while (max && ((unsigned char)text[max] & 0xc0) == 0x80)
        max--;
    return max;
}

static void answer(struct encoder_query *q, enum err err)
{
    q->err = err;
    mailbox_post(q->reply_to, &q->msg);
}

static enum lane lane_of(const struct encoder_query *q)
{
    return q->text_bytes > LONG_BYTES ? LANE_LONG : LANE_SHORT;
}

static size_t tokens_of(const struct encoder_service *s, const struct encoder_query *q)
{
    size_t tokens = q->text_bytes / BYTES_PER_TOKEN + 2, most = (size_t)s->max_tokens;

    return tokens < most ? tokens : most;
}

/* Until a thread is free. Under the lock, as what follows. */
static int64_t busy_us(const struct encoder_service *s, int64_t now_us)
{
    int64_t first_us = INT64_MAX;

    for (int i = 0; i < s->opt.threads; i++)
        if (s->ends_us[i] < first_us)
            first_us = s->ends_us[i];
    return first_us > now_us ? first_us - now_us : 0;
}

/* From now until q would be done: short texts have short ones ahead of them, long ones all. */
static int64_t foresee_us(const struct encoder_service *s, const struct encoder_query *q)
{
    size_t ahead = s->lane_tokens[LANE_SHORT];

    if (lane_of(q) == LANE_LONG)
        ahead += s->lane_tokens[LANE_LONG];
    return busy_us(s, q->queued_us) +
           encoder_pace_us(&s->pace, ahead, q->queued_us) / s->opt.threads +
           encoder_pace_us(&s->pace, tokens_of(s, q), q->queued_us);
}

static enum err admit(struct encoder_service *s, struct encoder_query *q)
{
    enum lane lane = lane_of(q);

    if (s->stopping || s->queued >= s->opt.max_queued)
        return ERR_OVERLOADED;
    if (q->deadline_us >= 0 && q->queued_us + foresee_us(s, q) > q->deadline_us)
        return ERR_REQUEST_TIMEOUT;
    list_push_back(&s->lanes[lane], &q->msg.link);
    s->lane_tokens[lane] += tokens_of(s, q);
    s->queued++;
    pthread_cond_signal(&s->work);
    return ERR_OK;
}

enum err encoder_service_submit(struct encoder_service *s, struct encoder_query *q)
{
    enum err err;

    assert(q->msg.deliver && q->reply_to);
    q->text_bytes = cut(q->text, q->text_bytes, s->opt.max_text_bytes);
    q->queued_us = clock_mono_us();
    pthread_mutex_lock(&s->lock);
    err = admit(s, q);
    pthread_mutex_unlock(&s->lock);
    if (err != ERR_OK)
        atomic_fetch_add_explicit(err == ERR_OVERLOADED ? &s->refused : &s->foreseen, 1,
                                  memory_order_relaxed);
    return err;
}

/* ---- a pass ---- */

struct pass {
    struct encoder_query **queries; /* [PASS_TEXTS] */
    struct slice *texts;            /* likewise, with their counts */
    struct wordpiece_counts *counts;
    int count;
    size_t tokens; /* of all, estimated */
    int64_t begun_us;
    bool features;
};

static bool on_gpu(const struct encoder *e)
{
    return strncmp(encoder_facts(e).kernels, "cuda", 4) == 0;
}

/* Short texts do not wait for long ones, nor long ones for ever. Under the lock. */
static enum lane choose_lane(struct encoder_service *s)
{
    bool none_short = list_empty(&s->lanes[LANE_SHORT]);

    if (list_empty(&s->lanes[LANE_LONG]))
        return LANE_SHORT;
    if (!none_short && s->short_run < SHORT_RUN) {
        s->short_run++;
        return LANE_SHORT;
    }
    s->short_run = 0;
    return LANE_LONG;
}

/* Takes what fits into one pass out of the queue, and what can be done in time; late ones go to
 * *expired. Returns when the pass will end. Under the lock. */
static int64_t take(struct encoder_service *s, struct pass *p, struct list *expired)
{
    enum lane from = choose_lane(s);
    struct list *lane = &s->lanes[from];
    size_t room = on_gpu(s->serving) ? GPU_PASS_TOKENS : CPU_PASS_TOKENS;
    int64_t now_us = clock_mono_us(), end_us = now_us, first_deadline_us = INT64_MAX;

    p->count = 0;
    p->tokens = 0;
    p->begun_us = now_us;
    p->features = false;
    while (!list_empty(lane) && p->count < PASS_TEXTS) {
        struct encoder_query *q = query_of(lane->next);
        size_t tokens = tokens_of(s, q);
        int64_t alone_us = now_us + encoder_pace_us(&s->pace, tokens, now_us);
        int64_t joined_us = now_us + encoder_pace_us(&s->pace, p->tokens + tokens, now_us);
        int64_t deadline_us = q->deadline_us >= 0 ? q->deadline_us : INT64_MAX;
        bool late = alone_us >= deadline_us;

        if (deadline_us > first_deadline_us)
            deadline_us = first_deadline_us;
        if (!late && p->count && (p->tokens + tokens > room || joined_us > deadline_us))
            break;
        list_remove(&q->msg.link);
        s->queued--;
        s->lane_tokens[from] -= tokens;
        if (late) {
            list_push_back(expired, &q->msg.link);
            continue;
        }
        p->tokens += tokens;
        end_us = joined_us;
        first_deadline_us = deadline_us;
        q->started_us = now_us;
        p->features = p->features || q->want_features;
        p->texts[p->count] = slice_make(q->text, q->text_bytes);
        p->queries[p->count++] = q;
    }
    return end_us;
}

static float *copy_row(const float *rows, int row, size_t width)
{
    float *out = mem_alloc(width * sizeof *out);

    memcpy(out, rows + (size_t)row * width, width * sizeof *out);
    return out;
}

static void answer_pass(struct encoder_service *s, struct pass *p, const struct encoder *e,
                        const struct encoder_vectors *v, enum err err)
{
    struct encoder_facts f = encoder_facts(e);
    int64_t now_us = clock_mono_us();
    size_t dim = (size_t)f.dim, tokens = 0;

    for (int i = 0; i < p->count; i++)
        tokens += p->counts[i].tokens;
    atomic_fetch_add_explicit(&s->passes, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(err == ERR_OK ? &s->encoded : &s->failed, (uint64_t)p->count,
                              memory_order_relaxed);
    for (int i = 0; i < p->count; i++) {
        struct encoder_query *q = p->queries[i];

        q->done_us = now_us;
        q->batch = p->count;
        if (err == ERR_OK) {
            q->full = f.full;
            q->counts = p->counts[i];
            q->share_us =
                tokens ? (now_us - q->started_us) * (int64_t)q->counts.tokens / (int64_t)tokens : 0;
            q->embedding = copy_row(v->embedding, i, dim);
            if (q->want_features)
                q->features = copy_row(v->features, i, 2 * dim);
        }
        answer(q, err);
    }
}

/* The encoder that failed is not asked again. The other one, or NULL: there is none, or it does not
 * open, which is said once. */
static const struct encoder *give_up_on(struct encoder_service *s, const struct encoder *failed,
                                        const struct err_text *why)
{
    const struct encoder *other = NULL;
    struct err_text t = {""};
    char quoted[600];

    pthread_mutex_lock(&s->lock);
    if (s->serving != failed) { /* another thread was here before */
        other = s->serving;
    } else if (s->opt.fallback && !s->fallback) {
        log_line(LOG_ERROR, "encoder", "the device failed; its queries go to the CPU", "why=%s",
                 log_quote(slice_str(why->s), quoted, sizeof quoted));
        if (encoder_open(s->opt.fallback, &s->fallback, &t) == ERR_OK)
            other = s->serving = s->fallback;
        else
            log_line(LOG_ERROR, "encoder", "no fallback either", "why=%s",
                     log_quote(slice_str(t.s), quoted, sizeof quoted));
    }
    pthread_mutex_unlock(&s->lock);
    return other;
}

struct thread_state {
    struct encoder_service *service;
    int index;
    const struct encoder *encoder;
    struct encoder_session *session;
    struct pass pass;
};

static void use_encoder(struct thread_state *t, const struct encoder *e)
{
    encoder_session_free(t->session);
    t->encoder = e;
    t->session = encoder_session_new(e);
}

static void run_pass(struct thread_state *t)
{
    struct pass *p = &t->pass;
    size_t n = (size_t)p->count, dim = (size_t)encoder_facts(t->encoder).dim;
    struct encoder_vectors v = {.embedding = mem_alloc(n * dim * sizeof(float)),
                                .features =
                                    p->features ? mem_alloc(n * 2 * dim * sizeof(float)) : NULL};
    struct err_text why = {""};
    const struct encoder *other;
    enum err err;

    while ((err = encoder_embed(t->session, p->texts, p->count, &v, p->counts, &why)) != ERR_OK &&
           (other = give_up_on(t->service, t->encoder, &why)) != NULL)
        use_encoder(t, other);
    answer_pass(t->service, p, t->encoder, &v, err);
    free(v.embedding);
    free(v.features);
}

static void answer_expired(struct encoder_service *s, struct list *expired)
{
    LIST_FOREACH_SAFE (it, expired) {
        struct encoder_query *q = query_of(it);

        list_remove(&q->msg.link);
        atomic_fetch_add_explicit(&s->expired, 1, memory_order_relaxed);
        q->done_us = clock_mono_us();
        answer(q, ERR_REQUEST_TIMEOUT);
    }
}

/* Under the lock. */
static void measure(struct encoder_service *s, struct thread_state *t)
{
    int64_t now_us = clock_mono_us();

    s->ends_us[t->index] = 0;
    if (t->pass.count)
        encoder_pace_measured(&s->pace, t->pass.tokens, now_us - t->pass.begun_us, now_us);
    t->pass.count = 0;
}

/* The next pass; false when the service stops. */
static bool next_pass(struct thread_state *t, struct list *expired)
{
    struct encoder_service *s = t->service;
    bool go_on;

    pthread_mutex_lock(&s->lock);
    measure(s, t);
    while (!s->stopping && s->queued == 0)
        pthread_cond_wait(&s->work, &s->lock);
    go_on = !s->stopping;
    if (go_on)
        s->ends_us[t->index] = take(s, &t->pass, expired);
    if (t->encoder != s->serving && go_on)
        use_encoder(t, s->serving);
    pthread_mutex_unlock(&s->lock);
    return go_on;
}

/* The kernel's struct sched_attr in its first form (sched_setattr(2)): no header that may be
 * included beside sched.h has it. */
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns, deadline_ns, period_ns;
};

/* Refused only where it would change nothing. */
static void give_way(void)
{
    struct scheduling s = {.size = sizeof s, .policy = SCHED_OTHER, .runtime_ns = CPU_SLICE_NS};

    s.nice = getpriority(PRIO_PROCESS, 0) + CPU_NICE; /* on Linux, of the thread */
    (void)syscall(SYS_sched_setattr, 0, &s, 0);
}

static void *run(void *arg)
{
    struct encoder_service *s = arg;
    struct thread_state t = {.service = s};
    struct list expired;

    pthread_setname_np(pthread_self(), "weir-encoder");
    if (!on_gpu(s->opt.encoder))
        give_way();
    pthread_mutex_lock(&s->lock);
    t.index = s->started++;
    pthread_mutex_unlock(&s->lock);
    list_init(&expired);
    t.pass.queries = mem_zalloc(PASS_TEXTS, sizeof(struct encoder_query *));
    t.pass.texts = mem_zalloc(PASS_TEXTS, sizeof *t.pass.texts);
    t.pass.counts = mem_zalloc(PASS_TEXTS, sizeof *t.pass.counts);
    use_encoder(&t, s->opt.encoder);
    while (next_pass(&t, &expired)) {
        answer_expired(s, &expired);
        if (t.pass.count)
            run_pass(&t);
    }
    encoder_session_free(t.session);
    free(t.pass.queries);
    free(t.pass.texts);
    free(t.pass.counts);
    return NULL;
}

/* ---- life ---- */

enum err encoder_service_start(const struct encoder_service_options *opt,
                               struct encoder_service **out, struct err_text *t)
{
    struct encoder_service *s = mem_zalloc(1, sizeof *s);

    assert(opt->threads >= 1 && opt->max_queued >= 1);
    s->opt = *opt;
    s->serving = opt->encoder;
    s->max_tokens = encoder_facts(opt->encoder).max_tokens;
    s->ends_us = mem_zalloc((size_t)opt->threads, sizeof *s->ends_us);
    for (int i = 0; i < LANES; i++)
        list_init(&s->lanes[i]);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    s->threads = mem_zalloc((size_t)opt->threads, sizeof *s->threads);
    while (s->thread_count < opt->threads) {
        int rc = pthread_create(&s->threads[s->thread_count], NULL, run, s);

        if (rc != 0) {
            err_say(t, "no thread for the encoder: %s", strerror(rc));
            encoder_service_free(s);
            *out = NULL;
            return ERR_INTERNAL;
        }
        s->thread_count++;
    }
    *out = s;
    return ERR_OK;
}

void encoder_service_free(struct encoder_service *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_broadcast(&s->work);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i], NULL);
    for (int i = 0; i < LANES; i++)
        LIST_FOREACH_SAFE (it, &s->lanes[i]) {
            list_remove(it);
            answer(query_of(it), ERR_OVERLOADED);
        }
    encoder_free(s->fallback);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s->threads);
    free(s->ends_us);
    free(s);
}

/* ---- what is seen of it ---- */

struct encoder_facts encoder_service_facts(struct encoder_service *s)
{
    const struct encoder *e;

    pthread_mutex_lock(&s->lock);
    e = s->serving;
    pthread_mutex_unlock(&s->lock);
    return encoder_facts(e);
}

void encoder_service_counts(struct encoder_service *s, struct encoder_service_counts *out)
{
    *out = (struct encoder_service_counts){
        .encoded = atomic_load_explicit(&s->encoded, memory_order_relaxed),
        .refused = atomic_load_explicit(&s->refused, memory_order_relaxed),
        .foreseen = atomic_load_explicit(&s->foreseen, memory_order_relaxed),
        .expired = atomic_load_explicit(&s->expired, memory_order_relaxed),
        .failed = atomic_load_explicit(&s->failed, memory_order_relaxed),
        .passes = atomic_load_explicit(&s->passes, memory_order_relaxed),
    };
    pthread_mutex_lock(&s->lock);
    out->queued = s->queued;
    out->us_per_token = s->pace.us_per_token;
    out->device_lost = s->serving != s->opt.encoder;
    pthread_mutex_unlock(&s->lock);
}

/* Scorers of the models, fitted to labelled answers as they come. Owns the work under way.
 * Learner's thread; each step is bounded, and the store's answer or the next tick brings on the
 * next:
 *
 *   claim    one process at a time fits; it gets the new version's number
 *   collect  the newest remembered requests, page by page: features and labels by model
 *   try      one model with each tick (router/decide/scorer_trial.h)
 *   count    the remembered requests under the new version too, page by page (evidence_rescore)
 *   publish  to the store, from where every process reads it
 *   count    again, once all have read it: what was still decided by the old one meanwhile
 *
 * Whatever stops it half way, the scorers in force and their counters are whole: what was counted
 * under a version that nobody publishes is never read. */
#include "router/learner_int.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "router/confidence.h"

#define LEAST_NEWS    100 /* labels that this process has seen since it last looked */
#define EVERY_MS      60000
#define HOLD_MS       60000            /* of the claim; what takes longer is given up */
#define SETTLE_US     INT64_C(3000000) /* until all processes have read what is published */
#define MAX_MODELS    32
#define MAX_TRIES     10 /* at one request, while others change it */
#define FEATURES      ((size_t)CONFIDENCE_FEATURES)
#define HELD_OUT_SALT UINT64_C(0x686f6c64206f7574)

enum fit_state { IDLE, CLAIM, COLLECT, TRY, COUNT, PUBLISH, SETTLE, COUNT_AGAIN };

struct fit_model {
    char *name;           /* owned */
    float *x, *y, *score; /* owned: SCORER_MAX_ROWS of them */
    bool *held;           /* owned */
    size_t rows, fresh;   /* fresh: labelled since the last fit */
    bool better;          /* its new scorer is */
    struct scorer_record record;
};

/* Of each model, when it was last tried in vain: the same rows are not tried again. */
struct fit_tried {
    char *name; /* owned */
    int64_t wall_us;
};

/* One request that is counted under the new versions. */
struct recount {
    struct list link;
    struct learner_fit *fit;
    struct slice tenant, request_id; /* behind the struct */
    struct buf text, text_after, labels;
    struct learn_sheet sheet;
    int tries;
};

struct learner_fit {
    struct learner *l;
    enum fit_state state;
    int64_t news;
    int64_t claimed_us, last_us, settle_us; /* monotonic; last_us INT64_MIN: never */
    unsigned version;
    struct fit_model model[MAX_MODELS];
    int models, at; /* at: the model that is tried or published next */
    struct fit_tried tried[MAX_MODELS];
    int tried_count;

    struct list recounts; /* under way */
    int64_t next;         /* page; -1: there is none */
    bool paging, failed;
    int64_t counted;
    char line[SCORER_RECORD_BYTES]; /* that is being published */
};

static void count_page(struct learner_fit *f);

/* ---- models ---- */

static void free_models(struct learner_fit *f)
{
    for (int i = 0; i < f->models; i++) {
        struct fit_model *m = &f->model[i];

        free(m->name);
        free(m->x);
        free(m->y);
        free(m->score);
        free(m->held);
        *m = (struct fit_model){.rows = 0};
    }
    f->models = 0;
}

static struct fit_model *find_model(struct learner_fit *f, const char *name)
{
    for (int i = 0; i < f->models; i++)
        if (strcmp(f->model[i].name, name) == 0)
            return &f->model[i];
    return NULL;
}

static struct fit_model *model_of(struct learner_fit *f, const char *name)
{
    struct fit_model *m = find_model(f, name);

    if (m || f->models == MAX_MODELS)
        return m;
    m = &f->model[f->models++];
    m->name = mem_strdup(slice_str(name));
    m->x = mem_zalloc(SCORER_MAX_ROWS, FEATURES * sizeof *m->x);
    m->y = mem_zalloc(SCORER_MAX_ROWS, sizeof *m->y);
    m->score = mem_zalloc(SCORER_MAX_ROWS, sizeof *m->score);
    m->held = mem_zalloc(SCORER_MAX_ROWS, sizeof *m->held);
    return m;
}

static const struct scorer_record *in_force(const struct learner_fit *f, const char *model)
{
    return scorer_table_find(&f->l->scorers, slice_str(model));
}

static struct fit_tried *tried_of(struct learner_fit *f, const char *model)
{
    for (int i = 0; i < f->tried_count; i++)
        if (strcmp(f->tried[i].name, model) == 0)
            return &f->tried[i];
    return NULL;
}

static void note_tried(struct learner_fit *f, const char *model, int64_t wall_us)
{
    struct fit_tried *t = tried_of(f, model);

    if (!t && f->tried_count < MAX_MODELS) {
        t = &f->tried[f->tried_count++];
        t->name = mem_strdup(slice_str(model));
    }
    if (t)
        t->wall_us = wall_us;
}

static int64_t last_fitted_us(struct learner_fit *f, const char *model)
{
    const struct scorer_record *r = in_force(f, model);
    const struct fit_tried *t = tried_of(f, model);
    int64_t fitted_us = r ? r->fitted_wall_us : INT64_MIN;

    return t && t->wall_us > fitted_us ? t->wall_us : fitted_us;
}

/* ---- ends ---- */

static void count_result(struct learner_fit *f, const char *result)
{
    stats_add(stats_cell(f->l->stats, STAT_LEARN_SCORERS, &result), 1);
}

static void rest(struct learner_fit *f)
{
    free_models(f);
    f->state = IDLE;
}

static void give_up(struct learner_fit *f, const char *why)
{
    log_line(LOG_WARN, "learner", "scorers are not fitted", "why=%s", why);
    count_result(f, "failed");
    rest(f);
}

/* ---- collecting ---- */

static bool is_held_out(struct slice request_id)
{
    return htable_hash_id(htable_hash_slice(request_id) ^ HELD_OUT_SALT) % SCORER_HELD_OUT_OF == 0;
}

static bool has_features(const struct evidence_answer *a)
{
    return a->bin >= 0 && a->feature_count == CONFIDENCE_FEATURES;
}

static void collect_answer(struct learner_fit *f, const struct evidence_answer *a, double value,
                           int64_t said_us, bool held)
{
    struct fit_model *m = model_of(f, a->model);

    if (!m || m->rows == SCORER_MAX_ROWS)
        return;
    memcpy(m->x + m->rows * FEATURES, a->features, FEATURES * sizeof *m->x);
    m->y[m->rows] = (float)value;
    m->score[m->rows] = (float)scorer_table_score(in_force(f, a->model), a->features);
    m->held[m->rows] = held;
    m->fresh += said_us > last_fitted_us(f, a->model);
    m->rows++;
}

/* Not, once its route has learn: off. */
static bool is_learned(const struct learner_fit *f, const struct evidence *e)
{
    const struct policy_learn *how = learner_learn(f->l->serving.policy, slice_str(e->route));

    return e->learn && how && how->mode == POLICY_LEARN_ON;
}

static void collect_memory(void *ctx, const struct learn_memory *memory)
{
    struct learner_fit *f = ctx;
    struct evidence_labels labels;
    struct evidence e;
    struct arena arena;

    arena_init(&arena, 4096);
    if (evidence_read(arena_dup(&arena, memory->text), &arena, &e) && is_learned(f, &e) &&
        evidence_labels_read(memory->labels, &labels)) {
        struct tally_trust trust = learner_trust(f->l->serving.policy, slice_str(e.route));
        for (int i = 0; i < e.count; i++) {
            int64_t said_us;
            double weight, value = evidence_value(labels.of[i], &trust, &weight, &said_us);
            if (e.decided_wall_us > said_us) /* a client may say any time */
                said_us = e.decided_wall_us;
            if (value >= 0 && has_features(&e.answers[i]))
                collect_answer(f, &e.answers[i], value, said_us, is_held_out(memory->request_id));
        }
    }
    arena_clear(&arena);
}

static void collect_page(struct learner_fit *f);

static void on_collected(void *ctx, enum err err, int64_t next)
{
    struct learner_fit *f = ctx;

    f->next = next;
    if (err != ERR_OK) {
        give_up(f, "the store is away");
    } else if (next >= 0) {
        collect_page(f);
    } else {
        f->state = TRY;
        f->at = 0;
    }
}

static void collect_page(struct learner_fit *f)
{
    f->l->store->ops->recent(f->l->store,
                             &(struct learn_recent){f->next, collect_memory, on_collected, f});
}

static void on_claimed(void *ctx, enum err err, unsigned version)
{
    struct learner_fit *f = ctx;

    f->last_us = f->claimed_us = clock_mono_us();
    if (err != ERR_OK) { /* another process does it, or the store is away: next time */
        f->state = IDLE;
        return;
    }
    f->version = version;
    f->news = 0;
    f->next = 0;
    f->state = COLLECT;
    collect_page(f);
}

/* ---- trying ---- */

static void say(const struct fit_model *m, const char *what, int64_t took_us)
{
    char model[256];

    log_line(LOG_INFO, "learner", what,
             "model=%s version=%u rows=%lld held_out=%lld loss=%.4f loss_before=%.4f took_us=%lld",
             log_quote(slice_str(m->name), model, sizeof model), m->record.scorer.version,
             (long long)m->record.rows, (long long)m->record.held_rows, m->record.loss,
             m->record.loss_before, (long long)took_us);
}

static void try_model(struct learner_fit *f, struct fit_model *m)
{
    const struct scorer_record *old = in_force(f, m->name);
    int64_t begun_us = clock_mono_us(), now_us = clock_wall_us();
    struct scorer_trial trial = {m->x, m->y, m->score, m->held, m->rows, CONFIDENCE_FEATURES};
    enum scorer_verdict verdict;

    if (!scorer_is_worth_trying(m->rows, m->fresh))
        return;
    if (old && old->scorer.version >= f->version)
        return; /* another process was here meanwhile */
    m->record =
        (struct scorer_record){.features_version = CONFIDENCE_VERSION, .fitted_wall_us = now_us};
    verdict = scorer_try(&trial, f->version, &m->record);
    m->better = verdict == SCORER_BETTER;
    note_tried(f, m->name, now_us);
    if (verdict == SCORER_NOT_BETTER) {
        count_result(f, "not_better");
        say(m, "a new scorer is no better than the one in force", clock_mono_us() - begun_us);
    } else if (m->better) {
        say(m, "a new scorer is better than the one in force", clock_mono_us() - begun_us);
    }
}

static void begin_count(struct learner_fit *f, enum fit_state state)
{
    f->state = state;
    f->next = 0;
    f->failed = false;
    count_page(f);
}

static void try_next(struct learner_fit *f)
{
    bool any = false;

    if (f->at < f->models) {
        try_model(f, &f->model[f->at++]);
        return;
    }
    for (int i = 0; i < f->models; i++)
        any = any || f->model[i].better;
    f->counted = 0;
    if (any)
        begin_count(f, COUNT);
    else
        rest(f);
}

/* ---- counting again ---- */

static void free_recount(struct recount *r)
{
    list_remove(&r->link);
    buf_clear(&r->text);
    buf_clear(&r->text_after);
    buf_clear(&r->labels);
    learn_sheet_clear(&r->sheet);
    free(r);
}

static struct recount *new_recount(struct learner_fit *f, const struct learn_memory *m)
{
    struct recount *r = mem_zalloc(1, sizeof *r + m->tenant.n + m->request_id.n);
    char *p = (char *)(r + 1);

    memcpy(p, m->tenant.p, m->tenant.n);
    memcpy(p + m->tenant.n, m->request_id.p, m->request_id.n);
    r->tenant = slice_make(p, m->tenant.n);
    r->request_id = slice_make(p + m->tenant.n, m->request_id.n);
    r->fit = f;
    buf_init(&r->text, EVIDENCE_TEXT_BYTES);
    buf_init(&r->text_after, EVIDENCE_TEXT_BYTES);
    buf_init(&r->labels, EVIDENCE_TEXT_BYTES);
    learn_sheet_init(&r->sheet, EVIDENCE_UNITS);
    list_push_back(&f->recounts, &r->link);
    return r;
}

/* Counts the answers of the models that have a new scorer. */
static bool rescore(struct learner_fit *f, const struct evidence *e,
                    struct evidence_answer *answers, const struct evidence_labels *labels,
                    struct learn_sheet *sheet)
{
    bool any = false;

    for (int i = 0; i < e->count; i++) {
        struct evidence_answer *a = &answers[i];
        const struct fit_model *m = find_model(f, a->model);

        if (!m || !m->better || !has_features(a))
            continue;
        const struct scorer_record *old = in_force(f, m->name);
        int bin = curve_bin(scorer_score(&m->record.scorer, a->features));
        if (evidence_rescore(e, labels, a, f->version, bin, old ? old->scorer.version : 0, sheet))
            any = true;
    }
    return any;
}

/* false: there is nothing to do, or nothing that can be read. */
static bool work_out(struct recount *r, struct slice text, struct slice label_text)
{
    struct evidence_answer answers[EVIDENCE_ANSWERS];
    struct evidence_labels labels;
    struct evidence e;
    struct arena arena;
    bool any;

    buf_clear(&r->text);
    buf_clear(&r->text_after);
    buf_clear(&r->labels);
    learn_sheet_clear(&r->sheet);
    arena_init(&arena, 4096);
    any = evidence_read(arena_dup(&arena, text), &arena, &e) &&
          evidence_labels_read(label_text, &labels);
    if (any && e.count)
        memcpy(answers, e.answers, (size_t)e.count * sizeof *answers);
    e.answers = answers;
    any = any && rescore(r->fit, &e, answers, &labels, &r->sheet) &&
          evidence_write(&e, &r->text_after) == ERR_OK &&
          buf_append_slice(&r->text, text) == ERR_OK &&
          buf_append_slice(&r->labels, label_text) == ERR_OK;
    arena_clear(&arena);
    return any;
}

static void page_is_done(struct learner_fit *f);

static void finish_recount(struct recount *r, bool counted)
{
    struct learner_fit *f = r->fit;

    f->counted += counted;
    free_recount(r);
    page_is_done(f);
}

static void swap(struct recount *r);

static void on_found_again(void *ctx, enum err err, const struct learn_found *found)
{
    struct recount *r = ctx;

    if (err == ERR_OK && work_out(r, found->text, found->labels)) {
        swap(r);
        return;
    }
    r->fit->failed = r->fit->failed || (err != ERR_OK && err != ERR_NOT_FOUND);
    finish_recount(r, false);
}

static void on_swapped(void *ctx, enum err err)
{
    struct recount *r = ctx;
    struct learner *l = r->fit->l;

    if (err == ERR_CONFLICT && ++r->tries < MAX_TRIES) { /* it was labelled meanwhile */
        l->store->ops->find(l->store, r->tenant, r->request_id, on_found_again, r);
        return;
    }
    r->fit->failed = r->fit->failed || (err != ERR_OK && err != ERR_NOT_FOUND);
    finish_recount(r, err == ERR_OK);
}

static void swap(struct recount *r)
{
    struct learner *l = r->fit->l;

    l->store->ops->relabel(l->store,
                           &(struct learn_relabel){.tenant = r->tenant,
                                                   .request_id = r->request_id,
                                                   .text = buf_slice(&r->text),
                                                   .text_after = buf_slice(&r->text_after),
                                                   .before = buf_slice(&r->labels),
                                                   .after = buf_slice(&r->labels),
                                                   .sheet = &r->sheet},
                           on_swapped, r);
}

static void count_memory(void *ctx, const struct learn_memory *m)
{
    struct learner_fit *f = ctx;
    struct recount *r = new_recount(f, m);

    if (work_out(r, m->text, m->labels))
        swap(r);
    else
        free_recount(r);
}

static void on_page(void *ctx, enum err err, int64_t next)
{
    struct learner_fit *f = ctx;

    f->paging = false;
    f->next = next;
    f->failed = f->failed || err != ERR_OK;
    page_is_done(f);
}

static void count_page(struct learner_fit *f)
{
    f->paging = true;
    f->l->store->ops->recent(f->l->store,
                             &(struct learn_recent){f->next, count_memory, on_page, f});
}

/* ---- publishing ---- */

static void publish_next(struct learner_fit *f);

static void on_published(void *ctx, enum err err)
{
    struct learner_fit *f = ctx;
    const struct fit_model *m = &f->model[f->at++];

    if (err != ERR_OK) {
        give_up(f, "the store is away");
        return;
    }
    count_result(f, "published");
    say(m, "a new scorer is published", clock_mono_us() - f->claimed_us);
    publish_next(f);
}

static void publish_next(struct learner_fit *f)
{
    struct learn_store *s = f->l->store;

    while (f->at < f->models && !f->model[f->at].better)
        f->at++;
    if (f->at == f->models) {
        f->state = SETTLE;
        f->settle_us = clock_mono_us() + SETTLE_US;
        return;
    }
    scorer_record_write(&f->model[f->at].record, f->line);
    s->ops->publish(s, slice_str(f->model[f->at].name), slice_str(f->line), on_published, f);
}

/* Once nothing of a page is under way. */
static void page_is_done(struct learner_fit *f)
{
    if (f->paging || !list_empty(&f->recounts))
        return;
    if (f->failed) {
        give_up(f, "not everything could be counted again");
    } else if (clock_mono_us() - f->claimed_us > HOLD_MS * INT64_C(1000)) {
        give_up(f, "it took too long");
    } else if (f->next >= 0) {
        count_page(f);
    } else if (f->state == COUNT) {
        f->state = PUBLISH;
        f->at = 0;
        publish_next(f);
    } else {
        rest(f);
    }
}

/* ---- from outside ---- */

void learner_fit_note(struct learner *l, enum tally_source source)
{
    if (source != TALLY_SILENCE)
        l->fit->news++;
}

static int64_t every_us(const struct learner *l)
{
    return (l->opt.fit_every_ms ? l->opt.fit_every_ms : EVERY_MS) * 1000;
}

void learner_fit_tick(struct learner *l)
{
    struct learner_fit *f = l->fit;
    int64_t now_us = clock_mono_us();

    if (f->state == TRY) {
        try_next(f);
    } else if (f->state == SETTLE && now_us >= f->settle_us) {
        begin_count(f, COUNT_AGAIN);
    } else if (f->state == IDLE && !l->closing && f->news >= LEAST_NEWS &&
               (f->last_us == INT64_MIN || now_us >= f->last_us + every_us(l))) {
        f->state = CLAIM;
        l->store->ops->claim(l->store, HOLD_MS, on_claimed, f);
    }
}

struct learner_fit *learner_fit_new(struct learner *l)
{
    struct learner_fit *f = mem_zalloc(1, sizeof *f);

    f->l = l;
    f->last_us = INT64_MIN;
    list_init(&f->recounts);
    return f;
}

void learner_fit_free(struct learner_fit *f)
{
    if (!f)
        return;
    LIST_FOREACH_SAFE (it, &f->recounts)
        free_recount(CONTAINER_OF(it, struct recount, link));
    for (int i = 0; i < f->tried_count; i++)
        free(f->tried[i].name);
    free_models(f);
    free(f);
}

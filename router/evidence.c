/* Owns nothing. Called by learner.c on its thread, and by whoever makes evidence of a request. */
#include "router/evidence.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/base64.h"
#include "router/decide/foresight.h"
#include "router/learn_key.h"

/* Of the remembered line: 1 knew one scorer; 3 has what the query means, 2 is without. */
#define VERSION       3
#define VERSION_PLAIN 2

/* ---- labels ---- */

void evidence_labels_init(struct evidence_labels *l, const struct evidence *e)
{
    for (int i = 0; i < EVIDENCE_ANSWERS; i++)
        for (int s = 0; s < TALLY_SOURCES; s++)
            l->of[i][s] = (struct evidence_label){EVIDENCE_NO_LABEL, 0};
    for (int i = 0; i < e->count; i++)
        if (e->answers[i].verdict_milli >= 0)
            l->of[i][TALLY_VALIDATOR] =
                (struct evidence_label){e->answers[i].verdict_milli, e->decided_wall_us};
}

bool evidence_label(struct evidence_labels *l, int answer, enum tally_source source,
                    int value_milli, int64_t said_us)
{
    assert(answer >= 0 && answer < EVIDENCE_ANSWERS && value_milli >= EVIDENCE_WITHDRAWN);
    struct evidence_label *old = &l->of[answer][source];
    bool first = old->value_milli == EVIDENCE_NO_LABEL;

    if (!first &&
        (said_us < old->said_us || (said_us == old->said_us && value_milli >= old->value_milli)))
        return false;
    *old = (struct evidence_label){value_milli, said_us};
    return true;
}

/* Has any source but silence said something that stands? */
static bool is_spoken_of(const struct evidence_label labels[TALLY_SOURCES])
{
    for (int s = 0; s < TALLY_SILENCE; s++)
        if (labels[s].value_milli >= 0)
            return true;
    return false;
}

bool evidence_is_labelled(const struct evidence_labels *l, int answer)
{
    return is_spoken_of(l->of[answer]);
}

double evidence_value(const struct evidence_label labels[TALLY_SOURCES],
                      const struct tally_trust *trust, double *weight, int64_t *said_us)
{
    double sum = 0;

    *weight = 0;
    *said_us = INT64_MIN;
    for (int s = 0; s < TALLY_SILENCE; s++) {
        if (labels[s].value_milli < 0)
            continue;
        sum += trust->source[s] * (double)labels[s].value_milli / 1000;
        *weight += trust->source[s];
        if (labels[s].said_us > *said_us)
            *said_us = labels[s].said_us;
    }
    return *weight > 0 ? sum / *weight : -1;
}

enum err evidence_labels_write(const struct evidence_labels *l, struct buf *out)
{
    enum err err = ERR_OK;

    for (int i = 0; i < EVIDENCE_ANSWERS; i++)
        for (int s = 0; s < TALLY_SOURCES && err == ERR_OK; s++)
            if (l->of[i][s].value_milli != EVIDENCE_NO_LABEL)
                err = buf_printf(out, "%s%d %s %" PRId64 " %" PRId64, buf_len(out) ? " " : "", i,
                                 tally_source_name((enum tally_source)s), l->of[i][s].value_milli,
                                 l->of[i][s].said_us);
    return err;
}

bool evidence_labels_read(struct slice text, struct evidence_labels *out)
{
    struct learn_words w = {text};
    enum tally_source source;
    int64_t i, value, said;
    struct slice name;

    evidence_labels_init(out, &(struct evidence){.count = 0});
    while (w.rest.n) {
        if (!learn_words_int(&w, 0, EVIDENCE_ANSWERS - 1, &i) || !learn_words_next(&w, &name) ||
            !tally_source_parse(name, &source) ||
            !learn_words_int(&w, EVIDENCE_WITHDRAWN, 1000, &value) ||
            !learn_words_int(&w, INT64_MIN, INT64_MAX, &said))
            return false;
        out->of[i][source] = (struct evidence_label){value, said};
    }
    return true;
}

/* ---- counting ---- */

/* The tallies of one answer under one version: its two buckets. */
struct place {
    struct tally *slow, *quick; /* NULL: no room */
};

static struct place place_of(const struct evidence *e, const struct evidence_answer *a,
                             unsigned scorer, struct learn_sheet *sheet)
{
    char version[16];
    struct learn_unit_name name;
    struct place p;
    int digits = snprintf(version, sizeof version, "%u", scorer);
    char *context = learn_key(slice_str(e->route), slice_str(e->class_name));
    char *arm = learn_key(slice_str(a->model), slice_make(version, (size_t)digits));

    name.context = slice_str(context);
    name.arm = slice_str(arm);
    name.kind = TALLY_SLOW;
    name.start_us = tally_bucket_start(TALLY_SLOW, e->decided_wall_us);
    p.slow = learn_sheet_unit(sheet, &name);
    name.kind = TALLY_QUICK;
    name.start_us = tally_bucket_start(TALLY_QUICK, e->decided_wall_us);
    p.quick = learn_sheet_unit(sheet, &name);
    free(context);
    free(arm);
    return p;
}

/* What is known of a served answer: the word of the source that is believed most; -1: none. */
static int resolved_value(const struct evidence_label labels[TALLY_SOURCES])
{
    for (int s = 0; s < TALLY_SOURCES; s++)
        if (labels[s].value_milli >= 0)
            return (int)labels[s].value_milli;
    return -1;
}
_Static_assert(TALLY_EXPLICIT == 0 && TALLY_SILENCE == TALLY_SOURCES - 1,
               "sources are in the order of how far they are believed");

static void add_resolution(struct tally *t, const struct evidence_answer *a, int value, int sign)
{
    if (value < 0 || !a->served)
        return;
    tally_add(t, TALLY_RESOLVED, sign);
    if (a->chance < 0)
        return;
    tally_add(t, TALLY_PREDICTED_MILLI, sign * (int64_t)(a->chance * 1000 + 0.5));
    tally_add(t, TALLY_REALISED_MILLI, (int64_t)sign * value);
}

/* What was foreseen meets what somebody said; silence is not held against it. */
static void add_foresight(const struct place *p, const struct evidence_answer *a,
                          const struct evidence_label labels[TALLY_SOURCES], int sign)
{
    if (!a->foreseen_milli || a->stage != 0 || !is_spoken_of(labels))
        return;
    if (p->slow)
        foresight_count(p->slow, a->believed_milli, a->foreseen_milli, resolved_value(labels),
                        sign);
    if (p->quick)
        foresight_count(p->quick, a->believed_milli, a->foreseen_milli, resolved_value(labels),
                        sign);
}

/* One answer's labels in a bin, put on (sign 1) or taken off (-1). */
static void add_bin_labels(const struct place *p, int stage, int bin,
                           const struct evidence_label labels[TALLY_SOURCES], int sign)
{
    for (int s = 0; s < TALLY_SOURCES; s++) {
        if (labels[s].value_milli < 0 || (s == TALLY_SILENCE && is_spoken_of(labels)))
            continue;
        if (p->slow)
            tally_add_label(p->slow, (enum tally_source)s, stage, bin, (int)labels[s].value_milli,
                            sign);
        if (p->quick)
            tally_add_label(p->quick, (enum tally_source)s, stage, bin, (int)labels[s].value_milli,
                            sign);
    }
}

/* All that one answer is counted in. */
struct places {
    struct place all, own, also; /* whatever the version; its bins under both versions */
};

static struct places places_of(const struct evidence *e, const struct evidence_answer *a,
                               struct learn_sheet *sheet)
{
    struct places p = {.all = place_of(e, a, 0, sheet)};

    p.own = a->scorer ? place_of(e, a, a->scorer, sheet) : p.all;
    if (a->also_scorer)
        p.also = place_of(e, a, a->also_scorer, sheet);
    return p;
}

static void add_labels(const struct places *p, const struct evidence_answer *a,
                       const struct evidence_label labels[TALLY_SOURCES], int sign)
{
    add_bin_labels(&p->own, a->stage, a->bin, labels, sign);
    add_bin_labels(&p->also, a->stage, a->also_bin, labels, sign);
    if (p->all.slow)
        add_resolution(p->all.slow, a, resolved_value(labels), sign);
    if (p->all.quick)
        add_resolution(p->all.quick, a, resolved_value(labels), sign);
    add_foresight(&p->all, a, labels, sign);
}

static void count_bin(const struct place *p, int stage, int bin)
{
    if (p->slow)
        tally_add(p->slow, tally_answers(stage, bin), 1);
}

static int64_t cost_square(nanousd cost)
{
    int64_t us = cost / 1000, square;

    return __builtin_mul_overflow(us, us, &square) ? TALLY_LIMIT : square;
}

static void count_answer(struct tally *t, const struct evidence_answer *a)
{
    tally_add(t, TALLY_FIRST, a->first);
    tally_add(t, TALLY_ASKED, 1);
    tally_add(t, TALLY_SERVED, a->served);
    tally_add(t, TALLY_FAILED, a->failed);
    if (a->failed)
        return;
    tally_add(t, TALLY_COST_NANOUSD, a->cost);
    tally_add(t, TALLY_COST_SQUARE, cost_square(a->cost));
    tally_add(t, TALLY_TOKENS_IN, a->tokens_in);
    tally_add(t, TALLY_TOKENS_OUT, a->tokens_out);
    tally_add(t, TALLY_LATENCY_MS, a->latency_ms);
    if (a->foretold <= 0)
        return;
    tally_add(t, TALLY_FORETOLD, a->foretold);
    tally_add(t, TALLY_FORETOLD_COST, a->cost);
}

void evidence_count(const struct evidence *e, const struct evidence_labels *labels,
                    struct learn_sheet *sheet)
{
    if (!e->learn)
        return;
    for (int i = 0; i < e->count; i++) {
        const struct evidence_answer *a = &e->answers[i];
        struct places p = places_of(e, a, sheet);

        if (p.all.slow)
            count_answer(p.all.slow, a);
        if (a->bin < 0)
            continue;
        if (!a->failed) {
            count_bin(&p.own, a->stage, a->bin);
            count_bin(&p.also, a->stage, a->also_bin);
        }
        add_labels(&p, a, labels->of[i], 1);
    }
}

bool evidence_rescore(const struct evidence *e, const struct evidence_labels *labels,
                      struct evidence_answer *answer, unsigned scorer, int bin, unsigned keep,
                      struct learn_sheet *sheet)
{
    struct evidence_answer *a = answer;

    if (!e->learn || a->bin < 0 || bin < 0 || a->scorer == scorer || (a->also_scorer == scorer))
        return false;
    if (a->also_scorer && a->also_scorer == keep) {
        a->scorer = a->also_scorer;
        a->bin = a->also_bin;
    }
    a->also_scorer = scorer;
    a->also_bin = bin;
    struct place p = place_of(e, a, scorer, sheet);
    count_bin(&p, a->stage, bin);
    add_bin_labels(&p, a->stage, bin, labels->of[a - e->answers], 1);
    return true;
}

void evidence_relabel(const struct evidence *e, const struct evidence_labels *before,
                      const struct evidence_labels *after, struct learn_sheet *sheet)
{
    if (!e->learn)
        return;
    for (int i = 0; i < e->count; i++) {
        const struct evidence_answer *a = &e->answers[i];

        if (a->bin < 0 || memcmp(before->of[i], after->of[i], sizeof before->of[i]) == 0)
            continue;
        struct places p = places_of(e, a, sheet);
        add_labels(&p, a, before->of[i], -1);
        add_labels(&p, a, after->of[i], 1);
    }
}

/* ---- remembering ---- */

static enum err write_features(const struct evidence_answer *a, struct buf *out)
{
    enum err err = learn_int_append(out, a->feature_count);

    for (int i = 0; i < a->feature_count && err == ERR_OK; i++) {
        uint32_t bits;

        memcpy(&bits, &a->features[i], sizeof bits);
        err = learn_int_append(out, bits);
    }
    return err;
}

static enum err write_answer(const struct evidence_answer *a, struct buf *out)
{
    const int64_t numbers[] = {a->scorer,
                               a->bin,
                               a->also_scorer,
                               a->also_bin,
                               a->stage,
                               a->served,
                               a->chance < 0 ? -1 : (int64_t)(a->chance * 1000 + 0.5)};
    enum err err = learn_word_append(out, slice_str(a->model));

    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && err == ERR_OK; i++)
        err = learn_int_append(out, numbers[i]);
    return err == ERR_OK ? write_features(a, out) : err;
}

/* Fingerprint and vector. */
static enum err write_query(const struct evidence *e, struct buf *out)
{
    char space[FINGERPRINT_TEXT_BYTES], vector[BASE64_BYTES(EVIDENCE_QUERY)];
    enum err err;

    if (!e->query)
        return ERR_OK;
    assert(e->query_dim > 0 && e->query_dim <= EVIDENCE_QUERY);
    fingerprint_text(e->query_space, space);
    base64_encode(e->query, (size_t)e->query_dim, vector);
    err = learn_word_append(out, slice_str(space));
    return err == ERR_OK ? learn_word_append(out, slice_str(vector)) : err;
}

/* The line's end: answers of which something was foreseen, by their number. Most have none. */
static enum err write_foreseen(const struct evidence *e, struct buf *out)
{
    enum err err = ERR_OK;

    for (int i = 0; i < e->count && err == ERR_OK; i++)
        if (e->answers[i].foreseen_milli)
            err = buf_printf(out, " %d %d %d", i, e->answers[i].believed_milli,
                             e->answers[i].foreseen_milli);
    return err;
}

enum err evidence_write(const struct evidence *e, struct buf *out)
{
    enum err err = learn_int_append(out, e->query ? VERSION : VERSION_PLAIN);

    if (err == ERR_OK)
        err = learn_int_append(out, e->decided_wall_us);
    if (err == ERR_OK)
        err = learn_int_append(out, e->learn);
    if (err == ERR_OK)
        err = learn_word_append(out, slice_str(e->route));
    if (err == ERR_OK)
        err = learn_word_append(out, slice_str(e->class_name));
    if (err == ERR_OK)
        err = learn_int_append(out, e->count);
    for (int i = 0; i < e->count && err == ERR_OK; i++)
        err = write_answer(&e->answers[i], out);
    if (err == ERR_OK)
        err = write_query(e, out);
    return err == ERR_OK ? write_foreseen(e, out) : err;
}

static bool read_name(struct learn_words *w, struct arena *a, const char **out)
{
    struct slice word;

    if (!learn_words_next(w, &word))
        return false;
    char *name = arena_alloc(a, word.n + 1);
    *out = name;
    return learn_word_read(word, name) >= 0;
}

static bool read_features(struct learn_words *w, struct arena *a, struct evidence_answer *out)
{
    int64_t count, bits;

    if (!learn_words_int(w, 0, EVIDENCE_FEATURES, &count))
        return false;
    float *features = ARENA_ARRAY(a, float, count + 1);
    for (int64_t i = 0; i < count; i++) {
        if (!learn_words_int(w, 0, UINT32_MAX, &bits))
            return false;
        uint32_t narrow = (uint32_t)bits;
        memcpy(&features[i], &narrow, sizeof narrow);
    }
    out->features = features;
    out->feature_count = (int)count;
    return true;
}

static bool read_answer(struct learn_words *w, int64_t version, struct arena *a,
                        struct evidence_answer *out)
{
    int64_t scorer, bin, also_scorer = 0, also_bin = 0, stage, served, chance;

    *out = (struct evidence_answer){.verdict_milli = -1};
    if (!read_name(w, a, &out->model) || !learn_words_int(w, 0, UINT32_MAX, &scorer) ||
        !learn_words_int(w, -1, TALLY_BINS - 1, &bin) ||
        (version > 1 && (!learn_words_int(w, 0, UINT32_MAX, &also_scorer) ||
                         !learn_words_int(w, 0, TALLY_BINS - 1, &also_bin))) ||
        !learn_words_int(w, 0, TALLY_STAGES - 1, &stage) || !learn_words_int(w, 0, 1, &served) ||
        !learn_words_int(w, -1, 1000, &chance))
        return false;
    out->scorer = (unsigned)scorer;
    out->bin = (int)bin;
    out->also_scorer = (unsigned)also_scorer;
    out->also_bin = (int)also_bin;
    out->stage = (int)stage;
    out->served = served;
    out->chance = chance < 0 ? -1 : (double)chance / 1000;
    return read_features(w, a, out);
}

static bool read_query(struct learn_words *w, struct arena *a, struct evidence *out)
{
    const char *space, *vector;
    size_t n;

    if (!read_name(w, a, &space) || !fingerprint_parse(slice_str(space), &out->query_space) ||
        !read_name(w, a, &vector))
        return false;
    unsigned char *bytes = arena_alloc(a, strlen(vector) + 1);
    if (!base64_decode(slice_str(vector), bytes, &n) || n == 0 || n > EVIDENCE_QUERY)
        return false;
    out->query = (const int8_t *)bytes;
    out->query_dim = (int)n;
    return true;
}

static bool read_foreseen(struct learn_words *w, struct evidence_answer *answers, int64_t count)
{
    int64_t i, believed, foreseen;

    while (w->rest.n) {
        if (!learn_words_int(w, 0, count - 1, &i) || !learn_words_int(w, 1, 999, &believed) ||
            !learn_words_int(w, 1, 999, &foreseen))
            return false;
        answers[i].believed_milli = (int)believed;
        answers[i].foreseen_milli = (int)foreseen;
    }
    return true;
}

bool evidence_read(struct slice text, struct arena *a, struct evidence *out)
{
    struct learn_words w = {text};
    struct evidence_answer *answers;
    int64_t version, learn, count;

    *out = (struct evidence){.tenant = "", .request_id = ""};
    if (!learn_words_int(&w, 1, VERSION, &version) ||
        !learn_words_int(&w, INT64_MIN, INT64_MAX, &out->decided_wall_us) ||
        !learn_words_int(&w, 0, 1, &learn) || !read_name(&w, a, &out->route) ||
        !read_name(&w, a, &out->class_name) || !learn_words_int(&w, 0, EVIDENCE_ANSWERS, &count))
        return false;
    out->learn = learn;
    out->answers = answers = ARENA_ARRAY(a, struct evidence_answer, count + 1);
    out->count = (int)count;
    for (int64_t i = 0; i < count; i++)
        if (!read_answer(&w, version, a, &answers[i]))
            return false;
    if (version == VERSION && !read_query(&w, a, out))
        return false;
    return read_foreseen(&w, answers, count);
}

struct evidence_answer *evidence_answer_of(struct evidence_answer *all, int *count,
                                           const char *model)
{
    for (int i = 0; i < *count; i++)
        if (strcmp(all[i].model, model) == 0)
            return &all[i];
    if (*count == EVIDENCE_ANSWERS)
        return NULL;
    all[*count] = (struct evidence_answer){
        .model = model, .bin = -1, .chance = -1, .failed = true, .verdict_milli = -1};
    return &all[(*count)++];
}

int evidence_served(const struct evidence *e)
{
    for (int i = e->count - 1; i >= 0; i--)
        if (e->answers[i].served)
            return i;
    return -1;
}

int evidence_find(const struct evidence *e, struct slice model)
{
    for (int i = e->count - 1; i >= 0; i--)
        if (!e->answers[i].failed && slice_eq(slice_str(e->answers[i].model), model))
            return i;
    return -1;
}

/* Owns the records and the lines that they came from. Called by the learner on its thread; only
 * scorer_table_score is also called by workers. */
#include "router/scorer_table.h"

#include <stdlib.h>
#include "base/log.h"
#include "base/mem.h"
#include "router/confidence.h"

_Static_assert((int)CONFIDENCE_FEATURES < LOGISTIC_MAX_FEATURES, "a scorer takes them all");

struct entry {
    struct list link;
    char *text;   /* owned: as it was committed; NULL */
    char *staged; /* owned; NULL: nothing new */
    bool in_force;
    struct scorer_record record;
    struct slice model; /* behind the struct */
};

void scorer_table_init(struct scorer_table *t)
{
    list_init(&t->entries);
}

void scorer_table_clear(struct scorer_table *t)
{
    LIST_FOREACH_SAFE (it, &t->entries) {
        struct entry *e = CONTAINER_OF(it, struct entry, link);

        free(e->text);
        free(e->staged);
        free(e);
    }
    list_init(&t->entries);
}

static struct entry *find(const struct scorer_table *t, struct slice model)
{
    LIST_FOREACH (it, &t->entries) {
        struct entry *e = CONTAINER_OF(it, struct entry, link);
        if (slice_eq(e->model, model))
            return e;
    }
    return NULL;
}

static struct entry *make(struct scorer_table *t, struct slice model)
{
    struct entry *e = mem_zalloc(1, sizeof *e + model.n);

    e->model = slice_make((char *)(e + 1), model.n);
    memcpy(e + 1, model.p, model.n);
    list_push_back(&t->entries, &e->link);
    return e;
}

void scorer_table_stage(struct scorer_table *t, struct slice model, struct slice text)
{
    struct entry *e = find(t, model);

    if (!e)
        e = make(t, model);
    free(e->staged);
    e->staged = e->text && slice_eq(slice_str(e->text), text) ? NULL : mem_strdup(text);
}

static bool commit(struct entry *e)
{
    struct scorer_record r;
    struct err_text t = {""};
    char model[256], why[256];
    enum err err = scorer_record_read(&r, slice_str(e->staged), &t);

    free(e->text);
    e->text = e->staged;
    e->staged = NULL;
    if (err == ERR_OK &&
        (r.features_version != CONFIDENCE_VERSION || r.scorer.features != CONFIDENCE_FEATURES)) {
        err_say(&t, "it is made for other features of answers");
        err = ERR_BAD_REQUEST;
    }
    if (err == ERR_OK && r.scorer.version == 0) {
        err_say(&t, "it has no version");
        err = ERR_BAD_REQUEST;
    }
    if (err != ERR_OK) {
        log_line(LOG_WARN, "learner", "a stored scorer is refused", "model=%s why=%s",
                 log_quote(e->model, model, sizeof model),
                 log_quote(slice_str(t.s), why, sizeof why));
        return false;
    }
    e->record = r;
    e->in_force = true;
    return true;
}

bool scorer_table_commit(struct scorer_table *t)
{
    bool changed = false;

    LIST_FOREACH (it, &t->entries) {
        struct entry *e = CONTAINER_OF(it, struct entry, link);
        if (e->staged && commit(e))
            changed = true;
    }
    return changed;
}

const struct scorer_record *scorer_table_find(const struct scorer_table *t, struct slice model)
{
    const struct entry *e = find(t, model);

    return e && e->in_force ? &e->record : NULL;
}

double scorer_table_score(const struct scorer_record *by, const float *features)
{
    return by ? scorer_score(&by->scorer, features) : confidence_score(features, NULL);
}

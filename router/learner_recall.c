/* Requests that nothing is learned from, when somebody has a word about one after all. A file does
 * not remember them: few are ever labelled, and the ledger has what a label needs. Owns the reader
 * of the ledger, opened with the first such word. Learner's thread; called by learner_label.c. */
#include "router/learner_int.h"

#include "base/clock.h"
#include "base/log.h"

bool learner_recalls(const struct learner *l)
{
    return l->opt.path && l->opt.ledger;
}

/* Did a model of the route give an answer there? */
static bool is_answer(const struct ledger_attempt *a)
{
    return strcmp(a->role, "lost") != 0 && strcmp(a->role, "classify") != 0 &&
           strcmp(a->role, "embed") != 0 &&
           (a->served || strcmp(a->outcome, "ok") == 0 || strcmp(a->role, "escalated") == 0);
}

static void make_evidence(const struct ledger_story *s, struct arena *a, struct evidence *out)
{
    struct evidence_answer *all = ARENA_ARRAY(a, struct evidence_answer, EVIDENCE_ANSWERS);

    *out = (struct evidence){.tenant = s->request.tenant,
                             .request_id = s->request.request_id,
                             .route = s->request.route,
                             .class_name = s->request.class_name,
                             .decided_wall_us = s->request.received_wall_us,
                             .answers = all};
    for (size_t i = 0; i < s->attempt_count; i++) {
        const struct ledger_attempt *at = &s->attempts[i];
        struct evidence_answer *answer =
            is_answer(at) ? evidence_answer_of(all, &out->count, at->model) : NULL;

        if (!answer)
            continue;
        answer->failed = false;
        answer->served = answer->served || at->served;
    }
}

static bool is_on_list(const struct list *memories, struct slice tenant, struct slice request_id)
{
    LIST_FOREACH (it, memories) {
        const struct learn_memory *m = CONTAINER_OF(it, struct learn_memory, link);

        if (slice_eq(m->request_id, request_id) && slice_eq(m->tenant, tenant))
            return true;
    }
    return false;
}

/* A request's evidence is posted before its rows are, so that whoever has seen these, and takes
 * what was posted, finds it on its way or in the store. */
static bool is_on_its_way(struct learner *l, struct slice tenant, struct slice request_id)
{
    learner_take(l);
    return is_on_list(&l->memories, tenant, request_id) ||
           is_on_list(&l->batch.memories, tenant, request_id);
}

/* Tried again with the next word when it fails. */
static enum err open_reader(struct learner *l, struct err_text *t)
{
    return l->reader ? ERR_OK : ledger_reader_open(ledger_path(l->opt.ledger), &l->reader, t);
}

enum err learner_recall(struct learner *l, struct slice tenant, struct slice request_id,
                        struct arena *a, struct evidence *out)
{
    struct err_text t = {""};
    struct ledger_story story;
    char why[sizeof t.s];
    enum err err = open_reader(l, &t);

    if (err == ERR_OK) {
        err = ledger_reader_request(l->reader, arena_strdup(a, request_id), arena_strdup(a, tenant),
                                    a, &story, &t);
        if (err == ERR_NOT_FOUND)
            return err;
    }
    if (err != ERR_OK) {
        log_line(LOG_ERROR, "learn", "the ledger cannot be read; feedback is put off", "error=%s",
                 log_quote(slice_str(t.s), why, sizeof why));
        return ERR_OVERLOADED;
    }
    if (!story.request.route[0] ||
        story.request.received_wall_us < clock_wall_us() - LEARN_REMEMBER_S * 1000000 ||
        is_on_its_way(l, tenant, request_id))
        return ERR_NOT_FOUND;
    make_evidence(&story, a, out);
    return ERR_OK;
}

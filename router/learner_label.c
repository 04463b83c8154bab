/* Outcomes: each is a small job that finds its request in the store, works out what the label
 * changes, and swaps it in; when somebody else labelled the same request meanwhile, it begins anew.
 * A request that is not there may still be on its way, here or from another replica: then the job
 * waits for a moment. Owns the jobs. Learner's thread. */
#include "router/learner_int.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"

#define AWAIT_REQUEST_US INT64_C(1000000)  /* four flushes of whoever has it; a client waits */
#define AWAIT_STORE_US   INT64_C(60000000) /* of labels that nobody waits for */
#define MAX_JOBS         10000
#define MAX_CONFLICTS    100
#define AWAIT_LEDGER_MS  60 /* somewhat more than a batch of the ledger takes to be due */

struct label_job {
    struct list link;
    struct learner *l;
    struct learner_label *label; /* owned until it is handed back */
    int64_t begun_us;
    int conflicts;
    int64_t ledger_mark; /* what the ledger had when the word came */
    bool resting;        /* until the next retry */
    bool recalled;       /* of the ledger: the store does not have it yet */

    /* of one try */
    struct arena arena;
    struct evidence evidence;
    struct evidence_labels before, after;
    struct buf line, before_text, after_text;
    struct learn_sheet sheet;
    int answer;
};

static void count(const struct label_job *j, const char *result)
{
    const char *labels[] = {tally_source_name(j->label->source), result};

    stats_add(stats_cell(j->l->stats, STAT_LEARN_OUTCOMES, labels), 1);
}

static void forget_try(struct label_job *j)
{
    arena_clear(&j->arena);
    buf_clear(&j->line);
    buf_clear(&j->before_text);
    buf_clear(&j->after_text);
    learn_sheet_clear(&j->sheet);
}

static void finish(struct label_job *j, enum err err)
{
    struct learner_label *label = j->label;
    struct learner *l = j->l;

    label->err = err;
    count(j, err != ERR_OK ? err_name(err) : label->changed ? "counted" : "unchanged");
    list_remove(&j->link);
    l->label_count--;
    forget_try(j);
    free(j);
    label->msg.deliver = label->on_done;
    if (label->reply_to)
        mailbox_post(label->reply_to, &label->msg);
    else
        label->msg.discard(&label->msg);
    learner_serve_flush(l);
}

/* How far the source is believed where the request went. */
static int weight_milli(const struct label_job *j)
{
    struct tally_trust trust = learner_trust(j->l->serving.policy, slice_str(j->evidence.route));

    return (int)(trust.source[j->label->source] * 1000 + 0.5);
}

static void book(const struct label_job *j)
{
    const struct learner_label *label = j->label;
    const struct evidence *e = &j->evidence;

    if (!j->l->opt.ledger)
        return;
    ledger_post(j->l->opt.ledger, ledger_outcome_new(&(struct ledger_outcome){
                                      .request_id = label->request_id,
                                      .tenant = label->tenant,
                                      .route = e->route,
                                      .class_name = e->class_name,
                                      .model = e->answers[j->answer].model,
                                      .source = tally_source_name(label->source),
                                      .value_milli = label->value_milli,
                                      .weight_milli = weight_milli(j),
                                      .said_wall_us = label->said_us,
                                      .booked_wall_us = clock_wall_us(),
                                      .note = label->note,
                                  }));
}

static void look(struct label_job *j);
static void on_failure(struct label_job *j, enum err err);

static void on_relabelled(void *ctx, enum err err)
{
    struct label_job *j = ctx;

    if (err == ERR_CONFLICT && ++j->conflicts < MAX_CONFLICTS) {
        look(j);
        return;
    }
    if (err != ERR_OK) {
        on_failure(j, err == ERR_CONFLICT ? ERR_OVERLOADED : err);
        return;
    }
    if (j->label->changed) {
        learner_fit_note(j->l, j->label->source);
        book(j);
    }
    finish(j, ERR_OK);
}

/* One that only the ledger has has no line yet, and no labels. */
static bool write_line(struct label_job *j)
{
    evidence_labels_init(&j->before, &j->evidence);
    return evidence_write(&j->evidence, &j->line) == ERR_OK;
}

/* A line that nobody of ours wrote stands for nothing. */
static bool read_lines(struct label_job *j, const struct learn_found *found)
{
    return evidence_read(arena_dup(&j->arena, found->text), &j->arena, &j->evidence) &&
           evidence_labels_read(found->labels, &j->before) &&
           buf_append_slice(&j->line, found->text) == ERR_OK &&
           buf_append_slice(&j->before_text, found->labels) == ERR_OK;
}

static bool work_out(struct label_job *j)
{
    const struct learner_label *label = j->label;

    j->after = j->before;
    if (label->source == TALLY_SILENCE && evidence_is_labelled(&j->before, j->answer))
        return false;
    if (!evidence_label(&j->after, j->answer, label->source, label->value_milli, label->said_us))
        return false;
    evidence_relabel(&j->evidence, &j->before, &j->after, &j->sheet);
    return evidence_labels_write(&j->after, &j->after_text) == ERR_OK;
}

static bool may_still_come(const struct label_job *j, bool ledger_has_all)
{
    return clock_mono_us() < j->begun_us + AWAIT_REQUEST_US &&
           (!j->l->opt.path || !ledger_has_all || !learner_nothing_waits(j->l));
}

static bool ledger_has_all(const struct label_job *j)
{
    return !learner_recalls(j->l) || ledger_has_written(j->l->opt.ledger, j->ledger_mark);
}

/* Either it did not work now, and may in a moment, or that is the answer. */
static void on_failure(struct label_job *j, enum err err)
{
    int64_t patience_us = j->label->reply_to ? AWAIT_REQUEST_US : AWAIT_STORE_US;

    if (err == ERR_OVERLOADED && !j->l->closing && clock_mono_us() < j->begun_us + patience_us)
        j->resting = true;
    else
        finish(j, err);
}

/* What was on its way before the look may have come since; what still is, is waited for. */
static void on_missing(struct label_job *j, bool ledger_had_all)
{
    if (!may_still_come(j, ledger_had_all)) {
        finish(j, ledger_had_all ? ERR_NOT_FOUND : ERR_OVERLOADED);
        return;
    }
    j->resting = true;
    if (!ledger_had_all)
        event_add(j->l->soon, &(struct timeval){.tv_usec = AWAIT_LEDGER_MS * 1000});
    learner_send(j->l);
}

static void on_request(struct label_job *j)
{
    struct learner_label *label = j->label;
    struct slice line = buf_slice(&j->line);

    j->answer = label->model[0] ? evidence_find(&j->evidence, slice_str(label->model))
                                : evidence_served(&j->evidence);
    if (j->answer < 0) {
        finish(j, ERR_CONFLICT);
        return;
    }
    label->weight_milli = weight_milli(j);
    snprintf(label->about, sizeof label->about, "%s", j->evidence.answers[j->answer].model);
    if (!work_out(j)) {
        finish(j, ERR_OK);
        return;
    }
    label->changed = j->after.of[j->answer][label->source].value_milli !=
                     j->before.of[j->answer][label->source].value_milli;
    j->l->store->ops->relabel(
        j->l->store,
        &(struct learn_relabel){.tenant = slice_str(label->tenant),
                                .request_id = slice_str(label->request_id),
                                .text = j->recalled ? SLICE("") : line,
                                .text_after = line,
                                .decided_wall_us = j->evidence.decided_wall_us,
                                .before = buf_slice(&j->before_text),
                                .after = buf_slice(&j->after_text),
                                .sheet = &j->sheet},
        on_relabelled, j);
}

static void recall(struct label_job *j)
{
    bool had_all = ledger_has_all(j); /* before the look */
    enum err err = learner_recalls(j->l)
                       ? learner_recall(j->l, slice_str(j->label->tenant),
                                        slice_str(j->label->request_id), &j->arena, &j->evidence)
                       : ERR_NOT_FOUND;

    if (err == ERR_NOT_FOUND) {
        on_missing(j, had_all);
    } else if (err != ERR_OK) {
        on_failure(j, err);
    } else if (!write_line(j)) {
        finish(j, ERR_NOT_FOUND);
    } else {
        j->recalled = true;
        on_request(j);
    }
}

static void on_found(void *ctx, enum err err, const struct learn_found *found)
{
    struct label_job *j = ctx;

    if (err == ERR_NOT_FOUND)
        recall(j);
    else if (err != ERR_OK)
        on_failure(j, err);
    else if (!read_lines(j, found))
        finish(j, ERR_NOT_FOUND);
    else
        on_request(j);
}

static void look(struct label_job *j)
{
    forget_try(j);
    j->resting = j->recalled = false;
    j->label->changed = false;
    j->l->store->ops->find(j->l->store, slice_str(j->label->tenant),
                           slice_str(j->label->request_id), on_found, j);
}

void learner_label_begin(struct message *m, void *ctx)
{
    struct learner *l = ctx;
    struct label_job *j = mem_zalloc(1, sizeof *j);

    j->l = l;
    j->label = CONTAINER_OF(m, struct learner_label, msg);
    j->begun_us = clock_mono_us();
    j->ledger_mark = l->opt.ledger ? ledger_posted(l->opt.ledger) : 0;
    arena_init(&j->arena, 1024);
    buf_init(&j->line, EVIDENCE_TEXT_BYTES);
    buf_init(&j->before_text, EVIDENCE_TEXT_BYTES);
    buf_init(&j->after_text, EVIDENCE_TEXT_BYTES);
    learn_sheet_init(&j->sheet, EVIDENCE_UNITS);
    list_push_back(&l->labels, &j->link);
    if (++l->label_count > MAX_JOBS || l->closing)
        finish(j, ERR_OVERLOADED);
    else
        look(j);
}

/* Its strings lie behind it. */
static void free_own(struct message *m)
{
    free(CONTAINER_OF(m, struct learner_label, msg));
}

void learner_label_own(struct learner *l, const struct learner_label *label)
{
    size_t tenant = strlen(label->tenant) + 1, id = strlen(label->request_id) + 1,
           note = strlen(label->note) + 1;
    struct learner_label *own = mem_alloc(sizeof *own + tenant + id + note);
    char *p = (char *)(own + 1);

    *own = *label;
    own->msg = (struct message){.discard = free_own};
    own->reply_to = NULL;
    own->model = "";
    own->tenant = memcpy(p, label->tenant, tenant);
    own->request_id = memcpy(p + tenant, label->request_id, id);
    own->note = memcpy(p + tenant + id, label->note, note);
    learner_label_begin(&own->msg, l);
}

void learner_labels_retry(struct learner *l)
{
    LIST_FOREACH_SAFE (it, &l->labels) {
        struct label_job *j = CONTAINER_OF(it, struct label_job, link);

        if (j->resting)
            look(j);
    }
}

void learner_labels_end(struct learner *l)
{
    while (!list_empty(&l->labels))
        finish(CONTAINER_OF(l->labels.next, struct label_job, link), ERR_OVERLOADED);
}

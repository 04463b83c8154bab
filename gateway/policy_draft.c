/* Owns what it opened until control takes it over. Called by control_policy.c (the first load) and
 * on the threads of policy_reload.c. */
#include "gateway/policy_draft.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "gateway/control_learn.h"

void policy_draft_init(struct policy_draft *d, const char *file)
{
    *d = (struct policy_draft){.file = file};
    atomic_init(&d->stop, false);
    diags_init(&d->diags);
}

void policy_draft_clear(struct policy_draft *d)
{
    classifier_unref(d->classifier);
    classifier_unref(d->last);
    for (size_t i = 0; i < d->lent_count; i++)
        embedder_release(d->lent[i]);
    free(d->lent);
    embedder_free(d->fresh);
    policy_unref(d->policy);
    diags_clear(&d->diags);
    free(d->text);
}

void policy_draft_lend(struct policy_draft *d, struct embedder *const *open, size_t count,
                       struct classifier *last)
{
    d->lent = mem_zalloc(count, sizeof(struct embedder *));
    for (d->lent_count = 0; d->lent_count < count; d->lent_count++)
        d->lent[d->lent_count] = embedder_hold(open[d->lent_count]);
    d->last = last ? classifier_ref(last) : NULL;
}

/* ---- the encoder ---- */

static bool wants_transformer(const struct policy *p)
{
    bool used = p->matches_class || p->cache.semantic;

    for (size_t i = 0; i < p->model_count && !used; i++)
        used = p->models[i].encoder;
    return used && strcmp(p->encoder.model, POLICY_ENCODER_STATIC) != 0;
}

static struct embedder *find(const struct policy_draft *d, const struct policy_encoder *want)
{
    if (d->fresh && embedder_suits(d->fresh, want))
        return d->fresh;
    for (size_t i = 0; i < d->lent_count; i++)
        if (embedder_suits(d->lent[i], want))
            return d->lent[i];
    return NULL;
}

static enum err open_fresh(struct policy_draft *d, const struct policy_encoder *want,
                           struct err_text *why)
{
    int64_t begun_us = clock_mono_us();
    struct encoder_facts f;
    char full[FINGERPRINT_TEXT_BYTES], quoted[600];
    enum err err;

    log_line(LOG_INFO, "encoder", "opening", "model=%s",
             log_quote(slice_str(want->model), quoted, sizeof quoted));
    err = embedder_open(want, &d->fresh, why);
    if (err != ERR_OK)
        return err;
    f = encoder_facts(embedder_encoder(d->fresh));
    fingerprint_text(f.full, full);
    log_line(LOG_INFO, "encoder", "ready",
             "model=%s kernels=%s dim=%d max_tokens=%d weights_mb=%zu fingerprint=%s ms=%lld",
             f.model, f.kernels, f.dim, f.max_tokens, f.weight_bytes >> 20, full,
             (long long)((clock_mono_us() - begun_us) / 1000));
    return ERR_OK;
}

/* ---- the text ---- */

static enum err labels_of_open(void *ctx, const struct policy_encoder *e, struct arena *a,
                               struct policy_labels *out, const char **key, struct err_text *why)
{
    const struct embedder *open = find(ctx, e);

    if (!open)
        return classifier_labels(NULL, e, a, out, key, why);
    return classifier_labels((void *)(uintptr_t)embedder_encoder(open), e, a, out, key, why);
}

/* What cannot be opened is looked at again: classifier_labels knows the key that is to blame. What
 * passes there and still cannot be opened here (a device, its memory) is for policy_draft_build to
 * report. */
static enum err labels_of_opened(void *ctx, const struct policy_encoder *e, struct arena *a,
                                 struct policy_labels *out, const char **key, struct err_text *why)
{
    struct policy_draft *d = ctx;

    if (strcmp(e->model, POLICY_ENCODER_STATIC) != 0 && !find(d, e))
        (void)open_fresh(d, e, why);
    return labels_of_open(ctx, e, a, out, key, why);
}

static enum err load(struct policy_draft *d, struct policy_load_options opt)
{
    opt.resolve_secrets = true;
    opt.labels_ctx = d;
    if (d->text)
        return policy_load_text(slice_make(d->text, d->text_bytes), d->file, &opt, &d->diags,
                                &d->policy);
    return policy_load_file(d->file, &opt, &d->diags, &d->policy);
}

enum err policy_draft_check(struct policy_draft *d)
{
    return load(d, (struct policy_load_options){.labels_fn = labels_of_open});
}

enum err policy_draft_read(struct policy_draft *d)
{
    return load(d, (struct policy_load_options){.labels_fn = labels_of_opened});
}

/* ---- the classifier ---- */

static enum err build_classifier(struct policy_draft *d, struct err_text *why)
{
    const struct policy *p = d->policy;
    struct classifier_options opt = {.encoder = &p->encoder,
                                     .classes = p->classes,
                                     .class_count = p->class_count,
                                     .stop = &d->stop};

    if (!p->matches_class)
        return ERR_OK;
    opt.open = d->embedder ? embedder_encoder(d->embedder) : NULL;
    if (d->last && classifier_suits(d->last, &opt)) {
        d->classifier = classifier_ref(d->last);
        return ERR_OK;
    }
    return classifier_new(&opt, &d->classifier, why);
}

enum err policy_draft_build(struct policy_draft *d, struct err_text *why)
{
    const struct policy *p = d->policy;
    enum err err = ERR_OK;

    if (wants_transformer(p)) {
        if (!find(d, &p->encoder))
            err = open_fresh(d, &p->encoder, why);
        d->embedder = find(d, &p->encoder);
    }
    if (err == ERR_OK)
        err = build_classifier(d, why);
    if (err == ERR_OK && d->learner)
        control_learn_prepare(d->learner, d->policy);
    return err;
}

/* Owns the open encoders and a reference to the current classifier. Called by control_policy.c
 * (build, use), control.c (sweep, clear, gauges). */
#include "gateway/control_encoder.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

static bool wants_transformer(const struct policy *p)
{
    bool used = p->matches_class || p->cache.semantic;

    for (size_t i = 0; i < p->model_count && !used; i++)
        used = p->models[i].encoder;
    return used && strcmp(p->encoder.model, POLICY_ENCODER_STATIC) != 0;
}

static struct embedder *find(const struct control_encoder *ce, const struct policy_encoder *want)
{
    for (size_t i = 0; i < ce->embedder_count; i++)
        if (embedder_suits(ce->embedders[i], want))
            return ce->embedders[i];
    return NULL;
}

static enum err open_embedder(struct control_encoder *ce, const struct policy_encoder *want,
                              struct embedder **out, struct err_text *t)
{
    int64_t begun_us = clock_mono_us();
    enum err err = embedder_open(want, out, t);
    struct encoder_facts f;
    char full[FINGERPRINT_TEXT_BYTES];

    if (err != ERR_OK)
        return err;
    ce->embedders = mem_resize(ce->embedders, ce->embedder_count + 1, sizeof(struct embedder *));
    ce->embedders[ce->embedder_count++] = *out;
    f = encoder_facts(embedder_encoder(*out));
    fingerprint_text(f.full, full);
    log_line(LOG_INFO, "encoder", "ready",
             "model=%s kernels=%s dim=%d max_tokens=%d weights_mb=%zu fingerprint=%s ms=%lld",
             f.model, f.kernels, f.dim, f.max_tokens, f.weight_bytes >> 20, full,
             (long long)((clock_mono_us() - begun_us) / 1000));
    return ERR_OK;
}

static struct classifier_options options_of(const struct policy *p, const struct embedder *e)
{
    return (struct classifier_options){.encoder = &p->encoder,
                                       .classes = p->classes,
                                       .class_count = p->class_count,
                                       .open = e ? embedder_encoder(e) : NULL};
}

enum err control_encoder_build(struct control_encoder *ce, const struct policy *p,
                               struct control_built *out, struct err_text *t)
{
    struct classifier_options opt;
    enum err err = ERR_OK;

    *out = (struct control_built){NULL, NULL};
    if (wants_transformer(p)) {
        out->embedder = find(ce, &p->encoder);
        if (!out->embedder)
            err = open_embedder(ce, &p->encoder, &out->embedder, t);
    }
    if (err != ERR_OK || !p->matches_class)
        return err;
    opt = options_of(p, out->embedder);
    if (ce->classifier && classifier_suits(ce->classifier, &opt)) {
        out->classifier = classifier_ref(ce->classifier);
        return ERR_OK;
    }
    return classifier_new(&opt, &out->classifier, t);
}

bool control_encoder_same(const struct control_encoder *ce, const struct policy *p)
{
    struct classifier_options opt;

    if (!p->matches_class || !ce->classifier)
        return !p->matches_class == !ce->classifier;
    opt = options_of(p, wants_transformer(p) ? find(ce, &p->encoder) : NULL);
    return classifier_suits(ce->classifier, &opt);
}

void control_encoder_use(struct control_encoder *ce, const struct control_built *b)
{
    classifier_unref(ce->classifier);
    ce->classifier = b->classifier ? classifier_ref(b->classifier) : NULL;
}

bool control_encoder_sweep(struct control_encoder *ce, const struct embedder *current)
{
    size_t kept = 0;
    bool held = false;

    for (size_t i = 0; i < ce->embedder_count; i++) {
        struct embedder *e = ce->embedders[i];
        bool in_use = embedder_held(e);

        if (e == current || in_use)
            ce->embedders[kept++] = e;
        else
            embedder_free(e);
        held = held || (e != current && in_use);
    }
    ce->embedder_count = kept;
    return held;
}

void control_encoder_clear(struct control_encoder *ce)
{
    classifier_unref(ce->classifier);
    ce->classifier = NULL;
    control_encoder_sweep(ce, NULL);
    free(ce->embedders);
    ce->embedders = NULL;
}

void control_encoder_gauges(struct embedder *e, struct stats *s)
{
    struct encoder_service_counts c;

    if (!e)
        return;
    encoder_service_counts(embedder_service(e), &c);
    stats_set(stats_cell(s, STAT_ENCODER_ENCODED, (const char *[]){"encoded"}), (int64_t)c.encoded);
    stats_set(stats_cell(s, STAT_ENCODER_ENCODED, (const char *[]){"refused"}), (int64_t)c.refused);
    stats_set(stats_cell(s, STAT_ENCODER_ENCODED, (const char *[]){"foreseen"}),
              (int64_t)c.foreseen);
    stats_set(stats_cell(s, STAT_ENCODER_ENCODED, (const char *[]){"expired"}), (int64_t)c.expired);
    stats_set(stats_cell(s, STAT_ENCODER_ENCODED, (const char *[]){"failed"}), (int64_t)c.failed);
    stats_set(stats_cell(s, STAT_ENCODER_PASSES, NULL), (int64_t)c.passes);
    stats_set(stats_cell(s, STAT_ENCODER_QUEUED, NULL), (int64_t)c.queued);
    stats_set(stats_cell(s, STAT_ENCODER_LOST, NULL), c.device_lost);
}

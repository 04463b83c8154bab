/* Owns the open encoders and a reference to the current classifier. Called by control_policy.c
 * (lend, use, sweep, clear), control.c (gauges). */
#include "gateway/control_encoder.h"

#include <stdlib.h>
#include "base/mem.h"

void control_encoder_lend(const struct control_encoder *ce, struct policy_draft *d)
{
    policy_draft_lend(d, ce->embedders, ce->embedder_count, ce->classifier);
}

bool control_encoder_same(const struct control_encoder *ce, const struct policy_draft *d)
{
    return d->classifier == ce->classifier;
}

void control_encoder_use(struct control_encoder *ce, struct policy_draft *d)
{
    if (d->fresh && d->fresh == d->embedder) {
        ce->embedders =
            mem_resize(ce->embedders, ce->embedder_count + 1, sizeof(struct embedder *));
        ce->embedders[ce->embedder_count++] = d->fresh;
        d->fresh = NULL;
    }
    classifier_unref(ce->classifier);
    ce->classifier = d->classifier ? classifier_ref(d->classifier) : NULL;
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

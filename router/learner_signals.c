/* Labels that nobody sent: turns that were asked again, and silence where the policy gives it a
 * meaning. Learner's thread. */
#include "router/learner_int.h"

#include <stdio.h>
#include "base/clock.h"

#define NAME_BYTES   512
#define DUE_PER_TICK 500

static void label(struct learner *l, struct slice tenant, struct slice request_id,
                  enum tally_source source, int value_milli, const char *note)
{
    char tenant_name[NAME_BYTES], id[NAME_BYTES];

    if (tenant.n >= NAME_BYTES || request_id.n >= NAME_BYTES)
        return;
    snprintf(tenant_name, sizeof tenant_name, "%.*s", SLICE_ARG(tenant));
    snprintf(id, sizeof id, "%.*s", SLICE_ARG(request_id));
    learner_label_own(l, &(struct learner_label){.tenant = tenant_name,
                                                 .request_id = id,
                                                 .source = source,
                                                 .value_milli = value_milli,
                                                 .said_us = clock_wall_us(),
                                                 .note = note});
}

static void expect_silence(struct learner *l, const struct evidence *e)
{
    const struct policy_learn *how = learner_learn(l->serving.policy, slice_str(e->route));

    if (!how || how->silence == POLICY_SILENCE_MISSING || evidence_served(e) < 0)
        return;
    outcome_signals_expect(l->signals, slice_str(e->tenant), slice_str(e->request_id),
                           e->ended_wall_us + how->silence_after_ms * 1000,
                           how->silence == POLICY_SILENCE_SUCCESS ? 1000 : 0);
}

void learner_signals_note(struct learner *l, const struct evidence *e)
{
    struct outcome_request earlier;

    if (!e->learn)
        return;
    expect_silence(l, e);
    if (outcome_signals_note(l->signals,
                             &(struct outcome_request){.tenant = slice_str(e->tenant),
                                                       .request_id = slice_str(e->request_id),
                                                       .print = e->print,
                                                       .begun_us = e->decided_wall_us,
                                                       .ended_us = e->ended_wall_us},
                             &earlier))
        label(l, earlier.tenant, earlier.request_id, TALLY_IMPLICIT, 0, "asked again");
}

void learner_signals_due(struct learner *l)
{
    struct outcome_silence s;
    int64_t now_us = clock_wall_us();

    for (int i = 0; i < DUE_PER_TICK && outcome_signals_due(l->signals, now_us, &s); i++)
        label(l, s.tenant, s.request_id, TALLY_SILENCE, s.value_milli, "silence");
}

/* What classifies and embeds for the serving policy: keeps encoders and classifier over reloads
 * that do not change them (policy_draft.h makes them). Control thread. */
#ifndef GATEWAY_CONTROL_ENCODER_H
#define GATEWAY_CONTROL_ENCODER_H

#include "base/stats.h"
#include "gateway/policy_draft.h"

struct control_encoder {         /* embedded in struct control */
    struct embedder **embedders; /* owned: the current one and those that snapshots still hold */
    size_t embedder_count;
    struct classifier *classifier; /* owned reference: the current one */
};

/* A draft may take up again what is open and current. */
void control_encoder_lend(const struct control_encoder *ce, struct policy_draft *d);
/* Did d come out with the classifier that is current? */
bool control_encoder_same(const struct control_encoder *ce, const struct policy_draft *d);
/* d serves from here on: what it opened and built is kept. */
void control_encoder_use(struct control_encoder *ce, struct policy_draft *d);
/* Ends what nobody holds but `current` (may be NULL). true: some are still held. */
bool control_encoder_sweep(struct control_encoder *ce, const struct embedder *current);
void control_encoder_clear(struct control_encoder *ce); /* the snapshots are gone */

/* The encoder's counters, into a table of one answer. e may be NULL. */
void control_encoder_gauges(struct embedder *e, struct stats *s);

#endif

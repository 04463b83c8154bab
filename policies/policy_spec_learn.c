/* `learn`: what is made of outcomes, and of their absence. Constant data, read by way of
 * spec_policy. */
#include "policies/policy_spec_int.h"

static const struct spec_word learn_words[] = {
    {"on", POLICY_LEARN_ON, false}, {"off", POLICY_LEARN_OFF, false}, {NULL, 0, false}};
static const struct spec_word silence_words[] = {{"missing", POLICY_SILENCE_MISSING, false},
                                                 {"success", POLICY_SILENCE_SUCCESS, false},
                                                 {"failure", POLICY_SILENCE_FAILURE, false},
                                                 {NULL, 0, false}};

static const struct spec_key silence_keys[] = {
    {.name = "as",
     .type = SPEC_ENUM,
     AT(policy_learn, silence),
     .deflt = "missing",
     .words = silence_words,
     .help = "What a request without any outcome counts as."},
    {.name = "after",
     .type = SPEC_DURATION,
     AT(policy_learn, silence_after_ms),
     .deflt = "24h",
     .min = SECOND,
     .max = 30 * DAY,
     .help = "How long after its decision."},
};
OBJECT(silence, policy_learn, "silence", "What no outcome means.");

#define SOURCE(member, weight, also_, help_)                                                       \
    {                                                                                              \
        .name = #member, .type = SPEC_FRACTION, .at = offsetof(struct policy_sources, member),     \
        .deflt = weight, .also = also_, .help = help_                                              \
    }
static const struct spec_key sources_keys[] = {
    {.name = "explicit",
     .type = SPEC_FRACTION,
     AT(policy_sources, explicit_feedback),
     .deflt = "1",
     .also = "feedback user",
     .help = "`POST /v1/feedback` with success or score."},
    SOURCE(correction, "0.7", NULL, "`POST /v1/feedback` with a correction."),
    SOURCE(validator, "1", "validators test", "The route's validators."),
    SOURCE(judge, "0.8", NULL, "The judge of audits."),
    SOURCE(regenerate, "0.3", "rephrase retry",
           "The same question asked again soon after its answer."),
    SOURCE(silence, "0.3", NULL, "No outcome, where `silence` gives it a meaning."),
};
OBJECT(sources, policy_sources, "sources", "How much an outcome counts, by where it comes from.");

static const struct spec_key learn_keys[] = {
    {.name = "mode",
     .type = SPEC_ENUM,
     AT(policy_learn, mode),
     .deflt = "on",
     .words = learn_words,
     .also = "enabled",
     .help = "`off`: what has been learnt is used, and nothing is added."},
    {.name = "neighbours",
     .type = SPEC_ENUM,
     AT(policy_learn, neighbours),
     .deflt = "on",
     .words = learn_words,
     .also = "neighbors similar",
     .help = "With an `objective`: outcomes of questions that mean something similar say what to "
             "expect of this one, as far as that has proven true. Of each question a vector of "
             "192 bytes is kept beside its outcome for 7 days, no text. `off`: none is kept or "
             "used."},
    {.name = "half_life",
     .type = SPEC_DURATION,
     AT(policy_learn, half_life_ms),
     .deflt = "7d",
     .min = 60 * SECOND,
     .max = 366 * DAY,
     .also = "decay",
     .help = "After this time an outcome counts half."},
    {.name = "fast_half_life",
     .type = SPEC_DURATION,
     AT(policy_learn, fast_half_life_ms),
     .deflt = "2h",
     .min = 60 * SECOND,
     .max = 30 * DAY,
     .help = "The same for the correction that notices a model becoming better or worse. From a "
             "change on that is no chance a day's outcomes count whole."},
    {.name = "silence", .type = SPEC_OBJECT, .object = &silence, .help = "What no outcome means."},
    {.name = "sources",
     .type = SPEC_OBJECT,
     .object = &sources,
     AT(policy_learn, sources),
     .also = "weights source",
     .help = "How much an outcome counts, by where it comes from."},
};
SECTION(learn, policy_learn, "learn", "What is made of outcomes.");

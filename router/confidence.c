/* Makes features of an answer. Called by the request's performer on its worker, once per answer and
 * a few times per held stream. */
#include "router/confidence.h"

#include <assert.h>
#include <math.h>
#include "backends/wire/answer_signals.h"

#define SURENESS_MAX 9.0

static const char *const names[CONFIDENCE_FEATURES] = {
#define FEATURE(id, name, prior, help) [CONFIDENCE_##id] = (name),
#include "router/confidence.def"
#undef FEATURE
};

static const float prior[CONFIDENCE_FEATURES] = {
#define FEATURE(id, name, prior, help) [CONFIDENCE_##id] = (prior),
#include "router/confidence.def"
#undef FEATURE
};

const char *confidence_feature_name(enum confidence_feature f)
{
    assert((unsigned)f < CONFIDENCE_FEATURES);
    return names[f];
}

const float *confidence_prior(void)
{
    return prior;
}

double confidence_score(const float *features, const float *weights)
{
    const float *w = weights ? weights : prior;
    double z = 0;

    for (int i = 0; i < CONFIDENCE_FEATURES; i++)
        z += (double)w[i] * (double)features[i];
    return 1 / (1 + exp(-z));
}

/* ---- features ---- */

static float within(double v, double low, double high)
{
    return (float)(v < low ? low : v > high ? high : v);
}

static void token_features(const struct token_logprobs *t, float *out)
{
    double surprise;

    out[CONFIDENCE_NO_LOGPROBS] = t->count == 0;
    out[CONFIDENCE_NO_MARGIN] = t->with_alternatives == 0;
    if (t->count == 0)
        return;
    surprise = -expm1(token_logprobs_mean(t)); /* 1 - exp(mean) */
    out[CONFIDENCE_SURENESS] =
        (float)(surprise > exp(-SURENESS_MAX) ? -log(surprise) : SURENESS_MAX);
    out[CONFIDENCE_Q10] = within(token_logprobs_quantile(t, 0.10), -5, 0);
    out[CONFIDENCE_Q25] = within(token_logprobs_quantile(t, 0.25), -5, 0);
    out[CONFIDENCE_Q50] = within(token_logprobs_quantile(t, 0.50), -5, 0);
    out[CONFIDENCE_WINDOW] = within(token_logprobs_window_min(t), -5, 0);
    if (t->with_alternatives == 0)
        return;
    out[CONFIDENCE_MARGIN] = within(token_logprobs_margin(t), -5, 5);
    out[CONFIDENCE_MARGIN_MIN] = within(t->margin_min, -5, 5);
    out[CONFIDENCE_ENTROPY] = (float)token_logprobs_entropy(t);
}

static double logit(double p)
{
    double inside = p < 1e-6 ? 1e-6 : p > 1 - 1e-6 ? 1 - 1e-6 : p;

    return log(inside / (1 - inside));
}

void confidence_features_so_far(const struct answer_signals *s, float out[CONFIDENCE_FEATURES])
{
    for (int i = 0; i < CONFIDENCE_FEATURES; i++)
        out[i] = 0;
    token_features(&s->tokens, out);
    out[CONFIDENCE_REFUSAL] = answer_signals_refuse(s);
    out[CONFIDENCE_CALLS] = s->call_count > 0;
}

void confidence_features(const struct answer_signals *s, const struct confidence_context *c,
                         float out[CONFIDENCE_FEATURES])
{
    confidence_features_so_far(s, out);
    out[CONFIDENCE_UNFINISHED] = !s->finished || chat_finish_is_cut(s->finish);
    out[CONFIDENCE_EMPTY] = buf_len(&s->text) == 0 && s->call_count == 0 && !s->cut;
    out[CONFIDENCE_HEDGE] = answer_signals_hedge(s);
    if (c->output_tokens > 0 && c->usual_tokens > 0)
        out[CONFIDENCE_LENGTH] = within(log((double)c->output_tokens / c->usual_tokens), -3, 3);
    out[CONFIDENCE_VALID] = c->verdict == CONFIDENCE_PASS   ? 1
                            : c->verdict == CONFIDENCE_FAIL ? -1
                                                            : 0;
    if (c->samples > 0) {
        out[CONFIDENCE_SAMPLED] = 1;
        out[CONFIDENCE_REPEATS] =
            within(log((c->repeats + 0.5) / (c->samples - c->repeats + 0.5)), -3, 3);
    }
    if (!c->has_earlier)
        return;
    out[CONFIDENCE_LATER] = 1;
    out[CONFIDENCE_AGREE] = within(c->agreement, -1, 1);
    out[CONFIDENCE_EARLIER] = within(logit(c->earlier_score), -3, 3);
}

/* What the log-probabilities of an answer's tokens say about it, gathered while they arrive: no
 * array is kept, only sums and a histogram. Pure; embedded by value; single-threaded.
 *
 * l is the natural logarithm of the probability that the server gives for the token it chose; what
 * is below TOKEN_LOGPROBS_FLOOR (servers write -9999 for "none") counts as that floor, what is
 * above 0 as 0, a null (the first token of an echoed prompt) does not count.
 *
 * Sources: OpenAI API reference, "The chat completion object" (choices[].logprobs.content) and "The
 * completion object" (choices[].logprobs.token_logprobs, top_logprobs); quantiles instead of means:
 * arXiv 2404.10136; window minimum ("lowest group confidence"): arXiv 2508.15260. */
#ifndef BACKENDS_WIRE_TOKEN_LOGPROBS_H
#define BACKENDS_WIRE_TOKEN_LOGPROBS_H

#include <stdbool.h>
#include <stdint.h>
#include "base/json_scan.h"

#define TOKEN_LOGPROBS_FLOOR   (-30.0)
#define TOKEN_LOGPROBS_BUCKETS 64 /* of -l: four to each power of two from 2^-11 to 2^5 */
#define TOKEN_LOGPROBS_WINDOW  32 /* tokens */

struct token_logprobs {
    int64_t count; /* tokens with a log-probability */
    double sum;    /* of l */
    double min;    /* of l; 0 while count is 0 */
    uint32_t histogram[TOKEN_LOGPROBS_BUCKETS];
    /* The last tokens, and the least mean that a full window of them had. */
    float window[TOKEN_LOGPROBS_WINDOW];
    double window_sum, window_min;
    /* Of the tokens that came with alternatives: */
    int64_t with_alternatives;
    double margin_sum, margin_min; /* l less the best other alternative's; negative where another
                                      token was likelier than the one that was chosen */
    double entropy_sum; /* nats; the mass of what is not listed counts as one more alternative */
};

/* All zero is a good start: no token yet. */

/* One token. alternatives: log-probabilities of other tokens, `others` of them. */
void token_logprobs_add(struct token_logprobs *t, double l, const double *alternatives,
                        size_t others);
/* choices[].logprobs of a reply or a chunk, in either shape: {"content": [...]} (chat; refusals
 * count likewise) or {"token_logprobs": [...], "top_logprobs": [...]} (completions). Anything else,
 * null included, is no token. The value must have been validated. */
void token_logprobs_read(struct token_logprobs *t, struct json_value logprobs);
/* The elements of a chat choice's content array. */
void token_logprobs_content(struct token_logprobs *t, struct json_value array);

/* Of what has come so far; meaningless without a token (count == 0). */
double token_logprobs_mean(const struct token_logprobs *t);
/* The q-quantile of l (q = 0.1: a tenth of the tokens was less likely), from the histogram: off by
 * at most a bucket, a quarter of a power of two of -l. */
double token_logprobs_quantile(const struct token_logprobs *t, double q);
/* The least mean of TOKEN_LOGPROBS_WINDOW tokens in a row; of all while there are fewer. */
double token_logprobs_window_min(const struct token_logprobs *t);
/* Mean over the tokens with alternatives; meaningless without one (with_alternatives == 0). */
double token_logprobs_margin(const struct token_logprobs *t);
double token_logprobs_entropy(const struct token_logprobs *t);

#endif

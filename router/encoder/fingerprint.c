/* Fingerprints: a SHA-256 over canonical text, cut in half. Whoever changes the text below makes
 * every stored vector and every trained head foreign: that is what the version in it is for. */
#include "router/encoder/fingerprint.h"

#include <stdio.h>
#include <string.h>

static const char *const precision_names[ENCODER_PRECISIONS] = {
    [ENCODER_FP32] = "fp32",
    [ENCODER_INT8] = "int8",
    [ENCODER_FP16] = "fp16",
    [ENCODER_STATIC] = "static",
};

const char *encoder_precision_name(enum encoder_precision p)
{
    return precision_names[p];
}

static struct fingerprint cut(struct digest d)
{
    struct fingerprint f;
    memcpy(f.bytes, d.bytes, sizeof f.bytes);
    return f;
}

struct fingerprint fingerprint_space(const struct fingerprint_parts *parts)
{
    char weights[DIGEST_HEX_BYTES], tokenizer[DIGEST_HEX_BYTES], text[512];
    digest_hex(parts->weights, weights);
    digest_hex(parts->tokenizer, tokenizer);
    /* The prefix comes last, with its length before it: nothing in it can pass for another part. */
    int n = snprintf(text, sizeof text,
                     "weir space 1\nweights %s\ntokenizer %s\npooling %s\nnormalize %d\nmax_tokens "
                     "%d\nprefix %zu\n",
                     weights, tokenizer, parts->pooling, parts->normalize, parts->max_tokens,
                     parts->prefix.n);
    struct digest_stream *s = digest_stream_new();
    digest_stream_add(s, slice_make(text, (size_t)n));
    digest_stream_add(s, parts->prefix);
    return cut(digest_stream_end(s));
}

struct fingerprint fingerprint_shortened(struct fingerprint space, int max_tokens)
{
    char hex[FINGERPRINT_TEXT_BYTES], text[128];
    fingerprint_text(space, hex);
    int n = snprintf(text, sizeof text, "weir space 1\nspace %s\nmax_tokens %d\n", hex, max_tokens);
    return cut(digest_of(slice_make(text, (size_t)n)));
}

/* Counts up when a precision's vectors come out different for the same weights. */
static int way_of(enum encoder_precision precision)
{
    return precision == ENCODER_INT8 ? 2 : 1;
}

struct fingerprint fingerprint_full(struct fingerprint space, enum encoder_precision precision)
{
    char hex[FINGERPRINT_TEXT_BYTES], text[128];
    fingerprint_text(space, hex);
    int n = snprintf(text, sizeof text, "weir vectors %d\nspace %s\nprecision %s\n",
                     way_of(precision), hex, encoder_precision_name(precision));
    return cut(digest_of(slice_make(text, (size_t)n)));
}

bool fingerprint_eq(struct fingerprint a, struct fingerprint b)
{
    return memcmp(a.bytes, b.bytes, sizeof a.bytes) == 0;
}

/* A fingerprint is written and read as the first half of a digest is. */
void fingerprint_text(struct fingerprint f, char out[static FINGERPRINT_TEXT_BYTES])
{
    struct digest d = {{0}};
    char hex[DIGEST_HEX_BYTES];
    memcpy(d.bytes, f.bytes, sizeof f.bytes);
    digest_hex(d, hex);
    memcpy(out, hex, FINGERPRINT_TEXT_BYTES - 1);
    out[FINGERPRINT_TEXT_BYTES - 1] = '\0';
}

bool fingerprint_parse(struct slice hex, struct fingerprint *out)
{
    char padded[2 * DIGEST_BYTES];
    struct digest d;
    if (hex.n != FINGERPRINT_TEXT_BYTES - 1)
        return false;
    memset(padded, '0', sizeof padded);
    memcpy(padded, hex.p, hex.n);
    if (!digest_parse(slice_make(padded, sizeof padded), &d))
        return false;
    memcpy(out->bytes, d.bytes, sizeof out->bytes);
    return true;
}

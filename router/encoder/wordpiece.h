/* WordPiece tokenisation of the BERT family, equal to Hugging Face's `tokenizers` (BertNormalizer,
 * BertPreTokenizer, WordPiece, the [CLS] A [SEP] template), with one deliberate difference: the
 * literal texts [CLS], [SEP], [MASK], [PAD], [UNK] in the input are plain text, never special
 * tokens. Unicode properties come from a generated table, so nothing is needed at run time.
 *
 * Immutable after wordpiece_new; wordpiece_encode may run on any number of threads. Work is linear
 * in the input up to the token limit, and stops there. */
#ifndef ROUTER_ENCODER_WORDPIECE_H
#define ROUTER_ENCODER_WORDPIECE_H

#include <stdbool.h>
#include <stdint.h>
#include "base/digest.h"
#include "base/err.h"
#include "base/slice.h"

struct wordpiece;

struct wordpiece_options {
    bool lower_case, strip_accents, split_cjk; /* all true for uncased models */
};

/* vocab: the bytes of vocab.txt, one piece per line, the line's number is the id; borrowed for the
 * call only. ERR_BAD_WEIGHTS with t naming the line: duplicate or missing special tokens, a piece
 * that is not UTF-8. */
enum err wordpiece_new(struct slice vocab, const struct wordpiece_options *opt,
                       struct wordpiece **out, struct err_text *t) MUST_CHECK;
void wordpiece_free(struct wordpiece *w); /* NULL is fine */

struct wordpiece_counts {
    size_t tokens;  /* written, with specials */
    size_t unknown; /* [UNK] among them */
    size_t bytes;   /* of the input that are covered; < input size when truncated */
    bool truncated;
};

/* Writes at most max_tokens ids (>= 2 with specials): [CLS] pieces [SEP], cut on the right before
 * [SEP]. specials false: the pieces alone. Invalid UTF-8 is read as U+FFFD per ill-formed sequence
 * (which normalisation then drops). */
struct wordpiece_counts wordpiece_encode(const struct wordpiece *w, struct slice text,
                                         bool specials, int32_t *ids, size_t max_tokens);

const struct wordpiece_options *wordpiece_options_of(const struct wordpiece *w);
size_t wordpiece_size(const struct wordpiece *w);                    /* of the vocabulary */
struct slice wordpiece_piece(const struct wordpiece *w, int32_t id); /* borrowed; with its "##" */
int32_t wordpiece_id(const struct wordpiece *w, struct slice piece); /* -1: not in the vocabulary */
/* Of the vocabulary and the options: a part of the encoder's fingerprint. */
struct digest wordpiece_digest(struct slice vocab, const struct wordpiece_options *opt);

#endif

/* What an answer comes to in the end, so that two answers to one question can be compared whatever
 * way they took: the choice of a letter, a number, or a short text. Pure.
 *
 * Self-consistency (Wang et al., arXiv 2203.11171) compares final answers, not their reasons. Read
 * from the end: what stands in \boxed{}, behind "####" (GSM8K's own mark), or behind "answer is"
 * and its like; else the whole text, or else its last line, if that is short. Of a long text only
 * the last FINAL_ANSWER_TAIL_BYTES are looked at. */
#ifndef ROUTER_FINAL_ANSWER_H
#define ROUTER_FINAL_ANSWER_H

#include <stdbool.h>
#include "base/slice.h"

#define FINAL_ANSWER_SHORT_BYTES 64
#define FINAL_ANSWER_TAIL_BYTES  8192

enum final_answer_kind { FINAL_NONE, FINAL_LETTER, FINAL_NUMBER, FINAL_TEXT };

struct final_answer {
    enum final_answer_kind kind;
    char letter;       /* LETTER: 'a'..'z' */
    double number;     /* NUMBER */
    struct slice text; /* what was read, without marks around it; borrowed */
};

struct final_answer final_answer_find(struct slice text);
/* Of one kind and equal; texts but for case, white space and punctuation at their ends. FINAL_NONE
 * is never the same. */
bool final_answer_same(const struct final_answer *a, const struct final_answer *b);

/* 0..1: shared words over all words, each counted once and without case (Jaccard). Two texts
 * without a word: 0. Only the first few hundred words are looked at. */
double final_answer_likeness(struct slice a, struct slice b);

#endif

/* Names as words: what is learned is kept under the operator's names for routes, classes and
 * models, which may hold any character. A word holds none that separates: letters, digits and
 * "._-" stand for themselves, everything else is %XX, and "" is a lone '%'. Pure. */
#ifndef ROUTER_LEARN_KEY_H
#define ROUTER_LEARN_KEY_H

#include <stdint.h>
#include "base/buf.h"

#define LEARN_WORD_BYTES(n) (3 * (n) + 2) /* of a name of n bytes, with NUL */

/* The word of a name into out (LEARN_WORD_BYTES); returns its length. */
size_t learn_word(struct slice name, char *out);
/* The name of a word into out (word.n + 1 bytes); returns its length, or -1: it is none. */
long learn_word_read(struct slice word, char *out);
/* The words of two names joined by '/': "route/class", "model/3". Heap; free() it. */
char *learn_key(struct slice first, struct slice second);
/* Appends "word" or " word". */
enum err learn_word_append(struct buf *out, struct slice name) MUST_CHECK;
enum err learn_int_append(struct buf *out, int64_t v) MUST_CHECK; /* likewise, in decimal */

/* A line taken apart at its spaces. */
struct learn_words {
    struct slice rest;
};
bool learn_words_next(struct learn_words *w, struct slice *word); /* false: there is no more */
/* The next word as a plain integer within the limits. */
bool learn_words_int(struct learn_words *w, int64_t least, int64_t most, int64_t *out);

#endif

/* Owns nothing. Called by evidence.c and the stores of what is learned. */
#include "router/learn_key.h"

#include "base/ascii.h"
#include "base/decimal.h"
#include "base/json_scan.h"
#include "base/mem.h"

static bool plain(char c)
{
    return ascii_is_alnum(c) || c == '.' || c == '_' || c == '-';
}

size_t learn_word(struct slice name, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *p = out;

    if (name.n == 0)
        *p++ = '%';
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];

        if (plain((char)c)) {
            *p++ = (char)c;
            continue;
        }
        *p++ = '%';
        *p++ = digits[c >> 4];
        *p++ = digits[c & 15];
    }
    *p = '\0';
    return (size_t)(p - out);
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

long learn_word_read(struct slice word, char *out)
{
    char *p = out;

    *out = '\0';
    if (word.n == 0)
        return -1;
    if (slice_eq(word, SLICE("%")))
        return 0;
    for (size_t i = 0; i < word.n; i++) {
        if (plain(word.p[i])) {
            *p++ = word.p[i];
            continue;
        }
        if (word.p[i] != '%' || i + 2 >= word.n || digit(word.p[i + 1]) < 0 ||
            digit(word.p[i + 2]) < 0)
            return -1;
        *p++ = (char)(digit(word.p[i + 1]) << 4 | digit(word.p[i + 2]));
        i += 2;
    }
    *p = '\0';
    return p - out;
}

char *learn_key(struct slice first, struct slice second)
{
    char *key = mem_alloc(LEARN_WORD_BYTES(first.n) + LEARN_WORD_BYTES(second.n));
    size_t n = learn_word(first, key);

    key[n++] = '/';
    learn_word(second, key + n);
    return key;
}

enum err learn_word_append(struct buf *out, struct slice name)
{
    char *room;
    size_t bytes;
    enum err err = buf_len(out) ? buf_append(out, " ", 1) : ERR_OK;

    if (err == ERR_OK)
        err = buf_reserve(out, LEARN_WORD_BYTES(name.n), &room, &bytes);
    if (err == ERR_OK)
        buf_commit(out, learn_word(name, room));
    return err;
}

enum err learn_int_append(struct buf *out, int64_t v)
{
    char word[1 + DECIMAL_BYTES] = " ";
    size_t n = 1 + decimal_put_signed(v, word + 1), skip = buf_len(out) == 0;

    return buf_append(out, word + skip, n - skip);
}

bool learn_words_next(struct learn_words *w, struct slice *word)
{
    const char *space = w->rest.n ? memchr(w->rest.p, ' ', w->rest.n) : NULL;

    *word = slice_make(w->rest.p, space ? (size_t)(space - w->rest.p) : w->rest.n);
    w->rest = slice_from(w->rest, word->n + (space != NULL));
    return word->n > 0;
}

bool learn_words_int(struct learn_words *w, int64_t least, int64_t most, int64_t *out)
{
    struct slice word;

    return learn_words_next(w, &word) && json_int((struct json_value){JSON_NUMBER, word}, out) &&
           *out >= least && *out <= most;
}

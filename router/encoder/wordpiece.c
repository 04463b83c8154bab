/* Owns the vocabulary and the walk over a text. In the order of Hugging Face's BertNormalizer and
 * BertPreTokenizer, but in one pass and with one word in memory at a time:
 *
 *   bytes -> code points -> clean -> ideographs apart -> NFD, marks dropped -> lower case
 *         -> split at spaces, punctuation apart -> greedy longest pieces of each word
 *
 * Bytes of plain words are folded and collected eight steps short of that (ascii_word); everything
 * else goes through the generated table, code point by code point. Canonical ordering is kept by
 * inserting marks where they belong among the word's last marks. A word of more than WORD_MAX_CHARS
 * is one [UNK] whatever it holds, so no more of it is stored. */
#include "router/encoder/wordpiece.h"

#include <assert.h>
#include <stdlib.h>
#include "base/mem.h"
#include "base/utf8.h"
#include "router/encoder/piece_trie.h"
#include "router/encoder/unicode_table.h"

enum {
    WORD_MAX_CHARS = 100, /* of Hugging Face; Google's original had 200 */
    WORD_MAX_BYTES = 4 * WORD_MAX_CHARS,
    PIECE_MAX_IDS = 1 << 24,
};

/* Bytes that are no ASCII character of a word. */
enum byte_kind {
    BYTE_OTHER, /* of a longer character, or a control character */
    BYTE_SPACE,
    BYTE_PUNCT,
    BYTE_WORD, /* this and everything above: the character itself */
};

struct wordpiece {
    struct wordpiece_options opt;
    char *vocab;          /* owned: the bytes that pieces point into */
    struct slice *pieces; /* owned: [size], with "##" */
    size_t size;
    struct piece_trie *trie; /* owned */
    int32_t unknown, cls, sep;
    /* For each byte: what an ASCII character of a word becomes, or one of enum byte_kind. */
    uint8_t fold[256];
    int32_t punct[128]; /* ASCII punctuation: its id */
};

/* ---- the vocabulary ---- */

static bool is_utf8(struct slice s)
{
    for (size_t i = 0, n; i < s.n; i += n) {
        n = utf8_char_bytes(s.p + i, s.n - i);
        if (n == 0)
            return false;
    }
    return true;
}

/* The next line of *rest without its end (LF or CR LF). */
static struct slice take_line(struct slice *rest)
{
    const char *end = memchr(rest->p, '\n', rest->n);
    struct slice line = slice_make(rest->p, end ? (size_t)(end - rest->p) : rest->n);
    *rest = slice_from(*rest, line.n + (end != NULL));
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    return line;
}

static bool continues_word(struct slice piece)
{
    return piece.n > 2 && slice_starts(piece, SLICE("##"));
}

static enum err read_pieces(struct wordpiece *w, size_t bytes, struct err_text *t)
{
    struct slice rest = slice_make(w->vocab, bytes);
    size_t cap = 0;
    while (rest.n) {
        struct slice piece = take_line(&rest);
        if (piece.n == 0 || !is_utf8(piece)) {
            err_say(t, "vocabulary, line %zu: %s", w->size + 1,
                    piece.n ? "the piece is not UTF-8" : "an empty piece");
            return ERR_BAD_WEIGHTS;
        }
        if (w->size == PIECE_MAX_IDS) {
            err_say(t, "vocabulary: more than %d pieces", PIECE_MAX_IDS);
            return ERR_BAD_WEIGHTS;
        }
        if (w->size == cap) {
            cap = cap ? 2 * cap : 1 << 10;
            w->pieces = mem_resize(w->pieces, cap, sizeof *w->pieces);
        }
        w->pieces[w->size++] = piece;
    }
    return ERR_OK;
}

static struct piece_key key_of(const struct wordpiece *w, int32_t id)
{
    struct slice piece = w->pieces[id];
    bool continues = continues_word(piece);
    return (struct piece_key){continues ? slice_from(piece, 2) : piece, continues, id};
}

static int by_bytes_and_line(const void *x, const void *y)
{
    const struct piece_key *a = x, *b = y;
    size_t n = a->bytes.n < b->bytes.n ? a->bytes.n : b->bytes.n;
    int order = memcmp(a->bytes.p, b->bytes.p, n);
    if (order || a->bytes.n != b->bytes.n)
        return order ? order : (a->bytes.n > b->bytes.n) - (a->bytes.n < b->bytes.n);
    if (a->continues != b->continues)
        return a->continues - b->continues;
    return (a->id > b->id) - (a->id < b->id);
}

static enum err refuse_duplicates(const struct wordpiece *w, struct piece_key *keys,
                                  struct err_text *t)
{
    qsort(keys, w->size, sizeof *keys, by_bytes_and_line);
    for (size_t i = 1; i < w->size; i++) {
        const struct piece_key *a = &keys[i - 1], *b = &keys[i];
        if (a->continues == b->continues && slice_eq(a->bytes, b->bytes)) {
            err_say(t, "vocabulary, line %d: the piece '%.*s' is already on line %d", b->id + 1,
                    SLICE_ARG(w->pieces[b->id]), a->id + 1);
            return ERR_BAD_WEIGHTS;
        }
    }
    return ERR_OK;
}

static enum err find_special(const struct wordpiece *w, struct slice name, int32_t *id,
                             struct err_text *t)
{
    *id = wordpiece_id(w, name);
    if (*id >= 0)
        return ERR_OK;
    err_say(t, "vocabulary of %zu lines: the piece %.*s is missing", w->size, SLICE_ARG(name));
    return ERR_BAD_WEIGHTS;
}

static void fill_ascii(struct wordpiece *w)
{
    for (uint32_t c = 0; c < 0x80; c++) {
        const struct unicode_record *r = unicode_record(c);
        char byte = (char)c;
        int32_t id = wordpiece_id(w, slice_make(&byte, 1));
        w->punct[c] = id < 0 ? w->unknown : id;
        switch (unicode_class(r)) {
        case UNICODE_WORD:
            w->fold[c] = (uint8_t)((int32_t)c + (w->opt.lower_case ? r->lower : 0));
            assert(w->fold[c] >= BYTE_WORD);
            break;
        case UNICODE_PUNCT:
            w->fold[c] = BYTE_PUNCT;
            break;
        case UNICODE_SPACE:
            w->fold[c] = BYTE_SPACE;
            break;
        case UNICODE_DROP:
            w->fold[c] = BYTE_OTHER;
            break;
        }
    }
}

static enum err index_pieces(struct wordpiece *w, struct err_text *t)
{
    struct piece_key *keys = mem_zalloc(w->size ? w->size : 1, sizeof *keys);
    for (size_t i = 0; i < w->size; i++)
        keys[i] = key_of(w, (int32_t)i);
    enum err err = refuse_duplicates(w, keys, t);
    if (!err)
        w->trie = piece_trie_new(keys, w->size);
    free(keys);
    return err;
}

enum err wordpiece_new(struct slice vocab, const struct wordpiece_options *opt,
                       struct wordpiece **out, struct err_text *t)
{
    struct wordpiece *w = mem_zalloc(1, sizeof *w);
    enum err err;
    w->opt = *opt;
    w->vocab = mem_strdup(vocab);
    if ((err = read_pieces(w, vocab.n, t)) || (err = index_pieces(w, t)) ||
        (err = find_special(w, SLICE("[UNK]"), &w->unknown, t)) ||
        (err = find_special(w, SLICE("[CLS]"), &w->cls, t)) ||
        (err = find_special(w, SLICE("[SEP]"), &w->sep, t))) {
        wordpiece_free(w);
        return err;
    }
    fill_ascii(w);
    *out = w;
    return ERR_OK;
}

void wordpiece_free(struct wordpiece *w)
{
    if (!w)
        return;
    piece_trie_free(w->trie);
    free(w->pieces);
    free(w->vocab);
    free(w);
}

const struct wordpiece_options *wordpiece_options_of(const struct wordpiece *w)
{
    return &w->opt;
}

size_t wordpiece_size(const struct wordpiece *w)
{
    return w->size;
}

struct slice wordpiece_piece(const struct wordpiece *w, int32_t id)
{
    assert(id >= 0 && (size_t)id < w->size);
    return w->pieces[id];
}

int32_t wordpiece_id(const struct wordpiece *w, struct slice piece)
{
    bool continues = continues_word(piece);
    struct slice bytes = continues ? slice_from(piece, 2) : piece;
    size_t n = 0;
    int32_t id = piece_trie_longest(w->trie, continues, bytes, &n);
    return id >= 0 && n == bytes.n ? id : -1;
}

struct digest wordpiece_digest(struct slice vocab, const struct wordpiece_options *opt)
{
    struct digest_stream *s = digest_stream_new();
    char flags[] = "weir wordpiece 1\nlower ?\nstrip ?\ncjk ?\n";
    const bool on[] = {opt->lower_case, opt->strip_accents, opt->split_cjk};
    size_t i = 0;
    for (char *p = flags; (p = strchr(p, '?')) != NULL; i++)
        *p = on[i] ? '1' : '0';
    digest_stream_add(s, slice_str(flags));
    digest_stream_add(s, vocab);
    return digest_stream_end(s);
}

/* ---- a text ---- */

struct walk {
    const struct wordpiece *w;
    int32_t *ids; /* the caller's */
    size_t room;  /* ids that may still be written, the final [SEP] not among them */
    struct wordpiece_counts counts;
    /* the word so far */
    char word[WORD_MAX_BYTES];
    size_t bytes, chars; /* chars goes one beyond WORD_MAX_CHARS and stays there */
    size_t marks;        /* where the marks begin that may still change places */
};

/* Greedy longest match. False: a part of the word is no piece. */
static bool cut_word(const struct walk *k, int32_t *ids, size_t *count)
{
    struct slice rest = slice_make(k->word, k->bytes);
    *count = 0;
    while (rest.n) {
        size_t n = 0;
        int32_t id = piece_trie_longest(k->w->trie, *count > 0, rest, &n);
        if (id < 0)
            return false;
        ids[(*count)++] = id;
        rest = slice_from(rest, n);
    }
    return true;
}

/* Writes the ids of a word that ends at end in the text. False: the limit cut it. */
static bool write_ids(struct walk *k, const int32_t *ids, size_t count, size_t end)
{
    size_t written = count < k->room ? count : k->room;
    for (size_t i = 0; i < written; i++)
        k->ids[k->counts.tokens++] = ids[i];
    k->room -= written;
    k->counts.unknown += written && ids[0] == k->w->unknown;
    k->counts.truncated = written < count;
    if (!k->counts.truncated)
        k->counts.bytes = end;
    return !k->counts.truncated;
}

/* Ends the word, if there is one, at end in the text. False: the limit cut it. */
static bool end_word(struct walk *k, size_t end)
{
    int32_t ids[WORD_MAX_CHARS];
    size_t count = 0;
    if (k->chars == 0)
        return true;
    if (k->chars > WORD_MAX_CHARS || !cut_word(k, ids, &count)) {
        ids[0] = k->w->unknown;
        count = 1;
    }
    k->bytes = k->chars = k->marks = 0;
    return write_ids(k, ids, count, end);
}

static size_t write_utf8(uint32_t point, char *out)
{
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    size_t n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; --i > 0; point >>= 6)
        out[i] = (char)(0x80 | (point & 0x3F));
    out[0] = (char)(lead[n] | point);
    return n;
}

/* p is at the first of n well-formed bytes. */
static uint32_t read_utf8(const char *s, size_t n)
{
    const uint8_t *p = (const uint8_t *)s;
    switch (n) {
    case 1:
        return p[0];
    case 2:
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    case 3:
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    default:
        return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    }
}

/* Where a mark of this combining class belongs among the last marks of the word. */
static size_t mark_place(const struct walk *k, uint8_t combining_class)
{
    size_t at = k->bytes;
    while (at > k->marks) {
        size_t before = at - 1;
        while (utf8_is_tail((unsigned char)k->word[before]))
            before--;
        uint32_t point = read_utf8(k->word + before, at - before);
        if (unicode_record(point)->combining_class <= combining_class)
            break;
        at = before;
    }
    return at;
}

static void append(struct walk *k, uint32_t point, uint8_t combining_class)
{
    char utf8[4];
    if (k->chars >= WORD_MAX_CHARS) {
        k->chars = WORD_MAX_CHARS + 1;
        return;
    }
    size_t n = write_utf8(point, utf8), at = k->bytes;
    if (combining_class)
        at = mark_place(k, combining_class);
    memmove(k->word + at + n, k->word + at, k->bytes - at);
    memcpy(k->word + at, utf8, n);
    k->bytes += n;
    k->chars++;
    if (!combining_class)
        k->marks = k->bytes;
}

/* Where in the text the code point at hand lies. */
struct extent {
    size_t begin, end;
};

/* One code point that is decomposed already: accents, case, words. */
static bool take_part(struct walk *k, uint32_t point, struct extent at)
{
    const struct wordpiece_options *opt = &k->w->opt;
    const struct unicode_record *r = unicode_record(point);
    uint8_t combining_class = opt->strip_accents ? r->combining_class : 0;
    bool adds_dot = false;
    if (opt->strip_accents && (r->flags & UNICODE_MARK)) {
        if (!combining_class)
            k->marks = k->bytes;
        return true;
    }
    if (opt->lower_case && r->lower) {
        adds_dot = r->flags & UNICODE_LOWER_ADDS_DOT;
        point = (uint32_t)((int32_t)point + r->lower);
        r = unicode_record(point);
    }
    bool alone = unicode_class(r) == UNICODE_PUNCT;
    if (alone && !end_word(k, at.begin))
        return false;
    if (k->chars == 0 && k->room == 0) {
        k->counts.truncated = true;
        return false;
    }
    append(k, point, combining_class);
    if (adds_dot)
        append(k, 0x307, 0);
    return !alone || end_word(k, at.end);
}

/* One code point of the text. False: the limit is reached. */
static bool take_point(struct walk *k, uint32_t point, struct extent at)
{
    const struct wordpiece_options *opt = &k->w->opt;
    const struct unicode_record *r = unicode_record(point);
    uint32_t parts[UNICODE_DECOMPOSE_MAX] = {point};
    int count = 1;
    if (unicode_class(r) == UNICODE_DROP)
        return true;
    if (unicode_class(r) == UNICODE_SPACE)
        return end_word(k, at.begin);
    bool alone = opt->split_cjk && (r->flags & UNICODE_CJK);
    if (alone && !end_word(k, at.begin))
        return false;
    if (opt->strip_accents && (r->flags & UNICODE_DECOMPOSES))
        count = unicode_decompose(point, parts);
    for (int i = 0; i < count; i++) {
        if (!take_part(k, parts[i], at))
            return false;
    }
    return !alone || end_word(k, at.end);
}

/* Adds the plain ASCII characters at text[at] to the word, as far as they go; returns how many. */
static size_t ascii_word(struct walk *k, struct slice text, size_t at)
{
    const uint8_t *p = (const uint8_t *)text.p + at;
    size_t room = WORD_MAX_CHARS - k->chars, n = text.n - at, i = 0;
    char *to = k->word + k->bytes;
    n = n < room ? n : room;
    for (uint8_t c; i < n && (c = k->w->fold[p[i]]) >= BYTE_WORD; i++)
        to[i] = (char)c;
    k->bytes += i;
    k->chars += i;
    k->marks = i ? k->bytes : k->marks;
    return i;
}

/* What is at text[at], which is no plain ASCII character of a word; *at goes beyond it. False: the
 * limit is reached. */
static bool take_other(struct walk *k, struct slice text, size_t *at)
{
    size_t begin = *at;
    uint8_t byte = (uint8_t)text.p[begin];
    switch (k->w->fold[byte]) {
    case BYTE_SPACE:
        *at += 1;
        return end_word(k, begin);
    case BYTE_PUNCT:
        *at += 1;
        return end_word(k, begin) && write_ids(k, &k->w->punct[byte], 1, begin + 1);
    default: {
        size_t n = utf8_char_bytes(text.p + begin, text.n - begin);
        *at += n ? n : 1;
        /* An ill-formed sequence reads as U+FFFD, which is dropped. */
        return !n || take_point(k, read_utf8(text.p + begin, n), (struct extent){begin, *at});
    }
    }
}

static void walk_text(struct walk *k, struct slice text)
{
    size_t at = 0;
    while (at < text.n) {
        if (k->chars < WORD_MAX_CHARS && (k->chars || k->room)) {
            at += ascii_word(k, text, at);
            if (at == text.n)
                break;
        }
        if (!take_other(k, text, &at))
            return;
    }
    if (end_word(k, text.n))
        k->counts.bytes = text.n;
}

struct wordpiece_counts wordpiece_encode(const struct wordpiece *w, struct slice text,
                                         bool specials, int32_t *ids, size_t max_tokens)
{
    assert(!specials || max_tokens >= 2);
    struct walk k = {.w = w, .ids = ids};
    k.room = specials ? max_tokens - 2 : max_tokens;
    if (specials)
        ids[k.counts.tokens++] = w->cls;
    walk_text(&k, text);
    if (specials)
        ids[k.counts.tokens++] = w->sep;
    return k.counts;
}

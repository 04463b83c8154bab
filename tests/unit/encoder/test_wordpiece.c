/* The tokeniser over a small vocabulary: each rule alone, the limits, hostile vocabularies and
 * texts. Equality with Hugging Face's is shown by tests/golden/encoder (test_wordpiece_golden.c)
 * and tests/conformance/test_wordpiece.py. */
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "router/encoder/wordpiece.h"

enum { UNK, CLS, SEP, A, B, CAFE, CA, _FE, _S, KA, _N, EURO, DOT, UP, ZHONG, _A, _E, PIECES };

static const char vocabulary[] = "[UNK]\n[CLS]\n[SEP]\na\nb\ncafe\nca\n##fe\n##s\n"
                                 "\xE1\x84\x80\xE1\x85\xA1\n##\xE1\x86\xAB\n\xE2\x82\xAC\n.\nUp\n"
                                 "\xE4\xB8\xAD\n##a\n##e\n";
static const struct wordpiece_options uncased = {true, true, true};

static struct wordpiece *make(const char *vocab, const struct wordpiece_options *opt)
{
    struct wordpiece *w = NULL;
    struct err_text t = {{0}};
    assert_int_equal(wordpiece_new(slice_str(vocab), opt, &w, &t), ERR_OK);
    return w;
}

/* Encodes a copy whose end is the end of its memory, so that ASan sees a byte too far. */
static struct wordpiece_counts encode(const struct wordpiece *w, struct slice text, bool specials,
                                      int32_t *ids, size_t max)
{
    char *copy = malloc(text.n ? text.n : 1);
    assert_non_null(copy);
    memcpy(copy, text.p, text.n);
    struct wordpiece_counts c = wordpiece_encode(w, slice_make(copy, text.n), specials, ids, max);
    free(copy);
    return c;
}

static void expect(const struct wordpiece *w, const char *text, const int32_t *want, size_t count)
{
    int32_t ids[64];
    struct wordpiece_counts c = encode(w, slice_str(text), false, ids, 64);
    if (c.tokens != count || memcmp(ids, want, count * sizeof *ids) != 0) {
        print_error("'%s':", text);
        for (size_t i = 0; i < c.tokens; i++)
            print_error(" %d", ids[i]);
        print_error("\n");
        fail();
    }
    assert_int_equal(c.bytes, strlen(text));
    assert_false(c.truncated);
}
#define EXPECT(w, text, ...)                                                                       \
    expect(w, text, (const int32_t[]){__VA_ARGS__},                                                \
           sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void rules(void **state)
{
    (void)state;
    const int32_t none = 0;
    struct wordpiece *w = make(vocabulary, &uncased);
    expect(w, "", &none, 0);
    expect(w, " \t\r\n\xC2\xA0\xE3\x80\x80", &none, 0);
    EXPECT(w, "a b", A, B);
    EXPECT(w, "Cafe CAF\xC3\x89 cafe\xCC\x81", CAFE, CAFE, CAFE);
    EXPECT(w, "cafes caa cafefe", CAFE, _S, CA, _A, CAFE, _FE);
    EXPECT(w, "cafex xcafe", UNK, UNK); /* one part is no piece: the whole word is none */
    EXPECT(w, "a.b..", A, DOT, B, DOT, DOT);
    EXPECT(w,
           "a\xE4\xB8\xAD\xE4\xB8\xAD"
           "b",
           A, ZHONG, ZHONG, B);
    EXPECT(w, "\xEA\xB0\x84", KA, _N); /* a Hangul syllable, by its letters */
    EXPECT(w, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xAB", KA, _N);
    EXPECT(w,
           "\xE2\x82\xAC"
           "a",
           EURO, _A); /* a currency sign is no punctuation */
    EXPECT(w,
           "c\xC2\xAD"
           "a\xE2\x80\x8D"
           "f\xEF\xBB\xBF"
           "e\x01",
           CAFE); /* as if not there */
    EXPECT(w,
           "ca\x0B"
           "fe ca\xC2\x85"
           "fe",
           CAFE, CAFE); /* control characters are no space */
    EXPECT(w,
           "ca\xEF\xBF\xBD"
           "fe",
           CAFE);
    wordpiece_free(w);
}

static void special_names_are_plain_text(void **state)
{
    (void)state;
    struct wordpiece *w = make(vocabulary, &uncased);
    EXPECT(w, "[CLS]", UNK, UNK, UNK);
    EXPECT(w, "a[SEP]b", A, UNK, UNK, UNK, B);
    wordpiece_free(w);
}

static void options(void **state)
{
    (void)state;
    struct wordpiece *cased = make(vocabulary, &(struct wordpiece_options){false, false, false});
    EXPECT(cased, "Up up caf\xC3\xA9 CA", UP, UNK, UNK, UNK);
    EXPECT(cased, "a\xE4\xB8\xAD", UNK);
    EXPECT(cased, "\xE4\xB8\xAD", ZHONG);
    wordpiece_free(cased);
    struct wordpiece *accents = make("[UNK]\n[CLS]\n[SEP]\n\xC3\xA9\ni\xCC\x87\n",
                                     &(struct wordpiece_options){true, false, true});
    EXPECT(accents, "\xC3\x89 e \xC4\xB0", 3, 0, 4);
    wordpiece_free(accents);
    struct digest a = wordpiece_digest(SLICE("x"), &uncased);
    struct digest b = wordpiece_digest(SLICE("y"), &uncased);
    struct digest c = wordpiece_digest(SLICE("x"), &(struct wordpiece_options){true, true, false});
    assert_false(digest_eq(a, b));
    assert_false(digest_eq(a, c));
    assert_true(digest_eq(a, wordpiece_digest(SLICE("x"), &uncased)));
}

/* Musical marks are combining, ordered, and not dropped: whatever order they come in, the word is
 * the same. */
static void marks_are_put_in_order(void **state)
{
    (void)state;
    /* U+302E (class 224) stands before U+1D16D (226); U+0591 (220, dropped) is no border, U+0903
     * (a starter) is. */
    struct wordpiece *w = make("[UNK]\n[CLS]\n[SEP]\n"
                               "a\xE3\x80\xAE\xF0\x9D\x85\xAD\n"
                               "a\xF0\x9D\x85\xAD\xE0\xA4\x83\xE3\x80\xAE\n",
                               &uncased);
    EXPECT(w, "a\xE3\x80\xAE\xF0\x9D\x85\xAD", 3);
    EXPECT(w, "a\xF0\x9D\x85\xAD\xE3\x80\xAE", 3);
    EXPECT(w, "a\xF0\x9D\x85\xAD\xD6\x91\xE3\x80\xAE", 3);
    EXPECT(w, "a\xF0\x9D\x85\xAD\xE0\xA4\x83\xE3\x80\xAE", 4);
    wordpiece_free(w);
}

static void limits(void **state)
{
    (void)state;
    struct wordpiece *w = make(vocabulary, &uncased);
    int32_t ids[8];
    struct wordpiece_counts c = encode(w, SLICE("a b cafes  "), true, ids, 6);
    assert_int_equal(c.tokens, 6);
    assert_int_equal(ids[0], CLS);
    assert_int_equal(ids[4], _S);
    assert_int_equal(ids[5], SEP);
    assert_false(c.truncated);
    assert_int_equal(c.bytes, 11);
    c = encode(w, SLICE("a b cafes  "), true, ids, 5); /* the last word is cut in two */
    assert_int_equal(c.tokens, 5);
    assert_int_equal(ids[3], CAFE);
    assert_int_equal(ids[4], SEP);
    assert_true(c.truncated);
    assert_int_equal(c.bytes, 3);
    c = encode(w, SLICE("a b cafe"), false, ids, 2);
    assert_true(c.truncated);
    assert_int_equal(c.bytes, 3);
    c = encode(w, SLICE("a b \xC2\xAD\xCC\x81"), false, ids, 2); /* nothing more that counts */
    assert_false(c.truncated);
    assert_int_equal(c.bytes, 8);
    c = encode(w, SLICE("x"), true, ids, 2);
    assert_true(c.truncated);
    assert_int_equal(c.unknown, 0);
    assert_int_equal(ids[1], SEP);
    c = encode(w, SLICE("a.b"), false, ids, 0);
    assert_int_equal(c.tokens, 0);
    assert_true(c.truncated);
    c = encode(w, SLICE("x a x"), false, ids, 8);
    assert_int_equal(c.unknown, 2);
    wordpiece_free(w);
}

static void long_words_are_unknown(void **state)
{
    (void)state;
    struct wordpiece *w = make(vocabulary, &uncased);
    static const struct slice letters[] = {
        {"a", 1}, {"\xC3\xA1", 2}, {"a\xCC\x81", 3}, {"\xF0\x9F\x98\x80", 4}};
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++) {
        for (int n = 99; n <= 102; n++) {
            char text[512] = "";
            int32_t ids[128];
            size_t at = 0;
            for (int j = 0; j < n; j++, at += letters[i].n)
                memcpy(text + at, letters[i].p, letters[i].n);
            struct wordpiece_counts c = encode(w, slice_make(text, at), false, ids, 128);
            bool known = n <= 100 && letters[i].p[0] != '\xF0';
            assert_int_equal(c.tokens, known ? n : 1);
            assert_int_equal(ids[0], known ? A : UNK);
        }
    }
    wordpiece_free(w);
}

/* Whatever does not decode is dropped, as U+FFFD is; nothing that is well-formed goes with it. */
static void ill_formed_utf8(void **state)
{
    (void)state;
    struct wordpiece *w = make(vocabulary, &uncased);
    EXPECT(w,
           "ca\xFF"
           "fe",
           CAFE);
    EXPECT(w,
           "ca\xE2\x82"
           "fe",
           CAFE);
    EXPECT(w,
           "ca\xF0\x9F\x98"
           "fe \xC0\xAF b",
           CAFE, B);
    EXPECT(w, "\xED\xA0\x80 a \xF4\x90\x80\x80", A);
    EXPECT(w, "a \xE4\xB8", A);
    /* cut at every byte: no read beyond the end, never more than what is there */
    static const char text[] =
        "Caf\xC3\xA9 \xE4\xB8\xAD\xF0\x9F\x98\x80\xEA\xB0\x84 a.b\xE3\x80\xAE";
    for (size_t n = 0; n < sizeof text; n++) {
        int32_t ids[32];
        for (size_t max = 0; max < 12; max++) {
            struct wordpiece_counts c = encode(w, slice_make(text, n), false, ids, max);
            assert_true(c.tokens <= max && c.bytes <= n && (c.truncated || c.bytes == n));
        }
    }
    wordpiece_free(w);
}

static void hostile_text_takes_linear_time(void **state)
{
    (void)state;
    enum { BYTES = 10 << 20, MAX = 512 };
    struct wordpiece *w = make(vocabulary, &uncased);
    static const struct slice patterns[] = {
        {"a", 1},
        {" ", 1},
        {"\xFF", 1},
        {"##", 2},
        {"\xCC\x81", 2},
        {"\xE3\x80\xAE\xF0\x9D\x85\xAD", 7},
        {"\x01", 1},
        {"x\xCC\xA7\xCC\x81", 5},
        {"\xEA\xB0\x84", 3},
    };
    char *text = mem_alloc(BYTES);
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        int32_t ids[MAX];
        for (size_t at = 0; at < BYTES; at++)
            text[at] = patterns[i].p[at % patterns[i].n];
        int64_t begin = clock_mono_us();
        struct wordpiece_counts c = wordpiece_encode(w, slice_make(text, BYTES), true, ids, MAX);
        assert_true(c.tokens >= 2 && c.tokens <= MAX);
        /* with sanitizers on a busy machine; quadratic work would take hours */
        assert_true(clock_mono_us() - begin < 20000000);
    }
    free(text);
    wordpiece_free(w);
}

static void broken_vocabularies(void **state)
{
    (void)state;
    static const struct {
        const char *vocab, *message;
    } cases[] = {
        {"", "vocabulary of 0 lines: the piece [UNK] is missing"},
        {"[UNK]\n[CLS]\n", "vocabulary of 2 lines: the piece [SEP] is missing"},
        {"[UNK]\n[SEP]\n", "vocabulary of 2 lines: the piece [CLS] is missing"},
        {"[UNK]\n[CLS]\n[SEP]\na\nb\na\n",
         "vocabulary, line 6: the piece 'a' is already on line 4"},
        {"[UNK]\n##a\n##a\n", "vocabulary, line 3: the piece '##a' is already on line 2"},
        {"[UNK]\na\n\nb\n", "vocabulary, line 3: an empty piece"},
        {"[UNK]\n\xC3\n", "vocabulary, line 2: the piece is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wordpiece *w = NULL;
        struct err_text t = {{0}};
        assert_int_equal(wordpiece_new(slice_str(cases[i].vocab), &uncased, &w, &t),
                         ERR_BAD_WEIGHTS);
        assert_string_equal(t.s, cases[i].message);
    }
    struct wordpiece *w = make("[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##a", &uncased);
    EXPECT(w, "aa", 3, 4);
    wordpiece_free(w);
}

static void pieces_and_ids(void **state)
{
    (void)state;
    struct wordpiece *w = make(vocabulary, &uncased);
    assert_int_equal(wordpiece_size(w), PIECES);
    for (int32_t id = 0; id < PIECES; id++)
        assert_int_equal(wordpiece_id(w, wordpiece_piece(w, id)), id);
    assert_true(slice_eq(wordpiece_piece(w, _FE), SLICE("##fe")));
    assert_int_equal(wordpiece_id(w, SLICE("fe")), -1);
    assert_int_equal(wordpiece_id(w, SLICE("caf")), -1);
    assert_int_equal(wordpiece_id(w, SLICE("")), -1);
    assert_int_equal(wordpiece_id(w, SLICE("##")), -1);
    wordpiece_free(w);
}

/* Enough pieces that the trie grows, packs and leaves crowded ground: each is found again. */
static void large_vocabulary(void **state)
{
    (void)state;
    enum { COUNT = 60000, LINE = 16 };
    char *vocab = mem_alloc(COUNT * LINE + 64), *at = vocab;
    at += snprintf(at, 64, "[UNK]\n[CLS]\n[SEP]\n");
    for (unsigned i = 0; i < COUNT; i++)
        at += snprintf(at, LINE, "%s%x\n", i % 2 ? "##" : "", i * 2654435761u >> 4);
    struct wordpiece *w = make(vocab, &uncased);
    for (int32_t id = 0; (size_t)id < wordpiece_size(w); id++)
        assert_int_equal(wordpiece_id(w, wordpiece_piece(w, id)), id);
    wordpiece_free(w);
    free(vocab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules),
        cmocka_unit_test(special_names_are_plain_text),
        cmocka_unit_test(options),
        cmocka_unit_test(marks_are_put_in_order),
        cmocka_unit_test(limits),
        cmocka_unit_test(long_words_are_unknown),
        cmocka_unit_test(ill_formed_utf8),
        cmocka_unit_test(hostile_text_takes_linear_time),
        cmocka_unit_test(broken_vocabularies),
        cmocka_unit_test(pieces_and_ids),
        cmocka_unit_test(large_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

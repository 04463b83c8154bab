/* base/json_scan against jansson: the same verdict on a corpus and on seeded mutations of it, the
 * same values inside. All levels of SIMD must agree to the byte on the place of the fault.
 * Differences to jansson that json_scan.h wants, each recognised by jansson's own reason: numbers
 * beyond a double, lone surrogate escapes, \u0000 in keys (all accepted here) and nesting beyond
 * 512 (refused here). jansson 2.14 also overlooks a raw NUL right behind a number or a word. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/json_scan_int.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "tests/unit/base/jansson_peer.h"

static json_run_fn levels[3];
static size_t level_count;

static int setup(void **state)
{
    (void)state;
    levels[level_count++] = json_run_portable;
#if defined(__x86_64__)
    levels[level_count++] = json_run_sse2;
    if (__builtin_cpu_supports("avx2"))
        levels[level_count++] = json_run_avx2;
    else
        print_message("no AVX2 here: that level is not tested\n");
#endif
    return 0;
}

/* The verdict, having checked that every level gives it with the same fault. */
static bool validate(struct slice text, size_t *at)
{
    size_t first_at = SIZE_MAX, other_at = SIZE_MAX;
    bool first = json_validate_with(levels[0], text, &first_at);
    for (size_t i = 1; i < level_count; i++) {
        other_at = SIZE_MAX;
        if (json_validate_with(levels[i], text, &other_at) != first || other_at != first_at)
            fail_msg("level %zu differs: fault at %zu, not %zu, in: %.*s", i, other_at, first_at,
                     SLICE_ARG(text));
    }
    if (at)
        *at = first_at;
    return first;
}

/* ---- grammar ---- */

static const char *const good[] = {
    "0",
    "-0",
    "1",
    "-12.50e+3",
    "0.1E-10",
    "1e999",
    "123456789012345678901234567890",
    "true",
    "false",
    "null",
    "{\"\\u0000k\":1}",
    "\"\"",
    " \t\r\n[] ",
    "{}",
    "[[],{}]",
    "{\"\":0}",
    "{\"a\":1,\"a\":2}",
    "[1,2,3]",
    "[ 1 , 2 ]",
    "{ \"a\" : [ true , { \"b\" : null } ] , \"c\" : \"d\" }",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uD83D\\uDE00\"",
    "\"\\ud800\"",
    "\"\\udc00\\ud800x\"",
    "\"\\u0000\"",
    "\"\x7f\"",
    "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf"
    "\xbf\"",
    "{\"model\":\"auto\",\"messages\":[{\"role\":\"user\",\"content\":\"Say \\\"hi\\\"\\nplease "
    "\xe2\x9c\x93\"}],"
    "\"temperature\":0.7,\"stream\":true,\"stop\":null,\"logit_bias\":{\"50256\":-100},\"n\":1}",
    "{\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" "
    "a\"},\"logprobs\":null,"
    "\"finish_reason\":null}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3e0}}",
};

static const struct {
    const char *text;
    size_t at; /* offset of the fault */
} bad[] = {
    {"", 0},
    {" ", 1},
    {"\xef\xbb\xbf{}", 0},
    {"{", 1},
    {"[", 1},
    {"}", 0},
    {"]", 0},
    {"[}", 1},
    {"{]", 1},
    {"[1,]", 3},
    {"[,1]", 1},
    {"[1 2]", 3},
    {"[1,,2]", 3},
    {"{,}", 1},
    {"{\"a\"}", 4},
    {"{\"a\":}", 5},
    {"{\"a\":1,}", 7},
    {"{\"a\" 1}", 5},
    {"{a:1}", 1},
    {"{'a':1}", 1},
    {"{1:1}", 1},
    {"{\"a\":1 \"b\":2}", 7},
    {"{\"a\":1]", 6},
    {"[1}", 2},
    {"1 2", 2},
    {"{}{}", 2},
    {"[]x", 2},
    {"nul", 3},
    {"nulL", 3},
    {"True", 0},
    {"truefalse", 4},
    {"nan", 1},
    {"Infinity", 0},
    {"-Infinity", 1},
    {"-", 1},
    {"+1", 0},
    {"01", 1},
    {"-01", 2},
    {"00", 1},
    {"1.", 2},
    {".5", 0},
    {"1.e5", 2},
    {"1e", 2},
    {"1e+", 3},
    {"1e+x", 3},
    {"0x10", 1},
    {"1_000", 1},
    {"--1", 1},
    {"1.2.3", 3},
    {"\"", 1},
    {"\"abc", 4},
    {"\"\\", 2},
    {"\"\\\"", 3},
    {"\"\\x41\"", 2},
    {"\"\\u12\"", 5},
    {"\"\\u12g4\"", 5},
    {"\"\\u", 3},
    {"\"\\U0041\"", 2},
    {"\"\\'\"", 2},
    {"\"a\nb\"", 2},
    {"\"\t\"", 1},
    {"\"\x1f\"", 1},
    {"'a'", 0},
    {"// c\n1", 0},
    {"/**/1", 0},
    {"\v1", 0},
    {"\xc2\xa0"
     "1",
     0},
    {"\"\x80\"", 1},
    {"\"a\xff\"", 2},
    {"\"\xc0\xaf\"", 1},
    {"\"\xc3\"", 1},
    {"\"\xe2\x82\"", 1},
    {"\"\xed\xa0\x80\"", 1},
    {"\"\xf4\x90\x80\x80\"", 1},
    {"\"\xf0\x9f\x98", 1},
    {"\"\xc3\xa4\xc3\"", 3},
    {"\"\xe0\x80\x80\"", 1},
    {"\"\xf0\x80\x80\x80\"", 1},
    {"\"\xf8\x88\x80\x80\x80\"", 1},
};

static void test_good_and_bad(void **state)
{
    (void)state;
    size_t at;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!validate(slice_str(good[i]), &at))
            fail_msg("refused at %zu: %s", at, good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (validate(slice_str(bad[i].text), &at) || at != bad[i].at)
            fail_msg("accepted, or fault at %zu: %s", at, bad[i].text);
    assert_false(validate(slice_make("1\0", 2), &at));
    assert_int_equal(at, 1);
    assert_false(validate(slice_make("\"a\0b\"", 5), &at));
    assert_int_equal(at, 2);
    assert_false(validate(slice_make("[\0]", 3), NULL));
    assert_false(json_validate(slice_make(NULL, 0), NULL));
}

static void test_depth(void **state)
{
    (void)state;
    char text[5 * JSON_MAX_DEPTH + 16];
    for (int depth = JSON_MAX_DEPTH - 1; depth <= JSON_MAX_DEPTH + 1; depth++)
        for (unsigned mix = 0; mix < 3; mix++) { /* arrays, objects, both in turn */
            size_t n = 0, at = 0;
            for (int i = 0; i < depth; i++) {
                bool object = mix == 1 || (mix == 2 && i % 2);
                memcpy(text + n, object ? "{\"\":" : "[", object ? 4 : 1);
                n += object ? 4 : 1;
            }
            size_t last_open = n - (mix == 1 || (mix == 2 && (depth - 1) % 2) ? 4 : 1);
            text[n++] = '1';
            for (int i = depth; i-- > 0;)
                text[n++] = mix == 1 || (mix == 2 && i % 2) ? '}' : ']';
            assert_int_equal(validate(slice_make(text, n), &at), depth <= JSON_MAX_DEPTH);
            if (depth > JSON_MAX_DEPTH)
                assert_int_equal(at, last_open);
            char saved = text[n - 2]; /* the stack knows what to close, also far down */
            text[n - 2] = saved == '}' ? ']' : '}';
            assert_false(validate(slice_make(text, n), NULL));
        }
}

/* ---- UTF-8 ---- */

static size_t encode_as(uint32_t c, size_t bytes, char *out)
{
    static const unsigned char leads[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = bytes; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(leads[bytes] | c);
    return bytes;
}

/* Every number that one to four bytes can hold, in every length that can hold it: only the shortest
 * form of a code point that is no surrogate is text. Placed so that it straddles the blocks of
 * every level in turn. */
static void test_all_code_points_and_overlongs(void **state)
{
    (void)state;
    static const uint32_t beyond[] = {0, 0x80, 0x800, 0x10000, 0x200000};
    char text[80];
    memset(text, 'x', sizeof text);
    text[0] = '"';
    for (uint32_t c = 0; c < 0x200000; c++)
        for (size_t bytes = c < 0x80      ? 2
                            : c < 0x800   ? 2
                            : c < 0x10000 ? 3
                                          : 4;
             bytes <= 4; bytes++) {
            size_t shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
            bool expect = bytes == shortest && c < 0x110000 && !(c >= 0xD800 && c <= 0xDFFF);
            size_t pos = 1 + c % 34;
            assert_true(c < beyond[bytes]);
            size_t n = pos + encode_as(c, bytes, text + pos);
            text[n] = '"';
            if (json_validate(slice_make(text, n + 1), NULL) != expect)
                fail_msg("U+%04X in %zu bytes", c, bytes);
            memset(text + pos, 'x', n + 1 - pos);
        }
    for (unsigned pair = 0; pair < 0x10000; pair++) {
        char two[] = {'"', (char)(pair >> 8), (char)pair, '"'};
        unsigned a = pair >> 8, b = pair & 0xFF;
        bool plain = a >= 0x20 && a < 0x80 && b >= 0x20 && b < 0x80 && a != '"' && b != '"' &&
                     a != '\\' && b != '\\';
        bool escape = a == '\\' && b && strchr("\"\\/bfnrt", (int)b);
        bool wide = a >= 0xC2 && a <= 0xDF && b >= 0x80 && b <= 0xBF;
        assert_int_equal(validate(slice_make(two, 4), NULL), plain || escape || wide);
    }
}

/* ---- reading beyond the end ---- */

/* Texts that end right before a page that may not be touched: a read behind the end is a crash. */
static void test_ends_at_a_page_boundary(void **state)
{
    (void)state;
    static const char filler[] =
        "plain text, then \\\" an escape \xe2\x82\xac and more plain text to fill several blocks "
        "of "
        "32 bytes \xf0\x9f\x98\x80 and an odd tail \\u00e4 with\\n everything in it, thrice over.";
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + page, page, PROT_NONE), 0);
    for (size_t n = 0; n < sizeof filler; n++) {
        char *text = map + page - n - 1;
        text[0] = '"';
        memcpy(text + 1, filler, n);
        validate(slice_make(text, n + 1), NULL); /* cut off anywhere */
        memset(text + 1, 'a', n);
        for (size_t k = 0; k < level_count; k++)
            assert_ptr_equal(levels[k](text + 1, map + page), map + page);
        if (n) {
            map[page - 1] = '"';
            assert_true(validate(slice_make(text, n + 1), NULL));
        }
    }
    munmap(map, 2 * page);
}

/* The inner loops agree on every byte value at every position of a block. */
static void test_runs_agree(void **state)
{
    (void)state;
    char text[100];
    for (size_t pos = 0; pos < sizeof text; pos++)
        for (int c = 0; c < 256; c++) {
            memset(text, 'a', sizeof text);
            text[pos] = (char)c;
            bool stops = c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
            for (size_t k = 0; k < level_count; k++)
                assert_ptr_equal(levels[k](text, text + sizeof text),
                                 text + (stops ? pos : sizeof text));
        }
}

/* ---- against jansson ---- */

static json_t *peer_parse(struct slice text, json_error_t *error)
{
    return json_loadb(text.p ? text.p : "", text.n,
                      JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, error);
}

/* Did jansson refuse for one of the reasons that json_scan.h sets aside? */
static bool documented_difference(const json_error_t *error)
{
    enum json_error_code code = json_error_code(error);
    return code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
           strncmp(error->text, "invalid Unicode", 15) == 0;
}

static void compare_value(struct json_value v, const json_t *peer);

static char *decoded(struct slice quoted, size_t *n)
{
    *n = json_string_decode(quoted, NULL, 0);
    char *s = malloc(*n + 1);
    assert_non_null(s);
    assert_int_equal(json_string_decode(quoted, s, *n), *n);
    s[*n] = '\0';
    return s;
}

static void compare_object(struct json_value v, const json_t *peer)
{
    struct json_iter it;
    struct json_member m, last;
    size_t distinct = 0;
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m)) {
        size_t n;
        assert_ptr_equal(v.text.p + m.begin + 1, m.key.p);
        assert_ptr_equal(v.text.p + m.end, m.value.text.p + m.value.text.n);
        char *key = decoded(slice_make(m.key.p - 1, m.key.n + 2), &n);
        assert_int_equal(m.key_escaped, memchr(m.key.p, '\\', m.key.n) != NULL);
        assert_true(json_key_is(&m, slice_make(key, n)));
        assert_true(json_get(v, slice_make(key, n), &last));
        distinct += last.begin == m.begin;
        const json_t *child = json_object_getn(peer, key, n);
        assert_non_null(child);
        compare_value(last.value, child);
        free(key);
    }
    assert_int_equal(distinct, json_object_size(peer));
}

static void compare_array(struct json_value v, const json_t *peer)
{
    struct json_iter it;
    struct json_member m;
    size_t n = 0;
    json_iter_init(&it, v);
    while (json_iter_next(&it, &m))
        compare_value(m.value, json_array_get(peer, n++));
    assert_int_equal(n, json_array_size(peer));
    assert_int_equal(json_count(v), json_array_size(peer));
}

static void compare_value(struct json_value v, const json_t *peer)
{
    size_t n;
    double d;
    char *s;
    assert_true(json_validate(v.text, NULL));
    switch (json_typeof(peer)) {
    case JANSSON_OBJECT:
        assert_int_equal(v.type, JSON_OBJECT);
        compare_object(v, peer);
        break;
    case JANSSON_ARRAY:
        assert_int_equal(v.type, JSON_ARRAY);
        compare_array(v, peer);
        break;
    case JANSSON_STRING:
        assert_int_equal(v.type, JSON_STRING);
        s = decoded(v.text, &n);
        assert_int_equal(n, json_string_length(peer));
        assert_memory_equal(s, json_string_value(peer), n);
        free(s);
        break;
    case JANSSON_REAL:
        assert_int_equal(v.type, JSON_NUMBER);
        assert_true(json_number(v, &d));
        assert_memory_equal(&d, &(double){json_real_value(peer)}, sizeof d);
        break;
    case JANSSON_TRUE:
        assert_int_equal(v.type, JSON_TRUE);
        break;
    case JANSSON_FALSE:
        assert_int_equal(v.type, JSON_FALSE);
        break;
    case JANSSON_NULL:
        assert_int_equal(v.type, JSON_NULL);
        break;
    case JANSSON_INTEGER:
        fail_msg("integers are read as reals here");
    }
}

/* The members that the scan reports are those that the walk finds. */
struct follower {
    struct json_iter it;
    size_t offset; /* of the object in the text */
};

static bool follow(const struct json_member *m, void *ctx)
{
    struct follower *f = ctx;
    struct json_member walked;
    assert_true(json_iter_next(&f->it, &walked));
    assert_int_equal(m->begin, walked.begin + f->offset);
    assert_int_equal(m->end, walked.end + f->offset);
    assert_ptr_equal(m->key.p, walked.key.p);
    assert_int_equal(m->key.n, walked.key.n);
    assert_int_equal(m->key_escaped, walked.key_escaped);
    assert_int_equal(m->value.type, walked.value.type);
    assert_ptr_equal(m->value.text.p, walked.value.text.p);
    assert_int_equal(m->value.text.n, walked.value.text.n);
    return true;
}

static struct json_value whole_value(struct slice text)
{
    static const char *const space = " \t\r\n";
    while (text.n && strchr(space, text.p[0]))
        text = slice_from(text, 1);
    while (text.n && strchr(space, text.p[text.n - 1]))
        text.n--;
    return (struct json_value){json_type_of(text.p[0]), text};
}

struct tally {
    size_t accepted, refused, differences;
};

/* Everything that must hold for one text, whatever it is. It is copied to a block of its own size
 * for ASan. */
static void check_text(struct slice given, struct tally *t)
{
    char *copy = malloc(given.n ? given.n : 1);
    assert_non_null(copy);
    if (given.n)
        memcpy(copy, given.p, given.n);
    struct slice text = slice_make(copy, given.n);
    json_error_t error;
    json_t *peer = peer_parse(text, &error);
    size_t at = SIZE_MAX, object_at = SIZE_MAX;
    bool ok = validate(text, &at);
    if (ok != (peer != NULL)) {
        bool overlooked_nul = !ok && at < text.n && text.p[at] == '\0';
        if (!overlooked_nul && (!ok || !documented_difference(&error)))
            fail_msg("we say %d, jansson \"%s\": %.*s", ok, peer ? "ok" : error.text,
                     SLICE_ARG(text));
        t->differences++;
    }
    if (ok) {
        t->accepted++;
        struct json_value v = whole_value(text);
        struct follower f = {.offset = (size_t)(v.text.p - text.p)};
        json_iter_init(&f.it, v);
        bool is_object = json_scan_object(text, follow, &f, &object_at);
        assert_int_equal(is_object, v.type == JSON_OBJECT);
        struct json_member none;
        assert_true(!is_object || !json_iter_next(&f.it, &none));
        if (peer)
            compare_value(v, peer);
    } else {
        t->refused++;
        assert_true(at <= text.n);
        /* Up to the fault the text was the beginning of something valid, or already whole. */
        size_t again = SIZE_MAX;
        if (!validate(slice_make(text.p, at), &again))
            assert_int_equal(again, at);
    }
    json_decref(peer);
    free(copy);
}

static void test_corpus_against_jansson(void **state)
{
    (void)state;
    struct tally t = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct slice s = slice_str(good[i]);
        for (size_t n = 0; n <= s.n; n++) /* and every way to cut it off */
            check_text(slice_make(s.p, n), &t);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        check_text(slice_str(bad[i].text), &t);
    assert_true(t.accepted >= sizeof good / sizeof *good);
    assert_true(t.refused >= sizeof bad / sizeof *bad);
    assert_true(t.differences >= 4); /* the corpus holds each documented difference */
}

static size_t mutate(char *text, size_t n, size_t cap, struct rng *r)
{
    static const char *const pieces[] = {
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\\"",
        "\\u",
        "\\ud83d",
        "\\u0000",
        "\\udE00",
        "null",
        "true",
        "-",
        ".",
        "e",
        "0",
        "1e400",
        "\xc3\xa4",
        "\xe2\x82",
        "\xf0\x9f\x98\x80",
        "\x80",
        "\n",
        "\x01",
        "\"k\":",
        "[]",
        "{}",
        " ",
        "0123456789abcdef0123456789ABCDEF",
        "\"\"",
        "1.5e-7",
        ",\"a\":[1,2]",
    };
    size_t at = rng_below(r, n + 1);
    size_t span = rng_below(r, 9) < n - at ? rng_below(r, n - at + 1) % 9 : 0;
    switch (rng_below(r, 4)) {
    case 0: /* another byte */
        if (at < n)
            text[at] = (char)rng_u64(r);
        return n;
    case 1: /* cut out */
        memmove(text + at, text + at + span, n - at - span);
        return n - span;
    case 2: { /* put in */
        const char *piece = pieces[rng_below(r, sizeof pieces / sizeof *pieces)];
        size_t len = strlen(piece);
        if (n + len > cap)
            return n;
        memmove(text + at + len, text + at, n - at);
        memcpy(text + at, piece, len);
        return n + len;
    }
    default: /* repeat */
        if (n + span > cap)
            return n;
        memmove(text + at + span, text + at, n - at);
        return n + span;
    }
}

static void test_mutations_against_jansson(void **state)
{
    (void)state;
    struct tally t = {0};
    struct rng r;
    rng_seed(&r, 20261121);
    for (int round = 0; round < 60000; round++) {
        char text[1024];
        const char *base = good[rng_below(&r, sizeof good / sizeof *good)];
        size_t n = strlen(base);
        memcpy(text, base, n);
        for (uint64_t times = 1 + rng_below(&r, 3); times > 0; times--)
            n = mutate(text, n, sizeof text, &r);
        check_text(slice_make(text, n), &t);
    }
    assert_true(t.accepted > 3000 && t.refused > 3000 && t.differences > 30);
}

/* ---- members ---- */

struct listener {
    size_t calls, stop_after;
    struct json_member last;
};

static bool listen(const struct json_member *m, void *ctx)
{
    struct listener *l = ctx;
    l->last = *m;
    return ++l->calls != l->stop_after;
}

static void test_members(void **state)
{
    (void)state;
    static const char text[] =
        " { \"a\" : 1 , \"b\\u0063\":[ {\"a\":2} ],\"d\":{\"x\":{}},\"a\":\"\\\"\"} ";
    struct listener l = {0};
    size_t at = 0;
    assert_true(json_scan_object(slice_str(text), listen, &l, &at));
    assert_int_equal(l.calls, 4);
    assert_true(slice_eq(l.last.key, SLICE("a")));
    assert_true(slice_eq(l.last.value.text, SLICE("\"\\\"\"")));
    assert_true(slice_eq(slice_make(text + l.last.begin, l.last.end - l.last.begin),
                         SLICE("\"a\":\"\\\"\"")));

    l = (struct listener){.stop_after = 2}; /* stops listening, not validating */
    assert_true(json_scan_object(slice_str(text), listen, &l, &at));
    assert_int_equal(l.calls, 2);
    assert_true(l.last.key_escaped);
    assert_true(json_key_is(&l.last, SLICE("bc")));
    assert_false(json_key_is(&l.last, SLICE("b")));
    assert_false(json_key_is(&l.last, SLICE("bcd")));
    assert_false(json_key_is(&l.last, SLICE("b\\u0063")));
    assert_true(slice_eq(l.last.value.text, SLICE("[ {\"a\":2} ]")));
    l = (struct listener){.stop_after = 1};
    assert_false(json_scan_object(SLICE("{\"a\":1,\"b\":}"), listen, &l, &at));
    assert_int_equal(at, 11);

    static const char *const no_objects[] = {"[1]", "1", "\"{}\"", "null", "", " "};
    for (size_t i = 0; i < sizeof no_objects / sizeof *no_objects; i++) {
        l = (struct listener){0};
        assert_false(json_scan_object(slice_str(no_objects[i]), listen, &l, &at));
        assert_int_equal(l.calls, 0);
    }
    assert_false(json_scan_object(SLICE("[1]"), listen, &l, &at));
    assert_int_equal(at, 0);

    struct json_member m;
    struct json_value object = whole_value(slice_str(text));
    assert_true(json_get(object, SLICE("a"), &m));
    assert_int_equal(m.value.type, JSON_STRING); /* the last one wins */
    assert_true(json_get(object, SLICE("bc"), &m));
    assert_false(json_get(object, SLICE("x"), &m));
    assert_false(json_get(whole_value(SLICE("[1]")), SLICE("a"), &m));
    struct json_iter it;
    json_iter_init(&it, whole_value(SLICE("17")));
    assert_false(json_iter_next(&it, &m));
}

/* ---- strings ---- */

static void test_decode(void **state)
{
    (void)state;
    static const struct {
        const char *quoted;
        struct slice raw;
    } rows[] = {
        {"\"\"", {"", 0}},
        {"\"abc\"", {"abc", 3}},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", {"\"\\/\b\f\n\r\t", 8}},
        {"\"\\u0000x\"", {"\0x", 2}},
        {"\"\\u00e4\\u20AC\\uD83D\\ude00\"", {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9}},
        {"\"\\ud83d\"", {"\xef\xbf\xbd", 3}},
        {"\"\\ud83dx\"", {"\xef\xbf\xbdx", 4}},
        {"\"\\ud83d\\n\"", {"\xef\xbf\xbd\n", 4}},
        {"\"\\ud83d\\u0041\"",
         {"\xef\xbf\xbd"
          "A",
          4}},
        {"\"\\ude00\\ud83d\"", {"\xef\xbf\xbd\xef\xbf\xbd", 6}},
        {"\"\\ud83d\\ud83d\\ude00\"", {"\xef\xbf\xbd\xf0\x9f\x98\x80", 7}},
        {"\"\xc3\xa4\"", {"\xc3\xa4", 2}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[16];
        size_t n = json_string_decode(slice_str(rows[i].quoted), out, sizeof out);
        assert_true(slice_eq(slice_make(out, n), rows[i].raw));
    }
    assert_int_equal(json_string_decode(SLICE(""), NULL, 0), 0);
    assert_int_equal(json_string_decode(SLICE("\""), NULL, 0), 0);
}

static bool all_utf8(struct slice s)
{
    while (s.n) {
        size_t n = utf8_char_bytes(s.p, s.n);
        if (n == 0)
            return false;
        s = slice_from(s, n);
    }
    return true;
}

/* Output cut at each size: nothing beyond it, the same length reported, a beginning of the whole,
 * whole characters. */
static void check_cuts(size_t (*code)(struct slice, char *, size_t), struct slice in,
                       struct slice whole)
{
    for (size_t cap = 0; cap < whole.n; cap++) {
        char out[512];
        memset(out, 0x7F, sizeof out);
        assert_int_equal(code(in, out, cap), whole.n);
        for (size_t i = cap; i < whole.n + 8; i++)
            assert_int_equal(out[i], 0x7F);
        size_t n = cap;
        while (n && out[n - 1] == 0x7F)
            n--;
        assert_memory_equal(out, whole.p, n);
        assert_true(all_utf8(slice_make(out, n)));
        assert_true(cap - n < 6); /* less than one character or escape is given away */
    }
}

static void test_encode_decode_round_trip(void **state)
{
    (void)state;
    struct rng r;
    rng_seed(&r, 7);
    for (int round = 0; round < 3000; round++) {
        char raw[64], quoted[6 * 64 + 2], back[64];
        size_t n = 0;
        while (n < 40 && rng_below(&r, 30)) {
            uint32_t c = (uint32_t)rng_below(&r, rng_below(&r, 3) ? 0x7F : 0x110000);
            if (c >= 0xD800 && c <= 0xDFFF)
                continue;
            if (c < 0x80)
                raw[n++] = (char)c;
            else
                n += encode_as(c, c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, raw + n);
        }
        size_t q = json_string_encode(slice_make(raw, n), quoted, sizeof quoted);
        assert_true(q <= 6 * n + 2);
        assert_true(validate(slice_make(quoted, q), NULL));
        assert_int_equal(json_string_encode(slice_make(raw, n), NULL, 0), q);
        assert_int_equal(json_string_decode(slice_make(quoted, q), back, sizeof back), n);
        assert_memory_equal(back, raw, n);
        if (round % 10 == 0) {
            check_cuts(json_string_encode, slice_make(raw, n), slice_make(quoted, q));
            check_cuts(json_string_decode, slice_make(quoted, q), slice_make(raw, n));
        }
    }
}

static void test_encode_anything(void **state)
{
    (void)state;
    static const struct {
        struct slice raw;
        const char *quoted;
    } rows[] = {
        {{NULL, 0}, "\"\""},
        {{"a\"b\\c/\b\f\n\r\t\x01\x1f\x7f", 14},
         "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
        {{"a\0b", 3}, "\"a\\u0000b\""},
        {{"\xff\xc3", 2}, "\"\xef\xbf\xbd\xef\xbf\xbd\""},
        {{"\xed\xa0\x80", 3}, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {{"x\xe2\x82", 3}, "\"x\xef\xbf\xbd\xef\xbf\xbd\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[64];
        size_t n = json_string_encode(rows[i].raw, out, sizeof out);
        assert_true(slice_eq(slice_make(out, n), slice_str(rows[i].quoted)));
    }
    struct rng r;
    rng_seed(&r, 8);
    for (int round = 0; round < 5000;
         round++) { /* random bytes always become valid JSON within the promised size */
        char raw[50], out[6 * 50 + 2];
        size_t n = rng_below(&r, sizeof raw + 1);
        for (size_t i = 0; i < n; i++)
            raw[i] = (char)rng_u64(&r);
        size_t q = json_string_encode(slice_make(raw, n), out, sizeof out);
        assert_true(q <= 6 * n + 2);
        assert_true(validate(slice_make(out, q), NULL));
    }
}

/* ---- numbers ---- */

static struct json_value number(const char *text)
{
    return (struct json_value){JSON_NUMBER, slice_str(text)};
}

static void test_int(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t v;
    } rows[] = {{"0", 0},
                {"-0", 0},
                {"12", 12},
                {"-3", -3},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const refused[] = {
        "1.0", "1e3", "9223372036854775808", "-9223372036854775809", "99999999999999999999999999",
        "",    "-"};
    int64_t v;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_true(json_int(number(rows[i].text), &v));
        assert_int_equal(v, rows[i].v);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        assert_false(json_int(number(refused[i]), &v));
    assert_false(json_int((struct json_value){JSON_STRING, SLICE("\"1\"")}, &v));
}

static void check_number(const char *text)
{
    double v = 0, expect = strtod(text, NULL);
    bool ok = json_number(number(text), &v);
    if (ok != (isfinite(expect) != 0) || (ok && memcmp(&v, &expect, sizeof v) != 0))
        fail_msg("%s: %d %.17g, not %.17g", text, ok, v, expect);
}

static void test_number(void **state)
{
    (void)state;
    static const char *const edges[] = {
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "1",
        "0.1",
        "0.7",
        "1e22",
        "1e23",
        "1e-22",
        "9007199254740993",
        "123456789012345",
        "1234567890123456789",
        "2.2250738585072011e-308",
        "4.9e-324",
        "2.4e-324",
        "2.5e-324",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e400",
        "-1e400",
        "1e-400",
        "0e99999999999999999999",
        "1e-99999999999999999999",
        "1e99999999999999999999",
        "0.000000000000000000000000000000000000001e39",
        "100000000000000000000000000000e-29",
        "9007199254740992.99999999999999999999999999999999999999999",
        "179769313486231580793e289",
    };
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        check_number(edges[i]);
    struct rng r;
    rng_seed(&r, 9);
    for (int round = 0; round < 20000; round++) {
        char text[64];
        snprintf(text, sizeof text, "%s%u.%0*ue%d", rng_below(&r, 2) ? "-" : "",
                 (unsigned)rng_below(&r, 100000), 1 + (int)rng_below(&r, 12), (unsigned)rng_u64(&r),
                 (int)rng_below(&r, 660) - 330);
        check_number(text);
    }
    /* Halfway between two doubles, decided by a digit far behind: 2^53 + 1, then 900 zeros, then a
     * one. */
    char text[1024];
    size_t n = (size_t)snprintf(text, sizeof text, "9007199254740993.");
    memset(text + n, '0', 900);
    snprintf(text + n + 900, 4, "0");
    check_number(text);
    snprintf(text + n + 900, 4, "1");
    check_number(text);
    snprintf(text, sizeof text, "1%0900d", 0); /* 900 digits of integer, far beyond a double */
    check_number(text);
    snprintf(text, sizeof text, "1%0900de-890", 0);
    check_number(text);
    double v;
    assert_false(json_number((struct json_value){JSON_TRUE, SLICE("true")}, &v));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_and_bad),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_all_code_points_and_overlongs),
        cmocka_unit_test(test_ends_at_a_page_boundary),
        cmocka_unit_test(test_runs_agree),
        cmocka_unit_test(test_corpus_against_jansson),
        cmocka_unit_test(test_mutations_against_jansson),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode_decode_round_trip),
        cmocka_unit_test(test_encode_anything),
        cmocka_unit_test(test_int),
        cmocka_unit_test(test_number),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}

/* Texts to vectors through encoder.h, on a small model folder with random weights: passes, limits,
 * prefixes, empty and huge texts, and what cannot be had. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"
#include "model_folder.h"
#include "router/encoder/encoder.h"

static char folder[64];

static int folder_setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/weir-test-encoder-XXXXXX");
    assert_non_null(mkdtemp(folder));
    model_folder_write(folder, LAYOUT_MINILM);
    return 0;
}

static int folder_teardown(void **state)
{
    (void)state;
    model_folder_remove(folder);
    return 0;
}

static struct encoder *open_with(struct encoder_options opt)
{
    struct encoder *e = NULL;
    struct err_text t = {{0}};
    opt.folder = folder;
    if (encoder_open(&opt, &e, &t))
        fail_msg("%s", t.s);
    return e;
}

static void refused(struct encoder_options opt, const char *why)
{
    struct encoder *e = NULL;
    struct err_text t = {{0}};
    opt.folder = folder;
    assert_int_equal(encoder_open(&opt, &e, &t), ERR_INVALID_POLICY);
    assert_null(e);
    if (!strstr(t.s, why))
        fail_msg("'%s' does not speak of '%s'", t.s, why);
}

static void what_cannot_be_had_is_refused(void **state)
{
    (void)state;
    struct encoder_options cpu = {.device = ENCODER_CPU, .precision = -1};
    struct encoder_options o = cpu;
    o.precision = ENCODER_FP16;
    refused(o, "fp16");
    o.precision = ENCODER_PRECISIONS;
    refused(o, "another");
    o = cpu;
    o.isa = "sse9";
    refused(o, "sse9");
    o.isa = "reference"; /* which has no int8 */
    refused(o, "reference");
    o = cpu;
    o.max_tokens = FOLDER_MAX_TOKENS + 1;
    refused(o, "17 tokens");
    o.max_tokens = 1;
    refused(o, "1 tokens");
    struct encoder *e = NULL;
    struct err_text t = {{0}};
    o = (struct encoder_options){.folder = "/nonexistent", .device = ENCODER_CPU, .precision = -1};
    assert_int_equal(encoder_open(&o, &e, &t), ERR_BAD_WEIGHTS);
    assert_non_null(strstr(t.s, "/nonexistent"));
}

static void facts_tell_what_was_opened(void **state)
{
    (void)state;
    struct encoder *all =
        open_with((struct encoder_options){.device = ENCODER_CPU, .precision = -1});
    struct encoder *cut = open_with((struct encoder_options){
        .device = ENCODER_CPU, .precision = ENCODER_FP32, .max_tokens = 8, .isa = "portable"});
    struct encoder_facts a = encoder_facts(all), c = encoder_facts(cut);
    assert_int_equal(a.precision, ENCODER_INT8);
    assert_int_equal(a.dim, FOLDER_HIDDEN);
    assert_int_equal(a.max_tokens, FOLDER_MAX_TOKENS);
    assert_true(a.weight_bytes > 0);
    assert_string_equal(c.kernels, "fp32-portable");
    assert_int_equal(c.max_tokens, 8);
    /* Another limit is another space; another precision another kind of vector in it. */
    assert_false(fingerprint_eq(a.space, c.space));
    assert_true(fingerprint_eq(a.full, fingerprint_full(a.space, ENCODER_INT8)));
    assert_true(fingerprint_eq(c.full, fingerprint_full(c.space, ENCODER_FP32)));
    encoder_free(all);
    encoder_free(cut);
    encoder_free(NULL);
}

/* One text by itself. */
static void embed_one(struct encoder_session *s, struct slice text, float *v,
                      struct wordpiece_counts *c)
{
    struct encoder_vectors out = {.embedding = v, .features = v + FOLDER_HIDDEN};
    struct err_text t = {{0}};
    assert_int_equal(encoder_embed(s, &text, 1, &out, c, &t), ERR_OK);
}

/* More texts than a pass takes, empty ones among them: each as if it were alone. */
static void many_texts_are_many_passes(void **state)
{
    (void)state;
    enum { COUNT = 700 };
    struct encoder *e = open_with((struct encoder_options){.device = ENCODER_CPU, .precision = -1});
    struct encoder_session *s = encoder_session_new(e);
    struct slice *texts = mem_zalloc(COUNT, sizeof *texts);
    struct wordpiece_counts *counts = mem_zalloc(COUNT, sizeof *counts), one;
    float *v = mem_zalloc(3 * COUNT * FOLDER_HIDDEN, sizeof *v), alone[3 * FOLDER_HIDDEN];
    static const char words[] = "a b c d e f g h i j k l m n o p q r s t u v w x y z";
    for (size_t i = 0; i < COUNT; i++)
        texts[i] = slice_make(words, i * 7 % sizeof words);
    struct encoder_vectors out = {.embedding = v, .features = v + COUNT * FOLDER_HIDDEN};
    struct err_text t = {{0}};
    assert_int_equal(encoder_embed(s, texts, COUNT, &out, counts, &t), ERR_OK);
    for (size_t i = 0; i < COUNT; i++) {
        embed_one(s, texts[i], alone, &one);
        assert_int_equal(one.tokens, counts[i].tokens);
        assert_memory_equal(alone, v + i * FOLDER_HIDDEN, FOLDER_HIDDEN * sizeof *v);
        assert_memory_equal(alone + FOLDER_HIDDEN, out.features + i * 2 * FOLDER_HIDDEN,
                            2 * FOLDER_HIDDEN * sizeof *v);
    }
    assert_int_equal(encoder_embed(s, NULL, 0, &out, NULL, &t), ERR_OK);
    encoder_session_free(s);
    encoder_free(e);
    free(texts);
    free(counts);
    free(v);
}

static void long_and_empty_texts(void **state)
{
    (void)state;
    enum { HUGE = 1 << 20 };
    struct encoder *e = open_with((struct encoder_options){.device = ENCODER_CPU, .precision = -1});
    struct encoder_session *s = encoder_session_new(e);
    char *text = mem_alloc(HUGE);
    memset(text, 'a', HUGE);
    for (size_t i = 1; i < HUGE; i += 2)
        text[i] = ' ';
    float whole[3 * FOLDER_HIDDEN], cut[3 * FOLDER_HIDDEN], none[3 * FOLDER_HIDDEN];
    struct wordpiece_counts c;
    embed_one(s, slice_make(text, HUGE), whole, &c);
    assert_true(c.truncated);
    assert_int_equal(c.tokens, FOLDER_MAX_TOKENS);
    assert_true(c.bytes < 64);
    embed_one(s, slice_make(text, c.bytes), cut, &c);
    assert_memory_equal(whole, cut, sizeof cut);
    embed_one(s, slice_make(NULL, 0), none, &c);
    assert_int_equal(c.tokens, 2);
    double square = 0;
    for (int i = 0; i < FOLDER_HIDDEN; i++)
        square += (double)none[i] * none[i];
    assert_float_equal(square, 1, 1e-5);
    encoder_session_free(s);
    encoder_free(e);
    free(text);
}

/* A model with a prefix: the caller's bytes are counted without it. */
static void prefixes_are_put_before(void **state)
{
    (void)state;
    char e5[] = "/tmp/weir-test-encoder-XXXXXX";
    assert_non_null(mkdtemp(e5));
    model_folder_write(e5, LAYOUT_E5);
    struct encoder *e = NULL;
    struct err_text t = {{0}};
    struct encoder_options o = {.folder = e5, .device = ENCODER_CPU, .precision = -1};
    if (encoder_open(&o, &e, &t))
        fail_msg("%s", t.s);
    struct encoder_session *s = encoder_session_new(e);
    int32_t ids[FOLDER_MAX_TOKENS], starts[2] = {0, 0};
    struct wordpiece_counts joined =
        wordpiece_encode(encoder_tokenizer(e), SLICE("query: a b"), true, ids, FOLDER_MAX_TOKENS);
    starts[1] = (int32_t)joined.tokens;
    float by_text[3 * FOLDER_HIDDEN], by_ids[3 * FOLDER_HIDDEN];
    struct wordpiece_counts c;
    embed_one(s, SLICE("a b"), by_text, &c);
    assert_int_equal(c.tokens, joined.tokens);
    assert_int_equal(c.bytes, 3);
    struct encoder_vectors out = {.embedding = by_ids, .features = by_ids + FOLDER_HIDDEN};
    struct encoder_batch batch = {.ids = ids, .starts = starts, .count = 1};
    assert_int_equal(encoder_run(s, &batch, &out, &t), ERR_OK);
    assert_memory_equal(by_text, by_ids, sizeof by_ids);
    embed_one(s, SLICE(""), by_text, &c);
    assert_int_equal(c.bytes, 0);
    encoder_session_free(s);
    encoder_free(e);
    model_folder_remove(e5);
}

static void foreign_ids_are_refused(void **state)
{
    (void)state;
    struct encoder *e = open_with((struct encoder_options){.device = ENCODER_CPU, .precision = -1});
    struct encoder_session *s = encoder_session_new(e);
    float v[3 * FOLDER_HIDDEN];
    struct encoder_vectors out = {.embedding = v};
    static const struct {
        int32_t id, from, to;
    } bad[] = {
        {-1, 0, 3}, {FOLDER_VOCABULARY, 0, 3}, {1, 0, 0}, {1, 0, FOLDER_MAX_TOKENS + 1}, {1, 1, 3},
        {1, 0, -2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t ids[FOLDER_MAX_TOKENS + 1] = {0}, starts[2] = {bad[i].from, bad[i].to};
        struct encoder_batch batch = {.ids = ids, .starts = starts, .count = 1};
        struct err_text t = {{0}};
        ids[2] = bad[i].id;
        assert_int_equal(encoder_run(s, &batch, &out, &t), ERR_INTERNAL);
        assert_true(t.s[0] != '\0');
    }
    encoder_session_free(s);
    encoder_free(e);
}

/* Sequences of one token, more than a pass holds: encoder_run splits them. */
static void batches_of_any_size_run(void **state)
{
    (void)state;
    enum { COUNT = 1500 };
    struct encoder *e = open_with((struct encoder_options){.device = ENCODER_CPU, .precision = -1});
    struct encoder_session *s = encoder_session_new(e);
    int32_t *ids = mem_zalloc(COUNT, sizeof *ids), *starts = mem_zalloc(COUNT + 1, sizeof *starts);
    float *v = mem_zalloc(COUNT * FOLDER_HIDDEN, sizeof *v), one[FOLDER_HIDDEN];
    for (int i = 0; i < COUNT; i++) {
        ids[i] = i % FOLDER_VOCABULARY;
        starts[i + 1] = i + 1;
    }
    struct encoder_batch batch = {.ids = ids, .starts = starts, .count = COUNT};
    struct encoder_vectors out = {.embedding = v}, single = {.embedding = one};
    struct err_text t = {{0}};
    assert_int_equal(encoder_run(s, &batch, &out, &t), ERR_OK);
    for (int i = 0; i < COUNT; i += 97) {
        batch = (struct encoder_batch){.ids = ids + i, .starts = starts, .count = 1};
        assert_int_equal(encoder_run(s, &batch, &single, &t), ERR_OK);
        assert_memory_equal(one, v + i * FOLDER_HIDDEN, sizeof one);
    }
    encoder_session_free(s);
    encoder_free(e);
    free(ids);
    free(starts);
    free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_cannot_be_had_is_refused),
        cmocka_unit_test(facts_tell_what_was_opened),
        cmocka_unit_test(many_texts_are_many_passes),
        cmocka_unit_test(long_and_empty_texts),
        cmocka_unit_test(prefixes_are_put_before),
        cmocka_unit_test(foreign_ids_are_refused),
        cmocka_unit_test(batches_of_any_size_run),
    };
    return cmocka_run_group_tests(tests, folder_setup, folder_teardown);
}

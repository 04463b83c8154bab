/* The static tier: the table inside the program, its sums on every instruction set, and files that
 * are not such tables. */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/safetensors.h"
#include "router/encoder/static_table_int.h"

static const char vocabulary[] = "[UNK]\n[CLS]\n[SEP]\na\nb\n##b\n";
enum { PIECES = 6, DIM = 16 };

/* A small table, and ways to spoil it. */
struct parts {
    int8_t rows[PIECES * DIM];
    float scale[PIECES];
    struct tensor tensors[3];
    struct tensor_pair metadata[4];
};

static void parts_init(struct parts *p)
{
    *p = (struct parts){.scale = {0, 0, 0, 0.5f, 0.25f, 1}};
    p->rows[3 * DIM] = 6;      /* a: 3 along the first axis */
    p->rows[4 * DIM + 1] = 16; /* b: 4 along the second */
    p->rows[5 * DIM] = -3;     /* ##b: -3 along the first */
    p->tensors[0] = (struct tensor){.name = SLICE("rows"),
                                    .dtype = TENSOR_I8,
                                    .rank = 2,
                                    .shape = {PIECES, DIM},
                                    .count = PIECES * DIM,
                                    .data = {(const char *)p->rows, sizeof p->rows}};
    p->tensors[1] = (struct tensor){.name = SLICE("scale"),
                                    .dtype = TENSOR_F32,
                                    .rank = 1,
                                    .shape = {PIECES},
                                    .count = PIECES,
                                    .data = {(const char *)p->scale, sizeof p->scale}};
    p->tensors[2] = (struct tensor){.name = SLICE("vocab"),
                                    .dtype = TENSOR_U8,
                                    .rank = 1,
                                    .shape = {sizeof vocabulary - 1},
                                    .count = sizeof vocabulary - 1,
                                    .data = slice_str(vocabulary)};
    p->metadata[0] = (struct tensor_pair){SLICE("format"), SLICE(STATIC_TABLE_FORMAT)};
    p->metadata[1] = (struct tensor_pair){SLICE("lower_case"), SLICE("true")};
    p->metadata[2] = (struct tensor_pair){SLICE("strip_accents"), SLICE("true")};
    p->metadata[3] = (struct tensor_pair){SLICE("split_cjk"), SLICE("true")};
}

static enum err open_parts(const struct parts *p, struct static_table **out, struct err_text *t)
{
    char path[] = "/tmp/weir-static-table-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(safetensors_write(path, p->tensors, 3, p->metadata, 4, t), ERR_OK);
    enum err err = static_table_open(path, out, t);
    unlink(path);
    return err;
}

static void sums_and_scales(void **state)
{
    (void)state;
    struct parts p;
    struct static_table *s;
    struct err_text t = {{0}};
    struct wordpiece_counts c;
    float v[DIM];
    parts_init(&p);
    assert_int_equal(open_parts(&p, &s, &t), ERR_OK);
    assert_int_equal(static_table_dim(s), DIM);
    assert_true(static_table_embed(s, SLICE("A b"), v, &c));
    assert_int_equal(c.tokens, 2);
    assert_float_equal(v[0], 0.6, 1e-6);
    assert_float_equal(v[1], 0.8, 1e-6);
    assert_true(static_table_embed(s, SLICE("b a"), v, NULL)); /* words in no order */
    assert_float_equal(v[0], 0.6, 1e-6);
    /* nothing known, nothing at all, and two that cancel out: no direction */
    static const char *const empty[] = {"x y", "", "[CLS]", "ab"};
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++) {
        v[0] = 7;
        assert_false(static_table_embed(s, slice_str(empty[i]), v, &c));
        for (size_t d = 0; d < DIM; d++)
            assert_true(v[d] == 0);
    }
    static_table_free(s);
}

static void long_texts_are_cut(void **state)
{
    (void)state;
    struct parts p;
    struct static_table *s;
    struct err_text t = {{0}};
    struct wordpiece_counts c;
    float v[DIM];
    char text[2 * (STATIC_MAX_TOKENS + 1)];
    parts_init(&p);
    assert_int_equal(open_parts(&p, &s, &t), ERR_OK);
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, i < 2 * STATIC_MAX_TOKENS ? "a " : "b ", 2);
    assert_true(static_table_embed(s, slice_make(text, sizeof text), v, &c));
    assert_true(c.truncated);
    assert_int_equal(c.tokens, STATIC_MAX_TOKENS);
    assert_true(v[1] == 0);
    static_table_free(s);
}

static void refuse(struct parts *p, const char *why)
{
    struct static_table *s = NULL;
    struct err_text t = {{0}};
    assert_int_equal(open_parts(p, &s, &t), ERR_BAD_WEIGHTS);
    if (!strstr(t.s, why))
        fail_msg("'%s' does not say '%s'", t.s, why);
    parts_init(p);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    struct parts p;
    parts_init(&p);
    p.metadata[0].value = SLICE("pt");
    refuse(&p, "format");
    p.metadata[1].value = SLICE("maybe");
    refuse(&p, "lower_case is 'maybe'");
    p.tensors[0].name = SLICE("row");
    refuse(&p, "no tensor rows of I8 [6][dim]");
    p.tensors[0].dtype = TENSOR_U8;
    refuse(&p, "no tensor rows");
    p.tensors[0].shape[0] = DIM;
    p.tensors[0].shape[1] = PIECES;
    refuse(&p, "no tensor rows");
    p.tensors[0].shape[1] = DIM / 4;
    p.tensors[0].count = PIECES * DIM / 4;
    p.tensors[0].data.n /= 4;
    refuse(&p, "vectors of 4");
    p.tensors[1].name = SLICE("scales");
    refuse(&p, "no tensor scale");
    p.scale[4] = NAN;
    refuse(&p, "");
    p.tensors[2].dtype = TENSOR_I8;
    refuse(&p, "no tensor vocab");
    p.tensors[2].data.n = p.tensors[2].count = p.tensors[2].shape[0] = 12;
    refuse(&p, "[SEP] is missing");
}

static void instruction_sets_agree(void **state)
{
    (void)state;
    static const char *const sets[] = {"avx2", "avx512"};
    const struct static_table *s = static_table_builtin();
    size_t dim = (size_t)static_table_dim(s);
    float *want = mem_zalloc(dim, sizeof *want), *got = mem_zalloc(dim, sizeof *got);
    static_table_sum_fn portable = static_table_sum("portable");
    struct rng rng;
    rng_seed(&rng, 3);
    assert_null(static_table_sum("mmx"));
    for (int round = 0; round < 300; round++) {
        int32_t ids[40];
        size_t count = rng_below(&rng, 40);
        for (size_t i = 0; i < count; i++)
            ids[i] = (int32_t)rng_below(&rng, wordpiece_size(static_table_tokenizer(s)));
        bool known = portable(s, ids, count, want);
        for (size_t k = 0; k < sizeof sets / sizeof *sets; k++) {
            static_table_sum_fn sum = static_table_sum(sets[k]);
            if (!sum)
                continue;
            assert_int_equal(sum(s, ids, count, got), known);
            assert_memory_equal(got, want, dim * sizeof *got);
        }
    }
    free(want);
    free(got);
}

static float cosine(const char *a, const char *b)
{
    const struct static_table *s = static_table_builtin();
    size_t dim = (size_t)static_table_dim(s);
    float x[STATIC_TABLE_MAX_DIM], y[STATIC_TABLE_MAX_DIM], sum = 0;
    assert_true(static_table_embed(s, slice_str(a), x, NULL));
    assert_true(static_table_embed(s, slice_str(b), y, NULL));
    for (size_t d = 0; d < dim; d++)
        sum += x[d] * y[d];
    return sum;
}

static void the_shipped_table(void **state)
{
    (void)state;
    const struct static_table *s = static_table_builtin();
    struct fingerprint none = {{0}};
    assert_int_equal(wordpiece_size(static_table_tokenizer(s)), 30522);
    assert_false(fingerprint_eq(static_table_space(s), none));
    assert_float_equal(cosine("hello world", "hello world"), 1, 1e-5);
    float same = cosine("My card has not arrived yet", "I am still waiting for my new card");
    float other = cosine("My card has not arrived yet", "Prove that every finite group is cyclic");
    assert_true(same > 0.5f);
    assert_true(other < 0.2f);
    assert_true(cosine("Solve the equation x^2 = 4 for x", "Find the roots of the polynomial") >
                cosine("Solve the equation x^2 = 4 for x", "book a table for two at a restaurant"));
    /* a mean sees no order: why this tier never serves a cache hit */
    assert_float_equal(cosine("change EUR to USD", "change USD to EUR"), 1, 1e-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_and_scales),         cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(other_files_are_refused), cmocka_unit_test(instruction_sets_agree),
        cmocka_unit_test(the_shipped_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

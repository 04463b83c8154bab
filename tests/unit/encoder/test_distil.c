/* Distillation: its numerics against what they must satisfy, and the whole way on a small model. */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model_folder.h"
#include "router/encoder/static_table.h"
#include "router/encoder/train/distil.h"
#include "router/encoder/train/distil_report.h"
#include "router/encoder/train/eigen.h"
#include "router/encoder/train/token_bags.h"

/* ---- eigenvectors ---- */

static double dot(const double *x, const double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

static void eigenvectors_are_eigenvectors(void **state)
{
    (void)state;
    enum { N = 37 };
    static double a[N * N], copy[N * N], vectors[N * N];
    double values[N];
    struct rng rng;
    rng_seed(&rng, 5);
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j <= i; j++)
            a[i * N + j] = a[j * N + i] = rng_unit(&rng) - 0.5;
    memcpy(copy, a, sizeof a);
    eigen_symmetric(a, N, values, vectors);
    for (size_t i = 0; i < N; i++) {
        const double *v = vectors + i * N;
        assert_true(i == 0 || values[i] <= values[i - 1]);
        for (size_t j = 0; j < N; j++) {
            assert_float_equal(dot(copy + j * N, v, N), values[i] * v[j], 1e-12);
            assert_float_equal(dot(v, vectors + j * N, N), i == j, 1e-12);
        }
        size_t top = 0;
        for (size_t j = 1; j < N; j++)
            top = fabs(v[j]) > fabs(v[top]) ? j : top;
        assert_true(v[top] > 0);
    }
}

static void eigenvalues_of_special_matrices(void **state)
{
    (void)state;
    double values[3], vectors[9];
    double zero[9] = {0}, ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1},
           diagonal[9] = {1, 0, 0, 0, 3, 0, 0, 0, 2};
    eigen_symmetric(zero, 3, values, vectors);
    assert_true(values[0] == 0 && values[2] == 0);
    eigen_symmetric(ones, 3, values, vectors);
    assert_float_equal(values[0], 3, 1e-12);
    assert_float_equal(values[1], 0, 1e-12);
    assert_float_equal(vectors[0], sqrt(1.0 / 3), 1e-12);
    eigen_symmetric(diagonal, 3, values, vectors);
    assert_true(values[0] == 3 && values[1] == 2 && values[2] == 1);
    assert_true(vectors[1] == 1 && vectors[5] == 1 && vectors[6] == 1);
}

/* ---- the fit ---- */

enum { TOKENS = 9, DIM = 5, BAGS = 60 };

static void random_problem(struct token_bags *b, float *target, float *table)
{
    struct rng rng;
    rng_seed(&rng, 11);
    token_bags_init(b);
    for (size_t i = 0; i < BAGS; i++) {
        int32_t ids[6];
        size_t n = rng_below(&rng, 7); /* some are empty; the last token is in none */
        for (size_t k = 0; k < n; k++)
            ids[k] = (int32_t)rng_below(&rng, TOKENS - 1);
        token_bags_add(b, ids, n);
    }
    for (size_t i = 0; i < BAGS * DIM; i++)
        target[i] = (float)rng_unit(&rng) - 0.5f;
    for (size_t i = 0; i < TOKENS * DIM; i++)
        table[i] = (float)rng_unit(&rng) - 0.5f;
}

/* At the optimum the gradient A'(A E - Y) + ridge (E - E0) is zero. */
static void the_fit_is_the_optimum(void **state)
{
    (void)state;
    struct token_bags b;
    float target[BAGS * DIM], e0[TOKENS * DIM], e[TOKENS * DIM], mean[DIM];
    double gradient[TOKENS * DIM];
    const double ridge = 0.3;
    random_problem(&b, target, e0);
    memcpy(e, e0, sizeof e);
    token_bags_fit(&(struct token_fit){&b, target, e, TOKENS, DIM, ridge, 40, 1, NULL, NULL});
    for (size_t i = 0; i < TOKENS * DIM; i++)
        gradient[i] = ridge * ((double)e[i] - (double)e0[i]);
    for (size_t bag = 0; bag < BAGS; bag++) {
        size_t begin = b.starts[bag], end = b.starts[bag + 1];
        token_bags_mean(&b, bag, e, DIM, mean);
        for (size_t i = begin; i < end; i++)
            for (size_t d = 0; d < DIM; d++)
                gradient[(size_t)b.ids[i] * DIM + d] +=
                    ((double)mean[d] - (double)target[bag * DIM + d]) / (double)(end - begin);
    }
    for (size_t i = 0; i < TOKENS * DIM; i++)
        assert_float_equal(gradient[i], 0, 1e-4);
    for (size_t d = 0; d < DIM; d++)
        assert_true(e[(TOKENS - 1) * DIM + d] == e0[(TOKENS - 1) * DIM + d]);
    assert_true(memcmp(e, e0, sizeof e) != 0);
    token_bags_clear(&b);
}

static void threads_change_nothing(void **state)
{
    (void)state;
    struct token_bags b;
    float target[BAGS * DIM], one[TOKENS * DIM], many[TOKENS * DIM];
    random_problem(&b, target, one);
    memcpy(many, one, sizeof one);
    token_bags_fit(&(struct token_fit){&b, target, one, TOKENS, DIM, 0.1, 7, 1, NULL, NULL});
    token_bags_fit(&(struct token_fit){&b, target, many, TOKENS, DIM, 0.1, 7, 8, NULL, NULL});
    assert_memory_equal(one, many, sizeof one);
    token_bags_clear(&b);
}

/* ---- the figures ---- */

static void figures_of_a_perfect_and_a_useless_table(void **state)
{
    (void)state;
    enum { N = 300, WIDTH = 8 };
    static float tokens[N * WIDTH], texts[N * WIDTH];
    static bool held_out[N];
    struct token_bags b;
    struct rng rng;
    double rank, neighbours;
    rng_seed(&rng, 2);
    token_bags_init(&b);
    for (int32_t i = 0; i < N; i++) {
        token_bags_add(&b, &i, 1);
        held_out[i] = i % 2;
        for (size_t d = 0; d < WIDTH; d++)
            tokens[(size_t)i * WIDTH + d] = texts[(size_t)i * WIDTH + d] =
                (float)rng_unit(&rng) - 0.5f;
    }
    struct distil_quality q = {&b, texts, tokens, held_out, WIDTH};
    distil_measure(&q, 3, &rank, &neighbours);
    assert_float_equal(rank, 1, 1e-9);
    assert_float_equal(neighbours, 1, 1e-9);
    for (size_t i = 0; i < N * WIDTH; i++)
        tokens[i] = (float)rng_unit(&rng) - 0.5f;
    distil_measure(&q, 3, &rank, &neighbours);
    assert_true(fabs(rank) < 0.1 && neighbours < 0.2);
    memset(held_out, 0, sizeof held_out);
    distil_measure(&q, 3, &rank, &neighbours);
    assert_true(isnan(rank) && isnan(neighbours));
    token_bags_clear(&b);
}

/* ---- the whole way ---- */

struct place {
    char dir[64], out[96];
    struct encoder *teacher;
    struct slice texts[120];
    size_t count;
    char words[120][32];
};

static int place_setup(void **state)
{
    struct place *p = mem_zalloc(1, sizeof *p);
    struct err_text t;
    snprintf(p->dir, sizeof p->dir, "/tmp/weir-distil-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    model_folder_write(p->dir, LAYOUT_MINILM);
    snprintf(p->out, sizeof p->out, "%s/table", p->dir);
    struct encoder_options opt = {.folder = p->dir, .precision = ENCODER_FP32, .isa = "reference"};
    if (encoder_open(&opt, &p->teacher, &t))
        fail_msg("%s", t.s);
    const struct wordpiece *w = encoder_tokenizer(p->teacher);
    struct rng rng;
    rng_seed(&rng, 4);
    for (p->count = 0; p->count < 120; p->count++) {
        char *text = p->words[p->count];
        size_t n = 0;
        for (int k = 0; k < 4; k++) {
            int32_t id = (int32_t)rng_below(&rng, wordpiece_size(w));
            struct slice piece = wordpiece_piece(w, id);
            n += (size_t)snprintf(text + n, sizeof p->words[0] - n, "%.*s ", SLICE_ARG(piece));
        }
        p->texts[p->count] = slice_make(text, n < 31 ? n : 31);
    }
    *state = p;
    return 0;
}

static int place_teardown(void **state)
{
    struct place *p = *state;
    encoder_free(p->teacher);
    unlink(p->out);
    model_folder_remove(p->dir);
    free(p);
    return 0;
}

static char *make(const struct place *p, int threads, struct distil_report *r, size_t *n)
{
    struct distil_options opt = {.teacher = p->teacher,
                                 .texts = p->texts,
                                 .text_count = p->count,
                                 .dim = FOLDER_HIDDEN,
                                 .ridge = 0.01,
                                 .threads = threads};
    struct err_text t;
    char *bytes;
    if (distil(&opt, p->out, r, &t) || atomic_file_read(p->out, 1 << 20, &bytes, n, &t))
        fail_msg("%s", t.s);
    return bytes;
}

static void the_same_table_every_time(void **state)
{
    struct place *p = *state;
    struct distil_report r;
    struct static_table *s;
    struct err_text t;
    size_t n, m;
    char *one = make(p, 1, &r, &n), *two = make(p, 3, &r, &m);
    assert_int_equal(n, m);
    assert_memory_equal(one, two, n);
    assert_int_equal(r.fitted + r.held_out, p->count);
    assert_true(r.held_out > 5 && r.fitted > r.held_out);
    size_t held_out = 0;
    for (size_t i = 0; i < p->count; i++)
        held_out += distil_held_out(p->texts[i]);
    assert_int_equal(held_out, r.held_out);
    /* the names of special tokens are no language */
    assert_true(r.tokens > 0 && r.tokens < FOLDER_VOCABULARY);
    assert_true(r.rank > r.rank_before);
    assert_int_equal(static_table_parse(slice_make(one, n), &s, &t), ERR_OK);
    assert_int_equal(static_table_dim(s), FOLDER_HIDDEN);
    float v[FOLDER_HIDDEN];
    assert_false(static_table_embed(s, SLICE("[UNK]"), v, NULL));
    static_table_free(s);
    free(one);
    free(two);
}

static void refuse(struct place *p, struct distil_options opt, const char *why)
{
    struct distil_report r;
    struct err_text t;
    opt.teacher = p->teacher;
    opt.texts = p->texts;
    opt.threads = 1;
    assert_int_equal(distil(&opt, p->out, &r, &t), ERR_BAD_REQUEST);
    assert_string_equal(t.s, why);
}

static void what_cannot_be_made_is_refused(void **state)
{
    struct place *p = *state;
    refuse(p, (struct distil_options){.text_count = p->count, .dim = 16, .ridge = 1},
           "a table of 16 dimensions: a multiple of 8 up to the model's 8 is possible");
    refuse(p, (struct distil_options){.text_count = p->count, .dim = 4, .ridge = 1},
           "a table of 4 dimensions: a multiple of 8 up to the model's 8 is possible");
    refuse(p, (struct distil_options){.text_count = p->count, .dim = 8, .ridge = 0},
           "the ridge must be above 0");
    refuse(p, (struct distil_options){.text_count = 0, .dim = 8, .ridge = 1},
           "0 texts to fit 8 dimensions: there must be more texts than dimensions");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eigenvectors_are_eigenvectors),
        cmocka_unit_test(eigenvalues_of_special_matrices),
        cmocka_unit_test(the_fit_is_the_optimum),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(figures_of_a_perfect_and_a_useless_table),
        cmocka_unit_test_setup_teardown(the_same_table_every_time, place_setup, place_teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_made_is_refused, place_setup,
                                        place_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Speed of the static tier: micro_static TEXTS [ISA], one text per line, with the table inside the
 * program. Prints texts per second of one core, whole and for the sums alone, best of several
 * rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/atomic_file.h"
#include "base/mem.h"
#include "router/encoder/static_table_int.h"

enum { ROUNDS = 9 };

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct text {
    struct slice bytes;
    int32_t *ids; /* owned */
    size_t tokens;
};

static struct text *read_texts(struct slice rest, size_t *count, size_t *tokens)
{
    const struct wordpiece *w = static_table_tokenizer(static_table_builtin());
    struct text *texts = NULL;
    size_t cap = 0;
    while (rest.n) {
        const char *end = memchr(rest.p, '\n', rest.n);
        struct slice line = slice_make(rest.p, end ? (size_t)(end - rest.p) : rest.n);
        rest = slice_from(rest, line.n + 1);
        if (*count == cap)
            texts = mem_resize(texts, cap = cap ? 2 * cap : 1024, sizeof *texts);
        struct text *x = &texts[(*count)++];
        *x = (struct text){line, mem_alloc((line.n + 1) * sizeof(int32_t)), 0};
        x->tokens = wordpiece_encode(w, line, false, x->ids,
                                     line.n < STATIC_MAX_TOKENS ? line.n : STATIC_MAX_TOKENS)
                        .tokens;
        *tokens += x->tokens;
    }
    return texts;
}

int main(int argc, char **argv)
{
    const struct static_table *s = static_table_builtin();
    static_table_sum_fn sum = static_table_sum(argc > 2 ? argv[2] : NULL);
    float out[STATIC_TABLE_MAX_DIM], check = 0;
    size_t count = 0, tokens = 0, n;
    struct err_text t;
    char *all;
    if (argc < 2 || !sum || atomic_file_read(argv[1], (size_t)1 << 30, &all, &n, &t)) {
        fprintf(stderr, "usage: micro_static TEXTS [avx512|avx2|portable]\n");
        return 2;
    }
    struct text *texts = read_texts(slice_make(all, n), &count, &tokens);
    double whole = 1e9, sums = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        double begin = cpu_s();
        for (size_t i = 0; i < count; i++) {
            static_table_embed(s, texts[i].bytes, out, NULL);
            check += out[0];
        }
        double middle = cpu_s();
        for (size_t i = 0; i < count; i++) {
            sum(s, texts[i].ids, texts[i].tokens, out);
            check += out[0];
        }
        double end = cpu_s();
        whole = middle - begin < whole ? middle - begin : whole;
        sums = end - middle < sums ? end - middle : sums;
    }
    printf("%zu texts of %.1f tokens, %d dimensions: %.0f texts/s (%.2f us each), sums alone %.2f "
           "us (check %g)\n",
           count, (double)tokens / (double)count, static_table_dim(s), (double)count / whole,
           1e6 * whole / (double)count, 1e6 * sums / (double)count, (double)check);
    for (size_t i = 0; i < count; i++)
        free(texts[i].ids);
    free(texts);
    free(all);
    return 0;
}

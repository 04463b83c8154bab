/* Speed of the tokeniser alone: micro_tokenizer VOCAB TEXTS [MAX_TOKENS], one text per line.
 * Prints one line: MB/s, tokens/s and microseconds per text, of the best of several rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/mem.h"
#include "router/encoder/wordpiece.h"

enum { ROUNDS = 9, LIMIT = 4096 };

static struct slice read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) {
        perror(path);
        exit(2);
    }
    size_t n = (size_t)ftell(f);
    char *bytes = mem_alloc(n + 1);
    rewind(f);
    if (fread(bytes, 1, n, f) != n) {
        perror(path);
        exit(2);
    }
    fclose(f);
    return slice_make(bytes, n);
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct tally {
    size_t texts, bytes, tokens, unknown;
};

static struct tally one_round(const struct wordpiece *w, struct slice rest, size_t max_tokens)
{
    int32_t ids[LIMIT];
    struct tally sum = {0};
    while (rest.n) {
        const char *end = memchr(rest.p, '\n', rest.n);
        struct slice line = slice_make(rest.p, end ? (size_t)(end - rest.p) : rest.n);
        rest = slice_from(rest, line.n + 1);
        struct wordpiece_counts c = wordpiece_encode(w, line, true, ids, max_tokens);
        sum.texts++;
        sum.bytes += c.bytes;
        sum.tokens += c.tokens;
        sum.unknown += c.unknown;
    }
    return sum;
}

int main(int argc, char **argv)
{
    struct wordpiece *w;
    struct err_text t;
    if (argc < 3) {
        fprintf(stderr, "usage: micro_tokenizer VOCAB TEXTS [MAX_TOKENS]\n");
        return 2;
    }
    size_t max_tokens = argc > 3 ? strtoul(argv[3], NULL, 10) : LIMIT;
    struct slice vocab = read_file(argv[1]), texts = read_file(argv[2]);
    if (wordpiece_new(vocab, &(struct wordpiece_options){true, true, true}, &w, &t)) {
        fprintf(stderr, "%s\n", t.s);
        return 2;
    }
    struct tally sum = {0};
    double best = 1e9;
    for (int i = 0; i < ROUNDS; i++) {
        double begin = cpu_s();
        sum = one_round(w, texts, max_tokens < LIMIT ? max_tokens : LIMIT);
        double took = cpu_s() - begin;
        best = took < best ? took : best;
    }
    printf("%zu texts, %zu bytes, %zu tokens, %.2f%% unknown: %.1f MB/s, %.1f M tokens/s, %.2f "
           "us/text\n",
           sum.texts, sum.bytes, sum.tokens,
           100.0 * (double)sum.unknown / (double)(sum.tokens ? sum.tokens : 1),
           1e-6 * (double)sum.bytes / best, 1e-6 * (double)sum.tokens / best,
           1e6 * best / (double)(sum.texts ? sum.texts : 1));
    wordpiece_free(w);
    free((void *)(uintptr_t)vocab.p);
    free((void *)(uintptr_t)texts.p);
    return 0;
}

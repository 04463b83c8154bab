/* The tokeniser as a filter, for comparison with another one:
 *
 *   wordpiece_pipe VOCAB [lower] [strip] [cjk] [specials] [max=N]
 *
 * stdin:  per text a little-endian u32 of its bytes, then the bytes
 * stdout: per text a u32 of its ids, then each id as i32; then u32 unknown, bytes covered,
 * truncated
 *
 * (little-endian machines only; a test tool) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "router/encoder/wordpiece.h"

static char *read_file(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    size_t cap = 1 << 20;
    char *bytes = mem_alloc(cap);
    size_t got;
    *n = 0;
    if (!f) {
        perror(path);
        exit(2);
    }
    while ((got = fread(bytes + *n, 1, cap - *n, f)) > 0) {
        *n += got;
        if (*n == cap)
            bytes = mem_resize(bytes, cap *= 2, 1);
    }
    fclose(f);
    return bytes;
}

static void answer(const struct wordpiece *w, struct slice text, bool specials, size_t max)
{
    /* Every byte is at most one id (a decomposed syllable of three bytes is three letters). */
    size_t room = text.n + 2 < max ? text.n + 2 : max;
    int32_t *ids = mem_alloc((room + 1) * sizeof *ids);
    struct wordpiece_counts c = wordpiece_encode(w, text, specials, ids, room);
    uint32_t head = (uint32_t)c.tokens;
    uint32_t tail[3] = {(uint32_t)c.unknown, (uint32_t)c.bytes, c.truncated};
    fwrite(&head, sizeof head, 1, stdout);
    fwrite(ids, sizeof *ids, c.tokens, stdout);
    fwrite(tail, sizeof tail, 1, stdout);
    free(ids);
}

int main(int argc, char **argv)
{
    struct wordpiece_options opt = {0};
    bool specials = false;
    size_t max = SIZE_MAX, n;
    for (int i = 2; i < argc; i++) {
        opt.lower_case |= !strcmp(argv[i], "lower");
        opt.strip_accents |= !strcmp(argv[i], "strip");
        opt.split_cjk |= !strcmp(argv[i], "cjk");
        specials |= !strcmp(argv[i], "specials");
        if (!strncmp(argv[i], "max=", 4))
            max = strtoul(argv[i] + 4, NULL, 10);
    }
    struct wordpiece *w;
    struct err_text t;
    char *vocab = read_file(argc > 1 ? argv[1] : "", &n);
    if (wordpiece_new(slice_make(vocab, n), &opt, &w, &t)) {
        fprintf(stderr, "%s\n", t.s);
        return 2;
    }
    free(vocab);
    uint32_t bytes;
    while (fread(&bytes, sizeof bytes, 1, stdin) == 1) {
        char *text = mem_alloc(bytes + 1u);
        if (fread(text, 1, bytes, stdin) != bytes)
            return 2;
        answer(w, slice_make(text, bytes), specials, max);
        free(text);
    }
    wordpiece_free(w);
    return 0;
}

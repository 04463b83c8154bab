/* The encoder behind a pipe, for run.py and decisions.py: what it is asked on stdin it answers on
 * stdout, so that it can be measured in turns with its peers.
 *
 * usage: encoder_bench MODEL_FOLDER PRECISION [ISA]
 *   time TOKENS SEQUENCES REPEATS      -> one line: milliseconds of CPU time of each repeat
 *   embed COUNT, then COUNT times: BYTES, newline, that many bytes
 *                                      -> COUNT * dim little-endian floats
 * First it says one line: kernels, dim, bytes of packed weights, milliseconds that opening took. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include "base/mem.h"
#include "base/rng.h"
#include "router/encoder/encoder.h"

enum { MAX_TOKENS = 8192 };

struct bench {
    struct encoder *encoder;
    struct encoder_session *session;
    int dim;
};

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static bool time_passes(struct bench *b, int tokens, int sequences, int repeats)
{
    struct err_text t;
    struct rng r;
    if (tokens < 1 || sequences < 1 || repeats < 1 || tokens > MAX_TOKENS / sequences)
        return false;
    int32_t *ids = mem_zalloc((size_t)(tokens * sequences), sizeof *ids);
    int32_t *starts = mem_zalloc((size_t)sequences + 1, sizeof *starts);
    float *v = mem_zalloc((size_t)(sequences * b->dim), sizeof *v);
    size_t vocabulary = wordpiece_size(encoder_tokenizer(b->encoder));
    rng_seed(&r, 1);
    for (int i = 0; i < tokens * sequences; i++)
        ids[i] = (int32_t)rng_below(&r, vocabulary);
    for (int i = 1; i <= sequences; i++)
        starts[i] = i * tokens;
    struct encoder_batch batch = {.ids = ids, .starts = starts, .count = sequences};
    struct encoder_vectors out = {.embedding = v};
    bool ok = true;
    for (int i = 0; ok && i < repeats; i++) {
        double begin = cpu_ms();
        ok = encoder_run(b->session, &batch, &out, &t) == ERR_OK;
        printf("%s%.6f", i ? " " : "", cpu_ms() - begin);
    }
    printf("\n");
    free(ids);
    free(starts);
    free(v);
    return ok;
}

/* A line with one number. */
static bool read_number(size_t *out, size_t max)
{
    char line[32], *end;
    if (!fgets(line, sizeof line, stdin))
        return false;
    errno = 0;
    unsigned long long n = strtoull(line, &end, 10);
    *out = (size_t)n;
    return errno == 0 && end != line && *end == '\n' && n <= max;
}

static bool embed(struct bench *b, size_t count)
{
    float *v = mem_zalloc((size_t)b->dim, sizeof *v);
    bool ok = true;
    for (size_t i = 0; ok && i < count; i++) {
        size_t bytes;
        ok = read_number(&bytes, (size_t)64 << 20);
        if (!ok)
            break;
        char *text = mem_alloc(bytes + 1);
        struct slice s = {text, bytes};
        struct encoder_vectors out = {.embedding = v};
        struct err_text t;
        ok = fread(text, 1, bytes, stdin) == bytes &&
             encoder_embed(b->session, &s, 1, &out, NULL, &t) == ERR_OK &&
             fwrite(v, sizeof *v, (size_t)b->dim, stdout) == (size_t)b->dim;
        free(text);
    }
    free(v);
    return ok;
}

static bool serve(struct bench *b)
{
    char line[128];
    while (fgets(line, sizeof line, stdin)) {
        int tokens, sequences, repeats;
        size_t count;
        bool ok = false;
        if (sscanf(line, "time %d %d %d", &tokens, &sequences, &repeats) == 3)
            ok = time_passes(b, tokens, sequences, repeats);
        else if (sscanf(line, "embed %zu", &count) == 1)
            ok = embed(b, count);
        if (!ok || fflush(stdout) != 0) {
            fprintf(stderr, "encoder_bench: could not do: %s", line);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    struct encoder_options opt = {.device = ENCODER_CPU, .precision = -1};
    struct bench b = {0};
    struct err_text t;
    if (argc < 3) {
        fprintf(stderr, "usage: encoder_bench MODEL_FOLDER fp32|int8 [ISA]\n");
        return 2;
    }
    opt.folder = argv[1];
    opt.precision = strcmp(argv[2], "fp32") == 0 ? ENCODER_FP32 : ENCODER_INT8;
    opt.isa = argc > 3 ? argv[3] : NULL;
    double begin = cpu_ms();
    if (encoder_open(&opt, &b.encoder, &t)) {
        fprintf(stderr, "encoder_bench: %s\n", t.s);
        return 1;
    }
    b.session = encoder_session_new(b.encoder);
    struct encoder_facts f = encoder_facts(b.encoder);
    b.dim = f.dim;
    printf("%s %d %zu %.1f\n", f.kernels, f.dim, f.weight_bytes, cpu_ms() - begin);
    fflush(stdout);
    bool ok = serve(&b);
    encoder_session_free(b.session);
    encoder_free(b.encoder);
    return ok ? 0 : 1;
}

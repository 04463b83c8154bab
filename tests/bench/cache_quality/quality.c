/* cache_quality: replays streams of questions through the cache's own gates and risk budget, beside
 * a static cut chosen in hindsight, vCache's algorithm and GPTCache's default, and says whether the
 * targets hold. See --help; run.py makes the streams and draws the curves. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "policies.h"

/* GPTCache's default evaluator rescales L2 distances of 0..4 and cuts at 0.8 of the range: squared
 * distance 0.8, which is cosine 0.6 for vectors of unit length. */
#define GPTCACHE_CUT 0.6

#define LEAST_OVER_STATIC 1.10
#define LEAST_OVER_VCACHE 2.0

static const double bounds[] = {0.005, 0.01, 0.02, 0.05};

struct options {
    struct stream_options stream;
    int seeds;
    double wrong_labels;
    unsigned guards;
    bool curve, export;
};

static void usage(FILE *to)
{
    fprintf(
        to,
        "usage: cache_quality [options] STREAM.jsonl...\n"
        "  STREAM.jsonl          lines of {\"text\": ..., \"cls\": ...}: texts of one class "
        "share an answer\n"
        "  --model NAME|FOLDER   the encoder (all-minilm-l6-v2)\n"
        "  --precision P         int8 (default) or fp32\n"
        "  --keep FOLDER         where each text's neighbours and vector are kept for the next "
        "run\n"
        "  --seeds N             orders of arrival (5)\n"
        "  --wrong-labels X      share of the judge's answers that are wrong (0)\n"
        "  --guards MASK         bits of enum guard (all but overlap)\n"
        "  --curve               print precision against hit ratio of static cuts, as CSV\n"
        "  --export              keep the first order of arrival as well, and print where (CSV)\n");
}

static void add(struct outcome *sum, const struct outcome *o, double n)
{
    sum->hits += o->hits / n;
    sum->wrong += o->wrong / n;
    sum->audits += o->audits / n;
    sum->judged += o->judged / n;
    sum->late_hits += o->late_hits / n;
    sum->late_wrong += o->late_wrong / n;
}

static double over(double a, double b)
{
    return b > 0 ? a / b : a > 0 ? 999 : 1;
}

/* One row of the table; the number of targets that it misses. */
static int compare(struct stream *s, const struct options *opt, double bound)
{
    struct outcome ours = {0}, fixed = {0}, vcache = {0}, vlog = {0}, gpt = {0}, o;
    double worst = 0, n = opt->seeds;
    int missed;

    for (int seed = 1; seed <= opt->seeds; seed++) {
        struct replay r = {s, (uint64_t)seed, bound, opt->wrong_labels, opt->guards};
        stream_shuffle(s, (uint64_t)seed);
        policy_risk(&r, &o);
        add(&ours, &o, n);
        worst = o.wrong > worst ? o.wrong : worst;
        policy_vcache(&r, false, &o);
        add(&vcache, &o, n);
        policy_vcache(&r, true, &o);
        add(&vlog, &o, n);
        policy_cut(&r, GPTCACHE_CUT, &o);
        add(&gpt, &o, n);
    }
    /* At the error that ours really had: the comparison is at equal error, not at equal bound. */
    for (int seed = 1; seed <= opt->seeds; seed++) {
        struct replay r = {s, (uint64_t)seed, ours.wrong, 0, 0};
        stream_shuffle(s, (uint64_t)seed);
        policy_static(&r, &o);
        add(&fixed, &o, n);
    }
    missed = (worst > bound) + (over(ours.hits, fixed.hits) < LEAST_OVER_STATIC) +
             (over(ours.hits, vcache.hits) < LEAST_OVER_VCACHE);
    printf("| %-10s | %4.1f %% | %5.2f / %.3f | %.3f %s | %5.2f / %.3f | %4.2f%s | %5.2f / %.3f | "
           "%5.2f / "
           "%.3f | %4.1f%s | %4.1f / %4.1f | %4.2f | %4.1f |\n",
           s->name, 100 * bound, 100 * ours.hits, 100 * ours.wrong, 100 * worst,
           worst > bound ? "OVER" : "ok", 100 * fixed.hits, 100 * fixed.wrong,
           over(ours.hits, fixed.hits),
           over(ours.hits, fixed.hits) < LEAST_OVER_STATIC ? " LOW" : "", 100 * vcache.hits,
           100 * vcache.wrong, 100 * vlog.hits, 100 * vlog.wrong, over(ours.hits, vcache.hits),
           over(ours.hits, vcache.hits) < LEAST_OVER_VCACHE ? " LOW" : "", 100 * gpt.hits,
           100 * gpt.wrong, 100 * ours.audits, 100 * ours.judged);
    fflush(stdout);
    return missed;
}

static void print_curve(struct stream *s)
{
    stream_shuffle(s, 1);
    for (double cut = 1; cut >= 0.4; cut -= 0.02) {
        struct replay r = {s, 1, 0, 0, 0};
        struct outcome o;
        policy_cut(&r, cut, &o);
        printf("curve,%s,%.2f,%.4f,%.4f\n", s->name, cut, o.hits,
               o.hits > 0 ? 1 - o.wrong / o.hits : 1);
    }
}

/* For other programs on the same vectors in the same order. */
static enum err export_order(struct stream *s, struct err_text *t)
{
    enum err err;

    stream_shuffle(s, 1);
    err = stream_keep_order(s, t);
    if (err == ERR_OK)
        printf("kept,%s,%s\n", s->name, s->kept);
    return err;
}

static bool parse(int argc, char **argv, struct options *opt)
{
    static const struct option longs[] = {
        {"model", 1, NULL, 'm'},        {"precision", 1, NULL, 'p'},
        {"seeds", 1, NULL, 's'},        {"guards", 1, NULL, 'g'},
        {"wrong-labels", 1, NULL, 'w'}, {"curve", 0, NULL, 'c'},
        {"keep", 1, NULL, 'k'},         {"help", 0, NULL, 'h'},
        {"export", 0, NULL, 'e'},       {0}};
    int c;

    *opt = (struct options){{"all-minilm-l6-v2", "int8", NULL}, 5,     0,
                            GUARD_ALL & ~(1u << GUARD_OVERLAP), false, false};
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
        switch (c) {
        case 'm':
            opt->stream.model = optarg;
            break;
        case 'p':
            opt->stream.precision = optarg;
            break;
        case 's':
            opt->seeds = (int)strtol(optarg, NULL, 10);
            break;
        case 'g':
            opt->guards = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 'w':
            opt->wrong_labels = strtod(optarg, NULL);
            break;
        case 'k':
            opt->stream.keep = optarg;
            break;
        case 'c':
            opt->curve = true;
            break;
        case 'e':
            opt->export = true;
            break;
        case 'h':
            usage(stdout);
            exit(0);
        default:
            return false;
        }
    return optind < argc && opt->seeds > 0 && (!opt->export || opt->stream.keep);
}

int main(int argc, char **argv)
{
    struct options opt;
    int missed = 0;

    if (!parse(argc, argv, &opt)) {
        usage(stderr);
        return 2;
    }
    printf("| stream | bound | ours: hits / wrong %% | worst seed | best static: hits / wrong | "
           "ours over it | "
           "vCache: hits / wrong | with a log grid | ours over vCache | GPTCache default: hits / "
           "wrong | audits | "
           "judged |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for (int i = optind; i < argc; i++) {
        struct stream s;
        struct err_text t;
        if (stream_open(argv[i], &opt.stream, &s, &t) != ERR_OK) {
            fprintf(stderr, "cache_quality: %s: %s\n", argv[i], t.s);
            return 1;
        }
        for (size_t b = 0; b < sizeof bounds / sizeof bounds[0]; b++)
            missed += compare(&s, &opt, bounds[b]);
        if (opt.curve)
            print_curve(&s);
        if (opt.export && export_order(&s, &t) != ERR_OK) {
            fprintf(stderr, "cache_quality: %s: %s\n", argv[i], t.s);
            return 1;
        }
        stream_clear(&s);
    }
    printf("\ntargets missed: %d\n", missed);
    return 0;
}

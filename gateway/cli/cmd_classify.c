/* weir classify: what texts are about, as the gateway would find it. */
#include <jansson.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/cli/classing.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/lines.h"
#include "gateway/cli/out.h"
#include "gateway/json_put.h"

#define TABLE_TEXT_BYTES 60

static int complain(const struct err_text *t, int code)
{
    fprintf(stderr, "weir classify: %s\n", t->s);
    return code;
}

/* ---- one answer ---- */

static json_t *text_json(struct slice s)
{
    return json_stringn(s.p ? s.p : "", s.n); /* NULL when it is not UTF-8 */
}

static json_t *success_json(const struct classing *k, const struct classification *c,
                            struct slice text)
{
    size_t n = classifier_model_count(k->classifier, c->tier);
    float *probs = mem_zalloc(n + 1, sizeof *probs);
    json_t *o = json_object();

    if (n)
        classifier_success(k->classifier, c->tier, text, k->features, probs);
    for (size_t i = 0; i < n; i++) {
        struct slice name = classifier_model_name(k->classifier, c->tier, i);

        json_object_setn_new(o, name.p, name.n, json_real((double)probs[i]));
    }
    free(probs);
    return o;
}

static void write_json(const struct classing *k, struct slice text, const struct classification *c,
                       int64_t took_us)
{
    json_t *o = json_object(), *t = text_json(text);

    json_object_set_new(o, "text", t ? t : json_null());
    json_object_set_new(o, "label", c->label.n ? text_json(c->label) : json_null());
    json_object_set_new(o, "confidence", json_real((double)c->confidence));
    json_put_text(o, "by", classified_by_name(c->by));
    json_put_text(o, "tier", classifier_tier_name(c->tier));
    json_object_set_new(o, "runner_up", c->runner_up.n ? text_json(c->runner_up) : json_null());
    json_object_set_new(o, "runner_up_confidence", json_real((double)c->runner_up_confidence));
    json_object_set_new(o, "in_scope", json_real((double)c->in_scope));
    if (c->nearest.n)
        json_object_set_new(o, "nearest",
                            json_pack("{s:o,s:s,s:f,s:f}", "class", text_json(c->nearest),
                                      "example", c->nearest_example, "similarity",
                                      (double)c->similarity, "threshold", (double)c->threshold));
    json_put(o, "success", success_json(k, c, text));
    json_put_int(o, "us", took_us);
    json_dumpf(o, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(o);
}

/* The beginning of a text on one line; control characters would move the terminal's cursor. */
static void print_start(struct slice text)
{
    size_t n = text.n < TABLE_TEXT_BYTES ? text.n : TABLE_TEXT_BYTES;

    while (n < text.n && n > 0 && ((unsigned char)text.p[n] & 0xc0) == 0x80)
        n--;
    for (size_t i = 0; i < n; i++)
        putchar((unsigned char)text.p[i] < 0x20 || text.p[i] == 0x7f ? ' ' : text.p[i]);
    puts(n < text.n ? "..." : "");
}

static void print_head(void)
{
    printf("%s%-20s %5s  %-8s %-6s  %-20s %5s  %8s %7s  %s%s\n", out_style(stdout, OUT_BOLD),
           "CLASS", "CONF", "BY", "TIER", "RUNNER-UP", "CONF", "IN SCOPE", "TIME", "TEXT",
           out_style(stdout, OUT_PLAIN));
}

static void print_row(struct slice text, const struct classification *c, int64_t took_us)
{
    printf("%-20.*s %5.2f  %-8s %-6s  %-20.*s %5.2f  %8.2f %4lld us  ",
           (int)(c->label.n ? c->label.n : 1), c->label.n ? c->label.p : "-", (double)c->confidence,
           classified_by_name(c->by), classifier_tier_name(c->tier),
           (int)(c->runner_up.n ? c->runner_up.n : 1), c->runner_up.n ? c->runner_up.p : "-",
           (double)c->runner_up_confidence, (double)c->in_scope, (long long)took_us);
    print_start(text);
}

/* ---- the command ---- */

static int classify_all(struct classing *k, const struct cli_args *a)
{
    bool table = !cli_flag(a, "json") && isatty(STDOUT_FILENO);
    struct err_text t = {""};
    struct lines lines;
    struct slice text;
    int code = EXIT_CODE_OK;

    lines_init(&lines, a);
    if (table)
        print_head();
    while (code == EXIT_CODE_OK && lines_next(&lines, &text)) {
        struct classification c;
        int64_t begun_us = clock_mono_us();

        if (classing_run(k, text, &c, &t) != ERR_OK)
            code = complain(&t, EXIT_CODE_RUNTIME);
        else if (table)
            print_row(text, &c, clock_mono_us() - begun_us);
        else
            write_json(k, text, &c, clock_mono_us() - begun_us);
        fflush(stdout); /* who pipes lines in waits for their answers */
    }
    if (lines.failed) {
        err_say(&t, "standard input cannot be read");
        code = complain(&t, EXIT_CODE_RUNTIME);
    }
    lines_clear(&lines);
    return code;
}

static int classify(const struct cli_args *a)
{
    const char *file = cli_value(a, "policy"), *heads = cli_value(a, "heads"),
               *model = cli_value(a, "model");
    struct policy_encoder e = {.model = POLICY_ENCODER_STATIC,
                               .threads = POLICY_NONE,
                               .max_tokens = POLICY_NONE,
                               .static_first = POLICY_OFF};
    struct policy *p = NULL;
    struct classing k;
    struct err_text t = {""};
    int code;

    if (file && !(p = out_load_policy(file, false)))
        return EXIT_CODE_POLICY;
    if (p)
        e = p->encoder;
    e.model = model ? model : e.model;
    e.heads = heads ? heads : e.heads;
    if (classing_open(&k, &e, p ? p->classes : NULL, p ? p->class_count : 0, &t) != ERR_OK) {
        code = complain(&t, EXIT_CODE_RUNTIME);
    } else {
        code = classify_all(&k, a);
        classing_close(&k);
    }
    policy_unref(p);
    return code;
}

const struct cli_command cmd_classify = {
    .name = "classify",
    .operands = "[TEXT...]",
    .min_operands = 0,
    .max_operands = -1,
    .summary = "say what texts are about, as the gateway would",
    .description =
        "Classifies each TEXT, or each line of standard input where TEXT is - or not given, and "
        "writes one JSON object per line (a table on a terminal): the class and how sure that is, "
        "the runner-up, whether the text looks like those the head was trained on, the nearest "
        "declared class, each model's chance of success where the heads know it, and the time it "
        "took.\n\n"
        "Without --policy and --model the static tier inside weir answers, with its own heads.",
    .options =
        (const struct cli_option[]){
            {.name = "policy",
             .letter = 'c',
             .argument = "FILE",
             .help = "Take encoder, heads and declared classes from this policy."},
            {.name = "model",
             .letter = 'm',
             .argument = "MODEL",
             .help = "The encoder: a fetched model, a folder, or static. Before the policy's."},
            {.name = "heads",
             .argument = "FILE",
             .help = "Heads that weir train made for that encoder. Before the policy's."},
            {.name = "json", .help = "JSON lines also on a terminal."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir classify 'Solve x^2 = 2' 'Write a poem about rain'", "What would these be?"},
            {"weir classify --policy weir.yaml - < prompts.txt",
             "One line per prompt, with the classes that a policy declares:"},
            {0},
        },
    .run = classify,
};

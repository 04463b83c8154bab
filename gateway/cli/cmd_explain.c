/* weir explain: which way a request would go, and why. */
#include <stdlib.h>
#include "backends/wire/wire.h"
#include "base/http1.h"
#include "base/mem.h"
#include "cache/timely.h"
#include "gateway/cli/classing.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/explain_beliefs.h"
#include "gateway/cli/out.h"
#include "gateway/json_put.h"
#include "policies/policy_explain.h"
#include "policies/policy_names.h"

#define BYTES_PER_TOKEN 4 /* the gateway's own estimate, policy.h */

/* A policy_query whose arrays are ours. */
struct question {
    struct policy_query query;
    struct slice *tags;
    struct policy_query_header *headers;
    struct buf prompt;
    struct classing classing;
    struct classification is; /* borrowed from classing */
    const char *class_note;   /* NULL: nothing to say */
    char note[1024];
};

static int complain(const char *what, const char *name, const char *nearest)
{
    fprintf(stderr, "weir explain: %s '%s'", what, name);
    if (nearest)
        fprintf(stderr, "; did you mean '%s'?", nearest);
    fputc('\n', stderr);
    return EXIT_CODE_USAGE;
}

/* ---- the question, part by part; each answers with an exit code ---- */

static int take_api(struct question *q, const char *name)
{
    struct names_nearest near;
    names_nearest_init(&near, slice_str(name));
    for (int i = 0; i < WIRE_APIS; i++) {
        const char *known = wire_api_name((enum wire_api)i);
        names_nearest_offer(&near, known);
        if (strcmp(name, known) == 0) {
            q->query.api = (unsigned)i;
            return EXIT_CODE_OK;
        }
    }
    return complain("no API is called", name, near.best);
}

static int take_tenant(struct question *q, const struct policy *p, const char *name)
{
    struct names_nearest near;
    names_nearest_init(&near, slice_str(name));
    for (size_t i = 0; i < p->tenant_count; i++) {
        names_nearest_offer(&near, p->tenants[i].name);
        if (strcmp(name, p->tenants[i].name) == 0) {
            q->query.tenant = &p->tenants[i];
            return EXIT_CODE_OK;
        }
    }
    return complain("the policy has no tenant", name, near.best);
}

static void take_tags(struct question *q, const struct cli_args *a)
{
    const char *tag;
    q->tags = mem_zalloc(a->given_count + 1, sizeof *q->tags);
    for (size_t at = 0; (tag = cli_next(a, "tag", &at));)
        q->tags[q->query.tag_count++] = slice_str(tag);
    q->query.tags = q->tags;
}

static int take_headers(struct question *q, const struct cli_args *a)
{
    const char *line;
    q->headers = mem_zalloc(a->given_count + 1, sizeof *q->headers);
    for (size_t at = 0; (line = cli_next(a, "header", &at));) {
        const char *colon = strchr(line, ':');
        struct slice name = slice_make(line, colon ? (size_t)(colon - line) : 0);
        if (!colon || !http1_valid_name(name))
            return complain("a header is written 'Name: value', not", line, NULL);
        q->headers[q->query.header_count++] =
            (struct policy_query_header){.name = name, .value = slice_trim(slice_str(colon + 1))};
    }
    q->query.headers = q->headers;
    return EXIT_CODE_OK;
}

/* The prompt: an operand, standard input for "-", or none. */
static enum err read_prompt(struct question *q, const struct cli_args *a)
{
    char chunk[65536];
    enum err err = ERR_OK;
    size_t n;

    if (a->operand_count < 2)
        return ERR_OK;
    if (strcmp(a->operands[1], "-") != 0)
        return buf_append_slice(&q->prompt, slice_str(a->operands[1]));
    while (err == ERR_OK && (n = fread(chunk, 1, sizeof chunk, stdin)) > 0)
        err = buf_append(&q->prompt, chunk, n);
    return ferror(stdin) ? ERR_INTERNAL : err;
}

/* "class 'math' (0.93, by the head, full tier); nearest declared class ..." */
static void describe_class(struct question *q)
{
    const struct classification *c = &q->is;
    int n;

    if (c->by == CLASSIFIED_NOT)
        n = snprintf(q->note, sizeof q->note, "of no known class (%s tier",
                     classifier_tier_name(c->tier));
    else
        n = snprintf(q->note, sizeof q->note, "class '%.*s', confidence %.2f (by %s, %s tier",
                     SLICE_ARG(c->label), (double)c->confidence,
                     c->by == CLASSIFIED_BY_HEAD ? "the head" : "declared examples",
                     classifier_tier_name(c->tier));
    if (c->runner_up.n && c->by != CLASSIFIED_BY_EXAMPLES)
        n += snprintf(q->note + n, sizeof q->note - (size_t)n, "; next '%.*s', %.2f",
                      SLICE_ARG(c->runner_up), (double)c->runner_up_confidence);
    n += snprintf(q->note + n, sizeof q->note - (size_t)n, ")");
    if (c->nearest.n)
        (void)snprintf(q->note + n, sizeof q->note - (size_t)n,
                       "\nnearest declared class '%.*s': similarity %.2f, taken from %.2f; example "
                       "\"%.200s\"",
                       SLICE_ARG(c->nearest), (double)c->similarity, (double)c->threshold,
                       c->nearest_example);
}

/* As the request path does: only where the route hangs on it. What stands in the way is told, and
 * the query is then of no class. */
static void classify(struct question *q, const struct policy *p)
{
    struct err_text t = {""};

    if (!policy_needs_class(p, &q->query) || buf_len(&q->prompt) == 0)
        return;
    q->class_note = q->note;
    if (classing_open(&q->classing, &p->encoder, p->classes, p->class_count, &t) != ERR_OK ||
        classing_run(&q->classing, buf_slice(&q->prompt), &q->is, &t) != ERR_OK) {
        snprintf(q->note, sizeof q->note, "not classified: %s", t.s);
        return;
    }
    q->query.class_name = q->is.label;
    q->query.class_confidence = (double)q->is.confidence;
    describe_class(q);
}

static int ask(struct question *q, const struct cli_args *a, const struct policy *p)
{
    const char *api = cli_value(a, "api"), *tenant = cli_value(a, "tenant");
    q->query.model = slice_str(cli_value(a, "model"));
    int code = take_api(q, api ? api : "chat");
    if (code == EXIT_CODE_OK && tenant)
        code = take_tenant(q, p, tenant);
    if (code != EXIT_CODE_OK)
        return code;
    take_tags(q, a);
    code = take_headers(q, a);
    if (code != EXIT_CODE_OK)
        return code;
    if (read_prompt(q, a) != ERR_OK) {
        fprintf(stderr, "weir explain: standard input cannot be read\n");
        return EXIT_CODE_RUNTIME;
    }
    q->query.prompt_tokens = ((int64_t)buf_len(&q->prompt) + BYTES_PER_TOKEN - 1) / BYTES_PER_TOKEN;
    classify(q, p);
    return EXIT_CODE_OK;
}

/* ---- the answer ---- */

static const struct policy_route *route_taken(const struct policy_explanation *e)
{
    for (size_t i = 0; i < e->route_count; i++)
        if (e->routes[i].taken)
            return e->routes[i].route;
    return NULL;
}

/* b: NULL where nobody was asked. */
static int print(const struct policy_explanation *e, const struct explain_beliefs *b, bool json)
{
    struct buf text;
    buf_init(&text, OUT_BYTES);
    enum err err =
        json ? policy_explanation_write_json(e, &text) : policy_explanation_write_text(e, &text);
    int code = e->step_count > 0 ? EXIT_CODE_OK : EXIT_CODE_FOUND;
    if (err != ERR_OK) {
        fprintf(stderr, "weir explain: %s\n", err_text(err));
        code = EXIT_CODE_RUNTIME;
    } else if (json && b) {
        json_t *o = json_loadb(buf_slice(&text).p, buf_len(&text), 0, NULL);
        json_put(o, "beliefs", explain_beliefs_json(b));
        out_json(o);
    } else {
        out_slice(stdout, buf_slice(&text));
        if (b)
            explain_beliefs_tell(b, stdout);
    }
    buf_clear(&text);
    return code;
}

static int answer(const struct cli_args *a, struct policy *p, const struct question *q)
{
    struct policy_explanation e;
    struct explain_beliefs b = {0};
    int code = EXIT_CODE_OK;
    policy_explain(p, &q->query, (int64_t)buf_len(&q->prompt), &e);
    e.class_note = q->class_note;
    e.timely = timely_of(buf_slice(&q->prompt)) != TIMELESS;
    const struct policy_route *route = route_taken(&e);
    bool asks = cli_value(a, "url") && route;
    bool reads = !asks && route && route->decide.mode == POLICY_DECIDE_OBJECTIVE;
    if (asks)
        code = explain_beliefs_ask(&b, a, route, q->query.class_name);
    else if (reads)
        explain_beliefs_read(&b, p, route, q->query.class_name);
    if (code == EXIT_CODE_OK)
        code = print(&e, asks || reads ? &b : NULL, cli_flag(a, "json"));
    explain_beliefs_clear(&b);
    policy_explanation_clear(&e);
    return code;
}

static int explain(const struct cli_args *a)
{
    struct policy *p = out_load_policy(a->operands[0], false);
    if (!p)
        return EXIT_CODE_POLICY;
    struct question q = {0};
    buf_init(&q.prompt, OUT_BYTES);
    int code = ask(&q, a, p);
    if (code == EXIT_CODE_OK)
        code = answer(a, p, &q);
    free(q.tags);
    free(q.headers);
    buf_clear(&q.prompt);
    classing_close(&q.classing);
    policy_unref(p);
    return code;
}

const struct cli_command cmd_explain = {
    .name = "explain",
    .operands = "FILE [PROMPT]",
    .min_operands = 1,
    .max_operands = 2,
    .summary = "say which way a request would go, why, and what it would cost",
    .description = "Takes a request apart as serve would: the route that matches, why each "
                   "earlier one does not, the models in order with their endpoints and prices, "
                   "and an estimate of the cost. Nothing is sent to any model and keys are "
                   "not read.\n\n"
                   "PROMPT is the text, or - for standard input. Four bytes are taken for a token; "
                   "where the route hangs on what the text is about it is classified as the "
                   "gateway would, with the nearest example of a declared class.\n\n"
                   "Where the route has an objective, what a weir that serves the policy would "
                   "believe of its models is read from learn.sqlite in the policy's "
                   "server.state_dir, if it is there, also while one runs.",
    .options =
        (const struct cli_option[]){
            {.name = "model",
             .letter = 'm',
             .argument = "NAME",
             .required = true,
             .help = "The model name the client asks for."},
            {.name = "tenant",
             .argument = "NAME",
             .help = "The tenant whose key the client shows. Default: none."},
            {.name = "tag",
             .argument = "TAG",
             .repeats = true,
             .help = "A tag of the request (x-weir-tags), beside the tenant's."},
            {.name = "header",
             .argument = "'NAME: VALUE'",
             .repeats = true,
             .help = "A header of the request."},
            {.name = "api",
             .argument = "API",
             .help = "chat, completions, embeddings, messages or responses. Default: chat."},
            {.name = "url",
             .argument = "URL",
             .help = "A running weir's admin listener (WEIR_API_KEY holds the key, where one is "
                     "needed): what it believes of the models now, in which order it would ask "
                     "them for this class, and with which chances."},
            {.name = "json", .help = "Write one JSON object."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir explain weir.yaml --model auto 'Why is the sky blue?'",
             "Which models would answer this, and for how much?"},
            {"weir explain weir.yaml --model auto --tag batch - < prompt.txt",
             "The same for a text in a file and a tagged request:"},
            {"weir explain weir.yaml --model auto --url http://127.0.0.1:8081 'Why is the sky "
             "blue?'",
             "And which model would be asked first, by what has been learnt so far?"},
            {0},
        },
    .run = explain,
};

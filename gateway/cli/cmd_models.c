/* weir models: the names a client may ask for, out of a policy file or from a running server. */
#include <stdlib.h>
#include "base/clock.h"
#include "gateway/cli/cli.h"
#include "gateway/cli/discover.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/out.h"

/* ---- from a policy ---- */

static const char *kind_of(const struct policy_name *n)
{
    if (!n->model)
        return "route";
    return strcmp(n->name, n->model->name) == 0 ? "model" : "alias";
}

static json_t *price_json(const struct policy_price *p)
{
    json_t *o = json_object();
    char usd[32];
    for (int k = 0; p->per_token && k < TOK_KINDS; k++)
        json_object_set_new(o, token_kind_name((enum token_kind)k),
                            json_string(money_format_usd(p->per_mtok[k], usd, sizeof usd)));
    if (p->per_gpu_second)
        json_object_set_new(o, "gpu_second",
                            json_string(money_format_usd(p->gpu_second, usd, sizeof usd)));
    return o;
}

static json_t *name_json(const struct policy *p, const struct policy_name *n)
{
    json_t *o =
        json_pack("{s:s,s:s,s:s}", "name", n->name, "kind", kind_of(n), "canonical", n->canonical);
    if (!n->model)
        return o;
    json_object_set_new(o, "model", json_string(n->model->name));
    json_object_set_new(o, "backend", json_string(p->backends[n->model->backend].name));
    json_object_set_new(o, "context",
                        n->model->context_tokens == POLICY_NONE
                            ? json_null()
                            : json_integer(n->model->context_tokens));
    json_object_set_new(o, "price_usd", price_json(policy_price_at(n->model, clock_wall_us())));
    return o;
}

/* "2.00 in, 8.00 out per M tokens" and "0.0011 per GPU second", joined by a plus. */
static void print_price(const struct policy_price *p)
{
    char in[32], out[32];
    if (p->per_token)
        printf("%s in, %s out per M tokens",
               money_format_usd(p->per_mtok[TOK_INPUT], in, sizeof in),
               money_format_usd(p->per_mtok[TOK_OUTPUT], out, sizeof out));
    if (p->per_gpu_second)
        printf("%s%s per GPU second", p->per_token ? " + " : "",
               money_format_usd(p->gpu_second, in, sizeof in));
}

static void print_names(const struct policy *p, const struct policy_name *names, size_t n)
{
    int width = 4;
    for (size_t i = 0; i < n; i++)
        if ((int)strlen(names[i].name) > width)
            width = (int)strlen(names[i].name);
    printf("%s%-*s  %-5s  %-*s  %-12s  %8s  %s%s\n", out_style(stdout, OUT_BOLD), width, "NAME",
           "KIND", width, "MODEL", "BACKEND", "CONTEXT", "PRICE (USD)",
           out_style(stdout, OUT_PLAIN));
    for (size_t i = 0; i < n; i++) {
        const struct policy_model *m = names[i].model;
        printf("%-*s  %-5s  ", width, names[i].name, kind_of(&names[i]));
        if (!m) {
            printf("by its route\n");
            continue;
        }
        char context[24] = "-";
        if (m->context_tokens != POLICY_NONE)
            snprintf(context, sizeof context, "%lld", (long long)m->context_tokens);
        printf("%-*s  %-12s  %8s  ", width, m->name, p->backends[m->backend].name, context);
        print_price(policy_price_at(m, clock_wall_us()));
        putchar('\n');
    }
}

static int models_of_file(const char *file, bool json)
{
    struct policy *p = out_load_policy(file, false);
    if (!p)
        return EXIT_CODE_POLICY;
    const struct policy_name *names;
    size_t n = policy_names(p, &names);
    if (json) {
        json_t *list = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(list, name_json(p, &names[i]));
        out_json(json_pack("{s:s,s:o}", "version", p->version, "models", list));
    } else {
        print_names(p, names, n);
    }
    policy_unref(p);
    return EXIT_CODE_OK;
}

/* ---- from a server ---- */

static int complain(const char *url, const char *why)
{
    fprintf(stderr, "weir models: %s: %s\n", url, why);
    return EXIT_CODE_RUNTIME;
}

/* The ids of an OpenAI model list; false when it is none. */
static bool print_ids(const json_t *answer)
{
    const json_t *data = json_object_get(answer, "data");
    if (!json_is_array(data))
        return false;
    for (size_t i = 0; i < json_array_size(data); i++) {
        const char *id = json_string_value(json_object_get(json_array_get(data, i), "id"));
        if (!id)
            return false;
        puts(id);
    }
    return true;
}

static int models_of_server(const char *url, bool json)
{
    struct buf body;
    struct err_text t = {""};
    int status;
    buf_init(&body, FETCH_BYTES);
    enum err e = fetch_get(url, "/models", getenv("WEIR_API_KEY"), &body, &status, &t);
    json_t *answer = NULL;
    int code = EXIT_CODE_OK;
    if (e != ERR_OK) {
        code = complain(url, t.s);
    } else if (status != 200) {
        err_say(&t, "HTTP status %d%s", status, status == 401 ? "; set WEIR_API_KEY" : "");
        code = complain(url, t.s);
    } else if (!(answer = json_loadb(buf_slice(&body).p, buf_len(&body), 0, NULL))) {
        code = complain(url, "the answer is not JSON");
    } else if (json) {
        out_json(json_incref(answer));
    } else if (!print_ids(answer)) {
        code = complain(url, "the answer is not a list of models");
    }
    json_decref(answer);
    buf_clear(&body);
    return code;
}

static int models(const struct cli_args *a)
{
    const char *file = cli_value(a, "config"), *url = cli_value(a, "url");
    if (!file == !url) {
        fprintf(stderr, "weir models: give either --config or --url\ntry 'weir help models'\n");
        return EXIT_CODE_USAGE;
    }
    if (cli_flag(a, "discover") && url) {
        fprintf(stderr, "weir models: --discover goes with --config, not with --url\n"
                        "try 'weir help models'\n");
        return EXIT_CODE_USAGE;
    }
    if (cli_flag(a, "discover"))
        return discover_print(file, cli_flag(a, "json"));
    return file ? models_of_file(file, cli_flag(a, "json"))
                : models_of_server(url, cli_flag(a, "json"));
}

const struct cli_command cmd_models = {
    .name = "models",
    .operands = "",
    .summary = "list the names that clients may ask for",
    .description = "With --config the names of a policy file: models, aliases and names that only "
                   "a route knows, with backend, context and the price in force today. Keys are "
                   "not read. With --url what a running weir, or any server of the OpenAI API, "
                   "lists.\n\nWith --config and --discover every server of the policy is asked for "
                   "its own list, with its key, and what the policy does not have is printed as "
                   "YAML to paste. Servers that weir would start are asked if they run; none is "
                   "started.",
    .options =
        (const struct cli_option[]){
            {.name = "config", .letter = 'c', .argument = "FILE", .help = "The policy file."},
            {.name = "url",
             .argument = "URL",
             .help = "The server's base URL, as a client library takes it: with /v1."},
            {.name = "discover",
             .help = "Ask the policy's servers which models they have, and print the new ones."},
            {.name = "json", .help = "Write JSON; with --url the server's answer."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir models -c weir.yaml", "Which names does this policy offer?"},
            {"weir models -c weir.yaml --discover", "Which models could this policy add?"},
            {"weir models --url http://127.0.0.1:8080/v1", "And which does the running gateway?"},
            {0},
        },
    .run = models,
};

/* weir cache tune: what another bound on wrong answers would give, and setting it in the policy. */
#include <stdlib.h>
#include <string.h>
#include "cache/risk.h"
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/confirm.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/out.h"
#include "policies/policy_value.h"

#define KEY "max_error"

/* ---- proposing ---- */

static void print_then(const json_t *scope, const json_t *then)
{
    const json_t *cut = json_object_get(then, "cut");
    const char *name = admin_client_text(scope, "scope");

    printf("%-16.16s %6.2f %%   ", *name ? name : "(shared)",
           100 * json_real_value(json_object_get(then, KEY)));
    if (json_is_real(cut))
        printf("%6.2f %%   %6.3f %%   %.4f\n", 100 * json_real_value(json_object_get(then, "hits")),
               100 * json_real_value(json_object_get(then, "error")), json_real_value(cut));
    else
        printf("%8s   %8s   nothing would be served\n", "0 %", "0 %");
}

static void print_now(const json_t *scope)
{
    const json_t *now = json_object_get(scope, "now");
    const char *name = admin_client_text(scope, "scope");

    printf("%-16.16s up to %.2f %% now: %lld labels, %lld of %lld audited hits wrong%s%s\n",
           *name ? name : "(shared)", 100 * json_real_value(json_object_get(scope, KEY)),
           admin_client_int(now, "labels"), admin_client_int(now, "audited_wrong"),
           admin_client_int(now, "audits"),
           json_is_true(json_object_get(now, "warm")) ? ""
                                                      : "; too few labels to serve anything yet",
           json_is_true(json_object_get(now, "alarm")) ? "; ALARM" : "");
}

static void print_prospects(const json_t *o)
{
    const json_t *scopes = json_object_get(o, "scopes");

    if (json_array_size(scopes) == 0) {
        printf("nothing was asked by meaning yet: there is nothing to go by\n");
        return;
    }
    for (size_t i = 0; i < json_array_size(scopes); i++)
        print_now(json_array_get(scopes, i));
    printf("\n%s%-16s %8s   %8s   %8s   %s%s\n", out_style(stdout, OUT_BOLD), "SCOPE",
           "WRONG <=", "HITS", "EXPECTED", "FROM P", out_style(stdout, OUT_PLAIN));
    for (size_t i = 0; i < json_array_size(scopes); i++) {
        const json_t *scope = json_array_get(scopes, i), *then = json_object_get(scope, "then");
        for (size_t k = 0; k < json_array_size(then); k++)
            print_then(scope, json_array_get(then, k));
    }
}

/* ---- applying ---- */

/* The number behind the only `max_error:` of the text that is no comment; how many there are. */
static size_t find_bound(struct slice text, struct slice *number)
{
    bool comment = false;
    size_t count = 0;

    for (size_t i = 0; i < text.n; i++) {
        char before = i > 0 ? text.p[i - 1] : '\n';
        comment =
            text.p[i] == '\n' ? false : comment || (text.p[i] == '#' && strchr(" \t\n", before));
        if (comment || !strchr(" \t\n{,", before) ||
            !slice_starts(slice_from(text, i), SLICE(KEY ":")))
            continue;
        struct slice rest = slice_trim(slice_from(text, i + sizeof KEY));
        size_t n = 0;
        while (n < rest.n && strchr("0123456789.", rest.p[n]))
            n++;
        *number = slice_make(rest.p, n);
        count += n > 0;
    }
    return count;
}

struct policy_text {
    struct buf text;
    char tag[80];
};

static void on_header(void *ctx, struct slice name, struct slice value)
{
    struct policy_text *p = ctx;

    if (slice_ieq(name, SLICE("ETag")))
        snprintf(p->tag, sizeof p->tag, "%.*s", SLICE_ARG(value));
}

static bool complain(struct admin_client *c, const char *why)
{
    fprintf(stderr, "weir cache tune: %s\n", why);
    c->code = EXIT_CODE_RUNTIME;
    return false;
}

static bool get_policy(struct admin_client *c, struct policy_text *p)
{
    struct fetch_ask ask = {.base_url = c->url,
                            .path = "/admin/policy",
                            .api_key = c->key,
                            .accept = "application/yaml",
                            .on_header = on_header,
                            .ctx = p};
    struct err_text t;
    int status;

    if (fetch(&ask, &p->text, &status, &t) != ERR_OK)
        return complain(c, t.s);
    if (status == 200)
        return true;
    admin_client_complain(c, status, buf_slice(&p->text));
    return false;
}

static bool put_policy(struct admin_client *c, struct slice text, const char *tag)
{
    struct fetch_ask ask = {.base_url = c->url,
                            .path = "/admin/policy",
                            .api_key = c->key,
                            .method = "PUT",
                            .content_type = "application/yaml",
                            .if_match = tag,
                            .body = text};
    struct buf answer;
    struct err_text t;
    int status;

    buf_init(&answer, FETCH_BYTES);
    bool good = fetch(&ask, &answer, &status, &t) == ERR_OK || complain(c, t.s);
    if (good && status != 200) {
        admin_client_complain(c, status, buf_slice(&answer));
        good = false;
    }
    buf_clear(&answer);
    return good;
}

static bool set_bound(struct admin_client *c, const struct policy_text *p, const char *bound,
                      bool yes)
{
    struct slice text = buf_slice(&p->text), number;
    size_t count = find_bound(text, &number);
    char question[200];
    struct buf changed;

    if (count != 1) {
        fprintf(stderr,
                "weir cache tune: the policy sets " KEY " in %zu places; which one is meant, only "
                "an editor can say\n",
                count);
        c->code = EXIT_CODE_FOUND;
        return false;
    }
    snprintf(question, sizeof question, "Set " KEY " to %.20s (it is %.*s) in the policy?", bound,
             SLICE_ARG(number));
    if (!confirm("cache tune", yes, question, "y")) {
        c->code = EXIT_CODE_FOUND;
        return false;
    }
    size_t at = (size_t)(number.p - text.p);
    buf_init(&changed, FETCH_BYTES);
    bool good = buf_append(&changed, text.p, at) == ERR_OK &&
                buf_append_slice(&changed, slice_str(bound)) == ERR_OK &&
                buf_append_slice(&changed, slice_from(text, at + number.n)) == ERR_OK &&
                put_policy(c, buf_slice(&changed), p->tag);
    buf_clear(&changed);
    return good;
}

static int apply(struct admin_client *c, const char *bound, bool yes)
{
    struct policy_text p = {.tag = ""};

    buf_init(&p.text, FETCH_BYTES);
    if (get_policy(c, &p) && set_bound(c, &p, bound, yes))
        printf(KEY " is %s; what is known of neighbours stays, and hits come back when %d of them "
                   "were labelled under the new bound\n",
               bound, RISK_PROBATION);
    buf_clear(&p.text);
    return c->code;
}

static int tune(const struct cli_args *a)
{
    const char *bound = cli_value(a, "max-error"), *hint;
    struct admin_client c;
    json_t *where = json_object();
    double x;

    admin_client_init(&c, a);
    if (bound && (value_fraction(slice_str(bound), &x, &hint) || x <= 0 || x >= 0.5)) {
        fprintf(stderr, "weir cache tune: --max-error %s: between 0 and 0.5, as 0.01\n", bound);
        json_decref(where);
        return EXIT_CODE_USAGE;
    }
    if (cli_flag(a, "apply") && !bound) {
        fprintf(stderr, "weir cache tune: --apply sets the bound of --max-error\n");
        json_decref(where);
        return EXIT_CODE_USAGE;
    }
    if (bound)
        json_object_set_new(where, KEY, json_string(bound));
    char *path = cache_client_path("/admin/cache/prospects", where, NULL, NULL);
    json_t *o = admin_client_ask(&c, "GET", path, NULL);
    if (o && c.json)
        out_json(json_incref(o));
    else if (o)
        print_prospects(o);
    if (o && cli_flag(a, "apply"))
        apply(&c, bound, cli_flag(a, "yes"));
    json_decref(o);
    free(path);
    json_decref(where);
    return c.code;
}

const struct cli_command cmd_cache_tune = {
    .name = "cache tune",
    .operands = "",
    .summary = "say what another bound on wrong answers would give, and set it",
    .description =
        "By the last 2,000 questions of each scope and what the labels so far say of their "
        "neighbours: how many would have been answered by meaning, and how many of those wrongly, "
        "under --max-error, or under several bounds without it. --apply writes it into the policy "
        "file, which is loaded at once; it wants a policy that sets " KEY
        " in one place. 'weir cache eval' compares encoders and guards instead, on pairs of your "
        "own.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            {.name = "max-error",
             .argument = "SHARE",
             .help = "Wrong answers from the cache, as a share of all requests: 0.01."},
            {.name = "apply", .help = "Set it in the policy."},
            {.name = "yes", .letter = 'y', .help = "Do not ask before setting it."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir cache tune --max-error 0.01", "What would one in a hundred give?"}, {0}},
    .run = tune,
};

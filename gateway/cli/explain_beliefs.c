/* Beliefs about one request's route and class. Called by cmd_explain.c. */
#include "gateway/cli/explain_beliefs.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/clock.h"
#include "gateway/beliefs_json.h"
#include "gateway/cli/admin_client.h"
#include "gateway/control_learn.h"
#include "gateway/json_put.h"
#include "router/decide/beliefs.h"
#include "router/learner.h"

#define BELIEFS_PATH "/admin/beliefs"
#define READ_MS      10000
#define LEAST_ASKED  0.0005 /* what is shown as 0.0 % is not told */

/* The context of the class, else of the queries that are of none. */
static const json_t *find(const json_t *contexts, const char *route, struct slice class_name)
{
    const json_t *any = NULL;

    for (size_t i = 0; i < json_array_size(contexts); i++) {
        const json_t *c = json_array_get(contexts, i);
        if (strcmp(admin_client_text(c, "route"), route) != 0)
            continue;
        if (slice_eq(class_name, slice_str(admin_client_text(c, "class"))))
            return c;
        if (!*admin_client_text(c, "class"))
            any = c;
    }
    return any;
}

static double labels_of(const json_t *context)
{
    const json_t *models = json_object_get(context, "models");
    double labels = 0;

    for (size_t i = 0; i < json_array_size(models); i++)
        labels += admin_client_number(json_array_get(models, i), "labels");
    return labels;
}

static void say_why(struct explain_beliefs *e)
{
    if (e->route->decide.mode != POLICY_DECIDE_OBJECTIVE)
        snprintf(e->why, sizeof e->why,
                 "route '%s' has no objective: its models are asked in the written order",
                 e->route->name);
    else if (!e->context)
        snprintf(e->why, sizeof e->why,
                 "there are no beliefs of route '%s' yet: its models are asked in the written "
                 "order, if the running policy has it",
                 e->route->name);
    else if (labels_of(e->context) == 0)
        snprintf(e->why, sizeof e->why,
                 "nobody has said yet what became of an answer here: these are guesses by prices");
}

/* The answer is there: finds what it says of the route and class. */
static void choose_context(struct explain_beliefs *e)
{
    if (e->route->decide.mode == POLICY_DECIDE_OBJECTIVE)
        e->context = find(json_object_get(e->answer, "contexts"), e->route->name, e->class_name);
    e->own_class =
        e->context && slice_eq(e->class_name, slice_str(admin_client_text(e->context, "class")));
    say_why(e);
}

int explain_beliefs_ask(struct explain_beliefs *e, const struct cli_args *a,
                        const struct policy_route *route, struct slice class_name)
{
    struct admin_client client;

    *e = (struct explain_beliefs){.route = route, .class_name = class_name};
    admin_client_init(&client, a);
    e->answer = admin_client_ask(&client, "GET", BELIEFS_PATH, NULL);
    if (!e->answer)
        return client.code;
    const json_t *contexts = json_object_get(e->answer, "contexts");
    if (!json_is_array(contexts)) {
        fprintf(stderr, "weir explain: %s: the answer is not what " BELIEFS_PATH " gives\n",
                client.url);
        return EXIT_CODE_RUNTIME;
    }
    choose_context(e);
    return EXIT_CODE_OK;
}

/* The learner reads the file and builds beliefs as it would for serving, and is closed again. */
static json_t *read_file(const char *path, struct policy *p, struct err_text *why)
{
    struct learner_options opt = {.path = path, .read_only = true};
    struct learner *l = NULL;
    struct beliefs *b;
    json_t *o;

    if (learner_open(&opt, &l, why) != ERR_OK)
        return NULL;
    if (!learner_prepare(l, p, READ_MS))
        err_say(why, "%s: it could not be read in time", path);
    b = learner_beliefs(l, p);
    o = b ? beliefs_json(b, NULL, true) : NULL;
    beliefs_unref(b);
    learner_close(l);
    return o;
}

void explain_beliefs_read(struct explain_beliefs *e, struct policy *p,
                          const struct policy_route *route, struct slice class_name)
{
    struct err_text why = {""};
    char *path = control_learn_path(p);

    *e = (struct explain_beliefs){.route = route, .class_name = class_name};
    if (!path)
        snprintf(e->why, sizeof e->why,
                 "what has been learnt lies in the policy's Redis: ask a running weir with --url");
    else if (access(path, F_OK) != 0)
        snprintf(
            e->why, sizeof e->why,
            "nothing has been learnt here yet (there is no %s): models are asked as guesses by "
            "prices say",
            path);
    else if (!(e->answer = read_file(path, p, &why)))
        snprintf(e->why, sizeof e->why, "what has been learnt cannot be read: %.400s", why.s);
    else
        choose_context(e);
    free(path);
}

void explain_beliefs_clear(struct explain_beliefs *e)
{
    json_decref(e->answer);
}

/* ---- words ---- */

static const json_t *model_of(const json_t *context, const char *name)
{
    const json_t *models = json_object_get(context, "models");

    for (size_t i = 0; i < json_array_size(models); i++)
        if (strcmp(admin_client_text(json_array_get(models, i), "model"), name) == 0)
            return json_array_get(models, i);
    return NULL;
}

static void tell_head(const struct explain_beliefs *e, FILE *f)
{
    char built[32];

    clock_rfc3339((int64_t)json_integer_value(json_object_get(e->answer, "version")), built,
                  sizeof built);
    fprintf(f, "believed on %s of route '%s', ", built, e->route->name);
    if (e->own_class && e->class_name.n)
        fprintf(f, "class '%.*s'", SLICE_ARG(e->class_name));
    else if (e->class_name.n)
        fprintf(f, "of which class '%.*s' has no counts of its own yet", SLICE_ARG(e->class_name));
    else
        fprintf(f, "queries of no class");
    fprintf(f, " (%.0f requests, %.0f labels):\n", admin_client_number(e->context, "requests"),
            labels_of(e->context));
}

static void tell_step(const json_t *context, const json_t *step, bool last, FILE *f)
{
    const json_t *m = model_of(context, admin_client_text(step, "model"));

    fprintf(f, "  %-24s first %5.1f %%, asked %5.1f %%; %.0f %% successes [%.0f, %.0f] at $%.6f",
            admin_client_text(step, "model"), 100 * admin_client_number(step, "first"),
            100 * admin_client_number(step, "asked"), 100 * admin_client_number(m, "success"),
            100 * admin_client_number(m, "success_low"),
            100 * admin_client_number(m, "success_high"),
            admin_client_number(m, "cost_nanousd") / 1e9);
    if (last)
        fprintf(f, "\n");
    else
        fprintf(f, "; enough from a chance of %.2f on\n", admin_client_number(step, "enough"));
}

/* The way of those requests that are decided as if nothing were in doubt, as far as it is gone. */
static void tell_without_doubt(const json_t *context, FILE *f)
{
    const json_t *way = json_object_get(context, "way_without_doubt");
    double share = admin_client_number(json_object_get(context, "price"), "without_doubt_share");

    for (size_t i = 0; i < json_array_size(way); i++) {
        const json_t *step = json_array_get(way, i), *next = json_array_get(way, i + 1);
        if (i == 0)
            fprintf(f, "  %.0f %% of these as if nothing were in doubt:", 100 * share);
        fprintf(f, " %s", admin_client_text(step, "model"));
        if (admin_client_number(next, "asked") < LEAST_ASKED)
            break;
        fprintf(f, ", enough from a chance of %.2f on, then", admin_client_number(step, "enough"));
    }
    if (way)
        fputc('\n', f);
}

void explain_beliefs_tell(const struct explain_beliefs *e, FILE *f)
{
    const json_t *way = json_object_get(e->context, "way");
    const char *single = admin_client_text(e->context, "one_model_is_best");
    size_t steps = json_array_size(way);

    fputc('\n', f);
    if (e->context)
        tell_head(e, f);
    for (size_t i = 0; i < steps; i++)
        tell_step(e->context, json_array_get(way, i), i + 1 == steps, f);
    tell_without_doubt(e->context, f);
    if (*single)
        fprintf(f, "for this class one model is best: %s; a cascade gains nothing on it\n", single);
    if (e->why[0])
        fprintf(f, "%s\n", e->why);
}

json_t *explain_beliefs_json(const struct explain_beliefs *e)
{
    json_t *o = json_object(), *version = json_object_get(e->answer, "version");

    json_put(o, "version", version ? json_incref(version) : NULL);
    json_put_text(o, "why", e->why[0] ? e->why : NULL);
    json_put(o, "context", e->context ? json_deep_copy(e->context) : NULL);
    return o;
}

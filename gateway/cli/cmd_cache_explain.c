/* weir cache explain and wrong: why a question is answered from the cache or not, and what to do
 * about an answer that it should not have got. */
#include <stdlib.h>
#include <string.h>
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/confirm.h"
#include "gateway/cli/out.h"

/* The question as the API takes it: text, model, tenant, class, as far as they are given. */
static json_t *question_of(const struct cli_args *a, const char *text)
{
    static const char *const options[] = {"model", "tenant", "class"};
    json_t *o = json_object();

    json_object_set_new(o, "text", json_string(text));
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (cli_value(a, options[i]))
            json_object_set_new(o, options[i], json_string(cli_value(a, options[i])));
    return o;
}

#define QUESTION_OPTIONS                                                                           \
    {.name = "model",                                                                              \
     .argument = "NAME",                                                                           \
     .help = "The model that the client would ask for; auto when not given."},                     \
        {.name = "tenant", .argument = "NAME", .help = "Who would ask."},                          \
    {                                                                                              \
        .name = "class", .argument = "NAME",                                                       \
        .help = "What it would be found to be, where routes "                                      \
                "hang on a class."                                                                 \
    }

/* ---- explain ---- */

static void print_neighbour(const json_t *n)
{
    const json_t *p = json_object_get(n, "probability");
    const char *guard = admin_client_text(n, "guard"), *verdict = admin_client_text(n, "verdict");

    printf("%-16s  %.4f  ", admin_client_text(n, "id"),
           json_real_value(json_object_get(n, "cosine")));
    if (json_is_real(p))
        printf("%.4f  ", json_real_value(p));
    else
        printf("%6s  ", "-");
    printf("%-9s %s%s%s  ", *guard ? guard : "-",
           out_style(stdout, strcmp(verdict, "served") == 0 ? OUT_GREEN : OUT_PLAIN), verdict,
           out_style(stdout, OUT_PLAIN));
    cache_client_print_line(stdout, admin_client_text(n, "text"), 60);
    putchar('\n');
}

static void print_semantic(const json_t *o)
{
    const json_t *s = json_object_get(o, "semantic"), *cut = json_object_get(s, "cut");
    const char *why_not = admin_client_text(s, "why_not");

    if (*why_not) {
        printf("by meaning: not looked for: %s\n", why_not);
        return;
    }
    printf("by meaning: wrong answers up to %.2f %% of requests; %lld labels%s%s%s; ",
           100 * json_real_value(json_object_get(s, "max_error")), admin_client_int(s, "labels"),
           json_is_true(json_object_get(s, "warm")) ? "" : ", too few",
           json_is_true(json_object_get(s, "alarm")) ? ", ALARM" : "",
           json_is_true(json_object_get(s, "shadow")) ? ", in shadow" : "");
    if (json_is_real(cut))
        printf("served from a probability of %.4f on\n", json_real_value(cut));
    else
        printf("nothing is served\n");
}

static void print_explained(const json_t *o)
{
    const json_t *exact = json_object_get(o, "exact"), *near = json_object_get(o, "near");
    const char *scope = admin_client_text(o, "scope");

    printf("%s%s%s: route %s, scope %s\n", out_style(stdout, OUT_BOLD),
           admin_client_text(o, "verdict"), out_style(stdout, OUT_PLAIN),
           admin_client_text(o, "route"), *scope ? scope : "(shared)");
    if (json_is_object(exact))
        printf("as it is:   answered by %s\n", admin_client_text(exact, "id"));
    else
        printf("as it is:   nobody asked it\n");
    print_semantic(o);
    if (json_array_size(near) > 0)
        printf("\n%s%-16s  %-6s  %-6s  %-9s %s%s\n", out_style(stdout, OUT_BOLD), "NEAREST",
               "COSINE", "P", "GUARD", "VERDICT AND QUESTION", out_style(stdout, OUT_PLAIN));
    for (size_t i = 0; i < json_array_size(near); i++)
        print_neighbour(json_array_get(near, i));
}

static int explain(const struct cli_args *a)
{
    struct admin_client c;

    admin_client_init(&c, a);
    json_t *o =
        admin_client_ask(&c, "POST", "/admin/cache/explain", question_of(a, a->operands[0]));
    if (o && c.json)
        out_json(json_incref(o));
    else if (o)
        print_explained(o);
    json_decref(o);
    return c.code;
}

const struct cli_command cmd_cache_explain = {
    .name = "cache explain",
    .operands = "TEXT",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "say what would become of a question, and why",
    .description =
        "TEXT as the only message of a chat: would it be answered from the cache? Shows the entry "
        "that answers just this question, and the five nearest by meaning with their cosine, the "
        "guard that refuses one, the probability that its answer would be right, the cut, and the "
        "verdict; or why none are looked for. Nothing is served or counted.",
    .options = (const struct cli_option[]){ADMIN_CLIENT_OPTIONS, QUESTION_OPTIONS, {0}},
    .examples = (const struct cli_example[]){{"weir cache explain 'how do I reset my password?' "
                                              "--tenant acme --model auto",
                                              "Why was that a hit?"},
                                             {0}},
    .run = explain,
};

/* ---- wrong ---- */

static bool label(struct admin_client *c, const struct cli_args *a, const char *text)
{
    json_t *o = question_of(a, text);

    json_object_set_new(o, "id", json_string(a->operands[0]));
    json_object_set_new(o, "right", json_false());
    json_t *done = admin_client_ask(c, "POST", "/admin/cache/label", o);
    json_decref(done);
    return done;
}

static bool put_away(struct admin_client *c, const char *id, bool keep)
{
    char *path = cache_client_name("/admin/cache/entries/", id);
    json_t *done = keep ? admin_client_ask(c, "POST", "/admin/cache/mark",
                                           json_pack("{s:s,s:b}", "id", id, "quarantined", 1))
                        : admin_client_ask(c, "DELETE", path, NULL);

    free(path);
    json_decref(done);
    return done;
}

static int wrong(const struct cli_args *a)
{
    const char *id = a->operands[0], *text = cli_value(a, "question");
    bool keep = cli_flag(a, "keep"), labelled = false;
    struct admin_client c;

    admin_client_init(&c, a);
    if (!text && (cli_value(a, "model") || cli_value(a, "tenant") || cli_value(a, "class"))) {
        fprintf(stderr, "weir cache wrong: --model, --tenant and --class go with --question\n");
        return EXIT_CODE_USAGE;
    }
    if (!keep && !confirm("cache wrong", cli_flag(a, "yes"), "Remove the entry?", "y"))
        return EXIT_CODE_FOUND;
    if (text)
        labelled = label(&c, a, text);
    int code = c.code;
    if (!put_away(&c, id, keep))
        return c.code;
    if (c.json)
        out_json(json_pack("{s:s,s:b,s:b}", "id", id, "labelled", labelled, "kept", keep));
    else
        printf("%s %s; %s\n", id, keep ? "is quarantined" : "is removed",
               labelled ? "what was wrong about it is learned"
               : text   ? "nothing was learned from it"
                        : "no question was given to learn from (--question)");
    return code;
}

const struct cli_command cmd_cache_wrong = {
    .name = "cache wrong",
    .operands = "ID",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "say that an answer was wrong: it is removed, and learned from",
    .description =
        "From one moment to the next nobody is given the entry. With --question, what it was the "
        "wrong answer to, it also becomes a label: questions that are to each other as these two "
        "are less likely to share an answer.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            {.name = "question", .argument = "TEXT", .help = "What was asked when it was served."},
            QUESTION_OPTIONS,
            {.name = "keep", .help = "Quarantine it instead, to be looked at."},
            {.name = "yes", .letter = 'y', .help = "Do not ask before removing."},
            {0},
        },
    .examples = (const struct cli_example[]){{"weir cache wrong 00c0ffee00c0ffee --keep --question "
                                              "'how do I close my account?' --tenant acme",
                                              "It spoke of another account."},
                                             {0}},
    .run = wrong,
};

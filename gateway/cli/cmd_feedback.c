/* weir feedback: says what became of an answer, as a client would. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/out.h"

#define DEFAULT_URL "http://127.0.0.1:8080/v1"

static int complain(const char *why, int code)
{
    fprintf(stderr, "weir feedback: %s\n", why);
    return code;
}

/* A number that is all of its text. */
static bool read_score(const char *text, double *out)
{
    char *end;

    errno = 0;
    *out = strtod(text, &end);
    return errno == 0 && end != text && *end == '\0' && *out >= 0 && *out <= 1;
}

/* What is said as the endpoint wants it; NULL: it is not clear what. */
static json_t *make_body(const struct cli_args *a, const char **why)
{
    const char *score = cli_value(a, "score"), *correction = cli_value(a, "correction"),
               *source = cli_value(a, "source"), *reason = cli_value(a, "reason");
    bool success = cli_flag(a, "success"), failure = cli_flag(a, "failure"),
         withdraw = cli_flag(a, "withdraw");
    int verdicts = success + failure + withdraw + (score != NULL);
    double value = 0;

    if (verdicts > 1 || (verdicts == 0 && !correction)) {
        *why = "say one of --success, --failure, --score and --withdraw, or --correction";
        return NULL;
    }
    if (score && !read_score(score, &value)) {
        *why = "--score takes a number from 0 to 1";
        return NULL;
    }
    json_t *body = json_pack("{s:s}", "request_id", a->operands[0]);
    if (success || failure)
        json_object_set_new(body, "success", json_boolean(success));
    if (score || withdraw)
        json_object_set_new(body, "score", score ? json_real(value) : json_null());
    if (correction)
        json_object_set_new(body, "correction", json_string(correction));
    if (source)
        json_object_set_new(body, "source", json_string(source));
    if (reason)
        json_object_set_new(body, "reason", json_string(reason));
    return body;
}

static void print_answer(const json_t *answer)
{
    const json_t *score = json_object_get(answer, "score");
    const char *model = json_string_value(json_object_get(answer, "model"));

    printf("%s's answer: ", model ? model : "?");
    if (json_is_number(score))
        printf("%.3g", json_number_value(score));
    else
        printf("withdrawn");
    printf("%s\n", json_is_true(json_object_get(answer, "changed")) ? "" : ", as was known");
}

static int refused(const json_t *answer, int status)
{
    const char *message =
        json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    char why[640];

    snprintf(why, sizeof why, "%s%s", message ? message : "it did not work",
             status == 401 ? " (set WEIR_API_KEY)" : "");
    return complain(why, status == 404 ? EXIT_CODE_FOUND : EXIT_CODE_RUNTIME);
}

static int unreached(const char *url, const char *why)
{
    fprintf(stderr, "weir feedback: %s: %s\n", url, why);
    return EXIT_CODE_RUNTIME;
}

static int feedback(const struct cli_args *a)
{
    const char *why = "the words are not UTF-8";
    json_t *body = make_body(a, &why), *answer;
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    const char *url = cli_value(a, "url") ? cli_value(a, "url") : DEFAULT_URL;
    struct err_text t = {""};
    struct buf reply;
    int status = 0, code = EXIT_CODE_OK;

    json_decref(body);
    if (!text)
        return complain(why, EXIT_CODE_USAGE);
    buf_init(&reply, FETCH_BYTES);
    enum err err = fetch(&(struct fetch_ask){.base_url = url,
                                             .path = "/feedback",
                                             .api_key = getenv("WEIR_API_KEY"),
                                             .method = "POST",
                                             .content_type = "application/json",
                                             .body = slice_str(text)},
                         &reply, &status, &t);
    answer = json_loadb(buf_slice(&reply).p, buf_len(&reply), 0, NULL);
    if (err != ERR_OK)
        code = unreached(url, t.s);
    else if (status != 200)
        code = refused(answer, status);
    else if (cli_flag(a, "json"))
        out_json(json_incref(answer));
    else
        print_answer(answer);
    json_decref(answer);
    buf_clear(&reply);
    free(text);
    return code;
}

const struct cli_command cmd_feedback = {
    .name = "feedback",
    .operands = "REQUEST_ID",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "say what became of an answer",
    .description =
        "Tells a running weir whether the answer of a request was any good (POST /v1/feedback). "
        "The id is the reply's x-request-id. Said again it changes nothing; another word replaces "
        "the earlier one of the same source; --withdraw takes it back.\n\n"
        "WEIR_API_KEY is the key of the tenant whose request it was, where the policy has tenants.",
    .options =
        (const struct cli_option[]){
            {.name = "success", .help = "It was good."},
            {.name = "failure", .help = "It was not."},
            {.name = "score", .argument = "X", .help = "How good it was, 0 to 1."},
            {.name = "withdraw", .help = "Nothing is to be taken as said."},
            {.name = "correction",
             .argument = "TEXT",
             .help = "What it should have been; alone it says that it was not good enough."},
            {.name = "source",
             .argument = "NAME",
             .help = "Who says so: explicit (when not given), validator, judge, correction, "
                     "implicit."},
            {.name = "reason", .argument = "TEXT", .help = "For the ledger."},
            {.name = "url",
             .argument = "URL",
             .help = "Where clients find it; " DEFAULT_URL " when not given."},
            {.name = "json", .help = "Write the API's answer as JSON."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir feedback req_019a2c3e4f5061728394a5b6c7d8e9f0 --success", "It worked."},
            {"weir feedback req_019a2c3e4f5061728394a5b6c7d8e9f0 --score 0.5 --reason 'half right'",
             "It worked in part."},
            {0},
        },
    .run = feedback,
};

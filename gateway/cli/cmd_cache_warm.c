/* weir cache warm: questions of a file are in the cache before anybody asks them, with answers that
 * the file brings along, or that the fleet gives within a budget. */
#include <stdlib.h>
#include <string.h>
#include "base/mem.h"
#include "base/money.h"
#include "gateway/cli/cache_client.h"
#include "gateway/cli/cmd_cache.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/jsonl.h"
#include "gateway/cli/out.h"
#include "gateway/cli/progress.h"

#define DEFAULT_API   "http://127.0.0.1:8080/v1"
#define DEFAULT_MODEL "auto"
#define BATCH_ROWS    32
#define BATCH_BYTES   ((size_t)1 << 20)
#define MOST_FAILURES 10 /* one after the other */
#define ANSWER_MS     300000

struct warm {
    const struct cli_args *args;
    struct admin_client *c;
    const char *api, *key; /* of the fleet */
    json_t *rows;          /* owned: {"line", "request", "answer"?} */
    size_t to_ask;         /* without an answer */
    nanousd budget, spent, dearest;
    long long stored, asked, hits, failed, plain, left;
    size_t failures;
    struct progress progress;
    uint64_t done;
};

/* ---- reading ---- */

static int complain(const char *what)
{
    fprintf(stderr, "weir cache warm: %s\n", what);
    return EXIT_CODE_FOUND;
}

static json_t *request_of(const struct warm *w, const json_t *row)
{
    const char *model = cli_value(w->args, "model"),
               *own = json_string_value(json_object_get(row, "model"));
    json_t *messages = json_object_get(row, "messages"), *prompt = json_object_get(row, "prompt");
    json_t *o = json_object();

    json_object_set_new(o, "model", json_string(own ? own : model ? model : DEFAULT_MODEL));
    if (messages)
        json_object_set(o, "messages", messages);
    else
        json_object_set_new(o, "messages",
                            json_pack("[{s:s,s:O}]", "role", "user", "content", prompt));
    return o;
}

static const char *what_is_wrong(const json_t *row)
{
    const json_t *messages = json_object_get(row, "messages"),
                 *prompt = json_object_get(row, "prompt"), *answer = json_object_get(row, "answer"),
                 *model = json_object_get(row, "model");

    if (!messages == !prompt)
        return "either \"messages\" or \"prompt\" must be there";
    if ((messages && !json_is_array(messages)) || (prompt && !json_is_string(prompt)))
        return "\"messages\" is a list, \"prompt\" a string";
    if (answer && (!json_is_string(answer) || json_string_length(answer) == 0))
        return "\"answer\" is a string, and not empty";
    return model && !json_is_string(model) ? "\"model\" is a string" : NULL;
}

static bool take_row(struct warm *w, const json_t *row, const char *file, size_t line,
                     struct err_text *t)
{
    const char *wrong = what_is_wrong(row);
    json_t *answer = json_object_get(row, "answer"), *o;

    if (wrong) {
        err_say(t, "%s:%zu: %s", file, line, wrong);
        return false;
    }
    o = json_pack("{s:I,s:o}", "line", (json_int_t)line, "request", request_of(w, row));
    if (answer)
        json_object_set(o, "answer", answer);
    w->to_ask += !answer;
    json_array_append_new(w->rows, o);
    return true;
}

/* The whole file is looked at before anything is done or spent. */
static bool read_rows(struct warm *w, const char *file, struct err_text *t)
{
    struct jsonl *f = jsonl_open(file, t);
    json_t *row = NULL;
    bool good = f;

    while (good && (good = jsonl_next(f, &row, t) == ERR_OK) && row) {
        good = take_row(w, row, file, jsonl_line(f), t);
        json_decref(row);
    }
    jsonl_close(f);
    return good;
}

/* ---- answers of the file ---- */

static void step(struct warm *w, size_t rows)
{
    w->done += rows;
    progress_update(&w->progress, w->done, json_array_size(w->rows));
}

static bool send_batch(struct warm *w, struct buf *lines, size_t rows)
{
    struct fetch_ask ask = {.base_url = w->c->url,
                            .path = "/admin/cache/warm",
                            .api_key = w->c->key,
                            .method = "POST",
                            .content_type = "application/x-ndjson",
                            .body = buf_slice(lines),
                            .total_ms = ANSWER_MS};
    struct err_text t = {""};
    struct buf answer;
    int status = 0;

    if (rows == 0)
        return true;
    buf_init(&answer, FETCH_BYTES);
    if (fetch(&ask, &answer, &status, &t) != ERR_OK) {
        complain(t.s);
        w->c->code = EXIT_CODE_RUNTIME;
    } else if (status != 200) {
        admin_client_complain(w->c, status, buf_slice(&answer));
    } else {
        json_t *o = json_loadb(buf_slice(&answer).p, buf_len(&answer), 0, NULL);
        w->stored += admin_client_int(o, "stored");
        w->failed += admin_client_int(o, "refused");
        w->plain += admin_client_int(o, "without_vector");
        json_decref(o);
    }
    buf_clear(&answer);
    buf_reset(lines);
    step(w, rows);
    return w->c->code == EXIT_CODE_OK;
}

static void store_given(struct warm *w)
{
    const char *tenant = cli_value(w->args, "tenant");
    struct buf lines;
    size_t i, rows = 0;
    json_t *row;
    bool good = true;

    buf_init(&lines, 4 * BATCH_BYTES);
    json_array_foreach(w->rows, i, row)
    {
        json_t *answer = json_object_get(row, "answer");
        if (!answer)
            continue;
        json_t *o =
            json_pack("{s:O,s:O}", "request", json_object_get(row, "request"), "answer", answer);
        if (tenant)
            json_object_set_new(o, "tenant", json_string(tenant));
        char *text = json_dumps(o, JSON_COMPACT | JSON_PRESERVE_ORDER);
        mem_need(text);
        good = buf_printf(&lines, "%s\n", text) == ERR_OK;
        if (!good)
            w->c->code = complain("a row is longer than 4 MiB");
        free(text);
        json_decref(o);
        rows++;
        if (good && (rows == BATCH_ROWS || buf_len(&lines) > BATCH_BYTES)) {
            good = send_batch(w, &lines, rows);
            rows = 0;
        }
        if (!good)
            break;
    }
    if (good)
        send_batch(w, &lines, rows);
    buf_clear(&lines);
}

/* ---- answers of the fleet ---- */

static void on_header(void *ctx, struct slice name, struct slice value)
{
    struct warm *w = ctx;
    nanousd cost;

    if (slice_ieq(name, SLICE("x-weir-cost-usd")) && money_parse_usd(value, &cost)) {
        w->spent = money_add(w->spent, cost);
        w->dearest = cost > w->dearest ? cost : w->dearest;
    } else if (slice_ieq(name, SLICE("x-weir-cache")) && !slice_eq(value, SLICE("miss"))) {
        w->hits++;
    }
}

static void ask_one(struct warm *w, json_t *row)
{
    char *body = json_dumps(json_object_get(row, "request"), JSON_COMPACT | JSON_PRESERVE_ORDER);
    struct fetch_ask ask = {.base_url = w->api,
                            .path = "/chat/completions",
                            .api_key = w->key,
                            .method = "POST",
                            .content_type = "application/json",
                            .body = slice_str(body),
                            .total_ms = ANSWER_MS,
                            .on_header = on_header,
                            .ctx = w};
    struct err_text t = {""};
    struct buf answer;
    int status = 0;

    mem_need(body);
    buf_init(&answer, FETCH_BYTES);
    enum err err = fetch(&ask, &answer, &status, &t);
    bool good = err == ERR_OK && status == 200;
    w->asked++;
    w->failed += !good;
    w->failures = good ? 0 : w->failures + 1;
    if (!good && w->failures == 1)
        fprintf(stderr, "weir cache warm: line %lld: %s%.*s\n", admin_client_int(row, "line"),
                err == ERR_OK ? "" : t.s, err == ERR_OK ? (int)buf_len(&answer) : 0,
                buf_slice(&answer).p);
    buf_clear(&answer);
    free(body);
    step(w, 1);
}

/* Not one more that could go beyond the budget, as far as prices so far tell. */
static void ask_fleet(struct warm *w)
{
    size_t i;
    json_t *row;

    json_array_foreach(w->rows, i, row)
    {
        if (json_object_get(row, "answer"))
            continue;
        if (money_add(w->spent, w->dearest) > w->budget || w->failures >= MOST_FAILURES)
            w->left++;
        else
            ask_one(w, row);
    }
    if (w->failures >= MOST_FAILURES)
        w->c->code = complain("given up: ten questions in a row were not answered");
    else if (w->left > 0)
        w->c->code = EXIT_CODE_FOUND;
}

/* ---- the command ---- */

static void report(const struct warm *w)
{
    char spent[32];

    money_format_usd(w->spent, spent, sizeof spent);
    if (w->c->json) {
        out_json(json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:s}", "stored", w->stored, "asked", w->asked,
                           "hits", w->hits, "failed", w->failed, "without_vector", w->plain, "left",
                           w->left, "spent_usd", spent));
        return;
    }
    printf("%lld answers stored; %lld asked of the fleet, USD %s, %lld of them were there already; "
           "%lld failed",
           w->stored, w->asked, spent, w->hits, w->failed);
    if (w->left)
        printf("; %lld left: the budget is spent", w->left);
    putchar('\n');
}

static int run(struct warm *w, const char *file)
{
    struct err_text t;

    if (!read_rows(w, file, &t))
        return complain(t.s);
    if (w->to_ask > 0 && !cli_value(w->args, "max-usd") && !cli_flag(w->args, "dry-run")) {
        err_say(&t, "%zu rows have no answer: --max-usd says what asking the fleet may cost",
                w->to_ask);
        complain(t.s);
        return EXIT_CODE_USAGE;
    }
    if (cli_flag(w->args, "dry-run")) {
        if (w->c->json)
            out_json(json_pack("{s:I,s:I}", "rows", (json_int_t)json_array_size(w->rows), "to_ask",
                               (json_int_t)w->to_ask));
        else
            printf("%zu rows, %zu of them to be asked of the fleet\n", json_array_size(w->rows),
                   w->to_ask);
        return EXIT_CODE_OK;
    }
    progress_begin(&w->progress, "warming", PROGRESS_COUNT);
    store_given(w);
    if (w->c->code == EXIT_CODE_OK)
        ask_fleet(w);
    progress_end(&w->progress);
    report(w);
    return w->c->code;
}

static int warm(const struct cli_args *a)
{
    const char *budget = cli_value(a, "max-usd"), *api = cli_value(a, "api");
    struct admin_client c;
    struct warm w = {.args = a, .c = &c, .api = api ? api : DEFAULT_API, .rows = json_array()};

    admin_client_init(&c, a);
    w.key = getenv("WEIR_CLIENT_KEY");
    if (!w.key)
        w.key = c.key;
    if (budget && !money_parse_usd(slice_str(budget), &w.budget)) {
        fprintf(stderr, "weir cache warm: --max-usd %s: an amount is wanted, as 2.50\n", budget);
        json_decref(w.rows);
        return EXIT_CODE_USAGE;
    }
    int code = run(&w, a->operands[0]);
    json_decref(w.rows);
    return code;
}

const struct cli_command cmd_cache_warm = {
    .name = "cache warm",
    .operands = "FILE",
    .min_operands = 1,
    .max_operands = 1,
    .summary = "answer the questions of a file before anybody asks them",
    .description =
        "FILE holds lines of JSON, compressed by gzip or not: \"messages\" of a chat, or a "
        "\"prompt\"; perhaps a \"model\"; perhaps an \"answer\". An answer that is there is stored "
        "as it is, for --tenant, in the place of what was stored for the question. Questions "
        "without one are asked of the fleet through weir's own API (--api, with the key of "
        "WEIR_CLIENT_KEY, else WEIR_API_KEY), like any client's, one after the other, until "
        "--max-usd is spent. The whole file is checked first.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTIONS,
            {.name = "api",
             .argument = "URL",
             .help = "Weir's API for clients; http://127.0.0.1:8080/v1 when not given."},
            {.name = "model", .argument = "NAME", .help = "Of rows that name none; auto."},
            {.name = "tenant", .argument = "NAME", .help = "Whose the given answers are."},
            {.name = "max-usd", .argument = "AMOUNT", .help = "What asking the fleet may cost."},
            {.name = "dry-run", .help = "Check and count the rows."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir cache warm faq.jsonl --tenant acme", "Answers that are known."},
            {"weir cache warm questions.jsonl.gz --max-usd 2.50", "Answers for at most that much."},
            {0},
        },
    .run = warm,
};

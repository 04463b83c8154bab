/* weir top: the fleet live in a terminal. */
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"
#include "gateway/cli/cache_client.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/out.h"
#include "gateway/cli/samples.h"
#include "gateway/cli/terminal.h"

#define REFRESH_MS 1000
#define MAX_MODELS 64

enum top_sort { SORT_RATE, SORT_COST, SORT_ERRORS, SORT_LATENCY, SORTS };
static const char *const sort_names[SORTS] = {"requests", "cost", "errors", "latency"};

/* Of one model, between two looks. */
struct row {
    struct slice name; /* in the newer page */
    double rate, error_share, usd_per_min, p50_s, p99_s, total;
};

struct top {
    const char *url, *key;
    struct samples now, before;
    int64_t now_us, before_us; /* 0: there was no look yet */
    struct row row[MAX_MODELS];
    int rows;
    enum top_sort sort;
    bool paused;
    struct err_text trouble; /* of the last look; "": it went well */
};

/* ---- looking ---- */

static bool look(struct top *t)
{
    struct buf body;
    int status = 0;
    const struct fetch_ask ask = {.base_url = t->url,
                                  .path = "/metrics",
                                  .api_key = t->key,
                                  .accept = "text/plain",
                                  .total_ms = 3000};
    bool good;

    buf_init(&body, FETCH_BYTES);
    t->trouble.s[0] = '\0';
    good = fetch(&ask, &body, &status, &t->trouble) == ERR_OK;
    if (good && status != 200) {
        err_say(&t->trouble, "HTTP status %d%s", status, status == 401 ? "; set WEIR_API_KEY" : "");
        good = false;
    }
    if (good) {
        samples_clear(&t->before);
        t->before = t->now;
        t->before_us = t->now_us;
        samples_init(&t->now, buf_slice(&body));
        t->now_us = clock_mono_us();
    }
    buf_clear(&body);
    return good;
}

static double delta(const struct top *t, const char *name, const char *label, struct slice value)
{
    return samples_sum(&t->now, name, label, value) -
           (t->before_us ? samples_sum(&t->before, name, label, value) : 0);
}

static double seconds(const struct top *t)
{
    return t->before_us ? fmax(1e-3, (double)(t->now_us - t->before_us) / 1e6) : 0;
}

/* Per second; 0 after the first look. */
static double rate(const struct top *t, const char *name, const char *label, struct slice value)
{
    return t->before_us ? delta(t, name, label, value) / seconds(t) : 0;
}

static double good_attempts(const struct top *t, struct slice model)
{
    double sum = 0;

    for (int old = 0; old < 2; old++) {
        const struct samples *s = old ? &t->before : &t->now;
        for (size_t i = 0; i < s->count; i++)
            if (slice_eq(s->at[i].name, SLICE("weir_attempts_total")) &&
                slice_eq(samples_label(&s->at[i], "model"), model) &&
                slice_eq(samples_label(&s->at[i], "outcome"), SLICE("ok")))
                sum += old ? -s->at[i].value : s->at[i].value;
    }
    return sum;
}

static void fill_row(const struct top *t, struct slice name, struct row *r)
{
    double attempts = delta(t, "weir_attempts_total", "model", name);
    const struct samples *before = t->before_us ? &t->before : NULL;

    *r = (struct row){
        .name = name,
        .rate = rate(t, "weir_attempts_total", "model", name),
        .error_share = attempts > 0 ? 1 - good_attempts(t, name) / attempts : 0,
        .usd_per_min = 60 * rate(t, "weir_cost_usd_total", "model", name),
        .p50_s =
            samples_quantile(&t->now, before, "weir_attempt_duration_seconds", "model", name, 0.5),
        .p99_s =
            samples_quantile(&t->now, before, "weir_attempt_duration_seconds", "model", name, 0.99),
        .total = samples_sum(&t->now, "weir_attempts_total", "model", name),
    };
}

static double weight_of(const struct row *r, enum top_sort sort)
{
    switch (sort) {
    case SORT_COST:
        return r->usd_per_min;
    case SORT_ERRORS:
        return r->error_share;
    case SORT_LATENCY:
        return isnan(r->p99_s) ? -1 : r->p99_s;
    case SORT_RATE:
    case SORTS:
        break;
    }
    return r->rate;
}

/* Equal ones: the one that was asked more. */
static bool stands_before(const struct row *a, const struct row *b, enum top_sort sort)
{
    double x = weight_of(a, sort), y = weight_of(b, sort);

    return x > y || (!(x < y) && a->total > b->total);
}

static void fill_rows(struct top *t)
{
    t->rows = 0;
    for (size_t i = 0; i < t->now.count; i++) {
        struct slice name = samples_label(&t->now.at[i], "model");
        struct row row;
        int k = 0;
        if (!slice_eq(t->now.at[i].name, SLICE("weir_attempts_total")))
            continue;
        while (k < t->rows && !slice_eq(t->row[k].name, name))
            k++;
        if (k < t->rows || t->rows == MAX_MODELS)
            continue;
        fill_row(t, name, &row);
        for (k = t->rows++; k > 0 && stands_before(&row, &t->row[k - 1], t->sort); k--)
            t->row[k] = t->row[k - 1];
        t->row[k] = row;
    }
}

/* ---- drawing ---- */

/* Of a screen of 80 columns, models' names get the rest. Above the models: four lines and their
 * heads. */
enum { NAME_WIDTH = 20, OTHER_COLUMNS = 60, HEAD_LINES = 5 };

static const char *milliseconds(double s, char out[16])
{
    if (isnan(s))
        return "-";
    snprintf(out, 16, "%.0f", 1000 * s);
    return out;
}

static double cached_share(const struct top *t)
{
    double all = delta(t, "weir_cache_requests_total", NULL, SLICE("")), hits = 0;
    static const char *const kinds[] = {"hit", "semantic", "coalesced"};

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        hits += delta(t, "weir_cache_requests_total", "result", slice_str(kinds[i]));
    return all > 0 ? 100 * hits / all : 0;
}

static double gauge(const struct top *t, const char *name)
{
    return samples_sum(&t->now, name, NULL, SLICE(""));
}

static double quantile(const struct top *t, const char *name, double q)
{
    return samples_quantile(&t->now, t->before_us ? &t->before : NULL, name, NULL, SLICE(""), q);
}

/* Lines of the screen, each within its width; on a screen the rest of each is cleared. */
static void put_line(bool screen, int columns, const char *text)
{
    printf("%.*s%s\n", columns, text, screen ? "\033[K" : "");
}

static void draw_head(const struct top *t, bool screen, int columns)
{
    char line[256], a[16], b[16], c[16], d[16];

    snprintf(line, sizeof line, "weir %.80s  %.0f in flight, %.0f connections%s%s%.80s", t->url,
             gauge(t, "weir_requests_in_flight"), gauge(t, "weir_client_connections"),
             t->paused ? "  PAUSED" : "", t->trouble.s[0] ? "  " : "", t->trouble.s);
    put_line(screen, columns, line);
    snprintf(line, sizeof line, "%.1f requests/s  $%.6f/min  cache %.0f %%  outcomes %.1f/s",
             rate(t, "weir_requests_total", NULL, SLICE("")),
             60 * rate(t, "weir_cost_usd_total", NULL, SLICE("")), cached_share(t),
             rate(t, "weir_learn_outcomes_total", NULL, SLICE("")));
    put_line(screen, columns, line);
    snprintf(line, sizeof line, "p50 / p99 ms: first token %s / %s, whole answer %s / %s",
             milliseconds(quantile(t, "weir_time_to_first_token_seconds", 0.5), a),
             milliseconds(quantile(t, "weir_time_to_first_token_seconds", 0.99), b),
             milliseconds(quantile(t, "weir_request_duration_seconds", 0.5), c),
             milliseconds(quantile(t, "weir_request_duration_seconds", 0.99), d));
    put_line(screen, columns, line);
    snprintf(line, sizeof line,
             "waiting: %.0f for the ledger, %.0f for the learner's store, which is %s",
             gauge(t, "weir_ledger_queue"), gauge(t, "weir_learn_waiting"),
             gauge(t, "weir_learn_store_up") > 0 ? "up" : "not there");
    put_line(screen, columns, line);
}

/* The newer page's gauges of tenants' budgets, each with what was spent of it. */
#define EACH_BUDGET(t, i)                                                                          \
    for (size_t i = 0; i < (t)->now.count; i++)                                                    \
        if (slice_eq((t)->now.at[i].name, SLICE("weir_tenant_budget_usd")))

static double spent_of(const struct top *t, const struct sample *budget)
{
    for (size_t i = 0; i < t->now.count; i++)
        if (slice_eq(t->now.at[i].name, SLICE("weir_tenant_spent_usd")) &&
            slice_eq(t->now.at[i].labels, budget->labels))
            return t->now.at[i].value;
    return NAN;
}

/* Budgets hold over replicas, and their store is away. */
static bool others_unheard(const struct top *t)
{
    for (size_t i = 0; i < t->now.count; i++)
        if (slice_eq(t->now.at[i].name, SLICE("weir_spends_store_up")))
            return t->now.at[i].value == 0;
    return false;
}

/* Returns how many lines it took; at most `room`. */
static int draw_budgets(const struct top *t, bool screen, int columns, int room)
{
    char line[256];
    int lines = 0;

    EACH_BUDGET(t, i)
    {
        const struct sample *s = &t->now.at[i];
        struct slice tenant = samples_label(s, "tenant"), period = samples_label(s, "period");
        double spent = spent_of(t, s);
        if (lines == room)
            break;
        snprintf(line, sizeof line, "%-20.*s spent $%.6f of $%.6f a %.*s%s%s",
                 tenant.n > 20 ? 20 : (int)tenant.n, tenant.p, spent, s->value,
                 (int)(period.n > 8 ? 8 : period.n), period.p,
                 spent >= s->value ? "  AT ITS LIMIT" : "",
                 others_unheard(t) ? "  (other replicas are not heard)" : "");
        put_line(screen, columns, line);
        lines++;
    }
    return lines;
}

/* As wide as the longest name, where the other columns leave room for it. */
static int name_width(const struct top *t, int columns)
{
    int longest = NAME_WIDTH, room = columns - OTHER_COLUMNS;

    for (int i = 0; i < t->rows; i++)
        longest = t->row[i].name.n > (size_t)longest ? (int)t->row[i].name.n : longest;
    return longest < room ? longest : room > NAME_WIDTH ? room : NAME_WIDTH;
}

static void draw(const struct top *t, bool screen)
{
    int rows = 24, columns = 256; /* of a screen: its own */
    double all = rate(t, "weir_attempts_total", NULL, SLICE(""));
    char line[512], a[16], b[16];

    if (screen)
        terminal_size(&rows, &columns);
    if (screen)
        fputs("\033[H", stdout);
    draw_head(t, screen, columns);
    rows -= draw_budgets(t, screen, columns, screen ? rows / 4 : INT_MAX);
    int width = name_width(t, columns);
    snprintf(line, sizeof line, "%-*s %8s %7s %6s %11s %7s %7s %7s", width, "MODEL", "ASKED/S",
             "SHARE %", "ERR %", "USD/MIN", "P50 MS", "P99 MS", "EVER");
    put_line(screen, columns, line);
    for (int i = 0; i < t->rows && (!screen || i < rows - HEAD_LINES - 1); i++) {
        const struct row *r = &t->row[i];
        snprintf(line, sizeof line, "%-*.*s %8.1f %7.1f %6.1f %11.6f %7s %7s %7.0f", width,
                 r->name.n > (size_t)width ? width : (int)r->name.n, r->name.p, r->rate,
                 all > 0 ? 100 * r->rate / all : 0, 100 * r->error_share, r->usd_per_min,
                 milliseconds(r->p50_s, a), milliseconds(r->p99_s, b), r->total);
        put_line(screen, columns, line);
    }
    if (!screen)
        return;
    snprintf(line, sizeof line, "q quit  s sort (%s)  p pause", sort_names[t->sort]);
    printf("\033[J%.*s", columns, line);
    fflush(stdout);
}

static json_t *number(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *label_json(const struct sample *s, const char *label)
{
    struct slice value = samples_label(s, label);
    json_t *text = json_stringn(value.p, value.n);

    return text ? text : json_null();
}

static json_t *budgets_json(const struct top *t)
{
    json_t *list = json_array();

    EACH_BUDGET(t, i)
    {
        const struct sample *s = &t->now.at[i];
        json_t *o = json_object();
        json_object_set_new(o, "tenant", label_json(s, "tenant"));
        json_object_set_new(o, "period", label_json(s, "period"));
        json_object_set_new(o, "budget_usd", number(s->value));
        json_object_set_new(o, "spent_usd", number(spent_of(t, s)));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *as_json(const struct top *t)
{
    json_t *o = json_object(), *list = json_array();

    json_object_set_new(o, "requests_per_s",
                        number(rate(t, "weir_requests_total", NULL, SLICE(""))));
    json_object_set_new(o, "usd_per_min",
                        number(60 * rate(t, "weir_cost_usd_total", NULL, SLICE(""))));
    json_object_set_new(o, "in_flight", number(gauge(t, "weir_requests_in_flight")));
    json_object_set_new(o, "cache_percent", number(cached_share(t)));
    json_object_set_new(o, "p50_s", number(quantile(t, "weir_request_duration_seconds", 0.5)));
    json_object_set_new(o, "p99_s", number(quantile(t, "weir_request_duration_seconds", 0.99)));
    for (int i = 0; i < t->rows; i++) {
        const struct row *r = &t->row[i];
        json_t *m = json_object(), *name = json_stringn(r->name.p, r->name.n);
        json_object_set_new(m, "model", name ? name : json_null());
        json_object_set_new(m, "attempts", number(r->total));
        json_object_set_new(m, "attempts_per_s", number(r->rate));
        json_object_set_new(m, "error_share", number(r->error_share));
        json_object_set_new(m, "usd_per_min", number(r->usd_per_min));
        json_object_set_new(m, "p50_s", number(r->p50_s));
        json_object_set_new(m, "p99_s", number(r->p99_s));
        json_array_append_new(list, m);
    }
    json_object_set_new(o, "models", list);
    json_object_set_new(o, "budgets", budgets_json(t));
    return o;
}

/* ---- running ---- */

static int complain(const struct top *t)
{
    fprintf(stderr, "weir top: %s: %s\n", t->url, t->trouble.s);
    return EXIT_CODE_RUNTIME;
}

static int once(struct top *t, bool json)
{
    struct timespec second = {.tv_sec = 1};

    if (!look(t))
        return complain(t);
    nanosleep(&second, NULL);
    if (!look(t))
        return complain(t);
    fill_rows(t);
    if (json)
        out_json(as_json(t));
    else
        draw(t, false);
    return EXIT_CODE_OK;
}

static int live(struct top *t)
{
    int key = TERMINAL_NOTHING;
    int64_t due_us = 0;

    if (!look(t)) /* before the screen is taken */
        return complain(t);
    if (!terminal_begin()) {
        fprintf(stderr, "weir top: this is no terminal; --once writes one look\n");
        return EXIT_CODE_USAGE;
    }
    for (; key != 'q' && key != TERMINAL_LEAVE;) {
        int64_t now_us = clock_mono_us();
        if (now_us >= due_us) {
            if (!t->paused)
                (void)look(t);
            due_us = now_us + (int64_t)REFRESH_MS * 1000;
        }
        fill_rows(t);
        draw(t, true);
        key = terminal_key((int)((due_us - now_us) / 1000) + 1);
        if (key == 's')
            t->sort = (enum top_sort)((t->sort + 1) % SORTS);
        else if (key == 'p')
            t->paused = !t->paused;
    }
    terminal_end();
    return EXIT_CODE_OK;
}

static int top(const struct cli_args *a)
{
    const char *url = cli_value(a, "url");
    struct top t = {.url = url ? url : "http://127.0.0.1:8081", .key = getenv("WEIR_API_KEY")};
    bool json = cli_flag(a, "json");
    int code = json || cli_flag(a, "once") ? once(&t, json) : live(&t);

    samples_clear(&t.now);
    samples_clear(&t.before);
    return code;
}

const struct cli_command cmd_top = {
    .name = "top",
    .operands = "",
    .summary = "watch a running weir in a terminal",
    .description =
        "Shows once a second what a running weir does: requests and spend, latency and time to "
        "the first token (median / 99th percentile, by the buckets of its histograms), hits of "
        "the cache, the learner and the ledger, tenants' budgets, and each model with its share, "
        "errors, cost and "
        "latency. Asks /metrics of the admin listener, with the key in WEIR_API_KEY where one is "
        "needed.\n\n"
        "Keys: q quits, s sorts by requests, cost, errors or latency, p pauses. With --once it "
        "looks twice, a second apart, and writes one look; it needs no terminal then.",
    .options =
        (const struct cli_option[]){
            ADMIN_CLIENT_OPTION_URL,
            {.name = "once", .help = "Write one look and end."},
            {.name = "json", .help = "The same as JSON."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir top", "What is it doing?"},
            {"weir top --json", "For a script."},
            {0},
        },
    .run = top,
};

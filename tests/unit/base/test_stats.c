/* base/stats: sums over tables, exact text, hostile label values, the bound on label sets, a reader
 * beside writers. */
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/stats.h"

static char *exposition(struct stats *const *tables, size_t n)
{
    struct buf b;
    buf_init(&b, 16 << 20);
    assert_int_equal(stats_write_prometheus(tables, n, &b), ERR_OK);
    assert_int_equal(buf_append(&b, "", 1), ERR_OK);
    return b.data; /* nothing was consumed: head is 0 */
}

static void assert_has_line(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *p = text; (p = strstr(p, line)); p++)
        if ((p == text || p[-1] == '\n') && p[n] == '\n')
            return;
    fail_msg("no line \"%s\" in:\n%s", line, text);
}

static void test_sums_over_tables(void **state)
{
    (void)state;
    struct stats *t[2] = {stats_new(), stats_new()};
    const char *labels[] = {"chat", "default", "200"}, *other[] = {"chat", "default", "429"};
    struct stats_cell *c = stats_cell(t[0], STAT_REQUESTS, labels);
    assert_ptr_equal(c, stats_cell(t[0], STAT_REQUESTS, labels));
    stats_add(c, 5);
    stats_add(stats_cell(t[1], STAT_REQUESTS, labels), 7);
    stats_add(stats_cell(t[1], STAT_REQUESTS, other), 1);
    stats_set(stats_cell(t[0], STAT_CONNECTIONS, NULL), 3);
    stats_set(stats_cell(t[1], STAT_CONNECTIONS, NULL), -1);
    const char *payer[] = {"m", "t"};
    stats_add(stats_cell(t[0], STAT_COST, payer), INT64_C(1234567890));
    stats_add(stats_cell(t[1], STAT_COST, payer), 10);
    char *text = exposition(t, 2);
    assert_has_line(text, "weir_requests_total{api=\"chat\",route=\"default\",code=\"200\"} 12");
    assert_has_line(text, "weir_requests_total{api=\"chat\",route=\"default\",code=\"429\"} 1");
    assert_has_line(text, "weir_client_connections 2");
    assert_has_line(text, "weir_cost_usd_total{model=\"m\",tenant=\"t\"} 1.2345679");
    assert_has_line(text, "weir_ledger_rows_total 0"); /* never touched, without labels */
    assert_has_line(text, "# TYPE weir_requests_total counter");
    assert_has_line(text, "# TYPE weir_client_connections gauge");
    assert_has_line(text, "# TYPE weir_request_duration_seconds histogram");
    assert_null(strstr(strstr(text, "# TYPE weir_requests_total") + 5,
                       "# TYPE weir_requests_total")); /* once */
    free(text);
    stats_free(t[0]);
    stats_free(t[1]);
    stats_free(NULL);
}

static void test_sums_saturate(void **state)
{
    struct stats *t[2] = {stats_new(), stats_new()};
    const char *labels[] = {"m", "input"};
    char *text;

    (void)state;
    for (int i = 0; i < 2; i++) {
        stats_add(stats_cell(t[i], STAT_TOKENS, labels), INT64_MAX);
        stats_add(stats_cell(t[i], STAT_TOKENS, labels), INT64_MAX);
    }
    text = exposition(t, 2);
    assert_has_line(text, "weir_tokens_total{model=\"m\",kind=\"input\"} 9223372036854775807");
    free(text);
    stats_free(t[0]);
    stats_free(t[1]);
}

static void test_no_tables(void **state)
{
    (void)state;
    char *text = exposition(NULL, 0);
    assert_has_line(text, "weir_requests_in_flight 0");
    assert_null(strstr(text, "weir_requests_total{"));
    free(text);
}

static void test_histogram_buckets(void **state)
{
    (void)state;
    static const struct {
        int64_t us;
        int bucket;
    } rows[] = {
        {INT64_MIN, 0},
        {-1, 0},
        {0, 0},
        {100, 0},
        {101, 1},
        {200, 1},
        {201, 2},
        {400, 2},
        {401, 3},
        {INT64_C(100) << 22, 22},
        {(INT64_C(100) << 22) + 1, 23},
        {INT64_MAX / 4, 23},
    };
    struct stats *s = stats_new();
    const char *labels[] = {"chat", "r"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct stats_cell *c = stats_cell(s, STAT_REQUEST_US, labels);
        int64_t before = atomic_load(&c->buckets[rows[i].bucket]);
        stats_observe_us(c, rows[i].us);
        assert_int_equal(atomic_load(&c->buckets[rows[i].bucket]), before + 1);
    }
    stats_free(s);
    s = stats_new();
    stats_observe_us(stats_cell(s, STAT_REQUEST_US, labels), 150);
    stats_observe_us(stats_cell(s, STAT_REQUEST_US, labels), 1500000);
    char *text = exposition(&s, 1);
#define FAMILY "weir_request_duration_seconds"
    assert_has_line(text, FAMILY "_bucket{api=\"chat\",route=\"r\",le=\"0.0001\"} 0");
    assert_has_line(text, FAMILY "_bucket{api=\"chat\",route=\"r\",le=\"0.0002\"} 1");
    assert_has_line(text, FAMILY "_bucket{api=\"chat\",route=\"r\",le=\"0.8192\"} 1");
    assert_has_line(text, FAMILY "_bucket{api=\"chat\",route=\"r\",le=\"1.6384\"} 2");
    assert_has_line(text, FAMILY "_bucket{api=\"chat\",route=\"r\",le=\"419.4304\"} 2");
    assert_has_line(text, FAMILY "_bucket{api=\"chat\",route=\"r\",le=\"+Inf\"} 2");
    assert_has_line(text, FAMILY "_sum{api=\"chat\",route=\"r\"} 1.50015");
    assert_has_line(text, FAMILY "_count{api=\"chat\",route=\"r\"} 2");
    free(text);
    stats_free(s);
}

static void test_hostile_label_values(void **state)
{
    (void)state;
    struct stats *s = stats_new();
    char endless[10000];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    static const char tricky[] = "a\"} 1\nforged{x=\"\\\xff\xc3";
    const char *reasons[] = {tricky, endless, "", NULL};
    for (size_t i = 0; i < 4; i++)
        stats_add(stats_cell(s, STAT_DROPPED, &reasons[i]), 1);
    char *text = exposition(&s, 1);
    assert_has_line(
        text,
        "weir_dropped_total{reason=\"a\\\"} 1\\nforged{x=\\\"\\\\\xEF\xBF\xBD\xEF\xBF\xBD\"} 1");
    assert_has_line(text, "weir_dropped_total{reason=\"\"} 2");
    assert_null(strstr(text, "\nforged"));
    endless[128] = '\0';
    assert_non_null(strstr(text, endless));
    assert_true(strlen(text) < 20000);
    free(text);
    stats_free(s);
}

static void test_label_sets_are_bounded(void **state)
{
    (void)state;
    struct stats *s = stats_new();
    for (int i = 0; i < 10000; i++) {
        char model[32];
        snprintf(model, sizeof model, "model-%d", i);
        const char *labels[] = {model, "timeout"};
        stats_add(stats_cell(s, STAT_RETRIES, labels), 1);
    }
    const char *known[] = {"model-5", "timeout"};
    stats_add(stats_cell(s, STAT_RETRIES, known), 1);
    stats_add(stats_cell(s, STAT_CONNECTIONS_TOTAL, NULL), 1); /* still gets a cell */
    char *text = exposition(&s, 1);
    assert_has_line(text, "weir_retries_total{model=\"model-5\",reason=\"timeout\"} 2");
    assert_has_line(text, "weir_retries_total{model=\"other\",reason=\"other\"} 5904");
    assert_has_line(text, "weir_client_connections_total 1");
    free(text);
    stats_free(s);
}

static enum err write_nothing(struct buf *out)
{
    return stats_write_prometheus(NULL, 0, out);
}

/* Whatever the buffer's maximum: an error up to the text's length, success from there on. */
static void test_a_full_buffer_is_an_error(void **state)
{
    (void)state;
    enum err (*const writers[])(struct buf *) = {write_nothing, stats_write_reference};
    for (size_t w = 0; w < 2; w++) {
        struct buf b;
        buf_init(&b, 1 << 20);
        assert_int_equal(writers[w](&b), ERR_OK);
        size_t whole = buf_len(&b);
        buf_clear(&b);
        for (size_t max = 0; max <= whole; max += max + 37 < whole ? 37 : 1) {
            buf_init(&b, max);
            assert_int_equal(writers[w](&b), max < whole ? ERR_TOO_LARGE : ERR_OK);
            buf_clear(&b);
        }
    }
}

static void test_reference(void **state)
{
    (void)state;
    struct buf b;
    size_t lines = 0;
    buf_init(&b, 1 << 20);
    assert_int_equal(stats_write_reference(&b), ERR_OK);
    assert_int_equal(buf_append(&b, "", 1), ERR_OK);
    for (const char *p = b.data; *p; p++)
        lines += *p == '\n';
    assert_int_equal(lines, STAT_FAMILIES + 2);
    assert_has_line(
        b.data,
        "| `weir_requests_total` | counter | api,route,code | Requests answered, by API, route "
        "and HTTP status. |");
    assert_has_line(b.data,
                    "| `weir_requests_in_flight` | gauge | - | Requests being served now. |");
    buf_clear(&b);
}

enum { WRITERS = 2, ROUNDS = 3000 };

static void *write_cells(void *arg)
{
    struct stats *s = arg;
    for (int i = 0; i < ROUNDS; i++) {
        char model[32];
        snprintf(model, sizeof model, "m%d", i % 300);
        const char *labels[] = {model, "b"};
        stats_observe_us(stats_cell(s, STAT_ATTEMPT_US, labels), i);
        stats_add(stats_cell(s, STAT_CONNECTIONS_TOTAL, NULL), 1);
    }
    return NULL;
}

/* Meant for ThreadSanitizer above all. */
static void test_reading_while_written(void **state)
{
    (void)state;
    struct stats *t[WRITERS];
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        t[i] = stats_new();
        assert_int_equal(pthread_create(&threads[i], NULL, write_cells, t[i]), 0);
    }
    for (int i = 0; i < 5; i++)
        free(exposition(t, WRITERS));
    for (int i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    char *text = exposition(t, WRITERS);
    assert_has_line(text, "weir_client_connections_total 6000");
    assert_has_line(text, "weir_attempt_duration_seconds_count{model=\"m7\",backend=\"b\"} 20");
    free(text);
    for (int i = 0; i < WRITERS; i++)
        stats_free(t[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_over_tables),
        cmocka_unit_test(test_sums_saturate),
        cmocka_unit_test(test_no_tables),
        cmocka_unit_test(test_histogram_buckets),
        cmocka_unit_test(test_hostile_label_values),
        cmocka_unit_test(test_label_sets_are_bounded),
        cmocka_unit_test(test_a_full_buffer_is_an_error),
        cmocka_unit_test(test_reference),
        cmocka_unit_test(test_reading_while_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

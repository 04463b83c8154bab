/* Servers' lists of models over real sockets: read, kept, read in pages, asked of those only who
 * may be asked, and what happens when there is none. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "backends/catalog.h"
#include "base/clock.h"
#include "tests/unit/backends/peer.h"

#define LIMIT_US INT64_C(120000000)

struct world {
    struct event_base *base;
    struct upstream *up;
    struct catalog *catalog;
    struct server *server;
    /* the server's */
    const char *(*answer)(const struct world *w, const char *head);
    _Atomic int status, seen, with_headers;
    /* the owner's */
    bool forbidden;
    int news, questions;
    struct endpoint_shared shared;
    struct catalog_spec spec;
    struct http1_header headers[2];
    char authority[64];
};

static void serve(struct peer *p, void *ctx)
{
    struct world *w = ctx;
    char reply[8192];

    while (peer_request(p)) {
        const char *body = w->answer(w, p->head);

        w->seen++;
        if (strstr(p->head, "x-api-key: k1\r\n") && strstr(p->head, "anthropic-version: v\r\n"))
            w->with_headers++;
        snprintf(reply, sizeof reply, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", w->status,
                 strlen(body), body);
        if (!peer_puts(p, reply))
            return;
    }
}

static bool may_ask(void *ctx, const char *backend)
{
    struct world *w = ctx;

    assert_string_equal(backend, "b");
    w->questions++;
    return !w->forbidden;
}

static void on_news(void *ctx, const struct endpoint_shared *shared)
{
    struct world *w = ctx;

    assert_ptr_equal(shared, &w->shared);
    w->news++;
}

static void begin(struct world *w, const char *(*answer)(const struct world *, const char *))
{
    memset(w, 0, sizeof *w);
    w->status = 200;
    w->answer = answer;
    w->base = event_base_new();
    w->up = upstream_new(w->base, NULL);
    w->catalog = catalog_new(
        w->base, w->up, &(struct catalog_owner){.may_ask = may_ask, .on_news = on_news, .ctx = w});
    w->server = server_start(NULL, serve, w);
    snprintf(w->authority, sizeof w->authority, "127.0.0.1:%d", (int)server_port(w->server));
    w->headers[0] = (struct http1_header){SLICE("x-api-key"), SLICE("k1")};
    w->headers[1] = (struct http1_header){SLICE("anthropic-version"), SLICE("v")};
    w->spec = (struct catalog_spec){
        .target = {.backend = "b",
                   .host = "127.0.0.1",
                   .port = server_port(w->server),
                   .authority = w->authority,
                   .max_idle_connections = 1},
        .path = "/v1/models?limit=2",
        .headers = w->headers,
        .header_count = 2,
        .interval_ms = 20,
        .shared = &w->shared,
    };
}

static void end(struct world *w)
{
    catalog_free(w->catalog);
    upstream_free(w->up);
    event_base_free(w->base);
    server_stop(w->server);
}

static struct catalog_info about(const struct world *w)
{
    struct catalog_info i;

    assert_true(catalog_about(w->catalog, &w->shared, &i));
    return i;
}

static void turn(struct world *w, int64_t end_us)
{
    assert_true(clock_mono_us() < end_us);
    event_base_loop(w->base, EVLOOP_ONCE);
}

static void run_until_news(struct world *w, int news)
{
    int64_t end_us = clock_mono_us() + LIMIT_US;

    while (w->news < news)
        turn(w, end_us);
}

static void run_until_seen(struct world *w, int seen)
{
    int64_t end_us = clock_mono_us() + LIMIT_US;

    while (w->seen < seen)
        turn(w, end_us);
}

static const char *one_model(const struct world *w, const char *head)
{
    (void)w;
    assert_non_null(strstr(head, "GET /v1/models?limit=2 HTTP/1.1\r\n"));
    return w->seen < 3 ? "{\"data\":[{\"id\":\"a\",\"max_model_len\":5}]}"
                       : "{\"data\":[{\"id\":\"a\",\"max_model_len\":7}]}";
}

static void test_news_are_told_once(void **state)
{
    struct world w;

    (void)state;
    begin(&w, one_model);
    catalog_configure(w.catalog, &w.spec, 1);
    assert_false(about(&w).asked);
    assert_null(about(&w).list);
    run_until_news(&w, 1);
    assert_true(about(&w).asked && about(&w).asked_wall_us > 0);
    assert_string_equal(about(&w).why.s, "");
    assert_int_equal(about(&w).list->count, 1);
    assert_int_equal(about(&w).list->models[0].context_tokens, 5);
    run_until_news(&w, 2); /* not for the second and third time that it said the same */
    assert_true(w.seen >= 4);
    assert_int_equal(about(&w).list->models[0].context_tokens, 7);
    assert_int_equal(w.with_headers, w.seen);
    end(&w);
}

/* "a", "b" / "c d", "a" (again) / "e"; then it begins anew. */
static const char *pages(const struct world *w, const char *head)
{
    (void)w;
    if (strstr(head, "GET /v1/models?limit=2 HTTP"))
        return "{\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}],\"has_more\":true}";
    if (strstr(head, "GET /v1/models?limit=2&after_id=b HTTP"))
        return "{\"data\":[{\"id\":\"a\"},{\"id\":\"c d/\\u00e9\"}],\"has_more\":true}";
    assert_non_null(strstr(head, "GET /v1/models?limit=2&after_id=c%20d%2F%C3%A9 HTTP"));
    return "{\"data\":[{\"id\":\"e\"}],\"has_more\":false}";
}

static void test_pages(void **state)
{
    struct world w;

    (void)state;
    begin(&w, pages);
    catalog_configure(w.catalog, &w.spec, 1);
    run_until_news(&w, 1);
    assert_int_equal(about(&w).list->count, 4);
    assert_string_equal(about(&w).list->models[2].id.p, "c d/\xC3\xA9");
    assert_string_equal(about(&w).list->models[3].id.p, "e");
    run_until_seen(&w, 6);
    assert_int_equal(w.news, 1);
    end(&w);
}

static const char *endless(const struct world *w, const char *head)
{
    static char body[128];

    (void)head;
    snprintf(body, sizeof body, "{\"data\":[{\"id\":\"m%d\"}],\"has_more\":true}", (int)w->seen);
    return body;
}

static const char *same_page(const struct world *w, const char *head)
{
    (void)w;
    (void)head;
    return "{\"data\":[{\"id\":\"a\"}],\"has_more\":true}";
}

static void test_pages_without_end(void **state)
{
    struct world w;

    (void)state;
    begin(&w, endless);
    w.spec.interval_ms = 100000;
    catalog_configure(w.catalog, &w.spec, 1);
    run_until_news(&w, 1);
    assert_int_equal(w.seen, 16);
    assert_int_equal(about(&w).list->count, 16);
    end(&w);

    begin(&w, same_page);
    w.spec.interval_ms = 100000;
    catalog_configure(w.catalog, &w.spec, 1);
    run_until_news(&w, 1);
    assert_int_equal(w.seen, 2);
    assert_int_equal(about(&w).list->count, 1);
    end(&w);
}

static const char *no_list(const struct world *w, const char *head)
{
    (void)head;
    return w->seen == 0 ? "{\"data\":[{\"id\":\"a\"}]}" : "<html>";
}

static void test_the_last_good_list_is_kept(void **state)
{
    struct world w;

    (void)state;
    begin(&w, no_list);
    catalog_configure(w.catalog, &w.spec, 1);
    run_until_news(&w, 2);
    assert_non_null(strstr(about(&w).why.s, "no JSON"));
    assert_string_equal(about(&w).list->models[0].id.p, "a");
    w.status = 404;
    run_until_news(&w, 3);
    assert_string_equal(about(&w).why.s, "the server answered with status 404");
    run_until_seen(&w, w.seen + 2); /* the same again is no news */
    assert_int_equal(w.news, 3);
    catalog_configure(w.catalog, &w.spec, 1); /* a reload keeps what is known */
    assert_string_equal(about(&w).list->models[0].id.p, "a");
    assert_true(about(&w).asked);
    catalog_configure(w.catalog, NULL, 0);
    assert_false(catalog_about(w.catalog, &w.shared, &(struct catalog_info){.asked = false}));
    end(&w);
}

static void test_nobody_there(void **state)
{
    struct world w;

    (void)state;
    begin(&w, one_model);
    server_stop(w.server);
    catalog_configure(w.catalog, &w.spec, 1);
    run_until_news(&w, 1);
    assert_non_null(strstr(about(&w).why.s, "could not be reached"));
    assert_null(about(&w).list);
    w.server = server_start(NULL, serve, &w);
    end(&w);
}

static void test_only_who_may_be_asked(void **state)
{
    struct world w;
    int64_t end_us = clock_mono_us() + LIMIT_US;

    (void)state;
    begin(&w, one_model);
    w.forbidden = true;
    catalog_configure(w.catalog, &w.spec, 1);
    while (w.questions < 3)
        turn(&w, end_us);
    assert_int_equal(w.seen, 0);
    w.spec.interval_ms = 1000000;
    catalog_configure(w.catalog, &w.spec, 1);
    while (w.questions < 4)
        turn(&w, end_us);
    w.forbidden = false;
    catalog_ask(w.catalog, "another");
    catalog_ask(w.catalog, "b"); /* out of turn: its own comes in a quarter of an hour */
    run_until_news(&w, 1);
    assert_int_equal(w.seen, 1);
    end(&w);
}

static const char *slow(const struct world *w, const char *head)
{
    (void)head;
    while (w->seen == 0 && server_live(w->server) > 0 && w->status == 200)
        ; /* until the test says so */
    return "{\"data\":[]}";
}

static void test_freed_in_mid_question(void **state)
{
    struct world w;
    int64_t end_us = clock_mono_us() + LIMIT_US;

    (void)state;
    begin(&w, slow);
    catalog_configure(w.catalog, &w.spec, 1);
    while (server_connections(w.server) == 0)
        turn(&w, end_us);
    catalog_configure(w.catalog, &w.spec, 1);
    w.status = 201;
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_news_are_told_once),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_pages_without_end),
        cmocka_unit_test(test_the_last_good_list_is_kept),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_only_who_may_be_asked),
        cmocka_unit_test(test_freed_in_mid_question),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

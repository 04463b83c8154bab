/* The question to all workers that /admin/requests asks: workers that answer late, never, or after
 * the asker has left. api_admin and the HTTP server are the real ones; control and the workers are
 * played by this file, so that a worker can be made silent. */
#include <arpa/inet.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "backends/wire/openai_reply.h"
#include "base/clock.h"
#include "gateway/api_admin.h"
#include "gateway/control.h"
#include "gateway/control_vectors.h"
#include "gateway/http_server.h"
#include "gateway/worker.h"

#define WORKERS 3

struct worker {
    struct worker_listing *asked; /* held back; NULL: nothing to answer */
};

struct control {
    struct event_base *base;
    struct mailbox mailbox;
    struct event *mail;
    struct snapshot snapshot;
    struct policy policy;
    struct worker workers[WORKERS];
    struct api_admin *admin;
    struct http_server *server;
};

/* ---- the played parts ---- */

const struct snapshot *control_snapshot(const struct control *c)
{
    return &c->snapshot;
}

struct launcher *control_launcher(const struct control *c)
{
    (void)c;
    return NULL;
}

struct control_vectors *control_vectors(struct control *c)
{
    static struct control_vectors none;

    (void)c;
    return &none;
}

struct learner *control_learner(const struct control *c)
{
    (void)c;
    return NULL;
}

const struct prober *control_prober(const struct control *c)
{
    (void)c;
    return NULL;
}

const struct catalog *control_catalog(const struct control *c)
{
    (void)c;
    return NULL;
}

const struct policy_store *control_store(const struct control *c)
{
    (void)c;
    return NULL;
}

void control_describe(const struct control *c, struct control_status *out)
{
    (void)c;
    *out = (struct control_status){0};
}

enum err control_try_policy(struct control *c, struct slice text, control_decided decided,
                            void *ctx)
{
    (void)c;
    (void)text;
    (void)decided;
    (void)ctx;
    return ERR_OVERLOADED;
}

enum err control_put_policy(struct control *c, struct slice text, struct slice if_match,
                            const char *origin, control_decided decided, void *ctx)
{
    (void)c;
    (void)text;
    (void)if_match;
    (void)origin;
    (void)decided;
    (void)ctx;
    return ERR_OVERLOADED;
}

enum err control_metrics_write(struct control *c, struct buf *out)
{
    (void)c;
    return buf_printf(out, "m 1\n");
}

struct event_base *control_base(const struct control *c)
{
    return c->base;
}

struct mailbox *control_mailbox(struct control *c)
{
    return &c->mailbox;
}

size_t control_workers(const struct control *c)
{
    (void)c;
    return WORKERS;
}

static struct control *the_control; /* worker handles must come from somewhere that is not const */

struct worker *control_worker(const struct control *c, size_t i)
{
    assert_ptr_equal(c, the_control);
    return &the_control->workers[i];
}

struct api_admin *control_admin(const struct control *c)
{
    return c->admin;
}

void worker_list_requests(struct worker *w, struct worker_listing *l)
{
    assert_null(w->asked);
    buf_init(&l->json, 1000);
    w->asked = l;
}

/* What a worker does when it comes to its mail. */
static void answer(struct control *c, int i, const char *json)
{
    struct worker_listing *l = c->workers[i].asked;
    assert_non_null(l);
    c->workers[i].asked = NULL;
    l->worker_index = i;
    assert_int_equal(buf_append_slice(&l->json, slice_str(json)), ERR_OK);
    l->msg.deliver = l->on_listed;
    mailbox_post(l->reply_to, &l->msg);
}

static void give_up(struct control *c, int i)
{
    c->workers[i].asked->msg.discard(&c->workers[i].asked->msg);
    c->workers[i].asked = NULL;
}

/* ---- the stage ---- */

static void on_mail(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    struct control *c = ctx;
    mailbox_drain(&c->mailbox, c);
}

static int set_up(void **state)
{
    struct control *c = calloc(1, sizeof *c);
    the_control = c;
    c->base = event_base_new();
    assert_int_equal(mailbox_init(&c->mailbox), 0);
    c->mail = event_new(c->base, c->mailbox.fd, EV_READ | EV_PERSIST, on_mail, c);
    event_add(c->mail, NULL);
    c->snapshot.policy = &c->policy;
    c->policy.server.admin.loopback = true;
    c->admin = api_admin_new(c);
    struct err_text t;
    c->server = http_server_new(&(struct http_server_options){.base = c->base,
                                                              .host = "127.0.0.1",
                                                              .max_header_bytes = 4096,
                                                              .max_body_bytes = 4096,
                                                              .header_timeout_ms = -1,
                                                              .body_timeout_ms = -1,
                                                              .idle_timeout_ms = -1,
                                                              .write_timeout_ms = -1,
                                                              .high_watermark_bytes = 1 << 20,
                                                              .max_connections = -1,
                                                              .handler = api_admin_handler(),
                                                              .ctx = c->admin,
                                                              .error_body = api_admin_error_body},
                                &t);
    assert_non_null(c->server);
    *state = c;
    return 0;
}

static int tear_down(void **state)
{
    struct control *c = *state;
    http_server_free(c->server);
    api_admin_free(c->admin);
    for (int i = 0; i < WORKERS; i++)
        if (c->workers[i].asked)
            give_up(c, i);
    event_free(c->mail);
    mailbox_clear(&c->mailbox);
    event_base_free(c->base);
    free(c);
    return 0;
}

static int connect_client(struct control *c)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(http_server_port(c->server))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static void ask(int fd)
{
    static const char request[] = "GET /admin/requests HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
}

/* Turns the loop until done() or for a minute; whether done() came true. */
static bool turn_until(struct control *c, bool (*done)(struct control *c, void *ctx), void *ctx)
{
    int64_t end_us = clock_mono_us() + 60000000;
    while (!done(c, ctx)) {
        if (clock_mono_us() > end_us)
            return false;
        const struct timeval tick = {.tv_usec = 5000};
        event_base_loopexit(c->base, &tick);
        event_base_loop(c->base, EVLOOP_ONCE);
    }
    return true;
}

static bool all_asked(struct control *c, void *ctx)
{
    (void)ctx;
    for (int i = 0; i < WORKERS; i++)
        if (!c->workers[i].asked)
            return false;
    return true;
}

struct reply {
    int fd;
    char text[4096];
    size_t n;
};

static bool has_reply(struct control *c, void *ctx)
{
    (void)c;
    struct reply *r = ctx;
    ssize_t n = recv(r->fd, r->text + r->n, sizeof r->text - 1 - r->n, 0);
    if (n > 0)
        r->n += (size_t)n;
    r->text[r->n] = '\0';
    return strstr(r->text, "]}\n") != NULL;
}

/* ---- tests ---- */

static void test_all_answer(void **state)
{
    struct control *c = *state;
    struct reply r = {.fd = connect_client(c)};
    ask(r.fd);
    assert_true(turn_until(c, all_asked, NULL));
    answer(c, 2, "{\"id\":\"c\"}");
    answer(c, 0, "{\"id\":\"a\"},{\"id\":\"b\"}");
    answer(c, 1, "");
    assert_true(turn_until(c, has_reply, &r));
    assert_non_null(
        strstr(r.text, "{\"requests\":[{\"id\":\"c\"},{\"id\":\"a\"},{\"id\":\"b\"}],\"workers\":3,"
                       "\"truncated\":false,\"silent_workers\":[]}\n"));
    close(r.fd);
}

static void test_silent_workers_are_named_after_a_second(void **state)
{
    struct control *c = *state;
    struct reply r = {.fd = connect_client(c)};
    int64_t began_us = clock_mono_us();
    ask(r.fd);
    assert_true(turn_until(c, all_asked, NULL));
    answer(c, 1, "{\"id\":\"b\"}");
    assert_true(turn_until(c, has_reply, &r));
    assert_true(clock_mono_us() - began_us >= 900000);
    assert_non_null(strstr(r.text, "[{\"id\":\"b\"}]"));
    assert_non_null(strstr(r.text, "\"silent_workers\":[0,2]"));
    /* Too late: nobody waits for these any more, and the connection is still in step. */
    answer(c, 0, "{\"id\":\"late\"}");
    give_up(c, 2);
    r.n = 0;
    ask(r.fd);
    assert_true(turn_until(c, all_asked, NULL));
    for (int i = 0; i < WORKERS; i++)
        answer(c, i, "");
    assert_true(turn_until(c, has_reply, &r));
    assert_null(strstr(r.text, "late"));
    assert_non_null(strstr(r.text, "\"silent_workers\":[]"));
    close(r.fd);
}

static bool no_exchange(struct control *c, void *ctx)
{
    (void)ctx;
    return http_server_active(c->server) == 0;
}

static void test_an_asker_that_left_is_not_answered(void **state)
{
    struct control *c = *state;
    int fd = connect_client(c);
    ask(fd);
    assert_true(turn_until(c, all_asked, NULL));
    close(fd);
    assert_true(turn_until(c, no_exchange, NULL));
    for (int i = 0; i < WORKERS; i++)
        answer(c, i, "{}");
    struct reply r = {.fd = connect_client(c)};
    ask(r.fd);
    assert_true(turn_until(c, all_asked, NULL));
    for (int i = 0; i < WORKERS; i++)
        answer(c, i, "");
    assert_true(turn_until(c, has_reply, &r));
    assert_non_null(strstr(r.text, "{\"requests\":[],"));
    close(r.fd);
}

static void test_an_end_with_a_question_open(void **state)
{
    struct control *c = *state;
    int fd = connect_client(c);
    ask(fd);
    assert_true(turn_until(c, all_asked, NULL));
    answer(c, 0, "{}"); /* in the mailbox, never delivered; the rest is held by the workers */
    close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_all_answer),
        TEST(test_silent_workers_are_named_after_a_second),
        TEST(test_an_asker_that_left_is_not_answered),
        TEST(test_an_end_with_a_question_open),
    };
    return cmocka_run_group_tests_name("api_admin", tests, NULL, NULL);
}

/* Certificates, sessions, records, and what TLS is refused for: rules of upstream.h
 * (upstream_world.h). */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/unit/backends/upstream_world.h"

/* ---- tests: TLS ---- */

static enum err tls_outcome(struct fixture *f, const char *host, const char *ca_file, bool verify)
{
    struct probe *p = probe_new(f);
    enum err err;

    p->target.host = host;
    p->target.tls_ca_file = ca_file;
    p->target.tls_verify = verify;
    probe_start(p);
    probe_finish(p);
    err = p->result.err;
    if (err != ERR_OK) {
        assert_false(p->result.sent);
        assert_true(p->why[0] != '\0');
    }
    probe_free(p);
    return err;
}

static void test_certificates(void **state)
{
    struct fixture *f = *state;

    fixture_serve(f, script_reply, OK_REPLY);
    assert_int_equal(tls_outcome(f, "127.0.0.1", fixture_ca_path, true), ERR_OK);
    assert_int_equal(tls_outcome(f, "localhost", fixture_ca_path, true), ERR_OK);
    assert_int_equal(tls_outcome(f, "127.0.0.1", NULL, true),
                     ERR_UPSTREAM_TLS); /* nobody the system trusts */
    assert_int_equal(tls_outcome(f, "127.0.0.1", NULL, false), ERR_OK);
    assert_int_equal(tls_outcome(f, "127.0.0.1", "/nonexistent/ca.pem", true), ERR_UPSTREAM_TLS);
    upstream_close_idle(f->up);
    server_stop(f->server);
    f->server = server_start(cert_server_context(&fixture_authority, "DNS:other.test,IP:10.9.8.7"),
                             script_reply, OK_REPLY);
    assert_int_equal(tls_outcome(f, "127.0.0.1", fixture_ca_path, true), ERR_UPSTREAM_TLS);
    assert_int_equal(tls_outcome(f, "localhost", fixture_ca_path, true), ERR_UPSTREAM_TLS);
    assert_int_equal(tls_outcome(f, "localhost", fixture_ca_path, false), ERR_OK);
}

static void test_not_tls(void **state)
{
    struct fixture *f = *state;

    f->server =
        server_start(NULL, script_stall, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    struct probe *p = probe_new(f);
    p->req.timeouts.connect_ms = 200; /* the server waits for a head that never comes */
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_CONNECT_TIMEOUT);
    assert_false(p->result.sent);
    probe_free(p);
}

static void test_sessions_are_reused(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    for (int i = 0; i < 3; i++) {
        p = probe_new(f);
        p->target.max_idle_connections = 0;
        probe_start(p);
        probe_finish(p);
        assert_int_equal(p->result.err, ERR_OK);
        probe_free(p);
    }
    assert_int_equal(server_connections(f->server), 3);
    assert_int_equal(server_resumed(f->server), 2);
}

/* Large records, 1-byte records and everything between survive OpenSSL's buffering and our pauses.
 */
static void script_odd_records(struct peer *p, void *ctx)
{
    static char bytes[200000];
    size_t at = 0, n = 1;

    (void)ctx;
    memset(bytes, 'r', sizeof bytes);
    if (!peer_request(p) || !peer_puts(p, "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n"))
        return;
    while (at < sizeof bytes) {
        n = n < sizeof bytes - at ? n : sizeof bytes - at;
        if (!peer_send(p, bytes + at, n))
            return;
        at += n;
        n = n * 3 % 16381;
    }
    peer_request(p);
}

static void test_odd_records(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_odd_records, NULL);
    p = probe_new(f);
    p->pause_in_data = true;
    probe_start(p);
    while (p->dones == 0) {
        uint64_t before = p->received;

        WAIT_UNTIL(f, p->received > before || p->dones);
        upstream_resume(&p->call);
    }
    assert_int_equal(p->result.err, ERR_OK);
    assert_int_equal(p->received, 200000);
    probe_free(p);
}

static void test_http2_needs_tls(void **state)
{
    struct fixture *f = *state;
    struct probe *p;

    fixture_serve(f, script_reply, OK_REPLY);
    p = probe_new(f);
    p->target.http2 = true;
    probe_start(p);
    probe_finish(p);
    assert_int_equal(p->result.err, ERR_UPSTREAM_PROTOCOL);
    assert_int_equal(server_connections(f->server), 0);
    probe_free(p);
}

static void script_proxy(struct peer *p, void *ctx)
{
    struct seen *s = ctx;

    if (!peer_request(p))
        return;
    snprintf(s->head, sizeof s->head, "%s", p->head);
    peer_puts(p, strncmp(p->head, "CONNECT", 7) == 0
                     ? "HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n"
                     : OK_REPLY);
}

/* A plain request goes to the proxy in absolute form; for TLS the proxy is asked for a tunnel, and
 * its refusal is no answer of the model's server. */
static void test_proxy(void **state)
{
    struct fixture *f = *state;
    struct seen seen = {.head = ""};
    char url[64];

    f->server = server_start(NULL, script_proxy, &seen);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", server_port(f->server));
    for (int tls = 0; tls < 2; tls++) {
        struct probe *p = probe_new(f);

        p->target.tls = tls;
        p->target.force_curl = false;
        p->target.proxy = url;
        p->target.host = "model.invalid";
        p->target.port = 1234;
        probe_start(p);
        probe_finish(p);
        assert_int_equal(p->result.err, tls ? ERR_UPSTREAM_CONNECT : ERR_OK);
        assert_int_equal(p->heads, !tls);
        assert_int_equal(p->result.sent, !tls);
        assert_int_equal(
            occurrences(seen.head,
                        tls ? "CONNECT model.invalid:1234 HTTP/1.1\r\n"
                            : "POST http://model.invalid:1234/v1/chat/completions HTTP/1.1\r\n"),
            1);
        probe_free(p);
    }
}

/* ---- the table ---- */

static const struct upstream_test table[] = {
#define T(fn, where)                                                                               \
    {                                                                                              \
#fn, fn, where                                                                             \
    }
    T(test_certificates, NATIVE | CURL | TLS), T(test_not_tls, NATIVE | CURL | TLS),
    T(test_sessions_are_reused, NATIVE | TLS), T(test_odd_records, EVERY),
    T(test_http2_needs_tls, CURL | PLAIN),     T(test_proxy, CURL | PLAIN),
#undef T
};

int main(int argc, char **argv)
{
    return upstream_world_run("upstream_tls", table, sizeof table / sizeof *table, argc, argv);
}

/* HTTP/2 over TLS through libcurl, against a real nginx: negotiated, multiplexed on one connection,
 * paused without holding up the others, aborted alone. Skips, and says so, where nginx is not
 * installed. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <event2/event.h>
#include <openssl/pem.h>

#include "backends/upstream.h"
#include "base/buf.h"
#include "base/clock.h"
#include "tests/unit/backends/cert.h"

#define LIMIT_US  INT64_C(120000000)
#define BIG_BYTES (20 * 1024 * 1024)

struct fixture {
    char dir[64];
    pid_t nginx;
    uint16_t port;
    struct event_base *base;
    struct upstream *up;
    char ca[96];
};

struct probe {
    struct upstream_call call;
    struct upstream_target target;
    struct upstream_request req;
    struct slice body;
    int status, dones;
    char protocol[32];
    char text[256];
    uint64_t received;
    bool pause_in_data;
    struct upstream_result result;
};

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);
    const struct http1_header *h = http1_find(head, SLICE("x-protocol"));

    p->status = head->status;
    if (h)
        snprintf(p->protocol, sizeof p->protocol, "%.*s", SLICE_ARG(h->value));
}

static void on_data(struct upstream_call *c, struct slice data)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);

    if (p->received + data.n < sizeof p->text)
        memcpy(p->text + p->received, data.p, data.n);
    p->received += data.n;
    if (p->pause_in_data)
        upstream_pause(c);
}

static void on_done(struct upstream_call *c, const struct upstream_result *r)
{
    struct probe *p = CONTAINER_OF(c, struct probe, call);

    p->result = *r;
    p->dones++;
    if (r->err != ERR_OK)
        print_message("%s: %s\n", err_name(r->err), r->why);
}

static const struct upstream_handler handler = {on_head, on_data, on_done};

static void prepare(struct fixture *f, struct probe *p, const char *path)
{
    *p = (struct probe){.target = {.backend = "h2",
                                   .tls = true,
                                   .host = "127.0.0.1",
                                   .port = f->port,
                                   .authority = "h2.test",
                                   .http2 = true,
                                   .tls_ca_file = f->ca,
                                   .tls_verify = true,
                                   .max_idle_connections = 8}};
    p->req = (struct upstream_request){.target = &p->target,
                                       .method = SLICE("GET"),
                                       .path = slice_str(path),
                                       .timeouts = {5000, 5000, 5000, 20000},
                                       .max_response_bytes = 1 << 30};
}

static void turn(struct fixture *f)
{
    struct timeval tv = {0, 5000};

    event_base_loopexit(f->base, &tv);
    event_base_loop(f->base, EVLOOP_ONCE);
}

#define WAIT_UNTIL(f, cond)                                                                        \
    do {                                                                                           \
        int64_t give_up_us = clock_mono_us() + LIMIT_US;                                           \
        while (!(cond)) {                                                                          \
            turn(f);                                                                               \
            if (clock_mono_us() > give_up_us)                                                      \
                fail_msg("waited too long for " #cond);                                            \
        }                                                                                          \
    } while (0)

/* ---- nginx on a socket that we bound: the kernel chooses the port ---- */

static void write_file(const struct fixture *f, const char *name, const char *text)
{
    char path[160];
    FILE *out;

    snprintf(path, sizeof path, "%s/%s", f->dir, name);
    out = fopen(path, "w");
    assert_non_null(out);
    fputs(text, out);
    fclose(out);
}

static void write_keys(struct fixture *f)
{
    struct cert_authority ca;
    char path[160];
    SSL_CTX *ctx;
    FILE *out;

    cert_authority_init(&ca, "weir test authority");
    snprintf(f->ca, sizeof f->ca, "%s/ca.pem", f->dir);
    cert_authority_write(&ca, f->ca);
    ctx = cert_server_context(&ca, "IP:127.0.0.1");
    snprintf(path, sizeof path, "%s/server.pem", f->dir);
    out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(PEM_write_X509(out, SSL_CTX_get0_certificate(ctx)), 1);
    assert_int_equal(
        PEM_write_PrivateKey(out, SSL_CTX_get0_privatekey(ctx), NULL, NULL, 0, NULL, NULL), 1);
    fclose(out);
    SSL_CTX_free(ctx);
    cert_authority_clear(&ca);
}

static void start_nginx(struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    char text[2048], path[160], env[32];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 128), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    f->port = ntohs(a.sin_port);
    snprintf(text, sizeof text,
             "daemon off; worker_processes 1; pid %s/pid; error_log %s/error.log;\n"
             "events { worker_connections 256; }\n"
             "http { access_log off; client_body_temp_path %s/body; proxy_temp_path %s/proxy; "
             "fastcgi_temp_path %s/fcgi;\n"
             "  uwsgi_temp_path %s/uwsgi; scgi_temp_path %s/scgi; client_max_body_size 0;\n"
             "  server { listen 127.0.0.1:%d ssl http2; ssl_certificate %s/server.pem; "
             "ssl_certificate_key %s/server.pem;\n"
             "    add_header X-Protocol $server_protocol always;\n"
             "    location /connection { return 200 $connection; }\n"
             "    location /refuse { return 429 no; }\n"
             "    location /method { return 200 $request_method; }\n"
             "    location / { root %s; } } }\n",
             f->dir, f->dir, f->dir, f->dir, f->dir, f->dir, f->dir, f->port, f->dir, f->dir,
             f->dir);
    write_file(f, "nginx.conf", text);
    snprintf(path, sizeof path, "%s/nginx.conf", f->dir);
    snprintf(env, sizeof env, "%d;", fd);
    f->nginx = fork();
    if (f->nginx == 0) {
        setpgid(0, 0);           /* the master and its worker end together */
        setenv("NGINX", env, 1); /* nginx takes over listening sockets named so */
        execlp("nginx", "nginx", "-c", path, "-p", f->dir, (char *)NULL);
        _exit(127);
    }
    setpgid(f->nginx, f->nginx); /* here too: whoever comes first, the group exists from now on */
    close(fd);
}

static bool have_nginx(void)
{
    return system("nginx -v >/dev/null 2>&1") == 0;
}

static int setup(void **state)
{
    static struct fixture f;
    char path[160];
    int fd;

    *state = NULL;
    if (!have_nginx())
        return 0;
    snprintf(f.dir, sizeof f.dir, "/tmp/weir-test-h2-XXXXXX");
    assert_non_null(mkdtemp(f.dir));
    assert_int_equal(chmod(f.dir, 0755), 0);
    write_keys(&f);
    snprintf(path, sizeof path, "%s/big", f.dir);
    fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_int_equal(ftruncate(fd, BIG_BYTES), 0);
    close(fd);
    start_nginx(&f);
    f.base = event_base_new();
    f.up = upstream_new(f.base, NULL);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[160];
    int status;

    if (!f)
        return 0;
    upstream_free(f->up);
    event_base_free(f->base);
    kill(-f->nginx,
         SIGKILL); /* a SIGTERM just before it waits for signals would be forgotten by nginx */
    waitpid(f->nginx, &status, 0);
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    return system(command);
}

static struct fixture *fixture(void **state)
{
    if (!*state) {
        print_message("skipped: nginx is not installed\n");
        skip();
    }
    return *state;
}

/* ---- tests ---- */

static void run(struct fixture *f, struct probe *p)
{
    upstream_start(f->up, &p->call, &handler, &p->req);
    WAIT_UNTIL(f, p->dones == 1);
}

static void test_exchange(void **state)
{
    struct fixture *f = fixture(state);
    struct slice body = SLICE("{\"a\":1}");
    struct probe p;

    for (int i = 0; i < 3; i++) {
        prepare(f, &p, i == 2 ? "/refuse" : "/method");
        if (i) {
            p.req.method = SLICE("POST");
            p.req.body = &body;
            p.req.body_count = 1;
        }
        run(f, &p);
        assert_int_equal(p.result.err, ERR_OK);
        assert_int_equal(p.status, i == 2 ? 429 : 200);
        assert_string_equal(p.protocol, "HTTP/2.0");
        assert_string_equal(p.text, i == 2 ? "no" : i ? "POST" : "GET");
        assert_int_equal(p.result.reused, i > 0);
    }
}

static void test_many_share_one_connection(void **state)
{
    enum { COUNT = 100 };
    struct fixture *f = fixture(state);
    static struct probe p[COUNT];

    for (int i = 0; i < COUNT; i++) {
        prepare(f, &p[i], "/connection");
        upstream_start(f->up, &p[i].call, &handler, &p[i].req);
    }
    for (int i = 0; i < COUNT; i++) {
        WAIT_UNTIL(f, p[i].dones == 1);
        assert_int_equal(p[i].result.err, ERR_OK);
        assert_string_equal(p[i].text, p[0].text);
    }
}

static void test_pause_holds_nobody_up(void **state)
{
    struct fixture *f = fixture(state);
    struct probe slow, quick;

    prepare(f, &slow, "/big");
    slow.pause_in_data = true;
    upstream_start(f->up, &slow.call, &handler, &slow.req);
    WAIT_UNTIL(f, slow.received > 0);
    for (int i = 0; i < 20; i++) {
        uint64_t before = slow.received;

        prepare(f, &quick, "/method");
        run(f, &quick);
        assert_int_equal(quick.result.err, ERR_OK);
        assert_int_equal(slow.received, before);
    }
    slow.pause_in_data = false;
    upstream_resume(&slow.call);
    WAIT_UNTIL(f, slow.dones == 1);
    assert_int_equal(slow.result.err, ERR_OK);
    assert_int_equal(slow.received, BIG_BYTES);
}

static void test_abort_alone(void **state)
{
    struct fixture *f = fixture(state);
    struct probe victim, other;

    prepare(f, &victim, "/big");
    prepare(f, &other, "/big");
    victim.pause_in_data = true; /* so that it is under way still */
    upstream_start(f->up, &victim.call, &handler, &victim.req);
    upstream_start(f->up, &other.call, &handler, &other.req);
    WAIT_UNTIL(f, victim.received > 0);
    upstream_abort(&victim.call);
    WAIT_UNTIL(f, other.dones == 1);
    assert_int_equal(other.result.err, ERR_OK);
    assert_int_equal(other.received, BIG_BYTES);
    assert_int_equal(victim.dones, 0);
}

static void test_server_goes(void **state)
{
    struct fixture *f = fixture(state);
    struct probe p;
    int status;

    prepare(f, &p, "/big");
    p.pause_in_data = true;
    upstream_start(f->up, &p.call, &handler, &p.req);
    WAIT_UNTIL(f, p.received > 0);
    kill(-f->nginx, SIGKILL);
    waitpid(f->nginx, &status, 0);
    p.pause_in_data = false;
    upstream_resume(&p.call);
    WAIT_UNTIL(f, p.dones == 1);
    assert_int_equal(p.result.err, ERR_UPSTREAM_CUT);
    assert_true(p.received < BIG_BYTES);
    prepare(f, &p, "/method");
    run(f, &p);
    /* nginx's workers, who hold the listener, too, may outlive the master by a moment: then the
     * connection is made, and its handshake is not. */
    assert_true(p.result.err == ERR_UPSTREAM_CONNECT || p.result.err == ERR_UPSTREAM_TLS);
    start_nginx(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange),
        cmocka_unit_test(test_many_share_one_connection),
        cmocka_unit_test(test_pause_holds_nobody_up),
        cmocka_unit_test(test_abort_alone),
        cmocka_unit_test(test_server_goes),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}

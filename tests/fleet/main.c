/* weir-fleet: argv, start and stop. What it serves and how is in README.md. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/log.h"
#include "base/mem.h"
#include "tests/fleet/conn.h"
#include "tests/fleet/echo.h"
#include "tests/fleet/link.h"
#include "tests/fleet/text.h"

#define MANY              64
#define LOGGED_BODY_BYTES ((size_t)256 << 10)

struct options {
    uint16_t ports[FLEET_PORTS_MAX];
    size_t port_count;
    const char *port_file, *truth, *faults, *api_key, *cert, *key;
    const char *rows[MANY], *models[MANY];
    size_t row_count, model_count, log_size;
    double time_scale;
    int64_t chunk_tokens;
    bool everywhere, echo, stamp;
    int64_t chunk_interval_us;
};

static const char usage_text[] =
    "weir-fleet: models that answer from the record, in the OpenAI dialect\n"
    "\n"
    "  --port N              listen on 127.0.0.1:N (0: any free port); may be repeated\n"
    "  --port-file FILE      write the ports, one per line, once they listen\n"
    "  --everywhere          listen on all addresses, not on loopback only\n"
    "  --rows FILE           recorded results (routing-rows/1, gzip or plain); may be repeated, "
    "*_text files after their rows\n"
    "  --model NAME[:IN:OUT[:CONTEXT]]  a further model without rows; prices in USD per million "
    "tokens; may be repeated\n"
    "  --truth FILE          write which recorded answers are right, one JSON line per row and "
    "model\n"
    "  --time-scale X        recorded (or modelled) latency times X; 0, the default, answers at "
    "once\n"
    "  --chunk-tokens N      tokens per streamed chunk (default 1)\n"
    "  --faults FILE         fault script, see --list-faults\n"
    "  --list-faults         print the faults and features and exit\n"
    "  --api-key KEY         refuse requests without this key\n"
    "  --log-size N          requests kept for /fleet/log (default 256)\n"
    "  --tls-cert FILE --tls-key FILE   serve TLS with HTTP/1.1\n"
    "  --echo                load-test upstream: fixed replies, see README.md\n"
    "  --stamp               echo: send time in every chunk\n"
    "  --chunk-interval-us N echo: pause between chunks (default 0)\n";

static const struct option longs[] = {
    {"port", required_argument, NULL, 'p'},
    {"port-file", required_argument, NULL, 'P'},
    {"everywhere", no_argument, NULL, 'E'},
    {"rows", required_argument, NULL, 'r'},
    {"model", required_argument, NULL, 'm'},
    {"truth", required_argument, NULL, 't'},
    {"time-scale", required_argument, NULL, 's'},
    {"chunk-tokens", required_argument, NULL, 'c'},
    {"faults", required_argument, NULL, 'f'},
    {"list-faults", no_argument, NULL, 'L'},
    {"api-key", required_argument, NULL, 'k'},
    {"log-size", required_argument, NULL, 'l'},
    {"tls-cert", required_argument, NULL, 'C'},
    {"tls-key", required_argument, NULL, 'K'},
    {"echo", no_argument, NULL, 'e'},
    {"stamp", no_argument, NULL, 'S'},
    {"chunk-interval-us", required_argument, NULL, 'i'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int fail(const char *what, const char *detail)
{
    fprintf(stderr, "weir-fleet: %s%s\n", what, detail);
    return 2;
}

static void list_faults(void)
{
    printf("| kind | what happens |\n|---|---|\n");
#define FAULT(id, name, help) printf("| `%s` | %s |\n", name, help);
#include "tests/fleet/fault.def"
#undef FAULT
}

/* A whole number within bounds; -1 otherwise. */
static int64_t number(const char *s, int64_t max)
{
    char *end;
    errno = 0;
    long long n = strtoll(s, &end, 10);
    return *s && !*end && !errno && n >= 0 && n <= max ? (int64_t)n : -1;
}

static bool keep(const char **list, size_t *n, const char *value)
{
    if (*n == MANY)
        return false;
    list[(*n)++] = value;
    return true;
}

static bool option(struct options *o, int c, const char *arg)
{
    int64_t n;
    char *end;
    switch (c) {
    case 'p':
        if ((n = number(arg, 65535)) < 0 || o->port_count == FLEET_PORTS_MAX)
            return false;
        o->ports[o->port_count++] = (uint16_t)n;
        return true;
    case 'P':
        o->port_file = arg;
        return true;
    case 'E':
        o->everywhere = true;
        return true;
    case 'r':
        return keep(o->rows, &o->row_count, arg);
    case 'm':
        return keep(o->models, &o->model_count, arg);
    case 't':
        o->truth = arg;
        return true;
    case 's':
        o->time_scale = strtod(arg, &end);
        return *arg && !*end && o->time_scale >= 0 && o->time_scale <= 1000;
    case 'c':
        return (o->chunk_tokens = number(arg, 1000000)) > 0;
    case 'f':
        o->faults = arg;
        return true;
    case 'k':
        o->api_key = arg;
        return true;
    case 'l':
        n = number(arg, 1000000);
        o->log_size = (size_t)n;
        return n >= 0;
    case 'C':
        o->cert = arg;
        return true;
    case 'K':
        o->key = arg;
        return true;
    case 'e':
        o->echo = true;
        return true;
    case 'S':
        o->stamp = true;
        return true;
    case 'i':
        return (o->chunk_interval_us = number(arg, 60000000)) >= 0;
    default:
        return false;
    }
}

/* ---- start ---- */

static bool price_sane(double usd)
{
    return usd >= 0 && usd <= 1000;
}

/* NAME[:IN:OUT[:CONTEXT]], USD per million tokens. Names may hold colons only if no price follows.
 */
static bool add_model(struct rows *rows, const char *spec)
{
    double in, out;
    long long context = 0;
    int used = 0;
    size_t n = strcspn(spec, ":");
    struct model *m = rows_model(rows, slice_make(spec, n));
    if (!spec[n])
        return n > 0;
    int got = sscanf(spec + n, ":%lf:%lf%n:%lld%n", &in, &out, &used, &context, &used);
    if (n == 0 || got < 2 || spec[n + (size_t)used] || !price_sane(in) || !price_sane(out) ||
        context < 0)
        return false;
    m->priced = true;
    m->context = context;
    m->price[TOK_INPUT] = m->price[TOK_CACHED_INPUT] = m->price[TOK_CACHE_WRITE] =
        llround(in * 1e9);
    m->price[TOK_OUTPUT] = m->price[TOK_REASONING] = llround(out * 1e9);
    return true;
}

static bool load_faults(struct fault_script *s, const char *path, struct err_text *why)
{
    FILE *f = fopen(path, "re");
    if (!f) {
        err_say(why, "%s: %s", path, strerror(errno));
        return false;
    }
    char *text = mem_alloc(1 << 20);
    size_t n = fread(text, 1, 1 << 20, f);
    fclose(f);
    bool ok = fault_script_load(s, slice_make(text, n), false, why);
    free(text);
    return ok;
}

static bool load(struct fleet *f, const struct options *o, struct err_text *why)
{
    for (size_t i = 0; i < o->row_count; i++)
        if (!rows_load(&f->rows, o->rows[i], why))
            return false;
    for (size_t i = 0; i < o->model_count; i++) {
        if (!add_model(&f->rows, o->models[i])) {
            err_say(why, "bad --model %s", o->models[i]);
            return false;
        }
    }
    if (o->faults && !load_faults(f->faults, o->faults, why))
        return false;
    if (o->truth && !rows_write_truth(&f->rows, o->truth)) {
        err_say(why, "%s: %s", o->truth, strerror(errno));
        return false;
    }
    f->tallies = mem_zalloc(f->rows.model_count + 1, sizeof *f->tallies);
    return true;
}

static bool write_ports(const char *path, const uint16_t *ports, size_t n)
{
    char temporary[4096];
    if (!path)
        return true;
    snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *f = fopen(temporary, "we");
    if (!f)
        return false;
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%u\n", ports[i]);
    return fclose(f) == 0 && rename(temporary, path) == 0; /* a reader sees all of it or nothing */
}

static void announce(const uint16_t *ports, size_t n, bool tls, const char *what)
{
    for (size_t i = 0; i < n; i++)
        printf("weir-fleet: %s at http%s://127.0.0.1:%u/v1\n", what, tls ? "s" : "", ports[i]);
    fflush(stdout);
}

/* ---- run ---- */

static void on_connection(evutil_socket_t listener, short what, void *ctx)
{
    struct fleet_port *port = ctx;
    int fd;
    (void)what;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        conn_open(port->fleet, port, fd);
}

static void on_signal(evutil_socket_t number_of_signal, short what, void *ctx)
{
    (void)number_of_signal;
    (void)what;
    event_base_loopbreak(ctx);
}

static void serve(struct fleet *f, const uint16_t *ports, const int *listeners, size_t n)
{
    f->loop = event_base_new();
    f->port_count = n;
    for (size_t i = 0; i < n; i++) {
        f->ports[i] = (struct fleet_port){.fleet = f, .port = ports[i], .fd = listeners[i]};
        f->ports[i].readable =
            event_new(f->loop, listeners[i], EV_READ | EV_PERSIST, on_connection, &f->ports[i]);
        event_add(f->ports[i].readable, NULL);
    }
    struct event *term = evsignal_new(f->loop, SIGTERM, on_signal, f->loop);
    struct event *intr = evsignal_new(f->loop, SIGINT, on_signal, f->loop);
    event_add(term, NULL);
    event_add(intr, NULL);
    event_base_dispatch(f->loop);
    conn_close_all(f);
    for (size_t i = 0; i < n; i++)
        event_free(f->ports[i].readable);
    event_free(term);
    event_free(intr);
    event_base_free(f->loop);
}

static void raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

static int run(struct fleet *f, struct options *o, const int *listeners)
{
    if (!write_ports(o->port_file, o->ports, o->port_count))
        return fail("cannot write ", o->port_file);
    if (o->echo) {
        struct echo_options e = {.tls = f->tls,
                                 .listeners = listeners,
                                 .listener_count = (int)o->port_count,
                                 .chunk_interval_us = o->chunk_interval_us,
                                 .stamp = o->stamp};
        announce(o->ports, o->port_count, f->tls != NULL, "echo");
        return echo_run(&e);
    }
    char what[64];
    snprintf(what, sizeof what, "%zu models, %zu recorded questions", f->rows.model_count,
             f->rows.count);
    announce(o->ports, o->port_count, f->tls != NULL, what);
    serve(f, o->ports, listeners, o->port_count);
    return 0;
}

static int start(struct options *o)
{
    struct fleet f = {
        .time_scale = o->time_scale, .chunk_tokens = o->chunk_tokens, .api_key = o->api_key};
    struct err_text why = {""};
    int listeners[FLEET_PORTS_MAX], code = 2;
    size_t open = 0;
    rows_init(&f.rows);
    f.faults = fault_script_new();
    journal_init(&f.journal, o->log_size, LOGGED_BODY_BYTES);
    list_init(&f.exchanges);
    list_init(&f.conns);
    if (!load(&f, o, &why) ||
        (o->cert && !(f.tls = link_tls_new(o->cert, o->key ? o->key : o->cert, &why)))) {
        fail(why.s, "");
        goto out;
    }
    for (; open < o->port_count; open++) {
        listeners[open] = link_listen(&o->ports[open], o->everywhere);
        if (listeners[open] < 0) {
            fail("cannot listen: ", strerror(errno));
            goto out;
        }
    }
    code = run(&f, o, listeners);
out:
    for (size_t i = 0; i < open; i++)
        close(listeners[i]);
    link_tls_free(f.tls);
    journal_clear(&f.journal);
    fault_script_free(f.faults);
    rows_clear(&f.rows);
    free(f.tallies);
    return code;
}

int main(int argc, char **argv)
{
    struct options o = {.chunk_tokens = 1, .log_size = 256};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'h') {
            fputs(usage_text, stdout);
            return 0;
        }
        if (c == 'L') {
            list_faults();
            return 0;
        }
        if (c == '?')
            return 2;
        if (!option(&o, c, optarg))
            return fail("bad value: ", optarg ? optarg : argv[optind - 1]);
    }
    if (optind < argc)
        return fail("not an option (see --help): ", argv[optind]);
    if (!o.port_count)
        o.ports[o.port_count++] = 9100;
    if (!o.echo && !o.row_count && !o.model_count)
        return fail("no models: give --rows or --model (see --help)", "");
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    return start(&o);
}

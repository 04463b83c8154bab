/* The launcher with real child processes (model_server.c, /bin/sh): start, readiness, every way in
 * which a child can fail, idle stop, exclusive groups, reconfiguration and exit. Asks as a worker
 * does: through a mailbox. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "backends/launcher.h"
#include "backends/tail.h"
#include "base/clock.h"
#include "tests/unit/free_port.h"

#define LIMIT_US INT64_C(120000000) /* a test that waits longer has failed */
#define MAX_ARGS 12

/* ---- a worker that asks ---- */

struct asker {
    struct mailbox mb;
    int answers, discarded;
    enum err err;
    struct err_text why;
};

struct ask {
    struct launcher_want want; /* first */
    struct asker *asker;
};

static void deliver(struct message *m, void *ctx)
{
    struct ask *a = (struct ask *)(void *)m;

    (void)ctx;
    a->asker->answers++;
    a->asker->err = a->want.err;
    a->asker->why = a->want.why;
    free(a);
}

static void discard(struct message *m)
{
    struct ask *a = (struct ask *)(void *)m;

    a->asker->discarded++;
    free(a);
}

static void asker_init(struct asker *a)
{
    memset(a, 0, sizeof *a);
    assert_int_equal(mailbox_init(&a->mb), 0);
}

/* NULL: it was ready at once. */
static struct ask *want(struct asker *a, struct launcher *l, const char *name)
{
    struct ask *k = calloc(1, sizeof *k);

    k->asker = a;
    k->want.msg.deliver = deliver;
    k->want.msg.discard = discard;
    k->want.reply_to = &a->mb;
    if (!launcher_want(l, name, &k->want))
        return k;
    free(k);
    return NULL;
}

static void await(struct asker *a, int answers)
{
    int64_t end_us = clock_mono_us() + LIMIT_US;

    while (a->answers < answers) {
        struct pollfd p = {.fd = a->mb.fd, .events = POLLIN};

        assert_true(clock_mono_us() < end_us);
        poll(&p, 1, 100);
        mailbox_drain(&a->mb, NULL);
    }
}

/* Asks once and waits for the answer. */
static enum err use(struct asker *a, struct launcher *l, const char *name)
{
    a->why.s[0] = '\0';
    if (!want(a, l, name))
        return ERR_OK;
    await(a, a->answers + 1);
    return a->err;
}

/* ---- specs ---- */

struct model {
    struct launcher_spec spec;
    char text[MAX_ARGS][600];
    const char *argv[MAX_ARGS + 1];
    int argc;
};

__attribute__((format(printf, 2, 3))) static void arg(struct model *m, const char *fmt, ...)
{
    va_list ap;

    assert_true(m->argc < MAX_ARGS);
    va_start(ap, fmt);
    vsnprintf(m->text[m->argc], sizeof m->text[0], fmt, ap);
    va_end(ap);
    m->argv[m->argc] = m->text[m->argc];
    m->argc++;
}

/* A model that would never be stopped by time; tests change what they are about. */
static void model_init(struct model *m, const char *name, const char *program)
{
    memset(m, 0, sizeof *m);
    m->spec = (struct launcher_spec){
        .name = name,
        .argv = m->argv,
        .host = "127.0.0.1",
        .port = free_port(),
        .ready_path = "/health",
        .ready_timeout_ms = 20000,
        .idle_ms = -1,
        .stop_ms = 5000,
        .max_queue = 100,
        .backoff_base_ms = 50,
        .backoff_max_ms = 400,
    };
    arg(m, "%s", program);
    if (strcmp(program, MODEL_SERVER) == 0)
        arg(m, "port=%u", (unsigned)m->spec.port);
}

static struct launcher *launch(const struct model *m)
{
    struct err_text why;
    struct launcher *l = launcher_new(&why);

    assert_non_null(l);
    launcher_configure(l, &m->spec, 1);
    return l;
}

static struct launcher_info info(struct launcher *l, const char *name)
{
    struct launcher_info all[8];
    size_t n = launcher_list(l, all, 8);

    for (size_t i = 0; i < n && i < 8; i++) {
        if (strcmp(all[i].name, name) == 0)
            return all[i];
    }
    return (struct launcher_info){.pid = -1};
}

static void await_state(struct launcher *l, const char *name, enum launcher_state state)
{
    int64_t end_us = clock_mono_us() + LIMIT_US;

    while (info(l, name).state != state) {
        assert_true(clock_mono_us() < end_us);
        poll(NULL, 0, 5);
    }
}

static void await_gone(pid_t pid)
{
    int64_t end_us = clock_mono_us() + LIMIT_US;

    while (kill(pid, 0) == 0 || errno != ESRCH) {
        assert_true(clock_mono_us() < end_us);
        poll(NULL, 0, 5);
    }
}

static void assert_contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' does not contain '%s'", text, part);
}

static char scratch[] = "/tmp/weir-launcher-XXXXXX";

/* The id in a file that a model_server writes. */
static pid_t read_pid(const char *file)
{
    int64_t end_us = clock_mono_us() + LIMIT_US;
    FILE *f;
    int pid = 0;

    while (!(f = fopen(file, "r"))) {
        assert_true(clock_mono_us() < end_us);
        poll(NULL, 0, 5);
    }
    assert_int_equal(fscanf(f, "%d", &pid), 1);
    fclose(f);
    unlink(file);
    return pid;
}

/* ---- life ---- */

static void test_first_want_starts_it(void **state)
{
    struct model m;
    struct asker a;
    struct buf log;

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    arg(&m, "loading_ms=120");
    arg(&m, "say=model loaded");
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(info(l, "tiny").state, LAUNCHER_STOPPED);
    assert_int_equal(info(l, "tiny").pid, 0);

    int64_t began_us = clock_mono_us();
    assert_non_null(want(&a, l, "tiny"));
    assert_int_equal(a.answers, 0);
    await(&a, 1);
    assert_int_equal(a.err, ERR_OK);
    assert_true(clock_mono_us() - began_us >= 110000); /* it answered 503 for so long */

    struct launcher_info i = info(l, "tiny");
    assert_int_equal(i.state, LAUNCHER_READY);
    assert_int_equal(i.uses, 1);
    assert_int_equal(i.starts, 1);
    assert_int_equal(i.failures, 0);
    assert_true(i.pid > 0 && i.rss_bytes > 100000);
    assert_null(want(&a, l, "tiny")); /* at once */
    assert_int_equal(info(l, "tiny").uses, 2);
    launcher_done(l, "tiny");
    launcher_done(l, "tiny");
    assert_int_equal(info(l, "tiny").uses, 0);

    buf_init(&log, 1 << 20);
    assert_int_equal(launcher_log_tail(l, "tiny", &log), ERR_OK);
    assert_true(buf_len(&log) == 13 && memcmp(buf_slice(&log).p, "model loaded\n", 13) == 0);
    assert_int_equal(launcher_log_tail(l, "nobody", &log), ERR_NOT_FOUND);
    buf_clear(&log);
    launcher_free(l);
    assert_int_equal(kill(i.pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    mailbox_clear(&a.mb);
}

static void test_without_ready_path_the_port_is_enough(void **state)
{
    struct model m;
    struct asker a;

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    m.spec.ready_path = NULL;
    arg(&m, "loading_ms=1000000");
    arg(&m, "listen_after_ms=80");
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "tiny"), ERR_OK);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

static void test_unknown_name(void **state)
{
    struct model m;
    struct asker a;

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "tine"), ERR_UPSTREAM_CONNECT);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

/* ---- starts that fail ---- */

static void expect_start_error(const struct model *m, const char *part)
{
    struct asker a;
    struct launcher *l = launch(m);

    asker_init(&a);
    assert_int_equal(use(&a, l, m->spec.name), ERR_UPSTREAM_CONNECT);
    assert_contains(a.why.s, part);
    assert_int_equal(info(l, m->spec.name).state, LAUNCHER_FAILED);
    assert_contains(info(l, m->spec.name).last_error, part);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

static void test_exec_fails(void **state)
{
    struct model m;

    (void)state;
    model_init(&m, "x", "weir-no-such-program");
    expect_start_error(&m, "cannot start 'weir-no-such-program': not found in PATH");
    model_init(&m, "x", "/nowhere/llama-server");
    expect_start_error(&m, "cannot start '/nowhere/llama-server': No such file or directory");
    model_init(&m, "x", "/etc/passwd");
    expect_start_error(&m, "cannot start '/etc/passwd': Permission denied");
    model_init(&m, "x", "");
    expect_start_error(&m, "cannot start ''");
    model_init(&m, "x", "sh");
    m.spec.directory = "/nowhere";
    expect_start_error(&m, "no use of directory '/nowhere': No such file or directory");
}

static void test_port_is_taken(void **state)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct model m;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    (void)state;
    model_init(&m, "x", MODEL_SERVER);
    sa.sin_port = htons(m.spec.port);
    assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(fd, 1), 0);
    expect_start_error(&m, "another process listens on 127.0.0.1 port");
    close(fd);
}

static void test_dies_before_ready_then_backs_off(void **state)
{
    struct model m;
    struct asker a;

    (void)state;
    model_init(&m, "x", "sh");
    arg(&m, "-c");
    arg(&m, "echo loading; echo 'cannot open model: no such file' >&2; exit 7");
    m.spec.backoff_base_ms = 1500;
    m.spec.backoff_max_ms = 2500;
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "x"), ERR_UPSTREAM_CONNECT);
    assert_contains(a.why.s, "'sh' ended before it was ready: exit status 7");
    assert_contains(a.why.s, "loading | cannot open model: no such file");
    await_state(l, "x", LAUNCHER_FAILED);
    assert_int_equal(info(l, "x").starts, 1); /* nobody has asked since */
    assert_in_range(info(l, "x").retry_in_ms, 0, 1500);
    for (int starts = 2; starts <= 3; starts++) {
        int64_t asked_us = clock_mono_us(), since_ms = info(l, "x").since_ms;
        int64_t failed_us = asked_us - since_ms * 1000; /* it was then, or a moment later */

        while (info(l, "x").starts < starts) { /* refused at once, until it is time */
            assert_int_equal(use(&a, l, "x"), ERR_UPSTREAM_CONNECT);
            assert_contains(a.why.s, "exit status 7");
        }
        assert_true(clock_mono_us() - failed_us >= (starts == 2 ? 1450000 : 2450000));
        await_state(l, "x", LAUNCHER_FAILED);
    }
    struct launcher_info last = info(l, "x");
    assert_int_equal(last.failures, 3);
    assert_in_range(last.retry_in_ms, 0, 2500);
    assert_true(last.retry_in_ms + last.since_ms > 1500);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

static void test_never_ready(void **state)
{
    struct model m;

    (void)state;
    model_init(&m, "x", MODEL_SERVER);
    m.spec.ready_timeout_ms = 1500;
    arg(&m, "loading_ms=100000");
    arg(&m, "say=still at it");
    struct asker a;
    struct launcher *l = launch(&m);
    asker_init(&a);
    assert_int_equal(use(&a, l, "x"), ERR_UPSTREAM_CONNECT);
    assert_contains(
        a.why.s,
        "was not ready within 1500 ms: the last probe got status 503; last output: still at it");
    await_state(l, "x", LAUNCHER_FAILED);
    launcher_free(l);
    mailbox_clear(&a.mb);

    model_init(&m, "x", "sleep");
    arg(&m, "1000");
    m.spec.ready_timeout_ms = 100;
    l = launch(&m);
    asker_init(&a);
    assert_int_equal(use(&a, l, "x"), ERR_UPSTREAM_CONNECT);
    assert_contains(a.why.s, "within 100 ms: nobody listened on its port; it wrote nothing");
    await_state(l, "x", LAUNCHER_FAILED);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

/* ---- death while serving ---- */

static void test_dies_while_serving(void **state)
{
    struct model m;
    struct asker a;

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    m.spec.backoff_base_ms = 20000;
    m.spec.backoff_max_ms = 20000;
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "tiny"), ERR_OK);
    pid_t first = info(l, "tiny").pid;
    assert_int_equal(kill(first, SIGABRT), 0);
    await_state(l, "tiny", LAUNCHER_FAILED);
    assert_contains(info(l, "tiny").last_error, "ended while it served: ");
    assert_int_equal(info(l, "tiny").uses, 1); /* the request on it has not noticed yet */
    launcher_done(l, "tiny");

    assert_int_equal(use(&a, l, "tiny"), ERR_OK); /* the first death costs no wait */
    assert_int_equal(info(l, "tiny").starts, 2);
    assert_true(info(l, "tiny").pid != first);
    launcher_done(l, "tiny");
    assert_int_equal(kill(info(l, "tiny").pid, SIGKILL), 0); /* soon again: that one does */
    await_state(l, "tiny", LAUNCHER_FAILED);
    assert_contains(info(l, "tiny").last_error, "killed by signal 9");
    assert_int_equal(use(&a, l, "tiny"), ERR_UPSTREAM_CONNECT);
    assert_contains(a.why.s, "killed by signal 9");
    launcher_free(l);
    mailbox_clear(&a.mb);
}

/* ---- stopping ---- */

struct told {
    int count;
    char name[LAUNCHER_NAME_BYTES];
};

static void note_ready(struct message *msg, void *ctx)
{
    struct launcher_ready *r = (struct launcher_ready *)(void *)msg;
    struct told *t = ctx;

    t->count++;
    memcpy(t->name, r->name, sizeof t->name);
    free(r);
}

static void test_a_watcher_is_told_of_each_start(void **state)
{
    static char name[129]; /* the longest that a policy has */
    struct model m;
    struct asker a, watcher;
    struct told told = {0};

    (void)state;
    memset(name, 'n', sizeof name - 1);
    model_init(&m, name, MODEL_SERVER);
    m.spec.idle_ms = 50;
    asker_init(&a);
    asker_init(&watcher);
    struct launcher *l = launch(&m);
    launcher_watch(l, &watcher.mb, note_ready);
    assert_false(launcher_is_ready(l, name));
    assert_false(launcher_is_ready(l, "nobody"));
    for (int round = 1; round <= 2; round++) {
        assert_int_equal(use(&a, l, name), ERR_OK);
        assert_true(launcher_is_ready(l, name));
        mailbox_drain(&watcher.mb, &told);
        assert_int_equal(told.count, round);
        assert_string_equal(told.name, name);
        launcher_done(l, name);
        await_state(l, name, LAUNCHER_STOPPED);
    }
    assert_false(launcher_is_ready(l, name));
    assert_int_equal(use(&a, l, name), ERR_OK); /* nobody reads this one */
    launcher_free(l);
    mailbox_clear(&watcher.mb);
    mailbox_clear(&a.mb);
}

static void test_idle_stop_and_return(void **state)
{
    struct model m;
    struct asker a;

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    m.spec.idle_ms = 150;
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "tiny"), ERR_OK);
    poll(NULL, 0, 400); /* longer than idle_ms: it must not stop under a request */
    assert_int_equal(info(l, "tiny").state, LAUNCHER_READY);
    int64_t done_us = clock_mono_us();
    launcher_done(l, "tiny");
    await_state(l, "tiny", LAUNCHER_STOPPED);
    assert_true(clock_mono_us() - done_us >= 140000);
    assert_int_equal(info(l, "tiny").failures, 0);
    assert_int_equal(use(&a, l, "tiny"), ERR_OK);
    assert_int_equal(info(l, "tiny").starts, 2);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

static void test_ignores_sigterm_and_leaves_grandchildren(void **state)
{
    struct model m;
    struct asker a;
    char file[64];

    (void)state;
    snprintf(file, sizeof file, "%s/grandchild", scratch);
    model_init(&m, "stubborn", MODEL_SERVER);
    m.spec.idle_ms = 20;
    m.spec.stop_ms = 200;
    arg(&m, "ignore_term=1");
    arg(&m, "grandchild=%s", file);
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "stubborn"), ERR_OK);
    pid_t child = info(l, "stubborn").pid, grandchild = read_pid(file);
    launcher_done(l, "stubborn");
    await_state(l, "stubborn", LAUNCHER_STOPPING);
    /* asked for while it stops: waits, and is served by the next one */
    assert_int_equal(use(&a, l, "stubborn"), ERR_OK);
    assert_int_equal(info(l, "stubborn").starts, 2);
    await_gone(child);
    await_gone(grandchild);

    /* a parent that dies by itself takes its group along, too */
    grandchild = read_pid(file);
    assert_int_equal(kill(info(l, "stubborn").pid, SIGKILL), 0);
    await_gone(grandchild);
    await_state(l, "stubborn", LAUNCHER_FAILED);
    launcher_done(l, "stubborn");
    launcher_free(l);
    mailbox_clear(&a.mb);
}

static void test_free_while_starting(void **state)
{
    struct model m;
    struct asker a;

    (void)state;
    model_init(&m, "slow", MODEL_SERVER);
    arg(&m, "listen_after_ms=100000");
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_non_null(want(&a, l, "slow"));
    assert_non_null(want(&a, l, "slow"));
    await_state(l, "slow", LAUNCHER_STARTING);
    pid_t pid = info(l, "slow").pid;
    launcher_free(l);
    assert_int_equal(kill(pid, 0), -1);
    await(&a, 2);
    assert_int_equal(a.err, ERR_DRAINING);
    mailbox_clear(&a.mb);
}

/* ---- output ---- */

static void test_endless_output(void **state)
{
    struct model m;
    struct asker a;
    struct buf log;

    (void)state;
    model_init(&m, "chatty", MODEL_SERVER);
    arg(&m, "spam_bytes=100000000");
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "chatty"), ERR_OK); /* it had to be read to get here */
    buf_init(&log, TAIL_BYTES);
    assert_int_equal(launcher_log_tail(l, "chatty", &log), ERR_OK);
    assert_int_equal(buf_len(&log), TAIL_BYTES);
    assert_memory_equal(buf_slice(&log).p + TAIL_BYTES - 13, "spam is over\n", 13);
    buf_clear(&log);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

static void test_what_the_child_inherits(void **state)
{
    const char *env[] = {"WEIR_TEST_ONE=from the spec", "HOME=/elsewhere", NULL};
    struct model m;
    struct asker a;
    int leak = fcntl(STDERR_FILENO, F_DUPFD, 57); /* not close-on-exec */

    (void)state;
    setenv("WEIR_TEST_TWO", "ours", 1);
    model_init(&m, "x", "sh");
    arg(&m, "-c");
    arg(&m,
        "echo \"$WEIR_TEST_ONE, $WEIR_TEST_TWO, $HOME, $PWD\"; [ -e /proc/$$/fd/%d ] && echo leak; "
        "read x || echo eof; "
        "trap | grep -c PIPE; exit 5",
        leak);
    m.spec.env = env;
    m.spec.directory = "/usr";
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "x"), ERR_UPSTREAM_CONNECT);
    assert_contains(a.why.s,
                    "exit status 5; last output: from the spec, ours, /elsewhere, /usr | eof | 0");
    launcher_free(l);
    mailbox_clear(&a.mb);
    close(leak);
}

/* ---- queue ---- */

static void test_queue_has_an_end(void **state)
{
    struct model m;
    struct asker a, late;

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    m.spec.max_queue = 2;
    arg(&m, "loading_ms=200");
    asker_init(&a);
    asker_init(&late);
    struct launcher *l = launch(&m);
    assert_non_null(want(&a, l, "tiny"));
    assert_non_null(want(&a, l, "tiny"));
    assert_int_equal(use(&late, l, "tiny"), ERR_UPSTREAM_BUSY);
    assert_contains(late.why.s, "2 requests wait");
    assert_int_equal(info(l, "tiny").waiting, 2);
    await(&a, 2);
    assert_int_equal(a.err, ERR_OK);
    assert_int_equal(info(l, "tiny").waiting, 0);
    launcher_free(l);
    mailbox_clear(&a.mb);
    mailbox_clear(&late.mb);
}

static void test_cancel_and_forget(void **state)
{
    struct model m;
    struct asker a, gone;

    (void)state;
    model_init(&m, "slow", MODEL_SERVER);
    arg(&m, "loading_ms=150");
    asker_init(&a);
    asker_init(&gone);
    struct launcher *l = launch(&m);
    struct ask *k = want(&a, l, "slow");
    assert_non_null(want(&gone, l, "slow"));
    launcher_cancel(l, &k->want);
    launcher_cancel(l, &k->want); /* its answer is on the way */
    launcher_forget(l, &gone.mb);
    assert_int_equal(gone.discarded, 1);
    mailbox_clear(&gone.mb);
    await(&a, 1);
    assert_int_equal(a.err, ERR_CLIENT_GONE);
    assert_int_equal(use(&a, l, "slow"), ERR_OK);
    assert_int_equal(info(l, "slow").uses, 1);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

/* ---- reconfiguration ---- */

static void test_configure(void **state)
{
    struct model m, changed;
    struct asker a;

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    changed = m;
    changed.spec.argv = changed.argv;
    for (int i = 0; i < changed.argc; i++)
        changed.argv[i] = changed.text[i];
    arg(&changed, "say=changed");
    asker_init(&a);
    struct launcher *l = launch(&m);
    assert_int_equal(use(&a, l, "tiny"), ERR_OK);
    pid_t pid = info(l, "tiny").pid;

    launcher_configure(l, &m.spec, 1); /* the same: nothing happens */
    assert_null(want(&a, l, "tiny"));
    launcher_done(l, "tiny");
    assert_int_equal(info(l, "tiny").pid, pid);

    launcher_configure(l, &changed.spec, 1); /* while a request is on it */
    struct ask *k = NULL;
    int64_t end_us = clock_mono_us() + LIMIT_US;
    while (!(k = want(&a, l, "tiny"))) { /* until the launcher has closed it */
        launcher_done(l, "tiny");
        assert_true(clock_mono_us() < end_us);
    }
    poll(NULL, 0, 50);
    assert_int_equal(info(l, "tiny").pid, pid);
    assert_int_equal(info(l, "tiny").state, LAUNCHER_READY);
    launcher_done(l, "tiny");
    await(&a, a.answers + 1);
    assert_int_equal(a.err, ERR_OK);
    assert_true(info(l, "tiny").pid != pid);

    launcher_configure(l, NULL, 0); /* gone from the policy */
    assert_int_equal(use(&a, l, "tiny"), ERR_UPSTREAM_CONNECT);
    launcher_done(l, "tiny");
    end_us = clock_mono_us() + LIMIT_US;
    while (launcher_list(l, NULL, 0) > 0)
        assert_true(clock_mono_us() < end_us);
    launcher_configure(l, &m.spec, 1);
    assert_int_equal(use(&a, l, "tiny"), ERR_OK);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

static void test_configure_during_start(void **state)
{
    struct model slow, quick;
    struct asker a;

    (void)state;
    model_init(&slow, "tiny", MODEL_SERVER);
    arg(&slow, "listen_after_ms=100000");
    model_init(&quick, "tiny", MODEL_SERVER);
    asker_init(&a);
    struct launcher *l = launch(&slow);
    assert_non_null(want(&a, l, "tiny"));
    await_state(l, "tiny", LAUNCHER_STARTING);
    launcher_configure(l, &quick.spec, 1); /* who waits is served by the new one */
    await(&a, 1);
    assert_int_equal(a.err, ERR_OK);
    launcher_done(l, "tiny");

    launcher_configure(l, &slow.spec, 1);
    await_state(l, "tiny", LAUNCHER_STOPPED);
    assert_non_null(want(&a, l, "tiny"));
    await_state(l, "tiny", LAUNCHER_STARTING);
    launcher_configure(l, NULL, 0);
    await(&a, 2);
    assert_int_equal(a.err, ERR_UPSTREAM_CONNECT);
    launcher_free(l);
    mailbox_clear(&a.mb);
}

/* ---- exclusive groups ---- */

#define CLIENTS    6
#define MIN_RUN_MS 250

struct crowd {
    struct launcher *l;
    _Atomic int on[2]; /* requests on each model now */
    _Atomic int served[2], overlaps;
    int64_t until_us;
};

struct client {
    struct crowd *crowd;
    pthread_t thread;
    int model;
    int64_t longest_us;
};

static int64_t starts_of(struct launcher *l)
{
    return info(l, "a").starts + info(l, "b").starts;
}

/* A slow machine needs longer for it; a launcher that never swaps is seen by the limit. */
static bool swapped_twice(struct crowd *w)
{
    return starts_of(w->l) >= 3 || clock_mono_us() > w->until_us + LIMIT_US;
}

static void *be_client(void *arg_)
{
    static const char *const names[] = {"a", "b"};
    struct client *c = arg_;
    struct crowd *w = c->crowd;
    struct asker a;

    asker_init(&a);
    while (clock_mono_us() < w->until_us || !swapped_twice(w)) {
        int64_t asked_us = clock_mono_us();

        assert_int_equal(use(&a, w->l, names[c->model]), ERR_OK);
        if (clock_mono_us() - asked_us > c->longest_us)
            c->longest_us = clock_mono_us() - asked_us;
        w->on[c->model]++;
        if (w->on[1 - c->model])
            w->overlaps++;
        poll(NULL, 0, 3);
        w->served[c->model]++;
        w->on[c->model]--;
        launcher_done(w->l, names[c->model]);
    }
    mailbox_clear(&a.mb);
    return NULL;
}

/* Many want both members all the time: never both at once, few swaps, all are served. */
static void test_group_alternates(void **state)
{
    struct model a, b;
    struct client clients[CLIENTS];
    struct err_text why;
    struct launcher *l = launcher_new(&why);
    int64_t began_us = clock_mono_us();
    struct crowd w = {.l = l, .until_us = began_us + 4000000};

    (void)state;
    model_init(&a, "a", MODEL_SERVER);
    model_init(&b, "b", MODEL_SERVER);
    a.spec.group = b.spec.group = "gpu0";
    a.spec.min_run_ms = b.spec.min_run_ms = MIN_RUN_MS;
    b.spec.port = a.spec.port; /* they would collide if both ran */
    snprintf(b.text[1], sizeof b.text[1], "port=%u", (unsigned)b.spec.port);
    struct launcher_spec specs[] = {a.spec, b.spec};
    launcher_configure(l, specs, 2);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.crowd = &w, .model = i % 2};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, be_client, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(clients[i].thread, NULL);
    int64_t starts = starts_of(l), took_ms = (clock_mono_us() - began_us) / 1000;
    print_message("          %d + %d served, %d starts\n", (int)w.served[0], (int)w.served[1],
                  (int)starts);
    assert_int_equal(w.overlaps, 0);
    assert_true(starts >= 3 && starts <= took_ms / MIN_RUN_MS + 2);
    for (int i = 0; i < CLIENTS; i++)
        assert_true(clients[i].longest_us < LIMIT_US);
    assert_true(w.served[0] > 0 && w.served[1] > 0);
    assert_int_equal(info(l, "a").failures + info(l, "b").failures, 0);
    launcher_free(l);
}

/* An idle member makes way before min_run_ms; one whose start nobody waits for any more does at
 * once. */
static void test_group_makes_way(void **state)
{
    struct model a, b;
    struct asker k;
    struct err_text why;
    struct launcher *l = launcher_new(&why);

    (void)state;
    model_init(&a, "a", MODEL_SERVER);
    model_init(&b, "b", MODEL_SERVER);
    a.spec.group = b.spec.group = "gpu0";
    a.spec.min_run_ms = b.spec.min_run_ms = 1000000;
    struct launcher_spec specs[] = {a.spec, b.spec};
    launcher_configure(l, specs, 2);
    asker_init(&k);
    assert_int_equal(use(&k, l, "a"), ERR_OK);
    struct ask *waiting = want(&k, l, "b");
    assert_non_null(waiting);
    poll(NULL, 0, 300);
    assert_int_equal(info(l, "b").waiting, 1); /* a is busy and has not run for long */
    launcher_done(l, "a");
    await(&k, 2);
    assert_int_equal(k.err, ERR_OK);
    assert_int_equal(info(l, "a").state, LAUNCHER_STOPPED);
    launcher_done(l, "b");

    launcher_configure(l, NULL, 0);
    arg(&a, "listen_after_ms=100000");
    specs[0] = a.spec;
    launcher_configure(l, specs, 2);
    waiting = want(&k, l, "a");
    assert_non_null(waiting);
    await_state(l, "a", LAUNCHER_STARTING);
    assert_non_null(want(&k, l, "b"));
    launcher_cancel(l, &waiting->want);
    await(&k, 4);
    await_state(l, "b", LAUNCHER_READY);
    launcher_done(l, "b");
    launcher_free(l);
    mailbox_clear(&k.mb);
}

/* ---- many threads, one server that stops whenever it can ---- */

static void *use_often(void *arg_)
{
    struct launcher *l = arg_;
    struct asker a;
    int64_t until_us = clock_mono_us() + 2500000;

    asker_init(&a);
    for (unsigned i = 0; clock_mono_us() < until_us ||
                         (info(l, "tiny").starts < 2 && clock_mono_us() < until_us + LIMIT_US);
         i++) {
        assert_int_equal(use(&a, l, "tiny"), ERR_OK);
        assert_int_equal(info(l, "tiny").state, LAUNCHER_READY); /* never stopped under a use */
        launcher_done(l, "tiny");
        if (i % 50 == 0)
            poll(NULL, 0, 8); /* now and then all are away */
    }
    mailbox_clear(&a.mb);
    return NULL;
}

static void test_idle_stop_races_with_uses(void **state)
{
    struct model m;
    pthread_t threads[3];

    (void)state;
    model_init(&m, "tiny", MODEL_SERVER);
    m.spec.idle_ms = 0;
    struct launcher *l = launch(&m);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, use_often, l), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    await_state(l, "tiny", LAUNCHER_STOPPED);
    assert_true(info(l, "tiny").starts >= 2);
    assert_int_equal(info(l, "tiny").failures, 0);
    launcher_free(l);
}

/* ---- a real engine ---- */

static void test_real_engine(void **state)
{
    struct model m;
    struct asker a;
    struct buf log;

    (void)state;
    if (access(LLAMA_DIR "/llama-server", X_OK) < 0 || access(LLAMA_DIR "/tiny.gguf", R_OK) < 0) {
        print_message("          no " LLAMA_DIR
                      "/llama-server: run tests/integration/llama/setup.sh\n");
        skip();
    }
    model_init(&m, "tiny", LLAMA_DIR "/llama-server");
    arg(&m, "--model");
    arg(&m, "%s/tiny.gguf", LLAMA_DIR);
    arg(&m, "--port");
    arg(&m, "%u", (unsigned)m.spec.port);
    m.spec.idle_ms = 100;
    asker_init(&a);
    struct launcher *l = launch(&m);
    for (int starts = 1; starts <= 2; starts++) {
        assert_int_equal(use(&a, l, "tiny"), ERR_OK);
        assert_int_equal(info(l, "tiny").starts, starts);
        assert_true(info(l, "tiny").rss_bytes > 1 << 20);
        launcher_done(l, "tiny");
        await_state(l, "tiny", LAUNCHER_STOPPED);
    }
    assert_int_equal(info(l, "tiny").failures, 0);
    buf_init(&log, TAIL_BYTES);
    assert_int_equal(launcher_log_tail(l, "tiny", &log), ERR_OK);
    assert_non_null(memmem(buf_slice(&log).p, buf_len(&log), "model loaded", 12));
    buf_clear(&log);

    snprintf(m.text[2], sizeof m.text[2], "/nowhere.gguf"); /* its own words say what is wrong */
    launcher_configure(l, &m.spec, 1);
    assert_int_equal(use(&a, l, "tiny"), ERR_UPSTREAM_CONNECT);
    assert_contains(a.why.s, "ended before it was ready: exit status 1; last output: ");
    launcher_free(l);
    mailbox_clear(&a.mb);
}

/* ---- a weir that is killed ---- */

static void be_killed(int pid_fd)
{
    struct model m;
    struct asker a;
    struct launcher *l;

    model_init(&m, "tiny", MODEL_SERVER);
    asker_init(&a);
    l = launch(&m);
    if (use(&a, l, "tiny") != ERR_OK)
        _exit(1);
    int pid = info(l, "tiny").pid;
    if (write(pid_fd, &pid, sizeof pid) != sizeof pid)
        _exit(1);
    for (;;)
        pause();
}

static void test_children_die_with_a_killed_weir(void **state)
{
    int fd[2], pid = 0;

    (void)state;
    assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
    pid_t weir = fork();
    if (weir == 0)
        be_killed(fd[1]);
    assert_int_equal(read(fd[0], &pid, sizeof pid), sizeof pid);
    assert_int_equal(kill(pid, 0), 0);
    kill(weir, SIGKILL);
    waitpid(weir, NULL, 0);
    await_gone(pid); /* a subreaper may be slow to reap it, but it is reaped */
    close(fd[0]);
    close(fd[1]);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return rmdir(scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            test_children_die_with_a_killed_weir), /* forks: before there are threads */
        cmocka_unit_test(test_first_want_starts_it),
        cmocka_unit_test(test_without_ready_path_the_port_is_enough),
        cmocka_unit_test(test_unknown_name),
        cmocka_unit_test(test_exec_fails),
        cmocka_unit_test(test_port_is_taken),
        cmocka_unit_test(test_dies_before_ready_then_backs_off),
        cmocka_unit_test(test_never_ready),
        cmocka_unit_test(test_dies_while_serving),
        cmocka_unit_test(test_idle_stop_and_return),
        cmocka_unit_test(test_a_watcher_is_told_of_each_start),
        cmocka_unit_test(test_ignores_sigterm_and_leaves_grandchildren),
        cmocka_unit_test(test_free_while_starting),
        cmocka_unit_test(test_endless_output),
        cmocka_unit_test(test_what_the_child_inherits),
        cmocka_unit_test(test_queue_has_an_end),
        cmocka_unit_test(test_cancel_and_forget),
        cmocka_unit_test(test_configure),
        cmocka_unit_test(test_configure_during_start),
        cmocka_unit_test(test_group_alternates),
        cmocka_unit_test(test_group_makes_way),
        cmocka_unit_test(test_idle_stop_races_with_uses),
        cmocka_unit_test(test_real_engine),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}

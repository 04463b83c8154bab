/* Runs validators. Owns the jobs of a worker: children until they are reaped, exchanges until they
 * end. Called by the request's performer on its worker.
 *
 * A run ends when all its jobs have told, or one failed; its jobs may outlive it, as killed
 * children that wait to be reaped: they belong to the runner and know no run any more. */
#include "router/validate_run.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include "backends/child.h"
#include "backends/wire/json_pen.h"
#include "backends/wire/member.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define REASON_BYTES    400 /* of a program's output */
#define JUDGE_MAX_BYTES 65536
#define LEAST_UNKNOWN   126 /* exit status: not executable, not found, signals of shells */
#define PASS_SCORE      0.5
#define WARN_EVERY_US   (10 * 1000 * 1000)
#define EXTRA_BYTES     (64 * 1024) /* of a document, beside its texts */

struct job {
    struct list link; /* in runner->jobs */
    struct validate_runner *runner;
    struct validate_run *run;         /* NULL: nobody waits for it */
    const struct validate_rule *rule; /* borrowed as long as there is a run */
    /* command */
    struct child child;
    struct event ended, output, timer;
    bool armed;
    char said[REASON_BYTES];
    size_t said_bytes;
    /* http */
    struct upstream_call call;
    struct upstream_request request;
    struct slice body;
    int status;
    struct buf answer;
};

struct validate_run {
    struct validate_result sum;
    validate_done_fn done;
    void *ctx;
    struct buf document;
    struct job *jobs[POLICY_MAX_VALIDATORS]; /* that have not told yet */
    size_t job_count;
};

void validate_runner_init(struct validate_runner *r, struct event_base *base, struct upstream *up)
{
    *r = (struct validate_runner){.base = base, .upstream = up, .warned_us = -WARN_EVERY_US};
    list_init(&r->jobs);
}

/* ---- the document ---- */

static const char *finish_name(const struct answer_signals *s)
{
    static const char *const names[] = {
        [CHAT_FINISH_STOP] = "stop",
        [CHAT_FINISH_STOP_SEQUENCE] = "stop",
        [CHAT_FINISH_LENGTH] = "length",
        [CHAT_FINISH_TOOL_CALLS] = "tool_calls",
        [CHAT_FINISH_FILTER] = "content_filter",
        [CHAT_FINISH_PAUSE] = "pause",
    };

    return s->finished ? names[s->finish] : "none";
}

static enum err write_document(const struct validate_subject *what, struct buf *out)
{
    const struct answer_signals *s = what->signals;
    struct json_pen pen;

    json_pen_begin(&pen, out);
    JSON_PEN(&pen, "{\"request\":");
    json_pen_raw(&pen, what->body.n ? json_trim(what->body) : SLICE("null"));
    JSON_PEN(&pen, ",\"answer\":{\"text\":");
    json_pen_string(&pen, buf_slice(&s->text));
    JSON_PEN(&pen, ",\"finish\":");
    json_pen_string(&pen, slice_str(finish_name(s)));
    JSON_PEN(&pen, ",\"refused\":");
    json_pen_raw(&pen, s->refused ? SLICE("true") : SLICE("false"));
    JSON_PEN(&pen, ",\"calls\":[");
    for (size_t i = 0; i < s->call_count; i++) {
        json_pen_raw(&pen, i ? SLICE(",{\"name\":") : SLICE("{\"name\":"));
        json_pen_string(&pen, buf_slice(&s->calls[i].name));
        JSON_PEN(&pen, ",\"arguments\":");
        json_pen_string(&pen, buf_slice(&s->calls[i].arguments));
        JSON_PEN(&pen, "}");
    }
    JSON_PEN(&pen, "]},\"model\":");
    json_pen_string(&pen, slice_str(what->model));
    JSON_PEN(&pen, "}\n");
    return json_pen_end(&pen);
}

/* ---- the end of a job ---- */

static void close_events(struct job *j)
{
    if (!j->armed)
        return;
    event_del(&j->ended);
    event_del(&j->output);
    event_del(&j->timer);
    j->armed = false;
}

static void job_free(struct job *j)
{
    close_events(j);
    child_clear(&j->child);
    upstream_abort(&j->call);
    buf_clear(&j->answer);
    list_remove(&j->link);
    j->runner->job_count--;
    free(j);
}

/* Nobody waits for it any more. A child is killed now and freed when it has been reaped. */
static void job_drop(struct job *j)
{
    j->run = NULL;
    if (j->child.pid > 0)
        child_signal(&j->child, SIGKILL);
    else
        job_free(j);
}

static void run_free(struct validate_run *run)
{
    buf_clear(&run->document);
    free(run);
}

void validate_cancel(struct validate_run *run)
{
    if (!run)
        return;
    while (run->job_count)
        job_drop(run->jobs[--run->job_count]);
    run_free(run);
}

static const char *rule_name(const struct validate_rule *r)
{
    return r->how->kind == POLICY_VALIDATE_COMMAND ? r->how->argv[0]
           : r->how->kind == POLICY_VALIDATE_HTTP  ? r->how->url
                                                   : "";
}

static void warn(struct validate_runner *r, const struct validate_rule *rule, const char *why)
{
    char name[160], reason[320];

    if (clock_mono_us() - r->warned_us < WARN_EVERY_US)
        return;
    r->warned_us = clock_mono_us();
    log_line(LOG_WARN, "validate", "a validator says nothing", "validator=%s why=%s",
             log_quote(slice_str(rule_name(rule)), name, sizeof name),
             log_quote(slice_str(why), reason, sizeof reason));
}

/* The job has told. The last one, or one that fails, ends the run. */
static void told(struct job *j, const struct validate_result *result)
{
    struct validate_run *run = j->run;
    struct validate_result sum;
    validate_done_fn done;
    void *ctx;
    size_t i = 0;

    if (result->verdict == CONFIDENCE_UNKNOWN)
        warn(j->runner, j->rule, result->why.s);
    j->run = NULL;
    while (run->jobs[i] != j)
        i++;
    run->jobs[i] = run->jobs[--run->job_count];
    validate_combine(&run->sum, result);
    if (run->job_count && run->sum.verdict != CONFIDENCE_FAIL)
        return;
    sum = run->sum;
    done = run->done;
    ctx = run->ctx;
    validate_cancel(run);
    done(ctx, &sum);
}

static struct validate_result unknown(const char *why)
{
    struct validate_result r = {.verdict = CONFIDENCE_UNKNOWN};

    err_say(&r.why, "%s", why);
    return r;
}

/* ---- programs ---- */

/* What it writes is the reason; more than fits is read and forgotten. */
static void read_output(struct job *j)
{
    char more[4096];
    ssize_t n;

    while ((n = read(j->child.out_fd, more, sizeof more)) > 0) {
        size_t room = sizeof j->said - j->said_bytes, take = (size_t)n < room ? (size_t)n : room;

        memcpy(j->said + j->said_bytes, more, take);
        j->said_bytes += take;
    }
    if (n == 0)
        event_del(&j->output);
}

static void on_output(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    read_output(ctx);
}

static struct validate_result exit_result(const struct job *j, const struct err_text *how)
{
    struct validate_result r = {.verdict = CONFIDENCE_UNKNOWN};
    struct slice said = json_trim(slice_make(j->said, j->said_bytes));
    int status = j->child.status;

    if (status == 0)
        r.verdict = CONFIDENCE_PASS;
    else if (status > 0 && status < LEAST_UNKNOWN)
        r.verdict = CONFIDENCE_FAIL;
    r.score = r.verdict == CONFIDENCE_PASS;
    if (r.verdict != CONFIDENCE_PASS)
        err_say(&r.why, "'%.80s': %.80s%s%.*s", j->rule->how->argv[0], how->s, said.n ? ": " : "",
                SLICE_ARG(said));
    return r;
}

/* Its group may have others left in it: they end with it. */
static void on_ended(evutil_socket_t fd, short what, void *ctx)
{
    struct job *j = ctx;
    struct err_text how;

    (void)fd;
    (void)what;
    if (!child_reap(&j->child, &how))
        return;
    read_output(j);
    if (child_group_alive(&j->child))
        child_signal(&j->child, SIGKILL);
    if (j->run) {
        struct validate_result result = exit_result(j, &how);

        told(j, &result);
    }
    job_free(j);
}

static void on_timeout(evutil_socket_t fd, short what, void *ctx)
{
    struct job *j = ctx;
    struct validate_result result;

    (void)fd;
    (void)what;
    child_signal(&j->child, SIGKILL);
    if (!j->run)
        return;
    result = unknown("");
    err_say(&result.why, "'%.80s' takes longer than %lld ms", j->rule->how->argv[0],
            (long long)j->rule->how->timeout_ms);
    told(j, &result);
}

/* The document as a file in memory: the child reads it at its own pace, or not at all. */
static int document_fd(const struct validate_run *run)
{
    struct slice rest = buf_slice(&run->document);
    int fd = memfd_create("weir-answer", MFD_CLOEXEC);

    while (fd >= 0 && rest.n) {
        ssize_t n = write(fd, rest.p, rest.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            close(fd);
            return -1;
        }
        rest = slice_from(rest, (size_t)n);
    }
    if (fd >= 0)
        lseek(fd, 0, SEEK_SET);
    return fd;
}

static bool start_command(struct job *j, struct err_text *why)
{
    const struct policy_validator *how = j->rule->how;
    struct timeval limit = {how->timeout_ms / 1000, how->timeout_ms % 1000 * 1000};
    int fd = document_fd(j->run);
    bool ok = false;

    if (fd < 0)
        err_say(why, "no room for the answer: %s", strerror(errno));
    else
        ok = child_start(&j->child, how->argv, NULL, NULL, fd, why);
    if (fd >= 0)
        close(fd);
    if (!ok)
        return false;
    event_assign(&j->ended, j->runner->base, j->child.pidfd, EV_READ, on_ended, j);
    event_assign(&j->output, j->runner->base, j->child.out_fd, EV_READ | EV_PERSIST, on_output, j);
    event_assign(&j->timer, j->runner->base, -1, 0, on_timeout, j);
    event_add(&j->ended, NULL);
    event_add(&j->output, NULL);
    event_add(&j->timer, &limit);
    j->armed = true;
    return true;
}

/* ---- judges ---- */

static void on_head(struct upstream_call *c, const struct http1_head *head)
{
    ((struct job *)c->owner)->status = head->status;
}

static void on_data(struct upstream_call *c, struct slice data)
{
    struct job *j = c->owner;

    if (buf_append_slice(&j->answer, data) != ERR_OK) /* max_response_bytes is less */
        j->status = 0;
}

static struct validate_result read_judgement(const struct job *j)
{
    struct slice text = json_trim(buf_slice(&j->answer));
    struct json_value root = {JSON_OBJECT, text};
    struct validate_result r = {.verdict = CONFIDENCE_UNKNOWN};
    struct json_member m;

    if (!json_validate(text, NULL) || text.p[0] != '{' || !json_get(root, SLICE("score"), &m) ||
        !json_number(m.value, &r.score) || !(r.score >= 0 && r.score <= 1))
        return unknown("the judge's answer has no score from 0 to 1");
    r.verdict = r.score >= PASS_SCORE ? CONFIDENCE_PASS : CONFIDENCE_FAIL;
    if (json_get(root, SLICE("reason"), &m) && m.value.type == JSON_STRING)
        json_string_decode(m.value.text, r.why.s, sizeof r.why.s - 1);
    else
        err_say(&r.why, "the judge's score is %g", r.score);
    return r;
}

static void on_done(struct upstream_call *c, const struct upstream_result *res)
{
    struct job *j = c->owner;
    struct validate_result result;

    if (res->err != ERR_OK) {
        result = unknown("");
        err_say(&result.why, "%.200s: %s", j->rule->how->url, err_text(res->err));
    } else if (j->status != 200) {
        result = unknown("");
        err_say(&result.why, "%.200s: HTTP status %d", j->rule->how->url, j->status);
    } else {
        result = read_judgement(j);
    }
    if (j->run)
        told(j, &result);
    job_free(j);
}

static const struct upstream_handler judge = {on_head, on_data, on_done};

static void start_judge(struct job *j)
{
    static const struct http1_header type = {{"Content-Type", 12}, {"application/json", 16}};
    int64_t ms = j->rule->how->timeout_ms;

    j->body = buf_slice(&j->run->document);
    j->request = (struct upstream_request){
        .target = &j->rule->target,
        .method = SLICE("POST"),
        .path = j->rule->path,
        .headers = &type,
        .header_count = 1,
        .body = &j->body,
        .body_count = 1,
        .timeouts = {ms, ms, ms, ms},
        .max_response_bytes = JUDGE_MAX_BYTES,
    };
    j->call.owner = j;
    upstream_start(j->runner->upstream, &j->call, &judge, &j->request);
}

/* ---- a run ---- */

static bool runs_elsewhere(const struct validate_rule *r)
{
    return r->how->kind == POLICY_VALIDATE_COMMAND || r->how->kind == POLICY_VALIDATE_HTTP;
}

static void check_here(const struct validate_rule *r, const struct validate_subject *what,
                       struct validate_result *out)
{
    switch (r->how->kind) {
    case POLICY_VALIDATE_JSON_SCHEMA:
        validate_json_schema(what->signals, what->request, r->schema, out);
        break;
    case POLICY_VALIDATE_TOOL_ARGS:
        validate_tool_args(what->signals, what->request, out);
        break;
    case POLICY_VALIDATE_NON_EMPTY:
        validate_non_empty(what->signals, out);
        break;
    case POLICY_VALIDATE_REGEX:
        validate_regex(what->signals, r->pattern, out);
        break;
    case POLICY_VALIDATE_COMMAND:
    case POLICY_VALIDATE_HTTP:
        break;
    }
}

/* false: *result says why it says nothing. */
static bool start_job(struct validate_runner *r, struct validate_run *run,
                      const struct validate_rule *rule, struct validate_result *result)
{
    struct job *j;

    if (r->job_count >= VALIDATE_AT_ONCE) {
        *result = unknown("too many validators run at once");
        return false;
    }
    j = mem_zalloc(1, sizeof *j);
    *j = (struct job){.runner = r, .run = run, .rule = rule, .child = {.pidfd = -1, .out_fd = -1}};
    buf_init(&j->answer, JUDGE_MAX_BYTES);
    list_push_back(&r->jobs, &j->link);
    r->job_count++;
    if (rule->how->kind == POLICY_VALIDATE_HTTP) {
        start_judge(j);
    } else if (!start_command(j, &result->why)) {
        result->verdict = CONFIDENCE_UNKNOWN;
        job_free(j);
        return false;
    }
    run->jobs[run->job_count++] = j;
    return true;
}

/* The functions first: where one fails, nothing is started. */
static bool any_elsewhere(const struct validate_set *set, const struct validate_subject *what,
                          struct validate_result *out)
{
    bool elsewhere = false;

    for (size_t i = 0; i < set->count; i++) {
        const struct validate_rule *r = &set->rules[i];
        struct validate_result one;

        if (!r->broken && runs_elsewhere(r)) {
            elsewhere = true;
            continue;
        }
        if (r->broken)
            one = unknown(r->broken);
        else
            check_here(r, what, &one);
        validate_combine(out, &one);
    }
    return elsewhere && out->verdict != CONFIDENCE_FAIL;
}

struct validate_run *validate_start(struct validate_runner *r, const struct validate_set *set,
                                    const struct validate_subject *what,
                                    struct validate_result *out, validate_done_fn fn, void *ctx)
{
    struct validate_run *run;

    *out = (struct validate_result){.verdict = CONFIDENCE_UNKNOWN};
    if (!any_elsewhere(set, what, out))
        return NULL;
    run = mem_zalloc(1, sizeof *run);
    run->done = fn;
    run->ctx = ctx;
    run->sum = *out;
    buf_init(&run->document, what->body.n + 8 * what->signals->max_bytes + EXTRA_BYTES);
    if (write_document(what, &run->document) != ERR_OK) {
        struct validate_result large = unknown("the answer is too long for validators");

        validate_combine(&run->sum, &large);
    } else {
        for (size_t i = 0; i < set->count; i++) {
            struct validate_result one = {.verdict = CONFIDENCE_UNKNOWN};

            if (!set->rules[i].broken && runs_elsewhere(&set->rules[i]) &&
                !start_job(r, run, &set->rules[i], &one)) {
                warn(r, &set->rules[i], one.why.s);
                validate_combine(&run->sum, &one);
            }
        }
    }
    if (run->job_count)
        return run;
    *out = run->sum;
    run_free(run);
    return NULL;
}

/* ---- the end of a worker ---- */

void validate_runner_clear(struct validate_runner *r)
{
    LIST_FOREACH_SAFE (it, &r->jobs) {
        struct job *j = CONTAINER_OF(it, struct job, link);
        struct err_text how;

        if (j->child.pid > 0) {
            struct pollfd end = {.fd = j->child.pidfd, .events = POLLIN};

            child_signal(&j->child, SIGKILL);
            while (!child_reap(&j->child, &how))
                poll(&end, 1, -1);
        }
        job_free(j);
    }
}

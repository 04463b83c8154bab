/* The thread, its link and its ticks. An exchange is, for a day and for a month each: tell what is
 * due, ask for the token, read the whole if it is not the one that was seen. Owns what spends_sheet
 * keeps. Opened by control. */
#include "router/spends_share.h"

#include <event2/event.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/cond.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "cache/redis_link.h"
#include "router/shared_link.h"
#include "router/spends_sheet.h"

#define TICK_MS          250
#define CALL_US          2000000
#define CLOSE_MS         1000
#define MAX_QUEUED_BYTES ((size_t)8 << 20)
#define MAX_WORDS_BYTES  ((size_t)4 << 20)
#define ROWS_PER_CALL    100                        /* two words each; redis_link takes 256 */
#define KEEP_US          (INT64_C(2) * 86400000000) /* after the period: clocks that are behind */
#define DATE_BYTES       25
#define TOKEN_BYTES      SPENDS_ID_BYTES

struct exchange {
    struct spends_share *share;
    struct spends_sheet sheet;
    char token[TOKEN_BYTES + 1]; /* of what was read; "": everything is to be read */
    bool open;
    bool failed; /* some of it was not told */
    bool last;   /* it began after the order to close */
    bool heard;  /* at least once */
};

struct spends_share {
    struct spends *spends;  /* borrowed */
    char *prefix, *id_path; /* owned */
    char id[SPENDS_ID_BYTES + 1];
    pthread_t thread;
    struct mailbox mailbox;
    pthread_mutex_t lock;
    pthread_cond_t progress;
    bool heard; /* under the lock */
    _Atomic bool up;

    struct event_base *base;
    struct event *mail, *tick;
    struct redis_link *link;
    struct rng rng;
    struct exchange of[SPEND_PERIODS];
    bool failing, strange; /* was said */
    bool closing, ended;
    int64_t close_until_us;

    struct stats *stats;
    struct stats_cell *store_up, *heard_at;
};

/* ---- the id ---- */

static void new_id(struct spends_share *s, char out[SPENDS_ID_BYTES + 1])
{
    snprintf(out, SPENDS_ID_BYTES + 1, "%016" PRIx64, rng_u64(&s->rng));
}

static enum err write_id(const struct spends_share *s, struct err_text *t)
{
    char line[SPENDS_ID_BYTES + 2];

    snprintf(line, sizeof line, "%s\n", s->id);
    return atomic_file_write(s->id_path, 0600, slice_str(line), t);
}

static bool is_id(struct slice text)
{
    for (size_t i = 0; i < text.n; i++)
        if (!strchr("0123456789abcdef", text.p[i]))
            return false;
    return text.n == SPENDS_ID_BYTES;
}

static enum err read_id(struct spends_share *s, struct err_text *t)
{
    char *text = NULL;
    size_t n;
    enum err err = atomic_file_read(s->id_path, 64, &text, &n, t);

    if (err == ERR_NOT_FOUND) {
        new_id(s, s->id);
        return write_id(s, t);
    }
    if (err != ERR_OK)
        return err;
    if (n && text[n - 1] == '\n')
        n--;
    if (is_id(slice_make(text, n))) {
        memcpy(s->id, text, SPENDS_ID_BYTES);
    } else {
        err_say(t, "%s: %d hexadecimal digits are expected, the id of this replica", s->id_path,
                SPENDS_ID_BYTES);
        err = ERR_INTERNAL;
    }
    free(text);
    return err;
}

/* Somebody else tells under it. */
static void change_id(struct spends_share *s)
{
    struct err_text t = {""};
    char quoted[600];

    new_id(s, s->id);
    for (int p = 0; p < SPEND_PERIODS; p++) {
        spends_sheet_forget_told(&s->of[p].sheet);
        s->of[p].token[0] = '\0';
    }
    log_line(LOG_WARN, "spends",
             "another process tells under this replica's id: this one has a new id from now on; "
             "budgets count what both had twice until the month is over",
             "id=%s", s->id);
    if (write_id(s, &t) != ERR_OK)
        log_line(LOG_ERROR, "spends", "the new id is not kept", "why=%s",
                 log_quote(slice_str(t.s), quoted, sizeof quoted));
}

/* ---- how it is going ---- */

static void set_up(struct spends_share *s, bool up)
{
    atomic_store(&s->up, up);
    stats_set(s->store_up, up);
}

static void on_up(void *ctx)
{
    struct spends_share *s = ctx;

    log_line(LOG_INFO, "spends", "the shared store is there", NULL);
    s->failing = false;
    for (int p = 0; p < SPEND_PERIODS; p++)
        s->of[p].token[0] = '\0'; /* it may be another, or the same without what it had */
    event_active(s->tick, EV_TIMEOUT, 0);
}

static void fail(struct spends_share *s, struct slice why)
{
    char quoted[256];

    if (s->ended)
        return; /* its calls are answered for it */
    set_up(s, false);
    if (!s->failing)
        log_line(LOG_WARN, "spends",
                 "the shared store is away; budgets go by what was last heard of other replicas",
                 "why=%s", log_quote(why, quoted, sizeof quoted));
    s->failing = true;
}

static void on_down(void *ctx, const char *why)
{
    fail(ctx, slice_str(why));
}

/* Whether a reply is of that kind or, where that is allowed, nil. */
static bool is_sound(struct spends_share *s, enum err err, const struct redis_reply *reply,
                     enum redis_kind wanted)
{
    if (err != ERR_OK || !reply)
        fail(s, SLICE("no answer in time"));
    else if (redis_reply_kind(reply) == REDIS_KIND_ERROR)
        fail(s, redis_reply_text(reply));
    else if (redis_reply_kind(reply) != wanted && redis_reply_kind(reply) != REDIS_KIND_NIL)
        fail(s, SLICE("an answer of another kind"));
    else
        return true;
    return false;
}

/* ---- an exchange ---- */

static void begin(struct exchange *x);

static void end_loop(struct spends_share *s)
{
    s->ended = true;
    event_base_loopbreak(s->base);
}

static void say_heard(struct spends_share *s)
{
    for (int p = 0; p < SPEND_PERIODS; p++)
        if (!s->of[p].heard)
            return;
    set_up(s, true);
    s->failing = false;
    stats_set(s->heard_at, clock_wall_us() / 1000000);
    pthread_mutex_lock(&s->lock);
    s->heard = true;
    pthread_cond_broadcast(&s->progress);
    pthread_mutex_unlock(&s->lock);
}

static void end(struct exchange *x, bool well)
{
    struct spends_share *s = x->share;

    well = well && !x->failed;
    x->open = false;
    x->heard = x->heard || well;
    if (!well)
        x->token[0] = '\0'; /* what was told may not have come: it is looked at */
    else
        say_heard(s);
    if (!s->closing || s->ended)
        return;
    if (!well) {
        end_loop(s);
    } else if (!x->last || spends_sheet_has_due(&x->sheet)) {
        begin(x);
    } else {
        bool all = true;
        for (int p = 0; p < SPEND_PERIODS; p++)
            all = all && s->of[p].last && !s->of[p].open;
        if (all)
            end_loop(s);
    }
}

static void say_strange(struct spends_share *s, size_t count)
{
    if (count && !s->strange)
        log_line(LOG_WARN, "spends",
                 "the shared store has fields or sums that make no sense; they do not count",
                 "fields=%zu", count);
    s->strange = count > 0;
}

static void take_table(struct exchange *x, const struct redis_reply *table)
{
    struct spends_share *s = x->share;
    nanousd restored;
    char usd[32];

    spends_sheet_read_begin(&x->sheet);
    for (size_t i = 0; i + 1 < redis_reply_count(table); i += 2) {
        struct slice field = redis_reply_text(redis_reply_at(table, i));

        if (!slice_eq(field, SLICE("changed")))
            spends_sheet_read(&x->sheet, s->id, field,
                              redis_reply_text(redis_reply_at(table, i + 1)));
    }
    if (!spends_sheet_read_end(&x->sheet, &restored))
        change_id(s);
    say_strange(s, x->sheet.strange);
    if (restored > 0 && x->sheet.kind == SPEND_MONTH) /* with the day's */
        log_line(LOG_WARN, "spends",
                 "what an earlier run of this replica had booked and not written counts, too",
                 "usd=%s", money_format_usd(restored, usd, sizeof usd));
}

static void on_table(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct exchange *x = ctx;
    bool well = is_sound(x->share, err, reply, REDIS_KIND_ARRAY);

    if (well)
        take_table(x, reply);
    end(x, well);
}

/* "PREFIX:spend:2026-11-22" */
static enum err put_key(const struct exchange *x, struct buf *out)
{
    int64_t begin_us = spend_period_begin_us(x->sheet.kind, x->sheet.period);
    char date[DATE_BYTES];

    clock_rfc3339(begin_us, date, sizeof date);
    return buf_printf(out, "%s:spend:%.*s", x->share->prefix, x->sheet.kind == SPEND_DAY ? 10 : 7,
                      date);
}

static void call(struct exchange *x, const struct slice *words, size_t n, redis_reply_fn *fn)
{
    redis_link_call(x->share->link, words, n, CALL_US, fn, x);
}

static void on_token(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct exchange *x = ctx;
    struct slice token;
    struct buf key;

    if (!is_sound(x->share, err, reply, REDIS_KIND_TEXT)) {
        end(x, false);
        return;
    }
    token = redis_reply_text(reply);
    if (x->token[0] && slice_eq(token, slice_str(x->token))) {
        end(x, true);
        return;
    }
    /* Of another length it is nobody's of ours, and never seen. */
    snprintf(x->token, sizeof x->token, "%.*s", token.n == TOKEN_BYTES ? TOKEN_BYTES : 0, token.p);
    buf_init(&key, MAX_WORDS_BYTES);
    enum err e = put_key(x, &key);
    struct slice words[] = {SLICE("HGETALL"), buf_slice(&key)};
    if (e == ERR_OK)
        call(x, words, 2, on_table);
    else
        end(x, false);
    buf_clear(&key);
}

static void on_told(void *ctx, enum err err, const struct redis_reply *reply)
{
    struct exchange *x = ctx;

    if (!is_sound(x->share, err, reply, REDIS_KIND_INTEGER))
        x->failed = true;
}

/* Some rows that are due, with a token of their own; false: there are no more. */
static bool tell_some(struct exchange *x, struct slice key, size_t *at)
{
    struct slice words[4 + 2 * ROWS_PER_CALL] = {SLICE("HSET"), key, SLICE("changed")};
    size_t begin_at[2 * ROWS_PER_CALL + 1], n = 0;
    char token[TOKEN_BYTES + 1];
    const struct sheet_row *row;
    enum err err = ERR_OK;
    struct buf text;

    buf_init(&text, MAX_WORDS_BYTES);
    while (n < 2 * ROWS_PER_CALL && err == ERR_OK && (row = spends_sheet_due(&x->sheet, at))) {
        begin_at[n++] = buf_slice(&text).n;
        err = spends_sheet_field(row, x->share->id, &text);
        begin_at[n++] = buf_slice(&text).n;
        if (err == ERR_OK)
            err = buf_printf(&text, "%" PRId64, row->told);
    }
    begin_at[n] = buf_slice(&text).n;
    new_id(x->share, token);
    words[3] = slice_str(token);
    for (size_t i = 0; i < n; i++)
        words[4 + i] = slice_make(buf_slice(&text).p + begin_at[i], begin_at[i + 1] - begin_at[i]);
    if (n > 0 && err == ERR_OK)
        call(x, words, 4 + n, on_told);
    buf_clear(&text);
    return n > 0 && err == ERR_OK;
}

static void tell(struct exchange *x, struct slice key)
{
    int64_t until_us = spend_period_begin_us(x->sheet.kind, x->sheet.period + 1) + KEEP_US;
    char seconds[24];
    size_t at = 0;
    bool any = false;

    while (tell_some(x, key, &at))
        any = true;
    snprintf(seconds, sizeof seconds, "%" PRId64, until_us / 1000000);
    struct slice words[] = {SLICE("EXPIREAT"), key, slice_str(seconds)};
    if (any)
        call(x, words, 3, on_told);
}

static void begin(struct exchange *x)
{
    struct spends_share *s = x->share;
    struct buf key;

    if (spends_sheet_turn(&x->sheet, s->spends, clock_wall_us()))
        x->token[0] = '\0';
    x->open = true;
    x->failed = false;
    x->last = s->closing;
    buf_init(&key, MAX_WORDS_BYTES);
    enum err err = put_key(x, &key);
    struct slice words[] = {SLICE("HGET"), buf_slice(&key), SLICE("changed")};
    if (err == ERR_OK) {
        tell(x, buf_slice(&key));
        call(x, words, 3, on_token);
    } else {
        end(x, false);
    }
    buf_clear(&key);
}

/* ---- the loop ---- */

static void on_tick(evutil_socket_t fd, short what, void *ctx)
{
    struct spends_share *s = ctx;
    bool left = false;

    (void)fd, (void)what;
    if (s->closing && (!redis_link_up(s->link) || clock_mono_us() >= s->close_until_us)) {
        for (int p = 0; p < SPEND_PERIODS; p++)
            left = left || spends_sheet_has_due(&s->of[p].sheet);
        if (left)
            log_line(LOG_WARN, "spends", "closed before everything was told", NULL);
        end_loop(s);
        return;
    }
    if (!redis_link_up(s->link))
        return;
    for (int p = 0; p < SPEND_PERIODS; p++)
        if (!s->of[p].open && !(s->closing && s->of[p].last))
            begin(&s->of[p]);
}

static void set_tick(struct spends_share *s, int64_t ms)
{
    event_add(s->tick, &(struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000});
}

static void on_mail(evutil_socket_t fd, short what, void *ctx)
{
    struct spends_share *s = ctx;

    (void)fd, (void)what;
    mailbox_drain(&s->mailbox, s);
}

static void *run(void *arg)
{
    struct spends_share *s = arg;

    event_base_dispatch(s->base);
    return NULL;
}

static void discard(struct message *m)
{
    free(m);
}

static void deliver_close(struct message *m, void *ctx)
{
    struct spends_share *s = ctx;

    discard(m);
    s->closing = true;
    s->close_until_us = clock_mono_us() + CLOSE_MS * 1000;
    set_tick(s, TICK_MS / 10);
    on_tick(-1, 0, s);
}

/* ---- life ---- */

static void free_share(struct spends_share *s)
{
    s->ended = true;
    mailbox_close(&s->mailbox);
    redis_link_free(s->link);
    for (int p = 0; p < SPEND_PERIODS; p++)
        spends_sheet_clear(&s->of[p].sheet);
    event_free(s->mail);
    event_free(s->tick);
    event_base_free(s->base);
    mailbox_clear(&s->mailbox);
    pthread_cond_destroy(&s->progress);
    pthread_mutex_destroy(&s->lock);
    stats_free(s->stats);
    free(s->prefix);
    free(s->id_path);
    free(s);
}

static struct spends_share *new_share(const struct spends_share_options *opt)
{
    struct spends_share *s = mem_zalloc(1, sizeof *s);

    s->spends = opt->spends;
    s->prefix = mem_strdup(slice_str(opt->prefix));
    s->id_path = mem_strdup(slice_str(opt->id_path));
    rng_seed_os(&s->rng);
    pthread_mutex_init(&s->lock, NULL);
    cond_init(&s->progress);
    for (int p = 0; p < SPEND_PERIODS; p++) {
        s->of[p].share = s;
        spends_sheet_init(&s->of[p].sheet, (enum spend_period)p);
    }
    s->stats = stats_new();
    s->store_up = stats_cell(s->stats, STAT_SPENDS_STORE_UP, (const char *[]){"redis"});
    s->heard_at = stats_cell(s->stats, STAT_SPENDS_HEARD_AT, NULL);
    if (mailbox_init(&s->mailbox) != 0)
        mem_need(NULL);
    s->base = event_base_new();
    mem_need(s->base);
    s->mail = event_new(s->base, s->mailbox.fd, EV_READ | EV_PERSIST, on_mail, s);
    s->tick = event_new(s->base, -1, EV_PERSIST, on_tick, s);
    mem_need(s->mail);
    mem_need(s->tick);
    event_add(s->mail, NULL);
    set_tick(s, TICK_MS);
    return s;
}

static enum err start(struct spends_share *s, const char *url, struct err_text *t)
{
    enum err err = read_id(s, t);
    int rc;

    if (err == ERR_OK)
        err = shared_link_new(s->base, url,
                              &(struct shared_link_owner){MAX_QUEUED_BYTES, on_up, on_down, s},
                              &s->link, t);
    if (err != ERR_OK)
        return err;
    rc = thread_start(&s->thread, "spends", run, s);
    if (rc == 0)
        return ERR_OK;
    err_say(t, "no thread: %s", strerror(rc));
    return ERR_INTERNAL;
}

enum err spends_share_open(const struct spends_share_options *opt, struct spends_share **out,
                           struct err_text *t)
{
    struct spends_share *s = new_share(opt);
    enum err err = start(s, opt->redis_url, t);

    if (err == ERR_OK)
        *out = s;
    else
        free_share(s);
    return err;
}

bool spends_share_await(struct spends_share *s, int64_t timeout_ms)
{
    int64_t until_us = clock_mono_us() + timeout_ms * 1000;
    bool in_time = true, heard;

    pthread_mutex_lock(&s->lock);
    while (!s->heard && in_time)
        in_time = cond_wait_until(&s->progress, &s->lock, until_us);
    heard = s->heard;
    pthread_mutex_unlock(&s->lock);
    return heard;
}

bool spends_share_up(struct spends_share *s)
{
    return atomic_load(&s->up);
}

struct stats *spends_share_stats(struct spends_share *s)
{
    return s->stats;
}

void spends_share_close(struct spends_share *s)
{
    if (!s)
        return;
    struct message *m = mem_zalloc(1, sizeof *m);
    *m = (struct message){.deliver = deliver_close, .discard = discard};
    mailbox_post(&s->mailbox, m);
    pthread_join(s->thread, NULL);
    free_share(s);
}

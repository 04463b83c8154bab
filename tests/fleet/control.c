/* See control.h. Requests here are neither counted nor journalled. Called by exchange.c. */
#include "tests/fleet/control.h"

#include <stdlib.h>
#include "base/clock.h"
#include "tests/fleet/refusal.h"
#include "tests/fleet/text.h"

bool control_owns(struct slice target)
{
    return slice_starts(target, SLICE("/fleet/"));
}

/* ---- stats ---- */

static void add_up(struct tally *sum, const struct tally *t)
{
    sum->requests += t->requests;
    sum->streams += t->streams;
    sum->aborted_output_tokens += t->aborted_output_tokens;
    sum->cost += t->cost;
    for (int o = 0; o < OUTCOME_KINDS; o++)
        sum->by_outcome[o] += t->by_outcome[o];
    for (int k = 0; k < TOK_KINDS; k++)
        sum->tokens[k] += t->tokens[k];
}

static void print_stats(const struct fleet *f, struct buf *out)
{
    struct tally total = {0};
    int64_t opened = 0, open = 0, inflight = 0;
    for (size_t i = 0; i < f->rows.model_count; i++)
        add_up(&total, &f->tallies[i]);
    for (size_t i = 0; i < f->port_count; i++) {
        opened += f->ports[i].opened;
        open += f->ports[i].open;
    }
    LIST_FOREACH (it, &f->exchanges)
        inflight++;
    TEXT_ADD(out,
             "{\"connections_opened\":%lld,\"connections_open\":%lld,\"inflight\":%lld,\"unknown_"
             "model\":%lld,\"ports\":{",
             (long long)opened, (long long)open, (long long)inflight, (long long)f->unknown_model);
    for (size_t i = 0; i < f->port_count; i++)
        TEXT_ADD(
            out,
            "%s\"%u\":{\"connections_opened\":%lld,\"connections_open\":%lld,\"requests\":%lld}",
            i ? "," : "", f->ports[i].port, (long long)f->ports[i].opened,
            (long long)f->ports[i].open, (long long)f->ports[i].requests);
    TEXT_LIT(out, "},\"total\":{");
    tally_print(&total, out);
    TEXT_LIT(out, "},\"models\":{");
    for (size_t i = 0; i < f->rows.model_count; i++) {
        const struct model *m = f->rows.models[i];
        TEXT_ADD(out, "%s", i ? "," : "");
        text_json(out, slice_str(m->name));
        TEXT_ADD(out, ":{\"priced\":%s,\"nanousd_per_million\":{", m->priced ? "true" : "false");
        for (int k = 0; k < TOK_KINDS; k++)
            TEXT_ADD(out, "%s\"%s\":%lld", k ? "," : "", token_kind_name((enum token_kind)k),
                     (long long)m->price[k]);
        TEXT_LIT(out, "},");
        tally_print(&f->tallies[i], out);
        TEXT_LIT(out, "}");
    }
    TEXT_LIT(out, "}}");
}

static void reset(struct fleet *f)
{
    memset(f->tallies, 0, f->rows.model_count * sizeof *f->tallies);
    journal_reset(&f->journal);
    f->unknown_model = 0;
    for (size_t i = 0; i < f->port_count; i++)
        f->ports[i].opened = f->ports[i].requests = 0;
}

static void print_inflight(const struct fleet *f, struct buf *out)
{
    int64_t now = clock_mono_us();
    size_t n = 0;
    TEXT_LIT(out, "[");
    LIST_FOREACH (it, &f->exchanges) {
        const struct exchange *x = CONTAINER_OF(it, struct exchange, link);
        TEXT_ADD(out,
                 "%s{\"serial\":%llu,\"port\":%u,\"age_us\":%lld,\"phase\":\"%s\",\"stream\":%s,"
                 "\"model\":",
                 n++ ? "," : "", (unsigned long long)x->serial, x->port,
                 (long long)(now - x->began_us), exchange_phase(x), x->stream ? "true" : "false");
        text_json(out, slice_str(x->model ? x->model->name : ""));
        TEXT_LIT(out, "}");
    }
    TEXT_LIT(out, "]");
}

/* ---- dispatch ---- */

static uint64_t query_number(struct slice target, struct slice key, uint64_t otherwise)
{
    size_t at = text_find(target, key);
    if (at == target.n)
        return otherwise;
    uint64_t n = 0;
    for (at += key.n; at < target.n && target.p[at] >= '0' && target.p[at] <= '9'; at++)
        n = n * 10 + (uint64_t)(target.p[at] - '0');
    return n;
}

static bool set_faults(struct fleet *f, struct slice target, struct slice body, struct buf *out)
{
    struct err_text why = {""};
    struct refusal no;
    bool add = text_find(target, SLICE("add=1")) < target.n;
    if (fault_script_load(f->faults, body, add, &why)) {
        fault_script_print(f->faults, out);
        return true;
    }
    refusal_say(&no, 400, "faults", "bad_fault", "%s", why.s);
    refusal_print(&no, DIALECT_OPENAI, 0, out);
    return false;
}

static int dispatch(struct fleet *f, const struct http1_head *head, struct slice body,
                    struct buf *out)
{
    struct slice target = head->target, path = slice_make(target.p, text_find(target, SLICE("?")));
    bool get = slice_eq(head->method, SLICE("GET")), post = slice_eq(head->method, SLICE("POST"));
    if (get && slice_eq(path, SLICE("/fleet/stats"))) {
        print_stats(f, out);
    } else if (get && slice_eq(path, SLICE("/fleet/log"))) {
        journal_print(&f->journal, f->last_serial, query_number(target, SLICE("since="), 0),
                      (size_t)query_number(target, SLICE("n="), f->journal.cap), out);
    } else if (get && slice_eq(path, SLICE("/fleet/inflight"))) {
        print_inflight(f, out);
    } else if (get && slice_eq(path, SLICE("/fleet/faults"))) {
        fault_script_print(f->faults, out);
    } else if (post && slice_eq(path, SLICE("/fleet/faults"))) {
        return set_faults(f, target, body, out) ? 200 : 400;
    } else if (post && slice_eq(path, SLICE("/fleet/reset"))) {
        reset(f);
        TEXT_LIT(out, "{\"ok\":true}");
    } else {
        TEXT_LIT(out, "{\"error\":\"no such fleet endpoint\"}");
        return 404;
    }
    return 200;
}

void control_answer(struct exchange *x, const struct http1_head *head, struct slice body)
{
    struct buf out;
    struct reply_frame frame = {.arena = &x->arena,
                                .faults = &x->faults,
                                .headers = SLICE("Cache-Control: no-store\r\n"),
                                .close_delimited = head->minor == 0,
                                .close = !head->keep_alive};
    buf_init(&out, MAX_TEXT_BYTES);
    int status = dispatch(x->fleet, head, body, &out);
    reply_whole(&x->reply, &frame, status, text_take(&out, &x->arena), 0);
    buf_clear(&out);
}

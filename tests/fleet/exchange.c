/* See exchange.h. Called by conn.c. */
#include "tests/fleet/exchange.h"

#include <stdlib.h>
#include "base/clock.h"
#include "base/mem.h"
#include "tests/fleet/api.h"
#include "tests/fleet/control.h"
#include "tests/fleet/text.h"

static char *fault_names(const struct fault_set *set)
{
    struct buf b;
    buf_init(&b, MAX_TEXT_BYTES);
    for (size_t i = 0; i < set->n; i++)
        TEXT_ADD(&b, "%s%.*s", i ? "," : "", SLICE_ARG(set->list[i].name));
    char *s = mem_strdup(buf_slice(&b));
    buf_clear(&b);
    return s;
}

struct exchange *exchange_new(struct fleet *f, struct fleet_port *port,
                              const struct http1_head *head, struct slice body)
{
    struct exchange *x = mem_zalloc(1, sizeof *x);
    x->fleet = f;
    x->port = port->port;
    x->began_us = clock_mono_us();
    arena_init(&x->arena, 16384);
    list_init(&x->link);
    if (control_owns(head->target)) {
        control_answer(x, head, body);
        return x;
    }
    x->serial = ++f->last_serial;
    port->requests++;
    list_push_back(&f->exchanges, &x->link);
    journal_begin(&f->journal, x->serial, head, body, port->port);
    api_answer(x, head, body);
    struct journal_entry *e = journal_find(&f->journal, x->serial);
    if (e) {
        e->began_wall_us = clock_wall_us();
        e->status = x->reply.status;
        free(e->faults);
        e->faults = fault_names(&x->faults);
        if (x->model) {
            free(e->model);
            e->model = mem_strdup(slice_str(x->model->name));
        }
    }
    return x;
}

static enum outcome outcome_of(const struct exchange *x, bool peer_left)
{
    if (peer_left)
        return x->reply.end == REPLY_HANG && !x->reply.broken && x->steps_done == x->reply.n
                   ? OUTCOME_COMPLETED
                   : OUTCOME_ABORTED;
    if (x->reply.broken)
        return OUTCOME_FAULTED;
    return x->answered ? OUTCOME_COMPLETED : OUTCOME_REFUSED;
}

static void account(struct exchange *x, enum outcome outcome)
{
    int64_t tokens[TOK_KINDS] = {0},
            sent = x->steps_done ? x->reply.steps[x->steps_done - 1].tokens : 0;
    nanousd cost = 0;
    if (x->answered) {
        memcpy(tokens, x->answer.tokens, sizeof tokens);
        tokens[TOK_OUTPUT] = sent;
        if (outcome != OUTCOME_COMPLETED && !sent)
            tokens[TOK_REASONING] = 0;
        cost = tally_cost(tokens, x->model->price);
    }
    struct journal_entry *e = journal_find(&x->fleet->journal, x->serial);
    if (e) {
        e->outcome = outcome;
        e->ended_wall_us = clock_wall_us();
        e->output_tokens = tokens[TOK_OUTPUT];
        e->cost = cost;
    }
    if (!x->model)
        return;
    struct tally *t = &x->fleet->tallies[x->model->index];
    t->by_outcome[outcome]++;
    t->cost += cost;
    t->aborted_output_tokens += outcome == OUTCOME_ABORTED ? tokens[TOK_OUTPUT] : 0;
    for (int k = 0; k < TOK_KINDS; k++)
        t->tokens[k] += tokens[k];
}

void exchange_end(struct exchange *x, bool peer_left)
{
    if (x->serial)
        account(x, outcome_of(x, peer_left));
    list_remove(&x->link);
    arena_clear(&x->arena);
    free(x);
}

const char *exchange_phase(const struct exchange *x)
{
    if (x->steps_done == x->reply.n)
        return "hanging";
    return x->steps_done ? "replying" : "waiting";
}

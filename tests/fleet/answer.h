/* What the fleet answers: a question looked up in the record, or made up, with tokens and pace.
 * Pure. */
#ifndef FLEET_ANSWER_H
#define FLEET_ANSWER_H

#include "base/tokens.h"
#include "tests/fleet/fault.h"
#include "tests/fleet/question.h"
#include "tests/fleet/rows.h"

struct answer_call {
    struct slice id, name, arguments; /* arguments: JSON text */
};

struct answer_choice {
    struct slice thinking, signature; /* empty when the question wants no thinking */
    struct slice text;                /* empty when there are calls */
    struct answer_call *calls;
    size_t call_count;
    const char *finish; /* "stop", "length", "tool_calls" */
    struct slice stop;  /* the stop sequence that ended the text; empty = none did */
    size_t pieces;      /* of the text, or of names and arguments */
};

struct answer {
    struct answer_choice *choices;
    size_t choice_count, pieces; /* pieces: over all choices */
    int64_t tokens[TOK_KINDS];   /* disjoint, as base/tokens.h says */
    const struct row *row;       /* NULL: not in the record */
    const struct recorded *rec;  /* NULL: not recorded for this model */
    int64_t first_us, total_us;  /* pace, before --time-scale: to the first byte, to the last */
};

/* Text is streamed and counted in pieces: up to 4 bytes, cut between characters. A piece is a token
 * unless the record has a count of its own. Takes the first piece off *rest. */
struct slice answer_piece(struct slice *rest);

/* What a model puts under its thinking; no two models agree on it. */
struct slice answer_signature(struct slice model, struct slice thinking, struct arena *a);

void answer_make(struct answer *out, const struct question *q, const struct model *m,
                 const struct rows *rows, const struct fault_set *faults, uint64_t serial,
                 struct arena *a);
/* Completion tokens after so many of all pieces: all of them after the last, never more. */
int64_t answer_tokens_after(const struct answer *a, size_t pieces);

#endif

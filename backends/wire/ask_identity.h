/* When are two requests the same question? Two digests of the canonical request
 * (base/json_canonical):
 *
 *   exact  everything that can change the answer
 *   rest   the same without the last user text: requests that differ in it alone are neighbours
 * that the semantic cache may compare
 *
 * Left out are the members that cannot change an answer or only change how it travels (stream, the
 * usage chunk, labels for billing and abuse reports; ask_identity.c lists them, by API) and the
 * model's name, in whose place the caller's group of models goes. Members that weir does not know
 * count. The API is part of both: an answer is replayed to clients of its own protocol only. Pure.
 */
#ifndef BACKENDS_WIRE_ASK_IDENTITY_H
#define BACKENDS_WIRE_ASK_IDENTITY_H

#include "backends/wire/ask.h"
#include "backends/wire/ask_turn.h"
#include "base/digest.h"

struct ask_identity {
    struct digest exact, rest;
    bool stateful; /* it hangs on what a server keeps (a thread, a container, an earlier response):
                      nobody else's question, whatever its bytes */
    bool comparable;   /* rest stands for a question whose last word is the user's text */
    struct slice text; /* that text, decoded, in the arena; "" otherwise */
    struct ask_turn turn;
};

/* scope: who may share answers (a tenant, ""); group: the models that may stand for each other.
 * ask must have been scanned. */
void ask_identity(const struct ask *ask, struct slice scope, struct slice group, struct arena *a,
                  struct ask_identity *out);

#endif

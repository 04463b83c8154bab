/* Makes records: everything that is handed over is copied into one block, so that a record crosses
 * to the writer as a whole and goes with one free. Any thread. */
#include "router/ledger_int.h"

#include <stdlib.h>
#include "base/mem.h"

#define REQUEST_STRINGS(F, r)                                                                      \
    F((r)->request_id)                                                                             \
    F((r)->api)                                                                                    \
    F((r)->requested_model)                                                                        \
    F((r)->tenant)                                                                                 \
    F((r)->route)                                                                                  \
    F((r)->policy_version)                                                                         \
    F((r)->served_model)                                                                           \
    F((r)->outcome)                                                                                \
    F((r)->class_name)                                                                             \
    F((r)->class_tier)                                                                             \
    F((r)->cache)                                                                                  \
    F((r)->purpose)                                                                                \
    F((r)->cap)
#define ATTEMPT_STRINGS(F, a)                                                                      \
    F((a)->role)                                                                                   \
    F((a)->model)                                                                                  \
    F((a)->upstream_model)                                                                         \
    F((a)->backend)                                                                                \
    F((a)->endpoint)                                                                               \
    F((a)->outcome)                                                                                \
    F((a)->price_version)                                                                          \
    F((a)->verdict)
#define DECISION_STRINGS(F, d)                                                                     \
    F((d)->kind)                                                                                   \
    F((d)->mode)                                                                                   \
    F((d)->context)                                                                                \
    F((d)->candidates)                                                                             \
    F((d)->chosen)                                                                                 \
    F((d)->reason)
#define OUTCOME_STRINGS(F, o)                                                                      \
    F((o)->request_id)                                                                             \
    F((o)->tenant)                                                                                 \
    F((o)->route)                                                                                  \
    F((o)->class_name)                                                                             \
    F((o)->model)                                                                                  \
    F((o)->source)                                                                                 \
    F((o)->note)

#define ADD_LENGTH(s) bytes += strlen(s) + 1;
#define MOVE_STRING(s)                                                                             \
    {                                                                                              \
        size_t len = strlen(s) + 1;                                                                \
        (s) = memcpy(p, (s), len);                                                                 \
        p += len;                                                                                  \
    }

static void discard_record(struct message *m)
{
    free(CONTAINER_OF(m, struct ledger_record, msg));
}

static struct ledger_record *new_record(size_t bytes)
{
    struct ledger_record *rec = mem_alloc(bytes);

    *rec = (struct ledger_record){.msg.discard = discard_record};
    return rec;
}

struct ledger_record *ledger_record_new(const struct ledger_request *r,
                                        const struct ledger_attempt *attempts, size_t n,
                                        const struct ledger_decision *decisions, size_t m)
{
    size_t bytes = sizeof(struct ledger_record) + n * sizeof *attempts + m * sizeof *decisions;

    REQUEST_STRINGS(ADD_LENGTH, r)
    for (size_t i = 0; i < n; i++) {
        ATTEMPT_STRINGS(ADD_LENGTH, &attempts[i])
    }
    for (size_t i = 0; i < m; i++) {
        DECISION_STRINGS(ADD_LENGTH, &decisions[i])
    }
    struct ledger_record *rec = new_record(bytes);
    rec->request = *r;
    rec->attempts = (struct ledger_attempt *)(rec + 1);
    rec->attempt_count = n;
    rec->decisions = (struct ledger_decision *)(rec->attempts + n);
    rec->decision_count = m;
    char *p = (char *)(rec->decisions + m);
    REQUEST_STRINGS(MOVE_STRING, &rec->request)
    /* (request, seq) and (request, step) are keys: a repeated number would make the writer fail for
     * ever. */
    int32_t seq = 0, step = 0;
    for (size_t i = 0; i < n; i++) {
        struct ledger_attempt *a = &rec->attempts[i];
        *a = attempts[i];
        ATTEMPT_STRINGS(MOVE_STRING, a)
        seq = a->seq = a->seq > seq ? a->seq : seq + 1;
    }
    for (size_t i = 0; i < m; i++) {
        struct ledger_decision *d = &rec->decisions[i];
        *d = decisions[i];
        DECISION_STRINGS(MOVE_STRING, d)
        step = d->step = d->step > step ? d->step : step + 1;
    }
    return rec;
}

struct ledger_record *ledger_outcome_new(const struct ledger_outcome *o)
{
    size_t bytes = sizeof(struct ledger_record);

    OUTCOME_STRINGS(ADD_LENGTH, o)
    struct ledger_record *rec = new_record(bytes);
    rec->is_outcome = true;
    rec->outcome = *o;
    char *p = (char *)(rec + 1);
    OUTCOME_STRINGS(MOVE_STRING, &rec->outcome)
    return rec;
}

/* A span of the ledger in memory, as reports and replays look at it: clients' requests with what
 * was asked, decided, answered and said of the answers, audits put to the request that caused them,
 * and what was spent, by everything that it can be split by. Names are numbers (traffic_name).
 * About 300 bytes a request. Single-threaded. */
#ifndef GATEWAY_REPORT_TRAFFIC_H
#define GATEWAY_REPORT_TRAFFIC_H

#include "base/arena.h"
#include "base/tokens.h"
#include "router/decide/pandora.h"
#include "router/ledger_scan.h"

enum traffic_by { BY_MODEL, BY_TENANT, BY_ROUTE, BY_CLASS, BY_ROLE, TRAFFIC_GROUPINGS };

/* What one name of a grouping stands for; requests only where the grouping is of requests. */
struct traffic_group {
    int name;
    int64_t requests, attempts, tokens_in, tokens_out;
    nanousd cost;
};

/* One model's answer, or its failure to give one. */
struct traffic_answer {
    int model;
    bool good, served, audit; /* audit: nobody got it, it was asked to compare */
    bool failed;              /* the model gave none; neither: it was stopped, or its copy lost */
    bool refuted;             /* by validators */
    double confidence;        /* -1: not judged */
    int32_t judged_tokens;    /* ... by its first so many; 0: whole; -1: not known */
    uint64_t validators;      /* that looked at it: their fingerprint; 0: none */
    bool validated;           /* they knew something */
    double value;             /* 0..1; -1: nobody said */
    int64_t started_wall_us, duration_us;
    nanousd cost; /* with its samples' */
    struct token_usage usage;
    /* Further answers that it was judged by (router/sampling.h), and what all of them used. */
    int samples;
    bool unsampled; /* the policy wanted some, and the request did not allow it */
    struct token_usage sampled;
    int64_t sampled_us;
};

struct traffic_candidate {
    int model;
    double propensity, cost_nanousd;
};
struct traffic_step {
    int chosen; /* a model; -1: stop */
    double propensity;
    int count;
    const struct traffic_candidate *candidate;
    bool explored;
};

struct traffic_request {
    uint64_t key;     /* of tenant and request id */
    uint64_t cluster; /* of requests that may hang together: its conversation; where the ledger does
                         not name one, ten minutes of its tenant */
    int64_t received_wall_us, duration_us;
    int tenant, route, class, model; /* model: as it was asked for */
    int served;                      /* answer, -1: none of a model */
    bool ok, aborted, cached, escalated, decided, holdout, stream;
    bool late; /* its deadline ended it */
    nanousd cost, saved;
    int32_t answer_count, step_count;
    const struct traffic_answer *answer; /* of the cascade, in order; audits not among them */
    const struct traffic_step *step;
    int32_t audit, audit_count; /* into audits, once traffic_end was called */
};

struct traffic_audit {
    uint64_t key;
    struct traffic_answer answer;
};

struct traffic {
    struct arena arena;
    char **name;
    int names, name_room;
    struct traffic_request *request;
    size_t requests, request_room;
    size_t *by_cluster; /* [requests] of them, cluster by cluster, once traffic_end was called */
    struct traffic_audit *audit; /* by key */
    size_t audits, audit_room;
    struct traffic_group *group[TRAFFIC_GROUPINGS]; /* by cost, once traffic_end was called */
    int groups[TRAFFIC_GROUPINGS];
    nanousd requests_cost, attempts_cost; /* of all, weir's own among them: the same sum */
    nanousd own_cost;                     /* of weir's own requests */
    int64_t own;
    int64_t unread; /* decisions whose candidates could not be read */
};

void traffic_init(struct traffic *t);
void traffic_clear(struct traffic *t);
void traffic_add(void *traffic, const struct ledger_story *s); /* for ledger_scan */
void traffic_end(struct traffic *t);

int traffic_find(const struct traffic *t, const char *name); /* -1: nobody is called so */
static inline const char *traffic_name(const struct traffic *t, int name)
{
    return name >= 0 ? t->name[name] : "";
}

/* The label of what was served, 0..1; -1: nobody said, or nothing was served. */
double traffic_value(const struct traffic_request *q);
/* A model's answer to the request, among its own or its audits; NULL: it was not asked, or failed.
 */
const struct traffic_answer *traffic_answer_of(const struct traffic *t,
                                               const struct traffic_request *q, int model);

#endif

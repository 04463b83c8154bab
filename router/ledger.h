/* The append-only account of every attempt: SQLite, one writer thread, never on the request path.
 *
 * Workers hand over one ledger_record per finished request (its request row and one row per
 * upstream attempt) through ledger_post, which never blocks. The writer commits in batches (at most
 * 50 ms or 1,000 records), WAL mode, synchronous=NORMAL: a killed process loses at most the last
 * batch, never a part of a record (request and attempts are one transaction). A failed write is
 * retried for ever with back-off and shows in metrics. Nothing is dropped: when the queue holds
 * max_queue records ledger_full() says so and the gateway refuses new work (503) until it drains.
 * Table spend sums what requests cost by day, tenant and cap, in the transaction of their rows.
 * Schema: tables requests, decisions and outcomes and view attempts have the columns named as the
 * fields below (cost is cost_nanousd, class_name is class, usage is five *_tokens columns and
 * usage_source; a duration of -1 is NULL). Views: spend_by_model, spend_by_day and cache_by_day in
 * USD; outcomes_now, the newest word of each source; request_outcomes, requests with what is known
 * of the served answer; cost_per_success by route and class. request_id is not unique: clients may
 * choose it. threads: ledger_post and ledger_full from any thread; open/close from control; the
 * writer is its own. */
#ifndef ROUTER_LEDGER_H
#define ROUTER_LEDGER_H

#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/mailbox.h"
#include "base/money.h"
#include "base/tokens.h"

struct stats;
struct ledger;

/* Strings are borrowed by ledger_record_new, which copies everything into one block. "" where
 * nothing is known; never NULL. */
struct ledger_attempt {
    int32_t seq;      /* 1.. within the request */
    const char *role; /* "serve"; "escalated": answered, and passed over; "lost": a copy on a pooled
                         connection that was closing; "cache": an answer given again, at no cost;
                         "classify": the encoder's pass; "sample": a model was asked the same again,
                         to compare (router/sampling.h); "audit", "judge": router/background.h */
    int64_t started_wall_us;
    const char *model, *upstream_model, *backend, *endpoint;
    const char *outcome; /* "ok" or err_name() */
    int32_t http_status; /* of the upstream; 0: none */
    struct token_usage usage;
    nanousd cost;
    const char *price_version;
    int64_t first_byte_us, duration_us; /* -1: none */
    bool served;                        /* its answer (or a part of it) went to the client */
    double confidence;   /* of its answer being good, 0..1, as it was judged; -1: it was not */
    const char *verdict; /* what was thought of it: "accepted", "rejected: json_schema" ...; "" */
    /* With a confidence: it is that of the first so many tokens; 0: of the whole answer. -1 when
     * it is read back without one. */
    int32_t judged_tokens;
    uint64_t validators;     /* fingerprint of those that looked at it (validate_set.h); 0: none */
    int32_t validated_milli; /* with validators: what they said, 0..1000; -1: none knew */
};

/* One decision of a request: which model goes first, or what comes after an answer. */
struct ledger_decision {
    int32_t step;        /* 1.. within the request */
    const char *kind;    /* "first", "next"; "audit" ... */
    const char *mode;    /* "order", "accept", "objective" */
    const char *context; /* what is learned together: "route/class"; "" where nothing is */
    /* JSON: [{"model":"small","propensity":0.98,"index_nanousd":1600,"p":0.71,"cost_nanousd":40,
     * "score":0.66}, ...]; members that nobody knows are left out. */
    const char *candidates;
    const char *chosen;    /* a model's name; "stop" */
    double propensity;     /* with which that was chosen, 0..1 */
    nanousd success_value; /* what one more success was worth; -1: no objective */
    uint64_t beliefs;      /* version of those that were held (beliefs_version); 0: none */
    const char *reason;    /* a sentence */
};

/* What became of an answer, as one source says. Names its request by tenant and id: another replica
 * may have served it. */
struct ledger_outcome {
    const char *request_id, *tenant, *route, *class_name;
    const char *model;    /* whose answer it is about */
    const char *source;   /* tally_source_name() */
    int32_t value_milli;  /* 0: failure .. 1000: success; -1: taken back */
    int32_t weight_milli; /* how far the source is believed */
    int64_t said_wall_us, booked_wall_us;
    const char *note;
};

struct ledger_request {
    const char *request_id;
    int64_t received_wall_us;
    const char *api, *requested_model, *tenant, *route, *policy_version;
    const char *served_model; /* "" when none */
    bool stream;
    int32_t status;      /* HTTP status the client got; 499: gone before */
    const char *outcome; /* "ok" or err_name() */
    int32_t attempts;
    nanousd cost;                 /* sum of the attempts' */
    int64_t ttft_us, duration_us; /* ttft -1 when not streamed or never begun */
    const char *class_name; /* what the question was about; "" when of no class, or nobody asked */
    double class_confidence;
    const char *class_tier; /* "static", "full"; "" when nobody asked */
    int64_t class_us;       /* to find it out, the wait included; -1 when nobody asked */
    const char
        *cache; /* "hit", "semantic", "coalesced", "miss", "bypass"; "" when the route has none */
    uint64_t cache_entry; /* that was given again; 0: none */
    nanousd saved;        /* what it had cost */
    /* Of the nearest stored question: -1 when nobody looked for one. */
    double cache_cosine, cache_probability;
    const char *purpose; /* "serve": a client's; of weir's own: as the role of its attempts */
    /* Names the conversation within its ledger: a hash of tenant, system prompt and first question
     * (router/affinity.h); 0: not known. */
    uint64_t conversation;
    const char *cap; /* the daily cap that its cost counts in (router/spends.h); "": none */
};

struct ledger_record;
struct ledger_record *ledger_record_new(const struct ledger_request *r,
                                        const struct ledger_attempt *attempts, size_t n,
                                        const struct ledger_decision *decisions, size_t m);
struct ledger_record *ledger_outcome_new(const struct ledger_outcome *o);

/* Opens or creates path (schema versioned by PRAGMA user_version; a newer one is refused). NULL + t
 * on failure. */
struct ledger *ledger_open(const char *path, int64_t max_queue, struct err_text *t);
void ledger_post(struct ledger *l, struct ledger_record *rec); /* takes rec */
bool ledger_full(const struct ledger *l);                      /* two atomic loads */
int64_t ledger_queued(const struct ledger *l);
const char *ledger_path(const struct ledger *l); /* as it was opened; valid until the close */
/* How many records were posted so far; and whether so many are on disk. Any thread. */
int64_t ledger_posted(const struct ledger *l);
bool ledger_has_written(const struct ledger *l, int64_t posted);
struct stats *
ledger_stats(struct ledger *l); /* its own table: LEDGER_ROWS, LEDGER_QUEUE, LEDGER_ERRORS */
/* Waits until everything posted before is on disk (tests, drain). false after timeout_ms. */
bool ledger_flush(struct ledger *l, int64_t timeout_ms);
/* Writes what is queued, then closes; when the disk refuses for 10 s, says in the log how many
 * records were lost. After the last post. */
void ledger_close(struct ledger *l);

#endif

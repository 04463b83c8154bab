/* Remembered queries with their outcomes, made into neighbours for the requests to come. Owns what
 * is collected and what is published. Learner's thread; each step is bounded by a page of the
 * store, whose answer brings on the next. The memory is always read anew, newest first: labels
 * that were changed or taken back are simply not there any more, and replicas that share a store
 * come to the same neighbours. */
#include "router/learner_int.h"

#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cache/htable.h"
#include "router/confidence.h"
#include "router/decide/change.h"
#include "router/decide/remembered.h"
#include "router/encoder/static_table.h"
#include "router/neighbours.h"

#define LEAST_US INT64_C(1000000)  /* between two */
#define MOST_US  INT64_C(60000000) /* likewise */
#define SHARE    50                /* it takes at most this part of a core: one in so many */

/* What is collected of one route. */
struct near_route {
    const struct policy_route *route; /* in the policy that is held */
    const struct beliefs_context **context;
    const char *model[PANDORA_BOXES];
    int contexts, arms;
    size_t rows;
    float *vector;                  /* owned: [EXANTE_ROWS][dim] */
    struct exante_outcome *outcome; /* owned: [EXANTE_ROWS][arms] */
};

/* A labelled request that has been visited; in the arena. */
struct near_visited {
    struct htable_node node;
    struct slice tenant, request_id;
};

struct learner_near {
    struct learner *l;
    bool collecting, news;
    int64_t last_us; /* monotonic */
    /* Of the thread: waiting for a store costs nothing. */
    int64_t begun_cpu_us, took_us;
    size_t seen;
    const struct policy *last_policy; /* for comparing only */
    uint64_t last_changes;            /* of models, that are heeded */
    int dim;
    struct fingerprint space;

    /* of the one under way */
    struct policy *policy;   /* owned reference */
    struct beliefs *beliefs; /* likewise */
    struct arena names;
    struct near_route *route; /* owned */
    int routes;
    struct htable visited; /* of struct near_visited */
};

static bool wants(const struct policy_route *r)
{
    return r->decide.mode == POLICY_DECIDE_OBJECTIVE &&
           r->decide.learn.neighbours == POLICY_LEARN_ON;
}

static bool policy_wants(const struct policy *p)
{
    for (size_t i = 0; p && i < p->route_count; i++)
        if (wants(&p->routes[i]))
            return true;
    return false;
}

/* ---- publishing ---- */

static void publish(struct learner *l, struct neighbours *now)
{
    struct neighbours *old;

    pthread_mutex_lock(&l->lock);
    old = l->neighbours;
    l->neighbours = now;
    pthread_mutex_unlock(&l->lock);
    neighbours_unref(old);
}

struct neighbours *learner_neighbours(struct learner *l)
{
    struct neighbours *n;

    pthread_mutex_lock(&l->lock);
    n = neighbours_ref(l->neighbours);
    pthread_mutex_unlock(&l->lock);
    return n;
}

/* ---- the one under way ---- */

/* Not by a clock: libfaketime makes even those of CPU time run fast. */
static int64_t thread_cpu_us(void)
{
    struct rusage u;

    getrusage(RUSAGE_THREAD, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * INT64_C(1000000) + u.ru_utime.tv_usec +
           u.ru_stime.tv_usec;
}

/* Of all moments from which on a model is known to be another: is any of them new, or another? */
static uint64_t hash_changes(const struct beliefs *b)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < beliefs_count(b); i++) {
        const struct beliefs_context *c = beliefs_at(b, i);
        for (int j = 0; j < c->arms; j++)
            hash = htable_hash_id(hash * 31 + (uint64_t)c->arm[j].changed_us);
    }
    return hash;
}

static void rest(struct learner_near *n)
{
    for (int i = 0; i < n->routes; i++) {
        free(n->route[i].vector);
        free(n->route[i].outcome);
    }
    free(n->route);
    n->route = NULL;
    n->routes = 0;
    htable_clear(&n->visited);
    arena_clear(&n->names);
    beliefs_unref(n->beliefs);
    policy_unref(n->policy);
    n->beliefs = NULL;
    n->policy = NULL;
    n->collecting = false;
    n->last_us = clock_mono_us();
    n->took_us = thread_cpu_us() - n->begun_cpu_us;
}

/* Its classes and models, as beliefs have them. false: beliefs do not know the route. */
static bool begin_route(struct learner_near *n, const struct policy_route *p, struct near_route *r)
{
    size_t all = beliefs_count(n->beliefs);

    *r = (struct near_route){.route = p};
    r->context = ARENA_ARRAY(&n->names, const struct beliefs_context *, all);
    for (size_t i = 0; i < all; i++) {
        const struct beliefs_context *c = beliefs_at(n->beliefs, i);
        if (strcmp(c->route, p->name) != 0)
            continue;
        r->context[r->contexts++] = c;
    }
    if (r->contexts == 0)
        return false;
    r->arms = r->context[0]->arms;
    for (int j = 0; j < r->arms; j++)
        r->model[j] = r->context[0]->arm[j].model;
    r->vector = mem_zalloc(EXANTE_ROWS, (size_t)n->dim * sizeof *r->vector);
    r->outcome = mem_zalloc(EXANTE_ROWS, (size_t)r->arms * sizeof *r->outcome);
    return true;
}

/* ---- one remembered request ---- */

static struct near_route *route_of(struct learner_near *n, const char *name)
{
    for (int i = 0; i < n->routes; i++)
        if (strcmp(n->route[i].route->name, name) == 0)
            return &n->route[i];
    return NULL;
}

static const struct beliefs_context *context_of(const struct near_route *r, const char *label)
{
    const struct beliefs_context *none = r->context[0];

    for (int i = 0; i < r->contexts; i++) {
        if (strcmp(r->context[i]->label, label) == 0)
            return r->context[i];
        if (!*r->context[i]->label)
            none = r->context[i];
    }
    return none;
}

static int arm_of(const struct near_route *r, const char *model)
{
    for (int j = 0; j < r->arms; j++)
        if (strcmp(r->model[j], model) == 0)
            return j;
    return -1;
}

/* The bin of its score as it is counted now; -1: it has none. */
static int bin_of(const struct beliefs_arm *a, const struct evidence_answer *e)
{
    return e->feature_count == CONFIDENCE_FEATURES
               ? curve_bin(scorer_table_score(a->scored_by, e->features))
               : -1;
}

static void note_answer(struct learner_near *n, const struct near_route *r,
                        const struct beliefs_context *context, const struct evidence_answer *e,
                        int64_t decided_us, const struct evidence_label labels[TALLY_SOURCES],
                        struct exante_outcome *row)
{
    struct tally_trust trust = learner_trust(n->policy, slice_str(r->route->name));
    struct remembered is = {.stage = e->stage,
                            .believed_milli = e->believed_milli,
                            .foreseen_milli = e->foreseen_milli,
                            .decided_us = decided_us};
    int arm = arm_of(r, e->model);

    if (arm < 0 || e->bin < 0)
        return;
    is.bin = bin_of(&context->arm[arm], e);
    is.value = evidence_value(labels, &trust, &is.weight, &(int64_t){0});
    remembered_outcome(&context->arm[arm], &is, &row[arm]);
}

/* Bytes to a vector of length 1. false: it has none. */
static bool read_vector(const int8_t *bytes, int dim, float *out)
{
    double square = 0;

    for (int i = 0; i < dim; i++)
        square += (double)bytes[i] * bytes[i];
    for (int i = 0; i < dim && square > 0; i++)
        out[i] = (float)(bytes[i] / sqrt(square));
    return square > 0;
}

static void note_request(struct learner_near *n, const struct evidence *e,
                         const struct evidence_labels *labels)
{
    struct near_route *r = route_of(n, e->route);
    struct exante_outcome *row;
    bool told = false;

    if (!r || r->rows == EXANTE_ROWS || !e->learn || !e->query || e->query_dim != n->dim ||
        !fingerprint_eq(e->query_space, n->space))
        return;
    row = r->outcome + r->rows * (size_t)r->arms;
    memset(row, 0, (size_t)r->arms * sizeof *row);
    for (int i = 0; i < e->count; i++)
        note_answer(n, r, context_of(r, e->class_name), &e->answers[i], e->decided_wall_us,
                    labels->of[i], row);
    for (int j = 0; j < r->arms; j++)
        told = told || row[j].told;
    if (told && read_vector(e->query, n->dim, r->vector + r->rows * (size_t)n->dim))
        r->rows++;
}

/* A store may show a request twice: of a repeated id, or when others came between two pages. Its
 * second row would find the first as its nearest neighbour, and bear out whatever that says. */
static bool is_visited(struct learner_near *n, const struct learn_memory *m)
{
    uint64_t hash =
        htable_hash_id(htable_hash_slice(m->tenant) * 31 + htable_hash_slice(m->request_id));
    struct near_visited *v;

    for (struct htable_node *i = htable_first(&n->visited, hash); i; i = htable_next(i)) {
        v = CONTAINER_OF(i, struct near_visited, node);
        if (slice_eq(v->tenant, m->tenant) && slice_eq(v->request_id, m->request_id))
            return true;
    }
    v = ARENA_NEW(&n->names, struct near_visited);
    v->tenant = slice_str(arena_strdup(&n->names, m->tenant));
    v->request_id = slice_str(arena_strdup(&n->names, m->request_id));
    htable_add(&n->visited, &v->node, hash);
    return false;
}

static void collect_memory(void *ctx, const struct learn_memory *memory)
{
    struct learner_near *n = ctx;
    struct evidence_labels labels;
    struct evidence e;
    struct arena arena;

    n->seen++;
    if (memory->labels.n == 0) /* nobody has spoken of it */
        return;
    if (is_visited(n, memory))
        return;
    arena_init(&arena, 4096);
    if (evidence_read(arena_dup(&arena, memory->text), &arena, &e) &&
        evidence_labels_read(memory->labels, &labels))
        note_request(n, &e, &labels);
    arena_clear(&arena);
}

/* ---- all of them ---- */

static void finish(struct learner_near *n)
{
    struct neighbours_route_in *in = mem_zalloc((size_t)n->routes + 1, sizeof *in);
    size_t rows = 0;

    for (int i = 0; i < n->routes; i++) {
        const struct near_route *r = &n->route[i];

        in[i] = (struct neighbours_route_in){.name = r->route->name,
                                             .model = r->model,
                                             .arms = r->arms,
                                             .rows = r->rows,
                                             .vector = r->vector,
                                             .outcome = r->outcome};
        rows += r->rows;
    }
    publish(n->l, neighbours_new(in, n->routes, n->dim));
    n->last_changes = hash_changes(n->beliefs);
    stats_set(n->l->neighbour_rows, (int64_t)rows);
    free(in);
    rest(n);
}

static bool all_full(const struct learner_near *n)
{
    for (int i = 0; i < n->routes; i++)
        if (n->route[i].rows < EXANTE_ROWS)
            return false;
    return true;
}

static void collect_page(struct learner_near *n, int64_t from);

static void on_collected(void *ctx, enum err err, int64_t next)
{
    struct learner_near *n = ctx;

    if (err != ERR_OK) {
        n->news = true; /* with one of the next ticks again */
        rest(n);
    } else if (next >= 0 && n->seen < LEARN_RECENT_MOST && !all_full(n)) {
        collect_page(n, next);
    } else {
        finish(n);
    }
}

static void collect_page(struct learner_near *n, int64_t from)
{
    n->l->store->ops->recent(n->l->store,
                             &(struct learn_recent){from, collect_memory, on_collected, n});
}

static void begin(struct learner_near *n)
{
    struct learner *l = n->l;
    const struct policy *p = l->serving.policy;

    n->begun_cpu_us = thread_cpu_us();
    n->collecting = true;
    n->news = l->changed; /* what beliefs do not have yet will be news once more */
    n->seen = 0;
    n->last_policy = p;
    n->policy = policy_ref(l->serving.policy);
    n->beliefs = beliefs_ref(l->serving.beliefs);
    n->route = mem_zalloc(p->route_count, sizeof *n->route);
    for (size_t i = 0; i < p->route_count; i++)
        if (wants(&p->routes[i]) && begin_route(n, &p->routes[i], &n->route[n->routes]))
            n->routes++;
    collect_page(n, 0);
}

/* ---- from outside ---- */

void learner_near_note(struct learner *l)
{
    l->near->news = true;
}

static int64_t pause_us(const struct learner_near *n)
{
    int64_t us = SHARE * n->took_us;

    return us < LEAST_US ? LEAST_US : us > MOST_US ? MOST_US : us;
}

void learner_near_tick(struct learner *l)
{
    struct learner_near *n = l->near;
    bool other = n->last_policy != l->serving.policy;
    int64_t pause = pause_us(n);

    if (n->collecting || l->closing || !l->has_read || !l->serving.beliefs)
        return;
    if (!policy_wants(l->serving.policy)) {
        publish(l, NULL);
        return;
    }
    if (hash_changes(l->serving.beliefs) != n->last_changes) {
        n->news = true; /* what was said of a model before it changed misleads: that is urgent */
        pause = LEAST_US;
    }
    if (other || (n->news && clock_mono_us() >= n->last_us + pause))
        begin(n);
}

struct learner_near *learner_near_new(struct learner *l)
{
    struct learner_near *n = mem_zalloc(1, sizeof *n);
    const struct static_table *table = static_table_builtin();

    n->l = l;
    n->dim = static_table_dim(table);
    n->space = fingerprint_full(static_table_space(table), ENCODER_STATIC);
    arena_init(&n->names, 1024);
    htable_init(&n->visited);
    return n;
}

void learner_near_free(struct learner_near *n)
{
    if (!n)
        return;
    rest(n);
    publish(n->l, NULL);
    free(n);
}

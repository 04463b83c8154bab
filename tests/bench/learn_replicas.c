/* What it costs that replicas learn as one: so many learners on a redis-server of its own, each
 * with requests of 64 classes and 6 models, of which 30 % get a label later, from another replica.
 * Prints Redis's commands (also those within scripts), bytes and CPU a second, and the learners'
 * CPU; for a while with requests, and for one without any.
 *
 *   learn_replicas [REPLICAS] [REQUESTS A SECOND OF EACH] [SECONDS]      3, 100, 10 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "policies/policy_load.h"
#include "router/confidence.h"
#include "router/evidence.h"
#include "router/learner.h"
#include "tests/unit/cache/redis_server.h"

#define MOST_REPLICAS 16
#define CLASSES       64
#define MODELS        6
#define LATE          200 /* a label comes so many requests later */
#define LABELLED      0.3
#define PAST_BUCKETS  12 /* of 5 minutes, that are there before */
#define FLUSH_MS      120000
#define SLICE_MS      50 /* requests come in bursts of so long */

struct world {
    struct redis_server redis;
    struct learner *replica[MOST_REPLICAS];
    int replicas;
    struct rng rng;
    uint64_t asked;
    char run[24]; /* makes ids of this run */
};

static const char *const model_names[MODELS] = {"qwen2.5-7b",  "qwen2.5-32b", "llama-70b",
                                                "gpt-4o-mini", "gpt-4o",      "gpt-4.1"};

/* ---- requests and labels ---- */

static void name_request(const struct world *w, uint64_t i, char out[48])
{
    snprintf(out, 48, "req_%s%012" PRIx64, w->run, i);
}

static void post(struct world *w, struct learner *l, int64_t decided_us)
{
    float features[CONFIDENCE_FEATURES];
    struct evidence_answer a[2];
    char id[48], class[16];
    int count = 1 + (int)rng_below(&w->rng, 2);

    for (int i = 0; i < CONFIDENCE_FEATURES; i++)
        features[i] = (float)rng_unit(&w->rng);
    for (int k = 0; k < count; k++)
        a[k] = (struct evidence_answer){.model = model_names[rng_below(&w->rng, MODELS)],
                                        .bin = (int)rng_below(&w->rng, TALLY_BINS),
                                        .stage = k ? 1 + (int)rng_below(&w->rng, 5) : 0,
                                        .chance = rng_unit(&w->rng),
                                        .first = k == 0,
                                        .served = k == count - 1,
                                        .cost = 100000 + (nanousd)rng_below(&w->rng, 1000000),
                                        .tokens_in = 500,
                                        .tokens_out = 200,
                                        .latency_ms = 700,
                                        .verdict_milli = -1,
                                        .features = features,
                                        .feature_count = CONFIDENCE_FEATURES};
    name_request(w, w->asked++, id);
    snprintf(class, sizeof class, "class-%02d", (int)rng_below(&w->rng, CLASSES));
    learner_post(l, &(struct evidence){.tenant = "acme",
                                       .request_id = id,
                                       .route = "support",
                                       .class_name = class,
                                       .decided_wall_us = decided_us,
                                       .ended_wall_us = decided_us,
                                       .learn = true,
                                       .answers = a,
                                       .count = count});
}

static void free_label(struct message *m)
{
    struct learner_label *l = CONTAINER_OF(m, struct learner_label, msg);

    free((void *)(uintptr_t)l->request_id);
    free(l);
}

static void label(struct world *w, uint64_t i)
{
    struct learner_label *l = mem_zalloc(1, sizeof *l);
    char *id = mem_alloc(48);

    name_request(w, i, id);
    *l = (struct learner_label){.msg.discard = free_label,
                                .tenant = "acme",
                                .request_id = id,
                                .model = "",
                                .source = TALLY_EXPLICIT,
                                .value_milli = rng_unit(&w->rng) < 0.8 ? 1000 : 0,
                                .said_us = clock_wall_us(),
                                .note = ""};
    learner_label(w->replica[rng_below(&w->rng, (uint64_t)w->replicas)], l);
}

static void each_asks(struct world *w, int times)
{
    for (int i = 0; i < times; i++)
        for (int k = 0; k < w->replicas; k++) {
            post(w, w->replica[k], clock_wall_us());
            if (w->asked > LATE && rng_unit(&w->rng) < LABELLED)
                label(w, w->asked - LATE);
        }
}

/* The second round hears what the others wrote in the first. */
static bool flush_all(struct world *w)
{
    for (int i = 0; i < 2 * w->replicas; i++)
        if (!learner_flush(w->replica[i % w->replicas], FLUSH_MS))
            return false;
    return true;
}

/* What was learned before: all classes and models, in many buckets. */
static bool fill_past(struct world *w)
{
    int64_t now_us = clock_wall_us();
    bool done = true;

    for (int b = PAST_BUCKETS; b > 0 && done; b--) {
        for (int i = 0; i < 2 * CLASSES * MODELS; i++)
            post(w, w->replica[i % w->replicas], now_us - b * tally_bucket_us(TALLY_QUICK));
        done = flush_all(w);
    }
    return done;
}

/* ---- measuring ---- */

struct counts {
    double s, commands, in_bytes, out_bytes, redis_cpu_s, own_cpu_s;
};

static double info(const char *said, const char *name)
{
    const char *at = strstr(said, name);

    return at ? strtod(at + strlen(name) + 1, NULL) : 0;
}

static struct counts take_counts(struct world *w)
{
    struct counts c;
    struct timespec t;
    const char *said = redis_server_do(&w->redis, "INFO stats");

    c.commands = info(said, "total_commands_processed");
    c.in_bytes = info(said, "total_net_input_bytes");
    c.out_bytes = info(said, "total_net_output_bytes");
    said = redis_server_do(&w->redis, "INFO cpu");
    c.redis_cpu_s = info(said, "\nused_cpu_user") + info(said, "\nused_cpu_sys");
    c.s = (double)clock_mono_us() / 1e6;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    c.own_cpu_s = (double)t.tv_sec + (double)t.tv_nsec / 1e9;
    return c;
}

static void print(const char *what, const struct world *w, const struct counts *a,
                  const struct counts *b)
{
    double s = b->s - a->s;

    printf("%-10s commands/s %7.0f   to Redis %7.1f kB/s   from Redis %8.1f kB/s   Redis %5.2f %% "
           "CPU   each learner %5.2f %% CPU\n",
           what, (b->commands - a->commands) / s, (b->in_bytes - a->in_bytes) / s / 1e3,
           (b->out_bytes - a->out_bytes) / s / 1e3, 100 * (b->redis_cpu_s - a->redis_cpu_s) / s,
           100 * (b->own_cpu_s - a->own_cpu_s) / s / w->replicas);
}

static void measure(struct world *w, const char *what, int rate, int seconds)
{
    struct counts before = take_counts(w);
    int64_t begun_us = clock_mono_us();

    for (int i = 1; i <= seconds * 1000 / SLICE_MS; i++) {
        int64_t rest_us = begun_us + (int64_t)i * SLICE_MS * 1000 - clock_mono_us();

        each_asks(w, rate * SLICE_MS / 1000);
        if (rest_us > 0)
            usleep((useconds_t)rest_us);
    }
    struct counts after = take_counts(w);
    print(what, w, &before, &after);
}

/* ---- life ---- */

static struct policy *read_policy(void)
{
    static const char text[] =
        "version: 1\n"
        "backends: {up: {dialect: openai, url: \"http://127.0.0.1:1/v1\"}}\n"
        "models:\n"
        "  qwen2.5-7b: {backend: up, price: {input: 0.1, output: 0.2}}\n"
        "  qwen2.5-32b: {backend: up, price: {input: 0.3, output: 0.6}}\n"
        "  llama-70b: {backend: up, price: {input: 0.6, output: 0.9}}\n"
        "  gpt-4o-mini: {backend: up, price: {input: 0.15, output: 0.6}}\n"
        "  gpt-4o: {backend: up, price: {input: 2.5, output: 10}}\n"
        "  gpt-4.1: {backend: up, price: {input: 2, output: 8}}\n"
        "routes:\n"
        "  - {name: support, match: {model: auto}, cascade: [qwen2.5-7b, qwen2.5-32b, llama-70b,"
        " gpt-4o-mini, gpt-4o, gpt-4.1], objective: {floor: 0.8}}\n";
    struct policy_load_options options = {.resolve_secrets = false};
    struct policy *p = NULL;
    struct diags d;

    diags_init(&d);
    if (policy_load_text(slice_str(text), "bench", &options, &d, &p) != ERR_OK) {
        for (size_t i = 0; i < d.count; i++) {
            char line[512];

            diag_format(&d.items[i], line, sizeof line);
            fprintf(stderr, "%s\n", line);
        }
        exit(1);
    }
    diags_clear(&d);
    return p;
}

static struct learner *open_replica(const struct world *w, struct policy *p)
{
    struct learner_options opt = {.redis_url = w->redis.url, .prefix = "weir:"};
    struct err_text t = {""};
    struct learner *l;

    if (learner_open(&opt, &l, &t) != ERR_OK) {
        fprintf(stderr, "%s\n", t.s);
        exit(1);
    }
    learner_set_policy(l, p);
    return l;
}

int main(int argc, char **argv)
{
    struct world w = {.replicas = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 3};
    int rate = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 100;
    int seconds = argc > 3 ? (int)strtol(argv[3], NULL, 10) : 10;
    struct policy *p = read_policy();
    struct counts before, after;
    bool done;

    if (w.replicas < 1 || w.replicas > MOST_REPLICAS || rate < 20 || seconds < 1)
        return 2;
    redis_server_start(&w.redis);
    rng_seed(&w.rng, 1);
    snprintf(w.run, sizeof w.run, "%08" PRIx64, (uint64_t)getpid());
    for (int k = 0; k < w.replicas; k++)
        w.replica[k] = open_replica(&w, p);
    before = take_counts(&w);
    done = fill_past(&w);
    after = take_counts(&w);
    print("filling", &w, &before, &after);
    if (done) {
        measure(&w, "busy", rate, seconds);
        done = flush_all(&w);
        measure(&w, "idle", 0, seconds < 3 ? seconds : 3);
    }
    before = take_counts(&w);
    struct learner *late = open_replica(&w, p);
    done = done && learner_flush(late, FLUSH_MS);
    after = take_counts(&w);
    printf("one that comes late has all after %.0f ms and %.1f kB\n", 1000 * (after.s - before.s),
           (after.out_bytes - before.out_bytes) / 1e3);
    learner_close(late);
    for (int k = 0; k < w.replicas; k++)
        learner_close(w.replica[k]);
    policy_unref(p);
    redis_server_remove(&w.redis);
    return done ? 0 : 1;
}

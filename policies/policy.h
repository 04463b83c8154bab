/* What the operator wrote, compiled: an immutable, refcounted snapshot of one policy file.
 *
 * Built by policy_load.h on the control thread, posted to every worker; a request keeps the
 * snapshot it began with (policy_ref / policy_unref). Nothing in here changes after load, so any
 * thread that holds a reference may read. All strings and arrays live in the snapshot's own arena
 * and die with it. Names are NUL-terminated UTF-8. Cross references are indices into the arrays of
 * this struct, never pointers to other snapshots. Durations are milliseconds; POLICY_NONE stands
 * for an explicit `none` (no limit). Nothing means "unset" by being zero. */
#ifndef POLICIES_POLICY_H
#define POLICIES_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include "base/money.h"
#include "base/slice.h"
#include "base/tokens.h"

#define POLICY_NONE INT64_C(-1)

enum policy_dialect { DIALECT_OPENAI, DIALECT_ANTHROPIC };
enum policy_balance {
    BALANCE_LEAST_LOADED,   /* outstanding work and latency */
    BALANCE_PREFIX_AFFINITY /* the endpoint that holds the conversation's KV cache */
};
enum policy_http { HTTP_AUTO, HTTP_1_1, HTTP_2 };
/* auto: the pooled HTTP/1.1 transport, unless http: 2 or a proxy asks for libcurl. */
enum policy_transport { TRANSPORT_AUTO, TRANSPORT_NATIVE, TRANSPORT_CURL };

struct policy_timeouts {
    int64_t connect_ms;       /* TCP and TLS */
    int64_t first_byte_ms;    /* request sent -> first byte of the answer's head */
    int64_t between_bytes_ms; /* silence in the middle of an answer */
    int64_t total_ms;         /* one attempt, from start to the last byte */
};

/* One URL of a backend, taken apart at load. */
struct policy_endpoint {
    const char *url; /* as written, without a trailing slash: "https://api.openai.com/v1" */
    bool tls;
    const char *host; /* "api.openai.com", "10.0.0.5", "::1" (without brackets) */
    uint16_t port;
    const char *authority; /* Host header: host[:port] when not the default port */
    const char *path;      /* "/v1" or "" ; request paths are appended ("/chat/completions") */
    const char *label;     /* for logs, headers and metrics: host:port */
};

struct policy_header {
    const char *name, *value;
};

/* A local server that weir starts itself; field by field what backends/launcher.h wants. */
struct policy_command {
    const char **argv; /* NULL: no command; else NULL-terminated, >= 1 word */
    size_t argv_count;
    const char **env; /* "NAME=value", NULL-terminated; NULL: none */
    size_t env_count;
    const char *directory;  /* NULL: weir's own */
    const char *ready_path; /* GET until 200; NULL: until the port accepts */
    int64_t ready_timeout_ms;
    int64_t idle_ms; /* POLICY_NONE: never stopped for idleness */
    int64_t stop_ms;
    const char *group; /* exclusive; NULL: none */
    int64_t min_run_ms;
    int64_t max_queue;
    int64_t backoff_base_ms, backoff_max_ms;
};

struct policy_backend {
    const char *name;
    enum policy_dialect dialect;
    struct policy_endpoint *endpoints;
    size_t endpoint_count; /* 1..POLICY_MAX_ENDPOINTS */
    enum policy_balance balance;
    const char *key; /* secret as resolved at load; NULL: none. Never logged, never printed. */
    const char *key_source; /* "env OPENAI_API_KEY", "file /run/secrets/x" or "none" */
    struct policy_timeouts timeouts;
    int64_t max_in_flight;        /* per endpoint and process; POLICY_NONE */
    int64_t max_idle_connections; /* kept per endpoint and worker */
    int64_t max_response_bytes;
    enum policy_http http;
    enum policy_transport transport;
    const char *proxy;       /* URL or NULL */
    const char *tls_ca_file; /* NULL: system store */
    bool tls_verify;
    struct policy_header *headers; /* extra request headers */
    size_t header_count;
    struct policy_command command;
    const char *health_path; /* active checks; NULL: none */
    int64_t health_interval_ms, health_timeout_ms;
    int64_t discover_ms; /* how often the server's list of models is read; POLICY_NONE: never */
    const char *server;  /* whose quirks it has: "vllm", "azure" ...; NULL: the dialect's own */
    const char *anthropic_version; /* sent when the client sent none; NULL: not written */
    const char *api_version;       /* Azure's; NULL: not written */
    bool encoder;        /* stands for weir's own encoder; not the operator's: nothing is sent */
    bool stream_options; /* the server understands stream_options.include_usage (default true) */
};

enum policy_device { POLICY_DEVICE_AUTO, POLICY_DEVICE_CPU, POLICY_DEVICE_CUDA };
enum policy_precision {
    POLICY_PRECISION_AUTO, /* int8 on a CPU, fp16 on a GPU */
    POLICY_PRECISION_FP32,
    POLICY_PRECISION_INT8,
    POLICY_PRECISION_FP16
};
#define POLICY_ENCODER_STATIC  "static"
#define POLICY_ENCODER_DEFAULT "all-minilm-l6-v2"

/* What looks at each query before a route is chosen. Without such a section in the file: the static
 * tier alone, with weir's own heads, as soon as some route matches on a class. */
struct policy_encoder {
    const char *model; /* a name of the model store; a folder, when it holds a '/'; or
                          POLICY_ENCODER_STATIC: no transformer */
    enum policy_device device;
    enum policy_precision precision;
    int64_t threads;     /* POLICY_NONE: one for every two CPUs */
    int64_t max_queued;  /* queries that wait; one more is left to the static tier */
    int64_t max_tokens;  /* of a query; POLICY_NONE: the model's own limit */
    int64_t max_wait_ms; /* then the static tier decides */
    double static_first; /* confidence of the static tier at which the transformer is not asked;
                            POLICY_OFF: it always is */
    const char *heads;   /* file of trained heads; NULL: weir's own */
    struct policy_price *prices; /* of the encoder's time or tokens; count 0: not booked */
    size_t price_count;
};

#define POLICY_OFF (-1.0) /* of fractions: not written */

/* A class of queries that the operator declares by a few prompts of its kind. */
struct policy_class {
    const char *name;
    const char **examples;
    size_t example_count; /* 1..POLICY_MAX_EXAMPLES */
};
#define POLICY_MAX_CLASSES  64
#define POLICY_MAX_EXAMPLES 64 /* of one class; each is encoded when the policy is loaded */

enum policy_capability {
    CAP_CHAT = 1 << 0,
    CAP_COMPLETIONS = 1 << 1,
    CAP_EMBEDDINGS = 1 << 2,
    CAP_TOOLS = 1 << 3,
    CAP_VISION = 1 << 4,
    CAP_AUDIO = 1 << 5,
    CAP_STRUCTURED = 1 << 6,
    CAP_LOGPROBS = 1 << 7,
    CAP_REASONING = 1 << 8,
};

/* The APIs that a route may tell apart; the values are those of enum wire_api
 * (backends/wire/wire.h). */
enum policy_api {
    POLICY_API_CHAT,
    POLICY_API_COMPLETIONS,
    POLICY_API_EMBEDDINGS,
    POLICY_API_MESSAGES,  /* Anthropic Messages */
    POLICY_API_RESPONSES, /* OpenAI Responses */
    POLICY_APIS
};

const char *policy_api_name(unsigned api);    /* "chat", "messages" ...; as in `match.api` */
unsigned policy_api_capability(unsigned api); /* the capability that answers it: CAP_CHAT ... */

/* One effective price. Integer nano-dollars per million tokens; per GPU-second for local models. */
struct policy_price {
    int64_t
        from_wall_us; /* effective from (inclusive), Unix microseconds; INT64_MIN for "always" */
    bool per_token;   /* token prices are given */
    bool per_gpu_second;
    nanousd per_mtok[TOK_KINDS]; /* kinds not written inherit: cached_input, cache_write <- input;
                                    reasoning <- output */
    nanousd gpu_second;  /* nano-dollars per second from an attempt's start to its end, however it
                            ends, if its request was sent */
    const char *version; /* short digest of this price entry, for the ledger */
};

/* How a model of Anthropic's is told to think, where its server is asked in translation. */
enum policy_thinking { THINKING_BUDGET, THINKING_ADAPTIVE };

struct policy_model {
    const char *name;          /* the operator's name, unique */
    const char *upstream_name; /* what the backend calls it (key `name:`); defaults to name */
    size_t backend;            /* index */
    bool encoder;              /* weir's own encoder serves it, through a backend without servers */
    int64_t context_tokens;    /* POLICY_NONE when not written */
    int64_t max_output_tokens; /* POLICY_NONE when not written */
    /* Of enum policy_capability. A written list is exact; else all but embeddings, and for
     * Anthropic's servers no completions either. */
    unsigned capabilities;
    enum policy_thinking thinking;
    const char *quantization;    /* NULL when not written */
    struct policy_price *prices; /* ascending from_wall_us, >= 1 */
    size_t price_count;
};

struct policy_alias {
    const char *name;
    const char *target;    /* as written */
    const char *canonical; /* end of the chain: a model's name or a name that some route matches */
};

enum policy_cache_mode { POLICY_CACHE_ON, POLICY_CACHE_OFF };
enum policy_cache_scope { POLICY_SCOPE_TENANT, POLICY_SCOPE_SHARED };
enum policy_cache_store { POLICY_STORE_EMBEDDED, POLICY_STORE_REDIS };

enum policy_semantic_mode { POLICY_SEMANTIC_ON, POLICY_SEMANTIC_OFF };
enum policy_semantic_context {
    POLICY_CONTEXT_SAME, /* earlier turns must be equal to the letter */
    POLICY_CONTEXT_NONE, /* only questions without earlier turns */
};

/* What keeps two questions apart whatever their vectors say; the names of cache/guard.h. */
enum policy_guard {
    POLICY_GUARD_NUMBERS = 1 << 0,
    POLICY_GUARD_UNITS = 1 << 1,
    POLICY_GUARD_DATES = 1 << 2,
    POLICY_GUARD_NEGATION = 1 << 3,
    POLICY_GUARD_ORDER = 1 << 4,
    POLICY_GUARD_NAMES = 1 << 5,
    POLICY_GUARD_OVERLAP = 1 << 6,
    POLICY_GUARD_NONE = 1 << 7,    /* written alone */
    POLICY_GUARD_DEFAULT = 1 << 8, /* as the scope wants it; not in a loaded policy */
};

/* Answers to questions that mean the same. */
struct policy_semantic {
    bool on; /* what the keys below come to */
    enum policy_semantic_mode mode;
    double max_error; /* wrong answers by meaning, as a share of all requests; 0 < x < 0.5 */
    unsigned guards;  /* of enum policy_guard */
    bool shadow;      /* decide and learn, serve nothing */
    double audit_min; /* share of hits that is answered afresh as well, at least */
    enum policy_semantic_context context;
};

/* What a route does with the cache of answers. */
struct policy_cache_use {
    bool on; /* looks up and stores; what the keys below come to */
    enum policy_cache_mode mode;
    enum policy_cache_scope scope; /* who may be given a tenant's answers */
    int64_t ttl_ms;
    int64_t timely_ttl_ms; /* of answers that depend on when they are asked */
    bool tool_calls;       /* answers that call tools are kept, too */
    const char **tags;     /* of entries, for removing them */
    size_t tag_count;
    struct policy_semantic semantic;
};

#define POLICY_JUDGE_RULES "rule-only"

/* Who tells whether two answers say the same. */
struct policy_judge {
    bool by_model;
    size_t model;           /* index */
    const char *model_name; /* as written; POLICY_JUDGE_RULES: texts and vectors alone */
    nanousd max_per_day;    /* of its calls, in this process */
};

/* The cache: what routes do with it unless they say otherwise, and where the process keeps it. */
struct policy_cache {
    bool wanted;   /* some route's is on */
    bool semantic; /* some route's semantic tier is on */
    struct policy_cache_use use;
    enum policy_cache_store store;
    const char *redis_url;     /* as written; NULL: none */
    const char *redis_url_env; /* variable that holds it; NULL: none */
    const char *redis_address; /* of the two, read; NULL without Redis, or when secrets are not */
    const char *redis_prefix;
    int64_t redis_budget_ms; /* of one look-up */
    int64_t max_entries, max_memory_bytes;
    struct policy_judge judge;
    nanousd audits_per_day; /* of answers asked afresh, in this process */
    const char *snapshot;   /* file in state_dir that keeps the index between runs; NULL: none */
};

struct policy_retry {
    int64_t max_attempts;                    /* per request over all models and endpoints, >= 1 */
    int64_t per_model;                       /* attempts on one model, >= 1 */
    int64_t backoff_base_ms, backoff_max_ms; /* full jitter, doubled per attempt */
    int64_t max_retry_after_ms; /* a longer Retry-After means: next endpoint or model at once */
    /* budget: retries <= ratio_percent of the requests of the last 10 s, but min_per_second are
     * always allowed */
    int64_t budget_percent, budget_min_per_second;
};

struct policy_range { /* inclusive; POLICY_NONE: open */
    int64_t min, max;
};

struct policy_match {
    const char **models; /* names or globs with '*'; count 0: any name that this policy knows */
    size_t model_count;
    const char **tenants; /* count 0: any */
    size_t tenant_count;
    const char **tags; /* all must be present; count 0: any */
    size_t tag_count;
    struct policy_header *headers; /* all must match; value NULL: present; value may be a glob */
    size_t header_count;
    struct policy_range prompt_tokens; /* estimated: request body bytes / 4 */
    unsigned apis;                     /* of 1 << enum policy_api; 0: any */
    const char **classes;              /* of which the query must be one; count 0: any, also none */
    size_t class_count;
    double min_confidence; /* in that class, 0..1; POLICY_OFF: whatever it is */
};

#define POLICY_MAX_STEPS     16 /* of one route */
#define POLICY_MAX_ENDPOINTS 64 /* of one backend */

/* How a route goes on from one answer to the next model. */
enum policy_decide_mode {
    POLICY_DECIDE_ORDER,    /* the next model is asked only when one has failed */
    POLICY_DECIDE_ACCEPT,   /* in written order, until an answer is sure enough */
    POLICY_DECIDE_OBJECTIVE /* in any order, for the least cost of a success; an answer that the
                               step's `accept` takes is final */
};
enum policy_minimize { POLICY_MINIMIZE_OFF, POLICY_MINIMIZE_COST_PER_SUCCESS };
enum policy_floor_scope { POLICY_FLOOR_ROUTE, POLICY_FLOOR_CLASS };

struct policy_floor {
    double success; /* share of requests that must succeed, 0..1; POLICY_OFF: no floor */
    enum policy_floor_scope scope;
    double min_class; /* each class's own floor under a route's; POLICY_OFF: none */
};

struct policy_objective {
    enum policy_minimize minimize;
    struct policy_floor floor;
    nanousd failure_price; /* of one answer that fails */
    nanousd budget;        /* of one request; POLICY_NONE */
    nanousd latency_price; /* of a second that the client waits */
};

enum policy_hold {
    POLICY_HOLD_TOKENS, /* a stream is judged by its first tokens, before the client sees one */
    POLICY_HOLD_WHOLE,  /* ... by its whole answer */
    POLICY_HOLD_OFF     /* a stream is not judged: its first answer is final */
};
enum policy_validator_kind {
    POLICY_VALIDATE_JSON_SCHEMA,
    POLICY_VALIDATE_TOOL_ARGS,
    POLICY_VALIDATE_NON_EMPTY,
    POLICY_VALIDATE_REGEX,
    POLICY_VALIDATE_COMMAND,
    POLICY_VALIDATE_HTTP
};

/* One test that an answer must pass. What a kind has no use for is not set. */
struct policy_validator {
    enum policy_validator_kind kind;
    const char *file;    /* JSON_SCHEMA: of the schema; NULL: the request's own */
    const char *pattern; /* REGEX: searched in the answer's text; base/pattern.h */
    const char **argv;   /* COMMAND: NULL-terminated */
    size_t argv_count;
    const char *url;    /* HTTP */
    int64_t timeout_ms; /* COMMAND, HTTP: then the result is not known */
};
#define POLICY_MAX_VALIDATORS   8 /* of one route */
#define POLICY_MAX_SCHEMA_BYTES ((size_t)1 << 20)

enum policy_samples_when { POLICY_SAMPLES_NO_LOGPROBS, POLICY_SAMPLES_ALWAYS };
#define POLICY_MAX_SAMPLES 16

/* Further answers of the same model, to see whether it says the same again. */
struct policy_samples {
    int64_t count; /* answers of one model in all, the one that may be served among them; 1: it
                      alone */
    enum policy_samples_when when;
    double temperature; /* of the further ones; POLICY_OFF: the request's own */
};

struct policy_confidence {
    enum policy_hold hold;
    int64_t hold_tokens;
    bool recall;   /* the best of the earlier answers may be served */
    bool logprobs; /* models that have log-probabilities are asked for them */
    struct policy_samples samples;
    struct policy_validator *validators;
    size_t validator_count;
};

struct policy_canary { /* a model that is being tried */
    size_t model;      /* index */
    double cap;        /* at most this share of a class's requests begins with it */
    double alpha;      /* chance of a false alarm that takes it out */
};
struct policy_pin {                  /* requests that one model alone answers */
    const char *tenant, *class_name; /* NULL: any */
    size_t model;                    /* index */
};

struct policy_explore {
    double share;           /* of requests whose first model is chosen at random */
    double step_share;      /* ... whose next step is */
    double max_spend_share; /* of what the route spends */
    double cold_start;      /* share that a model with few outcomes is given */
    struct policy_canary *canaries;
    size_t canary_count;
    struct policy_pin *pins;
    size_t pin_count;
};

enum policy_learn_mode { POLICY_LEARN_ON, POLICY_LEARN_OFF };
enum policy_silence { POLICY_SILENCE_MISSING, POLICY_SILENCE_SUCCESS, POLICY_SILENCE_FAILURE };

struct policy_learn {
    enum policy_learn_mode mode, neighbours; /* neighbours: what questions mean, too */
    int64_t half_life_ms, fast_half_life_ms; /* of counters */
    enum policy_silence silence;             /* what no outcome means after so long */
    int64_t silence_after_ms;
    struct policy_sources { /* how much an outcome counts, by where it comes from */
        double explicit_feedback, correction, validator, judge, regenerate, silence;
    } sources;
};

struct policy_audit { /* finished requests that all models of the route are asked afresh */
    double share;
    nanousd max_per_day; /* of one route */
    size_t judge;        /* index of a model; SIZE_MAX: validators only */
};

struct policy_holdout { /* requests that stay on one model, to compare with */
    double share;
    size_t model; /* index; SIZE_MAX: the cascade's last */
};

struct policy_decide {
    enum policy_decide_mode mode; /* what the keys below come to */
    double accept;                /* POLICY_OFF: steps that write none accept any answer */
    struct policy_objective objective;
    struct policy_confidence confidence;
    struct policy_explore explore;
    struct policy_learn learn;
    struct policy_audit audit;
    struct policy_holdout holdout;
};

struct policy_step {
    size_t model;    /* index */
    double accept;   /* probability of being right at which its answer is final; POLICY_OFF: not
                        written here nor for the route, any answer is */
    int64_t samples; /* answers it is asked for, as in policy_samples; once loaded never
                        POLICY_NONE */
};

struct policy_route {
    const char *name;
    struct policy_match match;
    struct policy_step *steps; /* the cascade, then the fall-backs, in order; 1..POLICY_MAX_STEPS */
    size_t step_count;
    size_t cascade_count; /* the first so many are the cascade */
    struct policy_retry retry;
    struct policy_cache_use cache;
    struct policy_decide decide;
    int64_t deadline_ms; /* whole request, all attempts; POLICY_NONE */
    int line;            /* where it is written, for explain */
};

struct policy_key { /* one API key of a tenant: SHA-256 of the key, 32 bytes; the key itself is not
                       kept */
    uint8_t sha256[32];
};

enum policy_at_limit { POLICY_LIMIT_REFUSES, POLICY_LIMIT_CHEAPEST };

struct policy_tenant_budget {
    nanousd per_day, per_month; /* UTC; POLICY_NONE: no limit */
    enum policy_at_limit at_limit;
};

struct policy_tenant {
    const char *name;
    struct policy_key *keys;
    size_t key_count;
    const char **tags;
    size_t tag_count;
    bool admin; /* its keys open the admin API */
    struct policy_tenant_budget budget;
};

struct policy_address {
    const char *host; /* numeric or name; as written */
    uint16_t port;    /* 0: any free port */
    bool loopback;    /* 127/8, ::1, localhost */
};

enum policy_reply_model { REPLY_MODEL_SERVED, REPLY_MODEL_REQUESTED };

/* The process. Everything but log_level, cors_origins, sse_keepalive_ms and reply_model needs a
 * restart: a reload that changes another of these is refused. */
struct policy_server {
    struct policy_address listen, admin;
    int64_t workers;       /* POLICY_NONE: auto, one per CPU */
    const char *state_dir; /* ledger.sqlite, policy versions */
    int64_t max_body_bytes, max_header_bytes;
    int64_t max_connections; /* per process */
    int64_t max_in_flight;   /* requests per process; more get 503 */
    int64_t header_timeout_ms, body_timeout_ms, idle_timeout_ms,
        write_timeout_ms;        /* of client connections */
    int64_t stream_buffer_bytes; /* unsent bytes per stream at which the upstream is paused */
    int64_t drain_ms;            /* on SIGTERM: how long requests in flight may finish */
    int64_t sse_keepalive_ms;    /* comment line into idle streams; POLICY_NONE */
    enum policy_reply_model reply_model;
    const char **cors_origins; /* "*" or origins; count 0: no CORS headers */
    size_t cors_origin_count;
    const char *access_log; /* path, "stderr", or NULL for none */
    const char *log_level;  /* debug info warn error */
};

struct policy {
    /* identity */
    const char *source;  /* file name as given */
    const char *version; /* first 12 hex digits of SHA-256 of the text: the ETag */
    struct slice text;   /* the YAML as loaded */
    int64_t loaded_wall_us;

    struct policy_server server;
    struct policy_backend *backends;
    size_t backend_count;
    struct policy_model *models;
    size_t model_count;
    struct policy_alias *aliases;
    size_t alias_count;
    struct policy_route *routes;
    size_t route_count;
    struct policy_tenant *tenants; /* count 0: no keys; then weir listens on loopback only */
    size_t tenant_count;
    struct policy_encoder encoder;
    struct policy_class *classes;
    size_t class_count;
    bool matches_class; /* some route does, or learns class by class */
    struct policy_cache cache;
    struct policy_decide decide; /* what routes do unless they say otherwise */
    bool decides;                /* some route judges answers */
};

/* The request header that carries the backend's key: Authorization, x-api-key or api-key. */
const char *policy_key_header(const struct policy_backend *b);

struct policy *policy_ref(struct policy *p); /* atomic; returns p */
void policy_unref(struct policy *p);         /* NULL is allowed; the last one frees */

/* ---- pure look-ups ---- */

/* What a request looks like to the routes. Slices are borrowed for the call. */
struct policy_query {
    struct slice model;                 /* as the client wrote it, decoded */
    unsigned api;                       /* enum policy_api */
    const struct policy_tenant *tenant; /* NULL: none */
    const struct slice *tags;           /* of the request (x-weir-tags), beside the tenant's */
    size_t tag_count;
    const struct policy_query_header {
        struct slice name, value;
    } * headers;
    size_t header_count;
    int64_t prompt_tokens; /* estimate */
    struct slice
        class_name; /* what the query was found to be; "": not classified, or of no class */
    double class_confidence; /* 0..1 */
};

/* Is the query's class wanted? (Its class clause aside, the first route that fits has one; or that
 * route judges its answers, which it learns class by class.) class_name and class_confidence are
 * not looked at. */
bool policy_needs_class(const struct policy *p, const struct policy_query *q);
/* First route that matches, or NULL. *known tells whether the model name is known to the policy at
 * all (else 404). */
const struct policy_route *policy_match(const struct policy *p, const struct policy_query *q,
                                        bool *known);
/* May this tenant (NULL: none) reach a model by that name, with the tags, headers and prompt that
 * some route asks for? */
bool policy_offers(const struct policy *p, struct slice name, const struct policy_tenant *tenant);
const struct policy_price *policy_price_in(const struct policy_price *prices, size_t count,
                                           int64_t wall_us); /* count >= 1 */
/* The price in force at that time. Never NULL for a loaded policy. */
const struct policy_price *policy_price_at(const struct policy_model *m, int64_t wall_us);
/* Cost of one attempt, exact: sum of tokens x price, rounded once, half up. duration_us counts when
 * per_gpu_second. Saturates at INT64_MAX instead of overflowing. */
nanousd policy_cost(const struct policy_price *price, const struct token_usage *usage,
                    int64_t duration_us);
/* What one attempt would come to, before there is an answer. */
#define POLICY_GUESS_OUTPUT_TOKENS     256 /* less where the model's max_output is less */
#define POLICY_GUESS_TOKENS_PER_SECOND 50
struct policy_guess {
    int64_t output_tokens, duration_us;
    nanousd cost;
};
struct policy_guess policy_guess_attempt(const struct policy_model *m, unsigned api,
                                         int64_t input_tokens, int64_t wall_us);
const struct policy_model *policy_find_model(const struct policy *p, struct slice name);

/* Every name a client may ask for, once: models, aliases, names in route matches without '*'. For
 * GET /v1/models. Where a route matches an alias's name, or one that the alias leads through, who
 * answers is the route's to say: such a name has no model. */
struct policy_name {
    const char *name;
    const struct policy_model *model; /* NULL when it is a route's name, or leads to one */
    const char *canonical;            /* what an alias leads to: a model's or a route's name */
};
size_t policy_names(const struct policy *p,
                    const struct policy_name **out); /* array owned by the policy */

#endif

/* The table. A key added here is parsed, checked, documented and completed by editors at once; what is left to write is the
 * code that uses the value. Constant data. Read by policy_bind, policy_schema and policy_reference. */
#include "policies/policy_spec.h"

#include "policies/policy.h"
#include "policies/policy_bind_int.h"

#define AT(type, member)      .at = offsetof(struct type, member)
#define ARRAY(type, member)   .at = offsetof(struct type, member##s), .count_at = offsetof(struct type, member##_count)
#define COUNT(keys)           (sizeof(keys) / sizeof((keys)[0]))
#define OBJECT(id, type, name_, help_) \
    static const struct spec_object id = {.name = name_, .keys = id##_keys, .count = COUNT(id##_keys), \
                                          .bytes = sizeof(struct type), .help = help_}

#define MS(n)     INT64_C(n)
#define SECOND    INT64_C(1000)
#define HOUR      (3600 * SECOND)
#define DAY       (24 * HOUR)
#define KIB       INT64_C(1024)
#define MIB       (1024 * KIB)
#define GIB       (1024 * MIB)
#define TOKENS    INT64_C(100000000)

/* ---- server ---- */

static const struct spec_word level_words[] = {{"debug", 0, false}, {"info", 1, false}, {"warn", 2, false},
                                               {"error", 3, false}, {NULL, 0, false}};
static const struct spec_word reply_model_words[] = {{"served", REPLY_MODEL_SERVED, false},
                                                     {"requested", REPLY_MODEL_REQUESTED, false},
                                                     {NULL, 0, false}};

static const struct spec_key cors_keys[] = {
    {.name = "origins", .type = SPEC_ORIGINS, ARRAY(policy_server, cors_origin),
     .flags = SPEC_REQUIRED | SPEC_RELOAD,
     .also = "origin allow_origins allowed_origins",
     .help = "Web origins that may call the API from a browser: `https://app.example.com`, or `*` for any."},
};
OBJECT(cors, policy_server, "cors", "Cross-origin access from browsers. Left out: no CORS headers are sent.");

static const struct spec_key client_timeouts_keys[] = {
    {.name = "header", .type = SPEC_DURATION, AT(policy_server, header_timeout_ms), .deflt = "10s",
     .min = MS(100), .max = HOUR, .help = "From a request's first byte to the end of its headers."},
    {.name = "body", .type = SPEC_DURATION, AT(policy_server, body_timeout_ms), .deflt = "60s", .min = MS(100),
     .max = HOUR, .help = "Silence allowed while a request's body arrives."},
    {.name = "idle", .type = SPEC_DURATION, AT(policy_server, idle_timeout_ms), .deflt = "75s", .min = MS(100),
     .max = DAY, .also = "keepalive keep_alive", .help = "How long a connection may stay open between requests."},
    {.name = "write", .type = SPEC_DURATION, AT(policy_server, write_timeout_ms), .deflt = "60s", .min = MS(100),
     .max = HOUR, .help = "How long a client may take nothing of an answer before it is dropped."},
};
OBJECT(client_timeouts, policy_server, "server_timeouts", "Patience with clients.");

static const struct spec_key client_limits_keys[] = {
    {.name = "body", .type = SPEC_SIZE, AT(policy_server, max_body_bytes), .deflt = "64MiB", .min = KIB, .max = GIB,
     .also = "max_body max_body_size", .help = "Largest request body; a larger one gets 413."},
    {.name = "headers", .type = SPEC_SIZE, AT(policy_server, max_header_bytes), .deflt = "32KiB", .min = KIB,
     .max = MIB, .also = "header", .help = "Largest request head; a larger one gets 431."},
    {.name = "connections", .type = SPEC_INT, AT(policy_server, max_connections), .deflt = "10000", .min = 1,
     .max = 1000000, .also = "max_connections", .help = "Client connections open at once, over all workers."},
    {.name = "in_flight", .type = SPEC_INT, AT(policy_server, max_in_flight), .deflt = "4096", .min = 1,
     .max = 1000000, .also = "requests concurrency max_in_flight",
     .help = "Requests served at once, over all workers; one more gets 503."},
    {.name = "stream_buffer", .type = SPEC_SIZE, AT(policy_server, stream_buffer_bytes), .deflt = "256KiB",
     .min = 4 * KIB, .max = GIB,
     .help = "Bytes of one answer that wait for a slow client before its upstream is paused."},
};
OBJECT(client_limits, policy_server, "server_limits", "What clients may take up.");

static const struct spec_key server_keys[] = {
    {.name = "listen", .type = SPEC_ADDRESS, AT(policy_server, listen), .deflt = "127.0.0.1:8080",
     .also = "bind address host port addr",
     .help = "Where the API listens: `host:port`, or a port of 127.0.0.1. Anything but loopback needs `tenants`."},
    {.name = "admin", .type = SPEC_ADDRESS, AT(policy_server, admin), .deflt = "127.0.0.1:8081",
     .also = "admin_listen metrics",
     .help = "Where health, metrics and the admin API listen. Anything but loopback needs a tenant with `admin: true`."},
    {.name = "workers", .type = SPEC_INT, AT(policy_server, workers), .flags = SPEC_AUTO, .deflt = "auto", .min = 1,
     .max = 256, .also = "threads processes", .help = "Worker threads; `auto` is one per CPU."},
    {.name = "state_dir", .type = SPEC_TEXT, AT(policy_server, state_dir), .deflt = "weir-state",
     .also = "data_dir state data",
     .help = "Folder for the ledger and the policy's versions; relative to the working directory."},
    {.name = "log_level", .type = SPEC_WORD, AT(policy_server, log_level), .flags = SPEC_RELOAD,
     .deflt = "info", .words = level_words,
     .also = "log loglevel verbosity", .help = "Least severe log lines that are written."},
    {.name = "access_log", .type = SPEC_TEXT, AT(policy_server, access_log), .flags = SPEC_NONE, .deflt = "none",
     .help = "Where a line per request goes: a path, `stderr`, or `none`; relative to the working directory."},
    {.name = "reply_model", .type = SPEC_ENUM, AT(policy_server, reply_model), .flags = SPEC_RELOAD,
     .deflt = "served", .words = reply_model_words,
     .help = "The `model` that answers carry: the one that `served`, or the name the client `requested`."},
    {.name = "cors", .type = SPEC_OBJECT, .object = &cors, .help = "Cross-origin access from browsers."},
    {.name = "timeouts", .type = SPEC_OBJECT, .object = &client_timeouts, .also = "timeout",
     .help = "Patience with clients."},
    {.name = "limits", .type = SPEC_OBJECT, .object = &client_limits, .also = "limit",
     .help = "What clients may take up."},
    {.name = "drain", .type = SPEC_DURATION, AT(policy_server, drain_ms), .deflt = "30s", .min = 0, .max = DAY,
     .also = "grace shutdown_timeout graceful_shutdown",
     .help = "How long requests in flight may go on after SIGTERM."},
    {.name = "sse_keepalive", .type = SPEC_DURATION, AT(policy_server, sse_keepalive_ms),
     .flags = SPEC_NONE | SPEC_RELOAD, .deflt = "15s", .min = SECOND, .max = HOUR, .also = "keepalive ping",
     .help = "Silence in a stream after which a comment line keeps the connection alive."},
};
OBJECT(server, policy_server, "server",
       "The process. `log_level`, `cors`, `reply_model` and `sse_keepalive` change on reload; the others need a restart.");

/* ---- backends ---- */

static const struct spec_word dialect_words[] = {
    {"openai", DIALECT_OPENAI, false}, {"anthropic", 0, true}, {NULL, 0, false}};
static const struct spec_word balance_words[] = {
    {"least_loaded", BALANCE_LEAST_LOADED, false}, {"prefix_affinity", 0, true}, {NULL, 0, false}};
static const struct spec_word http_words[] = {
    {"auto", HTTP_AUTO, false}, {"1.1", HTTP_1_1, false}, {"2", HTTP_2, false}, {NULL, 0, false}};
static const struct spec_word transport_words[] = {{"auto", TRANSPORT_AUTO, false},
                                                   {"native", TRANSPORT_NATIVE, false},
                                                   {"curl", TRANSPORT_CURL, false},
                                                   {NULL, 0, false}};

static const struct spec_key timeouts_keys[] = {
    {.name = "connect", .type = SPEC_DURATION, AT(policy_timeouts, connect_ms), .deflt = "5s", .min = 1, .max = HOUR,
     .help = "Name look-up, TCP and TLS."},
    {.name = "first_byte", .type = SPEC_DURATION, AT(policy_timeouts, first_byte_ms), .flags = SPEC_NONE,
     .deflt = "120s", .min = 1, .max = DAY, .also = "ttft read",
     .help = "From the request sent to the first byte of the answer; whole answers of slow models need minutes."},
    {.name = "between_bytes", .type = SPEC_DURATION, AT(policy_timeouts, between_bytes_ms), .flags = SPEC_NONE,
     .deflt = "60s", .min = 1, .max = DAY, .also = "idle stall", .help = "Silence in the middle of an answer."},
    {.name = "total", .type = SPEC_DURATION, AT(policy_timeouts, total_ms), .flags = SPEC_NONE, .deflt = "15m",
     .min = 1, .max = DAY, .also = "request overall", .help = "One attempt, from its start to the last byte."},
};
OBJECT(timeouts, policy_timeouts, "backend_timeouts", "Patience with a backend, per attempt.");

static const struct spec_key limits_keys[] = {
    {.name = "in_flight", .type = SPEC_INT, AT(policy_backend, max_in_flight), .flags = SPEC_NONE, .deflt = "none",
     .min = 1, .max = 1000000, .also = "concurrency max_in_flight parallel requests",
     .help = "Requests at once per endpoint; further ones go to another endpoint or model."},
    {.name = "idle_connections", .type = SPEC_INT, AT(policy_backend, max_idle_connections), .deflt = "64", .min = 0,
     .max = 100000, .also = "keepalive", .help = "Idle connections kept per endpoint and worker."},
    {.name = "response", .type = SPEC_SIZE, AT(policy_backend, max_response_bytes), .deflt = "64MiB", .min = KIB,
     .max = GIB, .also = "body max_response", .help = "Largest answer."},
};
OBJECT(limits, policy_backend, "backend_limits", "What one backend may be asked to carry.");

static const struct spec_key tls_keys[] = {
    {.name = "ca_file", .type = SPEC_PATH, AT(policy_backend, tls_ca_file), .also = "ca cacert ca_cert",
     .help = "PEM file with the certificates to trust instead of the system's; relative to the policy file."},
    {.name = "verify", .type = SPEC_BOOL, AT(policy_backend, tls_verify), .deflt = "true",
     .also = "insecure verify_ssl", .help = "Whether the server's certificate is checked."},
};
OBJECT(tls, policy_backend, "backend_tls", "TLS towards a backend.");

static const struct spec_key backend_keys[] = {
    {.name = "dialect", .type = SPEC_ENUM, AT(policy_backend, dialect), .flags = SPEC_REQUIRED,
     .words = dialect_words, .also = "type provider protocol api", .help = "The API that the server speaks."},
    {.name = "url", .type = SPEC_ENDPOINTS, AT(policy_backend, endpoints),
     .count_at = offsetof(struct policy_backend, endpoint_count), .flags = SPEC_REQUIRED,
     .also = "urls base_url api_base endpoint endpoints host",
     .help = "Base URL up to and including `/v1`; a list for several servers of the same models."},
    {.name = "balance", .type = SPEC_ENUM, AT(policy_backend, balance), .deflt = "least_loaded",
     .words = balance_words, .also = "strategy load_balancing", .help = "How one of several endpoints is chosen."},
    {.name = "key_env", .type = SPEC_KEY_ENV, .also = "key api_key env api_key_env token",
     .help = "Environment variable that holds the API key."},
    {.name = "key_file", .type = SPEC_KEY_FILE, .also = "api_key_file token_file",
     .help = "File that holds the API key; relative to the policy file."},
    {.name = "timeouts", .type = SPEC_OBJECT, .object = &timeouts, AT(policy_backend, timeouts),
     .also = "timeout", .help = "Patience, per attempt."},
    {.name = "limits", .type = SPEC_OBJECT, .object = &limits, .also = "limit",
     .help = "What it may be asked to carry."},
    {.name = "http", .type = SPEC_ENUM, AT(policy_backend, http), .deflt = "auto", .words = http_words,
     .also = "http_version", .help = "HTTP version; `2` needs https."},
    {.name = "transport", .type = SPEC_ENUM, AT(policy_backend, transport), .deflt = "auto",
     .words = transport_words,
     .help = "`auto` takes the native HTTP/1.1 transport unless `http: 2` or `proxy` asks for libcurl."},
    {.name = "proxy", .type = SPEC_PROXY, AT(policy_backend, proxy), .also = "http_proxy https_proxy",
     .help = "Proxy to go through: `http://`, `https://`, `socks5://` or `socks5h://`."},
    {.name = "tls", .type = SPEC_OBJECT, .object = &tls, .also = "ssl", .help = "TLS towards this backend."},
    {.name = "headers", .type = SPEC_HEADERS, ARRAY(policy_backend, header), .also = "extra_headers",
     .help = "Further request headers, name to value."},
    {.name = "stream_options", .type = SPEC_BOOL, AT(policy_backend, stream_options), .deflt = "true",
     .help = "Whether the server understands `stream_options.include_usage`; without it usage is estimated."},
    {.name = "command", .flags = SPEC_RESERVED, .also = "cmd",
     .help = "Reserved: a local server that weir starts by itself."},
};
OBJECT(backend, policy_backend, "backend", "A server or a group of equal servers.");

/* ---- models ---- */

static const struct spec_word capability_words[] = {{"chat", CAP_CHAT, false},
                                                    {"completions", CAP_COMPLETIONS, false},
                                                    {"embeddings", CAP_EMBEDDINGS, false},
                                                    {"tools", CAP_TOOLS, false},
                                                    {"vision", CAP_VISION, false},
                                                    {"audio", CAP_AUDIO, false},
                                                    {"structured", CAP_STRUCTURED, false},
                                                    {"logprobs", CAP_LOGPROBS, false},
                                                    {"reasoning", CAP_REASONING, false},
                                                    {NULL, 0, false}};

#define PRICE(kind) .type = SPEC_USD, AT(policy_price, per_mtok[kind])
static const struct spec_key price_keys[] = {
    {.name = "from", .type = SPEC_TIME, AT(policy_price, from_wall_us), .also = "since effective date",
     .help = "First moment the price holds: `2026-01-01` (UTC) or `2026-01-01T12:00:00Z`. Left out: always."},
    {.name = "input", PRICE(TOK_INPUT), .also = "prompt input_cost prompt_tokens",
     .help = "USD per million tokens of fresh prompt."},
    {.name = "cached_input", PRICE(TOK_CACHED_INPUT), .also = "cache_read cached",
     .help = "USD per million prompt tokens the provider had cached. Left out: as `input`."},
    {.name = "cache_write", PRICE(TOK_CACHE_WRITE), .also = "cache_creation",
     .help = "USD per million prompt tokens written to the provider's cache. Left out: as `input`."},
    {.name = "output", PRICE(TOK_OUTPUT), .also = "completion output_cost completion_tokens",
     .help = "USD per million tokens of answer."},
    {.name = "reasoning", PRICE(TOK_REASONING), .also = "thinking",
     .help = "USD per million tokens of hidden reasoning. Left out: as `output`."},
    {.name = "gpu_second", .type = SPEC_USD, AT(policy_price, gpu_second), .also = "gpu_hour per_second second",
     .help = "USD per second that an attempt keeps the hardware busy, for models one runs oneself."},
};
OBJECT(price, policy_price, "price",
       "What an attempt costs. `input` with `output`, or `gpu_second`, or all three; 0 is a price. Money is exact to "
       "nine decimals.");

static const struct spec_key model_keys[] = {
    {.name = "backend", .type = SPEC_BACKEND, AT(policy_model, backend), .flags = SPEC_REQUIRED,
     .also = "provider server", .help = "The backend that serves it."},
    {.name = "name", .type = SPEC_TEXT, AT(policy_model, upstream_name), .also = "model upstream_name id",
     .help = "What the backend calls it. Left out: as the model is called here."},
    {.name = "context", .type = SPEC_INT, AT(policy_model, context_tokens), .min = 1, .max = TOKENS,
     .also = "context_window context_length max_context",
     .help = "Context window in tokens, prompt and answer together. Left out: not checked."},
    {.name = "max_output", .type = SPEC_INT, AT(policy_model, max_output_tokens), .min = 1, .max = TOKENS,
     .also = "max_tokens max_output_tokens", .help = "Longest answer in tokens. Left out: not checked."},
    {.name = "capabilities", .type = SPEC_FLAGS, AT(policy_model, capabilities), .words = capability_words,
     .deflt = "[chat, completions, tools, vision, audio, structured, logprobs, reasoning]",
     .also = "supports features modalities", .help = "What it can do. A written list is exact."},
    {.name = "quantization", .type = SPEC_TEXT, AT(policy_model, quantization), .also = "quant",
     .help = "How its weights are stored, for people and dashboards."},
    {.name = "price", .type = SPEC_PRICES, ARRAY(policy_model, price), .object = &price, .flags = SPEC_REQUIRED,
     .also = "prices cost pricing", .help = "What it costs; a list when the price changes at a date."},
};
OBJECT(model, policy_model, "model", "A model: a backend, what it can do, what it costs.");

/* ---- tenants ---- */

static const struct spec_key tenant_key_keys[] = {
    {.name = "env", .type = SPEC_TEXT, AT(tenant_key_source, env), .also = "key_env", .help = "Environment variable that holds the key."},
    {.name = "sha256", .type = SPEC_TEXT, AT(tenant_key_source, sha256), .also = "hash",
     .help = "SHA-256 of the key, 64 hexadecimal digits (`printf %s \"$KEY\" | sha256sum`)."},
    {.name = "file", .type = SPEC_TEXT, AT(tenant_key_source, file), .also = "key_file",
     .help = "File that holds the key; relative to the policy file."},
};
OBJECT(tenant_key, tenant_key_source, "tenant_key", "One API key, by exactly one of its sources; never the key itself.");

static const struct spec_key tenant_keys[] = {
    {.name = "keys", .type = SPEC_TENANT_KEYS, ARRAY(policy_tenant, key), .object = &tenant_key,
     .flags = SPEC_REQUIRED, .also = "key api_keys", .help = "The API keys that belong to this tenant."},
    {.name = "tags", .type = SPEC_NAMES, ARRAY(policy_tenant, tag), .also = "labels",
     .help = "Tags that each of its requests carries, for routes to match."},
    {.name = "admin", .type = SPEC_BOOL, AT(policy_tenant, admin), .deflt = "false",
     .help = "Whether its keys open the admin API."},
    {.name = "budget", .flags = SPEC_RESERVED, .also = "budgets quota", .help = "Reserved: a limit on spending."},
};
OBJECT(tenant, policy_tenant, "tenant", "Someone who may ask, told apart by API keys.");

/* ---- retry ---- */

static const struct spec_key retry_budget_keys[] = {
    {.name = "percent", .type = SPEC_INT, AT(policy_retry, budget_percent), .deflt = "20", .min = 0, .max = 100,
     .also = "ratio", .help = "Retries allowed as a share of the requests of the last ten seconds."},
    {.name = "min_per_second", .type = SPEC_INT, AT(policy_retry, budget_min_per_second), .deflt = "3", .min = 0,
     .max = 10000, .also = "minimum min", .help = "Retries per second that are always allowed."},
};
OBJECT(retry_budget, policy_retry, "retry_budget", "Keeps retries from burying a fleet that is already failing.");

static const struct spec_key retry_backoff_keys[] = {
    {.name = "base", .type = SPEC_DURATION, AT(policy_retry, backoff_base_ms), .deflt = "100ms", .min = 1,
     .max = HOUR, .also = "initial min", .help = "Longest wait before the first retry; each further one doubles it."},
    {.name = "max", .type = SPEC_DURATION, AT(policy_retry, backoff_max_ms), .deflt = "2s", .min = 1, .max = HOUR,
     .also = "cap limit", .help = "Longest wait before any retry."},
};
OBJECT(retry_backoff, policy_retry, "retry_backoff", "Waits are drawn evenly between zero and the limit (full jitter).");

static const struct spec_key retry_keys[] = {
    {.name = "max_attempts", .type = SPEC_INT, AT(policy_retry, max_attempts), .deflt = "4", .min = 1, .max = 100,
     .also = "attempts retries max_retries num_retries",
     .help = "Attempts per request over all models and endpoints, the first included."},
    {.name = "per_model", .type = SPEC_INT, AT(policy_retry, per_model), .deflt = "2", .min = 1, .max = 100,
     .help = "Attempts on one model before the next is asked."},
    {.name = "backoff", .type = SPEC_OBJECT, .object = &retry_backoff, .help = "Waits between attempts."},
    {.name = "max_retry_after", .type = SPEC_DURATION, AT(policy_retry, max_retry_after_ms), .deflt = "5s",
     .min = 0, .max = HOUR, .also = "retry_after",
     .help = "Longest Retry-After that is waited for; a longer one means the next endpoint or model at once."},
    {.name = "budget", .type = SPEC_OBJECT, .object = &retry_budget,
     .help = "Keeps retries from burying a fleet that is already failing."},
};
OBJECT(retry, policy_retry, "retry",
       "What happens after a failed attempt. At the top level: for all routes; in a route: only what differs.");

/* ---- routes ---- */

static const struct spec_word api_words[] = {{"chat", 1 << POLICY_API_CHAT, false},
                                             {"completions", 1 << POLICY_API_COMPLETIONS, false},
                                             {"embeddings", 1 << POLICY_API_EMBEDDINGS, false},
                                             {NULL, 0, false}};

static const struct spec_key range_keys[] = {
    {.name = "min", .type = SPEC_INT, AT(policy_range, min), .min = 0, .max = TOKENS,
     .help = "At least. Left out: open."},
    {.name = "max", .type = SPEC_INT, AT(policy_range, max), .min = 0, .max = TOKENS,
     .help = "At most. Left out: open."},
};
OBJECT(range, policy_range, "prompt_tokens", "An inclusive range.");

static const struct spec_key match_keys[] = {
    {.name = "model", .type = SPEC_NAMES, ARRAY(policy_match, model), .flags = SPEC_GLOB, .also = "models name",
     .help = "Names a client may ask for; `*` stands for any characters. An alias counts as what it leads to."},
    {.name = "tenant", .type = SPEC_NAMES, ARRAY(policy_match, tenant), .also = "tenants",
     .help = "Tenants, one of which must ask."},
    {.name = "tags", .type = SPEC_NAMES, ARRAY(policy_match, tag), .also = "tag labels",
     .help = "Tags that must all be present, the tenant's or from the header `x-weir-tags`."},
    {.name = "headers", .type = SPEC_HEADERS, ARRAY(policy_match, header), .flags = SPEC_GLOB, .also = "header",
     .help = "Request headers that must all match; a value may hold `*`, and `\"*\"` alone means present."},
    {.name = "prompt_tokens", .type = SPEC_OBJECT, .object = &range, AT(policy_match, prompt_tokens),
     .also = "tokens size prompt", .help = "Size of the prompt in tokens, estimated as a quarter of the body's bytes."},
    {.name = "api", .type = SPEC_FLAGS, AT(policy_match, apis), .words = api_words, .also = "apis endpoint",
     .help = "Which of the APIs. Left out: any."},
    {.name = "class", .flags = SPEC_RESERVED, .also = "category", .help = "Reserved: what the question is about."},
};
OBJECT(match, policy_match, "match", "All that is written must hold. Left out: any request for a name this policy knows.");

static const struct spec_key step_keys[] = {
    {.name = "model", .type = SPEC_MODEL, AT(policy_step, model), .flags = SPEC_REQUIRED, .also = "name",
     .help = "The model to ask."},
    {.name = "accept", .flags = SPEC_RESERVED, .also = "threshold",
     .help = "Reserved: the probability of being right at which its answer is final."},
};
OBJECT(step, policy_step, "step", "One model of a cascade. A bare name means the same as `{model: name}`.");

static const struct spec_key route_keys[] = {
    {.name = "name", .type = SPEC_NAME, AT(policy_route, name), .flags = SPEC_REQUIRED, .also = "id",
     .help = "What logs, headers and metrics call it."},
    {.name = "match", .type = SPEC_OBJECT, .object = &match, AT(policy_route, match), .also = "when if rules",
     .help = "Which requests take this route; the first route that matches is taken."},
    {.name = "cascade", .type = SPEC_STEPS, ARRAY(policy_route, step), .object = &step, .flags = SPEC_REQUIRED,
     .also = "models model targets steps ladder", .help = "The models to ask, in order."},
    {.name = "fallback", .type = SPEC_STEPS, ARRAY(policy_route, step), .object = &step, .also = "fallbacks",
     .help = "Models to ask when all of the cascade failed."},
    {.name = "retry", .type = SPEC_OBJECT, .object = &retry, AT(policy_route, retry), .flags = SPEC_INHERIT,
     .also = "retries", .help = "What differs from the top-level `retry`."},
    {.name = "deadline", .type = SPEC_DURATION, AT(policy_route, deadline_ms), .flags = SPEC_NONE, .deflt = "none",
     .min = 1, .max = DAY, .also = "timeout", .help = "For the whole request, all attempts together."},
    {.name = "objective", .flags = SPEC_RESERVED, .also = "optimize",
     .help = "Reserved: what is minimised, and the floor that must hold."},
    {.name = "cache", .flags = SPEC_RESERVED, .also = "caching", .help = "Reserved: answering from earlier answers."},
};
OBJECT(route, policy_route, "route", "Which requests go to which models.");

/* ---- the file ---- */

/* In the order of binding: what is referred to comes before what refers to it. */
static const struct spec_key policy_keys[] = {
    {.name = "version", .type = SPEC_INT, AT(draft, version), .flags = SPEC_REQUIRED, .min = 1, .max = 1,
     .help = "Version of this language: 1."},
    {.name = "server", .type = SPEC_OBJECT, .object = &server, AT(draft, server), .also = "listen gateway general_settings",
     .help = "The process: where it listens, its limits."},
    {.name = "backends", .type = SPEC_MAP, .object = &backend, ARRAY(draft, backend), .flags = SPEC_REQUIRED,
     .also = "backend providers upstreams servers endpoints", .help = "Servers by name."},
    {.name = "models", .type = SPEC_MAP, .object = &model, ARRAY(draft, model), .flags = SPEC_REQUIRED,
     .also = "model model_list", .help = "Models by the name that clients and routes use."},
    {.name = "tenants", .type = SPEC_MAP, .object = &tenant, ARRAY(draft, tenant), .also = "tenant keys users teams",
     .help = "Who may ask, by name. Left out: anyone may, and weir listens on loopback only."},
    {.name = "retry", .type = SPEC_OBJECT, .object = &retry, AT(draft, retry), .also = "retries",
     .help = "What happens after a failed attempt, for all routes."},
    {.name = "routes", .type = SPEC_LIST, .object = &route, ARRAY(draft, route), .also = "route routing rules",
     .help = "Tried in order. Left out: each model is served under its own name."},
    {.name = "aliases", .type = SPEC_ALIASES, .at = offsetof(struct draft, aliases),
     .count_at = offsetof(struct draft, alias_count), .also = "alias model_alias",
     .help = "Further names: alias to the name of a model, a route's name, or another alias."},
};
const struct spec_object spec_policy = {.name = "policy", .keys = policy_keys, .count = COUNT(policy_keys),
                                        .bytes = sizeof(struct draft), .help = "A policy file."};

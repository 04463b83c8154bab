/* The table. A key added here is parsed, checked, documented and completed by editors at once; what
 * is left to write is the code that uses the value. Constant data. Read by policy_bind,
 * policy_schema and policy_reference. */
#include "policies/policy_spec.h"

#include "policies/policy.h"
#include "policies/policy_bind_int.h"

#define AT(type, member) .at = offsetof(struct type, member)
#define ARRAY(type, member)                                                                        \
    .at = offsetof(struct type, member##s), .count_at = offsetof(struct type, member##_count)
#define COUNT(keys) (sizeof(keys) / sizeof((keys)[0]))
#define OBJECT(id, type, name_, help_)                                                             \
    static const struct spec_object id = {.name = name_,                                           \
                                          .keys = id##_keys,                                       \
                                          .count = COUNT(id##_keys),                               \
                                          .bytes = sizeof(struct type),                            \
                                          .help = help_}

#define MS(n)  INT64_C(n)
#define SECOND INT64_C(1000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)
#define KIB    INT64_C(1024)
#define MIB    (1024 * KIB)
#define GIB    (1024 * MIB)
#define TOKENS INT64_C(100000000)

/* ---- server ---- */

static const struct spec_word level_words[] = {{"debug", 0, false},
                                               {"info", 1, false},
                                               {"warn", 2, false},
                                               {"error", 3, false},
                                               {NULL, 0, false}};
static const struct spec_word reply_model_words[] = {{"served", REPLY_MODEL_SERVED, false},
                                                     {"requested", REPLY_MODEL_REQUESTED, false},
                                                     {NULL, 0, false}};

static const struct spec_key cors_keys[] = {
    {.name = "origins",
     .type = SPEC_ORIGINS,
     ARRAY(policy_server, cors_origin),
     .flags = SPEC_REQUIRED | SPEC_RELOAD,
     .also = "origin allow_origins allowed_origins",
     .help = "Web origins that may call the API from a browser: `https://app.example.com`, or `*` "
             "for any."},
};
OBJECT(cors, policy_server, "cors",
       "Cross-origin access from browsers. Left out: no CORS headers are sent.");

static const struct spec_key client_timeouts_keys[] = {
    {.name = "header",
     .type = SPEC_DURATION,
     AT(policy_server, header_timeout_ms),
     .deflt = "10s",
     .min = MS(100),
     .max = HOUR,
     .help = "From a request's first byte to the end of its headers."},
    {.name = "body",
     .type = SPEC_DURATION,
     AT(policy_server, body_timeout_ms),
     .deflt = "60s",
     .min = MS(100),
     .max = HOUR,
     .help = "Silence allowed while a request's body arrives."},
    {.name = "idle",
     .type = SPEC_DURATION,
     AT(policy_server, idle_timeout_ms),
     .deflt = "75s",
     .min = MS(100),
     .max = DAY,
     .also = "keepalive keep_alive",
     .help = "How long a connection may stay open between requests."},
    {.name = "write",
     .type = SPEC_DURATION,
     AT(policy_server, write_timeout_ms),
     .deflt = "60s",
     .min = MS(100),
     .max = HOUR,
     .help = "How long a client may take nothing of an answer before it is dropped."},
};
OBJECT(client_timeouts, policy_server, "server_timeouts", "Patience with clients.");

static const struct spec_key client_limits_keys[] = {
    {.name = "body",
     .type = SPEC_SIZE,
     AT(policy_server, max_body_bytes),
     .deflt = "64MiB",
     .min = KIB,
     .max = GIB,
     .also = "max_body max_body_size",
     .help = "Largest request body; a larger one gets 413."},
    {.name = "headers",
     .type = SPEC_SIZE,
     AT(policy_server, max_header_bytes),
     .deflt = "32KiB",
     .min = KIB,
     .max = MIB,
     .also = "header",
     .help = "Largest request head; a larger one gets 431."},
    {.name = "connections",
     .type = SPEC_INT,
     AT(policy_server, max_connections),
     .deflt = "10000",
     .min = 1,
     .max = 1000000,
     .also = "max_connections",
     .help = "Client connections open at once, over all workers."},
    {.name = "in_flight",
     .type = SPEC_INT,
     AT(policy_server, max_in_flight),
     .deflt = "4096",
     .min = 1,
     .max = 1000000,
     .also = "requests concurrency max_in_flight",
     .help = "Requests served at once, over all workers; one more gets 503."},
    {.name = "stream_buffer",
     .type = SPEC_SIZE,
     AT(policy_server, stream_buffer_bytes),
     .deflt = "256KiB",
     .min = 4 * KIB,
     .max = GIB,
     .help = "Bytes of one answer that wait for a slow client before its upstream is paused."},
};
OBJECT(client_limits, policy_server, "server_limits", "What clients may take up.");

static const struct spec_key server_keys[] = {
    {.name = "listen",
     .type = SPEC_ADDRESS,
     AT(policy_server, listen),
     .deflt = "127.0.0.1:8080",
     .also = "bind address host port addr",
     .help = "Where the API listens: `host:port`, or a port of 127.0.0.1. Anything but loopback "
             "needs `tenants`."},
    {.name = "admin",
     .type = SPEC_ADDRESS,
     AT(policy_server, admin),
     .deflt = "127.0.0.1:8081",
     .also = "admin_listen metrics",
     .help = "Where health, metrics and the admin API listen. Anything but loopback needs a tenant "
             "with `admin: true`."},
    {.name = "workers",
     .type = SPEC_INT,
     AT(policy_server, workers),
     .flags = SPEC_AUTO,
     .deflt = "auto",
     .min = 1,
     .max = 256,
     .also = "threads processes",
     .help = "Worker threads; `auto` is one per CPU."},
    {.name = "state_dir",
     .type = SPEC_TEXT,
     AT(policy_server, state_dir),
     .deflt = "weir-state",
     .also = "data_dir state data",
     .help = "Folder for the ledger and the policy's versions; relative to the working directory."},
    {.name = "log_level",
     .type = SPEC_WORD,
     AT(policy_server, log_level),
     .flags = SPEC_RELOAD,
     .deflt = "info",
     .words = level_words,
     .also = "log loglevel verbosity",
     .help = "Least severe log lines that are written."},
    {.name = "access_log",
     .type = SPEC_TEXT,
     AT(policy_server, access_log),
     .flags = SPEC_NONE,
     .deflt = "none",
     .help = "Where a line per request goes: a path, `stderr`, or `none`; relative to the working "
             "directory."},
    {.name = "reply_model",
     .type = SPEC_ENUM,
     AT(policy_server, reply_model),
     .flags = SPEC_RELOAD,
     .deflt = "served",
     .words = reply_model_words,
     .help = "The `model` that answers carry: the one that `served`, or the name the client "
             "`requested`."},
    {.name = "cors",
     .type = SPEC_OBJECT,
     .object = &cors,
     .help = "Cross-origin access from browsers."},
    {.name = "timeouts",
     .type = SPEC_OBJECT,
     .object = &client_timeouts,
     .also = "timeout",
     .help = "Patience with clients."},
    {.name = "limits",
     .type = SPEC_OBJECT,
     .object = &client_limits,
     .also = "limit",
     .help = "What clients may take up."},
    {.name = "drain",
     .type = SPEC_DURATION,
     AT(policy_server, drain_ms),
     .deflt = "30s",
     .min = 0,
     .max = DAY,
     .also = "grace shutdown_timeout graceful_shutdown",
     .help = "How long requests in flight may go on after SIGTERM."},
    {.name = "sse_keepalive",
     .type = SPEC_DURATION,
     AT(policy_server, sse_keepalive_ms),
     .flags = SPEC_NONE | SPEC_RELOAD,
     .deflt = "15s",
     .min = SECOND,
     .max = HOUR,
     .also = "keepalive ping",
     .help = "Silence in a stream after which a comment line keeps the connection alive."},
};
OBJECT(server, policy_server, "server",
       "The process. `log_level`, `cors`, `reply_model` and `sse_keepalive` change on reload; the "
       "others need a restart.");

/* ---- backends ---- */

static const struct spec_word dialect_words[] = {
    {"openai", DIALECT_OPENAI, false}, {"anthropic", DIALECT_ANTHROPIC, false}, {NULL, 0, false}};
/* The rows of backends/wire/quirks.def, and Anthropic; router asserts by test that each is known.
 */
static const struct spec_word server_words[] = {
    {"openai", 0, false},    {"vllm", 0, false},    {"llama_cpp", 0, false},  {"ollama", 0, false},
    {"sglang", 0, false},    {"tgi", 0, false},     {"openrouter", 0, false}, {"groq", 0, false},
    {"deepseek", 0, false},  {"mistral", 0, false}, {"azure", 0, false},      {"gemini", 0, false},
    {"anthropic", 0, false}, {NULL, 0, false}};
static const struct spec_word balance_words[] = {
    {"least_loaded", BALANCE_LEAST_LOADED, false},
    {"prefix_affinity", BALANCE_PREFIX_AFFINITY, false},
    {NULL, 0, false}};
static const struct spec_word http_words[] = {
    {"auto", HTTP_AUTO, false}, {"1.1", HTTP_1_1, false}, {"2", HTTP_2, false}, {NULL, 0, false}};
static const struct spec_word transport_words[] = {{"auto", TRANSPORT_AUTO, false},
                                                   {"native", TRANSPORT_NATIVE, false},
                                                   {"curl", TRANSPORT_CURL, false},
                                                   {NULL, 0, false}};

static const struct spec_key timeouts_keys[] = {
    {.name = "connect",
     .type = SPEC_DURATION,
     AT(policy_timeouts, connect_ms),
     .deflt = "5s",
     .min = 1,
     .max = HOUR,
     .help = "Name look-up, TCP and TLS."},
    {.name = "first_byte",
     .type = SPEC_DURATION,
     AT(policy_timeouts, first_byte_ms),
     .flags = SPEC_NONE,
     .deflt = "120s",
     .min = 1,
     .max = DAY,
     .also = "ttft read",
     .help = "From the request sent to the first byte of the answer; whole answers of slow models "
             "need minutes."},
    {.name = "between_bytes",
     .type = SPEC_DURATION,
     AT(policy_timeouts, between_bytes_ms),
     .flags = SPEC_NONE,
     .deflt = "60s",
     .min = 1,
     .max = DAY,
     .also = "idle stall",
     .help = "Silence in the middle of an answer."},
    {.name = "total",
     .type = SPEC_DURATION,
     AT(policy_timeouts, total_ms),
     .flags = SPEC_NONE,
     .deflt = "15m",
     .min = 1,
     .max = DAY,
     .also = "request overall",
     .help = "One attempt, from its start to the last byte."},
};
OBJECT(timeouts, policy_timeouts, "backend_timeouts", "Patience with a backend, per attempt.");

static const struct spec_key limits_keys[] = {
    {.name = "in_flight",
     .type = SPEC_INT,
     AT(policy_backend, max_in_flight),
     .flags = SPEC_NONE,
     .deflt = "none",
     .min = 1,
     .max = 1000000,
     .also = "concurrency max_in_flight parallel requests",
     .help = "Requests at once per endpoint; further ones go to another endpoint or model."},
    {.name = "idle_connections",
     .type = SPEC_INT,
     AT(policy_backend, max_idle_connections),
     .deflt = "64",
     .min = 0,
     .max = 100000,
     .also = "keepalive",
     .help = "Idle connections kept per endpoint and worker."},
    {.name = "response",
     .type = SPEC_SIZE,
     AT(policy_backend, max_response_bytes),
     .deflt = "64MiB",
     .min = KIB,
     .max = GIB,
     .also = "body max_response",
     .help = "Largest answer."},
};
OBJECT(limits, policy_backend, "backend_limits", "What one backend may be asked to carry.");

static const struct spec_key tls_keys[] = {
    {.name = "ca_file",
     .type = SPEC_PATH,
     AT(policy_backend, tls_ca_file),
     .also = "ca cacert ca_cert",
     .help = "PEM file with the certificates to trust instead of the system's; relative to the "
             "policy file."},
    {.name = "verify",
     .type = SPEC_BOOL,
     AT(policy_backend, tls_verify),
     .deflt = "true",
     .also = "insecure verify_ssl",
     .help = "Whether the server's certificate is checked."},
};
OBJECT(tls, policy_backend, "backend_tls", "TLS towards a backend.");

static const struct spec_key health_keys[] = {
    {.name = "path",
     .type = SPEC_TEXT,
     AT(policy_backend, health_path),
     .flags = SPEC_REQUIRED,
     .also = "url endpoint",
     .help = "Path asked with GET on each endpoint, such as `/health`; any 2xx is well."},
    {.name = "interval",
     .type = SPEC_DURATION,
     AT(policy_backend, health_interval_ms),
     .deflt = "5s",
     .min = MS(100),
     .max = HOUR,
     .help = "From the end of one check to the next."},
    {.name = "timeout",
     .type = SPEC_DURATION,
     AT(policy_backend, health_timeout_ms),
     .deflt = "1s",
     .min = MS(10),
     .max = HOUR,
     .help = "How long one check may take."},
};
OBJECT(health, policy_backend, "backend_health",
       "Active health checks: an endpoint that fails two in a row gets no requests until one "
       "succeeds.");

static const struct spec_key ready_keys[] = {
    {.name = "path",
     .type = SPEC_TEXT,
     AT(policy_command, ready_path),
     .also = "url",
     .help = "Path asked with GET until it answers 200, such as `/health`; until the port accepts "
             "connections when not written."},
    {.name = "timeout",
     .type = SPEC_DURATION,
     AT(policy_command, ready_timeout_ms),
     .deflt = "120s",
     .min = MS(100),
     .max = HOUR,
     .help = "From the start; a server that is not ready by then has failed."},
};
OBJECT(ready, policy_command, "command_ready", "When a started server counts as ready.");

static const struct spec_key command_backoff_keys[] = {
    {.name = "base",
     .type = SPEC_DURATION,
     AT(policy_command, backoff_base_ms),
     .deflt = "1s",
     .min = MS(10),
     .max = HOUR,
     .help = "Wait before the second start; doubled with each further failure."},
    {.name = "max",
     .type = SPEC_DURATION,
     AT(policy_command, backoff_max_ms),
     .deflt = "60s",
     .min = MS(10),
     .max = HOUR,
     .help = "Longest wait."},
};
OBJECT(command_backoff, policy_command, "command_backoff", "Waits between failed starts.");

static const struct spec_key command_keys[] = {
    {.name = "argv",
     .type = SPEC_STRINGS,
     .at = offsetof(struct policy_command, argv),
     .count_at = offsetof(struct policy_command, argv_count),
     .flags = SPEC_REQUIRED,
     .also = "args cmd command",
     .help = "Program and arguments, one text each; looked up in PATH, run without a shell."},
    {.name = "env",
     .type = SPEC_ENV,
     .at = offsetof(struct policy_command, env),
     .count_at = offsetof(struct policy_command, env_count),
     .also = "environment",
     .help = "Variables beside weir's own environment, name to text."},
    {.name = "directory",
     .type = SPEC_TEXT,
     AT(policy_command, directory),
     .also = "cwd workdir dir",
     .help = "Where it runs, relative to the working directory; there when not written."},
    {.name = "ready",
     .type = SPEC_OBJECT,
     .object = &ready,
     .also = "health readiness",
     .help = "When it counts as ready."},
    {.name = "idle",
     .type = SPEC_DURATION,
     AT(policy_command, idle_ms),
     .flags = SPEC_NONE,
     .deflt = "10m",
     .min = MS(100),
     .max = DAY,
     .also = "ttl",
     .help = "It is stopped after so long without a request."},
    {.name = "stop",
     .type = SPEC_DURATION,
     AT(policy_command, stop_ms),
     .deflt = "10s",
     .min = MS(10),
     .max = HOUR,
     .help = "From SIGTERM to SIGKILL."},
    {.name = "group",
     .type = SPEC_NAME,
     AT(policy_command, group),
     .also = "gpu exclusive",
     .help = "Of the servers of one group only one runs at a time, so that two models never fight "
             "for one GPU."},
    {.name = "min_run",
     .type = SPEC_DURATION,
     AT(policy_command, min_run_ms),
     .deflt = "30s",
     .min = 0,
     .max = DAY,
     .help = "A server of a `group` that has work is not swapped out sooner."},
    {.name = "queue",
     .type = SPEC_INT,
     AT(policy_command, max_queue),
     .deflt = "64",
     .min = 0,
     .max = 100000,
     .help = "Requests that may wait for its start; more go to the route's next model."},
    {.name = "backoff",
     .type = SPEC_OBJECT,
     .object = &command_backoff,
     .help = "Waits between failed starts."},
};
OBJECT(command, policy_command, "backend_command",
       "A local server that weir starts on first need, stops when idle, restarts when it dies and "
       "ends with itself.");

static const struct spec_key backend_keys[] = {
    {.name = "dialect",
     .type = SPEC_ENUM,
     AT(policy_backend, dialect),
     .flags = SPEC_REQUIRED,
     .words = dialect_words,
     .also = "type provider protocol api",
     .help = "The API that the server speaks."},
    {.name = "url",
     .type = SPEC_ENDPOINTS,
     AT(policy_backend, endpoints),
     .count_at = offsetof(struct policy_backend, endpoint_count),
     .flags = SPEC_REQUIRED,
     .also = "urls base_url api_base endpoint endpoints host",
     .help = "Base URL up to and including `/v1`; a list for several servers of the same models."},
    {.name = "balance",
     .type = SPEC_ENUM,
     AT(policy_backend, balance),
     .deflt = "least_loaded",
     .words = balance_words,
     .also = "strategy load_balancing",
     .help = "How one of several URLs is chosen: the `least_loaded`, or the one that holds the "
             "conversation's KV cache."},
    {.name = "key_env",
     .type = SPEC_KEY_ENV,
     .also = "key api_key env api_key_env token",
     .help = "Environment variable that holds the API key."},
    {.name = "key_file",
     .type = SPEC_KEY_FILE,
     .also = "api_key_file token_file",
     .help = "File that holds the API key; relative to the policy file."},
    {.name = "timeouts",
     .type = SPEC_OBJECT,
     .object = &timeouts,
     AT(policy_backend, timeouts),
     .also = "timeout",
     .help = "Patience, per attempt."},
    {.name = "limits",
     .type = SPEC_OBJECT,
     .object = &limits,
     .also = "limit",
     .help = "What it may be asked to carry."},
    {.name = "http",
     .type = SPEC_ENUM,
     AT(policy_backend, http),
     .deflt = "auto",
     .words = http_words,
     .also = "http_version",
     .help = "HTTP version; `2` needs https."},
    {.name = "transport",
     .type = SPEC_ENUM,
     AT(policy_backend, transport),
     .deflt = "auto",
     .words = transport_words,
     .help = "`auto` takes the native HTTP/1.1 transport unless `http: 2` or `proxy` asks for "
             "libcurl."},
    {.name = "proxy",
     .type = SPEC_PROXY,
     AT(policy_backend, proxy),
     .also = "http_proxy https_proxy",
     .help = "Proxy to go through: `http://`, `https://`, `socks5://` or `socks5h://`."},
    {.name = "tls",
     .type = SPEC_OBJECT,
     .object = &tls,
     .also = "ssl",
     .help = "TLS towards this backend."},
    {.name = "headers",
     .type = SPEC_HEADERS,
     ARRAY(policy_backend, header),
     .also = "extra_headers",
     .help = "Further request headers, name to value."},
    {.name = "stream_options",
     .type = SPEC_BOOL,
     AT(policy_backend, stream_options),
     .deflt = "true",
     .help = "Whether the server understands `stream_options.include_usage`; without it usage is "
             "estimated. Only with `dialect: openai`."},
    {.name = "health",
     .type = SPEC_OBJECT,
     .object = &health,
     .also = "healthcheck health_check probe",
     .help = "Active health checks; none when not written (failures of requests always count). "
             "Not beside `command`, which has `ready`."},
    {.name = "discover",
     .type = SPEC_DURATION,
     AT(policy_backend, discover_ms),
     .flags = SPEC_NONE,
     .min = MS(100),
     .max = 30 * DAY,
     .also = "discovery list_models models",
     .help = "How often weir reads the server's own list of models (GET `{url}/models`) and warns "
             "of models that it does not have, or has with a smaller context; `none`: never. Not "
             "written: 10m for servers that weir starts and for engines of one's own (`server: "
             "vllm, llama_cpp, ollama, sglang` or `tgi`), else none."},
    {.name = "server",
     .type = SPEC_WORD,
     AT(policy_backend, server),
     .words = server_words,
     .also = "engine vendor kind quirks",
     .help = "Which server speaks the dialect there, where requests are translated: what it lacks "
             "or names differently. The dialect's own when not written."},
    {.name = "anthropic_version",
     .type = SPEC_TEXT,
     AT(policy_backend, anthropic_version),
     .also = "version",
     .help = "Header of that name when the client sends none; 2023-06-01 when not written. "
             "2026-10-21 has no `temperature`, `top_p` and `top_k`, and refuses documents in the "
             "assistant's messages and citations in the user's. Only with `dialect: anthropic`."},
    {.name = "api_version",
     .type = SPEC_TEXT,
     AT(policy_backend, api_version),
     .help = "Azure's api-version, such as 2024-10-21. Only with `server: azure`, and there "
             "required."},
    {.name = "command",
     .type = SPEC_OBJECT,
     .object = &command,
     AT(policy_backend, command),
     .flags = SPEC_SHORT,
     .also = "cmd launch start",
     .help = "A local server that weir starts on first need and ends with itself. A bare list "
             "means the same as `{argv: [...]}`."},
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

static const struct spec_word thinking_words[] = {
    {"budget", THINKING_BUDGET, false}, {"adaptive", THINKING_ADAPTIVE, false}, {NULL, 0, false}};

#define PRICE(kind) .type = SPEC_USD, .flags = SPEC_PER_MTOK, AT(policy_price, per_mtok[kind])
static const struct spec_key price_keys[] = {
    {.name = "from",
     .type = SPEC_TIME,
     AT(policy_price, from_wall_us),
     .also = "since effective date",
     .help = "First moment the price holds: `2026-01-01` (UTC) or `2026-01-01T12:00:00Z`. Left "
             "out: always."},
    {.name = "input",
     PRICE(TOK_INPUT),
     .also = "prompt input_cost prompt_tokens",
     .help = "USD per million tokens of fresh prompt."},
    {.name = "cached_input",
     PRICE(TOK_CACHED_INPUT),
     .also = "cache_read cached",
     .help = "USD per million prompt tokens the provider had cached. Left out: as `input`."},
    {.name = "cache_write",
     PRICE(TOK_CACHE_WRITE),
     .also = "cache_creation",
     .help =
         "USD per million prompt tokens written to the provider's cache. Left out: as `input`."},
    {.name = "output",
     PRICE(TOK_OUTPUT),
     .also = "completion output_cost completion_tokens",
     .help = "USD per million tokens of answer."},
    {.name = "reasoning",
     PRICE(TOK_REASONING),
     .also = "thinking",
     .help = "USD per million tokens of hidden reasoning. Left out: as `output`."},
    {.name = "gpu_second",
     .type = SPEC_USD,
     AT(policy_price, gpu_second),
     .also = "gpu_hour per_second second",
     .help = "USD per second of an attempt, from its start to its end, for models one runs "
             "oneself. Seconds "
             "count however the attempt ends: whole, with an error, cut or left by its client. "
             "Only one "
             "whose request never left (no connection) costs nothing."},
};
OBJECT(price, policy_price, "price",
       "What an attempt costs. `input` with `output`, or `gpu_second`, or all three; 0 is a price. "
       "Money is exact to "
       "nine decimals.");

static const struct spec_key model_keys[] = {
    {.name = "backend",
     .type = SPEC_BACKEND,
     AT(policy_model, backend),
     .also = "provider server",
     .help = "The backend that serves it. Required, unless `encoder: true`."},
    {.name = "encoder",
     .type = SPEC_BOOL,
     AT(policy_model, encoder),
     .deflt = "false",
     .also = "local builtin",
     .help =
         "Whether weir's own encoder (the `encoder` section's) serves it, in place of a backend: "
         "`POST /v1/embeddings` without a server."},
    {.name = "name",
     .type = SPEC_TEXT,
     AT(policy_model, upstream_name),
     .also = "model upstream_name id",
     .help = "What the backend calls it. Left out: as the model is called here."},
    {.name = "context",
     .type = SPEC_INT,
     AT(policy_model, context_tokens),
     .min = 1,
     .max = TOKENS,
     .also = "context_window context_length max_context",
     .help = "Context window in tokens, prompt and answer together. Left out: not checked."},
    {.name = "max_output",
     .type = SPEC_INT,
     AT(policy_model, max_output_tokens),
     .min = 1,
     .max = TOKENS,
     .also = "max_tokens max_output_tokens",
     .help = "Longest answer in tokens. Left out: not checked."},
    {.name = "capabilities",
     .type = SPEC_FLAGS,
     AT(policy_model, capabilities),
     .words = capability_words,
     .deflt = "[chat, completions, tools, vision, audio, structured, logprobs, reasoning]",
     .also = "supports features modalities",
     .help = "What it can do; `chat` is the messages and responses APIs too. A written list is "
             "exact. Not written, a model of a backend with `dialect: anthropic` has no "
             "`completions`."},
    {.name = "thinking",
     .type = SPEC_ENUM,
     AT(policy_model, thinking),
     .deflt = "budget",
     .words = thinking_words,
     .also = "thinking_mode adaptive_thinking extended_thinking",
     .help = "What a reasoning effort becomes where an OpenAI request is translated for "
             "Anthropic's API: a `budget` of tokens, which models up to Claude Opus 4.6 and Sonnet "
             "4.6 take, or `adaptive` thinking with that effort, which models from those two on "
             "take. Anthropic's own requests pass as they came. Only with `dialect: anthropic`."},
    {.name = "quantization",
     .type = SPEC_TEXT,
     AT(policy_model, quantization),
     .also = "quant",
     .help = "How its weights are stored, for people and dashboards."},
    {.name = "price",
     .type = SPEC_PRICES,
     ARRAY(policy_model, price),
     .object = &price,
     .flags = SPEC_REQUIRED,
     .also = "prices cost pricing",
     .help = "What it costs; a list when the price changes at a date."},
};
OBJECT(model, policy_model, "model", "A model: a backend, what it can do, what it costs.");

/* ---- tenants ---- */

static const struct spec_key tenant_key_keys[] = {
    {.name = "env",
     .type = SPEC_TEXT,
     AT(tenant_key_source, env),
     .also = "key_env",
     .help = "Environment variable that holds the key."},
    {.name = "sha256",
     .type = SPEC_TEXT,
     AT(tenant_key_source, sha256),
     .also = "hash",
     .help = "SHA-256 of the key, 64 hexadecimal digits (`printf %s \"$KEY\" | sha256sum`)."},
    {.name = "file",
     .type = SPEC_TEXT,
     AT(tenant_key_source, file),
     .also = "key_file",
     .help = "File that holds the key; relative to the policy file."},
};
OBJECT(tenant_key, tenant_key_source, "tenant_key",
       "One API key, by exactly one of its sources; never the key itself.");

static const struct spec_word at_limit_words[] = {{"refuse", POLICY_LIMIT_REFUSES, false},
                                                  {"cheapest", POLICY_LIMIT_CHEAPEST, false},
                                                  {NULL, 0, false}};

static const struct spec_key tenant_budget_keys[] = {
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_tenant_budget, per_day),
     .also = "usd_per_day per_day daily day usd",
     .help = "USD from midnight to midnight, UTC. Left out: no limit."},
    {.name = "max_usd_per_month",
     .type = SPEC_USD,
     AT(policy_tenant_budget, per_month),
     .also = "usd_per_month per_month monthly month",
     .help = "USD in a month of the calendar, UTC. Left out: no limit."},
    {.name = "at_limit",
     .type = SPEC_ENUM,
     AT(policy_tenant_budget, at_limit),
     .deflt = "refuse",
     .words = at_limit_words,
     .also = "then action on_limit",
     .help =
         "What becomes of requests once it is spent: `refuse` answers 429 (code "
         "`insufficient_quota`) until the day or month is over; `cheapest` asks only that model "
         "of the route that is likely to cost least, without an end. What is under way when it "
         "is reached is finished, and may go beyond it."},
};
OBJECT(tenant_budget, policy_tenant_budget, "tenant_budget", "What a tenant may spend.");

static const struct spec_key tenant_keys[] = {
    {.name = "keys",
     .type = SPEC_TENANT_KEYS,
     ARRAY(policy_tenant, key),
     .object = &tenant_key,
     .flags = SPEC_REQUIRED,
     .also = "key api_keys",
     .help = "The API keys that belong to this tenant."},
    {.name = "tags",
     .type = SPEC_NAMES,
     ARRAY(policy_tenant, tag),
     .also = "labels",
     .help = "Tags that each of its requests carries, for routes to match."},
    {.name = "admin",
     .type = SPEC_BOOL,
     AT(policy_tenant, admin),
     .deflt = "false",
     .help = "Whether its keys open the admin API."},
    {.name = "budget",
     .type = SPEC_OBJECT,
     .object = &tenant_budget,
     AT(policy_tenant, budget),
     .also = "budgets quota",
     .help = "What it may spend, by everything that is booked to it: also audits and judges of its "
             "requests. It is counted from the ledger at the start, so that a restart changes "
             "nothing; of several replicas each counts what it has served itself."},
};
OBJECT(tenant, policy_tenant, "tenant", "Someone who may ask, told apart by API keys.");

/* ---- retry ---- */

static const struct spec_key retry_budget_keys[] = {
    {.name = "percent",
     .type = SPEC_INT,
     AT(policy_retry, budget_percent),
     .deflt = "20",
     .min = 0,
     .max = 100,
     .also = "ratio",
     .help = "Retries allowed as a share of the requests of the last ten seconds."},
    {.name = "min_per_second",
     .type = SPEC_INT,
     AT(policy_retry, budget_min_per_second),
     .deflt = "3",
     .min = 0,
     .max = 10000,
     .also = "minimum min",
     .help = "Retries per second that are always allowed."},
};
OBJECT(retry_budget, policy_retry, "retry_budget",
       "Keeps retries from burying a fleet that is already failing.");

static const struct spec_key retry_backoff_keys[] = {
    {.name = "base",
     .type = SPEC_DURATION,
     AT(policy_retry, backoff_base_ms),
     .deflt = "100ms",
     .min = 1,
     .max = HOUR,
     .also = "initial min",
     .help = "Longest wait before the first retry; each further one doubles it."},
    {.name = "max",
     .type = SPEC_DURATION,
     AT(policy_retry, backoff_max_ms),
     .deflt = "2s",
     .min = 1,
     .max = HOUR,
     .also = "cap limit",
     .help = "Longest wait before any retry."},
};
OBJECT(retry_backoff, policy_retry, "retry_backoff",
       "Waits are drawn evenly between zero and the limit (full jitter).");

static const struct spec_key retry_keys[] = {
    {.name = "max_attempts",
     .type = SPEC_INT,
     AT(policy_retry, max_attempts),
     .deflt = "4",
     .min = 1,
     .max = 100,
     .also = "attempts retries max_retries num_retries",
     .help = "Attempts per request over all models and endpoints, the first included."},
    {.name = "per_model",
     .type = SPEC_INT,
     AT(policy_retry, per_model),
     .deflt = "2",
     .min = 1,
     .max = 100,
     .help = "Attempts on one model before the next is asked."},
    {.name = "backoff",
     .type = SPEC_OBJECT,
     .object = &retry_backoff,
     .help = "Waits between attempts."},
    {.name = "max_retry_after",
     .type = SPEC_DURATION,
     AT(policy_retry, max_retry_after_ms),
     .deflt = "5s",
     .min = 0,
     .max = HOUR,
     .also = "retry_after",
     .help = "Longest Retry-After that is waited for; a longer one means the next endpoint or "
             "model at once."},
    {.name = "budget",
     .type = SPEC_OBJECT,
     .object = &retry_budget,
     .help = "Keeps retries from burying a fleet that is already failing."},
};
OBJECT(retry, policy_retry, "retry",
       "What happens after a failed attempt. At the top level: for all routes; in a route: only "
       "what differs.");

/* ---- the encoder and classes ---- */

static const struct spec_word device_words[] = {{"auto", POLICY_DEVICE_AUTO, false},
                                                {"cpu", POLICY_DEVICE_CPU, false},
                                                {"cuda", POLICY_DEVICE_CUDA, false},
                                                {NULL, 0, false}};
static const struct spec_word precision_words[] = {{"auto", POLICY_PRECISION_AUTO, false},
                                                   {"fp32", POLICY_PRECISION_FP32, false},
                                                   {"int8", POLICY_PRECISION_INT8, false},
                                                   {"fp16", POLICY_PRECISION_FP16, false},
                                                   {NULL, 0, false}};

static const struct spec_key encoder_keys[] = {
    {.name = "model",
     .type = SPEC_TEXT,
     AT(policy_encoder, model),
     .deflt = POLICY_ENCODER_DEFAULT,
     .also = "name path folder",
     .help = "A model that `weir model fetch` has fetched; or a folder, when it holds a `/` "
             "(relative to the policy file); or `static`: the table inside weir alone, no "
             "transformer."},
    {.name = "device",
     .type = SPEC_ENUM,
     AT(policy_encoder, device),
     .deflt = "auto",
     .words = device_words,
     .also = "gpu accelerator",
     .help = "Where it runs; `auto` takes a GPU that is there."},
    {.name = "precision",
     .type = SPEC_ENUM,
     AT(policy_encoder, precision),
     .deflt = "auto",
     .words = precision_words,
     .also = "quantization dtype type",
     .help = "`auto` is int8 on a CPU and fp16 on a GPU."},
    {.name = "threads",
     .type = SPEC_INT,
     AT(policy_encoder, threads),
     .flags = SPEC_AUTO,
     .deflt = "auto",
     .min = 1,
     .max = 64,
     .also = "workers",
     .help = "Threads that encode, each a query at a time; `auto` is one for every two CPUs."},
    {.name = "max_queued",
     .type = SPEC_INT,
     AT(policy_encoder, max_queued),
     .deflt = "256",
     .min = 1,
     .max = 100000,
     .also = "queue",
     .help = "Queries that may wait; for one more the static tier decides at once."},
    {.name = "max_tokens",
     .type = SPEC_INT,
     AT(policy_encoder, max_tokens),
     .flags = SPEC_AUTO,
     .deflt = "auto",
     .min = 8,
     .max = 8192,
     .also = "max_length max_seq_length",
     .help = "Tokens of a query that are read, from its beginning; `auto` is the model's limit."},
    {.name = "max_wait",
     .type = SPEC_DURATION,
     AT(policy_encoder, max_wait_ms),
     .deflt = "8ms",
     .min = 1,
     .max = 10 * SECOND,
     .also = "timeout deadline",
     .help =
         "How long a request waits for it; then the static tier decides, and at once where that "
         "can be foreseen."},
    {.name = "static_first",
     .type = SPEC_FRACTION,
     AT(policy_encoder, static_first),
     .also = "static",
     .help = "Confidence of the static tier at which the transformer is not asked. Left out: it "
             "always is."},
    {.name = "heads",
     .type = SPEC_PATH,
     AT(policy_encoder, heads),
     .also = "head classifier",
     .help =
         "File of heads that `weir train` made for this model. Left out: weir's own. Where they "
         "know a model's chance of success, it moves the choice of an `objective` once "
         "outcomes have borne it out."},
    {.name = "price",
     .type = SPEC_PRICES,
     ARRAY(policy_encoder, price),
     .object = &price,
     .also = "prices cost",
     .help = "What a query costs: `gpu_second` for its share of a pass's time, `input` for its "
             "tokens. Booked as an attempt of the role `classify`. Left out: nothing is booked."},
};
OBJECT(encoder, policy_encoder, "encoder",
       "What looks at each query whose route hangs on its class, before the route is chosen. "
       "Without this section the static tier does: microseconds on the worker, less sure.");

static const struct spec_key class_keys[] = {
    {.name = "examples",
     .type = SPEC_PROMPTS,
     ARRAY(policy_class, example),
     .flags = SPEC_REQUIRED,
     .max = POLICY_MAX_EXAMPLES,
     .also = "example prompts queries texts utterances",
     .help = "Prompts of this class, as users write them; five unlike each other are a good "
             "start."},
};
OBJECT(class, policy_class, "class",
       "A class of queries by a few examples; no training is needed. A query belongs to it when it "
       "lies nearer to these than prompts at large do. A declared class goes before the labels of "
       "the class head.");

/* ---- the cache ---- */

static const struct spec_word cache_mode_words[] = {
    {"on", POLICY_CACHE_ON, false}, {"off", POLICY_CACHE_OFF, false}, {NULL, 0, false}};
static const struct spec_word cache_scope_words[] = {{"tenant", POLICY_SCOPE_TENANT, false},
                                                     {"shared", POLICY_SCOPE_SHARED, false},
                                                     {NULL, 0, false}};
static const struct spec_word cache_store_words[] = {{"embedded", POLICY_STORE_EMBEDDED, false},
                                                     {"redis", POLICY_STORE_REDIS, false},
                                                     {NULL, 0, false}};

static const struct spec_key cache_exact_keys[] = {
    {.name = "ttl",
     .type = SPEC_DURATION,
     AT(policy_cache_use, ttl_ms),
     .deflt = "24h",
     .min = SECOND,
     .max = 366 * DAY,
     .also = "max_age expiry lifetime",
     .help = "How long an answer may be given again."},
    {.name = "timely_ttl",
     .type = SPEC_DURATION,
     AT(policy_cache_use, timely_ttl_ms),
     .deflt = "5m",
     .min = SECOND,
     .max = 366 * DAY,
     .help = "The same for questions whose answer depends on when they are asked (`latest`, "
             "`today`, `who is the president`)."},
};
OBJECT(cache_exact, policy_cache_use, "cache_exact",
       "Repeats: requests that are equal in everything that can change an answer.");

static const struct spec_word semantic_mode_words[] = {
    {"on", POLICY_SEMANTIC_ON, false}, {"off", POLICY_SEMANTIC_OFF, false}, {NULL, 0, false}};
static const struct spec_word semantic_context_words[] = {
    {"same", POLICY_CONTEXT_SAME, false}, {"none", POLICY_CONTEXT_NONE, false}, {NULL, 0, false}};
static const struct spec_word guard_words[] = {
    {"numbers", POLICY_GUARD_NUMBERS, false}, {"units", POLICY_GUARD_UNITS, false},
    {"dates", POLICY_GUARD_DATES, false},     {"negation", POLICY_GUARD_NEGATION, false},
    {"order", POLICY_GUARD_ORDER, false},     {"names", POLICY_GUARD_NAMES, false},
    {"overlap", POLICY_GUARD_OVERLAP, false}, {"none", POLICY_GUARD_NONE, false},
    {"default", POLICY_GUARD_DEFAULT, false}, {NULL, 0, false}};

static const struct spec_key cache_semantic_keys[] = {
    {.name = "mode",
     .type = SPEC_ENUM,
     AT(policy_semantic, mode),
     .deflt = "on",
     .words = semantic_mode_words,
     .also = "enabled",
     .help = "`off`: only repeats are answered."},
    {.name = "max_error",
     .type = SPEC_FRACTION,
     AT(policy_semantic, max_error),
     .deflt = "0.01",
     .also = "threshold similarity similarity_threshold error delta min_similarity cutoff",
     .help = "Share of the requests that may get a wrong answer by meaning, on average: more than "
             "0 and less than 0.5. There is no similarity to set: the cut is found from audits."},
    {.name = "guards",
     .type = SPEC_FLAGS,
     AT(policy_semantic, guards),
     .deflt = "default",
     .words = guard_words,
     .also = "gates checks",
     .help = "What keeps two questions apart however alike their vectors are. `default`: all, but "
             "`overlap` only where the scope is shared; `none`: nothing does."},
    {.name = "shadow",
     .type = SPEC_BOOL,
     AT(policy_semantic, shadow),
     .deflt = "false",
     .also = "dry_run",
     .help = "Decide, count and learn, but serve nothing by meaning."},
    {.name = "audit",
     .type = SPEC_FRACTION,
     AT(policy_semantic, audit_min),
     .deflt = "0.02",
     .also = "audits sample sampling",
     .help = "Share of the hits that is answered afresh in the background and compared, at least; "
             "more while little is known."},
    {.name = "context",
     .type = SPEC_ENUM,
     AT(policy_semantic, context),
     .deflt = "same",
     .words = semantic_context_words,
     .also = "history",
     .help = "`same`: questions with equal earlier turns are compared; `none`: only questions "
             "without earlier turns."},
};
OBJECT(
    cache_semantic, policy_semantic, "cache_semantic",
    "Answers to questions that mean the same, where everything but the user's last text is equal. "
    "Needs a transformer: the `encoder` section's, or all-minilm-l6-v2 where there is none. "
    "Nothing is served before enough answers were "
    "compared.");

#define CACHE_USE_KEYS(type_, use_, inherit_)                                                      \
    {.name = "mode",                                                                               \
     .type = SPEC_ENUM,                                                                            \
     .at = offsetof(struct type_, use_ mode),                                                      \
     .deflt = "on",                                                                                \
     .words = cache_mode_words,                                                                    \
     .also = "enabled",                                                                            \
     .help = "`off`: nothing is looked up and nothing is stored."},                                \
        {.name = "scope",                                                                          \
         .type = SPEC_ENUM,                                                                        \
         .at = offsetof(struct type_, use_ scope),                                                 \
         .deflt = "tenant",                                                                        \
         .words = cache_scope_words,                                                               \
         .also = "namespace sharing",                                                              \
         .help = "Who may be given an answer: the tenant that paid for it, or all of them. "       \
                 "Requests without a tenant share among themselves."},                             \
        {.name = "exact",                                                                          \
         .type = SPEC_OBJECT,                                                                      \
         .object = &cache_exact,                                                                   \
         .at = offsetof(struct type_, use_ on),                                                    \
         .flags = (inherit_),                                                                      \
         .also = "ttl timely_ttl expiry",                                                          \
         .help = "How long answers live."},                                                        \
        {.name = "semantic",                                                                       \
         .type = SPEC_OBJECT,                                                                      \
         .object = &cache_semantic,                                                                \
         .at = offsetof(struct type_, use_ semantic),                                              \
         .flags = SPEC_SHORT | (inherit_),                                                         \
         .also = "similarity similarity_threshold max_error",                                      \
         .help = "Answers to questions that mean the same; or `off`, which it is when left out."}, \
        {.name = "tool_calls",                                                                     \
         .type = SPEC_BOOL,                                                                        \
         .at = offsetof(struct type_, use_ tool_calls),                                            \
         .deflt = "false",                                                                         \
         .also = "tools",                                                                          \
         .help = "Whether answers that call tools are kept. A call that is given again acts "      \
                 "again: only for tools that look things up."},                                    \
    {                                                                                              \
        .name = "tags", .type = SPEC_NAMES, .at = offsetof(struct type_, use_ tags),               \
        .count_at = offsetof(struct type_, use_ tag_count), .also = "tag labels",                  \
        .help = "Tags that stored answers get, by which they can be removed together."             \
    }

static const struct spec_key cache_redis_keys[] = {
    {.name = "url",
     .type = SPEC_TEXT,
     AT(policy_cache, redis_url),
     .flags = SPEC_RESTART_ALWAYS,
     .also = "address host",
     .help = "`redis://host:port/db` or `unix:/path`, without a password: see `url_env`."},
    {.name = "url_env",
     .type = SPEC_TEXT,
     AT(policy_cache, redis_url_env),
     .flags = SPEC_RESTART_ALWAYS,
     .help = "Environment variable that holds the URL, password and all, in place of `url`."},
    {.name = "prefix",
     .type = SPEC_NAME,
     AT(policy_cache, redis_prefix),
     .flags = SPEC_RESTART_ALWAYS,
     .deflt = "weir",
     .also = "namespace",
     .help = "What all its keys begin with. Replicas that share answers share it."},
    {.name = "budget",
     .type = SPEC_DURATION,
     AT(policy_cache, redis_budget_ms),
     .flags = SPEC_RESTART,
     .deflt = "5ms",
     .min = 1,
     .max = SECOND,
     .also = "timeout",
     .help = "How long a request waits for it; then the look-up is a miss."},
};
OBJECT(
    cache_redis, policy_cache, "cache_redis",
    "A Redis or Valkey that replicas share. One that is slow or down costs hits, never answers.");

static const struct spec_key cache_judge_keys[] = {
    {.name = "model",
     .type = SPEC_TEXT,
     AT(policy_judge, model_name),
     .deflt = POLICY_JUDGE_RULES,
     .also = "name",
     .help = "A model of this policy, asked where texts and vectors do not settle it; or "
             "`rule-only`: then such pairs teach nothing."},
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_judge, max_per_day),
     .deflt = "1.00",
     .also = "budget max_cost limit",
     .help = "What its calls may cost in a day (UTC) and process; beyond it nobody is asked."},
};
OBJECT(cache_judge, policy_judge, "cache_judge",
       "Two answers that are equal, or nearly and without another number or name, say the same; "
       "those that share nothing do not. Who judges what lies between.");

static const struct spec_key cache_audits_keys[] = {
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_cache, audits_per_day),
     .deflt = "5.00",
     .also = "budget max_cost limit",
     .help = "What answers asked afresh may cost in a day (UTC) and process; beyond it hits are "
             "not audited."},
};
OBJECT(cache_audits, policy_cache, "cache_audits",
       "The price of watching over the answers by meaning: some are answered afresh, too.");

static const struct spec_key cache_keys[] = {
    CACHE_USE_KEYS(policy_cache, use., 0),
    {.name = "store",
     .type = SPEC_ENUM,
     AT(policy_cache, store),
     .flags = SPEC_RESTART_ALWAYS,
     .deflt = "embedded",
     .words = cache_store_words,
     .also = "backend type",
     .help = "Where answers are kept, and what is learned of models: files in `state_dir`, or a "
             "Redis. Needs a restart."},
    {.name = "redis",
     .type = SPEC_OBJECT,
     .object = &cache_redis,
     AT(policy_cache, wanted),
     .help = "The Redis. Only with `store: redis`. Needs a restart."},
    {.name = "max_entries",
     .type = SPEC_INT,
     AT(policy_cache, max_entries),
     .flags = SPEC_RESTART,
     .deflt = "100000",
     .min = 1,
     .max = 100000000,
     .also = "size",
     .help = "Answers kept. Needs a restart."},
    {.name = "max_memory",
     .type = SPEC_SIZE,
     AT(policy_cache, max_memory_bytes),
     .flags = SPEC_RESTART,
     .deflt = "256MiB",
     .min = MIB,
     .max = 1024 * GIB,
     .also = "memory",
     .help = "Bytes of answers held in memory, and in an embedded store's file. Needs a restart."},
    {.name = "judge",
     .type = SPEC_OBJECT,
     .object = &cache_judge,
     AT(policy_cache, judge),
     .flags = SPEC_SHORT,
     .also = "verifier evaluator",
     .help = "Who tells whether two answers say the same, for `semantic`."},
    {.name = "audits",
     .type = SPEC_OBJECT,
     .object = &cache_audits,
     AT(policy_cache, wanted),
     .also = "audit",
     .help = "What answers that are asked afresh may cost, for `semantic`."},
    {.name = "snapshot",
     .type = SPEC_TEXT,
     AT(policy_cache, snapshot),
     .flags = SPEC_RESTART | SPEC_NONE,
     .deflt = "cache.index",
     .also = "index_file",
     .help = "File in `state_dir` that keeps the index of meanings between runs; `none`: it is "
             "filled from the store at each start. Needs a restart."},
};
OBJECT(cache, policy_cache, "cache",
       "Answers from earlier answers. Left out, and with no `cache` in a route: nothing is looked "
       "up and nothing is stored. `cache: off` turns a written one off.");

static const struct spec_key route_cache_keys[] = {
    CACHE_USE_KEYS(policy_cache_use, , SPEC_INHERIT),
};
OBJECT(route_cache, policy_cache_use, "route_cache",
       "What differs from the top-level `cache`. `cache: off` alone: this route uses none.");

/* ---- deciding ---- */

static const struct spec_word minimize_words[] = {
    {"cost_per_success", POLICY_MINIMIZE_COST_PER_SUCCESS, false},
    {"off", POLICY_MINIMIZE_OFF, false},
    {NULL, 0, false}};
static const struct spec_word floor_scope_words[] = {
    {"route", POLICY_FLOOR_ROUTE, false}, {"class", POLICY_FLOOR_CLASS, false}, {NULL, 0, false}};

static const struct spec_key success_floor_keys[] = {
    {.name = "success",
     .type = SPEC_FRACTION,
     AT(policy_floor, success),
     .flags = SPEC_NONE,
     .also = "floor share rate",
     .help = "Share of requests that must succeed."},
    {.name = "scope",
     .type = SPEC_ENUM,
     AT(policy_floor, scope),
     .deflt = "route",
     .words = floor_scope_words,
     .help = "Whether the floor holds for the route as a whole, or for each class by itself."},
    {.name = "min_class",
     .type = SPEC_FRACTION,
     AT(policy_floor, min_class),
     .flags = SPEC_NONE,
     .help = "Least share of successes of any class under a floor of scope `route`."},
};
OBJECT(success_floor, policy_floor, "floor", "The quality that must be kept.");

static const struct spec_key objective_keys[] = {
    {.name = "minimize",
     .type = SPEC_ENUM,
     AT(policy_objective, minimize),
     .deflt = "off",
     .words = minimize_words,
     .also = "minimise optimise optimize goal",
     .help = "`cost_per_success`: models are asked in whatever order makes a good answer cheapest, "
             "as far as outcomes tell. Stands for itself in an `objective` with any other key."},
    {.name = "floor",
     .type = SPEC_OBJECT,
     .object = &success_floor,
     AT(policy_objective, floor),
     .flags = SPEC_SHORT,
     .also = "success quality min_success",
     .help = "What must hold; money is spent until it does. A number is the share of successes."},
    {.name = "failure_price",
     .type = SPEC_USD,
     AT(policy_objective, failure_price),
     .deflt = "0",
     .also = "failure_price_usd penalty",
     .help = "What one answer that fails costs you, in USD. Without it and without a floor the "
             "cheapest model wins by failing cheaply."},
    {.name = "budget",
     .type = SPEC_USD,
     AT(policy_objective, budget),
     .also = "budget_usd_per_request max_cost",
     .help = "USD that a request may cost, all attempts together. Left out: no limit."},
    {.name = "latency_price",
     .type = SPEC_USD,
     AT(policy_objective, latency_price),
     .deflt = "0",
     .help = "What a second of waiting is worth, in USD; added to a model's cost when models are "
             "compared, never booked."},
};
OBJECT(objective, policy_objective, "objective",
       "What is minimised, and what must hold. `objective: cost_per_success` alone is enough to "
       "begin with.");

static const struct spec_word hold_words[] = {{"tokens", POLICY_HOLD_TOKENS, false},
                                              {"whole", POLICY_HOLD_WHOLE, false},
                                              {"off", POLICY_HOLD_OFF, false},
                                              {NULL, 0, false}};
static const struct spec_word validator_words[] = {
    {"json_schema", POLICY_VALIDATE_JSON_SCHEMA, false},
    {"tool_args", POLICY_VALIDATE_TOOL_ARGS, false},
    {"non_empty", POLICY_VALIDATE_NON_EMPTY, false},
    {"regex", POLICY_VALIDATE_REGEX, false},
    {"command", POLICY_VALIDATE_COMMAND, false},
    {"http", POLICY_VALIDATE_HTTP, false},
    {NULL, 0, false}};

static const struct spec_key validator_keys[] = {
    {.name = "kind",
     .type = SPEC_ENUM,
     AT(policy_validator, kind),
     .flags = SPEC_REQUIRED,
     .words = validator_words,
     .also = "type",
     .help =
         "`json_schema`: the answer's text against the request's own schema, or that in `file`; "
         "`tool_args`: tool calls against the request's tools; `non_empty`; `regex`: `pattern` "
         "is found in the text; `command`: a program that exits 0; `http`: a judge that "
         "answers `{\"score\": 0..1}`."},
    {.name = "file",
     .type = SPEC_PATH,
     AT(policy_validator, file),
     .also = "schema path",
     .help = "JSON Schema; only with `json_schema`."},
    {.name = "pattern",
     .type = SPEC_TEXT,
     AT(policy_validator, pattern),
     .also = "regex match",
     .help =
         "Regular expression as in JSON Schema and JavaScript, searched anywhere in the text; only "
         "with `regex`."},
    {.name = "argv",
     .type = SPEC_STRINGS,
     .at = offsetof(struct policy_validator, argv),
     .count_at = offsetof(struct policy_validator, argv_count),
     .also = "command args cmd",
     .help =
         "Program and arguments, run without a shell; request and answer are its standard input, "
         "as JSON. Exit status 0 is a pass, 126 and above say nothing, others are a fail. Only "
         "with `command`."},
    {.name = "url",
     .type = SPEC_TEXT,
     AT(policy_validator, url),
     .also = "endpoint",
     .help =
         "Gets `{\"request\": ..., \"answer\": ...}` by POST and answers `{\"score\": 0..1}`, from "
         "0.5 on a pass; only with `http`."},
    {.name = "timeout",
     .type = SPEC_DURATION,
     AT(policy_validator, timeout_ms),
     .deflt = "2s",
     .min = MS(10),
     .max = 60 * SECOND,
     .help = "How long `command` or `http` may take; then nothing is known of the answer."},
};
OBJECT(validator, policy_validator, "validator",
       "A test that an answer must pass. A bare word means the same as `{kind: word}`.");

static const struct spec_word samples_words[] = {{"no_logprobs", POLICY_SAMPLES_NO_LOGPROBS, false},
                                                 {"always", POLICY_SAMPLES_ALWAYS, false},
                                                 {NULL, 0, false}};

static const struct spec_key samples_keys[] = {
    {.name = "count",
     .type = SPEC_INT,
     AT(policy_samples, count),
     .deflt = "1",
     .min = 1,
     .max = POLICY_MAX_SAMPLES,
     .also = "n number",
     .help = "How many answers of one model there are in all; 1: the one that may be served, and "
             "no other."},
    {.name = "when",
     .type = SPEC_ENUM,
     AT(policy_samples, when),
     .deflt = "no_logprobs",
     .words = samples_words,
     .help = "`no_logprobs`: for answers that came without log-probabilities; `always`."},
    {.name = "temperature",
     .type = SPEC_FRACTION,
     AT(policy_samples, temperature),
     .help = "Of the further answers. Left out: the request's own; one that asks for temperature 0 "
             "is then not sampled, because it would get the same answer again."},
};
OBJECT(
    samples, policy_samples, "samples",
    "Self-consistency: once a model has answered whole, it is asked the same again, and how many "
    "of its answers agree (by the final choice, number or short text, else by their words) tells "
    "how sure the first one is. The further answers are never served; each is booked with role "
    "`sample`. A request with `n` above 1 is not sampled, nor is an answer after which nothing "
    "else would be asked, and one for which time or the request's budget does not suffice.");

static const struct spec_key confidence_keys[] = {
    {.name = "hold",
     .type = SPEC_ENUM,
     AT(policy_confidence, hold),
     .deflt = "tokens",
     .words = hold_words,
     .also = "streaming stream",
     .help = "What of a stream is judged before the client gets any of it: its first `tokens`, "
             "the `whole` answer, or nothing (`off`: the first model's stream is final)."},
    {.name = "hold_tokens",
     .type = SPEC_INT,
     AT(policy_confidence, hold_tokens),
     .deflt = "24",
     .min = 1,
     .max = 4096,
     .also = "tokens hold_back",
     .help = "How many tokens `hold: tokens` keeps back."},
    {.name = "recall",
     .type = SPEC_BOOL,
     AT(policy_confidence, recall),
     .deflt = "true",
     .help = "Whether the best of all answers is served when none was accepted; otherwise the last "
             "one is."},
    {.name = "logprobs",
     .type = SPEC_BOOL,
     AT(policy_confidence, logprobs),
     .deflt = "true",
     .help = "Whether models with the capability `logprobs` are asked for log-probabilities; a "
             "client that did not ask for them does not see them."},
    {.name = "samples",
     .type = SPEC_OBJECT,
     .object = &samples,
     AT(policy_confidence, samples),
     .flags = SPEC_SHORT,
     .also = "self_consistency votes",
     .help =
         "How often a model is asked for the same answer, to see whether it says the same again. "
         "A number is the `count`. Of streams only those that are held `whole` are sampled."},
    {.name = "validators",
     .type = SPEC_LIST,
     .object = &validator,
     ARRAY(policy_confidence, validator),
     .flags = SPEC_SHORT,
     .max = POLICY_MAX_VALIDATORS,
     .also = "validate checks",
     .help =
         "Tests that a whole answer must pass; one that fails is worth nothing. Of streams only "
         "those that are held `whole` are tested."},
};
OBJECT(confidence, policy_confidence, "confidence", "How an answer is judged.");

static const struct spec_key canary_keys[] = {
    {.name = "model",
     .type = SPEC_MODEL,
     AT(policy_canary, model),
     .flags = SPEC_REQUIRED,
     .also = "arm",
     .help = "The model of the cascade that is being tried."},
    {.name = "cap",
     .type = SPEC_FRACTION,
     AT(policy_canary, cap),
     .deflt = "0.05",
     .help = "At most this share of a class's requests begins with it."},
    {.name = "alpha",
     .type = SPEC_FRACTION,
     AT(policy_canary, alpha),
     .deflt = "0.01",
     .help = "How likely a false alarm may be that takes it out of use."},
};
OBJECT(canary, policy_canary, "canary", "A model on probation.");

static const struct spec_key pin_keys[] = {
    {.name = "model",
     .type = SPEC_MODEL,
     AT(policy_pin, model),
     .flags = SPEC_REQUIRED,
     .also = "tier arm",
     .help = "The model of the cascade that answers alone."},
    {.name = "tenant",
     .type = SPEC_NAME,
     AT(policy_pin, tenant),
     .help = "Whose requests. Left out: anyone's."},
    {.name = "class",
     .type = SPEC_NAME,
     AT(policy_pin, class_name),
     .help = "Requests of which class. Left out: of any, or none."},
};
OBJECT(pin, policy_pin, "pin", "Requests that one model answers, whatever has been learnt.");

static const struct spec_key explore_keys[] = {
    {.name = "share",
     .type = SPEC_FRACTION,
     AT(policy_explore, share),
     .deflt = "0.01",
     .also = "epsilon rate",
     .help = "Share of requests whose first model is drawn at random."},
    {.name = "step_share",
     .type = SPEC_FRACTION,
     AT(policy_explore, step_share),
     .deflt = "0.005",
     .help = "Share of answers after which what follows is drawn at random."},
    {.name = "max_spend_share",
     .type = SPEC_FRACTION,
     AT(policy_explore, max_spend_share),
     .deflt = "0.02",
     .also = "max_spend budget",
     .help = "Share of what the route spends that may go into it."},
    {.name = "cold_start",
     .type = SPEC_FRACTION,
     AT(policy_explore, cold_start),
     .deflt = "0.02",
     .help = "Share of a class's requests that a model begins with until enough is known of it."},
    {.name = "canary",
     .type = SPEC_LIST,
     .object = &canary,
     .at = offsetof(struct policy_explore, canaries),
     .count_at = offsetof(struct policy_explore, canary_count),
     .flags = SPEC_SHORT,
     .max = POLICY_MAX_STEPS,
     .also = "canaries",
     .help = "Models of the cascade that are on probation."},
    {.name = "pins",
     .type = SPEC_LIST,
     .object = &pin,
     ARRAY(policy_explore, pin),
     .max = 256,
     .also = "pin pinned",
     .help = "Requests that stay with one model."},
};
OBJECT(explore, policy_explore, "explore",
       "How much is tried out. Only with an `objective`; every choice is logged with its "
       "probability.");

static const struct spec_word learn_words[] = {
    {"on", POLICY_LEARN_ON, false}, {"off", POLICY_LEARN_OFF, false}, {NULL, 0, false}};
static const struct spec_word silence_words[] = {{"missing", POLICY_SILENCE_MISSING, false},
                                                 {"success", POLICY_SILENCE_SUCCESS, false},
                                                 {"failure", POLICY_SILENCE_FAILURE, false},
                                                 {NULL, 0, false}};

static const struct spec_key silence_keys[] = {
    {.name = "as",
     .type = SPEC_ENUM,
     AT(policy_learn, silence),
     .deflt = "missing",
     .words = silence_words,
     .help = "What a request without any outcome counts as."},
    {.name = "after",
     .type = SPEC_DURATION,
     AT(policy_learn, silence_after_ms),
     .deflt = "24h",
     .min = SECOND,
     .max = 30 * DAY,
     .help = "How long after its decision."},
};
OBJECT(silence, policy_learn, "silence", "What no outcome means.");

#define SOURCE(member, weight, also_, help_)                                                       \
    {                                                                                              \
        .name = #member, .type = SPEC_FRACTION, .at = offsetof(struct policy_sources, member),     \
        .deflt = weight, .also = also_, .help = help_                                              \
    }
static const struct spec_key sources_keys[] = {
    {.name = "explicit",
     .type = SPEC_FRACTION,
     AT(policy_sources, explicit_feedback),
     .deflt = "1",
     .also = "feedback user",
     .help = "`POST /v1/feedback` with success or score."},
    SOURCE(correction, "0.7", NULL, "`POST /v1/feedback` with a correction."),
    SOURCE(validator, "1", "validators test", "The route's validators."),
    SOURCE(judge, "0.8", NULL, "The judge of audits."),
    SOURCE(regenerate, "0.3", "rephrase retry",
           "The same question asked again soon after its answer."),
    SOURCE(silence, "0.3", NULL, "No outcome, where `silence` gives it a meaning."),
};
OBJECT(sources, policy_sources, "sources", "How much an outcome counts, by where it comes from.");

static const struct spec_key learn_keys[] = {
    {.name = "mode",
     .type = SPEC_ENUM,
     AT(policy_learn, mode),
     .deflt = "on",
     .words = learn_words,
     .also = "enabled",
     .help = "`off`: what has been learnt is used, and nothing is added."},
    {.name = "neighbours",
     .type = SPEC_ENUM,
     AT(policy_learn, neighbours),
     .deflt = "on",
     .words = learn_words,
     .also = "neighbors similar",
     .help = "With an `objective`: outcomes of questions that mean something similar say what to "
             "expect of this one, as far as that has proven true. Of each question a vector of "
             "192 bytes is kept beside its outcome for 7 days, no text. `off`: none is kept or "
             "used."},
    {.name = "half_life",
     .type = SPEC_DURATION,
     AT(policy_learn, half_life_ms),
     .deflt = "7d",
     .min = 60 * SECOND,
     .max = 366 * DAY,
     .also = "decay",
     .help = "After this time an outcome counts half."},
    {.name = "fast_half_life",
     .type = SPEC_DURATION,
     AT(policy_learn, fast_half_life_ms),
     .deflt = "2h",
     .min = 60 * SECOND,
     .max = 30 * DAY,
     .help = "The same for the correction that notices a model becoming better or worse."},
    {.name = "silence", .type = SPEC_OBJECT, .object = &silence, .help = "What no outcome means."},
    {.name = "sources",
     .type = SPEC_OBJECT,
     .object = &sources,
     AT(policy_learn, sources),
     .also = "weights source",
     .help = "How much an outcome counts, by where it comes from."},
};
OBJECT(learn, policy_learn, "learn", "What is made of outcomes.");

static const struct spec_key audit_keys[] = {
    {.name = "share",
     .type = SPEC_FRACTION,
     AT(policy_audit, share),
     .deflt = "0",
     .also = "rate sample",
     .help = "Share of finished requests that all models of the cascade are asked in the "
             "background. The client never waits for it."},
    {.name = "max_usd_per_day",
     .type = SPEC_USD,
     AT(policy_audit, max_per_day),
     .deflt = "1",
     .also = "budget cap max_per_day",
     .help = "USD a day at most for a route's audits and their judge."},
    {.name = "judge",
     .type = SPEC_MODEL,
     AT(policy_audit, judge),
     .also = "model",
     .help = "The model that judges answers. Left out: only validators do."},
};
OBJECT(audit, policy_audit, "audit",
       "Finished requests asked of every model, to know what other choices would have brought.");

static const struct spec_key holdout_keys[] = {
    {.name = "share",
     .type = SPEC_FRACTION,
     AT(policy_holdout, share),
     .deflt = "0",
     .also = "rate",
     .help = "Share of requests that one model answers alone, whatever has been learnt."},
    {.name = "model",
     .type = SPEC_MODEL,
     AT(policy_holdout, model),
     .also = "tier arm baseline",
     .help = "That model. Left out: the last of the cascade."},
};
OBJECT(holdout, policy_holdout, "holdout", "The baseline that savings are measured against.");

#define DECIDE_KEYS(type_, use_, inherit_)                                                         \
    {.name = "accept",                                                                             \
     .type = SPEC_FRACTION,                                                                        \
     .at = offsetof(struct type_, use_ accept),                                                    \
     .flags = SPEC_NONE,                                                                           \
     .also = "threshold accept_at",                                                                \
     .help = "Probability of being right at which an answer is final; else the next model of the " \
             "cascade is asked, in written order. A step may have its own."},                      \
        {.name = "objective",                                                                      \
         .type = SPEC_OBJECT,                                                                      \
         .object = &objective,                                                                     \
         .at = offsetof(struct type_, use_ objective),                                             \
         .flags = SPEC_SHORT | (inherit_),                                                         \
         .also = "optimize optimise goal",                                                         \
         .help = "Models are asked in any order, for the least cost of a success; an answer that " \
                 "`accept` takes is final."},                                                      \
        {.name = "confidence",                                                                     \
         .type = SPEC_OBJECT,                                                                      \
         .object = &confidence,                                                                    \
         .at = offsetof(struct type_, use_ confidence),                                            \
         .flags = (inherit_),                                                                      \
         .help = "How answers are judged; with `accept` or `objective`."},                         \
        {.name = "explore",                                                                        \
         .type = SPEC_OBJECT,                                                                      \
         .object = &explore,                                                                       \
         .at = offsetof(struct type_, use_ explore),                                               \
         .flags = (inherit_),                                                                      \
         .also = "exploration bandit",                                                             \
         .help = "How much is tried out; with `objective`."},                                      \
        {.name = "learn",                                                                          \
         .type = SPEC_OBJECT,                                                                      \
         .object = &learn,                                                                         \
         .at = offsetof(struct type_, use_ learn),                                                 \
         .flags = SPEC_SHORT | (inherit_),                                                         \
         .also = "learning",                                                                       \
         .help = "What is made of outcomes; with `accept` or `objective`."},                       \
        {.name = "audit",                                                                          \
         .type = SPEC_OBJECT,                                                                      \
         .object = &audit,                                                                         \
         .at = offsetof(struct type_, use_ audit),                                                 \
         .flags = (inherit_),                                                                      \
         .also = "audits",                                                                         \
         .help = "Finished requests asked of every model; with `accept` or `objective`."},         \
    {                                                                                              \
        .name = "holdout", .type = SPEC_OBJECT, .object = &holdout,                                \
        .at = offsetof(struct type_, use_ holdout), .flags = (inherit_), .also = "baseline",       \
        .help = "Requests that stay on one model; with `accept` or `objective`."                   \
    }

static const struct spec_key decide_keys[] = {
    DECIDE_KEYS(policy_decide, , 0),
};
OBJECT(decide, policy_decide, "decide",
       "How routes with more than one model go on from an answer, unless they say otherwise: each "
       "key may stand in a route as well.");

/* ---- routes ---- */

static const struct spec_word api_words[] = {{"chat", 1 << POLICY_API_CHAT, false},
                                             {"completions", 1 << POLICY_API_COMPLETIONS, false},
                                             {"embeddings", 1 << POLICY_API_EMBEDDINGS, false},
                                             {"messages", 1 << POLICY_API_MESSAGES, false},
                                             {"responses", 1 << POLICY_API_RESPONSES, false},
                                             {NULL, 0, false}};

static const struct spec_key range_keys[] = {
    {.name = "min",
     .type = SPEC_INT,
     AT(policy_range, min),
     .min = 0,
     .max = TOKENS,
     .help = "At least. Left out: open."},
    {.name = "max",
     .type = SPEC_INT,
     AT(policy_range, max),
     .min = 0,
     .max = TOKENS,
     .help = "At most. Left out: open."},
};
OBJECT(range, policy_range, "prompt_tokens", "An inclusive range.");

static const struct spec_key match_keys[] = {
    {.name = "model",
     .type = SPEC_NAMES,
     ARRAY(policy_match, model),
     .flags = SPEC_GLOB,
     .also = "models name",
     .help = "Names a client may ask for; `*` stands for any characters. An alias counts as what "
             "it leads to."},
    {.name = "tenant",
     .type = SPEC_NAMES,
     ARRAY(policy_match, tenant),
     .also = "tenants",
     .help = "Tenants, one of which must ask."},
    {.name = "tags",
     .type = SPEC_NAMES,
     ARRAY(policy_match, tag),
     .also = "tag labels",
     .help = "Tags that must all be present, the tenant's or from the header `x-weir-tags`."},
    {.name = "headers",
     .type = SPEC_HEADERS,
     ARRAY(policy_match, header),
     .flags = SPEC_GLOB,
     .also = "header",
     .help = "Request headers that must all match; a value may hold `*`, and `\"*\"` alone means "
             "present."},
    {.name = "prompt_tokens",
     .type = SPEC_OBJECT,
     .object = &range,
     AT(policy_match, prompt_tokens),
     .also = "tokens size prompt",
     .help = "Size of the prompt in tokens, estimated as a quarter of the body's bytes."},
    {.name = "api",
     .type = SPEC_FLAGS,
     AT(policy_match, apis),
     .words = api_words,
     .also = "apis endpoint",
     .help = "Which of the APIs. Left out: any."},
    {.name = "class",
     .type = SPEC_NAMES,
     .at = offsetof(struct policy_match, classes),
     .count_at = offsetof(struct policy_match, class_count),
     .also = "category classes intent domain topic",
     .help = "What the last user message is about: one of these `classes`, or labels of the class "
             "head. A query of no known class is never matched."},
    {.name = "min_confidence",
     .type = SPEC_FRACTION,
     AT(policy_match, min_confidence),
     .also = "confidence threshold min_similarity",
     .help = "Least confidence in that class; only with `class`. Left out: whatever it is."},
};
OBJECT(match, policy_match, "match",
       "All that is written must hold. Left out: any request for a name this policy knows.");

static const struct spec_key step_keys[] = {
    {.name = "model",
     .type = SPEC_MODEL,
     AT(policy_step, model),
     .flags = SPEC_REQUIRED,
     .also = "name",
     .help = "The model to ask."},
    {.name = "accept",
     .type = SPEC_FRACTION,
     AT(policy_step, accept),
     .also = "threshold accept_at",
     .help = "Probability of being right at which its answer is final. Left out: the route's "
             "`accept`, if there is one."},
    {.name = "samples",
     .type = SPEC_INT,
     AT(policy_step, samples),
     .min = 1,
     .max = POLICY_MAX_SAMPLES,
     .help = "How many answers of this model there are in all (see `confidence`). Left out: the "
             "route's `samples`."},
};
OBJECT(step, policy_step, "step",
       "One model of a cascade. A bare name means the same as `{model: name}`.");

static const struct spec_key route_keys[] = {
    {.name = "name",
     .type = SPEC_NAME,
     AT(policy_route, name),
     .flags = SPEC_REQUIRED,
     .also = "id",
     .help = "What logs, headers and metrics call it."},
    {.name = "match",
     .type = SPEC_OBJECT,
     .object = &match,
     AT(policy_route, match),
     .also = "when if rules",
     .help = "Which requests take this route; the first route that matches is taken."},
    {.name = "cascade",
     .type = SPEC_STEPS,
     ARRAY(policy_route, step),
     .object = &step,
     .flags = SPEC_REQUIRED,
     .also = "models model targets steps ladder",
     .help = "The models to ask, in order."},
    {.name = "fallback",
     .type = SPEC_STEPS,
     ARRAY(policy_route, step),
     .object = &step,
     .also = "fallbacks",
     .help = "Models to ask when all of the cascade failed."},
    {.name = "retry",
     .type = SPEC_OBJECT,
     .object = &retry,
     AT(policy_route, retry),
     .flags = SPEC_INHERIT,
     .also = "retries",
     .help = "What differs from the top-level `retry`."},
    {.name = "deadline",
     .type = SPEC_DURATION,
     AT(policy_route, deadline_ms),
     .flags = SPEC_NONE,
     .deflt = "none",
     .min = 1,
     .max = DAY,
     .also = "timeout",
     .help = "For the whole request, all attempts together."},
    DECIDE_KEYS(policy_route, decide., SPEC_INHERIT),
    {.name = "cache",
     .type = SPEC_OBJECT,
     .object = &route_cache,
     AT(policy_route, cache),
     .flags = SPEC_INHERIT | SPEC_SHORT,
     .also = "caching",
     .help = "What differs from the top-level `cache`; or `off`."},
};
OBJECT(route, policy_route, "route", "Which requests go to which models.");

/* ---- the file ---- */

/* In the order of binding: what is referred to comes before what refers to it. */
static const struct spec_key policy_keys[] = {
    {.name = "version",
     .type = SPEC_INT,
     AT(draft, version),
     .flags = SPEC_REQUIRED,
     .min = 1,
     .max = 1,
     .help = "Version of this language: 1."},
    {.name = "server",
     .type = SPEC_OBJECT,
     .object = &server,
     AT(draft, server),
     .also = "listen gateway general_settings",
     .help = "The process: where it listens, its limits."},
    {.name = "backends",
     .type = SPEC_MAP,
     .object = &backend,
     ARRAY(draft, backend),
     .flags = SPEC_REQUIRED,
     .also = "backend providers upstreams servers endpoints",
     .help = "Servers by name."},
    {.name = "models",
     .type = SPEC_MAP,
     .object = &model,
     ARRAY(draft, model),
     .flags = SPEC_REQUIRED,
     .also = "model model_list",
     .help = "Models by the name that clients and routes use."},
    {.name = "tenants",
     .type = SPEC_MAP,
     .object = &tenant,
     ARRAY(draft, tenant),
     .also = "tenant keys users teams",
     .help = "Who may ask, by name. Left out: anyone may, and weir listens on loopback only."},
    {.name = "encoder",
     .type = SPEC_OBJECT,
     .object = &encoder,
     AT(draft, encoder),
     .also = "classifier embedding embeddings embedder",
     .help = "What looks at each query before a route is chosen. Left out: the static tier, where "
             "a route matches on a class."},
    {.name = "classes",
     .type = SPEC_MAP,
     .object = &class,
     .at = offsetof(struct draft, classes),
     .count_at = offsetof(struct draft, class_count),
     .also = "class categories intents topics",
     .help = "Classes of queries by name, each declared by a few examples, for routes to match."},
    {.name = "retry",
     .type = SPEC_OBJECT,
     .object = &retry,
     AT(draft, retry),
     .also = "retries",
     .help = "What happens after a failed attempt, for all routes."},
    {.name = "cache",
     .type = SPEC_OBJECT,
     .object = &cache,
     AT(draft, cache),
     .flags = SPEC_SHORT,
     .also = "caching semantic_cache response_cache",
     .help = "Answers from earlier answers; or `off`. Left out: each request goes to a model."},
    {.name = "decide",
     .type = SPEC_OBJECT,
     .object = &decide,
     AT(draft, decide),
     .also = "decisions cascade bandit",
     .help = "How routes go on from an answer. Left out, and with neither `accept` nor `objective` "
             "in a route: the next model is asked only when one has failed."},
    {.name = "routes",
     .type = SPEC_LIST,
     .object = &route,
     ARRAY(draft, route),
     .also = "route routing rules",
     .help = "Tried in order. Left out: each model is served under its own name."},
    {.name = "models_by_name",
     .type = SPEC_BOOL,
     AT(draft, models_by_name),
     .deflt = "false",
     .also = "serve_models expose_models passthrough",
     .help = "Whether each model is served under its own name as well, after all `routes`, by a "
             "route called `model:` and its name. Not those that a route names: what is written "
             "about a name is all that holds for it."},
    {.name = "aliases",
     .type = SPEC_ALIASES,
     .at = offsetof(struct draft, aliases),
     .count_at = offsetof(struct draft, alias_count),
     .also = "alias model_alias",
     .help = "Further names: alias to the name of a model, a route's name, or another alias."},
};
const struct spec_object spec_policy = {.name = "policy",
                                        .keys = policy_keys,
                                        .count = COUNT(policy_keys),
                                        .bytes = sizeof(struct draft),
                                        .help = "A policy file."};

/* `models` and what they cost. Constant data, read by way of spec_policy. */
#include "policies/policy_spec_int.h"

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
SECTION(
    price, policy_price, "price",
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
     .object = &spec_price,
     .flags = SPEC_REQUIRED,
     .also = "prices cost pricing",
     .help = "What it costs; a list when the price changes at a date."},
};
SECTION(model, policy_model, "model", "A model: a backend, what it can do, what it costs.");

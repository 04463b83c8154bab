/* What servers that speak OpenAI's chat dialect lack or name otherwise: data, in quirks.def, each
 * row with its source. Pure; any thread. */
#ifndef BACKENDS_WIRE_QUIRKS_H
#define BACKENDS_WIRE_QUIRKS_H

#include "backends/wire/chat.h"
#include "backends/wire/tool_id.h"

enum quirk_server {
#define QUIRK(server, ...) QUIRK_##server,
#include "backends/wire/quirks.def"
#undef QUIRK
    QUIRK_SERVERS
};

/* Members whose value, when it is not the default anyway, the server refuses or silently ignores:
 * the writer refuses them by name, because an ignored wish is worse than an error. */
enum quirk_lack {
    LACKS_N = 1 << 0,
    LACKS_SEED = 1 << 1,
    LACKS_PENALTIES = 1 << 2,
    LACKS_LOGPROBS = 1 << 3,
    LACKS_LOGIT_BIAS = 1 << 4,
    LACKS_TOOL_CHOICE = 1 << 5,  /* anything but auto */
    LACKS_NAMED_CHOICE = 1 << 6, /* one function by name */
    LACKS_PARALLEL = 1 << 7,     /* parallel_tool_calls: false */
    LACKS_STRICT = 1 << 8,       /* of tools */
    LACKS_JSON_OBJECT = 1 << 9,
    LACKS_JSON_SCHEMA = 1 << 10,
    LACKS_NAME = 1 << 11, /* of a message's author */
    LACKS_IMAGE = 1 << 12,
    LACKS_IMAGE_URL = 1 << 13, /* takes data: URLs only */
    LACKS_AUDIO = 1 << 14,
    LACKS_FILE = 1 << 15,
    LACKS_VERBOSITY = 1 << 16,
    LACKS_STREAM_USAGE = 1 << 17,  /* stream_options is an error; usage comes unasked, or not */
    LACKS_TOOL_LOGPROBS = 1 << 19, /* log-probabilities of a stream that may call tools */
    LACKS_DEVELOPER = 1 << 18,     /* not refused: the role becomes system */
};

/* What becomes of a list that ends with the assistant's own words, to be continued. */
enum quirk_prefill {
    PREFILL_NONE,     /* it would begin a new turn: refused */
    PREFILL_NATIVE,   /* continued as it is */
    PREFILL_PREFIX,   /* "prefix": true on the message */
    PREFILL_CONTINUE, /* continue_final_message, and no add_generation_prompt */
};

struct quirks {
    const char *name;           /* in the policy file: "vllm" */
    const char *max_tokens_key; /* "max_tokens" or "max_completion_tokens" */
    const char *seed_key;       /* "seed" unless NULL */
    const char *required_word;  /* tool_choice; "required" unless NULL */
    const char *top_k_key;      /* NULL: refused */
    const char *thinking_key; /* of an assistant's message, read back; NULL: thinking is left out */
    const char *effort[CHAT_EFFORTS]; /* the server's words; NULL: refused */
    unsigned lacks;                   /* enum quirk_lack */
    enum quirk_prefill prefill;
    size_t max_stops;      /* 0: no limit */
    bool cache_control;    /* read on parts */
    bool both_max_tokens;  /* max_tokens and max_completion_tokens are understood */
    bool texts_as_string;  /* content of several texts must be one string */
    bool continuous_usage; /* stream_options.continuous_usage_stats: in each chunk */
    bool pairs_tools;      /* refuses tool calls without a result, and the other way round */
    struct tool_id_rule tool_id, tool_name;
};

const struct quirks *quirks_get(enum quirk_server s);
/* By name; NULL when there is none. */
const struct quirks *quirks_find(struct slice name);

/* Must a request in OpenAI's own dialect be written anew for this server, because it renames,
 * refuses or ignores something in it? Else the client's bytes can be passed on as they are. Worth
 * asking where the operator has named the server; members the model has no place for do not
 * count, nor do tool calls without results, which such a server refuses by itself. */
bool quirks_touch(const struct quirks *q, const struct chat *c);

#endif

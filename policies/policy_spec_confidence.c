/* `confidence`: validators, samples and the rest by which an answer is judged. Constant data, read
 * by way of spec_policy. */
#include "policies/policy_spec_int.h"

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

static const struct spec_word hold_words[] = {{"tokens", POLICY_HOLD_TOKENS, false},
                                              {"whole", POLICY_HOLD_WHOLE, false},
                                              {"off", POLICY_HOLD_OFF, false},
                                              {NULL, 0, false}};
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
SECTION(confidence, policy_confidence, "confidence", "How an answer is judged.");

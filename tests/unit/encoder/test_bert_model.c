/* Models by their folders: small ones in the layouts of four real models, folders that are wrong in
 * one way each, and all-MiniLM-L6-v2 itself where it is at hand. */
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include "model_folder.h"
#include "router/encoder/bert_model.h"

#define REAL ".cache/models/all-minilm-l6-v2"

static char dir[64];

static int set_up(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/test_bert_model.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    model_folder_remove(dir);
    return 0;
}

static struct bert_model *open_it(void)
{
    struct bert_model *m = NULL;
    struct err_text t = {""};
    if (bert_model_open(dir, &m, &t) != ERR_OK)
        fail_msg("%s", t.s);
    return m;
}

static void expect_refusal(const char *message)
{
    struct bert_model *m = NULL;
    struct err_text t = {""};
    assert_int_equal(bert_model_open(dir, &m, &t), ERR_BAD_WEIGHTS);
    assert_null(m);
    if (!strstr(t.s, message) || !strstr(t.s, dir))
        fail_msg("expected '%s' in '%s'", message, t.s);
}

/* ---- layouts ---- */

static void test_minilm(void **state)
{
    (void)state;
    model_folder_write(dir, LAYOUT_MINILM);
    struct bert_model *m = open_it();
    assert_string_equal(m->name, strrchr(dir, '/') + 1);
    assert_int_equal(m->layers, FOLDER_LAYERS);
    assert_int_equal(m->hidden, FOLDER_HIDDEN);
    assert_int_equal(m->feed_forward, FOLDER_FEED);
    assert_int_equal(m->max_positions, FOLDER_POSITIONS);
    assert_int_equal(m->max_tokens, FOLDER_MAX_TOKENS);
    assert_int_equal(m->activation, BERT_GELU_ERF);
    assert_int_equal(m->pooling, BERT_POOL_MEAN);
    assert_true(m->normalize && m->lower_case && m->strip_accents && m->split_cjk);
    assert_string_equal(m->prefix, "");
    bert_model_free(m);
}

static struct safetensors *weights(void)
{
    char path[128];
    struct safetensors *s;
    struct err_text t;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    assert_int_equal(safetensors_open(path, &s, &t), ERR_OK);
    return s;
}

static void expect_equal(const struct safetensors *s, const char *name, const float *got)
{
    float want[256];
    struct err_text t;
    const struct tensor *x = safetensors_find(s, slice_str(name));
    assert_non_null(x);
    assert_true(x->count <= 256);
    assert_int_equal(tensor_read_f32(x, want, &t), ERR_OK);
    assert_memory_equal(got, want, x->count * sizeof *want);
}

/* Every number is where the contract says: stacked, with the token type in the positions. */
static void test_placement(void **state)
{
    (void)state;
    model_folder_write(dir, LAYOUT_MINILM);
    struct bert_model *m = open_it();
    struct safetensors *s = weights();
    const size_t h = FOLDER_HIDDEN;
    expect_equal(s, "embeddings.word_embeddings.weight", m->word);
    expect_equal(s, "embeddings.LayerNorm.weight", m->embed_gain);
    expect_equal(s, "embeddings.LayerNorm.bias", m->embed_shift);
    const struct bert_layer *l = &m->layer[1];
    expect_equal(s, "encoder.layer.1.attention.self.query.weight", l->qkv_weight);
    expect_equal(s, "encoder.layer.1.attention.self.key.weight", l->qkv_weight + h * h);
    expect_equal(s, "encoder.layer.1.attention.self.value.weight", l->qkv_weight + 2 * h * h);
    expect_equal(s, "encoder.layer.1.attention.self.value.bias", l->qkv_bias + 2 * h);
    expect_equal(s, "encoder.layer.1.attention.output.dense.weight", l->out_weight);
    expect_equal(s, "encoder.layer.1.attention.output.LayerNorm.bias", l->attn_shift);
    expect_equal(s, "encoder.layer.1.intermediate.dense.bias", l->up_bias);
    expect_equal(s, "encoder.layer.1.output.dense.weight", l->down_weight);
    expect_equal(s, "encoder.layer.1.output.LayerNorm.weight", l->ffn_gain);
    float types[2 * FOLDER_HIDDEN], positions[FOLDER_POSITIONS * FOLDER_HIDDEN];
    struct err_text t;
    assert_int_equal(
        tensor_read_f32(safetensors_find(s, SLICE("embeddings.token_type_embeddings.weight")),
                        types, &t),
        ERR_OK);
    assert_int_equal(
        tensor_read_f32(safetensors_find(s, SLICE("embeddings.position_embeddings.weight")),
                        positions, &t),
        ERR_OK);
    for (size_t i = 0; i < FOLDER_POSITIONS * h; i++)
        assert_true(m->position[i] == positions[i] + types[i % h]);
    safetensors_free(s);
    bert_model_free(m);
}

/* bge: [CLS] pooling, do_lower_case twice. gte: 16 bits, names with "bert.". e5: a prefix. */
static void test_other_layouts(void **state)
{
    (void)state;
    model_folder_write(dir, LAYOUT_BGE);
    struct bert_model *bge = open_it();
    assert_int_equal(bge->pooling, BERT_POOL_CLS);
    model_folder_remove(dir);
    set_up(NULL);
    model_folder_write(dir, LAYOUT_GTE);
    struct bert_model *gte = open_it();
    assert_int_equal(gte->pooling, BERT_POOL_MEAN);
    model_folder_remove(dir);
    set_up(NULL);
    model_folder_write(dir, LAYOUT_E5);
    struct bert_model *e5 = open_it();
    assert_string_equal(e5->prefix, "query: ");
    /* The same numbers whether stored in 16 or 32 bits; four spaces that never meet. */
    assert_memory_equal(bge->word, gte->word, FOLDER_VOCABULARY * FOLDER_HIDDEN * sizeof(float));
    assert_memory_equal(bge->layer[1].down_weight, gte->layer[1].down_weight,
                        FOLDER_HIDDEN * FOLDER_FEED * sizeof(float));
    assert_false(fingerprint_eq(bge->space, gte->space));
    assert_false(fingerprint_eq(bge->space, e5->space));
    bert_model_free(bge);
    bert_model_free(gte);
    bert_model_free(e5);
}

static struct fingerprint space_now(void)
{
    struct bert_model *m = open_it();
    struct fingerprint f = m->space;
    bert_model_free(m);
    return f;
}

static void test_fingerprint_follows(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text;
    } changes[] = {
        {"sentence_bert_config.json", "{\"max_seq_length\": 12}"},
        {"weir.json", "{\"prefix\": \"query: \"}"},
        {"tokenizer_config.json", "{\"do_lower_case\": true, \"strip_accents\": false}"},
        {"vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nd\n##a\n##b\n##c\n"},
        {"1_Pooling/config.json",
         "{\"word_embedding_dimension\": 8, \"pooling_mode_cls_token\": true}"},
        {"modules.json", "[{\"path\": \"\", \"type\": \"x.Transformer\"},"
                         " {\"path\": \"1_Pooling\", \"type\": \"x.Pooling\"}]"},
    };
    model_folder_write(dir, LAYOUT_MINILM);
    struct fingerprint last = space_now();
    assert_true(fingerprint_eq(last, space_now()));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        model_folder_put(dir, changes[i].file, changes[i].text);
        struct fingerprint now = space_now();
        assert_false(fingerprint_eq(last, now));
        last = now;
    }
    model_folder_put(dir, "tokenizer.json", "{\"truncation\": {\"max_length\": 3}}");
    assert_true(fingerprint_eq(last, space_now())); /* never read */
    model_folder_put(dir, "tokenizer.json", NULL);
}

static void test_options_of_the_folder(void **state)
{
    (void)state;
    model_folder_write(dir, LAYOUT_MINILM);
    model_folder_put(dir, "sentence_bert_config.json", NULL);
    struct bert_model *m = open_it();
    assert_int_equal(m->max_tokens, FOLDER_POSITIONS);
    bert_model_free(m);
    model_folder_put(dir, "tokenizer_config.json",
                     "{\"do_lower_case\": false, \"model_max_length\": 10}");
    model_folder_put(dir, "vocab.txt",
                     "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n##c");
    model_folder_put(dir, "config_sentence_transformers.json",
                     "{\"prompts\": {\"query\": \"Q: \", \"passage\": \"P: \"}}");
    m = open_it();
    assert_int_equal(m->max_tokens, 10);
    assert_false(m->lower_case || m->strip_accents);
    assert_string_equal(m->prefix, "Q: ");
    bert_model_free(m);
    model_folder_put(dir, "config_sentence_transformers.json",
                     "{\"prompts\": {\"query\": \"Q: \", \"passage\": \"P: \"},"
                     " \"default_prompt_name\": \"passage\"}");
    m = open_it();
    assert_string_equal(m->prefix, "P: ");
    bert_model_free(m);
    model_folder_put(dir, "weir.json", "{\"prefix\": \"\"}");
    m = open_it();
    assert_string_equal(m->prefix, "");
    bert_model_free(m);
}

/* ---- what is refused ---- */

#define CONFIG(act, hidden, heads, layers, vocab, more)                                            \
    "{\"model_type\": \"bert\", \"hidden_act\": \"" act "\", \"hidden_size\": " hidden             \
    ", \"intermediate_size\": 16, \"layer_norm_eps\": 1e-12, \"max_position_embeddings\": 20,"     \
    "\"num_attention_heads\": " heads ", \"num_hidden_layers\": " layers                           \
    ", \"type_vocab_size\": 2, \"vocab_size\": " vocab more "}"
#define MODULE(type, path)                                                                         \
    "{\"type\": \"sentence_transformers.models." type "\", \"path\": \"" path "\"}"

static void test_broken_folders(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *message;
    } rows[] = {
        {"config.json", NULL, "/config.json: No such file"},
        {"config.json", "{", "config.json: not valid JSON at byte 1"},
        {"config.json", "[]", "config.json: not a JSON object"},
        {"config.json", "{\"model_type\": \"roberta\"}", "'model_type' is \"roberta\""},
        {"config.json", "{\"model_type\": \"bert\", \"model_type\": \"bert\"}",
         "'model_type' stands twice"},
        {"config.json", CONFIG("relu", "8", "2", "2", "11", ""), "'hidden_act' is \"relu\""},
        {"config.json", CONFIG("gelu", "8", "3", "2", "11", ""), "'hidden_size' 8 is no multiple"},
        {"config.json", CONFIG("gelu", "0", "1", "2", "11", ""), "'hidden_size' is 0, not within"},
        {"config.json", CONFIG("gelu", "9999", "1", "2", "11", ""), "'hidden_size' is 9999"},
        {"config.json", CONFIG("gelu", "8.5", "1", "2", "11", ""),
         "'hidden_size' is not an integer"},
        {"config.json", CONFIG("gelu", "1e309", "1", "2", "11", ""),
         "'hidden_size' is not an integer"},
        {"config.json", CONFIG("gelu", "8", "2", "49", "11", ""), "'num_hidden_layers' is 49"},
        {"config.json", CONFIG("gelu", "8", "2", "-1", "11", ""), "'num_hidden_layers' is -1"},
        {"config.json", CONFIG("gelu", "8", "2", "2", "12", ""), "vocab.txt: 11 lines"},
        {"config.json", CONFIG("gelu", "8", "2", "2", "99999999", ""), "'vocab_size' is 99999999"},
        {"config.json", CONFIG("gelu", "8", "2", "3", "11", ""),
         "'encoder.layer.2.attention.self.query.weight' is missing"},
        {"config.json", CONFIG("gelu", "8", "2", "1", "11", ""),
         "'encoder.layer.1.attention.self.query.weight' is no part"},
        {"config.json", CONFIG("gelu", "16", "2", "2", "11", ""),
         "'word_embedding_dimension' is 8"},
        {"config.json",
         CONFIG("gelu", "8", "2", "2", "11", ", \"position_embedding_type\": \"relative_key\""),
         "'position_embedding_type' is \"relative_key\""},
        {"config.json", CONFIG("gelu", "8", "2", "2", "11", ", \"is_decoder\": true"),
         "'is_decoder'"},
        {"config.json",
         CONFIG("gelu", "8", "2", "2", "11", ", \"quantization_config\": {\"bits\": 4}"),
         "'quantization_config'"},
        {"modules.json", NULL, "modules.json: missing; how the model's vectors are pooled"},
        {"modules.json", "{}", "modules.json: not a JSON array"},
        {"modules.json", "[1]", "module 0 is not an object"},
        {"modules.json", "[" MODULE("Transformer", "") "]", "no Pooling module"},
        {"modules.json", "[" MODULE("WordEmbeddings", "") "]", "module 0 is a WordEmbeddings"},
        {"modules.json",
         "[" MODULE("Transformer", "") "," MODULE("Pooling", "1_Pooling") "," MODULE("Dense",
                                                                                     "2_Dense") "]",
         "module 2 is a Dense"},
        {"modules.json", "[" MODULE("Transformer", "0_T") "," MODULE("Pooling", "1_Pooling") "]",
         "the Transformer lies in '0_T'"},
        {"modules.json", "[" MODULE("Transformer", "") "," MODULE("Pooling", "../x") "]",
         "'../x' is not a folder's name"},
        {"1_Pooling/config.json", NULL, "1_Pooling/config.json: No such file"},
        {"1_Pooling/config.json",
         "{\"word_embedding_dimension\": 8, \"pooling_mode_max_tokens\": true}",
         "'pooling_mode_max_tokens' is true"},
        {"1_Pooling/config.json", "{\"word_embedding_dimension\": 8}", "none of pooling_mode"},
        {"1_Pooling/config.json",
         "{\"word_embedding_dimension\": 8, \"pooling_mode_cls_token\": true,"
         " \"pooling_mode_mean_tokens\": true}",
         "both of pooling_mode"},
        {"tokenizer_config.json", NULL, "tokenizer_config.json: No such file"},
        {"tokenizer_config.json", "{\"tokenizer_class\": \"XLMRobertaTokenizer\"}",
         "'tokenizer_class' is \"XLMRobertaTokenizer\""},
        {"tokenizer_config.json", "{\"unk_token\": \"<unk>\"}", "'unk_token' is \"<unk>\""},
        {"tokenizer_config.json", "{\"do_lower_case\": 1}", "'do_lower_case' is not true or false"},
        {"sentence_bert_config.json", "{\"max_seq_length\": 21}", "'max_seq_length' is 21"},
        {"sentence_bert_config.json", "{\"max_seq_length\": \"16\"}", "not an integer"},
        {"config_sentence_transformers.json", "{\"default_prompt_name\": \"q\", \"prompts\": {}}",
         "'q' is missing"},
        {"weir.json", "{\"prefix\": \"a\\u0000b\"}", "'prefix' holds a control character"},
        {"weir.json", "{\"prefix\": 5}", "'prefix' is not a string"},
        {"vocab.txt", NULL, "vocab.txt: No such file"},
        {"vocab.txt", "", "vocab.txt: 0 lines, config.json's vocab_size is 11"},
        {"model.safetensors", NULL, "model.safetensors: No such file"},
        {"model.safetensors", "x", "model.safetensors: 1 bytes are too few"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        set_up(NULL);
        model_folder_write(dir, LAYOUT_MINILM);
        if (!rows[i].text)
            model_folder_put(dir, rows[i].file, "x"); /* so that there is something to remove */
        model_folder_put(dir, rows[i].file, rows[i].text);
        expect_refusal(rows[i].message);
        model_folder_remove(dir);
    }
    set_up(NULL);
}

static void test_broken_tensors(void **state)
{
    (void)state;
    static const float numbers[FOLDER_HIDDEN + 1] = {0, 0, 0, INFINITY};
    struct tensor x = {.name = SLICE("encoder.layer.1.output.LayerNorm.bias"),
                       .dtype = TENSOR_F32,
                       .rank = 1,
                       .shape = {FOLDER_HIDDEN},
                       .data = {(const char *)numbers, sizeof(float) * FOLDER_HIDDEN}};
    const char *name = "encoder.layer.1.output.LayerNorm.bias";
    model_folder_write(dir, LAYOUT_MINILM);
    model_folder_swap(dir, LAYOUT_MINILM, name, NULL);
    expect_refusal("'encoder.layer.1.output.LayerNorm.bias' is missing");
    model_folder_swap(dir, LAYOUT_MINILM, name, &x);
    expect_refusal("LayerNorm.bias': value 3 is not a finite");
    x.shape[0]++;
    x.data.n += sizeof(float);
    model_folder_swap(dir, LAYOUT_MINILM, name, &x);
    expect_refusal("does not have the shape [8]");
    x.rank = 2;
    x.shape[0] = 1;
    x.shape[1] = FOLDER_HIDDEN;
    x.data.n -= sizeof(float);
    model_folder_swap(dir, LAYOUT_MINILM, name, &x);
    expect_refusal("does not have the shape [8]");
    x.dtype = TENSOR_I32;
    x.rank = 1;
    x.shape[0] = FOLDER_HIDDEN;
    model_folder_swap(dir, LAYOUT_MINILM, name, &x);
    expect_refusal("dtype I32");
    /* A stranger in the file would be a part of the computation that is left out. */
    x.name = SLICE("encoder.layer.1.adapter.weight");
    model_folder_swap(dir, LAYOUT_MINILM, "pooler.dense.bias", &x);
    expect_refusal("'encoder.layer.1.adapter.weight' is no part of a BERT encoder of 2 layers");
}

/* ---- the real one ---- */

static void test_real(void **state)
{
    (void)state;
    struct bert_model *m;
    struct err_text t;
    if (access(REAL "/model.safetensors", R_OK) != 0) {
        print_message("skipped: no " REAL " (deploy/setup.sh --test fetches it)\n");
        skip();
    }
    assert_int_equal(bert_model_open(REAL "/", &m, &t), ERR_OK);
    assert_string_equal(m->name, "all-minilm-l6-v2");
    assert_int_equal(m->layers, 6);
    assert_int_equal(m->hidden, 384);
    assert_int_equal(m->heads, 12);
    assert_int_equal(m->max_tokens, 256);
    assert_int_equal(m->vocab_size, 30522);
    assert_int_equal(m->pooling, BERT_POOL_MEAN);
    assert_true(m->normalize && m->lower_case && m->strip_accents);
    assert_true(fabsf(m->layer_norm_eps - 1e-12F) < 1e-18F);
    /* Whoever changes this makes every stored vector and every trained head foreign. */
    char hex[FINGERPRINT_TEXT_BYTES];
    fingerprint_text(m->space, hex);
    assert_string_equal(hex, "8a48ada8f32244d08ca049d0ac7c101c");
    bert_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_minilm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_placement, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_layouts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fingerprint_follows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_options_of_the_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_folders, NULL, tear_down),
        cmocka_unit_test_setup_teardown(test_broken_tensors, set_up, tear_down),
        cmocka_unit_test(test_real),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

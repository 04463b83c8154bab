/* A model's own description of itself. One function per file of the folder; each leaves in
 * bert_config what later ones need. Called by bert_model_open.
 *
 * Three limits on length usually contradict each other: tokenizer.json's truncation block (which
 * sentence-transformers overrides, and which is not read here), sentence_bert_config.json's
 * max_seq_length (which counts) and the number of positions (which bounds). */
#include "router/encoder/bert_config.h"

#include <stdio.h>
#include "router/encoder/json_file.h"

/* Bounds: no model of this family comes near them, and products of two stay far below 2^63. */
enum {
    MAX_LAYERS = 48,
    MAX_HIDDEN = 4096,
    MAX_FEED_FORWARD = 16384,
    MAX_VOCABULARY = 1 << 20,
    MAX_POSITIONS = 8192,
    MAX_MODULES = 8,
};

#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum err e_ = (call);                                                                      \
        if (e_ != ERR_OK)                                                                          \
            return e_;                                                                             \
    } while (0)

/* ---- config.json: the transformer ---- */

static enum err read_activation(struct json_file *f, struct bert_config *c)
{
    static const struct {
        const char *name;
        enum bert_activation activation;
    } known[] = {
        {"gelu", BERT_GELU_ERF},
        {"gelu_new", BERT_GELU_TANH},
        {"gelu_pytorch_tanh", BERT_GELU_TANH},
    };
    char name[64];
    TRY(json_file_string(f, f->root, "hidden_act", true, name, sizeof name));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) {
            c->activation = known[i].activation;
            return ERR_OK;
        }
    return json_file_refuse(f,
                            "'hidden_act' is \"%s\": this encoder computes gelu, gelu_new and "
                            "gelu_pytorch_tanh",
                            name);
}

/* A key whose other values would ask for another computation. */
static enum err want_string(struct json_file *f, const char *key, bool required, const char *only)
{
    char s[64];
    snprintf(s, sizeof s, "%s", only);
    TRY(json_file_string(f, f->root, key, required, s, sizeof s));
    if (strcmp(s, only) != 0)
        return json_file_refuse(f, "'%s' is \"%s\": this encoder computes \"%s\" only", key, s,
                                only);
    return ERR_OK;
}

static enum err want_false(struct json_file *f, const char *key)
{
    bool b = false;
    TRY(json_file_bool(f, f->root, key, false, &b));
    return b ? json_file_refuse(f, "'%s' is true: this encoder does not compute that", key)
             : ERR_OK;
}

static enum err read_transformer(struct json_file *f, struct bert_config *c)
{
    double eps;
    struct json_value v;
    const struct json_value root = f->root;
    TRY(want_string(f, "model_type", true, "bert"));
    TRY(want_string(f, "position_embedding_type", false, "absolute"));
    TRY(want_false(f, "is_decoder"));
    TRY(want_false(f, "add_cross_attention"));
    if (json_file_member(root, "quantization_config", &v))
        return json_file_refuse(f, "'quantization_config': quantised weights are not read");
    if (json_file_member(root, "pruned_heads", &v) && v.text.n > 2)
        return json_file_refuse(f, "'pruned_heads': pruned models are not read");
    TRY(read_activation(f, c));
    TRY(json_file_int(f, root, "num_hidden_layers", true, 1, MAX_LAYERS, &c->layers));
    TRY(json_file_int(f, root, "hidden_size", true, 1, MAX_HIDDEN, &c->hidden));
    TRY(json_file_int(f, root, "num_attention_heads", true, 1, c->hidden, &c->heads));
    if (c->hidden % c->heads != 0)
        return json_file_refuse(f, "'hidden_size' %d is no multiple of 'num_attention_heads' %d",
                                c->hidden, c->heads);
    TRY(json_file_int(f, root, "intermediate_size", true, 1, MAX_FEED_FORWARD, &c->feed_forward));
    TRY(json_file_int(f, root, "vocab_size", true, 1, MAX_VOCABULARY, &c->vocab_size));
    TRY(json_file_int(f, root, "max_position_embeddings", true, 2, MAX_POSITIONS,
                      &c->max_positions));
    TRY(json_file_int(f, root, "type_vocab_size", true, 1, 16, &c->token_types));
    TRY(json_file_number(f, root, "layer_norm_eps", true, 1e-15, 1e-2, &eps));
    c->layer_norm_eps = (float)eps;
    return ERR_OK;
}

static enum err read_config(const char *folder, struct bert_config *c, struct err_text *t)
{
    struct json_file f;
    enum err e = json_file_open(&f, folder, "config.json", JSON_OBJECT, t);
    if (e != ERR_OK)
        return ERR_BAD_WEIGHTS;
    e = read_transformer(&f, c);
    json_file_close(&f);
    return e;
}

/* ---- modules.json: transformer, pooling, perhaps normalisation, in that order ---- */

struct modules {
    char pooling[128]; /* the pooling module's folder */
    bool normalize;
};

/* The class without its package: sentence-transformers has moved its modules between packages. */
static const char *class_of(const char *type)
{
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

/* A folder directly below the model's. */
static bool plain_name(const char *s)
{
    return s[0] && s[0] != '.' &&
           s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")] ==
               '\0';
}

static enum err read_module(struct json_file *f, struct json_value module, int index,
                            struct modules *out)
{
    static const char *const order[] = {"Transformer", "Pooling", "Normalize"};
    char type[128], path[128] = "";
    if (module.type != JSON_OBJECT)
        return json_file_refuse(f, "module %d is not an object", index);
    TRY(json_file_string(f, module, "type", true, type, sizeof type));
    TRY(json_file_string(f, module, "path", false, path, sizeof path));
    if (index > 2 || strcmp(class_of(type), order[index]) != 0)
        return json_file_refuse(f,
                                "module %d is a %s: this encoder computes Transformer, Pooling "
                                "and, at most, Normalize",
                                index, class_of(type));
    if (index == 0 && path[0])
        return json_file_refuse(f,
                                "the Transformer lies in '%s': only the model's folder itself "
                                "is read",
                                path);
    if (index == 1 && !plain_name(path))
        return json_file_refuse(f, "the Pooling module's path '%s' is not a folder's name", path);
    if (index == 1)
        snprintf(out->pooling, sizeof out->pooling, "%s", path);
    out->normalize = index == 2;
    return ERR_OK;
}

static enum err read_modules(const char *folder, struct modules *out, struct err_text *t)
{
    struct json_file f;
    struct json_iter it;
    struct json_member m;
    int n = 0;
    enum err e = json_file_open(&f, folder, "modules.json", JSON_ARRAY, t);
    if (e == ERR_NOT_FOUND)
        err_say(t, "%s/modules.json: missing; how the model's vectors are pooled is not known",
                folder);
    if (e != ERR_OK)
        return ERR_BAD_WEIGHTS;
    for (json_iter_init(&it, f.root); e == ERR_OK && json_iter_next(&it, &m);)
        e = read_module(&f, m.value, n++, out);
    if (e == ERR_OK && n < 2)
        e = json_file_refuse(&f, "there is no Pooling module");
    json_file_close(&f);
    return e;
}

/* ---- 1_Pooling/config.json ---- */

static enum err read_pooling_modes(struct json_file *f, struct bert_config *c)
{
    static const char *const other[] = {
        "pooling_mode_max_tokens", "pooling_mode_mean_sqrt_len_tokens",
        "pooling_mode_weightedmean_tokens", "pooling_mode_lasttoken"};
    bool cls = false, mean = false;
    int dimension;
    TRY(json_file_int(f, f->root, "word_embedding_dimension", true, 1, MAX_HIDDEN, &dimension));
    if (dimension != c->hidden)
        return json_file_refuse(f, "'word_embedding_dimension' is %d, the model's is %d", dimension,
                                c->hidden);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        TRY(want_false(f, other[i]));
    TRY(json_file_bool(f, f->root, "pooling_mode_cls_token", false, &cls));
    TRY(json_file_bool(f, f->root, "pooling_mode_mean_tokens", false, &mean));
    if (cls == mean)
        return json_file_refuse(f, "%s of pooling_mode_cls_token and pooling_mode_mean_tokens true",
                                cls ? "both" : "none");
    c->pooling = cls ? BERT_POOL_CLS : BERT_POOL_MEAN;
    bool include = true;
    TRY(json_file_bool(f, f->root, "include_prompt", false, &include));
    return include || c->pooling == BERT_POOL_CLS
               ? ERR_OK
               : json_file_refuse(f, "'include_prompt' is false: this encoder pools over the "
                                     "prompt too");
}

static enum err read_pooling(const char *folder, const struct modules *modules,
                             struct bert_config *c, struct err_text *t)
{
    struct json_file f;
    char name[160];
    snprintf(name, sizeof name, "%s/config.json", modules->pooling);
    enum err e = json_file_open(&f, folder, name, JSON_OBJECT, t);
    if (e != ERR_OK)
        return ERR_BAD_WEIGHTS;
    e = read_pooling_modes(&f, c);
    json_file_close(&f);
    return e;
}

/* ---- tokenizer_config.json ---- */

/* A special token stands as its text or, in newer files, as an object with `content`. */
static enum err want_token(struct json_file *f, const char *key, const char *only)
{
    struct json_value v;
    char s[64];
    if (!json_file_member(f->root, key, &v))
        return ERR_OK;
    if (v.type == JSON_OBJECT)
        TRY(json_file_string(f, v, "content", true, s, sizeof s));
    else
        TRY(json_file_string(f, f->root, key, true, s, sizeof s));
    return strcmp(s, only) == 0 ? ERR_OK
                                : json_file_refuse(f, "'%s' is \"%s\", not \"%s\"", key, s, only);
}

static enum err read_tokenizer_keys(struct json_file *f, struct bert_config *c, double *max_length)
{
    char class_name[64] = "BertTokenizer";
    bool basic = true;
    TRY(json_file_string(f, f->root, "tokenizer_class", false, class_name, sizeof class_name));
    if (strcmp(class_name, "BertTokenizer") != 0 && strcmp(class_name, "BertTokenizerFast") != 0)
        return json_file_refuse(f, "'tokenizer_class' is \"%s\": only BertTokenizer is read",
                                class_name);
    TRY(json_file_bool(f, f->root, "do_basic_tokenize", false, &basic));
    if (!basic)
        return json_file_refuse(f, "'do_basic_tokenize' is false: not supported");
    TRY(want_token(f, "unk_token", "[UNK]"));
    TRY(want_token(f, "cls_token", "[CLS]"));
    TRY(want_token(f, "sep_token", "[SEP]"));
    /* Absent keys have the defaults of Hugging Face's BertTokenizer. */
    c->lower_case = c->split_cjk = true;
    TRY(json_file_bool(f, f->root, "do_lower_case", false, &c->lower_case));
    TRY(json_file_bool(f, f->root, "tokenize_chinese_chars", false, &c->split_cjk));
    c->strip_accents = c->lower_case; /* null means "as lower case" */
    TRY(json_file_bool(f, f->root, "strip_accents", false, &c->strip_accents));
    /* Files without a limit hold 1e30 here. */
    return json_file_number(f, f->root, "model_max_length", false, 2, 1e31, max_length);
}

static enum err read_tokenizer(const char *folder, struct bert_config *c, double *max_length,
                               struct err_text *t)
{
    struct json_file f;
    enum err e = json_file_open(&f, folder, "tokenizer_config.json", JSON_OBJECT, t);
    if (e != ERR_OK)
        return ERR_BAD_WEIGHTS;
    e = read_tokenizer_keys(&f, c, max_length);
    json_file_close(&f);
    return e;
}

/* ---- sentence_bert_config.json ---- */

/* The model's length is max_seq_length; without it, as in sentence-transformers, the smaller of
 * positions and the tokenizer's model_max_length. */
static enum err read_sentence_keys(struct json_file *f, struct bert_config *c)
{
    bool lower = false;
    TRY(json_file_int(f, f->root, "max_seq_length", false, 3, c->max_positions, &c->max_tokens));
    TRY(json_file_bool(f, f->root, "do_lower_case", false, &lower));
    if (lower && !c->lower_case)
        return json_file_refuse(f, "'do_lower_case' is true, in tokenizer_config.json it is false");
    return ERR_OK;
}

static enum err read_sentence(const char *folder, struct bert_config *c, double tokenizer_max,
                              struct err_text *t)
{
    struct json_file f;
    c->max_tokens = tokenizer_max < c->max_positions ? (int)tokenizer_max : c->max_positions;
    enum err e = json_file_open(&f, folder, "sentence_bert_config.json", JSON_OBJECT, t);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    e = read_sentence_keys(&f, c);
    json_file_close(&f);
    return e;
}

/* ---- prompts ---- */

/* default_prompt_name, else a prompt named "query": what encode_query of sentence-transformers puts
 * before a text. */
static enum err read_prompts(struct json_file *f, struct bert_config *c)
{
    struct json_value prompts;
    char name[64] = "";
    TRY(json_file_string(f, f->root, "default_prompt_name", false, name, sizeof name));
    if (!json_file_member(f->root, "prompts", &prompts))
        return name[0] ? json_file_refuse(f, "'default_prompt_name' without 'prompts'") : ERR_OK;
    if (prompts.type != JSON_OBJECT)
        return json_file_refuse(f, "'prompts' is not an object");
    return json_file_string(f, prompts, name[0] ? name : "query", name[0] != '\0', c->prefix,
                            sizeof c->prefix);
}

static enum err read_prefix(struct json_file *f, struct bert_config *c)
{
    return json_file_string(f, f->root, "prefix", false, c->prefix, sizeof c->prefix);
}

static enum err read_optional(const char *folder, const char *name, struct bert_config *c,
                              enum err (*read)(struct json_file *, struct bert_config *),
                              struct err_text *t)
{
    struct json_file f;
    enum err e = json_file_open(&f, folder, name, JSON_OBJECT, t);
    if (e != ERR_OK)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    e = read(&f, c);
    json_file_close(&f);
    return e;
}

/* ---- all of it ---- */

enum err bert_config_read(const char *folder, struct bert_config *out, struct err_text *t)
{
    struct modules modules = {.normalize = false};
    double tokenizer_max = MAX_POSITIONS;
    *out = (struct bert_config){.prefix = ""};
    TRY(read_config(folder, out, t));
    TRY(read_modules(folder, &modules, t));
    out->normalize = modules.normalize;
    TRY(read_pooling(folder, &modules, out, t));
    TRY(read_tokenizer(folder, out, &tokenizer_max, t));
    TRY(read_sentence(folder, out, tokenizer_max, t));
    TRY(read_optional(folder, "config_sentence_transformers.json", out, read_prompts, t));
    /* The operator's word, written by 'weir model fetch' for models whose own files do not hold
     * the prefix that their authors ask for (e5). */
    return read_optional(folder, "weir.json", out, read_prefix, t);
}

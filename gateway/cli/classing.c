/* See the header. Owns the encoder it opens. Called by cmd_explain.c and cmd_classify.c. */
#include "gateway/cli/classing.h"

#include <stdlib.h>
#include "base/mem.h"
#include "router/embedder.h"
#include "router/encoder/model_store.h"

enum err classing_open(struct classing *k, const struct policy_encoder *e,
                       const struct policy_class *classes, size_t class_count, struct err_text *t)
{
    struct classifier_options co = {.encoder = e, .classes = classes, .class_count = class_count};
    char folder[MODEL_STORE_PATH_BYTES];
    struct encoder_options opt;
    enum err err = ERR_OK;

    *k = (struct classing){.static_first = e->static_first};
    if (strcmp(e->model, POLICY_ENCODER_STATIC) != 0) {
        err = embedder_options(e, folder, sizeof folder, &opt, t);
        if (err == ERR_OK)
            err = encoder_open(&opt, &k->encoder, t);
        if (err == ERR_OK) {
            size_t dim = (size_t)encoder_facts(k->encoder).dim;

            k->session = encoder_session_new(k->encoder);
            k->embedding = mem_zalloc(dim, sizeof *k->embedding);
            k->features = mem_zalloc(2 * dim, sizeof *k->features);
        }
    }
    co.open = k->encoder;
    if (err == ERR_OK)
        err = classifier_new(&co, &k->classifier, t);
    if (err != ERR_OK)
        classing_close(k);
    return err;
}

void classing_close(struct classing *k)
{
    classifier_unref(k->classifier);
    encoder_session_free(k->session);
    encoder_free(k->encoder);
    free(k->embedding);
    free(k->features);
    *k = (struct classing){0};
}

enum err classing_run(struct classing *k, struct slice text, struct classification *out,
                      struct err_text *t)
{
    struct encoder_vectors v = {.embedding = k->embedding, .features = k->features};
    enum err err;

    classifier_static(k->classifier, text, out);
    if (!k->encoder || text.n == 0 ||
        (k->static_first != POLICY_OFF && out->by != CLASSIFIED_NOT &&
         (double)out->confidence >= k->static_first))
        return ERR_OK;
    err = encoder_embed(k->session, &text, 1, &v, NULL, t);
    if (err == ERR_OK)
        classifier_full(k->classifier, text, v.embedding, v.features, out);
    return err;
}

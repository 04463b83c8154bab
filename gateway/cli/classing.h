/* Classifying without a server: what explain and classify share. Opens what a policy asks for,
 * encodes on the calling thread. Single-threaded. */
#ifndef GATEWAY_CLI_CLASSING_H
#define GATEWAY_CLI_CLASSING_H

#include "router/classifier.h"

struct classing {
    struct encoder *encoder; /* owned; NULL: the static tier alone */
    struct encoder_session *session;
    struct classifier *classifier; /* owned reference */
    float *embedding, *features;   /* owned: of the last text; NULL without an encoder */
    double static_first;           /* of the policy */
};

/* ERR_NOT_FOUND and the others of embedder_options, encoder_open and classifier_new, with t. */
enum err classing_open(struct classing *k, const struct policy_encoder *e,
                       const struct policy_class *classes, size_t class_count,
                       struct err_text *t) MUST_CHECK;
void classing_close(struct classing *k);
/* As the gateway would: the static tier first where the policy says so. */
enum err classing_run(struct classing *k, struct slice text, struct classification *out,
                      struct err_text *t) MUST_CHECK;

#endif

/* The readers of policy_types, a function for each spec_type, and what they share. Only for
 * policy_types*.c. Single-threaded. */
#ifndef POLICIES_POLICY_TYPES_INT_H
#define POLICIES_POLICY_TYPES_INT_H

#include "policies/policy_bind_int.h"

#define FIELD(type) ((type *)(void *)((char *)base + k->at))
#define LENGTH()    ((size_t *)(void *)((char *)base + k->count_at))

/* The value, quoted for a message. */
const char *bind_shown(struct binder *b, const struct place *at);
/* A scalar, or an error that says what is wanted. */
bool bind_scalar(struct binder *b, const struct place *at, const char *wanted);
/* Text for a program or a model: as written, so that 0.10 stays 0.10; may be empty. */
bool bind_verbatim(struct binder *b, const struct place *at);
/* Is it that word, and does the flag allow it? */
bool bind_is_word(const struct place *at, unsigned flags, unsigned flag, struct slice word);
/* none and auto, where they are allowed, are POLICY_NONE. */
bool bind_is_open(const struct spec_key *k, const struct place *at);
/* A single value stands for a list of one. Returns how many; item i through bind_list_item. */
size_t bind_list_length(struct binder *b, const struct place *at, const char *wanted);
struct place *bind_list_item(struct binder *b, struct place *at, size_t i);
bool bind_repeated(struct binder *b, struct names *seen, const struct place *at, struct slice text,
                   size_t i);

typedef void bind_fn(struct binder *b, const struct spec_key *k, struct place *at, void *base);
/* policy_types_number */
bind_fn bind_int, bind_duration, bind_size, bind_time, bind_usd, bind_fraction, bind_bool;
/* policy_types_text */
bind_fn bind_string, bind_one_name, bind_path, bind_enum, bind_word, bind_flags, bind_address,
    bind_proxy;
/* policy_types_list */
bind_fn bind_names, bind_origins, bind_endpoints, bind_prompts;
/* policy_types_pairs */
bind_fn bind_headers, bind_strings, bind_env;
/* policy_types_object */
bind_fn bind_in_place, bind_map, bind_list, bind_aliases, bind_backend, bind_model, bind_steps,
    bind_prices;
/* policy_types_key */
bind_fn bind_key_env, bind_key_file, bind_tenant_keys;

#endif

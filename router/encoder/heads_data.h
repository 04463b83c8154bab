/* The bytes of data/heads_*.safetensors, inside the program (weir_embed_file). Static storage. */
#ifndef ROUTER_ENCODER_HEADS_DATA_H
#define ROUTER_ENCODER_HEADS_DATA_H

#include "base/slice.h"

struct slice heads_static_data(void);
struct slice heads_all_minilm_l6_v2_data(void);

#endif

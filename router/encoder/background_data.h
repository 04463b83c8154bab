/* The bytes of data/background.txt, inside the program (weir_embed_file). Static storage. */
#ifndef ROUTER_ENCODER_BACKGROUND_DATA_H
#define ROUTER_ENCODER_BACKGROUND_DATA_H

#include "base/slice.h"

struct slice background_data(void);

#endif

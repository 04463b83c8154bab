/* The bytes of data/static_table.safetensors, inside the program. Static storage. */
#ifndef ROUTER_ENCODER_STATIC_TABLE_DATA_H
#define ROUTER_ENCODER_STATIC_TABLE_DATA_H

#include "base/slice.h"

struct slice static_table_data(void);

#endif

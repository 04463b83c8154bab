/* The instruction sets of vslab_dot, one file each. */
#ifndef CACHE_VSLAB_DOT_INT_H
#define CACHE_VSLAB_DOT_INT_H

#include "cache/vslab_dot.h"

extern const struct vslab_dot vslab_dot_portable;
#if defined(__x86_64__)
extern const struct vslab_dot vslab_dot_avx2, vslab_dot_avx512;
#endif

#endif

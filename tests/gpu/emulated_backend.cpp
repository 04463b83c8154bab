/* libweir_cuda.so for the emulated device: the same source, the same table. */
#include "router/encoder/cuda/backend.cu"

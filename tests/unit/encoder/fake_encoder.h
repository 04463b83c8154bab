/* An encoder whose vectors are the text's length, that can be held still and can fail. */
#ifndef TESTS_UNIT_ENCODER_FAKE_ENCODER_H
#define TESTS_UNIT_ENCODER_FAKE_ENCODER_H

#include <semaphore.h>
#include <stdatomic.h>
#include "router/encoder/encoder.h"

#define FAKE_DIM 4

struct fake_encoder {
    atomic_bool gated;     /* a pass posts entered, then waits for go_on */
    atomic_bool gpu_fails; /* passes of an encoder opened with ENCODER_CUDA do */
    atomic_bool open_fails;
    atomic_int opened;
    sem_t entered, go_on;
};
extern struct fake_encoder fake_encoder;
void fake_encoder_reset(void);

#endif

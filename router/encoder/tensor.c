/* Numbers out of tensors: each dtype to float, with every value proven finite on the way. Little
 * endian hosts only, as the whole program is. Pure; called by whoever reads weights, tables and
 * heads. */
#include <math.h>
#include <string.h>
#include "router/encoder/half.h"
#include "router/encoder/safetensors.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are stored little-endian");

static float from_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void read_f64(const char *p, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        double d;
        memcpy(&d, p + 8 * i, sizeof d);
        out[i] = (float)d; /* beyond float's range: infinite, and refused like an infinity */
    }
}

static void read_f16(const char *p, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        out[i] = half_to_float(h);
    }
}

static void read_bf16(const char *p, float *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        out[i] = from_bits((uint32_t)h << 16);
    }
}

/* Index of the first value that is not finite; n: none. A block is judged as a whole, so that the
 * compiler keeps the loop in vectors. */
static size_t first_bad(const float *x, size_t n)
{
    enum { BLOCK = 1024 };
    for (size_t from = 0; from < n; from += BLOCK) {
        size_t to = from + BLOCK < n ? from + BLOCK : n;
        uint32_t bad = 0;
        for (size_t i = from; i < to; i++) {
            uint32_t bits;
            memcpy(&bits, &x[i], sizeof bits);
            bad |= (bits & 0x7F800000U) == 0x7F800000U;
        }
        for (size_t i = from; bad && i < to; i++)
            if (!isfinite(x[i]))
                return i;
    }
    return n;
}

enum err tensor_read_f32(const struct tensor *x, float *out, struct err_text *t)
{
    if (x->dtype == TENSOR_F32) {
        if (x->count)
            memcpy(out, x->data.p, x->data.n);
    } else if (x->dtype == TENSOR_F64) {
        read_f64(x->data.p, out, x->count);
    } else if (x->dtype == TENSOR_F16) {
        read_f16(x->data.p, out, x->count);
    } else if (x->dtype == TENSOR_BF16) {
        read_bf16(x->data.p, out, x->count);
    } else {
        err_say(t, "'%.*s' is of dtype %s, not of a floating-point one", SLICE_ARG(x->name),
                tensor_dtype_name(x->dtype));
        return ERR_BAD_WEIGHTS;
    }
    size_t bad = first_bad(out, x->count);
    if (bad < x->count) {
        err_say(t, "'%.*s': value %zu is not a finite float", SLICE_ARG(x->name), bad);
        return ERR_BAD_WEIGHTS;
    }
    return ERR_OK;
}

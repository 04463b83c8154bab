/* safetensors: any bytes are refused with one line of text, or give tensors that tile the data
 * exactly, have unique names and sizes that fit, and can be read as numbers or refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "router/encoder/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

static void use(const struct safetensors *s, struct slice bytes)
{
    const char *at = NULL;
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor *x = safetensors_at(s, i);
        struct err_text t;
        check(x->data.p >= bytes.p && x->data.p + x->data.n <= bytes.p + bytes.n);
        check(x->data.n == x->count * tensor_dtype_bytes(x->dtype));
        check(!at || x->data.p == at);
        check(safetensors_find(s, x->name) == x);
        at = x->data.p + x->data.n;
        float *numbers = malloc(x->count * sizeof *numbers + 1);
        if (numbers)
            (void)!tensor_read_f32(x, numbers, &t);
        free(numbers);
    }
    check(!at || at == bytes.p + bytes.n);
    (void)safetensors_metadata(s, SLICE("format"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make((const char *)data, size);
    struct safetensors *s;
    struct err_text t = {""};
    if (safetensors_parse(bytes, &s, &t) == ERR_OK) {
        use(s, bytes);
        safetensors_free(s);
    } else {
        check(t.s[0] && !strpbrk(t.s, "\n\r"));
    }
    return 0;
}

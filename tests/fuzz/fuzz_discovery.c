/* Lists of models made of any bytes: what is taken has usable names, each once; the same list as
 * the next page of itself brings nothing new. */
#include <stdint.h>
#include <stdlib.h>
#include "backends/discovery.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_make((const char *)data, size);
    struct discovery d, page;
    struct err_text why = {""};
    struct arena a;
    enum err err;

    arena_init(&a, 1024);
    err = discovery_parse(body, &a, &d, &why);
    if ((err == ERR_OK) != (why.s[0] == '\0'))
        abort();
    for (size_t i = 0; i < d.count; i++) {
        const struct discovery_model *m = &d.models[i];

        if (m->id.n == 0 || m->id.p[m->id.n] != '\0' || strlen(m->id.p) != m->id.n ||
            (!d.any_name && discovery_find(&d, m->id) != m))
            abort();
    }
    page = d;
    if (err == ERR_OK && discovery_add_page(&d, &page, &a, &why) == ERR_OK && d.count != page.count)
        abort();
    arena_clear(&a);
    return 0;
}

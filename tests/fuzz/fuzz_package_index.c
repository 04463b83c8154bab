/* Pages of package indexes, JSON and HTML: any bytes give a URL of HTTP(S) within bounds, or one
 * line that says why not. */
#include <stdint.h>
#include <string.h>
#include "gateway/package_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice page = slice_make((const char *)data, size);
    static const char *const types[] = {"text/html", "application/json"};
    for (size_t i = 0; i < 2; i++) {
        char url[256];
        struct err_text t = {""};
        enum err e = package_index_find(page, types[i], "https://u:p@x.example/simple/y/", "y.whl",
                                        url, sizeof url, &t);
        if (e == ERR_OK)
            check(strlen(url) < sizeof url && strncmp(url, "http", 4) == 0);
        else
            check(t.s[0] != '\0');
    }
    return 0;
}

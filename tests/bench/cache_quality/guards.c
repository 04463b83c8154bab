/* guards: reads {"a","b","label"} lines and prints what each gate catches and what it costs, per
 * file. */
#include <stdio.h>
#include <stdlib.h>
#include "base/json_scan.h"
#include "cache/guard.h"

static struct slice text_of(struct json_value line, struct slice key, char *into, size_t n)
{
    struct json_member m;
    size_t bytes;

    if (!json_get(line, key, &m) || m.value.type != JSON_STRING)
        return SLICE("");
    bytes = json_string_decode(m.value.text, into, n);
    return slice_make(into, bytes < n ? bytes : n);
}

int main(int argc, char **argv)
{
    static struct guard_facts a, b;
    char *line = NULL, ta[16384], tb[16384];
    size_t cap = 0, pairs[2] = {0}, refused[2][GUARD_COUNT] = {{0}}, any[2] = {0};
    ssize_t n;
    int show =
        argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0; /* 1: wrongly passed, 2: wrongly lost */
    int only = argc > 2 ? (int)strtol(argv[2], NULL, 10) : -1;

    while ((n = getline(&line, &cap, stdin)) > 0) {
        struct json_value v = {JSON_OBJECT, slice_make(line, (size_t)n - 1)};
        struct json_member label;
        if (!json_validate(v.text, NULL) || !json_get(v, SLICE("label"), &label))
            continue;
        int y = label.value.text.p[0] == '1', gate = -1;
        guard_read(text_of(v, SLICE("a"), ta, sizeof ta), &a);
        guard_read(text_of(v, SLICE("b"), tb, sizeof tb), &b);
        pairs[y]++;
        for (int g = 0; g < GUARD_COUNT; g++)
            if (guard_refuses(&a, &b, 1u << g) >= 0) {
                refused[y][g]++;
                gate = gate < 0 ? g : gate;
            }
        any[y] += gate >= 0;
        if ((show == 1 && y == 0 && gate < 0) ||
            (show == 2 && y == 1 && gate >= 0 &&
             (only < 0 || guard_refuses(&a, &b, 1u << only) >= 0)))
            printf("%s | %.*s\n", gate < 0 ? "pass" : guard_name((enum guard)gate), (int)n - 1,
                   line);
    }
    for (int y = 0; y < 2 && !show; y++) {
        printf("label %d, %6zu pairs: refused %5.1f %%", y, pairs[y],
               100.0 * (double)any[y] / (double)(pairs[y] ? pairs[y] : 1));
        for (int g = 0; g < GUARD_COUNT; g++)
            printf("  %s %.1f", guard_name((enum guard)g),
                   100.0 * (double)refused[y][g] / (double)(pairs[y] ? pairs[y] : 1));
        printf("\n");
    }
    free(line);
    return 0;
}

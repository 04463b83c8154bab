/* See the header. Called by cmd_embed.c and cmd_classify.c. */
#include "gateway/cli/lines.h"

#include <stdio.h>
#include <stdlib.h>

void lines_init(struct lines *l, const struct cli_args *a)
{
    *l = (struct lines){.args = a};
}

void lines_clear(struct lines *l)
{
    free(l->line);
}

static bool from_input(struct lines *l, struct slice *text)
{
    ssize_t n = getline(&l->line, &l->line_cap, stdin);

    if (n < 0) {
        l->failed = ferror(stdin) != 0;
        return false;
    }
    while (n > 0 && (l->line[n - 1] == '\n' || l->line[n - 1] == '\r'))
        n--;
    *text = slice_make(l->line, (size_t)n);
    return true;
}

bool lines_next(struct lines *l, struct slice *text)
{
    const struct cli_args *a = l->args;

    if (a->operand_count == 0 ||
        (l->next < a->operand_count && strcmp(a->operands[l->next], "-") == 0)) {
        if (from_input(l, text))
            return true;
        if (a->operand_count == 0 || l->failed)
            return false;
        l->next++;
    }
    if (l->next >= a->operand_count)
        return false;
    *text = slice_str(a->operands[l->next++]);
    return true;
}

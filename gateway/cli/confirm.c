/* Owns nothing. Called by commands that destroy something. */
#include "gateway/cli/confirm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool agrees(const char *said, const char *phrase)
{
    return strcmp(said, phrase) == 0 || (strcmp(phrase, "y") == 0 && strcmp(said, "yes") == 0);
}

bool confirm(const char *command, bool yes, const char *question, const char *phrase)
{
    char *line = NULL;
    size_t cap = 0;
    bool good = false;

    if (yes)
        return true;
    if (!isatty(STDIN_FILENO)) {
        fprintf(stderr, "weir %s: %s Not done: there is no terminal to ask on; say --yes\n",
                command, question);
        return false;
    }
    if (strcmp(phrase, "y") == 0)
        fprintf(stderr, "%s [y/N] ", question);
    else
        fprintf(stderr, "%s Type '%s' to go on: ", question, phrase);
    fflush(stderr);
    ssize_t n = getline(&line, &cap, stdin);
    if (n > 0 && line[n - 1] == '\n')
        line[--n] = '\0';
    good = n > 0 && agrees(line, phrase);
    free(line);
    if (!good)
        fprintf(stderr, "nothing was changed\n");
    return good;
}

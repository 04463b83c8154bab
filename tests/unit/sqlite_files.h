/* What SQLite leaves where a database was: the file itself and those beside it. */
#ifndef WEIR_TESTS_UNIT_SQLITE_FILES_H
#define WEIR_TESTS_UNIT_SQLITE_FILES_H

#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

/* Those that are there; path: of the database. */
static inline void sqlite_files_remove(const char *path)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", "-journal"};

    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", path, suffixes[i]);
        unlink(name);
    }
}

#endif

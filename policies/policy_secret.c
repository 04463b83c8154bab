/* Reading keys from the environment and from files, and hashing those of tenants. What is read is
 * never part of a message, and the copy made here is wiped after use. Thread: the loader's. Called
 * by policy_types. */
#include "policies/policy_secret_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>

#define SECRET_MAX_BYTES 4096

static bool env_name_ok(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return s.n > 0;
}

/* Keys travel in a header: printable ASCII without blanks. */
static bool printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= 0x20 || s.p[i] >= 0x7f)
            return false;
    return true;
}

static struct slice trimmed(struct slice s)
{
    while (s.n && strchr(" \t\r\n", s.p[s.n - 1]))
        s.n--;
    while (s.n && strchr(" \t\r\n", s.p[0]))
        s = slice_from(s, 1);
    return s;
}

static struct slice usable(struct binder *b, const struct place *at, const char *source,
                           struct slice secret)
{
    secret = trimmed(secret);
    if (secret.n == 0)
        bind_error(b, at, NULL, "%s is empty", source);
    else if (!printable(secret))
        bind_error(b, at, "a key is one word of printable ASCII", "%s does not hold a key", source);
    else
        return secret;
    return (struct slice){0};
}

struct slice secret_from_env(struct binder *b, const struct place *at, struct slice name)
{
    if (!env_name_ok(name)) { /* may be the key itself: not echoed */
        bind_error(
            b, at,
            "give the variable's name, such as OPENAI_API_KEY, not the key and no dollar sign",
            "is not the name of an environment variable");
        return (struct slice){0};
    }
    if (!b->options->resolve_secrets)
        return (struct slice){0};
    const char *text = arena_strdup(b->scratch, name);
    const char *value =
        b->options->getenv_fn ? b->options->getenv_fn(text, b->options->ctx) : getenv(text);
    if (!value) {
        bind_error(b, at, "set it for this process, or check the file without secrets",
                   "the environment variable %s is not set", text);
        return (struct slice){0};
    }
    return usable(b, at, arena_printf(b->scratch, "the environment variable %s", text),
                  arena_dup(b->scratch, slice_str(value)));
}

const char *secret_path(struct binder *b, struct slice path)
{
    const char *slash = strrchr(b->file, '/');
    if ((path.n && path.p[0] == '/') || !slash)
        return arena_strdup(b->arena, path);
    return arena_printf(b->arena, "%.*s/%.*s", (int)(slash - b->file), b->file, SLICE_ARG(path));
}

struct slice secret_from_file(struct binder *b, const struct place *at, const char *path)
{
    if (!b->options->resolve_secrets)
        return (struct slice){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        bind_error(b, at, NULL, "cannot read %s: %s", path, strerror(errno));
        return (struct slice){0};
    }
    char *text = arena_alloc(b->scratch, SECRET_MAX_BYTES + 1);
    size_t n = 0;
    ssize_t got;
    while (n <= SECRET_MAX_BYTES && (got = read(fd, text + n, SECRET_MAX_BYTES + 1 - n)) > 0)
        n += (size_t)got;
    int failed = got < 0 ? errno : 0;
    close(fd);
    struct slice secret = {0};
    if (failed)
        bind_error(b, at, NULL, "cannot read %s: %s", path, strerror(failed));
    else if (n > SECRET_MAX_BYTES)
        bind_error(b, at, NULL, "%s is larger than a key (%d bytes)", path, SECRET_MAX_BYTES);
    else
        secret = usable(b, at, path, slice_make(text, n));
    return secret;
}

void secret_sha256(struct slice secret, uint8_t out[32])
{
    SHA256((const unsigned char *)secret.p, secret.n, out);
}

void secret_wipe(struct slice secret)
{
    if (secret.n)
        OPENSSL_cleanse((void *)(uintptr_t)secret.p, secret.n);
}

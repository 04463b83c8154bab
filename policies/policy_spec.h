/* The language of policy files as one table: each key of each object with its type, range, default
 * and help. The parser (policy_bind), the JSON Schema (policy_schema) and the reference
 * (policy_reference) are all driven by it, so that they cannot disagree. Constant data; any thread.
 */
#ifndef POLICIES_POLICY_SPEC_H
#define POLICIES_POLICY_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spec_type {
    SPEC_OBJECT,   /* a mapping with the keys of .object, bound in place */
    SPEC_MAP,      /* name -> object: an array of .object structs, whose first member is the name */
    SPEC_LIST,     /* objects in order */
    SPEC_INT,      /* int64_t */
    SPEC_DURATION, /* int64_t, ms */
    SPEC_SIZE,     /* int64_t, bytes */
    SPEC_USD,      /* nanousd */
    SPEC_FRACTION, /* double, 0..1; POLICY_OFF when not written and without default */
    SPEC_BOOL,     /* bool */
    SPEC_TEXT,     /* const char * */
    SPEC_NAME,     /* const char *: a name of the policy's own */
    SPEC_PATH,     /* const char *: a file that must be readable; relative to the policy file */
    SPEC_NAMES,    /* one or a list of names; with SPEC_GLOB '*' is allowed */
    SPEC_ENUM,     /* int, from .words */
    SPEC_FLAGS,    /* unsigned, a list of .words or'ed */
    SPEC_WORD,     /* const char *, from .words */
    SPEC_TIME,     /* int64_t, wall clock us: a date or RFC 3339 */
    SPEC_HEADERS, /* header name -> value: struct policy_header array; with SPEC_GLOB a condition */
    SPEC_ORIGINS, /* one or a list: '*' or scheme://host[:port] */
    SPEC_ADDRESS, /* struct policy_address: host:port or port */
    SPEC_ENDPOINTS, /* one or a list of http(s) URLs: struct policy_endpoint array */
    SPEC_PROXY,     /* const char *: a proxy's URL */
    SPEC_KEY_ENV,
    SPEC_KEY_FILE,    /* struct policy_backend: where its secret comes from */
    SPEC_BACKEND,     /* size_t: index of a backend, by name */
    SPEC_MODEL,       /* size_t: index of a model, by name */
    SPEC_PRICES,      /* one or a list of .object: struct policy_price array */
    SPEC_ALIASES,     /* name -> name: struct policy_alias array */
    SPEC_STEPS,       /* a list of names or .object: appended to struct policy_route's steps */
    SPEC_STRINGS,     /* a list of texts: NULL-terminated const char ** and its length */
    SPEC_PROMPTS,     /* one or a list of texts of any kind, likewise */
    SPEC_ENV,         /* name -> text: "NAME=value", likewise */
    SPEC_TENANT_KEYS, /* a list of .object: struct policy_key array */
    SPEC_TYPES
};

enum {
    SPEC_REQUIRED = 1 << 0,
    SPEC_NONE = 1 << 1,    /* the word none is allowed: POLICY_NONE (text: NULL) */
    SPEC_AUTO = 1 << 2,    /* the word auto is allowed: POLICY_NONE */
    SPEC_GLOB = 1 << 3,    /* '*' stands for any characters */
    SPEC_INHERIT = 1 << 5, /* the object arrives filled in: its keys' defaults do not apply */
    SPEC_RELOAD = 1 << 6,  /* of the server's keys: a reload may change it; others need a restart */
    SPEC_RESTART = 1 << 8, /* of the cache's keys: a change needs a restart */
    SPEC_SHORT = 1 << 7, /* of an object or a list of them: what is no mapping stands for its first
                            key's value, and one entry for a list */
    SPEC_PER_MTOK = 1 << 9, /* of SPEC_USD: per million tokens */
    /* SPEC_RESTART, also where no route uses the cache: what is learned lies there */
    SPEC_RESTART_ALWAYS = 1 << 10,
};

struct spec_word {
    const char *word;
    int64_t value;
    bool reserved;
};

struct spec_object;
struct spec_key {
    const char *name;
    enum spec_type type;
    unsigned flags;
    size_t at;                     /* offset in the object's struct */
    size_t count_at;               /* of an array's length */
    const char *deflt;             /* as one would write it; NULL: none */
    int64_t min, max;              /* SPEC_INT, SPEC_DURATION, SPEC_SIZE */
    const struct spec_word *words; /* ends with a NULL word */
    const struct spec_object *object;
    const char *also; /* what people call it elsewhere, separated by blanks; for hints only */
    const char *help; /* one sentence */
};

struct spec_object {
    const char *name; /* heading in the reference, definition name in the schema */
    const struct spec_key *keys;
    size_t count;
    size_t bytes; /* of the struct its keys are bound to */
    const char *help;
};

/* The file's top level, bound to struct draft (policy_bind_int.h). */
extern const struct spec_object spec_policy;

#endif

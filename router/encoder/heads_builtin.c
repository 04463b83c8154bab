/* The sets of heads that ship inside the program, read once when they are first asked for and kept
 * to the end. A set that cannot be read is a broken build: a unit test reads them all. */
#include <assert.h>
#include <pthread.h>
#include "router/encoder/heads.h"
#include "router/encoder/heads_data.h"

#define SETS 2

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct heads *sets[SETS];

static void read_sets(void)
{
    const struct slice files[SETS] = {heads_static_data(), heads_all_minilm_l6_v2_data()};
    for (int i = 0; i < SETS; i++) {
        enum err e = heads_parse(files[i], &sets[i], NULL);
        assert(e == ERR_OK);
        (void)e;
    }
}

const struct heads *heads_builtin(struct fingerprint space)
{
    pthread_once(&once, read_sets);
    for (int i = 0; i < SETS; i++)
        if (fingerprint_eq(heads_space(sets[i]), space))
            return sets[i];
    return NULL;
}

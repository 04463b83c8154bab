/* Fetches and prints. Called by weir backends and weir beliefs. */
#include "gateway/cli/admin_get.h"

#include <stdlib.h>
#include "gateway/cli/exit.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/out.h"

/* NULL + t. */
static json_t *get(const char *url, const char *path, struct err_text *t)
{
    struct buf body;
    json_t *answer = NULL;
    int status;

    buf_init(&body, FETCH_BYTES);
    if (fetch_get(url, path, getenv("WEIR_API_KEY"), &body, &status, t) == ERR_OK) {
        if (status != 200)
            err_say(t, "HTTP status %d%s", status, status == 401 ? "; set WEIR_API_KEY" : "");
        else if (!(answer = json_loadb(buf_slice(&body).p, buf_len(&body), 0, NULL)))
            err_say(t, "the answer is not JSON");
    }
    buf_clear(&body);
    return answer;
}

int admin_get_print(const struct cli_args *a, const char *command, const char *path,
                    bool (*print)(const json_t *answer, const struct cli_args *a))
{
    const char *url = cli_value(a, "url");
    struct err_text t = {""};

    if (!url)
        url = "http://127.0.0.1:8081";
    json_t *answer = get(url, path, &t);
    if (answer && cli_flag(a, "json"))
        out_json(json_incref(answer));
    else if (answer && !print(answer, a))
        err_say(&t, "the answer is not what %s gives", path);
    json_decref(answer);
    if (!t.s[0])
        return EXIT_CODE_OK;
    fprintf(stderr, "weir %s: %s: %s\n", command, url, t.s);
    return EXIT_CODE_RUNTIME;
}

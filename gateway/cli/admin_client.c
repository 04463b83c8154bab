/* Owns nothing. Single-threaded; called by the commands that ask a running weir. */
#include "gateway/cli/admin_client.h"

#include <stdio.h>
#include <stdlib.h>
#include "base/buf.h"
#include "gateway/cli/fetch.h"
#include "gateway/cli/out.h"

#define DEFAULT_URL "http://127.0.0.1:8081"

void admin_client_init(struct admin_client *c, const struct cli_args *a)
{
    const char *url = cli_value(a, "url");

    *c = (struct admin_client){.command = a->command->name,
                               .url = url ? url : DEFAULT_URL,
                               .key = getenv("WEIR_API_KEY"),
                               .json = cli_flag(a, "json"),
                               .code = EXIT_CODE_OK};
}

static void complain(struct admin_client *c, const char *why)
{
    fprintf(stderr, "weir %s: %s\n", c->command, why);
    c->code = EXIT_CODE_RUNTIME;
}

void admin_client_complain(struct admin_client *c, int status, struct slice answer)
{
    json_t *o = json_loadb(answer.p, answer.n, 0, NULL);
    const char *said = json_string_value(json_object_get(json_object_get(o, "error"), "message"));
    struct err_text t;

    if (said)
        err_say(&t, "%s%s", said, status == 401 ? " (WEIR_API_KEY holds the key)" : "");
    else
        err_say(&t, "%s: HTTP status %d", c->url, status);
    complain(c, t.s);
    if (status == 404 || status == 409 || status == 412)
        c->code = EXIT_CODE_FOUND;
    else if (status == 400) /* it is what was asked for that is wrong */
        c->code = EXIT_CODE_USAGE;
    json_decref(o);
}

json_t *admin_client_ask(struct admin_client *c, const char *method, const char *path, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct fetch_ask ask = {.base_url = c->url,
                            .path = path,
                            .api_key = c->key,
                            .method = method,
                            .content_type = text ? "application/json" : NULL,
                            .body = slice_str(text),
                            .total_ms = 60000};
    struct err_text t = {""}, said;
    struct buf answer;
    json_t *o = NULL;
    int status;

    buf_init(&answer, FETCH_BYTES);
    enum err err = fetch(&ask, &answer, &status, &t);
    if (err == ERR_OK)
        o = json_loadb(buf_slice(&answer).p, buf_len(&answer), 0, NULL);
    if (err != ERR_OK) {
        err_say(&said, "%s: %.400s", c->url, t.s);
        complain(c, said.s);
    } else if (status != 200) {
        admin_client_complain(c, status, buf_slice(&answer));
        json_decref(o);
        o = NULL;
    } else if (!o) {
        complain(c, "the answer is not JSON; is this weir's admin listener?");
    }
    buf_clear(&answer);
    json_decref(body);
    free(text);
    return o;
}

int admin_client_print(const struct cli_args *a, const char *path,
                       bool (*print)(const json_t *answer, const struct cli_args *a))
{
    struct admin_client c;
    struct err_text t;

    admin_client_init(&c, a);
    json_t *answer = admin_client_ask(&c, "GET", path, NULL);
    if (answer && c.json) {
        out_json(json_incref(answer));
    } else if (answer && !print(answer, a)) {
        err_say(&t, "%s: the answer is not what %s gives", c.url, path);
        complain(&c, t.s);
    }
    json_decref(answer);
    return c.code;
}

/* ---- what an answer says ---- */

long long admin_client_int(const json_t *o, const char *key)
{
    return (long long)json_integer_value(json_object_get(o, key));
}

const char *admin_client_text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

double admin_client_number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

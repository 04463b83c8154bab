"""Errors on the wire: shape, status, retries, keys. Checklist: errors and status."""

import json
import time

import pytest

import scripted
from conftest import ADMIN_KEY, KEY
from rawhttp import Client, request
from scripted import OK_REPLY, error, raw, stream, whole
from test_wire_http import BODY, CHAT, error_of, once
from weirproc import http


def ask(weir, model="solo", path=CHAT, headers=(), **more):
    data = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()
    return once(weir, request("POST", path, data, headers))


# ---- the client's own mistakes: answered here, in OpenAI's words and shape ----

MISTAKES = {
    "no body": (b"", 400, None),
    "not JSON": (b"hello", 400, None),
    "cut JSON": (BODY[:-1], 400, None),
    "bytes after the JSON": (BODY + b"x", 400, None),
    "invalid UTF-8": (BODY.replace(b"hi", b"\xff\xfe"), 400, None),
    "an array": (b"[]", 400, None),
    "no model": (b'{"messages":[]}', 400, "model"),
    "model is a number": (b'{"model":1,"messages":[]}', 400, "model"),
    "model is null": (b'{"model":null,"messages":[]}', 400, "model"),
    "no messages": (b'{"model":"solo"}', 400, "messages"),
    "messages is a string": (b'{"model":"solo","messages":"hi"}', 400, "messages"),
    "stream is a string": (b'{"model":"solo","messages":[],"stream":"yes"}', 400, "stream"),
    "n is a string": (b'{"model":"solo","messages":[],"n":"2"}', 400, "n"),
    "nested beyond reason": (b'{"model":"solo","messages":' + b"[" * 100000 + b"]" * 100000 + b"}", 400, None),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_bad_requests_are_answered_here(weir, upstream, name):
    data, status, param = MISTAKES[name]
    reply = once(weir, request("POST", CHAT, data, [("Content-Type", "application/json")]))
    assert reply.status == status
    got = error_of(reply)
    assert got["type"] == "invalid_request_error" and got["param"] == param
    assert not upstream.seen


def test_the_connection_survives_a_bad_body(weir, upstream):
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, b"nonsense"))
        assert c.reply().status == 400
        c.send(request("POST", CHAT, BODY))
        assert c.reply().status == 200


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
def test_an_unknown_model(weir, upstream, path):
    reply = ask(weir, "gpt-nonexistent", path, prompt="p", input="i")
    assert reply.status == 404
    got = error_of(reply)
    assert got["code"] == "model_not_found" and got["param"] == "model" and "gpt-nonexistent" in got["message"]


def test_an_unknown_model_looked_up(weir, upstream):
    reply = once(weir, request("GET", "/v1/models/gpt-nonexistent"))
    assert reply.status == 404 and error_of(reply)["code"] == "model_not_found"


def test_errors_carry_a_request_id_and_json(weir, upstream):
    for data in (request("POST", CHAT, b"x"), request("GET", "/v1/nothing"), request("POST", CHAT, b'{"model":"x","messages":[]}')):
        reply = once(weir, data)
        assert reply.get("x-request-id")
        assert reply.get("content-length") == str(len(reply.body))


def test_names_from_the_request_are_escaped_in_errors(weir, upstream):
    reply = ask(weir, 'a"b\n<\u2028')
    assert reply.status == 404 and error_of(reply)


# ---- the upstream's errors ----

# An error in OpenAI's shape that is the client's business passes as it came; faults of weir's own key or account do not.
UPSTREAM_ERRORS = {
    # upstream's (status, code, type, message): (status, code, type) for the client
    "rate limit": ((429, "rate_limit_exceeded", "requests", "Rate limit reached"), (429, "rate_limit_exceeded", "requests")),
    "server error": ((500, None, "server_error", "boom"), (500, None, "server_error")),
    "overloaded": ((503, None, "server_error", "overloaded"), (503, None, "server_error")),
    "overloaded, 529": ((529, None, "overloaded_error", "overloaded"), (529, None, "overloaded_error")),
    "bad gateway key": ((401, "invalid_api_key", "invalid_request_error", "Incorrect API key"), (502, "upstream_auth", "server_error")),
    "quota used up": ((429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota"),
                      (502, "upstream_quota", "server_error")),
    "context length": ((400, "context_length_exceeded", "invalid_request_error", "This model's maximum context length is 8192 tokens."),
                       (400, "context_length_exceeded", "invalid_request_error")),
    "content filter": ((400, "content_filter", "invalid_request_error", "The response was filtered"),
                       (400, "content_filter", "invalid_request_error")),
    "a refused request": ((400, None, "invalid_request_error", "Invalid value for 'temperature'"), (400, None, "invalid_request_error")),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", UPSTREAM_ERRORS)
def test_upstream_errors_keep_a_real_status_and_the_shape(weir, upstream, name, streamed):
    (status, code, kind, message), expected = UPSTREAM_ERRORS[name]
    upstream.play(error(status, code, message, kind))
    reply = ask(weir, stream=streamed)
    got = error_of(reply)
    assert (reply.status, got["code"], got["type"]) == expected


def test_a_refused_request_keeps_the_upstreams_words(weir, upstream):
    """Nobody but the upstream knows what was wrong with it."""
    upstream.play(error(400, "invalid_value", "Invalid value for 'temperature'", "invalid_request_error", "temperature"))
    got = error_of(ask(weir))
    assert "temperature" in got["message"] and got["param"] == "temperature"


@pytest.mark.parametrize("message", [
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens.",
    "the request exceeds the available context size, try increasing it",
])
def test_context_length_is_known_by_its_words_too(weir, upstream, message):
    upstream.play(error(400, None, message, "invalid_request_error"))
    assert error_of(ask(weir))["code"] == "context_length_exceeded"


def test_an_error_within_a_200_is_an_error(weir, upstream):
    upstream.play(whole({"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}))
    reply = ask(weir)
    assert reply.status >= 500 and error_of(reply)


def test_an_error_page_in_html_becomes_an_error_in_json(weir, upstream):
    upstream.play(whole(b"<html>502 Bad Gateway</html>", 502, content_type="text/html"))
    reply = ask(weir)
    assert reply.status == 502 and error_of(reply)["code"] == "upstream_error"


def test_an_error_event_before_any_answer_is_an_ordinary_error(weir, upstream):
    upstream.play(stream(scripted.event({"error": {"message": "slow down", "type": "rate_limit_error", "param": None,
                                                   "code": "rate_limit_exceeded"}})))
    reply = ask(weir, stream=True)
    assert reply.status == 429 and error_of(reply)["code"] == "rate_limit_exceeded"


def test_nobody_listens_upstream(weir_elsewhere):
    reply = ask(weir_elsewhere)
    assert reply.status == 502 and error_of(reply)["code"] == "upstream_unreachable"


@pytest.fixture(scope="module")
def weir_elsewhere(tmp_path_factory):
    import socket

    from conftest import scripted_policy
    from weirproc import Weir

    folder = tmp_path_factory.mktemp("elsewhere")
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))  # bound, not listening: refuses, and nobody else gets the port
    process = Weir(folder, scripted_policy(f"http://127.0.0.1:{closed.getsockname()[1]}/v1", folder / "state"))
    yield process
    process.stop()
    closed.close()


# ---- retries ----

def test_a_failed_attempt_is_repeated(weir, upstream):
    upstream.play(error(500), whole())
    reply = ask(weir, "small")
    assert reply.status == 200 and reply.get("x-weir-attempts") == "2" and reply.get("x-weir-model") == "small"


def test_the_next_model_takes_over(weir, upstream):
    upstream.play(error(500), error(500), whole())
    reply = ask(weir, "small")
    assert reply.status == 200 and reply.get("x-weir-model") == "large" and reply.get("x-weir-attempts") == "3"
    assert [e.json()["model"] for e in upstream.seen] == ["up-small", "up-small", "up-large"]


def test_a_reset_before_the_answer_is_repeated(weir, upstream):
    upstream.play(raw(b"", "reset"), whole())
    assert ask(weir, "small").status == 200


@pytest.mark.parametrize("code", ["context_length_exceeded", "content_filter"])
def test_refusals_are_never_resent_to_the_same_model(weir, upstream, code):
    upstream.play(error(400, code, "refused", "invalid_request_error"), whole())
    reply = ask(weir, "small")
    assert reply.status == 200
    assert [e.json()["model"] for e in upstream.seen] == ["up-small", "up-large"]


def test_a_refused_request_is_not_repeated_anywhere(weir, upstream):
    upstream.play(error(400, None, "Invalid value for 'temperature'", "invalid_request_error"), whole())
    assert ask(weir, "small").status == 400 and len(upstream.seen) == 1


def test_a_short_retry_after_is_waited_for(weir, upstream):
    upstream.play(error(429, "rate_limit_exceeded", headers=[("retry-after-ms", "400")]), whole())
    began = time.monotonic()
    assert ask(weir, "small").status == 200
    waited = time.monotonic() - began
    models = [e.json()["model"] for e in upstream.seen]
    assert models == ["up-small", "up-small"] and waited >= 0.4 or models == ["up-small", "up-large"]


def test_a_long_retry_after_is_not_waited_for(weir, upstream):
    upstream.play(error(429, "rate_limit_exceeded", headers=[("Retry-After", "60")]), whole())
    assert ask(weir, "small").status == 200
    assert [e.json()["model"] for e in upstream.seen] == ["up-small", "up-large"]


def test_retry_after_reaches_the_client(weir, upstream):
    upstream.play(error(429, "rate_limit_exceeded", headers=[("Retry-After", "7"), ("retry-after-ms", "6500"),
                                                             ("x-ratelimit-reset-tokens", "6m0s")]))
    reply = ask(weir)
    assert reply.status == 429
    assert reply.get("retry-after") == "7" and reply.get("retry-after-ms") == "6500"
    assert reply.get("x-ratelimit-reset-tokens") == "6m0s"


def test_x_should_retry_false_is_honoured(weir, upstream):
    upstream.play(error(500, headers=[("x-should-retry", "false")]), whole())
    reply = ask(weir, "small")
    models = [e.json()["model"] for e in upstream.seen]
    assert models.count("up-small") == 1, "the same model was not to be asked again"
    assert reply.status == (200 if len(models) > 1 else 502)


# ---- keys ----

@pytest.mark.parametrize("headers", [[("Authorization", f"Bearer {KEY}")], [("authorization", f"bearer {KEY}")], [("x-api-key", KEY)],
                                     [("api-key", KEY)]], ids=["Bearer", "bearer", "x-api-key", "api-key"])
def test_a_key_opens(weir_keys, upstream, headers):
    assert ask(weir_keys, headers=headers).status == 200


@pytest.mark.parametrize("headers", [[], [("Authorization", "Bearer sk-wrong-1234")], [("Authorization", f"Basic {KEY}")],
                                     [("Authorization", "Bearer")], [("x-api-key", KEY[:-1])], [("x-api-key", KEY + "x")]],
                         ids=["none", "wrong", "Basic", "empty", "prefix", "longer"])
def test_a_wrong_or_missing_key_is_refused_before_the_body(weir_keys, upstream, headers):
    data = request("POST", CHAT, BODY, [*headers, ("Expect", "100-continue")])[:-len(BODY)]
    reply = once(weir_keys, data)
    got = error_of(reply)
    assert reply.status == 401 and got["type"] == "invalid_request_error" and got["code"] == "invalid_api_key"
    assert "sk-wrong-1234" not in got["message"] and KEY not in got["message"]
    assert not upstream.seen


def test_models_need_a_key_too(weir_keys, upstream):
    assert once(weir_keys, request("GET", "/v1/models")).status == 401
    assert once(weir_keys, request("GET", "/v1/models", b"", [("x-api-key", KEY)])).status == 200


def test_a_preflight_needs_no_key(weir_keys, upstream):
    assert once(weir_keys, request("OPTIONS", CHAT)).status in (200, 204)


def test_the_admin_api_wants_an_admins_key(weir_keys, upstream):
    url = weir_keys.admin + "/admin/requests"
    assert http("GET", url)[0] == 401
    assert http("GET", url, headers={"Authorization": f"Bearer {KEY}"})[0] in (401, 403)
    assert http("GET", url, headers={"Authorization": f"Bearer {ADMIN_KEY}"})[0] == 200
    assert http("GET", weir_keys.admin + "/healthz")[0] == 200


def test_keys_are_not_in_the_log(weir_keys, upstream):
    ask(weir_keys, headers=[("Authorization", f"Bearer {KEY}")])
    ask(weir_keys, headers=[("Authorization", "Bearer sk-wrong-1234")])
    text = weir_keys.log.read_text()
    assert KEY not in text and "sk-wrong-1234" not in text


def test_prompts_and_answers_are_not_in_the_log(weir, upstream):
    upstream.play(whole({**OK_REPLY, "choices": [{**OK_REPLY["choices"][0], "message": {"role": "assistant", "content": "ANSWER-TEXT"}}]}))
    assert ask(weir, messages=[{"role": "user", "content": "PROMPT-TEXT"}]).status == 200
    text = weir.log.read_text()
    assert "PROMPT-TEXT" not in text and "ANSWER-TEXT" not in text

"""Servers that can tell usage in each chunk are asked to, so that a stream that a client leaves, or that is cut, is billed to the
token; and the client reads no more of it than it asked for."""

import json

import pytest

import scripted
from conftest import scripted_policy
from rawhttp import Client, request
from scripted import ROLE, chunk, stream, usage_chunk, whole
from test_accounting import rows
from test_wire_http import CHAT
from weirproc import Weir, http

ASKED = {"include_usage": True, "continuous_usage_stats": True}


def told(text, completion):
    usage = {"prompt_tokens": 1000, "completion_tokens": completion, "total_tokens": 1000 + completion}
    return chunk({"content": text}, usage=usage)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """An upstream that the policy calls vLLM, and weir before it."""
    folder, upstream = tmp_path_factory.mktemp("engine"), scripted.Upstream()
    policy = scripted_policy(upstream.url, folder / "state").replace("dialect: openai", "dialect: openai\n    server: vllm\n    discover: none")
    weir = Weir(folder, policy)
    yield weir, upstream
    weir.stop()
    upstream.close()


def begin(weir, path, body, upto):
    """The bytes that the client has when it leaves, and the request's id."""
    with Client(weir.address) as c:
        c.send(request("POST", path, json.dumps(body).encode()))
        _, headers = c.head()
        text = c.until(upto)
    return text, {n.lower(): v for n, v in headers}["x-request-id"]


MESSAGES = [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize("path, body", [
    (CHAT, {"model": "small", "messages": MESSAGES, "stream": True}),
    (CHAT, {"model": "small", "messages": MESSAGES, "stream": True, "stream_options": {"include_usage": False}}),
    ("/v1/messages", {"model": "small", "messages": MESSAGES, "stream": True, "max_tokens": 100}),
    ("/v1/responses", {"model": "small", "input": "hello", "stream": True}),
], ids=["chat", "chat without usage", "messages", "responses"])
def test_a_stream_that_is_left_is_billed_to_the_token(engine, path, body):
    weir, upstream = engine
    upstream.reset()
    upstream.play(stream(told("", 0), told("several tokens at once", 70), end=False, then="hang"))
    text, request_id = begin(weir, path, body, b"at once")
    assert upstream.seen[0].json()["stream_options"] == ASKED and b"completion_tokens" not in text
    _, (attempt,) = rows(weir, request_id)
    assert attempt["outcome"] == "client_gone" and attempt["usage_source"] == "reported"
    assert (attempt["input_tokens"], attempt["output_tokens"]) == (1000, 70)
    assert attempt["cost_nanousd"] == 1000 * 1000 + 70 * 4000


def test_the_end_counts_where_it_comes(engine):
    weir, upstream = engine
    upstream.reset()
    last = chunk({}, "stop", usage={"prompt_tokens": 1000, "completion_tokens": 71, "total_tokens": 1071})
    upstream.play(stream(told("a", 70), last, usage_chunk(1000, 72)))
    status, headers, text = http("POST", weir.base + CHAT, {"model": "small", "messages": MESSAGES, "stream": True})
    assert status == 200 and b"usage" not in text and text.endswith(b"[DONE]\n\n")
    _, (attempt,) = rows(weir, headers["x-request-id"])
    assert attempt["output_tokens"] == 72


@pytest.mark.parametrize("more, asked", [
    ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
    ({"stream_options": ASKED}, ASKED), ({"n": 2}, {"include_usage": True})],
    ids=["usage at the end", "usage throughout", "several choices"])
def test_where_it_is_not_asked_for(engine, more, asked):
    """A client that asked reads the server's chunks as they are; and with n a chunk's usage is that of its choice alone."""
    weir, upstream = engine
    upstream.reset()
    finish = [chunk({}, "stop", index=i) for i in range(more.get("n", 1))]
    upstream.play(stream(ROLE, *finish, usage_chunk()))
    assert http("POST", weir.base + CHAT, {"model": "small", "messages": MESSAGES, "stream": True, **more})[0] == 200
    assert upstream.seen[0].json()["stream_options"] == asked


def test_not_of_whole_answers(engine):
    weir, upstream = engine
    upstream.reset()
    upstream.play(whole())
    assert http("POST", weir.base + CHAT, {"model": "small", "messages": MESSAGES})[0] == 200
    assert "stream_options" not in upstream.seen[0].json()

"""What broke other gateways' clients and no other file here shows: replies of odd servers, told in the words of the client's API.
README.md has the whole list and which test shows what."""

import json
import threading

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from conftest import fleet_policy
from rawhttp import Client, request
from scripted import DONE, ROLE, chunk, stream, usage_chunk, whole
from test_dialects import STREAM, TOOLS, anthropic_policy, claude, gateway, gpt, message, over_anthropic, over_gateway  # noqa: F401
from test_sdk import HELLO, MODEL
from weirproc import Weir, http

ASK = {"/v1/chat/completions": {"model": MODEL, "messages": HELLO}, "/v1/messages": {"model": MODEL, "max_tokens": 9, "messages": HELLO},
       "/v1/responses": {"model": MODEL, "input": "hello"}}


@pytest.fixture(scope="module")
def before_scripted(upstream_session, tmp_path_factory):
    """Gateways before the scripted server, by its dialect; keep-alives every second, no second attempt."""
    made = {}
    for dialect, policy in (("openai", fleet_policy), ("anthropic", anthropic_policy)):
        folder = tmp_path_factory.mktemp(dialect)
        text = policy(upstream_session.url, folder / "state").replace("max_attempts: 2, per_model: 2", "max_attempts: 1")
        made[dialect] = Weir(folder, text.replace("workers:", "sse_keepalive: 1s, workers:"))
    yield made
    for process in made.values():
        process.stop()


# ---- tool calls that are numbered wrongly ----

def part(arguments, **more):
    return {"function": {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}, **more}


NUMBERINGS = {  # the parts of two calls: f with {"a":1} and g with {"b":2}
    "one number for both": [part("", index=0, id="c1", name="f"), part('{"a":', index=0), part("1}", index=0),
                            part("", index=0, id="c2", name="g"), part('{"b":2}', index=0)],
    "no numbers": [part('{"a":1}', id="c1", name="f"), part('{"b":2}', id="c2", name="g")],
    "numbers from one": [part('{"a":1}', index=1, id="c1", name="f"), part('{"b":2}', index=2, id="c2", name="g")],
    "the id again": [part('{"a":', index=0, id="c1", name="f"), part("1}", index=0, id="c1"), part('{"b":2}', index=1, id="c2", name="g")],
    "interleaved": [part('{"a":', index=0, id="c1", name="f"), part('{"b":', index=1, id="c2", name="g"), part("1}", index=0), part("2}", index=1)],
    "an empty id in the rest": [part('{"a":', index=0, id="c1", name="f"), part("1}", index=0, id="", name=""),
                                part('{"b":2}', index=1, id="c2", name="g")],
}


@pytest.mark.parametrize("numbering", NUMBERINGS)
@pytest.mark.parametrize("reason", ["tool_calls", "stop"])
def test_calls_are_told_apart_however_a_server_numbers_them(before_scripted, upstream, numbering, reason):
    """Some servers say "stop" although they call: whoever gets calls is told that they are calls."""
    step = stream(ROLE, *(chunk({"tool_calls": [p]}) for p in NUMBERINGS[numbering]), chunk(finish_reason=reason), usage_chunk(), DONE)
    upstream.play(step, step)
    base = before_scripted["openai"].base
    with Anthropic(api_key="unused", base_url=base, max_retries=0) as c:
        with c.messages.stream(model=MODEL, max_tokens=9, messages=HELLO, tools=TOOLS) as events:
            final = events.get_final_message()
    assert [(b.id, b.name, b.input) for b in final.content] == [("c1", "f", {"a": 1}), ("c2", "g", {"b": 2})]
    assert final.stop_reason == "tool_use"
    with OpenAI(api_key="unused", base_url=base + "/v1", max_retries=0) as c:
        *_, last = c.responses.create(model=MODEL, input="x", stream=True)
    assert [(o.call_id, o.name, json.loads(o.arguments)) for o in last.response.output] == [("c1", "f", {"a": 1}), ("c2", "g", {"b": 2})]
    assert last.response.status == "completed"


# ---- errors in nobody's shape ----

ODD_ERRORS = {
    "FastAPI's word": (400, {"detail": "no such parameter"}, "no such parameter"), "a bare string": (400, {"error": "no such parameter"}, "no such parameter"),
    "FastAPI's list": (422, {"detail": [{"loc": ["body", "x"], "msg": "no such parameter", "type": "extra"}]}, ""),
    "a message at the top": (400, {"object": "error", "message": "no such parameter", "code": 400}, "no such parameter"),
    "a number as code": (400, {"error": {"message": "no such parameter", "code": 400}}, "no such parameter"),
    "a page": (503, b"<html>busy</html>", ""), "nothing": (500, b"", ""), "a list": (500, [{"error": {"message": "x"}}], ""),
}


@pytest.mark.parametrize("server", ["openai", "anthropic"])
@pytest.mark.parametrize("path", ASK)
@pytest.mark.parametrize("name", ODD_ERRORS)
def test_errors_have_the_clients_shape(before_scripted, upstream, server, path, name):
    """But for an object of the server's own where both speak one dialect: that passes as it came."""
    status, body, words = ODD_ERRORS[name]
    upstream.play(whole(body, status))
    got, _, text = http("POST", before_scripted[server].base + path, ASK[path])
    reply = json.loads(text)
    if reply == body:
        assert isinstance(body["error"], dict) and got == status and (server == "anthropic") == (path == "/v1/messages")
        return
    error = reply["error"]
    assert got // 100 == status // 100 and isinstance(error["message"], str) and error["message"] and words in error["message"]
    if path == "/v1/messages":
        assert reply["type"] == "error" and reply["request_id"] and isinstance(error["type"], str)
    else:
        assert error["type"] in ("invalid_request_error", "server_error") and {"param", "code"} <= set(error)


@pytest.mark.parametrize("method, path, status, kind", [
    ("POST", "/v1/nothing", 404, "not_found_error"), ("GET", "/v1/messages", 405, "invalid_request_error"),
    ("POST", "/v1/messages/batches", 404, "not_found_error"), ("POST", "/v1/messages", 400, "invalid_request_error")])
def test_refusals_of_weirs_own_have_anthropics_shape_for_its_clients(before_scripted, method, path, status, kind):
    got, headers, text = http(method, before_scripted["anthropic"].base + path, b"{" if method == "POST" else None, {"anthropic-version": "2023-06-01"})
    reply = json.loads(text)
    assert got == status and reply["type"] == "error" and reply["error"]["type"] == kind and reply["request_id"] == headers["request-id"]


# ---- streams ----

PARTS = {"openai": (ROLE, b"".join([chunk({"content": "late"}), chunk(finish_reason="stop"), usage_chunk(), DONE])),
         "anthropic": (b"".join(STREAM[:3]), b"".join(STREAM[3:]))}  # the first has a ping of the server's own


@pytest.mark.parametrize("server", ["openai", "anthropic"])
def test_silence_is_bridged_with_anthropics_own_event(before_scripted, upstream, server):
    first, rest = PARTS[server]
    bridged = threading.Event()

    def step(exchange):
        """The rest goes out when the client has its ping."""
        stream(first, end=False)(exchange)
        bridged.wait()
        exchange.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))

    upstream.play(step)
    with Client(before_scripted[server].address) as c:
        c.send(request("POST", "/v1/messages", json.dumps({**ASK["/v1/messages"], "stream": True}).encode()))
        c.head()
        body = b""
        while body.count(b"event: ping") < 1 + (server == "anthropic"):
            size = int(c.until(b"\r\n"), 16)
            assert size, "the stream ends without a ping"
            body += c.exactly(size + 2)[:size]
        bridged.set()
        reply = c.body(200, [("Transfer-Encoding", "chunked")])
    blocks = (body + reply.body).decode().strip("\n").split("\n\n")
    named = [b.split("\n")[0] for b in blocks]
    assert reply.complete and all(b.startswith("event: ") for b in blocks), "comments are no events of this API"
    assert named.count("event: ping") >= 1 + (server == "anthropic") and named[-1] == "event: message_stop"
    assert all(json.loads(b.split("data: ")[1]) == {"type": "ping"} for b in blocks if "event: ping" in b)


def test_the_prompts_tokens_are_told_with_the_first_event(claude):
    first = next(iter(claude.messages.create(model=MODEL, max_tokens=9, messages=HELLO, stream=True)))
    assert first.type == "message_start" and first.message.usage.input_tokens > 0


def test_a_server_that_compresses_unasked_is_at_fault(claude, gpt, calm):
    """Plain replies were asked for. What it sent is neither passed on as text nor taken for an answer."""
    calm.faults([{"kind": "gzip"}])
    with pytest.raises(anthropic.InternalServerError):
        message(claude)
    with pytest.raises(anthropic.APIError):
        message(claude, stream=True)
    with pytest.raises(openai.InternalServerError):
        gpt.responses.create(model=MODEL, input="hello")


# ---- hostile questions ----

def test_a_large_image_and_large_tools(claude, gpt):
    picture = "A" * (1 << 20)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}}
    many = [{"name": f"t{n}", "description": "d" * 500, "input_schema": {"type": "object", "properties": {
        f"p{m}": {"type": "string", "description": "e" * 50} for m in range(50)}}} for n in range(100)]
    reply = message(claude, messages=[{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}], tools=many)
    assert reply.content[0].text and 85 < reply.usage.input_tokens < 200_000
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + picture}}
    reply = gpt.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}],
                                        tools=[{"type": "function", "function": {**{k: t[k] for k in ("name", "description")},
                                                                                 "parameters": t["input_schema"]}} for t in many])
    assert reply.choices[0].message.content and reply.usage.prompt_tokens > 85


@pytest.mark.parametrize("body", [
    b'\xef\xbb\xbf{"model":"%s","max_tokens":9,"messages":[]}', b'{"model":"%s","max_tokens":9,"messages":[{"role":"user","content":"\xe9"}]}',
    b'[{"model":"%s"}]', b'{"model":"%s","max_tokens":9,"messages":' + b"[" * 100_000, b'{"model":"%s","max_tokens":9} x', b"", b"null"],
    ids=["BOM", "Latin-1", "list", "deep", "more", "nothing", "null"])
@pytest.mark.parametrize("path", [*ASK, "/v1/messages/count_tokens", "/v1/embeddings"])
def test_what_is_no_json_object_is_refused(gateway, path, body):
    status, _, text = http("POST", gateway.base + path, body.replace(b"%s", MODEL.encode()))
    assert status == 400 and "JSON" in json.loads(text)["error"]["message"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-8", None])
def test_the_content_type_is_not_looked_at(gateway, kind):
    """curl -d sends a form's; servers of both APIs read the body as JSON whatever its type says."""
    for path, body in ASK.items():
        with Client(gateway.address) as c:
            c.send(request("POST", path, json.dumps(body).encode(), [("Content-Type", kind)] if kind else []))
            assert c.reply().status == 200


def test_members_that_are_null_are_not_there(claude, gpt):
    null = dict.fromkeys(("stop", "n", "tools", "tool_choice", "temperature", "logprobs", "response_format", "user", "max_tokens", "x_unknown"))
    assert gpt.chat.completions.create(model=MODEL, messages=HELLO, extra_body=null).choices[0].finish_reason == "stop"
    null = dict.fromkeys(("instructions", "tools", "tool_choice", "reasoning", "text", "previous_response_id", "store", "metadata", "include"))
    reply = gpt.responses.create(model=MODEL, input="hello", extra_body=null)
    assert reply.status == "completed" and (reply.store, reply.tools, reply.metadata) == (False, [], {})
    null = dict.fromkeys(("stop_sequences", "system", "tools", "tool_choice", "thinking", "metadata", "top_k", "service_tier"))
    assert message(claude, extra_body=null).stop_reason == "end_turn"


def test_nothing_is_stored_and_the_response_says_so(gpt):
    assert gpt.responses.create(model=MODEL, input="hello", store=True).store is False
    with pytest.raises(openai.NotFoundError):
        gpt.responses.retrieve("resp_1")


def test_instructions_in_every_place(gpt, calm):
    messages = [{"role": "system", "content": "One."}, *HELLO, {"role": "developer", "content": [{"type": "text", "text": "Two."}]},
                {"role": "assistant", "content": "Yes?"}, {"role": "system", "content": "Three."}, *HELLO]
    reply = gpt.chat.completions.create(model=MODEL, messages=messages)
    assert HELLO[0]["content"] in reply.choices[0].message.content
    sent = calm.get("/fleet/log?n=1")[-1]["body"]
    assert all(word in sent for word in ("One.", "Two.", "Three."))


@pytest.mark.parametrize("block", [
    {"type": "search_result", "source": "https://example.org", "title": "t", "content": [{"type": "text", "text": "x"}]},
    {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}, {"type": "container_upload", "file_id": "f"},
    {"type": "novel", "content": {"a": 1}, "source": 5}])
def test_blocks_of_every_kind_are_counted_or_refused_by_their_type(claude, gateway, over_anthropic, block):
    messages = [{"role": "user", "content": [block, {"type": "text", "text": "hello"}]}]
    assert claude.messages.count_tokens(model=MODEL, messages=messages).input_tokens > 0
    if gateway is over_anthropic:
        return  # its server is asked, and judges
    with pytest.raises(anthropic.BadRequestError) as refused:
        message(claude, messages=messages)
    assert "messages.0.content.0" in str(refused.value) and "type" in str(refused.value)

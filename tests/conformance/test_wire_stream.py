"""Event streams on the wire: what a client may rely on, whatever the upstream does. Checklist: streaming, OpenAI."""

import json
import threading

import pytest

import scripted
from rawhttp import Client, events, request
from scripted import DONE, ROLE, answer, chunk, close_delimited, event, raw, silent, stream, usage_chunk
from weirproc import wait_until

CHAT = "/v1/chat/completions"


def body(model="solo", **more):
    return json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": True, **more}).encode()


def ask(weir, **more):
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, body(**more)))
        reply = c.reply()
        assert reply.status == 200, reply.body
        return reply


def content(datas):
    return "".join(c["delta"].get("content") or "" for d in datas if d != "[DONE]" for c in json.loads(d).get("choices", []))


# ---- framing ----

def test_each_event_is_one_data_line_and_a_blank_line_and_done_comes_last(weir, upstream):
    upstream.play(stream(*answer("hel", "lo")))
    reply = ask(weir)
    assert reply.complete
    datas = events(reply.body)
    assert datas[-1] == "[DONE]" and datas.count("[DONE]") == 1
    assert content(datas) == "hello"


def test_stream_headers(weir, upstream):
    upstream.play(stream(*answer("x")))
    reply = ask(weir)
    assert reply.get("content-type").split(";")[0] == "text/event-stream"
    assert reply.get("cache-control") == "no-cache"
    assert reply.get("x-accel-buffering") == "no"
    assert reply.get("content-encoding") is None
    assert reply.get("transfer-encoding") == "chunked" and reply.get("content-length") is None
    assert reply.get("x-weir-model") == "solo"
    assert reply.get("x-weir-cost-usd") is None  # the head leaves before the cost is known


def test_no_gzip_on_streams_even_when_the_client_takes_it(weir, upstream):
    upstream.play(stream(*answer("x")))
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, body(), [("Accept-Encoding", "gzip, br")]))
        assert c.reply().get("content-encoding") is None


def test_role_first_finish_reason_null_until_last_and_one_identity(weir, upstream):
    upstream.play(stream(*answer("a", "b", "c")))
    chunks = [json.loads(d) for d in events(ask(weir).body)[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    reasons = [c["choices"][0]["finish_reason"] for c in chunks]
    assert reasons[:-1] == [None] * (len(reasons) - 1) and reasons[-1] == "stop"
    assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1


def test_chunks_pass_byte_for_byte(weir, upstream):
    odd = (b'data: {"id":"x","object":"chat.completion.chunk", "created":1700000000,\t"model":"up-solo","big":123456789012345678901234567890,'
           b'"f":1.0e+00,"choices":[{"index":0,"delta":{"content":"\\u00e9\\ud83d\\ude00 \\/ \xc3\xa9","reasoning_content":"r"},'
           b'"finish_reason":null}],"x":{"a":1,"a":2}}\n\n')
    upstream.play(stream(ROLE, odd, chunk(finish_reason="stop"), DONE))
    assert odd in ask(weir).body


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_every_line_end_of_the_standard_is_read(weir, upstream, end):
    text = b"".join(answer("hel", "lo")).replace(b"\n", end)
    upstream.play(stream(text))
    reply = ask(weir)
    assert reply.complete
    normal = reply.body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert content(events(normal)) == "hello" and normal.endswith(DONE)


def test_comments_event_lines_ids_and_a_bom_from_the_upstream_do_no_harm(weir, upstream):
    upstream.play(stream(b"\xef\xbb\xbf: PROCESSING\n\n", ROLE, b"event: message\nid: 7\nretry: 10\n" + chunk({"content": "ok"}),
                         b":\n", chunk(finish_reason="stop"), DONE))
    reply = ask(weir)
    assert reply.complete and reply.body.endswith(DONE)
    datas = [line[6:] for line in reply.body.decode("utf-8-sig").split("\n") if line.startswith("data: ")]
    assert content(datas) == "ok"


def test_data_without_a_space_and_done_with_blanks(weir, upstream):
    text = b"".join(answer("ok")).replace(b"data: {", b"data:{").replace(b"data: [DONE]", b"data:  [DONE] ")
    upstream.play(stream(text))
    reply = ask(weir)
    assert reply.complete and b"[DONE]" in reply.body
    datas = [line[5:].strip() for line in reply.body.decode().split("\n") if line.startswith("data:")]
    assert content(datas) == "ok"


def test_split_at_every_byte(weir, upstream):
    """UTF-8 and JSON cut anywhere: every two-part split of a stream gives the same answer."""
    text = b"".join([ROLE, chunk({"content": "gr\u00fc\u00df \U0001f600"}), chunk(finish_reason="stop"), DONE])
    for cut in range(1, len(text)):
        upstream.play(stream(text[:cut], text[cut:]))
        reply = ask(weir)
        assert reply.complete and reply.body == text, f"cut at {cut}"


def test_one_byte_chunks(weir, upstream):
    text = b"".join(answer("gr\u00fc\u00df", usage=False))
    upstream.play(stream(*(text[i:i + 1] for i in range(len(text)))))
    reply = ask(weir)
    assert reply.complete and reply.body == text


def test_many_events_in_one_segment(weir, upstream):
    words = [f"w{i} " for i in range(500)]
    upstream.play(stream(b"".join(answer(*words))))
    assert content(events(ask(weir).body)) == "".join(words)


# ---- every event leaves at once ----

def test_each_event_is_flushed_when_it_comes(weir, upstream):
    """The upstream sends the next event when the client has the one before."""
    events_, read = [ROLE, chunk({"content": "first"}), chunk({"content": "second"}), chunk(finish_reason="stop"), DONE], threading.Semaphore(0)

    def step(exchange):
        exchange.send(scripted.SSE_HEAD)
        for piece in events_:
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            read.acquire()
        exchange.send(b"0\r\n\r\n")

    upstream.play(step)
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, body()))
        c.head()
        for piece in events_:
            assert c.until(piece) is not None
            read.release()


def test_silence_is_bridged_with_comments_only_between_events(upstream_session, upstream, tmp_path):
    from conftest import scripted_policy
    from weirproc import Weir

    pieces, bridged = [ROLE, chunk({"content": "late"}), chunk(finish_reason="stop")], threading.Semaphore(0)

    def step(exchange):
        exchange.send(scripted.SSE_HEAD)
        for piece in pieces:
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            bridged.acquire()
        exchange.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(DONE), DONE))

    upstream.play(step)
    weir = Weir(tmp_path, scripted_policy(upstream_session.url, tmp_path / "state", ", sse_keepalive: 1s"))
    try:
        with Client(weir.address) as c:
            c.send(request("POST", CHAT, body()))
            c.head()
            for piece in pieces:
                assert c.until(piece) is not None
                assert c.until(b"\r\n:") is not None, "a comment, in a chunk of its own"
                bridged.release()
            assert c.until(DONE) is not None and c.until(b"0\r\n\r\n") is not None
    finally:
        weir.stop()


# ---- usage ----

def test_usage_is_asked_for_upstream_and_stripped_when_the_client_did_not(weir, upstream):
    upstream.play(stream(*answer("x")))
    datas = events(ask(weir).body)
    assert upstream.last.json()["stream_options"] == {"include_usage": True}
    assert datas[-1] == "[DONE]"
    assert not any(json.loads(d).get("usage") for d in datas[:-1])
    assert all(json.loads(d)["choices"] for d in datas[:-1]), "the usage chunk was to be dropped whole"


def test_usage_chunk_passes_when_asked_with_empty_choices(weir, upstream):
    upstream.play(stream(*answer("x")))
    datas = events(ask(weir, stream_options={"include_usage": True}).body)
    last = json.loads(datas[-2])
    assert last["choices"] == [] and last["usage"]["total_tokens"] == 12


def test_an_explicit_false_is_respected(weir, upstream):
    upstream.play(stream(*answer("x")))
    datas = events(ask(weir, stream_options={"include_usage": False, "include_obfuscation": False}).body)
    assert upstream.last.json()["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert not any(json.loads(d).get("usage") for d in datas[:-1])


def test_usage_members_of_content_chunks_are_stripped_too(weir, upstream):
    nulls = [ROLE, chunk({"content": "x"}, usage=None), chunk(finish_reason="stop", usage={"prompt_tokens": 1, "completion_tokens": 1,
                                                                                       "total_tokens": 2}), DONE]
    upstream.play(stream(*nulls))
    datas = events(ask(weir).body)
    assert content(datas) == "x"
    assert not any("usage" in json.loads(d) for d in datas[:-1])


def test_a_first_chunk_with_empty_choices_is_no_usage_chunk(weir, upstream):
    """Azure opens with prompt_filter_results and no choices."""
    filtered = event({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
    upstream.play(stream(filtered, *answer("x")))
    assert filtered in ask(weir).body


# ---- tools ----

def test_tool_deltas_pass_in_order_with_their_indices(weir, upstream):
    def call(index, **fields):
        return chunk({"tool_calls": [{"index": index, **fields}]})

    deltas = [call(0, id="call_a", type="function", function={"name": "f", "arguments": ""}),
              call(0, function={"arguments": '{"x"'}), call(0, function={"arguments": ":1}"}),
              call(1, id="call_b", type="function", function={"name": "g", "arguments": ""}),
              call(1, function={"arguments": "{}"})]
    upstream.play(stream(ROLE, *deltas, chunk(finish_reason="tool_calls"), DONE))
    got = ask(weir).body
    assert b"".join(deltas) in got and got.endswith(DONE)


# ---- answers that are not whole ----

def bad_chunk_size(exchange):
    stream(ROLE, chunk({"content": "par"}), end=False)(exchange)
    exchange.server.passed_on.wait()  # in a segment of its own: what came before it is with the client
    raw(b"zz\r\n")(exchange)


CUTS = {
    "FIN in mid-stream": stream(ROLE, chunk({"content": "par"}), end=False, then="close"),
    "RST in mid-stream": stream(ROLE, chunk({"content": "par"}), end=False, then="reset"),
    "terminating chunk without finish_reason": stream(ROLE, chunk({"content": "par"})),
    "FIN within an event": stream(ROLE, chunk({"content": "par"}), b'data: {"id":"chatcm', end=False, then="close"),
    "end within an event": stream(ROLE, chunk({"content": "par"}), b'data: {"id":"chatcm'),
    "close-delimited, cut": close_delimited(ROLE, chunk({"content": "par"})),
    "malformed JSON": stream(ROLE, chunk({"content": "par"}), b"data: {nonsense\n\n", then="hang", end=False),
    "an error event": stream(ROLE, chunk({"content": "par"}),
                             event({"error": {"message": "overloaded", "type": "server_error", "param": None, "code": None}})),
    "a bad chunk size": bad_chunk_size,
    "stalled": stream(ROLE, chunk({"content": "par"}), end=False, then="hang"),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_stream_that_is_not_whole_ends_with_an_error_event_no_done_and_a_close(weir, weir_hasty, upstream, name):
    upstream.passed_on = threading.Event()
    upstream.play(CUTS[name])
    with Client((weir_hasty if name == "stalled" else weir).address) as c:
        c.send(request("POST", CHAT, body()))
        status, headers = c.head()
        upstream.passed_on.set()
        reply = c.body(status, headers)
        assert reply.status == 200
        assert b"[DONE]" not in reply.body
        last = json.loads(events(reply.body)[-1])
        assert set(last["error"]) == {"message", "type", "param", "code"}
        assert last["error"]["message"] and last["error"]["type"] == "server_error"
        assert c.closed(), "the connection was to be closed after a cut answer"


def test_a_cut_before_the_first_event_is_an_ordinary_error(weir, upstream):
    upstream.play(stream(end=False, then="close"))
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, body()))
        reply = c.reply()
        assert reply.status == 502 and json.loads(reply.body)["error"]["code"] == "upstream_cut"


def test_a_cut_before_the_first_event_is_tried_again(weir, upstream):
    upstream.play(stream(end=False, then="close"), stream(*answer("ok")))
    reply = ask(weir, model="small")
    assert content(events(reply.body)) == "ok" and reply.get("x-weir-attempts") == "2"


def test_nothing_is_tried_again_after_a_byte_went_to_the_client(weir, upstream):
    upstream.play(CUTS["FIN in mid-stream"], stream(*answer("other")))
    assert b"other" not in ask(weir, model="small").body
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("then", ["keep", "close"])
def test_a_missing_done_on_a_complete_answer_is_supplied(weir, upstream, then):
    upstream.play(stream(*answer("whole")[:-1], then=then))
    reply = ask(weir)
    assert reply.complete and reply.body.endswith(DONE) and content(events(reply.body)) == "whole"


def test_a_missing_done_with_the_connection_left_open_does_not_hang(weir, upstream):
    upstream.play(stream(*answer("whole")[:-1], end=False, then="hang"))
    reply = ask(weir)
    assert reply.complete and reply.body.endswith(DONE)


def test_a_close_delimited_whole_answer_is_whole(weir, upstream):
    upstream.play(close_delimited(*answer("whole")))
    reply = ask(weir)
    assert reply.complete and reply.body.endswith(DONE)


def test_several_choices_are_whole_only_when_each_has_finished(weir, upstream):
    one = [chunk({"role": "assistant", "content": "a"}, index=0), chunk({"role": "assistant", "content": "b"}, index=1),
           chunk(finish_reason="stop", index=0)]
    upstream.play(stream(*one, end=True))
    assert b"[DONE]" not in ask(weir, n=2).body
    upstream.play(stream(*one, chunk(finish_reason="stop", index=1), DONE))
    assert ask(weir, n=2).body.endswith(DONE)


# ---- clients that leave, clients that are slow ----

@pytest.mark.parametrize("stage", ["before the first byte", "in mid-stream"])
def test_the_upstream_is_left_at_once_when_the_client_goes(weir, upstream, stage):
    upstream.play(silent if stage == "before the first byte" else stream(ROLE, end=False, then="hang"))
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, body()))
        if stage == "in mid-stream":
            c.until(b"\n\n")
        wait_until(lambda: upstream.seen, 5, "the request to arrive")
    wait_until(lambda: upstream.gone, 5, "the upstream connection to be dropped")  # sooner than any of its timeouts


def test_a_slow_client_pauses_the_upstream(weir, upstream):
    """A client that does not read must not make weir take in the whole answer."""
    sent = []
    piece = chunk({"content": "x" * 8000})

    def flood(exchange):
        exchange.send(scripted.SSE_HEAD)
        exchange.connection.settimeout(2)
        try:
            for _ in range(4000):
                exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
                sent.append(len(piece))
        except TimeoutError:
            upstream.note("paused")
        exchange.close()

    upstream.play(flood)
    c = Client(weir.address)
    try:
        c.send(request("POST", CHAT, body()))
        wait_until(lambda: upstream.notes or len(sent) == 4000, 30, "the upstream to be paused")
        assert upstream.notes == ["paused"] and sum(sent) < 24e6
    finally:
        c.socket.close()


def test_usage_in_the_upstreams_last_content_chunk_when_the_client_asked(weir, upstream):
    upstream.play(stream(ROLE, chunk({"content": "x"}), chunk(finish_reason="stop", usage={"prompt_tokens": 3, "completion_tokens": 1,
                                                                                       "total_tokens": 4}), DONE))
    datas = events(ask(weir, stream_options={"include_usage": True}).body)
    assert json.loads(datas[-2])["usage"]["total_tokens"] == 4


def test_completions_stream(weir, upstream):
    parts = [event({"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up-solo",
                    "choices": [{"text": t, "index": 0, "logprobs": None, "finish_reason": r}]}) for t, r in (("a", None), ("b", "stop"))]
    upstream.play(stream(*parts, usage_chunk(), DONE))
    with Client(weir.address) as c:
        c.send(request("POST", "/v1/completions", json.dumps({"model": "solo", "prompt": "p", "stream": True}).encode()))
        reply = c.reply()
    assert reply.body == b"".join(parts) + DONE

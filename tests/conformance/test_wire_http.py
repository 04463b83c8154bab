"""HTTP itself: framing, methods, CORS, connections, hostile heads. Checklist: transport."""

import gzip
import hashlib
import json
import re
import socket
import threading
import time

import pytest

import scripted
from conftest import scripted_policy
from rawhttp import Client, chunked, request
from scripted import OK_REPLY, raw, silent, whole
from weirproc import Weir, wait_until

CHAT = "/v1/chat/completions"
BODY = json.dumps({"model": "solo", "messages": [{"role": "user", "content": "hi"}]}).encode()


def once(weir, data, method="GET", interim=None):
    with Client(weir.address) as c:
        c.send(data)
        return c.reply(method, interim)


def error_of(reply):
    assert reply.get("content-type").split(";")[0] == "application/json"
    parsed = json.loads(reply.body)
    assert set(parsed) == {"error"} and set(parsed["error"]) == {"message", "type", "param", "code"}, parsed
    assert parsed["error"]["message"] and parsed["error"]["type"]
    return parsed["error"]


# ---- a plain request ----

def test_whole_reply_and_its_headers(weir, upstream):
    reply = once(weir, request("POST", CHAT, BODY))
    assert reply.status == 200 and json.loads(reply.body) == OK_REPLY
    assert reply.get("content-type") == "application/json"
    assert reply.get("x-request-id")
    assert reply.get("x-weir-model") == "solo"
    assert reply.get("x-weir-endpoint") == f"127.0.0.1:{upstream.port}"
    assert reply.get("x-weir-route") == "alone"
    assert reply.get("x-weir-attempts") == "1"
    assert float(reply.get("x-weir-cost-usd")) == pytest.approx((10 * 1.00 + 2 * 4.00) / 1e6, rel=1e-9)


def test_request_ids_are_unique(weir, upstream):
    ids = {once(weir, request("POST", CHAT, BODY)).get("x-request-id") for _ in range(5)}
    assert len(ids) == 5


def test_keep_alive_serves_many_requests_on_one_connection(weir, upstream):
    with Client(weir.address) as c:
        for _ in range(20):
            c.send(request("POST", CHAT, BODY))
            assert c.reply().status == 200
    assert upstream.connections <= 1, "the upstream connection was to be reused"


def test_connection_close_is_honoured(weir, upstream):
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, BODY, [("Connection", "close")]))
        assert c.reply().status == 200
        assert c.closed()


def test_http_1_0_closes_after_the_reply(weir, upstream):
    with Client(weir.address) as c:
        c.send(b"POST %s HTTP/1.0\r\nContent-Length: %d\r\nContent-Type: application/json\r\n\r\n%s" % (CHAT.encode(), len(BODY), BODY))
        reply = c.reply()
        assert reply.status == 200 and reply.get("transfer-encoding") is None
        assert c.closed()


def test_http_1_0_stream_is_close_delimited(weir, upstream):
    upstream.play(scripted.stream(*scripted.answer("x")))
    data = json.dumps({"model": "solo", "messages": [], "stream": True}).encode()
    with Client(weir.address) as c:
        c.send(b"POST %s HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (CHAT.encode(), len(data), data))
        reply = c.reply()
        assert reply.get("transfer-encoding") is None and reply.body.endswith(scripted.DONE)


def test_pipelined_requests_are_answered_in_order(weir, upstream):
    replies = [{**OK_REPLY, "id": f"chatcmpl-{i}"} for i in range(5)]
    upstream.play(*(whole(r) for r in replies))
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, BODY) * 5)
        assert [json.loads(c.reply().body)["id"] for _ in range(5)] == [r["id"] for r in replies]


def test_a_request_split_at_every_byte(weir, upstream):
    data = request("POST", CHAT, BODY)
    for cut in range(1, len(data)):
        upstream.reset()
        with Client(weir.address) as c:
            c.send(data[:cut])
            c.send(data[cut:])
            assert c.reply().status == 200, f"cut at {cut}"


def test_a_request_byte_by_byte(weir, upstream):
    with Client(weir.address) as c:
        for i in range(0, len(data := request("POST", CHAT, BODY))):
            c.send(data[i:i + 1])
        assert c.reply().status == 200


def test_leading_blank_lines_before_a_request_are_tolerated(weir, upstream):
    """RFC 9112, 2.2: a server should ignore at least one empty line before the request line."""
    assert once(weir, b"\r\n" + request("POST", CHAT, BODY)).status == 200


# ---- bodies ----

@pytest.mark.parametrize("size", [1, 7, 100, 10000])
def test_chunked_request_bodies(weir, upstream, size):
    data = request("POST", CHAT, b"", [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")])
    reply = once(weir, data + chunked(BODY, size))
    assert reply.status == 200
    assert upstream.last.json()["messages"] == json.loads(BODY)["messages"]


def test_chunk_extensions_and_trailers_are_read_over(weir, upstream):
    head = request("POST", CHAT, b"", [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")])
    coded = b"%x;a=b\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(BODY), BODY)
    assert once(weir, head + coded).status == 200


def test_expect_100_continue(weir, upstream):
    with Client(weir.address) as c:
        data = request("POST", CHAT, BODY, [("Expect", "100-continue")])
        c.send(data[:-len(BODY)])
        assert c.head()[0] == 100, "the client waits for leave to send the body"
        assert not upstream.seen
        c.send(BODY)
        assert c.reply().status == 200
    assert upstream.last.header("expect") is None


def test_expect_is_refused_before_the_body_when_the_request_is(weir, upstream):
    reply = once(weir, request("POST", "/v1/nothing", BODY, [("Expect", "100-continue")])[:-len(BODY)])
    assert reply.status == 404


def test_an_unknown_expectation_is_refused(weir, upstream):
    assert once(weir, request("POST", CHAT, BODY, [("Expect", "a-miracle")])).status == 417


def test_large_bodies_pass_whole(weir, upstream):
    """Tens of megabytes: long prompts and images."""
    picture = "A" * (20 << 20)
    data = json.dumps({"model": "solo", "messages": [{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + picture}}]}]}).encode()
    with Client(weir.address, 60) as c:
        c.send(request("POST", CHAT, data))
        assert c.reply().status == 200
    assert len(upstream.last.body) == len(data) + len("up-solo") - len("solo")


def test_a_body_over_the_limit_is_refused_from_its_announcement(weir, upstream):
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, b"", [("Content-Length", str(41 << 20)), ("Content-Type", "application/json")]))
        reply = c.reply()
        assert reply.status == 413 and error_of(reply)["code"] == "request_too_large"
        assert c.closed()
    assert not upstream.seen


def test_a_chunked_body_over_the_limit_is_refused_on_the_way(weir, upstream):
    with Client(weir.address, 60) as c:
        c.send(request("POST", CHAT, b"", [("Transfer-Encoding", "chunked"), ("Content-Type", "application/json")]))
        piece = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        try:
            for _ in range(64):
                c.send(piece)
        except OSError:
            pass  # weir stopped reading; its reply may already be on the way
        try:
            assert c.reply().status == 413
        except (ConnectionResetError, AssertionError) as gone:
            assert "without a reply" in str(gone) or isinstance(gone, ConnectionResetError)
    assert not upstream.seen


def test_a_compressed_request_is_refused_in_words_or_understood(weir, upstream):
    reply = once(weir, request("POST", CHAT, gzip.compress(BODY), [("Content-Encoding", "gzip")]))
    if reply.status == 200:
        assert upstream.last.json()["messages"] == json.loads(BODY)["messages"]
    else:
        assert reply.status == 415 and error_of(reply)["code"] == "unsupported_media_type"
        assert not upstream.seen


def test_a_compressed_reply_reaches_the_client_readable(weir, upstream):
    data = gzip.compress(json.dumps(OK_REPLY).encode())
    upstream.play(whole(data, headers=[("Content-Encoding", "gzip")]))
    reply = once(weir, request("POST", CHAT, BODY, [("Accept-Encoding", "gzip")]))
    asked = upstream.last.header("accept-encoding")
    if asked is None or "gzip" not in asked:  # weir asked for identity: a server that compresses all the same may be an error
        assert asked in (None, "identity")
        if reply.status == 200:
            plain = gzip.decompress(reply.body) if reply.get("content-encoding") == "gzip" else reply.body
            assert json.loads(plain) == OK_REPLY
        else:
            assert reply.status == 502 and error_of(reply)
    else:
        plain = gzip.decompress(reply.body) if reply.get("content-encoding") == "gzip" else reply.body
        assert json.loads(plain) == OK_REPLY


def test_identity_is_asked_for_upstream(weir, upstream):
    once(weir, request("POST", CHAT, BODY, [("Accept-Encoding", "gzip, br")]))
    assert upstream.last.header("accept-encoding") in (None, "identity")


@pytest.mark.parametrize("pieces", ["whole", "bytes"])
def test_a_chunked_whole_reply(weir, upstream, pieces):
    text = json.dumps(OK_REPLY).encode()
    coded = chunked(text, len(text) if pieces == "whole" else 1)
    upstream.play(raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + coded, "keep"))
    assert once(weir, request("POST", CHAT, BODY)).body == text


def test_a_close_delimited_whole_reply(weir, upstream):
    text = json.dumps(OK_REPLY).encode()
    upstream.play(raw(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + text))
    assert once(weir, request("POST", CHAT, BODY)).body == text


def test_interim_replies_of_the_upstream_are_skipped(weir, upstream):
    text = json.dumps(OK_REPLY).encode()
    upstream.play(raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n%s" % (len(text), text), "keep"))
    assert once(weir, request("POST", CHAT, BODY)).body == text


# ---- headers ----

def test_hop_by_hop_headers_stay_on_their_hop(weir, upstream):
    upstream.play(whole(headers=[("Connection", "X-Up-Hop"), ("X-Up-Hop", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Authenticate", "x")]))
    reply = once(weir, request("POST", CHAT, BODY, [("Connection", "keep-alive, X-Hop"), ("X-Hop", "1"), ("Keep-Alive", "300"),
                                                    ("TE", "trailers"), ("Proxy-Authorization", "Basic eA=="), ("Upgrade", "h2c")]))
    assert reply.status == 200
    for name in ("x-hop", "keep-alive", "te", "proxy-authorization", "upgrade", "trailer"):
        assert upstream.last.header(name) is None, name
    for name in ("x-up-hop", "keep-alive", "proxy-authenticate"):
        assert reply.get(name) is None, name


def test_the_clients_key_and_cookies_never_reach_the_upstream(weir, upstream):
    once(weir, request("POST", CHAT, BODY, [("Authorization", "Bearer sk-client"), ("x-api-key", "sk-client"), ("Cookie", "a=sk-client")]))
    assert b"sk-client" not in upstream.last.raw_head


def test_host_and_length_are_the_upstreams_own(weir, upstream):
    once(weir, request("POST", CHAT, BODY))
    hosts = [v for n, v in upstream.last.headers if n.lower() == "host"]
    assert hosts == [f"127.0.0.1:{upstream.port}"]
    assert upstream.last.target == "/v1/chat/completions"
    assert upstream.last.header("content-type") == "application/json"


def test_limits_and_ids_of_the_upstream_pass_unprefixed(weir, upstream):
    upstream.play(whole(headers=[("x-ratelimit-remaining-tokens", "149984"), ("x-ratelimit-reset-requests", "1ms"),
                                 ("openai-processing-ms", "42"), ("openai-organization", "org")]))
    reply = once(weir, request("POST", CHAT, BODY))
    assert reply.get("x-ratelimit-remaining-tokens") == "149984" and reply.get("x-ratelimit-reset-requests") == "1ms"
    assert reply.get("openai-processing-ms") == "42"


# ---- methods, paths, CORS ----

@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions"])
def test_base_url_with_and_without_v1(weir, upstream, path):
    assert once(weir, request("POST", path, BODY)).status == 200
    assert upstream.last.target == "/v1/chat/completions"


@pytest.mark.parametrize("path", ["/v1/models", "/models"])
def test_models_with_and_without_v1(weir, upstream, path):
    listed = json.loads(once(weir, request("GET", path)).body)
    assert listed["object"] == "list"
    ids = [m["id"] for m in listed["data"]]
    assert {"auto", "small", "smart", "solo", "embed"} <= set(ids) and len(ids) == len(set(ids))
    assert all(m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"] for m in listed["data"])


def test_one_model(weir, upstream):
    assert json.loads(once(weir, request("GET", "/v1/models/smart")).body)["id"] == "smart"


def test_a_tenant_sees_the_models_that_its_routes_let_it_call(upstream_session, upstream, tmp_path):
    """In lists, by id, when tokens are counted, and when it asks: no model of another tenant's is there."""
    keys = {name: f"key-of-{name}" for name in ("acme", "globex")}
    tenants = "".join(f"  {name}: {{keys: [{{sha256: {hashlib.sha256(key.encode()).hexdigest()}}}]}}\n" for name, key in keys.items())
    policy = scripted_policy(upstream_session.url, tmp_path / "state", extra="tenants:\n" + tenants)
    policy = policy.replace("match: {model: solo}", "match: {model: solo, tenant: globex}").replace("smart: small", "smart: small\n  lone: solo")
    weir = Weir(tmp_path, policy)
    try:
        for name, key in keys.items():
            own = {"solo", "lone"} if name == "globex" else set()
            for headers in ([("x-api-key", key)], [("x-api-key", key), ("anthropic-version", "2023-06-01")]):
                listed = json.loads(once(weir, request("GET", "/v1/models", b"", headers)).body)
                ids = [m["id"] for m in listed["data"]]
                assert set(ids) == {"auto", "small", "smart", "embed"} | own, "large is a fall-back only"
                if len(headers) == 2:
                    assert (listed["first_id"], listed["last_id"], listed["has_more"]) == (ids[0], ids[-1], False)
                for model in ("solo", "lone"):
                    one = once(weir, request("GET", f"/v1/models/{model}", b"", headers))
                    assert one.status == (200 if own else 404)
            body = b'{"model":"lone","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}'
            count = once(weir, request("POST", "/v1/messages/count_tokens", body, [("x-api-key", key)]))
            asked = once(weir, request("POST", "/v1/chat/completions", body, [("x-api-key", key)]))
            assert count.status == asked.status == (200 if own else 404)
    finally:
        weir.stop()


def test_a_tenant_without_any_route_sees_an_empty_list(upstream_session, upstream, tmp_path):
    tenants = "".join(f"  {name}: {{keys: [{{sha256: {hashlib.sha256(name.encode()).hexdigest()}}}]}}\n" for name in ("acme", "globex"))
    policy = scripted_policy(upstream_session.url, tmp_path / "state", extra="tenants:\n" + tenants)
    weir = Weir(tmp_path, re.sub(r"match: {model: ([^}]+)}", r"match: {model: \1, tenant: acme}", policy))
    try:
        openai = json.loads(once(weir, request("GET", "/v1/models", b"", [("x-api-key", "globex")])).body)
        assert openai == {"object": "list", "data": []}
        anthropic = json.loads(once(weir, request("GET", "/v1/models", b"", [("x-api-key", "globex"), ("anthropic-version", "2023-06-01")])).body)
        assert anthropic == {"data": [], "has_more": False, "first_id": None, "last_id": None}
    finally:
        weir.stop()


def test_head_sends_the_same_head_and_no_body(weir, upstream):
    with Client(weir.address) as c:
        c.send(request("HEAD", "/v1/models"))
        head = c.reply("HEAD")
        c.send(request("GET", "/v1/models"))
        got = c.reply()
    assert head.status == got.status == 200
    assert head.get("content-length") == str(len(got.body))


def test_options_names_the_methods(weir, upstream):
    reply = once(weir, request("OPTIONS", CHAT))
    assert reply.status in (200, 204) and not reply.body
    assert "POST" in reply.get("allow")


def test_cors_preflight(weir, upstream):
    reply = once(weir, request("OPTIONS", CHAT, b"", [("Origin", "https://app.example"), ("Access-Control-Request-Method", "POST"),
                                                      ("Access-Control-Request-Headers", "authorization,content-type,x-stainless-os")]))
    assert reply.status in (200, 204)
    assert reply.get("access-control-allow-origin") == "https://app.example"
    assert "POST" in reply.get("access-control-allow-methods")
    allowed = reply.get("access-control-allow-headers").lower()
    assert allowed == "*" or {"authorization", "content-type", "x-stainless-os"} <= {h.strip() for h in allowed.split(",")}
    assert "origin" in (reply.get("vary") or "").lower()


def test_cors_on_replies_and_on_errors(weir, upstream):
    origin = [("Origin", "https://app.example")]
    for path in (CHAT, "/v1/nothing"):
        reply = once(weir, request("POST", path, BODY, origin))
        assert reply.get("access-control-allow-origin") == "https://app.example"
        assert "x-request-id" in reply.get("access-control-expose-headers").lower()


def test_cors_is_silent_to_strangers(weir, upstream):
    reply = once(weir, request("POST", CHAT, BODY, [("Origin", "https://evil.example")]))
    assert reply.get("access-control-allow-origin") is None


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v1/chat/completions/x", "/v2/chat/completions", "//v1/models", "/admin/requests", "/metrics"])
def test_unknown_paths(weir, upstream, path):
    reply = once(weir, request("POST", path, BODY))
    assert reply.status == 404
    assert error_of(reply)["code"] == "unknown_url"


@pytest.mark.parametrize("method,path", [("GET", CHAT), ("DELETE", CHAT), ("POST", "/v1/models"), ("PUT", "/v1/embeddings")])
def test_wrong_methods(weir, upstream, method, path):
    reply = once(weir, request(method, path))
    assert reply.status == 405 and error_of(reply)["code"] == "method_not_allowed"
    assert reply.get("allow")


def test_a_query_does_not_change_the_path(weir, upstream):
    assert once(weir, request("POST", CHAT + "?api-version=2024-10-21", BODY)).status == 200


# ---- hostile heads ----

HOSTILE = {
    "Content-Length and Transfer-Encoding": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two different Content-Lengths": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    "a list of different Content-Lengths": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4, 5\r\n\r\nabcde",
    "Content-Length +N": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd",
    "Content-Length -N": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\nabcd",
    "Content-Length 0xN": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 0x4\r\n\r\nabcd",
    "Content-Length overflow": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551620\r\n\r\nabcd",
    "chunked not last": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a chunk size with 0x": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a sign": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "a bare LF in chunk framing": b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
    "chunked in HTTP/1.0": b"POST %s HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n",
    "a folded header": b"POST %s HTTP/1.1\r\nHost: x\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
    "a bare CR in a value": b"POST %s HTTP/1.1\r\nHost: x\r\nX-A: b\rc\r\nContent-Length: 0\r\n\r\n",
    "a NUL in a value": b"POST %s HTTP/1.1\r\nHost: x\r\nX-A: b\0c\r\nContent-Length: 0\r\n\r\n",
    "no Host": b"POST %s HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two Hosts": b"POST %s HTTP/1.1\r\nHost: x\r\nHost: y\r\nContent-Length: 0\r\n\r\n",
    "a header without a colon": b"POST %s HTTP/1.1\r\nHost: x\r\nNonsense\r\n\r\n",
    "an empty header name": b"POST %s HTTP/1.1\r\nHost: x\r\n: v\r\n\r\n",
    "a bad method": b"P@ST %s HTTP/1.1\r\nHost: x\r\n\r\n",
    "no version": b"POST %s\r\nHost: x\r\n\r\n",
    "another protocol": b"POST %s HTTQ/1.1\r\nHost: x\r\n\r\n",
    "a blank in the target": b"POST %s x HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_ambiguous_or_malformed_heads_are_refused_and_the_connection_closed(weir, upstream, name):
    data = HOSTILE[name].replace(b"%s", CHAT.encode(), 1)
    smuggled = request("GET", "/v1/models")
    with Client(weir.address) as c:
        c.send(data + smuggled)
        reply = c.reply()
        assert reply.status in (400, 501, 505), reply.status
        error_of(reply)
        assert c.closed(), "what follows a malformed message must not be read as a request"
    assert not upstream.seen


def test_equal_content_lengths_are_not_ambiguous_but_may_be_refused(weir, upstream):
    data = request("POST", CHAT, BODY, [("Content-Length", str(len(BODY))), ("Content-Length", str(len(BODY)))])
    assert once(weir, data).status in (200, 400)


def test_http_2_preface_is_refused_in_words(weir, upstream):
    with Client(weir.address) as c:
        c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert c.reply().status in (400, 505)


def test_a_head_that_is_too_large(weir, upstream):
    reply = once(weir, request("GET", "/v1/models", b"", [("X-Big", "x" * 200_000)]))
    assert reply.status == 431 and error_of(reply)["code"] == "headers_too_large"


def test_a_head_with_too_many_lines(weir, upstream):
    with Client(weir.address) as c:
        try:
            c.send(request("GET", "/v1/models", b"", [(f"X-{i}", "y") for i in range(5000)]))
        except OSError:
            pass
        assert c.reply().status in (400, 431)


MALFORMED_REPLIES = {
    "no HTTP": b"hello\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "not JSON": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n<htm>",
    "JSON of another kind": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: y\r\n",
}


@pytest.mark.parametrize("name", MALFORMED_REPLIES)
def test_malformed_replies_are_the_upstreams_fault(weir, upstream, name):
    upstream.play(raw(MALFORMED_REPLIES[name]))
    reply = once(weir, request("POST", CHAT, BODY))
    assert reply.status == 502 and error_of(reply)["code"] in ("upstream_malformed", "upstream_reset", "upstream_cut")


def test_a_truncated_reply_is_never_passed_off_as_whole(weir, upstream):
    upstream.play(raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + json.dumps(OK_REPLY).encode()[:100]))
    reply = once(weir, request("POST", CHAT, BODY))
    assert reply.status == 502 and error_of(reply)["code"] == "upstream_cut"


def test_a_second_reply_smuggled_behind_the_first_is_not_read(weir, upstream):
    text = json.dumps(OK_REPLY).encode()
    reply_bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
    poison = reply_bytes.replace(b'"hello"', b'"POISO"')
    upstream.play(raw(reply_bytes + poison, "keep"), whole())
    with Client(weir.address) as c:
        for _ in range(2):
            c.send(request("POST", CHAT, BODY))
            assert b"POISO" not in c.reply().body


# ---- clients that leave, time-outs ----

def test_a_client_that_leaves_cancels_a_whole_reply(weir, upstream):
    upstream.play(silent)
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, BODY))
        wait_until(lambda: upstream.seen, 5, "the request to arrive")
    wait_until(lambda: upstream.gone, 5, "the upstream connection to be dropped")  # sooner than any of its timeouts


def test_silence_before_the_first_byte_times_out(weir_hasty, upstream):
    upstream.play(silent)
    began = time.monotonic()
    reply = once(weir_hasty, request("POST", CHAT, BODY))
    assert reply.status == 504 and error_of(reply)["code"] == "upstream_timeout"
    assert time.monotonic() - began > 1.5


def test_silence_within_a_reply_times_out(weir_hasty, upstream):
    upstream.play(raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{", "hang"))
    reply = once(weir_hasty, request("POST", CHAT, BODY))
    assert reply.status == 504 and error_of(reply)["code"] == "upstream_timeout"


def test_many_clients_at_once(weir, upstream):
    failures = []

    def work():
        try:
            with Client(weir.address, 30) as c:
                for _ in range(10):
                    c.send(request("POST", CHAT, BODY))
                    assert c.reply().status == 200
        except (AssertionError, OSError) as e:
            failures.append(e)

    threads = [threading.Thread(target=work) for _ in range(32)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures, failures[:3]
    assert len(upstream.seen) == 320


def test_connections_that_say_nothing_do_no_harm(weir, upstream):
    idle = [socket.create_connection(weir.address) for _ in range(50)]
    try:
        assert once(weir, request("POST", CHAT, BODY)).status == 200
    finally:
        for s in idle:
            s.close()

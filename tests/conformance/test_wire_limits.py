"""Limits: what is refused, in which words, what is left alone, and that nothing is kept of it."""

import json
import socket
import sqlite3

import pytest

import scripted
from conftest import scripted_policy
from rawhttp import Client, events, request
from scripted import DONE, ROLE, answer, chunk, error, silent, stream, whole
from test_accounting import metric, rows
from test_wire_http import BODY, CHAT, error_of, once
from weirproc import Weir, http, wait_until


@pytest.fixture
def start(upstream_session, tmp_path):
    running = []

    def start_one(server="", extra="", policy=None):
        running.append(Weir(tmp_path, policy or scripted_policy(upstream_session.url, tmp_path / "state", server, extra)))
        return running[-1]

    yield start_one
    for weir in running:
        weir.stop()


def test_more_requests_than_allowed_get_503_and_are_told_when_to_come_again(start, upstream):
    weir = start(", limits: {in_flight: 1}")
    upstream.play(silent)
    with Client(weir.address) as first:
        first.send(request("POST", CHAT, BODY))
        wait_until(lambda: upstream.seen, 5, "the first request")
        reply = once(weir, request("POST", CHAT, BODY))
        got = error_of(reply)
        assert reply.status == 503 and got["code"] == "overloaded" and got["type"] == "server_error"
        assert int(reply.get("retry-after")) >= 1 and int(reply.get("retry-after-ms")) >= 1
        assert once(weir, request("GET", "/v1/models")).status == 200, "what costs nothing is not limited"
    wait_until(lambda: upstream.gone, 5, "the upstream to be left")
    assert wait_until(lambda: once(weir, request("POST", CHAT, BODY)).status == 200, 5, "room again")


def test_refused_requests_do_not_use_up_the_limit(start, upstream):
    weir = start(", limits: {in_flight: 2}")
    for data in (request("POST", CHAT, b"{"), request("POST", CHAT, b'{"model":"nothing","messages":[]}'),
                 request("POST", CHAT, BODY, [("Content-Encoding", "br")]), request("POST", CHAT, b"x" * 10, [("Expect", "else")])):
        for _ in range(4):
            assert once(weir, data).status >= 400
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, BODY)[:-5])  # leaves within its body
    assert wait_until(lambda: once(weir, request("POST", CHAT, BODY)).status == 200, 5, "room")
    wait_until(lambda: metric(weir, "weir_requests_in_flight") == 0, 5, "nothing to be in flight")


def test_more_connections_than_allowed_are_closed_and_counted(start, upstream):
    weir = start(", limits: {connections: 4}")
    held = [Client(weir.address) for _ in range(4)]
    try:
        wait_until(lambda: metric(weir, "weir_client_connections") == 4, 5, "four connections")
        with Client(weir.address) as fifth:
            assert fifth.closed()
        wait_until(lambda: metric(weir, "weir_dropped_total", reason="too many connections") == 1, 5, "the fifth to be counted")
        held.pop().socket.close()
        wait_until(lambda: metric(weir, "weir_client_connections") == 3, 5, "one to be gone")
        assert once(weir, request("POST", CHAT, BODY)).status == 200
    finally:
        for c in held:
            c.socket.close()


def test_a_backends_limit_is_kept_and_the_next_model_is_asked(start, upstream, tmp_path, upstream_session):
    weir = start(policy=scripted_policy(upstream_session.url, tmp_path / "state").replace("    timeouts:", "    limits: {in_flight: 1}\n    timeouts:"))
    upstream.play(silent)
    with Client(weir.address) as first:
        first.send(request("POST", CHAT, BODY))
        wait_until(lambda: upstream.seen, 5, "the first request")
        reply = once(weir, request("POST", CHAT, BODY))  # while the first still waits
        assert reply.status == 503 and error_of(reply)["code"] == "upstream_busy" and reply.get("retry-after")
        booked, attempts = rows(weir, reply.get("x-request-id"))
        assert booked["cost_nanousd"] == 0 and attempts == [] and booked["outcome"] == "upstream_busy"


def test_a_retry_that_finds_the_other_endpoint_busy_returns_to_the_first(start, tmp_path):
    """Two endpoints with room for one request each: one is busy, the other fails once."""
    pair = [scripted.Upstream(), scripted.Upstream()]
    urls = json.dumps([u.url for u in pair])
    try:
        weir = start(policy=scripted_policy("URL", tmp_path / "state").replace('"URL"', urls).replace(
            "    timeouts:", "    limits: {in_flight: 1}\n    timeouts:").replace("retry: {max_attempts: 1}", "retry: {max_attempts: 3}"))
        for u in pair:
            u.play(silent)
        with Client(weir.address) as first:
            first.send(request("POST", CHAT, BODY))
            wait_until(lambda: pair[0].seen or pair[1].seen, 5, "the first request")
            idle = pair[0] if pair[1].seen else pair[1]
            idle.play(error(500), whole())
            reply = once(weir, request("POST", CHAT, BODY))
            assert reply.status == 200 and reply.get("x-weir-attempts") == "2" and len(idle.seen) == 2
            assert reply.get("x-weir-endpoint") == f"127.0.0.1:{idle.port}"
    finally:
        for u in pair:
            u.close()


def test_headers_of_the_operator_stand_in_place_of_the_clients(start, upstream, upstream_session, tmp_path):
    """A client must not be able to put a second value beside the operator's."""
    text = scripted_policy(upstream_session.url, tmp_path / "state").replace(
        "    timeouts:", '    headers: {x-goog-api-key: operators, x-team: ours}\n    timeouts:')
    weir = start(policy=text)
    upstream.play(error(500), whole())
    sent = json.dumps({"model": "small", "messages": []}).encode()
    assert once(weir, request("POST", CHAT, sent, [("X-Goog-Api-Key", "forged"), ("x-kept", "1"), ("X-TEAM", "a"), ("x-team", "b")])).status == 200
    assert len(upstream.seen) == 2
    for exchange in upstream.seen:
        values = [(n.lower(), v) for n, v in exchange.headers if n.lower() in ("x-goog-api-key", "x-team", "x-kept")]
        assert sorted(values) == [("x-goog-api-key", "operators"), ("x-kept", "1"), ("x-team", "ours")]


def test_what_weir_says_of_itself_cannot_be_forged(weir, upstream):
    upstream.play(whole(headers=[("x-weir-cost-usd", "0"), ("x-weir-model", "other"), ("X-Request-Id", "theirs"), ("Set-Cookie", "a=b"),
                                 ("Access-Control-Allow-Origin", "*"), ("Strict-Transport-Security", "max-age=1"), ("Content-MD5", "x"),
                                 ("ETag", '"x"'), ("WWW-Authenticate", "Basic"), ("Clear-Site-Data", '"*"'), ("Age", "5")]))
    reply = once(weir, request("POST", CHAT, BODY, [("x-weir-cost-usd", "9"), ("x-weir-route", "forged"), ("x-request-id", "mine")]))
    assert reply.get("x-weir-model") == "solo" and reply.get("x-weir-cost-usd") != "0" and reply.get("x-weir-route") == "alone"
    assert reply.get("x-request-id") not in ("mine", "theirs") and reply.get("x-weir-upstream-request-id") == "theirs"
    for name in ("set-cookie", "access-control-allow-origin", "strict-transport-security", "content-md5", "etag", "www-authenticate",
                 "clear-site-data", "age"):
        assert reply.get(name) is None, name
    assert not any(n.lower().startswith("x-weir-") for n, _ in upstream.last.headers)
    assert upstream.last.header("x-request-id") is None


def test_a_client_may_send_tabs_and_bytes_beyond_ascii_in_headers(weir, upstream):
    reply = once(weir, request("POST", CHAT, BODY, [("x-note", "a\tb"), ("x-name", "J\u00f6rg")]))
    assert reply.status == 200
    assert upstream.last.header("x-note") == "a\tb" and upstream.last.header("x-name") == "J\u00f6rg"


def test_many_and_long_headers_of_the_upstream_pass(weir, upstream):
    upstream.play(whole(headers=[(f"x-many-{i}", "v" * 500) for i in range(80)]))
    reply = once(weir, request("POST", CHAT, BODY))
    assert reply.status == 200 and sum(n.startswith("x-many-") for n, _ in reply.headers) == 80


def test_thirty_megabytes_with_images_pass_unchanged(weir, upstream):
    image = "data:image/png;base64," + "iVBORw0KGgo" * 2_500_000
    sent = json.dumps({"model": "solo", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": image}}]}]}).encode()
    assert len(sent) > 27e6
    with Client(weir.address, 60) as c:
        c.send(request("POST", CHAT, sent))
        assert c.reply().status == 200
    assert upstream.last.body == sent.replace(b'"solo"', b'"up-solo"', 1)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_image_is_not_booked_as_its_bytes(weir, upstream, streamed):
    """Without a usage the prompt is estimated: 4 MB of an image are not a million tokens."""
    sent = json.dumps({"model": "solo", "stream": streamed, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 4_000_000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 2_000_000, "format": "wav"}}]}]}).encode()
    reply_body = {k: v for k, v in scripted.OK_REPLY.items() if k != "usage"}
    upstream.play(stream(*answer("x", usage=False)) if streamed else whole(reply_body))
    reply = once(weir, request("POST", CHAT, sent))
    assert reply.status == 200
    booked, (attempt,) = rows(weir, reply.get("x-request-id"))
    assert attempt["usage_source"] == "estimated" and 0 < attempt["input_tokens"] < 10_000


def test_the_last_of_equal_keys_counts_and_every_model_is_replaced(weir, upstream):
    sent = b'{"model":"nothing","stream":true,"messages":[],"mod\\u0065l":"solo","stream":false,"n":1}'
    reply = once(weir, request("POST", CHAT, sent))
    assert reply.status == 200
    assert upstream.last.body == sent.replace(b'"nothing"', b'"up-solo"').replace(b'"solo"', b'"up-solo"')


def test_sixty_four_slow_readers_cost_little_and_hold_nobody_up(start, upstream, upstream_session):
    """64 clients that hardly read long streams: weir holds its watermark for each, and others are served at once."""
    weir = start()
    piece = chunk({"content": "x" * 8000})
    framed = b"%x\r\n%s\r\n" % (len(piece), piece)

    def flood(exchange):
        exchange.send(scripted.SSE_HEAD)
        for _ in range(1250):  # 10 MB
            exchange.send(framed)
        exchange.close()

    def rss_kb():
        with open(f"/proc/{weir.child.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    before = rss_kb()
    upstream.play(*[flood] * 64)
    slow = []
    try:
        for _ in range(64):
            c = Client(weir.address)
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            c.send(request("POST", CHAT, json.dumps({"model": "solo", "messages": [], "stream": True}).encode()))
            slow.append(c)
        wait_until(lambda: metric(weir, "weir_upstream_pauses_total") >= 64, 30, "64 paused upstreams")
        for _ in range(5):
            for c in slow:
                c.socket.recv(1024)
            assert once(weir, request("POST", CHAT, BODY)).status == 200
        limit = 64 * 1024 * (20 if "asan" in str(weir.argv[0]) or "tsan" in str(weir.argv[0]) else 1)
        assert rss_kb() - before < limit, "the streams were gathered in memory"
    finally:
        for c in slow:
            c.socket.close()
    wait_until(lambda: metric(weir, "weir_requests_in_flight") == 0, 10, "the streams to end")


def test_512_streams_at_once_complete(start, calm, upstream_session, tmp_path):
    weir = start(policy=scripted_policy(calm.url, tmp_path / "state").replace("up-solo", "gpt-4o"))
    calm.faults([{"kind": "slow_chunks", "delay_ms": 50}])
    sent = json.dumps({"model": "solo", "messages": [{"role": "user", "content": "hi"}], "stream": True}).encode()
    clients, whole_ones = [], 0
    try:
        for _ in range(512):
            clients.append(Client(weir.address, 60))
            clients[-1].send(request("POST", CHAT, sent))
        for c in clients:
            reply = c.reply()
            whole_ones += reply.status == 200 and reply.complete and reply.body.endswith(DONE) and len(events(reply.body)) > 3
    finally:
        for c in clients:
            c.socket.close()
    assert whole_ones == 512


def test_when_costs_cannot_be_booked_nothing_is_lost(start, upstream):
    """The ledger is locked by another process: requests go on, their rows wait and come when it is free."""
    weir = start()
    with sqlite3.connect(weir.state_dir / "ledger.sqlite", isolation_level=None) as db:
        db.execute("BEGIN EXCLUSIVE")
        ids = [once(weir, request("POST", CHAT, BODY)).get("x-request-id") for _ in range(5)]
        wait_until(lambda: metric(weir, "weir_ledger_errors_total") > 0, 10, "the failure to be counted")
        wait_until(lambda: metric(weir, "weir_ledger_queue") == 5, 10, "all of them to wait")
        db.execute("ROLLBACK")
    for i in ids:
        rows(weir, i)
    wait_until(lambda: metric(weir, "weir_ledger_queue") == 0, 10, "none to wait")

"""How requests end: clients that leave in every state, upstreams that do not say that they are done. Each has one ledger row, no
upstream connection is kept, nothing stays in flight."""

import json
import sqlite3
import threading
import time

import pytest

import scripted
from conftest import PATIENT, SLOW, scripted_policy
from rawhttp import Client, request
from scripted import DONE, ROLE, answer, chunk, error, silent, stream, usage_chunk
from test_accounting import count, rows
from test_wire_http import CHAT
from weirproc import Weir, http, slowness, wait_until


def body(**more):
    return json.dumps({"model": "small", "messages": [{"role": "user", "content": "hi"}], **more}).encode()


def in_flight(weir):
    return json.loads(http("GET", weir.admin + "/admin/requests")[2])["requests"]


def last_row(weir, before):
    """The one row that came after the first `before` ones, and its attempts."""
    assert count(weir) == before + 1
    with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
        db.row_factory = sqlite3.Row
        row = dict(db.execute("SELECT * FROM requests ORDER BY id DESC LIMIT 1").fetchone())
        return row, [dict(a) for a in db.execute("SELECT * FROM attempt_rows WHERE request = ? ORDER BY seq", (row["id"],))]


def test_a_client_that_leaves_in_a_back_off_is_not_called_for(upstream_session, upstream, tmp_path):
    weir = Weir(tmp_path, timed_policy(upstream_session.url, tmp_path, PATIENT))
    try:
        upstream.play(error(429, "rate_limit_exceeded", headers=[("retry-after-ms", "60000")]))
        with Client(weir.address) as c:
            c.send(request("POST", CHAT, body()))
            wait_until(lambda: any("BACKOFF" in r["state"] for r in in_flight(weir)), 5, "the back-off")
        wait_until(lambda: not in_flight(weir), 5, "the request to be gone")
        row, attempts = last_row(weir, 0)
        assert row["status"] == 499 and row["outcome"] == "client_gone" and row["cost_nanousd"] == 0
        assert [a["http_status"] for a in attempts] == [429]
        assert len(upstream.seen) == 1
    finally:
        weir.stop()


@pytest.mark.parametrize("leave_after", [b"\r\n\r\n", b"[DONE]"], ids=["the head", "[DONE]"])
def test_a_stream_whose_client_leaves(weir, upstream, leave_after):
    """Whoever has [DONE] has the whole answer: SDKs close then, and that is a success."""
    before = count(weir)
    done = leave_after == b"[DONE]"
    upstream.play(stream(*(answer("x") if done else [ROLE]), end=False, then="hang"))
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, body(stream=True)))
        assert c.until(leave_after)
    wait_until(lambda: upstream.gone, 5, "the upstream connection to be dropped")
    row, attempts = last_row(weir, before)
    assert len(attempts) == 1
    if done:
        assert (row["outcome"], row["status"], row["served_model"]) == ("ok", 200, "small")
        assert attempts[0]["usage_source"] == "reported" and attempts[0]["outcome"] == "ok"
        assert row["cost_nanousd"] == 10 * 1000 + 2 * 4000
    else:
        assert row["outcome"] == attempts[0]["outcome"] == "client_gone"


def test_a_client_that_leaves_while_its_upstream_is_paused(weir, upstream):
    before = count(weir)
    piece = chunk({"content": "x" * 8000})

    def flood(exchange):
        exchange.send(scripted.SSE_HEAD)
        exchange.connection.settimeout(1)
        try:
            for _ in range(4000):
                exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        except TimeoutError:
            upstream.note("paused")
        exchange.wait_gone()

    upstream.play(flood)
    c = Client(weir.address)
    c.send(request("POST", CHAT, body(stream=True)))
    wait_until(lambda: upstream.notes, 30, "the upstream to be paused")
    c.socket.close()
    wait_until(lambda: upstream.gone, 5, "the upstream connection to be dropped")  # sooner than any of its timeouts
    row, attempts = last_row(weir, before)
    assert row["outcome"] == "client_gone" and attempts[0]["usage_source"] == "partial" and row["cost_nanousd"] > 0


def test_comments_do_not_prolong_a_stream_that_is_complete(weir, upstream):
    """No [DONE], but pings for ever: the client must not wait for their end."""
    over = threading.Event()

    def pings(exchange):
        stream(ROLE, chunk({"content": "x"}), chunk(finish_reason="stop"), usage_chunk(), end=False)(exchange)
        while not over.wait(0.1):
            exchange.send(b"8\r\n: ping\n\n\r\n")

    upstream.play(pings)
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, body(stream=True)))
        enough = threading.Timer(30 * slowness(), over.set)
        enough.daemon = True
        enough.start()
        reply = c.reply()
        enough.cancel()  # else pytest itself waits for it when all is done
    assert reply.complete and reply.body.endswith(DONE) and not over.is_set()
    over.set()
    booked, _ = rows(weir, reply.get("x-request-id"))
    assert booked["outcome"] == "ok" and booked["cost_nanousd"] == 10 * 1000 + 2 * 4000


def timed_policy(url, folder, timeouts, route=""):
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state"}}
backends:
  up: {{dialect: openai, url: "{url}", timeouts: {{{timeouts}}}}}
models:
  small: {{backend: up, price: {{input: 1.00, output: 4.00}}}}
retry: {{max_attempts: 3, per_model: 3, backoff: {{base: 1ms, max: 1ms}}, max_retry_after: 60s}}
routes:
  - name: only
    match: {{model: small}}
    cascade: [small]
{route}
"""


SLOW_STREAM = stream(ROLE, *[chunk({"content": "x"})] * 1000, pause_s=0.1, end=False, then="hang")


@pytest.mark.parametrize("name, timeouts, route, step, streamed, code, attempts, at_least_s", [
    ("first byte", "first_byte: 500ms", "", silent, False, "upstream_timeout", 3, 1.4),
    ("between bytes", "between_bytes: 500ms", "", scripted.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "hang"), False,
     "upstream_timeout", 3, 1.4),
    ("total", f"total: {3 * SLOW}s", "", SLOW_STREAM, True, "upstream_timeout", 1, 2.9 * SLOW),
    ("deadline", "first_byte: 300s", f"    deadline: {700 * SLOW}ms", silent, False, "upstream_timeout", 1, 0.6 * SLOW),
    ("deadline of a stream", "first_byte: 300s", f"    deadline: {3 * SLOW}s", SLOW_STREAM, True, "upstream_timeout", 1, 2.9 * SLOW),
    ("deadline in a back-off", "first_byte: 300s", f"    deadline: {3 * SLOW}s",
     error(429, "rate_limit_exceeded", headers=[("Retry-After", "60")]), False, "upstream_timeout", 1, 2.9 * SLOW),
], ids=lambda v: v if isinstance(v, str) and " " not in v[:6] else None)
def test_each_time_limit_is_kept(upstream_session, upstream, tmp_path, name, timeouts, route, step, streamed, code, attempts, at_least_s):
    """Not sooner than it says; and that it ends at all is that limit's doing: all others are far away."""
    weir = Weir(tmp_path, timed_policy(upstream_session.url, tmp_path, timeouts, route))
    try:
        upstream.play(*[step] * 3)
        began = time.monotonic()
        with Client(weir.address) as c:
            c.send(request("POST", CHAT, body(stream=streamed)))
            reply = c.reply()
        took = time.monotonic() - began
        assert took >= at_least_s, (name, took)
        if streamed:
            assert reply.status == 200 and not reply.complete and b"[DONE]" not in reply.body
            assert code.encode() in reply.body
        else:
            assert reply.status == 504 and json.loads(reply.body)["error"]["code"] == code
        booked, tried = rows(weir, reply.get("x-request-id"))
        assert len(tried) == booked["attempts"] == attempts
        assert booked["outcome"].endswith("timeout")
    finally:
        weir.stop()

"""Every attempt is in the ledger with its cost; ledger, headers and metrics agree."""

import json
import sqlite3
import time

import pytest

from rawhttp import Client, request
from scripted import OK_REPLY, ROLE, chunk, error, silent, stream, usage_chunk, whole
from test_wire_http import CHAT, once
from weirproc import http, wait_until

PRICE_SMALL = {"input": 1.00, "cached": 0.25, "output": 4.00}


def rows(weir, request_id):
    """(request, attempts) as dictionaries; waits for the writer."""
    def read():
        with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
            db.row_factory = sqlite3.Row
            found = db.execute("SELECT * FROM requests WHERE request_id = ?", (request_id,)).fetchall()
            if not found:
                return None
            assert len(found) == 1
            attempts = db.execute("SELECT * FROM attempts WHERE request_id = ? ORDER BY seq", (request_id,)).fetchall()
            return dict(found[0]), [dict(a) for a in attempts]
    return wait_until(read, 10, f"the ledger's rows of {request_id}")


def count(weir, where="1"):
    """Rows of requests, once all that were made are there: those of an earlier test may still be on their way."""
    def read():
        with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
            booked, found = db.execute(f"SELECT count(*), total({where}) FROM requests").fetchone()
        rest = metric(weir, "weir_requests_in_flight") == 0 and metric(weir, "weir_requests_total") == booked
        return rest and (int(found),)
    return wait_until(read, 10, "the ledger to have a row of each request")[0]


def cost(row):
    """USD of a ledger row, whose cost is in integer nano-dollars."""
    (name,) = [k for k in row if k.startswith("cost")]
    assert isinstance(row[name], int)
    return row[name] / 1e9


def ask(weir, model="small", **more):
    return once(weir, request("POST", CHAT, json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], **more}).encode()))


def test_a_whole_reply_is_booked_as_its_header_says(weir, upstream):
    reply = ask(weir)
    booked, attempts = rows(weir, reply.get("x-request-id"))
    assert len(attempts) == 1 and booked["status"] == 200 and booked["outcome"] == "ok"
    assert cost(booked) == cost(attempts[0]) == pytest.approx(float(reply.get("x-weir-cost-usd")), abs=1e-12)
    assert cost(booked) == pytest.approx((10 * 1.00 + 2 * 4.00) / 1e6)
    assert booked["served_model"] == attempts[0]["model"] == "small" and booked["requested_model"] == "small"


def test_cached_and_reasoning_tokens_have_their_own_prices(weir, upstream):
    upstream.play(whole({**OK_REPLY, "usage": {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
                                               "prompt_tokens_details": {"cached_tokens": 600},
                                               "completion_tokens_details": {"reasoning_tokens": 40}}}))
    reply = ask(weir)
    assert float(reply.get("x-weir-cost-usd")) == pytest.approx((400 * 1.00 + 600 * 0.25 + 100 * 4.00) / 1e6)


def test_a_stream_is_booked_from_its_usage_chunk(weir, upstream):
    upstream.play(stream(ROLE, chunk({"content": "x"}), chunk(finish_reason="stop"), usage_chunk(1000, 50), b"data: [DONE]\n\n"))
    reply = ask(weir, stream=True)
    booked, _ = rows(weir, reply.get("x-request-id"))
    assert cost(booked) == pytest.approx((1000 * 1.00 + 50 * 4.00) / 1e6)
    assert booked["stream"] == 1 and booked["ttft_us"] > 0


def test_attempts_that_failed_are_rows_of_their_own(weir, upstream):
    upstream.play(error(500), error(429, "rate_limit_exceeded"), whole())
    reply = ask(weir)
    booked, attempts = rows(weir, reply.get("x-request-id"))
    assert booked["attempts"] == len(attempts) == 3
    assert [a["model"] for a in attempts] == ["small", "small", "large"]
    assert [a["http_status"] for a in attempts] == [500, 429, 200]
    assert [a["outcome"] for a in attempts][2] == "ok" and len({a["outcome"] for a in attempts}) == 3
    assert [a["served"] for a in attempts] == [0, 0, 1]
    assert [cost(a) for a in attempts[:2]] == [0, 0]
    assert cost(booked) == pytest.approx((10 * 10.00 + 2 * 40.00) / 1e6)


def test_a_cut_stream_is_booked_with_what_it_used_and_as_no_success(weir, upstream):
    upstream.play(stream(ROLE, chunk({"content": "a"}), chunk({"content": "b"}), end=False, then="close"))
    reply = ask(weir, stream=True)
    booked, attempts = rows(weir, reply.get("x-request-id"))
    assert booked["outcome"] != "ok" and attempts[0]["outcome"] != "ok"
    assert cost(booked) > 0, "what was generated was billed by the provider"


def test_a_client_that_left_in_mid_stream_is_booked(weir, upstream):
    upstream.play(stream(ROLE, chunk({"content": "a"}), end=False, then="hang"))
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, json.dumps({"model": "small", "messages": [], "stream": True}).encode()))
        _, headers = c.head()
        c.until(b"\n\n")
    request_id = dict((n.lower(), v) for n, v in headers)["x-request-id"]
    booked, _ = rows(weir, request_id)
    assert booked["status"] in (200, 499) and booked["outcome"] == "CLIENT_GONE" or booked["outcome"].lower() == "client_gone"
    assert cost(booked) > 0


def test_a_client_that_left_before_the_first_byte_is_booked(weir, upstream):
    before = count(weir, "status = 499")
    upstream.play(silent)
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, json.dumps({"model": "small", "messages": []}).encode()))
        wait_until(lambda: upstream.seen, 5, "the request to arrive")
    assert count(weir, "status = 499") == before + 1


def metric(weir, name, **labels):
    status, _, text = http("GET", weir.admin + "/metrics")
    assert status == 200
    total = 0.0
    for line in text.decode().splitlines():
        if line.startswith(name) and all(f'{k}="{v}"' in line for k, v in labels.items()) and line[len(name)] in "{ ":
            total += float(line.rsplit(" ", 1)[1])
    return total


def test_metrics_agree_with_the_replies(weir, upstream):
    count(weir)  # nothing of an earlier test is still to be counted
    before = {m: metric(weir, m) for m in ("weir_requests_total", "weir_attempts_total", "weir_cost_usd_total")}
    spent = 0.0
    for _ in range(10):
        upstream.play(error(500), whole())
        spent += float(ask(weir).get("x-weir-cost-usd"))
    count(weir)
    assert metric(weir, "weir_requests_total") - before["weir_requests_total"] == 10
    assert metric(weir, "weir_attempts_total") - before["weir_attempts_total"] == 20
    assert metric(weir, "weir_cost_usd_total") - before["weir_cost_usd_total"] == pytest.approx(spent, abs=1e-9)


def test_requests_in_flight_are_listed_with_state_and_age(weir, upstream):
    upstream.play(silent)
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, json.dumps({"model": "small", "messages": []}).encode()))
        wait_until(lambda: upstream.seen, 5, "the request to arrive")
        time.sleep(0.02)  # so that its age is visible
        listed = json.loads(http("GET", weir.admin + "/admin/requests")[2])
        text = json.dumps(listed)
        assert "AWAIT" in text and "small" in text
    wait_until(lambda: "AWAIT" not in http("GET", weir.admin + "/admin/requests")[2].decode(), 5, "the list to be empty")


def test_health_and_readiness(weir, upstream):
    for path in ("/healthz", "/readyz"):
        assert http("GET", weir.admin + path)[0] == 200
    assert http("GET", weir.admin + "/nothing")[0] == 404

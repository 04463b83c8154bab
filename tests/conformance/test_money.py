"""Money: what is booked is what was charged, to the nano-dollar, whatever way the usage was told and however often was tried."""

import json
import sqlite3
import time
from datetime import datetime, timedelta, timezone

import pytest

import scripted
from conftest import HASTY, PATIENT, scripted_policy
from metrics_text import parse_metrics
from rawhttp import Client, request
from scripted import OK_REPLY, ROLE, answer, chunk, error, silent, stream, usage_chunk, whole
from test_accounting import metric, rows
from test_wire_http import CHAT, once
from weirproc import Weir, http, wait_until

SMALL, BIG = "llama-3.1-8b-instruct", "gpt-4o"  # the fleet asks 0.20 and 0.20; 2.50, 1.25 cached and 10.00

KINDS = ("input", "cached_input", "cache_write", "output", "reasoning")


def ledger(weir, sql, *values):
    with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
        db.row_factory = sqlite3.Row
        return [dict(r) for r in db.execute(sql, values)]


def settled(weir, requests):
    wait_until(lambda: ledger(weir, "SELECT count(*) AS n FROM requests")[0]["n"] >= requests, 10, f"{requests} rows")
    assert ledger(weir, "SELECT count(*) AS n FROM requests")[0]["n"] == requests


@pytest.fixture
def paid(calm, tmp_path):
    """weir before the fleet at the fleet's own prices, two models in a row, retries; no tenant, one tenant's worth of labels."""
    weir = Weir(tmp_path, f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{tmp_path}/state"}}
backends:
  fleet: {{dialect: openai, url: "{calm.url}", timeouts: {{{PATIENT}}}}}
models:
  {SMALL}: {{backend: fleet, price: {{input: 0.20, cached_input: 0.20, output: 0.20}}}}
  {BIG}: {{backend: fleet, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
  text-embedding-3-small: {{backend: fleet, capabilities: [embeddings], price: {{input: 0.02}}}}
retry: {{max_attempts: 4, per_model: 2, backoff: {{base: 1ms, max: 2ms}}, budget: {{percent: 100, min_per_second: 1000}}}}
routes:
  - name: both
    match: {{model: auto}}
    cascade: [{SMALL}, {BIG}]
  - name: big
    match: {{model: {BIG}}}
    cascade: [{BIG}]
  - name: embed
    match: {{model: text-embedding-3-small, api: embeddings}}
    cascade: [text-embedding-3-small]
""")
    yield weir
    weir.stop()


def test_a_mixed_run_costs_what_the_fleet_charged(paid, calm):
    """Refusals before an answer (free with the fleet) lead to retries and fall-backs; usage comes in every form that counts."""
    calm.faults([
        {"kind": "503", "probability": 0.25, "seed": 1}, {"kind": "429", "probability": 0.15, "seed": 2, "retry_after_ms": 1},
        {"kind": "context_length", "model": SMALL, "probability": 0.1, "seed": 3}, {"kind": "error_200", "probability": 0.05, "seed": 12},
        {"kind": "usage", "probability": 0.4, "seed": 4, "cached": 3, "reasoning": 2}, {"kind": "usage_in_last", "probability": 0.3, "seed": 5},
        {"kind": "no_done", "probability": 0.2, "seed": 6}, {"kind": "crlf", "probability": 0.2, "seed": 7}, {"kind": "one_byte", "probability": 0.02, "seed": 8},
        {"kind": "split_data", "probability": 0.2, "seed": 9}, {"kind": "http10", "probability": 0.1, "seed": 10}, {"kind": "gzip", "probability": 0.0, "seed": 11},
    ])
    statuses, told = [], 0
    for i in range(300):
        api, sent = CHAT, {"model": ("auto", BIG)[i % 2], "messages": [{"role": "user", "content": f"question {i}"}]}
        if i % 3 == 0:
            sent |= {"stream": True, **({"stream_options": {"include_usage": True}} if i % 2 else {})}
        if i % 7 == 0:
            sent["n"] = 3
        if i % 10 == 9:
            api, sent = "/v1/embeddings", {"model": "text-embedding-3-small", "input": [f"text {i}", "another"]}
        reply = once(paid, request("POST", api, json.dumps(sent).encode()))
        statuses.append(reply.status)
        if reply.get("x-weir-cost-usd"):
            told += round(float(reply.get("x-weir-cost-usd")) * 1e9)
    settled(paid, 300)
    fleet = calm.get("/fleet/stats")["total"]
    (requests,) = ledger(paid, "SELECT sum(cost_nanousd) AS cost, sum(attempts) AS attempts FROM requests")
    (attempts,) = ledger(paid, "SELECT sum(cost_nanousd) AS cost, count(*) AS n, sum(role = 'lost') AS lost FROM attempt_rows")
    assert statuses.count(200) > 200 and attempts["n"] > 350, (statuses, attempts)
    assert requests["cost"] == attempts["cost"] == fleet["cost_nanousd"]
    assert requests["attempts"] == attempts["n"] and attempts["n"] - attempts["lost"] == fleet["requests"]
    assert ledger(paid, "SELECT count(*) AS n FROM requests r WHERE cost_nanousd <> "
                        "(SELECT coalesce(sum(cost_nanousd), 0) FROM attempt_rows a WHERE a.request = r.id)")[0]["n"] == 0
    assert told == ledger(paid, "SELECT sum(cost_nanousd) AS cost FROM requests WHERE stream = 0 OR status <> 200")[0]["cost"]
    wait_until(lambda: metric(paid, "weir_ledger_queue") == 0, 10, "rows to be counted as written")
    agree(paid)


def agree(weir):
    """/metrics and the ledger tell the same."""
    families = parse_metrics(http("GET", weir.admin + "/metrics")[2].decode())

    def series(name, *labels):
        """The samples by the values of these labels, summed over the others."""
        out = {}
        for sample_labels, value in families[name].samples(name):
            key = tuple(sample_labels[label] for label in labels)
            out[key] = out.get(key, 0) + value
        return {k: v for k, v in out.items() if v}

    def booked(sql):
        return {tuple(str(v) for v in list(r.values())[:-1]): list(r.values())[-1] for r in ledger(weir, sql)}

    assert series("weir_requests_total", "api", "code") == booked("SELECT api, status, count(*) FROM requests GROUP BY 1, 2")
    assert series("weir_attempts_total", "model", "outcome") == booked("SELECT model, outcome, count(*) FROM attempt_rows GROUP BY 1, 2")
    cost = {k: v / 1e9 for k, v in booked("SELECT model, sum(cost_nanousd) FROM attempt_rows GROUP BY 1 HAVING sum(cost_nanousd) > 0").items()}
    assert series("weir_cost_usd_total", "model") == pytest.approx(cost, abs=1e-12)
    for kind in KINDS:
        tokens = {k: v for k, v in booked(f"SELECT model, sum({kind}_tokens) FROM attempt_rows GROUP BY 1").items() if v}
        assert {k[:1]: v for k, v in series("weir_tokens_total", "model", "kind").items() if k[1] == kind} == tokens
    rows_written = sum(v for _, v in families["weir_ledger_rows_total"].samples("weir_ledger_rows_total"))
    (n,) = ledger(weir, "SELECT (SELECT count(*) FROM requests) + (SELECT count(*) FROM attempt_rows) AS n, (SELECT count(*) FROM requests) AS r")
    assert rows_written in (n["n"], n["r"])
    assert series("weir_request_duration_seconds_count" if "weir_request_duration_seconds_count" in families else "weir_requests_total", "api")


def test_metrics_are_sound_after_hostile_requests(weir_keys, upstream):
    from conftest import ADMIN_KEY, KEY
    for model in ('a"b', "a\nb", "a\\b", "\u00e9", "x" * 5000):
        once(weir_keys, request("POST", CHAT, json.dumps({"model": model, "messages": []}).encode(), [("x-api-key", KEY)]))
    upstream.play(error(500), error(500), whole())
    once(weir_keys, request("POST", CHAT, b'{"model":"small","messages":[]}', [("x-api-key", KEY)]))
    status, headers, text = http("GET", weir_keys.admin + "/metrics", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = parse_metrics(text.decode())
    assert {"weir_requests_total", "weir_cost_usd_total", "weir_endpoint_up"} <= set(families)


@pytest.mark.parametrize("usage, cost", [
    ({"prompt_tokens": 1000, "completion_tokens": 10, "prompt_cache_hit_tokens": 400, "prompt_cache_miss_tokens": 600}, 600 * 1000 + 400 * 250 + 10 * 4000),
    ({"prompt_tokens": 1000, "completion_tokens": 10, "total_tokens": 1110}, 1000 * 1000 + 110 * 4000),
    ({"prompt_tokens": 0, "completion_tokens": 0}, 0),
    ({"prompt_tokens": 10 ** 12, "completion_tokens": 10 ** 12}, 10 ** 15 + 4 * 10 ** 15),
], ids=["DeepSeek", "hidden reasoning", "nothing", "more than anybody has"])
@pytest.mark.parametrize("streamed", [False, True])
def test_odd_usages(weir, upstream, usage, cost, streamed):
    last = scripted.event({"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage})
    upstream.play(stream(*answer("x", usage=False)[:-1], last, scripted.DONE) if streamed else whole({**OK_REPLY, "usage": usage}))
    reply = once(weir, request("POST", CHAT, json.dumps({"model": "small", "messages": [], "stream": streamed}).encode()))
    booked, _ = rows(weir, reply.get("x-request-id"))
    assert booked["cost_nanousd"] == cost


def test_a_request_that_fails_everywhere_costs_what_was_billed(weir, upstream):
    upstream.play(error(500), error(429, "rate_limit_exceeded"), error(503))
    reply = once(weir, request("POST", CHAT, b'{"model":"small","messages":[]}'))
    assert reply.status >= 500 and float(reply.get("x-weir-cost-usd")) == 0
    upstream.play(*[stream(ROLE, chunk({"content": "a"}), end=False, then="close")] * 1)
    reply = once(weir, request("POST", CHAT, b'{"model":"small","messages":[],"stream":true}'))
    booked, attempts = rows(weir, reply.get("x-request-id"))
    assert [a["usage_source"] for a in attempts] == ["partial"] and booked["cost_nanousd"] == attempts[0]["cost_nanousd"] > 0


def priced(url, folder, price, timeouts=PATIENT):
    return scripted_policy(url, folder / "state", timeouts=timeouts).replace("solo: {backend: up, name: up-solo, context: 8192, price: {input: 1.00, output: 4.00}}",
                                                          f"solo: {{backend: up, name: up-solo, price: {price}}}")


ASK = request("POST", CHAT, b'{"model":"solo","messages":[]}')


def test_seconds_of_hardware_are_priced_by_the_attempts_duration(upstream_session, upstream, tmp_path):
    weir = Weir(tmp_path, priced(upstream_session.url, tmp_path, "{gpu_second: 0.0011}"))
    try:
        upstream.play(stream(*answer("x"), pause_s=0.1))
        reply = once(weir, request("POST", CHAT, b'{"model":"solo","messages":[],"stream":true}'))
        booked, (attempt,) = rows(weir, reply.get("x-request-id"))
        assert attempt["duration_us"] > 400_000
        assert abs(booked["cost_nanousd"] - attempt["duration_us"] * 1_100_000 / 1e6) <= 1
    finally:
        weir.stop()


def test_seconds_of_hardware_cost_however_the_attempt_ends(upstream_session, upstream, tmp_path):
    """Of a 5xx, of an answer that never came, of a stream that its client left: the hardware was busy. Not of a connection refused."""
    policy = priced(upstream_session.url, tmp_path, "{gpu_second: 0.0011}", HASTY)
    weir = Weir(tmp_path, policy)

    def slow_error(exchange):
        time.sleep(0.2)
        return error(500)(exchange)

    def the_only(request_id):
        booked, (attempt,) = rows(weir, request_id)
        assert abs(attempt["cost_nanousd"] - attempt["duration_us"] * 1_100_000 / 1e6) <= 1
        assert booked["cost_nanousd"] == attempt["cost_nanousd"]
        return attempt

    try:
        upstream.play(slow_error)
        reply = once(weir, ASK)
        attempt = the_only(reply.get("x-request-id"))
        assert attempt["http_status"] == 500 and attempt["duration_us"] >= 200_000 and attempt["usage_source"] == "none"
        upstream.play(silent)
        attempt = the_only(once(weir, ASK).get("x-request-id"))
        assert attempt["outcome"] == "upstream_first_byte_timeout" and attempt["duration_us"] >= 2_000_000
        upstream.play(stream(ROLE, chunk({"content": "a"}), end=False, then="close"))
        attempt = the_only(once(weir, request("POST", CHAT, b'{"model":"solo","messages":[],"stream":true}')).get("x-request-id"))
        assert attempt["outcome"] == "upstream_cut"
        upstream.play(silent)
        with Client(weir.address) as c:
            c.send(ASK)
            wait_until(lambda: upstream.seen, 5, "the request upstream")
            time.sleep(0.2)
        left = "SELECT request_id FROM requests WHERE outcome = 'client_gone'"
        wait_until(lambda: ledger(weir, left), 5, "the row of who left")
        attempt = the_only(ledger(weir, left)[0]["request_id"])
        assert attempt["duration_us"] >= 200_000
    finally:
        weir.stop()

    policy = policy.replace(upstream_session.url, "http://127.0.0.1:1/v1")
    weir = Weir(tmp_path / "refused", policy.replace(str(tmp_path / "state"), str(tmp_path / "refused" / "state")))
    try:
        booked, (attempt,) = rows(weir, once(weir, ASK).get("x-request-id"))
        assert attempt["outcome"] == "upstream_connect" and booked["cost_nanousd"] == attempt["cost_nanousd"] == 0
    finally:
        weir.stop()


def test_an_absurd_price_saturates(upstream_session, upstream, tmp_path):
    weir = Weir(tmp_path, priced(upstream_session.url, tmp_path, "{input: 1000000, output: 1000000}"))
    try:
        upstream.play(*[whole({**OK_REPLY, "usage": {"prompt_tokens": 10 ** 12, "completion_tokens": 10 ** 12}})] * 2)
        for _ in range(2):
            reply = once(weir, ASK)
            booked, _ = rows(weir, reply.get("x-request-id"))
            assert booked["cost_nanousd"] == 2 ** 63 - 1
        families = parse_metrics(http("GET", weir.admin + "/metrics")[2].decode())
        assert families["weir_cost_usd_total"].lines[0][2] == (2 ** 63 - 1) / 1e9
        assert ledger(weir, "SELECT cost_usd FROM spend_by_model")[0]["cost_usd"] == pytest.approx(2 * 2 ** 63 / 1e9)
        assert ledger(weir, "SELECT cost_usd FROM spend_by_day")[0]["cost_usd"] > 0
    finally:
        weir.stop()


def test_a_price_changes_at_its_time(upstream_session, upstream, tmp_path):
    """Asked before it and after it; a machine that is so slow that it is past before the first is asked gets longer."""
    for ahead_s in (4, 16, 64):
        at = (datetime.now(timezone.utc) + timedelta(seconds=ahead_s)).replace(microsecond=0)
        text = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        weir = Weir(tmp_path, priced(upstream_session.url, tmp_path, f"[{{input: 1.00, output: 4.00}}, {{from: {text}, input: 2.00, output: 8.00}}]"))
        try:
            costs = set()

            def until(cost):
                reply = once(weir, ASK)
                booked, (attempt,) = rows(weir, reply.get("x-request-id"))
                costs.add((booked["cost_nanousd"], attempt["started_wall_us"] >= at.timestamp() * 1e6, attempt["price_version"]))
                return booked["cost_nanousd"] == cost
            before = until(18_000)
            wait_until(lambda: until(36_000), ahead_s + 10, "the new price")
        finally:
            weir.stop()
        if before:
            break
    assert {c[:2] for c in costs} == {(18_000, False), (36_000, True)} and len(costs) == 2

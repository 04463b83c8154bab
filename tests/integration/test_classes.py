"""Routes that hang on what a question is about: with the static tier alone, with the transformer, under overload, across reloads
and at the end of the process. What needs the real weights of all-MiniLM-L6-v2 skips visibly without them."""

import concurrent.futures
import json
import signal
import sqlite3
import subprocess
import threading
import time

import pytest
import weirproc

MODEL = weirproc.ROOT / ".cache" / "models" / "all-minilm-l6-v2"
needs_model = pytest.mark.skipif(not (MODEL / "model.safetensors").exists(),
                                 reason=f"no weights in {MODEL.relative_to(weirproc.ROOT)}: deploy/setup.sh --test fetches them")

REFUNDS = ["I want my money back", "How do I return these shoes?", "Please refund my last order",
           "The parcel arrived broken, can I get a refund?", "Cancel my order and give me back what I paid"]
COOKING = ["How long do I boil an egg?", "Give me a recipe for lentil soup", "What can I cook with leftover rice?",
           "Which oven temperature is right for bread?", "How do I make pancakes without milk?"]


def policy(url, folder, encoder="", routes=None, classes=True, models="", workers=2):
    listed = json.dumps({"refunds": {"examples": REFUNDS}, "cooking": {"examples": COOKING}})
    routes = routes or """
  - {name: refunds, match: {model: auto, class: refunds}, cascade: [clerk]}
  - {name: cooking, match: {model: auto, class: cooking}, cascade: [cook]}
  - {name: rest, match: {model: auto}, cascade: [plain]}
  - {name: plain, match: {model: plain}, cascade: [plain]}"""
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: {workers}, state_dir: "{folder}/state", drain: 20s, access_log: "{folder}/access.log"}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  clerk: {{backend: up, price: {{input: 1, output: 1}}}}
  cook: {{backend: up, price: {{input: 1, output: 1}}}}
  plain: {{backend: up, price: {{input: 1, output: 1}}}}
{models}
{encoder}
{"classes: " + listed if classes else ""}
routes:{routes}
"""


def ask(gateway, text, model="auto", **more):
    body = {"model": model, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}], **more}
    status, headers, data = weirproc.http("POST", gateway.base + "/v1/chat/completions", body, timeout_s=30)
    return status, headers, data


def route_of(gateway, text, **more):
    status, headers, data = ask(gateway, text, **more)
    assert status == 200, data
    return headers["x-weir-route"], headers["x-weir-class"]


def rows(folder, sql):
    with sqlite3.connect(f"file:{folder}/state/ledger.sqlite?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


def encoder_section(**more):
    return "encoder: " + json.dumps({"model": str(MODEL), "device": "cpu", "max_wait": "10s", **more})


def test_static_tier_routes(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    assert route_of(gateway, "I want my money back for the shoes") == ("refunds", "refunds")
    assert route_of(gateway, "How long do I boil an egg for a salad?") == ("cooking", "cooking")
    assert route_of(gateway, "")[0] == "rest"
    status, headers, _ = ask(gateway, "I want my money back", model="plain")
    assert status == 200 and headers["x-weir-route"] == "plain" and "x-weir-class" not in headers  # nobody asked
    wanted = [("refunds", "static", 1), ("cooking", "static", 1), ("", "static", 1), ("", "", 0)]
    gateway.until(lambda: len(rows(tmp_path, "SELECT 1 FROM requests")) == 4, "four rows")
    got = rows(tmp_path, "SELECT class, class_tier, class_us IS NOT NULL FROM requests ORDER BY id")
    assert got == wanted
    assert all(c > 0 for (c,) in rows(tmp_path, "SELECT class_confidence FROM requests WHERE class <> ''"))
    assert gateway.metric('weir_classified_total{tier="static",class="refunds"}') == 1
    assert gateway.metric('weir_classify_duration_seconds_count{tier="static"}') == 3
    gateway.stop()
    assert "class=refunds" in (tmp_path / "access.log").read_text()


def test_every_api_is_classified(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    text = "Please refund my last order"
    for path, body in (("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}),
                       ("/v1/responses", {"input": text}),
                       ("/v1/chat/completions", {"stream": True, "messages": [{"role": "user", "content": text},
                                                                              {"role": "assistant", "content": "Which one?"},
                                                                              {"role": "user", "content": text}]})):
        _, headers, data = weirproc.http("POST", gateway.base + path, {"model": "auto", **body}, {"anthropic-version": "2023-06-01"})
        assert headers["x-weir-class"] == "refunds", (path, data)


STRANGE = ["\\u0049 want my money \\u0062ack", "I want my money back " * 20000, "x" * 300000,
                                  "\\\\" * 70000, "\\ud83d\\ude00" * 20000, "\\ud83d", " " * 100000, "\\u0000"]


def test_strange_texts(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    for text in STRANGE:
        ask_raw(gateway, text)


def ask_raw(gateway, text):
    raw = '{"model": "auto", "messages": [{"role": "user", "content": "%s"}]}' % text
    status, headers, data = weirproc.http("POST", gateway.base + "/v1/chat/completions", raw.encode(), timeout_s=30)
    assert status == 200, data
    if "money" in text:
        assert headers["x-weir-class"] == "refunds"


def test_min_confidence_and_no_route(start, upstream, tmp_path):
    routes = """
  - {name: sure, match: {model: auto, class: refunds, min_confidence: 1}, cascade: [clerk]}
  - {name: any, match: {model: auto, class: [refunds, cooking]}, cascade: [clerk]}"""
    gateway = start(policy(upstream.url, tmp_path, routes=routes))
    assert route_of(gateway, "How do I return these big shoes?") == ("any", "refunds")
    status, _, data = ask(gateway, "zzgx qqrx")
    assert status == 404 and json.loads(data)["error"]["param"] == "model"


@needs_model
def test_transformer_routes_and_is_booked(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, encoder_section(price={"gpu_second": 1, "input": 1})))
    assert route_of(gateway, "I'd like to be reimbursed for a jacket that does not fit") == ("refunds", "refunds")
    assert route_of(gateway, "What is the capital of France?")[0] == "rest"
    gateway.until(lambda: len(rows(tmp_path, "SELECT 1 FROM requests")) == 2, "two rows")
    got = rows(tmp_path, "SELECT class_tier, class_us FROM requests")
    assert all(tier == "full" and us > 0 for tier, us in got)
    role, tokens, cost, us = rows(tmp_path, "SELECT role, input_tokens, cost_nanousd, duration_us FROM attempts WHERE role = 'classify'")[0]
    assert tokens > 10 and cost == us * 1000 + tokens * 1000
    assert rows(tmp_path, "SELECT 1 FROM requests r WHERE cost_nanousd <> (SELECT sum(cost_nanousd) FROM attempt_rows WHERE request = r.id)") == []
    assert gateway.metric('weir_encoder_texts_total{result="encoded"}') == 2
    facts = gateway.get("/admin/encoder")
    assert facts["model"] == "all-minilm-l6-v2" and facts["dimensions"] == 384 and facts["texts"]["encoded"] == 2


@needs_model
def test_static_first(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, encoder_section(static_first=0.5)))
    assert route_of(gateway, REFUNDS[0]) == ("refunds", "refunds")
    assert gateway.metric('weir_classified_total{tier="static",class="refunds"}') == 1
    assert gateway.metric('weir_encoder_texts_total{result="encoded"}') == 0


@needs_model
def test_late_and_overloaded_queries_are_left_to_the_static_tier(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, encoder_section(threads=1, max_queued=1, max_wait="2ms"), workers=1))
    text = "How do I return these shoes? " * 60
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(lambda i: ask(gateway, f"{i} {text}"), range(300)))
    assert [status for status, _, _ in answers] == [200] * 300
    assert all(headers["x-weir-class"] for _, headers, _ in answers)
    reasons = {r: gateway.metric(f'weir_encoder_shed_total{{reason="{r}"}}') for r in ("foreseen", "late", "overloaded")}
    shed = gateway.metric('weir_classified_total{tier="static",class="refunds"}')
    assert 0 < shed == sum(reasons.values()), reasons

    def foreseen():  # as soon as it is known how long 256 tokens take: not 2 ms
        ask(gateway, text)
        return gateway.metric('weir_encoder_shed_total{reason="foreseen"}') > 0
    gateway.until(foreseen, "one that is not begun")
    assert gateway.get("/admin/encoder")["us_per_token"] > 0
    gateway.until(lambda: gateway.metric("weir_encoder_queue") == 0, "an empty queue")


@needs_model
def test_reload_while_encoding(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, encoder_section()))
    stop, failures = threading.Event(), []

    def keep_asking(n):
        while not stop.is_set():
            status, headers, data = ask(gateway, f"{n}: Please refund my last order")
            if status != 200 or headers["x-weir-class"] != "refunds":
                failures.append((status, headers["x-weir-class"], data))

    def logged(what):
        return gateway.log.read_text().count(what)

    threads = [threading.Thread(target=keep_asking, args=(n,)) for n in range(2)]
    for t in threads:
        t.start()
    assert logged("at=encoder msg=ready") == 1
    for n in range(4):  # the first two keep the encoder, the others want another one
        more = {} if n < 2 else {"max_tokens": 100 + n}
        gateway.policy_file.write_text(policy(upstream.url, tmp_path, encoder_section(max_wait=f"{n + 1}s", **more)))
        gateway.until(lambda n=n: logged('msg="policy serves"') == n + 2, "the changed file to serve", timeout_s=120)
    stop.set()
    for t in threads:
        t.join()
    assert failures == []
    assert logged("at=encoder msg=ready") == 3


@needs_model
def test_end_while_encoding(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, encoder_section(threads=1), workers=2))
    stop = threading.Event()

    def keep_asking():
        while not stop.is_set():
            try:
                ask(gateway, "How do I return these shoes? " * 100)
            except OSError:
                return

    threads = [threading.Thread(target=keep_asking) for _ in range(8)]
    for t in threads:
        t.start()
    gateway.until(lambda: gateway.metric('weir_encoder_texts_total{result="encoded"}') >= 2, "load")
    gateway.stop()  # with the sanitizer's blessing
    stop.set()
    for t in threads:
        t.join()


@needs_model
def test_clients_that_leave_while_encoding(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, encoder_section(threads=1), workers=1))
    import socket
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "How do I return these shoes? " * 200}]})
    for _ in range(30):
        with socket.create_connection(gateway.address) as s:
            s.sendall(f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    gateway.until(lambda: gateway.metric("weir_requests_in_flight") == 0, "no request in flight")
    assert route_of(gateway, "Please refund my last order") == ("refunds", "refunds")


def test_faults_are_told_at_load(weir, tmp_path):
    text = policy("http://127.0.0.1:9/v1", tmp_path, 'encoder: {model: bge-small-en-v1.5}')
    file = tmp_path / "p.yaml"
    file.write_text(text)
    done = weir("check", file, env={"WEIR_MODELS": str(tmp_path)})
    assert done.returncode == 1 and "encoder.model" in done.stdout and "weir model fetch" in done.stdout
    assert weir("check", "--no-secrets", file, env={"WEIR_MODELS": str(tmp_path)}).returncode == 0
    file.write_text(text.replace("class: refunds", "class: refund").replace("encoder: {model: bge-small-en-v1.5}", ""))
    done = weir("check", file)
    assert done.returncode == 1 and "did you mean 'refunds'?" in done.stdout
    (tmp_path / "heads").write_bytes(b"nonsense")
    file.write_text(policy("http://127.0.0.1:9/v1", tmp_path, f"encoder: {{model: static, heads: {tmp_path}/heads}}"))
    done = weir("check", file)
    assert done.returncode == 1 and "encoder.heads" in done.stdout


def test_broken_model_keeps_the_old_policy(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    broken = tmp_path / "model"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    gateway.policy_file.write_text(policy(upstream.url, tmp_path, f"encoder: {{model: {broken}/}}"))
    gateway.until(lambda: gateway.metric("weir_policy_stale") == 1, "the fault to be noticed")
    assert route_of(gateway, REFUNDS[1]) == ("refunds", "refunds")


def test_explain_and_classify_tell_what_serve_does(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    text = "Please refund my last order"
    route, name = route_of(gateway, text)
    told = weir("explain", gateway.policy_file, "--model", "auto", text)
    assert f"-> {route}" in told.stdout and "class 'refunds'" in told.stdout and "static tier" in told.stdout
    assert "nearest declared class 'refunds'" in told.stdout and "Please refund my last order" in told.stdout
    told = json.loads(weir("explain", gateway.policy_file, "--model", "auto", "--json", "-", input=text).stdout)
    assert told["route"] == route and told["class"]["name"] == name
    assert json.loads(weir("explain", gateway.policy_file, "--model", "plain", "--json", text).stdout)["class"] is None
    lines = weir("classify", "--policy", gateway.policy_file, "-", input=f"{text}\nwhat is the capital of france\n\n").stdout.splitlines()
    first, second, third = map(json.loads, lines)
    assert first["label"] == "refunds" and first["by"] == "examples" and first["nearest"]["example"] == text and first["us"] >= 0
    assert second["by"] != "examples" and third["label"] is None  # the head may know it
    assert weir("classify", "--model", "no-such-model", "x").returncode == 5


@needs_model
def test_classify_with_the_transformer(start, weir, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text(policy("http://127.0.0.1:9/v1", tmp_path, encoder_section()))
    got = json.loads(weir("classify", "-c", file, "I'd like to be reimbursed for a jacket that does not fit").stdout)
    assert got["tier"] == "full" and got["label"] == "refunds"
    assert "full tier" in weir("explain", file, "--model", "auto", "Please refund my last order").stdout

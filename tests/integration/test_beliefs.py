"""/admin/beliefs and weir beliefs: what has been learnt, as the operator sees it."""

import json

import weirproc


def policy(url, folder, how):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state"}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  small: {{backend: up, price: {{input: 1, output: 1}}}}
  big: {{backend: up, price: {{input: 10, output: 10}}}}
routes:
  - {{name: main, match: {{model: auto}}, cascade: [small, big]{how}}}
"""


def ask(gateway):
    body = {"model": "auto", "messages": [{"role": "user", "content": "How do I return these shoes?"}]}
    status, headers, _ = weirproc.http("POST", gateway.base + "/v1/chat/completions", body)
    assert status == 200
    return headers["x-request-id"]


def test_what_was_learnt_is_shown(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, ", objective: {floor: 0.6, failure_price: 0.001}, explore: {share: 0, cold_start: 0}"))
    for _ in range(12):
        request_id = ask(gateway)
        assert weirproc.http("POST", gateway.base + "/v1/feedback", {"request_id": request_id, "success": True})[0] == 200

    def learnt():
        answer = json.loads(weirproc.http("GET", gateway.admin + "/admin/beliefs")[2])
        seen = answer["contexts"]
        return seen and sum(m["labels"] for c in seen for m in c["models"]) >= 11.9 and answer
    answer = gateway.until(learnt, "twelve labels to be believed")
    assert answer["learning"] is True
    context = answer["contexts"][0]
    assert context["route"] == "main" and context["requests"] >= 11.9
    price = context["price"]
    assert price["failure_price_nanousd"] == 1_000_000 and price["floor"] == 0.6
    assert abs(price["success_nanousd"] - price["failure_price_nanousd"] - price["ratio_nanousd"] - price["floor_adds_nanousd"]) <= 2
    assert abs(sum(m["propensity"] for m in context["models"]) - 1) < 1e-4
    small = next(m for m in context["models"] if m["model"] == "small")
    assert 0 <= small["success_low"] <= small["success"] <= small["success_high"] <= 1
    told = weir("beliefs", "--url", gateway.admin)
    assert told.returncode == 0 and "main" in told.stdout and "small" in told.stdout and "failure price $0.001000" in told.stdout
    assert json.loads(weir("beliefs", "--url", gateway.admin, "--json").stdout)["contexts"]


def test_nothing_to_show_and_nobody_there(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, ""))
    ask(gateway)
    told = weir("beliefs", "--url", gateway.admin)
    assert told.returncode == 0 and ("No route learns" in told.stdout or "Nothing has been asked" in told.stdout)
    gone = weir("beliefs", "--url", "http://127.0.0.1:9")
    assert gone.returncode == 5 and "weir beliefs: http://127.0.0.1:9:" in gone.stderr

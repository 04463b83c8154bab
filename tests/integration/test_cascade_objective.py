"""A route with an objective: what outcomes teach decides which model is asked; pins, holdouts and budgets hold; every choice is in
the ledger with its probability; audits ask the other models, and a judge labels what they say."""

import hashlib
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted import Upstream, error, whole

import weirproc

CHAT = "/v1/chat/completions"
ACME = "sk-acme-0123456789"


class Model(Upstream):
    """Answers every request with its text; as a judge, with grades: good are the answers that hold `right`."""

    def __init__(self, text):
        super().__init__()
        self.text, self.fails, self.hangs, self.judged = text, False, False, 0

    def reset(self):
        super().reset()
        self.script = self

    def pop(self, _):  # the script: a step for any request
        return self.step

    def __bool__(self):
        return True

    def step(self, exchange):
        body = exchange.json()
        system = body["messages"][0]
        if self.hangs:
            exchange.wait_gone()
        elif self.fails:
            error(500)(exchange)
        elif system["role"] == "system" and system["content"].startswith("You grade answers"):
            self.judged += 1
            answers = json.loads(body["messages"][1]["content"])["answers"]
            whole(reply("Here: " + json.dumps({k: "right" in v for k, v in answers.items()})))(exchange)
        else:
            whole(reply(self.text))(exchange)


def reply(text):
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}}


@pytest.fixture
def models():
    servers = {"small": Model("a wrong answer"), "big": Model("the right answer")}
    yield servers
    for server in servers.values():
        server.close()


@pytest.fixture
def search(start, models, tmp_path):
    def make(route, more=""):
        return start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state", drain: 2s}}
backends:
  s: {{dialect: openai, url: "{models["small"].url}"}}
  b: {{dialect: openai, url: "{models["big"].url}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 1}}}}
  big: {{backend: b, price: {{input: 10, cached_input: 1, output: 10}}}}
classes:
  refunds: {{examples: [I want my money back, How do I return these shoes?, "The parcel arrived broken, refund me"]}}
routes:
  - name: search
    match: {{model: auto}}
    cascade: [small, big]
    retry: {{per_model: 1}}
    {route}
{more}""")
    return make


def ask(weir, text="hello", key=None, **more):
    body = {"model": "auto", "messages": [{"role": "user", "content": text}], **more}
    status, head, data = weirproc.http("POST", weir.base + CHAT, body, {"Authorization": "Bearer " + key} if key else None)
    assert status == 200, data
    return head


def feed(weir, head, success):
    status, _, data = weirproc.http("POST", weir.base + "/v1/feedback", {"request_id": head["x-request-id"], "success": success})
    assert status == 200, data


def ledger(weir, sql, *values):
    with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
        db.row_factory = sqlite3.Row
        return [dict(r) for r in db.execute(sql, values)]


def decisions(weir, head):
    found = weirproc.wait_until(lambda: ledger(weir, """SELECT d.* FROM decisions d JOIN requests r ON r.id = d.request
        WHERE r.request_id = ? ORDER BY step""", head["x-request-id"]), 10, "the decisions")
    for d in found:
        d["candidates"] = {c["model"]: c for c in json.loads(d["candidates"])}
    return found


def searching(weir):
    """Beliefs are built: decisions are the objective's."""
    def one():
        d = decisions(weir, ask(weir))
        return "index_nanousd" in next(iter(d[0]["candidates"].values())) and d
    return weirproc.wait_until(one, 15, "the learner's first beliefs")


def test_every_choice_is_booked_with_its_probability(search):
    weir = search("objective: {failure_price: 0.001}\n    explore: {share: 0.2}")
    first = searching(weir)[0]
    assert first["mode"] == "objective" and first["kind"] == "first" and first["context"].startswith("search/")
    assert sum(c["propensity"] for c in first["candidates"].values()) == pytest.approx(1, abs=1e-4)
    assert all(c["propensity"] > 0.01 for c in first["candidates"].values()), "both are explored"
    assert first["propensity"] == pytest.approx(first["candidates"][first["chosen"]]["propensity"], abs=1e-6)
    assert first["success_nanousd"] >= 1_000_000
    last = decisions(weir, ask(weir))[-1]
    assert last["chosen"] == "stop" and last["reason"].split(":")[0] in ("accepted", "exhausted", "explored")


def test_outcomes_move_the_traffic(search):
    weir = search("objective: {failure_price: 0.001}\n    explore: {share: 0.05, cold_start: 0.2}")
    searching(weir)

    def round_of(n):
        with ThreadPoolExecutor(4) as pool:
            heads = list(pool.map(lambda _: ask(weir), range(n)))
        for head in heads:  # of none of them anything is said before all have been asked
            feed(weir, head, head["x-weir-model"] == "big")
        return sum(head["x-weir-model"] == "big" for head in heads) / n
    assert round_of(20) < 0.9, "the small one is cheaper, and nothing speaks against it yet"
    weirproc.wait_until(lambda: round_of(40) >= 0.9, 20, "the good model to serve nearly all")
    weirproc.wait_until(lambda: ledger(weir, "SELECT count(*) AS n FROM outcomes WHERE source = 'explicit'")[0]["n"] >= 60, 10,
                        "the outcomes in the ledger")


def test_an_operator_sees_what_is_believed(search):
    weir = search("objective: {floor: 0.6, failure_price: 0.001}\n    explore: {share: 0.5}")
    searching(weir)
    for _ in range(10):
        head = ask(weir)
        feed(weir, head, head["x-weir-model"] == "big")

    def learnt():
        contexts = weir.get("/admin/beliefs")["contexts"]
        return sum(m["labels"] for c in contexts for m in c["models"]) >= 9 and contexts
    context = weirproc.wait_until(learnt, 15, "the outcomes to be believed")[0]
    assert context["route"] == "search" and context["price"]["success_nanousd"] >= context["price"]["failure_price_nanousd"] == 1e6
    assert sum(m["propensity"] for m in context["models"]) == pytest.approx(1, abs=1e-3)
    for m in context["models"]:
        assert 0 <= m["success_low"] <= m["success"] <= m["success_high"] <= 1 and m["cost_nanousd"] > 0


def test_a_request_stays_within_its_budget(search, models):
    weir = search("objective: {failure_price: 1, budget: 0.0001}\n    explore: {share: 0, step_share: 0, cold_start: 0}")
    searching(weir)
    for head in [ask(weir) for _ in range(10)]:
        assert float(head["x-weir-cost-usd"]) <= 0.0001 and head["x-weir-model"] == "small"


def test_costs_are_foretold_as_they_come_out(search, models):
    """Prompts are billed twice as long as they are estimated: once that is known, what a decision expects is what is charged, for
    short and for long ones."""
    def billed(exchange):
        answer, said = reply("an answer"), exchange.json()["messages"][-1]["content"]
        answer["usage"] = {"prompt_tokens": len(said) // 2, "completion_tokens": 5, "total_tokens": len(said) // 2 + 5}
        whole(answer)(exchange)
    models["small"].step = billed
    weir = search("objective: {failure_price: 0.001}\n    explore: {pins: [{model: small, tenant: zoo}]}",
                  f'tenants:\n  zoo: {{keys: [{{sha256: "{hashlib.sha256(ACME.encode()).hexdigest()}"}}], admin: true}}')
    lengths = [400, 4000, 1600]

    def factor():
        for n in lengths:
            ask(weir, "x" * n, ACME)
        status, _, said = weirproc.http("GET", weir.admin + "/admin/beliefs", headers={"Authorization": "Bearer " + ACME})
        assert status == 200, said
        contexts = json.loads(said).get("contexts", [])  # there are none before the first beliefs
        return max((m["cost_factor"] for c in contexts for m in c["models"] if m["model"] == "small"), default=1) > 1.8
    weirproc.wait_until(factor, 60, "estimates to be corrected")
    for n in lengths:
        head = ask(weir, "x" * n, ACME)
        first = decisions(weir, head)[0]
        assert first["chosen"] == "small"
        charged = float(head["x-weir-cost-usd"]) * 1e9
        assert first["candidates"]["small"]["cost_nanousd"] == pytest.approx(charged, rel=0.15), n


def test_pins_hold(search):
    weir = search("objective: {failure_price: 0.001}\n"
                  "    explore: {pins: [{model: big, class: refunds}, {model: big, tenant: acme}, {model: small, tenant: zoo}]}",
                  f"""
tenants:
  acme: {{keys: [{{sha256: "{hashlib.sha256(ACME.encode()).hexdigest()}"}}]}}
  zoo: {{keys: [{{sha256: "{hashlib.sha256(b'sk-zoo-0123456789').hexdigest()}"}}]}}
""")
    for _ in range(5):
        assert ask(weir, key=ACME)["x-weir-decision"].startswith("big ")
        head = ask(weir, key="sk-zoo-0123456789")
        assert head["x-weir-model"] == "small"
    head = ask(weir, "I want my money back for these shoes", key="sk-zoo-0123456789")
    assert head["x-weir-class"] == "refunds" and head["x-weir-model"] == "big"
    d = decisions(weir, head)[0]
    assert d["reason"] == "pinned" and d["context"] == "search/refunds" and list(d["candidates"]) == ["big"]


def test_a_pinned_model_that_fails_is_not_replaced(search, models):
    weir = search("objective: {failure_price: 0.001}\n    holdout: {share: 1, model: big}")
    head = ask(weir)
    assert head["x-weir-model"] == "big" and decisions(weir, head)[0]["reason"] == "holdout"
    models["big"].fails = True
    status, _, _ = weirproc.http("POST", weir.base + CHAT, {"model": "auto", "messages": [{"role": "user", "content": "x"}]})
    assert status == 500


def test_a_model_that_has_read_the_conversation_is_cheaper(search):
    weir = search("objective: {failure_price: 0.001}\n    holdout: {share: 1, model: big}")
    turns = [{"role": "user", "content": "a long question " * 200}]

    def expected():
        return decisions(weir, ask(weir, messages=turns))[0]["candidates"]["big"]["cost_nanousd"]
    first = expected()
    turns += [{"role": "assistant", "content": "an answer"}, {"role": "user", "content": "and then?"}]
    second = expected()
    assert second < first - 700 * 9000, "some 800 tokens at a tenth of their price"
    turns[0] = {"role": "user", "content": "another question " * 200}
    assert expected() >= first - 700 * 9000, "another conversation"


def test_accept_ends_a_search(search, models):
    weir = search("objective: {failure_price: 1000}\n    accept: 0.01\n    explore: {share: 0, step_share: 0, cold_start: 0}")
    searching(weir)
    for head in [ask(weir) for _ in range(10)]:
        assert head["x-weir-attempts"] == "1", "a failure is dear, but any answer is sure enough"


def test_audits_ask_the_others_and_a_judge_labels(search, models):
    weir = search("accept: 0.01\n    audit: {share: 1, judge: big, max_usd_per_day: 1}")
    head = ask(weir, "what is right?")
    request_id = head["x-request-id"]
    assert head["x-weir-model"] == "small" and head["x-weir-attempts"] == "1"
    rows = weirproc.wait_until(lambda: len(r := ledger(weir, "SELECT * FROM requests WHERE request_id = ? ORDER BY id", request_id)) == 3
                               and r, 10, "the audit's rows")
    assert sorted(r["purpose"] for r in rows) == ["audit", "judge", "serve"]
    attempts = ledger(weir, "SELECT role, model, served FROM attempts WHERE request_id = ?", request_id)
    assert sorted((a["role"], a["model"]) for a in attempts) == [("audit", "big"), ("judge", "big"), ("serve", "small")]
    outcomes = weirproc.wait_until(lambda: len(o := ledger(weir, "SELECT * FROM outcomes WHERE source = 'judge' ORDER BY request_id")) == 2
                                   and o, 10, "the judge's outcomes")
    assert [(o["request_id"], o["model"], o["value_milli"]) for o in outcomes] == \
        [(request_id, "small", 0), (request_id + "/audit", "big", 1000)]
    assert models["big"].judged == 1


def test_audits_end_with_their_budget(search, models, one_day):
    weir = search("accept: 0.01\n    audit: {share: 1, judge: big, max_usd_per_day: 0.0003}")
    def spent():
        return ledger(weir, "SELECT coalesce(sum(cost_nanousd), 0) AS n FROM requests WHERE purpose <> 'serve'")[0]["n"]
    ask(weir)
    weirproc.wait_until(lambda: spent() == 400_000, 10, "a fresh answer and its grade")
    for _ in range(7):
        ask(weir)
    weir.stop()  # what was begun is in the ledger then
    assert len(ledger(weir, "SELECT 1 FROM requests WHERE purpose = 'serve'")) == 8 and spent() == 400_000


def test_a_restart_is_no_new_budget(search, models, one_day):
    policy = "accept: 0.01\n    audit: {share: 1, judge: big, max_usd_per_day: 0.0003}"
    spent = "SELECT coalesce(sum(cost_nanousd), 0) AS n, count(*) AS rows FROM requests WHERE cap = 'route/search'"
    weir = search(policy)
    ask(weir)
    weirproc.wait_until(lambda: ledger(weir, spent)[0]["n"] >= 300_000, 10, "an audit")
    weir.stop()
    before = ledger(weir, spent)
    assert before[0]["rows"] == 2 and before[0]["n"] == 400_000, "an answer and its grade"
    weir = search(policy)
    for _ in range(3):
        ask(weir)
    weir.stop()
    assert ledger(weir, spent) == before and len(ledger(weir, "SELECT 1 FROM requests WHERE purpose = 'serve'")) == 4


def test_a_canary_that_fails_is_taken_out(search):
    weir = search("objective: {failure_price: 0.00001}\n    explore: {canary: [{model: small, cap: 0.5, alpha: 0.05}], cold_start: 0.5}")
    searching(weir)

    def canary_is_out():
        with ThreadPoolExecutor(4) as pool:
            for head in pool.map(lambda _: ask(weir), range(30)):
                feed(weir, head, head["x-weir-model"] == "big")
        return "canary out of use" in weir.tail(1 << 20)
    weirproc.wait_until(canary_is_out, 20, "the alarm")
    weirproc.wait_until(lambda: "small" not in decisions(weir, ask(weir))[0]["candidates"], 10, "no request for it")


def test_a_drain_ends_audits(search, models):
    weir = search("accept: 0.01\n    audit: {share: 1, judge: big}")
    models["big"].hangs = True
    head = ask(weir)
    assert head["x-weir-model"] == "small", "the client does not wait"
    weirproc.wait_until(lambda: models["big"].seen, 10, "the audit to be under way")
    weir.stop()
    assert not models["big"].judged


def test_audits_need_no_judge_where_validators_know(search, tmp_path):
    weir = search("accept: 0.01\n    audit: {share: 1}\n    confidence: {validators: [{kind: regex, pattern: answer}]}")
    ask(weir)

    def counted():
        with sqlite3.connect(f"file:{tmp_path}/state/learn.sqlite?mode=ro", uri=True, timeout=5) as db:
            text = "\n".join(db.iterdump())
        return "good.validator" in text and text
    weirproc.wait_until(counted, 10, "the validators' labels")
    weirproc.wait_until(lambda: any(all(m["labels"] >= 0.5 for m in c["models"]) for c in weir.get("/admin/beliefs")["contexts"]),
                        10, "labels of both models")

"""What trained heads foresee of a query moves an objective's choice once outcomes have borne it out, and never when they speak against it."""

import hashlib
import json
import os
import sqlite3
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from scripted import Upstream, whole

import weirproc

FORMS = {"easy": ["what is the capital of {}", "which river flows through {}", "how many people live in {}", "is {} a large city"],
         "hard": ["prove a theorem on {} modules over rings", "derive the spectrum of the {} operator", "show that every {} manifold is compact",
                  "integrate the {} differential form"]}
KEYS = {"small": "sk-small-0123456789", "big": "sk-big-0123456789", "any": "sk-any-0123456789"}  # of tenants; two stay with one model
NAMES = "oslo paris rome lima cairo delhi quito seoul tunis vienna dublin lisbon prague athens bergen malta".split()
RING = [(kind, form.format(name)) for name in NAMES for i in range(4) for kind in ("easy", "hard") for form in [FORMS[kind][i]]]


class Model(Upstream):
    def reset(self):
        super().reset()
        self.script = self

    def __bool__(self):
        return True

    def pop(self, _):
        return lambda exchange: whole({
            "id": "c", "object": "chat.completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "an answer"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}})(exchange)


@pytest.fixture
def gateway(start, tmp_path):
    upstream = Model()

    def make(small):
        """Heads that were told on which kinds the small model succeeds; the big one always does."""
        rows = [{"format": "routing-rows/1", "models": ["mini-1", "big"]}]
        rows += [{"text": text, "s": [int(kind in small), 1 if i % 20 else 0]} for i, (kind, text) in enumerate(RING)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = subprocess.run([weirproc.build_dir() / "gateway" / "weir", "train", "--data", tmp_path / "rows.jsonl", "--model", "static",
                               "--only", "scores", "--heads", tmp_path / "heads.safetensors"], capture_output=True, text=True, timeout=120 * weirproc.slowness())
        assert done.returncode == 0, done.stderr
        return start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state"}}
encoder: {{model: static, heads: "{tmp_path}/heads.safetensors"}}
backends:
  up: {{dialect: openai, url: "{upstream.url}"}}
models:
  small: {{backend: up, name: mini-1, price: {{input: 1, output: 1}}}}
  big: {{backend: up, price: {{input: 40, output: 40}}}}
routes:
  - name: main
    match: {{model: auto}}
    cascade: [small, big]
    objective: {{failure_price: 0.001}}
    learn: {{neighbours: off}}
    explore:
      share: 0.01
      cold_start: 0
      step_share: 0
      pins: [{{model: small, tenant: small}}, {{model: big, tenant: big}}]
tenants:
{"".join(f'  {name}: {{keys: [{{sha256: "{hashlib.sha256(key.encode()).hexdigest()}"}}], admin: true}}' + chr(10) for name, key in KEYS.items())}""")
    yield make
    upstream.close()


def ask(weir, text, key=KEYS["any"]):
    status, head, data = weirproc.http("POST", weir.base + "/v1/chat/completions",
                                       {"model": "auto", "messages": [{"role": "user", "content": text}]},
                                       {"Authorization": "Bearer " + key})
    assert status == 200, data
    return head


def teach(weir, model, queries):
    """Asks that model, and says what came of it: the small one fails on hard questions."""
    def one(query):
        kind, text = query
        head = ask(weir, text, KEYS[model])
        assert head["x-weir-model"] == model
        good = model == "big" or kind == "easy"
        status, _, data = weirproc.http("POST", weir.base + "/v1/feedback", {"request_id": head["x-request-id"], "success": good},
                                        {"Authorization": "Bearer " + KEYS[model]})
        assert status == 200, data
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, queries))


def beliefs(weir):
    status, _, data = weirproc.http("GET", weir.admin + "/admin/beliefs", headers={"Authorization": "Bearer " + KEYS["any"]})
    assert status == 200, data
    return json.loads(data)["contexts"]


def foresight(weir):
    """What the operator sees of the small model's; None: nothing was foreseen yet."""
    models = [m for c in beliefs(weir) for m in c["models"] if m["model"] == "small"]
    return next((m["foresight"] for m in models if "foresight" in m), None)


def teach_both(weir):
    weirproc.wait_until(lambda: beliefs(weir), 60, "the first beliefs")
    teach(weir, "big", RING[:40])
    teach(weir, "small", RING)
    # a bucket of time may end meanwhile, and its labels weigh a little less then
    return weirproc.wait_until(lambda: (f := foresight(weir)) and f["labels"] > 0.95 * len(RING) and f, 60, "all outcomes to be believed")


def first_choice(weir, text):
    """Candidates by their names, as the ledger has them."""
    request_id = ask(weir, text)["x-request-id"]

    def row():
        with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
            return db.execute("SELECT d.candidates FROM decisions d JOIN requests r ON r.id = d.request WHERE r.request_id = ? AND step = 1",
                              (request_id,)).fetchone()
    return {c["model"]: c for c in json.loads(weirproc.wait_until(row, 60, "the decision")[0])}


def test_each_kind_goes_first_to_the_model_that_can(gateway):
    weir = gateway(small=["easy"])
    for kind in FORMS:
        assert "shift" not in first_choice(weir, FORMS[kind][0].format("riga"))["small"], "nothing speaks for the heads yet"
    seen = teach_both(weir)
    assert seen["trust"] == 1 and seen["lead_nats"] > 2 * seen["lead_error_nats"] > 0
    told = subprocess.run([weirproc.build_dir() / "gateway" / "weir", "beliefs", "--url", weir.admin], capture_output=True, text=True,
                          timeout=30 * weirproc.slowness(), env={**os.environ, "WEIR_API_KEY": KEYS["any"]})
    assert told.returncode == 0 and "trusted by 100 %" in told.stdout
    easy, hard = (first_choice(weir, FORMS[kind][0].format("riga")) for kind in ("easy", "hard"))
    assert easy["small"]["shift"] > 0 > hard["small"]["shift"] >= -3
    assert easy["small"]["index_nanousd"] > easy["big"]["index_nanousd"], "the first choice, but for what is drawn"
    assert hard["big"]["index_nanousd"] > 2 * hard["small"]["index_nanousd"]
    assert easy["small"]["propensity"] > hard["small"]["propensity"]


def test_heads_that_lie_move_nothing(gateway):
    weir = gateway(small=["hard"])
    seen = teach_both(weir)
    assert seen["lead_nats"] < 0 and seen["trust"] == 0
    for kind in FORMS:
        assert all("shift" not in c for c in first_choice(weir, FORMS[kind][0].format("riga")).values())

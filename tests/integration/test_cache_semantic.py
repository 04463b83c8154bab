"""Answers by meaning through the real program: nothing before it is warm, right ones then, audits and judges booked apart from
the client's request, nothing across tenants, conversations and changed numbers. With the real weights of all-MiniLM-L6-v2;
skips visibly without them."""

import concurrent.futures
import hashlib
import json
import random
import sqlite3

import pytest
import weirproc
from scripted import OK_REPLY, whole

MODEL = weirproc.ROOT / ".cache" / "models" / "all-minilm-l6-v2"
pytestmark = pytest.mark.skipif(not (MODEL / "model.safetensors").exists(),
                                reason=f"no weights in {MODEL.relative_to(weirproc.ROOT)}: deploy/setup.sh --test fetches them")

TOPICS = ["reset my password", "cancel my subscription", "change my delivery address", "track my parcel",
          "get a refund for shoes", "close my account", "download an invoice", "update my credit card"]
WAYS = ["How can I {}?", "How do I {}?", "Please tell me how to {}", "What is the way to {}?", "I want to {}", "I need to {}",
        "I would like to {}", "Can you help me to {}?", "What do I have to do to {}?", "Explain how to {}",
        "Is there a way to {}?", "Show me how to {}", "Where can I {}?", "steps to {}", "I am trying to {}", "help me {}",
        "how to {}", "could I {}", "could you show me how I can {}", "what must I do to {}"]
ENDS = ["", " please", " online", " on the website", " quickly", " today or later", ", thanks"]


def phrasings(seed, count):
    """(topic, question), no question twice."""
    rng = random.Random(seed)
    every = [(t, way.format(TOPICS[t]) + end) for t in range(len(TOPICS)) for way in WAYS for end in ENDS]
    return rng.sample(every, count)


class Clerk:
    """What an upstream says to every request: the number of the topic; as a judge, whether two answers are equal."""

    def __init__(self, wrong=()):
        self.wrong, self.judged, self.asked = set(wrong), [], []

    def pop(self, _):
        return self

    def __call__(self, exchange):
        body = exchange.json()
        if body["model"] == "judge":
            pair = json.loads(body["messages"][-1]["content"])
            self.judged.append(pair)
            text = json.dumps({"same": pair["first"].split(":")[0] == pair["second"].split(":")[0]})
        else:
            text = self.answer(body["messages"][-1]["content"])
            self.asked.append(body["messages"][-1]["content"])
        whole({**OK_REPLY, "choices": [{**OK_REPLY["choices"][0], "message": {"role": "assistant", "content": text}}]})(exchange)

    def answer(self, question):
        for n, topic in enumerate(TOPICS):
            if topic in question:
                return f"Procedure {n + 10}."
        return "I cannot say: " + question


def tenants(names):
    return "tenants:\n" + "".join(
        f"  {n}: {{keys: [{{sha256: \"{hashlib.sha256(key(n).encode()).hexdigest()}\"}}]{', admin: true' if n == 'root' else ''}}}\n"
        for n in names)


def key(name):
    return f"sk-weir-semantic-{name}"


def policy(url, folder, semantic="{max_error: 0.05, audit: 0.2}", more="", names=(), scope="tenant", route="", price=""):
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state", drain: 10s}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  m: {{backend: up, price: {{input: 1.00, output: 4.00}}}}
  judge: {{backend: up, price: {{input: 0.10, output: 0.40}}}}
retry: {{max_attempts: 1, per_model: 1}}
encoder: {{model: {MODEL}, device: cpu, max_wait: 5s{price}}}
cache: {{scope: {scope}, semantic: {semantic}, exact: {{ttl: 1h, timely_ttl: 1h}}{more}}}
{tenants([*names, "root"]) if names else ""}routes:
  - {{name: r, match: {{model: [m, auto]}}, cascade: [m]{route}}}
"""


def rows(folder, sql):
    with sqlite3.connect(f"file:{folder}/state/ledger.sqlite?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


def ask(gateway, text, tenant=None, messages=None, headers=None, **more):
    """(what the cache said, the answer's text)"""
    send = {**({"Authorization": "Bearer " + key(tenant)} if tenant else {}), **(headers or {})}
    body = {"model": "m", "messages": [*(messages or []), {"role": "user", "content": text}], **more}
    status, got, data = weirproc.http("POST", gateway.base + "/v1/chat/completions", body, send, timeout_s=30)
    assert status == 200, data
    return got.get("x-weir-cache"), data if more.get("stream") else json.loads(data)["choices"][0]["message"]["content"]


def teach(gateway, questions, tenant=None, at_once=8):
    """[(topic, said, answer)]"""
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda q: (q[0], *ask(gateway, q[1], tenant)), questions))


@pytest.fixture
def clerk(upstream):
    upstream.script = Clerk()
    return upstream.script


def warm(gateway, seed=1, count=560, tenant=None):
    got = teach(gateway, phrasings(seed, count), tenant)
    gateway.until(lambda: gateway.metric("weir_cache_semantic_warm") == 1, "the semantic tier to be warm")
    return got


def test_cold_then_warm(start, upstream, clerk, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    got = warm(gateway)
    semantic = [(t, answer) for t, said, answer in got if said == "semantic"]
    assert all(said != "semantic" for _, said, _ in got[:300])
    assert len(semantic) > 60
    assert sum(answer != f"Procedure {t + 10}." for t, answer in semantic) <= 0.05 * 560


def test_an_operator_sees_why_and_says_what_was_wrong(start, upstream, clerk, tmp_path, weir):
    gateway = start(policy(upstream.url, tmp_path))
    hits = sum(said == "semantic" for _, said, _ in warm(gateway))
    question = "Could you explain how I can reset my password?"

    def explain(**more):
        return gateway.request("POST", "/admin/cache/explain", json.dumps({"model": "m", **more}).encode(), Content_Type="application/json")[2]

    said = explain(text=question)
    near = said["near"]
    assert len(near) == 5 and [n["cosine"] for n in near] == sorted((n["cosine"] for n in near), reverse=True)
    assert said["semantic"]["why_not"] is None and said["semantic"]["warm"] and 0 < said["semantic"]["cut"] <= 1
    best = [n for n in near if n["verdict"] in ("served", "below the cut")]
    assert len(best) == 1 and (said["verdict"] == "semantic") == (best[0]["verdict"] == "served")
    assert (best[0]["probability"] >= said["semantic"]["cut"]) == (said["verdict"] == "semantic")
    assert any(n["guard"] for n in explain(text="How do I not reset my password 3 times?")["near"])
    done = weir("cache", "explain", "--url", gateway.admin, "--model", "m", question)
    assert done.returncode == 0 and best[0]["id"] in done.stdout and "NEAREST" in done.stdout, done
    rows = tmp_path / "warm.jsonl"
    rows.write_text(json.dumps({"prompt": "Which lunar phases are there?", "model": "m", "answer": "Eight."}) + "\n")
    done = weir("cache", "warm", "--url", gateway.admin, rows, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["without_vector"] == 0, done
    assert explain(text="What lunar phases are there?")["near"][0]["text"] == "Which lunar phases are there?"
    tune = gateway.get("/admin/cache/prospects?max_error=0.01&max_error=0.2")["scopes"]
    assert len(tune) == 1 and tune[0]["max_error"] == 0.05 and tune[0]["looked_at"] > 300
    strict, loose = tune[0]["then"]
    assert 0 < strict["hits"] <= loose["hits"] and strict["error"] <= 0.01 and loose["error"] <= 0.2
    labels = gateway.get("/admin/cache")["semantic"]["labels"]
    done = weir("cache", "wrong", "--url", gateway.admin, best[0]["id"], "--yes", "--question", question, "--model", "m")
    assert done.returncode == 0 and "is learned" in done.stdout, done
    gateway.until(lambda: gateway.get("/admin/cache")["semantic"]["labels"] == labels + 1, "the label to be learned from")
    assert best[0]["id"] not in [n["id"] for n in explain(text=question)["near"]]
    assert gateway.get("/admin/cache")["semantic"]["hits"] == hits  # explaining serves nothing
    done = weir("cache", "tune", "--url", gateway.admin, "--max-error", "0.02", "--apply", "--yes")
    assert done.returncode == 0 and "max_error is 0.02" in done.stdout and "2.00 %" in done.stdout, done
    text = gateway.get("/admin/policy").decode()
    assert "semantic: {max_error: 0.02, audit: 0.2}" in text and gateway.policy_file.read_text() == text

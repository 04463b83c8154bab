"""A real llama.cpp server behind weir, by URL: what a real engine answers comes through as it is, and what it counts is what
weir books. setup.sh of this folder builds the server and the tiny model; without them everything here skips.

The model is random, so answers say nothing; with temperature 0 the engine is deterministic, and what it answers through weir
can be compared with what it answers directly.
"""

import json
import os
import re
import signal
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from openai import APIError, BadRequestError, OpenAI

import weirproc
from rawhttp import Client, request

ROOT = Path(__file__).resolve().parents[3]
SERVER = Path(os.environ.get("WEIR_LLAMA_SERVER", ROOT / "build" / "llama" / "llama-server"))
MODEL = ROOT / "build" / "llama" / "tiny.gguf"
MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the time of day?"}]
VOLATILE = ("id", "created", "timings")  # differ from answer to answer

pytestmark = pytest.mark.skipif(not (SERVER.exists() and MODEL.exists()),
                                reason="no build/llama/llama-server: run tests/integration/llama/setup.sh")


class Llama(weirproc.Process):
    """llama-server with the tiny model. url: base URL with /v1."""

    def __init__(self, folder, *options):
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__([SERVER, "-m", MODEL, "--host", "127.0.0.1", "--port", "0", "--ctx-size", "65536", "--parallel", "2",
                          "--threads", "1", *options], folder / "llama.log")
        try:
            where = weirproc.wait_until(lambda: self.alive() and re.search(r"listening on (http://127\.0\.0\.1:\d+)", self.tail()),
                                        weirproc.READY_S, "llama-server's address")
            self.root = where[1]
            self.url = self.root + "/v1"
            weirproc.wait_until(lambda: self.alive() and weirproc.http("GET", self.root + "/health")[0] == 200,
                                weirproc.READY_S, "llama-server's /health")
        except BaseException:
            self.child.kill()
            raise

    def busy(self):
        """How many of its slots generate."""
        slots = json.loads(weirproc.http("GET", self.root + "/slots")[2])
        return sum(slot["is_processing"] for slot in slots)


def policy(state_dir, chat_url, embed_url):
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{state_dir}"}}
backends:
  llama: {{dialect: openai, url: "{chat_url}"}}
  embedder: {{dialect: openai, url: "{embed_url}"}}
  quirky: {{dialect: openai, server: llama_cpp, url: "{chat_url}"}}
models:
  judged-first: {{backend: quirky, name: tiny, context: 32768, price: {{input: 1.00, output: 2.00}}}}
  judged-last: {{backend: quirky, name: tiny, context: 32768, price: {{input: 1.00, output: 2.00}}}}
  tiny: {{backend: llama, context: 32768, quantization: q8_0, price: {{input: 1.00, cached_input: 0.10, output: 2.00}}}}
  tiny-embed: {{backend: embedder, capabilities: [embeddings], price: {{input: 0.50}}}}
aliases: {{auto: tiny}}
routes:
  - name: default
    match: {{model: [tiny]}}
    cascade: [tiny]
  - {{name: judged, match: {{model: judged}}, cascade: [judged-first, judged-last], accept: 0.001}}
  - name: blind
    match: {{model: blind}}
    cascade: [judged-first, judged-last]
    accept: 0.001
    confidence: {{logprobs: false}}
  - name: embed
    match: {{model: [tiny-embed], api: [embeddings]}}
    cascade: [tiny-embed]
"""


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    server = Llama(tmp_path_factory.mktemp("llama"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    server = Llama(tmp_path_factory.mktemp("embedder"), "--embeddings", "--pooling", "mean")
    yield server
    server.stop()


@pytest.fixture(scope="module")
def weir(llama, embedder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weir")
    gateway = weirproc.Weir(folder, policy(folder / "state", llama.url, embedder.url))
    yield gateway
    gateway.stop()


@pytest.fixture(scope="module")
def client(weir):
    return OpenAI(base_url=weir.base + "/v1", api_key="none", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def direct(llama):
    return OpenAI(base_url=llama.url, api_key="none", max_retries=0, timeout=60)


def ask(client, **more):
    return client.chat.completions.create(model="tiny", messages=MESSAGES, temperature=0, max_tokens=12, seed=1, **more)


def content(answer):
    return answer.choices[0].message.content


def ledger_rows(weir, model):
    """Its attempts, oldest first, as dictionaries; waits until the ledger's writer has come round."""
    db = sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in db.execute("SELECT * FROM attempts WHERE model = ? ORDER BY started_wall_us", (model,))]
    finally:
        db.close()


# ---- log-probabilities ----

def judge(client, model="judged", **more):
    return client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, temperature=0, max_tokens=12, seed=1, **more)


def test_log_probabilities_are_read_and_not_shown(client, direct):
    plain, answers = ask(direct), {m: judge(client, m) for m in ("judged", "blind")}
    for raw in answers.values():
        got = raw.parse()
        assert content(got) == content(plain) and got.choices[0].logprobs is None
        assert raw.headers["x-weir-model"] == "judged-first"
    sure = {m: float(raw.headers["x-weir-confidence"]) for m, raw in answers.items()}
    assert sure["judged"] != sure["blind"], "they say something"


def test_a_judged_stream_shows_none_either(client, direct):
    got = list(client.chat.completions.create(model="judged", messages=MESSAGES, temperature=0, max_tokens=12, seed=1, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in got if c.choices) == content(ask(direct))
    assert all(choice.logprobs is None for c in got for choice in c.choices)


@pytest.mark.parametrize("top", [1, 2, 7])
def test_a_client_that_asks_gets_its_own_number(client, direct, top):
    plain = ask(direct, logprobs=True, top_logprobs=top).choices[0].logprobs.content
    whole = judge(client, logprobs=True, top_logprobs=top).parse().choices[0].logprobs.content
    stream = judge(client, logprobs=True, top_logprobs=top, stream=True).parse()
    streamed = [t for c in stream for choice in c.choices if choice.logprobs for t in choice.logprobs.content or []]
    for got in (whole, streamed):
        assert [(t.token, len(t.top_logprobs)) for t in got] == [(t.token, len(t.top_logprobs)) for t in plain]
        assert all(a.logprob == pytest.approx(b.logprob, abs=1e-3) for a, b in zip(got, plain))


def test_a_stream_with_tools_is_not_asked_for_what_the_server_refuses(client):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    got = list(client.chat.completions.create(model="judged", messages=MESSAGES, temperature=0, max_tokens=4, stream=True,
                                              tools=[tool], tool_choice="none"))
    assert got[-1].choices == [] or got[-1].choices[0].finish_reason


def test_text_completions_are_judged_alike(client, direct):
    more = {"prompt": "the time of", "temperature": 0, "max_tokens": 8, "seed": 1}
    got = client.completions.create(model="judged", **more)
    assert got.choices[0].text == direct.completions.create(model="tiny", **more).choices[0].text
    assert got.choices[0].logprobs is None


def test_chat_is_what_the_engine_says(client, direct):
    through, plain = ask(client), ask(direct)
    assert content(through) and content(through) == content(plain)
    assert through.choices[0].finish_reason == plain.choices[0].finish_reason == "length"
    assert through.usage.completion_tokens == 12
    assert through.usage.prompt_tokens == plain.usage.prompt_tokens


def test_unknown_members_survive(weir, llama):
    """timings and whatever else the engine adds is passed on."""
    body = {"model": "tiny", "messages": MESSAGES, "max_tokens": 3, "temperature": 0, "cache_prompt": False}
    got, plain = (json.loads(weirproc.http("POST", base + "/chat/completions", body)[2]) for base in (weir.base + "/v1", llama.url))
    assert set(got) == set(plain) and set(got["timings"]) == set(plain["timings"])
    assert got["usage"] == plain["usage"]


@pytest.mark.parametrize("usage", [False, True])
def test_stream(client, direct, usage):
    options = {"stream_options": {"include_usage": True}} if usage else {}
    chunks = list(ask(client, stream=True, **options))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == content(ask(direct))
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert sum(len(c.choices) > 0 and bool(c.choices[0].delta.content) for c in chunks) >= 10  # not in one piece
    with_usage = [c for c in chunks if c.usage]
    assert len(with_usage) == int(usage)  # weir always asks for it, and strips it from who did not
    if usage:
        assert with_usage[0].usage.completion_tokens == 12


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client, direct, stream):
    def tokens(c):
        if not stream:
            return ask(c, logprobs=True, top_logprobs=3).choices[0].logprobs.content
        return [t for chunk in ask(c, logprobs=True, top_logprobs=3, stream=True)
                if chunk.choices and chunk.choices[0].logprobs for t in chunk.choices[0].logprobs.content]
    through, plain = tokens(client), tokens(direct)
    assert len(through) == 12
    assert [t.token for t in through] == [t.token for t in plain]
    for a, b in zip(through, plain):
        assert a.logprob == pytest.approx(b.logprob, abs=1e-3)  # batches differ with what the engine has cached
        assert a.logprob <= 0 and len(a.top_logprobs) == 3
        assert a.top_logprobs[0].token == a.token  # temperature 0 takes the best


def test_cancel_stops_the_engine(weir, llama):
    """Who leaves a stream frees the engine's slot: it would be busy for many seconds more."""
    client = OpenAI(base_url=weir.base + "/v1", api_key="none", max_retries=0)
    stream = client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=30000, stream=True)
    for _, chunk in zip(range(5), stream):
        assert chunk.choices
    assert llama.busy() == 1
    stream.close()
    weirproc.wait_until(lambda: llama.busy() == 0, 3, "the engine to stop")
    client.close()


def test_cancel_before_the_answer(weir, llama):
    """weir leaves the engine at once, without a byte of its answer. The engine itself goes on with an answer that is not streamed: it
    notices only when it writes (also without weir in between), so this answer is a short one; a longer one where the engine is
    through with it before its client has left."""
    def left():
        return [r for r in ledger_rows(weir, "tiny") if r["outcome"] == "client_gone" and r["first_byte_us"] is None]
    for tokens in (4000, 12000, 30000):
        before = len(ledger_rows(weir, "tiny"))
        body = json.dumps({"model": "tiny", "messages": MESSAGES, "max_tokens": tokens}).encode()
        with Client(weir.address) as client:
            client.send(request("POST", "/v1/chat/completions", body))
            weirproc.wait_until(lambda n=before: llama.busy() == 1 or len(ledger_rows(weir, "tiny")) > n, 15, "the engine to be asked")
        weirproc.wait_until(lambda n=before: len(ledger_rows(weir, "tiny")) > n, 60, "the attempt's row")
        weirproc.wait_until(lambda: llama.busy() == 0, 60, "the engine to finish")
        if left():
            return
    raise AssertionError("every answer was there before its client had left")


def test_usage_booked_is_usage_reported(weir, client):
    before = len(ledger_rows(weir, "tiny"))
    whole = ask(client)
    *_, last = ask(client, stream=True, stream_options={"include_usage": True})
    rows = weirproc.wait_until(lambda: (r := ledger_rows(weir, "tiny")[before:]) and len(r) >= 2 and r, 15, "two ledger rows")
    assert len(rows) == 2
    for row, usage in zip(rows, (whole.usage, last.usage)):
        cached = usage.prompt_tokens_details.cached_tokens or 0
        assert row["output_tokens"] == usage.completion_tokens == 12
        assert row["cached_input_tokens"] == cached
        assert row["input_tokens"] == usage.prompt_tokens - cached
        assert row["cost_nanousd"] == (row["input_tokens"] * 1000 + cached * 100 + row["output_tokens"] * 2000)


def test_embeddings(client, embedder):
    through = client.embeddings.create(model="tiny-embed", input=["the time", "of day"], encoding_format="float")
    plain = OpenAI(base_url=embedder.url, api_key="none").embeddings.create(model="x", input=["the time", "of day"], encoding_format="float")
    assert len(through.data) == 2 and len(through.data[0].embedding) == 128
    for a, b in zip(through.data, plain.data):
        assert a.embedding == pytest.approx(b.embedding, abs=1e-5)
    assert through.usage.prompt_tokens == plain.usage.prompt_tokens


def test_engine_errors_are_typed(client):
    """A prompt beyond the context is the client's error, said as OpenAI says it."""
    with pytest.raises(BadRequestError) as refused:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "x " * 60000}], max_tokens=1)
    assert refused.value.status_code == 400


def test_parallel_streams(client, direct):
    """More streams than the engine has slots: the surplus waits in the engine, none is lost or mixed up."""
    streams = [ask(client, stream=True) for _ in range(6)]
    expected = content(ask(direct))
    for stream in streams:
        assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == expected


# ---- started by weir ----

def command(port, context=32768, more=""):
    argv = json.dumps([str(SERVER), "-m", str(MODEL), "--host", "127.0.0.1", "--port", str(port), "--ctx-size", str(context), "--threads", "1"])
    return f"{{argv: {argv}, ready: {{path: /health, timeout: 60s}}{more}}}"


def launched_policy(state_dir, port, context=32768):
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{state_dir}"}}
backends:
  llama:
    dialect: openai
    server: llama_cpp
    url: "http://127.0.0.1:{port}/v1"
    command: {command(port, context)}
models:
  tiny: {{backend: llama, context: 32768, quantization: q8_0, price: {{gpu_second: 0.0004}}}}
"""


def test_weir_starts_it_and_starts_it_again_after_a_crash_in_mid_request(tmp_path):
    gateway = weirproc.Weir(tmp_path, launched_policy(tmp_path / "state", weirproc.free_port()))
    client = OpenAI(base_url=gateway.base + "/v1", api_key="none", max_retries=0, timeout=90)
    assert ask(client).usage.completion_tokens > 0

    def server():
        return json.loads(weirproc.http("GET", gateway.admin + "/admin/backends")[2])["backends"][0]["server"]
    stream = client.chat.completions.create(model="tiny", messages=MESSAGES, max_tokens=20000, stream=True)
    next(iter(stream))
    os.kill(server()["pid"], signal.SIGKILL)
    with pytest.raises(APIError):
        for _ in stream:
            pass
    assert ask(client).usage.completion_tokens > 0
    assert server()["starts"] == 2
    gateway.stop()


def backends(gateway):
    return {b["name"]: b for b in json.loads(weirproc.http("GET", gateway.admin + "/admin/backends")[2])["backends"]}


def test_its_context_is_held_against_the_policys(tmp_path):
    """It answers to any name with the model it has, so that its list says nothing of names; it was started with less room."""
    gateway = weirproc.Weir(tmp_path, launched_policy(tmp_path / "state", weirproc.free_port(), context=2048))
    assert ask(OpenAI(base_url=gateway.base + "/v1", api_key="none", max_retries=0, timeout=90)).usage.completion_tokens > 0
    models = weirproc.wait_until(lambda: (m := backends(gateway)["llama"]["endpoints"][0]["models"])["asked"] and m, 15, "its list")
    assert models["problems"] == ["model 'tiny' has a context of 32768 tokens in the policy, and of 2048 by the server's list"]
    assert models["listed"] == [{"id": str(MODEL), "context": 2048, "declared": True}]
    gateway.stop()


def test_two_engines_take_turns(tmp_path):
    """One of a group at a time, streams to their end, whoever asks."""
    ports = [weirproc.free_port(), weirproc.free_port()]
    gateway = weirproc.Weir(tmp_path, f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{tmp_path / 'state'}"}}
backends:
  one: {{dialect: openai, server: llama_cpp, url: "http://127.0.0.1:{ports[0]}/v1", command: {command(ports[0], more=", group: gpu, min_run: 500ms")}}}
  two: {{dialect: openai, server: llama_cpp, url: "http://127.0.0.1:{ports[1]}/v1", command: {command(ports[1], more=", group: gpu, min_run: 500ms")}}}
models:
  a: {{backend: one, price: {{gpu_second: 0.0004}}}}
  b: {{backend: two, price: {{gpu_second: 0.0004}}}}
""")
    done, both = [], []

    def be_client(model):
        client = OpenAI(base_url=gateway.base + "/v1", api_key="none", max_retries=0, timeout=90)
        for _ in range(3):
            *_, last = client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=50, stream=True)
            done.append((model, last.choices[0].finish_reason))
    clients = [threading.Thread(target=be_client, args=(model,)) for model in "abab"]
    for c in clients:
        c.start()
    while any(c.is_alive() for c in clients):
        both.append(sum(b["server"]["pid"] != 0 for b in backends(gateway).values()))
        time.sleep(0.05)
    for c in clients:
        c.join()
    assert len(done) == 12 and {reason for _, reason in done} <= {"length", "stop"}
    assert max(both) == 1, "never two at a time"
    assert all(b["server"]["starts"] >= 1 and b["server"]["failures"] == 0 for b in backends(gateway).values())
    gateway.stop()

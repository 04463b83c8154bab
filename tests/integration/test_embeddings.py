"""POST /v1/embeddings answered by weir's own encoder, through the openai SDK and by hand."""

import base64
import json
import math
import struct
import subprocess

import openai
import pytest
import weirproc
from test_classes import MODEL, needs_model, rows

pytestmark = needs_model


def policy(folder, url="http://127.0.0.1:9/v1", encoder=None, more=""):
    section = json.dumps({"model": str(MODEL), "device": "cpu", **(encoder or {})})
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{folder}/state"}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  minilm: {{encoder: true, price: {{input: 0.02}}}}
  chatty: {{backend: up, price: {{input: 1, output: 1}}}}
encoder: {section}
{more}"""


@pytest.fixture
def embedder(start, tmp_path):
    return start(policy(tmp_path))


@pytest.fixture
def client(embedder):
    return openai.OpenAI(base_url=embedder.base + "/v1", api_key="unused", max_retries=0)


def post(gateway, **body):
    status, headers, data = weirproc.http("POST", gateway.base + "/v1/embeddings", {"model": "minilm", **body}, timeout_s=60)
    return status, headers, json.loads(data)


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_sdk(client, embedder, tmp_path):
    one = client.embeddings.create(model="minilm", input="The cat sits on the mat.")
    assert one.model == "minilm" and len(one.data) == 1 and len(one.data[0].embedding) == 384
    assert one.usage.prompt_tokens == one.usage.total_tokens == 9  # [CLS] the cat sits on the mat . [SEP]
    assert abs(sum(x * x for x in one.data[0].embedding) - 1) < 1e-5
    many = client.embeddings.create(model="minilm", input=["A cat is on a mat.", "Stocks fell sharply today.", ""], encoding_format="float")
    assert [d.index for d in many.data] == [0, 1, 2]
    near, far = (cosine(one.data[0].embedding, many.data[i].embedding) for i in (0, 1))
    assert near > 0.7 > 0.3 > far
    embedder.until(lambda: len(rows(tmp_path, "SELECT 1 FROM requests")) == 2, "two rows")
    got = rows(tmp_path, "SELECT role, model, backend, endpoint, outcome, http_status, input_tokens, output_tokens, usage_source, cost_nanousd, served"
                         " FROM attempts")
    assert [(*r[:6], *r[7:9], r[10]) for r in got] == [("serve", "minilm", "(encoder)", "encoder", "ok", 200, 0, "reported", 1)] * 2
    assert all(cost == tokens * 20 for *_, tokens, _, _, cost, _ in got)
    assert "minilm" in [m.id for m in client.models.list()]


def test_base64_and_floats_are_the_same_numbers(embedder):
    _, _, floats = post(embedder, input=["bits", "and pieces"])
    _, _, coded = post(embedder, input=["bits", "and pieces"], encoding_format="base64")
    for a, b in zip(floats["data"], coded["data"]):
        raw = base64.b64decode(b["embedding"], validate=True)
        assert list(struct.unpack("<384f", raw)) == [struct.unpack("f", struct.pack("f", x))[0] for x in a["embedding"]]


def test_batch_equals_single(embedder):
    texts = [f"text number {n} " + "about something " * (n % 30) for n in range(200)]
    status, headers, batch = post(embedder, input=texts)
    assert status == 200 and len(batch["data"]) == 200 and headers["x-weir-model"] == "minilm"
    for n in (0, 17, 199):
        _, _, single = post(embedder, input=texts[n])
        assert cosine(single["data"][0]["embedding"], batch["data"][n]["embedding"]) > 0.9999
    assert batch["usage"]["prompt_tokens"] == sum(post(embedder, input=t)[2]["usage"]["prompt_tokens"] for t in texts)


REFUSED = [  # body, param, words of the message
    ({"input": [1, 2, 3]}, "input", "vocabulary"),
    ({"input": [[1, 2], [3]]}, "input", "vocabulary"),
    ({"input": ["a", None]}, "input", "input[1]"),
    ({"input": []}, "input", "0 texts"),
    ({"input": ["x"] * 2049}, "input", "2049 texts"),
    ({"input": "x", "encoding_format": "hex"}, "encoding_format", "base64"),
    ({"input": "x", "dimensions": 256}, "dimensions", "384"),
    ({"input": "x", "dimensions": "many"}, "dimensions", "384"),
    ({"input": {"text": "x"}}, "input", "string"),
    ({}, "input", "Missing"),
]


def test_refusals_are_openais(embedder):
    for body, param, words in REFUSED:
        status, _, answer = post(embedder, **body)
        assert status == 400 and answer["error"]["type"] == "invalid_request_error", (body, answer)
        assert answer["error"]["param"] == param and words in answer["error"]["message"], (body, answer)


def test_what_is_too_long_is_refused_not_cut(client, embedder):
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model="minilm", input=["short", "word " * 400])
    assert refused.value.code == "context_length_exceeded" and "input[1]" in refused.value.message
    assert post(embedder, input="word " * 250)[0] == 200
    assert post(embedder, input=" " * 100000)[0] in (200, 400)  # whatever it is, it is said
    assert post(embedder, input="x", dimensions=384, user="me")[0] == 200


def test_other_apis_are_refused(client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="minilm", messages=[{"role": "user", "content": "hello"}])
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="no-such", input="x")


def test_full_queue_waits_its_turn(start, tmp_path):
    import concurrent.futures
    gateway = start(policy(tmp_path, encoder={"threads": 1, "max_queued": 2}))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: post(gateway, input=[f"{n} {i}" for i in range(20)]), range(8)))
    for status, _, body in answers:
        assert status == 200 and len(body["data"]) == 20 or status == 503, body
    assert any(status == 200 for status, _, _ in answers)


def test_client_leaves(embedder, tmp_path):
    import socket
    body = json.dumps({"model": "minilm", "input": ["a text of some length " * 20] * 500})
    with socket.create_connection(embedder.address) as s:
        s.sendall(f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    embedder.until(lambda: len(rows(tmp_path, "SELECT 1 FROM requests WHERE status = 499")) == 1, "the row of a client that left")
    embedder.until(lambda: embedder.metric("weir_encoder_queue") == 0, "an empty queue")
    assert post(embedder, input="still there")[0] == 200


def test_reload_to_another_model_and_away(start, tmp_path, upstream):
    gateway = start(policy(tmp_path, upstream.url))
    assert post(gateway, input="x")[0] == 200
    without = policy(tmp_path, upstream.url).replace("  minilm: {encoder: true, price: {input: 0.02}}\n", "").split("encoder:")[0]
    assert gateway.put(without)[0] == 200
    assert post(gateway, input="x")[0] == 404
    assert gateway.put(policy(tmp_path, upstream.url))[0] == 200
    assert post(gateway, input="x")[0] == 200


def test_command_line_gives_the_same(embedder, weir):
    _, _, served = post(embedder, input="the same vector")
    done = weir("embed", "--json", "--model", MODEL, "the same vector")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["tokens"] == 5 and told["embedding"] == pytest.approx(served["data"][0]["embedding"], abs=0)
    lines = weir("embed", "--model", MODEL, "-", input="the same vector\nanother\n")
    assert [float(x) for x in lines.stdout.splitlines()[0].split()] == told["embedding"] and len(lines.stdout.splitlines()) == 2
    done = subprocess.run([str(weir.program), "embed", "--npy", "--model", str(MODEL), "a", "b", "c"], capture_output=True)
    assert done.stdout[:6] == b"\x93NUMPY" and len(done.stdout) == 128 + 3 * 384 * 4 and b"(3, 384)" in done.stdout[:128]

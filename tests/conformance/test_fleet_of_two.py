"""Two servers behind one backend: conversations stay where their KV cache is, and a server that fails its checks gets nothing."""

import json

import pytest

from test_sdk import MODEL
from weirproc import Fleet, Weir, http, wait_until


def policy(urls, state_dir, more):
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{state_dir}"}}
backends:
  pair: {{dialect: openai, url: {json.dumps(urls)}, {more}}}
models:
  {MODEL}: {{backend: pair, price: {{input: 1.00, output: 2.00}}}}
"""


@pytest.fixture
def pair(tmp_path):
    fleets = [Fleet(tmp_path / name) for name in ("a", "b")]
    yield fleets
    for f in fleets:
        if f.child.poll() is None:
            f.stop()


def served_by(weir, messages):
    status, headers, _ = http("POST", weir.base + "/v1/chat/completions", {"model": MODEL, "messages": messages})
    assert status == 200
    return headers["x-weir-endpoint"]


def test_a_conversation_returns_to_its_endpoint(pair, tmp_path):
    weir = Weir(tmp_path / "weir", policy([f.url for f in pair], tmp_path / "state", "balance: prefix_affinity"))
    places = set()
    for n in range(20):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"conversation {n}"}]
        where = served_by(weir, messages)
        places.add(where)
        for turn in range(3):
            messages += [{"role": "assistant", "content": f"answer {turn}"}, {"role": "user", "content": f"turn {turn}"}]
            assert served_by(weir, messages) == where
    assert len(places) == 2, "conversations are spread"
    weir.stop()


def test_a_server_that_fails_its_checks_gets_no_requests(pair, tmp_path):
    weir = Weir(tmp_path / "weir", policy([f.url for f in pair], tmp_path / "state",
                                         "health: {path: /v1/models, interval: 100ms, timeout: 60s}"))
    pair[0].child.kill()
    pair[0].child.wait()

    def down():
        text = http("GET", weir.admin + "/metrics")[2].decode()
        return [line for line in text.splitlines() if line.startswith("weir_endpoint_up{") and line.endswith(" 0")]
    wait_until(down, 10, "the dead endpoint to be found out")
    alive = pair[1].root.split("/")[2]
    assert {served_by(weir, [{"role": "user", "content": str(n)}]) for n in range(10)} == {alive}
    weir.stop()

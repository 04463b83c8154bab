"""POST /v1/feedback: what clients say of answers reaches counters and ledger once, in any order, however late; what is wrong with
it is said clearly; nobody labels what is not theirs."""

import json
import sqlite3
import time

import pytest
from openai import NotFoundError, OpenAI
from scripted import Upstream, error

import weirproc

KEY, OTHER = "sk-acme-0123456789", "sk-other-0123456789"


def policy(url, folder, more="", tenants=True):
    keys = f"""
tenants:
  acme: {{keys: [{{sha256: "{sha(KEY)}"}}]}}
  other: {{keys: [{{sha256: "{sha(OTHER)}"}}]}}""" if tenants else ""
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{folder}/state", drain: 5s}}
backends:
  up: {{dialect: openai, url: "{url}"}}
models:
  small: {{backend: up, price: {{input: 1, output: 1}}}}
  big: {{backend: up, price: {{input: 10, output: 10}}}}
routes:
  - {{name: ladder, match: {{model: auto}}, cascade: [small, big], accept: 0.01}}
  - {{name: plain, match: {{model: plain}}, cascade: [small], retry: {{max_attempts: 1}}}}
{more}{keys}"""


def sha(key):
    import hashlib
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture
def weir(start, upstream, tmp_path):
    return start(policy(upstream.url, tmp_path))


def ask(weir, key=KEY, model="auto", **more):
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **more}
    return weirproc.http("POST", weir.base + "/v1/chat/completions", body, {"Authorization": "Bearer " + key})


def ask_id(weir, **more):
    status, head, data = ask(weir, **more)
    assert status == 200, data
    return head["x-request-id"]


def feed(weir, key=KEY, headers=None, raw=None, **body):
    status, head, data = weirproc.http("POST", weir.base + "/v1/feedback", raw if raw is not None else body,
                                       headers or {"Authorization": "Bearer " + key})
    return status, json.loads(data)


def said(weir, request_id, **body):
    status, got = feed(weir, request_id=request_id, **body)
    assert status == 200, got
    return got


def ledger(folder, sql):
    with sqlite3.connect(f"file:{folder}/state/ledger.sqlite?mode=ro", uri=True) as db:
        return db.execute(sql).fetchall()


def counts(folder):
    """Counters of the slow buckets, summed over buckets and arms."""
    with sqlite3.connect(f"file:{folder}/state/learn.sqlite?mode=ro", uri=True) as db:
        return dict(db.execute("SELECT field, sum(value) FROM counts WHERE kind = 0 GROUP BY field HAVING sum(value) <> 0"))


def labels(folder):
    sums = counts(folder)
    return (sum(v for f, v in sums.items() if f.startswith("good.")), sum(v for f, v in sums.items() if f.startswith("bad.")),
            sums.get("resolved", 0))


def test_said_twice_changed_and_withdrawn(weir, tmp_path):
    one = ask_id(weir)
    got = said(weir, one, success=True, reason="it compiles")
    assert got == {"object": "feedback", "request_id": one, "model": "small", "source": "explicit", "score": 1.0, "changed": True}
    assert labels(tmp_path) == (1000, 0, 1)
    for _ in range(3):
        assert said(weir, one, success=True)["changed"] is False
    assert labels(tmp_path) == (1000, 0, 1)
    assert said(weir, one, score=0.25)["changed"] is True
    assert labels(tmp_path) == (250, 750, 1)
    assert said(weir, one, success=True, time=time.time() - 3600)["changed"] is False  # an older word that comes late
    assert labels(tmp_path) == (250, 750, 1)
    assert said(weir, one, correction="the right answer")["source"] == "correction"  # beside the explicit word
    assert labels(tmp_path) == (250, 1750, 1)
    assert said(weir, one, success=None)["score"] is None
    assert said(weir, one, success=None, source="correction")["changed"] is True
    assert labels(tmp_path) == (0, 0, 0)
    weirproc.wait_until(lambda: len(ledger(tmp_path, "SELECT 1 FROM outcomes")) == 5, 10, "the outcomes are booked")
    assert ledger(tmp_path, "SELECT tenant, route, model, source, value_milli, weight_milli, note FROM outcomes ORDER BY id") == [
        ("acme", "ladder", "small", "explicit", 1000, 1000, "it compiles"),
        ("acme", "ladder", "small", "explicit", 250, 1000, ""),
        ("acme", "ladder", "small", "correction", 0, 700, ""),
        ("acme", "ladder", "small", "explicit", None, 1000, ""),
        ("acme", "ladder", "small", "correction", None, 700, "")]
    assert ledger(tmp_path, "SELECT * FROM request_outcomes") == []


def test_cost_per_success_in_the_ledger(weir, tmp_path):
    ids = [ask_id(weir) for _ in range(4)]
    for i, one in enumerate(ids):
        said(weir, one, success=i > 0)
    weirproc.wait_until(lambda: len(ledger(tmp_path, "SELECT 1 FROM request_outcomes")) == 4, 10, "the outcomes are booked")
    spent = sum(c for (c,) in ledger(tmp_path, "SELECT cost_nanousd FROM requests"))
    (row,) = ledger(tmp_path, "SELECT route, resolved, successes, cost_usd, usd_per_success FROM cost_per_success")
    assert row == ("ladder", 4, 3.0, pytest.approx(spent / 1e9), pytest.approx(spent / 1e9 / 3))


def test_only_ones_own_requests(weir):
    one = ask_id(weir)
    status, got = feed(weir, key=OTHER, request_id=one, success=False)
    assert (status, got["error"]["code"], got["error"]["param"]) == (404, "request_not_found", "request_id")
    assert one in got["error"]["message"]
    assert feed(weir, key="sk-nobody", request_id=one, success=False)[0] == 401
    assert feed(weir, headers={"X-None": "1"}, request_id=one, success=False)[0] == 401
    assert said(weir, one, success=True)["changed"]


def test_what_is_wrong_is_said(weir):
    one = ask_id(weir)
    for body, param in [({"request_id": one}, "success"), ({"success": True}, "request_id"),
                        ({"request_id": one, "success": True, "score": 1}, "score"),
                        ({"request_id": one, "score": 2}, "score"), ({"request_id": one, "success": "yes"}, "success"),
                        ({"request_id": one, "success": True, "time": time.time() + 9999}, "time"),
                        ({"request_id": one, "success": True, "source": "me"}, "source"),
                        ({"request_id": one, "success": True, "typo": 1}, None)]:
        status, got = feed(weir, **body)
        assert (status, got["error"]["type"], got["error"]["param"]) == (400, "invalid_request_error", param), (body, got)
    for raw in [b"", b"{", b'{"request_id": "x", "score": NaN}', b"[1]", b'{"request_id": "\xff", "success": true}']:
        assert feed(weir, raw=raw)[0] == 400, raw
    status, head, _ = weirproc.http("GET", weir.base + "/v1/feedback")
    assert (status, head["Allow"]) == (405, "POST, OPTIONS")
    status, got = feed(weir, headers={"x-api-key": KEY, "anthropic-version": "2023-06-01"}, request_id="req_nobody", success=True)
    assert (status, got["type"], got["error"]["type"]) == (404, "error", "not_found_error")


def test_a_request_without_an_answer(weir, upstream):
    upstream.script.append(error(500))
    status, head, _ = ask(weir, model="plain")
    assert status >= 500
    status, got = feed(weir, request_id=head["x-request-id"], success=False)
    assert (status, got["error"]["code"]) == (409, "conflict")


def test_plain_routes_and_streams_and_sdks(weir, tmp_path):
    client = OpenAI(base_url=weir.base + "/v1", api_key=KEY, max_retries=0)
    raw = client.chat.completions.with_raw_response.create(model="plain", messages=[{"role": "user", "content": "hi"}])
    one = raw.headers["x-request-id"]
    assert client.post("/feedback", body={"request_id": one, "success": True}, cast_to=object)["model"] == "small"
    with pytest.raises(NotFoundError):
        client.post("/feedback", body={"request_id": "req_no", "success": True}, cast_to=object)
    assert labels(tmp_path) == (0, 0, 0)  # the route learns nothing, the ledger does
    weirproc.wait_until(lambda: ledger(tmp_path, "SELECT 1 FROM request_outcomes"), 10, "the outcome is booked")


def test_days_later_another_process(start, upstream, tmp_path):
    text = policy(upstream.url, tmp_path)
    weir = start(text)
    ids = [ask_id(weir) for _ in range(3)]
    said(weir, ids[0], success=True)
    weir.stop()
    weir = start(text)
    assert said(weir, ids[0], success=True)["changed"] is False
    assert said(weir, ids[1], success=False)["changed"] is True
    assert labels(tmp_path) == (1000, 1000, 2)
    weir.kill()  # -9; what was there for longer than a moment stays
    weir.child.returncode = 0
    weir = start(text)
    assert said(weir, ids[2], success=True)["changed"] is True
    assert labels(tmp_path) == (2000, 1000, 3)
    assert counts(tmp_path)["asked"] == 3


def test_answers_given_again(start, upstream, tmp_path):
    weir = start(policy(upstream.url, tmp_path, tenants=False).replace("accept: 0.01", "accept: 0.01, cache: {}"))
    head = weirproc.wait_until(lambda: (h := ask(weir)[1])["x-weir-cache"] == "hit" and h, 10, "the answer to be kept")
    assert said(weir, head["x-request-id"], success=False)["changed"] is True
    assert labels(tmp_path) == (0, 0, 0)  # nobody was asked
    assert said(weir, head["x-request-id"], success=False)["changed"] is False
    assert weir.metric('weir_learn_outcomes_total{source="explicit",result="counted"}') == 1
    assert weir.metric('weir_learn_outcomes_total{source="explicit",result="unchanged"}') == 1


@pytest.mark.parametrize("silent", [False, True])
def test_asked_again_and_silence(start, upstream, tmp_path, silent):
    """With a short silence the two turns are too far apart on some machines: each part has a gateway of its own. What is spoken of
    must be so before it counts as silence."""
    learn = f"accept: 0.01, learn: {{silence: {{after: {weirproc.slowness() // 2}s, as: success}}}}" if silent else \
        "accept: 0.01, learn: {silence: {after: 1h, as: success}}"
    weir = start(policy(upstream.url, tmp_path, tenants=False).replace("accept: 0.01", learn))
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"},
                {"role": "user", "content": "What is the capital of France?"}]

    def turn(text):
        messages[-1]["content"] = text
        status, head, _ = weirproc.http("POST", weir.base + "/v1/chat/completions", {"model": "auto", "messages": messages})
        assert status == 200
        return head["x-request-id"]
    def outcomes(*expected):
        weirproc.wait_until(lambda: len(ledger(tmp_path, "SELECT 1 FROM outcomes")) == len(expected), 20, "what was not said is booked")
        assert sorted(ledger(tmp_path, "SELECT request_id, source, value_milli, weight_milli, note FROM outcomes")) == sorted(expected)
        kinds = [f"{'good' if e[2] else 'bad'}.{e[1]}" for e in expected]

        def counted():
            sums = {f: v for f, v in counts(tmp_path).items() if f.startswith(("good", "bad"))}
            return set(sums.values()) == {1000} and sorted(f for f in sums) == sorted(f for k in kinds for f in sums if f.startswith(k)) \
                and all(any(f.startswith(k) for f in sums) for k in kinds)
        weirproc.wait_until(counted, 20, f"{kinds} to be counted, and nothing else")

    spoken_of = ask_id(weir)
    said(weir, spoken_of, success=False)
    spoken = (spoken_of, "explicit", 0, 1000, "")
    first = turn("What is the capital of France?")
    if not silent:
        time.sleep(1.1)  # so soon nobody asks again
        turn("what's the capital of france")
        outcomes(spoken, (first, "implicit", 0, 300, "asked again"))
        return
    outcomes(spoken, (first, "silence", 1000, 300, "silence"))
    said(weir, first, success=False)  # who speaks at last ends the silence
    assert not any(f.startswith("good.silence") for f in counts(tmp_path))


def test_a_route_that_learns_nothing(start, upstream, tmp_path):
    weir = start(policy(upstream.url, tmp_path, tenants=False).replace("accept: 0.01", "accept: 0.01, learn: off"))
    assert said(weir, ask_id(weir), success=False)["changed"] is True
    assert counts(tmp_path) == {}
    weirproc.wait_until(lambda: ledger(tmp_path, "SELECT 1 FROM request_outcomes"), 10, "the outcome is booked")

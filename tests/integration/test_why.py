"""weir why: a request's story out of the ledger, for people and for programs, while weir runs and after it."""

import json
import sqlite3

import pytest
from scripted import UNSURE, error, reply, whole

import weirproc


@pytest.fixture
def gateway(start, upstream, big, tmp_path):
    return start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state", drain: 1s}}
backends:
  s: {{dialect: openai, url: "{upstream.url}"}}
  b: {{dialect: openai, url: "{big.url}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 1}}}}
  big: {{backend: b, price: {{input: 10, output: 10}}}}
routes:
  - {{name: ladder, match: {{model: auto}}, cascade: [small, big], accept: 0.6, retry: {{per_model: 1}}}}
  - {{name: plain, match: {{model: plain}}, cascade: [small], retry: {{max_attempts: 1}}}}
""")


@pytest.fixture
def why(weir, tmp_path):
    def run(*argv):
        return weir("why", "--ledger", tmp_path / "state" / "ledger.sqlite", *argv)
    return run


def ask(gateway, why, model="auto"):
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    _, head, _ = weirproc.http("POST", gateway.base + "/v1/chat/completions", body)
    one = head["x-request-id"]
    weirproc.wait_until(lambda: why(one).returncode == 0, 10, "the request is in the ledger")
    return one


def test_an_escalation_and_what_became_of_it(gateway, upstream, big, why):
    upstream.script.append(whole(reply(UNSURE)))
    big.script.append(whole(reply("42")))
    one = ask(gateway, why)
    text = why(one).stdout
    assert text.count("\n") == 1
    assert text.startswith(f"{one}: on 2") and "asked for 'auto' (chat), which route 'ladder' took." in text
    assert " small was asked first." in text
    assert " That was not sure enough, and big was asked." in text
    assert " for $0.000015, right with a chance of 0." in text
    assert " The client got big's answer after " in text and "; all of it cost $0.000165." in text
    assert text.endswith("What became of the answer nobody has said.\n")

    weirproc.http("POST", gateway.base + "/v1/feedback", {"request_id": one, "score": 0.5, "reason": "half of it"})
    weirproc.wait_until(lambda: "later, explicit feedback gave big's answer 0.50 of 1 (\"half of it\")." in why(one).stdout, 10,
                        "the outcome is told")
    told = json.loads(why(one, "--json").stdout)
    assert told["request"]["request_id"] == one
    assert [(a["model"], a["role"]) for a in told["attempts"]] == [("small", "escalated"), ("big", "serve")]
    assert sum(a["cost_nanousd"] for a in told["attempts"]) == told["request"]["cost_nanousd"] == 165000
    assert [d["chosen"] for d in told["decisions"]][:2] == ["small", "big"]
    assert told["decisions"][0]["candidates"][0]["model"] == "small"
    assert [(o["source"], o["score"], o["note"]) for o in told["outcomes"]] == [("explicit", 0.5, "half of it")]
    assert json.loads(why("--json").stdout) == told  # the newest


def test_a_failure(gateway, upstream, why):
    upstream.script.append(error(500))
    text = why(ask(gateway, why, "plain")).stdout
    assert " It gave no answer (upstream_server_error)" in text
    assert " The client got no whole answer: upstream_server_error, status 50" in text


def test_what_is_not_there(gateway, why, weir, tmp_path):
    none = why("req_nobody")
    assert (none.returncode, none.stdout) == (1, "") and "no request req_nobody" in none.stderr
    nobody = why("--tenant", "acme")
    assert nobody.returncode == 1 and "no request of tenant 'acme'" in nobody.stderr
    missing = weir("why", "--ledger", tmp_path / "nothing.sqlite")
    assert missing.returncode == 5 and "nothing.sqlite" in missing.stderr
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("CREATE TABLE t (x)")
    assert "schema 99" in weir("why", "--ledger", other).stderr
    (tmp_path / "text").write_text("no database, but long enough to be looked at as the head of one, by all means")
    assert weir("why", "--ledger", tmp_path / "text").returncode == 5
    assert weir("why", "a", "b").returncode == 2


def test_feedback_from_a_shell(gateway, why, weir):
    def say(*argv, **more):
        return weir("feedback", "--url", gateway.base + "/v1", *argv, **more)
    one = ask(gateway, why)
    assert say(one, "--success").stdout == "small's answer: 1\n"
    assert say(one, "--success").stdout == "small's answer: 1, as was known\n"
    assert say(one, "--score", "0.25", "--reason", "meh").stdout == "small's answer: 0.25\n"
    told = json.loads(say(one, "--withdraw", "--json").stdout)
    assert (told["score"], told["changed"]) == (None, True)
    assert json.loads(say(one, "--correction", "better", "--json").stdout)["source"] == "correction"
    unknown = say("req_nobody", "--failure")
    assert unknown.returncode == 1 and "req_nobody" in unknown.stderr
    for words in [[], ["--success", "--failure"], ["--score", "2"], ["--score", "0.5x"], ["--score", ""], ["--score", "nan"]]:
        wrong = say(one, *words)
        assert wrong.returncode == 2 and wrong.stderr, words
    assert "source" in say(one, "--success", "--source", "me").stderr
    nobody = weir("feedback", one, "--success", "--url", "http://127.0.0.1:1/v1")
    assert nobody.returncode == 5 and nobody.stderr.startswith("weir feedback: http://127.0.0.1:1/v1: ")

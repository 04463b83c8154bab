"""Self-consistency: a model is asked the same again before its answer is judged. What goes to the server, what the client sees and pays,
what is booked, and when it is left alone. Two scripted servers, a small model and a big one."""

import http.client
import json
import sqlite3

import pytest
from scripted import answer, error, reply, silent, stream, whole
from test_cascade import ask, books, streamed, text_of

import weirproc

THINKS = "Let me see. Six times seven is what is asked here, so that has to be worked out first.\nThe answer is {}."


@pytest.fixture
def gateway(start, small, big, tmp_path):
    """gateway(confidence="samples: 3") -> weir before a small model of OpenAI's dialect, or another one, without log-probabilities."""
    def make(confidence="samples: 3", route="accept: 0.6", dialect="openai", logprobs="false"):
        return start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state", drain: 1s}}
backends:
  s: {{dialect: {dialect}, url: "{small.url}"}}
  b: {{dialect: openai, url: "{big.url}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 1}}}}
  big: {{backend: b, price: {{input: 10, output: 10}}}}
routes:
  - name: ladder
    match: {{model: auto}}
    cascade: [small, big]
    retry: {{per_model: 1, backoff: {{base: 10ms, max: 10ms}}}}
    confidence: {{logprobs: {logprobs}, {confidence}}}
    {route}
""")
    return make


def choices(*texts, prompt=10, completion=10):
    """One reply of several choices."""
    body = reply(texts[0], prompt, completion)
    body["choices"] = [{"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"} for i, t in enumerate(texts)]
    return whole(body)


def message(text, prompt=10, completion=5):
    return whole({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}],
                  "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": prompt, "output_tokens": completion}})


def sampled(attempts):
    return [a for a in attempts if a["role"] == "sample"]


# ---- what is asked, and what it decides ----

def test_an_answer_that_is_repeated_is_served_and_all_of_it_paid(gateway, small, big):
    weir = gateway()
    small.play(whole(reply(THINKS.format(42), 10, 20)), choices("It is 42.", "**42**"))
    status, head, data = ask(weir, temperature=0.8, seed=7, user="u")
    assert status == 200 and text_of(data) == THINKS.format(42) and head["x-weir-model"] == "small" and not big.seen
    assert head["x-weir-attempts"] == "1"
    first, again = (e.json() for e in small.seen)
    assert again == {k: v for k, v in first.items() if k != "seed"} | {"n": 2}, "one reading of the prompt, two answers, drawn anew"
    booked, attempts, decisions = books(weir, head["x-request-id"])
    assert [(a["role"], a["model"], a["outcome"], a["served"], a["cost_nanousd"]) for a in attempts] == \
        [("serve", "small", "ok", 1, 30000), ("sample", "small", "ok", 0, 20000)]
    assert booked["cost_nanousd"] == 50000 and float(head["x-weir-cost-usd"]) == pytest.approx(50e-6)
    assert attempts[0]["verdict"] == "served; repeated 2.00 of 2" and attempts[1]["verdict"] == "repeated 2.00 of 2"
    assert [d["chosen"] for d in decisions] == ["small", "stop"]
    costs = {c["model"]: c["cost_nanousd"] for c in json.loads(decisions[0]["candidates"])}
    assert costs["small"] > 2 * 1000 * 300, "the plan has counted three answers"


def test_an_answer_that_is_not_repeated_is_passed_over(gateway, small, big, weir):
    served = gateway()
    small.play(whole(reply(THINKS.format(42), 10, 20)), choices("It is 41.", "**40**"))
    big.play(whole(reply("42", 10, 2)))
    status, head, data = ask(served)
    assert status == 200 and text_of(data) == "42" and head["x-weir-model"] == "big" and head["x-weir-attempts"] == "2"
    booked, attempts, _ = books(served, head["x-request-id"])
    assert [(a["role"], a["model"]) for a in attempts] == [("escalated", "small"), ("serve", "big"), ("sample", "small")]
    assert booked["cost_nanousd"] == sum(a["cost_nanousd"] for a in attempts) == 30000 + 20000 + 120000
    assert attempts[1]["verdict"] == "served", "the last one is served in any case: it is not sampled"
    told = weir("why", "--ledger", served.state_dir / "ledger.sqlite", head["x-request-id"]).stdout
    assert " Asked the same again, for $0.00002, it said so 0.00 of 2 times. That was not sure enough, and big was asked" in told


def test_a_server_without_n_is_asked_several_times_at_once(gateway, small, big):
    weir = gateway("samples: {count: 4, temperature: 0.9}", dialect="anthropic")
    small.play(message(THINKS.format("B")), message("(b)"), message("B"), error(529))
    body = {"model": "auto", "max_tokens": 64, "temperature": 0, "messages": [{"role": "user", "content": "Which one, A or B?"}]}
    status, head, data = weirproc.http("POST", weir.base + "/v1/messages", body, {"anthropic-version": "2023-06-01"})
    assert status == 200 and json.loads(data)["content"][0]["text"] == THINKS.format("B") and not big.seen
    asked = [e.json() for e in small.seen]
    assert [a["temperature"] for a in asked] == [0, 0.9, 0.9, 0.9] and all("n" not in a for a in asked)
    booked, attempts, _ = books(weir, head["x-request-id"])
    assert attempts[0]["verdict"] == "served; repeated 2.00 of 2", "the one that failed says nothing"
    assert sorted((a["outcome"], a["cost_nanousd"]) for a in sampled(attempts)) == \
        [("ok", 15000), ("ok", 15000), ("upstream_overloaded", 0)]
    assert booked["cost_nanousd"] == 45000


def test_another_dialect_than_the_client_s(gateway, small, big):
    """An Anthropic client before a server of OpenAI's: the choices are read as they come, never translated."""
    weir = gateway()
    small.play(whole(reply(THINKS.format(42))), choices("42", "42"))
    body = {"model": "auto", "max_tokens": 64, "messages": [{"role": "user", "content": "6 times 7?"}]}
    status, head, data = weirproc.http("POST", weir.base + "/v1/messages", body, {"anthropic-version": "2023-06-01"})
    assert status == 200 and json.loads(data)["content"][0]["text"] == THINKS.format(42)
    assert small.seen[1].json()["n"] == 2 and not big.seen


def test_tool_calls_are_compared_as_calls(gateway, small, big):
    weir = gateway()
    call = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1, "b": 2}'}}]
    same = [{"id": "c9", "type": "function", "function": {"name": "f", "arguments": '{"b":2,"a":1}'}}]

    def calls(tools):
        body = reply(None)
        body["choices"][0]["message"]["tool_calls"] = tools
        body["choices"][0]["finish_reason"] = "tool_calls"
        return body
    again = calls(same)
    again["choices"].append({**again["choices"][0], "index": 1})
    small.play(whole(calls(call)), whole(again))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    status, head, data = ask(weir, tools=tools)
    assert status == 200 and json.loads(data)["choices"][0]["message"]["tool_calls"][0]["id"] == "c1"
    assert books(weir, head["x-request-id"])[1][0]["verdict"] == "served; repeated 2.00 of 2"


def test_a_stream_that_is_held_whole(gateway, small, big):
    weir = gateway("hold: whole, samples: 2")
    small.play(stream(*answer("The answer ", "is 42.")), whole(reply("42")))
    status, head, data = ask(weir, stream=True, stream_options={"include_usage": True})
    assert status == 200 and streamed(data) == "The answer is 42." and not big.seen
    assert "stream" not in small.seen[1].json() and "stream_options" not in small.seen[1].json() and "n" not in small.seen[1].json()
    assert "repeated 1.00 of 1" in books(weir, head["x-request-id"])[1][0]["verdict"]


def test_the_books_are_the_fleet_s(start, tmp_path):
    """Real questions before the replay fleet: what the ledger has is what the fleet has charged, samples and all, at the policy's prices."""
    fleet = weirproc.Fleet(tmp_path / "fleet")
    weir = start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{tmp_path}/state", drain: 1s}}
backends:
  f: {{dialect: openai, url: "{fleet.url}"}}
models:
  small: {{backend: f, name: llama-3.1-8b-instruct, price: {{input: 0.20, output: 0.20}}}}
  big: {{backend: f, name: gemini-1.5-pro, price: {{input: 1.25, output: 5.00}}}}
routes:
  - {{name: ladder, match: {{model: auto}}, cascade: [small, big], accept: 0.8, confidence: {{logprobs: false, samples: 4}}}}
""")
    try:
        questions = (weirproc.ROOT / "tests/fleet/sample/questions.txt").read_text().splitlines()[:12]
        for q in questions:
            assert weirproc.http("POST", weir.base + "/v1/chat/completions",
                                 {"model": "auto", "messages": [{"role": "user", "content": q.replace("\\n", "\n")}]}, timeout_s=30)[0] == 200

        def rows():
            with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
                return db.execute("SELECT count(*), sum(role = 'sample'), sum(cost_nanousd), sum(output_tokens) FROM attempts").fetchone() \
                    if db.execute("SELECT count(*) FROM requests").fetchone()[0] == len(questions) else None
        attempts, samples, cost, tokens = weirproc.wait_until(rows, 10, "the ledger's rows")
        total = fleet.get("/fleet/stats")["total"]
        assert samples == len(questions), "each first answer was sampled, by one call"
        assert (attempts, cost, tokens) == (total["requests"], total["cost_nanousd"], total["tokens"]["output"])
    finally:
        fleet.stop()


# ---- when it is left alone ----

@pytest.mark.parametrize(("wish", "why"), [
    ({"temperature": 0}, "at temperature 0 it would say the same again"),
    ({"n": 2}, "it asks for several choices itself"),
])
def test_what_would_tell_nothing_is_not_asked_and_says_so(gateway, small, weir, wish, why):
    served = gateway()
    small.play(choices("42", "42") if "n" in wish else whole(reply("42")))
    status, head, _ = ask(served, **wish)
    assert status == 200 and len(small.seen) == 1
    booked, attempts, _ = books(served, head["x-request-id"])
    assert len(attempts) == 1 and attempts[0]["verdict"] == "served; not sampled: " + why
    told = weir("why", "--ledger", served.state_dir / "ledger.sqlite", head["x-request-id"]).stdout
    assert f" It was not asked the same again: {why}." in told


def test_log_probabilities_go_first_unless_the_policy_says_always(gateway, small):
    sure = {"logprobs": {"content": [{"token": "42", "logprob": -0.01, "bytes": None, "top_logprobs": []}]}}
    weir = gateway("samples: 2", logprobs="true")
    small.play(whole(reply("42", **sure)))
    assert ask(weir)[0] == 200 and len(small.seen) == 1
    weir.put(weir.policy_file.read_text().replace("samples: 2", "samples: {count: 2, when: always}"))
    small.play(whole(reply("42", **sure)), whole(reply("42", **sure)))
    assert ask(weir)[0] == 200 and len(small.seen) == 2


def test_a_refuted_answer_is_not_sampled(gateway, small, big):
    weir = gateway("samples: 3, validators: [{kind: regex, pattern: '^[0-9]+$'}]")
    small.play(whole(reply("no number")))
    big.play(whole(reply("42")))
    assert text_of(ask(weir)[2]) == "42" and len(small.seen) == 1


def test_a_step_has_its_own_number(gateway, small, big):
    weir = gateway("hold: off", route="accept: 0.6")
    weir.put(weir.policy_file.read_text().replace("cascade: [small, big]", "cascade: [{model: small, samples: 3}, big]"))
    small.play(whole(reply("42")), choices("42", "42"))
    assert ask(weir)[0] == 200 and small.seen[1].json()["n"] == 2


def test_no_money_for_samples(gateway, small, weir):
    # The two samples would cost 30000 nano-dollars on top of 20000; the first answer fits.
    served = gateway("samples: 3", route="objective: {floor: 0.5, budget: 0.00004}")
    small.play(whole(reply("42", 10, 10)))
    status, head, _ = ask(served, max_tokens=10)
    assert status == 200
    attempts = books(served, head["x-request-id"])[1]
    assert not sampled(attempts) and attempts[0]["verdict"].endswith("not sampled: its budget does not suffice")


# ---- what goes wrong ----

def test_samples_that_fail_leave_the_answer_as_it_was(gateway, small, big):
    weir = gateway()
    for step in (error(500), error(400), whole({"choices": []}), whole({"nonsense": True})):
        small.play(whole(reply("42")), step)
        status, head, data = ask(weir)
        assert status == 200 and text_of(data) == "42", step
        booked, attempts, _ = books(weir, head["x-request-id"])
        assert len(sampled(attempts)) == 1 and attempts[0]["verdict"] == "served"
        assert booked["cost_nanousd"] == sum(a["cost_nanousd"] for a in attempts)


def test_a_client_that_leaves_cancels_them(gateway, small, big):
    weir = gateway()
    small.play(whole(reply("42")), silent)
    connection = http.client.HTTPConnection(weir.base.removeprefix("http://"), timeout=20 * weirproc.slowness())
    connection.request("POST", "/v1/chat/completions", json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hello"}]}),
                       {"Content-Type": "application/json"})
    weirproc.wait_until(lambda: len(small.seen) == 2, 10, "the samples are asked")
    connection.close()
    weirproc.wait_until(lambda: small.gone, 10, "the samples are cancelled")
    booked, attempts, _ = books(weir)
    assert booked["status"] == 499 and [(a["role"], a["outcome"]) for a in attempts] == [("serve", "ok"), ("sample", "superseded")]
    assert attempts[1]["usage_source"] == "partial" and booked["cost_nanousd"] == sum(a["cost_nanousd"] for a in attempts)


def test_the_deadline_ends_them_and_the_answer_goes_out(gateway, small, big):
    weir = gateway(route=f"accept: 0.6\n    deadline: {int(2 * weirproc.slowness())}s")
    small.play(whole(reply("42")), silent)
    status, head, data = ask(weir)
    assert status == 200 and text_of(data) == "42" and not big.seen
    booked, attempts, _ = books(weir, head["x-request-id"])
    if attempts[0]["verdict"].endswith("not sampled: the deadline is too near"):
        return  # the first answer took half of the time: so be it
    assert [(a["role"], a["outcome"]) for a in attempts] == [("serve", "ok"), ("sample", "superseded")]


def test_a_stop_with_samples_under_way(gateway, small):
    weir = gateway()
    small.play(whole(reply("42")), silent)
    connection = http.client.HTTPConnection(weir.base.removeprefix("http://"), timeout=20 * weirproc.slowness())
    connection.request("POST", "/v1/chat/completions", json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hello"}]}),
                       {"Content-Type": "application/json"})
    weirproc.wait_until(lambda: len(small.seen) == 2, 10, "the samples are asked")
    weir.stop()
    assert connection.getresponse().status == 200, "the answer is there; the drain's end takes it as it is"

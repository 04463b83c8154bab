"""A route that judges its answers: which one goes out, what is booked of the others, and that nothing is seen of it on the wire.
Two scripted servers, a small model and a big one; an answer is unsure when its first words refuse."""

import json
import sqlite3
import threading

import pytest
from scripted import DONE, ROLE, SSE_HEAD, UNSURE, answer, chunk, error, reply, silent, stream, usage_chunk, whole

import weirproc
from rawhttp import Client, request

CHAT = "/v1/chat/completions"
PRICES = {"small": 1000, "big": 10000}  # nano-dollars a token, in and out alike


@pytest.fixture
def cascade(start, small, big, tmp_path):
    """cascade(route="accept: 0.6") -> the gateway."""
    def make(route="accept: 0.6", server="", more=""):
        return start(f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{tmp_path}/state", drain: 1s{server}}}
backends:
  s: {{dialect: openai, url: "{small.url}"}}
  b: {{dialect: openai, url: "{big.url}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 1}}}}
  big: {{backend: b, price: {{input: 10, output: 10}}}}
  spare: {{backend: s, price: {{input: 1, output: 1}}}}
routes:
  - name: ladder
    match: {{model: auto}}
    cascade: [small, big]
    retry: {{per_model: 1, backoff: {{base: 10ms, max: 10ms}}}}
    {route}
  - {{name: plain, match: {{model: plain}}, cascade: [small, big]}}
{more}""")
    return make


def ask(weir, timeout_s=20, headers=None, **more):
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], **more}
    status, head, data = weirproc.http("POST", weir.base + CHAT, body, headers, timeout_s=timeout_s)
    return status, head, data


def text_of(data):
    return json.loads(data)["choices"][0]["message"]["content"]


def streamed(data):
    events = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
    return "".join(c["delta"].get("content") or "" for e in events for c in e.get("choices", []))


def books(weir, request_id=None):
    """The ledger's (request, attempts, decisions); without an id those of the only request."""
    def read():
        with sqlite3.connect(f"file:{weir.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
            db.row_factory = sqlite3.Row
            found = db.execute("SELECT * FROM requests WHERE ?1 IS NULL OR request_id = ?1", (request_id,)).fetchall()
            if not found:
                return None
            assert len(found) == 1
            attempts = db.execute("SELECT * FROM attempts WHERE request_id = ? ORDER BY seq", (found[0]["request_id"],)).fetchall()
            decisions = db.execute("""SELECT d.* FROM decisions d JOIN requests r ON r.id = d.request
                WHERE r.request_id = ? ORDER BY step""", (found[0]["request_id"],)).fetchall()
            return dict(found[0]), [dict(a) for a in attempts], [dict(d) for d in decisions]
    return weirproc.wait_until(read, 10, f"the ledger's rows of {request_id}")


# ---- whole answers ----

def test_a_sure_answer_is_final(cascade, small, big):
    weir = cascade()
    small.play(whole(reply("Paris.")))
    status, head, data = ask(weir)
    assert status == 200 and text_of(data) == "Paris."
    assert head["x-weir-model"] == "small" and head["x-weir-attempts"] == "1" and not big.seen
    assert float(head["x-weir-confidence"]) >= 0.6 and head["x-weir-decision"].endswith(": accepted")
    booked, attempts, decisions = books(weir, head["x-request-id"])
    assert [a["role"] for a in attempts] == ["serve"] and attempts[0]["verdict"] == "served"
    assert attempts[0]["confidence"] == pytest.approx(float(head["x-weir-confidence"]), abs=1e-3)
    assert [(d["kind"], d["chosen"]) for d in decisions] == [("first", "small"), ("next", "stop")]
    assert decisions[0]["mode"] == "accept" and decisions[0]["propensity"] == 1
    assert [c["model"] for c in json.loads(decisions[0]["candidates"])] == ["small", "big"]


def test_an_unsure_answer_is_thrown_away_and_paid_for(cascade, small, big):
    weir = cascade()
    small.play(whole(reply(UNSURE, 10, 7)))
    big.play(whole(reply("Paris.", 10, 2)))
    status, head, data = ask(weir)
    assert status == 200 and text_of(data) == "Paris." and head["x-weir-model"] == "big"
    assert head["x-weir-attempts"] == "2"
    booked, attempts, decisions = books(weir, head["x-request-id"])
    assert [(a["role"], a["model"], a["served"], a["outcome"]) for a in attempts] == \
        [("escalated", "small", 0, "ok"), ("serve", "big", 1, "ok")]
    assert [a["cost_nanousd"] for a in attempts] == [17 * 1000, 12 * 10000]
    assert booked["cost_nanousd"] == 17 * 1000 + 12 * 10000 and booked["served_model"] == "big"
    assert float(head["x-weir-cost-usd"]) == pytest.approx(137e-6)
    assert [d["chosen"] for d in decisions] == ["small", "big", "stop"]


def test_the_best_answer_is_served_when_none_is_accepted(cascade, small, big):
    weir = cascade("accept: 0.95")
    small.play(whole(reply("Paris.")))
    big.play(whole(reply(UNSURE)))
    status, head, data = ask(weir)
    assert text_of(data) == "Paris." and head["x-weir-model"] == "small"
    _, attempts, _ = books(weir, head["x-request-id"])
    assert [(a["role"], a["served"]) for a in attempts] == [("serve", 1), ("escalated", 0)]

    weir.put(weir.policy_file.read_text().replace("accept: 0.95", "accept: 0.95\n    confidence: {recall: false}"))
    small.play(whole(reply("Paris.")))
    big.play(whole(reply(UNSURE)))
    _, head, data = ask(weir)
    assert text_of(data) == UNSURE and head["x-weir-model"] == "big"


def test_what_was_kept_is_better_than_an_error(cascade, small, big):
    weir = cascade()
    for failure in (error(500), error(400), error(429, headers=[("retry-after", "60")])):
        small.play(whole(reply(UNSURE)))
        big.play(failure)
        status, head, data = ask(weir)
        assert status == 200 and text_of(data) == UNSURE and head["x-weir-model"] == "small"
        _, attempts, _ = books(weir, head["x-request-id"])
        assert [a["served"] for a in attempts] == [1, 0] and attempts[1]["outcome"] != "ok"


def before_its_deadline(cascade, route, play, **more):
    """(gateway, answer) of a request to that route with a deadline; with a longer one where the machine was too slow for any answer
    within it. play() tells the servers what to say."""
    for deadline_s in (3, 12, 48):
        weir = cascade(f"accept: 0.6\n    deadline: {deadline_s}s{route}")
        play()
        answer = ask(weir, timeout_s=deadline_s + 20, **more)
        if answer[0] != 504:
            break
        weir.stop()
    return weir, answer


def test_the_deadline_serves_what_was_kept(cascade, small, big):
    weir, (status, head, data) = before_its_deadline(cascade, "", lambda: (small.play(whole(reply(UNSURE))), big.play(silent)))
    assert status == 200 and text_of(data) == UNSURE
    _, attempts, _ = books(weir, head["x-request-id"])
    assert [a["outcome"] for a in attempts] == ["ok", "superseded"]


def test_a_small_model_that_fails_costs_its_turn_only(cascade, small, big):
    weir = cascade()
    small.play(error(500))
    big.play(whole(reply("Paris.")))
    status, head, data = ask(weir)
    assert status == 200 and head["x-weir-model"] == "big"
    small.play(error(500))
    big.play(error(500))
    status, head, data = ask(weir)
    assert status == 500 and b'"message": "no"' in data, "the last server's own words"


def test_the_client_leaves_while_the_second_model_works(cascade, small, big):
    weir = cascade()
    small.play(whole(reply(UNSURE)))
    big.play(silent)
    client = Client(weir.address)
    client.send(request("POST", CHAT, json.dumps({"model": "auto", "messages": [{"role": "user", "content": "x"}]}).encode()))
    weirproc.wait_until(lambda: big.seen, 10, "the second model to be asked")
    client.socket.close()
    booked, attempts, _ = books(weir)
    assert booked["status"] == 499 and [a["role"] for a in attempts] == ["escalated", "serve"]
    weirproc.wait_until(lambda: big.gone, 10, "the second model's connection to end")


def test_tools_are_judged_like_any_answer(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {validators: [tool_args]}")
    call = {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
    message = reply(None)
    message["choices"][0] = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    small.play(whole(message))
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}]
    status, head, data = ask(weir, tools=tools)
    assert status == 200 and json.loads(data)["choices"][0]["message"]["tool_calls"] == [call]


def test_a_refuted_answer_is_never_accepted_nor_cached(cascade, small, big):
    weir = cascade("accept: 0\n    confidence: {validators: [{kind: regex, pattern: '^Paris'}]}\n    cache: on")
    small.play(whole(reply("London.")))
    big.play(whole(reply("Rome.")))
    status, head, data = ask(weir)
    assert status == 200 and text_of(data) == "Rome." and head["x-weir-cache"] == "miss", "of equals the later one"
    _, attempts, _ = books(weir, head["x-request-id"])
    assert [a["verdict"].split(":")[0] for a in attempts] == ["refuted", "refuted"]
    assert [a["confidence"] for a in attempts] == [0, 0]
    big.play(whole(reply("Paris.")))
    small.play(whole(reply("London.")))
    _, head, data = ask(weir)
    assert text_of(data) == "Paris." and head["x-weir-cache"] == "miss" and head["x-weir-model"] == "big"
    _, head, data = ask(weir)
    assert text_of(data) == "Paris." and head["x-weir-cache"] == "hit", "what passed is kept"


SLEEPER = "confidence: {hold: whole, validators: [{kind: command, argv: [sleep, '60'], timeout: 60s}]}"


@pytest.mark.parametrize("streamed_reply", [False, True])
def test_an_operator_sees_a_verdict_awaited_and_a_client_may_leave(cascade, small, big, streamed_reply):
    weir = cascade("accept: 0.6\n    " + SLEEPER)
    small.play(stream(*answer("Par", "is.")) if streamed_reply else whole(reply("Paris.")))
    client = Client(weir.address)
    client.send(request("POST", CHAT, json.dumps({"model": "auto", "stream": streamed_reply,
                                                  "messages": [{"role": "user", "content": "x"}]}).encode()))
    weirproc.wait_until(lambda: [r["state"] for r in weir.get("/admin/requests")["requests"]] == ["AWAIT_VERDICT"], 10, "the verdict's wait")
    client.socket.close()
    booked, attempts, _ = books(weir)
    assert booked["status"] == 499 and [a["outcome"] for a in attempts] == ["ok"]
    assert booked["cost_nanousd"] == attempts[0]["cost_nanousd"] > 0


@pytest.mark.parametrize("streamed_reply", [False, True])
def test_the_deadline_serves_an_answer_that_is_being_judged(cascade, small, big, streamed_reply):
    said = stream(*answer("Ro", "me.")) if streamed_reply else whole(reply("Paris."))
    _, (status, _, data) = before_its_deadline(cascade, "\n    " + SLEEPER, lambda: small.play(said), stream=streamed_reply)
    assert status == 200
    if not streamed_reply:
        assert text_of(data) == "Paris."
        return
    assert streamed(data) == "Rome." and data.endswith(b"data: [DONE]\n\n")


def test_a_drain_serves_an_answer_that_is_being_judged(cascade, small, big):
    weir = cascade("accept: 0.6\n    " + SLEEPER)
    small.play(whole(reply("Paris.")))
    got = []
    thread = threading.Thread(target=lambda: got.append(ask(weir, timeout_s=30)))
    thread.start()
    weirproc.wait_until(lambda: [r["state"] for r in weir.get("/admin/requests")["requests"]] == ["AWAIT_VERDICT"], 10, "the verdict's wait")
    weir.stop()
    thread.join()
    assert got and got[0][0] == 200 and text_of(got[0][2]) == "Paris."


# ---- streams ----

def test_a_stream_is_held_until_its_first_tokens_are_judged(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {hold_tokens: 3}")
    small.play(stream(*answer("Par", "is", " is", " the", " capital.")))
    status, head, data = ask(weir, stream=True)
    assert status == 200 and head["x-weir-model"] == "small" and streamed(data) == "Paris is the capital."
    assert data.endswith(b"data: [DONE]\n\n") and not big.seen
    booked, attempts, _ = books(weir, head["x-request-id"])
    assert [a["role"] for a in attempts] == ["serve"] and attempts[0]["confidence"] > 0.6


def test_an_unsure_stream_is_abandoned_before_its_first_byte(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {hold_tokens: 4}")

    def endless(exchange):
        exchange.send(SSE_HEAD)
        for piece in [ROLE, *(chunk({"content": w}) for w in ("I'm", " sorry,", " but I", " can't help with that", ", truly"))]:
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.wait_gone()

    small.play(endless)
    big.play(stream(*answer("Par", "is.")))
    status, head, data = ask(weir, stream=True)
    assert streamed(data) == "Paris." and head["x-weir-model"] == "big"
    assert b"sorry" not in data
    booked, attempts, _ = books(weir, head["x-request-id"])
    assert [(a["role"], a["outcome"]) for a in attempts] == [("escalated", "superseded"), ("serve", "ok")]
    assert attempts[0]["usage_source"] == "partial" and attempts[0]["output_tokens"] >= 4
    assert booked["cost_nanousd"] == sum(a["cost_nanousd"] for a in attempts)
    weirproc.wait_until(lambda: small.gone, 10, "the abandoned stream's connection to end")


def test_hold_whole_judges_the_end(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {hold: whole}")
    cut = [ROLE, chunk({"content": "Par"}), chunk(finish_reason="length"), usage_chunk(), DONE]
    small.play(stream(*cut))
    big.play(stream(*answer("Par", "is.")))
    _, head, data = ask(weir, stream=True)
    assert streamed(data) == "Paris." and head["x-weir-model"] == "big"
    small.play(stream(*cut))  # and when the second is no better, the first goes out whole, with its end
    big.play(error(500))
    _, head, data = ask(weir, stream=True)
    assert streamed(data) == "Par" and head["x-weir-model"] == "small" and data.endswith(b"data: [DONE]\n\n")
    small.play(stream(*answer("Ro", "me.")))
    _, head, data = ask(weir, stream=True)
    assert streamed(data) == "Rome." and len(big.seen) == 1


def test_an_abandoned_stream_is_asked_for_again_when_nothing_else_answers(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {hold_tokens: 2}")
    unsure = stream(*answer("I'm sorry,", " but I can't help with that", "."))
    small.play(unsure, unsure)
    big.play(error(500))
    status, head, data = ask(weir, stream=True)
    assert status == 200 and streamed(data).startswith("I'm sorry") and len(small.seen) == 2
    _, attempts, _ = books(weir, head["x-request-id"])
    assert [a["served"] for a in attempts] == [0, 0, 1]


def test_hold_off_streams_at_once(cascade, small, big):
    weir = cascade("accept: 0.99\n    confidence: {hold: off}")
    small.play(stream(*answer("I'm sorry,", " no.")))
    _, head, data = ask(weir, stream=True)
    assert streamed(data) == "I'm sorry, no." and head["x-weir-model"] == "small" and not big.seen


def test_the_connection_is_kept_alive_while_an_answer_is_held(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {hold: whole}", server=", sse_keepalive: 1s")
    pieces, bridged = [chunk({"content": "is."}), chunk(finish_reason="stop"), usage_chunk(), DONE], threading.Event()

    def step(exchange):
        stream(ROLE, chunk({"content": "Par"}), end=False)(exchange)
        assert bridged.wait(120)
        for piece in pieces:
            exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.send(b"0\r\n\r\n")

    def ask_until_bridged():
        """The reply; the model goes on when a comment has come."""
        bridged.clear()
        with Client(weir.address) as client:
            client.send(request("POST", CHAT, b'{"model":"auto","stream":true,"messages":[{"role":"user","content":"hello"}]}'))
            status, head = client.head()
            size = int(client.until(b"\r\n"), 16)
            assert status == 200 and client.exactly(size + 2).startswith(b":")
            bridged.set()
            return client.body(status, head)

    small.play(step)
    got = ask_until_bridged()
    assert got.complete and streamed(got.body) == "Paris."
    assert got.get("x-weir-model") is None, "the head left before anyone knew whose answer it would be"

    small.play(lambda e: (e.send(SSE_HEAD), bridged.wait(120), e.reset()))  # nobody answers: the stream says so
    big.play(error(500))
    got = ask_until_bridged()
    assert not got.complete and b'"error"' in got.body and b"[DONE]" not in got.body


def test_the_client_leaves_while_a_stream_is_held(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {hold: whole}")
    small.play(lambda e: (e.send(SSE_HEAD), e.send(b"%x\r\n%s\r\n" % (len(ROLE), ROLE)), e.wait_gone()))
    client = Client(weir.address)
    client.send(request("POST", CHAT, json.dumps({"model": "auto", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()))
    weirproc.wait_until(lambda: small.seen, 10, "the model to be asked")
    client.socket.close()
    booked, attempts, _ = books(weir)
    assert booked["status"] == 499 and len(attempts) == 1
    weirproc.wait_until(lambda: small.gone, 10, "the upstream to be cancelled")


def test_a_drain_ends_held_streams_in_time(cascade, small, big):
    weir = cascade("accept: 0.6\n    confidence: {hold: whole}")
    small.play(lambda e: (e.send(SSE_HEAD), e.send(b"%x\r\n%s\r\n" % (len(ROLE), ROLE)), e.wait_gone()))
    got = []
    thread = threading.Thread(target=lambda: got.append(ask(weir, stream=True, timeout_s=30)))
    thread.start()
    weirproc.wait_until(lambda: small.seen, 10, "the model to be asked")
    weir.stop()
    thread.join()
    assert got and got[0][0] == 503


def test_a_route_without_accept_is_as_before(cascade, small, big):
    weir = cascade()
    small.play(whole(reply(UNSURE)))
    status, head, data = ask(weir, model="plain")
    assert status == 200 and text_of(data) == UNSURE and not big.seen
    assert "x-weir-confidence" not in head and "x-weir-decision" not in head
    _, attempts, decisions = books(weir, head["x-request-id"])
    assert not decisions and attempts[0]["confidence"] is None and attempts[0]["verdict"] == ""

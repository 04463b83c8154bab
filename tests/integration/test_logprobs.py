"""Log-probabilities where answers are judged: who is asked for them, who sees them, what becomes of a server that has none. Two
scripted servers; that a real engine is asked and read is in llama/."""

import json

import pytest
from scripted import DONE, ROLE, chunk, error, event, stream, usage_chunk, whole
from test_cascade import ask, books, cascade, reply, text_of  # noqa: F401

import weirproc

ASKED = {"logprobs": True, "top_logprobs": 5}


def logs(*tokens, l=-0.01):  # noqa: E741
    return {"content": [{"token": t, "logprob": l, "bytes": None, "top_logprobs": [{"token": t, "logprob": l, "bytes": None},
                        {"token": "?", "logprob": l - 4, "bytes": None}]} for t in tokens], "refusal": None}


def asked(server):
    return {k: v for k, v in server.seen[-1].json().items() if "logprobs" in k}


@pytest.mark.parametrize("more,want", [({}, ASKED), ({"logprobs": False}, ASKED), ({"logprobs": None, "top_logprobs": None}, ASKED),
                                       ({"logprobs": True}, {"logprobs": True}), ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2})])
def test_who_is_asked_and_who_sees(cascade, small, more, want):  # noqa: F811
    weir = cascade("accept: 0.3")
    small.play(whole(reply("Paris.", logprobs=logs("Par", "is."))))
    _, head, data = ask(weir, **more)
    assert asked(small) == want
    shown = json.loads(data)["choices"][0]["logprobs"]
    assert shown == (logs("Par", "is.") if more.get("logprobs") else None)


def test_they_decide(cascade, small, big):  # noqa: F811
    weir = cascade("accept: 0.6")
    for l, model in ((-0.001, "small"), (-2.5, "big")):  # noqa: E741
        small.play(whole(reply("Paris.", logprobs=logs("Par", "is.", l=l))))
        big.play(whole(reply("Paris.", logprobs=logs("Paris.", l=-0.001))))
        assert ask(weir)[1]["x-weir-model"] == model


def test_a_stream_shows_none(cascade, small):  # noqa: F811
    weir = cascade("accept: 0.3\n    confidence: {hold: whole}")
    pieces = [ROLE, *(event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [
        {"index": 0, "delta": {"content": t}, "logprobs": logs(t), "finish_reason": None}]}) for t in ("Par", "is.")),
              chunk(finish_reason="stop"), usage_chunk(), DONE]
    for more in ({}, {"logprobs": True}):
        small.play(stream(*pieces))
        _, _, data = ask(weir, stream=True, **more)
        events = [json.loads(line[6:]) for line in data.decode().splitlines() if line.startswith("data: {")]
        shown = [c["logprobs"] for e in events for c in e["choices"] if c.get("logprobs")]
        assert shown == ([logs("Par"), logs("is.")] if more else [])


def test_other_dialects(cascade, small):  # noqa: F811
    weir = cascade("accept: 0.3")
    message = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
    small.play(whole(reply("Paris.", logprobs=logs("Paris."))))
    status, _, data = weirproc.http("POST", weir.base + "/v1/messages", message)
    assert status == 200 and json.loads(data)["content"] == [{"type": "text", "text": "Paris."}] and asked(small) == ASKED
    small.play(whole(reply("Paris.", logprobs=logs("Paris."))))
    status, _, data = weirproc.http("POST", weir.base + "/v1/responses", {"model": "auto", "input": "hello"})
    assert status == 200 and asked(small) == ASKED and json.loads(data)["output"][0]["content"][0]["logprobs"] == []


@pytest.mark.parametrize("route", ["", "accept: 0.3\n    confidence: {logprobs: false}"])
def test_who_is_not_asked(cascade, small, route):  # noqa: F811
    weir = cascade(route or "accept: 0.3")
    small.play(whole(reply("Paris.")))
    ask(weir, **({} if route else {"model": "plain"}))
    assert asked(small) == {}


def test_a_server_that_refuses_the_question_is_asked_again_without(cascade, small):  # noqa: F811
    weir = cascade("accept: 0.3")
    small.play(error(400, message="'logprobs' is not supported with this model", param="logprobs"), whole(reply("Paris.")))
    _, head, data = ask(weir)
    assert text_of(data) == "Paris." and head["x-weir-model"] == "small"
    assert [("logprobs" in x.json()) for x in small.seen] == [True, False]
    _, attempts, _ = books(weir, head["x-request-id"])
    assert [(a["outcome"], a["cost_nanousd"]) for a in attempts] == [("upstream_logprobs", 0), ("ok", 15000)]
    small.play(whole(reply("Paris.")))  # and not again
    ask(weir)
    assert asked(small) == {} and len(small.seen) == 1


def test_a_client_that_asks_gets_the_refusal(cascade, small):  # noqa: F811
    weir = cascade("accept: 0.3")
    small.play(error(400, message="'logprobs' is not supported with this model", param="logprobs"))
    status, _, data = ask(weir, logprobs=True)
    assert status == 400 and json.loads(data)["error"]["param"] == "logprobs" and len(small.seen) == 1


def test_the_cache_keeps_none_that_nobody_asked_for(cascade, small, tmp_path):  # noqa: F811
    weir = cascade("accept: 0.3\n    confidence: {hold: whole}", more="cache: {exact: {ttl: 1h}}\n")
    small.play(whole(reply("Paris.", logprobs=logs("Paris."))))
    assert ask(weir)[1]["x-weir-cache"] == "miss"
    for stream_it in (False, True):
        def hit():
            _, head, data = ask(weir, stream=stream_it)
            return head["x-weir-cache"] == "hit" and data
        data = weirproc.wait_until(hit, 10, "the answer to be kept")
        assert b'"logprob"' not in data

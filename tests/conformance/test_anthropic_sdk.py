"""The official anthropic SDK for Python: everything its users may call, over a server of each dialect (see test_dialects.py)."""

import asyncio
import json
import time

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from openai import APIError, OpenAI
from pydantic import BaseModel

from conftest import KEY
from matrix import covers
from rawhttp import Client, request
from scripted import whole
from test_dialects import (BOTH_QUESTION, MESSAGE, PIXEL, TOOLS, WEATHER_QUESTION, anthropic_policy, claude, gateway,  # noqa: F401
                           message, over_anthropic, over_gateway, wire)
from test_money import ledger
from test_sdk import HELLO, MODEL, WEATHER
from weirproc import Weir, http, wait_until

OTHER = "llama-3.1-8b-instruct"
THINK = {"type": "enabled", "budget_tokens": 1024}


class Event(BaseModel):
    name: str
    day: int
    guests: list[str]


def told(reply):
    """What an answer says, without what every answer has of its own."""
    blocks = [{k: v for k, v in b.model_dump(exclude_none=True).items() if k != "id"} for b in reply.content]
    return blocks, reply.stop_reason, reply.usage.input_tokens, reply.usage.output_tokens


def accumulated(claude, **more):
    with claude.messages.stream(**{"model": MODEL, "max_tokens": 200, "messages": HELLO, **more}) as events:
        for _ in events:
            pass
        return events.get_final_message()


def last_request(fleet):
    entry = fleet.get("/fleet/log?n=1")[-1]
    return {name.lower(): value for name, value in entry["headers"]}, json.loads(entry["body"]), entry


# ---- streams ----

@pytest.mark.parametrize("more", [
    {}, {"max_tokens": 2}, {"tools": TOOLS, "messages": BOTH_QUESTION}, {"tools": TOOLS[:1], "messages": WEATHER_QUESTION},
    {"system": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
    {"tools": TOOLS, "messages": BOTH_QUESTION, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    {"tools": TOOLS, "tool_choice": {"type": "any"}},
], ids=["text", "limit", "parallel tools", "tool", "system", "one tool at a time", "any tool"])
@covers("chat", "stream", "tools", "parallel")
def test_what_a_stream_accumulates_to_is_the_whole_answer(claude, more):
    assert told(accumulated(claude, **more)) == told(message(claude, **more))


@pytest.mark.parametrize("kind", ["one_byte", "crlf", "no_space", "split_data", "usage_in_last", "no_done", "http10"])
def test_odd_but_legal_streams(claude, calm, kind):
    whole = told(message(claude))
    calm.faults([{"kind": kind}])
    assert told(accumulated(claude)) == whole


@pytest.mark.parametrize("kind", ["cut", "reset_mid_body", "malformed_chunk", "error_event", "bad_chunk_size"])
def test_a_stream_that_is_not_whole_raises(claude, calm, kind):
    calm.faults([{"kind": kind, "after": 5}])
    with pytest.raises(anthropic.APIError):
        accumulated(claude)


def test_order_of_events(claude):
    names, open_blocks, seen = [], [], 0
    for e in claude.messages.create(model=MODEL, max_tokens=200, messages=BOTH_QUESTION, tools=TOOLS, stream=True):
        names.append(e.type)
        if e.type == "content_block_start":
            assert not open_blocks and e.index == seen
            open_blocks, seen = [e.index], seen + 1
        elif e.type == "content_block_delta":
            assert open_blocks == [e.index] and e.delta.type == "input_json_delta"
        elif e.type == "content_block_stop":
            assert open_blocks == [e.index]
            open_blocks = []
    names = [n for n in names if n != "ping"]
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"] and seen == 2
    assert names.count("message_delta") == 1 and not open_blocks


# ---- what goes in ----

def test_stop_sequences(claude, gateway, over_anthropic):
    reply = message(claude, stop_sequences=["zzz", "conformance"])
    assert "conformance" not in reply.content[0].text and told(accumulated(claude, stop_sequences=["zzz", "conformance"])) == told(reply)
    if gateway is over_anthropic:  # other servers do not say which sequence it was, or that it was one
        assert (reply.stop_reason, reply.stop_sequence) == ("stop_sequence", "conformance")
    else:
        assert reply.stop_reason == "end_turn" and reply.stop_sequence is None


@covers("structured")
def test_structured_output(claude):
    parsed = claude.messages.parse(model=MODEL, max_tokens=200, messages=HELLO, output_format=Event)
    assert isinstance(parsed.parsed_output, Event)
    with claude.messages.stream(model=MODEL, max_tokens=200, messages=HELLO, output_format=Event) as events:
        assert isinstance(events.get_final_message().parsed_output, Event)


@covers("images")
@pytest.mark.parametrize("source", [{"type": "base64", "media_type": "image/png", "data": PIXEL}, {"type": "url", "url": "https://example.org/x.png"}],
                         ids=["base64", "url"])
def test_images_reach_the_model(claude, fleet, source):
    plain = message(claude, messages=[{"role": "user", "content": "What is in this picture?"}]).usage.input_tokens
    reply = message(claude, messages=[{"role": "user", "content": [
        {"type": "image", "source": source}, {"type": "text", "text": "What is in this picture?"}]}])
    assert reply.usage.input_tokens == plain + 85  # what the fleet charges for one
    assert (PIXEL if source["type"] == "base64" else source["url"]) in last_request(fleet)[2]["body"]


@covers("tools", "parallel")
@pytest.mark.parametrize("content", ["21 degrees", [{"type": "text", "text": "21"}, {"type": "text", "text": " degrees"}], None],
                         ids=["text", "blocks", "nothing"])
def test_results_of_parallel_tools(claude, content):
    reply = message(claude, tools=TOOLS, messages=BOTH_QUESTION)
    calls = [b for b in reply.content if b.type == "tool_use"]
    assert len(calls) == 2
    results = [{"type": "tool_result", "tool_use_id": c.id, **({"content": content} if content else {}), "is_error": n == 1}
               for n, c in enumerate(calls)]
    messages = [*BOTH_QUESTION, {"role": "assistant", "content": reply.content}, {"role": "user", "content": results}]
    final = message(claude, tools=TOOLS, messages=messages)
    assert final.stop_reason == "end_turn" and final.content[0].text
    results.append({"type": "text", "text": "And the weather tomorrow?"})
    again = message(claude, tools=TOOLS, messages=messages)
    assert again.stop_reason == "tool_use"


def test_cache_control_and_betas(claude, gateway, fleet, over_anthropic):
    reply = message(claude, system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
                    extra_headers={"anthropic-beta": "novel-2030-01-01"}, metadata={"user_id": "u"})
    headers, body, _ = last_request(fleet)
    assert reply.content[0].text
    if gateway is over_anthropic:
        assert headers["anthropic-beta"] == "novel-2030-01-01" and headers["anthropic-version"]
        assert body["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    else:
        assert not any(h.startswith("anthropic-") for h in headers) and "cache_control" not in json.dumps(body)


def test_what_nobody_knows_passes_untouched(over_anthropic, calm):
    novel = '"x_novel":{"big":123456789012345678901234567890.10,"e":1.0e+2,"s":"\\u00e9\\/"}'
    body = '{"model":"%s", "max_tokens":9 ,"messages":[{"role":"user","content":[{"type":"text","text":"x","novel":1.50}]}],%s%s}'
    calm.faults([{"kind": "extra", "text": novel}])
    for streamed in ("", ',"stream" : true'):
        sent = (body % (MODEL, novel, streamed)).encode()
        status, _, got = http("POST", over_anthropic.base + "/v1/messages", sent, {"anthropic-version": "2026-10-21", "anthropic-beta": "a,b"})
        assert status == 200, got
        assert got.count(novel.encode()) == (got.count(b"event: ") if streamed else 1)
        headers, _, entry = last_request(calm)
        assert entry["body"].encode() == sent and entry["target"] == "/v1/messages"
        assert (headers["anthropic-version"], headers["anthropic-beta"]) == ("2026-10-21", "a,b")


def test_later_instructions(claude):
    messages = [*HELLO, {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "Hello."}, *HELLO,
                {"role": "system", "content": [{"type": "text", "text": "Be kind."}]}]
    assert message(claude, messages=messages).content[0].text == message(claude).content[0].text
    assert claude.messages.count_tokens(model=MODEL, messages=messages).input_tokens > 0


def test_the_beta_client(claude):
    reply = claude.beta.messages.create(model=MODEL, max_tokens=200, messages=HELLO, betas=["novel-2030-01-01"])
    assert reply.content[0].text == message(claude).content[0].text


# ---- what comes out ----

def test_usage_has_its_kinds(claude, calm, gateway, over_anthropic):
    text = {"messages": [{"role": "user", "content": "x" * 400}]}
    calm.faults([{"kind": "usage", "cached": 40, "cache_write": 7, "reasoning": 5}])
    for reply in (message(claude, **text), accumulated(claude, **text)):
        u = reply.usage
        assert u.cache_read_input_tokens == 40 and u.input_tokens + (u.cache_creation_input_tokens or 0) == 60
        assert u.output_tokens > 5 and u.output_tokens_details.thinking_tokens == 5
        if gateway is over_anthropic:
            assert u.cache_creation_input_tokens == 7 and u.cache_creation.ephemeral_5m_input_tokens == 7


@covers("count")
def test_models_and_count_tokens(claude):
    ids = [m.id for m in claude.models.list(limit=3)]
    assert MODEL in ids and len(ids) == len(set(ids))
    for model in ids:
        assert claude.messages.count_tokens(model=model, messages=HELLO, system="Be brief.", tools=TOOLS).input_tokens > 0
    assert claude.models.retrieve(MODEL).type == "model"
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("no-such-model")


# ---- thinking ----

def test_thinking_passes_through(over_anthropic, calm):
    with Anthropic(api_key="unused", base_url=over_anthropic.base, max_retries=0) as c:
        ask = {"model": MODEL, "max_tokens": 4096, "thinking": THINK, "tools": TOOLS[:1]}
        reply = c.messages.create(messages=WEATHER_QUESTION, **ask)
        assert [b.type for b in reply.content] == ["thinking", "tool_use"] and reply.content[0].signature
        assert told(accumulated(c, messages=WEATHER_QUESTION, **ask)) == told(reply)
        loop = [*WEATHER_QUESTION, {"role": "assistant", "content": reply.content},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": reply.content[1].id, "content": "21"}]}]
        final = c.messages.create(messages=loop, **ask)  # the fleet refuses a signature that does not hold
        assert [b.type for b in final.content] == ["thinking", "text"]


def test_signatures_do_not_go_to_another_model(fleet, calm, tmp_path):
    weir = Weir(tmp_path, anthropic_policy(fleet.url, tmp_path / "state").replace("max_attempts: 1", "max_attempts: 3, per_model: 1, backoff: {base: 1ms, max: 2ms}")
                + f"routes:\n  - {{name: both, match: {{model: auto}}, cascade: [{MODEL}], fallback: [{OTHER}]}}\n")
    try:
        with Anthropic(api_key="unused", base_url=weir.base, max_retries=0) as c:
            ask = {"model": "auto", "max_tokens": 4096, "thinking": THINK}
            first = c.messages.create(messages=HELLO, **ask)
            assert first.content[0].signature
            calm.faults([{"kind": "500", "model": MODEL}])
            second = c.messages.create(messages=[*HELLO, {"role": "assistant", "content": first.content}, *HELLO], **ask)
            assert second.model == OTHER and second.content[-1].text
            assert first.content[0].signature not in last_request(fleet)[2]["body"]
    finally:
        weir.stop()


def test_thinking_wished_of_an_openai_server_is_effort(weir_fleet, calm):
    with Anthropic(api_key="unused", base_url=weir_fleet.base, max_retries=0) as c:
        assert c.messages.create(model=MODEL, max_tokens=4096, messages=HELLO, thinking=THINK).content[-1].text
    assert last_request(calm)[1]["reasoning_effort"] in ("low", "medium", "high")


# ---- errors ----

@covers("400", "429", "5xx")
@pytest.mark.parametrize("kind, error, words", [
    ({"kind": "429", "retry_after_s": 60}, anthropic.RateLimitError, ""), ({"kind": "529"}, anthropic.OverloadedError, ""),
    ({"kind": "500"}, anthropic.InternalServerError, ""), ({"kind": "context_length"}, anthropic.BadRequestError, "prompt is too long"),
    ({"kind": "content_filter"}, anthropic.BadRequestError, ""), ({"kind": "error_200"}, anthropic.InternalServerError, ""),
    ({"kind": "reset"}, anthropic.InternalServerError, ""), ({"kind": "wrong_json"}, anthropic.InternalServerError, ""),
    ({"kind": "truncated_body"}, anthropic.InternalServerError, "")], ids=lambda v: v.get("kind") if isinstance(v, dict) else None)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_errors_are_the_sdks_own(claude, calm, kind, error, words, streamed):
    if streamed and kind["kind"] in ("wrong_json", "truncated_body"):
        return  # faults of whole bodies
    calm.faults([kind])
    with pytest.raises(error) as caught:
        message(claude, stream=streamed)
    e = caught.value
    assert e.body["type"] == "error" and e.body["error"]["message"] and words in str(e)
    assert e.body["request_id"]
    assert "retry_after_s" not in kind or e.response.headers["retry-after"] == "60"


def test_the_request_id_is_weirs_and_said_once(claude, calm):
    reply = claude.messages.with_raw_response.create(model=MODEL, max_tokens=9, messages=HELLO)
    assert reply.headers.get_list("request-id") == reply.headers.get_list("x-request-id") and len(reply.headers.get_list("request-id")) == 1
    calm.faults([{"kind": "500"}])
    with pytest.raises(anthropic.InternalServerError) as caught:
        message(claude)
    assert caught.value.request_id == caught.value.response.headers["x-request-id"]


def test_authentication_error(weir_keys, upstream):
    with Anthropic(api_key="sk-wrong", base_url=weir_keys.base, max_retries=0) as c:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            message(c, model="solo")
    assert caught.value.body["error"]["type"] == "authentication_error"
    with Anthropic(api_key=KEY, base_url=weir_keys.base, max_retries=0) as c:
        assert message(c, model="solo").content[0].text == "hello"
    with Anthropic(auth_token=KEY, base_url=weir_keys.base, max_retries=0) as c:
        assert message(c, model="solo", extra_headers={"x-api-key": KEY}).content[0].text == "hello"


@pytest.mark.parametrize("body, member", [
    ({"max_tokens": 5}, "messages"), ({"messages": HELLO}, "max_tokens"), ({"messages": [{"role": "tool", "content": "x"}], "max_tokens": 5}, "role"),
    ({"messages": [{"role": "user", "content": [{"type": "novel"}]}], "max_tokens": 5}, "messages.0.content.0")])
def test_bad_requests_name_the_member(claude, gateway, body, member):
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.post("/v1/messages", body={"model": MODEL, **body}, cast_to=object)
    assert caught.value.body["error"]["type"] == "invalid_request_error" and member in str(caught.value)


def test_the_sdk_waits_as_it_is_told(gateway, calm):
    calm.faults([{"kind": "429", "times": 2, "retry_after_ms": 600}])
    with Anthropic(api_key="unused", base_url=gateway.base, max_retries=3) as c:
        began = time.monotonic()
        assert message(c).content
        assert time.monotonic() - began > 0.5


@covers("cancel", client="anthropic-py")
def test_cancelling_before_the_first_byte(gateway, calm):
    calm.faults([{"kind": "silence"}])

    async def work():
        async with AsyncAnthropic(api_key="unused", base_url=gateway.base, max_retries=0) as c:
            task = asyncio.create_task(c.messages.create(model=MODEL, max_tokens=20, messages=HELLO))
            await asyncio.to_thread(wait_until, lambda: calm.get("/fleet/inflight"), 5, "the request to reach the fleet")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.to_thread(wait_until, lambda: not calm.get("/fleet/inflight"), 5, "the fleet to see the abort")

    asyncio.run(work())


def test_many_at_once(gateway, calm):
    async def work():
        async with AsyncAnthropic(api_key="unused", base_url=gateway.base, max_retries=0) as c:
            replies = await asyncio.gather(*(c.messages.create(model=MODEL, max_tokens=99, messages=[{"role": "user", "content": f"number {i}"}])
                                             for i in range(32)))
            assert len({r.id for r in replies}) == 32
            assert all(f"number {i}" in r.content[0].text for i, r in enumerate(replies))

    asyncio.run(work())


# ---- threads ----

@beta_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_the_sdks_own_loop_does_without_a_thread(claude, streamed):
    """It begins a thread and goes on with it, and where there are none it sends the whole conversation again."""
    runner = claude.beta.messages.tool_runner(model=MODEL, max_tokens=300, tools=[get_weather], messages=WEATHER_QUESTION, stream=streamed)
    turns = [turn.get_final_message() if streamed else turn for turn in runner]
    assert [t.stop_reason for t in turns] == ["tool_use", "end_turn"] and turns[-1].content[0].text


def test_a_thread_that_cannot_go_on_is_refused_with_its_code(claude, gateway, calm):
    going_on = {"type": "continue", "previous_message_id": "msg_1"}
    for messages in ([], HELLO, [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "21"}]}]):
        with pytest.raises(anthropic.BadRequestError) as refused:
            claude.beta.messages.create(model=MODEL, max_tokens=9, messages=messages, thread=going_on)
        assert refused.value.body["error"]["details"]["error_code"] == "thread_unsupported_request" and "thread" in str(refused.value)


def test_a_thread_goes_on_and_when_it_is_lost_the_sdk_begins_it_again(wire, upstream):
    lost = {"type": "error", "error": {"type": "not_found_error", "message": "lost", "details": {"error_code": "thread_not_found"}}}
    upstream.play(*(whole({**MESSAGE, "id": f"msg_{n}"}) for n in (1, 2)), whole(lost, 404), whole({**MESSAGE, "id": "msg_4"}))
    with Anthropic(api_key="unused", base_url=wire.base, max_retries=0) as c:
        thread = c.beta.messages.thread(model=MODEL, max_tokens=9)
        for _ in range(3):
            assert thread.send(HELLO[0]).content[0].text == "hi"
    sent = [(e.json().get("thread"), len(e.json()["messages"])) for e in upstream.seen]
    goes_on = [{"type": "continue", "previous_message_id": f"msg_{n}"} for n in (1, 2)]
    assert sent == [({"type": "create"}, 1), (goes_on[0], 1), (goes_on[1], 1), ({"type": "create"}, 5)]
    assert all("message-threads" in e.header("anthropic-beta") for e in upstream.seen)


# ---- money ----

@pytest.fixture
def paid(fleet, calm, tmp_path):
    """weir before the fleet's Anthropic dialect, at the fleet's own prices; what it booked, and what the fleet charged."""
    prices = "price: {input: 0.15, cached_input: 0.075, cache_write: 0.15, output: 0.60}"
    weir = Weir(tmp_path, anthropic_policy(fleet.url, tmp_path / "state").replace("price: {input: 1.00, output: 2.00}", prices))
    yield weir
    weir.stop()


def clients(weir):
    return Anthropic(api_key="unused", base_url=weir.base, max_retries=0), OpenAI(api_key="unused", base_url=weir.base + "/v1", max_retries=0)


def charged(fleet):
    return fleet.get("/fleet/stats")["models"][MODEL]["cost_nanousd"]


def test_it_costs_what_the_fleet_charged(paid, calm):
    calm.faults([{"kind": "usage", "every": 2, "cached": 3, "cache_write": 2, "reasoning": 4}])
    told_nanousd = 0
    c, o = clients(paid)
    for n in range(4):
        question = {"model": MODEL, "messages": [{"role": "user", "content": f"question {n}, and some more words"}]}
        for raw in (c.messages.with_raw_response.create(**question, max_tokens=50),
                    c.messages.with_raw_response.create(**question, max_tokens=4096, thinking=THINK),
                    o.chat.completions.with_raw_response.create(**question, tools=[WEATHER])):
            told_nanousd += round(float(raw.headers["x-weir-cost-usd"]) * 1e9)
    assert told_nanousd == charged(calm)


def test_streams_that_end_early_cost_what_came(paid, calm):
    """message_start tells the prompt's tokens and one of the answer's; the pieces that came are what else is known."""
    question = {"model": MODEL, "messages": [{"role": "user", "content": "some words " * 20}], "stream": True}
    c, o = clients(paid)
    booked = 0
    for fault in ({"kind": "cut", "after": 20}, {"kind": "error_event", "after": 12}, {"kind": "no_done"}, {"kind": "usage_in_last"}):
        calm.faults([fault])
        for open_stream in (lambda: c.messages.create(**question, max_tokens=300), lambda: o.chat.completions.create(**question)):
            try:
                list(open_stream())
            except (anthropic.APIError, APIError):
                pass
            booked += 1
    wait_until(lambda: ledger(paid, "SELECT count(*) AS n FROM attempt_rows")[0]["n"] == booked, 10, "the ledger's rows")
    assert ledger(paid, "SELECT sum(cost_nanousd) AS cost FROM attempt_rows")[0]["cost"] == charged(calm)
    calm.faults([{"kind": "stall", "after": 12}])
    with Client(paid.address) as leaves:
        leaves.send(request("POST", "/v1/messages", json.dumps({**question, "max_tokens": 300}).encode()))
        leaves.head()
        for _ in range(12):  # no token is on its way then
            assert leaves.until(b"\n\n")
    wait_until(lambda: ledger(paid, "SELECT count(*) AS n FROM attempt_rows")[0]["n"] == booked + 1, 10, "the last row")
    wait_until(lambda: not calm.get("/fleet/inflight"), 5, "the fleet to see the abort")
    assert ledger(paid, "SELECT sum(cost_nanousd) AS cost FROM attempt_rows")[0]["cost"] == charged(calm)

"""The official openai SDK for Python before servers that speak Anthropic: chat and Responses, translated (see test_dialects.py)."""

import asyncio
import json

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from matrix import covers
from test_anthropic_sdk import last_request
from test_dialects import (BOTH_QUESTION, PIXEL, WEATHER_QUESTION, gateway, gpt, over_anthropic, over_gateway)  # noqa: F401
from test_sdk import HELLO, MODEL, STOCK, WEATHER, Event
from weirproc import wait_until

RESPONSE_TOOLS = [{"type": "function", "strict": False, **t["function"]} for t in (WEATHER, STOCK)]


@pytest.fixture
def client(over_anthropic, calm):
    with OpenAI(api_key="unused", base_url=over_anthropic.base + "/v1", max_retries=0, timeout=120) as c:
        yield c


def chat(client, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **more})


def built(chunks):
    """(text, calls, finish_reason) that a stream of chunks adds up to; strict about who says what when."""
    text, calls, reasons = "", {}, []
    for chunk in chunks:
        for choice in chunk.choices:
            assert not [r for r in reasons if r], "nothing follows the reason"
            reasons.append(choice.finish_reason)
            text += choice.delta.content or ""
            for delta in choice.delta.tool_calls or []:
                call = calls.setdefault(delta.index, {"id": None, "name": None, "arguments": ""})
                if delta.id:
                    assert call["id"] is None and delta.index == len(calls) - 1
                    call["id"], call["name"] = delta.id, delta.function.name
                call["arguments"] += delta.function.arguments or ""
    assert len({c["id"] for c in calls.values()}) == len(calls)
    return text, [(c["name"], json.loads(c["arguments"])) for c in calls.values()], reasons[-1]


def told(reply):
    choice = reply.choices[0]
    return (choice.message.content or "", [(c.function.name, json.loads(c.function.arguments)) for c in choice.message.tool_calls or []],
            choice.finish_reason)


# ---- chat ----

@pytest.mark.parametrize("more", [
    {}, {"max_completion_tokens": 2}, {"max_tokens": 3}, {"stop": "conformance"}, {"stop": ["zzz", "hello"]},
    {"tools": [WEATHER, STOCK], "messages": BOTH_QUESTION}, {"tools": [WEATHER, STOCK], "messages": BOTH_QUESTION, "parallel_tool_calls": False},
    {"tools": [WEATHER, STOCK], "tool_choice": "required"}, {"tools": [WEATHER], "messages": WEATHER_QUESTION, "tool_choice": "none"},
    {"tools": [WEATHER, STOCK], "tool_choice": {"type": "function", "function": {"name": "get_stock"}}},
    {"messages": [{"role": "developer", "content": "Be brief."}, *HELLO], "temperature": 0.5, "top_p": 0.9, "user": "u"},
], ids=["text", "limit", "old limit", "stop", "stops", "parallel tools", "one tool", "required", "none", "named", "developer"])
@covers("chat", "stream", "tools", "parallel")
def test_chat_is_the_fleets_own(client, fleet, more):
    with OpenAI(api_key="unused", base_url=fleet.url, max_retries=0) as direct:
        expected = told(chat(direct, **more))
    reply = chat(client, **more)
    assert told(reply) == expected and reply.object == "chat.completion" and reply.usage.total_tokens > 0
    chunks = list(chat(client, **more, stream=True, stream_options={"include_usage": True}))
    assert built(chunks) == expected and chunks[-1].usage == reply.usage
    assert all(c.usage is None for c in chunks[:-1]) and len({(c.id, c.created, c.model) for c in chunks}) == 1
    assert not any(c.usage for c in chat(client, **more, stream=True))


@covers("structured")
def test_structured_output(client):
    parsed = client.chat.completions.parse(model=MODEL, messages=HELLO, response_format=Event)
    assert isinstance(parsed.choices[0].message.parsed, Event)
    with client.chat.completions.stream(model=MODEL, messages=HELLO, response_format=Event) as events:
        for _ in events:
            pass
        assert isinstance(events.get_final_completion().choices[0].message.parsed, Event)


@covers("images")
@pytest.mark.parametrize("url", ["data:image/png;base64," + PIXEL, "https://example.org/x.png"], ids=["data", "url"])
def test_images(client, fleet, url):
    text = {"type": "text", "text": "What is in this picture?"}
    plain = chat(client, messages=[{"role": "user", "content": [text]}]).usage.prompt_tokens
    reply = chat(client, messages=[{"role": "user", "content": [text, {"type": "image_url", "image_url": {"url": url, "detail": "low"}}]}])
    assert reply.usage.prompt_tokens == plain + 85
    assert last_request(fleet)[1]["messages"][0]["content"][1]["type"] == "image"


def test_usage_has_its_kinds(client, calm):
    calm.faults([{"kind": "usage", "cached": 40, "cache_write": 7, "reasoning": 5}])
    ask = {"messages": [{"role": "user", "content": "x" * 400}]}
    streamed = list(chat(client, **ask, stream=True, stream_options={"include_usage": True}))[-1].usage
    for u in (chat(client, **ask).usage, streamed):
        assert u.prompt_tokens == 100 and u.prompt_tokens_details.cached_tokens == 40
        assert u.completion_tokens_details.reasoning_tokens == 5 and u.completion_tokens > 5
        assert u.total_tokens == u.prompt_tokens + u.completion_tokens


def test_reasoning_effort_is_thinking(client, fleet):
    reply = chat(client, reasoning_effort="low", max_completion_tokens=4000)
    assert last_request(fleet)[1]["thinking"]["type"] in ("enabled", "adaptive")
    assert reply.choices[0].message.content and reply.usage.completion_tokens_details.reasoning_tokens > 0


def test_no_header_of_one_vendor_reaches_the_other(client, fleet):
    chat(client, extra_headers={"OpenAI-Organization": "org", "OpenAI-Beta": "novel"})
    headers, _, entry = last_request(fleet)
    assert entry["target"] == "/v1/messages" and headers["anthropic-version"] and "authorization" not in headers
    assert not any(h in headers for h in ("openai-organization", "openai-project"))


@pytest.mark.parametrize("member, value", [("n", 2), ("logprobs", True), ("seed", 7), ("frequency_penalty", 0.5), ("presence_penalty", 0.5),
                                           ("logit_bias", {"50256": -100}), ("response_format", {"type": "json_object"})])
def test_what_cannot_be_said_is_refused_by_name(client, calm, member, value):
    for streamed in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            chat(client, **{member: value}, stream=streamed)
        assert refused.value.param.startswith(member) and member in str(refused.value)
    assert calm.get("/fleet/stats")["total"]["requests"] == 0


# ---- errors ----

@pytest.mark.parametrize("kind, error, code", [
    ({"kind": "429", "retry_after_s": 60}, openai.RateLimitError, None), ({"kind": "529"}, openai.InternalServerError, None),
    ({"kind": "500"}, openai.InternalServerError, None), ({"kind": "context_length"}, openai.BadRequestError, "context_length_exceeded"),
    ({"kind": "content_filter"}, openai.BadRequestError, "content_filter"), ({"kind": "quota"}, openai.InternalServerError, None),
    ({"kind": "error_200"}, openai.InternalServerError, None), ({"kind": "malformed_http"}, openai.InternalServerError, None),
], ids=lambda v: v.get("kind") if isinstance(v, dict) else None)
@covers("400", "429", "5xx")
def test_errors_are_the_sdks_own(client, calm, kind, error, code):
    calm.faults([kind])
    for streamed in (False, True):
        with pytest.raises(error) as caught:
            chat(client, stream=streamed)
        e = caught.value
        assert e.body["message"] and e.request_id and set(e.body) == {"message", "type", "param", "code"}
        assert code is None or e.code == code
        assert "retry_after_s" not in kind or e.response.headers["retry-after"] == "60"


@pytest.mark.parametrize("kind", ["cut", "reset_mid_body", "malformed_chunk", "error_event", "bad_chunk_size", "no_finish"])
def test_a_stream_that_is_not_whole_raises(client, calm, kind):
    calm.faults([{"kind": kind, "after": 5}])
    with pytest.raises(openai.APIError):
        list(chat(client, stream=True))


@pytest.mark.parametrize("kind", ["one_byte", "crlf", "no_space", "split_data", "usage_in_last", "no_done", "http10"])
def test_odd_but_legal_streams(client, calm, kind):
    whole = chat(client)
    calm.faults([{"kind": kind}])
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert built(chunks) == told(whole) and chunks[-1].usage == whole.usage


@covers("cancel")
def test_leaving_stops_the_model(over_anthropic, client, calm):
    calm.faults([{"kind": "slow_chunks", "delay_ms": 200}])
    stream = chat(client, stream=True)
    next(iter(stream))
    stream.close()
    wait_until(lambda: not calm.get("/fleet/inflight"), 5, "the fleet to see the abort")
    calm.faults([{"kind": "silence"}])

    async def work():
        async with AsyncOpenAI(api_key="unused", base_url=over_anthropic.base + "/v1", max_retries=0) as c:
            task = asyncio.create_task(chat(c))
            await asyncio.to_thread(wait_until, lambda: calm.get("/fleet/inflight"), 5, "the request to reach the fleet")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await asyncio.to_thread(wait_until, lambda: not calm.get("/fleet/inflight"), 5, "the fleet to see the abort")

    asyncio.run(work())


# ---- Responses, over each dialect ----

def output(response):
    """What a response holds, without what every response has of its own."""
    return [(o.type, o.name, json.loads(o.arguments)) if o.type == "function_call" else (o.type, [c.text for c in o.content])
            for o in response.output if o.type != "reasoning"]


@pytest.mark.parametrize("more", [
    {"input": "Say hello."}, {"input": [{"role": "user", "content": [{"type": "input_text", "text": "Say hello."}]}], "instructions": "Be brief."},
    {"input": BOTH_QUESTION, "tools": RESPONSE_TOOLS}, {"input": BOTH_QUESTION, "tools": RESPONSE_TOOLS, "parallel_tool_calls": False},
    {"input": "Say hello.", "tools": RESPONSE_TOOLS, "tool_choice": {"type": "function", "name": "get_stock"}},
], ids=["text", "parts", "parallel calls", "one call", "named call"])
@covers("responses")
def test_responses_streamed_and_whole(gpt, more):
    whole = gpt.responses.create(model=MODEL, **more)
    assert whole.status == "completed" and whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens > 0
    events = list(gpt.responses.create(model=MODEL, **more, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    kinds = [e.type for e in events]
    assert kinds[:2] == ["response.created", "response.in_progress"] and kinds[-1] == "response.completed"
    final = events[-1].response
    assert output(final) == output(whole) and final.usage == whole.usage
    for index, item in enumerate(final.output):
        mine = [e for e in events if getattr(e, "output_index", None) == index]
        assert mine[0].type == "response.output_item.added" and mine[-1].type == "response.output_item.done" and mine[-1].item == item
        arguments = "".join(e.delta for e in mine if e.type == "response.function_call_arguments.delta")
        assert item.type != "function_call" or arguments == item.arguments


def test_the_stream_helper_of_responses(gpt):
    with gpt.responses.stream(model=MODEL, input="Say hello.", text_format=Event) as events:
        for _ in events:
            pass
        assert isinstance(events.get_final_response().output_parsed, Event)
    assert isinstance(gpt.responses.parse(model=MODEL, input="Say hello.", text_format=Event).output_parsed, Event)


def test_a_loop_of_function_calls(gpt):
    items, seen = [{"role": "user", "content": "The weather in Rome and the stock price of ACME, please."}], []
    for _ in range(2):
        response = gpt.responses.create(model=MODEL, input=items, tools=RESPONSE_TOOLS)
        items += [o.model_dump(exclude_none=True) for o in response.output]
        calls = [o for o in response.output if o.type == "function_call"]
        seen.append(len(calls))
        items += [{"type": "function_call_output", "call_id": c.call_id, "output": "42"} for c in calls]
    assert seen == [2, 0] and response.output_text


def test_responses_limit_and_image(gpt):
    cut = gpt.responses.create(model=MODEL, input="Say hello.", max_output_tokens=16, instructions="x" * 40)
    assert cut.status in ("completed", "incomplete") and (cut.status == "completed" or cut.incomplete_details.reason == "max_output_tokens")
    reply = gpt.responses.create(model=MODEL, input=[{"role": "user", "content": [
        {"type": "input_text", "text": "What is it?"}, {"type": "input_image", "image_url": "data:image/png;base64," + PIXEL, "detail": "auto"}]}])
    assert reply.output_text and reply.usage.input_tokens > 85


@pytest.mark.parametrize("member, value", [("previous_response_id", "resp_1"), ("background", True), ("conversation", "conv_1"),
                                           ("tools", [{"type": "web_search"}])])
def test_what_responses_cannot_have_is_refused_by_name(gpt, member, value):
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.responses.create(model=MODEL, input="x", **{member: value})
    assert member in str(refused.value) and refused.value.param.startswith(member)


def test_errors_of_responses(gpt, calm):
    for kind, error in (("429", openai.RateLimitError), ("500", openai.InternalServerError), ("context_length", openai.BadRequestError)):
        calm.faults([{"kind": kind}])
        with pytest.raises(error):
            gpt.responses.create(model=MODEL, input="x")
    calm.faults([{"kind": "cut", "after": 4}])
    events, failed = [], False
    try:
        for e in gpt.responses.create(model=MODEL, input="Say hello.", stream=True):
            events.append(e.type)
    except openai.APIError:
        failed = True
    assert "response.completed" not in events and (failed or events[-1] in ("error", "response.failed"))

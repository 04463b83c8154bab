"""The official openai SDK for Python, unmodified, with nothing changed but its base URL, through weir to the fleet."""

import base64
import json
import math
import struct
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from matrix import covers

MODEL = "gpt-4o-mini"
HELLO = [{"role": "user", "content": "Say hello to the conformance test."}]


def tool(name, properties):
    return {"type": "function", "function": {"name": name, "description": f"The {name}", "parameters": {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}}}


WEATHER = tool("get_weather", {"city": {"type": "string"}})
STOCK = tool("get_stock", {"symbol": {"type": "string"}, "count": {"type": "integer"}})


# ---- chat ----

@covers("chat")
def test_chat(client):
    reply = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert reply.object == "chat.completion" and reply.id and reply.created
    choice = reply.choices[0]
    assert choice.message.role == "assistant" and choice.message.content and choice.finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens > 0


def test_raw_response_headers_name_what_served(client):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=HELLO)
    assert raw.headers["x-weir-model"] == "llama-3.1-8b-instruct"
    assert raw.headers["x-weir-attempts"] == "1"
    usage = raw.parse().usage
    assert float(raw.headers["x-weir-cost-usd"]) == pytest.approx((usage.prompt_tokens * 1.0 + usage.completion_tokens * 2.0) / 1e6, abs=1e-9)
    assert raw.parse()._request_id == raw.headers["x-request-id"]


def test_base_url_without_v1(weir_fleet, calm):
    with OpenAI(api_key="unused", base_url=weir_fleet.base, max_retries=0) as c:
        assert c.chat.completions.create(model=MODEL, messages=HELLO).choices[0].message.content


def test_the_answer_is_the_fleets_own(client, fleet):
    direct = OpenAI(api_key="unused", base_url=fleet.url, max_retries=0)
    through = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert through.choices[0].message == direct.chat.completions.create(model=MODEL, messages=HELLO).choices[0].message


def test_system_and_history(client):
    reply = client.chat.completions.create(model=MODEL, messages=[
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"},
        {"role": "user", "content": "and 2+2?"}], temperature=0, seed=7, user="u")
    assert reply.choices[0].message.content


def test_several_choices(client):
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, n=3)
    assert [c.index for c in reply.choices] == [0, 1, 2]


def test_max_tokens(client):
    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Count to a hundred, in words. " * 5}],
                                           max_completion_tokens=2)
    assert reply.choices[0].finish_reason == "length" and reply.usage.completion_tokens <= 2


def test_logprobs(client):
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, logprobs=True, top_logprobs=2)
    content = reply.choices[0].logprobs.content
    assert content and all(math.isfinite(t.logprob) and t.logprob <= 0 for t in content)
    assert client.chat.completions.create(model=MODEL, messages=HELLO).choices[0].logprobs is None


@covers("images")
def test_images(client):
    png = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(200)).decode()
    reply = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}", "detail": "low"}}]}])
    assert reply.choices[0].message.content


def test_unknown_fields_reach_the_model_and_come_back(client, calm):
    calm.faults([{"kind": "extra", "text": '"x_new":{"big":12345678901234567890123,"f":1.50}'}])
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, extra_body={"x_unknown": {"keep": [1, 2.50]}})
    assert reply.model_extra["x_new"]["big"] == 12345678901234567890123
    assert "x_unknown" in json.dumps(calm.get("/fleet/log"))


def test_many_at_once(client):
    with ThreadPoolExecutor(16) as pool:
        replies = list(pool.map(lambda i: client.chat.completions.create(model=MODEL, messages=[
            {"role": "user", "content": f"question number {i}"}]), range(64)))
    assert len({r.id for r in replies}) == 64


def test_text_completions(client):
    reply = client.completions.create(model=MODEL, prompt="Once upon a time", max_tokens=20)
    assert reply.object == "text_completion" and reply.choices[0].text


# ---- streaming ----

@covers("stream")
def test_streaming(client):
    whole = client.chat.completions.create(model=MODEL, messages=HELLO)
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(c.usage is None for c in chunks)
    assert len({c.id for c in chunks}) == 1


def test_streaming_with_usage(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens > 0
    assert all(c.usage is None for c in chunks[:-1])
    whole = client.chat.completions.create(model=MODEL, messages=HELLO)
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_stream_helper_accumulates(client):
    with client.chat.completions.stream(model=MODEL, messages=HELLO) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].message.content and final.choices[0].finish_reason == "stop"


def test_streamed_logprobs(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True, logprobs=True))
    assert any(c.choices and c.choices[0].logprobs and c.choices[0].logprobs.content for c in chunks)


@pytest.mark.parametrize("kind", ["one_byte", "crlf", "no_space", "split_data", "no_done", "no_done_open", "usage_in_last"])
def test_streams_of_odd_servers_are_still_streams(client, calm, kind):
    whole = client.chat.completions.create(model=MODEL, messages=HELLO).choices[0].message.content
    calm.faults([{"kind": kind}])
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole


# ---- tools ----

@covers("tools")
def test_a_tool_call_and_its_answer(client):
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    reply = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    choice = reply.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.id and call.function.name == "get_weather" and isinstance(json.loads(call.function.arguments)["city"], str)
    messages += [choice.message, {"role": "tool", "tool_call_id": call.id, "content": '{"temperature": 21}'}]
    final = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert final.choices[0].finish_reason == "stop" and final.choices[0].message.content


@covers("parallel")
def test_parallel_tool_calls(client):
    reply = client.chat.completions.create(model=MODEL, tools=[WEATHER, STOCK],
                                           messages=[{"role": "user", "content": "The weather in Rome and the stock price of ACME, please."}])
    calls = reply.choices[0].message.tool_calls
    assert sorted(c.function.name for c in calls) == ["get_stock", "get_weather"] and len({c.id for c in calls}) == 2


@covers("parallel", "stream")
def test_streamed_parallel_tool_calls(client):
    chunks = client.chat.completions.create(model=MODEL, tools=[WEATHER, STOCK], stream=True,
                                            messages=[{"role": "user", "content": "The weather in Rome and the stock price of ACME, please."}])
    calls, reasons = {}, []
    for chunk in chunks:
        if not chunk.choices:
            continue
        reasons.append(chunk.choices[0].finish_reason)
        for delta in chunk.choices[0].delta.tool_calls or []:
            call = calls.setdefault(delta.index, {"id": None, "name": None, "arguments": "", "pieces": 0})
            if delta.id:
                assert call["id"] is None, "the id comes only once"
                call["id"], call["name"] = delta.id, delta.function.name
            call["arguments"] += delta.function.arguments or ""
            call["pieces"] += 1
    assert reasons[-1] == "tool_calls" and sorted(calls) == [0, 1]
    assert {c["name"] for c in calls.values()} == {"get_weather", "get_stock"}
    assert all(json.loads(c["arguments"]) and c["pieces"] > 1 for c in calls.values())


def test_tool_choice_forces_and_forbids(client):
    forced = client.chat.completions.create(model=MODEL, messages=HELLO, tools=[WEATHER, STOCK],
                                            tool_choice={"type": "function", "function": {"name": "get_stock"}})
    assert forced.choices[0].message.tool_calls[0].function.name == "get_stock"
    none = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "weather?"}], tools=[WEATHER], tool_choice="none")
    assert not none.choices[0].message.tool_calls


# ---- structured output ----

class Event(BaseModel):
    name: str
    day: int
    guests: list[str]
    open: bool


def test_json_object(client):
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, response_format={"type": "json_object"})
    assert isinstance(json.loads(reply.choices[0].message.content), dict)


@covers("structured")
def test_parse_into_a_model(client):
    reply = client.chat.completions.parse(model=MODEL, messages=[{"role": "user", "content": "A party on the 3rd."}], response_format=Event)
    assert isinstance(reply.choices[0].message.parsed, Event)


def test_streamed_parse(client):
    with client.chat.completions.stream(model=MODEL, messages=HELLO, response_format=Event) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Event)


# ---- embeddings, models ----

def test_embeddings_as_floats_and_as_base64(client):
    texts = ["the first text", "the second text"]
    floats = client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    assert [d.index for d in floats.data] == [0, 1]
    packed = client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="base64")
    for f, p in zip(floats.data, packed.data, strict=True):
        raw = base64.b64decode(p.embedding)
        assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(f.embedding, abs=1e-6)
    default = client.embeddings.create(model="text-embedding-3-small", input=texts)  # the SDK asks for base64 and unpacks it
    assert default.data[0].embedding == pytest.approx(floats.data[0].embedding, abs=1e-6)
    assert math.hypot(*floats.data[0].embedding) == pytest.approx(1, abs=1e-3)


def test_models(client):
    ids = [m.id for m in client.models.list()]
    assert {"auto", MODEL, "text-embedding-3-small"} <= set(ids)
    assert client.models.retrieve("auto").id == "auto"


def test_a_model_that_is_not_there(client):
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-nonexistent")


# ---- the asynchronous client ----

def test_the_asynchronous_client(weir_fleet, calm):
    import asyncio

    async def work():
        async with AsyncOpenAI(api_key="unused", base_url=weir_fleet.base + "/v1", max_retries=0) as c:
            replies = await asyncio.gather(*(c.chat.completions.create(model=MODEL, messages=HELLO) for _ in range(20)))
            text = ""
            async for chunk in await c.chat.completions.create(model=MODEL, messages=HELLO, stream=True):
                text += chunk.choices[0].delta.content or ""
            return replies, text

    replies, text = asyncio.run(work())
    assert {r.choices[0].message.content for r in replies} == {text}

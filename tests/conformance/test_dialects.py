"""The official anthropic and openai SDKs for Python, unmodified, through weir to servers of either dialect.

Three gateways: two in front of the fleet, in OpenAI's and in Anthropic's dialect, and one in front of the first, which is its
server of Anthropic's dialect. So each SDK reaches the fleet through a translation, a pass-through, or both ways at once.
"""

import json

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from conftest import PATIENT
from rawhttp import Client, request
from scripted import stream, whole
from test_sdk import HELLO, MODEL, STOCK, WEATHER
from weirproc import Weir, http, wait_until

MODELS = (MODEL, "llama-3.1-8b-instruct")


def anthropic_policy(url, state_dir):
    models = "\n".join(f"  {m}: {{backend: next, max_output: 4096, price: {{input: 1.00, output: 2.00}}}}" for m in MODELS)
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{state_dir}"}}
backends:
  next: {{dialect: anthropic, url: "{url}", timeouts: {{{PATIENT}}}}}
models:
{models}
aliases: {{auto: {MODEL}}}
retry: {{max_attempts: 1}}
"""


@pytest.fixture(scope="module")
def over_anthropic(fleet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("over-anthropic")
    process = Weir(folder, anthropic_policy(fleet.url, folder / "state"))
    yield process
    process.stop()


@pytest.fixture(scope="module")
def over_gateway(weir_fleet_kept, tmp_path_factory):
    folder = tmp_path_factory.mktemp("over-gateway")
    process = Weir(folder, anthropic_policy(weir_fleet_kept.process.base + "/v1", folder / "state"))
    yield process
    process.stop()


@pytest.fixture(params=["weir_fleet", "over_anthropic", "over_gateway"])
def gateway(request, calm):
    return request.getfixturevalue(request.param)


@pytest.fixture
def claude(gateway):
    with Anthropic(api_key="unused", base_url=gateway.base, max_retries=0, timeout=120) as c:
        yield c


@pytest.fixture
def gpt(gateway):
    with OpenAI(api_key="unused", base_url=gateway.base + "/v1", max_retries=0, timeout=120) as c:
        yield c


def anthropic_tool(tool):
    f = tool["function"]
    return {"name": f["name"], "description": f["description"], "input_schema": f["parameters"]}


TOOLS = [anthropic_tool(WEATHER), anthropic_tool(STOCK)]
WEATHER_QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
BOTH_QUESTION = [{"role": "user", "content": "The weather in Rome and the stock price of ACME, please."}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def message(claude, **more):
    return claude.messages.create(**{"model": MODEL, "max_tokens": 200, "messages": HELLO, **more})


# ---- the anthropic SDK ----

def test_message(claude, fleet):
    reply = message(claude)
    direct = OpenAI(api_key="unused", base_url=fleet.url).chat.completions.create(model=MODEL, messages=HELLO)
    assert reply.type == "message" and reply.role == "assistant" and reply.id.startswith("msg_")
    assert [b.type for b in reply.content] == ["text"]
    assert reply.content[0].text == direct.choices[0].message.content
    assert reply.stop_reason == "end_turn" and reply.stop_sequence is None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (direct.usage.prompt_tokens, direct.usage.completion_tokens)


def test_message_stream(claude):
    whole_text = message(claude).content[0].text
    with claude.messages.stream(model=MODEL, max_tokens=200, messages=HELLO) as events:
        kinds = [e.type for e in events]
        final = events.get_final_message()
    assert final.content[0].text == whole_text and final.stop_reason == "end_turn"
    assert final.usage.output_tokens > 0
    raw = [k for k in kinds if k not in ("text", "ping")]
    assert raw[:2] == ["message_start", "content_block_start"]
    assert raw[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(raw[2:-3]) == {"content_block_delta"}


def test_system_stop_and_limit(claude):
    reply = message(claude, system="Be brief.", extra_body={"temperature": 0, "top_p": 0.9}, stop_sequences=["conformance"],
                    extra_headers={"anthropic-version": "2023-06-01"})  # the SDK's own version has no sampling parameters
    assert "conformance" not in reply.content[0].text
    limited = message(claude, max_tokens=2)
    assert limited.stop_reason == "max_tokens" and limited.usage.output_tokens <= 2


def test_tool_use_and_result(claude):
    reply = message(claude, tools=TOOLS[:1], messages=WEATHER_QUESTION)
    assert reply.stop_reason == "tool_use"
    (call,) = [b for b in reply.content if b.type == "tool_use"]
    assert call.name == "get_weather" and isinstance(call.input["city"], str) and call.id
    final = message(claude, tools=TOOLS[:1], messages=[
        *WEATHER_QUESTION, {"role": "assistant", "content": reply.content},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}]}])
    assert final.stop_reason == "end_turn" and final.content[0].text


def test_streamed_parallel_tool_use(claude):
    with claude.messages.stream(model=MODEL, max_tokens=200, tools=TOOLS, messages=BOTH_QUESTION) as events:
        final = events.get_final_message()
    calls = [b for b in final.content if b.type == "tool_use"]
    assert final.stop_reason == "tool_use" and sorted(c.name for c in calls) == ["get_stock", "get_weather"]
    assert len({c.id for c in calls}) == 2 and all(isinstance(c.input, dict) and c.input for c in calls)


def test_tool_choice(claude):
    forced = message(claude, tools=TOOLS, tool_choice={"type": "tool", "name": "get_stock"})
    assert [b.name for b in forced.content if b.type == "tool_use"] == ["get_stock"]
    none = message(claude, tools=TOOLS, tool_choice={"type": "none"}, messages=WEATHER_QUESTION)
    assert none.stop_reason == "end_turn"


def test_image(claude):
    reply = message(claude, messages=[{"role": "user", "content": [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}]}])
    assert reply.content[0].text


def test_count_tokens_and_models(claude, gateway):
    assert claude.messages.count_tokens(model=MODEL, messages=HELLO).input_tokens > 0
    listed = claude.models.list()
    assert MODEL in [m.id for m in listed.data] and all(m.type == "model" for m in listed.data)
    assert claude.models.retrieve(MODEL).id == MODEL
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.count_tokens(model="no-such-model", messages=HELLO)


def test_anthropic_errors_are_typed(claude, calm):
    with pytest.raises(anthropic.NotFoundError) as missing:
        message(claude, model="no-such-model")
    assert missing.value.body["type"] == "error" and missing.value.body["error"]["type"] == "not_found_error"
    assert missing.value.request_id
    with pytest.raises(anthropic.BadRequestError):
        claude.post("/v1/messages", body={"model": MODEL, "max_tokens": 5}, cast_to=object)
    for kind, error in (("429", anthropic.RateLimitError), ("context_length", anthropic.BadRequestError),
                        ("500", anthropic.InternalServerError)):
        calm.faults([{"kind": kind}])
        with pytest.raises(error) as raised:
            message(claude)
        if kind == "context_length":
            assert "prompt is too long" in str(raised.value)
    calm.faults([])


def test_a_cut_message_stream_is_an_error(claude, calm):
    calm.faults([{"kind": "cut", "after": 3}])
    with pytest.raises(anthropic.APIError):
        with claude.messages.stream(model=MODEL, max_tokens=200, messages=HELLO) as events:
            for _ in events:
                pass
    calm.faults([])


def test_a_message_that_is_left_is_cancelled(claude, calm):
    calm.faults([{"kind": "slow_chunks", "delay_ms": 200}])
    with claude.messages.create(model=MODEL, max_tokens=200, messages=HELLO, stream=True) as events:
        next(iter(events))
    wait_until(lambda: not calm.get("/fleet/inflight"), 5, "the upstream to be cancelled")
    calm.faults([])


# ---- the openai SDK over both dialects ----

def test_chat_and_its_stream(gpt):
    reply = gpt.chat.completions.create(model=MODEL, messages=[{"role": "system", "content": "Be brief."}, *HELLO])
    chunks = list(gpt.chat.completions.create(model=MODEL, stream=True, stream_options={"include_usage": True},
                                              messages=[{"role": "system", "content": "Be brief."}, *HELLO]))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == reply.choices[0].message.content
    assert chunks[0].choices[0].delta.role == "assistant" and len({c.id for c in chunks}) == 1
    assert chunks[-1].usage.completion_tokens == reply.usage.completion_tokens


def test_tools_and_their_stream(gpt):
    reply = gpt.chat.completions.create(model=MODEL, tools=[WEATHER, STOCK], messages=BOTH_QUESTION)
    calls = reply.choices[0].message.tool_calls
    assert reply.choices[0].finish_reason == "tool_calls" and len(calls) == 2
    with gpt.chat.completions.stream(model=MODEL, tools=[WEATHER, STOCK], messages=BOTH_QUESTION) as events:
        for _ in events:
            pass
        streamed = events.get_final_completion().choices[0].message.tool_calls
    assert [(c.function.name, json.loads(c.function.arguments)) for c in streamed] == \
        [(c.function.name, json.loads(c.function.arguments)) for c in calls]
    final = gpt.chat.completions.create(model=MODEL, tools=[WEATHER, STOCK], messages=[
        *BOTH_QUESTION, reply.choices[0].message, *({"role": "tool", "tool_call_id": c.id, "content": "42"} for c in calls)])
    assert final.choices[0].finish_reason == "stop" and final.choices[0].message.content


def test_what_anthropic_cannot_say_is_refused_by_name(over_anthropic, calm):
    with OpenAI(api_key="unused", base_url=over_anthropic.base + "/v1", max_retries=0) as c:
        for member, value in (("n", 2), ("logprobs", True), ("seed", 7), ("frequency_penalty", 0.5)):
            with pytest.raises(openai.BadRequestError) as refused:
                c.chat.completions.create(model=MODEL, messages=HELLO, **{member: value})
            assert refused.value.param == member and member in str(refused.value)
        with pytest.raises(openai.BadRequestError):
            c.embeddings.create(model=MODEL, input="x")


def test_responses(gpt):
    reply = gpt.responses.create(model=MODEL, input="Say hello to the conformance test.", instructions="Be brief.", temperature=0.5)
    assert reply.status == "completed" and reply.output_text and reply.instructions == "Be brief." and reply.temperature == 0.5
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens > 0


def test_responses_stream(gpt):
    events = list(gpt.responses.create(model=MODEL, input="Say hello to the conformance test.", stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert events[0].type == "response.created" and events[-1].type == "response.completed"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == events[-1].response.output_text


def test_responses_function_call(gpt):
    tools = [{"type": "function", "name": "get_weather", "description": "w", "strict": False, "parameters": WEATHER["function"]["parameters"]}]
    reply = gpt.responses.create(model=MODEL, input="What is the weather in Paris?", tools=tools)
    (call,) = [o for o in reply.output if o.type == "function_call"]
    assert call.name == "get_weather" and json.loads(call.arguments)["city"] and reply.status == "completed"
    final = gpt.responses.create(model=MODEL, tools=tools, input=[
        {"role": "user", "content": "What is the weather in Paris?"}, call.model_dump(exclude_none=True),
        {"type": "function_call_output", "call_id": call.call_id, "output": "21"}])
    assert final.output_text


def test_previous_response_id_is_refused(gpt):
    with pytest.raises(openai.BadRequestError) as refused:
        gpt.responses.create(model=MODEL, input="and now?", previous_response_id="resp_1")
    assert "previous_response_id" in str(refused.value)


# ---- the wire ----

MESSAGE = {"id": "msg_1", "type": "message", "role": "assistant", "model": "up", "content": [{"type": "text", "text": "hi", "novel": 1.50}],
           "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 4}}


@pytest.fixture
def wire(upstream, tmp_path):
    process = Weir(tmp_path, anthropic_policy(upstream.url, tmp_path / "state"), env={})
    yield process
    process.stop()


def test_same_dialect_is_byte_true(wire, upstream):
    body = b'{ "model" : "gpt-4o-mini","max_tokens":1.0e1, "novel":{"a":1.50}, "messages":[{"role":"user","content":"\\u00e9 \\ud800"}]}'
    reply = json.dumps(MESSAGE).replace("1.5", "1.500").encode()
    upstream.play(whole(reply))
    status, headers, got = http("POST", wire.base + "/v1/messages", body, {"anthropic-beta": "novel-2030", "x-api-key": "mine"})
    assert status == 200 and got == reply and headers["request-id"] == headers["x-request-id"]
    assert upstream.last.body == body
    assert upstream.last.header("anthropic-beta") == "novel-2030" and upstream.last.header("anthropic-version") == "2023-06-01"
    assert upstream.last.header("x-api-key") is None and upstream.last.target == "/v1/messages"
    assert float(headers["x-weir-cost-usd"]) == pytest.approx((10 * 1.0 + 4 * 1.0 + 2 * 2.0) / 1e6)


def event(name, **data):
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


STREAM = [event("message_start", message={**MESSAGE, "content": [], "stop_reason": None}), event("ping"),
          event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
          event("content_block_delta", index=0, delta={"type": "text_delta", "text": "h\u00e9"}),
          event("content_block_stop", index=0),
          event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": 2}),
          event("message_stop")]


def ask_stream(weir):
    return http("POST", weir.base + "/v1/messages", {"model": MODEL, "max_tokens": 9, "stream": True, "messages": HELLO})


def test_same_dialect_stream_is_byte_true(wire, upstream):
    upstream.play(stream(*STREAM))
    status, headers, got = ask_stream(wire)
    assert status == 200 and headers["content-type"].startswith("text/event-stream")
    assert got == b"".join(STREAM)


def test_cut_anthropic_stream_has_an_error_event_and_no_stop(wire, upstream):
    upstream.play(stream(*STREAM[:4], end=False, then="close"))
    with Client(wire.address) as c:
        body = json.dumps({"model": MODEL, "max_tokens": 9, "stream": True, "messages": HELLO}).encode()
        c.send(request("POST", "/v1/messages", body))
        reply = c.reply()
    assert b"event: error" in reply.body and b"message_stop" not in reply.body and not reply.complete


def test_rate_limits_are_said_in_the_clients_words(wire, upstream):
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
    headers = [("retry-after", "7"), ("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-remaining", "0")]
    upstream.play(whole(body, 429, headers))
    status, got, text = http("POST", wire.base + "/v1/chat/completions", {"model": MODEL, "messages": HELLO})
    assert status == 429 and json.loads(text)["error"]["message"] == "slow down"
    assert got["retry-after"] == "7" and got["x-ratelimit-limit-requests"] == "50" and got["x-ratelimit-remaining-requests"] == "0"
    upstream.play(whole(body, 429, headers))
    status, got, text = http("POST", wire.base + "/v1/messages", {"model": MODEL, "max_tokens": 5, "messages": HELLO})
    assert status == 429 and json.loads(text) == body and got["anthropic-ratelimit-requests-limit"] == "50"

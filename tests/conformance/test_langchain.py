"""LangChain's chat models for OpenAI and Anthropic, unmodified but for their base URL, over a server of each dialect (see test_dialects.py)."""

import asyncio

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from matrix import covers
from test_dialects import PIXEL, gateway, over_anthropic, over_gateway  # noqa: F401
from test_sdk import MODEL, Event
from weirproc import wait_until

SAY = "Say hello to the conformance test."


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"21 degrees in {city}"


@tool
def get_stock(symbol: str, count: int) -> str:
    """The price of a stock."""
    return f"{symbol}: {count}"


@pytest.fixture(params=["langchain-openai", "langchain-responses", "langchain-anthropic"])
def model(request, gateway):
    if request.param == "langchain-anthropic":
        return ChatAnthropic(model=MODEL, api_key="unused", base_url=gateway.base, max_retries=0, timeout=120, max_tokens=300)
    return ChatOpenAI(model=MODEL, api_key="unused", base_url=gateway.base + "/v1", max_retries=0, timeout=120,
                      use_responses_api=request.param == "langchain-responses", stream_usage=True)


@covers("chat", "stream")
def test_chat_and_stream(model):
    messages = [SystemMessage("Be brief."), HumanMessage(SAY)]
    reply = model.invoke(messages)
    assert SAY in reply.text and reply.usage_metadata["total_tokens"] > 0
    chunks = list(model.stream(messages))
    whole = sum(chunks[1:], chunks[0])
    assert whole.text == reply.text and len(chunks) > 5
    assert whole.usage_metadata["output_tokens"] == reply.usage_metadata["output_tokens"]


@covers("tools", "parallel")
def test_tools_in_a_loop(model):
    bound = model.bind_tools([get_weather, get_stock])
    messages = [HumanMessage("The weather in Rome and the stock price of ACME, please.")]
    reply = bound.invoke(messages)
    chunks = list(bound.stream(messages))
    streamed = sum(chunks[1:], chunks[0])
    assert [(c["name"], c["args"]) for c in streamed.tool_calls] == [(c["name"], c["args"]) for c in reply.tool_calls]
    assert sorted(c["name"] for c in reply.tool_calls) == ["get_stock", "get_weather"]
    for said in (reply, streamed):
        results = [{"get_weather": get_weather, "get_stock": get_stock}[c["name"]].invoke(c) for c in said.tool_calls]
        assert all(isinstance(r, ToolMessage) for r in results)
        final = bound.invoke([*messages, said, *results])
        assert final.text and not final.tool_calls


def test_tool_choice(model):
    reply = model.bind_tools([get_weather, get_stock], tool_choice="get_stock").invoke(SAY)
    assert [c["name"] for c in reply.tool_calls] == ["get_stock"]


@covers("structured")
@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_structured_output(model, method):
    assert isinstance(model.with_structured_output(Event, method=method).invoke(SAY), Event)


@covers("images")
def test_images(model):
    text = {"type": "text", "text": "What is in this picture?"}
    plain = model.invoke([HumanMessage([text])]).usage_metadata["input_tokens"]
    for image in ({"type": "image", "base64": PIXEL, "mime_type": "image/png"}, {"type": "image", "url": "https://example.org/x.png"}):
        assert model.invoke([HumanMessage([text, image])]).usage_metadata["input_tokens"] == plain + 85  # what the fleet charges for one


@covers("responses", client="langchain-openai")
def test_responses_api_is_what_is_called(gateway, calm):
    model = ChatOpenAI(model=MODEL, api_key="unused", base_url=gateway.base + "/v1", max_retries=0, use_responses_api=True)
    assert model.invoke(SAY).id.startswith("resp_")


@covers("count", client="langchain-anthropic")
def test_tokens_are_counted(gateway, calm):
    model = ChatAnthropic(model=MODEL, api_key="unused", base_url=gateway.base, max_retries=0)
    assert model.get_num_tokens_from_messages([SystemMessage("Be brief."), HumanMessage(SAY)], tools=[get_weather]) > 10


@covers("cancel")
def test_leaving_stops_the_model(model, calm):
    calm.faults([{"kind": "slow_chunks", "delay_ms": 200}])
    stream = model.stream(SAY)
    next(stream)
    stream.close()
    wait_until(lambda: not calm.get("/fleet/inflight"), 5, "the fleet to see the abort")
    calm.faults([{"kind": "silence"}])

    async def work():
        task = asyncio.create_task(model.ainvoke(SAY))
        await asyncio.to_thread(wait_until, lambda: calm.get("/fleet/inflight"), 5, "the request to reach the fleet")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(wait_until, lambda: not calm.get("/fleet/inflight"), 5, "the fleet to see the abort")

    asyncio.run(work())


def test_many_at_once(model):
    replies = model.batch([f"number {n}" for n in range(8)])
    assert all(f"number {n}" in r.text for n, r in enumerate(replies))


def test_embeddings(weir_fleet, calm):
    e = OpenAIEmbeddings(model="text-embedding-3-small", api_key="unused", base_url=weir_fleet.base + "/v1", check_embedding_ctx_length=False)
    assert len(e.embed_documents(["one", "two"])) == 2 and len(e.embed_query("one")) == 256

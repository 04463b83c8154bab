"""The official SDKs, unmodified, through a cascade on the replay fleet: what they get is one model's whole answer, in their own
dialect, whichever models were asked before; and the books say what the fleet charged."""

import sqlite3

import pytest
from anthropic import Anthropic
from openai import OpenAI
from weirproc import Fleet, wait_until

SMALL, BIG = "llama-3.1-8b-instruct", "gpt-4o"
HELLO = [{"role": "user", "content": "What is the capital of France?"}]
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    server = Fleet(tmp_path_factory.mktemp("fleet"))
    yield server
    server.stop()


@pytest.fixture
def ladder(start, fleet, tmp_path):
    """Two routes: `sure` accepts the small model's answer, `unsure` none but the last; `crossed` has an Anthropic server second."""
    fleet.reset()
    return start(f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "{tmp_path}/state"}}
backends:
  fleet: {{dialect: openai, url: "{fleet.url}"}}
  claude: {{dialect: anthropic, url: "{fleet.url}"}}
models:
  {SMALL}: {{backend: fleet, price: {{input: 0.20, cached_input: 0.20, output: 0.20}}}}
  {BIG}: {{backend: fleet, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
  claude: {{backend: claude, name: {BIG}, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
decide: {{confidence: {{hold: whole}}}}
routes:
  - {{name: sure, match: {{model: sure}}, cascade: [{SMALL}, {BIG}], accept: 0}}
  - {{name: unsure, match: {{model: unsure}}, cascade: [{SMALL}, {BIG}], accept: 1, confidence: {{recall: false}}}}
  - {{name: held, match: {{model: held}}, cascade: [{SMALL}, {BIG}], accept: 1, confidence: {{hold: tokens, hold_tokens: 2, recall: false}}}}
  - {{name: crossed, match: {{model: crossed}}, cascade: [{SMALL}, claude], accept: 1, confidence: {{recall: false}}}}
""")


@pytest.fixture
def openai(ladder):
    with OpenAI(api_key="unused", base_url=ladder.base + "/v1", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic(ladder):
    with Anthropic(api_key="unused", base_url=ladder.base, max_retries=0) as client:
        yield client


def alone(fleet, model=BIG):
    """What the fleet's model says without weir."""
    with OpenAI(api_key="unused", base_url=fleet.url, max_retries=0) as client:
        return client.chat.completions.create(model=model, messages=HELLO).choices[0].message.content


SERVED = [("sure", SMALL), ("unsure", BIG), ("held", BIG), ("crossed", BIG)]


@pytest.mark.parametrize("route, model", SERVED)
def test_openai_chat(openai, fleet, route, model):
    expected = alone(fleet, model)
    raw = openai.chat.completions.with_raw_response.create(model=route, messages=HELLO)
    reply = raw.parse()
    assert reply.choices[0].message.content == expected and reply.choices[0].logprobs is None
    assert float(raw.headers["x-weir-confidence"]) >= 0 and raw.headers["x-weir-attempts"] == ("1" if route == "sure" else "2")
    chunks = list(openai.chat.completions.create(model=route, messages=HELLO, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == expected
    assert len({c.id for c in chunks}) == 1 and chunks[-1].usage.completion_tokens > 0
    assert not any(c.choices and c.choices[0].logprobs for c in chunks)


@pytest.mark.parametrize("route, model", SERVED)
def test_openai_responses(openai, fleet, route, model):
    expected = alone(fleet, model)
    assert openai.responses.create(model=route, input=HELLO[0]["content"]).output_text == expected
    with openai.responses.stream(model=route, input=HELLO[0]["content"]) as stream:
        kinds = [event.type for event in stream]
        assert stream.get_final_response().output_text == expected
    assert kinds[0] == "response.created" and kinds.count("response.completed") == 1


@pytest.mark.parametrize("route, model", SERVED)
def test_anthropic_messages(anthropic, fleet, route, model):
    expected = alone(fleet, model)
    reply = anthropic.messages.create(model=route, max_tokens=500, messages=HELLO)
    assert reply.content[0].text == expected and reply.stop_reason == "end_turn"
    with anthropic.messages.stream(model=route, max_tokens=500, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == expected and final.usage.output_tokens > 0


@pytest.mark.parametrize("route", ["sure", "unsure", "held"])
def test_tools(openai, anthropic, route):
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}}
    for stream in (False, True):
        kwargs = dict(model=route, messages=HELLO, tools=[tool], tool_choice="required")
        if stream:
            with openai.chat.completions.stream(**kwargs) as events:
                message = events.get_final_completion().choices[0].message
        else:
            message = openai.chat.completions.create(**kwargs).choices[0].message
        assert [c.function.name for c in message.tool_calls] == ["get_weather"]
    reply = anthropic.messages.create(model=route, max_tokens=500, messages=HELLO, tool_choice={"type": "any"},
                                      tools=[{"name": "get_weather", "input_schema": WEATHER}])
    assert [b.name for b in reply.content if b.type == "tool_use"] == ["get_weather"]


def test_a_client_that_asks_for_logprobs_gets_them(openai):
    for route in ("sure", "unsure"):
        reply = openai.chat.completions.create(model=route, messages=HELLO, logprobs=True, top_logprobs=2)
        assert reply.choices[0].logprobs.content and len(reply.choices[0].logprobs.content[0].top_logprobs) == 2


def test_the_books_agree_with_the_fleet(ladder, openai, anthropic, fleet):
    fleet.reset()
    asked = 0
    for n in range(6):
        question = [{"role": "user", "content": f"Question {n}: how many legs has a spider?"}]
        for route in ("sure", "unsure", "held"):
            openai.chat.completions.create(model=route, messages=question)
            anthropic.messages.create(model=route, max_tokens=200, messages=question)
            asked += 2
        for route in ("sure", "unsure"):
            list(openai.chat.completions.create(model=route, messages=question, stream=True))
            asked += 1

    def booked():
        with sqlite3.connect(f"file:{ladder.state_dir}/ledger.sqlite?mode=ro", uri=True, timeout=5) as db:
            n, cost = db.execute("SELECT count(*), sum(cost_nanousd) FROM requests").fetchone()
            return n == asked and cost, db.execute("SELECT sum(cost_nanousd) FROM attempts").fetchone()[0]
    total, attempts = wait_until(lambda: booked()[0] and booked(), 10, "the ledger")
    truth = fleet.get("/fleet/stats")["total"]
    assert total == attempts == truth["cost_nanousd"], truth

"""Thinking, where models differ in it.

A client of the anthropic SDK changes the model by name in the middle of a conversation: the thinking of the turns before is
signed by the model that thought, the next refuses it, and weir asks once more without. A client of the openai SDK asks for
effort: what Anthropic's models do not take beside it is refused by name, or answered by the next model.
"""

import json

import anthropic
import openai
import pytest
from anthropic import Anthropic
from openai import OpenAI

from test_anthropic_sdk import OTHER, THINK, accumulated, told
from test_dialects import TOOLS, WEATHER_QUESTION, anthropic_policy
from test_money import ledger, settled
from test_sdk import HELLO, MODEL, WEATHER
from weirproc import Weir

REFUSED = "messages.1.content.0: Invalid `signature` in `thinking` block"
ASK = {"max_tokens": 4096, "thinking": THINK}


def policy(url, state_dir, max_attempts):
    return anthropic_policy(url, state_dir).replace("max_attempts: 1", f"max_attempts: {max_attempts}, per_model: 1")


@pytest.fixture
def weir(calm, tmp_path):
    process = Weir(tmp_path, policy(calm.url, tmp_path / "state", 3))
    yield process
    process.stop()


@pytest.fixture
def claude(weir):
    with Anthropic(api_key="unused", base_url=weir.base, max_retries=0, timeout=120) as c:
        yield c


def asked(fleet):
    return [entry["body"] for entry in fleet.get("/fleet/log?n=50")]


def next_turn(first):
    return [*HELLO, {"role": "assistant", "content": first.content}, *HELLO]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
def test_the_next_model_answers_without_it(claude, weir, calm, streamed):
    first = claude.messages.create(model=MODEL, messages=HELLO, **ASK)
    signature = first.content[0].signature
    ask = {"model": OTHER, "messages": next_turn(first), **ASK}
    second = accumulated(claude, **ask) if streamed else claude.messages.create(**ask)
    assert second.model == OTHER and [b.type for b in second.content] == ["thinking", "text"]

    before, refused, mended = asked(calm)
    assert signature in refused and signature not in mended and "budget_tokens" in mended
    settled(weir, 2)
    booked = ledger(weir, "SELECT role, outcome, http_status, cost_nanousd > 0 AS paid FROM attempt_rows ORDER BY request, seq")
    assert [tuple(a.values()) for a in booked] == [
        ("serve", "ok", 200, 1), ("serve", "upstream_thinking", 400, 0), ("serve", "ok", 200, 1)]


def test_the_same_model_gets_its_own_back(claude, calm):
    first = claude.messages.create(model=MODEL, messages=HELLO, **ASK)
    claude.messages.create(model=MODEL, messages=next_turn(first), **ASK)
    assert len(asked(calm)) == 2 and first.content[0].signature in asked(calm)[1]


def test_in_a_tool_loop_the_wish_to_think_goes_too(claude, calm):
    """A turn that is under way must begin with its thinking, where a budget is asked for; there is none to begin with."""
    first = claude.messages.create(model=MODEL, messages=WEATHER_QUESTION, tools=TOOLS[:1], **ASK)
    assert [b.type for b in first.content] == ["thinking", "tool_use"]
    second = claude.beta.messages.create(
        model=OTHER, tools=TOOLS[:1], **ASK,
        context_management={"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        messages=[*WEATHER_QUESTION, {"role": "assistant", "content": first.content}, {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "21"}]}])
    assert second.stop_reason == "end_turn" and [b.type for b in second.content] == ["text"]
    assert "budget_tokens" not in asked(calm)[2] and "context_management" not in asked(calm)[2]


def test_only_once(claude, calm):
    calm.faults([{"kind": "status", "status": 400, "text": REFUSED}])
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        claude.messages.create(model=MODEL, messages=HELLO, **ASK)
    assert len(asked(calm)) == 2


@pytest.mark.parametrize("text", ["messages.1.content.0: Input should be a valid dictionary", "Invalid `signature` in `thinking` block",
                                  "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024"])
def test_other_refusals_are_final(claude, calm, text):
    calm.faults([{"kind": "status", "status": 400, "text": text}])
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model=MODEL, messages=HELLO, **ASK)
    assert len(asked(calm)) == 1


def test_not_beyond_the_limit_of_attempts(calm, tmp_path):
    weir = Weir(tmp_path, policy(calm.url, tmp_path / "state", 1))
    try:
        with Anthropic(api_key="unused", base_url=weir.base, max_retries=0) as c:
            first = c.messages.create(model=MODEL, messages=HELLO, **ASK)
            with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
                c.messages.create(model=OTHER, messages=next_turn(first), **ASK)
    finally:
        weir.stop()
    assert len(asked(calm)) == 2


def test_what_it_costs_is_what_a_conversation_without_thinking_costs(claude, calm):
    first = claude.messages.create(model=MODEL, messages=HELLO, **ASK)
    texts = [b for b in first.content if b.type == "text"]
    mended = claude.messages.create(model=OTHER, messages=next_turn(first), **ASK)
    plain = claude.messages.create(model=OTHER, **ASK, messages=[*HELLO, {"role": "assistant", "content": texts}, *HELLO])
    assert told(mended) == told(plain)


# ---- effort, asked for in OpenAI's dialect ----

def effort_policy(url, state_dir):
    return f"""
version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{state_dir}"}}
backends:
  claude: {{dialect: anthropic, url: "{url}"}}
  latest: {{dialect: anthropic, url: "{url}", anthropic_version: "2026-10-21"}}
  gpt: {{dialect: openai, url: "{url}"}}
models:
  budget: {{name: "{MODEL}", backend: claude, price: {{input: 1, output: 2}}}}
  adaptive: {{name: "{MODEL}", backend: claude, thinking: adaptive, price: {{input: 1, output: 2}}}}
  latest: {{name: "{MODEL}", backend: latest, thinking: adaptive, price: {{input: 1, output: 2}}}}
  plain: {{name: "{OTHER}", backend: gpt, price: {{input: 1, output: 2}}}}
routes:
  - {{name: budget, match: {{model: budget}}, cascade: [budget]}}
  - {{name: adaptive, match: {{model: adaptive}}, cascade: [adaptive]}}
  - {{name: latest, match: {{model: latest}}, cascade: [latest]}}
  - {{name: falls, match: {{model: auto}}, cascade: [budget], fallback: [plain]}}
"""


@pytest.fixture
def gpt(calm, tmp_path):
    process = Weir(tmp_path, effort_policy(calm.url, tmp_path / "state"))
    with OpenAI(api_key="unused", base_url=process.base + "/v1", max_retries=0, timeout=120) as c:
        yield c
    process.stop()


def effort(gpt, model, **more):
    return gpt.chat.completions.create(**{"model": model, "messages": HELLO, "max_tokens": 8000, "reasoning_effort": "high", **more})


def test_effort_becomes_what_the_model_takes(gpt, calm):
    assert effort(gpt, "budget").choices[0].message.content and effort(gpt, "adaptive").choices[0].message.content
    budget, adaptive = (json.loads(body) for body in asked(calm))
    assert budget["thinking"] == {"type": "enabled", "budget_tokens": 6400} and "output_config" not in budget
    assert adaptive["thinking"] == {"type": "adaptive"} and adaptive["output_config"] == {"effort": "high"}


@pytest.mark.parametrize("param, more", [
    ("temperature", {"temperature": 0.2}), ("top_p", {"top_p": 0.5}), ("top_k", {"extra_body": {"top_k": 5}}),
    ("tool_choice", {"tools": [WEATHER], "tool_choice": "required"}),
    ("tools[0].function.name", {"tools": [{"type": "function", "function": {"name": "files.read"}}]}),
    ("messages[0].tool_call_id", {"messages": [{"role": "tool", "tool_call_id": "a", "content": "x"}, *HELLO]}),
], ids=lambda v: v if isinstance(v, str) else "")
def test_what_would_be_refused_is_refused_by_name(gpt, calm, param, more):
    with pytest.raises(openai.BadRequestError) as refused:
        effort(gpt, "budget", **more)
    assert refused.value.param == param and refused.value.code == "unsupported_parameter"
    assert asked(calm) == []


def test_or_answered_by_the_next_model(gpt, calm):
    assert effort(gpt, "auto", temperature=0.2).model == OTHER
    assert [json.loads(body)["model"] for body in asked(calm)] == [OTHER]


def test_a_tool_can_be_forced_where_the_model_judges(gpt):
    reply = effort(gpt, "adaptive", tools=[WEATHER], tool_choice="required", temperature=1, top_p=0.95)
    assert [c.function.name for c in reply.choices[0].message.tool_calls] == ["get_weather"]


def test_a_version_without_sampling_parameters(gpt, calm):
    """2026-10-21 refuses them; those that say what happens anyway are left out, the others refused by name."""
    assert effort(gpt, "latest", temperature=1, top_p=1).choices[0].message.content
    (sent,) = (json.loads(body) for body in asked(calm))
    assert "temperature" not in sent and "top_p" not in sent and sent["thinking"] == {"type": "adaptive"}
    for name, value in (("temperature", 0.5), ("top_p", 0.95), ("top_k", 3)):
        with pytest.raises(openai.BadRequestError) as refused:
            gpt.chat.completions.create(model="latest", messages=HELLO, extra_body={name: value})
        assert refused.value.param == name
    assert len(asked(calm)) == 1

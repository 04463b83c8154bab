"""A client of the anthropic SDK changes the model by name in the middle of a conversation. The thinking of the turns before is
signed by the model that thought, and the next refuses it: weir asks once more without, and the conversation goes on."""

import anthropic
import pytest
from anthropic import Anthropic

from test_anthropic_sdk import OTHER, THINK, accumulated, told
from test_dialects import TOOLS, WEATHER_QUESTION, anthropic_policy
from test_money import ledger, settled
from test_sdk import HELLO, MODEL
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
    with Anthropic(api_key="unused", base_url=weir.base, max_retries=0, timeout=30) as c:
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

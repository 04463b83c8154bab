"""Twenty turns of an agent, two tools called in parallel in each, by every API and over every gateway, whole and streamed: the
transcript is the one of the same loop without weir."""

import json

import pytest
from anthropic import Anthropic
from openai import OpenAI

from test_dialects import TOOLS, gateway, over_anthropic, over_gateway  # noqa: F401
from test_sdk import MODEL, STOCK, WEATHER

TURNS = 20


class Chat:
    """The loop's side of POST /v1/chat/completions: a history in the API's shape, and what a reply says."""

    def __init__(self, base, streamed):
        self.client, self.streamed, self.history = OpenAI(api_key="unused", base_url=base + "/v1", max_retries=0, timeout=120), streamed, []

    def say(self, text):
        self.history.append({"role": "user", "content": text})

    def results(self, results):
        self.history += [{"role": "tool", "tool_call_id": call, "content": text} for call, text in results]

    def ask(self):
        """(text, [(id, name, arguments)]) of the model's turn, which is part of the history now."""
        ask = {"model": MODEL, "messages": self.history, "tools": [WEATHER, STOCK]}
        if self.streamed:
            with self.client.chat.completions.stream(**ask) as events:
                for _ in events:
                    pass
                message = events.get_final_completion().choices[0].message
        else:
            message = self.client.chat.completions.create(**ask).choices[0].message
        self.history.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        for call in self.history[-1].get("tool_calls", ()):
            call["function"].pop("parsed_arguments", None)
        return message.content or "", [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]


class Responses(Chat):
    def results(self, results):
        self.history += [{"type": "function_call_output", "call_id": call, "output": text} for call, text in results]

    def ask(self):
        ask = {"model": MODEL, "input": self.history, "tools": [{"type": "function", "strict": False, **t["function"]} for t in (WEATHER, STOCK)]}
        if self.streamed:
            *_, last = self.client.responses.create(**ask, stream=True)
            response = last.response
        else:
            response = self.client.responses.create(**ask)
        assert response.status == "completed"
        self.history += [item.model_dump(exclude_none=True) for item in response.output]
        return response.output_text, [(o.call_id, o.name, json.loads(o.arguments)) for o in response.output if o.type == "function_call"]


class Messages(Chat):
    def __init__(self, base, streamed):
        self.client, self.streamed, self.history = Anthropic(api_key="unused", base_url=base, max_retries=0, timeout=120), streamed, []

    def results(self, results):
        self.history.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": call, "content": text} for call, text in results]})

    def ask(self):
        ask = {"model": MODEL, "max_tokens": 300, "messages": self.history, "tools": TOOLS}
        if self.streamed:
            with self.client.messages.stream(**ask) as events:
                message = events.get_final_message()
        else:
            message = self.client.messages.create(**ask)
        self.history.append({"role": "assistant", "content": message.content})
        return ("".join(b.text for b in message.content if b.type == "text"),
                [(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"])


def transcript(agent):
    told, ids = [], set()
    for turn in range(TURNS):
        agent.say(f"Turn {turn}: the weather in Rome and the stock price of ACME, please.")
        text, calls = agent.ask()
        told.append((text, [(name, arguments) for _, name, arguments in calls]))
        ids |= {call for call, _, _ in calls}
        agent.results([(call, f"{name}: {turn}") for call, name, _ in calls])
        text, calls = agent.ask()
        assert text and not calls
        told.append((text, []))
    assert len(ids) == 2 * TURNS, "every call has an id of its own"
    return told


@pytest.fixture(scope="module")
def direct(fleet):
    fleet.reset()
    told = transcript(Chat(fleet.root, False))
    assert all([name for name, _ in calls] == ["get_weather", "get_stock"] for _, calls in told[::2])
    return told


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", [Chat, Responses, Messages])
def test_twenty_turns(gateway, direct, api, streamed):
    assert transcript(api(gateway.base, streamed)) == direct

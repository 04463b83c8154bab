"""Keys, refusals and waiting as each SDK for Python shows them, over a server of each dialect: what test_sdk_errors.py,
test_anthropic_sdk.py and test_openai_over_anthropic.py do not say of every SDK."""

import hashlib
import time

import anthropic
import openai
import pytest
from anthropic import Anthropic
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from openai import OpenAI

from conftest import KEY, fleet_policy
from matrix import covers
from test_dialects import anthropic_policy, gateway, over_anthropic, over_gateway  # noqa: F401
from test_sdk import HELLO, MODEL
from weirproc import Weir


class Sdk:
    """One SDK in front of one gateway. ask() is a question by its words; errors has its exceptions."""

    def __init__(self, name, base, key="unused", retries=0):
        self.errors = anthropic if "anthropic" in name else openai
        common = {"api_key": key, "max_retries": retries, "timeout": 120}
        if name == "langchain-openai":
            model = ChatOpenAI(model=MODEL, base_url=base + "/v1", **common)
            self.ask = lambda model_name=MODEL: model.bind(model=model_name).invoke("hello").text
        elif name == "langchain-anthropic":
            model = ChatAnthropic(model=MODEL, base_url=base, max_tokens=99, **common)
            self.ask = lambda model_name=MODEL: model.bind(model=model_name).invoke("hello").text
        elif name == "anthropic-py":
            c = Anthropic(base_url=base, **common)
            self.ask = lambda model_name=MODEL: c.messages.create(model=model_name, max_tokens=99, messages=HELLO).content[0].text
        elif name == "openai-py":
            c = OpenAI(base_url=base + "/v1", **common)
            self.ask = lambda model_name=MODEL: c.chat.completions.create(model=model_name, messages=HELLO).choices[0].message.content
        else:
            c = OpenAI(base_url=base + "/v1", **common)
            self.ask = lambda model_name=MODEL: c.responses.create(model=model_name, input="hello").output_text


SDKS = pytest.mark.parametrize("client", ["openai-py", "responses", "anthropic-py", "langchain-openai", "langchain-anthropic"])


@pytest.fixture(scope="module", params=["openai", "anthropic"])
def keyed(request, fleet, tmp_path_factory):
    """A gateway with one tenant before the fleet, in each of its dialects."""
    folder = tmp_path_factory.mktemp("keyed")
    policy = (fleet_policy if request.param == "openai" else anthropic_policy)(fleet.url, folder / "state")
    process = Weir(folder, policy + f"\ntenants:\n  acme: {{keys: [{{sha256: {hashlib.sha256(KEY.encode()).hexdigest()}}}]}}\n")
    yield process
    process.stop()


@covers("401")
@SDKS
def test_a_wrong_key_and_a_right_one(keyed, calm, client):
    wrong = Sdk(client, keyed.base, key="sk-wrong")
    with pytest.raises(wrong.errors.AuthenticationError):
        wrong.ask()
    assert not calm.get("/fleet/log")
    assert Sdk(client, keyed.base, key=KEY).ask()


@covers("404")
@SDKS
def test_a_model_that_is_not_there(gateway, client):
    sdk = Sdk(client, gateway.base)
    with pytest.raises(sdk.errors.NotFoundError) as missing:
        sdk.ask("no-such-model")
    assert "no-such-model" in str(missing.value)


@covers("403")
@SDKS
@pytest.mark.parametrize("status", [401, 403])
def test_a_server_that_refuses_the_gateways_key_is_not_the_clients_fault(gateway, calm, client, status):
    """The client's own key was right: an exception about permission would send its owner looking in the wrong place."""
    calm.faults([{"kind": "status", "status": status, "text": "sk-the-gateways-own-key"}])
    sdk = Sdk(client, gateway.base)
    with pytest.raises(sdk.errors.InternalServerError) as refused:
        sdk.ask()
    assert "credentials" in str(refused.value) and "sk-the-gateways" not in str(refused.value)


@covers("400", "429", "5xx")
@SDKS
@pytest.mark.parametrize("kind, error", [("context_length", "BadRequestError"), ("429", "RateLimitError"), ("500", "InternalServerError"),
                                         ("529", "InternalServerError")])
def test_typed_errors(gateway, calm, client, kind, error):
    calm.faults([{"kind": kind, "retry_after_s": 60}])
    sdk = Sdk(client, gateway.base)
    with pytest.raises(getattr(sdk.errors, error)) as caught:
        sdk.ask()
    assert kind != "429" or caught.value.response.headers["retry-after"] == "60"


@covers("retry")
@SDKS
def test_the_sdk_waits_as_it_is_told(gateway, calm, client):
    """The refusals outlast weir's own attempts."""
    calm.faults([{"kind": "429", "times": 2, "retry_after_ms": 600}])
    began = time.monotonic()
    assert Sdk(client, gateway.base, retries=3).ask()
    assert time.monotonic() - began > 0.5

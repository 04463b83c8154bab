"""What a client writes behind the path. Anthropic's API has flags there: they go on, unchanged, to a server that speaks its
dialect, and to no other; what clients of OpenAI's API write (Azure's api-version, say) was for weir's address alone."""

import pytest
from anthropic import Anthropic

from test_anthropic_sdk import last_request
from test_dialects import anthropic_policy, claude, gateway, over_anthropic, over_gateway  # noqa: F401
from test_sdk import HELLO, MODEL
from weirproc import Weir, http

MESSAGE = {"model": MODEL, "max_tokens": 50, "messages": HELLO}


def target(fleet):
    return last_request(fleet)[2]["target"]


def test_the_sdks_flag(claude, gateway, calm, over_anthropic):
    reply = claude.beta.messages.create(**MESSAGE, extra_query={"beta": "true"})
    assert reply.content[0].text
    assert target(calm) == ("/v1/messages?beta=true" if gateway is over_anthropic else "/v1/chat/completions")


@pytest.mark.parametrize("query", ["beta=true&x=%20%C3%A4&&y", "a=b?c=d", "=", "x" * 2000])
def test_any_other_to_the_letter(over_anthropic, calm, query):
    status, _, body = http("POST", f"{over_anthropic.base}/v1/messages?{query}", MESSAGE)
    assert status == 200, body
    assert target(calm) == f"/v1/messages?{query}"


def test_none_stays_none(over_anthropic, calm):
    assert http("POST", over_anthropic.base + "/v1/messages?", MESSAGE)[0] == 200
    assert target(calm) == "/v1/messages"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
def test_of_openais_api_none_goes_on(over_anthropic, weir_fleet, calm, path):
    body = {"model": MODEL, "input": "hello"} if path.endswith("responses") else {"model": MODEL, "messages": HELLO}
    for weir, upstream in ((over_anthropic, "/v1/messages"), (weir_fleet, "/v1/chat/completions")):
        status, _, reply = http("POST", f"{weir.base}{path}?beta=true&api-version=2024-10-21", body)
        assert status == 200, reply
        assert target(calm) == upstream


def test_on_every_attempt(calm, tmp_path):
    policy = anthropic_policy(calm.url, tmp_path / "state").replace(
        "max_attempts: 1", "max_attempts: 2, per_model: 2, backoff: {base: 1ms, max: 2ms}")
    weir = Weir(tmp_path, policy)
    try:
        calm.faults([{"kind": "529", "nth": [1]}])
        with Anthropic(api_key="unused", base_url=weir.base, max_retries=0) as c:
            assert c.messages.create(**MESSAGE, extra_query={"beta": "true"}).content[0].text
    finally:
        weir.stop()
    assert [e["target"] for e in calm.get("/fleet/log?n=9")] == 2 * ["/v1/messages?beta=true"]

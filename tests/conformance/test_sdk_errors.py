"""Typed errors, retries, time-outs and cancelling, as the official openai SDK for Python shows them to its users."""

import asyncio
import time

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from conftest import HASTY, KEY, fleet_policy
from matrix import covers
from weirproc import Weir, wait_until

MODEL = "gpt-4o-mini"
HELLO = [{"role": "user", "content": "hello"}]


def chat(client, **more):
    return client.chat.completions.create(**{"model": MODEL, "messages": HELLO, **more})


def test_authentication_error(weir_keys, upstream):
    with OpenAI(api_key="sk-wrong", base_url=weir_keys.base + "/v1", max_retries=0) as c:
        with pytest.raises(openai.AuthenticationError) as caught:
            chat(c, model="solo")
    assert caught.value.code == "invalid_api_key" and caught.value.request_id


def test_a_right_key_opens(weir_keys, upstream):
    with OpenAI(api_key=KEY, base_url=weir_keys.base + "/v1", max_retries=0) as c:
        assert chat(c, model="solo").choices[0].message.content == "hello"


@covers("404")
def test_not_found_error(client):
    with pytest.raises(openai.NotFoundError) as caught:
        chat(client, model="gpt-nonexistent")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"


@covers("400")
def test_bad_request_error(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages="not a list")
    assert caught.value.param == "messages" and caught.value.type == "invalid_request_error"


def test_context_length_keeps_its_code(client, calm):
    calm.faults([{"kind": "context_length"}])
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client)
    assert caught.value.code == "context_length_exceeded"


def test_content_filter_keeps_its_code(client, calm):
    calm.faults([{"kind": "content_filter"}])
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client)
    assert caught.value.code == "content_filter"


@covers("429")
def test_rate_limit_error(client, calm):
    calm.faults([{"kind": "429", "retry_after_s": 60}])
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client)
    assert caught.value.response.headers["retry-after"] == "60"


@covers("5xx")
@pytest.mark.parametrize("kind", ["500", "502", "503", "529", "wrong_json", "error_200", "truncated_body", "malformed_http", "reset", "close"])
def test_internal_server_error(client, calm, kind):
    calm.faults([{"kind": kind}])
    with pytest.raises(openai.InternalServerError) as caught:
        chat(client)
    assert caught.value.body["message"] and caught.value.status_code >= 500


@pytest.mark.parametrize("kind", ["cut", "reset_mid_body", "malformed_chunk", "error_event", "bad_chunk_size"])
def test_a_stream_that_is_not_whole_raises(client, calm, kind):
    calm.faults([{"kind": kind, "after": 2}])
    with pytest.raises(openai.APIError):
        for _ in chat(client, stream=True):
            pass


def test_a_stalled_stream_raises(calm, tmp_path):
    """weir ends it after a second's silence, long before the SDK would."""
    weir = Weir(tmp_path, fleet_policy(calm.url, tmp_path / "state", HASTY))
    try:
        calm.faults([{"kind": "stall", "after": 2}])
        with OpenAI(api_key="unused", base_url=weir.base + "/v1", max_retries=0, timeout=300) as c:
            with pytest.raises(openai.APIError) as caught:
                for _ in chat(c, stream=True):
                    pass
        assert not isinstance(caught.value, openai.APITimeoutError)
    finally:
        weir.stop()


def test_timeout_error(client, calm):
    calm.faults([{"kind": "silence"}])
    with pytest.raises(openai.APITimeoutError):
        chat(client.with_options(timeout=0.5))
    wait_until(lambda: not inflight(calm), 5, "the fleet to see the abort")


def test_connection_error():
    with OpenAI(api_key="x", base_url="http://127.0.0.1:9/v1", max_retries=0) as c:
        with pytest.raises(openai.APIConnectionError):
            chat(c)


# ---- retries by the SDK ----

def test_the_sdk_waits_as_it_is_told(weir_fleet, calm):
    """Three refusals outlast weir's two attempts; the SDK's own retry honours the Retry-After that weir passed on."""
    calm.faults([{"kind": "429", "nth": [1, 2], "retry_after_ms": 700}])
    with OpenAI(api_key="unused", base_url=weir_fleet.base + "/v1", max_retries=2) as c:
        began = time.monotonic()
        assert chat(c).choices
        assert time.monotonic() - began > 0.6


def test_one_failure_is_invisible(client, calm):
    calm.faults([{"kind": "500", "nth": [1]}])
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=HELLO)
    assert raw.headers["x-weir-attempts"] == "2"


# ---- cancelling ----

def inflight(fleet):
    return fleet.get("/fleet/inflight")


@covers("cancel")
def test_leaving_a_stream_stops_the_model(client, calm):
    calm.faults([{"kind": "slow_chunks", "delay_ms": 200}])
    stream = chat(client, stream=True, messages=[{"role": "user", "content": "Tell a long story, please. " * 20}])
    next(iter(stream))
    stream.close()
    wait_until(lambda: not inflight(calm), 2, "the fleet to see the abort")


def test_cancelling_before_the_first_byte_stops_the_model(weir_fleet, calm):
    calm.faults([{"kind": "silence"}])

    async def work():
        async with AsyncOpenAI(api_key="unused", base_url=weir_fleet.base + "/v1", max_retries=0) as c:
            task = asyncio.create_task(chat(c))
            await asyncio.to_thread(wait_until, lambda: inflight(calm), 5, "the request to reach the fleet")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(wait_until, lambda: not inflight(calm), 2, "the fleet to see the abort")

    asyncio.run(work())

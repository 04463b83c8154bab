"""Fields: what weir does not know passes byte for byte. Checklist: fields."""

import json

import pytest

from rawhttp import Client, request
from scripted import OK_REPLY, whole
from test_wire_http import CHAT, once

# Everything that a parse-and-print would change: number text, escapes, order, white space, duplicates, lone surrogates.
ODD = (b'{ "messages" : [ {"role":"user","content":"gr\\u00fc\\u00df \\ud83d\\ude00 \\/ \xf0\x9f\x98\x80"} ],\r\n\t"temperature":1.0,"top_p":1e-1,'
       b'"seed":12345678901234567890123,"x_float":0.10000000000000000555,"x_neg":-0,"x_exp":1E+2,"model":"solo","x_new":{"b":1,"a":[ ],"b":2},'
       b'"x_lone":"\\ud800","x_nul":"\\u0000","reasoning_effort":"high","service_tier":"flex","x":null,"" : true}')


def exchange(weir, data, path=CHAT):
    reply = once(weir, request("POST", path, data))
    assert reply.status == 200, reply.body
    return reply


def test_unknown_request_fields_and_number_text_survive(weir, upstream):
    exchange(weir, ODD)
    assert upstream.last.body == ODD.replace(b'"model":"solo"', b'"model":"up-solo"')


def test_unknown_reply_fields_and_number_text_survive(weir, upstream):
    odd = (b'{ "id":"x" ,"object":"chat.completion","created":1700000000,"model":"up-solo","system_fingerprint":null,"big":123456789012345678901234567890,'
           b'"f":1.50,"choices":[{"index":0,"message":{"role":"assistant","content":"\\u00e9\\/","reasoning_content":"why","refusal":null},'
           b'"finish_reason":"stop","x":{"a":1,"a":2}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2,"x_more":0.0}}\n')
    upstream.play(whole(odd))
    assert exchange(weir, b'{"model":"solo","messages":[]}').body == odd


def test_an_escaped_model_key_and_value(weir, upstream):
    exchange(weir, b'{"\\u006dodel":"so\\u006co","messages":[]}')
    assert upstream.last.json()["model"] == "up-solo"


def test_duplicate_models_cannot_smuggle_another_one(weir, upstream):
    exchange(weir, b'{"model":"large","messages":[],"model":"solo"}')
    assert upstream.last.body.count(b"up-solo") == 2 and b"large" not in upstream.last.body


def test_stream_options_keep_their_other_members(weir, upstream):
    from scripted import answer, stream

    upstream.play(stream(*answer("x")))
    exchange(weir, b'{"model":"solo","messages":[],"stream":true,"stream_options":{"x_new":1.0,"include_usage":false}}')
    assert b'"x_new":1.0' in upstream.last.body
    assert upstream.last.json()["stream_options"]["include_usage"] is True


@pytest.mark.parametrize("field", [
    '"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{}}}}],"tool_choice":"auto"',
    '"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object"}}}',
    '"n":2', '"stop":["a","b"]', '"seed":7', '"max_completion_tokens":5', '"parallel_tool_calls":false', '"reasoning_effort":"low"',
    '"logprobs":true,"top_logprobs":3', '"logit_bias":{"50256":-100}', '"user":"u"', '"metadata":{"a":"b"}', '"store":false',
    '"modalities":["text"]', '"prediction":{"type":"content","content":"x"}',
])
def test_known_fields_reach_the_upstream_untouched(weir, upstream, field):
    exchange(weir, ('{"model":"solo","messages":[],%s}' % field).encode())
    assert field.encode() in upstream.last.body


def test_logprobs_of_the_client_stay_in_the_reply(weir, upstream):
    lp = {"content": [{"token": "hi", "logprob": -0.1, "bytes": [104, 105], "top_logprobs": []}], "refusal": None}
    upstream.play(whole({**OK_REPLY, "choices": [{**OK_REPLY["choices"][0], "logprobs": lp}]}))
    assert json.loads(exchange(weir, b'{"model":"solo","messages":[],"logprobs":true}').body)["choices"][0]["logprobs"] == lp


def test_image_parts_pass(weir, upstream):
    data = (b'{"model":"solo","messages":[{"role":"user","content":[{"type":"text","text":"what?"},'
            b'{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo=","detail":"low"}}]}]}')
    exchange(weir, data)
    assert upstream.last.body == data.replace(b'"solo"', b'"up-solo"')


def test_aliases_routes_and_models_are_all_names(weir, upstream):
    for name, upstream_name in (("auto", "up-small"), ("smart", "up-small"), ("small", "up-small"), ("solo", "up-solo")):
        exchange(weir, json.dumps({"model": name, "messages": []}).encode())
        assert upstream.last.json()["model"] == upstream_name


def test_completions(weir, upstream):
    reply = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up-solo",
             "choices": [{"text": "x", "index": 0, "logprobs": None, "finish_reason": "stop"}],
             "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    upstream.play(whole(reply))
    assert json.loads(exchange(weir, b'{"model":"solo","prompt":"p","suffix":"s"}', "/v1/completions").body) == reply
    assert upstream.last.target == "/v1/completions" and b'"suffix":"s"' in upstream.last.body


@pytest.mark.parametrize("value", ['"text"', '["a","b"]', "[1,2,3]", "[[1,2],[3]]"])
def test_embeddings_inputs_of_every_kind(weir, upstream, value):
    reply = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1, -0.2]}], "model": "up-embed",
             "usage": {"prompt_tokens": 4, "total_tokens": 4}}
    upstream.play(whole(reply))
    data = f'{{"model":"embed","input":{value},"encoding_format":"float","dimensions":2}}'.encode()
    got = exchange(weir, data, "/v1/embeddings")
    assert json.loads(got.body) == reply
    assert float(got.get("x-weir-cost-usd")) == pytest.approx(4 * 0.02 / 1e6)
    assert upstream.last.target == "/v1/embeddings" and f'"input":{value}'.encode() in upstream.last.body


def test_an_empty_messages_list_is_the_upstreams_to_judge(weir, upstream):
    exchange(weir, b'{"model":"solo","messages":[]}')
    assert upstream.seen


def test_utf8_model_names_are_compared_as_text(weir, upstream):
    with Client(weir.address) as c:
        c.send(request("POST", CHAT, '{"model":"größe","messages":[]}'.encode()))
        reply = c.reply()
    assert reply.status == 404 and "größe" in json.loads(reply.body)["error"]["message"]

"""The replay fleet in Anthropic's dialect: messages, streams event by event, refusals, faults, the account."""
import gzip
import json

import pytest

from test_fleet import CHAT, TEXTS, WEATHER, Fleet, fleet, server, tmp  # noqa: F401 (fixtures)

MESSAGES = "/v1/messages"
VERSION = {"anthropic-version": "2023-06-01"}
TOOLS = [{"name": "get_weather", "description": "w", "input_schema": WEATHER["function"]["parameters"]},
         {"name": "time_in_zone", "input_schema": {"type": "object", "properties": {"zone": {"type": "string"}}}}]


def ask(f, text="hello", fault=None, headers=None, **more):
    body = {"model": "big", "max_tokens": 4096, "messages": [{"role": "user", "content": text}], **more}
    return f.request("POST", MESSAGES, body, {**VERSION, **({"x-fleet-fault": fault} if fault else {}), **(headers or {})})


def answer(f, *args, **more):
    status, _, raw = ask(f, *args, **more)
    assert status == 200, raw
    return json.loads(raw)


def parse(raw):
    """(name, data) of each event."""
    events = []
    for block in raw.replace(b"\r\n", b"\n").split(b"\n\n"):
        name = [line[6:].strip() for line in block.split(b"\n") if line.startswith(b"event:")]
        data = [line[5:].lstrip(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        if data:
            events.append((name[0].decode(), json.loads(b"\n".join(data))))
    return events


def stream(f, *args, **more):
    status, head, raw = ask(f, *args, stream=True, **more)
    assert status == 200 and head["content-type"].startswith("text/event-stream")
    return parse(raw)


def built(events):
    """The message that a stream tells, by the rules of the SDKs; strict about the order of events."""
    (first, start), *rest = events
    assert first == "message_start"
    message, open_block, json_text = {**start["message"], "content": []}, None, ""
    for name, e in rest:
        assert e["type"] == name
        if name == "content_block_start":
            assert open_block is None and e["index"] == len(message["content"])
            open_block, json_text = dict(e["content_block"]), ""
            message["content"].append(open_block)
        elif name == "content_block_delta":
            d = e["delta"]
            kind = d["type"].removesuffix("_delta")
            assert e["index"] == len(message["content"]) - 1
            assert open_block["type"] == {"input_json": "tool_use", "signature": "thinking"}.get(kind, kind)
            if kind == "input_json":
                json_text += d["partial_json"]
            else:
                open_block[kind] += d[kind]
        elif name == "content_block_stop":
            if open_block["type"] == "tool_use":
                open_block["input"] = json.loads(json_text)
            open_block = None
        elif name == "message_delta":
            assert open_block is None
            message.update(e["delta"])
            message["usage"] = e["usage"]
        else:
            assert name in ("ping", "message_stop")
    assert rest[-1][0] == "message_stop"
    return message


def same(a, b):
    """Equal but for what every answer has of its own."""
    def strip(m):
        return {**{k: v for k, v in m.items() if k != "id"}, "content": [{k: v for k, v in c.items() if k != "id"} for c in m["content"]]}
    return strip(a) == strip(b)


# ---- answers ----

def test_message(fleet):
    m = answer(fleet, "What is 2+2?")
    assert (m["type"], m["role"], m["model"], m["stop_reason"], m["stop_sequence"]) == ("message", "assistant", "big", "end_turn", None)
    assert m["content"] == [{"type": "text", "text": "4"}] and m["id"].startswith("msg_")
    assert (m["usage"]["input_tokens"], m["usage"]["output_tokens"]) == (12, 1)
    status, head, _ = ask(fleet)
    assert head["request-id"].startswith("req_") and head["anthropic-ratelimit-requests-remaining"] and "openai-version" not in head


def test_both_dialects_answer_and_count_alike(fleet):
    for text in ("hello", "What is 2+2?", "Überlänge?"):
        a, o = answer(fleet, text), fleet.answer(text)
        assert a["content"][0]["text"] == o["choices"][0]["message"]["content"]
        assert (a["usage"]["input_tokens"], a["usage"]["output_tokens"]) == (o["usage"]["prompt_tokens"], o["usage"]["completion_tokens"])
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    a = answer(fleet, system=[{"type": "text", "text": "Be brief."}], messages=[*history, {"role": "user", "content": [
        {"type": "text", "text": "thr"}, {"type": "text", "text": "ee"}]}])
    status, o = fleet.json("POST", CHAT, {"model": "big", "messages": [
        {"role": "system", "content": "Be brief."}, *history, {"role": "user", "content": "three"}]})
    assert a["usage"]["input_tokens"] == o["usage"]["prompt_tokens"] and "three" in a["content"][0]["text"]


def test_later_instructions(fleet):
    messages = [{"role": "user", "content": "one"}, {"role": "system", "content": "Be brief."}, {"role": "assistant", "content": "two"},
                {"role": "user", "content": "three"}, {"role": "system", "content": [{"type": "text", "text": "Be kind."}]}]
    assert "three" in answer(fleet, messages=messages)["content"][0]["text"]


def test_stream_is_the_whole_message(fleet):
    for more in ({}, {"text": "Überlänge?"}, {"tools": TOOLS, "text": "weather and time"}, {"max_tokens": 3},
                 {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"stop_sequences": ["replay"]}):
        events = stream(fleet, **more)
        assert same(built(events), answer(fleet, **more)), more
        assert [name for name, _ in events][:3] == ["message_start", "content_block_start", "ping"]
        assert [name for name, _ in events][-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert events[0][1]["message"]["usage"]["output_tokens"] <= 1


def test_stop_reasons(fleet):
    full = answer(fleet)["content"][0]["text"]
    m = answer(fleet, stop_sequences=["zzz", "replay", "fleet"])
    assert (m["stop_reason"], m["stop_sequence"], m["content"][0]["text"]) == ("stop_sequence", "replay", full.split("replay")[0])
    m = answer(fleet, max_tokens=2)
    assert (m["stop_reason"], m["usage"]["output_tokens"], m["stop_sequence"]) == ("max_tokens", 2, None)


def test_tools(fleet):
    m = answer(fleet, "weather and time", tools=TOOLS)
    assert m["stop_reason"] == "tool_use" and [b["name"] for b in m["content"]] == ["get_weather", "time_in_zone"]
    assert m["content"][0]["input"] == {"city": "Paris", "unit": "c", "days": 2} and m["content"][0]["id"] != m["content"][1]["id"]
    one = answer(fleet, "weather and time", tools=TOOLS, tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert len(one["content"]) == 1
    for choice, name in (({"type": "any"}, "get_weather"), ({"type": "tool", "name": "time_in_zone"}, "time_in_zone")):
        assert [b["name"] for b in answer(fleet, "x", tools=TOOLS, tool_choice=choice)["content"]] == [name]
    assert answer(fleet, "weather", tools=TOOLS, tool_choice={"type": "none"})["stop_reason"] == "end_turn"
    results = [{"type": "tool_result", "tool_use_id": b["id"], "content": "21"} for b in m["content"]]
    messages = [{"role": "user", "content": "weather and time"}, {"role": "assistant", "content": m["content"]},
                {"role": "user", "content": results}]
    assert answer(fleet, tools=TOOLS, messages=messages)["stop_reason"] == "end_turn"
    results.append({"type": "text", "text": "And the weather again?"})
    assert answer(fleet, tools=TOOLS, messages=messages)["stop_reason"] == "tool_use"


def test_tool_input_comes_in_fragments(fleet):
    deltas = [e["delta"]["partial_json"] for name, e in stream(fleet, "weather", tools=TOOLS) if name == "content_block_delta"]
    assert deltas[0] == "" and len(deltas) > 4


def test_thinking(fleet):
    budget = {"type": "enabled", "budget_tokens": 1024}
    for wish in (budget, {"type": "adaptive"}):
        m = answer(fleet, thinking=wish)
        thought, text = m["content"]
        assert thought["type"] == "thinking" and "hello" in thought["thinking"] and thought["signature"] and text["type"] == "text"
        details = m["usage"]["output_tokens_details"]["thinking_tokens"]
        assert 0 < details < m["usage"]["output_tokens"]
        assert fleet.stats()["tokens"]["reasoning"] > 0
    assert len(answer(fleet, thinking={"type": "disabled"})["content"]) == 1
    call = answer(fleet, "weather", thinking=budget, tools=TOOLS)
    assert [b["type"] for b in call["content"]] == ["thinking", "tool_use"]

    def turn(content, model="big", thinking=budget):
        messages = [{"role": "user", "content": "weather"}, {"role": "assistant", "content": content},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call["content"][1]["id"], "content": "21"}]}]
        status, _, raw = ask(fleet, tools=TOOLS, model=model, messages=messages, thinking=thinking)
        return status, raw.decode()
    assert turn(call["content"])[0] == 200
    forged = [{**call["content"][0], "thinking": "something else"}, call["content"][1]]
    for status, raw in (turn(forged), turn(call["content"], model="small")):
        assert status == 400 and "Invalid `signature`" in raw
    status, raw = turn(call["content"][1:])
    assert status == 400 and "Expected `thinking`" in raw
    assert turn(call["content"][1:], thinking={"type": "adaptive"})[0] == 200


def test_structured_output_and_images(fleet):
    schema = {"type": "object", "required": ["ok", "answer"], "properties": {"ok": {"type": "boolean"}, "answer": {"type": "string"}}}
    m = answer(fleet, output_config={"format": {"type": "json_schema", "schema": schema}})
    said = json.loads(m["content"][0]["text"])
    assert said["ok"] is True and "hello" in said["answer"]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
    url = {"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}}
    text = {"type": "text", "text": "What is 2+2?"}
    m = answer(fleet, [image, url, text])
    assert m["content"][0]["text"] == "4" and m["usage"]["input_tokens"] == 2 * 85 + 3


def test_count_tokens_and_models(fleet):
    body = {"model": "big", "messages": [{"role": "user", "content": "hello"}], "tools": TOOLS}
    assert fleet.json("POST", MESSAGES + "/count_tokens", body, VERSION) == (200, {"input_tokens": 2})
    assert fleet.json("POST", MESSAGES + "/count_tokens", {**body, "model": "none"}, VERSION)[0] == 404
    assert fleet.stats()["requests"] == 0
    status, listed = fleet.json("GET", "/v1/models?limit=1000", headers=VERSION)
    assert [m["id"] for m in listed["data"]] == ["small", "big", "narrow"] and listed["has_more"] is False
    assert (listed["first_id"], listed["last_id"], listed["data"][0]["type"]) == ("small", "narrow", "model")
    assert fleet.json("GET", "/v1/models/big", headers=VERSION)[1]["display_name"] == "big"
    status, e = fleet.json("GET", "/v1/models/none", headers=VERSION)
    assert status == 404 and e["error"]["type"] == "not_found_error"


# ---- refusals ----

def user(*blocks):
    return {"role": "user", "content": list(blocks)}


CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}
ASSISTANT = {"role": "assistant", "content": [CALL]}
WORD = {"type": "text", "text": "x"}


@pytest.mark.parametrize("change, words", [
    ({"max_tokens": None}, "max_tokens: Field required"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": None}, "messages: Field required"),
    ({"messages": []}, "at least one message"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
    ({"messages": [{"role": "system", "content": "x"}]}, "must follow a user"),
    ({"messages": [user(WORD), {"role": "system", "content": [{"type": "image"}]}]}, "system"),
    ({"messages": [{"role": "user", "content": ""}]}, "non-empty"),
    ({"messages": [user()]}, "non-empty"),
    ({"messages": [user({"type": "text", "text": " \n"})]}, "non-whitespace"),
    ({"messages": [user({"type": "image_url", "image_url": {"url": "data:,"}})]}, "'image_url'"),
    ({"messages": [user({"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": "aa"}})]}, "media_type"),
    ({"messages": [user({"type": "image", "source": {"type": "url", "url": "data:image/png;base64,aa"}})]}, "HTTP(S)"),
    ({"messages": [user(CALL)]}, "'tool_use'"),
    ({"messages": [user(WORD), ASSISTANT]}, "without `tool_result`"),
    ({"messages": [user(WORD), ASSISTANT, user(WORD)]}, "without `tool_result`"),
    ({"messages": [user(WORD), ASSISTANT, user(WORD, RESULT)]}, "come first"),
    ({"messages": [user(WORD), ASSISTANT, user(RESULT, RESULT)]}, "unexpected `tool_use_id`"),
    ({"messages": [user(RESULT)]}, "unexpected `tool_use_id`"),
    ({"messages": [user(WORD), {"role": "assistant", "content": [{**CALL, "id": "a b"}]}, user(RESULT)]}, "tool_use.id"),
    ({"messages": [user(WORD), {"role": "assistant", "content": [{**CALL, "input": "{}"}]}, user(RESULT)]}, "tool_use.input"),
    ({"messages": [user(WORD), {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}]}, "signature"),
    ({"system": [{"type": "text", "text": ""}]}, "system"),
    ({"temperature": 1.5}, "temperature"),
    ({"stream": "yes"}, "stream"),
    ({"stop_sequences": "x"}, "stop_sequences"),
    ({"stop_sequences": [" "]}, "non-whitespace"),
    ({"tools": [{"name": "a.b", "input_schema": {"type": "object"}}]}, "tools.0"),
    ({"tools": [{"name": "a", "input_schema": {}}]}, "input_schema"),
    ({"tools": TOOLS + TOOLS}, "unique"),
    ({"tool_choice": {"type": "auto"}}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": "auto"}, "tool_choice"),
    ({"tools": TOOLS, "tool_choice": {"type": "required"}}, "tool_choice.type"),
    ({"tools": TOOLS, "tool_choice": {"type": "tool", "name": "nope"}}, "not found"),
    ({"thinking": {"type": "enabled", "budget_tokens": 100}}, "budget_tokens"),
    ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "greater than"),
    ({"thinking": {"type": "on"}}, "thinking.type"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 0.5}, "temperature"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": TOOLS, "tool_choice": {"type": "any"}}, "forces tool use"),
    ({"output_config": {"format": {"type": "json_object"}}}, "json_schema"),
    ({"model": "narrow", "messages": [{"role": "user", "content": "x" * 100}]}, "prompt is too long: 25 tokens > 20 maximum"),
])
def test_refusals(fleet, change, words):
    body = {"model": "big", "max_tokens": 4096, "messages": [{"role": "user", "content": "x"}], **change}
    status, e = fleet.json("POST", MESSAGES, {k: v for k, v in body.items() if v is not None}, VERSION)
    assert status == 400 and e["type"] == "error" and e["request_id"].startswith("req_")
    assert e["error"]["type"] == "invalid_request_error" and words in e["error"]["message"]


def test_hostile_bodies(fleet):
    head = b'{"model":"big","max_tokens":9,"messages":['
    for body in (b"", b"{", b"[]", b"null", head + b"1]}", head + b"[]]}", head + b'{"role":"user","content":[1,[],{}]}]}',
                 head + b'{"role":"user","content":{"a":1}}]}', head + b'{"role":1,"content":"x"}]}',
                 head + b'{"role":"user","content":[{"type":"tool_result","tool_use_id":1}]}]}',
                 head + b'{"role":"user","content":"x"}],"tools":[1],"tool_choice":[]}',
                 head + b'{"role":"user","content":"x"}],"tool_choice":{"type":1},"tools":[]}',
                 head + b'{"role":"user","content":"x"}],"thinking":1}', head + b'{"role":"user","content":"x"}],"system":[1]}'):
        status, e = fleet.json("POST", MESSAGES, body, VERSION)
        assert status == 400 and e["error"]["type"] == "invalid_request_error", body
    assert ask(fleet, "\ud800 \u0000 \U0001f600".encode("utf-8", "surrogatepass").decode("utf-8", "replace"))[0] == 200
    status, raw = fleet.json("POST", MESSAGES, head + rb'{"role":"user","content":"\ud800 \u0000"}]}', VERSION)
    assert status == 200


def test_version_key_and_model(fleet, tmp):
    for headers in ({}, {"anthropic-version": "2022-01-01"}):
        status, e = fleet.json("POST", MESSAGES, {"model": "big"}, headers)
        assert status == 400 and "anthropic-version" in e["error"]["message"]
    status, _, raw = ask(fleet, model="none")
    assert status == 404 and json.loads(raw)["error"]["type"] == "not_found_error"
    latest = {"anthropic-version": "2026-10-21"}
    assert ask(fleet, headers=latest)[0] == 200
    cited = [{"type": "text", "text": "x", "citations": [{"type": "char_location"}]}]
    for more in ({"temperature": 1}, {"top_p": 1}, {"top_k": 5}, {"text": cited}):
        assert ask(fleet, **more)[0] == 200 and ask(fleet, headers=latest, **more)[0] == 400
    f = Fleet(tmp, "--model", "big", "--api-key", "sk-right")
    try:
        for headers in ({}, {"x-api-key": "sk-wrong"}, {"Authorization": "Bearer sk-wrong"}):
            status, _, raw = ask(f, headers=headers)
            assert status == 401 and json.loads(raw)["error"]["type"] == "authentication_error"
        for headers in ({"x-api-key": "sk-right"}, {"Authorization": "Bearer sk-right"}):
            assert ask(f, headers=headers)[0] == 200
        assert f.request("GET", "/v1/models", headers={**VERSION, "x-api-key": "sk-right"})[0] == 200
    finally:
        f.stop()


# ---- faults ----

@pytest.mark.parametrize("fault, status, kind", [
    ("429", 429, "rate_limit_error"), ("529", 529, "overloaded_error"), ("500", 500, "api_error"), ("502", 502, "api_error"),
    ("403", 403, "permission_error"), ("413", 413, "request_too_large"), ("504", 504, "timeout_error"),
    ("quota", 400, "invalid_request_error"), ("content_filter", 400, "invalid_request_error"), ("error_200", 200, "api_error"),
    ("context_length", 400, "invalid_request_error")])
def test_refusing_faults(fleet, fault, status, kind):
    for streamed in (False, True):
        got, head, raw = ask(fleet, fault=fault, stream=streamed)
        assert got == status and json.loads(raw)["error"]["type"] == kind
    assert fleet.stats()["refused"] == 2 and fleet.stats()["cost_nanousd"] == 0
    assert ask(fleet, fault="429;retry_after_s=7")[1]["retry-after"] == "7"


def test_broken_streams(fleet):
    assert [n for n, _ in stream(fleet, fault="no_done")][-1] == "message_delta"
    assert stream(fleet, fault="no_finish")[-2][1]["delta"]["stop_reason"] is None
    for fault, kind in (("error_event;after=4;text=boom", "api_error"), ("error_event;after=4;status=529;text=boom", "overloaded_error")):
        events = stream(fleet, fault=fault)
        assert len(events) == 5 and events[4][0] == "error"
        assert (events[4][1]["error"]["type"], events[4][1]["error"]["message"]) == (kind, "boom")
    _, _, raw = ask(fleet, stream=True, fault="malformed_chunk;after=4")
    with pytest.raises(ValueError):
        parse(raw)
    assert b"event: message_stop" in raw


def test_odd_but_legal_streams(fleet):
    plain = answer(fleet)
    for fault in ("one_byte", "crlf", "no_space", "split_data", "one_byte, crlf, split_data", "gzip", "http10", "usage_in_last",
                  'extra;text="x_big":123456789012345678901234567890.10'):
        status, head, raw = ask(fleet, stream=True, fault=fault)
        events = parse(gzip.decompress(raw) if fault == "gzip" else raw)
        assert same(built(events), plain), fault
        assert (events[0][1]["message"]["usage"]["input_tokens"] == 0) == (fault == "usage_in_last")
        assert ("x_big" in events[5][1]) == fault.startswith("extra")
    assert "usage" not in answer(fleet, fault="no_usage")
    events = stream(fleet, fault="no_usage")
    assert not any("usage" in e or "usage" in e.get("message", {}) for _, e in events)
    assert len(answer(fleet, fault="huge;bytes=3000000", max_tokens=10 ** 7)["content"][0]["text"]) == 3000000


# ---- the account ----

def test_usage_and_cost(fleet):
    m = answer(fleet, "What is 2+2?", fault="usage;cached=4;cache_write=3;reasoning=9")
    u = m["usage"]
    assert (u["input_tokens"], u["cache_read_input_tokens"], u["cache_creation_input_tokens"], u["output_tokens"]) == (5, 4, 3, 10)
    assert u["cache_creation"] == {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 0}
    s = fleet.stats()
    assert s["tokens"] == {"input": 5, "cached_input": 4, "cache_write": 3, "output": 1, "reasoning": 9}
    assert s["cost_nanousd"] == 12 * 3000 + 10 * 15000 and s["completed"] == 1


def test_what_was_sent_is_billed(fleet):
    ask_raw = {"model": "big", "max_tokens": 100, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    with pytest.raises(Exception):
        fleet.request("POST", MESSAGES, ask_raw, {**VERSION, "x-fleet-fault": "cut;after=6"})
    fleet.until(lambda: fleet.stats()["faulted"] == 1)
    s = fleet.stats()  # start, block start, ping, then three tokens
    assert (s["streams"], s["tokens"]["output"], s["cost_nanousd"]) == (1, 3, s["tokens"]["input"] * 3000 + 3 * 15000)


def test_recorded_text(fleet):
    assert answer(fleet, "Überlänge?")["content"][0]["text"] == TEXTS[1]["x"][0]

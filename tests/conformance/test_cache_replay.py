"""An answer that was given before is given again: to clients of every API, whole and streamed, from both stores; and never
when it should not be."""

import http.client
import json
import shutil
import subprocess
import threading
import time

import anthropic
import openai
import pytest

from conftest import PATIENT
from scripted import OK_REPLY, ROLE, Upstream, answer, chunk, error, event, raw, stream, usage_chunk, whole
from test_accounting import cost, rows
from weirproc import Redis, Weir, build_dir, http as ask_http, slowness, wait_until

KEY_A, KEY_B = "sk-weir-cache-a", "sk-weir-cache-b"


def policy(url, folder, cache="{}", dialect="openai", extra="", workers=2, tenants=False, route="", server=""):
    import hashlib
    keys = "" if not tenants else "tenants:\n" + "".join(
        f"  {name}: {{keys: [{{sha256: \"{hashlib.sha256(key.encode()).hexdigest()}\"}}]{admin}}}\n"
        for name, key, admin in (("a", KEY_A, ""), ("b", KEY_B, ""), ("root", "sk-weir-cache-root", ", admin: true")))
    return f"""version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: {workers}, state_dir: "{folder}/state", drain: 60s{server}}}
backends:
  up: {{dialect: {dialect}, url: "{url}", timeouts: {{{PATIENT}}}}}
models:
  m: {{backend: up, price: {{input: 1.00, output: 4.00}}}}
retry: {{max_attempts: 1, per_model: 1}}
cache: {cache}
{keys}routes:
  - name: r
    match: {{model: [m, auto]}}
    cascade: [m]
{route}{extra}"""


@pytest.fixture(scope="module")
def upstream():
    up = Upstream()
    yield up
    up.close()


@pytest.fixture(scope="module", params=["embedded", "redis"])
def weir(request, upstream, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    cache, redis = "{}", None
    if request.param == "redis":
        if not shutil.which("redis-server"):
            pytest.skip("no redis-server")
        redis = Redis(folder)
        cache = f'{{store: redis, redis: {{url: "unix:{redis.socket}", budget: 1s}}}}'
    process = Weir(folder, policy(upstream.url, folder, cache))
    yield process
    process.stop()
    if redis:
        redis.stop()


counter = [0]


def fresh(text="What is the capital of France?"):
    """A question that nobody has asked before."""
    counter[0] += 1
    return f"{text} ({counter[0]} {time.monotonic_ns()})"


def chat(weir, text, headers=None, **more):
    status, head, body = ask_http("POST", weir.base + "/v1/chat/completions",
                                  {"model": "auto", "messages": [{"role": "user", "content": text}], **more}, headers)
    return status, head, body


def said(head):
    return head.get("x-weir-cache")


def states(weir):
    return sorted(r["state"] for r in json.loads(ask_http("GET", weir.admin + "/admin/requests")[2])["requests"])


def kept(weir, before):
    """Waits until one more answer has been offered to the cache."""
    wait_until(lambda: facts(weir)["puts"] > before, 5, "an answer to be kept")


def facts(weir):
    status, _, body = ask_http("GET", weir.admin + "/admin/cache")
    assert status == 200, body
    return json.loads(body)


def prime(weir, text, **more):
    """Asks a model; the answer is in the cache afterwards."""
    before = facts(weir)["puts"]
    status, head, body = chat(weir, text, **more)
    assert (status, said(head)) == (200, "miss"), (status, dict(head), body)
    kept(weir, before)
    return head, body


def test_a_repeat_is_a_hit_at_no_cost(weir, upstream):
    upstream.reset()
    text = fresh()
    first, first_body = prime(weir, text)
    status, head, body = chat(weir, text)
    assert status == 200 and said(head) == "hit" and int(head["age"]) >= 0 and len(upstream.seen) == 1
    a, b = json.loads(first_body), json.loads(body)
    assert b["id"] != a["id"] and b["id"].startswith("chatcmpl-") and b["created"] >= a["created"]
    assert (b["choices"], b["usage"], b["model"]) == (a["choices"], a["usage"], a["model"])
    assert head["x-weir-model"] == "m" and float(head["x-weir-cost-usd"]) == 0 and head["x-weir-attempts"] == "0"
    booked, attempts = rows(weir, head["x-request-id"])
    assert cost(booked) == 0 and booked["cache"] == "hit" and booked["cache_entry"] != 0 and booked["served_model"] == "m"
    assert booked["saved_nanousd"] == pytest.approx(float(first["x-weir-cost-usd"]) * 1e9)
    assert [(x["role"], x["model"], cost(x), x["served"]) for x in attempts] == [("cache", "m", 0, 1)]
    booked, _ = rows(weir, first["x-request-id"])
    assert booked["cache"] == "miss" and booked["saved_nanousd"] == 0


def test_what_cannot_change_an_answer_does_not_matter(weir, upstream):
    upstream.reset()
    text = fresh()
    prime(weir, text, user="u1", metadata={"a": "1"})
    status, head, _ = ask_http("POST", weir.base + "/v1/chat/completions", json.dumps(
        {"messages": [{"content": text, "role": "user"}], "model": "m"}, indent=2).encode(), {"Content-Type": "application/json"})
    assert status == 200 and said(head) == "hit" and len(upstream.seen) == 1
    for other in ({"temperature": 0}, {"max_tokens": 5}, {"tools": []}, {"seed": 1}, {"an_unknown_member": 1}):
        _, head, _ = chat(weir, text, **other)
        assert said(head) == "miss", other


def test_the_same_last_words_elsewhere_are_another_question(weir, upstream):
    """How caches of others were made to serve a planted or a foreign answer: what the key left out."""
    upstream.reset()
    text = fresh("Is it safe?")
    prime(weir, text)
    ask = {"role": "user", "content": text}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    others = [
        {"messages": [{"role": "system", "content": "Say yes to everything."}, ask]},
        {"messages": [{"role": "user", "content": "Drink bleach?"}, {"role": "assistant", "content": "Hm."}, ask]},
        {"messages": [ask], "tools": [tool]},
        {"messages": [ask], "tools": [tool], "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"messages": [ask], "response_format": {"type": "json_object"}},
        {"messages": [{**ask, "name": "root"}]},
        {"messages": [{"role": "user", "content": text + " "}]},
        {"messages": [{"role": "user", "content": text.upper()}]},
        {"messages": [ask], "stop": ["a"]},
        {"messages": [ask], "n": 2},
    ]
    for other in others:
        _, head, _ = ask_http("POST", weir.base + "/v1/chat/completions", {"model": "auto", **other})
        assert said(head) == "miss", other
    for name in ("OpenAI-Beta", "OpenAI-Project", "anthropic-beta"):
        assert said(chat(weir, text, {name: "x"})[1]) == "miss", name
    # A body that says a member twice: the one that counts must be the one that was compared.
    twice = json.dumps({"model": "auto", "messages": [ask]})[:-1] + ', "messages": [{"role": "user", "content": "other"}]}'
    _, head, _ = ask_http("POST", weir.base + "/v1/chat/completions", twice.encode(), {"Content-Type": "application/json"})
    assert said(head) == "miss"


@pytest.mark.parametrize("first", ["whole", "stream"])
@pytest.mark.parametrize("again", ["whole", "stream"])
def test_chat_through_the_sdk(weir, upstream, first, again):
    client = openai.OpenAI(base_url=weir.base + "/v1", api_key="none", max_retries=0)
    text = fresh("Greet me")
    if first == "stream":
        upstream.play(stream(*answer("Grüße, ", "\"friend\" ", "😀")))
    else:
        upstream.play(whole({**OK_REPLY, "choices": [{"index": 0, "message": {"role": "assistant",
                             "content": "Grüße, \"friend\" 😀"}, "logprobs": None, "finish_reason": "stop"}]}))

    def ask(how):
        messages = [{"role": "user", "content": text}]
        if how == "whole":
            got = client.chat.completions.with_raw_response.create(model="auto", messages=messages)
            reply = got.parse()
            return said(got.headers), reply.choices[0].message.content, reply.choices[0].finish_reason, reply.usage
        with client.chat.completions.with_streaming_response.create(model="auto", messages=messages, stream=True,
                                                                    stream_options={"include_usage": True}) as got:
            content, finish, usage, ids = "", None, None, set()
            for part in got.parse():
                ids.add(part.id)
                usage = part.usage or usage
                for choice in part.choices:
                    content += choice.delta.content or ""
                    finish = choice.finish_reason or finish
            assert len(ids) == 1
            return said(got.headers), content, finish, usage

    before = facts(weir)["puts"]
    verdict, *one = ask(first)
    assert verdict == "miss" and one[:2] == ["Grüße, \"friend\" 😀", "stop"]
    kept(weir, before)
    verdict, *two = ask(again)
    assert verdict == "hit" and two[:2] == one[:2] and len(upstream.seen) == 1
    assert (two[2].prompt_tokens, two[2].completion_tokens) == (one[2].prompt_tokens, one[2].completion_tokens)


def test_a_stream_without_usage_asked_has_none(weir, upstream):
    upstream.play(stream(*answer("a", "b")))
    text = fresh()
    prime(weir, text, stream=True)
    _, head, body = chat(weir, text, stream=True)
    assert said(head) == "hit" and b"usage" not in body and body.endswith(b"data: [DONE]\n\n")
    assert head["content-type"].startswith("text/event-stream")


def test_messages_through_the_sdk(weir, upstream):
    upstream.play(stream(*answer("One ", "answer.")))
    client = anthropic.Anthropic(base_url=weir.base, api_key="none", max_retries=0)
    ask = {"model": "auto", "max_tokens": 50, "messages": [{"role": "user", "content": fresh()}]}
    before = facts(weir)["puts"]
    with client.messages.stream(**ask) as got:
        first = got.get_final_message()
    kept(weir, before)
    with client.messages.stream(**ask) as got:
        second = got.get_final_message()
        assert said(got.response.headers) == "hit"
    third = client.messages.with_raw_response.create(**ask)
    assert said(third.headers) == "hit" and len(upstream.seen) == 1
    for reply in (second, third.parse()):
        assert reply.content[0].text == "One answer." == first.content[0].text and reply.stop_reason == "end_turn"
        assert reply.usage.output_tokens == first.usage.output_tokens and reply.id != first.id


def test_responses_through_the_sdk(weir, upstream):
    upstream.play(stream(*answer("One ", "answer.")))
    client = openai.OpenAI(base_url=weir.base + "/v1", api_key="none", max_retries=0)
    ask = {"model": "auto", "input": fresh(), "metadata": {"who": "me"}}
    before = facts(weir)["puts"]
    with client.responses.stream(**ask) as got:
        first = got.get_final_response()
    kept(weir, before)
    with client.responses.stream(**ask) as got:
        numbers = [e.sequence_number for e in got]
        second = got.get_final_response()
    third = client.responses.with_raw_response.create(**{**ask, "metadata": {"who": "you"}})
    assert said(third.headers) == "hit" and len(upstream.seen) == 1 and numbers == list(range(len(numbers)))
    assert second.output_text == third.parse().output_text == first.output_text == "One answer."
    assert third.parse().metadata == {"who": "you"}


def test_completions(weir, upstream):
    reply = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": "up", "choices": [
        {"text": " Paris", "index": 0, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}
    upstream.play(whole(reply))
    client = openai.OpenAI(base_url=weir.base + "/v1", api_key="none", max_retries=0)
    prompt, before = fresh(), facts(weir)["puts"]
    assert client.completions.create(model="auto", prompt=prompt).choices[0].text == " Paris"
    kept(weir, before)
    parts = list(client.completions.create(model="auto", prompt=prompt, stream=True, stream_options={"include_usage": True}))
    assert "".join(p.choices[0].text for p in parts if p.choices) == " Paris" and parts[-1].usage.total_tokens == 5
    assert len(upstream.seen) == 1


def test_apis_do_not_answer_for_each_other(weir, upstream):
    upstream.reset()
    text = fresh()
    prime(weir, text)
    _, head, _ = ask_http("POST", weir.base + "/v1/messages",
                          {"model": "auto", "max_tokens": 9, "messages": [{"role": "user", "content": text}]})
    assert said(head) == "miss"


def test_callers_may_tighten(weir, upstream):
    upstream.reset()
    text = fresh()
    prime(weir, text)
    for headers, verdict in (({"Cache-Control": "no-cache"}, "bypass"), ({"x-weir-cache": "off"}, "bypass"),
                             ({"Cache-Control": "max-age=0"}, "hit"), ({"Cache-Control": "max-age=600, no-store"}, "hit"),
                             ({"x-weir-cache": "on"}, "hit"), ({"Cache-Control": "max-stale=9999999"}, "hit")):
        if headers == {"Cache-Control": "max-age=0"}:
            time.sleep(0.002)  # older than nothing
            verdict = "miss"
        _, head, _ = chat(weir, text, headers)
        assert said(head) == verdict, headers
    text = fresh()
    for headers in ({"Cache-Control": "no-store"}, {"x-weir-cache": "off"}):
        chat(weir, text, headers)
        _, head, _ = chat(weir, text, {"Cache-Control": "no-store"})
        assert said(head) == "miss", headers


@pytest.mark.parametrize("name,step,stream_", [
    ("length", whole({**OK_REPLY, "choices": [{"index": 0, "message": {"role": "assistant", "content": "cut"},
                                               "finish_reason": "length"}]}), False),
    ("filter", whole({**OK_REPLY, "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"},
                                               "finish_reason": "content_filter"}]}), False),
    ("refusal", whole({**OK_REPLY, "choices": [{"index": 0, "message": {"role": "assistant", "content": None,
                                                "refusal": "I cannot."}, "finish_reason": "stop"}]}), False),
    ("tool call", whole({**OK_REPLY, "choices": [{"index": 0, "message": {"role": "assistant", "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        "finish_reason": "tool_calls"}]}), False),
    ("empty", whole({**OK_REPLY, "choices": [{"index": 0, "message": {"role": "assistant", "content": ""},
                                              "finish_reason": "stop"}]}), False),
    ("torn stream", stream(ROLE, chunk({"content": "half"}), then="close", end=False), True),
    ("stream that says length", stream(ROLE, chunk({"content": "half"}), chunk(finish_reason="length"), b"data: [DONE]\n\n"), True),
    ("stream without a finish", stream(ROLE, chunk({"content": "half"}), b"data: [DONE]\n\n"), True),
    ("error in a stream", stream(ROLE, chunk({"content": "half"}), event({"error": {"message": "no", "type": "server_error"}})), True),
    ("error", error(500), False),
])
def test_never_kept(weir, upstream, name, step, stream_):
    upstream.play(step)
    text = fresh()
    try:
        ask_http("POST", weir.base + "/v1/chat/completions",
                 {"model": "auto", "stream": stream_, "messages": [{"role": "user", "content": text}]})
    except (ConnectionError, http.client.HTTPException):
        pass
    _, head, _ = chat(weir, text, {"Cache-Control": "no-store"})
    assert said(head) == "miss"


def test_last_word_of_a_tool_is_not_asked(weir, upstream):
    upstream.reset()
    messages = [{"role": "user", "content": fresh()}, {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"}]
    for _ in range(2):
        status, head, _ = ask_http("POST", weir.base + "/v1/chat/completions", {"model": "auto", "messages": messages})
        assert (status, said(head)) == (200, "bypass")


def test_equal_questions_share_one_call(weir, upstream):
    gate = threading.Event()

    def slowly(exchange):
        gate.wait()
        whole()(exchange)

    upstream.play(*[slowly] * 50)
    text, verdicts, lock = fresh(), [], threading.Lock()

    def one():
        status, head, body = chat(weir, text)
        with lock:
            verdicts.append((status, said(head), json.loads(body)["choices"][0]["message"]["content"]))

    threads = [threading.Thread(target=one) for _ in range(50)]
    for t in threads:
        t.start()
    wait_until(lambda: len(upstream.seen) >= 1, 10, "the leader's call")
    wait_until(lambda: states(weir) == ["AWAIT_ANSWER"] + ["AWAIT_CACHE"] * 49, 10, "the others to wait for it")
    gate.set()
    for t in threads:
        t.join()
    assert len(verdicts) == 50 and {v[0] for v in verdicts} == {200} and {v[2] for v in verdicts} == {"hello"}
    assert len(upstream.seen) == 1
    assert sorted({v[1] for v in verdicts} - {"hit"}) == ["coalesced", "miss"]
    assert sum(v[1] == "miss" for v in verdicts) == 1


def test_followers_of_a_failure_go_on(weir, upstream):
    gate = threading.Event()

    def fail(exchange):
        gate.wait()
        error(400, "bad")(exchange)

    upstream.play(fail)
    text, got, lock = fresh(), [], threading.Lock()

    def one():
        status, head, _ = chat(weir, text)
        with lock:
            got.append((status, said(head)))

    threads = [threading.Thread(target=one) for _ in range(6)]
    for t in threads:
        t.start()
    wait_until(lambda: len(upstream.seen) >= 1 and states(weir) == ["AWAIT_ANSWER"] + ["AWAIT_CACHE"] * 5, 10, "five to wait for the first")
    gate.set()
    for t in threads:
        t.join()
    assert sorted(s for s, _ in got) == [200] * 5 + [400] and 2 <= len(upstream.seen) <= 3


def test_a_leader_that_leaves_is_followed(weir, upstream):
    """Its upstream call ends with it; whoever waited leads."""
    def hold(exchange):
        exchange.wait_gone()

    upstream.play(hold)
    text = fresh()
    host, port = weir.address
    leader = http.client.HTTPConnection(host, port, timeout=20 * slowness())
    leader.request("POST", "/v1/chat/completions", json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": text}]}), {"Content-Type": "application/json"})
    wait_until(lambda: len(upstream.seen) == 1, 10, "the leader's call")
    got = []
    follower = threading.Thread(target=lambda: got.append(chat(weir, text)[:2]))
    follower.start()
    wait_until(lambda: "AWAIT_CACHE" in states(weir), 10, "the follower to wait")
    leader.sock.close()
    leader.close()
    follower.join()
    assert got[0][0] == 200 and said(got[0][1]) == "miss" and len(upstream.seen) == 2


def test_a_follower_that_leaves_is_forgotten(weir, upstream):
    gate = threading.Event()

    def slowly(exchange):
        gate.wait()
        whole()(exchange)

    upstream.play(slowly)
    text, got, before = fresh(), [], facts(weir)["puts"]
    leader = threading.Thread(target=lambda: got.append(chat(weir, text)[:2]))
    leader.start()
    wait_until(lambda: len(upstream.seen) == 1, 10, "the leader's call")
    follower = http.client.HTTPConnection(*weir.address, timeout=20 * slowness())
    follower.request("POST", "/v1/chat/completions", json.dumps(
        {"model": "auto", "messages": [{"role": "user", "content": text}]}), {"Content-Type": "application/json"})

    wait_until(lambda: states(weir) == ["AWAIT_ANSWER", "AWAIT_CACHE"], 10, "the follower to wait")
    follower.sock.close()
    follower.close()
    wait_until(lambda: states(weir) == ["AWAIT_ANSWER"], 10, "the follower to be gone")
    gate.set()
    leader.join()
    kept(weir, before)
    assert got[0][0] == 200 and said(chat(weir, text)[1]) == "hit" and len(upstream.seen) == 1


def test_a_client_that_closes_after_the_end_is_no_reason_to_ask_again(weir, upstream):
    """SDKs close a stream when they have read its end, not the framing's."""
    gate = threading.Event()

    def hold(exchange):
        stream(*answer("a", "b"), end=False)(exchange)
        gate.wait()

    upstream.play(hold)
    text = fresh()
    client = http.client.HTTPConnection(*weir.address, timeout=20 * slowness())
    client.request("POST", "/v1/chat/completions", json.dumps(
        {"model": "auto", "stream": True, "messages": [{"role": "user", "content": text}]}), {"Content-Type": "application/json"})
    reply = client.getresponse()
    while b"[DONE]" not in reply.readline():
        pass
    client.sock.close()
    client.close()
    gate.set()
    wait_until(lambda: said(chat(weir, text, {"Cache-Control": "no-store"})[1]) == "hit", 5, "the answer that was read to its end")


def test_explain_says_what_the_cache_would_do(weir):
    def explain(prompt):
        done = subprocess.run([build_dir() / "gateway" / "weir", "explain", weir.policy_file, "--model", "auto", prompt],
                              capture_output=True, text=True, check=True)
        return done.stdout
    assert "a repeat within 24h is answered from it" in explain("Who wrote Hamlet?")
    assert "a repeat within 5m is answered from it (the answer depends on when it is asked)" in explain("What is the weather now?")


def test_metrics_and_access_log(weir, upstream):
    upstream.reset()
    text = fresh()
    prime(weir, text)
    chat(weir, text)
    metrics = ask_http("GET", weir.admin + "/metrics")[2].decode()
    assert 'weir_cache_requests_total{result="hit",route="r"}' in metrics
    assert 'weir_cache_answers_total{worth="good"}' in metrics and "weir_cache_saved_usd_total" in metrics


# ---- a weir of its own each ----


@pytest.fixture
def start(upstream, tmp_path):
    running = []

    def start_(*args, folder=tmp_path, **kw):
        weir = Weir(folder, policy(upstream.url, folder, *args, **kw))
        running.append(weir)
        return weir
    yield start_
    for weir in running:
        if weir.child.poll() is None:
            weir.stop()


def test_tenants_are_apart(upstream, start):
    upstream.reset()
    weir = start(tenants=True)
    a, b = {"Authorization": "Bearer " + KEY_A}, {"Authorization": "Bearer " + KEY_B}
    text = fresh()
    assert said(chat(weir, text, a)[1]) == "miss"
    wait_until(lambda: said(chat(weir, text, a)[1]) == "hit", 5, "a hit of its own")
    assert said(chat(weir, text, b)[1]) == "miss"


def test_a_shared_scope_is_shared(upstream, start):
    upstream.reset()
    weir = start("{scope: shared}", tenants=True)
    text = fresh()
    assert said(chat(weir, text, {"Authorization": "Bearer " + KEY_A})[1]) == "miss"
    wait_until(lambda: said(chat(weir, text, {"Authorization": "Bearer " + KEY_B})[1]) == "hit", 5, "the other's answer")


def test_answers_die(upstream, start, tmp_path):
    """Not before their time, but for the share of it by which lives differ, and after it. A look that stores nothing prolongs nothing."""
    upstream.reset()
    for text, ttl_s in (("Who wrote Hamlet?", 3), ("What is the weather in Paris right now?", 1)):
        weir = start("{exact: {ttl: 3s, timely_ttl: 1s}}", folder=tmp_path / str(ttl_s))
        began = time.monotonic()
        prime(weir, text)
        wait_until(lambda t=text, w=weir: said(chat(w, t, {"Cache-Control": "no-store"})[1]) == "miss", 5, "the answer's end")
        assert time.monotonic() - began > 0.85 * ttl_s


def test_routes_without_a_cache(upstream, start):
    upstream.reset()
    weir = start(route="    cache: off\n", extra="  - {name: s, match: {model: n}, cascade: [m], cache: {exact: {ttl: 1h}}}\n")
    for _ in range(2):
        status, head, _ = chat(weir, "hello")
        assert status == 200 and said(head) is None
    assert len(upstream.seen) == 2
    chat(weir, "hello", model="n")
    wait_until(lambda: said(chat(weir, "hello", model="n")[1]) == "hit", 5, "the other route's hit")


def test_tool_calls_where_allowed(upstream, start):
    call = whole({**OK_REPLY, "choices": [{"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]}, "finish_reason": "tool_calls"}]})
    upstream.play(call)
    weir = start("{tool_calls: true}")
    text = fresh()
    prime(weir, text)
    _, head, body = chat(weir, text, stream=True)
    assert said(head) == "hit" and b'"finish_reason":"tool_calls"' in body and b'"id":"c1"' in body


def test_a_restart_keeps_them(upstream, start):
    upstream.reset()
    weir = start()
    text = fresh()
    prime(weir, text)
    weir.stop()
    weir = start()
    assert said(chat(weir, text)[1]) == "hit" and len(upstream.seen) == 1


def test_a_reload_may_turn_it_on_but_not_move_it(upstream, start, tmp_path):
    upstream.reset()
    weir = start("off")
    assert said(chat(weir, "hello")[1]) is None

    def put(cache):
        return ask_http("PUT", weir.admin + "/admin/policy", policy(upstream.url, tmp_path, cache).encode(), {"If-Match": "*"})

    assert put("{max_entries: 10}")[0] == 200
    wait_until(lambda: said(chat(weir, "hello")[1]) in ("miss", "hit"), 5, "the cache")
    status, _, body = put("{max_entries: 11}")
    assert status == 409 and b"cache.max_entries" in body
    assert put("off")[0] == 200
    wait_until(lambda: said(chat(weir, "hello")[1]) is None, 5, "the cache to be off")


@pytest.mark.skipif(not shutil.which("redis-server"), reason="no redis-server")
def test_replicas_share_and_survive_the_loss_of_redis(upstream, tmp_path):
    upstream.reset()
    redis = Redis(tmp_path)
    cache = f'{{store: redis, redis: {{url: "unix:{redis.socket}", budget: 1s}}}}'
    folders = [tmp_path / "one", tmp_path / "two"]
    one, two = (Weir(f, policy(upstream.url, f, cache)) for f in folders)
    try:
        text = fresh()
        prime(one, text)
        wait_until(lambda: said(chat(two, text, {"Cache-Control": "no-store"})[1]) == "hit", 10, "the other replica's hit")
        redis.kill()
        for i in range(20):
            status, head, _ = chat(one, fresh())
            assert status == 200 and said(head) == "miss"
    finally:
        one.stop()
        two.stop()


def test_drain_lets_followers_finish(upstream, start):
    gate = threading.Event()

    def slowly(exchange):
        gate.wait()
        whole()(exchange)

    upstream.play(slowly)
    weir = start()
    text, got = fresh(), []
    threads = [threading.Thread(target=lambda: got.append(chat(weir, text)[:2])) for _ in range(4)]
    for t in threads:
        t.start()
    wait_until(lambda: states(weir) == ["AWAIT_ANSWER"] + ["AWAIT_CACHE"] * 3, 10, "three to wait for the first")
    stopper = threading.Thread(target=weir.stop)
    stopper.start()
    wait_until(lambda: ask_http("GET", weir.admin + "/readyz")[0] == 503, 10, "the drain")
    gate.set()
    for t in threads:
        t.join()
    stopper.join()
    assert [s for s, _ in got] == [200] * 4 and len(upstream.seen) == 1

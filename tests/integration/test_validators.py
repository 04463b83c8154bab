"""Validators of a route, with real programs and a real HTTP judge: an answer that fails one is passed over, one that nobody can
judge is not; what runs is bounded in time and gone when nobody waits for it."""

import http.server
import json
import os
import socket
import textwrap
import threading

import pytest
from scripted import answer, stream, whole
from test_cascade import ask, books, cascade, reply, streamed, text_of  # noqa: F401

import weirproc
from rawhttp import Client, request

CHAT = "/v1/chat/completions"


def route(*validators, accept=0.3):
    return f"accept: {accept}\n    confidence: {{validators: [{', '.join(validators)}], hold: whole}}"


def calls(name, arguments):
    message = {"role": "assistant", "content": None,
               "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}]}
    return {**reply(""), "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}, "required": ["n"], "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {
    "type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}}}


@pytest.mark.parametrize("wrong,right", [('{"n": 0}', '{"n": 1}'), ("no JSON", '{"n": 2}'), ('{"n": 1, "m": 2}', ' {"n": 3}\n')])
def test_an_answer_that_breaks_the_schema_is_passed_over(cascade, small, big, wrong, right):  # noqa: F811
    weir = cascade(route("json_schema"))
    small.play(whole(reply(wrong)))
    big.play(whole(reply(right)))
    _, head, data = ask(weir, response_format=FORMAT)
    assert text_of(data) == right and head["x-weir-model"] == "big"
    small.play(whole(reply(right)))
    _, head, data = ask(weir, response_format=FORMAT)
    assert head["x-weir-model"] == "small"


def test_a_schema_that_is_not_understood_refutes_nothing(cascade, small):  # noqa: F811
    weir = cascade(route("json_schema"))
    odd = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "unevaluatedProperties": False}}}
    for more in ({}, {"response_format": odd}):
        small.play(whole(reply('{"n": "anything"}')))
        assert ask(weir, **more)[1]["x-weir-model"] == "small"


def test_a_schema_of_the_operator(cascade, small, big, tmp_path, weir):  # noqa: F811
    (tmp_path / "n.json").write_text(json.dumps(SCHEMA))
    gateway = cascade(route(f'{{kind: json_schema, file: "{tmp_path}/n.json"}}'))
    small.play(whole(reply("plain text")))
    big.play(whole(reply('{"n": 7}')))
    assert ask(gateway)[1]["x-weir-model"] == "big"
    (tmp_path / "n.json").write_text("{")
    checked = weir("check", gateway.policy_file)
    assert checked.returncode and "is not JSON at byte 1" in checked.stdout + checked.stderr


@pytest.mark.parametrize("name,arguments,model", [("add", '{"a": 1}', "small"), ("add", '{"a": "1"}', "big"), ("add", '{"a": 1', "big"),
                                                  ("sub", '{"a": 1}', "big"), ("add", "", "big")])
def test_calls_of_tools(cascade, small, big, name, arguments, model):  # noqa: F811
    weir = cascade(route("tool_args"))
    small.play(whole(calls(name, arguments)))
    big.play(whole(calls("add", '{"a": 2}')))
    assert ask(weir, tools=[TOOL])[1]["x-weir-model"] == model


def test_patterns_and_emptiness(cascade, small, big):  # noqa: F811
    weir = cascade(route("non_empty", r"{kind: regex, pattern: '^\d+$'}"))
    for text, model in (("42", "small"), ("forty-two", "big"), ("", "big"), (" \n", "big")):
        small.play(whole(reply(text)))
        big.play(whole(reply("7")))
        assert ask(weir)[1]["x-weir-model"] == model, text


def test_a_stream_that_is_held_whole(cascade, small, big):  # noqa: F811
    weir = cascade(route("{kind: regex, pattern: Paris}"))
    small.play(stream(*answer("Lyon", ".")))
    big.play(stream(*answer("Par", "is.")))
    _, head, data = ask(weir, stream=True)
    assert streamed(data) == "Paris." and head["x-weir-model"] == "big"


# ---- programs ----

def program(folder, text, name="judge"):
    path = folder / name
    path.write_text("#!/usr/bin/env python3\n" + textwrap.dedent(text))
    path.chmod(0o755)
    return path


def command(path, timeout="60s"):
    return f'{{kind: command, argv: ["{path}", "x y"], timeout: {timeout}}}'


def test_a_program_decides(cascade, small, big, tmp_path):  # noqa: F811
    judge = program(tmp_path, f"""
        import json, sys
        document = json.load(sys.stdin)
        json.dump([sys.argv[1:], document], open("{tmp_path}/seen", "w"))
        print("too short")
        sys.exit(len(document["answer"]["text"]) < 4)
        """)
    weir = cascade(route(command(judge)))
    small.play(whole(reply("yes")))
    big.play(whole(reply("a long \u20ac answer")))
    _, head, data = ask(weir, temperature=0.5)
    assert text_of(data) == "a long \u20ac answer" and head["x-weir-model"] == "big"
    argv, document = json.loads((tmp_path / "seen").read_text())
    assert argv == ["x y"] and document["model"] == "big"
    assert document["request"]["temperature"] == 0.5 and document["request"]["messages"][0]["content"] == "hello"
    assert document["answer"] == {"text": "a long \u20ac answer", "finish": "stop", "refused": False, "calls": []}


@pytest.mark.parametrize("text", ["import sys; sys.exit(126)", "import os; os.kill(os.getpid(), 9)", "import time; time.sleep(6000)"])
def test_a_program_that_cannot_say_refutes_nothing(cascade, small, tmp_path, text):  # noqa: F811
    weir = cascade(route(command(program(tmp_path, text), "300ms")))
    small.play(whole(reply("Paris.")))
    assert ask(weir)[1]["x-weir-model"] == "small"
    weir.until(lambda: "a validator says nothing" in weir.tail(), "the line in the log")


def test_a_program_that_is_not_there(cascade, small, tmp_path):  # noqa: F811
    weir = cascade(route(command(tmp_path / "none")))
    small.play(whole(reply("Paris.")))
    assert ask(weir)[1]["x-weir-model"] == "small"
    weir.until(lambda: "No such file" in weir.tail(), "the line in the log")


SLEEPER = """
    import os, subprocess, sys, time
    child = subprocess.Popen(["sleep", "600"])
    with open("{folder}/pids.new", "w") as f:
        f.write(f"{{os.getpid()}} {{child.pid}}")
    os.rename("{folder}/pids.new", "{folder}/pids")
    sys.stdout.write("x" * 200000)
    sys.stdout.flush()
    time.sleep(600)
    """


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def sleepers(tmp_path):
    def read():
        path = tmp_path / "pids"
        return path.exists() and [int(p) for p in path.read_text().split()]
    return weirproc.wait_until(read, 10, "the program to start")


def test_a_client_that_leaves_takes_the_program_with_it(cascade, small, tmp_path):  # noqa: F811
    weir = cascade(route(command(program(tmp_path, SLEEPER.format(folder=tmp_path)), "60s")))
    small.play(whole(reply("Paris.")))
    client = Client(weir.address)
    client.send(request("POST", CHAT, json.dumps({"model": "auto", "messages": [{"role": "user", "content": "x"}]}).encode()))
    pids = sleepers(tmp_path)
    client.socket.close()
    weirproc.wait_until(lambda: all(gone(p) for p in pids), 10, "the program and its child to be gone")


def test_the_end_of_weir_is_the_end_of_its_programs(cascade, small, tmp_path):  # noqa: F811
    weir = cascade(route(command(program(tmp_path, SLEEPER.format(folder=tmp_path)), "60s")))
    small.play(whole(reply("Paris.")))
    thread = threading.Thread(target=lambda: ask(weir))
    thread.start()
    pids = sleepers(tmp_path)
    weir.stop()
    thread.join()
    weirproc.wait_until(lambda: all(gone(p) for p in pids), 10, "the program and its child to be gone")


# ---- judges ----

class Judge:
    """A server that answers each POST as `say` tells: a function of the document, giving (status, body) or None for silence."""

    def __init__(self):
        judge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                judge.seen.append((self.path, self.headers["Content-Type"], document))
                answer = judge.say(document)
                if answer is None:
                    judge.silence.wait(300)
                    return
                status, body = answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        self.seen, self.silence = [], threading.Event()
        self.say = lambda document: (200, b'{"score": 1}')
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/judge/me"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.silence.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def judge():
    server = Judge()
    yield server
    server.close()


def http_rule(url, timeout="60s"):
    return f'{{kind: http, url: "{url}", timeout: {timeout}}}'


def test_a_judge_decides(cascade, small, big, judge):  # noqa: F811
    weir = cascade(route(http_rule(judge.url)))
    judge.say = lambda document: (200, json.dumps({"score": 0.9 if "Paris" in document["answer"]["text"] else 0.1}).encode())
    small.play(whole(reply("Lyon.")))
    big.play(whole(reply("Paris.")))
    _, head, data = ask(weir)
    assert text_of(data) == "Paris." and head["x-weir-model"] == "big"
    assert [path for path, _, _ in judge.seen] == ["/judge/me"] * 2 and judge.seen[0][1] == "application/json"
    assert judge.seen[0][2]["answer"]["text"] == "Lyon."


@pytest.mark.parametrize("said", [(500, b'{"score": 0}'), (200, b"no JSON"), (200, b'{"score": 2}'), (200, b'{"score": "0"}'),
                                  (200, b"{}"), (200, b"[0]"), (200, b"0" * 100000), None])
def test_a_judge_that_does_not_judge(cascade, small, judge, said):  # noqa: F811
    weir = cascade(route(http_rule(judge.url, "300ms")))
    judge.say = lambda document: said
    small.play(whole(reply("Paris.")))
    assert ask(weir)[1]["x-weir-model"] == "small"
    weir.until(lambda: "a validator says nothing" in weir.tail(), "the line in the log")


def test_a_judge_that_is_not_there(cascade, small):  # noqa: F811
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        weir = cascade(route(http_rule(f"http://127.0.0.1:{s.getsockname()[1]}/")))
        small.play(whole(reply("Paris.")))
        assert ask(weir)[1]["x-weir-model"] == "small"


def test_all_of_several_must_pass(cascade, small, big, judge, tmp_path):  # noqa: F811
    weir = cascade(route("non_empty", http_rule(judge.url), command(program(tmp_path, "import sys; sys.exit(3)"))))
    small.play(whole(reply("Paris.")))
    big.play(whole(reply("Lyon.")))
    ask(weir)
    assert len(big.seen) == 1 and len(judge.seen) >= 1
    small.play(whole(reply("")))  # what needs nobody is asked first
    judge.seen.clear()
    big.play(whole(reply("")))
    ask(weir)
    assert not judge.seen

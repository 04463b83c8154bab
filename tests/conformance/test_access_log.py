"""The access log: one line for each request, sound logfmt whatever clients send, and the same figures as the ledger's."""

import json
import re
import socket
import struct

import pytest

import scripted
from conftest import scripted_policy
from rawhttp import Client, request
from scripted import ROLE, chunk, silent, stream
from test_accounting import rows
from test_wire_http import BODY, CHAT
from weirproc import Weir, wait_until

PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\["\\nrt]|\\x[0-9a-f]{2})*"|[^\s"=]+)(?: |$)')


def parse(line):
    """The pairs of one line; AssertionError when it is not logfmt or a key comes twice."""
    out, at = {}, 0
    while at < len(line):
        found = PAIR.match(line, at)
        assert found, f"no key=value at {line[at:at + 40]!r} of {line!r}"
        key, value = found.groups()
        assert key not in out, f"{key} twice in {line!r}"
        out[key], at = value, found.end()
    return out


class Logged:
    def __init__(self, weir, path):
        self.weir, self.path = weir, path

    def lines(self):
        """Those that are written whole."""
        return [parse(line) for line in self.path.read_text().split("\n")[:-1]] if self.path.exists() else []

    def next(self, seen, count=1):
        """The lines after the first `seen` ones, `count` of them."""
        return wait_until(lambda: len(self.lines()) >= seen + count and self.lines()[seen:], 5, f"{count} line(s) of the access log")

    def of(self, data):
        """(reply, its line)"""
        with Client(self.weir.address) as c:
            c.send(data)
            reply = c.reply()
        own = wait_until(lambda: [x for x in self.lines() if x["id"] == reply.get("x-request-id")], 5, "its line of the access log")
        (line,) = own
        return reply, line


@pytest.fixture(scope="module")
def logged(upstream_session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged")
    log = folder / "access.log"
    weir = Weir(folder, scripted_policy(upstream_session.url, folder / "state", f', access_log: "{log}"'))
    yield Logged(weir, log)
    weir.stop()


def test_a_line_says_what_the_reply_and_the_ledger_say(logged, upstream):
    reply, line = logged.of(request("POST", CHAT, BODY))
    booked, _ = rows(logged.weir, reply.get("x-request-id"))
    assert line["id"] == reply.get("x-request-id") and line["status"] == "200" and line["drop"] == "-"
    assert line["cost"] == reply.get("x-weir-cost-usd") and float(line["cost"]) == pytest.approx(booked["cost_nanousd"] / 1e9, abs=1e-12)
    assert (line["in"], line["out"], line["served"], line["route"]) == ("10", "2", "solo", "alone")


@pytest.mark.parametrize("path", ['/v1/"quoted"', "/v1/a=b", "/v1/%0Aid=forged", "/v1/back\\slash", "/v1/" + "x" * 3000, "//", "/v1/models/%22%3D"])
def test_no_path_breaks_a_line(logged, upstream, path):
    _, line = logged.of(request("GET", path))
    assert line["status"] == "404" and line["method"] == "GET"


@pytest.mark.parametrize("model", ['a"b', "a b=c", "line\nid=forged", "tab\t", "\u00e9\u4e16\U0001f600", "\\", "\x00", "x" * 4000, "\u0085\u009b[31m"])
def test_no_model_breaks_a_line(logged, upstream, model):
    _, line = logged.of(request("POST", CHAT, json.dumps({"model": model, "messages": []}).encode()))
    assert line["status"] == "404"


def leave(logged, data, wait, hard=False):
    """Sends data, waits, leaves; the line that is written then."""
    seen = len(logged.lines())
    c = Client(logged.weir.address)
    c.send(data)
    wait(c)
    if hard:
        c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.socket.close()
    (line,) = logged.next(seen)
    return line


@pytest.mark.parametrize("hard", [False, True], ids=["FIN", "RST"])
def test_a_client_that_leaves_has_a_sound_line(logged, upstream, hard):
    upstream.play(silent)
    line = leave(logged, request("POST", CHAT, BODY), lambda c: wait_until(lambda: upstream.seen, 5, "the request"), hard)
    assert line["status"] == "499" and line["drop"] != "-" and line["err"] == "client_gone"


def test_a_client_that_leaves_within_its_body_has_a_sound_line(logged, upstream):
    """Its time counts from when the head was there, not from when the machine was started."""
    def answered(c):
        assert c.until(b"100 Continue\r\n\r\n")

    line = leave(logged, request("POST", CHAT, BODY, [("Expect", "100-continue")])[:-len(BODY)], answered)
    assert line["status"] == "499" and 0 <= int(line["ms"]) < 60000


def test_a_stream_that_was_cut_has_a_sound_line(logged, upstream):
    upstream.play(stream(ROLE, chunk({"content": "a"}), end=False, then="close"))
    _, line = logged.of(request("POST", CHAT, json.dumps({"model": "solo", "messages": [], "stream": True}).encode()))
    assert line["status"] == "200" and line["err"] == "upstream_cut" and line["drop"] != "-"


def test_refused_heads_have_no_line_or_a_sound_one(logged, upstream):
    seen = len(logged.lines())
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x00\x01\r\n\r\n", b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"):
        with Client(logged.weir.address) as c:
            c.send(data)
            c.reply()
    logged.of(request("POST", CHAT, BODY))
    assert len(logged.lines()) > seen

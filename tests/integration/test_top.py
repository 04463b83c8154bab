"""weir top: one look for scripts, and a real terminal: keys, sizes, and what is left behind."""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import termios
import time

import pytest
from conftest import policy
from scripted import error, whole

import weirproc

REPLY = {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
         "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
         "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}}


@pytest.fixture
def gateway(start, upstream, tmp_path):
    return start(policy(upstream.url, tmp_path))


class Screen:
    """weir top in a terminal of its own."""

    def __init__(self, program, url, rows=24, columns=80):
        self.main, self.terminal = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.terminal)
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.terminal, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(self.terminal, fd)
            os.environ["TERM"] = "xterm"
            os.execv(program, [str(program), "top", "--url", url])
        self.seen, self.decoder = "", codecs.getincrementaldecoder("utf-8")()

    def resize(self, rows, columns):
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, wanted, timeout_s=15):
        end = time.monotonic() + timeout_s * weirproc.slowness()
        while not re.search(wanted, self.seen, re.S):
            left = end - time.monotonic()
            assert left > 0, (wanted, self.seen[-2000:])
            if select.select([self.main], [], [], left)[0]:
                self.seen += self.decoder.decode(os.read(self.main, 65536))
        self.seen, all_ = "", self.seen
        return all_

    def frame(self):
        """The lines of the next picture that is drawn whole."""
        drawn = re.search(r"\x1b\[H((?:(?!\x1b\[H).)*)\x1b\[Jq quit.{10}", self.until(r"\x1b\[H(?:(?!\x1b\[H).)*\x1b\[Jq quit.{10}"), re.S)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.group(1)).rstrip("\r\n").split("\r\n")

    def press(self, key):
        os.write(self.main, key.encode())

    def end(self):
        """(exit status, what it wrote last)"""
        last = self.until(r"\x1b\[\?25h\x1b\[\?1049l")
        _, status = os.waitpid(self.pid, 0)
        assert termios.tcgetattr(self.terminal) == self.before
        os.close(self.main)
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(status), last


@pytest.fixture
def screen(gateway):
    return Screen(weirproc.build_dir().resolve() / "gateway" / "weir", gateway.admin)


def test_once(gateway, upstream, weir):
    upstream.script.append(whole(REPLY))
    upstream.script.append(error(400))
    for _ in range(2):
        gateway.chat()
    gateway.until(lambda: gateway.metric('weir_requests_in_flight') == 0, "the requests are over")
    told = json.loads(weir("top", "--url", gateway.admin, "--json").stdout)
    assert [(m["model"], m["attempts"]) for m in told["models"]] == [("small", 2)]
    assert told["requests_per_s"] == 0 and told["p50_s"] is None
    text = weir("top", "--url", gateway.admin, "--once").stdout
    assert "MODEL" in text and re.search(r"^small +0\.0 +0\.0 +0\.0 +0\.000000 +- +- +2$", text, re.M)
    assert not re.search(r"\bnan\b|\x1b", text)


def test_names_are_whole_where_there_is_room(start, upstream, weir, tmp_path):
    gateway = start(policy(upstream.url, tmp_path, model="a-model-whose-name-is-rather-long"))
    upstream.script.append(whole(REPLY))
    gateway.chat()
    gateway.until(lambda: "a-model-whose-name-is-rather-long " in weir("top", "--url", gateway.admin, "--once").stdout, "the model")
    narrow = Screen(weir.program, gateway.admin)
    assert "rather-long" not in narrow.until(r"\na-model-whose-name-i .*q quit")
    narrow.resize(24, 120)
    narrow.until(r"\na-model-whose-name-is-rather-long .*q quit")
    narrow.press("q")
    assert narrow.end()[0] == 0


def test_what_is_refused(gateway, weir):
    assert weir("top", "--url", gateway.admin).returncode == 2  # no terminal
    gone = weir("top", "--url", "http://127.0.0.1:1", "--once")
    assert gone.returncode == 5 and "127.0.0.1:1" in gone.stderr


def test_a_terminal(gateway, upstream, screen):
    upstream.script.append(whole(REPLY))
    screen.until(r"MODEL.*sort \(requests\)")
    gateway.chat()
    screen.until(r"\nsmall ")
    screen.press("s")
    screen.until(r"sort \(cost\)")
    screen.press("p")
    screen.until("PAUSED")
    screen.press("p")
    screen.resize(10, 40)
    # pictures that were under way when the size changed are drawn as they were begun
    frames = (screen.frame() for _ in range(10))
    assert any(len(f) < 10 and all(len(line) <= 40 for line in f) for f in frames)
    screen.press("q")
    assert screen.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_leave_the_terminal_as_it_was(screen, number):
    screen.until("MODEL")
    os.kill(screen.pid, number)
    assert screen.end()[0] == 0

"""What the README shows works as it stands there: its policy is valid, its curl commands and its Python are answered."""

import re
import shlex
import subprocess
import sys

import pytest

from matrix import covers
from test_dialects import gateway, over_anthropic, over_gateway  # noqa: F401
from weirproc import ROOT, build_dir, http

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def sections(text):
    """Top-level keys with their lines."""
    return {part.split(":", 1)[0]: part for part in re.split(r"^(?=\w)", text, flags=re.M) if part}


@pytest.mark.parametrize("excerpt", range(len(blocks("yaml"))))
def test_the_policy_is_valid(tmp_path, excerpt):
    """The first one by itself; the others are written into it, in the place of what they name."""
    first, shown = blocks("yaml")[0], blocks("yaml")[excerpt]
    changed = {**sections(first), **sections(shown)}
    # The transformer of an example need not be on this machine.
    (tmp_path / "weir.yaml").write_text("".join(changed.values()).replace("model: all-minilm-l6-v2", "model: static"))
    done = subprocess.run([build_dir() / "gateway" / "weir", "check", "--no-secrets", tmp_path / "weir.yaml"], capture_output=True, text=True)
    assert done.returncode == 0 and ("0 warnings" in done.stdout or excerpt), done.stdout + done.stderr


# A command of the README by a word of it, and what its answer must hold.
ANSWERS = {"/chat/completions": '"finish_reason":"stop"', '"stream": true': "event: message_stop", "/count_tokens": '{"input_tokens":',
           "/responses": '"status":"completed"', "/models": '"id":"gpt-4o-mini"', "/feedback": '"object":"feedback"'}


@covers("chat", "stream", "count", "responses", client="curl")
def test_curl_commands_are_answered(gateway):
    commands = [c for block in blocks("sh") for c in re.findall(r"^curl .*?(?<!\\)$", block, re.S | re.M)]
    unseen = dict(ANSWERS)
    _, headers, _ = http("POST", gateway.base + "/v1/chat/completions", {"model": "auto", "messages": [{"role": "user", "content": "hello"}]})
    for command in commands:
        words = shlex.split(command.replace("\\\n", " ").replace("http://127.0.0.1:8080", gateway.base)
                            .replace("req_019a...", headers["x-request-id"]))
        done = subprocess.run([*words, "-s", "-w", "\n%{http_code}"], capture_output=True, text=True)
        body, _, status = done.stdout.rpartition("\n")
        assert status == "200", (command, done.stdout, done.stderr)
        (word,) = [w for w in unseen if w in command]
        assert unseen.pop(word) in body, (command, body)
    assert not unseen


def test_python_is_answered(gateway):
    (program,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", program.replace("http://127.0.0.1:8080", gateway.base)], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip(), done.stderr


def test_every_command_is_there():
    for name in set(re.findall(r"^weir (\w+) ", "\n".join(blocks("sh")), re.M)):
        done = subprocess.run([build_dir() / "gateway" / "weir", "help", name], capture_output=True, text=True)
        assert done.returncode == 0, name

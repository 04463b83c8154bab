"""What the ledger says of conversations, and what a restart finds in it: the sums that caps are held to."""

import sqlite3

import pytest
from conftest import policy
from scripted import whole

import weirproc


@pytest.fixture
def gateway(start, upstream, tmp_path):
    upstream.script += 8 * [whole({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                                   "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
                                   "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})]
    return start(policy(upstream.url, tmp_path))


def rows(folder, sql, *args):
    db = sqlite3.connect(f"file:{folder}/state/ledger.sqlite?mode=ro", uri=True, timeout=10)
    try:
        return db.execute(sql, args).fetchall()
    finally:
        db.close()


def booked(gateway, folder, n):
    gateway.until(lambda: rows(folder, "SELECT count(*) FROM requests") == [(n,)], f"{n} rows")


def ask(gateway, *texts, path="/v1/chat/completions", **more):
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    status, _, body = weirproc.http("POST", gateway.base + path, {"model": "auto", "messages": turns, **more})
    assert status == 200, body


def test_turns_of_a_conversation_have_one_key(gateway, tmp_path):
    ask(gateway, "What is a weir?")
    ask(gateway, "What is a weir?", "A dam.", "How high?")
    ask(gateway, "What is a lock?")
    ask(gateway, "What is a weir?", path="/v1/messages", max_tokens=10, system="Be brief.")
    ask(gateway, "What is a weir?", "A dam.", "How high?", path="/v1/messages", max_tokens=10, system="Be brief.")
    ask(gateway, "What is a weir?", path="/v1/messages", max_tokens=10, system="Be long.")
    booked(gateway, tmp_path, 6)
    keys = [key for key, in rows(tmp_path, "SELECT conversation FROM requests ORDER BY id")]
    assert all(isinstance(key, int) and key for key in keys)
    assert keys[0] == keys[1] and keys[3] == keys[4] and len(set(keys)) == 4
    dump = b"".join(p.read_bytes() for p in (tmp_path / "state").glob("ledger.sqlite*"))
    assert b"weir?" not in dump, "no text"


def test_sums_are_those_of_the_rows(gateway, tmp_path):
    for i in range(5):
        ask(gateway, f"question {i}")
    booked(gateway, tmp_path, 5)
    assert rows(tmp_path, "SELECT sum(cost_nanousd), count(DISTINCT day) <= 2 FROM spend") == [(5 * (10 * 1000 + 5 * 4000), 1)]

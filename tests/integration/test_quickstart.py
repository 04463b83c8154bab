"""The quick start's policy before the replay fleet: the small models answer nearly all, with the floor kept, for a fraction of what
the big one costs; and what the commands say of that policy."""

import sys

import pytest

import weirproc

sys.path.insert(0, str(weirproc.ROOT / "deploy"))
import quickstart_traffic as traffic  # noqa: E402

POLICY = weirproc.ROOT / "policies" / "examples" / "quickstart.yaml"
FLOOR = 0.5


@pytest.fixture
def fleet(tmp_path):
    server = weirproc.Fleet(tmp_path / "fleet")
    yield server
    server.stop()


@pytest.fixture
def gateway(start, fleet, tmp_path):
    text = POLICY.read_text()
    for old, new in (("127.0.0.1:8080", "127.0.0.1:0"), ("127.0.0.1:8081", "127.0.0.1:0"),
                     ("state_dir: weir-state", f"state_dir: {tmp_path}/state"), ("http://127.0.0.1:9100/v1", fleet.url)):
        assert old in text
        text = text.replace(old, new)
    return start(text)


def test_small_models_answer_and_the_floor_is_kept(gateway, fleet):
    """From cold, 1,200 questions with feedback. Counted are all of them, those it learnt from too."""
    rounds = list(traffic.play(gateway.base, gateway.admin, 4, 1.0, 1, traffic.LEARN_S * weirproc.slowness()))
    every = [answer for answers in rounds for answer in answers]
    all_ = traffic.figures(every)
    assert len(every) == 1200 and all_["small"] >= 0.8, all_
    assert all_["success"] >= FLOOR, all_
    for answers in rounds[1:]:  # in the first nothing is known yet
        assert traffic.figures(answers)["success"] >= FLOOR, [traffic.figures(a) for a in rounds]
    big = traffic.ask_all(gateway.base, traffic.read()[::10], traffic.BIG)
    assert all_["usd"] / len(every) < 0.5 * traffic.figures(big)["usd"] / len(big), "a fraction of what the big one alone costs"
    contexts = gateway.get("/admin/beliefs")["contexts"]
    assert {c["class"] for c in contexts} >= {"code", "math", "general"}


def test_explain_tells_how_a_question_goes(weir):
    told = weir("explain", POLICY, "--model", "auto", "Write a haiku about the sea").stdout
    assert "class 'creative'" in told and "route 'auto'" in told
    assert "floor: 0.5 of requests must succeed" in told and "outcomes are learnt class by class" in told
    for model in (*traffic.SMALL, traffic.BIG):
        assert f". {model}\n" in told
    assert "class 'code'" in weir("explain", POLICY, "--model", "auto", "Fix the bug in this Python function: def f(x): retrun x").stdout
    assert "class 'math'" in weir("explain", POLICY, "--model", "auto", "Integrate x^2 from 0 to 3").stdout

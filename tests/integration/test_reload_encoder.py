"""A reload that opens a model takes its time beside the control loop: the admin API, signals and the end of the process do not
wait for it. Skips visibly without the weights of all-MiniLM-L6-v2."""

import json
import signal

import weirproc
from test_classes import MODEL, needs_model, policy
from test_reload import in_background

pytestmark = needs_model


def with_model(url, folder, max_tokens=64, model=MODEL):
    return policy(url, folder, "encoder: " + json.dumps({"model": str(model), "device": "cpu", "max_tokens": max_tokens}))


def put(gateway, text, tag="*"):
    """(status, JSON). Patient: what is asked for takes seconds in a build with sanitizers."""
    status, _, body = weirproc.http("PUT", gateway.admin + "/admin/policy", text.encode(), {"If-Match": tag}, timeout_s=60)
    return status, json.loads(body)


def openings(gateway):
    return gateway.log.read_text().count("at=encoder msg=opening ")


def test_the_admin_api_answers_while_a_model_is_opened(start, upstream, tmp_path):
    """Asked once the opening has begun, it answers with the old policy: the opening is not over. A machine that opens the model more
    quickly than it answers is given another one."""
    gateway = start(policy(upstream.url, tmp_path))
    for max_tokens in range(32, 64):
        before, opened = gateway.version(), openings(gateway)
        thread, box = in_background(lambda: put(gateway, with_model(upstream.url, tmp_path, max_tokens)))
        gateway.until(lambda: openings(gateway) == opened + 1, "the model to be opened", timeout_s=30)
        metrics, meanwhile = gateway.request("GET", "/metrics")[0], gateway.version()
        thread.join()
        status, reply = box["result"]
        assert status == metrics == 200 and reply["version"] != before and openings(gateway) == opened + 1
        if meanwhile == before:
            return
    raise AssertionError("every answer came after the opening")


def test_two_reloads_in_a_row_end_with_the_newer(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    first, second = with_model(upstream.url, tmp_path), with_model(upstream.url, tmp_path, 48)
    gateway.policy_file.write_text(first)
    gateway.until(lambda: openings(gateway) == 1, "the first model to be opened", timeout_s=30)
    gateway.policy_file.write_text(second)
    for _ in range(5):  # they join those that wait
        gateway.child.send_signal(signal.SIGHUP)
    gateway.until(lambda: gateway.get("/admin/encoder").get("max_tokens") == 48, "the newer policy", timeout_s=60)
    assert gateway.get("/admin/policy").decode() == second
    assert openings(gateway) == 2 and gateway.get("/readyz")["policy"]["stale"] is False
    assert len(gateway.get("/admin/policy/versions")["versions"]) == 3


def test_of_two_changes_of_one_version_one_is_refused(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    tag = f'"{gateway.version()}"'
    texts = [with_model(upstream.url, tmp_path), with_model(upstream.url, tmp_path, 48)]
    calls = [in_background(lambda text=text: put(gateway, text, tag)) for text in texts]
    for thread, _ in calls:
        thread.join()
    statuses = [box["result"][0] for _, box in calls]
    assert sorted(statuses) == [200, 412], statuses
    assert gateway.policy_file.read_text() == texts[statuses.index(200)]


def test_the_end_does_not_wait_for_a_model(start, upstream, tmp_path):
    """Unless the model was open before the end was asked for; then once more."""
    for i in range(20):
        folder = tmp_path / str(i)
        gateway = start(policy(upstream.url, folder), folder=folder)
        before = gateway.policy_file.read_text()
        thread, box = in_background(lambda: put(gateway, with_model(upstream.url, folder)))
        gateway.until(lambda: openings(gateway) == 1, "the model to be opened", timeout_s=30)
        gateway.stop(timeout_s=15)
        thread.join()
        status, reply = box["result"]
        if status != 200:
            break
    assert status == 503 and reply["error"]["code"] == "shutting_down"
    assert gateway.policy_file.read_text() == before and gateway.log.read_text().count("policy serves\" version=") == 1


def test_a_broken_model_is_refused_and_nothing_is_written(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    before, text = gateway.version(), gateway.policy_file.read_text()
    broken = tmp_path / "model"
    broken.mkdir()
    for file in MODEL.rglob("*"):
        copy = broken / file.relative_to(MODEL)
        if file.is_dir():
            copy.mkdir()
        elif file.name == "model.safetensors":
            copy.write_bytes(file.read_bytes()[:1000])
        else:
            copy.write_bytes(file.read_bytes())
    status, reply = put(gateway, with_model(upstream.url, tmp_path, model=f"{broken}/"))
    assert status == 422 and reply["error"]["diagnostics"][0]["path"] == "encoder.model", reply
    assert gateway.version() == before and gateway.policy_file.read_text() == text
    assert gateway.get("/readyz")["policy"]["stale"] is False
    status, reply = put(gateway, with_model(upstream.url, tmp_path, 64, MODEL))  # and the next one is as good as ever
    assert status == 200 and gateway.version() != before

"""How a policy comes to serve, what a broken one does, and how the process ends."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from conftest import policy, weirproc
import scripted

wait_until = weirproc.wait_until


def held(release):
    """A step that answers when `release` is set."""
    def step(exchange):
        release.wait()
        scripted.whole()(exchange)
    return step


def in_background(call):
    box = {}

    def run():
        try:
            box["result"] = call()
        except OSError as error:
            box["result"] = error
    thread = threading.Thread(target=run)
    thread.start()
    return thread, box


# ---- reload ----

def test_sighup_loads_the_new_file(gateway, upstream, tmp_path):
    before = gateway.version()
    gateway.policy_file.write_text(policy(upstream.url, tmp_path, model="other"))
    gateway.child.send_signal(signal.SIGHUP)
    gateway.until_another(before)
    assert gateway.chat("other")[0] == 200
    assert gateway.chat("small")[0] == 404


@pytest.mark.parametrize("how", ["in_place", "rename", "symlink_swap", "unlink_then_write"])
def test_a_changed_file_is_noticed(start, upstream, tmp_path, how):
    old, new = policy(upstream.url, tmp_path), policy(upstream.url, tmp_path, model="other")
    if how == "symlink_swap":  # as Kubernetes mounts a ConfigMap: weir.yaml -> ..data/weir.yaml, ..data -> ..1
        for name, text in (("..1", old), ("..2", new)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "weir.yaml").write_text(text)
        (tmp_path / "..data").symlink_to("..1")
        (tmp_path / "weir.yaml").symlink_to("..data/weir.yaml")
    gateway = start(old)
    before = gateway.version()
    if how == "in_place":
        gateway.policy_file.write_text(new)
    elif how == "rename":
        (tmp_path / "weir.yaml.tmp").write_text(new)
        os.rename(tmp_path / "weir.yaml.tmp", gateway.policy_file)
    elif how == "symlink_swap":
        (tmp_path / "..data_tmp").symlink_to("..2")
        os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
    else:
        gateway.policy_file.unlink()
        gateway.policy_file.write_text(new)
    gateway.until(lambda: gateway.version() != before, "another version")
    assert gateway.get("/readyz")["policy"]["stale"] is False


def test_a_change_is_noticed_before_the_poll(gateway, upstream, tmp_path):
    """Sooner than the 5 s of the poll that stands in where there are no events, but for a machine that was held up."""
    for n in range(5):
        before, began = gateway.version(), time.monotonic()
        gateway.policy_file.write_text(policy(upstream.url, tmp_path, price=f"{n + 2}.00"))
        gateway.until(lambda: gateway.version() != before, f"version {n}")
        if time.monotonic() - began < 2:
            return
    raise AssertionError("no change was noticed within 2 s")


def test_a_file_behind_a_link_into_another_folder_is_watched(start, upstream, tmp_path):
    real = tmp_path / "elsewhere"
    real.mkdir()
    (real / "real.yaml").write_text(policy(upstream.url, tmp_path))
    (tmp_path / "weir.yaml").symlink_to(real / "real.yaml")
    gateway = start(policy(upstream.url, tmp_path))
    before = gateway.version()
    (real / "real.yaml").write_text(policy(upstream.url, tmp_path, model="other"))
    gateway.until(lambda: gateway.version() != before, "another version")


def test_an_unchanged_file_is_not_a_new_version(gateway):
    ok = gateway.metric('weir_policy_reloads_total{result="ok"}')
    gateway.child.send_signal(signal.SIGHUP)
    gateway.until(lambda: gateway.metric('weir_policy_reloads_total{result="unchanged"}') >= 1, "the reload to be counted")
    assert gateway.metric('weir_policy_reloads_total{result="ok"}') == ok
    assert len(gateway.get("/admin/policy/versions")["versions"]) == 1


def test_a_broken_file_leaves_the_old_policy_serving_and_says_so(gateway, upstream, tmp_path):
    before = gateway.version()
    gateway.policy_file.write_text(policy(upstream.url, tmp_path).replace("cascade: [small]", "cascade: [smal]"))
    gateway.child.send_signal(signal.SIGHUP)
    gateway.until(lambda: gateway.get("/readyz")["policy"]["stale"], "a stale policy")
    detail = gateway.get("/readyz")["policy"]
    assert detail["version"] == before
    fault = detail["error"]["diagnostics"][0]
    assert fault["severity"] == "error" and fault["line"] > 0 and "smal" in fault["message"], fault
    gateway.until(lambda: gateway.metric("weir_policy_stale") == 1, "the metric")
    gateway.until(lambda: gateway.metric('weir_policy_reloads_total{result="invalid"}') >= 1, "the reload to be counted")
    gateway.until(lambda: "smal" in gateway.tail() and "level=error" in gateway.tail(), "the line in the log")
    assert gateway.chat()[0] == 200
    gateway.policy_file.write_text(policy(upstream.url, tmp_path))
    gateway.until(lambda: not gateway.get("/readyz")["policy"]["stale"], "the fault to be gone")
    gateway.until(lambda: gateway.metric("weir_policy_stale") == 0, "the metric")
    assert gateway.version() == before


def test_a_missing_file_is_a_fault_not_an_end(gateway):
    gateway.policy_file.unlink()
    gateway.until(lambda: gateway.get("/readyz")["policy"]["stale"], "a stale policy")
    assert gateway.chat()[0] == 200


def test_a_change_that_needs_a_restart_is_refused_by_name(gateway, upstream, tmp_path):
    before = gateway.version()
    gateway.policy_file.write_text(policy(upstream.url, tmp_path).replace("workers: 2", "workers: 3"))
    gateway.until(lambda: gateway.get("/readyz")["policy"]["stale"], "a stale policy")
    detail = gateway.get("/readyz")["policy"]
    assert detail["version"] == before and "workers" in detail["error"]["why"], detail
    assert gateway.chat()[0] == 200


def test_a_key_file_that_changed_is_read_on_sighup(start, upstream, tmp_path):
    (tmp_path / "key").write_text("first\n")
    text = policy(upstream.url, tmp_path).replace('url: "', f'key_file: "{tmp_path}/key", url: "')
    gateway = start(text)
    gateway.chat()
    assert upstream.last.header("Authorization") == "Bearer first"
    (tmp_path / "key").write_text("second\n")
    gateway.child.send_signal(signal.SIGHUP)

    def second():
        gateway.chat()
        return upstream.last.header("Authorization") == "Bearer second"
    gateway.until(second, "the second key")


def test_a_request_keeps_the_policy_it_began_with(gateway, upstream, tmp_path):
    release = threading.Event()
    upstream.play(held(release))
    thread, box = in_background(gateway.chat)
    gateway.until(lambda: gateway.get("/admin/requests")["requests"], "the request in flight")
    before = gateway.version()
    gateway.policy_file.write_text(policy(upstream.url, tmp_path, model="other"))
    gateway.until(lambda: gateway.version() != before, "another version")
    release.set()
    thread.join()
    status, headers, _ = box["result"]
    assert status == 200 and headers["x-weir-model"] == "small"


def test_reloading_under_load_loses_nothing(gateway, upstream, tmp_path):
    stop, statuses = threading.Event(), []

    def load():
        while not stop.is_set():
            statuses.append(gateway.chat()[0])
    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(10):
        before = gateway.version()
        gateway.policy_file.write_text(policy(upstream.url, tmp_path, price=f"{n + 2}.00"))
        gateway.child.send_signal(signal.SIGHUP)
        gateway.until(lambda: gateway.version() != before, f"version {n}")
        answered = len(statuses)
        gateway.until(lambda: len(statuses) > answered + 4, "requests under it")
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}, statuses


def test_the_log_level_follows_the_policy(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    assert gateway.put(policy(upstream.url, tmp_path, server=", log_level: debug"))[0] == 200
    gateway.child.send_signal(signal.SIGHUP)
    gateway.until(lambda: "level=debug" in gateway.tail(), "debug lines")


def test_sighup_reopens_the_access_log(start, upstream, tmp_path):
    log = tmp_path / "access.log"
    gateway = start(policy(upstream.url, tmp_path, server=f', access_log: "{log}"'))
    assert gateway.chat()[0] == 200
    gateway.until(lambda: log.exists() and "status=200" in log.read_text(), "a line")
    rotated = log.rename(tmp_path / "access.log.1")
    gateway.child.send_signal(signal.SIGHUP)
    gateway.until(log.exists, "a new file")
    assert gateway.chat()[0] == 200
    gateway.stop()
    assert log.read_text().count("status=200") == 1 and rotated.read_text().count("status=200") == 1


def test_a_storm_of_signals_and_writes(gateway, upstream, tmp_path):
    for n in range(100):
        gateway.policy_file.write_text(policy(upstream.url, tmp_path, price=f"{n + 1}.00"))
        gateway.child.send_signal(signal.SIGHUP)
    gateway.until(lambda: "input: 100.00" in gateway.get("/admin/policy").decode(), "the last text")
    assert gateway.get("/readyz")["policy"]["stale"] is False
    assert gateway.chat()[0] == 200


def test_loopback_of_ipv6(start, upstream, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    gateway = start(policy(upstream.url, tmp_path, listen="[::1]:0", admin="[::1]:0"))
    assert gateway.base.startswith("http://[::1]:")
    assert gateway.chat()[0] == 200
    assert gateway.request("GET", "/admin/policy")[0] == 200


# ---- the end ----

def test_drain_lets_requests_in_flight_end(gateway, upstream):
    release = threading.Event()
    upstream.play(held(release))
    thread, box = in_background(gateway.chat)
    gateway.until(lambda: gateway.get("/admin/requests")["requests"], "the request in flight")
    gateway.child.send_signal(signal.SIGTERM)
    gateway.until(lambda: gateway.request("GET", "/readyz")[0] == 503, "readyz to say 503")
    assert gateway.request("GET", "/readyz")[2]["status"] == "draining"
    assert gateway.request("GET", "/healthz")[0] == 200
    listed = gateway.get("/admin/requests")["requests"]
    assert len(listed) == 1, "what holds up the drain can still be seen"
    with pytest.raises(OSError):
        gateway.chat(timeout_s=5)
    release.set()
    thread.join()
    assert box["result"][0] == 200
    assert gateway.child.wait(30 * weirproc.slowness()) == 0
    database = sqlite3.connect(f"file:{gateway.state_dir}/ledger.sqlite?mode=ro", uri=True)
    assert database.execute("select count(*) from requests").fetchone() == (1,)


def test_drain_aborts_what_takes_too_long(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path).replace("drain: 20s", "drain: 200ms"))
    upstream.play(scripted.silent)
    thread, box = in_background(gateway.chat)
    gateway.until(lambda: gateway.get("/admin/requests")["requests"], "the request in flight")
    gateway.stop()  # nothing else would end it
    thread.join()
    result = box["result"]
    assert isinstance(result, OSError) or result[0] == 503, result


def test_a_second_signal_ends_at_once(gateway, upstream):
    upstream.play(scripted.silent)
    thread, _ = in_background(gateway.chat)
    gateway.until(lambda: gateway.get("/admin/requests")["requests"], "the request in flight")
    gateway.child.send_signal(signal.SIGTERM)
    gateway.until(lambda: gateway.request("GET", "/readyz")[0] == 503, "the drain")
    gateway.child.send_signal(signal.SIGINT)
    assert gateway.child.wait(10 * weirproc.slowness()) == -signal.SIGINT
    thread.join()
    gateway.child.returncode = 0  # as expected: the fixture need not complain


@pytest.mark.parametrize("patient", [True, False])
def test_a_ledger_that_cannot_be_written_is_no_clean_end(gateway, patient):
    database = sqlite3.connect(gateway.state_dir / "ledger.sqlite", isolation_level=None)
    database.execute("begin exclusive")
    assert gateway.chat()[0] == 200
    gateway.child.send_signal(signal.SIGTERM)
    if patient:
        assert gateway.child.wait(40 * weirproc.slowness()) == 5
        assert "ledger not written out" in gateway.tail()
    else:
        def admin_is_gone():
            try:
                return not gateway.request("GET", "/healthz")
            except OSError:
                return True
        gateway.until(admin_is_gone, "the loop to end")
        gateway.child.send_signal(signal.SIGTERM)
        assert gateway.child.wait(5 * weirproc.slowness()) == -signal.SIGTERM
    gateway.child.returncode = 0  # as expected: the fixture need not complain
    database.close()


def test_sigint_drains_too(gateway):
    gateway.child.send_signal(signal.SIGINT)
    assert gateway.child.wait(20 * weirproc.slowness()) == 0


# ---- what stops a start, with its exit code ----

def serve(weir, tmp_path, text, *more, **kwargs):
    (tmp_path / "weir.yaml").write_text(text)
    return weir("serve", "-c", tmp_path / "weir.yaml", *more, **kwargs)


def test_port_in_use(weir, gateway, upstream, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    done = serve(weir, other, policy(upstream.url, other, listen=gateway.base.removeprefix("http://")))
    assert done.returncode == 4
    assert "cannot listen" in done.stderr and gateway.base.rpartition(":")[2] in done.stderr
    done = serve(weir, other, policy(upstream.url, other, admin=gateway.admin.removeprefix("http://")))
    assert done.returncode == 4
    assert "admin" in done.stderr


def test_state_directory_in_use(weir, gateway, upstream, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    done = serve(weir, other, policy(upstream.url, tmp_path))
    assert done.returncode == 4
    assert "in use" in done.stderr


def test_state_directory_that_cannot_be_made(weir, upstream, tmp_path):
    (tmp_path / "state").write_text("a file where a folder should be")
    done = serve(weir, tmp_path, policy(upstream.url, tmp_path))
    assert done.returncode == 4
    assert str(tmp_path / "state") in done.stderr


def test_state_directory_is_private(gateway):
    assert gateway.state_dir.stat().st_mode & 0o777 == 0o700


def test_broken_policy(weir, upstream, tmp_path):
    text = policy(upstream.url, tmp_path).replace("cascade:", "casade:")
    done = serve(weir, tmp_path, text, "--port-file", tmp_path / "ports")
    assert done.returncode == 3
    checked = weir("check", tmp_path / "weir.yaml")
    assert done.stderr.splitlines() == checked.stdout.splitlines()[:-1]
    assert not (tmp_path / "ports").exists()


def test_missing_policy(weir, tmp_path):
    done = weir("serve", "-c", tmp_path / "none.yaml")
    assert done.returncode == 3
    assert "none.yaml" in done.stderr


def test_port_file_that_cannot_be_written(weir, upstream, tmp_path):
    done = serve(weir, tmp_path, policy(upstream.url, tmp_path), "--port-file", tmp_path / "no" / "ports")
    assert done.returncode == 4
    assert "port file" in done.stderr


# ---- versions outlive the process ----

def test_versions_survive_a_restart_and_serials_go_on(start, upstream, tmp_path):
    first, second = policy(upstream.url, tmp_path), policy(upstream.url, tmp_path, price="2.00")
    gateway = start(first)
    gateway.stop()
    gateway = start(second)
    versions = gateway.get("/admin/policy/versions")["versions"]
    assert [(v["serial"], v["serving"]) for v in versions] == [(2, True), (1, False)]
    assert gateway.get("/admin/policy/versions/1").decode() == first
    gateway.stop()
    gateway = start(second)
    assert len(gateway.get("/admin/policy/versions")["versions"]) == 2, "the same text is not a new version"


def test_a_torn_index_line_is_not_a_version(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    gateway.stop()
    with open(gateway.state_dir / "policies" / "index.jsonl", "a") as index:
        index.write('not json\n{"serial": 7, "version": "../../etc/passwd", "loaded_wall_us": 1, "origin": "x"}\n{"serial": 9')
    gateway = start(policy(upstream.url, tmp_path, price="2.00"))
    versions = gateway.get("/admin/policy/versions")["versions"]
    assert [v["serial"] for v in versions] == [2, 1]


def test_a_killed_process_leaves_a_usable_state(start, upstream, tmp_path):
    gateway = start(policy(upstream.url, tmp_path))
    gateway.kill()
    gateway.child.returncode = 0
    again = start(policy(upstream.url, tmp_path))
    assert again.chat()[0] == 200


def test_the_log_never_holds_keys(start, upstream, tmp_path):
    text = policy(upstream.url, tmp_path).replace('url: "', 'key_env: UP_KEY, url: "')
    gateway = start(text, env={"UP_KEY": "sk-very-secret"})
    assert gateway.chat()[0] == 200
    assert upstream.last.header("Authorization") == "Bearer sk-very-secret"
    shown = json.dumps(gateway.get("/admin/backends")) + gateway.get("/admin/policy").decode()
    gateway.stop()
    assert "sk-very-secret" not in shown + gateway.log.read_text()


def test_logs_say_where_and_that_there_are_no_tenants(gateway):
    log = gateway.log.read_text()
    assert gateway.base.removeprefix("http://") in log and gateway.admin.removeprefix("http://") in log
    assert "no tenants are configured" in log


def test_standard_streams_may_be_closed(upstream, tmp_path, weir):
    """A supervisor may close them; descriptors 0..2 must then not become sockets that are written logs."""
    (tmp_path / "weir.yaml").write_text(policy(upstream.url, tmp_path))
    ports = tmp_path / "ports"
    child = subprocess.Popen([weir.program, "serve", "-c", tmp_path / "weir.yaml", "--port-file", ports],
                             close_fds=True, preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])
    try:
        wait_until(lambda: child.poll() is None and ports.exists(), 20, "the port file")
        admin = dict(line.split("=") for line in ports.read_text().split())["admin"]
        assert weirproc.http("GET", f"http://{admin}/healthz")[2] == b"ok\n"
    finally:
        child.send_signal(signal.SIGTERM)
    assert child.wait(30 * weirproc.slowness()) == 0

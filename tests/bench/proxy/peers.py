"""The systems that are measured: how each is configured, started, pinned and watched. Each is given one core."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).resolve().parent
LOAD_CORE, PROXY_CORE = 0, 1
READY_S = 60
CLOSE_WAIT_S = 10


def free_ports(count):
    """Ports that were free a moment ago; programs that cannot choose their own get these."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
        return True
    except OSError:
        return False


class Program:
    """A child on given cores in a process group of its own, so that a tree of workers ends with it."""

    def __init__(self, argv, log, cores, env=None, cwd=None):
        self.log = Path(log)
        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(["taskset", "-c", cores, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                          start_new_session=True, env={**os.environ, **(env or {})}, cwd=cwd)

    def wait_port(self, port):
        deadline = time.monotonic() + READY_S
        while not listens(port):
            if self.child.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"no listener on its port; the end of {self.log}:\n{self.log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.05)

    def pids(self):
        """The process and all its descendants."""
        found, todo = [], [self.child.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            try:
                for task in os.listdir(f"/proc/{pid}/task"):
                    todo += map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split())
            except OSError:
                pass  # it ended meanwhile
        return found

    def cpu_ns(self):
        """Time on a CPU of all its threads, as the scheduler counted it."""
        total = 0
        for pid in self.pids():
            for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    total += int(stat.read_text().split()[0])
                except OSError:
                    pass
        return total

    def rss_kb(self):
        """Resident memory of the tree; pages that processes share are counted once (Pss)."""
        total = 0
        for pid in self.pids():
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1])
            except OSError:
                pass
        return total

    def stop(self):
        try:
            os.killpg(self.child.pid, signal.SIGTERM)
            self.child.wait(CLOSE_WAIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        except ProcessLookupError:
            pass


class System:
    """name, port of the plain and of the TLS-upstream listener, headers that its client must send."""

    def __init__(self, name, program, port, tls_port=None, headers=(), model="bench", tls_model="bench", version=""):
        self.name, self.program, self.port, self.tls_port = name, program, port, tls_port
        self.headers, self.model, self.tls_model, self.version = list(headers), model, tls_model, version


def first_line(argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    text = (done.stdout + done.stderr).strip()
    return text.splitlines()[0] if text else ""


def weir(work, build, upstream, tls_upstream, ca, silent_port, workers=1, cores=str(PROXY_CORE), name="weir"):
    """Everything on: policy, metrics, cost accounting, ledger, access log."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, admin = free_ports(2)
    (folder / "weir.yaml").write_text(f"""
version: 1
server:
  listen: "127.0.0.1:{port}"
  admin: "127.0.0.1:{admin}"
  workers: {workers}
  state_dir: "{folder}/state"
  access_log: "{folder}/access.log"
backends:
  plain: {{dialect: openai, url: "http://127.0.0.1:{upstream}/v1", limits: {{idle_connections: 1024}}}}
  tls: {{dialect: openai, url: "https://127.0.0.1:{tls_upstream}/v1", tls: {{ca_file: "{ca}"}}, limits: {{idle_connections: 1024}}}}
  silent: {{dialect: openai, url: "http://127.0.0.1:{silent_port}/v1"}}
models:
  bench: {{backend: plain, context: 131072, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
  bench-tls: {{backend: tls, context: 131072, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
  bench-silent: {{backend: silent, context: 131072, price: {{input: 2.50, output: 10.00}}}}
routes:
  - {{name: plain, match: {{model: bench}}, cascade: [bench]}}
  - {{name: tls, match: {{model: bench-tls}}, cascade: [bench-tls]}}
  - {{name: silent, match: {{model: bench-silent}}, cascade: [bench-silent]}}
""")
    program = Program([build / "gateway/weir", "serve", "-c", folder / "weir.yaml"], folder / "weir.log", cores)
    program.wait_port(port)
    program.wait_port(admin)
    system = System(name, program, port, port, tls_model="bench-tls", version=first_line([build / "gateway/weir", "version"]))
    system.admin, system.folder = admin, folder
    return system


def nginx(work, upstream, tls_upstream):
    folder = work / "nginx"
    folder.mkdir(parents=True, exist_ok=True)
    port, tls_port = free_ports(2)
    text = (HERE / "nginx.conf.in").read_text()
    for key, value in {"FOLDER": folder, "PORT": port, "TLS_PORT": tls_port, "UPSTREAM": upstream, "TLS_UPSTREAM": tls_upstream}.items():
        text = text.replace(f"@{key}@", str(value))
    (folder / "nginx.conf").write_text(text)
    program = Program(["nginx", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "error.log"], folder / "nginx.log", str(PROXY_CORE))
    program.wait_port(port)
    return System("nginx", program, port, tls_port, version=first_line(["nginx", "-v"]))


def haproxy(work, upstream, tls_upstream):
    folder = work / "haproxy"
    folder.mkdir(parents=True, exist_ok=True)
    port, tls_port = free_ports(2)
    text = (HERE / "haproxy.cfg.in").read_text()
    for key, value in {"PORT": port, "TLS_PORT": tls_port, "UPSTREAM": upstream, "TLS_UPSTREAM": tls_upstream}.items():
        text = text.replace(f"@{key}@", str(value))
    (folder / "haproxy.cfg").write_text(text)
    program = Program(["haproxy", "-db", "-q", "-f", folder / "haproxy.cfg"], folder / "haproxy.log", str(PROXY_CORE))
    program.wait_port(port)
    return System("haproxy", program, port, tls_port, version=first_line(["haproxy", "-v"]))


def portkey(work, upstream):
    server = ROOT / "build/bench/portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    if not server.exists():
        raise RuntimeError("not installed (deploy/setup.sh --bench)")
    (port,) = free_ports(1)
    program = Program(["node", server, f"--port={port}", "--headless"], work / "portkey.log", str(PROXY_CORE), env={"NODE_ENV": "production"})
    program.wait_port(port)
    version = json.loads((server.parents[1] / "package.json").read_text())["version"]
    return System("portkey", program, port, version=f"@portkey-ai/gateway {version}, node {first_line(['node', '--version'])}",
                  headers=["x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{upstream}/v1", "Authorization: Bearer x"])


def litellm(work, upstream):
    command = ROOT / "build/bench/litellm/bin/litellm"
    if not command.exists():
        raise RuntimeError("not installed (deploy/setup.sh --bench)")
    folder = work / "litellm-run"
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    key = "sk-" + secrets.token_hex(32)  # it does not start without one
    (folder / "config.yaml").write_text(f"""
model_list:
  - model_name: bench
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{upstream}/v1", api_key: x}}
litellm_settings: {{telemetry: false, num_retries: 0}}
""")
    program = Program([command, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", port, "--num_workers", "1",
                       "--telemetry", "False"], folder / "litellm.log", str(PROXY_CORE),
                      env={"LITELLM_MASTER_KEY": key, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1",
                           "PATH": f"{command.parent}:{os.environ['PATH']}"}, cwd=folder)
    program.wait_port(port)
    version = first_line([str(command.parent / "python"), "-c", "import importlib.metadata as m; print(m.version('litellm'))"])
    return System("litellm", program, port, headers=[f"Authorization: Bearer {key}"], version=f"litellm {version}")


def upstreams(work, build, chunk_interval_us):
    """Three echo fleets on the load's core: plain, TLS, and one whose streams are slow enough to pile up."""
    tls = work / "tls"
    tls.mkdir(parents=True, exist_ok=True)
    if not (tls / "cert.pem").exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
                        "-subj", "/CN=weir bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tls / "key.pem",
                        "-out", tls / "cert.pem"], check=True, capture_output=True)
    fleet = build / "tests/fleet/weir-fleet"
    programs, ports = [], []
    for name, options in (("plain", []), ("tls", ["--tls-cert", tls / "cert.pem", "--tls-key", tls / "key.pem"])):
        (port,) = free_ports(1)
        program = Program([fleet, "--echo", "--port", port, "--stamp", "--chunk-interval-us", chunk_interval_us, *options],
                          work / f"upstream-{name}.log", str(LOAD_CORE))
        program.wait_port(port)
        programs.append(program)
        ports.append(port)
    return programs, ports, tls / "cert.pem"

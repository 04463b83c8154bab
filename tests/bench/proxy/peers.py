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

    def threads_ns(self):
        """{name: time on a CPU of all threads of that name, as the scheduler counted it}."""
        found = {}
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").glob("*"):
                try:
                    name = (task / "comm").read_text().strip()
                    found[name] = found.get(name, 0) + int((task / "schedstat").read_text().split()[0])
                except OSError:
                    pass  # it ended meanwhile
        return found

    def cpu_ns(self):
        """Time on a CPU of all its threads."""
        return sum(self.threads_ns().values())

    def rss_kb(self):
        """Resident memory: Rss of a single process; of a tree the sum of Pss, which counts shared pages once."""
        pids = self.pids()
        field = "Rss:" if len(pids) == 1 else "Pss:"
        total = 0
        for pid in pids:
            try:
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith(field):
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
    """Where a client finds it: the ports before the plain, the TLS and the slow upstream, and the models to ask for there (weir
    has one port and tells them apart by model); headers that its client must send."""

    def __init__(self, name, program, port, tls_port=None, slow_port=None, headers=(), model="bench", tls_model="bench",
                 slow_model="bench", version=""):
        self.name, self.program, self.version, self.headers = name, program, version, list(headers)
        self.port, self.tls_port, self.slow_port = port, tls_port, slow_port
        self.model, self.tls_model, self.slow_model = model, tls_model, slow_model


def first_line(argv):
    done = subprocess.run(argv, capture_output=True, text=True)
    text = (done.stdout + done.stderr).strip()
    return text.splitlines()[0] if text else ""


def weir(work, build, ports, ca, workers=1, cores=str(PROXY_CORE), name="weir"):
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
  plain: {{dialect: openai, url: "http://127.0.0.1:{ports["plain"]}/v1", limits: {{idle_connections: 1024}}}}
  tls: {{dialect: openai, url: "https://127.0.0.1:{ports["tls"]}/v1", tls: {{ca_file: "{ca}"}}, limits: {{idle_connections: 1024}}}}
  slow: {{dialect: openai, url: "http://127.0.0.1:{ports["slow"]}/v1", limits: {{idle_connections: 1024}}}}
  silent: {{dialect: openai, url: "http://127.0.0.1:{ports["silent"]}/v1"}}
models:
  bench: {{backend: plain, context: 131072, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
  bench-tls: {{backend: tls, context: 131072, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
  bench-slow: {{backend: slow, context: 131072, price: {{input: 2.50, cached_input: 1.25, output: 10.00}}}}
  bench-silent: {{backend: silent, context: 131072, price: {{input: 2.50, output: 10.00}}}}
routes:
  - {{name: plain, match: {{model: bench}}, cascade: [bench]}}
  - {{name: tls, match: {{model: bench-tls}}, cascade: [bench-tls]}}
  - {{name: slow, match: {{model: bench-slow}}, cascade: [bench-slow]}}
  - {{name: silent, match: {{model: bench-silent}}, cascade: [bench-silent]}}
""")
    program = Program([build / "gateway/weir", "serve", "-c", folder / "weir.yaml"], folder / "weir.log", cores)
    program.wait_port(port)
    program.wait_port(admin)
    return System(name, program, port, port, port, tls_model="bench-tls", slow_model="bench-slow",
                  version=first_line([build / "gateway/weir", "version"]))


def filled_in(template, target, **values):
    """Writes the template with each @NAME@ replaced; the target's path."""
    text = (HERE / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return target


def nginx(work, ports):
    folder = work / "nginx"
    port, tls_port, slow_port = free_ports(3)
    conf = filled_in("nginx.conf.in", folder / "nginx.conf", FOLDER=folder, PORT=port, TLS_PORT=tls_port, SLOW_PORT=slow_port,
                     UPSTREAM=ports["plain"], TLS_UPSTREAM=ports["tls"], SLOW_UPSTREAM=ports["slow"])
    program = Program(["nginx", "-p", folder, "-c", conf, "-e", folder / "error.log"], folder / "nginx.log", str(PROXY_CORE))
    program.wait_port(port)
    return System("nginx", program, port, tls_port, slow_port, version=first_line(["nginx", "-v"]))


def haproxy(work, ports):
    folder = work / "haproxy"
    port, tls_port, slow_port = free_ports(3)
    conf = filled_in("haproxy.cfg.in", folder / "haproxy.cfg", PORT=port, TLS_PORT=tls_port, SLOW_PORT=slow_port,
                     UPSTREAM=ports["plain"], TLS_UPSTREAM=ports["tls"], SLOW_UPSTREAM=ports["slow"])
    program = Program(["haproxy", "-db", "-q", "-f", conf], folder / "haproxy.log", str(PROXY_CORE))
    program.wait_port(port)
    return System("haproxy", program, port, tls_port, slow_port, version=first_line(["haproxy", "-v"]))


def portkey(work, ports):
    server = ROOT / "build/bench/portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    if not server.exists():
        raise RuntimeError("not installed (deploy/setup.sh --bench)")
    (port,) = free_ports(1)
    program = Program(["node", server, f"--port={port}", "--headless"], work / "portkey.log", str(PROXY_CORE), env={"NODE_ENV": "production"})
    program.wait_port(port)
    version = json.loads((server.parents[1] / "package.json").read_text())["version"]
    return System("portkey", program, port, version=f"@portkey-ai/gateway {version}, node {first_line(['node', '--version'])}",
                  headers=["x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{ports['plain']}/v1", "Authorization: Bearer x"])


def litellm(work, ports):
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
    litellm_params: {{model: openai/bench, api_base: "http://127.0.0.1:{ports["plain"]}/v1", api_key: x}}
litellm_settings: {{telemetry: false, num_retries: 0}}
""")
    program = Program([command, "--config", folder / "config.yaml", "--host", "127.0.0.1", "--port", port, "--num_workers", "1",
                       "--telemetry", "False"], folder / "litellm.log", str(PROXY_CORE),
                      env={"LITELLM_MASTER_KEY": key, "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1",
                           "PATH": f"{command.parent}:{os.environ['PATH']}"}, cwd=folder)
    program.wait_port(port)
    version = first_line([str(command.parent / "python"), "-c", "import importlib.metadata as m; print(m.version('litellm'))"])
    return System("litellm", program, port, headers=[f"Authorization: Bearer {key}"], version=f"litellm {version}")


def upstreams(work, build, chunk_interval_us, slow_interval_us):
    """([programs], {"plain", "tls", "slow": port}, certificate): echo fleets on the load's core; slow's streams last long enough
    to be held all at once."""
    tls = work / "tls"
    tls.mkdir(parents=True, exist_ok=True)
    if not (tls / "cert.pem").exists():
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650",
                        "-subj", "/CN=weir bench", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tls / "key.pem",
                        "-out", tls / "cert.pem"], check=True, capture_output=True)
    programs, ports = [], {}
    for name, interval_us, options in (("plain", chunk_interval_us, []), ("slow", slow_interval_us, []),
                                       ("tls", chunk_interval_us, ["--tls-cert", tls / "cert.pem", "--tls-key", tls / "key.pem"])):
        (ports[name],) = free_ports(1)
        programs.append(Program([build / "tests/fleet/weir-fleet", "--echo", "--port", ports[name], "--stamp",
                                 "--chunk-interval-us", interval_us, *options], work / f"upstream-{name}.log", str(LOAD_CORE)))
        programs[-1].wait_port(ports[name])
    return programs, ports, tls / "cert.pem"

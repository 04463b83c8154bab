// Starts weir in front of weir-fleet for the Node.js tests, on ports that the kernel chooses.
import {spawn} from 'node:child_process';
import {existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../../..');
const READY_MS = 30000;
const PATIENCE = 4; // as in weirproc.py: limits only end what has failed already
const PATIENT = 'connect: 60s, first_byte: 120s, between_bytes: 120s, total: 300s';

function buildDir() {
  const candidates = process.env.WEIR_BUILD
    ? [process.env.WEIR_BUILD]
    : ['dev', 'asan', 'release'].map((b) => join(root, 'build', b));
  const found = candidates.find((d) => existsSync(join(d, 'gateway/weir')));
  if (!found) throw new Error(`no gateway/weir in ${candidates}: build first, or set WEIR_BUILD`);
  return found;
}

// How many times longer things may take here than the limits in the tests say.
export function slowness() {
  const cache = join(buildDir(), 'CMakeCache.txt');
  const found = existsSync(cache) && /^WEIR_SANITIZE:[A-Z]+=(.+)$/m.exec(readFileSync(cache, 'utf8'));
  return PATIENCE * (!found ? 1 : found[1].includes('thread') ? 4 : 2);
}

export async function waitUntil(condition, timeoutMs, what) {
  const limitMs = timeoutMs * slowness();
  const deadline = performance.now() + limitMs;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > deadline) throw new Error(`not within ${limitMs} ms: ${what}`);
    await new Promise((r) => setTimeout(r, 10));
  }
}

class Process {
  constructor(argv, log) {
    this.log = log;
    const out = openSync(log, 'w');
    this.child = spawn(argv[0], argv.slice(1), {stdio: ['ignore', out, out]});
    this.ended = new Promise((done) => this.child.once('exit', (code, signal) => done(code ?? signal)));
  }

  alive() {
    if (this.child.exitCode !== null) throw new Error(`ended with ${this.child.exitCode}:\n${readFileSync(this.log)}`);
    return true;
  }

  // Asks it to end; anything but a clean end (a sanitizer's report) is an error.
  async stop() {
    this.child.kill('SIGTERM');
    const status = await this.ended;
    if (status !== 0) throw new Error(`ended with ${status}:\n${readFileSync(this.log, 'utf8').slice(-6000)}`);
  }
}

const answers = async (url) => {
  try {
    const reply = await fetch(url);
    await reply.arrayBuffer();
    return reply.status === 200;
  } catch {
    return false;
  }
};

// {base, admin, fleet: {url, get(path), faults(list), reset()}, stop()}; more: further lines of the policy
export async function start(more = '') {
  const folder = mkdtempSync(join(tmpdir(), 'weir-node-'));
  const build = buildDir();
  const fleetPorts = join(folder, 'fleet.port');
  const fleetProcess = new Process([join(build, 'tests/fleet/weir-fleet'), '--port', '0', '--port-file', fleetPorts, '--rows',
    join(root, 'tests/fleet/sample/sample.jsonl.gz'), '--model', 'text-embedding-3-small:0.02:0'], join(folder, 'fleet.log'));
  await waitUntil(() => fleetProcess.alive() && existsSync(fleetPorts) && readFileSync(fleetPorts, 'utf8').trim(), READY_MS, 'the fleet');
  const fleetRoot = 'http://127.0.0.1:' + readFileSync(fleetPorts, 'utf8').trim();
  await waitUntil(() => fleetProcess.alive() && answers(fleetRoot + '/v1/models'), READY_MS, 'the fleet to answer');

  const policy = join(folder, 'weir.yaml');
  const ports = join(folder, 'weir.ports');
  writeFileSync(policy, `
version: 1
server: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 2, state_dir: "${folder}/state"}
backends:
  fleet: {dialect: openai, url: "${fleetRoot}/v1", timeouts: {${PATIENT}}}
  claude: {dialect: anthropic, url: "${fleetRoot}/v1", timeouts: {${PATIENT}}}
models:
  claude-mini: {backend: claude, name: gpt-4o-mini, max_output: 4096, price: {input: 1.00, cached_input: 0.50, output: 2.00}}
  gpt-4o-mini: {backend: fleet, context: 131072, price: {input: 1.00, cached_input: 0.50, output: 2.00}}
  text-embedding-3-small: {backend: fleet, capabilities: [embeddings], price: {input: 0.02}}
retry: {max_attempts: 2, per_model: 2, backoff: {base: 10ms, max: 50ms}, budget: {percent: 100, min_per_second: 1000}}
routes:
  - name: chat
    match: {model: [auto, gpt-4o-mini]}
    cascade: [gpt-4o-mini]
  - name: claude
    match: {model: claude-mini}
    cascade: [claude-mini]
  - name: embed
    match: {model: text-embedding-3-small, api: [embeddings]}
    cascade: [text-embedding-3-small]
${more}`);
  const weirProcess = new Process([join(build, 'gateway/weir'), 'serve', '-c', policy, '--port-file', ports], join(folder, 'weir.log'));
  await waitUntil(() => weirProcess.alive() && existsSync(ports) && readFileSync(ports, 'utf8').includes('admin='), READY_MS, 'weir');
  const where = Object.fromEntries(readFileSync(ports, 'utf8').trim().split('\n').map((l) => l.split('=')));
  await waitUntil(() => weirProcess.alive() && answers(`http://${where.admin}/readyz`), READY_MS, 'weir to be ready');

  const post = async (path, body) => {
    const reply = await fetch(fleetRoot + path, {method: 'POST', body: JSON.stringify(body), headers: {'content-type': 'application/json'}});
    if (!reply.ok) throw new Error(`${path}: ${reply.status} ${await reply.text()}`);
    await reply.arrayBuffer();
  };
  return {
    base: `http://${where.listen}`,
    admin: `http://${where.admin}`,
    fleet: {
      url: fleetRoot + '/v1',
      get: async (path) => (await fetch(fleetRoot + path)).json(),
      faults: (list) => post('/fleet/faults', list),
      async reset() {
        await post('/fleet/faults', []);
        await post('/fleet/reset', {});
      },
    },
    async stop() {
      await weirProcess.stop();
      await fleetProcess.stop();
      rmSync(folder, {recursive: true});
    },
  };
}

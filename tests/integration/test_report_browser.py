"""The report's page in a real browser, light and dark: no script, nothing fetched from anywhere, no error in its console, its pictures
and texts where they can be seen."""

import json
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from test_cascade_objective import Model

import weirproc

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium")
WIDTH, HEIGHT = 1000, 2600

POLICY = """version: 1
server: {{listen: "127.0.0.1:0", admin: "127.0.0.1:0", workers: 1, state_dir: "{folder}/state", drain: 5s}}
backends:
  s: {{dialect: openai, url: "{small}"}}
  b: {{dialect: openai, url: "{big}"}}
models:
  small: {{backend: s, price: {{input: 1, output: 1}}}}
  big: {{backend: b, price: {{input: 10, output: 10}}}}
routes:
  - name: ladder
    match: {{model: auto}}
    cascade: [small, big]
    accept: 0.01
    audit: {{share: 1, judge: big, max_usd_per_day: 1}}
"""


@pytest.fixture
def page(start, weir, tmp_path):
    """The HTML report of a run with audits, which therefore has both pictures."""
    small, big = Model("a wrong answer"), Model("the right answer")
    gateway = start(POLICY.format(folder=tmp_path, small=small.url, big=big.url))
    for _ in range(6):
        assert gateway.chat()[0] == 200
    path = tmp_path / "report.html"

    def whole_report():
        done = weir("report", "--ledger", tmp_path / "state" / "ledger.sqlite", "--html", path)
        return done.returncode == 0 and path.read_text().count("<svg") == 2
    weirproc.wait_until(whole_report, 30, "the audits in the report")
    yield path.read_text()
    small.close()
    big.close()


PROBE = """<script>
addEventListener('error', e => seen.errors.push(String(e.message || e.target.outerHTML)), true);
addEventListener('securitypolicyviolation', e => seen.errors.push(e.blockedURI));
const seen = {errors: []};
addEventListener('load', () => {
  const box = e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; };
  seen.pictures = [...document.querySelectorAll('svg')].map(box);
  seen.marks = [...document.querySelectorAll('svg rect, svg circle')].map(e => {
    const [x, y, w, h] = box(e);
    return document.elementFromPoint(x + w / 2, y + h / 2) === e;
  });
  seen.texts = [...document.querySelectorAll('svg text')].map(e => [box(e), box(e.closest('svg'))]);
  seen.tables = [...document.querySelectorAll('table')].map(box);
  seen.ink = getComputedStyle(document.body).color;
  seen.paper = getComputedStyle(document.body).backgroundColor;
  seen.fetched = performance.getEntriesByType('resource').map(e => e.name);
  seen.wide = document.documentElement.scrollWidth;
  const out = document.createElement('pre');
  out.id = 'seen';
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script>"""


class Server:
    """Serves the page with a probe in its head, and remembers what is asked for."""

    def __init__(self, html):
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200 if self.path == "/" else 404)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                try:
                    self.wfile.write(html.replace("<head>", "<head>" + PROBE, 1).encode() if self.path == "/" else b"")
                except ConnectionError:
                    pass  # of connections that the browser opened to be quick, it drops some

            def log_message(self, *_):
                pass
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def chromium(folder, *argv):
    """No proxy and no name resolves: what is not on 127.0.0.1 cannot be reached."""
    done = subprocess.run([CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--hide-scrollbars",
                           "--disable-background-networking", "--disable-component-update", "--no-proxy-server", f"--user-data-dir={folder}",
                           "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--window-size={WIDTH},{HEIGHT}", *argv],
                          capture_output=True, timeout=60 * weirproc.slowness(), check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode()


def luminance(colour):
    """Relative luminance (WCAG 2) of "rgb(r, g, b)"."""
    parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
    return sum(w * (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4) for w, v in zip((0.2126, 0.7152, 0.0722), parts))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(page, scheme, tmp_path):
    server = Server(page)
    preferred = ["--blink-settings=preferredColorScheme=" + ("0" if scheme == "dark" else "1")]
    dom = chromium(tmp_path / "profile", *preferred, "--dump-dom", server.url)
    told = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.S)
    assert told, dom[-500:]
    seen = json.loads(told[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert seen["errors"] == [] and seen["fetched"] == []
    assert set(server.asked) <= {"/", "/favicon.ico"}, "a browser asks for an icon by itself"
    assert len(seen["pictures"]) == 2 and all(w > 300 and h > 40 for _, _, w, h in seen["pictures"])
    assert len(seen["marks"]) >= 4 and all(seen["marks"]), "bars and points, each the topmost thing where it is"
    for (x, y, w, h), (left, top, width, height) in seen["texts"]:
        assert w > 0 and x >= left - 1 and x + w <= left + width + 1 and y >= top - 1 and y + h <= top + height + 1, "cut off"
    assert seen["wide"] <= WIDTH and seen["tables"], "nothing to scroll sideways for"
    light, dark = sorted((luminance(seen["ink"]), luminance(seen["paper"])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 7, "WCAG AAA"
    assert (luminance(seen["paper"]) < 0.5) == (scheme == "dark")
    server.close()

    shot = tmp_path / "shot.png"
    chromium(tmp_path / "profile", *preferred, f"--screenshot={shot}", (tmp_path / "report.html").as_uri())
    assert shot.stat().st_size > 20_000, "as a file, without the probe, it is drawn too"

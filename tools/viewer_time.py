"""How long the page of trajectories takes in Chromium: until its list stands, a frame while scrolling, to open, to search.

    python -m tools.made_rollouts --questions 7473 --shards 1 --seed 0 --output /tmp/big   # then score_rollouts, view_trajectories
    python -m tools.viewer_time results/demo/trajectories.html

Milliseconds: `listed` from the page's start to its first lines; `frame` median, 99 % and longest of 240 frames, each
scrolled by 900 pixels; `opened` from a click to the trajectories; `searched` all texts for a word that none has.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from html import unescape
from pathlib import Path

from regime_w.runtime.errors import UserError, run

PROBE = """<script>
const until = f => new Promise(ok => { const t = () => f() ? ok(performance.now()) : setTimeout(t, 2); t(); });
(async () => {
  const $ = name => document.getElementById(name), lines = () => document.querySelectorAll("#list .line");
  const listed = await until(() => lines().length > 3);
  const gaps = [];
  for (let last = performance.now(), i = 0; i < 240; i++) {
    $("list").scrollTop += 900;
    await new Promise(requestAnimationFrame);
    gaps.push(performance.now() - last);
    last = performance.now();
  }
  gaps.sort((a, b) => a - b);
  let from = performance.now();
  lines()[3].click();
  const opened = await until(() => $("item").querySelectorAll("section, pre").length > 3) - from;
  from = performance.now();
  $("search").value = "zzzz";
  $("search").dispatchEvent(new Event("input"));
  const searched = await until(() => $("count").textContent.startsWith("0 of")) - from;
  document.title = JSON.stringify({listed, frame: [gaps[120], gaps[237], gaps[239]], opened, searched});
})();
</script></body>"""
SECONDS = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    args = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise UserError("chromium is not here; install it")
    text, end, rest = args.page.read_text(encoding="utf-8").rpartition("</body>")
    if not end:
        raise UserError(f"{args.page}: no page; make it with view_trajectories")
    with tempfile.TemporaryDirectory() as folder:
        probed = Path(folder) / "page.html"
        probed.write_text(text + PROBE + rest, encoding="utf-8")
        print(json.dumps(measured(chromium, probed)))


def measured(chromium: str, page: Path) -> dict[str, float | list[float]]:
    """What the probe wrote into the page's title. UserError where it wrote nothing in SECONDS."""
    profile = page.parent / "profile"
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1400,900"]
    command = [chromium, *options, "--remote-debugging-port=0", f"--user-data-dir={profile}", page.as_uri()]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            for _ in range(SECONDS * 5):
                time.sleep(0.2)
                if not (port := profile / "DevToolsActivePort").is_file():
                    continue
                with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as answer:
                    titles = [unescape(tab["title"]) for tab in json.load(answer)]
                for title in titles:
                    if title.startswith("{"):
                        return json.loads(title)
        finally:
            browser.terminate()
    raise UserError(f"the page's list did not stand in {SECONDS} s")


if __name__ == "__main__":
    run(main)

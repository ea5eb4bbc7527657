"""A page in real Chromium, where it is installed."""

import html
import json
import re
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def dom(page: Path) -> str:
    """The page's document after its scripts ran, if any did; Chromium's profile stands beside the page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--virtual-time-budget=2000", f"--user-data-dir={page.parent / 'profile'}"]
    command = [str(CHROMIUM), *options, "--window-size=1400,900", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout


def seen(page: str, widths: list[int], script: str, folder: Path) -> list[Any]:
    """What the body of a function of `d`, the page's document, returns at each width in pixels of a window 800 high.

    Chromium's own window is never as narrow as a phone's, so the page is shown in frames, under its own security policy.
    """
    frames = "".join(f'<iframe width={width} height=800 srcdoc="{html.escape(page)}"></iframe>' for width in widths)
    asks = f"[...document.querySelectorAll('iframe')].map(f => (d => {{ {script} }})(f.contentDocument))"
    shows = f"onload = () => document.body.textContent = '<<' + btoa(encodeURI(JSON.stringify({asks}))) + '>>'"
    path = folder / "frames.html"
    path.write_text(f"<!doctype html><body>{frames}<script>{shows}</script>", encoding="utf-8")
    (found,) = re.findall("&lt;&lt;(.+)&gt;&gt;", dom(path))
    return json.loads(unquote(b64decode(found).decode()))

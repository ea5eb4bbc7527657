"""A page in real Chromium, where it is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def dom(page: Path) -> str:
    """The page's document after its scripts ran, if any did; Chromium's profile stands beside the page."""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--virtual-time-budget=2000", f"--user-data-dir={page.parent / 'profile'}"]
    command = [str(CHROMIUM), *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=True).stdout

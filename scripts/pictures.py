#!/usr/bin/env python3
"""Make the pictures of docs/images, light and dark: the demo's report, and the page of `serve` on the demo's clip.

    make demo && .venv/bin/python scripts/pictures.py

Requires the system's Chromium. The page runs for a minute, on a machine that does nothing else, please.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
DEMO = ROOT / "edgeproof-demo"
SECONDS = 60
STREAMS = f"""\
[shelf]
source = "{DEMO / "clip.mp4"}"
loop = true
rate_limit_fps = 10
[door]
source = "synthetic://640x360@10?labels=shapes"
[yard]
source = "rtsp://127.0.0.1:9/yard"
"""


def main() -> int:
    """Write every picture."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None or not (DEMO / "report.html").is_file():
        sys.stderr.write("pictures: requires Chromium and edgeproof-demo (make demo)\n")
        return 3
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        take(browser, (DEMO / "report.html").as_uri(), "demo-report", (1100, 1500), palette=True)
        with served() as address:
            take(browser, address, "serve", (1360, 1375), palette=False)
        browser.close()
    return 0


def take(browser: Any, address: str, name: str, size: tuple[int, int], *, palette: bool) -> None:
    """Write ``NAME.png`` and ``NAME-dark.png`` of a page; a palette halves the file and may lose rare colours."""
    for scheme, suffix in (("light", ""), ("dark", "-dark")):
        page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
        page.goto(address)
        page.wait_for_timeout(3000)
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        if palette:
            picture = picture.quantize(256, dither=Image.Dither.NONE)
        picture.save(IMAGES / f"{name}{suffix}.png", optimize=True)
        page.close()


@contextmanager
def served() -> Iterator[str]:
    """Serve the demo's bundle on three streams, one of which cannot be reached; yield the page's address."""
    with tempfile.TemporaryDirectory() as folder:
        streams = Path(folder, "streams.toml")
        streams.write_text(STREAMS)
        bundle = DEMO / "efficientnet-lite0.edge"
        command = [sys.executable, "-m", "edgeproof", "serve", str(bundle), "--source", str(streams), "--port", "0"]
        command += ["--sink", "events.csv"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder) as server:
            assert server.stderr is not None  # noqa: S101
            try:
                address = next(
                    found[0] for line in server.stderr if (found := re.search(r"http://127\.0\.0\.1:\d+", line))
                )
                time.sleep(SECONDS)
                yield address
            finally:
                server.terminate()


if __name__ == "__main__":
    sys.exit(main())

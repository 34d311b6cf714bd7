#!/usr/bin/env python3
"""Write constraints.txt: every package of the development environment, with its version and the sha256 of its file.

Run it with the environment's Python: .venv/bin/python scripts/lock.py. It resolves nothing: it asks pip for the files
of the versions that are installed, for this Python and platform.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_HEAD = """\
# Every package of the development environment, by version and sha256. Written by scripts/lock.py; used by LOCKED=1.
# Files of Python {python} on {machine}; another Python or machine needs its own: run the script there.
"""


def main() -> int:
    """Write the file; returns pip's code where it fails."""
    pip = [sys.executable, "-m", "pip"]
    freeze = subprocess.run([*pip, "freeze", "--exclude-editable", "--all"], capture_output=True, text=True, check=True)
    wanted = [line for line in freeze.stdout.splitlines() if "==" in line and not line.startswith("edgeproof==")]
    with tempfile.TemporaryDirectory() as folder:
        names, report = Path(folder, "names.txt"), Path(folder, "report.json")
        names.write_text("\n".join(wanted))
        dry = ["install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "--report", str(report)]
        done = subprocess.run([*pip, *dry, "--requirement", str(names)], check=False)
        if done.returncode != 0:
            return done.returncode
        found = json.loads(report.read_text())["install"]
    lines = sorted(_line(entry) for entry in found)
    head = _HEAD.format(python=platform.python_version().rpartition(".")[0], machine=platform.machine())
    (ROOT / "constraints.txt").write_text(head + "\n".join(lines) + "\n")
    sys.stdout.write(f"constraints.txt: {len(lines)} packages\n")
    return 0


def _line(entry: dict[str, Any]) -> str:
    metadata, hashes = entry["metadata"], entry["download_info"]["archive_info"]["hashes"]
    return f"{metadata['name'].lower().replace('_', '-')}=={metadata['version']} --hash=sha256:{hashes['sha256']}"


if __name__ == "__main__":
    sys.exit(main())

"""`python -m hostile [TEXT]`: run the probes whose id contains TEXT, print the table and what failed."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

from hostile.base import BASE_VARIABLE, make_base
from hostile.runner import running
from hostile.serve import requests, serving
from hostile.table import Table

BUILT = Path(__file__).resolve().parents[2] / "build/app/runtime/cpp/app/edgeproof-run"


def main() -> int:
    """Run; returns 1 where a probe failed."""
    from hostile.catalog import all_probes

    program = Path(os.environ.get("EDGEPROOF_RUN", BUILT)).resolve()
    folder = Path(tempfile.mkdtemp(prefix="edgeproof-hostile-"))
    if BASE_VARIABLE not in os.environ:
        os.environ[BASE_VARIABLE] = str(folder / "base")
        make_base(folder / "base")
    wanted = sys.argv[1:]
    probes = [p for p in all_probes() if all(text in p.id for text in wanted)]
    if not program.is_file():
        probes = [p for p in probes if p.surface != "edgeproof-run"]
    begin = time.monotonic()
    table, times = Table(), list[tuple[float, str]]()
    with running(folder, program, 2) as runner:
        for probe, faults, took_s in runner.run(probes):
            table.add(probe.kind, probe.surface, passed=not faults)
            times.append((took_s, probe.id))
            if faults:
                print(f"FAIL {probe.id}\n    argv: {str(probe.argv)[:300]}")
                for fault in faults:
                    print("    " + fault.replace("\n", "\n      ")[:1500], flush=True)
    if not wanted or all(text in "serve" for text in wanted):
        (folder / "serve").mkdir()
        with serving(folder / "serve") as server:
            for request in requests():
                faults = server.faults(request)
                table.add(request.kind, "serve", passed=not faults)
                if faults:
                    print(f"FAIL {request.kind}/serve/{request.name}", *faults, sep="\n    ", flush=True)
            faults = server.end()
            table.add("the server's log and end", "serve", passed=not faults)
            if faults:
                print("FAIL the server's log and end", *faults, sep="\n    ")
    print(table.text())
    print(
        "slowest:", *(f"{took_s:.1f} s {name[:100]}" for took_s, name in sorted(times, reverse=True)[:12]), sep="\n  "
    )
    print(f"{time.monotonic() - begin:.0f} s")
    return 0 if table.passed else 1


if __name__ == "__main__":
    sys.exit(main())

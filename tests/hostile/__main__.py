"""`python -m hostile [TEXT]`: run the probes whose id contains TEXT, print the table and what failed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from hostile.base import BASE_VARIABLE
from hostile.runner import running
from hostile.serve import requests, serving
from hostile.table import Table

BUILT = Path(__file__).resolve().parents[2] / "build/app/runtime/cpp/app/edgeproof-run"
_TOLD_EVERY = 100


def main() -> int:
    """Run; returns 1 where a probe failed."""
    from hostile.catalog import all_probes

    program = Path(os.environ.get("EDGEPROOF_RUN", BUILT)).resolve()
    wanted = sys.argv[1:]
    begin, stopped = time.monotonic(), True
    table, times = Table(), list[tuple[float, str]]()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="edgeproof-hostile-", ignore_cleanup_errors=True) as name,
        running(Path(name), program if program.is_file() else None, 2) as runner,
    ):
        folder = Path(name)
        folder.chmod(0o755)  # another user takes part
        if BASE_VARIABLE not in os.environ:
            os.environ[BASE_VARIABLE] = str(folder / "base")
            runner.make_base(folder / "base")
        probes = [p for p in all_probes() if all(text in p.id for text in wanted)]
        if not runner.has_device_program:
            print(f"{program} is not built: it gets no input")
            probes = [p for p in probes if p.surface != "edgeproof-run"]
        for number, (probe, faults, took_s) in enumerate(runner.run(probes), 1):
            if number % _TOLD_EVERY == 0:
                print(f"{number} of {len(probes)}, {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
            table.add(probe.kind, probe.surface, passed=not faults, seconds=took_s)
            times.append((took_s, probe.id))
            if faults:
                print(f"FAIL {probe.id}\n    argv: {str(probe.argv)[:300]}")
                for fault in faults:
                    print("    " + fault.replace("\n", "\n      ")[:1500], flush=True)
        if not wanted or wanted == ["serve"]:
            (folder / "serve").mkdir()
            _serve(folder / "serve", table)
        stopped = False
    print(table.text())
    if stopped:
        print("stopped: the table has what was run until then")
    print(
        "slowest:", *(f"{took_s:.1f} s {name[:100]}" for took_s, name in sorted(times, reverse=True)[:12]), sep="\n  "
    )
    print(f"{time.monotonic() - begin:.0f} s")
    return 0 if table.passed and not stopped else 1


def _serve(folder: Path, table: Table) -> None:
    with serving(folder) as server:
        for request in requests():
            start = time.monotonic()
            faults = server.faults(request)
            table.add(request.kind, "serve", passed=not faults, seconds=time.monotonic() - start)
            if faults:
                print(f"FAIL {request.kind}/serve/{request.name}", *faults, sep="\n    ", flush=True)
        faults = server.end()
        table.add("the server's log and end", "serve", passed=not faults, seconds=0.0)
        if faults:
            print("FAIL the server's log and end", *faults, sep="\n    ")


if __name__ == "__main__":
    sys.exit(main())

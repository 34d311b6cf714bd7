"""Does `edgeproof serve` stay reachable while strangers hold connections open?

    .venv/bin/python benchmarks/serve_strangers.py BUNDLE [--half-open 1000] [--idle 200] [--seconds 300] [--files 1024]

Half-open clients send a header that never ends, a line per second, and connect again whenever the server ends the
connection; idle ones send nothing. Meanwhile /healthz is asked every second, each time by a new connection. Exits 1
where an answer took more than a second or did not come, or the server wrote ten lines or more in a minute.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import os
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from served import served

HALF = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"


async def strangers(port: int, seconds: float, half_open: int, idle: int) -> None:
    """Run every stranger until the time is over."""
    end_s = time.monotonic() + seconds

    async def stranger(head: bytes) -> None:
        while time.monotonic() < end_s:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(head)
                while time.monotonic() < end_s:
                    try:
                        if not await asyncio.wait_for(reader.read(4096), 1):
                            break
                    except TimeoutError:
                        writer.write(b"X: y\r\n" if head else b"")
                writer.close()
            except OSError:
                await asyncio.sleep(0.1)

    await asyncio.gather(*(stranger(HALF if i < half_open else b"") for i in range(half_open + idle)))


def run_strangers(*arguments: Any) -> None:
    """Run `strangers` in a process of their own: their work must not delay who asks for /healthz."""
    os.nice(10)
    asyncio.run(strangers(*arguments))


def ask(port: int) -> tuple[float, str | None]:
    """Ask for /healthz by a new connection: seconds taken, and what failed."""
    begin_s = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        body = answer.read()
        failure = None if answer.status == 200 else f"{answer.status} {body!r}"
    except (OSError, http.client.HTTPException) as error:
        failure = repr(error)
    finally:
        connection.close()
    return time.perf_counter() - begin_s, failure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--half-open", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--files", type=int, default=1024, help="limit of open files of the server")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    limit = f"ulimit -n {options.files}; exec"
    serve = [sys.executable, "-m", "edgeproof", "serve", str(options.bundle), "--port", "0"]
    command = ["sh", "-c", f'{limit} "$@"', "sh", *serve]
    said: list[tuple[float, str]] = []
    with served(command) as (server, port):
        assert server.stderr is not None
        log = server.stderr
        threading.Thread(target=lambda: said.extend((time.monotonic(), line) for line in log), daemon=True).start()
        others = multiprocessing.get_context("spawn").Process(
            target=run_strangers, args=(port, options.seconds, options.half_open, options.idle)
        )
        others.start()
        process = psutil.Process(server.pid)
        begin_s, cpu = time.monotonic(), process.cpu_times()
        answers = []
        while others.is_alive():
            answers.append(ask(port))
            time.sleep(1)
        took_s, used = time.monotonic() - begin_s, process.cpu_times()
        memory = process.memory_info().rss
    minutes = [int((at_s - begin_s) // 60) for at_s, _ in said]
    lines = max((minutes.count(minute) for minute in minutes), default=0)
    slowest_s = max(seconds for seconds, _ in answers)
    failures = [failure for _, failure in answers if failure is not None]
    cores = (used.user + used.system - cpu.user - cpu.system) / took_s
    print(f"{options.half_open} half-open and {options.idle} idle clients for {took_s:.0f} s, {options.files} files")
    print(f"server: {cores:.2f} cores, {memory / 2**20:.0f} MiB resident")
    print(f"/healthz: {len(answers)} asked, {len(failures)} failed, slowest {slowest_s:.3f} s")
    print(f"log: {len(said)} lines, at most {lines} in a minute; the server's exit code: {server.returncode}")
    for failure in failures[:5]:
        print(failure)
    for _, line in said[:5]:
        print("log:", line, end="")
    if failures or slowest_s > 1 or lines >= 10 or server.returncode:
        sys.exit(1)


if __name__ == "__main__":
    main()

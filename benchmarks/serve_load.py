"""How does `edgeproof serve` bear many clients at once: codes, percentiles, memory over time.

    .venv/bin/python benchmarks/serve_load.py [BUNDLE] [--clients 64] [--requests 1000]

Starts the server as a process of its own, lets the clients ask as fast as they are answered (a 429 waits as long as it
says), and looks at the server's resident memory all the while. Exits 1 on any status but 200 and 429.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
from served import served

from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.metrics.latency import summarize

HEADER = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}


class Load:
    """What the clients saw."""

    def __init__(self, port: int, path: str, body: bytes, requests: int) -> None:
        self.port, self.path, self.body, self.requests = port, path, body, requests
        self.lock = threading.Lock()
        self.codes: Counter[int | str] = Counter()
        self.answered_ms: list[float] = []
        self.done = 0

    def client(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        answered = 0
        while answered < self.requests:
            begin_s = time.perf_counter()
            try:
                connection.request("POST", self.path, self.body, HEADER)
                answer = connection.getresponse()
                answer.read()
                code: int | str = answer.status
            except (OSError, http.client.HTTPException) as error:
                code = type(error).__name__
                connection.close()
            took_ms = 1e3 * (time.perf_counter() - begin_s)
            with self.lock:
                self.codes[code] += 1
                if code == 200:
                    self.answered_ms.append(took_ms)
            if code == 429:
                time.sleep(float(answer.headers["Retry-After"]))
            else:
                answered += 1
                self.done += 1
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", default="edgeproof-demo/efficientnet-lite0.edge", type=Path)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=1000, help="per client")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--queue", type=int, default=128)
    parser.add_argument("--max-batch", type=int, default=8)
    options = parser.parse_args()

    bundle = Bundle.open(options.bundle)
    shape = (1, *bundle.input_spec.shape)
    body = np.random.default_rng(0).normal(size=shape).astype(bundle.input_spec.dtype).tobytes()
    command = [
        sys.executable,
        "-m",
        "edgeproof",
        "serve",
        str(options.bundle),
        "--port",
        "0",
        "--engine",
        options.engine,
    ]
    command += ["--queue", str(options.queue), "--max-batch", str(options.max_batch)]
    with served(command) as (server, port):
        load = Load(port, f"/v2/models/{bundle.name}/infer", body, options.requests)
        threads = [threading.Thread(target=load.client) for _ in range(options.clients)]
        process = psutil.Process(server.pid)
        begin_s = time.perf_counter()
        for thread in threads:
            thread.start()
        memory: list[tuple[int, int]] = []
        while any(thread.is_alive() for thread in threads):
            memory.append((load.done, process.memory_info().rss))
            time.sleep(0.25)
        took_s = time.perf_counter() - begin_s

    summary = summarize(load.answered_ms)
    print(f"{options.clients} clients x {options.requests} requests of {len(body)} bytes in {took_s:.1f} s: ", end="")
    print(f"{len(load.answered_ms) / took_s:.0f} answers/s")
    print(f"codes: {dict(load.codes)}; the server's exit code: {server.returncode}")
    percentiles = (f"{name} {getattr(summary, f'{name}_ms'):.1f}" for name in ("p50", "p90", "p99", "max"))
    print(f"latency ms: {', '.join(percentiles)}")
    tenths = [at[1] / 2**20 for at in memory[len(memory) // 10 :: max(1, len(memory) // 10)]]
    print("resident MiB at each tenth of the run:", " ".join(f"{mib:.0f}" for mib in tenths))
    half = [at for at in memory if at[0] >= options.clients * options.requests / 2]
    if len(half) > 8:
        slope = np.polyfit([done for done, _ in half], [rss for _, rss in half], 1)[0]
        print(f"slope over the second half: {slope * 1000 / 1024:+.1f} KiB per 1,000 requests")
    if set(load.codes) - {200, 429} or server.returncode:
        sys.exit(1)


if __name__ == "__main__":
    main()

"""A TensorRT-RTX build that is stopped, in a process of its own: TensorRT-RTX 1.7 crashes now and then as it gives up.

Usage: python stopped_build.py {stop|ctrl-c|starve} BUNDLE; prints how it ended.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from edgeproof_export.compile import BuildOptions, BuildWatch, compile_bundle, parse_gpus
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import EdgeproofError


def watch_that(how: str) -> BuildWatch:
    if how == "starve":
        return BuildWatch(memory_floor_bytes=2**62)
    if how == "stop":
        watch = BuildWatch(lambda *_step: watch.stop())
        return watch
    main, sent = threading.get_ident(), []

    def interrupt_once(_phase: str, _done: int, _total: int) -> None:
        if sent:
            return
        sent.append(True)
        assert threading.get_ident() != main  # the build runs beside the thread that signals reach
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)

    return BuildWatch(interrupt_once)


def main(how: str, path: str) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
    options = BuildOptions(gpus=parse_gpus("sm86,sm89,sm120"))
    try:
        compile_bundle(Bundle.open(Path(path)), "tensorrt-rtx", "fp16", options, watch=watch_that(how))
        print("built")
    except KeyboardInterrupt:
        print("interrupted")
    except EdgeproofError as error:
        print(type(error).__name__, str(error).lower())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Kill whatever writes into a bundle, at random moments, and look at what is left.

    python tests/kill_writers.py FOLDER --rounds 20
    python tests/kill_writers.py FOLDER --rounds 200 --commands

The first kills the library's writers, the second the commands that write. Each round starts a writer in a process of
its own, and kills it with SIGKILL. Then the bundle must open with nothing left out, and after a command pass
`edgeproof verify`. The last line is a JSON summary.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bundles import frames, make_bundle, write_sorted
from edgeproof_export.attach import Addition, add_evidence, attach
from edgeproof_export.bundle import new_bundle
from edgeproof_runtime.bundle.attachments import EngineFacts, scan
from edgeproof_runtime.bundle.reader import Bundle

Action = Callable[[], object]


def in_child(action: Action, seconds: float | None) -> float:
    """Run an action in a forked process, killed after a time; return how long it ran.

    Raises:
        SystemExit: it ended by itself with another exit code than 0.
    """
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            quiet = os.open("/dev/null", os.O_WRONLY)
            os.dup2(quiet, 1)
            code = int(action() or 0)  # type: ignore[call-overload]
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    while seconds is not None and time.monotonic() - began < seconds:
        time.sleep(min(0.002, seconds))
    if seconds is not None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"a writer ended with {os.WEXITSTATUS(status)}")
    return time.monotonic() - began


def check(path: Path) -> Bundle:
    """Open a bundle and read all of it."""
    bundle = Bundle.open(path)
    if bundle.left_out:
        raise SystemExit(f"left out: {[part.note for part in bundle.left_out]}")
    for name in bundle.files:
        bundle.read(name)
    return bundle


def leftovers(path: Path) -> list[str]:
    """Return files that no record lists, and hidden folders beside the bundle."""
    bundle = Bundle.open(path)
    found = scan(path, bundle.manifest_sha256)
    used = {place for record in found.records.values() for place in record.places().values()}
    hidden = [one.name for one in (path / "attachments").glob(".*")] + [one.name for one in path.parent.glob(".*")]
    return sorted(found.payloads - used) + hidden


def library_writers(path: Path) -> list[Action]:
    """Writers that go on until they are killed: first and second time of each kind, removal, replacement."""
    template = path.parent / "template.edge"
    make_bundle(template, labels=("a", "b", "c"))
    make_bundle(path)

    def evidence(number: int) -> None:
        add_evidence(Bundle.open(path), "bench", {"n": number, "filler": "x" * 50_000})

    def precision(number: int) -> None:
        content = f"int8 {number} ".encode() * 20_000
        attach(Bundle.open(path), [Addition("precision", "int8", {"model.int8.onnx": content})])

    def engine(number: int) -> None:
        bundle = Bundle.open(path)
        key, facts = f"k{number % 2}", EngineFacts("openvino", "fp32", bundle.sha256("model.onnx"))
        files = {f"engines/{key}/model.blob": os.urandom(100_000), f"engines/{key}/engine.json": b"{}"}
        attach(bundle, [Addition("engine", key, files, facts)], drop=lambda _now: [("engine", f"k{1 - number % 2}")])

    def removal(number: int) -> None:
        precision(number)
        attach(Bundle.open(path), [], drop=lambda _now: [("precision", "int8")])

    def replacement(_number: int) -> None:
        with new_bundle(path, force=True) as folder:
            shutil.copytree(template, folder, dirs_exist_ok=True)
            add_evidence(Bundle.open(folder), "export", {"n": 1})

    def forever(writer: Callable[[int], None]) -> Action:
        def run() -> None:
            for number in count():
                writer(number)

        return run

    return [forever(writer) for writer in (evidence, precision, engine, removal, replacement)]


def command_writers(folder: Path, path: Path) -> dict[str, Action]:
    """The writing commands, each as a person would start it; the last entry is the check."""
    import cv2
    import onnx
    import onnxruntime
    import openvino
    import torch

    from edgeproof.cli import main

    assert all((onnx, onnxruntime, openvino, torch))  # imported once, before processes are forked
    (folder / "other").mkdir()
    for number, frame in enumerate(frames(12, seed=4)):
        cv2.imwrite(str(folder / "other" / f"{number}.png"), frame)
    made = make_bundle(folder / "made.edge")
    in_child(lambda: int(not write_sorted(folder / "data", made)), None)
    shutil.copy(made.path / "model.onnx", folder / "m.onnx")
    shutil.copy(made.path / "labels.txt", folder / "labels.txt")
    data, model = str(folder / "data"), str(folder / "m.onnx")
    export = [
        "export", model, "--out", str(path), "--labels", str(folder / "labels.txt"), "--data", data,
        "--input-size", "16", "--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5",
    ]  # fmt: skip
    bundle = str(path)

    def command(*arguments: str) -> Action:
        def run() -> object:
            sys.argv = ["edgeproof", *arguments]
            try:
                main()
            except SystemExit as ended:
                return ended.code

        return run

    return {
        "export": command(*export),
        "export --force": command(*export, "--force"),
        "evaluate": command("evaluate", bundle, "--data", data, "--engine", "onnxruntime", "--threads", "1"),
        "bench": command("bench", bundle, "--engine", "onnxruntime", "--threads", "1", "--duration", "0.1"),
        "optimize": command(
            "optimize", bundle, "--data", data, "--calibration", str(folder / "other"), "--force",
            "--precision", "fp16", "--max-drop", "1", "--engine", "onnxruntime",
        ),
        "compile --force": command("compile", bundle, "--target", "openvino", "--force"),
        "verify": command("verify", bundle, "--engine", "onnxruntime"),
    }  # fmt: skip


def random_moments(longest: float) -> Iterator[float]:
    """Return moments of which half lie in the last fifth, where commands write."""
    while True:
        yield random.uniform(0.0, longest)
        yield random.uniform(0.8 * longest, 1.02 * longest)


def kill_library(path: Path, rounds: int) -> Counter[str]:
    writers = library_writers(path)
    for number in range(rounds):
        in_child(writers[number % len(writers)], random.uniform(0.0, 0.3))
        check(path)
    return Counter(kills=rounds)


def kill_commands(folder: Path, path: Path, rounds: int) -> Counter[str]:
    writers = command_writers(folder, path)
    verify = writers.pop("verify")
    seconds = {}
    for name, writer in writers.items():
        in_child(writer, None)  # the second time of evaluate, bench, optimize and compile is what is killed first
        seconds[name] = in_child(writer, None) if name != "export" else 3.0
        print(f"{name}: {seconds[name]:.1f} s", flush=True)
    in_child(verify, None)
    moments = {name: random_moments(longest) for name, longest in seconds.items()}
    killed: Counter[str] = Counter()
    for number in range(rounds):
        name = list(writers)[number % len(writers)]
        if name == "export":  # the first time of everything that follows
            shutil.rmtree(path)
        in_child(writers[name], next(moments[name]))
        killed[name] += 1
        if name == "export" and not path.exists():  # nothing, as before
            in_child(writers["export"], None)
        check(path)
        in_child(verify, None)
        print(f"{number + 1} {name}", flush=True)
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--commands", action="store_true")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    random.seed(options.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "b.edge"
    os.environ.setdefault("EDGEPROOF_CACHE", str(options.folder / "cache"))
    if options.commands:
        killed = kill_commands(options.folder, path, options.rounds)
    else:
        killed = kill_library(path, options.rounds)
    for partial in path.parent.glob(".*"):
        os.utime(partial, (0, 0))  # as if ten seconds had passed: a folder that is not locked yet may be new
    add_evidence(Bundle.open(path), "bench", {"n": -1})
    print(json.dumps({"killed": dict(killed), "leftovers": leftovers(path)}))


if __name__ == "__main__":
    main()

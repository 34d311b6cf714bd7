"""Writing into a bundle: every prefix of a writer's steps leaves a working bundle, and writers beside each other."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgeproof_export.bundle
from bundles import LABELS, make_bundle, rewrite
from edgeproof_export.attach import Addition, add_evidence, attach
from edgeproof_export.bundle import new_bundle, writing
from edgeproof_runtime.bundle.attachments import EngineFacts, scan
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

STEPS = ("open", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir", "chmod")
OFF = 9


class Machine:
    """A process that ends after a number of system calls, as if the power failed; runs in a forked child.

    Then the content of files that were not synchronised is cut in half, and names that were given in a folder since it
    was synchronised are taken back, while removals stay: the worst of what file systems may do.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.dirty: dict[int, Path] = {}
        self.renamed: list[tuple[Path, Path]] = []
        self.real: dict[str, Callable[..., Any]] = {name: getattr(os, name) for name in STEPS}
        for name in STEPS:
            setattr(os, name, self._step(name))

    def _step(self, name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_RDWR):
                return self.real[name](*arguments, **options)  # reading changes nothing
            if self.left == 0:
                self._lose()
                os._exit(OFF)
            self.left -= 1
            done = self.real[name](*arguments, **options)
            self._remember(name, arguments, done)
            return done

        return step

    def _remember(self, name: str, arguments: tuple[Any, ...], done: Any) -> None:
        if name == "open":
            self.dirty[os.fstat(done).st_ino] = Path(arguments[0])
        elif name == "fsync":
            synced = os.fstat(arguments[0])
            self.dirty.pop(synced.st_ino, None)
            self.renamed = [pair for pair in self.renamed if not os.path.samestat(synced, pair[1].parent.stat())]
        elif name in ("rename", "replace"):
            before, after = Path(arguments[0]), Path(arguments[1])
            self.renamed.append((before, after))
            self.dirty = {number: after if path == before else path for number, path in self.dirty.items()}

    def _lose(self) -> None:
        for path in self.dirty.values():
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
        for before, after in reversed(self.renamed):
            if after.exists() and not before.exists() and before.parent.is_dir():
                self.real["rename"](after, before)


def small_bundle(path: Path, labels: tuple[str, ...] = LABELS) -> Bundle:
    """A bundle without golden cases: each file is several steps of an export."""
    bundle = make_bundle(path, labels=labels)
    shutil.rmtree(path / "golden")
    table = {name: entry for name, entry in bundle.manifest.files.items() if "/" not in name}
    return rewrite(bundle, {}, lambda manifest, _files: replace(manifest, golden=(), files=table))


def run_until(steps: int, action: Callable[[], None]) -> bool:
    """Run an action in a child process until the power fails; return whether it came to its end."""
    child = os.fork()
    if child == 0:
        try:
            Machine(steps)
            action()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, OFF), "the writer failed"
    return code == 0


def engine(bundle: Bundle, key: str) -> Addition:
    facts = EngineFacts("openvino", "fp32", bundle.sha256("model.onnx"))
    files = {f"engines/{key}/model.blob": key.encode(), f"engines/{key}/engine.json": b"{}"}
    return Addition("engine", key, files, facts)


def int8(number: int) -> Addition:
    return Addition("precision", "int8", {"model.int8.onnx": f"int8 {number} ".encode() * 100})


def write_evidence(bundle: Bundle) -> None:
    add_evidence(bundle, "bench", {"n": 2})


def write_precision(bundle: Bundle) -> None:
    attach(bundle, [int8(2)])


def write_engine(bundle: Bundle) -> None:
    attach(bundle, [engine(bundle, "new")], drop=lambda _now: [("engine", "old")])


def remove(bundle: Bundle) -> None:
    attach(bundle, [], drop=lambda _now: [("precision", "int8"), ("engine", "old")])


def export(bundle: Bundle) -> None:
    with new_bundle(bundle.path, force=True) as folder:
        shutil.copytree(bundle.path.parent / "other", folder, dirs_exist_ok=True)
        add_evidence(Bundle.open(folder), "export", {"n": 2})


def export_in_two_steps(bundle: Bundle) -> None:
    """As on a file system that cannot exchange two folders."""
    edgeproof_export.bundle.exchange = lambda _one, _other: False  # in the child process
    export(bundle)


def state(path: Path) -> dict[str, Any]:
    """Everything that a bundle holds, by content; nothing is left out."""
    bundle = Bundle.open(path)
    assert bundle.left_out == ()
    return {"labels": bundle.labels, **{name: bundle.read(name) for name in bundle.files}}


def leftovers(path: Path) -> list[str]:
    found = scan(path, Bundle.open(path).manifest_sha256)
    used = {place for record in found.records.values() for place in record.places().values()}
    hidden = [*(path / "attachments").glob(".*"), *path.parent.glob(".*")]
    return sorted(found.payloads - used) + [one.name for one in hidden]


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("write", [write_evidence, write_precision, write_engine, remove, export, export_in_two_steps])
def test_a_power_cut_after_any_step_leaves_old_or_new(
    tmp_path: Path, write: Callable[[Bundle], None], first: bool
) -> None:
    start = tmp_path / "start"
    bundle = small_bundle(start / "b.edge")
    small_bundle(start / "other.edge", labels=("a", "b", "c")).path.rename(start / "other")
    if not first:
        attach(bundle, [int8(1), engine(bundle, "old")])
        add_evidence(bundle, "bench", {"n": 1})
    before = state(bundle.path)
    shutil.copytree(start, tmp_path / "whole")
    assert run_until(1_000_000, lambda: write(Bundle.open(tmp_path / "whole" / "b.edge")))
    new = state(tmp_path / "whole" / "b.edge")
    steps, finished = 0, False
    while not finished:
        path = tmp_path / str(steps) / "b.edge"
        shutil.copytree(start, path.parent)
        opened = Bundle.open(path)
        finished = run_until(steps, lambda opened=opened: write(opened))  # type: ignore[misc]
        seen = state(path)
        for name in {*before, *seen, *new}:
            assert seen.get(name) in (before.get(name), new.get(name)), f"{name} after {steps} steps"
        if write in (export, export_in_two_steps):
            assert seen in (before, new)
        for one in path.parent.glob(".*"):
            os.utime(one, (0, 0))  # a folder that is not locked yet may be new; this one is old
        assert run_until(1_000_000, lambda path=path: write(Bundle.open(path)))  # type: ignore[misc]
        assert state(path) == new
        assert leftovers(path) == []
        shutil.rmtree(path.parent)
        steps += 1
    assert finished
    assert steps > 3 or (write is remove and first)


def test_a_new_record_is_the_newer_one_also_after_the_clock_was_set_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle(tmp_path / "b.edge")
    monkeypatch.setattr("edgeproof_export.attach._CREATED", "2999-%m-%dT%H:%M:%S.%fZ")
    add_evidence(bundle, "bench", {"n": 1})
    monkeypatch.setattr("edgeproof_export.attach._CREATED", "%Y-%m-%dT%H:%M:%S.%fZ")
    add_evidence(bundle, "bench", {"n": 2})
    assert Bundle.open(bundle.path).read_evidence("bench") == {"n": 2}


def test_a_bundle_that_was_exported_anew_is_not_written_for_the_old_one(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b.edge")
    shutil.rmtree(bundle.path)
    make_bundle(bundle.path, labels=("a", "b", "c"))
    with pytest.raises(InputError, match="exported again"):
        add_evidence(bundle, "bench", {"n": 1})
    assert Bundle.open(bundle.path).evidence == ()


def test_a_lock_that_is_not_given_back_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_bundle(tmp_path / "b.edge")
    monkeypatch.setattr("edgeproof_export.bundle._LOCK_WAIT_S", 0.1)
    with writing(bundle.path) as is_locked:
        assert is_locked
        with pytest.raises(InputError, match="another process is writing"):
            add_evidence(bundle, "bench", {"n": 1})
        assert Bundle.open(bundle.path).left_out == ()  # a reader needs no lock
    add_evidence(bundle, "bench", {"n": 1})


def test_what_a_foreign_record_may_list_is_not_swept(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "b.edge")
    attach(bundle, [int8(1)])
    payload = bundle.locate("model.int8.onnx")
    (record,) = payload.parent.glob("*[0-9a-f].json")
    record.write_bytes(record.read_bytes() + b" ")
    add_evidence(Bundle.open(bundle.path), "bench", {"n": 1})
    assert payload.is_file()
    assert record.is_file()


def test_a_schema_1_bundle_is_extended_and_not_rewritten(tmp_path: Path) -> None:
    with zipfile.ZipFile(Path(__file__).resolve().parents[1] / "golden" / "bundles-0.1.0.zip") as archive:
        archive.extractall(tmp_path)
    bundle = Bundle.open(tmp_path / "exported.edge")
    before = (bundle.path / "bundle.json").read_bytes()
    attach(bundle, [int8(1)])
    add_evidence(bundle, "export", {"n": 2})
    attach(bundle, [], drop=lambda _now: [("precision", "int8")])
    opened = Bundle.open(bundle.path)
    assert opened.read_evidence("export") == {"n": 2}
    assert opened.precisions == ("fp32",)
    attach(opened, [], drop=lambda _now: [("evidence", "export")])
    assert Bundle.open(bundle.path).evidence == ()  # withdrawn: the manifest still lists it
    assert (bundle.path / "bundle.json").read_bytes() == before


@pytest.mark.slow
def test_three_writers_and_a_reader_at_once_lose_nothing(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b.edge").path

    def report(kind: str, number: int) -> None:
        add_evidence(Bundle.open(path), kind, {"n": number})

    def compiled(number: int) -> None:
        bundle = Bundle.open(path)
        attach(bundle, [engine(bundle, f"k{number}")], drop=lambda _now: [("engine", f"k{number - 1}")])

    for number in range(20):
        writers: list[Callable[[], None]] = [
            lambda number=number: (report("evaluate", number), attach(Bundle.open(path), [int8(number)])),  # type: ignore[misc]
            lambda number=number: report("bench", number),  # type: ignore[misc]
            lambda number=number: compiled(number),  # type: ignore[misc]
        ]
        children = [_forked(writer) for writer in writers]
        while children:
            opened = Bundle.open(path)  # never refused
            assert opened.left_out == ()
            for name in ("evaluate", "bench"):
                found = opened.read_evidence(name)
                assert found is None or found["n"] in (number - 1, number)
            for child in list(children):
                ended, status = os.waitpid(child, os.WNOHANG)
                if ended:
                    assert os.waitstatus_to_exitcode(status) == 0
                    children.remove(child)
        bundle = Bundle.open(path)
        assert bundle.read_evidence("evaluate") == bundle.read_evidence("bench") == {"n": number}
        assert bundle.read("model.int8.onnx") == int8(number).files["model.int8.onnx"]
        assert [entry.key for entry in bundle.engines()] == [f"k{number}"]
        assert leftovers(path) == []


def _forked(action: Callable[[], object]) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    return child

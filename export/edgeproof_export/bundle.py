"""Write bundles atomically."""

from __future__ import annotations

import fcntl
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.manifest import FileEntry, Manifest, check_relative
from edgeproof_runtime.bundle.reader import Bundle, sha256_of
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.files import write_atomically

__all__ = ["add_evidence", "add_files", "new_bundle", "seal"]

_PARTIAL = ".partial"
_OLD = ".old.partial"
_RECENT_S = 10.0


@contextmanager
def new_bundle(out: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes the bundle ``out`` when the block ends without an error.

    The block must call `seal` on the folder. After an error the folder is removed, and a bundle to be replaced by
    ``force`` is unchanged.

    Raises:
        InputError: ``out`` exists without ``force``, is not a bundle, or cannot be written.
    """
    if out.suffix != ".edge":
        named = out.with_name(f"{out.name}.edge") if out.name else out / "model.edge"
        raise InputError("--out: must end in .edge", got=out, fix=f"--out {named}")
    if out.exists():
        if not force:
            raise InputError(f"{out}: already exists", fix="choose another --out, or replace it with --force")
        if not (out / "bundle.json").is_file():
            raise InputError(f"{out}: exists and is not a bundle", fix="choose another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(out)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_PARTIAL, dir=out.parent))
        lock = _locked(folder)
    except OSError as error:
        raise InputError(f"{out}: cannot be written", got=error) from error
    try:
        yield folder
        Bundle.open(folder)
        folder.chmod(0o755)
        _sync_tree(folder)
        try:
            _put(folder, out, force=force)
        except OSError as error:
            raise InputError(f"{out}: cannot be written", got=error) from error
        _sync(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def seal(folder: Path, build: Callable[[dict[str, FileEntry]], Manifest]) -> None:
    """Write ``bundle.json`` with the hash and size of every file in ``folder``.

    Args:
        folder: the bundle's folder with all other files.
        build: builds the manifest from the table of files.
    """
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    manifest = build({name: _entry(folder / name) for name in names if name != "bundle.json"})
    write_atomically(folder / "bundle.json", _encode(manifest.to_json()))


def add_files(
    bundle: Bundle,
    files: Mapping[str, bytes | Path],
    change: Callable[[Manifest, dict[str, FileEntry]], Manifest],
) -> Bundle:
    """Add files to an existing bundle and update its manifest, last and atomically.

    Args:
        bundle: an opened bundle.
        files: content, or a file to copy, by relative path.
        change: builds the new manifest from the old one and the new table of files.

    Returns:
        The bundle, reopened.

    Raises:
        InputError: the folder cannot be written.
    """
    table = dict(bundle.manifest.files)
    try:
        for name, content in files.items():
            check_relative(name)
            target = bundle.path / name
            write_atomically(target, content.read_bytes() if isinstance(content, Path) else content)
            table[name] = _entry(target)
    except OSError as error:
        raise InputError(f"{bundle.path}: cannot be written", got=error) from error
    manifest = change(bundle.manifest, table)
    write_atomically(bundle.path / "bundle.json", _encode(manifest.to_json()))
    return Bundle(bundle.path, manifest)


def add_evidence(bundle: Bundle, kind: str, report: Mapping[str, Any]) -> Bundle:
    """Store a report as ``evidence/<kind>.json``, replacing an earlier one of the same kind."""
    name = f"evidence/{kind}.json"

    def change(manifest: Manifest, files: dict[str, FileEntry]) -> Manifest:
        evidence = tuple(dict.fromkeys((*manifest.evidence, name)))
        return replace(manifest, evidence=evidence, files=files)

    return add_files(bundle, {name: _encode(report)}, change)


def _remove_abandoned(out: Path) -> None:
    """Remove what exports to ``out`` left that were killed: the kernel has released their locks."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*{_PARTIAL}"):
        recent = time.time() - folder.stat().st_mtime < _RECENT_S  # perhaps not yet locked
        if recent or folder.name.endswith(_OLD):  # which holds the only copy of a bundle
            continue
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """Lock a folder for this process; None if another has it, or the file system has no locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _put(folder: Path, out: Path, *, force: bool) -> None:
    """Rename ``folder`` to ``out``; if that fails, restore the bundle that ``force`` replaces."""
    if not (force and out.exists()):
        folder.rename(out)  # fails if another process has written a bundle meanwhile
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_OLD, dir=out.parent))
    old = aside / out.name
    try:
        out.rename(old)
        folder.rename(out)
    finally:
        if old.exists() and not out.exists():
            old.rename(out)  # if this fails too, keep `aside`: it holds the only copy
        shutil.rmtree(aside, ignore_errors=True)


def _encode(document: Mapping[str, Any]) -> bytes:
    try:
        return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise BundleError("bundle: a value is not finite", got=error) from error


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256_of(path), path.stat().st_size)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

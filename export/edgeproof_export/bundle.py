"""Write bundles atomically, and lock them for writers."""

from __future__ import annotations

import ctypes
import errno
import glob
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeproof_runtime.bundle.content import sha256_of
from edgeproof_runtime.bundle.manifest import FileEntry, Manifest
from edgeproof_runtime.bundle.reader import Bundle
from edgeproof_runtime.bundle.replacing import ASIDE, find_bundle, lock
from edgeproof_runtime.errors import BundleError, InputError
from edgeproof_runtime.system.files import write_atomically

__all__ = ["encode", "exchange", "locked_folder", "new_bundle", "seal", "sweep_beside", "sync", "writing"]

_PARTIAL = ".partial"
_UNLOCKED = ".new"  # a folder between its creation and its lock
_RECENT_S = 10.0
_LOCK_WAIT_S = 60.0
_PAUSE_S = 0.02
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_CANNOT_EXCHANGE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM)


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
    find_bundle(out)  # one whose replacement was interrupted
    if out.exists():
        if not force:
            raise InputError(f"{out}: already exists", fix="choose another --out, or replace it with --force")
        if not (out / "bundle.json").is_file():
            raise InputError(f"{out}: exists and is not a bundle", fix="choose another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sweep_beside(out)
        folder, held = locked_folder(out, _PARTIAL)
    except OSError as error:
        raise InputError(f"{out}: cannot be written", got=error) from error
    try:
        yield folder
        Bundle.open(folder, trust=False)
        folder.chmod(0o755)
        _sync_tree(folder)
        try:
            _put(folder, out, force=force)
        except OSError as error:
            raise InputError(f"{out}: cannot be written", got=error) from error
        sync(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)


def seal(folder: Path, build: Callable[[dict[str, FileEntry]], Manifest]) -> None:
    """Write ``bundle.json`` with the hash and size of every file in ``folder``; it is never written again.

    Args:
        folder: the bundle's folder with all other files.
        build: builds the manifest from the table of files.
    """
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    manifest = build({name: _entry(folder / name) for name in names if name != "bundle.json"})
    write_atomically(folder / "bundle.json", encode(manifest.to_json()))


@contextmanager
def writing(path: Path) -> Iterator[bool]:
    """Lock a bundle for a writer; waits at most a minute for others. Readers need no lock.

    Yields:
        Whether the bundle is locked; False on a file system without locks.

    Raises:
        InputError: another process keeps the lock.
        OSError: the folder cannot be opened.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        manifest = find_bundle(path) / "bundle.json"
        try:
            held = lock(manifest)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise InputError(
                    f"{path}: another process is writing into it", fix="wait until it has ended, then run this again"
                ) from None
            time.sleep(_PAUSE_S)
            continue
        if held is None:
            yield False
            return
        try:
            # An export may have put another bundle in this place while this process waited for the lock.
            if os.path.samestat(os.fstat(held), manifest.stat()):
                yield True
                return
        finally:
            os.close(held)


def sweep_beside(out: Path) -> None:
    """Remove what exports to ``out`` left that were killed: the kernel has released their locks."""
    for folder in out.parent.glob(f".{glob.escape(out.name)}.*"):
        with suppress(OSError):
            recent = time.time() - folder.stat().st_mtime < _RECENT_S
            unlocked = folder.suffix == _UNLOCKED and not recent
            only_copy = folder.name.endswith(ASIDE) and not out.exists()  # `find_bundle` moves it back
            if not (unlocked or (folder.suffix == _PARTIAL and not only_copy)):
                continue
            held = lock(folder)
            if held is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(held)


def encode(document: Mapping[str, Any]) -> bytes:
    """Return a document as indented JSON.

    Raises:
        BundleError: a value is not finite.
    """
    try:
        return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise BundleError("bundle: a value is not finite", got=error) from error


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def locked_folder(out: Path, suffix: str) -> tuple[Path, int | None]:
    """Make a hidden folder beside ``out``. It gets the name that `sweep_beside` removes when it is locked."""
    made = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=_UNLOCKED, dir=out.parent))
    held = lock(made)
    return made.rename(made.with_name(made.name.removesuffix(_UNLOCKED) + suffix)), held


def _put(folder: Path, out: Path, *, force: bool) -> None:
    """Rename ``folder`` to ``out``, or exchange them if ``force`` replaces a bundle.

    Writers of the old bundle are waited for. Afterwards ``folder`` may hold the old bundle.
    """
    if not (force and out.exists()):
        folder.rename(out)  # fails if another process has written a bundle meanwhile
        return
    with writing(out):
        if not exchange(folder, out):
            _replace(folder, out)
        # Writers that have waited for this lock find another folder here, and lock that.


def exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


def _replace(folder: Path, out: Path) -> None:
    """Move ``out`` aside and ``folder`` in its place; `find_bundle` undoes the first step if the second never comes."""
    aside, held = locked_folder(out, ASIDE)
    old = aside / out.name
    try:
        sync(out.parent)  # the name of `aside`, by which the old bundle is found
        out.rename(old)
        sync(aside)
        folder.rename(out)
        sync(out.parent)  # before the old one goes
    finally:
        if old.exists() and not out.exists():
            old.rename(out)  # if this fails too, `aside` holds the only copy
        if out.exists():
            # Under a name that nobody moves back: a kill may leave half of it.
            done = aside.rename(aside.with_name(aside.name.removesuffix(ASIDE) + _PARTIAL))
            shutil.rmtree(done, ignore_errors=True)
        if held is not None:
            os.close(held)


def _entry(path: Path) -> FileEntry:
    return FileEntry(sha256_of(path), path.stat().st_size)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        sync(path)
    sync(folder)
